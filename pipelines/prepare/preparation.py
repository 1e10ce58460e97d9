"""What every preparation of photos for a network has in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

__all__ = ["Preparation", "Window", "library_of"]

Window = tuple[Any, Any, Any, Any]  # top, left, height and width, in whole pixels: integers, or scalar int32 tensors


def library_of(length: Any) -> Any:
    """Returns the module that calculates with a length: `numpy` for integers, `tensorflow` for tensors.

    >>> library_of(3).__name__
    'numpy'
    """
    if isinstance(length, int | np.integer):
        return np
    import tensorflow as tf  # here, so that photos can be prepared without loading TensorFlow

    return tf


class Preparation(ABC):
    """A way from a photo of any size to the network's canvas, and from boxes on the canvas back to the photo.

    A part of the photo, the first of `windows`, is resized to a part of the canvas, the second. Each preparation exists
    three times: in the TensorFlow graph (`__call__`), in NumPy (`on_photo`), and in operations that every runtime has
    (`portable`). Tests hold the three equal.

    Attributes:
        size: Height and width of the canvas, in pixels.
        kind: Name of the kind of preparation in documents: "crop" or "letterbox".
        endpoint: Name that an exported model gives to its way in for images that are prepared already.
        dtype: Type of the prepared images that `on_photo` returns: "uint8" or "float32".
    """

    kind: ClassVar[str]
    endpoint: ClassVar[str]
    dtype: ClassVar[str]
    size: tuple[int, int]

    @abstractmethod
    def __call__(self, images: Any) -> Any:
        """Prepares images in the TensorFlow graph, or eagerly.

        Args:
            images: `[h, w, 3]` or `[n, h, w, 3]`, any numeric dtype, values in 0..255. In a graph, `h`, `w` and `n` may
                be unknown.

        Returns:
            `float32 [H, W, 3]` or `[n, H, W, 3]`, values in 0..255.
        """

    @abstractmethod
    def on_photo(self, image: np.ndarray) -> np.ndarray:
        """Prepares one image without TensorFlow.

        Args:
            image: `[h, w, 3]`, `uint8` or floats in 0..255.

        Returns:
            `[H, W, 3]` of the type `dtype`, values in 0..255.
        """

    @abstractmethod
    def portable(self, images: Any) -> Any:
        """Prepares images in operations that ONNX, OpenVINO and LiteRT have.

        Args:
            images: `[n, h, w, 3]`, `uint8` or `float32` in 0..255. In a graph, `n`, `h` and `w` may be unknown.

        Returns:
            `float32 [n, H, W, 3]`, equal to what `__call__` gives to the rounding of floats.
        """

    @abstractmethod
    def place(self, h: Any, w: Any) -> Window:
        """Computes the window that a preparation chooses for a photo, in whole numbers, so that all runtimes agree.

        Args:
            h: Height of the photo in pixels, an integer or a scalar `int32` tensor (or a tensor `[n]`).
            w: Width of the photo in pixels, of the same type as `h`.

        Returns:
            Top, left, height and width of the window.
        """

    @abstractmethod
    def windows(self, h: Any, w: Any) -> tuple[Window, Window]:
        """Returns the part of a photo that is shown, and the part of the canvas that shows it.

        The arguments are those of `place`.
        """

    @abstractmethod
    def views(self) -> list[tuple["Preparation", bool]]:
        """Returns the views of test-time augmentation: preparations, each with whether its result is mirrored."""

    @property
    @abstractmethod
    def needs(self) -> tuple[int, int]:
        """Height and width from which on an image is only shrunk: what decoding it at a smaller scale has to leave."""

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """Returns the kind and the fields as JSON can hold them, for `pipelines.preparation_from_dict`."""

    def boxes_to_photo(self, boxes: Any, size: Sequence[int]) -> np.ndarray:
        """Moves boxes from the canvas to the photo, and cuts them off at the photo's edges.

        Args:
            boxes: `float32 [..., 4]`, xyxy, in pixels of the canvas.
            size: Height and width of the photo, in pixels.

        Returns:
            `float32 [..., 4]`, xyxy, in pixels of the photo.
        """

        h, w = (int(side) for side in size)
        (top, left, rows, columns), (canvas_top, canvas_left, canvas_rows, canvas_columns) = self.windows(h, w)
        scale_y, scale_x = rows / canvas_rows, columns / canvas_columns
        corner = np.array([canvas_left - left / scale_x, canvas_top - top / scale_y] * 2, np.float32)
        scale, limit = np.array([scale_x, scale_y] * 2, np.float32), np.array([w, h] * 2, np.float32)
        return np.clip((np.asarray(boxes, np.float32) - corner) * scale, 0, limit)

    def map_to_photo(self, values: np.ndarray, size: Sequence[int]) -> np.ndarray:
        """Moves a map from the canvas to the photo, so that it can be laid over the photo at its own size.

        Args:
            values: `float32 [H, W]`, a number for each pixel of the canvas.
            size: Height and width of the photo, in pixels.

        Returns:
            `float32 [h, w]`, interpolated bilinearly; 0 where the network is not shown the photo.
        """
        from PIL import Image  # Naming a preparation loads no library of images.

        h, w = (int(side) for side in size)
        (top, left, rows, columns), (canvas_top, canvas_left, canvas_rows, canvas_columns) = self.windows(h, w)
        own = np.asarray(values, np.float32)
        own = own[canvas_top : canvas_top + canvas_rows, canvas_left : canvas_left + canvas_columns]
        moved = np.zeros((h, w), np.float32)
        picture = Image.fromarray(np.ascontiguousarray(own)).resize((columns, rows), Image.Resampling.BILINEAR)
        moved[top : top + rows, left : left + columns] = np.asarray(picture)
        return moved

    def boxes_to_photo_in_graph(self, boxes: Any, height: Any, width: Any) -> Any:
        """Moves boxes from the canvas to the photo in a graph, and cuts them off at the photo's edges.

        Args:
            boxes: `float32 [n, m, 4]` or `[n, 4]`, xyxy, in pixels of the canvas.
            height: Heights of the photos in pixels, `int32`, one for all or `[n]`.
            width: Widths of the photos in pixels, `int32`, one for all or `[n]`.

        Returns:
            `float32` of the shape of `boxes`, xyxy, in pixels of the photos.
        """
        import tensorflow as tf

        corner, scale, limit = self.box_transform(height, width)
        if corner.shape.rank == 2 and boxes.shape.rank == 3:
            corner, scale, limit = corner[:, None], scale[:, None], limit[:, None]
        return tf.clip_by_value((boxes - corner) * scale, 0.0, limit)

    def box_transform(self, h: Any, w: Any) -> tuple[Any, Any, Any]:
        """Computes, in a graph, the numbers that move boxes: `photo_box = clip((box - corner) * scale, 0, limit)`.

        Args:
            h: Heights of the photos in pixels, `int32`, a scalar tensor or `[n]`.
            w: Widths of the photos in pixels, `int32`, of the same shape.

        Returns:
            Corner, scale and limit, each `float32 [4]` or `[n, 4]`.
        """
        import tensorflow as tf

        h, w = tf.convert_to_tensor(h), tf.convert_to_tensor(w)
        photo, canvas = self.windows(h, w)
        top, left, rows, columns, canvas_top, canvas_left, canvas_rows, canvas_columns, height, width = (
            tf.cast(edge, tf.float32) for edge in (*photo, *canvas, h, w)
        )
        scale_y, scale_x = rows / canvas_rows, columns / canvas_columns
        corner_y, corner_x = canvas_top - top / scale_y, canvas_left - left / scale_x
        pairs = (corner_x, corner_y), (scale_x, scale_y), (width, height)
        corner, scale, limit = (tf.stack([x, y, x, y], axis=-1) for x, y in pairs)
        return corner, scale, limit
