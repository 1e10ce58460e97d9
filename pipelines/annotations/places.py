"""Where files of a data set are: their splits by the folders that they are in, and which image an annotation means.

People keep the photos and annotations of each split at several levels: `images/train` and `annotations/train`,
`train/images` and `train/annotations`, or side by side in `train`. All readers take all of these from here.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

from pipelines.annotations.drafts import Draft
from pipelines.annotations.faults import Log
from pipelines.sources.image_files import files_below, is_image
from pipelines.sources.split_names import split_in, split_of

__all__ = [
    "PathIndex",
    "divided_by_folder",
    "divided_by_image",
    "image_index",
    "name_below",
    "plain_folders",
    "role_of",
    "root_of",
]

# Names of folders that say what lies in them, and not which part of the data it is; in small letters.
_FOLDERS_OF_ANNOTATIONS = frozenset(
    (
        *("annotations", "annotation", "anns", "ann", "labels", "label", "bboxes", "boxes"),
        *("xmls", "xml", "jsons", "json", "txt"),
    )
)
KINDS_OF_FILES = _FOLDERS_OF_ANNOTATIONS | frozenset(
    (
        *("images", "image", "imgs", "img", "jpegimages", "pngimages", "photos", "photo", "pictures", "data", "media"),
        *("obj", "masks", "mask", "segmentationclass", "segmentations"),
    )
)


def role_of(path: PurePath, root: PurePath) -> str | None:
    """Returns the split that a file belongs to by the folders between it and the root, or None.

    A folder whose whole name is a split's word comes before one that only contains it.

    >>> role_of(PurePath("a/images/train2017/1.jpg"), PurePath("a"))
    'train'
    """
    folders = _folders(path, root)
    exact = next((role for part in folders if (role := split_of(part)) is not None), None)
    return exact or next((role for part in folders if (role := split_in(part)) is not None), None)


def divided_by_folder(files: Iterable[Path], root: Path, log: Log, *, by_name: bool = False) -> dict[str, list[Path]]:
    """Divides files by the splits in whose folders they are.

    Without a folder for training, files outside of the splits' folders are for training. Where there is one, they are
    listed as faults and left out. Folders that are all called test are no splits, and neither are all called val.

    Args:
        files: The files.
        root: Folder of the data.
        log: Log to which files outside of the splits are added.
        by_name: Whether a split's word in the name of a file comes before its folders: for files of many images.
    """
    roles = {file: (split_in(file.stem) if by_name else None) or role_of(file, root) for file in files}
    return _divided(roles, log)


def divided_by_image(drafts: Sequence[Draft], root: Path, log: Log) -> dict[str, list[Draft]]:
    """Divides images, whose annotations say nothing about splits, by the splits in whose folders the images are."""
    roles = {draft.image: role_of(draft.image, root) for draft in drafts if draft.image.is_file()}
    if "train" not in roles.values() or len({*roles.values(), None}) < 3:
        return {"train": list(drafts)}
    roles |= {draft.image: "train" for draft in drafts if draft.image not in roles}  # they will be listed as missing
    parts = _divided(roles, log)
    by_image = {image: role for role, images in parts.items() for image in images}
    return {role: [draft for draft in drafts if by_image.get(draft.image) == role] for role in parts}


def _divided(roles: Mapping[Path, str | None], log: Log) -> dict[str, list[Path]]:
    parts: dict[str | None, list[Path]] = defaultdict(list)
    for file, role in roles.items():
        parts[role].append(file)
    others = parts.pop(None, [])
    if "train" not in parts:
        if not others:
            return {"train": list(roles)}
        parts["train"] = others
        others = []
    for file in others:
        log.add(
            "not listed", file, None, "it belongs to none of the splits (train, val, test) by its place; it is left out"
        )
    return {role: parts[role] for role in ("train", "valid", "test") if role in parts}


def plain_folders(folders: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of folders without words such as images, which say nothing about the part of the data.

    >>> plain_folders(["train", "JPEGImages"]), plain_folders(["xmls", "train_annotations"])
    (('train',), ('train',))
    """
    words = ([w for w in re.split(r"[\W_]+", folder.lower()) if w and w not in KINDS_OF_FILES] for folder in folders)
    return tuple(" ".join(kept) for kept in words if kept)


def name_below(path: Path, root: Path) -> str:
    """Returns the name of an image in reports: its path below the root, without the first folder such as images.

    >>> name_below(Path("a/train/images/1.jpg"), Path("a"))
    'train/1.jpg'
    """
    if not path.is_relative_to(root):
        return path.name
    parts = list(path.relative_to(root).parts)
    first = next((i for i, part in enumerate(parts[:-1]) if part.lower() in KINDS_OF_FILES), None)
    if first is not None:
        del parts[first]
    return "/".join(parts)


class PathIndex:
    """An index of files by their names.

    Args:
        paths: The files.
        root: Folder to which names are relative.
    """

    def __init__(self, paths: Sequence[Path], root: Path) -> None:
        self.root = root
        self.paths = list(paths)
        self._roles = {path: role_of(path, root) for path in self.paths}
        self._present = set(self._roles.values())
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            for name in {path.name, path.stem, path.name.casefold(), path.stem.casefold()}:
                self._by_name[name].append(path)

    def find(self, name: str, *, near: Path | None = None, role: str | None = None) -> Path | None:
        """Returns the file that a name means, or None where there is none, or where it may be one of several.

        The name may be a path on another machine, and may lack its suffix. Of several files with the same last part,
        the one is taken whose folders agree with the name, or with the place of the annotation. Folders are compared
        without words such as images, and with them where this leaves several. A file of another split is not taken,
        unless no file is in a folder of the split that was asked for, and neither is a file whose folders have nothing
        in common with those of `near`.

        Args:
            name: Name or path, with slashes of either kind.
            near: File to which the one that is looked for belongs, such as its annotation.
            role: Split of that file, if it has one.
        """
        candidates = self.candidates(name, near=near, role=role)
        if len(candidates) < 2:
            return next(iter(candidates), None)
        claimed = _claims(name)[0].parts[:-1]
        beside = _folders(near, self.root) if near is not None else None

        def agreement(path: Path) -> tuple[int, ...]:
            own = _folders(path, self.root)
            plain = [None if folders is None else plain_folders(folders) for folders in (own, claimed, beside)]
            return *_agreement(*plain), *_agreement(own, claimed, beside if beside is not None else claimed)

        ranked = sorted(candidates, key=agreement, reverse=True)
        return ranked[0] if agreement(ranked[0]) > agreement(ranked[1]) else None

    def candidates(self, name: str, *, near: Path | None = None, role: str | None = None) -> list[Path]:
        """Returns all files that a name may mean by its last part; the arguments are those of `find`."""
        for claim in _claims(name):
            stem = claim.stem if is_image(claim.name) else claim.name
            for key in (claim.name, stem, claim.name.casefold(), stem.casefold()):
                found = [path for path in self._by_name.get(key, ()) if self._may_be(path, near, role)]
                if found:
                    return found
        return []

    def _may_be(self, path: Path, near: Path | None, role: str | None) -> bool:
        if role is not None and role in self._present and self._roles[path] not in (role, None):
            return False
        own = plain_folders(_folders(path, self.root))
        beside = plain_folders(_folders(near, self.root)) if near is not None else ()
        return not own or not beside or not set(own).isdisjoint(beside)


def image_index(root: Path) -> PathIndex:
    """Returns an index of the images below a folder."""
    return PathIndex([Path(path) for path in files_below(root) if is_image(path)], root)


def root_of(path: Path) -> Path:
    """Returns the folder of the data: the path itself, or of a file its folder, or the one above `annotations`."""
    if not path.is_file():
        return path
    folder = path.parent
    while folder.name.lower() in _FOLDERS_OF_ANNOTATIONS:
        folder = folder.parent
    return folder


def _claims(name: str) -> tuple[PurePath, ...]:
    """Returns the path that a name means: as it is, and without space around it."""
    path = name.replace("\\", "/")
    return tuple(map(PurePath, dict.fromkeys((path, path.strip()))))


def _folders(path: PurePath, root: PurePath) -> tuple[str, ...]:
    return path.parent.relative_to(root).parts if path.is_relative_to(root) else ()


def _agreement(
    own: Sequence[str] | None, claimed: Sequence[str] | None, beside: Sequence[str] | None
) -> tuple[int, int, int]:
    """Returns how well the folders of a file agree with those that a name claims, and with those of an annotation."""
    own, claimed = own or (), claimed or ()
    distance = 0 if beside is None else abs(len(own) - len(beside))
    return _common_end(own, claimed), 0 if beside is None else _common_end(own, beside), -distance


def _common_end(a: Sequence[str], b: Sequence[str]) -> int:
    """Returns how many of the last entries are equal."""
    count = 0
    for one, other in zip(reversed(a), reversed(b), strict=False):
        if one != other:
            break
        count += 1
    return count
