"""Why a model answers as it does: one page on one photo, what `zoo explain` writes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import zoo.explain as methods
from pipelines.outputs.durable import new_file
from transfer.predict.loading import load
from transfer.predict.looking import layer_pictures
from transfer.predict.overlays import overlay
from transfer.predict.photos import pixels_of
from transfer.report.pictures import embedded
from transfer.report.rendering import render_page
from transfer.tasks import learning_of, task_of
from transfer.tasks.task import Options
from zoo.explain.targets import Target

__all__ = ["Explained", "explain"]

LONGEST = 1024  # Longer side in pixels of the pictures on the page.
MOST = 2  # Number of scores that are explained by default.
# Name -> what it shows, and the function from a model, images and a target to maps [n, h, w].
Method = tuple[str, Callable[[Any, np.ndarray, Target, str | None], np.ndarray]]
METHODS: dict[str, Method] = {
    "Grad-CAM": (
        "places of a layer's map that support the score.",
        lambda model, images, target, layer: methods.grad_cam(model, images, target=target, layer=layer),
    ),
    "Grad-CAM++": (
        "the same, where several objects may support it.",
        lambda model, images, target, layer: methods.grad_cam_plus_plus(model, images, target=target, layer=layer),
    ),
    "Occlusion": (
        "places without which the score falls.",
        lambda model, images, target, layer: _positive(methods.occlusion_maps(model, images, target=target)),
    ),
    "Integrated gradients": (
        "what each pixel contributes, compared with black.",
        lambda model, images, target, layer: methods.as_heat(
            methods.integrated_gradients(model, images, target=target, steps=20)
        ),
    ),
    "SmoothGrad": (
        "pixels that would change the score.",
        lambda model, images, target, layer: methods.as_heat(
            methods.smooth_gradients(model, images, target=target, copies=15)
        ),
    ),
    "Guided backpropagation": (
        "what excites the units that support the score.",
        lambda model, images, target, layer: methods.as_heat(
            methods.guided_backpropagation(model, images, target=target)
        ),
    ),
}
OPTIONAL = ("Guided backpropagation",)  # It needs ReLUs, and not every network has them.


@dataclass(frozen=True)
class Explained:
    """What `explain` wrote.

    Attributes:
        path: The page.
        targets: What was explained, in a few words each.
        notes: What could not be shown, and why.
    """

    path: Path
    targets: tuple[str, ...]
    notes: tuple[str, ...]


def explain(
    run: str | Path,
    photo: str | Path,
    out: str | Path,
    *,
    of: Sequence[str] = (),
    layer: str | None = None,
    announce: Callable[[str], None] = lambda part: None,
) -> Explained:
    """Writes a page that shows which parts of a photo decide the answer, and what the layers give.

    Args:
        run: A run, an exported Keras model, or a zoo model; see `transfer.load`.
        photo: The photo.
        out: The HTML file.
        of: Names of the classes, labels, numbers or sides that are explained. Defaults to the first two of the answer.
        layer: The layer that the Grad-CAM methods look at. Defaults to the last map that all outputs depend on.
        announce: Is told each part in a few words.

    Raises:
        FileNotFoundError: There is no such run or photo, or the run holds no Keras model.
        ValueError: The photo cannot be read, nothing of the answer has that name, or the layer does not fit.
    """
    predictor = load(run, engine="keras")
    contract, model = predictor.contract, predictor.engine.model  # type: ignore[attr-defined]
    pixels = pixels_of(photo)
    canvas = predictor.prepare(pixels)
    images = canvas[None].astype(np.float32)
    outputs = predictor.answer_prepared(canvas[None])[0]
    targets = _chosen(learning_of(contract.task).targets(model, contract, outputs), of)
    notes: list[str] = []
    shown = []
    for name, target in targets:
        announce(name)
        maps = list(_maps(model, images, target, layer, notes))
        for one in maps:
            on_photo = contract.preparation.map_to_photo(one.pop("heat"), pixels.shape[:2])
            one["picture"] = embedded(_bounded(overlay(_bytes(pixels), on_photo)))
        shown.append({"name": name, "maps": maps})
    announce("the layers")
    task = task_of(contract.task)
    size = pixels.shape[:2]
    answer = task.answer(str(photo), predictor.in_photo(outputs, size), size, contract, Options())
    page = render_page(
        "explanation.html",
        {
            "title": f"Why {Path(run).name} answers so",
            "subtitle": f"{Path(photo).name}, {pixels.shape[1]} x {pixels.shape[0]} pixels",
            "photo": embedded(_bounded(_bytes(pixels))),
            "answer": _words(task.predictions(answer)),
            "targets": shown,
            "layers": layer_pictures(predictor, pixels),
            "notes": notes,
        },
    )
    with new_file(Path(out)) as new:
        Path(new).write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
    return Explained(Path(out), tuple(name for name, _ in targets), tuple(notes))


def _chosen(targets: list[tuple[str, Target]], names: Sequence[str]) -> list[tuple[str, Target]]:
    """Returns the targets with these names, or the first ones."""
    if not names:
        return targets[:MOST]
    known = dict(reversed(targets))
    unknown = [name for name in names if name not in known]
    if unknown:
        some = ", ".join([name for name, _ in targets][:20])
        raise ValueError(f"nothing of the answer is named {', '.join(unknown)}; what can be explained is: {some}")
    return [(name, known[name]) for name in names]


def _maps(
    model: Any, images: np.ndarray, target: Target, layer: str | None, notes: list[str]
) -> Iterator[dict[str, Any]]:
    """Yields the map of each method with its figures of merit; what cannot be computed goes into the notes."""
    for method, (meaning, function) in METHODS.items():
        try:
            heat = function(model, images, target, layer)
        except ValueError as error:
            if method not in OPTIONAL:
                raise
            notes += [str(error)] if str(error) not in notes else []
            continue
        areas = [
            float(merit(model, images, heat, target=target, steps=10).areas[0])
            for merit in (methods.deletion, methods.insertion)
        ]
        yield {"name": method, "meaning": meaning, "heat": heat[0], "deletion": areas[0], "insertion": areas[1]}


def _positive(falls: np.ndarray) -> np.ndarray:
    """Returns where a score falls, in 0..1."""
    falls = np.maximum(falls, 0)
    most = falls.max(axis=(1, 2), keepdims=True)
    return falls / np.where(most > 0, most, 1)


def _bytes(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _bounded(pixels: np.ndarray) -> Image.Image:
    """Returns a picture at its own size, unless that is larger than a page needs."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return picture


def _words(rows: list[dict[str, Any]]) -> str:
    """Returns the first rows of an answer in a line."""
    parts = []
    for row in rows[:5]:
        label = f"{row['head']}: {row['label']}" if "head" in row else row["label"]
        parts.append(f"{label} {100 * row['score']:.1f}%" if "score" in row else f"{label} {row['value']:.4g}")
    return ", ".join(parts) or "The model says nothing about it."
