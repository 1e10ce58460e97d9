"""JSON documents that may have been damaged, or made by somebody else."""

import json
from pathlib import Path
from typing import Any

__all__ = ["read_document"]


def read_document(path: Path, what: str) -> dict[str, Any]:
    """Reads a JSON document that is an object.

    Args:
        path: The file.
        what: What it is expected to be, for the message.

    Raises:
        ValueError: It is none; the message names the file.
        OSError: It cannot be read.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # Not JSON, not Unicode, too deep, or a number of too many digits.
        raise ValueError(f"{path} is not {what}: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} is not {what}: it holds no names with values")
    return document
