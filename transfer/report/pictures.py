"""Images of a data set inside a page."""

import base64
import io

import matplotlib
import numpy as np
from PIL import Image

__all__ = ["embedded", "fitted", "heat_overlay"]

THUMBNAIL = 256  # Pixels of the longer side of an image that is shown without a drawing.


def fitted(image: np.ndarray, longer: int = THUMBNAIL) -> Image.Image:
    """Returns an image with a longer side of a number of pixels, shrunk or enlarged.

    >>> fitted(np.zeros((10, 20, 3), "uint8"), 40).size
    (40, 20)
    """
    height, width = image.shape[:2]
    scale = longer / max(height, width)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    return Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)


def heat_overlay(image: np.ndarray, heat: np.ndarray, longer: int) -> tuple[Image.Image, Image.Image]:
    """Returns an image, and the same with a map of the evidence in warm colours over it.

    Args:
        image: The image, uint8 `[h, w, 3]`.
        heat: The map, float `[h, w]` in 0..1.
        longer: The longer side in pixels that both get.
    """
    picture = fitted(image, longer)
    grey = Image.fromarray(np.uint8(np.rint(255 * heat))).resize(picture.size, Image.Resampling.BICUBIC)
    strength = np.asarray(grey, "float32")[..., np.newaxis] / 255
    colours = 255 * matplotlib.colormaps["inferno"](strength[..., 0])[..., :3]
    overlay = np.asarray(picture) * (0.75 - 0.35 * strength) + colours * (0.15 + 0.45 * strength)
    return picture, Image.fromarray(np.clip(overlay, 0, 255).astype("uint8"))


def embedded(picture: Image.Image) -> str:
    """Returns an address that holds a picture, as a JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
