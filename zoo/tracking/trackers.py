"""The trackers, as rows of a table: a motion model, stages of association, and when tracks begin and end.

A new tracker is a new row. `zoo.tracking.step` runs any of them.
"""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from zoo.tracking.motion import MOTIONS

__all__ = ["DETECTIONS", "SIMILARITIES", "TRACKERS", "TRACKS", "Stage", "Tracker", "tracker"]

# What the fields of a stage may say.
SIMILARITIES = ("overlap", "appearance")
DETECTIONS = ("all", "high", "low")
TRACKS = ("all", "confirmed", "tentative", "recent", "recent or tentative")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One round of association: the tracks and the detections that no earlier stage has paired.

    Attributes:
        similarity: "overlap" (IoU of the boxes, in 0..1) or "appearance" (largest cosine similarity, in -1..1).
        least: The similarity from which on a pair may be made.
        detections: "high" for those of a score of at least the tracker's `high`, "low" for the others, or "all".
        tracks: "confirmed", "tentative", "recent" (confirmed, and seen in the frame before), "recent or tentative",
            or "all".
        enlarged: Share of their sides by which boxes are enlarged before they are compared.
        observed: Whether the last observed box of a track is compared, and not the predicted one.
        gated: Whether pairs that the motion model finds unlikely are excluded, at the 95% quantile.
        cascade: Whether tracks that were seen more recently choose first.
        scored: Whether the similarity is multiplied by the score of the detection.
        momentum: Weight of how well a pair continues the direction of the track.
    """

    similarity: str = "overlap"
    least: float = 0.3
    detections: str = "high"
    tracks: str = "all"
    enlarged: float = 0.0
    observed: bool = False
    gated: bool = False
    cascade: bool = False
    scored: bool = False
    momentum: float = 0.0

    def __post_init__(self) -> None:
        for name, choices in (("similarity", SIMILARITIES), ("detections", DETECTIONS), ("tracks", TRACKS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"expected {name} as one of {', '.join(choices)}; got {getattr(self, name)!r}")
        if self.enlarged < 0 or self.momentum < 0:
            raise ValueError(f"expected enlarged and momentum of 0 or more, got {self.enlarged} and {self.momentum}")


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """A row of the table of trackers.

    Attributes:
        name: Its name.
        motion: Name of a motion model (`zoo.tracking.MOTIONS`).
        stages: The rounds of association, in their order.
        high: Score in 0..1 from which on a detection counts as high.
        low: Score in 0..1 below which detections are left out.
        new: Score in 0..1 from which on a detection may begin a track.
        n_init: Number of frames in a row in which a track has to be seen before it is confirmed. In the first frames
            of a sequence tracks are confirmed at once.
        max_age: Number of frames for which a confirmed track may go unseen before it ends.
        duplicate: IoU from which on a detection is taken for one of an object that is tracked already, and begins no
            track.
        reupdate: Whether the filter of a track that is found again is corrected along the straight way between the two
            observations.
        history: Number of observed boxes that a track remembers.
        budget: Number of embeddings that a track remembers.

    Raises:
        ValueError: A value is out of its range, or there is no such motion model.
    """

    name: str
    stages: tuple[Stage, ...]
    motion: str = "sort"
    high: float = 0.0
    low: float = 0.0
    new: float = 0.0
    n_init: int = 3
    max_age: int = 30
    duplicate: float = 0.9
    reupdate: bool = False
    history: int = 1
    budget: int = 0

    def __post_init__(self) -> None:
        if self.motion not in MOTIONS:
            raise ValueError(f"expected motion as one of {', '.join(MOTIONS)}; got {self.motion!r}")
        for name in ("high", "low", "new", "duplicate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected {name} in 0..1, got {getattr(self, name)!r}")
        if self.n_init < 1 or self.max_age < 0 or self.history < 1 or self.budget < 0:
            raise ValueError(
                "expected n_init and history of 1 or more, max_age and budget of 0 or more; got "
                f"n_init={self.n_init}, history={self.history}, max_age={self.max_age}, budget={self.budget}"
            )
        needs = any(stage.similarity == "appearance" for stage in self.stages)
        if needs and not self.budget:
            raise ValueError("a stage compares appearances, so that expected a budget of 1 or more, got 0")


TRACKERS = {
    row.name: row
    for row in (
        # Bewley et al. 2016, "Simple Online and Realtime Tracking". The paper ends tracks after one unseen frame.
        Tracker(name="sort", motion="sort", stages=(Stage(least=0.3, detections="all"),), max_age=1),
        # Wojke et al. 2017, "Simple Online and Realtime Tracking with a Deep Association Metric".
        Tracker(
            name="deepsort",
            motion="deepsort",
            stages=(
                Stage(
                    similarity="appearance",
                    least=0.8,
                    detections="all",
                    tracks="confirmed",
                    gated=True,
                    cascade=True,
                ),
                Stage(least=0.3, detections="all", tracks="recent or tentative"),
            ),
            budget=100,
        ),
        # Zhang et al. 2022, "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", algorithm 1.
        Tracker(
            name="bytetrack",
            motion="deepsort",
            stages=(
                Stage(least=0.2, tracks="confirmed", scored=True),
                Stage(least=0.5, detections="low", tracks="recent"),
                Stage(least=0.3, tracks="tentative", scored=True),
            ),
            high=0.6,
            low=0.1,
            new=0.7,
            n_init=2,
        ),
        # Cao et al. 2023, "Observation-Centric SORT: Rethinking SORT for Robust Multi-Object Tracking".
        Tracker(
            name="ocsort",
            motion="sort",
            stages=(Stage(least=0.3, momentum=0.2), Stage(least=0.3, observed=True)),
            high=0.6,
            low=0.1,
            new=0.6,
            reupdate=True,
            history=3,
        ),
        # Yang et al. 2023, "Make It Easier by Buffering the Matching Space", with a Kalman filter as the motion model.
        Tracker(
            name="cbiou",
            motion="botsort",
            stages=(
                Stage(least=0.2, enlarged=0.3, detections="all"),
                Stage(least=0.2, enlarged=0.5, detections="all"),
            ),
        ),
        # OC-SORT with ByteTrack's second association, and with C-BIoU's enlarged boxes where lost tracks come back.
        # All values are those of these papers.
        Tracker(
            name="combined",
            motion="sort",
            stages=(
                Stage(least=0.3, momentum=0.2),
                Stage(least=0.5, detections="low", tracks="recent"),
                Stage(least=0.3, observed=True, enlarged=0.5),
            ),
            high=0.6,
            low=0.1,
            new=0.6,
            reupdate=True,
            history=3,
        ),
    )
}


def tracker(name: str = "combined", **changes: Any) -> Tracker:
    """Returns a tracker of the table, with some of its settings changed.

    Args:
        name: Name of a row of `TRACKERS`. Defaults to "combined".
        **changes: Fields of `Tracker` with other values, for example `max_age=60`.

    Raises:
        ValueError: There is no such tracker or field, or a value is out of its range.

    >>> tracker("sort", max_age=5).max_age
    5
    """
    if name not in TRACKERS:
        near = get_close_matches(name, TRACKERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"there is no tracker {name!r}; expected one of {', '.join(TRACKERS)}{hint}")
    unknown = [field for field in changes if field not in Tracker.__dataclass_fields__ or field == "name"]
    if unknown:
        fields = ", ".join(field for field in Tracker.__dataclass_fields__ if field != "name")
        raise ValueError(f"a tracker has no setting {unknown[0]!r}; expected some of {fields}")
    return replace(TRACKERS[name], **changes)
