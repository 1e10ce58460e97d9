"""SSD: the published network, its loss written out, and the background that its loss selects."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo import boxes as box_geometry
from zoo.blocks import conv_bn
from zoo.detection import anchors, create, matching
from zoo.detection.anchors import VARIANCES
from zoo.detection.ssd import LAYOUTS, ScaledL2Normalisation, hard_negatives

SIZE = (64, 96)


def small_backbone(size=SIZE, filters=8):
    image = x = keras.Input((*size, 3))
    for n in range(5):
        x = conv_bn(x, filters, 3, strides=2, name=f"stage{n + 1}")
    return keras.Model(image, x)


def truths():
    boxes = [[[10, 8, 40, 50], [0] * 4, [0] * 4], [[2, 3, 26, 25], [40, 20, 90, 60], [0, 0, 96, 64]]]
    return {"boxes": np.float32(boxes), "classes": np.int32([[2, -1, -1], [0, 1, 2]])}


def test_ssd300_is_the_published_network():
    vgg = zoo.create_model("vgg16", weights=None, include_top=False, input_shape=(300, 300, 3))
    detector = create("ssd300", backbone=vgg, num_classes=20, image_size=300)
    assert {name: output.shape[1:] for name, output in detector.output.items()} == {
        "codes": (8732, 4),
        "logits": (8732, 21),
    }
    assert detector.priors((300, 300)).shape == (8732, 4)
    # The number is that of the authors' model for Pascal VOC.
    assert detector.count_params() == 26_285_486
    # The detector shares the layers of the trunk, and a map of 38 x 38 comes from 75 rows.
    assert detector.get_layer("block4_conv3") is vgg.get_layer("block4_conv3")
    assert detector.get_layer("normalise_first").output.shape == (None, 38, 38, 512)
    names = {layer.name for layer in detector.layers}
    assert "block5_pool" not in names
    assert [detector.get_layer(f"extra{i}_2_conv").output.shape[1] for i in (1, 2, 3, 4)] == [10, 5, 3, 1]
    with pytest.raises(ValueError, match=r"images of 300 x 300 pixels, got \(320, 320\)"):
        detector.detect(np.zeros((1, 320, 320, 3)))


def test_pooling_that_rounds_up_changes_nothing_where_nothing_is_rounded():
    image = x = keras.Input((300, 300, 3))
    for i in range(4):
        x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name=f"conv{i}")(x)
        x = keras.layers.MaxPooling2D(name=f"pool{i}")(x)
    backbone = keras.Model(image, keras.layers.Conv2D(4, 3, padding="same", name="conv4")(x))
    detector = create("ssd300", backbone=backbone, num_classes=2)
    taps = keras.Model(detector.input, [detector.get_layer("fc6").input, detector.get_layer("pool5").input])
    assert taps.output[1].shape[1:3] == (19, 19)
    picture = np.random.default_rng(0).uniform(0, 255, (1, 300, 300, 3)).astype("float32")
    # 75 rows become 38 here and 37 there. Values that the border does not reach are equal.
    np.testing.assert_allclose(taps(picture)[1][:, :15, :15], backbone(picture)[:, :15, :15], rtol=1e-4, atol=1e-3)


def test_mobilenets_layout_has_its_1917_priors():
    layout = LAYOUTS["ssd_mobilenet"]
    cells = [h * w for h, w in anchors.map_sizes((300, 300), layout.strides)]
    assert cells == [19**2, 10**2, 5**2, 3**2, 2**2, 1]
    assert cells[0] * 3 + sum(cells[1:]) * 6 == 1917
    backbone = zoo.create_model("mobilenet_v1_025", weights=None, include_top=False, input_shape=(64, 96, 3))
    detector = create("ssd_mobilenet", backbone=backbone, num_classes=3, image_size=(64, 96))
    assert detector.output["codes"].shape[1] == len(detector.priors(SIZE)) == 24 * 3 + (6 + 2 + 1 + 1 + 1) * 6
    boxes = detector.priors(SIZE)
    # The first cell: 0.2 of 64 pixels, and that at 2:1, but no square between two scales.
    sides = (boxes[:3, 2:] - boxes[:3, :2]) / 12.8
    np.testing.assert_allclose(sides, [(1, 1), (2**0.5, 0.5**0.5), (0.5**0.5, 2**0.5)], rtol=1e-5)


def test_the_layout_for_all_sizes_has_priors_that_grow_with_the_strides():
    detector = create("ssd", backbone=small_backbone((64, 96)), num_classes=3)
    boxes = detector.priors(SIZE)
    cells = [h * w for h, w in anchors.map_sizes(SIZE, LAYOUTS["ssd"].strides)]
    firsts = np.cumsum([0, *np.multiply(cells, (6, 6, 6, 4, 4))])
    assert firsts[-1] == len(boxes) == detector.output["codes"].shape[1]
    for first, stride in zip(firsts, (8, 16, 32, 64, 128), strict=False):
        squares = (boxes[first : first + 2, 2:] - boxes[first : first + 2, :2]) / stride
        np.testing.assert_allclose(squares, [(3, 3), (3 * 2**0.5, 3 * 2**0.5)], rtol=1e-5)
    # On a larger image the same objects have the same priors.
    larger = detector.priors((128, 192))
    np.testing.assert_allclose(larger[0, 2:] - larger[0, :2], boxes[0, 2:] - boxes[0, :2], rtol=1e-5)


def test_every_map_learns_from_an_object_of_its_size():
    size = (256, 384)
    detector = create("ssd", backbone=small_backbone(size), num_classes=3)
    # There is one object for each stride from 8 to 128.
    sides = np.float32([3 * stride for stride in (8, 16, 32, 64, 128)])
    boxes = np.stack([np.float32([192 - s / 2, 128 - s / 2, 192 + s / 2, 128 + s / 2]) for s in sides])
    truth = {"boxes": boxes[None], "classes": np.int32([[0, 1, 2, 0, 1]])}
    picture = np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype("float32")
    with tf.GradientTape() as tape:
        loss = detector.compute_loss(picture, truth, detector(picture, training=True))
    for variable, gradient in zip(
        detector.trainable_variables, tape.gradient(loss, detector.trainable_variables), strict=True
    ):
        assert np.abs(gradient).max() > 0, variable.path


def naive_loss(detector, outputs, truth):
    """Computes equation 1 prior by prior."""
    priors = detector.priors(SIZE)
    rows = matching.by_overlap(
        priors, truth["boxes"], truth["classes"] >= 0, positive=0.5, negative=0.5, rescue="bipartite"
    ).numpy()
    of_boxes = of_classes = 0.0
    for b, image in enumerate(rows):
        logits = outputs["logits"][b].astype("float64")
        confidence = np.log(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))
        for n in np.flatnonzero(image >= 0):
            of_classes -= confidence[n, 1 + truth["classes"][b, image[n]]]
            codes = box_geometry.encode(truth["boxes"][b, image[n]], priors[n], variances=VARIANCES)
            off = np.abs(codes - outputs["codes"][b, n])
            of_boxes += np.where(off < 1, off**2 / 2, off - 0.5).sum()
        background = sorted(-confidence[image == -1, 0], reverse=True)
        of_classes += sum(background[: 3 * int((image >= 0).sum())])
    count = (rows >= 0).sum()
    return of_boxes / count + of_classes / count


def test_the_loss_is_the_one_written_down():
    detector = create("ssd", backbone=small_backbone(), num_classes=3)
    rng = np.random.default_rng(0)
    count = len(detector.priors(SIZE))
    outputs = {"codes": rng.normal(size=(2, count, 4)), "logits": rng.normal(size=(2, count, 4))}
    outputs = {name: values.astype("float32") for name, values in outputs.items()}
    loss = detector.compute_loss(np.zeros((2, *SIZE, 3)), truths(), outputs)
    np.testing.assert_allclose(loss, naive_loss(detector, outputs, truths()), rtol=1e-4)
    scores = detector.decode(outputs, SIZE)[1]
    np.testing.assert_allclose(scores, tf.nn.softmax(outputs["logits"])[..., 1:], rtol=1e-5)


def test_hard_negatives_are_the_worst_of_each_image():
    losses = np.float32([[5, 1, 4, 2, 3], [1, 1, 1, 1, 1], [3, 2, 1, 0, 0]])
    background = np.array([[False, True, True, True, True], [True] * 5, [True, False, False, False, False]])
    chosen = hard_negatives(losses, background, np.float32([2, 3, 4])).numpy()
    assert chosen[0].tolist() == [False, False, True, False, True]
    assert chosen[1].sum() == 3  # of equal losses not more than `count`
    assert chosen[2].tolist() == [True, False, False, False, False]  # not more than there are


def test_an_image_without_objects_is_shown_its_three_worst():
    detector = create("ssd", backbone=small_backbone(), num_classes=3)
    count = len(detector.priors(SIZE))
    nothing = {"boxes": np.zeros((1, 1, 4), "float32"), "classes": np.int32([[-1]])}
    outputs = {"codes": np.zeros((1, count, 4), "float32"), "logits": np.zeros((1, count, 4), "float32")}
    outputs["logits"][0, 7] = [0, 3, 0, 0]
    loss = detector.compute_loss(np.zeros((1, *SIZE, 3)), nothing, outputs)
    np.testing.assert_allclose(loss, np.log(3 + np.exp(3)) + 2 * np.log(4), rtol=1e-5)


def test_a_crowd_is_no_background():
    detector = create("ssd", backbone=small_backbone(), num_classes=3)
    priors = detector.priors(SIZE)
    crowd = {name: values[:1] for name, values in truths().items()} | {"crowd": np.array([[True, False, False]])}
    centres = (priors[:, :2] + priors[:, 2:]) / 2
    inside = ((centres > [10, 8]) & (centres < [40, 50])).all(axis=1)

    def loss(certain):
        logits = np.zeros((1, len(priors), 4), "float32")
        logits[0, :, 1] = np.where(certain, 9, 0)
        outputs = {"codes": np.zeros((1, len(priors), 4), "float32"), "logits": logits}
        return float(detector.compute_loss(np.zeros((1, *SIZE, 3)), crowd, outputs))

    assert loss(inside) == loss(np.zeros_like(inside))
    assert loss(~inside) > loss(inside)


def test_the_length_of_each_pixel_is_learned():
    layer = ScaledL2Normalisation(first=20)
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype("float32")
    np.testing.assert_allclose(np.linalg.norm(layer(x), axis=-1), 20, rtol=1e-5)
    assert layer.scale.shape == (8,)
    assert ScaledL2Normalisation.from_config(layer.get_config()).first == 20


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match="images of 300 x 300"):
        create("ssd300", backbone=small_backbone((320, 320)), num_classes=3)
    with pytest.raises(ValueError, match="a layout of ssd300, ssd, ssd_mobilenet, got 'ssd512'"):
        zoo.detection.SSD(small_backbone(), 3, layout="ssd512")
