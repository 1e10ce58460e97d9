"""`zoo audit` from the shell."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import transfer
from pipelines import Data, write_scenes
from transfer.cli.main import app
from transfer.runs.held_out import read_for


@pytest.fixture
def photos(tmp_path):
    """Two classes; one photo of each is there twice."""
    for number, name in enumerate(("ant", "bee")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for index in range(12):
            coarse = np.random.default_rng([number, index]).integers(0, 256, [6, 8, 3], dtype=np.uint8)
            Image.fromarray(coarse).resize((64, 48)).save(folder / f"{index}.jpg")
        (folder / "copy.jpg").write_bytes((folder / "0.jpg").read_bytes())
    return tmp_path / "photos"


def test_audit(photos, tmp_path):
    page, listed = tmp_path / "page.html", tmp_path / "list.txt"
    done = CliRunner().invoke(app, ["audit", str(photos), "--json", "--out", str(page), "--exclude-to", str(listed)])
    found = json.loads(done.stdout)
    kinds = {finding["kind"] for finding in found["findings"]}
    assert kinds & {"exact duplicates", "duplicates across splits"}
    assert done.exit_code == (not found["ok"])
    assert "<html" in page.read_text()
    lines = [line for line in listed.read_text().splitlines() if not line.startswith("#")]
    assert lines == found["exclude"]
    assert len(lines) == 2
    assert "2 files to leave out are listed" in " ".join(done.stderr.split())


def test_audit_for_people_and_against_a_run(photos, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "labels.txt").write_text("bee\nant\n")
    done = CliRunner().invoke(app, ["audit", str(photos), "--run", str(tmp_path / "run")])
    assert done.exit_code == 1
    assert "class order: The classes of the data and of the model have different orders" in done.stdout
    assert done.stdout.splitlines()[-1] == "26 images: errors found"


def test_audit_of_what_is_not_there(tmp_path):
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "nowhere")])
    assert done.exit_code == 1
    assert "no such folder" in done.stderr


def test_audit_says_as_what_annotations_were_recognised_and_takes_a_layout(tmp_path, make_box_scenes):
    others = [replace(scene, name=f"other {scene.name}") for scene in make_box_scenes(2, seed=1)]
    data = Data(("ant", "bee"), make_box_scenes(6), others)
    empty = [scene[:0] for scene in data.valid]
    for layout, part in (("voc", data.valid), ("coco", empty)):
        write_scenes(replace(data, valid=part), tmp_path / "photos" / layout, layout=layout)
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "photos")])
    assert "reading: The annotations are read as voc (voc/Annotations/" in done.stdout
    assert "there is coco, too" in done.stdout
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "photos" / "coco"), "--layout", "coco", "--json"])
    assert done.exit_code == 1
    (finding,) = [found for found in json.loads(done.stdout)["findings"] if found["kind"] == "no objects"]
    assert finding["message"] == "The 2 validation images have no objects to measure on (there are none at all)"
    picture = str(tmp_path / "grid.png")
    done = CliRunner().invoke(app, ["preview", str(tmp_path / "photos" / "voc"), "--layout", "via", "--out", picture])
    assert done.exit_code == 1  # what is named by hand is not guessed again
    for command in ("fit", "evaluate", "export", "audit", "preview"):
        assert "--layout" in CliRunner().invoke(app, [command, "--help"], terminal_width=200).stdout


def test_the_list_for_annotated_data_is_what_fit_leaves_out(tmp_path, make_box_scenes):
    train, valid = make_box_scenes(8), make_box_scenes(4, seed=1)
    copied = (replace(train[0], name="copy.png"), *valid[1:])
    write_scenes(Data(("ant", "bee"), train, copied, (), kind="boxes"), tmp_path / "data", layout="yolo")
    listed = tmp_path / "list.txt"
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "data"), "--exclude-to", str(listed)])
    assert done.exit_code == 1, done.output
    (left_out,) = (line for line in listed.read_text().splitlines() if not line.startswith("#"))
    settings = transfer.Detect(exclude=str(listed))
    data = read_for(settings, "detect", str(tmp_path / "data"), valid=0.15, test=0.15)
    assert len(data) == 11
    assert Path(left_out).name not in {Path(scene.image).name for part in data.splits.values() for scene in part}
