"""The proof of an exported folder: photos, the trained model's answers to them, and comparing a runtime with these.

Both lie in the folder (`proof.npz`), so that `verify` can repeat the proof on any machine, without the trained model
and without TensorFlow.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.prepare.photos import crop_photo, decode
from transfer.artifacts.engines.base import Engine
from transfer.artifacts.engines.table import FORMATS, open_artifact, runtime_is_installed
from transfer.artifacts.manifest import check_files, read_manifest
from transfer.contract import BATCH_SIZES, Check, Contract, ExportError, read_contract

__all__ = [
    "PROOF",
    "Agreement",
    "Reference",
    "Verdict",
    "check_agreement",
    "prove",
    "repeated_proof",
    "same_size",
    "verify",
]

PROOF = "proof.npz"


@dataclass(frozen=True)
class Reference:
    """Photos, and what the trained model says about them.

    Attributes:
        photos: uint8 [h, w, 3] of several sizes.
        whole: float32 [photos, classes], of each photo.
        cut: float32 [photos, classes], of the top left of each photo, as large as all of its group of 5 have it.
    """

    photos: tuple[np.ndarray, ...]
    whole: np.ndarray
    cut: np.ndarray

    def save(self, path: Path, encoded: Sequence[bytes]) -> None:
        """Writes the answers and the photos' files."""
        files: dict[str, Any] = {f"photo_{i}": np.frombuffer(contents, np.uint8) for i, contents in enumerate(encoded)}
        np.savez(path, whole=self.whole, cut=self.cut, **files)

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Reads what `save` wrote; nothing is ever unpickled."""
        with np.load(path, allow_pickle=False) as file:
            names = sorted((name for name in file.files if name.startswith("photo_")), key=lambda x: int(x[6:]))
            return cls(tuple(decode(file[name].tobytes()) for name in names), file["whole"], file["cut"])


def prove(engine: Engine, artifact: str, reference: Reference, tolerance: float) -> list[Check]:
    """Lets a runtime answer on every photo, whole and cropped, alone and in a batch.

    Args:
        engine: the artifact, read back in its own runtime.
        artifact: its name, for the messages.
        reference: photos and the trained model's answers.
        tolerance: the largest absolute difference of a probability that is let through.

    Raises:
        ExportError: an answer that differs by more, or is no number.
    """
    contract, photos = engine.contract, reference.photos
    stacks = [same_size(photos[start : start + BATCH_SIZES[1]]) for start in range(0, len(photos), BATCH_SIZES[1])]
    crops = np.stack([crop_photo(photo, contract.crop) for photo in photos])
    groups = range(0, len(photos), BATCH_SIZES[1])
    cases = [
        ("images uint8", 1, reference.whole, lambda: [engine.images(photo[None]) for photo in photos]),
        ("images uint8", BATCH_SIZES[1], reference.cut, lambda: [engine.images(stack) for stack in stacks]),
        ("cropped", 1, reference.whole, lambda: [engine.cropped(crop[None]) for crop in crops]),
        ("cropped", BATCH_SIZES[1], reference.whole, lambda: [engine.cropped(crops[i : i + 5]) for i in groups]),
    ]
    if not takes_any_size(engine):
        cases = [case for case in cases if case[0] == "cropped"]
    checks = []
    for endpoint, batch, expected, ask in cases:
        try:
            got = np.concatenate(ask())
        except Exception as error:  # each runtime has its own classes of errors
            raise ExportError(f"{artifact}, {endpoint}, batch of {batch} gives no answer: {error}") from error
        checks.append(compare(artifact, endpoint, batch, photos, contract, expected, got, tolerance))
    return checks


def takes_any_size(engine: Engine) -> bool:
    """Whether the artifact crops by itself; int8 files for LiteRT take cropped images only."""
    return not (engine.name == "litert" and "images" not in getattr(engine, "_signatures", {}))


def compare(
    artifact: str,
    endpoint: str,
    batch: int,
    photos: Sequence[np.ndarray],
    contract: Contract,
    expected: np.ndarray,
    got: np.ndarray,
    tolerance: float,
) -> Check:
    """The comparison of one endpoint at one batch size, photo by photo.

    Raises:
        ExportError: over the tolerance; names the photo and the class that differ most.
    """
    difference = np.abs(expected - got)
    difference[~np.isfinite(difference)] = np.inf
    check = Check(artifact, endpoint, batch, float(difference.max()))
    if check.max_abs_diff <= tolerance:
        return check
    row, column = np.unravel_index(difference.argmax(), difference.shape)
    height, width = photos[row].shape[:2]
    raise ExportError(
        f"{artifact}, endpoint {endpoint}, batch of {batch}: photo {row} ({height} x {width}) got "
        f"{got[row, column]:.6g} for class {contract.class_names[column]!r}, and the trained model says "
        f"{expected[row, column]:.6g}: a difference of {check.max_abs_diff:.3g}, where {tolerance:g} is allowed. "
        "Nothing was kept.",
        check,
    )


def same_size(photos: Sequence[np.ndarray]) -> np.ndarray:
    """The top left of each photo, as large as all of them have it: uint8 [n, h, w, 3]."""
    height, width = (min(photo.shape[axis] for photo in photos) for axis in (0, 1))
    return np.stack([photo[:height, :width] for photo in photos])


# Quantised models


@dataclass(frozen=True)
class Agreement:
    """How a quantised model compares with the trained one on labelled images.

    Attributes:
        artifact: which.
        num_images: how many images.
        agreement: the share on which both have the same likeliest class, 0..1.
        accuracy: of the trained model, and of the artifact, 0..1.
        bound: how many points (hundredths) may be lost of either.
    """

    artifact: str
    num_images: int
    agreement: float
    accuracy: tuple[float, float]
    bound: float


def check_agreement(
    artifact: str,
    trained: np.ndarray,
    got: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    *,
    bound: float,
) -> Agreement:
    """Measures a quantised model.

    Args:
        artifact: its name.
        trained, got: probabilities of both models, [n, classes].
        labels: int [n].
        names: of the images, to say which differs most.
        bound: points that may be lost.

    Raises:
        ExportError: more is lost.
    """
    ours, theirs = got.argmax(axis=1), trained.argmax(axis=1)
    accuracies = float((theirs == labels).mean()), float((ours == labels).mean())
    found = Agreement(artifact, len(labels), float((ours == theirs).mean()), accuracies, bound)
    lost = 100 * max(1 - found.agreement, accuracies[0] - accuracies[1])
    if lost <= bound + 1e-9 and np.isfinite(got).all():
        return found
    difference = np.abs(trained - got).max(axis=1)
    difference[~np.isfinite(difference)] = np.inf
    worst = int(difference.argmax())
    raise ExportError(
        f"{artifact}: on {found.num_images} images it agrees with the trained model on {100 * found.agreement:.1f}% "
        f"and is right on {100 * accuracies[1]:.1f}% where that is right on {100 * accuracies[0]:.1f}%: "
        f"{lost:.1f} points are lost, and {bound:g} are allowed. {names[worst]} differs most, by "
        f"{difference[worst]:.3g}. Nothing was kept. Give more images to calibrate on, or export in float16"
    )


# An exported folder


@dataclass(frozen=True)
class Verdict:
    """What `verify` found about one artifact.

    Attributes:
        artifact: the format's name.
        checks: the comparisons; empty where none could be made.
        skipped: why none could be made, or None.
    """

    artifact: str
    checks: tuple[Check, ...] = ()
    skipped: str | None = None


def verify(folder: str | Path) -> list[Verdict]:
    """Repeats the proof of an exported folder: the SHA-256 of every file, and every artifact's answers.

    Args:
        folder: what `transfer.export`, `zoo export` or `zoo fit` wrote.

    Returns:
        One verdict for each artifact. Those whose runtime is not installed say so.

    Raises:
        ValueError: a file was changed, or the folder is of a newer format version.
        FileNotFoundError: a file is gone, or there is no such folder.
        ExportError: an artifact no longer answers as the trained model did.
    """
    return list(_verdicts(Path(folder)))


def _verdicts(folder: Path) -> Iterator[Verdict]:
    check_files(folder)
    prove_on_photos = repeated_proof(folder)
    for name, facts in read_manifest(folder)["artifacts"].items():
        if not runtime_is_installed(name):
            yield Verdict(
                name, skipped=f"{FORMATS[name].needs[1]} is not installed: pip install 'transfer-zoo[export]'"
            )
            continue
        artifact = FORMATS[name].files[0]
        engine = open_artifact(folder / artifact)
        yield Verdict(name, tuple(prove_on_photos(engine, artifact, facts["tolerance"])))


def repeated_proof(folder: Path) -> Callable[[Engine, str, float], list[Check]]:
    """The proof of an exported folder on the photos that lie in it, whatever its task: of an engine, what it is called,
    and the tolerance."""
    contract = read_contract((folder / "contract.json").read_bytes())
    if contract.task == "detect":
        from transfer.tasks.detect import proving

        detections = proving.Reference.load(folder / PROOF, contract)
        return lambda engine, artifact, tolerance: proving.prove(engine, artifact, detections, tolerance)
    reference = Reference.load(folder / PROOF)
    return lambda engine, artifact, tolerance: prove(engine, artifact, reference, tolerance)
