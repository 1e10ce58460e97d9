"""Conversion of trained models: classifiers that take images of any size, and batch norms folded into other layers.

Each function returns a new flat model with copies of the layers' state, which is not compiled. The given model does not
change.
"""

from collections import Counter
from math import prod
from typing import Any, TypeGuard

import keras
import numpy as np

from zoo.layers import DropPath, GroupedConv2D, ScaledAdd
from zoo.surgery.graph import Call, Graph, Replacement, copied, graph_of, rebuild

__all__ = ["adapted_kernel", "fold_batch_norms", "to_fully_convolutional"]

L = keras.layers


def adapted_kernel(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Adapts the kernel of a network's first convolution to images with another number of channels.

    For fewer channels, those of the kernel are summed and divided evenly. For more channels, they are repeated in turn,
    each divided by the number of its repetitions. So an image with equal channels gives the same result as before.

    Args:
        kernel: Kernel `[height, width, channels, filters]`.
        channels: Number of channels of the images.

    Returns:
        Kernel `[height, width, channels, filters]` for the new number of channels.

    >>> adapted_kernel(np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1), 4).ravel().tolist()
    [0.5, 2.0, 3.0, 0.5]
    """
    trained_channels = kernel.shape[2]
    if channels < trained_channels:
        return np.repeat(kernel.sum(axis=2, keepdims=True) / channels, channels, axis=2)
    source = np.arange(channels) % trained_channels
    return kernel[:, :, source] / np.bincount(source)[source][:, None].astype(kernel.dtype)


def to_fully_convolutional(model: keras.Model, *, input_shape: tuple[int, int, int] | None = None) -> keras.Model:
    """Converts a classifier to a network that slides over larger images.

    A dense layer on a flattened map is a convolution whose kernel covers that map. Behind a pooling of the whole map it
    is a 1x1 convolution behind a pooling whose window has the size of that map, with stride 1. So for an image of the
    trained size the new model gives the same result as the old one, as a map of 1x1. For a larger image it gives the
    result of the old one for each window of the trained size, apart from the effect of padding at the edges of windows.
    A network of stride 32 that was trained at 224 x 224 pixels gives 8 x 8 results at 448 x 448.

    Source: Sermanet et al. 2014, "OverFeat", section 3.5; Long et al. 2015, "Fully Convolutional Networks for Semantic
    Segmentation", section 3.1.

    Args:
        model: A functional or sequential classifier with one input `[n, height, width, channels]`.
        input_shape: The size at which it was trained, if the model leaves it open.

    Returns:
        A model from `[n, height, width, channels]`, of the trained size or larger, to `[n, rows, columns, classes]`,
        with the softmax along the classes. Layers keep their names.

    Raises:
        ValueError: If neither a flattened nor a pooled map leads to the outputs, if sizes are open, if the trunk works
            on one size only, or if a layer of the head has no convolutional form.

    Example:

    >>> image = keras.Input((32, 48, 3))
    >>> x = L.Flatten()(L.Conv2D(4, 3, strides=16, padding="same")(image))
    >>> model = to_fully_convolutional(keras.Model(image, L.Dense(5, activation="softmax")(x)))
    >>> [tuple(model(np.zeros((1, height, 96, 3))).shape) for height in (32, 64)]
    [(1, 1, 4, 5), (1, 3, 4, 5)]
    """
    graph = graph_of(model, input_shape=input_shape)
    if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        shapes = [tensor.shape for tensor in graph.inputs]
        raise ValueError(f"expected one input [n, height, width, channels], got {shapes}")
    trained = graph.inputs[0].shape[1:]
    if None in trained:
        raise ValueError(
            f"{model.name} leaves its input size open ({trained}), and its head covers a map of the size that it was "
            "trained at: give that size, for example input_shape=(224, 224, 3)"
        )
    head = _Head(graph)
    if not head.calls:
        raise ValueError(
            f"{model.name} has no dense head to convert: no Flatten or global pooling of a map leads to its outputs "
            f"{[tensor.shape for tensor in graph.outputs]}. Build it with its classifier (include_top=True)"
        )
    return rebuild(model, head.convert, input_shape=(None, None, trained[-1]), graph=graph)


POOLINGS = {L.GlobalAveragePooling2D: L.AveragePooling2D, L.GlobalMaxPooling2D: L.MaxPooling2D}
# Layers that do the same to each value, whatever the shape around it.
ELEMENTWISE = (
    *(L.Dropout, L.AlphaDropout, L.GaussianDropout, L.GaussianNoise, L.ActivityRegularization, DropPath),
    *(L.Activation, L.ReLU, L.LeakyReLU, L.ELU, L.Identity, L.Rescaling),
    *(L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum, ScaledAdd),
)
# Layers that work along one axis, which must be that of the channels.
ALONG_AN_AXIS = (
    *(L.Softmax, L.BatchNormalization, L.LayerNormalization, L.RMSNormalization, L.UnitNormalization),
    L.Concatenate,
)


class _Head:
    """The calls behind the last feature maps, and their replacements in the new model.

    Where the old head has a vector, the new one has a map, which is 1x1 at the trained size. Where the old one has a
    flattened map, the new one still has that map, and `windows` has its size for the dense layer that must cover it.
    """

    def __init__(self, graph: Graph):
        self.calls = _head_calls(graph)
        self.windows: dict[int, tuple[int, int]] = {}  # id of a flattened map -> its height and width

    def convert(self, call: Call) -> Replacement | None:
        if id(call) not in self.calls:
            return None
        layer = call.operation
        windows = {self.windows.get(id(tensor), (1, 1)) for tensor in call.inputs}
        window = max(windows)
        if isinstance(layer, L.Flatten | L.Reshape):
            return self._dropped_reshape(call)
        if isinstance(layer, L.Dense):
            return _as_convolution(layer, window)
        if isinstance(layer, ELEMENTWISE) and (window == (1, 1) or not _is_along_channels(layer)) and len(windows) == 1:
            self.windows[id(call.output)] = window
            return None
        if window != (1, 1):
            raise ValueError(f"it cannot be between Flatten (of {window[0]} x {window[1]} pixels) and a dense layer")
        if type(layer) in POOLINGS:
            pooled = POOLINGS[type(layer)](call.inputs[0].shape[1:3], 1, name=layer.name, dtype=layer.dtype_policy)
            return pooled, []
        last = len(call.output.shape) - 1
        if isinstance(layer, ALONG_AN_AXIS) and layer.axis in (-1, last, [-1], [last]):
            return copied(layer, axis=-1), None
        if isinstance(layer, L.Conv2D) and layer.kernel_size == (1, 1):
            return None
        raise ValueError("it has no convolutional form: put it behind the model, or take a head of dense layers")

    def _dropped_reshape(self, call: Call) -> Replacement:
        before, after = call.inputs[0].shape[1:], call.output.shape[1:]
        if len(before) == 3 and len(after) == 1:
            self.windows[id(call.output)] = before[:2]
        elif prod(before) != before[-1] or prod(after) != after[-1]:
            raise ValueError(f"it turns {before} into {after}, neither of which is a vector or a map of one pixel")
        return None, []


def _head_calls(graph: Graph) -> set[int]:
    """Returns the ids of the calls between a flattened or pooled map and the outputs.

    A pooled map that later meets an unpooled one, such as the gate of squeeze-and-excitation, belongs to the trunk.
    """
    consumers = graph.consumers()
    flattening = (L.Flatten, L.Reshape, *POOLINGS)
    starts = [call for call in graph.calls if isinstance(call.operation, flattening) and len(call.inputs[0].shape) == 4]

    def behind(start: Call) -> dict[int, Call]:
        reached_calls, waiting = {id(start): start}, [start]
        while waiting:
            for tensor in waiting.pop().outputs:
                new = [call for call in consumers[id(tensor)] if id(call) not in reached_calls]
                reached_calls.update({id(call): call for call in new})
                waiting += new
        return reached_calls

    reached = {id(start): behind(start) for start in starts}
    while True:
        head = {key: call for calls in reached.values() for key, call in calls.items()}
        inside = {id(tensor) for call in head.values() for tensor in call.outputs}
        joined = {
            key
            for key, call in head.items()
            if key not in reached and not all(id(tensor) in inside for tensor in call.inputs)
        }
        kept = {key: calls for key, calls in reached.items() if not joined & calls.keys()}
        if len(kept) == len(reached):
            return set(head)
        reached = kept


def _is_along_channels(layer: keras.layers.Layer) -> bool:
    return getattr(getattr(layer, "activation", None), "__name__", "") in ("softmax", "log_softmax", "sparsemax")


def _as_convolution(dense: keras.layers.Dense, window: tuple[int, int]) -> Replacement:
    """Returns a convolution that covers a window of the map, with the weights of a dense layer on that window."""
    if not _has_plain_weights(dense):
        raise ValueError("its weights are quantised or have a low-rank part (LoRA): convert the model before that")
    convolution = L.Conv2D(
        dense.units,
        window,
        activation=dense.activation,
        use_bias=dense.use_bias,
        kernel_regularizer=dense.kernel_regularizer,
        bias_regularizer=dense.bias_regularizer,
        trainable=dense.trainable,
        dtype=dense.dtype_policy,
        name=dense.name,
    )
    kernel, *bias = dense.get_weights()
    # Flatten orders rows, columns and channels in the same way as a kernel.
    return convolution, [kernel.reshape(*window, -1, dense.units), *bias]


# Layers whose output is a product with the last axes of their kernels plus a bias. Other classes that inherit from
# these may compute something else.
CONVOLUTIONS = (L.Conv1D, L.Conv2D, L.Conv3D, GroupedConv2D)
TRANSPOSED = (L.Conv1DTranspose, L.Conv2DTranspose, L.Conv3DTranspose)
DEPTHWISE = (L.DepthwiseConv1D, L.DepthwiseConv2D)
SEPARABLE = (L.SeparableConv1D, L.SeparableConv2D)
LINEAR = (*CONVOLUTIONS, *TRANSPOSED, *DEPTHWISE, *SEPARABLE, L.Dense)


def fold_batch_norms(model: keras.Model) -> keras.Model:
    """Returns a model with fewer layers that computes the same in inference: batch norms become part of other layers.

    In inference a batch norm multiplies each channel by a constant and adds another. After a convolution, dense,
    depthwise or separable layer without activation, both constants go into the kernel and the bias. Before such a layer
    they do so, too, if there is no padding in between: padding is zero, and would have to be scaled and shifted as
    well. Other batch norms stay: shared ones, and those whose neighbour is also used elsewhere or has an activation in
    between.

    Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", section 3.2.

    Args:
        model: A functional or sequential model.

    Returns:
        A model with the same outputs in inference, up to rounding. It should not be trained, because it no longer
        normalises.

    Raises:
        ValueError: If the model has no graph.

    Example:

    >>> image = keras.Input((7, 9, 3))
    >>> x = L.BatchNormalization()(L.Conv2D(4, 3, use_bias=False)(image))
    >>> [type(layer).__name__ for layer in fold_batch_norms(keras.Model(image, L.ReLU()(x))).layers]
    ['InputLayer', 'Conv2D', 'ReLU']
    """
    graph = graph_of(model)
    folding = _Folding(graph)
    for call in graph.calls:
        if type(call.operation) is L.BatchNormalization:
            folding.fold(call)
    return rebuild(model, folding.convert, graph=graph)


class _Folding:
    """The layers that take over batch norms, and the weights that these layers then have."""

    def __init__(self, graph: Graph):
        self.consumers = graph.consumers()
        self.outputs = {id(tensor) for tensor in graph.outputs}
        self.times = Counter(id(call.operation) for call in graph.calls)
        # id of a tensor -> the call that computes it, once batch norms are removed
        self.producers = {id(tensor): call for call in graph.calls for tensor in call.outputs}
        self.weights: dict[int, list[np.ndarray]] = {}  # id of a layer -> kernels and bias
        self.gone: set[int] = set()

    def fold(self, norm: Call) -> None:
        if self.times[id(norm.operation)] > 1:
            return
        scale, shift = _scale_and_shift(norm.operation)
        before = self.producers.get(id(norm.inputs[0]))
        behind = next(iter(self.consumers[id(norm.output)]), None)
        if self._is_joined(before, norm.inputs[0], norm) and _has_no_activation(before.operation):
            self._scale_output(before.operation, scale, shift)
            self.producers[id(norm.output)] = before
        elif self._is_joined(behind, norm.output, norm) and _sees_no_padding(behind.operation):
            self._scale_input(behind.operation, scale, shift)
        else:
            return
        self.gone.add(id(norm.operation))

    def _is_joined(self, layer: Any, tensor: keras.KerasTensor, norm: Call) -> TypeGuard[Call]:
        """Tells whether a layer with weights is on the other side of the tensor, and both are used nowhere else."""
        if layer is None or type(layer.operation) not in LINEAR or self.times[id(layer.operation)] > 1:
            return False
        if not _has_plain_weights(layer.operation):
            return False
        alone = len(self.consumers[id(tensor)]) == 1 and id(tensor) not in self.outputs
        channels_last = getattr(layer.operation, "data_format", "channels_last") == "channels_last"
        return alone and channels_last and norm.operation.axis in (-1, len(norm.output.shape) - 1)

    def _weights_of(self, layer: keras.layers.Layer) -> list[np.ndarray]:
        """Returns kernels and bias in double precision; a bias of zeros if the layer has none."""
        if id(layer) not in self.weights:
            weights = [weight.astype("float64") for weight in layer.get_weights()]
            if not layer.use_bias:
                weights.append(np.zeros(_channels(layer)))
            self.weights[id(layer)] = weights
        return self.weights[id(layer)]

    def _scale_output(self, layer, scale, shift) -> None:
        """Changes the weights to those of `scale * (kernel * x + bias) + shift`, by output channel."""
        weights = self._weights_of(layer)
        if isinstance(layer, DEPTHWISE):
            weights[-2] *= scale.reshape(weights[-2].shape[-2:])
        elif isinstance(layer, TRANSPOSED):
            weights[-2] *= scale[:, None]
        else:
            weights[-2] *= scale
        weights[-1] *= scale
        weights[-1] += shift

    def _scale_input(self, layer, scale, shift) -> None:
        """Changes the weights to those of `kernel * (scale * x + shift) + bias`, by input channel."""
        weights = self._weights_of(layer)
        kernel = weights[0]
        if isinstance(layer, DEPTHWISE):
            scale, shift = scale[:, None], shift[:, None]
            weights[1] += (kernel * shift).sum(axis=tuple(range(kernel.ndim - 2))).ravel()
        else:
            # An output channel depends on the input channels of its group.
            groups = getattr(layer, "groups", 1)
            outputs = kernel.shape[-1] // groups
            scale, shift = (np.repeat(values.reshape(groups, -1), outputs, axis=0).T for values in (scale, shift))
            weights[1] += (kernel * shift).sum(axis=tuple(range(kernel.ndim - 1)))
        weights[0] = kernel * scale

    def convert(self, call: Call) -> Replacement | None:
        if id(call.operation) in self.gone:
            return None, []
        if id(call.operation) in self.weights:
            return copied(call.operation, use_bias=True), self.weights[id(call.operation)]
        return None


def _scale_and_shift(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    values = {weight.name: keras.ops.convert_to_numpy(weight).astype("float64") for weight in norm.weights}
    scale = values.get("gamma", 1.0) / np.sqrt(values["moving_variance"] + norm.epsilon)
    return scale, values.get("beta", 0.0) - values["moving_mean"] * scale


def _has_plain_weights(layer: keras.layers.Layer) -> bool:
    """Tells whether a layer computes with its kernels as they are: not quantised, and without LoRA."""
    return getattr(layer, "quantization_mode", None) is None and not getattr(layer, "lora_enabled", False)


def _has_no_activation(layer: keras.layers.Layer) -> bool:
    return layer.activation is None or layer.activation is keras.activations.linear


def _sees_no_padding(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, L.Dense):
        return True
    simple = isinstance(layer, (*CONVOLUTIONS, *DEPTHWISE))
    return simple and (layer.padding == "valid" or set(layer.kernel_size) == {1})


def _channels(layer: keras.layers.Layer) -> int:
    """Returns the number of output channels."""
    if isinstance(layer, DEPTHWISE):
        return prod(layer.kernel.shape[-2:])
    return layer.units if isinstance(layer, L.Dense) else layer.filters
