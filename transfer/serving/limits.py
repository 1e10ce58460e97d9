"""Bounds on what clients may ask of the server."""

from dataclasses import dataclass, field

from pipelines.machine import available_memory, open_files

__all__ = ["Limits"]

FILES = 100  # What the server opens besides connections: libraries, the model, its log.


def _room_for_connections() -> int:
    return max(1, open_files() - FILES)


def _half_of_memory() -> int:
    return max(1, available_memory() // 2)


@dataclass(frozen=True)
class Limits:
    """Bounds on what clients send, and on how long things take.

    Attributes:
        body_bytes: Maximum size of the body of one request, in bytes.
        buffered_bytes: Maximum size of the bodies of all requests that are being received or answered, in bytes; more
            get the status 503.
        pixels: Maximum number of pixels in one photo.
        memory_bytes: Maximum number of bytes that requests may need while they are parsed, decoded and prepared, as
            they declare it by their length and the size of their photos. Requests for which there is no room at the
            moment wait; one that needs more than this by itself gets the status 413. Defaults to half of the memory
            that is free.
        images: Maximum number of images in one request.
        waiting: Maximum number of images, of all requests, that wait or are worked on; more get the status 503 and are
            told to come again.
        batch: Maximum number of images that the model is given at a time.
        batch_seconds: How long the first image of a batch waits for others.
        request_seconds: How long a request may take to arrive, and again to be answered.
        idle_seconds: How long a connection may stay open without a request.
        connections: Maximum number of connections at a time; more are closed at once. Defaults to 900, or to what the
            system lets a process open (`ulimit -n`) if that is less.
        shutdown_seconds: How long requests may take to be finished when the server is told to stop.

    Raises:
        ValueError: A bound is not above 0, or the system does not allow so many connections.
    """

    body_bytes: int = 32_000_000
    buffered_bytes: int = 256_000_000
    pixels: int = 50_000_000
    memory_bytes: int = field(default_factory=_half_of_memory)
    images: int = 64
    waiting: int = 256
    batch: int = 32
    batch_seconds: float = 0.002
    request_seconds: float = 30.0
    idle_seconds: float = 10.0
    connections: int = field(default_factory=lambda: min(900, _room_for_connections()))
    shutdown_seconds: float = 20.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} is a number above 0, got {value}")
        if self.connections > _room_for_connections():
            raise ValueError(
                f"connections is {self.connections}, and the system lets this process open {open_files()} files, of "
                f"which the server needs {FILES} for itself; allow more (ulimit -n), or ask for fewer connections"
            )
