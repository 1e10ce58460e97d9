"""Reading images out of the body of a request. No file is written, no name is used, nothing is unpickled."""

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

import numpy as np
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from pipelines.prepare.memory_bound import PIXEL, MemoryBound
from pipelines.prepare.photo_sizes import declared_size
from pipelines.prepare.photos import decode
from pipelines.prepare.pixel_range import ADVICE, normalised_range
from transfer.serving.encodings import read_base64
from transfer.serving.limits import Limits
from transfer.serving.numbers import json_memory, pixels_of_lists

__all__ = ["BadRequest", "TooLarge", "parse_predict", "prepare_file", "read_upload"]

Prepared = TypeVar("Prepared")
LONGEST_SIDE = 65_535  # What JPEG files have at most, and exported graphs can resize.
SIGNATURES = ("serving_default", "images", "image_bytes")


class BadRequest(ValueError):
    """A mistake of the client, in words."""

    status = 400


class TooLarge(BadRequest):
    """The client sent more than the server takes."""

    status = 413


def parse_predict(
    body: bytes, limits: Limits, memory: MemoryBound, prepare: Callable[[np.ndarray], Prepared]
) -> tuple[list[Prepared], bool]:
    """Reads the images of a request to TensorFlow Serving's `:predict`.

    Args:
        body: A JSON document with `instances`, a list of images, or with `inputs`, which is such a list, too. An image
            is numbers `[h][w][3]` in 0..255, or a file as `{"b64": "..."}`. Either may name its input, as
            `{"images": ...}` or `{"encoded": ...}`. `signature_name` may be one of `serving_default`, `images` and
            `image_bytes`, or empty.
        limits: The limits of the server, on images and pixels.
        memory: The memory that all requests share.
        prepare: Is given each image, uint8 or float32 `[h, w, 3]`, before the next one is unpacked, so that there is
            never more than one of them in memory.

    Returns:
        What `prepare` made of the images, and whether the answer is to be by row (`predictions`).

    Raises:
        BadRequest: The body is anything else.
    """
    files: dict[int, bytes] = {}
    prepared: dict[int, Prepared] = {}
    with memory(_affordable(json_memory(body), "the document", limits)):
        entries, signature, by_row = _entries(body, limits)
        count = len(entries)
        for index, entry in enumerate(map(_unnamed, entries)):
            if isinstance(entry, dict):
                files[index] = _file(entry, index)
            else:
                prepared[index] = prepare(_pixels(entry, index, signature, limits))
        del entries, entry
    # The document is gone: whoever waits for room holds none, so that nobody waits for ever.
    for index, contents in files.items():
        prepared[index] = prepare_file(contents, f"image {index}", limits, memory, prepare)
    return [prepared[index] for index in range(count)], by_row


def _entries(body: bytes, limits: Limits) -> tuple[list[Any], str, bool]:
    """Returns the images of a document as it has them, the name of the signature, and whether they are in rows."""
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
    return entries, signature, by_row


def _affordable(amount: int, name: str, limits: Limits) -> int:
    """Returns a number of bytes, if the server has so much at all."""
    if amount > limits.memory_bytes:
        raise TooLarge(f"{name} would take about {amount:,} bytes of memory; at most {limits.memory_bytes:,} are given")
    return amount


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


def _file(entry: dict[str, Any], index: int) -> bytes:
    if set(entry) != {"b64"} or not isinstance(entry["b64"], str):
        raise BadRequest(f"image {index}: expected numbers [h][w][3] or {{'b64': '...'}}")
    try:
        return read_base64(entry["b64"])
    except ValueError as error:
        raise BadRequest(f"image {index}: Unable to base64 decode: {error}") from error


def _pixels(entry: Any, index: int, signature: str, limits: Limits) -> np.ndarray:
    if signature == "image_bytes":
        raise BadRequest(f"image {index}: the signature image_bytes takes {{'b64': '...'}}")
    try:
        pixels = pixels_of_lists(entry, limits.pixels)
    except OverflowError as error:
        raise TooLarge(f"image {index} {error}") from error
    except ValueError as error:
        raise BadRequest(f"image {index}: {error}") from error
    found = normalised_range(pixels) if pixels.dtype.kind == "f" else None
    if found is not None:
        raise BadRequest(
            f"image {index} looks normalised already: it is in {found}; expected values in 0..255, which the model "
            f"normalises by itself. {ADVICE}"
        )
    return pixels.astype(np.float32)


def prepare_file(
    contents: bytes, name: str, limits: Limits, memory: MemoryBound, prepare: Callable[[np.ndarray], Prepared]
) -> Prepared:
    """Decodes an image file, and returns what a function makes of it.

    Args:
        contents: The file.
        name: What to call it in messages.
        limits: The limits of the server, on pixels and memory.
        memory: The memory that all requests share.
        prepare: Is given the image, uint8 `[h, w, 3]`.

    Raises:
        BadRequest: It is no image, or has too many pixels.
    """
    height, width = declared_size(contents)
    if max(height, width) > LONGEST_SIDE:
        raise TooLarge(f"{name} has {height} x {width} pixels; at most {LONGEST_SIDE:,} a side are accepted")
    with memory(_affordable(PIXEL * min(height * width, limits.pixels), name, limits)):
        try:
            image = decode(contents, max_pixels=limits.pixels)
        except ValueError as error:
            kind = TooLarge if "pixels" in str(error) else BadRequest
            raise kind(f"{name} {error}") from error
        return prepare(image)


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
