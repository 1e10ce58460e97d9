"""What is wrong with a data set, before anything is trained on it. Nothing is changed and no file is deleted.

Two passes: one over the heads of the files (`read_heads`: sizes, kinds, orientation, exact copies), and one that
decodes every image at a fraction of its size (`pipelines.auditing.duplicates.fingerprints`: unreadable files, plain
images,
near copies). `audit` does both and says what it found as findings, worst first.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.auditing.duplicates import Fingerprints, duplicate_pairs, fingerprints, group, same_pairs
from pipelines.contents import digest
from pipelines.data import Data, Fault, Samples
from pipelines.loading.decoding import MAX_PIXELS

__all__ = ["Audit", "Finding", "Head", "audit", "exclude", "read_exclude_list", "read_heads", "write_exclude_list"]

Progress = Callable[[str, int, int], None]

LONG = 6  # times as long as wide, from which on a shape is worth a look
TINY = 16  # pixels
IMBALANCE = 10  # times as many images in the largest class as in the smallest
FEW = 10  # images of a class to train on

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
}


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of an image file says, and what the file weighs.

    Attributes:
        size: height and width in pixels, upright; (0, 0) if unknown.
        format: as Pillow calls it ("JPEG"), "" if unknown, "array" for pixels.
        mode: of its colours, as Pillow calls it ("RGB", "L", "CMYK", "P", "RGBA", "I;16").
        orientation: EXIF tag, 1 to 8.
        frames: 1, or 2 for two and more.
        num_bytes: of the file.
        digest: a hash of its contents.
        error: why it is no image, "" if it seems to be one.
    """

    size: tuple[int, int] = (0, 0)
    format: str = ""
    mode: str = ""
    orientation: int = 1
    frames: int = 1
    num_bytes: int = 0
    digest: bytes = b""
    error: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing that was found, and where.

    Attributes:
        kind: a few words, always the same for the same thing; see `audit`.
        severity: "error" (results will be wrong), "warning" (worth a look), or "note" (worth knowing).
        message: one sentence with the numbers.
        where: files; for duplicates one tuple of files for each group.
        exclude: files that training is better off without.
    """

    kind: str
    severity: str
    message: str
    where: tuple[Any, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """The result of `audit`.

    Attributes:
        findings: worst first.
        class_names: in the order of the labels.
        counts: images (or objects, in data with boxes) of each class in each split: split to a list in that order.
        statistics: of the images: how many of each format, mode and orientation, and the quantiles of heights, widths,
            aspect ratios (width / height) and bytes.
    """

    findings: tuple[Finding, ...]
    class_names: tuple[str, ...]
    counts: Mapping[str, Sequence[int]]
    statistics: Mapping[str, Any]

    @property
    def exclude(self) -> tuple[str, ...]:
        """Every file that a finding says to leave out, sorted."""
        return tuple(sorted({path for finding in self.findings for path in finding.exclude}))

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
            "class_names": list(self.class_names),
            "counts": {split: list(counts) for split, counts in self.counts.items()},
            "statistics": dict(self.statistics),
            "exclude": list(self.exclude),
        }


def audit(
    data: Data,
    *,
    class_names: Sequence[str] | None = None,
    decode: bool = True,
    progress: Progress | None = None,
) -> Audit:
    """Look for what is wrong with a data set.

    | kind | severity | what is left out by `exclude` |
    |---|---|---|
    | unreadable | error | all |
    | duplicates across splits | error | the copies in the training set; of test and validation, those in validation |
    | label conflict (copies with different labels) | error | all copies |
    | class order (other than the model's) | error | |
    | annotations (faults that the reader found, by kind) | warning | |
    | boxes outside the image, boxes without area | error | |
    | unknown ids in masks | error | |
    | exact duplicates, near duplicates (in one split) | warning | all but the first of each group |
    | constant (an image of one colour) | warning | all |
    | few images, imbalance | warning | |
    | wrong suffix, several frames, tiny, long (`LONG` times as long as wide), left out by the reader | warning | |
    | orientation tags, colour modes, formats | note | |

    Args:
        data: of `pipelines.read_data` or `pipelines.read_scenes`.
        class_names: of the model that is to be used with the data; checked against the data's, in order.
        decode: do the second pass. Without it, files that are damaged behind their head, plain images and near copies
            are not found.
        progress: called now and then with the name of the pass, the images done and the number of all.

    Returns:
        The findings. Files are named by their path; images that are not files by `split/name`.

    Example:

    >>> from pipelines import read_data
    >>> found = audit(read_data("sklearn:digits"))
    >>> found.ok, found.statistics["num_images"], [finding.kind for finding in found.findings]
    (True, 1797, ['tiny'])
    """
    images = _images(data)
    samples, splits = images.samples, images.splits
    report = progress or (lambda name, done, total: None)
    heads = read_heads(samples, progress=lambda done, total: report("reading the files", done, total))
    found = None
    if decode:
        found = fingerprints(samples, progress=lambda done, total: report("decoding the images", done, total))
    findings = [
        *_class_order(data.class_names, class_names),
        *_unreadable(images, heads, found),
        *_duplicates(images, heads, found),
        *_suspicious(images, heads, found),
        *_classes(data.class_names, images.counts),
        *(_annotations(data) if data.kind == "boxes" else _left_out(data.skipped)),
        *_kinds(images, heads),
    ]
    order = ("error", "warning", "note")
    findings.sort(key=lambda finding: order.index(finding.severity))
    statistics = {"num_images": len(samples), **_statistics(heads), "splits": dict(Counter(splits))}
    return Audit(tuple(findings), tuple(data.class_names), images.counts, statistics)


@dataclass(frozen=True)
class _Images:
    """All images of a data set, one after the other, whatever kind of data set it is."""

    samples: Samples
    splits: list[str]
    paths: list[str]  # how findings call them
    labels: list[Any]  # what copies have to agree in; None where labels are not of the image
    counts: dict[str, list[int]]


def _images(data: Data) -> _Images:
    images: list[Any] = []
    names: list[str] = []
    splits: list[str] = []
    labels: list[Any] = []
    counts = {}
    for split, part in data.splits.items():
        new = list(part.images)
        names += part.names
        if isinstance(part, Samples):
            own = part.labels
            labels += [label.tobytes() for label in own]
        else:
            own = np.concatenate([np.zeros(0, np.int32), *(scene.classes for scene in part)])
            labels += [None] * len(part)
        images += new
        splits += [split] * len(new)
        counts[split] = _count(own, len(data.class_names)) if data.kind not in ("numbers", "several") else []
    paths = [
        image if isinstance(image, str) else f"{split}/{name}"
        for image, name, split in zip(images, names, splits, strict=True)
    ]
    if len({image.shape for image in images if isinstance(image, np.ndarray)}) > 1 or (
        len({type(image) for image in images}) > 1
    ):  # pixels of several sizes, or mixed with files: as files in memory they can be told together
        images = [_encoded(image) for image in images]
    stacked: Any = np.stack(images) if images and isinstance(images[0], np.ndarray) else images
    return _Images(Samples(stacked, np.zeros(len(images)), names), splits, paths, labels, counts)


def _count(labels: np.ndarray, num_classes: int) -> list[int]:
    """How often each class occurs: class indices `[n]`, or `[n, classes]` of zeros and ones."""
    return (labels > 0).sum(0).tolist() if labels.ndim == 2 else np.bincount(labels, minlength=num_classes).tolist()


def _encoded(image: Any) -> bytes:
    if isinstance(image, np.ndarray):
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, "BMP")
        return buffer.getvalue()
    return Path(image).read_bytes() if isinstance(image, str) else image


# First pass


def read_heads(samples: Samples, *, progress: Callable[[int, int], None] | None = None) -> list[Head]:
    """Read every file once, its head for what it says and all of it for a hash; nothing is decoded.

    Args:
        samples: `n` images of any kind.
        progress: called now and then with the number of images done and the number of all.

    Returns:
        `n` heads. A file that cannot be read, or is no image by its head, has an `error`.

    Example:

    >>> head = read_heads(Samples([b"hello"], [0], ["a"]))[0]
    >>> head.error, head.num_bytes
    ("not an image: begins with b'hello'", 5)
    """
    heads: list[Head] = []
    with ThreadPoolExecutor(4) as pool:
        for head in pool.map(_head, samples.images, chunksize=64):
            heads.append(head)
            if progress is not None and (len(heads) % 1000 == 0 or len(heads) == len(samples)):
                progress(len(heads), len(samples))
    return heads


def _head(image: Any) -> Head:
    if isinstance(image, np.ndarray):
        return Head(image.shape[:2], "array", "RGB", num_bytes=image.nbytes, digest=digest(image))
    if isinstance(image, str):
        try:
            image = Path(image).read_bytes()
        except OSError as error:
            return Head(error=f"cannot be opened: {(error.strerror or str(error)).lower()}")
    if not image:
        return Head(error="an empty file (0 bytes)")
    unknown = Head(num_bytes=len(image), digest=digest(image))
    try:
        picture = Image.open(BytesIO(image))
        tag = _orientation(picture)
    except Image.UnidentifiedImageError:
        return replace(unknown, error=f"not an image: begins with {image[:16]!r}")
    except Exception as error:  # Pillow's readers raise whatever their format's code does
        return replace(unknown, error=f"damaged: {error}")
    width, height = picture.size
    return replace(
        unknown,
        size=(width, height) if tag >= 5 else (height, width),
        format=picture.format or "",
        mode=picture.mode,
        orientation=tag,
        frames=1 + bool(getattr(picture, "is_animated", False) and picture.format != "MPO"),
        error=f"too large: {width} x {height} pixels" if width * height > MAX_PIXELS else "",
    )


def _orientation(picture: Image.Image) -> int:
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1  # Pillow would decode the whole image to look behind the pixels
    tag = picture.getexif().get(274, 1)
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1


def _statistics(heads: Sequence[Head]) -> dict[str, Any]:
    known = [head for head in heads if not head.error]
    columns: dict[str, list[float]] = {
        "height": [head.size[0] for head in known],
        "width": [head.size[1] for head in known],
        "aspect_ratio": [head.size[1] / head.size[0] for head in known],
        "bytes": [head.num_bytes for head in known],
    }
    quantiles = {
        name: dict(zip(("min", "5%", "median", "95%", "max"), _rounded(values), strict=True))
        for name, values in columns.items()
        if values
    }
    return {
        "formats": dict(Counter(head.format for head in known).most_common()),
        "modes": dict(Counter(head.mode for head in known).most_common()),
        "orientations": {str(tag): count for tag, count in sorted(Counter(head.orientation for head in known).items())},
        **quantiles,
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), 3) for value in np.quantile(values, [0, 0.05, 0.5, 0.95, 1])]


# Findings


def _class_order(names: Sequence[str], expected: Sequence[str] | None) -> Iterable[Finding]:
    if expected is None or tuple(names) == tuple(expected):
        return
    missing = [name for name in expected if name not in names]
    extra = [name for name in names if name not in expected]
    if missing or extra:
        text = f"the data lacks {missing} of the model's classes, and has {extra} besides"
    else:
        first = next(i for i, (ours, theirs) in enumerate(zip(names, expected, strict=True)) if ours != theirs)
        text = f"the classes are the model's in another order: number {first} is {names[first]!r}, for the model "
        text += f"{expected[first]!r}. Every label would be wrong"
    yield Finding("class order", "error", text)


def _unreadable(images: _Images, heads: Sequence[Head], found: Fingerprints | None) -> Iterable[Finding]:
    reasons = {path: head.error for path, head in zip(images.paths, heads, strict=True) if head.error}
    if found is not None:
        for index in np.flatnonzero(found.spread < 0).tolist():
            reasons.setdefault(images.paths[index], "damaged")
    if reasons:
        first = next(iter(reasons))
        text = f"{_number(len(reasons), 'image')} cannot be decoded; the first: {first}: {reasons[first]}"
        yield Finding("unreadable", "error", text, tuple(reasons.items()), tuple(reasons))


def _duplicates(images: _Images, heads: Sequence[Head], found: Fingerprints | None) -> Iterable[Finding]:
    exact = group(len(heads), same_pairs([head.digest for head in heads]))
    pairs = same_pairs([head.digest for head in heads])
    near = exact if found is None else group(len(heads), np.concatenate([pairs, duplicate_pairs(found)]))
    across, conflicts, same, alike = [], [], [], []
    for members in _groups(near):
        part = [images.splits[index] for index in members]
        if len({images.labels[index] for index in members} - {None}) > 1:
            conflicts.append(members)
        if len(set(part)) > 1:
            across.append(members)
        elif len({exact[index] for index in members}) == 1:
            same.append(members)
        else:
            alike.append(members)

    def paths(members: Iterable[int]) -> tuple[str, ...]:
        return tuple(images.paths[index] for index in members)

    if across:
        excluded: list[int] = []
        for members in across:
            kept = next(split for split in ("test", "valid") if split in {images.splits[i] for i in members})
            excluded += [index for index in members if images.splits[index] != kept]
        text = f"{_number(len(across), 'image')} (with {sum(map(len, across))} copies, exact or near) "
        text += "in more than one split: what is measured on them is too good"
        yield Finding("duplicates across splits", "error", text, tuple(map(paths, across)), paths(excluded))
    if conflicts:
        text = f"{_number(len(conflicts), 'image')} with copies of different labels"
        everything = paths(index for members in conflicts for index in members)
        yield Finding("label conflict", "error", text, tuple(map(paths, conflicts)), everything)
    for kind, groups in (("exact duplicates", same), ("near duplicates", alike)):
        if groups:
            rest = [index for members in groups for index in members[1:]]
            text = f"{_number(len(groups), 'image')} with {_number(len(rest), 'further copy', 'further copies')} "
            text += "in the same split"
            yield Finding(kind, "warning", text, tuple(map(paths, groups)), paths(rest))


def _groups(numbers: np.ndarray) -> list[list[int]]:
    """The members of each group of two and more, in the order of the images."""
    groups = defaultdict(list)
    for index, number in enumerate(numbers.tolist()):
        groups[number].append(index)
    return [members for members in groups.values() if len(members) > 1]


def _suspicious(images: _Images, heads: Sequence[Head], found: Fingerprints | None) -> Iterable[Finding]:
    good = [(path, head) for path, head in zip(images.paths, heads, strict=True) if not head.error]
    if found is not None:
        plain = tuple(images.paths[index] for index in np.flatnonzero(found.spread == 0))
        if plain:
            yield Finding("constant", "warning", f"{_number(len(plain), 'image')} of a single colour", plain, plain)
    tests: list[tuple[str, str, Callable[[str, Head], bool]]] = [
        ("wrong suffix", "named as another format than the contents are", _has_wrong_suffix),
        ("several frames", "with several frames, of which only the first is used", lambda _, head: head.frames > 1),
        ("tiny", f"of less than {TINY} pixels in height or width", lambda _, head: min(head.size) < TINY),
        ("long", f"{LONG} or more times as long as wide", lambda _, head: max(head.size) >= LONG * min(head.size)),
    ]
    for kind, text, test in tests:
        where = tuple(path for path, head in good if test(path, head))
        if where:
            yield Finding(kind, "warning", f"{_number(len(where), 'image')} {text}", where)


def _has_wrong_suffix(path: str, head: Head) -> bool:
    suffix = os.path.splitext(path)[1].lower()
    known = any(suffix in suffixes for suffixes in _SUFFIXES.values())
    return known and head.format in _SUFFIXES and suffix not in _SUFFIXES[head.format]


def _classes(names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> Iterable[Finding]:
    train = dict(zip(names, counts["train"], strict=False))
    if len(train) < 2 or not any(train.values()):
        return
    few = {name: count for name, count in train.items() if count < FEW}
    if few:
        text = ", ".join(f"{name!r}: {count}" for name, count in list(few.items())[:20])
        yield Finding("few images", "warning", f"{_number(len(few), 'class', 'classes')} with few to train on: {text}")
    most, least = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
    if train[most] >= IMBALANCE * max(train[least], 1):
        text = f"{most!r} occurs {train[most]} times in the training set, {least!r} {train[least]} times; "
        yield Finding("imbalance", "warning", text + "consider `balance` in pipelines.batches, or class weights")


def _left_out(skipped: Sequence[Fault]) -> Iterable[Finding]:
    if skipped:
        text = f"{_number(len(skipped), 'file')} left out while listing; the first: {skipped[0]}"
        yield Finding("left out", "warning", text, tuple((fault.place, fault.reason) for fault in skipped))


def _annotations(data: Data) -> Iterable[Finding]:
    by_kind = defaultdict(list)
    for fault in data.faults:
        by_kind[fault.kind].append(fault)
    for kind, faults in by_kind.items():
        text = f"{_number(len(faults), 'annotation')}: {kind}; the first: {faults[0]}"
        yield Finding("annotations", "warning", text, tuple((fault.place, fault.reason) for fault in faults))
    outside, empty, unknown = [], [], []
    for part in data.splits.values():
        for scene in part:
            height, width = scene.size
            x1, y1, x2, y2 = scene.boxes.T
            if ((x1 < 0) | (y1 < 0) | (x2 > width) | (y2 > height)).any():
                outside.append(scene.name)
            if ((x2 <= x1) | (y2 <= y1)).any():
                empty.append(scene.name)
            strange = _unknown_ids(scene.mask, len(data.class_names))
            if strange:
                unknown.append((scene.name, f"values {strange[:10]}"))
    for kind, names, text in (
        ("boxes outside", outside, "with boxes that reach out of the image"),
        ("boxes without area", empty, "with boxes of no area"),
        ("unknown ids", unknown, "whose masks hold values that stand for no class"),
    ):
        if names:
            yield Finding(kind, "error", f"{_number(len(names), 'image')} {text}", tuple(names))


def _unknown_ids(mask: Any, num_classes: int) -> list[int]:
    if mask is None:
        return []
    if hasattr(mask, "unknown"):
        try:
            return sorted(mask.unknown())
        except (OSError, ValueError):
            return []  # a mask that cannot be read is among the reader's faults
    values = np.unique(np.asarray(mask))
    return [value for value in values.tolist() if value >= num_classes and value != 255]


def _kinds(images: _Images, heads: Sequence[Head]) -> Iterable[Finding]:
    turned = tuple(path for path, head in zip(images.paths, heads, strict=True) if head.orientation != 1)
    if turned:
        text = f"{_number(len(turned), 'image')} with an EXIF orientation, which is honoured here and not everywhere"
        yield Finding("orientation tags", "note", text, turned)
    for kind, key in (("colour modes", "mode"), ("formats", "format")):
        counts = Counter(getattr(head, key) for head in heads if not head.error)
        if len(counts) > 1:
            listed = ", ".join(f"{value}: {count}" for value, count in counts.most_common())
            rare = tuple(
                path
                for path, head in zip(images.paths, heads, strict=True)
                if not head.error and getattr(head, key) != counts.most_common(1)[0][0]
            )
            yield Finding(kind, "note", f"of several {kind}: {listed}", rare)


def _number(count: int, noun: str, nouns: str = "") -> str:
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


# Leaving out


def write_exclude_list(path: str | os.PathLike[str], audit: Audit) -> int:
    """Write the files that are better left out, one a line, for `zoo fit --exclude`. Returns how many they are."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        file.write("# Files that `zoo audit` would leave out of training. Delete the lines of those to keep.\n")
        file.writelines(f"{excluded}\n" for excluded in audit.exclude)
    return len(audit.exclude)


def read_exclude_list(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The files that a list names, one a line; empty lines and those that begin with # do not count."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.rstrip("\r\n") for line in file]
    return tuple(line for line in lines if line and not line.startswith("#"))


def exclude(data: Data, paths: Iterable[str]) -> Data:
    """Returns a data set without some of its images; what is left out is added to `faults`.

    Splits stay as they are: no image moves because another is left out.

    Args:
        data: What `pipelines.read_data` or `pipelines.read_scenes` returned.
        paths: Files, by any path that leads to them, or `split/name` for images that are not files, as
            `Audit.exclude` and `read_exclude_list` give them.

    Raises:
        ValueError: a path that is none of the data set's, or nothing left of a class in the training set.

    Example:

    >>> from pipelines import read_data
    >>> digits = read_data("sklearn:digits")
    >>> len(exclude(digits, [f"train/{digits.train.names[0]}"])) - len(digits)
    -1
    """
    wanted = {_place(path) for path in paths}
    parts: dict[str, Any] = {}
    faults = list(data.faults)
    met: set[str] = set()
    for split, part in data.splits.items():
        places = [
            _place(image) if isinstance(image, str) else f"{split}/{name}"
            for image, name in zip(part.images, part.names, strict=True)
        ]
        out = np.array([place in wanted for place in places], bool)
        met |= wanted.intersection(places)
        faults += [
            Fault(image if isinstance(image, str) else place, "excluded as asked", kind="excluded")
            for image, place, is_out in zip(part.images, places, out, strict=True)
            if is_out
        ]
        parts[split] = part[~out]
    met |= {_place(fault.path) for fault in data.skipped}  # those are left out already
    strangers = sorted(wanted - met)
    if strangers:
        raise ValueError(
            f"{len(strangers)} of {len(wanted)} files to exclude are not in the data; the first: {strangers[0]}. "
            "Make the list anew with `zoo audit DATA --exclude-to list.txt`, on the same data"
        )
    if len(data.train) and not len(parts["train"]):
        raise ValueError(f"excluding {len(wanted)} files leaves no image to train on")
    lost = np.setdiff1d(data.train.labels, parts["train"].labels) if data.kind == "classes" else ()
    if len(lost):
        names = ", ".join(repr(data.class_names[label]) for label in lost)
        raise ValueError(f"excluding {len(wanted)} files leaves no image to train on of {names}")
    return replace(data, **parts, faults=tuple(faults))


def _place(path: str) -> str:
    """One spelling for all paths to a file; names that are not files stay as they are."""
    return os.path.realpath(path) if os.path.exists(path) else path
