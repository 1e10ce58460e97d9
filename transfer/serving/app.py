"""The web application around a served model."""

import asyncio
import base64
import contextlib
import importlib.resources
import io
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from PIL import Image
from pydantic.json_schema import SkipJsonSchema
from starlette.exceptions import HTTPException

from transfer.artifacts.proof import PROOF
from transfer.predict.predictor import Predictor
from transfer.serving.documents import PREDICT_BODY, UPLOAD_BODY, error_responses, signatures
from transfer.serving.gate import Admission, Busy, Gate, busy_response, error_response
from transfer.serving.limits import Limits
from transfer.serving.metrics import Metrics
from transfer.serving.model import Served, Versions
from transfer.serving.requests import BadRequest, decoded, parse_predict, read_upload

__all__ = ["create_app"]

log = logging.getLogger("zoo.serve")

# What the page may do: run its own code and style, show what it was sent, and talk to this server.
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
EXPLAINING = 2  # requests for Grad-CAM at a time; it takes seconds


def create_app(
    folder: str | Path,
    *,
    name: str | None = None,
    engine: str = "auto",
    limits: Limits | None = None,
    api_key: str | None = None,
    watch_seconds: float = 1.0,
) -> FastAPI:
    """A FastAPI application that serves an exported model.

    ======================================  ===========================================================================
    path                                    what
    ======================================  ===========================================================================
    `/`                                     a page to try the model on
    `/predict`                              POST a photo, as multipart form or as the body
    `/v1/models/NAME`                       TensorFlow Serving: the version in service
    `/v1/models/NAME/metadata`              its signatures
    `/v1/models/NAME:predict`               POST tensors or base64 files; see `transfer.serving.requests`
    `/healthz`, `/metrics`, `/openapi.json`  for whoever runs it
    ======================================  ===========================================================================

    Args:
        folder: what `zoo fit` or `zoo export` wrote. Its proof is repeated before it is served, and when a newer
            version takes its place; one that fails is not served, and the old one goes on.
        name: of the model in the paths; the folder's name unless given.
        engine: as of `transfer.load`.
        limits: of what clients may ask.
        api_key: what clients have to send as `Authorization: Bearer KEY` or `X-API-Key: KEY`; none unless given.
        watch_seconds: how often to look for a newer version.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: as of `transfer.load`.
        ExportError: the model does not answer as the trained one did.
    """
    folder = Path(folder)
    limits = limits or Limits()
    name = name or folder.resolve().name
    metrics = Metrics()
    versions = Versions(
        folder,
        engine=engine,
        limits=limits,
        seen=metrics.batch_size.observe,
        changed=lambda better: (metrics.reloads if better else metrics.reload_failures).inc(),
    )
    admission = Admission(limits.waiting, metrics)
    readers = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="read")
    explainer = ThreadPoolExecutor(1, thread_name_prefix="explain")
    explaining = asyncio.Semaphore(EXPLAINING)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        log.info("%s is in service with %s", name, versions.current.predictor.engine.name)
        watching = asyncio.create_task(versions.watch(watch_seconds))
        yield
        watching.cancel()
        await versions.close()
        readers.shutdown(wait=False)
        explainer.shutdown(wait=False)

    app = FastAPI(
        title=f"transfer-zoo: {name}",
        summary="An exported model that is proven to answer as the trained one does.",
        lifespan=lifespan,
        docs_url=None,  # these pages would fetch their code from elsewhere
        redoc_url=None,
    )
    app.state.has_key = api_key is not None
    app.add_middleware(Gate, limits=limits, api_key=api_key, metrics=metrics, admission=admission)

    async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(readers, function, *arguments)

    async def answer(served: Served, images: list[np.ndarray]) -> np.ndarray:
        prepare = served.predictor.prepare
        return await served.batcher(await in_thread(lambda: [prepare(image) for image in images]))

    def served_as(model: str, version: str | None = None) -> Served:
        served = versions.current
        if model != name or (version is not None and version != str(served.version)):
            wanted = model if version is None else f"{model}, version {version}"
            raise HTTPException(404, f"Servable not found for request: {wanted[:200]}. This server has {name}")
        return served

    # TensorFlow Serving's paths

    @app.get("/v1/models/{model}", responses=error_responses(401, 404), tags=["TensorFlow Serving"])
    @app.get("/v1/models/{model}/versions/{version}", responses=error_responses(401, 404), tags=["TensorFlow Serving"])
    async def status(model: str, version: str | None = None) -> dict[str, Any]:
        """Which version is in service."""
        served = served_as(model, version)
        state = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": str(served.version), "state": "AVAILABLE", "status": state}]}

    @app.get("/v1/models/{model}/metadata", responses=error_responses(401, 404), tags=["TensorFlow Serving"])
    async def metadata(model: str) -> dict[str, Any]:
        """What the model takes and gives."""
        served = served_as(model)
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(served.version)},
            "metadata": {"signature_def": {"signature_def": signatures(served.predictor.contract)}},
        }

    @app.post(
        "/v1/models/{model}:predict",
        responses=error_responses(400, 401, 404, 408, 413, 503),
        openapi_extra=PREDICT_BODY,
        tags=["TensorFlow Serving"],
    )
    @app.post(
        "/v1/models/{model}/versions/{version}:predict",
        responses=error_responses(400, 401, 404, 408, 413, 503),
        openapi_extra=PREDICT_BODY,
        tags=["TensorFlow Serving"],
    )
    async def predict_tensors(request: Request, model: str, version: str | None = None) -> dict[str, Any]:
        """All that the model says, by row (`instances` -> `predictions`) or by column (`inputs` -> `outputs`).

        Of a classifier the probabilities of every class. Of a detector `boxes`, `classes` and `scores` of the objects
        in each image.
        """
        served = served_as(model, version)
        with admission(1):
            body = await request.body()
            images, by_row = await in_thread(parse_predict, body, limits)
            with admission(len(images) - 1):
                rows = await answer(served, images)
        metrics.images.inc(len(images))
        outputs = served.predictor.named_outputs(list(rows), [image.shape[:2] for image in images])
        if len(outputs) == 1:
            return {"predictions" if by_row else "outputs": next(iter(outputs.values()))}
        if by_row:
            columns = zip(*outputs.values(), strict=True)
            return {"predictions": [dict(zip(outputs, values, strict=True)) for values in columns]}
        return {"outputs": outputs}

    # Ours

    @app.post(
        "/predict",
        responses=error_responses(400, 401, 408, 413, 503),
        openapi_extra=UPLOAD_BODY,
    )
    async def predict_upload(
        request: Request,
        top: Annotated[
            int | SkipJsonSchema[None],
            Query(ge=1, le=1000, description="How many classes (5) or objects (all)."),
        ] = None,
        explain: Annotated[bool, Query(description="Also Grad-CAM, where the model's layers are there.")] = False,
    ) -> dict[str, Any]:
        """Names what is in one photo, and how long that took: the likeliest classes, or of a detector the objects with
        their boxes (left, top, right, bottom in pixels of the upright photo)."""
        start = time.perf_counter()
        served = versions.current
        with admission(1):
            contents = await read_upload(await request.body(), request.headers.get("content-type", ""), limits)

            def read() -> tuple[np.ndarray, np.ndarray]:
                image = decoded(contents, "the file", limits)
                return image, served.predictor.prepare(image)

            image, prepared = await in_thread(read)
            (row,) = await served.batcher([prepared])
            height, width = image.shape[:2]
            limit = {} if top is None else {"top": top}
            document = {
                "model": name,
                "version": served.version,
                "predictions": served.predictor.found(row, (height, width), **limit),
                "size": [height, width],
                "seconds": round(time.perf_counter() - start, 4),
            }
            predictor = served.predictor
            if explain and isinstance(predictor, Predictor) and predictor.can_explain:
                if explaining.locked():
                    raise Busy
                async with explaining:
                    loop = asyncio.get_running_loop()
                    document["explanation"] = await loop.run_in_executor(explainer, _explanation, predictor, image)
        metrics.images.inc()
        return document

    @app.get("/model", responses=error_responses(401))
    async def model_facts() -> dict[str, Any]:
        """What the page has to know about the model."""
        served = versions.current
        predictor = served.predictor
        return {
            "name": name,
            "task": predictor.contract.task,
            "version": served.version,
            "engine": predictor.engine.name,
            "precision": predictor.engine.precision,
            "classes": len(predictor.class_names),
            "can_explain": predictor.can_explain,
            "samples": len(_samples(folder)),
        }

    @app.get("/samples/{number}", responses={200: {"content": {"image/*": {}}}, **error_responses(400, 401, 404)})
    async def sample(number: int) -> Response:
        """A photo to try the model on."""
        photos = _samples(folder)
        if not 0 <= number < len(photos):
            raise HTTPException(404, f"there are {len(photos)} samples, counted from 0")
        kind = "image/jpeg" if photos[number][:2] == b"\xff\xd8" else "image/png"
        return Response(photos[number], media_type=kind)

    @app.get("/healthz")
    async def health() -> dict[str, Any]:
        """Whether the server can answer."""
        return {"status": "ok", "version": versions.current.version}

    @app.get("/metrics", responses={200: {"content": {"text/plain": {}}}, **error_responses(401)})
    async def prometheus() -> Response:
        """For Prometheus."""
        metrics.version.set(versions.current.version)
        return Response(metrics.text(), media_type=metrics.media_type)

    page = (importlib.resources.files("transfer.serving") / "page.html").read_text(encoding="utf-8")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY, "Referrer-Policy": "no-referrer"})

    # Errors, in the shape of TensorFlow Serving's

    @app.exception_handler(HTTPException)
    async def on_httperror_response(request: Request, error: HTTPException) -> JSONResponse:
        return error_response(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return error_response(400, said[:1000])

    @app.exception_handler(BadRequest)
    async def on_bad_request(request: Request, error: BadRequest) -> JSONResponse:
        return error_response(error.status, str(error))

    @app.exception_handler(Busy)
    async def on_busy(request: Request, error: Busy) -> JSONResponse:
        return busy_response()

    @app.exception_handler(Exception)
    async def on_defect(request: Request, error: Exception) -> JSONResponse:
        return error_response(500, "the server failed at this; its log says how")

    return app


def _samples(folder: Path) -> list[bytes]:
    """The photos of the folder's proof."""
    for place in (folder, folder / "exported"):
        with contextlib.suppress(OSError, ValueError), np.load(place / PROOF, allow_pickle=False) as file:
            return [file[name].tobytes() for name in sorted(file.files) if name.startswith("photo_")][:2]
    return []


def _explanation(predictor: Predictor, image: np.ndarray) -> dict[str, str]:
    """What the network was given, and a map of the evidence as a transparent picture to lay over it."""
    crop, heat = predictor.prepare(image), predictor.explain(image)
    colour = np.stack([np.full_like(heat, 255), 220 * (1 - heat), np.zeros_like(heat), 255 * heat], axis=-1)
    return {"image": _data_url(crop), "heat": _data_url(np.rint(colour).astype(np.uint8))}


def _data_url(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
