"""The table of tasks. A task is a folder of this package and a row of this table; no other file knows the tasks.

>>> sorted(TASKS)
['classify', 'detect', 'heads', 'locate', 'regress', 'segment', 'tag']
"""

import importlib
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from transfer.tasks.settings import Settings

if TYPE_CHECKING:
    from transfer.tasks.learning import Learning
    from transfer.tasks.task import Task

__all__ = ["TASKS", "Row", "check_task", "learning_of", "settings_class", "task_of", "task_of_settings"]


@dataclass(frozen=True)
class Row:
    """One task.

    Attributes:
        package: The package with its modules `settings`, `answers` (with `TASK`) and `training` (with `LEARNING`).
        settings: The name of the class of its settings, which `transfer` exports, too.
    """

    package: str
    settings: str


TASKS: dict[str, Row] = {
    "classify": Row("transfer.tasks.classify", "Classify"),
    "tag": Row("transfer.tasks.tag", "Tag"),
    "regress": Row("transfer.tasks.regress", "Regress"),
    "heads": Row("transfer.tasks.heads", "Heads"),
    "locate": Row("transfer.tasks.locate", "Locate"),
    "detect": Row("transfer.tasks.detect", "Detect"),
    "segment": Row("transfer.tasks.segment", "Segment"),
}


def check_task(name: str) -> Row:
    """Returns the row of a task.

    Raises:
        ValueError: There is no such task; the message lists the known ones.
    """
    if name not in TASKS:
        near = get_close_matches(str(name), TASKS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"there is no task {name!r}; the tasks are {', '.join(TASKS)}.{hint}")
    return TASKS[name]


def task_of(name: str) -> "Task":
    """Returns the answering half of a task; it loads no TensorFlow."""
    return importlib.import_module(f"{check_task(name).package}.answers").TASK


def learning_of(name: str) -> "Learning":
    """Returns the learning half of a task; it loads TensorFlow."""
    return importlib.import_module(f"{check_task(name).package}.training").LEARNING


def settings_class(name: str) -> type[Settings]:
    """Returns the class of a task's settings; it loads neither NumPy nor TensorFlow."""
    row = check_task(name)
    return getattr(importlib.import_module(f"{row.package}.settings"), row.settings)


def task_of_settings(settings: Settings) -> str:
    """Returns the name of the task that some settings belong to.

    Raises:
        ValueError: They belong to none.
    """
    for name, row in TASKS.items():
        if type(settings).__name__ == row.settings and type(settings) is settings_class(name):
            return name
    known = ", ".join(f"transfer.{row.settings}()" for row in TASKS.values())
    raise ValueError(f"expected the settings of a task ({known}), got {type(settings).__name__}")
