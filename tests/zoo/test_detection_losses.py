"""Losses of boxes against a loop over plain numbers."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.detection.losses import OverlapLoss


def naive(kind, a, b):
    """Computes the loss of one pair of boxes in plain Python, as the papers define it."""
    ax1, ay1, ax2, ay2 = map(float, a)
    bx1, by1, bx2, by2 = map(float, b)
    shared = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
    overlap = shared / union
    hull_w, hull_h = max(ax2, bx2) - min(ax1, bx1), max(ay2, by2) - min(ay1, by1)
    if kind == "iou":
        return 1 - overlap
    if kind == "giou":
        return 1 - overlap + (hull_w * hull_h - union) / (hull_w * hull_h)
    apart = ((ax1 + ax2) / 2 - (bx1 + bx2) / 2) ** 2 + ((ay1 + ay2) / 2 - (by1 + by2) / 2) ** 2
    distance = 1 - overlap + apart / (hull_w**2 + hull_h**2)
    if kind == "diou":
        return distance
    v = 4 / math.pi**2 * (math.atan((ax2 - ax1) / (ay2 - ay1)) - math.atan((bx2 - bx1) / (by2 - by1))) ** 2
    return distance + v * v / (1 - overlap + v)


def random_boxes(rng, *shape):
    corner, size = rng.uniform(0, 50, (*shape, 2)), rng.uniform(2, 40, (*shape, 2))
    return np.concatenate([corner, corner + size], -1).astype("float32")


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "ciou"])
def test_it_is_the_formula_of_each_pair(kind):
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 3, 7), random_boxes(rng, 3, 7)
    weight = rng.uniform(size=(3, 7)).astype("float32")
    expected = np.array([[naive(kind, p, q) for p, q in zip(*pair, strict=True)] for pair in zip(a, b, strict=True)])
    np.testing.assert_allclose(OverlapLoss(kind, reduction=None)(a, b), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(OverlapLoss(kind)(a, b), expected.mean(), rtol=1e-5)
    weighed = OverlapLoss(kind, reduction="sum")(a, b, sample_weight=weight)
    np.testing.assert_allclose(weighed, (expected * weight).sum(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_boxes_that_do_not_touch_are_drawn_together(kind):
    truth = tf.constant([[40.0, 10, 50, 30]])
    guess = tf.Variable([[0.0, 10, 10, 30]])
    with tf.GradientTape() as tape:
        loss = OverlapLoss(kind)(truth, guess)
    gradient = tape.gradient(loss, guess).numpy()[0]
    assert gradient[2] < 0 or gradient[0] < 0  # a step against the gradient moves a side to the right


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "ciou"])
def test_padding_with_no_weight_leaves_no_trace(kind):
    truth = tf.constant([[0.0, 0, 0, 0], [2, 3, 9, 8]])
    guess = tf.Variable([[0.0, 0, 0, 0], [3, 3, 9, 9]])
    with tf.GradientTape() as tape:
        loss = OverlapLoss(kind, reduction="sum")(truth, guess, sample_weight=tf.constant([0.0, 1.0]))
    gradient = tape.gradient(loss, guess).numpy()
    np.testing.assert_allclose(float(loss), naive(kind, truth[1], guess[1]), rtol=1e-5)
    np.testing.assert_array_equal(gradient[0], 0)
    assert np.isfinite(gradient).all()


def test_it_saves_and_refuses():
    again = keras.losses.deserialize(keras.losses.serialize(OverlapLoss("giou", reduction="sum")))
    assert (again.overlap, again.reduction) == ("giou", "sum")
    with pytest.raises(ValueError, match="expected an overlap of iou, giou, diou, ciou, got 'siou'"):
        OverlapLoss("siou")


def test_they_are_the_losses_of_keras_cv_where_those_are_the_papers():
    keras_cv = pytest.importorskip("keras_cv")
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 9), random_boxes(rng, 9)
    peer = keras_cv.losses.GIoULoss(bounding_box_format="xyxy", reduction="none")
    np.testing.assert_allclose(OverlapLoss("giou")(a, b), peer(a, b), rtol=1e-4)  # keras_cv returns the mean
    # The CIoU of keras_cv (0.9.0) also squares the factor 4 / pi**2 of the aspect ratios. Both are equal if the ratios
    # are.
    b[:, 2:] = b[:, :2] + (a[:, 2:] - a[:, :2]) * rng.uniform(0.5, 2, (9, 1))
    peer = keras_cv.losses.CIoULoss(bounding_box_format="xyxy", reduction="none")
    np.testing.assert_allclose(OverlapLoss("ciou", reduction="none")(a, b), peer(a, b), rtol=1e-4, atol=1e-5)
