"""`zoo fit` and `zoo demo`."""

import importlib.util
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from transfer.cli.console import announce, for_people, load_tensorflow, out
from transfer.cli.help import HelpAll
from transfer.cli.options import FOR_ALL, given_settings, with_settings
from transfer.tasks import TASKS, check_task, settings_class, task_of

__all__ = ["demo", "fit", "show_run"]


def _fit(
    folder: Annotated[Path, typer.Option("--out", metavar="RUN", help="The folder to write.")],
    data: Annotated[
        str | None,
        typer.Argument(
            help="A folder of class folders, a table, a folder of annotations, tfds:NAME or sklearn:digits."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help=f"What to learn: {', '.join(TASKS)}.", show_default=next(iter(TASKS))),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Settings by name: textbook, Xception as in Hands-On Machine Learning.",
            rich_help_panel=FOR_ALL,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Repeat the run whose config.json this is.", rich_help_panel=FOR_ALL),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run to RUN that was killed.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier run in RUN.", rich_help_panel=FOR_ALL)
    ] = False,
    tensorboard: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write TensorBoard's logs into this folder.", rich_help_panel=FOR_ALL),
    ] = None,
    help_all: Annotated[bool, HelpAll] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Fine-tune a pretrained network on your images; measure, export and prove it.

    [dim]zoo fit photos --out runs/mine[/]
    [dim]zoo fit annotated --task detect --out runs/boxes[/]
    [dim]zoo fit people.csv --task regress --targets age --out runs/age[/]
    [dim]zoo fit --config runs/mine/config.json --out runs/again --seed 1[/]
    """
    stopped = "Stopped. Repeat the command to go on." if resume else f"Stopped. Nothing was written to {folder}."
    with for_people(stopped=stopped):
        if data is None and config is None:
            raise typer.BadParameter("give DATA, or a run to repeat by --config")
        if task is not None:
            check_task(task)
        callbacks = _logging_to(tensorboard)
        announce("loading TensorFlow")
        load_tensorflow()
        from transfer.runs.configuration import read_config
        from transfer.runs.fitting import fit as fit_run

        repeats = None if config is None else read_config(config)
        if repeats is not None and task not in (None, repeats.task):
            raise ValueError(f"{config} is the configuration of --task {repeats.task}, not of --task {task}")
        name = task or (repeats.task if repeats else next(iter(TASKS)))
        given = given_settings(name, settings)
        kind = settings_class(name)
        if recipe is not None:
            chosen = kind.from_recipe(recipe, given)
        else:
            chosen = kind.from_dict({**(repeats.settings.as_dict() if repeats else {}), **given})
        run = fit_run(
            data if data is not None else repeats.data,  # type: ignore[union-attr]
            folder,
            chosen,
            overwrite=overwrite,
            resume=resume,
            repeats=repeats,
            announce=announce,
            callbacks=callbacks,
        )
        show_run(run)
        where = shlex.quote(str(folder))
        out.print(f"Next: zoo predict {where} PHOTO.jpg --draw DIR", style="dim", markup=False, soft_wrap=True)


fit = with_settings(_fit)


def _logging_to(folder: Path | None) -> list[Any]:
    """Returns the callback that writes TensorBoard's logs, if that is wanted."""
    if folder is None:
        return []
    if importlib.util.find_spec("tensorboard") is None:
        raise RuntimeError("tensorboard is not installed: pip install 'transfer-zoo[tensorboard]'")
    load_tensorflow()
    import keras

    return [keras.callbacks.TensorBoard(folder)]


def show_run(run: Any) -> None:
    """Prints how good a finished run is, and where its report lies."""
    metrics = run.metrics
    table = Table.grid(padding=(0, 2))
    for metric in task_of(metrics["task"]).metrics:
        for split, words in (("test", "test"), ("valid", "validation")):
            value = metrics.get(f"{split}_{metric.name}")
            text = "none held out" if value is None else metric.text(value)
            table.add_row(f"{words} {metric.label}", f"[bold]{text}[/]")
    table.add_row("export differs by", f"{metrics['export_max_abs_diff']:.1g} at most")
    table.add_row("images", f"{metrics['num_images']} used, {metrics['skipped']} left out")
    for name, value in (metrics["readout"] or {}).items():
        table.add_row(f"solved head alone: {name.removeprefix('val_').replace('_', ' ')}", f"{value:.4g} in validation")
    table.add_row("time", f"{metrics['seconds']:.0f} s")
    for part, seconds in metrics["seconds_by_part"].items():
        table.add_row(f"  {part}", f"{seconds:.1f} s", style="dim")
    out.print(table)
    out.print(f"Report: {run.folder / 'report.html'}", markup=False, soft_wrap=True)


def demo(
    folder: Annotated[Path, typer.Option("--out", metavar="RUN", help="The folder to write.")] = Path("runs/demo"),
) -> None:
    """Name photos, fine-tune on handwritten digits, export and prove it. This takes some minutes, offline."""
    from transfer.cli.predict import show_answer

    with for_people(stopped=f"Stopped. Nothing was written to {folder}."):
        announce("loading TensorFlow")
        load_tensorflow()
        from transfer.runs.demo import demo as run_demo

        run = run_demo(
            folder, narrate=lambda step: out.print(f"\n[bold]{step}[/]"), announce=announce, show=show_answer
        )
        out.print()
        show_run(run)
        out.print("\n[bold]Next, on your own photos[/], a folder with one sub-folder for each class:")
        out.print("  zoo fit PHOTOS --out runs/mine\n  zoo predict runs/mine PHOTO.jpg", markup=False)
