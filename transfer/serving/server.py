"""The process around the application."""

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from transfer.serving.app import create_app
from transfer.serving.limits import Limits

__all__ = ["make_server", "run", "serve"]

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
) -> None:
    """Serves an exported model until the process is told to stop; requests that came before that are answered.

    Args:
        folder, name, engine, limits, api_key: as of `transfer.serving.create_app`.
        host: the address to listen on; other machines reach the server only if this is not the loopback address.
        port: 0 for any that is free.

    Raises:
        OSError: the port is taken.
        ValueError, FileNotFoundError, ModuleNotFoundError, ExportError: as of `create_app`.
    """
    run(make_server(folder, host=host, port=port, name=name, engine=engine, limits=limits, api_key=api_key))


def run(server: uvicorn.Server) -> None:
    """Runs what `make_server` made; returns after a clean shutdown on SIGTERM or SIGINT.

    Raises:
        OSError: the port is taken.
    """
    log.setLevel(logging.INFO)
    config = server.config
    if config.host not in LOOPBACK and not config.app.state.has_key:  # type: ignore[union-attr]
        log.warning("any machine that reaches %s may use this model; --api-key would keep it", config.host)
    with server_socket(server) as listening:
        log.info("http://%s:%d", config.host, listening.getsockname()[1])
        try:
            server.run(sockets=[listening])
        except (KeyboardInterrupt, SystemExit):  # the signal again, after all was closed
            log.info("stopped")


def make_server(
    folder: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    limits: Limits | None = None,
    **options: Any,
) -> uvicorn.Server:
    """The server that `serve` runs."""
    limits = limits or Limits()
    app = create_app(folder, limits=limits, **options)
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
    """The socket to listen on; an OSError, not an end of the process, if the port is taken."""
    config = server.config
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    found = socket.socket(family)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((config.host, config.port))
    except OSError as error:
        found.close()
        raise OSError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror}; choose another --port"
        ) from error
    return found


def _protocol(limits: Limits) -> type[H11Protocol]:
    """HTTP/1.1 that closes connections which send no request, and those that are more than it bears."""

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.abort()
                return
            asyncio.get_running_loop().call_later(limits.idle_seconds, self._close_if_silent)

        def _close_if_silent(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.abort()

    return Protocol
