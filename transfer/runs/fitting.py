"""The main job in one call: from annotated images to a proven, exported model with a report, for every task.

`fit` is what `zoo fit` calls. Its result is a folder that appears whole or not at all:

=================  =====================================================================================
`model.keras`      the trained model, to go on in Keras
`saved_model/`     the same for TensorFlow Serving and other languages (see `transfer.artifacts.exporting`), or the
                   other formats that were asked for
`labels.txt`       the names of the classes, labels or numbers, in the model's order
`contract.json`    what the model takes and gives
`metrics.json`     how good it is on validation and test data, what the solved head reached alone, the number of images,
                   the time by part, the export's difference
`history.csv`      the loss and the metrics of each epoch
`skipped.csv`      the files that were left out, and why
`audit.html`       what is wrong with the data, if anything; see `pipelines.audit`
`config.json`      everything that was asked for, with versions and a fingerprint of the data
`trained_on.txt`   what stands for the contents of each training image, so that no copy of one is measured on
`report.html`      all of it to look at
`model_card.md`    what a person who is handed the model has to know about it
=================  =====================================================================================

While it is under way, `.NAME.state/` beside it holds what a run that is killed needs to go on (see
`transfer.runs.state`). Once the model is trained, nothing is lost any more: where a later step fails, the model and all
that was written are moved to `NAME.unfinished`, and `RunUnfinished` says so.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import platformdirs

from pipelines import Data, WrongKind, check_data, data_fingerprint
from pipelines.outputs.locks import output_lock
from pipelines.usable import parts_without_objects
from transfer.artifacts import exporting
from transfer.artifacts.engines.table import check_formats
from transfer.artifacts.folders import new_folder
from transfer.contract import installed_versions
from transfer.keras_settings import check_keras_settings
from transfer.predict.loading import EXPORTED
from transfer.runs.configuration import Configuration, differences, resolved
from transfer.runs.finishing import Job, nothing_lost
from transfer.runs.folder import Clock, write_audit
from transfer.runs.held_out import TRAINED_ON, read_for
from transfer.runs.readouts import photos_named
from transfer.runs.state import RunState
from transfer.tasks import TASKS, learning_of, settings_class, task_of, task_of_settings
from transfer.tasks.learning import Built, Learning
from transfer.tasks.settings import Settings
from transfer.training import freezing
from transfer.training.checkpoints import Checkpoint
from transfer.training.feature_cache import FeatureCache
from transfer.training.fine_tuning import History, fine_tune
from transfer.training.memory import MicroBatches, micro_batches
from zoo.analysis.costs import readable

__all__ = ["CONTENTS", "Run", "fit"]

# What the folder of a run holds.
DOCUMENTS = ("metrics.json", "history.csv", "skipped.csv", "config.json", "report.html", "model_card.md", "audit.html")
CONTENTS = (*exporting.CONTENTS, *DOCUMENTS, TRAINED_ON)

SAVING = 0.05  # The largest share of the time that goes into keeping the state.

Announce = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Where it lies.
        metrics: What `metrics.json` holds: `task`, `headline`, the task's metrics for each split (`valid_accuracy`,
            `test_accuracy`, ...; None without a test set), `num_images`, `skipped` (a number of files), `readout` (what
            the solved head reached in validation before anything else was trained, or None), `seconds`,
            `seconds_by_part` and `export_max_abs_diff`.
    """

    folder: Path
    metrics: dict[str, Any]


def fit(
    data: str | Path,
    out: str | Path,
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    repeats: Configuration | None = None,
    announce: Announce = lambda part: None,
    progress: bool = True,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Fine-tunes a backbone on annotated images, measures, exports and proves the model, and writes a report.

    Args:
        data: What to learn from: a folder of class folders, or of `train`, `val` and `test` folders of such; a table; a
            folder of annotations; "tfds:NAME"; "sklearn:digits". What it has to hold depends on the task.
        out: The folder to write. It appears only when all is done; if anything fails before the model is trained,
            nothing is left. Of a run that was killed (`kill -9`, a power cut) a state not much older than that stays
            beside it.
        settings: The settings of a task: `transfer.Classify(...)`, `transfer.Detect(...)` and so on. By default those
            of `transfer.Classify()`.
        overwrite: Whether to replace an earlier run in `out`.
        resume: Whether to go on where an earlier run to `out` was killed, to the very weights that it would have come
            to (on the same machine). Where there was none, it begins. An interrupted run can go on, too, if it was
            begun with this.
        repeats: The configuration of a run that this one repeats (`transfer.read_config`): `announce` is told where
            data or versions differ.
        announce: Is told each part of the job in a few words as it begins.
        progress: Whether to show a bar while training, on stderr or in a notebook.
        callbacks: Keras callbacks for the training.

    Returns:
        The folder and its metrics.

    Raises:
        FileExistsError: `out` holds something, another process writes it, or a run to it was killed and this one is not
            to go on.
        FileNotFoundError: There are no such data, or weights that cannot be had.
        ModuleNotFoundError: A format is asked for whose runtime is not installed.
        ValueError: An unknown backbone or format, data that cannot be trained on or that fit another task, or `resume`
            where the earlier run was asked for something else; the message lists the differences.
        OSError: The disk is full; what the training has reached is kept, to go on with `resume`.
        RunUnfinished: A step behind the training failed, such as the proof of the export. The trained model is kept in
            the folder that the message names, and `zoo export` can be repeated on it.
        transfer.TrainingDiverged: The loss is not a number any more.
    """
    check_keras_settings()
    settings = settings_class(next(iter(TASKS)))() if settings is None else settings
    name = task_of_settings(settings)
    task, learning = task_of(name), learning_of(name)
    spec = str(data)
    if Path(data).is_dir() and Path(out).resolve().is_relative_to(Path(data).resolve()):
        raise ValueError(f"{out} lies in {data}, where it would be taken for data; choose a folder elsewhere")
    configuration = Configuration(resolved(spec), settings)
    check_formats(("keras", *settings.formats))
    clock = Clock(announce)
    state = RunState(out)
    with (
        output_lock(out),
        state.under_way(resume=resume, overwrite=overwrite),
        new_folder(out, overwrite=overwrite, contents=(*CONTENTS, EXPORTED)) as work,
        state.watching_disks(_features_folder()),
    ):
        with clock("listing the data"):
            listed = _listed(name, learning, spec, settings, announce)
        with clock("building the model"), _computing_in(settings.precision):
            keras.utils.set_random_seed(settings.seed)
            built = learning.build(listed, settings)
        with clock("checking that all images can be read"):
            checked = check_data(listed)
        parts = _micro_batches(learning, settings, built, state.micro_batch if resume else None, announce)
        facts = {
            # How many images are computed at once decides on the last bits of the weights.
            "micro_batch": parts.size,
            "data_fingerprint": data_fingerprint(checked),
            "versions": installed_versions(),
        }
        configuration = replace(configuration, facts=facts)
        if settings.audit:
            with clock("auditing the data"):
                write_audit(checked, work / "audit.html", announce)
        _announce_differences(repeats, configuration, announce)
        state.begin_or_go_on(configuration.as_dict(), resume=resume)
        with clock("training"):
            history = _train(learning, settings, built, checked, parts, state, callbacks, progress)
            model = learning.kept(built, checked, settings)
        announce(_kept_epoch(history))
        job = Job(task, learning, settings, configuration, checked, replace(built, model=model), history, clock)
        with nothing_lost(work, Path(out), job, state):
            metrics = job.finish(work)
    return Run(Path(out), metrics)


def _listed(name: str, learning: Learning, spec: str, settings: Settings, announce: Announce) -> Data:
    try:
        data = read_for(settings, name, spec, valid=settings.valid, test=settings.test)
    except WrongKind as error:
        fits = [task for task in TASKS if learning_of(task).kind == error.actual]
        advice = " or ".join(f"--task {task}" for task in fits)
        raise ValueError(f"{error}" + (f" These data fit {advice}." if fits else "")) from error
    for sentence in data.notes:
        announce(sentence)
    for kind, count in data.counts.items():
        first = next(fault for fault in data.faults if fault.kind == kind)
        announce(f"{count} of the fault {kind!r}; the first: {first}")
    learning.check(data, spec, settings)
    without = parts_without_objects(data).get("test")
    if without is not None:
        announce(f"{without}, so that nothing is known about them")
    return data


@contextmanager
def _computing_in(precision: str) -> Iterator[None]:
    """Layers that are made inside compute in this precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _micro_batches(
    learning: Learning, settings: Settings, built: Built, size: int | None, announce: Announce
) -> MicroBatches:
    """Decides how many images of a step are computed at once: as many as fit, or as many as the state says."""
    if size is not None and settings.batch_size % size == 0:
        return MicroBatches(size, settings.batch_size // size, 0, 0)
    freezing.unfreeze(built.model, learning.plan(settings).stages[-1].unfreeze)
    parts = micro_batches(
        built.model,
        settings.batch_size,
        memory=settings.memory,
        optimizer=settings.optimizer,
        input_shape=built.input_shape,
    )
    if parts.steps > 1:
        announce(
            f"a step of {settings.batch_size} images is predicted to take {readable(parts.predicted, 'B')}: it is made "
            f"of {parts.steps} steps of {parts.size} images, whose gradients are accumulated"
        )
    return parts


def _announce_differences(repeats: Configuration | None, now: Configuration, announce: Announce) -> None:
    if repeats is None:
        return
    earlier, current = repeats.as_dict(), now.as_dict()
    known = {name: earlier["facts"][name] for name in current["facts"] if name in earlier["facts"]}
    lines = differences(earlier["settings"], current["settings"])
    lines += differences({"data": earlier["data"]}, {"data": current["data"]})
    lines += differences(known, {name: current["facts"][name] for name in known})
    for line in lines:
        announce(f"not as in the run that is repeated: {line}")


def _train(
    learning: Learning,
    settings: Settings,
    built: Built,
    data: Data,
    parts: MicroBatches,
    state: RunState,
    callbacks: Sequence[keras.callbacks.Callback],
    progress: bool,
) -> History:
    train, valid = learning.batches(data, settings, built, parts.size)
    optimization = learning.optimization(settings)
    with photos_named(learning, data, settings):
        return fine_tune(
            built.model,
            train,
            valid,
            objective=learning.objective(data, settings, built),
            plan=learning.plan(settings),
            optimization=replace(optimization, accumulate=optimization.accumulate * parts.steps),
            class_weight=learning.class_weight(data, settings),
            seed=settings.seed,
            cache=settings.cache and _feature_cache(learning, settings, built, data, parts),
            checkpoint=Checkpoint(state.checkpoint, share=SAVING),
            callbacks=callbacks,
            progress=progress,
        )


def _kept_epoch(history: History) -> str:
    epoch, last = history.best["epoch"], len(history.rows)
    reason = "" if epoch == last else ", the best one on the validation images"
    return f"the model has the weights of epoch {epoch} of {last}{reason}"


def _features_folder() -> Path:
    return platformdirs.user_cache_path("transfer-zoo", appauthor=False) / "features"


def _feature_cache(
    learning: Learning, settings: Settings, built: Built, data: Data, parts: MicroBatches
) -> FeatureCache:
    preparation = built.contract.preparation.as_dict()
    key = f"{data_fingerprint(data)} {preparation} {learning.views_key(settings)} {parts.size}"
    return FeatureCache(views=learning.views(settings), folder=_features_folder(), key=key)
