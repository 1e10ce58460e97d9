"""Tracking: quality on public sequences, frames per processor second, and memory, next to other packages.

    python -m benchmarks.tracking quality FOLDER
    python -m benchmarks.tracking speed
    python -m benchmarks.tracking memory

`FOLDER` holds sequences of MOTChallenge as NAME.gt.txt and NAME.det.txt. The package `trackers` (Apache-2.0) is
measured side by side where it is installed.
"""

import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.video.motchallenge import read_motchallenge
from zoo.metrics.tracking import MotResult, combine, mot
from zoo.tracking import TRACKERS, track

Sample = dict[str, np.ndarray]


def moving(frames: int, objects: int, *, seed: int = 0, size: tuple[int, int] = (1080, 1920)) -> Iterator[Sample]:
    """Yields the detections of objects that move at constant speeds and turn back at the edges."""
    rng = np.random.default_rng(seed)
    height, width = size
    place = rng.uniform(0, (width, height), (objects, 2))
    speed = rng.uniform(-4, 4, (objects, 2))
    half = rng.uniform(15, 40, (objects, 1)) * np.array([0.5, 1.0])
    for _ in range(frames):
        place = place + speed
        speed = np.where((place < 0) | (place > (width, height)), -speed, speed)
        noise = rng.normal(0, 1, (objects, 4))
        seen = rng.random(objects) > 0.05
        boxes = (np.concatenate([place - half, place + half], axis=1) + noise)[seen]
        yield {"boxes": boxes, "scores": rng.uniform(0.5, 1, seen.sum())}


def other_trackers() -> dict[str, Callable[[], Callable[[Sample], Any]]]:
    """Returns the trackers of the package `trackers` by name: each makes a function from detections to tracks."""
    try:
        import supervision
        import trackers
    except ImportError:
        return {}

    def adapted(kind: Any) -> Callable[[], Callable[[Sample], Any]]:
        def make() -> Callable[[Sample], Any]:
            one = kind()

            def update(sample: Sample) -> Sample:
                count = len(sample["boxes"])
                given = supervision.Detections(
                    xyxy=sample["boxes"].astype(np.float32),
                    confidence=sample["scores"].astype(np.float32),
                    class_id=np.zeros(count, int),
                )
                tracked = one.update(given if count else supervision.Detections.empty())
                identities = np.asarray([] if tracked.tracker_id is None else tracked.tracker_id, int)
                return {"boxes": tracked.xyxy[identities >= 0], "identities": identities[identities >= 0]}

            return update

        return make

    kinds = (trackers.SORTTracker, trackers.ByteTrackTracker, trackers.OCSORTTracker, trackers.CBIoUTracker)
    return {f"trackers {kind.__name__}": adapted(kind) for kind in kinds}


def quality(folder: Path) -> None:
    """Prints HOTA, MOTA and IDF1 of each tracker on each sequence, all with one setting."""
    sequences = {}
    for file in sorted(folder.glob("*.gt.txt")):
        truths = read_motchallenge(file, truth=True)
        sequences[file.name.removesuffix(".gt.txt")] = (
            truths,
            read_motchallenge(file.with_name(file.name.replace(".gt.", ".det.")), frames=len(truths)),
        )

    def row(name: str, run: Callable[[list[Any]], list[Any]]) -> None:
        results = {key: mot(truths, run(found)) for key, (truths, found) in sequences.items()}
        results["together"] = combine(results.values())
        cells = " ".join(f"{key} {_cell(result)}" for key, result in results.items())
        print(f"{name:28} {cells}", flush=True)

    for name, tracker in TRACKERS.items():
        if not tracker.budget:
            row(name, lambda found, name=name: [frame.as_sample() for frame in track(found, name)])  # type: ignore[misc]
    for name, make in other_trackers().items():
        row(name, lambda found, make=make: list(map(make(), found)))  # type: ignore[misc]


def _cell(result: MotResult) -> str:
    return f"HOTA {result.hota:.3f} MOTA {result.mota:.3f} IDF1 {result.idf1:.3f} switches {result.switches};"


def speed() -> None:
    """Prints frames per processor second with 100 objects, and the seconds of 1,000 frames of 300 objects."""
    few = list(moving(300, 100))
    for name, tracker in TRACKERS.items():
        if not tracker.budget:
            print(f"{name:28} {_rate(lambda name=name: sum(1 for _ in track(few, name)), len(few)):7.0f} frames/s")
    for name, make in other_trackers().items():

        def run(make: Callable[[], Callable[[Sample], Any]] = make) -> None:
            update = make()
            for sample in few:
                update(sample)

        print(f"{name:28} {_rate(run, len(few)):7.0f} frames/s", flush=True)
    many = list(moving(1000, 300))
    began = time.perf_counter()
    sum(1 for _ in track(many))
    print(f"1,000 frames of 300 objects: {time.perf_counter() - began:.1f} s")


def _rate(run: Callable[[], Any], frames: int) -> float:
    run()
    rates = []
    for _ in range(3):
        began = time.process_time()
        run()
        rates.append(frames / (time.process_time() - began))
    return max(rates)


def memory(frames: int = 100_000) -> None:
    """Prints the memory that Python and NumPy hold along a long sequence."""
    tracemalloc.start()
    for number, _ in enumerate(track(moving(frames, 10)), 1):
        if number % (frames // 5) == 0:
            print(f"{number} frames: {tracemalloc.get_traced_memory()[0] / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    {"quality": lambda: quality(Path(sys.argv[2])), "speed": speed, "memory": memory}[sys.argv[1]]()
