"""The filters against the textbook's matrices, the assignment against SciPy's, and whole trackers on made sequences."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from zoo.metrics.tracking import mot
from zoo.tracking import MOTIONS, TRACKERS, Stage, State, Tracker, step, track, tracker
from zoo.tracking.association import GATE, assign, cosine_similarity, direction_similarity, enlarge
from zoo.tracking.motion import boxes_of, dense, predict, squared_distance, start, update

BOXES = np.array([[10.0, 20, 50, 100], [200, 40, 260, 190], [5, 5, 45, 25]])
NAMES = sorted(name for name in TRACKERS if not TRACKERS[name].budget)


# Filters


def noise(name, value):
    """The noise of one track as the papers' codes have it: start, process and measurement, as vectors."""
    if name == "sort":
        return [10, 10, 10, 10, 1e4, 1e4, 1e4, 0], [1, 1, 1, 1, 0.01, 0.01, 0.0001, 0], [1, 1, 10, 10]
    if name == "deepsort":
        p, v = value[3] / 20, value[3] / 160
        first = [2 * p, 2 * p, 1e-2, 2 * p, 10 * v, 10 * v, 1e-5, 10 * v]
        return np.square(first), np.square([p, p, 1e-2, p, v, v, 1e-5, v]), np.square([p, p, 1e-1, p])
    p, v = value[[2, 3, 2, 3]] / 20, value[[2, 3, 2, 3]] / 160
    return np.concatenate([2 * p, 10 * v]) ** 2, np.concatenate([p, v]) ** 2, p**2


@pytest.mark.parametrize("name", sorted(MOTIONS))
def test_filters_equal_the_textbook(name):
    """Kalman's equations with full matrices, for one track after the other."""
    motion, rng = MOTIONS[name], np.random.default_rng(0)
    transition = np.eye(8) + np.eye(8, k=4)
    observation = np.eye(4, 8)
    state = start(motion, BOXES)
    means = [np.concatenate([value, np.zeros(4)]) for value in motion.measure(BOXES)]
    covariances = [np.diag(noise(name, mean[:4])[0]).astype(float) for mean in means]
    boxes = BOXES
    for _ in range(12):
        boxes = boxes + (3, 1, 3, 1) + rng.normal(0, 1, boxes.shape)
        state, measured = predict(motion, state), motion.measure(boxes)
        for i in range(len(BOXES)):
            means[i], covariances[i] = (
                transition @ means[i],
                transition @ covariances[i] @ transition.T + np.diag(noise(name, means[i])[1]),
            )
            total = observation @ covariances[i] @ observation.T + np.diag(noise(name, means[i])[2])
            surprise = measured[i] - observation @ means[i]
            distance = surprise @ np.linalg.inv(total) @ surprise
            np.testing.assert_allclose(squared_distance(motion, state, measured)[i, i], distance, rtol=1e-9, atol=1e-9)
            gain = covariances[i] @ observation.T @ np.linalg.inv(total)
            means[i] = means[i] + gain @ surprise
            covariances[i] = covariances[i] - gain @ total @ gain.T
        state = update(motion, state, measured)
        mean, covariance = dense(state)
        np.testing.assert_allclose(mean, means, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(covariance, covariances, rtol=1e-9, atol=1e-9)


def test_filters_equal_filterpy():
    filterpy = pytest.importorskip("filterpy.kalman", reason="the package filterpy is not installed")
    motion = MOTIONS["sort"]
    kalman = filterpy.KalmanFilter(dim_x=8, dim_z=4)
    kalman.F, kalman.H = np.eye(8) + np.eye(8, k=4), np.eye(4, 8)
    first, process, observe = noise("sort", None)
    kalman.P, kalman.Q, kalman.R = np.diag(first).astype(float), np.diag(process), np.diag(observe).astype(float)
    kalman.x[:4, 0] = motion.measure(BOXES[:1])[0]
    state = start(motion, BOXES[:1])
    for shift in range(1, 20):
        measured = motion.measure(BOXES[:1] + shift * 2.5)
        kalman.predict()
        kalman.update(measured[0])
        state = update(motion, predict(motion, state), measured)
        mean, covariance = dense(state)
        np.testing.assert_allclose(mean[0], kalman.x[:, 0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(covariance[0], kalman.P, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(MOTIONS))
def test_boxes_come_back_and_never_shrink_to_nothing(name):
    motion = MOTIONS[name]
    np.testing.assert_allclose(boxes_of(motion, start(motion, BOXES)), BOXES, atol=1e-9)
    state = start(motion, BOXES)
    state[1] = -1e3
    for _ in range(5):
        state = predict(motion, state)
    boxes = boxes_of(motion, state)
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_the_gate_is_the_quantile_of_chi_square():
    assert pytest.approx(9.4877, abs=1e-4) == GATE


# Association


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 7), st.integers(0, 9), st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.8]))
def test_the_assignment_has_the_largest_sum(n, m, seed, least):
    similarity = np.random.default_rng(seed).random((n, m))
    rows, columns = assign(similarity, least)
    assert len(set(rows.tolist())) == len(rows) == len(columns) == len(set(columns.tolist()))
    assert (similarity[rows, columns] >= least).all()
    gain = np.where(similarity >= least, similarity - least + 1e-6, 0)
    assert gain[rows, columns].sum() == pytest.approx(gain[linear_sum_assignment(gain, maximize=True)].sum(), abs=1e-9)


def test_similarities():
    unit = np.eye(3, dtype=np.float32)
    galleries, counts = np.stack([unit[[0, 1]], unit[[2, 2]], unit[[0, 1]]]), np.array([2, 1, 1])
    assert cosine_similarity(galleries, counts, unit).tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]
    left, right = BOXES[:1] - (8, 0, 8, 0), BOXES[:1] + (8, 0, 8, 0)
    pairs = [np.concatenate(parts) for parts in ([left, left, BOXES[:1]], [BOXES[:1]] * 3, [right, left - 9, right])]
    np.testing.assert_allclose(direction_similarity(*pairs), [0.5, -0.25, 0], atol=1e-6)
    assert enlarge(BOXES, 0) is BOXES


# Trackers


def crossing(frames=40, *, hidden=(), seed=0):
    """Two objects that walk past each other, and one that stands still; none is seen in the frames of `hidden`."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for i in range(frames):
        boxes = np.array([[4.0 * i, 20, 4 * i + 24, 90], [160 - 4.0 * i, 32, 184 - 4 * i, 110], [300, 10, 330, 99]])
        truths.append({"boxes": boxes, "identities": [1, 2, 3]})
        seen = boxes[:0] if i in hidden else boxes + rng.normal(0, 0.5, boxes.shape)
        found.append({"boxes": seen, "scores": np.full(len(seen), 0.9)})
    return truths, found


@pytest.mark.parametrize("name", NAMES)
def test_every_tracker_keeps_those_who_cross_apart(name):
    truths, found = crossing()
    result = mot(truths, [frame.as_sample() for frame in track(found, name)])
    assert (result.mota, result.idf1, result.switches) == (1, 1, 0)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"sort"}))
def test_objects_that_were_hidden_keep_their_identity(name):
    truths, found = crossing(hidden=range(8, 14))
    result = mot(truths, [frame.as_sample() for frame in track(found, name)])
    assert (result.switches, result.identities) == (0, 3)
    assert result.misses == 18


def test_a_step_changes_nothing_that_it_is_given():
    _, found = crossing(6)
    state = State()
    for sample in found[:4]:
        state, _ = step(tracker("combined"), state, sample)
    kept = {name: getattr(state.tracks, name).copy() for name in state.tracks.__dataclass_fields__}
    first = step(tracker("combined"), state, found[4])[1]
    again = step(tracker("combined"), state, found[4])[1]
    np.testing.assert_array_equal(first.boxes, again.boxes)
    for name, before in kept.items():
        np.testing.assert_array_equal(getattr(state.tracks, name), before, err_msg=name)


def test_tracks_are_confirmed_after_n_init_frames_and_end_after_max_age():
    how = tracker("cbiou", n_init=3, max_age=4)
    box = {"boxes": [[10, 20, 40, 90]]}
    frames = [{"boxes": []}] * 4 + [box] * 5 + [{"boxes": []}] * 4 + [box] + [{"boxes": []}] * 5 + [box] * 3
    shown = [frame.identities.tolist() for frame in track(frames, how)]
    assert shown == [[]] * 6 + [[1]] * 3 + [[]] * 4 + [[1]] + [[]] * 7 + [[2]]


def test_low_scores_keep_tracks_and_begin_none():
    _, found = crossing(20)
    for sample in found[5:]:
        sample["scores"][:] = 0.3
    frames = list(track(found, "bytetrack"))
    assert [len(frame) for frame in frames] == [3] * 20
    assert not any(len(frame) for frame in track(found[5:], "bytetrack"))


def test_a_filter_is_corrected_along_the_way_that_it_did_not_see():
    """After a gap the filter is that of a tracker that has seen the object go straight from one place to the other."""
    box = np.array([100.0, 20, 130, 90])
    where = [0, 1, 2, 3, *[None] * 8, 48]  # goes, is hidden, and comes back 45 pixels further right
    straight = [0, 1, 2, 3, *np.linspace(3, 48, 10)[1:]]
    how = Tracker(
        name="x", stages=(Stage(least=0.01, detections="all", observed=True, enlarged=2.0),), reupdate=True, history=2
    )

    def last(places, how):
        state = State()
        for x in places:
            state, _ = step(how, state, {"boxes": [] if x is None else [box + (x, 0, x, 0)]})
        assert state.tracks.identities.tolist() == [1]
        return state.tracks.motion

    np.testing.assert_allclose(last(where, how), last(straight, how), rtol=1e-9, atol=1e-9)
    assert np.abs(last(where, replace(how, reupdate=False)) - last(straight, how)).max() > 1


def test_classes_are_never_mixed():
    box = [10, 20, 40, 90]
    frames = [{"boxes": [box], "classes": [i % 2]} for i in range(8)]
    assert sum(len(frame) for frame in track(frames, tracker("cbiou", n_init=1))) == 8
    seen = {(int(f.identities[0]), int(f.classes[0])) for f in track(frames, tracker("cbiou", n_init=1))}
    assert seen == {(1, 0), (2, 1)}


def bouncing(frames=40):
    """Two balls that meet and bounce off each other, with a picture of each: one is red, the other blue."""
    for i in range(frames):
        gap = max(abs(20 - i) * 4 - 4, 0) + 10  # Half of their distance. They meet in the middle, and turn back.
        boxes = np.array([[100.0 - gap - 10, 40, 100 - gap + 10, 60], [100.0 + gap - 10, 40, 100 + gap + 10, 60]])
        visible = boxes if abs(20 - i) > 2 else boxes[:0]  # When they touch, the detector sees no balls.
        yield boxes, {"boxes": visible, "embeddings": np.eye(2, dtype=np.float32)[: len(visible)]}


def test_bouncing_balls_swap_with_motion_alone_and_stay_with_appearance():
    truths = [{"boxes": boxes, "identities": [1, 2]} for boxes, _ in bouncing()]
    plain = tracker("cbiou", stages=(Stage(detections="all", least=0.1),))
    motion = mot(truths, [frame.as_sample() for frame in track(({"boxes": f["boxes"]} for _, f in bouncing()), plain)])
    gated = TRACKERS["deepsort"].stages
    how = tracker("deepsort", stages=(replace(gated[0], gated=False), gated[1]))
    appearance = mot(truths, [frame.as_sample() for frame in track((found for _, found in bouncing()), how)])
    assert (motion.switches, appearance.switches) == (2, 0)
    assert appearance.idf1 > 0.9 > motion.idf1


def test_without_pictures_a_tracker_of_appearances_says_what_it_needs():
    with pytest.raises(ValueError, match=r"deepsort.*no embeddings"):
        list(track([{"boxes": BOXES}], "deepsort"))


# Bad input


def test_unusable_boxes_are_left_out_and_counted():
    bad = [[np.nan, 0, 5, 5], [5, 5, 5, 50], [9, 9, 2, 2], [0, 0, np.inf, 9]]
    state, frame = step(tracker(), State(), {"boxes": np.concatenate([BOXES, bad])})
    assert frame.left_out.tolist() == [3, 4, 5, 6]
    assert (len(frame), state.left_out) == (3, 4)
    assert frame.detections.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", NAMES)
def test_hundreds_of_duplicates_are_one_object(name):
    frames = [{"boxes": np.repeat(BOXES[:1] + 2 * i, 300, axis=0)} for i in range(5)]
    assert [frame.identities.tolist() for frame in track(frames, name)] == [[1]] * 5


def test_frames_without_detections():
    assert [len(frame) for frame in track([{"boxes": []}, {"boxes": np.zeros((0, 4))}] * 2)] == [0] * 4


def test_embeddings_may_begin_after_frames_without_detections():
    seen = {"boxes": BOXES, "embeddings": np.eye(3, 5)}
    empty = {"boxes": np.zeros((0, 4))}
    frames = [empty, empty, empty, seen, seen, empty, seen, seen, empty]
    assert [len(frame) for frame in track(frames, tracker("deepsort", n_init=1))] == [0, 0, 0, 3, 3, 0, 3, 3, 0]


def test_time_goes_on_and_never_back():
    how = tracker("sort", max_age=5, n_init=1)
    state, _ = step(how, State(), {"boxes": BOXES}, frame=10)
    later, frame = step(how, state, {"boxes": BOXES}, frame=14)
    assert (frame.frame, frame.identities.tolist(), later.frame) == (14, [1, 2, 3], 14)
    assert step(how, state, {"boxes": BOXES}, frame=10**9)[1].identities.tolist() == [4, 5, 6]
    for number in (10, 3):
        with pytest.raises(ValueError, match=f"after number 10, got number {number}"):
            step(how, state, {"boxes": BOXES}, frame=number)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"scores": [1]}, r"with boxes, got \['scores'\]"),
        ({"boxes": [[1, 2, 3]]}, "shape"),
        ({"boxes": BOXES, "scores": [1]}, "got 1 for 3 boxes"),
        ({"boxes": BOXES, "classes": [1]}, "got 1 for 3 boxes"),
        ({"boxes": BOXES, "embeddings": np.full((3, 4), np.nan)}, "diverged"),
    ],
)
def test_what_does_not_belong_together_is_refused(sample, message):
    with pytest.raises(ValueError, match=message):
        step(tracker(), State(), sample)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="did you mean bytetrack"):
        tracker("bytetrak")
    with pytest.raises(ValueError, match="no setting 'age'"):
        tracker("sort", age=3)
    for changes in ({"high": 2}, {"n_init": 0}, {"motion": "none"}):
        with pytest.raises(ValueError, match="expected"):
            tracker("sort", **changes)
    with pytest.raises(ValueError, match="budget"):
        tracker("deepsort", budget=0)
    with pytest.raises(ValueError, match="similarity"):
        Stage(similarity="colour")


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 10**6))
def test_invariants(name, seed):
    """An identity occurs once a frame, belongs to one class, and is never used again after it ended."""
    rng = np.random.default_rng(seed)
    state, how, ended, before = State(), tracker(name, max_age=2), set(), set()
    classes = {}
    for _ in range(8):
        corner = rng.uniform(0, 60, (rng.integers(0, 8), 2))
        boxes = np.concatenate([corner, corner + rng.uniform(0, 40, corner.shape)], axis=1)
        found = {"boxes": boxes, "scores": rng.random(len(boxes)), "classes": rng.integers(0, 2, len(boxes))}
        state, frame = step(how, state, found)
        names = frame.identities.tolist()
        assert len(set(names)) == len(names) == len(set(frame.detections.tolist()))
        assert all(classes.setdefault(i, c) == c for i, c in zip(names, frame.classes.tolist(), strict=True))
        np.testing.assert_array_equal(frame.detected, boxes[frame.detections])
        alive = set(state.tracks.identities.tolist())
        ended |= before - alive
        assert not ended & alive
        before = alive
        assert np.isfinite(frame.boxes).all()
        assert (frame.boxes[:, 2:] > frame.boxes[:, :2]).all()
