"""`model.tflite`, for LiteRT (TensorFlow Lite), with two signatures.

`images` takes photos, uint8 `[n, height, width, 3]`, of any one size. The other one has the name of the preparation's
endpoint and takes images that the preparation made. Files in int8 have only the second, since the matrices that resize
are of no use in 8 bits.
"""

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from transfer.artifacts.writers.source import Source
from transfer.silence import quiet

__all__ = ["write"]


def write(source: Source, path: Path) -> None:
    """Writes the file, with the contract in a zip archive behind its end.

    Args:
        source: The model and its contract.
        path: The file.
    """
    contract, preparation = source.contract, source.contract.preparation
    network = source.portable  # This makes layers, which is not possible inside a function that is traced.
    public = [name for name, output in contract.outputs().items() if not output.internal]

    def images(images):
        shape = tf.shape(images)
        outputs = network(preparation.portable(images))
        moved = contract.on_photos_in_graph(outputs, shape[1], shape[2], portable=True)
        return {name: moved.get(name, outputs[name]) for name in public}

    def prepared(images):
        return network(tf.cast(images, tf.float32))

    photos = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
    canvases = tf.TensorSpec((None, *preparation.size, 3), preparation.dtype, name="images")
    ways = {"images": (images, photos), preparation.endpoint: (prepared, canvases)}
    if source.quantize == "int8":
        del ways["images"]
    archive = keras.export.ExportArchive()
    for name, (function, signature) in ways.items():
        archive.add_endpoint(name, function, input_signature=[signature])
    with tempfile.TemporaryDirectory() as place, quiet():
        archive.write_out(place, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(place, signature_keys=list(ways))
        _quantise(converter, source)
        path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as behind:  # TensorFlow Lite's own tools keep labels and metadata there, too.
        behind.writestr("contract.json", contract.to_json())


def _quantise(converter: tf.lite.TFLiteConverter, source: Source) -> None:
    if source.quantize == "none":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if source.quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
        return
    if source.contract.box_outputs:
        return  # Weights in 8 bits only: places in 8 bits would be too coarse, and a division by one of them fails.
    calibration, preparation = source.calibration, source.contract.preparation
    assert calibration is not None

    def samples() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        for image, _ in calibration.prepared(preparation, batch_size=1):
            yield preparation.endpoint, {"images": image}

    converter.representative_dataset = samples
