"""What the server counts, for Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one server. Each server has its own, so that several can live in one process."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = on = CollectorRegistry()
        self.requests = Counter("zoo_requests", "Requests", ["method", "path", "code"], registry=on)
        self.seconds = Histogram("zoo_request_seconds", "From the first byte to the answer", ["path"], registry=on)
        self.images = Counter("zoo_images", "Images that were answered", registry=on)
        self.batch_size = Histogram("zoo_batch_size", "Images given to the model at a time", buckets=SIZES, registry=on)
        self.waiting = Gauge("zoo_waiting_images", "Images that wait or are worked on", registry=on)
        self.refused = Counter("zoo_refused", "Requests that were refused because too many waited", registry=on)
        self.reloads = Counter("zoo_reloads", "Newer versions that went into service", registry=on)
        self.reload_failures = Counter("zoo_reload_failures", "Newer versions that failed their proof", registry=on)
        self.version = Gauge("zoo_model_version", "The version in service", registry=on)

    def text(self) -> bytes:
        """Returns all counters in Prometheus' own format."""
        return generate_latest(self._registry)
