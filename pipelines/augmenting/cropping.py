"""Changes of size."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from pipelines.augmenting import warp
from pipelines.augmenting.geometric import Resampled
from pipelines.augmenting.sampling import between, interval
from pipelines.augmenting.transforms import Change, register

__all__ = ["RandomCrop", "RandomResizedCrop", "Resizing"]


@register
class Resizing(Resampled):
    """Stretches images to a size, in the same resampling as the changes before and after it.

    Without antialiasing: for sizes down to about half of the given ones.

    Args:
        height, width: of the result, in pixels.

    Example:

    >>> Resizing(4, 8)(tf.ones([2, 6, 9, 3])).shape
    TensorShape([2, 4, 8, 3])
    """

    def __init__(self, height: int, width: int, *, interpolation: str = "bilinear", name: str | None = None) -> None:
        super().__init__("nearest", interpolation, 0.0, seed=0, name=name)
        self.fill_mode = self.fill_value = None  # nothing beyond the edges is shown
        self.height, self.width = _positive(type(self).__name__, height, width)

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        return self.still(size)

    def still(self, size: warp.Size) -> tf.Tensor:
        return warp.resizing(size, (self.height, self.width))

    def output_size(self, size: warp.Size) -> warp.Size:
        return self.height, self.width


def _positive(layer: str, height: int, width: int) -> tuple[int, int]:
    if not (int(height) == height >= 1 and int(width) == width >= 1):
        raise ValueError(f"{layer}: expected `height` and `width` in pixels, received {height!r} and {width!r}")
    return int(height), int(width)


@register
class RandomCrop(Change):
    """A window of a given size, anywhere in the image; of smaller images, the largest of that shape, enlarged.

    When not training, the largest window of that shape in the middle, resized: as Keras' layer does.

    Args:
        height, width: of the window and the result, in pixels.
    """

    draws = 2

    def __init__(self, height: int, width: int, *, seed: int | None = None, name: str | None = None) -> None:
        super().__init__(seed=seed, name=name)
        self.height, self.width = _positive("RandomCrop", height, width)

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        height, width = warp.lengths(size)
        shrink = tf.minimum(1.0, tf.minimum(height / self.height, width / self.width))
        crop_height, crop_width = shrink * self.height, shrink * self.width
        # Whole pixels, so that a window that need not be enlarged is the image's own pixels.
        top, left = tf.floor(u[:, 0] * (height - crop_height + 1)), tf.floor(u[:, 1] * (width - crop_width + 1))
        top, left = tf.minimum(top, height - crop_height), tf.minimum(left, width - crop_width)
        return warp.window((left, top, left + crop_width, top + crop_height), (self.height, self.width))

    def still(self, size: warp.Size) -> tf.Tensor:
        return _middle(size, (self.height, self.width))

    def output_size(self, size: warp.Size) -> warp.Size:
        return self.height, self.width


def _middle(size: warp.Size, wanted: warp.Size) -> tf.Tensor:
    """The largest window of the wanted shape, in the middle, stretched to the wanted size."""
    height, width = warp.lengths(size)
    scale = tf.minimum(height / wanted[0], width / wanted[1])
    crop_height, crop_width = scale * wanted[0], scale * wanted[1]
    top, left = (height - crop_height) / 2, (width - crop_width) / 2
    return warp.window((left, top, left + crop_width, top + crop_height), wanted)


@register
class RandomResizedCrop(Resizing):
    """A window of random area and shape, anywhere in the image, stretched to one size.

    As Inception was trained (C. Szegedy et al., "Going deeper with convolutions", 2015, section 6). When not
    training, the largest window of the result's shape in the middle.

    Args:
        height, width: of the result, in pixels.
        scale: range of the window's area, as a fraction of the image's.
        ratio: range of its width over its height, evenly drawn in the logarithm. A window that would not fit is as
            high, or as wide, as the image.
        interpolation: "bilinear" or "nearest"; there is no antialiasing.
    """

    draws = 4

    def __init__(
        self,
        height: int,
        width: int,
        *,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(height, width, interpolation=interpolation, name=name)
        self.seed, self.generator = seed, keras.random.SeedGenerator(seed)
        self.scale = interval("RandomResizedCrop", "scale", scale, 1e-4, 1)
        self.ratio = interval("RandomResizedCrop", "ratio", ratio, 0.01, 100)

    def warps(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        height, width = warp.lengths(size)
        area = height * width * between(u[:, 0], self.scale)
        ratio = tf.exp(between(u[:, 1], [math.log(side) for side in self.ratio]))
        crop_width, crop_height = tf.minimum(tf.sqrt(area * ratio), width), tf.minimum(tf.sqrt(area / ratio), height)
        left, top = u[:, 2] * (width - crop_width), u[:, 3] * (height - crop_height)
        return warp.window((left, top, left + crop_width, top + crop_height), (self.height, self.width))

    def still(self, size: warp.Size) -> tf.Tensor:
        return _middle(size, (self.height, self.width))
