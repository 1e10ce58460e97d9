"""Shows how a training goes on: a bar with the time left on a terminal, and one line for each epoch anywhere."""

import sys
import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

__all__ = ["Progress"]


class Progress:
    """A context in which training is shown, over one or several calls of `fit`.

    Terminals get a moving bar. Notebooks and pipes get lines only, each with the time left, since what moves is lost
    there. A notebook's lines go to its output, all others to stderr, so that a program's results on stdout stay clean.

    Args:
        epochs: Number of epochs in all.
        enabled: Whether anything is shown. Defaults to True.

    Example:

    >>> from transfer.training.progress import Progress
    >>> with Progress(3, enabled=False) as progress:
    ...     callback = progress.callback("head")  # for `model.fit(..., callbacks=[callback], verbose=0)`
    """

    def __init__(self, epochs: int, *, enabled: bool = True):
        self.epochs, self.enabled = epochs, enabled
        self.done = 0
        console = Console(stderr=True)
        self.in_notebook = console.is_jupyter
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not enabled or self.in_notebook or not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=epochs)

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def callback(self, phase: str) -> keras.callbacks.Callback:
        """Returns the callback that tells the bar about one call of `fit`."""
        return _Tell(self, phase)

    def extraction(self, share: float) -> None:
        """Shows for which share in 0..1 of the images the activations of frozen layers are computed."""
        self.bar.update(self.task, completed=share, description="frozen layers, once")

    def step(self, phase: str, share: float) -> None:
        """Shows that a batch is done, and with it a share in 0..1 of the epoch."""
        self.bar.update(self.task, completed=self.done + share, description=f"{phase}, epoch {self.done + 1}")

    def epoch(self, phase: str, logs: dict[str, Any], seconds: float, *, left: float) -> None:
        """Shows that an epoch is done.

        Args:
            phase: The name of the phase.
            logs: What was measured.
            seconds: How long the epoch took.
            left: How long the other epochs of the phase will take, in seconds; 0 after the last one.
        """
        self.done += 1
        self.bar.update(self.task, completed=self.done)
        if "val_accuracy" in logs:
            measured = f"accuracy {logs['accuracy']:.3f}  validation {logs['val_accuracy']:.3f}"
        else:
            measured = "  ".join(f"{name} {value:.4f}" for name, value in logs.items() if name != "loss")
        line = (
            f"epoch {self.done:>{len(str(self.epochs))}}/{self.epochs} {phase:<5} loss {logs['loss']:.4f}  {measured}  "
            f"{seconds:.1f} s"
        )
        if left:
            line += f", {left:.0f} s of this phase left"
        if not self.enabled:
            return
        if self.bar.disable:
            print(line, file=sys.stdout if self.in_notebook else sys.stderr, flush=True)
        else:
            self.bar.console.print(line, highlight=False)


class _Tell(keras.callbacks.Callback):
    """Tells a bar about one call of `fit`, and estimates how long the rest will take.

    The first step of a phase traces the graph, which can take as long as many epochs, so it does not count.
    """

    def __init__(self, progress: Progress, phase: str):
        super().__init__()
        self.progress, self.phase = progress, phase
        self.first_step = 0.0
        self.durations: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()
        self.steps = 0
        self.progress.step(self.phase, 0)

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if not self.durations and self.steps == 1:
            self.first_step = time.perf_counter() - self.start
        if self.params["steps"]:
            self.progress.step(self.phase, (batch + 1) / self.params["steps"])

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        self.durations.append(seconds)
        left = (self.params["epochs"] - epoch - 1) * self.typical_epoch()
        self.progress.epoch(self.phase, logs, seconds, left=left)

    def typical_epoch(self) -> float:
        """Returns how long an epoch takes that traces nothing, in seconds."""
        first, *others = self.durations
        if others:
            return sum(others) / len(others)
        if self.steps > 1:
            return (first - self.first_step) * self.steps / (self.steps - 1)
        return first
