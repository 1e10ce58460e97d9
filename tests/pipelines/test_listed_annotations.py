"""The formats that list boxes without a layout of folders: CVAT, ImgLab, CreateML, Open Images, KITTI, and tables."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import WrongKind, read_data, read_scenes
from pipelines.annotations.box_columns import box_columns
from pipelines.annotations.layouts import layout_of
from pipelines.annotations.outlines import instance_masks

HEIGHT, WIDTH = 60, 100
# The boxes of each image: class, x1, y1, x2, y2.
BOXES = {
    "a 1": [("bee", 10, 5, 40, 30), ("ant", 50, 20, 60, 40)],
    "ü.v2": [("ant", 0, 0, 100, 60)],
    "none": [],
    "b": [("bee", 1, 2, 3, 4)],
    "c": [("ant", 1, 2, 3, 4)],
}


def cvat(images):
    nodes = "".join(
        f'<image id="{i}" name="{name}" width="{WIDTH}" height="{HEIGHT}">'
        + "".join(
            f'<box label="{label}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" occluded="0"/>\n'
            for label, x1, y1, x2, y2 in boxes
        )
        + "</image>\n"
        for i, (name, boxes) in enumerate(images.items())
    )
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("bee", "ant"))
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}{nodes}</annotations>'


def imglab(images):
    nodes = "".join(
        f"<image file='{name}'>"
        + "".join(
            f"<box top='{y1}' left='{x1}' width='{x2 - x1}' height='{y2 - y1}'><label>{label}</label></box>\n"
            for label, x1, y1, x2, y2 in boxes
        )
        + "</image>\n"
        for name, boxes in images.items()
    )
    return f"<?xml version='1.0' encoding='utf-8'?>\n<dataset><name>x</name><images>{nodes}</images></dataset>"


def createml(images):
    return json.dumps(
        [
            {
                "image": name,
                "annotations": [
                    {
                        "label": label,
                        "coordinates": {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2, "width": x2 - x1, "height": y2 - y1},
                    }
                    for label, x1, y1, x2, y2 in boxes
                ],
            }
            for name, boxes in images.items()
        ]
    )


def open_images(images):
    rows = [
        f"{Path(name).stem},xclick,{label},1,{x1 / WIDTH},{x2 / WIDTH},{y1 / HEIGHT},{y2 / HEIGHT},0,0,0,0,0"
        for name, boxes in images.items()
        for label, x1, y1, x2, y2 in boxes
    ]
    head = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    )
    return "\n".join([head, *rows])


def table(head, row, empty):
    def text(images):
        rows = [
            row.format(name, label, x1, y1, x2, y2, w=x2 - x1, h=y2 - y1)
            for name, boxes in images.items()
            for label, x1, y1, x2, y2 in boxes
        ]
        rows += [empty.format(name) for name, boxes in images.items() if not boxes]
        return "\n".join([*head, *rows])

    return text


TABLES = {
    "corners": table(
        ["filename,width,height,class,xmin,ymin,xmax,ymax"], "{0},100,60,{1},{2},{3},{4},{5}", "{0},100,60,,,,,"
    ),
    "no names": table([], "{0},{2},{3},{4},{5},{1}", "{0},,,,,"),
    "no names, class first": table([], "{0},{1},{2},{3},{4},{5}", "{0},,,,,"),
    "sides": table(["Image Name;Label;X;Y;W;H"], "{0};{1};{2};{3};{w};{h}", "{0};;;;;"),
    "one cell": table(["image_id\tbbox\tlabel"], "{0}\t[{2}, {3}, {w}, {h}]\t{1}", "{0}\t\t"),
    "makesense": table([], "{1},{2},{3},{w},{h},{0},100,60", ""),
}
FORMATS = {
    "cvat": (cvat, "annotations.xml"),
    "imglab": (imglab, "boxes.xml"),
    "createml": (createml, "_annotations.createml.json"),
    "openimages": (open_images, "annotations-bbox.csv"),
    "csv": (TABLES["corners"], "_annotations.csv"),
}


def save(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        Image.new("RGB", (WIDTH, HEIGHT), (seed, 90, 30)).save(folder / f"{name}.png")


def check(scene, boxes, class_names):
    assert [class_names[i] for i in scene.classes] == [label for label, *_ in boxes]
    np.testing.assert_allclose(scene.boxes, np.reshape([box for _, *box in boxes], (-1, 4)), atol=1e-4)


def check_all(data):
    scenes = {
        scene.name.rsplit("/", 1)[-1].removesuffix(".png"): scene for part in data.splits.values() for scene in part
    }
    assert {name for name in BOXES if BOXES[name]} <= set(scenes) <= set(BOXES)
    for name, scene in scenes.items():
        check(scene, BOXES[name], data.class_names)


@pytest.mark.parametrize("place", ["", "images", "images/more"])
@pytest.mark.parametrize("layout", FORMATS)
def test_one_file_for_all_images(tmp_path, layout, place):
    write, name = FORMATS[layout]
    save(tmp_path / place, BOXES)
    text = write({f"{stem}.png": boxes for stem, boxes in BOXES.items()})
    (tmp_path / name).write_text(text, "utf-8")
    assert layout_of(tmp_path) == layout_of(tmp_path / name) == layout
    data = read_scenes(tmp_path)
    check_all(data)
    assert data.class_names == (("bee", "ant") if layout == "cvat" else ("ant", "bee"))
    unlisted = 1 if layout == "openimages" else 0  # it has rows for boxes alone
    assert [fault.kind for fault in data.faults] == ["no annotation"] * unlisted
    assert len(data) == len(BOXES) - unlisted
    assert len(data.valid) > 0
    check_all(read_scenes(tmp_path / name, layout=layout))
    with pytest.raises(WrongKind, match=f"layout '{layout}'"):
        read_data(tmp_path)


PARTS = {"train": ["a 1", "none", "ü.v2"], "valid": ["b"], "test": ["c"]}


@pytest.mark.parametrize("kind", ["beside", "folders", "above", "files", "photos"])
@pytest.mark.parametrize("layout", FORMATS)
def test_the_users_own_split_is_honoured(tmp_path, layout, kind):
    write, name = FORMATS[layout]
    everything = {}
    for split, stems in PARTS.items():
        images, notes = {
            "beside": (tmp_path / split, tmp_path / split / name),
            "folders": (tmp_path / "images" / split, tmp_path / "annotations" / split / name),
            "above": (tmp_path / split / "images", tmp_path / split / "annotations" / name),
            "files": (tmp_path / "images", tmp_path / f"{split}-{name}"),
            "photos": (tmp_path / split, None),
        }[kind]
        save(images, stems)
        if notes is not None:
            notes.parent.mkdir(parents=True, exist_ok=True)
            notes.write_text(write({f"{stem}.png": BOXES[stem] for stem in stems}), "utf-8")
        everything |= {f"{split}/{stem}.png": BOXES[stem] for stem in stems}
    if kind == "photos":
        (tmp_path / name).write_text(write(everything), "utf-8")
    data = read_scenes(tmp_path)
    check_all(data)
    found = {
        split: {scene.name.rsplit("/", 1)[-1].removesuffix(".png") for scene in part}
        for split, part in data.splits.items()
    }
    expected = {split: set(stems) for split, stems in PARTS.items()}
    if layout == "openimages":
        expected["train"].remove("none")
    assert found == expected


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_boxes(tmp_path, name):
    save(tmp_path / "photos", BOXES)
    (tmp_path / "boxes.CSV").write_text(TABLES[name]({f"photos/{stem}.png": boxes for stem, boxes in BOXES.items()}))
    assert layout_of(tmp_path / "boxes.CSV") == "csv"
    data = read_scenes(tmp_path / "boxes.CSV", valid=0, test=0)
    check_all(data)
    assert len(data.skipped) == (name == "makesense")
    if name == "corners":  # the others are no tables of labels in any case
        with pytest.raises(WrongKind, match=r"holds boxes, several for some images.*read_scenes"):
            read_data(tmp_path / "boxes.CSV")


def test_a_table_of_boxes_with_a_split_and_faults(tmp_path):
    save(tmp_path, ["a", "b", "c"])
    rows = ["image,xmin,ymin,xmax,ymax,class,Set,score", "a.png,1,2,30,40,1,Train,0.5", "b.png,1,2,30,40,10,TEST,"]
    rows += [
        "c.png,1,2,30,40,2,train,",
        "a.png,x,2,30,40,2,train,",
        "a.png,1,2,30,40,2,test,",
        "gone.png,1,2,3,4,2,train,",
    ]
    rows += ["a.png,1,2,30,40,,train,", "a.png,1,2,130,40,2,train,"]
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    data = read_scenes(tmp_path / "boxes.csv", valid=0)
    assert [[scene.name for scene in part] for part in data.splits.values()] == [["a.png", "c.png"], [], ["b.png"]]
    assert data.train[0].attributes[0] == {"Set": "Train", "score": "0.5"}
    assert [(fault.line, fault.kind) for fault in data.faults] == [
        (5, "broken"), (6, "broken"), (8, "broken"), (9, "clipped"), (7, "missing image"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"boxes\.csv:5: '2': the box \['x', '2', '30', '40'\] is not four numbers"):
        read_scenes(tmp_path / "boxes.csv", strict=True)


def test_tables_that_are_not_of_boxes():
    assert box_columns([]) is None
    assert box_columns([["path", "label"], ["a.jpg", "bee"]]) is None
    assert box_columns([["a.jpg", "1", "2"], ["b.jpg", "3", "4"]]) is None
    assert box_columns([["path", "age", "height", "width", "x"], ["a.jpg", "1", "2", "3", "4"]]) is None


def test_labels_of_a_table_are_no_boxes(tmp_path):
    (tmp_path / "table.csv").write_text("path,label\na.png,cat\n")
    with pytest.raises(WrongKind, match="labels for whole images"):
        read_scenes(tmp_path / "table.csv")


# What only one of them has


def test_cvat_shapes(tmp_path):
    save(tmp_path, ["a"])
    shapes = """
    <box label="bee" xtl="40" ytl="10" xbr="60" ybr="20" rotation="90"><attribute name="age">3</attribute></box>
    <polygon label="bee" points="10,5;30.0,5;30,25"/>
    <ellipse label="bee" cx="50" cy="30" rx="20" ry="10" rotation="90"/>
    <mask label="bee" rle="1,2,2,1" left="3" top="4" width="3" height="2"/>
    <polyline label="bee" points="1,1;2,2"/>
    <tag label="bee"/>
    <box label="yeti" xtl="1" ytl="1" xbr="9" ybr="9"/>
    <box label="bee" xtl="1" ytl="nothing" xbr="9" ybr="9"/>
    <mask label="bee" rle="1,2" left="3" top="4" width="3" height="2"/>"""
    meta = "<meta><job><labels><label><name>bee</name></label></labels></job></meta>"
    document = (
        f'<annotations>{meta}<image id="7" name="C:\\x\\a.png" width="100" height="60">{shapes}</image></annotations>'
    )
    (tmp_path / "annotations.xml").write_text(document)
    data = read_scenes(tmp_path, valid=0, test=0)
    scene = data.train[0]
    np.testing.assert_allclose(
        scene.boxes, [[45, 5, 55, 25], [10, 5, 30, 25], [40, 10, 60, 50], [3, 4, 6, 6]], atol=1e-4
    )
    assert instance_masks(scene)[3, 4:6, 3:6].astype(int).tolist() == [[0, 1, 1], [0, 0, 1]]
    assert scene.attributes[0] == {"age": "3"}
    assert scene.number == 7
    assert [(fault.line, fault.kind) for fault in data.faults] == [
        (6, "broken"), (9, "broken"), (10, "broken"), (8, "unknown class"),
    ]  # fmt: skip


def test_cvat_subsets(tmp_path):
    save(tmp_path / "images", ["a", "b"])
    nodes = "".join(
        f'<image id="{i}" name="{name}.png" subset="{subset}"/>'
        for i, (name, subset) in enumerate([("a", "Train"), ("b", "Test")])
    )
    (tmp_path / "annotations.xml").write_text(f"<annotations>{nodes}</annotations>")
    assert [len(part) for part in read_scenes(tmp_path, valid=0).splits.values()] == [1, 0, 1]


def test_imglab_boxes_that_are_ignored_or_have_no_label(tmp_path):
    save(tmp_path, ["a"])
    boxes = "<box top='2' left='1' width='9' height='8' ignore='1'><part name='eye' x='3' y='4'/></box><box top='2'/>"
    (tmp_path / "x.xml").write_text(f"<dataset><images><image file='..\\a.png'>{boxes}</image></images></dataset>")
    data = read_scenes(tmp_path, valid=0, test=0)
    assert (data.class_names, data.train[0].boxes.tolist()) == (("object",), [[1, 2, 10, 10]])
    assert data.train[0].difficult.tolist() == [True]
    assert data.train[0].attributes[0] == {"parts": {"eye": ["3", "4"]}}
    assert [fault.kind for fault in data.faults] == ["broken"]


def test_open_images_classes_and_groups(tmp_path):
    save(tmp_path / "train", ["0a1b"])
    head = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    )
    (tmp_path / "train-annotations-bbox.csv").write_text(f"{head}\n0a1b,xclick,/m/01,1,0.1,0.5,0.2,1,0,1,1,0,0\n")
    (tmp_path / "class-descriptions-boxable.csv").write_text('/m/01,"Bee, wild"\n/m/02,Ant\n')
    data = read_scenes(tmp_path, valid=0, test=0)
    assert data.class_names == ("Bee, wild",)
    np.testing.assert_allclose(data.train[0].boxes, [[10, 12, 50, 60]], atol=1e-4)
    assert data.train[0].crowd.tolist() == [True]
    assert data.train[0].attributes[0] == {"source": "xclick", "confidence": "1", "istruncated": "1"}


@pytest.mark.parametrize(
    ("images", "labels"),
    [("{}/image_2", "{}/label_2"), ("{}/images", "{}/labels"), ("images/{}", "labels/{}"), ("{}", "{}")],
)
def test_kitti(tmp_path, images, labels):
    for part, stems in {"training": ["a 1", "none", "ü.v2"], "testing": ["b"]}.items():
        save(tmp_path / images.format(part), stems)
        folder = tmp_path / labels.format(part)
        folder.mkdir(parents=True, exist_ok=True)
        for stem in stems:
            lines = [
                f"{label} 0.00 1 -1.57 {x1} {y1} {x2} {y2} 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n"
                for label, x1, y1, x2, y2 in BOXES[stem]
            ]
            (folder / f"{stem}.txt").write_text("".join(lines))
    with (folder / "b.txt").open("a") as file:
        file.write("DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10\nbee 1 2\n")
    assert layout_of(tmp_path) == "kitti"
    data = read_scenes(tmp_path, valid=0)
    assert [[scene.name.rsplit("/", 1)[-1] for scene in part] for part in data.splits.values()] == [
        ["a 1.png", "none.png", "ü.v2.png"], [], ["b.png"],
    ]  # fmt: skip
    for scene in (*data.train, *data.test):
        check(scene, BOXES[scene.name.rsplit("/", 1)[-1].removesuffix(".png")], data.class_names)
    assert data.train[0].attributes[0]["occluded"] == 1
    assert [(fault.line, fault.kind) for fault in data.faults] == [(3, "broken"), (2, "left out")]


@pytest.mark.parametrize("layout", FORMATS)
def test_broken_files_are_listed(tmp_path, layout):
    save(tmp_path, ["a", "b"])
    write, name = FORMATS[layout]
    good = write({"a.png": [("bee", 1, 2, 3, 4)]}).encode()
    for contents in (good[: len(good) // 3], good.replace(b"bee", b"\xff"), b"\n" + good[40:], b""):
        (tmp_path / name).write_bytes(contents)
        with pytest.raises(ValueError, match=r"no annotated images to train on\. First of \d faults"):
            read_scenes(tmp_path / name, layout=layout, valid=0, test=0)
