"""What every detector must do, whatever it is made of."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import pipelines
from zoo.blocks import conv_bn
from zoo.detection import SSD, EfficientDet, create, list_detectors, suppress
from zoo.metrics.training import DetectionCallback

SIZE = (64, 96)
# The smallest detector of each kind, with the number of steps and the learning rate that it needs for ten images.
KINDS = {
    "ssd": (80, 4e-3),
    "retinanet_tiny": (80, 4e-3),
    "efficientdet_d0": (80, 4e-3),
    "faster_rcnn_tiny": (80, 2e-3),
}


def small_backbone(size=SIZE, filters=16):
    image = x = keras.Input((*size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    for n in range(5):
        x = conv_bn(x, filters * min(2**n, 4), 3, strides=2, momentum=0.9, name=f"stage{n + 1}")
    return keras.Model(image, x, name="small")


def make(name, backbone, num_classes):
    """Creates a detector by name; of EfficientDet one that is smaller than the smallest."""
    if name == "efficientdet_d0":
        return EfficientDet(backbone, num_classes, filters=32, cells=1, depth=1, anchor_scale=2.0)
    return create(name, backbone=backbone, num_classes=num_classes)


def digit_batches(length, batch_size):
    """Returns batches for `fit`: scenes with none to three digits."""
    digits = pipelines.read_data("sklearn:digits")
    cutouts = pipelines.cut_out(digits.train[:200], digits.class_names)
    scenes = pipelines.SyntheticScenes(cutouts, length, size=SIZE, objects=(0, 3), scale=(0.3, 0.5), seed=1)
    dataset = pipelines.scene_dataset(list(scenes))
    fixed = dataset.map(lambda sample: sample | {"image": tf.ensure_shape(sample["image"], (*SIZE, 3))}).cache()
    return pipelines.padded_batches(fixed, batch_size)


def images(n, size=SIZE):
    return np.random.default_rng(0).uniform(0, 255, (n, *size, 3)).astype("float32")


def truths():
    """Returns truths of two images, with one object and three objects of several sizes. The other rows are padding."""
    boxes = [[[10, 8, 40, 50], [0] * 4, [0] * 4], [[2, 3, 16, 21], [40, 20, 90, 60], [0, 0, 96, 64]]]
    return {"boxes": np.float32(boxes), "classes": np.int32([[2, -1, -1], [0, 1, 2]])}


@pytest.fixture(scope="module", params=KINDS)
def new(request):
    """A detector of each kind before training. It runs eagerly, since tracing takes longer than all calls here."""
    keras.utils.set_random_seed(0)
    detector = make(request.param, small_backbone(filters=8), 3)
    detector.compile("adam", run_eagerly=True)
    return detector


def gradients(detector, truths):
    with tf.GradientTape() as tape:
        loss = detector.compute_loss(images(2), truths, detector(images(2), training=True))
    return loss, tape.gradient(loss, detector.trainable_variables)


def test_every_weight_learns(new):
    loss, found = gradients(new, truths())
    assert np.isfinite(loss)
    for variable, gradient in zip(new.trainable_variables, found, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        # A level without an object has nothing to learn. test_detection_ssd.py has objects for the coarse maps of SSD.
        of_a_level = isinstance(new, SSD | EfficientDet) and variable.path.startswith(("codes_", "logits_", "extra"))
        assert np.abs(gradient).max() > 0 or of_a_level, variable.path
    assert {name: float(metric.result()) > 0 for name, metric in new.loss_metrics.items()} == dict.fromkeys(
        new.loss_weights, True
    )


@pytest.mark.parametrize("rows", [0, 2])
def test_a_batch_without_any_object_teaches_background(new, rows):
    nothing = {"boxes": np.zeros((2, rows, 4), "float32"), "classes": np.full((2, rows), -1, "int32")}
    loss, found = gradients(new, nothing)
    assert 0 < float(loss) < 200
    assert any(np.abs(gradient).max() > 0 for gradient in found if gradient is not None)
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in found if gradient is not None)
    assert float(new.loss_metrics["box_loss"].result()) >= 0


def test_padding_teaches_nothing(new):
    outputs = new(images(2))
    expected = new.compute_loss(images(2), truths(), outputs)
    padded = {
        "boxes": np.pad(truths()["boxes"], ((0, 0), (0, 2), (0, 0)), constant_values=9),
        "classes": np.pad(truths()["classes"], ((0, 0), (0, 2)), constant_values=1),
        "num_boxes": np.int32([1, 3]),
    }
    np.testing.assert_allclose(new.compute_loss(images(2), padded, outputs), expected, rtol=1e-5)
    flat = {name: values.copy() for name, values in truths().items()}
    flat["boxes"][0, 1], flat["classes"][0, 1] = [20, 20, 20, 40], 1  # an object without area
    np.testing.assert_allclose(new.compute_loss(images(2), flat, outputs), expected, rtol=1e-5)


def test_every_way_of_asking_gives_the_same(new):
    batch = images(3)
    found = new.detect(batch)
    assert {name: (values.dtype.name, values.shape) for name, values in found.items()} == {
        "boxes": ("float32", (3, 100, 4)),
        "classes": ("int32", (3, 100)),
        "scores": ("float32", (3, 100)),
        "valid": ("int32", (3,)),
    }
    outputs = new(batch)
    boxes, scores = new.decode(outputs, SIZE)
    assert boxes.shape[:2] == scores.shape[:2]
    assert boxes.shape[2:] == (4,)
    assert scores.shape[2:] == (3,)
    assert boxes.numpy().min() >= 0
    assert boxes.numpy()[..., 2].max() <= SIZE[1]
    assert boxes.numpy()[..., 3].max() <= SIZE[0]
    by_hand = suppress(boxes, scores, iou_threshold=new.iou_threshold, score_threshold=new.score_threshold)
    in_graph = tf.function(lambda x: new.predict_step((x,)))(tf.constant(batch))
    # The scores of an untrained network are nearly equal, so that the order of detections may differ.
    for other in (by_hand, in_graph, new.predict(batch, batch_size=2, verbose=0)):
        np.testing.assert_allclose(other["scores"], found["scores"], rtol=1e-3, atol=1e-4)


def test_a_new_one_is_the_same_by_its_configuration(new, tmp_path):
    new.save(tmp_path / "detector.keras")
    loaded = keras.models.load_model(tmp_path / "detector.keras")
    assert type(loaded) is type(new)
    own = [{**model.get_config(), "backbone": model.backbone.name} for model in (loaded, new)]
    assert own[0] == own[1]
    # Files that were saved before there was a `Suppression` have its settings one by one.
    kept = {name: own[0][name] for name in ("score_threshold", "iou_threshold", "max_detections")}
    assert kept == vars(loaded.suppression)
    assert [w.path for w in loaded.weights] == [w.path for w in new.weights]
    for name, values in new(images(2)).items():
        np.testing.assert_allclose(loaded(images(2))[name], values, rtol=1e-4, atol=1e-4)
    assert [layer.momentum for layer in loaded.layers if isinstance(layer, keras.layers.BatchNormalization)].count(
        0.99
    ) == 0  # new batch norms must adapt quickly


def test_what_cannot_be_asked_or_learned_is_refused(new):
    with pytest.raises(ValueError, match=r"expected images \[n, height, width, channels\], got \(64, 96, 3\)"):
        new.detect(np.zeros((*SIZE, 3)))
    with pytest.raises(ValueError, match=r"multiples of 32 pixels, the largest stride, got \(64, 90\)"):
        new.detect(np.zeros((1, 64, 90, 3)))
    outputs = new(images(2))
    relative = truths() | {"boxes": truths()["boxes"] / 96}
    with pytest.raises(ValueError, match="absolute pixels, got relative ones"):
        new.compute_loss(images(2), relative, outputs)
    with pytest.raises(ValueError, match=r"expected classes of 0..2"):
        new.compute_loss(images(2), truths() | {"classes": truths()["classes"] + 1}, outputs)
    with pytest.raises(ValueError, match="has no sample weights"):
        new.compute_loss(images(2), truths(), outputs, np.ones(2))
    weights = new.get_weights()
    new.set_weights([np.full_like(w, np.nan) for w in weights])
    try:
        with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite"):
            new.detect(images(1))
    finally:
        new.set_weights(weights)


def frozen_and_part(name):
    """Returns a detector whose first three stages are frozen, those stages as a model, and the part above them."""
    keras.utils.set_random_seed(0)
    detector = create(name, backbone=small_backbone(filters=8), num_classes=3)
    for layer in detector.backbone.layers:
        layer.trainable = not layer.name.startswith(("stage1", "stage2", "stage3"))
    border = detector.backbone.get_layer("stage3_activation").output
    # The proposals of Faster R-CNN are clipped to the images, so that its part also takes the images.
    inputs = [detector.input, border] if name == "faster_rcnn_tiny" else [border]
    return detector, keras.Model(detector.input, inputs), detector.part(inputs, detector.output)


@pytest.mark.parametrize("name", ["yolo_tiny", "faster_rcnn_tiny"])
def test_a_part_on_activations_learns_what_the_whole_learns_on_images(name):
    detector, trunk, part = frozen_and_part(name)
    activations = trunk(images(2), training=False)
    assert [v.path for v in part.trainable_variables] == [v.path for v in detector.trainable_variables]
    assert len(part.weights) < len(detector.weights)

    steps = {}
    start = detector.get_weights()
    for model, inputs in ((detector, images(2)), (part, activations)):
        detector.set_weights(start)
        with tf.GradientTape() as tape:
            loss = model.compute_loss(inputs, truths(), model(inputs, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        detector.set_weights(start)
        model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
        logged = model.train_on_batch(inputs, truths(), return_dict=True)
        weights = detector.get_weights()
        tested = model.test_on_batch(inputs, truths(), return_dict=True)
        steps[model] = loss, gradients, logged, weights, tested
    for whole, of_part in zip(*(keras.tree.flatten(step) for step in steps.values()), strict=True):
        np.testing.assert_allclose(of_part, whole, rtol=1e-4, atol=1e-5)
    _, _, logged, weights, tested = steps[part]
    assert set(logged) == set(tested) == {"loss", *detector.loss_weights}
    assert any((new != old).any() for new, old in zip(weights, start, strict=True))


@pytest.mark.slow
def test_a_part_is_fitted_on_pairs_in_a_graph():
    detector, trunk, part = frozen_and_part("yolo_tiny")
    activations = trunk(images(2), training=False)
    part.compile(keras.optimizers.Adam(1e-3))
    pairs = tf.data.Dataset.from_tensors((activations, truths())).repeat(3)
    history = part.fit(pairs, validation_data=pairs, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]
    assert {"box_loss", "class_loss", "val_box_loss", "val_class_loss"} <= set(history)
    with pytest.raises(ValueError, match="has no sample weights"):
        part.compute_loss(activations, truths(), detector(images(2)), np.ones(2))


def test_a_part_of_a_detector_for_all_sizes_is_refused():
    detector = create("yolo_tiny", backbone=small_backbone((None, None), filters=8), num_classes=3)
    with pytest.raises(ValueError, match=r"images of one size, got yolo_tiny for \(height, width\) = \(None, None\)"):
        detector.part(detector.input, detector.output)


@pytest.mark.parametrize("name", KINDS)
def test_one_detector_for_all_sizes_if_the_backbone_takes_them(name):
    detector = make(name, small_backbone((None, None), filters=8), 3)
    for size in ((64, 96), (96, 64)):
        outputs = detector(images(2, size))
        assert 0 < float(detector.compute_loss(images(2, size), truths(), outputs)) < 200
        boxes, scores = detector.decode(outputs, size)
        assert boxes.shape[:2] == scores.shape[:2]
    detector.compile("adam", run_eagerly=True)
    assert detector.detect(images(1, (96, 64)))["boxes"].shape == (1, 100, 4)


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_stays_inside(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        detector = make(name, small_backbone(filters=8), 3)
    finally:
        keras.config.set_dtype_policy("float32")
    outputs = detector(images(2))
    assert {output.dtype for output in outputs.values()} == {tf.float32}
    assert 0 < float(detector.compute_loss(images(2), truths(), outputs)) < 200


@pytest.mark.parametrize("name", KINDS)
def test_what_cannot_be_made_is_refused(name):
    backbone = small_backbone(filters=8)
    with pytest.raises(ValueError, match="1 class or more, got num_classes=0"):
        create(name, backbone=backbone, num_classes=0)
    with pytest.raises(ValueError, match=r"a threshold in 0..1, got score_threshold=1.5"):
        create(name, backbone=backbone, num_classes=3, score_threshold=1.5)
    with pytest.raises(ValueError, match="multiples of 32 pixels"):
        create(name, backbone=small_backbone((80, 96)), num_classes=3)
    assert name in list_detectors()


def overfit(name):
    """Trains a detector for some steps on ten images, some of which have no object."""
    keras.utils.set_random_seed(0)
    batches = digit_batches(10, 10)
    steps, rate = KINDS[name]
    detector = make(name, small_backbone(), 10)
    detector.compile(keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(rate, steps), clipnorm=10.0))
    pairs = batches.map(lambda b: (b["image"], {"boxes": b["boxes"], "classes": b["classes"]}))
    callback = DetectionCallback(pairs, every=2, num_classes=10)
    history = detector.fit(batches.repeat(steps // 2), epochs=2, verbose=0, callbacks=[callback]).history
    return SimpleNamespace(detector=detector, batch=next(iter(batches)), history=history)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_ten_images_are_learned_to_the_last_object(name, tmp_path):
    trained = overfit(name)
    assert trained.history["val_map50"][-1] == 1.0
    assert trained.history["loss"][-1] < trained.history["loss"][0] / 5
    found = trained.detector.detect(trained.batch["image"])
    assert 0 in trained.batch["num_boxes"]
    np.testing.assert_array_equal((found["scores"] > 0.4).any(axis=1), trained.batch["num_boxes"] > 0)
    trained.detector.save(tmp_path / "detector.keras")
    again = keras.models.load_model(tmp_path / "detector.keras").detect(trained.batch["image"])
    for key, values in found.items():
        np.testing.assert_allclose(again[key], values, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_exported_graph_is_the_model(name, tmp_path):
    detector = make(name, small_backbone(filters=8), 3)
    detector.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    answers = exported.serve(images(2))
    for key, values in detector(images(2)).items():
        np.testing.assert_allclose(answers[key], values, rtol=1e-3, atol=1e-3)
