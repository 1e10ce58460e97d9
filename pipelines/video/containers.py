"""Video files: opening them, what they say of themselves, and decoding."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Damage", "VideoInfo", "announced_seconds", "decoded_frames", "open_video", "upright_pixels", "video_info"]


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
    with open_video(path) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        return VideoInfo(
            (stream.height, stream.width), float(rate) if rate else None, announced_seconds(container, stream)
        )


def open_video(path: str | os.PathLike[str]) -> Any:
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


def announced_seconds(container: Any, stream: Any) -> float | None:
    """The length in seconds that the header announces, if it does."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1_000_000 if container.duration else None


class Damage:
    """How many packets could not be decoded, or only in part, and why the first could not."""

    def __init__(self) -> None:
        self.packets = 0
        self.first = ""

    def add(self, reason: str) -> None:
        self.first = self.first or reason
        self.packets += 1


def decoded_frames(container: Any, stream: Any, damaged: Damage) -> Iterator[tuple[float, Any]]:
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


def upright_pixels(frame: Any, size: tuple[int, int] | None) -> np.ndarray:
    """Upright RGB pixels of a decoded frame."""
    turns = round(frame.rotation / 90) % 4  # anticlockwise
    if size is not None:
        height, width = size if turns % 2 == 0 else size[::-1]
        frame = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR")
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
