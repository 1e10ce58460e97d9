"""Which network should I choose? The zoo's side by side: what each costs, and how well it did on ImageNet.

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
SECONDS = 2.0  # of measuring each network at each batch size, and at least three runs


@dataclass(frozen=True)
class Accuracy:
    """Published accuracy on ImageNet's validation photos, in percent, one central crop; None where not published."""

    top1: float | None
    top5: float | None
    source: str


@dataclass(frozen=True)
class ModelCost:
    """One row of the table.

    Attributes:
        name: as `zoo.create_model` takes it.
        image_size: height and width in pixels, of what follows.
        parameters: all, batch-norm statistics included.
        megabytes: of the parameters in float32 (10**6 bytes).
        multiply_adds: of one image.
        top1, top5, source: see `Accuracy`; None and "" where nothing is published.
        milliseconds: batch size -> time of one call on this CPU; empty if it was not measured.
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
    """Networks from the most accurate to the least; those without a published accuracy last."""

    models: tuple[ModelCost, ...]

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Those that were measured."""
        return tuple(self.models[0].milliseconds)

    def frame(self) -> "pandas.DataFrame":
        """The rows as a data frame; one column of milliseconds for each batch size. See
        `zoo.analysis.costs.data_frame`.
        """
        rows = [asdict(model) for model in self.models]
        for row in rows:
            row.update({f"milliseconds_{n}": value for n, value in row.pop("milliseconds").items()})
        return data_frame(rows)

    def table(self) -> "rich.table.Table":
        """The rows as a table for `rich.print`."""
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
        """Accuracy over time, or over multiply-adds where time was not measured; a bubble's area is the size in MB.

        Time is that of a batch of one. Networks without a published accuracy are left out.

        Raises:
            ValueError: none of the networks has one.
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
    """Builds networks of the zoo, one after the other, and lists what they cost and what they reached on ImageNet.

    Args:
        pattern: shell-style, as for `zoo.list_models`, or several names or patterns.
        measure: also time each on this machine's CPU, with random weights; takes seconds each.
        batch_sizes: that are timed.
        progress: called with the name of each network before its turn.

    Raises:
        ValueError: no network matches.

    Example:

    >>> found = compare(["lenet5", "mobilenet_v1_025"])
    >>> [(model.name, model.parameters, model.top1) for model in found.models]
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
    """Time of one call of the compiled model on the CPU, in milliseconds: the median after a warm-up.

    Args:
        model: with known input sizes.
        batch_size: images in a call.
        seconds: for which it is repeated, at least three times.

    Raises:
        ValueError: a batch below 1, or sizes that are open.

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
    """Name of a network of the zoo -> its published accuracy on ImageNet, from `zoo/data/accuracy.csv`.

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
