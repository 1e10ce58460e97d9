"""What objects look like, as embeddings: of a run, or of the trunk of any network of the zoo."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import zoo
from pipelines.prepare.stretch import Stretch
from transfer.predict.loading import load

__all__ = ["Appearance", "embedder"]

# A function from pictures uint8 [h, w, 3] of any sizes to their embeddings, float32 [n, features].
Appearance = Callable[[Sequence[np.ndarray]], np.ndarray]

SIZE = (
    128,
    128,
)  # Height and width in pixels of what a trunk is shown: objects are small parts of frames.
BATCH_SIZE = 32


def embedder(source: str | Path, *, engine: str = "auto") -> Appearance:
    """Returns the function that embeds pictures of objects.

    Args:
        source: A run or an exported model that gives an embedding (`transfer.load`), or the name of a network of the
            zoo that has ImageNet weights. Of a network only the trunk is used, at 128 x 128 pixels.
        engine: The runtime of an exported model.

    Raises:
        FileNotFoundError: There is no such model, or its weights are not on this machine.
        ValueError: The model gives no embedding.
    """
    if str(source) in zoo.list_models() and not Path(source).exists():
        return _trunk(str(source))
    predictor = load(source, engine=engine)
    if "embedding" not in predictor.contract.outputs():
        raise ValueError(
            f"{source} is a model of the task {predictor.task.name!r}, which gives no embedding; take one of a "
            "classifier, or a network of `zoo models`"
        )
    return lambda pictures: predictor.embeddings(pictures)


def _trunk(name: str) -> Appearance:
    """Returns the trunk of a network, in batches of a frozen graph."""
    import keras
    import tensorflow as tf

    # It loads TensorFlow, which tracking with other runtimes must not.
    freeze_graph = importlib.import_module("transfer.artifacts.engines.tensorflow").freeze_graph
    model = zoo.create_model(name, weights="imagenet", include_top=False, input_shape=(*SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(model.outputs[0])
    embedding = keras.Model(model.inputs[0], {"embedding": pooled})
    frozen = freeze_graph(
        tf.function(lambda images: embedding(images, training=False), autograph=False).get_concrete_function(
            tf.TensorSpec([None, *SIZE, 3], tf.float32)
        )
    )
    stretch = Stretch(SIZE)

    def embed(pictures: Sequence[np.ndarray]) -> np.ndarray:
        parts = []
        for begin in range(0, len(pictures), BATCH_SIZE):
            batch = np.stack([stretch.on_photo(picture) for picture in pictures[begin : begin + BATCH_SIZE]])
            parts.append(frozen(tf.constant(batch))["embedding"].numpy())
        return np.concatenate(parts)

    return embed
