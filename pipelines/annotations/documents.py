"""Reading of text, JSON and XML, with the line of each fault, and without harm from hostile files."""

import bisect
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any
from xml.parsers import expat

from pipelines.annotations.faults import Log

__all__ = ["Json", "Node", "read_json", "read_text", "read_xml"]


def read_text(path: Path, log: Log) -> str | None:
    """Reads a UTF-8 file, without its byte order mark.

    Args:
        path: Text file.
        log: Log to which a fault is added if the file cannot be opened or is not UTF-8.

    Returns:
        The text, or None if there was a fault.
    """
    try:
        contents = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        log.add("broken", path, None, f"the file cannot be opened ({reason}); it is left out")
        return None
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = contents.count(b"\n", 0, error.start) + 1
        log.add("encoding", path, line, f"byte {contents[error.start]:#04x} is not UTF-8; the file is left out")
        return None


class Json:
    """A parsed JSON file, with the lines on which the values of its upper levels begin.

    Attributes:
        value: The parsed value.
    """

    def __init__(self, value: Any, text: str, starts: dict[tuple, Any]) -> None:
        self.value = value
        self._starts = starts
        self._ends = [match.start() for match in re.finditer("\n", text)]

    def line(self, *keys: str | int) -> int:
        """Returns the line of `value[keys[0]][keys[1]]...`, or of the innermost value around it whose line is known.

        >>> document = parse_json('{"a": 1,\\n "b": [7,\\n 8]}', depth=2)
        >>> document.line("b"), document.line("b", 1)
        (2, 3)
        """
        for end in range(len(keys), 0, -1):
            siblings = self._starts.get(keys[: end - 1])
            if siblings is not None:
                return bisect.bisect_left(self._ends, siblings[keys[end - 1]]) + 1
        return 1


def read_json(path: Path, log: Log, *, depth: int = 2) -> Json | None:
    """Reads a JSON file.

    Args:
        path: JSON file.
        log: Log to which a fault is added if the file cannot be read.
        depth: Number of levels for whose values the lines are known.

    Returns:
        The document, or None if there was a fault.
    """
    text = read_text(path, log)
    if text is None:
        return None
    try:
        return parse_json(text, depth=depth)
    except json.JSONDecodeError as error:
        log.add("broken", path, error.lineno, f"not valid JSON: {error.msg}; the file is left out")
    except ValueError as error:  # It has a whole number of more digits than Python converts.
        log.add("broken", path, None, f"not usable JSON: {error}; the file is left out")
    except RecursionError:
        log.add("broken", path, None, "the JSON is nested thousands of levels deep; the file is left out")
    return None


def parse_json(text: str, *, depth: int) -> Json:
    """Parses JSON, and notes the lines of the values of its first `depth` levels.

    Raises:
        json.JSONDecodeError: The text is not valid JSON.
    """
    starts: dict[tuple, Any] = {}
    at = _past_space(text, 0)
    value, at = _parse(text, at, depth, (), starts)
    at = _past_space(text, at)
    if at != len(text):
        raise json.JSONDecodeError("Extra data", text, at)
    return Json(value, text, starts)


_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


def _past_space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


def _parse(text: str, at: int, depth: int, path: tuple, starts: dict[tuple, Any]) -> tuple[Any, int]:
    """Returns the value that begins at `at`, and where it ends. Below `depth`, the standard library parses, in C."""
    opening = text[at : at + 1]
    if depth == 0 or opening not in ("{", "["):
        return _DECODER.raw_decode(text, at)
    closing = "}" if opening == "{" else "]"
    value: Any = {} if opening == "{" else []
    begins: Any = {} if opening == "{" else []
    starts[path] = begins
    at = _past_space(text, at + 1)
    if text[at : at + 1] == closing:
        return value, at + 1
    while True:
        if opening == "{":
            if text[at : at + 1] != '"':
                raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
            key, at = _DECODER.raw_decode(text, at)
            at = _past_space(text, at)
            if text[at : at + 1] != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
            at = _past_space(text, at + 1)
            begins[key] = at
            value[key], at = _parse(text, at, depth - 1, (*path, key), starts)
        else:
            begins.append(at)
            item, at = _parse(text, at, depth - 1, (*path, len(value)), starts)
            value.append(item)
        at = _past_space(text, at)
        mark = text[at : at + 1]
        if mark == closing:
            return value, at + 1
        if mark != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _past_space(text, at + 1)


class Node(ElementTree.Element):
    """An XML element with the line on which it begins."""

    line: int

    def words(self, path: str) -> str:
        """Returns the text of the first element at `path`, without space around it, or "" if there is none."""
        return (self.findtext(path) or "").strip()


class _Refused(Exception):
    pass


def read_xml(path: Path, log: Log) -> Node | None:
    """Reads an XML file.

    Entities and external references are refused, because with them a file of a kilobyte can expand to gigabytes, or
    read other files. (https://docs.python.org/3/library/xml.html#xml-security)

    Args:
        path: XML file.
        log: Log to which a fault is added if the file cannot be read or is refused.

    Returns:
        The root element, or None if there was a fault.
    """
    parser = expat.ParserCreate()

    def make(tag: str, attributes: dict[str, str]) -> Node:
        node = Node(tag, attributes)
        node.line = parser.CurrentLineNumber
        return node

    def refuse(*_: Any) -> Any:
        raise _Refused

    def refuse_external(name: str, system: str | None, public: str | None, has_subset: int) -> None:
        if system or public:
            raise _Refused

    builder = ElementTree.TreeBuilder(element_factory=make)
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse_external
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
        return builder.close()  # type: ignore[return-value]
    except _Refused:
        line = parser.CurrentLineNumber
        log.add("refused", path, line, "the XML declares entities or external references; the file is left out")
    except expat.ExpatError as error:
        message = expat.ErrorString(error.code)
        if "encoding" in message:
            log.add("encoding", path, error.lineno, f"{message}; the file is left out")
        elif error.code == expat.errors.codes[expat.errors.XML_ERROR_INVALID_TOKEN] and _is_not_utf8(path):
            log.add("encoding", path, error.lineno, "the bytes do not fit the stated encoding; the file is left out")
        else:
            log.add("broken", path, error.lineno, f"not valid XML: {message}; the file is left out")
    except (LookupError, ValueError) as error:  # an encoding that Python does not know
        log.add("encoding", path, 1, f"{error}; the file is left out")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        log.add("broken", path, None, f"the file cannot be opened ({reason}); it is left out")
    return None


def _is_not_utf8(path: Path) -> bool:
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError:
        return True
    return False
