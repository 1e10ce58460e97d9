"""EfficientDet: its published sizes, fusion by hand, and the flow of information in both directions."""

import keras
import numpy as np
import pytest

import zoo
from zoo.detection import EfficientDet, create
from zoo.detection.efficientdet import SCALING, VARIANTS, FastFusion, Magnify, compound_scaling

SIZE = (64, 96)


def trunk(size=SIZE, channels=(40, 112, 320)):
    """Returns a trunk of hardly any layers, with maps of the given channels at strides 8, 16 and 32."""
    image = keras.Input((*size, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, padding="same", name="stem")(image)
    for filters, level in zip(channels, ("c3", "c4", "c5"), strict=True):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", name=level)(x)
    return keras.Model(image, x)


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_d0_is_as_large_as_published():
    backbone = trunk()
    detector = create("efficientdet_d0", backbone=backbone, num_classes=90, image_size=SIZE)
    # D0 for COCO has 3,880,067 parameters. 3,595,388 of them are EfficientNet-B0 up to its last block of 320 channels.
    assert trainable(detector) - trainable(backbone) == 3_880_067 - 3_595_388
    b0 = zoo.create_model("efficientnet_b0", weights=None, include_top=False)
    top = trainable(keras.Model(b0.get_layer("top_conv").input, b0.output))
    assert trainable(b0) - top == 3_595_388


def test_the_table_is_the_papers():
    assert [(row.image_size, row.filters, row.cells, row.depth) for row in SCALING.values()] == [
        (512, 64, 3, 3),
        (640, 88, 4, 3),
        (768, 112, 5, 3),
        (896, 160, 6, 4),
        (1024, 224, 7, 4),
        (1280, 288, 7, 4),
        (1280, 384, 8, 5),
        (1536, 384, 8, 5),
    ]
    for phi, row in enumerate(SCALING.values()):
        channels, cells, depth, side = compound_scaling(phi)
        assert abs(row.filters - channels) <= 0.06 * channels or phi == 7
        if phi < 4:
            assert (row.cells, row.depth, row.image_size) == (cells, depth, side)
        assert row.backbone in zoo.list_models()
    assert VARIANTS["efficientdet_d7"].anchor_scale == 5


def test_fusion_by_hand():
    fusion = FastFusion(epsilon=1e-4)
    maps = [np.full((1, 2, 3, 4), value, "float32") for value in (1, 10, 100)]
    np.testing.assert_allclose(fusion(maps), np.full((1, 2, 3, 4), 111 / 3.0001), rtol=1e-5)
    fusion.weight.assign([3, -1, 1])  # a negative weight counts as 0
    np.testing.assert_allclose(fusion(maps), np.full((1, 2, 3, 4), 103 / 4.0001), rtol=1e-5)
    assert FastFusion.from_config(fusion.get_config()).epsilon == 1e-4


def test_magnified_maps_fit():
    x = np.arange(6, dtype="float32").reshape(1, 2, 3, 1)
    found = Magnify()(x, np.zeros((1, 3, 5, 7), "float32")).numpy()[0, :, :, 0]
    assert found.tolist() == [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    symbolic = Magnify()(keras.Input((2, 3, 1)), keras.Input((3, 5, 7)))
    assert symbolic.shape == (None, 3, 5, 1)


def test_each_level_hears_of_all_others():
    """The finest level depends on the coarsest by the way down, and the coarsest on the finest by the way back."""
    size = (96, 160)  # maps of 12, 6, 3, 2 and 1 rows, of which not all are half of the one before
    detector = EfficientDet(trunk(size, (4, 5, 6)), 2, filters=8, cells=1, depth=1)
    inputs = [
        detector.get_layer(name).output for name in ("c3_bn", "c4_bn", "c4_again_bn", "c5_bn", "c5_again_bn", "p6")
    ]
    outputs = [detector.get_layer(f"cell1_{where}_bn").output for where in ("3_down", "4_up", "5_up", "6_up", "7_up")]
    assert [output.shape[1:3] for output in outputs] == [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]
    cell = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(1, *x.shape[1:])).astype("float32") for x in inputs]
    before = [x.numpy() for x in cell(values)]
    for changed in range(len(inputs)):
        after = cell([x + (i == changed) for i, x in enumerate(values)])
        differs = [bool(np.abs(a - b.numpy()).max() > 0) for a, b in zip(before, after, strict=True)]
        # The second convolutions of c4 and of c5 are for the way back, from their levels on.
        expected = {2: [False, True, True, True, True], 4: [False, False, True, True, True]}
        assert differs == expected.get(changed, [True] * 5), changed


def test_heads_are_shared_but_for_their_batch_norms():
    detector = EfficientDet(trunk(), 2, filters=8, cells=2, depth=2)
    names = [layer.name for layer in detector.layers if layer.name.startswith("codes_") and layer.weights]
    convolutions = [name for name in names if not name.endswith("_bn")]
    assert sorted(convolutions) == ["codes_1", "codes_2", "codes_last"]
    assert len(names) - len(convolutions) == 2 * 5
    assert len([layer for layer in detector.layers if isinstance(layer, FastFusion)]) == 2 * 8
    assert not any(layer.name.startswith("_") for layer in detector.layers)


def test_anchors_grow_with_the_scale():
    small, large = (EfficientDet(trunk(), 2, filters=8, cells=1, depth=1, anchor_scale=scale) for scale in (4.0, 5.0))
    np.testing.assert_allclose(np.ptp(large.anchors(SIZE)[1, ::2]), 40)
    assert np.ptp(small.anchors(SIZE)[1, ::2]) == pytest.approx(32)
    assert large.get_config()["anchor_scale"] == 5
