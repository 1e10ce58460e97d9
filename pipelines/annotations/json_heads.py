"""What a JSON file holds on its upper levels, read by a streaming parser: a file of any size, in little memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ijson

__all__ = ["JsonHead", "json_heads"]


@dataclass
class JsonHead:
    """The upper levels of a JSON file, as far as they have been read.

    Attributes:
        keys: Keys of the top level, and the kind of each value: "map", "array", "string", "number" and so on. The
            entries of a top-level list are under the key "".
        values: Of each value of the top level that is an object, its keys; of a top-level list, those of its first
            entry.
        entries: Of each value of the top level that is a list or an object, the keys of its first entry that is an
            object.
        complete: Whether all of the file has been read, without an error.
    """

    keys: dict[str, str] = field(default_factory=dict)
    values: dict[str, set[str]] = field(default_factory=dict)
    entries: dict[str, set[str]] = field(default_factory=dict)
    complete: bool = False


def json_heads(path: Path) -> Iterator[JsonHead]:
    """Reads a JSON file, and yields what is known of it each time that one more value of its upper levels has ended.

    Whoever knows enough stops there, so that the rest of the file is not read. A broken file ends where it is broken.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.json")
    ...     _ = path.write_text('{"info": {}, "images": [{"id": 1}, {"id": 2}]}')
    ...     *_, head = json_heads(path)
    >>> head.keys, head.entries, head.complete
    ({'info': 'map', 'images': 'array'}, {'images': {'id'}}, True)
    """
    head = JsonHead()
    key = ""
    depth = 0
    known: dict[int, set[str]] = {}  # the keys of the objects that are being read and count, by depth
    try:
        with path.open("rb") as file:
            if file.read(3) != b"\xef\xbb\xbf":  # a byte order mark
                file.seek(0)
            for event, value in ijson.basic_parse(file, use_float=True):
                if event == "map_key":
                    if depth == 1:
                        key = value
                    elif depth in known:
                        known[depth].add(value)
                    continue
                if event in ("end_map", "end_array"):
                    known.pop(depth, None)
                    depth -= 1
                    if depth <= 2:
                        yield head
                    continue
                if depth == 1:
                    head.keys.setdefault(key, event.removeprefix("start_"))
                if event in ("start_map", "start_array"):
                    depth += 1
                    place = {2: head.values, 3: head.entries}.get(depth)
                    if event == "start_map" and place is not None and key not in place:
                        place[key] = known[depth] = set()
        head.complete = True
    except (ijson.JSONError, UnicodeDecodeError, OSError):
        pass
    yield head
