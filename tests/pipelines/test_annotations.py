"""VOC, YOLO and COCO: what is read, that writing and reading lose nothing, and what becomes of every fault."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import Data, Scene, read_scenes, write_scenes
from pipelines.annotations import coco, voc, yolo
from pipelines.annotations.layouts import layout_of

SHARED = Path(__file__).parents[2].parent / "shared"
HEIGHT, WIDTH = 60, 100


def photo(path, height=HEIGHT, width=WIDTH, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 30)).save(path, **options)


def voc_object(name, box, extra=""):
    keys = ("xmin", "ymin", "xmax", "ymax")
    corners = "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, box, strict=True))
    return f"<object>\n<name>{name}</name>{extra}\n<bndbox>{corners}</bndbox>\n</object>\n"


def voc_file(root, stem, *objects, size=(WIDTH, HEIGHT), head="", image=True):
    if image:
        photo(root / "JPEGImages" / f"{stem}.jpg")
    path = root / "Annotations" / f"{stem}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    declared = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    text = f"{head}<annotation>\n<filename>{stem}.jpg</filename>{declared}\n{''.join(objects)}</annotation>\n"
    path.write_text(text, "utf-8")
    return path


def same_scenes(first, second, *, attributes=True):
    """All columns of two data sets are equal, to the last bit, scene by scene."""
    assert first.class_names == second.class_names
    for role in ("train", "valid", "test"):
        ours = sorted(first.splits[role], key=lambda scene: scene.name)
        theirs = sorted(second.splits[role], key=lambda scene: scene.name)
        assert [s.name for s in ours] == [s.name for s in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert a.size == b.size
            for key in ("boxes", "classes", "crowd", "difficult"):
                np.testing.assert_array_equal(getattr(a, key), getattr(b, key), err_msg=f"{a.name} {key}")
            for one, other in zip(a.outlines, b.outlines, strict=True):
                assert type(one) is type(other)
                if isinstance(one, dict):
                    assert one == other
                elif one is not None:
                    for points, others in zip(one, other, strict=True):
                        np.testing.assert_allclose(points, others, rtol=0, atol=1e-9)
            if attributes:
                assert a.attributes == b.attributes


@pytest.fixture
def data(tmp_path):
    """Three splits, odd numbers, an image without objects, names in folders and with accents."""
    rng = np.random.default_rng(0)
    parts = []
    for role, count in (("train", 4), ("valid", 2), ("test", 1)):
        scenes = []
        for i in range(count):
            height, width = 37 + i, 91 + 2 * i
            path = tmp_path / "source" / role / f"{i}.png"
            photo(path, height, width)
            corners = np.sort(rng.uniform(0, 1, [i, 2, 2]), axis=1) * [width, height]
            boxes = corners.reshape(-1, 4).astype(np.float32)
            if i:
                boxes[0] = [0, 0, width, height]
            scenes.append(
                Scene(str(path), f"{role}é {i}.png", (height, width), boxes=boxes, classes=rng.integers(0, 3, i))
            )
        parts.append(tuple(scenes))
    return Data(("bee & wasp", "ant", "7"), *parts)


# Reading


def test_voc_with_lists(tmp_path):
    voc_file(tmp_path, "a", voc_object("bee", (10, 5, 40, 30), "<difficult>1</difficult><truncated>1</truncated>"))
    voc_file(tmp_path, "b", voc_object("ant", (1.5, 2, 3, 4)), voc_object("bee", (0, 0, 100, 60)))
    voc_file(tmp_path, "c")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, text in (("train", "b\nc\n"), ("val", "a\n\n"), ("trainval", "a\nb\nc\n")):
        (lists / f"{name}.txt").write_text(text)
    found = read_scenes(tmp_path)
    assert found.class_names == ("ant", "bee")
    assert [scene.name for scene in found.train] == ["b.jpg", "c.jpg"]
    assert found.train[0].boxes.tolist() == [[1.5, 2, 3, 4], [0, 0, 100, 60]]
    assert found.train[0].classes.tolist() == [0, 1]
    assert len(found.train[1]) == 0  # an image without objects
    (scene,) = found.valid
    assert scene.difficult.tolist() == [True]
    assert scene.attributes == ({"truncated": "1"},)
    assert scene.size == (HEIGHT, WIDTH)
    assert scene.boxes.dtype == np.float32
    assert found.test == found.faults == ()


def test_the_contest_counts_pixels_from_one(tmp_path):
    voc_file(
        tmp_path,
        "a",
        "<source><database>The VOC2007 Database</database></source>",
        voc_object("bee", (1, 1, 100, 60)),
    )
    assert read_scenes(tmp_path, valid=0, test=0).train[0].boxes.tolist() == [[0, 0, 100, 60]]
    assert voc.read(tmp_path, valid=0, test=0, origin=0).train[0].boxes.tolist() == [[1, 1, 100, 60]]


def test_voc_as_a_pair_of_folders_and_side_by_side(tmp_path):
    for place in ("pair", "flat"):
        for number in range(6):
            xml = voc_file(tmp_path / "made", str(number), voc_object("bee", (10, 5, 40, 30)))
            images, annotations = ("images", "annotations") if place == "pair" else (".", ".")
            for source, target in ((tmp_path / "made/JPEGImages" / f"{number}.jpg", images), (xml, annotations)):
                (tmp_path / place / target).mkdir(parents=True, exist_ok=True)
                source.rename(tmp_path / place / target / source.name)
        found = read_scenes(tmp_path / place)
        assert len(found) == 6
        assert found.faults == ()
        assert found.train
        assert found.valid
        assert found.test


def test_the_exif_orientation_turns_boxes_that_were_drawn_on_the_stored_image(tmp_path):
    """A box around the one white rectangle, given for the stored image and for the upright one, is the same box."""
    from pipelines.loading.scene_batches import scene_dataset

    for tag in range(1, 9):
        pixels = np.zeros([HEIGHT, WIDTH, 3], np.uint8)
        pixels[5:30, 10:40] = 255
        exif = Image.Exif()
        exif[274] = tag
        root = tmp_path / str(tag)
        path = root / "JPEGImages/a.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(path, exif=exif)
        voc_file(root, "a", voc_object("bee", (10, 5, 40, 30)), image=False)
        (scene,) = read_scenes(root, valid=0, test=0).train
        if tag not in (5, 6, 7, 8):
            assert scene.size == (HEIGHT, WIDTH)
            continue  # sizes alike: taken to be drawn on the upright image, as today's tools show it
        sample = next(iter(scene_dataset([scene])))
        assert scene.size == (WIDTH, HEIGHT) == sample["image"].shape[:2]
        rows, columns = np.nonzero(sample["image"].numpy()[..., 0] > 127)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert scene.boxes.tolist() == [box]
        voc_file(root, "a", voc_object("bee", box), size=(HEIGHT, WIDTH), image=False)
        assert read_scenes(root, valid=0, test=0).train[0].boxes.tolist() == [box]


def test_yolo_boxes_and_polygons(tmp_path):
    photo(tmp_path / "images/a.jpg")
    photo(tmp_path / "images/more/b.jpg")
    photo(tmp_path / "images/c.jpg")
    for place, text in (
        ("labels/a.txt", "1 0.5 0.5 0.2 0.4\n\n0 0.1 0.1 0.3 0.1 0.3 0.5\n"),
        ("labels/more/b.txt", ""),
        ("classes.txt", "ant\nbee\n"),
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    found = read_scenes(tmp_path, valid=0, test=0)
    assert found.class_names == ("ant", "bee")
    assert [scene.name for scene in found.train] == ["a.jpg", "c.jpg", "more/b.jpg"]
    first, second, third = found.train
    assert first.boxes.tolist() == [[40, 18, 60, 42], [10, 6, 30, 30]]
    assert first.classes.tolist() == [1, 0]
    assert first.outlines[0] is None
    np.testing.assert_allclose(first.outlines[1][0], [[10, 6], [30, 6], [30, 30]])
    assert len(second) == len(third) == 0
    assert found.faults == ()


@pytest.mark.parametrize("names", ["names: [ant, bee]", "names:\n  0: ant\n  1: bee"])
def test_yolo_descriptions(tmp_path, names):
    for role in ("train", "valid"):
        photo(tmp_path / role / "images/a.jpg")
        (tmp_path / role / "labels").mkdir()
        (tmp_path / role / "labels/a.txt").write_text("1 0.5 0.5 0.2 0.4")
    # As Roboflow writes it: the paths lead out of the folder and are meant from within it.
    (tmp_path / "data.yaml").write_text(f"train: ../train/images\nval: ../valid/images\nnc: 2\n{names}\n")
    found = read_scenes(tmp_path)
    assert (len(found.train), len(found.valid), len(found.test)) == (1, 1, 0)
    assert found.class_names == ("ant", "bee")
    assert read_scenes(tmp_path / "data.yaml").train[0].classes.tolist() == [1]
    (tmp_path / "list.txt").write_text("train/images/a.jpg\ntrain/images/gone.jpg\n")
    (tmp_path / "data.yaml").write_text(f"train: list.txt\n{names}\n")
    found = read_scenes(tmp_path, valid=0, test=0)
    assert (len(found), found.counts) == (1, {"missing image": 1})
    assert found.faults[0].place.endswith("list.txt:2")


def coco_content(**changes):
    content = {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH},
            {"id": 9, "file_name": "b.jpg", "height": HEIGHT, "width": WIDTH},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [10, 5, 30, 25], "area": 700, "iscrowd": 0},
            {
                "id": 2,
                "image_id": 7,
                "category_id": 3,
                "bbox": [0, 0, 2, 2],
                "area": 4,
                "iscrowd": 1,
                "segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 2, 58, 2, 5938]},
            },
            {
                "id": 3,
                "image_id": 7,
                "category_id": 3,
                "bbox": [1, 1, 4, 5],
                "area": 15,
                "iscrowd": 0,
                "segmentation": [[1, 1, 5, 1, 5, 6], [1, 2, 2, 2, 2, 3]],
                "attributes": {"difficult": True, "colour": "red"},
            },
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
    }
    return content | changes


def coco_file(root, content, name="annotations/instances_train.json"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) if not isinstance(content, str) else content, "utf-8")
    for image in ("a.jpg", "b.jpg"):
        photo(root / "images" / image)
    return path


def test_coco(tmp_path):
    coco_file(tmp_path, coco_content())
    found = read_scenes(tmp_path, valid=0, test=0)
    assert found.class_names == ("car", "dog")
    assert found.class_ids == (3, 18)
    first, second = found.train
    assert (first.number, second.number, len(second)) == (7, 9, 0)
    assert first.boxes.tolist() == [[10, 5, 40, 30], [0, 0, 2, 2], [1, 1, 5, 6]]
    assert first.classes.tolist() == [1, 0, 0]
    assert first.crowd.tolist() == [False, True, False]
    assert first.difficult.tolist() == [False, False, True]
    assert first.attributes[2] == {"id": 3, "area": 15, "colour": "red"}
    assert len(first.outlines[2]) == 2


def test_coco_compressed_run_lengths_are_those_of_pycocotools(tmp_path):
    mask_tools = pytest.importorskip("pycocotools.mask")
    from pipelines.annotations.outlines import from_runs, instance_masks, to_runs

    mask = np.random.default_rng(0).random([HEIGHT, WIDTH]) < 0.3
    counts = mask_tools.encode(np.asfortranarray(mask))["counts"].decode()
    content = coco_content()
    content["annotations"][1]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts}
    coco_file(tmp_path, content)
    scene = read_scenes(tmp_path, valid=0, test=0).train[0]
    assert np.array_equal(instance_masks(scene)[1], mask)
    assert np.array_equal(from_runs(to_runs(mask)), mask)
    full = np.ones([3, 5], bool)
    assert np.array_equal(from_runs(to_runs(full)), full)
    # Polygons that follow the edges of pixels leave no doubt which pixels they hold.
    square = mask_tools.decode(mask_tools.frPyObjects([[10, 5, 40, 5, 40, 30, 10, 30]], HEIGHT, WIDTH))[..., 0]
    corners = np.array([[10, 5], [40, 5], [40, 30], [10, 30]])
    scene = Scene("a", "a", (HEIGHT, WIDTH), [[10, 5, 40, 30]], [0], outlines=[(corners,)])
    assert np.array_equal(instance_masks(scene)[0], square.astype(bool))


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (60, 101), (200, 300)])
def test_run_lengths_of_many_masks_are_those_of_pycocotools(shape):
    mask_tools = pytest.importorskip("pycocotools.mask")
    from pipelines.annotations.outlines import from_runs

    rng = np.random.default_rng(0)
    for share in (0.0, 0.01, 0.5, 0.99, 1.0):
        mask = rng.random(shape) < share
        counts = mask_tools.encode(np.asfortranarray(mask))["counts"]
        for form in (counts, counts.decode()):
            assert np.array_equal(from_runs({"size": list(shape), "counts": form}), mask)


@pytest.mark.parametrize("counts", ["1", "19", "1001", "oo", "\x00", "é", [1], [5, -1], [1, 4]])
def test_run_lengths_that_do_not_fill_the_image_are_refused(tmp_path, counts):
    from pipelines.annotations.outlines import from_runs

    with pytest.raises(ValueError, match="run lengths"):
        from_runs({"size": [2, 2], "counts": counts})
    content = coco_content()
    content["annotations"][1]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts}
    coco_file(tmp_path, content)
    found = read_scenes(tmp_path, valid=0, test=0)
    assert found.counts == {"broken": 1}
    assert found.faults[0].kept
    assert found.train[0].outlines[1] is None  # kept as a box


@pytest.mark.parametrize(
    "names",
    [
        ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
        ("train/_annotations.coco.json", "valid/_annotations.coco.json"),
    ],
)
def test_coco_splits(tmp_path, names):
    for name, number in zip(names, (0, 1), strict=True):
        content = coco_content(annotations=[])
        content["images"] = content["images"][number : number + 1]
        coco_file(tmp_path, content, name)
    found = read_scenes(tmp_path)
    assert ([s.name for s in found.train], [s.name for s in found.valid]) == (["a.jpg"], ["b.jpg"])


# Writing


@pytest.mark.parametrize("layout", ["voc", "yolo", "coco"])
def test_what_is_written_is_read_back(data, tmp_path, layout):
    assert write_scenes(data, tmp_path / "out", layout=layout) == ()
    assert layout_of(tmp_path / "out") == layout
    again = read_scenes(tmp_path / "out", class_names=data.class_names)
    assert again.faults == ()
    same_scenes(data, again, attributes=layout != "coco")  # which adds id and area


@pytest.mark.parametrize("chain", [("voc", "yolo", "coco"), ("coco", "yolo", "voc"), ("yolo", "coco", "voc")])
def test_boxes_go_through_all_three_formats_unchanged(data, tmp_path, chain):
    current = data
    for layout in chain:
        write_scenes(current, tmp_path / layout, layout=layout)
        current = read_scenes(tmp_path / layout, class_names=data.class_names, strict=True)
    same_scenes(data, current, attributes=False)


@pytest.mark.parametrize("chain", [("coco", "voc", "coco"), ("coco", "coco")])
def test_coco_and_voc_keep_outlines_crowds_and_attributes(tmp_path, chain):
    coco_file(tmp_path, coco_content())
    first = current = read_scenes(tmp_path, valid=0, test=0)
    for step, layout in enumerate(chain):
        assert write_scenes(current, tmp_path / f"{step}", layout=layout, strict=True) == ()
        current = read_scenes(tmp_path / f"{step}", class_names=first.class_names, valid=0, test=0, strict=True)
    same_scenes(first, current)


def test_coco_ids_are_kept(tmp_path):
    coco_file(tmp_path, coco_content())
    write_scenes(read_scenes(tmp_path, valid=0, test=0), tmp_path / "out", layout="coco")
    written = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    original = coco_content()
    assert sorted(c["id"] for c in written["categories"]) == [3, 18]
    assert {a["id"]: (a["image_id"], a["category_id"], a["area"], a["bbox"]) for a in written["annotations"]} == {
        a["id"]: (a["image_id"], a["category_id"], a["area"], a["bbox"]) for a in original["annotations"]
    }
    assert written["annotations"][1]["segmentation"] == original["annotations"][1]["segmentation"]


def test_pycocotools_reads_what_is_written(data, tmp_path):
    coco_api = pytest.importorskip("pycocotools.coco")
    write_scenes(data, tmp_path / "out", layout="coco")
    read = coco_api.COCO(str(tmp_path / "out/annotations/instances_train.json"))
    assert len(read.imgs) == 4
    assert len(read.anns) == 0 + 1 + 2 + 3


def test_yolo_polygons_are_written_as_polygons(tmp_path):
    photo(tmp_path / "images/a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.123456 0.1 0.3 0.15 0.3 0.5 0.2 0.7\n")
    first = read_scenes(tmp_path, valid=0, test=0)
    assert write_scenes(first, tmp_path / "out", layout="yolo", strict=True) == ()
    same_scenes(first, read_scenes(tmp_path / "out", valid=0, test=0))


def test_what_a_format_cannot_hold_is_said_or_refused(tmp_path):
    coco_file(tmp_path, coco_content())
    found = read_scenes(tmp_path, valid=0, test=0)
    faults = write_scenes(found, tmp_path / "out", layout="yolo")
    assert {fault.kind for fault in faults} == {"lossy"}
    said = " ".join(fault.reason for fault in faults)
    for words in ("outlines (2 of them)", "crowd (1 of them)", "difficult (1 of them)", "attributes (3 of them)"):
        assert words in said
    with pytest.raises(ValueError, match="no place for"):
        write_scenes(found, tmp_path / "refused", layout="yolo", strict=True)
    assert not (tmp_path / "refused").exists()


def test_images_are_copied_linked_or_left(data, tmp_path):
    for images in ("copy", "link", "leave"):
        write_scenes(data, tmp_path / images, layout="voc", images=images)
    copied, linked = (tmp_path / kind / "JPEGImages" / "trainé 0.png" for kind in ("copy", "link"))
    assert copied.read_bytes() == linked.read_bytes() == Path(data.train[0].image).read_bytes()
    assert (copied.is_symlink(), linked.is_symlink()) == (False, True)
    assert not (tmp_path / "leave/JPEGImages").exists()
    with pytest.raises(ValueError, match="not empty"):
        write_scenes(data, tmp_path / "copy", layout="voc")


def test_names_that_would_collide_or_lead_out_are_refused(tmp_path):
    pixels = np.zeros([4, 5, 3], np.uint8)
    twice = Data(("a",), (Scene(pixels, "x.bmp", (4, 5)), Scene(pixels, "x.png", (4, 5))))
    for layout in ("voc", "yolo"):
        with pytest.raises(ValueError, match=r"'x.bmp' and 'x.png'.*Rename one"):
            write_scenes(twice, tmp_path / layout, layout=layout)
    for name, message in (("x.jpg", "pixels would change"), ("x", "a name that ends in one of")):
        with pytest.raises(ValueError, match=message):
            write_scenes(Data(("a",), (Scene(pixels, name, (4, 5)),)), tmp_path / "lossy", layout="coco")
    out = Data(("a",), (Scene(pixels, "../../x.png", (4, 5)),))
    with pytest.raises(ValueError, match="leads out of"):
        write_scenes(out, tmp_path / "out", layout="coco")


# What bad input gets: for each format the same faults, planted on a known line.


def planted_voc(root):
    voc_file(root, "good", voc_object("bee", (10, 5, 40, 30)))
    voc_file(root, "gone", voc_object("bee", (10, 5, 40, 30)), image=False)
    voc_file(root, "boxes", voc_object("bee", (10, 5, 40, 30)), voc_object("yeti", (10, 5, 40, 30)))
    voc_file(root, "swapped", voc_object("bee", (40, 5, 10, 30)))
    voc_file(root, "outside", voc_object("bee", (110, 5, 140, 30)), voc_object("bee", (90, 5, 140, 30)))
    (root / "Annotations/broken.xml").write_text("<annotation>\n<object>\n</annotation>\n")
    (root / "Annotations/latin.xml").write_bytes("<annotation>\n<name>été</name></annotation>".encode("latin-1"))
    for stem in ("broken", "latin"):
        photo(root / "JPEGImages" / f"{stem}.jpg")
    return {
        ("missing image", "gone.xml", 2),
        ("unknown class", "boxes.xml", 9),
        ("no area", "swapped.xml", 5),
        ("outside", "outside.xml", 5),
        ("clipped", "outside.xml", 9),
        ("broken", "broken.xml", 3),
        ("encoding", "latin.xml", 2),
    }


def planted_yolo(root):
    (root / "labels").mkdir(parents=True)
    (root / "data.yaml").write_text("train: images\nnames: [bee]\n")
    files = {
        "good": "0 0.25 0.3 0.3 0.4\n",
        "boxes": "0 0.25 0.3 0.3 0.4\n5 0.25 0.3 0.3 0.4\n",
        "swapped": "0 0.25 0.3 -0.3 0.4\n",
        "outside": "0 1.25 0.3 0.3 0.4\n0 0.95 0.3 0.3 0.4\n",
        "broken": "0 0.25 0.3 0.3 0.4\nbee 1 2\n",
        "latin": "0 0.25 0.3 0.3 0.4\n# été\n",
    }
    for stem, text in files.items():
        (root / "labels" / f"{stem}.txt").write_bytes(text.encode("latin-1"))
        photo(root / "images" / f"{stem}.jpg")
    (root / "labels/gone.txt").write_text("0 0.25 0.3 0.3 0.4\n")
    return {
        ("missing image", "gone.txt", None),
        ("unknown class", "boxes.txt", 2),
        ("no area", "swapped.txt", 1),
        ("outside", "outside.txt", 1),
        ("clipped", "outside.txt", 2),
        ("broken", "broken.txt", 2),
        ("encoding", "latin.txt", 2),
    }


def planted_coco(root):
    box = [10, 5, 30, 25]
    rows = [
        {"images": [{"id": i, "file_name": f"{name}.jpg", "height": HEIGHT, "width": WIDTH}]}
        for i, name in enumerate(["a", "b", "gone"])
    ]
    objects = [(0, 1, box), (0, 7, box), (0, 1, [40, 5, -30, 25]), (1, 1, [110, 5, 30, 25]), (1, 1, [90, 5, 50, 25])]
    objects += [(0, 1, "here"), (8, 1, box)]
    lines = ['{"images": [']
    lines.append(",\n".join(json.dumps(row["images"][0]) for row in rows))
    lines.append('], "annotations": [')
    annotations = [{"id": i, "image_id": a, "category_id": b, "bbox": c} for i, (a, b, c) in enumerate(objects)]
    lines.append(",\n".join(map(json.dumps, annotations)))
    lines.append('], "categories": [{"id": 1, "name": "bee"}]}')
    coco_file(root, "\n".join(lines))
    name = "instances_train.json"
    return {
        ("missing image", name, 4),
        ("unknown class", name, 7),
        ("no area", name, 8),
        ("outside", name, 9),
        ("clipped", name, 10),
        ("broken", name, 11),
        ("missing image", name, 12),
    }


@pytest.mark.parametrize("plant", [planted_voc, planted_yolo, planted_coco])
def test_faults_are_counted_and_listed_with_file_and_line(tmp_path, plant):
    expected = plant(tmp_path)
    names = ["bee"]
    found = read_scenes(tmp_path, class_names=names, valid=0, test=0)
    listed = {(fault.kind, Path(fault.path).name, fault.line) for fault in found.faults}
    assert listed == expected
    assert sum(found.counts.values()) == len(found.faults) == len(expected)
    assert {fault.kind for fault in found.faults if fault.kept} == {"clipped"}
    assert len(found.skipped) == len(expected) - 1
    scenes = {Path(scene.name).stem: scene for scene in found.train}
    clipped = scenes["b" if "b" in scenes else "outside"]
    assert clipped.boxes[0, [0, 2]].tolist() in ([90, 100], [80, 100])
    assert len(clipped) == 1
    for scene in found.train:
        assert (scene.boxes >= 0).all()
        assert (scene.boxes[:, 2:] > scene.boxes[:, :2]).all()
        assert (scene.boxes <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()
    with pytest.raises(ValueError, match="strict=True raises at the first fault"):
        read_scenes(tmp_path, class_names=names, valid=0, test=0, strict=True)


def test_images_whose_annotation_cannot_be_read_are_left_out_not_taken_for_empty(tmp_path):
    for plant, lost in ((planted_voc, {"broken", "latin", "gone"}), (planted_yolo, {"latin", "gone"})):
        root = tmp_path / plant.__name__
        plant(root)
        names = {Path(scene.name).stem for scene in read_scenes(root, class_names=["bee"], valid=0, test=0).train}
        assert not names & lost
        assert {"good", "swapped"} <= names  # an image that loses its objects stays


@pytest.mark.parametrize(
    "content",
    [
        '{"images": [\n{"id": 1,}\n',
        '{"images": []\n "categories": []}',
        '{"images": [], "annotations": [], "categories": ["a"',
    ],
)
def test_broken_json(tmp_path, content):
    coco_file(tmp_path, content)
    with pytest.raises(ValueError, match=r"no annotated images.*instances_train.json:\d: not valid JSON"):
        read_scenes(tmp_path)
    with pytest.raises(ValueError, match=r"instances_train.json:\d: not valid JSON"):
        read_scenes(tmp_path, strict=True)


def test_json_of_a_wrong_encoding_or_thousands_of_levels(tmp_path):
    path = coco_file(tmp_path, coco_content())
    path.write_bytes(b'{"images": [],\n"categories": ["\xe9"]}')
    with pytest.raises(ValueError, match=r"json:2: byte 0xe9 is not UTF-8"):
        read_scenes(tmp_path)
    path.write_text('{"categories": ' + "[" * 200_000)
    with pytest.raises(ValueError, match=r"nested thousands of levels deep|not valid JSON"):
        read_scenes(tmp_path, layout="coco")


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE a [<!ENTITY x "y">]>\n',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n',
        '<!DOCTYPE a SYSTEM "http://localhost/a.dtd">\n',
        '<!DOCTYPE a [<!ENTITY % x SYSTEM "a.dtd"> %x;]>\n',
    ],
)
def test_xml_with_entities_or_external_references_is_refused(tmp_path, head):
    voc_file(tmp_path, "good")
    voc_file(tmp_path, "bad", head=head)
    found = read_scenes(tmp_path, valid=0, test=0)
    assert (len(found), found.counts) == (1, {"refused": 1})
    assert found.faults[0].line == 1


def test_an_annotation_of_an_image_of_another_size_is_left_out(tmp_path):
    voc_file(tmp_path, "good")
    voc_file(tmp_path, "other", voc_object("bee", (10, 5, 40, 30)), size=(640, 480))
    voc_file(tmp_path, "zeros", voc_object("bee", (10, 5, 40, 30)), size=(0, 0))
    found = read_scenes(tmp_path, valid=0, test=0)
    assert ([s.name for s in found.train], found.counts) == (["good.jpg", "zeros.jpg"], {"other size": 1})


def test_run_lengths_of_another_size_are_left_out_and_the_box_kept(tmp_path):
    content = coco_content()
    content["annotations"][1]["segmentation"] = {"size": [2, 2], "counts": [1, 3]}
    coco_file(tmp_path, content)
    found = read_scenes(tmp_path, valid=0, test=0)
    assert (found.counts, found.faults[0].kept, found.train[0].outlines[1]) == ({"other size": 1}, True, None)


def test_images_without_annotation_and_files_that_are_no_image(tmp_path):
    voc_file(tmp_path, "good")
    photo(tmp_path / "JPEGImages/lonely.jpg")
    (tmp_path / "JPEGImages/text.jpg").write_text("not a photo")
    voc_file(tmp_path, "text", image=False)
    found = read_scenes(tmp_path, valid=0, test=0)
    assert (len(found), found.counts) == (1, {"no annotation": 1, "unreadable image": 1})


def test_numbers_that_are_none(tmp_path):
    voc_file(tmp_path, "a", voc_object("bee", ("nan", 5, 40, 30)), voc_object("bee", ("x", 5, 40, 30)))
    found = read_scenes(tmp_path, valid=0, test=0, class_names=["bee"])
    assert found.counts == {"broken": 1, "not a number": 1}


def test_slivers_that_vanish_in_float32(tmp_path):
    """What is left of a box, cut at the edge and rounded, has an area or is no box."""
    boxes = (99.9999999, 5, 120, 30), (30.0000001, 5, 30.0000002, 9)
    voc_file(tmp_path, "a", *(voc_object("bee", box) for box in boxes))
    found = read_scenes(tmp_path, valid=0, test=0)
    assert found.counts == {"outside": 1, "no area": 1}
    assert len(found.train[0]) == 0


def test_rounding_over_the_edge_is_cut_without_a_word(tmp_path):
    photo(tmp_path / "images/a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.500001 0.5 1.000000 1.000000\n")
    found = read_scenes(tmp_path, valid=0, test=0)
    assert found.faults == ()
    assert found.train[0].boxes[0, 2:].tolist() == [WIDTH, HEIGHT]


def test_folders_that_are_not_there_or_nothing_known(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        read_scenes(tmp_path / "nowhere")
    photo(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"Expected Pascal VOC .* YOLO .* COCO"):
        read_scenes(tmp_path)
    with pytest.raises(ValueError, match="received layout='vox'"):
        read_scenes(tmp_path, layout="vox")


def test_reading_scenes_loads_no_tensorflow(tmp_path):
    voc_file(tmp_path, "good")
    code = (
        "import sys, pipelines\n"
        f"pipelines.read_scenes({str(tmp_path)!r}, valid=0, test=0)\n"
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# Real data


needs_bccd = pytest.mark.skipif(not (SHARED / "data/bccd").is_dir(), reason="../shared/data/bccd is not there")


@needs_bccd
def test_blood_cells():
    found = read_scenes(SHARED / "data/bccd")
    assert found.class_names == ("Platelets", "RBC", "WBC")
    assert (len(found.train), len(found.valid), len(found.test)) == (205, 87, 72)
    assert found.counts == {"no area": 2}
    assert {fault.place.rsplit("/", 1)[1] for fault in found.faults} == {
        "BloodImage_00343.xml:55",
        "BloodImage_00338.xml:163",
    }
    classes = np.concatenate([scene.classes for part in found.splits.values() for scene in part])
    assert np.bincount(classes).tolist() == [361, 4155 - 2, 372]
    with pytest.raises(ValueError, match=r"BloodImage_00343\.xml:55|BloodImage_00338\.xml:163"):
        read_scenes(SHARED / "data/bccd", strict=True)


@needs_bccd
def test_blood_cells_through_three_formats_and_back(tmp_path):
    first = current = read_scenes(SHARED / "data/bccd")
    for layout in ("yolo", "coco", "voc"):
        write_scenes(current, tmp_path / layout, layout=layout, images="link")
        current = read_scenes(tmp_path / layout)
        assert current.faults == ()
    same_scenes(first, current, attributes=False)


def test_readers_are_reached_by_name_too(tmp_path):
    voc_file(tmp_path / "v", "good")
    assert len(voc.read(tmp_path / "v", valid=0, test=0)) == 1
    photo(tmp_path / "y/a.jpg")
    assert len(yolo.read(tmp_path / "y", valid=0, test=0)) == 1
    path = coco_file(tmp_path / "c", coco_content())
    assert len(coco.read(path, images=tmp_path / "c/images", valid=0, test=0)) == 2
