"""Frames of video files, at a given number a second, with their time stamps; singly or in clips.

Files are decoded with PyAV (FFmpeg), which comes with the extra `video`. Frames are read one after the other and none
is kept, so that the length of a video does not matter.

A video that is damaged or ends early gives the frames that it has, and says so: as a `Fault` in the list that `faults`
collects, or else as a warning; `strict=True` raises a ValueError instead.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data import Fault

__all__ = ["Clip", "Frame", "VideoInfo", "read_clips", "read_frames", "video_dataset", "video_info"]

# A last frame that comes this much earlier than the file announces is how muxers round, not a broken file.
_SLACK_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: `image` `uint8 [h, w, 3]`, upright RGB; `seconds` from the start; `index` among those read."""

    image: np.ndarray
    seconds: float
    index: int


@dataclass(frozen=True, eq=False)
class Clip:
    """Successive frames: `images` `uint8 [t, h, w, 3]`, `seconds` `float64 [t]`; `index` among the clips read."""

    images: np.ndarray
    seconds: np.ndarray
    index: int


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself: (height, width) as stored, frames a second, and seconds (`None` if it does not)."""

    size: tuple[int, int]
    fps: float | None
    seconds: float | None


def video_info(path: str | os.PathLike[str]) -> VideoInfo:
    """What a video's header says, without decoding it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a video.
        ImportError: the extra `video` is not installed.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        return VideoInfo((stream.height, stream.width), float(rate) if rate else None, _announced(container, stream))


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
    container = _open(path)
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
        announced = _announced(container, stream)
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
                    yield Frame(_image(picture, size), since, count)
                    count += 1
                return
            image = None
            # A ten thousandth of a step: time stamps are rounded to ticks.
            while (moment := start + count * step) < until - 1e-4 * step and (end is None or moment < end):
                image = _image(picture, size) if image is None else image
                yield Frame(image, since, count)
                count += 1

        damaged = _Damaged()
        for seconds, picture in _decode(container, stream, damaged):
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


def read_clips(
    path: str | os.PathLike[str],
    length: int,
    *,
    stride: int | None = None,
    fps: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    size: tuple[int, int] | None = None,
    faults: list[Fault] | None = None,
    strict: bool = False,
) -> Iterator[Clip]:
    """Clips of `length` successive frames, the next beginning `stride` frames (`None`: `length`) after the last.

    Frames at the end that do not fill a clip are left out. The other arguments are those of `read_frames`.

    Yields:
        `Clip`s.

    Raises:
        ValueError: a length or stride below 1; and what `read_frames` raises.
    """
    stride = length if stride is None else stride
    if length < 1 or stride < 1:
        raise ValueError(f"read_clips: expected `length` and `stride` of 1 or more, received {length} and {stride}")
    frames = read_frames(path, fps=fps, start=start, end=end, size=size, faults=faults, strict=strict)
    return _clips(frames, length, stride)


def _clips(frames: Iterator[Frame], length: int, stride: int) -> Iterator[Clip]:
    window: list[Frame] = []
    count = 0
    skip = 0  # frames between clips, where the stride is longer than a clip
    for frame in frames:
        if skip:
            skip -= 1
            continue
        window.append(frame)
        if len(window) == length:
            yield Clip(np.stack([f.image for f in window]), np.array([f.seconds for f in window]), count)
            count += 1
            window, skip = window[stride:], max(0, stride - length)


def video_dataset(
    paths: Sequence[str | os.PathLike[str]],
    *,
    fps: float | None = None,
    clip_length: int | None = None,
    stride: int | None = None,
    size: tuple[int, int] | None = None,
    strict: bool = False,
) -> Any:
    """A `tf.data.Dataset` of the frames, or clips, of several videos, one video after the other.

    Args:
        paths: video files.
        fps, size, strict: as for `read_frames`. Clips of several videos can be batched only with a `size`.
        clip_length, stride: as for `read_clips`; `None` gives single frames.

    Returns:
        A data set of dicts: `image` `uint8 [h, w, 3]` (or `[t, h, w, 3]` for clips), `seconds` `float32 []` (or
        `[t]`), `path`.

    Raises:
        FileNotFoundError, ValueError: a file that is not there or is no video, before anything is read.
    """
    import tensorflow as tf

    files = [os.fspath(path) for path in paths]
    for file in files:
        _open(file).close()
    height, width = size or (None, None)
    axes = [] if clip_length is None else [clip_length]

    def make() -> Iterator[dict[str, Any]]:
        for file in files:
            if clip_length is None:
                for frame in read_frames(file, fps=fps, size=size, strict=strict):
                    yield {"image": frame.image, "seconds": frame.seconds, "path": os.fsencode(file)}
            else:
                for clip in read_clips(file, clip_length, stride=stride, fps=fps, size=size, strict=strict):
                    yield {"image": clip.images, "seconds": clip.seconds, "path": os.fsencode(file)}

    signature = {
        "image": tf.TensorSpec([*axes, height, width, 3], tf.uint8),
        "seconds": tf.TensorSpec(axes, tf.float32),
        "path": tf.TensorSpec([], tf.string),
    }
    return tf.data.Dataset.from_generator(make, output_signature=signature).prefetch(tf.data.AUTOTUNE)


def _open(path: str | os.PathLike[str]) -> Any:
    try:
        import av
    except ImportError as error:
        raise ImportError('reading videos needs PyAV: install it with pip install "transfer-zoo[video]"') from error
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file. Expected a video file")
    try:
        container = av.open(os.fspath(path))
    except av.FFmpegError as error:
        raise ValueError(f"{path}: cannot be opened as a video: {error.strerror}") from error
    if not container.streams.video:
        container.close()
        raise ValueError(f"{path}: holds no video, only {', '.join(s.type for s in container.streams) or 'nothing'}")
    return container


def _announced(container: Any, stream: Any) -> float | None:
    """The length in seconds that the header announces, if it does."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration else None


class _Damaged:
    """How many packets could not be decoded, or only in part, and why the first could not."""

    def __init__(self) -> None:
        self.packets = 0
        self.first = ""

    def add(self, reason: str) -> None:
        self.first = self.first or reason
        self.packets += 1


def _decode(container: Any, stream: Any, damaged: _Damaged) -> Iterator[tuple[float, Any]]:
    """Time and frame, damaged ones left out."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:  # the file breaks off within a packet
            damaged.add(str(error.strerror))
            return
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            damaged.add(str(error.strerror))
            continue
        for frame in frames:
            if frame.is_corrupt:  # what is missing has been made up from its neighbours
                damaged.add("incomplete")
            elif frame.time is not None:
                yield float(frame.time), frame


def _image(frame: Any, size: tuple[int, int] | None) -> np.ndarray:
    """Upright RGB pixels of a decoded frame."""
    turns = round(frame.rotation / 90) % 4  # anticlockwise
    if size is not None:
        height, width = size if turns % 2 == 0 else size[::-1]
        frame = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR")
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
