"""How much of a backbone to train, from how many images there are and how much they are like those it learnt from."""

from dataclasses import dataclass

import keras
import numpy as np

from pipelines import Data, batches
from transfer.models.backbones import Backbone

__all__ = ["Recommendation", "feature_shift", "recommend"]

FEW, MANY = 50, 1000  # images a class
UNLIKE = 0.5
LOOKED_AT = 128  # images, for the likeness


@dataclass(frozen=True)
class Recommendation:
    """What to train, as arguments of `fine_tune`, and why.

    Attributes:
        name: "head", "staged" or "all".
        unfreeze: the part or parts of the trunk.
        head_epochs, epochs: of the first phase, and of each later one.
        batch_norms: as `fine_tune` takes it.
        images_per_class: of the smallest class of the training images.
        shift: see `feature_shift`; None for a trunk without batch norms.
        reason: in words.
    """

    name: str
    unfreeze: str | float | tuple[str, ...]
    head_epochs: int
    epochs: int
    batch_norms: str
    images_per_class: int
    shift: float | None
    reason: str


def recommend(data: Data, backbone: Backbone) -> Recommendation:
    """Recommends how much of a backbone to train on data.

    ======================  =========================  ============================================
    images a class          like ImageNet              unlike ImageNet
    ======================  =========================  ============================================
    fewer than 50           the head only              staged, c5 then c4; batch norms re-estimated
    50 to 1000              staged, c5 then c4         staged, c5 to c3; batch norms re-estimated
    more than 1000          all                        all; batch norms re-estimated
    ======================  =========================  ============================================

    A rule of thumb: the fewer images, the fewer weights can be told anything by them; the less they are like the old
    ones, the more has to change. Source of the rule: Yosinski et al. 2014, "How transferable are features in deep
    neural networks?". Where the lines are drawn is ours.

    Args:
        data: whose training images are counted, and some of them looked at.
        backbone: with pretrained weights.

    Raises:
        ValueError: data without training images, or not of one class for each image.

    Example:

    >>> from pipelines import read_data
    >>> from transfer.models.backbones import backbone
    >>> digits = read_data("sklearn:digits")
    >>> print(recommend(digits, backbone("efficientnet_lite0", image_size=64)).name)
    staged
    """
    if data.task != "classes" or not len(data.train):
        raise ValueError("expected training images with one class each; got none, or labels of another kind")
    counts = np.bincount(data.train.labels, minlength=len(data.class_names))
    fewest = int(counts.min())
    shift = feature_shift(data, backbone)
    unlike = shift is not None and shift > UNLIKE
    norms = "re-estimated" if unlike else "frozen"
    unfreeze: str | tuple[str, ...]
    if fewest > MANY:
        name, unfreeze, why = "all", "all", "so many images can tell all weights something"
    elif fewest < FEW and not unlike:
        name, unfreeze, why = "head", "none", "so few images would spoil more of the backbone than they teach it"
    else:
        levels = ("c5", "c4", "c3") if unlike and fewest >= FEW else ("c5", "c4")
        name, unfreeze = "staged", tuple(level for level in levels if level in backbone.levels)
        why = "train the deepest levels, step by step: these are the most particular to what was learnt before"
    likeness = (
        "how much they are like ImageNet's is not known, since the backbone has no batch norms"
        if shift is None
        else f"features lie {shift:.2f} standard deviations off those of the backbone's own data, which is "
        + ("much" if unlike else "little")
    )
    reason = f"the smallest class has {fewest} training images; {likeness}: {why}"
    epochs = 0 if name == "head" else 10 if name == "all" else 5
    return Recommendation(name, unfreeze, 10 if name == "head" else 3, epochs, norms, fewest, shift, reason)


def feature_shift(data: Data, backbone: Backbone) -> float | None:
    """How far the features of images are from those that a backbone was trained on, which its batch norms remember.

    The mean over the channels of the trunk's batch norms of the distance between the images' mean and the moving mean,
    in moving standard deviations: near 0 for images of the same kind.

    Args:
        data: of whose training images up to 128 are looked at, spread over all.
        backbone: with pretrained weights.

    Returns:
        The distance; None for a trunk without batch norms.
    """
    norms = [layer for layer in backbone.model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return None
    means = keras.Model(
        backbone.model.input,
        [keras.ops.mean(norm.input, axis=tuple(range(len(norm.input.shape) - 1))) for norm in norms],
    )
    chosen = np.unique(np.linspace(0, len(data.train) - 1, LOOKED_AT).astype(int))
    some = batches(data.train[chosen], backbone.crop, cache=False)
    found = [keras.tree.flatten(means(images, training=False)) for images, *_ in some]
    shifts = []
    for norm, values in zip(norms, zip(*found, strict=True), strict=True):
        mean = np.mean([np.asarray(value) for value in values], axis=0)
        deviation = np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
        shifts.append(np.abs(mean - norm.moving_mean.numpy()) / deviation)
    return float(np.mean(np.concatenate(shifts)))
