"""The guarantees that hold for every task of the table, each given by one engine and tested once for all tasks.

What a task cannot do is refused with a reason, and that is tested here, too.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from tests_tiny import FORMATS, RUN_FORMATS, TINY, tiny_settings
from typer.testing import CliRunner

import transfer
from transfer.cli.main import app
from transfer.runs import fitting
from transfer.runs.exporting import export_run
from transfer.tasks import TASKS, learning_of, task_of


def tasks(*fast: str) -> list[Any]:
    """All tasks. Those that only repeat, with trainings of their own, what the named ones show are slow tests."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in TASKS]


def tasks_and(values: Sequence[Any], *fast: tuple[str, Any]) -> list[Any]:
    """All tasks with each of some values, of which the named pairs are in the fast suite."""
    pairs = [(name, value) for name in TASKS for value in values]
    return [pair if pair in fast else pytest.param(*pair, marks=pytest.mark.slow) for pair in pairs]


ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = ("metrics.json", "history.csv", "skipped.csv", "config.json", "report.html", "model_card.md", "labels.txt",
             "contract.json", "manifest.json", "proof.npz", "model.keras", "model.onnx")  # fmt: skip


def weights_of(folder: Path) -> list[np.ndarray]:
    """The weights of a run's model."""
    learning_of(json.loads((folder / "contract.json").read_text())["task"])  # It knows the classes of the model.
    return keras.models.load_model(folder / "model.keras", compile=False).get_weights()


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def options_of(task: str, **changes) -> list[str]:
    """The options of `zoo fit` for a tiny run."""
    words = ["--task", task]
    for name, value in {**TINY[task], **changes}.items():
        option = f"--{name.replace('_', '-')}"
        words += (
            [option if value else option.replace("--", "--no-", 1)] if isinstance(value, bool) else [option, f"{value}"]
        )
    return words


def shell(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


# The run


def test_a_run_holds_every_document(task, tiny_run):
    run = tiny_run(task)
    assert set(DOCUMENTS) <= {path.name for path in run.folder.iterdir()}
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics == run.metrics
    headline = task_of(task).metrics[0]
    assert metrics["task"] == task
    assert metrics["headline"]["name"] == headline.name
    assert np.isfinite(metrics[f"valid_{headline.name}"])
    assert metrics["export_max_abs_diff"] <= 1e-4
    config = json.loads((run.folder / "config.json").read_text())
    assert set(config) == {"format_version", "task", "data", "settings", "facts"}
    assert config["settings"] == tiny_settings(task, formats=RUN_FORMATS[task]).as_dict()


def test_it_learns(task, tiny_run):
    """Better than chance by far: a task whose labels are lost on the way would not be."""
    metrics = tiny_run(task).metrics
    value = metrics[f"valid_{task_of(task).metrics[0].name}"]
    if task_of(task).metrics[0].higher_is_better:
        least = {"classify": 0.7, "tag": 0.7, "heads": 0.4, "locate": 0.2, "detect": 0.3, "segment": 0.4}
        assert value > least.get(task, 0.0)
    else:
        assert value < 0.15


def test_the_trained_model_opens_where_people_open_it(tiny_run):
    """That is a process that has imported Keras alone, or `zoo` where the model has classes of the zoo."""
    code = (
        "import sys, keras, numpy\nfor path in sys.argv[1:]:\n"
        "    model = keras.saving.load_model(path)\n"
        "    print(model(numpy.zeros((2, *model.input_shape[1:]), 'float32')) is not None)\n"
    )
    paths = {task: tiny_run(task).folder / "model.keras" for task in TASKS}
    own = [path for path in paths.values() if "zoo>" in _configuration(path)]
    for imports, files in (("", [path for path in paths.values() if path not in own]), ("import zoo\n", own)):
        words = [sys.executable, "-c", imports + code, *map(str, files)]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.stdout.split()[: len(files)] == ["True"] * len(files), done.stderr[-2000:]
    assert not {paths[task] for task in ("classify", "tag", "regress", "heads", "locate")} & {*own}


def _configuration(path: Path) -> str:
    """The configuration of a model as its file has it."""
    with zipfile.ZipFile(path) as archive:
        return archive.read("config.json").decode()


@pytest.mark.parametrize("task", tasks("classify"))
def test_the_shell_fits_and_says_how_good(task, tiny_data, tmp_path):
    changes = {name: 1 for name in ("epochs", "head_epochs") if TINY[task].get(name)}
    result = shell("fit", tiny_data(task), "--out", tmp_path / "run", *options_of(task, **changes))
    assert result.exit_code == 0, result.output
    for words in (task_of(task).metrics[0].label, "export differs by", "report.html"):
        assert words in result.output
    config = transfer.read_config(tmp_path / "run")
    assert config.task == task
    assert config.settings == tiny_settings(task, **changes)


@pytest.mark.parametrize("task", tasks("classify"))
def test_config_repeats_a_run_bit_for_bit(task, tiny_data, tmp_path):
    changes = {name: 1 for name in ("epochs", "head_epochs") if TINY[task].get(name)}
    first = transfer.fit(tiny_data(task), tmp_path / "first", tiny_settings(task, **changes), progress=False)
    result = shell("fit", "--config", first.folder / "config.json", "--out", tmp_path / "second")
    assert result.exit_code == 0, result.output
    assert "not as in the run that is repeated" not in result.output
    assert same(weights_of(first.folder), weights_of(tmp_path / "second"))


@pytest.mark.parametrize("task", tasks("classify"))
def test_what_the_shell_is_given_goes_before_the_config(task, tiny_run, tmp_path):
    changes = {"seed": 1, "formats": "none"} | {name: 0 for name in ("head_epochs",) if TINY[task].get(name)}
    words = options_of(task, **changes, epochs=1)[2:]
    result = shell("fit", "--config", tiny_run(task).folder, "--out", tmp_path / "run", *words)
    assert result.exit_code == 0, result.output
    assert transfer.read_config(tmp_path / "run").settings == tiny_settings(task, **changes, epochs=1)


class Stop(keras.callbacks.Callback):
    """Interrupts a training behind some batch, as Ctrl-C does."""

    def __init__(self, batches: int):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("task", "cache"), tasks_and((True, False)))
def test_an_interrupted_run_goes_on_to_the_same_weights(task, cache, tiny_data, tmp_path):
    short = {"epochs": 2, "head_epochs": 1, "cache": cache, "unfreeze": "c4", "test": 0.15}
    settings = tiny_settings(task, **short)
    whole = transfer.fit(tiny_data(task), tmp_path / "whole", settings, progress=False)
    for batches in (1, 5):
        with pytest.raises(KeyboardInterrupt):
            transfer.fit(
                tiny_data(task), tmp_path / "run", settings, resume=True, progress=False, callbacks=[Stop(batches)]
            )
    again = transfer.fit(tiny_data(task), tmp_path / "run", settings, resume=True, progress=False)
    assert same(weights_of(whole.folder), weights_of(again.folder))
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "run"}


SCRIPT = """
import sys
import keras, transfer
from tests_tiny import register, tiny_settings
register()
class Show(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        print("batch", flush=True)
transfer.fit(sys.argv[2], sys.argv[3], tiny_settings(sys.argv[1], epochs=3, head_epochs=0), resume=True, progress=False,
             callbacks=[Show()])
"""


@pytest.mark.parametrize("task", tasks("classify"))
def test_a_killed_run_goes_on_to_the_same_weights(task, tiny_data, tmp_path):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}
    command = [sys.executable, "-c", SCRIPT, task, tiny_data(task), str(tmp_path / "run")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for _ in range(9):  # It is in the second epoch then: there are 3 or more batches in one.
            assert process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    settings = tiny_settings(task, epochs=3, head_epochs=0)
    whole = transfer.fit(tiny_data(task), tmp_path / "whole", settings, progress=False)
    again = transfer.fit(tiny_data(task), tmp_path / "run", settings, resume=True, progress=False)
    assert same(weights_of(whole.folder), weights_of(again.folder))
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "run"}, "nothing half done stays behind"


@pytest.mark.parametrize("task", tasks())
def test_another_run_is_not_resumed(task, tiny_data, tmp_path):
    settings = tiny_settings(task, epochs=2, head_epochs=0)
    with pytest.raises(KeyboardInterrupt):
        transfer.fit(tiny_data(task), tmp_path / "run", settings, resume=True, progress=False, callbacks=[Stop(2)])
    with pytest.raises(ValueError, match="seed: 0 then, 1 now"):
        transfer.fit(tiny_data(task), tmp_path / "run", replace(settings, seed=1), resume=True, progress=False)
    with pytest.raises(FileExistsError, match="--resume"):
        transfer.fit(tiny_data(task), tmp_path / "run", settings, progress=False)


class Frozen(keras.callbacks.Callback):
    """Notes the weights of frozen layers at the beginning and the end."""

    def on_train_begin(self, logs=None):
        self.before = {layer.name: layer.get_weights() for layer in self.model.layers if not layer.trainable}

    def on_train_end(self, logs=None):
        assert any(self.before.values())
        for name, weights in self.before.items():
            assert same(weights, self.model.get_layer(name).get_weights()), name


@pytest.mark.parametrize(("task", "cache"), tasks_and((True, False), ("classify", True)))
def test_frozen_weights_stay_as_they_are(task, cache, tiny_data, tmp_path):
    settings = tiny_settings(task, epochs=1, head_epochs=1, unfreeze="c4", cache=cache)
    transfer.fit(tiny_data(task), tmp_path / "run", settings, progress=False, callbacks=[Frozen()])


@pytest.mark.parametrize("task", tasks("classify"))
def test_with_and_without_the_cache_the_first_losses_agree(task, tiny_data, tmp_path):
    """What is stored is what the frozen layers give: the loss of the first epoch is the same to rounding."""
    losses = []
    for cache in (True, False):
        settings = tiny_settings(task, epochs=0, head_epochs=1, unfreeze="none", cache=cache, batch_size=64)
        run = transfer.fit(tiny_data(task), tmp_path / f"run {cache}", settings, progress=False)
        header, row = (run.folder / "history.csv").read_text().splitlines()[:2]
        losses.append(float(row.split(",")[header.split(",").index("loss")]))
    # One batch holds all images, in another order; only dropout, which is drawn for another order, differs.
    assert losses[0] == pytest.approx(losses[1], rel=0.2)


@pytest.mark.parametrize("task", tasks())
def test_a_step_in_parts_is_nearly_the_whole_step(task, tiny_data, tmp_path, monkeypatch):
    """Two images at once for a step of eight: the weights differ by rounding."""
    settings = tiny_settings(task, epochs=1, head_epochs=0, batch_size=8, cache=False)
    weights = []
    for name in ("whole", "in parts"):
        lines: list[str] = []
        run = transfer.fit(tiny_data(task), tmp_path / name, settings, progress=False, announce=lines.append)
        weights.append(weights_of(run.folder))
        assert any("whose gradients are accumulated" in line for line in lines) == (name == "in parts"), lines
        monkeypatch.setattr(fitting, "micro_batches", lambda *_, **__: transfer.MicroBatches(2, 4, 9 * 10**9, "8 GB"))
    assert not same(*weights)
    # The loss of detection is a mean over the objects of those images that are computed at once, and the new batch
    # norms of segmentation take the statistics of these images.
    if task not in ("detect", "segment"):
        for whole, parts in zip(*weights, strict=True):
            np.testing.assert_allclose(parts, whole, atol=2e-3)


@pytest.mark.parametrize("task", tasks())
def test_what_is_excluded_is_not_learned(task, tiny_data, tmp_path):
    data = learning_of(task).read(tiny_data(task), tiny_settings(task), valid=0.15, test=0.15, seed=0)
    left_out = [str(image) for image in list(data.train.images)[:3]]
    (tmp_path / "list.txt").write_text("\n".join(left_out) + "\n", encoding="utf-8")
    settings = tiny_settings(task, epochs=1, head_epochs=0, exclude=str(tmp_path / "list.txt"))
    run = transfer.fit(tiny_data(task), tmp_path / "run", settings, progress=False)
    assert run.metrics["num_images"] == len(data) - 3


@pytest.mark.parametrize("task", tasks("classify"))
def test_a_trained_model_survives_a_failing_export(task, tiny_data, tmp_path, monkeypatch):
    from transfer.artifacts import exporting

    def fail(*arguments, **options):
        raise transfer.ExportError("it differs by 0.1")

    settings = tiny_settings(task, epochs=1, head_epochs=0)
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "prove", fail)
        with pytest.raises(transfer.RunUnfinished, match=r"differs by 0\.1") as caught:
            transfer.fit(tiny_data(task), tmp_path / "run", settings, progress=False)
    kept = caught.value.folder
    assert str(kept) in str(caught.value)
    assert not (tmp_path / "run").exists()
    metrics = json.loads((kept / "metrics.json").read_text())
    assert np.isfinite(metrics[f"valid_{task_of(task).metrics[0].name}"])
    assert metrics["export_max_abs_diff"] is None
    assert export_run(kept, tmp_path / "exported", formats=("keras", "onnx")).max_abs_diff <= 1e-4


# Artifacts


@pytest.mark.parametrize("task", tasks("classify", "detect", "segment"))
def test_every_format_is_proven(task, tiny_export):
    folder = tiny_export(task, FORMATS)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["artifacts"]) == set(FORMATS)
    verdicts = transfer.verify(folder)
    assert {verdict.artifact for verdict in verdicts} == set(FORMATS)
    assert all(verdict.checks and not verdict.skipped for verdict in verdicts)


def test_a_changed_file_is_found(task, tiny_export, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_export(task), tmp_path / "copy")
    contents = bytearray((folder / "model.onnx").read_bytes())
    contents[len(contents) // 2] ^= 1
    (folder / "model.onnx").write_bytes(contents)
    result = shell("verify", folder)
    assert result.exit_code == 1
    assert "model.onnx" in result.output


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["float16", "int8"])
def test_quantised_artifacts_stay_within_their_bound(task, quantize, tiny_run, tmp_path):
    run = tiny_run(task)
    proof = export_run(
        run.folder, tmp_path / "exported", formats=("onnx", "openvino", "litert"), quantize=quantize, bound=25
    )
    assert len(proof.agreements) == 3
    for agreement in proof.agreements:
        assert agreement.num_images > 0
        assert agreement.agreement >= 0.75
    if quantize == "int8":
        with pytest.raises(transfer.ExportError, match="points"):
            export_run(run.folder, tmp_path / "bad", formats=("onnx",), quantize=quantize, bound=-1)


# Predicting


def test_predictions_of_a_folder_go_on_where_they_were(task, tiny_export, tiny_run, tmp_path):
    from transfer.predict.writing import write_predictions

    predictor = transfer.load(tiny_export(task), engine="onnx")
    photos = tiny_run(task).images

    class Enough(Exception):
        pass

    def stop(done, total):
        if done:
            raise Enough

    options = {"draw_to": tmp_path / "drawn"}
    with pytest.raises(Enough):
        write_predictions(predictor, photos, tmp_path / "table.csv", progress=stop, **options)
    written = write_predictions(predictor, photos, tmp_path / "table.csv", **options)
    assert written.resumed > 0 or written.num_photos <= 32
    lines = (tmp_path / "table.csv").read_text().splitlines()
    columns = task_of(task).columns(predictor.contract, transfer.tasks.task.Options())
    assert lines[0].split(",") == ["path", "error", *columns]
    assert len(lines) - 1 >= written.num_photos
    drawings = list((tmp_path / "drawn").rglob("*.png"))
    assert len(drawings) == written.num_photos
    assert Image.open(drawings[0]).size[0] > 0


def test_the_shell_predicts(task, tiny_export, tiny_run):
    photo = next(path for path in sorted(tiny_run(task).images.rglob("*.*")) if path.suffix in (".png", ".jpg"))
    result = shell("predict", tiny_export(task), photo)
    assert result.exit_code == 0, result.output
    assert photo.name in result.output.replace("\n", "")
    result = shell("predict", tiny_export(task), photo, "--json")
    (document,) = json.loads(result.stdout)
    assert document["path"] == str(photo)
    assert isinstance(document["predictions"], list)


@pytest.mark.parametrize("option", ["top", "threshold"])
def test_an_option_works_or_is_refused_by_name(task, option, tiny_export, tiny_run):
    photo = next(tiny_run(task).images.rglob("*.png"))
    value = {"top": 1, "threshold": 0.9}[option]
    result = shell("predict", tiny_export(task), photo, f"--{option}", value)
    if option in task_of(task).options:
        assert result.exit_code == 0, result.output
    else:
        assert result.exit_code == 1
        assert option in result.output


def test_several_views_are_merged_or_refused(task, tiny_export, tiny_run):
    predictor = transfer.load(tiny_export(task), engine="onnx")
    photo = next(tiny_run(task).images.rglob("*.png"))
    if task_of(task).no_views is None:
        plain, merged = (predictor.outputs([photo], augment=augment) for augment in (False, True))
        name = next(iter(plain))
        assert plain[name].shape == merged[name].shape
        assert not np.array_equal(plain[name], merged[name])
    else:
        with pytest.raises(ValueError, match=task_of(task).no_views[:30]):
            predictor.predict([photo], augment=True)


@pytest.mark.parametrize("task", tasks("classify", "detect"))
def test_all_engines_give_the_same_answer(task, tiny_export, tiny_run):
    photo = next(tiny_run(task).images.rglob("*.png"))
    texts = []
    for engine in ("onnx", "openvino", "litert", "tensorflow", "keras"):
        (answer,) = transfer.load(tiny_export(task, FORMATS), engine=engine).predict([photo])
        rows = task_of(task).predictions(answer)
        texts.append([(row.get("label"), round(row.get("score", row.get("value", 0.0)), 2)) for row in rows])
    assert all(text == texts[0] for text in texts)


# Measuring


def test_what_was_held_out_is_measured_again(task, tiny_run):
    """`zoo evaluate` on the run's own data finds what the run itself found."""
    run = tiny_run(task)
    result = shell("evaluate", run.folder, run.data, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    split = "test" if run.metrics.get(f"test_{task_of(task).metrics[0].name}") is not None else "valid"
    assert document["split"] == split
    scores = transfer.score(run.folder, run.data).measured.metrics()
    for metric in task_of(task).metrics:
        assert scores[metric.name] == pytest.approx(run.metrics[f"{split}_{metric.name}"], abs=1e-3), metric.name
    result = shell("evaluate", run.folder, run.data)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("task", tasks("classify"))
def test_runs_are_compared(task, tiny_run, tiny_data, tmp_path):
    run = tiny_run(task)
    other = transfer.fit(
        tiny_data(task), tmp_path / "other", tiny_settings(task, epochs=1, head_epochs=0), progress=False
    )
    result = shell("compare", run.folder, other.folder, "--plot", tmp_path / "plot.png")
    assert result.exit_code == 0, result.output
    assert "epochs" in result.output
    assert (tmp_path / "plot.png").stat().st_size > 1000
    comparison = transfer.compare([run.folder, other.folder])
    assert len(comparison.runs) == 2


def test_runs_of_different_tasks_are_not_compared(tiny_run):
    result = shell("compare", tiny_run("classify").folder, tiny_run("detect").folder)
    assert result.exit_code == 1
    assert "classify" in result.output
    assert "detect" in result.output


# The report


def test_the_report_and_the_card_speak_of_the_run(task, tiny_run):
    run = tiny_run(task)
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    headline = task_of(task).metrics[0]
    split = "test" if run.metrics.get(f"test_{headline.name}") is not None else "valid"
    assert headline.text(run.metrics[f"{split}_{headline.name}"]) in page
    assert "<script" not in page
    for anchor in ("training", "data", "time", "export", "configuration"):
        assert f'id="{anchor}"' in page
    assert re.search(r'id="\S*mistakes"', page), "several heads have one such section each"
    card = (run.folder / "model_card.md").read_text(encoding="utf-8")
    assert headline.text(run.metrics[f"{split}_{headline.name}"]) in card
    assert "What to beware of" in card


# Serving


def test_the_server_answers(task, tiny_export, tiny_run):
    from fastapi.testclient import TestClient

    from transfer.serving import create_app

    photo = next(tiny_run(task).images.rglob("*.png"))
    (answer,) = transfer.load(tiny_export(task), engine="onnx").predict([photo])
    with TestClient(create_app(tiny_export(task), engine="onnx", name="model")) as client:
        reply = client.post("/predict", files={"file": photo.read_bytes()}).json()
        assert reply["task"] == task
        assert len(reply["predictions"]) == len(task_of(task).predictions(answer))
        facts = client.get("/model").json()
        assert facts["task"] == task
        metadata = client.get("/v1/models/model/metadata").json()
        outputs = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["outputs"]
        public = [
            name for name, output in transfer.load(tiny_export(task)).contract.outputs().items() if not output.internal
        ]
        assert set(outputs) <= set(public)
        assert outputs
        pixels = np.asarray(Image.open(photo).convert("RGB")).tolist()
        reply = client.post("/v1/models/model:predict", json={"instances": [pixels]}).json()
        assert len(reply["predictions"]) == 1
        assert client.get("/").status_code == 200


# Bad input


def test_an_unknown_task_lists_the_known_ones(tiny_data, tmp_path):
    result = shell("fit", tiny_data("classify"), "--task", "detct", "--out", tmp_path / "run")
    assert result.exit_code == 1
    output = " ".join(result.output.split())
    for name in TASKS:
        assert name in output
    assert "Did you mean detect?" in output


def test_an_option_of_another_task_is_refused_by_name(tiny_data, tmp_path):
    result = shell("fit", tiny_data("classify"), "--mosaic", "0.3", "--out", tmp_path / "run")
    assert result.exit_code == 1
    output = " ".join(result.output.split())
    assert "--mosaic is for --task detect, and says nothing to --task classify" in output


def test_a_configuration_of_another_task_or_a_newer_format_says_so(tiny_run, tmp_path):
    config = tiny_run("classify").folder / "config.json"
    result = shell("fit", "--config", config, "--task", "detect", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "is the configuration of --task classify" in " ".join(result.output.split())
    newer = json.loads(config.read_text()) | {"format_version": 9}
    (tmp_path / "config.json").write_text(json.dumps(newer))
    result = shell("fit", "--config", tmp_path / "config.json", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "format version 9" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("task", "data", "fits"), [("detect", "classify", "classify"), ("classify", "detect", "detect")]
)
def test_data_of_another_task_say_which_task_they_fit(task, data, fits, tiny_data, tmp_path):
    result = shell("fit", tiny_data(data), *options_of(task), "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert f"--task {fits}" in " ".join(result.output.split())


def test_what_is_given_goes_before_a_recipe():
    settings = transfer.Classify.from_recipe("textbook", {"learning_rate": 1e-4})
    assert settings.learning_rate == 1e-4  # It equals the default, and still it was given.
    assert settings.backbone == "keras:Xception"
    with pytest.raises(ValueError, match="textbook"):
        transfer.Classify.from_recipe("other", {})
