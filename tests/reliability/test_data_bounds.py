"""Annotations name no files outside of the folder of the data, unless whoever reads them says so."""

import json

import numpy as np
import pytest
from PIL import Image

from pipelines import read_scenes


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(path)


@pytest.fixture
def places(tmp_path):
    """A folder of data, and files of somebody else beside it."""
    for name in ("a", "b", "c"):
        photo(tmp_path / "data" / "images" / f"{name}.png")
        (tmp_path / "data" / "labels").mkdir(exist_ok=True)
        (tmp_path / "data" / "labels" / f"{name}.txt").write_text("0 .5 .5 .2 .2\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secrets.txt").write_text("password: hunter2\n")
    photo(tmp_path / "elsewhere" / "images" / "x.png")
    return tmp_path / "data", tmp_path / "elsewhere"


@pytest.mark.parametrize("entry", ["../elsewhere/secrets.txt", "../elsewhere/images", "{elsewhere}/secrets.txt"])
@pytest.mark.parametrize("key", ["train", "val"])
def test_a_description_does_not_lead_out_of_its_folder(places, entry, key):
    """Lines of files of whoever reads the data came into reports."""
    data, elsewhere = places
    entry = entry.format(elsewhere=elsewhere)
    others = "train: images\n" if key == "val" else ""
    (data / "data.yaml").write_text(f"{others}{key}: {entry}\nnames: [bee]\n")
    with pytest.raises(ValueError, match=r"lies outside of .*, so it was not read; .*--outside") as error:
        read_scenes(data)
    assert "hunter2" not in str(error.value)


def test_a_path_in_a_description_does_not_lead_out_either(places):
    data, elsewhere = places
    (data / "data.yaml").write_text(f"path: {elsewhere}\ntrain: images\nnames: [bee]\n")
    assert {scene.name for scene in read_scenes(data).train} <= {"a.png", "b.png", "c.png"}  # Its own folder is taken.
    (data / "data.yaml").write_text(f"path: {elsewhere}\ntrain: secrets.txt\nnames: [bee]\n")
    with pytest.raises(ValueError, match="lies outside"):
        read_scenes(data)


def test_it_may_where_that_is_said(places):
    data, _ = places
    (data / "data.yaml").write_text("train: [images, ../elsewhere/images]\nnames: [bee]\n")
    read = read_scenes(data, layout="yolo", outside=True, valid=0, test=0)
    assert sorted(scene.name for scene in read.train) == ["a.png", "b.png", "c.png", "x.png"]


def test_images_outside_are_left_out_whatever_names_them(places):
    data, elsewhere = places
    names = ["images/a.png", "images/b.png", "../elsewhere/images/x.png", str(elsewhere / "images" / "x.png")]
    images = [{"id": i, "file_name": name, "height": 8, "width": 10} for i, name in enumerate(names)]
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 4, 4]} for i in range(len(names))]
    (data / "coco.json").write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "bee"}]})
    )
    read = read_scenes(data / "coco.json", valid=0, test=0)
    assert sorted(scene.image.rsplit("/", 1)[-1] for scene in read.train) == ["a.png", "b.png"]
    (fault, *_) = [fault for fault in read.faults if "outside of" in fault.reason]
    assert fault.kind == "refused"
    lists = "\n".join(["images/a.png", "images/b.png", "../elsewhere/images/x.png"])
    (data / "train.txt").write_text(lists)
    (data / "data.yaml").write_text("train: train.txt\nnames: [bee]\n")
    read = read_scenes(data, layout="yolo", valid=0, test=0)
    assert sorted(scene.name for scene in read.train) == ["a.png", "b.png"]
