"""Detectors on synthetic scenes of digits: mean average precision on new scenes of new digits, and the time it took.

    python -m benchmarks.digit_scenes
    python -m benchmarks.digit_scenes --detector ssd --seed 1
    python -m benchmarks.digit_scenes --backbone efficientnet_lite0 --scenes 3000
    python -m benchmarks.digit_scenes --scenes 20 --epochs 1    # does it run?

The digits are scikit-learn's (1,797 of 8 x 8 pixels, of real handwriting); those in the scenes to learn from are not in
the scenes to be tested on. A scene has 128 x 128 pixels and up to 5 digits, each 0.2 to 0.4 of it long, on noise, which
may hide each other in part. All detectors start from nothing, on the same small trunk, and learn alike: AdamW with a
warm-up and a cosine, no augmentation. Many scenes seen a few times teach more than few scenes seen often.

Prints for each detector its average precision, and last one line of JSON. The names that are not among the defaults are
larger, or (SSD300) for other sizes. Figures that count stand in `benchmarks/RESULTS.md`, with their seeds.
"""

import argparse
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import pipelines
from transfer.tasks.detect.training import new_detector
from zoo import detection
from zoo.blocks import conv_bn, residual_unit
from zoo.metrics.detection import CocoResult, coco, unbatch

SIZE = (128, 128)
BATCH = 16
TESTED = 600  # scenes at most
CLIP_NORM, WEIGHT_DECAY = 10.0, 0.05
# Each detector at its smallest, and its learning rate.
DETECTORS = {
    "yolo_tiny": 4e-3,
    "ssd": 4e-3,
    "retinanet_tiny": 4e-3,
    "faster_rcnn_tiny": 2e-3,
    "efficientdet_d0": 4e-3,
}
WIDTHS = (16, 32, 64, 96, 128)


def trunk() -> keras.Model:
    """A residual network of ten layers, with a map at each stride from 2 to 32."""
    image = x = keras.Input((*SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = conv_bn(x, WIDTHS[0], 3, strides=2, momentum=0.9, name="stem")
    for n, filters in enumerate(WIDTHS[1:], 2):
        x = residual_unit(x, filters, strides=2, momentum=0.9, name=f"stage{n}")
    return keras.Model(image, x, name="trunk")


def scenes(part: pipelines.Samples, names: tuple[str, ...], length: int, *, seed: int) -> tf.data.Dataset:
    """Padded batches of scenes of these digits."""
    made = pipelines.SyntheticScenes(pipelines.cut_out(part, names), length, size=SIZE, seed=seed)
    dataset = pipelines.scene_dataset(list(made))
    return dataset.map(lambda sample: sample | {"image": tf.ensure_shape(sample["image"], (*SIZE, 3))})


def evaluate(model: keras.Model, batches: tf.data.Dataset, num_classes: int) -> CocoResult:
    truths: list[dict] = []
    found: list[dict] = []
    for batch in batches:
        truths += unbatch({name: batch[name] for name in ("boxes", "classes")})
        detections = model.detect(batch["image"])
        found += unbatch({name: detections[name] for name in ("boxes", "classes", "scores")})
    return coco(truths, found, num_classes=num_classes)


def measure(name: str, data: pipelines.Data, arguments: argparse.Namespace) -> dict[str, float]:
    """Makes and trains one detector; its average precision and seconds."""
    keras.utils.set_random_seed(arguments.seed)
    rate, num_classes = DETECTORS.get(name, 2e-3), len(data.class_names)
    if name == "efficientdet_d0":
        # Published for images of 512 pixels: of digits this small, a tenth would overlap no anchor by half.
        model = detection.EfficientDet(trunk(), num_classes, anchor_scale=3.0)
    elif arguments.backbone is None:
        model = detection.create(name, backbone=trunk(), num_classes=num_classes, image_size=SIZE)
    else:
        model, rate = new_detector(name, arguments.backbone, num_classes, SIZE)[0], rate / 4
    return learn(model, data, rate, length=arguments.scenes, epochs=arguments.epochs, seed=arguments.seed)


def learn(
    model: keras.Model, data: pipelines.Data, rate: float, *, length: int, epochs: int, seed: int
) -> dict[str, float]:
    """Trains a detector on so many scenes; its average precision and seconds."""
    classes = tuple(data.class_names)
    train = scenes(data.train, classes, length, seed=seed)
    shuffled = pipelines.padded_batches(train.shuffle(length, seed=seed), BATCH)
    tested = scenes(data.test, classes, max(1, min(length // 10, TESTED)), seed=seed + 1)
    test = pipelines.padded_batches(tested, BATCH)
    steps = epochs * -(-length // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 20, steps - steps // 20, warmup_target=rate, warmup_steps=steps // 20
    )
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY, clipnorm=CLIP_NORM))
    start, processor = time.perf_counter(), time.process_time()
    model.fit(shuffled, epochs=epochs, verbose=2)
    seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor
    result = evaluate(model, test, len(classes))
    return {
        "map50": result.average_precision(threshold=0.5),
        "map": result.average_precision(),
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "parameters": model.count_params(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", choices=detection.list_detectors(), help="by default the smallest of each kind")
    parser.add_argument("--scenes", type=int, default=12000, help="to learn from")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--backbone", help="of all but EfficientDet: one of transfer.list_backbones()")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = pipelines.read_data("sklearn:digits")
    figures = {}
    for name in [arguments.detector] if arguments.detector else DETECTORS:
        figures[name] = {key: round(value, 4) for key, value in measure(name, data, arguments).items()}
        print(f"{name:<18} AP50 {figures[name]['map50']:.3f}  AP {figures[name]['map']:.3f}", flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
