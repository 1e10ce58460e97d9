"""The recipe that detectors are trained by, through the engine that trains every network, and what is measured."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import Data, Fault, Scene
from transfer.measuring.boxes import DetectionEvaluation
from transfer.tasks import learning_of, settings_class
from transfer.tasks.detect.batches import augmentation, training_batches
from transfer.tasks.detect.objective import DetectionObjective
from transfer.tasks.detect.settings import Detect
from transfer.tasks.detect.training import LEARNING, canvas_size, new_detector
from transfer.training.checkpoints import Checkpoint
from transfer.training.division import divide
from transfer.training.feature_cache import FeatureCache
from transfer.training.fine_tuning import Plan, TrainingDiverged, fine_tune
from transfer.training.freezing import FrozenWeightsChanged, trunk, unfreeze
from transfer.training.memory import micro_batches
from transfer.training.optimization import Optimization, layer_rates
from zoo.surgery.feature_maps import levels

SIZE = (64, 96)
PLAN = Plan(head_epochs=2, epochs=2, unfreeze="c3", head_learning_rate=1e-3, learning_rate=1e-3)
AVERAGED = Optimization(schedule="cosine", warm_up=0.05, weight_decay=0.05, ema=None, clip_norm=10.0)


def arrays(dataset):
    return [(images.numpy(), {name: values.numpy() for name, values in truths.items()}) for images, truths in dataset]


def detector(seed=0, **options):
    keras.utils.set_random_seed(seed)
    return new_detector("yolo_tiny", "tiny", 2, SIZE, **options)[0]


@pytest.fixture
def tune(make_box_scenes):
    """Trains a detector on a few photos, with mosaics in the first two epochs."""

    def run(model, *, plan=PLAN, valid=(), validations=10, **arguments):
        train = training_batches(
            make_box_scenes(10), SIZE, batch_size=4, mosaic_epochs=2, layers=augmentation("light"), seed=3
        )
        objective = DetectionObjective(
            tuple(model.loss_weights), valid, SIZE, epochs=plan.total_epochs, validations=validations
        )
        return fine_tune(model, train, None, objective=objective, plan=plan, seed=4, progress=False, **arguments)

    return run


# What is shown


def test_batches_hold_every_scene_once_an_epoch(make_box_scenes):
    scenes = make_box_scenes(7)
    data = training_batches(scenes, SIZE, batch_size=3)
    epochs = [arrays(data), arrays(data)]
    assert int(data.cardinality()) == 3
    orders = []
    for batches in epochs:
        assert [len(images) for images, _ in batches] == [3, 3, 1]
        assert all(images.shape[1:] == (*SIZE, 3) and images.dtype == "float32" for images, _ in batches)
        objects = sum(int(truths["num_boxes"].sum()) for _, truths in batches)
        assert objects == sum(len(scene) for scene in scenes)
        orders.append([float(image.mean()) for images, _ in batches for image in images])
    assert orders[0] != orders[1], "in a new order"
    np.testing.assert_allclose(sorted(orders[0]), sorted(orders[1]))


def test_seed_and_epoch_decide_all(make_box_scenes):
    settings = {"batch_size": 4, "mosaic_epochs": 1, "layers": augmentation("strong", flip="both")}
    runs = []
    for seed in (1, 1, 2):
        data = training_batches(make_box_scenes(8), SIZE, seed=seed, **settings)
        runs.append([arrays(data), arrays(data)])
    same(runs[0], runs[1])
    assert not np.array_equal(runs[0][0][0][0], runs[2][0][0][0])
    most = [max(int(truths["num_boxes"].max()) for _, truths in epoch) for epoch in runs[0]]
    assert most[0] > most[1], "mosaics hold the objects of four images, and only in the first epoch"
    for epoch in runs[0]:
        for _, truths in epoch:
            boxes = truths["boxes"][truths["classes"] >= 0]
            assert (boxes >= 0).all()
            assert (boxes <= [96, 64, 96, 64]).all()
            assert (boxes[:, 2:] > boxes[:, :2]).all()


def same(first, second):
    for one, other in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("fits", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_batches_begin_anywhere(make_box_scenes, monkeypatch, fits):
    monkeypatch.setattr("transfer.training.kept_samples.LIMIT", 2**30 if fits else 0)
    settings = {"batch_size": 3, "mosaic_epochs": 1, "layers": augmentation("light"), "seed": 5}
    whole = training_batches(make_box_scenes(7), SIZE, **settings)
    epochs = [arrays(whole) for _ in range(3)]
    later = training_batches(make_box_scenes(7), SIZE, **settings, start=(1, 2))
    same([epochs[1][2:], epochs[2]], [arrays(later), arrays(later)])


def test_boxes_stay_on_their_objects(make_box_scenes):
    """Where a box is, the picture has the colour of its class."""
    layers = augmentation("none", flip="both")
    for images, truths in arrays(training_batches(make_box_scenes(8), SIZE, layers=layers, mosaic_epochs=1)):
        for image, boxes, classes in zip(images, truths["boxes"], truths["classes"], strict=True):
            for (left, top, right, bottom), number in zip(boxes[classes >= 0], classes[classes >= 0], strict=True):
                middle = image[int((top + bottom) / 2), int((left + right) / 2)]
                assert middle.argmax() == (0, 2)[number]


def test_several_sizes(make_box_scenes):
    data = training_batches(make_box_scenes(6), SIZE, batch_size=1, scales=(0.5, 1.0, 1.5))
    batches = [batch for _ in range(4) for batch in arrays(data)]
    shapes = {images.shape[1:3] for images, _ in batches}
    assert shapes == {(32, 64), (64, 96), (96, 128)}
    widest = dict.fromkeys(shapes, 0.0)
    for images, truths in batches:
        shape = images.shape[1:3]
        widest[shape] = max(widest[shape], float(truths["boxes"].max(initial=0)))
        assert truths["boxes"].max(initial=0) <= max(shape)
    assert widest[max(shapes)] > widest[min(shapes)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "a batch_size of 1 or more, got 3 scenes and batch_size=0"),
        ({"mosaic_epochs": -1}, "mosaic_epochs of 0 or more"),
        ({"start": (0, 3)}, r"start as \(epoch, batch of 1\), got 0 and \(0, 3\)"),
    ],
)
def test_batches_that_cannot_be(make_box_scenes, settings, message):
    with pytest.raises(ValueError, match=message):
        training_batches(make_box_scenes(3), SIZE, **settings)


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


# What it is asked for


def test_settings_that_cannot_be():
    with pytest.raises(ValueError, match="a detector knows no patience, got patience=3: it keeps the weights of its"):
        Detect(patience=3)
    with pytest.raises(ValueError, match="has to learn for 1 epoch or more, got epochs=0 and head_epochs=0"):
        Detect(epochs=0)
    assert [stage.name for stage in LEARNING.plan(Detect(epochs=0, head_epochs=2)).stages] == ["head"]


def test_the_optimizer_of_a_detector():
    optimization = LEARNING.optimization(Detect())
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    optimizer = optimization.build(model, 0.01, steps=1000)
    assert (optimizer.clipnorm, optimizer.weight_decay) == (10.0, 0.05)
    assert optimizer.ema_momentum == pytest.approx(0.99)
    rates = [float(optimizer._learning_rate(step)) for step in (0, 50, 525, 1000)]
    assert rates == pytest.approx([0, 0.01, 0.005, 0.0], abs=1e-4)


def test_when_to_measure():
    def measured(epochs, validations):
        return DetectionObjective((), (), SIZE, epochs=epochs, validations=validations).measured_epochs

    assert measured(40, 10) == {4, 8, 12, 16, 20, 24, 28, 32, 36, 40}
    assert measured(3, 10) == {1, 2, 3}
    assert 7 in measured(7, 3)


def test_without_pretrained_weights_everything_trains_from_the_first_epoch_on():
    plan = LEARNING.plan(Detect(weights="none", head_epochs=2, epochs=5))
    assert [(stage.unfreeze, stage.epochs) for stage in plan.stages] == [("all", 5)]
    model = detector(weights=None)
    assert all(layer.trainable for layer in model.layers)
    unfreeze(model, "none")
    unfreeze(model, plan.stages[0].unfreeze, batch_norms=plan.batch_norms == "trained")
    assert all(layer.trainable for layer in model.layers)


def test_the_first_layers_and_the_batch_norms_of_a_trained_trunk_are_frozen():
    model = detector()
    own = {layer.name for layer in model.layers} - {layer.name for layer in model.backbone.layers}
    assert all(model.get_layer(name).trainable for name in own)
    assert trunk(model) == model.backbone.layers
    names = [layer.name for layer in model.backbone.layers]
    border = names.index(levels(model.backbone)["c2"])
    for index, layer in enumerate(model.backbone.layers):
        learns = index > border and not isinstance(layer, keras.layers.BatchNormalization)
        assert layer.trainable == learns, layer.name
    frozen = [[layer.trainable for layer in each.layers if layer.weights] for each in (model, detector(any_size=True))]
    assert frozen[0] == frozen[1]
    unfreeze(model, "none")
    assert {layer.name for layer in model.layers if layer.trainable} == own


def test_rates_fall_with_the_levels_of_the_trunk_and_not_with_those_of_the_head():
    model = detector()
    rates = layer_rates(model, 0.5)
    own = {layer.name for layer in model.layers} - {layer.name for layer in model.backbone.layers}
    assert all(rates[name] == 1 for name in own if name in rates)
    of_trunk = [rates[layer.name] for layer in model.backbone.layers if layer.weights]
    assert of_trunk == sorted(of_trunk)
    assert (of_trunk[0], of_trunk[-1]) == (0.5**5, 0.5)


def test_the_memory_of_a_step_is_predicted():
    assert micro_batches(detector(), 8, memory="4 GB").steps == 1
    assert micro_batches(detector(any_size=True), 8, memory="4 GB", input_shape=(*SIZE, 3)).size == 8


# How it learns


def weights_of(model, names):
    return {name: model.get_layer(name).get_weights() for name in names}


def test_phases_rows_and_what_is_frozen(tune, make_box_scenes):
    model = detector()
    frozen = [layer.name for layer in model.layers if layer.weights and not layer.trainable]
    before = weights_of(model, frozen)
    history = tune(model, valid=make_box_scenes(3, seed=1), validations=2, optimization=AVERAGED)
    assert [phase.name for phase in history.phases] == ["head", "top"]
    assert [phase.cached for phase in history.phases] == [True, False]
    assert history.phases[0].trained < history.phases[1].trained
    for name, values in weights_of(model, frozen).items():
        for one, other in zip(before[name], values, strict=True):
            np.testing.assert_array_equal(one, other)
    parts = tuple(model.loss_weights)
    assert tuple(history.rows[0]) == (
        "epoch", "phase", "loss", *parts, "val_map50", "val_map", "learning_rate", "seconds",
    )  # fmt: skip
    assert [row["val_map"] is None for row in history.rows] == [True, False, True, False]
    assert history.best["epoch"] == 4
    own = {layer.name for layer in model.layers} - {layer.name for layer in model.backbone.layers}
    moved = [
        layer for layer in model.layers if layer.name in own and isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert moved
    assert all(np.abs(layer.moving_mean.numpy()).max() > 0 for layer in moved)


def test_what_is_measured_and_kept_are_the_averaged_weights(tune):
    seen = []

    class Look:
        """An objective that notes the weights that it measures."""

        def __init__(self, objective):
            self.__dict__.update(seen=objective)

        def __getattr__(self, name):
            return getattr(self.__dict__["seen"], name)

        def validate(self, model, epoch, last):
            seen.append((epoch, last, model.get_weights()))
            return {"map50": 0.5, "map": 0.25}

    model = detector()
    raw = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: raw.append(model.get_weights()))
    original = DetectionObjective
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "DetectionObjective", lambda *a, **k: Look(original(*a, **k)))
        history = tune(model, plan=Plan(0, 2, "c3"), optimization=Optimization(ema=0.9), callbacks=[note])
    assert [(epoch, last) for epoch, last, _ in seen] == [(1, False), (2, True)]
    assert [row["val_map50"] for row in history.rows] == [0.5, 0.5]
    for one, other in zip(seen[-1][2], model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(np.abs(a - b).max() > 0 for a, b in zip(raw[-1], seen[-1][2], strict=True))


@pytest.mark.slow
def test_the_cache_agrees_with_no_cache_in_the_first_step(tune, make_box_scenes):
    """On a frozen trunk, to the rounding of floats: one step of SGD on a single batch."""
    ends = []
    for cache in (FeatureCache(views=1), False):
        model = detector()
        train = training_batches(make_box_scenes(4), SIZE, batch_size=4, layers=augmentation("light"), seed=3)
        objective = DetectionObjective(tuple(model.loss_weights), (), SIZE, epochs=1)
        history = fine_tune(
            model, train, None, objective=objective, plan=Plan(1, 0), optimization=Optimization("sgd", momentum=0.0),
            cache=cache, progress=False,
        )  # fmt: skip
        assert history.phases[0].cached == bool(cache), history.not_cached
        ends.append((history.rows[0]["loss"], model.get_weights()))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-4)
    assert any(np.abs(a - b).max() > 1e-6 for a, b in zip(ends[0][1], detector().get_weights(), strict=True))
    for one, other in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.slow
def test_activations_are_stored_for_the_head_alone_unless_views_are_given(tune):
    short = Plan(0, 1, "c3")
    history = tune(detector(), plan=short)
    assert not history.phases[0].cached
    assert history.not_cached == "its images have to be new ones in each epoch, unless the head alone is trained"
    assert tune(detector(), plan=short, cache=FeatureCache(views=1)).phases[0].cached
    assert divide(detector()) is not None


class Stopped(Exception):
    pass


class StopBefore(keras.callbacks.Callback):
    """Ends the training before a batch, counted from where it began."""

    def __init__(self, batch):
        super().__init__()
        self.left = batch

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if self.left < 0:
            raise Stopped


# Two phases of two epochs of three batches: in the middle of an epoch, between the phases, and in a later phase.
STOPS = (1, 6, 8)


@pytest.mark.parametrize(
    ("plan", "cache", "optimization", "stops"),
    [
        (Plan(2, 0), True, AVERAGED, (4,)),
        pytest.param(PLAN, True, AVERAGED, STOPS, marks=pytest.mark.slow),
        pytest.param(PLAN, False, AVERAGED, STOPS, marks=pytest.mark.slow),
        pytest.param(PLAN, True, Optimization(), STOPS, marks=pytest.mark.slow),
        pytest.param(PLAN, False, Optimization(accumulate=2), STOPS, marks=pytest.mark.slow),
    ],
)
def test_it_goes_on_as_if_nothing_had_happened(tmp_path, tune, plan, cache, optimization, stops):
    model = detector()
    history = tune(model, plan=plan, cache=cache, optimization=optimization)
    path = tmp_path / "checkpoint.npz"
    for first, stop in zip((0, *stops), stops, strict=False):
        with pytest.raises(Stopped):
            tune(
                detector(), plan=plan, cache=cache, optimization=optimization, callbacks=[StopBefore(stop - first)],
                checkpoint=Checkpoint(path, share=1.0),
            )  # fmt: skip
    resumed = detector()
    rows = tune(resumed, plan=plan, cache=cache, optimization=optimization, checkpoint=path).rows
    for one, other in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [row["loss"] for row in rows] == [row["loss"] for row in history.rows]


def test_what_is_frozen_stays_so(tune):
    class Touch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            weights = next(layer for layer in self.model.backbone.layers if layer.weights).weights[0]
            weights.assign(weights + 1)

    with pytest.raises(FrozenWeightsChanged):
        tune(detector(), plan=Plan(0, 1, "c3"), callbacks=[Touch()])


@pytest.mark.slow
def test_a_training_that_diverges_writes_its_batch(tune):
    class Spoil(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            weights = self.model.trainable_weights[-1]
            weights.assign(weights * float("nan"))

    with pytest.raises(TrainingDiverged, match="the loss is nan in phase 'top', epoch 1, batch 1") as error:
        tune(detector(), plan=Plan(0, 1, "c3"), callbacks=[Spoil()])
    path = str(error.value).split("this batch are in ")[1].split(". Try")[0]
    with np.load(path) as batch:
        assert batch["inputs"].shape == (4, *SIZE, 3)
        assert {"labels_boxes", "labels_classes", "labels_num_boxes"} <= set(batch)


def test_truths_that_cannot_be_learned_are_named(make_box_scenes):
    model = detector()
    objective = DetectionObjective(tuple(model.loss_weights), (), SIZE, epochs=1)
    data = tf.data.Dataset.from_tensors(next(iter(training_batches(make_box_scenes(4), SIZE, batch_size=4))))

    def fit(changed, plan=PLAN):
        fine_tune(model, data.map(changed), None, objective=objective, plan=plan, cache=False, progress=False)

    with pytest.raises(ValueError, match=r"labels of train have to be a dict of boxes .*; got classes"):
        fit(lambda images, truths: (images, {"classes": truths["classes"]}))
    with pytest.raises(ValueError, match="labels of train have to be a dict"):
        fit(lambda images, truths: (images, truths["classes"]))
    with pytest.raises(ValueError, match=r"classes of train have to be in 0\.\.1, and -1 for padding; got .*\.\.[34]"):
        fit(lambda images, truths: (images, truths | {"classes": truths["classes"] + 3}))
    with pytest.raises(ValueError, match="boxes of train are none: expected xyxy boxes in absolute pixels"):
        fit(lambda images, truths: (images, truths | {"boxes": truths["boxes"] / 1000}))
    with pytest.raises(ValueError, match="patience ends a phase that gets no better in validation"):
        fit(lambda *batch: batch, plan=Plan(1, 0, patience=2))
    with pytest.raises(ValueError, match="measures the model on images of its own, so expected valid=None"):
        fine_tune(model, data, data, objective=objective, progress=False)


# What is built


def boxes_data(make_box_scenes, names=("ant", "bee")):
    return Data(names, make_box_scenes(6), make_box_scenes(3, seed=1), make_box_scenes(3, seed=2), kind="boxes")


def test_data_without_boxes_are_refused(make_box_scenes):
    data = boxes_data(make_box_scenes)
    LEARNING.check(data, "photos", Detect())
    empty = Data(("ant", "bee"), [scene[:0] for scene in data.train], data.valid, data.test, kind="boxes")
    with pytest.raises(ValueError, match=r"no boxes to learn from: 6 training images with 0 objects.*zoo audit photos"):
        LEARNING.check(empty, "photos", Detect())
    with pytest.raises(ValueError, match="no validation images"):
        LEARNING.check(Data(("ant", "bee"), data.train, (), (), kind="boxes"), "photos", Detect())


@pytest.mark.parametrize("name", ["detect", "locate"])
def test_parts_without_usable_objects_are_refused_before_training(make_box_scenes, name):
    learning, settings = learning_of(name), settings_class(name)()
    data = boxes_data(make_box_scenes)
    crowds = [replace(scene, crowd=np.ones(len(scene), bool)) for scene in data.valid]
    with pytest.raises(ValueError, match=r"the 3 validation images have no objects to measure on \(\d+ objects: \d+ "):
        learning.check(replace(data, valid=crowds), "photos", settings)
    learning.check(replace(data, test=crowds), "photos", settings)
    none = replace(data, valid=(), faults=(Fault("a.xml", "not valid XML", kind="broken"),))
    with pytest.raises(ValueError, match=r"its own validation split can be used\. 1 faults .* the first: a.xml"):
        learning.check(none, "photos", settings)
    with pytest.raises(ValueError, match=r"valid=0 \(--valid 0\) takes none apart"):
        learning.check(none, "photos", replace(settings, valid=0.0))


def test_locating_leaves_out_objects_that_nothing_can_be_learned_from(tmp_path, make_box_scenes):
    from transfer.tasks.locate.training import _with_objects

    first, second, *others = make_box_scenes(4)
    crowd = replace(first, crowd=np.ones(len(first), bool))
    partly = replace(second, difficult=np.arange(len(second)) == 0)
    data = Data(("ant", "bee"), (crowd, partly, others[0][:0], *others), kind="boxes")
    for empty, count in ((False, 3), (True, 4)):
        kept = _with_objects(data, empty=empty)
        assert len(kept.train) == count
        assert len(kept.train[0]) == len(second) - 1
        assert "crowds, difficult or smaller than a pixel" in kept.faults[0].reason


@pytest.mark.parametrize("portable", [False, True])
def test_the_network_gives_what_the_detector_finds(make_box_scenes, portable):
    settings = Detect(backbone="tiny", image_size=SIZE, score_threshold=0.001, max_detections=7)
    built = LEARNING.build(boxes_data(make_box_scenes), settings)
    assert built.contract.preparation.size == SIZE
    assert LEARNING.kept(built, boxes_data(make_box_scenes), settings) is built.model
    images = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype("float32")
    outputs = LEARNING.network(built.model, built.contract, portable=portable)(images)
    assert set(outputs) == set(built.contract.outputs())
    expected = built.model.detect(images)
    for name, values in expected.items():
        assert values.shape[1:] == built.contract.outputs()[name].shape
        np.testing.assert_allclose(outputs[name], values, atol=1e-3)


@pytest.mark.slow
def test_several_sizes_in_training_become_one_for_use(make_box_scenes):
    data = boxes_data(make_box_scenes)
    settings = Detect(backbone="tiny", image_size=SIZE, multi_scale=True)
    built = LEARNING.build(data, settings)
    assert built.model.input_shape == (None, None, None, 3)
    kept = LEARNING.kept(built, data, settings)
    assert kept.input_shape == (None, *SIZE, 3)
    for one, other in zip(built.model.get_weights(), kept.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [layer.trainable for layer in built.model.layers if layer.weights] == [
        layer.trainable for layer in kept.layers if layer.weights
    ]
    train, valid = LEARNING.batches(data, settings, built, 2)
    assert valid is None
    assert {tuple(images.shape[1:3]) for _ in range(3) for images, _ in train} <= {
        (64, 96),
        (64, 64),
        (64, 128),
        (32, 64),
    }


def test_classes_are_matched_by_name(make_box_scenes):
    built = LEARNING.build(boxes_data(make_box_scenes), Detect(backbone="tiny", image_size=SIZE))
    swapped = boxes_data(make_box_scenes, ("bee", "ant", "unused"))
    aligned = LEARNING.align(swapped, built.contract)
    assert aligned.class_names == ("ant", "bee")
    for scene, before in zip(aligned.train, swapped.train, strict=True):
        np.testing.assert_array_equal(scene.classes, 1 - before.classes)
    with pytest.raises(ValueError, match="have the classes fly, which the model does not know"):
        LEARNING.align(boxes_data(make_box_scenes, ("ant", "fly")), built.contract)


# What is measured


def measured(scores, boxes=((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10))):
    truth = {"boxes": np.float32([[0, 0, 10, 10], [20, 0, 30, 10]]), "classes": np.int32([0, 0])}
    found = {"boxes": np.float32(boxes), "classes": np.int32([0] * len(boxes)), "scores": np.float32(scores)}
    return DetectionEvaluation(("ant", "bee"), (truth,), (found,))


def test_the_best_threshold_lies_between_right_and_wrong(make_box_scenes):
    thresholds = measured([0.9, 0.8, 0.4]).best_thresholds(default=0.35)
    assert thresholds == {"ant": pytest.approx(0.6), "bee": 0.35}
    assert measured([0.9, 0.3, 0.4]).best_thresholds()["ant"] == pytest.approx(0.15), "better all than one"
    built = LEARNING.build(boxes_data(make_box_scenes), Detect(backbone="tiny", image_size=SIZE))
    assert LEARNING.finish(built.contract, measured([0.9, 0.8, 0.4])).thresholds["ant"] == pytest.approx(0.6)


def test_images_with_mistakes_come_worst_first():
    right, wrong = measured([0.9, 0.8, 0.4]), measured([0.9, 0.2, 0.8])
    both = DetectionEvaluation(right.class_names, right.truths + wrong.truths, right.detections + wrong.detections)
    mistakes = both.mistakes({"ant": 0.5})
    assert [each.index for each in mistakes] == [1]
    assert mistakes[0].missed.tolist() == [False, True]
    assert mistakes[0].kinds.tolist() == ["correct", "background"]
    assert mistakes[0].cost == pytest.approx(1.8)
    assert both.objects().tolist() == [4, 0]
    assert np.isnan(both.coco.per_class()[1])
