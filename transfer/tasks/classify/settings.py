"""The settings of classification."""

from dataclasses import dataclass

from transfer.tasks.settings import Settings, setting

__all__ = ["Classify"]


@dataclass(frozen=True, kw_only=True)
class Classify(Settings):
    """What `transfer.fit` can be asked for where each image has one class of several.

    The recipe "textbook" is that of Géron's "Hands-On Machine Learning", chapter 14: Xception at 224 pixels; 10% of the
    images for testing and 15% for validation; flips, rotation and contrast; 3 epochs of the head with SGD at 0.1, and
    10 epochs of the layers from index 56 on at 0.01. Unlike there, batch norms stay frozen, the crop is the central
    87.5% that the network was measured with, and there is dropout before the head.

    Example:

    >>> Classify(epochs=5, unfreeze="c5,c4").unfreeze
    ('c5', 'c4')
    >>> Classify.from_recipe("textbook", {"learning_rate": 1e-4}).learning_rate
    0.0001
    """

    recipes = {  # noqa: RUF012  It is a ClassVar of Settings.
        "textbook": {
            "backbone": "keras:Xception",
            "image_size": 224,
            "test": 0.10,
            "valid": 0.15,
            "augment": "textbook",
            "head_epochs": 3,
            "epochs": 10,
            "unfreeze": "block7_sepconv1_act",  # This is layer 56 of keras.applications.Xception.
            "head_learning_rate": 0.1,
            "learning_rate": 0.01,
            "optimizer": "sgd",
            "momentum": 0.9,
        }
    }

    augment: str = setting(
        "light", "Random changes of training images.", choices=("none", "light", "strong", "textbook")
    )
    balance: str = setting(
        "none",
        "How classes with few images are balanced: even and oversample show them more often, weights lets them count "
        "more.",
        choices=("none", "even", "oversample", "weights"),
    )
    mix: str = setting(
        "none", "Whether training images are mixed in pairs, and their labels with them.",
        choices=("none", "mixup", "cutmix"),
    )  # fmt: skip
    label_smoothing: float = setting(
        0.0, "Share by which the wanted probabilities are moved towards equal ones.", low=0, high=1, below=True,
        advanced=True,
    )  # fmt: skip
    focal_gamma: float = setting(
        0.0, "How much less answers count that are right already; 0 is plain cross-entropy.", low=0, advanced=True
    )
