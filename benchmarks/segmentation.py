"""Networks that give every pixel a class: nuclei under the microscope, and synthetic scenes.

    python -m benchmarks.segmentation nuclei ../shared/data/nuclei --epochs 8
    python -m benchmarks.segmentation scenes --network unet --size 128 --epochs 12
    python -m benchmarks.segmentation scenes --network fcn32s --seed 1      # and fcn16s, and fcn8s
    python -m benchmarks.segmentation nuclei ../shared/data/nuclei --epochs 1 --images 20    # does it run?

`nuclei` takes folders `train`, `val` and `test` with `images/` and `instances/` (16-bit PNGs, 0 for the background), as
the 2018 Data Science Bowl's, and reports the IoU of the foreground apart for fluorescence (grey images with a dark
background) and for stained tissue (all others). `scenes` cuts digits of scikit-learn out and puts them onto soft
colours, each class of a digit being a class of pixels.

Both write a folder of images and masks and call `transfer.fit` as `zoo fit --task segment` does. The last line is one
of JSON. Figures that count stand in `benchmarks/RESULTS.md`, with their seeds.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

import transfer
from pipelines import SyntheticScenes, cut_out, read_data
from pipelines.annotations.outlines import DrawnMask
from zoo.metrics.segmentation import SegmentationScores, segmentation_scores

DARK = 100  # mean grey level below which a grey image is one of fluorescence
SPLITS = ("train", "val", "test")


def write_nuclei(source: Path, folder: Path, images: int | None) -> None:
    """Writes images, and masks of 0 and 1 made of numbers of objects."""
    for split in SPLITS:
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for path in sorted((source / split / "images").iterdir())[:images]:
            shutil.copy(path, folder / split / "images" / path.name)
            instances = np.asarray(Image.open(source / split / "instances" / path.name))
            Image.fromarray((instances > 0).astype("uint8")).save(folder / split / "masks" / path.name)
    (folder / "classes.txt").write_text("background\nnucleus\n")


def write_scenes(folder: Path, size: int, seed: int, images: int | None) -> None:
    """Writes synthetic scenes and their masks."""
    digits = read_data("sklearn:digits")
    parts = {"train": digits.train, "val": digits.valid, "test": digits.test}
    for number, (split, count) in enumerate(zip(SPLITS, (400, 60, 100), strict=True)):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        cutouts = cut_out(parts[split], digits.class_names)
        scenes = SyntheticScenes(cutouts, min(count, images or count), size=(size, size), seed=3 * seed + number)
        for index, scene in enumerate(scenes):
            Image.fromarray(scene.image).save(folder / split / "images" / f"{index}.png")
            Image.fromarray(DrawnMask(scene).read()).save(folder / split / "masks" / f"{index}.png")
    (folder / "classes.txt").write_text("\n".join(["background", *(f"digit {name}" for name in digits.class_names)]))


def is_fluorescence(image: np.ndarray) -> bool:
    """Tells whether an image `[h, w, 3]` is grey and mostly dark."""
    return bool(np.ptp(image, axis=-1).max() <= 8 and image.mean() < DARK)


def by_kind(run: Path, folder: Path) -> dict[str, float]:
    """Measures the foreground IoU of the test images, apart for both kinds, by what a user gets for the photos."""
    predictor = transfer.load(run)
    totals = {kind: SegmentationScores.none(2) for kind in ("fluorescence", "colour")}
    paths = sorted((folder / "test" / "images").iterdir())
    for path, answer in zip(paths, predictor.stream(paths), strict=True):
        kind = "fluorescence" if is_fluorescence(np.asarray(Image.open(path).convert("RGB"))) else "colour"
        truth = np.asarray(Image.open(folder / "test" / "masks" / path.name))
        totals[kind] += segmentation_scores(truth, answer.mask, num_classes=2, tolerance=None)
    return {f"foreground_iou_{kind}": round(float(total.iou[1]), 4) for kind, total in totals.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("nuclei", "scenes"))
    parser.add_argument("folder", type=Path, nargs="?", help="the folder of the nuclei")
    parser.add_argument("--network", default="unet")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--size", type=int, default=128, help="sides of a synthetic scene, in pixels")
    parser.add_argument("--images", type=int, help="take only so many of each split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="keep the run there")
    arguments = parser.parse_args()
    if arguments.data == "nuclei" and arguments.folder is None:
        parser.error("nuclei needs its folder")
    with tempfile.TemporaryDirectory() as place:
        data, out = Path(place, "data"), arguments.out or Path(place, "run")
        if arguments.data == "nuclei":
            write_nuclei(arguments.folder, data, arguments.images)
        else:
            write_scenes(data, arguments.size, arguments.seed, arguments.images)
        settings = transfer.Segment(
            network=arguments.network,
            backbone=arguments.backbone,
            epochs=arguments.epochs,
            flip="both" if arguments.data == "nuclei" else "none",
            seed=arguments.seed,
            audit=False,
        )
        start = time.perf_counter()
        run = transfer.fit(data, out, settings, announce=print)
        seconds = time.perf_counter() - start
        kinds = by_kind(run.folder, data) if arguments.data == "nuclei" else {}
        names = ("valid_miou", "test_miou", "test_dice", "test_pixel_accuracy", "export_max_abs_diff")
        line = {**vars(arguments), **{name: run.metrics[name] for name in names}, **kinds, "seconds": round(seconds)}
        print(json.dumps(line, default=str))


if __name__ == "__main__":
    main()
