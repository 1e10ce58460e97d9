"""Images that were normalised before are told from those that were not."""

import warnings

import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from transfer import Plan, fine_tune
from transfer.training.normalised_images import LooksNormalised, warn_if_normalised
from zoo.blocks import normalise

PHOTOS = {name: getattr(skimage.data, name)()[:200:3, :300:3].astype("float32")[None] for name in ("rocket", "coffee")}
# What the dark half of a photo of a rocket at night is: as dark as photos get.
PHOTOS["night"] = PHOTOS["rocket"][:, :40, :20]


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("scheme", ["unit", "symmetric", "imagenet", "caffe"])
def test_every_normalisation_is_told_from_none(photo, scheme):
    image = keras.Input((None, None, 3))
    batch = keras.Model(image, normalise(image, scheme))(PHOTOS[photo])
    low, high, mean = float(np.min(batch)), float(np.max(batch)), float(np.mean(batch))
    with pytest.warns(LooksNormalised) as caught:
        assert warn_if_normalised(batch, name="train", values="-1..1")
    message = str(caught[0].message)
    assert message.startswith(f"train look normalised already: they are in {low:.3g}..{high:.3g} with a mean of ")
    assert float(message.split("with a mean of ")[1].split(",")[0]) == pytest.approx(mean, abs=0.01 * abs(mean) + 1e-3)
    assert "normalises by itself (here -1..1)" in message


@pytest.mark.parametrize(
    "batch",
    [
        *PHOTOS.values(),
        tf.cast(PHOTOS["coffee"], tf.uint8),
        np.zeros((2, 3, 5, 3)),  # blank, in any range
        np.full((2, 3, 5, 3), -1e-5),  # rounding of an interpolation
        np.zeros((0, 3, 5, 3)),
        np.full((1, 3, 5, 3), np.nan),  # another defect, which the guard is for
    ],
)
def test_what_is_in_0_to_255_is_let_through(batch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not warn_if_normalised(batch)


def tune(images, *, normalises=True):
    image = keras.Input((8, 12, 3))
    x = keras.layers.Conv2D(4, 3, strides=2)(normalise(image, "symmetric" if normalises else "none"))
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x)))
    data = tf.data.Dataset.from_tensor_slices((images, [0, 1, 0, 1])).batch(2)
    fine_tune(model, data, data, plan=Plan(head_epochs=1, epochs=0), progress=False)


def test_fine_tuning_warns_where_the_model_normalises_too():
    images = np.random.default_rng(0).uniform(0, 255, (4, 8, 12, 3)).astype("float32")
    with pytest.warns(LooksNormalised, match=r"valid look normalised already.*\(here -1\.\.1\)"):
        tune(images / 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LooksNormalised)
        tune(images)
        tune(images / 255, normalises=False)
