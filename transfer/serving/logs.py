"""A bound on what the server writes into its log, whatever clients do."""

import logging
import time
from collections.abc import Callable

__all__ = ["AtMost", "bound_logs"]

LOGGERS = ("zoo.serve", "uvicorn.error", "asyncio")  # Clients can make each of them write.
PER_MINUTE = 100


class AtMost(logging.Filter):
    """Lets so many records pass in a minute. The first record of the next minute says how many were left out.

    Args:
        per_minute: Maximum number of records.
        clock: A function that returns the time in seconds.
    """

    def __init__(self, per_minute: int = PER_MINUTE, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._most = per_minute
        self._clock = clock
        self._begin = clock()
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether a record is written."""
        if self._clock() - self._begin >= 60:
            left_out = max(0, self._count - self._most)
            self._begin, self._count = self._clock(), 0
            if left_out:
                record.msg = f"({left_out} messages before this one were left out) {record.msg}"
        self._count += 1
        return self._count <= self._most


def bound_logs() -> None:
    """Bounds the log of each part of the server, once."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, AtMost) for one in logger.filters):
            logger.addFilter(AtMost())
