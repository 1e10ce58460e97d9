"""Corruptions and the one number of robustness."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from skimage.color import hsv2rgb, rgb2hsv
from typer.testing import CliRunner

from transfer.cli.main import app
from transfer.measuring.corruptions import CORRUPTIONS, STRENGTHS, corrupt

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 20, 28, 3)).astype("uint8")


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_strength_spoils_more_than_the_one_before(kind):
    smooth = np.linspace(20, 150, 20 * 28 * 3).reshape(1, 20, 28, 3).astype("uint8")
    photo = np.concatenate([smooth, IMAGES[:1]])
    errors = [np.abs(corrupt(photo, kind, strength) - photo.astype(float)).mean() for strength in STRENGTHS]
    assert errors == sorted(errors)
    assert errors[0] > 0
    assert corrupt(photo, kind, 5).dtype == np.uint8
    np.testing.assert_array_equal(corrupt(photo, kind, 3), corrupt(photo, kind, 3))
    assert corrupt(photo[:0], kind, 1).shape == (0, 20, 28, 3)


def test_brightness_is_the_value_of_hsv():
    hsv = rgb2hsv(IMAGES)
    hsv[..., 2] = np.clip(hsv[..., 2] + 0.3, 0, 1)
    np.testing.assert_allclose(corrupt(IMAGES, "brightness", 3), 255 * hsv2rgb(hsv), atol=1)


def test_jpeg_is_that_of_pillow():
    buffer = io.BytesIO()
    Image.fromarray(IMAGES[1]).save(buffer, "JPEG", quality=15)
    np.testing.assert_array_equal(corrupt(IMAGES, "jpeg", 3)[1], np.asarray(Image.open(buffer)))


def test_unknown_corruptions_are_refused():
    with pytest.raises(ValueError, match="noise, blur, brightness, jpeg and a strength of 1 to 5, got 'fog' and 2"):
        corrupt(IMAGES, "fog", 2)


@pytest.mark.slow
def test_a_run_is_measured_on_spoilt_photos(tiny_run):
    run = tiny_run("classify")
    result = CliRunner().invoke(app, ["evaluate", str(run.folder), run.data, "--robust", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert set(found["spoilt"]) == set(CORRUPTIONS)
    assert all(len(values) == 5 for values in found["spoilt"].values())
    kinds = [np.mean(values) for values in found["spoilt"].values()]
    assert found["robustness"] == pytest.approx(np.mean([*kinds, found["fgsm"]["value"]]))
    assert found["clean"] >= found["fgsm"]["value"]
    assert found["metric"] == "accuracy"
