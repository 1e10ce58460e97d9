"""Synthetic scenes: what is annotated is what is painted, and the same seed paints the same."""

import itertools

import numpy as np
import pytest
from PIL import Image

from pipelines import (
    Cutouts,
    Data,
    Samples,
    Scene,
    SyntheticClips,
    SyntheticScenes,
    cut_out,
    cut_out_scenes,
    padded_batches,
    read_data,
    read_scenes,
    scene_dataset,
    write_scenes,
)
from pipelines.annotations.outlines import class_mask, instance_masks


def blocks():
    """Two classes of opaque rectangles of pure red and pure green: their pixels cannot be mistaken."""
    red, green = (np.zeros([h, w, 4], np.uint8) for h, w in ((10, 20), (16, 8)))
    red[..., [0, 3]] = 255
    green[..., [1, 3]] = 255
    return Cutouts([red, green], [0, 1], ["red", "green"])


def hull(mask):
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


BLUE = np.full([1, 4, 4, 3], (0, 0, 200), np.uint8)


def test_boxes_masks_and_classes_are_those_in_the_pixels():
    """Rendering decides: objects are found again by their colour."""
    scenes = SyntheticScenes(
        blocks(), 60, size=(75, 101), objects=(0, 6), rotation=0.0, background=BLUE, min_visible=0.3, seed=1
    )
    counts = set()
    for scene in scenes:
        counts.add(len(scene))
        assert scene.size == scene.image.shape[:2] == (75, 101)
        red, green = (scene.image[..., channel] > 127 for channel in (0, 1))
        mask = class_mask(scene)
        assert np.array_equal(mask == 1, red)
        assert np.array_equal(mask == 2, green)
        assert np.array_equal(instance_masks(scene).sum(axis=0), red | green)
        for number, (box, entry) in enumerate(zip(scene.boxes, scene.attributes, strict=True), start=1):
            assert box.tolist() == hull(scene.instances == number)
            assert 0.3 <= entry["visible"] <= 1
    assert {0, 1, 2, 3} <= counts
    assert max(counts) <= 6


def test_rotated_soft_objects_agree_with_their_boxes():
    digits = read_data("sklearn:digits")
    scenes = SyntheticScenes(cut_out(digits.train[:100], digits.class_names), 20, size=(64, 90), rotation=40, tint=True)
    for scene in scenes:
        for number, box in enumerate(scene.boxes, start=1):
            assert box.tolist() == hull(scene.instances == number)
    classes = np.concatenate([scene.classes for scene in scenes])
    assert len(set(classes.tolist())) > 5


def test_the_seed_and_the_number_decide():
    first, again, other = (SyntheticScenes(blocks(), 9, size=(30, 40), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first[7].image, again[7].image)
    assert np.array_equal(first[-2].boxes, again[7].boxes)
    assert not np.array_equal(first[7].image, other[7].image)
    assert not np.array_equal(first[7].image, first[6].image)
    assert [scene.name for scene in first[2:4]] == ["1-000002.png", "1-000003.png"]
    with pytest.raises(IndexError):
        first[9]


def test_a_clip_keeps_identities_through_occlusion():
    clips = SyntheticClips(
        blocks(), 3, frames=40, size=(60, 80), objects=(4, 4), rotation=0.0, background=BLUE, speed=(2.0, 3.0), seed=3
    )
    hidden = 0
    for clip in clips:
        assert len(clip) == 40
        for before, after in itertools.pairwise(clip):
            assert before.identities.tolist() == after.identities.tolist() == [0, 1, 2, 3]
            assert before.classes.tolist() == after.classes.tolist()
            centres = [(s.boxes[:, :2] + s.boxes[:, 2:]) / 2 for s in (before, after)]
            assert np.abs(centres[1] - centres[0]).max() <= 3 + 1  # a whole pixel of rounding
        for scene in clip:
            for number, entry in enumerate(scene.attributes, start=1):
                seen = scene.instances == number
                assert (entry["visible"] > 0) == seen.any()
                hidden += entry["visible"] < 0.5
                if seen.any():
                    x1, y1, x2, y2 = hull(seen)
                    box = scene.boxes[number - 1]
                    assert (box[:2] <= [x1, y1]).all()
                    assert (box[2:] >= [x2, y2]).all()
                    assert scene.image[seen][:, scene.classes[number - 1]].min() > 127
    assert hidden > 10
    assert [scene.seconds for scene in clips[0]][:3] == [0.0, 0.04, 0.08]


def test_objects_that_leave_are_no_longer_annotated_and_keep_their_numbers():
    clips = SyntheticClips(
        blocks(), 2, frames=60, size=(40, 50), objects=(3, 3), speed=(2.0, 3.0), edges="leave", boxes="visible"
    )
    for clip in clips:
        assert len(clip[0]) == 3
        assert len(clip[-1]) == 0
        for scene in clip:
            assert set(scene.identities.tolist()) <= {0, 1, 2}
            for number, box in enumerate(scene.boxes, start=1):
                assert box.tolist() == hull(scene.instances == number)
    seen = SyntheticClips(blocks(), 1, frames=40, size=(40, 50), objects=(4, 4), min_visible=0.5)[0]
    assert all(entry["visible"] >= 0.5 for scene in seen for entry in scene.attributes)
    assert min(map(len, seen)) < 4


def test_cutting_out_transparency(tmp_path):
    pixels = np.zeros([12, 20, 4], np.uint8)
    pixels[3:9, 5:15] = (200, 10, 20, 255)
    for name, image in (("a.png", pixels), ("b.png", pixels[::-1]), ("empty.png", pixels * 0)):
        Image.fromarray(image).save(tmp_path / name)
    samples = Samples([str(tmp_path / name) for name in ("a.png", "b.png", "empty.png")], [0, 1, 1], ["a", "b", "c"])
    cutouts = cut_out(samples, ["x", "y"])
    assert [image.shape for image in cutouts.images] == [(6, 10, 4)] * 2
    assert cutouts.images[0][0, 0].tolist() == [200, 10, 20, 255]
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="a: has no transparency"):
        cut_out(samples, ["x", "y"])
    with pytest.raises(ValueError, match="expected at least one object"):
        cut_out(samples[2:], ["x", "y"])


def test_cutting_out_what_is_bright():
    image = np.zeros([1, 9, 9, 3], np.uint8)
    image[0, 2:7, 2:7] = 200
    image[0, 4, 4] = 0  # a hole
    samples = Samples(image, [0], ["a"])
    soft = cut_out(samples, ["x"]).images[0]
    assert soft[..., 3].tolist() == image[0, 2:7, 2:7, 0].tolist()
    assert soft[0, 0, :3].tolist() == [255] * 3
    whole = cut_out(samples, ["x"], alpha="silhouette").images[0]
    assert (whole[..., 3] == 255).all()
    assert whole[2, 2, :3].tolist() == [0, 0, 0]


def test_cutting_out_of_scenes():
    image = np.zeros([20, 30, 3], np.uint8)
    image[5:10, 5:15] = 99
    outline = (np.array([[5, 5], [15, 5], [15, 10], [5, 10]]),)
    scene = Scene(image, "a", (20, 30), [[5, 5, 15, 10], [0, 0, 4, 4]], [1, 0], outlines=[outline, None])
    cutouts = cut_out_scenes([scene], ["x", "y"])
    assert cutouts.labels.tolist() == [1]
    assert (cutouts.images[0] == [99, 99, 99, 255]).all()
    again = cut_out_scenes(SyntheticScenes(cutouts, 3, size=(40, 50), objects=(1, 1))[:], ["x", "y"])
    assert len(again) == 3


def test_backgrounds(tmp_path):
    Image.new("RGB", (40, 30), (1, 2, 3)).save(tmp_path / "a.png")
    photos = Samples([str(tmp_path / "a.png")], [0], ["a"])
    for background in ("plain", "noise", photos, BLUE):
        scene = SyntheticScenes(blocks(), 1, size=(17, 33), objects=(0, 0), background=background)[0]
        assert scene.image.shape == (17, 33, 3)
        assert len(scene) == 0
    assert (SyntheticScenes(blocks(), 1, objects=(0, 0), background=photos)[0].image == [1, 2, 3]).all()


@pytest.mark.parametrize(
    "options",
    [
        {"length": -1},
        {"size": (0, 4)},
        {"objects": (3, 2)},
        {"scale": (0.0, 0.5)},
        {"scale": (0.5, 1.5)},
        {"min_visible": 2},
        {"boxes": "amodal"},
        {"background": "photo"},
    ],
)
def test_wrong_arguments(options):
    with pytest.raises(ValueError, match="expected"):
        SyntheticScenes(**({"cutouts": blocks(), "length": 1} | options))
    with pytest.raises(ValueError, match="expected"):
        SyntheticClips(**({"cutouts": blocks(), "length": 1} | options))


@pytest.mark.parametrize("layout", ["voc", "yolo", "coco"])
def test_scenes_are_written_for_other_tools(tmp_path, layout):
    scenes = SyntheticScenes(blocks(), 5, size=(40, 50))
    write_scenes(Data(("red", "green"), tuple(scenes)), tmp_path / layout, layout=layout)
    again = read_scenes(tmp_path / layout, class_names=("red", "green"), valid=0, test=0, strict=True)
    assert len(again) == 5
    for made, read in zip(scenes, again.train, strict=True):
        assert np.array_equal(np.asarray(Image.open(read.image)), made.image)
        np.testing.assert_array_equal(read.boxes, made.boxes)
        np.testing.assert_array_equal(read.classes, made.classes)


def test_as_tf_data_on_the_fly():
    scenes = SyntheticScenes(blocks(), 10**9, size=(24, 36), objects=(0, 3))
    dataset = scene_dataset(scenes, masks="instances")
    fix = {"image": [24, 36, 3], "instances": [None, 24, 36]}
    import tensorflow as tf

    dataset = dataset.map(lambda s: s | {key: tf.ensure_shape(s[key], shape) for key, shape in fix.items()})
    batch = next(iter(padded_batches(dataset, 4)))
    for i in range(4):
        count = int(batch["num_boxes"][i])
        assert np.array_equal(batch["image"][i], scenes[i].image)
        assert np.array_equal(batch["boxes"][i, :count], scenes[i].boxes)
        assert np.array_equal(batch["instances"][i, :count], instance_masks(scenes[i]))
        assert batch["ids"][i, :count].numpy().tolist() == list(range(count))
