"""Where a track will be in the next frame: Kalman filters with constant velocity, for all tracks at once.

A filter estimates four numbers of a box (`Motion.measure`), each with its velocity. Its noise is independent from one
number to the next in all published trackers, so that a filter of eight states is four filters of two. A state is one
array, float64 `[5, n, 4]`: for each of `n` tracks and each of the four numbers its value, its velocity, the variance of
the value, the covariance of value and velocity, and the variance of the velocity. `dense` gives the usual vectors and
matrices.

Source: Kalman 1960, "A New Approach to Linear Filtering and Prediction Problems".
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["MOTIONS", "Motion", "boxes_of", "dense", "predict", "squared_distance", "start", "update"]

SHORTEST = 1e-3  # Pixels: the shortest side of a predicted box.

Noise = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Motion:
    """A row of the table of motion models.

    Attributes:
        name: Its name.
        measure: Computes the four numbers of the filter, float64 `[n, 4]`, from boxes xyxy `[n, 4]`.
        boxes: Computes boxes from these numbers.
        start: Computes from the first measurement the variances of the numbers and of their velocities.
        process: Computes from the numbers the variances that one frame adds to them and to their velocities.
        observe: Computes from the numbers the variances of their measurement.
        sizes: Which of the four numbers have to stay above 0.
    """

    name: str
    measure: Callable[[np.ndarray], np.ndarray]
    boxes: Callable[[np.ndarray], np.ndarray]
    start: Callable[[np.ndarray], Noise]
    process: Callable[[np.ndarray], Noise]
    observe: Callable[[np.ndarray], np.ndarray]
    sizes: tuple[int, ...] = (2, 3)


def start(motion: Motion, boxes: np.ndarray) -> np.ndarray:
    """Starts filters at measured boxes, at rest.

    Args:
        motion: The motion model.
        boxes: Boxes xyxy, float `[n, 4]`, with an area.

    Returns:
        State, float64 `[5, n, 4]`.

    >>> value, velocity, *_ = start(MOTIONS["deepsort"], np.array([[10.0, 20, 30, 60]]))
    >>> value.tolist(), velocity.tolist()
    ([[20.0, 40.0, 0.5, 40.0]], [[0.0, 0.0, 0.0, 0.0]])
    """
    value = motion.measure(boxes)
    of_value, of_velocity = motion.start(value)
    none = np.zeros_like(value)
    return np.stack([value, none, of_value + none, none, of_velocity + none])


def predict(motion: Motion, state: np.ndarray) -> np.ndarray:
    """Returns the state one frame later.

    A size that would shrink to nothing stays what it is.

    Args:
        motion: The motion model.
        state: State, float64 `[5, n, 4]`.
    """
    value, velocity, variance, covariance, of_velocity = state
    added, added_to_velocity = motion.process(value)
    moved = value + velocity
    for size in motion.sizes:
        gone = moved[:, size] <= 0
        if gone.any():
            velocity = velocity.copy()
            velocity[gone, size] = 0
            moved[gone, size] = value[gone, size]
    result = np.empty_like(state)
    result[0] = moved
    result[1] = velocity
    result[2] = variance + 2 * covariance + of_velocity + added
    result[3] = covariance + of_velocity
    result[4] = of_velocity + added_to_velocity
    return result


def update(motion: Motion, state: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Returns the state after a measurement in the same frame.

    Args:
        motion: The motion model.
        state: Predicted state, float64 `[5, n, 4]`.
        measured: Measured numbers, float64 `[n, 4]`, as `motion.measure` gives them.
    """
    value, velocity, variance, covariance, of_velocity = state
    total = variance + motion.observe(value)
    gain, gain_of_velocity = variance / total, covariance / total
    surprise = measured - value
    result = np.empty_like(state)
    result[0] = value + gain * surprise
    result[1] = velocity + gain_of_velocity * surprise
    result[2] = (1 - gain) * variance
    result[3] = (1 - gain) * covariance
    result[4] = of_velocity - gain_of_velocity * covariance
    return result


def squared_distance(motion: Motion, state: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Computes the squared Mahalanobis distance of each measurement from each prediction.

    Source: Wojke et al. 2017, "Simple Online and Realtime Tracking with a Deep Association Metric", equation 1.

    Args:
        motion: The motion model.
        state: Predicted state, float64 `[5, n, 4]`.
        measured: Measured numbers, float64 `[m, 4]`.

    Returns:
        float64 `[n, m]`. Of the right pairs, 95% are below 9.49, the quantile of chi-square with 4 degrees of freedom.
    """
    value, _, variance, *_ = state
    weight = 1 / (variance + motion.observe(value))
    # Squares are multiplied out, so that no array [n, m, 4] is needed; the origin is near, so that little is lost.
    origin = value.mean(axis=0) if len(value) else 0.0
    value, measured = value - origin, measured - origin
    distance = (weight * value**2).sum(1)[:, None] - 2 * (weight * value) @ measured.T + weight @ (measured**2).T
    return np.maximum(distance, 0)


def boxes_of(motion: Motion, state: np.ndarray) -> np.ndarray:
    """Returns the boxes xyxy of a state, float64 `[n, 4]`."""
    return motion.boxes(state[0])


def dense(state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean, float64 `[n, 8]` (four values, then four velocities), and the covariance, `[n, 8, 8]`."""
    value, velocity, variance, covariance, of_velocity = state
    full = np.zeros((len(value), 8, 8))
    i = np.arange(4)
    full[:, i, i], full[:, i + 4, i + 4] = variance, of_velocity
    full[:, i, i + 4] = full[:, i + 4, i] = covariance
    return np.concatenate([value, velocity], axis=1), full


def _measure(shape: Callable[[np.ndarray, np.ndarray], Noise]) -> Callable[[np.ndarray], np.ndarray]:
    """Makes the function that measures the centre of boxes, and two numbers of their shape."""

    def measure(boxes: np.ndarray) -> np.ndarray:
        x1, y1, x2, y2 = np.asarray(boxes, np.float64).T
        return np.stack([(x1 + x2) / 2, (y1 + y2) / 2, *shape(x2 - x1, y2 - y1)], axis=1)

    return measure


def _boxes(sides: Callable[[np.ndarray, np.ndarray], Noise]) -> Callable[[np.ndarray], np.ndarray]:
    """Makes the function that computes boxes from their centres and two numbers of their shape."""

    def boxes(value: np.ndarray) -> np.ndarray:
        x, y, first, second = value.T
        width, height = (np.maximum(side, SHORTEST) / 2 for side in sides(first, second))
        return np.stack([x - width, y - height, x + width, y + height], axis=1)

    return boxes


# SORT estimates centre, area and ratio. The ratio keeps still: its velocity is 0 without any variance. The paper gives
# no noise; these are the figures that its authors published with their code.
_SORT_PROCESS = np.array([1.0, 1, 1, 1]), np.array([1e-2, 1e-2, 1e-4, 0])
_SORT_START = np.array([10.0, 10, 10, 10]), np.array([1e4, 1e4, 1e4, 0])
_SORT_OBSERVE = np.array([1.0, 1, 10, 10])

# DeepSORT's noise is proportional to the height: a twentieth of it for places and a 160th for velocities.
_PLACE, _SPEED = 1 / 20, 1 / 160


def _deepsort(places: float, ratio: float, speeds: float) -> Callable[[np.ndarray], Noise]:
    """Makes the function that computes the variances of (centre, ratio, height) and of their velocities."""
    place, speed = np.array([1.0, 1, 0, 1]) * _PLACE * places, np.array([1.0, 1, 0, 1]) * _SPEED * speeds
    ratios = np.array([0, 0, ratio, 0])
    speed_of_ratio = np.array([0, 0, 1e-5, 0])

    def noise(value: np.ndarray) -> Noise:
        height = value[:, 3:]
        return (place * height + ratios) ** 2, (speed * height + speed_of_ratio) ** 2

    return noise


def _sides(places: float, speeds: float) -> Callable[[np.ndarray], Noise]:
    """Makes the function that computes the variances of (centre, width, height), in proportion to width and height."""

    def noise(value: np.ndarray) -> Noise:
        sides = value[:, [2, 3, 2, 3]]
        return (places * _PLACE * sides) ** 2, (speeds * _SPEED * sides) ** 2

    return noise


MOTIONS = {
    row.name: row
    for row in (
        # Bewley et al. 2016, "Simple Online and Realtime Tracking", section 3.2.
        Motion(
            "sort",
            _measure(lambda w, h: (w * h, w / h)),
            _boxes(lambda s, r: (np.sqrt(np.maximum(s * r, 0)), np.sqrt(np.maximum(s / r, 0)))),
            lambda value: _SORT_START,
            lambda value: _SORT_PROCESS,
            lambda value: _SORT_OBSERVE,
        ),
        # Wojke et al. 2017, section 2.1. The figures are those that its authors published with their code.
        Motion(
            "deepsort",
            _measure(lambda w, h: (w / h, h)),
            _boxes(lambda a, h: (a * h, h)),
            _deepsort(2, 1e-2, 10),
            _deepsort(1, 1e-2, 1),
            lambda value: _deepsort(1, 1e-1, 1)(value)[0],
        ),
        # Aharon et al. 2022, "BoT-SORT: Robust Associations Multi-Pedestrian Tracking", section 3.1.
        Motion(
            "botsort",
            _measure(lambda w, h: (w, h)),
            _boxes(lambda w, h: (w, h)),
            _sides(2, 10),
            _sides(1, 1),
            lambda value: _sides(1, 1)(value)[0],
        ),
    )
}
