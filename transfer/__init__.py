"""Fine-tuning pretrained backbones: from a folder of images to a proven, exported model.

The public names are imported when they are first used, so that `import transfer` loads no TensorFlow. The settings and
the contracts of the tasks (`transfer.Detect`, `transfer.DetectContract`, ...) come from the table of tasks.
"""

import lazy_loader

from transfer.tasks import TASKS

# Module -> its public names.
_EXPORTS = {
    "artifacts.exporting": ["export"],
    "artifacts.proof": ["verify"],
    "contract": ["Contract", "ExportError", "Proof"],
    "measuring.calibration": ["choose_thresholds", "find_temperature", "with_temperature"],
    "measuring.classes": ["Evaluation"],
    "measuring.labels": ["MultiLabelEvaluation"],
    "measuring.models": ["evaluate", "measure"],
    "measuring.numbers": ["RegressionEvaluation"],
    "models.backbone_tables": ["list_backbones", "register_backbone"],
    "models.backbones": ["Backbone", "backbone"],
    "models.heads": ["Head", "classifier", "multi_label", "regressor", "several_heads", "swap_head", "with_activation"],
    "predict.embeddings": ["nearest"],
    "predict.loading": ["load"],
    "predict.predictor": ["Predictor"],
    "predict.writing": ["write_predictions"],
    "runs.comparing": ["compare"],
    "runs.few_examples": ["FewShot", "few_shot"],
    "runs.configuration": ["read_config"],
    "runs.fitting": ["Run", "fit"],
    "runs.folder": ["RunUnfinished"],
    "runs.explaining": ["explain"],
    "runs.retrieval": ["write_neighbours"],
    "runs.robustness": ["Robustness", "robustness"],
    "runs.scoring": ["score"],
    "runs.stylising": ["stylize_photo"],
    "tasks.locate.localisation": ["Localisation", "localisation_batches", "localiser", "relative_boxes"],
    "tasks.scores": ["Prediction"],
    "tasks.task": ["Answer"],
    "tracking.measuring": ["score_tracks"],
    "tracking.videos": ["TrackedVideo", "Tracking", "track_video"],
    "training.batch_norms": ["re_estimate_batch_norms"],
    "training.checkpoints": ["Checkpoint"],
    "training.feature_cache": ["FeatureCache"],
    "training.fine_tuning": ["fine_tune"],
    "training.freezing": ["FrozenWeightsChanged", "freeze", "unfreeze"],
    "training.guard": ["Guard", "TrainableChanged", "TrainingDiverged"],
    "training.history": ["History"],
    "training.learning_rates": ["RateCurve", "lr_find"],
    "training.live_plot": ["LivePlot"],
    "training.memory": ["MicroBatches", "available_memory", "micro_batches"],
    "training.normalised_images": ["LooksNormalised", "warn_if_normalised"],
    "training.objectives": ["MultiLabel", "Objective", "Objectives", "Regression", "SingleLabel"],
    "training.optimization": ["Optimization", "layer_rates"],
    "training.plan": ["Plan"],
    "training.recommending": ["Recommendation", "recommend"],
    "training.soft_labels": ["SoftLabel"],
}
for _row in TASKS.values():
    _package = _row.package.removeprefix("transfer.")
    _EXPORTS[f"{_package}.settings"] = [_row.settings]
    _EXPORTS[f"{_package}.answers"] = [f"{_row.settings}Contract"]

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_EXPORTS)
