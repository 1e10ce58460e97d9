"""What happens to a request before the application sees it: its key, its size and its time are checked."""

import asyncio
import contextlib
import hmac
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from fastapi.responses import JSONResponse

from transfer.serving.encodings import unpacked
from transfer.serving.limits import Limits
from transfer.serving.metrics import Metrics

__all__ = ["Admission", "Busy", "Gate", "busy_response", "error_response"]

OPEN_PATHS = ("/", "/healthz")  # They are answered without a key.


def error_response(status: int, message: str, headers: Any = None) -> JSONResponse:
    """Returns an error in the shape of TensorFlow Serving's errors."""
    return JSONResponse({"error": message}, status, headers=headers)


def busy_response() -> JSONResponse:
    """Returns the answer to a request that was one too many."""
    return error_response(503, "too many requests at a time; come again in a second", {"Retry-After": "1"})


class Busy(Exception):
    """More images wait than may wait."""


class Admission:
    """Counts the images that wait or are worked on, and refuses more than a limit."""

    def __init__(self, limit: int, metrics: Metrics):
        self._limit = limit
        self._waiting = 0
        self._metrics = metrics

    def refuses(self, images: int) -> bool:
        """Returns whether this number of further images is too many, and counts that as a refusal."""
        if self._waiting + images <= self._limit:
            return False
        self._metrics.refused.inc()
        return True

    @contextlib.contextmanager
    def __call__(self, images: int) -> Iterator[None]:
        if self.refuses(images):
            raise Busy
        self._waiting += images
        self._metrics.waiting.set(self._waiting)
        try:
            yield
        finally:
            self._waiting -= images
            self._metrics.waiting.set(self._waiting)


class Gate:
    """The middleware that checks the key, the size and the time of a request, and counts it.

    It reads the whole body, so that nothing behind it waits for a slow client. Photos that would be too many are
    refused here already, since a server that has too much to do cannot afford to look at each.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        *,
        limits: Limits,
        api_key: str | None,
        metrics: Metrics,
        admission: Admission,
    ):
        self._app = app
        self._limits = limits
        self._admission = admission
        self._api_key = api_key
        self._metrics = metrics
        self._buffered = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        start = time.perf_counter()
        status = 0

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.body" and scope["method"] == "HEAD":
                message = message | {"body": b""}
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-content-type-options", b"nosniff")]
            await send(message)

        try:
            refusal = await self._handle(scope, receive, sending)
            if refusal is not None and not status:
                await refusal(scope, receive, sending)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(scope["method"] if path != "other" else "", path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - start)

    async def _handle(self, scope: Any, receive: Any, send: Any) -> JSONResponse | None:
        """Lets the application answer, or returns what to answer instead."""
        headers = dict(scope["headers"])
        if self._api_key is not None and scope["path"] not in OPEN_PATHS and not self._knows_key(headers):
            return error_response(
                401, "the API key is missing or wrong", {"WWW-Authenticate": "Bearer", "Connection": "close"}
            )
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(self._limits.request_seconds):
                    refusal = await self._receive(headers, receive, body)
            except TimeoutError:
                return error_response(408, "the request took too long to arrive", {"Connection": "close"})
            if refusal is not None:
                return refusal if isinstance(refusal, JSONResponse) else None
            refusal = self._unpack(headers, body)
            if refusal is not None:
                return refusal
            if scope["method"] == "POST" and self._admission.refuses(1):
                return busy_response()
            plain = _plain(scope, len(body))
            answering = asyncio.ensure_future(self._app(plain, _replay(bytes(body), receive), send))
            # The body counts until the work ends, which may be later than the answer is given up.
            answering.add_done_callback(partial(self._forget, len(body)))
            body = bytearray()
            try:
                done, _ = await asyncio.wait((answering,), timeout=self._limits.request_seconds)
            except asyncio.CancelledError:
                answering.cancel()
                raise
            finally:
                scope["route"] = plain.get("route")
            if not done:
                answering.cancel()
                return error_response(503, "this took too long; come again", {"Retry-After": "5"})
            await answering
            return None
        finally:
            self._buffered -= len(body)

    def _forget(self, length: int, answering: asyncio.Future[None]) -> None:
        """Counts a body no more. Its error is read here: nobody else reads one behind an answer that was given up."""
        self._buffered -= length
        if not answering.cancelled():
            answering.exception()

    async def _receive(self, headers: dict[bytes, bytes], receive: Any, body: bytearray) -> JSONResponse | str | None:
        """Fills `body`. Returns None if that went well, a refusal, or "gone" where the client left."""
        limits, too_large = self._limits, self._too_large()
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > limits.body_bytes:
            return too_large
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return "gone"
            piece = message.get("body", b"")
            body += piece
            self._buffered += len(piece)
            if len(body) > limits.body_bytes:
                return too_large
            if self._buffered > limits.buffered_bytes:
                return error_response(
                    503, "too much at a time; come again", {"Retry-After": "1", "Connection": "close"}
                )
            if not message.get("more_body", False):
                return None

    def _too_large(self) -> JSONResponse:
        return error_response(
            413, f"the body is larger than {self._limits.body_bytes:,} bytes", {"Connection": "close"}
        )

    def _unpack(self, headers: dict[bytes, bytes], body: bytearray) -> JSONResponse | None:
        """Replaces a compressed body by its contents. Returns None if that went well, or a refusal."""
        encoding = headers.get(b"content-encoding", b"")
        try:
            contents = unpacked(bytes(body), encoding, self._limits.body_bytes)
        except LookupError as error:
            message = f"bodies are taken as they are, or compressed with gzip; not with {error.args[0][:100]!r}"
            return error_response(415, message, {"Accept-Encoding": "gzip, identity"})
        except ValueError as error:
            return error_response(400, f"the body cannot be unpacked with gzip: {error}")
        if contents is None:
            return self._too_large()
        self._buffered += len(contents) - len(body)
        body[:] = contents
        return None

    def _knows_key(self, headers: dict[bytes, bytes]) -> bool:
        assert self._api_key is not None
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        given = headers.get(b"x-api-key") or (key.strip() if scheme.lower() == b"bearer" else b"")
        return hmac.compare_digest(given, self._api_key.encode())


def _plain(scope: Any, length: int) -> Any:
    """Returns the scope of a request whose body, of this length, was unpacked; HEAD is asked as GET."""
    packed = (b"content-encoding", b"content-length")
    headers = [(name, value) for name, value in scope["headers"] if name not in packed]
    if len(headers) < len(scope["headers"]):
        headers.append((b"content-length", str(length).encode()))
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    return dict(scope, headers=headers, method=method)


def _replay(body: bytes, receive: Any) -> Any:
    """Returns a function that hands out a body that was read already, and then what else the server sends."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Any:
        return left.pop() if left else await receive()

    return replayed
