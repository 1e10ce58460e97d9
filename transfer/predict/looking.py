"""What the layers of a model give for a photo, as pictures for pages."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

import zoo.explain as methods
from transfer.predict.predictor import Predictor
from zoo.surgery.feature_maps import levels
from zoo.surgery.flattening import flat

__all__ = ["kernel_table", "layer_pictures"]

CHANNELS = 16  # Number of channels that are shown of a layer.
TILE = 64  # Pixels up to which small maps are enlarged.


def layer_pictures(predictor: Predictor, pixels: np.ndarray, *, channels: int = CHANNELS) -> list[dict[str, str]]:
    """Returns pictures of the first filters, and of the channels with the largest spread of the last map at each level.

    Args:
        predictor: A model with its layers, as `transfer.load(..., engine="keras")` returns it.
        pixels: The photo, `[h, w, 3]` in 0..255.
        channels: Number of channels that are shown of a layer. Defaults to 16.

    Returns:
        For each layer a dict of `name`, `meaning` (a sentence) and `picture` (an address that holds a PNG).

    Raises:
        ValueError: The model has no layers to show.
    """
    if not hasattr(predictor.engine, "model"):
        raise ValueError(
            f"feature maps need the layers, and {predictor.engine.name} has none to show: export keras, too "
            "(--format keras)"
        )
    model: Any = predictor.engine.model
    filters = methods.first_filters(model)
    rows = []
    if filters.shape[-1] == 3:
        size = f"{filters.shape[1]}x{filters.shape[2]}"
        meaning = f"{len(filters)} kernels of {size} pixels, in colour."
        rows.append({"name": "First filters", "meaning": meaning, "picture": _png(methods.as_grid(filters, scale=6))})
    names = list(levels(flat(model)).items())
    images = predictor.prepare(pixels)[None].astype(np.float32)
    maps = methods.feature_maps(model, images, [layer for _, layer in names]) if names else {}
    for level, layer in names:
        own = np.moveaxis(maps[layer][0], -1, 0)
        order = np.argsort(-own.std(axis=(1, 2)), kind="stable")[:channels]
        height, width = own.shape[1:]
        meaning = f"{len(order)} of {len(own)} channels of {height}x{width} pixels."
        picture = methods.as_grid(own[order], scale=max(1, TILE // max(height, width)))
        rows.append({"name": f"{layer} ({level})", "meaning": meaning, "picture": _png(picture)})
    return rows


def kernel_table() -> dict[str, list[list[float]]]:
    """Returns the kernels of the courses by name, as JSON can hold them."""
    return {name: kernel.astype(float).tolist() for name, kernel in methods.KERNELS.items()}


def _png(pixels: np.ndarray) -> str:
    """Returns an address that holds a picture of sharp pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
