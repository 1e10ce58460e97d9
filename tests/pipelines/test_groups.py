"""No group of images crosses a split."""

import re
import types

import numpy as np
import pytest
from PIL import Image

from pipelines import Data, Samples, Scene, read_data, read_scenes, split, write_scenes
from pipelines.sources import splits
from pipelines.sources.splits import group_keys


def roles_of(data, key):
    """In which splits each group's images are."""
    found = {}
    for role in ("train", "valid", "test"):
        part = getattr(data, role)
        names = part.names if isinstance(part, Samples) else [scene.name for scene in part]
        for name in names:
            found.setdefault(key(name), set()).add(role)
    return found


@pytest.fixture
def patients(make_folder):
    """Two classes of 60 photos, five of each patient, with names in which the patient is written."""
    root = make_folder({"sick": 60, "well": 60})
    for folder in ("sick", "well"):
        for path in sorted((root / folder).iterdir()):
            number = int(path.stem)
            path.rename(path.with_name(f"{folder[0]}{number // 5:02d}_{number % 5}.jpg"))
    return root


def patient(name):
    return name.rsplit("/", 1)[-1].split("_")[0]


@pytest.mark.parametrize("group_by", [patient, r"([sw]\d+)_", r"[sw]\d+(?=_)", re.compile(r"([sw]\d+)_")])
def test_patients_stay_together(patients, group_by):
    assert any(len(roles) > 1 for roles in roles_of(read_data(patients), patient).values())
    for seed in range(3):
        data = read_data(patients, group_by=group_by, seed=seed)
        assert all(len(roles) == 1 for roles in roles_of(data, patient).values())
        assert len(data) == 120
        for part, share in ((data.valid, 0.15), (data.test, 0.15)):
            for label in (0, 1):
                assert abs(np.sum(part.labels == label) - share * 60) <= 5  # one patient


def test_a_group_stays_where_it_is_when_others_come():
    groups = [f"patient {i // 4}" for i in range(400)]
    names = [f"{i}" for i in range(400)]
    roles = []
    for count in (360, 400):
        role = np.zeros(count, int)
        for number, chosen in enumerate(split(names[:count], [0] * count, ["a"], groups=groups[:count])):
            role[chosen] = number
        roles.append(role)
    assert np.mean(roles[0] != roles[1][:360]) < 0.03


def test_groups_of_unequal_size_keep_the_shares():
    sizes = np.random.default_rng(0).integers(1, 30, 80)
    groups = [f"{i}" for i, size in enumerate(sizes) for _ in range(size)]
    n = len(groups)
    for seed in range(5):
        names = [str(i) for i in range(n)]
        train, valid, test = split(names, [0] * n, ["a"], groups=groups, valid=0.2, test=0.1, seed=seed)
        assert abs(len(valid) - 0.2 * n) <= 30
        assert abs(len(test) - 0.1 * n) <= 30
        owners = [{groups[i] for i in part} for part in (train, valid, test)]
        assert sum(map(len, owners)) == len(set.union(*owners))


def test_groups_with_several_classes():
    """A group counts for the class it has most of; every class is in every split, or that is said."""
    labels = [0, 0, 1] * 10 + [1] * 10 + [0] * 10
    groups = [f"mixed {i // 3}" for i in range(30)] + [f"one {i}" for i in range(20)]
    parts = split([str(i) for i in range(50)], labels, ["a", "b"], groups=groups)
    assert sorted(np.concatenate(parts).tolist()) == list(range(50))
    for part in parts:
        assert {labels[i] for i in part} == {0, 1}
    with pytest.raises(ValueError, match=r"class 'b' has 10 images in 0 groups of its own, too few to split"):
        split([str(i) for i in range(30)], labels[:30], ["a", "b"], groups=groups[:30])
    with pytest.raises(ValueError, match=r"class 'a' has 9 images in 1 group of its own"):
        split([str(i) for i in range(9)], [0] * 9, ["a"], groups=["x"] * 9)


def test_groups_that_cross_splits_of_the_data_are_refused(make_folder):
    root = make_folder({"train/a": 4, "train/b": 4, "val/a": 2, "val/b": 2})
    message = r"4 groups of images cross the splits.*'a/000.jpg' is in train and 'a/000.jpg' in valid"
    with pytest.raises(ValueError, match=message):
        read_data(root, group_by=lambda name: name)


def test_names_without_a_match_are_groups_of_their_own():
    samples = Samples(["x"] * 3, [0] * 3, ["p1_a", "p1_b", "other"])
    assert group_keys({"train": samples}, r"^(p\d)_") == ["p1", "p1", "other"]
    assert group_keys({"train": samples}, None) is None
    with pytest.raises(ValueError, match=r'a function, "duplicates" or a regular expression; .*\(p'):
        group_keys({"train": samples}, r"(p")


def test_duplicates_stay_together(patients, monkeypatch):
    """What finds the duplicates has tests of its own; here it takes the photos of a patient for duplicates."""

    def near_duplicates(samples):
        return np.unique([patient(name) for name in samples.names], return_inverse=True)[1]

    monkeypatch.setattr(splits, "duplicates", types.SimpleNamespace(near_duplicates=near_duplicates))
    data = read_data(patients, group_by="duplicates")
    assert all(len(roles) == 1 for roles in roles_of(data, patient).values())


def test_real_duplicates_stay_together(make_folder):
    root = make_folder({"a": 30, "b": 0})
    for path in sorted((root / "a").iterdir()):  # a copy of each, and everything twice in another class
        (root / "a" / f"copy of {path.name}").write_bytes(path.read_bytes())
    for index in range(40, 70):
        pixels = np.random.default_rng(index).integers(0, 256, [5, 7, 3], dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC)
        picture.save(root / "b" / f"{index}.jpg")
        picture.save(root / "b" / f"copy of {index}.jpg", quality=60)
    data = read_data(root, group_by="duplicates")
    roles = roles_of(data, lambda name: name.replace("copy of ", ""))
    assert all(len(found) == 1 for found in roles.values())


def test_scenes_are_grouped_too(tmp_path):
    pixels = np.zeros([4, 5, 3], np.uint8)
    scenes = tuple(Scene(pixels, f"clip{i // 4:02d}_{i}.png", (4, 5)) for i in range(40))
    for layout in ("yolo", "voc", "coco"):
        write_scenes(Data(("a",), scenes), tmp_path / layout, layout=layout)
        if layout == "voc":
            (tmp_path / "voc/ImageSets/Main/train.txt").unlink()
        data = read_scenes(tmp_path / layout, group_by=r"clip\d+")
        assert len(data) == 40
        assert data.test
        assert all(len(roles) == 1 for roles in roles_of(data, lambda name: name.split("_")[0]).values())
