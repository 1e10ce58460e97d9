"""Metrics by the size of objects take the size that the annotation states, as COCO's own tools do."""

import json

import numpy as np
import pytest
from PIL import Image

from pipelines import read_scenes
from transfer.measuring.boxes import DetectionEvaluation, truths_of


def test_average_precision_by_size_takes_the_area_that_the_file_states(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    rng = np.random.default_rng(0)
    images, annotations, results, detections = [], [], [], []
    for number in range(6):
        Image.new("RGB", (200, 160)).save(tmp_path / f"{number}.png")
        images.append({"id": number + 1, "file_name": f"{number}.png", "height": 160, "width": 200})
        boxes = []
        for _ in range(3):
            x, y, w, h = (float(v) for v in (*rng.integers(0, 60, 2), *rng.integers(20, 98, 2)))
            area = {"area": w * h / float(rng.choice([1, 8]))}
            entry = {"image_id": number + 1, "category_id": 1, "bbox": [x, y, w, h], "iscrowd": 0, **area}
            annotations.append({"id": len(annotations) + 1, **entry})
            moved = [x + float(rng.normal(0, 6)), y, w, h]
            score = float(np.float32(rng.uniform()))
            results.append({"image_id": number + 1, "category_id": 1, "bbox": moved, "score": score})
            boxes.append((*moved[:2], moved[0] + w, moved[1] + h, score))
        columns = np.array(boxes)
        detections.append({"boxes": columns[:, :4], "classes": np.zeros(3, int), "scores": columns[:, 4]})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "truth.json").write_text(json.dumps(document))
    data = read_scenes(tmp_path, valid=0, test=0)
    own = DetectionEvaluation(("cell",), truths_of(data.train), tuple(detections)).summary()
    truth = coco.COCO(str(tmp_path / "truth.json"))
    reference = evaluation.COCOeval(truth, truth.loadRes(results), "bbox")
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    for name, index in (("map_small", 3), ("map_medium", 4), ("map_large", 5), ("mar_small", 9), ("mar_medium", 10)):
        expected = reference.stats[index]
        assert own[name] == pytest.approx(expected, abs=1e-6) if expected >= 0 else np.isnan(own[name])
    assert reference.stats[3] > 0
