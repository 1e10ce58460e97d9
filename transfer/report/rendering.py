"""Templates, and the words for numbers, times and splits that pages and cards share."""

import functools
from collections.abc import Mapping
from typing import Any

import jinja2
from markupsafe import Markup

__all__ = ["SPLITS", "duration", "render", "render_page", "times"]

PACKAGE = "transfer.report"
SPLITS = {"train": "training", "valid": "validation", "test": "test"}  # What the splits are called on pages.


@functools.cache
def _environment(package: str = PACKAGE) -> jinja2.Environment:
    """Returns an environment that escapes all values, and that knows the templates of a package and the shared ones."""
    shared = jinja2.PackageLoader(PACKAGE)
    loaders = [shared] if package == PACKAGE else [jinja2.PackageLoader(package, ""), shared]
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def render_page(name: str, values: Mapping[str, Any]) -> str:
    """Fills in a template of a whole page; values are escaped."""
    return _environment().get_template(name).render(values)


def render(name: str, macro: str, values: Mapping[str, Any], *, package: str = PACKAGE) -> Markup:
    """Fills in a part of a page; values are escaped.

    Args:
        name: The file of the template, such as "classes.html".
        macro: The name of the macro in it.
        values: The arguments of the macro.
        package: The package that the file lies in. The shared templates can be imported from it. Defaults to the
            package of the shared templates.
    """
    module = _environment(package).get_template(name).module
    return Markup(getattr(module, macro)(**values))


def duration(seconds: float) -> str:
    """Returns a time as people say it.

    >>> [duration(s) for s in (0.04, 7.26, 61, 3725)]
    ['0.0 s', '7.3 s', '1 min 01 s', '1 h 02 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def times(seconds: Mapping[str, float]) -> list[tuple[str, str, float]]:
    """Returns for each part of a run its name, how long it took, and its share of the longest part."""
    longest = max(seconds.values(), default=0) or 1
    return [(part, duration(time), time / longest) for part, time in seconds.items()]
