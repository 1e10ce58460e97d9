"""`zoo evaluate` and `zoo compare`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from transfer.cli.console import (
    Engine,
    Json,
    Layout,
    Outside,
    Views,
    announce,
    err,
    for_people,
    load_tensorflow,
    out,
    print_json,
    print_table,
)

__all__ = ["compare", "evaluate"]


def _tracks(tracks: Path, truth: str, *, as_json: bool) -> None:
    from transfer.tracking.measuring import score_tracks

    scores = score_tracks(tracks, truth)
    if as_json:
        print_json({"tracks": str(tracks), "truth": truth, **scores.as_dict()})
        return
    table = scores.table()
    print_table(table.columns, table.rows)
    out.print(table.note, markup=False, soft_wrap=True)
    for fault in scores.faults:
        err.print(Text(f"{fault.place}: {fault.reason}", "yellow"), soft_wrap=True)


# What can be measured besides what runs were trained for: files of results against files of truth.
RESULTS = {"track": _tracks}


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or an exported model; or a file of tracks.")],
    data: Annotated[str, typer.Argument(help="Annotated images, as `zoo fit` takes them; or the truth of the tracks.")],
    task: Annotated[
        str | None,
        typer.Option(help="track for files of tracks in MOTChallenge's format.", show_default="that of the run"),
    ] = None,
    layout: Layout = None,
    outside: Outside = False,
    augment: Views = False,
    engine: Engine = "auto",
    robust: Annotated[
        bool, typer.Option("--robust", help="Measure under noise, blur, brightness, JPEG and FGSM; one number.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure a run on annotated images; classes are matched by name.

    What follows a number in brackets is its interval of 95% confidence: among as many other photos of the same kind it
    may well come out anywhere in it.

    [dim]zoo evaluate runs/mine photos[/]
    [dim]zoo evaluate tracks.txt gt.txt --task track[/]
    """
    with for_people():
        if task in RESULTS:
            RESULTS[task](run, data, as_json=as_json)
            return
        load_tensorflow()
        if robust:
            if augment:
                raise ValueError("--robust measures one view of each photo; leave --augment out")
            _robust(run, data, layout, engine, as_json=as_json)
            return
        from transfer.runs.scoring import score

        scores = score(run, data, layout=layout, outside=outside, augment=augment, engine=engine)
        if task not in (None, scores.task):
            raise ValueError(f"{run} was trained for the task {scores.task!r}; leave --task {task} out")
        faults = [asdict(fault) for fault in scores.faults]
        if as_json:
            facts = {"run": str(run), "data": data, "task": scores.task, "split": scores.split}
            print_json({**facts, **scores.measured.as_dict(), "faults": faults})
            return
        for note in scores.notes:
            announce(note)
        split = "all images" if scores.split == "all" else f"the {scores.split} images"
        out.print(f"On {split} ({scores.num_images}):", soft_wrap=True)
        for table in scores.measured.tables():
            if table.title:
                out.print(table.title, markup=False, soft_wrap=True)
            print_table(table.columns, table.rows)
            if table.note:
                out.print(table.note, markup=False, soft_wrap=True)
        for fault in scores.faults:
            err.print(Text(f"{fault.place}: {fault.reason}", "yellow"), soft_wrap=True)


def _robust(run: Path, data: str, layout: str | None, engine: str, *, as_json: bool) -> None:
    """Shows how well a run does on spoilt images."""
    from transfer.runs.robustness import robustness

    found = robustness(run, data, layout=layout, engine=engine)
    if as_json:
        facts = {"run": str(run), "data": data, "task": found.task, "split": found.split}
        print_json({**facts, **found.as_dict(), "faults": [asdict(fault) for fault in found.faults]})
        return
    for note in found.notes:
        announce(note)
    out.print(f"On {found.num_images} images ({found.split}):", soft_wrap=True)
    table = found.table()
    print_table(table.columns, table.rows)
    out.print(table.note, markup=False, soft_wrap=True)
    for fault in found.faults:
        err.print(Text(f"{fault.place}: {fault.reason}", "yellow"), soft_wrap=True)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Two or more runs of `zoo fit`.")],
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the metrics with their intervals into this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show runs of one task beside each other, best first, and the settings in which they differ.

    [dim]zoo compare runs/* --plot runs.png[/]
    """
    with for_people():
        from transfer.runs.comparing import compare as compare_runs

        comparison = compare_runs(runs)
        if plot is not None:
            comparison.plot().savefig(plot)
            announce(f"drawn: {plot}")
        if as_json:
            print_json(comparison.as_dict())
            return
        for table in comparison.tables():
            print_table(table.columns, table.rows)
        for note in comparison.notes:
            err.print(Text(note, "yellow"), soft_wrap=True)
