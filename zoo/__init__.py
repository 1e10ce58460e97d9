"""Readable convolutional networks in Keras, and tools that work on any of them.

>>> import zoo
>>> zoo.list_models("efficientnet_lite*")
['efficientnet_lite0', 'efficientnet_lite1', 'efficientnet_lite2', 'efficientnet_lite3', 'efficientnet_lite4']
"""

import importlib
from typing import Any

# Public name -> module that defines it. Imported on first use, so that `import zoo` loads no TensorFlow.
_EXPORTS = {
    "create_model": "zoo.models",
    "list_models": "zoo.models",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
