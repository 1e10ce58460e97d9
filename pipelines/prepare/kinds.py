"""The table of preparations, by which the contract of an exported model is read back."""

from collections.abc import Mapping
from typing import Any

from pipelines.prepare.crop import EvaluationCrop
from pipelines.prepare.letterbox import Letterbox
from pipelines.prepare.preparation import Preparation
from pipelines.prepare.stretch import Stretch

__all__ = ["PREPARATIONS", "preparation_from_dict"]

PREPARATIONS: dict[str, type[EvaluationCrop] | type[Letterbox]] = {
    preparation.kind: preparation for preparation in (EvaluationCrop, Letterbox, Stretch)
}


def preparation_from_dict(document: Mapping[str, Any]) -> Preparation:
    """Returns the preparation that `Preparation.as_dict` described.

    Args:
        document: The kind and the fields. Without "kind", which the first version of the format did not have, they are
            those of a crop.

    Raises:
        TypeError: The document is no mapping.
        ValueError: The kind is unknown.

    Example:

    >>> preparation_from_dict({"size": [32, 48], "fraction": 1.0, "interpolation": "bilinear"})
    EvaluationCrop(size=(32, 48), fraction=1.0, interpolation='bilinear')
    >>> preparation_from_dict({"kind": "letterbox", "size": [32, 48], "fill": 0.0})
    Letterbox(size=(32, 48), fill=0.0)
    """
    if not isinstance(document, Mapping):
        raise TypeError(f"a preparation with its fields (received {document!r})")
    kind = document.get("kind", EvaluationCrop.kind)
    if kind not in PREPARATIONS:
        raise ValueError(f"expected a preparation of the kind {' or '.join(PREPARATIONS)}, received {kind!r}")
    return PREPARATIONS[kind].from_dict(document)
