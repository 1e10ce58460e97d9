"""`model.xml` and `model.bin`, for OpenVINO.

The input takes photos, uint8 `[n, height, width, 3]`, of any one size. The node behind their preparation has the name
of the preparation's endpoint, so that an engine can begin there. Outputs that hold boxes or maps are there twice: in
pixels of the photo, and with `canvas_` before their names in pixels of the canvas. The order of equal scores is not
defined.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from transfer.artifacts.engines.base import ON_CANVAS
from transfer.artifacts.writers.openvino_int8 import in_int8
from transfer.artifacts.writers.source import Source
from transfer.contract import Contract

__all__ = ["write"]

_MADE = ("pixels", "height", "width")  # What the way from photos to prepared images gives.


def write(source: Source, path: Path) -> None:
    """Writes both files; the contract lies in the first one, as runtime information.

    Args:
        source: The model and its contract.
        path: The file that ends with .xml.
    """
    import openvino

    contract = source.contract
    # The two are joined after their conversion, which would move operations of one into the other.
    network, preparation = _network(source), _preparation(contract)
    made = {_name_of(output, _MADE): output.get_node().input_value(0) for output in preparation.outputs}
    made["pixels"].get_node().set_friendly_name(contract.preparation.endpoint)
    network.inputs[0].get_node().output(0).replace(made["pixels"])
    model = openvino.Model(_results(network, made, contract), preparation.get_parameters(), source.model.name)
    _sort_faster(model)
    model.set_rt_info(contract.to_json(), ["transfer_zoo", "contract"])
    openvino.save_model(model, path, compress_to_fp16=source.quantize == "float16")


def _network(source: Source) -> Any:
    """Converts the network alone, from prepared images on."""
    import openvino

    pixels = [tf.TensorSpec((None, *source.contract.preparation.size, 3), tf.float32, "pixels")]
    network = openvino.convert_model(tf.function(source.portable, input_signature=pixels, autograph=False))
    return in_int8(network, _samples(source)) if source.quantize == "int8" else network


def _samples(source: Source) -> Iterator[np.ndarray]:
    assert source.calibration is not None
    for image, _ in source.calibration.prepared(source.contract.preparation, batch_size=1):
        yield image.astype(np.float32)


def _preparation(contract: Contract) -> Any:
    """Converts the way from photos to prepared images, and the size of the photos."""
    import openvino

    preparation = contract.preparation

    def prepare(images):
        outputs = {"pixels": preparation.portable(images)}
        if contract.placed_outputs:
            shape = tf.shape(images)
            outputs |= {"height": shape[1], "width": shape[2]}
        return outputs

    images = [tf.TensorSpec((None, None, None, 3), tf.uint8, "images")]
    return openvino.convert_model(tf.function(prepare, input_signature=images, autograph=False))


def _way_back(contract: Contract) -> Any:
    """Converts the way from outputs in pixels of the canvas to outputs in pixels of photos."""
    import openvino

    outputs = contract.outputs()
    names = [name for name in contract.needed(contract.placed_outputs) if not outputs[name].made_of]

    def back(height, width, *tensors):
        return contract.on_photos_in_graph(dict(zip(names, tensors, strict=True)), height, width, portable=True)

    sizes = [tf.TensorSpec((), tf.int32, name) for name in ("height", "width")]
    inputs = [tf.TensorSpec((None, *outputs[name].shape), outputs[name].dtype, ON_CANVAS + name) for name in names]
    return openvino.convert_model(tf.function(back, input_signature=[*sizes, *inputs], autograph=False))


def _results(network: Any, made: dict[str, Any], contract: Contract) -> list[Any]:
    """Returns the results of the joined model."""
    from openvino import opset13 as operations

    placed = contract.placed_outputs
    values = {_name_of(result.output(0), contract.outputs()): result.input_value(0) for result in network.get_results()}
    results = []
    if placed:
        given = made | {ON_CANVAS + name: value for name, value in values.items()}
        back = _way_back(contract)
        for entry in back.inputs:
            entry.get_node().output(0).replace(given[_name_of(entry, given)])
        for result in back.get_results():
            value, name = result.input_value(0), _name_of(result.output(0), placed)
            value.set_names({name})
            results.append(operations.result(value))
    for name, value in values.items():
        value.set_names({ON_CANVAS + name if name in placed else name})
        results.append(operations.result(value))
    return results


def _name_of(output: Any, names: Iterable[str]) -> str:
    """Returns which of some names an output has; it may have others that the conversion gave to it."""
    return next(name for name in names if name in output.get_names())


def _sort_faster(model: Any) -> None:
    """Lets the order of equal scores go, which OpenVINO keeps by a slower algorithm: 30 ms for 1,000 of 6,000."""
    from openvino import opset13 as operations

    for node in model.get_ops():
        if node.get_type_name() == "TopK":
            how = {name: node.get_attributes()[name] for name in ("axis", "mode", "sort", "index_element_type")}
            faster = operations.topk(*node.input_values(), **how, stable=False)
            for before, after in zip(node.outputs(), faster.outputs(), strict=True):
                before.replace(after)
