"""The same words name the splits in every source and every format."""

import json

import numpy as np
import pytest
from PIL import Image

from pipelines import Data, Scene, read_data, read_scenes, write_scenes
from pipelines.sources.split_names import SPLIT_WORDS, split_in, split_of, splits_among
from pipelines.sources.tfds_reading import parse_splits

H, W = 9, 12
NUMBERS = {"train": 4, "valid": 2, "test": 2}  # images of each split


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), "uint8")


def scenes(split):
    return [
        Scene(picture(n), f"{split}{n}.png", (H, W), boxes=[[1, 2, 5, 6]], classes=[0]) for n in range(NUMBERS[split])
    ]


def save_pictures(folder, split):
    folder.mkdir(parents=True)
    for seed in range(NUMBERS[split]):
        Image.fromarray(picture(seed)).save(folder / f"{split}{seed}.png")


def class_folders(root, words):
    for split, word in words.items():
        for name in ("ant", "bee"):
            save_pictures(root / word / name, split)
    return read_data(root)


def tfds_image_folder(root, words):
    class_folders(root, words)
    return read_data(f"tfds:{root}")


def tfds_brackets(root, words):
    class_folders(root, {"train": "train", "valid": "val", "test": "test"})
    expressions = ", ".join(f"{word}={split if split != 'valid' else 'val'}" for split, word in words.items())
    return read_data(f"tfds:{root}[{expressions}]")


def table(root, words):
    save_pictures(root / "train", "train")
    save_pictures(root / "valid", "valid")
    save_pictures(root / "test", "test")
    rows = [f"{s}/{s}{n}.png,{'ab'[n % 2]},{word}" for s, word in words.items() for n in range(NUMBERS[s])]
    (root / "table.csv").write_text("path,label,split\n" + "\n".join(rows))
    return read_data(root / "table.csv")


def npz(root, words):
    arrays = {}
    for split, word in words.items():
        arrays[f"x_{word}"] = np.stack([picture(n) for n in range(NUMBERS[split])])
        arrays[f"y_{word}"] = np.arange(NUMBERS[split]) % 2
    root.mkdir()
    np.savez(root / "data.npz", **arrays)
    return read_data(root / "data.npz")


def save_yolo(root, words):
    for split, word in words.items():
        save_pictures(root / word / "images", split)
        (root / word / "labels").mkdir()
        for n in range(NUMBERS[split]):
            (root / word / "labels" / f"{split}{n}.txt").write_text("0 0.5 0.5 0.2 0.2\n")


def yolo_folders(root, words):
    save_yolo(root, words)
    return read_scenes(root)


def yolo_description(root, words):
    save_yolo(root, {split: f"part {split}" for split in words})
    lines = [f"{word}: part {split}/images" for split, word in words.items()]
    (root / "data.yaml").write_text("\n".join([*lines, "names: [ant]"]))
    return read_scenes(root)


def voc_lists(root, words):
    write_scenes(Data(("ant",), *map(scenes, words)), root, layout="voc")
    lists = root / "ImageSets" / "Main"
    for path in lists.glob("*.txt"):
        path.unlink()
    for split, word in words.items():
        (lists / f"{word}.txt").write_text("".join(f"{split}{n}\n" for n in range(NUMBERS[split])))
    return read_scenes(root)


def coco_files(root, words):
    write_scenes(Data(("ant",), *map(scenes, words)), root, layout="coco")
    files = {split: next(path for path in root.rglob("*.json") if split_in(path.stem) == split) for split in words}
    for split, path in files.items():
        path.rename(path.with_name(f"moved {split}.json.part"))
    for split, path in files.items():
        path.with_name(f"moved {split}.json.part").rename(path.with_name(f"instances_{words[split]}2017.json"))
    return read_scenes(root)


def via_files(root, words):
    for split, word in words.items():
        save_pictures(root / word, split)
        region = {
            "shape_attributes": {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4},
            "region_attributes": {"class": "ant"},
        }
        names = [f"{split}{n}.png" for n in range(NUMBERS[split])]
        document = {name: {"filename": name, "regions": [region]} for name in names}
        (root / word / "via.json").write_text(json.dumps(document))
    return read_scenes(root)


def labelme_files(root, words):
    for split, word in words.items():
        save_pictures(root / word, split)
        for n in range(NUMBERS[split]):
            shape = {"label": "ant", "shape_type": "rectangle", "points": [[1, 2], [5, 6]]}
            document = {"shapes": [shape], "imagePath": f"{split}{n}.png", "imageHeight": H, "imageWidth": W}
            (root / word / f"{split}{n}.json").write_text(json.dumps(document))
    return read_scenes(root)


def save_masks(folder, split):
    folder.mkdir(parents=True)
    for n in range(NUMBERS[split]):
        Image.fromarray(np.eye(H, W, dtype=np.uint8)).save(folder / f"{split}{n}.png")


def mask_folders(root, words):
    for split, word in words.items():
        save_pictures(root / "images" / word, split)
        save_masks(root / "masks" / word, split)
    return read_scenes(root)


def mask_lists(root, words):
    for split in words:
        save_pictures(root / "new", split)
        save_masks(root / "new masks", split)
        for old, new in (("new", "JPEGImages"), ("new masks", "SegmentationClass")):
            (root / new).mkdir(exist_ok=True)
            for path in (root / old).iterdir():
                path.rename(root / new / path.name)
            (root / old).rmdir()
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, word in words.items():
        (lists / f"{word}.txt").write_text("".join(f"{split}{n}\n" for n in range(NUMBERS[split])))
    return read_scenes(root)


READERS = [
    *(class_folders, tfds_image_folder, tfds_brackets, table, npz, yolo_folders, yolo_description, voc_lists),
    *(coco_files, via_files, labelme_files, mask_folders, mask_lists),
]
TRIPLES = [
    {"train": train, "valid": valid, "test": test}
    for train, valid, test in [
        ("train", "val", "test"),
        ("Training", "VALID", "Testing"),
        ("TRAINVAL", "Dev", "Test"),
        ("training", "validation", "TESTING"),
    ]
]


def test_the_triples_have_every_word():
    assert {word.lower() for words in TRIPLES for word in words.values()} == set(SPLIT_WORDS)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("words", TRIPLES, ids=lambda words: "-".join(words.values()))
def test_every_reader_knows_every_word(tmp_path, reader, words):
    data = reader(tmp_path / "data", words)
    times = 2 if reader in (class_folders, tfds_image_folder, tfds_brackets) else 1  # two classes
    assert {name: len(part) for name, part in data.splits.items()} == {s: times * n for s, n in NUMBERS.items()}
    assert data.skipped == ()


def test_words():
    assert split_of(" Val ") == "valid"
    assert split_of("value") is None
    assert split_in("part-TEST.v2") == "test"
    assert parse_splits("mnist[training=train, DEV=test]")[1] == {"train": "train", "valid": "test"}
    assert splits_among(["trainval", "test"]) == {"train": "trainval", "test": "test"}
    assert splits_among(["trainval", "train"]) == {"train": "train"}
    with pytest.raises(ValueError, match="found both dev and val"):
        splits_among(["dev", "val"])
