"""The evaluation crop: the central part of a photo, resized, as classifiers are shown photos."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from pipelines.prepare.graph_resizing import resize
from pipelines.prepare.matrix_resizing import multiply, window_matrix
from pipelines.prepare.numpy_resizing import resize_photo
from pipelines.prepare.preparation import Preparation, Window, library_of

__all__ = ["EvaluationCrop", "central_window"]

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos3")


def central_window(h: Any, w: Any, size: tuple[int, int], fraction: float) -> Window:
    """Computes the window of `EvaluationCrop` in whole numbers, so that NumPy and every runtime agree on it.

    Args:
        h: Height of the photo in pixels, an integer or a scalar `int32` tensor.
        w: Width of the photo in pixels, an integer or a scalar `int32` tensor.
        size: Height and width that give the window its shape.
        fraction: Share of the largest window that fits; it is taken as the nearest ratio of numbers up to 1000.

    Returns:
        Top, left, height and width of the window.

    Example:

    >>> central_window(100, 80, (4, 4), 0.5)
    (30, 20, 40, 40)
    """
    library = library_of(h)
    height, width = size
    share = Fraction(fraction).limit_denominator(1000)
    fits = library.minimum(h * width, w * height)
    rows = library.maximum(1, _share_of(fits, share, width))
    columns = library.maximum(1, _share_of(fits, share, height))
    window = (h - rows + 1) // 2, (w - columns + 1) // 2, rows, columns
    return tuple(int(edge) for edge in window) if library is np else window  # type: ignore[return-value]


def _share_of(number: Any, share: Fraction, divisor: int) -> Any:
    """Returns floor(number * share / divisor), without a product that leaves 32 bits."""
    denominator = share.denominator * divisor
    whole = number // denominator
    return whole * share.numerator + (number - whole * denominator) * share.numerator // denominator


@dataclass(frozen=True)
class EvaluationCrop(Preparation):
    """The central part of an image, resized: how a classifier is shown images when it is evaluated.

    For an image of `h` x `w` pixels and a size of `H` x `W`, the crop is the largest window of the shape `H` : `W`
    that fits, made smaller by `fraction`, in the middle:

        crop_h = max(1, floor(fraction * min(h, w * H / W)))
        crop_w = max(1, floor(fraction * min(w, h * W / H)))
        top, left = (h - crop_h + 1) // 2, (w - crop_w + 1) // 2

    For a square size that is the `fraction` of the shorter side that the authors of EfficientNet-Lite evaluate with
    (`preprocessing.py` in their repository: fraction = size / (size + 32), 0.875 for 224, truncated to whole
    pixels). The window is resized with antialiasing, so that shrinking a large photo averages over pixels instead of
    picking some, as Pillow does. The result is rounded to whole numbers and clipped to 0..255, since bicubic
    interpolation overshoots. Whole numbers make it possible to cache the result as `uint8` without losing anything:
    training, evaluation and the exported model see the same pixels.

    Args:
        size: Height and width of the result, in pixels. Defaults to (224, 224).
        fraction: Share of the largest window that fits, above 0 and at most 1. Defaults to 0.875.
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"` or `"lanczos3"`. Defaults to `"bicubic"`.

    Raises:
        ValueError: a size below 1, a fraction outside (0, 1], an unknown interpolation.

    Example:

    >>> EvaluationCrop(size=(4, 4))(np.full([10, 8, 3], 9, np.uint8)).shape
    TensorShape([4, 4, 3])
    >>> EvaluationCrop((4, 6)).on_photo(np.full((10, 8, 3), 9, np.uint8)).shape
    (4, 6, 3)
    >>> EvaluationCrop((50, 50), 0.5).boxes_to_photo([[0, 10, 25, 50]], (100, 100)).tolist()
    [[25.0, 35.0, 50.0, 75.0]]
    >>> EvaluationCrop.from_dict(EvaluationCrop(size=(192, 192), fraction=1.0).as_dict())
    EvaluationCrop(size=(192, 192), fraction=1.0, interpolation='bicubic')
    """

    kind: ClassVar[str] = "crop"
    endpoint: ClassVar[str] = "cropped"
    dtype: ClassVar[str] = "uint8"

    size: tuple[int, int] = (224, 224)
    fraction: float = 0.875
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        size = self.size
        if not (isinstance(size, Sequence) and len(size) == 2 and all(int(n) == n >= 1 for n in size)):
            raise ValueError(f"EvaluationCrop: expected `size` as (height, width) in pixels, received {size!r}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"EvaluationCrop: expected `fraction` above 0 and at most 1, received {self.fraction!r}")
        if self.interpolation not in _INTERPOLATIONS:
            raise ValueError(
                f"EvaluationCrop: expected `interpolation` as one of {', '.join(_INTERPOLATIONS)}; "
                f"received {self.interpolation!r}"
            )
        object.__setattr__(self, "size", (int(size[0]), int(size[1])))

    def __call__(self, images: Any) -> Any:
        import tensorflow as tf

        images = tf.convert_to_tensor(images)
        shape = tf.shape(images)
        top, left, rows, columns = self.place(shape[-3], shape[-2])
        window = images[..., top : top + rows, left : left + columns, :]
        resized = resize(window, self.size, self.interpolation)
        return tf.clip_by_value(tf.round(tf.cast(resized, tf.float32)), 0.0, 255.0)

    def on_photo(self, image: np.ndarray) -> np.ndarray:
        top, left, rows, columns = self.place(*image.shape[:2])
        part = resize_photo(image[top : top + rows, left : left + columns], self.size, self.interpolation)
        np.rint(part, out=part)  # in its place: fresh memory for each step would take longer than the steps
        np.clip(part, 0, 255, out=part)
        return part.astype(np.uint8)

    def portable(self, images: Any) -> Any:
        import tensorflow as tf

        shape = tf.shape(images)
        h, w = shape[1], shape[2]
        top, left, rows, columns = self.place(h, w)
        to_rows = window_matrix(h, top, rows, self.size[0], self.interpolation)
        to_columns = window_matrix(w, left, columns, self.size[1], self.interpolation)
        return tf.clip_by_value(tf.round(multiply(images, to_rows, to_columns)), 0.0, 255.0)

    def place(self, h: Any, w: Any) -> Window:
        return central_window(h, w, self.size, self.fraction)

    def windows(self, h: Any, w: Any) -> tuple[Window, Window]:
        return self.place(h, w), (0, 0, *self.size)

    def views(self) -> list[tuple[Preparation, bool]]:
        """Returns this crop and a larger one (or a smaller one, if there is no larger), each also mirrored."""
        other = EvaluationCrop(self.size, 1.0 if self.fraction < 1 else 0.875, self.interpolation)
        return [(crop, mirrored) for crop in (self, other) for mirrored in (False, True)]

    @property
    def needs(self) -> tuple[int, int]:
        """Height and width from which on an image is only shrunk: what decoding it at a smaller scale has to leave.

        >>> EvaluationCrop().needs
        (256, 256)
        """
        return math.ceil(self.size[0] / self.fraction), math.ceil(self.size[1] / self.fraction)

    def as_dict(self) -> dict[str, Any]:
        """Returns the kind and the fields as JSON can hold them."""
        return {
            "kind": self.kind,
            "size": list(self.size),
            "fraction": self.fraction,
            "interpolation": self.interpolation,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "EvaluationCrop":
        """Returns the crop that `as_dict` described."""
        return cls(tuple(fields["size"]), fields["fraction"], fields["interpolation"])
