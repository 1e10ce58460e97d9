"""ZFNet: an AlexNet with a smaller first kernel and stride, which its authors chose by visualising AlexNet's maps.

Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", figure 3.

Deliberate deviations: the response normalisation across maps is that of AlexNet, because the paper names "contrast
normalisation" and no constants. The initialisation is that of `zoo.models.alexnet`.
"""

from dataclasses import dataclass

import keras

from zoo.blocks import conv_relu, normalise
from zoo.layers import LocalResponseNormalization
from zoo.models.alexnet import AlexNet, head, last_convolutions

__all__ = ["VARIANTS", "ZFNet", "head", "trunk"]


@dataclass(frozen=True)
class ZFNet(AlexNet):
    """A row of the table of ZFNets, with the columns of AlexNet."""

    min_size: int = 53


VARIANTS = {"zfnet": ZFNet()}


def trunk(image, variant: ZFNet):
    """Builds the network up to the last feature map: `[n, 224, 224, 3]` in 0..255 -> `[n, 6, 6, 256]`.

    With images of other sizes, a few pixels at the border are lost before each stride.
    """
    x = normalise(image, "caffe")
    x = keras.layers.ZeroPadding2D(1, name="c1_pad")(x)  # The sizes 110, 55, 26, 13 and 6 of figure 3 need it.
    x = conv_relu(x, 96, 7, strides=2, padding="valid", name="c1")
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="s2")(x)
    x = LocalResponseNormalization(name="s2_lrn")(x)
    x = conv_relu(x, 256, 5, strides=2, padding="valid", name="c3")
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="s4")(x)
    x = LocalResponseNormalization(name="s4_lrn")(x)
    return last_convolutions(x)
