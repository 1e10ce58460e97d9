"""A model in service, with the threads that read photos and compute maps of the evidence."""

import asyncio
import base64
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.exceptions import HTTPException

from pipelines.prepare.memory_bound import MemoryBound
from transfer.predict.predictor import Predictor
from transfer.serving.gate import Admission, Busy
from transfer.serving.limits import Limits
from transfer.serving.metrics import Metrics
from transfer.serving.model import Served, Versions
from transfer.serving.requests import parse_predict, prepare_file
from transfer.tasks.task import Arrays

__all__ = ["Prepared", "Service"]

LABELS = ("stable", "latest")  # Names of the version in service; there is only one.
EXPLAINED_PIXELS = 1600  # Longer side in pixels, above which a photo with its map is shrunk.
EXPLAINING = 2  # Requests for Grad-CAM at a time; it takes seconds.


@dataclass(frozen=True, eq=False)
class Prepared:
    """A photo as the network is shown it.

    Attributes:
        image: The image `[H, W, 3]`, of the preparation's type.
        size: Height and width of the photo, in pixels.
    """

    image: np.ndarray
    size: tuple[int, int]


class Service:
    """What all routes of the application share.

    Args:
        folder: The folder that `zoo fit` or `zoo export` wrote.
        name: The name of the model in the paths.
        engine: The runtime, as `transfer.load` takes it.
        limits: Bounds on what clients may ask.
    """

    def __init__(self, folder: Path, *, name: str, engine: str, limits: Limits):
        self.folder = folder
        self.name = name
        self.limits = limits
        self.metrics = metrics = Metrics()
        self.admission = Admission(limits.waiting, metrics)
        self.memory = MemoryBound(limits.memory_bytes)
        self.versions = Versions(
            folder,
            engine=engine,
            limits=limits,
            seen=metrics.batch_size.observe,
            changed=lambda better: (metrics.reloads if better else metrics.reload_failures).inc(),
        )
        self._readers = ThreadPoolExecutor(max(2, os.cpu_count() or 1), thread_name_prefix="read")
        self._explainer = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._explaining = asyncio.Semaphore(EXPLAINING)

    async def close(self) -> None:
        """Ends the threads when every image that came has been answered."""
        await self.versions.close()
        self._readers.shutdown(wait=False)
        self._explainer.shutdown(wait=False)

    @property
    def current(self) -> Served:
        """The version that answers new requests."""
        return self.versions.current

    def served_as(self, model: str, version: str | None = None, label: str | None = None) -> Served:
        """Returns the version in service, if it is the one that a path names by its number or its label.

        Raises:
            HTTPException: It is not; its status is 404.
        """
        served = self.current
        if model != self.name or (version is not None and version != str(served.version)):
            wanted = model if version is None else f"{model}, version {version}"
            raise HTTPException(404, f"Servable not found for request: {wanted[:200]}. This server has {self.name}")
        if label is not None and label not in LABELS:
            known = " and ".join(LABELS)
            raise HTTPException(
                404, f"Unrecognized servable version label: {label[:100]}. The version in service is {known}"
            )
        return served

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a function in one of the threads that read photos, and returns its result."""
        return await _ended(self._readers.submit(function, *arguments))

    async def prepared(self, served: Served, contents: bytes) -> Prepared:
        """Returns what the network is shown of an uploaded file.

        Raises:
            BadRequest: It is no image, or has too many pixels.
        """
        return await self.in_thread(
            prepare_file, contents, "the file", self.limits, self.memory, lambda image: _prepared(served, image)
        )

    async def all_prepared(self, served: Served, body: bytes) -> tuple[list[Prepared], bool]:
        """Returns what the network is shown of the images of a request, and whether the answer is to be by row.

        Raises:
            BadRequest: The body is not as `parse_predict` takes it.
        """
        return await self.in_thread(
            parse_predict, body, self.limits, self.memory, lambda image: _prepared(served, image)
        )

    async def outputs(self, served: Served, prepared: Sequence[Prepared]) -> list[Arrays]:
        """Returns the outputs for prepared images, with boxes in pixels of the photos."""
        answers = await served.batcher([one.image for one in prepared])
        return [served.predictor.in_photo(answer, one.size) for answer, one in zip(answers, prepared, strict=True)]

    async def explanation(self, predictor: Predictor, contents: bytes) -> dict[str, str]:
        """Returns the upright photo, and a map of the evidence as a transparent picture to lay over it.

        Args:
            predictor: The model.
            contents: The photo as a file: pixels would fill the memory while other maps are computed.

        Raises:
            Busy: Too many such maps are being computed.
        """
        if self._explaining.locked():
            raise Busy
        async with self._explaining:
            explained = partial(_explanation, predictor)
            return await _ended(
                self._explainer.submit(prepare_file, contents, "the file", self.limits, self.memory, explained)
            )


async def _ended(work: Future[Any]) -> Any:
    """Returns the result of some work in a thread.

    Where nobody waits for it any more, work that has not begun is left out, and work that has begun still counts until
    it ends: a thread cannot be stopped.
    """
    try:
        return await asyncio.wrap_future(work)
    except asyncio.CancelledError:
        while not work.done():
            await asyncio.sleep(0.05)
        raise


def _prepared(served: Served, image: np.ndarray) -> Prepared:
    return Prepared(served.predictor.prepare(image), (image.shape[0], image.shape[1]))


def _explanation(predictor: Predictor, image: np.ndarray) -> dict[str, str]:
    height, width = image.shape[:2]
    scale = min(1.0, EXPLAINED_PIXELS / max(height, width))
    size = max(1, round(scale * height)), max(1, round(scale * width))
    heat = predictor.contract.preparation.map_to_photo(predictor.explain(image), size)
    colour = np.stack([np.full_like(heat, 255), 220 * (1 - heat), np.zeros_like(heat), 255 * heat], axis=-1)
    if size != (height, width):
        image = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS))
    return {"image": _data_url(image), "heat": _data_url(colour)}


def _data_url(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(np.rint(pixels).astype(np.uint8)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
