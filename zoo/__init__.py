"""Readable convolutional networks in Keras, and tools that work on any of them.

>>> import zoo
>>> zoo.list_models("efficientnet_lite*")
['efficientnet_lite0', 'efficientnet_lite1', 'efficientnet_lite2', 'efficientnet_lite3', 'efficientnet_lite4']
"""

import importlib
import sys
from types import ModuleType
from typing import Any

# Public name -> module that defines it. Imported on first use, so that `import zoo` loads no TensorFlow.
_EXPORTS = {
    "compare": "zoo.analysis.comparison",
    "compound_scaling": "zoo.models.efficientnet",
    "conv_output_size": "zoo.analysis.arithmetic",
    "cost": "zoo.analysis.costs",
    "create_model": "zoo.models",
    "features": "zoo.surgery.feature_maps",
    "fold_batch_norms": "zoo.surgery.conversion",
    "imagenet_classes": "zoo.weights.pretrained",
    "info": "zoo.analysis.information",
    "largest_batch": "zoo.analysis.memory",
    "list_models": "zoo.models",
    "load_weights": "zoo.weights.pretrained",
    "predict_memory": "zoo.analysis.memory",
    "same_padding": "zoo.analysis.arithmetic",
    "search_scaling": "zoo.models.efficientnet",
    "to_fully_convolutional": "zoo.surgery.conversion",
}

# Modules that one writes after `import zoo` alone: `zoo.layers.ResidualUnit(64)`.
_MODULES = ("blocks", "heads", "layers", "models")

__all__ = sorted([*_EXPORTS, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_EXPORTS[name])
    return globals().get(name, getattr(module, name))  # importing `zoo.cost` has bound that name: see `_Package`


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Namesake(ModuleType):
    """A module that holds a public function of its own name: `zoo.cost(model)` calls
    `zoo.analysis.costs.cost(model)`.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


class _Package(ModuleType):
    # Importing `zoo.cost` binds that module as `zoo.cost`, where a public function of that name was promised: the
    # module then answers calls as the function does, whoever imported it first.
    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _EXPORTS.get(name) == value.__name__:
            value.__class__ = _Namesake
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
