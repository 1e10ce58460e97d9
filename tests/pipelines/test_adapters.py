"""Keras' and keras_cv's layers among ours; and the known defects that are refused, for as long as they are there."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import RandomFlip, RandomTranslation, adapt, augment

HEIGHT, WIDTH = 40, 62


def scene():
    image = np.zeros([3, HEIGHT, WIDTH, 3], np.float32)
    image[:, 12:24, 10:31] = 255
    return {
        "image": image,
        "boxes": np.float32([[[10, 12, 31, 24], [0, 0, 0, 0]]] * 3),
        "classes": np.int32([[4, -1]] * 3),
        "ids": np.int32([[77, -1]] * 3),
        "mask": image[..., 0].astype(np.uint8),
    }


def found(picture):
    rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("box_format", ["xyxy", "yxyx", "xywh", "center_xywh", "rel_xyxy"])
def test_each_box_format(box_format):
    layers = [
        keras.layers.RandomFlip("horizontal", bounding_box_format=box_format),
        keras.layers.RandomTranslation(0.2, 0.2, fill_mode="constant", bounding_box_format=box_format),
    ]
    result = {name: value.numpy() for name, value in augment(scene(), layers, 3).items()}
    for image, mask, boxes in zip(result["image"], result["mask"], result["boxes"], strict=True):
        np.testing.assert_allclose(found(image[..., 0] > 127), boxes[0], atol=1.01)
        np.testing.assert_allclose(found(mask > 127), boxes[0], atol=1.01)
        assert boxes[1].tolist() == [0, 0, 0, 0]
    assert result["classes"].tolist() == [[4, -1]] * 3
    assert result["ids"].tolist() == [[77, -1]] * 3
    assert result["mask"].dtype == np.uint8


def test_among_ours_in_tf_data_and_decided_by_the_seed():
    layers = [
        RandomFlip("horizontal"),
        keras.layers.RandomBrightness(0.2),
        RandomTranslation(0.1, 0.1, fill_mode="constant"),
    ]
    first = augment(scene(), layers, 5)
    dataset = tf.data.Dataset.from_tensors(scene()).map(lambda sample: augment(sample, layers, 5))
    for name, value in next(iter(dataset)).items():
        np.testing.assert_allclose(value, first[name], atol=0.05)
    assert not np.allclose(augment(scene(), layers, 6)["image"], first["image"])


def test_keras_cv():
    keras_cv = pytest.importorskip("keras_cv")
    flip = keras_cv.layers.RandomFlip("horizontal", rate=1.0, bounding_box_format="rel_xyxy")
    result = {name: np.asarray(value) for name, value in augment(scene(), [flip], 0).items()}
    for image, boxes, count in zip(result["image"], result["boxes"], result["num_boxes"], strict=True):
        np.testing.assert_allclose(found(image[..., 0] > 127), boxes[0], atol=1.01)
        assert count == 1
    assert result["classes"].tolist() == [[4, -1]] * 3
    assert not adapt(flip).is_stateless


def test_a_layer_that_only_knows_images():
    rescaling = keras.layers.Rescaling(0.5)
    assert augment(scene(), [rescaling], 0)["image"].numpy().max() == 127.5
    dropout = keras.layers.GaussianNoise(1.0)
    assert augment(scene()["image"], [dropout], 0).shape == (3, HEIGHT, WIDTH, 3)
    with pytest.raises(ValueError, match="GaussianNoise with `boxes`: does not know of them"):
        augment(scene(), [dropout], 0)


@pytest.mark.parametrize(
    ("layer", "left_out", "message"),
    [
        (keras.layers.RandomCrop(20, 30), ["mask"], "RandomCrop with `boxes`: moves boxes on swapped axes"),
        (keras.layers.AugMix(), ["mask"], "AugMix with `boxes`: leaves them where they were"),
        (keras.layers.AugMix(), ["boxes"], "AugMix with `mask`: blends the numbers of classes"),
        (keras.layers.CutMix(), ["mask"], "CutMix with `boxes`: .* use pipelines.CutMix"),
        (keras.layers.MixUp(), ["mask"], "MixUp with `boxes`: fails inside tf.data; use pipelines.MixUp"),
        (keras.layers.RandomElasticTransform(), ["mask"], "RandomElasticTransform with `boxes`"),
        (keras.layers.RandomRotation(0.1), ["mask"], r'RandomRotation\(..., bounding_box_format="xyxy"\)'),
    ],
)
def test_what_is_known_to_be_wrong_is_refused(layer, left_out, message):
    sample = {name: value for name, value in scene().items() if name not in left_out}
    with pytest.raises(ValueError, match=message):
        augment(sample, [layer], 0)


def test_points_need_our_own_layers():
    sample = {"image": scene()["image"], "points": np.zeros([3, 1, 2], np.float32)}
    with pytest.raises(ValueError, match="RandomRotation with `points`: does not know of them"):
        augment(sample, [keras.layers.RandomRotation(0.1)], 0)
    assert "points" in augment(sample, [keras.layers.RandomBrightness(0.1)], 0)


# Should one of these fail, Keras has mended it: take the row out of the adapter's table.


def test_keras_random_crop_still_moves_boxes_on_swapped_axes():
    layer = keras.layers.RandomCrop(20, 44, bounding_box_format="xyxy", seed=1)
    given = scene()
    boxes = {"boxes": tf.constant(given["boxes"][:, :1]), "labels": tf.zeros([3, 1])}
    misses = 0
    for _ in range(4):
        result = layer({"images": tf.constant(given["image"]), "bounding_boxes": boxes}, training=True)
        image, box = np.asarray(result["images"])[0], np.asarray(result["bounding_boxes"]["boxes"])[0, 0]
        misses += not np.allclose(found(image[..., 0] > 127), box, atol=2)
    assert misses


def test_keras_augmix_still_leaves_boxes_where_they_were():
    layer = keras.layers.AugMix(bounding_box_format="xyxy", seed=1)
    boxes = {"boxes": scene()["boxes"][:, :1], "labels": np.zeros([3, 1], np.float32)}
    moved = layer.transform_bounding_boxes(boxes, None)
    assert np.array_equal(moved["boxes"], boxes["boxes"])
