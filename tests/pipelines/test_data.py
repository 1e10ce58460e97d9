"""The one type that all sources hand over, and what is common to all of its kinds."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import (
    Data,
    Fault,
    Samples,
    Scene,
    Scenes,
    audit,
    check_data,
    data_fingerprint,
    exclude,
    read_exclude_list,
    read_scenes,
    write_exclude_list,
    write_scenes,
)


def pixels(seed, size=(30, 41)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), "uint8")


def scene(seed, image=None, **changes):
    fields = {"boxes": [[1, 2, 5, 6], [0, 0, 20, 9]], "classes": [0, 1], **changes}
    return Scene(pixels(seed) if image is None else image, f"{seed}.png", (30, 41), **fields)


def samples(*seeds):
    return Samples(np.stack([pixels(seed) for seed in seeds]), np.arange(len(seeds)) % 2, [f"{s}.png" for s in seeds])


@pytest.fixture
def folder(tmp_path):
    """Annotated images, one of which is twice in the training set."""
    scenes = [scene(seed) for seed in range(6)]
    copy = replace(scenes[0], name="copy.png")
    data = Data(("ant", "bee"), (*scenes[:4], copy), scenes[4:5], scenes[5:])
    write_scenes(data, tmp_path / "data", layout="yolo")
    return tmp_path / "data"


def test_both_kinds_of_splits_can_be_used_alike():
    for part in (samples(0, 1, 2), Scenes(scene(seed) for seed in range(3))):
        assert part.names == ("0.png", "1.png", "2.png")
        assert len(part.images) == len(part) == 3
        for chosen in (slice(1, None), np.array([1, 2]), np.array([False, True, True])):
            assert type(part[chosen]) is type(part)
            assert part[chosen].names == ("1.png", "2.png")
            assert np.array_equal(part[chosen].images[1], pixels(2))
    assert isinstance(Scenes([scene(0)])[0], Scene)
    assert isinstance(Scenes([scene(0)])[np.int64(-1)], Scene)


def test_the_kind_is_that_of_the_splits():
    boxes, classes = Data(("a", "b"), [scene(0)]), Data(("a", "b"), samples(0, 1))
    assert (boxes.kind, classes.kind) == ("boxes", "classes")
    assert isinstance(boxes.train, Scenes)
    assert isinstance(boxes.valid, Scenes)
    assert isinstance(classes.test, Samples)
    assert len(classes.test) == 0
    assert Data(("a", "b"), samples(0, 1), kind="numbers").kind == "numbers"
    with pytest.raises(ValueError, match="expected `targets` for the kind 'several'"):
        Data(("a", "b"), samples(0, 1), kind="several")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((samples(0),), {"kind": "boxes"}, "expected scenes as `train` of the kind 'boxes'"),
        (([scene(0)],), {"kind": "labels"}, "expected Samples as `train` of the kind 'labels'"),
        (([scene(0)], samples(0)), {}, "expected scenes as `valid`"),
        ((samples(0),), {"kind": "words"}, "one of classes, labels, numbers, several, boxes; received 'words'"),
    ],
)
def test_what_does_not_fit_together(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        Data(("a", "b"), *arguments, **options)


def test_skipped_are_the_faults_for_which_something_was_left_out():
    faults = (Fault("a.txt", "cut at the edge", line=3, kind="clipped", kept=True), Fault("b.png", "empty"))
    data = Data(("a",), [scene(0)], faults=faults)
    assert data.skipped == faults[1:]
    assert [str(fault) for fault in data.faults] == ["a.txt:3: cut at the edge", "b.png: empty"]
    assert data.counts == {"clipped": 1, "left out": 1}


# Fingerprints


def test_a_fingerprint_does_not_say_where_images_lie(folder, tmp_path):
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert data_fingerprint(read_scenes(folder)) == data_fingerprint(read_scenes(moved))


def test_a_fingerprint_changes_with_all_that_is_learnt():
    one = Data(("a", "b"), [scene(0), scene(1)], [scene(2)])
    mask = np.zeros((30, 41), np.uint8)
    others = [
        Data(("a", "c"), [scene(0), scene(1)], [scene(2)]),
        Data(("a", "b"), [scene(1), scene(0)], [scene(2)]),
        Data(("a", "b"), [scene(0)], [scene(1), scene(2)]),
        Data(("a", "b"), [scene(0, pixels(9)), scene(1)], [scene(2)]),
        Data(("a", "b"), [scene(0, classes=[1, 1]), scene(1)], [scene(2)]),
        Data(("a", "b"), [scene(0, boxes=[[1, 2, 5, 7], [0, 0, 20, 9]]), scene(1)], [scene(2)]),
        Data(("a", "b"), [scene(0, crowd=[True, False]), scene(1)], [scene(2)]),
        Data(("a", "b"), [scene(0, outlines=[(np.eye(3, 2),), None]), scene(1)], [scene(2)]),
        Data(("a", "b"), [scene(0, mask=mask), scene(1)], [scene(2)]),
        Data(("a", "b"), [scene(0, mask=mask + 1), scene(1)], [scene(2)]),
    ]
    prints = [data_fingerprint(data) for data in (one, *others)]
    assert len(set(prints)) == len(prints)
    assert data_fingerprint(Data(("a", "b"), [scene(0), scene(1)], [scene(2)])) == prints[0]
    labels = [Samples(samples(0, 1).images, y, "ab") for y in ([0, 1], [1, 0], [[0.0], [1.0]])]
    kinds = [Data(("a", "b"), part, kind=k) for part, k in zip(labels, ("classes", "classes", "numbers"), strict=True)]
    assert len({data_fingerprint(data) for data in kinds}) == 3


# Leaving out


def test_what_an_audit_says_of_annotated_data_can_be_left_out(folder, tmp_path):
    data = read_scenes(folder)
    found = audit(data)
    assert [Path(path).name for path in found.exclude] == ["copy.png"]
    assert write_exclude_list(tmp_path / "list.txt", found) == 1
    left = exclude(data, read_exclude_list(tmp_path / "list.txt"))
    assert left.kind == "boxes"
    assert set(data.train.names) - set(left.train.names) == {data.train.names[-1]}
    assert (left.valid, left.test) == (data.valid, data.test)
    assert [(Path(fault.path).name, fault.kind) for fault in left.skipped] == [("copy.png", "excluded")]
    assert exclude(left, read_exclude_list(tmp_path / "list.txt")).train == left.train
    with pytest.raises(ValueError, match=r"not in the data; the first: nowhere\.png"):
        exclude(data, ["nowhere.png"])
    with pytest.raises(ValueError, match="leaves no image to train on"):
        exclude(data, data.train.images)


def test_scenes_that_are_not_files_are_left_out_by_split_and_name():
    data = Data(("ant", "bee"), [scene(0), scene(1)], [scene(2)])
    assert exclude(data, ["train/1.png"]).train.names == ("0.png",)
    with pytest.raises(ValueError, match="not in the data"):
        exclude(data, ["valid/1.png"])


def test_a_split_of_scenes_that_cannot_be_read_at_all_is_an_error(folder):
    data = read_scenes(folder)
    for path in data.valid.images:
        Path(path).write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"1 of 1 images of the valid split cannot be read: none is left. First: "):
        check_data(data)


def test_progress_is_over_all_splits(folder):
    Image.fromarray(pixels(0)).save(folder / "other.png")
    done = []
    check_data(read_scenes(folder), progress=lambda number, total: done.append((number, total)))
    assert done == [(5, 7), (6, 7), (7, 7)]
