"""A model in service, with the threads that read photos and compute maps of the evidence."""

import asyncio
import base64
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.exceptions import HTTPException

from transfer.predict.predictor import Predictor
from transfer.serving.gate import Admission, Busy
from transfer.serving.limits import Limits
from transfer.serving.metrics import Metrics
from transfer.serving.model import Served, Versions
from transfer.tasks.task import Arrays

__all__ = ["Service"]

LABELS = ("stable", "latest")  # Names of the version in service; there is only one.
EXPLAINING = 2  # Requests for Grad-CAM at a time; it takes seconds.


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
        return await asyncio.get_running_loop().run_in_executor(self._readers, function, *arguments)

    async def outputs(self, served: Served, images: Sequence[np.ndarray]) -> list[Arrays]:
        """Returns the outputs for images `[h, w, 3]`, with boxes in their pixels."""
        predictor = served.predictor
        prepared = await self.in_thread(lambda: [predictor.prepare(image) for image in images])
        answers = await served.batcher(prepared)
        return [predictor.in_photo(one, image.shape[:2]) for one, image in zip(answers, images, strict=True)]

    async def explanation(self, predictor: Predictor, image: np.ndarray) -> dict[str, str]:
        """Returns what the network was given, and a map of the evidence as a transparent picture to lay over it.

        Raises:
            Busy: Too many such maps are being computed.
        """
        if self._explaining.locked():
            raise Busy
        async with self._explaining:
            return await asyncio.get_running_loop().run_in_executor(self._explainer, _explanation, predictor, image)


def _explanation(predictor: Predictor, image: np.ndarray) -> dict[str, str]:
    crop, heat = predictor.prepare(image), predictor.explain(image)
    colour = np.stack([np.full_like(heat, 255), 220 * (1 - heat), np.zeros_like(heat), 255 * heat], axis=-1)
    return {"image": _data_url(crop), "heat": _data_url(colour)}


def _data_url(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(np.rint(pixels).astype(np.uint8)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
