"""`zoo track`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from transfer.cli.console import (
    Json,
    announce,
    err,
    for_people,
    out,
    print_json,
    print_table,
    progress_bar,
    without_chatter,
)

__all__ = ["track"]


def track(
    video: Annotated[str, typer.Argument(metavar="VIDEO|FOLDER|CAMERA", help="A video, pictures in order, or 0.")],
    model: Annotated[
        str, typer.Option(metavar="RUN|MODEL", help="A detector: a run, an exported model, or a pretrained one.")
    ] = "objectron",
    out_file: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write an annotated video.")] = None,
    tracks: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the tracks in MOTChallenge's format.")
    ] = None,
    tracker: Annotated[str, typer.Option(help="sort, deepsort, bytetrack, ocsort, cbiou or combined.")] = "combined",
    appearance: Annotated[
        str | None, typer.Option(metavar="RUN|MODEL", help="For deepsort: a run, or a network of `zoo models`.")
    ] = None,
    classes: Annotated[str | None, typer.Option(metavar="NAMES", help="Classes to track, such as Person,Car.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Score from which on a track may begin.", show_default="the model's own"),
    ] = None,
    borders: Annotated[
        list[str] | None,
        typer.Option(
            "--count",
            metavar="[NAME:]X1,Y1,X2,Y2...",
            help="Count who passes this line, or with more points, who enters this zone. May be given several times.",
        ),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second.", show_default="all frames")] = None,
    part: Annotated[
        tuple[float, float] | None, typer.Option(metavar="START END", help="Only from START to END, in seconds.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say who is who in a video, and count who passes.

    Without --model, a pretrained detector of people and 22 other classes is used: npm install @mediapipe/objectron.
    Ends with status 1 if a part of the video could not be read; the rest is tracked.

    [dim]zoo track street.mp4 --out tracked.mp4[/]
    [dim]zoo track street.mp4 --model runs/boxes --tracks tracks.txt --count door:100,400,500,400[/]
    """
    with for_people():
        from transfer.predict.loading import load
        from transfer.tracking.appearance import embedder
        from transfer.tracking.borders import read_borders
        from transfer.tracking.videos import Tracking, track_video

        start, end = part or (0.0, None)
        named = [name.strip() for name in (classes or "").split(",") if name.strip()]
        with without_chatter():
            detector = load(model)
            embed = None if appearance is None else embedder(appearance)
        tracking = Tracking(
            tracker=tracker,
            appearance=embed,
            classes=named,
            threshold=threshold,
            borders=read_borders(borders or ()),
        )
        with progress_bar() as show:
            tracked = track_video(
                detector, video, tracking, out=out_file, tracks=tracks, fps=fps, start=start, end=end, progress=show
            )
        for fault in tracked.faults:
            err.print(Text(str(fault), "yellow"), soft_wrap=True)
        if tracked.left_out:
            announce(f"{tracked.left_out} detections were left out: their boxes have no area or are not finite")
        # What was resized is whole; what could not be read is not.
        incomplete = any(fault.kind != "other size" for fault in tracked.faults)
        if as_json:
            print_json(tracked.as_dict())
        else:
            written = ", ".join(str(path) for path in (out_file, tracks) if path is not None)
            _show(tracked, written)
        if incomplete:
            raise typer.Exit(1)


def _show(tracked: Any, written: str) -> None:
    """Prints what was tracked."""
    said = f"{tracked.frames} frames at {tracked.fps:g} a second{': ' + written if written else ''}"
    out.print(said, markup=False, soft_wrap=True)
    print_table(("class", "identities"), [(name, f"{n:,}") for name, n in tracked.identities.items()])
    for name, counts in tracked.counts.items():
        rows = [(label, way, f"{n:,}") for label, ways in counts.items() for way, n in ways.items()]
        out.print(f"{name}:" if rows else f"{name}: none passed", markup=False)
        if rows:
            print_table(("class", "direction", "passed"), rows)
