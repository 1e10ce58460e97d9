"""One class and one box for each image: labels, losses, training on stored activations, and the sliding window."""

import keras
import numpy as np
import pytest

import transfer
from pipelines import Cutouts, RandomFlip, Scene, SyntheticScenes
from transfer import Localisation, Plan, fine_tune, localisation_batches, localiser
from transfer.models.backbones import backbone
from transfer.tasks.locate.localisation import relative_boxes
from zoo import boxes as box_geometry
from zoo.detection.one_object import LOCATION_LOSSES, LocationIoU, LocationLoss, ObjectAccuracy, SlidingWindow

L = keras.layers
H, W = 32, 48


def scene(name, boxes, classes, size=(40, 80)):
    return Scene(np.full((*size, 3), 9, np.uint8), name, size, boxes, classes)


# Labels


def test_labels_are_of_the_largest_object():
    scenes = [
        scene("two", [[0, 0, 8, 10], [40, 0, 80, 20]], [2, 0]),
        scene("one", [[20, 10, 40, 30]], [1]),
        scene("none", [], []),
    ]
    ((images, (classes, boxes, found)),) = localisation_batches(scenes, (H, W), objectness=True)
    assert images.shape == (3, H, W, 3)
    assert classes.numpy().tolist() == [0, 1, -1]
    np.testing.assert_allclose(boxes, [[0.5, 1 / 8, 1, 1 / 2], [0.25, 5 / 16, 0.5, 11 / 16], [0, 0, 0, 0]], atol=1e-6)
    assert found.numpy().tolist() == [[1.0], [1.0], [0.0]]


def test_a_batch_without_any_object():
    ((_, (classes, boxes, found)),) = localisation_batches([scene("none", [], [])], (H, W), objectness=True)
    assert (classes.numpy().tolist(), boxes.numpy().tolist(), found.numpy().tolist()) == ([-1], [[0.0] * 4], [[0.0]])


def test_images_without_an_object_are_counted_and_refused():
    scenes = [scene("none", [], []), scene("one", [[20, 10, 40, 30]], [1])]
    with pytest.raises(ValueError, match=r"1 of 2 images have no object"):
        localisation_batches(scenes, (H, W))


def test_boxes_change_with_their_images():
    pixels = np.zeros((H, W, 3), np.uint8)
    pixels[4:12, :16] = 255
    scenes = [Scene(pixels, "bright", (H, W), [[0, 4, 16, 12]], [1])] * 8
    ((images, (_, boxes)),) = localisation_batches(
        scenes, (H, W), shuffle=True, layers=[RandomFlip("horizontal")], seed=3
    )
    lefts = set()
    for image, box in zip(images.numpy(), boxes.numpy(), strict=True):
        x1, y1, x2, y2 = np.round(box * [W, H, W, H]).astype(int)
        assert image[y1:y2, x1:x2].min() == 255
        assert image.sum() == 255 * 3 * 8 * 16
        lefts.add(int(x1))
    assert lefts == {0, 32}


# Losses and metrics


def naive_iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0) * max(height, 0)
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)


TRUTH = np.array([[0.1, 0.2, 0.5, 0.8], [0.0, 0.0, 1.0, 0.5], [0, 0, 0, 0]], "float32")
CODES = np.array([[0.4, 0.5, 0.6, 0.9], [0.5, 0.3, 0.9, 0.7], [0.5, 0.5, 0.5, 0.5]], "float32")


def decoded(code):
    x, y, w, h = code[0], code[1], code[2] ** 2, code[3] ** 2
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def test_losses_and_the_metric_equal_a_naive_loop():
    expected = [naive_iou(truth, decoded(code)) for truth, code in zip(TRUTH[:2], CODES[:2], strict=True)]
    assert float(LocationLoss("iou")(TRUTH, CODES)) == pytest.approx((2 - sum(expected)) / 3, abs=1e-6)
    metric = LocationIoU()
    metric.update_state(TRUTH, CODES)
    assert float(metric.result()) == pytest.approx(sum(expected) / 2, abs=1e-6)
    squares = [
        np.mean((np.array([(t[0] + t[2]) / 2, (t[1] + t[3]) / 2, (t[2] - t[0]) ** 0.5, (t[3] - t[1]) ** 0.5]) - c) ** 2)
        for t, c in zip(TRUTH[:2], CODES[:2], strict=True)
    ]
    assert float(LocationLoss()(TRUTH, CODES)) == pytest.approx(sum(squares) / 3, abs=1e-6)


@pytest.mark.parametrize("kind", LOCATION_LOSSES)
def test_a_right_box_costs_nothing_and_a_loss_is_saved_by_its_name(kind):
    truth = TRUTH[:2]
    assert float(
        LocationLoss(kind)(truth, box_geometry.encode_sqrt(keras.ops.array(truth), (1.0, 1.0)))
    ) == pytest.approx(0, abs=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(LocationLoss(kind)))
    assert float(again(TRUTH, CODES)) == float(LocationLoss(kind)(TRUTH, CODES))


def test_accuracy_leaves_out_images_without_an_object():
    metric = ObjectAccuracy()
    metric.update_state([0, 1, -1, 1], np.array([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]))
    assert float(metric.result()) == pytest.approx(2 / 3)


# Training


@pytest.fixture(scope="module")
def digits():
    """One bright square or bar on a dark image."""
    square, bar = np.zeros((12, 12, 4), np.uint8), np.zeros((6, 24, 4), np.uint8)
    square[:], bar[:] = (250, 40, 40, 255), (40, 40, 250, 255)
    cutouts = Cutouts([square, bar], [0, 1], ("square", "bar"))
    return SyntheticScenes(
        cutouts, 48, size=(64, 96), objects=(1, 1), scale=(0.3, 0.6), rotation=0, background="plain", seed=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [60])
def test_training_on_stored_activations_learns_what_and_where(digits, epochs):
    model = localiser(backbone("efficientnet_lite0", image_size=(64, 96)), 2, dropout=0)
    train = localisation_batches(digits[:40], (64, 96), batch_size=8, shuffle=True)
    valid = localisation_batches(digits[40:], (64, 96), batch_size=8)
    frozen = [weight.numpy() for weight in model.get_layer(model.layers[3].name).weights]
    task = Localisation(class_weight=0.5, box_weight=0.5, box_loss="giou")
    history = fine_tune(
        model, train, valid, objective=task, plan=Plan(epochs, 0, head_learning_rate=1e-3), progress=False
    )
    assert history.phases[0].cached
    assert {"val_label_accuracy", "val_box_iou"} <= set(history.rows[0])
    if epochs > 2:
        assert history.rows[-1]["label_accuracy"] > 0.9
        assert history.rows[-1]["box_iou"] > history.rows[0]["box_iou"] + 0.2
    for before, now in zip(frozen, model.get_layer(model.layers[3].name).weights, strict=True):
        np.testing.assert_array_equal(before, now.numpy())
    images, (classes, boxes) = next(iter(valid))
    metric = LocationIoU()
    metric.update_state(boxes, model(images)[1])
    assert float(metric.result()) == pytest.approx(history.best["val_box_iou"], abs=0.02)
    drawn = relative_boxes(model(images)[1], (64, 96))
    assert drawn.shape == (8, 4)
    assert (drawn[:, 2:] <= [96, 64]).all()
    right = np.argmax(model(images)[0], axis=-1) == classes.numpy()
    assert right.mean() == pytest.approx(history.best["val_label_accuracy"])


def small(*, objectness=True, seed=0):
    """Without padding, so that a window's answer does not depend on what is beside it."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((H, W, 3))
    x = L.Rescaling(1 / 255)(image)
    x = L.MaxPooling2D(2)(L.Conv2D(6, 3, strides=2, activation="gelu")(x))
    x = L.Flatten()(L.Conv2D(8, 3, strides=2, activation="gelu")(x))
    outputs = [L.Dense(3, activation="softmax")(x), L.Dense(4)(x)]
    return keras.Model(image, outputs + ([L.Dense(1, activation="sigmoid")(x)] if objectness else []))


@pytest.mark.slow
def test_plain_fit_learns_objectness():
    model, task = small(), Localisation(objectness=True)
    scenes = [
        Scene(
            np.full((H, W, 3), 250 * (i % 2), np.uint8),
            str(i),
            (H, W),
            [[4, 4, 20, 30]] if i % 2 else [],
            [1] * (i % 2),
        )
        for i in range(12)
    ]
    ((images, labels),) = localisation_batches(scenes, (H, W), batch_size=12, objectness=True)
    model.compile(
        keras.optimizers.Adam(0.003), loss=task.loss(), loss_weights=task.loss_weights(), metrics=task.metrics()
    )
    model.fit(images, labels, epochs=120, verbose=0)
    classes, boxes, found = (each.numpy() for each in model(np.stack([scene.image for scene in scenes[:2]])))
    assert found[0, 0] < 0.5 < found[1, 0]
    assert classes[1].argmax() == 1
    assert naive_iou(relative_boxes(boxes, (H, W))[1], [4, 4, 20, 30]) > 0.5


# Bad input


@pytest.mark.parametrize(
    ("classes", "boxes", "message"),
    [
        ([0, 3], [[0, 0, 1, 1]] * 2, r"have to be in 0\.\.2, or -1"),
        ([0, 1], [[0, 0, 30, 20]] * 2, r"look like pixels"),
        ([0, 1], [[0, 0, np.nan, 1]] * 2, r"NaN or infinity"),
    ],
)
def test_labels_that_are_none(classes, boxes, message):
    with pytest.raises(ValueError, match=message):
        Localisation(objectness=True).check_values((np.array(classes), np.array(boxes)), small(), "train")


def test_labels_of_another_form():
    data = localisation_batches([scene("one", [[20, 10, 40, 30]], [1])] * 2, (H, W))
    with pytest.raises(ValueError, match=r"expected those of transfer.localiser with objectness=False"):
        fine_tune(small(), data, data, objective=Localisation(), progress=False)
    with pytest.raises(ValueError, match=r"has to have labels \(classes int \[n\], boxes float \[n, 4\], objectness"):
        fine_tune(small(), data, data, objective=Localisation(objectness=True), progress=False)
    only_classes = data.map(lambda images, labels: (images, labels[0]))
    with pytest.raises(ValueError, match=r"has to have labels \(classes int \[n\], boxes float \[n, 4\]\)"):
        fine_tune(small(objectness=False), only_classes, only_classes, objective=Localisation(), progress=False)


@pytest.mark.parametrize("arguments", [{"box_weight": 0}, {"class_weight": -1}, {"box_loss": "l1"}])
def test_bad_settings(arguments):
    with pytest.raises(ValueError, match=r"expected a kind of|is a positive number"):
        Localisation(**arguments)
    with pytest.raises(ValueError, match="pooling is one of"):
        localiser(backbone("efficientnet_lite0", image_size=(64, 96), weights=None), 3, pooling="some")


# The sliding window


@pytest.mark.parametrize("objectness", [True, False])
@pytest.mark.parametrize("n", [1, 3])
def test_one_pass_equals_sliding_the_network_by_hand(objectness, n):
    model = small(objectness=objectness)
    window = SlidingWindow(model)
    assert window.stride == 8
    images = np.random.default_rng(0).uniform(0, 255, (n, 64, 80, 3)).astype("float32")
    grid = window.grid(images)
    rows, columns = (64 - H) // 8 + 1, (80 - W) // 8 + 1
    assert grid.shape == (n, rows, columns, 3 + 5)
    for row in range(rows):
        for column in range(columns):
            crop = images[:, 8 * row : 8 * row + H, 8 * column : 8 * column + W]
            classes, box, *found = (each.numpy() for each in model(crop))
            expected = np.concatenate([classes, *(found or [np.ones((n, 1))]), box], axis=-1)
            np.testing.assert_allclose(grid[:, row, column], expected, atol=1e-5)


def test_positions_are_decoded_to_pixels_of_the_image():
    window = SlidingWindow(small(), score_threshold=0.3)
    grid = np.zeros((1, 2, 3, 8), "float32")
    grid[0, 1, 2] = [0.1, 0.8, 0.1, 0.5, 0.5, 0.5, 0.5, 0.5]  # the middle quarter of the window at row 1, column 2
    boxes, scores = window.decode(grid)
    np.testing.assert_allclose(boxes[0, 5], [16 + 18, 8 + 12, 16 + 30, 8 + 20], atol=1e-5)
    np.testing.assert_allclose(scores[0, 5], [0.05, 0.4, 0.05], atol=1e-6)
    window.grid = lambda images: grid
    found = window.detect(np.zeros((1, 40, 64, 3)))
    assert found["valid"].tolist() == [1]
    assert found["classes"][0, 0] == 1
    np.testing.assert_allclose(found["boxes"][0, 0], [34, 20, 46, 28], atol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SlidingWindow(small(), score_threshold=1.5), "threshold in 0..1"),
        (
            lambda: SlidingWindow(keras.Model(*(lambda i: (i, L.Flatten()(i)))(keras.Input((4, 6, 3))))),
            "3 numbers|outputs",
        ),
        (lambda: SlidingWindow(small()).grid(np.zeros((1, 16, 80, 3))), r"at least \(32, 48\)"),
        (lambda: SlidingWindow(small()).grid(np.zeros((64, 80, 3))), "expected images"),
    ],
)
def test_what_cannot_slide(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_public_names():
    assert transfer.localiser is localiser
