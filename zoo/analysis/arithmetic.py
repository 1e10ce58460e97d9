"""The arithmetic of layers: the size of their output, the padding of their input, and the number of products."""

import math
from collections.abc import Sequence
from functools import singledispatch
from math import prod

import keras

from zoo.layers import (
    DepthPool,
    DropPath,
    LayerScale,
    LocalResponseNormalization,
    PatchMap,
    PatchTokens,
    RadialBasis,
    ScaledAdd,
)

__all__ = ["conv_output_size", "extra_operations", "multiply_adds", "same_padding"]

Shape = Sequence[int]


def conv_output_size(
    size: int, kernel_size: int, *, strides: int = 1, padding: str | int = "valid", dilation_rate: int = 1
) -> int:
    """Computes the height or width of the output of a convolution or pooling.

    "valid" gives `ceil((size - kernel + 1) / strides)`, "same" gives `ceil(size / strides)`, and `padding=p` on both
    sides gives `floor((size + 2 p - kernel) / strides) + 1`, where a dilated kernel covers `(kernel_size - 1) *
    dilation_rate + 1`.

    Source: Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", relationships 6 and 14.

    Args:
        size: Height or width of the input, in pixels.
        kernel_size: Height or width of the kernel or pool.
        strides: Distance between two positions of the kernel. Defaults to 1.
        padding: "valid", "same", or the number of pixels that are added on each of the two sides. Defaults to "valid".
        dilation_rate: Distance between two values of the kernel. Defaults to 1.

    Raises:
        ValueError: If the kernel is larger than the padded input, if a size is below 1, or if the padding is unknown.

    Example:

    >>> conv_output_size(224, 7, strides=2, padding="same"), conv_output_size(13, 5, strides=2), conv_output_size(5, 3)
    (112, 5, 3)
    """
    _at_least_one(size=size, kernel_size=kernel_size, strides=strides, dilation_rate=dilation_rate)
    kernel = _covered(kernel_size, dilation_rate)
    if padding == "same":
        return math.ceil(size / strides)
    border = 0 if padding == "valid" else padding
    if not isinstance(border, int) or border < 0:
        raise ValueError(f'expected a padding of "valid", "same" or a number of pixels of at least 0, got {padding!r}')
    if kernel > size + 2 * border:
        raise ValueError(
            f"a kernel that covers {kernel} pixels does not fit into {size} with {border} added on each side: use a "
            'larger input, a smaller kernel, or padding="same"'
        )
    return (size + 2 * border - kernel) // strides + 1


def same_padding(size: int, kernel_size: int, *, strides: int = 1, dilation_rate: int = 1) -> tuple[int, int]:
    """Computes the pixels that "same" padding adds (before, after) so that every input pixel is covered.

    Together they are `(ceil(size / strides) - 1) * strides + kernel - size`, and at least 0. If that is odd, the
    additional pixel goes after the input, as in TensorFlow and Keras; PyTorch pads both sides equally.

    Args:
        size: Height or width of the input, in pixels.
        kernel_size: Height or width of the kernel or pool.
        strides: Distance between two positions of the kernel. Defaults to 1.
        dilation_rate: Distance between two values of the kernel. Defaults to 1.

    Raises:
        ValueError: If a size is below 1.

    Example:

    >>> same_padding(224, 7, strides=2), same_padding(13, 5, strides=2), same_padding(13, 1, strides=2)
    ((2, 3), (2, 2), (0, 0))
    """
    positions = conv_output_size(size, kernel_size, strides=strides, padding="same", dilation_rate=dilation_rate)
    padding = max(0, (positions - 1) * strides + _covered(kernel_size, dilation_rate) - size)
    return padding // 2, padding - padding // 2


def _covered(kernel_size: int, dilation_rate: int) -> int:
    return (kernel_size - 1) * dilation_rate + 1


def _at_least_one(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"expected {name} of at least 1, got {size}")


# Layers without a sum of products of weights and inputs. Their work (an activation, a mean, a copy) only grows with the
# number of values, and papers do not count it.
_L = keras.layers
WITHOUT_PRODUCTS: tuple[type, ...] = (
    *(_L.Activation, _L.ReLU, _L.LeakyReLU, _L.PReLU, _L.ELU, _L.Softmax, _L.Identity, _L.InputLayer, _L.Masking),
    *(_L.BatchNormalization, _L.LayerNormalization, _L.GroupNormalization, _L.RMSNormalization, _L.UnitNormalization),
    *(_L.Dropout, _L.SpatialDropout1D, _L.SpatialDropout2D, _L.SpatialDropout3D, _L.AlphaDropout, _L.GaussianDropout),
    *(_L.GaussianNoise, _L.ActivityRegularization, _L.Embedding, _L.CategoryEncoding, _L.Discretization, _L.Hashing),
    *(_L.Add, _L.Subtract, _L.Multiply, _L.Average, _L.Maximum, _L.Minimum, _L.Concatenate),
    *(_L.Flatten, _L.Reshape, _L.Permute, _L.RepeatVector),
    *(_L.ZeroPadding1D, _L.ZeroPadding2D, _L.ZeroPadding3D, _L.Cropping1D, _L.Cropping2D, _L.Cropping3D),
    *(_L.UpSampling1D, _L.UpSampling2D, _L.UpSampling3D, _L.Resizing, _L.CenterCrop, _L.Rescaling, _L.Normalization),
    *(_L.MaxPooling1D, _L.MaxPooling2D, _L.MaxPooling3D, _L.AveragePooling1D, _L.AveragePooling2D, _L.AveragePooling3D),
    *(_L.GlobalMaxPooling1D, _L.GlobalMaxPooling2D, _L.GlobalMaxPooling3D),
    *(_L.GlobalAveragePooling1D, _L.GlobalAveragePooling2D, _L.GlobalAveragePooling3D),
    *(_L.AdaptiveAveragePooling1D, _L.AdaptiveAveragePooling2D, _L.AdaptiveAveragePooling3D),
    *(_L.AdaptiveMaxPooling1D, _L.AdaptiveMaxPooling2D, _L.AdaptiveMaxPooling3D),
    *(getattr(_L, name) for name in dir(_L) if name.startswith("Random")),
    *(DepthPool, DropPath, LayerScale, PatchMap, PatchTokens, ScaledAdd),
)
# Layers of keras.applications that have no public name.
PRIVATE_WITHOUT_PRODUCTS = {("keras.src.applications.convnext", "LayerScale")}
# Operations of `keras.ops` that sum products, apart from those that are counted below. All others have no products.
OPS_WITH_PRODUCTS = {
    *("Conv", "ConvTranspose", "DepthwiseConv", "SeparableConv", "DotProductAttention", "Tensordot", "Vdot", "Inner"),
    *("Outer", "Cross", "Correlate", "Convolve", "FFT", "FFT2", "IFFT2", "RFFT", "IRFFT", "STFT", "ISTFT"),
    *("Solve", "SolveTriangular", "Inv", "Det", "Cholesky", "LuFactor", "QR", "SVD", "Eig", "Eigh", "Lstsq"),
    *("Kron", "MultiDot", "MatrixPower", "Pinv", "Expm", "CholeskyInverse", "Logdet", "Slogdet"),
}


@singledispatch
def multiply_adds(operation: keras.Operation, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Counts the multiply-adds of one call of a layer on one sample.

    Each product of a weight (in attention, of two activations) that is added to a sum counts. Biases, activations,
    pooling and normalisation do not count. To add a layer of your own, use `multiply_adds.register(MyLayer)(function)`.

    Args:
        operation: A built layer, or an operation of `keras.ops`.
        inputs: Shape of each input, without the batch.
        output: Shape of the output, without the batch.

    Returns:
        The number, or None if the type of the operation is not known.

    Example: 5 * 5 * 3 products for each of 150 * 100 * 200 values.

    >>> layer = keras.layers.Conv2D(200, 5, padding="same")
    >>> layer(keras.Input((150, 100, 3))).shape
    (None, 150, 100, 200)
    >>> multiply_adds(layer, [(150, 100, 3)], (150, 100, 200))
    225000000
    """
    kind = type(operation)
    if isinstance(operation, WITHOUT_PRODUCTS) or (kind.__module__, kind.__name__) in PRIVATE_WITHOUT_PRODUCTS:
        return 0
    if isinstance(operation, keras.layers.Layer) or not kind.__module__.startswith("keras."):
        return None
    if kind.__name__ in ("Matmul", "Dot") and len(inputs) == 2:
        return prod(output) * inputs[0][-1]
    if kind.__name__ == "Einsum":
        return _einsum(operation.subscripts, *((1, *shape) for shape in inputs))
    return None if kind.__name__ in {*OPS_WITH_PRODUCTS, "Matmul", "Dot"} else 0


def _convolution(layer, inputs, output):
    # Each value of the kernel, for all input and output channels (of a group), is used once at each position.
    return prod(layer.kernel.shape) * prod(output) // layer.filters


def _transposed(layer, inputs, output):
    return prod(layer.kernel.shape) * prod(inputs[0]) // inputs[0][_channels(layer)]


def _depthwise(layer, inputs, output):
    return prod(layer.kernel.shape) * prod(output) // output[_channels(layer)]


def _separable(layer, inputs, output):
    return (prod(layer.depthwise_kernel.shape) + prod(layer.pointwise_kernel.shape)) * prod(output) // layer.filters


def _channels(layer) -> int:
    return -1 if layer.data_format == "channels_last" else 0


for dimensions in ("1D", "2D", "3D"):
    multiply_adds.register(getattr(_L, f"Conv{dimensions}"))(_convolution)
    multiply_adds.register(getattr(_L, f"Conv{dimensions}Transpose"))(_transposed)
for dimensions in ("1D", "2D"):
    multiply_adds.register(getattr(_L, f"DepthwiseConv{dimensions}"))(_depthwise)
    multiply_adds.register(getattr(_L, f"SeparableConv{dimensions}"))(_separable)


@multiply_adds.register
def _(layer: keras.layers.Dense, inputs, output):
    return prod(inputs[0]) * output[-1]


@multiply_adds.register
def _(layer: keras.layers.EinsumDense, inputs, output):
    # The first letter of the equation, or its "...", is the batch.
    return _einsum(layer.equation, (1, *inputs[0]), layer.kernel.shape)


def _einsum(equation: str, *shapes: Shape) -> int | None:
    """Counts the products of `np.einsum(equation, ...)`: one for each combination of its indices."""
    terms = equation.replace(" ", "").split("->")[0].split(",")
    if len(terms) != len(shapes) or "" in terms:
        return None
    sizes: dict[object, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        before, dots, after = term.partition("...")
        rest = len(shape) - len(before) - len(after)
        labels = [*before, *((dots, -i) for i in range(rest, 0, -1)), *after]
        # Axes that broadcast have size 1 in one of the operands.
        sizes.update({label: max(size, sizes.get(label, 1)) for label, size in zip(labels, shape, strict=True)})
    return prod(sizes.values())


@multiply_adds.register
def _(layer: keras.layers.Dot, inputs, output):
    axis = layer.axes if isinstance(layer.axes, int) else layer.axes[0]
    return prod(output) * inputs[0][axis - 1 if axis > 0 else axis]


@multiply_adds.register
def _(layer: keras.layers.MultiHeadAttention, inputs, output):
    # Vaswani et al. 2017, section 3.2.2: four projections, scores, and weighted means. Inputs: query, value(, key).
    query, value, key = inputs[0], inputs[-1] if len(inputs) < 2 else inputs[1], inputs[-1]
    if any(len(shape) != 2 for shape in (query, value, key)):
        return None
    width, value_width = layer.num_heads * layer.key_dim, layer.num_heads * (layer.value_dim or layer.key_dim)
    projections = prod(query) * width + prod(key) * width + prod(value) * value_width + prod(output) * value_width
    return projections + query[0] * key[0] * (width + value_width)


@multiply_adds.register
def _(layer: keras.layers.Attention, inputs, output):
    query, value, key = inputs[0], inputs[1], inputs[-1]
    return query[0] * key[0] * (key[-1] + value[-1]) if layer.score_mode == "dot" else None


@multiply_adds.register(keras.layers.SimpleRNN)
@multiply_adds.register(keras.layers.LSTM)
@multiply_adds.register(keras.layers.GRU)
def _(layer, inputs, output):
    cell = layer.cell
    return inputs[0][0] * (prod(cell.kernel.shape) + prod(cell.recurrent_kernel.shape))


@multiply_adds.register
def _(layer: keras.layers.Bidirectional, inputs, output):
    ways = [multiply_adds(way, inputs, output) for way in (layer.forward_layer, layer.backward_layer)]
    return None if None in ways else sum(ways)


@multiply_adds.register
def _(layer: keras.layers.TimeDistributed, inputs, output):
    step = multiply_adds(layer.layer, [inputs[0][1:]], output[1:])
    return None if step is None else inputs[0][0] * step


@multiply_adds.register
def _(layer: LocalResponseNormalization, inputs, output):
    return prod(output) * (2 * layer.depth_radius + 1)


@multiply_adds.register
def _(layer: RadialBasis, inputs, output):
    return layer.codes.size


def extra_operations(operation: keras.Operation, inputs: Sequence[Shape], output: Shape) -> int:
    """Counts the operations of one call on one sample that `fvcore` and so most published GMACs add to multiply-adds.

    A batch norm in inference has 2 per value (scale and shift). Normalisation by the statistics of the sample has 5 per
    value. The mean of each map before a classifier has 1 per input value. All other operations have none, not even the
    means of squeeze-and-excitation.

    Args:
        operation: A built layer, or an operation of `keras.ops`.
        inputs: Shape of each input, without the batch.
        output: Shape of the output, without the batch.

    Returns:
        The number.

    >>> extra_operations(keras.layers.BatchNormalization(), [(7, 9, 2)], (7, 9, 2))
    252
    """
    if isinstance(operation, keras.layers.BatchNormalization):
        return 2 * prod(output)
    if isinstance(operation, keras.layers.GlobalAveragePooling2D):
        return 0 if operation.keepdims else prod(inputs[0])
    statistics = (_L.LayerNormalization, _L.GroupNormalization, _L.RMSNormalization)
    return 5 * prod(output) if isinstance(operation, statistics) else 0
