"""Writers for the formats that other runtimes read: ONNX, OpenVINO and LiteRT.

Each takes uint8 images of any size, [n, h, w, 3], and has crop and normalisation in its graph; beside that way in there
is one for images that were cropped already, uint8 [n, H, W, 3], which is what `transfer.load` uses. Each gives
`probabilities` [n, classes] and `embedding` [n, features], what the last dense layer sees, and carries its contract.
"""

import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.prepare.portable_crop import portable_crop
from transfer.contract import Contract
from zoo.surgery.conversion import fold_batch_norms

__all__ = ["WRITERS", "folded", "network", "quiet", "to_onnx", "write_litert", "write_onnx", "write_openvino"]

OPSET = 18  # of ONNX


def folded(model: keras.Model) -> keras.Model:
    """The model with batch norms folded into their neighbours where that is exact; itself if it has no graph."""
    try:
        return fold_batch_norms(model)
    except ValueError:
        return model


def network(model: keras.Model) -> keras.Model:
    """The same model with a second output: `probabilities` and `embedding`.

    The embedding is what the last dense layer sees; without one, what the last layer sees, averaged over places.
    """
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    embedding = (dense[-1] if dense else model.layers[-1]).input
    if len(embedding.shape) > 2:
        embedding = keras.ops.mean(embedding, axis=tuple(range(1, len(embedding.shape) - 1)))
    outputs = {"probabilities": model.outputs[0], "embedding": embedding}
    return keras.Model(model.inputs[0], outputs, name=f"{model.name}_network")


def write_onnx(
    model: keras.Model, folder: Path, contract: Contract, *, quantize: str = "none", calibration: Any = None
) -> None:
    """`model.onnx`. Its input `cropped`, false unless given, says that the images are cropped already.

    Args:
        model: gives `probabilities` and `embedding` (see `network`).
        folder: where to write.
        contract: goes into the file's metadata.
        quantize: "none", "float16" (weights; calculations stay float32) or "int8".
        calibration: uint8 [n, H, W, 3], cropped images to calibrate int8 on.
    """
    import onnx

    crop = contract.crop

    def answer(images, cropped):
        pixels = tf.cond(cropped, lambda: tf.cast(images, tf.float32), lambda: portable_crop(images, crop))
        return model(tf.reshape(pixels, [-1, *crop.size, 3]), training=False)

    inputs = [tf.TensorSpec((None, None, None, 3), tf.uint8, "images"), tf.TensorSpec((), tf.bool, "cropped")]
    proto = to_onnx(answer, inputs)
    path = folder / "model.onnx"
    # An initializer of an input's name is that input's default
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(False), "cropped"))
    if quantize == "int8":
        proto = _int8(proto, [{"images": image[None], "cropped": np.array(True)} for image in calibration])
    elif quantize == "float16":
        _store_halves(proto)
    proto.metadata_props.add(key="contract", value=contract.to_json())
    onnx.save(proto, path)


def write_openvino(
    model: keras.Model, folder: Path, contract: Contract, *, quantize: str = "none", calibration: Any = None
) -> None:
    """`model.xml` and `model.bin`. The node behind the crop is called `cropped`, so that a reader can begin there.

    Args:
        model, folder, contract, quantize, calibration: as of `write_onnx`.
    """
    import openvino

    crop = contract.crop
    pixels = [tf.TensorSpec((None, *crop.size, 3), tf.float32, "pixels")]

    def answer(pixels):
        return model(pixels, training=False)

    if quantize == "int8":
        proto = _int8(to_onnx(answer, pixels), [{"pixels": image[None].astype("float32")} for image in calibration])
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "model.onnx").write_bytes(proto.SerializeToString())
            behind = openvino.convert_model(Path(place) / "model.onnx")
    else:
        behind = openvino.convert_model(tf.function(answer, input_signature=pixels, autograph=False))
    images = [tf.TensorSpec((None, None, None, 3), tf.uint8, "images")]
    before = openvino.convert_model(
        tf.function(lambda images: portable_crop(images, crop), input_signature=images, autograph=False)
    )
    # Joined after their conversion, which would move operations of one into the other
    last = before.outputs[0].get_node().input_value(0)
    last.get_node().set_friendly_name("cropped")
    behind.inputs[0].get_node().output(0).replace(last)
    joined = openvino.Model(behind.get_results(), before.get_parameters(), model.name)
    joined.set_rt_info(contract.to_json(), ["transfer_zoo", "contract"])
    openvino.save_model(joined, folder / "model.xml", compress_to_fp16=quantize == "float16")


def write_litert(
    model: keras.Model, folder: Path, contract: Contract, *, quantize: str = "none", calibration: Any = None
) -> None:
    """`model.tflite`, with the signatures `images` and `cropped`; of int8 files only the second, of a fixed size.

    Args:
        model, folder, contract, quantize, calibration: as of `write_onnx`.
    """
    crop = contract.crop
    archive = keras.export.ExportArchive()
    sizes = {"images": (None, None, None, 3), "cropped": (None, *crop.size, 3)}

    def images(images):
        return {"probabilities": model(portable_crop(images, crop), training=False)["probabilities"]}

    def cropped(images):
        return model(tf.cast(images, tf.float32), training=False)

    ways: dict[str, Callable] = {"images": images, "cropped": cropped}
    if quantize == "int8":
        del ways["images"]  # the matrices that resize are no use in 8 bits
    for name, way in ways.items():
        archive.add_endpoint(name, way, input_signature=[tf.TensorSpec(sizes[name], tf.uint8, name="images")])
    with tempfile.TemporaryDirectory() as place, quiet():
        archive.write_out(place, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(place, signature_keys=list(ways))
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        elif quantize == "int8":

            def samples() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
                for image in calibration:
                    yield "cropped", {"images": image[None]}

            converter.representative_dataset = samples
        contents = converter.convert()
    path = folder / "model.tflite"
    path.write_bytes(contents)
    with zipfile.ZipFile(path, "a") as behind:  # where TensorFlow Lite's own tools keep labels and metadata, too
        behind.writestr("contract.json", contract.to_json())


WRITERS: dict[str, Callable[..., None]] = {"onnx": write_onnx, "openvino": write_openvino, "litert": write_litert}


def to_onnx(function: Callable, inputs: list[tf.TensorSpec]) -> Any:
    """A function of tensors as an ONNX model."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    import tf2onnx

    traced = tf.function(function, input_signature=inputs, autograph=False)
    with quiet():
        return tf2onnx.convert.from_function(traced, input_signature=inputs, opset=OPSET)[0]


def _store_halves(proto: Any) -> None:
    """Weights in 16 bits, turned back into 32 where they are used; runtimes do that once, when they load the model."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < 64:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        casts.append(helper.make_node("Cast", [f"{name}/half"], [name], f"{name}/single", to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _int8(proto: Any, samples: list[dict[str, np.ndarray]]) -> Any:
    """Weights and activations in 8 bits, each output channel with a scale of its own, calibrated on samples."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self._left = iter(samples)

        def get_next(self):
            return next(self._left, None)

    with tempfile.TemporaryDirectory() as place, quiet():
        before, after = Path(place) / "before.onnx", Path(place) / "after.onnx"
        onnx.save(proto, before)
        quantize_static(
            before,
            after,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm"],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        return onnx.load(after)


@contextmanager
def quiet() -> Iterator[None]:
    """Converters speak to their developers, on stderr and past Python; their errors reach people as exceptions."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        logging.getLogger().setLevel(level)
