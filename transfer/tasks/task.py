"""What a task is. A task is one folder of `transfer.tasks`, and it has two halves.

The *answering half* (`answers.py`) says what the outputs of an exported model mean for a photo: as an answer for
people,
as rows of a table, as a drawing. It also says which differences between two sets of outputs could matter to anybody. It
needs NumPy only, so that predicting loads no TensorFlow. This module defines its interface, `Task`.

The *learning half* (`training.py`) reads the data, builds the model, and says how it learns and how good it is. See
`transfer.tasks.learning`.

Everything else (resuming, caching, exporting, proving, quantising, serving, reporting, the command line) exists once,
and asks a task for these few things.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from transfer.contract import Contract
from transfer.measuring.table import as_number, as_percent
from transfer.tasks.settings import Settings

__all__ = ["Answer", "Arrays", "Difference", "Metric", "Options", "Task", "no_answer", "stacked"]

# The outputs of a model for one photo, or for several of them, by name.
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model says about one photo. Each task adds what its answers hold.

    Attributes:
        name: The photo's path, or its number among the photos.
        size: Height and width of the upright photo, in pixels. It is None where the photo could not be read.
        error: Why there is no answer, or None.
    """

    name: str
    size: tuple[int, int] | None = None
    error: str | None = None


@dataclass(frozen=True)
class Options:
    """What a user may ask of answers. None leaves it to the task.

    Attributes:
        top: Maximum number of classes, or of objects, in an answer.
        threshold: The score in 0..1 below which classes, labels or objects are left out. By default the thresholds of
            the model's own contract hold.
    """

    top: int | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Difference:
    """How far two sets of outputs for one photo differ, as far as it could matter to a user.

    Attributes:
        value: The largest difference: of a score, or of a coordinate as a share of the size. It is infinite where one
            of the two says what the other does not, or where a value is not a number.
        reason: What differs, in words, where the difference is larger than the tolerance. Otherwise it is empty.
    """

    value: float
    reason: str = ""


@dataclass(frozen=True)
class Metric:
    """One number that says how good a model is.

    Attributes:
        name: Its name in `metrics.json`, after the name of the split: "accuracy" in "valid_accuracy".
        label: Its name for people.
        percent: Whether people read it as a percentage. Otherwise three decimals are shown.
        higher_is_better: Whether a larger value is better.
    """

    name: str
    label: str
    percent: bool = False
    higher_is_better: bool = True

    def text(self, value: float | None) -> str:
        """Returns a value as people read it.

        >>> Metric("accuracy", "accuracy", percent=True).text(0.948), Metric("map50", "mAP50").text(None)
        ('94.8%', '–')
        """
        return as_percent(value) if self.percent else as_number(value)


class Task(ABC):
    """The answering half of a task. There is one object of it, `TASK` in the task's `answers.py`; it has no state.

    Attributes:
        name: The task's name, which is also that of its folder.
        summary: What the task does, in one line for `zoo fit --help`.
        settings: The class of its settings.
        contract: The class of its contracts.
        metrics: What `metrics.json` holds for each split. The first one is the headline.
        options: The names of the `Options` that its answers know.
        no_views: Why answers to several views of a photo cannot be merged, in words; None where they can.
        explains: Whether a heat map of the evidence (Grad-CAM) can be drawn for an answer.
        masks: Whether an answer has a class, or an object, for each pixel, so that `mask_image` works.
        documents: File ending -> a function that writes the answers to a whole folder as one document, for formats
            that only this task has. It takes the path, the answers as `as_dict` gives them, the contract, and the
            folder of the photos.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    settings: ClassVar[type[Settings]]
    contract: ClassVar[type[Contract]]
    metrics: ClassVar[tuple[Metric, ...]]
    options: ClassVar[frozenset[str]] = frozenset()
    no_views: ClassVar[str | None] = None
    explains: ClassVar[bool] = False
    masks: ClassVar[bool] = False
    documents: ClassVar[Mapping[str, Callable[[Path, Iterable[Mapping[str, Any]], Any, Path], None]]] = {}

    # What an answer is

    @abstractmethod
    def answer(self, name: str, outputs: Arrays, size: tuple[int, int], contract: Any, options: Options) -> Answer:
        """Says what the outputs for one photo mean.

        Args:
            name: What the photo is called.
            outputs: The model's outputs for it, without the axis of the images. Boxes are in pixels of the photo.
            size: Height and width of the photo, in pixels.
            contract: The model's contract.
            options: What the user asked for; `check_options` has approved of it.
        """

    @abstractmethod
    def no_answer(self, name: str, error: str) -> Answer:
        """Returns the answer for a photo that could not be read."""

    @abstractmethod
    def predictions(self, answer: Any) -> list[dict[str, Any]]:
        """Returns an answer as a list of rows that JSON can hold, best first: what `/predict` replies.

        A row has a `label` where it names something, a `score` in 0..1 where it is more or less sure, a `value` where
        it gives a number, a `box` (left, top, right, bottom in pixels of the photo) where it says where, and a `mask`
        (COCO's compressed run lengths, at the size of the photo) with its `share` of the pixels where it says so for
        each pixel. The page of the server draws rows by these names; a `background` is not drawn.
        """

    def as_dict(self, answer: Any) -> dict[str, Any]:
        """Returns an answer as a document that JSON can hold: `path`, and its contents or `error`."""
        if answer.error is not None:
            return {"path": answer.name, "error": answer.error}
        height, width = answer.size
        return {"path": answer.name, "height": height, "width": width, "predictions": self.predictions(answer)}

    @abstractmethod
    def columns(self, contract: Any, options: Options) -> tuple[str, ...]:
        """Returns the columns of a table of answers, behind `path` and `error`. Columns of numbers hold floats."""

    @abstractmethod
    def rows(self, document: Mapping[str, Any], contract: Any, options: Options) -> list[dict[str, Any]]:
        """Returns the rows that an answer takes in a table, by column; at least one, even where nothing was found.

        Args:
            document: The answer, as `as_dict` gives it; it has no `error`.
            contract: The model's contract.
            options: What the user asked for.
        """

    @abstractmethod
    def draw(self, image: np.ndarray, answer: Any) -> Image.Image:
        """Draws an answer onto its photo, uint8 `[h, w, 3]`."""

    def mask_image(self, answer: Any) -> Image.Image:
        """Returns an answer as an image of numbers with a palette, at the size of the photo."""
        raise NotImplementedError(f"the task {self.name!r} has no masks")

    def check_options(self, options: Options, contract: Any) -> None:
        """Checks what a user asks of answers.

        Raises:
            ValueError: An option that this task does not have, or a value outside of its range.
        """
        for name in ("top", "threshold"):
            if getattr(options, name) is not None and name not in self.options:
                known = " and ".join(sorted(self.options)) or "none"
                raise ValueError(f"{name} says nothing to the task {self.name!r}, which knows {known}; leave it out")
        if options.top is not None and options.top < 1:
            raise ValueError(f"expected at least 1 answer per photo, got top={options.top}")
        if options.threshold is not None and not 0 <= options.threshold <= 1:
            raise ValueError(f"a threshold is a score in 0..1, got threshold={options.threshold}")

    # What the proof and quantising ask

    @abstractmethod
    def compare(
        self, expected: Arrays, actual: Arrays, size: tuple[int, int], contract: Any, tolerance: float
    ) -> Difference:
        """Compares the outputs of the trained model for one photo with those of an artifact.

        Only what can reach a user counts: what could pass any threshold that the contract allows.

        Args:
            expected: What the trained model gives for the photo, without the axis of the images.
            actual: What the artifact gives. Internal outputs may be missing.
            size: Height and width of the image that boxes are in pixels of.
            contract: The model's contract.
            tolerance: The largest difference that is allowed.
        """

    def limited(self, outputs: Arrays, contract: Any) -> Arrays:
        """Returns what the trained model would say with the limits of runtimes other than TensorFlow.

        Args:
            outputs: Its outputs for several photos, with the axis of the images.
            contract: The model's contract.
        """
        return outputs

    @abstractmethod
    def agreement(self, expected: Arrays, actual: Arrays, contract: Any) -> float:
        """Returns the share of the answers in which two models agree, in 0..1.

        Args:
            expected: Outputs of the trained model for several photos, with the axis of the images.
            actual: Outputs of the quantised one.
            contract: The model's contract.
        """

    # Several views, and serving

    def merge(self, views: Sequence[Arrays]) -> Arrays:
        """Merges the outputs for several views of one photo: their mean, where a task has no other way."""
        return {name: np.mean([view[name] for view in views], axis=0) for name in views[0]}

    def named_outputs(self, outputs: Sequence[Arrays], contract: Any) -> dict[str, list[Any]]:
        """Returns the outputs for some photos as TensorFlow Serving names them: output name -> one entry per photo."""
        names = [name for name, output in contract.outputs().items() if not output.internal]
        return {name: [photo[name].tolist() for photo in outputs] for name in names}


def no_answer(kind: type[Answer], name: str, error: str) -> Any:
    """Returns an empty answer of a kind whose own fields all have defaults."""
    return kind(name=name, error=error)


def stacked(values: Sequence[np.ndarray]) -> np.ndarray:
    """Returns arrays as one, with an axis before theirs; where their shapes differ, it is an array of arrays.

    >>> stacked([np.zeros((2, 3)), np.zeros((2, 3))]).shape, stacked([np.zeros((2, 3)), np.zeros((4, 5))]).shape
    ((2, 2, 3), (2,))
    """
    if len({np.shape(value) for value in values}) <= 1:
        return np.stack(values)
    made = np.empty(len(values), object)
    made[:] = values
    return made
