"""Converters that keep quiet."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Silences converters, which speak to their developers, on stderr and past Python.

    Their errors reach people as exceptions.
    """
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        logging.getLogger().setLevel(level)
