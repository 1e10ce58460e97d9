import math

import keras
import pytest

import zoo
from zoo.models.efficientnet import VARIANTS, compound_scaling, scaling_candidates, search_scaling


def multiply_adds(row) -> int:
    """Counts the multiply-adds of the convolutions, independently of `zoo.cost`."""
    model = zoo.create_model(row, include_top=False)
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.Conv2D):
            total += math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
    return total


def test_phi_0_is_the_network_itself():
    assert compound_scaling(0) == VARIANTS["efficientnet_b0"]


@pytest.mark.parametrize(("phi", "name"), [(1, "efficientnet_b2"), (2, "efficientnet_b3")])
def test_whole_steps_are_the_rows_of_the_table_up_to_its_rounding(phi, name):
    row, published = compound_scaling(phi), VARIANTS[name]
    assert row.depth == pytest.approx(published.depth, abs=0.05)
    assert row.width == pytest.approx(published.width, abs=0.05)
    assert row.image_size == pytest.approx(published.image_size, rel=0.02)


def test_dropout_grows_from_that_of_b0_to_that_of_b7():
    assert [round(compound_scaling(phi).dropout, 2) for phi in (0, 3, 6, 7)] == [0.2, 0.35, 0.5, 0.5]


def test_cost_grows_as_documented():
    base, scaled = multiply_adds(VARIANTS["efficientnet_b0"]), multiply_adds(compound_scaling(1))
    assert base == pytest.approx(0.39e9, rel=0.02), "table 2 of the paper"
    assert scaled / base == pytest.approx(2.6, abs=0.05)


def test_candidates_meet_the_constraint_and_include_the_papers():
    candidates = scaling_candidates(step=0.1, tolerance=0.2)
    assert all(abs(a * b**2 * c**2 - 2) <= 0.2 and min(a, b, c) >= 1 for a, b, c in candidates)
    assert (2.0, 1.0, 1.0) in candidates
    assert (1.2, 1.1, 1.15) in scaling_candidates()
    assert len(set(candidates)) == len(candidates)


def test_search_ranks_by_the_score_it_is_given():
    seen = []

    def score(row):
        seen.append(row)
        return -abs(row.image_size - 258)

    found = search_scaling(score, candidates=[(2.0, 1.0, 1.0), (1.2, 1.1, 1.15), (1.0, 1.0, 1.4)])
    assert found[0] == (0, (1.2, 1.1, 1.15))
    assert [score for score, _ in found] == sorted((score for score, _ in found), reverse=True)
    assert seen[0].depth == 2.0
    assert seen[2].image_size == round(224 * 1.4)


@pytest.mark.parametrize("factors", [{"alpha": 0.9}, {"beta": 0.5}, {"gamma": 0}])
def test_factors_below_1_are_refused(factors):
    with pytest.raises(ValueError, match="at least 1"):
        compound_scaling(1, **factors)


def test_a_grid_without_a_step_is_refused():
    with pytest.raises(ValueError, match="above 0, got 0"):
        scaling_candidates(step=0)
