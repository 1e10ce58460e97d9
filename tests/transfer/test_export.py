"""Exporting: the folder, the SavedModel and the Keras file, and what must not get through the proof."""

import dataclasses
import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import EvaluationCrop, decode_image
from transfer.artifacts import exporting
from transfer.artifacts.exporting import export, fingerprint, write_and_prove
from transfer.artifacts.photos import proof_photos
from transfer.artifacts.writers import saved_model
from transfer.artifacts.writers.table import WRITERS
from transfer.contract import ExportError
from transfer.models.backbones import backbone
from transfer.models.heads import classifier
from transfer.tasks.classify.answers import ClassifyContract
from transfer.tasks.contracts import read_contract
from transfer.tasks.regress.answers import RegressContract
from transfer.tasks.tag.answers import TagContract

NAMES = ("ant", "bee", "fly & co", "Hornisse ö")
CROP = EvaluationCrop((32, 48))
CONTRACT = ClassifyContract(NAMES, preparation=CROP)
CONTENTS = ["contract.json", "labels.txt", "manifest.json", "model.keras", "proof.npz", "saved_model"]


def tiny(layers=(), *, seed=0) -> keras.Model:
    """A network with a batch norm whose answers differ from photo to photo."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((*CROP.size, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    for layer in layers:
        x = layer(x)
    x = keras.layers.Conv2D(8, 3, strides=2, name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(len(NAMES), "softmax", kernel_initializer=keras.initializers.RandomNormal(0, 6))(x)
    return keras.Model(image, x)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = tiny()
    folder = tmp_path_factory.mktemp("export") / "out"
    return model, folder, export(model, folder, CONTRACT)


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(str(exported[1] / "saved_model"))


def reference(model, photos):
    """The probabilities, by a road that shares nothing with the exported graph but the model."""
    return np.stack([np.asarray(model(CROP(photo)[None], training=False))[0] for photo in photos])


def test_the_folder_holds_what_it_promises(exported):
    _, folder, _ = exported
    assert sorted(path.name for path in folder.iterdir()) == CONTENTS
    assert set(CONTENTS) <= set(exporting.CONTENTS)
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    assert (folder / "labels.txt").read_text(encoding="utf-8").splitlines() == list(NAMES)


def test_the_proof_covers_every_endpoint_and_batch_size(exported):
    _, _, proof = exported
    seen = {(check.artifact, check.endpoint, check.batch) for check in proof.checks}
    ways = [("saved_model", way) for way in ("images float32", "images uint8", "image_bytes", "cropped")]
    ways += [("model.keras", way) for way in ("images uint8", "cropped")]
    assert seen == {(*way, batch) for way in ways for batch in (1, 5)}
    assert proof.max_abs_diff == max(check.max_abs_diff for check in proof.checks) <= 1e-4
    assert proof.num_photos == 5


def test_the_proof_photos_are_of_other_sizes_than_any_input():
    shapes = [decode_image(photo).shape for photo in proof_photos()]
    assert len(shapes) == 5, "what is kept in the folder is cut off after whole groups of five"
    assert all(height != width for height, width, _ in shapes)
    assert len(set(shapes[1:])) == 4


def test_the_answers_of_the_test_model_differ(exported):
    # Otherwise the comparisons of this file would find everything equal.
    model, _, _ = exported
    answers = reference(model, [decode_image(photo) for photo in proof_photos()])
    assert np.ptp(answers, axis=0).max() > 0.1


@pytest.mark.parametrize("batch", [1, 3])
def test_images_of_any_size(exported, loaded, batch):
    model, _, _ = exported
    images = np.random.default_rng(0).integers(0, 256, (batch, 71, 45, 3), "uint8")
    expected = reference(model, images)
    for answer in (
        loaded.signatures["serving_default"](images=tf.constant(images, tf.float32)),
        loaded.signatures["images"](images=tf.constant(images, tf.float32)),
        loaded.images(images),
        loaded.images(images.astype("float32")),
    ):
        assert set(answer) == {"probabilities"}, "internal outputs are left out"
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


def test_encoded_photos_of_different_sizes_in_one_batch(exported, loaded):
    model, _, _ = exported
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 256, (*size, 3), "uint8") for size in ((20, 31), (64, 64), (90, 33))]
    encoded = [tf.io.encode_png(array).numpy() for array in arrays]
    answer = loaded.signatures["image_bytes"](encoded=tf.constant(encoded))["probabilities"]
    np.testing.assert_allclose(answer, reference(model, arrays), atol=1e-5)


def test_the_contract_is_beside_and_inside(exported, loaded):
    _, folder, _ = exported
    beside = (folder / "contract.json").read_text(encoding="utf-8")
    inside = loaded.signatures["contract"]()
    assert inside["contract"].numpy().decode() == beside
    assert [name.decode() for name in inside["class_names"].numpy()] == list(NAMES)
    with zipfile.ZipFile(folder / "model.keras") as archive:
        assert archive.read("contract.json").decode() == beside
    contract = read_contract(beside)
    assert contract.class_names == NAMES
    assert contract.preparation == CROP
    assert contract.versions["keras"] == keras.__version__


def test_the_keras_file_loads_in_safe_mode_and_can_be_trained_on(exported):
    model, folder, _ = exported
    revived = keras.models.load_model(folder / "model.keras", safe_mode=True)
    photo = np.random.default_rng(2).uniform(0, 255, (2, *CROP.size, 3)).astype("float32")
    np.testing.assert_allclose(revived(photo, training=False), model(photo, training=False), atol=1e-6)
    assert [layer.name for layer in revived.layers] == [layer.name for layer in model.layers]


def test_the_saved_model_needs_neither_keras_nor_this_project(exported):
    _, folder, _ = exported
    code = (
        "import sys, tensorflow as tf\n"
        f"loaded = tf.saved_model.load({str(folder / 'saved_model')!r})\n"
        "answer = loaded.signatures['serving_default'](images=tf.zeros((1, 40, 50, 3)))\n"
        "assert answer['probabilities'].shape == (1, 4)\n"
        "print([name for name in ('transfer', 'pipelines', 'zoo') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_with_augmentation_before_a_batch_norm_is_exported_in_inference_mode(tmp_path):
    # Such layers put the batch norm behind them into training mode unless `training=False` is said.
    model = tiny([keras.layers.RandomFlip(), keras.layers.Resizing(24, 32)])
    for _ in range(3):
        model(np.random.default_rng(3).uniform(0, 255, (8, *CROP.size, 3)), training=True)
    assert export(model, tmp_path / "out", CONTRACT).max_abs_diff <= 1e-4


def test_a_sequential_model_that_is_compiled(tmp_path):
    top = keras.layers.Dense(4, "softmax")
    model = keras.Sequential([keras.Input((32, 48, 3)), keras.layers.GlobalAveragePooling2D(), top])
    model.compile("adam", "mse")
    export(model, tmp_path / "out", CONTRACT, formats=["keras"])
    assert getattr(keras.models.load_model(tmp_path / "out" / "model.keras"), "optimizer", None) is None


# The fingerprint


def test_the_fingerprint_is_that_of_weights_and_contract(everywhere):
    model, _, _ = everywhere
    contract = ClassifyContract("abcd", preparation=CROP)
    one = fingerprint(model, contract)
    assert len(one) == 32
    assert one == fingerprint(model, dataclasses.replace(contract, versions={"keras": "0"}, fingerprint="x" * 32))
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    assert fingerprint(other, contract) == one
    other.set_weights([weight + (i == 0) * 1e-7 for i, weight in enumerate(model.get_weights())])
    others = [
        fingerprint(other, contract),
        fingerprint(model, ClassifyContract("abce", preparation=CROP)),
        fingerprint(model, ClassifyContract("abcd", preparation=EvaluationCrop(CROP.size, 1.0))),
        fingerprint(model, ClassifyContract("abcd", {"a": 0.5}, preparation=CROP)),
        fingerprint(model, TagContract("abcd", preparation=CROP)),
    ]
    assert len({one, *others}) == 6


def test_the_fingerprint_knows_shapes_and_types():
    """The same bytes in another shape, or of another type, are other weights: of every task."""

    def fake(shape, dtype):
        variable = keras.Variable(np.zeros(shape, dtype), name="kernel")
        return type("Model", (), {"weights": [variable]})()

    contract = RegressContract(("width",), (1.0,), preparation=CROP)
    shapes = [((2, 6), "float32"), ((6, 2), "float32"), ((6, 2), "int32")]
    assert len({fingerprint(fake(*one), contract) for one in shapes}) == 3


# What must fail


@keras.saving.register_keras_serializable("test_export")
class AnotherInGraphs(keras.layers.Layer):
    """Answers one way eagerly and another way in a graph, as layers with Python state do."""

    def call(self, inputs):
        return inputs if tf.executing_eagerly() else tf.reverse(inputs, [-1])

    def compute_output_shape(self, input_shape):
        return input_shape


def test_a_graph_that_answers_otherwise_is_refused(tmp_path):
    with pytest.raises(ExportError) as caught:
        export(tiny([AnotherInGraphs()]), tmp_path / "out", CONTRACT)
    message = str(caught.value)
    assert caught.value.artifact == caught.value.check.artifact == "model.keras"
    assert caught.value.check.max_abs_diff > 1e-4
    for word in ("model.keras", "cropped", "batch of 1", "photo 0 of 32 x 48", "0.0001 is allowed", "is untouched"):
        assert word in message
    assert list(tmp_path.iterdir()) == []


@keras.saving.register_keras_serializable("test_export")
class AnswersByItself(keras.Model):
    """A model with a graph whose class computes something else when it is called."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=training)[:, ::-1]


def test_the_proof_compares_with_the_model_as_given(tmp_path):
    plain = tiny()
    with pytest.raises(ExportError, match=r"model\.keras, endpoint cropped.* the trained model says"):
        export(AnswersByItself(plain.inputs[0], plain.outputs[0]), tmp_path / "out", CONTRACT, formats=["keras"])


def sabotage(monkeypatch, name, change):
    """Exports with one endpoint changed."""
    original = saved_model.endpoints

    def endpoints(network, contract):
        made = original(network, contract)
        function, signatures = made[name]
        return made | {name: (change(function, lambda x, **mode: network(x)["probabilities"]), signatures)}

    monkeypatch.setattr(saved_model, "endpoints", endpoints)


def without_decoding_upside_down(function, model):
    def encoded(encoded):
        one = tf.TensorSpec((*CROP.size, 3), tf.float32)
        flipped = tf.map_fn(lambda x: tf.reverse(CROP(decode_image(x)), [0, 2]), encoded, fn_output_signature=one)
        return {"probabilities": model(flipped)}

    return encoded


def squashed(function, model):
    return lambda images: {"probabilities": model(tf.image.resize(images, CROP.size))}


def not_a_number(function, model):
    return lambda images: {"probabilities": function(images)["probabilities"] * np.nan}


@pytest.mark.parametrize(
    ("endpoint", "change", "word"),
    [
        ("images", squashed, "images uint8, batch of 1"),
        ("images", not_a_number, "nan"),
        ("image_bytes", without_decoding_upside_down, "image_bytes, batch of 1"),
    ],
)
def test_each_endpoint_is_held_to_the_model(tmp_path, monkeypatch, endpoint, change, word):
    sabotage(monkeypatch, endpoint, change)
    with pytest.raises(ExportError, match=word) as caught:
        export(tiny(), tmp_path / "out", CONTRACT, formats=["saved_model"])
    assert caught.value.artifact == "saved_model"
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_in_training_mode_is_refused(tmp_path, monkeypatch):
    model = tiny()

    def in_training_mode(function, _):
        return lambda images: {"probabilities": model(CROP(images), training=True)}

    sabotage(monkeypatch, "images", in_training_mode)
    with pytest.raises(ExportError, match="images uint8, batch of 1"):
        export(model, tmp_path / "out", CONTRACT, formats=["saved_model"])


def test_only_a_larger_batch_shows_that_answers_depend_on_the_others(tmp_path, monkeypatch):
    def of_the_batch(function, model):
        def images(images):
            cropped = CROP(images)
            return {"probabilities": model(cropped - tf.reduce_mean(cropped, 0) + cropped[0])}

        return images

    sabotage(monkeypatch, "images", of_the_batch)
    with pytest.raises(ExportError, match="batch of 5"):
        export(tiny(), tmp_path / "out", CONTRACT, formats=["saved_model"])


def test_weights_that_were_not_all_written_are_noticed(tmp_path, monkeypatch):
    write = WRITERS["keras"]

    def forgetful(source, path):
        write(dataclasses.replace(source, model=keras.models.clone_model(source.model)), path)

    monkeypatch.setitem(WRITERS, "keras", forgetful)
    with pytest.raises(ExportError, match=r"model\.keras, endpoint cropped"):
        export(tiny(), tmp_path / "out", CONTRACT, formats=["keras"])


def test_a_layer_that_safe_mode_refuses_is_refused_here(tmp_path):
    model = tiny([keras.layers.Lambda(lambda x: x * 2)])
    with pytest.raises(ExportError, match=r"model\.keras was written, and cannot be read back.*[Ll]ambda") as caught:
        export(model, tmp_path / "out", CONTRACT)
    assert (caught.value.artifact, caught.value.check) == ("model.keras", None)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_gives_no_numbers_is_refused(tmp_path):
    model = tiny()
    model.get_layer("conv").kernel.assign(np.full((3, 3, 3, 8), np.nan))
    with pytest.raises(ExportError, match="nan"):
        export(model, tmp_path / "out", CONTRACT, formats=["keras"])


def test_what_was_written_stays_when_the_proof_fails(tmp_path, monkeypatch):
    """`export` alone leaves nothing; whoever calls `write_and_prove` keeps the model, which is written first."""
    sabotage(monkeypatch, "images", not_a_number)
    with pytest.raises(ExportError) as caught:
        write_and_prove(tiny(), tmp_path, CONTRACT, formats=["saved_model", "keras"])
    assert caught.value.artifact == "saved_model"
    assert not {"Nothing", "kept"} & set(str(caught.value).split())
    assert {"model.keras", "contract.json", "labels.txt", "saved_model"} <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "manifest.json").exists()
    assert keras.models.load_model(tmp_path / "model.keras").count_params() == tiny().count_params()


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (
            ClassifyContract(NAMES[:3], preparation=CROP),
            r"'probabilities' has the shape \[3\].*and the model gives \[4\]",
        ),
        (ClassifyContract(NAMES, preparation=EvaluationCrop((48, 32))), "images of 48 x 32, and the model takes"),
    ],
)
def test_contracts_that_do_not_fit(tmp_path, contract, message):
    with pytest.raises(ValueError, match=message):
        export(tiny(), tmp_path / "out", contract)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [(), (*NAMES[:3], "two\nlines"), (*NAMES[:3], "no \udcff Unicode"), (*NAMES[:3], "")])
def test_contracts_that_cannot_be(names):
    with pytest.raises(ValueError, match=r"one line of printable text|expected at least one class name"):
        ClassifyContract(names, preparation=CROP)


def test_photos_of_ones_own_are_compared_too(tmp_path):
    photo = np.random.default_rng(4).integers(0, 256, (9, 8, 3), "uint8")
    file = tmp_path / "ein Foto ü.png"
    file.write_bytes(tf.io.encode_png(photo).numpy())
    photos = [photo, file, str(file), file.read_bytes()]
    proof = export(tiny(), tmp_path / "out", CONTRACT, photos=photos, formats=["keras"])
    assert proof.num_photos == 9
    with np.load(tmp_path / "out" / "proof.npz") as kept:
        assert sum(name.startswith("photo_") for name in kept.files) == 5, "the caller's photos stay with the caller"


def test_a_photo_that_cannot_be_decoded_is_named(tmp_path):
    (tmp_path / "no.jpg").write_text("no photo")
    with pytest.raises(ValueError, match=r"no\.jpg cannot be decoded"):
        export(tiny(), tmp_path / "out", CONTRACT, photos=[tmp_path / "no.jpg"])


def test_an_earlier_export_is_replaced_only_when_asked(tmp_path):
    model = tiny(seed=1)
    export(model, tmp_path / "out", CONTRACT, formats=["keras"])
    with pytest.raises(FileExistsError, match="already holds"):
        export(model, tmp_path / "out", CONTRACT, formats=["keras"])
    export(model, tmp_path / "out", ClassifyContract("abcd", preparation=CROP), formats=["keras"], overwrite=True)
    assert (tmp_path / "out" / "labels.txt").read_text() == "a\nb\nc\nd\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version 99.*upgrade"),
        ({"preparation": None}, "expected a contract"),
        ({"class_names": 3}, "expected a contract"),
    ],
)
def test_a_contract_that_is_none_is_refused(change, message):
    document = json.loads(CONTRACT.to_json()) | change
    with pytest.raises(ValueError, match=message):
        read_contract(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", "not json"])
def test_text_that_is_no_contract_is_refused(text):
    with pytest.raises(ValueError, match="expected a contract"):
        read_contract(text)


# Every backbone that the project offers for fine-tuning. Random weights: what is proven is the graph.


def with_varied_answers(model, crop):
    """Scales the last layer so that photos get different answers; fresh networks say the same of all."""
    photos = np.stack([crop(decode_image(photo)) for photo in proof_photos()])
    features = keras.Model(model.input, model.layers[-1].input)(photos, training=False).numpy()
    kernel, bias = model.layers[-1].get_weights()
    kernel *= 2 / np.std(features @ kernel, axis=0)
    model.layers[-1].set_weights([kernel, bias - (features @ kernel).mean(axis=0)])
    answers = np.asarray(model(photos, training=False))
    assert np.ptp(answers, axis=0).max() > 0.2
    return model


BACKBONES = ("efficientnet_lite0", "keras:MobileNetV2", "keras:EfficientNetB0", "keras:ResNet50V2", "keras:Xception")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(71, 96), None])
@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_exports_with_proof(tmp_path, name, size):
    trunk = backbone(name, image_size=size, weights=None)
    model = with_varied_answers(classifier(trunk, len(NAMES)), trunk.crop)
    proof = export(model, tmp_path / "out", ClassifyContract(NAMES, preparation=trunk.crop))
    assert proof.max_abs_diff <= 1e-4
