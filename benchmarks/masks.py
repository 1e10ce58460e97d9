"""Masks against pycocotools: average precision of 1,000 masks, and their overlaps alone.

    python -m benchmarks.masks

Each comparison first checks that both give the same. Ratios are the peer's time over ours: over 1, ours is faster.
"""

import contextlib
import copy
import io
from collections.abc import Iterator

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.timing import Comparison, compare, report
from zoo.masks import RunLengths
from zoo.metrics.detection import coco

CLASSES, SIZE = 5, (480, 640)


def main() -> None:
    report([*average_precision(), overlaps()])


def average_precision() -> Iterator[Comparison]:
    """COCO's evaluation of 1,000 detected masks: from compressed run lengths to all its numbers."""
    for images, objects in ((100, 10), (20, 50), (500, 2)):
        truths, detections = scenes(images, objects, seed=0)
        sides = index(truths), index(detections)

        def peer(sides=sides):
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation = COCOeval(*(copy.copy(side) for side in sides), "segm")
                evaluation.evaluate()
                evaluation.accumulate()
            return evaluation.eval

        def ours(truths=truths, detections=detections):
            return coco(truths, detections, num_classes=CLASSES, of="masks")

        np.testing.assert_allclose(np.nan_to_num(ours().precision, nan=-1), peer()["precision"], rtol=0, atol=1e-9)
        yield compare(f"mask_map_{images}_images", ours=ours, peer=peer, peer_name="COCOeval", rounds=5)


def overlaps() -> Comparison:
    """The IoU of 1,000 masks of one image with 100 others, from compressed run lengths."""
    rng = np.random.default_rng(0)
    found, truth = (
        [
            {**runs, "counts": runs["counts"].encode()}
            for runs in ellipses(rng.uniform(0, SIZE, (count, 2)), rng.uniform(5, 60, (count, 2)))
        ]
        for count in (1000, 100)
    )

    def ours():
        return RunLengths.from_coco(found).iou(RunLengths.from_coco(truth))

    def peer():
        return coco_mask.iou(found, truth, [0] * len(truth))

    np.testing.assert_array_equal(ours(), peer())
    return compare("iou_1000_x_100", ours=ours, peer=peer, peer_name="pycocotools.mask.iou", rounds=5)


def ellipses(centres: np.ndarray, axes: np.ndarray) -> list[dict]:
    """Returns the run lengths of ellipses, whose centres and half axes are (y, x), `[n, 2]` each."""
    height, width = SIZE
    parts = []
    for (a, b), (c, d) in zip(centres.tolist(), axes.tolist(), strict=True):
        x = np.arange(max(0, int(b - d) + 1), min(width, int(b + d) + 1))
        half = c * np.sqrt(np.maximum(1 - ((x - b) / d) ** 2, 0))
        top, bottom = np.ceil(a - half).clip(0, height - 1), np.ceil(a + half).clip(0, height - 1)
        some = bottom > top
        starts, ends = (x * height + top)[some].astype(np.int64), (x * height + bottom)[some].astype(np.int64)
        parts.append(RunLengths(starts, ends, np.array([0, len(starts)]), np.array([SIZE])))
    return RunLengths.concatenate(parts).to_coco()


def scenes(images: int, objects: int, *, seed: int) -> tuple[list[dict], list[dict]]:
    """Ellipses, each of which is detected a few pixels away."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(images):
        centres, axes = rng.uniform(0, SIZE, (objects, 2)), rng.uniform(5, 60, (objects, 2))
        moved = centres + rng.normal(0, 3, (objects, 2))
        classes = rng.integers(CLASSES, size=objects)
        truths.append({"masks": ellipses(centres, axes), "classes": classes})
        found = ellipses(moved, axes * rng.uniform(0.8, 1.2, (objects, 1)))
        detections.append({"masks": found, "classes": classes, "scores": rng.random(objects)})
    return truths, detections


def index(samples: list[dict]) -> COCO:
    annotations = []
    for image, sample in enumerate(samples):
        for i, runs in enumerate(sample["masks"]):
            runs = {**runs, "counts": runs["counts"].encode()}
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": int(sample["classes"][i]),
                "segmentation": runs,
                "area": float(coco_mask.area(runs)),
                "iscrowd": 0,
            }
            annotations.append(annotation | ({"score": float(sample["scores"][i])} if "scores" in sample else {}))
    data = COCO()
    data.dataset = {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(len(samples))],
        "categories": [{"id": i} for i in range(CLASSES)],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        data.createIndex()
    return data


if __name__ == "__main__":
    main()
