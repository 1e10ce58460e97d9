"""Writing of videos, frame by frame."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.outputs.durable import new_file

__all__ = ["VideoWriter"]

TURNING = (".mp4", ".m4v", ".mov")  # Files that can say by how much a player has to turn their frames.


class VideoWriter:
    """Writes upright frames into a video, as a context manager. The file appears when the block ends well.

    Args:
        path: The file. Its ending says the format, for example ".mp4", ".mkv" or ".avi".
        fps: Frames per second.
        rotation: By how many degrees, anticlockwise, the file asks players to turn its frames: 0, 90, 180 or -90. The
            frames that are given are upright all the same. Formats that cannot ask for it get upright frames.
        bit_rate: Bits per second. By default it follows from the size and the rate.

    Raises:
        ValueError: The rate is not above 0, or FFmpeg has no format of that ending.
        ImportError: The extra `video` is not installed.

    Example:

    >>> import tempfile
    >>> from pipelines import video_info
    >>> file = Path(tempfile.mkdtemp(), "a.mp4")
    >>> with VideoWriter(file, fps=10) as writer:
    ...     for shade in range(0, 200, 50):
    ...         writer.write(np.full((48, 80, 3), shade, np.uint8))
    >>> video_info(file)
    VideoInfo(size=(48, 80), fps=10.0, seconds=0.4)
    """

    def __init__(
        self, path: str | os.PathLike[str], *, fps: float, rotation: float = 0, bit_rate: int | None = None
    ) -> None:
        if not fps > 0:
            raise ValueError(f"expected frames per second above 0, got {fps!r}")
        self.path = Path(path)
        self.frames = 0
        self._rate = Fraction(fps).limit_denominator(1001)
        self._turns = round(rotation / 90) % 4 if self.path.suffix.lower() in TURNING else 0
        self._bit_rate = bit_rate
        self._new = new_file(self.path)
        self._stream: Any = None

    def __enter__(self) -> "VideoWriter":
        try:
            import av
        except ImportError as error:
            raise ImportError('videos are written with PyAV. Install it: pip install "transfer-zoo[video]"') from error
        name = os.fspath(self._new.__enter__())
        try:
            self._container = av.open(name, "w")
        except (av.FFmpegError, ValueError) as error:
            self._new.__exit__(type(error), error, None)
            raise ValueError(f"{self.path}: cannot be written as a video: {error}; try a name like out.mp4") from error
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if self._stream is not None and error[0] is None:
                self._container.mux(self._stream.encode())
            self._container.close()
        finally:
            self._new.__exit__(*error)

    def write(self, image: np.ndarray) -> None:
        """Writes the next frame.

        Args:
            image: Upright RGB, `uint8 [h, w, 3]`, of the same size each time. Sizes that are odd get one more row or
                column, since video has half as many colours as pixels in each direction.

        Raises:
            ValueError: The frame has another size than those before, or is no `uint8 [h, w, 3]`.
        """
        import av

        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(f"expected a frame uint8 [h, w, 3], got {image.dtype} {list(image.shape)}")
        pixels = np.rot90(image, -self._turns)
        height, width = pixels.shape[:2]
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        height, width = pixels.shape[:2]
        if self._stream is None:
            self._stream = self._new_stream(height, width)
        if (self._stream.height, self._stream.width) != (height, width):
            raise ValueError(
                f"expected a frame of {self._stream.height} x {self._stream.width}, got {height} x {width}"
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.pts = self.frames
        frame.time_base = 1 / self._rate
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def _new_stream(self, height: int, width: int) -> Any:
        import av

        fast = "libx264" in av.codecs_available and self.path.suffix.lower() != ".avi"
        stream = self._container.add_stream("libx264" if fast else "mpeg4", rate=self._rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        if fast and self._bit_rate is None:
            stream.options = {"preset": "veryfast", "crf": "23"}
        else:
            stream.bit_rate = self._bit_rate or max(400_000, int(height * width * float(self._rate) * 0.2))
        if self._turns:
            stream.set_display_rotation((90 * self._turns + 180) % 360 - 180)
        return stream
