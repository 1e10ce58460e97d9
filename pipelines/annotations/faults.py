"""The log of faults: it collects the faults of a data set, or raises the first."""

from collections.abc import Iterable

from pipelines.data import Fault

__all__ = ["Log"]


class Log:
    """A log to which readers add faults.

    Args:
        strict: Whether to raise the first fault as a ValueError.

    Example:

    >>> log = Log()
    >>> log.add("broken", "a.xml", 3, "no closing tag; the file is left out")
    >>> [str(fault) for fault in log.faults]
    ['a.xml:3: no closing tag; the file is left out']
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self._faults: list[Fault] = []
        self._notes: list[str] = []

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(self._faults)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def note(self, sentence: str) -> None:
        """Adds a sentence about how the data were read, which is no fault."""
        self._notes.append(sentence)

    def add(self, kind: str, path: object, line: int | None, reason: str, *, kept: bool = False) -> None:
        """Adds a fault.

        Args:
            kind: Kind of the fault, one of those that `pipelines.annotations` lists.
            path: File in which the fault is.
            line: Line of the fault, or None.
            reason: The fault, and what happens because of it, in words.
            kept: Whether the object or image is kept.

        Raises:
            ValueError: The log is strict.
        """
        fault = Fault(str(path), reason, line=line, kind=kind, kept=kept)
        if self.strict:
            raise ValueError(f"{fault} (strict=True raises at the first fault; strict=False lists them all)")
        self._faults.append(fault)

    def extend(self, faults: Iterable[Fault]) -> None:
        """Adds the faults that another log has collected."""
        for fault in faults:
            self.add(fault.kind, fault.path, fault.line, fault.reason, kept=fault.kept)
