"""Building blocks: functions from tensor to tensor that add plain Keras layers to a flat graph.

A model made of them has every convolution as a layer of its own, so that taps, Grad-CAM, cost, batch-norm folding
and freezing work on it. `name` is the prefix of the layers' names: `conv_bn(x, 32, name="stem")` adds `stem_conv`,
`stem_bn` and `stem_activation`.

Shapes are `[n, height, width, channels]` throughout; the dtype is that of Keras' policy.
"""

from zoo.blocks.convolution import (
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
    bottleneck,
    inverted_residual,
    preactivation_unit,
    residual_add,
    residual_unit,
    shortcut,
)
from zoo.blocks.transformer import transformer_block

__all__ = [
    "CAFFE_MEAN",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "DefaultConv2D",
    "bn_activation",
    "bottleneck",
    "conv_bn",
    "conv_relu",
    "csp_stage",
    "dense_block",
    "depthwise_bn",
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
    "transformer_block",
    "transition",
]
