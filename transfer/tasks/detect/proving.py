"""The proof of an exported detector: photos, what the trained one found in them, and comparing a runtime with that.

Two things are compared. All candidates, point by point: every box and every score that the network gives, whether
anything is found or not. And what is left after suppression, which is a matter of yes and no: where a score lies at the
threshold, or an overlap at the one of suppression, the last bit of a float decides. So of the detections that only one
of the two has, those are excused that hang on such a last bit, and no others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.prepare.letterbox import letterbox_photo, restore
from pipelines.prepare.photos import decode
from transfer.artifacts.engines.base import Engine
from transfer.artifacts.proof import same_size
from transfer.contract import BATCH_SIZES, Check, ExportError
from transfer.tasks.detect.contract import DetectionContract
from zoo import boxes as box_geometry
from zoo.detection.nms import hard_nms

__all__ = ["MAX_CANDIDATES", "Reference", "prove"]

Found = dict[str, np.ndarray]

# Artifacts for runtimes other than TensorFlow look at so many pairs of a box and a class, the best.
MAX_CANDIDATES = 1000
LEAN = ("onnx", "openvino", "litert")


@dataclass(frozen=True, eq=False)
class Reference:
    """Photos, and what the trained detector says about them, in pixels of its canvas.

    Attributes:
        contract: of the detector.
        photos: uint8 [h, w, 3] of several sizes.
        whole: of each photo: boxes, classes, scores, valid, candidate_boxes and candidate_scores, each [photos, ...].
        cut: the same of the top left of each photo, as large as all of its group of 5 have it.
    """

    contract: DetectionContract
    photos: tuple[np.ndarray, ...]
    whole: Found
    cut: Found

    @classmethod
    def make(
        cls, contract: DetectionContract, photos: Sequence[np.ndarray], ask: Callable[[np.ndarray], Found]
    ) -> "Reference":
        """Asks about each photo, whole and cut.

        Args:
            ask: uint8 [h, w, 3] -> a batch of one.
        """
        cut = [image for group in _groups(photos) for image in same_size(group)]
        return cls(contract, tuple(photos), _joined([ask(photo) for photo in photos]), _joined([ask(i) for i in cut]))

    def part(self, count: int) -> "Reference":
        """That of the first photos, a multiple of 5."""
        first = [{name: values[:count] for name, values in each.items()} for each in (self.whole, self.cut)]
        return Reference(self.contract, self.photos[:count], *first)

    def save(self, path: Path, encoded: Sequence[bytes]) -> None:
        """Writes the answers and the photos' files."""
        files: dict[str, Any] = {f"photo_{i}": np.frombuffer(contents, np.uint8) for i, contents in enumerate(encoded)}
        for way, answers in (("whole", self.whole), ("cut", self.cut)):
            files |= {f"{way}_{name}": values for name, values in answers.items()}
        np.savez_compressed(path, **files)

    @classmethod
    def load(cls, path: Path, contract: DetectionContract) -> "Reference":
        """Reads what `save` wrote; nothing is ever unpickled."""
        with np.load(path, allow_pickle=False) as file:
            names = sorted((name for name in file.files if name.startswith("photo_")), key=lambda x: int(x[6:]))
            answers = [
                {name.partition("_")[2]: file[name] for name in file.files if name.startswith(f"{way}_")}
                for way in ("whole", "cut")
            ]
            return cls(contract, tuple(decode(file[name].tobytes()) for name in names), *answers)


def prove(
    engine: Engine, artifact: str, reference: Reference, tolerance: float, *, encoded: Sequence[bytes] = ()
) -> list[Check]:
    """Lets a runtime look at every photo, whole and resized, alone and in a batch.

    Args:
        engine: the artifact, read back in its own runtime.
        artifact: its name, for the messages.
        reference: photos and what the trained detector finds.
        tolerance: of a score, and of a coordinate as a share of the longer side, that is let through.
        encoded: the photos' files, for artifacts that take such.

    Raises:
        ExportError: an answer that differs by more, or is no number.
    """
    contract, photos = reference.contract, reference.photos
    if engine.name in LEAN:
        whole, cut = (_with_few_candidates(answers, contract) for answers in (reference.whole, reference.cut))
    else:
        whole, cut = reference.whole, reference.cut
    most = BATCH_SIZES[1]
    canvases = np.stack([letterbox_photo(photo, contract.letterbox) for photo in photos])
    stacks = [same_size(group) for group in _groups(photos)]
    sizes = [photo.shape[:2] for photo in photos]
    cut_sizes = [image.shape[:2] for stack in stacks for image in stack]
    on_canvas = [contract.size] * len(photos)
    ask = engine.outputs
    cases: list[tuple[str, int, Found, list, Callable[[], list[Found]]]] = [
        ("resized", 1, whole, on_canvas, lambda: [ask("resized", each[None]) for each in canvases]),
        ("resized", most, whole, on_canvas, lambda: [ask("resized", each) for each in _groups(canvases)]),
        ("images uint8", 1, whole, sizes, lambda: [ask("images", photo[None]) for photo in photos]),
        ("images uint8", most, cut, cut_sizes, lambda: [ask("images", stack) for stack in stacks]),
    ]
    if engine.name == "tensorflow":
        floats = [stack.astype("float32") for stack in stacks]
        cases.append(("images float32", most, cut, cut_sizes, lambda: [ask("images", stack) for stack in floats]))
        if encoded:  # files of different sizes go together in one batch
            groups = [np.array(list(group), object) for group in _groups(encoded)]
            cases.append(("image_bytes", most, whole, sizes, lambda: [ask("image_bytes", each) for each in groups]))
    checks = []
    for endpoint, batch, expected, frames, answer in cases:
        try:
            got = _joined(answer())
        except Exception as error:  # each runtime has its own classes of errors
            raise ExportError(f"{artifact}, {endpoint}, batch of {batch} gives no answer: {error}") from error
        restored = endpoint != "resized"
        worst = 0.0
        for index, frame in enumerate(frames):
            said = {name: values[index] for name, values in expected.items()}
            if restored:
                for name in ("boxes", "candidate_boxes"):
                    said[name] = restore(said[name], contract.letterbox, frame)
            theirs = {name: values[index] for name, values in got.items()}
            difference, why = compare(said, theirs, contract, frame, tolerance)
            if why:
                raise ExportError(
                    f"{artifact}, endpoint {endpoint}, batch of {batch}, photo {index} of {frame[0]} x {frame[1]}: "
                    f"{why}. "
                    f"{tolerance:g} is allowed, of a score and of a coordinate as a share of the size. "
                    "Nothing was kept.",
                    Check(artifact, endpoint, batch, difference),
                )
            worst = max(worst, difference)
        checks.append(Check(artifact, endpoint, batch, worst))
    return checks


def compare(
    expected: Found, got: Found, contract: DetectionContract, frame: tuple[int, int], tolerance: float
) -> tuple[float, str]:
    """Compares what is said of one photo.

    Args:
        expected, got: boxes, classes, scores and valid; and the candidates, if `got` has them.
        contract: class names and thresholds.
        frame: height and width of what the boxes are in.
        tolerance: see `prove`.

    Returns:
        The largest difference, and what is wrong with it, or nothing.
    """
    longer = float(max(frame))
    worst = 0.0
    if "candidate_boxes" in got:
        for name, unit in (("candidate_scores", 1.0), ("candidate_boxes", longer)):
            difference = np.abs(expected[name] - got[name]) / unit
            difference[~np.isfinite(difference)] = np.inf
            worst = max(worst, float(difference.max(initial=0.0)))
            if worst > tolerance:
                point, column = np.unravel_index(difference.argmax(), difference.shape)
                return worst, (
                    f"got {got[name][point, column]:.6g} for the {name} of point {point}, and the trained detector "
                    f"says {expected[name][point, column]:.6g}: a difference of {worst:.3g}"
                )
    ours, theirs = (_real(each) for each in (expected, got))
    pairs = _pairs(ours, theirs, longer, tolerance)
    for ours_at, theirs_at in pairs:
        scores = abs(ours["scores"][ours_at] - theirs["scores"][theirs_at])
        corners = np.abs(ours["boxes"][ours_at] - theirs["boxes"][theirs_at]).max() / longer
        worst = max(worst, float(scores), float(corners))
    alone = [np.setdiff1d(np.arange(len(each["scores"])), [pair[k] for pair in pairs]) for k, each in
             enumerate((ours, theirs))]  # fmt: skip
    for index in _not_excused(ours, theirs, alone, contract, longer, tolerance):
        who, finds = ("the trained detector finds", ours) if index[0] == 0 else ("the artifact finds", theirs)
        name = contract.class_names[int(finds["classes"][index[1]])]
        place = ", ".join(f"{edge:.1f}" for edge in finds["boxes"][index[1]])
        other = "the artifact does not" if index[0] == 0 else "the trained detector does not"
        return float("inf"), f"{who} {name!r}, score {finds['scores'][index[1]]:.4f}, at ({place}), and {other}"
    return worst, ""


def _real(found: Found) -> Found:
    count = int(found["valid"])
    return {name: np.asarray(found[name][:count]) for name in ("boxes", "classes", "scores")}


def _pairs(ours: Found, theirs: Found, longer: float, tolerance: float) -> list[tuple[int, int]]:
    """Detections that both have, to the tolerance; each once."""
    pairs: list[tuple[int, int]] = []
    free = np.ones(len(theirs["scores"]), bool)
    for index in range(len(ours["scores"])):
        same = free & (theirs["classes"] == ours["classes"][index])
        same &= np.abs(theirs["scores"] - ours["scores"][index]) <= tolerance
        same &= np.abs(theirs["boxes"] - ours["boxes"][index]).max(axis=1, initial=0.0) <= tolerance * longer
        if same.any():
            pairs.append((index, int(same.argmax())))
            free[pairs[-1][1]] = False
    return pairs


def _not_excused(
    ours: Found,
    theirs: Found,
    alone: Sequence[np.ndarray],
    contract: DetectionContract,
    longer: float,
    tolerance: float,
) -> list[tuple[int, int]]:
    """Of the detections that only one has, those that hang on no last bit: (0 for ours or 1 for theirs, row) each."""
    boxes, classes, scores = (np.concatenate([ours[name], theirs[name]]) for name in ("boxes", "classes", "scores"))
    first = len(ours["scores"])
    rows = np.concatenate([alone[0], alone[1] + first]).astype(int)
    if not len(rows):
        return []
    # The score below which nothing is kept: the threshold, or that of the last one where the list is full.
    least = contract.score_threshold
    for each in (ours, theirs):
        if len(each["scores"]) == contract.max_detections:
            least = max(least, float(each["scores"].min()))
    excused = {row for row in rows.tolist() if scores[row] <= least + tolerance}
    # A coordinate that is off by the tolerance moves the overlap of small boxes by more.
    shorter = np.maximum(np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]), 1e-6)
    slack = np.minimum(0.05, tolerance + 4 * tolerance * longer / shorter)
    overlap = box_geometry.overlap_matrix(boxes, boxes)
    rivals = (classes[:, None] == classes) & ~np.eye(len(boxes), dtype=bool)
    at_the_limit = rivals & (np.abs(overlap - contract.iou_threshold) <= slack[:, None])
    excused |= {row for row in rows.tolist() if (at_the_limit[row] & (scores >= scores[row] - tolerance)).any()}
    # What is suppressed, or set free, by one that hangs on a last bit does so, too.
    suppresses = rivals & (overlap > contract.iou_threshold - slack[:, None])
    while True:
        more = {row for row in rows.tolist() if row not in excused and suppresses[row, sorted(excused)].any()}
        if not more:
            break
        excused |= more
    return [(0, row) if row < first else (1, row - first) for row in rows.tolist() if row not in excused]


def _with_few_candidates(answers: Found, contract: DetectionContract) -> Found:
    """What is found where only `MAX_CANDIDATES` pairs of a box and a class are looked at, in photos that have more."""
    passing = (answers["candidate_scores"] > contract.score_threshold).sum(axis=(1, 2))
    changed = {name: values.copy() for name, values in answers.items()}
    for index in np.flatnonzero(passing > MAX_CANDIDATES):
        scores = answers["candidate_scores"][index].reshape(-1)
        best = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
        box, label = np.divmod(best, len(contract.class_names))
        boxes = answers["candidate_boxes"][index][box]
        kept = hard_nms(
            boxes,
            scores[best],
            classes=label,
            iou_threshold=contract.iou_threshold,
            score_threshold=contract.score_threshold,
            max_detections=contract.max_detections,
        )
        changed["valid"][index] = len(kept)
        for name, values in (("boxes", boxes), ("classes", label), ("scores", scores[best])):
            changed[name][index, : len(kept)] = values[kept]
    return changed


def _groups(items: Any) -> list[Any]:
    most = BATCH_SIZES[1]
    return [items[start : start + most] for start in range(0, len(items), most)]


def _joined(batches: Sequence[Found]) -> Found:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
