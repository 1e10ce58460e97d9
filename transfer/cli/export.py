"""`zoo export` and `zoo verify`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from transfer.cli.console import (
    Json,
    Layout,
    Outside,
    announce,
    for_people,
    load_tensorflow,
    out,
    print_json,
    say_error,
)
from transfer.silence import without_chatter

__all__ = ["export", "verify"]


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of `zoo fit`.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="FORMAT...", help="saved_model, onnx, openvino, litert or keras."),
    ] = None,
    quantize: Annotated[
        Literal["none", "float16", "int8"], typer.Option(help="For onnx, openvino and litert.")
    ] = "none",
    int8_data: Annotated[
        str | None,
        typer.Option("--int8-data", metavar="DATA", help="Annotated images to calibrate and measure on."),
    ] = None,
    layout: Layout = None,
    outside: Outside = False,
    bound: Annotated[float, typer.Option(min=0, help="Points of the metric that quantising may lose.")] = 1.0,
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where to write; RUN/exported by default.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run's model in other formats, each proven to answer as the model does.

    [dim]zoo export runs/mine --format onnx openvino litert[/]
    """
    where = folder or run / "exported"
    with for_people(stopped=f"Stopped. Nothing was written to {where}."):
        from transfer.artifacts.engines.table import check_formats

        names = [name for text in [*(formats or []), *(more or [])] for name in text.split(",") if name]
        if names:
            check_formats(names)
        announce("loading TensorFlow")
        load_tensorflow()
        from transfer.runs.exporting import export_run

        announce("exporting and proving it")
        chosen = {"formats": names} if names else {}
        proof = export_run(
            run,
            folder,
            quantize=quantize,
            data=int8_data,
            layout=layout,
            outside=outside,
            bound=bound,
            overwrite=overwrite,
            **chosen,
        )
        if as_json:
            print_json({"folder": str(where), **asdict(proof)})
            return
        for artifact in dict.fromkeys(check.artifact for check in proof.checks):
            worst = max(check.max_abs_diff for check in proof.checks if check.artifact == artifact)
            out.print(f"{where / artifact}  differs by {worst:.1g} at most", markup=False, soft_wrap=True)
        for agreement in proof.agreements:
            out.print(
                f"{agreement.artifact}: agrees on {100 * agreement.agreement:.1f}% of the answers to "
                f"{agreement.num_images} images; {agreement.metric} {agreement.before:.3f} before, "
                f"{agreement.after:.3f} after",
                markup=False,
                soft_wrap=True,
            )


def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run, or an exported folder.")],
    as_json: Json = False,
) -> None:
    """Repeat the proof of an export: the SHA-256 of every file, and every artifact's answers."""
    with for_people(), without_chatter():
        from transfer.artifacts.proof import verify as verify_folder

        verdicts = verify_folder(folder)
    if as_json:
        print_json([asdict(verdict) for verdict in verdicts])
    for verdict in verdicts:
        if verdict.skipped is not None:
            say_error(f"{verdict.artifact} was not proven: {verdict.skipped}")
        elif not as_json:
            worst = max(check.max_abs_diff for check in verdict.checks)
            out.print(f"{verdict.artifact}: proven, differs by {worst:.1g} at most", markup=False)
    if any(verdict.skipped is not None for verdict in verdicts):
        raise typer.Exit(1)
