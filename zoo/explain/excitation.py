"""The image that most excites a filter, by gradient ascent from noise."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from zoo.explain.subject import Subject

__all__ = ["exciting_images"]

# The main directions in which the colours of natural photos vary (Olah et al. 2017, "Preconditioning and
# Parameterization"): brightness, blue against yellow, green against magenta. Rows are RGB.
COLOURS = np.array([[1.0, 1.0, 0.4], [1.0, 0.0, -0.8], [1.0, -1.0, 0.4]], np.float32) / 1.8
DECAY = 1.0  # The power of the frequency by which the spectrum of natural photos falls.
BLUR_RADIUS = 3  # Pixels.
LEAK = 0.1  # What places count that the filter is not excited at.


def exciting_images(
    model: keras.Model,
    layer: str,
    filters: Sequence[int],
    *,
    size: tuple[int, int] | None = None,
    steps: int = 256,
    learning_rate: float = 0.05,
    jitter: int = 8,
    blur: float = 1.0,
    fourier: bool = True,
    seed: int = 0,
) -> np.ndarray:
    """Makes, for each of some filters, an image that excites it as much as possible.

    Gradient ascent on the pixels themselves ends in fine noise. So the image is described by its frequencies, the low
    ones of which weigh more, and by uncorrelated colours; and in each step it is moved and blurred a little at random,
    so that only what survives that can grow.

    Source: Olah et al. 2017, "Feature Visualization", Distill, "Regularization" and "Preconditioning and
    Parameterization"; Yosinski et al. 2015, "Understanding Neural Networks Through Deep Visualization", section 3
    (blur).

    Args:
        model: A model with one image input; see `zoo.surgery.flattening.flat`.
        layer: Name of a layer whose output is a map `[n, h, w, c]`.
        filters: Numbers of channels of that layer. All images are made at once.
        size: Height and width of the images in pixels. Defaults to the model's own, or 128 by 128 if that is open.
        steps: Number of steps. Defaults to 256.
        learning_rate: Step size of Adam. Defaults to 0.05.
        jitter: The most pixels by which the image is moved. Defaults to 8.
        blur: The largest standard deviation of the blur, in pixels. Defaults to 1.
        fourier: Whether the image is described by its frequencies. Defaults to True.
        seed: Decides the noise and the moves.

    Returns:
        uint8 `[filters, height, width, channels]`.

    Raises:
        ValueError: The model has no such layer, the layer gives no map or has no such channel, or an option is out of
            range.

    Example:

    >>> model = keras.Sequential([keras.Input((16, 24, 3)), keras.layers.Conv2D(4, 3, name="conv")])
    >>> exciting_images(model, "conv", [0, 2], steps=2).shape
    (2, 16, 24, 3)
    """
    # Before a ReLU, since noise that does not excite a filter at all would have no gradient behind it.
    subject = Subject(model, [layer], rectified=False)
    channels_out = subject.tapped.output["maps"][0].shape[-1]
    numbers = np.asarray(filters)
    if numbers.ndim != 1 or not len(numbers) or np.any((numbers < 0) | (numbers >= channels_out)):
        raise ValueError(f"expected filters in 0..{channels_out - 1}, the channels of {layer}; got {filters}")
    if steps < 1 or jitter < 0 or blur < 0:
        raise ValueError(f"expected steps >= 1, jitter >= 0 and blur >= 0, got {steps}, {jitter} and {blur}")
    own_height, own_width, channels = subject.flat.inputs[0].shape[1:]
    height, width = size or (own_height or 128, own_width or 128)
    random = tf.random.Generator.from_seed(seed)
    start, image_of = (_spectrum if fourier else _pixels)((len(numbers), height, width, channels), random)
    values = tf.Variable(start)
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build([values])

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            images = image_of(values)
            shift = random.uniform([2], -jitter, jitter + 1, tf.int32)
            images = _blurred(tf.roll(images, shift, axis=[1, 2]), blur * random.uniform([]))
            maps = tf.nn.leaky_relu(tf.cast(subject(images)[0][0], tf.float32), LEAK)
            loss = -tf.reduce_sum(tf.gather(tf.reduce_mean(maps, axis=(1, 2)), numbers, axis=1, batch_dims=1))
        optimizer.apply([tape.gradient(loss, values)], [values])

    for _ in range(steps):
        step()
    return np.rint(np.asarray(image_of(values))).astype(np.uint8)


def _pixels(shape, random):
    """Returns noise, and the function from it to images in 0..255."""
    return 0.01 * random.normal(shape), lambda values: 255 * tf.sigmoid(values)


def _spectrum(shape, random):
    """Returns noise, and the function from it, as the frequencies of images, to these images in 0..255."""
    count, height, width, channels = shape
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])  # [height, width // 2 + 1]
    weights = 1 / np.maximum(frequencies, 1 / max(height, width)) ** DECAY * np.sqrt(height * width)
    start = 0.01 * random.normal((count, channels, height, width // 2 + 1, 2))
    mixing = COLOURS if channels == 3 else np.eye(channels, dtype=np.float32)

    def image_of(values):
        spectrum = tf.complex(values[..., 0], values[..., 1]) * tf.constant(weights, tf.complex64)
        planes = tf.signal.irfft2d(spectrum, [height, width])
        colours = tf.einsum("nchw,dc->nhwd", planes, mixing)
        return 255 * tf.sigmoid(colours)

    return start, image_of


def _blurred(images, deviation):
    """Blurs images by a Gaussian."""
    distances = tf.range(-BLUR_RADIUS, BLUR_RADIUS + 1, dtype=tf.float32)
    line = tf.exp(-(distances**2) / (2 * tf.maximum(deviation, 1e-3) ** 2))
    kernel = line[:, None] * line[None] / tf.reduce_sum(line) ** 2
    kernel = tf.tile(kernel[:, :, None, None], [1, 1, images.shape[-1], 1])
    edges = [[0, 0], [BLUR_RADIUS, BLUR_RADIUS], [BLUR_RADIUS, BLUR_RADIUS], [0, 0]]
    return tf.nn.depthwise_conv2d(tf.pad(images, edges, "SYMMETRIC"), kernel, [1, 1, 1, 1], "VALID")
