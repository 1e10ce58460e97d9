"""Which layers of a model train, and proof that the others stayed what they were.

A classifier is a *trunk*, from the image to the last feature map, and a *head* above it. Nothing marks the border: it
is read from the shapes, so that it is found again in a model that was saved and loaded. A detector names its trunk
itself: it is the `backbone` that it was built on, and all other layers are its head.

Batch norms of a pretrained trunk stay frozen, whatever is unfrozen: `trainable = False` is what keeps their moving
statistics. (A call with `training=False` inside a functional model does not, since `fit` overrides it.)
"""

import hashlib
from collections.abc import Iterable
from numbers import Integral, Real

import keras

from transfer.tasks.settings import read_part
from zoo.surgery.feature_maps import last_feature_map, levels

__all__ = [
    "FrozenWeightsChanged",
    "fingerprints",
    "freeze",
    "frozen_layers",
    "raise_if_changed",
    "trunk",
    "trunk_levels",
    "unfreeze",
]


class FrozenWeightsChanged(RuntimeError):
    """Weights that were said to be frozen are not what they were before the training."""


def trunk(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers from the input to the last feature map, in the order of the graph.

    Of a detector, these are the layers of its `backbone`.

    Raises:
        ValueError: The model has no feature map, or a trunk that is a model inside a model: freezing a part of it, and
            recognising its batch norms, takes a flat graph.
    """
    backbone = _own_backbone(model)
    if backbone is not None:
        own = {id(layer) for layer in model.layers}
        return [layer for layer in backbone.layers if id(layer) in own]
    end = model.layers.index(model.get_layer(last_feature_map(model)))
    layers = model.layers[: end + 1]
    nested = [layer.name for layer in layers if isinstance(layer, keras.Model)]
    if nested:
        raise ValueError(
            f"{model.name} has a model inside it ({nested[0]!r}); expected a flat one, such as transfer.classifier "
            "makes, or keras.applications with input_tensor"
        )
    return layers


def trunk_levels(model: keras.Model) -> dict[str, str]:
    """Returns the last layer at each stride of the trunk: level "c1", "c2", ... (stride 2, 4, ...) -> layer name."""
    return levels(_own_backbone(model) or model)


def _own_backbone(model: keras.Model) -> keras.Model | None:
    """Returns the model that a detector was built on, whose layers are the detector's own; None of other models."""
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
        model: A flat functional classifier, or a detector.
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
    layers = trunk(model)
    first = _first_trainable(model, layers, part)
    frozen = {
        id(layer)
        for index, layer in enumerate(layers)
        if index < first or (isinstance(layer, keras.layers.BatchNormalization) and not batch_norms)
    }
    model.trainable = True
    # Layer by layer: setting what the model already has is ignored on this backend, and does not reach its layers.
    for layer in model.layers:
        layer.trainable = id(layer) not in frozen


def _first_trainable(model: keras.Model, layers: list[keras.layers.Layer], part: str | float) -> int:
    """Returns the index of the lowest layer of the trunk that belongs to the part."""
    if part == "none":
        return len(layers)
    if part == "all":
        return 0
    part = read_part(part)
    if isinstance(part, Integral):
        if not -len(layers) <= part < len(layers):
            raise IndexError(
                f"the trunk of {model.name} has {len(layers)} layers, got the index {part} to unfreeze from"
            )
        return int(part) % len(layers)
    if isinstance(part, Real):
        if not 0 <= part <= 1:
            raise ValueError(f"the fraction of layers to unfreeze is in 0..1, got {part}")
        return len(layers) - round(part * len(layers))
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


def frozen_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers that have weights and do not train, batch norms among them."""
    return [layer for layer in model.layers if layer.weights and not layer.trainable]


def fingerprints(layers: Iterable[keras.layers.Layer]) -> dict[str, list[str]]:
    """Computes a digest of each weight of each layer, moving statistics included.

    Two digests are equal if and only if the weights are bit-identical.

    Returns:
        Layer name -> digests, in the order of the layer's weights.
    """
    return {
        layer.name: [hashlib.blake2b(weight.numpy().tobytes()).hexdigest() for weight in layer.weights]
        for layer in layers
    }


def raise_if_changed(model: keras.Model, before: dict[str, list[str]]) -> None:
    """Compares the weights of frozen layers with what they were before the training.

    Args:
        model: The model after the training.
        before: The `fingerprints` of its frozen layers before the training.

    Raises:
        FrozenWeightsChanged: A weight is not bit-identical; the message names the layers.
    """
    after = fingerprints(model.get_layer(name) for name in before)
    changed = [name for name in before if before[name] != after[name]]
    if changed:
        shown = ", ".join(changed[:10]) + (f" and {len(changed) - 10} more" if len(changed) > 10 else "")
        raise FrozenWeightsChanged(
            f"{len(changed)} of {len(before)} frozen layers changed during training: {shown}. Expected them "
            "bit-identical to before. Does a callback set their weights, or their `trainable` without compiling again?"
        )
