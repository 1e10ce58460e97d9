"""Documents inside of documents, as one list of names and values."""

from collections.abc import Mapping
from typing import Any

__all__ = ["flat"]


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a document, with those of documents inside of it under joined names.

    >>> flat({"epochs": 3, "versions": {"keras": "3.15.1"}})
    {'epochs': 3, 'versions.keras': '3.15.1'}
    """
    values: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            values |= {f"{name}.{inner}": own for inner, own in flat(value).items()}
        else:
            values[name] = value
    return values
