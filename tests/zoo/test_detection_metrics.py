"""Average precision against pycocotools, against loops that follow the papers, and by hand."""

import contextlib
import io
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from zoo.metrics import detection
from zoo.metrics.errors import KINDS, detection_errors
from zoo.metrics.training import DetectionCallback, MeanAveragePrecision


def random_case(seed: int) -> tuple[list[dict], list[dict]]:
    """Returns a few images with everything that makes matching hard: equal scores and IoUs, crowds, given areas."""
    rng = np.random.default_rng(seed)
    images, classes = rng.integers(1, 5), rng.integers(1, 4)
    whole = rng.random() < 0.7  # whole pixels give equal IoUs, and IoUs that equal a threshold
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
    """Evaluates the same images with pycocotools, from dictionaries instead of files."""
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


def test_coco_is_pycocotools_on_a_larger_case_with_whole_and_with_rounded_boxes():
    rng = np.random.default_rng(5)
    for decimals in (0, 2):
        truths, detections = [], []
        for image in range(12):
            case_truths, case_detections = random_case(1000 + image)
            truths += case_truths
            detections += case_detections
        for sample in (*truths, *detections):
            sample["classes"] = rng.integers(3, size=len(sample["classes"]))
            # Boxes are float32, whose sums and differences are exact in float64.
            sample["boxes"] = sample["boxes"].round(decimals).astype("float32")
        assert_equal_to_pycocotools(truths, detections)


def test_boxes_of_other_formats_and_the_exact_sizes_of_coco_files():
    truths, detections = random_case(3)
    as_xywh = [
        {
            **sample,
            "boxes": np.concatenate([sample["boxes"][:, :2], sample["boxes"][:, 2:] - sample["boxes"][:, :2]], 1),
        }
        for sample in truths + detections
    ]
    expected = detection.coco(truths, detections)
    found = detection.coco(as_xywh[: len(truths)], as_xywh[len(truths) :], box_format="xywh")
    np.testing.assert_array_equal(found.precision, expected.precision)


def test_coco_worked_by_hand():
    # Class 0 has two objects, which the detections with the first and the third score match. Class 1 has one object,
    # with an IoU of 0.8.
    truths = [
        {"boxes": [[0, 0, 100, 100]], "classes": [0]},
        {"boxes": [[0, 0, 100, 100], [200, 0, 210, 10]], "classes": [0, 1]},
    ]
    detections = [
        {"boxes": [[0, 0, 100, 100], [300, 0, 400, 100]], "classes": [0, 0], "scores": [0.9, 0.8]},
        {"boxes": [[0, 0, 100, 100], [200, 0, 210, 8]], "classes": [0, 1], "scores": [0.7, 0.5]},
    ]
    result = detection.coco(truths, detections)
    # The precision is 1 up to a recall of 0.5 (51 levels), then 2/3 (50 levels). For the other class it is 1 up to an
    # IoU of 0.8, which is 7 of 10 thresholds.
    first = (51 + 50 * 2 / 3) / 101
    per_class = result.per_class()
    assert per_class[0] == pytest.approx(first)
    assert per_class[1] == pytest.approx(0.7)
    numbers = result.summary()
    assert numbers["map"] == pytest.approx((first + 0.7) / 2)
    assert numbers["map50"] == pytest.approx((first + 1) / 2)
    assert numbers["map_small"] == pytest.approx(0.7)  # 100 square pixels
    assert math.isnan(numbers["map_medium"])
    assert numbers["map_large"] == pytest.approx(first)
    assert numbers["mar1"] == pytest.approx(
        (1 + 0.7) / 2
    )  # one detection per class and image: class 0 has one object per image
    assert result.average_recall(threshold=0.85) == pytest.approx((1 + 0) / 2)
    assert result.per_class(threshold=0.85)[1] == 0


def test_of_equal_overlaps_the_later_object_is_taken():
    # The first detection lies between both objects, the second on the right one.
    left, right = [0, 0, 100, 100], [40, 0, 140, 100]
    detections = [{"boxes": [[20, 0, 120, 100], right], "classes": [0, 0], "scores": [0.9, 0.8]}]
    for objects, found in (([left, right], 1), ([right, left], 2)):
        truths = [{"boxes": objects, "classes": [0, 0]}]
        assert detection.coco(truths, detections).average_recall(threshold=0.5) == found / 2
        assert_equal_to_pycocotools(truths, detections)


def test_crowds_take_any_number_of_detections_and_count_for_nothing():
    truths = [{"boxes": [[0, 0, 200, 200], [300, 0, 400, 100]], "classes": [0, 0], "crowd": [True, False]}]
    detections = [
        {
            "boxes": [[0, 0, 50, 50], [60, 60, 90, 90], [300, 0, 400, 100]],
            "classes": [0, 0, 0],
            "scores": [0.9, 0.8, 0.7],
        }
    ]
    assert detection.coco(truths, detections).summary()["map"] == pytest.approx(1)
    truths[0]["crowd"] = [False, False]
    assert detection.coco(truths, detections).summary()["map50"] == pytest.approx(51 / 3 / 101)


def test_table_has_cocos_lines():
    truths, detections = random_case(1)
    evaluation = pycocotools_evaluation(truths, detections)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        evaluation.summarize()
    ours = detection.coco(truths, detections).table().replace("= nan", "= -1.000")
    assert ours.splitlines() == printed.getvalue().splitlines()


def test_images_without_objects_or_detections():
    nothing = {"boxes": [], "classes": [], "scores": []}
    box = {"boxes": [[0, 0, 9, 9]], "classes": [0], "scores": [0.5]}
    assert detection.coco([box, nothing], [box, nothing]).summary()["map"] == pytest.approx(1)
    assert detection.coco([box, nothing], [box, box]).summary()["map"] == pytest.approx(
        1
    )  # a false detection with a lower score
    assert detection.coco([box], [nothing]).summary()["map"] == 0
    for truths, detections in (([nothing], [box]), ([nothing], [nothing]), ([], [])):
        assert math.isnan(detection.coco(truths, detections).summary()["map"])
        assert math.isnan(detection.pascal_voc(truths, detections).map)
        assert math.isnan(detection_errors(truths, detections).map)
    assert detection.coco([box], [box], num_classes=3).classes == (0, 1, 2)


# Pascal VOC


def plain_pascal(truths, detections, name: int, threshold: float, points: int | None) -> float:
    """Evaluates one class in loops: matching as in the development kit, interpolated precision by its definition."""
    positives, found = 0, []
    for truth, sample in zip(truths, detections, strict=True):
        objects = [i for i, label in enumerate(truth["classes"]) if label == name]
        positives += sum(not truth["difficult"][i] for i in objects)
        used = set()
        rows = [j for j, label in enumerate(sample["classes"]) if label == name]
        for j in sorted(rows, key=lambda j: -sample["scores"][j]):
            best, best_overlap = None, -1.0
            for i in objects:
                (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = sample["boxes"][j], truth["boxes"][i]
                shared = max(min(ax2, bx2) - max(ax1, bx1), 0) * max(min(ay2, by2) - max(ay1, by1), 0)
                overlap = shared / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared)
                if overlap > best_overlap:
                    best, best_overlap = i, overlap
            if best is not None and best_overlap >= threshold:
                if truth["difficult"][best]:
                    continue
                found.append((sample["scores"][j], best not in used))
                used.add(best)
            else:
                found.append((sample["scores"][j], False))
    if not positives:
        return math.nan
    found.sort(key=lambda pair: -pair[0])
    hits = [sum(hit for _, hit in found[:n]) for n in range(1, 1 + len(found))]
    curve = [(hit / positives, hit / n) for n, hit in enumerate(hits, 1)]
    if points:
        levels = [k / (points - 1) for k in range(points)]
        return sum(max((p for r, p in curve if r >= level), default=0) for level in levels) / points
    recalls = sorted({0.0, *(r for r, _ in curve)})
    return sum((high - low) * max(p for r, p in curve if r >= high) for low, high in itertools.pairwise(recalls))


@pytest.mark.parametrize("points", [None, 11])
def test_pascal_is_the_loop(points):
    for seed in range(100):
        truths, detections = random_case(seed)
        rng = np.random.default_rng(seed)
        scores = rng.permutation(sum(len(sample["scores"]) for sample in detections)) / 1000
        for truth, sample in zip(truths, detections, strict=True):
            truth["difficult"] = rng.random(len(truth["classes"])) < 0.2
            sample["scores"], scores = scores[: len(sample["scores"])], scores[len(sample["scores"]) :]
        threshold = (0.3, 0.5)[seed % 2]
        result = detection.pascal_voc(truths, detections, threshold=threshold, points=points)
        for name, value in result.per_class.items():
            expected = plain_pascal(truths, detections, name, threshold, points)
            assert value == pytest.approx(expected, abs=1e-12, nan_ok=True), (seed, name)
        values = [value for value in result.per_class.values() if not math.isnan(value)]
        assert result.map == pytest.approx(np.mean(values) if values else math.nan, nan_ok=True)


def test_pascal_and_coco_differ_where_the_nearest_object_is_taken():
    # The second detection overlaps the first object most; COCO matches it with the other one.
    truths = [{"boxes": [[0, 0, 100, 100], [30, 0, 130, 100]], "classes": [0, 0]}]
    detections = [{"boxes": [[0, 0, 100, 100], [12, 0, 112, 100]], "classes": [0, 0], "scores": [0.9, 0.8]}]
    assert detection.coco(truths, detections).summary()["map50"] == pytest.approx(1)
    assert detection.pascal_voc(truths, detections).map == pytest.approx(0.5)


def test_curves_have_a_point_for_each_detection_that_counts():
    truths = [{"boxes": [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], "classes": [0] * 3, "difficult": [0, 0, 1]}]
    boxes = [[0, 0, 10, 10], [40, 0, 50, 10], [60, 0, 70, 10], [20, 0, 30, 10]]
    detections = [{"boxes": boxes, "classes": [0] * 4, "scores": [0.9, 0.8, 0.7, 0.6]}]
    curve = detection.pascal_voc(truths, detections).curves[0]
    assert curve.positives == 2
    np.testing.assert_allclose(curve.recall, [0.5, 0.5, 1])
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_array_equal(curve.scores, [0.9, 0.7, 0.6])


def test_average_precision_at_levels_reaches_a_recall_of_exactly_that_level():
    # 3 of 10 objects: 0.3 is one of the eleven levels, although 3 * 0.1 is slightly larger in floating point.
    recall = np.arange(1, 4) / 10
    assert detection.average_precision(recall, np.ones(3), points=11) == pytest.approx(4 / 11)
    assert detection.average_precision(recall, np.ones(3)) == pytest.approx(0.3)
    assert detection.average_precision([], []) == 0


# What kinds of mistakes


def kinds_of(truth: dict, found: dict, **settings) -> tuple[list[str], list[bool]]:
    result = detection_errors([truth], [found], **settings)
    return result.kinds[0].tolist(), result.missed[0].tolist()


def test_each_kind_of_mistake():
    truth = {"boxes": [[0, 0, 100, 100], [200, 0, 300, 100], [400, 0, 500, 100]], "classes": [0, 1, 0]}
    found = {
        "boxes": [
            [0, 0, 100, 90],  # correct
            [0, 0, 90, 100],  # a duplicate
            [200, 0, 300, 90],  # the correct place, but another class
            [400, 0, 440, 100],  # IoU 0.4 with its object
            [240, 0, 300, 70],  # IoU 0.42 with an object of another class
            [600, 0, 700, 100],  # no object there
            [495, 0, 595, 100],  # IoU 0.03
        ],
        "classes": [0, 0, 0, 0, 0, 0, 1],
        "scores": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3],
    }
    kinds, missed = kinds_of(truth, found)
    assert kinds == ["correct", "duplicate", "class", "location", "both", "background", "background"]
    assert missed == [False, False, False]  # each would be found if its class or location were correct
    result = detection_errors([truth], [found])
    assert result.counts == {"class": 1, "location": 1, "both": 1, "duplicate": 1, "background": 2, "missed": 0}
    shuffled = {name: [values[i] for i in (6, 2, 4, 0, 5, 1, 3)] for name, values in found.items()}
    kinds, _ = kinds_of(truth, shuffled)
    assert kinds == ["background", "class", "both", "correct", "background", "duplicate", "location"]

    kinds, missed = kinds_of(truth, {"boxes": [[0, 0, 100, 90]], "classes": [0], "scores": [0.1]})
    assert (kinds, missed) == (["correct"], [False, True, True])
    crowd = {**truth, "crowd": [True, True, True]}
    kinds, missed = kinds_of(crowd, {"boxes": [[0, 0, 50, 50]], "classes": [0], "scores": [0.1]})
    assert (kinds, missed) == (["ignored"], [False, False, False])
    two = {"boxes": [[0, 0, 100, 90], [0, 0, 90, 100]], "classes": [0, 0], "scores": [0.1, 0.2]}
    assert kinds_of(truth, two, max_detections=1)[0] == ["uncounted", "correct"]


def test_gains_are_what_putting_right_one_kind_would_bring():
    """Each kind of mistake is corrected in the data themselves, and the average precision is measured again."""
    truths = [
        {"boxes": [[0, 0, 100, 100], [200, 0, 300, 100], [400, 0, 500, 100]], "classes": [0, 1, 1]},
        {"boxes": [[0, 0, 100, 100], [200, 0, 300, 100]], "classes": [0, 0]},
    ]
    detections = [
        {
            "boxes": [[200, 0, 300, 90], [600, 0, 700, 100], [0, 0, 100, 90], [200, 0, 300, 80], [400, 0, 500, 100]],
            "classes": [0, 0, 0, 0, 1],
            "scores": [0.95, 0.9, 0.85, 0.8, 0.75],
        },
        {
            "boxes": [[0, 0, 45, 100], [0, 0, 40, 100], [230, 0, 300, 60]],
            "classes": [0, 0, 1],
            "scores": [0.7, 0.65, 0.78],
        },
    ]
    result = detection_errors(truths, detections)
    assert [kinds.tolist() for kinds in result.kinds] == [
        ["class", "background", "correct", "class", "correct"],
        ["location", "location", "both"],
    ]
    assert [missed.tolist() for missed in result.missed] == [[False, False, False], [False, True]]

    def measured(fixes: dict[tuple[int, int], dict | None], objects=truths) -> float:
        changed = []
        for image, sample in enumerate(detections):
            rows = []
            for i in range(len(sample["classes"])):
                row = {name: values[i] for name, values in sample.items()}
                fix = fixes.get((image, i), {})
                if fix is not None:
                    rows.append(row | fix)
            changed.append({name: [row[name] for row in rows] for name in ("boxes", "classes", "scores")})
        return detection.coco(objects, changed, thresholds=[0.5]).average_precision()

    now = measured({})
    assert result.map == pytest.approx(now)
    expected = {
        "class": measured({(0, 0): {"classes": 1}, (0, 3): None}),
        "location": measured({(1, 0): {"boxes": truths[1]["boxes"][0]}, (1, 1): None}),
        "both": measured({(1, 2): None}),
        "duplicate": now,
        "background": measured({(0, 1): None}),
        "missed": measured({}, [truths[0], {"boxes": truths[1]["boxes"][:1], "classes": [0]}]),
    }
    for kind, value in expected.items():
        assert result.gains[kind] == pytest.approx(value - now), kind
    assert all(result.gains[kind] > 0.01 for kind in ("class", "location", "both", "background", "missed"))


def test_every_detection_and_object_is_accounted_for():
    for seed in range(100):
        truths, detections = random_case(seed)
        result = detection_errors(truths, detections)
        assert result.map == pytest.approx(
            detection.coco(truths, detections).average_precision(threshold=0.5), nan_ok=True
        )
        kinds = np.concatenate(result.kinds)
        names, counts = np.unique(kinds, return_counts=True)
        assert set(names) <= {*KINDS, "correct", "ignored"}
        assert {kind: result.counts[kind] for kind in names if kind in KINDS} == {
            kind: count for kind, count in zip(names, counts, strict=True) if kind in KINDS
        }
        assert result.counts["missed"] == sum(missed.sum() for missed in result.missed)
        for truth, sample, kind, missed in zip(truths, detections, result.kinds, result.missed, strict=True):
            assert len(kind) == len(sample["scores"])
            assert len(missed) == len(truth["classes"])
            assert not (missed & truth["crowd"]).any()


# What is refused


def case(**changes) -> dict:
    return {"boxes": [[0, 0, 50, 50]], "classes": [0], "scores": [0.5], **changes}


@pytest.mark.parametrize("function", [detection.coco, detection.pascal_voc, detection_errors])
def test_bad_samples_are_named(function):
    good = [case(), case()]
    for truths, detections, message in (
        (good, good[:1], "same images, got 2 and 1 of them"),
        (
            good,
            [case(), {"boxes": [], "classes": []}],
            r"detections of image 1 have no scores; they have \['boxes', 'cl",
        ),
        ([case(), {"boxes": []}], good, "truths of image 1 have no classes"),
        (good, [case(), case(scores=[0.5, 0.4])], "detections of image 1 have 1 objects, but 2 scores"),
        ([case(), case(crowd=[])], good, "truths of image 1 have 1 objects, but 0 crowd"),
        (good, [case(), case(scores=[math.nan])], "detections of image 1 have NaN scores"),
        (good, [case(), case(boxes=[[0, 0, math.nan, 5]])], "detections of image 1 have a box that is not finite"),
        (
            good,
            [case(boxes=[[0, 0, 0.5, 0.5]])] * 2,
            "detections: expected xyxy boxes in absolute pixels, got relative",
        ),
        ([case(boxes=[[0, 0, 0.5, 0.5]])] * 2, good, "truths: expected xyxy boxes in absolute pixels, got relative"),
        ([case(), case(classes=[-1])], good, "truths of image 1 have the class -1.*unbatch"),
        (good, [case(classes=[0.5]), case()], "detections of image 0 have classes that are not whole: 0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            function(truths, detections)
    with pytest.raises(ValueError, match=r"detections of image 1 have the class 7, but num_classes=3 allows 0..2"):
        function(good, [case(), case(classes=[7])], num_classes=3)
    with pytest.raises(ValueError, match="got the format 'rel_xyxy'"):
        function(good, good, box_format="rel_xyxy")


def test_bad_settings_are_named():
    good = [case()]
    for thresholds in ([], [0], [1.1], [math.nan]):
        with pytest.raises(ValueError, match=r"IoU thresholds in \(0, 1\]"):
            detection.coco(good, good, thresholds=thresholds)
    with pytest.raises(ValueError, match=r"IoU thresholds in \(0, 1\], got \[50"):
        detection.pascal_voc(good, good, threshold=50)
    with pytest.raises(ValueError, match='a range of area named "all", got small'):
        detection.coco(good, good, areas={"small": (0, 9)})
    for most in ((), (0, 1), (10, 1)):
        with pytest.raises(ValueError, match="rising numbers of detections"):
            detection.coco(good, good, max_detections=most)
    for threshold, background in ((0.5, 0.5), (0.5, 0), (1.5, 0.1)):
        with pytest.raises(ValueError, match="0 < background_threshold < threshold <= 1"):
            detection_errors(good, good, threshold=threshold, background_threshold=background)
    result = detection.coco(good, good)
    with pytest.raises(ValueError, match=r"no threshold 0\.51 was measured"):
        result.average_precision(threshold=0.51)
    with pytest.raises(ValueError, match="no range of area 'huge' was measured; there are all, small"):
        result.average_recall(area="huge")
    with pytest.raises(ValueError, match="max_detections=7 was not measured"):
        result.average_recall(max_detections=7)
    with pytest.raises(ValueError, match="a recall that does not fall"):
        detection.average_precision([0.5, 0.4], [1, 1])
    with pytest.raises(ValueError, match="two arrays"):
        detection.average_precision([0.5], [1, 1])
    with pytest.raises(ValueError, match="at least 2 points"):
        detection.average_precision([0.5], [1], points=1)


def test_arguments_are_not_changed():
    truths, detections = random_case(8)
    copies = [{name: values.copy() for name, values in sample.items()} for sample in (*truths, *detections)]
    detection.coco(truths, detections)
    detection.pascal_voc(truths, detections)
    detection_errors(truths, detections)
    for sample, copy in zip((*truths, *detections), copies, strict=True):
        for name, values in copy.items():
            np.testing.assert_array_equal(sample[name], values)


# Batches, and while training


def test_unbatch_leaves_out_what_valid_or_negative_classes_mark():
    batch = {
        "boxes": np.arange(24).reshape(2, 3, 4),
        "classes": np.array([[1, 2, -1], [3, 4, 5]]),
        "scores": np.array([[0.3, 0.2, 0], [0.6, 0.5, 0.4]]),
    }
    first, second = detection.unbatch(batch)
    assert first["classes"].tolist() == [1, 2]
    assert second["scores"].tolist() == [0.6, 0.5, 0.4]
    first, second = detection.unbatch({**batch, "valid": np.array([1, 2])})
    assert first["boxes"].tolist() == [[0, 1, 2, 3]]
    assert second["classes"].tolist() == [3, 4]
    assert "valid" not in first
    with pytest.raises(ValueError, match=r"a batch with classes \[b, n\], got"):
        detection.unbatch({"boxes": np.zeros((2, 3, 4))})
    with pytest.raises(ValueError, match=r"expected valid \[2\]"):
        detection.unbatch({**batch, "valid": np.array([1, 2, 3])})


def padded(samples: list[dict], size: int) -> dict[str, np.ndarray]:
    """Joins samples to one batch with room for `size` objects per image."""
    batch = {}
    for name in samples[0]:
        values = np.stack([np.resize(sample[name], (size, *np.shape(sample[name])[1:])) for sample in samples])
        batch[name] = values
    batch["valid"] = np.array([len(sample["classes"]) for sample in samples], "int32")
    return batch


def test_metric_collects_padded_batches():
    truths, detections = random_case(6)
    truths = [{"boxes": s["boxes"], "classes": s["classes"], "crowd": s["crowd"]} for s in truths]
    expected = detection.coco(truths, detections).summary()
    metric = MeanAveragePrecision()
    for _ in range(2):
        for start in range(0, len(truths), 2):
            y_true, y_pred = padded(truths[start : start + 2], 9), padded(detections[start : start + 2], 15)
            y_pred = {name: keras.ops.convert_to_tensor(values) for name, values in y_pred.items()}
            metric.update_state(y_true, y_pred)
        assert metric.result() == pytest.approx(expected, nan_ok=True)
        metric.reset_state()
    assert math.isnan(metric.result()["map"])


def test_metric_is_saved_and_says_where_it_cannot_be_used():
    metric = MeanAveragePrecision(num_classes=3, max_detections=5, name="ap")
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert (again.num_classes, again.max_detections, again.name) == (3, 5, "ap")
    assert sorted(again.result()) == sorted(detection.coco([], [], max_detections=(1, 5)).summary())
    with pytest.raises(ValueError, match="no sample weights"):
        metric.update_state({}, {}, sample_weight=1)

    @tf.function
    def in_graph(boxes):
        metric.update_state({"boxes": boxes}, {"boxes": boxes})

    with pytest.raises(ValueError, match=r"a tensor of a graph: use\s+zoo.metrics.training.DetectionCallback"):
        in_graph(tf.zeros((1, 1, 4)))


def test_callback_fills_the_logs_for_those_after_it():
    truth = {"boxes": np.array([[[10.0, 10, 50, 50]]]), "classes": np.array([[0]])}
    image = np.zeros((1, 6, 8, 3), "float32")
    model = keras.Sequential([keras.Input((6, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    epochs = []

    def detect(images):
        assert images.shape == image.shape
        epochs.append(len(epochs))
        boxes = truth["boxes"] if len(epochs) > 1 else truth["boxes"] + 100  # correct from the second evaluation on
        return {"boxes": boxes, "classes": truth["classes"], "scores": np.array([[0.9]])}

    seen = []
    history = model.fit(
        image,
        np.zeros((1, 1)),
        epochs=3,
        verbose=0,
        callbacks=[
            DetectionCallback([(image, truth)], detect=detect),
            keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["val_map50"])),
            keras.callbacks.EarlyStopping(monitor="val_map50", mode="max", patience=1),
        ],
    )
    assert seen == pytest.approx([0, 1, 1])
    assert history.history["val_map"] == pytest.approx([0, 1, 1])
    assert history.history["val_mar100"] == pytest.approx([0, 1, 1])


def test_callback_takes_the_models_own_predictions_and_can_skip_epochs():
    class Detector(keras.Model):
        def call(self, images):
            return keras.ops.zeros((keras.ops.shape(images)[0], 1)) + 0 * keras.ops.sum(images)

        def predict_on_batch(self, images):
            return {"boxes": np.array([[[10.0, 10, 50, 50]]]), "classes": np.array([[0]]), "scores": np.array([[0.9]])}

    image, truth = np.zeros((1, 4, 5, 3)), {"boxes": np.array([[[10.0, 10, 50, 50]]]), "classes": np.array([[0]])}
    model = Detector()
    callback = DetectionCallback([(image, truth)], every=2, prefix="test_", num_classes=1)
    callback.set_model(model)
    logs = {}
    callback.on_epoch_end(0, logs)
    assert logs == {}
    callback.on_epoch_end(1, logs)
    assert logs["test_map"] == pytest.approx(1)
    with pytest.raises(ValueError, match="every 1 or more epochs, got every=0"):
        DetectionCallback([], every=0)
    empty = DetectionCallback([])
    empty.set_model(model)
    with pytest.raises(ValueError, match="at least one batch"):
        empty.evaluate()
