"""Fine-tuning pretrained backbones: from a folder of images to a proven, exported model."""

import importlib
from typing import Any

# Public name -> module that defines it. Imported on first use, so that `import transfer` loads no TensorFlow.
_EXPORTS: dict[str, str] = {
    "Answer": "transfer.predict.predictor",
    "Backbone": "transfer.models.backbones",
    "Checkpoint": "transfer.training.checkpoints",
    "Contract": "transfer.contract",
    "DetectionPredictor": "transfer.tasks.detect.predictor",
    "Detections": "transfer.tasks.detect.predictor",
    "Evaluation": "transfer.measuring.classes",
    "ExportError": "transfer.contract",
    "FeatureCache": "transfer.training.feature_cache",
    "FrozenWeightsChanged": "transfer.training.freezing",
    "Guard": "transfer.training.guard",
    "Head": "transfer.models.heads",
    "History": "transfer.training.fine_tuning",
    "LooksNormalised": "transfer.training.normalised_images",
    "LivePlot": "transfer.training.live_plot",
    "Localisation": "transfer.tasks.locate.localisation",
    "MicroBatches": "transfer.training.memory",
    "MultiLabel": "transfer.training.objectives",
    "MultiLabelEvaluation": "transfer.measuring.labels",
    "Optimization": "transfer.training.optimization",
    "Prediction": "transfer.predict.predictor",
    "Predictor": "transfer.predict.predictor",
    "Proof": "transfer.contract",
    "RateCurve": "transfer.training.learning_rates",
    "Recommendation": "transfer.training.recommending",
    "Regression": "transfer.training.objectives",
    "RegressionEvaluation": "transfer.measuring.labels",
    "Run": "transfer.runs.fitting",
    "SingleLabel": "transfer.training.objectives",
    "SoftLabel": "transfer.training.soft_labels",
    "Task": "transfer.training.objectives",
    "Tasks": "transfer.training.objectives",
    "TrainableChanged": "transfer.training.guard",
    "TrainingDiverged": "transfer.training.fine_tuning",
    "available_memory": "transfer.training.memory",
    "backbone": "transfer.models.backbones",
    "choose_thresholds": "transfer.measuring.calibration",
    "classifier": "transfer.models.heads",
    "compare": "transfer.runs.comparing",
    "evaluate": "transfer.measuring.classes",
    "export": "transfer.artifacts.exporting",
    "find_temperature": "transfer.measuring.calibration",
    "fine_tune": "transfer.training.fine_tuning",
    "fit": "transfer.runs.fitting",
    "freeze": "transfer.training.freezing",
    "layer_rates": "transfer.training.optimization",
    "list_backbones": "transfer.models.backbones",
    "load": "transfer.predict.predictor",
    "localisation_batches": "transfer.tasks.locate.localisation",
    "localiser": "transfer.tasks.locate.localisation",
    "lr_find": "transfer.training.learning_rates",
    "measure": "transfer.measuring.labels",
    "micro_batches": "transfer.training.memory",
    "model_card": "transfer.report.model_card",
    "multi_label": "transfer.models.heads",
    "nearest": "transfer.predict.writing",
    "re_estimate_batch_norms": "transfer.models.batch_norms",
    "read_config": "transfer.runs.fitting",
    "recommend": "transfer.training.recommending",
    "regressor": "transfer.models.heads",
    "score": "transfer.runs.fitting",
    "relative_boxes": "transfer.tasks.locate.localisation",
    "several_heads": "transfer.models.heads",
    "swap_head": "transfer.models.heads",
    "unfreeze": "transfer.training.freezing",
    "verify": "transfer.artifacts.proof",
    "warn_if_normalised": "transfer.training.normalised_images",
    "with_temperature": "transfer.measuring.calibration",
    "write_predictions": "transfer.predict.writing",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
