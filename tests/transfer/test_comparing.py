"""Runs beside each other, read from their folders."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from transfer.cli import main as cli
from transfer.runs.comparing import ABSENT, compare

CONFIG = {"data": "/photos", "backbone": "efficientnet_lite0", "epochs": 10, "seed": 0, "versions": {"keras": "3.15.1"}}


def make_run(folder, *, accuracy=0.9, half=0.05, test=True, seconds=60.0, size=1000, **changes):
    folder.mkdir()
    parts = ("test", "valid") if test else ("valid",)
    metrics = {"test_accuracy": None, "seconds": seconds}
    for part in parts:
        metrics |= {f"{part}_accuracy": accuracy, f"{part}_interval": [accuracy - half, accuracy + half]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    (folder / "model.keras").write_bytes(bytes(size))
    return folder


def test_the_best_comes_first_with_what_was_done_differently(tmp_path):
    worse = make_run(tmp_path / "b", accuracy=0.7, epochs=3, size=10)
    better = make_run(tmp_path / "a", accuracy=0.9, versions={"keras": "3.16.0"}, unfreeze="c4")
    found = compare([worse, better])
    assert [run.folder for run in found.runs] == [better, worse]
    assert [run.bytes for run in found.runs] == [1000, 10]
    assert found.runs[0].interval == pytest.approx((0.85, 0.95))
    assert found.differences == {
        "epochs": (10, 3),
        "versions.keras": ("3.16.0", "3.15.1"),
        "unfreeze": ("c4", ABSENT),
    }
    assert found.notes == ()


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"accuracy": 0.88}, "may be chance"),
        ({"accuracy": 0.5, "data": "/others"}, "have other data"),
        ({"accuracy": 0.5, "seed": 1}, "divide the data differently"),
        ({"accuracy": 0.5, "test": False}, "of a validation set"),
    ],
)
def test_what_makes_a_comparison_doubtful_is_said(tmp_path, changes, note):
    found = compare([make_run(tmp_path / "a"), make_run(tmp_path / "b", **changes)])
    assert [note in each for each in found.notes] == [True]


def test_an_older_run_without_intervals(tmp_path):
    folders = [make_run(tmp_path / name) for name in ("a", "b")]
    metrics = {"test_accuracy": 0.5, "valid_accuracy": 0.5, "seconds": 1}
    (folders[0] / "metrics.json").write_text(json.dumps(metrics))
    found = compare(folders)
    assert found.runs[1].interval is None
    assert found.as_dict()["runs"][1]["accuracy_interval"] is None
    assert len(found.plot().axes[0].lines) == 3  # two points, one interval


def test_from_the_shell(tmp_path):
    worse = make_run(tmp_path / "b [x] $a$", accuracy=0.7, epochs=3)
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


def test_comparing_loads_no_tensorflow():
    code = "import sys, transfer; transfer.compare; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
