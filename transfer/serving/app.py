"""The web application around a served model."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from transfer.serving.gate import Busy, Gate, busy_response, error_response
from transfer.serving.limits import Limits
from transfer.serving.pages import page_router
from transfer.serving.requests import BadRequest
from transfer.serving.service import Service
from transfer.serving.tensors import tensor_router
from transfer.serving.uploads import upload_router

__all__ = ["add_error_handlers", "create_app"]

log = logging.getLogger("zoo.serve")


def create_app(
    folder: str | Path,
    *,
    name: str | None = None,
    engine: str = "auto",
    limits: Limits | None = None,
    api_key: str | None = None,
    cors: Sequence[str] = (),
    watch_seconds: float = 1.0,
) -> FastAPI:
    """Returns a FastAPI application that serves an exported model, whatever its task.

    ========================================  =========================================================================
    path                                      what it does
    ========================================  =========================================================================
    `/`                                       It shows a page to try the model on.
    `/predict`                                It takes a photo by POST, as a multipart form or as the body.
    `/v1/models/NAME`                         As in TensorFlow Serving, it says which version is in service.
    `/v1/models/NAME/metadata`                It gives the model's signatures.
    `/v1/models/NAME:predict`                 It takes tensors or base64 files; see `transfer.serving.requests`.
    `/v1/models/NAME/versions/N`,             They stand for the version N, or the one in service, in these three paths.
    `/v1/models/NAME/labels/stable`
    `/healthz`, `/metrics`, `/openapi.json`   They are for the people who run the server.
    ========================================  =========================================================================

    Args:
        folder: The folder that `zoo fit` or `zoo export` wrote. Its proof is repeated before it is served, and when a
            newer version takes its place; one that fails is not served, and the old one goes on.
        name: The name of the model in the paths. Defaults to the folder's name.
        engine: The runtime, as `transfer.load` takes it.
        limits: Bounds on what clients may ask.
        api_key: What clients have to send as `Authorization: Bearer KEY` or `X-API-Key: KEY`. By default they send
            nothing.
        cors: Origins, such as "https://shop.example", whose pages may use the server in people's browsers; "*" stands
            for all. Defaults to none.
        watch_seconds: How often to look for a newer version, in seconds.

    Raises:
        ValueError: An origin is none, or the API key is empty.
        ValueError, FileNotFoundError, ModuleNotFoundError: The folder cannot be opened; see `transfer.load`.
        ExportError: The model does not answer as the trained one did.
    """
    if api_key is not None and not api_key.strip():
        raise ValueError(
            "the API key is empty, as it is where a variable that holds it is not set; give a key, or leave the option "
            "out to serve without one"
        )
    folder = Path(folder)
    limits = limits or Limits()
    service = Service(folder, name=name or folder.resolve().name, engine=engine, limits=limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        log.info("%s is in service with %s", service.name, service.current.predictor.engine.name)
        watching = asyncio.create_task(service.versions.watch(watch_seconds))
        yield
        watching.cancel()
        await service.close()

    app = FastAPI(
        title=f"transfer-zoo: {service.name}",
        summary="An exported model that is proven to answer as the trained one does.",
        lifespan=lifespan,
        docs_url=None,  # These pages would fetch their code from elsewhere.
        redoc_url=None,
    )
    app.state.has_key = api_key is not None
    app.add_middleware(Gate, limits=limits, api_key=api_key, metrics=service.metrics, admission=service.admission)
    if cors:
        _allow(app, cors)
    for router in (tensor_router, upload_router, page_router):
        app.include_router(router(service))
    add_error_handlers(app)
    return app


def _allow(app: FastAPI, origins: Sequence[str]) -> None:
    """Lets pages of other origins use the server. Browsers ask for that without a key, before the request itself."""
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/?#\s]+", origin):
            raise ValueError(
                f'expected an origin such as "https://shop.example", without a path, or "*"; received {origin!r}'
            )
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["Authorization", "Content-Encoding", "Content-Type", "X-API-Key"],
        expose_headers=["Retry-After"],
    )


def add_error_handlers(app: FastAPI) -> None:
    """Lets errors have the shape of TensorFlow Serving's."""

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if "GET" in headers.get("Allow", ""):
            headers["Allow"] = "GET, HEAD"  # The gate asks for GET where a client asks for HEAD.
        return error_response(error.status_code, str(error.detail), headers)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        reasons = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return error_response(400, reasons[:1000])

    @app.exception_handler(BadRequest)
    async def on_bad_request(request: Request, error: BadRequest) -> JSONResponse:
        return error_response(error.status, str(error))

    @app.exception_handler(Busy)
    async def on_busy(request: Request, error: Busy) -> JSONResponse:
        return busy_response()

    @app.exception_handler(Exception)
    async def on_defect(request: Request, error: Exception) -> JSONResponse:
        return error_response(500, "the server failed at this; its log says how")
