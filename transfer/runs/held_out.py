"""What a run was not trained on: decided in one place, for measuring, for calibrating, and for quantising."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines import Data, Fault, check_data, exclude, read_exclude_list
from transfer.runs.configuration import Configuration, read_config, resolved
from transfer.tasks import learning_of, settings_class
from transfer.tasks.settings import Settings

__all__ = ["HeldOut", "held_out", "read_for"]


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
    prefer: Sequence[str] = ("test", "valid"),
    most: int | None = None,
) -> HeldOut:
    """Finds the images of some data that a run was not trained on.

    Of the very data that the run was trained on, these are the splits that it held out, without the files that it left
    out. Of other data with splits of their own, they are the held-out splits, too; of other data without splits, they
    are all images. Data are recognised by the place that they lie in, however it is written.

    Args:
        run: The run's folder, or an exported model.
        spec: What the user named; None stands for the data that the run was trained on.
        contract: The model's contract.
        layout: How annotations are stored. By default it is recognised, or as the run was told for its own data.
        prefer: The splits in the order in which they are looked for.
        most: Maximum number of images, spread evenly over the split; None takes all.

    Raises:
        FileNotFoundError: No data are named, and the run does not say what it was trained on.
        ValueError: Nothing was held out, no image can be read, or the data have a class that the run does not know.
    """
    configuration = _configuration(Path(run), contract)
    if spec is None and configuration is None:
        raise FileNotFoundError(f"{run} does not say what it was trained on; name annotated images")
    spec = configuration.data if spec is None and configuration is not None else str(spec)
    same = configuration is not None and resolved(configuration.data) == resolved(spec)
    settings = configuration.settings if configuration is not None else _defaults(contract)
    if layout is not None or not same:
        settings = replace(settings, layout=layout)
    by_name = not Path(spec).exists()
    shares = (settings.valid, settings.test) if same or by_name else (0.0, 0.0)
    data = read_for(settings, contract.task, spec, valid=shares[0], test=shares[1], excluded=same)
    names = prefer if same or by_name else (*prefer, "train")
    name = next((name for name in names if len(data.splits[name])), None)
    if name is None:
        raise ValueError(f"{spec}: nothing of it was held out from training; name other photos")
    part = _spread(data.splits[name], most)
    nothing = data.splits[name][:0]
    checked = check_data(replace(data, train=part, valid=nothing, test=nothing))
    aligned = learning_of(contract.task).align(checked, contract)
    return HeldOut("all" if name == "train" else name, aligned.train, aligned.faults, aligned.notes)


def _spread(part: Any, most: int | None) -> Any:
    if most is None or len(part) <= most:
        return part
    step = len(part) / most
    return part[[int(index * step) for index in range(most)]]


def _configuration(run: Path, contract: Any) -> Configuration | None:
    """Returns what a run was asked for; None for an exported model whose run is not there."""
    for folder in (run, run.parent):
        if (folder / "config.json").is_file():
            configuration = read_config(folder)
            return configuration if configuration.task == contract.task else None
    return None


def _defaults(contract: Any) -> Settings:
    return settings_class(contract.task)()
