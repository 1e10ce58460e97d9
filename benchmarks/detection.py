"""Detectors on blood cells: mean average precision on the test list, from a trunk trained on ImageNet.

    python -m benchmarks.detection ../shared/data/bccd
    python -m benchmarks.detection ../shared/data/bccd --detector retinanet_tiny --seed 1
    python -m benchmarks.detection ../shared/data/bccd --epochs 1 --images 10    # does it run?

The data (BCCD, MIT licence, Pascal VOC's layout) brings its own lists: 205 images to train with, 87 and 72. The photos
have 480 rows and 640 columns; unless told otherwise they are shown at 288 x 384, which leaves no part of the canvas
empty. The recipe is that of `zoo fit --task detect` on EfficientNet-Lite0, with flips in both directions, since cells
have no upright. The weights of the last epoch are measured, so that the validation list chooses nothing.

Prints COCO's table of the test list and the average precision of each class, and last one line of JSON. Figures that
count stand in `benchmarks/RESULTS.md`, with their seeds.
"""

import argparse
import json
import os
import resource
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import pipelines
import transfer
from transfer.measuring.boxes import measure
from transfer.tasks import learning_of
from zoo import detection

BACKBONE = "efficientnet_lite0"


class Say(keras.callbacks.Callback):
    """A line for each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in logs.items())
        print(f"epoch {epoch + 1:2}  {time.perf_counter() - self.start:5.0f} s  {numbers}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="annotated images that `pipelines.read_scenes` reads")
    parser.add_argument("--detector", default="yolo_tiny", choices=detection.list_detectors())
    parser.add_argument("--size", default="288x384", help="height x width of the canvas, in pixels")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--mosaic", type=float, default=0.0, help="share of the epochs whose images are made of four")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--images", type=int, help="take only so many of each list")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the detector, as a .keras file")
    arguments = parser.parse_args()
    start, processor = time.perf_counter(), time.process_time()
    settings = transfer.Detect(
        detector=arguments.detector,
        backbone=BACKBONE,
        image_size=arguments.size,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        mosaic=arguments.mosaic,
        flip="both",
        validations=2,
        seed=arguments.seed,
    )
    learning = learning_of("detect")
    data = pipelines.read_scenes(arguments.folder)
    data = replace(data, **{name: scenes[: arguments.images] for name, scenes in data.splits.items()})
    keras.utils.set_random_seed(arguments.seed)
    built = learning.build(data, settings)
    model, size = built.model, built.contract.preparation.size
    train, valid = learning.batches(data, settings, built, settings.batch_size)
    transfer.fine_tune(
        model,
        train,
        valid,
        objective=learning.objective(data, settings, built),
        plan=learning.plan(settings),
        optimization=learning.optimization(settings),
        seed=settings.seed,
        cache=False,
        callbacks=[Say()],
        progress=False,
    )
    figures = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - processor}
    if arguments.save:
        model.save(arguments.save)
    for part in ("valid", "test"):
        result = measure(model, data.splits[part], data.class_names, size=size).coco
        figures |= {f"{part}_map50": result.average_precision(threshold=0.5), f"{part}_map": result.average_precision()}
    print(result.table())
    for index, precision in result.per_class(threshold=0.5).items():
        print(f" {data.class_names[index]:<10} AP50 = {precision:.3f}")
    figures["gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
