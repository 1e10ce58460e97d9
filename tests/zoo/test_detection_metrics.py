"""Average precision against pycocotools, against loops that follow the papers, and by hand."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from zoo.metrics import detection


def random_case(seed: int) -> tuple[list[dict], list[dict]]:
    """A few images with everything that makes matching hard: equal scores and IoUs, crowds, areas of their own."""
    rng = np.random.default_rng(seed)
    images, classes = rng.integers(1, 5), rng.integers(1, 4)
    whole = rng.random() < 0.7  # whole pixels give equal IoUs, and IoUs on the thresholds
    levels = rng.choice([4, 10, 1000])
    truths, detections = [], []
    for _ in range(images):
        n, m = rng.integers(0, 7), rng.integers(0, 13)
        side = rng.choice([12, 40, 150])
        corner = rng.uniform(0, 60, (n, 2))
        truth_boxes = np.concatenate([corner, corner + rng.uniform(1, side, (n, 2))], axis=1)
        near = truth_boxes[rng.integers(n, size=m)] if n else np.tile([0.0, 0, side, side], (m, 1))
        found_boxes = near + rng.normal(0, rng.choice([0, 1, 5]), (m, 4)) * (rng.random((m, 1)) < 0.8)
        found_boxes[:, 2:] = np.maximum(found_boxes[:, 2:], found_boxes[:, :2] + 1)
        if whole:
            truth_boxes, found_boxes = truth_boxes.round(), found_boxes.round()
        sizes = truth_boxes[:, 2:] - truth_boxes[:, :2]
        areas = sizes.prod(axis=1) * rng.choice([1, 0.6], n)
        areas[rng.random(n) < 0.1] = 32**2
        truths.append(
            {
                "boxes": truth_boxes,
                "classes": rng.integers(classes, size=n),
                "crowd": rng.random(n) < 0.15,
                "areas": areas,
            }
        )
        detections.append(
            {
                "boxes": found_boxes,
                "classes": rng.integers(classes, size=m),
                "scores": rng.integers(levels, size=m) / levels,
            }
        )
    return truths, detections


def pycocotools_evaluation(truths, detections, **parameters) -> COCOeval:
    """The same through pycocotools, from dictionaries instead of files."""
    names = sorted({int(name) for sample in (*truths, *detections) for name in sample["classes"]})
    truth, found = COCO(), COCO()
    for data, samples in ((truth, truths), (found, detections)):
        annotations = []
        for image, sample in enumerate(samples):
            for i, (x1, y1, x2, y2) in enumerate(np.asarray(sample["boxes"], "float64").tolist()):
                width, height = x2 - x1, y2 - y1
                annotation = {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(sample["classes"][i]),
                    "bbox": [x1, y1, width, height],
                    "area": float(sample["areas"][i]) if "areas" in sample else width * height,
                    "iscrowd": int(sample["crowd"][i]) if "crowd" in sample else 0,
                }
                if "scores" in sample:
                    annotation["score"] = float(sample["scores"][i])
                annotations.append(annotation)
        data.dataset = {
            "images": [{"id": image} for image in range(len(samples))],
            "categories": [{"id": name} for name in names],
            "annotations": annotations,
        }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        for name, value in parameters.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
        if not parameters:
            evaluation.summarize()
    return evaluation


def assert_equal_to_pycocotools(truths, detections, **parameters):
    expected = pycocotools_evaluation(truths, detections, **parameters)
    result = detection.coco(truths, detections, max_detections=parameters.get("maxDets", (1, 10, 100)))
    np.testing.assert_allclose(np.nan_to_num(result.precision, nan=-1), expected.eval["precision"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.nan_to_num(result.recall, nan=-1), expected.eval["recall"], rtol=0, atol=1e-9)
    if not parameters:
        numbers = np.nan_to_num(list(result.summary().values()), nan=-1)
        np.testing.assert_allclose(numbers, expected.stats, rtol=0, atol=1e-9)


@pytest.mark.parametrize("block", range(10))
def test_coco_is_pycocotools_on_a_thousand_random_cases(block):
    for seed in range(100 * block, 100 * (block + 1)):
        truths, detections = random_case(seed)
        parameters = {"maxDets": [1, 2, 5]} if seed % 4 == 0 else {}
        assert_equal_to_pycocotools(truths, detections, **parameters)
