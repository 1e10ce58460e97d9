"""Resizing by policy: what is drawn is where its box says, and comes back to where it was."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import EvaluationCrop, ResizePolicy, decode_image, restore_boxes, restore_mask
from pipelines.augmenting.resize_policies import RESIZE_POLICIES

SIZES = [(90, 140), (140, 90), (33, 41), (200, 67)]


def scene(height, width):
    image = np.zeros([height, width, 3], np.uint8)
    box = np.float32([0.4 * width // 1, 0.35 * height // 1, 0.6 * width // 1, 0.7 * height // 1])
    x1, y1, x2, y2 = box.astype(int)
    image[y1:y2, x1:x2] = 255
    return {
        "image": image,
        "boxes": np.stack([np.float32([0, 0, 2, 2]), box]),
        "classes": np.int32([7, 8]),
        "mask": image[..., 0] // 85,
        "instances": np.stack([np.zeros([height, width], bool), image[..., 0] > 0]),
        "points": box.reshape(2, 2),
    }


def found(picture):
    rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("policy", RESIZE_POLICIES)
def test_boxes_masks_and_points_follow_and_come_back(policy, size):
    given = scene(*size)
    resize = ResizePolicy(policy, size=(71, 120), scale=(0.7, 1.0), mask_pad_value=9)
    result = {name: np.asarray(value) for name, value in resize(given, seed=3).items()}
    assert result["image"].shape == (71, 120, 3)
    assert result["image"].dtype == np.float32
    box = result["boxes"][-1]
    assert result["classes"][-1] == 8
    assert len(result["classes"]) == len(result["instances"]) == len(result["boxes"])
    np.testing.assert_allclose(found(result["image"][..., 0] > 127), box, atol=1.01)
    np.testing.assert_allclose(found(result["mask"] == 3), box, atol=1.01)
    np.testing.assert_allclose(found(result["instances"][-1]), box, atol=1.01)
    inside = (result["points"] >= 0).all() and (result["points"] <= [120, 71]).all()
    if inside:
        np.testing.assert_allclose(result["points"].ravel(), box, atol=1e-3)
        back = restore_boxes(result["boxes"], result["matrix"], result["original_size"])
        np.testing.assert_allclose(back[-1], given["boxes"][-1], atol=1e-2)
        mask = restore_mask(result["mask"], result["matrix"], result["original_size"]).numpy()
        assert mask.shape == size
        pixel = max(size[0] / 71, size[1] / 120, 1)
        np.testing.assert_allclose(found(mask == 3), given["boxes"][-1], atol=1.01 * pixel)
    assert (9 in result["mask"]) == (policy == "pad")


def test_what_each_policy_shows():
    rows = np.tile(np.linspace(0, 255, 100, dtype=np.uint8)[:, None, None], [1, 60, 3])

    def shown(policy, **options):
        image = ResizePolicy(policy, size=(50, 50), **options)(rows).numpy()[..., 0]
        return image[0, 25], image[-1, 25], image[25, 0]

    assert shown("squash")[:2] == pytest.approx((1, 254), abs=2)
    assert shown("crop")[:2] == pytest.approx((51, 204), abs=3)  # 60 of 100 rows
    assert shown("central", fraction=0.5)[:2] == pytest.approx((89, 166), abs=3)
    assert shown("pad", pad_value=77)[2] == 77
    assert shown("pad")[:2] == pytest.approx((1, 254), abs=3)


@pytest.mark.parametrize("size", SIZES)
def test_central_with_bicubic_is_the_evaluation_crop(size):
    image = np.random.default_rng(0).integers(0, 256, [*size, 3], dtype=np.uint8)
    ours = ResizePolicy("central", size=(40, 52), interpolation="bicubic")
    assert np.array_equal(ours(image), EvaluationCrop((40, 52))(image))
    assert ours.needs == EvaluationCrop((40, 52)).needs


def test_squash_is_what_tensorflow_does_and_antialiasing_is_as_stated():
    image = np.random.default_rng(0).integers(0, 256, [90, 130, 3], dtype=np.uint8)
    for antialias in (True, False):
        expected = tf.round(tf.image.resize(image, [31, 40], antialias=antialias))
        assert np.array_equal(ResizePolicy("squash", size=(31, 40), antialias=antialias)(image), expected)
    assert np.array_equal(ResizePolicy("squash", size=(90, 130))(image), image)


def test_random_windows_depend_on_the_seed_alone_and_keep_their_ranges():
    resize = ResizePolicy("random", size=(20, 30), scale=(0.2, 0.5), ratio=(0.5, 2.0))
    given = scene(90, 140)
    first, again, other = (resize(given, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first["image"], again["image"])
    assert not np.array_equal(first["matrix"], other["matrix"])
    matrices = np.stack([resize({"image": given["image"]}, seed=seed)["matrix"] for seed in range(40)])
    widths, heights = 30 / matrices[:, 0, 0], 20 / matrices[:, 1, 1]
    areas, ratios = widths * heights / (90 * 140), widths / heights
    assert 0.19 < areas.min() < 0.3 < areas.max() < 0.51
    assert 0.48 < ratios.min() < 0.8 < 1.25 < ratios.max() < 2.1
    with pytest.raises(ValueError, match="expected a `seed`"):
        resize(given)


def test_in_tf_data_with_unknown_sizes():
    resize = ResizePolicy("pad", size=(40, 50))
    scenes = [scene(*size) for size in SIZES]
    signature = {name: tf.TensorSpec([None] * value.ndim, value.dtype) for name, value in scenes[0].items()}
    signature["image"] = tf.TensorSpec([None, None, 3], tf.uint8)
    signature["boxes"] = tf.TensorSpec([None, 4])
    signature["points"] = tf.TensorSpec([None, 2])
    dataset = tf.data.Dataset.from_generator(lambda: iter(scenes), output_signature=signature).map(resize)
    assert dataset.element_spec["image"].shape == (40, 50, 3)
    for given, result in zip(scenes, dataset, strict=True):
        for name, value in resize(given).items():
            np.testing.assert_allclose(value, result[name], atol=1e-4)


def test_a_batch_of_predictions_comes_back():
    resize = ResizePolicy("pad", size=(40, 50))
    results = [resize(scene(*size)) for size in SIZES]
    batch, matrices, sizes = (
        np.stack([np.asarray(result[name])[-2:] if name == "boxes" else result[name] for result in results])
        for name in ("boxes", "matrix", "original_size")
    )
    back = restore_boxes(batch[:, -1:], matrices, sizes)
    np.testing.assert_allclose(back[:, 0], np.stack([scene(*size)["boxes"][-1] for size in SIZES]), atol=1e-2)
    scores = restore_mask(results[0]["image"] / 255, results[0]["matrix"], results[0]["original_size"])
    assert scores.shape == (90, 140, 3)


def test_it_needs_no_more_than_it_shows():
    assert ResizePolicy("pad", size=(40, 50)).needs == (40, 50)
    assert ResizePolicy("random", size=(40, 50), scale=(0.25, 1)).needs == (80, 100)
    photo = tf.io.encode_jpeg(np.zeros([400, 500, 3], np.uint8))
    assert decode_image(photo, at_least=ResizePolicy("central", size=(80, 100)).needs).shape == (100, 125, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "stretch"}, "`policy` as one of squash, crop, central, pad, random; received 'stretch'"),
        ({"policy": "pad", "interpolation": "cubic"}, "`interpolation` as one of"),
        ({"policy": "pad", "size": (0, 5)}, "`size` as"),
        ({"policy": "central", "fraction": 0}, "`fraction` as above 0"),
        ({"policy": "random", "scale": (0.5, 1.5)}, "`scale` as"),
        ({"policy": "pad", "pad_value": 300}, "`pad_value` as"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        ResizePolicy(**options)
