"""The page on which a kernel moves over a photo, and the layers of a network show what they give for it."""

import asyncio
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from PIL import Image

from pipelines.prepare.memory_bound import MemoryBound
from transfer.predict.loading import load
from transfer.predict.looking import kernel_table, layer_pictures
from transfer.predict.predictor import Predictor
from transfer.serving.app import add_error_handlers
from transfer.serving.gate import Admission, Gate
from transfer.serving.limits import Limits
from transfer.serving.metrics import Metrics
from transfer.serving.pages import PAGE_POLICY
from transfer.serving.requests import BadRequest, prepare_file, read_upload
from transfer.serving.server import server_of

__all__ = ["DEFAULT_MODEL", "create_playground", "make_playground"]

DEFAULT_MODEL = "efficientnet_lite0"


def create_playground(
    source: str | Path | None = None, *, limits: Limits | None = None, api_key: str | None = None
) -> FastAPI:
    """Returns a FastAPI application with the playground at `/`.

    Kernels move over the photo in the browser. `/features` takes a photo by POST, and gives what the layers of a
    network make of it; `/photo` gives a photo to begin with.

    Args:
        source: The run, the exported Keras model or the zoo model whose layers are shown. Defaults to
            "efficientnet_lite0" with its ImageNet weights, which is built when the first photo comes.
        limits: Bounds on what clients may ask.
        api_key: What clients have to send; see `create_app`.

    Raises:
        ValueError: The API key is empty.
        ValueError, FileNotFoundError: The source cannot be opened; see `transfer.load`.
    """
    if api_key is not None and not api_key.strip():
        raise ValueError("the API key is empty; give a key, or leave the option out to serve without one")
    limits = limits or Limits()
    metrics, memory = Metrics(), MemoryBound(limits.memory_bytes)
    admission = Admission(limits.waiting, metrics)
    app = FastAPI(title="transfer-zoo: playground", docs_url=None, redoc_url=None)
    app.state.has_key = api_key is not None
    app.add_middleware(Gate, limits=limits, api_key=api_key, metrics=metrics, admission=admission)
    add_error_handlers(app)
    page = Path(__file__).with_name("playground.html").read_text(encoding="utf-8")
    page = page.replace("/*KERNELS*/", json.dumps(kernel_table()))
    worker = ThreadPoolExecutor(1, thread_name_prefix="features")
    # A bad source is said before the server starts; the default takes seconds to build, and may never be asked.
    opened: list[Predictor] = [] if source is None else [load(source, engine="keras", max_pixels=limits.pixels)]

    def pictures(image: np.ndarray) -> Any:
        if not opened:
            opened.append(load(DEFAULT_MODEL, engine="keras", max_pixels=limits.pixels))
        return layer_pictures(opened[0], image)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY, "Referrer-Policy": "no-referrer"})

    @app.get("/photo")
    async def photo() -> Response:
        """Gives a photo to begin with."""
        return Response(await in_thread(worker, _first_photo), media_type="image/png")

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        """Says whether the server can answer."""
        return {"status": "ok"}

    @app.post("/features")
    async def features(request: Request) -> dict[str, Any]:
        """Gives the first filters and the feature maps of a network for a photo, as pictures."""
        with admission(1):
            contents = await read_upload(await request.body(), request.headers.get("content-type", ""), limits)
            try:
                layers = await in_thread(worker, prepare_file, contents, "the file", limits, memory, pictures)
            except (ValueError, OSError) as error:
                if isinstance(error, BadRequest):
                    raise
                raise BadRequest(str(error)) from error
        return {"model": str(source or DEFAULT_MODEL), "layers": layers}

    return app


async def in_thread(worker: ThreadPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Any:
    """Runs a function in a thread, and returns its result."""
    return await asyncio.wrap_future(worker.submit(function, *arguments))


def _first_photo() -> bytes:
    """Returns scikit-image's photo of a cat, as a PNG."""
    from skimage import data

    picture = Image.fromarray(data.chelsea())
    picture.thumbnail((320, 320))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def make_playground(
    source: str | Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    limits: Limits | None = None,
    api_key: str | None = None,
) -> uvicorn.Server:
    """Returns a server of the playground, for `run`. The arguments are those of `serve` and of `create_playground`."""
    limits = limits or Limits()
    return server_of(create_playground(source, limits=limits, api_key=api_key), host, port, limits)
