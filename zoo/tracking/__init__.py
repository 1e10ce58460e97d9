"""Multi-object tracking: who is who over time.

A tracker is a row of a table (`TRACKERS`): a motion model, stages of association, and when tracks begin and end. One
engine runs all of them: `step` takes a state and the detections of a frame, and returns the next state.

It needs NumPy and SciPy, and no TensorFlow.
"""

from zoo.tracking.counting import Counts, Line, Zone, count
from zoo.tracking.engine import TrackedFrame, step, track
from zoo.tracking.motion import MOTIONS, Motion
from zoo.tracking.state import State, Tracks
from zoo.tracking.trackers import TRACKERS, Stage, Tracker, tracker

__all__ = [
    "MOTIONS",
    "TRACKERS",
    "Counts",
    "Line",
    "Motion",
    "Stage",
    "State",
    "TrackedFrame",
    "Tracker",
    "Tracks",
    "Zone",
    "count",
    "step",
    "track",
    "tracker",
]
