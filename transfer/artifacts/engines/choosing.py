"""The fastest engine, by a short measurement that is remembered."""

import hashlib
import importlib.metadata
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import platformdirs

from transfer.artifacts.engines.base import Engine
from transfer.artifacts.engines.table import FORMATS, open_artifact, runtime_is_installed
from transfer.artifacts.manifest import MANIFEST
from transfer.artifacts.proof import PROOF, Reference, prove
from transfer.contract import ExportError
from transfer.tasks import task_of

__all__ = ["check_precision", "choose", "seconds"]

BATCH = 8
PRECISION_TOLERANCE = 0.05  # How far answers to the proof photos may differ, as the task counts differences.
PRECISION_AGREEMENT = 0.9  # The share of answers that have to agree as well. A photo is a fifth of a classifier's.


def choose(artifacts: Mapping[str, Path]) -> dict[str, Path]:
    """Chooses the fastest of several artifacts whose runtime is installed.

    Those that need TensorFlow count only when there are no others. What was measured is kept in the user's folder for
    caches, for these artifacts, these versions and this number of processors.

    Args:
        artifacts: Name of a format -> its file or folder; at least one.

    Returns:
        One of them. If no runtime is installed, it is the first, and opening it says what to install.
    """
    installed = {name: path for name, path in artifacts.items() if runtime_is_installed(name)}
    lean = {name: path for name, path in installed.items() if name not in ("saved_model", "keras")}
    if not lean:
        best = next((name for name in ("saved_model", "keras") if name in installed), next(iter(artifacts)))
        return {best: artifacts[best]}
    if len(lean) == 1:
        return lean
    key, memory = _key(lean), _memory()
    known = _remembered(memory)
    if known.get(key) not in lean:
        speed = {name: seconds(open_artifact(path)) for name, path in lean.items()}
        known[key] = min(speed, key=speed.__getitem__)
        _remember(memory, known)
    return {known[key]: lean[known[key]]}


def seconds(engine: Engine) -> float:
    """Returns the mean of the logarithms of the seconds for one image and for a batch of 8, each the best of three."""
    times = []
    for size in (1, BATCH):
        engine.warm_up(size)  # This does what is done only once.
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            engine.warm_up(size)
            best = min(best, time.perf_counter() - start)
        times.append(best)
    return float(np.mean(np.log(times)))


def check_precision(engine: Engine, artifact: Path) -> None:
    """Compares an engine that calculates in less than float32 with the trained model's answers to the proof photos.

    Args:
        engine: The engine.
        artifact: The file that it opened. The proof lies beside it.

    Raises:
        ValueError: An answer differs too much, or there is no proof to compare with.
    """
    proof = artifact.parent / PROOF
    if not proof.is_file():
        raise ValueError(f"{artifact} has no {PROOF} beside it, so what {engine.precision} loses cannot be measured")
    reference, contract = Reference.load(proof), engine.contract
    advice = f"{engine.precision} is too coarse for this model; take float32."
    try:
        prove(engine, artifact.name, reference, PRECISION_TOLERANCE)
    except ExportError as error:
        raise ValueError(f"{advice} {error}") from error
    task = task_of(contract.task)
    prepared = np.stack([contract.preparation.on_photo(photo) for photo in reference.photos])
    expected = task.limited(reference.whole, contract) if engine.limited else reference.whole
    share = task.agreement(expected, engine.outputs("prepared", prepared), contract)
    if share < PRECISION_AGREEMENT:
        raise ValueError(f"{advice} On the proof photos only {100 * share:.0f}% of the answers are the same")


def _key(artifacts: Mapping[str, Path]) -> str:
    facts: list[object] = [os.cpu_count()]
    for name, path in artifacts.items():
        manifest = path.parent / MANIFEST
        stamp = manifest.read_text(encoding="utf-8") if manifest.is_file() else str(path.stat().st_mtime_ns)
        facts += [name, str(path.resolve()), stamp, importlib.metadata.version(FORMATS[name].needs[1])]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _memory() -> Path:
    return platformdirs.user_cache_path("transfer-zoo") / "engines.json"


def _remembered(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(path: Path, known: dict[str, str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(known), encoding="utf-8")
        beside.replace(path)
    except OSError:
        pass  # Then it is measured again next time.
