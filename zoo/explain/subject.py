"""A model as the methods of this package look at it: images go in, maps of layers and scores come out."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.explain.targets import Target, class_score, predicted_classes
from zoo.surgery.feature_maps import last_feature_map
from zoo.surgery.flattening import flat, output_of

__all__ = ["BATCH_SIZE", "Subject", "checked_images", "checked_scores", "up_to", "with_layers"]

BATCH_SIZE = 32  # It bounds the memory of the activations that the gradient needs.
SQUASHING = ("softmax", "sigmoid")
RECTIFIERS = ("relu", "relu6")
# Layers and operations that give what they are given.
NEUTRAL = ("Identity", "Dropout")


class Subject:
    """A model whose layers, scores and gradients are looked at. The given model is not changed.

    Args:
        model: A model with one image input; see `zoo.surgery.flattening.flat`.
        layers: Names of layers whose output is a map `[n, h, w, c]`; None stands for the last such layer that all
            outputs depend on, and that is no output itself.
        squashed: Whether softmax and sigmoid at the end of the model stay. Defaults to False.
        rectified: Whether ReLUs at the end of the layers stay. Defaults to True.

    Raises:
        ValueError: The model has no layers to look at, has several inputs, or has no such layer; or a layer gives no
            map.
    """

    def __init__(
        self, model: Any, layers: Sequence[str | None] = (), *, squashed: bool = False, rectified: bool = True
    ):
        flattened = with_layers(model)
        if len(flattened.inputs) != 1 or len(flattened.inputs[0].shape) != 4:
            shapes = [tuple(tensor.shape) for tensor in flattened.inputs]
            raise ValueError(f"expected a model with one input [n, height, width, channels], got the inputs {shapes}")
        self.name = flattened.name
        self.flat = flattened
        maps = [_feature_map(flattened, layer) for layer in layers]
        if not rectified:
            maps = [_before(tensor, RECTIFIERS) for tensor in maps]
        outputs = flattened.output
        if not squashed:
            outputs = keras.tree.map_structure(lambda tensor: _before(tensor, SQUASHING), outputs)
        self.tapped = keras.Model(flattened.inputs[0], {"maps": maps, "outputs": outputs})

    def batches(
        self,
        images: np.ndarray,
        class_index: int | Sequence[int] | None,
        target: Target | None,
        *,
        fixed: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[tuple[tf.Tensor, Target]]:
        """Yields batches of images, float32, and what is explained of each.

        Args:
            images: Images `[n, h, w, c]` in 0..255.
            class_index: See `class_score`.
            target: The target, for other scores than those of classes.
            fixed: Whether the predicted class is that of the images as they are given, for methods that change them.
            batch_size: Number of images at a time.

        Raises:
            ValueError: The images or the classes do not fit the model.
        """
        images = checked_images(images, self.flat)
        classes = _checked_classes(class_index, target, len(images))
        for start in range(0, len(images), batch_size):
            batch = tf.convert_to_tensor(images[start : start + batch_size], tf.float32)
            own = target or class_score(None if classes is None else classes[start : start + batch_size])
            if target is None and classes is None and fixed:
                own = class_score(self.predicted(batch))
            yield batch, own

    def __call__(self, images: tf.Tensor) -> tuple[list[tf.Tensor], Any]:
        """Returns the maps of the layers and the outputs, in inference mode."""
        result = self.tapped(images, training=False)
        return result["maps"], result["outputs"]

    def scores(self, images: tf.Tensor, target: Target) -> tf.Tensor:
        """Returns the score of each image, float32 `[n]`."""
        return checked_scores(target(self(images)[1]), images)

    def gradients(self, images: tf.Tensor, target: Target) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the gradient of each image's score with respect to the image, and the scores.

        The images of a batch do not influence each other, so the gradient of the sum holds that of each image.
        """
        with tf.GradientTape() as tape:
            tape.watch(images)
            scores = self.scores(images, target)
        return self.reached(tape.gradient(scores, images), "the images"), scores

    def map_gradients(self, images: tf.Tensor, target: Target) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the first map, the gradient of each image's score with respect to it, and the scores."""
        with tf.GradientTape() as tape:
            # The tape watches the images, so that it records frozen layers as well.
            tape.watch(images)
            maps, outputs = self(images)
            scores = checked_scores(target(outputs), images)
        gradients = self.reached(tape.gradient(scores, maps[0]), "the layer")
        return tf.cast(maps[0], tf.float32), tf.cast(gradients, tf.float32), scores

    def reached(self, gradients: Any, source: str) -> Any:
        """Returns gradients that reached what they are of.

        Raises:
            ValueError: There are none.
        """
        if gradients is None:
            raise ValueError(
                f"the score of {self.name} has no gradient with respect to {source}: it does not depend on it, or a "
                "layer between them cannot be differentiated. Choose another layer or another target"
            )
        return gradients

    def predicted(self, images: tf.Tensor) -> np.ndarray:
        """Returns the class that the model predicts for each image, int `[n]`."""
        return np.asarray(predicted_classes(self(images)[1]))


def up_to(model: Any, layer: str) -> keras.Model:
    """Returns the part of a model that ends with a layer, for explaining one of its filters.

    Args:
        model: A model; see `zoo.surgery.flattening.flat`. Layers and weights are shared.
        layer: Name of a layer whose output is a map `[n, h, w, c]`.

    Raises:
        ValueError: The model has no such layer, or it gives no map.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((32, 48, 3)), keras.layers.Conv2D(4, 3, name="conv"), keras.layers.Flatten()]
    ... )
    >>> up_to(model, "conv").output.shape
    (None, 30, 46, 4)
    """
    flattened = with_layers(model)
    return keras.Model(flattened.inputs[0], _feature_map(flattened, layer), name=f"{flattened.name}_up_to_{layer}")


def checked_images(images: Any, model: keras.Model) -> np.ndarray:
    """Returns images as an array that the model takes.

    Raises:
        ValueError: They are no batch, or of another size.
    """
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(f"images are [n, height, width, channels], got {images.shape}: give one image as images[None]")
    expected = tuple(model.inputs[0].shape[1:])
    if any(size not in (None, own) for size, own in zip(expected, images.shape[1:], strict=True)):
        raise ValueError(f"{model.name} takes images of {expected}, got {images.shape[1:]}: bring them to that size")
    return images


def with_layers(model: Any) -> keras.Model:
    """Returns a model as a flat one, whose layers can be looked at and differentiated."""
    advice = (
        "its layers cannot be looked at, and it has no gradients. Load the .keras file instead, with "
        "keras.models.load_model('model.keras'); a run of zoo fit has one in its folder, and zoo export writes one "
        "with --format keras"
    )
    if not isinstance(model, keras.Model):
        kind = type(model).__name__
        saved = hasattr(model, "signatures") or isinstance(model, keras.layers.TFSMLayer)
        what = f"a loaded SavedModel ({kind})" if saved else f"{kind}, which is no keras.Model"
        raise ValueError(f"expected a Keras model, got {what}: {advice}")
    flattened = flat(model)
    if any(isinstance(layer, keras.layers.TFSMLayer) for layer in flattened.layers):
        raise ValueError(f"{model.name} holds a loaded SavedModel (TFSMLayer): {advice}")
    return flattened


def _feature_map(model: keras.Model, layer: str | None) -> Any:
    if layer is not None and layer not in {candidate.name for candidate in model.layers}:
        raise ValueError(f"{model.name} has no layer {layer!r}; its last feature map is {last_feature_map(model)!r}")
    if layer is None:
        return _last_shared_map(model)
    output = output_of(model, layer)
    if len(output.shape) != 4:
        raise ValueError(
            f"layer {layer!r} returns the shape {tuple(output.shape)}, and what is wanted is a map [n, height, width, "
            f"channels]; the last layer with a map is {last_feature_map(model)!r}"
        )
    return output


def _last_shared_map(model: keras.Model) -> Any:
    """Returns the last map that all outputs depend on, and that is no output itself; else the last map."""
    shared = set.intersection(*(_ancestors(output) for output in model.outputs))
    names = [layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    for name in reversed(names):
        output = output_of(model, name)
        if hasattr(output, "shape") and len(output.shape) == 4 and id(output) in shared:
            return output
    return output_of(model, last_feature_map(model))


def _ancestors(output: Any) -> set[int]:
    """Returns the identities of the tensors that an output is made of, without those that it is but for a squashing."""
    seen: set[int] = set()
    waiting = list(_made_of(_before(output, SQUASHING, linear=False)))
    while waiting:
        tensor = waiting.pop()
        if id(tensor) not in seen:
            seen.add(id(tensor))
            waiting += _made_of(tensor)
    return seen


def _made_of(tensor: Any) -> list[Any]:
    operation, node, _ = tensor._keras_history
    return operation._inbound_nodes[node].input_tensors


def _before(tensor: Any, activations: Sequence[str], *, linear: bool = True) -> Any:
    """Returns what a tensor was made of by one of some activations; the tensor itself if it was not.

    Args:
        tensor: A tensor of a graph.
        activations: The names of the activations.
        linear: Whether a layer that has the activation inside of it is called without.
    """
    layer, _, _ = tensor._keras_history
    given = _made_of(tensor)
    activation = getattr(getattr(layer, "activation", None), "__name__", "")
    is_activation = isinstance(layer, keras.layers.Activation)
    if len(given) == 1 and (type(layer).__name__ in NEUTRAL or (is_activation and activation == "linear")):
        before = _before(given[0], activations, linear=linear)
        return tensor if before is given[0] else before
    if type(layer).__name__.lower() in activations or (is_activation and activation in activations):
        return given[0]
    if activation not in activations or not linear:
        return tensor
    name = f"{layer.name}_before_{activation}"
    without = type(layer).from_config({**layer.get_config(), "activation": "linear", "name": name})
    scores = without(given[0])
    without.set_weights(layer.get_weights())
    return scores


def _checked_classes(class_index: Any, target: Target | None, num_images: int) -> np.ndarray | None:
    if target is not None and class_index is not None:
        raise ValueError("expected class_index or target, got both: give the class to the target")
    if class_index is None:
        return None
    classes = np.asarray(class_index)
    if classes.ndim > 1 or (classes.ndim == 1 and len(classes) != num_images):
        raise ValueError(f"class_index is one class or one for each of {num_images} images, got {class_index}")
    return np.broadcast_to(classes, num_images)


def checked_scores(scores: Any, images: tf.Tensor) -> tf.Tensor:
    """Returns what a target gave as float32.

    Raises:
        ValueError: It is not one score for each image.
    """
    scores = tf.cast(scores, tf.float32)
    if scores.shape.rank != 1 or scores.shape[0] != images.shape[0]:
        raise ValueError(
            f"a target returns one score for each of {images.shape[0]} images, got the shape {tuple(scores.shape)}: "
            "sum or choose over the other axes"
        )
    return scores
