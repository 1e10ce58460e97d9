"""The body of a request as it travels: unpacking what a client compressed, and reading base64 as clients write it."""

import base64
import binascii
import zlib

__all__ = ["read_base64", "unpacked"]

_GZIP = 16 + zlib.MAX_WBITS  # with the head of a gzip file


def unpacked(body: bytes, encoding: bytes, limit: int) -> bytes | None:
    """Unpacks a body.

    Args:
        body: What the client sent.
        encoding: The header `Content-Encoding`.
        limit: Largest size of the result, in bytes.

    Returns:
        The unpacked body, or None if it would be larger than the limit.

    Raises:
        LookupError: The encoding is another one than `gzip`.
        ValueError: The body is damaged.

    Example:

    >>> import gzip
    >>> unpacked(gzip.compress(b"{}"), b"gzip", 10), unpacked(gzip.compress(bytes(100)), b"gzip", 10)
    (b'{}', None)
    """
    steps = [step.strip().lower() for step in encoding.split(b",")]
    for step in reversed(steps):
        if step in (b"gzip", b"x-gzip"):
            unzipped = _gunzip(body, limit)
            if unzipped is None:
                return None
            body = unzipped
        elif step not in (b"identity", b""):
            raise LookupError(step.decode("ascii", "replace"))
    return body


def _gunzip(body: bytes, limit: int) -> bytes | None:
    pieces, left = [], limit + 1
    while body:  # A gzip file may have several members.
        member = zlib.decompressobj(_GZIP)
        try:
            pieces.append(member.decompress(body, left))
        except zlib.error as error:
            raise ValueError(str(error)) from error
        left -= len(pieces[-1])
        if left <= 0:
            return None
        if not member.eof:
            raise ValueError("it is cut off")
        body = member.unused_data
    return b"".join(pieces)


def read_base64(text: str) -> bytes:
    """Decodes base64 in the usual alphabet or that for addresses, with or without padding and line breaks.

    Raises:
        ValueError: The text is no base64.

    Example:

    >>> read_base64("_-8=") == read_base64("/+8") == read_base64("/+\\r\\n8=") == bytes([255, 239])
    True
    """
    letters = "".join(text.split()).rstrip("=").translate(_ALPHABET)
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(str(error)) from error


_ALPHABET = str.maketrans("-_", "+/")
