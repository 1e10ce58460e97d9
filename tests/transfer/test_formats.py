"""ONNX, OpenVINO and LiteRT: each answers as the model does, proves itself anywhere, and is refused when changed."""

import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from pipelines import EvaluationCrop, Samples
from transfer.artifacts import exporting
from transfer.artifacts.engines.choosing import check_precision
from transfer.artifacts.engines.table import FORMATS, check_formats, open_artifact
from transfer.artifacts.exporting import export
from transfer.artifacts.manifest import MANIFEST, check_files, read_manifest
from transfer.artifacts.proof import Reference, prove, verify
from transfer.artifacts.quantisation import Labelled, check_agreement, points_lost
from transfer.artifacts.writers.onnx_graphs import to_onnx
from transfer.artifacts.writers.table import WRITERS
from transfer.contract import ExportError
from transfer.predict.loading import load
from transfer.tasks.classify.answers import ClassifyContract
from transfer.tasks.contracts import read_contract
from transfer.tasks.regress.answers import RegressContract
from transfer.tasks.task import Metric

LEAN = ("onnx", "openvino", "litert")  # without TensorFlow
CROP = EvaluationCrop((32, 48))
AB, ABCD = (ClassifyContract(names, preparation=CROP) for names in ("ab", "abcd"))


@pytest.fixture(scope="module", params=list(FORMATS))
def artifact(request, everywhere):
    model, folder, _ = everywhere
    return model, open_artifact(folder / FORMATS[request.param].files[0])


def expected(model, crop, images):
    return np.stack([np.asarray(model(crop(image)[None], training=False))[0] for image in images])


@pytest.mark.parametrize("shape", [(1, 71, 45, 3), (3, 33, 90, 3), (2, 32, 48, 3)])
def test_every_engine_answers_as_the_model(artifact, shape):
    model, engine = artifact
    draw = np.random.default_rng(0)
    colours = draw.integers(0, 256, (shape[0], 1, 1, 3))
    images = np.clip(draw.normal(colours, 40, shape), 0, 255).astype("uint8")
    crop = engine.contract.preparation
    answers = expected(model, crop, images)
    assert np.ptp(answers, axis=0).max() > 1e-2 or len(images) == 1
    assert engine.ways[:2] == ("images", "prepared")
    np.testing.assert_allclose(engine.outputs("images", images)["probabilities"], answers, atol=1e-5)
    crops = crop(images).numpy().astype("uint8")
    outputs = engine.outputs("prepared", crops)
    assert set(outputs) == {"probabilities", "embedding"}
    np.testing.assert_allclose(outputs["probabilities"], answers, atol=1e-5)
    assert outputs["probabilities"].dtype == np.float32
    seen = keras.Model(model.input, model.layers[-1].input)(crops.astype("float32"), training=False)
    np.testing.assert_allclose(outputs["embedding"], seen, atol=1e-4)
    engine.warm_up(2)


def test_the_contract_is_inside_every_artifact(artifact, everywhere):
    _, engine = artifact
    _, folder, _ = everywhere
    assert engine.contract == read_contract((folder / "contract.json").read_bytes())
    assert engine.contract.class_names[3] == 'Hornisse "ö"'
    assert engine.contract.thresholds == {"bee": 0.9}
    assert len(engine.contract.fingerprint) == 32


def test_the_proof_covers_every_format(everywhere):
    _, _, proof = everywhere
    ways = {(check.artifact, check.endpoint, check.batch) for check in proof.checks}
    for name in LEAN:
        for endpoint in ("images uint8", "cropped"):
            assert {(FORMATS[name].files[0], endpoint, batch) for batch in (1, 5)} <= ways
    assert ("saved_model", "image_bytes", 5) in ways
    assert proof.max_abs_diff <= 1e-4


# The manifest


def test_the_manifest_has_a_hash_of_every_file(everywhere):
    _, folder, _ = everywhere
    listed = set(read_manifest(folder)["files"])
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there - listed == {MANIFEST}
    assert listed <= there
    check_files(folder)


def test_verify_repeats_the_proof(everywhere):
    _, folder, _ = everywhere
    verdicts = {verdict.artifact: verdict for verdict in verify(folder)}
    assert set(verdicts) == set(FORMATS)
    for verdict in verdicts.values():
        assert len(verdict.checks) == (8 if verdict.artifact == "saved_model" else 4)
        assert max(check.max_abs_diff for check in verdict.checks) <= 1e-4


def test_lean_artifacts_are_verified_without_tensorflow(everywhere, tmp_path):
    _, folder, _ = everywhere
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["artifacts"] = {name: facts for name, facts in manifest["artifacts"].items() if name in LEAN}
    (copy / "model.keras").unlink()
    shutil.rmtree(copy / "saved_model")
    manifest["files"] = {name: facts for name, facts in manifest["files"].items() if (copy / name).is_file()}
    (copy / MANIFEST).write_text(json.dumps(manifest))
    code = (
        "import sys\nfrom transfer.artifacts.proof import verify\n"
        f"print([verdict.artifact for verdict in verify({str(copy)!r})])\n"
        "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(list(manifest["artifacts"])), "[]"]


def test_a_runtime_that_is_not_installed_is_named(everywhere, monkeypatch):
    _, folder, _ = everywhere
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"model\.onnx needs onnxruntime.*pip install"):
        open_artifact(folder / "model.onnx")
    assert all("pip install 'transfer-zoo[export]'" in verdict.skipped for verdict in verify(folder))
    with pytest.raises(ModuleNotFoundError, match=r"litert needs ai_edge_litert.*transfer-zoo\[export\]"):
        check_formats(["litert"])


@pytest.mark.parametrize("name", ["model.onnx", "model.bin", "model.tflite", "saved_model/saved_model.pb", "proof.npz"])
def test_a_changed_byte_is_refused(everywhere, tmp_path, name):
    _, folder, _ = everywhere
    copy = shutil.copytree(folder, tmp_path / "copy")
    contents = bytearray((copy / name).read_bytes())
    contents[len(contents) // 2] ^= 1
    (copy / name).write_bytes(contents)
    with pytest.raises(ValueError, match=f"{name} is not the file that was exported"):
        verify(copy)
    check_files(copy, ["labels.txt"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version 99.*upgrade"),
        ({"files": {"../secret": {"sha256": ""}}}, "lies outside"),
        ({"files": {"gone.bin": {"sha256": ""}}}, "is gone"),
        ({"files": 3}, "no manifest as"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(everywhere, tmp_path, change, message):
    _, folder, _ = everywhere
    (tmp_path / "secret").write_text("x")
    (tmp_path / "copy").mkdir()
    document = json.loads((folder / MANIFEST).read_text()) | change
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps(document))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        check_files(tmp_path / "copy")


def test_files_that_are_not_ours_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_artifact(tmp_path / "model.onnx")
    for name in ("model.onnx", "model.xml", "model.tflite", "model.keras"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=name):
            open_artifact(tmp_path / name)
    with pytest.raises(ValueError, match="is no artifact"):
        open_artifact(tmp_path)


def test_a_lambda_is_refused(tmp_path):
    image = keras.Input((32, 48, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(lambda x: x * 2)(image))
    keras.Model(image, keras.layers.Dense(2, "softmax")(x)).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras", "a") as archive:
        archive.writestr("contract.json", AB.to_json())
    with pytest.raises(ValueError, match="Lambda"):
        open_artifact(tmp_path / "model.keras")


# What must fail


def small():
    image = keras.Input((32, 48, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, strides=4)(image))
    return keras.Model(image, keras.layers.Dense(2, "softmax")(x))


def test_another_crop_in_the_artifact_is_noticed(everywhere, tmp_path, monkeypatch):
    def squashed(crop, images):
        return tf.image.resize(tf.cast(images, tf.float32), crop.size)

    monkeypatch.setattr(EvaluationCrop, "portable", squashed)
    with pytest.raises(ExportError, match=r"model\.onnx, endpoint images uint8, batch of 1"):
        export(everywhere[0], tmp_path / "out", ABCD, formats=["onnx"])
    assert list(tmp_path.iterdir()) == []


def test_a_layer_that_a_format_cannot_hold_is_said(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("no such operation: RollTheDice")

    monkeypatch.setitem(WRITERS, "litert", fail)
    with pytest.raises(ExportError, match=r"model\.tflite cannot be written: .*RollTheDice") as caught:
        export(small(), tmp_path / "out", AB, formats=["litert"])
    assert caught.value.artifact == "model.tflite"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ["onyx"]}, "formats are one or more of .*got onyx"),
        ({"formats": []}, "got none"),
        ({"formats": ["onnx", "onnx"]}, "each once"),
        ({"formats": ["onnx"], "quantize": "int4"}, "quantize is one of none, float16, int8, got 'int4'"),
        ({"formats": ["keras", "onnx"], "quantize": "int8"}, "keras cannot be quantised"),
        ({"formats": ["onnx"], "quantize": "int8"}, "has to be measured: give annotated images"),
    ],
)
def test_what_cannot_be_exported_is_said_first(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export(small(), tmp_path / "out", AB, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("thresholds", [{"wasp": 0.5}, {"a": 1.5}])
def test_thresholds_that_cannot_be(thresholds):
    with pytest.raises(ValueError, match="a threshold is a score"):
        ClassifyContract("ab", thresholds, preparation=CROP)


# Quantised


def labelled(model, n=24):
    """Images on which the model is right, so that every change of its mind costs accuracy."""
    draw = np.random.default_rng(5)
    colours = draw.integers(0, 256, (n, 1, 1, 3))
    images = np.clip(draw.normal(colours, 30, (n, 40, 56, 3)), 0, 255).astype("uint8")
    labels = np.argmax([np.asarray(model(CROP(image)[None]))[0] for image in images], axis=1)
    return Samples(images, labels, [f"image {i}" for i in range(n)])


@pytest.mark.parametrize(
    ("quantize", "formats"),
    [
        ("int8", ("onnx",)),
        pytest.param("float16", LEAN, marks=pytest.mark.slow),
        pytest.param("int8", ("openvino", "litert"), marks=pytest.mark.slow),
    ],
)
def test_quantised_artifacts_are_held_to_a_bound(everywhere, tmp_path, quantize, formats):
    model, folder, _ = everywhere
    contract = read_contract((folder / "contract.json").read_bytes())
    images = labelled(model)
    proof = export(
        model, tmp_path / "out", contract, formats=formats, quantize=quantize, labelled=Labelled(images), bound=10,
        calibration=images[:8],
    )  # fmt: skip
    assert [one.artifact for one in proof.agreements] == [FORMATS[name].files[0] for name in formats]
    for one in proof.agreements:
        assert (one.num_images, one.metric, one.before, one.bound) == (24, "accuracy", 1.0, 10)
        assert one.agreement == one.after >= 0.9, "the labels are what the model says"
    manifest = read_manifest(tmp_path / "out")
    assert manifest["quantize"] == quantize
    assert len(manifest["proof"]["agreements"]) == len(formats)
    assert all(facts["tolerance"] == 0.25 for facts in manifest["artifacts"].values())
    assert {verdict.artifact for verdict in verify(tmp_path / "out")} == set(formats)
    for name in formats:
        artifact = FORMATS[name].files[-1]
        ratio = (tmp_path / "out" / artifact).stat().st_size / (folder / artifact).stat().st_size
        assert ratio < 1.15, "what is added weighs little, even where weights are few"
    if quantize == "int8" and "onnx" in formats:
        nodes = onnx.load(tmp_path / "out" / "model.onnx").graph.node
        made_by = {output: node.op_type for node in nodes for output in node.output}
        sources = {node.op_type: [made_by.get(name) for name in node.input[:2]] for node in nodes}
        assert sources["Conv"] == ["DequantizeLinear"] * 2
        assert "DequantizeLinear" not in sources.get("Gemm", []), "the last layer stays in float32"
    if quantize == "int8" and "litert" in formats:
        assert manifest["artifacts"]["litert"]["takes"] == "uint8 [n, 32, 48, 3], prepared"
        engine = open_artifact(tmp_path / "out" / "model.tflite")
        assert engine.ways == ("prepared",)
        with pytest.raises(ValueError, match="32 x 48 only"):
            engine.outputs("images", np.zeros((1, 50, 60, 3), "uint8"))


def test_numbers_may_be_further_off_on_photos_of_another_kind(tmp_path):
    """What a quantised artifact is worth is measured on annotated images; the built-in photos only repeat the proof."""
    image = keras.Input((32, 48, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, strides=4)(image))
    model = keras.Model(image, keras.layers.Dense(1)(x))
    contract = RegressContract(("width",), (0.01,), preparation=CROP)
    images = np.random.default_rng(0).integers(100, 110, (8, 40, 50, 3)).astype("uint8")
    part = Samples(images, np.ones((8, 1)), [f"{i}.jpg" for i in range(8)])
    export(model, tmp_path / "out", contract, formats=["onnx"], quantize="int8", labelled=Labelled(part), bound=1e6)
    allowed = read_manifest(tmp_path / "out")["artifacts"]["onnx"]["tolerance"]
    assert allowed > 0.25
    (verdict,) = verify(tmp_path / "out")
    assert allowed / 2 == pytest.approx(max(check.max_abs_diff for check in verdict.checks), rel=0.1)


def answers(*likeliest):
    """Probabilities of two classes."""
    return {"probabilities": np.float32([[1 - score, score] for score in likeliest])}


FOUR = Labelled(Samples(np.zeros((4, 40, 50, 3), "uint8"), [0, 0, 1, 1], ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]))


def test_losing_more_than_the_bound_names_the_worst_sample():
    trained, actual = answers(0.1, 0.4, 0.8, 0.7), answers(0.1, 0.4, 0.3, 0.7)
    message = (
        r"model\.onnx: on 4 images it agrees .* in 75\.0% of the answers\. The accuracy of the trained model is "
        r"100\.0%, and that of the artifact 75\.0%\. So 25\.0 points are lost, and 1 are allowed\. c\.jpg differs "
        r"most, by 0\.5\."
    )
    with pytest.raises(ExportError, match=message) as caught:
        check_agreement("model.onnx", trained, actual, FOUR, AB, bound=1.0)
    assert caught.value.artifact == "model.onnx"
    one = check_agreement("model.onnx", trained, actual, FOUR, AB, bound=25.0)
    assert (one.agreement, one.metric, one.before, one.after) == (0.75, "accuracy", 1.0, 0.75)


def test_answers_that_are_no_numbers_are_refused_whatever_the_bound():
    trained = answers(0.1, 0.4, 0.8, 0.7)
    with pytest.raises(ExportError, match=r"b\.jpg differs most, by inf"):
        check_agreement("model.onnx", trained, answers(0.1, np.nan, 0.8, 0.7), FOUR, AB, bound=1000.0)


@pytest.mark.parametrize(
    ("metric", "before", "after", "lost"),
    [
        (Metric("accuracy", ""), 0.9, 0.88, 2.0),
        (Metric("accuracy", ""), 0.9, 0.95, -5.0),
        (Metric("accuracy", ""), 0.0, 0.0, 0.0),
        (Metric("error", "", higher_is_better=False), 4.0, 4.2, 5.0),  # hundredths of its own
        (Metric("error", "", higher_is_better=False), 0.02, 0.01, -50.0),
        (Metric("error", "", higher_is_better=False), 0.0, 0.1, np.inf),
        (Metric("r2", ""), -2.0, -2.1, 5.0),
        (Metric("score", ""), 20.0, 19.0, 5.0),
        (Metric("accuracy", ""), None, 0.1, 0.0),
        (Metric("accuracy", ""), 0.5, None, np.inf),
        (Metric("accuracy", ""), 0.5, float("nan"), np.inf),
    ],
)
def test_points_of_a_metric(metric, before, after, lost):
    assert points_lost(metric, before, after) == pytest.approx(lost)


def test_some_of_the_images_are_spread_evenly():
    assert FOUR.spread(2).names == ("a.jpg", "d.jpg")
    assert FOUR.spread(9).names == FOUR.names
    assert FOUR.spread(3).part.labels.tolist() == [0, 0, 1]


# Less precise than float32


def test_a_precision_is_refused_by_measurement(everywhere, tmp_path):
    """As with bfloat16, which not every processor has: here an engine whose answers are off."""
    _, folder, _ = everywhere
    engine = open_artifact(folder / "model.onnx")
    engine.precision = "bfloat16"
    check_precision(engine, folder / "model.onnx")
    outputs = engine.outputs

    def coarse(way, images, *, by):
        answers = outputs(way, images)
        return answers | {"probabilities": answers["probabilities"] + by}

    engine.outputs = lambda way, images: coarse(way, images, by=np.float32([0.1, 0, 0, 0]))
    with pytest.raises(ValueError, match=r"bfloat16 is too coarse for this model; take float32\. model\.onnx,"):
        check_precision(engine, folder / "model.onnx")
    with pytest.raises(ValueError, match=r"has no proof\.npz beside it"):
        check_precision(engine, tmp_path / "model.onnx")


def test_another_class_is_too_coarse_even_where_all_scores_are_near(everywhere, tmp_path):
    _, folder, _ = everywhere
    reference = Reference.load(folder / "proof.npz")
    level = {"probabilities": np.float32([[0.27, 0.25, 0.24, 0.24]] * 5), "embedding": reference.whole["embedding"]}
    dataclasses.replace(reference, whole=level, cut=level).save(tmp_path / "proof.npz", exporting.proof_photos())
    engine = open_artifact(folder / "model.onnx")
    engine.precision = "bfloat16"
    engine.outputs = lambda way, images: {"probabilities": np.float32([[0.25, 0.27, 0.24, 0.24]] * len(images))}
    with pytest.raises(ValueError, match=r"On the proof photos only 0% of the answers are the same"):
        check_precision(engine, tmp_path / "model.onnx")


def test_an_answer_that_is_no_number_is_no_proof(everywhere):
    _, folder, _ = everywhere
    engine = open_artifact(folder / "model.onnx")
    engine.outputs = lambda way, images: {"probabilities": np.full((len(images), 4), np.nan, "float32")}
    with pytest.raises(ExportError, match=r"cropped, batch of 1, photo 0 .*nan"):
        prove(engine, "model.onnx", Reference.load(folder / "proof.npz"), 1e-4)


# Tensors and state that are no weights


def constants():
    """A classifier with constants in its graph, and a layer that computes with more than its weights."""
    image = keras.Input((8, 12, 3))
    x = keras.applications.resnet.preprocess_input(image)
    normalization = keras.layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(20, 60, (4, 8, 12, 3)))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(normalization(x)))
    x = keras.layers.Dense(2, "softmax")(keras.layers.GlobalMaxPooling2D()(x))
    return keras.Model(image, x)


def test_constants_from_outside_of_a_function_lie_inside_its_onnx_graph():
    captured = tf.constant([1.0, 2.0])
    inputs = [tf.TensorSpec((None, 2), name="x"), tf.TensorSpec((None, 2), name="y")]
    model = to_onnx(lambda x, y: {"b": x * captured, "a": x + y}, inputs)
    assert [place.name for place in model.graph.input] == ["x", "y"]
    assert sorted(place.name for place in model.graph.output) == ["a", "b"]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x, y = np.float32([[3, 4]]), np.float32([[10, 20]])
    answers = session.run(["a", "b"], {"x": x, "y": y})
    np.testing.assert_array_equal(answers, [[[13, 24]], [[3, 8]]])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("keras", "saved_model")])
def test_constants_and_adapted_layers_are_exported(tmp_path, name):
    contract = ClassifyContract(("a", "b"), preparation=EvaluationCrop((8, 12)))
    proof = export(constants(), tmp_path / "out", contract, formats=[name])
    assert proof.max_abs_diff < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a[1]", "x\\y {1,2}", "two\nlines", "bytes \udcff", "b*?"])
def test_every_format_is_written_and_read_wherever_it_lies(tmp_path, name):
    contract = ClassifyContract(("a", "b"), preparation=EvaluationCrop((8, 12)))
    export(constants(), tmp_path / name / "run", contract, formats=list(FORMATS))
    (tmp_path / f"{name} moved").mkdir()
    moved = (tmp_path / name / "run").rename(tmp_path / f"{name} moved" / "run [2]")
    assert all(verdict.checks for verdict in verify(moved))
    image = np.zeros((8, 12, 3), "uint8")
    answers = [load(moved, engine=row.engine).predict(image)[0].predictions[0].score for row in FORMATS.values()]
    np.testing.assert_allclose(answers, answers[0], atol=1e-5)


def test_what_cannot_be_read_is_named_by_its_own_path(tmp_path):
    (tmp_path / "a[1]").mkdir()
    (tmp_path / "a[1]" / "model.onnx").write_text("nothing")
    with pytest.raises(ValueError, match=r"a\[1\]/model\.onnx cannot be read"):
        open_artifact(tmp_path / "a[1]" / "model.onnx")
