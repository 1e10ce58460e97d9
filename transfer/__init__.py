"""Fine-tuning pretrained backbones: from a folder of images to a proven, exported model."""

import importlib
from typing import Any

# Public name -> module that defines it. Imported on first use, so that `import transfer` loads no TensorFlow.
_EXPORTS: dict[str, str] = {
    "Answer": "transfer.predictor",
    "Backbone": "transfer.backbones",
    "Checkpoint": "transfer.checkpoints",
    "Contract": "transfer.contract",
    "DetectionPredictor": "transfer.detection.predictor",
    "Detections": "transfer.detection.predictor",
    "Evaluation": "transfer.evaluation",
    "ExportError": "transfer.contract",
    "FeatureCache": "transfer.caching",
    "FrozenWeightsChanged": "transfer.freezing",
    "Guard": "transfer.guard",
    "Head": "transfer.heads",
    "History": "transfer.training",
    "LooksNormalised": "transfer.normalised",
    "LivePlot": "transfer.live_plot",
    "Localisation": "transfer.localisation",
    "MicroBatches": "transfer.memory",
    "MultiLabel": "transfer.tasks",
    "MultiLabelEvaluation": "transfer.measuring",
    "Optimization": "transfer.optimization",
    "Prediction": "transfer.predictor",
    "Predictor": "transfer.predictor",
    "Proof": "transfer.contract",
    "RateCurve": "transfer.learning_rates",
    "Recommendation": "transfer.recommending",
    "Regression": "transfer.tasks",
    "RegressionEvaluation": "transfer.measuring",
    "Run": "transfer.run",
    "SingleLabel": "transfer.tasks",
    "SoftLabel": "transfer.soft_labels",
    "Task": "transfer.tasks",
    "Tasks": "transfer.tasks",
    "TrainableChanged": "transfer.guard",
    "TrainingDiverged": "transfer.training",
    "available_memory": "transfer.memory",
    "backbone": "transfer.backbones",
    "choose_thresholds": "transfer.calibration",
    "classifier": "transfer.heads",
    "compare": "transfer.comparing",
    "evaluate": "transfer.evaluation",
    "export": "transfer.exporting",
    "find_temperature": "transfer.calibration",
    "fine_tune": "transfer.training",
    "fit": "transfer.run",
    "freeze": "transfer.freezing",
    "layer_rates": "transfer.optimization",
    "list_backbones": "transfer.backbones",
    "load": "transfer.predictor",
    "localisation_batches": "transfer.localisation",
    "localiser": "transfer.localisation",
    "lr_find": "transfer.learning_rates",
    "measure": "transfer.measuring",
    "micro_batches": "transfer.memory",
    "model_card": "transfer.model_card",
    "multi_label": "transfer.heads",
    "nearest": "transfer.predictions",
    "re_estimate_batch_norms": "transfer.batch_norms",
    "read_config": "transfer.run",
    "recommend": "transfer.recommending",
    "regressor": "transfer.heads",
    "score": "transfer.run",
    "relative_boxes": "transfer.localisation",
    "several_heads": "transfer.heads",
    "swap_head": "transfer.heads",
    "unfreeze": "transfer.freezing",
    "verify": "transfer.proving",
    "warn_if_normalised": "transfer.normalised",
    "with_temperature": "transfer.calibration",
    "write_predictions": "transfer.predictions",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
