"""Measuring tracks against ground truth, and the table of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.data import Fault
from pipelines.video.motchallenge import read_motchallenge
from transfer.measuring.table import Table, as_percent
from zoo.metrics.tracking import MotResult, combine, mot

__all__ = ["TrackScores", "score_tracks"]

SHARES = {"hota": "HOTA", "deta": "DetA", "assa": "AssA", "mota": "MOTA", "motp": "MOTP", "idf1": "IDF1"}
NUMBERS = {
    "switches": "switches",
    "fragmentations": "breaks",
    "mostly_tracked": "tracked",
    "mostly_lost": "lost",
}


@dataclass(frozen=True, eq=False)
class TrackScores:
    """How good tracks are.

    Attributes:
        sequences: The result of each sequence by its name.
        faults: Lines of files that could not be read.
    """

    sequences: Mapping[str, MotResult]
    faults: tuple[Fault, ...] = ()

    @property
    def together(self) -> MotResult:
        """The result over all sequences."""
        return combine(self.sequences.values())

    def as_dict(self) -> dict[str, Any]:
        """Returns the measures as JSON can hold them."""
        each = {name: result.summary() for name, result in self.sequences.items()}
        return {**self.together.summary(), "sequences": each}

    def table(self) -> Table:
        """Returns the measures as a table: a row for each sequence, and one for all."""
        results = dict(self.sequences)
        if len(results) > 1:
            results["all"] = self.together
        rows = []
        for name, result in results.items():
            summary = result.summary()
            rows.append(
                (name, *(as_percent(summary[key]) for key in SHARES), *(f"{summary[key]:,}" for key in NUMBERS))
            )
        note = "tracked and lost: objects that are covered in more than 80%, and in less than 20%, of their frames."
        return Table(("sequence", *SHARES.values(), *NUMBERS.values()), tuple(rows), note)


def score_tracks(tracks: str | Path, truth: str | Path) -> TrackScores:
    """Measures tracks in MOTChallenge's format.

    Args:
        tracks: A file of tracks, or a folder of such files, one for each sequence.
        truth: The file of the ground truth; or a folder that holds, for each file NAME.txt of tracks, its ground
            truth as NAME.gt.txt, NAME.txt, or NAME/gt/gt.txt.

    Raises:
        FileNotFoundError: There are no tracks, or there is no ground truth for some of them.
        ValueError: Lines of the ground truth cannot be read, or none of a file of tracks.
    """
    tracks, truth = Path(tracks), Path(truth)
    files = sorted(tracks.glob("*.txt")) if tracks.is_dir() else [tracks]
    if not files or not files[0].exists():
        raise FileNotFoundError(f"{tracks}: no such file of tracks, and no folder with files NAME.txt")
    faults: list[Fault] = []
    results = {}
    for file in files:
        expected = read_motchallenge(_truth_of(file, truth), truth=True)
        actual = read_motchallenge(file, faults=faults)
        if len(actual) > len(expected):
            last = len(actual)
            raise ValueError(
                f"{file} has tracks up to frame {last}, and the ground truth only up to {len(expected)}: it is that of "
                "another sequence, or frames were taken at another rate"
            )
        actual += [{name: values[:0] for name, values in expected[0].items()}] * (len(expected) - len(actual))
        results[file.stem] = mot(expected, actual)
    return TrackScores(results, tuple(faults))


def _truth_of(file: Path, truth: Path) -> Path:
    if not truth.is_dir():
        return truth
    choices = [truth / f"{file.stem}.gt.txt", truth / file.name, truth / file.stem / "gt" / "gt.txt"]
    for choice in choices:
        if choice.is_file():
            return choice
    raise FileNotFoundError(f"there is no ground truth of {file}; expected one of {', '.join(map(str, choices))}")
