"""A class-conditional DCGAN on scikit-learn's digits: does a classifier of real digits recognise what it makes?

    python -m benchmarks.gan
    python -m benchmarks.gan --loss wasserstein --epochs 500

Prints a line every twentieth of the training, then one line of JSON. With `--grid FILE`, samples are drawn into a file.
The digits are 1,797 pictures of 8x8 pixels; a fifth of them tests the classifier. Two samples count as near-identical
below a root mean square difference of `NEAR` in 0..255; the closest pair of as many real digits is shown beside it.
"""

import argparse
import json
import time

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from zoo.generative import autoencoder, closest_pair, dcgan, frechet_distance, sample_grid
from zoo.generative.adversarial_training import LOSSES

NEAR = 8.0
SAMPLES = 1000


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 `[1797, 8, 8, 1]`, and their classes."""
    data = load_digits()
    return np.rint(data.images[..., None] * 255 / 16).astype("uint8"), data.target.astype("int32")


class Progress(keras.callbacks.Callback):
    """Prints how the training goes, twenty times in all."""

    def __init__(self, epochs: int, classifier: SVC):
        super().__init__()
        self.every = max(1, epochs // 20)
        self.classifier = classifier

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            values = " ".join(f"{name} {value:.2f}" for name, value in (logs or {}).items())
            share = recognised(self.model, self.classifier, 200)
            _, closest = closest_pair(self.model.sample(labels=np.arange(64) % 10, seed=3))
            print(f"epoch {epoch + 1}: {values} recognised {share:.3f} closest {closest:.1f}", flush=True)


def recognised(gan, classifier: SVC, count: int, seed: int = 1) -> float:
    """The share of samples whose class a classifier of real digits recognises."""
    labels = np.arange(count) % 10
    made = gan.sample(labels=labels, seed=seed)
    return float(np.mean(classifier.predict(made.reshape(count, -1) / 255) == labels))


def main() -> None:
    """Trains, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--average", type=float, default=0.95)
    parser.add_argument("--loss", default="cross_entropy")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--spectral", action="store_true")
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--critic-steps", type=int)
    parser.add_argument("--grid")
    options = parser.parse_args()
    images, labels = digits()
    order = np.random.default_rng(0).permutation(len(images))
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    flat = images.reshape(len(images), -1) / 255
    classifier = SVC(gamma="scale", C=10).fit(flat[train], labels[train])
    accuracy = classifier.score(flat[test], labels[test])

    start = time.perf_counter()
    gan = dcgan(
        (8, 8, 1),
        10,
        width=options.width,
        loss=options.loss,
        spectral=options.spectral,
        average=options.average,
        seed=options.seed,
    )
    _, *betas, _ = LOSSES[options.loss]
    generator, discriminator = (keras.optimizers.Adam(options.learning_rate, *betas) for _ in range(2))
    gan.critic_steps = options.critic_steps or gan.critic_steps
    gan.compile(generator, discriminator)
    keras.utils.set_random_seed(options.seed)
    progress = Progress(options.epochs, classifier)
    gan.fit(images[train], labels[train], batch_size=64, epochs=options.epochs, verbose=0, callbacks=[progress])
    seconds = time.perf_counter() - start

    compressed = autoencoder((8, 8, 1), latent=16)
    compressed.model.compile("adam", "mse")
    compressed.model.fit(images[train].astype("float32"), images[train].astype("float32"), epochs=30, verbose=0)
    rebuilt = np.asarray(compressed.model(images[test].astype("float32"), training=False))
    made = gan.sample(labels=labels[test], seed=2)
    _, closest = closest_pair(gan.sample(labels=np.arange(64) % 10, seed=3))
    _, real = closest_pair(images[test][:64])

    def features(batch: np.ndarray) -> np.ndarray:
        return batch.reshape(len(batch), -1)[:, :32] / 255  # pixels stand in for features: the pictures have 64

    result = {
        "seconds": round(seconds, 1),
        "classifier_accuracy_on_real": round(accuracy, 4),
        "recognised": recognised(gan, classifier, SAMPLES),
        "closest_pair_of_64": round(closest, 2),
        "closest_pair_of_64_real": round(real, 2),
        "near_identical": bool(closest < NEAR),
        "frechet_made": round(frechet_distance(images[train], made, features), 3),
        "frechet_autoencoder": round(frechet_distance(images[train], rebuilt, features), 3),
        "frechet_real": round(frechet_distance(images[train], images[test], features), 3),
    }
    if options.grid:
        picture = Image.fromarray(sample_grid(gan, 10, 10))
        picture.resize((4 * picture.width, 4 * picture.height), Image.Resampling.NEAREST).save(options.grid)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
