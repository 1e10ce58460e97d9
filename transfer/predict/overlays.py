"""Maps of the evidence (Grad-CAM) over photos."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.outputs.names import file_name
from transfer.predict.photos import names_in_common, pixels_of
from transfer.predict.predictor import Predictor

__all__ = ["overlay", "write_overlays"]


def overlay(image: np.ndarray, heat: np.ndarray, *, opacity: float = 0.5) -> np.ndarray:
    """Lays a map over a photo, from blue through yellow to red.

    Args:
        image: The photo, uint8 `[h, w, 3]`.
        heat: The map, float `[h, w]` in 0..1.
        opacity: Opacity in 0..1 of the map where it is 1. Where the map is 0, the photo shows unchanged.

    Returns:
        uint8 `[h, w, 3]`.

    Example:

    >>> overlay(np.zeros((1, 2, 3), np.uint8), np.array([[0.0, 1.0]])).tolist()
    [[[0, 0, 0], [128, 0, 0]]]
    """
    stops = np.array([[0, 0, 255], [0, 255, 255], [255, 255, 0], [255, 0, 0]], np.float32)
    places = np.linspace(0, 1, len(stops))
    colours = np.stack([np.interp(heat, places, stops[:, channel]) for channel in range(3)], axis=-1)
    weight = (opacity * heat)[..., None]
    return np.rint(image * (1 - weight) + colours * weight).astype(np.uint8)


def write_overlays(predictor: Predictor, paths: Sequence[str | Path], folder: str | Path) -> Iterator[Path]:
    """Lays the evidence for the best class of each photo over it, and yields each picture that it writes.

    Args:
        predictor: What `transfer.load` returns.
        paths: The photos.
        folder: The folder of the pictures, each as NAME.gradcam.png. Where photos lie in several folders, so do the
            pictures. They have the size of the photos.

    Raises:
        ValueError: As `Predictor.explain` raises it.
    """
    for path, name in zip(paths, names_in_common(paths), strict=True):
        picture = Path(folder) / name.with_name(file_name(name.name, ".gradcam.png"))
        photo = pixels_of(path, max_pixels=predictor.max_pixels)
        heat = predictor.contract.preparation.map_to_photo(predictor.explain(photo), photo.shape[:2])
        pixels = overlay(photo, heat)
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(picture)
        yield picture
