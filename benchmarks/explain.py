"""How fast Grad-CAM is, and whether its maps can be trusted.

    python -m benchmarks.explain speed
    python -m benchmarks.explain deletion DATA
    python -m benchmarks.explain pointing

`speed`: Grad-CAM of 32 images on EfficientNet-Lite0 at 224, against one compiled forward and backward pass of the
whole network; the target is at most 2.5 times its time. `deletion`: DATA is a folder with `train` and `val`, each with
a folder for each class, such as the hymenoptera photos; a head is trained on EfficientNet-Lite0, and the area under the
deletion curve of Grad-CAM on `val` is compared with that of a blob in the centre. `pointing`: a small network learns
the shapes of synthetic scenes; the target is that the largest value of Grad-CAM lies in the object's mask in 90% of
the images. Each prints one line of JSON.
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

import transfer
import zoo
from transfer.predict.photos import photos_in, pixels_of
from zoo.explain import deletion, grad_cam


def speed(rounds: int = 5) -> dict[str, float]:
    """Seconds of both, in turns, as medians, and their ratio."""
    model = zoo.create_model("efficientnet_lite0", weights=None)
    images = np.random.default_rng(0).integers(0, 256, (32, 224, 224, 3)).astype("uint8")
    labels = tf.zeros(32, tf.int32)
    weights = model.trainable_variables

    @tf.function
    def one_pass(batch):
        with tf.GradientTape() as tape:
            loss = keras.losses.sparse_categorical_crossentropy(labels, model(batch, training=False))
        return tape.gradient(loss, weights)

    batch = tf.constant(images, tf.float32)
    seconds: dict[str, list[float]] = {"grad_cam": [], "forward_and_backward": []}
    for turn in range(rounds + 1):
        for name, function in (
            ("grad_cam", lambda: grad_cam(model, images, 1)),
            (
                "forward_and_backward",
                lambda: [gradient.numpy() for gradient in one_pass(batch) if gradient is not None],
            ),
        ):
            start = time.perf_counter()
            function()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    ratios = [ours / theirs for ours, theirs in zip(*seconds.values(), strict=True)]
    medians = {name: round(float(np.median(values)), 3) for name, values in seconds.items()}
    return {**medians, "ratio": round(float(np.median(ratios)), 3)}


def deletion_areas(data: Path) -> dict[str, float]:
    """Mean areas under the deletion curve, of Grad-CAM and of a blob in the centre."""
    trunk = transfer.backbone("efficientnet_lite0")
    names = sorted(folder.name for folder in (data / "train").iterdir())

    def crops(part: str) -> tuple[np.ndarray, np.ndarray]:
        photos = [(photo, number) for number, name in enumerate(names) for photo in photos_in(data / part / name)]
        return np.stack([trunk.crop.on_photo(pixels_of(photo)) for photo, _ in photos]), np.array(
            [n for _, n in photos]
        )

    (images, labels), (others, classes) = crops("train"), crops("val")
    pool = keras.Sequential([trunk.model, keras.layers.GlobalAveragePooling2D()])
    head = LogisticRegression(C=0.1, max_iter=2000).fit(_in_batches(pool, images), labels)
    image = keras.Input(trunk.model.input_shape[1:])
    dense = keras.layers.Dense(1, "sigmoid")
    model = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(trunk.model(image))))
    dense.set_weights([head.coef_.T, head.intercept_])
    accuracy = float(np.mean((_in_batches(model, others)[:, 0] > 0.5) == classes))
    height, width = others.shape[1:3]
    rows, columns = np.mgrid[:height, :width]
    blob = np.exp(-(((rows - height / 2) / height) ** 2 + ((columns - width / 2) / width) ** 2) * 8)
    maps = {"grad_cam": grad_cam(model, others), "centre": np.broadcast_to(blob, others.shape[:3])}
    areas = {name: deletion(model, others, own, steps=10).areas for name, own in maps.items()}
    better = float(np.mean(areas["grad_cam"] < areas["centre"]))
    means = {name: round(float(own.mean()), 4) for name, own in areas.items()}
    return {"accuracy": round(accuracy, 4), **means, "better_than_the_centre": round(better, 3)}


def pointing(count: int = 2000, epochs: int = 6) -> dict[str, float]:
    """The share of scenes in which the maximum of Grad-CAM lies inside of the object's mask."""
    images, masks, labels = scenes(count)
    test = slice(0, count // 10)
    train = slice(count // 10, count)
    keras.utils.set_random_seed(0)
    image = keras.Input(images.shape[1:])
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    for filters, strides in ((16, 2), (32, 2), (64, 1), (64, 1)):
        x = keras.layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    model = keras.Model(image, keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(x)))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images[train], labels[train], batch_size=64, epochs=epochs, verbose=2)
    accuracy = float(model.evaluate(images[test], labels[test], verbose=0)[1])
    maps = grad_cam(model, images[test], labels[test])
    best = maps.reshape(len(maps), -1).argmax(axis=1)
    inside = masks[test].reshape(len(maps), -1)[np.arange(len(maps)), best]
    return {"accuracy": round(accuracy, 4), "inside": round(float(inside.mean()), 4)}


def scenes(count: int, size: tuple[int, int] = (64, 80)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images of one disc, square or triangle on noise, its mask, and which it is; all in colours that tell nothing."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[: size[0], : size[1]]
    images = random.normal(random.uniform(60, 190, (count, 1, 1, 3)), 25, (count, *size, 3))
    masks = np.zeros((count, *size), bool)
    labels = random.integers(0, 3, count)
    for number, label in enumerate(labels):
        radius = random.uniform(9, 14)
        y, x = random.uniform(radius, size[0] - radius), random.uniform(radius, size[1] - radius)
        down, right = rows - y, columns - x
        masks[number] = (
            down**2 + right**2 < radius**2,
            np.maximum(abs(down), abs(right)) < 0.88 * radius,
            (down < radius * 0.8) & (2 * abs(right) < down + radius),
        )[label]
        images[number][masks[number]] = random.normal(random.uniform(0, 255, 3), 15, (int(masks[number].sum()), 3))
    return np.clip(images, 0, 255).astype("uint8"), masks, labels.astype("int32")


def _in_batches(model: keras.Model, images: np.ndarray) -> np.ndarray:
    parts = [model(images[start : start + 32].astype("float32"), training=False) for start in range(0, len(images), 32)]
    return np.concatenate([np.asarray(part) for part in parts])


def main() -> None:
    """Runs one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["speed", "deletion", "pointing"])
    parser.add_argument("data", type=Path, nargs="?", help="for deletion")
    options = parser.parse_args()
    if options.part == "deletion":
        if options.data is None:
            parser.error("deletion needs DATA")
        print(json.dumps(deletion_areas(options.data)))
    else:
        print(json.dumps({"speed": speed, "pointing": pointing}[options.part]()))


if __name__ == "__main__":
    main()
