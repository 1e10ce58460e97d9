"""Measures of multi-object tracking: CLEAR MOT, identity, and HOTA.

Truths and tracks are lists with one dict per frame, of NumPy arrays (or what becomes one):

- truths: `boxes [n, 4]`, `identities [n]`, and optionally `ignored [n]` (bool): a track on an ignored object is neither
  rewarded nor punished.
- tracks: `boxes [m, 4]`, `identities [m]`.

Boxes are `xyxy` in absolute pixels, and an identity is an integer that an object keeps in all frames. A frame without
objects has empty arrays.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from zoo import boxes

__all__ = ["HOTA_THRESHOLDS", "MotResult", "combine", "mot"]

Frame = Mapping[str, Any]

# The thresholds of IoU over which HOTA is averaged: Luiten et al. 2021, section 5.
HOTA_THRESHOLDS = np.arange(0.05, 0.99, 0.05)
_EPSILON = np.finfo(float).eps


@dataclass(frozen=True, eq=False)
class MotResult:
    """The result of `mot`: counts, and the measures that follow from them. Results of several sequences can be added.

    Attributes:
        frames: Number of frames.
        objects: Number of different identities of the truth.
        identities: Number of different identities of the tracks.
        matches: Number of boxes of the truth that a track covers.
        misses: Number of boxes of the truth that no track covers.
        false_positives: Number of boxes of tracks that cover nothing.
        switches: How often an object is covered by another track than the last time.
        fragmentations: How often an object is covered again after a gap.
        mostly_tracked: Number of objects that are covered in more than 80% of their frames.
        mostly_lost: Number of objects that are covered in less than 20% of their frames.
        overlap: Sum of the IoU of the matches.
        identity_matches: Number of boxes of the truth that are covered by the one track that is assigned to the object
            for the whole sequence.
        matches_at: Number of matches at each of `HOTA_THRESHOLDS`, float64 `[19]`.
        association_at: Sum over these matches of how well their object and their track agree in the whole sequence,
            float64 `[19]`.
        overlap_at: Sum of the IoU of these matches, float64 `[19]`.
    """

    frames: int
    objects: int
    identities: int
    matches: int
    misses: int
    false_positives: int
    switches: int
    fragmentations: int
    mostly_tracked: int
    mostly_lost: int
    overlap: float
    identity_matches: int
    matches_at: np.ndarray
    association_at: np.ndarray
    overlap_at: np.ndarray

    def __add__(self, other: "MotResult") -> "MotResult":
        """Returns the result over two sequences together."""
        return MotResult(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def num_truths(self) -> int:
        """Number of boxes of the truth."""
        return self.matches + self.misses

    @property
    def num_tracked(self) -> int:
        """Number of boxes of the tracks."""
        return self.matches + self.false_positives

    @property
    def mota(self) -> float:
        """Multi-object tracking accuracy: 1 - (misses + false positives + switches) / truths; at most 1."""
        return _share(self.matches - self.false_positives - self.switches, self.num_truths)

    @property
    def motp(self) -> float:
        """Multi-object tracking precision: the mean IoU of the matches, in 0..1."""
        return _share(self.overlap, self.matches)

    @property
    def recall(self) -> float:
        """Share of the boxes of the truth that are covered, in 0..1."""
        return _share(self.matches, self.num_truths)

    @property
    def precision(self) -> float:
        """Share of the boxes of the tracks that cover an object, in 0..1."""
        return _share(self.matches, self.num_tracked)

    @property
    def idf1(self) -> float:
        """The F1 measure of the identities, in 0..1."""
        return _share(2 * self.identity_matches, self.num_truths + self.num_tracked)

    @property
    def idp(self) -> float:
        """The precision of the identities, in 0..1."""
        return _share(self.identity_matches, self.num_tracked)

    @property
    def idr(self) -> float:
        """The recall of the identities, in 0..1."""
        return _share(self.identity_matches, self.num_truths)

    @property
    def partly_tracked(self) -> int:
        """Number of objects that are neither mostly tracked nor mostly lost."""
        return self.objects - self.mostly_tracked - self.mostly_lost

    @property
    def deta(self) -> float:
        """Detection accuracy of HOTA, in 0..1."""
        return float(np.mean(self._detection()))

    @property
    def assa(self) -> float:
        """Association accuracy of HOTA, in 0..1."""
        return float(np.mean(self._association()))

    @property
    def hota(self) -> float:
        """Higher order tracking accuracy: the mean over the thresholds of sqrt(detection * association), in 0..1."""
        return float(np.mean(np.sqrt(self._detection() * self._association())))

    @property
    def loca(self) -> float:
        """Localisation accuracy of HOTA: the mean IoU of the matches, over the thresholds, in 0..1; 1 without any."""
        matched = self.matches_at > 0
        return float(np.mean(np.where(matched, self.overlap_at / np.maximum(self.matches_at, 1), 1.0)))

    def summary(self) -> dict[str, float]:
        """Returns the measures by their usual names, those in 0..1 first and counts after them."""
        return {
            "hota": self.hota,
            "deta": self.deta,
            "assa": self.assa,
            "mota": self.mota,
            "motp": self.motp,
            "idf1": self.idf1,
            "idp": self.idp,
            "idr": self.idr,
            "recall": self.recall,
            "precision": self.precision,
            "switches": self.switches,
            "fragmentations": self.fragmentations,
            "mostly_tracked": self.mostly_tracked,
            "partly_tracked": self.partly_tracked,
            "mostly_lost": self.mostly_lost,
            "misses": self.misses,
            "false_positives": self.false_positives,
        }

    def _detection(self) -> np.ndarray:
        return self.matches_at / np.maximum(1, self.num_truths + self.num_tracked - self.matches_at)

    def _association(self) -> np.ndarray:
        return self.association_at / np.maximum(1, self.matches_at)


def mot(truths: Sequence[Frame], tracks: Sequence[Frame], *, threshold: float = 0.5) -> MotResult:
    """Measures the tracks of one sequence.

    The classes of objects play no role. Where they should, measure each class by itself.

    Sources: Bernardin & Stiefelhagen 2008, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics";
    Ristani et al. 2016, "Performance Measures and a Data Set for Multi-target, Multi-camera Tracking", section 3;
    Luiten et al. 2021, "HOTA: A Higher Order Metric for Evaluating Multi-object Tracking", section 4. Where papers
    leave something open, it is done as in MOTChallenge's own evaluation, TrackEval.

    Args:
        truths: One dict per frame; see above.
        tracks: One dict per frame; see above.
        threshold: IoU in 0..1 from which on a track covers an object, for all measures but HOTA's. Defaults to 0.5.

    Raises:
        ValueError: If the sequences have different lengths, an identity occurs twice in a frame, a box is not finite,
            or an array has another length than the boxes.

    Example, where the second object is tracked under two names:

    >>> box, other = [0, 0, 10, 10], [50, 0, 60, 10]
    >>> truths = [{"boxes": [box, other], "identities": [1, 2]}] * 4
    >>> tracks = [{"boxes": [box, other], "identities": [7, 8 if frame < 2 else 9]} for frame in range(4)]
    >>> result = mot(truths, tracks)
    >>> result.mota, result.switches, result.idf1
    (0.875, 1, 0.75)
    """
    sequence = _sequence(truths, tracks)
    return MotResult(**_clear(sequence, threshold), **_identity(sequence, threshold), **_hota(sequence))


def combine(results: Iterable[MotResult]) -> MotResult:
    """Returns the result over several sequences together: their counts are added.

    Raises:
        ValueError: If there is no result.
    """
    results = list(results)
    if not results:
        raise ValueError("expected the results of one sequence or more, got none")
    return reduce(add, results)


class _Frame(NamedTuple):
    truth: np.ndarray  # int [n]: which object each box of the truth belongs to, from 0
    track: np.ndarray  # int [m]
    overlap: np.ndarray  # IoU, float64 [n, m]


class _Sequence(NamedTuple):
    frames: list[_Frame]
    truth_counts: np.ndarray  # Number of boxes of each object, int [objects]
    track_counts: np.ndarray  # Number of boxes of each track, int [identities]


def _sequence(truths: Sequence[Frame], tracks: Sequence[Frame]) -> _Sequence:
    """Numbers the identities from 0, computes all overlaps, and leaves out what is ignored."""
    if len(truths) != len(tracks):
        raise ValueError(
            f"expected truths and tracks of the same frames, got {len(truths)} and {len(tracks)} of them; "
            "a frame without objects has empty arrays"
        )
    frames = []
    for number, (truth, track) in enumerate(zip(truths, tracks, strict=True)):
        truth_boxes, objects = _columns(truth, number, "truths")
        track_boxes, identities = _columns(track, number, "tracks")
        overlap = boxes.overlap_matrix(truth_boxes, track_boxes)
        ignored = np.asarray(truth.get("ignored", np.zeros(len(objects), bool)), bool).reshape(-1)
        if len(ignored) != len(objects):
            raise ValueError(f"truths of frame {number} have {len(objects)} boxes, but {len(ignored)} ignored")
        if ignored.any():
            rows, columns = linear_sum_assignment(np.where(overlap >= 0.5 - _EPSILON, overlap, 0), maximize=True)
            on_ignored = ignored[rows] & (overlap[rows, columns] >= 0.5 - _EPSILON)
            kept = np.ones(len(identities), bool)
            kept[columns[on_ignored]] = False
            overlap, objects, identities = overlap[~ignored][:, kept], objects[~ignored], identities[kept]
        frames.append(_Frame(objects, identities, overlap))
    known_objects, truth_counts = np.unique(_joined([frame.truth for frame in frames]), return_counts=True)
    known_tracks, track_counts = np.unique(_joined([frame.track for frame in frames]), return_counts=True)
    renamed = [
        _Frame(np.searchsorted(known_objects, f.truth), np.searchsorted(known_tracks, f.track), f.overlap)
        for f in frames
    ]
    return _Sequence(renamed, truth_counts, track_counts)


def _clear(sequence: _Sequence, threshold: float) -> dict[str, Any]:
    """Counts matches frame by frame. A match of the frame before is kept while it still overlaps enough."""
    objects = len(sequence.truth_counts)
    covered = np.zeros(objects, np.int64)  # Number of frames in which each object is covered
    begun = np.zeros(objects, np.int64)  # How often each object began to be covered
    last = np.full(objects, -1)  # The track that covered each object the last time
    current = np.full(objects, -1)  # The track that covered it in the frame before
    matches = switches = 0
    overlap_sum = 0.0
    for truth, track, overlap in sequence.frames:
        if not len(truth) or not len(track):
            continue
        score = 1000.0 * (track == current[truth][:, None]) + overlap
        score[overlap < threshold - _EPSILON] = 0
        rows, columns = linear_sum_assignment(score, maximize=True)
        good = score[rows, columns] > _EPSILON
        rows, columns = rows[good], columns[good]
        seen, by = truth[rows], track[columns]
        switches += int(((last[seen] >= 0) & (last[seen] != by)).sum())
        was_covered = current >= 0
        last[seen] = by
        current[:] = -1
        current[seen] = by
        covered[seen] += 1
        begun += ~was_covered & (current >= 0)
        matches += len(rows)
        overlap_sum += float(overlap[rows, columns].sum())
    share = covered / np.maximum(sequence.truth_counts, 1)
    return {
        "frames": len(sequence.frames),
        "objects": objects,
        "identities": len(sequence.track_counts),
        "matches": matches,
        "misses": int(sequence.truth_counts.sum()) - matches,
        "false_positives": int(sequence.track_counts.sum()) - matches,
        "switches": switches,
        "fragmentations": int(np.maximum(begun - 1, 0).sum()),
        "mostly_tracked": int((share > 0.8).sum()),
        "mostly_lost": int((share < 0.2).sum()),
        "overlap": overlap_sum,
    }


def _identity(sequence: _Sequence, threshold: float) -> dict[str, Any]:
    """Assigns each object at most one track for the whole sequence, so that they share as many boxes as possible."""
    shared = np.zeros((len(sequence.truth_counts), len(sequence.track_counts)))
    for truth, track, overlap in sequence.frames:
        rows, columns = np.nonzero(overlap >= threshold)
        shared[truth[rows], track[columns]] += 1
    return {"identity_matches": int(shared[linear_sum_assignment(shared, maximize=True)].sum())}


def _hota(sequence: _Sequence) -> dict[str, Any]:
    """Matches so that detection and association are best together, and counts at each threshold."""
    shape = len(sequence.truth_counts), len(sequence.track_counts)
    likely = np.zeros(shape)  # In how many frames an object and a track may be matched, weighted by their overlap
    for truth, track, overlap in sequence.frames:
        around = overlap.sum(0) + overlap.sum(1)[:, None] - overlap
        likely[truth[:, None], track] += np.divide(overlap, around, out=np.zeros_like(overlap), where=around > _EPSILON)
    counts = sequence.truth_counts[:, None] + sequence.track_counts
    alignment = likely / (counts - likely)

    pairs: list[np.ndarray] = []
    overlaps: list[np.ndarray] = []
    for truth, track, overlap in sequence.frames:
        rows, columns = linear_sum_assignment(alignment[truth[:, None], track] * overlap, maximize=True)
        pairs.append(truth[rows] * shape[1] + track[columns])
        overlaps.append(overlap[rows, columns])
    pair, overlap = _joined(pairs), _joined(overlaps, float)

    matches, association, overlap_sums = (np.zeros(len(HOTA_THRESHOLDS)) for _ in range(3))
    for place, alpha in enumerate(HOTA_THRESHOLDS):
        matched = overlap >= alpha - _EPSILON
        code, times = np.unique(pair[matched], return_counts=True)
        matches[place] = matched.sum()
        association[place] = np.sum(times * (times / np.maximum(1, counts.ravel()[code] - times)))
        overlap_sums[place] = overlap[matched].sum()
    return {"matches_at": matches, "association_at": association, "overlap_at": overlap_sums}


def _columns(frame: Frame, number: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    missing = [key for key in ("boxes", "identities") if key not in frame]
    if missing:
        raise ValueError(f"{name} of frame {number} have no {' and no '.join(missing)}; they have {sorted(frame)}")
    corners = np.asarray(frame["boxes"], np.float64).reshape(-1, 4)
    identities = np.asarray(frame["identities"]).reshape(-1)
    if len(corners) != len(identities):
        raise ValueError(f"{name} of frame {number} have {len(corners)} boxes, but {len(identities)} identities")
    if not np.isfinite(corners).all():
        bad = corners[~np.isfinite(corners).all(axis=1)][0]
        raise ValueError(f"{name} of frame {number} have a box that is not finite: {bad.tolist()}")
    whole = identities.astype(np.int64)
    if (whole != identities).any():
        raise ValueError(f"{name} of frame {number} have identities that are not whole: {identities.tolist()}")
    different, times = np.unique(whole, return_counts=True)
    if (times > 1).any():
        raise ValueError(f"{name} of frame {number} have the identity {different[times.argmax()]} twice")
    return corners, whole


def _joined(arrays: Sequence[np.ndarray], dtype: Any = np.int64) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype)


def _share(part: float, whole: float) -> float:
    return part / max(1, whole)
