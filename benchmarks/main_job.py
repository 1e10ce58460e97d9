"""The main job, from a folder of photos to a proven export and a report, beside what a person would write by hand.

    python -m benchmarks.main_job PHOTOS
    python -m benchmarks.main_job sklearn:digits --image-size 64 --augment none --seeds 1

Each row is a process of its own, so that nothing is warm: `zoo fit --fast`, `zoo fit`, and the plain Keras recipe (two
calls of `fit`, on images that Keras reads, without any export). A last row is scikit-learn's cross-validated logistic
regression on the same backbone's features, for the accuracy alone. It prints a table and then one line of JSON. The
last results stand in `benchmarks/RESULTS.md`.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS = ("fast", "fit", "keras", "sklearn")


def zoo_fit(data: str, seed: int, options: argparse.Namespace, *, fast: bool) -> float:
    """Runs the main job, and returns the accuracy on held-out photos."""
    import transfer

    settings = transfer.Classify(
        fast=fast, seed=seed, augment=options.augment, image_size=options.image_size, audit=False
    )
    with tempfile.TemporaryDirectory() as place:
        metrics = transfer.fit(data, Path(place) / "run", settings, progress=False).metrics
    return metrics["valid_accuracy"]


def held_out(data: str, seed: int, options: argparse.Namespace):
    """Returns the backbone, and batches of the training and validation photos as `zoo fit` splits them."""
    from pipelines import batches, read_data
    from transfer.models.backbones import backbone

    trunk = backbone("efficientnet_lite0", image_size=options.image_size)
    splits = read_data(data, seed=seed)
    train = batches(splits.train, trunk.crop, shuffle=True, seed=seed)
    return trunk, train, batches(splits.valid, trunk.crop), len(splits.class_names)


def plain_keras(data: str, seed: int, options: argparse.Namespace) -> float:
    """Trains as the Keras guide on transfer learning does: 3 epochs of the head, and 10 of the top 30% with it."""
    import keras

    keras.utils.set_random_seed(seed)
    trunk, train, valid, classes = held_out(data, seed, options)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(trunk.model(trunk.model.input, training=False)))
    model = keras.Model(trunk.model.input, keras.layers.Dense(classes, activation="softmax")(x))
    best = 0.0
    for rate, epochs, share in ((1e-3, 3, 0.0), (1e-4, 10, 0.3)):
        first = round((1 - share) * len(trunk.model.layers))
        trunk.model.trainable = True
        for number, layer in enumerate(trunk.model.layers):
            layer.trainable = number >= first and not isinstance(layer, keras.layers.BatchNormalization)
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", ["accuracy"])
        history = model.fit(train, validation_data=valid, epochs=epochs, verbose=0)
        best = max(best, *history.history["val_accuracy"])
    return best


def scikit_learn(data: str, seed: int, options: argparse.Namespace) -> float:
    """Fits a cross-validated logistic regression on standardised features of the frozen backbone."""
    import keras
    import numpy as np
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    trunk, train, valid, _ = held_out(data, seed, options)
    pooled = keras.Model(trunk.model.input, keras.layers.GlobalAveragePooling2D()(trunk.model.output))
    parts = []
    for dataset in (train, valid):
        pairs = [(pooled(images, training=False), labels) for images, labels in dataset]
        parts.append(tuple(np.concatenate([np.asarray(pair[i]) for pair in pairs]) for i in (0, 1)))
    model = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=8, cv=5, max_iter=300))
    return model.fit(*parts[0]).score(*parts[1])


def one(way: str, data: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Runs one way in this process; seconds of imports are apart."""
    import tensorflow  # noqa: F401

    import transfer

    transfer.fit, transfer.Classify  # noqa: B018  What is loaded lazily is loaded here.
    start, cpu = time.perf_counter(), processor_seconds()
    accuracy = {
        "fast": lambda: zoo_fit(data, seed, options, fast=True),
        "fit": lambda: zoo_fit(data, seed, options, fast=False),
        "keras": lambda: plain_keras(data, seed, options),
        "sklearn": lambda: scikit_learn(data, seed, options),
    }[way]()
    work = processor_seconds() - cpu
    return {"accuracy": accuracy, "seconds": time.perf_counter() - start, "cpu": work, "imports_cpu": cpu}


def processor_seconds() -> float:
    """Returns the processor time of this process and of those that it started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> None:
    """Runs each way with each seed, and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--augment", default="light")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--one", nargs=2, metavar=("WAY", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one[0], options.data, int(options.one[1]), options)))
        return
    results: dict[str, dict[str, float]] = {}
    for way in options.ways.split(","):
        rows = []
        for seed in range(options.seeds):
            command = [sys.executable, "-m", "benchmarks.main_job", *sys.argv[1:], "--one", way, str(seed)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append(json.loads(answer.splitlines()[-1]))
        results[way] = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        shown = "  ".join(f"{name} {value:7.3f}" for name, value in results[way].items())
        print(f"{way:8} {shown}", flush=True)
    print(json.dumps({"data": Path(options.data).name, "seeds": options.seeds, **results}))


if __name__ == "__main__":
    main()
