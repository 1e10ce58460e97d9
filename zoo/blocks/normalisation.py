"""Bringing the colours of an image to what a network was trained on."""

import math

import keras
import numpy as np

__all__ = ["CAFFE_MEAN", "IMAGENET_MEAN", "IMAGENET_STD", "normalise"]

# Statistics of ImageNet's training photos, as fractions of 255, in the order RGB.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# What Caffe's networks subtract, in 0..255, in the order RGB.
CAFFE_MEAN = (123.68, 116.779, 103.939)


def normalise(image, scheme: str):
    """Brings RGB in 0..255 to what a network was trained on, as layers of the model.

    Args:
        image: `[n, h, w, c]` in 0..255.
        scheme: "unit" for 0..1; "symmetric" for -1..1; "imagenet" for 0..1 less ImageNet's mean, over its standard
            deviation; "caffe" for 0..255 less ImageNet's mean (in RGB: where weights want BGR, they are reordered when
            they are read); "none".

    Returns:
        `[n, h, w, c]`. "imagenet" and "caffe" have a value for each colour, which further channels take in turn. Fewer
        than three they repeat until there is one for each colour, so that a grey image becomes what the same image in
        RGB does: no single channel could, since convolutions pad with zeros what has been normalised.

    Raises:
        ValueError: unknown scheme.

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
    raise ValueError(f'scheme is one of "unit", "symmetric", "imagenet", "caffe", "none"; got {scheme!r}')


def _by_colour(x, mean: np.ndarray, deviation: np.ndarray):
    """Less the mean and over the deviation of each channel's colour.

    A `Rescaling`, since the constants of a `Normalization` are lost when Keras (3.15) exports a model to ONNX.
    """
    if (repeats := math.ceil(len(mean) / x.shape[-1])) > 1:
        x = keras.layers.Concatenate(name="colours")([x] * repeats)
    scale, offset = (np.resize(value, x.shape[-1]).tolist() for value in (1 / deviation, -mean / deviation))
    return keras.layers.Rescaling(scale, offset=offset, name="rescaling")(x)
