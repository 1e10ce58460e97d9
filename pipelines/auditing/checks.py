"""The audit of a data set before training. Each check looks for one kind of problem; nothing is changed or deleted.

The audit has two passes. The first reads the heads of the files (`pipelines.auditing.heads.read_heads`: sizes, formats,
orientation, exact copies). The second decodes every image at a fraction of its size
(`pipelines.auditing.fingerprints.compute_fingerprints`: unreadable files, images of one colour, near copies).
"""

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.annotations.labels import same_word
from pipelines.auditing.duplicates import duplicate_pairs, group, same_pairs
from pipelines.auditing.findings import Audit, Finding
from pipelines.auditing.fingerprints import Fingerprints, compute_fingerprints
from pipelines.auditing.heads import Head, image_statistics, read_heads
from pipelines.auditing.image_lists import ImageList, image_list
from pipelines.data import Data, Fault
from pipelines.usable import parts_without_objects

__all__ = ["audit"]

Progress = Callable[[str, int, int], None]

LONG = 6  # An image whose longer side is at least this many times its shorter side is reported.
TINY = 16  # An image with fewer pixels than this in height or width is reported.
IMBALANCE = 10  # Classes are reported if the largest has this many times the images of the smallest.
FEW = 10  # A class with fewer images than this to train on is reported.

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
    """Looks for problems in a data set.

    | kind of finding | severity | files that `Audit.exclude` lists |
    |---|---|---|
    | unreadable | error | all |
    | duplicates across splits | error | copies in the training set; if none is there, copies in the validation set |
    | label conflict (copies with different labels) | error | all copies |
    | class order (different from the model's) | error | |
    | no objects (to learn from, to validate on; a warning for the test images) | error | |
    | annotations (faults that the reader reported, one finding for each kind) | warning | |
    | boxes outside the image, boxes without area | error | |
    | unknown ids in masks | error | |
    | exact duplicates, near duplicates (in one split) | warning | all but the first of each group |
    | constant (an image of a single colour) | warning | all |
    | few images, imbalance, similar names (of classes that differ by case, space or Unicode form) | warning | |
    | wrong suffix, several frames, tiny, long (`LONG` times as long as wide), left out by the reader | warning | |
    | orientation tags, colour modes, formats, reading (what the data were recognised as, why, and what was not used) | note | |

    Args:
        data: What `pipelines.read_data` or `pipelines.read_scenes` returned.
        class_names: Class names of the model that will be used with the data, in the model's order. If they are given,
            the names in the data have to be the same, in the same order.
        decode: Whether to decode the images in a second pass. Without it, files that are damaged after their head,
            images of a single colour, and near copies are not found.
        progress: Function that is called now and then with the name of the pass, the number of images that are done,
            and the number of all images.

    Returns:
        The findings. They name a file by its path, and an image that is not a file by `split/name`.

    Example:

    >>> from pipelines import read_data
    >>> result = audit(read_data("sklearn:digits"))
    >>> result.ok, result.statistics["num_images"], [finding.kind for finding in result.findings]
    (True, 1797, ['tiny'])
    """
    images = image_list(data)
    samples, splits = images.samples, images.splits
    report = progress or (lambda name, done, total: None)
    heads = read_heads(samples, progress=lambda done, total: report("reading the files", done, total))
    fingerprints = None
    if decode:
        fingerprints = compute_fingerprints(
            samples, progress=lambda done, total: report("decoding the images", done, total)
        )
    findings = [
        *_class_order(data.class_names, class_names),
        *_unreadable(images, heads, fingerprints),
        *_duplicates(images, heads, fingerprints),
        *_suspicious(images, heads, fingerprints),
        *_classes(data.class_names, images.counts),
        *_similar_names(data),
        *_without_objects(data),
        *(_annotations(data) if data.kind == "boxes" else _left_out(data.skipped)),
        *(Finding("reading", "note", note.removesuffix(".")) for note in data.notes),
        *_formats(images, heads),
    ]
    order = ("error", "warning", "note")
    findings.sort(key=lambda finding: order.index(finding.severity))
    statistics = {"num_images": len(samples), **image_statistics(heads), "splits": dict(Counter(splits))}
    return Audit(tuple(findings), tuple(data.class_names), images.counts, statistics)


def _class_order(names: Sequence[str], expected: Sequence[str] | None) -> Iterable[Finding]:
    if expected is None or tuple(names) == tuple(expected):
        return
    missing = [name for name in expected if name not in names]
    extra = [name for name in names if name not in expected]
    if missing or extra:
        text = f"The data lacks {missing} of the model's classes, and has {extra}, which the model does not have"
    else:
        first = next(i for i, pair in enumerate(zip(names, expected, strict=True)) if pair[0] != pair[1])
        text = (
            f"The classes of the data and of the model have different orders, so every label would be wrong. Class "
            f"number {first} is {names[first]!r} in the data and {expected[first]!r} in the model"
        )
    yield Finding("class order", "error", text)


def _unreadable(images: ImageList, heads: Sequence[Head], fingerprints: Fingerprints | None) -> Iterable[Finding]:
    reasons = {path: head.error for path, head in zip(images.paths, heads, strict=True) if head.error}
    if fingerprints is not None:
        for index in np.flatnonzero(fingerprints.spread < 0).tolist():
            reasons.setdefault(images.paths[index], "damaged")
    if reasons:
        first = next(iter(reasons))
        text = f"{_number(len(reasons), 'image', 'images')} cannot be decoded. The first is {first}: {reasons[first]}"
        yield Finding("unreadable", "error", text, tuple(reasons.items()), tuple(reasons))


def _duplicates(images: ImageList, heads: Sequence[Head], fingerprints: Fingerprints | None) -> Iterable[Finding]:
    pairs = same_pairs([head.digest for head in heads])
    exact = group(len(heads), pairs)
    near = exact
    if fingerprints is not None:
        near = group(len(heads), np.concatenate([pairs, duplicate_pairs(fingerprints)]))
    across, conflicts, same, similar = [], [], [], []
    for members in _groups(near):
        if len({images.labels[index] for index in members} - {None}) > 1:
            conflicts.append(members)
        if len({images.splits[index] for index in members}) > 1:
            across.append(members)
        elif len({exact[index] for index in members}) == 1:
            same.append(members)
        else:
            similar.append(members)

    def paths(members: Iterable[int]) -> tuple[str, ...]:
        return tuple(images.paths[index] for index in members)

    if across:
        excluded: list[int] = []
        for members in across:
            splits = {images.splits[index] for index in members}
            kept = next(split for split in ("test", "valid") if split in splits)
            excluded += [index for index in members if images.splits[index] != kept]
        text = (
            f"{_number(len(across), 'image has', 'images have')} exact or near copies in more than one split "
            f"({sum(map(len, across))} files). Results that are measured on them are too good"
        )
        yield Finding("duplicates across splits", "error", text, tuple(map(paths, across)), paths(excluded))
    if conflicts:
        text = f"{_number(len(conflicts), 'image has', 'images have')} copies with different labels"
        everything = paths(index for members in conflicts for index in members)
        yield Finding("label conflict", "error", text, tuple(map(paths, conflicts)), everything)
    for kind, groups in (("exact duplicates", same), ("near duplicates", similar)):
        if groups:
            rest = [index for members in groups for index in members[1:]]
            copies = _number(len(rest), "copy", "copies")
            text = f"{_number(len(groups), 'image has', 'images have')} {copies} in the same split"
            yield Finding(kind, "warning", text, tuple(map(paths, groups)), paths(rest))


def _groups(numbers: np.ndarray) -> list[list[int]]:
    """Returns the members of each group of two or more, in the order of the images."""
    groups = defaultdict(list)
    for index, number in enumerate(numbers.tolist()):
        groups[number].append(index)
    return [members for members in groups.values() if len(members) > 1]


def _suspicious(images: ImageList, heads: Sequence[Head], fingerprints: Fingerprints | None) -> Iterable[Finding]:
    good = [(path, head) for path, head in zip(images.paths, heads, strict=True) if not head.error]
    if fingerprints is not None:
        plain = tuple(images.paths[index] for index in np.flatnonzero(fingerprints.spread == 0))
        if plain:
            text = f"{_number(len(plain), 'image has', 'images have')} a single colour"
            yield Finding("constant", "warning", text, plain, plain)
    tests: list[tuple[str, str, Callable[[str, Head], bool]]] = [
        ("wrong suffix", "a suffix that belongs to another format", _has_wrong_suffix),
        ("several frames", "several frames, of which only the first is used", lambda _, head: head.frames > 1),
        ("tiny", f"less than {TINY} pixels in height or width", lambda _, head: min(head.size) < TINY),
        (
            "long",
            f"a longer side of {LONG} or more times the shorter side",
            lambda _, head: max(head.size) >= LONG * min(head.size),
        ),
    ]
    for kind, text, test in tests:
        where = tuple(path for path, head in good if test(path, head))
        if where:
            yield Finding(kind, "warning", f"{_number(len(where), 'image has', 'images have')} {text}", where)


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
        listed = ", ".join(f"{name!r}: {count}" for name, count in list(few.items())[:20])
        text = f"{_number(len(few), 'class has', 'classes have')} fewer than {FEW} images to train on ({listed})"
        yield Finding("few images", "warning", text)
    most, least = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
    if train[most] >= IMBALANCE * max(train[least], 1):
        text = (
            f"{most!r} occurs {train[most]} times in the training set, and {least!r} {train[least]} times. Consider "
            "`balance` in pipelines.batches, or class weights"
        )
        yield Finding("imbalance", "warning", text)


def _without_objects(data: Data) -> Iterable[Finding]:
    for name, sentence in parts_without_objects(data).items():
        severity = "warning" if name == "test" else "error"
        where = tuple(scene.image if isinstance(scene.image, str) else scene.name for scene in data.splits[name])
        yield Finding("no objects", severity, sentence[:1].upper() + sentence[1:], where)


def _similar_names(data: Data) -> Iterable[Finding]:
    """Finds classes, and labels of targets, that people would call the same."""
    targets = [target.class_names for target in data.targets if target.kind != "numbers"]
    for names in targets or [data.class_names if data.kind != "numbers" else ()]:
        spellings = defaultdict(list)
        for name in names:
            spellings[same_word(name)].append(name)
        for same in spellings.values():
            if len(same) > 1:
                # Forms of Unicode look alike: there, letters other than those of ASCII are shown by their numbers.
                show = repr if len({unicodedata.normalize("NFC", name) for name in same}) == len(same) else ascii
                text = (
                    f"The classes {', '.join(map(show, same))} differ by case, space or the form of Unicode alone. If "
                    "they are one, give them one name"
                )
                yield Finding("similar names", "warning", text)


def _left_out(skipped: Sequence[Fault]) -> Iterable[Finding]:
    if skipped:
        text = f"{_number(len(skipped), 'file was', 'files were')} left out when the data was read. "
        text += f"The first is {skipped[0]}"
        yield Finding("left out", "warning", text, tuple((fault.place, fault.reason) for fault in skipped))


def _annotations(data: Data) -> Iterable[Finding]:
    by_kind = defaultdict(list)
    for fault in data.faults:
        by_kind[fault.kind].append(fault)
    for kind, faults in by_kind.items():
        text = f'{_number(len(faults), "annotation has", "annotations have")} the fault "{kind}". '
        text += f"The first is {faults[0]}"
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
            values = _unknown_ids(scene.mask, len(data.class_names))
            if values:
                unknown.append((scene.name, f"values {values[:10]}"))
    for kind, places, text in (
        ("boxes outside", outside, "boxes that reach out of the image"),
        ("boxes without area", empty, "boxes without an area"),
        ("unknown ids", unknown, "values in the mask that belong to no class"),
    ):
        if places:
            yield Finding(kind, "error", f"{_number(len(places), 'image has', 'images have')} {text}", tuple(places))


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


def _formats(images: ImageList, heads: Sequence[Head]) -> Iterable[Finding]:
    turned = tuple(path for path, head in zip(images.paths, heads, strict=True) if head.orientation != 1)
    if turned:
        text = f"{_number(len(turned), 'image has', 'images have')} an EXIF orientation. Some other programs ignore it"
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
            yield Finding(kind, "note", f"The images have several {kind} ({listed})", rare)


def _number(count: int, singular: str, plural: str) -> str:
    """Returns the count with the right form of the words after it.

    >>> _number(1, "image has", "images have"), _number(2, "image has", "images have")
    ('1 image has', '2 images have')
    """
    return f"{count} {singular if count == 1 else plural}"
