"""Which point learns which object: worked out by hand, and against loops that read like the papers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo import boxes as box_geometry
from zoo.detection import fpn, matching, targets


def scenes(rng, b=3, m=5, size=(96, 128)):
    corner = rng.uniform(0, 60, (b, m, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(3, 70, (b, m, 2))], -1).astype("float32")
    real = rng.uniform(size=(b, m)) < 0.7
    return boxes * real[..., None], real


def nearest_if_none_inside(points, box):
    inside = [box[0] < x < box[2] and box[1] < y < box[3] for x, y in points]
    if any(inside):
        return inside, None
    centre = (box[:2] + box[2:]) / 2
    return inside, int(np.argmin(((points - centre) ** 2).sum(-1)))


def naive_by_centre(points, strides, boxes, real, radius=1.5):
    rows = np.full((len(boxes), len(points)), -1)
    for b in range(len(boxes)):
        smallest = np.full(len(points), np.inf)
        for m in np.flatnonzero(real[b]):
            x1, y1, x2, y2 = map(float, boxes[b, m])
            inside, nearest = nearest_if_none_inside(points, boxes[b, m])
            for n, (x, y) in enumerate(points.tolist()):
                s = strides[n]
                farthest = max(x - x1, y - y1, x2 - x, y2 - y)
                fits = (s == 8 or farthest > 4 * s) and (s == 32 or farthest <= 8 * s)
                near = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) < radius * s
                if ((inside[n] and fits and near) or n == nearest) and (x2 - x1) * (y2 - y1) < smallest[n]:
                    smallest[n], rows[b, n] = (x2 - x1) * (y2 - y1), m
    return rows


def naive_task_aligned(scores, predicted, points, boxes, classes, real, top, alpha, beta):
    rows, weights = np.full(scores.shape[:2], -1), np.zeros(scores.shape[:2])
    for b in range(len(boxes)):
        t, u = np.zeros((boxes.shape[1], len(points))), np.zeros((boxes.shape[1], len(points)))
        chosen: dict[int, list[int]] = {}
        for m in np.flatnonzero(real[b]):
            u[m] = box_geometry.iou(boxes[b, m], predicted[b])
            t[m] = scores[b, :, classes[b, m]] ** alpha * np.maximum(u[m], 1e-3) ** beta
            inside, nearest = nearest_if_none_inside(points, boxes[b, m])
            candidates = [n for n in range(len(points)) if inside[n] or n == nearest]
            for n in sorted(candidates, key=lambda n: -t[m, n])[:top]:
                chosen.setdefault(n, []).append(m)
        for n, objects in chosen.items():
            rows[b, n] = max(objects, key=lambda m: u[m, n])
        for m in set(rows[b]) - {-1}:
            mine = np.flatnonzero(rows[b] == m)
            weights[b, mine] = t[m, mine] / t[m, mine].max() * u[m, mine].max()
    return rows, weights


def test_points_lie_in_the_middle_of_what_they_stand_for():
    points, strides = targets.grid_points((64, 96))
    assert points.shape == (8 * 12 + 4 * 6 + 2 * 3, 2)
    assert points[0].tolist() == [4, 4]
    assert points[12].tolist() == [4, 12]  # the first point of the second row
    assert points[-1].tolist() == [80, 48]
    assert [int((strides == s).sum()) for s in (8, 16, 32)] == [96, 24, 6]
    with pytest.raises(ValueError, match=r"multiples of 32 pixels, the largest stride, got \(64, 100\)"):
        targets.grid_points((64, 100))


def test_distances_there_and_back():
    rng = np.random.default_rng(0)
    points, strides = targets.grid_points((64, 96))
    boxes = np.concatenate([points - rng.uniform(1, 60, points.shape), points + rng.uniform(1, 60, points.shape)], -1)
    codes = targets.encode_distances(boxes.astype("float32")[None], points, strides)
    np.testing.assert_allclose(targets.decode_distances(codes, points, strides)[0], boxes, atol=1e-3)
    # Half a stride to the left, one stride up, two to the right and four down.
    one = targets.encode_distances(np.float32([[16, 12, 36, 52]]), np.float32([[20, 20]]), np.float32([8]))
    np.testing.assert_allclose(np.exp(one), [[0.5, 1, 2, 4]], rtol=1e-6)
    extreme = targets.decode_distances(tf.constant([[1e9, -1e9, 0, 0]]), points[:1], strides[:1])
    assert np.isfinite(extreme).all()


def test_the_middle_of_an_object_on_the_map_of_its_size():
    points, strides = targets.grid_points((128, 128))
    boxes = np.float32([[[0, 0, 40, 40], [0, 0, 128, 128]]])
    rows = matching.by_centre(points, strides, boxes, np.array([[True, True]])).numpy()[0]
    # 40 pixels belong to stride 8: x and y of 12, 20 and 28 are less than 12 pixels from the centre.
    small = points[rows == 0]
    assert sorted(map(tuple, small.tolist())) == [(x, y) for x in (12, 20, 28) for y in (12, 20, 28)]
    assert set(strides[rows == 0].tolist()) == {8}
    # 128 pixels: at stride 8 no side may be farther than 64 pixels. At stride 16, 56 and 72 are less than 24 from the
    # centre.
    assert sorted(map(tuple, points[rows == 1].tolist())) == [(56, 56), (56, 72), (72, 56), (72, 72)]


def test_an_object_between_the_points_gets_the_nearest():
    points, strides = targets.grid_points((64, 64))
    boxes = np.float32([[[13, 6, 15, 7]]])  # the nearest point is (12, 4)
    scores, predicted = np.full((1, len(points), 2), 0.3, "float32"), np.tile(points, 2)[None] + [-9, -9, 9, 9]
    for rows in (
        matching.by_centre(points, strides, boxes, np.array([[True]])),
        matching.task_aligned(scores, predicted.astype("float32"), points, boxes, [[1]], np.array([[True]]))[0],
    ):
        assert points[np.flatnonzero(rows.numpy()[0] == 0)].tolist() == [[12, 4]]


@pytest.mark.parametrize("seed", range(3))
def test_by_centre_is_the_loop(seed):
    boxes, real = scenes(np.random.default_rng(seed))
    points, strides = targets.grid_points((96, 128))
    expected = naive_by_centre(points, strides, boxes, real)
    assert (expected >= 0).any()
    np.testing.assert_array_equal(matching.by_centre(points, strides, boxes, real), expected)


@pytest.mark.parametrize("seed", range(3))
def test_task_alignment_is_the_loop(seed):
    rng = np.random.default_rng(seed)
    boxes, real = scenes(rng)
    points, _ = targets.grid_points((96, 128))
    reach = rng.uniform(2, 50, (3, len(points), 4)).astype("float32")
    predicted = np.tile(points, 2) + reach * np.float32([-1, -1, 1, 1])
    scores = rng.uniform(0.01, 0.9, (3, len(points), 4)).astype("float32")
    classes = np.where(real, rng.integers(0, 4, real.shape), -1)
    settings = {"top": 4, "alpha": 0.5, "beta": 3.0}
    rows, weights = matching.task_aligned(scores, predicted, points, boxes, classes, real, **settings)
    expected_rows, expected_weights = naive_task_aligned(scores, predicted, points, boxes, classes, real, **settings)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(weights, expected_weights, rtol=1e-4, atol=1e-6)


def test_a_point_of_two_objects_takes_the_one_it_overlaps_most():
    points = np.float32([[10, 10], [30, 10]])
    boxes = np.float32([[[0, 0, 20, 20], [0, 0, 40, 20]]])
    predicted = np.float32([[[0, 0, 24, 20], [0, 0, 40, 20]]])  # the IoUs are 20/24 and 24/40; 20/40 and 1
    rows, weights = matching.task_aligned(
        np.full((1, 2, 1), 1.0, "float32"), predicted, points, boxes, [[0, 0]], np.array([[True, True]]), beta=1.0
    )
    assert rows.numpy().tolist() == [[0, 1]]
    np.testing.assert_allclose(weights, [[20 / 24, 1]], rtol=1e-6)


@pytest.mark.parametrize("rows", [0, 2])
def test_images_without_objects_are_all_background(rows):
    points, strides = targets.grid_points((32, 64))
    boxes, real = tf.zeros((2, rows, 4)), tf.zeros((2, rows), tf.bool)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None], tf.bool)])
    def both(boxes, real):
        predicted = tf.tile(tf.constant(np.tile(points, 2))[None], [2, 1, 1])
        classes = tf.fill(tf.shape(real), -1)
        scores = tf.fill([2, len(points), 3], 0.1)
        aligned, weights = matching.task_aligned(scores, predicted, points, boxes, classes, real)
        return matching.by_centre(points, strides, boxes, real), aligned, weights

    centre, aligned, weights = both(boxes, real)
    np.testing.assert_array_equal(matching.by_centre(points, strides, boxes, real), centre)  # also outside of a graph
    assert set(centre.numpy().ravel()) == set(aligned.numpy().ravel()) == {-1}
    assert not weights.numpy().any()


def test_what_counts_as_an_object():
    boxes = np.float32([[[0, 0, 5, 5], [0, 0, 5, 5], [3, 3, 3, 9], [0, 0, 0, 0]]] * 2)
    classes = np.int32([[0, 2, 1, -1]] * 2)
    real = targets.real_objects({"boxes": boxes, "classes": classes, "crowd": [[False, True, False, False]] * 2})
    assert real.numpy().tolist() == [[True, False, False, False]] * 2
    real = targets.real_objects({"boxes": boxes, "classes": classes, "num_boxes": [1, 4]})
    assert real.numpy().tolist() == [[True, False, False, False], [True, True, False, False]]


@pytest.mark.parametrize(
    ("boxes", "classes", "message"),
    [
        ([[[0.1, 0.2, 0.5, 0.9]]], [[0]], "expected xyxy boxes in absolute pixels, got relative ones"),
        ([[[1.0, 2, np.nan, 9]]], [[0]], "expected finite box coordinates"),
        ([[[1.0, 2, 5, 9]]], [[3]], r"expected classes of 0..2, and -1 for padding"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_a_graph_and_outside(boxes, classes, message):
    truths = {"boxes": np.float32(boxes), "classes": np.int32(classes)}
    with pytest.raises(ValueError, match=message):
        targets.check_truths(truths, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        tf.function(lambda boxes: targets.check_truths(truths | {"boxes": boxes}, 3)["boxes"])(truths["boxes"])


def test_truths_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="a dict with boxes"):
        targets.check_truths({"boxes": np.zeros((1, 2, 4))}, 3)
    with pytest.raises(ValueError, match="got NoneType"):
        targets.check_truths(None, 3)
    with pytest.raises(ValueError, match=r"expected boxes \[b, m, 4\]"):
        targets.check_truths({"boxes": np.zeros((2, 4)), "classes": np.zeros((2, 1))}, 3)
    with pytest.raises(ValueError, match="top of 1 or more"):
        matching.task_aligned(None, None, None, None, None, None, top=0)
    with pytest.raises(ValueError, match="a radius over 0"):
        matching.by_centre(None, None, None, None, radius=0)


def test_pyramids_tell_each_level_of_the_others():
    maps = {"c3": keras.Input((8, 12, 5)), "c4": keras.Input((4, 6, 7)), "c5": keras.Input((2, 3, 9))}
    inputs = list(maps.values())
    values = [np.random.default_rng(0).normal(size=(2, *x.shape[1:])).astype("float32") for x in inputs]
    down = fpn.top_down(maps, 6)
    up = fpn.bottom_up(down)

    def answers(result, changed):
        model = keras.Model(inputs, result)
        before = model(values)
        after = model([x + (i == changed) for i, x in enumerate(values)])
        return [level for level in before if np.abs(after[level] - before[level]).max() > 1e-6]

    assert [tuple(x.shape[1:]) for x in up.values()] == [(8, 12, 6), (4, 6, 6), (2, 3, 6)]
    assert answers(down, 2) == ["p3", "p4", "p5"]  # the coarse map reaches all levels
    assert answers(down, 0) == ["p3"]  # the fine map reaches only its own
    assert answers(up, 0) == ["p3", "p4", "p5"]
    with pytest.raises(ValueError, match="half as high and wide"):
        fpn.top_down({"c3": keras.Input((9, 12, 5)), "c4": keras.Input((5, 6, 7))}, 6)
    with pytest.raises(ValueError, match="two levels or more, got c3"):
        fpn.top_down({"c3": keras.Input((9, 12, 5))}, 6)
