"""What the server says about itself: in OpenAPI's words, and in TensorFlow Serving's."""

from typing import Any

__all__ = ["PREDICT_BODY", "UPLOAD_BODY", "error_responses", "signatures"]

_ERROR = {
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
        }
    }
}
_WORDS = {
    400: "Not what was expected",
    401: "The API key is missing or wrong",
    404: "No such model or version",
    408: "The request took too long to arrive",
    413: "More than the server takes",
    503: "Too many requests at a time; come again after `Retry-After` seconds",
}


def error_responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"description": _WORDS[code], **_ERROR} for code in codes}


def signatures(contract: Any) -> dict[str, Any]:
    """What the model takes and gives, as TensorFlow Serving says it."""

    def tensor(dtype: str, name: str, *shape: int) -> dict[str, Any]:
        sizes = [{"size": str(size), "name": ""} for size in shape]
        return {"dtype": dtype, "tensor_shape": {"dim": sizes, "unknown_rank": False}, "name": name}

    def signature(**inputs: dict[str, Any]) -> dict[str, Any]:
        return {"inputs": inputs, "outputs": outputs, "method_name": "tensorflow/serving/predict"}

    if contract.task == "detect":
        outputs = {
            "boxes": tensor("DT_FLOAT", "boxes:0", -1, -1, 4),
            "classes": tensor("DT_INT32", "classes:0", -1, -1),
            "scores": tensor("DT_FLOAT", "scores:0", -1, -1),
        }
    else:
        outputs = {"probabilities": tensor("DT_FLOAT", "probabilities:0", -1, len(contract.class_names))}
    images = tensor("DT_FLOAT", "images:0", -1, -1, -1, 3)
    return {
        "serving_default": signature(images=images),
        "images": signature(images=images),
        "image_bytes": signature(encoded=tensor("DT_STRING", "encoded:0", -1)),
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
