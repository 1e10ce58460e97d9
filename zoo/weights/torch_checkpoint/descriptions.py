"""What a pickle can describe: names, storages and tensors; the element types; and the limits of what is accepted."""

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "DTYPES",
    "MAX_DEPTH",
    "MAX_DIMENSIONS",
    "MAX_ENTRIES",
    "MAX_EXPANSION",
    "MAX_NAME",
    "MAX_OPCODES",
    "MAX_SIZE",
    "STORAGES",
    "Name",
    "Storage",
    "Tensor",
    "UnsafeCheckpoint",
    "itemsize",
    "numpy_dtype",
    "short",
]

# A network of a thousand layers stays far below these limits, which bound what a hostile file can ask for.
MAX_OPCODES = 2_000_000
MAX_ENTRIES = 100_000
MAX_DEPTH = 16
MAX_NAME = 1_000
MAX_DIMENSIONS = 32
MAX_SIZE = 2**48  # of one dimension, one stride or one offset
MAX_EXPANSION = 2**20  # bytes by which a tensor with strides of 0 may exceed the size of the file

# PyTorch's name of an element type -> NumPy's name without the byte order. NumPy has no bfloat16: its values are read
# as float32, which can represent all of them.
DTYPES = {
    "uint8": "u1",
    "int8": "i1",
    "int16": "i2",
    "int32": "i4",
    "int64": "i8",
    "uint16": "u2",
    "uint32": "u4",
    "uint64": "u8",
    "float16": "f2",
    "bfloat16": "bfloat16",
    "float32": "f4",
    "float64": "f8",
    "complex64": "c8",
    "complex128": "c16",
    "bool": "bool",
}
# PyTorch's class of storages -> the type of their elements.
STORAGES = {
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}


class UnsafeCheckpoint(ValueError):
    """An error that says that the file asks for more than tensors in dictionaries. Nothing was executed."""

    def __init__(self, what: str):
        super().__init__(
            f"{what} is refused: only tensors, numbers and strings in dictionaries are read. Nothing was executed. "
            "If you trust the file, load it with PyTorch and save model.state_dict() alone"
        )


@dataclass(frozen=True)
class Name:
    """A name that the pickle mentions. It is only a string."""

    text: str


@dataclass(frozen=True)
class Storage:
    """A run of elements in a file, which tensors are views of.

    Attributes:
        key: Key of the bytes in the file.
        dtype: PyTorch's name of the element type.
        start: Position of the first element, counted in elements from the beginning of the bytes under `key`.
        elements: Number of elements.
    """

    key: str
    dtype: str
    start: int
    elements: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage. Its offset and its strides are counted in elements of `dtype`."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def itemsize(dtype: str) -> int:
    """Returns the number of bytes of one element in the file."""
    return 2 if dtype == "bfloat16" else np.dtype(DTYPES[dtype]).itemsize


def numpy_dtype(dtype: str, byte_order: str) -> np.dtype:
    """Returns the type that elements are read as."""
    if dtype in ("bfloat16", "bool"):  # These two are converted when they are read.
        return np.dtype("f4" if dtype == "bfloat16" else "bool")
    return np.dtype(byte_order + DTYPES[dtype])


def short(text: Any) -> str:
    """Quotes a text for a message, or its first 80 characters. What is not a text is named by its type."""
    text = text if isinstance(text, str) else type(text).__name__
    return repr(text if len(text) <= 80 else text[:80] + "...")
