"""SE-ResNet-50, 101 and 152, SE-ResNeXt-50 32x4d and SE-Inception: networks that compute weights of their channels.

Hu, Shen & Sun 2018, "Squeeze-and-Excitation Networks", table 1 and figures 2 and 3. `zoo.models.resnet` and
`zoo.models.googlenet` build the networks, with squeeze-and-excitation at the end of each residual branch or Inception
module.

Deliberate deviation: SE-Inception is a GoogLeNet with batch norm. The paper takes the BN-Inception of Ioffe & Szegedy
2015, whose modules have two 3x3 convolutions in place of each 5x5 convolution.
"""

from zoo.models.googlenet import GoogLeNet
from zoo.models.resnet import ResNet

__all__ = ["VARIANTS"]

RATIO = 16  # The ratio of section 4.4.

VARIANTS = {
    "se_resnet50": ResNet((3, 4, 6, 3), se_ratio=RATIO),
    "se_resnet101": ResNet((3, 4, 23, 3), se_ratio=RATIO),
    "se_resnet152": ResNet((3, 8, 36, 3), se_ratio=RATIO),
    "se_resnext50_32x4d": ResNet((3, 4, 6, 3), stride_at="3x3", groups=32, group_width=4, se_ratio=RATIO),
    "se_inception": GoogLeNet(batch_norm=True, se_ratio=RATIO),
}
