"""Inference of the zoo's networks, and of the same ones in `keras.applications`.

    python -m benchmarks.zoo [PATTERN] [--batch N]

Both go from pixels in 0..255 to probabilities, at the size that the network's ImageNet weights are for, each compiled
by `tf.function`; what Keras keeps outside of its models, `preprocess_input`, is part of the call. Both have the same
weights, and first have to give the same probabilities. Ratios are Keras' time over ours: over 1, ours is faster; the
target is at least 0.98.
"""

import argparse
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase

import keras
import numpy as np
import tensorflow as tf

import zoo
from benchmarks.timing import Comparison, compare, report
from zoo.blocks import IMAGENET_MEAN, IMAGENET_STD
from zoo.models.loading import application_pairs
from zoo.weights.fitting import assign
from zoo.weights.pretrained import PRETRAINED, FromKeras, keras_application


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__.splitlines()[0])
    parser.add_argument("pattern", nargs="?", default="*", help="names of models, such as 'mobilenet*'")
    parser.add_argument("--batch", type=int, default=1, help="images in a call")
    parser.add_argument("--rounds", type=int, default=30, help="that each takes its turn")
    options = parser.parse_args()
    names = [name for name, row in PRETRAINED.items() if isinstance(row, FromKeras)]
    names = [name for name in names if fnmatchcase(name, options.pattern)]
    if not names:
        parser.error(f"no model that keras.applications has, too, matches {options.pattern!r}")
    report(networks(names, options.batch, options.rounds))


def networks(names: list[str], batch: int, rounds: int) -> Iterator[Comparison]:
    for name in names:
        row = PRETRAINED[name]
        application = keras_application(name, weights=None)
        preprocess = sys.modules[getattr(keras.applications, row.application).__module__].preprocess_input
        for layer in application.layers:
            if isinstance(layer, keras.layers.Normalization) and layer.weights:
                # EfficientNets have these constants from their files
                layer.set_weights([np.array(IMAGENET_MEAN), np.square(IMAGENET_STD), np.array(0)])
                layer.finalize_state()
        model = zoo.create_model(name)
        assign(model, application_pairs(model, application), source=row.application)

        ours = tf.function(lambda images, model=model: model(images, training=False))
        peer = tf.function(
            lambda images, model=application, preprocess=preprocess: model(preprocess(images), training=False)
        )
        pixels = np.random.default_rng(0).uniform(0, 255, (batch, *model.input_shape[1:])).astype("float32")
        images = tf.constant(pixels)
        expected = peer(images).numpy()
        np.testing.assert_allclose(ours(images) / expected.max(), expected / expected.max(), atol=1e-4)
        yield compare(
            name,
            ours=lambda ours=ours, images=images: ours(images).numpy(),
            peer=lambda peer=peer, images=images: peer(images).numpy(),
            peer_name=f"keras.applications.{row.application}",
            rounds=rounds,
            warmup=3,
        )
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
