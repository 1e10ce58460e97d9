"""`zoo stylize`."""

from pathlib import Path
from typing import Annotated

import typer

from transfer.cli.console import for_people, load_tensorflow, out, progress_bar

__all__ = ["stylize"]


def stylize(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo, which gives the content.")],
    style: Annotated[Path, typer.Argument(metavar="STYLE", help="The picture, which gives the style.")],
    out_file: Annotated[Path, typer.Option("--out", metavar="FILE", help="The image that is written.")],
    backbone: Annotated[
        str, typer.Option(metavar="NAME", help="The trained network that compares them; `zoo models` lists them.")
    ] = "efficientnet_lite0",
    size: Annotated[int, typer.Option(min=32, help="Longer side of the image in pixels.")] = 256,
    steps: Annotated[int, typer.Option(min=1, help="Maximum number of steps.")] = 150,
    optimizer: Annotated[str, typer.Option(help="l-bfgs or adam.")] = "l-bfgs",
    content_weight: Annotated[float, typer.Option(min=0, help="Weight of the content; the style has 1.")] = 0.02,
) -> None:
    """Draw a photo in the style of a picture.

    [dim]zoo stylize photo.jpg waves.jpg --out drawn.png[/]
    """
    with for_people():
        load_tensorflow()
        from transfer.runs.stylising import stylize_photo

        with progress_bar() as show:
            result = stylize_photo(
                photo, style, out_file, name=backbone, size=size, steps=steps, optimizer=optimizer,
                content_weight=content_weight, progress=lambda step, loss: show(step, steps),
            )  # fmt: skip
        first, last = result.losses[0], result.losses[-1]
        message = f"{out_file}: the loss fell from {first:.3g} to {last:.3g} in {len(result.losses) - 1} steps"
        out.print(message, markup=False, soft_wrap=True)
