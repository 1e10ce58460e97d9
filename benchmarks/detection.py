"""Detectors on blood cells: mean average precision on the test list, from a trunk trained on ImageNet.

    python -m benchmarks.detection ../shared/data/bccd
    python -m benchmarks.detection ../shared/data/bccd --epochs 1 --images 10    # does it run?

The data (BCCD, MIT licence, Pascal VOC's layout) brings its own lists: 205 images to train with, 87 and 72. The photos
have 480 rows and 640 columns; they are shown at 288 x 384, so that cells stay round. The recipe: EfficientNet-Lite0,
its batch norms frozen, all else trained; AdamW with a warm-up and a cosine; flips in both directions, since cells have
no upright; the weights of the last epoch, so that the validation list chooses nothing.

Prints COCO's table of the test list and the average precision of each class, and last one line of JSON. Figures that
count stand in `benchmarks/RESULTS.md`, with their seeds.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import pipelines
import transfer
from zoo import detection
from zoo.metrics.detection import CocoResult, coco, unbatch

SIZE = (288, 384)
BATCH = 8
RATE, WARMUP_EPOCHS, WEIGHT_DECAY = 1e-3, 2, 0.05
BACKBONE = "efficientnet_lite0"


def batches(scenes: Sequence[pipelines.Scene], *, training: bool, seed: int = 0) -> tf.data.Dataset:
    """Padded batches at `SIZE`; for training in a new order each epoch, and flipped at random."""
    dataset = pipelines.scene_dataset(scenes).map(pipelines.ResizePolicy("squash", SIZE), tf.data.AUTOTUNE).cache()
    if not training:
        return pipelines.padded_batches(dataset, BATCH)
    layers = [pipelines.RandomFlip("horizontal_and_vertical")]
    shuffled = pipelines.padded_batches(dataset.shuffle(len(scenes), seed=seed), BATCH)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip(shuffled, seeds).map(
        lambda batch, seed: pipelines.augment(batch, layers, seed), tf.data.AUTOTUNE
    )


def new_detector(name: str, num_classes: int) -> keras.Model:
    backbone = transfer.backbone(BACKBONE, image_size=SIZE).model
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return detection.create(name, backbone=backbone, num_classes=num_classes, image_size=SIZE)


def train(model: keras.Model, scenes: Sequence[pipelines.Scene], *, epochs: int, seed: int) -> None:
    steps = -(-len(scenes) // BATCH)
    warmup = min(WARMUP_EPOCHS, epochs // 2) * steps
    rate = keras.optimizers.schedules.CosineDecay(
        RATE / 20 if warmup else RATE,
        max(1, epochs * steps - warmup),
        warmup_target=RATE if warmup else None,
        warmup_steps=warmup,
    )
    model.compile(keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY, clipnorm=10.0))
    model.fit(batches(scenes, training=True, seed=seed), epochs=epochs, verbose=2)


def evaluate(model: keras.Model, scenes: Sequence[pipelines.Scene], num_classes: int) -> CocoResult:
    """In pixels of the photos as they are, where COCO's sizes mean something."""
    truths: list[dict] = []
    found: list[dict] = []
    for batch in batches(scenes, training=False):
        detections = dict(model.detect(batch["image"]))
        for boxes, objects, into in ((batch["boxes"], batch, truths), (detections["boxes"], detections, found)):
            restored = pipelines.restore_boxes(boxes, batch["matrix"], batch["original_size"])
            kept = {name: objects[name] for name in ("classes", "scores", "crowd") if name in objects}
            into += unbatch({"boxes": restored, **kept})
    return coco(truths, found, num_classes=num_classes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="annotated images that `pipelines.read_scenes` reads")
    parser.add_argument("--detector", default="yolo_tiny", choices=detection.list_detectors())
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--images", type=int, help="take only so many of each list")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policy", default="float32", choices=("float32", "mixed_bfloat16"), help="to compute in")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(arguments.seed)
    keras.config.set_dtype_policy(arguments.policy)
    data = pipelines.read_scenes(arguments.folder)
    parts = {name: scenes[: arguments.images] for name, scenes in data.splits.items()}
    model = new_detector(arguments.detector, len(data.class_names))
    start, processor = time.perf_counter(), time.process_time()
    train(model, parts["train"], epochs=arguments.epochs, seed=arguments.seed)
    seconds = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - processor}
    numbers: dict[str, float] = {}
    for part in ("valid", "test"):
        result = evaluate(model, parts[part], len(data.class_names))
        numbers |= {f"{part}_map50": result.average_precision(threshold=0.5), f"{part}_map": result.average_precision()}
    print(result.table())
    for index, precision in result.per_class(threshold=0.5).items():
        print(f" {data.class_names[index]:<10} AP50 = {precision:.3f}")
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({name: round(value, 4) for name, value in (numbers | seconds | {"gigabytes": gigabytes}).items()}))


if __name__ == "__main__":
    main()
