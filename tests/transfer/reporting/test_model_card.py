"""The model card: its numbers are the evaluation's, its warnings are earned, and names cannot break it."""

import re

import numpy as np
import pytest

from pipelines import Data, Fault, Samples
from transfer.measuring.classes import Evaluation
from transfer.report.card import model_card
from transfer.report.runs import FEW
from transfer.tasks.classify import sections as classifier

NAMES = ("ant", "<b>bee</b> | *queen*", "cicada")


def evaluation(per_class=(40, 40, 5), names=NAMES, right=0.8):
    labels = np.repeat(np.arange(len(per_class)), per_class).astype("int32")
    generator = np.random.default_rng(0)
    given = np.where(generator.random(len(labels)) < right, labels, (labels + 1) % len(per_class))
    probabilities = np.full((len(labels), len(per_class)), 0.1, "float32")
    probabilities[np.arange(len(labels)), given] = 0.8
    return Evaluation(tuple(names), labels, probabilities)


@pytest.fixture
def card(runs, monkeypatch):
    monkeypatch.setattr(classifier, "class_sections", lambda *args: ())  # It draws figures, which no card shows.
    monkeypatch.setattr(classifier, "worst_mistakes", lambda *args: [])

    def made(result=None, *, faults=(), **changes):
        result = result or evaluation()
        names = result.class_names

        def part(n, classes=0):
            return Samples(np.zeros((n, 12, 14, 3), "uint8"), np.resize(classes, n), [str(i) for i in range(n)])

        test = part(len(result.labels), result.labels)
        data = Data(names, part(20), test, test, faults=faults)
        run = runs.finished(
            "classify", data, {"test": result, "valid": result}, runs.contract("classify", names),
            **changes,
        )  # fmt: skip
        return model_card(run, classifier.sections(run))

    return made


def test_the_numbers_are_those_of_the_evaluation(card):
    result = evaluation()
    text = card(result)
    low, high = result.intervals.accuracy
    assert (
        f"**{100 * result.accuracy:.1f}% ({100 * low:.0f}–{100 * high:.0f})** of the 85 images of the test set" in text
    )
    low, high = result.intervals.f1[0]
    row = next(line for line in text.splitlines() if line.startswith("| ant |"))
    assert f"{100 * result.f1[0]:.1f}% ({100 * low:.0f}–{100 * high:.0f})" in row
    assert row.endswith("| 40 |")
    assert "190 annotated images" in text
    assert "20 to train, 85 to validate, 85 to test. Nothing was left out" in text
    assert "whose licence is Apache-2.0" in text
    assert "Making it took 1 h 07 min." in text
    assert "largest difference of 3e-07" in text
    assert "| versions.keras | `3.15.1` |" in text
    assert "| unfreeze | `0.3` |" in text
    assert "image_size" not in text
    wrong = result.confusion - np.diag(np.diag(result.confusion))
    assert f": {wrong.max()} times." in text


def test_warnings_are_earned(card):
    few = card()
    assert f"- There were fewer than {FEW} images of cicada to" in few
    many = card(evaluation((40, 40, 40)))
    assert "fewer than" not in many
    assert "no test set" not in many
    validated = card(test=False)
    assert "There was no test set" in validated
    assert "of the validation set" in validated


def test_names_cannot_break_the_page(card):
    text = card(faults=[Fault("a", "b")])
    assert "<b>" not in text
    assert r"\<b\>bee\</b\> \| \*queen\*" in text
    assert r"`` /somewhere/my `photos` \| <script>" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    columns = {len(line.replace(r"\|", "").split("|")) for line in tables}
    assert columns == {7, 4}
    assert "1 images" not in text
    assert "1 image or object was left out" in text


@pytest.mark.parametrize("weights", [None, "my.weights.h5"])
def test_weights_of_ones_own_have_no_licence(card, weights):
    text = card(settings={"weights": weights}, config={"weights_licence": None, "versions": {}})
    assert "licence is" not in text
    assert ("random weights" if weights is None else "the weights `my.weights.h5`") in text


def test_a_model_without_mistakes_and_one_with_many_classes(card):
    assert "Most often" not in card(evaluation(right=1.1))
    text = card(evaluation((1,) * 130, [f"c{i}" for i in range(130)]))
    assert "c99 and 30 more" in text
    assert "| c99 |" in text
    assert "| c100 |" not in text
    assert "The other 30 rows are in `report.html`" in text


def test_an_export_that_was_not_proven(card):
    assert "was not proven to answer as the trained one does, and must not be used" in card(proof=None)


# Every task


def test_every_card_has_every_part(report_of):
    run, text = report_of.run, report_of.card
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings == [
        "What it is for", "What it was made from", "How good it is", "What to beware of", "How it was made",
        "How to use it",
    ]  # fmt: skip
    assert text.startswith("# ")
    assert not re.search(r"(?<!\\)<script", re.sub(r"`+ .*? `+", "", text)), "outside of code, markup is escaped"
    assert "**" in text.split("## What it is for")[0]
    value = run.measured["test"].metrics()[run.headline.name]
    assert run.headline.text(value).rstrip("%") in text
    assert "\n\n\n" not in text
    for line in text.splitlines():
        assert line == line.rstrip()


def test_tables_are_whole(report_of):
    widths = []
    for line in report_of.card.splitlines():
        if not line.startswith("|"):
            assert len(set(widths)) <= 1, "each row of a table has as many cells"
            widths = []
        else:
            widths.append(len(re.sub(r"\\\|", "", line).split("|")))


def test_a_range_that_numbers_were_trained_on(reports):
    ages = reports("regress").run.data.train.labels[:, 0]
    assert f"For age it was trained on {ages.min():.4g} to {ages.max():.4g}" in reports("regress").card


def test_each_head_is_a_table_of_its_own(reports):
    text = reports("heads").card
    assert re.findall(r"^### (\S+)", text, flags=re.MULTILINE) == ["species", "tags", "age"]
    assert "species is one of these classes: ant, bee" in text


def test_a_detectors_card_has_the_thresholds(reports):
    run, text = reports("detect").run, reports("detect").card
    assert "| 0.42 | 11 |" in text
    assert f"There were fewer than {FEW} objects of ant" in text
    assert f"mAP50 {run.measured['test'].summary()['map50']:.3f}" in text
