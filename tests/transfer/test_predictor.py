"""Asking an exported model: every kind of input, bounded memory, files that go on where they stopped, no TensorFlow."""

import csv
import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipelines import EvaluationCrop
from transfer.artifacts.engines import choosing
from transfer.artifacts.manifest import MANIFEST
from transfer.cli import main as cli
from transfer.predict.embeddings import nearest, write_embeddings
from transfer.predict.loading import load
from transfer.predict.writing import write_predictions
from transfer.tasks.task import Options


def zoo(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def memory(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def folder(everywhere):
    return everywhere[1]


@pytest.fixture(scope="module")
def quick(folder):
    return load(folder, engine="onnx")


@pytest.fixture
def pictures(tmp_path):
    place = tmp_path / "pictures"
    (place / "more").mkdir(parents=True)
    draw = np.random.default_rng(3)
    for i in range(70):
        pixels = np.clip(draw.normal(draw.integers(0, 256, 3), 40, (30 + i % 7, 41, 3)), 0, 255).astype("uint8")
        Image.fromarray(pixels).save(place / ("more" if i % 2 else ".") / f"{i:02} ö.png")
    (place / "bad.jpg").write_bytes(b"no image")
    (place / "notes.txt").write_text("not looked at")
    return place


def test_every_kind_of_input_gets_the_same_answer(quick, pictures):
    file = pictures / "00 ö.png"
    pixels = np.asarray(Image.open(file))
    rows = [
        quick.probabilities(each)
        for each in (file, str(file), file.read_bytes(), pixels, pixels.astype("float32"), [file], pixels[None])
    ]
    rows.append(quick.probabilities(each for each in [file]))
    for row in rows:
        assert row.shape == (1, 4)
        np.testing.assert_array_equal(row, rows[0])


def test_a_folder_stands_for_its_images_and_unreadable_ones_say_why(quick, pictures):
    answers = quick.predict(pictures, batch_size=16)
    assert len(answers) == 71
    assert [answer.name for answer in answers] == sorted(answer.name for answer in answers)
    (bad,) = [answer for answer in answers if answer.error]
    assert bad.name.endswith("bad.jpg")
    assert "cannot be decoded" in bad.error
    single = {answer.name: quick.predict(answer.name)[0] for answer in answers[:3]}
    assert all(single[answer.name].predictions == answer.predictions for answer in answers[:3])
    with pytest.raises(ValueError, match=r"bad\.jpg cannot be decoded"):
        quick.probabilities(pictures)


def test_a_generator_is_read_as_answers_are_taken(quick):
    taken = 0

    def photos():
        nonlocal taken
        while True:
            taken += 1
            yield np.full((20, 30, 3), taken % 256, "uint8")

    answers = quick.stream(photos(), batch_size=4)
    assert [next(answers).name for _ in range(10)] == [f"photo {i}" for i in range(10)]
    assert taken <= 10 + 3 * 4
    answers.close()


def test_nothing_to_do(quick):
    assert quick.predict([]) == []
    assert quick.probabilities([]).shape == (0, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"top": 0}, "at least 1 answer"), ({"threshold": 2}, "score in 0..1"), ({"batch_size": 0}, "at least 1 photo")],
)
def test_bad_options_are_said_at_once(quick, options, message):
    with pytest.raises(ValueError, match=message):
        quick.stream([], **options)


def test_thresholds_leave_classes_out(quick):
    outputs = {"probabilities": np.array([0.05, 0.8, 0.1, 0.05], "float32")}

    def labels(**options):
        answer = quick.answer("x", outputs, (40, 60), Options(**options))
        return [prediction.label for prediction in answer.predictions]

    assert labels(top=3) == ["fly & co", "ant"], "bee needs 0.9"
    assert labels(top=3, threshold=0.5) == ["bee"]


def test_augmentation_averages_over_four_views(quick):
    pixels = np.random.default_rng(6).integers(0, 256, (50, 70, 3), "uint8")
    crops = [
        crop(pixels).numpy().astype("uint8") for crop in (quick.contract.preparation, EvaluationCrop((32, 48), 1.0))
    ]
    images = np.stack([view for crop in crops for view in (crop, crop[:, ::-1])])
    views = quick.engine.outputs("prepared", images)["probabilities"]
    assert np.ptp(views, axis=0).max() > 1e-4
    np.testing.assert_allclose(quick.probabilities(pixels, augment=True)[0], views.mean(axis=0), atol=1e-6)


def test_embeddings_find_the_photo_itself(quick, pictures, tmp_path):
    result = zoo("predict", quick_folder(quick), pictures / "more", "--out", tmp_path / "e.npz", "--engine", "onnx")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "e.npz") as file:
        names, vectors = file["paths"], file["embeddings"]
    assert len(names) == 35
    assert vectors.shape == (35, 8)
    places, similarities = nearest(vectors, quick.embeddings(pictures / "more" / "07 ö.png"), k=3)
    assert names[places[0, 0]] == "07 ö.png"
    assert similarities[0, 0] == pytest.approx(1)
    with pytest.raises(ValueError, match=r"k in 1\.\.35"):
        nearest(vectors, vectors, k=36)


def quick_folder(quick):
    return quick._keras_file.parent


def test_grad_cam_comes_from_the_keras_file_beside(quick, pictures, tmp_path):
    assert quick.can_explain
    heat = quick.explain(pictures / "00 ö.png")
    assert heat.shape == (32, 48)
    assert 0 <= heat.min() <= heat.max() <= 1
    result = zoo("predict", quick_folder(quick), pictures / "00 ö.png", "--grad-cam", tmp_path / "cams")
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "cams" / "00 ö.png.gradcam.png").size == Image.open(pictures / "00 ö.png").size


def test_without_layers_grad_cam_says_what_to_do(folder, tmp_path):
    shutil.copy(folder / "model.onnx", tmp_path / "model.onnx")
    alone = load(tmp_path / "model.onnx")
    assert not alone.can_explain
    with pytest.raises(ValueError, match="export keras, too"):
        alone.explain(np.zeros((5, 5, 3), "uint8"))


# Opening


def test_no_tensorflow_for_lean_artifacts(folder):
    code = (
        "import sys, numpy as np, transfer\n"
        f"for engine in ('auto', 'openvino', 'onnx', 'litert'):\n"
        f"    print(transfer.load({str(folder)!r}, engine=engine).predict(np.zeros((9, 8, 3), 'uint8'))[0].error)\n"
        "print([name for name in ('tensorflow', 'keras', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["None"] * 4 + ["[]"]


def test_the_fastest_engine_is_measured_once_and_remembered(folder, monkeypatch):
    measured = []

    def seconds(engine):
        measured.append(engine.name)
        return {"onnx": 1.0, "openvino": 3.0, "litert": 2.0}[engine.name]

    monkeypatch.setattr(choosing, "seconds", seconds)
    assert load(folder).engine.name == "onnx"
    assert sorted(measured) == ["litert", "onnx", "openvino"]  # TensorFlow takes longer to load than to lose
    assert load(folder).engine.name == "onnx"
    assert len(measured) == 3
    choosing._memory().write_text("nonsense")
    assert load(folder).engine.name == "onnx"
    assert len(measured) == 6


def test_engines_that_are_not_installed_are_passed_over(folder, monkeypatch):
    find = choosing.runtime_is_installed
    monkeypatch.setattr(choosing, "runtime_is_installed", lambda name: name == "litert" and find(name))
    assert load(folder).engine.name == "litert"


def test_what_was_exported_into_a_run_is_found(folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder, run, ignore=shutil.ignore_patterns("*.onnx", "*.xml", "*.tflite"))
    (run / MANIFEST).unlink()
    shutil.copytree(folder, run / "exported", ignore=shutil.ignore_patterns("saved_model", "*.xml", "*.tflite"))
    assert load(run).engine.name == "onnx"
    with pytest.raises(FileNotFoundError, match=r"holds nothing for litert.*zoo export RUN --format litert"):
        load(run, engine="litert")
    manifest = json.loads((run / "exported" / MANIFEST).read_text())
    (run / "exported" / MANIFEST).write_text(json.dumps(manifest | {"quantize": "int8"}))
    with pytest.raises(FileNotFoundError, match="holds nothing for onnx"):
        load(run, engine="onnx")


def test_a_changed_artifact_is_not_opened(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    contents = bytearray((copy / "model.onnx").read_bytes())
    contents[-30] ^= 1
    (copy / "model.onnx").write_bytes(contents)
    for source in (copy, copy / "model.onnx"):
        with pytest.raises(ValueError, match="is not the file that was exported"):
            load(source, engine="onnx")
    assert load(copy, engine="litert").engine.name == "litert"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "onyx"}, "engine is auto, openvino, onnx"),
        ({"engine": "onnx", "precision": "bfloat16"}, "OpenVINO has bfloat16"),
    ],
)
def test_engines_and_precisions_that_are_none(folder, options, message):
    with pytest.raises(ValueError, match=message):
        load(folder, **options)


def test_bfloat16_is_measured_before_it_is_used(folder, monkeypatch):
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(ValueError, match="has no bfloat16"):
            load(folder, precision="bfloat16")
        return
    assert load(folder, engine="openvino", precision="bfloat16").engine.precision == "bfloat16"
    assert load(folder, precision="bfloat16").engine.name == "openvino", "no other has it"
    monkeypatch.setattr(choosing, "PRECISION_TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="too coarse for this model"):
        load(folder, engine="openvino", precision="bfloat16")


# Files of predictions


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_predict_a_folder_into_a_file(quick, pictures, tmp_path):
    out = tmp_path / "new" / "predictions.csv"
    command = ("predict", quick_folder(quick), pictures, "--out", out, "--top", 2, "--engine", "onnx")
    result = zoo(*command)
    assert result.exit_code == 1  # one could not be read
    assert "bad.jpg cannot be decoded" in " ".join(result.stderr.split())
    rows = read_csv(out)
    assert len(rows) == 71
    assert list(rows[0]) == ["path", "error", "label1", "score1", "label2", "score2"]
    by_name = {row["path"]: row for row in rows}
    expected = quick.predict(pictures / "more" / "07 ö.png", top=2, threshold=None)[0].predictions
    assert by_name["more/07 ö.png"]["label1"] == expected[0].label
    assert float(by_name["more/07 ö.png"]["score1"]) == pytest.approx(expected[0].score, abs=1e-6)
    assert by_name["bad.jpg"]["error"]
    assert [path.name for path in out.parent.iterdir()] == ["predictions.csv"]
    assert "is there already" in " ".join(zoo(*command).stderr.split())
    assert zoo(*command, "--overwrite").exit_code == 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_stopped_job_goes_on_where_it_was(quick, pictures, tmp_path, monkeypatch, suffix):
    out = tmp_path / f"predictions{suffix}"
    (pictures / "bad.jpg").unlink()

    def stop(done, total):
        if done >= 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_predictions(quick, pictures, out, progress=stop)
    assert not out.exists()
    partial = tmp_path / f".predictions{suffix}.partial"
    with partial.open("a") as file:
        file.write('{"path": "half a li')
    with pytest.raises(ValueError, match="an unfinished job with another top"):
        write_predictions(quick, pictures, out, top=1)

    asked: list = []
    stream = type(quick).stream
    monkeypatch.setattr(
        type(quick), "stream", lambda self, photos, **options: asked.extend(photos) or stream(self, photos, **options)
    )
    written = write_predictions(quick, pictures, out)
    assert (written.num_photos, written.resumed, len(asked)) == (70, 32, 38)
    assert not partial.exists()
    if suffix == ".csv":
        names = [row["path"] for row in read_csv(out)]
    elif suffix == ".jsonl":
        names = [json.loads(line)["path"] for line in out.read_text().splitlines()]
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        names = parquet.read_table(out)["path"].to_pylist()
    assert sorted(names) == sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*.png"))


def test_files_that_cannot_be_written_are_said_first(quick, pictures, tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.csv, \.jsonl, \.parquet, got"):
        write_predictions(quick, pictures, tmp_path / "out.xlsx")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_predictions(quick, tmp_path / "nowhere", tmp_path / "out.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        write_predictions(quick, tmp_path / "empty", tmp_path / "out.csv")
    assert "takes one folder" in zoo("predict", quick_folder(quick), pictures / "00 ö.png", "--out", "x.csv").stderr
    with pytest.raises(ValueError, match=r"\.npz"):
        write_embeddings(quick, pictures, tmp_path / "out.csv")


# zoo export, zoo verify


def test_export_a_run_and_verify_it(finished, tmp_path):
    run = shutil.copytree(finished[0].folder, tmp_path / "run")
    result = zoo("export", run, "--format", "onnx", "keras", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["folder"] == str(run / "exported")
    assert {check["artifact"] for check in document["checks"]} == {"model.onnx", "model.keras"}
    assert load(run).engine.name == "onnx"
    result = zoo("verify", run / "exported")
    assert result.exit_code == 0, result.output
    assert "onnx: proven" in result.stdout
    assert zoo("verify", run).exit_code == 0
    (run / "exported" / "labels.txt").write_text("other\n")
    result = zoo("verify", run / "exported")
    assert result.exit_code == 1
    assert "is not the file that was exported" in " ".join(result.stderr.split())
    result = zoo("export", run, "--format", "onnx")
    assert "already holds" in " ".join(result.stderr.split())


def test_quantising_needs_data_and_takes_the_runs_own(finished, tmp_path, make_photos, monkeypatch):
    from transfer.runs.exporting import export_run
    from transfer.runs.held_out import held_out

    run, data = finished
    contract = load(run.folder).contract
    own = held_out(run.folder, None, contract).part
    assert 0 < len(own) < 36
    monkeypatch.chdir(data.parent)
    by_path = held_out(run.folder, f"./{data.name}", contract).part  # As `--int8-data` is written.
    assert by_path.names == own.names, "no image that was trained on is measured or calibrated on"
    others = held_out(run.folder, str(make_photos(tmp_path / "others", per_class=4, seed=1)), contract).part
    assert len(others) == 12
    for samples in (own, others):
        assert all(
            contract.class_names[label] in path for label, path in zip(samples.labels, samples.images, strict=True)
        )
    with pytest.raises(FileNotFoundError, match=r"has no model\.keras"):
        export_run(tmp_path)


@pytest.fixture
def learned(finished, tmp_path):
    """A run, a copy of the photos it was trained on, its contract, and the names of what it held out."""
    from transfer.runs.held_out import held_out

    run, data = finished
    contract = load(run.folder).contract
    shutil.copytree(data, tmp_path / "copy")
    return run.folder, tmp_path / "copy", contract, held_out(run.folder, None, contract).part.names


def test_of_a_copy_of_the_data_what_the_run_held_out_is_used(learned, tmp_path):
    from transfer.runs.held_out import held_out

    run, copy, contract, own = learned
    (copy / "sea" / "words, \udcff.jpg").unlink()
    found = held_out(run, str(copy), contract)
    assert (found.split, found.part.names) == ("test", own)
    assert "of these, what it held out is used" in str([fault for fault in found.faults if fault.kind == "trained on"])
    # A run of an earlier version has no list of what it was trained on, and yet a fingerprint.
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "trained_on.txt").unlink()
    assert held_out(tmp_path / "run", str(copy), contract).part.names == own
    (copy / "sea" / "photo 1.png").unlink()
    assert held_out(tmp_path / "run", str(copy), contract).split == "all"


def test_images_that_were_trained_on_are_not_measured_on_wherever_they_are(learned, tmp_path, make_photos):
    from transfer.runs.held_out import held_out

    run, copy, contract, _ = learned
    trained = set((run / "trained_on.txt").read_text().split())
    others = make_photos(tmp_path / "others", per_class=4, seed=1)
    for number, photo in enumerate(sorted(copy.rglob("photo*"))):
        photo.rename(others / photo.parent.name / f"{number} renamed{photo.suffix}")
    found = held_out(run, str(others), contract)
    assert found.split == "all"
    assert len(found.part) == 12 + 36 - len(trained)
    assert f"was trained on {len(trained)} of 48 images; they are left out" in found.faults[-1].reason
    for photo in others.rglob("photo*"):
        photo.unlink()
    for photo in others.rglob("* renamed*"):
        if hashlib.blake2b(photo.read_bytes(), digest_size=16).hexdigest() not in trained:
            photo.unlink()
    with pytest.raises(ValueError, match=rf"was trained on all {len(trained)} of these images.*name other photos"):
        held_out(run, str(others), contract)


def test_verify_something_else(tmp_path):
    assert "has no manifest.json" in " ".join(zoo("verify", tmp_path).stderr.split())


def test_export_of_a_format_that_is_none(finished):
    message = " ".join(zoo("export", finished[0].folder, "--format", "onyx").stderr.split())
    assert "formats are one or more of" in message
