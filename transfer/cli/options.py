"""The options of `zoo fit`, made from the fields of the tasks' settings: a setting is spelled once."""

import enum
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Annotated, Any

import typer

from transfer.tasks import TASKS, settings_class
from transfer.tasks.settings import Setting, settings_of

__all__ = ["FOR_ALL", "given_settings", "with_settings"]

# The settings that the short help explains.
FIRST = ("backbone", "epochs", "image_size", "batch_size", "augment")
# Names of panels.
FOR_ALL = "For all tasks"
ADVANCED = "More options"


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Adds an option for every setting of every task to a command.

    Args:
        command: A function whose last argument, `settings`, gets a dict of the settings that were given.

    Returns:
        A function with the signature that Typer reads.
    """
    own = [parameter for name, parameter in inspect.signature(command).parameters.items() if name != "settings"]
    options = _options()

    def run(**arguments: Any) -> None:
        settings = {name: arguments.pop(name) for name in list(arguments) if name in options}
        given = {name: value for name, value in settings.items() if value is not None}
        plain = {name: str(value) if isinstance(value, enum.Enum) else value for name, value in given.items()}
        command(**arguments, settings=plain)

    run.__signature__ = inspect.Signature([*own, *options.values()])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *options.values()]}
    run.__doc__, run.__name__ = command.__doc__, command.__name__
    return run


def given_settings(task: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Checks that a task has the settings that were given.

    Raises:
        ValueError: It does not have one of them; the message names the option and the tasks that have it.
    """
    known = settings_of(settings_class(task))
    for name in settings:
        if name not in known:
            owners = [other for other in TASKS if name in settings_of(settings_class(other))]
            raise ValueError(
                f"--{name.replace('_', '-')} is for --task {' or '.join(owners)}, and says nothing to --task {task}; "
                "leave it out"
            )
    return dict(settings)


def _options() -> dict[str, inspect.Parameter]:
    """Returns the options by the names of the settings: common ones, then each task's own, then advanced ones."""
    owners: dict[str, dict[str, Any]] = {}
    for task in TASKS:
        kind = settings_class(task)
        types = typing.get_type_hints(kind)
        for field in fields(kind):
            if field.default is MISSING:
                continue
            facts = field.metadata["setting"]
            owners.setdefault(field.name, {})[task] = (facts, types[field.name], field.default)

    def rank(name: str) -> tuple[int, int]:
        facts = next(iter(owners[name].values()))[0]
        group = 3 if facts.advanced else 2 if len(owners[name]) < len(TASKS) else 1 if name not in FIRST else 0
        return group, list(owners).index(name)

    return {name: _option(name, owners[name]) for name in sorted(owners, key=rank)}


def _choices(name: str, values: Sequence[str]) -> Any:
    return enum.StrEnum(name, {value: value for value in values})


def _option(name: str, owners: Mapping[str, tuple[Setting, Any, Any]]) -> inspect.Parameter:
    facts, annotation, _ = next(iter(owners.values()))
    shared = len(owners) == len(TASKS)
    common = None if name in FIRST else FOR_ALL
    panel = ADVANCED if facts.advanced else common if shared else f"With --task {_or(list(owners))}"
    option = f"--{name.replace('_', '-')}"
    plain: Any = _plain_type(annotation)
    extra: dict[str, Any] = {}
    if facts.choices:
        plain = _choices(name, facts.choices)
        extra["metavar"] = "|".join(facts.choices)
    elif plain is not bool:
        extra["metavar"] = facts.metavar or {int: "NUMBER", float: "NUMBER"}.get(plain, "TEXT")
    names = [f"{option}/--no-{name.replace('_', '-')}"] if plain is bool else [option]
    made = typer.Option(
        *names,
        help=_help(facts, list(owners), {task: default for task, (_, _, default) in owners.items()}),
        show_default=False,
        rich_help_panel=panel,
        **extra,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[plain | None, made]
    )


def _plain_type(annotation: Any) -> Any:
    """Returns what the shell reads: text stays text where several types are allowed, since the settings read it."""
    kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)] or [annotation]
    if typing.get_origin(annotation) is tuple or len(kinds) > 1:
        return str
    return kinds[0] if kinds[0] in (int, float, bool, str) else str


def _help(facts: Setting, owners: list[str], defaults: Mapping[str, Any]) -> str:
    only = f" For --task {_or(owners)}." if facts.advanced and len(owners) < len(TASKS) else ""
    default = _default_in_words(defaults)
    return f"{facts.help}{only}" + (f" [dim]\\[default: {default}][/]" if default else "")


def _default_in_words(defaults: Mapping[str, Any]) -> str:
    """Returns the default for the help, and those of tasks that have another one.

    >>> _default_in_words({"classify": 10, "tag": 10, "detect": 40})
    '10; detect: 40'
    """
    texts = {task: _text(value) for task, value in defaults.items()}
    common = max(texts.values(), key=list(texts.values()).count)
    others = [f"{task}: {text or 'chosen'}" for task, text in texts.items() if text != common]
    return "; ".join(([common] if common else []) + others)


def _text(value: Any) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        ",".join(map(str, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _or(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
