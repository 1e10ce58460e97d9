"""The costs of a model, layer by layer: parameters, multiply-adds, memory of activations and receptive field.

    zoo.cost(model)                         # in a notebook or a rich console: the table
    zoo.cost(model, batch_size=100).frame() # a pandas.DataFrame
    zoo.cost(model).plot()                  # a matplotlib figure

The bytes are those of the textbook: the outputs of all layers, in their dtypes, where each output is kept as a whole.
`zoo.predict_memory` predicts what TensorFlow keeps.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, prod
from typing import TYPE_CHECKING, Any

import keras

from zoo.analysis.arithmetic import conv_output_size, extra_operations, multiply_adds, same_padding
from zoo.analysis.optimizers import slot_bytes
from zoo.surgery.graph import Call, Graph, graph_of

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas
    import rich.table

__all__ = ["Cost", "LayerCost", "conv_output_size", "cost", "multiply_adds", "readable", "same_padding"]


@dataclass(frozen=True)
class LayerCost:
    """One row of the table: one call of a layer.

    Attributes:
        name: Name of the layer, after the names of the models that contain it.
        type: Class of the layer.
        output_shape: Shape of the first output, with the batch.
        parameters: Number of parameters; 0 where a shared layer is called again.
        trainable: Number of the parameters that training changes.
        multiply_adds: Number of multiply-adds for one image; None if the type of the layer is not known.
        extra_operations: Number of other operations for one image; see `zoo.analysis.arithmetic.extra_operations`.
        activation_bytes: Bytes of all outputs, for the whole batch.
        receptive_field: (height, width) in input pixels that one output value depends on, as far as the image reaches;
            None for a layer to which no image leads. Gates that are computed from the whole map
            (squeeze-and-excitation) do not count.
        stride: (vertical, horizontal) distance of neighbouring output pixels, in input pixels; None if the output is
            not a feature map.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    trainable: int
    multiply_adds: int | None
    extra_operations: int
    activation_bytes: int
    receptive_field: tuple[int, int] | None
    stride: tuple[float, float] | None


@dataclass(frozen=True)
class Cost:
    """The result of `cost`: the rows of the table, and totals.

    Attributes:
        name: Name of the model.
        batch_size: Number of images to which the bytes refer.
        layers: One row per call of a layer, in an order in which they can be executed.
        unknown: "name (type)" of the layers whose multiply-adds are not known, and not in the sum.
        parameter_bytes: Bytes of all parameters, in the dtypes in which they are stored.
        gradient_bytes: Bytes of the gradients of the trainable parameters.
        optimizer_bytes: Bytes of the slots of the optimizer.
        input_bytes: Bytes of the images, for the whole batch.
        inference_activation_bytes: The largest number of bytes that are held at once if the output of each layer is
            dropped after its last use. For a chain of layers these are the two largest consecutive outputs, where the
            image counts as the first.
    """

    name: str
    batch_size: int
    layers: tuple[LayerCost, ...]
    unknown: tuple[str, ...]
    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    input_bytes: int
    inference_activation_bytes: int

    @property
    def parameters(self) -> int:
        """Number of all parameters, including the statistics of batch norms."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def trainable(self) -> int:
        """Number of the parameters that training changes."""
        return sum(layer.trainable for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-adds for one image, as papers count them: for convolutions, dense layers and attention."""
        return sum(layer.multiply_adds or 0 for layer in self.layers)

    @property
    def gmacs(self) -> float:
        """10**9 multiply-adds for one image as `fvcore` and the tables of timm count them: with `extra_operations`.

        It is a few percent more than `multiply_adds`. The difference is largest where depthwise convolutions make those
        cheap.
        """
        return (self.multiply_adds + sum(layer.extra_operations for layer in self.layers)) / 1e9

    @property
    def activation_bytes(self) -> int:
        """Bytes of the outputs of all layers, for the whole batch."""
        return sum(layer.activation_bytes for layer in self.layers)

    @property
    def inference_bytes(self) -> int:
        """Bytes of the parameters and of the activations that are held at once."""
        return self.parameter_bytes + self.inference_activation_bytes

    @property
    def training_bytes(self) -> int:
        """Bytes of parameters, gradients, optimizer slots, images and all activations.

        Backpropagation needs the activations again.
        """
        state = self.parameter_bytes + self.gradient_bytes + self.optimizer_bytes
        return state + self.input_bytes + self.activation_bytes

    def frame(self) -> "pandas.DataFrame":
        """Returns the rows as a data frame, with one column for each attribute of `LayerCost`.

        Raises:
            ImportError: If the package `pandas` is not installed.
        """
        return data_frame([asdict(layer) for layer in self.layers])

    def table(self) -> "rich.table.Table":
        """Returns the rows and totals as a table for `rich.print`."""
        from rich.table import Table

        columns = ("layer", "type", "output", "parameters", "multiply-adds", "activations", "receptive field", "stride")
        table = Table(title=f"{self.name}, batch of {self.batch_size}", caption=self._caption(), caption_justify="left")
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number < 2 else "right", overflow="fold")
        for layer in self.layers:
            table.add_row(
                layer.name,
                layer.type,
                " × ".join(map(str, layer.output_shape[1:])),
                f"{layer.parameters:,}" if layer.parameters else "",
                "unknown" if layer.multiply_adds is None else readable(layer.multiply_adds),
                readable(layer.activation_bytes, "B"),
                _pair(layer.receptive_field),
                _pair(layer.stride),
            )
        table.add_section()
        total = (f"{self.parameters:,}", readable(self.multiply_adds), readable(self.activation_bytes, "B"))
        table.add_row("total", "", "", *total, "", "", style="bold")
        return table

    def __rich__(self) -> "rich.table.Table":
        return self.table()

    def _caption(self) -> str:
        lines = [
            f"Multiply-adds of one image. With normalisation, as published tables count: {self.gmacs:.3g} GMACs.",
            f"A prediction holds {readable(self.inference_bytes, 'B')}: parameters "
            f"{readable(self.parameter_bytes, 'B')}, activations {readable(self.inference_activation_bytes, 'B')}.",
            f"Training holds {readable(self.training_bytes, 'B')}: also all activations, gradients "
            f"{readable(self.gradient_bytes, 'B')}, optimizer {readable(self.optimizer_bytes, 'B')}.",
        ]
        if self.unknown:
            lines.append(f"Multiply-adds not known, and not in the sum: {', '.join(self.unknown)}.")
        return "\n".join(lines)

    def plot(self) -> "matplotlib.figure.Figure":
        """Plots the multiply-adds, parameters and activations along the network, as three bar charts."""
        from matplotlib.figure import Figure

        shown = [layer for layer in self.layers if layer.multiply_adds or layer.parameters] or list(self.layers)
        figure = Figure(figsize=(max(6.0, min(16.0, 0.12 * len(shown))), 6.0), layout="constrained")
        axes = figure.subplots(3, sharex=True)
        figure.suptitle(f"{self.name}: {readable(self.parameters)} parameters, {readable(self.multiply_adds)} MACs")
        charts = {
            "multiply-adds": [layer.multiply_adds or 0 for layer in shown],
            "parameters": [layer.parameters for layer in shown],
            "activation bytes": [layer.activation_bytes for layer in shown],
        }
        for axis, (title, values), color in zip(axes, charts.items(), ("C0", "C1", "C2"), strict=True):
            axis.bar(range(len(shown)), values, color=color)
            axis.set_ylabel(title)
            axis.yaxis.set_major_formatter(lambda value, _: readable(value))
        step = ceil(len(shown) / 40)
        names = [layer.name for layer in shown][::step]
        axes[-1].set_xticks(range(0, len(shown), step), names, rotation=90, fontsize=7)
        return figure


def cost(
    model: keras.Model, input_shape: Any = None, batch_size: int = 1, *, optimizer: str | keras.Optimizer = "adam"
) -> Cost:
    """Measures the costs of a model from its graph. Nothing is executed, and the model does not change.

    Source of the arithmetic: Géron, "Hands-On Machine Learning", chapter 14, "Memory Requirements".

    Args:
        model: A functional or sequential model. Models and blocks inside of it are measured layer by layer.
        input_shape: `(height, width, channels)` of one image; in the structure of `model.input` if that has several
            tensors. It is needed if the model leaves sizes open. Defaults to the model's own size.
        batch_size: Number of images to which the bytes refer. Multiply-adds are those of one image. Defaults to 1.
        optimizer: A name that Keras knows, or an optimizer, whose slots are in `training_bytes`. Defaults to "adam".

    Raises:
        ValueError: If the model has no graph, if sizes stay open, or if the model does not work on the size.

    Example from the text: three 3x3 layers with stride 2 on RGB images of 200 x 300 pixels need 12.6 MB for a
    prediction.

    >>> from functools import partial
    >>> conv = partial(keras.layers.Conv2D, kernel_size=3, strides=2, padding="same")
    >>> model = keras.Sequential([keras.Input((200, 300, 3)), conv(100), conv(200), conv(400)])
    >>> measured = cost(model)
    >>> measured.parameters, measured.inference_bytes
    (903400, 12613600)
    >>> [layer.receptive_field for layer in measured.layers]
    [(3, 3), (7, 7), (15, 15)]
    """
    if batch_size < 1:
        raise ValueError(f"expected a batch_size of at least 1, got {batch_size}")
    graph = graph_of(model, input_shape=input_shape, batch_size=batch_size)
    check_sizes(graph)
    fields = _fields(graph)
    seen: set[int] = set()
    layers = tuple(_layer_cost(call, fields, seen) for call in graph.calls)
    weights = _unique_weights(graph)
    trainable = [weight for weight in weights if weight.trainable]
    return Cost(
        name=model.name,
        batch_size=batch_size,
        layers=layers,
        unknown=tuple(f"{layer.name} ({layer.type})" for layer in layers if layer.multiply_adds is None),
        parameter_bytes=sum(map(tensor_bytes, weights)),
        gradient_bytes=sum(map(tensor_bytes, trainable)),
        optimizer_bytes=slot_bytes(optimizer, trainable),
        input_bytes=sum(map(tensor_bytes, graph.inputs)),
        inference_activation_bytes=_held_at_once(graph),
    )


def tensor_bytes(tensor: Any) -> int:
    """Returns the number of bytes of a tensor or variable with a known shape."""
    return prod(tensor.shape) * DTYPE_BYTES.get(keras.backend.standardize_dtype(tensor.dtype), 4)


DTYPE_BYTES = {
    **dict.fromkeys(("bool", "int8", "uint8", "float8_e4m3fn", "float8_e5m2"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
}


def data_frame(rows: Sequence[dict[str, Any]]) -> "pandas.DataFrame":
    """Makes a data frame of the rows of a table.

    Args:
        rows: One dict per row, from column names to values.

    Raises:
        ImportError: If the package `pandas` is not installed.

    >>> list(data_frame([{"name": "conv", "parameters": 9}]).columns)
    ['name', 'parameters']
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError('a data frame needs the package pandas: pip install "transfer-zoo[notebooks]"') from error
    return pandas.DataFrame(rows)


def readable(number: float, unit: str = "") -> str:
    """Formats a number with three digits and an SI prefix (MB is 10**6 bytes).

    Args:
        number: The number.
        unit: The unit, such as "B". Defaults to no unit.

    >>> readable(225_000_000), readable(12_613_600, "B"), readable(999), readable(0)
    ('225 M', '12.6 MB', '999', '0')
    """
    prefixes = ("", "k", "M", "G", "T", "P")
    power = 0
    while round(abs(number), 3 - len(str(int(abs(number))))) >= 1000 and power < len(prefixes) - 1:
        number /= 1000
        power += 1
    digits = f"{number:.3g}" if power else f"{number:.4g}"
    return f"{digits} {prefixes[power]}{unit}".strip()


def check_sizes(graph: Graph) -> None:
    """Checks that no size in a graph is open.

    Raises:
        ValueError: If one is. The message names the input or the layer.
    """
    for tensor in graph.inputs:
        if None in tensor.shape:
            example = tuple(224 if size is None else size for size in tensor.shape[1:])
            raise ValueError(
                f"the input {tensor.name!r} has open sizes {tensor.shape[1:]}, and the cost depends on them: give "
                f"input_shape, for example input_shape={example}"
            )
    for call in graph.calls:
        if any(None in tensor.shape for tensor in call.outputs):
            raise ValueError(
                f"{type(call.operation).__name__} {call.name!r} does not say the size of its output "
                f"({call.output.shape}): give it a compute_output_shape, or reshape to known sizes"
            )


def _layer_cost(call: Call, fields: dict, seen: set[int]) -> LayerCost:
    operation, output = call.operation, call.output
    weights = [] if id(operation) in seen else getattr(operation, "weights", [])
    seen.add(id(operation))
    field, stride = fields[id(output)]
    shapes = [tensor.shape[1:] for tensor in call.inputs]
    return LayerCost(
        name=call.name,
        type=type(operation).__name__,
        output_shape=tuple(output.shape),
        parameters=sum(prod(weight.shape) for weight in weights),
        trainable=sum(prod(weight.shape) for weight in weights if weight.trainable),
        multiply_adds=multiply_adds(operation, shapes, output.shape[1:]),
        extra_operations=extra_operations(operation, shapes, output.shape[1:]),
        activation_bytes=sum(map(tensor_bytes, call.outputs)),
        receptive_field=field,
        stride=stride,
    )


def _unique_weights(graph: Graph) -> list:
    weights = (weight for call in graph.calls for weight in getattr(call.operation, "weights", []))
    return list({id(weight): weight for weight in weights}.values())


def _held_at_once(graph: Graph) -> int:
    """Returns the largest number of bytes of activations that are alive at once, if each dies after its last use."""
    uses = {key: len(calls) for key, calls in graph.consumers().items()}
    for tensor in graph.outputs:
        uses[id(tensor)] += 1
    held = sum(map(tensor_bytes, graph.inputs))
    most = held
    for call in graph.calls:
        held += sum(map(tensor_bytes, call.outputs))
        most = max(most, held)
        for tensor in call.inputs:
            uses[id(tensor)] -= 1
            if uses[id(tensor)] == 0:
                held -= tensor_bytes(tensor)
    return most


Field = tuple[tuple[int, int] | None, tuple[float, float] | None]  # receptive field, stride
_POOLS_ALL = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
_UPSCALES = (keras.layers.Conv2DTranspose, keras.layers.UpSampling2D)
_RESIZES = (keras.layers.Resizing, keras.layers.AdaptiveAveragePooling2D, keras.layers.AdaptiveMaxPooling2D)


def _fields(graph: Graph) -> dict[int, Field]:
    """Returns a dict from the id of each tensor to its receptive field and stride.

    Source: Araujo et al. 2019, "Computing Receptive Fields of Convolutional Neural Networks": a kernel adds (kernel -
    1) strides of its input to the field.
    """
    fields: dict[int, Field] = {}
    for tensor in graph.inputs:
        fields[id(tensor)] = ((1, 1), (1.0, 1.0)) if _is_map(tensor) else (None, None)
    for call in graph.calls:
        field = _field(call, [(tensor, fields[id(tensor)]) for tensor in call.inputs])
        fields.update({id(tensor): field for tensor in call.outputs})
    return fields


def _field(call: Call, inputs: list[tuple[Any, Field]]) -> Field:
    if getattr(call.operation, "data_format", None) == "channels_first":
        return None, None
    seen = [(tensor, field, stride) for tensor, (field, stride) in inputs if field is not None]
    # A gate on a map has one pixel, and depends on the whole map. Only the field of the map counts.
    maps = [entry for entry in seen if entry[2] is not None and entry[0].shape[1:3] != (1, 1)]
    if not seen:
        return None, None
    tensor, *_ = (maps or seen)[0]
    height, width = zip(*(field for _, field, _ in maps or seen), strict=True)
    field = (max(height), max(width))
    stride = (maps or seen)[0][2]
    if stride is None:
        return field, None
    sizes = tensor.shape[1:3]
    if isinstance(call.operation, _POOLS_ALL) or not _is_map(call.output):
        return _grown(field, sizes, stride), None
    if isinstance(call.operation, _UPSCALES):
        scale = getattr(call.operation, "strides", None) or call.operation.size
        kernel = getattr(call.operation, "kernel_size", scale)
        covered = [ceil(k / s) for k, s in zip(kernel, scale, strict=True)]
        return _grown(field, covered, stride), (stride[0] / scale[0], stride[1] / scale[1])
    if isinstance(call.operation, _RESIZES):
        out = call.output.shape[1:3]
        return field, (stride[0] * sizes[0] / out[0], stride[1] * sizes[1] / out[1])
    kernel = getattr(call.operation, "kernel_size", None) or getattr(call.operation, "pool_size", None)
    if isinstance(kernel, tuple):
        rate = getattr(call.operation, "dilation_rate", (1, 1))
        steps = call.operation.strides
        field = _grown(field, [(k - 1) * r + 1 for k, r in zip(kernel, rate, strict=True)], stride)
        return field, (stride[0] * steps[0], stride[1] * steps[1])
    return field, stride


def _grown(field: tuple[int, int], kernel: Any, stride: tuple[float, float]) -> tuple[int, int]:
    height, width = (int(f + (k - 1) * s) for f, k, s in zip(field, kernel, stride, strict=True))
    return height, width


def _is_map(tensor: Any) -> bool:
    return len(tensor.shape) == 4


def _pair(sizes: tuple[float, float] | None) -> str:
    if sizes is None:
        return ""
    return f"{sizes[0]:g}" if sizes[0] == sizes[1] else f"{sizes[0]:g} × {sizes[1]:g}"
