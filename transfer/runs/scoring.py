"""Measuring a finished run on annotated images: what `zoo evaluate` calls."""

from dataclasses import dataclass
from pathlib import Path

from pipelines import Fault
from transfer.predict.loading import load
from transfer.runs.held_out import held_out
from transfer.tasks import learning_of, task_of
from transfer.tasks.learning import Measured
from transfer.tasks.outputs import outputs_for

__all__ = ["Scores", "score"]


@dataclass(frozen=True)
class Scores:
    """How good a run is on data.

    Attributes:
        task: The name of the task.
        split: The part of the data that was used: "all", or what was held out of it, "test" or "valid".
        num_images: Number of images.
        measured: How good the run is on them.
        faults: What was wrong with annotations, and what could not be read.
        notes: Sentences about how the data were read.
    """

    task: str
    split: str
    num_images: int
    measured: Measured
    faults: tuple[Fault, ...]
    notes: tuple[str, ...] = ()


def score(
    run: str | Path,
    data: str | Path,
    *,
    layout: str | None = None,
    outside: bool = False,
    augment: bool = False,
    engine: str = "auto",
    batch_size: int = 32,
) -> Scores:
    """Measures an exported model of any task on annotated images.

    Which images are used depends on the data. Of data without splits, all of them; of data with splits of their own,
    those for testing, or else those for validation; of the very data that the run was trained on, of a copy of them,
    and of data sets by name, what the run held out, for what a model was trained on says nothing about how good it is.
    Other data are measured without the images that the run was trained on.

    Args:
        run: What `transfer.load` takes.
        data: What `transfer.fit` takes. Classes are matched by name; the run may know more of them.
        layout: How annotations are stored; see `pipelines.read_scenes`. By default it is recognised.
        outside: Whether annotations may name files outside of the folder of the data.
        augment: Whether several views of each photo are averaged, for tasks that can.
        engine: The runtime; see `transfer.load`.
        batch_size: Number of images at a time.

    Raises:
        ValueError: The data have a class that the run does not know, nothing of them was held out, or the task cannot
            average views.
    """
    predictor = load(run, engine=engine)
    contract = predictor.contract
    task, learning = task_of(contract.task), learning_of(contract.task)
    images = held_out(run, str(data), contract, layout=layout, outside=outside)
    outputs = outputs_for(
        lambda canvases: predictor.engine.outputs("prepared", canvases),
        images.part,
        contract,
        batch_size=batch_size,
        task=task,
        augment=augment,
    )
    measured = learning.measure(outputs, images.part, contract)
    return Scores(contract.task, images.split, len(images.part), measured, images.faults, images.notes)
