"""Models that were trained in less than float32, as models that compute in float32."""

from typing import Any

import keras

from zoo.surgery.state import copy_state

__all__ = ["in_float32"]

OTHERS = ("float16", "bfloat16", "float64")  # What a layer may compute in instead.


def in_float32(model: keras.Model) -> keras.Model:
    """Returns a copy of a model in which all layers compute in float32; the model itself if they do so already.

    Runtimes differ in what they can do in 16 bits, and in how they round, so that only float32 can be proven.

    Args:
        model: A model that Keras can save, under any dtype policies.

    Example:

    >>> image = keras.Input((4,))
    >>> model = keras.Model(image, keras.layers.Dense(2, dtype="mixed_bfloat16")(image))
    >>> in_float32(model).layers[-1].compute_dtype, model.layers[-1].compute_dtype
    ('float32', 'bfloat16')
    """
    if not any(layer.compute_dtype in OTHERS for layer in model._flatten_layers()):
        return model
    copy = type(model).from_config(_in_float32(model.get_config()))
    copy_state(model, copy)
    return copy


def _in_float32(config: Any) -> Any:
    """Returns the configuration of a layer, or a part of it, with float32 for each policy."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {"name": "float32"}}
        return {
            name: "float32" if name == "dtype" and _is_other(value) else _in_float32(value)
            for name, value in config.items()
        }
    return type(config)(map(_in_float32, config)) if isinstance(config, list | tuple) else config


def _is_other(policy: Any) -> bool:
    return isinstance(policy, str) and policy.removeprefix("mixed_") in OTHERS
