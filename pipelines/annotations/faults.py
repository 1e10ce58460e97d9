"""Collecting what is wrong in annotations, or raising at the first."""

from collections.abc import Iterable

from pipelines.data import Fault

__all__ = ["Log"]


class Log:
    """Where readers report faults.

    Args:
        strict: raise the first fault as a ValueError.

    >>> log = Log()
    >>> log.add("broken", "a.xml", 3, "no closing tag; the file is left out")
    >>> [str(fault) for fault in log.faults]
    ['a.xml:3: no closing tag; the file is left out']
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self._faults: list[Fault] = []

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(self._faults)

    def add(self, kind: str, path: object, line: int | None, reason: str, *, kept: bool = False) -> None:
        """Note a fault. Raises: ValueError, if `strict`."""
        fault = Fault(str(path), reason, line=line, kind=kind, kept=kept)
        if self.strict:
            raise ValueError(f"{fault} (strict=True raises at the first fault; strict=False lists them and goes on)")
        self._faults.append(fault)

    def extend(self, faults: Iterable[Fault]) -> None:
        """Note faults that another log has collected."""
        for fault in faults:
            self.add(fault.kind, fault.path, fault.line, fault.reason, kept=fault.kept)
