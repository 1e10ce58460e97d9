"""Whatever stands in an annotation file, reading it lists faults or raises a ValueError that says what is wrong."""

import json
import random

import numpy as np
import pytest
from PIL import Image

from pipelines import Data, Scene, read_scenes, write_scenes
from pipelines.annotations.outlines import class_mask

ROUNDS = 200
ODD = [
    None,
    True,
    -1,
    0,
    1e308,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\0",
    "../..",
    [],
    [[]],
    {},
    {"a": 1},
    [1, "b"],
]


def data():
    outline = (np.array([[1.0, 1], [6, 1], [6, 5]]),)
    pixels = np.zeros([8, 9, 3], np.uint8)
    scenes = tuple(
        Scene(
            pixels,
            f"{i}.png",
            (8, 9),
            [[1, 1, 6, 5], [0, 0, 2, 2]],
            [0, 1],
            crowd=[False, i == 1],
            outlines=[outline, None],
        )
        for i in range(3)
    )
    return Data(("ant", "bee"), scenes)


def via_file(folder):
    for i in range(3):
        Image.new("RGB", (9, 8)).save(folder / f"{i}.png")
    shapes = [
        {"name": "rect", "x": 1, "y": 1, "width": 5, "height": 4},
        {"name": "polygon", "all_points_x": [1, 6, 6], "all_points_y": [1, 1, 5]},
        {"name": "ellipse", "cx": 4, "cy": 4, "rx": 2, "ry": 1, "theta": 0.1},
    ]
    regions = [{"shape_attributes": shape, "region_attributes": {"label": "ant"}} for shape in shapes]
    entries = {f"{i}.png": {"filename": f"{i}.png", "size": 1, "regions": regions} for i in range(3)}
    (folder / "via.json").write_text(json.dumps({"_via_img_metadata": entries, "_via_settings": {}}))
    return folder / "via.json"


def labelme_file(folder):
    for i in range(3):
        Image.new("RGB", (9, 8)).save(folder / f"{i}.png")
        shapes = [
            {"label": "ant", "points": [[1, 1], [6, 5]], "shape_type": "rectangle", "group_id": None},
            {"label": "bee", "points": [[1, 1], [6, 1], [6, 5]], "shape_type": "polygon", "group_id": 1},
            {"label": "bee", "points": [[4, 4], [5, 5]], "shape_type": "circle", "group_id": None, "flags": {}},
        ]
        content = {"imagePath": f"{i}.png", "imageHeight": 8, "imageWidth": 9, "shapes": shapes}
        (folder / f"{i}.json").write_text(json.dumps(content))
    return folder / "1.json"


def prepared(folder, layout):
    """A good data set, and one of its annotation files."""
    if layout in ("via", "labelme"):
        folder.mkdir()
        return {"via": via_file, "labelme": labelme_file}[layout](folder)
    write_scenes(data(), folder, layout=layout)
    names = {"voc": "Annotations/1.xml", "yolo": "labels/train/1.txt", "coco": "annotations/instances_train.json"}
    return folder / names[layout]


def places(value, path=()):
    """The path of every value within a JSON document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def with_one_changed(value, rng):
    path = rng.choice(list(places(value)))
    odd = rng.choice(ODD)
    if not path:
        return odd
    changed = json.loads(json.dumps(value))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if rng.random() < 0.2:
        del inner[path[-1]]
    else:
        inner[path[-1]] = odd
    return changed


def with_bytes_changed(contents, rng):
    at = rng.randrange(len(contents))
    length = rng.randrange(1, 12)
    piece = rng.choice([b"", rng.randbytes(length), b"<", b'"', b"nan", b"-9", b"1e999", b"&x;", b"]]>", b"\xff"])
    return contents[:at] + piece + contents[at + rng.choice([0, length]) :]


def check(folder, layout):
    try:
        found = read_scenes(folder, layout=layout, valid=0, test=0)
    except ValueError as error:
        message = str(error)
    else:
        message = None
        check_boxes(found)
    assert message is None or folder.name in message or "no annotated images" in message


def check_boxes(found):
    for scene in found.train:
        height, width = scene.size
        assert np.isfinite(scene.boxes).all()
        assert (scene.boxes[:, 2:] > scene.boxes[:, :2]).all()
        assert (scene.boxes >= 0).all()
        assert (scene.boxes <= [width, height, width, height]).all()
        assert len(scene.classes) == len(scene.boxes)
        assert set(scene.classes.tolist()) <= set(range(len(found.class_names)))
        assert class_mask(scene).shape == scene.size
    assert all(str(fault) for fault in found.faults)


@pytest.mark.parametrize("layout", ["coco", "via", "labelme"])
def test_json_with_odd_values(tmp_path, layout):
    rng = random.Random(0)
    file = prepared(tmp_path / layout, layout)
    good = json.loads(file.read_text())
    for _ in range(ROUNDS):
        file.write_text(json.dumps(with_one_changed(good, rng)))
        check(tmp_path / layout, layout)


@pytest.mark.parametrize("layout", ["voc", "yolo", "coco", "via", "labelme"])
def test_files_with_odd_bytes(tmp_path, layout):
    rng = random.Random(1)
    file = prepared(tmp_path / layout, layout)
    good = file.read_bytes()
    for _ in range(ROUNDS):
        changed = good
        for _ in range(rng.randrange(1, 4)):
            changed = with_bytes_changed(changed, rng)
        file.write_bytes(changed)
        check(tmp_path / layout, layout)
