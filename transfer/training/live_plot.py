"""A picture of the training that grows epoch by epoch, for notebooks."""

from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["LivePlot"]


class LivePlot(keras.callbacks.Callback):
    """A callback that draws the loss and the other measures after each epoch, in place of the picture before.

    Outside of notebooks nothing is shown; `figure()` draws what was measured so far. One object is for all phases of a
    fine-tuning: `fine_tune(..., callbacks=[LivePlot()])`.

    Example:

    >>> plot = LivePlot()
    >>> plot.on_epoch_end(0, {"loss": 0.7, "val_loss": 0.8, "accuracy": 0.5, "val_accuracy": 0.4})
    >>> [axes.get_title() for axes in plot.figure().axes]
    ['loss', 'accuracy']
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self.display: Any = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds an epoch, and shows the picture if this is a notebook."""
        self.rows.append({name: float(value) for name, value in (logs or {}).items()})
        if not _in_notebook():
            return
        from IPython.display import display

        if self.display is None:
            self.display = display(self.figure(), display_id=True)
        else:
            self.display.update(self.figure())

    def figure(self) -> "matplotlib.figure.Figure":
        """Draws each measure over the epochs: a thin line for the training images, a thick one for validation.

        A measure that is missing after some epochs has gaps there.
        """
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        known = dict.fromkeys(name for row in self.rows for name in row)
        names = dict.fromkeys(name.removeprefix("val_") for name in known)
        figure = Figure(figsize=(3.5 * max(1, len(names)), 2.5), layout="constrained")
        epochs = range(1, len(self.rows) + 1)
        for number, name in enumerate(names, 1):
            axes = figure.add_subplot(1, len(names), number)
            for key, label, width in ((name, "training", 1), (f"val_{name}", "validation", 2)):
                if key in known:
                    values = [row.get(key, float("nan")) for row in self.rows]
                    axes.plot(epochs, values, linewidth=width, label=label, marker=".")
            axes.set_title(name)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend(fontsize=8)
        return figure


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return type(get_ipython()).__name__ == "ZMQInteractiveShell"
