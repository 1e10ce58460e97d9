"""Panoptic quality against a naive loop over segments, and by hand."""

import numpy as np
import pytest

from zoo.metrics.panoptic import CROWD, PanopticScores, panoptic_scores


def maps(seed: int, size=(19, 27), classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Returns a class map with void pixels and an instance map with crowds, of rectangles."""
    rng = np.random.default_rng(seed)
    class_map, instance_map = np.zeros(size, np.uint8), np.zeros(size, np.int32)
    for number in range(1, 9):
        y, x = rng.integers(0, size)
        place = slice(y, y + rng.integers(3, 9)), slice(x, x + rng.integers(3, 12))
        class_map[place] = rng.choice([1, 2, 255])
        instance_map[place] = rng.choice([number, CROWD], p=[0.8, 0.2])
    class_map[rng.random(size) < 0.03] = classes - 1
    return class_map, instance_map


def naive(truth, prediction, num_classes):
    """Loops over segments, as section 4 of the paper describes it."""

    def segments(side):
        class_map, instance_map = side
        keys = {(int(c), int(i)) for c, i in zip(class_map.ravel(), instance_map.ravel(), strict=True) if c != 255}
        return {key: (class_map == key[0]) & (instance_map == key[1]) for key in keys}

    true, found = segments(truth), segments(prediction)
    void = truth[0] == 255
    sums, counts = np.zeros(num_classes), np.zeros((3, num_classes), int)
    matched_true, matched_found = set(), set()
    for key, mask in true.items():
        for other, other_mask in found.items():
            if key[0] == other[0] and key[1] != CROWD:
                seen = other_mask & ~void
                iou = (mask & seen).sum() / (mask | seen).sum()
                if iou > 0.5:
                    sums[key[0]] += iou
                    counts[0, key[0]] += 1
                    matched_true.add(key)
                    matched_found.add(other)
    for key, mask in found.items():
        if key not in matched_found:
            excused = void | true.get((key[0], CROWD), np.zeros_like(void))
            counts[1, key[0]] += (mask & excused).sum() / mask.sum() <= 0.5
    for key in true:
        counts[2, key[0]] += key not in matched_true and key[1] != CROWD
    return sums, counts


def near(side, seed):
    """Returns other maps that agree with some in most places, without crowds."""
    rng = np.random.default_rng(seed)
    class_map, instance_map = (np.roll(part, 1, axis=1) for part in side)
    place = slice(rng.integers(9), None), slice(rng.integers(20), None)
    class_map, instance_map = class_map.copy(), np.where(instance_map == CROWD, 50, instance_map)
    class_map[place], instance_map[place] = 1, 77
    return class_map, instance_map


@pytest.mark.parametrize("seed", range(12))
def test_panoptic_quality_is_the_naive_loops(seed):
    truth = maps(seed)
    prediction = near(truth, seed) if seed % 3 else maps(seed + 100)
    prediction = prediction[0], np.where(prediction[1] == CROWD, 99, prediction[1])
    scores = panoptic_scores(truth, prediction, num_classes=3)
    sums, counts = naive(truth, prediction, 3)
    np.testing.assert_allclose(scores.iou_sums, sums)
    np.testing.assert_array_equal([scores.true_positives, scores.false_positives, scores.false_negatives], counts)
    weight = counts[0] + (counts[1] + counts[2]) / 2
    seen = weight > 0
    np.testing.assert_allclose(scores.pq[seen], (sums / np.where(seen, weight, 1))[seen])
    np.testing.assert_allclose(scores.pq[seen], (scores.sq * scores.rq)[seen])


def test_a_perfect_map_scores_one_and_classes_without_segments_do_not_count():
    classes = np.array([[0, 0, 1, 1, 255]])
    instances = np.array([[0, 0, 1, 2, 0]])
    scores = panoptic_scores((classes, instances), (classes, instances), num_classes=4)
    assert scores.pq[:2].tolist() == [1, 1]
    assert np.isnan(scores.pq[2:]).all()
    assert scores.means() == {"pq": 1, "sq": 1, "rq": 1}
    assert scores.means([1]) == {"pq": 1, "sq": 1, "rq": 1}  # the things
    assert np.isnan(scores.means([2, 3])["pq"])


def row(*values: int) -> np.ndarray:
    return np.array([values])


def test_an_iou_of_one_half_is_no_match():
    truth = row(1, 1, 1, 1, 0, 0), row(1, 1, 1, 1, 0, 0)
    half = row(1, 1, 0, 0, 0, 0), row(1, 1, 0, 0, 0, 0)
    more = row(1, 1, 1, 0, 0, 0), row(1, 1, 1, 0, 0, 0)
    assert panoptic_scores(truth, half, num_classes=2).pq[1] == 0
    assert panoptic_scores(truth, more, num_classes=2).pq[1] == 0.75


def test_void_pixels_change_no_iou_and_excuse_predictions():
    truth = row(1, 1, 255, 255, 255, 0), row(1, 1, 0, 0, 0, 0)
    scores = panoptic_scores(truth, (row(1, 1, 1, 1, 1, 0), row(1, 1, 1, 1, 1, 0)), num_classes=2)
    assert scores.pq.tolist() == [1, 1]
    # Of the second object two of three pixels are void; of the second one below, one of two.
    scores = panoptic_scores(truth, (row(1, 1, 0, 1, 1, 1), row(1, 1, 0, 2, 2, 2)), num_classes=2)
    assert (scores.false_positives.tolist(), scores.pq[1]) == ([0, 0], 1)
    scores = panoptic_scores(truth, (row(1, 1, 0, 0, 1, 1), row(1, 1, 0, 0, 2, 2)), num_classes=2)
    assert (scores.false_positives.tolist(), scores.pq[1]) == ([0, 1], pytest.approx(2 / 3))


def test_crowds_are_no_misses_and_excuse_predictions_of_their_class_alone():
    truth = row(1, 1, 1, 1, 0, 0), row(-1, -1, -1, -1, 0, 0)
    inside = row(1, 1, 1, 0, 0, 0), row(4, 4, 4, 0, 0, 0)
    scores = panoptic_scores(truth, inside, num_classes=3)
    assert scores.false_positives[1] == scores.false_negatives[1] == scores.true_positives[1] == 0
    scores = panoptic_scores(truth, (2 * inside[0], inside[1]), num_classes=3)
    assert scores.false_positives[2] == 1


def test_scores_of_images_add_up():
    parts = [panoptic_scores(maps(seed), near(maps(seed), seed), num_classes=3) for seed in (0, 1)]
    both = sum(parts, PanopticScores.none(3))
    assert both.true_positives.tolist() == (parts[0].true_positives + parts[1].true_positives).tolist()
    expected = (parts[0].iou_sums + parts[1].iou_sums) / both._weight
    np.testing.assert_allclose(both.pq, expected)


def test_what_is_refused():
    good = row(0, 1), row(0, 1)
    with pytest.raises(ValueError, match=r"classes in 0..1 or 255, got 7 in 2 pixels of the prediction"):
        panoptic_scores(good, (row(7, 7), row(0, 0)), num_classes=2)
    with pytest.raises(ValueError, match=r"of one shape, got \[\(1, 2\), \(1, 3\)\]"):
        panoptic_scores(good, (row(0, 1, 1), row(0, 1, 1)), num_classes=2)
    with pytest.raises(ValueError, match="the same classes, got 2 and 3"):
        PanopticScores.none(2) + PanopticScores.none(3)
