"""Metrics of one class and one box an image, against counting by hand; and of detections, against the outputs."""

import json

import numpy as np
import pytest

from pipelines import Letterbox, Scene
from transfer.measuring.boxes import DetectionEvaluation, detections_in, detections_of, truths_of
from transfer.measuring.intervals import share_interval
from transfer.measuring.places import NO_OBJECT, LocalisationEvaluation, largest_objects

NAMES = ("ant", "bee", "fly")


def places(n=41, *, empty=7, objectness=True, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    labels[:empty] = NO_OBJECT
    corners = rng.uniform(0, 50, (n, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 60, (n, 2))], axis=1)
    predicted = boxes + rng.normal(0, 10, (n, 4))
    boxes[:empty] = 0
    probabilities = rng.dirichlet([0.3] * 3, n)
    scores = np.where(labels == NO_OBJECT, rng.uniform(0, 0.7, n), rng.uniform(0.4, 1, n))
    return LocalisationEvaluation(NAMES, labels, boxes, probabilities, predicted, scores if objectness else None)


def overlap(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(area) - width * height)


@pytest.mark.parametrize("objectness", [True, False])
def test_everything_equals_counting_by_hand(objectness):
    result = places(objectness=objectness)
    right = classes = counted = 0
    ious = []
    for i, label in enumerate(result.labels):
        predicted = int(np.argmax(result.probabilities[i]))
        if objectness and result.objectness[i] < 0.5:
            predicted = NO_OBJECT
        if label == NO_OBJECT and not objectness:
            continue
        counted += 1
        classes += predicted == label
        if label == NO_OBJECT:
            right += predicted == label
            continue
        ious.append(overlap(result.boxes[i], result.predicted_boxes[i]) if predicted != NO_OBJECT else 0.0)
        right += predicted == label and ious[-1] >= 0.5
    assert counted == (41 if objectness else 34)
    assert result.metrics() == {
        "accuracy_and_iou50": pytest.approx(right / counted),
        "accuracy": pytest.approx(classes / counted),
        "mean_iou": pytest.approx(np.mean(ious)),
        "interval": list(share_interval(right, counted)),
    }
    document = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert document["num_images"] == counted
    rows = {row["name"]: row for row in document["classes"]}
    assert list(rows) == [*NAMES, "(no object)"][: 4 if objectness else 3]
    assert sum(row["support"] for row in rows.values()) == counted
    assert sum(row["support"] * row["accuracy_and_iou50"] for row in rows.values()) == pytest.approx(right)
    note = result.tables()[0].note
    assert ("leave out 7 images without an object" in note) is not objectness


def test_a_class_without_images_and_without_warnings(recwarn):
    box = np.float64([[0, 0, 10, 20]])
    result = LocalisationEvaluation(NAMES, np.array([0]), box, np.array([[1.0, 0, 0]]), box)
    assert result.accuracy_and_iou50 == 1
    assert result.tables()[0].rows[1] == ("bee", "–", "–", "–", "0")
    assert result.as_dict()["classes"][2]["accuracy_and_iou50_interval"] is None
    assert not recwarn.list


def test_images_that_are_all_empty():
    nothing = np.zeros((2, 4))
    result = LocalisationEvaluation(
        NAMES, np.array([-1, -1]), nothing, np.ones((2, 3)) / 3, nothing, np.array([0.2, 0.8])
    )
    assert result.metrics()["accuracy_and_iou50"] == 0.5
    assert result.metrics()["mean_iou"] is None
    with pytest.raises(ValueError, match="got 2 images, none of which has one"):
        LocalisationEvaluation(NAMES, np.array([-1, -1]), nothing, np.ones((2, 3)) / 3, nothing)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.zeros((2, 3))}, r"got \[\[2\], \[2, 3\], \[2, 3\], \[2, 4\]\]"),
        ({"objectness": np.zeros((2, 1))}, r"objectness \[2\], got \[2, 1\]"),
        ({"labels": np.array([0, 3])}, r"labels in 0\.\.2, or -1 .* got 0\.\.3"),
        ({"labels": np.array([-2, 0])}, r"got -2\.\.0"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    facts = {
        "labels": np.array([0, 1]),
        "boxes": np.zeros((2, 4)),
        "probabilities": np.zeros((2, 3)),
        "predicted_boxes": np.zeros((2, 4)),
        "objectness": None,
    }
    with pytest.raises(ValueError, match=message):
        LocalisationEvaluation(NAMES, *{**facts, **changes}.values())


def test_the_largest_object_is_that_of_the_largest_area():
    rng = np.random.default_rng(0)
    scenes = []
    for n in (3, 0, 1, 5):
        corners = rng.uniform(0, 20, (n, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(1, 20, (n, 2))], axis=1)
        scenes.append(Scene(b"", str(n), (40, 40), boxes, rng.integers(0, 3, n)))
    classes, boxes = largest_objects(scenes)
    assert (classes.dtype, boxes.dtype, boxes.shape) == (np.int32, np.float32, (4, 4))
    for scene, number, box in zip(scenes, classes, boxes, strict=True):
        if not len(scene):
            assert number == NO_OBJECT
            assert not box.any()
            continue
        areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in scene.boxes.tolist()]
        best = areas.index(max(areas))
        assert number == scene.classes[best]
        np.testing.assert_array_equal(box, scene.boxes[best])


# Detections


def scenes():
    sizes = ((40, 60), (50, 30), (33, 71))
    return [
        Scene(np.full((*size, 3), 50 * i, "uint8"), f"{i}", size, [[2, 3, 20, 25]] * (i > 0), [i % 2] * (i > 0))
        for i, size in enumerate(sizes)
    ]


def test_detections_are_without_padding_and_in_pixels_of_the_photos():
    letterbox = Letterbox((64, 96))
    shown = []

    def predict(images):
        shown.append(images)
        n = len(images)
        boxes = np.tile(np.float32([[[10, 20, 30, 40], [0, 0, 96, 64], [0, 0, 0, 0]]]), (n, 1, 1))
        classes = np.tile(np.int32([1, 0, -1]), (n, 1))
        return {"boxes": boxes, "classes": classes, "scores": np.ones((n, 3)), "valid": np.full(n, 2, np.int32)}

    detections = list(detections_of(predict, scenes(), letterbox, batch_size=2))
    assert [len(images) for images in shown] == [2, 1]
    for scene, found in zip(scenes(), detections, strict=True):
        assert found["classes"].tolist() == [1, 0]
        expected = letterbox.boxes_to_photo(np.float32([[10, 20, 30, 40], [0, 0, 96, 64]]), scene.size)
        np.testing.assert_array_equal(found["boxes"], expected)
        assert found["boxes"][1].tolist() == pytest.approx([0, 0, scene.size[1], scene.size[0]])
    assert list(detections_of(predict, [], letterbox)) == []


def test_metrics_and_tables_of_a_detector():
    truths = truths_of(scenes())
    outputs = {
        "boxes": np.float32([[[0, 0, 5, 5]] * 2, [[2, 3, 20, 25], [0, 0, 0, 0]], [[2, 3, 20, 17], [0, 0, 0, 0]]]),
        "classes": np.int32([[0, 1], [1, -1], [0, -1]]),
        "scores": np.float32([[0.1, 0.05], [0.9, 0], [0.8, 0]]),
        "valid": np.int32([2, 1, 1]),
        "candidate_boxes": np.zeros((3, 7, 4)),
    }
    result = DetectionEvaluation((*NAMES,), truths, detections_in(outputs))
    assert [len(found["scores"]) for found in result.detections] == [2, 1, 1]
    assert result.metrics() == {"map50": result.summary()["map50"], "map": result.summary()["map"]}
    assert result.metrics()["map50"] == pytest.approx(1)
    classes, coco = result.tables()
    assert [row[0] for row in classes.rows] == ["ant", "bee"]
    assert "1 class without objects is left out" in classes.note
    assert len(coco.rows) == 12
    assert coco.rows[0] == ("AP, mean over IoU 0.50 to 0.95", f"{result.summary()['map']:.3f}")
    document = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert (document["num_images"], document["num_objects"]) == (3, 2)
    assert document["classes"][2] == {"class": "fly", "ap50": None, "ap": None, "objects": 0}
    assert [mistakes.index for mistakes in result.mistakes()] == [0]
    assert result.mistakes({"ant": 0.2, "bee": 0.2}) == []
    assert result.mistakes()[0].wrong.tolist() == [True, True]
    empty = DetectionEvaluation(NAMES, truths[:1], result.detections[:1])
    assert empty.metrics() == {"map50": None, "map": None}
