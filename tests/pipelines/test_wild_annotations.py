"""Annotated data as people bring it: each test is named after a kind, and makes the smallest input of that kind."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import Data, Scene, WrongKind, audit, read_data, read_scenes
from pipelines.annotations.layouts import json_layout, layout_of, recognise
from pipelines.annotations.values import flag, identifier, whole_number
from pipelines.usable import parts_without_objects

HEIGHT, WIDTH = 30, 40
BOX = [4, 5, 14, 25]  # xyxy
YOLO_BOX = "0 0.225 0.5 0.25 0.666666666666"
COUNTS = {"train": 4, "valid": 2, "test": 1}
WORDS = {"train": "train", "valid": "val", "test": "test"}


def photo(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), "utf-8")


def voc_text(*names, flags=""):
    x1, y1, x2, y2 = BOX
    corners = f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
    return (
        "<annotation>" + "".join(f"<object><name>{n}</name>{flags}{corners}</object>" for n in names) + "</annotation>"
    )


def shape(label="bee", points=(BOX[:2], BOX[2:]), kind="rectangle", **others):
    return {"label": label, "points": [list(p) for p in points], "shape_type": kind, "group_id": None} | others


def labelme(name, *shapes, **others):
    return {
        "version": "5",
        "shapes": list(shapes),
        "imagePath": name,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    } | others


def via(*names, attributes=None):
    region = {
        "shape_attributes": {"name": "rect", "x": 4, "y": 5, "width": 10, "height": 20},
        "region_attributes": attributes or {"class": "bee"},
    }
    return {name: {"filename": name, "regions": [region]} for name in names}


def coco(*names, **changes):
    content = {
        "images": [{"id": i, "file_name": n, "height": HEIGHT, "width": WIDTH} for i, n in enumerate(names, 1)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [4, 5, 10, 20], "iscrowd": 0}
            for i in range(1, len(names) + 1)
        ],
        "categories": [{"id": 1, "name": "bee"}],
    }
    return content | changes


def read_all(folder, **options):
    return read_scenes(folder, valid=0, test=0, **options)


def sizes(data):
    return {name: (len(part), sum(map(len, part))) for name, part in data.splits.items()}


# Recognition


def test_the_order_and_the_place_of_keys_do_not_matter(tmp_path):
    content = coco(*[f"{i}.jpg" for i in range(1500)])
    content = {key: content[key] for key in ("images", "categories", "annotations")}
    write(tmp_path / "a.json", content)
    assert (tmp_path / "a.json").stat().st_size > 2 * 65536
    assert layout_of(tmp_path) == json_layout(tmp_path / "a.json") == "coco"
    write(tmp_path / "sorted.json", json.dumps(labelme("0.jpg", shape(), imageData="A" * 200_000), sort_keys=True))
    assert json_layout(tmp_path / "sorted.json") == "labelme"


@pytest.mark.parametrize("word", ["shapes", "regions", "caption", "segments_info", "_via_settings"])
def test_words_inside_of_values_do_not_decide(tmp_path, word):
    content = coco("0.jpg", info={"description": word, word: []})
    content["annotations"][0][word] = "a word of another format"
    write(tmp_path / "a.json", content)
    assert json_layout(tmp_path / "a.json") == "coco"


@pytest.mark.parametrize(
    "content",
    [
        {"images": [{"id": 1, "file_name": "a"}], "annotations": [{"id": 1, "image_id": 1, "caption": "a bee"}]},
        {"images": [], "annotations": [{"image_id": 1, "segments_info": []}], "categories": []},
        [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
        {"shapes": 3},
        "text",
    ],
)
def test_json_without_objects_is_no_annotation(tmp_path, content):
    write(tmp_path / "a.json", json.dumps(content))
    assert json_layout(tmp_path / "a.json") is None


def test_formats_are_recognised_at_any_depth_and_the_reason_is_noted(tmp_path):
    photo(tmp_path / "a/b/train/0.jpg")
    write(tmp_path / "a/b/train/0.xml", voc_text("bee"))
    write(tmp_path / "notes.json", {"made": "by hand"})
    found = read_all(tmp_path)
    assert found.notes[0] == "The annotations are read as voc (a/b/train/0.xml is an <annotation>)."
    write(tmp_path / "all.json", coco("0.jpg"))
    assert [other.layout for other in recognise(tmp_path).others] == ["coco"]
    assert len(read_all(tmp_path, layout="coco").train) == 1
    assert any(finding.kind == "reading" for finding in audit(found, decode=False).findings)


@pytest.mark.parametrize("beside", ["xml", "txt", "json"])
def test_an_annotated_folder_is_never_taken_for_classes(tmp_path, beside):
    for split in ("train", "valid", "test"):
        for number in range(2):
            photo(tmp_path / split / f"{number}.jpg", number)
            text = {"xml": voc_text("bee"), "txt": YOLO_BOX, "json": labelme(f"{number}.jpg", shape())}[beside]
            write(tmp_path / split / f"{number}.{beside}", text)
    with pytest.raises(WrongKind, match="holds annotated images"):
        read_data(tmp_path)
    assert sizes(read_scenes(tmp_path)) == {"train": (2, 2), "valid": (2, 2), "test": (2, 2)}


def test_class_folders_with_other_files_stay_class_folders(tmp_path):
    for name in ("ant", "bee"):
        for number in range(3):
            photo(tmp_path / name / f"{number}.jpg", number)
            write(tmp_path / name / f"{number}.txt", "a photo of 3 bees")
            write(tmp_path / name / f"{number}.xml", "<meta/>")
            write(tmp_path / name / f"{number}.json", {"taken": 2020})
    write(tmp_path / "classes.txt", "ant\nbee")
    assert read_data(tmp_path, valid=0, test=0).class_names == ("ant", "bee")


def test_exports_of_darknet(tmp_path):
    for number in range(6):
        photo(tmp_path / f"obj_train_data/{number}.jpg", number)
        write(tmp_path / f"obj_train_data/{number}.txt", YOLO_BOX)
    write(
        tmp_path / "obj.data", "classes = 1\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n"
    )
    write(tmp_path / "obj.names", "bee\n")
    write(tmp_path / "train.txt", "".join(f"data/obj_train_data/{n}.jpg\n" for n in range(4)))
    write(tmp_path / "valid.txt", "".join(f"data/obj_train_data/{n}.jpg\n" for n in (4, 5)))
    found = read_scenes(tmp_path)
    assert (found.class_names, found.faults) == (("bee",), ())
    assert sizes(found) == {"train": (4, 4), "valid": (2, 2), "test": (0, 0)}


# The user's own split

PLACES = {
    "kinds above": ("images/{}/{}.jpg", "{kind}/{}/{}"),
    "splits above": ("{}/images/{}.jpg", "{}/{kind}/{}"),
    "side by side": ("{}/{}.jpg", "{}/{}"),
    "one level deeper": ("data/images/{}/{}.jpg", "data/images/{}/{}"),
    "words in names": ("images/{}2017/{}.jpg", "{kind}/{}2017/{}"),
    "photos alone are divided": ("images/{}/{}.jpg", "{kind}/{1}"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("layout", ["voc", "yolo", "labelme"])
def test_the_own_split_is_honoured_by_readers_of_one_file_an_image(tmp_path, layout, place):
    image, annotation = PLACES[place]
    kind = {"voc": "annotations", "yolo": "labels", "labelme": "json"}[layout]
    # The same names in every split: only their place tells them apart. Not so where annotations are all in one folder.
    start = 0
    for split, count in COUNTS.items():
        for number in range(start, start + count):
            word = WORDS[split]
            photo(tmp_path / image.format(word, number), seed=10 * len(word) + number)
            text = {
                "voc": voc_text(split),
                "yolo": YOLO_BOX.replace("0", str(list(COUNTS).index(split)), 1),
                "labelme": labelme(f"{number}.jpg", shape(split)),
            }[layout]
            suffix = {"voc": "xml", "yolo": "txt", "labelme": "json"}[layout]
            write(tmp_path / (annotation.format(word, number, kind=kind) + f".{suffix}"), text)
        start += count if place == "photos alone are divided" else 0
    found = read_scenes(tmp_path)
    assert found.faults == ()
    assert sizes(found) == {split: (count, count) for split, count in COUNTS.items()}
    names = ["train", "valid", "test"] if layout != "yolo" else ["0", "1", "2"]
    for name, part in zip(names, found.splits.values(), strict=True):
        assert {found.class_names[c] for scene in part for c in scene.classes} == {name}


@pytest.mark.parametrize("layout", ["coco", "via"])
@pytest.mark.parametrize("place", ["in folders of splits", "in one folder", "above", "one for all"])
def test_the_own_split_is_honoured_by_readers_of_one_file_for_all(tmp_path, layout, place):
    make = {"coco": coco, "via": via}[layout]
    everything = []
    for split, count in COUNTS.items():
        word = WORDS[split]
        names = [f"{split}{number}.jpg" for number in range(count)]
        for name in names:
            photo(tmp_path / ("images" if place != "above" else "") / word / name, seed=sum(name.encode()))
        file = {
            "in folders of splits": f"annotations/{word}/made.json",
            "in one folder": f"annotations/{word}.json",
            "above": f"{word}/made.json",
            "one for all": "",
        }[place]
        everything += names
        if file:
            write(tmp_path / file, make(*names))
    if place == "one for all":
        write(tmp_path / "made.json", make(*everything))
    found = read_scenes(tmp_path)
    assert found.faults == ()
    assert sizes(found) == {split: (count, count) for split, count in COUNTS.items()}


def test_an_annotation_is_not_given_to_the_photo_of_another_split(tmp_path):
    for split in ("train", "val"):
        for number in range(2):
            photo(tmp_path / "images" / split / f"{number}.jpg", number)
            write(tmp_path / "annotations" / split / f"{number}.xml", voc_text(split))
    (tmp_path / "images/train/1.jpg").unlink()
    found = read_scenes(tmp_path)
    assert sizes(found) == {"train": (1, 1), "valid": (2, 2), "test": (0, 0)}
    assert found.counts == {"missing image": 1}


def test_files_outside_of_the_splits_are_listed(tmp_path):
    for place in ("train", "val", "."):
        photo(tmp_path / place / "0.jpg")
        write(tmp_path / place / "0.json", labelme("0.jpg", shape()))
    found = read_scenes(tmp_path)
    assert [(fault.kind, Path(fault.path).name) for fault in found.faults] == [("not listed", "0.json")]
    assert sizes(found) == {"train": (1, 1), "valid": (1, 1), "test": (0, 0)}


def test_lists_may_hold_paths(tmp_path):
    for number in range(3):
        photo(tmp_path / f"images/{number}.jpg", number)
        write(tmp_path / f"annotations/{number}.xml", voc_text("bee"))
    write(tmp_path / "train.txt", "./images/0.jpg ./annotations/0.xml\nimages/1.jpg\n")
    write(tmp_path / "val.txt", "2\n")
    assert sizes(read_scenes(tmp_path)) == {"train": (2, 2), "valid": (1, 1), "test": (0, 0)}


@pytest.mark.parametrize(
    "name", ["..\\..\\media\\upload\\4\\0.jpg", "/data/upload/1/0.jpg", "C:\\bees\\0.jpg", "0.JPG"]
)
def test_paths_of_other_machines_are_found_by_name_and_that_is_said(tmp_path, name):
    photo(tmp_path / "photos/0.jpg")
    write(tmp_path / "result.json", coco(name))
    found = read_all(tmp_path)
    assert (sizes(found)["train"], found.faults) == ((1, 1), ())
    assert "1 of 1 images of result.json do not lie where it says" in found.notes[1]
    photo(tmp_path / "others/0.jpg", 1)
    with pytest.raises(ValueError, match="may be any of 2 images"):
        read_all(tmp_path)


def test_of_several_files_of_one_split_the_unused_ones_are_said(tmp_path):
    photo(tmp_path / "images/0.jpg")
    for name in ("bees.json", "bees_backup.json"):
        write(tmp_path / name, coco("0.jpg"))
    found = read_all(tmp_path)
    assert [(fault.kind, Path(fault.path).name) for fault in found.faults] == [("not listed", "bees_backup.json")]
    assert "bees.json is read" in found.faults[0].reason
    assert "pass the file itself" in found.notes[1]
    assert len(read_all(tmp_path / "bees_backup.json")) == 1


def test_validation_on_the_training_folder_is_said_and_not_done(tmp_path):
    for number in range(6):
        photo(tmp_path / f"images/all/{number}.jpg", number)
        write(tmp_path / f"labels/all/{number}.txt", YOLO_BOX)
    write(tmp_path / "data.yaml", "path: ../elsewhere\ntrain: images/all\nval: images/all\ntest:\nnames: {0: bee}\n")
    found = read_scenes(tmp_path, test=0)
    assert len(found.valid) == 1
    assert "they are the same folder" in found.notes[1]
    assert found.counts == {"duplicate": 1}


@pytest.mark.parametrize("label", ["labels/train/0.TXT", "Labels/train/0.txt", "txt/train/0.txt"])
def test_text_files_are_found_however_their_folder_is_written(tmp_path, label):
    photo(tmp_path / "images/train/0.jpg")
    write(tmp_path / label, YOLO_BOX)
    write(tmp_path / "data.yaml", "train: images/train\nnames: [bee]\n")
    assert sizes(read_all(tmp_path))["train"] == (1, 1)


def test_missing_text_files_are_listed(tmp_path):
    for name in ("train/0", "train/1", "val/2"):
        photo(tmp_path / f"images/{name}.jpg")
    write(tmp_path / "labels/train/0.txt", YOLO_BOX)
    found = read_all(tmp_path)
    assert any(note.startswith("1 of the 2 images for train have no text file") for note in found.notes)
    assert found.counts == {"no annotation": 1}
    assert "none of the 1 images for valid has a text file" in found.faults[0].reason


# Guards


def scene(name, **flags):
    box = flags.pop("box", [1, 2, 5, 6])
    return Scene(name, name, (8, 9), boxes=[box], classes=[0], **flags)


@pytest.mark.parametrize(
    ("useless", "words"),
    [
        (scene("b", crowd=[True]), "1 object: 1 crowd"),
        (scene("b", difficult=[True]), "1 difficult"),
        (scene("b", box=[0.1, 0.2, 0.5, 0.6]), "1 below a pixel"),
        (scene("b")[:0], "there are none at all"),
    ],
)
def test_guards_count_usable_objects(tmp_path, useless, words):
    good = scene("a")
    assert parts_without_objects(Data(("bee",), (good,), (good,), (good,))) == {}
    lacking = parts_without_objects(Data(("bee",), (useless,), (good, useless), (useless,)))
    assert set(lacking) == {"train", "test"}
    assert all(words in sentence for sentence in lacking.values())
    photo(tmp_path / "a.png")
    on_disk = [replace(scene, image=str(tmp_path / "a.png")) for scene in (good, useless)]
    data = Data(("bee",), tuple(on_disk[:1]), tuple(on_disk[1:]))
    findings = {finding.kind: finding for finding in audit(data, decode=False).findings}
    assert findings["no objects"].severity == "error"
    assert "validation images have no objects to measure on" in findings["no objects"].message


# Text that means a number or a flag


def test_one_conversion_of_numbers_and_flags():
    assert [flag(v) for v in ("0", "false", False, 0, "No", 0.0, "", None, "0.0")] == [False] * 9
    assert [flag(v) for v in ("1", "true", True, 1, "YES", 1.0, "1.0")] == [True] * 7
    assert {identifier(v) for v in ("7", 7, 7.0, " 7.0 ")} == {7}
    assert identifier("3f-7") == "3f-7"
    for value in ("maybe", 2, [], "nan"):
        with pytest.raises(ValueError, match="expected yes or no"):
            flag(value)
    for value in (True, None, 1.5, "", "inf", float("nan"), {}):
        with pytest.raises(ValueError, match="expected a whole number"):
            whole_number(value)


@pytest.mark.parametrize("convert", [str, float, lambda i: f"{i}a-uuid", lambda i: f" {i}.0"])
def test_ids_of_any_type_keep_all_objects(tmp_path, convert):
    for number in range(3):
        photo(tmp_path / f"images/{number}.jpg")
    content = coco("0.jpg", "1.jpg", "2.jpg")
    is_uuid = isinstance(convert(1), str) and "uuid" in convert(1)
    for annotation in content["annotations"]:
        annotation |= {"image_id": convert(annotation["image_id"]), "category_id": convert(1)}
    for entry in (*content["images"], *content["categories"]) if is_uuid else content["categories"]:
        entry["id"] = convert(entry["id"])
    write(tmp_path / "a.json", content)
    found = read_all(tmp_path)
    assert (sizes(found)["train"], found.class_names, found.faults) == ((3, 3), ("bee",), ())
    assert found.class_ids == (("1a-uuid",) if is_uuid else (1,))


@pytest.mark.parametrize(
    ("value", "expected"), [("0", False), ("false", False), (False, False), ("1", True), ("True", True)]
)
def test_flags_as_text_mean_what_they_say_in_every_format(tmp_path, value, expected):
    texts = {
        "voc/0.xml": voc_text("bee", flags=f"<difficult>{value}</difficult><iscrowd>{value}</iscrowd>"),
        "labelme/0.json": labelme("0.jpg", shape(difficult=value)),
        "via/a.json": via("0.jpg", attributes={"class": "bee", "difficult": value}),
        "coco/a.json": coco("0.jpg"),
    }
    texts["coco/a.json"]["annotations"][0] |= {"iscrowd": value, "attributes": {"difficult": value}}
    for name, text in texts.items():
        write(tmp_path / name, text)
        photo(tmp_path / Path(name).parent / "0.jpg")
        found = read_all((tmp_path / name).parent)
        assert found.faults == (), name
        assert found.train[0].difficult.tolist() == [expected], name
        if not name.startswith(("labelme", "via")):
            assert found.train[0].crowd.tolist() == [expected], name


def test_what_is_no_flag_is_listed(tmp_path):
    photo(tmp_path / "0.jpg")
    write(tmp_path / "0.xml", voc_text("bee", flags="<difficult>maybe</difficult>"))
    found = read_all(tmp_path)
    assert found.train[0].difficult.tolist() == [False]
    assert "difficult: expected yes or no (true or false, 1 or 0), received 'maybe'" in found.faults[0].reason


def test_yaml_makes_no_flags_and_numbers_of_the_names_of_classes(tmp_path):
    names = ["yes", "no", "on", "null", "1e3", "007", "2020-01-01"]
    photo(tmp_path / "images/0.jpg")
    write(tmp_path / "labels/0.txt", "1 0.5 0.5 0.2 0.2\n")
    for text in (f"[{', '.join(names)}]", "{" + ", ".join(f"{i}: {n}" for i, n in enumerate(names)) + "}"):
        write(tmp_path / "data.yaml", f"train: images\nval: ~\nnames: {text}\n")
        assert read_all(tmp_path).class_names == tuple(names)


# Columns


@pytest.mark.parametrize(
    ("shape", "lines", "expected"),
    [
        ("[3, 3]", [YOLO_BOX + " 0.2 0.3 2" * 3], "key points (kpt_shape) are not"),
        ("[3, 2]", [YOLO_BOX + " 0.2 0.3" * 3, YOLO_BOX], "key points (kpt_shape) are not"),
        (None, [YOLO_BOX + " 0.87"], "a confidence or the number of a track"),
        (None, [YOLO_BOX + " 0.87 12", YOLO_BOX + " 0.6 1"], "confidences and numbers of tracks"),
        (None, [YOLO_BOX + " 0.87 1", YOLO_BOX], "confidences and numbers of tracks"),
    ],
)
def test_columns_are_not_guessed(tmp_path, shape, lines, expected):
    photo(tmp_path / "images/0.jpg")
    write(tmp_path / "labels/0.txt", "\n".join(lines))
    write(tmp_path / "data.yaml", "train: images\nnames: [bee]\n" + (f"kpt_shape: {shape}\n" if shape else ""))
    found = read_all(tmp_path)
    scene = found.train[0]
    np.testing.assert_allclose(scene.boxes, [BOX] * len(lines), atol=1e-4)
    assert scene.outlines == (None,) * len(lines)
    assert any(expected in note for note in found.notes)


def test_polygons_stay_polygons(tmp_path):
    photo(tmp_path / "images/0.jpg")
    write(tmp_path / "labels/0.txt", "0 0.1 0.2 0.5 0.2 0.5 1\n0 0.1 0.2 0.5 0.2 0.5 0.9 0.1 0.9\n")
    assert [len(outline[0]) for outline in read_all(tmp_path).train[0].outlines] == [3, 4]
    write(tmp_path / "data.yaml", "train: images\nnames: [bee]\nkpt_shape: [2, 3]\n")
    found = read_all(tmp_path)
    assert found.counts == {"broken": 2}
    assert "(7 columns)" in found.faults[0].reason


# True reasons


def mask_png():
    import base64
    import io

    buffer = io.BytesIO()
    pixels = np.zeros((20, 10), np.uint8)
    pixels[2:, 3:] = 255
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_labelme_masks_and_turned_shapes_are_read(tmp_path):
    from pipelines.annotations.outlines import from_runs

    photo(tmp_path / "0.jpg")
    corners = ((10, 2), (20, 8), (16, 14), (6, 8))
    write(
        tmp_path / "0.json",
        labelme(
            "0.jpg",
            shape(points=((4, 5), (13, 24)), kind="mask", mask=mask_png()),
            shape(points=corners, kind="rotation", direction=0.5),
            shape(points=corners[::-1], kind="quadrilateral"),
            shape(points=((4, 5), (13, 24)), kind="mask", mask="no PNG"),
            shape(points=corners[:2], kind="linestrip"),
            shape(points=corners, kind="spline"),
        ),
    )
    found = read_all(tmp_path)
    boxes = found.train[0].boxes.tolist()
    assert boxes == [BOX, [6, 2, 20, 14], [6, 2, 20, 14], BOX]
    mask = from_runs(found.train[0].outlines[0])
    assert (mask.sum(), mask[7:25, 7:14].all()) == (18 * 7, True)
    reasons = [fault.reason for fault in found.faults if fault.kind == "broken"]
    assert [reason.split(": ")[1].split(";")[0] for reason in sorted(reasons)] == [
        "its mask is not a PNG in base64", "a linestrip has no area", "the shape_type 'spline' is not known",
    ]  # fmt: skip


def test_too_few_images_are_not_called_a_class(tmp_path):
    photo(tmp_path / "0.jpg")
    write(tmp_path / "0.xml", voc_text("bee"))
    with pytest.raises(ValueError, match=r"^the data have 1 image, too few to split"):
        read_scenes(tmp_path)


def test_duplicate_ids_are_told_with_their_cause(tmp_path):
    for number in range(3):
        photo(tmp_path / f"images/{number}.jpg", number)
    content = coco("0.jpg", "1.jpg", "2.jpg")
    content["images"][1]["id"] = 1
    write(tmp_path / "a.json", content)
    found = read_all(tmp_path)
    assert [scene.name for scene in found.train] == ["2.jpg"]
    assert found.counts == {"missing image": 2, "duplicate": 1}
    assert any("images[1] (1.jpg) and images[0] (0.jpg) have the same id 1" in str(fault) for fault in found.faults)


def test_an_annotation_that_was_left_out_hides_none_that_comes_later(tmp_path):
    photo(tmp_path / "images/0.jpg")
    content = coco("0.jpg", "0.jpg")
    content["images"][0]["height"] = 999
    write(tmp_path / "a.json", content)
    found = read_all(tmp_path)
    assert (sizes(found)["train"], found.counts) == ((1, 1), {"other size": 1})


def test_the_unused_one_of_two_categories_of_a_name_is_dropped(tmp_path):
    photo(tmp_path / "images/0.jpg")
    content = coco("0.jpg", categories=[{"id": 0, "name": "bee"}, {"id": 1, "name": "bee"}])
    write(tmp_path / "a.json", content)
    found = read_all(tmp_path)
    assert (found.class_names, found.class_ids, sizes(found)["train"]) == (("bee",), (1,), (1, 1))
    assert "The category 0 is left out" in found.notes[1]


def test_key_points_of_coco_are_said_to_be_ignored(tmp_path):
    photo(tmp_path / "train2017/0.jpg")
    content = coco("0.jpg")
    content["annotations"][0]["keypoints"] = [1, 2, 2]
    write(tmp_path / "annotations/person_keypoints_train2017.json", content)
    found = read_all(tmp_path)
    assert sizes(found)["train"] == (1, 1)
    assert any("key points of 1 objects are not learned from" in note for note in found.notes)


# What the audit lists


def suspicious(tmp_path, layout, *, names=("bee",), box=BOX):
    x1, y1, x2, y2 = box
    photo(tmp_path / layout / "0.jpg")
    shapes = [shape(name, ((x1, y1), (x2, y2))) for name in names]
    content = coco("0.jpg", categories=[{"id": i, "name": name} for i, name in enumerate(names)])
    content["annotations"] = [
        {"image_id": 1, "category_id": i, "bbox": [x1, y1, x2 - x1, y2 - y1]} for i in range(len(names))
    ]
    rect = {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
    regions = [{"shape_attributes": rect, "region_attributes": {"class": name}} for name in names]
    corners = f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
    objects = "".join(f"<object><name>{name}</name>{corners}</object>" for name in names)
    text = {
        "voc": f"<annotation>{objects}</annotation>",
        "labelme": labelme("0.jpg", *shapes),
        "coco": content,
        "via": {"0.jpg": {"filename": "0.jpg", "regions": regions}},
    }[layout]
    write(tmp_path / layout / ("0.xml" if layout == "voc" else "0.json"), text)
    found = read_all(tmp_path / layout)
    listed = audit(found, decode=False)
    return found, {place for finding in listed.findings if finding.kind == "annotations" for place, _ in finding.where}


LAYOUTS = ["voc", "labelme", "via"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_box_several_times_is_listed(tmp_path, layout):
    found, places = suspicious(tmp_path, layout, names=["bee"] * 3)
    assert (sizes(found)["train"], found.counts) == ((1, 3), {"repeated": 1})
    assert "3 times" in found.faults[0].reason
    assert len(places) == 1


@pytest.mark.parametrize("layout", [*LAYOUTS, "coco"])
def test_boxes_below_one_pixel_are_listed(tmp_path, layout):
    found, places = suspicious(tmp_path, layout, box=[0.1, 0.2, 0.5, 0.9])
    assert found.counts == {"tiny": 1}
    assert "fractions" in found.faults[0].reason
    assert len(places) == 1
    assert "train" in parts_without_objects(found)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_empty_labels_are_listed_and_left_out(tmp_path, layout):
    found, places = suspicious(tmp_path, layout, names=["bee", "", "  "])
    assert (found.class_names, sizes(found)["train"], found.counts["broken"]) == (("bee",), (1, 1), 2)
    assert places


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_that_differ_by_space_or_case_are_listed(tmp_path, layout):
    found, places = suspicious(tmp_path, layout, names=["bee", "bee", "bee ", "Bee"])
    assert found.class_names == ("Bee", "bee")
    assert found.train[0].classes.tolist() == [1, 1, 1, 0]
    reasons = [fault.reason for fault in found.faults if fault.kind == "label"]
    if layout != "voc":  # whose reader has always taken space away
        assert any("'bee ', which is read as 'bee'" in reason for reason in reasons)
    assert any("'Bee' (1 object) and 'bee' (3) differ by case" in reason for reason in reasons)
    assert places


def test_a_second_ticked_class_is_listed(tmp_path):
    photo(tmp_path / "0.jpg")
    ticked = {"class": {"ant": "false", "bee": True, "wasp": True}}
    write(tmp_path / "via.json", via("0.jpg", attributes=ticked))
    found = read_all(tmp_path)
    assert found.class_names == ("bee",)
    assert "'bee', 'wasp' ticked; it is read as 'bee'" in found.faults[0].reason
