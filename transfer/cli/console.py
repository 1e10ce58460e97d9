"""What all commands share: results on stdout, messages on stderr, errors without tracebacks, signals as exceptions."""

import json
import math
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

__all__ = [
    "Engine",
    "Json",
    "Layout",
    "Views",
    "announce",
    "err",
    "for_people",
    "load_tensorflow",
    "out",
    "print_json",
    "print_table",
    "progress_bar",
    "say_error",
    "without_chatter",
]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Engine = Annotated[
    str, typer.Option(help="The runtime: openvino, onnx, litert, tensorflow, keras, or auto for the fastest.")
]
Views = Annotated[bool, typer.Option("--augment", help="Average over several views of each photo; this is slower.")]
Layout = Annotated[
    str | None,
    typer.Option(metavar="FORMAT", help="How annotations are stored: voc, yolo, coco and so on, if not recognised."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on stdout.")]


@contextmanager
def for_people(*, stopped: str = "Stopped.") -> Iterator[None]:
    """Turns errors into one message without a traceback, and signals into exceptions, so that nothing stays half done.

    Args:
        stopped: What is said after Ctrl-C.
    """
    with _signals_as_exceptions():
        try:
            yield
        except typer.Exit:  # It is a RuntimeError, but it is no error.
            raise
        except KeyboardInterrupt:
            err.print(stopped, style="yellow")
            raise typer.Exit(130) from None
        # Our own code raises these when it cannot do what was asked. Anything else is a defect and shows its traceback.
        except (ValueError, OSError, RuntimeError, ArithmeticError) as error:
            say_error(str(error))
            raise typer.Exit(1) from None


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Raises `KeyboardInterrupt` at Ctrl-C, and `SystemExit` at a request to terminate.

    Where a library calls Python back (TensorFlow, for data from generators; the garbage collector), an exception can
    get lost. It is then raised again after `SECONDS`, until it has come through.
    """
    wanted: list[BaseException] = []

    def stop(number: int, frame: Any) -> None:
        if number != AGAIN:
            wanted[:] = [KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)]
        if AGAIN is not None:
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
        if wanted:
            raise wanted[0]

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM, AGAIN) if number is not None]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        if AGAIN is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


AGAIN = getattr(signal, "SIGALRM", None)  # Windows has none.
SECONDS = 5.0


def load_tensorflow() -> None:
    """Imports TensorFlow, without what its C++ libraries write to stderr before they have read their log level."""
    with without_chatter():
        import tensorflow  # noqa: F401


@contextmanager
def without_chatter() -> Iterator[None]:
    """Keeps away what C++ libraries write to stderr while they are loaded. Their errors arrive as exceptions."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def say_error(message: str) -> None:
    """Prints an error on stderr."""
    err.print(Text("Error: ", "bold red") + Text(message, "red"), soft_wrap=True)


def announce(part: str) -> None:
    """Prints on stderr which part of a job begins."""
    err.print(f"• {part}", style="dim", markup=False)


def print_json(value: Any) -> None:
    """Prints one JSON document on stdout; what is not a finite number becomes null."""
    print(json.dumps(_finite(value), indent=2))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table on stdout; nothing in it is taken for markup."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(Text(column))
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    out.print(table)


@contextmanager
def progress_bar() -> Iterator[Any]:
    """Shows a bar on stderr; yields a function that is told how many things of how many are done."""
    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err, transient=True) as bar:
        row = bar.add_task("")
        yield lambda done, total: bar.update(row, completed=done, total=total)
