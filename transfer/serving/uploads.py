"""The path to which a photo is uploaded as it is."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic.json_schema import SkipJsonSchema

from transfer.serving.documents import UPLOAD_BODY, error_responses
from transfer.serving.requests import BadRequest, read_upload
from transfer.serving.service import Service
from transfer.tasks.task import Options

__all__ = ["upload_router"]

Top = Annotated[
    int | SkipJsonSchema[None],
    Query(ge=1, le=1000, description="Maximum number of classes, labels or objects. By default the task chooses."),
]
Threshold = Annotated[
    float | SkipJsonSchema[None],
    Query(
        ge=0,
        le=1,
        description="Score below which classes, labels or objects are left out. "
        "By default the model's own thresholds hold.",
    ),
]
Explain = Annotated[
    bool, Query(description="Whether to add a map of the evidence (Grad-CAM), where the model has its layers.")
]


def upload_router(service: Service) -> APIRouter:
    """Returns the route `/predict`."""
    router = APIRouter()

    @router.post("/predict", responses=error_responses(400, 401, 408, 413, 415, 503), openapi_extra=UPLOAD_BODY)
    async def predict_upload(
        request: Request, top: Top = None, threshold: Threshold = None, explain: Explain = False
    ) -> dict[str, Any]:
        """Answers for one photo, and says how long that took.

        Each of the `predictions` has a `label` where it names something, a `score` in 0..1 where it is more or less
        sure, a `value` where it gives a number, and a `box` (left, top, right and bottom in pixels of the upright
        photo) where it says where. A model with several heads names the `head`, too. `size` is the height and width of
        the photo.
        """
        start = time.perf_counter()
        served = service.current
        predictor = served.predictor
        options = Options(top, threshold)
        try:
            predictor.check_options(options)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        with service.admission(1):
            contents = await read_upload(await request.body(), request.headers.get("content-type", ""), service.limits)
            prepared = await service.prepared(served, contents)
            (outputs,) = await service.outputs(served, [prepared])
            answer = predictor.answer("the photo", outputs, prepared.size, options)
            document: dict[str, Any] = {
                "model": service.name,
                "version": served.version,
                "task": predictor.task.name,
                "predictions": predictor.task.predictions(answer),
                "size": list(prepared.size),
                "seconds": round(time.perf_counter() - start, 4),
            }
            if explain and predictor.can_explain:
                document["explanation"] = await service.explanation(predictor, contents)
        service.metrics.images.inc()
        return document

    return router
