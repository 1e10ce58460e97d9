"""The table of all families and their variants. Importing it loads no TensorFlow."""

import importlib
from difflib import get_close_matches
from fnmatch import fnmatchcase
from types import ModuleType

from zoo.models.variants import Variant

__all__ = ["FAMILIES", "family_of", "list_models"]

# Family (a module of this folder) -> names of its variants. The names are repeated here, so that models can be listed
# without importing the modules, which import Keras.
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
        "mobilenet_v2_torchvision",
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


def list_models(pattern: str = "*") -> list[str]:
    """Lists the names that `create_model` takes, in alphabetical order. Loads no TensorFlow.

    Args:
        pattern: Shell-style pattern that the names must match. Defaults to "*", which all names match.

    >>> list_models("*lite[01]")
    ['efficientnet_lite0', 'efficientnet_lite1']
    """
    names = (name for variants in FAMILIES.values() for name in variants)
    return sorted(name for name in names if fnmatchcase(name, pattern))


def family_of(variant: str | Variant) -> ModuleType:
    """Returns the module that defines a variant, by its name or its row.

    Raises:
        ValueError: No variant has that name. The message lists the names that are most similar.
    """
    if isinstance(variant, Variant):
        return importlib.import_module(type(variant).__module__)
    for family, names in FAMILIES.items():
        if variant in names:
            return importlib.import_module(f"zoo.models.{family}")
    near = get_close_matches(variant, list_models(), n=5, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "zoo.list_models() lists all names."
    raise ValueError(f"no model is named {variant!r}; {hint}")
