"""Models of OpenVINO with the weights of their convolutions and dense layers, and what goes into them, in 8 bits.

OpenVINO has no tool of its own for this; its runtime takes the places marked with `FakeQuantize` as 8-bit ones, as
described in "Low Precision Transformations" of its documentation.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["in_int8"]

# Type of an operation -> the axes of its weights that count output channels. Each channel has a scale of its own.
_CHANNELS = {"Convolution": (0,), "GroupConvolution": (0, 1)}


def in_int8(model: Any, samples: Iterable[np.ndarray]) -> Any:
    """Quantises the convolutions and dense layers of an OpenVINO model.

    Everything else stays in float32, such as the decoding of boxes, and so do the last layers: they take little time,
    and errors behind them are not averaged any more.

    Args:
        model: An `openvino.Model` with one input; it is changed.
        samples: Batches for that input, to choose the ranges on.

    Returns:
        The same model.
    """
    from openvino import passes

    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())  # Then weights are constants without anything behind them.
    manager.run_passes(model)
    before = _before_layers(model)
    _shield(model, before)
    layers = [node for node in model.get_ordered_ops() if _channels(node) is not None and node.get_name() in before]
    ranges = _ranges(model, [node.input_value(0) for node in layers], samples)
    marked: dict[str, Any] = {}
    for node in layers:
        source = node.input_value(0)
        key = _key(source)
        if key not in marked:
            marked[key] = _marked(source, *ranges[key])
        node.input(0).replace_source_output(marked[key])
        node.input(1).replace_source_output(_weights(node.input_value(1).get_node().data, _channels(node) or ()))
    model.validate_nodes_and_infer_types()
    return model


def _channels(node: Any) -> tuple[int, ...] | None:
    """Returns the axes of output channels of a layer's weights; None where the operation is not such a layer."""
    kind = node.get_type_name()
    if kind not in (*_CHANNELS, "MatMul") or node.input_value(1).get_node().get_type_name() != "Constant":
        return None
    if kind == "MatMul":
        rank = len(node.input_value(1).get_node().shape)
        return (rank - 2 if node.get_attributes()["transpose_b"] else rank - 1,)
    return _CHANNELS[kind]


def _before_layers(model: Any) -> set[str]:
    """Returns the names of the operations behind which there is a layer."""
    reaching: set[str] = set()  # Layers, and what is before them.
    before: set[str] = set()
    for node in reversed(model.get_ordered_ops()):
        targets = {one.get_node().get_name() for output in node.outputs() for one in output.get_target_inputs()}
        if targets & reaching:
            before.add(node.get_name())
        if targets & reaching or _channels(node) is not None:
            reaching.add(node.get_name())
    return before


def _shield(model: Any, before: set[str]) -> None:
    """Keeps the runtime from taking products behind the last layers, such as those that decode boxes, for scales.

    OpenVINO 2026.4 moves a scale through the operations behind it, and moves one with a number for each point wrongly
    through a sum: right and bottom edges of boxes were off by the width of the image. A factor that depends on the
    image is no scale, so a zero made of the image is added.
    """
    from openvino import opset13 as operations

    pixel = operations.gather(operations.reshape(model.get_parameters()[0], [-1], False), 0, 0)
    zero = operations.minimum(operations.absolute(pixel), np.float32(0))
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Multiply" and node.get_name() not in before:
            for place in node.inputs():
                factor = place.get_source_output()
                if factor.get_node().get_type_name() == "Constant" and factor.get_element_type().is_real():
                    place.replace_source_output(operations.add(factor, zero).output(0))


def _key(output: Any) -> str:
    return f"{output.get_node().get_name()}:{output.get_index()}"


def _ranges(model: Any, places: list[Any], samples: Iterable[np.ndarray]) -> dict[str, tuple[float, float]]:
    """Measures the smallest and the largest number at each place, over all samples."""
    import openvino
    from openvino import opset13 as operations

    sources = {_key(place): place for place in places}
    results = []
    for place in sources.values():
        axes = np.arange(place.get_partial_shape().rank.get_length())
        for reduce in (operations.reduce_min, operations.reduce_max):
            results.append(operations.result(reduce(place, axes)))
    compiled = openvino.Core().compile_model(openvino.Model(results, model.get_parameters()), "CPU")
    measured = []
    for sample in samples:
        answer = compiled([sample])
        measured.append([float(answer[port]) for port in compiled.outputs])
    numbers = np.array(measured)
    low, high = numbers[:, 0::2].min(axis=0), numbers[:, 1::2].max(axis=0)
    # Zero has to be among the levels: borders are padded with it.
    return {key: (min(low[i], 0.0), max(high[i], 1e-6)) for i, key in enumerate(sources)}


def _marked(source: Any, low: float, high: float) -> Any:
    """Marks a place as one of 256 levels, zero among them."""
    from openvino import opset13 as operations

    step = (high - low) / 255
    low = -round(-low / step) * step
    edges = [np.float32(low), np.float32(low + 255 * step)]
    return operations.fake_quantize(source, *edges, *edges, 256).output(0)


def _weights(values: np.ndarray, channels: tuple[int, ...]) -> Any:
    """Returns weights in 8 bits, turned back into 32 where they are used."""
    from openvino import opset13 as operations

    others = tuple(axis for axis in range(values.ndim) if axis not in channels)
    scale = np.maximum(np.abs(values).max(axis=others, keepdims=True), 1e-12).astype(np.float32) / 127
    levels = operations.constant(np.rint(values / scale).astype(np.int8))
    return operations.multiply(operations.convert(levels, "f32"), operations.constant(scale)).output(0)
