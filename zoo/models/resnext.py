"""ResNeXt-50 32x4d and ResNeXt-101 32x8d: residual units with many narrow paths in parallel.

Xie, Girshick, Dollár, Tu & He 2017, "Aggregated Residual Transformations for Deep Neural Networks", table 1. The units
have the grouped convolution of figure 3c. The name 32x4d means 32 groups with 4 channels each in the first stage.
"""

from zoo.models.resnet import ResNet, torch_modules

__all__ = ["VARIANTS", "torch_modules"]

VARIANTS = {
    "resnext50_32x4d": ResNet((3, 4, 6, 3), stride_at="3x3", groups=32, group_width=4),
    "resnext101_32x8d": ResNet((3, 4, 23, 3), stride_at="3x3", groups=32, group_width=8),
}
