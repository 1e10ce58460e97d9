"""`zoo serve`."""

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from transfer.cli.console import Engine, for_people
from transfer.silence import without_chatter

__all__ = ["serve"]

KEY = "ZOO_API_KEY"


def serve(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="A run, or an exported folder.", show_default=False)
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Other machines see only other addresses than this.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any that is free.")] = 8501,
    name: Annotated[str | None, typer.Option(help="The model's name in the paths; by default the folder's.")] = None,
    engine: Engine = "auto",
    api_key: Annotated[str | None, typer.Option(envvar=KEY, help="The key that clients have to send.")] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Pages of this origin may use the server; repeatable."),
    ] = None,
    playground: Annotated[
        bool,
        typer.Option("--playground", help="Serve a page where kernels move over a photo, and layers show their maps."),
    ] = False,
) -> None:
    """Serve a model over HTTP: TensorFlow Serving's paths, plain uploads, and a page at /.

    [dim]zoo serve runs/mine[/]
    [dim]zoo serve --playground[/]
    """
    with for_people():
        try:
            import transfer.serving as serving
        except ModuleNotFoundError as error:
            raise RuntimeError(f"{error.name} is not installed: pip install 'transfer-zoo[serve]'") from error
        if playground and (name is not None or engine != "auto" or cors):
            raise ValueError("--name, --engine and --cors say nothing to --playground; leave them out")
        logging.basicConfig(format="%(message)s", level=logging.WARNING)
        if api_key is None:
            api_key = os.environ.get(KEY)  # Typer takes an empty variable for none, and that would serve everybody.
        with without_chatter():
            if playground:
                from transfer.serving.playground import make_playground  # It loads TensorFlow.

                server = make_playground(folder, host=host, port=port, api_key=api_key)
            elif folder is None:
                raise ValueError("expected a FOLDER to serve: a run, or an exported folder; or --playground")
            else:
                server = serving.make_server(
                    folder, host=host, port=port, name=name, engine=engine, api_key=api_key, cors=cors or ()
                )
        serving.run(server)
