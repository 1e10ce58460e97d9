"""Requests that arrive together are answered together."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

__all__ = ["Batcher"]


class Batcher:
    """Gathers images of many callers into batches for a function that answers many at once.

    The function runs in a thread of its own, one batch at a time; while it works, the next batch gathers. The callers
    bound how many images wait (`transfer.serving.gate.Admission`).

    Batches have 1, 2, 4, 8 and so on images, up to the largest; what is over waits for the next. Runtimes prepare for
    each size that they meet, and keep that: with all sizes from 1 to 32 their memory would grow for hours.

    Args:
        answer: The function: from images `[n, H, W, 3]` to one answer for each of them, of any type.
        size: Maximum number of images in a batch. Defaults to 32.
        seconds: How long the first image of a batch waits for others. Defaults to 0.002.
        seen: A function that is told the size of every batch.
    """

    def __init__(
        self,
        answer: Callable[[np.ndarray], Sequence[Any]],
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
        self._over: list[tuple[np.ndarray, asyncio.Future]] = []  # They were too many for the last batch.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task = asyncio.create_task(self._run())
        self._closed = False

    async def __call__(self, images: Sequence[np.ndarray]) -> list[Any]:
        """Returns one answer for each of the images `[H, W, 3]`.

        Raises:
            Exception: Whatever the function raises, for every image of that batch.
        """
        if self._closed:  # The caller's photo was still being decoded when a newer version took over.
            return list(await asyncio.to_thread(self._answer, np.stack(images)))
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in images]
        for entry in zip(images, futures, strict=True):
            self._queue.put_nowait(entry)
        return list(await asyncio.gather(*futures))

    async def close(self) -> None:
        """Ends the thread when every image that came has been answered."""
        await self._queue.join()
        self._closed = True
        self._task.cancel()
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gather()
            wanted = [(image, future) for image, future in batch if not future.done()]  # Their callers may have left.
            try:
                if wanted:
                    self._seen(len(wanted))
                    images = np.stack([image for image, _ in wanted])
                    answers = await loop.run_in_executor(self._thread, self._answer, images)
                    for (_, future), answer in zip(wanted, answers, strict=True):
                        if not future.done():
                            future.set_result(answer)
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
    """Returns the first 1, 2, 4, 8 or so entries, as many as there are, and the rest.

    >>> _power_of_two(["a", "b", "c"])
    (['a', 'b'], ['c'])
    """
    most = 1 << (len(entries).bit_length() - 1)
    return entries[:most], entries[most:]
