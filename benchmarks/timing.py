"""Side by side, in one run: ours and a peer take turns, so that a busy machine disturbs both alike."""

import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["Comparison", "compare", "report"]


@dataclass(frozen=True)
class Comparison:
    """Medians over the rounds, in seconds, and how many times as fast as the peer ours is.

    `ratio` is the median of the ratios of each round, peer over ours: over 1, ours is the faster.
    """

    name: str
    peer: str
    peer_seconds: float
    our_seconds: float
    ratio: float


def compare(
    name: str,
    *,
    ours: Callable[[], object],
    peer: Callable[[], object],
    peer_name: str,
    rounds: int = 7,
    warmup: int = 1,
) -> Comparison:
    """Times two functions that do the same, one after the other in each round, and first in every other.

    Args:
        name: of what is compared; the key in the line of JSON.
        ours, peer: called without arguments; they have to wait for their results.
        peer_name: for the table.
        rounds: that count, at least 1.
        warmup: rounds before them that do not count (tracing, caches).

    Raises:
        ValueError: fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"expected at least 1 round, got {rounds}")
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    contestants = [("ours", ours), ("peer", peer)]
    for turn in range(warmup + rounds):
        for who, function in contestants if turn % 2 else reversed(contestants):
            start = time.perf_counter()
            function()
            if turn >= warmup:
                seconds[who].append(time.perf_counter() - start)
    ratios = [theirs / own for theirs, own in zip(seconds["peer"], seconds["ours"], strict=True)]
    return Comparison(
        name,
        peer_name,
        statistics.median(seconds["peer"]),
        statistics.median(seconds["ours"]),
        statistics.median(ratios),
    )


def report(comparisons: Iterable[Comparison]) -> None:
    """Prints a table, and last the ratios as one line of JSON."""
    rows = list(comparisons)
    width = max((len(row.name) for row in rows), default=0)
    peer_width = max((len(row.peer) for row in rows), default=0)
    for row in rows:
        print(
            f"{row.name:<{width}}  ours {row.our_seconds * 1e3:9.2f} ms  "
            f"{row.peer:>{peer_width}} {row.peer_seconds * 1e3:9.2f} ms  ratio {row.ratio:6.2f}"
        )
    print(json.dumps({row.name: round(row.ratio, 3) for row in rows}))
