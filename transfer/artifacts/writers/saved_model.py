"""`saved_model/`: TensorFlow's SavedModel, which needs neither Keras nor this project to be used.

Its endpoints are those of `transfer.artifacts.endpoints`. The first one, `images`, is `serving_default`, too.
"""

from pathlib import Path

import keras
import tensorflow as tf

from transfer.artifacts.endpoints import Endpoints, endpoints
from transfer.artifacts.writers.source import Source

__all__ = ["write", "write_endpoints"]


def write(source: Source, path: Path) -> None:
    """Writes the folder of a SavedModel.

    Args:
        source: The model and its contract.
        path: The folder.
    """
    write_endpoints(path, endpoints(source.network, source.contract))


def write_endpoints(path: Path, ways: Endpoints) -> None:
    """Writes a SavedModel of any endpoints; the variables that they use go along.

    Args:
        path: The folder.
        ways: Name of an endpoint -> its function, and the inputs (`tf.TensorSpec`) to trace it for.

    Example:

    >>> import tempfile
    >>> def double(x):
    ...     return {"doubled": 2 * x}
    >>> folder = Path(tempfile.mkdtemp()) / "saved_model"
    >>> write_endpoints(folder, {"double": (double, [(tf.TensorSpec([None], "float32"),)])})
    >>> tf.saved_model.load(str(folder)).double(tf.constant([2.0]))["doubled"].numpy().tolist()
    [4.0]
    """
    # The archive finds the variables of its endpoints by itself; tracking the whole model too makes it twice as slow.
    archive = keras.export.ExportArchive()
    for name, (function, signatures) in ways.items():
        endpoint = tf.function(function, autograph=False)
        for signature in signatures:
            endpoint.get_concrete_function(*signature)
        archive.add_endpoint(name, endpoint)
    archive.write_out(str(path), verbose=False)
