"""Objects without their surroundings."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from pipelines.annotations.outlines import instance_masks
from pipelines.data import Samples, Scene

__all__ = ["OPAQUE", "Cutouts", "cut_out", "cut_out_scenes", "open_upright", "tight_box"]

ALPHAS = ("own", "brightness", "silhouette")

# A pixel is the object's where its opacity is at least this, and else only tinted by it.
OPAQUE = 128


@dataclass(frozen=True, eq=False)
class Cutouts:
    """Objects without their surroundings.

    Args:
        images: `uint8 [h, w, 4]` each, RGB and opacity.
        labels: `int32 [n]`, class indices.
        class_names: of the classes.

    Raises:
        ValueError: no objects, images of another kind, or objects without an opaque pixel.
    """

    images: Sequence[np.ndarray]
    labels: Any
    class_names: Sequence[str]

    def __post_init__(self) -> None:
        labels = np.array(self.labels, np.int32).reshape(-1)
        if not len(self.images) or len(self.images) != len(labels):
            raise ValueError(
                f"Cutouts: expected objects and a label for each, received {len(self.images)} and {len(labels)}"
            )
        trimmed = []
        for number, image in enumerate(self.images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 4:
                raise ValueError(
                    f"Cutouts: expected uint8 [h, w, 4], received {image.dtype} {list(image.shape)} at {number}"
                )
            box = tight_box(image[..., 3] >= OPAQUE)
            if box is None:
                raise ValueError(f"Cutouts: object {number} has no pixel of an opacity of {OPAQUE} or more")
            x1, y1, x2, y2 = box
            trimmed.append(image[y1:y2, x1:x2])
        object.__setattr__(self, "images", tuple(trimmed))
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __len__(self) -> int:
        return len(self.images)


def cut_out(samples: Samples, class_names: Sequence[str], *, alpha: str | None = None) -> Cutouts:
    """Cut the object out of each labelled image.

    Args:
        samples: one object an image: files or contents (say PNGs with transparency in class folders), or pixels (say
            digits on black).
        class_names: of the labels.
        alpha: what is opaque. "own", the image's own transparency; "brightness", the brighter the more opaque, for
            writing on black; "silhouette", everything brighter than 16 of 255 and what that encloses, for photos on
            black. `None` takes "own" for files and contents, "brightness" for pixels.

    Returns:
        The objects, trimmed to their opaque pixels. Images with nothing opaque are left out.

    Raises:
        ValueError: images without transparency of their own, or nothing opaque in any.

    Example:

    >>> from pipelines import read_data
    >>> digits = read_data("sklearn:digits")
    >>> cutouts = cut_out(digits.train[:5], digits.class_names)
    >>> len(cutouts), cutouts.images[0].shape[-1]
    (5, 4)
    """
    alpha = alpha or ("brightness" if samples.decoded else "own")
    if alpha not in ALPHAS:
        raise ValueError(f"cut_out: expected `alpha` as one of {', '.join(ALPHAS)}; received {alpha!r}")
    images, labels = [], []
    for image, label, name in zip(samples.images, samples.labels.tolist(), samples.names, strict=True):
        pixels = _rgba(image, name, alpha)
        if (pixels[..., 3] >= OPAQUE).any():
            images.append(pixels)
            labels.append(label)
    return Cutouts(images, labels, class_names)


def cut_out_scenes(scenes: Sequence[Scene], class_names: Sequence[str]) -> Cutouts:
    """Cut out every object that has an outline, or a place in `Scene.instances`; crowds are left out.

    Raises:
        ValueError: no object has one.
    """
    images, labels = [], []
    for scene in scenes:
        chosen = [
            index
            for index in range(len(scene))
            if not scene.crowd[index] and (scene.instances is not None or (scene.outlines or ())[index] is not None)
        ]
        if not chosen:
            continue
        pixels = scene.image if isinstance(scene.image, np.ndarray) else open_upright(scene.image).convert("RGB")
        masks = instance_masks(scene)
        for index in chosen:
            if masks[index].any():
                images.append(np.dstack([np.asarray(pixels), masks[index] * np.uint8(255)]))
                labels.append(int(scene.classes[index]))
    return Cutouts(images, labels, class_names)


def open_upright(image: str | bytes) -> Image.Image:
    """An upright image."""
    return ImageOps.exif_transpose(Image.open(BytesIO(image) if isinstance(image, bytes) else image))


def _rgba(image: Any, name: str, alpha: str) -> np.ndarray:
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else open_upright(image)
    if alpha == "own":
        if not (picture.has_transparency_data):
            raise ValueError(
                f'{name}: has no transparency. Expected PNGs with transparency, or alpha="brightness" or '
                '"silhouette" for objects on black'
            )
        return np.asarray(picture.convert("RGBA"))
    pixels = np.asarray(picture.convert("RGB"))
    brightness = pixels.max(axis=-1)
    if alpha == "silhouette":
        from scipy.ndimage import binary_fill_holes

        return np.dstack([pixels, binary_fill_holes(brightness > 16) * np.uint8(255)])
    # What is half as bright is half as opaque, and then has its full colour.
    full = np.round(pixels * (255.0 / np.maximum(brightness, 1)[..., None])).astype(np.uint8)
    return np.dstack([full, brightness])


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """The smallest box around what is true in `mask`, xyxy; `None` if nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
