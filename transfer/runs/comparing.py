"""Finished runs beside each other: how good, how sure, how long, how large, and what was done differently."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfer.measuring.intervals import Interval

__all__ = ["ComparedRun", "Comparison", "compare"]

ABSENT = "–"  # of a setting that a run's configuration does not have


@dataclass(frozen=True)
class ComparedRun:
    """One run of several.

    Attributes:
        folder: where it lies.
        part: of the data that the accuracy is of: "test", or "valid" where there was no test set.
        accuracy: share of right answers, in 0..1.
        interval: of 95% confidence; None in runs of versions that did not write it.
        seconds: that the run took.
        bytes: of `model.keras`.
    """

    folder: Path
    part: str
    accuracy: float
    interval: Interval | None
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Comparison:
    """Several runs.

    Attributes:
        runs: best first.
        differences: settings in which they differ -> the value of each run, in the order of `runs`.
        notes: what makes them hard to compare, or the better one not surely better.
    """

    runs: tuple[ComparedRun, ...]
    differences: Mapping[str, tuple[Any, ...]]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings, ready for JSON."""
        runs = [
            {
                "run": str(run.folder),
                "part": run.part,
                "accuracy": run.accuracy,
                "accuracy_interval": run.interval and list(run.interval),
                "seconds": run.seconds,
                "bytes": run.bytes,
            }
            for run in self.runs
        ]
        return {"runs": runs, "differences": {k: list(v) for k, v in self.differences.items()}, "notes": self.notes}

    def plot(self) -> Any:
        """A figure of matplotlib's: the accuracy of each run, with its interval."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 1.2 + 0.45 * len(self.runs)), layout="constrained")
        axes = figure.add_subplot(xlabel="share of right answers, with its interval of 95% confidence")
        for place, run in enumerate(reversed(self.runs)):
            axes.plot(run.accuracy, place, "o", color="#2f6fde")
            if run.interval is not None:
                axes.plot(run.interval, [place, place], color="#2f6fde", linewidth=2, alpha=0.5)
        axes.set_yticks(range(len(self.runs)), [str(run.folder) for run in reversed(self.runs)], parse_math=False)
        axes.set_ylim(-0.6, len(self.runs) - 0.4)
        axes.grid(axis="x", alpha=0.3)
        return figure


def compare(runs: Sequence[str | Path]) -> Comparison:
    """Reads what runs of `zoo fit` say of themselves. Nothing is computed anew, and no TensorFlow is loaded.

    Args:
        runs: their folders, two or more.

    Returns:
        The runs by accuracy, and the settings in which they differ.

    Raises:
        ValueError: fewer than two, the same folder twice, or a run of a detector.
        FileNotFoundError: a folder that holds no finished run.
    """
    folders = [Path(run) for run in runs]
    if len({folder.resolve() for folder in folders}) < max(len(folders), 2):
        raise ValueError(
            f"expected two or more different runs to compare, got {', '.join(map(str, folders)) or 'none'}"
        )
    found = sorted(((_read(folder), _settings(folder)) for folder in folders), key=lambda pair: -pair[0].accuracy)
    rows = tuple(run for run, _ in found)
    settings = [setting for _, setting in found]
    names = dict.fromkeys(name for setting in settings for name in setting)
    values = {name: tuple(setting.get(name, ABSENT) for setting in settings) for name in names}
    differences = {name: each for name, each in values.items() if any(value != each[0] for value in each)}
    return Comparison(rows, differences, tuple(_notes(rows, differences)))


def _notes(runs: Sequence[ComparedRun], differences: Mapping[str, Any]) -> list[str]:
    notes = []
    if {"data", "data_fingerprint"} & differences.keys():
        notes.append("The runs have other data, so that their accuracies are of other photos.")
    elif {"valid", "test", "seed"} & differences.keys():
        notes.append("The runs divide the data differently, so that their accuracies are of other photos.")
    if len({run.part for run in runs}) > 1:
        notes.append("Some accuracies are of a validation set, which chose the best epoch, and are too good for that.")
    first, second = runs[:2]
    if first.interval and second.interval and second.interval.high >= first.interval.low:
        notes.append("The intervals of the best two overlap: that the first is better may be chance.")
    return notes


def _read(folder: Path) -> ComparedRun:
    metrics = _json(folder, "metrics.json")
    if "valid_map50" in metrics:
        raise ValueError(
            f"{folder} is a detector's run, and what is compared is the accuracy of classifiers; the average precision "
            "of each stands in its metrics.json"
        )
    part = "valid" if metrics["test_accuracy"] is None else "test"
    interval = metrics.get(f"{part}_interval")
    return ComparedRun(
        folder=folder,
        part=part,
        accuracy=metrics[f"{part}_accuracy"],
        interval=None if interval is None else Interval(*interval),
        seconds=metrics["seconds"],
        bytes=(folder / "model.keras").stat().st_size,
    )


def _settings(folder: Path) -> dict[str, Any]:
    """What was asked for, with nested values as "versions.keras"."""
    flat: dict[str, Any] = {}
    for name, value in _json(folder, "config.json").items():
        flat |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no finished run of `zoo fit`: it has no {name}")
    return json.loads(path.read_text(encoding="utf-8"))
