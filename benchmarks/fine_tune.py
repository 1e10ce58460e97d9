"""Fine-tuning beside plain Keras, as its guide and the textbook write it, in one run and with the same backbone.

    python -m benchmarks.fine_tune ../shared/data/hymenoptera
    python -m benchmarks.fine_tune ../shared/data/hymenoptera --seeds 5     # accuracy only, on three data sets
    python -m benchmarks.fine_tune ../shared/data/hymenoptera --views 4     # what a head gains from more views

The peer: `image_dataset_from_directory`, Keras' own augmentation layers (the same kinds of change, of the same size, as
our policy "light"), the whole model in `fit`; its batch norms are frozen, since that is what works. Both use
EfficientNet-Lite0 at 224 pixels with ImageNet's weights, Adam, and batches of 32. Times of ours include everything
after the model is built: reading, converting and extracting. Peer and ours take turns; one round each.

Prints what was measured, and last the ratios as one line of JSON: the peer's time over ours, except for the rate of
steps, which is ours over the peer's. The last results stand in `benchmarks/RESULTS.md`.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import pipelines
import transfer
from benchmarks.fashion_mnist import load as load_fashion_mnist
from transfer.training import freezing
from transfer.training.division import divide
from transfer.training.extraction import extract
from transfer.training.feature_cache import FeatureCache
from transfer.training.fine_tuning import fine_tune

SIZE = (224, 224)
SMALL = (64, 64)  # for digits of 8 x 8 and clothes of 28 x 28 pixels
BATCH = 32
HEAD_EPOCHS, EPOCHS, LONG_HEAD = 3, 10, 10
RATES = 1e-3, 1e-4
PART = 0.3  # of the trunk's layers
BACKBONE = "efficientnet_lite0"


class Reached(keras.callbacks.Callback):
    """When each validation accuracy was first reached, in seconds since it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.start = time.perf_counter()
        self.rows: list[tuple[float, float]] = []

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append((time.perf_counter() - self.start, float(logs["val_accuracy"])))

    @property
    def best(self) -> float:
        return max(accuracy for _, accuracy in self.rows)

    def seconds_to(self, accuracy: float) -> float | None:
        return next((seconds for seconds, found in self.rows if found >= accuracy - 1e-6), None)


def new_model(num_classes: int, seed: int, size: tuple[int, int] = SIZE) -> tuple[keras.Model, transfer.Backbone]:
    keras.backend.clear_session()
    backbone = transfer.backbone(BACKBONE, image_size=size)
    return transfer.classifier(backbone, num_classes, seed=seed), backbone


def compile_for(model: keras.Model, part: str | float, rate: float) -> None:
    freezing.unfreeze(model, part)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])


# The peer


def keras_data(folder: Path, seed: int) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    options = {"image_size": SIZE, "batch_size": BATCH, "seed": seed, "verbose": False}
    train = keras.utils.image_dataset_from_directory(folder / "train", **options)
    valid = keras.utils.image_dataset_from_directory(folder / "val", shuffle=False, **options)
    return augmented(train, seed), valid.prefetch(tf.data.AUTOTUNE)


def augmented(train: tf.data.Dataset, seed: int) -> tf.data.Dataset:
    changes = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal", seed=seed),
            keras.layers.RandomRotation(0.03, seed=seed),
            keras.layers.RandomZoom(0.1, seed=seed),
            keras.layers.RandomContrast(0.1, value_range=(0, 255), seed=seed),
        ]
    )
    changed = train.map(lambda images, labels: (changes(images, training=True), labels), tf.data.AUTOTUNE)
    return changed.prefetch(tf.data.AUTOTUNE)


def peer_recipe(model, train, valid, *, head_epochs: int, epochs: int, callbacks=()) -> float:
    """Best validation accuracy."""
    best = 0.0
    for part, rate, number in (("none", RATES[0], head_epochs), (PART, RATES[1], epochs)):
        if number:
            compile_for(model, part, rate)
            fitted = model.fit(train, validation_data=valid, epochs=number, callbacks=list(callbacks), verbose=0)
            best = max(best, *fitted.history["val_accuracy"])
    return best


# Ours


def our_data(data: pipelines.Data, crop, seed: int) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    augment = pipelines.augmentation("light", seed=seed)
    train = pipelines.batches(data.train, crop, batch_size=BATCH, shuffle=True, augment=augment, seed=seed)
    return train, pipelines.batches(data.valid, crop, batch_size=BATCH)


def our_recipe(model, train, valid, *, head_epochs: int, epochs: int, seed: int, cache=True, callbacks=()) -> float:
    """Best validation accuracy."""
    history = fine_tune(
        model,
        train,
        valid,
        plan=transfer.Plan(
            head_epochs=head_epochs,
            epochs=epochs,
            unfreeze=PART,
            head_learning_rate=RATES[0],
            learning_rate=RATES[1],
        ),
        seed=seed,
        cache=cache,
        callbacks=callbacks,
        progress=False,
    )
    return history.best["val_accuracy"]


PARTS = ("head", "recipe", "steps")


def speed(folder: Path, parts: list[str], seed: int = 0) -> dict[str, float]:
    """Ratios, by name; prints the seconds that they come from."""
    data = pipelines.check_data(pipelines.read_data(folder))
    seconds: dict[str, float] = {}
    ratios: dict[str, float] = {}
    if "head" in parts:
        seconds |= head(folder, data, seed)
        ratios["head_cold"] = seconds["peer, head"] / seconds["ours, head, cold"]
        ratios["head_warm"] = seconds["peer, head"] / seconds["ours, head, warm"]
    if "recipe" in parts:
        seconds |= recipe(folder, data, seed)
        to_best = seconds["peer, recipe, to its best"] / seconds["ours, recipe, to the peer's best"]
        ratios["recipe_to_peers_best"] = to_best
        ratios["whole_recipe"] = seconds["peer, whole recipe"] / seconds["ours, whole recipe"]
    if "steps" in parts:
        seconds |= steps(data, seed)
        ratios["step_rate"] = seconds["peer, a step of the top"] / seconds["ours, a step of the top"]
    for name, value in seconds.items():
        print(f"{name:<34} {value:8.2f} s")
    return ratios


def head(folder: Path, data: pipelines.Data, seed: int) -> dict[str, float]:
    """Seconds of the head's epochs: the peer's, ours from nothing, and ours on stored activations."""
    seconds = {}
    model, _ = new_model(len(data.class_names), seed)
    train, valid = keras_data(folder, seed)
    seconds["peer, head"] = timed(lambda: peer_recipe(model, train, valid, head_epochs=LONG_HEAD, epochs=0))
    with tempfile.TemporaryDirectory() as place:
        cache = FeatureCache(folder=Path(place), key="benchmark")
        for name in ("ours, head, cold", "ours, head, warm"):
            own, backbone = new_model(len(data.class_names), seed)
            start = time.perf_counter()
            ours = our_data(data, backbone.crop, seed)
            our_recipe(own, *ours, head_epochs=LONG_HEAD, epochs=0, seed=seed, cache=cache)
            seconds[name] = time.perf_counter() - start
    return seconds


def recipe(folder: Path, data: pipelines.Data, seed: int) -> dict[str, float]:
    """Seconds of both phases, and until the peer's best validation accuracy was first reached."""
    model, _ = new_model(len(data.class_names), seed)
    train, valid = keras_data(folder, seed)
    peer = Reached()
    peer_recipe(model, train, valid, head_epochs=HEAD_EPOCHS, epochs=EPOCHS, callbacks=[peer])
    own, backbone = new_model(len(data.class_names), seed)
    reached = Reached()
    ours = our_data(data, backbone.crop, seed)
    our_recipe(own, *ours, head_epochs=HEAD_EPOCHS, epochs=EPOCHS, seed=seed, callbacks=[reached])
    print(f"best validation accuracy: peer {peer.best:.3f}, ours {reached.best:.3f}")
    return {
        "peer, recipe, to its best": peer.seconds_to(peer.best) or np.nan,
        "ours, recipe, to the peer's best": reached.seconds_to(peer.best) or np.nan,
        "peer, whole recipe": peer.rows[-1][0],
        "ours, whole recipe": reached.rows[-1][0],
    }


def steps(data: pipelines.Data, seed: int, rounds: int = 7) -> dict[str, float]:
    """Seconds of a training step of the top: of the whole model on images, and of the top on stored activations."""
    whole, backbone = new_model(len(data.class_names), seed)
    train, valid = our_data(data, backbone.crop, seed)
    compile_for(whole, PART, RATES[1])
    division = divide(whole)
    assert division is not None
    stored, _ = extract(division, whole, train.take(1), valid.take(1), FeatureCache(views=1))
    images, labels = next(iter(train))
    top = division.top
    top.compile(keras.optimizers.Adam(RATES[1]), "sparse_categorical_crossentropy", metrics=["accuracy"])
    activations, own_labels = stored.batches()[0]
    taken: dict[str, list[float]] = {"peer, a step of the top": [], "ours, a step of the top": []}
    for _ in range(rounds + 1):
        taken["peer, a step of the top"].append(timed(lambda: whole.train_on_batch(images, labels)))
        taken["ours, a step of the top"].append(timed(lambda: top.train_on_batch(activations, own_labels)))
    return {name: statistics.median(values[1:]) for name, values in taken.items()}


def timed(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# Accuracy


def accuracies(folder: Path, seeds: int, names: list[str]) -> dict[str, dict[str, list[float]]]:
    """Best validation accuracies of the peer and of ours, by data set, one for each seed."""
    found: dict[str, dict[str, list[float]]] = {}
    for name in names:
        found[name] = {"peer": [], "ours": []}
        for seed in range(seeds):
            data = data_set(name, folder, seed)
            size = SIZE if name == "hymenoptera" else SMALL
            model, backbone = new_model(len(data.class_names), seed, size)
            if name == "hymenoptera":
                peer = keras_data(folder, seed)
            else:
                plain = pipelines.batches(data.train, backbone.crop, batch_size=BATCH, shuffle=True, seed=seed)
                peer = augmented(plain, seed), pipelines.batches(data.valid, backbone.crop, batch_size=BATCH)
            found[name]["peer"].append(peer_recipe(model, *peer, head_epochs=HEAD_EPOCHS, epochs=EPOCHS))
            model, backbone = new_model(len(data.class_names), seed, size)
            ours = our_data(data, backbone.crop, seed)
            found[name]["ours"].append(our_recipe(model, *ours, head_epochs=HEAD_EPOCHS, epochs=EPOCHS, seed=seed))
            print(name, seed, {who: round(values[-1], 4) for who, values in found[name].items()}, flush=True)
    return found


def views(folder: Path, seeds: int, numbers: tuple[int, ...] = (1, 2, 3, 4, 8)) -> dict[int, float]:
    """Lowest validation loss of the head's 10 epochs, by number of stored views; means over seeds."""
    data = pipelines.check_data(pipelines.read_data(folder))
    losses: dict[int, list[float]] = {number: [] for number in numbers}
    for seed in range(seeds):
        model, backbone = new_model(len(data.class_names), seed)
        compile_for(model, "none", RATES[0])
        division = divide(model)
        assert division is not None
        begin = model.get_weights()
        train, valid = our_data(data, backbone.crop, seed)
        stored, held_out = extract(division, model, train, valid, FeatureCache(views=max(numbers)))
        for number, found in losses.items():
            model.set_weights(begin)
            some = replace(stored, arrays=tuple(a[:number] for a in stored.arrays), labels=stored.labels[:number])
            top = division.top
            top.compile(keras.optimizers.Adam(RATES[0]), "sparse_categorical_crossentropy")
            batches = some.batches(seed=seed), held_out.batches()
            fitted = top.fit(batches[0], validation_data=batches[1], epochs=LONG_HEAD, shuffle=False, verbose=0)
            found.append(min(fitted.history["val_loss"]))
    return {number: statistics.mean(found) for number, found in losses.items()}


def data_set(name: str, folder: Path, seed: int) -> pipelines.Data:
    if name == "hymenoptera":
        return pipelines.check_data(pipelines.read_data(folder))
    if name == "digits":
        return pipelines.read_data("sklearn:digits", seed=seed)
    (images, labels), (test_images, test_labels) = load_fashion_mnist()
    rng = np.random.default_rng(seed)

    def some(images: np.ndarray, labels: np.ndarray, n: int) -> pipelines.Samples:
        chosen = rng.choice(len(images), n, replace=False)
        return pipelines.Samples(np.repeat(images[chosen], 3, axis=-1), labels[chosen], [str(i) for i in chosen])

    return pipelines.Data(
        tuple(str(i) for i in range(10)),
        some(images, labels, 2000),
        some(test_images, test_labels, 500),
        some(test_images, test_labels, 0),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with `train` and `val`, each with a folder for each class")
    parser.add_argument("--seeds", type=int, default=0, help="compare accuracies over so many seeds, and no times")
    parser.add_argument("--views", type=int, default=0, help="compare numbers of views over so many seeds, no times")
    parser.add_argument("--data", nargs="+", default=["hymenoptera", "digits", "fashion_mnist"], help="for --seeds")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="of the times")
    arguments = parser.parse_args()
    if arguments.views:
        by_number = views(arguments.folder, arguments.views)
        print(json.dumps({number: round(loss, 4) for number, loss in by_number.items()}))
        return
    if arguments.seeds:
        found = accuracies(arguments.folder, arguments.seeds, arguments.data)
        medians = {
            name: {who: statistics.median(values) for who, values in each.items()} for name, each in found.items()
        }
        print(json.dumps({name: round(each["ours"] - each["peer"], 4) for name, each in medians.items()}))
        return
    print(json.dumps({name: round(ratio, 2) for name, ratio in speed(arguments.folder, arguments.parts).items()}))


if __name__ == "__main__":
    main()
