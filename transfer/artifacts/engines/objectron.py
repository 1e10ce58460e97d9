"""MediaPipe's pretrained detector, an SSD with a MobileNetV2 trunk, in LiteRT and with our decoding.

It finds 23 kinds of things, people among them, without any training. Its file comes in the npm package
`@mediapipe/objectron`, which is installed by `npm install @mediapipe/objectron`.
"""

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.prepare.stretch import Stretch
from transfer.artifacts.engines.base import Engine
from transfer.tasks import task_of
from transfer.tasks.task import Arrays
from zoo.detection.mediapipe import SIZE, decode_outputs, network_and_names
from zoo.detection.nms import hard_nms

__all__ = ["FILE", "NAME", "ObjectronEngine", "find_objectron", "open_objectron"]

NAME = "objectron"
FILE = "objectron_solution_packed_assets.data"
PACKAGE = Path("node_modules", "@mediapipe", "objectron", FILE)


class ObjectronEngine(Engine):
    """The pretrained detector. An interpreter bears one caller at a time, so there is a lock.

    Args:
        network: Contents of the TFLite file.
        names: Names of its classes.
    """

    name = "litert"
    ways = ("prepared",)

    def __init__(self, network: bytes, names: tuple[str, ...]):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ModuleNotFoundError(
                "the pretrained detector needs ai-edge-litert, which is not installed: pip install ai-edge-litert"
            ) from error
        make: Any = task_of("detect").contract
        self.contract = make(
            names,
            preparation=Stretch((SIZE, SIZE)),
            score_threshold=0.1,
            iou_threshold=0.5,
            thresholds=dict.fromkeys(names, 0.4),
            detector="ssd",
            backbone="mobilenet_v2",
            fingerprint=hashlib.sha256(network).hexdigest(),
        )
        self._interpreter = Interpreter(model_content=network, num_threads=os.cpu_count())
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        # The names are told apart by their lengths: four codes, and a logit for each class and the background.
        by_length = {one["shape"][-1]: one["index"] for one in self._interpreter.get_output_details()}
        self._codes, self._logits = by_length[4], by_length[len(names) + 1]
        self._lock = threading.Lock()

    def raw(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns what the network itself says about an image.

        Args:
            image: `[300, 300, 3]`, in 0..255.

        Returns:
            Codes, float32 `[1917, 4]`, and logits, float32 `[1917, 24]`.
        """
        with self._lock:
            self._interpreter.set_tensor(self._input, (image.astype(np.float32) / 127.5 - 1)[None])
            self._interpreter.invoke()
            return self._interpreter.get_tensor(self._codes)[0], self._interpreter.get_tensor(self._logits)[0]

    def outputs(self, way: str, images: np.ndarray) -> Arrays:
        if way not in self.ways:
            raise ValueError(f"this model takes prepared images of {SIZE} x {SIZE} only, got {images.shape[1:3]}")
        answers = [self._answer(image) for image in images]
        return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}

    def _answer(self, image: np.ndarray) -> Arrays:
        boxes, scores = decode_outputs(*self.raw(image))
        limits = self.contract
        anchors, classes = np.nonzero(scores > limits.score_threshold)
        found, best = boxes[anchors], scores[anchors, classes]
        kept = hard_nms(
            found,
            best,
            classes=classes,
            iou_threshold=limits.iou_threshold,
            max_detections=limits.max_detections,
        )
        room = limits.max_detections
        padded = {
            "boxes": np.zeros((room, 4), np.float32),
            "classes": np.full(room, -1, np.int32),
            "scores": np.zeros(room, np.float32),
        }
        for name, values in (("boxes", found), ("classes", classes), ("scores", best)):
            padded[name][: len(kept)] = values[kept]
        count = np.asarray(len(kept), np.int32)
        return padded | {"valid": count, "candidate_boxes": boxes, "candidate_scores": scores}


def find_objectron(source: str | Path) -> Path | None:
    """Returns the package's file if `source` is that file, a folder that holds it, or the name "objectron".

    The name stands for the package as npm installs it: in the folder `node_modules` of the current folder, or of one
    above it.

    Raises:
        FileNotFoundError: The name was given, and the package is not installed.
    """
    path = Path(source)
    places = [path, path / FILE]
    if str(source) == NAME:
        places += [folder / PACKAGE for folder in (Path.cwd(), *Path.cwd().parents)]
    for place in places:
        if place.name == FILE and place.is_file():
            return place
    if str(source) == NAME and not path.exists():
        raise FileNotFoundError(
            "the pretrained detector is in a package that is not installed: npm install @mediapipe/objectron; "
            f"or give the path of its file {FILE}"
        )
    return None


def open_objectron(path: Path) -> ObjectronEngine:
    """Opens the package's file.

    Raises:
        ModuleNotFoundError: LiteRT is not installed.
        ValueError: It is not that file, or it is damaged.
    """
    network, names = network_and_names(path)
    try:
        return ObjectronEngine(network, names)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
