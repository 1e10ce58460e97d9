"""Predicted memory of a training step against the peak of a real one, each in a process of its own, on the CPU.

    python -m benchmarks.memory
    python -m benchmarks.memory --models DenseNet121 EfficientNetB0 --batch-size 32 --optimizer adam

Models are those of `keras.applications`, with random weights. The measured peak is the most resident memory of the
process over a few steps: TensorFlow's allocator settles after two or three. Prints a table, then one line of JSON with
predicted over measured.
"""

import argparse
import json
import os
import resource
import subprocess
import sys

from rich.console import Console
from rich.table import Table

MODELS = ("ResNet50", "MobileNetV2", "VGG16")


def peak_bytes() -> int:
    """Most resident memory that this process has had; Linux counts it in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def train(name: str, batch_size: int, optimizer: str, dtype: str, steps: int) -> dict:
    """Takes training steps on noise, and returns the peak in bytes: of importing, and of all."""
    import keras
    import numpy as np
    import tensorflow  # noqa: F401  what training loads belongs to the runtime

    imported = peak_bytes()
    keras.config.set_dtype_policy(dtype)
    model = getattr(keras.applications, name)(weights=None)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")
    images = np.random.default_rng(0).uniform(size=(batch_size, *model.input_shape[1:])).astype("float32")
    for _ in range(steps):
        model.train_on_batch(images, np.zeros(batch_size, "int32"))
    return {"imported": imported, "peak": peak_bytes()}


def measured(options: argparse.Namespace, name: str) -> dict:
    command = [sys.executable, "-m", "benchmarks.memory", "--models", name, "--in-this-process"]
    for option in ("batch_size", "optimizer", "dtype", "steps"):
        command += [f"--{option.replace('_', '-')}", str(getattr(options, option))]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def predicted(options: argparse.Namespace, name: str):
    import keras

    import zoo

    model = getattr(keras.applications, name)(weights=None)
    return zoo.predict_memory(model, options.batch_size, options.optimizer, options.dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="names in keras.applications")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--dtype", default="float32", help="dtype policy")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--in-this-process", action="store_true", help="only take the steps, and print the peak")
    options = parser.parse_args()
    if options.in_this_process:
        (name,) = options.models
        print(json.dumps(train(name, options.batch_size, options.optimizer, options.dtype, options.steps)))
        return

    table = Table("model", title=f"A training step of {options.batch_size}, {options.optimizer}, {options.dtype}: MB")
    for column in ("imported", "measured peak", "predicted", "ratio"):
        table.add_column(column, justify="right")
    peaks, predictions = {}, {}
    for name in options.models:
        real, prediction = measured(options, name), predicted(options, name)
        peaks[name], predictions[name] = real["peak"], prediction.total
        numbers = (real["imported"], real["peak"], prediction.total)
        table.add_row(name, *(f"{number / 1e6:,.0f}" for number in numbers), f"{prediction.total / real['peak']:.2f}")
    Console(stderr=False).print(table)
    ratio = {name: round(predictions[name] / peaks[name], 3) for name in peaks}
    settings = {key: getattr(options, key) for key in ("batch_size", "optimizer", "dtype", "steps")}
    print(json.dumps({"benchmark": "memory", **settings, "predicted": predictions, "measured": peaks, "ratio": ratio}))


if __name__ == "__main__":
    main()
