"""What is put on a backbone for a task of one's own: heads that classify, tag, measure, or several of these at once.

==================  =================================  ===========================
`classifier`        softmax over the classes           `fine_tune(...)`
`multi_label`       a sigmoid for each class           `task=MultiLabel()`
`regressor`         numbers                            `task=Regression()`
`several_heads`     a dict of these, from one trunk    `task=Tasks({...})`
`swap_head`         a trained trunk, another softmax   `fine_tune(...)`
==================  =================================  ===========================

All models are flat: every layer of the trunk is a layer of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from transfer.models.backbones import Backbone
from zoo import heads as tops
from zoo.surgery.feature_maps import strides
from zoo.surgery.graph import rebuild

__all__ = ["Head", "classifier", "multi_label", "regressor", "several_heads", "swap_head"]

ACTIVATIONS = ("softmax", "sigmoid", "linear")


@dataclass(frozen=True)
class Head:
    """One of several heads on a pooled feature map.

    Args:
        units: how many classes it tells apart, or numbers it gives.
        activation: "softmax" for one class of several, "sigmoid" for any number of them, "linear" for numbers.
        hidden: widths of dense layers with ReLU before the last one.
        dropout: rate before each dense layer, in [0, 1).
        mean, deviation: of the numbers in the training data, for "linear". The layers then learn what is left when
            these are taken out, which starts near 0 and varies by about 1; the head's output has the labels' unit.

    Raises:
        ValueError: arguments outside of these, or fewer than 2 classes for a softmax.

    >>> Head(3, hidden=(64,))
    Head(units=3, activation='softmax', hidden=(64,), dropout=0.2, mean=0.0, deviation=1.0)
    """

    units: int
    activation: str = "softmax"
    hidden: Sequence[int] = ()
    dropout: float = 0.2
    mean: float | Sequence[float] = 0.0
    deviation: float | Sequence[float] = 1.0

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation is one of {', '.join(ACTIVATIONS)}; got {self.activation!r}")
        if self.activation == "softmax" and self.units < 2:
            raise ValueError(f"a classifier tells at least 2 classes apart, got num_classes={self.units}")
        if self.units < 1:
            raise ValueError(f"a head has at least 1 output, got {self.units}")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden layers have a width of at least 1, got {tuple(self.hidden)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a rate in [0, 1), got {self.dropout}")
        if not (
            np.isfinite(self.mean).all() and (np.array(self.deviation) > 0).all() and np.isfinite(self.deviation).all()
        ):
            raise ValueError(
                f"mean is a number and deviation a positive one, got {self.mean} and {self.deviation}. Are all labels "
                "alike?"
            )
        if self.activation != "linear" and not self._is_plain:
            raise ValueError(f"mean and deviation are of numbers: give them with activation='linear', not {self}")

    def __call__(self, x, *, seed: int, prefix: str = ""):
        """Puts the head on a vector `[n, c]`: float32 `[n, units]`."""
        x = tops.answers(
            x,
            self.units,
            activation=self.activation,
            hidden=self.hidden,
            dropout=self.dropout,
            seed=seed,
            prefix=prefix,
        )
        if self._is_plain:
            return x
        scale, offset = (np.asarray(value, float).tolist() for value in (self.deviation, self.mean))
        return keras.layers.Rescaling(scale, offset=offset, dtype="float32", name=f"{prefix}unit")(x)

    @property
    def _is_plain(self) -> bool:
        return bool(np.all(np.equal(self.mean, 0)) and np.all(np.equal(self.deviation, 1)))


def classifier(
    backbone: Backbone,
    num_classes: int,
    *,
    dropout: float = 0.2,
    seed: int = 0,
    pooling: str = "average",
    hidden: Sequence[int] = (),
) -> keras.Model:
    """Global pooling, dropout and a softmax over the classes, on a backbone's last feature map.

    The model is flat: every layer of the trunk is a layer of it, and shares its weights with the backbone's model.

    Args:
        backbone: what `transfer.backbone` returns.
        num_classes: at least 2.
        dropout: rate before each dense layer, in [0, 1).
        seed: of the dense layers' first weights, and of the dropout.
        pooling: "average", "max" or "both"; see `zoo.heads.pooled`.
        hidden: widths of dense layers with ReLU before the last one.

    Returns:
        A model from RGB in 0..255, `[n, height, width, 3]`, to probabilities, float32 `[n, num_classes]`.

    Raises:
        ValueError: fewer than two classes, an unknown pooling, or a rate outside [0, 1).

    Example:

    >>> from transfer.models.backbones import backbone
    >>> trunk = backbone("efficientnet_lite0", image_size=(64, 96), weights=None)
    >>> classifier(trunk, 5, pooling="both", hidden=[64]).output_shape
    (None, 5)
    """
    return _on_trunk(backbone, Head(num_classes, hidden=hidden, dropout=dropout), pooling, seed)


def multi_label(
    backbone: Backbone,
    num_classes: int,
    *,
    dropout: float = 0.2,
    seed: int = 0,
    pooling: str = "average",
    hidden: Sequence[int] = (),
) -> keras.Model:
    """A probability for each class by itself, for images that show any number of them: `task=MultiLabel()`.

    Args: as of `classifier`; one class is enough.

    Returns:
        A model from RGB in 0..255, `[n, height, width, 3]`, to probabilities, float32 `[n, num_classes]`, which need
        not sum to 1.

    Raises:
        ValueError: as of `classifier`.

    Example:

    >>> from transfer.models.backbones import backbone
    >>> trunk = backbone("efficientnet_lite0", image_size=(64, 96), weights=None)
    >>> multi_label(trunk, 5).layers[-1].activation.__name__
    'sigmoid'
    """
    return _on_trunk(backbone, Head(num_classes, "sigmoid", hidden, dropout), pooling, seed)


def regressor(
    backbone: Backbone,
    units: int = 1,
    *,
    mean: float | Sequence[float] = 0.0,
    deviation: float | Sequence[float] = 1.0,
    dropout: float = 0.2,
    seed: int = 0,
    pooling: str = "average",
    hidden: Sequence[int] = (),
) -> keras.Model:
    """Numbers for each image: `task=Regression()`.

    Args:
        backbone: what `transfer.backbone` returns.
        units: how many numbers.
        mean, deviation: of these numbers in the training data; see `Head`.
        dropout, seed, pooling, hidden: as of `classifier`.

    Returns:
        A model from RGB in 0..255, `[n, height, width, 3]`, to float32 `[n, units]` in the labels' unit.

    Raises:
        ValueError: as of `Head`, or an unknown pooling.

    Example:

    >>> from transfer.models.backbones import backbone
    >>> trunk = backbone("efficientnet_lite0", image_size=(64, 96), weights=None)
    >>> regressor(trunk, mean=1500.0, deviation=400.0).output_shape
    (None, 1)
    """
    return _on_trunk(backbone, Head(units, "linear", hidden, dropout, mean, deviation), pooling, seed)


def several_heads(
    backbone: Backbone, heads: Mapping[str, Head], *, pooling: str = "average", seed: int = 0
) -> keras.Model:
    """Several answers about each image from one trunk, which runs once: `task=Tasks({...})` with the same names.

    Args:
        backbone: what `transfer.backbone` returns.
        heads: by the names of the outputs.
        pooling: as of `classifier`; the heads share it.
        seed: of the dense layers' first weights, and of the dropout.

    Returns:
        A model from RGB in 0..255, `[n, height, width, 3]`, to a dict of float32 `[n, units]`. `transfer.export` takes
        models of one answer: `keras.Model(model.input, model.output["species"])` is one, and shares the weights.

    Raises:
        ValueError: no head, one whose name cannot be a layer's, or an unknown pooling.

    Example:

    >>> from transfer.models.backbones import backbone
    >>> trunk = backbone("efficientnet_lite0", image_size=(64, 96), weights=None)
    >>> model = several_heads(trunk, {"species": Head(3), "age": Head(1, "linear", mean=4.0, deviation=2.0)})
    >>> {name: tuple(answers.shape) for name, answers in model(keras.ops.zeros((2, 64, 96, 3))).items()}
    {'species': (2, 3), 'age': (2, 1)}
    """
    if not heads:
        raise ValueError("expected at least one head by the name of its output, got none")
    for name in heads:
        if not name.isidentifier() or name.startswith("_"):
            raise ValueError(f"a head's name is letters, digits and _, and does not begin with _; got {name!r}")
    features = _pooled(backbone, pooling)
    outputs = {name: head(features, seed=seed + i, prefix=f"{name}_") for i, (name, head) in enumerate(heads.items())}
    return keras.Model(backbone.model.input, outputs, name=backbone.model.name)


def swap_head(
    model: keras.Model,
    num_classes: int,
    *,
    activation: str = "softmax",
    dropout: float = 0.2,
    seed: int = 0,
    pooling: str = "average",
    hidden: Sequence[int] = (),
) -> keras.Model:
    """A new model of the same trunk, with copies of its weights, and a fresh head for other classes.

    The trunk ends at the last map whose size depends on the image's. All above it is left out, hidden layers included.

    Args:
        model: any functional model on images: a trained classifier, one of `keras.applications` with its top, ...
        num_classes: of the new head.
        activation: "softmax", "sigmoid" for any number of classes for each image, or "linear" for numbers.
        dropout, seed, pooling, hidden: as of `classifier`.

    Returns:
        A flat model, not compiled. The one that was given stays as it is, and shares nothing with it.

    Raises:
        ValueError: a model without a feature map, or as of `classifier`.

    Example:

    >>> import zoo
    >>> trained = zoo.create_model("efficientnet_lite0", input_shape=(64, 96, 3))
    >>> swap_head(trained, 5).output_shape, trained.output_shape
    ((None, 5), (None, 1000))
    """
    maps = [layer for layer in strides(model) if not isinstance(model.get_layer(layer), keras.layers.InputLayer)]
    if not maps:
        raise ValueError(f"{model.name} has no feature map whose size depends on the image's, so nothing to keep")
    trunk = rebuild(keras.Model(model.input, model.get_layer(maps[-1]).output, name=model.name))
    head = Head(num_classes, activation, hidden, dropout)
    return keras.Model(trunk.input, head(tops.pooled(trunk.output, pooling), seed=seed), name=model.name)


def _on_trunk(backbone: Backbone, head: Head, pooling: str, seed: int) -> keras.Model:
    trunk = backbone.model
    return keras.Model(trunk.input, head(_pooled(backbone, pooling), seed=seed), name=trunk.name)


def _pooled(backbone: Backbone, pooling: str):
    return tops.pooled(backbone.model.output, pooling)
