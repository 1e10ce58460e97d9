"""MOTA, IDF1, HOTA and their counts, held against the package `trackeval`, and against sums by hand."""

import importlib.util

import numpy as np
import pytest

from zoo.metrics.tracking import combine, mot

FIGURES = {
    "hota": 0.29797182155761304,
    "deta": 0.4219218660549508,
    "assa": 0.21133268047022344,
    "mota": 0.3805970149253731,
    "motp": 0.7275028172135475,
    "idf1": 0.42379182156133827,
    "switches": 12,
    "fragmentations": 24,
    "mostly_tracked": 1,
}
EMPTY = {"boxes": np.zeros((0, 4)), "identities": np.zeros(0, int)}


def sequence(seed, *, frames=25, objects=6):
    """Objects that move, and tracks that miss them, swap identities, and see what is not there."""
    rng = np.random.default_rng(seed)
    place, speed = rng.uniform(0, 200, (objects, 2)), rng.uniform(-5, 5, (objects, 2))
    names = np.arange(objects) + 10
    truths, tracks = [], []
    for _ in range(frames):
        place = place + speed
        boxes = np.concatenate([place, place + (30, 50)], axis=1)
        there = rng.random(objects) > 0.1
        truths.append({"boxes": boxes[there], "identities": np.arange(objects)[there]})
        if rng.random() < 0.2:
            a, b = rng.choice(objects, 2, replace=False)
            names[[a, b]] = names[[b, a]]
        seen = rng.random(objects) > 0.25
        near = boxes[seen] + rng.normal(0, 4, (seen.sum(), 4))
        found = np.concatenate([near, rng.uniform(0, 99, (1, 4)) + (0, 0, 99, 99)])
        tracks.append({"boxes": found, "identities": np.append(names[seen], rng.integers(90, 93))})
    truths[3], tracks[5] = EMPTY, EMPTY
    return truths, tracks


def by_trackeval(truths, tracks):
    from trackeval.datasets._base_dataset import _BaseDataset
    from trackeval.metrics import CLEAR, HOTA, Identity

    def renamed(samples):
        known = np.unique(np.concatenate([s["identities"] for s in samples]))
        return [np.searchsorted(known, s["identities"]) for s in samples], len(known)

    data = {"num_timesteps": len(truths)}
    for name, samples in (("gt", truths), ("tracker", tracks)):
        data[f"{name}_ids"], data[f"num_{name}_ids"] = renamed(samples)
        data[f"num_{name}_dets"] = sum(len(s["boxes"]) for s in samples)
    data["similarity_scores"] = [
        _BaseDataset._calculate_box_ious(np.asarray(a["boxes"]), np.asarray(b["boxes"]), "x0y0x1y1")
        for a, b in zip(truths, tracks, strict=True)
    ]
    quiet = {"PRINT_CONFIG": False, "THRESHOLD": 0.5}
    return HOTA().eval_sequence(data) | CLEAR(quiet).eval_sequence(data) | Identity(quiet).eval_sequence(data)


@pytest.mark.skipif(importlib.util.find_spec("trackeval") is None, reason="the package trackeval is not installed")
@pytest.mark.parametrize("seed", range(4))
def test_all_measures_equal_those_of_trackeval(seed):
    truths, tracks = sequence(seed)
    result, expected = mot(truths, tracks), by_trackeval(truths, tracks)
    actual = [
        *(result.hota, result.deta, result.assa, result.loca, result.mota, result.motp, result.recall),
        *(result.precision, result.idf1, result.idp, result.idr, result.switches, result.fragmentations),
        *(result.mostly_tracked, result.partly_tracked, result.mostly_lost, result.misses, result.false_positives),
    ]
    names = [
        *("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "CLR_Re", "CLR_Pr", "IDF1", "IDP", "IDR"),
        *("IDSW", "Frag", "MT", "PT", "ML", "CLR_FN", "CLR_FP"),
    ]
    np.testing.assert_allclose(actual, [np.mean(expected[name]) for name in names], rtol=0, atol=1e-9)


def test_the_figures_of_trackeval():
    """The figures are those that trackeval 1.3.0 gives for this sequence."""
    summary = mot(*sequence(0)).summary()
    for name, value in FIGURES.items():
        assert summary[name] == pytest.approx(value, abs=1e-9), name


def test_perfect_tracks_and_none():
    truths, _ = sequence(1)
    perfect = mot(truths, truths)
    assert (perfect.mota, perfect.idf1, perfect.hota, perfect.motp, perfect.switches) == (1, 1, 1, 1, 0)
    nothing = mot(truths, [EMPTY] * len(truths))
    assert (nothing.mota, nothing.idf1, nothing.hota, nothing.recall) == (0, 0, 0, 0)
    assert nothing.mostly_lost == nothing.objects == 6
    empty = mot([EMPTY] * 3, truths[:2] + [EMPTY])
    assert empty.mota < 0
    assert empty.hota == 0


def test_a_switch_a_gap_and_a_false_positive_are_counted():
    box, far = [0.0, 0, 10, 20], [50.0, 0, 60, 20]
    truths = [{"boxes": [box], "identities": [1]}] * 6
    tracks = [
        {"boxes": [box], "identities": [5]},
        {"boxes": [far], "identities": [5]},
        {"boxes": [box], "identities": [5]},
        {"boxes": [box], "identities": [6]},
        {"boxes": [box, far], "identities": [6, 7]},
        {"boxes": [box], "identities": [6]},
    ]
    result = mot(truths, tracks)
    assert (result.matches, result.misses, result.false_positives) == (5, 1, 2)
    assert (result.switches, result.fragmentations) == (1, 1)
    assert result.mota == pytest.approx(1 - 4 / 6)
    assert result.idf1 == pytest.approx(2 * 3 / (6 + 7))
    assert (result.mostly_tracked, result.partly_tracked, result.mostly_lost) == (1, 0, 0)


def test_what_is_ignored_is_neither_right_nor_wrong():
    box, other = [0.0, 0, 10, 20], [50.0, 0, 60, 20]
    truths = [{"boxes": [box, other], "identities": [1, 2], "ignored": [False, True]}] * 3
    for tracks in ([{"boxes": [box], "identities": [1]}], [{"boxes": [box, other], "identities": [1, 2]}]):
        result = mot(truths, tracks * 3)
        assert (result.mota, result.idf1, result.hota, result.false_positives, result.objects) == (1, 1, 1, 0, 1)


def test_results_of_sequences_add_up():
    parts = [mot(*sequence(seed)) for seed in (0, 1)]
    together = combine(parts)
    assert together.matches == sum(part.matches for part in parts)
    assert together.mota == pytest.approx(
        sum(part.mota * part.num_truths for part in parts) / sum(part.num_truths for part in parts)
    )
    with pytest.raises(ValueError, match="got none"):
        combine([])


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ({"boxes": [[0, 0, 5, 5]]}, "no identities"),
        ({"boxes": [[0, 0, 5, 5]] * 2, "identities": [1, 1]}, "identity 1 twice"),
        ({"boxes": [[0, 0, 5, np.nan]], "identities": [1]}, "not finite"),
        ({"boxes": [[0, 0, 5, 5]], "identities": [1, 2]}, "1 boxes, but 2 identities"),
        ({"boxes": [[0, 0, 5, 5]], "identities": [1.5]}, "not whole"),
        ({"boxes": [[0, 0, 5, 5]], "identities": [1], "ignored": [True, False]}, "but 2 ignored"),
    ],
)
def test_what_cannot_be_measured_is_refused(truth, message):
    with pytest.raises(ValueError, match=message):
        mot([truth], [EMPTY])
    with pytest.raises(ValueError, match="same frames, got 1 and 0"):
        mot([truth], [])
