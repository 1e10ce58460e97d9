"""Requests that arrive together are answered together."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

__all__ = ["Batcher"]


class Batcher:
    """Gathers images of many callers into batches for a function that answers many at once.

    The function runs in a thread of its own, one batch at a time; while it works, the next batch gathers. The number of
    images that wait is bounded by whoever calls (`transfer.serving.app.Admission`).

    Batches have 1, 2, 4, 8 and so on images, up to the largest; what is over waits for the next. Runtimes prepare for
    each size that they meet, and keep that: with all sizes from 1 to 32 their memory would grow for hours.

    Args:
        answer: uint8 [n, H, W, 3] -> float32 [n, classes].
        size: the largest n.
        seconds: how long the first image of a batch waits for others.
        seen: is told the size of every batch.
    """

    def __init__(
        self,
        answer: Callable[[np.ndarray], np.ndarray],
        *,
        size: int = 32,
        seconds: float = 0.002,
        seen: Callable[[int], None] = lambda size: None,
    ):
        self._answer = answer
        self._size = size
        self._seconds = seconds
        self._seen = seen
        self._queue: asyncio.Queue[tuple[np.ndarray, asyncio.Future]] = asyncio.Queue()
        self._over: list[tuple[np.ndarray, asyncio.Future]] = []  # from the last batch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task = asyncio.create_task(self._run())
        self._closed = False

    async def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Float32 [images, classes] for uint8 [H, W, 3] each.

        Raises:
            whatever the function raises, for every image of that batch.
        """
        if self._closed:  # its photo was still being decoded when a newer version took over
            return await asyncio.to_thread(self._answer, np.stack(images))
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in images]
        for entry in zip(images, futures, strict=True):
            self._queue.put_nowait(entry)
        return np.stack(await asyncio.gather(*futures))

    async def close(self) -> None:
        """Ends when everything that was asked has been answered."""
        await self._queue.join()
        self._closed = True
        self._task.cancel()
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gather()
            wanted = [(image, future) for image, future in batch if not future.done()]  # their callers may have left
            try:
                if wanted:
                    self._seen(len(wanted))
                    images = np.stack([image for image, _ in wanted])
                    rows = await loop.run_in_executor(self._thread, self._answer, images)
                    for (_, future), row in zip(wanted, rows, strict=True):
                        if not future.done():
                            future.set_result(row)
            except Exception as error:
                for _, future in wanted:
                    if not future.done():
                        future.set_exception(error)
            for _ in batch:
                self._queue.task_done()

    async def _gather(self) -> list[tuple[np.ndarray, asyncio.Future]]:
        batch = self._over or [await self._queue.get()]
        deadline = asyncio.get_running_loop().time() + self._seconds
        while len(batch) < self._size:
            if self._queue.empty():
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    break
                try:
                    batch.append(await asyncio.wait_for(self._queue.get(), left))
                except TimeoutError:
                    break
            else:
                batch.append(self._queue.get_nowait())
        batch, self._over = _power_of_two(batch)
        return batch


def _power_of_two(entries: list[Any]) -> tuple[list[Any], list[Any]]:
    """The first 1, 2, 4, 8 or so of them, as many as there are, and the rest.

    >>> _power_of_two(["a", "b", "c"])
    (['a', 'b'], ['c'])
    """
    most = 1 << (len(entries).bit_length() - 1)
    return entries[:most], entries[most:]
