"""What a client may ask of the server."""

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds on what clients send, and on how long things take.

    Attributes:
        body_bytes: of one request.
        buffered_bytes: of all requests that are being received or answered; more get 503.
        pixels: of one photo.
        images: in one request.
        waiting: images of all requests that wait or are worked on; more get 503 and are told to come again.
        batch: images that the model is given at a time.
        batch_seconds: how long the first image of a batch waits for others.
        request_seconds: for a request to arrive in, and again for it to be answered in.
        idle_seconds: how long a connection may stay open without a request.
        connections: at a time; more are closed at once.
        shutdown_seconds: for requests to be finished in when the server is told to stop.

    Raises:
        ValueError: a bound that is not above 0.
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
    connections: int = 900  # a process may open 1,024 files on most systems
    shutdown_seconds: float = 20.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} is a number above 0, got {value}")
