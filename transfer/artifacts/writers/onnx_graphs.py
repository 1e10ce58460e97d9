"""Functions of tensors as ONNX graphs, and such graphs with weights in 16 bits or in 8."""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from transfer.artifacts.engines.tensorflow import freeze_graph
from transfer.silence import quiet

__all__ = ["in_float16", "in_int8", "to_onnx"]

OPSET = 18  # The version of ONNX's operations.
QUANTIZED = ("Conv", "Gemm")  # The operations that int8 makes faster.
SMALL = 64  # Weights of fewer numbers than this stay in 32 bits.


def to_onnx(function: Callable, inputs: list[tf.TensorSpec]) -> Any:
    """Converts a function of tensors to an ONNX model.

    Args:
        function: It returns a dict of tensors.
        inputs: Its arguments, with the names that the inputs of the ONNX model get.

    Returns:
        An `onnx.ModelProto` whose outputs have the names of the dict.
    """
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    import tf2onnx

    concrete = tf.function(function, autograph=False).get_concrete_function(*inputs)
    frozen = freeze_graph(concrete, lower_control_flow=False)
    with quiet():
        # tf2onnx takes tensors from outside of a function for inputs of the model, so there must be none.
        traced = tf.function(frozen, input_signature=inputs, autograph=False)
        return tf2onnx.convert.from_function(traced, input_signature=inputs, opset=OPSET)[0]


def in_float16(model: Any) -> Any:
    """Stores the weights of an ONNX model in 16 bits.

    They are turned back into 32 bits where they are used. Runtimes do that once, when they load the model.

    Args:
        model: An `onnx.ModelProto`; it is changed.

    Returns:
        The same model.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < SMALL:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        casts.append(helper.make_node("Cast", [f"{name}/half"], [name], f"{name}/single", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def in_int8(model: Any, samples: Iterable[dict[str, np.ndarray]]) -> Any:
    """Quantises the convolutions and dense layers of an ONNX model: 8 bits for weights, and for what goes in and out.

    Each output channel has a scale of its own. Everything else stays in float32, such as the decoding of boxes, and so
    do the last layers: they take little time, and 256 levels are few for what comes out of them.

    Args:
        model: An `onnx.ModelProto`.
        samples: Inputs of the model by name, to choose the ranges on.

    Returns:
        Another `onnx.ModelProto`.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left: Iterator[dict[str, np.ndarray]] = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    with tempfile.TemporaryDirectory() as place, quiet():
        before, after = Path(place) / "before.onnx", Path(place) / "after.onnx"
        onnx.save(model, before)
        quantize_static(
            before,
            after,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_exclude=_last_layers(model),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        return onnx.load(after)


def _last_layers(model: Any) -> list[str]:
    """Returns the names of those convolutions and dense layers from which no other one is reached.

    A dense layer is a `Gemm`, or a `MatMul`, which is never quantised.
    """
    before_layers: set[str] = set()  # The tensors from which such a layer is reached.
    last = []
    for node in reversed(model.graph.node):
        is_layer = node.op_type in (*QUANTIZED, "MatMul")
        is_before = not before_layers.isdisjoint(node.output)
        if is_layer and not is_before:
            last.append(node.name)
        if is_layer or is_before:
            before_layers.update(node.input)
    return last
