"""Inception-ResNet-v2: Inception modules as branches of residual units.

Szegedy et al. 2017, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", figures 15 to
19. The stem is that of Inception-v3, and the numbers of modules are 10, 20 and 10, as in the authors' code (figure 15
has 5, 10 and 5). A branch is scaled down before it is added, because training becomes unstable otherwise (section 3.3).
"""

from dataclasses import dataclass

import keras

from zoo.blocks import normalise
from zoo.heads import classifier
from zoo.layers import ScaledAdd
from zoo.models.inception_v3 import conv, inception, stem
from zoo.models.variants import Variant

__all__ = ["VARIANTS", "InceptionResNetV2", "head", "trunk"]


@dataclass(frozen=True)
class InceptionResNetV2(Variant):
    """A row of the table of Inception-ResNets.

    Attributes:
        repeats: Numbers of the modules A, B and C of figures 16, 17 and 19. The last module C is not counted.
        scales: Factors of the branches in the modules A, B and C.
        dropout: Rate of the dropout before the classifier. Defaults to 0.2.
    """

    repeats: tuple[int, int, int] = (10, 20, 9)
    scales: tuple[float, float, float] = (0.17, 0.1, 0.2)
    dropout: float = 0.2
    image_size: int = 299
    min_size: int = 75


VARIANTS = {"inception_resnet_v2": InceptionResNetV2()}

A = [[(32, 1)], [(32, 1), (32, 3)], [(32, 1), (48, 3), (64, 3)]]
REDUCTION_A = [[(384, 3, 2)], [(256, 1), (256, 3), (384, 3, 2)], [("max", 3, 2)]]
B = [[(192, 1)], [(128, 1), (160, (1, 7)), (192, (7, 1))]]
REDUCTION_B = [[(256, 1), (384, 3, 2)], [(256, 1), (288, 3, 2)], [(256, 1), (288, 3), (320, 3, 2)], [("max", 3, 2)]]
C = [[(192, 1)], [(192, 1), (224, (1, 3)), (256, (3, 1))]]


def trunk(image, variant: InceptionResNetV2):
    """Builds the network up to the last feature map: `[n, 299, 299, 3]` in 0..255 -> `[n, 8, 8, 1536]`.

    Pixels at the border are lost before each stride.
    """
    x = stem(normalise(image, "symmetric"))
    first = [[(96, 1)], [(48, 1), (64, 5)], [(64, 1), (96, 3), (96, 3)], [("average", 3), (64, 1)]]
    x = inception(x, *first, name="mixed_5b")
    scale_a, scale_b, scale_c = variant.scales
    repeats_a, repeats_b, repeats_c = variant.repeats
    for i in range(1, repeats_a + 1):
        x = residual_inception(x, A, scale=scale_a, name=f"block35_{i}")
    x = inception(x, *REDUCTION_A, name="mixed_6a")
    for i in range(1, repeats_b + 1):
        x = residual_inception(x, B, scale=scale_b, name=f"block17_{i}")
    x = inception(x, *REDUCTION_B, name="mixed_7a")
    for i in range(1, repeats_c + 1):
        x = residual_inception(x, C, scale=scale_c, name=f"block8_{i}")
    # The authors' code ends with one module that has neither a scale nor an activation.
    x = residual_inception(x, C, scale=1.0, activation=None, name=f"block8_{repeats_c + 1}")
    return conv(x, 1536, name="conv_7b")


def residual_inception(x, branches, *, scale: float, activation: str | None = "relu", name: str):
    """Adds `scale` times an Inception module to `x`. A 1x1 convolution gives the module the channels of `x`."""
    branch = inception(x, *branches, name=f"{name}_mixed")
    branch = keras.layers.Conv2D(x.shape[-1], 1, name=f"{name}_expand")(branch)
    x = ScaledAdd(scale, name=f"{name}_add")([x, branch])
    return keras.layers.Activation(activation, name=f"{name}_activation")(x) if activation else x


def head(x, variant: InceptionResNetV2, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return classifier(x, num_classes, activation=activation, dropout=variant.dropout)
