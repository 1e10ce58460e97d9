"""Clips of videos, and tf.data data sets of frames and clips."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.data import Fault
from pipelines.video.containers import open_video
from pipelines.video.frames import Frame, read_frames

__all__ = ["Clip", "read_clips", "video_dataset"]


@dataclass(frozen=True, eq=False)
class Clip:
    """Successive frames of a video.

    Attributes:
        images: `uint8 [t, h, w, 3]`, upright RGB.
        seconds: Times of the frames in seconds from the start of the video, `float64 [t]`.
        index: Number of the clip among the clips that are read, from 0.
    """

    images: np.ndarray
    seconds: np.ndarray
    index: int


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
    """Reads clips of successive frames of a video. Frames at the end that do not fill a clip are left out.

    The arguments that are not listed here are those of `pipelines.read_frames`.

    Args:
        path: Video file of any format that FFmpeg reads.
        length: Number of frames in a clip.
        stride: Number of frames between the beginnings of two clips. Defaults to `length`.

    Yields:
        `Clip`s.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: `length` or `stride` is below 1, the file is not a video, or another argument is out of its range.
        ImportError: The extra `video` is not installed.
    """
    stride = length if stride is None else stride
    if length < 1 or stride < 1:
        raise ValueError(f"read_clips: expected `length` and `stride` of 1 or more, received {length} and {stride}")
    frames = read_frames(path, fps=fps, start=start, end=end, size=size, faults=faults, strict=strict)
    return _clips(frames, length, stride)


def _clips(frames: Iterator[Frame], length: int, stride: int) -> Iterator[Clip]:
    window: list[Frame] = []
    count = 0
    skip = 0  # frames between clips, if the stride is longer than a clip
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
    """Makes a data set of the frames or clips of several videos, one video after the other.

    Args:
        paths: Video files.
        fps: Frames per second (`pipelines.read_frames`). Defaults to every frame once.
        clip_length: Number of frames in a clip. By default the data set holds single frames.
        stride: Number of frames between the beginnings of two clips. Defaults to `clip_length`.
        size: Height and width to which the upright frames are scaled. Videos of several sizes need it to be batched.
            Defaults to the size of each video.
        strict: Whether to raise an error at the first problem of a file, instead of a warning.

    Returns:
        A `tf.data.Dataset` of dicts: `image` `uint8 [h, w, 3]` (or `[t, h, w, 3]` for clips), `seconds` `float32 []`
        (or `[t]`), and `path`.

    Raises:
        FileNotFoundError: A file does not exist. All files are checked before the first is read.
        ValueError: A file is not a video.
        ImportError: The extra `video` is not installed.
    """
    import tensorflow as tf

    files = [os.fspath(path) for path in paths]
    for file in files:
        open_video(file).close()
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
