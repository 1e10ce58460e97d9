"""Anchors against results worked out by hand, published numbers and keras_cv; and which anchor gets which object."""

import numpy as np
import pytest
import tensorflow as tf

from zoo import boxes as box_geometry
from zoo.detection import anchors, matching


def test_a_grid_by_hand():
    grid = anchors.anchor_grid((32, 48), (16, 32), ([(8, 8)], [(16, 32), (32, 16)]))
    assert grid.dtype == np.float32
    assert grid[:6].tolist() == [[x - 4, y - 4, x + 4, y + 4] for y in (8, 24) for x in (8, 24, 40)]
    # 48 pixels are one and a half cells of 32, so that there are two cells, which divide them evenly.
    assert grid[6:].tolist() == [[4, 0, 20, 32], [-4, 8, 28, 24], [28, 0, 44, 32], [20, 8, 52, 24]]
    with pytest.raises(ValueError, match="shapes for each of 2 strides, got 1"):
        anchors.anchor_grid((32, 48), (16, 32), [[(8, 8)]])


def test_a_grid_in_a_graph_of_any_size_is_the_same():
    shapes = [anchors.anchor_shapes(4 * stride) for stride in (8, 64)]
    in_graph = tf.function(lambda size: anchors.anchor_grid(tf.unstack(size), (8, 64), shapes))
    for size in ((96, 160), (288, 96)):
        np.testing.assert_allclose(in_graph(tf.constant(size)), anchors.anchor_grid(size, (8, 64), shapes), atol=1e-4)


def test_retinanets_anchors():
    shapes = anchors.anchor_shapes(32)
    assert shapes.shape == (9, 2)
    np.testing.assert_allclose(
        shapes.prod(axis=1), np.repeat([32**2, 32**2 * 2 ** (2 / 3), 32**2 * 2 ** (4 / 3)], 3), 1e-5
    )
    np.testing.assert_allclose(shapes[:, 0] / shapes[:, 1], [0.5, 1, 2] * 3, rtol=1e-5)
    # The paper's numbers: from 32 at P3 to 813 at P7.
    assert anchors.anchor_shapes(32).min() < 32 == shapes[1, 0]
    assert round(float(np.sqrt(anchors.anchor_shapes(512).prod(axis=1).max()))) == 813
    with pytest.raises(ValueError, match="sizes and ratios over 0"):
        anchors.anchor_shapes(32, ratios=(1, 0))


def test_ssd300_has_its_8732_priors():
    strides = (8, 16, 32, 64, 100, 300)
    scales = anchors.ssd_scales(6)
    np.testing.assert_allclose(scales, [0.1, 0.2, 0.375, 0.55, 0.725, 0.9, 1.075])
    ratios = [(2,), (2, 3), (2, 3), (2, 3), (2,), (2,)]
    shapes = [300 * anchors.ssd_shapes(*pair, r) for *pair, r in zip(scales[:-1], scales[1:], ratios, strict=True)]
    assert [len(s) for s in shapes] == [4, 6, 6, 6, 4, 4]
    priors = anchors.anchor_grid((300, 300), strides, shapes)
    assert len(priors) == 38 * 38 * 4 + 19 * 19 * 6 + 10 * 10 * 6 + 5 * 5 * 6 + 3 * 3 * 4 + 4 == 8732
    # The first cell of conv4_3: 30 pixels, the root of 30 * 60, and 30 at 2:1, about (0.5 / 38) * 300.
    c = 150 / 38
    sides = [(30, 30), (1800**0.5, 1800**0.5), (30 * 2**0.5, 30 / 2**0.5), (30 / 2**0.5, 30 * 2**0.5)]
    np.testing.assert_allclose(
        priors[:4], [(c - w / 2, c - h / 2, c + w / 2, c + h / 2) for w, h in sides], rtol=1e-4, atol=1e-3
    )
    # The only cell of the last map, in the middle, 0.9 of the image.
    np.testing.assert_allclose(priors[-4], [15, 15, 285, 285], atol=1e-3)
    # The 3:1 box of the second map, 19 x 19, third row, first column.
    at = 38 * 38 * 4 + 2 * 19 * 6 + 4
    x, y, w, h = 150 / 19, 2.5 * 300 / 19, 60 * 3**0.5, 60 / 3**0.5
    np.testing.assert_allclose(priors[at], [x - w / 2, y - h / 2, x + w / 2, y + h / 2], rtol=1e-4, atol=1e-3)
    with pytest.raises(ValueError, match="two scales or more, got 1"):
        anchors.ssd_scales(2)


def test_anchors_are_those_of_keras_cv():
    keras_cv = pytest.importorskip("keras_cv", reason="keras_cv cannot be imported")
    strides, size = (8, 16, 32), (64, 96, 3)
    ratios, octaves = (0.5, 1.0, 2.0), list(anchors.OCTAVES)
    sizes = [32.0, 64.0, 128.0]
    peer = keras_cv.layers.AnchorGenerator("xyxy", sizes, octaves, ratios, strides)(image_shape=size)
    start = 0
    grid = anchors.anchor_grid(size[:2], strides, [anchors.anchor_shapes(side, ratios=ratios) for side in sizes])
    for level in sorted(peer):
        theirs = np.array(peer[level])
        ours = grid[start : start + len(theirs)]
        start += len(theirs)
        # The same cells in the same order; within a cell the order is free.
        assert _cells(ours) == pytest.approx(_cells(theirs), abs=1e-3)
    assert start == len(grid)


def _cells(boxes):
    """Returns the nine boxes of each cell, sorted."""
    cells = np.asarray(boxes, np.float64).round(2).reshape(-1, 9, 4)
    return np.stack([cell[np.lexsort(cell.T)] for cell in cells])


def test_clusters_are_found_and_every_mean_is_the_mean_of_its_own():
    rng = np.random.default_rng(0)
    kinds = np.array([(12, 50), (40, 15), (90, 80)])
    sizes = np.concatenate([kind * rng.uniform(0.9, 1.1, (n, 2)) for kind, n in zip(kinds, (50, 30, 20), strict=True)])
    shapes, overlap = anchors.cluster_shapes(rng.permutation(sizes), 3)
    own = sorted((sizes[:50].mean(0), sizes[50:80].mean(0), sizes[80:].mean(0)), key=np.prod)
    np.testing.assert_allclose(shapes, own, rtol=1e-5)
    naive = []
    for w, h in sizes:
        shared = [min(w, float(a)) * min(h, float(b)) for a, b in shapes]
        naive.append(max(s / (w * h + float(a) * float(b) - s) for s, (a, b) in zip(shared, shapes, strict=True)))
    assert overlap == pytest.approx(np.mean(naive), rel=1e-6)
    assert overlap > 0.85
    # More shapes fit better, the same seed gives the same shapes, and one shape for each size fits perfectly.
    again = anchors.cluster_shapes(sizes, 6, seed=3)
    assert again[1] > overlap
    np.testing.assert_array_equal(anchors.cluster_shapes(sizes, 6, seed=3)[0], again[0])
    assert anchors.cluster_shapes([(4, 8), (8, 4), (4, 8)], 2)[1] == 1.0


@pytest.mark.parametrize(
    ("sizes", "count", "message"),
    [
        ([(4, 8, 1)], 1, r"expected sizes \[n, 2\]"),
        ([(4, 0)], 1, "widths and heights over 0"),
        ([(4, np.nan)], 1, "widths and heights over 0"),
        ([(4, 8), (4, 8)], 2, "expected 1 shape to 1, as many as there are different sizes, got 2"),
    ],
)
def test_what_cannot_be_clustered_is_refused(sizes, count, message):
    with pytest.raises(ValueError, match=message):
        anchors.cluster_shapes(sizes, count)


def in_a_row(*ends):
    """Returns boxes of width 10 and of the given heights: their IoU is the quotient of the heights."""
    return np.float32([[0, 0, 10, end] for end in ends])


def rows(grid, objects, **settings):
    """Returns the rows of the objects for one image."""
    real = np.ones((1, len(objects)), bool)
    return matching.by_overlap(grid, np.float32(objects)[None], real, **settings).numpy()[0].tolist()


def test_thresholds_by_hand():
    grid = in_a_row(10, 7, 6.9, 5, 4.9, 3, 2.9)
    objects = in_a_row(10)
    assert rows(grid, objects, positive=0.5, negative=0.5) == [0, 0, 0, 0, -1, -1, -1]
    # 0.7 (in float32) is at least 0.7; below 0.3 is background.
    assert rows(grid, objects, positive=0.69, negative=0.3) == [0, 0, 0, -2, -2, -2, -1]
    # Each anchor has the object that it overlaps most.
    assert rows(in_a_row(10, 8, 6), in_a_row(10, 7), positive=0.5, negative=0.5) == [0, 1, 1]


def test_objects_that_nothing_overlaps_enough():
    grid = in_a_row(4, 4, 3, 1)
    objects = in_a_row(10)
    common = {"positive": 0.5, "negative": 0.35}
    assert rows(grid, objects, **common) == [-2, -2, -1, -1]
    # Both anchors have the highest overlap (Faster R-CNN has "the anchor/anchors").
    assert rows(grid, objects, rescue="best", **common) == [0, 0, -1, -1]
    # Only one of them is chosen.
    assert rows(grid, objects, rescue="bipartite", **common) == [0, -2, -1, -1]
    # An object that no anchor touches gets no anchor.
    assert rows(grid, [[50, 50, 60, 60]], rescue="best", **common) == [-1] * 4
    assert rows(grid, [[50, 50, 60, 60]], rescue="bipartite", **common) == [-1] * 4


def test_two_objects_that_want_the_same_anchor():
    grid, objects = in_a_row(20, 30), in_a_row(10, 16)  # IoUs: 0.5 and 0.33; 0.8 and 0.53
    common = {"positive": 0.9, "negative": 0.1}
    assert rows(grid, objects, rescue="best", **common) == [1, -2]  # the object with the larger IoU wins
    assert rows(grid, objects, rescue="bipartite", **common) == [1, 0]  # the other object gets the next anchor
    assert rows(in_a_row(20), objects, rescue="bipartite", **common) == [1]  # there is no other anchor


def naive(overlap, positive, negative, rescue):
    """Computes IoUs `[m, n]`, object by object and anchor by anchor."""
    found = []
    for n in range(overlap.shape[1]):
        best = overlap[:, n].max() if len(overlap) else 0
        found.append(int(overlap[:, n].argmax()) if best >= positive else -1 if best < negative else -2)
    if rescue == "best":
        for n in range(overlap.shape[1]):
            wanting = [m for m in range(len(overlap)) if 0 < overlap[m, n] == overlap[m].max()]
            if wanting:
                found[n] = max(wanting, key=lambda m: overlap[m, n])
    if rescue == "bipartite":
        left = overlap.copy()
        for _ in range(len(overlap)):
            m, n = np.unravel_index(left.argmax(), left.shape)
            if left[m, n] > 0:
                found[n] = int(m)
            left[m], left[:, n] = 0, 0
    return found


@pytest.mark.parametrize("rescue", ["none", "best", "bipartite"])
def test_it_is_the_loop(rescue):
    rng = np.random.default_rng(0)
    grid = anchors.anchor_grid((64, 96), (16, 32), [anchors.anchor_shapes(s, octaves=[1]) for s in (24, 48)])
    corner = rng.uniform(0, 60, (4, 6, 2))
    objects = np.concatenate([corner, corner + rng.uniform(3, 50, (4, 6, 2))], -1).astype("float32")
    real = rng.uniform(size=(4, 6)) < 0.7
    real[3] = False
    settings = {"positive": 0.5, "negative": 0.3, "rescue": rescue}
    graph = tf.function(
        lambda boxes, real: matching.by_overlap(grid, boxes, real, **settings),
        input_signature=[tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None], tf.bool)],
    )
    for got in (matching.by_overlap(grid, objects, real, **settings), graph(objects, real)):
        for b in range(4):
            overlap = box_geometry.overlap_matrix(objects[b], grid)
            expected = naive(overlap * real[b][:, None], 0.5, 0.3, rescue)
            assert got[b].numpy().tolist() == expected
        assert set(got[3].numpy().tolist()) == {-1}
    assert graph(objects[:, :0], real[:, :0]).numpy().tolist() == [[-1] * len(grid)] * 4
    own = np.stack([grid, grid + 5] * 2)  # each image has its own anchors, like proposals
    got = matching.by_overlap(own, objects, real, **settings).numpy()
    np.testing.assert_array_equal(got[1], matching.by_overlap(grid + 5, objects, real, **settings)[1])


def test_matches_are_those_of_keras_cv():
    keras_cv = pytest.importorskip("keras_cv", reason="keras_cv cannot be imported")
    rng = np.random.default_rng(1)
    grid = anchors.anchor_grid((64, 96), (16, 32), [anchors.anchor_shapes(s, octaves=[1]) for s in (24, 48)])
    corner = rng.uniform(0, 50, (5, 3, 2))
    objects = np.concatenate([corner, corner + rng.uniform(15, 50, (5, 3, 2))], -1).astype("float32")
    overlap = box_geometry.overlap_matrix(grid, objects)
    for rescue in ("none", "best"):
        matcher = keras_cv.layers.BoxMatcher([0.4, 0.5], [-1, -2, 1], force_match_for_each_col=rescue == "best")
        columns, values = (np.array(x) for x in matcher(tf.constant(overlap)))
        theirs = np.where(values == 1, columns, values)
        ours = matching.by_overlap(grid, objects, np.ones((5, 3), bool), positive=0.5, negative=0.4, rescue=rescue)
        # If two objects compete for one anchor, keras_cv gives it to the first object and we give it to the one with
        # the larger IoU. Of equal anchors keras_cv takes the first and we take all. Neither occurs here. But keras_cv
        # (0.9.0) also gives the first anchor to the padding that it adds.
        np.testing.assert_array_equal(ours[:, 1:], theirs[:, 1:])
        assert (theirs >= 0).any()
        assert (theirs == -2).any()


def test_what_cannot_be_matched_is_refused():
    with pytest.raises(ValueError, match=r"0 < negative <= positive <= 1, got negative=0.6 and positive=0.5"):
        rows(in_a_row(1), in_a_row(1), positive=0.5, negative=0.6)
    with pytest.raises(ValueError, match="rescue"):
        rows(in_a_row(1), in_a_row(1), rescue="all")
