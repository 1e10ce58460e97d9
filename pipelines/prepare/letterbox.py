"""How a photo of any size gets onto a detector's canvas, and boxes back again.

The photo keeps its shape and is resized so that it just fits; what is left of the canvas is grey. `pipelines` does the
same as `ResizePolicy("pad")` with its boxes for training. Here it is for inference, in a graph (`Letterbox`), without
TensorFlow (`letterbox_photo`) and in operations that every format has (`pipelines.prepare.portable_letterbox`). Unlike
there,
grey levels are not rounded: a rounding turns the last bit of a float, in which runtimes differ, into a whole level.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.prepare.photos import resize_photo

__all__ = ["FILL", "Letterbox", "letterbox_photo", "restore"]

FILL = 114.0  # the grey that YOLO's authors use, near the mean of photos


@dataclass(frozen=True)
class Letterbox:
    """A canvas, and the place of a photo on it.

    Called on images, `[h, w, 3]` or `[n, h, w, 3]` of numbers in 0..255, in a graph or outside of one, it gives
    float32 `[H, W, 3]` or `[n, H, W, 3]` with the images on it: bilinear, antialiased, in the middle.

    Attributes:
        size: height and width of the canvas, in pixels.
        fill: the grey around the photo, 0..255.

    Raises:
        ValueError: a size that is not two numbers of 1 or more, or a fill outside 0..255.

    Example:

    >>> box = Letterbox((32, 64))
    >>> box.place(100, 100)
    (0, 16, 32, 32)
    >>> restore(np.float32([[16, 0, 32, 32]]), box, (100, 100)).tolist()
    [[0.0, 0.0, 50.0, 100.0]]
    """

    size: tuple[int, int]
    fill: float = FILL

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"expected the canvas as (height, width) of 1 pixel or more, got {self.size}")
        if not 0 <= self.fill <= 255:
            raise ValueError(f"expected a grey level in 0..255, got fill={self.fill}")
        object.__setattr__(self, "size", (int(self.size[0]), int(self.size[1])))

    def place(self, h: Any, w: Any) -> tuple[Any, Any, Any, Any]:
        """Where on the canvas an image of `h` x `w` pixels goes: top, left, height and width, in whole pixels.

        In whole numbers throughout, so that a graph and NumPy agree on it.

        Args:
            h, w: numbers, or scalar int32 tensors.
        """
        height, width = self.size
        if isinstance(h, int | np.integer):
            rows = height if height * w <= width * h else max(1, (2 * width * h + w) // (2 * w))
            columns = width if height * w >= width * h else max(1, (2 * height * w + h) // (2 * h))
        else:
            import tensorflow as tf

            rows = tf.where(height * w <= width * h, height, tf.maximum(1, (2 * width * h + w) // (2 * w)))
            columns = tf.where(height * w >= width * h, width, tf.maximum(1, (2 * height * w + h) // (2 * h)))
        return (height - rows) // 2, (width - columns) // 2, rows, columns

    def __call__(self, images: Any) -> Any:
        import tensorflow as tf

        from pipelines.prepare.crop import resize

        images = tf.convert_to_tensor(images)
        batch = images if images.shape.rank == 4 else images[None]
        shape = tf.shape(batch)
        height, width = self.size
        top, left, rows, columns = self.place(shape[1], shape[2])
        shown = tf.cast(resize(batch, [rows, columns], "bilinear"), tf.float32)
        around = [[0, 0], [top, height - rows - top], [left, width - columns - left], [0, 0]]
        canvas = tf.ensure_shape(tf.pad(shown, around, constant_values=self.fill), [None, height, width, 3])
        return canvas if images.shape.rank == 4 else canvas[0]


def letterbox_photo(image: np.ndarray, letterbox: Letterbox) -> np.ndarray:
    """What `letterbox(image)` gives, without TensorFlow.

    Args:
        image: `[h, w, 3]`, uint8 or floats in 0..255.

    Returns:
        float32 `[H, W, 3]`.

    Example:

    >>> letterbox_photo(np.full((10, 10, 3), 9, np.uint8), Letterbox((2, 4)))[0, :, 0].tolist()
    [114.0, 9.0, 9.0, 114.0]
    """
    top, left, rows, columns = letterbox.place(*image.shape[:2])
    canvas = np.full((*letterbox.size, 3), letterbox.fill, np.float32)
    canvas[top : top + rows, left : left + columns] = resize_photo(image, (rows, columns), "bilinear")
    return canvas


def restore(boxes: np.ndarray, letterbox: Letterbox, size: tuple[int, int]) -> np.ndarray:
    """Boxes on the canvas, in pixels of the photo, cut off at its edges.

    Args:
        boxes: float32 `[..., 4]`, xyxy, pixels of the canvas.
        size: (height, width) of the photo.

    Returns:
        float32 `[..., 4]`.
    """
    h, w = size
    top, left, rows, columns = letterbox.place(h, w)
    corner, scale, limit = (np.array(pair * 2, np.float32) for pair in ([left, top], [w / columns, h / rows], [w, h]))
    return np.clip((boxes - corner) * scale, 0, limit)
