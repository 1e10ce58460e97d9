"""Windows of a TIFF file that is too large for the memory, such as a slide of a microscope or a satellite's image."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pipelines.prepare.tiles import Window

__all__ = ["TiffWindows", "write_tiff"]

# Bytes of decoded parts of the file that are kept, since neighbouring windows need the same ones.
_KEPT_BYTES = 256 << 20


class TiffWindows:
    """Reads windows of the first image in a TIFF file, and decodes only the tiles or strips that they touch.

    Use it in a `with` statement, or call `close`.

    Args:
        path: The file: one channel or more, all of one pixel side by side.
        kept_bytes: Bytes of decoded parts that are kept. Defaults to 256 MiB.

    Attributes:
        size: Height and width of the image.
        channels: Number of channels.
        dtype: The dtype of the pixels.

    Raises:
        ImportError: tifffile is not installed.
        FileNotFoundError: There is no such file.
        ValueError: The file is no TIFF, or its channels are stored one after the other.

    Example:

    >>> import tempfile, tifffile
    >>> pixels = np.arange(64 * 48 * 3, dtype=np.uint8).reshape(64, 48, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.tif")
    ...     tifffile.imwrite(path, pixels, tile=(16, 32), photometric="rgb")
    ...     with TiffWindows(path) as photo:
    ...         part = photo.read(Window(10, 20, 40, 48))
    >>> bool((part == pixels[10:40, 20:48]).all()), photo.size
    (True, (64, 48))
    """

    def __init__(self, path: str | Path, *, kept_bytes: int = _KEPT_BYTES) -> None:
        tifffile = _tifffile()
        try:
            self._file = tifffile.TiffFile(path)
        except tifffile.TiffFileError as error:
            raise ValueError(f"{path}: expected a TIFF file: {error}") from error
        page = self._file.pages[0]
        self.size = (int(page.imagelength), int(page.imagewidth))
        self.channels = int(page.samplesperpixel)
        self.dtype = np.dtype(page.dtype)
        self._page: Any = page
        if self.channels > 1 and page.planarconfig != 1:
            self._file.close()
            raise ValueError(
                f"{path}: expected the channels of a pixel side by side, and they are stored one after the other "
                "(planar configuration 2)"
            )
        is_tiled = page.is_tiled
        self._part = (int(page.tilelength), int(page.tilewidth)) if is_tiled else (int(page.rowsperstrip), self.size[1])
        self._parts: OrderedDict[int, np.ndarray] = OrderedDict()
        self._most = max(1, kept_bytes // max(1, self._part[0] * self._part[1] * self.channels * self.dtype.itemsize))

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window, `[h, w, channels]`.

        Raises:
            ValueError: The window reaches out of the image, or a part of the file cannot be decoded.
        """
        inside = 0 <= window.top < window.bottom <= self.size[0] and 0 <= window.left < window.right <= self.size[1]
        if not inside:
            raise ValueError(f"expected a window within {self.size} (height, width), received {window}")
        pixels = np.zeros((*window.size, self.channels), self.dtype)
        height, width = self._part
        per_row = -(-self.size[1] // width)
        for row in range(window.top // height, -(-window.bottom // height)):
            for column in range(window.left // width, -(-window.right // width)):
                part = self._decoded(row * per_row + column)
                top, left = max(window.top, row * height), max(window.left, column * width)
                bottom = min(window.bottom, row * height + part.shape[0])
                right = min(window.right, column * width + part.shape[1])
                pixels[top - window.top : bottom - window.top, left - window.left : right - window.left] = part[
                    top - row * height : bottom - row * height, left - column * width : right - column * width
                ]
        return pixels

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> "TiffWindows":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _decoded(self, index: int) -> np.ndarray:
        """Returns a tile or strip, `[h, w, channels]`."""
        if index in self._parts:
            self._parts.move_to_end(index)
            return self._parts[index]
        page, handle = self._page, self._file.filehandle
        handle.seek(page.dataoffsets[index])
        data = handle.read(page.databytecounts[index]) if page.databytecounts[index] else None
        options = {"jpegtables": page.jpegtables} if page.jpegtables is not None else {}
        decoded, _, shape = page.decode(data, index, **options)
        if decoded is None:  # a tile without data is empty
            decoded = np.zeros(shape, self.dtype)
        part = decoded.reshape(*decoded.shape[-3:-1], self.channels)
        self._parts[index] = part
        while len(self._parts) > self._most:
            self._parts.popitem(last=False)
        return part


def write_tiff(
    path: str | Path, bands: Iterable[tuple[int, np.ndarray]], size: tuple[int, int], *, dtype: Any = np.uint8
) -> None:
    """Writes bands of rows to a tiled and compressed TIFF file, one row of tiles after another.

    Args:
        path: The file.
        bands: First row and pixels `[rows, w]` of each band, from the top to the bottom, without gaps.
        size: Height and width of the image.
        dtype: The dtype of the file. Defaults to uint8.

    Raises:
        ImportError: tifffile is not installed.
        ValueError: Bands are missing, or have another width.
    """
    tifffile = _tifffile()
    tifffile.imwrite(
        path,
        _tiles(bands, size, np.dtype(dtype)),
        shape=size,
        dtype=dtype,
        tile=(_TILE, _TILE),
        compression="zlib",
        photometric="minisblack",
        bigtiff=size[0] * size[1] * np.dtype(dtype).itemsize > 1 << 31,
    )


_TILE = 256


def _tiles(bands: Iterable[tuple[int, np.ndarray]], size: tuple[int, int], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Yields tiles row by row; those at the edges are filled up with zeros."""
    height, width = size
    rows = np.zeros((0, width), dtype)
    done = 0

    def cut(rows: np.ndarray) -> Iterator[np.ndarray]:
        for left in range(0, width, _TILE):
            tile = np.zeros((_TILE, _TILE), dtype)
            part = rows[:, left : left + _TILE]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile

    for top, band in bands:
        if top != done + len(rows) or band.shape[1:] != (width,):
            raise ValueError(
                f"expected the band from row {done + len(rows)}, {width} pixels wide, received one from row {top} of "
                f"the shape {band.shape}"
            )
        rows = np.concatenate([rows, band.astype(dtype)])
        while len(rows) >= _TILE:
            yield from cut(rows[:_TILE])
            rows, done = rows[_TILE:], done + _TILE
    if done + len(rows) != height:
        raise ValueError(f"expected bands of {height} rows, received {done + len(rows)}")
    if len(rows):
        yield from cut(rows)


def _tifffile() -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise ImportError(
            "large TIFF files are read with tifffile, which is not installed: pip install 'transfer-zoo[tiff]'"
        ) from error
    return tifffile
