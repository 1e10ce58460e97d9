"""Folders, TensorFlow Datasets and scikit-learn, and what badly laid out folders are told."""

import os
import shutil
import subprocess
import sys
import tarfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import Samples, read_data
from pipelines.sources.image_files import images_below

SHARED = Path(__file__).parents[2].parent / "shared"


def all_names(data):
    return {*data.train.names, *data.valid.names, *data.test.names}


# Folders


def test_a_folder_of_class_folders_is_divided(make_folder):
    root = make_folder({"bees": 20, "ants": 30, "ants/more": 10})
    data = read_data(root)
    assert data.class_names == ("ants", "bees")
    assert len(data) == 60
    assert all_names(data) == {str(p.relative_to(root)) for p in root.rglob("*.jpg")}
    for samples in (data.train, data.valid, data.test):
        assert samples.labels.dtype == np.int32
        for path, label, name in zip(samples.images, samples.labels, samples.names, strict=True):
            assert Path(path) == root / name
            assert name.startswith(data.class_names[label])
    assert len(data.valid) == pytest.approx(9, abs=2)
    assert data.skipped == ()


def test_paths_as_text_with_or_without_slash_are_the_same(make_folder, monkeypatch):
    root = make_folder({"a": 6, "b": 6})
    monkeypatch.chdir(root.parent)
    names = [read_data(spec).valid.names for spec in (root, str(root), f"{root}/", "photos", "./photos/")]
    assert names.count(names[0]) == 5


@pytest.mark.parametrize(("val", "test"), [("val", "test"), ("valid", "TEST"), ("Validation", "testing")])
def test_given_splits_are_used_as_they_are(make_folder, val, test):
    root = make_folder({"train/a": 5, "train/b": 4, f"{val}/a": 3, f"{val}/b": 2, f"{test}/a": 1, f"{test}/b": 2})
    data = read_data(root)
    assert (len(data.train), len(data.valid), len(data.test)) == (9, 5, 3)
    assert data.class_names == ("a", "b")
    assert all(Path(path).is_relative_to(root / val) for path in data.valid.images)


def test_what_is_missing_is_taken_from_train(make_folder):
    only_train = read_data(make_folder({"train/a": 20, "train/b": 20}, name="1"))
    assert len(only_train.train) < 40
    assert len(only_train.valid) > 0
    assert len(only_train.test) > 0
    no_valid = read_data(make_folder({"train/a": 20, "train/b": 20, "test/a": 3, "test/b": 3}, name="2"))
    assert len(no_valid.test) == 6
    assert len(no_valid.train) + len(no_valid.valid) == 40
    assert len(no_valid.valid) > 0
    no_test = read_data(make_folder({"train/a": 20, "train/b": 20, "val/a": 3, "val/b": 3}, name="3"), test=0.5)
    assert (len(no_test.train), len(no_test.valid), len(no_test.test)) == (40, 6, 0)


def test_a_photo_is_in_the_same_split_wherever_the_folder_is_and_whatever_its_class_is_called(make_folder):
    first = read_data(make_folder({"a": 40, "b": 40}, name="here"))
    second = read_data(make_folder({"train/x": 40, "train/y": 40}, name="there"))
    own = [[name.split("/")[1] for name in data.valid.names] for data in (first, second)]
    assert own[0] == own[1]


def test_a_class_may_be_called_train(make_folder):
    data = read_data(make_folder({"bus": 5, "train": 5}))
    assert data.class_names == ("bus", "train")


def test_files_that_are_no_images_are_listed_and_system_files_ignored(make_folder):
    root = make_folder({"a": 5, "b": 5})
    for name in ("a/notes.txt", "a/scan.pdf", "a/.DS_Store", "a/Thumbs.db", "a/._000.jpg", ".git/x.jpg", "readme.md"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    shutil.copy(root / "a/000.jpg", root / "loose.JPG")
    data = read_data(root)
    assert len(data) == 10
    assert {Path(skip.path).name for skip in data.skipped} == {"notes.txt", "scan.pdf", "loose.JPG"}
    reasons = {Path(skip.path).name: skip.reason for skip in data.skipped}
    assert "outside of the class folders" in reasons["loose.JPG"]
    assert "not an image by its name" in reasons["scan.pdf"]


def test_folders_that_a_system_left_behind_are_no_classes_and_no_photos(make_folder):
    names = ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "bees/@eaDir/1.jpg")
    root = make_folder({"bees": 8, "ants": 8} | dict.fromkeys(names, 2))
    data = read_data(root)
    assert data.class_names == ("ants", "bees")
    assert (len(data), data.skipped) == (16, ())
    assert len(images_below(root)) == 16


def test_stray_images_and_folders_beside_the_splits_are_listed(make_folder):
    root = make_folder({"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2, "unsorted": 2})
    shutil.copy(root / "train/a/000.jpg", root / "train/stray.jpg")
    data = read_data(root)
    assert len(data) == 10
    assert {Path(skip.path).name for skip in data.skipped} == {"unsorted", "stray.jpg"}


def test_names_with_spaces_and_unicode(make_folder):
    root = make_folder({"été à la mer": 4, "犬 🐕": 4})
    for old, new in (("été à la mer/000.jpg", "un  été.JPEG"), ("犬 🐕/001.jpg", "写真 (1) [copy] #%.jpg")):
        (root / old).rename((root / old).with_name(new))
    data = read_data(root)
    assert data.class_names == ("été à la mer", "犬 🐕")
    assert {"été à la mer/un  été.JPEG", "犬 🐕/写真 (1) [copy] #%.jpg"} <= all_names(data)


def test_decomposed_names_as_on_macos_are_split_alike(make_folder):
    composed = make_folder({"a": 30, "b": 30}, name="linux")
    decomposed = make_folder({"a": 30, "b": 30}, name="macos")
    for root, form in ((composed, "NFC"), (decomposed, "NFD")):
        for path in list(root.rglob("*.jpg")):
            path.rename(path.with_name(unicodedata.normalize(form, "é" + path.name)))
    valid = [{unicodedata.normalize("NFC", n) for n in read_data(root).valid.names} for root in (composed, decomposed)]
    assert valid[0] == valid[1]


def test_links_to_folders_are_followed_and_loops_end(make_folder):
    root = make_folder({"a": 4, "b": 4})
    elsewhere = make_folder({"c": 4}, name="elsewhere")
    (root / "c").symlink_to(elsewhere / "c", target_is_directory=True)
    (root / "a" / "loop").symlink_to(root / "a", target_is_directory=True)
    assert len(read_data(root)) == 12


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder\. Expected a folder with one sub-folder"):
        read_data(tmp_path / "nowhere")


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"photos\.zip: is a file\. Expected a folder"):
        read_data(tmp_path / "photos.zip")


def test_a_folder_with_one_class(make_folder):
    with pytest.raises(ValueError, match=r"two or more classes, found one \('flower_photos'\).*pass it instead"):
        read_data(make_folder({"flower_photos/roses": 3, "flower_photos/tulips": 3}))


def test_a_folder_without_images(make_folder):
    root = make_folder({"a": 0, "b": 0})
    (root / "a" / "photo.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"found no images in 2 sub-folders\. Expected files named \.jpg.*photo\.heic"):
        read_data(root)
    with pytest.raises(ValueError, match=r"found 0 images and no sub-folders"):
        read_data(make_folder({}, name="empty"))


def test_images_without_class_folders(make_folder):
    with pytest.raises(ValueError, match=r"found 3 images and no sub-folders\..*ants/ and bees/"):
        read_data(make_folder({".": 3}))


def test_an_empty_class(make_folder):
    with pytest.raises(ValueError, match=r"1 of 3 classes have no images: 'empty'\. Put images into these folders, or"):
        read_data(make_folder({"a": 4, "b": 4, "empty": 0}))
    with pytest.raises(ValueError, match=r"train: 1 of 2 classes have no images: 'b'"):
        read_data(make_folder({"train/a": 4, "train/b": 0, "val/a": 2, "val/b": 2}, name="splits"))


def test_a_class_with_too_few_images_to_split(make_folder):
    root = make_folder({"few": 2, "many": 9})
    with pytest.raises(ValueError, match=r"class 'few' has 2 images, too few to split"):
        read_data(root)
    assert len(read_data(root, test=0)) == 11


def test_a_class_that_only_validation_has(make_folder):
    with pytest.raises(ValueError, match=r"val: holds classes that .*train does not: 'c'"):
        read_data(make_folder({"train/a": 2, "train/b": 2, "val/a": 1, "val/c": 1}))


def test_splits_without_train_or_twice(make_folder):
    with pytest.raises(ValueError, match=r"found 'test', 'val', but no train"):
        read_data(make_folder({"val/a": 2, "val/b": 2, "test/a": 1}, name="1"))
    with pytest.raises(ValueError, match=r"found both val and valid"):
        read_data(make_folder({"train/a": 2, "train/b": 2, "val/a": 1, "valid/a": 1}, name="2"))


def test_reading_folders_and_digits_loads_no_tensorflow(make_folder):
    root = make_folder({"a": 4, "b": 4})
    code = (
        "import sys, pipelines\n"
        "crop = pipelines.EvaluationCrop()\n"
        f"for spec in ({str(root)!r}, 'sklearn:digits'): pipelines.read_data(spec)\n"
        "print([m for m in ('tensorflow', 'keras', 'PIL') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# scikit-learn


def test_digits():
    data = read_data("sklearn:digits")
    assert data.class_names == tuple("0123456789")
    assert len(data) == 1797
    assert data.train.images.dtype == np.uint8
    assert data.train.images.shape[1:] == (8, 8, 3)
    assert data.train.images.max() == 255
    assert np.array_equal(data.train.images[..., 0], data.train.images[..., 2])
    assert set(data.valid.labels) == set(data.test.labels) == set(range(10))
    with pytest.raises(ValueError, match=r"sklearn:irises: expected .*digits"):
        read_data("sklearn:irises")


# TensorFlow Datasets


def test_a_tfds_image_folder(make_folder):
    root = make_folder({"train/a b": 20, "train/é": 20, "test/a b": 3, "test/é": 4})
    data = read_data(f"tfds:{root}")
    same = read_data(root)
    assert data.class_names == same.class_names == ("a b", "é")
    for given, expected in ((data.train, same.train), (data.valid, same.valid), (data.test, same.test)):
        assert set(given.names) == set(expected.names)  # of the same name, in the same split
        for image, label, name in zip(given.images, given.labels, given.names, strict=True):
            position = expected.names.index(name)
            assert image == Path(expected.images[position]).read_bytes()
            assert label == expected.labels[position]


@pytest.fixture
def flowers_archive(tmp_path):
    """An archive laid out as the one that tf_flowers downloads."""
    flowers = ("dandelion", "daisy", "tulips", "sunflowers", "roses")
    archive = tmp_path / "flower_photos.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for colour, flower in enumerate(flowers):
            for index in range(8):
                path = tmp_path / f"{flower}{index}.jpg"
                Image.new("RGB", (20, 14), (50 * colour, 20 * index, 9)).save(path)
                tar.add(path, f"flower_photos/{flower}/{index}.jpg")
    return archive


def test_tf_flowers_is_prepared_and_read_by_its_own_code(flowers_archive, tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.download.DownloadManager, "download", lambda self, url: flowers_archive)
    data = read_data("tfds:tf_flowers", data_dir=tmp_path / "prepared")
    assert data.class_names == ("dandelion", "daisy", "tulips", "sunflowers", "roses")  # in the data set's own order
    assert len(data) == 40
    assert all(image[:2] == b"\xff\xd8" for image in data.train.images)  # still encoded
    assert set(data.valid.labels) == set(data.test.labels) == set(range(5))
    monkeypatch.undo()
    again = read_data("tfds:tf_flowers", data_dir=tmp_path / "prepared")  # from the prepared copy
    assert again.valid.names == data.valid.names
    (prepared,) = (tmp_path / "prepared" / "tf_flowers").iterdir()
    assert read_data(f"tfds:{prepared}").valid.names == data.valid.names


def test_tfds_that_cannot_be_downloaded(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def offline(self, url):
        raise OSError("name resolution failed")

    monkeypatch.setattr(tfds.download.DownloadManager, "download", offline)
    with pytest.raises(ConnectionError, match=r"tf_flowers: is not prepared in .*name resolution failed.*data_dir"):
        read_data("tfds:tf_flowers", data_dir=tmp_path)


def test_tfds_of_an_unknown_name():
    with pytest.raises(ValueError, match=r"tfds:tf_flower: .* near matches: tf_flowers"):
        read_data("tfds:tf_flower")


def test_tfds_without_class_labels(tmp_path):
    with pytest.raises(ValueError, match=r"tfds:iris: expected an image and a class label.*'features', 'label'"):
        read_data("tfds:iris", data_dir=tmp_path)


# Samples


def test_samples_are_chosen_by_slice_mask_and_indices():
    samples = Samples([b"a", b"b\0", b"c"], [0, 1, 2], ["x", "y", "z"])
    assert samples[1:].images.tolist() == [b"b\0", b"c"]
    assert samples[np.array([2, 0])].names == ("z", "x")
    assert samples[samples.labels == 7].names == ()
    assert len(Samples([], [], [])) == 0
    for paths in ([Path("a"), Path("b")], np.array(["a", "b"])):
        assert Samples(paths, [0, 1], ["x", "y"]).images.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([1, 2], "file paths, as encoded bytes, or as one uint8 array"),
        (["a", b"b"], "file paths, as encoded bytes, or as one uint8 array"),
        (np.zeros([2, 4, 4, 3], np.float32), r"received float32 \[2, 4, 4, 3\]"),
        (np.zeros([2, 4, 4, 1], np.uint8), r"received uint8 \[2, 4, 4, 1\]"),
        (["a"], "received 1 images, 2 labels, 2 names"),
    ],
)
def test_samples_of_another_kind_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        Samples(images, [0, 1], ["x", "y"])


@pytest.mark.skipif(not (SHARED / "data/hymenoptera").is_dir(), reason="../shared/data/hymenoptera is not there")
def test_hymenoptera():
    data = read_data(SHARED / "data/hymenoptera")
    assert data.class_names == ("ants", "bees")
    files = sum(len(names) for place, _, names in os.walk(SHARED / "data/hymenoptera"))
    assert len(data) + len(data.skipped) == files
    assert (len(data.valid), len(data.test)) == (153, 0)


# Splits that must not become classes


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [
        ("training_set", "validation_set", "test_set"),
        ("seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"),  # as some archives are packed
        ("TrainingSet", "ValidSet", "TestSet"),
        ("my train images", "my dev images", "my test images"),
    ],
)
def test_split_folders_are_no_classes(make_folder, train, valid, test):
    root = make_folder(
        {f"{train}/cats": 5, f"{train}/dogs": 4, f"{valid}/cats": 3, f"{test}/cats": 1, f"{test}/dogs": 2}
    )
    shutil.copy(root / train / "cats/000.jpg", root / train / "stray.jpg")
    data = read_data(root)
    assert data.class_names == ("cats", "dogs")
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 9, "valid": 3, "test": 3}
    assert [Path(fault.path).name for fault in data.faults] == ["stray.jpg"]


def test_splits_in_class_folders_are_used(make_folder):
    root = make_folder({"cats/train": 5, "dogs/train": 4, "cats/test": 2, "dogs/test": 3})
    data = read_data(root, valid=0)
    assert data.class_names == ("cats", "dogs")
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 9, "valid": 0, "test": 5}
    assert {Path(path).parent.name for path in data.test.images} == {"test"}
    (root / "birds").mkdir()
    shutil.copy(root / "cats/train/000.jpg", root / "birds/000.jpg")
    with pytest.raises(ValueError, match=r"'cats', 'dogs' hold folders for splits, .* 'birds' do not hold all"):
        read_data(root)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({f"{part}/{name}": 3 for part in ("part1", "part2") for name in ("cats", "dogs")}, "'part1', 'part2' hold no"),
        ({"cats": 3, "dogs": 3, "backup/cats": 3, "backup/dogs": 3}, "'backup' hold no images but folders"),
        ({f"{fold}/{split}/{name}": 1 for fold in "12" for split in ("train", "test") for name in "ab"}, "'1', '2' ho"),
        ({"training_set/cats": 3, "training_set/dogs": 3, "training_data/cats": 3}, "found both training_data and tra"),
        ({"train": 3, "valid": 3, "test": 3}, "'test', 'train', 'valid' are named like splits and hold images"),
        ({"training_set": 3, "test_set": 3}, "'test_set', 'training_set' are named like splits and hold images"),
        ({"test_set/cats": 3, "test_set/dogs": 3, "cats": 3, "dogs": 3}, "found 'test_set', but no train"),
    ],
)
def test_folders_that_are_no_classes_are_refused(make_folder, counts, message):
    with pytest.raises(ValueError, match=message):
        read_data(make_folder(counts))


def test_folders_in_class_folders_are_no_classes(make_folder):
    root = make_folder({"ants/2019": 3, "bees/2019": 3, "test tubes/new": 3, "wasps": 3, "wasps/2020": 1})
    data = read_data(root, valid=0, test=0)
    assert (data.class_names, len(data)) == (("ants", "bees", "test tubes", "wasps"), 13)
