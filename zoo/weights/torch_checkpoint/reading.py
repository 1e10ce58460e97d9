"""From the file of a checkpoint to named arrays."""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np

from zoo.weights.torch_checkpoint.descriptions import (
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_NAME,
    Tensor,
    UnsafeCheckpoint,
    short,
)
from zoo.weights.torch_checkpoint.layouts import open_old, open_zip

__all__ = ["read"]

# Keys under which people save the parameters of a model beside the epoch, the optimizer and so on.
WRAPPERS = ("state_dict", "model_state_dict", "model")


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a PyTorch checkpoint by name, as read-only arrays that share their memory with the file.

    The parameters are often saved inside another dictionary: `{"state_dict": ...}`, `{"model": ...}` or
    `{"model_state_dict": ...}`. They are taken out of it, and its other entries are left out. Dictionaries and lists
    among the parameters give dotted names: `{"encoder": {"weight": w}}` is read as `encoder.weight`. A tensor that was
    saved by itself is named `tensor`. Entries that are not tensors, such as the number of an epoch, are left out.

    Args:
        path: A `.pth` or `.pt` file in the zip layout or the old layout.

    Returns:
        Arrays of the shapes and types in the file: float16, float32, float64, complex, signed and unsigned integers
        and bool. Values of bfloat16 become float32. Tensors that share memory in the file share it here.

    Raises:
        FileNotFoundError: There is no such file.
        UnsafeCheckpoint: The file asks for code, for example for the class of a whole pickled model. Nothing was
            executed.
        ValueError: The file is not a checkpoint, or it is damaged. The message says what is wrong with it.

    Example:

    >>> from zoo.weights.pretrained import pretrained_file
    >>> arrays = read(pretrained_file("efficientnet_lite0"))
    >>> arrays["_fc.weight"].shape, arrays["_fc.weight"].dtype
    ((1000, 1280), dtype('float32'))
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: it holds no PyTorch checkpoint")
    with open(path, "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        root, storages = open_zip(path, memory) if memory[:4] == b"PK\x03\x04" else open_old(memory)
        tensors = _flatten(_unwrap(root))
        if not tensors:
            raise ValueError("it holds no tensor")
        return {name: storages.array(name, tensor) for name, tensor in tensors.items()}
    except UnsafeCheckpoint as error:
        error.args = (f"{path}: {error}",)
        raise
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a PyTorch checkpoint: {error}") from error


def _unwrap(root: Any) -> Any:
    """Returns the dictionary of parameters inside the dictionaries that it is wrapped in."""
    for _ in range(MAX_DEPTH):
        if not isinstance(root, dict) or any(isinstance(value, Tensor) for value in root.values()):
            break
        inner = [root[key] for key in WRAPPERS if isinstance(root.get(key), dict)]
        if not inner:
            break
        root = inner[0]
    return root


def _flatten(root: Any) -> dict[str, Tensor]:
    """Returns the tensors inside dictionaries and lists by their dotted names."""
    if isinstance(root, Tensor):
        return {"tensor": root}
    tensors: dict[str, Tensor] = {}
    entries = 0
    waiting: list[tuple[str, int, Any]] = [("", 0, root)]
    while waiting:
        name, depth, value = waiting.pop()
        if isinstance(value, Tensor):
            if name in tensors:
                raise ValueError(f"two tensors are named {name}")
            tensors[name] = value
            continue
        if isinstance(value, dict):
            inner = list(value.items())
        elif isinstance(value, list | tuple):
            inner = list(enumerate(value))
        else:
            continue
        # A small file can describe an endless tree, because it can refer to a container many times, or from inside it.
        entries += len(inner)
        if entries > MAX_ENTRIES or depth == MAX_DEPTH:
            raise ValueError(f"it nests more than {MAX_ENTRIES:,} entries, or more than {MAX_DEPTH} levels of them")
        for key, item in reversed(inner):
            full = f"{name}.{key}" if depth else str(key)
            if len(full) > MAX_NAME:
                raise ValueError(f"a name is longer than {MAX_NAME} characters: {short(full)}")
            waiting.append((full, depth + 1, item))
    return tensors
