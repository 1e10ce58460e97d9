"""Masks against scikit-learn, Keras, pycocotools and counted pixels."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask
from sklearn import metrics as sklearn_metrics

from zoo.metrics import overlap


def class_maps(seed: int, *, classes: int = 4, shape=(3, 11, 17)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=shape)
    return truth, np.where(rng.random(shape) < 0.6, truth, rng.integers(classes, size=shape))


def test_confusion_is_scikit_learns_and_adds_up():
    truth, prediction = class_maps(0)
    counted = overlap.confusion(truth, prediction, num_classes=4)
    expected = sklearn_metrics.confusion_matrix(truth.ravel(), prediction.ravel(), labels=range(4))
    np.testing.assert_array_equal(counted, expected)
    by_image = sum(overlap.confusion(t, p, num_classes=4) for t, p in zip(truth, prediction, strict=True))
    np.testing.assert_array_equal(by_image, counted)


def test_class_scores_are_scikit_learns_and_keras():
    truth, prediction = class_maps(1)
    counted = overlap.confusion(truth, prediction, num_classes=4)
    flat = truth.ravel(), prediction.ravel()
    np.testing.assert_allclose(overlap.class_iou(counted), sklearn_metrics.jaccard_score(*flat, average=None))
    np.testing.assert_allclose(overlap.class_dice(counted), sklearn_metrics.f1_score(*flat, average=None))
    mean = keras.metrics.MeanIoU(4)
    mean.update_state(truth, prediction)
    assert np.nanmean(overlap.class_iou(counted)) == pytest.approx(float(mean.result()), rel=1e-6)


def test_ignored_pixels_count_nowhere_and_absent_classes_have_no_score():
    truth, prediction = class_maps(2, classes=3)
    marked = np.where(truth == 1, 255, truth).astype("uint8")
    counted = overlap.confusion(marked, prediction, num_classes=5, ignore=255)
    keep = truth != 1
    np.testing.assert_array_equal(counted, overlap.confusion(truth[keep], prediction[keep], num_classes=5))
    scores = overlap.class_iou(counted)
    assert scores[1] == 0  # predicted, but in no truth
    assert np.isnan(scores[3:]).all()
    assert np.isnan(overlap.class_dice(counted)[3:]).all()
    assert overlap.confusion([], [], num_classes=2).tolist() == [[0, 0], [0, 0]]


masks = arrays.arrays(bool, st.just((5, 7)))


@settings(deadline=None)
@given(masks, masks)
def test_pairs_of_masks_are_counted_pixels(a, b):
    shared = sum(x and y for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    either = sum(x or y for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    iou, dice = overlap.mask_iou(a, b), overlap.mask_dice(a, b)
    assert iou == pytest.approx(shared / either if either else 1)
    assert dice == pytest.approx(2 * iou / (1 + iou))
    assert overlap.mask_iou(b, a) == iou
    assert overlap.mask_iou(a, a) == overlap.mask_dice(a, a) == 1


def test_every_mask_with_every_mask_is_pycocotools():
    rng = np.random.default_rng(3)
    a, b = rng.random((4, 13, 9)) < 0.5, rng.random((3, 13, 9)) < 0.3
    encoded = [coco_mask.encode(np.asfortranarray(group.transpose(1, 2, 0).astype("uint8"))) for group in (a, b)]
    expected = coco_mask.iou(*encoded, [0, 0, 0])
    np.testing.assert_allclose(overlap.mask_iou_matrix(a, b), expected)
    np.testing.assert_allclose(overlap.mask_iou(a[:, None], b), expected)
    assert overlap.mask_iou_matrix(a[:0], b).shape == (0, 3)
    assert overlap.mask_iou_matrix(np.zeros((1, 2, 2)), np.zeros((1, 2, 2))).tolist() == [[1]]


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"one shape, got truth \(2, 3\) and prediction \(3, 2\)"):
        overlap.confusion(np.zeros((2, 3), int), np.zeros((3, 2), int), num_classes=2)
    with pytest.raises(ValueError, match=r"ids in 0..1, got 0..5 in the truth; .* ignore="):
        overlap.confusion([0, 5], [0, 0], num_classes=2)
    with pytest.raises(ValueError, match=r"ids in 0..1, got -1..0 in the prediction"):
        overlap.confusion([0, 1], [0, -1], num_classes=2)
    with pytest.raises(ValueError, match="integer class ids, got a prediction of float64; take the argmax of scores"):
        overlap.confusion([0, 1], [0.2, 0.8], num_classes=2)
    with pytest.raises(ValueError, match=r"masks of 0 and 1, got values from 0.0 to 0.7; threshold them first"):
        overlap.mask_iou(np.array([[0, 0.7]]), np.array([[0, 1]]))
    with pytest.raises(ValueError, match=r"masks \[..., h, w\] of one size, got \(2, 3\) and \(3, 2\)"):
        overlap.mask_dice(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"masks \[..., h, w\], got the shape \(3,\)"):
        overlap.mask_iou(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match=r"masks \[n, h, w\] and \[m, h, w\] of one size"):
        overlap.mask_iou_matrix(np.ones((2, 3)), np.ones((2, 3)))
