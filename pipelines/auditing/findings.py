"""The findings of an audit, and the lists of files that training should leave out."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data import Data, Fault
from pipelines.outputs.durable import new_file

__all__ = ["Audit", "Finding", "exclude", "read_exclude_list", "write_exclude_list"]


@dataclass(frozen=True)
class Finding:
    """One problem of a data set, and the files that have it.

    Attributes:
        kind: Name of the problem. `pipelines.audit` lists all names.
        severity: "error" (results will be wrong), "warning" (somebody should look at it), or "note".
        message: Sentences that describe the problem, with numbers, without a full stop at the end.
        where: Files that have the problem; for duplicates, one tuple of files for each group.
        exclude: Files that training should leave out.
    """

    kind: str
    severity: str
    message: str
    where: tuple[Any, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """The result of `audit`.

    Attributes:
        findings: The findings, the worst first.
        class_names: Names of the classes, in the order of the labels.
        counts: For each split, the number of images (or of objects, in data with boxes) of each class.
        statistics: Number of images of each format, mode and orientation, and quantiles of their heights, widths,
            aspect ratios (width / height) and sizes in bytes.
    """

    findings: tuple[Finding, ...]
    class_names: tuple[str, ...]
    counts: Mapping[str, Sequence[int]]
    statistics: Mapping[str, Any]

    @property
    def exclude(self) -> tuple[str, ...]:
        """All files that training should leave out, sorted."""
        return tuple(sorted({path for finding in self.findings for path in finding.exclude}))

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Returns the whole audit as values that JSON can hold."""
        return {
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            "class_names": list(self.class_names),
            "counts": {split: list(counts) for split, counts in self.counts.items()},
            "statistics": dict(self.statistics),
            "exclude": list(self.exclude),
        }


# Leaving out


def write_exclude_list(path: str | os.PathLike[str], audit: Audit) -> int:
    """Write the files that are better left out, one a line, for `zoo fit --exclude`. Returns how many they are."""
    with (
        new_file(Path(path)) as new,
        new.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file,
    ):
        file.write("# Files that `zoo audit` would leave out of training. Delete the lines of those to keep.\n")
        file.writelines(f"{excluded}\n" for excluded in audit.exclude)
    return len(audit.exclude)


def read_exclude_list(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The files that a list names, one a line; empty lines and those that begin with # do not count."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.rstrip("\r\n") for line in file]
    return tuple(line for line in lines if line and not line.startswith("#"))


def exclude(data: Data, paths: Iterable[str]) -> Data:
    """Returns a data set without some of its images; what is left out is added to `faults`.

    Splits stay as they are: no image moves because another is left out.

    Args:
        data: What `pipelines.read_data` or `pipelines.read_scenes` returned.
        paths: Files, by any path that leads to them, or `split/name` for images that are not files, as
            `Audit.exclude` and `read_exclude_list` give them.

    Raises:
        ValueError: a path that is none of the data set's, or nothing left of a class in the training set.

    Example:

    >>> from pipelines import read_data
    >>> digits = read_data("sklearn:digits")
    >>> len(exclude(digits, [f"train/{digits.train.names[0]}"])) - len(digits)
    -1
    """
    wanted = {_place(path) for path in paths}
    parts: dict[str, Any] = {}
    faults = list(data.faults)
    met: set[str] = set()
    for split, part in data.splits.items():
        places = [
            _place(image) if isinstance(image, str) else f"{split}/{name}"
            for image, name in zip(part.images, part.names, strict=True)
        ]
        out = np.array([place in wanted for place in places], bool)
        met |= wanted.intersection(places)
        faults += [
            Fault(image if isinstance(image, str) else place, "excluded as asked", kind="excluded")
            for image, place, is_out in zip(part.images, places, out, strict=True)
            if is_out
        ]
        parts[split] = part[~out]
    met |= {_place(fault.path) for fault in data.skipped}  # those are left out already
    strangers = sorted(wanted - met)
    if strangers:
        raise ValueError(
            f"{len(strangers)} of {len(wanted)} files to exclude are not in the data; the first: {strangers[0]}. "
            "Make the list anew with `zoo audit DATA --exclude-to list.txt`, on the same data"
        )
    if len(data.train) and not len(parts["train"]):
        raise ValueError(f"excluding {len(wanted)} files leaves no image to train on")
    lost = np.setdiff1d(data.train.labels, parts["train"].labels) if data.kind == "classes" else ()
    if len(lost):
        names = ", ".join(repr(data.class_names[label]) for label in lost)
        raise ValueError(f"excluding {len(wanted)} files leaves no image to train on of {names}")
    return replace(data, **parts, faults=tuple(faults))


def _place(path: str) -> str:
    """One spelling for all paths to a file; names that are not files stay as they are."""
    return os.path.realpath(path) if os.path.exists(path) else path
