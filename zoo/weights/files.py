"""Reads the arrays of a file of weights by name, and executes nothing that the file contains.

`zoo.weights.torch_checkpoint` reads the checkpoints of PyTorch.
"""

import os
from pathlib import Path

import h5py
import keras
import numpy as np

import zoo.layers  # noqa: F401  registers the layers of the zoo, which a .keras file may contain

__all__ = ["read_keras", "read_safetensors", "read_weights_h5"]

MAX_REASON = 600  # Number of characters of Keras' messages that errors show.


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays of a `.safetensors` file by their names.

    Arrays of bfloat16, which NumPy does not have, are read as float32.

    Raises:
        ImportError: The package `safetensors` is not installed.
        ValueError: The file is damaged, or of another kind.
    """
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise ImportError(
            f'reading {path} needs the package safetensors: pip install "transfer-zoo[safetensors]"'
        ) from error
    try:
        arrays = load_file(path)
    except OSError:
        raise
    except Exception as error:  # It is a SafetensorError, or of a type of numbers that NumPy does not have a KeyError.
        reason = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} cannot be read as a .safetensors file: {reason}") from error
    return {
        name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array for name, array in arrays.items()
    }


def read_weights_h5(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays of a `.weights.h5` file, which `keras.Model.save_weights` writes.

    Returns:
        The arrays by the name of the layer and the index of the array among its weights: "stem_conv/0". The weights of
        a layer inside another layer have both names: "attention/query/0".

    Raises:
        ValueError: The file is damaged, or of another kind.
    """
    size = Path(path).stat().st_size
    arrays = {}

    def visit(place: str, item) -> None:  # h5py does not call it for links to other files.
        if not (isinstance(item, h5py.Dataset) and place.startswith("layers/")):
            return
        if item.nbytes > size or item.is_virtual or item.external:
            raise ValueError(f"its array {place} is not in the file itself, or claims more bytes than the file holds")
        *groups, _, number = place.split("/")
        if groups[-1] != "seed_generator":  # The state of a random generator is no weight.
            arrays["/".join([*_names(item.file, groups), number])] = np.asarray(item)

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
        if not arrays:
            raise ValueError("it holds no weights of layers")
    except Exception as error:  # h5py raises KeyError, RuntimeError and more on damaged files.
        raise ValueError(f"{path} cannot be read as a .weights.h5 file: {error}") from error
    return arrays


def _names(file, groups: list[str]) -> list[str]:
    """Returns the names of the layers on the way to a group, whose own names are only those of classes."""
    names = []
    for depth, group in enumerate(groups, 1):
        if group == "layers":
            continue
        attributes = file["/".join([*groups[:depth], "vars"])].attrs
        if "name" not in attributes:
            raise ValueError(
                "its layers have no names, as in files of older versions of Keras: load it with "
                "keras.Model.load_weights, and save it again"
            )
        names.append(attributes["name"])
    return names


def read_keras(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the weights of the model in a `.keras` file by their paths: "stem_conv/kernel".

    Keras builds the model in its safe mode, from layers of Keras, layers of the zoo, and layers that are already
    registered with `keras.saving.register_keras_serializable`. Nothing else is imported or run.

    Raises:
        ValueError: The file contains a `Lambda` layer or an unknown layer, or it is damaged, or of another kind.
    """
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # A layer can raise any type of error on a strange configuration.
        # Keras quotes the file at length. The reason is between its quotations.
        reason = str(error).rpartition("Exception encountered: ")[2].partition(" Full object config")[0]
        raise ValueError(
            f"{path} cannot be read as a .keras file of layers that are known here: {reason[:MAX_REASON]}"
        ) from error
    return {variable.path: np.asarray(variable) for variable in model.weights}
