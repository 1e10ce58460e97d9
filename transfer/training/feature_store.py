"""Stored activations on disk, for later trainings on the same data."""

import hashlib
import json
import shutil
import warnings
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.outputs.locks import OutputLocked, is_locked, output_lock
from transfer.training.features import Features

__all__ = ["DIGESTS", "FeatureStore", "digest_of"]

DIGESTS = "digests.json"
WRITING = ".writing"


class FeatureStore:
    """A folder with activations as NumPy files, and a digest of each file.

    Beside them lies a probe: what came out for the first batch when they were written. If the same batch gives
    something else now, then the data or the layers are not what the key says, and the activations are computed anew.

    Args:
        folder: The folder that holds the folders of all keys.
        key: A text that stands for the data, their order and their changes, and for how they are stored.
        limit: How many bytes all folders together may take.
        trunk: The layers that the activations come from; their weights become part of the key.
    """

    def __init__(self, folder: Path, key: str, limit: int, trunk: keras.Model):
        digest = hashlib.blake2b(key.encode(), digest_size=16)
        for weight in trunk.weights:
            digest.update(weight.numpy().tobytes())
        self.limit = limit
        self.folder = folder / digest.hexdigest()

    def read(self, probe: list[np.ndarray], labels: Any, batch_size: int) -> tuple[Features, Features | None] | None:
        """Reads the activations of the training and the validation images.

        Args:
            probe: What comes out for the first images now.
            labels: Some labels, for their structure.
            batch_size: The batch size of the data.

        Returns:
            The activations; None where nothing was written, where what was written is damaged, and where it is of
            something else.
        """
        try:
            digests = json.loads((self.folder / DIGESTS).read_text())
            if any(digest_of(self.folder / name) != digest for name, digest in digests.items()):
                _warn_of_damage(self.folder)
                return None
            known = self._load("probe")
            fits = len(known) == len(probe) and all(
                a[: len(b)].shape == b.shape and np.allclose(a[: len(b)], b, rtol=1e-3, atol=1e-3)
                for a, b in zip(known, probe, strict=True)
            )
            if not fits:
                return None
            (self.folder / DIGESTS).touch()  # This one was used last now.
            features = []
            for name in ("train", "valid"):
                arrays = self._load(name)
                flat = self._load(f"{name}_labels")
                features.append(
                    Features(arrays, keras.tree.pack_sequence_as(labels, flat), batch_size) if arrays else None
                )
            return features[0], features[1]  # type: ignore[return-value]
        except FileNotFoundError:
            if self.folder.exists():
                _warn_of_damage(self.folder)
            return None
        except (OSError, ValueError):
            _warn_of_damage(self.folder)
            return None

    def write(self, probe: list[np.ndarray], train: Features, valid: Features | None) -> None:
        """Keeps activations for later if that is possible; a full disk is no reason to stop."""
        work = self.folder.with_suffix(WRITING)
        groups: dict[str, Any] = {"probe": probe}
        for name, features in (("train", train), ("valid", valid)):
            if features is not None:
                groups |= {name: features.arrays, f"{name}_labels": keras.tree.flatten(features.labels)}
        try:
            with output_lock(self.folder):
                self._clear_leftovers()
                self._make_room(train.nbytes + (valid.nbytes if valid is not None else 0))
                work.mkdir(parents=True)
                for name, arrays in groups.items():
                    for i, array in enumerate(arrays):
                        np.save(work / f"{name}-{i}.npy", array, allow_pickle=False)
                digests = {path.name: digest_of(path) for path in work.glob("*.npy")}
                (work / DIGESTS).write_text(json.dumps(digests))
                shutil.rmtree(self.folder, ignore_errors=True)
                work.rename(self.folder)  # A power cut may damage it; its digests tell.
        except OutputLocked:
            return  # Another training writes the very same.
        except OSError:
            shutil.rmtree(work, ignore_errors=True)

    def _clear_leftovers(self) -> None:
        """Removes what killed trainings left half written, which no limit counts."""
        for place in self.folder.parent.glob(f"*{WRITING}"):
            if place == self.folder.with_suffix(WRITING) or not is_locked(place.with_suffix("")):
                shutil.rmtree(place, ignore_errors=True)

    def _load(self, name: str) -> tuple[np.ndarray, ...]:
        paths = (self.folder / f"{name}-{i}.npy" for i in count())
        return tuple(np.load(path, mmap_mode="r", allow_pickle=False) for path in takewhile(Path.exists, paths))

    def _make_room(self, needed: int) -> None:
        """Removes what was used longest ago until everything that is kept stays inside the limit."""
        used = sorted(self.folder.parent.glob(f"*/{DIGESTS}"), key=lambda path: path.stat().st_mtime)
        sizes = {path.parent: sum(file.stat().st_size for file in path.parent.iterdir()) for path in used}
        for entry in list(sizes):
            if sum(sizes.values()) + needed <= self.limit:
                return
            shutil.rmtree(entry)
            del sizes[entry]


def digest_of(path: Path) -> str:
    """Returns the digest of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _warn_of_damage(folder: Path) -> None:
    warnings.warn(f"stored activations in {folder} are cut short or altered; they are computed anew", stacklevel=2)
