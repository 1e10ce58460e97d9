"""The pieces of the recipe that detectors are trained by, and what is measured of them."""

import keras
import numpy as np
import pytest

from pipelines import Scene
from transfer.measuring.boxes import Measured
from transfer.predict.drawing import colour_of, draw
from transfer.tasks.detect.training import (
    _measured_epochs,
    augmentation,
    canvas_size,
    new_detector,
    optimizer,
    train,
    training_batches,
)
from transfer.training.fine_tuning import TrainingDiverged
from transfer.training.freezing import FrozenWeightsChanged
from zoo.surgery.feature_maps import features

SIZE = (64, 96)


def arrays(dataset):
    return [{name: values.numpy() for name, values in batch.items()} for batch in dataset]


# What is shown


def test_batches_hold_every_scene_once_an_epoch(make_box_scenes):
    scenes = make_box_scenes(7)
    batches = arrays(training_batches(scenes, SIZE, batch_size=3, epochs=2))
    assert [len(batch["image"]) for batch in batches] == [3, 3, 1] * 2
    assert all(batch["image"].shape[1:] == (*SIZE, 3) and batch["image"].dtype == "float32" for batch in batches)
    objects = [sum(int(batch["num_boxes"].sum()) for batch in batches[start : start + 3]) for start in (0, 3)]
    assert objects == [sum(len(scene) for scene in scenes)] * 2
    parts = batches[:3], batches[3:]
    orders = [[float(image.mean()) for batch in part for image in batch["image"]] for part in parts]
    assert orders[0] != orders[1], "in a new order"
    np.testing.assert_allclose(sorted(orders[0]), sorted(orders[1]))


def test_the_seed_decides_all(make_box_scenes):
    settings = {"batch_size": 4, "epochs": 2, "mosaic_epochs": 1, "layers": augmentation("strong", flip="both")}
    runs = [arrays(training_batches(make_box_scenes(8), SIZE, seed=seed, **settings)) for seed in (1, 1, 2)]
    for first, second in zip(runs[0], runs[1], strict=True):
        np.testing.assert_array_equal(first["image"], second["image"])
        np.testing.assert_array_equal(first["boxes"], second["boxes"])
    assert not np.array_equal(runs[0][0]["image"], runs[2][0]["image"])
    first_epoch, second_epoch = runs[0][:2], runs[0][2:]
    most = [max(int(batch["num_boxes"].max()) for batch in part) for part in (first_epoch, second_epoch)]
    assert most[0] > most[1], "mosaics hold the objects of four images, and only in the first epoch"
    for batch in runs[0]:
        real = batch["classes"] >= 0
        boxes = batch["boxes"][real]
        assert (boxes >= 0).all()
        assert (boxes <= [96, 64, 96, 64]).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_boxes_stay_on_their_objects(make_box_scenes):
    """Where a box is, the picture has the colour of its class."""
    layers = augmentation("none", flip="both")
    for batch in arrays(training_batches(make_box_scenes(8), SIZE, layers=layers, mosaic_epochs=1, epochs=1)):
        for image, boxes, classes in zip(batch["image"], batch["boxes"], batch["classes"], strict=True):
            for (left, top, right, bottom), number in zip(boxes[classes >= 0], classes[classes >= 0], strict=True):
                middle = image[int((top + bottom) / 2), int((left + right) / 2)]
                assert middle.argmax() == (0, 2)[number]


def test_several_sizes(make_box_scenes):
    scales = (0.5, 1.0, 1.5)
    batches = arrays(training_batches(make_box_scenes(6), SIZE, batch_size=1, epochs=4, scales=scales))
    shapes = {batch["image"].shape[1:3] for batch in batches}
    assert shapes == {(32, 64), (64, 96), (96, 128)}
    widest = dict.fromkeys(shapes, 0.0)
    for batch in batches:
        shape = batch["image"].shape[1:3]
        widest[shape] = max(widest[shape], float(batch["boxes"].max(initial=0)))
        assert batch["boxes"].max(initial=0) <= max(shape)
    assert widest[max(shapes)] > widest[min(shapes)]


@pytest.mark.parametrize(
    ("sizes", "longer", "expected"),
    [
        ([(480, 640)], 320, (256, 320)),
        ([(640, 480)], 320, (320, 256)),
        ([(480, 640), (480, 640), (640, 480)], 384, (288, 384)),
        ([(100, 100)], 300, (288, 288)),
        ([(10, 1000)], 320, (32, 320)),
        ([(50, 50)], 8, (32, 32)),
    ],
)
def test_the_canvas_has_the_shape_of_the_photos(sizes, longer, expected):
    assert canvas_size([Scene(b"", "a", size) for size in sizes], longer) == expected


def test_names_that_are_none():
    with pytest.raises(ValueError, match="augmentation is one of none, light, strong; got 'wild'"):
        augmentation("wild")
    with pytest.raises(ValueError, match="flip is one of none, horizontal, vertical, both; got 'up'"):
        augmentation("none", flip="up")
    assert augmentation("none", flip="none") == []


# How it learns


def test_the_rate_rises_and_falls():
    made = optimizer(100, learning_rate=0.01, warm_up=0.1)
    rates = [float(made._learning_rate(step)) for step in (0, 10, 55, 100)]
    assert rates == pytest.approx([0.0005, 0.01, 0.005, 0.0], abs=1e-4)
    assert float(optimizer(100, warm_up=0.0)._learning_rate(0)) == pytest.approx(1e-3)


def test_weights_are_averaged_over_a_tenth_of_the_steps():
    assert optimizer(1000).ema_momentum == pytest.approx(0.99)
    assert optimizer(50).ema_momentum == pytest.approx(0.8)
    assert not optimizer(5).use_ema
    assert optimizer(5, ema=0.5).ema_momentum == 0.5
    assert not optimizer(1000, ema=0.0).use_ema


def test_settings_of_the_optimizer():
    for settings, message in (
        ({"ema": 1.0}, r"in \[0, 1\)"),
        ({"warm_up": -0.1}, r"in \[0, 1\)"),
        ({"learning_rate": -1.0}, "learning rate over 0"),
        ({"weight_decay": -1.0}, "weight decay of 0 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer(10, **settings)


def test_when_to_measure():
    assert _measured_epochs(40, 10) == {3, 7, 11, 15, 19, 23, 27, 31, 35, 39}
    assert _measured_epochs(3, 10) == {0, 1, 2}
    assert 6 in _measured_epochs(7, 3)


def test_trainings_that_cannot_be(make_box_scenes, small_trunk):
    model, licence = new_detector("yolo_tiny", "efficientnet_lite0", 2, SIZE)
    assert licence == "MIT"
    with pytest.raises(ValueError, match="none of the 2 training images has an object"):
        train(model, [scene[:0] for scene in make_box_scenes(2)], size=SIZE)
    with pytest.raises(ValueError, match=r"several sizes need a model that takes any; this one takes \(64, 96\)"):
        train(model, make_box_scenes(2), size=SIZE, scales=(0.5, 1.0))


def test_the_first_layers_and_the_batch_norms_of_a_trained_trunk_are_frozen(small_trunk):
    model, _ = new_detector("yolo_tiny", "efficientnet_lite0", 2, SIZE)
    own = {layer.name for layer in model.layers} - {layer.name for layer in model.backbone.layers}
    assert all(model.get_layer(name).trainable for name in own)
    first = {layer.name for layer in features(model.backbone, ("c2",)).layers}
    for layer in model.backbone.layers:
        learns = layer.name not in first and not isinstance(layer, keras.layers.BatchNormalization)
        assert layer.trainable == learns, layer.name
    assert 0 < len(first) < len(model.backbone.layers)
    open_sized, _ = new_detector("yolo_tiny", "efficientnet_lite0", 2, SIZE, any_size=True)
    frozen = [[layer.trainable for layer in each.layers if layer.weights] for each in (model, open_sized)]
    assert frozen[0] == frozen[1]
    free, _ = new_detector("yolo_tiny", "efficientnet_lite0", 2, SIZE, frozen=None)
    assert len(free.trainable_weights) > len(model.trainable_weights)
    untrained, _ = new_detector("yolo_tiny", "efficientnet_lite0", 2, SIZE, weights=None)
    assert all(layer.trainable for layer in untrained.layers)


def test_what_is_frozen_stays_so(make_box_scenes, small_trunk):
    model, _ = new_detector("yolo_tiny", "efficientnet_lite0", 2, SIZE)

    class Touch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            weights = next(layer for layer in self.model.backbone.layers if layer.weights).weights[0]
            weights.assign(weights + 1)

    with pytest.raises(FrozenWeightsChanged):
        train(model, make_box_scenes(4), size=SIZE, epochs=1, callbacks=[Touch()], progress=False)


@pytest.mark.slow
def test_a_training_that_comes_apart_says_so(make_box_scenes, small_trunk):
    model, _ = new_detector("yolo_tiny", "efficientnet_lite0", 2, SIZE)

    class Spoil(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            weights = self.model.trainable_weights[-1]
            weights.assign(weights * float("nan"))

    with pytest.raises(TrainingDiverged, match="the loss became nan in step 1 of epoch 1"):
        train(model, make_box_scenes(4), size=SIZE, epochs=1, callbacks=[Spoil()], progress=False)


# What is measured


def measured(scores, boxes=((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10))):
    truth = {"boxes": np.float32([[0, 0, 10, 10], [20, 0, 30, 10]]), "classes": np.int32([0, 0])}
    found = {"boxes": np.float32(boxes), "classes": np.int32([0] * len(boxes)), "scores": np.float32(scores)}
    return Measured(("ant", "bee"), (truth,), (found,))


def test_the_best_threshold_lies_between_right_and_wrong():
    thresholds = measured([0.9, 0.8, 0.4]).best_thresholds(default=0.35)
    assert thresholds == {"ant": pytest.approx(0.6), "bee": 0.35}
    assert measured([0.9, 0.3, 0.4]).best_thresholds()["ant"] == pytest.approx(0.15), "better all than one"


def test_images_with_mistakes_come_worst_first():
    right, wrong = measured([0.9, 0.8, 0.4]), measured([0.9, 0.2, 0.8])
    both = Measured(right.class_names, right.truths + wrong.truths, right.detections + wrong.detections)
    mistakes = both.mistakes({"ant": 0.5})
    assert [each.index for each in mistakes] == [1]
    assert mistakes[0].missed.tolist() == [False, True]
    assert mistakes[0].kinds.tolist() == ["correct", "background"]
    assert mistakes[0].cost == pytest.approx(1.8)
    assert both.objects().tolist() == [4, 0]
    assert np.isnan(both.coco.per_class()[1])


def test_pictures_of_other_sizes():
    image = np.zeros((40, 60, 3), "uint8")
    small = draw(image, [[10, 10, 30, 30]], [""], [(255, 0, 0)], longer=30)
    assert small.size == (30, 20)
    pixels = np.asarray(small)
    assert pixels[5, 5:15, 0].min() > 200
    assert pixels[10, 10].max() == 0, "only the edge"
    assert len({colour_of(number) for number in range(20)}) == 20
    assert draw(image, np.zeros((0, 4)), [], []).size == (60, 40)
