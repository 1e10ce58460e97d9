"""Nuclei without learning: Otsu's threshold, then the watershed of distances, measured on the test images.

    python -m benchmarks.nuclei_baseline ../shared/data/nuclei

Fluorescence (grey photos of bright nuclei) and colour (stained tissue, dark nuclei) are reported apart: IoU of the
foreground over all pixels, AP50 of masks with one score for all, and panoptic quality of nuclei. Last is one line of
JSON.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.filters import threshold_otsu

from zoo.masks import RunLengths
from zoo.metrics.detection import coco
from zoo.metrics.panoptic import PanopticScores, panoptic_scores
from zoo.metrics.segmentation import SegmentationScores, segmentation_scores
from zoo.segmentation.watershed import objects_from_foreground


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with test/images and test/instances")
    arguments = parser.parse_args()
    paths: dict[str, list[Path]] = {"fluorescence": [], "colour": []}
    for path in sorted((arguments.folder / "test" / "images").glob("*.png")):
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        paths["colour" if np.ptp(pixels, axis=2).mean() > 2 else "fluorescence"].append(path)
    figures = {}
    for kind, some in paths.items():
        numbers = measure(some)
        figures |= {f"{kind}_{name}": round(value, 4) for name, value in numbers.items()}
        print(f"{kind:<13} {len(some):3} images  " + "  ".join(f"{name} {v:.3f}" for name, v in numbers.items()))
    print(json.dumps(figures))


def measure(paths: list[Path]) -> dict[str, float]:
    pixels, segments = SegmentationScores.none(2), PanopticScores.none(2)
    ious, truths, detections = [], [], []
    for path in paths:
        expected = np.asarray(Image.open(path.parent.parent / "instances" / path.name)).astype(np.int64)
        found = baseline(np.asarray(Image.open(path).convert("RGB")))
        foregrounds = (expected > 0).astype(int), (found > 0).astype(int)
        scores = segmentation_scores(*foregrounds, num_classes=2, tolerance=None)
        ious.append(scores.iou[1])
        pixels += scores
        segments += panoptic_scores((foregrounds[0], expected), (foregrounds[1], found), num_classes=2)
        truths.append(sample(expected))
        detections.append(sample(found) | {"scores": np.ones(found.max())})
    result = coco(truths, detections, of="masks", max_detections=(1, 10, 1000))
    return {
        "iou": float(pixels.iou[1]),
        "mean_image_iou": float(np.nanmean(ious)),
        "ap50": result.average_precision(threshold=0.5),
        "pq": float(segments.pq[1]),
    }


def sample(instances: np.ndarray) -> dict:
    numbers, place = np.unique(instances, return_inverse=True)
    masks = RunLengths.from_instances(place.reshape(instances.shape) + (numbers[0] > 0))
    return {"masks": masks, "classes": np.zeros(len(masks), int)}


def baseline(photo: np.ndarray) -> np.ndarray:
    """Returns the nuclei of a photo `uint8 [h, w, 3]` as numbers `int32 [h, w]`; they are the smaller part of it."""
    grey = photo.astype(np.float64).mean(axis=2)
    bright = grey > threshold_otsu(grey)
    return objects_from_foreground(bright if bright.mean() < 0.5 else ~bright)


if __name__ == "__main__":
    main()
