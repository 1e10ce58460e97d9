"""Runs beside each other, read from their folders, for the headline metric of whatever task they are of."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from transfer.cli import main as cli
from transfer.runs.comparing import ABSENT, compare
from transfer.tasks import TASKS, task_of

SETTINGS = {"backbone": "efficientnet_lite0", "epochs": 10, "seed": 0}
FACTS = {"versions": {"keras": "3.15.1"}}


def write(folder, metrics, config, size=1000):
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.keras").write_bytes(bytes(size))
    return folder


def headline(task):
    metric = task_of(task).metrics[0]
    names = ("name", "label", "percent", "higher_is_better")
    return {"task": task, "headline": {name: getattr(metric, name) for name in names}}


def make_run(
    folder, *, task="classify", value=0.9, half=0.05, test=True, seconds=60.0, size=1000, data="/photos", facts=FACTS,
    **settings,
):  # fmt: skip
    name = task_of(task).metrics[0].name
    metrics = {**headline(task), f"test_{name}": None, "seconds": seconds}
    for part in ("test", "valid") if test else ("valid",):
        metrics |= {f"{part}_{name}": value}
        metrics |= {f"{part}_interval": None if half is None else [value - half, value + half]}
    config = {"format_version": 2, "task": task, "data": data, "settings": {**SETTINGS, **settings}, "facts": facts}
    return write(folder, metrics, config, size)


def make_old_run(folder, *, value=0.5, name="accuracy", **changes):
    """A run of the versions that wrote neither the task nor the headline, and settings beside facts."""
    metrics = {f"test_{name}": value, f"valid_{name}": value, "seconds": 1}
    return write(folder, metrics, {"data": "/photos", **SETTINGS, **FACTS, **changes})


def test_the_best_comes_first_with_what_was_done_differently(tmp_path):
    worse = make_run(tmp_path / "b", value=0.7, epochs=3, size=10)
    better = make_run(tmp_path / "a", value=0.9, facts={"versions": {"keras": "3.16.0"}}, unfreeze="c4")
    result = compare([worse, better])
    assert [run.folder for run in result.runs] == [better, worse]
    assert [run.bytes for run in result.runs] == [1000, 10]
    assert result.runs[0].interval == pytest.approx((0.85, 0.95))
    assert result.differences == {
        "epochs": (10, 3),
        "unfreeze": ("c4", ABSENT),
        "versions.keras": ("3.16.0", "3.15.1"),
    }
    assert result.notes == ()
    assert result.metric == task_of("classify").metrics[0]


@pytest.mark.parametrize("task", sorted(TASKS))
def test_runs_of_every_task_by_its_own_metric(tmp_path, task):
    metric = task_of(task).metrics[0]
    values = {"a": 0.25, "b": 0.75, "c": 0.5}
    result = compare([make_run(tmp_path / name, task=task, value=value, half=0.01) for name, value in values.items()])
    order = "bca" if metric.higher_is_better else "acb"
    assert [run.folder.name for run in result.runs] == list(order)
    document = json.loads(json.dumps(result.as_dict()))
    assert (document["task"], document["metric"]["name"]) == (task, metric.name)
    first = document["runs"][0]
    assert first == {
        "run": str(tmp_path / order[0]), "part": "test", "value": values[order[0]],
        "interval": [values[order[0]] - 0.01, values[order[0]] + 0.01], "seconds": 60.0, "bytes": 1000,
    }  # fmt: skip
    assert metric.label in result.plot().axes[0].get_xlabel()
    assert ("higher is better" in result.plot().axes[0].get_xlabel()) == metric.higher_is_better
    table = result.tables()[0]
    assert table.columns[:2] == ("run", metric.label)
    assert ("%" in table.rows[0][1]) == metric.percent


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"value": 0.88}, "by chance"),
        ({"value": 0.5, "data": "/others"}, "have different data"),
        ({"value": 0.5, "facts": {"data_fingerprint": "1"}}, "have different data"),
        ({"value": 0.5, "seed": 1}, "divide the data differently"),
        ({"value": 0.5, "test": False}, "of a validation set"),
    ],
)
def test_what_makes_a_comparison_doubtful_is_said(tmp_path, changes, note):
    result = compare([make_run(tmp_path / "a"), make_run(tmp_path / "b", **changes)])
    assert [note in line for line in result.notes] == [True]


def test_intervals_of_errors_overlap_in_the_same_way(tmp_path):
    runs = [make_run(tmp_path / name, task="regress", value=value) for name, value in (("a", 0.9), ("b", 0.88))]
    assert [run.folder.name for run in compare(runs).runs] == ["b", "a"]
    assert "by chance" in compare(runs).notes[0]
    far = [make_run(tmp_path / name, task="regress", value=value) for name, value in (("c", 0.9), ("d", 0.5))]
    assert compare(far).notes == ()


def test_older_runs_are_recognised_by_their_metrics(tmp_path):
    old, new = make_old_run(tmp_path / "old"), make_run(tmp_path / "new")
    result = compare([old, new])
    assert [run.folder for run in result.runs] == [new, old]
    assert result.runs[1].interval is None
    assert result.as_dict()["runs"][1]["interval"] is None
    assert result.differences == {}
    assert len(result.plot().axes[0].lines) == 3  # two points, one interval
    found = [make_old_run(tmp_path / name, name="map50", value=value) for name, value in (("c", 0.5), ("d", 0.6))]
    result = compare(found)
    assert (result.runs[0].task, result.metric.label, result.runs[0].value) == ("detect", "mAP50", 0.6)


def test_a_metric_that_is_not_defined_comes_last(tmp_path):
    runs = [make_run(tmp_path / "a", task="detect", half=None), make_run(tmp_path / "b", task="detect", half=None)]
    metrics = {**headline("detect"), "test_map50": None, "valid_map50": None, "seconds": 1}
    (runs[0] / "metrics.json").write_text(json.dumps(metrics))
    result = compare(runs)
    assert [run.value for run in result.runs] == [0.9, None]
    assert result.tables()[0].rows[1][1] == "–"
    assert len(result.plot().axes[0].lines) == 1


def test_from_the_shell(tmp_path):
    worse = make_run(tmp_path / "b [x] $a$", value=0.7, epochs=3)
    better = make_run(tmp_path / "a")
    picture = tmp_path / "picture.png"
    result = CliRunner().invoke(cli.app, ["compare", str(worse), str(better), "--plot", str(picture)])
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "90.0% (85–95)" in text
    assert text.index("90.0%") < text.index("70.0%")
    assert "epochs" in text
    assert "backbone" not in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    result = CliRunner().invoke(cli.app, ["compare", str(worse), str(better), "--json"])
    assert json.loads(result.stdout)["differences"] == {"epochs": [10, 3]}


def test_runs_of_different_tasks_are_refused(tmp_path):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", task="detect")]
    with pytest.raises(ValueError, match=r"only runs of one task .*a is of the task classify \(accuracy\), .*mAP50"):
        compare(runs)
    with pytest.raises(ValueError, match="only runs of one task"):
        compare([runs[0], make_old_run(tmp_path / "c", name="map50")])


def test_what_cannot_be_compared(tmp_path):
    run = make_run(tmp_path / "a")
    with pytest.raises(ValueError, match=r"two or more different runs to compare, got .*a$"):
        compare([run])
    with pytest.raises(ValueError, match="two or more different runs"):
        compare([run, tmp_path / "." / "a", make_run(tmp_path / "b")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no finished run of `zoo fit`: it has no metrics\.json"):
        compare([run, tmp_path / "empty"])
    result = CliRunner().invoke(cli.app, ["compare", str(run), str(tmp_path / "empty")])
    assert result.exit_code == 1
    assert "Error:" in result.stderr
    (tmp_path / "b" / "metrics.json").write_text(json.dumps({"seconds": 1}))
    with pytest.raises(ValueError, match=r"b/metrics\.json does not say of which task"):
        compare([run, tmp_path / "b"])


def test_comparing_loads_no_tensorflow():
    code = (
        "import sys, transfer; transfer.compare; from transfer.tasks import TASKS, task_of; "
        "[task_of(name) for name in TASKS]; print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
