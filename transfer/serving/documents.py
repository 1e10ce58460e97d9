"""What the server says about itself, in the words of OpenAPI and of TensorFlow Serving."""

from typing import Any

from transfer.contract import Contract

__all__ = ["PREDICT_BODY", "UPLOAD_BODY", "error_responses", "signatures"]

_ERROR = {
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
        }
    }
}
_WORDS = {
    400: "The request is not what was expected",
    401: "The API key is missing or wrong",
    404: "There is no such model or version",
    408: "The request took too long to arrive",
    413: "The request is more than the server takes",
    415: "The body is compressed in another way than with gzip",
    503: "There are too many requests at a time; come again after `Retry-After` seconds",
}
_TYPES = {"float32": "DT_FLOAT", "int32": "DT_INT32", "uint8": "DT_UINT8"}


def error_responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Returns what OpenAPI's document says about errors, by their status."""
    return {code: {"description": _WORDS[code], **_ERROR} for code in codes}


def signatures(contract: Contract, names: list[str]) -> dict[str, Any]:
    """Returns what a model takes and gives, as TensorFlow Serving says it.

    Args:
        contract: The contract of the model.
        names: The names of the outputs that `:predict` gives.
    """

    def tensor(kind: str, name: str, *shape: int | None) -> dict[str, Any]:
        sizes = [{"size": str(-1 if length is None else length), "name": ""} for length in shape]
        return {"dtype": kind, "tensor_shape": {"dim": sizes, "unknown_rank": False}, "name": f"{name}:0"}

    def signature(**inputs: dict[str, Any]) -> dict[str, Any]:
        return {"inputs": inputs, "outputs": outputs, "method_name": "tensorflow/serving/predict"}

    known = contract.outputs()
    outputs = {name: tensor(_TYPES[known[name].dtype], name, None, *known[name].shape) for name in names}
    images = tensor("DT_FLOAT", "images", None, None, None, 3)
    return {
        "serving_default": signature(images=images),
        "images": signature(images=images),
        "image_bytes": signature(encoded=tensor("DT_STRING", "encoded", None)),
    }


_B64 = {"type": "object", "properties": {"b64": {"type": "string", "format": "byte"}}, "required": ["b64"]}
_NUMBERS: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 255}
for _ in range(3):
    _NUMBERS = {"type": "array", "items": _NUMBERS, "minItems": 1}
_IMAGES = {"type": "array", "minItems": 1, "maxItems": 64, "items": {"anyOf": [_B64, _NUMBERS]}}
_PREDICT_SCHEMA = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"signature_name": {"enum": ["serving_default", "images", "image_bytes"]}, which: _IMAGES},
            "required": [which],
            "additionalProperties": False,
        }
        for which in ("instances", "inputs")
    ]
}

PREDICT_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": _PREDICT_SCHEMA}}}}
_FORM = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}},
    "required": ["file"],
}
UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
