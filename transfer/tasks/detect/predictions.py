"""What a detector finds in a folder of photos, written to one file; and the photos with boxes on them."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transfer.predict.drawing import colour_of, draw
from transfer.predict.predictor import photos_in, pixels_of
from transfer.tasks.detect.predictor import DetectionPredictor, Detections

__all__ = ["FORMATS", "Written", "as_dict", "drawn", "write_detections"]

FORMATS = (".json", ".jsonl", ".csv")
COLUMNS = ("path", "error", "label", "score", "left", "top", "right", "bottom")


@dataclass(frozen=True)
class Written:
    """What `write_detections` did.

    Attributes:
        file: what was written; None if only pictures were.
        num_photos, num_objects: how many photos were looked at, and how many objects were found.
        unreadable: the paths of photos that could not be read, and why.
    """

    file: Path | None
    num_photos: int
    num_objects: int
    unreadable: tuple[tuple[str, str], ...]


def write_detections(
    predictor: DetectionPredictor,
    folder: str | Path,
    out: str | Path | None = None,
    *,
    draw_to: str | Path | None = None,
    threshold: float | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Written:
    """Looks at every photo of a folder.

    Args:
        predictor: what `transfer.load` gives.
        folder: with the photos, in folders in it, too.
        out: a file that appears when all is done, of one of three kinds:

            - .json: COCO's format, with `images`, `categories` (numbered from 1, as there) and `annotations`, each with
              `bbox` as left, top, width and height, and `score`; what cannot be read is listed in `errors`;
            - .jsonl: one line for each photo: `path`, `height`, `width` and `objects`, or `error`;
            - .csv: one row for each object: path, error, label, score, left, top, right and bottom, in pixels. A photo
              without any has one row that is empty but for its path.
        draw_to: a folder for the photos with the boxes on them, as PATH.png.
        threshold: as of `DetectionPredictor.predict`.
        overwrite: replace an earlier file.
        progress: is told how many photos of how many are done.

    Raises:
        ValueError: a folder without photos, a file of another kind, or a threshold that cannot be.
        FileExistsError: `out` exists.
        FileNotFoundError: no such folder.
    """
    folder, target = Path(folder), None if out is None else Path(out)
    if target is not None:
        if target.suffix not in FORMATS:
            raise ValueError(f"expected a file that ends in {', '.join(FORMATS)}, got {target}")
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} is there already; choose another file, or overwrite it (--overwrite)")
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    photos = photos_in(folder)
    found: list[Detections] = []
    unreadable = []
    for answer in predictor.stream(photos, threshold=threshold):
        path = Path(answer.name)
        name = path.relative_to(folder).as_posix()
        if answer.error is not None:
            unreadable.append((name, answer.error))
        elif draw_to is not None:
            picture = Path(draw_to) / f"{name}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            drawn(pixels_of(path, max_pixels=predictor.max_pixels), answer).save(picture)
        found.append(Detections(name, answer.size, answer.objects, answer.error))
        progress(len(found), len(photos))
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.partial")
        _WRITERS[target.suffix](beside, found, predictor.class_names)
        beside.replace(target)
    return Written(target, len(found), sum(len(answer.objects) for answer in found), tuple(unreadable))


def as_dict(answer: Detections) -> dict[str, Any]:
    """An answer as JSON can hold it: `path`, and `height`, `width` and `objects`, or `error`.

    >>> as_dict(Detections("a.jpg", error="is empty"))
    {'path': 'a.jpg', 'error': 'is empty'}
    """
    if answer.error is not None or answer.size is None:
        return {"path": answer.name, "error": answer.error}
    objects = [
        {"index": each.index, "label": each.label, "score": each.score, "box": [round(edge, 2) for edge in each.box]}
        for each in answer.objects
    ]
    return {"path": answer.name, "height": answer.size[0], "width": answer.size[1], "objects": objects}


def drawn(image: np.ndarray, answer: Detections) -> Any:
    """A photo (uint8 [h, w, 3]) with what was found in it, as a picture of Pillow."""
    best_last = answer.objects[::-1]
    return draw(
        image,
        [each.box for each in best_last],
        [f"{each.label} {each.score:.2f}" for each in best_last],
        [colour_of(each.index) for each in best_last],
    )


def _write_coco(path: Path, found: list[Detections], class_names: tuple[str, ...]) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for answer in found:
        if answer.size is None:
            continue
        number = len(images) + 1
        images.append({"id": number, "file_name": answer.name, "height": answer.size[0], "width": answer.size[1]})
        for each in answer.objects:
            left, top, right, bottom = each.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": each.index + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                    "score": each.score,
                }
            )
    document = {
        "images": images,
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(class_names)],
        "annotations": annotations,
        "errors": [{"file_name": answer.name, "error": answer.error} for answer in found if answer.error is not None],
    }
    path.write_text(json.dumps(document), encoding="utf-8")


def _write_lines(path: Path, found: list[Detections], class_names: tuple[str, ...]) -> None:
    path.write_text("".join(json.dumps(as_dict(answer)) + "\n" for answer in found), encoding="utf-8")


def _write_rows(path: Path, found: list[Detections], class_names: tuple[str, ...]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for answer in found:
            if not answer.objects:
                writer.writerow([answer.name, answer.error, *[None] * 6])
            for each in answer.objects:
                writer.writerow([answer.name, None, each.label, f"{each.score:.6f}", *(f"{e:.2f}" for e in each.box)])


_WRITERS = {".json": _write_coco, ".jsonl": _write_lines, ".csv": _write_rows}
