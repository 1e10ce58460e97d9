"""What a run was not trained on: decided in one place, for measuring, for calibrating, and for quantising."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import Data, Fault, check_data, data_fingerprint, exclude, read_exclude_list
from pipelines.contents import digests
from transfer.runs.configuration import Configuration, read_config, resolved
from transfer.tasks import learning_of, settings_class
from transfer.tasks.settings import Settings

__all__ = ["TRAINED_ON", "HeldOut", "held_out", "read_for", "write_trained_on"]

TRAINED_ON = "trained_on.txt"  # In the folder of a run: what stands for the contents of each image it was trained on.


@dataclass(frozen=True)
class HeldOut:
    """Annotated images that a run was not trained on.

    Attributes:
        split: Which part of the data they are: "all", "test" or "valid".
        part: The images, with classes in the order of the run's model. All of them can be read.
        faults: What was wrong with annotations, and what could not be read.
        notes: Sentences about how the data were read.
    """

    split: str
    part: Any
    faults: tuple[Fault, ...]
    notes: tuple[str, ...] = ()


def read_for(settings: Settings, task: str, spec: str, *, valid: float, test: float, excluded: bool = True) -> Data:
    """Lists data as a run with these settings does, without the files that it leaves out.

    Args:
        settings: The settings of the run.
        task: The name of its task.
        spec: What the user named.
        valid, test: Shares of the images for splits that the data do not bring along.
        excluded: Whether the run's list of files to leave out holds for these data.
    """
    data = learning_of(task).read(spec, settings, valid=valid, test=test, seed=settings.seed)
    if excluded and settings.exclude is not None:
        data = exclude(data, read_exclude_list(settings.exclude))
    return data


def held_out(
    run: str | Path,
    spec: str | None,
    contract: Any,
    *,
    layout: str | None = None,
    outside: bool = False,
    prefer: Sequence[str] = ("test", "valid"),
    most: int | None = None,
) -> HeldOut:
    """Finds the images of some data that a run was not trained on.

    Of the very data that the run was trained on, these are the splits that it held out, without the files that it left
    out. Of other data with splits of their own, they are the held-out splits, too; of other data without splits, they
    are all images. Data are recognised by the place that they lie in, however it is written, and by the contents of
    their images: of a copy, the splits are those that the run held out, and of data that share images with those that
    it was trained on, these are left out. A fault says so.

    Args:
        run: The run's folder, or an exported model.
        spec: What the user named; None stands for the data that the run was trained on.
        contract: The model's contract.
        layout: How annotations are stored. By default it is recognised, or as the run was told for its own data.
        outside: Whether annotations may name files outside of the folder of the data. For the run's own data,
            what the run was told holds as well.
        prefer: The splits in the order in which they are looked for.
        most: Maximum number of images, spread evenly over the split; None takes all.

    Raises:
        FileNotFoundError: No data are named, and the run does not say what it was trained on.
        ValueError: Nothing was held out, no image can be read, or the data have a class that the run does not know.
    """
    configuration, folder = _configuration(Path(run), contract)
    if spec is None and configuration is None:
        raise FileNotFoundError(f"{run} does not say what it was trained on; name annotated images")
    spec = configuration.data if spec is None and configuration is not None else str(spec)
    settings = configuration.settings if configuration is not None else _defaults(contract)
    same = configuration is not None and resolved(configuration.data) == resolved(spec)
    trained = None if same or configuration is None else _trained_on(folder)
    own = replace(settings, layout=layout or settings.layout, outside=outside or (same and settings.outside))
    by_name = not Path(spec).exists()
    copy = configuration is not None and not same and not by_name and _is_copy(configuration, own, spec, trained)
    divided = same or copy or by_name
    shares = (settings.valid, settings.test) if divided else (0.0, 0.0)
    settings = own if same or copy else replace(settings, layout=layout, outside=outside)
    data = read_for(settings, contract.task, spec, valid=shares[0], test=shares[1], excluded=same)
    names = prefer if divided else (*prefer, "train")
    name = next((name for name in names if len(data.splits[name])), None)
    if name is None:
        raise ValueError(f"{spec}: nothing of it was held out from training; name other photos")
    part = data.splits[name]
    faults = data.faults
    if copy and configuration is not None:
        reason = (
            f"its images are those that {run} was trained on ({configuration.data}); of these, what it held out is used"
        )
        faults += (Fault(spec, reason, kind="trained on", kept=True),)
    elif trained:
        part, left_out = _without(part, trained, spec, run)
        faults += left_out
    part = _spread(part, most)
    nothing = data.splits[name][:0]
    checked = check_data(replace(data, train=part, valid=nothing, test=nothing, faults=faults))
    aligned = learning_of(contract.task).align(checked, contract)
    return HeldOut("all" if name == "train" else name, aligned.train, aligned.faults, aligned.notes)


def write_trained_on(path: Path, part: Any) -> None:
    """Writes what stands for the contents of each training image, so that copies of them are recognised."""
    path.write_text("".join(f"{digest.hex()}\n" for digest in digests(part.images)), "ascii")


def _trained_on(folder: Path) -> set[str] | None:
    """Returns what stands for the training images of a run; None for a run of an earlier version, which has no list."""
    path = folder / TRAINED_ON
    return set(path.read_text("ascii").split()) if path.is_file() else None


def _is_copy(configuration: Configuration, settings: Settings, spec: str, trained: set[str] | None) -> bool:
    """Tells whether data that lie elsewhere, divided as the run divides them, have its images in the same splits."""
    try:
        data = read_for(settings, configuration.task, spec, valid=settings.valid, test=settings.test, excluded=False)
    except ValueError:  # Data that cannot be divided so, such as those with one image of a class.
        return False
    if trained is not None:
        return trained <= {digest.hex() for digest in digests(data.train.images)}
    return data_fingerprint(check_data(data)) == configuration.facts.get("data_fingerprint")


def _without(part: Any, trained: set[str], spec: str, run: str | Path) -> tuple[Any, tuple[Fault, ...]]:
    """Leaves out the images that a run was trained on.

    Raises:
        ValueError: Nothing is left.
    """
    known = np.array([digest.hex() in trained for digest in digests(part.images)], bool)
    if not known.any():
        return part, ()
    if known.all():
        raise ValueError(
            f"{spec}: {run} was trained on all {len(part)} of these images, and what a model was trained on says "
            "nothing about how good it is; name other photos"
        )
    reason = f"{run} was trained on {known.sum()} of {len(part)} images; they are left out"
    return part[~known], (Fault(spec, reason, kind="trained on"),)


def _spread(part: Any, most: int | None) -> Any:
    if most is None or len(part) <= most:
        return part
    step = len(part) / most
    return part[[int(index * step) for index in range(most)]]


def _configuration(run: Path, contract: Any) -> tuple[Configuration | None, Path]:
    """Returns what a run was asked for, and its folder; None for an exported model whose run is not there."""
    for folder in (run, run.parent):
        if (folder / "config.json").is_file():
            configuration = read_config(folder)
            return configuration if configuration.task == contract.task else None, folder
    return None, run


def _defaults(contract: Any) -> Settings:
    return settings_class(contract.task)()
