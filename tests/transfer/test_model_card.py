"""The model card: its numbers are the evaluation's, its warnings are earned, and names cannot break it."""

import numpy as np
import pytest

from pipelines import Data, Samples, Skipped
from transfer.measuring.classes import Evaluation
from transfer.report.model_card import FEW, model_card

CONFIG = {
    "data": "/somewhere/my `photos` | all",
    "backbone": "efficientnet_lite0",
    "weights": "imagenet",
    "image_size": None,
    "unfreeze": 0.3,
    "weights_licence": "Apache-2.0",
    "versions": {"keras": "3.15.1"},
}
METRICS = {"seconds": 61.4, "export_max_abs_diff": 3.2e-7}
NAMES = ("ant", "<b>bee</b> | *queen*", "cicada")


def evaluation(per_class=(40, 40, 5), names=NAMES, right=0.8):
    labels = np.repeat(np.arange(len(per_class)), per_class).astype("int32")
    generator = np.random.default_rng(0)
    given = np.where(generator.random(len(labels)) < right, labels, (labels + 1) % len(per_class))
    probabilities = np.full((len(labels), len(per_class)), 0.1, "float32")
    probabilities[np.arange(len(labels)), given] = 0.8
    return Evaluation(tuple(names), labels, probabilities)


def data(names=NAMES, skipped=()):
    def samples(n):
        return Samples(np.zeros((n, 2, 3, 3), "uint8"), [0] * n, [str(i) for i in range(n)])

    return Data(tuple(names), samples(20), samples(7), samples(9), tuple(skipped))


def card(found=None, *, part="test", config=None, **more):
    found = found or evaluation()
    return model_card({**CONFIG, **(config or {})}, METRICS, {part: found}, data(found.class_names, **more)), found


def test_the_numbers_are_those_of_the_evaluation():
    text, found = card()
    low, high = found.intervals.accuracy
    assert f"**{100 * found.accuracy:.1f}% ({100 * low:.0f}–{100 * high:.0f})** of 85 images of the test set" in text
    low, high = found.intervals.f1[0]
    row = next(line for line in text.splitlines() if line.startswith("| ant |"))
    assert f"{100 * found.f1[0]:.1f}% ({100 * low:.0f}–{100 * high:.0f})" in row
    assert row.endswith("| 40 |")
    assert "36 labelled images" in text
    assert "20 to train, 7 to validate, 9 to test. None was left out" in text
    assert "whose licence is Apache-2.0" in text
    assert "In 61 s" in text
    assert "| versions.keras | `3.15.1` |" in text
    assert "image_size" not in text
    wrong = found.confusion - np.diag(np.diag(found.confusion))
    assert f": {wrong.max()} times." in text


def test_warnings_are_earned():
    few, _ = card()
    assert f"- Of cicada there were fewer than {FEW} images" in few
    many, _ = card(evaluation((40, 40, 40)))
    assert "fewer than" not in many
    assert "no test set" not in many
    validated, _ = card(part="valid")
    assert "There was no test set" in validated
    assert "of the validation set" in validated


def test_names_cannot_break_the_page():
    text, _ = card(skipped=[Skipped("a", "b")])
    assert "<b>" not in text
    assert r"\<b\>bee\</b\> \| \*queen\*" in text
    assert r"`` /somewhere/my `photos` \| all ``" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    columns = {len(line.replace(r"\|", "").split("|")) for line in tables}
    assert columns == {7, 4}
    assert "1 were left out" not in text
    assert "1 image was left out" in text


@pytest.mark.parametrize("weights", [None, "my.weights.h5"])
def test_weights_of_ones_own_have_no_licence(weights):
    text, _ = card(config={"weights": weights, "weights_licence": None})
    assert "licence is" not in text
    assert ("random weights" if weights is None else "weights `my.weights.h5`") in text


def test_a_model_without_mistakes_and_one_with_many_classes():
    text, _ = card(evaluation(right=1.1))
    assert "Most often" not in text
    text, _ = card(evaluation((1,) * 130, [f"c{i}" for i in range(130)]))
    assert "c99 and 30 more" in text
    assert "| c99 |" in text
    assert "| c100 |" not in text
