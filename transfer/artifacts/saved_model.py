"""Writing TensorFlow's SavedModel with several ways in, each traced for the inputs that it takes."""

from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

__all__ = ["Endpoints", "write_saved_model"]

Endpoints = dict[str, tuple[Callable, list[tuple]]]


def write_saved_model(path: Path, endpoints: Endpoints) -> None:
    """Writes the folder of a SavedModel; the variables that its endpoints use go along.

    Args:
        path: of the folder.
        endpoints: name -> the function, and the inputs (`tf.TensorSpec`) to trace it for.

    Example:

    >>> import tempfile
    >>> def double(x):
    ...     return {"doubled": 2 * x}
    >>> folder = Path(tempfile.mkdtemp()) / "saved_model"
    >>> write_saved_model(folder, {"double": (double, [(tf.TensorSpec([None], "float32"),)])})
    >>> tf.saved_model.load(str(folder)).double(tf.constant([2.0]))["doubled"].numpy().tolist()
    [4.0]
    """
    # The archive finds the variables of its endpoints by itself; tracking the whole model too makes it twice as slow.
    archive = keras.export.ExportArchive()
    for name, (function, signatures) in endpoints.items():
        endpoint = tf.function(function, autograph=False)
        for signature in signatures:
            endpoint.get_concrete_function(*signature)
        archive.add_endpoint(name, endpoint)
    archive.write_out(str(path), verbose=False)
