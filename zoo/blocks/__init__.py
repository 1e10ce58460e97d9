"""Building blocks: functions from tensor to tensor that add plain Keras layers to a flat graph.

Every convolution of a block is a layer of the model, so that feature maps, Grad-CAM, cost, batch-norm folding and
freezing work on models that are made of blocks. The argument `name` is the prefix of the names of the layers:
`conv_bn(x, 32, name="stem")` adds `stem_conv`, `stem_bn` and `stem_activation`.

All feature maps have the shape `[n, height, width, channels]`. Their dtype is that of Keras' global policy.

`zoo.layers` has some of the blocks as layers, for `keras.Sequential`.
"""

from zoo.blocks.convolution import (
    Conv2DBeforeNorm,
    DefaultConv2D,
    bn_activation,
    conv_bn,
    conv_relu,
    depthwise_bn,
    pad_symmetric,
    scaled_channels,
    separable_bn,
)
from zoo.blocks.csp import csp_stage
from zoo.blocks.dense import dense_block, transition
from zoo.blocks.excitation import squeeze_excite
from zoo.blocks.inception import inception_module, parallel
from zoo.blocks.normalisation import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD, normalise
from zoo.blocks.residual import (
    Excitation,
    bottleneck,
    inverted_residual,
    preactivation_unit,
    residual_add,
    residual_unit,
    shortcut,
)
from zoo.blocks.transformer import transformer_block
from zoo.blocks.upsampling import fcn_head, sub_pixel_conv, transposed_conv

__all__ = [
    "CAFFE_MEAN",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Conv2DBeforeNorm",
    "DefaultConv2D",
    "Excitation",
    "bn_activation",
    "bottleneck",
    "conv_bn",
    "conv_relu",
    "csp_stage",
    "dense_block",
    "depthwise_bn",
    "fcn_head",
    "inception_module",
    "inverted_residual",
    "normalise",
    "pad_symmetric",
    "parallel",
    "preactivation_unit",
    "residual_add",
    "residual_unit",
    "scaled_channels",
    "separable_bn",
    "shortcut",
    "squeeze_excite",
    "sub_pixel_conv",
    "transformer_block",
    "transition",
    "transposed_conv",
]
