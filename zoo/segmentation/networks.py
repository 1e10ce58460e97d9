"""The networks that give every pixel a class, by their names."""

import difflib
from collections.abc import Callable
from functools import partial

import keras

from zoo.segmentation.deeplab import deeplab_v3_plus
from zoo.segmentation.fully_convolutional import fcn
from zoo.segmentation.maps import check_backbone
from zoo.segmentation.u_net import backbone_unet
from zoo.surgery.feature_maps import levels

__all__ = ["create", "list_networks"]

UNET_FILTERS = {"c1": 24, "c2": 32, "c3": 48, "c4": 64, "c5": 128}


def _unet(backbone: keras.Model, num_classes: int) -> keras.Model:
    """Builds U-Net on those levels that the trunk has: a network with patches of 4 pixels has no c1."""
    own = [level for level in levels(backbone) if level in UNET_FILTERS]
    return backbone_unet(backbone, num_classes, levels=own, filters=[UNET_FILTERS[level] for level in own])


# Name -> a function from a trunk and the number of classes to the network. For processors without a GPU, the pyramid of
# DeepLabV3+ has half the channels of the paper's.
NETWORKS: dict[str, Callable[[keras.Model, int], keras.Model]] = {
    "unet": _unet,
    "fcn32s": partial(fcn, stride=32),
    "fcn16s": partial(fcn, stride=16),
    "fcn8s": partial(fcn, stride=8),
    "deeplab": partial(deeplab_v3_plus, filters=128),
}


def create(name: str, backbone: keras.Model, num_classes: int) -> keras.Model:
    """Builds a network by its name on a trunk.

    Args:
        name: One of `list_networks()`.
        backbone: A functional model from images of any size or of one size.
        num_classes: Number of classes, the background included.

    Returns:
        A model from images to probabilities, float32 `[n, height, width, num_classes]` at the size of the images.

    Raises:
        ValueError: The name is unknown, there are too few or too many classes, or the trunk lacks a map.

    Example:

    >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> create("fcn32s", backbone, 3).output_shape
    (None, 64, 96, 3)
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=3, cutoff=0.4) or list(NETWORKS)
        raise ValueError(f"no network is named {name!r}; near are {', '.join(near)} (zoo.segmentation.list_networks())")
    check_backbone(backbone)
    return NETWORKS[name](backbone, num_classes)


def list_networks() -> list[str]:
    """Lists the names that `create` takes.

    >>> list_networks()
    ['unet', 'fcn32s', 'fcn16s', 'fcn8s', 'deeplab']
    """
    return list(NETWORKS)
