"""Each method of `zoo.explain` against a loop, a formula, or a model whose answer is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo import explain

H, W = 20, 28


def branching(inside: bool = False, activation="relu") -> keras.Model:
    """A small classifier; its trunk is a model inside of it where `inside`."""
    keras.utils.set_random_seed(3)
    image = keras.Input((H, W, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(6, 3, activation=activation, name="early")(x)
    x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Conv2D(8, 3, name="late")(x)
    x = keras.layers.ReLU()(x)
    if inside:
        trunk = keras.Model(image, x, name="trunk")
        image = keras.Input((H, W, 3))
        x = trunk(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(4, "softmax", name="top")(x))


def photos(n=2, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (n, H, W, 3)).astype("uint8")


def logits(model, images):
    top = model.get_layer("top")
    return top.input, keras.Model(model.input, top.input)(images) @ top.kernel + top.bias


METHODS = {
    "grad_cam": explain.grad_cam,
    "grad_cam_plus_plus": explain.grad_cam_plus_plus,
    "input_gradients": explain.input_gradients,
    "smooth_gradients": lambda *args, **options: explain.smooth_gradients(*args, copies=2, **options),
    "integrated_gradients": lambda *args, **options: explain.integrated_gradients(*args, steps=3, **options),
    "guided_backpropagation": explain.guided_backpropagation,
    "deconvolution": explain.deconvolution,
    "occlusion_maps": lambda *args, **options: explain.occlusion_maps(*args, patch=10, **options),
}


@pytest.mark.parametrize("name", METHODS)
def test_flat_nested_and_sequential_models_get_the_same_maps(name):
    flat, nested = branching(), branching(inside=True)
    sequential = keras.Sequential([keras.Input((H, W, 3)), *flat.layers[1:]])
    expected = METHODS[name](flat, photos(3), [0, 3, 1])
    assert np.abs(expected).max() > 0
    for model in (nested, sequential):
        np.testing.assert_allclose(METHODS[name](model, photos(3), [0, 3, 1]), expected, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_no_batch_and_no_class_change_what_an_image_gets(name):
    model, images = branching(), photos(3)
    predicted = np.argmax(model(images.astype("float32")), axis=1)
    together = METHODS[name](model, images, predicted)
    np.testing.assert_allclose(METHODS[name](model, images), together, atol=1e-6)
    if name != "smooth_gradients":  # Its noise goes from image to image.
        np.testing.assert_allclose(METHODS[name](model, images, predicted, batch_size=2), together, atol=1e-6)


def test_grad_cam_plus_plus_equals_its_equations_in_a_loop():
    model, image = branching(), photos(1)
    layer = model.get_layer("late")
    before = keras.Model(model.input, layer.output)
    maps = before(image.astype("float32"))
    pooled = model.get_layer("top").input
    after = keras.Model(layer.output, pooled)
    top = model.get_layer("top")
    with tf.GradientTape() as tape:
        tape.watch(maps)
        score = (after(maps) @ top.kernel + top.bias)[:, 2]
    gradient = tape.gradient(score, maps).numpy()[0]
    maps = maps.numpy()[0]
    total = np.zeros(maps.shape[:2])
    for k in range(maps.shape[-1]):
        weight = 0.0
        for i in range(maps.shape[0]):
            for j in range(maps.shape[1]):
                g = gradient[i, j, k]
                below = 2 * g**2 + maps[..., k].sum() * g**3
                weight += (g**2 / below if below else 0) * max(g, 0)
        total += weight * maps[..., k]
    total = tf.image.resize(np.maximum(total, 0)[..., None], (H, W)).numpy()[..., 0]
    found = explain.grad_cam_plus_plus(model, image, 2, layer="late")[0]
    np.testing.assert_allclose(found, total / total.max(), atol=1e-4)


def test_integrated_gradients_add_up_to_the_difference_of_the_scores():
    model, images = branching(), photos(2)
    grey = np.full(images.shape, 60.0, "float32")
    difference = np.asarray(logits(model, images.astype("float32"))[1] - logits(model, grey)[1])
    found = explain.integrated_gradients(model, images, [1, 2], baseline=60.0, steps=100)
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), difference[[0, 1], [1, 2]], rtol=0.03, atol=1e-3)


def test_smooth_gradients_without_noise_are_the_gradients():
    model, images = branching(), photos(2)
    plain = explain.input_gradients(model, images, 1)
    np.testing.assert_allclose(explain.smooth_gradients(model, images, 1, noise=0, copies=2), plain, atol=1e-7)
    assert np.abs(explain.smooth_gradients(model, images, 1) - plain).max() > 1e-7


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("method", ["guided_backpropagation", "deconvolution"])
def test_the_gates_of_rectifiers_equal_a_hand_computation(method, fused):
    """One convolution of 1x1, one ReLU, and one weight for each pixel, so that every gate can be followed by hand."""
    rng = np.random.default_rng(0)
    image = keras.Input((2, 3, 1))
    x = keras.layers.Conv2D(2, 1, activation="relu" if fused else None, use_bias=False, name="conv")(image)
    x = x if fused else keras.layers.ReLU()(x)
    model = keras.Model(image, keras.layers.Dense(1, use_bias=False)(keras.layers.Flatten()(x)))
    kernel, weights = rng.normal(size=(1, 1, 1, 2)), rng.normal(size=(12, 1))
    model.set_weights([kernel, weights])
    pixels = rng.uniform(1, 9, (1, 2, 3, 1))
    before = pixels * kernel[0]
    upstream = weights.reshape(1, 2, 3, 2)
    passing = np.maximum(upstream, 0) * ((before > 0) if method == "guided_backpropagation" else 1)
    expected = (passing * kernel[0, 0, 0]).sum(axis=-1, keepdims=True)
    found = getattr(explain, method)(model, pixels, target=explain.number())
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_model_without_relu_is_told_of_other_methods():
    model = branching(activation="silu")
    trunk = keras.Model(model.input, model.get_layer("late").output)
    with pytest.raises(ValueError, match=r"no ReLU.*smooth_gradients"):
        explain.guided_backpropagation(trunk, photos(1))


def test_occlusion_equals_a_loop():
    model, images = branching(), photos(2)
    score = lambda batch: np.asarray(logits(model, np.asarray(batch, "float32"))[1])[:, 2]  # noqa: E731
    total, counts = np.zeros((2, H, W)), np.zeros((H, W))
    for top in (0, 7, 12):
        for left in (0, 7, 14, 20):
            covered = images.astype("float32")
            covered[:, top : top + 8, left : left + 8] = 100
            total[:, top : top + 8, left : left + 8] += (score(images) - score(covered))[:, None, None]
            counts[top : top + 8, left : left + 8] += 1
    found = explain.occlusion_maps(model, images, 2, patch=8, strides=7, fill=100)
    np.testing.assert_allclose(found, total / counts, atol=1e-5)


def several() -> keras.Model:
    """Class scores, a box, a mask, and one score for two classes, of one trunk."""
    keras.utils.set_random_seed(5)
    image = keras.Input((H, W, 3))
    x = keras.layers.Conv2D(6, 3, activation="relu", padding="same", name="map")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    outputs = {
        "label": keras.layers.Identity()(keras.layers.Dense(3, "softmax")(pooled)),
        "box": keras.layers.Dense(4)(pooled),
        "mask": keras.layers.Conv2D(2, 1, activation="softmax")(x),
        "object": keras.layers.Dense(1, "sigmoid")(pooled),
    }
    return keras.Model(image, outputs)


@pytest.mark.parametrize(
    "target",
    [
        explain.class_score(1, head="label"),
        explain.class_score(head="object"),
        explain.number(3, head="box"),
        explain.mask_pixels(1, head="mask"),
        explain.mask_pixels(0, np.eye(H, W, dtype=bool), head="mask"),
        lambda outputs: outputs["box"][:, 2] - outputs["box"][:, 0],
    ],
)
def test_heads_boxes_and_masks_are_explained_like_classes(target):
    model = several()
    for method in (explain.grad_cam, explain.integrated_gradients, explain.occlusion_maps):
        found = method(model, photos(2), target=target)
        assert found.shape[:3] == (2, H, W)
        assert np.isfinite(found).all()
    assert np.abs(explain.input_gradients(model, photos(2), target=target)).max() > 0


def test_one_sigmoid_is_two_classes():
    model = several()
    object_head = keras.Model(model.input, model.output["object"])
    one, zero = (explain.input_gradients(object_head, photos(2), index) for index in (1, 0))
    np.testing.assert_allclose(one, -zero, atol=1e-7)
    with pytest.raises(ValueError, match=r"class_index is in 0\.\.1, got 2"):
        explain.input_gradients(object_head, photos(1), 2)


def test_the_score_of_a_box_is_explained():
    image = x = keras.Input((64, 96, 3))
    for number in range(5):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name=f"c{number + 1}")(x)
    detector = zoo.detection.create("retinanet_tiny", backbone=keras.Model(image, x), num_classes=3)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3))
    target = explain.box_score(detector.decode, (64, 96), 1, near=(10, 10, 40, 50))
    for layer in ("c3", None):
        found = explain.grad_cam(detector, images, target=target, layer=layer)
        assert found.shape == (2, 64, 96)
    assert np.abs(explain.input_gradients(detector, images, target=target)).max() > 0


def test_feature_maps_and_filters_are_those_of_the_layers():
    model, images = branching(inside=True), photos(3)
    flat = branching()
    maps = explain.feature_maps(model, images, ["late"], batch_size=2)["late"]
    expected = keras.Model(flat.input, flat.get_layer("late").output)(images.astype("float32"))
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    assert list(explain.feature_maps(model, images)) == ["early", "late"]
    np.testing.assert_array_equal(explain.first_filters(model)[4], flat.get_layer("early").kernel[..., 4])
    assert explain.as_grid(np.moveaxis(maps[0], -1, 0), columns=3, scale=2).shape == (
        3 * 2 * maps.shape[1] + 2, 3 * 2 * maps.shape[2] + 2,
    )  # fmt: skip
    assert explain.as_grid(explain.first_filters(model)).dtype == np.uint8


def test_an_exciting_image_shows_what_the_filter_looks_for():
    """A filter that likes red gets a red image, and one for vertical stripes gets what excites it more than noise."""
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 3, use_bias=False, activation="relu", name="conv")(image))
    kernel = np.zeros((3, 3, 3, 2), "float32")
    kernel[1, 1, :, 0] = (1, -1, -1)
    kernel[:, :, :, 1] = np.array([-1, 2, -1])[None, :, None]
    model.set_weights([kernel / 100])
    made = explain.exciting_images(model, "conv", [0, 1], size=(24, 32), steps=40, learning_rate=0.1, blur=0.5)
    assert made.shape == (2, 24, 32, 3)
    assert made.dtype == np.uint8
    red, green, blue = made[0].mean(axis=(0, 1))
    assert red > green + 60
    assert red > blue + 60
    noise = np.random.default_rng(0).integers(0, 256, (1, 24, 32, 3))
    activity = [float(tf.reduce_mean(model(batch.astype("float32"))[..., 1])) for batch in (made[1:], noise)]
    assert activity[0] > activity[1]
    pixels = explain.exciting_images(model, "conv", [0], size=(24, 32), steps=40, learning_rate=0.1, fourier=False)
    assert pixels[0, ..., 0].mean() > pixels[0, ..., 1].mean()
    with pytest.raises(ValueError, match=r"filters in 0\.\.1"):
        explain.exciting_images(model, "conv", [2], steps=1)


def test_the_patches_that_excite_a_filter_are_found_across_batches():
    image = keras.Input((H, W, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 5, kernel_initializer="ones", name="conv")(image))
    data = np.zeros((5, H, W, 1), "uint8")
    for index, value in ((1, 100), (3, 200), (4, 50)):
        data[index, 6:11, 12:17] = value
    best = explain.exciting_patches(model, (data[i : i + 2] for i in (0, 2, 4)), "conv", 0, count=2)
    assert [one.index for one in best] == [3, 1]
    assert {(one.place, one.box) for one in best} == {((6, 12), (12, 6, 17, 11))}
    assert best[0].score == pytest.approx(25 * 200)
    np.testing.assert_array_equal(best[0].pixels, np.full((5, 5, 1), 200))


def test_random_weights_change_the_map_of_grad_cam_but_not_that_of_an_edge_detector():
    model, images = branching(), photos(2)
    before = [weight.copy() for weight in model.get_weights()]
    trained = explain.randomisation_check(lambda m, x: explain.grad_cam(m, x, 1), model, images, checks=3)
    edges = explain.randomisation_check(lambda m, x: np.abs(np.diff(x.astype(float), axis=1)), model, images, checks=3)
    assert [name for name, _ in trained] == ["top", "late", "early"]
    assert trained[-1][1] < 0.5
    assert [round(value, 6) for _, value in edges] == [1, 1, 1]
    for weight, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, now)


def test_the_right_map_deletes_and_inserts_faster_than_the_wrong_one():
    """The class depends on a bright square alone."""
    image = keras.Input((H, W, 1))
    x = keras.layers.GlobalMaxPooling2D()(keras.layers.AveragePooling2D(4, 1)(image))
    model = keras.Model(image, keras.layers.Dense(1, "sigmoid")(x))
    model.set_weights([np.array([[0.05]]), np.array([-11.0])])
    picture = np.full((1, H, W, 1), 20.0)
    picture[0, 4:8, 8:12] = 255
    right = np.zeros((1, H, W))
    right[0, 4:8, 8:12] = 1
    good, bad = (explain.deletion(model, picture, one, 1, steps=10) for one in (right, -right))
    assert good.scores[0, 0] == pytest.approx(float(model(picture)[0, 0]), abs=1e-5)
    assert good.areas[0] < bad.areas[0] - 0.5
    good, bad = (explain.insertion(model, picture, one, steps=10) for one in (right, -right))
    assert good.areas[0] > bad.areas[0] + 0.3
    assert good.scores[0, -1] == pytest.approx(float(model(picture)[0, 0]), abs=1e-5)


def test_attacks_raise_the_error_within_their_bounds():
    model, images = branching(), photos(3)
    labels = np.argmax(model(images.astype("float32")), axis=1)
    loss = lambda batch: float(keras.losses.SparseCategoricalCrossentropy()(labels, model(batch)))  # noqa: E731
    for attack in (explain.fast_gradient_sign, explain.projected_gradient_descent):
        changed = attack(model, images, labels, epsilon=4)
        assert np.abs(changed - images).max() <= 4 + 1e-4
        assert changed.min() >= 0
        assert changed.max() <= 255
        assert loss(changed) > loss(images.astype("float32"))
    gradient = explain.input_gradients(model, images, target=explain.targets.cross_entropy(labels))
    expected = np.clip(images + 4 * np.sign(gradient), 0, 255)
    np.testing.assert_allclose(explain.fast_gradient_sign(model, images, labels, epsilon=4), expected, atol=1e-4)
    with pytest.raises(ValueError, match="one label for each of 3 images"):
        explain.fast_gradient_sign(model, images, [0])


def test_what_cannot_be_explained_says_what_to_do(tmp_path):
    model = branching()
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    image = keras.Input((H, W, 3))
    wrapped = keras.Model(image, keras.layers.TFSMLayer(tmp_path / "saved", call_endpoint="serve")(image))
    for method in METHODS.values():
        for saved in (loaded, wrapped):
            with pytest.raises(ValueError, match=r"SavedModel.*Load the \.keras file"):
                method(saved, photos(1))
        with pytest.raises(ValueError, match=r"class_index is in 0\.\.3, got 9"):
            method(model, photos(1), 9)
        with pytest.raises(ValueError, match=r"takes images of \(20, 28, 3\), got \(9, 9, 3\)"):
            method(model, photos(1)[:, :9, :9])
    with pytest.raises(ValueError, match=r"several outputs.*head="):
        explain.grad_cam(several(), photos(1))
    with pytest.raises(ValueError, match="a head of the model"):
        explain.grad_cam(several(), photos(1), target=explain.class_score(0, head="colour"))
    with pytest.raises(ValueError, match="one score for each of 2 images"):
        explain.grad_cam(several(), photos(2), target=lambda outputs: outputs["box"])
    with pytest.raises(ValueError, match="got both"):
        explain.grad_cam(model, photos(1), 1, target=explain.class_score(1))
    with pytest.raises(ValueError, match="what is wanted is a map"):
        explain.up_to(model, "top")
