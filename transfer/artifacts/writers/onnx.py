"""`model.onnx`, for ONNX Runtime and for many other tools.

Its input `images` takes photos, uint8 `[n, height, width, 3]`, of any one size. Instead of it, `canvases` takes images
that the contract's preparation made; there are none unless they are given. Boxes and maps are in pixels of what was
given.
ONNX cannot decode JPEG files.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from transfer.artifacts.writers.onnx_graphs import in_float16, in_int8, to_onnx
from transfer.artifacts.writers.source import Source

__all__ = ["write"]


def write(source: Source, path: Path) -> None:
    """Writes the file. Its metadata have the contract as JSON under the key `contract`.

    Args:
        source: The model and its contract.
        path: The file.
    """
    import onnx

    contract, preparation = source.contract, source.contract.preparation
    network = source.portable  # This makes layers, which is not possible inside a function that is traced.
    canvas = (*preparation.size, 3)

    def answer(images, canvases):
        shape = tf.shape(images)
        are_photos = tf.shape(canvases)[0] == 0
        pixels = tf.cond(are_photos, lambda: preparation.portable(images), lambda: tf.cast(canvases, tf.float32))
        outputs = network(tf.reshape(pixels, [-1, *canvas]))
        placed = contract.placed_outputs
        if placed:
            in_photos = tf.cond(
                are_photos,
                lambda: _ordered(contract.on_photos_in_graph(outputs, shape[1], shape[2], portable=True), placed),
                lambda: _ordered(outputs, placed),
            )
            outputs = outputs | dict(zip(placed, in_photos, strict=True))
        return {name: outputs[name] for name in contract.outputs()}

    photo = np.zeros((1, 1, 1, 3), np.uint8)
    inputs = [
        tf.TensorSpec((None, None, None, 3), tf.uint8, "images"),
        tf.TensorSpec((None, *canvas), preparation.dtype, "canvases"),
    ]
    model = to_onnx(answer, inputs)
    # An initializer of an input's name is that input's default.
    for name, default in (("images", photo), ("canvases", np.zeros((0, *canvas), preparation.dtype))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(default, name))
    if source.quantize == "int8":
        model = in_int8(model, _samples(source, photo))
    elif source.quantize == "float16":
        model = in_float16(model)
    model.metadata_props.add(key="contract", value=contract.to_json())
    onnx.save(model, path)


def _ordered(outputs: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Returns some outputs in an order, as new tensors: a branch may not hand on what it was given."""
    return [tf.identity(outputs[name]) for name in names]


def _samples(source: Source, photo: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    assert source.calibration is not None
    for image, _ in source.calibration.prepared(source.contract.preparation, batch_size=1):
        yield {"images": photo, "canvases": image}
