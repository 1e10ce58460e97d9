"""Prepared copies, and split expressions of TensorFlow Datasets."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import (
    Data,
    Scene,
    read_data,
    read_scenes,
    read_table,
    scene_dataset,
    shard_dataset,
    write_shards,
)
from pipelines.sources.tfds_reading import parse_splits


@pytest.fixture
def photos(tmp_path):
    """Class folders, one photo lying on its side."""
    rng = np.random.default_rng(0)
    for role, count in (("train", 10), ("test", 3)):
        for name in ("ants", "bees"):
            (tmp_path / "photos" / role / name).mkdir(parents=True)
            for i in range(count):
                exif = Image.Exif()
                exif[274] = 6 if i == 0 else 1
                pixels = rng.integers(0, 256, [13 + i, 21, 3], dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / role / name / f"{i}.jpg", exif=exif)
    return tmp_path / "photos"


def test_a_folder_becomes_shards_byte_for_byte(photos, tmp_path):
    data = read_data(photos, valid=0.2)
    path = write_shards(photos, tmp_path / "prepared", name="insects")
    assert path == tmp_path / "prepared/insects/1.0.0"
    again = read_data(f"tfds:{path}")
    assert again.class_names == data.class_names
    assert len(again) == len(data)
    whole = read_data(photos)
    for role in ("train", "valid", "test"):
        ours, theirs = getattr(whole, role), getattr(again, role)
        contents = {
            n: (Path(image).read_bytes(), label)
            for n, image, label in zip(ours.names, ours.images, ours.labels, strict=True)
        }
        assert contents == {
            n: (i, label) for n, i, label in zip(theirs.names, theirs.images, theirs.labels, strict=True)
        }
    with pytest.raises(FileExistsError, match="exists already"):
        write_shards(data, tmp_path / "prepared", name="insects")


def test_samples_are_streamed_from_shards_upright(photos, tmp_path):
    path = write_shards(photos, tmp_path / "prepared")
    everything = list(shard_dataset(path, "train+validation+test").as_numpy_iterator())
    assert len(everything) == 26
    samples = {sample["path"].decode(): sample for sample in everything}  # train and test share names
    lying = samples["ants/0.jpg"]
    assert lying["image"].shape == (21, 13, 3)
    assert lying["label"] == 0
    tenth = list(shard_dataset(path, "train[:50%]"))
    assert len(tenth) == round(0.5 * len(list(shard_dataset(path, "train"))))
    orders = [
        [s["path"] for s in shard_dataset(path, "train", shuffle=True, seed=s).as_numpy_iterator()] for s in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]
    with pytest.raises(ValueError, match=r"over train, .*received 'trian'"):
        shard_dataset(path, "trian")
    with pytest.raises(ValueError, match="holds no data set"):
        shard_dataset(tmp_path, "train")


def test_scenes_become_shards_and_come_back(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, [12, 20, 3], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    outlines = [(np.array([[1.5, 1], [4, 1], [4, 5.25]]),), {"size": [12, 20], "counts": [3, 2, 235]}, None]
    scene = Scene(
        str(tmp_path / "a.png"),
        "é/a.png",
        (12, 20),
        [[1, 1, 4, 5.3], [0, 3, 1, 5], [2, 2, 9, 9]],
        [1, 0, 1],
        crowd=[False, True, False],
        difficult=[True, False, False],
        identities=[7, -1, 3],
        outlines=outlines,
        attributes=[{"pose": "Left", "n": 3}, {}, {}],
        mask=np.arange(240, dtype=np.uint8).reshape(12, 20),
    )
    empty = Scene(pixels, "b.png", (12, 20))
    path = write_shards(Data(("ant", "bee"), (scene,), (empty,)), tmp_path / "prepared")
    assert len(read_scenes(f"tfds:{path}[train+validation]", valid=0, test=0).train) == 2
    again = read_scenes(f"tfds:{path}")
    assert again.class_names == ("ant", "bee")
    assert (len(again.train), len(again.valid), len(again.test)) == (1, 1, 0)
    (back,) = again.train
    assert back.image == (tmp_path / "a.png").read_bytes()
    assert (back.name, back.size, back.attributes) == (scene.name, scene.size, scene.attributes)
    for key in ("boxes", "classes", "crowd", "difficult", "identities", "mask"):
        np.testing.assert_array_equal(getattr(back, key), getattr(scene, key))
    np.testing.assert_array_equal(back.outlines[0][0], outlines[0][0])
    assert back.outlines[1:] == (outlines[1], None)
    assert len(again.valid[0]) == 0
    (streamed,) = shard_dataset(path, "train")
    (direct,) = scene_dataset([scene], masks="classes")
    assert set(streamed) == set(direct)
    for key, value in direct.items():
        if key != "path":
            np.testing.assert_array_equal(streamed[key], value)
            assert streamed[key].dtype == value.dtype
    assert streamed["mask"].dtype == tf.uint8


def test_what_cannot_be_written(photos, tmp_path):
    with pytest.raises(ValueError, match="received 'My Data'"):
        write_shards(photos, tmp_path / "x", name="My Data")
    table = {"path": [f"train/ants/{i}.jpg" for i in range(4)], "label": [1, 2, 3, 4]}
    with pytest.raises(ValueError, match="one class each, or scenes; received numbers"):
        write_shards(read_table(table, kind="numbers", root=photos, valid=0, test=0), tmp_path / "x")
    path = write_shards(photos, tmp_path / "prepared")
    with pytest.raises(ValueError, match=r"expected scenes: `objects` with boxes and classes; found .*label"):
        read_scenes(f"tfds:{path}")


def test_boxes_of_data_sets_of_others(tmp_path):
    """As voc and coco are kept: (ymin, xmin, ymax, xmax) in shares of the image."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(),
            "image/filename": tfds.features.Text(),
            "objects": tfds.features.Sequence(
                {
                    "bbox": tfds.features.BBoxFeature(),
                    "label": tfds.features.ClassLabel(names=["ant", "bee"]),
                    "is_difficult": np.bool_,
                }
            ),
        }
    )
    boxes = [(0.25, 0.1, 0.75, 0.5), (0.5, 0.5, 0.5, 0.9)]
    objects = [
        {"bbox": tfds.features.BBox(*box), "label": label, "is_difficult": bool(label)}
        for label, box in enumerate(boxes)
    ]
    examples = [
        (i, {"image": np.zeros([40, 60, 3], np.uint8), "image/filename": f"{i}.png", "objects": objects[: 2 - i]})
        for i in range(3)
    ]
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name="insects", version="1.0.0", features=features, split_datasets={"train": examples}, data_dir=tmp_path
    )
    found = read_scenes(f"tfds:{builder.data_dir}", valid=0, test=0)
    scenes = {scene.name: scene for scene in found.train}
    assert found.class_names == ("ant", "bee")
    np.testing.assert_allclose(scenes["1.png"].boxes, [[6, 10, 30, 30]], atol=1e-5)
    assert [len(scenes[f"{i}.png"]) for i in range(3)] == [1, 1, 0]
    assert found.counts == {"no area": 1}
    assert scenes["0.png"].size == (40, 60)


# Split expressions


def test_split_expressions(photos, tmp_path, monkeypatch):
    write_shards(read_data(photos, valid=0), tmp_path / "prepared", name="insects")
    import tensorflow_datasets as tfds

    # As it is for a data set that TensorFlow Datasets knows by name.
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: tfds.builder_from_directory(f"{data_dir}/{name}/1.0.0"))
    options = {"data_dir": tmp_path / "prepared"}
    whole = read_data("tfds:insects", **options)
    assert (len(whole.train) + len(whole.valid), len(whole.test)) == (20, 6)
    parts = read_data("tfds:insects[train=train[:60%], valid=train[60%:80%], test=test+train[80%:]]", **options)
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (12, 4, 10)
    names = [*parts.train.names, *parts.valid.names, *parts.test.names]
    assert sorted(names) == sorted([*whole.train.names, *whole.valid.names, *whole.test.names])
    half = read_data("tfds:insects[train[:50%]]", valid=0, test=0, **options)
    assert set(half.train.names) <= {*whole.train.names, *whole.valid.names}
    assert len(half) == 10
    with pytest.raises(ValueError, match=r"'train\[:60%\]' and 'train\[50%:\]' overlap"):
        read_data("tfds:insects[train=train[:60%],valid=train[50%:]]", **options)
    with pytest.raises(ValueError, match=r"cannot read the split 'trian\[:10%\]'"):
        read_data("tfds:insects[trian[:10%]]", **options)


@pytest.mark.parametrize(
    "spec",
    [
        "mnist[train",
        "mnist[train[:10%]",
        "mnist[train,test]",
        "mnist[train=train,train=test]",
        "mnist[extra=train]",
        "mnist[valid=test]",
        "mnist[train=]",
    ],
)
def test_split_expressions_that_mean_nothing(spec):
    with pytest.raises(ValueError, match=r"expected NAME\[train\[:10%\]\]"):
        parse_splits(spec)
