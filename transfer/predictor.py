"""`load` reads what `zoo fit` or `transfer.export` wrote, or names a pretrained model, and names what is in photos."""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import zoo
import zoo.layers
from pipelines import EvaluationCrop
from transfer.exporting import Contract, Photo, endpoints
from zoo.weights import PRETRAINED, imagenet_classes

__all__ = ["Answer", "Prediction", "Predictor", "load"]

Photos = Sequence[Photo] | np.ndarray  # an array of [n, h, w, 3] is n photos


@dataclass(frozen=True)
class Prediction:
    """One class and its probability.

    Attributes:
        index: of the class in the model's output.
        label: the name of the class.
        score: its probability, 0..1.
        wnid: WordNet's identifier, for models that know the ImageNet classes.
    """

    index: int
    label: str
    score: float
    wnid: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a model says about one photo.

    Attributes:
        name: the photo's path, or which of the photos it was.
        predictions: the likeliest classes, likeliest first. Empty if there is an error.
        error: why there is no answer, or None.
    """

    name: str
    predictions: tuple[Prediction, ...] = ()
    error: str | None = None


class Predictor:
    """A model with all that it takes to ask it about photos as they come.

    `load` makes one.

    Attributes:
        contract: class names, crop and versions.
    """

    def __init__(
        self,
        contract: Contract,
        *,
        images: Callable[[tf.Tensor], Any],
        image_bytes: Callable[[tf.Tensor], Any],
        wnids: Sequence[str] | None = None,
    ):
        self.contract = contract
        self._images = images
        self._image_bytes = image_bytes
        self._wnids = wnids

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, in the order of the probabilities."""
        return self.contract.class_names

    def probabilities(self, photos: Photo | Photos, *, batch_size: int = 32) -> np.ndarray:
        """The probability of every class for every photo.

        Args:
            photos: paths, encoded bytes, or RGB arrays [h, w, 3] (uint8, or floats in 0..255); or one of these.
            batch_size: how many photos are worked on at a time.

        Returns:
            float32 [photos, classes].

        Raises:
            ValueError: a photo cannot be read; the first is named.
        """
        rows = []
        for name, row in self._each(photos, batch_size):
            if isinstance(row, str):
                raise ValueError(f"{name} {row}")
            rows.append(row)
        return np.stack(rows) if rows else np.zeros((0, len(self.class_names)), "float32")

    def predict(self, photos: Photo | Photos, *, top: int = 5, batch_size: int = 32) -> list[Answer]:
        """The likeliest classes of every photo. A photo that cannot be read gets an answer that says why.

        Args:
            photos: as `probabilities` takes them.
            top: how many classes for each photo.
            batch_size: how many photos are worked on at a time.

        Returns:
            One answer for each photo, in order.

        Raises:
            ValueError: `top` is less than 1.
        """
        if top < 1:
            raise ValueError(f"expected at least 1 class a photo, got top={top}")
        return [
            Answer(name, error=row) if isinstance(row, str) else Answer(name, self._likeliest(row, top))
            for name, row in self._each(photos, batch_size)
        ]

    def _likeliest(self, row: np.ndarray, top: int) -> tuple[Prediction, ...]:
        return tuple(
            Prediction(int(i), self.class_names[i], float(row[i]), self._wnids[i] if self._wnids else None)
            for i in np.argsort(-row, kind="stable")[:top]
        )

    def _each(self, photos: Photo | Photos, batch_size: int) -> Iterator[tuple[str, np.ndarray | str]]:
        """Name and probabilities, or why there are none, of each photo."""
        if isinstance(photos, str | Path | bytes) or (isinstance(photos, np.ndarray) and photos.ndim == 3):
            photos = [photos]
        for start in range(0, len(photos), batch_size):
            some = photos[start : start + batch_size]
            names = (_name(photo, start + i) for i, photo in enumerate(some))
            yield from zip(names, self._batch(some), strict=True)

    def _batch(self, photos: Photos) -> Iterable[np.ndarray | str]:
        if isinstance(photos, np.ndarray) and photos.ndim == 4 and photos.shape[-1] == 3:  # all of one size
            return self._images(tf.constant(photos, tf.float32))["probabilities"].numpy()
        answers: list[np.ndarray | str] = [""] * len(photos)
        encoded: dict[int, bytes] = {}
        for i, photo in enumerate(photos):
            try:
                if isinstance(photo, np.ndarray):
                    answers[i] = self._ask_array(photo)
                else:
                    encoded[i] = photo if isinstance(photo, bytes) else Path(photo).read_bytes()
            except OSError as error:
                answers[i] = f"cannot be read: {error.strerror or error}"
            except ValueError as error:
                answers[i] = str(error)
        for i, answer in zip(encoded, self._ask_bytes(list(encoded.values())), strict=True):
            answers[i] = answer
        return answers

    def _ask_array(self, photo: np.ndarray) -> np.ndarray:
        if photo.ndim != 3 or photo.shape[-1] != 3 or 0 in photo.shape:
            raise ValueError(f"is no RGB image: expected an array of [height, width, 3], got {photo.shape}")
        return self._images(tf.constant(photo[np.newaxis], tf.float32))["probabilities"].numpy()[0]

    def _ask_bytes(self, encoded: list[bytes]) -> list[np.ndarray | str]:
        """All at once; if one of them cannot be decoded, half of them, and the other half."""
        if not encoded:
            return []
        try:
            return list(self._image_bytes(tf.constant(encoded))["probabilities"].numpy())
        except tf.errors.OpError:
            if len(encoded) > 1:
                half = len(encoded) // 2
                return self._ask_bytes(encoded[:half]) + self._ask_bytes(encoded[half:])
            return ["cannot be decoded; expected a whole JPEG, PNG, GIF, BMP or WebP file"]


def _name(photo: Photo, index: int) -> str:
    return str(photo) if isinstance(photo, str | Path) else f"photo {index}"


def load(source: str | Path) -> Predictor:
    """What can name what is in photos.

    Args:
        source: a folder that `zoo fit` or `transfer.export` wrote, its `saved_model` folder or its `.keras` file
            alone, or the name of a zoo model that has ImageNet weights (`efficientnet_lite0`).

    Raises:
        FileNotFoundError: there is no such folder, file or model.
        ValueError: it is there, but was not written by this project, or is of a newer format.
    """
    path = Path(source)
    if str(source) in zoo.list_models() and not path.exists():
        return _pretrained(str(source))
    if path.suffix == ".keras" and path.is_file():
        return _from_keras(path)
    for folder in (path / "saved_model", path):
        if (folder / "saved_model.pb").is_file():
            return _from_saved_model(folder)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, but holds no model; expected one that `zoo fit` or an export wrote")
    if path.exists():
        raise ValueError(f"{path} is no model; expected a .keras file, or a folder that `zoo fit` or an export wrote")
    raise FileNotFoundError(_nothing_named(str(source)))


def _pretrained(name: str) -> Predictor:
    model = zoo.create_model(name, weights="imagenet")
    row, classes = PRETRAINED[name], imagenet_classes()
    crop = EvaluationCrop((row.image_size, row.image_size), row.crop_fraction, row.interpolation)
    contract = Contract(tuple(each.label for each in classes), crop)
    return _from_model(model, contract, wnids=[each.wnid for each in classes])


def _nothing_named(source: str) -> str:
    near = get_close_matches(source, zoo.list_models(), n=3)
    hint = f"; did you mean the model {' or '.join(near)}?" if near else "; `zoo models` lists the zoo's"
    return f"no folder, no .keras file and no model is named {source}{hint}"


def _from_saved_model(folder: Path) -> Predictor:
    loaded = tf.saved_model.load(str(folder))
    if "contract" not in loaded.signatures:
        raise ValueError(f"{folder} is a SavedModel, but not one that this project exported: it has no contract")
    contract = Contract.from_json(loaded.signatures["contract"]()["contract"].numpy())
    ways = loaded.signatures

    # Functions of our own, so that `loaded` lives as long as they do: its signatures alone do not hold its variables.
    return Predictor(
        contract,
        images=lambda images: ways["images"](images=images),
        image_bytes=lambda encoded: ways["image_bytes"](encoded=encoded),
    )


def _from_keras(path: Path) -> Predictor:
    try:
        with zipfile.ZipFile(path) as archive:
            contract = Contract.from_json(archive.read("contract.json"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(
            f"{path} was not written by transfer.export: {error}. Load it with keras.models.load_model, and export "
            "it with its class names and its crop"
        ) from error
    return _from_model(keras.models.load_model(path, compile=False), contract)


def _from_model(model: keras.Model, contract: Contract, *, wnids: Sequence[str] | None = None) -> Predictor:
    functions = {
        name: tf.function(function, input_signature=signatures[0], autograph=False)
        for name, (function, signatures) in endpoints(model, contract).items()
    }
    return Predictor(contract, images=functions["images"], image_bytes=functions["image_bytes"], wnids=wnids)
