"""Who is who in a video: a detector's answers to its frames, tracked, counted, drawn and written."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data import Fault
from pipelines.video.frames import Frame
from pipelines.video.motchallenge import MotWriter
from pipelines.video.sources import open_source
from pipelines.video.writing import VideoWriter
from transfer.predict.predictor import Predictor
from transfer.tracking.appearance import Appearance
from transfer.tracking.drawing import Border, Trails, draw_tracks
from zoo.tracking import Counts, State, TrackedFrame, Tracker, count, step, tracker

__all__ = ["TrackedVideo", "Tracking", "detections_of", "track_frames", "track_video"]

BATCH_SIZE = 8  # Frames that are worked on at a time. At most three batches are in memory.
THRESHOLD = 0.5  # Of models that say nothing about it


@dataclass(frozen=True, eq=False)
class TrackedVideo:
    """What was tracked in a video.

    Attributes:
        frames: Number of frames.
        fps: Frames per second.
        identities: Number of different identities by the name of their class.
        counts: For each line and zone by its name, the number of identities by class and direction.
        left_out: Number of detections that were left out, because their boxes have no area or are not finite.
        faults: What was wrong with the video, and what was done about it.
    """

    frames: int
    fps: float
    identities: dict[str, int]
    counts: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    left_out: int = 0
    faults: tuple[Fault, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the facts as JSON can hold them."""
        return {
            "frames": self.frames,
            "fps": self.fps,
            "identities": self.identities,
            "counts": self.counts,
            "left_out": self.left_out,
            "faults": [str(fault) for fault in self.faults],
        }


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """How objects are tracked.

    Attributes:
        tracker: A tracker, or the name of one (`zoo.tracking.TRACKERS`). Defaults to "combined".
        appearance: A function from pictures of objects to their embeddings, for a tracker that compares appearances
            (`transfer.tracking.appearance.embedder`, or a predictor's `embeddings`).
        classes: Names of the classes to track. Defaults to all.
        threshold: Score in 0..1 from which on a detection may begin a track. Trackers use lower scores, too, to go on
            with a track. By default it is that of the model, or else 0.5.
        borders: Lines and zones (`zoo.tracking.Line`, `zoo.tracking.Zone`) at which identities are counted.
    """

    tracker: str | Tracker = "combined"
    appearance: Appearance | None = None
    classes: Sequence[str] = ()
    threshold: float | None = None
    borders: Sequence[Border] = ()


def track_video(
    predictor: Predictor,
    source: str | Path,
    tracking: Tracking = Tracking(),
    *,
    out: str | Path | None = None,
    tracks: str | Path | None = None,
    fps: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrackedVideo:
    """Tracks the objects of a video. Memory does not grow with its length.

    Args:
        predictor: A detector, as `transfer.load` returns it.
        source: A video file, a folder of pictures in order, or the number of a camera (`pipelines.open_source`).
        tracking: How objects are tracked.
        out: The annotated video to write: boxes, identities, trails, and what was counted. It has the rate and the
            rotation of the source.
        tracks: The file to write with the tracks in MOTChallenge's format. Its frames are counted from 1.
        fps: Frames per second that are taken of the video. Defaults to all of its frames.
        start: Time in seconds of the first frame. Defaults to 0.
        end: Time in seconds before which frames are read. Defaults to the end.
        progress: Is told how many frames are done, and of how many, as far as that is known.

    Raises:
        FileNotFoundError: There is no such video.
        ValueError: It is no video, it has no frame that can be read, the model is no detector, there is no such class
            or tracker, or a number is out of its range.
        ImportError: The extra `video` is not installed.
    """
    check_detector(predictor)
    how = tracker(tracking.tracker) if isinstance(tracking.tracker, str) else tracking.tracker
    how = _fitted(how, predictor, tracking.threshold)
    chosen = _class_numbers(predictor.class_names, tracking.classes)
    appearance, borders = tracking.appearance, tracking.borders
    if how.budget and appearance is None:
        raise ValueError(f"the tracker {how.name!r} compares appearances: give a model that embeds pictures of objects")
    faults: list[Fault] = []
    video = open_source(source, fps=fps, start=start, end=end, faults=faults)
    first = next(video.frames, None)
    if first is None:
        reason = faults[-1].reason if faults else "has no frame in this time"
        raise ValueError(f"{source}: {reason}")
    identities: dict[str, set[int]] = {}
    trails, counts, left_out, done = Trails(), [Counts() for _ in borders], 0, 0
    with ExitStack() as files:
        picture = None if out is None else VideoWriter(out, fps=video.fps, rotation=first.rotation)
        rows = None if tracks is None else files.enter_context(MotWriter(tracks))
        if picture is not None:
            files.enter_context(picture)
        every = track_frames(predictor, chain([first], video.frames), how, appearance=appearance, classes=chosen)
        for frame, tracked in every:
            counts = [count(border, before, tracked) for border, before in zip(borders, counts, strict=True)]
            for identity, number in zip(tracked.identities.tolist(), tracked.classes.tolist(), strict=True):
                identities.setdefault(predictor.class_names[number], set()).add(identity)
            left_out += len(tracked.left_out)
            done += 1
            if rows is not None:
                rows.write(tracked.as_sample())
            if picture is not None:
                drawn = draw_tracks(
                    frame.image,
                    tracked,
                    predictor.class_names,
                    trails=trails.add(tracked),
                    borders=borders,
                    counts=counts,
                )
                picture.write(np.asarray(drawn))
            if progress is not None:
                progress(done, max(done, video.length or done))
    return TrackedVideo(
        done,
        video.fps,
        {name: len(those) for name, those in sorted(identities.items())},
        {border.name: _named(one, predictor.class_names) for border, one in zip(borders, counts, strict=True)},
        left_out,
        tuple(faults),
    )


def track_frames(
    predictor: Predictor,
    frames: Iterable[Frame],
    how: Tracker,
    *,
    appearance: Appearance | None = None,
    classes: Sequence[int] | None = None,
) -> Iterator[tuple[Frame, TrackedFrame]]:
    """Yields each frame with its tracks, with at most three batches of frames in memory.

    Args:
        predictor: A detector.
        frames: The frames.
        how: The tracker.
        appearance: A function from pictures to their embeddings.
        classes: Numbers of the classes to track. Defaults to all.

    Raises:
        ValueError: As `zoo.tracking.step` raises it, or a model does not give what is needed.
    """
    ahead: deque[Frame] = deque()

    def images() -> Iterator[np.ndarray]:
        for frame in frames:
            ahead.append(frame)
            yield frame.image

    least = predictor.contract.score_threshold
    state = State()
    for answer in predictor.stream(images(), threshold=least, batch_size=BATCH_SIZE):
        frame = ahead.popleft()
        found = detections_of(answer, classes)
        if appearance is not None and how.budget:
            found["embeddings"] = _embedded(appearance, frame.image, found["boxes"])
        state, tracked = step(how, state, found)
        yield frame, tracked


def detections_of(answer: Any, classes: Sequence[int] | None = None) -> dict[str, np.ndarray]:
    """Returns a detector's answer as a tracker takes it: `boxes`, `scores` and `classes`.

    Args:
        answer: The answer of a detector, with `objects`.
        classes: Numbers of the classes to keep. Defaults to all.
    """
    objects = [one for one in answer.objects if classes is None or one.index in classes]
    return {
        "boxes": np.array([one.box for one in objects], np.float64).reshape(-1, 4),
        "scores": np.array([one.score for one in objects], np.float64),
        "classes": np.array([one.index for one in objects], np.int64),
    }


def check_detector(predictor: Predictor) -> None:
    """Checks that a model finds objects.

    Raises:
        ValueError: It does not.
    """
    if not {"boxes", "scores", "classes"} <= set(predictor.contract.outputs()):
        raise ValueError(f"expected a detector, got a model of the task {predictor.task.name!r}, which gives no boxes")


def _embedded(appearance: Appearance, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Returns the embeddings of the parts of a frame inside of boxes, float32 `[m, features]`."""
    height, width = image.shape[:2]
    with np.errstate(invalid="ignore"):
        corners = np.nan_to_num(np.clip(boxes, 0, (width, height, width, height)))
    left, top = np.floor(corners[:, :2]).T.astype(int)
    left, top = np.minimum(left, width - 1), np.minimum(top, height - 1)
    right, bottom = np.maximum(np.ceil(corners[:, 2:]).T.astype(int), [left + 1, top + 1])
    crops = [image[y1:y2, x1:x2] for x1, y1, x2, y2 in zip(left, top, right, bottom, strict=True)]
    return appearance(crops) if crops else np.zeros((0, 1), np.float32)


def _fitted(how: Tracker, predictor: Predictor, threshold: float | None) -> Tracker:
    """Returns the tracker with the scores that the model gives to what is there."""
    own = list(getattr(predictor.contract, "thresholds", {}).values())
    if threshold is None:
        threshold = float(np.median(own)) if own else THRESHOLD
    if not 0 <= threshold <= 1:
        raise ValueError(f"expected a threshold in 0..1, got {threshold}")
    # A tracker that makes no difference between high and low scores goes on making none.
    return replace(how, new=threshold, high=threshold if how.high else 0.0, low=min(how.low, threshold))


def _class_numbers(names: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(f"the model knows no class {unknown[0]!r}; it knows {', '.join(names)}")
    return [names.index(name) for name in wanted] or None


def _named(counts: Counts, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns what was counted by the names of classes and directions."""
    named: dict[str, dict[str, int]] = {}
    for (number, direction), passed in sorted(counts.passed.items()):
        named.setdefault(names[number], {})[direction] = passed
    return named
