"""`load` opens what `zoo fit` or `zoo export` wrote, or a pretrained model, and names what is in photos.

Artifacts for ONNX Runtime, OpenVINO and LiteRT are read without importing TensorFlow.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import zoo
from pipelines import EvaluationCrop
from pipelines.prepare.photos import SUFFIXES, crop_photo, decode
from transfer.artifacts.engines.base import Engine
from transfer.artifacts.engines.choosing import check_precision, choose
from transfer.artifacts.engines.table import FORMATS, format_of, open_artifact
from transfer.artifacts.manifest import MANIFEST, check_files, read_manifest
from transfer.contract import Contract

__all__ = [
    "EXPORTED",
    "Answer",
    "Prediction",
    "Predictor",
    "load",
    "named_photos",
    "photos_in",
    "pixels_of",
    "read_ahead",
]

Photo = str | Path | bytes | np.ndarray
Photos = Sequence[Photo] | Iterable[Photo] | np.ndarray  # an array of [n, h, w, 3] is n photos

EXPORTED = "exported"  # the folder inside of a run that `zoo export` writes unless told otherwise
READERS = 4  # threads that read, decode and crop while the engine works


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
        predictions: the likeliest classes, likeliest first, as far as they reach their thresholds. Empty if there is
            an error.
        error: why there is no answer, or None.
    """

    name: str
    predictions: tuple[Prediction, ...] = ()
    error: str | None = None


class Predictor:
    """A model with all that it takes to ask it about photos as they come.

    `load` makes one. Photos may be a path, encoded bytes, or an RGB array [h, w, 3] (uint8, or floats in 0..255); a
    list, generator or other iterable of these; an array [n, h, w, 3]; or a folder, which stands for the images in it.

    Attributes:
        engine: the runtime that answers.
        max_pixels: photos of more pixels are refused before they are unpacked.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        wnids: Sequence[str] | None = None,
        keras_file: Path | None = None,
        max_pixels: int | None = None,
    ):
        self.engine = engine
        self.max_pixels = max_pixels
        self._wnids = wnids
        self._keras_file = keras_file
        self._layers: Engine | None = None  # the Keras model, opened when somebody asks for Grad-CAM

    @property
    def contract(self) -> Contract:
        """Class names, crop, thresholds and versions."""
        return self.engine.contract

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, in the order of the probabilities."""
        return self.contract.class_names

    def probabilities(self, photos: Photo | Photos, *, batch_size: int = 32, augment: bool = False) -> np.ndarray:
        """The probability of every class for every photo.

        Args:
            photos: see the class.
            batch_size: how many photos are worked on at a time.
            augment: average over the photo, its mirror image, and both at a larger crop (test-time augmentation).

        Returns:
            float32 [photos, classes].

        Raises:
            ValueError: a photo cannot be read; the first is named.
        """
        return self._all(self._stream(photos, batch_size, self.engine.cropped, augment), len(self.class_names))

    def embeddings(self, photos: Photo | Photos, *, batch_size: int = 32) -> np.ndarray:
        """What the last layer sees of every photo: near each other for photos that look alike to the model.

        Args:
            photos: see the class.
            batch_size: how many photos are worked on at a time.

        Returns:
            float32 [photos, features].

        Raises:
            ValueError: a photo cannot be read; the first is named.
        """
        return self._all(self._stream(photos, batch_size, self.engine.embeddings), 0)

    def predict(
        self,
        photos: Photo | Photos,
        *,
        top: int = 5,
        threshold: float | None = None,
        batch_size: int = 32,
        augment: bool = False,
    ) -> list[Answer]:
        """The likeliest classes of every photo. A photo that cannot be read gets an answer that says why.

        Args:
            photos: see the class.
            top: how many classes for each photo.
            threshold: leave out classes with a lower score. Unless given, the model's own thresholds, if it has any.
            batch_size: how many photos are worked on at a time.
            augment: as of `probabilities`.

        Returns:
            One answer for each photo, in order.

        Raises:
            ValueError: `top` is less than 1, or `threshold` is not in 0..1.
        """
        return list(self.stream(photos, top=top, threshold=threshold, batch_size=batch_size, augment=augment))

    def stream(
        self,
        photos: Photo | Photos,
        *,
        top: int = 5,
        threshold: float | None = None,
        batch_size: int = 32,
        augment: bool = False,
    ) -> Iterator[Answer]:
        """What `predict` gives, one answer after the other, with no more than three batches of photos in memory.

        Args:
            photos, top, threshold, batch_size, augment: as of `predict`. A generator is read as answers are taken.

        Raises:
            ValueError: as of `predict`, at once.
        """
        if top < 1:
            raise ValueError(f"expected at least 1 class a photo, got top={top}")
        if batch_size < 1:
            raise ValueError(f"expected at least 1 photo at a time, got batch_size={batch_size}")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"a threshold is a score in 0..1, got threshold={threshold}")
        rows = self._stream(photos, batch_size, self.engine.cropped, augment)
        return (
            Answer(name, error=row) if isinstance(row, str) else Answer(name, self.likeliest(row, top, threshold))
            for name, row in rows
        )

    def likeliest(self, row: np.ndarray, top: int = 5, threshold: float | None = None) -> tuple[Prediction, ...]:
        """The likeliest classes by their probabilities.

        Args:
            row: float [classes].
            top: how many at most.
            threshold: as of `predict`.
        """
        own = self.contract.thresholds
        found = []
        for i in np.argsort(-row, kind="stable")[:top].tolist():
            label = self.class_names[i]
            if row[i] >= (own.get(label, 0.0) if threshold is None else threshold):
                found.append(Prediction(i, label, float(row[i]), self._wnids[i] if self._wnids else None))
        return tuple(found)

    def explain(self, photo: Photo, *, class_index: int | None = None) -> np.ndarray:
        """Grad-CAM: where in the cropped photo the evidence for a class lies. This takes TensorFlow.

        Args:
            photo: path, encoded bytes or array [h, w, 3].
            class_index: the class; the likeliest unless given.

        Returns:
            float32 [H, W] in 0..1, over what `crop` leaves of the photo.

        Raises:
            ValueError: the photo cannot be read, or the folder has no model.keras to look inside of.
        """
        engine = self.engine
        if not hasattr(engine, "model"):
            if self._keras_file is None:
                raise ValueError(
                    f"Grad-CAM needs the layers, and {engine.name} has none to show: export keras, too (--format keras)"
                )
            if self._layers is None:
                self._layers = open_artifact(self._keras_file)
            engine = self._layers
        from zoo.explain import grad_cam

        return grad_cam(engine.model, self.crop(photo)[None], class_index)[0]  # type: ignore[attr-defined]

    @property
    def can_explain(self) -> bool:
        """Whether `explain` works."""
        return hasattr(self.engine, "model") or self._keras_file is not None

    def crop(self, photo: Photo) -> np.ndarray:
        """What the network is given of a photo: uint8 [H, W, 3].

        Raises:
            ValueError: it cannot be read.
        """
        return crop_photo(pixels_of(photo, max_pixels=self.max_pixels), self.contract.crop)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """What the network is given of an image [h, w, 3]: uint8 [H, W, 3]."""
        return crop_photo(image, self.contract.crop)

    def answer(self, images: np.ndarray) -> np.ndarray:
        """The probabilities of prepared images, uint8 [n, H, W, 3] -> float32 [n, classes]."""
        return self.engine.cropped(images)

    def found(self, row: np.ndarray, size: tuple[int, int], *, top: int = 5) -> list[dict[str, Any]]:
        """One row of `answer` as JSON can hold it: the likeliest classes.

        Args:
            row: float32 [classes].
            size: height and width of the image, which say nothing of classes.
            top: how many at most.
        """
        return [
            {name: value for name, value in asdict(each).items() if value is not None}
            for each in self.likeliest(row, top)
        ]

    def named_outputs(self, rows: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]]) -> dict[str, list[Any]]:
        """Rows of `answer` by the names of the model's outputs; `sizes` are those of the images."""
        return {"probabilities": [row.tolist() for row in rows]}

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Lets the engine do what it does only once."""
        for size in batch_sizes:
            self.engine.warm_up(size)

    def _all(self, rows: Iterator[tuple[str, np.ndarray | str]], width: int) -> np.ndarray:
        found = []
        for name, row in rows:
            if isinstance(row, str):
                raise ValueError(f"{name} {row}")
            found.append(row)
        return np.stack(found) if found else np.zeros((0, width), np.float32)

    def _stream(
        self, photos: Photo | Photos, batch_size: int, ask: Callable[[np.ndarray], np.ndarray], augment: bool = False
    ) -> Iterator[tuple[str, np.ndarray | str]]:
        """Name and row, or why there is none, of each photo, in order."""
        views = _views(self.contract.crop) if augment else [(self.contract.crop, False)]
        for some in read_ahead(named_photos(photos), batch_size, lambda photo: self._read(photo, views)):
            rows = _answered([read for _, read in some], ask)
            yield from zip((name for name, _ in some), rows, strict=True)

    def _read(self, photo: Photo, views: Sequence[tuple[EvaluationCrop, bool]]) -> np.ndarray:
        """The views of a photo, uint8 [views, H, W, 3]."""
        pixels = pixels_of(photo, max_pixels=self.max_pixels)
        crops = {crop: crop_photo(pixels, crop) for crop, _ in views}
        return np.stack([crops[crop][:, ::-1] if mirrored else crops[crop] for crop, mirrored in views])


def pixels_of(photo: Photo, *, max_pixels: int | None = None) -> np.ndarray:
    """A photo, whatever it comes as: [h, w, 3].

    Raises:
        OSError, ValueError: it cannot be read.
    """
    if isinstance(photo, np.ndarray):
        if photo.ndim != 3 or photo.shape[-1] != 3 or 0 in photo.shape:
            raise ValueError(f"is no RGB image: expected an array of [height, width, 3], got {photo.shape}")
        return photo
    return decode(photo if isinstance(photo, bytes) else Path(photo).read_bytes(), max_pixels=max_pixels)


def read_ahead(
    named: Iterator[tuple[str, Photo]], batch_size: int, read: Callable[[Photo], Any]
) -> Iterator[list[tuple[str, Any]]]:
    """Photos in batches, each read in threads while the one before is worked on.

    Args:
        named: names and photos.
        batch_size: how many in a batch.
        read: what is wanted of a photo.

    Yields:
        Of each photo its name, and what was read or, as a text, why it cannot be read.
    """

    def result(photo: Photo) -> Any:
        try:
            return read(photo)
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(READERS) as readers:
        ahead: deque[tuple[list[str], list[Future]]] = deque()
        while True:
            some = list(islice(named, batch_size))
            if some:
                ahead.append(([name for name, _ in some], [readers.submit(result, photo) for _, photo in some]))
            if not ahead:
                return
            if len(ahead) > 1 or not some:
                names, reading = ahead.popleft()
                yield list(zip(names, [each.result() for each in reading], strict=True))


def _answered(read: Sequence[np.ndarray | str], ask: Callable[[np.ndarray], np.ndarray]) -> Iterator[np.ndarray | str]:
    """Asks about all that could be read at once, and averages over the views of each."""
    good = [each for each in read if not isinstance(each, str)]
    rows = iter(())
    if good:
        count, views = len(good), len(good[0])
        answers = ask(np.concatenate(good))
        rows = iter(answers.reshape(count, views, -1).mean(axis=1) if views > 1 else answers)
    for each in read:
        yield each if isinstance(each, str) else next(rows)


def _views(crop: EvaluationCrop) -> list[tuple[EvaluationCrop, bool]]:
    """Of test-time augmentation: the crop and a larger one (or smaller, if there is no larger), each also mirrored."""
    other = EvaluationCrop(crop.size, 1.0 if crop.fraction < 1 else 0.875, crop.interpolation)
    return [(each, mirrored) for each in (crop, other) for mirrored in (False, True)]


def named_photos(photos: Photo | Photos) -> Iterator[tuple[str, Photo]]:
    """Each of some photos, and what to call it: its path, or which it was."""
    several: Iterable[Photo]
    if isinstance(photos, str | Path) and Path(photos).is_dir():
        several = photos_in(photos)
    elif isinstance(photos, str | Path | bytes) or (
        isinstance(photos, np.ndarray) and photos.ndim != 4 and photos.dtype.kind in "buif"
    ):
        several = [photos]
    else:
        several = photos
    for index, photo in enumerate(several):
        yield (str(photo) if isinstance(photo, str | Path) else f"photo {index}"), photo


def photos_in(folder: str | Path) -> list[Path]:
    """The image files in a folder and the folders in it, sorted; hidden ones are left out.

    Raises:
        ValueError: there are none.
    """
    folder = Path(folder)
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise ValueError(f"{folder} holds no images; expected files that end in {', '.join(SUFFIXES)}")
    return found


# Opening


def load(source: str | Path, *, engine: str = "auto", precision: str = "float32", max_pixels: int | None = None) -> Any:
    """What can name what is in photos, a `Predictor`; of a detector, a `transfer.tasks.detect.DetectionPredictor`.

    Args:
        source: a folder that `zoo fit`, `zoo export` or `transfer.export` wrote, one artifact of it (`saved_model`,
            .keras, .onnx, .xml or .tflite), or the name of a zoo model that has ImageNet weights
            (`efficientnet_lite0`). In a run, what was exported into it is found, too, unless it was quantised.
        engine: "openvino", "onnx", "litert", "tensorflow" or "keras". "auto" takes the fastest of those that are
            installed and have an artifact, by a short measurement that is remembered; TensorFlow's only if there is
            no other, since it takes seconds to load.
        precision: "float32", or "bfloat16", which only OpenVINO has, on processors that have it, where its answers to
            the folder's proof photos agree with the trained model's: the same classes, and no probability off by more
            than 0.05.
        max_pixels: photos of more pixels are refused before they are unpacked.

    Raises:
        FileNotFoundError: there is no such folder, file or model, or no artifact for that engine.
        ModuleNotFoundError: the runtime is not installed; says what to install.
        ValueError: it is there, but was not written by this project, was changed since, or is of a newer format.
    """
    path = Path(source)
    if engine not in ("auto", *ENGINES):
        raise ValueError(f"engine is auto, {', '.join(ENGINES)}; got {engine!r}")
    if str(source) in zoo.list_models() and not path.exists():
        return _pretrained(str(source), max_pixels)
    found = _artifacts(path)
    if precision == "bfloat16" and engine == "auto" and "openvino" in found:
        engine = "openvino"
    if engine != "auto":
        wanted = ENGINES[engine]
        if wanted not in found:
            raise FileNotFoundError(
                f"{path} holds nothing for {engine}, but {', '.join(found)}; add it: zoo export RUN --format {wanted}"
            )
        found = {wanted: found[wanted]}
    elif len(found) > 1:
        found = choose(found)
    name, artifact = next(iter(found.items()))
    if (artifact.parent / MANIFEST).is_file():
        check_files(artifact.parent, FORMATS[name].files)
    opened = open_artifact(artifact, precision=precision)
    if opened.contract.task == "detect":
        from transfer.tasks.detect.predictor import DetectionPredictor

        if precision != "float32":
            raise ValueError(f"detectors calculate in float32, got precision={precision!r}")
        return DetectionPredictor(opened, max_pixels=max_pixels)
    if precision != "float32":
        check_precision(opened, artifact)
    siblings = (artifact.parent / "model.keras", artifact.parent.parent / "model.keras")
    return Predictor(
        opened, keras_file=next((file for file in siblings if file.is_file()), None), max_pixels=max_pixels
    )


ENGINES = {row.engine: name for name, row in FORMATS.items()}


def _artifacts(path: Path) -> dict[str, Path]:
    """Format -> artifact, of all that a path holds."""
    if path.exists() and (kind := format_of(path)) is not None:
        return {kind: path}
    found: dict[str, Path] = {}
    exported = path / EXPORTED
    if (exported / MANIFEST).is_file() and read_manifest(exported).get("quantize") == "none":
        found = _inside(exported)
    found = _inside(path) | found
    if found:
        return found
    if path.is_dir():
        raise ValueError(f"{path} is a folder, but holds no model; expected one that `zoo fit` or an export wrote")
    if path.exists():
        raise ValueError(f"{path} is no model; expected a .keras file, or a folder that `zoo fit` or an export wrote")
    raise FileNotFoundError(_nothing_named(str(path)))


def _inside(folder: Path) -> dict[str, Path]:
    return {
        name: folder / row.files[0]
        for name, row in FORMATS.items()
        if format_of(folder / row.files[0]) == name and (folder / row.files[0]).exists()
    }


def _nothing_named(source: str) -> str:
    near = get_close_matches(source, zoo.list_models(), n=3)
    hint = f"; did you mean the model {' or '.join(near)}?" if near else "; `zoo models` lists the zoo's"
    return f"no folder, no .keras file and no model is named {source}{hint}"


def _pretrained(name: str, max_pixels: int | None) -> Predictor:
    from transfer.artifacts.engines.keras import KerasEngine
    from zoo.weights.pretrained import PRETRAINED, imagenet_classes

    model = zoo.create_model(name, weights="imagenet")
    row, classes = PRETRAINED[name], imagenet_classes()
    crop = EvaluationCrop((row.image_size, row.image_size), row.crop_fraction, row.interpolation)
    contract = Contract(tuple(each.label for each in classes), crop)
    wnids = [each.wnid for each in classes]
    return Predictor(KerasEngine(model, contract), wnids=wnids, max_pixels=max_pixels)
