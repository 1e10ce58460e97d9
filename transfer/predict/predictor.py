"""Asking an exported model about photos, whatever its task. `transfer.load` makes the predictor."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import zoo
from pipelines.prepare.memory_bound import BATCH_PIXELS, PIXELS_AT_ONCE, MemoryBound
from pipelines.prepare.photo_sizes import declared_size
from pipelines.prepare.pixel_range import ADVICE, LooksNormalised, normalised_range
from pipelines.prepare.preparation import Preparation
from transfer.artifacts.engines.base import Engine
from transfer.artifacts.engines.table import open_artifact
from transfer.predict.photos import Photo, Photos, named_photos, pixels_of, read_ahead
from transfer.tasks import task_of
from transfer.tasks.task import Answer, Arrays, Options, Task, stacked

__all__ = ["Predictor"]

BATCH_SIZE = 32


@dataclass(frozen=True)
class _Views:
    """A photo as the network is shown it: its size, `[views, H, W, 3]`, and the range of its values if it is odd."""

    size: tuple[int, int]
    images: np.ndarray
    odd_range: str | None


_Batch = list[tuple[str, _Views | str]]


def _with_a_warning(batches: Iterable[_Batch]) -> Iterator[_Batch]:
    """Passes batches on, and warns at the first photo that looks normalised already."""
    warned = False
    for batch in batches:
        odd = [(name, photo.odd_range) for name, photo in batch if not isinstance(photo, str) and photo.odd_range]
        if odd and not warned:
            warned = True
            name, found = odd[0]
            warnings.warn(
                f"{name} looks normalised already: it is in {found}, where the model expects 0..255 and normalises by "
                f"itself. {ADVICE}",
                LooksNormalised,
                stacklevel=2,
            )
        yield batch


class Predictor:
    """A model with all that it takes to ask it about photos as they come. `transfer.load` makes one.

    Photos may be a path, an encoded file or an open one, an image of Pillow, or an RGB array or a tensor `[h, w, 3]`
    (uint8, or floats in 0..255); a list, a generator
    or another iterable of these; an array `[n, h, w, 3]`; or a folder, which stands for the images in it.

    Attributes:
        engine: The runtime that answers.
        task: The answering half of the model's task.
        max_pixels: Photos of more pixels are refused before they are unpacked. By default Pillow's own limit holds.

    Example:

        predictor = transfer.load("run")
        for answer in predictor.stream("photos"):
            print(answer.name, answer.error or answer)
    """

    def __init__(self, engine: Engine, *, keras_file: Path | None = None, max_pixels: int | None = None):
        self.engine = engine
        self.task: Task = task_of(engine.contract.task)
        self.max_pixels = max_pixels
        outputs = engine.contract.outputs()
        self._shown = tuple(name for name, output in outputs.items() if not output.internal)
        self._unpacking = MemoryBound(PIXELS_AT_ONCE)
        self._keras_file = keras_file
        self._layers: Engine | None = None  # The Keras model, opened when somebody asks for Grad-CAM.

    @property
    def contract(self) -> Any:
        """What the model takes and gives: a `transfer.contract.Contract` of the model's task."""
        return self.engine.contract

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, labels, numbers or heads, in the order of the outputs."""
        return self.contract.names

    # Answers

    def predict(
        self,
        photos: Photo | Photos,
        *,
        top: int | None = None,
        threshold: float | None = None,
        batch_size: int | None = None,
        augment: bool = False,
    ) -> list[Any]:
        """Answers for every photo. A photo that cannot be read gets an answer that says why.

        Args:
            photos: The photos; see the class.
            top: Maximum number of classes, labels or objects per photo. By default the task chooses.
            threshold: Score in 0..1 below which classes, labels or objects are left out. By default the model's own
                thresholds hold, if it has any.
            batch_size: Number of photos that are worked on at a time. Defaults to 32, or to fewer where the network's
                images have more than 320 x 320 pixels.
            augment: Whether to merge the answers to several views of each photo, such as its mirror image (test-time
                augmentation).

        Returns:
            One answer for each photo, in order. Each has `name`, `size` and `error`, and what its task adds.

        Raises:
            ValueError: An option that the task does not have, or a value outside of its range.
        """
        return list(self.stream(photos, top=top, threshold=threshold, batch_size=batch_size, augment=augment))

    def stream(
        self,
        photos: Photo | Photos,
        *,
        top: int | None = None,
        threshold: float | None = None,
        batch_size: int | None = None,
        augment: bool = False,
    ) -> Iterator[Any]:
        """Yields what `predict` returns, one answer after the other, with at most three batches of photos in memory.

        Args:
            photos: The photos; a generator is read as answers are taken.
            top: See `predict`.
            threshold: See `predict`.
            batch_size: See `predict`.
            augment: See `predict`.

        Raises:
            ValueError: As `predict` raises it, at once.
        """
        options = Options(top, threshold)
        self.check_options(options, augment=augment)
        results = self._results(photos, batch_size, augment, self._shown)
        return (
            self.task.no_answer(name, result) if isinstance(result, str) else self.answer(name, *result, options)
            for name, result in results
        )

    def answer(self, name: str, outputs: Arrays, size: tuple[int, int], options: Options) -> Answer:
        """Returns what outputs mean.

        Args:
            name: What the photo is called.
            outputs: The outputs for the photo, with boxes in its pixels.
            size: Height and width of the photo, in pixels.
            options: What to leave out.
        """
        return self.task.answer(name, outputs, size, self.contract, options)

    def check_options(self, options: Options, *, augment: bool = False) -> None:
        """Checks what a user asks for.

        Raises:
            ValueError: An option that the task does not have, or a value outside of its range.
        """
        self.task.check_options(options, self.contract)
        if augment and self.task.no_views is not None:
            raise ValueError(f"augment is not for the task {self.task.name!r}: {self.task.no_views}; leave it out")

    # Outputs as arrays

    def outputs(
        self,
        photos: Photo | Photos,
        *,
        batch_size: int | None = None,
        augment: bool = False,
        names: Sequence[str] | None = None,
    ) -> Arrays:
        """Returns the model's outputs for every photo.

        Args:
            photos: The photos; see the class.
            batch_size: See `predict`.
            augment: See `predict`.
            names: Names of the outputs. By default all but the internal ones (`contract.outputs()` says which these
                are), which may be large.

        Returns:
            Each output by its name, for all photos: `[n, ...]`. Boxes are in pixels of the photos, and maps have the
            sizes of the photos.

        Raises:
            ValueError: A photo cannot be read (the message names the first one), or there is no such output.
        """
        outputs = self.contract.outputs()
        names = self._shown if names is None else tuple(names)
        for name in names:
            self._check_output(name)
        self.check_options(Options(), augment=augment)
        collected: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for photo, result in self._results(photos, batch_size, augment, names):
            if isinstance(result, str):
                raise ValueError(f"{photo} {result}")
            for name in names:
                collected[name].append(result[0][name])
        return {
            name: stacked(values)
            if values
            else np.zeros((0, *(length or 0 for length in outputs[name].shape)), outputs[name].dtype)
            for name, values in collected.items()
        }

    def probabilities(
        self, photos: Photo | Photos, *, batch_size: int | None = None, augment: bool = False
    ) -> np.ndarray:
        """Returns the probability of every class or label for every photo.

        Args:
            photos: The photos; see the class.
            batch_size: See `predict`.
            augment: See `predict`.

        Returns:
            float32 `[photos, classes]`.

        Raises:
            ValueError: A photo cannot be read (the message names the first one), or the model gives no probabilities.
        """
        self._check_output("probabilities")
        return self.outputs(photos, batch_size=batch_size, augment=augment, names=["probabilities"])["probabilities"]

    def embeddings(self, photos: Photo | Photos, *, batch_size: int | None = None) -> np.ndarray:
        """Returns what the last layer is given for every photo: near each other for photos that the model finds alike.

        Args:
            photos: The photos; see the class.
            batch_size: See `predict`.

        Returns:
            float32 `[photos, features]`.

        Raises:
            ValueError: A photo cannot be read (the message names the first one), or the model gives no embedding.
        """
        self._check_output("embedding")
        return self.outputs(photos, batch_size=batch_size, names=["embedding"])["embedding"]

    def stream_outputs(
        self, photos: Photo | Photos, names: Sequence[str], *, batch_size: int | None = None
    ) -> Iterator[tuple[str, Arrays | str]]:
        """Yields some outputs for one photo after the other.

        Args:
            photos: The photos; see the class.
            names: Names of the outputs.
            batch_size: See `predict`.

        Yields:
            For each photo its name, and its outputs by name, or why it cannot be read.

        Raises:
            ValueError: There is no such output.
        """
        for name in names:
            self._check_output(name)
        for photo, result in self._results(photos, batch_size, False, names):
            yield photo, result if isinstance(result, str) else result[0]

    # One image at a time, for the server

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Returns an image `[h, w, 3]` as the network takes it: `[H, W, 3]`, of the preparation's type."""
        return self.contract.preparation.on_photo(image)

    def answer_prepared(self, images: np.ndarray) -> list[Arrays]:
        """Returns the outputs for prepared images.

        Args:
            images: The images as `prepare` makes them, `[n, H, W, 3]`.

        Returns:
            The outputs for each image, those that `in_photo` needs among them. Boxes and maps are in pixels of the
            prepared image.
        """
        return self._asked(images, self.contract.needed(self._shown))

    def in_photo(self, outputs: Arrays, size: tuple[int, int]) -> Arrays:
        """Returns the outputs for a prepared image in pixels of its photo, without the internal ones.

        Args:
            outputs: Outputs as `answer_prepared` gives them.
            size: Height and width of the photo, in pixels.
        """
        moved = self.contract.on_photo(outputs, size)
        return {name: moved[name] for name in self._shown}

    def warm_up(self, batch_sizes: Iterable[int] = (1,)) -> None:
        """Lets the engine do what it does only once, for batches of these sizes."""
        for size in batch_sizes:
            self.engine.warm_up(size)

    # Evidence

    @property
    def can_explain(self) -> bool:
        """Whether `explain` works."""
        return self.task.explains and (hasattr(self.engine, "model") or self._keras_file is not None)

    def crop(self, photo: Photo) -> np.ndarray:
        """Returns what the network is given of a photo: `[H, W, 3]`, in 0..255.

        Raises:
            ValueError, OSError: The photo cannot be read.
        """
        return self.prepare(pixels_of(photo, max_pixels=self.max_pixels))

    def explain(self, photo: Photo, *, class_index: int | None = None) -> np.ndarray:
        """Computes a map of the evidence for a class (Grad-CAM). This loads TensorFlow.

        Args:
            photo: A path, an encoded file or an array `[h, w, 3]`.
            class_index: The number of the class. By default it is the class with the highest score.

        Returns:
            float32 `[H, W]` in 0..1, over what `crop` gives of the photo.

        Raises:
            ValueError: The task has no such maps, the photo cannot be read, or there is no Keras model whose layers
                could be looked at.
        """
        if not self.task.explains:
            raise ValueError(f"Grad-CAM cannot be computed for models of the task {self.task.name!r}")
        engine = self.engine if hasattr(self.engine, "model") else self._layers
        if engine is None:
            if self._keras_file is None:
                raise ValueError(
                    f"Grad-CAM needs the layers, and {self.engine.name} has none to show: export keras, too "
                    "(--format keras)"
                )
            engine = self._layers = open_artifact(self._keras_file)
        return zoo.grad_cam(engine.model, self.crop(photo)[None], class_index)[0]

    # How it is done

    def _results(
        self, photos: Photo | Photos, batch_size: int | None, augment: bool, names: Sequence[str]
    ) -> Iterator[tuple[str, tuple[Arrays, tuple[int, int]] | str]]:
        """Yields the name of each photo with its outputs and its size, or with why it cannot be read."""
        preparation = self.contract.preparation
        height, width = preparation.size
        if batch_size is None:
            batch_size = max(1, min(BATCH_SIZE, BATCH_PIXELS // (height * width)))
        if batch_size < 1:
            raise ValueError(f"expected at least 1 photo at a time, got batch_size={batch_size}")
        views = preparation.views() if augment else [(preparation, False)]
        batches = read_ahead(named_photos(photos), batch_size, lambda photo: self._read(photo, views))
        batches = _with_a_warning(batches)
        return (result for batch in batches for result in self._answered(batch, views, names))

    def _read(self, photo: Photo, views: Sequence[tuple[Preparation, bool]]) -> _Views:
        photo = Path(photo).read_bytes() if isinstance(photo, str | Path) else photo
        height, width = declared_size(photo) if isinstance(photo, bytes) else (0, 0)
        with self._unpacking(height * width):
            pixels = pixels_of(photo, max_pixels=self.max_pixels)
            prepared = {preparation: preparation.on_photo(pixels) for preparation, _ in views}
        images = [prepared[one][:, ::-1] if mirrored else prepared[one] for one, mirrored in views]
        # Files have bytes, and a photo of bytes may be dark.
        odd_range = normalised_range(pixels) if pixels.dtype.kind == "f" else None
        return _Views((pixels.shape[0], pixels.shape[1]), np.stack(images), odd_range)

    def _answered(
        self, batch: Sequence[tuple[str, _Views | str]], views: Sequence[tuple[Preparation, bool]], names: Sequence[str]
    ) -> Iterator[tuple[str, tuple[Arrays, tuple[int, int]] | str]]:
        """Asks about all photos of a batch that could be read at once, and merges the views of each."""
        readable = [photo.images for _, photo in batch if not isinstance(photo, str)]
        needed = self.contract.needed(names)
        answers = iter(self._asked(np.concatenate(readable), needed) if readable else [])
        for name, photo in batch:
            if isinstance(photo, str):
                yield name, photo
                continue
            moved = [
                self.contract.on_photo(next(answers), photo.size, preparation=preparation, mirrored=mirrored)
                for preparation, mirrored in views
            ]
            shown = [{own: outputs[own] for own in names} for outputs in moved]
            yield name, (shown[0] if len(shown) == 1 else self.task.merge(shown), photo.size)

    def _asked(self, images: np.ndarray, names: Sequence[str]) -> list[Arrays]:
        outputs = self.engine.outputs("prepared", images)
        return [{name: outputs[name][index] for name in names} for index in range(len(images))]

    def _check_output(self, name: str) -> None:
        if name not in self.contract.outputs():
            known = ", ".join(self._shown)
            raise ValueError(
                f"a model of the task {self.task.name!r} gives no {name!r}; it gives {known}, which `outputs` returns"
            )
