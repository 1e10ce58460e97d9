"""What frames come from: a video file, a folder of pictures in order, or a camera."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.data import Fault
from pipelines.prepare.photos import decode
from pipelines.sources.image_files import IMAGE_SUFFIXES, images_in
from pipelines.video.containers import upright_pixels, video_info
from pipelines.video.frames import Frame, read_frames

__all__ = ["VideoSource", "open_source"]

USUAL_RATE = 25.0  # Frames per second of pictures that say nothing about it.


@dataclass(frozen=True, eq=False)
class VideoSource:
    """Frames of one size, one after the other.

    Attributes:
        frames: The frames. They are read as they are taken, and none is kept.
        fps: Frames per second.
        length: Number of frames, as far as it is known: an estimate of a header.
    """

    frames: Iterator[Frame]
    fps: float
    length: int | None


def open_source(
    source: str | os.PathLike[str],
    *,
    fps: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    faults: list[Fault] | None = None,
) -> VideoSource:
    """Opens a video file, a folder of pictures (in the order of the numbers in their names), or a camera by its number.

    Where the size of the frames changes in the middle, the later ones are resized to that of the first, and this is
    reported. So is what is damaged; the rest is read.

    Args:
        source: A path, or the number of a camera, such as "0".
        fps: Frames per second that are taken of a video; for pictures, at which they were taken. By default every frame
            of a video is taken once, and pictures count as 25 a second.
        start: Time in seconds of the first frame. Defaults to 0.
        end: Time in seconds before which frames are read. Defaults to the end.
        faults: List to which problems are added. By default they are warnings.

    Raises:
        FileNotFoundError: There is no such file, folder or camera.
        ValueError: It holds no video and no pictures, or `fps`, `start` or `end` is out of its range.
        ImportError: The extra `video` is not installed.
    """
    faults = [] if faults is None else faults
    path = Path(source)
    frames: Iterator[Frame]
    length: int | None
    if path.is_dir():
        rate = USUAL_RATE if fps is None else fps
        pictures = sorted(images_in(path), key=_by_number)
        if not pictures:
            found = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
            raise ValueError(f"{path} holds no pictures ({', '.join(IMAGE_SUFFIXES)}), but {found}")
        if not rate > 0 or start < 0 or (end is not None and end <= start):
            raise ValueError(f"expected fps above 0 and 0 <= start < end, got fps={rate}, start={start}, end={end}")
        last = len(pictures) if end is None else min(len(pictures), int(np.ceil(end * rate - 1e-6)))
        first = int(np.ceil(start * rate - 1e-6))
        frames, length = _pictures(pictures[first:last], first, rate, faults), max(0, last - first)
    elif str(source).isdecimal() and not path.exists():
        frames, rate, length = _camera(int(str(source)), fps)
    else:
        info = video_info(path)
        rate = fps or info.fps or USUAL_RATE
        seconds = None if info.seconds is None else min(info.seconds, end or info.seconds) - start
        length = None if seconds is None else max(0, round(seconds * rate))
        frames = read_frames(path, fps=fps, start=start, end=end, faults=faults)
    return VideoSource(_of_one_size(frames, os.fspath(source), faults), rate, length)


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Returns what sorts names as people count: 2 before 10."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", path.name)]


def _pictures(paths: list[Path], first: int, rate: float, faults: list[Fault]) -> Iterator[Frame]:
    for index, path in enumerate(paths):
        try:
            image = decode(path.read_bytes())
        except (OSError, ValueError) as error:
            faults.append(Fault(os.fspath(path), f"cannot be read: {error}; left out", kind="unreadable image"))
            continue
        yield Frame(image, (first + index) / rate, index)


def _camera(number: int, fps: float | None) -> tuple[Iterator[Frame], float, None]:
    device = f"/dev/video{number}"
    if not Path(device).exists():
        raise FileNotFoundError(f"there is no camera {number} ({device}), and no file or folder named {number}")
    try:
        import av
    except ImportError as error:
        raise ImportError('cameras are read with PyAV. Install it with pip install "transfer-zoo[video]"') from error
    try:
        container = av.open(device, format="v4l2", options={} if fps is None else {"framerate": str(fps)})
    except av.FFmpegError as error:
        raise ValueError(f"the camera {device} cannot be opened: {error.strerror}") from error
    rate = float(container.streams.video[0].average_rate or USUAL_RATE)
    return _taken(container), rate, None


def _taken(container: Any) -> Iterator[Frame]:
    with container:
        first = None
        for index, picture in enumerate(container.decode(video=0)):
            first = picture.time if first is None else first
            yield Frame(upright_pixels(picture, None), float(picture.time - first), index)


def _of_one_size(frames: Iterator[Frame], name: str, faults: list[Fault]) -> Iterator[Frame]:
    """Yields frames of the size of the first one."""
    size = last = None
    for frame in frames:
        now = frame.image.shape[:2]
        size = now if size is None else size
        if last is not None and now != last:
            faults.append(
                Fault(
                    name,
                    f"the size changes from {last[0]} x {last[1]} to {now[0]} x {now[1]} (height x width) at "
                    f"{frame.seconds:.2f} s; all frames are resized to {size[0]} x {size[1]}",
                    kind="other size",
                    kept=True,
                )
            )
        last = now
        if now != size:
            picture = Image.fromarray(frame.image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
            frame = Frame(np.asarray(picture), frame.seconds, frame.index, frame.rotation)
        yield frame
