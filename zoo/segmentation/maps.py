"""What all networks that give every pixel a class have in common: maps of a trunk, and probabilities at the end."""

from collections.abc import Sequence

import keras

from zoo.layers import TrunkMap
from zoo.surgery.feature_maps import levels as levels_of
from zoo.surgery.flattening import flat, output_of

__all__ = ["check_backbone", "check_classes", "pixels", "trunk_maps"]


def trunk_maps(backbone: keras.Model, names: Sequence[str]) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Returns the input of a trunk, and some of its feature maps, each behind a `zoo.layers.TrunkMap`.

    Args:
        backbone: A functional model with one image input. What is built on the maps shares its layers and weights.
        names: Levels (`zoo.surgery.feature_maps.levels`), or names of layers.

    Raises:
        ValueError: The backbone is no model, or does not have one of the maps.

    Example:

    >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> image, (c2, c5) = trunk_maps(backbone, ("c2", "c5"))
    >>> c2.shape[1:3], c5.shape[1:3]
    ((16, 24), (2, 3))
    """
    check_backbone(backbone)
    model = flat(backbone)
    known = levels_of(model)
    own = {layer.name for layer in model.layers}
    missing = [name for name in names if name not in known and name not in own]
    if missing:
        raise ValueError(
            f"{backbone.name} has no map {', '.join(missing)}; expected levels ({', '.join(known)}) or names of layers"
        )
    maps = [TrunkMap(name=f"trunk_{name}")(output_of(model, known.get(name, name))) for name in names]
    return model.inputs[0], maps


def pixels(x, num_classes: int, *, activation: str | None = "softmax", name: str = "pixels"):
    """Turns the last map into a probability of each class for every pixel, by a 1x1 convolution; in float32."""
    x = keras.layers.Conv2D(num_classes, 1, name=f"{name}_scores")(x)
    return keras.layers.Activation(activation or "linear", dtype="float32", name=name)(x)


def check_backbone(backbone: keras.Model) -> None:
    """Raises a `ValueError` where a trunk is not a model, such as its name."""
    if not isinstance(backbone, keras.Model):
        hint = "; pass its .model" if isinstance(getattr(backbone, "model", None), keras.Model) else ""
        raise ValueError(f"expected the backbone as a keras.Model, got {type(backbone).__name__}{hint}")


def check_classes(num_classes: int) -> None:
    """Raises a `ValueError` where there are fewer than two classes, or more than a mask of 8 bits can hold."""
    if not 2 <= num_classes <= 255:
        raise ValueError(
            f"expected 2 to 255 classes, the background included (255 itself means: no class), got {num_classes}"
        )
