"""Random changes of training images that leave their class as it is."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = ["POLICIES", "augment", "augmentation"]

# Columns: rotation as a fraction of a full turn, zoom as a fraction of the size, contrast as a fraction of itself; each
# drawn evenly from minus to plus this.
POLICIES = {
    "none": None,
    "light": (0.03, 0.10, 0.10),
    "strong": (0.08, 0.25, 0.30),
}


def augmentation(policy: str, *, seed: int = 0) -> list[keras.Layer]:
    """The layers of a named policy: horizontal flip, rotation, zoom and contrast, in that order.

    | policy | flip | rotation | zoom | contrast |
    |---|---|---|---|---|
    | none | - | - | - | - |
    | light | half of the images | ±11° | ±10% | ±10% |
    | strong | half of the images | ±29° | ±25% | ±30% |

    What comes into view at the edges is the image mirrored. Do not flip what has a reading direction (digits,
    letters, traffic signs): leave out the first layer.

    Args:
        policy: `"none"`, `"light"` or `"strong"`.
        seed: of the layers when they are called as such. (`batches` gives them seeds of its own.)

    Returns:
        Keras layers on `float32 [n, h, w, 3]` in 0..255; none for `"none"`.

    Raises:
        ValueError: unknown policy.

    Example:

    >>> [layer.__class__.__name__ for layer in augmentation("light")]
    ['RandomFlip', 'RandomRotation', 'RandomZoom', 'RandomContrast']
    """
    if policy not in POLICIES:
        raise ValueError(f"expected an augmentation policy of {', '.join(POLICIES)}; received {policy!r}")
    ranges = POLICIES[policy]
    if ranges is None:
        return []
    rotation, zoom, contrast = ranges
    # Their own dtype, since under a policy of mixed precision float16 would round colours.
    return [
        keras.layers.RandomFlip("horizontal", seed=seed, dtype="float32"),
        keras.layers.RandomRotation(rotation, seed=seed + 1, dtype="float32"),
        keras.layers.RandomZoom((-zoom, zoom), seed=seed + 2, dtype="float32"),
        keras.layers.RandomContrast(contrast, seed=seed + 3, dtype="float32"),
    ]


def augment(images: Any, layers: Sequence[keras.Layer], seed: Any) -> tf.Tensor:
    """Apply Keras' random image layers with a given seed instead of the state that each layer keeps.

    State would make a batch depend on how many were drawn before it, in whatever order threads drew them.

    Args:
        images: `float32 [n, h, w, 3]` in 0..255.
        layers: Keras' `Random*` image layers, or others with their methods `get_random_transformation` and
            `transform_images`.
        seed: scalar integer, possibly a tensor. The same seed and images give the same result.

    Returns:
        `float32 [n, h, w, 3]`.

    Example:

    >>> import numpy as np
    >>> images = np.random.default_rng(0).uniform(0, 255, [2, 8, 6, 3])
    >>> layers = augmentation("strong")
    >>> bool(tf.reduce_all(augment(images, layers, 5) == augment(images, layers, 5)))
    True
    """
    images = tf.convert_to_tensor(images)
    for position, layer in enumerate(layers):
        draws = _Draws(seed, position)
        change = layer.get_random_transformation(images, training=True, seed=draws)
        images = layer.transform_images(images, change, training=True)
    return images


class _Draws(keras.random.SeedGenerator):
    """Seeds for one layer and one batch, without state between batches."""

    def __init__(self, seed: Any, position: int) -> None:
        self._seed = tf.cast(seed, tf.uint32)
        self._number = 100 * position  # no layer draws as often

    def next(self, ordered: bool = True) -> tf.Tensor:
        self._number += 1
        return tf.stack([self._seed, tf.constant(self._number, tf.uint32)])
