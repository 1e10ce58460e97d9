"""Photos that are too large for one pass: overlapping tiles, whose outputs are blended into those of the whole photo.

A pixel near the border of a tile sees less of the photo than the network would see of the whole. So the outermost
pixels of a tile, its `margin`, count nothing, and from there on its weight rises towards its middle. With a margin of
at least the radius of the receptive field, blended outputs are those of one pass over the whole photo: whatever tile a
pixel is in, the same is seen around it. (Where a network halves sides, that holds for photos whose sides are multiples
of its stride: with others, where padding begins depends on the size.)

Outputs come in bands of finished rows, so that neither the photo nor its outputs have to be in memory at once.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["Tiling", "Window", "blend", "predict_tiles"]


@dataclass(frozen=True)
class Window:
    """A part of a photo.

    Args:
        top: First row.
        left: First column.
        bottom: Row after the last one.
        right: Column after the last one.
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """Returns this part of an array `[h, w, ...]`."""
        return pixels[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class Tiling:
    """How a photo is divided into tiles.

    Args:
        size: Height and width of the photo.
        tile: Height and width of a tile. Tiles at the right and lower edge may be smaller by less than `stride`, and a
            photo that is smaller than a tile is one tile.
        overlap: Number of pixels by which neighbouring tiles overlap at least.
        margin: Number of pixels at the borders of a tile that count nothing, where there is another tile. Defaults to
            a quarter of `overlap`.
        stride: Tiles begin at multiples of this number. With the stride of the network, its grid of features is that of
            the whole photo. Defaults to 1.

    Raises:
        ValueError: The overlap is not above twice the margin, tiles are not larger than the overlap and the stride, or
            sides of tiles are no multiples of the stride.

    Example:

    >>> tiling = Tiling((40, 100), (64, 64), overlap=16, stride=8)
    >>> tiling.windows
    (Window(top=0, left=0, bottom=40, right=64), Window(top=0, left=40, bottom=40, right=100))
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    overlap: int
    margin: int | None = None
    stride: int = 1

    def __post_init__(self) -> None:
        if self.margin is None:
            object.__setattr__(self, "margin", self.overlap // 4)
        if min(self.size) < 1 or self.stride < 1 or self._margin < 0:
            raise ValueError(f"expected a photo with pixels, a stride from 1 and a margin from 0, received {self}")
        if self.overlap <= 2 * self._margin:
            raise ValueError(
                f"expected an overlap of more than twice the margin, received overlap={self.overlap} and "
                f"margin={self._margin}: between the margins of two tiles, pixels would have no output"
            )
        if any(side % self.stride for side in self.tile):
            raise ValueError(f"expected tiles whose sides are multiples of {self.stride}, received {self.tile}")
        if min(self.tile) < self.overlap + self.stride:
            raise ValueError(
                f"expected tiles of {self.overlap + self.stride} pixels or more, received {self.tile}: smaller ones "
                f"do not get ahead with an overlap of {self.overlap} and a stride of {self.stride}"
            )

    @property
    def windows(self) -> tuple[Window, ...]:
        """The tiles, row by row."""
        height, width = self.size
        return tuple(
            Window(top, left, min(top + self.tile[0], height), min(left + self.tile[1], width))
            for top in self._starts(0)
            for left in self._starts(1)
        )

    def weights(self, window: Window) -> np.ndarray:
        """Returns how much each pixel of a tile counts, `float32 [h, w]`, 0 in the margins to other tiles.

        >>> Tiling((8, 12), (8, 8), overlap=5, margin=1).weights(Window(0, 0, 8, 8))[0].tolist()
        [1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
        """
        rows = self._ramp(window.top, window.bottom, self.size[0])
        columns = self._ramp(window.left, window.right, self.size[1])
        return (rows[:, None] * columns).astype(np.float32)

    @property
    def _margin(self) -> int:
        return self.margin or 0

    def _starts(self, axis: int) -> list[int]:
        length, tile = self.size[axis], self.tile[axis]
        if length <= tile:
            return [0]
        last = -(-(length - tile) // self.stride) * self.stride
        step = (tile - self.overlap) // self.stride * self.stride
        count = -(-last // step)
        # Evenly, so that tiles overlap as much as they can; rounding down keeps every step within the largest one.
        return [last * number // count // self.stride * self.stride for number in range(count)] + [last]

    def _ramp(self, start: int, stop: int, length: int) -> np.ndarray:
        """Returns the weights along one axis: they rise from 0 behind the margin to 1 at the end of the overlap."""
        rise = self.overlap - 2 * self._margin + 1
        at = np.arange(stop - start)
        weight = np.ones(stop - start)
        if start > 0:
            weight = np.minimum(weight, np.clip((at - self._margin + 1) / rise, 0, 1))
        if stop < length:
            weight = np.minimum(weight, np.clip((at[::-1] - self._margin + 1) / rise, 0, 1))
        return weight


def predict_tiles(
    predict: Callable[[np.ndarray], np.ndarray],
    read: Callable[[Window], np.ndarray],
    tiling: Tiling,
    *,
    batch_size: int = 4,
) -> Iterator[tuple[int, np.ndarray]]:
    """Gives the tiles of a photo to a network, and yields bands of blended outputs.

    Args:
        predict: Function from photos `[b, h, w, c]` to outputs of their size, `[b, h, w, ...]`.
        read: Function that returns the pixels of a window `[h, w, c]`: `lambda window: window.of(photo)`, or the method
            `read` of `pipelines.prepare.tiff_windows.TiffWindows`.
        tiling: How the photo is divided.
        batch_size: Number of tiles that go through the network together. Defaults to 4.

    Yields:
        The first row of a band, and its outputs, `float32 [rows, w, ...]`.

    Raises:
        ValueError: The network's outputs have another size than the photos.

    Example, of a network that doubles what it gets:

    >>> photo = np.arange(12.0).reshape(2, 6, 1)
    >>> tiling = Tiling((2, 6), (4, 4), overlap=2, margin=0)
    >>> [(top, band[..., 0].tolist()) for top, band in predict_tiles(lambda x: 2 * x, lambda w: w.of(photo), tiling)]
    [(0, [[0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [12.0, 14.0, 16.0, 18.0, 20.0, 22.0]])]
    """
    yield from blend(tiling, _outputs(predict, read, tiling, batch_size))


def blend(tiling: Tiling, outputs: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Blends outputs of tiles into bands of rows of the whole photo.

    Args:
        tiling: How the photo is divided.
        outputs: Outputs of the tiles in the order of `tiling.windows`, `[h, w, ...]` each.

    Yields:
        The first row of a band, and its outputs, `float32 [rows, w, ...]`.

    Raises:
        ValueError: An output has another size than its tile, or there are fewer or more outputs than tiles.
    """
    windows = tiling.windows
    total = weight = None
    first = 0  # row of the photo that is the first one of `total`
    for number, (window, output) in enumerate(zip(windows, outputs, strict=True)):
        if output.shape[:2] != window.size:
            raise ValueError(f"expected outputs of the size {window.size} of the tile, received {output.shape}")
        if total is None or weight is None:
            total = np.zeros((window.size[0], tiling.size[1], *output.shape[2:]), np.float32)
            weight = np.zeros((window.size[0], tiling.size[1]), np.float32)
        own = tiling.weights(window)
        columns = slice(window.left, window.right)
        total[:, columns] += output * own.reshape(*own.shape, *[1] * (output.ndim - 2))
        weight[:, columns] += own
        is_last = number + 1 == len(windows)
        if is_last or windows[number + 1].top > window.top:
            following = tiling.size[0] if is_last else windows[number + 1].top
            done = following - first
            yield first, total[:done] / weight[:done].reshape(done, -1, *[1] * (output.ndim - 2))
            if not is_last:
                rows = windows[number + 1].size[0]
                total, weight = _moved(total, done, rows), _moved(weight, done, rows)
                first = following


def _outputs(
    predict: Callable[[np.ndarray], np.ndarray], read: Callable[[Window], np.ndarray], tiling: Tiling, batch_size: int
) -> Iterator[np.ndarray]:
    """Yields the output of each tile; neighbours of one size go through the network together."""
    batch: list[np.ndarray] = []
    for window in tiling.windows:
        tile = np.asarray(read(window))
        if batch and (tile.shape != batch[0].shape or len(batch) == batch_size):
            yield from np.asarray(predict(np.stack(batch)))
            batch = []
        batch.append(tile)
    yield from np.asarray(predict(np.stack(batch)))


def _moved(rows: np.ndarray, done: int, count: int) -> np.ndarray:
    """Returns rows without the first ones that are done, followed by zeros."""
    moved = np.zeros((count, *rows.shape[1:]), rows.dtype)
    kept = rows[done : done + count]
    moved[: len(kept)] = kept
    return moved
