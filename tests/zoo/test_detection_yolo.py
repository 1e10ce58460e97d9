"""The practical YOLO: it learns with plain `fit` and the loss of the papers, and refuses what it cannot learn."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import pipelines
from zoo.blocks import conv_bn
from zoo.detection import create, list_detectors, matching, suppress, targets
from zoo.detection.losses import OverlapLoss
from zoo.metrics.training import DetectionCallback

SIZE = (64, 96)


def small_backbone(size=SIZE, filters=16):
    image = x = keras.Input((*size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    for n in range(5):
        x = conv_bn(x, filters * min(2**n, 4), 3, strides=2, momentum=0.9, name=f"stage{n + 1}")
    return keras.Model(image, x, name="small")


def digit_batches(length, *, objects=(0, 3), batch_size=5):
    """Returns batches for `fit`: padded scenes of digits, with all entries that the pipeline makes."""
    digits = pipelines.read_data("sklearn:digits")
    cutouts = pipelines.cut_out(digits.train[:200], digits.class_names)
    scenes = pipelines.SyntheticScenes(cutouts, length, size=SIZE, objects=objects, scale=(0.3, 0.5), seed=1)
    dataset = pipelines.scene_dataset(list(scenes))
    fixed = dataset.map(lambda sample: sample | {"image": tf.ensure_shape(sample["image"], (*SIZE, 3))}).cache()
    return pipelines.padded_batches(fixed, batch_size)


def pairs(batches):
    """Returns pairs of images and truths, as the metric takes them."""
    return batches.map(lambda b: (b["image"], {"boxes": b["boxes"], "classes": b["classes"]}))


def images(n, size=SIZE):
    return np.random.default_rng(0).uniform(0, 255, (n, *size, 3)).astype("float32")


def truths():
    """Returns truths of two images, with one object and with three of sizes for each map. Other rows are padding."""
    boxes = [[[10, 8, 40, 50], [0] * 4, [0] * 4], [[2, 3, 16, 21], [40, 20, 90, 60], [0, 0, 96, 64]]]
    return {"boxes": np.float32(boxes), "classes": np.int32([[2, -1, -1], [0, 1, 2]])}


def trained_for(epochs: int) -> SimpleNamespace:
    """The tiny detector after some epochs on ten images, some of which have no object."""
    keras.utils.set_random_seed(0)
    batches = digit_batches(10, batch_size=10)
    counts = np.concatenate([batch["num_boxes"] for batch in batches])
    assert len(counts) == 10
    assert counts.min() == 0
    detector = create("yolo_tiny", backbone=small_backbone(), num_classes=10, image_size=SIZE)
    detector.compile(keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(4e-3, epochs)))
    callback = DetectionCallback(pairs(batches), every=epochs, num_classes=10)
    history = detector.fit(batches, epochs=epochs, verbose=0, callbacks=[callback]).history
    return SimpleNamespace(detector=detector, batches=batches, history=history)


@pytest.fixture(scope="module")
def trained():
    return trained_for(60)


@pytest.fixture(scope="module")
def begun():
    return trained_for(4)


@pytest.mark.slow
def test_ten_images_are_learned_to_the_last_object(trained):
    assert trained.history["val_map50"][-1] == 1.0
    assert trained.history["val_map"][-1] > 0.6
    assert trained.history["loss"][-1] < trained.history["loss"][0] / 5
    for name in ("box_loss", "class_loss"):
        assert trained.history[name][-1] < trained.history[name][0]


@pytest.mark.slow
def test_images_without_objects_stay_empty(trained):
    for batch in trained.batches:
        found = trained.detector.detect(batch["image"])
        sure = (found["scores"] > 0.4).any(axis=1)
        np.testing.assert_array_equal(sure, batch["num_boxes"] > 0)


def test_it_saves_and_loads(begun, tmp_path):
    begun.detector.save(tmp_path / "detector.keras")
    loaded = keras.models.load_model(tmp_path / "detector.keras")
    assert loaded.count_params() == begun.detector.count_params()
    assert loaded.get_config()["iou_threshold"] == begun.detector.iou_threshold
    batch = next(iter(begun.batches))["image"]
    for name, values in begun.detector.detect(batch).items():
        np.testing.assert_allclose(loaded.detect(batch)[name], values, rtol=1e-5, atol=1e-4)


def test_every_way_of_asking_gives_the_same(begun):
    detector, batch = begun.detector, next(iter(begun.batches))["image"].numpy()
    found = detector.detect(batch)
    assert {name: values.dtype.name for name, values in found.items()} == {
        "boxes": "float32",
        "classes": "int32",
        "scores": "float32",
        "valid": "int32",
    }
    boxes, scores = detector.decode(detector(batch), SIZE)
    by_hand = suppress(boxes, scores, iou_threshold=0.6, score_threshold=0.01, max_detections=100)
    as_float = detector.detect(batch.astype("float32"))
    one_by_one = [detector.detect(image[None]) for image in batch]
    together = detector.predict(batch, batch_size=2, verbose=0)
    for name, values in found.items():
        for other in (by_hand[name], as_float[name], together[name], np.concatenate([one[name] for one in one_by_one])):
            np.testing.assert_allclose(other, values, rtol=1e-4, atol=1e-3)
    assert found["boxes"].min() >= 0
    assert found["boxes"][..., 2].max() <= SIZE[1]
    assert found["boxes"][..., 3].max() <= SIZE[0]


def test_what_cannot_be_learned_stops_the_training(begun):
    def broken(**changes):
        return next(iter(begun.batches)) | changes

    boxes = next(iter(begun.batches))["boxes"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="absolute pixels, got relative ones"):
        begun.detector.fit(tf.data.Dataset.from_tensors(broken(boxes=boxes / 96)), verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected classes of 0..9"):
        begun.detector.evaluate(tf.data.Dataset.from_tensors(broken(classes=tf.fill(boxes.shape[:2], 10))), verbose=0)
    with pytest.raises(ValueError, match='with an "image"'):
        begun.detector.fit(tf.data.Dataset.from_tensors({"photo": boxes}), verbose=0)
    with pytest.raises(ValueError, match=r"multiples of 32 pixels, the largest stride, got \(64, 90\)"):
        begun.detector.detect(np.zeros((1, 64, 90, 3)))
    with pytest.raises(ValueError, match=r"expected images \[n, height, width, channels\], got \(64, 96, 3\)"):
        begun.detector.detect(np.zeros((*SIZE, 3)))


def naive_loss(outputs, truth, points, strides, num_classes):
    """Computes the loss point by point, given which point has which object."""
    codes, logits = (np.array(outputs[name], "float64") for name in ("codes", "logits"))
    reach = np.exp(codes) * strides[:, None]
    predicted = np.concatenate([points - reach[..., :2], points + reach[..., 2:]], -1).astype("float32")
    scores = 1 / (1 + np.exp(-logits))
    real = truth["classes"] >= 0
    rows, weights = (
        x.numpy()
        for x in matching.task_aligned(
            tf.cast(scores, "float32"), predicted, points, truth["boxes"], truth["classes"], real
        )
    )
    overlap, box, entropy = OverlapLoss("ciou"), 0.0, 0.0
    for b in range(len(rows)):
        for n, row in enumerate(rows[b]):
            wanted = np.zeros(num_classes)
            if row >= 0:
                wanted[truth["classes"][b, row]] = weights[b, n]
                box += weights[b, n] * float(overlap(tf.constant(truth["boxes"][b, row]), tf.constant(predicted[b, n])))
            entropy -= np.sum(wanted * np.log(scores[b, n]) + (1 - wanted) * np.log(1 - scores[b, n]))
    count = max(weights.sum(), 1)
    return 7.5 * box / count + 0.5 * entropy / count


def test_the_loss_is_the_one_written_down():
    detector = create("yolo_tiny", backbone=small_backbone(), num_classes=3)
    rng = np.random.default_rng(0)
    points, strides = targets.grid_points(SIZE)
    outputs = {"codes": rng.normal(size=(2, len(points), 4)), "logits": rng.normal(size=(2, len(points), 3)) - 2}
    outputs = {name: values.astype("float32") for name, values in outputs.items()}
    expected = naive_loss(outputs, truths(), points, strides, 3)
    np.testing.assert_allclose(detector.compute_loss(images(2), truths(), outputs), expected, rtol=1e-4)
    # Neither more padding nor rows beyond the number of boxes change anything.
    padded = {
        "boxes": np.pad(truths()["boxes"], ((0, 0), (0, 2), (0, 0)), constant_values=9),
        "classes": np.pad(truths()["classes"], ((0, 0), (0, 2)), constant_values=1),
        "num_boxes": np.int32([1, 3]),
    }
    np.testing.assert_allclose(detector.compute_loss(images(2), padded, outputs), expected, rtol=1e-4)


def test_a_crowd_is_no_background():
    detector = create("yolo_tiny", backbone=small_backbone(), num_classes=3)
    points, _ = targets.grid_points(SIZE)
    crowd = {name: values[:1] for name, values in truths().items()} | {"crowd": np.array([[True, False, False]])}
    inside = matching.points_inside(points, crowd["boxes"][:, :1]).numpy()[0, 0]
    silent = {"codes": np.zeros((1, len(points), 4), "float32"), "logits": np.full((1, len(points), 3), -4, "float32")}

    def loss(certain):
        logits = np.where(certain[:, None], np.float32(9), silent["logits"])
        return float(detector.compute_loss(images(1), crowd, silent | {"logits": logits}))

    assert 0 < inside.sum() < len(points)
    nowhere = np.zeros(len(points), bool)
    assert loss(inside) == loss(nowhere)
    assert loss(~inside) > loss(nowhere)


@pytest.mark.parametrize("rows", [0, 2])
def test_a_batch_without_any_object_teaches_background(rows):
    detector = create("yolo_tiny", backbone=small_backbone(), num_classes=3)
    nothing = {"boxes": np.zeros((2, rows, 4), "float32"), "classes": np.full((2, rows), -1, "int32")}
    with tf.GradientTape() as tape:
        loss = detector.compute_loss(images(2), nothing, detector(images(2), training=True))
    gradients = tape.gradient(loss, detector.trainable_variables)
    assert 0 < float(loss) < 10
    assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients if g is not None)
    for layer in detector.layers:
        if layer.name in ("logits_3", "logits_4", "logits_5"):
            assert np.all(gradients[_place(detector, layer.bias)] > 0)  # a step makes every class less likely


def _place(model, variable):
    return next(i for i, each in enumerate(model.trainable_variables) if each is variable)


@pytest.mark.parametrize("name", ["yolo_tiny", "yolo"])
def test_every_weight_learns_and_every_fresh_batch_norm_is_quick(name):
    detector = create(name, backbone=small_backbone(filters=8), num_classes=3)
    with tf.GradientTape() as tape:
        loss = detector.compute_loss(images(2), truths(), detector(images(2), training=True))
    for variable, gradient in zip(
        detector.trainable_variables, tape.gradient(loss, detector.trainable_variables), strict=True
    ):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path
    norms = [layer for layer in detector.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.momentum for layer in norms} == {0.9}
    again = type(detector).from_config(detector.get_config())
    assert [w.path for w in again.weights] == [w.path for w in detector.weights]


def test_one_detector_for_all_sizes_if_the_backbone_takes_them():
    detector = create("yolo_tiny", backbone=small_backbone((None, None)), num_classes=3, image_size=64)
    for size, count in (((64, 96), 126), ((128, 32), 84)):
        assert detector(images(1, size))["codes"].shape == (1, count, 4)
        assert float(detector.compute_loss(images(2, size), truths(), detector(images(2, size)))) > 0
        assert detector.detect(images(1, size))["boxes"].shape == (1, 100, 4)
    with pytest.raises(ValueError, match="multiples of 32 pixels"):
        detector.detect(images(1, (64, 80)))
    detector.get_layer("logits_4").bias.assign([0, np.nan, 0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="scores of boxes to suppress must be finite"):
        detector.detect(images(1))


def test_half_precision_stays_inside():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        detector = create("yolo_tiny", backbone=small_backbone(filters=8), num_classes=3)
    finally:
        keras.config.set_dtype_policy("float32")
    assert detector.get_layer("codes_3_1_conv").compute_dtype == "bfloat16"
    outputs = detector(images(2))
    assert {output.dtype for output in outputs.values()} == {tf.float32}
    assert np.isfinite(float(detector.compute_loss(images(2), truths(), outputs)))


def test_a_frozen_backbone_stays_as_it_is():
    backbone = small_backbone()
    for layer in backbone.layers:
        layer.trainable = False
    detector = create("yolo_tiny", backbone=backbone, num_classes=3)
    before = [np.copy(w) for w in backbone.weights]
    head = np.copy(detector.get_layer("codes_4").kernel)
    detector.compile("adam", run_eagerly=True)
    detector.train_on_batch(images(2), truths())
    for old, new in zip(before, backbone.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.abs(head - detector.get_layer("codes_4").kernel).max() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "yolo_tny"}, "no detector is named 'yolo_tny'; near are yolo_tiny"),
        ({"backbone": "resnet50"}, "expected the backbone as a keras.Model, got str"),
        ({"image_size": 100}, r"multiples of 32 pixels, the largest stride, got \(100, 100\)"),
        ({"image_size": (96, 96)}, r"the backbone's image size \(64, 96\), got image_size=\(96, 96\)"),
        ({"num_classes": 0}, "1 class or more, got num_classes=0"),
        ({"score_threshold": 1.5}, "a threshold in 0..1, got score_threshold=1.5"),
        ({"iou_threshold": -0.1}, "a threshold in 0..1, got iou_threshold=-0.1"),
        ({"max_detections": 0}, "at least 1 detection, got max_detections=0"),
    ],
)
def test_what_cannot_be_made_is_refused(changes, message):
    given = {"name": "yolo_tiny", "backbone": small_backbone(), "num_classes": 3} | changes
    with pytest.raises(ValueError, match=message):
        create(given.pop("name"), **given)


def test_backbones_without_the_maps_are_refused():
    image = keras.Input((*SIZE, 3))
    shallow = keras.Model(image, conv_bn(image, 8, 3, strides=8, name="only"))
    with pytest.raises(ValueError, match="has no level c4, c5"):
        create("yolo_tiny", backbone=shallow, num_classes=3)
    with pytest.raises(ValueError, match=r"got SimpleNamespace; pass its \.model"):
        create("yolo_tiny", backbone=SimpleNamespace(model=shallow), num_classes=3)
    odd = small_backbone((80, 96))
    with pytest.raises(ValueError, match="multiples of 32 pixels"):
        create("yolo_tiny", backbone=odd, num_classes=3)
    assert list_detectors("yolo*") == ["yolo", "yolo_tiny"]


def test_sample_weights_are_refused():
    detector = create("yolo_tiny", backbone=small_backbone(), num_classes=3)
    with pytest.raises(ValueError, match="has no sample weights"):
        detector.compute_loss(images(2), truths(), detector(images(2)), np.ones(2))
