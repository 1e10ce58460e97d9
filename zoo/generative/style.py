"""Style transfer by optimisation: an image with the content of a photo and the style of a picture.

Source: Gatys et al. 2016, "Image Style Transfer Using Convolutional Neural Networks", equations 1 to 7; the total
variation of Mahendran and Vedaldi 2015, "Understanding Deep Image Representations by Inverting Them", section 3.2.

Deliberate deviations, so that any trunk can take the place of VGG-19: each part of the loss is divided by the squared
size of what it aims at, so that it says by which share the image misses it, whatever the range of the activations; and
the optimisation begins with the photo, not with noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

from zoo.surgery.feature_maps import features, levels

__all__ = ["StyleLoss", "Stylized", "stylize"]

DEEPEST_STYLE = 4  # The number of the deepest level that is used by default.


@dataclass(frozen=True, eq=False)
class Stylized:
    """What style transfer made.

    Attributes:
        image: The image, uint8 `[h, w, 3]`.
        losses: The loss before the first step and after each, in their order.
    """

    image: np.ndarray
    losses: tuple[float, ...]


class StyleLoss:
    """How far images are from the content of some photos and the style of one picture.

    Args:
        trunk: A trained network from images in 0..255 to feature maps; see `zoo.surgery.feature_maps.levels`. One that
            takes images of any size sees the style at its own size; for one of a fixed size it is resized.
        style: The picture of the style, `[h, w, 3]` in 0..255.
        content_level: The level whose maps are the content. Defaults to "c3", or the deepest level above it.
        style_levels: The levels whose Gram matrices are the style. Defaults to those from "c1" to "c4".
        content_weight: Weight of the content. Defaults to 0.02.
        style_weight: Weight of the style. Defaults to 1.
        variation_weight: Weight of the total variation, which holds noise down. Defaults to 0.5.

    Raises:
        ValueError: The trunk has no such level, the picture is smaller than the largest stride, or a weight is
            negative.

    Example:

    >>> image = keras.Input((None, None, 3))
    >>> x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="stem")(image)
    >>> loss = StyleLoss(keras.Model(image, x), np.zeros((8, 12, 3)))
    >>> loss.style_levels, loss.content_level
    (('c1',), 'c1')
    """

    def __init__(
        self,
        trunk: keras.Model,
        style: np.ndarray,
        *,
        content_level: str | None = None,
        style_levels: Sequence[str] | None = None,
        content_weight: float = 0.02,
        style_weight: float = 1.0,
        variation_weight: float = 0.5,
    ):
        known = list(levels(trunk))
        if not known:
            raise ValueError(f"{trunk.name} has no layer whose stride is 2, 4, ...; take the trunk of a network")
        if min(content_weight, style_weight, variation_weight) < 0:
            raise ValueError("expected weights of at least 0")
        self.style_levels = tuple(style_levels or [level for level in known if int(level[1:]) <= DEEPEST_STYLE])
        self.content_level = content_level or max(level for level in known if level <= "c3" or level == known[0])
        wanted = sorted({*self.style_levels, self.content_level})
        self.size = trunk.inputs[0].shape[1:3]
        self.maps = features(trunk, wanted)
        self.weights = content_weight, style_weight, variation_weight
        style = _checked(style, "the style")
        stride = 2 ** max(int(level[1:]) for level in self.style_levels)
        if min(style.shape[:2]) < stride:
            deepest = f"c{stride.bit_length() - 1}"
            raise ValueError(
                f"the picture of the style has {style.shape[0]}x{style.shape[1]} pixels, fewer than the stride "
                f"{stride} of {trunk.name} at {deepest}: take a larger picture, or leave deep levels out, as with "
                'style_levels=["c1", "c2"]'
            )
        maps = self.maps(self.fitted(style[None]), training=False)
        self.grams = {level: _gram(maps[level]) for level in self.style_levels}

    def fitted(self, images: Any) -> Any:
        """Returns images at the size of the trunk, if that has one."""
        images = tf.cast(images, tf.float32)
        size = [own or given for own, given in zip(self.size, images.shape[1:3], strict=True)]
        return images if size == list(images.shape[1:3]) else tf.image.resize(images, size, antialias=True)

    def content(self, photos: Any) -> Any:
        """Returns the content of photos `[n, h, w, 3]`: their maps at the content level."""
        return self.maps(photos, training=False)[self.content_level]

    def __call__(self, images: Any, content: Any) -> Any:
        """Returns the loss of images `[n, h, w, 3]` in 0..255, a scalar.

        Args:
            images: The images.
            content: The content of their photos, as `content` gives it.
        """
        maps = self.maps(images, training=False)
        content_weight, style_weight, variation_weight = self.weights
        loss = content_weight * _share(maps[self.content_level], content)  # equation 1
        for level, gram in self.grams.items():  # equations 4 and 5
            loss += style_weight / len(self.grams) * _share(_gram(maps[level]), gram)
        scaled = images / 255
        down, right = scaled[:, 1:] - scaled[:, :-1], scaled[:, :, 1:] - scaled[:, :, :-1]
        return loss + variation_weight * (tf.reduce_mean(down**2) + tf.reduce_mean(right**2))


def stylize(
    trunk: keras.Model,
    photo: np.ndarray,
    style: np.ndarray,
    *,
    steps: int = 150,
    optimizer: str = "l-bfgs",
    learning_rate: float = 4.0,
    loss: StyleLoss | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Stylized:
    """Makes an image with the content of a photo and the style of a picture.

    Args:
        trunk: A trained network; see `StyleLoss`.
        photo: The photo, `[h, w, 3]` in 0..255.
        style: The picture of the style, `[h, w, 3]` in 0..255.
        steps: Maximum number of steps. Defaults to 150.
        optimizer: "l-bfgs", as in the paper, or "adam".
        learning_rate: Step size of Adam, in units of 0..255. Defaults to 4.
        loss: A loss with other levels or weights. Defaults to `StyleLoss(trunk, style)`.
        progress: A function that is told the number of each step and the loss after it.

    Returns:
        The image at the size of the photo, and the losses.

    Raises:
        ValueError: The trunk, the photo or the picture do not fit each other, or an option is out of range.

    Example:

    >>> image = keras.Input((None, None, 3))
    >>> trunk = keras.Model(image, keras.layers.Conv2D(4, 3, strides=2, padding="same", name="stem")(image))
    >>> photo = np.random.default_rng(0).uniform(0, 255, (8, 12, 3))
    >>> made = stylize(trunk, photo, np.zeros((8, 8, 3)) + 9, steps=3)
    >>> made.image.shape, made.losses[-1] < made.losses[0]
    ((8, 12, 3), True)
    """
    if optimizer not in ("l-bfgs", "adam"):
        raise ValueError(f'expected the optimizer "l-bfgs" or "adam", got {optimizer!r}')
    if steps < 1 or learning_rate <= 0:
        raise ValueError(f"expected steps >= 1 and a positive learning rate, got {steps} and {learning_rate}")
    photo = _checked(photo, "the photo")
    measure = loss or StyleLoss(trunk, style)
    start = measure.fitted(photo[None])
    content = measure.content(start)

    @tf.function(input_signature=[tf.TensorSpec(start.shape, tf.float32)])
    def value_and_gradient(image: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = measure(image, content)
        return value, tape.gradient(value, image)

    losses = [float(value_and_gradient(start)[0])]

    def report(value: float) -> None:
        losses.append(value)
        if progress is not None:
            progress(len(losses) - 1, value)

    descend = _by_l_bfgs if optimizer == "l-bfgs" else _by_adam
    image = tf.constant(descend(value_and_gradient, start.numpy(), steps, learning_rate, report))
    if image.shape[1:3] != photo.shape[:2]:
        image = tf.image.resize(image, photo.shape[:2], "bicubic")
    return Stylized(np.clip(np.rint(image.numpy()[0]), 0, 255).astype(np.uint8), tuple(losses))


def _by_l_bfgs(value_and_gradient, start: np.ndarray, steps: int, learning_rate: float, report) -> np.ndarray:
    """Minimises by L-BFGS within 0..255, which chooses its own step sizes."""
    last = [0.0]

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = value_and_gradient(tf.constant(flat.reshape(start.shape) * 255, tf.float32))
        last[0] = float(value)
        return last[0], 255 * gradient.numpy().ravel().astype(np.float64)

    result = minimize(
        evaluate,
        start.ravel().astype(np.float64) / 255,
        method="L-BFGS-B",
        jac=True,
        bounds=[(0, 1)] * start.size,
        callback=lambda intermediate_result: report(float(intermediate_result.fun)),
        options={"maxiter": steps, "maxfun": 2 * steps, "maxcor": 10, "ftol": 0, "gtol": 0},
    )
    return (result.x.reshape(start.shape) * 255).astype(np.float32)


def _by_adam(value_and_gradient, start: np.ndarray, steps: int, learning_rate: float, report) -> np.ndarray:
    image = tf.Variable(start)
    adam = keras.optimizers.Adam(learning_rate)
    adam.build([image])
    for _ in range(steps):
        _, gradient = value_and_gradient(image)
        adam.apply([gradient], [image])
        image.assign(tf.clip_by_value(image, 0, 255))
        report(float(value_and_gradient(image)[0]))
    return image.numpy()


def _gram(maps: Any) -> Any:
    """Returns the Gram matrices `[n, c, c]` of maps `[n, h, w, c]`, as means over all places."""
    maps = tf.cast(maps, tf.float32)
    places = tf.cast(tf.shape(maps)[1] * tf.shape(maps)[2], tf.float32)
    return tf.einsum("nhwc,nhwd->ncd", maps, maps) / places


def _share(actual: Any, expected: Any) -> Any:
    """Returns by which share of its squared size something is missed, as a mean over the images."""
    axes = list(range(1, expected.shape.rank))
    missed = tf.reduce_sum((actual - expected) ** 2, axis=axes)
    return tf.reduce_mean(missed / (tf.reduce_sum(tf.cast(expected, tf.float32) ** 2, axis=axes) + 1e-8))


def _checked(image: np.ndarray, what: str) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise ValueError(f"{what} is [h, w, 3] in 0..255, got the shape {image.shape}")
    return image.astype(np.float32)
