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

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import platformdirs
import tensorflow as tf

from pipelines import Data, WrongKind, check_data, data_fingerprint
from pipelines.outputs.durable import replace_durably
from pipelines.outputs.locks import output_lock
from pipelines.usable import parts_without_objects
from transfer.artifacts import exporting
from transfer.artifacts.engines.table import check_formats
from transfer.artifacts.folders import new_folder
from transfer.artifacts.writers.keras import write_keras
from transfer.contract import Proof, installed_versions
from transfer.keras_settings import check_keras_settings
from transfer.predict.loading import EXPORTED
from transfer.report.card import model_card
from transfer.report.page import write as write_report
from transfer.runs.configuration import Configuration, differences, resolved
from transfer.runs.folder import Clock, RunUnfinished, free_name, write_audit, write_csv, write_json
from transfer.runs.held_out import TRAINED_ON, read_for, write_trained_on
from transfer.runs.readouts import photos_named
from transfer.runs.state import RunState
from transfer.tasks import TASKS, learning_of, settings_class, task_of, task_of_settings
from transfer.tasks.learning import Built, Finished, Learning, Measured
from transfer.tasks.outputs import outputs_for
from transfer.tasks.settings import Settings
from transfer.tasks.task import Arrays, Task
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
PROVEN_ON = 5  # Number of validation photos that the export is proven on, besides the built-in ones.

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
        job = _Job(task, learning, settings, configuration, checked, replace(built, model=model), history, clock)
        with _nothing_lost(work, Path(out), job, state):
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


@contextmanager
def _nothing_lost(work: Path, out: Path, job: "_Job", state: RunState) -> Iterator[None]:
    """Keeps the trained model and all that was written when a step behind the training fails.

    Raises:
        RunUnfinished: Such a step failed; the message says where everything is, and what to do.
    """
    try:
        yield
    except BaseException as error:
        kept = free_name(out.resolve().with_name(f"{out.resolve().name}.unfinished"))
        try:
            job.save(work)
            replace_durably(work, kept)
        except Exception as also:  # TensorFlow and HDF5 have errors of their own.
            state.keep = True
            raise OSError(
                f"the trained model cannot be written ({also}); its weights are in {state.folder}. Make room, and go "
                "on with resume=True (--resume)"
            ) from error
        if not isinstance(error, Exception):  # Ctrl-C, or a request to end
            raise
        raise RunUnfinished(
            f"The model was trained, and then this failed: {error}\nThe trained model and all that was written are in "
            f"{kept}. Repeat the export with: zoo export {kept}",
            kept,
        ) from error


def _shown(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings for pages that are handed on: of a path its name alone; its folders are nobody's business."""
    return {
        name: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for name, value in settings.items()
    }


@dataclass
class _Job:
    """What comes behind the training: measuring, exporting, proving and reporting."""

    task: Task
    learning: Learning
    settings: Settings
    configuration: Configuration
    data: Data
    built: Built
    history: History
    clock: Clock

    def finish(self, work: Path) -> dict[str, Any]:
        """Writes everything that a finished run holds, and returns its metrics."""
        held_out = {name: self.data.splits[name] for name in ("test", "valid") if len(self.data.splits[name])}
        with self.clock("measuring"):
            outputs = {name: self._outputs(part) for name, part in held_out.items()}
            contract = self.built.contract
            of_valid = self.learning.measure(outputs["valid"], held_out["valid"], contract)
            contract = self.learning.finish(contract, of_valid)
            self.built = replace(self.built, contract=contract)
            measured = {name: self.learning.measure(outputs[name], part, contract) for name, part in held_out.items()}
        self._write_documents(work, self._metrics(measured, None))
        with self.clock("exporting and proving it"):
            photos = list(held_out["valid"].images[:PROVEN_ON])
            formats = ("keras", *self.settings.formats)
            proof = exporting.write_and_prove(self.built.model, work, contract, formats=formats, photos=photos)
        with self.clock("writing the report"):
            metrics = self._metrics(measured, proof)
            finished = self._finished(metrics, measured, next(iter(outputs.values())), proof)
            sections = self.learning.sections(finished)
            write_report(work / "report.html", finished, sections)
            card = model_card(finished, sections)
            (work / "model_card.md").write_text(card, encoding="utf-8", errors="backslashreplace")
        metrics |= {"seconds": round(self.clock.total, 1), "seconds_by_part": self._seconds()}
        self._write_documents(work, metrics)
        return metrics

    def save(self, work: Path) -> None:
        """Writes the trained model and what is known about it, as far as that is not done yet."""
        if not (work / "model.keras").exists():
            write_keras(self.built.model, work, self.built.contract)
        if not (work / "config.json").exists():
            self._write_documents(work, self._metrics({}, None))

    def _outputs(self, part: Any) -> Arrays:
        network = self.learning.network(self.built.model, self.built.contract, portable=False)
        size = self.built.contract.preparation.size
        signature = [tf.TensorSpec((None, *size, 3), tf.float32)]
        graph = tf.function(network, input_signature=signature, autograph=False)

        def ask(images: np.ndarray) -> Arrays:
            return {name: values.numpy() for name, values in graph(tf.constant(images, tf.float32)).items()}

        return outputs_for(ask, part, self.built.contract, batch_size=self.settings.batch_size)

    def _metrics(self, measured: dict[str, Measured], proof: Proof | None) -> dict[str, Any]:
        headline = self.task.metrics[0]
        metrics: dict[str, Any] = {
            "task": self.task.name,
            "headline": {
                "name": headline.name,
                "label": headline.label,
                "percent": headline.percent,
                "higher_is_better": headline.higher_is_better,
            },
        }
        names = {name for one in measured.values() for name in one.metrics()} or {one.name for one in self.task.metrics}
        order = [one.name for one in self.task.metrics]
        for split in ("valid", "test"):
            values = measured[split].metrics() if split in measured else {}
            for name in sorted(names, key=lambda one: (order.index(one) if one in order else len(order), one)):
                metrics[f"{split}_{name}"] = values.get(name)
        return {
            **metrics,
            "num_images": len(self.data),
            "skipped": len(self.data.skipped),
            "readout": self._readout(),
            "seconds": round(self.clock.total, 1),
            "seconds_by_part": self._seconds(),
            "export_max_abs_diff": None if proof is None else proof.max_abs_diff,
        }

    def _readout(self) -> dict[str, float] | None:
        """Returns what the solved head reached in validation by itself; None where it was trained."""
        row = self.history.readout
        return None if row is None else {name: value for name, value in row.items() if name.startswith("val_")}

    def _seconds(self) -> dict[str, float]:
        """Returns how long each part of the run took, and each part of the training."""
        phases = {f"training: {phase.name}": phase.seconds for phase in self.history.phases}
        seconds = {**self.clock.seconds, "training: frozen layers": self.history.extraction_seconds, **phases}
        return {part: round(value, 2) for part, value in seconds.items()}

    def _facts(self) -> dict[str, Any]:
        return {
            **self.configuration.facts,
            "preparation": self.built.contract.preparation.as_dict(),
            "weights_licence": self.built.licence,
            "thresholds": getattr(self.built.contract, "thresholds", {}),
        }

    def _finished(
        self, metrics: dict[str, Any], measured: dict[str, Measured], outputs: Arrays, proof: Proof
    ) -> Finished:
        return Finished(
            task=self.task.name,
            metrics=metrics,
            data=self.data,
            settings=_shown({"data": self.configuration.data, **self.settings.as_dict()}),
            config=self._facts(),
            history=self.history,
            measured=measured,
            outputs=outputs,
            model=self.built.model,
            contract=self.built.contract,
            proof=proof,
            seconds=self.clock.seconds,
            headline=self.task.metrics[0],
        )

    def _write_documents(self, work: Path, metrics: dict[str, Any]) -> None:
        write_json(work / "metrics.json", metrics)
        write_json(work / "config.json", replace(self.configuration, facts=self._facts()).as_dict())
        rows = self.history.rows
        write_csv(work / "history.csv", list(rows[0]), [row.values() for row in rows])
        skipped = [(fault.place, fault.reason) for fault in self.data.skipped]
        write_csv(work / "skipped.csv", ["path", "reason"], skipped)
        if not (work / TRAINED_ON).exists():
            write_trained_on(work / TRAINED_ON, self.data.train)
