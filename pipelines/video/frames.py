"""Frames of video files, at a given number a second, with their time stamps; singly or in clips.

Files are decoded with PyAV (FFmpeg), which comes with the extra `video`. Frames are read one after the other and none
is kept, so that the length of a video does not matter.

A video that is damaged or ends early gives the frames that it has, and says so: as a `Fault` in the list that `faults`
collects, or else as a warning; `strict=True` raises a ValueError instead.
"""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.data import Fault
from pipelines.video.containers import Damage, announced_seconds, decoded_frames, open_video, upright_pixels

__all__ = ["Frame", "read_frames"]

# A last frame that comes this much earlier than the file announces is how muxers round, not a broken file.
_SLACK_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: `image` `uint8 [h, w, 3]`, upright RGB; `seconds` from the start; `index` among those read."""

    image: np.ndarray
    seconds: float
    index: int


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
    """The frames of a video, in the order in which they are shown.

    Args:
        path: a file of any kind that FFmpeg reads.
        fps: frames a second. At each of the times `start`, `start + 1 / fps`, ... the frame that is on screen is
            taken, with its own time stamp; videos of a lower or varying rate give some frames repeatedly. `None` takes
            every frame once.
        start, end: seconds; frames shown from `start` on and before `end`.
        size: (height, width) to scale the upright frames to, bilinearly, whatever their shape; `None` leaves them.
        faults: a list that collects what is wrong with the file, instead of a warning.
        strict: raise a ValueError at the first fault.

    Yields:
        `Frame`s, turned upright as the file's display matrix says (as phones write it).

    Raises:
        FileNotFoundError, ValueError, ImportError: as `video_info`; ValueError for rates and times that make no sense.
    """
    if fps is not None and not fps > 0:
        raise ValueError(f"read_frames: expected `fps` above 0, received {fps!r}")
    if start < 0 or (end is not None and end <= start):
        raise ValueError(f"read_frames: expected 0 <= start < end in seconds, received start={start}, end={end}")
    # Checked here, where the caller is, and not when the first frame is asked for.
    container = open_video(path)
    return _frames(container, os.fspath(path), fps, start, end, size, faults, strict)


def _frames(
    container: Any,
    path: str,
    fps: float | None,
    start: float,
    end: float | None,
    size: tuple[int, int] | None,
    faults: list[Fault] | None,
    strict: bool,
) -> Iterator[Frame]:
    def fault(reason: str) -> None:
        made = Fault(path, reason, kind="broken", kept=True)
        if strict:
            raise ValueError(f"{made} (strict=True raises; strict=False takes the frames there are)")
        if faults is None:
            warnings.warn(str(made), stacklevel=3)
        else:
            faults.append(made)

    with container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        announced = announced_seconds(container, stream)
        first = float((stream.start_time or 0) * stream.time_base)
        if start > 1:
            # To the key frame before; what comes earlier than asked for is decoded and passed over.
            container.seek(int((start + first) / stream.time_base), stream=stream, backward=True)
        step = None if fps is None else 1 / fps
        count = 0
        shown: tuple[float, Any] | None = None  # on screen: since when, and the frame

        def due(until: float) -> Iterator[Frame]:
            """What is to be taken of the frame on screen, which stays there until then."""
            nonlocal count
            assert shown is not None
            since, picture = shown
            if step is None:
                if since >= start - 1e-6 and (end is None or since < end):
                    yield Frame(upright_pixels(picture, size), since, count)
                    count += 1
                return
            image = None
            # A ten thousandth of a step: time stamps are rounded to ticks.
            while (moment := start + count * step) < until - 1e-4 * step and (end is None or moment < end):
                image = upright_pixels(picture, size) if image is None else image
                yield Frame(image, since, count)
                count += 1

        damaged = Damage()
        for seconds, picture in decoded_frames(container, stream, damaged):
            seconds -= first
            if shown is not None:
                yield from due(seconds)
                if end is not None and seconds >= end:
                    shown = None
                    break
            # Before the first frame there is nothing on screen; its beginning stands for that.
            shown = (seconds, picture)
        else:
            rate = stream.average_rate
            length = float(1 / rate) if rate else 0.04
            if shown is not None and shown[1].duration:
                length = float(shown[1].duration * shown[1].time_base)
            last = 0.0 if shown is None else shown[0] + length
            if shown is not None:
                yield from due(last)
            wanted = announced if end is None else min(announced or end, end)
            if damaged.packets:
                fault(f"{damaged.packets} damaged frames or packets ({damaged.first}); the others are given")
            if wanted is not None and last < wanted - max(_SLACK_SECONDS, 2 * length):
                fault(f"ends early: has frames up to {last:.2f} s of {wanted:.2f} s; these are given")
            elif shown is None:
                fault("holds no frame that can be decoded")
