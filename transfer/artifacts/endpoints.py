"""The ways into an exported model in TensorFlow: of the SavedModel, and of a Keras model in memory.

===================  =========================================================  ====================================
endpoint             takes                                                      gives
===================  =========================================================  ====================================
`images`             `images`: RGB in 0..255, float32 or uint8                  the outputs that the contract names,
                     [n, height, width, 3], any height and width                without internal ones; boxes and maps
                                                                                in pixels of the photos
`image_bytes`        `encoded`: string [n], JPEG, PNG, GIF, BMP or WebP files,  the same; maps are padded to the
                     turned upright by their EXIF orientation                   largest photo
`cropped`, or        `images`: as the contract's preparation makes them:        all outputs; boxes in pixels of the
`resized`            uint8 [n, H, W, 3] for crops, float32 for letterboxes      canvas
`contract`           nothing                                                    `contract`: the contract as JSON;
                                                                                `class_names`: string [classes]
===================  =========================================================  ====================================

The third one is named by the preparation (`contract.preparation.endpoint`).
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines import decode_image
from transfer.contract import Contract

__all__ = ["Endpoints", "Network", "endpoints"]

# Name of an endpoint -> its function, and the inputs (`tf.TensorSpec`) to trace it for.
Endpoints = dict[str, tuple[Callable, list[tuple]]]

# From prepared images, float32 [n, H, W, 3], to all outputs by name, boxes in pixels of the canvas.
Network = Callable[[Any], dict[str, Any]]


def endpoints(network: Network, contract: Contract) -> Endpoints:
    """Makes the ways into an exported model, as the table above has them.

    Args:
        network: The network, as `transfer.tasks.learning.Learning.network` returns it.
        contract: What the model takes and gives.

    Returns:
        The endpoints by name. The first one is `images`.
    """
    preparation = contract.preparation
    canvas = (*preparation.size, 3)
    public = [name for name, output in contract.outputs().items() if not output.internal]

    # Traced once, for all endpoints.
    @tf.function(input_signature=[tf.TensorSpec((None, *canvas), tf.float32)], autograph=False)
    def outputs(pixels):
        found = network(pixels)
        return {name: found[name] for name in contract.outputs()}

    def on_photos(pixels, heights, widths):
        found = outputs(pixels)
        moved = contract.on_photos_in_graph(found, heights, widths)
        return {name: moved.get(name, found[name]) for name in public}

    def images(images):
        shape = tf.shape(images)
        return on_photos(preparation(images), shape[1], shape[2])

    def image_bytes(encoded):
        def decoded(contents):
            image = decode_image(contents)
            return preparation(image), tf.shape(image)[:2]

        specs = (tf.TensorSpec(canvas, tf.float32), tf.TensorSpec((2,), tf.int32))
        pixels, sizes = tf.map_fn(decoded, encoded, fn_output_signature=specs)
        return on_photos(pixels, sizes[:, 0], sizes[:, 1])

    def prepared(images):
        return outputs(tf.cast(images, tf.float32))

    def contract_():
        names = tf.constant(list(contract.names), tf.string)
        return {"contract": tf.constant(contract.to_json()), "class_names": names}

    any_size = [(tf.TensorSpec((None, None, None, 3), dtype, name="images"),) for dtype in (tf.float32, tf.uint8)]
    return {
        "images": (images, any_size),
        "image_bytes": (image_bytes, [(tf.TensorSpec((None,), tf.string, name="encoded"),)]),
        preparation.endpoint: (prepared, [(tf.TensorSpec((None, *canvas), preparation.dtype, name="images"),)]),
        "contract": (contract_, [()]),
    }
