"""The main job in one call: from a folder of photos to a proven, exported model with a report.

`fit` is what `zoo fit` calls. Its result is a folder that appears whole or not at all:

=================  =====================================================================================
`model.keras`      the trained model, to go on in Keras
`saved_model/`     the same for TensorFlow Serving and other languages (see `transfer.exporting`)
`labels.txt`       the class names, in the order of the probabilities
`contract.json`    what the model takes and gives
`metrics.json`     accuracy on validation and test data, number of images, time, difference of the export
`history.csv`      loss and accuracy of each epoch
`skipped.csv`      files that were left out, and why
`config.json`      everything that was asked for, with seeds, versions and a fingerprint of the data
`report.html`      all of it to look at
`model_card.md`    what somebody who is handed the model has to know of it
=================  =====================================================================================

While it is under way, `.NAME.state/` beside it holds what a run that is killed needs to go on; see `transfer.resuming`.
"""

import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import platformdirs

from pipelines import Data, EvaluationCrop, Samples, Skipped, augmentation, batches, check, check_data, read_data
from transfer import exporting, report
from transfer.backbones import backbone as make_backbone
from transfer.caching import FeatureCache, fingerprint
from transfer.checkpoints import Checkpoint
from transfer.evaluation import Evaluation, evaluate
from transfer.exporting import Contract, installed_versions, write_and_prove
from transfer.folders import new_folder
from transfer.heads import classifier
from transfer.model_card import model_card
from transfer.predictor import EXPORTED, load
from transfer.resuming import RunState, arguments_in, data_fingerprint, differences
from transfer.training import fine_tune

__all__ = ["CONTENTS", "Run", "Scores", "fit", "read_config", "score"]

# What the folder of a run holds.
DOCUMENTS = ("metrics.json", "history.csv", "skipped.csv", "config.json", "report.html", "model_card.md")
CONTENTS = (*exporting.CONTENTS, *DOCUMENTS)

SAVING = 0.05  # of the time, at most, goes into keeping the state
PROVEN_ON = 5  # photos of the validation set, besides the built-in ones


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it lies.
        metrics: what `metrics.json` holds: `valid_accuracy` and `test_accuracy` (None without a test set) in 0..1,
            `valid_interval` and `test_interval` (low and high end at 95% confidence), `num_images`, `skipped` (a number
            of files), `seconds`, `export_max_abs_diff`.
    """

    folder: Path
    metrics: dict[str, Any]


def fit(
    data: str | Path,
    out: str | Path,
    *,
    backbone: str = "efficientnet_lite0",
    weights: str | None = "imagenet",
    head_epochs: int = 3,
    epochs: int = 10,
    unfreeze: str | float = 0.3,
    head_learning_rate: float = 1e-3,
    learning_rate: float = 1e-4,
    image_size: int | None = None,
    batch_size: int = 32,
    augment: str = "light",
    seed: int = 0,
    valid: float = 0.15,
    test: float = 0.15,
    overwrite: bool = False,
    cache: bool = True,
    resume: bool = False,
    like: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda part: None,
    progress: bool = True,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Fine-tunes a backbone on labelled photos, measures, exports and proves it, and writes a report.

    Args:
        data: a folder of class folders, or of `train`, `val`, `test` folders of such; `tfds:NAME`; `sklearn:digits`.
        out: the folder to write. It appears only when all is done; if anything fails, nothing is left. Of a run that
            was killed (`kill -9`, a power cut) a state not much older than that stays beside it.
        backbone: one of `transfer.list_backbones()`.
        weights: of the backbone: "imagenet", a file, or None for random ones.
        head_epochs: epochs of the new head on the frozen backbone.
        epochs: epochs of the top of the backbone together with the head, after that.
        unfreeze: that top: "none", "all", a level such as "c4", or a fraction in 0..1 of the layers.
        head_learning_rate, learning_rate: of Adam, for the head alone and for the head with that top.
        image_size: height and width in pixels; what the backbone was trained on unless told.
        batch_size: images in a step.
        augment: "none", "light" or "strong".
        seed: of the division of the data, of the order, of the augmentation and of the new weights.
        valid: fraction of the images that validate, where the data does not bring a validation set.
        test: fraction that is kept for the final test, likewise.
        overwrite: replace an earlier run in `out`.
        cache: run frozen layers once for each image and augmented view, and keep what comes out for later runs on the
            same data, 2 GB at most, in the user's folder for caches; see `transfer.FeatureCache`.
        resume: go on where an earlier run to `out` was killed, to the very weights that it would have come to (on the
            same machine); begin, if there was none. An interrupted run can go on, too, if it was begun with this.
        like: the configuration of a run that this one repeats, as `read_config` gives it: `say` is told where data or
            versions differ.
        say: is told, in a few words, of each part of the job as it begins.
        progress: whether to show a bar while training, on stderr or in a notebook.
        callbacks: of Keras, for the training.

    Returns:
        The folder and its metrics.

    Raises:
        FileExistsError: `out` holds something, or a run to it was killed and this one is not to go on.
        FileNotFoundError: no such data, or weights that are not to be had.
        ValueError: an unknown backbone, data that cannot be trained on, or `resume` where the earlier run was asked
            for something else: the message lists the differences.
        OSError: the disk is full; what the training has reached is kept, to go on with `resume`.
        transfer.ExportError: the exported model does not answer as the trained one does.
    """
    asked = {
        "data": str(Path(data).resolve()) if Path(data).is_dir() else str(data),
        "backbone": backbone,
        "weights": weights,
        "head_epochs": head_epochs,
        "epochs": epochs,
        "unfreeze": unfreeze,
        "head_learning_rate": head_learning_rate,
        "learning_rate": learning_rate,
        "image_size": image_size,
        "batch_size": batch_size,
        "augment": augment,
        "seed": seed,
        "valid": valid,
        "test": test,
        "cache": cache,
    }
    if Path(data).is_dir() and Path(out).resolve().is_relative_to(Path(data).resolve()):
        raise ValueError(f"{out} lies in {data}, where it would be taken for data; choose a folder elsewhere")
    if batch_size < 1:
        raise ValueError(f"expected at least 1 image in a step, got batch_size={batch_size}")
    clock = _Clock(say)
    state = RunState(out)
    if resume:
        state.remove_half_done()
    elif not overwrite:
        state.refuse_if_there()
    with (
        state.under_way(keep=resume),
        new_folder(out, overwrite=overwrite, contents=(*CONTENTS, EXPORTED)) as work,
    ):
        with clock("listing the data"):
            listed = read_data(data, valid=valid, test=test, seed=seed)
            if not len(listed.valid):
                raise ValueError(f"{data} has no validation images; keep some apart, as with valid=0.15 (--valid 0.15)")
        with clock("building the model"):
            trunk = make_backbone(backbone, image_size=image_size, weights=weights)
            crop = trunk.crop
            contract = Contract(listed.class_names, crop)
        with clock("checking that all images can be read"):
            found = check_data(listed)
            versions = installed_versions()
            described = {**asked, "data_fingerprint": data_fingerprint(found), "versions": versions}
        known = {name: like[name] for name in described if name in like} if like else {}
        for difference in differences(known, {name: described[name] for name in known}):
            say(f"not as in the run that is repeated: {difference}")
        (state.go_on if resume else state.begin)(described)
        with clock("training"):
            model = classifier(trunk, len(found.class_names), seed=seed)
            train = batches(
                found.train,
                crop,
                batch_size=batch_size,
                shuffle=True,
                augment=augmentation(augment, seed=seed),
                seed=seed,
            )
            history = fine_tune(
                model,
                train,
                batches(found.valid, crop, batch_size=batch_size),
                head_epochs=head_epochs,
                epochs=epochs,
                unfreeze=unfreeze,
                head_learning_rate=head_learning_rate,
                learning_rate=learning_rate,
                seed=seed,
                cache=cache and _feature_cache(found, crop, augment, batch_size, seed),
                checkpoint=Checkpoint(state.checkpoint, share=SAVING),
                callbacks=callbacks,
                progress=progress,
            )
        with clock("measuring"):
            parts = {name: part for name, part in (("test", found.test), ("valid", found.valid)) if len(part)}
            evaluations = {
                name: evaluate(model, batches(part, crop, batch_size=batch_size, cache=False), found.class_names)
                for name, part in parts.items()
            }
        with clock("exporting and proving it"):
            proof = write_and_prove(model, work, contract, photos=list(found.valid.images[:PROVEN_ON]))
        with clock("looking at the worst mistakes"):
            judged = next(iter(evaluations))
            mistakes = report.worst_mistakes(model, parts[judged], evaluations[judged], crop)
        metrics = {
            "valid_accuracy": evaluations["valid"].accuracy,
            "valid_interval": evaluations["valid"].intervals.accuracy.as_list(),
            "test_accuracy": evaluations["test"].accuracy if "test" in evaluations else None,
            "test_interval": evaluations["test"].intervals.accuracy.as_list() if "test" in evaluations else None,
            "num_images": len(found),
            "skipped": len(found.skipped),
            "seconds": round(clock.total, 1),
            "export_max_abs_diff": proof.max_abs_diff,
        }
        _write_json(work / "metrics.json", metrics)
        config = {**described, "weights_licence": trunk.licence, "crop": crop.as_dict()}
        _write_json(work / "config.json", config)
        card = model_card(config, metrics, evaluations, found)
        (work / "model_card.md").write_text(card, encoding="utf-8", errors="backslashreplace")
        _write_csv(work / "history.csv", list(history.rows[0]), [row.values() for row in history.rows])
        _write_csv(work / "skipped.csv", ["path", "reason"], [(each.path, each.reason) for each in found.skipped])
        report.write(
            work / "report.html",
            data=found,
            history=history,
            evaluations=evaluations,
            mistakes=mistakes,
            proof=proof,
            seconds=clock.seconds,
            config=asked,
            versions=versions,
        )
    return Run(Path(out), metrics)


def read_config(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the `config.json` of a run, to repeat it: `fit(**arguments, out="again", like=config)`.

    Args:
        path: of the file, or of the run's folder.

    Returns:
        The arguments of `fit`, and the whole configuration.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is no configuration of a run.
    """
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not the configuration of a run: {error}") from error
    if not isinstance(config, dict) or "data" not in config:
        raise ValueError(f"{path} is not the configuration of a run; expected the config.json that `zoo fit` writes")
    return arguments_in(config, fit), config


def _feature_cache(data: Data, crop: EvaluationCrop, augment: str, batch_size: int, seed: int) -> FeatureCache:
    folder = platformdirs.user_cache_path("transfer-zoo", appauthor=False) / "features"
    prints = [fingerprint(data.train), fingerprint(data.valid)]
    return FeatureCache(folder=folder, key=f"{prints} {crop.as_dict()} {augment} {batch_size} {seed}")


@dataclass(frozen=True)
class Scores:
    """How good a run is on data.

    Attributes:
        part: of the data that was used: "all", or what is held out of it: "test" or "valid".
        evaluation: of that part, in the run's order of classes.
        skipped: the files that could not be read.
    """

    part: str
    evaluation: Evaluation
    skipped: tuple[Skipped, ...]


def score(run: str | Path, data: str | Path, *, augment: bool = False) -> Scores:
    """Measures an exported model on labelled photos.

    What it is measured on depends on the data. Of a folder of class folders, all photos; of `train`, `val` and `test`
    folders, those in `test`, else in `val`. Of the very data that the run was trained on, and of data sets by name, the
    part that the run held out: what a model was trained on says nothing about how good it is.

    Args:
        run: what `transfer.load` takes.
        data: what `fit` takes. Classes are matched by name; the run may know more of them.
        augment: average over four views of each photo; see `transfer.Predictor.probabilities`.

    Raises:
        ValueError: data with a class that the run does not know, or nothing held out.
    """
    predictor = load(run)
    part, samples, names, skipped = _held_out(Path(run), str(data))
    unknown = [name for name in names if name not in predictor.class_names]
    if unknown:
        raise ValueError(
            f"{data} has the classes {', '.join(unknown)}, which {run} does not know; it knows "
            f"{', '.join(predictor.class_names[:20])}. Rename these folders, or leave them out"
        )
    readable, unreadable = check(samples)
    if not len(readable):
        raise ValueError(f"no image of {data} can be read; the first: {unreadable[0].path}: {unreadable[0].reason}")
    order = np.array([predictor.class_names.index(name) for name in names], "int32")
    probabilities = predictor.probabilities(readable.images, augment=augment)
    evaluation = Evaluation(predictor.class_names, order[readable.labels], probabilities)
    return Scores(part, evaluation, (*skipped, *unreadable))


def _held_out(run: Path, data: str) -> tuple[str, Samples, tuple[str, ...], tuple[Skipped, ...]]:
    config = run / "config.json"
    asked = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    same = "data" in asked and Path(asked["data"]).resolve() == Path(data).resolve()
    if Path(data).exists() and not same:
        found = read_data(data, valid=0, test=0)
        parts = {"test": found.test, "valid": found.valid, "all": found.train}
    else:
        division = {name: asked[name] for name in ("valid", "test", "seed") if name in asked}
        found = read_data(data, **division)
        parts = {"test": found.test, "valid": found.valid}
    for name, part in parts.items():
        if len(part):
            return name, part, found.class_names, found.skipped
    raise ValueError(f"{data}: nothing of it was held out from training; evaluate on other photos")


class _Clock:
    """Says what begins, and keeps how long each part took."""

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._start = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        self._say(part)
        start = time.perf_counter()
        yield
        self.seconds[part] = time.perf_counter() - start

    @property
    def total(self) -> float:
        return time.perf_counter() - self._start


# Names of files are bytes on Linux, and need not be Unicode. What is not is written with backslashes.


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
