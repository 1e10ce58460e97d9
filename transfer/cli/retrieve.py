"""`zoo nearest`."""

from pathlib import Path
from typing import Annotated

import typer

from transfer.cli.console import Json, for_people, out, print_json, without_chatter

__all__ = ["nearest"]


def nearest(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run, an exported model, or a zoo model.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The photos to choose from.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="The photos to compare with.")],
    out_file: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page that is written.")] = Path(
        "nearest.html"
    ),
    k: Annotated[int, typer.Option("-k", min=1, help="Maximum number of neighbours of each photo.")] = 8,
    as_json: Json = False,
) -> None:
    """Find the photos of a folder that are most like some others, and write a page of them.

    [dim]zoo nearest efficientnet_lite0 photos photo.jpg --out nearest.html[/]
    """
    with for_people():
        with without_chatter():
            from transfer.runs.retrieval import write_neighbours
        rows = write_neighbours(model, folder, images, out_file, k=k)
        if as_json:
            print_json(
                [
                    {"path": str(image), "nearest": [{"path": str(path), "similarity": share} for path, share in row]}
                    for image, row in zip(images, rows, strict=True)
                ]
            )
            return
        for image, row in zip(images, rows, strict=True):
            for path, share in row:
                out.print(f"{image}: {share:.3f} {path}", markup=False, soft_wrap=True)
        out.print(f"{out_file}", markup=False, soft_wrap=True)
