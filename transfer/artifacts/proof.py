"""The proof of an exported folder: photos, the trained model's outputs for them, and comparing a runtime with these.

Both lie in the folder (`proof.npz`), so that `verify` can repeat the proof on any machine, without the trained model
and without TensorFlow. Which differences count is for the task to say (`transfer.tasks.task.Task.compare`): those that
can reach a user.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.prepare.photos import decode
from transfer.artifacts.claims import PROOF, QUANTIZED_WITHIN, Claims, read_claims
from transfer.artifacts.engines.base import Engine
from transfer.artifacts.engines.table import FORMATS, open_artifact, runtime_is_installed
from transfer.artifacts.manifest import check_files
from transfer.contract import BATCH_SIZES, Check, Contract, ExportError
from transfer.tasks import task_of
from transfer.tasks.task import Arrays

__all__ = ["PROOF", "Reference", "Verdict", "largest_difference", "prove", "prove_claimed", "same_size", "verify"]

GROUP = BATCH_SIZES[-1]  # So many photos make a batch.
FEWEST = 2  # One photo says nothing about batches, nor about another size.


@dataclass(frozen=True, eq=False)
class Reference:
    """Photos, and what the trained model gives for them, boxes in pixels of its canvas.

    Attributes:
        photos: The photos, uint8 `[h, w, 3]`, of several sizes.
        whole: For each photo the outputs by name, `[photos, ...]`.
        cut: The same for the top left of each photo, as large as all of its group of 5 have it.
        encoded: The contents of the photos' files, where they were read back from a folder.
    """

    photos: tuple[np.ndarray, ...]
    whole: Arrays
    cut: Arrays
    encoded: tuple[bytes, ...] = ()

    @classmethod
    def make(cls, photos: Sequence[np.ndarray], answer: Callable[[Sequence[np.ndarray]], Arrays]) -> "Reference":
        """Asks about all photos, whole and cut.

        Args:
            photos: The photos, uint8 `[h, w, 3]`.
            answer: A function from a few photos of several sizes to the model's outputs for them.
        """
        groups = _groups(photos)
        whole = _joined([answer(group) for group in groups])
        return cls(tuple(photos), whole, _joined([answer(list(same_size(group))) for group in groups]))

    def part(self, count: int) -> "Reference":
        """Returns what is about the first photos, whose number is a multiple of 5."""
        whole, cut = ({name: values[:count] for name, values in outputs.items()} for outputs in (self.whole, self.cut))
        return Reference(self.photos[:count], whole, cut)

    def save(self, path: Path, encoded: Sequence[bytes]) -> None:
        """Writes the outputs, and the contents of the photos' files."""
        files: dict[str, Any] = {f"photo_{i}": np.frombuffer(contents, np.uint8) for i, contents in enumerate(encoded)}
        for way, outputs in (("whole", self.whole), ("cut", self.cut)):
            files |= {f"{way}_{name}": values for name, values in outputs.items()}
        np.savez_compressed(path, **files)

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Reads what `save` wrote. Nothing is ever unpickled.

        In format version 1, the proofs of classifiers had one output and no name for it.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                names = sorted((name for name in file.files if name.startswith("photo_")), key=lambda x: int(x[6:]))
                whole, cut = (
                    {
                        name.partition("_")[2] or "probabilities": file[name]
                        for name in file.files
                        if name.partition("_")[0] == way
                    }
                    for way in ("whole", "cut")
                )
                encoded = tuple(file[name].tobytes() for name in names)
                photos = tuple(map(decode, encoded))
        except OSError:
            raise
        except Exception as error:  # NumPy and zipfile raise whatever the damaged bytes lead them to.
            raise ValueError(f"{path} cannot be read as a proof: {error}") from error
        return cls(photos, whole, cut, encoded)

    def check(self, contract: Contract) -> None:
        """Checks that it holds what a proof of a model needs: enough photos, and the outputs for each of them.

        Raises:
            ValueError: Something is missing.
        """
        if len(self.photos) < FEWEST:
            raise ValueError(f"a proof needs {FEWEST} photos or more, got {len(self.photos)}; export again")
        for name, output in contract.outputs().items():
            for outputs in (self.whole, self.cut):
                values = outputs.get(name)
                if not output.internal and (values is None or np.ndim(values) == 0 or len(values) != len(self.photos)):
                    raise ValueError(f"the proof lacks the output {name!r} for each of its photos; export again")


@dataclass(frozen=True)
class _Case:
    """One way in, to be compared at one batch size."""

    endpoint: str
    batch: int
    expected: Arrays
    sizes: Sequence[tuple[int, int]]  # Of what boxes are in pixels of, photo by photo.
    on_photos: bool
    way: str
    inputs: Iterable[np.ndarray]  # The batches, made when they are needed: photos in float32 are large.


def prove(
    engine: Engine, artifact: str, reference: Reference, tolerance: float, *, encoded: Sequence[bytes] = ()
) -> list[Check]:
    """Lets a runtime answer on every photo, as it is and prepared, alone and in a batch.

    Args:
        engine: The artifact, read back in its own runtime.
        artifact: Its name, for messages.
        reference: Photos and the trained model's outputs.
        tolerance: The largest difference that is allowed, as the task counts differences.
        encoded: The contents of the photos' files, for artifacts that take those.

    Returns:
        One comparison for each way in and batch size.

    Raises:
        ExportError: An answer differs by more, or is not a number. The message says where.
    """
    return [_compared(engine, artifact, case, tolerance) for case in _cases(engine, reference, encoded)]


def largest_difference(engine: Engine, artifact: str, reference: Reference) -> float:
    """Measures how far the answers to prepared photos are from those of the trained model, however far that is.

    Args:
        engine: The artifact, read back in its own runtime.
        artifact: Its name, for messages.
        reference: Photos and the trained model's outputs.

    Returns:
        The largest difference, as the task counts differences; infinite where an answer is not a number.

    Raises:
        ExportError: The artifact gives no answer.
    """
    preparation = engine.contract.preparation
    cuts = [image for group in _groups(reference.photos) for image in same_size(group)]
    largest = 0.0
    for outputs, images in ((reference.whole, reference.photos), (reference.cut, cuts)):
        prepared = _groups(np.stack([preparation.on_photo(image) for image in images]))
        sizes = [preparation.size] * len(images)
        case = _Case(preparation.endpoint, GROUP, outputs, sizes, False, "prepared", prepared)
        largest = max(largest, _compared(engine, artifact, case, float("inf")).max_abs_diff)
    return largest


def _cases(engine: Engine, reference: Reference, encoded: Sequence[bytes]) -> Iterator[_Case]:
    contract, photos = engine.contract, reference.photos
    whole, cut = reference.whole, reference.cut
    if engine.limited:
        limited = task_of(contract.task).limited
        whole, cut = limited(whole, contract), limited(cut, contract)
    preparation = contract.preparation
    prepared = np.stack([preparation.on_photo(photo) for photo in photos])
    stacks = [same_size(group) for group in _groups(photos)]
    sizes = [photo.shape[:2] for photo in photos]
    cut_sizes = [image.shape[:2] for stack in stacks for image in stack]
    on_canvas = [preparation.size] * len(photos)
    alone = [photo[None] for photo in photos]
    if "prepared" in engine.ways:
        for batch, inputs in ((1, [image[None] for image in prepared]), (GROUP, _groups(prepared))):
            yield _Case(engine.endpoint("prepared"), batch, whole, on_canvas, False, "prepared", inputs)
    if "images" in engine.ways:
        for dtype in engine.dtypes:
            endpoint = f"images {dtype}"
            yield _Case(endpoint, 1, whole, sizes, True, "images", (photo.astype(dtype) for photo in alone))
            # Arrays have to share a size, so those of a batch are cut.
            yield _Case(endpoint, GROUP, cut, cut_sizes, True, "images", (stack.astype(dtype) for stack in stacks))
    if "image_bytes" in engine.ways and encoded:
        for batch in BATCH_SIZES:  # Files of different sizes go together in one batch.
            files = [np.array(list(group), object) for group in _groups(encoded, batch)]
            yield _Case("image_bytes", batch, whole, sizes, True, "image_bytes", files)


def _compared(engine: Engine, artifact: str, case: _Case, tolerance: float) -> Check:
    """Compares the answers to all photos with those of the trained model, photo by photo."""
    contract, place = engine.contract, f"{artifact}, endpoint {case.endpoint}, batch of {case.batch}"
    try:
        actual = _photo_by_photo([engine.outputs(case.way, batch) for batch in case.inputs])
    except Exception as error:  # Each runtime has its own classes of errors.
        raise ExportError(f"{place}: it gives no answer: {str(error).rstrip('.')}.", artifact=artifact) from error
    missing = [name for name, one in contract.outputs().items() if not one.internal and name not in actual]
    if missing:
        raise ExportError(f"{place}: it does not give {', '.join(missing)}.", artifact=artifact)
    compare, worst = task_of(contract.task).compare, 0.0
    for index, size in enumerate(case.sizes):
        expected = {name: values[index] for name, values in case.expected.items()}
        if case.on_photos:
            expected = contract.on_photo(expected, size)
        outputs = {name: values[index] for name, values in actual.items()}
        difference = compare(expected, outputs, size, contract, tolerance)
        if difference.reason or not difference.value <= tolerance:
            raise ExportError(
                f"{place}, photo {index} of {size[0]} x {size[1]}: "
                f"{difference.reason or f'it differs by {difference.value:.3g}'}. {tolerance:g} is allowed.",
                Check(artifact, case.endpoint, case.batch, difference.value),
            )
        worst = max(worst, difference.value)
    return Check(artifact, case.endpoint, case.batch, worst)


def same_size(photos: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the top left of each photo, as large as all of them have it: uint8 `[n, h, w, 3]`.

    >>> same_size([np.zeros((3, 8, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)]).shape
    (2, 3, 4, 3)
    """
    height, width = (min(photo.shape[axis] for photo in photos) for axis in (0, 1))
    return np.stack([photo[:height, :width] for photo in photos])


def _groups(items: Any, count: int = GROUP) -> list[Any]:
    return [items[start : start + count] for start in range(0, len(items), count)]


def _joined(batches: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _photo_by_photo(batches: Sequence[Arrays]) -> dict[str, list[np.ndarray]]:
    """Returns the outputs for each photo; maps are of several sizes."""
    return {name: [values for batch in batches for values in batch[name]] for name in batches[0]}


# An exported folder


@dataclass(frozen=True)
class Verdict:
    """What `verify` says about one artifact.

    Attributes:
        artifact: The name of the format.
        checks: The comparisons; there are none where the artifact was skipped.
        skipped: Why nothing could be compared, or None.
    """

    artifact: str
    checks: tuple[Check, ...] = ()
    skipped: str | None = None


def verify(folder: str | Path) -> list[Verdict]:
    """Repeats the proof of an exported folder: the SHA-256 of every file, and every artifact's answers.

    Args:
        folder: A folder that `transfer.export`, `zoo export` or `zoo fit` wrote.

    Returns:
        One verdict for each artifact. Those whose runtime is not installed say so.

    Raises:
        ValueError: A file was changed, the folder is of a newer format version, or it holds no proof (`read_claims`).
        FileNotFoundError: A file is missing, or there is no such folder.
        ExportError: An artifact no longer answers as the trained model did.
    """
    folder = Path(folder)
    claims = read_claims(folder)
    check_files(folder)
    reference = Reference.load(folder / PROOF)
    reference.check(claims.contract)
    return [_verdict(folder, name, claims, reference) for name in claims.tolerances]


def prove_claimed(engine: Engine, name: str, claims: Claims, reference: Reference) -> list[Check]:
    """Lets an artifact of an exported folder repeat its proof, within what the folder claims and a proof allows.

    Args:
        engine: The artifact.
        name: The name of its format.
        claims: What the folder claims.
        reference: Its proof.

    Raises:
        ValueError: The folder allows more than a proof may.
        ExportError: The artifact does not answer as the trained model did, or belongs to another contract.
    """
    artifact, tolerance = FORMATS[name].files[0], claims.tolerances[name]
    if engine.contract != claims.contract:
        raise ExportError(
            f"{artifact} holds another contract than contract.json: its classes, its preparation or its weights are "
            "others.",
            artifact=artifact,
        )
    if claims.quantized and tolerance > QUANTIZED_WITHIN:
        # An export allows twice the difference that prepared photos have; another machine rounds in other places.
        difference = largest_difference(engine, artifact, reference)
        if not tolerance <= 3 * difference:
            raise ValueError(
                f"the manifest allows {artifact} to differ by {tolerance:g}, and it differs by {difference:g}: that "
                "proves nothing; export again"
            )
    checks = prove(engine, artifact, reference, tolerance, encoded=reference.encoded)
    if not checks:
        raise ExportError(f"{artifact} has no way in, so nothing was compared.", artifact=artifact)
    return checks


def _verdict(folder: Path, name: str, claims: Claims, reference: Reference) -> Verdict:
    row = FORMATS[name]
    if not runtime_is_installed(name):
        return Verdict(name, skipped=f"{row.needs[1]} is not installed: pip install 'transfer-zoo[export]'")
    return Verdict(name, tuple(prove_claimed(open_artifact(folder / row.files[0]), name, claims, reference)))
