"""Putting pretrained weights into a model of the zoo."""

import os
from collections.abc import Callable
from pathlib import Path

import keras

from zoo.models.families import family_of
from zoo.weights import fitting, torch_checkpoint
from zoo.weights.files import read_keras, read_safetensors, read_weights_h5
from zoo.weights.fitting import Fit
from zoo.weights.pretrained import PRETRAINED, FromKeras, keras_application, pretrained_file

__all__ = ["application_fits", "load_weights"]

TorchModules = Callable[[keras.Model], dict[str, str]]


def application_fits(model: keras.Model, application: keras.Model) -> list[Fit]:
    """The weights of a model beside those of its twin in `keras.applications`, for `zoo.weights.fitting.assign`.

    Raises:
        ValueError: theirs normalises images in another way than the model does.
    """
    family = family_of(model.name)
    caffe = getattr(family.VARIANTS[model.name], "normalisation", None) == "caffe"
    return fitting.from_application(model, application, keras_layer=getattr(family, "keras_layer", None), bgr=caffe)


def load_weights(
    model: keras.Model,
    weights: str | os.PathLike,
    *,
    torch_modules: TorchModules | None = None,
    fresh_head: bool = False,
    in_channels: str | None = None,
) -> None:
    """Puts weights from an installed package, from Keras or from a file into a model: all of them, or none.

    A classifier in the file that the model lacks (`include_top=False`) is left out, and logged. What is adapted is
    told by a warning.

    Args:
        model: a model of the zoo, as `zoo.create_model` makes it.
        weights: "imagenet"; or the path of a file: `.weights.h5` or `.keras`, as Keras saves models of the zoo; a
            PyTorch checkpoint, `.pth` or `.pt`, in torchvision's names; `.safetensors` in the names of either
            ("stem_conv/kernel", "conv1.weight").
        torch_modules: from the model to the name of the PyTorch module for each of its layers; that of the model's
            family unless told.
        fresh_head: whether a classifier at the model's end whose number of classes is not the file's keeps its fresh
            weights. Otherwise that is a mismatch like any other.
        in_channels: "adapt" sums or tiles the kernel of the first convolution, and rescales it, where the model takes
            images of other channels than the file's network. A grey image then gives the same first activation.

    Raises:
        ValueError: no such weights are known; the file is damaged, or of another kind, or asks for code; or it belongs
            to another network: then the message lists the first weights that differ, with their shapes, and the model
            is as it was.
        FileNotFoundError: the file, or the package that carries it, is not there, or could not be downloaded.
        ImportError: a `.safetensors` file, and the package safetensors is not installed.

    Example:

    >>> import zoo
    >>> model = zoo.create_model("efficientnet_lite0", input_shape=(64, 96, 3), include_top=False)
    >>> load_weights(model, "imagenet")
    """
    if in_channels not in (None, "adapt"):
        raise ValueError(f'in_channels is "adapt" or None, got {in_channels!r}')
    source, fits, own_names = _fits(model, weights, torch_modules)
    if in_channels == "adapt":
        fits = fitting.adapt_stem(model, fits)
    elif not own_names:
        fitting.check_channels(model, fits)
    if fresh_head:
        fits = fitting.fresh_head(model, fits)
    fitting.assign(model, fits, source=source)


def _fits(
    model: keras.Model, weights: str | os.PathLike, torch_modules: TorchModules | None
) -> tuple[str, list[Fit], bool]:
    """What the weights are called in messages; each weight of the model beside its array; and whether the file was
    written from a model of ours, so that the channels of its kernels say nothing about those of its images."""
    row = PRETRAINED.get(model.name)
    if weights == "imagenet" and row is None:
        raise ValueError(f"no ImageNet weights are known for {model.name!r}; they are for {', '.join(PRETRAINED)}")
    if weights == "imagenet" and isinstance(row, FromKeras):
        twin = keras_application(model.name, include_top=fitting.has_classifier(model))
        return f"Keras' file for {row.application}", application_fits(model, twin), False

    path = pretrained_file(model.name) if weights == "imagenet" else Path(weights)
    kind = "".join(path.suffixes[-2:]) if path.suffix == ".h5" else path.suffix
    if kind not in (".weights.h5", ".keras", ".safetensors", ".pth", ".pt"):
        raise ValueError(
            'weights is "imagenet" or the path of a .weights.h5, .keras, .safetensors, .pth or .pt file; got '
            f"{os.fspath(weights)!r}"
        )
    if kind in (".pth", ".pt"):
        arrays = torch_checkpoint.read(path)
    else:
        if not path.is_file():
            raise FileNotFoundError(f"no file of weights at {path}")
        if kind == ".weights.h5":
            return str(path), fitting.from_keras_names(model, read_weights_h5(path), name=fitting.numbered), True
        arrays = read_keras(path) if kind == ".keras" else read_safetensors(path)
        if kind == ".keras" or any(variable.path in arrays for variable in model.weights):
            return str(path), fitting.from_keras_names(model, arrays), True
    if torch_modules is None:
        torch_modules = getattr(family_of(model.name), "torch_modules", None)
        if torch_modules is None:
            raise ValueError(f"{path} has PyTorch's names, and those of {model.name} there are not known")
    return str(path), fitting.from_torch(model, arrays, torch_modules(model)), False
