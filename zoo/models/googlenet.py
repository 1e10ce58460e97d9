"""GoogLeNet (Inception-v1): kernels of several sizes side by side, after cheap 1x1 convolutions.

Szegedy et al. 2015, "Going Deeper with Convolutions", table 1 and figure 3. Two rows have batch norm:
`googlenet_torchvision`, which is for weights from PyTorch, and `googlenet_bn`, which has the sizes of the paper. They
have no response normalisation, as Ioffe & Szegedy 2015 recommend (section 4.2.1).

A network with auxiliary classifiers has a dict of outputs. After training, only "predictions" is needed:

>>> import zoo
>>> from zoo.models import googlenet
>>> model = zoo.create_model("googlenet_auxiliary", input_shape=(80, 96, 3), num_classes=5)
>>> loss = dict.fromkeys(model.output, "sparse_categorical_crossentropy")
>>> model.compile("sgd", loss, loss_weights=googlenet.LOSS_WEIGHTS)
>>> googlenet.LOSS_WEIGHTS
{'predictions': 1.0, 'auxiliary1': 0.3, 'auxiliary2': 0.3}

The network of torchvision differs from the paper, and its row repeats this: it has 3x3 kernels where the paper has 5x5,
a last pooling of 2x2, a dropout of 0.2, and pixels in -1..1. Its auxiliary classifiers pool their maps to 4x4 by other
windows, and their weights are not read.

A pooling with stride 2 keeps the last, incomplete window, as in the authors' Caffe files.
"""

from dataclasses import dataclass
from functools import partial

import keras

from zoo.blocks import conv_bn, conv_relu, inception_module, normalise, squeeze_excite
from zoo.heads import classifier
from zoo.layers import LocalResponseNormalization
from zoo.models.variants import Variant

__all__ = ["LOSS_WEIGHTS", "VARIANTS", "GoogLeNet", "head", "torch_modules", "trunk"]

# Table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and pool projection. A pooling stands before 4a and before 5a.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
# Section 5: the modules whose outputs the auxiliary classifiers take, and the weights of their losses.
AUXILIARY = {"4a": "auxiliary1", "4d": "auxiliary2"}
LOSS_WEIGHTS = {"predictions": 1.0, "auxiliary1": 0.3, "auxiliary2": 0.3}


@dataclass(frozen=True)
class GoogLeNet(Variant):
    """A row of the table of GoogLeNets.

    Attributes:
        auxiliary: Whether the network has auxiliary classifiers. Defaults to False.
        batch_norm: Whether the convolutions have a batch norm. Defaults to False.
        large: Size of the kernels of the largest convolutions. Defaults to 5.
        last_pool: Size of the window of the pooling before module 5a. Defaults to 3.
        dropout: Rate of the dropout before the classifier. Defaults to 0.4.
        normalisation: Normalisation of the image, which `zoo.blocks.normalise` takes. Defaults to "caffe".
        se_ratio: Ratio of squeeze-and-excitation after each module. 0 leaves it out. Defaults to 0.
    """

    auxiliary: bool = False
    batch_norm: bool = False
    large: int = 5
    last_pool: int = 3
    dropout: float = 0.4
    normalisation: str = "caffe"
    se_ratio: int = 0


VARIANTS = {
    "googlenet": GoogLeNet(),
    "googlenet_auxiliary": GoogLeNet(auxiliary=True, min_size=80),
    "googlenet_bn": GoogLeNet(batch_norm=True),
    "googlenet_bn_auxiliary": GoogLeNet(auxiliary=True, batch_norm=True, min_size=80),
    "googlenet_torchvision": GoogLeNet(batch_norm=True, large=3, last_pool=2, dropout=0.2, normalisation="symmetric"),
}


def trunk(image, variant: GoogLeNet):
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, 1024]`.

    Sizes are rounded up. With auxiliary classifiers, the result is a dict with this map as "feature_map", and with the
    maps that the classifiers take.
    """
    conv = conv_bn if variant.batch_norm else conv_relu
    maps = {}

    x = normalise(image, variant.normalisation)
    x = conv(x, 64, 7, strides=2, padding="symmetric", name="conv1")
    x = pool(x, name="pool1")
    x = x if variant.batch_norm else LocalResponseNormalization(name="pool1_lrn")(x)
    x = conv(x, 64, name="conv2_reduce")
    x = conv(x, 192, 3, name="conv2")
    x = x if variant.batch_norm else LocalResponseNormalization(name="conv2_lrn")(x)
    x = pool(x, name="pool2")
    for module, filters in MODULES.items():
        if module == "4a":
            x = pool(x, name="pool3")
        if module == "5a":
            x = pool(x, variant.last_pool, name="pool4")
        name = f"inception{module}"
        x = inception_module(x, filters, kernel_sizes=(3, variant.large), batch_norm=variant.batch_norm, name=name)
        if variant.se_ratio:
            x = squeeze_excite(x, ratio=variant.se_ratio, name=f"{name}_se")
        if module in AUXILIARY:
            maps[AUXILIARY[module]] = x
    return {"feature_map": x, **maps} if variant.auxiliary else x


def head(x, variant: GoogLeNet, num_classes: int, activation: str | None):
    """Builds the layers up to the probabilities of the classes. With auxiliary classifiers, they are in a dict."""
    if not variant.auxiliary:
        return classifier(x, num_classes, activation=activation, dropout=variant.dropout)
    main = classifier(x["feature_map"], num_classes, activation=activation, dropout=variant.dropout)
    conv = conv_bn if variant.batch_norm else conv_relu
    side = partial(auxiliary_classifier, num_classes=num_classes, activation=activation, conv=conv)
    return {"predictions": main, **{name: side(x[name], name=name) for name in AUXILIARY.values()}}


def auxiliary_classifier(x, *, num_classes: int, activation: str | None, conv, name: str):
    """Applies an average pooling, 1x1 convolutions and two dense layers to a map inside the network: section 5."""
    if None in x.shape[1:] or min(x.shape[1:3]) < 5:
        raise ValueError(
            f"{name} pools windows of 5x5 and needs a map of a known size of at least 5x5, got {x.shape[1:]}: give "
            "the model a known and larger input_shape, or take the variant without auxiliary classifiers"
        )
    x = keras.layers.AveragePooling2D(5, strides=3, name=f"{name}_pool")(x)
    x = conv(x, 128, name=name)
    x = keras.layers.Flatten(name=f"{name}_flatten")(x)
    x = keras.layers.Dense(1024, activation="relu", kernel_initializer="he_normal", name=f"{name}_fc")(x)
    x = keras.layers.Dropout(0.7, name=f"{name}_dropout")(x)
    return keras.layers.Dense(num_classes, activation=activation, dtype="float32", name=f"{name}_predictions")(x)


def pool(x, size: int = 3, *, name: str):
    """Applies max pooling with stride 2 that keeps the last, incomplete window.

    The window is filled up with zeros, which change no maximum, because the activations are not negative.
    """
    x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(x)
    return keras.layers.MaxPooling2D(size, strides=2, name=name)(x)


def torch_modules(model) -> dict[str, str]:
    """Returns the names of the layers in torchvision."""
    names = {"predictions": "fc"}
    kinds = {"_conv": "conv", "_bn": "bn"}
    blocks = {"conv1": "conv1", "conv2_reduce": "conv2", "conv2": "conv3"}
    blocks |= {f"auxiliary{i}": f"aux{i}.conv" for i in (1, 2)}
    for module in MODULES:
        # A branch with one convolution is that convolution. Other branches are lists, in which the pooling counts.
        blocks[f"inception{module}_1_1"] = f"inception{module}.branch1"
        blocks |= {
            f"inception{module}_{branch}_{step}": f"inception{module}.branch{branch}.{step - 1}"
            for branch, step in ((2, 1), (2, 2), (3, 1), (3, 2), (4, 2))
        }
    for block, module in blocks.items():
        names |= {f"{block}{suffix}": f"{module}.{kind}" for suffix, kind in kinds.items()}
    for i in (1, 2):
        names |= {f"auxiliary{i}_fc": f"aux{i}.fc1", f"auxiliary{i}_predictions": f"aux{i}.fc2"}
    return names
