"""The heads of image files: what they say about size, format, colours and orientation."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.contents import digest
from pipelines.data import Samples
from pipelines.prepare.orientation_tags import stored_layout
from pipelines.prepare.pillow_decoding import MAX_PIXELS
from pipelines.prepare.turning import turned_size

__all__ = ["Head", "image_statistics", "read_heads"]


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of an image file says, with the size and the hash of the file.

    Attributes:
        size: Height and width of the upright image in pixels, or (0, 0) if they are unknown.
        format: Pillow's name of the format, such as "JPEG"; "array" for pixels, and "" if it is unknown.
        mode: Pillow's name of the kind of colours: "RGB", "L", "CMYK", "P", "RGBA", "I;16" and so on.
        orientation: The EXIF orientation, 1 to 8.
        frames: Number of frames: 1, or 2 for two or more.
        num_bytes: Size of the file in bytes.
        digest: Hash of the contents.
        error: The reason why the file is not an image, or "" if it seems to be one.
    """

    size: tuple[int, int] = (0, 0)
    format: str = ""
    mode: str = ""
    orientation: int = 1
    frames: int = 1
    num_bytes: int = 0
    digest: bytes = b""
    error: str = ""


def read_heads(samples: Samples, *, progress: Callable[[int, int], None] | None = None) -> list[Head]:
    """Reads every file once: its head, and all of its bytes for a hash. No image is decoded.

    Args:
        samples: `n` images of any kind.
        progress: Function that is called now and then with the number of images that are done and of all images.

    Returns:
        `n` heads. The head of a file that cannot be read, or that is not an image, has an `error`.

    Example:

    >>> head = read_heads(Samples([b"hello"], [0], ["a"]))[0]
    >>> head.error, head.num_bytes
    ("not an image: begins with b'hello'", 5)
    """
    heads: list[Head] = []
    with ThreadPoolExecutor(4) as pool:
        for head in pool.map(_head, samples.images, chunksize=64):
            heads.append(head)
            if progress is not None and (len(heads) % 1000 == 0 or len(heads) == len(samples)):
                progress(len(heads), len(samples))
    return heads


def _head(image: Any) -> Head:
    if isinstance(image, np.ndarray):
        return Head(image.shape[:2], "array", "RGB", num_bytes=image.nbytes, digest=digest(image))
    if isinstance(image, str):
        try:
            image = Path(image).read_bytes()
        except OSError as error:
            return Head(error=f"cannot be opened: {(error.strerror or str(error)).lower()}")
    if not image:
        return Head(error="an empty file (0 bytes)")
    unknown = Head(num_bytes=len(image), digest=digest(image))
    try:
        picture = Image.open(BytesIO(image))
        size, tag = stored_layout(picture, image)
    except Image.UnidentifiedImageError:
        return replace(unknown, error=f"not an image: begins with {image[:16]!r}")
    except Exception as error:  # Pillow's readers raise whatever their format's code does
        return replace(unknown, error=f"damaged: {error}")
    height, width = size
    return replace(
        unknown,
        size=turned_size(size, tag),
        format=picture.format or "",
        mode=picture.mode,
        orientation=tag,
        frames=1 + bool(getattr(picture, "is_animated", False) and picture.format != "MPO"),
        error=f"too large: {width} x {height} pixels" if width * height > MAX_PIXELS else "",
    )


def image_statistics(heads: Sequence[Head]) -> dict[str, Any]:
    """Returns numbers about all images that can be read, as `Audit.statistics` describes them."""
    known = [head for head in heads if not head.error]
    columns: dict[str, list[float]] = {
        "height": [head.size[0] for head in known],
        "width": [head.size[1] for head in known],
        "aspect_ratio": [head.size[1] / head.size[0] for head in known],
        "bytes": [head.num_bytes for head in known],
    }
    quantiles = {
        name: dict(zip(("min", "5%", "median", "95%", "max"), _rounded(values), strict=True))
        for name, values in columns.items()
        if values
    }
    return {
        "formats": dict(Counter(head.format for head in known).most_common()),
        "modes": dict(Counter(head.mode for head in known).most_common()),
        "orientations": {str(tag): count for tag, count in sorted(Counter(head.orientation for head in known).items())},
        **quantiles,
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), 3) for value in np.quantile(values, [0, 0.05, 0.5, 0.95, 1])]
