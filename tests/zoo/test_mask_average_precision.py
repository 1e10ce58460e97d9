"""Average precision of masks against pycocotools."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from zoo.masks import RunLengths
from zoo.metrics.detection import coco, pascal_voc
from zoo.metrics.errors import detection_errors

SIZE = (90, 130)


def ellipses(rng: np.random.Generator, centres: np.ndarray, axes: np.ndarray) -> np.ndarray:
    y, x = np.indices(SIZE)
    scaled = [((y - a) / c) ** 2 + ((x - b) / d) ** 2 for (a, b), (c, d) in zip(centres, axes, strict=True)]
    return np.array([s < 1 for s in scaled], bool).reshape(-1, *SIZE)


def random_case(seed: int, images: int = 4):
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(images):
        n, false = rng.integers(0, 6), rng.integers(0, 4)
        centres, axes = rng.uniform(0, SIZE, (n, 2)), rng.uniform(1, 50, (n, 2))
        masks, classes = ellipses(rng, centres, axes), rng.integers(0, 2, n)
        truths.append({"masks": masks, "classes": classes, "crowd": rng.random(n) < 0.2})
        again = np.repeat(np.arange(n), rng.integers(0, 3, n))
        moved = np.concatenate([centres[again] + rng.normal(0, 3, (len(again), 2)), rng.uniform(0, SIZE, (false, 2))])
        sizes = np.concatenate([axes[again] * rng.uniform(0.7, 1.3, (len(again), 1)), rng.uniform(1, 50, (false, 2))])
        found = np.concatenate([classes[again], rng.integers(0, 2, false)])
        scores = rng.integers(0, 8, len(found)) / 8
        detections.append({"masks": ellipses(rng, moved, sizes), "classes": found, "scores": scores})
    return truths, detections


def pycocotools_evaluation(truths, detections) -> COCOeval:
    sides = []
    for samples in (truths, detections):
        annotations = []
        for image, sample in enumerate(samples):
            for i, mask in enumerate(sample["masks"]):
                runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
                annotation = {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(sample["classes"][i]),
                    "segmentation": runs,
                    "bbox": coco_mask.toBbox(runs).tolist(),
                    "area": float(coco_mask.area(runs)),
                    "iscrowd": int(sample["crowd"][i]) if "crowd" in sample else 0,
                }
                annotation |= {"score": float(sample["scores"][i])} if "scores" in sample else {}
                annotations.append(annotation)
        side = COCO()
        side.dataset = {
            "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(len(samples))],
            "categories": [{"id": i, "name": str(i)} for i in range(2)],
            "annotations": annotations,
        }
        sides.append(side)
    with contextlib.redirect_stdout(io.StringIO()):
        for side in sides:
            side.createIndex()
        evaluation = COCOeval(*sides, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", range(6))
def test_mask_average_precision_is_pycocotools(seed):
    truths, detections = random_case(seed)
    expected = pycocotools_evaluation(truths, detections)
    result = coco(truths, detections, num_classes=2, of="masks")
    np.testing.assert_allclose(np.nan_to_num(result.precision, nan=-1), expected.eval["precision"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.nan_to_num(result.recall, nan=-1), expected.eval["recall"], rtol=0, atol=1e-9)
    numbers = np.nan_to_num(list(result.summary().values()), nan=-1)
    np.testing.assert_allclose(numbers, expected.stats, rtol=0, atol=1e-9)


def test_masks_may_be_given_in_any_form():
    truths, detections = random_case(7)
    forms = (RunLengths.from_masks, lambda masks: RunLengths.from_masks(masks).to_coco())
    expected = coco(truths, detections, of="masks").summary()
    for form in forms:
        given = [[{**sample, "masks": form(sample["masks"])} for sample in side] for side in (truths, detections)]
        np.testing.assert_equal(coco(*given, of="masks").summary(), expected)


def test_rings_and_discs_have_one_box_and_different_masks():
    disc, ring = np.zeros((2, 40, 50), bool)
    disc[5:35, 10:40] = ring[5:35, 10:40] = True
    ring[7:33, 12:38] = False
    truths = [{"masks": disc[None], "classes": [0]}]
    detections = [{"masks": ring[None], "classes": [0], "scores": [0.9]}]
    assert coco(truths, detections, of="masks").average_precision(threshold=0.5) == 0
    boxes = [[{**side[0], "boxes": [[10, 5, 40, 35]]}] for side in (truths, detections)]
    assert coco(*boxes).average_precision(threshold=0.5) == pytest.approx(1)
    assert pascal_voc(truths, detections, of="masks").map == 0
    assert detection_errors(truths, detections, of="masks").kinds[0].tolist() == ["location"]


def test_what_is_refused():
    truths, detections = random_case(1, images=1)
    with pytest.raises(ValueError, match=r'of="boxes" or of="masks", got of=.segm'):
        coco(truths, detections, of="segm")
    with pytest.raises(ValueError, match="truths of image 0 have no masks; they have"):
        coco([{"boxes": [], "classes": []}], detections, of="masks")
    short = {"masks": [{"size": [2, 2], "counts": [3]}], "classes": [0], "scores": [1]}
    with pytest.raises(ValueError, match=r"detections: expected run lengths that add up to 2x2 pixels, received 3"):
        coco(truths, [short], of="masks")
    truth = {"masks": np.ones((1, 90, 130), bool), "classes": [0]}
    small = {"masks": [{"size": [2, 2], "counts": [0, 4]}], "classes": [0], "scores": [1]}
    with pytest.raises(ValueError, match=r"one image to have one size \(h, w\), received \[2, 2\] and \[90, 130\]"):
        coco([truth], [small], of="masks")
