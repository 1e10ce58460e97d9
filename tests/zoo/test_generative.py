"""GANs, an autoencoder and style transfer on tiny shapes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import sqrtm

from zoo import generative
from zoo.generative import dcgan, stylize

SHAPE = (8, 12, 1)


def images(n=8, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype("uint8")


@pytest.mark.parametrize(
    "options", [{}, {"spectral": True}, {"loss": "wasserstein"}, {"loss": "wasserstein", "spectral": True}]
)
def test_both_networks_learn_under_plain_fit(options):
    gan = dcgan(SHAPE, 3, latent=5, width=4, average=0.9, **options)
    gan.compile()
    before = [[w.copy() for w in part.get_weights()] for part in (gan.generator, gan.discriminator, gan.sampler)]
    steps = 5 if "loss" in options else 1
    logs = gan.fit(images(4), np.array([0, 1, 2, 0]), batch_size=4, epochs=steps, verbose=0).history
    for weights, part in zip(before, (gan.generator, gan.discriminator, gan.sampler), strict=True):
        assert any(np.abs(old - new).max() > 0 for old, new in zip(weights, part.get_weights(), strict=True)), part.name
    for part in (gan.generator, gan.discriminator):  # Every weight has a gradient, that of the classes, too.
        old = dict(zip([w.path for w in part.weights], before[part is gan.discriminator], strict=True))
        still = [w.path for w in part.trainable_weights if np.array_equal(old[w.path], w.numpy())]
        if "loss" in options:  # The bias of the critic cancels out between real and made images.
            still = [path for path in still if not path.endswith("logit/bias")]
        assert not still
    assert set(logs) == {"discriminator_loss", "generator_loss", "real_accuracy", "made_accuracy"}
    assert np.isfinite([values[-1] for values in logs.values()]).all()
    normal = {type(layer).__name__ for layer in gan.discriminator.layers}
    assert ("BatchNormalization" in normal) == (not options)
    assert ("SpectralNormalization" in normal) == ("spectral" in options)
    assert gan.sample(labels=[2, 0, 1]).shape == (3, *SHAPE)
    assert generative.sample_grid(gan, 2, 3).shape == (17, 38)


def test_samples_depend_on_the_seed_and_on_the_class():
    gan = dcgan(SHAPE, 3, latent=5, width=4, seed=1)
    np.testing.assert_array_equal(gan.sample(labels=[1, 1], seed=4), gan.sample(labels=[1, 1], seed=4))
    assert (gan.sample(labels=[1, 1], seed=4) != gan.sample(labels=[1, 1], seed=5)).any()
    assert (gan.sample(labels=[1, 1], seed=4) != gan.sample(labels=[2, 2], seed=4)).any()
    np.testing.assert_array_equal(dcgan(SHAPE, 3, latent=5, width=4, seed=1).sample(labels=[1]), gan.sample(labels=[1]))


def test_the_networks_are_those_of_the_paper():
    def shapes(network, kind):
        return [layer.output.shape[1:] for layer in network.layers if isinstance(layer, kind)]

    generator = generative.generator((64, 64, 3), width=128)
    found = shapes(generator, keras.layers.BatchNormalization)
    assert found == [(4, 4, 1024), (8, 8, 512), (16, 16, 256), (32, 32, 128)]  # figure 1
    discriminator = generative.discriminator((64, 64, 3), width=128)
    found = shapes(discriminator, keras.layers.Conv2D)
    assert found == [(32, 32, 128), (16, 16, 256), (8, 8, 512), (4, 4, 1024)]


def test_the_gradient_penalty_equals_its_formula():
    gan = dcgan(SHAPE, latent=5, width=4, loss="wasserstein")
    real, made = images(3).astype("float32"), images(3, seed=1).astype("float32")
    gan.seeds = keras.random.SeedGenerator(7)
    found = float(gan._gradient_penalty(tf.constant(real), tf.constant(made), []))
    share = np.asarray(keras.random.uniform((3, 1, 1, 1), seed=keras.random.SeedGenerator(7)))
    between = tf.constant(share * real + (1 - share) * made)
    total = []
    for i in range(3):
        with tf.GradientTape() as tape:
            tape.watch(between)
            score = gan.discriminator(between, training=True)[i, 0]
        norm = np.linalg.norm(127.5 * tape.gradient(score, between).numpy()[i])
        total.append((norm - 1) ** 2)
    assert found == pytest.approx(np.mean(total), rel=1e-3)


def test_the_way_between_two_samples_keeps_to_the_sphere(monkeypatch):
    gan = dcgan(SHAPE, latent=4, width=4)
    start, end = np.random.default_rng(0).normal(size=(2, 4))
    end *= np.linalg.norm(start) / np.linalg.norm(end)
    seen = []
    monkeypatch.setattr(gan, "sampler", lambda noise, training: seen.append(noise) or gan.generator(noise))
    assert generative.interpolated(gan, start, end, steps=5).shape == (5, *SHAPE)
    np.testing.assert_allclose(seen[0][[0, -1]], [start, end], atol=1e-5)
    angles = [np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(seen[0], seen[0][1:], strict=False)]
    whole = np.arccos(np.dot(start, end) / np.linalg.norm(start) / np.linalg.norm(end))
    np.testing.assert_allclose(np.arccos(angles), whole / 4, atol=1e-4)


def test_the_frechet_distance_equals_its_equation():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(50, 4)), rng.normal(1, 2, size=(60, 4))
    real, made = (rows.reshape(-1, 2, 2, 1) for rows in (one, other))
    covariances = np.cov(one.T), np.cov(other.T)
    expected = np.sum((one.mean(0) - other.mean(0)) ** 2) + np.trace(
        covariances[0] + covariances[1] - 2 * np.real(sqrtm(covariances[0] @ covariances[1]))
    )
    flat = lambda batch: batch.reshape(len(batch), -1)  # noqa: E731
    assert generative.frechet_distance(real, made, flat) == pytest.approx(expected, rel=1e-6)
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(image))  # Of another size, for RGB, with a map at its end.
    assert generative.frechet_distance(real, real, model) == pytest.approx(0, abs=1e-6)


def test_an_autoencoder_learns_to_rebuild():
    made = generative.autoencoder(SHAPE, latent=6, width=4)
    made.model.compile(keras.optimizers.Adam(0.01), "mse")
    batch = images(8).astype("float32")
    losses = made.model.fit(batch, batch, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(made.decoder(made.encoder(batch)), made.model(batch), atol=1e-4)


def test_bad_gans_say_what_to_do():
    with pytest.raises(ValueError, match="resize them to even sides"):
        dcgan((9, 9, 1))
    with pytest.raises(ValueError, match="expected a loss of cross_entropy, wasserstein"):
        dcgan(SHAPE, loss="hinge")
    with pytest.raises(ValueError, match="2 classes or more"):
        dcgan(SHAPE, 1)
    gan = dcgan(SHAPE, 3, latent=5, width=4)
    with pytest.raises(ValueError, match="is given labels"):
        gan.sample(4)
    with pytest.raises(ValueError, match=r"labels \[n\] in 0\.\.2"):
        gan.sample(labels=[3])
    gan.compile()
    with pytest.raises(ValueError, match=r"fit\(images, labels\)"):
        gan.fit(images(4), batch_size=4, verbose=0)
    with pytest.raises(ValueError, match="2 steps or more"):
        generative.interpolated(dcgan(SHAPE, latent=5, width=4), np.zeros(4), np.zeros(5))


# Style


def trunk(size=(None, None)):
    keras.utils.set_random_seed(0)
    image = keras.Input((*size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    for number in range(3):
        x = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name=f"stage{number + 1}")(x)
    return keras.Model(image, x, name="small")


def test_the_style_loss_equals_its_equations():
    network = trunk((16, 24))
    photo, style, image = (images(1, (16, 24, 3), seed).astype("float32") for seed in range(3))
    loss = generative.StyleLoss(network, style[0], content_weight=0.3, style_weight=2, variation_weight=0.5)
    assert loss.content_level == "c3"
    maps = keras.Model(network.input, [network.get_layer(f"stage{n}").output for n in (1, 2, 3)])
    of_style, of_image = ([np.asarray(m)[0].reshape(-1, 6) for m in maps(x)] for x in (style, image))
    total = 0
    for one, other in zip(of_style, of_image, strict=True):
        expected, actual = (rows.T @ rows / len(rows) for rows in (one, other))
        total += 2 / 3 * np.sum((actual - expected) ** 2) / np.sum(expected**2)
    content, actual = (np.asarray(maps(x)[2])[0] for x in (photo, image))
    total += 0.3 * np.sum((content - actual) ** 2) / np.sum(content**2)
    scaled = image[0] / 255
    total += 0.5 * (np.mean(np.diff(scaled, axis=0) ** 2) + np.mean(np.diff(scaled, axis=1) ** 2))
    assert float(loss(image, loss.content(photo))) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["l-bfgs", "adam"])
@pytest.mark.parametrize("size", [(None, None), (16, 24)])
def test_the_loss_falls_and_the_photo_keeps_its_size(optimizer, size):
    photo, style = images(1, (16, 24, 3))[0], images(1, (20, 17, 3), seed=1)[0] // 3
    seen = []
    made = stylize(trunk(size), photo, style, steps=8, optimizer=optimizer, progress=lambda *step: seen.append(step))
    assert made.image.shape == photo.shape
    assert made.image.dtype == np.uint8
    assert made.losses[-1] < made.losses[0]
    assert [number for number, _ in seen] == list(range(1, len(made.losses)))


def test_a_photo_of_another_size_than_the_trunk_is_resized_there_and_back():
    photo, style = images(1, (9, 31, 3))[0], images(1, (20, 17, 3))[0]
    assert stylize(trunk((16, 24)), photo, style, steps=1).image.shape == (9, 31, 3)


def test_bad_styles_say_what_to_do():
    with pytest.raises(ValueError, match=r"4x9 pixels, fewer than the stride 8 of small at c3: take a larger picture"):
        stylize(trunk(), images(1, (16, 24, 3))[0], images(1, (4, 9, 3))[0])
    with pytest.raises(ValueError, match="l-bfgs"):
        stylize(trunk(), images(1, (16, 24, 3))[0], images(1, (16, 24, 3))[0], optimizer="sgd")
    with pytest.raises(ValueError, match=r"the photo is \[h, w, 3\]"):
        stylize(trunk(), images(1, (16, 24, 1))[0], images(1, (16, 24, 3))[0])
    image = keras.Input((16, 24, 3))
    same = keras.Model(image, keras.layers.Conv2D(2, 3, padding="same")(image))
    with pytest.raises(ValueError, match="no layer whose stride"):
        generative.StyleLoss(same, images(1, (9, 9, 3))[0])


def test_a_network_learns_one_style_and_leaves_the_trunk_alone():
    network = trunk()
    before = [weight.copy() for weight in network.get_weights()]
    style = generative.StyleNetwork(
        generative.StyleLoss(network, images(1, (16, 16, 3))[0]), generative.style_network(width=4, blocks=1)
    )
    style.compile(keras.optimizers.Adam(1e-3))
    losses = style.fit(images(4, (16, 24, 3)), batch_size=4, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert style.stylize(images(1, (13, 18, 3))[0]).shape == (13, 18, 3)
