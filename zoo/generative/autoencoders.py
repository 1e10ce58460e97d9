"""An autoencoder: an image through a few numbers and back. It stands beside the GAN for the comparison.

What it makes of a point between two images is blurred: it is trained for the mean of what could be there, where a GAN
is trained for one image that looks real.

Source: Hinton and Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks", with the convolutions
of DCGAN.
"""

from dataclasses import dataclass

import keras

from zoo.generative.deep_convolutional import discriminator, generator

__all__ = ["Autoencoder", "autoencoder"]


@dataclass(frozen=True)
class Autoencoder:
    """An autoencoder and its two halves, which share their weights with it.

    Attributes:
        model: From images `[n, h, w, c]` in 0..255 to images: `model.compile("adam", "mse")`, `model.fit(images,
            images)`.
        encoder: From images to codes `[n, latent]`.
        decoder: From codes to images.
    """

    model: keras.Model
    encoder: keras.Model
    decoder: keras.Model


def autoencoder(
    image_shape: tuple[int, int, int] = (28, 28, 1), *, latent: int = 32, width: int = 32, seed: int = 0
) -> Autoencoder:
    """Builds an autoencoder of DCGAN's two networks: the discriminator's trunk, and the generator.

    Args:
        image_shape: Height, width and channels of the images.
        latent: Number of values of the code. Defaults to 32.
        width: Number of channels of the largest map. Defaults to 32.
        seed: Decides the weights.

    Raises:
        ValueError: The size cannot be reached by doubling, or an option is out of range.

    Example:

    >>> made = autoencoder((16, 24, 1), latent=5, width=4)
    >>> made.encoder.output_shape, made.model.output_shape
    ((None, 5), (None, 16, 24, 1))
    """
    trunk = discriminator(image_shape, width=width, seed=seed)
    features = trunk.get_layer("logit").input
    code = keras.layers.Dense(latent, name="code", kernel_initializer=keras.initializers.GlorotUniform(seed=seed))
    encoder = keras.Model(trunk.input, code(features), name="encoder")
    decoder = generator(image_shape, latent=latent, width=width, seed=seed)
    image = keras.Input(image_shape, name="image")
    return Autoencoder(keras.Model(image, decoder(encoder(image)), name="autoencoder"), encoder, decoder)
