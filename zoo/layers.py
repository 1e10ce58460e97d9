"""Layers with weights, state or randomness that Keras does not have, and block functions as layers.

They use `keras.ops`, so they run on any backend, and can be saved, exported and used under mixed precision. Import
this module before `keras.models.load_model` reads a file that has them.
"""

import importlib
import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

__all__ = [
    "BlockLayer",
    "DepthPool",
    "DropPath",
    "GroupedConv2D",
    "InceptionModule",
    "LayerScale",
    "LocalResponseNormalization",
    "PatchMap",
    "PatchTokens",
    "RadialBasis",
    "ResidualUnit",
    "ScaledAdd",
    "SqueezeExcite",
    "block_layer",
    "gelu",
    "leaky_relu",
]


@keras.saving.register_keras_serializable(package="zoo")
class DropPath(keras.layers.Layer):
    """Drops whole samples of a residual branch at random while training (stochastic depth).

    What is kept is divided by the probability of keeping it, so that the expected output is the input. In
    inference it is the identity, and where it is frozen (`trainable=False`): a frozen network is a constant function.

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth", section 3; scaled in training (as dropout
    is) where the paper scales in inference, equation 5.

    Args:
        rate: probability of dropping a sample's branch, in [0, 1).
        seed: of the random draws.

    Input shape: `[n, ...]`, any rank; one draw per sample. Output shape and dtype are the input's.

    Raises:
        ValueError: the rate is outside [0, 1).

    Example:

    >>> import numpy as np
    >>> layer = DropPath(0.5, seed=1)
    >>> kept = layer(np.ones((1000, 2, 3, 1), "float32"), training=True)
    >>> sorted({float(value) for value in np.unique(kept)})
    [0.0, 2.0]
    """

    def __init__(self, rate: float, *, seed: int | None = None, **base: Any):
        super().__init__(**base)
        if not 0 <= rate < 1:
            raise ValueError(f"DropPath needs a rate in [0, 1), got {rate}")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        if not training or not self.trainable or self.rate == 0:
            return inputs
        keep = 1 - self.rate
        one_per_sample = (keras.ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        draw = keras.random.uniform(one_per_sample, seed=self.seed_generator)
        return inputs * keras.ops.cast(draw < keep, inputs.dtype) / keep

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package="zoo")
class GroupedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` for `groups` above 1, as fast on a CPU as its share of the multiply-adds promises.

    Keras compiles such a convolution with XLA. On a CPU (Keras 3.15, TensorFlow 2.21; 256 channels in 32 groups) that
    makes the forward pass 4 times and the gradient 500 times slower than TensorFlow's own operation, and keeps the
    layer from being exported to ONNX. The arguments, weights and outputs are the same.

    Source: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 3.5;
    Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural Networks", figure 3c.

    Raises:
        ValueError: channels of the input or filters that are not a multiple of `groups`.

    Example:

    >>> layer = GroupedConv2D(8, 3, groups=4, padding="same", name="grouped")
    >>> layer(keras.Input((7, 9, 16))).shape, tuple(layer.kernel.shape)
    ((None, 7, 9, 8), (3, 3, 4, 8))
    """

    def convolution_op(self, inputs, kernel):
        if keras.backend.backend() != "tensorflow" or self.data_format != "channels_last":
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        return tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper(), dilations=self.dilation_rate)


@keras.saving.register_keras_serializable(package="zoo")
class DepthPool(keras.layers.Layer):
    """Pools groups of neighbouring channels, where the usual pooling pools neighbouring pixels.

    A network can learn to put the same feature turned or scaled in one group; the pooled channel then answers to
    all of them.

    Args:
        pool_size: channels in a group; divides the number of channels.
        mode: "max" or "average".

    Input shape: `[n, ..., c]`, any rank. Output shape: `[n, ..., c // pool_size]`, of the input's dtype.

    Raises:
        ValueError: a pool size below 1, an unknown mode, or channels that are unknown or not a multiple of the size.

    Example:

    >>> x = np.array([[1.0, 5.0, 2.0, 4.0]])
    >>> DepthPool(2)(x).numpy().tolist(), DepthPool(2, mode="average")(x).numpy().tolist()
    ([[5.0, 4.0]], [[3.0, 3.0]])
    """

    def __init__(self, pool_size: int, *, mode: str = "max", **base: Any):
        super().__init__(**base)
        if pool_size < 1:
            raise ValueError(f"DepthPool needs a pool_size of at least 1, got {pool_size}")
        if mode not in ("max", "average"):
            raise ValueError(f'DepthPool needs mode="max" or "average", got {mode!r}')
        self.pool_size = pool_size
        self.mode = mode

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels is None or channels % self.pool_size:
            raise ValueError(
                f"DepthPool pools groups of {self.pool_size} channels, got {channels} (input shape {input_shape}): "
                "choose a pool_size that divides the number of channels"
            )

    def call(self, inputs):
        groups = inputs.shape[-1] // self.pool_size
        x = keras.ops.reshape(inputs, (*keras.ops.shape(inputs)[:-1], groups, self.pool_size))
        return keras.ops.max(x, axis=-1) if self.mode == "max" else keras.ops.mean(x, axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // self.pool_size)

    def get_config(self):
        return {**super().get_config(), "pool_size": self.pool_size, "mode": self.mode}


@keras.saving.register_keras_serializable(package="zoo")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each value by what its pixel's neighbouring channels show, so that strong channels quiet the others.

    `b[i] = a[i] / (k + alpha * sum(a[j] ** 2)) ** beta`, over the channels j from i - depth_radius to
    i + depth_radius that exist. Computed in float32 whatever the policy: the squares overflow float16.

    Source: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 3.3,
    whose constants are the defaults (n = 5 is a depth radius of 2). Caffe and PyTorch divide alpha by n.

    Args:
        depth_radius: channels on each side that count.
        k, alpha, beta: as above.

    Input shape: `[n, ..., c]`, any rank. Output shape and dtype are the input's.

    Raises:
        ValueError: a negative depth radius, or an unknown number of channels.

    Example:

    >>> layer = LocalResponseNormalization(depth_radius=1, alpha=1.0, beta=1.0)
    >>> layer(np.array([[1.0, 1.0, 0.0]])).numpy().tolist()
    [[0.25, 0.25, 0.0]]
    """

    def __init__(self, *, depth_radius: int = 2, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, **base: Any):
        super().__init__(**base)
        if depth_radius < 0:
            raise ValueError(f"LocalResponseNormalization needs a depth_radius of at least 0, got {depth_radius}")
        self.depth_radius = depth_radius
        self.k = k
        self.alpha = alpha
        self.beta = beta

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                f"LocalResponseNormalization needs a known number of channels, got the input shape {input_shape}"
            )
        # A product with a band matrix sums the neighbours in one operation
        i, j = np.indices((channels, channels))
        self.neighbours = (np.abs(i - j) <= self.depth_radius).astype("float32")

    def call(self, inputs):
        x = keras.ops.cast(inputs, "float32")
        energy = keras.ops.matmul(keras.ops.square(x), self.neighbours)
        return keras.ops.cast(x / (self.k + self.alpha * energy) ** self.beta, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        settings = {"depth_radius": self.depth_radius, "k": self.k, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **settings}


@keras.saving.register_keras_serializable(package="zoo")
class RadialBasis(keras.layers.Layer):
    """The squared Euclidean distance of each vector to fixed codes, one for each class: the nearest class wins.

    Computed in float32 whatever the policy.

    Source: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", equation 7.

    Args:
        codes: `[classes, features]`.

    Input shape: `[n, features]`. Output: float32 `[n, classes]`, 0 and up.

    Raises:
        ValueError: codes that are not a matrix, or inputs with another number of features.

    Example:

    >>> RadialBasis([[1, 1], [-1, 1], [-1, -1]])(np.array([[1.0, 0.0]])).numpy().tolist()
    [[1.0, 5.0, 5.0]]
    """

    def __init__(self, codes, **base: Any):
        super().__init__(**base)
        self.codes = np.asarray(codes, "float32")
        if self.codes.ndim != 2:
            raise ValueError(f"RadialBasis needs codes of shape [classes, features], got {self.codes.shape}")

    def build(self, input_shape):
        if len(input_shape) != 2 or input_shape[-1] != self.codes.shape[1]:
            raise ValueError(f"RadialBasis has codes of {self.codes.shape[1]} features, got the inputs {input_shape}")

    def call(self, inputs):
        x = keras.ops.cast(inputs, "float32")
        return keras.ops.sum((x[:, None, :] - self.codes) ** 2, axis=-1)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((inputs.shape[0], len(self.codes)), "float32")

    def get_config(self):
        return {**super().get_config(), "codes": self.codes.tolist()}


@keras.saving.register_keras_serializable(package="zoo")
class ScaledAdd(keras.layers.Layer):
    """The first input plus `scale` times the second, as in residual units whose branch is scaled down.

    Source: Szegedy et al. 2017, "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
    section 3.3.

    Args:
        scale: factor of the second input.

    Input: a list of two tensors of one shape. Output: that shape and dtype.

    Example:

    >>> ScaledAdd(0.5)([np.array([[1.0, 2.0]]), np.array([[4.0, 4.0]])]).numpy().tolist()
    [[3.0, 4.0]]
    """

    def __init__(self, scale: float, **base: Any):
        super().__init__(**base)
        self.scale = scale

    def call(self, inputs):
        x, branch = inputs
        return x + branch * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="zoo")
def gelu(x):
    """`x` times the probability that a standard normal number is below `x`, without approximation.

    By the error function: Keras' own `"gelu"` takes the complementary one, which ONNX does not have and TensorFlow
    computes more slowly on a CPU (for 9.6 million numbers 197 ms, this 144).

    Source: Hendrycks & Gimpel 2016, "Gaussian Error Linear Units", section 2.

    >>> gelu(np.array([-1.0, 0.0, 1.0], "float64")).numpy().round(3).tolist()
    [-0.159, 0.0, 0.841]
    """
    return 0.5 * x * (1 + keras.ops.erf(x * math.sqrt(0.5)))


@keras.saving.register_keras_serializable(package="zoo")
def leaky_relu(x):
    """ReLU that lets a tenth of what is negative through, as Darknet's does. Keras' own `"leaky_relu"` lets a fifth.

    Source: Maas et al. 2013, "Rectifier Nonlinearities Improve Neural Network Acoustic Models", section 2; the slope
    from Darknet's code.

    >>> leaky_relu(np.array([-2.0, 3.0], "float32")).numpy().tolist()
    [-0.20000000298023224, 3.0]
    """
    return keras.ops.leaky_relu(x, negative_slope=0.1)


@keras.saving.register_keras_serializable(package="zoo")
class LayerScale(keras.layers.Layer):
    """Multiplies each channel by a weight that starts near zero, so that a deep residual network starts as shallow.

    Source: Touvron et al. 2021, "Going Deeper with Image Transformers", section 2.

    Args:
        initial: value of all weights at first.

    Input shape: `[..., channels]`. Output shape and dtype are the input's.

    >>> LayerScale(0.5)(np.ones((1, 2), "float32")).numpy().tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, initial: float = 1e-6, **base: Any):
        super().__init__(**base)
        self.initial = initial

    def build(self, input_shape):
        start = keras.initializers.Constant(self.initial)
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer=start, name="gamma")

    def call(self, inputs):
        return inputs * self.gamma

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}


@keras.saving.register_keras_serializable(package="zoo")
class PatchTokens(keras.layers.Layer):
    """Flattens a map of patches into a sequence, with a class token first and a learnt position added to each.

    The positions belong to a grid of one size. For a map of another size they are interpolated, so that one set of
    weights serves all sizes of image.

    Source: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", equation 1; interpolation from section 3.2
    (bilinear, as in the authors' code).

    Args:
        grid: height and width in patches that the positions are for.

    Input shape: `[n, h, w, c]`. Output shape: `[n, 1 + h * w, c]`; the dtype is the input's.

    Raises:
        ValueError: a grid without patches.

    Example:

    >>> layer = PatchTokens((14, 14))
    >>> layer(keras.Input((14, 14, 8))).shape, layer(keras.Input((7, 9, 8))).shape
    ((None, 197, 8), (None, 64, 8))
    """

    def __init__(self, grid: tuple[int, int], **base: Any):
        super().__init__(**base)
        if min(grid) < 1:
            raise ValueError(f"PatchTokens needs a grid of at least one patch, got {tuple(grid)}")
        self.grid = tuple(grid)

    def build(self, input_shape):
        rows, columns = self.grid
        channels = input_shape[-1]
        self.class_token = self.add_weight(shape=(1, channels), initializer="zeros", name="class_token")
        start = keras.initializers.RandomNormal(stddev=0.02)
        self.position = self.add_weight(shape=(1 + rows * columns, channels), initializer=start, name="position")

    def call(self, inputs):
        n, height, width, channels = keras.ops.shape(inputs)
        # [rows, columns * c] -> [h, columns, c] -> [h, w, c], by products of matrices, which every runtime has
        # (OpenVINO does not resize what is constant)
        rows, columns = self.grid
        position = keras.ops.reshape(self.position[1:], (rows, columns * channels))
        position = keras.ops.matmul(self.interpolation(height, rows), position)
        position = keras.ops.reshape(position, (height, columns, channels))
        position = keras.ops.matmul(self.interpolation(width, columns), position)
        tokens = keras.ops.reshape(inputs + position, (n, height * width, channels))
        first = keras.ops.broadcast_to(self.class_token + self.position[:1], (n, 1, channels))
        return keras.ops.concatenate([first, tokens], axis=1)

    def interpolation(self, size, grid: int):
        """`[size, grid]`: how much each of `grid` positions counts at each of `size` places along the same side."""
        places = (keras.ops.arange(size, dtype="float32") + 0.5) * (grid / keras.ops.cast(size, "float32")) - 0.5
        places = keras.ops.clip(places, 0, grid - 1)
        distance = keras.ops.abs(places[:, None] - keras.ops.arange(grid, dtype="float32"))
        return keras.ops.cast(keras.ops.maximum(0.0, 1 - distance), self.compute_dtype)

    def compute_output_spec(self, inputs):
        n, height, width, channels = inputs.shape
        length = None if height is None or width is None else 1 + height * width
        return keras.KerasTensor((n, length, channels), self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "grid": self.grid}


@keras.saving.register_keras_serializable(package="zoo")
class PatchMap(keras.layers.Layer):
    """Undoes `PatchTokens`: the tokens of the patches as a map, in the shape of another one.

    Input: a list of the tokens `[n, 1 + h * w, c]`, of which the first is dropped, and any map `[n, h, w, ...]`.
    Output shape: `[n, h, w, c]`; the dtype is that of the tokens.

    >>> PatchMap()([keras.Input((64, 8)), keras.Input((7, 9, 3))]).shape
    (None, 7, 9, 8)
    """

    def call(self, inputs):
        tokens, like = inputs
        n, height, width, _ = keras.ops.shape(like)
        return keras.ops.reshape(tokens[:, 1:], (n, height, width, tokens.shape[-1]))

    def compute_output_spec(self, inputs):
        tokens, like = inputs
        return keras.KerasTensor((*like.shape[:3], tokens.shape[-1]), self.compute_dtype)


class BlockLayer(keras.layers.Layer):
    """A block function as one layer, for `keras.Sequential`. `block_layer` makes its subclasses.

    Its arguments are the function's, without `x` and `name`. It holds the graph that the function builds, so there
    is one definition of each block. In a functional model prefer the function: its layers stay visible there.

    Input and output: those of the function; a single tensor each.
    """

    function: str
    graph: keras.Model

    def __init__(self, *args: Any, **options: Any):
        parameters = inspect.signature(self.block_function()).parameters
        own = {key: options.pop(key) for key in list(options) if key in parameters and key != "name"}
        super().__init__(**options)
        bound = inspect.signature(self.block_function()).bind(None, *args, **own, name=self.name)
        self.options = {key: value for key, value in list(bound.arguments.items())[1:] if key != "name"}

    @classmethod
    def block_function(cls) -> Callable:
        module, _, name = cls.function.rpartition(".")
        return getattr(importlib.import_module(module), name)

    def build(self, input_shape):
        # The block's layers take the policy of this one, which need not be the global one
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.dtype_policy)
        try:
            # Height and width stay open, so that one layer serves all sizes
            x = keras.Input((*(None for _ in input_shape[1:-1]), input_shape[-1]), dtype=self.compute_dtype)
            self.graph = keras.Model(x, self.block_function()(x, **self.options, name=self.name))
            self.graph.trainable = self.trainable
        finally:
            keras.config.set_dtype_policy(policy)

    def call(self, inputs, training=None):
        return self.graph(inputs, training=training)

    def get_config(self):
        return {**super().get_config(), **self.options}


def block_layer(name: str, function: str) -> type[BlockLayer]:
    """Makes a serializable layer class of a block function.

    Args:
        name: of the class.
        function: dotted name of the function, whose first argument is the tensor and whose `name` is the prefix of
            its layers. Looked up when a layer is made, so that the class can be defined before the function is.

    Returns:
        A subclass of `keras.layers.Layer`, registered with Keras for saving.

    Example:

    >>> ConvBN = block_layer("ConvBN", "zoo.blocks.conv_bn")
    >>> keras.Sequential([keras.Input((7, 9, 3)), ConvBN(8, 3, strides=2), ConvBN(16)]).output_shape
    (None, 4, 5, 16)
    """
    doc = f"`{function}` as a layer: the same arguments without `x` and `name`, and those of every Keras layer."
    cls = type(name, (BlockLayer,), {"function": function, "__doc__": doc, "__module__": __name__})
    return keras.saving.register_keras_serializable(package="zoo")(cls)


ResidualUnit = block_layer("ResidualUnit", "zoo.blocks.residual_unit")
SqueezeExcite = block_layer("SqueezeExcite", "zoo.blocks.squeeze_excite")
InceptionModule = block_layer("InceptionModule", "zoo.blocks.inception_module")
