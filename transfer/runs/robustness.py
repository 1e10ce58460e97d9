"""How well a run does on photos that were spoilt, and on photos that were made to fool it: `zoo evaluate --robust`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import Fault
from transfer.measuring.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from transfer.measuring.table import Table
from transfer.predict.loading import load
from transfer.runs.held_out import held_out
from transfer.tasks import learning_of, task_of
from transfer.tasks.outputs import outputs_for
from transfer.tasks.task import Metric
from zoo.explain import fast_gradient_sign

__all__ = ["EPSILON", "Robustness", "robustness"]

EPSILON = 2.0  # The change of each value by FGSM, in units of 0..255.


@dataclass(frozen=True)
class Robustness:
    """The headline metric of a run on spoilt images.

    Attributes:
        task: The name of the task.
        split: The part of the data that was used.
        num_images: Number of images.
        metric: The metric.
        clean: Its value on the images as they are.
        spoilt: By the kind of corruption, its values at the five strengths.
        fooled: Its value on images that were changed by FGSM, or None where that cannot be computed.
        faults: What was wrong with annotations, and what could not be read.
        notes: Sentences about how the data were read, and about what is missing.
    """

    task: str
    split: str
    num_images: int
    metric: Metric
    clean: float
    spoilt: dict[str, tuple[float, ...]]
    fooled: float | None
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]

    @property
    def value(self) -> float:
        """The one number: the mean over the corruptions, each over its strengths, and FGSM where it is known."""
        kinds = [float(np.mean(values)) for values in self.spoilt.values()]
        return float(np.mean([*kinds, *([] if self.fooled is None else [self.fooled])]))

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain numbers, lists and strings."""
        return {
            "metric": self.metric.name,
            "clean": self.clean,
            "robustness": self.value,
            "spoilt": {kind: list(values) for kind, values in self.spoilt.items()},
            "fgsm": {"epsilon": EPSILON, "value": self.fooled},
            "notes": list(self.notes),
        }

    def table(self) -> Table:
        """Returns the values at each strength."""
        columns = (self.metric.label, *(f"strength {strength}" for strength in STRENGTHS), "mean")
        rows = [
            (kind, *map(self.metric.text, values), self.metric.text(float(np.mean(values))))
            for kind, values in self.spoilt.items()
        ]
        if self.fooled is not None:
            rows.append((f"FGSM, {EPSILON:g} of 255", *[""] * len(STRENGTHS), self.metric.text(self.fooled)))
        note = f"Robustness {self.metric.text(self.value)}; on the images as they are, {self.metric.text(self.clean)}."
        return Table(columns, tuple(rows), note)


def robustness(
    run: str | Path, data: str | Path, *, layout: str | None = None, engine: str = "auto", batch_size: int = 32
) -> Robustness:
    """Measures a run on images as they are, under four corruptions of five strengths, and under FGSM.

    Images are spoilt as the network is given them, behind the preparation. Which images are used, `transfer.score`
    says.

    Args:
        run: What `transfer.load` takes.
        data: Annotated images, as `transfer.fit` takes them.
        layout: How annotations are stored. By default it is recognised.
        engine: The runtime; see `transfer.load`. FGSM needs the Keras model as well.
        batch_size: Number of images at a time.

    Raises:
        ValueError: As of `transfer.score`; or the metric is not defined on these images.
    """
    predictor = load(run, engine=engine)
    contract = predictor.contract
    task, learning = task_of(contract.task), learning_of(contract.task)
    images = held_out(run, str(data), contract, layout=layout)
    metric = task.metrics[0]

    def measured(change: Callable[[np.ndarray], np.ndarray]) -> float:
        def ask(canvases: np.ndarray) -> Any:
            return predictor.engine.outputs("prepared", change(canvases).astype(contract.preparation.dtype))

        outputs = outputs_for(ask, images.part, contract, batch_size=batch_size)
        value = learning.measure(outputs, images.part, contract).metrics()[metric.name]
        if value is None:
            raise ValueError(f"the {metric.label} is not defined on these {len(images.part)} images; name more of them")
        return float(value)

    clean = measured(lambda canvases: canvases)
    spoilt = {kind: tuple(measured(_corruption(kind, strength)) for strength in STRENGTHS) for kind in CORRUPTIONS}
    notes, fooled = list(images.notes), None
    if learning.error(images.part, slice(0, 0)) is None:
        notes.append(f"FGSM is left out: the task {contract.task!r} has no single class whose error could be raised")
    else:
        try:
            model = load(run, engine="keras").engine.model  # type: ignore[attr-defined]
        except FileNotFoundError as error:
            notes.append(f"FGSM is left out: it needs gradients. {error}")
        else:
            fooled = measured(_attack(model, learning, images.part))
    return Robustness(
        contract.task, images.split, len(images.part), metric, clean, spoilt, fooled, images.faults, tuple(notes)
    )


def _corruption(kind: str, strength: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function that spoils each batch with other noise."""
    count = 0

    def change(canvases: np.ndarray) -> np.ndarray:
        nonlocal count
        count += len(canvases)
        return corrupt(canvases, kind, strength, seed=count)

    return change


def _attack(model: Any, learning: Any, part: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function that changes each batch so that the error rises; batches come in the order of the split."""
    done = 0

    def change(canvases: np.ndarray) -> np.ndarray:
        nonlocal done
        rows = slice(done, done + len(canvases))
        done += len(canvases)
        loss = learning.error(part, rows)
        return fast_gradient_sign(model, canvases, epsilon=EPSILON, loss=loss, batch_size=max(1, len(canvases)))

    return change
