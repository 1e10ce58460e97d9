"""Bounds on what clients may ask of the server."""

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds on what clients send, and on how long things take.

    Attributes:
        body_bytes: Maximum size of the body of one request, in bytes.
        buffered_bytes: Maximum size of the bodies of all requests that are being received or answered, in bytes; more
            get the status 503.
        pixels: Maximum number of pixels in one photo.
        images: Maximum number of images in one request.
        waiting: Maximum number of images, of all requests, that wait or are worked on; more get the status 503 and are
            told to come again.
        batch: Maximum number of images that the model is given at a time.
        batch_seconds: How long the first image of a batch waits for others.
        request_seconds: How long a request may take to arrive, and again to be answered.
        idle_seconds: How long a connection may stay open without a request.
        connections: Maximum number of connections at a time; more are closed at once.
        shutdown_seconds: How long requests may take to be finished when the server is told to stop.

    Raises:
        ValueError: A bound is not above 0.
    """

    body_bytes: int = 32_000_000
    buffered_bytes: int = 256_000_000
    pixels: int = 50_000_000
    images: int = 64
    waiting: int = 256
    batch: int = 32
    batch_seconds: float = 0.002
    request_seconds: float = 30.0
    idle_seconds: float = 10.0
    connections: int = 900  # A process may open 1,024 files on most systems.
    shutdown_seconds: float = 20.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} is a number above 0, got {value}")
