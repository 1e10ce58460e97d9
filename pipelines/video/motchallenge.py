"""Reading and writing of MOTChallenge's text files: ground truth, detections, and tracks.

A line is one box: the frame, counted from 1; the identity; left, top, width and height in pixels; a score, or in ground
truth a 1 where the object counts and a 0 where it does not; and further columns. MOTChallenge 2015 ends with three
coordinates in the world; later years end with a class and with the share that is visible.

Source: Leal-Taixé et al. 2015, "MOTChallenge 2015"; Milan et al. 2016, "MOT16: A Benchmark for Multi-Object Tracking",
tables 3 and 4.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data import Fault
from pipelines.outputs.durable import new_file

__all__ = ["MotWriter", "read_motchallenge", "write_motchallenge"]

PEDESTRIAN = 1
# Classes that are no pedestrians and look like some: a track on one of them is neither right nor wrong.
IGNORED = (2, 7, 8, 12)


def read_motchallenge(
    path: str | os.PathLike[str],
    *,
    truth: bool = False,
    frames: int | None = None,
    faults: list[Fault] | None = None,
) -> list[dict[str, np.ndarray]]:
    """Reads a file of boxes, one dict per frame.

    Args:
        path: The file.
        truth: Whether it is ground truth: lines that do not count are then left out, and so are classes other than
            pedestrians where there are classes. Those that look like pedestrians become `ignored`.
        frames: Number of frames. Defaults to the last frame of the file.
        faults: List to which lines that cannot be read are added; the others are read. Without it they are refused.

    Returns:
        For each frame, from the first one on: `boxes` xyxy, float64 `[n, 4]`, `identities` int64 `[n]`, `scores`
        float64 `[n]`, and of ground truth `ignored` bool `[n]`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is not a line of such a file, or a frame lies behind `frames`.
    """
    rows = list(_rows(Path(path), frames, faults))
    table = np.array([row[:8] for _, row in rows], np.float64).reshape(-1, 8)
    ignored = np.zeros(len(table), bool)
    if truth:
        classed = np.array([columns == 9 for columns, _ in rows], bool)
        kept = (table[:, 6] != 0) & (~classed | (table[:, 7] == PEDESTRIAN))
        ignored = classed & np.isin(table[:, 7], IGNORED)
        kept |= ignored
        table, ignored = table[kept], ignored[kept]
    count = frames if frames is not None else max((int(row[0]) for _, row in rows), default=0)
    order = np.argsort(table[:, 0], kind="stable")
    table, ignored = table[order], ignored[order]
    ends = np.searchsorted(table[:, 0], np.arange(count + 1), side="right")
    samples = []
    for begin, end in itertools.pairwise(ends.tolist()):
        part = table[begin:end]
        sample = {
            "boxes": np.concatenate([part[:, 2:4], part[:, 2:4] + part[:, 4:6]], axis=1),
            "identities": part[:, 1].astype(np.int64),
            "scores": part[:, 6],
        }
        samples.append(sample | ({"ignored": ignored[begin:end]} if truth else {}))
    return samples


def _rows(path: Path, frames: int | None, faults: list[Fault] | None) -> Iterator[tuple[int, list[float]]]:
    """Yields the number of columns of each line, and its first eight numbers."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                cells = line.replace(",", " ").split()
                yield len(cells), _numbers(cells, frames)
            except ValueError as error:
                fault = Fault(os.fspath(path), f"{error}; left out", line=number, kind="broken")
                if faults is None:
                    raise ValueError(f"{fault.place}: {error}") from None
                faults.append(fault)


def _numbers(cells: list[str], frames: int | None) -> list[float]:
    if len(cells) < 6:
        raise ValueError(f"expected frame, identity, left, top, width and height, got {len(cells)} columns")
    numbers = [float(cell) for cell in cells[:8]]
    numbers += [1.0, -1.0][len(numbers) - 6 :]
    if not np.isfinite(numbers).all():
        raise ValueError(f"expected finite numbers, got {', '.join(cells)}")
    frame, identity = numbers[:2]
    if frame < 1 or frame % 1 or identity % 1:
        raise ValueError(f"expected a frame from 1 on and a whole identity, got {cells[0]} and {cells[1]}")
    if frames is not None and frame > frames:
        raise ValueError(f"expected frames up to {frames}, got frame {cells[0]}")
    return numbers


def write_motchallenge(path: str | os.PathLike[str], frames: Iterable[Mapping[str, Any]]) -> int:
    """Writes tracks as MOTChallenge takes results.

    Args:
        path: The file. It appears when all is written; an earlier one is replaced.
        frames: For each frame, from the first one on, a dict with `boxes` `[n, 4]` (xyxy), `identities` `[n]`, and
            optionally `scores` `[n]`. They may come from a generator.

    Returns:
        Number of lines.

    Example:

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "tracks.txt")
    >>> write_motchallenge(file, [{"boxes": [[10, 20, 30, 60]], "identities": [7]}])
    1
    >>> file.read_text()
    '1,7,10,20,20,40,1,-1,-1,-1\\n'
    """
    with MotWriter(path) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.lines


class MotWriter:
    """Writes tracks frame by frame, as a context manager. The file appears under its name when the block ends well.

    Attributes:
        lines: Number of lines that were written.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.lines = 0
        self._frame = 0
        self._new = new_file(Path(path))

    def __enter__(self) -> "MotWriter":
        self._file = self._new.__enter__().open("w", encoding="utf-8")
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()
        self._new.__exit__(*error)

    def write(self, sample: Mapping[str, Any]) -> None:
        """Writes the next frame; see `write_motchallenge`."""
        self._frame += 1
        boxes = np.asarray(sample["boxes"], np.float64).reshape(-1, 4)
        identities = np.asarray(sample["identities"], np.int64).reshape(-1)
        scores = np.asarray(sample.get("scores", np.ones(len(boxes))), np.float64).reshape(-1)
        for (left, top, right, bottom), identity, score in zip(boxes.tolist(), identities, scores, strict=True):
            numbers = (left, top, right - left, bottom - top, score)
            cells = ",".join(f"{round(number, 3):.10g}" for number in numbers)
            self._file.write(f"{self._frame},{identity},{cells},-1,-1,-1\n")
            self.lines += 1
