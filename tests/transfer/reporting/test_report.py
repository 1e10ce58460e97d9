"""The page on a finished run: what holds for every task, and what only one of them has."""

import re
from dataclasses import replace

import numpy as np
import pytest
from markupsafe import Markup

from pipelines import Fault, Samples
from transfer.measuring.classes import Evaluation
from transfer.report import classes as class_report
from transfer.report import numbers as number_report
from transfer.report import page as report
from transfer.report.calibration import calibration_section, temperature_of
from transfer.report.counts import count_table
from transfer.report.figures import INK
from transfer.report.labels import worst_labels
from transfer.report.numbers import worst_numbers
from transfer.report.runs import headline_sentence, headline_tiles, training_note
from transfer.tasks.locate.sections import worst_places

SECTIONS = {
    "classify": "confusion calibration classes mistakes",
    "tag": "labels calibration mistakes",
    "regress": "numbers errors mistakes",
    "heads": "heads head0-confusion head0-calibration head0-classes head0-mistakes head1-labels head1-calibration "
    "head1-mistakes head2-numbers head2-errors head2-mistakes",
    "locate": "classes overlap mistakes",
    "detect": "classes curves errors mistakes",
}
FIGURES = {"classify": 3, "tag": 3, "regress": 6, "heads": 8, "locate": 3, "detect": 3}


# What holds for every task


def test_it_is_well_formed_and_holds_every_section(page, task, runs):
    reader = runs.reader(page)
    assert reader.open == []
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "identifiers of inlined figures must not collide"
    sections = [attributes["id"] for attributes in reader.all("section")]
    assert sections == f"training {SECTIONS[task]} data time export configuration".split()
    links = [link["href"].removeprefix("#") for link in reader.all("a")]
    assert set(links) <= set(ids)
    assert len(links) == len(set(links))
    if task != "heads":
        assert links == sections


def test_nothing_is_fetched_and_no_script_runs(page, runs):
    reader = runs.reader(page)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in reader.tags}
    policy = next(a["content"] for a in reader.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    for _, attributes in reader.tags:
        for name in ("src", "href", "xlink:href"):
            if name in attributes:
                assert attributes[name].startswith(("data:image/jpeg;base64,", "#"))
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


def test_names_of_files_and_classes_are_escaped(page, runs):
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert any(runs.evil in alt["alt"] for alt in runs.reader(page).all("img")), "the parser sees the very name"


def test_references_inside_figures_are_resolved(page):
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= ids
    assert set(re.findall(r'xlink:href="#([^"]+)"', page)) <= ids


def test_pictures_and_figures_have_words_for_people_who_cannot_see_them(page, task, runs):
    reader = runs.reader(page)
    assert all(image["alt"] for image in reader.all("img"))
    figures = [svg for svg in reader.all("svg") if svg.get("role") == "img"]
    assert len(figures) == FIGURES[task]
    assert all(len(svg["aria-label"]) > 20 for svg in figures)


def test_figures_take_the_colour_of_the_page(page):
    assert "currentColor" in page
    assert INK not in page
    assert "prefers-color-scheme: dark" in page


def test_what_runs_share_is_there(page, runs):
    text = runs.reader(page).words
    for words in ("3.2e-07", "0.0001 allowed", "1 h 06 min", "1 min 01 s", "versions.keras 3.15.1", "image_size –"):
        assert words in text
    assert "3 faults were found in the data. Because of 2 of them, an image or an object was left out" in text
    assert f"/data/{runs.evil}.jpg an empty file (0 bytes) yes" in text
    assert "/data/labels.txt:3 a box that reached beyond the image was cut off no" in text
    assert "right of the line, the top of the network with it. Frozen layers ran once, in 3.2 s, and not in" in text
    assert len(page) < 1_000_000


def test_a_run_without_mistakes(faultless):
    assert "No fault was found in the data, and nothing was left out" in faultless.reader.words
    assert not faultless.reader.all("img")


def test_a_run_without_a_test_set_is_judged_by_its_validation_set(faultless):
    text = faultless.reader.words
    assert "of the validation set" in text
    assert "of the test set" not in text
    assert f"Validation {faultless.run.headline.label}" in text
    assert "There was no test set" in faultless.card
    assert "of the validation set" in faultless.card.split("## What it is for")[0]


# What the export and the data have to say


def test_an_export_that_was_not_proven(runs, tmp_path):
    text = runs.plain_words(tmp_path, proof=None)
    assert "Export not proven the trained model is kept" in text
    assert "must not be used. The trained model is in model.keras ; zoo export exports it again" in text


def test_quantised_models(runs, tmp_path):
    text = runs.plain_words(tmp_path, proof=runs.quantised())
    assert "int8/model.tflite 12 97.5% accuracy 0.930 0.920" in text


def test_many_faults_are_not_all_listed(runs, tmp_path):
    text = runs.plain_words(tmp_path, faults=tuple(Fault(f"/data/{i}.jpg", "not an image") for i in range(1234)))
    assert "1234 faults were found" in text
    assert "The first 200 faults are listed" in text
    assert text.count("not an image") == report.MOST_LISTED


def test_one_fault(runs, tmp_path):
    text = runs.plain_words(tmp_path, faults=(Fault("a.jpg", "no image"),))
    assert "1 fault was found in the data. Because of it, an image or an object was left out" in text
    text = runs.plain_words(tmp_path, faults=(Fault("a.jpg", "turned", kept=True),))
    assert "1 fault was found in the data. Nothing was left out." in text


def test_an_audit_is_linked(runs, tmp_path):
    assert "is listed in the audit ." in runs.plain_words(tmp_path, settings={"audit": True})
    assert "audit ." not in runs.plain_words(tmp_path)


def test_counts_of_every_kind_of_data(runs):
    tables = {task: count_table(runs.make(task).data) for task in SECTIONS}
    rows = {task: {name: cells for name, *cells in table.rows} for task, table in tables.items()}
    assert rows["classify"] == {**dict.fromkeys(runs.names, ["6"] * 3), "(images)": ["18"] * 3}
    labels = runs.tag().data.test.labels
    assert rows["tag"]["ant"] == [str(int(labels[:, 0].sum()))] * 3
    ages = runs.regress().data.test.labels[:, 0]
    assert rows["regress"]["age: mean, and range"][2] == f"{ages.mean():.4g} ({ages.min():.4g}–{ages.max():.4g})"
    assert rows["heads"]["species: ant"] == ["6"] * 3
    assert (
        rows["heads"]["age: age: mean, and range"][0] == f"{ages[:18].mean():.4g} ({ages.min():.4g}–{ages.max():.4g})"
    )
    assert rows["detect"]["ant"] == ["11"] * 3
    assert rows["locate"]["(images without an object)"] == ["1"] * 3
    assert rows["locate"]["(images)"] == ["12"] * 3


# The training


@pytest.mark.parametrize(
    ("names", "cached", "why", "note"),
    [
        (("head",), True, "", "Only the new head was trained; the network below it stayed as it was. Frozen layers"),
        (
            ("top",),
            False,
            "9 MB are allowed",
            "The new head and the top of the network were trained together. Frozen layers ran in each epoch: 9 MB are "
            "allowed.",
        ),
        (("head", "top c5", "top c4"), False, "", "right of each line, more of the network with it."),
        (("all",), False, "", "The new head and the whole network were trained together."),
    ],
)
def test_the_page_says_what_was_trained_and_what_ran_once(runs, names, cached, why, note):
    full = runs.history("accuracy", "loss")
    phases = tuple(replace(full.phases[0], name=name, unfrozen=name, cached=cached) for name in names)
    assert note in training_note(replace(full, phases=phases, not_cached=why))


def test_columns_that_were_not_measured_are_not_drawn(runs, tmp_path):
    history = runs.history("loss", "map50")
    rows = [{**row, "map50": None, "val_loss": None} for row in history.rows]
    rows[2] = {**rows[2], "val_map50": None}
    phase = replace(history.phases[0], rows=tuple(rows))
    run = runs.detect(history=replace(history, phases=(phase,)))
    html = runs.page(run, tmp_path, runs.plain(run))
    labels = [svg["aria-label"] for svg in runs.reader(html).all("svg") if "epochs" in svg.get("aria-label", "")]
    assert labels == ["Loss over 8 epochs, at the end 0.125 in training",
                      "Map50 over 8 epochs, at the end 0.525 in validation"]  # fmt: skip


# Classifiers


@pytest.fixture(scope="module")
def classified(reports):
    return reports("classify")


def test_the_numbers_are_those_of_the_evaluation(classified):
    html, text, result = classified.page, classified.reader.words, classified.run.measured["test"]
    assert f"{100 * result.accuracy:.1f}%" in text
    assert f"{result.calibration_error:.3f}" in text
    assert f"{100 * result.precision[0]:.1f}%" in text
    assert f"{100 * result.f1[1]:.1f}%" in text
    low, high = result.intervals.recall[2]
    assert f"{100 * low:.0f}–{100 * high:.0f}" in text
    low, high = result.intervals.accuracy
    assert f"{100 * low:.0f}–{100 * high:.0f}%, 18 images" in text
    cells = re.findall(r'--share:[\d.]+">(\d+)</span>', html)
    assert [int(cell) for cell in cells] == result.confusion.ravel().tolist()


def test_the_temperature_is_chosen_on_the_validation_set_and_measured_on_the_test_set(classified):
    html, measured = classified.page, classified.run.measured
    result, temperature = measured["test"], measured["valid"].temperature
    assert f"a temperature of <b>{temperature:.2f}</b>, which was chosen on the validation set" in html
    assert f"it would be <b>{result.at_temperature(temperature).calibration_error:.3f}</b> here" in html
    assert temperature_of({"valid": result}) is None


def test_a_temperature_that_makes_calibration_worse_is_not_recommended():
    """On the validation set the answers are too sure; on the test set they are right as often as they say."""
    sure = np.tile([[0.9, 0.1], [0.1, 0.9]], (10, 1)).astype("float32")
    right = np.tile([0, 1], 10)
    half, few = right.copy(), right.copy()
    half[:10] = 1 - half[:10]
    few[:2] = 1 - few[:2]
    measured = {"test": Evaluation(("a", "b"), few, sure), "valid": Evaluation(("a", "b"), half, sure)}
    html = calibration_section(measured).html
    assert "No temperature is worth it" in html
    assert "with_temperature" not in html
    html = calibration_section({"test": measured["valid"], "valid": measured["valid"]}).html
    assert "with_temperature" in html


def test_the_worst_mistakes_come_first(classified):
    run = classified.run
    result = run.measured["test"]
    mistakes = class_report.worst_mistakes(run.model, run.data.test, result, run.contract.preparation)
    wrong = np.flatnonzero(result.predictions != result.labels)
    assert len(mistakes) == min(12, len(wrong))
    scores = [mistake.true_score for mistake in mistakes]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(min(result.probabilities[i, result.labels[i]] for i in wrong))
    for mistake in mistakes:
        assert mistake.true != mistake.predicted
        assert mistake.image.shape == (32, 48, 3)
        assert mistake.image.dtype == np.uint8
        assert mistake.heat.shape == (32, 48)
        assert mistake.heat.min() >= 0
        assert mistake.heat.max() <= 1


def test_a_mistake_shows_its_own_picture(runs):
    names, labels = ("a", "b"), [0, 1, 1, 0]
    shades = np.stack([np.full((40, 52, 3), 50 * i, "uint8") for i in range(4)])
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], "float32")
    mistakes = class_report.worst_mistakes(
        runs.classifier(2),
        Samples(shades, labels, ["zero", "one", "two", "three"]),
        Evaluation(names, np.array(labels, "int32"), probabilities),
        runs.crop,
    )
    assert [(m.name, m.true, m.predicted, int(m.image.max())) for m in mistakes] == [
        ("three", 0, 1, 150),
        ("one", 1, 0, 50),
    ]
    assert mistakes[0].score == pytest.approx(0.7)


def test_a_class_that_was_never_predicted_has_no_precision():
    names = ("a", "b", "c")
    result = Evaluation(names, np.array([0, 1, 1], "int32"), np.array([[0.9, 0.1, 0]] * 3, "float32"))
    rows = class_report._rows(result)
    assert [row["precision"] for row in rows] == [pytest.approx(1 / 3), None, None]
    assert [row["recall"] for row in rows] == [1, 0, None]


def test_many_classes_get_a_picture_of_the_matrix(runs):
    run = runs.classify(names=[f"class {i}" for i in range(30)], per_class=2)
    confusion = class_report.class_sections(run.measured, ())[0]
    reader = runs.reader(confusion.html)
    assert reader.open == []
    assert [svg["aria-label"] for svg in reader.all("svg")] == ["Confusion matrix of 30 classes"]
    assert "--share" not in confusion.html
    assert "Classes that are confused most often" in confusion.html
    assert not confusion.narrow


# Labels, numbers, heads, places, objects


def test_the_worst_labels_are_the_most_certain_wrong_ones(runs):
    run = runs.tag()
    result = run.measured["test"]
    worst = worst_labels(result, count=5)

    def cost(i):
        return sum(
            abs(float(label) - float(score))
            for label, score, threshold in zip(result.labels[i], result.probabilities[i], (0.5, 0.4, 0.6), strict=True)
            if (score >= threshold) != bool(label)
        )

    costs = [cost(i) for i in range(20)]
    assert [costs[i] for i in worst] == pytest.approx(sorted(costs, reverse=True)[:5])
    assert len(worst_labels(result, count=20)) == round((1 - result.exact_match) * 20)


def test_images_with_wrong_labels_say_which(reports):
    result, text = reports("tag").run.measured["test"], reports("tag").reader.words
    index = worst_labels(result)[0]
    kinds = {"wrong": result.predictions[index] & (result.labels[index] == 0),
             "missing": ~result.predictions[index] & (result.labels[index] == 1)}  # fmt: skip
    for kind, members in kinds.items():
        for i in np.flatnonzero(members)[:1]:
            assert f"{kind}: " in text
            assert f"{100 * result.probabilities[index, i]:.1f}%" in text
    assert f"{100 * result.exact_match:.1f}%" in text


def test_the_largest_errors_come_first_whatever_their_unit(runs):
    result = runs.regress().measured["test"]
    scaled = replace(result, labels=result.labels * [1, 1000], predictions=result.predictions * [1, 1000])
    assert worst_numbers(result) == worst_numbers(scaled)
    shares = (np.abs(result.errors) / result.labels.std(axis=0)).max(axis=1)
    assert worst_numbers(result, count=3) == np.argsort(-shares)[:3].tolist()


def test_figures_of_many_numbers_are_left_out(runs, monkeypatch):
    monkeypatch.setattr(number_report, "_figures", lambda evaluation, i, prefix: [Markup(f"<svg>{i}</svg>")])
    run = runs.regress(names=tuple(f"n{i}" for i in range(9)))
    errors = next(
        section for section in number_report.number_sections(run.measured, run.data.test) if section.id == "errors"
    )
    assert "Figures of the other 3 numbers are left out" in errors.html
    assert errors.html.count("<svg>") == 6


def test_the_unit_of_an_interval_is_that_of_the_number(runs):
    run = runs.regress(names=("age",))
    result = run.measured["test"]
    low, high = result.intervals[0]
    tile = headline_tiles(run)[0]
    assert (tile.name, tile.value) == ("Test mean absolute error", f"{result.mean_absolute_error[0]:.3f}")
    assert tile.note == f"{low:.4g}–{high:.4g}, 20 images"
    assert headline_sentence(run, "is it").startswith(
        f"**{tile.value} ({low:.4g}–{high:.4g})** is it. Numbers in brackets"
    )


def test_each_head_has_its_own_heading(reports):
    run, html, text = reports("heads").run, reports("heads").page, reports("heads").reader.words
    result = run.measured["test"]
    assert html.count('<h2 class="group"') == 3
    assert f"species class accuracy {result['species'].accuracy:.4g}" in text
    assert f"Test {run.headline.label} {result.score:.3f}" in text
    assert '<h3 class="title">Confusion matrix</h3>' in html


def test_wrong_classes_come_before_boxes_that_are_off(runs):
    result = runs.locate().measured["test"]
    worst = worst_places(result, count=12)
    assert set(worst) == set(np.flatnonzero(~result.right))
    other = [bool(result.predictions[i] != result.labels[i]) for i in worst]
    assert other == sorted(other, reverse=True)
    ious = [result.ious[i] for i in worst if result.predictions[i] == result.labels[i]]
    assert ious == sorted(ious)


def test_a_localiser_without_objectness(runs, reports):
    text = runs.reader(runs.sections(runs.locate(objectness=False)).sections[0].html).words
    assert "The metrics leave out 1 image without an object, since the model does not tell whether there is one" in text
    assert "(no object)" not in text
    assert "(no object)" in reports("locate").reader.words


def test_a_detectors_numbers_are_those_of_coco(reports):
    run, text = reports("detect").run, reports("detect").reader.words
    result = run.measured["test"]
    numbers = result.summary()
    assert f"Test mAP50 {numbers['map50']:.3f} mAP {numbers['map']:.3f}, 22 objects" in text
    assert "Average Precision (AP) @[ IoU=0.50:0.95" in text
    assert f"{result.errors.counts['missed']}" in text
    assert f"{len(result.mistakes(run.contract.thresholds))} have mistakes at the thresholds above" in text
