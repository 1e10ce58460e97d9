"""The names of classes in annotations: without space around them, and those that are hardly different."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipelines.annotations.drafts import Draft, Found
from pipelines.annotations.faults import Log

__all__ = ["same_word", "with_labels"]


def same_word(name: str) -> str:
    """Returns a form that is equal for names that differ by case, by space, or by the form of Unicode alone.

    >>> same_word("Red  Cell "), same_word("cafe\\u0301") == same_word("CAF\\u00c9")
    ('red cell', True)
    """
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def with_labels(drafts: Mapping[str, Sequence[Draft]], log: Log) -> dict[str, list[Draft]]:
    """Takes space away around the names of classes, and leaves out objects without a name.

    Both are listed as faults, and so is every name that differs from a more frequent one by case, by space or by the
    form of Unicode alone.
    """
    places: dict[str, list[tuple[Draft, Found]]] = defaultdict(list)
    checked = {role: [_checked(draft, places, log) for draft in part] for role, part in drafts.items()}
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in sorted(places, key=lambda name: (-len(places[name]), name)):
        spellings[same_word(name)].append(name)
    for usual, *others in spellings.values():
        for name in others:
            draft, found = places[name][0]
            count = len(places[name])
            log.add(
                "label",
                draft.source,
                found.line,
                f"{name!r} ({count} object{'s' * (count != 1)}) and {usual!r} ({len(places[usual])}) differ by case, "
                "space or the form of Unicode alone, and count as two classes; give them one name if they are one",
                kept=True,
            )
    return checked


def _checked(draft: Draft, places: dict[str, list[tuple[Draft, Found]]], log: Log) -> Draft:
    objects = []
    spaced: list[Found] = []
    for number, found in enumerate(draft.objects, start=1):
        name = found.class_name.strip()
        if not name:
            log.add("broken", draft.source, found.line, f"object {number} of {draft.name} has no label; it is left out")
            continue
        if name != found.class_name:
            spaced.append(found)
            found = replace(found, class_name=name)
        objects.append(found)
        places[name].append((draft, found))
    if spaced:
        first = spaced[0].class_name
        reason = f"{len(spaced)} of {len(draft.objects)} labels of {draft.name} have space around them, such as "
        reason += f"{first!r}, which is read as {first.strip()!r}"
        log.add("label", draft.source, spaced[0].line, reason, kept=True)
    return replace(draft, objects=objects)
