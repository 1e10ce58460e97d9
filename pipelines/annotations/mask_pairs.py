"""Which mask belongs to which photo, by their names."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

from pipelines.annotations.mask_folders import MASK_ENDINGS

__all__ = ["kinds_of_masks", "pair_names"]

# In the layout of Cityscapes a photo has several masks. Those that are read, before others.
_READ_FIRST = ("_labeltrainids", "_labelids")
_OTHERS = ("_color", "_instanceids", "_instancetrainids", "_labelids")


def kinds_of_masks(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divides the names of masks into those to be read, and others of the same photos that are not.

    >>> kinds_of_masks(["a_gtFine_color.png", "a_gtFine_labelIds.png"])
    (['a_gtFine_labelIds.png'], ['a_gtFine_color.png'])
    """
    for ending in _READ_FIRST:
        chosen = [name for name in names if _stem(name).lower().endswith(ending)]
        if chosen:
            ends = tuple(other for other in _OTHERS if other != ending)
            others = [name for name in names if _stem(name).lower().endswith(ends)]
            return chosen, others
    return list(names), []


def pair_names(images: Sequence[str], masks: Sequence[str]) -> dict[str, str]:
    """Returns the mask of each image that has one.

    One rule counts for all names: the one of these by which most images have a mask, the first of equals. The mask has
    the name of the image, which may be followed by a usual ending such as `_mask`. Or they have one name without what
    the names of all images have in common at their beginnings and ends, and those of all masks. Or the name of the mask
    is that of the image and an ending that several masks have. Folders count where names alone are not unique.

    Args:
        images: Paths below the folder of the images, with `/` between the parts.
        masks: Paths below the folder of the masks.

    Example, of names as DRIVE's:

    >>> pair_names(["21_training.tif", "22_training.tif"], ["21_manual1.gif", "22_manual1.gif"])
    {'21_training.tif': '21_manual1.gif', '22_training.tif': '22_manual1.gif'}
    """
    found: dict[str, str] = {}
    for rule in (_same_name, _same_core, _common_ending):
        made = rule(images, masks)
        if len(made) > len(found):
            found = made
    return found


def _same_name(images: Sequence[str], masks: Sequence[str]) -> dict[str, str]:
    by_place = _unique({mask: str(PurePosixPath(mask).with_suffix("")) for mask in masks})
    by_stem: dict[str, str] = {}
    for mask in masks:
        by_stem.setdefault(_stem(mask), mask)
    found = {}
    for image in images:
        place = str(PurePosixPath(image).with_suffix(""))
        for ending in ("", *MASK_ENDINGS):
            match = by_place.get(place + ending) or by_stem.get(_stem(image) + ending)
            if match is not None:
                found[image] = match
                break
    return found


def _same_core(images: Sequence[str], masks: Sequence[str]) -> dict[str, str]:
    """Pairs by what is left of the names without the words and numbers that all of them begin and end with."""
    if len(images) == len(masks) == 1:
        first = [_parts(_stem(name))[:1] for name in (*images, *masks)]
        return {images[0]: masks[0]} if first[0] == first[1] else {}
    cores = [_cores(names) for names in (images, masks)]
    by_core = _unique(cores[1])
    core_of = cores[0]
    is_unique = set(_unique(core_of).values())
    return {image: by_core[core] for image, core in core_of.items() if image in is_unique and core and core in by_core}


def _common_ending(images: Sequence[str], masks: Sequence[str]) -> dict[str, str]:
    stems = {_stem(image): image for image in images}
    endings: dict[str, list[tuple[str, str]]] = {}
    for mask in sorted(masks):
        for at in range(1, len(_stem(mask))):
            image, ending = _stem(mask)[:at], _stem(mask)[at:]
            if image in stems and not ending[0].isalnum():
                endings.setdefault(ending, []).append((stems[image], mask))
    counts = Counter({ending: len(pairs) for ending, pairs in endings.items()})
    found: dict[str, str] = {}
    for ending, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if count > 1:
            for image, mask in endings[ending]:
                found.setdefault(image, mask)
    return found


def _cores(names: Sequence[str]) -> dict[str, str]:
    """Returns each name without the parts that all have in common at the beginning and the end, in small letters.

    >>> _cores(["img_001_x.png", "img_002_x.png"])
    {'img_001_x.png': '001', 'img_002_x.png': '002'}
    """
    parts = {name: _parts(_stem(name)) for name in names}
    if len(parts) < 2:
        return {}
    shortest = min(map(len, parts.values()))

    def common(part: Callable[[list[str], int], str], most: int) -> int:
        count = 0
        while count < most and len({part(some, count) for some in parts.values()}) == 1:
            count += 1
        return count

    start = common(lambda some, i: some[i], shortest - 1)
    end = common(lambda some, i: some[-1 - i], shortest - 1 - start)
    return {name: "".join(some[start : len(some) - end]) for name, some in parts.items()}


def _parts(stem: str) -> list[str]:
    """Splits a name into words, numbers and what stands between them."""
    return re.findall(r"\d+|[^\W\d_]+|[\W_]+", stem.lower())


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _unique(keys: Mapping[str, str]) -> dict[str, str]:
    """Returns the name of each key that only one name has."""
    counts = Counter(keys.values())
    return {key: name for name, key in keys.items() if counts[key] == 1}
