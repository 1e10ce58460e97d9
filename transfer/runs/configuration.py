"""`config.json`: what a run was asked for, so that it can be repeated, resumed, and measured on what it held out.

The document is `{"format_version", "task", "data", "settings", "facts"}`. The settings are those of the task
(`transfer.tasks.settings`); the facts followed from them: versions, fingerprints, sizes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transfer.contract import FORMAT_VERSION
from transfer.documents import read_document
from transfer.tasks import settings_class, task_of_settings
from transfer.tasks.settings import Settings, settings_of

__all__ = ["Configuration", "differences", "read_config", "resolved"]


@dataclass(frozen=True)
class Configuration:
    """What a run was asked for.

    Attributes:
        data: What it was trained on: an absolute path, or a name such as "sklearn:digits".
        settings: The settings of its task.
        facts: What followed from them; empty before the run.
    """

    data: str
    settings: Settings
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """The name of the task."""
        return task_of_settings(self.settings)

    def as_dict(self) -> dict[str, Any]:
        """Returns the configuration as JSON can hold it."""
        return {
            "format_version": FORMAT_VERSION,
            "task": self.task,
            "data": self.data,
            "settings": self.settings.as_dict(),
            "facts": dict(self.facts),
        }


def resolved(data: str | Path) -> str:
    """Returns the name of some data by which they are recognised: an absolute path where they are files.

    >>> resolved("sklearn:digits")
    'sklearn:digits'
    """
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else str(data)


def read_config(path: str | Path) -> Configuration:
    """Reads the `config.json` of a run.

    Args:
        path: The file, or the run's folder.

    Raises:
        FileNotFoundError: There is none.
        ValueError: The file is not the configuration of a run, or it is one of a newer format version or of an unknown
            task.
    """
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    what = "the configuration of a run, as `zoo fit` writes it to config.json"
    document = read_document(path, what)
    version = document.get("format_version", 1)
    if not isinstance(version, int):
        raise ValueError(f"{path} is not {what}: its format version is {version!r}")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} is of format version {version}, and this installation reads up to {FORMAT_VERSION}; upgrade "
            "transfer-zoo"
        )
    try:
        if not isinstance(document.get("data"), str):
            raise ValueError("it does not say what it was trained on")
        if version == 1:
            return _from_version_1(document)
        kind = settings_class(document["task"])
        return Configuration(document["data"], kind.from_dict(document["settings"]), document.get("facts", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not {what}: {error}") from error


def _from_version_1(document: Mapping[str, Any]) -> Configuration:
    """Reads a configuration that held settings and facts side by side, and the optimizer's in a dict of their own."""
    kind = settings_class(document.get("task", "classify"))
    flat = {**document, **document.get("optimization", {})}
    if "name" in flat:
        flat["optimizer"] = flat.pop("name")
    known = settings_of(kind)
    settings = {name: value for name, value in flat.items() if name in known}
    facts = {name: value for name, value in flat.items() if name not in known and name not in ("task", "data")}
    facts.pop("optimization", None)
    return Configuration(document["data"], kind.from_dict(settings), facts)


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns what differs between two documents, name by name; documents inside of them are compared, too.

    >>> differences({"seed": 0, "versions": {"keras": "3.14"}}, {"seed": 0, "versions": {"keras": "3.15"}})
    ['versions of keras: 3.14 then, 3.15 now']
    """
    lines = []
    for name in [*earlier, *(name for name in now if name not in earlier)]:
        old, new = earlier.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += [f"{name} of {inner}" for inner in differences(old, new)]
        else:
            lines.append(f"{name}: {_shown(old)} then, {_shown(new)} now")
    return lines


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
