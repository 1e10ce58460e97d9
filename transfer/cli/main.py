"""The command line: `zoo fit`, `predict`, `evaluate`, `explain`, `export`, `serve`, `stylize` and others.

Results go to stdout, progress and messages to stderr; with `--json`, stdout holds one JSON document and nothing else.
TensorFlow takes seconds to import, so it is imported where a command needs it and not before.

Exit status: 0 if all went well, 1 if something could not be done, 2 for a wrong command line, 130 after Ctrl-C, 143
after SIGTERM, 129 where the terminal was closed.
"""

import os
import sys
from io import TextIOWrapper

import typer

from transfer.cli import data, evaluate, explain, export, fit, generate, models, predict, retrieve, serve

__all__ = ["app", "main"]

# TensorFlow's own log is for its developers. Its errors reach people as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

app = typer.Typer(
    name="zoo",
    help="From a folder of images to a fine-tuned model that is proven equal to what was trained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    fit.fit,
    predict.predict,
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
    app.command(command.__name__.lstrip("_"), no_args_is_help=True)(command)
app.command()(models.models)
app.command(no_args_is_help=True)(models.info)
app.command()(fit.demo)


def main() -> None:
    """Runs the console script `zoo`."""
    for stream in (sys.stdout, sys.stderr):
        # Names of files need not be Unicode, and terminals need not know all of it: better a backslash than a crash.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
