"""Predictions for a folder of photos, written to one file; a job that was stopped goes on where it was.

While it runs, answers are appended to `.NAME.partial` beside the file, one line of JSON each; the first line says which
model and which options they come from. When all photos are done, that becomes the file that was asked for, in one step.
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from transfer.predict.predictor import Answer, Predictor, photos_in

__all__ = ["Written", "as_dict", "nearest", "overlay", "save_overlay", "write_embeddings", "write_predictions"]

FORMATS = (".csv", ".jsonl", ".parquet")
BATCH_SIZE = 32


@dataclass(frozen=True)
class Written:
    """What `write_predictions` did.

    Attributes:
        file: what was written.
        num_photos: how many photos it has answers for, earlier ones included.
        resumed: how many of them an earlier, stopped job had done.
        unreadable: the paths of those that could not be read, and why.
    """

    file: Path
    num_photos: int
    resumed: int
    unreadable: tuple[tuple[str, str], ...]


def write_predictions(
    predictor: Predictor,
    folder: str | Path,
    out: str | Path,
    *,
    top: int = 5,
    threshold: float | None = None,
    augment: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Written:
    """Names what is in every photo of a folder.

    Args:
        predictor: what `transfer.load` gives.
        folder: with the photos, in folders in it, too.
        out: a .csv, .jsonl or .parquet file. One row for each photo: `path` (as seen from `folder`), `error`, and
            `label1`, `score1`, ... for the likeliest classes; in .jsonl a list `predictions`.
        top, threshold, augment: as of `Predictor.predict`.
        overwrite: replace an earlier file.
        progress: is told how many photos of how many are done.

    Raises:
        ValueError: a folder without photos, a file of another kind, or an unfinished job of another model or with
            other options.
        FileExistsError: `out` exists.

    Example:

        write_predictions(transfer.load("run"), "photos", "predictions.csv")
    """
    folder, out = Path(folder), Path(out)
    if out.suffix not in FORMATS:
        raise ValueError(f"expected a file that ends in {', '.join(FORMATS)}, got {out}")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} is there already; choose another file, or overwrite it (--overwrite)")
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    photos = photos_in(folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    asked = {
        "model": predictor.contract.fingerprint or list(predictor.class_names),
        "folder": str(folder.resolve()),
        "top": top,
        "threshold": threshold,
        "augment": augment,
    }
    done = _resume(partial, asked, out)
    resumed = len(done)
    left = [photo for photo in photos if str(photo.relative_to(folder)) not in done]
    progress(resumed, len(photos))
    with partial.open("a", encoding="utf-8", errors="backslashreplace") as file:
        answers = predictor.stream(left, top=top, threshold=threshold, batch_size=BATCH_SIZE, augment=augment)
        finished = resumed
        while some := list(islice(answers, BATCH_SIZE)):
            for answer in some:
                file.write(_line(as_dict(answer) | {"path": str(Path(answer.name).relative_to(folder))}))
            file.flush()
            finished += len(some)
            progress(finished, len(photos))
    unreadable = _finish(partial, out, top)
    return Written(out, len(photos), resumed, unreadable)


def as_dict(answer: Answer) -> dict[str, Any]:
    """An answer as JSON can hold it: `path`, and `predictions` or `error`."""
    if answer.error is not None:
        return {"path": answer.name, "error": answer.error}
    predictions = [
        {name: value for name, value in asdict(prediction).items() if value is not None}
        for prediction in answer.predictions
    ]
    return {"path": answer.name, "predictions": predictions}


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"  # in ASCII, so that names that are no Unicode come back as they were


def _resume(partial: Path, asked: dict[str, Any], out: Path) -> set[str]:
    """The paths that are done, after cutting off what was half written; begins a new file if there is none."""
    if not partial.exists():
        partial.write_text(_line(asked), encoding="utf-8")
        return set()
    contents = partial.read_bytes()
    whole = contents[: contents.rfind(b"\n") + 1]
    lines = whole.splitlines()
    before = json.loads(lines[0]) if lines else {}
    if before != asked:
        changed = [name for name, value in asked.items() if before.get(name) != value]
        raise ValueError(
            f"{partial} is an unfinished job with another {', '.join(changed)}; repeat that one to finish it, "
            f"delete the file to begin anew, or choose another name than {out}"
        )
    if len(whole) < len(contents):
        partial.write_bytes(whole)
    return {json.loads(line)["path"] for line in lines[1:]}


def _rows(partial: Path) -> Iterator[dict[str, Any]]:
    with partial.open(encoding="utf-8") as file:
        next(file)
        yield from map(json.loads, file)


def _finish(partial: Path, out: Path, top: int) -> tuple[tuple[str, str], ...]:
    beside = partial.with_suffix(".written")
    with beside.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        if out.suffix == ".jsonl":
            file.writelines(map(_line, _rows(partial)))
        elif out.suffix == ".csv":
            _write_csv(file, partial, top)
    if out.suffix == ".parquet":
        _write_parquet(beside, partial, top)
    unreadable = tuple((row["path"], row["error"]) for row in _rows(partial) if "error" in row)
    beside.replace(out)
    partial.unlink()
    return unreadable


def _columns(top: int) -> list[str]:
    return ["path", "error", *(f"{name}{rank}" for rank in range(1, top + 1) for name in ("label", "score"))]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat = {"path": row["path"], "error": row.get("error")}
    for rank, prediction in enumerate(row.get("predictions", ()), 1):
        flat |= {f"label{rank}": prediction["label"], f"score{rank}": prediction["score"]}
    return flat


def _write_csv(file: IO[str], partial: Path, top: int) -> None:
    writer = csv.DictWriter(file, _columns(top))
    writer.writeheader()
    writer.writerows(map(_flat, _rows(partial)))


def _write_parquet(path: Path, partial: Path, top: int) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Parquet needs pyarrow: pip install pyarrow, and repeat the command; the answers are kept"
        ) from error
    kinds = [pyarrow.float64() if name.startswith("score") else pyarrow.string() for name in _columns(top)]
    schema = pyarrow.schema(list(zip(_columns(top), kinds, strict=True)))
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        rows = map(_flat, _rows(partial))
        while some := list(islice(rows, 10_000)):
            some = [row | {"path": row["path"].encode(errors="backslashreplace").decode()} for row in some]
            writer.write_table(pyarrow.Table.from_pylist(some, schema))


# Embeddings


def write_embeddings(predictor: Predictor, folder: str | Path, out: str | Path) -> int:
    """Embeds every photo of a folder, into an .npz file with `paths` [n] and `embeddings` float32 [n, features].

    Returns:
        How many photos.

    Raises:
        ValueError: a photo cannot be read, or `out` does not end in .npz.
        FileExistsError: `out` exists.
    """
    out = Path(out)
    if out.suffix != ".npz":
        raise ValueError(f"expected a file that ends in .npz, got {out}")
    if out.exists():
        raise FileExistsError(f"{out} is there already; choose another file")
    photos = photos_in(folder)
    vectors = predictor.embeddings(photos)
    names = [str(photo.relative_to(folder)).encode(errors="backslashreplace").decode() for photo in photos]
    np.savez(out, paths=np.array(names), embeddings=vectors)
    return len(photos)


def nearest(embeddings: np.ndarray, queries: np.ndarray, *, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings that point most nearly in the direction of each query.

    Args:
        embeddings: [n, features].
        queries: [m, features].
        k: how many neighbours.

    Returns:
        int [m, k], their places, nearest first, and float [m, k], their cosine similarities in -1..1.

    Raises:
        ValueError: other shapes, or `k` is not in 1..n.

    Example:

    >>> places, similarities = nearest(np.array([[1.0, 0], [0, 2], [1, 1]]), np.array([[0, 1.0]]), k=2)
    >>> places.tolist(), similarities.round(2).tolist()
    ([[1, 2]], [[1.0, 0.71]])
    """
    if embeddings.ndim != 2 or queries.ndim != 2 or embeddings.shape[1] != queries.shape[1]:
        raise ValueError(f"expected [n, features] and [m, features], got {embeddings.shape} and {queries.shape}")
    if not 1 <= k <= len(embeddings):
        raise ValueError(f"expected k in 1..{len(embeddings)}, the number of embeddings; got {k}")
    lengths = [np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (embeddings, queries)]
    similarities = (queries / lengths[1]) @ (embeddings / lengths[0]).T
    places = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return places, np.take_along_axis(similarities, places, axis=1)


# Grad-CAM


def overlay(image: np.ndarray, heat: np.ndarray, *, opacity: float = 0.5) -> np.ndarray:
    """A photo with a map over it, from blue through yellow to red.

    Args:
        image: uint8 [h, w, 3].
        heat: float [h, w] in 0..1.
        opacity: of the map where it is 1; where it is 0, the photo shows unchanged.

    Returns:
        uint8 [h, w, 3].

    Example:

    >>> overlay(np.zeros((1, 2, 3), np.uint8), np.array([[0.0, 1.0]])).tolist()
    [[[0, 0, 0], [128, 0, 0]]]
    """
    stops = np.array([[0, 0, 255], [0, 255, 255], [255, 255, 0], [255, 0, 0]], np.float32)
    places = np.linspace(0, 1, len(stops))
    colours = np.stack([np.interp(heat, places, stops[:, channel]) for channel in range(3)], axis=-1)
    weight = (opacity * heat)[..., None]
    return np.rint(image * (1 - weight) + colours * weight).astype(np.uint8)


def save_overlay(predictor: Predictor, photo: Path, folder: Path) -> Path:
    """Writes the Grad-CAM of a photo's likeliest class into `folder`, as NAME.gradcam.png."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{photo.name}.gradcam.png"
    Image.fromarray(overlay(predictor.crop(photo), predictor.explain(photo))).save(path)
    return path
