"""Libraries that keep quiet: what they say on stderr, past Python, is for their developers."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet", "without_chatter"]


@contextmanager
def without_chatter() -> Iterator[None]:
    """Keeps away what C++ libraries write to stderr. Their errors arrive as exceptions."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences converters, which also log through Python. Their errors arrive as exceptions."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        with without_chatter():
            yield
    finally:
        logging.getLogger().setLevel(level)
