"""Which layers of a model train, and proof that the others stayed what they were.

A classifier is a *trunk*, from the image to the last feature map, and a *head* above it. Nothing marks the border: it
is read from the shapes, so that it is found again in a model that was saved and loaded. A detector names its trunk
itself: it is the `backbone` that it was built on, and all other layers are its head. A network whose output is a map
marks the end of its trunk by `zoo.layers.TrunkMap`.

Batch norms of a pretrained trunk stay frozen, whatever is unfrozen: `trainable = False` is what keeps their moving
statistics. (A call with `training=False` inside a functional model does not, since `fit` overrides it.)
"""

import hashlib
from collections.abc import Iterator, Mapping

import keras

from transfer.tasks.settings import read_part
from zoo.layers import TrunkMap
from zoo.surgery.feature_maps import last_feature_map, levels
from zoo.surgery.flattening import flat

__all__ = [
    "FrozenWeightsChanged",
    "fingerprints",
    "freeze",
    "frozen_layers",
    "layers_at_any_depth",
    "raise_if_changed",
    "trunk",
    "trunk_levels",
    "unfreeze",
]


class FrozenWeightsChanged(RuntimeError):
    """Weights that were said to be frozen are not what they were before the training."""


def trunk(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers from the input to the last feature map, in the order of the graph.

    Of a detector, these are the layers of its `backbone`; of a network that marks the end of its trunk, those below.

    Raises:
        ValueError: The model has no feature map, or it has no graph, or none that can be made flat
            (`zoo.surgery.flattening.flat`).
    """
    backbone = _own_backbone(model)
    if backbone is not None:
        own = {id(layer) for layer in model.layers}
        return [layer for layer in backbone.layers if id(layer) in own]
    model = flat(model)
    end = model.layers.index(model.get_layer(last_feature_map(model)))
    return model.layers[: end + 1]


def trunk_levels(model: keras.Model) -> dict[str, str]:
    """Returns the last layer at each stride of the trunk: level "c1", "c2", ... (stride 2, 4, ...) -> layer name."""
    return levels(_own_backbone(model) or model)


def _own_backbone(model: keras.Model) -> keras.Model | None:
    """Returns the model that a detector, or a network with marks, was built on, whose layers are its own; else None."""
    marked = [layer.input for layer in model.layers if isinstance(layer, TrunkMap)]
    if marked:
        return keras.Model(model.inputs[0], marked)
    backbone = getattr(model, "backbone", None)
    nested = any(layer is backbone for layer in model.layers)
    return backbone if isinstance(backbone, keras.Model) and not nested else None


def freeze(model: keras.Model) -> None:
    """Freezes the trunk, in place; the head trains. This is `unfreeze(model, "none")`.

    Compile the model afterwards: what a compiled model trains does not change (`fine_tune` compiles).
    """
    unfreeze(model, "none")


def unfreeze(model: keras.Model, part: str | float, *, batch_norms: bool = False) -> None:
    """Sets, in place, which part of the trunk trains: the given one, and no other. The head always trains.

    Compile the model afterwards: what a compiled model trains does not change (`fine_tune` compiles).

    Args:
        model: A classifier, or a detector. Layers of models inside of it count like its own.
        part: "none"; "all"; a level such as "c4", for what lies above level c3 (the layers that make the maps of stride
            16 and deeper); the name of a layer of the trunk, for this layer and those after it; an integer, for the
            layer with this index in the trunk and those after it, as in `model.layers[56:]`; or a float in 0..1, for
            this fraction of the trunk's layers, counted from the top.
        batch_norms: Whether the batch norms in that part train, too. By default all batch norms of the trunk stay
            frozen, and their statistics with them.

    Raises:
        ValueError: The model does not have that level or layer, or the fraction is outside of 0..1.
        IndexError: The trunk does not have that many layers.

    Example:

    >>> from zoo import create_model
    >>> model = create_model("efficientnet_lite0", num_classes=5, input_shape=(64, 96, 3))
    >>> unfreeze(model, "c5")
    >>> [layer.name for layer in model.layers if layer.trainable and layer.weights][:2]
    ['block6a_dwconv', 'block6a_project_conv']
    >>> unfreeze(model, 56)
    >>> [layer.trainable for layer in (model.layers[55], *model.layers[56:58])]
    [False, True, True]
    """
    outer, model = model, flat(model)
    layers = trunk(model)
    first = _first_trainable(model, layers, part)
    frozen = {
        id(layer)
        for index, layer in enumerate(layers)
        if index < first or (isinstance(layer, keras.layers.BatchNormalization) and not batch_norms)
    }
    for container in outer._flatten_layers():
        if isinstance(container, keras.Model):
            container.trainable = True
    # Layer by layer: setting what the model already has is ignored on this backend, and does not reach its layers.
    for layer in model.layers:
        layer.trainable = id(layer) not in frozen


def _first_trainable(model: keras.Model, layers: list[keras.layers.Layer], part: str | float) -> int:
    """Returns the index of the lowest layer of the trunk that belongs to the part."""
    if part == "none":
        return len(layers)
    if part == "all":
        return 0
    number = read_part(part)
    if isinstance(number, int):
        if not -len(layers) <= number < len(layers):
            raise IndexError(f"the trunk of {model.name} has {len(layers)} layers, got the index {number}")
        return number % len(layers)
    if isinstance(number, float):
        if not 0 <= number <= 1:
            raise ValueError(f"the fraction of layers to unfreeze is in 0..1, got {number}")
        return len(layers) - round(number * len(layers))
    known = trunk_levels(model)
    names = [layer.name for layer in layers]
    if part in names and part not in known:
        return names.index(str(part))
    if part not in known:
        raise ValueError(
            f"{model.name} has no part {part!r} to unfreeze; expected one of none, all, {', '.join(known)}, the name "
            "of a layer of the trunk, the index of one (an integer), or a fraction in 0..1 (a float)"
        )
    below = list(known.values())[: list(known).index(str(part))]
    return layers.index(model.get_layer(below[-1])) + 1 if below else 0


def layers_at_any_depth(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer, bool]]:
    """Yields each layer that has weights, and those inside of models, wrappers and blocks.

    Yields:
        Its path in the model, such as "trunk/conv"; the layer; and whether it trains, which it does only if all that it
        is inside of train.
    """

    def visit(parent: keras.layers.Layer, path: str, trains: bool) -> Iterator[tuple[str, keras.layers.Layer, bool]]:
        for layer in parent._flatten_layers(include_self=False, recursive=False):
            own = f"{path}{layer.name}"
            its = trains and layer.trainable
            if layer.weights and not isinstance(layer, keras.Model):
                yield own, layer, its
            yield from visit(layer, f"{own}/", its)

    yield from visit(model, "", model.trainable)


def frozen_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Returns the layers that have weights and do not train, batch norms among them, at any depth, by their paths."""
    frozen: dict[str, keras.layers.Layer] = {}
    for path, layer, trains in layers_at_any_depth(model):
        if not trains and path.rpartition("/")[0] not in frozen:  # Those inside of it are frozen with it.
            frozen[path] = layer
    return frozen


def fingerprints(layers: Mapping[str, keras.layers.Layer]) -> dict[str, list[str]]:
    """Computes a digest of each weight of each layer, moving statistics included.

    Two digests are equal if and only if the weights are bit-identical.

    Args:
        layers: The layers by their paths, as `frozen_layers` returns them.

    Returns:
        Path of a layer -> digests, in the order of the layer's weights.
    """
    return {
        path: [hashlib.blake2b(weight.numpy().tobytes()).hexdigest() for weight in layer.weights]
        for path, layer in layers.items()
    }


def raise_if_changed(model: keras.Model, before: dict[str, list[str]]) -> None:
    """Compares the weights of frozen layers with what they were before the training.

    Args:
        model: The model after the training.
        before: The `fingerprints` of its frozen layers before the training.

    Raises:
        FrozenWeightsChanged: A weight is not bit-identical; the message names the layers.
    """
    after = fingerprints({path: layer for path, layer, _ in layers_at_any_depth(model) if path in before})
    changed = [path for path in before if before[path] != after.get(path)]
    if changed:
        shown = ", ".join(changed[:10]) + (f" and {len(changed) - 10} more" if len(changed) > 10 else "")
        raise FrozenWeightsChanged(
            f"{len(changed)} of {len(before)} frozen layers changed during training: {shown}. Expected them "
            "bit-identical to before. Does a callback set their weights, or their `trainable` without compiling again?"
        )
