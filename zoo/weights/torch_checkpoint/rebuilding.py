"""What the pickle of a checkpoint may name and call, and what its calls return here.

No function of PyTorch is imported or called. Each admitted name has a function of this module in its place, which
checks its arguments and returns a description.
"""

from collections.abc import Callable
from typing import Any

from zoo.weights.torch_checkpoint.descriptions import (
    DTYPES,
    MAX_DIMENSIONS,
    MAX_NAME,
    MAX_SIZE,
    STORAGES,
    Name,
    Storage,
    Tensor,
    UnsafeCheckpoint,
    short,
)

__all__ = ["admitted_name", "expect", "rebuild", "set_items", "storage_of"]


def expect(value: Any, kind: type) -> Any:
    """Returns the value if it is of that type.

    Raises:
        ValueError: The value is of another type.
    """
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"its pickle has a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def set_items(target: Any, items: list) -> dict:
    """Adds `[key, value, key, value, ...]` to a dictionary and returns it."""
    keys, values = items[::2], items[1::2]
    for key in keys:
        # Only these two types are admitted, because hashing a tuple that is nested deeply enough ends the process.
        if not isinstance(key, str | int):
            raise ValueError(f"a dictionary has a key of type {type(key).__name__}, not a string or an integer")
    expect(target, dict).update(zip(keys, values, strict=True))
    return target


def admitted_name(module: str, attribute: str) -> Name:
    """Returns a name that a checkpoint may mention.

    Raises:
        UnsafeCheckpoint: The name is not in the table of admitted names.
    """
    name = Name(f"{module}.{attribute}")
    if name.text not in ADMITTED:
        raise UnsafeCheckpoint(name.text[:MAX_NAME])
    return name


def storage_of(description: Any, storages: dict[str, tuple[str, int]]) -> Storage:
    """Returns the storage that a persistent id describes, and notes its type and its number of elements by its key.

    Args:
        description: ("storage", type, key, device, elements). Old files add a view: None, or (key, start, elements).
        storages: key -> (type, number of elements) of the storages that were described before. It is added to.

    Raises:
        UnsafeCheckpoint: The persistent id describes something else.
        ValueError: The description is malformed, or contradicts an earlier one.
    """
    kind, *fields = expect(description, tuple)
    if kind != "storage":
        # Old files of whole models carry the source code of the model in this way.
        raise UnsafeCheckpoint(f"a persistent {kind[:MAX_NAME] if isinstance(kind, str) else type(kind).__name__}")
    storage_type, key, _, elements, *view = fields
    _, _, type_name = expect(storage_type, Name).text.rpartition(".")
    if type_name not in STORAGES:
        raise ValueError(f"a storage is of type {storage_type.text}")
    dtype = STORAGES[type_name]
    if expect(elements, int) < 0:
        raise ValueError(f"storage {short(key)} has {elements} elements")
    if storages.setdefault(expect(key, str), (dtype, elements)) != (dtype, elements):
        raise ValueError(f"storage {short(key)} is described in two ways")
    if not view or view[0] is None:
        return Storage(key, dtype, 0, elements)
    _, start, size = expect(view[0], tuple)
    if min(expect(start, int), expect(size, int)) < 0 or start + size > elements:
        raise ValueError(f"a view of storage {short(key)} lies outside of it")
    return Storage(key, dtype, start, size)


def rebuild(function: Any, arguments: Any) -> Any:
    """Returns what a call of an admitted name describes.

    Raises:
        UnsafeCheckpoint: The name may be mentioned, but not called.
    """
    name = expect(function, Name).text
    if name not in REBUILD:
        raise UnsafeCheckpoint(f"a call of {name}")
    return REBUILD[name](*expect(arguments, tuple))


def _ordered_dict(*arguments: Any) -> dict:
    """Returns an empty dictionary, which the next opcodes fill; Python 2 wrote the list of its pairs instead."""
    target: dict = {}
    if arguments:
        (pairs,) = arguments
        for pair in expect(pairs, list):
            set_items(target, pair if isinstance(pair, list) else list(expect(pair, tuple)))
        pairs.clear()  # A file cannot have the same long list copied again and again.
    return target


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Stands for `_rebuild_tensor` and `_rebuild_tensor_v2`; their flags and hooks for gradients are not needed."""
    expect(storage, Storage)
    if len(expect(shape, tuple)) != len(expect(strides, tuple)) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"a tensor has {len(shape)} dimensions and {len(strides)} strides")
    for number in (*shape, *strides, offset):
        if not 0 <= expect(number, int) < MAX_SIZE:
            raise ValueError(f"a tensor has {number} for a size, a stride or its offset")
    return Tensor(storage, storage.dtype, offset, shape, strides)


def _tensor_v3(storage: Any, offset: Any, shape: Any, strides: Any, _: Any, __: Any, dtype: Any, *___: Any) -> Tensor:
    """Stands for `_rebuild_tensor_v3`, which has an untyped storage and a type (uint16, uint32 or uint64)."""
    _, _, name = expect(dtype, Name).text.rpartition(".")
    if name not in DTYPES:
        raise ValueError(f"a tensor is of type {dtype.text}")
    tensor = _tensor(storage, offset, shape, strides)
    return Tensor(storage, name, tensor.offset, tensor.shape, tensor.strides)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    return expect(tensor, Tensor)


REBUILD: dict[str, Callable] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
}
ADMITTED = frozenset(
    [
        *REBUILD,
        *(f"{module}.{name}" for module in ("torch", "torch.cuda") for name in STORAGES),
        "torch.storage.UntypedStorage",
        *(f"torch.{name}" for name in DTYPES),
    ]
)
