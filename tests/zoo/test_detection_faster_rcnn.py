"""Faster R-CNN: its regions computed point by point, and its loss region by region."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo import boxes as box_geometry
from zoo.blocks import conv_bn
from zoo.detection import create, matching
from zoo.detection.anchors import VARIANCES
from zoo.detection.faster_rcnn import Proposals, RoIAlign, region_anchors, roi_align

SIZE = (64, 96)


@pytest.fixture(scope="module")
def detector():
    keras.utils.set_random_seed(0)
    image = x = keras.Input((*SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(x)
    for n in range(5):
        x = conv_bn(x, 8, 3, strides=2, name=f"stage{n + 1}")
    return create("faster_rcnn_tiny", backbone=keras.Model(image, x), num_classes=3)


def truths():
    boxes = [[[10, 8, 40, 50], [0] * 4, [0] * 4], [[2, 3, 26, 25], [40, 20, 90, 60], [0, 0, 96, 64]]]
    return {"boxes": np.float32(boxes), "classes": np.int32([[2, -1, -1], [0, 1, 2]])}


def bilinear(image, y, x):
    """Returns the value of a map at a point, interpolated between the centres of its pixels."""
    h, w, _ = image.shape
    y, x = min(max(y - 0.5, 0), h - 1), min(max(x - 0.5, 0), w - 1)
    top, left = min(int(y), h - 2), min(int(x), w - 2)
    down, right = y - top, x - left
    return (
        image[top, left] * (1 - down) * (1 - right)
        + image[top, left + 1] * (1 - down) * right
        + image[top + 1, left] * down * (1 - right)
        + image[top + 1, left + 1] * down * right
    )


def naive_align(image, box, stride, size, samples):
    x1, y1, x2, y2 = (float(side) / stride for side in box)
    result = np.zeros((size, size, image.shape[-1]))
    for row in range(size):
        for column in range(size):
            for i in range(samples):
                for j in range(samples):
                    y = y1 + (y2 - y1) * (row + (i + 0.5) / samples) / size
                    x = x1 + (x2 - x1) * (column + (j + 0.5) / samples) / size
                    result[row, column] += bilinear(image, y, x) / samples**2
    return result


@pytest.mark.parametrize(("size", "samples"), [(7, 2), (3, 1), (2, 4)])
def test_regions_are_what_the_loop_finds(size, samples):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 5, 8, 3)).astype("float32")
    corner = rng.uniform(0, 40, (2, 4, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 30, (2, 4, 2))], -1).astype("float32")
    boxes[0, 0], boxes[1, 1] = [0, 0, 64, 40], [-9, -20, 80, 60]  # the whole image, and more than that
    found = roi_align(maps, boxes, stride=8, size=size, samples=samples)
    assert found.shape == (2, 4, size, size, 3)
    expected = [[naive_align(maps[b], box, 8, size, samples) for box in boxes[b]] for b in range(2)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_regions_by_hand():
    rows, columns = np.mgrid[:4, :6].astype("float32")
    maps = np.stack([rows, columns], -1)[None]
    # Pixels 16 to 32 in x are columns 2 and 3, whose centres are 2 and 3. Pixels 0 to 16 in y are rows 0 and 1.
    found = roi_align(maps, np.float32([[[16, 0, 32, 16]]]), stride=8, size=2, samples=1).numpy()[0, 0]
    np.testing.assert_allclose(found, [[[0, 2], [0, 3]], [[1, 2], [1, 3]]], atol=1e-6)
    # A region without area is a point. Padding gives finite numbers and gradients.
    maps = tf.Variable(maps)
    with tf.GradientTape() as tape:
        x = roi_align(maps, tf.zeros((1, 1, 4)), stride=8)
        loss = tf.reduce_sum(x**2)
    assert np.isfinite(x).all()
    assert np.isfinite(tape.gradient(loss, maps)).all()
    layer = RoIAlign(8, 3, samples=1)
    again = RoIAlign.from_config(layer.get_config())
    boxes = np.float32([[[3, 5, 30, 20]]])
    np.testing.assert_array_equal(layer(maps, boxes), again(maps, boxes))
    assert again(maps, boxes).shape == (1, 1, 3, 3, 2)


def test_proposals_are_the_best_regions_that_do_not_overlap():
    grid = region_anchors(SIZE)
    logits = np.full((2, len(grid)), -9, "float32")
    inside = ((grid[:, :2] >= 0) & (grid[:, 2:] <= [96, 64])).all(axis=1)
    best, second = np.flatnonzero(inside)[[10, 200]]
    logits[0, best], logits[0, second] = 5, 3
    codes = np.zeros((2, len(grid), 4), "float32")
    codes[0, second] = box_geometry.encode([20, 20, 60, 50], grid[second], variances=VARIANCES)
    found = Proposals(8)(np.zeros((2, *SIZE, 3), "float32"), codes, logits).numpy()
    assert found.shape == (2, 8, 4)
    np.testing.assert_allclose(found[0, 0], grid[best], atol=1e-3)
    np.testing.assert_allclose(found[0, 1], [20, 20, 60, 50], atol=1e-3)
    overlap = box_geometry.overlap_matrix(found[0], found[0]) - np.eye(8)
    assert overlap.max() <= 0.7
    assert found.min() >= 0
    assert found[..., 2].max() <= 96
    assert found[..., 3].max() <= 64
    # If there are too few regions, the rest is padding. Here all anchors are at one place.
    same = box_geometry.encode(np.float32([8, 8, 60, 50]), grid, variances=VARIANCES)
    found = Proposals(8)(np.zeros((2, *SIZE, 3), "float32"), np.stack([same, same]), logits).numpy()
    np.testing.assert_allclose(found[:, 0], [[8, 8, 60, 50]] * 2, rtol=1e-3)
    assert not found[:, 1:].any()


def naive_stage(rows, weights_of, codes, entropy, truth, boxes):
    """Computes the losses as sums over anchors or regions one by one, given the number of each kind in a sample."""
    of_boxes = of_classes = positives = total = 0.0
    for b, image in enumerate(rows):
        on, off = weights_of[b]
        for n, row in enumerate(image):
            if row == matching.IGNORED:
                continue
            weight = on if row >= 0 else off
            total += weight
            of_classes += weight * entropy(b, n, row)
            if row >= 0:
                positives += weight
                wanted = box_geometry.encode(truth["boxes"][b, row], boxes[b, n], variances=VARIANCES)
                distance = np.abs(wanted - codes[b, n])
                of_boxes += weight * np.where(distance < 1, distance**2 / 2, distance - 0.5).sum()
    return of_boxes / positives, of_classes / total


def chances(rows, count, share):
    """Computes by hand the weights of a sample: all objects, up to the share, and background in proportion."""
    result = []
    for image in rows:
        positives, negatives = (image >= 0).sum(), (image == -1).sum()
        on = min(positives, share * count)
        off = min(negatives, count - on, max(on, 1) * (1 - share) / share)
        result.append((on / max(positives, 1), off / max(negatives, 1)))
    return result


def test_the_loss_is_the_one_written_down(detector):
    rng = np.random.default_rng(0)
    grid = region_anchors(SIZE)
    regions = np.concatenate([truths()["boxes"], np.zeros((2, 97, 4), "float32")], axis=1)
    corner = rng.uniform(0, 40, (2, 50, 2))
    regions[:, 3:53] = np.concatenate([corner, corner + rng.uniform(5, 40, (2, 50, 2))], -1)
    regions[:, 53:73] = truths()["boxes"][:, :1] + rng.uniform(0, 3, (2, 20, 4))
    outputs = {
        "region_codes": rng.normal(size=(2, len(grid), 4)),
        "region_logits": rng.normal(size=(2, len(grid))),
        "proposals": regions,
        "codes": rng.normal(size=(2, 100, 4)),
        "logits": rng.normal(size=(2, 100, 4)),
    }
    outputs = {name: values.astype("float32") for name, values in outputs.items()}
    parts = detector.loss_parts(truths(), {k: tf.constant(v) for k, v in outputs.items()}, SIZE)

    real = truths()["classes"] >= 0
    rows = matching.by_overlap(grid, truths()["boxes"], real, positive=0.7, negative=0.3, rescue="best").numpy()

    def holds_object(b, n, row):
        p = 1 / (1 + np.exp(-float(outputs["region_logits"][b, n])))
        return -np.log(p if row >= 0 else 1 - p)

    all_grid = np.stack([grid, grid])
    of_boxes, of_classes = naive_stage(
        rows, chances(rows, 256, 0.5), outputs["region_codes"], holds_object, truths(), all_grid
    )
    np.testing.assert_allclose([parts["region_box_loss"], parts["region_loss"]], [of_boxes, of_classes], rtol=1e-4)

    rows = matching.by_overlap(regions, truths()["boxes"], real, positive=0.5, negative=0.5).numpy()
    rows[box_geometry.area(regions) == 0] = matching.IGNORED  # padding
    assert (rows[0] >= 0).sum() > 16  # more than fit into a sample

    def is_class(b, n, row):
        logits = outputs["logits"][b, n].astype("float64")
        return np.log(np.exp(logits).sum()) - logits[truths()["classes"][b, row] + 1 if row >= 0 else 0]

    of_boxes, of_classes = naive_stage(rows, chances(rows, 64, 0.25), outputs["codes"], is_class, truths(), regions)
    np.testing.assert_allclose([parts["box_loss"], parts["class_loss"]], [of_boxes, of_classes], rtol=1e-4)


def test_a_crowd_is_no_background(detector):
    crowd = {name: values[:1] for name, values in truths().items()} | {"crowd": np.array([[True, False, False]])}
    grid = region_anchors(SIZE)
    regions = np.zeros((1, 100, 4), "float32")
    regions[0, :2] = [[12, 10, 30, 40], [60, 30, 90, 60]]  # one inside of the crowd, one outside
    outputs = {
        "region_codes": np.zeros((1, len(grid), 4), "float32"),
        "region_logits": np.zeros((1, len(grid)), "float32"),
        "proposals": regions,
        "codes": np.zeros((1, 100, 4), "float32"),
        "logits": np.zeros((1, 100, 4), "float32"),
    }

    def class_loss(region):
        sure = outputs["logits"].copy()
        sure[0, region, 1] = 9
        said = {k: tf.constant(v) for k, v in (outputs | {"logits": sure}).items()}
        return float(detector.loss_parts(crowd, said, SIZE)["class_loss"])

    assert class_loss(0) == pytest.approx(np.log(4))
    assert class_loss(1) > 5


def test_padding_is_not_detected(detector):
    outputs = {
        "proposals": np.zeros((1, 100, 4), "float32"),
        "codes": np.zeros((1, 100, 4), "float32"),
        "logits": np.tile(np.float32([0, 9, 0, 0]), (1, 100, 1)),
    }
    outputs["proposals"][0, 0] = [8, 8, 40, 24]
    boxes, scores = (x.numpy() for x in detector.decode(outputs, SIZE))
    np.testing.assert_allclose(boxes[0, 0], [8, 8, 40, 24], rtol=1e-5)
    assert scores[0, 0, 0] > 0.99
    assert not scores[0, 1:].any()


def test_each_stage_learns_from_its_own_loss(detector):
    images = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype("float32")
    with tf.GradientTape() as tape:
        outputs = detector(images, training=True)
        loss = tf.reduce_sum(outputs["proposals"])
    assert all(gradient is None for gradient in tape.gradient(loss, detector.trainable_variables))
