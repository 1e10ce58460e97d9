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
from transfer.artifacts.exporting import Contract, ExportError, export, proof_photos
from transfer.models.backbones import backbone
from transfer.models.heads import classifier

NAMES = ("ant", "bee", "fly & co", "Hornisse ö")
CROP = EvaluationCrop((32, 48))


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
    return model, folder, export(model, folder, class_names=NAMES, crop=CROP)


def reference(model, photos):
    """The probabilities, by a road that shares nothing with the exported graph but the model."""
    return np.stack([np.asarray(model(CROP(photo)[None], training=False))[0] for photo in photos])


def test_the_folder_holds_what_it_promises(exported):
    _, folder, _ = exported
    assert sorted(path.name for path in folder.iterdir()) == sorted(exporting.CONTENTS)
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    assert (folder / "labels.txt").read_text(encoding="utf-8").splitlines() == list(NAMES)


def test_the_proof_covers_every_endpoint_and_batch_size(exported):
    _, _, proof = exported
    seen = {(check.artifact, check.endpoint, check.batch) for check in proof.checks}
    ways = [("saved_model", way) for way in ("images float32", "images uint8", "image_bytes", "cropped")]
    assert seen == {(*way, batch) for way in [*ways, ("model.keras", "call")] for batch in (1, 5)}
    assert proof.max_abs_diff == max(check.max_abs_diff for check in proof.checks) <= 1e-4
    assert proof.num_photos == 5


def test_the_proof_photos_are_of_other_sizes_than_any_input():
    shapes = [decode_image(photo).shape for photo in proof_photos()]
    assert all(height != width for height, width, _ in shapes)
    assert len(set(shapes[1:])) == 4


def test_the_answers_of_the_test_model_differ(exported):
    # Otherwise the comparisons of this file would find everything equal.
    model, _, _ = exported
    answers = reference(model, [decode_image(photo) for photo in proof_photos()])
    assert np.ptp(answers, axis=0).max() > 0.1


@pytest.mark.parametrize("batch", [1, 3])
def test_images_of_any_size(exported, batch):
    model, folder, _ = exported
    images = np.random.default_rng(0).integers(0, 256, (batch, 71, 45, 3), "uint8")
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    expected = reference(model, images)
    for answer in (
        loaded.signatures["serving_default"](images=tf.constant(images, tf.float32)),
        loaded.signatures["images"](images=tf.constant(images, tf.float32)),
        loaded.images(images),
        loaded.images(images.astype("float32")),
    ):
        np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


def test_encoded_photos_of_different_sizes_in_one_batch(exported):
    model, folder, _ = exported
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 256, (*size, 3), "uint8") for size in ((20, 31), (64, 64), (90, 33))]
    encoded = [tf.io.encode_png(array).numpy() for array in arrays]
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    answer = loaded.signatures["image_bytes"](encoded=tf.constant(encoded))["probabilities"]
    np.testing.assert_allclose(answer, reference(model, arrays), atol=1e-5)


def test_the_contract_is_beside_and_inside(exported):
    _, folder, _ = exported
    beside = (folder / "contract.json").read_text(encoding="utf-8")
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    inside = loaded.signatures["contract"]()
    assert inside["contract"].numpy().decode() == beside
    assert [name.decode() for name in inside["class_names"].numpy()] == list(NAMES)
    with zipfile.ZipFile(folder / "model.keras") as archive:
        assert archive.read("contract.json").decode() == beside
    contract = Contract.from_json(beside)
    assert contract.class_names == NAMES
    assert contract.crop == CROP
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
    assert export(model, tmp_path / "out", class_names=NAMES, crop=CROP).max_abs_diff <= 1e-4


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
        export(tiny([AnotherInGraphs()]), tmp_path / "out", class_names=NAMES, crop=CROP)
    message = str(caught.value)
    assert caught.value.check.artifact == "saved_model"
    assert caught.value.check.max_abs_diff > 1e-4
    for word in ("saved_model", "image_bytes", "batch of 1", "photo", "0.0001 is allowed"):
        assert word in message
    assert list(tmp_path.iterdir()) == []


@keras.saving.register_keras_serializable("test_export")
class DependsOnTheBatch(keras.layers.Layer):
    """What a batch norm in training mode does: a photo's answer depends on the others."""

    def call(self, inputs):
        return inputs if tf.executing_eagerly() else inputs - tf.reduce_mean(inputs[1:], [0, 1, 2], keepdims=True)

    def compute_output_shape(self, input_shape):
        return input_shape


def sabotage(monkeypatch, name, change):
    """Exports with one endpoint changed."""
    original = exporting.endpoints

    def endpoints(model, contract):
        found = original(model, contract)
        function, signatures = found[name]
        return found | {name: (change(function, model), signatures)}

    monkeypatch.setattr(exporting, "endpoints", endpoints)


def in_training_mode(function, model):
    return lambda images: {"probabilities": model(CROP(images), training=True)}


def without_decoding_upside_down(function, model):
    def encoded(encoded):
        one = tf.TensorSpec((*CROP.size, 3), tf.float32)
        flipped = tf.map_fn(lambda x: tf.reverse(CROP(decode_image(x)), [0, 2]), encoded, fn_output_signature=one)
        return {"probabilities": model(flipped, training=False)}

    return encoded


def squashed(function, model):
    return lambda images: {"probabilities": model(tf.image.resize(images, CROP.size), training=False)}


def not_a_number(function, model):
    return lambda images: {"probabilities": function(images)["probabilities"] * np.nan}


@pytest.mark.parametrize(
    ("endpoint", "change", "word"),
    [
        ("images", in_training_mode, "images float32"),
        ("images", squashed, "images float32"),
        ("images", not_a_number, "nan"),
        ("image_bytes", without_decoding_upside_down, "image_bytes"),
    ],
)
def test_each_endpoint_is_held_to_the_model(tmp_path, monkeypatch, endpoint, change, word):
    sabotage(monkeypatch, endpoint, change)
    with pytest.raises(ExportError, match=word):
        export(tiny(), tmp_path / "out", class_names=NAMES, crop=CROP)
    assert list(tmp_path.iterdir()) == []


def test_only_a_larger_batch_shows_that_answers_depend_on_the_others(tmp_path, monkeypatch):
    def of_the_batch(function, model):
        def images(images):
            cropped = CROP(images)
            return {"probabilities": model(cropped - tf.reduce_mean(cropped, 0) + cropped[0], training=False)}

        return images

    sabotage(monkeypatch, "images", of_the_batch)
    with pytest.raises(ExportError, match="batch of 5"):
        export(tiny(), tmp_path / "out", class_names=NAMES, crop=CROP)


def test_weights_that_were_not_all_written_are_noticed(tmp_path, monkeypatch):
    write = exporting._write_keras

    def forgetful(model, path, contract):
        blank = keras.models.clone_model(model)
        write(blank, path, contract)

    monkeypatch.setattr(exporting, "_write_keras", forgetful)
    with pytest.raises(ExportError, match=r"model\.keras, endpoint call"):
        export(tiny(), tmp_path / "out", class_names=NAMES, crop=CROP)


def test_a_layer_that_safe_mode_refuses_is_refused_here(tmp_path):
    model = tiny([keras.layers.Lambda(lambda x: x * 2)])
    with pytest.raises(ExportError, match=r"model\.keras was written, and cannot be read back.*[Ll]ambda"):
        export(model, tmp_path / "out", class_names=NAMES, crop=CROP)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_gives_no_numbers_is_refused(tmp_path):
    model = tiny()
    model.get_layer("conv").kernel.assign(np.full((3, 3, 3, 8), np.nan))
    with pytest.raises(ExportError, match="nan"):
        export(model, tmp_path / "out", class_names=NAMES, crop=CROP)


@pytest.mark.parametrize(
    ("names", "crop", "message"),
    [
        (NAMES[:3], CROP, "expected a model that gives 3 probabilities"),
        (NAMES, EvaluationCrop((48, 32)), "the crop gives images of 48 x 32, and the model takes"),
        ((), CROP, "expected the names of the classes, got none"),
        ((*NAMES[:3], "two\nlines"), CROP, "one line of printable text"),
        ((*NAMES[:3], "no \udcff Unicode"), CROP, "one line of printable text"),
        ((*NAMES[:3], ""), CROP, "one line of printable text"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(tmp_path, names, crop, message):
    with pytest.raises(ValueError, match=message):
        export(tiny(), tmp_path / "out", class_names=names, crop=crop)
    assert list(tmp_path.iterdir()) == []


def test_photos_of_ones_own_are_compared_too(tmp_path):
    photo = np.random.default_rng(4).integers(0, 256, (9, 8, 3), "uint8")
    file = tmp_path / "ein Foto ü.png"
    file.write_bytes(tf.io.encode_png(photo).numpy())
    photos = [photo, file, str(file), file.read_bytes()]
    assert export(tiny(), tmp_path / "out", class_names=NAMES, crop=CROP, photos=photos).num_photos == 9


def test_a_photo_that_cannot_be_decoded_is_named(tmp_path):
    (tmp_path / "no.jpg").write_text("no photo")
    with pytest.raises(ValueError, match=r"no\.jpg cannot be decoded"):
        export(tiny(), tmp_path / "out", class_names=NAMES, crop=CROP, photos=[tmp_path / "no.jpg"])


def test_an_earlier_export_is_replaced_only_when_asked(exported, tmp_path):
    model = tiny(seed=1)
    export(model, tmp_path / "out", class_names=NAMES, crop=CROP)
    with pytest.raises(FileExistsError, match="already holds"):
        export(model, tmp_path / "out", class_names=NAMES, crop=CROP)
    export(model, tmp_path / "out", class_names=["a", "b", "c", "d"], crop=CROP, overwrite=True)
    assert (tmp_path / "out" / "labels.txt").read_text() == "a\nb\nc\nd\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version 99.*upgrade"),
        ({"crop": None}, "expected a contract"),
        ({"class_names": 3}, "expected a contract"),
    ],
)
def test_a_contract_that_is_none_is_refused(change, message):
    document = json.loads(Contract(NAMES, CROP).to_json()) | change
    with pytest.raises(ValueError, match=message):
        Contract.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", "not json"])
def test_text_that_is_no_contract_is_refused(text):
    with pytest.raises(ValueError, match="expected a contract"):
        Contract.from_json(text)


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


QUICK = ("efficientnet_lite0",)
BACKBONES = ("efficientnet_lite0", "keras:MobileNetV2", "keras:EfficientNetB0", "keras:ResNet50V2", "keras:Xception")


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, (71, 96)) if name in QUICK else pytest.param(name, (71, 96), marks=pytest.mark.slow) for name in BACKBONES]
    + [pytest.param(name, None, marks=pytest.mark.slow) for name in BACKBONES],
)
def test_every_backbone_exports_with_proof(tmp_path, name, size):
    trunk = backbone(name, image_size=size, weights=None)
    model = with_varied_answers(classifier(trunk, len(NAMES)), trunk.crop)
    proof = export(model, tmp_path / "out", class_names=NAMES, crop=trunk.crop)
    assert proof.max_abs_diff <= 1e-4
