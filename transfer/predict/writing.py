"""Answers for a folder of photos, written to one file; a job that was stopped goes on where it was.

While it runs, answers are appended to `.NAME.partial` beside the file, one line of JSON each; the first line says which
model and which options they come from. When all photos are done, that becomes the file that was asked for, in one step.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.outputs.cells import guarded
from pipelines.outputs.durable import new_file, sync
from pipelines.outputs.locks import output_lock
from pipelines.outputs.names import file_name
from transfer.predict.photos import names_in_common, other_files_in, photos_in, pixels_of
from transfer.predict.predictor import Predictor
from transfer.tasks.task import Answer, Options

__all__ = ["FORMATS", "Written", "check_masks", "write_drawings", "write_predictions"]

FORMATS = (".csv", ".jsonl", ".parquet")  # A task may have others, such as COCO's .json.
FIXED_COLUMNS = ("path", "error")


@dataclass(frozen=True)
class Written:
    """What `write_predictions` did.

    Attributes:
        file: The file that was written. It is None where only drawings were.
        num_photos: Number of photos that there are answers for, those of an earlier, stopped job included.
        num_predictions: Number of classes, labels, numbers or objects in these answers.
        resumed: Number of photos that an earlier, stopped job had done.
        unreadable: The paths of photos that could not be read, each with the reason.
        left_out: The paths of files in the folder whose names are not those of images. Hidden files, and those that a
            system left behind, are not among them.
    """

    file: Path | None
    num_photos: int
    num_predictions: int
    resumed: int
    unreadable: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...] = ()


def write_predictions(
    predictor: Predictor,
    folder: str | Path,
    out: str | Path | None = None,
    *,
    draw_to: str | Path | None = None,
    masks_to: str | Path | None = None,
    top: int | None = None,
    threshold: float | None = None,
    augment: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Written:
    """Answers for every photo of a folder. After a stop, the same call goes on where the job was.

    Args:
        predictor: What `transfer.load` returns.
        folder: The folder with the photos, which may lie in folders inside it, too.
        out: The file to write; it appears when all photos are done. Its ending says which kind it is:

            - .csv and .parquet: a table with the columns `path` (as seen from `folder`) and `error`, and the columns of
              the model's task. A photo has one row, or one for each object in it. In .csv, a text that a spreadsheet
              would take for a formula has an apostrophe before it.
            - .jsonl: one line of JSON for each photo: `path`, `height`, `width` and `predictions`, or `error`.
            - What only the model's task has: .json for detectors, a list of results that COCO's tools take.

            Without a file, there have to be drawings or masks.
        draw_to: A folder outside of `folder` for drawings of the answers on the photos, each as PATH.png.
        masks_to: A folder outside of `folder` for masks, each as PATH.png at the size of its photo: an image of class
            numbers with a palette. Only tasks that say something of each pixel have them.
        top: Maximum number of classes, labels or objects per photo. By default the task chooses.
        threshold: Score in 0..1 below which classes, labels or objects are left out. By default the model's own
            thresholds hold, if it has any.
        augment: Whether to merge the answers to several views of each photo (test-time augmentation).
        overwrite: Whether to replace an earlier file and earlier drawings.
        progress: A function that is told how many photos are done, and how many there are.

    Raises:
        ValueError: The folder holds no photos, the file is of another kind, the task has no such option, or there is
            an unfinished job of another model or with other options.
        FileExistsError: `out` or a drawing exists, or another process writes them.
        FileNotFoundError: There is no such folder.

    Example:

        write_predictions(transfer.load("run"), "photos", "predictions.csv", draw_to="drawings")
    """
    folder = Path(folder)
    out, draw_to, masks_to = (None if path is None else Path(path) for path in (out, draw_to, masks_to))
    pictures = {how: place for how, place in ((_draw, draw_to), (_mask, masks_to)) if place is not None}
    options = Options(top, threshold)
    predictor.check_options(options, augment=augment)
    _check_targets(predictor, folder, out, list(pictures.values()), options, overwrite)
    check_masks(predictor, masks_to)
    photos = {path.relative_to(folder).as_posix(): path for path in photos_in(folder)}
    partial = _partial(out, draw_to or masks_to)
    job = {
        "model": predictor.contract.fingerprint or list(predictor.class_names),
        "folder": str(folder.resolve()),
        "top": top,
        "threshold": threshold,
        "augment": augment,
        "drawings": None if draw_to is None else str(draw_to.resolve()),
        **({} if masks_to is None else {"masks": str(masks_to.resolve())}),
    }
    with output_lock(out or draw_to or masks_to or partial):
        for place in pictures.values() if not partial.exists() and not overwrite else ():
            _check_drawings(photos, place)
        done = _resume(partial, job)
        remaining = {name: path for name, path in photos.items() if name not in done}
        count, total = len(done), len(done) + len(remaining)
        progress(count, total)
        answers = predictor.stream(list(remaining.values()), top=top, threshold=threshold, augment=augment)
        with partial.open("a", encoding="ascii") as file:
            for (name, path), answer in zip(remaining.items(), answers, strict=True):
                for how, place in pictures.items() if answer.error is None else ():
                    how(predictor, answer, path, _drawing(place, name))
                file.write(_line(predictor.task.as_dict(answer) | {"path": name}))
                file.flush()
                count += 1
                progress(count, total)
        for place in pictures.values():
            if place.is_dir():
                sync(place)  # Before the list of what is done is deleted.
        written = _finish(predictor, partial, out, options, resumed=len(done))
    return replace(written, left_out=other_files_in(folder))


def write_drawings(
    predictor: Predictor, answers: Iterable[Answer], folder: str | Path, *, masks: bool = False
) -> Iterator[Path]:
    """Draws answers onto their photos, and yields each picture that it writes.

    Args:
        predictor: What `transfer.load` returns.
        answers: Answers to photos that were given as paths. Those with an error are left out.
        folder: The folder of the drawings, each as NAME.png. Where photos lie in several folders, so do the drawings.
        masks: Whether masks are written instead (`write_predictions`).
    """
    how = _mask if masks else _draw
    readable = [answer for answer in answers if answer.error is None]
    for answer, name in zip(readable, names_in_common([answer.name for answer in readable]), strict=True):
        yield how(predictor, answer, Path(answer.name), _drawing(Path(folder), name))


def check_masks(predictor: Predictor, folder: Path | None) -> None:
    """Raises a ValueError where masks are asked for of a model whose task has none."""
    if folder is not None and not predictor.task.masks:
        known = ", ".join((*FORMATS, *predictor.task.documents))
        raise ValueError(
            f"masks are not for the task {predictor.task.name!r}, which says nothing of each pixel, and {folder} is a "
            f"folder for masks; name a file that ends in {known}, or leave it out"
        )


# Before the first photo


def _check_targets(
    predictor: Predictor, folder: Path, out: Path | None, pictures: Sequence[Path], options: Options, overwrite: bool
) -> None:
    task = predictor.task
    if out is None and not pictures:
        raise ValueError("expected a file for the answers, or a folder for drawings or masks; got none of them")
    if len({place.resolve() for place in pictures}) < len(pictures):
        raise ValueError(
            f"drawings and masks would have the same names in {pictures[0]}; choose another folder for one"
        )
    if out is not None:
        known = (*FORMATS, *task.documents)
        if out.suffix not in known:
            raise ValueError(f"expected a file that ends in {', '.join(known)}, got {out}")
        if out.exists() and not overwrite:
            raise FileExistsError(f"{out} is there already; choose another file, or overwrite it (--overwrite)")
        if out.suffix in (".csv", ".parquet"):
            counts = Counter(_columns(predictor, options))
            twice = [name for name, count in counts.items() if count > 1]
            if twice:
                raise ValueError(f"a table would have two columns {', '.join(twice)}; write a .jsonl file instead")
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    for place in pictures:
        if place.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"{place} lies in the folder of the photos, where drawings would be taken for photos; "
                f"choose a folder outside of {folder}"
            )


def _check_drawings(photos: Iterable[str], draw_to: Path) -> None:
    for name in photos:
        drawing = _drawing(draw_to, name)
        if drawing.exists():
            raise FileExistsError(f"{drawing} is there already; choose another folder, or overwrite it (--overwrite)")


def _drawing(folder: Path, name: str | Path) -> Path:
    """Returns where the drawing of a photo goes."""
    name = Path(name)
    return folder / name.with_name(file_name(name.name, ".png"))


def _partial(out: Path | None, draw_to: Path | None) -> Path:
    """Returns where the answers are kept until all photos are done; folders above it are made."""
    name = ".drawings.partial" if out is None else file_name(f".{out.name}", ".partial")
    partial = out.with_name(name) if out is not None else Path(draw_to or "", name)
    partial.parent.mkdir(parents=True, exist_ok=True)
    return partial


def _resume(partial: Path, job: dict[str, Any]) -> set[str]:
    """Returns the paths that are done, after cutting off what was half written; begins a file if there is none.

    The answers themselves are not kept in memory: a folder may have millions of photos.
    """
    done: set[str] = set()
    end = 0
    with partial.open("a+b") as file:
        file.seek(0)
        before = _document(file.readline())
        if before is None:
            file.truncate(0)
            file.write(_line(job).encode("ascii"))
            return done
        if before != job:
            changed = [name for name, value in job.items() if name not in before or before[name] != value]
            raise ValueError(
                f"{partial} is an unfinished job with another {', '.join(changed)}; repeat that one to finish it, "
                "delete the file to begin anew, or choose another name"
            )
        end = file.tell()
        while (document := _document(file.readline())) is not None and "path" in document:
            done.add(document["path"])
            end = file.tell()
        file.truncate(end)
    return done


def _document(line: bytes) -> dict[str, Any] | None:
    """Returns what a line holds; None where it was half written, as at the end of a job that was killed."""
    try:
        document = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


# Photo by photo


def _draw(predictor: Predictor, answer: Answer, photo: Path, picture: Path) -> Path:
    picture.parent.mkdir(parents=True, exist_ok=True)
    predictor.task.draw(pixels_of(photo, max_pixels=predictor.max_pixels), answer).save(picture)
    return picture


def _mask(predictor: Predictor, answer: Answer, photo: Path, picture: Path) -> Path:
    picture.parent.mkdir(parents=True, exist_ok=True)
    predictor.task.mask_image(answer).save(picture)
    return picture


def _line(document: Mapping[str, Any]) -> str:
    return json.dumps(document) + "\n"  # In ASCII, so that names that are no Unicode come back as they were.


# After the last photo


@dataclass(frozen=True)
class _Documents:
    """The answers of a job, read from its file again each time that they are gone through."""

    partial: Path

    @property
    def folder(self) -> Path:
        """The folder of the photos."""
        with self.partial.open(encoding="ascii") as file:
            return Path(json.loads(next(file))["folder"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self.partial.open(encoding="ascii") as file:
            next(file)
            yield from map(json.loads, file)


def _finish(predictor: Predictor, partial: Path, out: Path | None, options: Options, *, resumed: int) -> Written:
    documents = _Documents(partial)
    unreadable: list[tuple[str, str]] = []
    num_photos = num_predictions = 0
    for document in documents:
        num_photos += 1
        num_predictions += len(document.get("predictions", ()))
        if "error" in document:
            unreadable.append((document["path"], document["error"]))
    if out is not None:
        with new_file(out) as new:
            _write(predictor, documents, new, out.suffix, options)
    partial.unlink()  # What replaces it is on the disk now.
    return Written(out, num_photos, num_predictions, resumed, tuple(unreadable))


def _write(predictor: Predictor, documents: _Documents, path: Path, suffix: str, options: Options) -> None:
    if suffix in predictor.task.documents:
        predictor.task.documents[suffix](path, documents, predictor.contract, documents.folder)
    elif suffix == ".jsonl":
        with path.open("w", encoding="ascii") as file:
            file.writelines(map(_line, documents))
    elif suffix == ".csv":
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            columns = _columns(predictor, options)
            writer = csv.writer(file)
            writer.writerow(map(guarded, columns))
            for row in _rows(predictor, documents, options):
                writer.writerow([guarded(row.get(name)) for name in columns])
    else:
        _write_parquet(path, _columns(predictor, options), lambda: _rows(predictor, documents, options))


def _columns(predictor: Predictor, options: Options) -> tuple[str, ...]:
    return (*FIXED_COLUMNS, *predictor.task.columns(predictor.contract, options))


def _rows(predictor: Predictor, documents: _Documents, options: Options) -> Iterator[dict[str, Any]]:
    for document in documents:
        fixed = {"path": document["path"], "error": document.get("error")}
        rows = [{}] if "error" in document else predictor.task.rows(document, predictor.contract, options)
        yield from (row | fixed for row in rows)


def _write_parquet(path: Path, columns: Sequence[str], rows: Callable[[], Iterator[dict[str, Any]]]) -> None:
    """Writes a table. A column is of float64 where its values are numbers; one without any value has no type."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Parquet needs pyarrow: pip install 'transfer-zoo[parquet]', and repeat the command; the answers are kept"
        ) from error
    types = dict.fromkeys(columns, pyarrow.null()) | dict.fromkeys(FIXED_COLUMNS, pyarrow.string())
    for row in rows():
        for name, value in row.items():
            if value is not None:
                types[name] = pyarrow.string() if isinstance(value, str) else pyarrow.float64()
    schema = pyarrow.schema(list(types.items()))
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        remaining = rows()
        while batch := list(islice(remaining, 10_000)):
            batch = [row | {"path": row["path"].encode(errors="backslashreplace").decode()} for row in batch]
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
