"""tf.data input for classification, detection, segmentation and video."""

import importlib
from typing import Any

# Public name -> module that defines it. Imported on first use, so that `import pipelines` loads no TensorFlow.
_EXPORTS: dict[str, str] = {
    "Audit": "pipelines.auditing",
    "Augmentation": "pipelines.changes",
    "Change": "pipelines.changes",
    "Clip": "pipelines.video",
    "CutMix": "pipelines.mixing",
    "Cutouts": "pipelines.synthetic",
    "Data": "pipelines.samples",
    "EvaluationCrop": "pipelines.preprocessing",
    "Fault": "pipelines.scenes",
    "Finding": "pipelines.auditing",
    "Frame": "pipelines.video",
    "MixUp": "pipelines.mixing",
    "Mosaic": "pipelines.mixing",
    "RandAugment": "pipelines.augmentations",
    "RandomBrightness": "pipelines.augmentations",
    "RandomContrast": "pipelines.augmentations",
    "RandomCrop": "pipelines.augmentations",
    "RandomErasing": "pipelines.mixing",
    "RandomFlip": "pipelines.augmentations",
    "RandomGaussianBlur": "pipelines.mixing",
    "RandomGaussianNoise": "pipelines.mixing",
    "RandomGrayscale": "pipelines.augmentations",
    "RandomHue": "pipelines.augmentations",
    "RandomInvert": "pipelines.augmentations",
    "RandomPerspective": "pipelines.augmentations",
    "RandomResizedCrop": "pipelines.augmentations",
    "RandomRotation": "pipelines.augmentations",
    "RandomSaturation": "pipelines.augmentations",
    "RandomShear": "pipelines.augmentations",
    "RandomTranslation": "pipelines.augmentations",
    "RandomZoom": "pipelines.augmentations",
    "ResizePolicy": "pipelines.resizing",
    "Resizing": "pipelines.augmentations",
    "Resumable": "pipelines.loader",
    "Samples": "pipelines.samples",
    "Scene": "pipelines.scenes",
    "SceneData": "pipelines.scenes",
    "Skipped": "pipelines.samples",
    "SyntheticClips": "pipelines.synthetic",
    "SyntheticScenes": "pipelines.synthetic",
    "TrivialAugment": "pipelines.augmentations",
    "VideoInfo": "pipelines.video",
    "adapt": "pipelines.adapters",
    "audit": "pipelines.auditing",
    "augment": "pipelines.changes",
    "augmentation": "pipelines.augmentations",
    "batches": "pipelines.loader",
    "check": "pipelines.checking",
    "check_data": "pipelines.checking",
    "check_scenes": "pipelines.scene_loader",
    "class_weights": "pipelines.loader",
    "cut_out": "pipelines.synthetic",
    "cut_out_scenes": "pipelines.synthetic",
    "decode_any": "pipelines.decoding",
    "decode_image": "pipelines.decoding",
    "epoch_order": "pipelines.loader",
    "exclude": "pipelines.auditing",
    "image_size": "pipelines.decoding",
    "layout_of": "pipelines.annotations.reading",
    "near_duplicates": "pipelines.duplicates",
    "orientation": "pipelines.decoding",
    "padded_batches": "pipelines.scene_loader",
    "read_arrays": "pipelines.tables",
    "read_clips": "pipelines.video",
    "read_data": "pipelines.sources",
    "read_exclude_list": "pipelines.auditing",
    "read_frames": "pipelines.video",
    "read_scenes": "pipelines.annotations.reading",
    "read_shards": "pipelines.shards",
    "read_table": "pipelines.tables",
    "restore_boxes": "pipelines.resizing",
    "restore_mask": "pipelines.resizing",
    "sample_dataset": "pipelines.scene_loader",
    "scene_dataset": "pipelines.scene_loader",
    "shard_dataset": "pipelines.shards",
    "show": "pipelines.pictures",
    "split": "pipelines.splits",
    "upright": "pipelines.decoding",
    "video_dataset": "pipelines.video",
    "video_info": "pipelines.video",
    "write_audit_report": "pipelines.audit_report",
    "write_exclude_list": "pipelines.auditing",
    "write_scenes": "pipelines.annotations.reading",
    "write_shards": "pipelines.shards",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
