"""From the entries of annotation files to a data set: which image an entry means, and which split it belongs to.

For the formats in which one file annotates many images, and for those that say nothing about where images are.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.annotations.assembling import Draft, Found, assemble
from pipelines.annotations.faults import Log
from pipelines.annotations.places import PathIndex, image_index, name_below, role_of, root_of
from pipelines.annotations.signatures import SIGNATURES, has_signature
from pipelines.data import Data
from pipelines.sources.image_files import files_below
from pipelines.sources.split_names import split_in, split_of
from pipelines.sources.splits import GroupBy

__all__ = ["Entry", "EntryReader"]


@dataclass(frozen=True, slots=True)
class Entry:
    """An image as a file of annotations describes it.

    Attributes:
        name: Name or path of the image, as the file writes it; it may lack its suffix.
        source: The file.
        objects: The objects in the image.
        line: Line of the entry, or None.
        size: Height and width that the file states, or None.
        part: Word for the split, if the file says it.
        relative: Whether boxes and outlines are in fractions of the image.
        number: Identifier of the image in the file, or None.
    """

    name: str
    source: Path
    objects: Sequence[Found] = ()
    line: int | None = None
    size: tuple[int, int] | None = None
    part: str | None = None
    relative: bool = False
    number: int | str | None = None


@dataclass(frozen=True)
class EntryReader:
    """How the files of one format become a data set: `read` of the module of the format.

    Attributes:
        layout: Name of the format in `pipelines.annotations.signatures.SIGNATURES`.
        parse: Function that returns the entries of a file.
        own_names: Function that returns the names of the classes that the files define, or None.
    """

    layout: str
    parse: Callable[[Path, Log], Iterable[Entry]]
    own_names: Callable[[Path, Sequence[Path], Log], Sequence[str] | None] = lambda root, files, log: None

    def read(
        self,
        source: str | Path,
        *,
        class_names: Sequence[str] | None = None,
        valid: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
        group_by: GroupBy = None,
        strict: bool = False,
    ) -> Data:
        """Reads all files of a format below a folder, and finds the images of their entries and their splits.

        The split is the one that the entry says; else that of its file, by its name (if there are several files) or by
        the folders that it is in; else that of the folders of the image.

        Args:
            source: One file, or a folder with such files and with the images.
            class_names: Names of the classes to read, in order. Defaults to those that the files define, or else to
                all that occur, sorted by name.
            valid: Fraction of the images to take for validation, if the data has no validation split.
            test: Fraction of the images to take for testing, if the data has no split but the training split.
            seed: Integer that decides which images are taken.
            group_by: Images of one group stay in one split (`pipelines.read_scenes` describes the values).
            strict: Whether to raise a ValueError at the first fault, instead of listing it.

        Returns:
            A `Data` of scenes. `pipelines.annotations` describes what happens to faults.

        Raises:
            ValueError: There are no annotated images to train on, or there is a fault and `strict`.
        """
        log = Log(strict=strict)
        path = Path(source)
        root = root_of(path)
        files = [path] if path.is_file() else _files(root, self.layout)
        index = image_index(root)
        by_name = len(files) > 1 and not SIGNATURES[self.layout].of_one_image
        parts: dict[str | None, list[Draft]] = defaultdict(list)
        used: set[Path] = set()
        for file in files:
            role = (split_in(file.stem) if by_name else None) or role_of(file, root)
            for entry in self.parse(file, log):
                own = (split_of(entry.part) or split_in(entry.part)) if entry.part else role
                draft = _draft(entry, own, index)
                parts[own or role_of(draft.image, root)].append(draft)
                used.add(draft.image)
        for image in index.paths:
            if image not in used:
                log.add("no annotation", image, None, "no file of annotations names the image; it is left out")
        names = class_names if class_names is not None else self.own_names(root, files, log)
        return assemble(_divided(parts, log), names, log, valid=valid, test=test, seed=seed, group_by=group_by)


def _files(root: Path, layout: str) -> list[Path]:
    """Returns the files of a format. Where each is of one image, files beside them may be empty."""
    every = [Path(name) for name in files_below(root)]
    files = [path for path in every if has_signature(path, layout)]
    if not SIGNATURES[layout].of_one_image:
        return files
    folders = {path.parent for path in files}
    return [path for path in every if path.parent in folders and path.suffix.lower() in SIGNATURES[layout].suffixes]


def _draft(entry: Entry, role: str | None, index: PathIndex) -> Draft:
    image = index.find(entry.name, near=entry.source, role=role) or entry.source.parent / entry.name
    return Draft(
        image,
        name_below(image, index.root),
        entry.source,
        entry.objects,
        line=entry.line,
        size=entry.size,
        relative=entry.relative,
        number=entry.number,
    )


def _divided(parts: dict[str | None, list[Draft]], log: Log) -> dict[str, list[Draft]]:
    """Returns the drafts of each split. Those of no split are for training, unless others are."""
    others = parts.pop(None, [])
    if "train" not in parts:
        if not others:  # Data that are all called test, or all called val, have no splits.
            return {"train": [draft for part in parts.values() for draft in part]}
        parts["train"], others = others, []
    for draft in others:
        reason = f"{draft.name} belongs to none of the splits (train, val, test); it is left out"
        log.add("not listed", draft.source, draft.line, reason)
    return {role: parts[role] for role in ("train", "valid", "test") if parts.get(role)}
