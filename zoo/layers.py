"""All layers of the zoo: those that Keras lacks (`zoo.primitives`), and blocks as layers (`zoo.blocks.as_layers`).

They use `keras.ops`, so they run on any backend, and they can be saved, exported and used under mixed precision.
Import this module before `keras.models.load_model` reads a file that contains them.
"""

from zoo.blocks.as_layers import BlockLayer, FCNHead, InceptionModule, ResidualUnit, SqueezeExcite, block_layer
from zoo.primitives.activations import gelu, leaky_relu
from zoo.primitives.channels import DepthPool, LocalResponseNormalization
from zoo.primitives.convolution import GroupedConv2D
from zoo.primitives.patches import PatchMap, PatchTokens
from zoo.primitives.radial_basis import RadialBasis
from zoo.primitives.residual import DropPath, LayerScale, ScaledAdd
from zoo.primitives.taps import TrunkMap
from zoo.primitives.upsampling import BilinearUpsampling, CropToMatch, PixelShuffle, ResizeToMatch

__all__ = [
    "BilinearUpsampling",
    "BlockLayer",
    "CropToMatch",
    "DepthPool",
    "DropPath",
    "FCNHead",
    "GroupedConv2D",
    "InceptionModule",
    "LayerScale",
    "LocalResponseNormalization",
    "PatchMap",
    "PatchTokens",
    "PixelShuffle",
    "RadialBasis",
    "ResidualUnit",
    "ResizeToMatch",
    "ScaledAdd",
    "SqueezeExcite",
    "TrunkMap",
    "block_layer",
    "gelu",
    "leaky_relu",
]
