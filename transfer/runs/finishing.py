"""What comes behind the training of a run: measuring, exporting, proving, reporting, and losing nothing of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import Data
from pipelines.outputs.durable import replace_durably
from transfer.artifacts import exporting
from transfer.artifacts.writers.keras import write_keras
from transfer.contract import Proof
from transfer.report.card import model_card
from transfer.report.page import write as write_report
from transfer.runs.configuration import Configuration
from transfer.runs.folder import Clock, RunUnfinished, free_name, write_csv, write_json
from transfer.runs.held_out import TRAINED_ON, write_trained_on
from transfer.runs.state import RunState
from transfer.tasks.learning import Built, Finished, Learning, Measured
from transfer.tasks.outputs import outputs_for
from transfer.tasks.settings import Settings
from transfer.tasks.task import Arrays, Task
from transfer.training.fine_tuning import History

__all__ = ["PROVEN_ON", "Job", "nothing_lost"]


PROVEN_ON = 5  # Number of validation photos that the export is proven on, besides the built-in ones.


@dataclass
class Job:
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


@contextmanager
def nothing_lost(work: Path, out: Path, job: "Job", state: RunState) -> Iterator[None]:
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
