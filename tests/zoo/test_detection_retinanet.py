"""The loss of RetinaNet against a loop over anchors, and against keras_cv."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo import boxes as box_geometry
from zoo.blocks import conv_bn
from zoo.detection import anchors, create, matching
from zoo.detection.anchors import VARIANCES
from zoo.detection.dense import STRIDES, dense_loss

SIZE = (64, 96)


def grid():
    return anchors.anchor_grid(SIZE, (16, 32), [anchors.anchor_shapes(side) for side in (24, 48)])


def truths():
    boxes = [[[10, 8, 40, 50], [0] * 4, [0] * 4], [[2, 3, 26, 25], [40, 20, 90, 60], [0, 0, 96, 64]]]
    return {"boxes": np.float32(boxes), "classes": np.int32([[2, -1, -1], [0, 1, 2]])}


def outputs(count, rng):
    return {
        "codes": rng.normal(size=(2, count, 4)).astype("float32"),
        "logits": (rng.normal(size=(2, count, 3)) - 2).astype("float32"),
    }


def rows(boxes, truth):
    return matching.by_overlap(boxes, truth["boxes"], truth["classes"] >= 0, positive=0.5, negative=0.4, rescue="best")


def naive(boxes, truth, said, gamma):
    """Computes the loss anchor by anchor, class by class and coordinate by coordinate."""
    of_boxes, of_classes, count = 0.0, 0.0, 0
    for b, image in enumerate(rows(boxes, truth).numpy()):
        for n, row in enumerate(image):
            if row == matching.IGNORED:
                continue
            for c in range(3):
                p = 1 / (1 + np.exp(-float(said["logits"][b, n, c])))
                yes = row >= 0 and truth["classes"][b, row] == c
                of_classes -= 0.25 * (1 - p) ** gamma * np.log(p) if yes else 0.75 * p**gamma * np.log(1 - p)
            if row >= 0:
                count += 1
                codes = box_geometry.encode(truth["boxes"][b, row], boxes[n], variances=VARIANCES)
                for wanted, given in zip(codes, said["codes"][b, n], strict=True):
                    off = abs(float(wanted) - float(given))
                    of_boxes += off**2 / 2 if off < 1 else off - 0.5
    return of_boxes / count, of_classes / count


@pytest.mark.parametrize("gamma", [2.0, 1.5])
def test_the_loss_is_the_one_written_down(gamma):
    said = outputs(len(grid()), np.random.default_rng(0))
    found = dense_loss(truths(), {k: tf.constant(v) for k, v in said.items()}, grid(), gamma=gamma)
    expected = naive(grid(), truths(), said, gamma)
    np.testing.assert_allclose([found["box_loss"], found["class_loss"]], expected, rtol=1e-4)
    assert {0, -1, matching.IGNORED} <= set(rows(grid(), truths()).numpy().ravel().tolist())


def test_the_losses_are_those_of_keras_cv():
    keras_cv = pytest.importorskip("keras_cv", reason="keras_cv cannot be imported")
    said = outputs(len(grid()), np.random.default_rng(1))
    found = dense_loss(truths(), {k: tf.constant(v) for k, v in said.items()}, grid(), gamma=2.0)
    of = rows(grid(), truths()).numpy()
    boxes, classes = (x.numpy() for x in matching.matched(truths(), of))
    focal = keras_cv.losses.FocalLoss(alpha=0.25, gamma=2.0, from_logits=True, reduction="none")
    smooth = keras_cv.losses.SmoothL1Loss(l1_cutoff=1.0, reduction="none")
    codes = box_geometry.encode(boxes, grid(), variances=VARIANCES)
    count = (of >= 0).sum()
    np.testing.assert_allclose(
        [
            4 * (np.array(smooth(codes, said["codes"])) * (of >= 0)).sum() / count,
            (np.array(focal(tf.one_hot(classes, 3), said["logits"])) * (of != matching.IGNORED)).sum() / count,
        ],
        [found["box_loss"], found["class_loss"]],
        rtol=1e-4,
    )


def test_a_crowd_is_no_background():
    crowd = {name: values[:1] for name, values in truths().items()} | {"crowd": np.array([[True, False, False]])}
    centres = (grid()[:, :2] + grid()[:, 2:]) / 2
    inside = ((centres > [10, 8]) & (centres < [40, 50])).all(axis=1)
    silent = {"codes": np.zeros((1, len(grid()), 4), "float32"), "logits": np.full((1, len(grid()), 3), -4, "float32")}

    def loss(certain):
        logits = np.where(certain[:, None], np.float32(9), silent["logits"])
        said = {"codes": tf.constant(silent["codes"]), "logits": tf.constant(logits)}
        return float(dense_loss(crowd, said, grid(), gamma=2.0)["class_loss"])

    assert 0 < inside.sum() < len(grid())
    nowhere = np.zeros_like(inside)
    assert loss(inside) == loss(nowhere)
    assert loss(~inside) > loss(nowhere)


def test_the_network_says_where_its_anchors_are():
    image = x = keras.Input((*SIZE, 3))
    for n in range(5):
        x = conv_bn(x, 8, 3, strides=2, name=f"stage{n + 1}")
    detector = create("retinanet_tiny", backbone=keras.Model(image, x), num_classes=3)
    boxes = detector.anchors(SIZE)
    assert len(boxes) == 9 * (8 * 12 + 4 * 6 + 2 * 3 + 1 * 2 + 1)
    # If one anchor has a high score, its box is the detection: codes of 0 shift nothing.
    said = {"codes": np.zeros((1, len(boxes), 4), "float32"), "logits": np.full((1, len(boxes), 3), -9, "float32")}
    at = 9 * (2 * 12 + 5) + 4  # third row, sixth column, the square of 24 * 2 ** (1 / 3) pixels
    found, scores = detector.decode(said, SIZE)
    side = 24 * 2 ** (1 / 3) / 2
    np.testing.assert_allclose(found[0, at], [44 - side, 20 - side, 44 + side, 20 + side], rtol=1e-5)
    assert scores.numpy().max() < 1e-3
    assert len(STRIDES) == 5
    # All levels share the heads.
    assert len([layer for layer in detector.layers if layer.name.startswith("codes_") and layer.weights]) == 3
