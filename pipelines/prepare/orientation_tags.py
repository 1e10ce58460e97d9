"""The EXIF orientation of image files, read from their blocks without TensorFlow.

This is the definition of orientation for every decoder, and `pipelines.loading.exif` is the same in a graph. A test
holds both equal on files of every kind.

- Only EXIF counts: a `APP1` segment of a JPEG before the pixels, an `eXIf` chunk of a PNG, and an `EXIF` chunk of a
  WebP; the first one of them. An orientation in XMP or in a text chunk does not count: browsers and annotation tools
  show such photos as they are stored.
- The first entry 274 of the first directory decides. It counts if it is one integer from 1 to 8, of one, two or four
  bytes.
- Whatever is damaged counts as upright. The picture is not lost for it.
"""

from collections.abc import Callable
from io import BytesIO
from typing import BinaryIO, Literal

from PIL import Image

from pipelines.prepare.turning import turned_size

__all__ = ["INTEGER_BYTES", "MOST_BLOCKS", "ORIENTATION", "read_tag", "stored_layout"]

ORIENTATION = 274  # the number of the entry

# Number of bytes of an EXIF value, by the number of its type, for the types that are integers: 1 BYTE, 3 SHORT,
# 4 LONG, 6 SBYTE, 8 SSHORT, 9 SLONG. EXIF 2.32, 4.6.2.
INTEGER_BYTES = (0, 1, 0, 2, 4, 0, 1, 0, 2, 4)

# So many blocks of a file are looked at. The bound stops files that consist of empty blocks and were made to keep a
# server busy. Cameras write a few dozen.
MOST_BLOCKS = 2000

# From a file and the position of a block: the position of the EXIF in it (or 0), and that of the next block (or None).
_Look = Callable[[BinaryIO, int], tuple[int, int | None]]


def read_tag(file: BinaryIO | bytes) -> int:
    """Reads the EXIF orientation of a JPEG, PNG or WebP file.

    Args:
        file: The file, opened for reading bytes, or its contents.

    Returns:
        1 to 8. Files of other formats, without an orientation, or with damaged metadata have 1 (upright).

    Example:

    >>> entry = bytes.fromhex("0112 0003 00000001 0006 0000")
    >>> exif = b"Exif\\0\\0" + bytes.fromhex("4d4d002a 00000008 0001") + entry
    >>> read_tag(b"\\xff\\xd8\\xff\\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif)
    6
    """
    file = BytesIO(file) if isinstance(file, bytes) else file
    at, look = _CONTAINERS.get(_piece(file, 0, 2), (0, _no_block))
    for _ in range(MOST_BLOCKS):
        found, following = look(file, at)
        if found:
            return _tag_at(file, found)
        if following is None:
            break
        at = following
    return 1


def stored_layout(picture: Image.Image, file: BinaryIO | bytes) -> tuple[tuple[int, int], int]:
    """Returns the height and width of an image as it is stored, and its EXIF orientation.

    Of other formats than JPEG, PNG and WebP, such as TIFF and AVIF, Pillow reads the EXIF.

    Args:
        picture: What Pillow opened, and has not loaded yet.
        file: The file that Pillow opened it from, or its contents.
    """
    size = picture.height, picture.width
    head = file[:2] if isinstance(file, bytes) else _piece(file, 0, 2)
    if head in _CONTAINERS:
        return size, read_tag(file)
    picture.info.pop("xmp", None)  # or Pillow would look there, too
    tag = _valid(picture.getexif().get(ORIENTATION))
    return (turned_size(size, tag) if picture.format == "TIFF" else size), tag  # Pillow gives a TIFF's upright size


def _valid(tag: object) -> int:
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1


def _piece(file: BinaryIO, start: int, count: int) -> bytes:
    """Returns `count` bytes from the position `start` on, with zeros after the end of the file."""
    file.seek(start)
    return file.read(count).ljust(count, b"\0")


def _tag_at(file: BinaryIO, start: int) -> int:
    """Reads the orientation in the TIFF structure at `start`: a byte order, then a directory of 12-byte entries.

    Bytes 0 and 1 of an entry are its tag, 2 and 3 its type, 4 to 7 the number of its values; 8 to 11 hold the value.
    """
    if _piece(file, start, 4) == b"Exif":  # some programs write the introduction of a JPEG's EXIF in other files, too
        start += 6
    head = _piece(file, start, 8)
    if head[:4] not in (b"II*\0", b"MM\0*"):  # as in Intel, and as in Motorola
        return 1
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    directory = start + int.from_bytes(head[4:8], order)
    count = int.from_bytes(_piece(file, directory, 2), order)
    entries = _piece(file, directory + 2, 12 * count)
    for at in range(0, len(entries), 12):
        entry = entries[at : at + 12]
        if int.from_bytes(entry[:2], order) == ORIENTATION:
            kind = int.from_bytes(entry[2:4], order)
            width = INTEGER_BYTES[kind] if kind < len(INTEGER_BYTES) else 0
            one = int.from_bytes(entry[4:8], order) == 1
            return _valid(int.from_bytes(entry[8 : 8 + width], order)) if one else 1
    return 1


def _in_jpeg(file: BinaryIO, at: int) -> tuple[int, int | None]:
    block = _piece(file, at, 10)
    if block[:2] == b"\xff\xe1" and block[4:9] == b"Exif\0":
        return at + 10, None
    if block[0] != 0xFF or block[1] == 0xDA:  # start of scan
        return 0, None
    return 0, at + 1 if block[1] == 0xFF else at + 2 + int.from_bytes(block[2:4])


def _in_png(file: BinaryIO, at: int) -> tuple[int, int | None]:
    block = _piece(file, at, 8)
    if block[4:] == b"eXIf":
        return at + 8, None
    # The chunk may come after the pixels.
    return 0, None if block[4:] in (b"IEND", bytes(4)) else at + 12 + int.from_bytes(block[:4])


def _in_webp(file: BinaryIO, at: int) -> tuple[int, int | None]:
    block = _piece(file, at, 8)
    if block[:4] == b"EXIF":
        return at + 8, None
    length = int.from_bytes(block[4:], "little")
    return 0, None if block[:4] == bytes(4) else at + 8 + length + length % 2


def _no_block(file: BinaryIO, at: int) -> tuple[int, int | None]:
    return 0, None


# By the first bytes of a file: the position of the first block, and how to look at one.
_CONTAINERS: dict[bytes, tuple[int, _Look]] = {
    b"\xff\xd8": (2, _in_jpeg),
    b"\x89P": (8, _in_png),
    b"RI": (12, _in_webp),
}
