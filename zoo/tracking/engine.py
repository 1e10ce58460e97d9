"""The engine of all trackers: one step from a frame to the next, from a state to a state."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zoo.tracking.association import (
    GATE,
    assign,
    cosine_similarity,
    direction_similarity,
    enlarge,
    overlap,
)
from zoo.tracking.motion import MOTIONS, Motion, boxes_of, predict, squared_distance, start, update
from zoo.tracking.state import Detections, State, Tracks, read_detections
from zoo.tracking.trackers import Stage, Tracker, tracker

__all__ = ["TrackedFrame", "step", "track"]


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """The confirmed tracks that were seen in a frame.

    Attributes:
        frame: Number of the frame.
        identities: int64 `[k]`.
        boxes: The boxes as the motion model estimates them, xyxy, float64 `[k, 4]`.
        detected: The boxes as they were detected, xyxy, float64 `[k, 4]`.
        scores: float64 `[k]`.
        classes: int64 `[k]`.
        detections: Which detection of the frame each track was seen in, int64 `[k]`.
        left_out: Which detections were left out because their boxes have no area or are not finite, int64.
    """

    frame: int
    identities: np.ndarray
    boxes: np.ndarray
    detected: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    detections: np.ndarray
    left_out: np.ndarray

    def __len__(self) -> int:
        return len(self.identities)

    def as_sample(self) -> dict[str, np.ndarray]:
        """Returns the tracks as `zoo.metrics.tracking.mot` takes them."""
        return {name: getattr(self, name) for name in ("boxes", "identities", "scores", "classes")}


def track(
    frames: Iterable[Mapping[str, Any]], how: str | Tracker = "combined", *, state: State | None = None
) -> Iterator[TrackedFrame]:
    """Tracks the objects of a sequence, frame by frame. It takes any number of frames, and keeps none.

    Args:
        frames: The detections of each frame, as `step` takes them.
        how: A tracker, or the name of one. Defaults to "combined".
        state: Where to go on. By default the sequence begins.

    Yields:
        The confirmed tracks of each frame.

    Raises:
        ValueError: As `step` and `tracker` raise it.

    Example:

    >>> frames = [{"boxes": [[x, 20, x + 30, 90], [200 - x, 20, 230 - x, 90]]} for x in range(0, 40, 4)]
    >>> [tracked.identities.tolist() for tracked in track(frames)][-1]
    [1, 2]
    """
    how = tracker(how) if isinstance(how, str) else how
    state = State() if state is None else state
    for detections in frames:
        state, tracked = step(how, state, detections)
        yield tracked


def step(
    how: Tracker, state: State, detections: Mapping[str, Any], *, frame: int | None = None
) -> tuple[State, TrackedFrame]:
    """Goes on by one frame.

    Args:
        how: The tracker.
        state: What the tracker knows; `State()` before the first frame. It is not changed.
        detections: A dict of the frame: `boxes` `[m, 4]`, xyxy in absolute pixels, and optionally `scores` `[m]` in
            0..1 (by default 1), `classes` `[m]` (by default 0; objects of different classes are never the same), and
            `embeddings` `[m, features]`. Boxes that have no area or are not finite are left out, and counted.
        frame: Number of the frame. Numbers may be left out, but not go back. Defaults to the next one.

    Returns:
        The new state, and the confirmed tracks that were seen in the frame.

    Raises:
        ValueError: The frame is not after the last one, arrays do not belong together, or the tracker compares
            appearances and there are no embeddings.
    """
    frame = _next_frame(state, frame)
    given = read_detections(detections)
    if how.budget and given.embeddings is None and len(given):
        raise ValueError(f"the tracker {how.name!r} compares appearances, and the detections have no embeddings")
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(given.boxes).all(axis=1) & (given.boxes[:, 2:] > given.boxes[:, :2]).all(axis=1)
        usable &= np.isfinite(given.scores)
    left_out = np.flatnonzero(~usable)
    rows = np.flatnonzero(usable & (given.scores >= how.low))
    found = given[rows]
    motion = MOTIONS[how.motion]
    first = frame if state.frame is None else state.first

    # Without tracks, the length of embeddings is that of this frame.
    tracks = state.tracks if state.tracks is not None and len(state.tracks) else _empty(how, found)
    for _ in range(0 if state.frame is None else min(frame - state.frame, how.max_age + 2)):
        tracks = replace(tracks, motion=_as_rows(predict(motion, _as_state(tracks.motion))), missed=tracks.missed + 1)
    if (tracks.missed > how.max_age + 1).any():  # Frames were left out, and the track has ended in them.
        tracks = tracks[tracks.missed <= how.max_age + 1]
    matched = _associate(how, motion, tracks, found)
    tracks = _seen(how, motion, tracks, matched, found)
    young = frame - first < how.n_init
    tracks = replace(tracks, confirmed=tracks.confirmed | (tracks.hits >= how.n_init))

    beginners = _beginners(how, found, matched)
    new = _begin(how, motion, found, beginners, state.next_identity, confirmed=young or how.n_init == 1)
    alive = np.where(tracks.confirmed, tracks.missed <= how.max_age, tracks.missed == 0)
    places = np.concatenate([matched, beginners])
    if not alive.all():
        tracks, places = tracks[alive], places[np.concatenate([alive, np.ones(len(beginners), bool)])]
    if len(beginners):
        tracks = tracks + new
    after = State(tracks, frame, first, state.next_identity + len(beginners), state.left_out + len(left_out))
    shown = np.flatnonzero((places >= 0) & tracks.confirmed)
    return after, TrackedFrame(
        frame=frame,
        identities=tracks.identities[shown],
        boxes=boxes_of(motion, _as_state(tracks.motion[shown])),
        detected=tracks.observed[shown, 0],
        scores=tracks.scores[shown],
        classes=tracks.classes[shown],
        detections=rows[places[shown]],
        left_out=left_out,
    )


def _next_frame(state: State, frame: int | None) -> int:
    following = 0 if state.frame is None else state.frame + 1
    if frame is None:
        return following
    if state.frame is not None and frame < following:
        raise ValueError(f"expected a frame after number {state.frame}, got number {frame}: time must not go back")
    return int(frame)


def _as_state(rows: np.ndarray) -> np.ndarray:
    """Returns `[n, 5, 4]` as `[5, n, 4]`."""
    return rows.transpose(1, 0, 2)


_as_rows = _as_state


def _empty(how: Tracker, found: Detections) -> Tracks:
    """Returns no tracks, as arrays of the right shapes."""
    return _begin(how, MOTIONS[how.motion], found, np.zeros(0, np.int64), 1, confirmed=False)


def _begin(
    how: Tracker, motion: Motion, found: Detections, rows: np.ndarray, identity: int, *, confirmed: bool
) -> Tracks:
    """Begins a track at each of some detections."""
    chosen = found[rows]
    count = len(rows)
    filters = _as_rows(start(motion, chosen.boxes))
    features = 0 if chosen.embeddings is None or not how.budget else chosen.embeddings.shape[1]
    gallery = np.zeros((count, how.budget, features), np.float32)
    if features:
        gallery[:, 0] = chosen.embeddings
    return Tracks(
        identities=np.arange(identity, identity + count),
        classes=chosen.classes,
        scores=chosen.scores,
        confirmed=np.full(count, confirmed),
        hits=np.ones(count, np.int64),
        missed=np.zeros(count, np.int64),
        motion=filters,
        seen=filters if how.reupdate else filters[:, :0],
        observed=np.repeat(chosen.boxes[:, None], how.history, axis=1),
        gallery=gallery,
        pictures=np.full(count, int(features > 0)),
    )


def _associate(how: Tracker, motion: Motion, tracks: Tracks, found: Detections) -> np.ndarray:
    """Returns the detection that each track was seen in, int64 `[n]`, or -1."""
    matched = np.full(len(tracks), -1)
    taken = np.zeros(len(found), bool)
    if not len(tracks) or not len(found):
        return matched
    high = found.scores >= how.high
    predicted = boxes_of(motion, _as_state(tracks.motion))
    for stage in how.stages:
        columns = np.flatnonzero(~taken & {"all": True, "high": high, "low": ~high}[stage.detections])
        eligible = np.flatnonzero((matched < 0) & _eligible(stage, tracks))
        if not len(columns) or not len(eligible):
            continue
        groups = [eligible]
        if stage.cascade:
            ages = tracks.missed[eligible]
            groups = [eligible[ages == age] for age in np.unique(ages)]
        for rows in groups:
            columns = columns[~taken[columns]]
            if not len(columns):
                break
            similarity = _similarity(stage, motion, tracks[rows], predicted[rows], found[columns])
            chosen, pairs = assign(similarity, stage.least)
            matched[rows[chosen]] = columns[pairs]
            taken[columns[pairs]] = True
    return matched


def _eligible(stage: Stage, tracks: Tracks) -> np.ndarray | bool:
    """Returns which tracks take part in a stage, bool `[n]`."""
    recent = tracks.confirmed & (tracks.missed == 1)
    return {
        "all": True,
        "confirmed": tracks.confirmed,
        "tentative": ~tracks.confirmed,
        "recent": recent,
        "recent or tentative": recent | ~tracks.confirmed,
    }[stage.tracks]


def _similarity(stage: Stage, motion: Motion, tracks: Tracks, predicted: np.ndarray, found: Detections) -> np.ndarray:
    """Returns the similarity of each track to each detection, float64 `[n, m]`; -inf for pairs that must not be."""
    if stage.similarity == "appearance":
        assert found.embeddings is not None
        similarity = cosine_similarity(tracks.gallery, tracks.pictures, found.embeddings).astype(np.float64)
    else:
        boxes = tracks.observed[:, 0] if stage.observed else predicted
        similarity = overlap(enlarge(boxes, stage.enlarged), enlarge(found.boxes, stage.enlarged))
    if stage.scored:
        similarity = similarity * found.scores
    if stage.momentum:
        # It decides between pairs, and makes none possible that were not.
        rows, columns = np.nonzero(similarity >= stage.least)
        observed = tracks.observed[rows]
        direction = direction_similarity(observed[:, -1], observed[:, 0], found.boxes[columns])
        similarity[rows, columns] += stage.momentum * (0.5 + direction)
    if stage.gated:
        distance = squared_distance(motion, _as_state(tracks.motion), motion.measure(found.boxes))
        similarity[distance > GATE] = -np.inf
    if tracks.classes.any() or found.classes.any():
        similarity[tracks.classes[:, None] != found.classes] = -np.inf
    return similarity


def _seen(how: Tracker, motion: Motion, tracks: Tracks, matched: np.ndarray, found: Detections) -> Tracks:
    """Updates the tracks that were seen."""
    rows = np.flatnonzero(matched >= 0)
    if not len(rows):
        return tracks
    chosen = found[matched[rows]]
    filters, measured = tracks.motion.copy(), motion.measure(chosen.boxes)
    filters[rows] = _as_rows(update(motion, _as_state(filters[rows]), measured))
    lost = tracks.missed[rows] > 1
    if how.reupdate and lost.any():
        filters[rows[lost]] = _reupdated(motion, tracks[rows[lost]], measured[lost])
    observed = tracks.observed.copy()
    observed[rows, 1:] = observed[rows, :-1]
    observed[rows, 0] = chosen.boxes
    scores, hits, missed = tracks.scores.copy(), tracks.hits.copy(), tracks.missed.copy()
    scores[rows] = chosen.scores
    hits[rows] += 1
    missed[rows] = 0
    seen = tracks.seen
    if how.reupdate:
        seen = seen.copy()
        seen[rows] = filters[rows]
    gallery, pictures = tracks.gallery, tracks.pictures
    if gallery.size and chosen.embeddings is not None:
        gallery, pictures = gallery.copy(), pictures.copy()
        gallery[rows, pictures[rows] % how.budget] = chosen.embeddings
        pictures[rows] += 1
    return replace(
        tracks,
        motion=filters,
        seen=seen,
        observed=observed,
        scores=scores,
        hits=hits,
        missed=missed,
        gallery=gallery,
        pictures=pictures,
    )


def _reupdated(motion: Motion, tracks: Tracks, measured: np.ndarray) -> np.ndarray:
    """Returns filters as if lost objects had gone straight from their last observation to this one, `[n, 5, 4]`.

    Source: Cao et al. 2023, section 4.1 (observation-centric re-update).
    """
    before, gaps = motion.measure(tracks.observed[:, 0]), tracks.missed
    result = tracks.seen.copy()
    for passed in range(1, int(gaps.max()) + 1):
        going = np.flatnonzero(gaps >= passed)
        share = (passed / gaps[going])[:, None]
        between = before[going] + share * (measured[going] - before[going])
        state = predict(motion, _as_state(result[going]))
        result[going] = _as_rows(update(motion, state, between))
    return result


def _beginners(how: Tracker, found: Detections, matched: np.ndarray) -> np.ndarray:
    """Returns the detections that begin tracks: the best first, without further ones of an object that is tracked."""
    free = np.ones(len(found), bool)
    free[matched[matched >= 0]] = False
    rows = np.flatnonzero(free & (found.scores >= how.new))
    if not len(rows):
        return rows
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    others = np.concatenate([np.flatnonzero(~free), rows])
    near = overlap(found.boxes[rows], found.boxes[others]) > how.duplicate
    near &= found.classes[rows][:, None] == found.classes[others]
    begun = len(others) - len(rows)
    kept = np.concatenate([np.ones(begun, bool), np.zeros(len(rows), bool)])
    for place in range(len(rows)):
        kept[begun + place] = not (near[place] & kept).any()
    return np.sort(rows[kept[begun:]])
