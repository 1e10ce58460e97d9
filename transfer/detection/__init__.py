"""Detectors for users: from a folder of annotated images to a proven, exported detector with a report.

Named as the rest of `transfer` is: `fit` is the whole job, `train` only the training, `export` only the export, and
`transfer.load` opens what these wrote.
"""

import importlib
from typing import Any

# Public name -> module that defines it. Imported on first use, so that `import transfer.detection` loads no TensorFlow.
_EXPORTS: dict[str, str] = {
    "DetectedObject": "transfer.detection.predictor",
    "Detections": "transfer.detection.predictor",
    "DetectionContract": "transfer.detection.contract",
    "DetectionPredictor": "transfer.detection.predictor",
    "Letterbox": "transfer.detection.letterbox",
    "Measured": "transfer.detection.measuring",
    "Training": "transfer.detection.training",
    "augmentation": "transfer.detection.training",
    "draw": "transfer.detection.drawing",
    "export": "transfer.detection.exporting",
    "fit": "transfer.detection.run",
    "measure": "transfer.detection.measuring",
    "new_detector": "transfer.detection.training",
    "score": "transfer.detection.run",
    "train": "transfer.detection.training",
    "training_batches": "transfer.detection.training",
    "write_detections": "transfer.detection.predictions",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
