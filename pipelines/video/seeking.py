"""Reading a video from a time on, without losing a frame to an inexact jump."""

import itertools
import os
from collections.abc import Iterator
from typing import Any

from pipelines.video.containers import Damage, decoded_frames, first_seconds, frame_rate, open_video, video_stream

__all__ = ["frames_from"]

_SHORT = 1.0  # Seconds: to decode so much takes no longer than a jump.


def frames_from(
    path: str | os.PathLike[str], container: Any, start: float, damage: Damage
) -> Iterator[tuple[float, Any]]:
    """Yields the time in seconds from the beginning and the frame of each frame from one at or before `start` on.

    FFmpeg jumps to a key frame before the time that it is asked for. In files without an index, such as MPEG-TS, it
    may land behind that key frame, and the first frame that can be decoded is then too late. So it is asked for
    earlier times until the first frame is not later than `start`, and in the end the video is read from its beginning.

    Args:
        path: The video file.
        container: PyAV's container of it, from which nothing was read yet.
        start: Time in seconds.
        damage: Record to which damaged packets are added.
    """
    stream = _prepared(container)
    first = first_seconds(stream)
    margin, jumped = 0.0, False
    while _can_jump(container, stream) and start - margin > _SHORT:
        jumped = True
        frames = _after_jump(container, stream, start - margin + first, damage, since=start + first)
        earliest = next(frames, None)
        if earliest is not None and earliest[0] is not None and earliest[0] - first <= start + 1e-6:
            yield from _timed(itertools.chain([earliest], frames), first, stream)
            return
        margin = max(2.0, 2 * margin)
    if not jumped:
        yield from _from_beginning(container, stream, damage)
        return
    with open_video(path) as fresh:
        yield from _from_beginning(fresh, _prepared(fresh), damage)


def _prepared(container: Any) -> Any:
    stream = video_stream(container)
    stream.thread_type = "AUTO"
    return stream


def _can_jump(container: Any, stream: Any) -> bool:
    """Returns whether the time stamps after a jump are those that the frames have without one.

    In MPEG program streams not every frame has a time stamp, and those between are counted from the last one.
    """
    return container.format.name != "mpeg" and not _is_numbered(container, stream)


def _is_numbered(container: Any, stream: Any) -> bool:
    """Returns whether the time stamps are numbers in the order in which frames are stored, and not shown.

    AVI has no others. The two orders differ where a frame is made from a later one.
    """
    return container.format.name == "avi" and stream.codec_context.has_b_frames


def _after_jump(
    container: Any, stream: Any, seconds: float, damage: Damage, *, since: float
) -> Iterator[tuple[float | None, Any]]:
    """Yields what can be decoded after a jump, which is nothing where no jump is possible."""
    import av

    try:
        container.seek(int(seconds / stream.time_base), stream=stream, backward=True)
    except av.FFmpegError:
        return
    yield from decoded_frames(container, stream, damage, since=since)


def _from_beginning(container: Any, stream: Any, damage: Damage) -> Iterator[tuple[float, Any]]:
    frames = decoded_frames(container, stream, damage)
    if _is_numbered(container, stream):
        frames = ((None, frame) for _, frame in frames)
    return _timed(frames, first_seconds(stream), stream)


def _timed(frames: Iterator[tuple[float | None, Any]], first: float, stream: Any) -> Iterator[tuple[float, Any]]:
    """Yields frames with times from the beginning of the video. Frames without a time stamp follow at its rate."""
    following, step = 0.0, 1 / frame_rate(stream)
    for time, frame in frames:
        seconds = following if time is None else time - first
        yield seconds, frame
        following = seconds + step
