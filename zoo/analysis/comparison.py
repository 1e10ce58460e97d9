"""Which network should I choose? This module compares the zoo's networks: their costs and their accuracy on ImageNet.

zoo.compare("*net*")                     # in a notebook or a rich console: the table
zoo.compare("mobilenet*", measure=True)  # with milliseconds on this machine's CPU
zoo.compare("*b[0-3]").plot()            # a matplotlib figure
"""

import csv
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from zoo.analysis.costs import cost, data_frame, readable
from zoo.models import create_model, list_models

if TYPE_CHECKING:
    import keras
    import matplotlib.figure
    import pandas
    import rich.table

__all__ = ["Accuracy", "Comparison", "ModelCost", "compare", "milliseconds", "published_accuracy"]

BATCH_SIZES = (1, 32)
SECONDS = 2.0  # for which each network is measured at each batch size; at least three runs


@dataclass(frozen=True)
class Accuracy:
    """Published accuracy on the validation photos of ImageNet, with one central crop.

    Attributes:
        top1: Top-1 accuracy in percent, or None if it is not published.
        top5: Top-5 accuracy in percent, or None if it is not published.
        source: Where the numbers are published.
    """

    top1: float | None
    top5: float | None
    source: str


@dataclass(frozen=True)
class ModelCost:
    """One row of the table.

    Attributes:
        name: Name of the network, as `zoo.create_model` takes it.
        image_size: Height and width of the images, in pixels, to which the other numbers refer.
        parameters: Number of all parameters, including the statistics of batch norms.
        megabytes: Size of the parameters in float32, in MB (10**6 bytes).
        multiply_adds: Number of multiply-adds for one image.
        top1: Top-1 accuracy on ImageNet in percent, or None if it is not published.
        top5: Top-5 accuracy on ImageNet in percent, or None if it is not published.
        source: Where the accuracy is published; "" if it is not.
        milliseconds: A dict from the batch size to the time of one call on this CPU; empty if it was not measured.
    """

    name: str
    image_size: int
    parameters: int
    megabytes: float
    multiply_adds: int
    top1: float | None
    top5: float | None
    source: str
    milliseconds: dict[int, float]


@dataclass(frozen=True)
class Comparison:
    """Networks from the most accurate to the least accurate. Those without a published accuracy come last.

    Attributes:
        models: One row per network.
    """

    models: tuple[ModelCost, ...]

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The batch sizes that were measured."""
        return tuple(self.models[0].milliseconds)

    def frame(self) -> "pandas.DataFrame":
        """Returns the rows as a data frame, with one column of milliseconds for each batch size.

        Raises:
            ImportError: If the package `pandas` is not installed.
        """
        rows = [asdict(model) for model in self.models]
        for row in rows:
            row.update({f"milliseconds_{n}": value for n, value in row.pop("milliseconds").items()})
        return data_frame(rows)

    def table(self) -> "rich.table.Table":
        """Returns the rows as a table for `rich.print`."""
        from rich.table import Table

        caption = "Accuracy on ImageNet in percent, as published. Multiply-adds of one image."
        if self.batch_sizes:
            caption += " Milliseconds of a compiled call on this CPU, for the whole batch."
        table = Table("model", title="Which one should I choose?", caption=caption)
        timed = [f"ms, batch of {n}" for n in self.batch_sizes]
        for column in ("pixels", "parameters", "MB", "multiply-adds", "top-1", "top-5", *timed):
            table.add_column(column, justify="right")
        for model in self.models:
            table.add_row(
                model.name,
                f"{model.image_size}",
                readable(model.parameters),
                f"{model.megabytes:,.0f}" if model.megabytes >= 10 else f"{model.megabytes:.1f}",
                readable(model.multiply_adds),
                _percent(model.top1),
                _percent(model.top5),
                *(f"{value:,.1f}" for value in model.milliseconds.values()),
            )
        return table

    def __rich__(self) -> "rich.table.Table":
        return self.table()

    def plot(self) -> "matplotlib.figure.Figure":
        """Plots the accuracy over the time, or over the multiply-adds if the time was not measured.

        The area of a bubble is the size of the parameters in MB. The time is that of the smallest batch. Networks
        without a published accuracy are left out.

        Raises:
            ValueError: If none of the networks has a published accuracy.
        """
        from matplotlib.figure import Figure

        shown = [model for model in self.models if model.top1 is not None]
        if not shown:
            names = ", ".join(model.name for model in self.models)
            raise ValueError(f"nothing to plot: no accuracy on ImageNet is published for {names}")
        figure = Figure(figsize=(10, 6), layout="constrained")
        axes = figure.subplots()
        x = [model.milliseconds[min(self.batch_sizes)] if self.batch_sizes else model.multiply_adds for model in shown]
        y = [model.top1 or 0.0 for model in shown]
        axes.scatter(x, y, s=[4 * model.megabytes for model in shown], c=range(len(shown)), cmap="viridis", alpha=0.6)
        for model, left, bottom in zip(shown, x, y, strict=True):
            axes.annotate(model.name, (left, bottom), fontsize=7, ha="center", va="center")
        axes.set_xscale("log")
        axes.set_xlabel("milliseconds for one image on this CPU" if self.batch_sizes else "multiply-adds of one image")
        axes.set_ylabel("top-1 on ImageNet, as published (%)")
        axes.set_title("Accuracy over cost; area: MB of parameters")
        axes.margins(0.1)
        return figure


def compare(
    pattern: str | Sequence[str] = "*",
    *,
    measure: bool = False,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Builds networks of the zoo, one after the other, and lists their costs and their accuracy on ImageNet.

    Args:
        pattern: A shell-style pattern, as for `zoo.list_models`, or several names or patterns. Defaults to all
            networks.
        measure: Whether to also measure the time of each network on this machine's CPU, with random weights. That takes
            seconds per network. Defaults to False.
        batch_sizes: The batch sizes that are measured. Defaults to 1 and 32.
        progress: A function that is called with the name of each network before it is built.

    Returns:
        One row per network, the most accurate first.

    Raises:
        ValueError: If no network matches.

    Example:

    >>> comparison = compare(["lenet5", "mobilenet_v1_025"])
    >>> [(model.name, model.parameters, model.top1) for model in comparison.models]
    [('mobilenet_v1_025', 475544, 50.6), ('lenet5', 61706, None)]
    """
    patterns = [pattern] if isinstance(pattern, str) else pattern
    names = list(dict.fromkeys(name for each in patterns for name in list_models(each)))
    if not names:
        raise ValueError(f"no model matches {', '.join(map(repr, patterns))}; zoo.list_models() has them all")
    models = []
    for name in names:
        if progress is not None:
            progress(name)
        models.append(_model_cost(name, batch_sizes if measure else ()))
    return Comparison(tuple(sorted(models, key=lambda model: (-(model.top1 or 0), model.multiply_adds))))


def _model_cost(name: str, batch_sizes: Sequence[int]) -> ModelCost:
    model = create_model(name)
    measured = cost(model)
    accuracy = published_accuracy().get(name, Accuracy(None, None, ""))
    return ModelCost(
        name=name,
        image_size=model.input_shape[1],
        parameters=measured.parameters,
        megabytes=4 * measured.parameters / 1e6,
        multiply_adds=measured.multiply_adds,
        **asdict(accuracy),
        milliseconds={n: milliseconds(model, n) for n in batch_sizes},
    )


def milliseconds(model: "keras.Model", batch_size: int = 1, *, seconds: float = SECONDS) -> float:
    """Measures the time of one call of the compiled model on the CPU: the median after a warm-up, in milliseconds.

    Args:
        model: A model with known input sizes.
        batch_size: Number of images per call. Defaults to 1.
        seconds: How long calls are repeated, in seconds; at least three times. Defaults to 2.

    Raises:
        ValueError: If the batch size is below 1, or if input sizes are open.

    >>> import zoo
    >>> milliseconds(zoo.create_model("lenet5"), 2, seconds=0.01) > 0
    True
    """
    import tensorflow as tf

    shapes = [tensor.shape[1:] for tensor in model.inputs]
    if batch_size < 1 or any(None in shape for shape in shapes):
        raise ValueError(f"expected a batch of at least 1 and known sizes, got {batch_size} and {shapes}")
    with tf.device("cpu"):
        inputs = [
            tf.zeros((batch_size, *shape), tensor.dtype) for shape, tensor in zip(shapes, model.inputs, strict=True)
        ]
        run = tf.function(lambda *tensors: model(tensors[0] if len(tensors) == 1 else list(tensors), training=False))
        run(*inputs)
        times: list[float] = []
        while len(times) < 3 or sum(times) < seconds:
            start = time.perf_counter()
            tf.nest.map_structure(lambda output: output.numpy(), run(*inputs))
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


@cache
def published_accuracy() -> dict[str, Accuracy]:
    """Returns a dict from the names of networks to their published accuracy on ImageNet, from `zoo/data/accuracy.csv`.

    >>> published_accuracy()["vgg16"]
    Accuracy(top1=71.3, top5=90.1, source='keras.io/api/applications')
    """
    with resources.files("zoo").joinpath("data/accuracy.csv").open(encoding="utf-8") as file:
        return {
            row["name"]: Accuracy(_number(row["top1"]), _number(row["top5"]), row["source"])
            for row in csv.DictReader(file)
        }


def _number(text: str) -> float | None:
    return float(text) if text else None


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
