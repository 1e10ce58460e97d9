"""DCGAN: a generator of transposed convolutions, and a discriminator of convolutions with strides.

Source: Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks", sections 3 and 4: strides instead of pooling; batch norms but for the generator's last and the
discriminator's first layer; ReLU in the generator with tanh at its end, LeakyReLU (0.2) in the discriminator; kernels
of 5x5, drawn from a normal distribution of deviation 0.02; Adam with learning rate 0.0002 and beta 0.5.

Deliberate deviations: images are in 0..255, and layers of the networks bring them to tanh's range and back. The first
map has the smallest size of at least 4 pixels from which doubling leads to the image (4 of 64, 7 of 28), or of 2 for
images that are so small that it would be doubled only once (2 of 8). With classes,
the generator is given the class beside the noise (Mirza and Osindero 2014, "Conditional Generative
Adversarial Nets"), and the discriminator judges by the product of its features with another one (Miyato and Koyama
2018, "cGANs with Projection Discriminator", equation 4).
"""

from typing import Any

import keras

from zoo.generative.adversarial_training import GAN

__all__ = ["dcgan", "discriminator", "generator"]

KERNEL = 5
SLOPE = 0.2
SMALLEST = 4  # Pixels of the shorter side of the generator's first map; 2 where it would be doubled once only.


def dcgan(
    image_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int | None = None,
    *,
    latent: int = 100,
    width: int = 64,
    loss: str = "cross_entropy",
    spectral: bool = False,
    average: float | None = None,
    seed: int = 0,
) -> GAN:
    """Builds a DCGAN that `compile()` and `fit(images)`, or `fit(images, labels)`, train.

    Args:
        image_shape: Height, width and channels of the images.
        num_classes: Number of classes of a class-conditional GAN. Defaults to none.
        latent: Number of values of the noise that an image is made of. Defaults to 100.
        width: Number of channels of the discriminator's first map and of the generator's last one. Defaults to 64; the
            paper has 128 for images of 64x64.
        loss: "cross_entropy", as in the paper; or "wasserstein", with a gradient penalty (WGAN-GP).
        spectral: Whether the discriminator's weights are divided by their spectral norm (Miyato et al. 2018, "Spectral
            Normalization for Generative Adversarial Networks"), which takes the place of its batch norms.
        average: Decay of a moving average of the generator's weights; see `GAN`. Defaults to none, as in the paper.
        seed: Decides the weights and the noise.

    Raises:
        ValueError: The size cannot be reached by doubling, or an option is out of range.

    Example:

    >>> gan = dcgan((8, 12, 1), num_classes=3, latent=5, width=4)
    >>> gan.sample(labels=[0, 2]).shape
    (2, 8, 12, 1)
    """
    made = generator(image_shape, num_classes, latent=latent, width=width, seed=seed)
    # A batch norm would mix the images of a batch, of each of which WGAN-GP bounds the gradient (Gulrajani et al. 2017,
    # section 4).
    normalised = not spectral and loss != "wasserstein"
    judge = discriminator(
        image_shape, num_classes, width=width, batch_norm=normalised, spectral=spectral, seed=seed + 1000
    )
    return GAN(made, judge, loss=loss, average=average, seed=seed)


def generator(
    image_shape: tuple[int, int, int],
    num_classes: int | None = None,
    *,
    latent: int = 100,
    width: int = 64,
    seed: int = 0,
) -> keras.Model:
    """Builds the generator. The arguments are those of `dcgan`.

    Returns:
        A model from noise `[n, latent]`, or from [noise, labels `[n]`], to images `[n, h, w, c]` in 0..255.

    Example:

    >>> generator((64, 96, 3), width=8).output_shape
    (None, 64, 96, 3)
    """
    height, width_of_image, channels = image_shape
    doublings = _doublings(image_shape)
    _check(num_classes, latent=latent, width=width)
    draw = _Seeds(seed)
    noise = keras.Input((latent,), name="noise")
    x = noise
    inputs: Any = noise
    if num_classes is not None:
        label = keras.Input((), dtype="int32", name="label")
        # It begins as one-hot labels: beside as many values for the class as for the noise, noise is not needed, and
        # all images of a class would come out alike.
        embedding = keras.layers.Embedding(num_classes, num_classes, embeddings_initializer="identity", name="class")
        x = keras.layers.Concatenate()([noise, embedding(label)])
        inputs = [noise, label]
    filters = width * 2 ** (doublings - 1)
    rows, columns = height // 2**doublings, width_of_image // 2**doublings
    x = keras.layers.Dense(rows * columns * filters, use_bias=False, kernel_initializer=draw.normal(), name="project")(
        x
    )
    x = keras.layers.Reshape((rows, columns, filters))(x)
    for number in range(1, doublings + 1):
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{number}")(x)
        x = keras.layers.ReLU(name=f"relu{number}")(x)
        last = number == doublings
        maps = channels if last else width * 2 ** (doublings - 1 - number)
        x = keras.layers.Conv2DTranspose(
            maps, KERNEL, strides=2, padding="same", use_bias=last, kernel_initializer=draw.normal(),
            name=f"up{number}",
        )(x)  # fmt: skip
    x = keras.layers.Activation("tanh", name="tanh")(x)
    return keras.Model(inputs, keras.layers.Rescaling(127.5, offset=127.5, name="image")(x), name="generator")


def discriminator(
    image_shape: tuple[int, int, int],
    num_classes: int | None = None,
    *,
    width: int = 64,
    batch_norm: bool = True,
    spectral: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Builds the discriminator. The arguments are those of `dcgan`, and `batch_norm` says whether it has batch norms.

    Returns:
        A model from images `[n, h, w, c]` in 0..255, or from [images, labels `[n]`], to logits `[n, 1]`: the larger,
        the more an image looks like a real one.

    Example:

    >>> discriminator((64, 96, 3), width=8).output_shape
    (None, 1)
    """
    doublings = _doublings(image_shape)
    _check(num_classes, width=width)
    draw = _Seeds(seed)

    def bounded(layer: keras.layers.Layer) -> keras.layers.Layer:
        return keras.layers.SpectralNormalization(layer, name=f"{layer.name}_spectral") if spectral else layer

    image = keras.Input(image_shape, name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="tanh_range")(image)
    for number in range(1, doublings + 1):
        normalised = batch_norm and number > 1
        convolution = keras.layers.Conv2D(
            width * 2 ** (number - 1), KERNEL, strides=2, padding="same", use_bias=not normalised,
            kernel_initializer=draw.normal(), name=f"down{number}",
        )  # fmt: skip
        x = bounded(convolution)(x)
        if normalised:
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{number}")(x)
        x = keras.layers.LeakyReLU(SLOPE, name=f"relu{number}")(x)
    features = keras.layers.Flatten()(x)
    logit = bounded(keras.layers.Dense(1, kernel_initializer=draw.normal(), name="logit"))(features)
    if num_classes is None:
        return keras.Model(image, logit, name="discriminator")
    label = keras.Input((), dtype="int32", name="label")
    # A dense layer on one-hot labels is an embedding. keras.layers.SpectralNormalization turns outputs to the type of
    # inputs, and would cut the values of an Embedding to whole numbers, without a gradient.
    one_hot = keras.ops.one_hot(label, num_classes)
    embed = keras.layers.Dense(features.shape[-1], use_bias=False, kernel_initializer=draw.normal(), name="class")
    embedding = bounded(embed)(one_hot)
    product = keras.layers.Dot(axes=1, name="projection")([features, embedding])
    return keras.Model([image, label], keras.layers.Add(name="judgement")([logit, product]), name="discriminator")


class _Seeds:
    """Gives each layer a seed of its own, so that the same seed makes the same network."""

    def __init__(self, seed: int):
        self.seed = seed

    def normal(self) -> keras.initializers.Initializer:
        self.seed += 1
        return keras.initializers.RandomNormal(stddev=0.02, seed=self.seed)


def _doublings(image_shape: tuple[int, int, int]) -> int:
    """Returns how often the generator's first map is doubled."""
    if len(image_shape) != 3 or any(not isinstance(side, int) or side < 1 for side in image_shape):
        raise ValueError(f"expected image_shape as (height, width, channels), got {image_shape}")
    height, width, _ = image_shape
    count = 0
    while height % 2 == width % 2 == 0 and min(height, width) // 2 >= (2 if count < 2 else SMALLEST):
        height, width, count = height // 2, width // 2, count + 1
    if count == 0:
        raise ValueError(
            f"images of {height}x{width} pixels cannot be made by doubling a map of at least 2 pixels: resize "
            "them to even sides of 8 pixels or more, such as 32"
        )
    return count


def _check(num_classes: int | None, **counts: int) -> None:
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"expected 2 classes or more, or None for no classes; got num_classes={num_classes}")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"expected {name} of at least 1, got {count}")
