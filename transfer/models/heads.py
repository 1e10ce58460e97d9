"""Heads for backbones: one class of several, any number of labels, numbers, or several of these at once.

==================  =================================  ===============================
`classifier`        softmax over the classes           `fine_tune(...)`
`multi_label`       a sigmoid for each class           `objective=MultiLabel()`
`regressor`         numbers                            `objective=Regression()`
`several_heads`     a dict of these, from one trunk    `objective=Objectives({...})`
`swap_head`         a trained trunk, another softmax   `fine_tune(...)`
`with_activation`   a model of logits, with a softmax  `fine_tune(...)`
==================  =================================  ===============================

All models are flat: every layer of the trunk is a layer of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import keras
import numpy as np

from transfer.models.backbones import Backbone
from transfer.python_values import as_python
from zoo import heads as tops
from zoo.surgery.feature_maps import strides
from zoo.surgery.flattening import flat, functional, output_of
from zoo.surgery.graph import rebuild

__all__ = ["Head", "classifier", "multi_label", "regressor", "several_heads", "swap_head", "with_activation"]

ACTIVATIONS = ("softmax", "sigmoid", "linear")


@dataclass(frozen=True)
class Head:
    """A head on a pooled feature map.

    Args:
        units: Number of classes that it tells apart, or of numbers that it gives.
        activation: "softmax", the default, for one class of several; "sigmoid" for any number of labels; "linear" for
            numbers.
        hidden: Widths of dense layers with ReLU before the last one. There are none by default.
        dropout: Rate before each dense layer, in [0, 1). Defaults to 0.2.
        mean: For "linear", the mean of the numbers in the training data, or one mean for each number. The layers then
            learn the numbers less this mean, over the deviation, so that they start near 0 and vary by about 1; the
            output of the head has the unit of the labels. Defaults to 0.
        deviation: For "linear", the standard deviation of these numbers, or one for each number. Defaults to 1.

    Raises:
        ValueError: An argument is out of its range, or there are fewer than 2 classes for a softmax.

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
        for f in fields(self):
            object.__setattr__(self, f.name, as_python(getattr(self, f.name)))
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
        """Puts the head on a tensor `[n, c]`, and returns a tensor of float32 `[n, units]`."""
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
    """Makes a classifier: global pooling, dropout and a softmax over the classes, on a backbone's last feature map.

    The model is flat: every layer of the trunk is a layer of it, and shares its weights with the backbone's model.

    Args:
        backbone: The backbone, as `transfer.backbone` returns it.
        num_classes: Number of classes, at least 2.
        dropout: Rate before each dense layer, in [0, 1). Defaults to 0.2.
        seed: Seed of the dense layers' first weights, and of the dropout. Defaults to 0.
        pooling: "average", the default, "max" or "both"; see `zoo.heads.pooled`.
        hidden: Widths of dense layers with ReLU before the last one. There are none by default.

    Returns:
        A model from RGB in 0..255, `[n, height, width, 3]`, to probabilities, float32 `[n, num_classes]`.

    Raises:
        ValueError: There are fewer than two classes, the pooling is unknown, or a rate lies outside of [0, 1).

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
    """Makes a model for any number of labels: a probability for each label by itself, for `objective=MultiLabel()`.

    Args:
        backbone: The backbone, as `transfer.backbone` returns it.
        num_classes: Number of labels, at least 1.
        dropout: Rate before each dense layer, in [0, 1). Defaults to 0.2.
        seed: Seed of the dense layers' first weights, and of the dropout. Defaults to 0.
        pooling: "average", the default, "max" or "both"; see `zoo.heads.pooled`.
        hidden: Widths of dense layers with ReLU before the last one. There are none by default.

    Returns:
        A model from RGB in 0..255, `[n, height, width, 3]`, to probabilities, float32 `[n, num_classes]`, whose sum
        need not be 1.

    Raises:
        ValueError: There is no label, the pooling is unknown, or a rate lies outside of [0, 1).

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
    """Makes a model that gives numbers for each image, for `objective=Regression()`.

    Args:
        backbone: The backbone, as `transfer.backbone` returns it.
        units: Number of numbers for each image. Defaults to 1.
        mean: Mean of these numbers in the training data, or one mean for each number; see `Head`. Defaults to 0.
        deviation: Their standard deviation, or one for each number. Defaults to 1.
        dropout: Rate before each dense layer, in [0, 1). Defaults to 0.2.
        seed: Seed of the dense layers' first weights, and of the dropout. Defaults to 0.
        pooling: "average", the default, "max" or "both"; see `zoo.heads.pooled`.
        hidden: Widths of dense layers with ReLU before the last one. There are none by default.

    Returns:
        A model from RGB in 0..255, `[n, height, width, 3]`, to float32 `[n, units]` in the unit of the labels.

    Raises:
        ValueError: A mean or a deviation is none (see `Head`), or the pooling is unknown.

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
    """Makes a model with several heads on one trunk, which runs once, for `objective=Objectives({...})`.

    Args:
        backbone: The backbone, as `transfer.backbone` returns it.
        heads: The heads by the names of the outputs; the objectives have the same names.
        pooling: "average", the default, "max" or "both"; the heads share it.
        seed: Seed of the dense layers' first weights, and of the dropout. Defaults to 0.

    Returns:
        A model from RGB in 0..255, `[n, height, width, 3]`, to a dict of float32 `[n, units]`.

    Raises:
        ValueError: There is no head, a name that no layer can have, or an unknown pooling.

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
    """Makes a new model of the same trunk, with copies of its weights, and with a new head for other classes.

    The trunk ends at the last map whose size depends on the size of the image. All layers above it are left out, hidden
    ones included.

    Args:
        model: Any model on images, such as a trained classifier, or one of `keras.applications` with its
            top.
        num_classes: Number of classes of the new head.
        activation: "softmax", the default; "sigmoid" for any number of labels for each image; or "linear" for numbers.
        dropout: Rate before each dense layer, in [0, 1). Defaults to 0.2.
        seed: Seed of the dense layers' first weights, and of the dropout. Defaults to 0.
        pooling: "average", the default, "max" or "both"; see `zoo.heads.pooled`.
        hidden: Widths of dense layers with ReLU before the last one. There are none by default.

    Returns:
        A flat model, not compiled. The given model stays as it is, and shares nothing with the new one.

    Raises:
        ValueError: The model has no feature map, there are too few classes, the pooling is unknown, or a rate lies
            outside of [0, 1).

    Example:

    >>> import zoo
    >>> trained = zoo.create_model("efficientnet_lite0", input_shape=(64, 96, 3))
    >>> swap_head(trained, 5).output_shape, trained.output_shape
    ((None, 5), (None, 1000))
    """
    model = flat(model)
    maps = [layer for layer in strides(model) if not isinstance(model.get_layer(layer), keras.layers.InputLayer)]
    if not maps:
        raise ValueError(f"{model.name} has no feature map whose size depends on the image's, so nothing to keep")
    trunk = rebuild(keras.Model(model.input, output_of(model, maps[-1]), name=model.name))
    head = Head(num_classes, activation, hidden, dropout)
    return keras.Model(trunk.input, head(tops.pooled(trunk.output, pooling), seed=seed), name=model.name)


def with_activation(model: keras.Model, activation: str = "softmax") -> keras.Model:
    """Puts a softmax or a sigmoid behind a model that gives logits, so that it gives probabilities.

    Args:
        model: A functional or sequential model with one output, float `[n, k]`.
        activation: "softmax", the default, for one class of several; "sigmoid" for labels by themselves.

    Returns:
        A model, not compiled, that shares all layers with the given one and ends with the activation, in float32.

    Raises:
        ValueError: The activation is neither of the two, or the model has several outputs.

    Example:

    >>> image = keras.Input((4, 6, 3))
    >>> model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(image)))
    >>> with_activation(model)(np.zeros((1, 4, 6, 3))).numpy().tolist()
    [[0.5, 0.5]]
    """
    if activation not in ("softmax", "sigmoid"):
        raise ValueError(f"activation is softmax or sigmoid, got {activation!r}")
    model = functional(model)
    if len(model.outputs) != 1:
        raise ValueError(f"expected a model with one output of logits, and {model.name} has {len(model.outputs)}")
    layer = keras.layers.Activation(activation, dtype="float32", name=activation)
    return keras.Model(model.inputs[0], layer(model.outputs[0]), name=model.name)


def _on_trunk(backbone: Backbone, head: Head, pooling: str, seed: int) -> keras.Model:
    trunk = backbone.model
    return keras.Model(trunk.input, head(_pooled(backbone, pooling), seed=seed), name=trunk.name)


def _pooled(backbone: Backbone, pooling: str):
    return tops.pooled(backbone.model.output, pooling)
