"""A bound on the memory of all photos and requests that are worked on at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["BATCH_PIXELS", "PIXEL", "PIXELS_AT_ONCE", "MemoryBound"]

# How many bytes of memory one pixel of a photo takes at most, while it is decoded, laid over white and resized.
PIXEL = 64
# How many pixels all threads together unpack at a time, where nobody says otherwise; a larger photo is unpacked alone.
PIXELS_AT_ONCE = 50_000_000
# How many pixels of prepared images a network is given at a time: of larger images, there are fewer in a batch.
BATCH_PIXELS = 32 * 320 * 320


class MemoryBound:
    """Lets threads work as long as what they declare to need fits into a limit; others wait until there is room.

    Args:
        limit: Number of bytes, or of whatever is counted. Work that declares more than this is done by itself.

    >>> bound = MemoryBound(100)
    >>> with bound(60):
    ...     bound.held
    60
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._changed = threading.Condition()
        self.held = 0

    @contextmanager
    def __call__(self, amount: int) -> Iterator[None]:
        """Waits until there is room for an amount, and holds it until the block ends."""
        with self._changed:
            self._changed.wait_for(lambda: not self.held or self.held + amount <= self._limit)
            self.held += amount
        try:
            yield
        finally:
            with self._changed:
                self.held -= amount
                self._changed.notify_all()
