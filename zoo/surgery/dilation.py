"""Trunks with finer maps: strides become dilations, so that pretrained kernels see what they saw before."""

from typing import Any

import keras

from zoo.surgery.graph import Call, Graph, Replacement, copied, graph_of, rebuild

__all__ = ["dilated"]

L = keras.layers
CONVOLUTIONS = (L.Conv2D, L.DepthwiseConv2D, L.SeparableConv2D)
POOLINGS = (L.MaxPooling2D, L.AveragePooling2D)


def dilated(model: keras.Model, output_stride: int) -> keras.Model:
    """Returns a trunk whose deepest map has a smaller stride, with the same kernels.

    Layers that would go beyond the stride keep the size of their map. The kernels behind them look at pixels further
    apart instead ("à trous"), so that each of them still covers the same part of the image.

    Source: Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation", section 3.1.

    Args:
        model: A functional model with one image input `[n, height, width, channels]`; it does not change.
        output_stride: The largest stride that maps may have, such as 16 or 8.

    Returns:
        A new model with copies of the weights and the same names of layers.

    Raises:
        ValueError: The stride is below 1, or a layer that goes beyond it has different strides in the two directions.

    Example:

    >>> image = keras.Input((64, 96, 3))
    >>> x = L.Conv2D(4, 3, strides=2, padding="same")(image)
    >>> x = L.Conv2D(4, 3, padding="same", name="last")(L.Conv2D(4, 3, strides=2, padding="same")(x))
    >>> finer = dilated(keras.Model(image, x), 2)
    >>> finer.output_shape, finer.get_layer("last").dilation_rate
    ((None, 32, 48, 4), (2, 2))
    """
    if output_stride < 1:
        raise ValueError(f"expected an output_stride of 1 or more, got {output_stride}")
    graph = graph_of(model)
    changes = _changes(graph, output_stride)
    consumers = graph.consumers()
    for call in graph.calls:  # A padding layer is part of the convolution behind it.
        if isinstance(call.operation, L.ZeroPadding2D) and all(
            id(one) in changes for one in consumers[id(call.output)]
        ):
            changes[id(call)] = None

    def convert(call: Call) -> Replacement | None:
        if id(call) not in changes:
            return None
        change = changes[id(call)]
        return (None, []) if change is None else (copied(call.operation, **change), None)

    return rebuild(model, convert, input_shape=model.input_shape[1:], graph=graph)


def _changes(graph: Graph, most: int) -> dict[int, dict[str, Any] | None]:
    """Returns for each call that goes, or lies, beyond the largest stride the arguments that its layer gets."""
    strides: dict[int, int] = {id(tensor): 1 for tensor in graph.inputs}
    changes: dict[int, dict[str, Any] | None] = {}
    for call in graph.calls:
        before = max((strides.get(id(tensor), 1) for tensor in call.inputs), default=1)
        layer, after = call.operation, before
        if isinstance(layer, CONVOLUTIONS + POOLINGS) and not isinstance(layer, L.Conv2DTranspose):
            vertical, horizontal = layer.strides
            after = before * vertical
            if after > most:
                if vertical != horizontal:
                    raise ValueError(f"{layer.name} has the strides {layer.strides}, which cannot become a dilation")
                change: dict[str, Any] = {"strides": max(1, most // before), "padding": "same"}
                if isinstance(layer, CONVOLUTIONS):
                    rates = [rate * max(1, before // most) for rate in layer.dilation_rate]
                    change["dilation_rate"] = tuple(rates)
                changes[id(call)] = change
        strides.update({id(tensor): after for tensor in call.outputs})
    return changes
