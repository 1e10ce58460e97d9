"""The command line: `zoo fit`, `predict`, `track`, `evaluate`, `explain`, `export`, `serve` and so on.

Results go to stdout, progress and messages to stderr; with `--json`, stdout holds one JSON document and nothing else.
TensorFlow takes seconds to import, so it is imported where a command needs it and not before.

Exit status: 0 if all went well, 1 if something could not be done, 2 for a wrong command line, 130 after Ctrl-C, 143
after SIGTERM, 129 where the terminal was closed.
"""

import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from transfer.cli import data, evaluate, explain, export, fit, generate, models, predict, retrieve, serve, track
from transfer.cli.help import BriefHelp

__all__ = ["app", "main"]


def show_version(wanted: bool) -> None:
    """Prints the version of the package that is installed, and ends."""
    if wanted:
        import importlib.metadata  # It takes a tenth of a second.

        typer.echo(f"transfer-zoo {importlib.metadata.version('transfer-zoo')}")
        raise typer.Exit


# TensorFlow's own log is for its developers. Its errors reach people as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

app = typer.Typer(
    name="zoo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    fit.fit,
    predict.predict,
    track.track,
    evaluate.evaluate,
    evaluate.compare,
    explain.explain,
    retrieve.nearest,
    generate.stylize,
    export.export,
    export.verify,
    serve.serve,
    data.audit,
    data.preview,
)
for command in COMMANDS:
    brief = BriefHelp if command is fit.fit else None
    app.command(command.__name__.lstrip("_"), no_args_is_help=True, cls=brief)(command)
app.command()(models.models)
app.command(no_args_is_help=True)(models.info)
app.command()(fit.demo)


@app.callback()
def shell(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """From a folder of images to a fine-tuned model that is proven equal to what was trained."""


def main() -> None:
    """Runs the console script `zoo`."""
    for stream in (sys.stdout, sys.stderr):
        # Names of files need not be Unicode, and terminals need not know all of it: better a backslash than a crash.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
