"""Scores of class maps against naive loops and scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from zoo.metrics.segmentation import SegmentationScores, boundary_f1, segmentation_scores


def images(seed: int, *, classes: int = 4, ignore: float = 0.1) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns three class maps of blocks, of different sizes, and predictions that are often right."""
    rng = np.random.default_rng(seed)
    made = []
    for height, width in ((24, 33), (9, 40), (31, 17)):
        blocks = rng.integers(classes, size=(height // 6 + 1, width // 6 + 1))
        truth = np.kron(blocks, np.ones((6, 6), int))[:height, :width].astype(np.uint8)
        prediction = np.where(rng.random(truth.shape) < 0.9, np.roll(truth, 1, axis=1), rng.integers(classes))
        truth[rng.random(truth.shape) < ignore] = 255
        made.append((truth, prediction))
    return made


def test_scores_of_images_added_up_are_scikit_learns_of_all_pixels():
    parts = images(0)
    scores = sum((segmentation_scores(*part, num_classes=6) for part in parts), SegmentationScores.none(6))
    truth, prediction = (np.concatenate([part[i].reshape(-1) for part in parts]) for i in (0, 1))
    truth, prediction = truth[truth != 255], prediction[truth != 255]
    iou = sklearn_metrics.jaccard_score(truth, prediction, average=None)
    np.testing.assert_allclose(scores.iou[:4], iou)
    assert np.isnan(scores.iou[4:]).all()
    assert scores.mean_iou == pytest.approx(iou.mean())
    assert scores.mean_dice == pytest.approx(sklearn_metrics.f1_score(truth, prediction, average="macro"))
    assert scores.pixel_accuracy == pytest.approx(sklearn_metrics.accuracy_score(truth, prediction))
    assert scores.mean_accuracy == pytest.approx(sklearn_metrics.balanced_accuracy_score(truth, prediction))
    weighted = sklearn_metrics.jaccard_score(truth, prediction, average="weighted")
    assert scores.frequency_weighted_iou == pytest.approx(weighted)
    assert scores.images == 3


def test_a_class_counts_in_the_mean_if_truth_or_prediction_has_it():
    scores = segmentation_scores(np.array([[0, 0, 0, 2]]), np.array([[0, 0, 1, 2]]), num_classes=4, tolerance=None)
    assert scores.iou[:3].round(3).tolist() == [0.667, 0, 1]
    assert scores.mean_iou == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert scores.mean_accuracy == pytest.approx((2 / 3 + 1) / 2)  # no pixel is of class 1
    assert np.isnan(scores.mean_boundary)  # it was left out


def test_an_image_without_pixels_that_count_changes_nothing():
    nothing = segmentation_scores(np.full((3, 5), 255), np.zeros((3, 5), int), num_classes=2)
    assert np.isnan([nothing.mean_iou, nothing.pixel_accuracy, nothing.frequency_weighted_iou]).all()
    one = segmentation_scores(np.eye(3, 5, dtype=int), np.zeros((3, 5), int), num_classes=2)
    both = one + nothing
    assert both.mean_iou == one.mean_iou
    assert both.mean_boundary == one.mean_boundary
    assert both.images == 2


def naive_boundary_f1(truth, prediction, number, farthest, ignore):
    height, width = truth.shape

    def boundary(ids):
        def inside(y, x):
            return ids[y, x] == number and truth[y, x] != ignore

        points = []
        for y in range(height):
            for x in range(width):
                around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                around = [(a, b) for a, b in around if 0 <= a < height and 0 <= b < width]
                if inside(y, x) and not all(inside(*place) for place in around):
                    points.append((y, x))
        return points

    def near(points, others):
        if not points:
            return 1.0
        hits = [any((y - a) ** 2 + (x - b) ** 2 <= farthest**2 + 1e-9 for a, b in others) for y, x in points]
        return sum(hits) / len(hits)

    expected, actual = boundary(truth), boundary(prediction)
    precision, recall = near(actual, expected), near(expected, actual)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("pixels", [0, 1, 1.5, 2.9])
def test_boundary_f1_is_the_naive_loops(pixels):
    for truth, prediction in images(1, classes=3, ignore=0.02):
        tolerance = pixels / np.hypot(*truth.shape)
        scores = boundary_f1(truth, prediction, num_classes=3, tolerance=tolerance)
        for number in range(3):
            if (truth == number).any() and ((prediction == number) & (truth != 255)).any():
                expected = naive_boundary_f1(truth, prediction, number, pixels, 255)
                assert scores[number] == pytest.approx(expected)


def test_boundaries_of_classes_that_fill_the_image_or_are_in_one_map():
    full, empty = np.ones((6, 9), int), np.zeros((6, 9), int)
    assert boundary_f1(full, full, num_classes=2).tolist()[1] == 1
    assert boundary_f1(full, empty, num_classes=2).tolist() == [0, 0]
    half = np.where(np.arange(9) < 4, 1, 255) * full
    assert boundary_f1(half, full, num_classes=2).tolist()[1] == 1  # what is ignored is so in both
    scores = segmentation_scores(full, full, num_classes=2) + segmentation_scores(full, empty, num_classes=2)
    assert scores.boundary.tolist() == [0, 0.5]  # class 0 is in one image alone, class 1 in both


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"one shape, got truth \(2, 3\) and prediction \(3, 2\)"):
        segmentation_scores(np.zeros((2, 3), int), np.zeros((3, 2), int), num_classes=2)
    with pytest.raises(ValueError, match=r"class maps \[h, w\] of one shape"):
        boundary_f1(np.zeros((1, 2, 3), int), np.zeros((1, 2, 3), int), num_classes=2)
    with pytest.raises(ValueError, match=r"ids in 0..1, got 0..7 in the truth"):
        segmentation_scores(np.array([[0, 7]]), np.array([[0, 0]]), num_classes=2)
    with pytest.raises(ValueError, match="the same classes, got 2 and 3"):
        SegmentationScores.none(2) + SegmentationScores.none(3)
    with pytest.raises(ValueError, match="a tolerance of 0 or more"):
        boundary_f1(np.zeros((2, 3), int), np.zeros((2, 3), int), num_classes=2, tolerance=-1)
