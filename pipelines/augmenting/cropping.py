"""Transforms that change the size of images: stretching, cropping, and both at once."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipelines.augmenting import warp
from pipelines.augmenting.geometric import check_interpolation
from pipelines.augmenting.sampling import between, interval
from pipelines.augmenting.transforms import MatrixTransform, register

__all__ = ["RandomCrop", "RandomResizedCrop", "Resizing"]


class _Resized(MatrixTransform):
    """The base class of transforms to one size.

    Args:
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: The height or the width is not a whole number of at least 1.
    """

    def __init__(self, height: int, width: int, *, seed: int | None = None, name: str | None = None) -> None:
        super().__init__(seed=seed, name=name)
        if not (int(height) == height >= 1 and int(width) == width >= 1):
            raise ValueError(
                f"{type(self).__name__}: expected `height` and `width` in pixels, received {height!r} and {width!r}"
            )
        self.height, self.width = int(height), int(width)

    def inference_warp_matrices(self, size: warp.Size) -> tf.Tensor:
        """Returns the largest window of the result's shape, in the middle of the image, stretched to the result."""
        height, width = warp.lengths(size)
        scale = tf.minimum(height / self.height, width / self.width)
        crop_height, crop_width = scale * self.height, scale * self.width
        top, left = (height - crop_height) / 2, (width - crop_width) / 2
        return warp.window((left, top, left + crop_width, top + crop_height), (self.height, self.width))

    def output_size(self, size: warp.Size) -> warp.Size:
        return self.height, self.width


@register
class Resizing(_Resized):
    """Resizes images to a size, in the same resampling as the transforms before and after it.

    Images of another shape are stretched, or cropped if `crop_to_aspect_ratio` is set, as Keras' layer does.

    There is no antialiasing, so the result should not be much smaller than half of the image.

    Args:
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        interpolation: "bilinear" or "nearest".
        crop_to_aspect_ratio: Whether to show the largest window of the result's shape, in the middle of the image,
            instead of stretching the whole image. Defaults to False.
        name: Name of the layer.

    Raises:
        ValueError: The height or the width is not a whole number of at least 1, or `interpolation` is unknown.

    Example:

    >>> Resizing(4, 8)(tf.ones([2, 6, 9, 3])).shape
    TensorShape([2, 4, 8, 3])
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(height, width, seed=0, name=name)
        check_interpolation(interpolation)
        self.interpolation = interpolation
        self.crop_to_aspect_ratio = crop_to_aspect_ratio

    def warp_matrices(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        return self.inference_warp_matrices(size)

    def inference_warp_matrices(self, size: warp.Size) -> tf.Tensor:
        if self.crop_to_aspect_ratio:
            return super().inference_warp_matrices(size)
        return warp.resizing(size, (self.height, self.width))

    def filling(self) -> dict[str, Any]:
        return {"interpolation": self.interpolation}  # it shows nothing beyond the edges


@register
class RandomCrop(_Resized):
    """Cuts out a window of a given size at a random place.

    Of an image that is smaller than the window it takes the largest window of the same shape, and enlarges it. When
    not training, it takes the largest window of that shape in the middle of the image and resizes it, as Keras' layer
    does.

    Args:
        height: Height of the window in pixels, which is also the height of the result.
        width: Width of the window in pixels, which is also the width of the result.
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: The height or the width is not a whole number of at least 1.

    Example:

    >>> RandomCrop(4, 5, seed=1)(tf.ones([2, 6, 9, 3]), training=True).shape
    TensorShape([2, 4, 5, 3])
    """

    num_draws = 2

    def warp_matrices(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        height, width = warp.lengths(size)
        shrink = tf.minimum(1.0, tf.minimum(height / self.height, width / self.width))
        crop_height, crop_width = shrink * self.height, shrink * self.width
        # Whole pixels, so that a window that is not enlarged consists of the image's own pixels
        top, left = tf.floor(u[:, 0] * (height - crop_height + 1)), tf.floor(u[:, 1] * (width - crop_width + 1))
        top, left = tf.minimum(top, height - crop_height), tf.minimum(left, width - crop_width)
        return warp.window((left, top, left + crop_width, top + crop_height), (self.height, self.width))


@register
class RandomResizedCrop(_Resized):
    """Cuts out a window of random area and shape at a random place, and stretches it to one size.

    Inception was trained like this (C. Szegedy et al., "Going deeper with convolutions", 2015, section 6). When not
    training, it takes the largest window of the result's shape in the middle of the image. There is no antialiasing.

    Args:
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        scale: Range of the window's area, as a fraction of the image's area.
        ratio: Range of the window's width divided by its height, drawn evenly in the logarithm. A window that would
            not fit is as high, or as wide, as the image.
        interpolation: "bilinear" or "nearest".
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> RandomResizedCrop(4, 5, scale=(0.5, 1.0), seed=1)(tf.ones([2, 6, 9, 3]), training=True).shape
    TensorShape([2, 4, 5, 3])
    """

    num_draws = 4

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
        super().__init__(height, width, seed=seed, name=name)
        self.scale = interval("RandomResizedCrop", "scale", scale, 1e-4, 1)
        self.ratio = interval("RandomResizedCrop", "ratio", ratio, 0.01, 100)
        check_interpolation(interpolation)
        self.interpolation = interpolation

    def warp_matrices(self, u: tf.Tensor, size: warp.Size) -> tf.Tensor:
        height, width = warp.lengths(size)
        area = height * width * between(u[:, 0], self.scale)
        ratio = tf.exp(between(u[:, 1], [math.log(limit) for limit in self.ratio]))
        crop_width, crop_height = tf.minimum(tf.sqrt(area * ratio), width), tf.minimum(tf.sqrt(area / ratio), height)
        left, top = u[:, 2] * (width - crop_width), u[:, 3] * (height - crop_height)
        return warp.window((left, top, left + crop_width, top + crop_height), (self.height, self.width))

    def filling(self) -> dict[str, Any]:
        return {"interpolation": self.interpolation}
