"""How much of a backbone to train, by the number of images, and by how unlike the backbone's own images they are."""

from dataclasses import dataclass

import keras
import numpy as np

from pipelines import Data, batches
from transfer.models.backbones import Backbone
from transfer.training.plan import Plan

__all__ = ["Recommendation", "feature_shift", "recommend"]

FEW, MANY = 50, 1000  # images of the smallest class
UNLIKE = 0.5  # the shift from which on images are unlike those of the backbone
LOOKED_AT = 128  # images, for the shift


@dataclass(frozen=True)
class Recommendation:
    """What to train, and why.

    Attributes:
        name: "head", "staged" or "all".
        unfreeze: The part or the parts of the trunk, as `transfer.Plan` takes them.
        head_epochs: Number of epochs of the first phase.
        epochs: Number of epochs of each later phase.
        batch_norms: What becomes of the trunk's batch norms, as `Plan` takes it.
        images_per_class: Number of training images of the smallest class.
        shift: How far features lie off those of the backbone's own images (`feature_shift`); None for a trunk without
            batch norms.
        reason: The reason in words.
    """

    name: str
    unfreeze: str | float | tuple[str, ...]
    head_epochs: int
    epochs: int
    batch_norms: str
    images_per_class: int
    shift: float | None
    reason: str

    @property
    def plan(self) -> Plan:
        """The phases, for `fine_tune(..., plan=recommendation.plan)`."""
        return Plan(
            head_epochs=self.head_epochs, epochs=self.epochs, unfreeze=self.unfreeze, batch_norms=self.batch_norms
        )


def recommend(data: Data, backbone: Backbone) -> Recommendation:
    """Recommends how much of a backbone to train on data.

    ======================  =========================  ============================================
    images a class          like ImageNet              unlike ImageNet
    ======================  =========================  ============================================
    fewer than 50           the head only              staged, c5 then c4; batch norms re-estimated
    50 to 1000              staged, c5 then c4         staged, c5 to c3; batch norms re-estimated
    more than 1000          all                        all; batch norms re-estimated
    ======================  =========================  ============================================

    This is a rule of thumb: the fewer images there are, the fewer weights can learn from them; and the more unlike the
    backbone's own images they are, the more weights have to change. Source of the rule: Yosinski et al. 2014, "How
    transferable are features in deep neural networks?". The limits in the table are this project's own.

    Args:
        data: The data, whose training images are counted; some of them are looked at.
        backbone: The backbone, with pretrained weights.

    Raises:
        ValueError: There are no training images, or an image has not exactly one class.

    Example:

    >>> from pipelines import read_data
    >>> from transfer.models.backbones import backbone
    >>> digits = read_data("sklearn:digits")
    >>> print(recommend(digits, backbone("efficientnet_lite0", image_size=64)).name)
    staged
    """
    if data.kind != "classes" or not len(data.train):
        raise ValueError("expected training images with one class each; got none, or labels of another kind")
    counts = np.bincount(data.train.labels, minlength=len(data.class_names))
    fewest = int(counts.min())
    shift = feature_shift(data, backbone)
    unlike = shift is not None and shift > UNLIKE
    norms = "re-estimated" if unlike else "frozen"
    unfreeze: str | tuple[str, ...]
    if fewest > MANY:
        name, unfreeze, why = "all", "all", "that many images can teach all weights something"
    elif fewest < FEW and not unlike:
        name, unfreeze, why = "head", "none", "that few images would spoil more of the backbone than they teach it"
    else:
        levels = ("c5", "c4", "c3") if unlike and fewest >= FEW else ("c5", "c4")
        name, unfreeze = "staged", tuple(level for level in levels if level in backbone.levels)
        why = "train the deepest levels, step by step: they are the most specific to what the backbone learnt before"
    likeness = (
        "whether they are like ImageNet's is not known, since the backbone has no batch norms"
        if shift is None
        else f"features lie {shift:.2f} standard deviations off those of the backbone's own data, which is "
        + ("much" if unlike else "little")
    )
    reason = f"the smallest class has {fewest} training images; {likeness}: {why}"
    epochs = 0 if name == "head" else 10 if name == "all" else 5
    return Recommendation(name, unfreeze, 10 if name == "head" else 3, epochs, norms, fewest, shift, reason)


def feature_shift(data: Data, backbone: Backbone) -> float | None:
    """Computes how far the features of images are from those that a backbone was trained on.

    The batch norms of the backbone remember means and deviations. The shift is the distance between the images' mean
    and the moving mean of a channel, in moving standard deviations, averaged over all channels of all batch norms. It
    is near 0 for images of the same kind.

    Args:
        data: The data, of whose training images up to 128 are looked at, spread over all of them.
        backbone: The backbone, with pretrained weights.

    Returns:
        The shift; None for a trunk without batch norms.
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
