"""The lines of YOLO's text files, and what their columns mean.

The first column is the class. What follows depends on the task and on the tool that wrote the file: a box; a polygon; a
box and key points; a box, the confidence of a prediction, and the number of a track. The columns do not say which, so
that it is decided once for a whole data set: by `kpt_shape` in its description, and by columns that can be no
coordinates.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.annotations.drafts import Found
from pipelines.annotations.faults import Log
from pipelines.annotations.outlines import outline_box
from pipelines.annotations.values import whole_number

__all__ = ["Columns", "columns_of", "read_objects"]

_BOX = 5  # columns: the class, and four numbers


@dataclass(frozen=True)
class Columns:
    """What the columns mean that follow the class and the four numbers of a box.

    Attributes:
        key_points: Number of columns of key points, or 0.
        tracks: Whether the sixth column is a confidence and the seventh the number of a track.
    """

    key_points: int = 0
    tracks: bool = False

    def meaning(self, count: int) -> str | None:
        """Returns what a line of this many columns is: "box", "polygon", or None for neither."""
        if count in (_BOX, _BOX + 1):
            return "box"
        if self.key_points:
            return "box" if count == _BOX + self.key_points else None
        if self.tracks:
            return "box" if count == _BOX + 2 else None
        return "polygon" if count >= 7 and count % 2 == 1 else None


def columns_of(texts: Iterable[str], shape: Any, place: Path, log: Log) -> Columns:
    """Decides what the columns of a data set mean, and notes what is not read.

    Args:
        texts: The contents of all text files.
        shape: `kpt_shape` of the description (number of points, and 2 or 3 numbers for each), or None.
        place: The description or the folder, for messages.
        log: Log to which the note is added.

    Raises:
        ValueError: `kpt_shape` is not two numbers.
    """
    if shape:
        try:
            points, numbers = (whole_number(side) for side in shape)
            if points < 1 or numbers not in (2, 3):
                raise ValueError
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{place}: expected `kpt_shape` as the number of key points and 2 or 3 numbers for each, such as "
                f"[17, 3]; received {shape!r}"
            ) from error
        log.note(f"The boxes of {place} are read, and their {points} key points (kpt_shape) are not.")
        return Columns(key_points=points * numbers)
    lines = [words for text in texts for line in text.split("\n") if len(words := line.split()) > _BOX]
    sevens = [words for words in lines if len(words) == _BOX + 2]
    whole = [words for words in sevens if re.fullmatch(r"\d+", words[-1])]
    # A coordinate is at most 1. A polygon of three corners of which the last is at the edge is written with a 1, too.
    beyond = any(int(words[-1]) > 1 for words in whole)
    tracks = bool(sevens) and len(whole) == len(sevens) and (beyond or len(sevens) == len(lines))
    extra = sum(len(words) == _BOX + 1 for words in lines) + len(sevens) * tracks
    if extra:
        what = "a confidence or the number of a track" if not tracks else "confidences and numbers of tracks"
        log.note(f"{extra} lines below {place} have {what} behind the box, which is not read.")
    return Columns(tracks=tracks)


def read_objects(path: Path, text: str, names: Sequence[str] | None, columns: Columns, log: Log) -> Iterator[Found]:
    """Yields the objects of a text file; lines that are none are listed as faults.

    Args:
        path: The text file.
        text: Its contents.
        names: Names of the classes; None for the numbers themselves.
        columns: What the columns mean.
        log: Log to which faults are added.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if not words:
            continue
        meaning = columns.meaning(len(words))
        try:
            values = [float(word) for word in words]
            class_index = whole_number(words[0])
            if class_index < 0 or meaning is None:
                raise ValueError
        except (ValueError, OverflowError):
            expected = "a class number and then x, y, width, height"
            if columns.key_points:
                expected += f" and {columns.key_points} columns of key points (kpt_shape)"
            elif not columns.tracks:
                expected += " or the corners of a polygon"
            reason = f"expected {expected}, received {line.strip()[:60]!r} ({len(words)} columns); the line is left out"
            log.add("broken", path, number, reason)
            continue
        if names is not None and class_index >= len(names):
            class_name = f"class {class_index}"
        else:
            class_name = str(class_index) if names is None else names[class_index]
        if meaning == "polygon":
            points = np.array(values[1:]).reshape(-1, 2)
            yield Found(class_name, outline_box([points]), number, outline=(points,))
        else:
            cx, cy, width, height = values[1:_BOX]
            yield Found(class_name, (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2), number)
