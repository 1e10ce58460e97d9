"""Keras' global settings, which leak into every model: checked in one place before anything is built or trained.

A dtype policy needs no check: layers that are there keep their own, `transfer.fit` sets one for the layers that it
makes, and exported models compute in float32 whatever the policy is.
"""

import json
import os
from pathlib import Path

__all__ = ["check_backend", "check_keras_settings"]


def check_backend() -> None:
    """Checks which library Keras is going to compute with, before Keras is imported.

    Raises:
        ValueError: It is not TensorFlow.
    """
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        chosen = json.loads((home / "keras.json").read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        chosen = "tensorflow"
    _check_is_tensorflow(os.environ.get("KERAS_BACKEND") or chosen)


def check_keras_settings() -> None:
    """Checks Keras' backend, the order of its axes, and its number type.

    Raises:
        ValueError: A setting is none that models of this project work with; the message says how to change it.
    """
    import keras

    _check_is_tensorflow(keras.config.backend())
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "Keras is set to channels_first, and images here are [n, height, width, channels]: call "
            "keras.config.set_image_data_format('channels_last') before any layer is made"
        )
    if keras.config.floatx() != "float32":
        raise ValueError(
            f"Keras is set to {keras.config.floatx()}, and images and weights here are float32: call "
            "keras.config.set_floatx('float32') before any layer is made; for less memory, take precision='bfloat16' "
            "(--precision) or a mixed policy"
        )


def _check_is_tensorflow(backend: str) -> None:
    if backend != "tensorflow":
        raise ValueError(
            f"Keras is set to compute with {backend}, and this project needs TensorFlow: set KERAS_BACKEND=tensorflow "
            "before Keras is imported, or change it in ~/.keras/keras.json"
        )
