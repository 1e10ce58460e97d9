"""`zoo predict`."""

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from transfer.cli.console import (
    Engine,
    Json,
    Views,
    err,
    for_people,
    out,
    print_json,
    progress_bar,
    say_error,
    without_chatter,
)
from transfer.tasks import task_of

__all__ = ["predict", "show_answer"]


def predict(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run, an exported model, or a zoo model.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...|FOLDER", help="Some files, or one folder.")],
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of classes (5) or objects (all) for each image.", show_default=False),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Leave out answers with a lower score.", show_default="the model's own"),
    ] = None,
    augment: Views = False,
    engine: Engine = "auto",
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16: faster with OpenVINO where the processor has it, if it agrees.")
    ] = "float32",
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="For a FOLDER: .csv, .jsonl, .parquet, .json (boxes), .npz (vectors)."
        ),
    ] = None,
    draw: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the photos with their answers there.")] = None,
    grad_cam: Annotated[Path | None, typer.Option(metavar="DIR", help="Write Grad-CAM overlays there.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier file.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is in photos.

    [dim]zoo predict runs/mine *.jpg[/]
    [dim]zoo predict efficientnet_lite0 photo.jpg[/]
    [dim]zoo predict runs/mine photos --out predictions.csv[/]
    [dim]zoo predict runs/boxes photos --draw drawn[/]
    """
    with for_people(stopped="Stopped. Repeat the command to go on." if out_file else "Stopped."):
        from transfer.predict.embeddings import write_embeddings
        from transfer.predict.loading import load
        from transfer.predict.overlays import write_overlays
        from transfer.predict.writing import write_drawings

        one_folder = len(images) == 1 and images[0].is_dir()
        if out_file is not None and not one_folder:
            raise ValueError("--out takes one folder of photos")
        with without_chatter():
            predictor = load(model, engine=engine, precision=precision)
        options: dict[str, Any] = {"top": top, "threshold": threshold, "augment": augment}
        failed = 0
        if out_file is not None and out_file.suffix == ".npz":
            count = write_embeddings(predictor, images[0], out_file)
            out.print(f"{count} embeddings: {out_file}", markup=False)
        elif out_file is not None or (draw is not None and one_folder):
            failed = _write(predictor, images[0], out_file, draw, options, overwrite)
        else:
            answers = predictor.predict(images[0] if one_folder else images, **options)
            failed = _show(predictor, answers, as_json=as_json)
            readable = [answer.name for answer in answers if answer.error is None]
            pictures = write_drawings(predictor, answers, draw) if draw is not None else iter(())
            overlays = write_overlays(predictor, readable, grad_cam) if grad_cam is not None else iter(())
            for picture in itertools.chain(pictures, overlays):
                err.print(f"{picture}", style="dim", markup=False)
        if failed:
            raise typer.Exit(1)


def _write(
    predictor: Any, folder: Path, file: Path | None, draw: Path | None, options: dict[str, Any], overwrite: bool
) -> int:
    """Writes the answers for a folder, says what could not be read, and returns the number of such photos."""
    from transfer.predict.writing import write_predictions

    with progress_bar() as show:
        written = write_predictions(
            predictor, folder, file, draw_to=draw, overwrite=overwrite, progress=show, **options
        )
    went_on = f", {written.resumed} of them done before" if written.resumed else ""
    where = ", ".join(str(path) for path in (file, draw) if path is not None)
    out.print(f"{written.num_photos} photos{went_on}: {where}", markup=False, soft_wrap=True)
    for path, reason in written.unreadable:
        say_error(f"{path} {reason}")
    if written.unreadable:
        say_error(f"{len(written.unreadable)} of {written.num_photos} images could not be read.")
    return len(written.unreadable)


def _show(predictor: Any, answers: list[Any], *, as_json: bool) -> int:
    """Prints answers, and returns the number of photos that could not be read."""
    task = task_of(predictor.contract.task)
    if as_json:
        print_json([task.as_dict(answer) for answer in answers])
    else:
        for answer in answers:
            show_answer(answer, task.predictions(answer))
    failed = sum(answer.error is not None for answer in answers)
    if failed and (as_json or len(answers) > 1):
        say_error(f"{failed} of {len(answers)} images could not be read.")
    return failed


def show_answer(answer: Any, predictions: list[dict[str, Any]]) -> None:
    """Prints what a model says about one photo.

    Args:
        answer: The answer.
        predictions: Its rows, as the task's `predictions` gives them.
    """
    out.print(Text(answer.name, "bold"), soft_wrap=True)
    if answer.error is not None:
        say_error(f"{answer.name} {answer.error}")
        return
    table = Table.grid(padding=(0, 1))
    for row in predictions:
        label = f"{row['head']}: {row['label']}" if "head" in row else row["label"]
        if "box" in row:
            left, top, right, bottom = row["box"]
            place = f"({left:.0f}, {top:.0f}) to ({right:.0f}, {bottom:.0f})"
            table.add_row(f"  {100 * row['score']:5.1f}%", Text(label), Text(place, "dim"))
        elif "score" in row:
            bar = "█" * round(20 * row["score"])
            table.add_row(f"  {100 * row['score']:5.1f}%", Text(f"{bar:<20}", "cyan"), Text(label))
        else:
            table.add_row(f"  {row['value']:8.4g}", Text(label))
    out.print(table if predictions else "  nothing")
