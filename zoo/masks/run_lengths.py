"""Many masks as run lengths: where the pixels of each begin and end, column by column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from zoo.masks.compressed import compress, expand

__all__ = ["RunLengths", "as_run_lengths"]

# Number of ends of runs that are looked up at a time, which bounds the memory that comparing masks takes.
_AT_A_TIME = 1 << 21


@dataclass(frozen=True, eq=False)
class RunLengths:
    """Masks of any sizes. Pixels are numbered column by column, as COCO does: pixel (y, x) has the number x * h + y.

    Attributes:
        starts: Number of the first pixel of each run, int64 `[r]`: rising within a mask.
        ends: Number of the pixel after each run, int64 `[r]`.
        bounds: Mask i has the runs `bounds[i]` to `bounds[i + 1]`, int64 `[n + 1]`.
        sizes: Height and width of each mask, int64 `[n, 2]`.

    Example, of two masks:

    >>> masks = RunLengths.from_masks([[[0, 1], [1, 1]], [[1, 0], [0, 0]]])
    >>> masks.to_coco()
    [{'size': [2, 2], 'counts': '13'}, {'size': [2, 2], 'counts': '013'}]
    >>> masks.areas().tolist(), masks.boxes().tolist()
    ([3, 1], [[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    """

    starts: np.ndarray
    ends: np.ndarray
    bounds: np.ndarray
    sizes: np.ndarray

    @classmethod
    def from_masks(cls, masks: np.ndarray) -> "RunLengths":
        """Encodes masks `[n, h, w]`, bool or 0 and 1.

        Raises:
            ValueError: The shape is another one, or there are other values.
        """
        masks = np.asarray(masks)
        if masks.ndim != 3:
            raise ValueError(f"expected masks [n, h, w], received the shape {masks.shape}")
        if masks.dtype != bool and not ((masks == 0) | (masks == 1)).all():
            raise ValueError(f"expected masks of 0 and 1, received values from {masks.min()} to {masks.max()}")
        n, height, width = masks.shape
        flat = np.zeros((n, height * width + 2), np.int8)
        flat[:, 1:-1] = masks.transpose(0, 2, 1).reshape(n, height * width)
        steps = np.diff(flat, axis=1)
        mask, starts = np.nonzero(steps == 1)
        ends = np.nonzero(steps == -1)[1]
        return cls(starts, ends, _bounds(mask, n), np.tile(np.array([[height, width]], np.int64), (n, 1)))

    @classmethod
    def from_instances(cls, instances: np.ndarray, count: int | None = None) -> "RunLengths":
        """Encodes the objects of one map, without a mask for each.

        Args:
            instances: Numbers of the objects, integers `[h, w]`; mask i covers the pixels of value i + 1. Zeros and
                negative numbers are background.
            count: Number of masks. Defaults to the largest number in the map.

        >>> RunLengths.from_instances([[1, 2], [0, 2]]).to_coco(compressed=False)
        [{'size': [2, 2], 'counts': [0, 1, 3]}, {'size': [2, 2], 'counts': [2, 2]}]
        """
        instances = np.asarray(instances)
        count = int(max(instances.max(initial=0), 0)) if count is None else count
        flat = instances.T.reshape(-1)
        starts = np.flatnonzero(np.diff(flat)) + 1
        starts = np.concatenate([[0], starts]) if flat.size else starts
        ends = np.append(starts[1:], flat.size)
        number = flat[starts].astype(np.int64) - 1
        order = np.argsort(number, kind="stable")
        order = order[(number[order] >= 0) & (number[order] < count)]
        sizes = np.tile(np.array([instances.shape], np.int64), (count, 1))
        return cls(starts[order], ends[order], _bounds(number[order], count), sizes.reshape(count, 2))

    @classmethod
    def from_coco(cls, masks: Sequence[Mapping[str, Any]]) -> "RunLengths":
        """Reads COCO's run lengths, each `{"size": [h, w], "counts": ...}` with numbers or with compressed text.

        Raises:
            KeyError, TypeError, ValueError: They are not run lengths, or do not add up to their size.

        >>> RunLengths.from_coco([{"size": [2, 2], "counts": [1, 3]}]).masks().tolist()
        [[[False, True], [True, True]]]
        """
        sizes = np.array([tuple(mask["size"]) for mask in masks], np.int64).reshape(-1, 2)
        counts, lengths = _numbers([mask["counts"] for mask in masks])
        mask = np.repeat(np.arange(len(masks)), lengths)
        sums = np.concatenate([[0], np.cumsum(counts)])
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        totals = sums[bounds[1:]] - sums[bounds[:-1]]
        negative = np.zeros(len(masks), bool)
        negative[mask[counts < 0]] = True
        wrong = np.flatnonzero((totals != sizes[:, 0] * sizes[:, 1]) | negative | (sizes < 0).any(axis=1))
        if len(wrong):
            (height, width), total = sizes[wrong[0]].tolist(), int(totals[wrong[0]])
            which = f"; it is number {wrong[0]} of {len(masks)} masks" if len(masks) > 1 else ""
            below = ", some of them below 0" if negative[wrong[0]] else ""
            raise ValueError(
                f"expected run lengths that add up to {height}x{width} pixels, received {total}{below}{which}"
            )
        # Pixels are on in every second run of a mask.
        is_on = (np.arange(len(counts)) & 1).astype(bool) ^ np.repeat((bounds[:-1] & 1).astype(bool), lengths)
        on = np.flatnonzero(is_on)
        mask = mask[on]
        ends = sums[on + 1] - sums[bounds[:-1]][mask]
        starts = ends - counts[on]
        if np.isin(np.flatnonzero(counts == 0), bounds[:-1]).all():
            return cls(starts, ends, _bounds(mask, len(masks)), sizes)
        # Runs without a pixel are none, and those that touch, since nothing is off between them, are one.
        some = np.flatnonzero(ends > starts)
        starts, ends, mask = starts[some], ends[some], mask[some]
        is_first = np.ones(len(starts), bool)
        is_first[1:] = (starts[1:] != ends[:-1]) | (mask[1:] != mask[:-1])
        is_last = np.append(is_first[1:], True)[: len(ends)]
        return cls(starts[is_first], ends[is_last], _bounds(mask[is_first], len(masks)), sizes)

    @classmethod
    def concatenate(cls, parts: Sequence["RunLengths"]) -> "RunLengths":
        """Puts masks together, one part after the other."""
        if not parts:
            return cls.from_coco([])
        runs = np.concatenate([np.diff(part.bounds) for part in parts])
        return cls(
            np.concatenate([part.starts for part in parts]),
            np.concatenate([part.ends for part in parts]),
            np.concatenate([[0], np.cumsum(runs)]),
            np.concatenate([part.sizes for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, rows: Any) -> "RunLengths":
        """Returns the masks at `rows`: a slice, an array of integers, or one of booleans `[n]`."""
        chosen = np.arange(len(self))[rows].reshape(-1)
        runs, owner = self._runs_of(chosen)
        return RunLengths(self.starts[runs], self.ends[runs], _bounds(owner, len(chosen)), self.sizes[chosen])

    def to_coco(self, *, compressed: bool = True) -> list[dict[str, Any]]:
        """Returns COCO's run lengths, `{"size": [h, w], "counts": ...}` for each mask.

        Args:
            compressed: Whether counts are COCO's compressed text (`str`), or a list of numbers. Defaults to True.
        """
        n = len(self)
        runs = np.diff(self.bounds)
        totals = self.sizes[:, 0] * self.sizes[:, 1]
        last_end = np.zeros(n, np.int64)
        last_end[runs > 0] = self.ends[self.bounds[1:][runs > 0] - 1]
        rest = np.flatnonzero((last_end < totals) | (runs == 0))
        changes = np.concatenate([np.stack([self.starts, self.ends], axis=1).reshape(-1), totals[rest]])
        mask = np.concatenate([np.repeat(np.arange(n), 2 * runs), rest])
        order = np.argsort(mask, kind="stable")
        changes, mask = changes[order], mask[order]
        is_first = np.diff(mask, prepend=-1) > 0
        counts = np.where(is_first, changes, np.diff(changes, prepend=0))
        lengths = np.bincount(mask, minlength=n)
        if compressed:
            parts: list[Any] = list(compress(counts, lengths))
        else:
            parts = [part.tolist() for part in np.split(counts, np.cumsum(lengths)[:-1])] if n else []
        return [{"size": size, "counts": part} for size, part in zip(self.sizes.tolist(), parts, strict=True)]

    def masks(self) -> np.ndarray:
        """Decodes the masks, which have one size, `bool [n, h, w]`.

        Raises:
            ValueError: The sizes differ.
        """
        sizes = {tuple(size) for size in self.sizes.tolist()} or {(0, 0)}
        if len(sizes) > 1:
            raise ValueError(f"expected masks of one size to decode them together, received {sorted(sizes)}")
        ((height, width),) = sizes
        flat = np.zeros((len(self), height * width + 1), np.int8)
        mask = np.repeat(np.arange(len(self)), np.diff(self.bounds))
        flat[mask, self.starts] = 1
        flat[mask, self.ends] = -1
        on = np.cumsum(flat[:, :-1], axis=1, dtype=np.int8).astype(bool)
        return on.reshape(len(self), width, height).transpose(0, 2, 1)

    def areas(self) -> np.ndarray:
        """Returns the number of pixels of each mask, int64 `[n]`."""
        sums = np.concatenate([[0], np.cumsum(self.ends - self.starts)])
        return sums[self.bounds[1:]] - sums[self.bounds[:-1]]

    def boxes(self) -> np.ndarray:
        """Returns the smallest box (xyxy) around each mask, float64 `[n, 4]`; zeros for empty masks."""
        return self._boxes.copy()

    @cached_property
    def _boxes(self) -> np.ndarray:
        runs = np.diff(self.bounds)
        height = np.repeat(self.sizes[:, 0], runs)
        left, right = self.starts // np.maximum(height, 1), (self.ends - 1) // np.maximum(height, 1)
        is_long = right > left
        top = np.where(is_long, 0, self.starts - left * height)
        bottom = np.where(is_long, height, self.ends - right * height)
        boxes = np.zeros((len(self), 4))
        some = np.flatnonzero(runs)
        if len(some):
            first = self.bounds[some]
            for side, values in enumerate((left, top)):
                boxes[some, side] = np.minimum.reduceat(values, first)
            for side, values in enumerate((right + 1, bottom), start=2):
                boxes[some, side] = np.maximum.reduceat(values, first)
        return boxes

    def intersections(self, other: "RunLengths", rows: np.ndarray, other_rows: np.ndarray) -> np.ndarray:
        """Counts the pixels that pairs of masks share, int64 `[p]`.

        Args:
            other: Masks to compare with.
            rows: The mask of each pair, int `[p]`.
            other_rows: The other mask of each pair, int `[p]`.

        Raises:
            ValueError: The masks of a pair have different sizes.
        """
        rows, other_rows = np.asarray(rows, np.int64), np.asarray(other_rows, np.int64)
        differs = np.flatnonzero((self.sizes[rows] != other.sizes[other_rows]).any(axis=1))
        if len(differs):
            size, other_size = self.sizes[rows[differs[0]]].tolist(), other.sizes[other_rows[differs[0]]].tolist()
            raise ValueError(f"expected masks of one image to have one size (h, w), received {size} and {other_size}")
        a, b = self._boxes[rows], other._boxes[other_rows]
        touching = np.flatnonzero((np.minimum(a[:, 2:], b[:, 2:]) > np.maximum(a[:, :2], b[:, :2])).all(axis=1))
        shared = np.zeros(len(rows), np.int64)
        asked, known, at, known_at = self, other, rows[touching], other_rows[touching]
        if np.diff(self.bounds)[at].sum() > np.diff(other.bounds)[known_at].sum():
            asked, known, at, known_at = other, self, known_at, at

        # Pixels below x in a mask: those of its runs before the one that begins last below x, and a part of that one.
        # The runs of all masks are looked up at once, since each mask has a range of numbers to itself.
        stride = int((known.sizes[:, 0] * known.sizes[:, 1]).max(initial=0)) + 1
        keys = known.starts + np.repeat(np.arange(len(known)) * stride, np.diff(known.bounds))
        lengths = known.ends - known.starts
        after = np.concatenate([[0], np.cumsum(lengths)])
        shift = np.concatenate([[0], after[:-1] - keys])

        def below(numbers: np.ndarray) -> np.ndarray:
            run = np.searchsorted(keys, numbers, side="right")
            return np.minimum(after[run], shift[run] + numbers)

        done = np.cumsum(np.diff(asked.bounds)[at])
        for part in np.split(np.arange(len(at)), np.flatnonzero(np.diff(done // _AT_A_TIME)) + 1):
            runs, owner = asked._runs_of(at[part])
            first = known_at[part][owner] * stride
            pixels = below(first + asked.ends[runs]) - below(first + asked.starts[runs])
            # Sums of whole numbers in float64 are exact below 2**53.
            shared[touching[part]] = np.bincount(owner, pixels, minlength=len(part)).astype(np.int64)
        return shared

    def iou(self, other: "RunLengths", crowd: Sequence[bool] | np.ndarray | None = None) -> np.ndarray:
        """Computes the IoU of every mask with every other one, float64 `[n, m]`.

        Args:
            other: m masks of the same image.
            crowd: Which of the other masks are crowds, bool `[m]`. Against a crowd it is the fraction of the mask that
                lies inside of it. Defaults to none.

        Raises:
            ValueError: The sizes differ.

        >>> masks = RunLengths.from_masks([[[1, 1], [0, 0]], [[1, 0], [1, 0]]])
        >>> masks.iou(masks).round(3).tolist(), masks.iou(masks, crowd=[True, False]).round(3).tolist()
        ([[1.0, 0.333], [0.333, 1.0]], [[1.0, 0.333], [0.5, 1.0]])
        """
        rows, other_rows = (grid.reshape(-1) for grid in np.indices((len(self), len(other))))
        is_crowd = np.zeros(len(other), bool) if crowd is None else np.asarray(crowd, bool)
        return self.overlap_of_pairs(other, rows, other_rows, is_crowd[other_rows]).reshape(len(self), len(other))

    def overlap_of_pairs(
        self, other: "RunLengths", rows: np.ndarray, other_rows: np.ndarray, crowd: np.ndarray
    ) -> np.ndarray:
        """Computes the IoU of pairs of masks, or the fraction inside of a crowd (`iou`), float64 `[p]`."""
        shared = self.intersections(other, rows, other_rows)
        area = self.areas()[rows]
        whole = np.where(crowd, area, area + other.areas()[other_rows] - shared)
        return np.divide(shared, whole, out=np.zeros(len(shared)), where=shared > 0)

    def _runs_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the runs of some masks, one mask after the other, and to which of the rows each belongs."""
        lengths = np.diff(self.bounds)[rows]
        owner = np.repeat(np.arange(len(rows)), lengths)
        return np.arange(len(owner)) + np.repeat(self.bounds[rows] - (np.cumsum(lengths) - lengths), lengths), owner


def as_run_lengths(masks: Sequence[Any]) -> RunLengths:
    """Returns the masks of several images as one `RunLengths`.

    Args:
        masks: For each image its masks: `RunLengths`, or COCO's run lengths (a list of dicts), or bool `[n, h, w]`.

    >>> as_run_lengths([np.ones((1, 2, 3), bool), [{"size": [1, 2], "counts": [0, 2]}]]).areas().tolist()
    [6, 2]
    """
    parts: list[RunLengths] = []
    entries: list[Mapping[str, Any]] = []  # all images' entries are read together, which is faster

    def flush() -> None:
        if entries:
            parts.append(RunLengths.from_coco(entries))
            entries.clear()

    for some in masks:
        if isinstance(some, RunLengths):
            flush()
            parts.append(some)
        elif len(some) and isinstance(some[0], Mapping):
            entries.extend(some)
        elif len(some):
            flush()
            parts.append(RunLengths.from_masks(some))
    flush()
    return RunLengths.concatenate(parts)


def _numbers(counts: Sequence[str | bytes | Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns run lengths, one mask after the other, and how many of them each has."""
    if {str, bytes}.issuperset(map(type, counts)):
        return expand(counts)  # type: ignore[arg-type]
    parts = [
        expand([part])[0] if isinstance(part, str | bytes) else np.array([int(count) for count in part], np.int64)
        for part in counts
    ]
    return np.concatenate(parts), np.array([len(part) for part in parts], np.int64)


def _bounds(mask: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(mask, minlength=count))]).astype(np.int64)
