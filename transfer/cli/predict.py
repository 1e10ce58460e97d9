"""`zoo predict`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from pipelines.sources.image_files import listed
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
)
from transfer.silence import without_chatter
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
            "--out",
            metavar="FILE",
            help="For a FOLDER: .csv, .jsonl, .parquet, .json (boxes, masks), .npz (vectors). A folder "
            "gets masks, of single photos, too.",
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
    [dim]zoo predict runs/pixels photos --out masks[/]
    """
    with for_people(stopped="Stopped. Repeat the command to go on." if out_file else "Stopped."):
        from transfer.predict.embeddings import write_embeddings
        from transfer.predict.loading import load
        from transfer.predict.overlays import write_overlays
        from transfer.predict.photos import other_files_in
        from transfer.predict.writing import check_masks, write_drawings

        masks = out_file if out_file is not None and not out_file.suffix else None
        out_file = None if masks is not None else out_file
        one_folder = len(images) == 1 and images[0].is_dir()
        if out_file is not None and not one_folder:
            raise ValueError("--out takes one folder of photos")
        with without_chatter():
            predictor = load(model, engine=engine, precision=precision)
        check_masks(predictor, masks)
        options: dict[str, Any] = {"top": top, "threshold": threshold, "augment": augment}
        if out_file is not None and out_file.suffix == ".npz":
            written = write_embeddings(predictor, images[0], out_file)
            out.print(f"{written.num_predictions} embeddings: {out_file}", markup=False)
            failed, readable = _say_what_is_missing(written, images[0])
        elif out_file is not None or (one_folder and (draw or masks) is not None):
            failed, readable = _write(predictor, images[0], out_file, (draw, masks), options, overwrite)
        else:
            answers = predictor.predict(images[0] if one_folder else images, **options)
            failed = _show(predictor, answers, as_json=as_json)
            if one_folder:
                _say_left_out(other_files_in(images[0]))
            readable = [Path(answer.name) for answer in answers if answer.error is None]
            if draw is not None:
                _name_pictures(write_drawings(predictor, answers, draw))
            if masks is not None:
                _name_pictures(write_drawings(predictor, answers, masks, masks=True))
        if grad_cam is not None:
            _name_pictures(write_overlays(predictor, readable, grad_cam))
        if failed:
            raise typer.Exit(1)


def _write(
    predictor: Any,
    folder: Path,
    file: Path | None,
    pictures: tuple[Path | None, Path | None],
    options: dict[str, Any],
    overwrite: bool,
) -> tuple[int, list[Path]]:
    """Writes the answers for a folder, and returns what `_say_what_is_missing` does."""
    from transfer.predict.writing import write_predictions

    draw, masks = pictures
    with progress_bar() as show:
        written = write_predictions(
            predictor, folder, file, draw_to=draw, masks_to=masks, overwrite=overwrite, progress=show, **options
        )
    went_on = f", {written.resumed} of them done before" if written.resumed else ""
    where = ", ".join(str(path) for path in (file, draw, masks) if path is not None)
    out.print(f"{written.num_photos} photos{went_on}: {where}", markup=False, soft_wrap=True)
    return _say_what_is_missing(written, folder)


def _name_pictures(pictures: Iterator[Path]) -> None:
    for picture in pictures:
        err.print(f"{picture}", style="dim", markup=False)


def _say_what_is_missing(written: Any, folder: Path) -> tuple[int, list[Path]]:
    """Says what could not be read, and what was left out.

    Returns:
        The number of photos that could not be read, and the paths of the others.
    """
    from transfer.predict.photos import photos_in

    for path, reason in written.unreadable:
        say_error(f"{path} {reason}")
    if written.unreadable:
        say_error(f"{len(written.unreadable)} of {written.num_photos} images could not be read.")
    _say_left_out(written.left_out)
    unreadable = {folder / path for path, _ in written.unreadable}
    return len(unreadable), [path for path in photos_in(folder) if path not in unreadable]


def _say_left_out(names: Sequence[str]) -> None:
    if names:
        message = f"Left out, because their names are not those of images: {listed(names)}"
        err.print(message, style="yellow", markup=False, soft_wrap=True)


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
        elif "share" in row:
            bar = "█" * round(20 * row["share"])
            table.add_row(f"  {100 * row['share']:5.1f}%", Text(f"{bar:<20}", "cyan"), Text(f"{label}, of the pixels"))
        elif "score" in row:
            bar = "█" * round(20 * row["score"])
            table.add_row(f"  {100 * row['score']:5.1f}%", Text(f"{bar:<20}", "cyan"), Text(label))
        else:
            table.add_row(f"  {row['value']:8.4g}", Text(label))
    out.print(table if predictions else "  nothing")
