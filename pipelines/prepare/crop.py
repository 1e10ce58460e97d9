"""From an image of any size to what a network takes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["EvaluationCrop", "central_window", "resize"]

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos3")
_KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic", "lanczos3": "lanczos3"}  # as TensorFlow calls them


def central_window(h: Any, w: Any, size: tuple[int, int], fraction: float) -> tuple[Any, Any, Any, Any]:
    """The window of `EvaluationCrop`: top, left, height and width, as scalar `int32` tensors."""
    import tensorflow as tf  # here, so that a crop can be described without loading TensorFlow

    height, width = size
    fit_h, fit_w = (tf.cast(length, tf.float64) for length in (h, w))
    crop_h = tf.maximum(1, tf.cast(fraction * tf.minimum(fit_h, fit_w * height / width), tf.int32))
    crop_w = tf.maximum(1, tf.cast(fraction * tf.minimum(fit_w, fit_h * width / height), tf.int32))
    return (h - crop_h + 1) // 2, (w - crop_w + 1) // 2, crop_h, crop_w


def resize(images: Any, size: Sequence[Any], interpolation: str, *, antialias: bool = True) -> Any:
    """What `tf.image.resize` gives, bit for bit, and with antialiasing in two thirds of the time.

    The operation behind it adds up rows at the speed of memory, but columns pixel by pixel. So here it resizes heights
    only, of images whose rows are one long column; and once more after they were turned on their side.

    Args:
        images: `[h, w, c]` or `[n, h, w, c]` of any numeric dtype.
        size: height and width, numbers or scalar `int32` tensors.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos3" or "area".
        antialias: average over all pixels that a new one covers; of no effect on "nearest" and "area".

    Returns:
        `[H, W, c]` or `[n, H, W, c]`, `float32` (of the images' dtype if "nearest").
    """
    import tensorflow as tf

    if not antialias or interpolation not in _KERNELS:
        return tf.image.resize(images, size, interpolation)

    def heights(images: tf.Tensor, height: Any) -> tf.Tensor:
        n, h, w, c = tf.unstack(tf.shape(images))
        columns = tf.raw_ops.ScaleAndTranslate(
            images=tf.reshape(images, [n, h, 1, w * c]),
            size=tf.stack([height, 1]),
            scale=tf.stack([tf.cast(height, tf.float32) / tf.cast(h, tf.float32), 1.0]),
            translation=[0.0, 0.0],
            kernel_type=_KERNELS[interpolation],
            antialias=True,
        )
        return tf.reshape(columns, [n, height, w, c])

    batch = images if images.shape.rank == 4 else images[None]
    for length in size:  # turned on its side, an image shows its width as its height; and then it is upright again
        batch = tf.transpose(heights(batch, length), [0, 2, 1, 3])
    height, width = (length if isinstance(length, int) else None for length in size)
    batch = tf.ensure_shape(batch, [images.shape[0] if images.shape.rank == 4 else 1, height, width, images.shape[-1]])
    return batch if images.shape.rank == 4 else batch[0]


@dataclass(frozen=True)
class EvaluationCrop:
    """The central part of an image, resized: how a classifier is shown images when it is evaluated.

    For an image of `h` x `w` pixels and a size of `H` x `W`, the crop is the largest window of the shape `H` : `W`
    that fits, made smaller by `fraction`, in the middle:

        crop_h = max(1, floor(fraction * min(h, w * H / W)))
        crop_w = max(1, floor(fraction * min(w, h * W / H)))
        top, left = (h - crop_h + 1) // 2, (w - crop_w + 1) // 2

    For a square size that is the `fraction` of the shorter side that the authors of EfficientNet-Lite evaluate with
    (`preprocessing.py` in their repository: fraction = size / (size + 32), 0.875 for 224, truncated to whole
    pixels). The window is resized with antialiasing, so that shrinking a large photo averages over pixels instead of
    picking some, as Pillow does; then rounded to whole numbers and clipped to 0..255, since bicubic interpolation
    overshoots. Whole numbers make it possible to cache the result as `uint8` without losing anything: training,
    evaluation and the exported model see the same pixels.

    Args:
        size: `(height, width)` of the result.
        fraction: of the largest window that fits, 0 to 1.
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"` or `"lanczos3"`.

    Raises:
        ValueError: a size below 1, a fraction outside (0, 1], an unknown interpolation.

    Example:

    >>> import numpy as np
    >>> EvaluationCrop(size=(4, 4))(np.full([10, 8, 3], 9, np.uint8)).shape
    TensorShape([4, 4, 3])
    >>> EvaluationCrop.from_dict(EvaluationCrop(size=(192, 192), fraction=1.0).as_dict())
    EvaluationCrop(size=(192, 192), fraction=1.0, interpolation='bicubic')
    """

    size: tuple[int, int] = (224, 224)
    fraction: float = 0.875
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        size = self.size
        if not (isinstance(size, Sequence) and len(size) == 2 and all(int(n) == n >= 1 for n in size)):
            raise ValueError(f"EvaluationCrop: expected `size` as (height, width) in pixels, received {size!r}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"EvaluationCrop: expected `fraction` above 0 and at most 1, received {self.fraction!r}")
        if self.interpolation not in _INTERPOLATIONS:
            raise ValueError(
                f"EvaluationCrop: expected `interpolation` as one of {', '.join(_INTERPOLATIONS)}; "
                f"received {self.interpolation!r}"
            )
        object.__setattr__(self, "size", (int(size[0]), int(size[1])))

    def __call__(self, images: Any) -> Any:
        """Crop and resize.

        Args:
            images: `[h, w, 3]` or `[n, h, w, 3]`, any numeric dtype, values 0..255; in eager mode or in a graph,
                where `h`, `w` and `n` may be unknown.

        Returns:
            `float32 [H, W, 3]` or `[n, H, W, 3]`, whole numbers 0..255.
        """
        import tensorflow as tf

        images = tf.convert_to_tensor(images)
        shape = tf.shape(images)
        h, w = shape[-3], shape[-2]
        top, left, crop_h, crop_w = central_window(h, w, self.size, self.fraction)
        window = images[..., top : top + crop_h, left : left + crop_w, :]
        resized = resize(window, self.size, self.interpolation)
        return tf.clip_by_value(tf.round(tf.cast(resized, tf.float32)), 0.0, 255.0)

    @property
    def needs(self) -> tuple[int, int]:
        """Height and width from which on an image is shrunk and not enlarged: what decoding it smaller has to leave.

        >>> EvaluationCrop().needs
        (256, 256)
        """
        return math.ceil(self.size[0] / self.fraction), math.ceil(self.size[1] / self.fraction)

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {"size": list(self.size), "fraction": self.fraction, "interpolation": self.interpolation}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "EvaluationCrop":
        """The inverse of `as_dict`."""
        return cls(tuple(fields["size"]), fields["fraction"], fields["interpolation"])
