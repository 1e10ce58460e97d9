"""`apply_kernel` against TensorFlow's and SciPy's convolutions."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate2d

from zoo.explain import KERNELS, apply_kernel

PHOTO = np.random.default_rng(0).integers(0, 256, (17, 22, 3)).astype("uint8")


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [1, 2, (3, 1), (2, 5)])
@pytest.mark.parametrize("name", KERNELS)
def test_equals_tensorflow(name, strides, padding):
    kernel = np.tile(KERNELS[name][:, :, None, None], (1, 1, 3, 1))
    down, right = (strides, strides) if isinstance(strides, int) else strides
    # TensorFlow's depthwise convolution takes equal strides only, so the ordinary one is asked channel by channel.
    channels = [PHOTO[None, :, :, [i]].astype("float32") for i in range(3)]
    expected = [
        tf.nn.conv2d(channel, kernel[:, :, :1], (down, right), padding.upper())[0, ..., 0] for channel in channels
    ]
    found = apply_kernel(PHOTO, name, strides=strides, padding=padding)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack(expected, axis=-1), atol=1e-3)


def test_numbers_of_zeros_are_laid_on_both_sides():
    kernel = np.random.default_rng(1).normal(size=(2, 5))
    padded = np.pad(PHOTO[..., 0].astype(float), ((1, 1), (3, 3)))
    found = apply_kernel(PHOTO[..., 0], kernel, padding=(1, 3), strides=(2, 3))
    np.testing.assert_allclose(found, correlate2d(padded, kernel, "valid")[::2, ::3], atol=1e-3)
    np.testing.assert_array_equal(apply_kernel(PHOTO, "identity", padding=1), PHOTO)


def test_the_lines_are_those_of_the_course():
    assert KERNELS["vertical line"].sum(axis=0).tolist() == [0, 0, 0, 7, 0, 0, 0]
    assert KERNELS["horizontal line"].sum(axis=1).tolist() == [0, 0, 0, 7, 0, 0, 0]
    assert KERNELS["edges"].sum() == 0
    assert KERNELS["sharpen"].sum() == pytest.approx(1)
    assert KERNELS["blur"].sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "sharp"}, "there is no kernel 'sharp'; the kernels are identity"),
        ({"kernel": np.ones((3, 3, 3))}, r"a kernel is \[height, width\]"),
        ({"kernel": np.ones((18, 3))}, "larger than the photo"),
        ({"kernel": "blur", "strides": 0}, "strides is a whole number of at least 1"),
        ({"kernel": "blur", "strides": (1, 2, 3)}, "strides"),
        ({"kernel": "blur", "padding": -1}, "padding is a whole number of at least 0"),
        ({"kernel": "blur", "padding": "full"}, "padding is"),
        ({"kernel": np.full((3, 3), np.nan)}, "not finite"),
        ({"kernel": "blur", "photo": PHOTO[None]}, "one photo at a time"),
    ],
)
def test_bad_input_says_what_to_do(options, message):
    with pytest.raises(ValueError, match=message):
        apply_kernel(**{"photo": PHOTO, **options})
