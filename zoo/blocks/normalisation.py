"""Converts images from the range 0..255 to the range of values that a network was trained on."""

import math

import keras
import numpy as np

__all__ = ["CAFFE_MEAN", "IMAGENET_MEAN", "IMAGENET_STD", "normalise"]

# Mean and standard deviation of the training photos of ImageNet, as fractions of 255, in the order RGB.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Mean that networks from Caffe subtract, in the range 0..255, in the order RGB.
CAFFE_MEAN = (123.68, 116.779, 103.939)


def normalise(image, scheme: str):
    """Converts an RGB image to the range of values that a network was trained on, by layers of the model.

    Args:
        image: Image `[n, h, w, c]` in 0..255.
        scheme: "unit" converts to 0..1. "symmetric" converts to -1..1. "imagenet" converts to 0..1, subtracts the mean
            of ImageNet and divides by its standard deviation. "caffe" subtracts the mean of ImageNet and keeps the
            range of 0..255; the colours stay in the order RGB, because weights that expect BGR are reordered when they
            are read. "none" returns the image unchanged.

    Returns:
        Image `[n, h, w, c]`. "imagenet" and "caffe" have one value for each colour. Where the image has more than three
        channels, the others take these values in turn. Where it has fewer, the channels are repeated until there is
        one for each colour, so that a grey image gives the same result as that image in RGB.

    Raises:
        ValueError: The scheme is unknown.

    >>> normalise(keras.Input((7, 9, 3)), "symmetric").shape
    (None, 7, 9, 3)
    """
    if scheme == "none":
        return image
    if scheme == "unit":
        return keras.layers.Rescaling(1 / 255, name="rescaling")(image)
    if scheme == "symmetric":
        return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescaling")(image)
    if scheme == "imagenet":
        return _by_colour(image, 255 * np.array(IMAGENET_MEAN), 255 * np.array(IMAGENET_STD))
    if scheme == "caffe":
        return _by_colour(image, np.array(CAFFE_MEAN), np.ones(3))
    raise ValueError(f'scheme must be "unit", "symmetric", "imagenet", "caffe" or "none", got {scheme!r}')


def _by_colour(x, mean: np.ndarray, deviation: np.ndarray):
    """Subtracts the mean and divides by the deviation of the colour of each channel.

    The layer is a `Rescaling`, because Keras (3.15) loses the constants of a `Normalization` when it exports to ONNX.
    """
    if (repeats := math.ceil(len(mean) / x.shape[-1])) > 1:
        x = keras.layers.Concatenate(name="colours")([x] * repeats)
    scale, offset = (np.resize(value, x.shape[-1]).tolist() for value in (1 / deviation, -mean / deviation))
    return keras.layers.Rescaling(scale, offset=offset, name="rescaling")(x)
