"""Opening and decoding of video files with PyAV (FFmpeg), which the extra `video` installs."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "Damage",
    "VideoInfo",
    "announced_seconds",
    "decoded_frames",
    "first_seconds",
    "frame_rate",
    "open_video",
    "upright_pixels",
    "video_info",
    "video_stream",
]


@dataclass(frozen=True)
class VideoInfo:
    """What the header of a video says.

    Attributes:
        size: Height and width of the frames as they are stored, in pixels.
        fps: Frames per second, or None if the header does not say it.
        seconds: Length in seconds, or None if the header does not say it.
    """

    size: tuple[int, int]
    fps: float | None
    seconds: float | None


def video_info(path: str | os.PathLike[str]) -> VideoInfo:
    """Reads the header of a video, without decoding it.

    Args:
        path: Video file of any format that FFmpeg reads.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a video.
        ImportError: The extra `video` is not installed.
    """
    with open_video(path) as container:
        stream = video_stream(container)
        rate = stream.average_rate
        return VideoInfo((stream.height, stream.width), float(rate) if rate else None, announced_seconds(container))


def open_video(path: str | os.PathLike[str]) -> Any:
    """Opens a video file, and returns PyAV's container.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a video.
        ImportError: The extra `video` is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError('videos are read with PyAV. Install it with pip install "transfer-zoo[video]"') from error
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file. Expected a video file")
    try:
        container = av.open(os.fspath(path))
    except av.FFmpegError as error:
        raise ValueError(f"{path}: cannot be opened as a video: {error.strerror}") from error
    stream = video_stream(container)
    if stream is None:
        kinds = ", ".join("cover picture" if _is_cover(one) else one.type for one in container.streams)
        container.close()
        raise ValueError(f"{path}: holds no video, only {kinds or 'nothing'}")
    if stream.codec_context is None:
        container.close()
        raise ValueError(f"{path}: its video is of a kind (codec) that the installed FFmpeg cannot decode")
    return container


def video_stream(container: Any) -> Any:
    """Returns the first video stream of a container that is no cover picture, or None if there is none."""
    return next((stream for stream in container.streams.video if not _is_cover(stream)), None)


def _is_cover(stream: Any) -> bool:
    import av

    return stream.type == "video" and bool(stream.disposition & av.stream.Disposition.attached_pic)


def announced_seconds(container: Any) -> float | None:
    """Returns the length of the video in seconds that the header announces, or None if it does not.

    The length of the whole file counts only where there is nothing but the video in it: sound may be longer.
    """
    stream = video_stream(container)
    if stream.duration:
        return float(stream.duration * stream.time_base)
    hours, minutes, seconds = (*stream.metadata.get("DURATION", "").split(":"), "", "")[:3]  # of Matroska and WebM
    try:
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - first_seconds(stream)
    except ValueError:
        only = len(container.streams) == 1
        return container.duration / 1_000_000 if container.duration and only else None


def first_seconds(stream: Any) -> float:
    """Returns the time stamp in seconds at which a stream begins."""
    return float((stream.start_time or 0) * stream.time_base)


def frame_rate(stream: Any) -> float:
    """Returns the frames per second of a stream, or FFmpeg's usual 25 if it does not say it."""
    return float(stream.average_rate or stream.guessed_rate or 25)


class Damage:
    """A record of damaged packets.

    Attributes:
        packets: Number of packets that could not be decoded, or only in part.
        first: The reason for the first of them.
    """

    def __init__(self) -> None:
        self.packets = 0
        self.first = ""

    def add(self, reason: str) -> None:
        self.first = self.first or reason
        self.packets += 1


def decoded_frames(
    container: Any, stream: Any, damage: Damage, *, since: float | None = None
) -> Iterator[tuple[float | None, Any]]:
    """Yields the time in seconds and the frame of each frame that is not damaged.

    Args:
        container: Container of PyAV.
        stream: Video stream of the container.
        damage: Record to which damaged packets are added.
        since: Time stamp before which damage does not count. After a jump into the middle of a video, frames may lack
            those that they are made from.

    Yields:
        Times and frames. The time is None where the file has no time stamps.
    """
    import av

    def add(seconds: Any, reason: str) -> None:
        if since is None or (seconds is not None and seconds >= since):
            damage.add(reason)

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:  # the file ends within a packet
            damage.add(str(error.strerror))
            return
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            add(None if packet.pts is None else packet.pts * packet.time_base, str(error.strerror))
            continue
        for frame in frames:
            if frame.is_corrupt:  # FFmpeg has filled the missing parts from other frames
                add(frame.time, "incomplete")
            else:
                yield None if frame.time is None else float(frame.time), frame


def upright_pixels(frame: Any, size: tuple[int, int] | None) -> np.ndarray:
    """Returns the pixels of a decoded frame.

    Args:
        frame: Frame of PyAV.
        size: Height and width to which the upright frame is scaled, or None.

    Returns:
        `uint8 [h, w, 3]`, upright RGB.
    """
    turns = round(frame.rotation / 90) % 4  # anticlockwise
    if size is not None:
        height, width = size if turns % 2 == 0 else size[::-1]
        frame = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR")
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
