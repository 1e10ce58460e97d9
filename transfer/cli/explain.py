"""`zoo explain`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from transfer.cli.console import announce, err, for_people, load_tensorflow, out

__all__ = ["explain"]


def explain(
    run: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run, an exported Keras model, or a zoo model.")],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The photo.")],
    out_file: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page that is written.")] = Path(
        "why.html"
    ),
    of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Explain this class, label or number; repeatable.", show_default="the best two"
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="The layer that Grad-CAM looks at.", show_default="the last map")
    ] = None,
) -> None:
    """Show in a page why a model answers as it does: heat maps over the photo, and what the layers give.

    [dim]zoo explain runs/mine photo.jpg --out why.html[/]
    """
    with for_people():
        load_tensorflow()
        from transfer.runs.explaining import explain as write_explanation

        written = write_explanation(run, image, out_file, of=of or (), layer=layer, announce=announce)
        for note in written.notes:
            err.print(Text(note, "yellow"), soft_wrap=True)
        out.print(f"{', '.join(written.targets)}: {written.path}", markup=False, soft_wrap=True)
