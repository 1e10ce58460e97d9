"""Images of any source as a network is shown them when it is measured: prepared, in order, with the photos' sizes."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipelines.data import Samples, Scene
from pipelines.loading.scene_batches import sample_dataset, scene_dataset
from pipelines.prepare.preparation import Preparation

__all__ = ["canvases"]


def canvases(
    part: Samples | Sequence[Scene], preparation: Preparation, *, batch_size: int = 32, mirrored: bool = False
) -> tf.data.Dataset:
    """Prepares the images of a split for a network, batch by batch and in their order.

    Every format that `pipelines.decode_any` reads is decoded, at its full size.

    Args:
        part: The samples or scenes. There may be none.
        preparation: How a photo gets onto the canvas, for example an `EvaluationCrop`.
        batch_size: Number of images in a batch. Defaults to 32.
        mirrored: Whether the canvases are mirrored, left to right. Defaults to False.

    Returns:
        A `tf.data.Dataset` of canvases, `float32 [b, H, W, 3]` in 0..255, and the height and width of their photos,
        `int32 [b, 2]`.

    Raises:
        ValueError: a `batch_size` below 1.

    Example:

    >>> import numpy as np
    >>> from pipelines import EvaluationCrop
    >>> scenes = [Scene(np.zeros([8 + n, 9, 3], np.uint8), f"{n}", (8 + n, 9)) for n in range(3)]
    >>> batches = canvases(scenes, EvaluationCrop((4, 6)), batch_size=2)
    >>> [(images.shape.as_list(), sizes.numpy().tolist()) for images, sizes in batches]
    [([2, 4, 6, 3], [[8, 9], [9, 9]]), ([1, 4, 6, 3], [[10, 9]])]
    """
    if batch_size < 1:
        raise ValueError(f"canvases: expected a batch_size of 1 or more, received {batch_size}")
    if not len(part):
        nothing = tf.zeros([0, *preparation.size, 3]), tf.zeros([0, 2], tf.int32)
        return tf.data.Dataset.from_tensor_slices(nothing).batch(batch_size)

    @tf.autograph.experimental.do_not_convert
    def prepare(sample: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
        canvas = preparation(sample["image"])
        return canvas[:, ::-1] if mirrored else canvas, tf.shape(sample["image"])[:2]

    images = sample_dataset(part) if isinstance(part, Samples) else scene_dataset(part)
    return images.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)
