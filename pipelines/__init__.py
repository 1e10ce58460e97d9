"""tf.data input for classification, detection, segmentation and video."""

import importlib
from typing import Any

# Public name -> module that defines it. Imported on first use, so that `import pipelines` loads no TensorFlow.
_EXPORTS: dict[str, str] = {
    "Audit": "pipelines.auditing.findings",
    "Augmentation": "pipelines.augmenting.changes",
    "Change": "pipelines.augmenting.changes",
    "Clip": "pipelines.video.frames",
    "CutMix": "pipelines.augmenting.mixing",
    "Cutouts": "pipelines.synthetic.scenes",
    "Data": "pipelines.samples",
    "EvaluationCrop": "pipelines.prepare.crop",
    "Fault": "pipelines.scenes",
    "Finding": "pipelines.auditing.findings",
    "Frame": "pipelines.video.frames",
    "MixUp": "pipelines.augmenting.mixing",
    "Mosaic": "pipelines.augmenting.mixing",
    "RandAugment": "pipelines.augmenting.layers",
    "RandomBrightness": "pipelines.augmenting.layers",
    "RandomContrast": "pipelines.augmenting.layers",
    "RandomCrop": "pipelines.augmenting.layers",
    "RandomErasing": "pipelines.augmenting.mixing",
    "RandomFlip": "pipelines.augmenting.layers",
    "RandomGaussianBlur": "pipelines.augmenting.mixing",
    "RandomGaussianNoise": "pipelines.augmenting.mixing",
    "RandomGrayscale": "pipelines.augmenting.layers",
    "RandomHue": "pipelines.augmenting.layers",
    "RandomInvert": "pipelines.augmenting.layers",
    "RandomPerspective": "pipelines.augmenting.layers",
    "RandomResizedCrop": "pipelines.augmenting.layers",
    "RandomRotation": "pipelines.augmenting.layers",
    "RandomSaturation": "pipelines.augmenting.layers",
    "RandomShear": "pipelines.augmenting.layers",
    "RandomTranslation": "pipelines.augmenting.layers",
    "RandomZoom": "pipelines.augmenting.layers",
    "ResizePolicy": "pipelines.prepare.resizing",
    "Resizing": "pipelines.augmenting.layers",
    "Resumable": "pipelines.loading.batches",
    "Samples": "pipelines.samples",
    "Scene": "pipelines.scenes",
    "SceneData": "pipelines.scenes",
    "Skipped": "pipelines.samples",
    "SyntheticClips": "pipelines.synthetic.scenes",
    "SyntheticScenes": "pipelines.synthetic.scenes",
    "TrivialAugment": "pipelines.augmenting.layers",
    "VideoInfo": "pipelines.video.frames",
    "adapt": "pipelines.loading.adapters",
    "audit": "pipelines.auditing.findings",
    "augment": "pipelines.augmenting.changes",
    "augmentation": "pipelines.augmenting.layers",
    "batches": "pipelines.loading.batches",
    "check": "pipelines.loading.checking",
    "check_data": "pipelines.loading.checking",
    "check_scenes": "pipelines.loading.scene_batches",
    "class_weights": "pipelines.loading.batches",
    "cut_out": "pipelines.synthetic.scenes",
    "cut_out_scenes": "pipelines.synthetic.scenes",
    "decode_any": "pipelines.loading.decoding",
    "decode_image": "pipelines.loading.decoding",
    "epoch_order": "pipelines.loading.batches",
    "exclude": "pipelines.auditing.findings",
    "image_size": "pipelines.loading.decoding",
    "layout_of": "pipelines.annotations.reading",
    "near_duplicates": "pipelines.auditing.duplicates",
    "orientation": "pipelines.loading.decoding",
    "padded_batches": "pipelines.loading.scene_batches",
    "read_arrays": "pipelines.sources.tables",
    "read_clips": "pipelines.video.frames",
    "read_data": "pipelines.sources.reading",
    "read_exclude_list": "pipelines.auditing.findings",
    "read_frames": "pipelines.video.frames",
    "read_scenes": "pipelines.annotations.reading",
    "read_shards": "pipelines.sources.shards",
    "read_table": "pipelines.sources.tables",
    "restore_boxes": "pipelines.prepare.resizing",
    "restore_mask": "pipelines.prepare.resizing",
    "sample_dataset": "pipelines.loading.scene_batches",
    "scene_dataset": "pipelines.loading.scene_batches",
    "shard_dataset": "pipelines.sources.shards",
    "show": "pipelines.pictures",
    "split": "pipelines.sources.splits",
    "upright": "pipelines.loading.decoding",
    "video_dataset": "pipelines.video.frames",
    "video_info": "pipelines.video.frames",
    "write_audit_report": "pipelines.auditing.page",
    "write_exclude_list": "pipelines.auditing.findings",
    "write_scenes": "pipelines.annotations.reading",
    "write_shards": "pipelines.sources.shards",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
