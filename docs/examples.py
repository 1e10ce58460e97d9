"""Doctests in docstrings as blocks of code: an extension of Griffe, which reads docstrings for the documentation."""

import re

import griffe

EXAMPLE = re.compile(r"(?m)^(?P<indent>[ ]*)(?P<block>>>> .*(?:\n(?P=indent)\S.*|\n(?P=indent)[ ]+\S.*)*)")


class Examples(griffe.Extension):
    """Puts a fence around each doctest, so that Markdown shows it as code."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(match: re.Match) -> str:
    indent = match["indent"]
    return f"{indent}```pycon\n{match[0]}\n{indent}```"
