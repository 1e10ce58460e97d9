"""tf.data input for classification, detection, segmentation and video.

The public names are imported when they are first used, so that `import pipelines` loads no TensorFlow.
"""

import lazy_loader

# Module -> its public names.
_EXPORTS = {
    "annotations.layouts": ["layout_of"],
    "annotations.reading": ["read_scenes", "write_scenes"],
    "auditing.checks": ["audit"],
    "auditing.duplicates": ["near_duplicates"],
    "auditing.findings": ["Audit", "Finding", "exclude", "read_exclude_list", "write_exclude_list"],
    "auditing.page": ["write_audit_report"],
    "augmenting.cropping": ["RandomCrop", "RandomResizedCrop", "Resizing"],
    "augmenting.geometric": [
        "RandomFlip",
        "RandomPerspective",
        "RandomRotation",
        "RandomShear",
        "RandomTranslation",
        "RandomZoom",
    ],
    "augmenting.mixing": ["CutMix", "MixUp", "Mosaic"],
    "augmenting.noise": ["RandomErasing", "RandomGaussianBlur", "RandomGaussianNoise"],
    "augmenting.photometric": [
        "RandomBrightness",
        "RandomContrast",
        "RandomGrayscale",
        "RandomHue",
        "RandomInvert",
        "RandomSaturation",
    ],
    "augmenting.policies": ["RandAugment", "TrivialAugment", "augmentation"],
    "augmenting.rescaling": ["Rescaling"],
    "augmenting.resize_policies": ["ResizePolicy", "restore_boxes", "restore_mask"],
    "augmenting.transforms": ["Augmentation", "MatrixTransform", "Transform", "augment"],
    "colours": ["class_colour"],
    "contents": ["data_fingerprint"],
    "data": ["Data", "Fault", "Samples", "Scene", "Scenes", "Target", "WrongKind"],
    "loading.adapters": ["adapt"],
    "loading.batches": ["Resumable", "batches", "class_weights", "epoch_order"],
    "loading.checking": ["check", "check_data"],
    "loading.decoding": ["decode_image"],
    "loading.exif": ["orientation", "upright"],
    "loading.image_sizes": ["image_size"],
    "loading.prepared": ["canvases"],
    "loading.python_decoding": ["decode_any", "image_pixels"],
    "loading.scene_batches": ["padded_batches", "sample_dataset", "scene_dataset"],
    "pictures": ["show"],
    "prepare.crop": ["EvaluationCrop"],
    "prepare.kinds": ["preparation_from_dict"],
    "prepare.letterbox": ["Letterbox"],
    "prepare.preparation": ["Preparation"],
    "sources.arrays": ["read_arrays"],
    "sources.reading": ["read_data"],
    "sources.scene_shards": ["read_shards"],
    "sources.shards": ["shard_dataset", "write_shards"],
    "sources.splits": ["split"],
    "sources.tables": ["read_table"],
    "synthetic.balls": ["bouncing_balls"],
    "synthetic.cutouts": ["Cutouts", "cut_out", "cut_out_scenes"],
    "synthetic.scenes": ["SyntheticClips", "SyntheticScenes"],
    "video.clips": ["Clip", "read_clips", "video_dataset"],
    "video.containers": ["VideoInfo", "video_info"],
    "video.frames": ["Frame", "read_frames"],
    "video.motchallenge": ["read_motchallenge", "write_motchallenge"],
    "video.sources": ["VideoSource", "open_source"],
    "video.writing": ["VideoWriter"],
}

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_EXPORTS)
