"""Names of files that are written beside others, as long as file systems take them."""

import hashlib
import os

__all__ = ["file_name"]

LONGEST_NAME = 255  # bytes, in nearly all file systems


def file_name(name: str, suffix: str) -> str:
    """Returns a file's name with one more suffix, shortened where file systems would refuse it.

    A name that is cut gets a few digits that tell it apart from other names that begin alike.

    >>> file_name("1.jpg", ".png")
    '1.jpg.png'
    >>> len(file_name(300 * "x", ".png"))
    255
    """
    if len(os.fsencode(name + suffix)) <= LONGEST_NAME:
        return name + suffix
    end = f"~{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}{suffix}"
    kept = os.fsencode(name)[: LONGEST_NAME - len(os.fsencode(end))]
    return kept.decode(errors="ignore") + end
