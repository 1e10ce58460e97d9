"""How good a quantised artifact is on annotated images that the model was not trained on.

Two things are measured: in how many of its answers it agrees with the trained model, and the task's headline metric.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pipelines import Samples, Scene, canvases
from pipelines.prepare.preparation import Preparation
from transfer.artifacts.claims import QUANTIZED_WITHIN
from transfer.contract import Agreement, Contract, ExportError
from transfer.tasks import learning_of, task_of
from transfer.tasks.outputs import outputs_for
from transfer.tasks.task import Arrays, Metric

__all__ = [
    "QUANTIZATIONS",
    "QUANTIZED_WITHIN",
    "Labelled",
    "Split",
    "answers_on",
    "check_agreement",
    "points_lost",
]

QUANTIZATIONS = ("none", "float16", "int8")
Split: TypeAlias = Samples | Sequence[Scene]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Annotated images, to measure quantised artifacts on or to choose the ranges of int8 on.

    Attributes:
        part: A split of a data set, `pipelines.Samples` or a sequence of `pipelines.Scene`, with its classes in the
            order of the model's contract.
        names: What each image is called in messages. By default the split's own names are taken.
    """

    part: Split
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        part = self.part
        own = part.names if isinstance(part, Samples) else [scene.name for scene in part]
        object.__setattr__(self, "names", tuple(self.names or own))

    def __len__(self) -> int:
        return len(self.part)

    def spread(self, count: int) -> "Labelled":
        """Returns at most `count` of the images, spread evenly."""
        places = np.linspace(0, len(self) - 1, min(count, len(self))).astype(int)
        part = self.part[places] if isinstance(self.part, Samples) else tuple(self.part[place] for place in places)
        return Labelled(part, [self.names[place] for place in places])

    def prepared(self, preparation: Preparation, batch_size: int = 32) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the images as a network is shown them, batch by batch, with the photos' heights and widths.

        Args:
            preparation: How a photo becomes the network's input.
            batch_size: Number of images in a batch. Defaults to 32.

        Yields:
            `[b, H, W, 3]` of the preparation's dtype, and `int32 [b, 2]`.
        """
        for images, sizes in canvases(self.part, preparation, batch_size=batch_size).as_numpy_iterator():
            yield images.astype(preparation.dtype), sizes


def answers_on(labelled: Labelled, contract: Contract, ask: Callable[[np.ndarray], Any]) -> Arrays:
    """Lets a model answer on all images.

    Args:
        labelled: The images.
        contract: The model's contract.
        ask: A function from prepared images of the preparation's dtype, `[n, H, W, 3]`, to the model's outputs, boxes
            in pixels of the canvas.

    Returns:
        The outputs without internal ones, boxes in pixels of the photos.
    """
    names = contract.needed(name for name, output in contract.outputs().items() if not output.internal)

    def public(images: np.ndarray) -> Arrays:
        outputs = ask(images)
        return {name: outputs[name] for name in names}

    outputs = outputs_for(public, labelled.part, contract)
    return {name: values for name, values in outputs.items() if not contract.outputs()[name].internal}


def points_lost(metric: Metric, before: float | None, after: float | None) -> float:
    """Computes how many points of a metric are lost.

    A point is a hundredth: of 1 for a metric in 0..1 where higher is better, such as an accuracy. Of other metrics,
    such as an error in kilometres, it is a hundredth of the trained model's own value.

    Args:
        metric: The metric.
        before: Its value for the trained model. Nothing is lost of a metric that is not defined for that.
        after: Its value for the artifact.

    Returns:
        The points, below 0 where the artifact is better, and infinite where it has no value.

    Example:

    >>> round(points_lost(Metric("accuracy", ""), 0.95, 0.93), 6)
    2.0
    >>> round(points_lost(Metric("error", "", higher_is_better=False), 20.0, 21.0), 6)
    5.0
    """
    if before is None or not np.isfinite(before):
        return 0.0
    if after is None or not np.isfinite(after):
        return np.inf
    lost = before - after if metric.higher_is_better else after - before
    if lost == 0 or (metric.higher_is_better and 0 <= before <= 1):
        return 100 * lost
    return 100 * lost / abs(before) if before else np.copysign(np.inf, lost)


def check_agreement(
    artifact: str,
    expected: Arrays,
    actual: Arrays,
    labelled: Labelled,
    contract: Contract,
    *,
    bound: float,
) -> Agreement:
    """Measures a quantised artifact.

    Args:
        artifact: Its name.
        expected: Outputs of the trained model for all images, as `answers_on` returns them.
        actual: Outputs of the artifact for them.
        labelled: The images.
        contract: The model's contract.
        bound: How many points may be lost, of the agreement and of the headline metric (see `points_lost`).

    Raises:
        ExportError: More is lost, or an answer is not a number. The message names the image that differs most.
    """
    task, learning = task_of(contract.task), learning_of(contract.task)
    metric = task.metrics[0]
    before, after = (
        learning.measure(outputs, labelled.part, contract).metrics()[metric.name] for outputs in (expected, actual)
    )
    share = task.agreement(expected, actual, contract)
    lost = max(100 * (1 - share), points_lost(metric, before, after))
    numbers = all(np.isfinite(own).all() for values in actual.values() for own in values)
    if numbers and lost <= bound + 1e-9:
        return Agreement(artifact, len(labelled), share, metric.name, before, after, bound)
    worst, difference = _largest_difference(expected, actual, labelled, contract)
    raise ExportError(
        f"{artifact}: on {len(labelled)} images it agrees with the trained model in {100 * share:.1f}% of the answers. "
        f"The {metric.label} of the trained model is {metric.text(before)}, and that of the artifact "
        f"{metric.text(after)}. So {lost:.1f} points are lost, and {bound:g} are allowed. {labelled.names[worst]} "
        f"differs most, by {difference:.3g}. Give more images to calibrate on, allow a larger loss, or export in "
        "float16.",
        artifact=artifact,
    )


def _largest_difference(expected: Arrays, actual: Arrays, labelled: Labelled, contract: Contract) -> tuple[int, float]:
    """Returns the number of the image that differs most, and by how much."""
    compare = task_of(contract.task).compare
    sizes = np.concatenate([sizes for _, sizes in labelled.prepared(contract.preparation)])
    differences = [
        compare(
            {name: values[index] for name, values in expected.items()},
            {name: values[index] for name, values in actual.items()},
            (int(height), int(width)),
            contract,
            QUANTIZED_WITHIN,
        ).value
        for index, (height, width) in enumerate(sizes)
    ]
    worst = int(np.argmax(differences))
    return worst, differences[worst]
