"""Frames of video files, at a chosen rate, with their time stamps.

Files are decoded with PyAV (FFmpeg), which the extra `video` installs. Frames are read one after the other and none is
kept, so videos may be of any length.

Of a video that is damaged or ends early, the frames that can be decoded are returned. The problem is reported as a
`Fault` in the list `faults`, or else as a warning; with `strict=True` a ValueError is raised.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipelines.data import Fault
from pipelines.video.containers import (
    Damage,
    announced_seconds,
    frame_rate,
    open_video,
    upright_pixels,
    video_stream,
)
from pipelines.video.seeking import frames_from

__all__ = ["Frame", "read_frames"]

# A last frame that comes this much earlier than the header announces is due to rounding, and not to a damaged file.
_SLACK_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video.

    Attributes:
        image: `uint8 [h, w, 3]`, upright RGB.
        seconds: Time at which the video shows the frame, in seconds from its start.
        index: Number of the frame among the frames that are read, from 0.
        rotation: By how many degrees, anticlockwise, the file asks players to turn its frames; `image` is turned.
    """

    image: np.ndarray
    seconds: float
    index: int
    rotation: float = 0.0


def read_frames(
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    size: tuple[int, int] | None = None,
    faults: list[Fault] | None = None,
    strict: bool = False,
) -> Iterator[Frame]:
    """Reads the frames of a video, in the order in which they are shown.

    Args:
        path: Video file of any format that FFmpeg reads.
        fps: Frames per second. At each of the times `start`, `start + 1 / fps`, `start + 2 / fps` and so on, the frame
            that is on screen is taken, with its own time stamp. So a video of a lower or varying rate gives some
            frames repeatedly. Defaults to every frame once.
        start: Time in seconds of the first frame to read. Defaults to 0.
        end: Time in seconds before which frames are read. Defaults to the end of the video.
        size: Height and width to which the upright frames are scaled, bilinearly and whatever their shape. Defaults to
            the size of the video.
        faults: List to which problems of the file are added. By default they are warnings.
        strict: Whether to raise a ValueError at the first problem of the file.

    Yields:
        `Frame`s. They are upright, as the file's display matrix says (phones write one).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a video, or `fps`, `start` or `end` is out of its range.
        ImportError: The extra `video` is not installed.
    """
    if fps is not None and not fps > 0:
        raise ValueError(f"read_frames: expected `fps` above 0, received {fps!r}")
    if start < 0 or (end is not None and end <= start):
        raise ValueError(f"read_frames: expected 0 <= start < end in seconds, received start={start}, end={end}")
    # The file is opened here, so that its errors are raised by this call and not by the first frame.
    container = open_video(path)
    report = partial(_report, os.fspath(path), faults, strict)
    return _selected_frames(path, container, fps, start, end, size, report)


def _report(path: str, faults: list[Fault] | None, strict: bool, reason: str) -> None:
    fault = Fault(path, reason, kind="broken", kept=True)
    if strict:
        raise ValueError(f"{fault} (strict=True raises this error; strict=False returns the other frames)")
    if faults is None:
        warnings.warn(str(fault), stacklevel=4)  # the code that iterates over the frames
    else:
        faults.append(fault)


def _selected_frames(
    path: str | os.PathLike[str],
    container: Any,
    fps: float | None,
    start: float,
    end: float | None,
    size: tuple[int, int] | None,
    report: Callable[[str], None],
) -> Iterator[Frame]:
    import av

    index = 0
    with container:
        try:
            for since, until, picture in _frames_on_screen(path, container, start, end, report):
                if fps is None:
                    count = int(since >= start - 1e-6 and (end is None or since < end))
                else:
                    # Time stamps are rounded to ticks, so a ten thousandth of a step is allowed for.
                    limit = until - 1e-4 / fps if end is None else min(until - 1e-4 / fps, end)
                    count = 0
                    while start + (index + count) / fps < limit:
                        count += 1
                image = upright_pixels(picture, size) if count else None
                for _ in range(count):
                    yield Frame(image, since, index, picture.rotation)  # type: ignore[arg-type]
                    index += 1
        except av.FFmpegError as error:
            raise ValueError(f"{os.fspath(path)}: cannot be read as a video: {error.strerror}") from error


def _frames_on_screen(
    path: str | os.PathLike[str], container: Any, start: float, end: float | None, report: Callable[[str], None]
) -> Iterator[tuple[float, float, Any]]:
    """Yields the time at which a frame appears, the time at which the next one does, and the frame of PyAV."""
    announced = announced_seconds(container)
    damage = Damage()
    current: tuple[float, Any] | None = None  # the frame on screen, and the time at which it appeared
    for seconds, picture in frames_from(path, container, start, damage):
        if current is not None:
            yield current[0], seconds, current[1]
            if end is not None and seconds >= end:
                return
        current = (seconds, picture)
    last, length = 0.0, 1 / frame_rate(video_stream(container))
    if current is not None:
        if current[1].duration:
            length = float(current[1].duration * current[1].time_base)
        last = current[0] + length
        yield current[0], last, current[1]
    expected = announced if announced is None or end is None else min(announced, end)
    if damage.packets:
        report(f"{damage.packets} damaged frames or packets ({damage.first}); the other frames are read")
    if expected is not None and last < expected - max(_SLACK_SECONDS, 2 * length):
        report(f"ends early: it has frames up to {last:.2f} s of {expected:.2f} s; these are read")
    elif current is None:
        report("has no frame that can be decoded")
