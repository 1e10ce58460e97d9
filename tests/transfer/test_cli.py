import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from transfer.cli import console
from transfer.cli.main import app

ZOO = [sys.executable, "-c", "from transfer.cli.main import main; main()"]


def zoo(*arguments):
    """Runs a command in this process; stdout and stderr are kept apart."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def failed(result, *, code=1):
    """The message of a command that failed as it should: in words, on stderr, without a traceback."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def cat(tmp_path_factory):
    path = tmp_path_factory.mktemp("cat") / "meine Katze ö.png"
    Image.fromarray(skimage.data.chelsea()).save(path)
    return path


# Help


def test_help_is_quick_and_loads_no_tensorflow():
    code = (
        "import sys, resource\n"
        "from transfer.cli.main import main\n"
        "sys.argv = ['zoo', '--help']\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print([m for m in ('tensorflow', 'keras', 'numpy', 'matplotlib') if m in sys.modules])\n"
        "print(used.ru_utime + used.ru_stime)\n"
    )
    # The processor's time, and the best of some tries, so that a busy machine does not decide.
    seconds = []
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        *text, heavy, used = done.stdout.splitlines()
        assert heavy == "[]"
        assert all(command in "\n".join(text) for command in ("fit", "predict", "evaluate", "models", "demo"))
        seconds.append(float(used))
    assert min(seconds) < 0.5


@pytest.mark.parametrize("command", ["fit", "predict", "evaluate", "models", "demo"])
def test_every_command_has_help(command):
    result = zoo(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


# zoo fit


def one_class(photos):
    shutil.rmtree(photos / "sea")
    shutil.rmtree(photos / "<meadow>")


def no_images(photos):
    for image in photos.rglob("photo*"):
        image.unlink()


def empty_class(photos):
    (photos / "mountain").mkdir()


def too_few_to_split(photos):
    for image in sorted((photos / "sea").iterdir())[2:]:
        image.unlink()


def unreadable_class(photos):
    for image in (photos / "sea").iterdir():
        image.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda photos: shutil.rmtree(photos), ["no such folder"]),
        (one_class, ["two or more classes", "Blüten & Blätter"]),
        (no_images, ["image"]),
        (empty_class, ["mountain"]),
        (too_few_to_split, ["sea"]),
        (unreadable_class, ["sea", "empty file"]),
    ],
)
def test_data_that_cannot_be_trained_on_is_one_message(photos, tmp_path, spoil, words):
    spoil(photos)
    message = failed(zoo("fit", photos, "--backbone", "tiny", "--out", tmp_path / "run"))
    for word in words:
        assert word in message
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_holds_a_run_is_refused(finished, photos):
    run, _ = finished
    message = failed(zoo("fit", photos, "--out", run.folder))
    assert "already holds" in message
    assert "--overwrite" in message


def test_an_unknown_backbone_shows_near_ones(photos, tmp_path):
    message = failed(zoo("fit", photos, "--out", tmp_path / "run", "--backbone", "eficientnet_lite0"))
    assert "did you mean" in message
    assert "efficientnet_lite0" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [["--out", "run", "--augment", "much"], ["--out", "run", "--seed", "x"], []])
def test_a_wrong_command_line_exits_with_2(photos, arguments):
    failed(zoo("fit", photos, *arguments), code=2)


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_that_a_library_swallowed_comes_again(monkeypatch, number, error):
    monkeypatch.setattr(console, "SECONDS", 0.2)
    with console._signals_as_exceptions():
        with contextlib.suppress(error):
            os.kill(os.getpid(), number)
            time.sleep(10)
            raise AssertionError("the first does not come")
        with pytest.raises(error):
            time.sleep(10)


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_leaves_nothing(photos, tmp_path, number, code):
    out = tmp_path / "run"
    command = [*ZOO, "fit", photos, "--out", out, "--image-size", "32", "--head-epochs", "1000"]
    with (tmp_path / "log").open("w+") as log:
        # A session of its own: no signal of the tests' terminal reaches it.
        process = subprocess.Popen(
            [str(word) for word in command], stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 300
            while "epoch" not in (tmp_path / "log").read_text():  # it trains
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.1)
            assert list(tmp_path.glob(".run.partial-*")), "it works beside the folder that it was told"
            assert not out.exists()
            process.send_signal(number)
            assert process.wait(timeout=120) == code
        finally:
            process.kill()
            process.wait()
    text = (tmp_path / "log").read_text()
    assert "Traceback" not in text
    if number == signal.SIGINT:
        assert f"Nothing was written to {out}" in " ".join(text.split())
    assert {path.name for path in tmp_path.iterdir()} == {"my photos", "log"}


# zoo predict


def test_predict_as_json(finished):
    run, data = finished
    images = [data / "sea" / "photo 0.jpg", data / "<meadow>" / "photo 2.webp"]
    result = zoo("predict", run.folder, *images, "--top", 2, "--json")
    assert result.exit_code == 0, result.output
    answers = json.loads(result.stdout)
    assert [answer["path"] for answer in answers] == [str(image) for image in images]
    for answer, label in zip(answers, ("sea", "<meadow>"), strict=True):
        assert set(answer) == {"path", "height", "width", "predictions"}
        assert len(answer["predictions"]) == 2
        assert [set(each) for each in answer["predictions"]] == [{"index", "label", "score"}] * 2
        scores = [each["score"] for each in answer["predictions"]]
        assert scores == sorted(scores, reverse=True)
        assert answer["predictions"][0]["label"] == label
    assert result.stderr == ""


def test_predict_in_a_precision_that_the_engine_does_not_have(finished):
    run, data = finished
    result = zoo(
        "predict", run.folder, data / "sea" / "photo 0.jpg", "--engine", "tensorflow", "--precision", "bfloat16"
    )
    assert result.exit_code == 1
    assert "OpenVINO has bfloat16" in " ".join(result.stderr.split())


def test_predict_goes_on_over_images_that_cannot_be_read(finished, tmp_path):
    run, data = finished
    good = data / "sea" / "photo 0.jpg"
    (tmp_path / "words.jpg").write_text("no picture")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:200])
    images = [tmp_path / "missing.jpg", good, tmp_path / "words.jpg", tmp_path / "cut.jpg", tmp_path, good]
    result = zoo("predict", run.folder, *images, "--json")
    assert result.exit_code == 1
    answers = json.loads(result.stdout)
    assert [answer["path"] for answer in answers] == [str(image) for image in images]
    assert ["error" in answer for answer in answers] == [True, False, True, True, True, False]
    assert "No such file" in answers[0]["error"]
    assert "cannot be decoded" in answers[2]["error"]
    for first, second in zip(answers[1]["predictions"], answers[5]["predictions"], strict=True):
        assert first == second | {"score": pytest.approx(second["score"], abs=1e-5)}
    assert "4 of 6 images" in result.stderr


def test_predict_for_people(finished, tmp_path):
    run, data = finished
    result = zoo("predict", run.folder, data / "<meadow>" / "photo 1.png", tmp_path / "missing.jpg")
    assert result.exit_code == 1
    assert "<meadow>" in result.stdout
    assert "%" in result.stdout
    assert "missing.jpg" in result.stderr
    assert "No such file" in result.stderr


def test_predict_with_a_pretrained_model(cat):
    result = zoo("predict", "efficientnet_lite0", cat, "--json")
    assert result.exit_code == 0, result.output
    (answer,) = json.loads(result.stdout)
    assert answer["path"] == str(cat)
    assert len(answer["predictions"]) == 5
    best = answer["predictions"][0]
    assert set(best) == {"index", "label", "score", "wnid"}
    assert "cat" in best["label"]
    assert best["wnid"].startswith("n0212")


def test_predict_prints_json_alone_on_stdout(finished, tmp_path):
    # A real process: what libraries write past Python shows only here.
    run, data = finished
    image = data / "sea" / "photo 0.jpg"
    command = [*ZOO, "predict", str(run.folder), str(image), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0]["path"] == str(image)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("efficientnet_lite00", ["did you mean", "efficientnet_lite0"]),
        ("no/such/folder", ["no folder, no .keras file and no model", "zoo models"]),
        ("vgg11", ["no ImageNet weights are known for 'vgg11'"]),
    ],
)
def test_predict_with_a_model_that_is_not_there(cat, model, words):
    message = failed(zoo("predict", model, cat))
    for word in words:
        assert word in message


def test_predict_with_files_that_are_no_model(cat, tmp_path):
    assert "holds no model" in failed(zoo("predict", tmp_path, cat))
    (tmp_path / "model.keras").write_bytes(b"no model")
    assert "was not written by transfer.export" in failed(zoo("predict", tmp_path / "model.keras", cat))
    assert "is no model" in failed(zoo("predict", cat, cat))


@pytest.mark.slow
def test_names_that_are_no_unicode_are_printed_with_backslashes(finished, tmp_path):
    run, data = finished
    odd = os.fsencode(tmp_path) + b"/odd \xff.jpg"
    shutil.copy(data / "sea" / "photo 0.jpg", odd)
    command = [*(os.fsencode(word) for word in ZOO), b"predict", os.fsencode(run.folder), odd]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stderr
    assert rb"odd \udcff.jpg" in done.stdout.replace(b"\n", b"")


# zoo evaluate


def test_evaluate_as_json(finished):
    run, data = finished
    result = zoo("evaluate", run.folder, data, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["split"] == "test"
    assert found["accuracy"] == pytest.approx(run.metrics["test_accuracy"])
    assert found["num_images"] == np.sum(found["confusion"])
    assert {row["name"] for row in found["classes"]} == {"sea", "<meadow>", "Blüten & Blätter"}
    assert all({"path", "reason"} <= set(fault) for fault in found["faults"])


def test_evaluate_for_people(finished, tmp_path, make_photos):
    run, _ = finished
    data = make_photos(tmp_path / "others", per_class=4, seed=7)
    (data / "sea" / "bad.jpg").write_bytes(b"bad")
    result = zoo("evaluate", run.folder, data)
    assert result.exit_code == 0, result.output
    assert "On all images (12):" in result.stdout
    assert re.search(r"\d+\.\d% \(\d+–\d+\)", result.stdout)
    assert "F1" in result.stdout
    assert "temperature for these images is" in result.stdout
    assert "<meadow>" in result.stdout
    assert "bad.jpg" in result.stderr


@pytest.mark.slow
def test_evaluate_over_several_views(finished):
    run, data = finished
    plain, averaged = (
        json.loads(zoo("evaluate", run.folder, data, "--json", *more).stdout) for more in ((), ["--augment"])
    )
    assert averaged["num_images"] == plain["num_images"]
    assert averaged["calibration_error"] != plain["calibration_error"]


def test_evaluate_with_a_class_that_the_run_does_not_know(finished, tmp_path, make_photos):
    run, _ = finished
    data = make_photos(tmp_path / "others", per_class=3)
    (data / "sea").rename(data / "ocean")
    message = failed(zoo("evaluate", run.folder, data, "--json"))
    assert "the classes ocean, which" in message


# zoo models


def test_models_as_json():
    result = zoo("models", "efficientnet_lite*", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert list(rows) == [f"efficientnet_lite{i}" for i in range(5)]
    assert rows["efficientnet_lite0"] == {
        "name": "efficientnet_lite0",
        "weights": "installed",
        "image_size": 224,
        "licence": "Apache-2.0",
        "usable": True,
    }
    assert not rows["efficientnet_lite4"]["usable"]
    assert rows["efficientnet_lite4"]["weights"] is None
    (row,) = json.loads(zoo("models", "keras_cv:efficientnet_lite_b4", "--json").stdout)
    assert (row["image_size"], row["weights"], row["licence"]) == (300, None, None)


@pytest.mark.slow
def test_info_on_a_network_of_another_library():
    found = json.loads(zoo("info", "keras:MobileNet", "--json").stdout)
    assert found["values"] == "-1..1"
    assert found["image_size"] == [224, 224]
    assert found["licence"] == "Apache-2.0"
    assert found["crop"]["fraction"] == 0.875
    assert list(found["levels"]) == ["c1", "c2", "c3", "c4", "c5"]
    text = " ".join(zoo("info", "keras:MobileNet").stdout.split())
    assert "trained on -1..1" in text
    assert f"c4, stride 16 {found['levels']['c4']}" in text


def test_models_for_people(monkeypatch):
    monkeypatch.setattr("transfer.cli.console.out.width", 80)
    result = zoo("models")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    names = {line[0] for line in lines}
    assert {"efficientnet_lite0", "keras:Xception", "keras:InceptionResNetV2"} <= names, "whole names"
    assert "alexnet" not in names
    assert "more have no weights" in result.stderr
    assert "alexnet" in zoo("models", "--all").stdout
    assert "alexnet" in zoo("models", "alex*").stdout


def test_models_loads_no_tensorflow():
    code = (
        "import sys; from transfer.cli.main import main; sys.argv = ['zoo', 'models', '--json']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.slow
def test_models_measured_and_drawn(tmp_path):
    result = zoo("models", "mobilenet_v1_025", "--measure", "--plot", tmp_path / "which.png")
    assert result.exit_code == 0, result.output
    assert "475.5 K" in result.stdout or "476" in result.stdout
    with Image.open(tmp_path / "which.png") as picture:
        assert picture.size == (1000, 600)
    (row,) = json.loads(zoo("models", "mobilenet_v1_025", "--measure", "--json").stdout)
    assert row["name"] == "mobilenet_v1_025"
    assert row["top1"] == 50.6
    assert set(row["milliseconds"]) == {"1", "32"}
    assert "no model matches 'keras:*'" in failed(zoo("models", "keras:*", "--measure"))


def test_info_of_a_network():
    result = zoo("info", "mobilenet_v1_025")
    assert result.exit_code == 0
    assert "MobileNets: Efficient Convolutional Neural Networks" in " ".join(result.stdout.split())
    found = json.loads(zoo("info", "mobilenet_v1_025", "--json").stdout)
    assert found["parameters"] == 475_544 == sum(stage["parameters"] for stage in found["stages"])
    assert "did you mean mobilenet_v1_025" in failed(zoo("info", "mobilenet_v1_25"))


def test_models_that_are_not_there():
    assert "no model matches 'nothing*'" in failed(zoo("models", "nothing*"))
    result = zoo("models", "nothing*", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == []
