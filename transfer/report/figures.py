"""Figures as SVG inside a page: in the page's own text colour, so that they suit a light and a dark screen."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.axes
import matplotlib.figure
import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from transfer.measuring.classes import Bin

__all__ = [
    "BLUE",
    "COLOURS",
    "GREY",
    "INK",
    "ORANGE",
    "STYLE",
    "as_svg",
    "curve_figure",
    "histogram_figure",
    "matrix_figure",
    "new_figure",
    "reliability_figure",
    "scatter_figure",
]

BLUE, ORANGE = "#4583ec", "#e8833a"  # Both can be read on white and on near-black.
# Twelve colours of lines that differ from each other, and can be read on both, too.
COLOURS = (
    BLUE, ORANGE, "#2aa876", "#c254c0", "#b59a00", "#e0526a", "#3aa6b9", "#8a72e8", "#7c9a2e", "#c97b4a", "#5d89a8",
    "#a0768f",
)  # fmt: skip
INK = "#010203"  # This stands for the page's text colour until the SVG is in the page.
GREY = 0.13  # The opacity of the lines of a grid.
MOST_POINTS = 2000  # Maximum number of points in a scatter plot.

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "transfer-zoo",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "text.parse_math": False,  # A class may be named $$$.
}


def new_figure(width: float, height: float) -> matplotlib.figure.Figure:
    """Returns a figure of a width and a height in inches. Draw it under `matplotlib.rc_context(STYLE)`."""
    return matplotlib.figure.Figure(figsize=(width, height), layout="constrained")


def as_svg(figure: matplotlib.figure.Figure, name: str, description: str) -> Markup:
    """Returns a figure as an SVG element with the page's text colour and font.

    Args:
        figure: The figure.
        name: What its identifiers begin with; it is unique on the page.
        description: What the figure shows, in words, for people who cannot see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", svg).replace(INK, "currentColor")
    described = f'<svg role="img" aria-label="{Markup.escape(description)}" '
    return Markup(svg.replace("<svg ", described, 1))


def curve_figure(rows: Sequence[Mapping[str, Any]], column: str, title: str, name: str) -> Markup | None:
    """Draws one column of a training's history, on training and on validation images, over the epochs of all phases.

    Args:
        rows: One row for each epoch, as `History.rows` has them. A value may be None where it was not measured.
        column: The name of the column; that of the validation images begins with "val_".
        title: What the column is, for people.
        name: What the identifiers of the figure begin with.

    Returns:
        The figure, or None where there are no values.
    """
    lines = []
    for prefix, label, colour in (("", "training", ORANGE), ("val_", "validation", BLUE)):
        points = [(i + 1, row[prefix + column]) for i, row in enumerate(rows) if row.get(prefix + column) is not None]
        if points:
            lines.append((label, colour, points))
    if not lines:
        return None
    borders = [i + 0.5 for i in range(1, len(rows)) if rows[i].get("phase") != rows[i - 1].get("phase")]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(5, 3.1)
        axes = figure.add_subplot(title=title, xlabel="epoch")
        for label, colour, points in lines:
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=label, markersize=3.5, linewidth=1.8)
        for border in borders:
            axes.axvline(border, color=INK, alpha=0.45, linewidth=1, linestyle="--")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=INK, alpha=GREY)
        axes.legend()
        ends = " and ".join(f"{points[-1][1]:.3f} in {label}" for label, _, points in lines)
        return as_svg(figure, name, f"{title} over {len(rows)} epochs, at the end {ends}")


def reliability_figure(bins: Sequence[Bin], name: str, counted: str = "images") -> Markup:
    """Draws how often answers are right over the probability that they were given with, and how many there are.

    Args:
        bins: The bins, as `transfer.measuring.classes.reliability` makes them.
        name: What the identifiers of the figure begin with.
        counted: What the answers are counted in. Defaults to "images".
    """
    used = [bin for bin in bins if bin.count]
    middles = [(bin.low + bin.high) / 2 for bin in used]
    width = bins[0].high - bins[0].low
    with matplotlib.rc_context(STYLE):
        figure = new_figure(5, 4)
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.bar(middles, [bin.accuracy for bin in used], 0.9 * width, color=BLUE, alpha=0.75, label="right")
        top.plot([0, 1], [0, 1], color=INK, alpha=0.5, linewidth=1, linestyle="--", label="perfectly calibrated")
        top.plot([bin.confidence for bin in used], [bin.accuracy for bin in used], "o", color=ORANGE, markersize=5)
        top.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
        top.legend(loc="upper left")
        below.bar(middles, [bin.count for bin in used], 0.9 * width, color=INK, alpha=0.35)
        below.set(xlabel="predicted probability", ylabel=counted)
        words = "; ".join(
            f"of {bin.count} with a probability of about {bin.confidence:.2f}, {bin.accuracy:.2f} are right"
            for bin in used
        )
        return as_svg(figure, name, f"Reliability diagram: {words}")


def matrix_figure(confusion: np.ndarray, name: str) -> Markup:
    """Draws the confusion matrix of many classes, with each row divided by its sum.

    Args:
        confusion: Number of images by their true class (row) and predicted class (column), `[k, k]`.
        name: What the identifiers of the figure begin with.
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    with matplotlib.rc_context(STYLE | {"axes.spines.top": True, "axes.spines.right": True}):
        figure = new_figure(6, 5.4)
        axes = figure.add_subplot(xlabel="number of the predicted class", ylabel="number of the true class")
        image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        figure.colorbar(image, label="share of the row").outline.set_visible(False)
        return as_svg(figure, name, f"Confusion matrix of {len(confusion)} classes")


def scatter_figure(true: np.ndarray, predicted: np.ndarray, label: str, name: str) -> Markup:
    """Draws predicted over true numbers, of 2,000 images at most.

    Args:
        true: The true numbers, `[n]`.
        predicted: The predicted numbers, `[n]`.
        label: The name of the number.
        name: What the identifiers of the figure begin with.
    """
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    drawn = slice(None, None, len(true) // MOST_POINTS + 1)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(5, 4)
        axes = figure.add_subplot(title=label, xlabel="true", ylabel="predicted")
        axes.plot(ends, ends, color=INK, alpha=0.5, linewidth=1, linestyle="--")
        axes.scatter(true[drawn], predicted[drawn], s=14, color=BLUE, alpha=0.6, linewidths=0)
        axes.grid(color=INK, alpha=GREY)
        correlation = np.corrcoef(true, predicted)[0, 1] if np.ptp(true) and np.ptp(predicted) else float("nan")
        words = f"{label}: predicted over true numbers of {len(true)} images"
        if np.isfinite(correlation):
            words += f", with a correlation of {correlation:.3f}"
        return as_svg(figure, name, words)


def histogram_figure(
    values: np.ndarray, name: str, *, title: str, label: str, limits: tuple[float, float] | None = None,
    mark: float | None = None,
) -> Markup:  # fmt: skip
    """Draws how often values occur.

    Args:
        values: The values, `[n]`.
        name: What the identifiers of the figure begin with.
        title: The title of the figure.
        label: What the values are.
        limits: The lowest and the highest value that the axis shows. Defaults to those of the values.
        mark: A value at which a dashed line stands, or None.
    """
    with matplotlib.rc_context(STYLE):
        figure = new_figure(5, 4)
        axes = figure.add_subplot(title=title, xlabel=label, ylabel="images")
        axes.hist(values, bins=20, range=limits, color=BLUE, alpha=0.75)
        if mark is not None:
            axes.axvline(mark, color=INK, alpha=0.5, linewidth=1, linestyle="--")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=INK, alpha=GREY)
        low, middle, high = np.quantile(values, [0.05, 0.5, 0.95]) if len(values) else (np.nan,) * 3
        words = f"{title} of {len(values)} images: {label} has a median of {middle:.3g}, and 90% lie between "
        return as_svg(figure, name, f"{words}{low:.3g} and {high:.3g}")
