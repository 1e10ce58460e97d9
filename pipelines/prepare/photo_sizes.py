"""The size that a photo states in the head of its file, before anything of it is unpacked."""

import io
import warnings

from PIL import Image

from pipelines.prepare.photos import FORMATS

__all__ = ["declared_size"]


def declared_size(contents: bytes) -> tuple[int, int]:
    """Returns the height and width that the head of an image file states; zeros where the file is none.

    Args:
        contents: Contents of the whole file.

    Example:

    >>> file = io.BytesIO()
    >>> Image.new("RGB", (5, 4), "red").save(file, "PNG")
    >>> declared_size(file.getvalue())
    (4, 5)
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about large images and odd metadata
            with Image.open(io.BytesIO(contents), formats=[*(name.upper() for name in FORMATS), "TIFF"]) as image:
                return image.height, image.width
    except Exception:  # Pillow's decoders raise whatever their format's code does; decoding says what is wrong.
        return 0, 0
