"""One mask file: its pixel values, and the classes that they stand for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.prepare.turning import turn_array

__all__ = ["IGNORE", "MaskFile", "is_lossy", "mask_values"]

IGNORE = 255  # the value of pixels that have no class, in Pascal VOC and most other data

# How far lossy compression may move a colour: farther from all colours of the table, a pixel has no class.
_LOSSY_DISTANCE = 64
# How far it may move the channels of a grey pixel apart.
_LOSSY_GREY = 24


@dataclass(frozen=True)
class MaskFile:
    """A mask that is read when it is needed.

    Args:
        path: File of the mask.
        codes: Pixel value of each class: an index, or a colour as `red * 65536 + green * 256 + blue`.
        colored: Whether `codes` are colours.
        orientation: EXIF orientation of the photo, if the mask was drawn on the photo as it is stored. Defaults to 1.
        edges: Values that are known to be no classes, since anti-aliasing left them at edges.
        nearest: Whether a pixel has the class whose value is nearest, since the format of the file is lossy.
        size: Height and width of the photo as the mask shows it, if the mask is smaller or larger by a pixel. Defaults
            to the mask's own.
    """

    path: str
    codes: tuple[int, ...]
    colored: bool = False
    orientation: int = 1
    edges: frozenset[int] = frozenset()
    nearest: bool = False
    size: tuple[int, int] | None = None

    def read(self) -> np.ndarray:
        """Reads the class of each pixel, `uint8 [h, w]`, upright. Values that belong to no class become 255."""
        classes = self.classes(mask_values(self.path, colored=self.colored))
        if self.size is not None and self.size != classes.shape:
            fitted = np.full(self.size, IGNORE, np.uint8)
            height, width = np.minimum(self.size, classes.shape)
            fitted[:height, :width] = classes[:height, :width]
            classes = fitted
        return np.ascontiguousarray(turn_array(classes, self.orientation))

    def classes(self, values: np.ndarray) -> np.ndarray:
        """Returns the classes that pixel values stand for, `uint8` of the same shape; 255 for none."""
        if self.codes == tuple(range(len(self.codes))) and not self.colored and not self.nearest:
            return np.where(values < len(self.codes), values, IGNORE).astype(np.uint8)
        different, place = np.unique(values, return_inverse=True)
        levels, codes = (_levels(numbers, colored=self.colored) for numbers in (different, np.array(self.codes)))
        distances = np.sqrt(((levels[:, None] - codes) ** 2).sum(axis=2))
        farthest = 0.0 if not self.nearest else _LOSSY_DISTANCE if self.colored else np.inf
        found = np.where(distances.min(axis=1) <= farthest, distances.argmin(axis=1), IGNORE)
        return found.astype(np.uint8)[place].reshape(values.shape)

    def counts(self) -> dict[int, int]:
        """Returns how many pixels have each value."""
        values, counts = np.unique(mask_values(self.path, colored=self.colored), return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))

    def unknown(self, counts: dict[int, int] | None = None) -> dict[int, int]:
        """Returns the values that belong to no class, and how many pixels have each, without 255 and edges.

        Args:
            counts: What `counts()` returns, if it is known. By default the file is read.
        """
        counts = self.counts() if counts is None else counts
        values = np.array(list(counts), np.int64)
        has_none = (self.classes(values) == IGNORE).tolist() if len(values) else []
        known = {*self.edges, *self.codes} | (set() if self.colored else {IGNORE})
        return {v: n for (v, n), none in zip(counts.items(), has_none, strict=True) if none and v not in known}


def mask_values(path: str | Path, *, colored: bool) -> np.ndarray:
    """Reads indices or colour codes, `int32 [h, w]`.

    Raises:
        ValueError: The mask is coloured, and indices are expected.
    """
    with Image.open(path) as image:
        if colored:
            pixels = np.asarray(image.convert("RGB"), np.int32)
            return pixels @ np.array([65536, 256, 1], np.int32)
        # Programs that write GIF number the colours as they come, so that their numbers are no classes.
        is_gif = image.format == "GIF" and image.mode == "P"
        if image.mode in ("RGB", "RGBA") or is_gif:
            pixels = np.asarray(image.convert("RGB") if is_gif else image)[..., :3].astype(np.int32)
            spread = pixels.max(axis=2) - pixels.min(axis=2)
            if spread.max(initial=0) <= (_LOSSY_GREY if is_lossy(path) else 0):
                return pixels[..., 1]
            raise ValueError(
                "it is colour-coded: pass the colour of each class, colors={'sky': (0, 0, 255), ...}, or put a table "
                f"of names and colours (class_dict.csv) into the folder of the data; its colours are {_listed(pixels)}"
            )
        if image.mode == "LA":
            return np.asarray(image.getchannel("L")).astype(np.int32)
        if image.mode == "CMYK":
            raise ValueError("expected a mask of one channel, or of red, green and blue; received CMYK")
        return np.asarray(image).astype(np.int32)


def is_lossy(path: str | Path) -> bool:
    """Returns whether the format of a file changes pixel values, by its name."""
    return str(path).lower().endswith((".jpg", ".jpeg", ".jpe", ".jfif"))


def _levels(codes: np.ndarray, *, colored: bool) -> np.ndarray:
    """Returns values or colour codes as numbers whose distances count, float32 `[k, c]`."""
    channels = [codes >> 16, codes >> 8 & 255, codes & 255] if colored else [codes]
    return np.stack(channels, axis=-1).astype(np.float32)


def _listed(pixels: np.ndarray) -> str:
    """Returns the most frequent colours and their numbers of pixels, in words."""
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = ", ".join(f"{tuple(colours[i].tolist())} ({counts[i]} pixels)" for i in order[:8].tolist())
    return shown + (f" and {len(order) - 8} more" if len(order) > 8 else "")
