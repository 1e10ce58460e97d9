"""Loads pretrained weights into a model of the zoo.

The weights come from an installed package, from Keras, or from a file. `zoo.weights` finds and reads them. The module
of a family tells how others name its layers, by two functions:

    torch_modules(model) -> {name of a layer: name of the module in PyTorch's files}
    keras_layer(name of a layer) -> name of the layer in keras.applications

The rest follows from the kind of each layer (`zoo.weights.fitting`): which parameter is which weight of the layer, and
in which order its axes are.
"""

import os
from collections.abc import Callable
from pathlib import Path

import keras

from zoo.models.families import family_of
from zoo.weights import fitting, pairing, torch_checkpoint
from zoo.weights.files import read_keras, read_safetensors, read_weights_h5
from zoo.weights.fitting import Pair
from zoo.weights.pretrained import PRETRAINED, FromKeras, keras_application, pretrained_file

__all__ = ["application_pairs", "load_weights"]

TorchModules = Callable[[keras.Model], dict[str, str]]


def application_pairs(model: keras.Model, application: keras.Model) -> list[Pair]:
    """Pairs the weights of a model with those of the same network in `keras.applications`.

    Args:
        model: A model of the zoo.
        application: The same network as `keras.applications` builds it.

    Returns:
        The pairs, which `zoo.weights.fitting.assign` takes.

    Raises:
        ValueError: The application normalises images in another way than the model.
    """
    family = family_of(model.name)
    caffe = getattr(family.VARIANTS[model.name], "normalisation", None) == "caffe"
    return pairing.from_application(model, application, keras_layer=getattr(family, "keras_layer", None), bgr=caffe)


def load_weights(
    model: keras.Model,
    weights: str | os.PathLike,
    *,
    torch_modules: TorchModules | None = None,
    fresh_head: bool = False,
    in_channels: str | None = None,
) -> None:
    """Loads weights from an installed package, from Keras or from a file into a model: all of them, or none.

    Where the model has no classifier (`include_top=False`), the classifier of the file is left out, and the log says
    so. A warning tells what is adapted.

    Args:
        model: A model of the zoo, which `zoo.create_model` has built.
        weights: "imagenet", or the path of a file. The file can be a `.weights.h5` or `.keras` file that Keras saved
            from a model of the zoo, a PyTorch checkpoint (`.pth` or `.pt`) with the names of torchvision, or a
            `.safetensors` file with the names of either ("stem_conv/kernel" or "conv1.weight").
        torch_modules: Function from the model to a dict, which maps the name of each layer to the name of its module in
            PyTorch. Defaults to that of the family of the model.
        fresh_head: Whether the classifier keeps its random weights if its number of classes differs from that of the
            file. Otherwise this is an error like every other difference. Defaults to False.
        in_channels: "adapt" allows images with another number of channels than the weights were trained for. The kernel
            of the first convolution is summed or tiled and rescaled, so that a grey image gives the same first
            activation. Defaults to None, which refuses such weights.

    Raises:
        ValueError: No ImageNet weights are known for the model; the file is damaged, of an unknown kind, or asks for
            code; or the file belongs to another network. In the last case the message lists the first weights that
            differ, with their shapes, and the model is unchanged.
        FileNotFoundError: The file does not exist, the package with the file is not installed, or the download failed.
        ImportError: The file is a `.safetensors` file, and the package safetensors is not installed.

    Example:

    >>> import zoo
    >>> model = zoo.create_model("efficientnet_lite0", input_shape=(64, 96, 3), include_top=False)
    >>> load_weights(model, "imagenet")
    """
    if in_channels not in (None, "adapt"):
        raise ValueError(f'in_channels is "adapt" or None, got {in_channels!r}')
    source, pairs, zoo_file = _pairs(model, weights, torch_modules)
    if in_channels == "adapt":
        pairs = fitting.adapt_stem(model, pairs)
    elif not zoo_file:
        fitting.check_channels(model, pairs)
    if fresh_head:
        pairs = fitting.fresh_head(model, pairs)
    fitting.assign(model, pairs, source=source)


def _pairs(
    model: keras.Model, weights: str | os.PathLike, torch_modules: TorchModules | None
) -> tuple[str, list[Pair], bool]:
    """Finds and reads the weights for a model.

    Returns:
        The name of the source in messages; the pairs of a weight and its array; and whether the file was saved from a
        model of the zoo. The kernels of such a file do not tell for how many channels it was trained.
    """
    row = PRETRAINED.get(model.name)
    if weights == "imagenet" and row is None:
        known = ", ".join(PRETRAINED)
        raise ValueError(f"no ImageNet weights are known for {model.name!r}; they are known for {known}")
    if weights == "imagenet" and isinstance(row, FromKeras):
        application = keras_application(model.name, include_top=fitting.has_classifier(model))
        return f"Keras' file for {row.application}", application_pairs(model, application), False

    path = pretrained_file(model.name) if weights == "imagenet" else Path(weights)
    kind = "".join(path.suffixes[-2:]) if path.suffix == ".h5" else path.suffix
    if kind not in (".weights.h5", ".keras", ".safetensors", ".pth", ".pt"):
        raise ValueError(
            'weights is "imagenet" or the path of a .weights.h5, .keras, .safetensors, .pth or .pt file, got '
            f"{os.fspath(weights)!r}"
        )
    if kind in (".pth", ".pt"):
        arrays = torch_checkpoint.read(path)
    else:
        if not path.is_file():
            raise FileNotFoundError(f"no file of weights at {path}")
        if kind == ".weights.h5":
            return str(path), pairing.from_keras_names(model, read_weights_h5(path), name=pairing.numbered), True
        arrays = read_keras(path) if kind == ".keras" else read_safetensors(path)
        if kind == ".keras" or any(variable.path in arrays for variable in model.weights):
            return str(path), pairing.from_keras_names(model, arrays), True
    if torch_modules is None:
        torch_modules = getattr(family_of(model.name), "torch_modules", None)
        if torch_modules is None:
            raise ValueError(
                f"{path} has the names of PyTorch's modules, and no function maps the layers of {model.name} to them: "
                "give torch_modules to load_weights"
            )
    return str(path), pairing.from_torch(model, arrays, torch_modules(model)), False
