"""Noise, blur and erasing."""

import tensorflow as tf

from pipelines.augmenting.padding import size_of
from pipelines.augmenting.sampling import Factor, between, interval, per_image, probability, uniform, window_masks
from pipelines.augmenting.transforms import Change, Sample, register

__all__ = ["Pixels", "RandomErasing", "RandomGaussianBlur", "RandomGaussianNoise"]


class Pixels(Change):
    is_matrix = False


@register
class RandomGaussianNoise(Pixels):
    """Adds noise, drawn for each pixel and channel.

    Args:
        stddev: its standard deviation, in 0..255; a number s is drawn from (0, s) for each image.

    Example:

    >>> RandomGaussianNoise(10.0, seed=1)(tf.zeros([2, 6, 9, 3]), training=True).shape
    TensorShape([2, 6, 9, 3])
    """

    def __init__(self, stddev: Factor = 10.0, *, seed: int | None = None, name: str | None = None) -> None:
        super().__init__(seed=seed, name=name)
        self.stddev = interval("RandomGaussianNoise", "stddev", stddev, 0, 255, one_sided=True)

    def change(self, sample: Sample, seed: tf.Tensor) -> Sample:
        images = sample["image"]
        (u,) = uniform(seed, tf.shape(images)[0], 1)
        noise = tf.random.stateless_normal(tf.shape(images), seed + 1)
        noisy = images + per_image(between(u, self.stddev)) * noise
        return {**sample, "image": tf.ensure_shape(tf.clip_by_value(noisy, 0.0, 255.0), images.shape)}


@register
class RandomGaussianBlur(Pixels):
    """Blurs images; beyond the edges they are taken as mirrored.

    Args:
        factor: how likely an image is to be blurred, 0..1. A pair is the range that this is drawn from.
        kernel_size: odd, in pixels, up to 15; three times `sigma` to each side are enough.
        sigma: standard deviation of the kernel, in pixels; a number s is drawn from (0, s) for each image.
    """

    def __init__(
        self,
        factor: Factor = 1.0,
        kernel_size: int = 3,
        sigma: Factor = 1.0,
        *,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(seed=seed, name=name)
        self.factor = interval("RandomGaussianBlur", "factor", probability(factor), 0, 1)
        self.sigma = interval("RandomGaussianBlur", "sigma", sigma, 0, 10, one_sided=True)
        if kernel_size not in range(1, 16, 2):
            raise ValueError(f"RandomGaussianBlur: expected an odd `kernel_size` in 1..15, received {kernel_size!r}")
        self.kernel_size = kernel_size

    def change(self, sample: Sample, seed: tf.Tensor) -> Sample:
        images = sample["image"]
        u = uniform(seed, tf.shape(images)[0], 3)
        is_blurred = u[0] < between(u[1], self.factor)
        sigma = tf.maximum(between(u[2], self.sigma), 1e-3)
        reach = self.kernel_size // 2
        distances = tf.range(-reach, reach + 1, dtype=tf.float32)
        weights = tf.nn.softmax(-0.5 * (distances / sigma[:, None]) ** 2)  # [n, kernel_size]
        blurred = images
        for axis in (1, 2):
            length = size_of(images)[axis - 1]
            paddings = [[reach * (side == axis)] * 2 for side in range(4)]
            padded = tf.pad(blurred, paddings, "SYMMETRIC")
            shifted = [tf.gather(padded, tf.range(shift, shift + length), axis=axis) for shift in range(2 * reach + 1)]
            blurred = tf.add_n([per_image(weights[:, i]) * image for i, image in enumerate(shifted)])
        return {**sample, "image": tf.ensure_shape(tf.where(per_image(is_blurred), blurred, images), images.shape)}


@register
class RandomErasing(Pixels):
    """Covers a window of the image. Boxes and masks stay: what is hidden is still there.

    Z. Zhong et al., "Random erasing data augmentation" (2017).

    Args:
        factor: how likely, 0..1. A pair is the range that this is drawn from.
        scale: range of the window's area, as a fraction of the image's. Its shape is drawn from 3:10 to 10:3.
        fill_value: what covers, 0..255; noise when None.
    """

    def __init__(
        self,
        factor: Factor = 1.0,
        scale: Factor = (0.02, 0.33),
        fill_value: float | None = None,
        *,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(seed=seed, name=name)
        self.factor = interval("RandomErasing", "factor", probability(factor), 0, 1)
        self.scale = interval("RandomErasing", "scale", scale, 0, 1, one_sided=True)
        self.fill_value = fill_value

    def change(self, sample: Sample, seed: tf.Tensor) -> Sample:
        images = sample["image"]
        u = uniform(seed, tf.shape(images)[0], 6)
        full_height, full_width = (tf.cast(length, tf.float32) for length in size_of(images))
        area = full_height * full_width * between(u[2], self.scale)
        ratio = tf.exp(between(u[3], (-1.2, 1.2)))  # the logarithms of 3:10 and 10:3
        height = tf.minimum(tf.round(tf.sqrt(area / ratio)), full_height)
        width = tf.minimum(tf.round(tf.sqrt(area * ratio)), full_width)
        covered = window_masks(u, height, width, images) & per_image(u[4] < between(u[5], self.factor))
        if self.fill_value is None:
            cover = 255 * tf.random.stateless_uniform(tf.shape(images), seed + 1)
        else:
            cover = tf.fill(tf.shape(images), float(self.fill_value))
        return {**sample, "image": tf.ensure_shape(tf.where(covered, cover, images), images.shape)}
