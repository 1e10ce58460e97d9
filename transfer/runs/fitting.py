"""The main job in one call: from a folder of photos to a proven, exported model with a report.

`fit` is what `zoo fit` calls. Its result is a folder that appears whole or not at all:

=================  =====================================================================================
`model.keras`      the trained model, to go on in Keras
`saved_model/`     the same for TensorFlow Serving and other languages (see `transfer.artifacts.exporting`)
`labels.txt`       the class names, in the order of the probabilities
`contract.json`    what the model takes and gives
`metrics.json`     accuracy on validation and test data, number of images, time, difference of the export
`history.csv`      loss and accuracy of each epoch
`skipped.csv`      files that were left out, and why
`audit.html`       what is wrong with the data, if anything; see `pipelines.audit`
`config.json`      everything that was asked for, with seeds, versions and a fingerprint of the data
`report.html`      all of it to look at
`model_card.md`    what somebody who is handed the model has to know of it
=================  =====================================================================================

While it is under way, `.NAME.state/` beside it holds what a run that is killed needs to go on; see
`transfer.runs.state`.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import platformdirs
import tensorflow as tf

import pipelines
from pipelines import (
    CutMix,
    Data,
    EvaluationCrop,
    MixUp,
    Samples,
    Skipped,
    augmentation,
    batches,
    check,
    check_data,
    class_weights,
    read_data,
)
from transfer.artifacts import exporting
from transfer.artifacts.exporting import Contract, installed_versions, write_and_prove
from transfer.artifacts.folders import new_folder
from transfer.measuring.classes import Evaluation, evaluate
from transfer.models.backbones import backbone as make_backbone
from transfer.models.heads import classifier
from transfer.predict.predictor import EXPORTED, load
from transfer.report import page as report
from transfer.report.model_card import model_card
from transfer.runs.files import Clock, write_audit, write_csv, write_json
from transfer.runs.state import RunState, arguments_in, data_fingerprint, differences
from transfer.training import freezing
from transfer.training.checkpoints import Checkpoint
from transfer.training.feature_cache import FeatureCache, fingerprint
from transfer.training.fine_tuning import ADAM, History, fine_tune
from transfer.training.memory import MicroBatches, micro_batches
from transfer.training.objectives import SingleLabel, Task
from transfer.training.optimization import Optimization
from transfer.training.soft_labels import SoftLabel
from zoo.analysis.costs import readable

__all__ = ["CONTENTS", "Run", "Scores", "fit", "read_config", "score"]

# What the folder of a run holds.
DOCUMENTS = ("metrics.json", "history.csv", "skipped.csv", "config.json", "report.html", "model_card.md", "audit.html")
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
    unfreeze: str | float | Sequence[str | float] = 0.3,
    head_learning_rate: float = 1e-3,
    learning_rate: float = 1e-4,
    optimization: Optimization = ADAM,
    batch_norms: Literal["frozen", "re-estimated"] = "frozen",
    patience: int | None = None,
    balance: Literal["none", "even", "oversample", "weights"] = "none",
    mix: Literal["none", "mixup", "cutmix"] = "none",
    precision: Literal["float32", "mixed_bfloat16"] = "float32",
    memory: int | str | None = None,
    recipe: str | None = None,
    image_size: int | None = None,
    batch_size: int = 32,
    augment: str = "light",
    seed: int = 0,
    valid: float = 0.15,
    test: float = 0.15,
    exclude: str | Path | None = None,
    audit: bool = True,
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
        unfreeze: that top: "none", "all", a level such as "c4", a layer's name, or a fraction in 0..1 of the layers;
            or several of these, for as many phases of `epochs` each.
        head_learning_rate, learning_rate: for the head alone and for the head with that top.
        optimization, batch_norms, patience: see `transfer.fine_tune`.
        balance: of classes with different numbers of images. "even" and "oversample" show those of small classes
            oftener (see `pipelines.batches`), "weights" lets them count more.
        mix: "mixup" or "cutmix" makes each training image of two, and its label, too.
        precision: "mixed_bfloat16" computes in 16 bits while training, which pays where the processor does so itself.
            The model that is kept has the same weights, and computes in float32.
        memory: that may be taken, in bytes or such as "4 GB"; what is free unless told. Where a step of `batch_size`
            images is predicted to take more, it is made of smaller ones whose gradients are accumulated.
        recipe: "textbook" is that of Géron's "Hands-On Machine Learning", chapter 14: Xception, 3 epochs of the head
            with SGD at 0.1, and 10 of the layers from index 56 on at 0.01; what is given besides goes before it. Unlike
            there, batch norms stay frozen.
        image_size: height and width in pixels; what the backbone was trained on unless told.
        batch_size: images in a step.
        augment: "none", "light" or "strong".
        seed: of the division of the data, of the order, of the augmentation and of the new weights.
        valid: fraction of the images that validate, where the data does not bring a validation set.
        test: fraction that is kept for the final test, likewise.
        exclude: a list of files to leave out, as `zoo audit --exclude-to` writes it.
        audit: look for what is wrong with the data before training. `say` is told of errors, and a page of all findings
            is written; nothing is left out because of them.
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
    asked: dict[str, Any] = {
        "data": str(Path(data).resolve()) if Path(data).is_dir() else str(data),
        "backbone": backbone,
        "weights": weights,
        "head_epochs": head_epochs,
        "epochs": epochs,
        "unfreeze": unfreeze if isinstance(unfreeze, str | float | int) else list(unfreeze),
        "head_learning_rate": head_learning_rate,
        "learning_rate": learning_rate,
        "optimization": optimization,
        "batch_norms": batch_norms,
        "patience": patience,
        "balance": balance,
        "mix": mix,
        "precision": precision,
        "memory": memory,
        "image_size": image_size,
        "batch_size": batch_size,
        "augment": augment,
        "seed": seed,
        "valid": valid,
        "test": test,
        "exclude": None if exclude is None else str(Path(exclude).resolve()),
        "audit": audit,
        "cache": cache,
    }
    asked |= _by_recipe(recipe, asked)
    plan = _Plan(**{each.name: asked[each.name] for each in fields(_Plan)})
    asked["optimization"] = asdict(plan.optimization)
    if Path(data).is_dir() and Path(out).resolve().is_relative_to(Path(data).resolve()):
        raise ValueError(f"{out} lies in {data}, where it would be taken for data; choose a folder elsewhere")
    if batch_size < 1:
        raise ValueError(f"expected at least 1 image in a step, got batch_size={batch_size}")
    clock = Clock(say)
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
            if exclude is not None:
                listed = pipelines.exclude(listed, pipelines.read_exclude_list(exclude))
            if not len(listed.valid):
                raise ValueError(f"{data} has no validation images; keep some apart, as with valid=0.15 (--valid 0.15)")
        with clock("building the model"):
            with _computing_in(precision):
                trunk = make_backbone(plan.backbone, image_size=image_size, weights=weights)
            crop = trunk.crop
            contract = Contract(listed.class_names, crop)
        with clock("checking that all images can be read"):
            found = check_data(listed)
        with clock("building the head"):
            with _computing_in(precision):
                model = classifier(trunk, len(found.class_names), seed=seed)
            parts = _micro_batches(plan, model, memory, say)
        versions = installed_versions()
        # How many images go through at once decides on the last bits of the weights, and what is free on that.
        described = {
            **asked,
            "micro_batch": parts.size,
            "data_fingerprint": data_fingerprint(found),
            "versions": versions,
        }
        if audit:
            with clock("auditing the data"):
                write_audit(found, work / "audit.html", say, advice=", or zoo audit --exclude-to")
        known = {name: like[name] for name in described if name in like} if like else {}
        for difference in differences(known, {name: described[name] for name in known}):
            say(f"not as in the run that is repeated: {difference}")
        (state.go_on if resume else state.begin)(described)
        with clock("training"):
            history = _train(
                plan,
                model,
                found,
                crop,
                parts,
                checkpoint=Checkpoint(state.checkpoint, share=SAVING),
                callbacks=callbacks,
                progress=progress,
            )
            if precision != "float32":
                plain = classifier(
                    make_backbone(plan.backbone, image_size=image_size, weights=None), len(found.class_names)
                )
                plain.set_weights(model.get_weights())
                model = plain
        with clock("measuring"):
            held_out = {name: part for name, part in (("test", found.test), ("valid", found.valid)) if len(part)}
            evaluations = {
                name: evaluate(model, batches(part, crop, batch_size=batch_size, cache=False), found.class_names)
                for name, part in held_out.items()
            }
        with clock("exporting and proving it"):
            proof = write_and_prove(model, work, contract, photos=list(found.valid.images[:PROVEN_ON]))
        with clock("looking at the worst mistakes"):
            judged = next(iter(evaluations))
            mistakes = report.worst_mistakes(model, held_out[judged], evaluations[judged], crop)
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
        write_json(work / "metrics.json", metrics)
        config = {**described, "weights_licence": trunk.licence, "crop": crop.as_dict()}
        write_json(work / "config.json", config)
        card = model_card(config, metrics, evaluations, found)
        (work / "model_card.md").write_text(card, encoding="utf-8", errors="backslashreplace")
        write_csv(work / "history.csv", list(history.rows[0]), [row.values() for row in history.rows])
        write_csv(work / "skipped.csv", ["path", "reason"], [(each.path, each.reason) for each in found.skipped])
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


@dataclass(frozen=True)
class _Plan:
    """What was asked of the training, the recipe included."""

    backbone: str
    head_epochs: int
    epochs: int
    unfreeze: Any
    head_learning_rate: float
    learning_rate: float
    optimization: Optimization
    batch_norms: Literal["frozen", "re-estimated"]
    patience: int | None
    balance: str
    mix: str
    precision: str
    batch_size: int
    augment: str
    seed: int
    cache: bool

    def __post_init__(self) -> None:
        choices = {"balance": BALANCES, "mix": tuple(MIXES), "precision": ("float32", "mixed_bfloat16")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}; got {getattr(self, name)!r}")


def _train(
    plan: _Plan,
    model: keras.Model,
    data: Data,
    crop: EvaluationCrop,
    parts: MicroBatches,
    *,
    checkpoint: Checkpoint,
    callbacks: Sequence[keras.callbacks.Callback],
    progress: bool,
) -> History:
    num_classes, seed = len(data.class_names), plan.seed
    augment = augmentation(plan.augment, seed=seed)
    task: Task = SingleLabel()
    valid = batches(data.valid, crop, batch_size=parts.size)
    if plan.mix != "none":
        augment = [*augment, MIXES[plan.mix](num_classes=num_classes, seed=seed)]
        task = SoftLabel()
        valid = valid.map(lambda images, labels: (images, tf.one_hot(labels, num_classes)))
    train = batches(
        data.train,
        crop,
        batch_size=parts.size,
        shuffle=True,
        augment=augment,
        seed=seed,
        balance=plan.balance if plan.balance in ("even", "oversample") else None,
    )
    weights = class_weights(data.train.labels, num_classes) if plan.balance == "weights" else None
    views = f"{plan.augment} {plan.mix} {plan.balance} {parts.size} {seed} {plan.batch_norms} {plan.precision}"
    return fine_tune(
        model,
        train,
        valid,
        task=task,
        head_epochs=plan.head_epochs,
        epochs=plan.epochs,
        unfreeze=plan.unfreeze,
        head_learning_rate=plan.head_learning_rate,
        learning_rate=plan.learning_rate,
        optimization=replace(plan.optimization, accumulate=plan.optimization.accumulate * parts.steps),
        batch_norms=plan.batch_norms,
        class_weight=None if weights is None else dict(enumerate(weights.tolist())),
        patience=plan.patience,
        seed=seed,
        cache=plan.cache and _feature_cache(data, crop, views),
        checkpoint=checkpoint,
        callbacks=callbacks,
        progress=progress,
    )


def _micro_batches(
    plan: _Plan, model: keras.Model, memory: int | str | None, say: Callable[[str], None]
) -> MicroBatches:
    several = not isinstance(plan.unfreeze, str | float | int)
    freezing.unfreeze(model, plan.unfreeze[-1] if several and plan.epochs else plan.unfreeze if plan.epochs else "none")
    parts = micro_batches(model, plan.batch_size, memory=memory, optimizer=plan.optimization.name)
    if parts.steps > 1:
        say(
            f"a step of {plan.batch_size} images is predicted to take {readable(parts.predicted, 'B')}: it is made of "
            f"{parts.steps} steps of {parts.size}, whose gradients are accumulated"
        )
    return parts


BALANCES = ("none", "even", "oversample", "weights")
MIXES: dict[str, Any] = {"none": None, "mixup": MixUp, "cutmix": CutMix}
RECIPES: dict[str, dict[str, Any]] = {
    "textbook": {
        "backbone": "keras:Xception",
        "head_epochs": 3,
        "epochs": 10,
        "unfreeze": "block7_sepconv1_act",  # layer 56 of keras.applications.Xception
        "head_learning_rate": 0.1,
        "learning_rate": 0.01,
        "optimization": Optimization("sgd", momentum=0.9),
    }
}


def _by_recipe(recipe: str | None, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe says and the caller does not: the values of arguments that have their defaults."""
    if recipe is None:
        return {}
    if recipe not in RECIPES:
        raise ValueError(f"recipe is one of {', '.join(RECIPES)}, or None; got {recipe!r}")
    defaults = inspect.signature(fit).parameters
    return {name: value for name, value in RECIPES[recipe].items() if asked[name] == defaults[name].default}


@contextmanager
def _computing_in(precision: str) -> Iterator[None]:
    """Layers made inside compute in this precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


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
    arguments = arguments_in(config, fit)
    if "optimization" in arguments:
        arguments["optimization"] = Optimization(**arguments["optimization"])
    return arguments, config


def _feature_cache(data: Data, crop: EvaluationCrop, views: str) -> FeatureCache:
    folder = platformdirs.user_cache_path("transfer-zoo", appauthor=False) / "features"
    prints = [fingerprint(data.train), fingerprint(data.valid)]
    return FeatureCache(folder=folder, key=f"{prints} {crop.as_dict()} {views}")


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
    if predictor.contract.task == "detect":
        raise ValueError(f"{run} is a detector; transfer.tasks.detect.score measures it")
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
        if asked.get("exclude"):
            found = pipelines.exclude(found, pipelines.read_exclude_list(asked["exclude"]))
        parts = {"test": found.test, "valid": found.valid}
    for name, part in parts.items():
        if len(part):
            return name, part, found.class_names, found.skipped
    raise ValueError(f"{data}: nothing of it was held out from training; evaluate on other photos")
