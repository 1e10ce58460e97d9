"""What all commands share: results on stdout, messages on stderr, errors without tracebacks, signals as exceptions."""

import json
import math
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from transfer.keras_settings import check_backend
from transfer.silence import without_chatter

__all__ = [
    "Engine",
    "Json",
    "Layout",
    "Outside",
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
]

# Control characters as Unicode draws them. In the name of a file or a class, an escape sequence could change what the
# terminal shows, or does.
VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}
VISIBLE |= {127: 0x2421} | dict.fromkeys(range(128, 160), 0xFFFD)


class SafeConsole(Console):
    """A console that shows control characters in what it is given, instead of sending them to the terminal."""

    def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
        """Yields the pieces of something that is printed; those with which rich moves the cursor stay as they are."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(segment.text.translate(VISIBLE), segment.style)


out = SafeConsole(highlight=False)
err = SafeConsole(stderr=True, highlight=False)

Engine = Annotated[
    str, typer.Option(help="The runtime: openvino, onnx, litert, tensorflow, keras, or auto for the fastest.")
]
Views = Annotated[bool, typer.Option("--augment", help="Average over several views of each photo; this is slower.")]
Layout = Annotated[
    str | None,
    typer.Option(metavar="FORMAT", help="How annotations are stored: voc, yolo, coco and so on, if not recognised."),
]
Outside = Annotated[
    bool, typer.Option("--outside", help="Annotations may name files outside of the folder of the data.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on stdout.")]


@contextmanager
def for_people(*, stopped: str = "Stopped.") -> Iterator[None]:
    """Turns errors into one message without a traceback, and signals into exceptions, so that nothing stays half done.

    Args:
        stopped: What is said after Ctrl-C, or after a request to end.
    """
    with _signals_as_exceptions():
        try:
            yield
        except typer.Exit:  # It is a RuntimeError, but it is no error.
            raise
        except Terminated as error:
            with suppress(OSError):  # The terminal may be gone.
                err.print(f"{stopped} (The signal {error.name} came.)", style="yellow", markup=False)
            raise typer.Exit(error.status) from None
        except KeyboardInterrupt:
            err.print(stopped, style="yellow")
            raise typer.Exit(130) from None
        except ImportError as error:
            if "pip install" not in str(error):  # Only what names the extra is a message for people.
                raise
            say_error(str(error))
            raise typer.Exit(1) from None
        # Our own code raises these when it cannot do what was asked. Anything else is a defect and shows its traceback.
        except (ValueError, OSError, RuntimeError, ArithmeticError) as error:
            say_error(str(error) or type(error).__name__)
            raise typer.Exit(1) from None


class Terminated(SystemExit):
    """A request to end: from the system, from `kill`, or because the terminal was closed."""

    def __init__(self, number: int):
        self.name = signal.Signals(number).name
        self.status = 128 + number
        super().__init__(self.status)


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Raises `KeyboardInterrupt` at Ctrl-C, and `Terminated` at a request to end (SIGTERM, and SIGHUP unless ignored).

    Where a library calls Python back (TensorFlow, for data from generators; the garbage collector), an exception can
    get lost. It is then raised again after `SECONDS`, until it has come through.
    """
    wanted: list[BaseException] = []

    def stop(number: int, frame: Any) -> None:
        if number != AGAIN:
            wanted[:] = [KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)]
        if AGAIN is not None:
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
        if wanted:
            raise wanted[0]

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM, HANGUP, AGAIN) if number is not None]
    if HANGUP is not None and signal.getsignal(HANGUP) == signal.SIG_IGN:
        numbers.remove(HANGUP)  # As under `nohup`: the command is to go on when the terminal is closed.
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        if AGAIN is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


AGAIN, HANGUP = getattr(signal, "SIGALRM", None), getattr(signal, "SIGHUP", None)  # Windows has none.
SECONDS = 5.0


def load_tensorflow() -> None:
    """Imports TensorFlow, without what its C++ libraries write to stderr before they have read their log level."""
    check_backend()
    with without_chatter():
        import tensorflow  # noqa: F401


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
