"""Fast style transfer: a network that is trained for one style, and then stylises a photo in one pass.

Source: Johnson et al. 2016, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", section 3, and its
supplement, table 1: three convolutions that shrink the image by 4, residual blocks, and back.

Deliberate deviations: instance norms stand where the paper has batch norms (Ulyanov et al. 2016, "Instance
Normalization: The Missing Ingredient for Fast Stylization"), and the image is enlarged by repeating pixels before a
convolution, without the checkerboards of transposed convolutions (Odena et al. 2016, "Deconvolution and Checkerboard
Artifacts").
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.generative.style import StyleLoss

__all__ = ["StyleNetwork", "style_network"]


def style_network(*, width: int = 32, blocks: int = 5, seed: int = 0) -> keras.Model:
    """Builds the network.

    Args:
        width: Number of channels at full size. Defaults to 32.
        blocks: Number of residual blocks. Defaults to 5.
        seed: Decides the weights.

    Returns:
        A model from photos `[n, h, w, 3]` in 0..255, whose sides are multiples of 4, to images of the same size.

    Raises:
        ValueError: A number is out of range.

    Example:

    >>> style_network(width=4, blocks=1)(np.zeros((1, 8, 12, 3), "float32")).shape
    TensorShape([1, 8, 12, 3])
    """
    if width < 1 or blocks < 0:
        raise ValueError(f"expected width >= 1 and blocks >= 0, got {width} and {blocks}")
    count = 0

    def convolve(x: Any, filters: int, kernel: int, *, strides: int = 1, relu: bool = True, norm: bool = True) -> Any:
        nonlocal count
        count += 1
        start = keras.initializers.HeNormal(seed=seed + count)
        name = f"conv{count}"
        x = keras.layers.Conv2D(filters, kernel, strides, "same", kernel_initializer=start, name=name)(x)
        if norm:
            x = keras.layers.GroupNormalization(groups=-1, epsilon=1e-5, name=f"norm{count}")(x)
        return keras.layers.ReLU(name=f"relu{count}")(x) if relu else x

    image = keras.Input((None, None, 3), name="photo")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = convolve(x, width, 9)
    x = convolve(x, 2 * width, 3, strides=2)
    x = convolve(x, 4 * width, 3, strides=2)
    for number in range(blocks):
        inner = convolve(convolve(x, 4 * width, 3), 4 * width, 3, relu=False)
        x = keras.layers.Add(name=f"add{number + 1}")([x, inner])
    for filters in (2 * width, width):
        x = convolve(keras.layers.UpSampling2D(2)(x), filters, 3)
    x = keras.layers.Activation("tanh", name="tanh")(convolve(x, 3, 9, relu=False, norm=False))
    return keras.Model(image, keras.layers.Rescaling(127.5, offset=127.5, name="image")(x), name="style_network")


class StyleNetwork(keras.Model):
    """A network for one style, which `compile("adam")` and `fit(photos)` train; labels are not needed.

    Args:
        loss: What the style is, and how much it weighs.
        network: The network, as `style_network` builds it. Defaults to one with its defaults.

    Example:

    >>> image = keras.Input((None, None, 3))
    >>> trunk = keras.Model(image, keras.layers.Conv2D(4, 3, strides=2, padding="same", name="stem")(image))
    >>> style = StyleNetwork(StyleLoss(trunk, np.zeros((8, 8, 3)) + 9.0), style_network(width=4, blocks=1))
    >>> style.compile("adam")
    >>> style.fit(np.zeros((2, 8, 12, 3)), verbose=0).epoch
    [0]
    >>> style.stylize(np.zeros((7, 11, 3), "uint8")).shape
    (7, 11, 3)
    """

    def __init__(self, loss: StyleLoss, network: keras.Model | None = None):
        super().__init__(name="fast_style")
        self.network = network or style_network()
        self.style_loss = loss
        self.mean = keras.metrics.Mean(name="loss")
        self.built = True

    @property
    def metrics(self) -> list[Any]:
        return [self.mean]

    def call(self, photos: Any, training: bool = False) -> Any:
        return self.network(photos, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        photos = tf.cast(keras.utils.unpack_x_y_sample_weight(data)[0], tf.float32)
        with tf.GradientTape() as tape:
            images = self.network(photos, training=True)
            value = self.style_loss(images, self.style_loss.content(photos))
        # The trunk, which the loss looks through, is not among these: it stays as it was trained.
        weights = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(value, weights), weights)
        self.mean.update_state(value)
        return {"loss": self.mean.result()}

    def stylize(self, photo: np.ndarray) -> np.ndarray:
        """Stylises one photo of any size, `[h, w, 3]` in 0..255, in one pass; returns uint8 of the same size.

        Raises:
            ValueError: It is no such photo.
        """
        photo = np.asarray(photo, np.float32)
        if photo.ndim != 3 or photo.shape[-1] != 3:
            raise ValueError(f"expected one photo [h, w, 3] in 0..255, got the shape {photo.shape}")
        height, width = photo.shape[:2]
        padded = np.pad(photo, [(0, -height % 4), (0, -width % 4), (0, 0)], mode="edge")
        image = np.asarray(self.network(padded[None], training=False))[0, :height, :width]
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)
