"""Rescaling of values, by Keras' own layer: a pipeline carries 0..255, and a model rescales what it takes by itself."""

from keras.layers import Rescaling

__all__ = ["Rescaling"]
