"""The audit of a data set: each check looks for one kind of fault."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.auditing.duplicates import Fingerprints, duplicate_pairs, fingerprints, group, same_pairs
from pipelines.auditing.findings import Audit, Finding
from pipelines.auditing.heads import Head, read_heads, statistics_of
from pipelines.auditing.image_lists import ImageList, image_list
from pipelines.data import Data, Fault

__all__ = ["audit"]

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
    images = image_list(data)
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
    statistics = {"num_images": len(samples), **statistics_of(heads), "splits": dict(Counter(splits))}
    return Audit(tuple(findings), tuple(data.class_names), images.counts, statistics)


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


def _unreadable(images: ImageList, heads: Sequence[Head], found: Fingerprints | None) -> Iterable[Finding]:
    reasons = {path: head.error for path, head in zip(images.paths, heads, strict=True) if head.error}
    if found is not None:
        for index in np.flatnonzero(found.spread < 0).tolist():
            reasons.setdefault(images.paths[index], "damaged")
    if reasons:
        first = next(iter(reasons))
        text = f"{_number(len(reasons), 'image')} cannot be decoded; the first: {first}: {reasons[first]}"
        yield Finding("unreadable", "error", text, tuple(reasons.items()), tuple(reasons))


def _duplicates(images: ImageList, heads: Sequence[Head], found: Fingerprints | None) -> Iterable[Finding]:
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


def _suspicious(images: ImageList, heads: Sequence[Head], found: Fingerprints | None) -> Iterable[Finding]:
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


def _kinds(images: ImageList, heads: Sequence[Head]) -> Iterable[Finding]:
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
