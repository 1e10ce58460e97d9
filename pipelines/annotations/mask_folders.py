"""Where photos and their masks are: pairs of folders, by the words that people name them with."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.sources.image_files import files_below, folders_in, is_image
from pipelines.sources.split_names import SPLIT_WORDS, split_in

__all__ = ["MASK_ENDINGS", "MaskFolders", "find_mask_folders", "masks_beside"]

# Names of folders, in small letters and without what stands between words.
_IMAGE_WORDS = ("images", "jpegimages", "image", "imgs", "img", "photos", "leftimg8bit", "inputs", "input")
# Those that come first are read where there are several: in DRIVE, `mask` is the field of view, and in HRF, too.
_MASK_WORDS = (
    "1stmanual", "manual1", "manual", "gtfine", "groundtruth", "groundtruths", "gt", "gtmasks", "masks",
    "segmentationclassaug", "segmentationclasspng", "segmentationclass",
    "labels", "annotations", "label", "annotation", "annots", "annot", "segmentations", "segmentation", "seg",
    "targets", "mask",
)  # fmt: skip
_INSTANCE_WORDS = ("instances", "instancemasks", "segmentationobject")
_WORDS = {word: kind for kind in ("image", "mask", "instances") for word in
          {"image": _IMAGE_WORDS, "mask": _MASK_WORDS, "instances": _INSTANCE_WORDS}[kind]}  # fmt: skip

# What the names of masks have after the names of their photos.
MASK_ENDINGS = ("_mask", "-mask", "_label", "_seg", ".mask", "_L", "_gt", "_labels", "_segmentation", "_1stHO")

# Folders above those of photos and masks whose names say nothing, such as that of an archive that was unpacked.
_MOST_WRAPPERS = 2
# Number of folders in which photos and masks are looked for beside each other.
_MOST_FOLDERS = 20


@dataclass(frozen=True)
class MaskFolders:
    """A folder of photos and a folder of their masks.

    Attributes:
        split: "train", "valid" or "test".
        images: Folder of the photos.
        masks: Folder of the masks, which may be the same.
        kind: "mask" for masks of classes, "instances" for maps whose values are objects, "objects" for a mask of each
            object of one photo.
        unused: Folders beside them that may hold masks, too, and are not read.
    """

    split: str
    images: Path
    masks: Path
    kind: str = "mask"
    unused: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Folder:
    path: Path
    wrappers: tuple[str, ...]
    split: str | None
    kind: str
    word: str


def find_mask_folders(root: Path) -> list[MaskFolders]:
    """Returns each pair of a folder of photos and a folder of masks below `root`.

    Splits may be folders below them (`images/train`), above them (`train/images`), or parts of their names
    (`trainannot`). Where there are several folders of masks, those of one name are read.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("train/1.png", "trainannot/1.png", "val/2.png", "valannot/2.png"):
    ...         Path(folder, name).parent.mkdir()
    ...         Image.new("L", (3, 2)).save(Path(folder, name))
    ...     [(pair.split, pair.images.name, pair.masks.name) for pair in find_mask_folders(Path(folder))]
    [('train', 'train', 'trainannot'), ('valid', 'val', 'valannot')]
    """
    folders = list(_folders(root, (), None))
    images: dict[tuple, list[_Folder]] = defaultdict(list)
    for folder in folders:
        if folder.kind == "image":
            images[folder.wrappers, folder.split].append(folder)
    masks = [folder for folder in folders if folder.kind != "image" and _has_images(folder.path)]
    if not images or not masks:
        return _beside(root)
    first = _first_word(masks)
    chosen = [folder for folder in masks if folder.word == first]
    pairs = []
    for mask in chosen:
        for key in ((mask.wrappers, mask.split), (mask.wrappers, None)):
            found = images.get(key, [])
            if found:
                break
        if not found and mask.split is None:
            found = [folder for (wrappers, _), some in images.items() if wrappers == mask.wrappers for folder in some]
            found = list({folder.split: folder for folder in reversed(found)}.values())[::-1]
        for folder in found[:1] if mask.split is not None else found:
            unused = tuple(
                other.path
                for other in masks
                if other.word != first and (other.wrappers, other.split) == (mask.wrappers, mask.split)
            )
            kind = mask.kind
            if mask.wrappers and _is_one_photo(folder.path, mask.path):
                kind = "objects"
            pairs.append(MaskFolders(mask.split or folder.split or "train", folder.path, mask.path, kind, unused))
    return pairs or _beside(root)


def masks_beside(stems: set[str]) -> dict[str, str]:
    """Returns which of the names in a folder are masks of which others: those with an ending of `MASK_ENDINGS`.

    >>> masks_beside({"cat", "cat_mask", "dog"})
    {'cat': 'cat_mask'}
    """
    return {
        stem: stem + ending for ending in reversed(MASK_ENDINGS) for stem in sorted(stems) if stem + ending in stems
    }


def _folders(folder: Path, wrappers: tuple[str, ...], split: str | None) -> Iterator[_Folder]:
    """Yields the folders of photos and of masks below a folder that is none of both."""
    for child in folders_in(folder):
        meaning = _meaning(child.name)
        if meaning is None:
            if len(wrappers) < _MOST_WRAPPERS:
                yield from _folders(child, (*wrappers, child.name), split)
            continue
        own_split, kind, word = meaning
        if kind is None:
            inside = list(_folders(child, wrappers, own_split))
            yield from inside
            if not any(found.kind == "image" for found in inside) and _image_names(child):
                yield _Folder(child, wrappers, own_split, "image", "")
            continue
        by_split = [
            _Folder(inner, wrappers, found[0], kind, word)
            for inner in folders_in(child)
            if (found := _meaning(inner.name)) is not None and found[0] is not None
        ]
        yield from by_split or [_Folder(child, wrappers, own_split or split, kind, word)]


def _meaning(name: str) -> tuple[str | None, str | None, str] | None:
    """Returns the split, the kind and the word that the name of a folder holds; None if it says nothing.

    >>> _meaning("train_labels"), _meaning("1st_manual"), _meaning("Test"), _meaning("aachen")
    (('train', 'mask', 'labels'), (None, 'mask', '1stmanual'), ('test', None, ''), None)
    """
    plain = re.sub(r"[\W_]+", "", name.lower())
    if plain in _WORDS:
        return None, _WORDS[plain], plain
    for word in sorted(SPLIT_WORDS, key=len, reverse=True):
        for rest in (plain.removeprefix(word), plain.removesuffix(word)):
            if rest != plain and rest in _WORDS:
                return SPLIT_WORDS[word], _WORDS[rest], rest
    split = split_in(name)
    return None if split is None else (split, None, "")


def _first_word(masks: list[_Folder]) -> str:
    """Returns the name of folders of masks that is read: one that the training images have, the first of `_WORDS`."""
    order = list(_WORDS)
    trained = [folder for folder in masks if folder.split in ("train", None)] or masks
    return min((folder.word for folder in trained), key=order.index)


def _has_images(folder: Path) -> bool:
    return any(is_image(name) for name in files_below(folder))


def _is_one_photo(images: Path, masks: Path) -> bool:
    """Tells whether a folder holds one photo, and the other one masks that have other names."""
    photos = [Path(name).stem for name in _image_names(images)]
    return len(photos) == 1 and not any(name.startswith(photos[0]) for name in _image_names(masks))


def _beside(root: Path) -> list[MaskFolders]:
    """Returns the folders that hold photos and their masks beside each other, `cat.jpg` and `cat_mask.png`."""
    found = []
    for folder in (root, *folders_in(root)[:_MOST_FOLDERS]):
        if masks_beside({Path(name).stem for name in _image_names(folder)}):
            found.append(MaskFolders((split_in(folder.name) if folder != root else None) or "train", folder, folder))
    return found


def _image_names(folder: Path) -> list[str]:
    """Returns the names of the images directly in a folder."""
    return [entry.name for entry in os.scandir(folder) if is_image(entry.name)]
