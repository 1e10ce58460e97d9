"""The letterbox: a whole photo on a canvas of another shape, as detectors are shown photos.

The photo keeps its shape and is resized so that it just fits; the rest of the canvas is grey. For training,
`pipelines.ResizePolicy("pad")` does the same with a photo's boxes. `Letterbox` is for inference. It does not round grey
levels, because a rounding turns the last bit of a float, in which runtimes differ, into a whole level.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pipelines.prepare.graph_resizing import resize
from pipelines.prepare.matrix_resizing import multiply, placed_matrix
from pipelines.prepare.numpy_resizing import resize_photo
from pipelines.prepare.preparation import Preparation, Window, library_of

__all__ = ["FILL", "Letterbox"]

FILL = 114.0  # the grey that YOLO's authors use, near the mean of photos


@dataclass(frozen=True)
class Letterbox(Preparation):
    """A canvas with the whole photo in its middle, bilinear and antialiased, and grey around it.

    Args:
        size: Height and width of the canvas, in pixels.
        fill: Grey level around the photo, 0..255. Defaults to 114.

    Raises:
        ValueError: a size that is not two numbers of 1 or more, or a fill outside 0..255.

    Example:

    >>> letterbox = Letterbox((32, 64))
    >>> letterbox.place(100, 100)
    (0, 16, 32, 32)
    >>> letterbox.boxes_to_photo([[16, 0, 32, 32]], (100, 100)).tolist()
    [[0.0, 0.0, 50.0, 100.0]]
    >>> Letterbox((2, 4)).on_photo(np.full((10, 10, 3), 9, np.uint8))[0, :, 0].tolist()
    [114.0, 9.0, 9.0, 114.0]
    """

    kind: ClassVar[str] = "letterbox"
    endpoint: ClassVar[str] = "resized"
    dtype: ClassVar[str] = "float32"

    size: tuple[int, int]
    fill: float = FILL

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"expected the canvas as (height, width) of 1 pixel or more, got {self.size}")
        if not 0 <= self.fill <= 255:
            raise ValueError(f"expected a grey level in 0..255, got fill={self.fill}")
        object.__setattr__(self, "size", (int(self.size[0]), int(self.size[1])))

    def __call__(self, images: Any) -> Any:
        import tensorflow as tf

        images = tf.convert_to_tensor(images)
        batch = images if images.shape.rank == 4 else images[None]
        shape = tf.shape(batch)
        height, width = self.size
        top, left, rows, columns = self.place(shape[1], shape[2])
        shown = tf.cast(resize(batch, [rows, columns], "bilinear"), tf.float32)
        around = [[0, 0], [top, height - rows - top], [left, width - columns - left], [0, 0]]
        canvas = tf.ensure_shape(tf.pad(shown, around, constant_values=self.fill), [None, height, width, 3])
        return canvas if images.shape.rank == 4 else canvas[0]

    def on_photo(self, image: np.ndarray) -> np.ndarray:
        top, left, rows, columns = self.place(*image.shape[:2])
        canvas = np.full((*self.size, 3), self.fill, np.float32)
        canvas[top : top + rows, left : left + columns] = resize_photo(image, (rows, columns), "bilinear")
        return canvas

    def portable(self, images: Any) -> Any:
        import tensorflow as tf

        shape = tf.shape(images)
        h, w = shape[1], shape[2]
        top, left, rows, columns = self.place(h, w)
        to_rows, row_is_shown = placed_matrix(h, top, rows, self.size[0])
        to_columns, column_is_shown = placed_matrix(w, left, columns, self.size[1])
        around = 1.0 - row_is_shown[:, None, None] * column_is_shown[None, :, None]
        return multiply(images, to_rows, to_columns) + self.fill * around

    def place(self, h: Any, w: Any) -> Window:
        library = library_of(h)
        height, width = self.size
        rows = library.where(height * w <= width * h, height, library.maximum(1, (2 * width * h + w) // (2 * w)))
        columns = library.where(height * w >= width * h, width, library.maximum(1, (2 * height * w + h) // (2 * h)))
        place = (height - rows) // 2, (width - columns) // 2, rows, columns
        return tuple(int(edge) for edge in place) if library is np else place  # type: ignore[return-value]

    def windows(self, h: Any, w: Any) -> tuple[Window, Window]:
        return (0, 0, h, w), self.place(h, w)

    def views(self) -> list[tuple[Preparation, bool]]:
        """Returns this letterbox, once as it is and once mirrored."""
        return [(self, False), (self, True)]

    @property
    def needs(self) -> tuple[int, int]:
        """Height and width from which on an image is only shrunk: what decoding it at a smaller scale has to leave."""
        return self.size

    def as_dict(self) -> dict[str, Any]:
        """Returns the kind and the fields as JSON can hold them."""
        return {"kind": self.kind, "size": list(self.size), "fill": self.fill}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Letterbox":
        """Returns the letterbox that `as_dict` described."""
        return cls(tuple(fields["size"]), fields["fill"])
