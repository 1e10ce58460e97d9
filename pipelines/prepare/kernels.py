"""The kernels that resizing weighs pixels with, written once for NumPy and for TensorFlow.

Both calculate in single precision and in the order of `ScaleAndTranslate`, the operation behind `tf.image.resize`, so
that values within rounding of half a grey level fall on the same side everywhere.
"""

from collections.abc import Callable
from math import pi
from typing import Any

__all__ = ["KERNELS", "TENSORFLOW_NAMES", "cubic", "lanczos", "triangle"]


def triangle(x: Any, library: Any) -> Any:
    """Computes the weights of linear interpolation: 1 - x, and 0 from 1 on.

    Args:
        x: Distances of 0 or more, `float32`, an array or a tensor of any shape.
        library: The module that calculates: `numpy` or `tensorflow`.

    Returns:
        The weights, `float32` of the shape of `x`.

    Example:

    >>> import numpy as np
    >>> triangle(np.float32([0, 0.25, 2]), np).tolist()
    [1.0, 0.75, 0.0]
    """
    return library.maximum(0.0, 1.0 - x)


def cubic(x: Any, library: Any) -> Any:
    """Computes the weights of cubic convolution. Arguments and result are those of `triangle`.

    Source: R. Keys, "Cubic Convolution Interpolation for Digital Image Processing" (1981), equation 15 with a = -1/2.
    """
    near = ((1.5 * x - 2.5) * x) * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return library.where(x < 1.0, near, library.where(x < 2.0, far, 0.0))


def lanczos(x: Any, library: Any) -> Any:
    """Computes the weights of the Lanczos kernel with three lobes. Arguments and result are those of `triangle`."""
    angle = library.maximum(x, 1e-3) * pi
    inside = 3.0 * library.sin(angle) * library.sin(angle / 3.0) / (angle * angle)
    return library.where(x <= 1e-3, 1.0, library.where(x < 3.0, inside, 0.0))


# Name of the interpolation -> its kernel, and from which distance on the kernel is zero. "nearest" needs none.
KERNELS: dict[str, tuple[Callable[[Any, Any], Any], int]] = {
    "bilinear": (triangle, 1),
    "bicubic": (cubic, 2),
    "lanczos3": (lanczos, 3),
}
# Name of the interpolation -> the name that the operations of TensorFlow have for its kernel.
TENSORFLOW_NAMES = {"bilinear": "triangle", "bicubic": "keyscubic", "lanczos3": "lanczos3"}
