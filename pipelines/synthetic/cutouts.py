"""Objects without their surroundings, cut out of labelled images or of scenes with outlines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pipelines.annotations.outlines import instance_masks
from pipelines.data import Samples, Scene
from pipelines.prepare.pillow_decoding import open_upright

__all__ = ["OPAQUE", "Cutouts", "cut_out", "cut_out_scenes", "tight_box"]

ALPHAS = ("own", "brightness", "silhouette")

# A pixel whose opacity is at least this belongs to the object. A pixel with less opacity is only tinted by it.
OPAQUE = 128


@dataclass(frozen=True, eq=False)
class Cutouts:
    """Objects without their surroundings, cut to their opaque pixels.

    Args:
        images: One image `uint8 [h, w, 4]` for each object: RGB and opacity.
        labels: Class indices `int32 [n]`.
        class_names: Names of the classes.

    Raises:
        ValueError: There are no objects, an image is of another kind, or an object has no opaque pixel.

    Example:

    >>> image = np.zeros([6, 8, 4], np.uint8)
    >>> image[2:4, 1:6] = 255
    >>> Cutouts([image], [0], ["bar"]).images[0].shape
    (2, 5, 4)
    """

    images: Sequence[np.ndarray]
    labels: Any
    class_names: Sequence[str]

    def __post_init__(self) -> None:
        labels = np.array(self.labels, np.int32).reshape(-1)
        if not len(self.images) or len(self.images) != len(labels):
            raise ValueError(
                "Cutouts: expected at least one object, and one label for each; received "
                f"{len(self.images)} objects and {len(labels)} labels"
            )
        trimmed = []
        for number, image in enumerate(self.images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 4:
                raise ValueError(
                    f"Cutouts: expected images uint8 [h, w, 4]; image {number} is {image.dtype} {list(image.shape)}"
                )
            box = tight_box(image[..., 3] >= OPAQUE)
            if box is None:
                raise ValueError(
                    f"Cutouts: object {number} has no pixel with an opacity of {OPAQUE} or more. Leave it out"
                )
            x1, y1, x2, y2 = box
            trimmed.append(image[y1:y2, x1:x2])
        object.__setattr__(self, "images", tuple(trimmed))
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __len__(self) -> int:
        return len(self.images)


def cut_out(samples: Samples, class_names: Sequence[str], *, alpha: str | None = None) -> Cutouts:
    """Cuts the object out of each labelled image.

    Args:
        samples: Images of one object each: files or their contents (such as PNGs with transparency in class folders),
            or pixels (such as digits on black).
        class_names: Names of the classes.
        alpha: How the opacity of a pixel is found. "own" takes the image's own transparency. "brightness" takes the
            brightness, for writing on black. "silhouette" takes everything that is brighter than 16 of 255, and
            everything that this encloses, for photos on black. Defaults to "own" for files and their contents, and to
            "brightness" for pixels.

    Returns:
        The objects, cut to their opaque pixels. Images without an opaque pixel are left out.

    Raises:
        ValueError: An image has no transparency of its own, no image has an opaque pixel, or `alpha` is unknown.

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
    """Cuts out every object that has an outline, or pixels in `Scene.instances`. Crowds are left out.

    Args:
        scenes: Scenes, such as those of `pipelines.read_scenes(folder).train`.
        class_names: Names of the classes.

    Raises:
        ValueError: No object has an outline or pixels.

    Example:

    >>> outline = (np.array([[1.0, 1.0], [5.0, 1.0], [5.0, 4.0], [1.0, 4.0]]),)
    >>> scene = Scene(np.zeros([6, 8, 3], np.uint8), "a", (6, 8), [[1, 1, 5, 4]], [0], outlines=[outline])
    >>> cut_out_scenes([scene], ["box"]).images[0].shape
    (3, 4, 4)
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


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Returns the smallest box (xyxy) around the true pixels of `mask` `bool [h, w]`, or None if there are none.

    >>> tight_box(np.array([[False, False, False], [False, True, True]]))
    (1, 1, 3, 2)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _rgba(image: Any, name: str, alpha: str) -> np.ndarray:
    """Returns an image as `uint8 [h, w, 4]`, with the opacity that `alpha` finds."""
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else open_upright(image)
    if alpha == "own":
        if not picture.has_transparency_data:
            raise ValueError(
                f'{name}: has no transparency. Expected PNGs with transparency, or alpha="brightness" or '
                'alpha="silhouette" for objects on black'
            )
        return np.asarray(picture.convert("RGBA"))
    pixels = np.asarray(picture.convert("RGB"))
    brightness = pixels.max(axis=-1)
    if alpha == "silhouette":
        from scipy.ndimage import binary_fill_holes

        return np.dstack([pixels, binary_fill_holes(brightness > 16) * np.uint8(255)])
    # A pixel that is half as bright becomes half opaque, and gets its full colour in return.
    full = np.round(pixels * (255.0 / np.maximum(brightness, 1)[..., None])).astype(np.uint8)
    return np.dstack([full, brightness])
