"""What counts as a photo, or as several, and reading them ahead of the model."""

import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import numpy as np
from PIL import Image, ImageOps

from pipelines.prepare.photos import FORMATS, decode
from pipelines.sources.image_files import IMAGE_SUFFIXES, files_below, is_image, listed

__all__ = [
    "Photo",
    "Photos",
    "named_photos",
    "names_in_common",
    "other_files_in",
    "photos_in",
    "pixels_of",
    "read_ahead",
]

# A path, an encoded file or an open one, an image of Pillow, or an RGB array [h, w, 3]; a tensor is an array.
Photo = str | Path | bytes | BinaryIO | Image.Image | np.ndarray
# A list, a generator or any other iterable of photos, or an array [n, h, w, 3].
Photos = Sequence[Photo] | Iterable[Photo] | np.ndarray

READERS = 4  # Threads that read, decode and prepare photos while the engine works.

Read = TypeVar("Read")


def pixels_of(photo: Photo, *, max_pixels: int | None = None) -> np.ndarray:
    """Returns the pixels of a photo, whatever it comes as.

    Args:
        photo: A path, an encoded file or an open one, an image of Pillow, or an array or a tensor `[h, w, 3]`.
        max_pixels: Files of more pixels are refused before they are unpacked.

    Returns:
        The upright photo, `[h, w, 3]`: uint8 of a file, and the array itself otherwise.

    Raises:
        OSError, ValueError: It cannot be read.

    >>> pixels_of(np.zeros((4, 5, 3), np.uint8)).shape
    (4, 5, 3)
    """
    if isinstance(photo, Image.Image):
        return _pixels_of_pillow(photo)
    if not isinstance(photo, np.ndarray) and _is_array(photo):
        photo = np.asarray(photo)
    if isinstance(photo, np.ndarray):
        if photo.ndim != 3 or photo.shape[-1] != 3 or 0 in photo.shape:
            raise ValueError(f"is no RGB image: expected an array of [height, width, 3], got {photo.shape}")
        if photo.dtype.kind not in "buif":
            raise ValueError(f"is no RGB image: expected numbers in 0..255, got values of the type {photo.dtype}")
        if not np.isfinite(photo).all():
            raise ValueError("holds values that are not finite numbers (NaN or infinite); expected 0..255")
        return photo
    return decode(_contents(photo), max_pixels=max_pixels, formats=(*FORMATS, "TIFF"))


def _contents(photo: object) -> bytes:
    """Returns the bytes of a file, which is there as such, by its path, or opened."""
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str | Path):
        return Path(photo).read_bytes()
    if not _is_open_file(photo):
        raise TypeError(f"expected a path, a file, an image or an array for each photo, got {type(photo).__name__}")
    contents = cast(BinaryIO, photo).read()
    if not isinstance(contents, bytes):
        raise ValueError("was opened as text; open it with mode 'rb'")
    return contents


def _is_array(photo: object) -> bool:
    return hasattr(photo, "__array__") and hasattr(photo, "shape")


def _is_open_file(photo: object) -> bool:
    return callable(getattr(photo, "read", None)) and not isinstance(photo, str | Path | bytes)


def _pixels_of_pillow(image: Image.Image) -> np.ndarray:
    """Returns the upright pixels of an image of Pillow; transparency and 16 bits become what they become of a file."""
    image = ImageOps.exif_transpose(image)
    if image.mode not in ("LA", "PA", "P", "RGBA", "I;16", "I"):
        return np.array(image.convert("RGB"))
    file = io.BytesIO()
    (image.convert("RGBA") if image.mode == "PA" else image).save(file, "PNG")
    return decode(file.getvalue())


def named_photos(photos: Photo | Photos) -> Iterator[tuple[str, Photo]]:
    """Yields photos with what to call them: a path is its own name, and other photos have their number.

    Args:
        photos: One photo, several of them, or a folder, which stands for the images in it.

    >>> [name for name, _ in named_photos(["a.jpg", b"contents"])]
    ['a.jpg', 'photo 1']
    """
    several: Iterable[Photo]
    if isinstance(photos, str | Path) and Path(photos).is_dir():
        several = photos_in(photos)
    elif isinstance(photos, str | Path | bytes | Image.Image):
        several = [photos]
    elif _is_open_file(photos):
        several = [cast(BinaryIO, photos)]
    elif _is_array(photos):
        array = np.asarray(photos)
        several = [array] if array.ndim != 4 and array.dtype.kind in "buif" else array
    else:
        several = photos
    for index, photo in enumerate(several):
        name = getattr(photo, "name", None) if _is_open_file(photo) else photo
        yield (str(name) if isinstance(name, str | Path) else f"photo {index}"), photo


def photos_in(folder: str | Path) -> list[Path]:
    """Lists the image files in a folder and in the folders inside it, sorted, without hidden and system files.

    Raises:
        ValueError: There are none.
    """
    photos = sorted(Path(path) for path in files_below(Path(folder)) if is_image(path))
    if not photos:
        others = other_files_in(folder)
        found = f"; found {listed(others)}" if others else ""
        raise ValueError(f"{folder} holds no images; expected files that end in {', '.join(IMAGE_SUFFIXES)}{found}")
    return photos


def other_files_in(folder: str | Path) -> tuple[str, ...]:
    """Lists the files in a folder that `photos_in` leaves out because of their names, as seen from the folder."""
    paths = (path for path in files_below(Path(folder)) if not is_image(path))
    return tuple(sorted(Path(path).relative_to(folder).as_posix() for path in paths))


def names_in_common(paths: Sequence[str | Path]) -> list[Path]:
    """Returns files as seen from the deepest folder that holds them all, so that different files keep different names.

    >>> [name.as_posix() for name in names_in_common(["photos/a/x.jpg", "photos/b/x.jpg"])]
    ['a/x.jpg', 'b/x.jpg']
    >>> [name.as_posix() for name in names_in_common(["photos/a/x.jpg"])]
    ['x.jpg']
    """
    whole = [Path(os.path.abspath(path)) for path in paths]
    if not whole:
        return []
    top = os.path.commonpath([path.parent for path in whole])
    return [path.relative_to(top) for path in whole]


def read_ahead(
    named: Iterator[tuple[str, Photo]], batch_size: int, read: Callable[[Photo], Read]
) -> Iterator[list[tuple[str, Read | str]]]:
    """Reads photos in batches, each in threads while the batch before is worked on.

    Args:
        named: Names and photos.
        batch_size: Number of photos in a batch.
        read: Reads a photo, and raises an OSError or a ValueError where that is not possible.

    Yields:
        For each photo its name, and what was read, or why it cannot be read, as text.
    """

    def result(photo: Photo) -> Read | str:
        try:
            return read(photo)
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(READERS) as readers:
        ahead: deque[tuple[list[str], list[Future]]] = deque()
        while True:
            batch = list(islice(named, batch_size))
            if batch:
                ahead.append(([name for name, _ in batch], [readers.submit(result, photo) for _, photo in batch]))
            if not ahead:
                return
            if len(ahead) > 1 or not batch:
                names, reading = ahead.popleft()
                yield list(zip(names, [future.result() for future in reading], strict=True))
