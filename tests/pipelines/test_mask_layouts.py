"""Masks as people have them: folders, names, values and formats, all read without a word from the user."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import read_scenes
from pipelines.annotations import masks
from pipelines.annotations.outlines import class_mask, instance_masks

SIZE = (24, 36)


def photo(path: Path, size=SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)


def save(path: Path, values: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)


def square(value: int = 255, seed: int = 0, size=SIZE) -> np.ndarray:
    """Returns a square with a hole on a background of 0."""
    mask = np.zeros(size, np.uint8)
    top = 3 + seed
    mask[top : top + 12, 6:24] = value
    mask[top + 4 : top + 8, 10:16] = 0
    return mask


def names(scenes) -> list[str]:
    return [scene.name for scene in scenes]


def test_camvid(tmp_path):
    for role, count in (("train", 3), ("val", 2), ("test", 1)):
        for number in range(count):
            photo(tmp_path / role / f"0016E5_{number:05}.png")
            save(tmp_path / f"{role}annot" / f"0016E5_{number:05}.png", square(4, number))
    data = read_scenes(tmp_path)
    assert [len(part) for part in data.splits.values()] == [3, 2, 1]
    assert data.class_names == ("0", "1", "2", "3", "4")
    assert not data.faults
    assert np.array_equal(class_mask(data.train[1]), square(4, 1))


def test_camvid_with_a_table_of_colours_and_other_suffixes(tmp_path):
    for role in ("train", "val", "test"):
        photo(tmp_path / role / "0001TP_1.png")
        mask = np.where(square()[..., None] > 0, np.uint8([64, 128, 64]), np.uint8([192, 0, 128]))
        mask[0, :3] = (1, 2, 3)
        save(tmp_path / f"{role}_labels" / "0001TP_1_L.png", mask)
    (tmp_path / "label_colors.txt").write_text("64 128 64\tAnimal\n192 0 128\tArchway\n")
    data = read_scenes(tmp_path)
    assert data.class_names == ("Animal", "Archway")
    assert [fault.kind for fault in data.faults] == ["unknown class"] * 3
    assert "#010203 (3 pixels)" in data.faults[0].reason
    assert np.array_equal(class_mask(data.valid[0])[1:], (square() == 0)[1:])


def test_drive(tmp_path):
    for role, folder in (("training", "training"), ("test", "test")):
        for number in (21, 22, 23):
            photo(tmp_path / folder / "images" / f"{number}_{role}.tif")
            save(tmp_path / folder / "1st_manual" / f"{number}_manual1.gif", square(seed=number - 21))
            save(tmp_path / folder / "mask" / f"{number}_{role}_mask.gif", np.full(SIZE, 255, np.uint8))
    data = read_scenes(tmp_path)
    assert data.class_names == ("background", "object")
    assert not data.faults
    assert names(data.test) == ["21_test.tif", "22_test.tif", "23_test.tif"]
    for scene in (*data.train, *data.valid, *data.test):
        assert np.array_equal(class_mask(scene), square(1, int(scene.name[:2]) - 21))
    assert any("mask is not read" in note for note in data.notes)
    assert any("21_manual1.gif to 21_t" in note for note in data.notes)


def test_a_split_without_the_masks_that_the_others_have_is_not_read_from_other_masks(tmp_path):
    for number in (1, 2, 3):
        photo(tmp_path / f"training/images/{number}_training.tif")
        save(tmp_path / f"training/1st_manual/{number}_manual1.gif", square())
        photo(tmp_path / f"test/images/{number}_test.tif")
        save(tmp_path / f"test/mask/{number}_test_mask.gif", square(255, 5))
    data = read_scenes(tmp_path, valid=0, test=0)
    assert len(data.train) == 3
    assert not data.test


def test_cityscapes(tmp_path):
    for role, city in (("train", "aachen"), ("train", "bonn"), ("val", "ulm")):
        for number in range(2):
            stem = f"{city}_{number:06}_000019"
            photo(tmp_path / f"leftImg8bit/{role}/{city}/{stem}_leftImg8bit.png")
            for kind in ("labelIds", "instanceIds", "color"):
                save(tmp_path / f"gtFine/{role}/{city}/{stem}_gtFine_{kind}.png", square(7 if kind[0] == "l" else 9))
            (tmp_path / f"gtFine/{role}/{city}/{stem}_gtFine_polygons.json").write_text(
                '{"imgHeight": 2, "objects": []}'
            )
    data = read_scenes(tmp_path)
    assert [len(part) for part in data.splits.values()] == [4, 2, 0]
    assert not data.faults
    assert len(data.class_names) == 8
    assert "aachen/aachen_000000_000019_leftImg8bit.png" in names(data.train)
    assert any("other forms of the masks" in note for note in data.notes)


FOLDERS = [
    ("images", "masks"), ("imgs", "labels"), ("image", "gt"), ("img", "ground_truth"), ("Images", "GroundTruth"),
    ("JPEGImages", "SegmentationClass"), ("images", "annotations"), ("images", "manual1"), ("images", "Labels"),
]  # fmt: skip


@pytest.mark.parametrize(("images", "mask_folder"), FOLDERS)
def test_folders_of_other_names(tmp_path, images, mask_folder):
    for number in (1, 2):
        photo(tmp_path / "archive" / images / f"{number}.jpg")
        save(tmp_path / "archive" / mask_folder / f"{number}.png", square(1))
    data = read_scenes(tmp_path, valid=0, test=0)
    assert names(data.train) == ["1.jpg", "2.jpg"]
    assert not data.faults


# Names of photos and of their masks, and whether they may lie in one folder: then an ending says which are the masks.
PAIRS = [
    ("{}", "{}_mask", True),
    ("ISIC_{}", "ISIC_{}_segmentation", True),
    ("Image_{}L", "Image_{}L_1stHO", True),
    ("img_{}", "mask_{}", False),
    ("{}_sat", "{}_mask", False),
    ("x{}", "x{}_myown", False),
]


@pytest.mark.parametrize(
    ("image_name", "mask_name", "beside"),
    [(*names, False) for *names, _ in PAIRS] + [(*names, True) for *names, one_folder in PAIRS if one_folder],
)
def test_names_are_paired_by_what_they_share(tmp_path, image_name, mask_name, beside):
    folder = "photos" if beside else "masks"
    for number in ("001", "002", "010"):
        photo(tmp_path / "photos" / f"{image_name.format(number)}.jpg")
        save(tmp_path / folder / f"{mask_name.format(number)}.png", square(1, int(number) // 2))
    data = read_scenes(tmp_path, valid=0, test=0)
    assert len(data.train) == 3
    assert not data.faults
    assert np.array_equal(class_mask(data.train[2]), square(1, 5))


def test_what_has_no_partner_is_listed_and_not_paired_with_another(tmp_path):
    for number in (1, 2, 3):
        photo(tmp_path / f"images/{number}_training.jpg")
        save(tmp_path / f"masks/{number + 1}_manual1.png", square(1))
    data = read_scenes(tmp_path, valid=0, test=0)
    assert names(data.train) == ["2_training.jpg", "3_training.jpg"]
    assert [(fault.kind, Path(fault.path).name) for fault in data.faults] == [
        ("no annotation", "1_training.jpg"),
        ("missing image", "4_manual1.png"),
    ]


def test_splits_of_images_alone(tmp_path):
    for role in ("train", "val"):
        photo(tmp_path / f"images/{role}/{role}.jpg")
        save(tmp_path / f"masks/{role}.png", square(1))
    data = read_scenes(tmp_path)
    assert (names(data.train), names(data.valid)) == (["train.jpg"], ["val.jpg"])
    assert not [fault for fault in data.faults if fault.kind == "no annotation"]


def pair(root: Path, name: str, mask: np.ndarray, suffix: str = "png", **options) -> None:
    photo(root / f"images/{name}.png", mask.shape[:2])
    save(root / f"masks/{name}.{suffix}", mask, **options)


@pytest.mark.parametrize("quality", [60, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_masks_of_black_and_white(tmp_path, quality, mode):
    truth = np.zeros((90, 130), np.uint8)
    truth[13:60, 20:77] = 255
    truth[30:40, 40:50] = 0
    image = Image.fromarray(truth).convert(mode)
    photo(tmp_path / "images/a.png", truth.shape)
    (tmp_path / "masks").mkdir()
    image.save(tmp_path / "masks/a.jpg", quality=quality)
    data = read_scenes(tmp_path, valid=0, test=0)
    assert data.class_names == ("background", "object")
    assert np.array_equal(class_mask(data.train[0]), truth > 0)
    assert [(fault.kind, fault.kept) for fault in data.faults] in ([("edges", True)], [])


def test_jpeg_masks_of_colours_and_of_numbers(tmp_path):
    inside = square(1, size=(80, 96)) > 0
    colours = np.where(inside[..., None], np.uint8([220, 20, 60]), np.uint8([0, 0, 142]))
    pair(tmp_path, "a", colours, "jpg", quality=90, subsampling=0)
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nrider,220,20,60\ncar,0,0,142\n")
    data = read_scenes(tmp_path, valid=0, test=0)
    assert (class_mask(data.train[0]) == ~inside).mean() > 0.98
    pair(tmp_path / "numbers", "a", square(3), "jpg")
    with pytest.raises(ValueError, match=r"lossy format \(JPEG\).*Expected masks as PNG"):
        read_scenes(tmp_path / "numbers", valid=0, test=0)


@pytest.mark.parametrize("values", [[0, 127, 255], [0, 85, 170, 255], [0, 100, 200]])
def test_shades_of_grey_far_apart_are_classes(tmp_path, values):
    stripes = np.repeat(np.uint8(values), 8)[None].repeat(SIZE[0], axis=0)
    pair(tmp_path, "a", stripes)
    data = read_scenes(tmp_path, valid=0, test=0)
    assert data.class_names == tuple(map(str, values))
    assert class_mask(data.train[0])[0, ::8].tolist() == list(range(len(values)))


def test_thin_white_lines_with_few_grey_values_at_their_edges(tmp_path):
    mask = np.zeros(SIZE, np.uint8)
    mask[10], mask[[9, 11]] = 255, 90
    pair(tmp_path, "a", mask)
    data = read_scenes(tmp_path, valid=0, test=0)
    assert data.class_names == ("background", "object")
    assert class_mask(data.train[0])[8:12, 0].tolist() == [0, 255, 1, 255]


def test_a_mask_that_differs_by_a_pixel_is_kept_and_one_by_two_is_not(tmp_path):
    pair(tmp_path, "a", square(1))
    pair(tmp_path, "b", square(1, size=(25, 35)))
    photo(tmp_path / "images/b.png")
    pair(tmp_path, "c", square(1, size=(26, 36)))
    photo(tmp_path / "images/c.png")
    data = read_scenes(tmp_path, valid=0, test=0)
    assert names(data.train) == ["a.png", "b.png"]
    mask = class_mask(data.train[1])
    assert mask.shape == SIZE
    assert np.array_equal(mask[:, :35], square(1)[:, :35])
    assert (mask[:, 35] == 255).all()
    assert [(fault.kind, fault.kept) for fault in data.faults] == [("other size", True), ("other size", False)]
    assert "35x25 pixels (width x height)" in data.faults[0].reason


def test_masks_of_one_class_and_masks_to_be_ignored(tmp_path):
    pair(tmp_path, "a", np.zeros(SIZE, np.uint8))
    pair(tmp_path, "b", np.zeros(SIZE, np.uint8))
    with pytest.raises(ValueError, match=r"all 1728 pixels of the 2 masks of the split 'train' have the class '0'"):
        read_scenes(tmp_path, valid=0, test=0)
    pair(tmp_path, "c", square(1))
    pair(tmp_path, "d", np.full(SIZE, 255, np.uint8))
    data = read_scenes(tmp_path, valid=0, test=0)
    assert names(data.train) == ["a.png", "b.png", "c.png"]
    assert [(fault.kind, fault.kept) for fault in data.faults] == [("no class", False)]
    assert "all 864 pixels" in data.faults[0].reason


def test_colours_without_a_table_are_listed_with_their_counts(tmp_path):
    pair(tmp_path, "a", np.where(square()[..., None] > 0, np.uint8([9, 8, 7]), np.uint8([0, 0, 142])))
    with pytest.raises(ValueError, match=r"its colours are \(0, 0, 142\) \(672 pixels\), \(9, 8, 7\) \(192 pixels\)"):
        read_scenes(tmp_path)


def test_a_table_of_colours_beside_masks_of_numbers(tmp_path):
    pair(tmp_path, "a", square(1))
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nroad,128,64,128\nsky,70,130,180\n")
    data = read_scenes(tmp_path, valid=0, test=0)
    assert data.class_names == ("road", "sky")
    assert np.array_equal(class_mask(data.train[0]), square(1))
    (tmp_path / "up/archive").mkdir(parents=True)
    for name in ("images", "masks", "class_dict.csv"):
        (tmp_path / name).rename(tmp_path / "up/archive" / name)
    assert read_scenes(tmp_path / "up", valid=0, test=0).class_names == ("road", "sky")


@pytest.mark.parametrize("folder", ["instances", "masks"])
def test_maps_of_objects_in_16_bits(tmp_path, folder):
    instances = np.zeros(SIZE, np.uint16)
    instances[2:8, 3:9], instances[12:20, 5:30], instances[14:16, 10:20] = 7, 300, 0
    for name in ("a", "b"):
        photo(tmp_path / f"train/images/{name}.png")
        save(tmp_path / f"train/{folder}/{name}.png", instances)
    data = read_scenes(tmp_path, valid=0, test=0)
    scene = data.train[0]
    assert (data.class_names, len(scene)) == (("object",), 2)
    assert scene.boxes.tolist() == [[3, 2, 9, 8], [5, 12, 30, 20]]
    assert np.array_equal(instance_masks(scene), [instances == 7, instances == 300])
    assert np.array_equal(class_mask(scene), instances > 0)  # with its hole
    (tmp_path / "classes.txt").write_text("background\nnucleus\n")
    assert read_scenes(tmp_path, valid=0, test=0).class_names == ("nucleus",)


def test_masks_of_classes_in_16_bits(tmp_path):
    mask = square(2).astype(np.uint16)
    mask[0, ::4] = mask[22, ::3] = mask[20, ::3] = 1
    mask[::5, 30] = 3
    pair(tmp_path, "a", mask)
    assert read_scenes(tmp_path, valid=0, test=0).class_names == ("0", "1", "2", "3")


def test_a_mask_for_each_object(tmp_path):
    for name in ("x1", "x2", "x3"):
        photo(tmp_path / f"stage1_train/{name}/images/{name}.png")
        for number in range(3):
            mask = np.zeros(SIZE, np.uint8)
            mask[2 + 7 * number : 7 + 7 * number, 4:20] = 255
            save(tmp_path / f"stage1_train/{name}/masks/{name[::-1]}{number}.png", mask)
    save(tmp_path / "stage1_train/x1/masks/empty.png", np.zeros(SIZE, np.uint8))
    data = read_scenes(tmp_path, valid=0, test=0)
    assert [len(scene) for scene in data.train] == [3, 3, 3]
    assert data.train[0].boxes.tolist() == [[4, 2, 20, 7], [4, 9, 20, 14], [4, 16, 20, 21]]
    assert [(fault.kind, Path(fault.path).name) for fault in data.faults] == [("no area", "empty.png")]


def test_class_names_of_masks_of_objects_are_one(tmp_path):
    photo(tmp_path / "images/a.png")
    save(tmp_path / "instances/a.png", square(1).astype(np.uint16))
    assert masks.read(tmp_path, class_names=["cell"], valid=0, test=0).class_names == ("cell",)
    with pytest.raises(ValueError, match="expected one name, received"):
        masks.read(tmp_path, class_names=["a", "b"], valid=0, test=0)


def test_masks_are_read_beside_other_annotations_where_they_are_preferred(tmp_path):
    for name in ("2007_1", "2007_2", "2007_3"):
        photo(tmp_path / f"VOC2012/JPEGImages/{name}.jpg")
        save(tmp_path / f"VOC2012/SegmentationClass/{name}.png", square(1))
        save(tmp_path / f"VOC2012/SegmentationObject/{name}.png", square(1))
        (tmp_path / "VOC2012/Annotations").mkdir(exist_ok=True)
        (tmp_path / f"VOC2012/Annotations/{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename><size><width>36</width><height>24</height></size><object>"
            "<name>cat</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
        )
    lists = tmp_path / "VOC2012/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_1\n2007_3\n")
    (lists / "val.txt").write_text("2007_2\n")
    assert read_scenes(tmp_path / "VOC2012", valid=0, test=0).class_names == ("cat",)
    data = read_scenes(tmp_path / "VOC2012", prefer="masks")
    assert (names(data.train), names(data.valid)) == (["2007_1.jpg", "2007_3.jpg"], ["2007_2.jpg"])
    assert np.array_equal(class_mask(data.train[0]), square(1))
    assert "there is voc, too" in data.notes[0]
