"""`model.keras`: the model itself, to go on in Keras. Its contract lies inside, in a file of its own.

A model of Keras' own classes is written in Keras' own layers, so that `keras.saving.load_model` reads it where this
package is not installed. A detector is a class of the zoo: its file opens after `import zoo`.
"""

import zipfile
from pathlib import Path

import keras

from transfer.artifacts.plain_paths import plain_path
from transfer.artifacts.writers.source import Source
from transfer.contract import Contract
from zoo.surgery.flattening import functional
from zoo.surgery.keras_layers import with_keras_layers
from zoo.surgery.state import copy_state

__all__ = ["write", "write_keras"]


def write(source: Source, path: Path) -> None:
    """Writes a model that is not compiled: what an optimizer remembers is of no use for predicting.

    Args:
        source: The model and its contract.
        path: The file.
    """
    _uncompiled(source.model).save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("contract.json", source.contract.to_json())


def write_keras(model: keras.Model, folder: Path, contract: Contract) -> None:
    """Writes `model.keras` into a folder; see `write`."""
    with plain_path(folder / "model.keras") as path:
        write(Source(model, contract), path)


def _uncompiled(model: keras.Model) -> keras.Model:
    if not type(model).__module__.startswith("keras."):  # The methods of its class are worth keeping.
        copy = type(model).from_config(model.get_config())
        copy_state(model, copy)
        return copy
    model = with_keras_layers(functional(model))
    return keras.Model(model.inputs[0], model.output, name=model.name)
