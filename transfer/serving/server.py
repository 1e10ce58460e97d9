"""The process around the web application."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from transfer.serving.app import create_app
from transfer.serving.limits import Limits
from transfer.serving.logs import bound_logs

__all__ = ["make_server", "run", "serve", "server_of", "server_socket"]

log = logging.getLogger("zoo.serve")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    folder: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    name: str | None = None,
    engine: str = "auto",
    limits: Limits | None = None,
    api_key: str | None = None,
    cors: Sequence[str] = (),
) -> None:
    """Serves an exported model until the process is told to stop. Requests that came before that are answered.

    Args:
        folder: The folder that `zoo fit` or `zoo export` wrote.
        host: The address to listen on. Other machines reach the server only if this is not the loopback address.
        port: The port to listen on. 0 takes any that is free.
        name: The name of the model in the paths. Defaults to the folder's name.
        engine: The runtime, as `transfer.load` takes it.
        limits: Bounds on what clients may ask.
        api_key: What clients have to send; see `create_app`.
        cors: Origins whose pages may use the server; see `create_app`.

    Raises:
        OSError: The port is taken.
        ValueError, FileNotFoundError, ModuleNotFoundError: The folder cannot be opened; see `transfer.load`.
        ExportError: The model does not answer as the trained one did.
    """
    run(make_server(folder, host=host, port=port, name=name, engine=engine, limits=limits, api_key=api_key, cors=cors))


def run(server: uvicorn.Server) -> None:
    """Runs what `make_server` made, and returns after a clean shutdown on SIGTERM or SIGINT.

    Raises:
        OSError: The port is taken.
    """
    log.setLevel(logging.INFO)
    bound_logs()
    config = server.config
    if config.host not in LOOPBACK and not config.app.state.has_key:  # type: ignore[union-attr]
        log.warning("any machine that reaches %s may use this model; --api-key would keep it", config.host)
    with server_socket(server) as listening:
        log.info("http://%s:%d", config.host, listening.getsockname()[1])
        try:
            server.run(sockets=[listening])
        except (KeyboardInterrupt, SystemExit):  # The signal comes again, after all was closed.
            log.info("stopped")


def make_server(
    folder: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    name: str | None = None,
    engine: str = "auto",
    limits: Limits | None = None,
    api_key: str | None = None,
    cors: Sequence[str] = (),
    watch_seconds: float = 1.0,
) -> uvicorn.Server:
    """Returns the server that `serve` runs. The arguments are those of `serve` and of `create_app`."""
    limits = limits or Limits()
    app = create_app(
        folder, name=name, engine=engine, limits=limits, api_key=api_key, cors=cors, watch_seconds=watch_seconds
    )
    return server_of(app, host, port, limits)


def server_of(app: FastAPI, host: str, port: int, limits: Limits) -> uvicorn.Server:
    """Returns a server of an application within the limits."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=_protocol(limits),
        loop="asyncio",
        ws="none",
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_keep_alive=int(max(1, limits.idle_seconds)),
        timeout_graceful_shutdown=int(max(1, limits.shutdown_seconds)),
    )
    return uvicorn.Server(config)


def server_socket(server: uvicorn.Server) -> socket.socket:
    """Returns the socket to listen on.

    Raises:
        OSError: The port is taken. (Uvicorn would end the process.)
    """
    config = server.config
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((config.host, config.port))
    except OSError as error:
        listening.close()
        raise OSError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror}; choose another --port"
        ) from error
    return listening


def _protocol(limits: Limits) -> type[H11Protocol]:
    """Returns HTTP/1.1 that closes connections on which no request comes, and those above the limit.

    A connection waits for a request at its beginning and after each answer. Bytes alone are no request, however many of
    them come, until the head of one is complete.
    """

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.abort()
                return
            self._wait(None)

        def on_response_complete(self) -> None:
            answered = self.cycle
            super().on_response_complete()  # This may begin the next request, where that has come already.
            self._wait(answered)

        def _wait(self, last: object) -> None:
            asyncio.get_running_loop().call_later(limits.idle_seconds, self._close_if_idle, last)

        def _close_if_idle(self, last: object) -> None:
            if self.cycle is last and not self.transport.is_closing():
                self.transport.abort()

    return Protocol
