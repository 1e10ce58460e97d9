"""Detectors in the formats that other runtimes read: ONNX, OpenVINO and LiteRT.

Each takes uint8 photos of any size, [n, h, w, 3], and gives `boxes` in pixels of the photos, `classes`, `scores` and
`valid`, all of it in the graph: resizing, the network, the decoding of its codes and non-maximum suppression. (None of
them can decode JPEG files.) Beside that way in there is `resized`, for float32 canvases [n, H, W, 3], with boxes in
pixels of the canvas, which is what `transfer.load` uses; and each gives the candidates before suppression.

Suppression is `zoo.detection.nms.suppress_portable`, of the best 1,000 pairs of a box and a class: the runtimes' own
operations for it differ from each other and from TensorFlow's in what they sort, count and pad. In OpenVINO the order
of equal scores is not defined.
"""

import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.prepare.portable_letterbox import portable_letterbox
from transfer.artifacts.engines.base import ON_CANVAS
from transfer.artifacts.writers import folded, quiet, to_onnx
from transfer.tasks.detect.contract import DetectionContract
from transfer.tasks.detect.exporting import restored
from transfer.tasks.detect.proving import MAX_CANDIDATES
from zoo.detection import nms

__all__ = ["WRITERS", "write_litert", "write_onnx", "write_openvino"]


def write_onnx(model: keras.Model, path: Path, contract: DetectionContract) -> None:
    """`model.onnx`, with the input `images`, or instead of it `canvases`, of which there are none unless given."""
    import onnx

    network = _network(model, contract)

    def answer(images, canvases):
        shape = tf.shape(images)
        of_photos = tf.shape(canvases)[0] == 0
        pixels = tf.cond(of_photos, lambda: portable_letterbox(images, contract.letterbox), lambda: canvases)
        found = network(tf.reshape(pixels, [-1, *contract.size, 3]))
        for name in ("boxes", "candidate_boxes"):
            moved = restored(found[name], contract, shape[1], shape[2])
            found[name] = tf.where(of_photos, moved, found[name])
        return found

    inputs = [
        tf.TensorSpec((None, None, None, 3), tf.uint8, "images"),
        tf.TensorSpec((None, *contract.size, 3), tf.float32, "canvases"),
    ]
    proto = to_onnx(answer, inputs)
    # An initializer of an input's name is that input's default
    for name, default in (
        ("images", np.zeros((1, 1, 1, 3), np.uint8)),
        ("canvases", np.zeros((0, *contract.size, 3), np.float32)),
    ):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(default, name))
    proto.metadata_props.add(key="contract", value=contract.to_json())
    onnx.save(proto, path)


def write_openvino(model: keras.Model, path: Path, contract: DetectionContract) -> None:
    """`model.xml` and `model.bin`. The node behind the letterbox is called `resized`, so that a reader can begin there.

    What the network finds is there twice: as `boxes` in pixels of the photo, and as `canvas_boxes`.
    """
    import openvino
    from openvino import opset13 as operations

    network = _network(model, contract)
    canvases = [tf.TensorSpec((None, *contract.size, 3), tf.float32, "pixels")]
    behind = openvino.convert_model(tf.function(network, input_signature=canvases, autograph=False))

    def begin(images):
        shape = tf.shape(images)
        h, w = shape[1], shape[2]
        place = contract.letterbox.place(h, w)
        top, left, rows, columns, height, width = (tf.cast(edge, tf.float32) for edge in (*place, h, w))
        x, y = width / columns, height / rows
        return {
            "pixels": portable_letterbox(images, contract.letterbox),
            "corner": tf.stack([left, top, left, top]),
            "scale": tf.stack([x, y, x, y]),
            "limit": tf.stack([width, height, width, height]),
        }

    images = [tf.TensorSpec((None, None, None, 3), tf.uint8, "images")]
    before = openvino.convert_model(tf.function(begin, input_signature=images, autograph=False))
    # Joined after their conversion, which would move operations of one into the other
    made = {output.get_any_name(): output.get_node().input_value(0) for output in before.outputs}
    made["pixels"].get_node().set_friendly_name("resized")
    behind.inputs[0].get_node().output(0).replace(made["pixels"])
    results = []
    for result in behind.get_results():
        value, name = result.input_value(0), result.output(0).get_any_name()
        if name in ("boxes", "candidate_boxes"):
            moved = operations.multiply(operations.subtract(value, made["corner"]), made["scale"])
            clipped = operations.minimum(operations.maximum(moved, operations.constant(np.float32(0))), made["limit"])
            clipped.output(0).set_names({name})
            results.append(operations.result(clipped.output(0)))
            name = ON_CANVAS + name
        value.set_names({name})
        results.append(operations.result(value))
    joined = openvino.Model(results, before.get_parameters(), model.name)
    _sort_faster(joined)
    joined.set_rt_info(contract.to_json(), ["transfer_zoo", "contract"])
    openvino.save_model(joined, path, compress_to_fp16=False)


def _sort_faster(model: Any) -> None:
    """Lets the order of equal scores go, which OpenVINO keeps by a slower algorithm: 30 ms for 1,000 of 6,000."""
    from openvino import opset13 as operations

    for node in model.get_ops():
        if node.get_type_name() == "TopK":
            how = {name: node.get_attributes()[name] for name in ("axis", "mode", "sort", "index_element_type")}
            faster = operations.topk(*node.input_values(), **how, stable=False)
            for before, after in zip(node.outputs(), faster.outputs(), strict=True):
                before.replace(after)


def write_litert(model: keras.Model, path: Path, contract: DetectionContract) -> None:
    """`model.tflite`, with the signatures `images` and `resized`."""
    network = _network(model, contract)

    def images(images):
        shape = tf.shape(images)
        found = network(portable_letterbox(images, contract.letterbox))
        moved = {name: restored(found[name], contract, shape[1], shape[2]) for name in ("boxes", "candidate_boxes")}
        return found | moved

    archive = keras.export.ExportArchive()
    archive.add_endpoint("images", images, input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "images")])
    archive.add_endpoint(
        "resized", network, input_signature=[tf.TensorSpec((None, *contract.size, 3), tf.float32, "images")]
    )
    with tempfile.TemporaryDirectory() as place, quiet():
        archive.write_out(place, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(place, signature_keys=["images", "resized"])
        path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as behind:  # where TensorFlow Lite's own tools keep labels and metadata, too
        behind.writestr("contract.json", contract.to_json())


WRITERS: dict[str, Callable[[keras.Model, Path, DetectionContract], None]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "litert": write_litert,
}


def _network(model: keras.Model, contract: DetectionContract) -> Callable[[Any], dict[str, Any]]:
    """From canvases to what is found on them, and the candidates, without operations that only TensorFlow has."""
    lean = folded(keras.Model(model.inputs[0], model.output))

    def network(images):
        boxes, scores = model.decode(lean(images, training=False), contract.size)
        found = nms.suppress_portable(
            boxes,
            scores,
            iou_threshold=contract.iou_threshold,
            score_threshold=contract.score_threshold,
            max_detections=contract.max_detections,
            max_candidates=max(MAX_CANDIDATES, contract.max_detections),
        )
        # Under other names inside: runtimes rename what is an input of one operation and an output of the graph
        return {**found, "candidate_boxes": tf.identity(boxes), "candidate_scores": tf.identity(scores)}

    return network
