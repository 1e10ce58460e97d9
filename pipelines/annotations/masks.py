"""Mask PNGs: for each photo an image whose pixels are class numbers, or colours that stand for classes."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.annotations.assembling import Draft, assemble, image_header
from pipelines.annotations.documents import read_text
from pipelines.annotations.faults import Log
from pipelines.annotations.instance_files import holds_instances, instance_draft, objects_draft
from pipelines.annotations.mask_colours import COLOUR_TABLES, find_colours
from pipelines.annotations.mask_files import IGNORE, MaskFile, is_lossy, mask_values
from pipelines.annotations.mask_folders import MaskFolders, find_mask_folders, masks_beside
from pipelines.annotations.mask_pairs import kinds_of_masks, pair_names
from pipelines.annotations.mask_values import count_values, grey_classes, lossy_levels
from pipelines.data import Data
from pipelines.prepare.turning import turned_size
from pipelines.sources.image_files import images_below, images_in
from pipelines.sources.split_names import splits_among
from pipelines.sources.splits import GroupBy

__all__ = ["MaskFile", "read"]

_Pair = tuple[Path, str, Path]  # photo, its name, and its mask


def read(
    folder: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    valid: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    group_by: GroupBy = None,
    strict: bool = False,
    colors: Mapping[str, Sequence[int]] | None = None,
    check: bool = True,
) -> Data:
    """Reads photos and their masks.

    The folder holds `images/` and `masks/`, or folders of other names that people give them (`mask_folders` lists them:
    `JPEGImages/` and `SegmentationClass/`, `train/` and `trainannot/`, `leftImg8bit/` and `gtFine/`, `images/` and
    `1st_manual/` ...), or photos and masks beside each other (`cat.jpg`, `cat_mask.png`). Splits are folders below
    these or above (`images/train` and `masks/train`, or `train/images` and `train/masks`), parts of their names, or
    lists in `ImageSets/Segmentation`. A mask has the name of its photo, which may be followed by `_mask`, or a name
    that differs from it in what all photos and all masks have in common (`mask_pairs.pair_names`).

    Maps of objects (folders called `instances/` or `SegmentationObject/`, or 16-bit files whose values cover one region
    each) and folders with a mask for each object (`ID/images/`, `ID/masks/`) give objects with outlines and boxes, of
    the one class in `class_names` or `classes.txt`, or else "object".

    Args:
        folder: Folder of the data.
        class_names: Names of the classes; value `i` of an indexed mask stands for `class_names[i]`. Defaults to the
            names in `classes.txt` or in `colors`, or else to the numbers themselves. Masks with only the values 0 and
            255 have the classes "background" and "object". Values that anti-aliasing left at edges are no classes. In
            JPEG files, each pixel has the class whose value is nearest.
        colors: Colour (red, green, blue) of each class, for colour-coded masks. Defaults to a table of names and
            colours in the folder, if there is one: `labelmap.txt` (CVAT: `name:r,g,b::`), `class_dict.csv`
            (`name,r,g,b`) or `label_colors.txt` (`r g b name`).
        valid: Fraction of the images to take for validation, if the data has no validation split.
        test: Fraction of the images to take for testing, if the data has no split but the training split.
        seed: Integer that decides which images are taken.
        group_by: Images of one group stay in one split (`pipelines.read_scenes` describes the values).
        strict: Whether to raise a ValueError at the first fault, instead of listing it.
        check: Whether to decode every mask, and to list values that belong to no class. They count as 255, which
            means "ignore".

    Returns:
        A `Data` of scenes with a `mask` and without objects, or with objects and without a mask.
        `pipelines.annotations` describes what happens to faults.

    Raises:
        ValueError: There are no pairs of photos and masks, `colors` are missing for coloured masks, all pixels of all
            training masks have one class, or there is a fault and `strict`.
    """
    root = Path(folder)
    log = Log(strict=strict)
    folders = find_mask_folders(root)
    root = _home(root, folders)
    if any(found.kind == "objects" for found in folders):
        drafts, names = _one_mask_each(root, folders, class_names, log)
        return assemble(drafts, names, log, valid=valid, test=test, seed=seed, group_by=group_by)
    pairs = _pairs(folders, log)
    if set(pairs) == {"train"}:
        pairs = _listed(root, pairs["train"], log) or pairs
    masks = [mask for part in pairs.values() for _, _, mask in part]
    if any(found.kind == "instances" for found in folders) or holds_instances(masks):
        name = _one_name(root, class_names, log)
        made = {
            role: [instance_draft(image, called, mask, name, log) for image, called, mask in part]
            for role, part in pairs.items()
        }
        drafts, names = {role: [draft for draft in part if draft] for role, part in made.items()}, [name]
    else:
        names, file = _classes(root, class_names, masks, colors, log)
        drafts = _class_drafts(root, pairs, names, file, check, log)
    return assemble(drafts, names, log, valid=valid, test=test, seed=seed, group_by=group_by)


def _home(root: Path, folders: Sequence[MaskFolders]) -> Path:
    """Returns the folder with the tables and lists of the data: `root`, or one between it and the masks."""
    inside = os.path.commonpath([path for found in folders for path in (found.images, found.masks)] or [root])
    for folder in (Path(inside), *Path(inside).parents):
        if any((folder / name).exists() for name in (*COLOUR_TABLES, "classes.txt", "ImageSets")):
            return folder
        if folder == root:
            break
    return root


def _pairs(folders: Sequence[MaskFolders], log: Log) -> dict[str, list[_Pair]]:
    """Returns photos with their masks by split, and lists what has no partner."""
    pairs: dict[str, list[_Pair]] = {}
    paired: set[Path] = set()
    others: dict[Path, Path] = {}  # every photo and mask, and the folder where its partner should be
    for found in folders:
        photos, masks = _files(found)
        chosen, unread = kinds_of_masks([mask.relative_to(found.masks).as_posix() for mask in masks])
        if unread:
            log.note(
                f"{len(unread)} files in {found.masks} are other forms of the masks, such as {unread[0]}, and not read."
            )
        for folder in found.unused:
            log.note(f"{folder} is not read, since the masks in {found.masks} are.")
        by_name = {photo.relative_to(found.images).as_posix(): photo for photo in photos}
        made = pair_names(list(by_name), chosen)
        others |= dict.fromkeys(photos, found.masks) | {found.masks / name: found.images for name in chosen}
        for name, photo in by_name.items():
            if name in made:
                pairs.setdefault(found.split, []).append((photo, name, found.masks / made[name]))
                paired |= {photo, found.masks / made[name]}
        first = next(
            ((name, mask) for name, mask in made.items() if not Path(mask).stem.startswith(Path(name).stem)), None
        )
        if first is not None:
            log.note(f"Masks belong to photos by the parts in which their names differ: {first[1]} to {first[0]}.")
    masks_of = {found.masks for found in folders}
    for path, folder in others.items():
        if path in paired:
            continue
        if folder in masks_of:
            log.add("no annotation", path, None, f"the image has no mask in {folder}; it is left out")
        else:
            log.add("missing image", path, None, f"there is no image of that name in {folder}; the mask is left out")
    return pairs


def _files(found: MaskFolders) -> tuple[list[Path], list[Path]]:
    """Returns the photos and the masks of two folders, or of one that holds both."""
    if found.images != found.masks:
        return images_below(found.images), images_below(found.masks)
    images = images_in(found.images)
    masks = set(masks_beside({image.stem for image in images}).values())
    return [image for image in images if image.stem not in masks], [image for image in images if image.stem in masks]


def _one_mask_each(
    root: Path, folders: Sequence[MaskFolders], class_names: Sequence[str] | None, log: Log
) -> tuple[dict[str, list[Draft]], list[str]]:
    """Returns the drafts of photos that have a mask for each object, and the name of the class."""
    name = _one_name(root, class_names, log)
    drafts: dict[str, list[Draft]] = {}
    for found in folders:
        photo = images_in(found.images)[0]
        draft = objects_draft(photo, photo.relative_to(root).as_posix(), images_in(found.masks), name, log)
        if draft is not None:
            drafts.setdefault(found.split, []).append(draft)
    return drafts, [name]


def _one_name(root: Path, class_names: Sequence[str] | None, log: Log) -> str:
    """Returns the name of the one class of objects."""
    names = list(class_names) if class_names is not None else _names_in_file(root, log) or ["object"]
    names = names[1:] if len(names) == 2 and names[0] == "background" else names
    if len(names) != 1:
        raise ValueError(
            f"{root}: the masks tell objects apart and not their classes; expected one name, received {names}"
        )
    return names[0]


def _names_in_file(root: Path, log: Log) -> list[str] | None:
    if not (root / "classes.txt").is_file():
        return None
    return [line.strip() for line in (read_text(root / "classes.txt", log) or "").split("\n") if line.strip()]


def _listed(root: Path, pairs: Sequence[tuple[Path, str, Path]], log: Log) -> dict[str, list[tuple[Path, str, Path]]]:
    """Returns the pairs of each split by the lists in ImageSets/Segmentation, or none without a list for training."""
    by_name = {Path(name).with_suffix("").as_posix(): (image, name, mask) for image, name, mask in pairs}
    roles: dict[str, list[tuple[Path, str, Path]]] = {}
    lists = root / "ImageSets" / "Segmentation"
    for role, name in splits_among(path.stem for path in lists.glob("*.txt")).items():
        path = lists / f"{name}.txt"
        for number, line in enumerate((read_text(path, log) or "").split("\n"), start=1):
            if line.strip() in by_name:
                roles.setdefault(role, []).append(by_name[line.strip()])
            elif line.strip():
                reason = f"there is no photo with a mask for {line.strip()!r}; it is left out"
                log.add("no annotation", path, number, reason)
    return roles if "train" in roles else {}


def _classes(
    root: Path,
    class_names: Sequence[str] | None,
    masks: Sequence[Path],
    colors: Mapping[str, Sequence[int]] | None,
    log: Log,
) -> tuple[list[str], MaskFile]:
    """Returns the names of the classes, and a mask file without a path that says which values they have."""
    table = colors if colors is not None else find_colours(root, log)
    lossy = any(map(is_lossy, masks))
    if table:
        names = list(class_names) if class_names is not None else list(table)
        missing = [name for name in names if name not in table]
        if missing:
            raise ValueError(f"{root}: expected a colour for each class, and found none for {missing}")
        codes = [65536 * r + 256 * g + b for r, g, b in (table[name] for name in names)]
        file = MaskFile("", tuple(codes), True, nearest=lossy)
        if colors is not None or not _are_indices(masks, file):
            return names, file
        class_names = names
    names, indices, edges = _indexed(root, class_names, masks, lossy, log)
    return names, MaskFile("", tuple(indices), edges=edges, nearest=lossy)


def _are_indices(masks: Sequence[Path], file: MaskFile) -> bool:
    """Tells whether the first mask that can be read has the numbers of the classes of a table, and not its colours."""
    for mask in masks:
        try:
            with Image.open(mask) as image:
                if image.mode not in ("L", "P", "I", "I;16"):
                    return False
            values = mask_values(mask, colored=False)
            unknown = replace(file, path=str(mask)).unknown()
        except (OSError, ValueError):
            continue
        return bool(unknown) and bool(np.isin(values, [*range(len(file.codes)), IGNORE]).all())
    return False


def _indexed(
    root: Path, class_names: Sequence[str] | None, masks: Sequence[Path], lossy: bool, log: Log
) -> tuple[list[str], Sequence[int], frozenset[int]]:
    """Returns the names and the pixel values of the classes of indexed masks, and the values that are edges alone."""
    values = count_values(_readable(masks))
    names = list(class_names) if class_names is not None else _names_in_file(root, log)
    if lossy:
        try:
            levels = lossy_levels(values.counts)
        except ValueError as error:
            raise ValueError(f"{root}: {error}") from error
        changed = sum(count for value, count in values.counts.items() if value not in levels)
        if changed:
            reason = (
                f"a lossy format (JPEG) changed {changed} pixels of {values.counts.total()}; each has the class of "
            )
            log.add("edges", root, None, f"{reason}the nearest of the values {levels}", kept=True)
        found, edges = frozenset(levels), frozenset[int]()
    else:
        found, edges = values.classes, values.edges
        if edges:
            log.add("edges", root, None, values.sentence(), kept=True)
    # White is an object where there are two classes and nothing but black and white, and else it is to be ignored.
    if found == {0, IGNORE} and (names is None or len(names) == 2):
        return names or ["background", "object"], (0, IGNORE), edges
    grey = grey_classes(found)
    if grey is not None and (names is None or len(names) == len(grey)):
        listed = ", ".join(map(str, grey))
        log.note(f"The values of the masks are shades of grey far apart ({listed}); each is a class, by its order.")
        return names or [str(number) for number in grey], grey, edges
    if names is not None:
        return names, range(len(names)), edges
    known = sorted(found - {IGNORE})
    codes = known if edges or lossy else range(max(known, default=-1) + 1)
    return [str(number) for number in codes], codes, edges


def _readable(masks: Iterable[Path]) -> Iterator[np.ndarray]:
    for mask in masks:
        try:
            yield mask_values(mask, colored=False)
        except OSError:
            continue  # `_draft` lists it as a fault
        except ValueError as error:
            raise ValueError(f"{mask}: {error}") from error


def _class_drafts(
    root: Path, pairs: Mapping[str, Sequence[_Pair]], names: Sequence[str], file: MaskFile, check: bool, log: Log
) -> dict[str, list[Draft]]:
    """Returns the drafts of photos with masks of classes.

    Raises:
        ValueError: All pixels of all training masks have one class.
    """
    drafts: dict[str, list[Draft]] = {}
    for role, part in pairs.items():
        pixels: Counter[int] = Counter()
        drafts[role] = []
        for image, name, mask in part:
            draft = _draft(image, name, replace(file, path=str(mask)), check, pixels, log)
            if draft is not None:
                drafts[role].append(draft)
        if check and drafts[role] and len(pixels) == 1:
            ((only, count),) = pixels.items()
            reason = (
                f"all {count} pixels of the {len(drafts[role])} masks of the split {role!r} have the class "
                f"{names[only]!r}, such as in {drafts[role][0].source}"
            )
            if role == "train":
                raise ValueError(f"{root}: {reason}; nothing can be learned from them. Expected two classes or more")
            log.add(
                "one class", drafts[role][0].source, None, f"{reason}; they are kept, and measure little", kept=True
            )
    return drafts


def _draft(image: Path, name: str, made: MaskFile, check: bool, pixels: Counter[int], log: Log) -> Draft | None:
    """Returns the draft of a photo with its mask, and counts the pixels of each class."""
    mask = Path(made.path)
    try:
        with Image.open(mask) as opened:
            size = opened.height, opened.width
        counts = made.counts() if check else {}
    except (OSError, ValueError) as error:
        log.add("broken", mask, None, f"the file cannot be read as a mask ({error}); it is left out")
        return None
    unknown = made.unknown(counts)
    if unknown:
        ordered = sorted(unknown.items(), key=lambda item: -item[1])
        more = f", and {len(ordered) - 5} more" if len(ordered) > 5 else ""
        shown = ", ".join(f"{f'#{v:06x}' if made.colored else v} ({n} pixels)" for v, n in ordered[:5])
        log.add(
            "unknown class", mask, None, f"values that belong to no class: {shown}{more}; they are ignored", kept=True
        )
    if check:
        classes = made.classes(np.array(list(counts), np.int64))
        own = Counter[int]()
        for number, count in zip(classes.tolist(), counts.values(), strict=True):
            own[number] += count
        ignored = own.pop(IGNORE, 0)
        if not own:
            log.add("no class", mask, None, f"all {ignored} pixels are to be ignored; the image is left out")
            return None
        pixels.update(own)
    fitted = _fitted(image, mask, size, log)
    return Draft(image, name, mask, size=fitted, mask=made if fitted == size else replace(made, size=fitted))


def _fitted(image: Path, mask: Path, size: tuple[int, int], log: Log) -> tuple[int, int]:
    """Returns the size of the photo as the mask shows it, where the mask is smaller or larger by a pixel at most."""
    try:
        stored, tag = image_header(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return size  # `assemble` lists it as a fault
    for shown in (stored, turned_size(stored, tag)):
        if size == shown:
            return size
    for shown in (stored, turned_size(stored, tag)):
        if max(abs(size[0] - shown[0]), abs(size[1] - shown[1])) <= 1:
            reason = (
                f"the mask has {size[1]}x{size[0]} pixels (width x height) and {image} {shown[1]}x{shown[0]}; what is "
                "too much is cut at the right and lower edge, and what is missing is ignored"
            )
            log.add("other size", mask, None, reason, kept=True)
            return shown
    return size
