"""`zoo track`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from transfer.cli.console import (
    Engine,
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
        str, typer.Option(metavar="RUN|MODEL", help="A detector: a run, an exported model, or objectron.")
    ],
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
    max_age: Annotated[
        int | None, typer.Option(min=0, help="Frames that a track may go unseen.", show_default="the tracker's own")
    ] = None,
    lines: Annotated[
        list[str] | None,
        typer.Option("--line", metavar="[NAME:]X1,Y1,X2,Y2", help="Count at this line. May be given several times."),
    ] = None,
    zones: Annotated[
        list[str] | None,
        typer.Option("--zone", metavar="[NAME:]X1,Y1,X2,Y2,X3,Y3...", help="Count at this polygon."),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second.", show_default="all frames")] = None,
    start: Annotated[float, typer.Option(help="Time in seconds of the first frame.")] = 0.0,
    end: Annotated[float | None, typer.Option(help="Time in seconds at which to stop.", show_default=False)] = None,
    truth: Annotated[
        Path | None, typer.Option("--evaluate", metavar="FILE", help="Measure against this ground truth.")
    ] = None,
    engine: Engine = "auto",
    as_json: Json = False,
) -> None:
    """Say who is who in a video, and count who passes.

    [dim]zoo track street.mp4 --model objectron --out tracked.mp4[/]
    [dim]zoo track street.mp4 --model runs/boxes --tracks tracks.txt --line door:100,400,500,400[/]
    """
    with for_people():
        from transfer.predict.loading import load
        from transfer.tracking.appearance import embedder
        from transfer.tracking.borders import read_borders
        from transfer.tracking.measuring import score_tracks
        from transfer.tracking.videos import track_video
        from zoo.tracking import tracker as tracker_named

        borders = read_borders(lines or (), zones or ())
        how = tracker_named(tracker, **({} if max_age is None else {"max_age": max_age}))
        if truth is not None and tracks is None:
            raise ValueError("--evaluate measures the file of tracks; name one with --tracks FILE")
        with without_chatter():
            detector = load(model, engine=engine)
            embed = None if appearance is None else embedder(appearance, engine=engine)
        with progress_bar() as show:
            tracked = track_video(
                detector,
                video,
                out=out_file,
                tracks=tracks,
                how=how,
                appearance=embed,
                classes=[name.strip() for name in (classes or "").split(",") if name.strip()],
                threshold=threshold,
                borders=borders,
                fps=fps,
                start=start,
                end=end,
                progress=show,
            )
        scores = None if truth is None or tracks is None else score_tracks(tracks, truth)
        for fault in tracked.faults:
            err.print(Text(str(fault), "yellow"), soft_wrap=True)
        if tracked.left_out:
            announce(f"{tracked.left_out} detections were left out: their boxes have no area or are not finite")
        if as_json:
            print_json({**tracked.as_dict(), **({} if scores is None else {"scores": scores.as_dict()})})
            return
        written = ", ".join(str(path) for path in (out_file, tracks) if path is not None)
        said = f"{tracked.frames} frames at {tracked.fps:g} a second{': ' + written if written else ''}"
        out.print(said, markup=False, soft_wrap=True)
        print_table(("class", "identities"), [(name, f"{n:,}") for name, n in tracked.identities.items()])
        for name, counts in tracked.counts.items():
            rows = [(label, way, f"{n:,}") for label, ways in counts.items() for way, n in ways.items()]
            out.print(f"{name}:" if rows else f"{name}: none passed", markup=False)
            if rows:
                print_table(("class", "direction", "passed"), rows)
        if scores is not None:
            table = scores.table()
            print_table(table.columns, table.rows)
