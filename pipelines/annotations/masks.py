"""Mask PNGs: for each photo an image whose pixels are class numbers, or colours that stand for classes."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.annotations.assembling import Draft, assemble
from pipelines.annotations.documents import read_text
from pipelines.annotations.faults import Log
from pipelines.annotations.files import ImageIndex
from pipelines.annotations.layouts import find_mask_folders
from pipelines.annotations.mask_values import count_values
from pipelines.data import Data
from pipelines.prepare.turning import turn_array
from pipelines.sources.split_names import splits_among
from pipelines.sources.splits import GroupBy

__all__ = ["MaskFile", "read"]

IGNORE = 255  # the value of pixels that have no class, in Pascal VOC and most other data

# Endings of the names of mask files, after the name of the photo
_ENDINGS = ("", "_mask", "-mask", "_label", "_seg", ".mask", "_L")


@dataclass(frozen=True)
class MaskFile:
    """A mask that is read when it is needed.

    Args:
        path: File of the mask.
        codes: Pixel value of each class: an index, or a colour as `red * 65536 + green * 256 + blue`.
        colored: Whether `codes` are colours.
        orientation: EXIF orientation of the photo, if the mask was drawn on the photo as it is stored. Defaults to 1.
        edges: Values that are known to be no classes, since anti-aliasing left them at edges.
    """

    path: str
    codes: tuple[int, ...]
    colored: bool = False
    orientation: int = 1
    edges: frozenset[int] = frozenset()

    def read(self) -> np.ndarray:
        """Reads the class of each pixel, `uint8 [h, w]`, upright. Values that belong to no class become 255."""
        values = _values(self.path, colored=self.colored)
        if self.codes == tuple(range(len(self.codes))) and not self.colored:
            classes = np.where(values < len(self.codes), values, IGNORE).astype(np.uint8)
        else:
            order = np.argsort(self.codes)
            sorted_codes = np.array(self.codes)[order]
            at = np.minimum(np.searchsorted(sorted_codes, values), len(order) - 1)
            classes = np.where(sorted_codes[at] == values, order[at], IGNORE).astype(np.uint8)
        return np.ascontiguousarray(turn_array(classes, self.orientation))

    def unknown(self) -> dict[int, int]:
        """Returns the values that belong to no class, and how many pixels have each, without 255 and edges."""
        values, counts = np.unique(_values(self.path, colored=self.colored), return_counts=True)
        known = {*self.codes, *self.edges} | (set() if self.colored else {IGNORE})
        return {v: n for v, n in zip(values.tolist(), counts.tolist(), strict=True) if v not in known}


def _values(path: str | Path, *, colored: bool) -> np.ndarray:
    """Reads indices or colour codes, `int32 [h, w]`.

    Raises:
        ValueError: The mask is coloured, and indices are expected.
    """
    with Image.open(path) as image:
        if colored:
            pixels = np.asarray(image.convert("RGB"), np.int32)
            return pixels @ np.array([65536, 256, 1], np.int32)
        if image.mode in ("RGB", "RGBA"):
            pixels = np.asarray(image)[..., :3]
            if (pixels == pixels[..., :1]).all():
                return pixels[..., 0].astype(np.int32)
            raise ValueError("it is colour-coded: pass the colour of each class, colors={'sky': (0, 0, 255), ...}")
        if image.mode == "LA":
            return np.asarray(image.getchannel("L")).astype(np.int32)
        return np.asarray(image).astype(np.int32)


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

    The folder holds `images/` and `masks/` (or `JPEGImages/` and `SegmentationClass/`). Splits are folders below these
    or above (`images/train` and `masks/train`, or `train/images` and `train/masks`), or lists in
    `ImageSets/Segmentation`. A mask has the name of its photo, which may be followed by `_mask`.

    Args:
        folder: Folder of the data.
        class_names: Names of the classes; value `i` of an indexed mask stands for `class_names[i]`. Defaults to the
            names in `classes.txt` or in `colors`, or else to the numbers themselves. Masks with only the values 0 and
            255 have the classes "background" and "object". Values that anti-aliasing left at edges are no classes.
        colors: Colour (red, green, blue) of each class, for colour-coded masks. Defaults to a table of names and
            colours in the folder, if there is one: `labelmap.txt` (CVAT: `name:r,g,b::`) or `class_dict.csv`
            (`name,r,g,b`).
        valid: Fraction of the images to take for validation, if the data has no validation split.
        test: Fraction of the images to take for testing, if the data has no split but the training split.
        seed: Integer that decides which images are taken.
        group_by: Images of one group stay in one split (`pipelines.read_scenes` describes the values).
        strict: Whether to raise a ValueError at the first fault, instead of listing it.
        check: Whether to decode every mask, and to list values that belong to no class. They count as 255, which
            means "ignore".

    Returns:
        A `Data` of scenes without objects and with a `mask`. `pipelines.annotations` describes what happens to faults.

    Raises:
        ValueError: There are no pairs of photos and masks, `colors` are missing for coloured masks, or there is a
            fault and `strict`.
    """
    root = Path(folder)
    log = Log(strict=strict)
    pairs: dict[str, list[tuple[Path, str, Path]]] = {}
    for role, image_folder, mask_folder in find_mask_folders(root):
        pairs.setdefault(role, []).extend(_pairs(image_folder, mask_folder, log))
    if set(pairs) == {"train"}:
        pairs = _listed(root, pairs["train"], log) or pairs
    found_colors = colors if colors is not None else _find_colors(root, log)
    edges: frozenset[int] = frozenset()
    if found_colors:
        names = list(class_names) if class_names is not None else list(found_colors)
        missing = [name for name in names if name not in found_colors]
        if missing:
            raise ValueError(f"{root}: expected a colour for each class, and found none for {missing}")
        codes: Sequence[int] = [65536 * r + 256 * g + b for r, g, b in (found_colors[name] for name in names)]
    else:
        masks = [mask for part in pairs.values() for _, _, mask in part]
        names, codes, edges = _indexed(root, class_names, masks, log)
    made = MaskFile("", tuple(codes), bool(found_colors), edges=edges)
    drafts = {
        role: [
            draft
            for image, name, mask in part
            if (draft := _draft(image, name, replace(made, path=str(mask)), check, log)) is not None
        ]
        for role, part in pairs.items()
    }
    return assemble(drafts, names, log, valid=valid, test=test, seed=seed, group_by=group_by)


def _pairs(images: Path, masks: Path, log: Log) -> list[tuple[Path, str, Path]]:
    index = ImageIndex(masks)
    photos = ImageIndex(images)
    pairs = []
    used = set()
    for image in photos.paths:
        name = image.relative_to(images)
        stem = name.with_suffix("").as_posix()
        mask = next((m for ending in _ENDINGS if (m := index.find(stem + ending)) is not None), None)
        if mask is None:
            log.add("no annotation", image, None, f"the image has no mask in {masks}; it is left out")
            continue
        used.add(mask)
        pairs.append((image, name.as_posix(), mask))
    for mask in index.paths:
        if mask not in used:
            log.add("missing image", mask, None, f"there is no image of that name in {images}; the mask is left out")
    return pairs


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


def _find_colors(root: Path, log: Log) -> dict[str, tuple[int, int, int]]:
    colors: dict[str, tuple[int, int, int]] = {}
    for name in ("labelmap.txt", "class_dict.csv", "classes.csv"):
        path = root / name
        text = (read_text(path, log) or "") if path.is_file() else ""
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            row = line.split(":")[:2] if name.endswith(".txt") else next(csv.reader([line]))
            values = row[1].split(",") if name.endswith(".txt") and len(row) > 1 else row[1:4]
            try:
                red, green, blue = (int(value) for value in values)
            except ValueError:
                if number > 1:  # the first line may hold the names of the columns
                    reason = f"expected a name and three numbers, received {line!r}; the line is left out"
                    log.add("broken", path, number, reason)
                continue
            colors[row[0].strip()] = (red, green, blue)
    return colors


def _indexed(
    root: Path, class_names: Sequence[str] | None, masks: Sequence[Path], log: Log
) -> tuple[list[str], Sequence[int], frozenset[int]]:
    """Returns the names and the pixel values of the classes of indexed masks, and the values that are edges alone."""
    values = count_values(_readable(masks))
    if values.edges:
        log.add("edges", root, None, values.sentence(), kept=True)
    names = None if class_names is None else list(class_names)
    if names is None and (root / "classes.txt").is_file():
        names = [line.strip() for line in (read_text(root / "classes.txt", log) or "").split("\n") if line.strip()]
    # White is an object where there are two classes and nothing but black and white, and else it is to be ignored.
    if values.classes == {0, IGNORE} and (names is None or len(names) == 2):
        return names or ["background", "object"], (0, IGNORE), values.edges
    if names is not None:
        return names, range(len(names)), values.edges
    known = sorted(values.classes - {IGNORE})
    codes = known if values.edges else range(max(known, default=-1) + 1)
    return [str(number) for number in codes], codes, values.edges


def _readable(masks: Iterable[Path]) -> Iterator[np.ndarray]:
    for mask in masks:
        try:
            yield _values(mask, colored=False)
        except OSError:
            continue  # `_draft` lists it as a fault
        except ValueError as error:
            raise ValueError(f"{mask}: {error}") from error


def _draft(image: Path, name: str, made: MaskFile, check: bool, log: Log) -> Draft | None:
    mask = Path(made.path)
    try:
        with Image.open(mask) as opened:
            size = opened.height, opened.width
        unknown = made.unknown() if check else {}
    except (OSError, ValueError) as error:
        log.add("broken", mask, None, f"the file cannot be read as a mask ({error}); it is left out")
        return None
    if unknown:
        more = f", and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        shown = ", ".join(f"{f'#{v:06x}' if made.colored else v} ({n} pixels)" for v, n in list(unknown.items())[:5])
        log.add(
            "unknown class", mask, None, f"values that belong to no class: {shown}{more}; they are ignored", kept=True
        )
    return Draft(image, name, mask, size=size, mask=made)
