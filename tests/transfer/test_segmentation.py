"""Semantic segmentation: maps of classes on photos of any size, what an answer holds, and what bad data get."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tests_tiny import tiny
from typer.testing import CliRunner

import transfer
from pipelines import Data, EvaluationCrop, Letterbox, Scene, class_colour
from pipelines.annotations.outlines import from_runs
from pipelines.prepare.class_maps import classes_on_photo, classes_on_photos_in_graph, probabilities_on_photo
from transfer.cli.main import app
from transfer.measuring.pixels import PixelEvaluation
from transfer.predict.writing import write_predictions
from transfer.tasks.segment.answers import TASK, SegmentContract
from transfer.tasks.segment.batches import augmentation, training_batches, validation_batches
from transfer.tasks.segment.training import LEARNING, canvas_size, pixel_counts
from transfer.tasks.task import Options
from transfer.training import freezing
from zoo.segmentation import create

CANVAS = (32, 48)
CONTRACT = SegmentContract(("background", "cell", "wall"), preparation=Letterbox(CANVAS))


def probabilities(number=2, *, size=CANVAS, k=3, seed=0):
    scores = np.random.default_rng(seed).normal(size=(number, *size, k))
    scores = tf.image.resize(scores[:, ::4, ::4], size).numpy() * 4
    return (np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)).astype("float32")


# From the canvas to the photo


@pytest.mark.parametrize("preparation", [Letterbox(CANVAS), EvaluationCrop(CANVAS, 0.8)], ids=["letterbox", "crop"])
@pytest.mark.parametrize("size", [(32, 48), (40, 30), (61, 203), (13, 9)])
def test_classes_on_photos_are_the_same_in_numpy_in_the_graph_and_in_portable_operations(preparation, size):
    p = probabilities()
    of_numpy = [classes_on_photo(preparation, one, size) for one in p]
    for portable in (False, True):
        mask, scores = classes_on_photos_in_graph(preparation, p, tf.constant(size[0]), tf.constant(size[1]),
                                                  portable=portable)  # fmt: skip
        assert mask.shape == (2, *size)
        assert mask.dtype == tf.uint8
        for index, (own_mask, own_scores) in enumerate(of_numpy):
            np.testing.assert_allclose(scores[index], own_scores, atol=1e-5)
            assert (mask[index].numpy() != own_mask).mean() < 1e-3, "but for ties"
    whole = probabilities_on_photo(preparation, p[0], size)
    shown = of_numpy[0][0] != 255
    np.testing.assert_allclose(whole.sum(axis=-1), shown, atol=1e-5)
    np.testing.assert_array_equal(whole.argmax(axis=-1)[shown], of_numpy[0][0][shown])


def test_a_letterbox_is_undone_by_interpolation():
    """By `tf.image.resize` of the part of the canvas that shows the photo."""
    p, size = probabilities(1)[0], (100, 50)
    rows, left = 32, (48 - 16) // 2
    expected = tf.image.resize(p[:rows, left : left + 16], size, antialias=True).numpy()
    mask, scores = classes_on_photo(Letterbox(CANVAS), p, size)
    np.testing.assert_allclose(scores, expected.max(axis=-1), atol=1e-5)
    assert (mask != expected.argmax(axis=-1)).mean() < 1e-3


def test_photos_of_several_sizes_are_padded():
    p, heights, widths = probabilities(), tf.constant([20, 41]), tf.constant([60, 30])
    mask, scores = classes_on_photos_in_graph(Letterbox(CANVAS), p, heights, widths)
    assert mask.shape == (2, 41, 60)
    for index, size in enumerate(((20, 60), (41, 30))):
        own, of_own = classes_on_photo(Letterbox(CANVAS), p[index], size)
        assert (mask[index].numpy()[: size[0], : size[1]] != own).mean() < 1e-3
        np.testing.assert_allclose(scores[index].numpy()[: size[0], : size[1]], of_own, atol=1e-5)
        assert (mask[index].numpy()[size[0] :] == 255).all()
        assert (mask[index].numpy()[:, size[1] :] == 255).all()


# The answer


def outputs(size=(40, 30), *, seed=0):
    return CONTRACT.on_photo({"probabilities": probabilities(1, seed=seed)[0]}, size)


def test_an_answer_says_how_much_of_the_photo_each_class_has():
    given = outputs()
    answer = TASK.answer("a", given, (40, 30), CONTRACT, Options())
    assert sum(region.share for region in answer.regions) == pytest.approx(1)
    for region in answer.regions:
        own = answer.mask == region.index
        assert region.share == pytest.approx(own.mean())
        assert region.score == pytest.approx(given["scores"][own].mean(), rel=1e-4)
    rows = TASK.predictions(answer)
    for row in rows:
        np.testing.assert_array_equal(from_runs(row["mask"]), answer.mask == row["index"])
    assert json.loads(json.dumps(TASK.as_dict(answer)))["predictions"] == rows
    assert [row["background"] for row in rows if row["label"] == "background"] == [True]
    unsure = TASK.answer("a", given, (40, 30), CONTRACT, Options(threshold=0.7))
    np.testing.assert_array_equal(unsure.mask == 255, given["scores"] < 0.7)


def test_masks_are_drawn_crisply():
    mask = np.zeros((30, 40), np.uint8)
    mask[10:20, 10:30] = 2
    photo = np.full((30, 40, 3), 100, np.uint8)
    given = {"mask": mask, "scores": np.ones(mask.shape, np.float32)}
    answer = TASK.answer("a", given, mask.shape, CONTRACT, Options())
    drawn = np.asarray(TASK.draw(photo, answer))
    np.testing.assert_array_equal(drawn[10, 10], class_colour(2))
    np.testing.assert_array_equal(drawn[0, 0], photo[0, 0])
    assert 0 < np.abs(drawn[15, 15].astype(int) - 100).max() < np.abs(np.array(class_colour(2)) - 100).max()
    image = TASK.mask_image(answer)
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), mask)
    assert image.convert("RGB").getpixel((15, 15)) == class_colour(2)


# The proof


def test_a_tie_may_fall_to_either_class_and_nothing_else_may_change():
    p = probabilities(1)[0]
    expected = {"probabilities": p, "mask": p.argmax(-1).astype("uint8"), "scores": p.max(-1)}
    assert TASK.compare(expected, expected, CANVAS, CONTRACT, 1e-4).value == 0
    tie = p.copy()
    tie[3, 5] = (0.5, 0.49999, 0.00001)
    expected = {"probabilities": tie, "mask": tie.argmax(-1).astype("uint8"), "scores": tie.max(-1)}
    actual = {name: expected[name].copy() for name in ("mask", "scores")}
    actual["mask"][3, 5], actual["scores"][3, 5] = 1, 0.500001
    assert TASK.compare(expected, actual, CANVAS, CONTRACT, 1e-4).value < 1e-4
    actual["mask"][3, 5] = 2
    difference = TASK.compare(expected, actual, CANVAS, CONTRACT, 1e-4)
    assert difference.value == pytest.approx(0.5, abs=1e-3)
    assert "row 3, column 5" in difference.reason
    assert "wall" in difference.reason
    actual["mask"][3, 5] = 255
    assert TASK.compare(expected, actual, CANVAS, CONTRACT, 1e-4).value == np.inf
    other = {"mask": expected["mask"][:-1], "scores": expected["scores"][:-1]}
    assert TASK.compare(expected, other, CANVAS, CONTRACT, 1e-4).value == np.inf
    shifted = {"mask": expected["mask"], "scores": expected["scores"] - 0.01}
    assert TASK.compare(expected, shifted, CANVAS, CONTRACT, 1e-4).value == pytest.approx(0.01, abs=1e-5)


def test_agreement_is_the_mean_overlap_of_masks():
    one, other = np.zeros((2, 4), np.uint8), np.zeros((2, 4), np.uint8)
    one[:, 2:], other[:, 3:] = 1, 1
    assert TASK.agreement({"mask": [one]}, {"mask": [one]}, CONTRACT) == 1
    assert TASK.agreement({"mask": [one]}, {"mask": [other]}, CONTRACT) == pytest.approx((4 / 6 + 2 / 4) / 2)


# Training data


def scene(size=(40, 60), *, seed=0, classes=3):
    draw = np.random.default_rng(seed)
    mask = np.repeat(np.repeat(draw.integers(0, classes, (size[0] // 10, size[1] // 10)), 10, 0), 10, 1)
    image = (mask[..., None] * 80 + np.zeros(3)).astype("uint8")
    return Scene(image, f"{seed}", size, mask=mask.astype("uint8"))


def test_masks_move_with_their_images():
    """The grey of a pixel tells its class wherever both were moved, but for borders, which are interpolated."""
    scenes = [scene(seed=seed) for seed in range(4)]
    layers = augmentation("strong", (32, 40), flip="both")[:4]  # without colours
    batches, again = (training_batches(scenes, (64, 64), layers, batch_size=3, crops=2, seed=1) for _ in range(2))
    (images, masks), *others = batches
    assert [len(one) for one, _ in others] == [3, 2]
    assert not np.array_equal(next(iter(batches))[0], images), "each epoch has new windows"
    assert images.shape == (3, 32, 40, 3)
    known = masks.numpy() != 255
    assert known.mean() > 0.4
    assert (np.abs(images.numpy()[..., 0] - 80.0 * masks.numpy())[known] < 8).mean() > 0.75
    np.testing.assert_array_equal(next(iter(again))[1], masks)
    (whole, truth) = next(iter(validation_batches(scenes, (64, 64), batch_size=4)))
    assert whole.shape == (4, 64, 64, 3)
    assert set(np.unique(truth)) <= {0, 1, 2, 255}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([(360, 480)] * 3, (384, 480)), ([(584, 565)], (608, 576)), ([(3000, 4000)], (480, 640)), ([(20, 20)], (32, 32))],
)
def test_the_canvas_shows_most_photos_as_they_are(sizes, expected):
    assert canvas_size([Scene(b"", "a", size) for size in sizes]) == expected


def test_outlines_are_drawn_and_boxes_are_refused(tmp_path):
    photo = tmp_path / "images" / "a.png"
    photo.parent.mkdir()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(photo)
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
        "categories": [{"id": 7, "name": "leaf"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [5, 5, 10, 10], "area": 100, "iscrowd": 0,
             "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]]}
        ],
    }  # fmt: skip
    (tmp_path / "labels.json").write_text(json.dumps(document))

    def read():
        return LEARNING.read(str(tmp_path), transfer.Segment(), valid=0, test=0, seed=0)

    data = read()
    assert data.class_names == ("background", "leaf")
    assert pixel_counts(data.train)[:3].tolist() == [500, 100, 0]
    del document["annotations"][0]["segmentation"]
    (tmp_path / "labels.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"boxes and no masks.*--task detect"):
        read()


def test_masks_that_tell_nothing_apart_are_refused():
    with_two, with_one = scene(classes=2), replace(scene(), mask=np.zeros((40, 60), np.uint8))
    settings = transfer.Segment()
    LEARNING.check(Data(("background", "cell"), (with_two,), (with_two,)), "data", settings)
    with pytest.raises(ValueError, match="2400 pixels of the 1 validation masks are background"):
        LEARNING.check(Data(("background", "cell"), (with_two,), (with_one,)), "data", settings)
    with pytest.raises(ValueError, match="masks with 1 classes"):
        LEARNING.check(Data(("background",), (with_one,), (with_one,)), "data", settings)


def test_classes_are_put_into_the_order_of_the_model():
    data = Data(("wall", "background"), (replace(scene(classes=2), mask=np.array([[0, 1, 255]], np.uint8)),))
    aligned = LEARNING.align(data, CONTRACT)
    assert aligned.class_names == CONTRACT.class_names
    assert aligned.train[0].mask.read().tolist() == [[2, 0, 255]]
    with pytest.raises(ValueError, match="moon"):
        LEARNING.align(Data(("moon", "background"), data.train), CONTRACT)


# Training and measuring


def test_the_trunk_of_a_network_is_found_again(tmp_path):
    model = create("unet", tiny((64, 96, 3)), 3)
    freezing.unfreeze(model, "c4")
    trains = {layer.name for layer in model.layers if layer.trainable and layer.weights}
    own = [layer.name for layer in freezing.trunk(model) if layer.weights]
    assert len(own) == 10
    assert trains & set(own) == {name for name in own[-4:] if "norm" not in name}
    assert "reduce_conv" in trains
    assert "pixels_scores" in trains
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in freezing.trunk(again) if layer.weights] == own
    assert list(freezing.trunk_levels(again)) == ["c1", "c2", "c3", "c4", "c5"]


def test_a_network_starts_from_a_trained_one(tmp_path):
    scenes = tuple(scene((64, 96), seed=seed) for seed in range(2))
    data = Data(("a", "b", "c"), scenes, scenes)
    common = {"backbone": "tiny", "image_size": (64, 96)}
    coarse = LEARNING.build(data, transfer.Segment(**common, network="fcn16s")).model
    for weight in coarse.get_layer("fcn_score").weights:
        weight.assign_add(tf.ones_like(weight))
    coarse.save(tmp_path / "model.keras")
    for start in (tmp_path, tmp_path / "model.keras"):
        fine = LEARNING.build(data, transfer.Segment(**common, network="fcn8s", start=start)).model
        assert fine.input_shape == (None, None, None, 3)
        for name in ("fcn_score", "fcn_score1", "fcn_up1"):
            pairs = zip(fine.get_layer(name).get_weights(), coarse.get_layer(name).get_weights(), strict=True)
            for own, other in pairs:
                np.testing.assert_array_equal(own, other)
    with pytest.raises(FileNotFoundError, match="neither a run nor a model"):
        LEARNING.build(data, transfer.Segment(**common, start=tmp_path / "nowhere"))


def test_an_evaluation_says_which_images_are_worst():
    truths = [np.array([[0, 1, 1, 255]]), np.array([[0, 1, 1, 1]]), np.array([[0, 0, 0, 1]])]
    masks = [np.array([[0, 1, 1, 0]]), np.array([[0, 0, 1, 1]]), np.array([[1, 1, 1, 1]])]
    evaluation = PixelEvaluation.of(("background", "cell"), truths, masks)
    assert evaluation.worst() == [2, 1]
    # Of 5 pixels of background 2 are found, and 1 of the others is taken for it.
    assert evaluation.as_dict()["classes"]["background"]["iou"] == pytest.approx(2 / 6)
    assert evaluation.metrics()["pixel_accuracy"] == pytest.approx(7 / 11)
    assert evaluation.confusions()[0] == ("background", "cell", pytest.approx(3 / 5))


# The shell


def test_masks_are_written_for_a_folder(tiny_run, tmp_path):
    run = tiny_run("segment")
    predictor = transfer.load(run.folder, engine="onnx")
    photos = run.images / "test" / "images"
    out, masks = tmp_path / "results.json", tmp_path / "masks"
    written = write_predictions(predictor, photos, out, masks_to=masks)
    assert written.num_photos == 6
    results = json.loads(out.read_text())
    for photo in photos.iterdir():
        image = Image.open(photo)
        with Image.open(masks / f"{photo.name}.png") as mask:
            assert mask.mode == "P"
            assert mask.size == image.size
            for number in (1, 2):
                own = [one for one in results if one["file_name"] == photo.name and one["category_id"] == number]
                expected = np.asarray(mask) == number
                assert bool(own) == expected.any()
                if own:
                    np.testing.assert_array_equal(from_runs(own[0]["segmentation"]), expected)
    result = CliRunner().invoke(app, ["predict", str(run.folder), str(photo), "--out", str(tmp_path / "one")])
    assert result.exit_code == 0, result.output
    assert "of the pixels" in result.output
    assert len(list((tmp_path / "one").iterdir())) == 1


def test_masks_are_refused_where_there_are_none(tiny_run, tmp_path):
    predictor = transfer.load(tiny_run("classify").folder, engine="onnx")
    with pytest.raises(ValueError, match="masks are not for the task 'classify'"):
        write_predictions(predictor, tiny_run("classify").images, masks_to=tmp_path / "masks")
