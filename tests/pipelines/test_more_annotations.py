"""VGG Image Annotator, LabelMe and mask PNGs, and what becomes of their faults."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import Scene, audit, read_scenes, scene_dataset, write_scenes
from pipelines.annotations import labelme, masks, via
from pipelines.annotations.layouts import layout_of
from pipelines.annotations.outlines import class_mask, instance_masks

HEIGHT, WIDTH = 60, 100


def photo(path, height=HEIGHT, width=WIDTH, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 30)).save(path, **options)


def kinds(found):
    return {(fault.kind, Path(fault.path).name, fault.line) for fault in found.faults}


# VGG Image Annotator


def region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def rectangle(x, y, width, height):
    return {"name": "rect", "x": x, "y": y, "width": width, "height": height}


POLYGON = {"name": "polygon", "all_points_x": [10, 30, 30], "all_points_y": [5, 5, 25]}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("is_project", [False, True])
def test_via(tmp_path, version, is_project):
    regions = [
        region(rectangle(10, 5, 30, 25), type="bee", size="large"),
        region(POLYGON, type={"ant": True}),
        region({"name": "circle", "cx": 50, "cy": 30, "r": 10}, type="bee"),
        region({"name": "ellipse", "cx": 50, "cy": 30, "rx": 20, "ry": 10, "theta": math.pi / 2}, type="bee"),
    ]
    entry = {"filename": "a.jpg", "size": 1, "regions": regions if version == 2 else dict(enumerate(regions))}
    entries = {"a.jpg1": entry, "b.jpg1": {"filename": "b.jpg", "size": 1, "regions": []}}
    content = {"_via_settings": {}, "_via_img_metadata": entries} if is_project else entries
    (tmp_path / "via.json").write_text(json.dumps(content))
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "b.jpg")
    assert layout_of(tmp_path) == layout_of(tmp_path / "via.json") == "via"
    found = read_scenes(tmp_path, valid=0, test=0)
    assert found.class_names == ("ant", "bee")
    assert found.faults == ()
    scene, empty = found.train
    assert len(empty) == 0
    assert scene.classes.tolist() == [1, 0, 1, 1]
    np.testing.assert_allclose(
        scene.boxes, [[10, 5, 40, 30], [10, 5, 30, 25], [40, 20, 60, 40], [40, 10, 60, 50]], atol=1e-4
    )
    assert scene.attributes[0] == {"size": "large"}
    areas = instance_masks(scene).sum(axis=(1, 2))
    np.testing.assert_allclose(areas, [750, 200, math.pi * 100, math.pi * 200], rtol=0.06)


def test_via_faults(tmp_path):
    photo(tmp_path / "a.jpg")
    good = rectangle(10, 5, 30, 25)
    regions = [
        region(good, type="bee"),
        region(good, type="yeti"),
        region(rectangle(10, 5, -30, 25), type="bee"),
        region(rectangle(110, 5, 30, 25), type="bee"),
        region(rectangle(90, 5, 30, 25), type="bee"),
        region({"name": "point", "cx": 1, "cy": 2}, type="bee"),
        region(good),
    ]
    lines = ",\n".join(json.dumps(entry) for entry in regions)
    (tmp_path / "via.json").write_text(
        f'{{"a": {{"filename": "a.jpg",\n"regions": [\n{lines}]}},\n"b": {{"filename": "gone.jpg", "regions": []}}}}'
    )
    found = via.read(tmp_path, class_names=["bee"], class_key="type", valid=0, test=0)
    name = "via.json"
    assert kinds(found) == {
        ("unknown class", name, 4),
        ("no area", name, 5),
        ("outside", name, 6),
        ("clipped", name, 7),
        ("broken", name, 8),
        ("unknown class", name, 9),
        ("missing image", name, 10),
    }
    assert len(found.train[0]) == 2
    with pytest.raises(ValueError, match="strict=True"):
        via.read(tmp_path, class_names=["bee"], valid=0, test=0, strict=True)


@pytest.mark.parametrize("contents", [b'{"a": {"filename": "a.jpg", "regions": [}}', b'{"\xe9": 1}', b"[]"])
def test_via_that_cannot_be_read(tmp_path, contents):
    (tmp_path / "via.json").write_bytes(contents)
    with pytest.raises(ValueError, match=r"no annotated images.*via\.json:1: "):
        via.read(tmp_path)


# LabelMe


def labelme_file(root, stem, shapes, *, image=None, size=(HEIGHT, WIDTH), with_photo=True):
    if with_photo:
        photo(root / f"{stem}.jpg")
    content = {"version": "5.4", "flags": {}, "imagePath": image or f"{stem}.jpg", "imageData": None}
    content |= {"imageHeight": size[0], "imageWidth": size[1]}
    lines = ",\n".join(json.dumps(shape) for shape in shapes)
    text = json.dumps(content)[:-1] + f', "shapes": [\n{lines}]}}'
    (root / f"{stem}.json").write_text(text, "utf-8")


def shape(label, points, kind="polygon", **others):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}} | others


def test_labelme(tmp_path):
    labelme_file(
        tmp_path,
        "a",
        [
            shape("bee", [[40, 30], [10, 5]], "rectangle"),
            shape("ant", [[10, 5], [30, 5], [30, 25]]),
            shape("bee", [[50, 30], [50, 40]], "circle"),
            shape("ant", [[0, 0], [4, 0], [4, 4]], group_id=1),
            shape("ant", [[8, 8], [12, 8], [12, 12]], group_id=1),
        ],
    )
    labelme_file(tmp_path, "b", [], image="C:\\photos\\b.jpg")
    assert layout_of(tmp_path) == "labelme"
    found = read_scenes(tmp_path, valid=0, test=0)
    assert (found.class_names, found.faults) == (("ant", "bee"), ())
    scene, empty = found.train
    assert len(empty) == 0
    np.testing.assert_allclose(
        scene.boxes, [[10, 5, 40, 30], [10, 5, 30, 25], [40, 20, 60, 40], [0, 0, 12, 12]], atol=1e-5
    )
    assert scene.classes.tolist() == [1, 0, 1, 0]
    assert [None if outline is None else len(outline) for outline in scene.outlines] == [None, 1, 1, 2]
    # Other tools get the same: what was a group stays one object.
    write_scenes(found, tmp_path / "coco", layout="coco", strict=True)
    assert len(read_scenes(tmp_path / "coco", valid=0, test=0).train[0].outlines[3]) == 2


def test_labelme_faults(tmp_path):
    box = [[10, 5], [40, 30]]
    labelme_file(
        tmp_path,
        "a",
        [
            shape("bee", box, "rectangle"),
            shape("yeti", box, "rectangle"),
            shape("bee", [[10, 5], [10, 30]], "rectangle"),
            shape("bee", [[110, 5], [140, 30]], "rectangle"),
            shape("bee", [[90, 5], [140, 30]], "rectangle"),
            shape("bee", box, "line"),
            {"points": box},
        ],
    )
    labelme_file(tmp_path, "gone", [], with_photo=False)
    labelme_file(tmp_path, "other", [], size=(480, 640))
    (tmp_path / "broken.json").write_text('{"shapes": [\n}')
    (tmp_path / "latin.json").write_bytes(b'{"shapes": [],\n"imagePath": "\xe9"}')
    found = labelme.read(tmp_path, class_names=["bee"], valid=0, test=0)
    assert kinds(found) == {
        ("unknown class", "a.json", 3),
        ("no area", "a.json", 4),
        ("outside", "a.json", 5),
        ("clipped", "a.json", 6),
        ("broken", "a.json", 7),
        ("broken", "a.json", 8),
        ("missing image", "gone.json", None),
        ("other size", "other.json", None),
        ("broken", "broken.json", 2),
        ("encoding", "latin.json", 2),
    }
    with pytest.raises(ValueError, match="strict=True"):
        labelme.read(tmp_path, class_names=["bee"], valid=0, test=0, strict=True)


# Masks


def mask_pair(root, stem, classes, *, kind="indexed", image_folder="images", mask_folder="masks", ending="", **options):
    photo(root / image_folder / f"{stem}.jpg", *classes.shape, **options)
    place = root / mask_folder
    place.mkdir(parents=True, exist_ok=True)
    colors = np.array([[0, 0, 0], [0, 0, 255], [10, 200, 30]], np.uint8)
    if kind == "indexed":
        image = Image.fromarray(classes, "L")
    elif kind == "palette":
        image = Image.fromarray(classes, "P")
        image.putpalette(colors.reshape(-1).tolist())
    else:
        image = Image.fromarray(colors[classes])
    image.save(place / f"{stem}{ending}.png")


@pytest.fixture
def classes():
    return np.random.default_rng(0).integers(0, 3, [17, 31], dtype=np.uint8)


@pytest.mark.parametrize("kind", ["indexed", "palette", "colored"])
def test_masks(tmp_path, classes, kind):
    mask_pair(tmp_path, "a", classes, kind=kind, ending="_mask" if kind == "palette" else "")
    assert layout_of(tmp_path) == "masks"
    colors = {"sky": (0, 0, 0), "sea": (0, 0, 255), "land": (10, 200, 30)} if kind == "colored" else None
    found = masks.read(tmp_path, class_names=["sky", "sea", "land"], colors=colors, valid=0, test=0)
    assert found.faults == ()
    assert np.array_equal(class_mask(found.train[0]), classes)
    sample = next(iter(scene_dataset(found.train, masks="classes")))
    assert np.array_equal(sample["mask"], classes)
    if kind == "colored":
        with pytest.raises(ValueError, match="colour-coded: pass the colour of each class"):
            read_scenes(tmp_path, valid=0, test=0)
        (tmp_path / "labelmap.txt").write_text(
            "# label:color_rgb:parts:actions\nsky:0,0,0::\nsea:0,0,255::\nland:10,200,30::\n"
        )
        again = read_scenes(tmp_path, valid=0, test=0)
        assert again.class_names == ("sky", "sea", "land")
        assert np.array_equal(class_mask(again.train[0]), classes)


def test_masks_of_nothing_but_black_and_white(tmp_path, classes):
    mask_pair(tmp_path, "a", (classes > 0) * np.uint8(255))
    found = read_scenes(tmp_path, valid=0, test=0)
    assert found.class_names == ("background", "object")
    assert np.array_equal(class_mask(found.train[0]), classes > 0)


def smooth_disc(values, size=(90, 120)):
    """A disc with anti-aliased edges: of the second value on the first one."""
    rows, columns = np.mgrid[: 4 * size[0], : 4 * size[1]]
    inside = (rows - 170) ** 2 + (columns - 230.5) ** 2 < 90**2
    share = inside.reshape(size[0], 4, size[1], 4).mean(axis=(1, 3))
    return np.round(values[0] + (values[1] - values[0]) * share).astype(np.uint8)


@pytest.mark.parametrize("names", [None, "sky\nsun\n"])
def test_masks_with_anti_aliased_edges_have_no_hundred_classes(tmp_path, names):
    disc = smooth_disc((0, 255))
    mask_pair(tmp_path, "a", disc)
    mask_pair(tmp_path, "b", 255 - disc)
    if names is not None:
        (tmp_path / "classes.txt").write_text(names)
    data = read_scenes(tmp_path, valid=0, test=0)
    assert data.class_names == (("background", "object") if names is None else ("sky", "sun"))
    assert np.array_equal(class_mask(data.train[0]), np.select([disc == 0, disc == 255], [0, 1], 255))
    edges = (disc > 0) & (disc < 255)
    assert [(fault.kind, fault.kept) for fault in data.faults] == [("edges", True)]
    assert f"{2 * edges.sum()} pixels" in data.faults[0].reason
    assert f"0: {disc.size - edges.sum()}, 255: {disc.size - edges.sum()}" in data.faults[0].reason
    assert not [finding for finding in audit(data, decode=False).findings if finding.severity == "error"]


def test_masks_with_anti_aliased_edges_of_several_values(tmp_path, classes):
    disc = smooth_disc((40, 200))
    mask_pair(tmp_path, "a", disc)
    data = read_scenes(tmp_path, valid=0, test=0)
    assert data.class_names == ("40", "200")
    assert [fault.kind for fault in data.faults] == ["edges"]
    mask_pair(tmp_path / "few", "a", classes)  # of single pixels, but of few values: they are classes
    assert read_scenes(tmp_path / "few", valid=0, test=0).class_names == ("0", "1", "2")


def test_masks_follow_the_exif_orientation_of_photos_they_were_drawn_on(tmp_path, classes):
    exif = Image.Exif()
    exif[274] = 6
    mask_pair(tmp_path, "stored", classes, exif=exif)
    mask_pair(tmp_path, "upright", np.ascontiguousarray(np.rot90(classes, -1)))
    photo(tmp_path / "images/upright.jpg", *classes.shape, exif=exif)
    found = read_scenes(tmp_path, valid=0, test=0)
    for scene in found.train:
        assert scene.size == (31, 17)
        assert np.array_equal(class_mask(scene), np.rot90(classes, -1))  # clockwise, as tag 6 says


@pytest.mark.parametrize("above", [True, False])
def test_mask_splits(tmp_path, classes, above):
    for role in ("train", "val"):
        folders = (f"{role}/images", f"{role}/masks") if above else (f"images/{role}", f"masks/{role}")
        mask_pair(tmp_path, role, classes, image_folder=folders[0], mask_folder=folders[1])
    found = read_scenes(tmp_path)
    assert ([s.name for s in found.train], [s.name for s in found.valid]) == (["train.jpg"], ["val.jpg"])


def test_mask_faults(tmp_path, classes):
    mask_pair(tmp_path, "good", classes)
    odd = classes.copy()
    odd[0, :4] = 9
    odd[1, :2] = 255  # to be ignored: no fault
    mask_pair(tmp_path, "odd", odd)
    mask_pair(tmp_path, "small", classes[:5])
    photo(tmp_path / "images/small.jpg", *classes.shape)
    mask_pair(tmp_path, "gone", classes)
    (tmp_path / "images/gone.jpg").unlink()
    photo(tmp_path / "images/lonely.jpg")
    mask_pair(tmp_path, "broken", classes)
    (tmp_path / "masks/broken.png").write_bytes(b"\x89PNG\r\n")
    found = read_scenes(tmp_path, class_names=["0", "1", "2"], valid=0, test=0)
    assert kinds(found) == {
        ("unknown class", "odd.png", None),
        ("other size", "small.png", None),
        ("missing image", "gone.png", None),
        ("no annotation", "lonely.jpg", None),
        ("broken", "broken.png", None),
    }
    assert [fault.kept for fault in found.faults if fault.kind == "unknown class"] == [True]
    kept = {scene.name: class_mask(scene) for scene in found.train}
    assert set(kept) == {"good.jpg", "odd.jpg"}
    expected = np.where(odd > 2, 255, odd)
    assert np.array_equal(kept["odd.jpg"], expected)
    with pytest.raises(ValueError, match="strict=True"):
        read_scenes(tmp_path, class_names=["0", "1", "2"], valid=0, test=0, strict=True)


def test_class_masks_are_drawn_from_objects():
    boxes = [[0, 0, 2, 2], [1, 0, 3, 1], [3, 0, 4, 2]]
    scene = Scene("a", "a", (2, 4), boxes, [0, 4, 1], crowd=[False, False, True])
    assert class_mask(scene).tolist() == [[1, 5, 5, 255], [1, 1, 0, 255]]
    assert class_mask(scene, background=None).tolist() == [[0, 4, 4, 255], [0, 0, 255, 255]]
