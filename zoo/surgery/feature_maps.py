"""The feature maps of a model: they are found by shape, for any flat functional model.

A level `c3` is the map at stride 2**3: one of its pixels stands for 8 x 8 pixels of the input (Lin et al. 2017,
"Feature Pyramid Networks", section 3, where they are C2 to C5).
"""

from collections.abc import Sequence
from functools import reduce
from typing import cast

import keras

from zoo.surgery.flattening import flat, functional, output_of

__all__ = ["features", "last_feature_map", "levels", "strides"]

DEEPEST = 7  # number of the deepest level that is looked for


def strides(model: keras.Model) -> dict[str, float]:
    """Measures the stride of every layer that has a spatial output: input pixels per output pixel.

    Sizes that do not divide evenly say little about strides (299, 149, 147, 74 are strides 1, 2, 2, 4). So the stride
    is measured: how much does the output grow when the input grows? Layers with a fixed output size (global pooling)
    are left out, and so are layers that scale height and width differently.

    Args:
        model: A model with one image input `[n, height, width, channels]`; height and width may be None.

    Returns:
        A dict from the name of each layer to its stride, in the order of the layers. A stride is below 1 where a layer
            enlarges the input.

    Raises:
        ValueError: If the model has no graph (`zoo.surgery.flattening.functional`), if its input is no batch of images,
            or if it has layers that work on only one size of image.

    Example:

    >>> image = keras.Input((None, None, 3))
    >>> x = keras.layers.Conv2D(4, 3, strides=2, name="stem")(image)
    >>> x = keras.layers.MaxPooling2D(2, name="pool")(x)
    >>> strides(keras.Model(image, x))
    {'stem': 2.0, 'pool': 4.0}
    """
    model = functional(model)
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = [tensor.shape for tensor in model.inputs]
        raise ValueError(f"expected one input [n, height, width, channels], got {shapes}")
    growth = 2**DEEPEST
    small = tuple(size or 2 * growth for size in model.inputs[0].shape[1:3])
    before = _spatial_sizes(model, small)
    after = _spatial_sizes(model, (small[0] + growth, small[1] + growth))
    measured = {}
    for layer in model.layers:
        if layer.name in before and layer.name in after:
            grown = [new - old for new, old in zip(after[layer.name], before[layer.name], strict=True)]
            if grown[0] == grown[1] > 0:
                measured[layer.name] = growth / grown[0]
    return measured


def levels(model: keras.Model) -> dict[str, str]:
    """Finds the last layer at each stride.

    Padding layers do not count: their maps are those of the layer before, with a border.

    Args:
        model: A model with one image input `[n, height, width, channels]`; height and width may be None.

    Returns:
        A dict from "c1", "c2", ... (stride 2, 4, ...) to the name of a layer. Levels that the model does not have are
        absent.

    Raises:
        ValueError: If `strides` refuses the model.

    Example:

    >>> levels(keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35))["c3"]
    'block_6_expand_relu'
    """
    return _last_at_each_level(model)


def features(model: keras.Model, levels: Sequence[str] = ("c3", "c4", "c5")) -> keras.Model:
    """Returns the same layers as a model whose outputs are the feature maps of several levels.

    Args:
        model: A model with one image input `[n, height, width, channels]`; height and width may be None.
        levels: Names of levels, see `zoo.surgery.feature_maps.levels`. Defaults to c3, c4 and c5.

    Returns:
        A model from the same input to a dict from levels to maps `[n, height / 2**n, width / 2**n, channels]`. It
        shares its layers and weights with `model`.

    Raises:
        ValueError: If the model does not have a level, or if `strides` refuses the model.

    Example:

    >>> model = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> {level: map.shape[1:3] for level, map in features(model).output.items()}
    {'c3': (8, 12), 'c4': (4, 6), 'c5': (2, 3)}
    """
    model = flat(model)
    known = _last_at_each_level(model)
    unknown = [level for level in levels if level not in known]
    if unknown:
        raise ValueError(f"{model.name} has no level {', '.join(unknown)}; it has {', '.join(known)}")
    maps = {level: output_of(model, known[level]) for level in levels}
    return keras.Model(model.input, maps, name=f"{model.name}_features")


def last_feature_map(model: keras.Model) -> str:
    """Returns the name of the last layer with a 4-D output, where the trunk of a classifier ends.

    Args:
        model: A model; see `zoo.surgery.flattening.functional`.

    Raises:
        ValueError: If no layer has a 4-D output, or if the model has no graph.

    >>> image = keras.Input((7, 9, 3))
    >>> x = keras.layers.Conv2D(4, 3, name="conv")(image)
    >>> last_feature_map(keras.Model(image, keras.layers.GlobalAveragePooling2D()(x)))
    'conv'
    """
    model = functional(model)
    for layer in reversed(model.layers):
        if not isinstance(layer, keras.layers.InputLayer) and _is_map(output_of(model, layer.name)):
            return layer.name
    raise ValueError(f"{model.name} has no layer with an output [n, height, width, channels]")


def _last_at_each_level(model: keras.Model) -> dict[str, str]:
    names = {2.0**n: f"c{n}" for n in range(1, DEEPEST + 1)}
    last_layers = {}
    model = functional(model)
    for name, stride in strides(model).items():
        if stride in names and not isinstance(model.get_layer(name), keras.layers.ZeroPadding2D):
            last_layers[names[stride]] = name
    return dict(sorted(last_layers.items()))


def _is_map(output) -> bool:
    return hasattr(output, "shape") and len(output.shape) == 4


def _spatial_sizes(model: keras.Model, size: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Returns a dict from the name of each layer to the height and width of its output, for an input of the given size.

    Only shapes are computed.
    """
    sizes = {}

    def trace(operation, *args, **kwargs):
        output = _output_spec(operation, *args, **kwargs)
        if _is_map(output):
            sizes[operation.name] = output.shape[1:3]
        return output

    source = model.inputs[0]
    image = keras.KerasTensor((source.shape[0], *size, source.shape[3]), dtype=source.dtype)
    try:
        # Calling the model would refuse a size that is not its own. Walking its graph, as `clone_model` does, does not
        # refuse it.
        model._run_through_graph([image], call_fn=trace)
    except ValueError as error:
        raise ValueError(
            f"{model.name} does not work on an image of {size[0]}x{size[1]} pixels, so its strides cannot be measured: "
            f"{error}. Build it with an input_shape that it works on"
        ) from error
    return cast(dict[str, tuple[int, int]], sizes)


def _output_spec(operation, *args, **kwargs):
    """Returns the output of an operation for symbolic inputs of any size.

    Nested models are entered, since they may have been built for one size.
    """
    if isinstance(operation, keras.Sequential):
        return reduce(lambda x, layer: _output_spec(layer, x), operation.layers, args[0])
    if hasattr(operation, "operations"):
        return operation._run_through_graph(args[0], call_fn=_output_spec)
    return operation.compute_output_spec(*args, **kwargs)
