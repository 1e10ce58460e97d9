"""Suppression against a loop over plain numbers, TensorFlow's kernels, and other runtimes."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.detection import nms


def scene(n: int, *, classes: int = 1, seed: int = 0, images: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Returns overlapping boxes [b, n, 4] and different scores [b, n, classes]."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 60, (images, 6, 2))[:, rng.integers(6, size=n)] + rng.normal(0, 5, (images, n, 2))
    size = rng.uniform(10, 30, (images, n, 2))
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=2).astype("float32")
    scores = np.stack([rng.permutation(n * classes) for _ in range(images)]) / (n * classes)
    return boxes, scores.reshape(images, n, classes).astype("float32")


def plain_iou(a, b) -> float:
    """Computes the IoU in float32, as the kernels do."""
    one = np.float32
    width = max(min(one(a[2]), one(b[2])) - max(one(a[0]), one(b[0])), one(0))
    height = max(min(one(a[3]), one(b[3])) - max(one(a[1]), one(b[1])), one(0))
    areas = [max(one(c[2]) - one(c[0]), one(0)) * max(one(c[3]) - one(c[1]), one(0)) for c in (a, b)]
    union = areas[0] + areas[1] - width * height
    return width * height / union if union else one(0)


def plain_nms(boxes, scores, classes, iou_threshold, score_threshold=0.0) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        rivals = [j for j in kept if classes[j] == classes[i]]
        if scores[i] > score_threshold and all(plain_iou(boxes[j], boxes[i]) <= iou_threshold for j in rivals):
            kept.append(i)
    return kept


def plain_detections(boxes, scores, iou_threshold, score_threshold, max_detections) -> list[tuple[int, int, float]]:
    """Returns (box, class, score) of one image, for scores [n, c]."""
    pairs = [(i, k) for i in range(len(boxes)) for k in range(scores.shape[1])]
    kept = plain_nms(
        [boxes[i] for i, _ in pairs],
        [scores[pair] for pair in pairs],
        [k for _, k in pairs],
        iou_threshold,
        score_threshold,
    )
    return [(*pairs[row], scores[pairs[row]]) for row in kept[:max_detections]]


def plain_soft_nms(boxes, scores, classes, method, sigma, iou_threshold, score_threshold):
    scores, left, kept = [float(score) for score in scores], set(range(len(boxes))), []
    while left and (best := max(left, key=lambda i: (scores[i], -i))) is not None and scores[best] > score_threshold:
        left.remove(best)
        kept.append((best, scores[best]))
        for i in left:
            if classes[i] == classes[best]:
                overlap = float(plain_iou(boxes[i], boxes[best]))
                if method == "gaussian":
                    scores[i] *= np.exp(-(overlap**2) / sigma)
                elif overlap > iou_threshold:
                    scores[i] *= 1 - overlap
    return kept


def assert_found(found, image: int, boxes, expected: list[tuple[int, int, float]], *, atol=0.0):
    count = len(expected)
    found = {name: np.asarray(values)[image] for name, values in found.items()}
    assert found["valid"] == count
    rows = [box for box, _, _ in expected]
    np.testing.assert_array_equal(found["boxes"][:count], boxes[image][rows])
    np.testing.assert_array_equal(found["classes"][:count], [k for _, k, _ in expected])
    np.testing.assert_allclose(found["scores"][:count], [score for _, _, score in expected], atol=atol, rtol=0)
    np.testing.assert_array_equal(found["boxes"][count:], 0)
    np.testing.assert_array_equal(found["classes"][count:], -1)
    np.testing.assert_array_equal(found["scores"][count:], 0)


# One image, NumPy

whole = st.integers(0, 8)
any_boxes = st.lists(
    st.tuples(whole, whole, st.integers(0, 6), st.integers(0, 6), st.integers(0, 4), st.integers(0, 2)), max_size=12
)


@settings(max_examples=200, deadline=None)
@given(any_boxes, st.sampled_from([0, 0.25, 0.5, 1]), st.sampled_from([0, 0.5]))
def test_hard_nms_is_the_loop_with_equal_scores_and_boxes_without_area(rows, iou_threshold, score_threshold):
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _, _ in rows], "float32").reshape(-1, 4)
    scores, classes = np.array([row[4] for row in rows]) / 4, np.array([row[5] for row in rows], "int32")
    thresholds = {"iou_threshold": iou_threshold, "score_threshold": score_threshold}
    kept = nms.hard_nms(boxes, scores, **thresholds)
    assert kept.tolist() == plain_nms(boxes, scores, np.zeros(len(rows)), **thresholds)
    kept = nms.hard_nms(boxes, scores, classes=classes, **thresholds)
    assert kept.tolist() == plain_nms(boxes, scores, classes, **thresholds)


@pytest.mark.parametrize("n", [1, 40, 300])
@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.9])
def test_hard_nms_is_tensorflows(n, iou_threshold):
    for seed in range(5):
        boxes, scores = scene(n, seed=seed)
        boxes, scores = boxes[0], scores[0, :, 0].round(2)  # rounding makes scores equal
        for most in (n, 7):
            expected = tf.image.non_max_suppression(boxes, scores, most, iou_threshold, score_threshold=0.1)
            kept = nms.hard_nms(boxes, scores, iou_threshold=iou_threshold, score_threshold=0.1, max_detections=most)
            np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_soft_nms_is_the_papers_loop(method):
    for seed in range(5):
        boxes, scores = scene(40, seed=seed)
        boxes, scores = boxes[0].astype("float64"), scores[0, :, 0].astype("float64")
        for classes in (None, np.arange(40) % 3):
            settings = {"method": method, "sigma": 0.4, "iou_threshold": 0.3, "score_threshold": 0.05}
            rows, points = nms.soft_nms(boxes, scores, classes=classes, **settings)
            expected = plain_soft_nms(boxes, scores, np.zeros(40) if classes is None else classes, **settings)
            assert rows.tolist() == [row for row, _ in expected]
            np.testing.assert_allclose(points, [point for _, point in expected], rtol=1e-5)
            assert (np.diff(points) <= 0).all()


def test_soft_nms_is_tensorflows():
    boxes, scores = scene(60)
    boxes, scores = boxes[0], scores[0, :, 0]
    expected, points = tf.image.non_max_suppression_with_scores(
        boxes, scores, 60, iou_threshold=1.0, score_threshold=0.01, soft_nms_sigma=0.25
    )
    rows, found = nms.soft_nms(boxes, scores, sigma=0.5, score_threshold=0.01)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(found, points, rtol=1e-4)


def test_arguments_are_not_changed():
    boxes, scores = scene(30)
    boxes, scores = boxes[0], scores[0, :, 0]
    before = boxes.copy(), scores.copy()
    nms.hard_nms(boxes, scores)
    nms.soft_nms(boxes, scores)
    np.testing.assert_array_equal(boxes, before[0])
    np.testing.assert_array_equal(scores, before[1])


def test_nothing_in_nothing_out():
    assert nms.hard_nms([], []).tolist() == []
    rows, scores = nms.soft_nms(np.zeros((0, 4)), np.zeros(0))
    assert rows.size == scores.size == 0
    assert nms.hard_nms([[0, 0, 1, 1]], [0.0]).tolist() == []


# Batches, in a graph

SETTINGS = {"iou_threshold": 0.4, "score_threshold": 0.3}


@pytest.fixture(params=["kernel", "the best first", "portable"])
def suppress(request, monkeypatch):
    """Each implementation of the same result. The second treats a few boxes as very many, so that all branches run."""
    if request.param == "the best first":
        monkeypatch.setattr(nms, "MANY", 3)
        monkeypatch.setattr(nms, "TRIED", 1)
    return nms.suppress_portable if request.param == "portable" else nms.suppress


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    ("images", "n", "classes", "most"), [(1, 30, 1, 5), (3, 30, 2, 8), (2, 30, 3, 60), (2, 1, 2, 4)]
)
def test_batches_are_the_loop(suppress, traced, images, n, classes, most):
    boxes, scores = scene(n, classes=classes, seed=n + most, images=images)

    def call(boxes, scores):
        return suppress(boxes, scores, max_detections=most, **SETTINGS)

    found = (tf.function(call, autograph=False) if traced else call)(boxes, scores)
    assert found["boxes"].shape == (images, most, 4)
    assert found["classes"].dtype == found["valid"].dtype == "int32"
    for image in range(images):
        assert_found(
            found, image, boxes, plain_detections(boxes[image], scores[image], max_detections=most, **SETTINGS)
        )


def test_many_seeds_with_sizes_unknown_to_the_graph(suppress):
    signature = [tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None, 2])]
    call = tf.function(lambda b, s: suppress(b, s, max_detections=6, **SETTINGS), signature, autograph=False)
    for seed in range(20):
        boxes, scores = scene(20 + seed, classes=2, seed=seed, images=2)
        found = call(boxes, scores)
        for image in range(2):
            expected = plain_detections(boxes[image], scores[image], max_detections=6, **SETTINGS)
            assert_found(found, image, boxes, expected)
    found = call(np.zeros((2, 5, 4), "float32"), np.zeros((2, 5, 2), "float32"))
    assert found["valid"].numpy().tolist() == [0, 0]


def test_ten_thousand_boxes_of_twenty_classes_are_tensorflows_combined():
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0, 600, (1, 10_000, 2)), rng.uniform(10, 120, (1, 10_000, 2))
    boxes = np.concatenate([corner, corner + size], axis=2).astype("float32")
    crowded = boxes.copy()
    crowded[:, 100:] = crowded[:, :1]  # nearly all boxes at one place: the best few do not determine the result
    scores = (rng.permutation(200_000).reshape(1, 10_000, 20) / 200_000).astype("float32")
    for some in (boxes, crowded):
        expected = tf.image.combined_non_max_suppression(
            some[:, :, None], scores, 100, 100, 0.5, 0.05, clip_boxes=False
        )
        found = nms.suppress(some, scores)
        np.testing.assert_array_equal(found["boxes"], expected.nmsed_boxes)
        np.testing.assert_array_equal(found["scores"], expected.nmsed_scores)
        np.testing.assert_array_equal(found["valid"], expected.valid_detections)
        real = np.arange(100) < expected.valid_detections.numpy()[0]
        np.testing.assert_array_equal(found["classes"][0][real], expected.nmsed_classes[0][real])


def test_portable_follows_long_chains_and_keeps_the_earlier_of_equal_scores():
    # Each box overlaps only its neighbours: the first frees the third, which frees the fifth, and so on.
    chain = np.array([[[6 * i, 0, 6 * i + 10, 10] for i in range(40)]], "float32")
    for scores in (np.linspace(0.9, 0.1, 40, dtype="float32"), np.full(40, 0.5, "float32")):
        found = nms.suppress_portable(chain, scores[None, :, None], iou_threshold=0.2)
        np.testing.assert_array_equal(found["boxes"][0, :20], chain[0, ::2])
        assert found["valid"].numpy().tolist() == [20]


def test_portable_looks_at_the_best_candidates_only():
    boxes, scores = scene(50, classes=2)
    found = nms.suppress_portable(boxes, scores, max_detections=4, max_candidates=4, iou_threshold=1, score_threshold=0)
    best = np.sort(scores.reshape(-1))[::-1][:4]
    np.testing.assert_array_equal(found["scores"][0], best)


@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("classes", [1, 3])
def test_soft_batches_are_soft_nms(method, classes):
    boxes, scores = scene(25, classes=classes, images=3)
    chosen = {"method": method, "sigma": 0.4, "iou_threshold": 0.2, "score_threshold": 0.2}
    found = nms.suppress_soft(boxes, scores, max_detections=12, **chosen)
    for image in range(3):
        box, label = np.divmod(np.arange(25 * classes), classes)
        rows, points = nms.soft_nms(boxes[image][box], scores[image].reshape(-1), classes=label, **chosen)
        expected = list(zip(box[rows], label[rows], points, strict=True))[:12]
        assert_found(found, image, boxes, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("function", [nms.suppress_portable, nms.suppress_soft])
def test_another_runtime_gives_the_same(function, tmp_path):
    openvino = pytest.importorskip("openvino")

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 40, 4]), tf.TensorSpec([None, 40, 2])], autograph=False)
        def __call__(self, corners, confidences):  # an input with the name of an output would be renamed
            return function(corners, confidences, max_detections=6)

    module = Module()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.__call__})
    compiled = openvino.compile_model(openvino.convert_model(str(tmp_path)), "CPU")
    last_axis = [port.get_partial_shape()[2].get_length() for port in compiled.inputs]
    for images in (1, 3):
        boxes, scores = scene(40, classes=2, seed=images, images=images)
        result = compiled([boxes if size == 4 else scores for size in last_axis])
        found = {port.get_any_name(): value for port, value in result.items()}
        for name, expected in module(boxes, scores).items():
            np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)


# What is refused


@pytest.mark.parametrize("function", [nms.suppress, nms.suppress_portable, nms.suppress_soft])
def test_settings_and_shapes_of_batches_are_checked(function):
    boxes, scores = scene(5, classes=2)
    with pytest.raises(ValueError, match=r"threshold in 0..1, got iou_threshold=1.5"):
        function(boxes, scores, iou_threshold=1.5)
    with pytest.raises(ValueError, match=r"threshold in 0..1, got score_threshold=-0.1"):
        function(boxes, scores, score_threshold=-0.1)
    with pytest.raises(ValueError, match=r"threshold in 0..1, got score_threshold=nan"):
        function(boxes, scores, score_threshold=float("nan"))
    with pytest.raises(ValueError, match=r"max_detections=0"):
        function(boxes, scores, max_detections=0)
    with pytest.raises(ValueError, match=r"boxes \[b, n, 4\] and scores \[b, n, classes\], got \(5, 4\)"):
        function(boxes[0], scores[0])
    with pytest.raises(ValueError, match=r"as many scores as boxes, got boxes \(1, 5, 4\) and scores \(1, 4, 2\)"):
        function(boxes, scores[:, :4])


def test_settings_and_shapes_of_one_image_are_checked():
    for function in (nms.hard_nms, nms.soft_nms):
        with pytest.raises(ValueError, match="iou_threshold=2"):
            function([[0, 0, 1, 1]], [0.5], iou_threshold=2)
        with pytest.raises(ValueError, match="score_threshold=2"):
            function([[0, 0, 1, 1]], [0.5], score_threshold=2)
        with pytest.raises(ValueError, match="max_detections=0"):
            function([[0, 0, 1, 1]], [0.5], max_detections=0)
        with pytest.raises(ValueError, match=r"boxes \[n, 4\], scores \[n\] and classes \[n\], got \(1, 4\), \(2,\)"):
            function([[0, 0, 1, 1]], [0.5, 0.4])
        with pytest.raises(ValueError, match="scores without NaN, got one in row 1"):
            function([[0, 0, 1, 1]] * 2, [0.5, np.nan])
        with pytest.raises(ValueError, match="boxes without NaN, got one in row 0"):
            function([[0, np.nan, 1, 1]], [0.5])
    for function in (nms.soft_nms, nms.suppress_soft):
        some = ([[0, 0, 1, 1]], [0.5]) if function is nms.soft_nms else scene(3)
        with pytest.raises(ValueError, match='"linear" or "gaussian", got \'hard\''):
            function(*some, method="hard")
        with pytest.raises(ValueError, match="sigma over 0, got 0"):
            function(*some, sigma=0)
    for function in (nms.suppress_portable, nms.suppress_soft):
        with pytest.raises(ValueError, match="at least max_detections=100 candidates, got 50"):
            function(*scene(3), max_candidates=50)


def test_nan_scores_are_not_dropped_in_silence():
    boxes, scores = scene(5, classes=2, images=2)
    scores[1, 3, 1] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="scores of boxes to suppress must be finite"):
        nms.suppress(boxes, scores)
    for function in (nms.suppress_portable, nms.suppress_soft):
        found = function(boxes, scores, max_detections=3)
        assert np.isfinite(found["scores"][0]).all()
        assert np.isnan(found["scores"][1]).all()
    boxes[0, :] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="boxes to suppress must be finite"):
        nms.suppress(boxes, np.nan_to_num(scores))
