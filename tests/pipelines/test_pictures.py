"""The grid: as many tiles as asked, and boxes, masks and names where they belong."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from typer.testing import CliRunner

from pipelines import Data, EvaluationCrop, RandomFlip, Samples, Scene, read_data, show
from pipelines.prepare.letterbox import FILL
from transfer.cli.main import app


def test_classification():
    digits = read_data("sklearn:digits")
    grid = show(digits, count=5, columns=3, tile=48)
    assert grid.size == (3 * 52, 2 * 66)
    assert np.array_equal(grid, show(digits, count=5, columns=3, tile=48))
    assert not np.array_equal(grid, show(digits, count=5, columns=3, tile=48, seed=1))
    assert show(digits.valid, count=2).size == (2 * 228, 242)


def test_boxes_and_masks_are_drawn_where_they_are():
    pixels = np.full([40, 80, 3], 128, np.uint8)
    mask = np.zeros([40, 80], np.uint8)
    mask[30:, 60:] = 2
    scenes = (Scene(pixels, "a", (40, 80), [[8, 4, 40, 24]], [1], mask=mask),)
    grid = np.asarray(show(Data(("ant", "bee"), scenes), tile=160))[14:, :160].astype(int)
    assert grid.shape[:2] == (164, 160)
    image = grid[40:120]  # bars above and below
    coloured = np.ptp(image, axis=-1) > 60
    assert coloured[8:48, 16:18].mean() > 0.9  # the left edge of the box, two pixels wide
    assert coloured[46:48, 16:80].all()
    assert not coloured[20:40, 24:70].any()
    assert coloured[62:, 122:].all()  # the mask
    assert (grid[2:36] == FILL).all()


def test_a_labelled_image_is_drawn_as_a_classifier_is_shown_it():
    photo = np.zeros([30, 60, 3], np.uint8)
    photo[:, 20:40] = 255
    grid = np.asarray(show(Data(("ant",), Samples(photo[None], [0], ["a"])), tile=32))[14:46, :32]
    assert np.array_equal(grid, EvaluationCrop((32, 32)).on_photo(photo))


def test_batches_and_what_augmentation_does():
    images = np.zeros([3, 30, 40, 3], np.float32)
    images[:, :, :20] = 255
    batch = {"image": images, "boxes": np.float32([[[0, 0, 20, 30], [0] * 4]] * 3), "classes": np.int32([[0, -1]] * 3)}
    plain = np.asarray(show(batch, tile=40))[14:54, :40]
    assert plain[20, 10].tolist() == [255] * 3
    assert plain[20, 30].tolist() == [0] * 3
    flips = [
        np.asarray(show(batch, tile=40, augment=[RandomFlip("horizontal")], seed=seed))[34, 30] for seed in range(6)
    ]
    assert {tuple(colour) for colour in flips} == {(0, 0, 0), (255, 255, 255)}
    dataset = tf.data.Dataset.from_tensors((images, np.eye(3, dtype=np.float32)))
    assert show(dataset, tile=40, class_names=["a", "b", "c"]).size == (3 * 44, 58)


def test_refusals():
    with pytest.raises(ValueError, match="at least one image"):
        show(Samples([], [], []))
    with pytest.raises(ValueError, match="of 1 or more"):
        show(read_data("sklearn:digits"), count=0)
    with pytest.raises(ValueError, match="received int"):
        show(7)


def test_from_the_shell(tmp_path):
    done = CliRunner().invoke(
        app, ["preview", "sklearn:digits", "--out", str(tmp_path / "grid.png"), "--count", "6", "--augment", "light"]
    )
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (4 * 228, 2 * 242)
    assert "grid.png" in done.stdout
