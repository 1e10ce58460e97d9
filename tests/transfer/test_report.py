import re
from dataclasses import replace
from html.parser import HTMLParser

import keras
import numpy as np
import pytest

from pipelines import Data, EvaluationCrop, Samples, Skipped
from transfer.artifacts.exporting import Check, Proof
from transfer.measuring.classes import Evaluation
from transfer.report import page as report
from transfer.training.fine_tuning import History, Phase

EVIL = '<script>alert("x")</script> & $\\frac$'
CROP = EvaluationCrop((32, 48))


def samples(labels, *, part):
    rng = np.random.default_rng(len(part))
    images = rng.integers(0, 256, (len(labels), 40, 52, 3), "uint8")
    return Samples(images, labels, [f"{part}/{i} {EVIL}.jpg" for i in range(len(labels))])


def evaluation(names, labels, *, seed=0, sure=1.0):
    logits = np.random.default_rng(seed).normal(size=(len(labels), len(names)))
    probabilities = np.exp(sure * logits) / np.exp(sure * logits).sum(axis=1, keepdims=True)
    return Evaluation(tuple(names), np.asarray(labels, "int32"), probabilities.astype("float32"))


def history():
    def rows(phase, first, count):
        return tuple(
            {
                "epoch": first + i,
                "phase": phase,
                "loss": 1 / (first + i),
                "accuracy": 1 - 0.5 / (first + i),
                "val_loss": 1.1 / (first + i),
                "val_accuracy": 1 - 0.6 / (first + i),
                "learning_rate": 1e-3,
                "seconds": 1.5,
            }
            for i in range(count)
        )

    return History(
        (
            Phase("head", "none", 1e-3, 10, 90, rows("head", 1, 3), 4.5, cached=True),
            Phase("top", 0.3, 1e-4, 40, 60, rows("top", 4, 5), 7.5, cached=True),
        ),
        extraction_seconds=3.25,
    )


@pytest.mark.parametrize(
    ("found", "note"),
    [
        (history(), "right of the line, the top of the network with it. What is frozen ran once, in 3.2 s, and"),
        (History(history().phases[:1]), "The new head alone; the network under it stayed as it was. What is frozen"),
        (
            History((replace(history().phases[1], cached=False),), not_cached="9 MB are allowed"),
            "The new head and the top of the network together. Frozen layers ran in each epoch: 9 MB are allowed.",
        ),
    ],
)
def test_the_page_says_what_was_trained_and_what_ran_once(tmp_path, monkeypatch, found, note):
    monkeypatch.setitem(globals(), "history", lambda: found)
    page, _, _ = written(tmp_path / "report.html")
    assert note in page


def classifier(classes):
    keras.utils.set_random_seed(0)
    image = keras.Input((*CROP.size, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes, "softmax")(x))


def written(path, *, names=("ant", f"bee {EVIL}", "cicada"), per_class=6, skipped=(), sure=1.0, wrong=True):
    labels = np.repeat(np.arange(len(names)), per_class)
    test = samples(labels, part="test")
    data = Data(tuple(names), samples(labels, part="train"), samples(labels, part="valid"), test, tuple(skipped))
    found = evaluation(names, labels, sure=sure)
    if not wrong:
        found = replace(found, labels=found.predictions.astype("int32"))
    mistakes = report.worst_mistakes(classifier(len(names)), test, found, CROP)
    report.write(
        path,
        data=data,
        history=history(),
        evaluations={"test": found, "valid": evaluation(names, labels, seed=1)},
        mistakes=mistakes,
        proof=Proof((Check("saved_model", "image_bytes", 5, 3.2e-7),), 10, 1e-4),
        seconds={"listing the data": 0.02, "training": 4000.0, "measuring": 61},
        config={"data": f"/somewhere/photos {EVIL}", "backbone": "efficientnet_lite0", "image_size": None},
        versions={"keras": "3.15.1", "transfer-zoo": "0.1.0"},
    )
    return path.read_text(encoding="utf-8"), found, mistakes


class Reader(HTMLParser):
    """Collects what a browser would see."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    skipped = [Skipped(f"/data/{EVIL}.jpg", "an empty file (0 bytes)"), Skipped("/data/b\udcff.png", "not an image")]
    return written(tmp_path_factory.mktemp("report") / "report.html", skipped=skipped)


def test_it_is_well_formed_and_holds_every_part(page):
    reader = Reader(page[0])
    assert reader.open == []
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "identifiers of inlined figures must not collide"
    sections = {attributes["id"] for attributes in reader.all("section")}
    expected = "training confusion classes mistakes calibration data time export configuration"
    assert sections == set(expected.split())
    for link in reader.all("a"):
        assert link["href"].removeprefix("#") in sections


def test_nothing_is_fetched_and_no_script_runs(page):
    html = page[0]
    reader = Reader(html)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in reader.tags}
    policy = next(a["content"] for a in reader.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    for _, attributes in reader.tags:
        for name in ("src", "href", "xlink:href"):
            if name in attributes:
                assert attributes[name].startswith(("data:image/jpeg;base64,", "#"))
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}


def test_names_of_files_and_classes_are_escaped(page):
    html = page[0]
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert any(EVIL in alt["alt"] for alt in Reader(html).all("img")), "the parser sees the very name"


def test_references_inside_figures_are_resolved(page):
    html = page[0]
    ids = set(re.findall(r'\bid="([^"]+)"', html))
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= ids
    assert set(re.findall(r'xlink:href="#([^"]+)"', html)) <= ids


def test_pictures_and_figures_have_words_for_those_who_cannot_see_them(page):
    reader = Reader(page[0])
    assert all(image["alt"] for image in reader.all("img"))
    figures = [svg for svg in reader.all("svg") if svg.get("role") == "img"]
    assert len(figures) == 3
    assert all(len(svg["aria-label"]) > 20 for svg in figures)


def test_figures_take_the_colour_of_the_page(page):
    assert "currentColor" in page[0]
    assert report.INK not in page[0]
    assert "prefers-color-scheme: dark" in page[0]


def test_the_numbers_are_those_of_the_evaluation(page):
    html, found, _ = page
    text = " ".join(Reader(html).text)
    assert f"{100 * found.accuracy:.1f}%" in text
    assert f"{found.calibration_error:.3f}" in text
    assert f"{100 * found.precision[0]:.1f}%" in text
    assert f"{100 * found.f1[1]:.1f}%" in text
    low, high = found.intervals.recall[2]
    assert f"{100 * low:.0f}–{100 * high:.0f}" in text
    low, high = found.intervals.accuracy
    assert f"{100 * low:.0f}–{100 * high:.0f}%, 18 pictures" in text
    assert "3.2e-07" in text
    assert "1 h 06 min" in text
    assert "1 min 01 s" in text
    cells = re.findall(r'--share:[\d.]+">(\d+)</span>', html)
    assert [int(cell) for cell in cells] == found.confusion.ravel().tolist()


def test_the_temperature_is_of_the_validation_set_and_measured_on_the_other(page):
    html, found, _ = page
    names, labels = ("ant", "bee", "cicada"), np.repeat(np.arange(3), 6)
    temperature = evaluation(names, labels, seed=1).temperature
    expected = f"a temperature of <b>{temperature:.2f}</b>, chosen on the validation set"
    assert expected in html
    assert f"an error of <b>{found.at_temperature(temperature).calibration_error:.3f}</b>" in html
    assert report._temperature({"valid": found}) is None


def test_what_was_left_out_is_there_with_its_reason(page):
    text = " ".join(Reader(page[0]).text)
    assert "2 files were left out" in text
    assert f"/data/{EVIL}.jpg" in text
    assert "an empty file (0 bytes)" in text


def test_the_worst_mistakes_come_first(page):
    _, found, mistakes = page
    wrong = np.flatnonzero(found.predictions != found.labels)
    assert len(mistakes) == min(12, len(wrong))
    scores = [mistake.true_score for mistake in mistakes]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(min(found.probabilities[i, found.labels[i]] for i in wrong))
    for mistake in mistakes:
        assert mistake.true != mistake.predicted
        assert mistake.image.shape == (*CROP.size, 3)
        assert mistake.image.dtype == np.uint8
        assert mistake.heat.shape == CROP.size
        assert mistake.heat.min() >= 0
        assert mistake.heat.max() <= 1


def test_a_mistake_shows_its_own_picture():
    names, labels = ("a", "b"), [0, 1, 1, 0]
    shades = np.stack([np.full((40, 52, 3), 50 * i, "uint8") for i in range(4)])
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], "float32")
    mistakes = report.worst_mistakes(
        classifier(2),
        Samples(shades, labels, ["zero", "one", "two", "three"]),
        Evaluation(names, np.array(labels, "int32"), probabilities),
        CROP,
    )
    assert [(m.name, m.true, m.predicted, int(m.image.max())) for m in mistakes] == [
        ("three", 0, 1, 150),
        ("one", 1, 0, 50),
    ]
    assert mistakes[0].score == pytest.approx(0.7)


def test_a_run_without_mistakes(tmp_path):
    html, _, mistakes = written(tmp_path / "report.html", wrong=False)
    assert mistakes == []
    assert "Nothing was left out" in html
    assert not Reader(html).all("img")


def test_a_class_that_was_never_answered_has_no_precision(tmp_path):
    names = ("a", "b", "c")
    found = Evaluation(names, np.array([0, 1, 1], "int32"), np.array([[0.9, 0.1, 0]] * 3, "float32"))
    rows = report._classes(found, names)
    assert [row["precision"] for row in rows] == [pytest.approx(1 / 3), None, None]
    assert [row["recall"] for row in rows] == [1, 0, None]


def test_many_classes_get_a_picture_of_the_matrix(tmp_path):
    names = [f"class {i}" for i in range(30)]
    html, _, _ = written(tmp_path / "report.html", names=names, per_class=2)
    reader = Reader(html)
    assert reader.open == []
    assert len([svg for svg in reader.all("svg") if svg.get("role") == "img"]) == 4
    assert "--share" not in html.split("</style>")[1]
    assert "Most often taken for another" in html


def test_many_files_left_out_are_not_all_listed(tmp_path):
    skipped = [Skipped(f"/data/{i}.jpg", "not an image") for i in range(1234)]
    html, _, _ = written(tmp_path / "report.html", skipped=skipped)
    assert "1234 files were left out" in html
    assert html.count("not an image") == report.MOST_LISTED


def test_it_stays_small(page):
    assert len(page[0]) < 1_000_000
