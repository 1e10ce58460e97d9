"""Fusion of classes and objects against a naive loop, and by hand."""

import numpy as np
import pytest

from zoo.masks import RunLengths
from zoo.metrics.panoptic import panoptic_scores
from zoo.segmentation.panoptic import fuse, segments


def naive(semantic, masks, classes, scores, things, score_threshold, overlap_threshold, smallest_stuff):
    class_map, instance_map = np.full(semantic.shape, 255), np.zeros(semantic.shape, int)
    count = 0
    for i in sorted(range(len(masks)), key=lambda i: (-scores[i], i)):
        free = masks[i] & (instance_map == 0)
        if scores[i] >= score_threshold and free.any() and free.sum() / masks[i].sum() >= overlap_threshold:
            count += 1
            class_map[free], instance_map[free] = classes[i], count
    for number in set(semantic.ravel().tolist()) - set(things) - {255}:
        region = (semantic == number) & (instance_map == 0)
        if region.sum() >= smallest_stuff:
            class_map[region] = number
    return class_map, instance_map


@pytest.mark.parametrize("seed", range(8))
def test_fusion_is_the_naive_loop(seed):
    rng = np.random.default_rng(seed)
    size = (20, 31)
    semantic = np.kron(rng.integers(0, 5, (4, 7)), np.ones((5, 5), int))[: size[0], : size[1]].astype(np.uint8)
    semantic[rng.random(size) < 0.05] = 255
    masks = np.zeros((9, *size), bool)
    for mask in masks:
        y, x = rng.integers(0, size)
        mask[y : y + rng.integers(1, 15), x : x + rng.integers(1, 15)] = True
    classes, scores = rng.integers(3, 5, 9), rng.integers(1, 6, 9) / 5
    given = {"score_threshold": 0.4, "overlap_threshold": 0.5, "smallest_stuff": 60}
    expected = naive(semantic, masks, classes, scores, [3, 4], *given.values())
    for form in (masks, RunLengths.from_masks(masks), RunLengths.from_masks(masks).to_coco()):
        fused = fuse(semantic, form, classes, scores, things=[3, 4], **given)
        np.testing.assert_array_equal(fused[0], expected[0])
        np.testing.assert_array_equal(fused[1], expected[1])
    assert (fused[0].dtype, fused[1].dtype) == (np.uint8, np.int32)


def test_perfect_outputs_fuse_to_the_truth():
    semantic = np.array([[0, 0, 2, 2, 1, 1], [0, 2, 2, 2, 2, 1]])
    instances = np.array([[0, 0, 1, 1, 0, 0], [0, 1, 1, 2, 2, 0]])
    masks = RunLengths.from_instances(instances)
    fused = fuse(semantic, masks, [2, 2], [0.9, 0.8], things=[2], smallest_stuff=1)
    assert panoptic_scores((semantic, instances), fused, num_classes=3).means() == {"pq": 1, "sq": 1, "rq": 1}
    assert [(s["class"], s["instance"], s["area"]) for s in segments(*fused)] == [
        (0, 0, 3), (1, 0, 3), (2, 1, 4), (2, 2, 2),
    ]  # fmt: skip


def test_without_objects_things_are_void_and_small_stuff_is_too():
    semantic = np.array([[0, 0, 0, 1, 2, 2]])
    classes, instances = fuse(semantic, np.zeros((0, 1, 6), bool), [], [], things=[2], smallest_stuff=2)
    assert classes.tolist() == [[0, 0, 0, 255, 255, 255]]
    assert instances.max() == 0


def test_what_is_refused():
    semantic, mask = np.zeros((2, 3), int), np.ones((1, 2, 3), bool)
    with pytest.raises(ValueError, match="1 masks, 2 classes and 1 scores"):
        fuse(semantic, mask, [1, 1], [0.9], things=[1])
    with pytest.raises(ValueError, match=r"objects of the things \[1\], received objects of the classes \[0\]"):
        fuse(semantic, mask, [0], [0.9], things=[1])
    with pytest.raises(ValueError, match=r"masks of the size \(h, w\) \(2, 3\) of the class map, received \[3, 2\]"):
        fuse(semantic, np.ones((1, 3, 2), bool), [1], [0.9], things=[1])
    with pytest.raises(ValueError, match="take the argmax of scores first"):
        fuse(np.zeros((2, 3)), mask, [1], [0.9], things=[1])
