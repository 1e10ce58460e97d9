"""The table of families, and the two functions that most people need: `list_models` and `create_model`.

A family is one file of this folder, named after its paper's network, and holds

* a frozen dataclass (a `Variant`) whose fields are the columns of the paper's table;
* `VARIANTS`, its rows by name;
* `trunk(image, variant)`, from RGB in 0..255 to the last feature map, normalisation included; where the head needs
  more than that, a dict that has it as "feature_map";
* `head(x, variant, num_classes, activation)`, from there to the class probabilities.

So a network that is not in a table is a row of one's own:

>>> from dataclasses import replace
>>> from zoo.models import create_model, efficientnet
>>> narrow = replace(efficientnet.VARIANTS["efficientnet_lite0"], width=0.5)
>>> create_model(narrow, input_shape=(64, 96, 3), num_classes=5).output_shape
(None, 5)
"""

import importlib
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

__all__ = ["FAMILIES", "Variant", "create_model", "list_models"]

# Family (a module of this folder) -> the names of its variants. Held here, not only in the modules, so that models
# can be listed without importing Keras.
FAMILIES: dict[str, tuple[str, ...]] = {
    "alexnet": ("alexnet",),
    "convnext": ("convnext_tiny",),
    "csp": ("cspresnet50", "cspdarknet53"),
    "densenet": ("densenet121", "densenet169", "densenet201"),
    "efficientnet": (
        *(f"efficientnet_b{i}" for i in range(8)),
        *(f"efficientnet_lite{i}" for i in range(5)),
    ),
    "googlenet": (
        "googlenet",
        "googlenet_auxiliary",
        "googlenet_bn",
        "googlenet_bn_auxiliary",
        "googlenet_torchvision",
    ),
    "inception_resnet_v2": ("inception_resnet_v2",),
    "inception_v3": ("inception_v3",),
    "inception_v4": ("inception_v4",),
    "lenet": ("lenet5", "lenet5_rbf"),
    "mobilenet": ("mobilenet_v1", "mobilenet_v1_075", "mobilenet_v1_050", "mobilenet_v1_025"),
    "mobilenet_v2": (
        "mobilenet_v2",
        "mobilenet_v2_035",
        "mobilenet_v2_050",
        "mobilenet_v2_075",
        "mobilenet_v2_130",
        "mobilenet_v2_140",
    ),
    "mobilenet_v3": (
        "mobilenet_v3_large",
        "mobilenet_v3_large_075",
        "mobilenet_v3_small",
        "mobilenet_v3_small_075",
    ),
    "resnet": (
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnet50_v1_5",
        "resnet101_v1_5",
        "resnet152_v1_5",
        "wide_resnet50_2",
    ),
    "resnet_v2": ("resnet50_v2", "resnet101_v2", "resnet152_v2"),
    "resnext": ("resnext50_32x4d", "resnext101_32x8d"),
    "senet": ("se_resnet50", "se_resnet101", "se_resnet152", "se_resnext50_32x4d", "se_inception"),
    "textbook": ("fashion_cnn", "fashion_dense", "mnist_convnet", "mnist_dense"),
    "vgg": ("vgg11", "vgg13", "vgg16", "vgg19"),
    "vit": ("vit_tiny_patch16", "vit_small_patch16", "vit_base_patch16"),
    "wide_resnet": ("wrn_28_10", "wrn_16_8", "wrn_40_4"),
    "xception": ("xception",),
    "zfnet": ("zfnet",),
}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What every row of a family's table has; a family adds the columns of its paper.

    Attributes:
        image_size: height and width in pixels that the network was designed for.
        min_size: the smallest height or width that it can take.
        channels: of the image that it was designed for.
        num_classes: of the data that it was designed for.
    """

    image_size: int = 224
    min_size: int = 32
    channels: int = 3
    num_classes: int = 1000


def list_models(pattern: str = "*") -> list[str]:
    """Names that `create_model` takes, sorted, that match a shell-style pattern. Loads no TensorFlow.

    >>> list_models("*lite[01]")
    ['efficientnet_lite0', 'efficientnet_lite1']
    """
    names = (name for variants in FAMILIES.values() for name in variants)
    return sorted(name for name in names if fnmatchcase(name, pattern))


def family_of(variant: str | Variant) -> ModuleType:
    """The module that defines a variant, given its name or a row."""
    if isinstance(variant, Variant):
        return importlib.import_module(type(variant).__module__)
    for family, names in FAMILIES.items():
        if variant in names:
            return importlib.import_module(f"zoo.models.{family}")
    near = get_close_matches(variant, list_models(), n=5, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "zoo.list_models() has them all."
    raise ValueError(f"no model is named {variant!r}; {hint}")


def create_model(
    variant: str | Variant,
    *,
    num_classes: int | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    weights: Any = None,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    in_channels: str | None = None,
) -> "keras.Model":
    """Builds a flat functional model that takes RGB in 0..255 and normalises inside.

    Args:
        variant: a name from `list_models`, or a row of a family's table with values of one's own.
        num_classes: width of the classifier; unless told, the variant's own, which is 1000 for photos. If told, and
            the weights are for another number, the classifier starts afresh, and a warning says so.
        input_shape: (height, width, channels); height and width may be None where the head allows it. The variant's
            own size unless told.
        weights: None for random ones; "imagenet"; or the path of a file that `zoo.weights.pretrained.load_weights`
        reads.
        include_top: False ends the model at the last feature map.
        classifier_activation: of the last layer; None gives logits.
        in_channels: "adapt" lets weights into a model for images of other channels than they were trained on: the
            kernel of the first convolution is summed or tiled and rescaled, so that a grey image gives the same first
            activation, and a warning says so.

    Returns:
        `[n, height, width, channels]` in 0..255 -> float32 `[n, num_classes]`, or the last feature map.

    Raises:
        ValueError: unknown name, an input smaller than the network can take, `num_classes` where there is no top,
            `in_channels` where there are no weights, or weights that do not fit.
        FileNotFoundError: weights that cannot be had; the message says how to get them.

    Example:

    >>> import zoo
    >>> model = zoo.create_model("efficientnet_lite0", num_classes=10, input_shape=(64, 96, 3))
    >>> model.output_shape
    (None, 10)
    """
    import keras

    name = variant if isinstance(variant, str) else type(variant).__name__.lower()
    row = family_of(variant).VARIANTS[variant] if isinstance(variant, str) else variant
    # The table may list rows that another family builds: ResNeXt's are ResNet's
    family = family_of(row)
    if not include_top and num_classes is not None:
        raise ValueError(f"include_top=False has no classifier for num_classes={num_classes}: give only one of them")
    if in_channels is not None and weights is None:
        raise ValueError(f"in_channels={in_channels!r} adapts weights, but weights is None: give only one of them")
    shape = _checked_shape(name, row, input_shape)

    image = keras.Input(shape, name="image")
    x = family.trunk(image, row)
    if include_top:
        x = family.head(x, row, row.num_classes if num_classes is None else num_classes, classifier_activation)
    elif isinstance(x, dict):
        x = x["feature_map"]
    model = keras.Model(image, x, name=name)
    if weights is not None:
        from zoo.weights.pretrained import load_weights

        load_weights(model, weights, fresh_head=num_classes is not None, in_channels=in_channels)
    return model


def _checked_shape(name: str, row: Variant, shape: tuple | None) -> tuple:
    if shape is None:
        return (row.image_size, row.image_size, row.channels)
    if len(shape) != 3 or shape[2] is None:
        raise ValueError(f"input_shape is (height, width, channels), got {shape}")
    if any(size is not None and size < row.min_size for size in shape[:2]):
        raise ValueError(f"{name} needs an image of at least {row.min_size}x{row.min_size} pixels, got {shape}")
    return tuple(shape)
