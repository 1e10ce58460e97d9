"""Box geometry against counted pixels, scalar formulas and the converters of Keras."""

import itertools
import math
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import boxes

HEIGHT, WIDTH = 60, 97
OVERLAPS = (boxes.iou, boxes.giou, boxes.diou, boxes.ciou, boxes.intersection)


def random_boxes(n: int, *, seed: int = 0, dtype="float32") -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, (WIDTH - 1, HEIGHT - 1), (n, 2))
    size = rng.uniform(1, (WIDTH / 2, HEIGHT / 2), (n, 2))
    return np.concatenate([corner, corner + size], axis=1).astype(dtype)


def written_out(box, box_format: str, height: float, width: float) -> tuple[float, float, float, float]:
    """Returns the xyxy corners of one box of any format, with one case per format."""
    p, q, r, s = (float(value) for value in box)
    if box_format.startswith("rel_"):
        scale = (height, width, height, width) if box_format == "rel_yxyx" else (width, height, width, height)
        p, q, r, s = (value * side for value, side in zip((p, q, r, s), scale, strict=True))
    kind = box_format[-4:]
    if kind == "yxyx":
        return q, p, s, r
    if box_format.endswith("cxcywh"):
        return p - r / 2, q - s / 2, p + r / 2, q + s / 2
    if kind == "xywh":
        return p, q, p + r, q + s
    return p, q, r, s


coordinates = st.floats(-50, 150, width=32)
edges = st.lists(st.integers(0, 12), min_size=2, max_size=2).map(sorted)
whole_boxes = st.tuples(edges, edges).map(lambda b: [b[0][0], b[1][0], b[0][1], b[1][1]])
sizes = st.floats(0.5, 80, width=32)
solid_boxes = st.tuples(coordinates, coordinates, sizes, sizes).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])


# Formats


@pytest.mark.parametrize(("source", "target"), itertools.product(boxes.FORMATS, repeat=2))
def test_every_format_converts_to_every_other(source, target):
    corners = random_boxes(5, dtype="float64")
    given_boxes = boxes.convert(corners, "xyxy", source, image_size=(HEIGHT, WIDTH))
    np.testing.assert_allclose([written_out(b, source, HEIGHT, WIDTH) for b in given_boxes], corners)
    converted = boxes.convert(given_boxes, source, target, image_size=(HEIGHT, WIDTH))
    np.testing.assert_allclose([written_out(b, target, HEIGHT, WIDTH) for b in converted], corners)


@pytest.mark.parametrize("box_format", ["xyxy", "yxyx", "xywh", "rel_xyxy", "rel_yxyx", "rel_xywh", "cxcywh"])
def test_formats_mean_what_keras_means(box_format):
    corners = random_boxes(5)
    names = {"cxcywh": "center_xywh"}
    expected = keras.utils.bounding_boxes.convert_format(
        corners, source="xyxy", target=names.get(box_format, box_format), height=HEIGHT, width=WIDTH, dtype="float32"
    )
    converted = boxes.convert(corners, "xyxy", box_format, image_size=(HEIGHT, WIDTH))
    np.testing.assert_allclose(converted, expected, rtol=1e-6)


@settings(deadline=None)
@given(st.lists(solid_boxes, max_size=4), st.sampled_from(boxes.FORMATS))
def test_conversion_and_back_is_the_identity(some, box_format):
    corners = np.array(some, "float64").reshape(-1, 4)
    if corners.size and 0 < np.abs(corners).max() <= boxes.RELATIVE_REACH:
        return  # the boxes count as relative, which is correct
    there = boxes.convert(corners, "xyxy", box_format, image_size=(HEIGHT, WIDTH))
    scale = np.maximum(np.abs(there).max(initial=0), 1)
    if box_format.startswith("rel_") and scale > 2 * boxes.RELATIVE_REACH:
        return
    back = boxes.convert(there, box_format, "xyxy", image_size=(HEIGHT, WIDTH))
    np.testing.assert_allclose(back, corners, rtol=1e-12, atol=1e-12)


def test_a_batch_of_images_of_several_sizes():
    relative = np.array([[[0, 0, 0.5, 1]], [[0.25, 0.5, 0.75, 1]]], "float32")
    heights, widths = np.array([[10], [20]]), np.array([[40], [80]])
    expected = [[[0, 0, 20, 10]], [[20, 10, 60, 20]]]
    np.testing.assert_array_equal(boxes.convert(relative, "rel_xyxy", "xyxy", image_size=(heights, widths)), expected)
    in_graph = boxes.convert(tf.constant(relative), "rel_xyxy", "xyxy", image_size=(heights, tf.constant(widths)))
    np.testing.assert_array_equal(in_graph, expected)


@pytest.mark.parametrize("leading", [(), (0,), (3,), (2, 0), (2, 3)])
def test_leading_axes_are_free(leading):
    some = np.ones((*leading, 4), "float32") * [2, 3, 5, 7]
    assert boxes.convert(some, "xyxy", "rel_cxcywh", image_size=(9, 11)).shape == (*leading, 4)
    assert boxes.clip(some, (9, 11)).shape == (*leading, 4)
    assert boxes.area(some).shape == leading
    assert boxes.iou(some, some).shape == leading


def test_float_types_are_kept_and_the_rest_becomes_float32():
    for dtype in ("float16", "float32", "float64"):
        assert boxes.convert(np.ones((2, 4), dtype), "xyxy", "cxcywh").dtype == dtype
        assert boxes.iou(tf.ones((2, 4), dtype), tf.ones((2, 4), dtype)).dtype == dtype
    assert boxes.convert([[1, 2, 3, 4]], "xyxy", "xyxy").dtype == "float32"
    assert boxes.convert(np.ones((1, 4), "int64"), "xyxy", "cxcywh").dtype == "float32"
    assert boxes.iou(tf.ones((1, 4), "int32"), np.ones((1, 4))).dtype == "float32"


def test_arguments_are_not_changed():
    given_boxes = random_boxes(4)
    before = given_boxes.copy()
    for box_format in boxes.FORMATS:
        boxes.convert(given_boxes, "xyxy", box_format, image_size=(HEIGHT, WIDTH))
    boxes.clip(given_boxes, (10, 10))
    np.testing.assert_array_equal(given_boxes, before)


def test_numpy_boxes_load_no_other_library():
    code = (
        "import sys, zoo.boxes as b; b.iou([0, 0, 2, 2], [1, 1, 3, 3]); "
        "b.encode_sqrt([[4, 5, 9, 9]], (10, 20)); print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What is refused


def test_relative_boxes_are_recognised_where_absolute_ones_are_expected():
    relative = random_boxes(3) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    with pytest.raises(ValueError, match=r"absolute pixels, got relative ones.*rel_xyxy"):
        boxes.check(relative)
    with pytest.raises(ValueError, match="got relative ones"):
        boxes.convert(relative, "xyxy", "rel_xyxy", image_size=(HEIGHT, WIDTH))
    with pytest.raises(ValueError, match="got relative ones"):
        boxes.encode_sqrt(relative, image_size=(HEIGHT, WIDTH))
    boxes.check(relative, "rel_xyxy")
    boxes.check(np.concatenate([relative, [[0, 0, 20, 3]]]))  # a small box is accepted beside a large one
    boxes.check(np.zeros((3, 4)))  # padding


def test_absolute_boxes_are_recognised_where_relative_ones_are_expected():
    with pytest.raises(ValueError, match=r'fractions of the image in 0..1, got a coordinate of .* format is "xywh"'):
        boxes.convert([[10, 20, 30, 40]], "rel_xywh", "xyxy", image_size=(HEIGHT, WIDTH))
    boxes.check([[-0.2, 0, 1.3, 1]], "rel_xyxy")  # an object that reaches over the edge is accepted


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_check_names_the_first_box_that_is_not_finite(bad):
    some = random_boxes(4)
    some[2, 1] = bad
    with pytest.raises(ValueError, match=r"finite box coordinates, got \[.*\] at \[2\]"):
        boxes.check(some)


@pytest.mark.parametrize("library", [np.asarray, tf.constant])
@pytest.mark.parametrize("shape", [(4, 5), (3,), ()])
def test_other_than_four_coordinates_are_refused(shape, library):
    wrong = library(np.ones(shape, "float32"))
    for function in (
        boxes.area,
        lambda b: boxes.clip(b, (9, 9)),
        lambda b: boxes.iou(b, b),
        lambda b: boxes.convert(b, "xyxy", "xywh"),
    ):
        with pytest.raises(ValueError, match=r"expected boxes \[..., 4\], got the shape"):
            function(wrong)


def test_other_mistakes_are_named():
    with pytest.raises(ValueError, match="unknown box format 'xyhw'; expected one of xyxy, yxyx"):
        boxes.convert([1, 2, 3, 4], "xyhw", "xyxy")
    with pytest.raises(ValueError, match="unknown box format 'coco'"):
        boxes.check([1, 2, 3, 4], "coco")
    with pytest.raises(ValueError, match=r"converting xyxy to rel_xyxy needs image_size=\(height, width\)"):
        boxes.convert([1, 2, 3, 4], "xyxy", "rel_xyxy")
    with pytest.raises(ValueError, match="over 0, got"):
        boxes.convert([1, 2, 3, 4], "xyxy", "rel_xyxy", image_size=(0, 5))
    with pytest.raises(ValueError, match="four positive variances"):
        boxes.encode([1, 2, 3, 4], [1, 2, 3, 4], variances=(0.1, 0.2))
    with pytest.raises(ValueError, match="four positive variances"):
        boxes.decode([1, 2, 3, 4], [1, 2, 3, 4], variances=(0.1, 0.1, 0, 0.2))


# Area, clipping, overlap


@settings(deadline=None)
@given(whole_boxes, whole_boxes)
def test_overlap_of_whole_pixels_is_what_counting_them_gives(a, b):
    drawn = np.zeros((2, 12, 12), bool)
    for canvas, (x1, y1, x2, y2) in zip(drawn, (a, b), strict=True):
        canvas[y1:y2, x1:x2] = True
    shared, union = drawn.all(axis=0).sum(), drawn.any(axis=0).sum()
    assert boxes.area(a) == drawn[0].sum()
    assert boxes.intersection(a, b) == shared
    assert boxes.iou(a, b) == pytest.approx(shared / union if union else 0)


@settings(deadline=None)
@given(solid_boxes, st.integers(1, 100), st.integers(1, 100))
def test_clipping_leaves_the_part_inside(box, height, width):
    clipped = boxes.clip(np.array(box), (height, width))
    assert np.all(clipped >= 0)
    assert np.all(clipped <= [width, height, width, height])
    assert boxes.area(clipped) == pytest.approx(boxes.intersection(box, [0, 0, width, height]), abs=1e-3, rel=1e-5)
    np.testing.assert_array_equal(boxes.clip(clipped, (height, width)), clipped)


def scalar_overlaps(a, b) -> dict[str, float]:
    """Computes each formula as its paper defines it, for one pair of boxes with an area."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a.tolist(), b.tolist()
    shared = max(min(ax2, bx2) - max(ax1, bx1), 0) * max(min(ay2, by2) - max(ay1, by1), 0)
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
    hull_width, hull_height = max(ax2, bx2) - min(ax1, bx1), max(ay2, by2) - min(ay1, by1)
    hull = hull_width * hull_height
    overlap = shared / union
    distance = math.dist(((ax1 + ax2) / 2, (ay1 + ay2) / 2), ((bx1 + bx2) / 2, (by1 + by2) / 2))
    diou = overlap - distance**2 / (hull_width**2 + hull_height**2)
    v = 4 / math.pi**2 * (math.atan((bx2 - bx1) / (by2 - by1)) - math.atan((ax2 - ax1) / (ay2 - ay1))) ** 2
    alpha = v / (1 - overlap + v) if v else 0
    return {"iou": overlap, "giou": overlap - (hull - union) / hull, "diou": diou, "ciou": diou - alpha * v}


@pytest.mark.parametrize("name", ["iou", "giou", "diou", "ciou"])
def test_overlaps_are_the_papers_formulas(name):
    a, b = random_boxes(40, seed=1, dtype="float64"), random_boxes(40, seed=2, dtype="float64")
    b[:5] = a[:5]  # the same box
    b[5:10] = a[5:10] + [500, 0, 500, 0]  # far apart
    expected = [scalar_overlaps(*pair)[name] for pair in zip(a, b, strict=True)]
    np.testing.assert_allclose(getattr(boxes, name)(a, b), expected, rtol=1e-12, atol=1e-12)


def test_complete_iou_is_keras_ciou():
    a, b = random_boxes(40, seed=1), random_boxes(40, seed=2)
    expected = keras.utils.bounding_boxes.compute_ciou(a, b, "xyxy")
    np.testing.assert_allclose(boxes.ciou(a, b), expected, atol=1e-5)


@settings(deadline=None)
@given(solid_boxes, solid_boxes, coordinates, coordinates)
def test_properties_of_overlap(a, b, dx, dy):
    a, b = np.array(a, "float64"), np.array(b, "float64")
    overlap = boxes.iou(a, b)
    assert 0 <= overlap <= 1
    assert -1 <= boxes.giou(a, b) <= overlap + 1e-12
    assert -1 <= boxes.diou(a, b) <= overlap + 1e-12
    assert boxes.ciou(a, b) <= boxes.diou(a, b) + 1e-12
    for function in OVERLAPS:
        assert function(a, b) == pytest.approx(function(b, a), abs=1e-12)
        moved = function(a + [dx, dy, dx, dy], b + [dx, dy, dx, dy])
        assert moved == pytest.approx(function(a, b), abs=1e-6 * max(1, boxes.area(a)))
        if function is not boxes.intersection:
            assert function(a, a) == pytest.approx(1)
            assert function(3 * a, 3 * b) == pytest.approx(function(a, b), abs=1e-9)


@pytest.mark.parametrize("function", OVERLAPS)
def test_matrix_is_every_pair(function):
    a, b = random_boxes(5, seed=1), random_boxes(7, seed=2)
    matrix = boxes.overlap_matrix(a, b, overlap=function)
    assert matrix.shape == (5, 7)
    for i, j in itertools.product(range(5), range(7)):
        assert matrix[i, j] == function(a[i], b[j])
    batch = boxes.overlap_matrix(tf.constant([a, a[::-1]]), b, overlap=function)
    np.testing.assert_allclose(batch, [matrix, matrix[::-1]], atol=1e-6, rtol=1e-6)


def test_boxes_without_area_overlap_nothing():
    nothing = [[3, 3, 3, 3], [0, 0, 0, 0], [5, 5, 2, 9]]
    for function in OVERLAPS:
        assert np.isfinite(function(nothing, nothing)).all()
    np.testing.assert_array_equal(boxes.iou(nothing, nothing), 0)
    np.testing.assert_array_equal(boxes.iou(nothing, [0, 0, 9, 9]), 0)


@pytest.mark.parametrize("function", [boxes.iou, boxes.giou, boxes.diou, boxes.ciou])
def test_nan_is_not_hidden(function):
    broken = [0, 0, math.nan, 5]
    assert np.isnan(function(broken, [0, 0, 4, 4]))
    assert np.isnan(function(tf.constant(broken), [0, 0, 4, 4]))


# Tensors


@pytest.mark.parametrize("traced", [False, True])
def test_tensors_give_what_numpy_gives(traced):
    def everything(a, b):
        return {
            **{function.__name__: function(a, b) for function in (*OVERLAPS, boxes.overlap_matrix, boxes.encode)},
            **{name: boxes.convert(a, "xyxy", name, image_size=(HEIGHT, WIDTH)) for name in boxes.FORMATS},
            "decode": boxes.decode(a / 40, b, variances=(0.1, 0.1, 0.2, 0.2)),
            "area": boxes.area(a),
            "clip": boxes.clip(a, (30, 40)),
            "encode_sqrt": boxes.encode_sqrt(a, (HEIGHT, WIDTH)),
            "decode_sqrt": boxes.decode_sqrt(a / 40, (HEIGHT, WIDTH)),
        }

    a, b = random_boxes(6, seed=1), random_boxes(6, seed=2)
    call = tf.function(everything, autograph=False) if traced else everything
    found, expected = call(tf.constant(a), tf.constant(b)), everything(a, b)
    for name, value in found.items():
        assert isinstance(value, tf.Tensor), name
        assert isinstance(expected[name], np.ndarray), name
        np.testing.assert_allclose(value, expected[name], rtol=2e-5, atol=2e-6, err_msg=name)


def test_inside_tf_data_with_sizes_known_only_there():
    def relative(image, some):
        shape = tf.shape(image)
        return boxes.convert(some, "xyxy", "rel_xyxy", image_size=(shape[0], shape[1]))

    def samples():
        yield np.zeros((20, 40, 3), "uint8"), np.array([[10, 5, 20, 10]], "float32")
        yield np.zeros((10, 50, 3), "uint8"), np.zeros((0, 4), "float32")

    data = tf.data.Dataset.from_generator(samples, output_types=("uint8", "float32")).map(relative)
    first, second = data.as_numpy_iterator()
    np.testing.assert_array_equal(first, [[0.25, 0.25, 0.5, 0.5]])
    assert second.shape == (0, 4)


def test_inside_a_functional_model():
    codes = keras.Input((None, 4))
    decoded = boxes.clip(boxes.decode(codes, [[0, 0, 20, 40], [10, 10, 30, 20]]), (30, 25))
    model = keras.Model(codes, decoded)
    expected = [[[10, 10, 25, 30], [10, 10, 25, 20]]]
    np.testing.assert_allclose(model(np.array([[[0.5, 0.25, 0, 0], [0, 0, 0, 0]]], "float32")), expected)


def test_gradients_are_finite_and_weigh_the_aspect_ratio_as_a_constant():
    target = tf.constant([0.0, 0.0, 4.0, 2.0])
    cases = {"apart": [9.0, 9.0, 12.0, 10.0], "same": [0.0, 0.0, 4.0, 2.0], "empty": [1.0, 1.0, 1.0, 1.0]}
    for function in (boxes.iou, boxes.giou, boxes.diou, boxes.ciou):
        for case, values in cases.items():
            box = tf.Variable(values)
            with tf.GradientTape() as tape:
                overlap = function(box, target)
            assert np.isfinite(tape.gradient(overlap, box)).all(), (function, case)

    box = tf.Variable([0.5, 0.25, 3.0, 2.5])
    with tf.GradientTape() as tape:
        overlap = boxes.ciou(box, target)
    gradient = tape.gradient(overlap, box).numpy()
    here = scalar_overlaps(box.numpy(), target.numpy())
    v = 4 / math.pi**2 * (math.atan(4 / 2) - math.atan(2.5 / 2.25)) ** 2
    alpha = v / (1 - here["iou"] + v)

    def with_constant_weight(values):
        parts = scalar_overlaps(values, target.numpy())
        slope = (values[2] - values[0]) / (values[3] - values[1])
        return parts["diou"] - alpha * 4 / math.pi**2 * (math.atan(2) - math.atan(slope)) ** 2

    for i in range(4):
        step = np.zeros(4)
        step[i] = 1e-5
        values = box.numpy().astype("float64")
        numeric = (with_constant_weight(values + step) - with_constant_weight(values - step)) / 2e-5
        assert gradient[i] == pytest.approx(numeric, abs=1e-4)


# Codes


def test_codes_against_anchors_worked_by_hand():
    # The anchor has its centre at (20, 30) and is 20 wide and 40 high. The box has its centre at (25, 20) and is 40
    # wide and 20 high.
    codes = boxes.encode([5, 10, 45, 30], [10, 10, 30, 50])
    np.testing.assert_allclose(codes, [5 / 20, -10 / 40, math.log(2), math.log(0.5)], rtol=1e-6)
    codes = boxes.encode([5, 10, 45, 30], [10, 10, 30, 50], variances=(0.1, 0.1, 0.2, 0.2))
    np.testing.assert_allclose(codes, [2.5, -2.5, 5 * math.log(2), 5 * math.log(0.5)], rtol=1e-6)


def test_codes_are_those_of_keras():
    some, anchors = random_boxes(9, seed=3), random_boxes(9, seed=4)
    variances = [0.1, 0.1, 0.2, 0.2]
    expected = keras.utils.bounding_boxes.encode_box_to_deltas(
        anchors[None], some[None], "xyxy", "xyxy", variance=variances
    )[0]
    codes = boxes.encode(some, anchors, variances=variances)
    np.testing.assert_allclose(codes, np.asarray(expected)[:, [1, 0, 3, 2]], rtol=1e-4, atol=1e-5)  # Keras: y, x, h, w


@settings(deadline=None)
@given(solid_boxes, solid_boxes)
def test_decoding_undoes_encoding(box, anchor):
    box, anchor = np.array(box, "float64"), np.array(anchor, "float64")
    for variances in ((1, 1, 1, 1), (0.1, 0.1, 0.2, 0.2)):
        codes = boxes.encode(box, anchor, variances=variances)
        back = boxes.decode(codes, anchor, variances=variances, max_growth=1000)
        np.testing.assert_allclose(back, box, rtol=1e-9, atol=1e-9)


def test_padding_encodes_to_finite_numbers_and_wild_codes_decode_to_them():
    anchors = random_boxes(3)
    assert np.isfinite(boxes.encode(np.zeros((3, 4), "float32"), anchors)).all()
    wild = boxes.decode(np.full((3, 4), 1000, "float32"), anchors)
    assert np.isfinite(wild).all()
    sides = wild[:, 2:] - wild[:, :2]
    np.testing.assert_allclose(sides, boxes.MAX_GROWTH * (anchors[:, 2:] - anchors[:, :2]), rtol=1e-3)


def test_square_root_codes_worked_by_hand_and_undone():
    # The argument of YOLO: the same 4 pixels of width count more in a small box.
    small, large = boxes.encode_sqrt([[0, 0, 16, 16], [0, 0, 64, 64]], (100, 100))
    np.testing.assert_allclose(small, [0.08, 0.08, 0.4, 0.4], rtol=1e-6)
    np.testing.assert_allclose(large, [0.32, 0.32, 0.8, 0.8], rtol=1e-6)
    wider = boxes.encode_sqrt([[0, 0, 20, 16], [0, 0, 68, 64]], (100, 100))
    assert wider[0, 2] - small[2] > wider[1, 2] - large[2]
    some = random_boxes(20)
    codes = boxes.encode_sqrt(some, (HEIGHT, WIDTH))
    np.testing.assert_allclose(boxes.decode_sqrt(codes, (HEIGHT, WIDTH)), some, atol=1e-4)
