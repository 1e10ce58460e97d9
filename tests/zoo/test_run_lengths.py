"""Run lengths against pycocotools and against dense masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from zoo.masks import RunLengths, as_run_lengths, compress, expand
from zoo.metrics.overlap import mask_iou_matrix


def blobs(seed: int, count: int = 9, size: tuple[int, int] = (37, 53)) -> np.ndarray:
    """Ellipses, noise, an empty mask and a full one, `bool [count, h, w]`."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(size)
    masks = np.zeros((count, *size), bool)
    for mask in masks[:-3]:
        centre, axes = rng.uniform(0, size), rng.uniform(2, 20, 2)
        mask[:] = ((y - centre[0]) / axes[0]) ** 2 + ((x - centre[1]) / axes[1]) ** 2 < 1
    masks[-3], masks[-1] = rng.random(size) < 0.4, True
    return masks


def pycocotools_runs(masks: np.ndarray) -> list[dict]:
    return coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (5, 1), (1, 7), (300, 200)])
def test_everything_is_pycocotools(size):
    a, b = blobs(0, 7, size), blobs(1, 5, size)
    ours, others = RunLengths.from_masks(a), RunLengths.from_masks(b)
    expected, expected_others = pycocotools_runs(a), pycocotools_runs(b)
    assert [runs["counts"].encode() for runs in ours.to_coco()] == [runs["counts"] for runs in expected]
    read = RunLengths.from_coco(expected)
    np.testing.assert_array_equal(read.masks(), a)
    np.testing.assert_array_equal(RunLengths.from_coco(ours.to_coco(compressed=False)).masks(), a)
    np.testing.assert_array_equal(read.areas(), coco_mask.area(expected))
    boxes = coco_mask.toBbox(expected)
    np.testing.assert_array_equal(read.boxes(), np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1))
    crowd = np.arange(5) % 2 == 1
    np.testing.assert_array_equal(ours.iou(others, crowd), coco_mask.iou(expected, expected_others, crowd.tolist()))


masks = arrays.arrays(bool, st.tuples(st.just(3), st.integers(1, 9), st.integers(1, 9)))


@settings(deadline=None, max_examples=60)
@given(masks)
def test_any_masks_survive_and_overlap_as_their_pixels_do(dense):
    runs = RunLengths.from_masks(dense)
    np.testing.assert_array_equal(RunLengths.from_coco(runs.to_coco()).masks(), dense)
    np.testing.assert_array_equal(runs.masks(), dense)
    full = dense.any(axis=(1, 2))
    expected = np.where(full[:, None] & full, mask_iou_matrix(dense, dense), 0)
    np.testing.assert_allclose(runs.iou(runs), expected)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 2**40), max_size=8), max_size=5))
def test_any_numbers_survive_compression(counts):
    lengths = np.array([len(part) for part in counts], int)
    texts = compress(np.array([count for part in counts for count in part], np.int64), lengths)
    numbers, found = expand(texts)
    assert numbers.tolist() == [count for part in counts for count in part]
    assert found.tolist() == lengths.tolist()


def test_a_map_of_instances_gives_the_masks_of_its_numbers():
    instances = np.random.default_rng(0).integers(0, 5, size=(11, 17))
    dense = instances == np.arange(1, 7)[:, None, None]
    np.testing.assert_array_equal(RunLengths.from_instances(instances, 6).masks(), dense)
    assert len(RunLengths.from_instances(instances)) == 4
    assert len(RunLengths.from_instances(np.zeros((3, 5), np.uint16))) == 0


def test_masks_of_several_sizes_are_selected_and_put_together():
    a, b = blobs(0, 4, (9, 5)), blobs(1, 4, (4, 8))
    both = as_run_lengths([RunLengths.from_masks(a), [], RunLengths.from_masks(b).to_coco(), a[:1]])
    np.testing.assert_array_equal(both[[5, 4]].masks(), b[[1, 0]])
    np.testing.assert_array_equal(both[np.arange(9) == 8].masks(), a[:1])
    np.testing.assert_array_equal(both.areas(), [*a.sum(axis=(1, 2)), *b.sum(axis=(1, 2)), a[0].sum()])
    with pytest.raises(ValueError, match="one size to decode"):
        both.masks()
    with pytest.raises(ValueError, match=r"to have one size \(h, w\), received \[9, 5\] and \[4, 8\]"):
        both.intersections(both, [0], [4])


def test_many_pairs_are_compared_in_parts(monkeypatch):
    runs = RunLengths.from_masks(blobs(3))
    whole = runs.iou(runs)
    monkeypatch.setattr("zoo.masks.run_lengths._AT_A_TIME", 50)
    np.testing.assert_array_equal(runs.iou(runs), whole)


def test_runs_that_touch_are_one():
    runs = RunLengths.from_coco([{"size": [2, 3], "counts": [1, 2, 0, 1, 2, 0]}])
    assert runs.to_coco(compressed=False) == [{"size": [2, 3], "counts": [1, 3, 2]}]


def test_what_is_refused():
    good = {"size": [2, 2], "counts": [1, 3]}
    with pytest.raises(ValueError, match=r"add up to 2x3 pixels, received 5; it is number 1 of 2 masks"):
        RunLengths.from_coco([good, {"size": [2, 3], "counts": [1, 4]}])
    with pytest.raises(ValueError, match=r"add up to 2x2 pixels, received 4, some of them below 0"):
        RunLengths.from_coco([{"size": [2, 2], "counts": [5, -1]}])
    for text, message in (("é", "character"), ("\x00", "character"), ("oo", "cut off"), ("o" * 13 + "0", "60 bits")):
        with pytest.raises(ValueError, match=message):
            expand([text])
    with pytest.raises(ValueError, match=r"masks of 0 and 1, received values from 0 to 255"):
        RunLengths.from_masks(np.array([[[0, 255]]]))
    with pytest.raises(ValueError, match=r"masks \[n, h, w\]"):
        RunLengths.from_masks(np.ones((2, 3)))
