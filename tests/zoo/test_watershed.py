"""Targets of touching objects against naive loops, and objects that are grown from them again."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from zoo.metrics.panoptic import panoptic_scores
from zoo.segmentation import watershed


def discs(size=(60, 90)) -> np.ndarray:
    """Returns touching discs of several sizes, some of them cut by the border; their numbers have gaps."""
    y, x = np.ogrid[: size[0], : size[1]]
    instances = np.zeros(size, np.uint16)
    for number, (cy, cx, radius) in enumerate(
        [(15, 15, 9), (16, 32, 9), (33, 22, 9), (50, 5, 12), (12, 88, 7), (45, 60, 10), (44, 79, 10), (30, 55, 5)]
    ):
        instances[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = 3 * number + 2
    return instances


@pytest.mark.parametrize("thickness", [1, 2])
def test_boundaries_are_the_naive_loops(thickness):
    instances = discs()
    targets = watershed.boundary_targets(instances, thickness=thickness)
    padded = np.pad(instances, thickness, mode="edge")
    side = 2 * thickness + 1
    for (y, x), number in np.ndenumerate(instances):
        around = padded[y : y + side, x : x + side]
        expected = 0 if not number else 1 if (around == number).all() else 2
        assert targets[y, x] == expected


def test_every_object_keeps_an_interior():
    instances = np.zeros((9, 12), int)
    instances[1:3, 1:11], instances[4, 5], instances[6:8, 2:4] = 1, 2, 3
    targets = watershed.boundary_targets(instances, thickness=3)
    assert all((targets[instances == number] == 1).any() for number in (1, 2, 3))
    assert (targets[instances == 0] == 0).all()


def test_distances_are_the_naive_loops():
    instances = discs((30, 41))
    depth = watershed.distance_targets(instances)
    expected = np.zeros(instances.shape)
    for number in np.unique(instances[instances > 0]):
        outside = np.argwhere(instances != number)
        own = np.argwhere(instances == number)
        distances = np.sqrt(((own[:, None] - outside) ** 2).sum(axis=2)).min(axis=1)
        expected[tuple(own.T)] = distances / distances.max()
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    assert watershed.distance_targets(np.ones((3, 4), int)).tolist() == np.ones((3, 4)).tolist()


def quality(instances, objects) -> float:
    truth, found = (((ids > 0).astype(int), ids.astype(int)) for ids in (instances, objects))
    return float(panoptic_scores(truth, found, num_classes=2).pq[1])


def test_objects_come_back_from_their_targets():
    instances = discs()
    classes = np.eye(3)[watershed.boundary_targets(instances)]
    blurred = np.stack([gaussian_filter(classes[..., i], 0.7) for i in range(3)], axis=-1)
    depth = watershed.distance_targets(instances)
    for objects in (
        watershed.objects_from_boundaries(classes),
        watershed.objects_from_boundaries(blurred),
        watershed.objects_from_distances(depth, threshold=0.01),
        watershed.objects_from_distances(gaussian_filter(depth, 0.7)),
    ):
        assert objects.dtype == np.int32
        assert sorted(np.unique(objects)) == list(range(len(np.unique(instances))))
        assert quality(instances, objects) > 0.9
    assert quality(instances, watershed.objects_from_boundaries(classes)) == pytest.approx(1, abs=0.02)


def test_touching_discs_are_divided_without_learning():
    instances = discs()
    assert quality(instances, watershed.objects_from_foreground(instances > 0)) > 0.75


def test_small_objects_are_left_out_and_nothing_gives_nothing():
    depth = np.zeros((8, 20))
    depth[2:6, 2:8], depth[3, 12] = 1, 1
    assert watershed.objects_from_distances(depth).max() == 2
    assert watershed.objects_from_distances(depth, smallest=4).max() == 1
    assert watershed.objects_from_distances(np.zeros((4, 5))).tolist() == np.zeros((4, 5)).tolist()
    assert watershed.objects_from_foreground(np.zeros((4, 5), bool)).max() == 0
    assert watershed.boundary_targets(np.zeros((4, 5), int)).max() == 0


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"integers \[h, w\], received float64 of the shape \(2, 3\)"):
        watershed.boundary_targets(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="thickness of 1 pixel or more, received 0"):
        watershed.boundary_targets(np.zeros((2, 3), int), thickness=0)
    with pytest.raises(ValueError, match=r"\[h, w, 3\], received the shape \(4, 5, 2\)"):
        watershed.objects_from_boundaries(np.zeros((4, 5, 2)))
    with pytest.raises(ValueError, match="seeds to be deeper than objects"):
        watershed.objects_from_distances(np.zeros((4, 5)), threshold=0.6)
