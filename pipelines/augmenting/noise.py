"""Random transforms of single images that are no matrix: noise, blur and erasing."""

import tensorflow as tf

from pipelines.augmenting.padding import size_of
from pipelines.augmenting.sampling import Factor, between, interval, per_image, probability, uniform, window_masks
from pipelines.augmenting.transforms import Sample, Transform, registered_dataclass

__all__ = ["RandomErasing", "RandomGaussianBlur", "RandomGaussianNoise"]


@registered_dataclass
class RandomGaussianNoise(Transform):
    """Adds noise that is independent for each pixel and channel.

    Args:
        stddev: Range of the noise's standard deviation, in 0..255. It is drawn for each image; a number s stands for
            (0, s).
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: `stddev` is out of its range.

    Example:

    >>> RandomGaussianNoise(10.0, seed=1)(tf.zeros([2, 6, 9, 3]), training=True).shape
    TensorShape([2, 6, 9, 3])
    """

    stddev: Factor = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stddev = interval("RandomGaussianNoise", "stddev", self.stddev, 0, 255, one_sided=True)

    def transform_batch(self, sample: Sample, seed: tf.Tensor) -> Sample:
        images = sample["image"]
        (u,) = uniform(seed, tf.shape(images)[0], 1)
        noise = tf.random.stateless_normal(tf.shape(images), seed + 1)
        noisy = images + per_image(between(u, self.stddev)) * noise
        return {**sample, "image": tf.ensure_shape(tf.clip_by_value(noisy, 0.0, 255.0), images.shape)}


@registered_dataclass
class RandomGaussianBlur(Transform):
    """Blurs images. Beyond its edges, an image counts as mirrored.

    Args:
        factor: Probability that an image is blurred, 0..1. Of a pair (low, high), the probability is drawn.
        kernel_size: Width of the kernel in pixels, an odd number in 1..15. Three times `sigma` to each side are
            enough.
        sigma: Range of the kernel's standard deviation in pixels, in 0..10. It is drawn for each image; a number s
            stands for (0, s).
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> spot = tf.constant([[[[0.0] * 3, [90.0] * 3, [0.0] * 3]]])
    >>> RandomGaussianBlur(1.0, kernel_size=3, sigma=(10, 10))(spot, training=True).numpy()[0, 0, :, 0].round().tolist()
    [30.0, 30.0, 30.0]
    """

    factor: Factor = 1.0
    kernel_size: int = 3
    sigma: Factor = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.factor = interval("RandomGaussianBlur", "factor", probability(self.factor), 0, 1)
        self.sigma = interval("RandomGaussianBlur", "sigma", self.sigma, 0, 10, one_sided=True)
        if self.kernel_size not in range(1, 16, 2):
            raise ValueError(
                f"RandomGaussianBlur: expected an odd `kernel_size` in 1..15, received {self.kernel_size!r}"
            )

    def transform_batch(self, sample: Sample, seed: tf.Tensor) -> Sample:
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


@registered_dataclass
class RandomErasing(Transform):
    """Covers a window of the image. Boxes and masks do not change: an object that is hidden is still there.

    Z. Zhong et al., "Random erasing data augmentation" (2017).

    Args:
        factor: Probability that an image is covered, 0..1. Of a pair (low, high), the probability is drawn.
        scale: Range of the window's area, as a fraction of the image's area. A number s stands for (0, s). The
            window's shape is drawn from 3:10 to 10:3.
        fill_value: Value of the covered pixels in 0..255, or None for noise.
        seed: Integer that initialises the layer's state, or None for a new state each time.
        name: Name of the layer.

    Raises:
        ValueError: An argument is out of its range.

    Example:

    >>> RandomErasing(1.0, scale=(0.1, 0.2), seed=1)(tf.ones([2, 6, 9, 3]), training=True).shape
    TensorShape([2, 6, 9, 3])
    """

    factor: Factor = 1.0
    scale: Factor = (0.02, 0.33)
    fill_value: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.factor = interval("RandomErasing", "factor", probability(self.factor), 0, 1)
        self.scale = interval("RandomErasing", "scale", self.scale, 0, 1, one_sided=True)

    def transform_batch(self, sample: Sample, seed: tf.Tensor) -> Sample:
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
