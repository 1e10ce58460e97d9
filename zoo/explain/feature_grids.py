"""What the layers of a network give for an image, and its first filters, as grids of small pictures."""

import math
from collections.abc import Sequence

import keras
import numpy as np

from zoo.explain.subject import BATCH_SIZE, Subject, with_layers

__all__ = ["as_grid", "feature_maps", "first_filters"]


def feature_maps(
    model: keras.Model, images: np.ndarray, layers: Sequence[str] | None = None, *, batch_size: int = BATCH_SIZE
) -> dict[str, np.ndarray]:
    """Returns the feature maps of chosen layers.

    Args:
        model: A model with one image input; see `zoo.surgery.flattening.flat`.
        images: Images `[n, h, w, c]` in 0..255, uint8 or float.
        layers: Names of layers whose output is a map. Defaults to all convolutions.
        batch_size: Number of images at a time. Defaults to 32.

    Returns:
        By the name of each layer, float32 `[n, height, width, channels]`.

    Raises:
        ValueError: The images do not fit the model, it has no such layer, or the layer gives no map.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 12, 3)), keras.layers.Conv2D(4, 3, name="conv")])
    >>> {name: maps.shape for name, maps in feature_maps(model, np.zeros((2, 8, 12, 3))).items()}
    {'conv': (2, 6, 10, 4)}
    """
    names = [layer.name for layer in _convolutions(model)] if layers is None else list(layers)
    subject = Subject(model, names)
    parts: list[list[np.ndarray]] = [[] for _ in names]
    for batch, _ in subject.batches(images, None, _no_target, batch_size=batch_size):
        for part, maps in zip(parts, subject(batch)[0], strict=True):
            part.append(np.asarray(maps, np.float32))
    if not parts or not parts[0]:
        raise ValueError(f"expected at least one image and one layer, got {len(images)} images and the layers {names}")
    return {name: np.concatenate(part) for name, part in zip(names, parts, strict=True)}


def first_filters(model: keras.Model) -> np.ndarray:
    """Returns the filters of the first convolution, which can be looked at as small pictures.

    Args:
        model: A model with a convolution; see `zoo.surgery.flattening.flat`.

    Returns:
        float32 `[filters, height, width, channels]`.

    Raises:
        ValueError: The model has no convolution.

    Example:

    >>> first_filters(keras.Sequential([keras.Input((8, 12, 3)), keras.layers.Conv2D(4, (3, 5))])).shape
    (4, 3, 5, 3)
    """
    layers = _convolutions(model)
    if not layers:
        raise ValueError(f"{model.name} has no Conv2D layer, whose filters could be shown")
    return np.moveaxis(np.asarray(layers[0].kernel, np.float32), -1, 0)


def as_grid(tiles: np.ndarray, *, columns: int | None = None, gap: int = 1, scale: int = 1) -> np.ndarray:
    """Lays pictures of one size beside each other, with white lines between them.

    Args:
        tiles: Pictures `[n, h, w]` or `[n, h, w, 3]`. uint8 pictures are shown as they are; in others, the smallest
            value of each picture becomes black and the largest white. The maps of one image are such pictures after
            `np.moveaxis(maps, -1, 0)`.
        columns: Number of pictures in a row. By default the grid is about as wide as it is high.
        gap: Width of the lines in pixels. Defaults to 1.
        scale: How many times each pixel is repeated in both directions. Defaults to 1.

    Returns:
        uint8 `[height, width]` or `[height, width, 3]`.

    Raises:
        ValueError: There are no pictures, they have another shape, or an option is out of range.

    Example:

    >>> as_grid(np.array([[[0.0, 5.0]], [[1.0, 1.0]]]), columns=2).tolist()
    [[0, 255, 255, 0, 0]]
    """
    tiles = np.asarray(tiles)
    if tiles.ndim not in (3, 4) or (tiles.ndim == 4 and tiles.shape[-1] != 3) or not tiles.size:
        raise ValueError(
            f"expected pictures [n, h, w] or [n, h, w, 3], got {tiles.shape}: of the maps [h, w, c] of one image, give "
            "np.moveaxis(maps, -1, 0)"
        )
    columns = columns or math.ceil(math.sqrt(len(tiles) * tiles.shape[1] / tiles.shape[2]))
    if columns < 1 or gap < 0 or scale < 1:
        raise ValueError(f"expected columns >= 1, gap >= 0 and scale >= 1, got {columns}, {gap} and {scale}")
    columns = min(columns, len(tiles))
    if tiles.dtype != np.uint8:
        axes = tuple(range(1, tiles.ndim))
        low, high = tiles.min(axis=axes, keepdims=True), tiles.max(axis=axes, keepdims=True)
        tiles = np.rint(255 * (tiles - low) / np.where(high > low, high - low, 1)).astype(np.uint8)
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = tiles.shape[1:3]
    rows = -(-len(tiles) // columns)
    picture = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, *tiles.shape[3:]), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        picture[top : top + height, left : left + width] = tile
    return picture


def _convolutions(model: keras.Model) -> list[keras.layers.Conv2D]:
    layers = with_layers(model).layers
    return [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]


def _no_target(outputs: object) -> object:
    return outputs
