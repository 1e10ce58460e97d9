"""The page to try a model on, and what the people who run the server need."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from transfer.artifacts.proof import PROOF
from transfer.predict.loading import EXPORTED
from transfer.serving.documents import error_responses
from transfer.serving.service import Service

__all__ = ["page_router"]

# What the page may do: run its own code and style, show what it was sent, and talk to this server.
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAMPLES = 2


def page_router(service: Service) -> APIRouter:
    """Returns the routes of the page, of the health check and of the counters."""
    router = APIRouter()
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")

    @router.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY, "Referrer-Policy": "no-referrer"})

    @router.get("/model", responses=error_responses(401))
    async def model_facts() -> dict[str, Any]:
        """Says what the page has to know about the model."""
        served = service.current
        predictor = served.predictor
        return {
            "name": service.name,
            "task": predictor.task.name,
            "summary": predictor.task.summary,
            "version": served.version,
            "engine": predictor.engine.name,
            "precision": predictor.engine.precision,
            "names": list(predictor.contract.names),
            "options": sorted(predictor.task.options),
            "can_explain": predictor.can_explain,
            "samples": len(_samples(service.folder)),
        }

    @router.get("/samples/{number}", responses={200: {"content": {"image/*": {}}}, **error_responses(400, 401, 404)})
    async def sample(number: int) -> Response:
        """Gives a photo to try the model on."""
        photos = _samples(service.folder)
        if not 0 <= number < len(photos):
            raise HTTPException(404, f"there are {len(photos)} samples, counted from 0")
        kind = "image/jpeg" if photos[number][:2] == b"\xff\xd8" else "image/png"
        return Response(photos[number], media_type=kind)

    @router.get("/healthz")
    async def health() -> dict[str, Any]:
        """Says whether the server can answer."""
        return {"status": "ok", "version": service.current.version}

    @router.get("/metrics", responses={200: {"content": {"text/plain": {}}}, **error_responses(401)})
    async def prometheus() -> Response:
        """Gives the counters to Prometheus."""
        service.metrics.version.set(service.current.version)
        return Response(service.metrics.text(), media_type=service.metrics.media_type)

    return router


def _samples(folder: Path) -> list[bytes]:
    """Returns the first photos of the folder's proof, as files."""
    for place in (folder, folder / EXPORTED):
        with contextlib.suppress(OSError, ValueError), np.load(place / PROOF, allow_pickle=False) as file:
            return [file[name].tobytes() for name in sorted(file.files) if name.startswith("photo_")][:SAMPLES]
    return []
