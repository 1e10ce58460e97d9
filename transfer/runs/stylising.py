"""A photo in the style of a picture: what `zoo stylize` does."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from PIL import Image

import zoo
from pipelines.outputs.durable import new_file
from transfer.models.backbones import backbone
from transfer.predict.photos import pixels_of
from zoo.generative import StyleLoss, Stylized, stylize

__all__ = ["style_trunk", "stylize_photo"]


def style_trunk(name: str, size: tuple[int, int]) -> keras.Model:
    """Returns a pretrained trunk for photos of a size; a zoo model takes pictures of any size.

    Args:
        name: The name of a backbone; see `transfer.backbone`.
        size: Height and width of the photo, in pixels.

    Raises:
        ValueError: The name is unknown.
        FileNotFoundError: The weights cannot be had; the message says how to get them.
    """
    if name in zoo.list_models():
        return zoo.create_model(name, include_top=False, weights="imagenet", input_shape=(None, None, 3))
    return backbone(name, image_size=size).model


def stylize_photo(
    photo: str | Path,
    style: str | Path,
    out: str | Path,
    *,
    name: str = "efficientnet_lite0",
    size: int = 256,
    steps: int = 150,
    optimizer: str = "l-bfgs",
    content_weight: float = 0.02,
    progress: Callable[[int, float], None] | None = None,
) -> Stylized:
    """Writes an image with the content of a photo and the style of a picture.

    Args:
        photo: The photo.
        style: The picture of the style.
        out: The file of the image; its ending says the format.
        name: The trained network that compares them; see `transfer.backbone`. Defaults to "efficientnet_lite0".
        size: Longer side of the image in pixels, and the longest that the picture is looked at. Defaults to 256.
        steps: Maximum number of steps. Defaults to 150.
        optimizer: "l-bfgs" or "adam".
        content_weight: Weight of the content against the style, which has 1. Defaults to 0.02.
        progress: A function that is told the number of each step and the loss after it.

    Returns:
        The image and the losses.

    Raises:
        FileNotFoundError: There is no such photo, or the weights cannot be had.
        ValueError: A photo cannot be read or is too small, or an option is out of range.
    """
    if size < 32:
        raise ValueError(f"expected a longer side of 32 pixels or more, got size={size}")
    if Path(out).suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"expected a file that ends in .png, .jpg or another format of images, got {out}")
    content, picture = _resized(pixels_of(photo), size), pixels_of(style)
    if max(picture.shape[:2]) > size:
        picture = _resized(picture, size)
    trunk = style_trunk(name, content.shape[:2])
    loss = StyleLoss(trunk, picture, content_weight=content_weight)
    result = stylize(trunk, content, picture, steps=steps, optimizer=optimizer, loss=loss, progress=progress)
    with new_file(Path(out)) as new:
        Image.fromarray(result.image).save(new)
    return result


def _resized(pixels: np.ndarray, longer: int) -> np.ndarray:
    """Returns an image with a longer side of a number of pixels."""
    height, width = pixels.shape[:2]
    scale = longer / max(height, width)
    picture = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
