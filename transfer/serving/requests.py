"""Reading images out of the body of a request. No file is written, no name is used, nothing is unpickled."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pipelines.prepare.photos import decode
from pipelines.prepare.pixel_range import ADVICE, normalised_range
from transfer.serving.encodings import read_base64
from transfer.serving.limits import Limits

__all__ = ["BadRequest", "TooLarge", "decoded", "parse_predict", "read_upload"]

SIGNATURES = ("serving_default", "images", "image_bytes")


class BadRequest(ValueError):
    """A mistake of the client, in words."""

    status = 400


class TooLarge(BadRequest):
    """The client sent more than the server takes."""

    status = 413


def parse_predict(body: bytes, limits: Limits) -> tuple[list[np.ndarray], bool]:
    """Reads the images of a request to TensorFlow Serving's `:predict`.

    Args:
        body: A JSON document with `instances`, a list of images, or with `inputs`, which is such a list, too. An image
            is numbers `[h][w][3]` in 0..255, or a file as `{"b64": "..."}`. Either may name its input, as
            `{"images": ...}` or `{"encoded": ...}`. `signature_name` may be one of `serving_default`, `images` and
            `image_bytes`, or empty.
        limits: The limits of the server, on images and pixels.

    Returns:
        The images, uint8 or float32 `[h, w, 3]` each, and whether the answer is to be by row (`predictions`).

    Raises:
        BadRequest: The body is anything else.
    """
    document = _json(body)
    if not isinstance(document, dict):
        raise BadRequest("expected a JSON object with 'instances' or 'inputs'")
    signature = document.get("signature_name", "")
    signature = SIGNATURES[0] if signature == "" else signature  # Clients that name none send an empty name.
    if signature not in SIGNATURES:
        raise BadRequest(f"Serving signature name: {str(signature)[:100]!r} not found; one of {', '.join(SIGNATURES)}")
    if ("instances" in document) == ("inputs" in document):
        raise BadRequest("expected either 'instances' or 'inputs'")
    by_row = "instances" in document
    entries = document["instances"] if by_row else _unnamed(document["inputs"])
    if not isinstance(entries, list) or not entries:
        raise BadRequest("expected a list of one or more images")
    if len(entries) > limits.images:
        raise TooLarge(f"{len(entries)} images are too many for one request; at most {limits.images} are taken")
    return [_image(_unnamed(entry), index, signature, limits) for index, entry in enumerate(entries)], by_row


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"JSON Parse error: {error}") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number that JSON has")


def _unnamed(entry: Any) -> Any:
    """Returns what stands behind the name of an input, where there is a name."""
    if isinstance(entry, dict) and len(entry) == 1 and next(iter(entry)) in ("images", "encoded"):
        return next(iter(entry.values()))
    return entry


def _image(entry: Any, index: int, signature: str, limits: Limits) -> np.ndarray:
    if isinstance(entry, dict):
        if set(entry) != {"b64"} or not isinstance(entry["b64"], str):
            raise BadRequest(f"image {index}: expected numbers [h][w][3] or {{'b64': '...'}}")
        try:
            contents = read_base64(entry["b64"])
        except ValueError as error:
            raise BadRequest(f"image {index}: Unable to base64 decode: {error}") from error
        return decoded(contents, f"image {index}", limits)
    if signature == "image_bytes":
        raise BadRequest(f"image {index}: the signature image_bytes takes {{'b64': '...'}}")
    try:
        pixels = np.array(entry)
        if pixels.dtype.kind not in "iuf":
            raise ValueError(f"values of the kind {pixels.dtype}")
    except (ValueError, RecursionError) as error:  # The list is ragged, or holds no numbers.
        raise BadRequest(f"image {index}: expected numbers [h][w][3]: {str(error)[:200]}") from error
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise BadRequest(f"image {index}: expected numbers [h][w][3], got the shape {list(pixels.shape)}")
    if pixels.shape[0] * pixels.shape[1] > limits.pixels:
        raise TooLarge(f"image {index} has {pixels.shape[0]} x {pixels.shape[1]} pixels, more than are taken")
    if not (pixels.min() >= 0 and pixels.max() <= 255):
        raise BadRequest(f"image {index}: expected values in 0..255, got {pixels.min():g} to {pixels.max():g}")
    found = normalised_range(pixels) if pixels.dtype.kind == "f" else None
    if found is not None:
        raise BadRequest(
            f"image {index} looks normalised already: it is in {found}; expected values in 0..255, which the model "
            f"normalises by itself. {ADVICE}"
        )
    return pixels.astype(np.float32)


def decoded(contents: bytes, name: str, limits: Limits) -> np.ndarray:
    """Decodes an image file into uint8 `[h, w, 3]`.

    Args:
        contents: The file.
        name: What to call it in messages.
        limits: The limits of the server, on pixels.

    Raises:
        BadRequest: It is no image, or has too many pixels.
    """
    try:
        return decode(contents, max_pixels=limits.pixels)
    except ValueError as error:
        kind = TooLarge if "pixels" in str(error) else BadRequest
        raise kind(f"{name} {error}") from error


async def read_upload(body: bytes, content_type: str, limits: Limits) -> bytes:
    """Returns the file of an upload: the body itself, or the part `file` of a multipart form.

    Raises:
        BadRequest: There is no such part.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("image/") or kind == "application/octet-stream":
        return body
    if kind != "multipart/form-data":
        raise BadRequest("expected multipart/form-data with a part named 'file', or the image itself as image/*")

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    parser = MultiPartParser(Headers({"content-type": content_type}), chunks(), max_files=1, max_fields=8)
    parser.spool_max_size = limits.body_bytes + 1  # The file stays in memory.
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise BadRequest(f"the form cannot be read: {getattr(error, 'message', error)}") from error
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise BadRequest("expected a part named 'file' with a file name")
    contents = await file.read()
    await form.close()
    return contents
