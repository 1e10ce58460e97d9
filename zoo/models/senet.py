"""SE-ResNet-50, 101 and 152, SE-ResNeXt-50 32x4d and SE-Inception: networks that weigh their channels.

Hu, Shen & Sun 2018, "Squeeze-and-Excitation Networks", table 1 and figures 2 and 3. The networks are built by
`zoo.models.resnet` and `zoo.models.googlenet`, with squeeze-and-excitation at the end of each residual branch or
Inception module.

Deliberate deviation: SE-Inception stands on GoogLeNet with batch norm, not on the BN-Inception of Ioffe & Szegedy 2015,
whose modules replace each 5x5 convolution by two 3x3.
"""

from zoo.models.googlenet import GoogLeNet
from zoo.models.resnet import ResNet

__all__ = ["VARIANTS"]

RATIO = 16  # section 4.4

VARIANTS = {
    "se_resnet50": ResNet((3, 4, 6, 3), se_ratio=RATIO),
    "se_resnet101": ResNet((3, 4, 23, 3), se_ratio=RATIO),
    "se_resnet152": ResNet((3, 8, 36, 3), se_ratio=RATIO),
    "se_resnext50_32x4d": ResNet((3, 4, 6, 3), stride_at="3x3", groups=32, group_width=4, se_ratio=RATIO),
    "se_inception": GoogLeNet(batch_norm=True, se_ratio=RATIO),
}
