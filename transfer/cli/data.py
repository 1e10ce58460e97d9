"""`zoo audit` and `zoo preview`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from transfer.cli.console import Json, Layout, Outside, announce, err, for_people, load_tensorflow, out, print_json

__all__ = ["audit", "preview"]

Policy = Literal["none", "light", "strong", "textbook", "randaugment", "trivialaugment"]


def audit(
    data: Annotated[str, typer.Argument(help="What `zoo fit` takes, or a folder of annotated images.")],
    page: Annotated[Path | None, typer.Option("--out", metavar="PAGE", help="Write an HTML page, too.")] = None,
    exclude_to: Annotated[Path | None, typer.Option(metavar="LIST", help="Write the files better left out.")] = None,
    run: Annotated[Path | None, typer.Option(metavar="RUN", help="Compare the classes with those of a run.")] = None,
    valid: Annotated[float, typer.Option(help="Share of the images that `zoo fit` would validate on.")] = 0.15,
    test: Annotated[float, typer.Option(help="Share that it would test on.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Of that division.")] = 0,
    layout: Layout = None,
    outside: Outside = False,
    as_json: Json = False,
) -> None:
    """Look for what is wrong with a data set; change nothing. Ends with status 1 if there are errors.

    [dim]zoo audit photos --out report.html --exclude-to list.txt[/]
    """
    with for_people():
        load_tensorflow()
        from rich.progress import Progress, TaskID

        import pipelines

        names = None if run is None else (run / "labels.txt").read_text(encoding="utf-8").splitlines()
        with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
            tasks: dict[str, TaskID] = {}

            def show(name: str, done: int, total: int) -> None:
                if name not in tasks:
                    tasks[name] = bar.add_task(name)
                bar.update(tasks[name], completed=done, total=total)

            listed = _read_any(data, layout=layout, outside=outside, valid=valid, test=test, seed=seed)
            found = pipelines.audit(listed, class_names=names, progress=show)
        if page is not None:
            pipelines.write_audit_report(page, found, title=Path(data).name or data)
        if exclude_to is not None:
            count = pipelines.write_exclude_list(exclude_to, found)
            err.print(f"{count} files to leave out are listed in {exclude_to}", markup=False, soft_wrap=True)
        if as_json:
            print_json(found.as_dict())
        else:
            for each in found.findings:
                style = {"error": "bold red", "warning": "yellow", "note": "dim"}[each.severity]
                out.print(Text(f"{each.severity:<8}", style) + Text(f"{each.kind}: {each.message}"), soft_wrap=True)
            out.print(f"{found.statistics['num_images']} images: " + ("no errors" if found.ok else "errors found"))
    if not found.ok:
        raise typer.Exit(1)


def _read_any(data: str, *, layout: str | None, outside: bool, valid: float, test: float, seed: int) -> Any:
    """Returns annotated images where the folder holds such, or a layout is named, and labelled images otherwise."""
    import pipelines

    path = Path(data)
    if layout is not None or (path.exists() and pipelines.layout_of(path)):
        return pipelines.read_scenes(data, layout=layout, outside=outside, valid=valid, test=test, seed=seed)
    return pipelines.read_data(data, valid=valid, test=test, seed=seed)


def preview(
    data: Annotated[str, typer.Argument(help="What `zoo fit` takes, or a folder of annotated images.")],
    picture: Annotated[Path, typer.Option("--out", metavar="PICTURE", help="The file to write.")] = Path("grid.png"),
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 16,
    augment: Annotated[Policy, typer.Option(help="What it does to images.")] = "none",
    seed: Annotated[int, typer.Option(help="Of the choice and of the changes.")] = 0,
    layout: Layout = None,
    outside: Outside = False,
) -> None:
    """Draw a grid of training images with labels, boxes and masks.

    [dim]zoo preview photos --out grid.png --augment light[/]
    """
    with for_people():
        load_tensorflow()
        import pipelines

        listed = _read_any(data, layout=layout, outside=outside, valid=0.15, test=0.15, seed=0)
        for note in listed.notes:
            announce(note)
        layers = pipelines.augmentation(augment, seed=seed)
        pipelines.show(listed, count=count, augment=layers, seed=seed).save(picture)
        out.print(f"Drawn: {picture}", markup=False, soft_wrap=True)
