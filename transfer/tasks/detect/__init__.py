"""Detectors for users: from a folder of annotated images to a proven, exported detector with a report.

Named as the rest of `transfer` is: `fit` is the whole job, `train` only the training, `export` only the export, and
`transfer.load` opens what these wrote.
"""

import importlib
from typing import Any

# Public name -> module that defines it. Imported on first use, so that `import transfer.tasks.detect` loads no
# TensorFlow.
_EXPORTS: dict[str, str] = {
    "DetectedObject": "transfer.tasks.detect.predictor",
    "Detections": "transfer.tasks.detect.predictor",
    "DetectionContract": "transfer.tasks.detect.contract",
    "DetectionPredictor": "transfer.tasks.detect.predictor",
    "Letterbox": "pipelines.prepare.letterbox",
    "Measured": "transfer.measuring.boxes",
    "Training": "transfer.tasks.detect.training",
    "augmentation": "transfer.tasks.detect.training",
    "draw": "transfer.predict.drawing",
    "export": "transfer.tasks.detect.exporting",
    "fit": "transfer.tasks.detect.run",
    "measure": "transfer.measuring.boxes",
    "new_detector": "transfer.tasks.detect.training",
    "score": "transfer.tasks.detect.run",
    "train": "transfer.tasks.detect.training",
    "training_batches": "transfer.tasks.detect.training",
    "write_detections": "transfer.tasks.detect.predictions",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
