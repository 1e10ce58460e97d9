"""Suppression against TensorFlow's kernel, and average precision against pycocotools.

    python -m benchmarks.boxes

Each comparison first checks that both give the same. Ratios are the peer's time over ours: over 1, ours is faster.
"""

import contextlib
import io
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.timing import Comparison, compare, report
from zoo.detection.nms import suppress
from zoo.metrics.detection import coco

BOXES, CLASSES, IMAGE = 10_000, 20, 640


def main() -> None:
    report([*suppression(), *average_precision()])


def suppression() -> Iterator[Comparison]:
    """10,000 boxes with scores of 20 classes, to 100 detections."""
    scenes = {
        # Every box scores something for every class, as before training.
        "nms_random": random_scene(seed=0),
        # 30 objects with hundreds of boxes each, and a score for one class: what a trained detector gives.
        "nms_trained": trained_scene(seed=0),
        # Each box belongs to one class.
        "nms_one_class_each": one_class_scene(seed=0),
    }
    for name, (boxes, scores) in scenes.items():
        for threshold in (0.05, 0.5):

            @tf.function
            def peer(boxes, scores, threshold=threshold):
                return tf.image.combined_non_max_suppression(
                    boxes[:, :, None], scores, 100, 100, 0.5, threshold, clip_boxes=False
                )

            @tf.function
            def ours(boxes, scores, threshold=threshold):
                return suppress(boxes, scores, score_threshold=threshold)

            given = tf.constant(boxes[None]), tf.constant(scores[None])
            expected, found = peer(*given), ours(*given)
            np.testing.assert_array_equal(found["boxes"], expected.nmsed_boxes)
            np.testing.assert_array_equal(found["scores"], expected.nmsed_scores)
            yield compare(
                f"{name}_{threshold}",
                ours=lambda ours=ours, given=given: ours(*given)["valid"].numpy(),
                peer=lambda peer=peer, given=given: peer(*given).valid_detections.numpy(),
                peer_name="tf.image.combined_non_max_suppression",
                rounds=50,
                warmup=3,
            )


def average_precision() -> Iterator[Comparison]:
    """COCO's evaluation: from arrays to all its numbers, against `evaluate` and `accumulate` of pycocotools."""
    for name, images, classes, objects, found_per_image in (
        ("coco_map_blood_cells", 72, 3, 13, 40),
        ("coco_map_voc_sized", 500, 20, 3, 20),
        ("coco_map_coco_sized", 1000, 80, 7, 60),
    ):
        truths, detections = detection_case(images, classes, objects, found_per_image, seed=0)
        truth, found = index(truths), index(detections)

        def peer(truth=truth, found=found):
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation = COCOeval(truth, found, "bbox")
                evaluation.evaluate()
                evaluation.accumulate()
            return evaluation.eval

        def ours(truths=truths, detections=detections, classes=classes):
            return coco(truths, detections, num_classes=classes)

        expected, result = peer(), ours()
        np.testing.assert_allclose(np.nan_to_num(result.precision, nan=-1), expected["precision"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(np.nan_to_num(result.recall, nan=-1), expected["recall"], rtol=0, atol=1e-9)
        yield compare(name, ours=ours, peer=peer, peer_name="pycocotools", rounds=3, warmup=0)


def random_scene(*, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centre, size = rng.uniform(0, IMAGE, (BOXES, 2)), rng.uniform(10, 120, (BOXES, 2))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    return boxes.astype("float32"), rng.uniform(size=(BOXES, CLASSES)).astype("float32")


def one_class_scene(*, seed: int) -> tuple[np.ndarray, np.ndarray]:
    boxes, scores = random_scene(seed=seed)
    only = np.eye(CLASSES, dtype="float32")[np.random.default_rng(seed).integers(CLASSES, size=BOXES)]
    return boxes, scores * only


def trained_scene(*, seed: int, objects: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centre, size = rng.uniform(40, IMAGE - 40, (objects, 2)), rng.uniform(30, 120, (objects, 2))
    label = rng.integers(CLASSES, size=objects)
    anchor = rng.uniform(0, IMAGE, (BOXES, 2))
    distance = np.linalg.norm(anchor[:, None] - centre, axis=-1)
    nearest = distance.argmin(axis=1)
    moved = centre[nearest] + rng.normal(0, 3, (BOXES, 2))
    grown = size[nearest] * rng.uniform(0.9, 1.1, (BOXES, 2))
    boxes = np.concatenate([moved - grown / 2, moved + grown / 2], axis=1)
    scores = rng.uniform(0, 0.03, (BOXES, CLASSES))
    confidence = np.exp(-((distance.min(axis=1) / 25) ** 2)) * rng.uniform(0.5, 1, BOXES)
    scores[np.arange(BOXES), label[nearest]] += confidence * 0.97
    return boxes.astype("float32"), scores.astype("float32")


def detection_case(
    images: int, classes: int, objects: int, found_per_image: int, *, seed: int
) -> tuple[list[dict], list[dict]]:
    """Objects, some of them crowds, and detections: half of them near an object, some of its class."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(images):
        n = rng.integers(0, 2 * objects + 1)
        corner, size = rng.uniform(0, 400, (n, 2)), rng.uniform(8, 200, (n, 2))
        boxes, labels = np.concatenate([corner, corner + size], axis=1), rng.integers(classes, size=n)
        m = found_per_image
        target = rng.integers(max(n, 1), size=m)
        near = (rng.random(m) < 0.5) & (n > 0)
        corner, size = rng.uniform(0, 400, (m, 2)), rng.uniform(8, 200, (m, 2))
        found, found_labels = np.concatenate([corner, corner + size], axis=1), rng.integers(classes, size=m)
        if n:
            shift = rng.normal(0, 0.08, (m, 4)) * np.tile(boxes[target, 2:] - boxes[target, :2], 2)
            found[near] = (boxes[target] + shift)[near]
            found_labels = np.where(near & (rng.random(m) < 0.9), labels[target], found_labels)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        truths.append({"boxes": boxes, "classes": labels, "crowd": rng.random(n) < 0.02})
        detections.append({"boxes": found, "classes": found_labels, "scores": rng.random(m).round(3)})
    for sample in (*truths, *detections):
        sample["boxes"] = sample["boxes"].astype("float32")
    return truths, detections


def index(samples: list[dict]) -> COCO:
    """The same as pycocotools' data."""
    annotations: list[dict] = []
    for image, sample in enumerate(samples):
        for i, (x1, y1, x2, y2) in enumerate(sample["boxes"].astype("float64").tolist()):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": int(sample["classes"][i]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": int(sample["crowd"][i]) if "crowd" in sample else 0,
            }
            annotations.append(annotation | ({"score": float(sample["scores"][i])} if "scores" in sample else {}))
    data = COCO()
    data.dataset = {
        "images": [{"id": image} for image in range(len(samples))],
        "categories": [{"id": k} for k in range(1 + max(annotation["category_id"] for annotation in annotations))],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        data.createIndex()
    return data


if __name__ == "__main__":
    main()
