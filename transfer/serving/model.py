"""The model that is being served, and newer versions of its folder."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from transfer.artifacts.manifest import MANIFEST
from transfer.artifacts.proof import PROOF, repeated_proof
from transfer.contract import ExportError
from transfer.predict.predictor import EXPORTED, Predictor, load
from transfer.serving.batching import Batcher
from transfer.serving.limits import Limits
from transfer.tasks.detect.predictor import DetectionPredictor

__all__ = ["Served", "Versions", "open_proven"]

log = logging.getLogger("zoo.serve")


Anyone = Predictor | DetectionPredictor


def open_proven(folder: Path, *, engine: str = "auto", max_pixels: int | None = None) -> Anyone:
    """Opens an exported folder, and repeats its proof with the engine that will answer.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: as of `transfer.load`.
        ExportError: it does not answer as the trained model did.
    """
    predictor = load(folder, engine=engine, max_pixels=max_pixels)
    for place in (folder / EXPORTED, folder):
        if (place / PROOF).is_file() and predictor.contract.fingerprint in (place / MANIFEST).read_text("utf-8"):
            repeated_proof(place)(predictor.engine, predictor.engine.name, _tolerance(place, predictor))
            break
    predictor.warm_up((1, 8))
    return predictor


def _tolerance(folder: Path, predictor: Anyone) -> float:
    from transfer.artifacts.engines.table import FORMATS
    from transfer.artifacts.manifest import read_manifest

    artifacts = read_manifest(folder)["artifacts"]
    name = next(name for name, row in FORMATS.items() if row.engine == predictor.engine.name)
    return artifacts.get(name, {}).get("tolerance", 1e-4)


class Served:
    """A model in service: who asks while a newer version comes in is answered by the one that he began with.

    Attributes:
        predictor: the model.
        version: 1 for the first, and one more for each that followed.
        batcher: answers images that were prepared for the network.
    """

    def __init__(self, predictor: Anyone, version: int, limits: Limits, seen: Callable[[int], None]):
        self.predictor = predictor
        self.version = version
        self.batcher = Batcher(predictor.answer, size=limits.batch, seconds=limits.batch_seconds, seen=seen)


class Versions:
    """Watches a folder, and puts a newer version of it in service once that is proven.

    Args:
        folder: that `zoo fit` or `zoo export` wrote.
        engine: as of `transfer.load`.
        limits: of the server.
        seen: is told the size of every batch.
        changed: is told whether a newer version came in, or was refused.
    """

    def __init__(
        self,
        folder: Path,
        *,
        engine: str,
        limits: Limits,
        seen: Callable[[int], None],
        changed: Callable[[bool], None],
    ):
        self.folder = folder
        self._engine = engine
        self._limits = limits
        self._seen = seen
        self._changed = changed
        self._stamp = self._look()
        self._first: Anyone | None = self._open()  # here, so that a bad folder is said before the server starts
        self._current: Served | None = None
        self._retiring: set[asyncio.Task] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reload")

    @property
    def current(self) -> Served:
        """The version that answers new requests."""
        if self._current is None:
            assert self._first is not None
            self._current, self._first = Served(self._first, 1, self._limits, self._seen), None
        return self._current

    async def watch(self, seconds: float = 1.0) -> None:
        """Looks at the folder again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            stamp = self._look()
            if stamp is None or stamp == self._stamp:
                continue
            await asyncio.sleep(min(seconds, 0.2))
            if self._look() != stamp:
                continue  # still being written
            self._stamp = stamp
            await self._replace()

    async def close(self) -> None:
        """Ends when all that was asked has been answered."""
        await self.current.batcher.close()
        await asyncio.gather(*self._retiring)
        self._thread.shutdown(wait=False)

    async def _replace(self) -> None:
        try:
            predictor = await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        except (ValueError, OSError, ModuleNotFoundError, ExportError) as error:
            log.error("the new version of %s is not served, the old one goes on: %s", self.folder, error)
            self._changed(False)
            return
        old = self.current
        self._current = Served(predictor, old.version + 1, self._limits, self._seen)
        task = asyncio.create_task(old.batcher.close())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        log.info("version %d of %s is in service", self._current.version, self.folder)
        self._changed(True)

    def _open(self) -> Anyone:
        return open_proven(self.folder, engine=self._engine, max_pixels=self._limits.pixels)

    def _look(self) -> object:
        """Something that changes with the folder; None while there is none."""
        found = []
        for path in (self.folder / MANIFEST, self.folder / EXPORTED / MANIFEST):
            try:
                facts = path.stat()
            except OSError:
                continue
            found.append((facts.st_ino, facts.st_mtime_ns, facts.st_size))
        return tuple(found) or None
