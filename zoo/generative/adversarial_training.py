"""Training a generator and a discriminator against each other, under plain `fit`.

Sources: Goodfellow et al. 2014, "Generative Adversarial Nets", algorithm 1, with the generator's loss -log D(G(z)) of
section 3; Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", algorithm 1 and section 4.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["GAN", "LOSSES"]

# Loss -> learning rate, beta 1, beta 2 of Adam, and steps of the discriminator for one of the generator, as published.
LOSSES = {"cross_entropy": (2e-4, 0.5, 0.999, 1), "wasserstein": (1e-4, 0.0, 0.9, 5)}


class GAN(keras.Model):
    """A generator and a discriminator that are trained against each other.

        gan = zoo.generative.dcgan((28, 28, 1), num_classes=10)
        gan.compile()
        gan.fit(images, labels, batch_size=64, epochs=20)
        gan.sample(labels=[3, 8])

    `fit` logs the losses of both, and the shares of real and of made images that the discriminator judges rightly.

    Args:
        generator: A model from noise `[n, latent]`, or from [noise, labels `[n]`], to images `[n, h, w, c]` in 0..255.
        discriminator: A model from images, or from [images, labels], to logits `[n, 1]`.
        loss: "cross_entropy" or "wasserstein", which is trained with a gradient penalty.
        penalty: Weight of the gradient penalty. Defaults to 10.
        critic_steps: Steps of the discriminator for one of the generator. Defaults to 1, and to 5 for "wasserstein".
        average: Decay of a moving average of the generator's weights, from which `sample` then draws, such as 0.999
            (Yazıcı et al. 2019, "The Unusual Effectiveness of Averaging in GAN Training"): the two networks circle
            around each other, and the average lies in the middle. Defaults to none, as in DCGAN.
        seed: Decides the noise.

    Attributes:
        sampler: The generator that `sample` draws from: with averaged weights, if they are averaged.

    Raises:
        ValueError: The loss is unknown, the decay is not in 0..1, or one of the two networks takes labels and the other
            does not.
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        loss: str = "cross_entropy",
        penalty: float = 10.0,
        critic_steps: int | None = None,
        average: float | None = None,
        seed: int = 0,
    ):
        if average is not None and not 0 <= average < 1:
            raise ValueError(f"expected average in 0..1, below 1, got {average}")
        if loss not in LOSSES:
            raise ValueError(f"expected a loss of {', '.join(LOSSES)}, got {loss!r}")
        if len(generator.inputs) != len(discriminator.inputs):
            raise ValueError("expected two networks that both take labels, or that both take none; got one of each")
        super().__init__(name="gan")
        self.generator = generator
        self.discriminator = discriminator
        self.loss_name = loss
        self.penalty = penalty
        self.critic_steps = critic_steps or LOSSES[loss][3]
        self.conditional = len(generator.inputs) == 2
        self.latent = generator.inputs[0].shape[-1]
        self.average = average
        self.sampler = generator
        if average is not None:
            self.sampler = keras.models.clone_model(generator)
            self.sampler.set_weights(generator.get_weights())
            self.sampler.trainable = False
        self.seeds = keras.random.SeedGenerator(seed)
        self.step = self.add_weight(shape=(), dtype="int64", initializer="zeros", trainable=False, name="step")
        names = ("discriminator_loss", "generator_loss", "real_accuracy", "made_accuracy")
        self.means = {name: keras.metrics.Mean(name=name) for name in names}
        self.built = True

    def compile(
        self, generator_optimizer: Any = None, discriminator_optimizer: Any = None, *, steps_per_execution: int = 1
    ) -> None:
        """Sets the two optimizers. By default they are those of the papers: Adam with their settings."""
        super().compile(optimizer=None, loss=None, jit_compile=False, steps_per_execution=steps_per_execution)
        rate, first, second, _ = LOSSES[self.loss_name]
        self.generator_optimizer = generator_optimizer or keras.optimizers.Adam(rate, first, second)
        self.discriminator_optimizer = discriminator_optimizer or keras.optimizers.Adam(rate, first, second)
        # Here, since the generator learns inside of a condition, where no variables can be made.
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)

    @property
    def metrics(self) -> list[Any]:
        return list(self.means.values())

    @property
    def num_classes(self) -> int:
        """Number of classes of a class-conditional GAN."""
        return self.generator.get_layer("class").input_dim

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Makes images of noise, or of [noise, labels]."""
        return self.generator(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        if self.conditional and labels is None:
            raise ValueError("a class-conditional GAN is trained on images and labels: fit(images, labels)")
        images = tf.cast(images, tf.float32)
        given = [tf.reshape(tf.cast(labels, tf.int32), [-1])] if self.conditional else []
        self._discriminator_step(images, given)
        self.step.assign_add(1)
        if self.critic_steps == 1:
            self._generator_step(tf.shape(images)[0], given)
        else:
            due = tf.equal(self.step.value % self.critic_steps, 0)
            tf.cond(due, lambda: self._generator_step(tf.shape(images)[0], given), lambda: tf.constant(0.0))
        if self.average is not None:
            steps = tf.cast(self.step.value, tf.float32)
            decay = tf.minimum(self.average, (1 + steps) / (10 + steps))  # The first weights were random.
            for mean, weight in zip(self.sampler.weights, self.generator.weights, strict=True):
                if "float" in weight.dtype:
                    mean.assign(decay * mean + (1 - decay) * weight)
        return {name: mean.result() for name, mean in self.means.items()}

    def _discriminator_step(self, images: Any, given: list[Any]) -> None:
        made = self.generator(self._joined(self._noise(tf.shape(images)[0]), given), training=True)
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(self._joined(images, given), training=True)
            made_logits = self.discriminator(self._joined(made, given), training=True)
            if self.loss_name == "wasserstein":
                loss = tf.reduce_mean(made_logits) - tf.reduce_mean(real_logits)
                loss += self.penalty * self._gradient_penalty(images, made, given)
            else:
                loss = tf.reduce_mean(tf.nn.softplus(-real_logits)) + tf.reduce_mean(tf.nn.softplus(made_logits))
        weights = self.discriminator.trainable_variables
        self.discriminator_optimizer.apply(tape.gradient(loss, weights), weights)
        self.means["discriminator_loss"].update_state(loss)
        self.means["real_accuracy"].update_state(tf.cast(real_logits > 0, tf.float32))
        self.means["made_accuracy"].update_state(tf.cast(made_logits < 0, tf.float32))

    def _generator_step(self, count: Any, given: list[Any]) -> Any:
        with tf.GradientTape() as tape:
            made = self.generator(self._joined(self._noise(count), given), training=True)
            logits = self.discriminator(self._joined(made, given), training=True)
            loss = tf.reduce_mean(-logits if self.loss_name == "wasserstein" else tf.nn.softplus(-logits))
        weights = self.generator.trainable_variables
        self.generator_optimizer.apply(tape.gradient(loss, weights), weights)
        self.means["generator_loss"].update_state(loss)
        return loss

    def _gradient_penalty(self, images: Any, made: Any, given: list[Any]) -> Any:
        """Returns the mean squared distance from 1 of the gradient's norm, between real and made images.

        The gradient is that with respect to images in -1..1, as in the paper.
        """
        share = keras.random.uniform((tf.shape(images)[0], 1, 1, 1), seed=self.seeds)
        between = share * images + (1 - share) * made
        with tf.GradientTape() as tape:
            tape.watch(between)
            logits = self.discriminator(self._joined(between, given), training=True)
        gradient = 127.5 * tape.gradient(logits, between)
        norm = tf.sqrt(tf.reduce_sum(gradient**2, axis=(1, 2, 3)) + 1e-12)
        return tf.reduce_mean((norm - 1) ** 2)

    def sample(
        self, count: int | None = None, *, labels: Sequence[int] | np.ndarray | None = None, seed: int = 0
    ) -> np.ndarray:
        """Makes images.

        Args:
            count: Number of images, for a GAN without classes.
            labels: The class of each image, int `[n]`, for a class-conditional GAN.
            seed: Decides the noise.

        Returns:
            uint8 `[n, h, w, c]`.

        Raises:
            ValueError: The GAN has classes and is given none, or the other way round; or a class is out of range.
        """
        if self.conditional != (labels is not None) or (labels is None) == (count is None):
            wanted = "labels, one for each image" if self.conditional else "the number of images as count"
            raise ValueError(f"this GAN is given {wanted}; got count={count} and labels={labels}")
        given = []
        if labels is not None:
            numbers, most = np.asarray(labels), self.num_classes
            if numbers.ndim != 1 or np.any((numbers < 0) | (numbers >= most)):
                raise ValueError(f"expected labels [n] in 0..{most - 1}, the classes of this GAN; got {labels}")
            given = [numbers.astype("int32")]
        number = len(given[0]) if given else int(count or 0)
        noise = np.random.default_rng(seed).standard_normal((number, self.latent)).astype("float32")
        images = self.sampler(self._joined(noise, given), training=False)
        return np.clip(np.rint(np.asarray(images)), 0, 255).astype(np.uint8)

    def _noise(self, count: Any) -> Any:
        return keras.random.normal((count, self.latent), seed=self.seeds)

    @staticmethod
    def _joined(first: Any, given: list[Any]) -> Any:
        return [first, *given] if given else first
