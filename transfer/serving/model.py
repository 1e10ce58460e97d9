"""The model that is being served, and newer versions of its folder."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from transfer.artifacts.claims import PROOF, read_claims
from transfer.artifacts.engines.table import FORMATS
from transfer.artifacts.manifest import MANIFEST
from transfer.artifacts.proof import Reference, prove_claimed
from transfer.contract import ExportError
from transfer.predict.loading import EXPORTED, load
from transfer.predict.predictor import Predictor
from transfer.serving.batching import Batcher
from transfer.serving.limits import Limits

__all__ = ["Served", "Versions", "open_proven"]

log = logging.getLogger("zoo.serve")


def open_proven(folder: Path, *, engine: str = "auto", max_pixels: int | None = None) -> Predictor:
    """Opens an exported folder, and repeats its proof with the engine that will answer.

    Args:
        folder: The folder that `zoo fit` or `zoo export` wrote.
        engine: The runtime, as `transfer.load` takes it.
        max_pixels: Photos of more pixels are refused before they are unpacked.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: The folder cannot be opened; see `transfer.load`.
        ExportError: The model does not answer as the trained one did.
    """
    predictor = load(folder, engine=engine, max_pixels=max_pixels)
    proven = False
    for place in (folder / EXPORTED, folder):
        if (place / PROOF).is_file() and predictor.contract.fingerprint in (place / MANIFEST).read_text("utf-8"):
            claims, reference = read_claims(place), Reference.load(place / PROOF)
            reference.check(claims.contract)
            name = next(name for name, row in FORMATS.items() if row.engine == predictor.engine.name)
            prove_claimed(predictor.engine, name, claims, reference)
            proven = True
            break
    if not proven:
        log.warning("%s has no proof, so nobody knows whether it answers as the trained model did", folder)
    predictor.warm_up((1, 8))
    return predictor


class Served:
    """A model in service. A request that began while a newer version came in is answered by the version that it met.

    Attributes:
        predictor: The model.
        version: 1 for the first version, and one more for each that followed.
        batcher: What answers images that were prepared for the network.
    """

    def __init__(self, predictor: Predictor, version: int, limits: Limits, seen: Callable[[int], None]):
        self.predictor = predictor
        self.version = version
        self.batcher = Batcher(predictor.answer_prepared, size=limits.batch, seconds=limits.batch_seconds, seen=seen)


class Versions:
    """Watches a folder, and puts a newer version of it in service once that is proven.

    Args:
        folder: The folder that `zoo fit` or `zoo export` wrote.
        engine: The runtime, as `transfer.load` takes it.
        limits: The limits of the server.
        seen: A function that is told the size of every batch.
        changed: A function that is told whether a newer version came in (True), or was refused (False).
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
        self._first: Predictor | None = self._open()  # Here, so that a bad folder is said before the server starts.
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
                continue  # It is still being written.
            self._stamp = stamp
            await self._replace()

    async def close(self) -> None:
        """Ends the threads when every image that came has been answered."""
        await self.current.batcher.close()
        await asyncio.gather(*self._retiring)
        self._thread.shutdown(wait=False)

    async def _replace(self) -> None:
        try:
            predictor = await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        except Exception as error:  # A broken folder may raise anything, and the old version has to go on.
            expected = isinstance(error, ValueError | OSError | ModuleNotFoundError | ExportError)
            log.error(
                "the new version of %s is not served, the old one goes on: %s",
                self.folder,
                error or type(error).__name__,
                exc_info=None if expected else error,
            )
            self._changed(False)
            return
        old = self.current
        self._current = Served(predictor, old.version + 1, self._limits, self._seen)
        task = asyncio.create_task(old.batcher.close())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        log.info("version %d of %s is in service", self._current.version, self.folder)
        self._changed(True)

    def _open(self) -> Predictor:
        return open_proven(self.folder, engine=self._engine, max_pixels=self._limits.pixels)

    def _look(self) -> object:
        """Returns something that changes with the folder; None while there is no folder."""
        stamps = []
        for path in (self.folder / MANIFEST, self.folder / EXPORTED / MANIFEST):
            try:
                facts = path.stat()
            except OSError:
                continue
            stamps.append((facts.st_ino, facts.st_mtime_ns, facts.st_size))
        return tuple(stamps) or None
