"""Finished runs beside each other: how good each is, how sure that is, and what was done differently."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transfer.documents import read_document
from transfer.measuring.intervals import Interval
from transfer.measuring.table import Table, as_number, as_percent
from transfer.report.nested import flat
from transfer.tasks import TASKS, task_of
from transfer.tasks.task import Metric

__all__ = ["ComparedRun", "Comparison", "compare"]

ABSENT = "–"  # This stands for a setting that a run's configuration does not have.


@dataclass(frozen=True)
class ComparedRun:
    """One run of several.

    Attributes:
        folder: The folder that it lies in.
        task: The name of its task.
        part: The split that the value belongs to: "test", or "valid" where there was no test set.
        metric: The headline metric of the task.
        value: The value of the metric; None where it is not defined, as without any object in the split.
        interval: The interval of 95% confidence; None where the run has none.
        seconds: How long the run took.
        bytes: The size of `model.keras`.
    """

    folder: Path
    task: str
    part: str
    metric: Metric
    value: float | None
    interval: Interval | None
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Comparison:
    """Several runs of one task.

    Attributes:
        metric: The metric by which they are compared.
        runs: The runs, the best first.
        differences: The settings in which they differ, each with the value of each run, in the order of `runs`.
        notes: What makes them hard to compare, and whether the first may be better by chance alone.
    """

    metric: Metric
    runs: tuple[ComparedRun, ...]
    differences: Mapping[str, tuple[Any, ...]]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns the comparison as plain numbers, lists and strings, ready for JSON."""
        runs = [
            {
                "run": str(run.folder),
                "part": run.part,
                "value": run.value,
                "interval": run.interval and list(run.interval),
                "seconds": run.seconds,
                "bytes": run.bytes,
            }
            for run in self.runs
        ]
        return {
            "task": self.runs[0].task,
            "metric": asdict(self.metric),
            "runs": runs,
            "differences": {name: list(values) for name, values in self.differences.items()},
            "notes": list(self.notes),
        }

    def tables(self) -> list[Table]:
        """Returns a table of the runs, and one of the settings in which they differ, where they do."""
        as_text = as_percent if self.metric.percent else as_number
        rows = tuple(
            (
                str(run.folder),
                as_text(run.value, run.interval),
                run.part,
                f"{run.seconds:.0f} s",
                f"{run.bytes / 1e6:.1f} MB",
            )
            for run in self.runs
        )
        tables = [Table(("run", self.metric.label, "of", "time", "size"), rows)]
        if self.differences:
            columns = ("setting", *(str(run.folder) for run in self.runs))
            settings = ((name, *map(str, values)) for name, values in self.differences.items())
            tables.append(Table(columns, tuple(settings)))
        return tables

    def plot(self) -> Any:
        """Returns a figure of Matplotlib with the metric of each run, and its interval."""
        from matplotlib.figure import Figure

        direction = "higher" if self.metric.higher_is_better else "lower"
        label = f"{self.metric.label} ({direction} is better), with its interval of 95% confidence"
        figure = Figure(figsize=(7, 1.2 + 0.45 * len(self.runs)), layout="constrained")
        axes = figure.add_subplot(xlabel=label)
        for place, run in enumerate(reversed(self.runs)):
            if run.value is not None:
                axes.plot(run.value, place, "o", color="#2f6fde")
            if run.interval is not None:
                axes.plot(run.interval, [place, place], color="#2f6fde", linewidth=2, alpha=0.5)
        axes.set_yticks(range(len(self.runs)), [str(run.folder) for run in reversed(self.runs)], parse_math=False)
        axes.set_ylim(-0.6, len(self.runs) - 0.4)
        axes.grid(axis="x", alpha=0.3)
        return figure


def compare(runs: Sequence[str | Path]) -> Comparison:
    """Reads what finished runs of one task say about themselves. It measures nothing anew, and loads no TensorFlow.

    Args:
        runs: The folders of the runs, two or more.

    Returns:
        The runs in the order of the task's headline metric, and the settings in which they differ.

    Raises:
        ValueError: There are fewer than two runs, a folder is given twice, or the runs are of different tasks.
        FileNotFoundError: A folder holds no finished run.
    """
    folders = [Path(run) for run in runs]
    if len({folder.resolve() for folder in folders}) < max(len(folders), 2):
        raise ValueError(
            f"expected two or more different runs to compare, got {', '.join(map(str, folders)) or 'none'}"
        )
    pairs = sorted(((_read(folder), _settings(folder)) for folder in folders), key=lambda pair: _rank(pair[0]))
    _check_same_task([run for run, _ in pairs])
    rows = tuple(run for run, _ in pairs)
    settings = [own for _, own in pairs]
    names = dict.fromkeys(name for own in settings for name in own)
    values = {name: tuple(own.get(name, ABSENT) for own in settings) for name in names}
    differences = {name: own for name, own in values.items() if any(value != own[0] for value in own)}
    return Comparison(rows[0].metric, rows, differences, tuple(_notes(rows, differences)))


def _rank(run: ComparedRun) -> float:
    """Returns a number that is lower the better a run is."""
    if run.value is None:
        return math.inf
    return -run.value if run.metric.higher_is_better else run.value


def _check_same_task(runs: Sequence[ComparedRun]) -> None:
    for name in ("task", "metric"):
        kinds = dict.fromkeys(getattr(run, name) for run in runs)
        if len(kinds) > 1:
            words = ", ".join(f"{run.folder} is of the task {run.task} ({run.metric.label})" for run in runs)
            raise ValueError(f"only runs of one task can be compared, since tasks have different metrics; {words}")


def _notes(runs: Sequence[ComparedRun], differences: Mapping[str, Any]) -> list[str]:
    notes = []
    label = runs[0].metric.label
    if {"data", "data_fingerprint"} & differences.keys():
        notes.append(f"The runs have different data, so that their values of {label} are of different images.")
    elif {"valid", "test", "seed"} & differences.keys():
        notes.append(f"The runs divide the data differently, so that their values of {label} are of different images.")
    if len({run.part for run in runs}) > 1:
        notes.append(
            f"Some values of {label} are of a validation set, on which the best epoch was chosen; they are better than "
            "on new images."
        )
    first, second = runs[:2]
    if first.interval and second.interval and _overlap(first.interval, second.interval):
        notes.append("The intervals of the best two overlap: the first may be better by chance alone.")
    return notes


def _overlap(one: Interval, other: Interval) -> bool:
    return one.low <= other.high and other.low <= one.high


def _read(folder: Path) -> ComparedRun:
    metrics = _json(folder, "metrics.json")
    task, metric = _headline(folder, metrics)
    part = "valid" if metrics.get(f"test_{metric.name}") is None else "test"
    interval = metrics.get(f"{part}_interval")
    return ComparedRun(
        folder=folder,
        task=task,
        part=part,
        metric=metric,
        value=metrics.get(f"{part}_{metric.name}"),
        interval=None if interval is None else Interval(*interval),
        seconds=metrics["seconds"],
        bytes=(folder / "model.keras").stat().st_size,
    )


def _headline(folder: Path, metrics: Mapping[str, Any]) -> tuple[str, Metric]:
    """Returns the task of a run and its headline metric. Earlier versions wrote neither; their metrics tell."""
    if "headline" in metrics:
        return metrics["task"], Metric(**metrics["headline"])
    for name in TASKS:
        metric = task_of(name).metrics[0]
        if f"valid_{metric.name}" in metrics:
            return name, metric
    raise ValueError(f"{folder}/metrics.json does not say of which task the run is, and has no known headline metric")


def _settings(folder: Path) -> dict[str, Any]:
    """Returns what a run was asked for and what followed from it, with nested values as "versions.keras"."""
    document = _json(folder, "config.json")
    # Earlier versions wrote settings and facts side by side, and neither the task of classifiers nor a version.
    settings, facts = document.pop("settings", {}), document.pop("facts", {})
    data = {name: value for name, value in document.items() if name not in ("format_version", "task")}
    return flat({**data, **settings, **facts})


def _json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no finished run of `zoo fit`: it has no {name}")
    return read_document(path, "a document of a run of `zoo fit`")
