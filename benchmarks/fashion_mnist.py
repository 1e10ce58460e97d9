"""Fashion-MNIST from scratch on a CPU: the textbook's CNN, and a residual network of the zoo's own blocks.

    python -m benchmarks.fashion_mnist basic
    python -m benchmarks.fashion_mnist residual
    python -m benchmarks.fashion_mnist residual --policy mixed_bfloat16  # faster on processors with AMX

The last results stand in `benchmarks/RESULTS.md`.

Prints a line an epoch, then one line of JSON, and writes `benchmarks/records/fashion_mnist_NETWORK.csv`, which the
notebooks draw. The test set decides nothing: both networks are taken as their last epoch leaves them. The data are
those of Debian's package `dataset-fashion-mnist`, or else `keras.datasets`, which downloads them.
"""

import argparse
import csv
import gzip
import json
import math
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import zoo
from zoo.blocks import conv_bn, normalise, residual_unit
from zoo.heads import classifier

RECORDS = Path(__file__).parent / "records"
EPOCHS = {"basic": 8, "residual": 10}
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def read_idx(path: Path) -> np.ndarray:
    """A gzipped IDX file of bytes: two zero bytes, type 8, the number of axes, their sizes as big-endian uint32."""
    raw = gzip.decompress(path.read_bytes())
    axes = raw[3]
    shape = np.frombuffer(raw, ">u4", count=axes, offset=4)
    return np.frombuffer(raw, "uint8", offset=4 + 4 * axes).reshape(shape)


def load():
    """((images, labels), (images, labels)) for training and test: uint8 `[n, 28, 28, 1]` and `[n]`."""
    if DEBIAN.exists():
        splits = [
            (read_idx(DEBIAN / f"{part}-images-idx3-ubyte.gz"), read_idx(DEBIAN / f"{part}-labels-idx1-ubyte.gz"))
            for part in ("train", "t10k")
        ]
    else:
        splits = keras.datasets.fashion_mnist.load_data()
    return [(images[..., None], labels) for images, labels in splits]


def residual_network(widths=(32, 64, 128, 128), momentum: float = 0.9) -> keras.Model:
    """Three residual units behind one convolution: `[n, 28, 28, 1]` in 0..255 -> `[n, 10]`; 36 million MACs."""
    stem, *stages = widths
    image = keras.Input((28, 28, 1), name="image")
    x = conv_bn(normalise(image, "symmetric"), stem, 3, momentum=momentum, name="stem")
    for number, (filters, strides) in enumerate(zip(stages, (2, 2, 1), strict=True), start=1):
        x = residual_unit(x, filters, strides=strides, momentum=momentum, name=f"unit{number}")
    return keras.Model(image, classifier(x, 10), name="residual")


def flipped_and_shifted(images, labels, seed):
    """Each image of a batch mirrored with probability 1/2 and moved by up to 2 pixels, borders black."""
    n = tf.shape(images)[0]
    padded = tf.pad(images, [[0, 0], [2, 2], [2, 2], [0, 0]])
    offset = tf.random.stateless_uniform([n, 2], seed, maxval=5, dtype=tf.int32)
    rows = offset[:, :1] + tf.range(28)[None]
    columns = offset[:, 1:] + tf.range(28)[None]
    mirrored = tf.random.stateless_uniform([n, 1], seed + 1) < 0.5
    columns = tf.where(mirrored, columns[:, ::-1], columns)
    moved = tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
    return moved, labels


class Record(keras.callbacks.Callback):
    """One row an epoch: seconds of training so far, without the time that testing takes.

    `seconds` are the clock's, `processor_seconds` those of all cores, which a busy machine does not change.
    """

    def __init__(self, test):
        super().__init__()
        self.test, self.rows, self.seconds, self.processor_seconds = test, [], 0.0, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.start, self.processor_start = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds += time.perf_counter() - self.start
        self.processor_seconds += time.process_time() - self.processor_start
        spent = {"seconds": round(self.seconds, 1), "processor_seconds": round(self.processor_seconds, 1)}
        row = {"epoch": epoch + 1, **spent, "test_accuracy": measure(self.model, self.test)}
        self.rows.append(row)
        print(row, {name: round(float(value), 4) for name, value in logs.items()}, flush=True)


def train_residual(train, epochs: int, seed: int, record: Record, batch_size: int = 128) -> keras.Model:
    images, labels = train
    steps = len(images) // batch_size
    data = (
        tf.data.Dataset.from_tensor_slices((images, keras.utils.to_categorical(labels, 10)))
        .shuffle(len(images), seed=seed)
        .batch(batch_size, drop_remainder=True)
    )
    counted = tf.data.Dataset.zip((data, tf.data.Dataset.random(seed=seed).batch(2)))
    data = counted.map(lambda pair, seed: flipped_and_shifted(*pair, seed), tf.data.AUTOTUNE).prefetch(2)

    model = residual_network()
    total = steps * epochs
    rate = keras.optimizers.schedules.CosineDecay(
        0.01, total - total // 5, warmup_target=0.2, warmup_steps=total // 5, alpha=0.0
    )
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=5e-4),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy"],
    )
    model.fit(data, epochs=epochs, verbose=0, shuffle=False, callbacks=[record])
    return model


def train_basic(train, epochs: int, seed: int, record: Record, batch_size: int = 32) -> keras.Model:
    """As the chapter does it, with Nadam; its rate falls to zero, so that the last epoch is the best."""
    images, labels = train
    model = zoo.create_model("fashion_cnn", num_classes=10)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, epochs * math.ceil(len(images) / batch_size))
    model.compile(keras.optimizers.Nadam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, batch_size=batch_size, epochs=epochs, callbacks=[record], verbose=0)
    return model


def measure(model, test) -> float:
    """Accuracy on the test set, 0..1."""
    images, labels = test
    predicted = np.concatenate([np.argmax(model(images[i : i + 500]), axis=-1) for i in range(0, len(images), 500)])
    return float(np.mean(predicted == labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=("basic", "residual"))
    parser.add_argument("--epochs", type=int, help="passes over the 60,000 images: 8 for basic, 10 for residual")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policy", default="float32", help="mixed_bfloat16 where the processor multiplies in it (AMX)")
    arguments = parser.parse_args()

    keras.config.set_dtype_policy(arguments.policy)
    keras.utils.set_random_seed(arguments.seed)
    train, test = load()
    train_it = {"basic": train_basic, "residual": train_residual}[arguments.network]
    epochs = arguments.epochs or EPOCHS[arguments.network]
    record = Record(test)
    model = train_it(train, epochs, arguments.seed, record)
    RECORDS.mkdir(exist_ok=True)
    with (RECORDS / f"fashion_mnist_{arguments.network}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, record.rows[0])
        writer.writeheader()
        writer.writerows(record.rows)
    result = {
        "network": arguments.network,
        "epochs": epochs,
        "seed": arguments.seed,
        "policy": arguments.policy,
        "seconds": round(record.seconds),
        "processor_seconds": round(record.processor_seconds),
        "test_accuracy": measure(model, test),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
