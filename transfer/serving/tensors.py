"""The paths of TensorFlow Serving's REST interface."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.convertors import StringConvertor, register_url_convertor

from transfer.serving.documents import PREDICT_BODY, error_responses, signatures
from transfer.serving.service import Service

__all__ = ["tensor_router"]


class _Servable(StringConvertor):
    """The name of a model or a version, to which no method of TensorFlow Serving's is added."""

    regex = "[^/]+(?<!:predict)(?<!:classify)(?<!:regress)"


register_url_convertor("servable", _Servable())


def tensor_router(service: Service) -> APIRouter:
    """Returns the routes under `/v1/models/`."""
    router = APIRouter(prefix="/v1/models", tags=["TensorFlow Serving"])
    predict_errors = error_responses(400, 401, 404, 408, 413, 415, 503)

    @router.get("/{model:servable}", responses=error_responses(401, 404))
    @router.get("/{model}/versions/{version:servable}", responses=error_responses(401, 404))
    @router.get("/{model}/labels/{label:servable}", responses=error_responses(401, 404))
    async def status(model: str, version: str | None = None, label: str | None = None) -> dict[str, Any]:
        """Says which version is in service."""
        served = service.served_as(model, version, label)
        state = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": str(served.version), "state": "AVAILABLE", "status": state}]}

    @router.get("/{model}/metadata", responses=error_responses(401, 404))
    @router.get("/{model}/versions/{version}/metadata", responses=error_responses(401, 404))
    @router.get("/{model}/labels/{label}/metadata", responses=error_responses(401, 404))
    async def metadata(model: str, version: str | None = None, label: str | None = None) -> dict[str, Any]:
        """Says what the model takes and gives."""
        served = service.served_as(model, version, label)
        contract, task = served.predictor.contract, served.predictor.task
        names = list(task.named_outputs([], contract))
        return {
            "model_spec": {"name": service.name, "signature_name": "", "version": str(served.version)},
            "metadata": {"signature_def": {"signature_def": signatures(contract, names)}},
        }

    @router.post("/{model}:predict", responses=predict_errors, openapi_extra=PREDICT_BODY)
    @router.post("/{model}/versions/{version}:predict", responses=predict_errors, openapi_extra=PREDICT_BODY)
    @router.post("/{model}/labels/{label}:predict", responses=predict_errors, openapi_extra=PREDICT_BODY)
    async def predict_tensors(
        request: Request, model: str, version: str | None = None, label: str | None = None
    ) -> dict[str, Any]:
        """Gives all outputs of the model, by row (`instances` -> `predictions`) or by column (`inputs` -> `outputs`).

        A model with one output, such as the probabilities of a classifier, gives its values without a name. Boxes are
        in pixels of the images.
        """
        served = service.served_as(model, version, label)
        with service.admission(1):
            body = await request.body()
            images, by_row = await service.all_prepared(served, body)
            with service.admission(len(images) - 1):
                answers = await service.outputs(served, images)
        service.metrics.images.inc(len(images))
        outputs = served.predictor.task.named_outputs(answers, served.predictor.contract)
        if len(outputs) == 1:
            return {"predictions" if by_row else "outputs": next(iter(outputs.values()))}
        if by_row:
            columns = zip(*outputs.values(), strict=True)
            return {"predictions": [dict(zip(outputs, values, strict=True)) for values in columns]}
        return {"outputs": outputs}

    return router
