"""Reads PyTorch checkpoints without PyTorch, and without executing anything.

A checkpoint is a pickle and the raw bytes of its tensors. A pickle is a program: `pickle.load` imports what it names
and calls it, so that a file from a stranger can do whatever its reader can. Here the pickle is not run. The standard
library's disassembler (`pickletools`) splits it into opcodes, and a small machine carries out those that make
containers, numbers and strings. A name such as `torch._utils._rebuild_tensor_v2` is to that machine a string to look
up in a fixed table, never something to import or call; a name or an opcode outside of the tables is refused.

Two layouts are read:

* zip, since PyTorch 1.6: `NAME/data.pkl` is the pickle, `NAME/data/KEY` the bytes of the storage KEY;
* old, from 0.1.10 to 1.5 (and `torch.save(..., _use_new_zipfile_serialization=False)` to this day): pickles of a magic
  number, of the protocol's version, of the system's byte order, of the object and of the storages' keys, and then for
  each key the number of elements, a little-endian int64, and their bytes.

The tar files that came before are refused. Tensors are views of the file, which is mapped into memory and not copied.
What a hostile file can make this module allocate is bounded by the limits below and a small multiple of its own size.
"""

import io
import math
import mmap
import os
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["UnsafeCheckpoint", "read"]

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001

# What people wrap a model's parameters in, along with the epoch, the optimizer and so on.
WRAPPERS = ("state_dict", "model_state_dict", "model")

# A network of a thousand layers stays far below these; they bound what a hostile file can ask for.
MAX_OPCODES = 2_000_000
MAX_ENTRIES = 100_000
MAX_DEPTH = 16
MAX_NAME = 1_000
MAX_DIMENSIONS = 32
MAX_SIZE = 2**48  # of one dimension, stride or offset
MAX_EXPANSION = 2**20  # bytes by which a tensor with strides of 0 may exceed the file

# PyTorch's name of an element type -> NumPy's, without the byte order. NumPy has no bfloat16: its values are read as
# float32, which holds them all.
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
# The opcodes whose argument is the value itself.
# fmt: off
VALUES = frozenset([
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
])
# fmt: on


class UnsafeCheckpoint(ValueError):
    """The file asks for something other than tensors in dictionaries, and was not given it: nothing was executed."""

    def __init__(self, what: str):
        super().__init__(
            f"{what} is refused: only tensors, numbers and strings in dictionaries are read. Nothing was executed. "
            "If you trust the file, load it with PyTorch and save model.state_dict() alone"
        )


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a PyTorch checkpoint by name, as read-only arrays that share memory with the file.

    A dictionary of parameters is taken out of what it is commonly wrapped in (`{"state_dict": ...}`, `{"model": ...}`,
    `{"model_state_dict": ...}`), and the rest left alone. Dictionaries and lists inside it give dotted names:
    `{"encoder": {"weight": w}}` is read as `encoder.weight`. A tensor saved by itself is named `tensor`. What is not a
    tensor, such as the number of an epoch, is left out.

    Args:
        path: a `.pth` or `.pt` file in the zip or the old layout.

    Returns:
        Arrays of the shapes and types in the file: float16, float32, float64, complex, signed and unsigned integers,
        bool; bfloat16 as float32. Tensors that share memory in the file share it here.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafeCheckpoint: the file asks for code, for example the class of a whole pickled model. Nothing was executed.
        ValueError: not a checkpoint, or a damaged one; the message says what is wrong with it.

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
        root, storages = _open_zip(path, memory) if memory[:4] == b"PK\x03\x04" else _open_old(memory)
        tensors = _flatten(_unwrap(root))
        if not tensors:
            raise ValueError("it holds no tensor")
        return {name: storages.array(name, tensor) for name, tensor in tensors.items()}
    except UnsafeCheckpoint as error:
        error.args = (f"{path}: {error}",)
        raise
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a PyTorch checkpoint: {error}") from error


@dataclass(frozen=True)
class _Name:
    """A name that the pickle mentions: a mere string."""

    text: str


@dataclass(frozen=True)
class _Storage:
    """A run of elements in a file: what a tensor looks into."""

    key: str
    dtype: str
    start: int  # in elements, from the beginning of the bytes under `key`
    elements: int


@dataclass(frozen=True)
class _Tensor:
    """How a tensor looks into its storage; offset and strides in elements of `dtype`."""

    storage: _Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Object:
    """What a pickle describes: its object, and the storages that it refers to by key: (type, number of elements)."""

    root: Any
    storages: dict[str, tuple[str, int]]


# ---------------------------------------------------------------------------------------------------------------------
# The pickle


def _interpret(stream) -> _Object:
    """Carries out one pickle's opcodes, up to and including its STOP. `stream` has read, readline and tell."""
    storages: dict[str, tuple[str, int]] = {}
    try:
        return _Object(_run(stream, storages), storages)
    except (IndexError, KeyError, TypeError) as error:
        # A stack that runs empty, a memo that was never written, a constructor with too few arguments.
        raise ValueError(f"its pickle is malformed ({type(error).__name__}: {error})") from error


def _opcodes(stream) -> Iterator[tuple]:
    try:
        yield from pickletools.genops(stream)
    except (ValueError, OverflowError, struct.error) as error:
        raise ValueError(f"its pickle is malformed ({error})") from error


def _run(stream, storages: dict[str, tuple[str, int]]) -> Any:
    stack: list[Any] = []
    below: list[list[Any]] = []  # the stacks under each MARK
    memo: dict[int, Any] = {}

    def to_mark() -> list[Any]:
        nonlocal stack
        items, stack = stack, below.pop()
        return items

    for count, (opcode, argument, _) in enumerate(_opcodes(stream)):
        if count == MAX_OPCODES:
            raise ValueError(f"its pickle has more than {MAX_OPCODES:,} opcodes")
        name = opcode.name
        if name in VALUES:
            stack.append(argument)
            continue
        match name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "MARK":
                below.append(stack)
                stack = []
            case "POP":
                stack.pop()
            case "POP_MARK":
                to_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(name[-1])
                stack[-size:] = [tuple(_last(stack, size))]
            case "TUPLE":
                items = to_mark()
                stack.append(tuple(items))
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                items = to_mark()
                stack.append(items)
            case "APPEND":
                item = stack.pop()
                _expect(stack[-1], list).append(item)
            case "APPENDS":
                items = to_mark()
                _expect(stack[-1], list).extend(items)
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                items = to_mark()
                stack.append(_set_items({}, items))
            case "SETITEM":
                items = _last(stack, 2)
                del stack[-2:]
                _set_items(stack[-1], items)
            case "SETITEMS":
                items = to_mark()
                _set_items(stack[-1], items)
            case "GLOBAL" | "INST":
                module, _, attribute = argument.partition(" ")
                stack.append(_admitted(module, attribute))
                if name == "INST":
                    raise UnsafeCheckpoint(f"an instance of {module}.{attribute} (pickle opcode INST)")
            case "STACK_GLOBAL":
                module, attribute = _last(stack, 2)
                stack[-2:] = [_admitted(_expect(module, str), _expect(attribute, str))]
            case "BINPERSID":
                stack.append(_storage(stack.pop(), storages))
            case "REDUCE":
                function, arguments = _last(stack, 2)
                stack[-2:] = [_rebuild(function, arguments)]
            case "BUILD":
                # PyTorch hangs the versions of a model's modules on the dictionary of its parameters: not needed.
                stack.pop()
                if not isinstance(stack[-1], dict):
                    raise UnsafeCheckpoint(f"the state of a {type(stack[-1]).__name__} (pickle opcode BUILD)")
            case _:
                raise UnsafeCheckpoint(f"the pickle opcode {name}")
    raise ValueError("its pickle does not end")


def _last(stack: list, count: int) -> list:
    if len(stack) < count:
        raise ValueError("its pickle takes more from the stack than is there")
    return stack[-count:]


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"its pickle has a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _set_items(target: Any, items: list) -> dict:
    keys, values = items[::2], items[1::2]
    for key in keys:
        # Only these: hashing a tuple that is nested deeply enough ends the process.
        if not isinstance(key, str | int):
            raise ValueError(f"a dictionary has a key of type {type(key).__name__}, not a string or an integer")
    _expect(target, dict).update(zip(keys, values, strict=True))
    return target


def _admitted(module: str, attribute: str) -> _Name:
    name = _Name(f"{module}.{attribute}")
    if name.text not in ADMITTED:
        raise UnsafeCheckpoint(name.text[:MAX_NAME])
    return name


def _storage(description: Any, storages: dict[str, tuple[str, int]]) -> _Storage:
    """The storage that a persistent id tells of: ("storage", type, key, device, elements), and in old files a view."""
    kind, *fields = _expect(description, tuple)
    if kind != "storage":
        # Old files of whole models carry the models' source code this way.
        raise UnsafeCheckpoint(f"a persistent {kind[:MAX_NAME] if isinstance(kind, str) else type(kind).__name__}")
    storage_type, key, _, elements, *view = fields
    _, _, type_name = _expect(storage_type, _Name).text.rpartition(".")
    if type_name not in STORAGES:
        raise ValueError(f"a storage is of type {storage_type.text}")
    dtype = STORAGES[type_name]
    if _expect(elements, int) < 0:
        raise ValueError(f"storage {_short(key)} has {elements} elements")
    if storages.setdefault(_expect(key, str), (dtype, elements)) != (dtype, elements):
        raise ValueError(f"storage {_short(key)} is described in two ways")
    if not view or view[0] is None:
        return _Storage(key, dtype, 0, elements)
    _, start, size = _expect(view[0], tuple)
    if min(_expect(start, int), _expect(size, int)) < 0 or start + size > elements:
        raise ValueError(f"a view of storage {_short(key)} lies outside of it")
    return _Storage(key, dtype, start, size)


def _rebuild(function: Any, arguments: Any) -> Any:
    name = _expect(function, _Name).text
    if name not in REBUILD:
        raise UnsafeCheckpoint(f"a call of {name}")
    return REBUILD[name](*_expect(arguments, tuple))


def _ordered_dict(*arguments: Any) -> dict:
    """Empty, to be filled by the opcodes that follow; Python 2 wrote the list of its pairs instead."""
    target: dict = {}
    if arguments:
        (pairs,) = arguments
        for pair in _expect(pairs, list):
            _set_items(target, pair if isinstance(pair, list) else list(_expect(pair, tuple)))
        pairs.clear()  # so that a file cannot have the same long list copied again and again
    return target


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """`_rebuild_tensor` and `_rebuild_tensor_v2`; whether it wants gradients and its hooks are of no interest here."""
    _expect(storage, _Storage)
    if len(_expect(shape, tuple)) != len(_expect(strides, tuple)) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"a tensor has {len(shape)} dimensions and {len(strides)} strides")
    for number in (*shape, *strides, offset):
        if not 0 <= _expect(number, int) < MAX_SIZE:
            raise ValueError(f"a tensor has {number} for a size, a stride or its offset")
    return _Tensor(storage, storage.dtype, offset, shape, strides)


def _tensor_v3(storage: Any, offset: Any, shape: Any, strides: Any, _: Any, __: Any, dtype: Any, *___: Any) -> _Tensor:
    """Types without a storage class of their own (uint16, uint32, uint64): an untyped storage, and the type."""
    _, _, name = _expect(dtype, _Name).text.rpartition(".")
    if name not in DTYPES:
        raise ValueError(f"a tensor is of type {dtype.text}")
    tensor = _tensor(storage, offset, shape, strides)
    return _Tensor(storage, name, tensor.offset, tensor.shape, tensor.strides)


def _parameter(tensor: Any, *_: Any) -> _Tensor:
    return _expect(tensor, _Tensor)


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


# ---------------------------------------------------------------------------------------------------------------------
# From the pickle's object to named tensors


def _unwrap(root: Any) -> Any:
    for _ in range(MAX_DEPTH):
        if not isinstance(root, dict) or any(isinstance(value, _Tensor) for value in root.values()):
            break
        inner = [root[key] for key in WRAPPERS if isinstance(root.get(key), dict)]
        if not inner:
            break
        root = inner[0]
    return root


def _flatten(root: Any) -> dict[str, _Tensor]:
    if isinstance(root, _Tensor):
        return {"tensor": root}
    tensors: dict[str, _Tensor] = {}
    entries = 0
    waiting: list[tuple[str, int, Any]] = [("", 0, root)]
    while waiting:
        name, depth, value = waiting.pop()
        if isinstance(value, _Tensor):
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
        # A container can be referred to many times, or hold itself: a small file can describe an endless tree.
        entries += len(inner)
        if entries > MAX_ENTRIES or depth == MAX_DEPTH:
            raise ValueError(f"it nests more than {MAX_ENTRIES:,} entries, or more than {MAX_DEPTH} levels of them")
        for key, item in reversed(inner):
            full = f"{name}.{key}" if depth else str(key)
            if len(full) > MAX_NAME:
                raise ValueError(f"a name is longer than {MAX_NAME} characters: {_short(full)}")
            waiting.append((full, depth + 1, item))
    return tensors


def _short(text: Any) -> str:
    text = text if isinstance(text, str) else type(text).__name__
    return repr(text if len(text) <= 80 else text[:80] + "...")


# ---------------------------------------------------------------------------------------------------------------------
# The two layouts, and the storages in them


class _Storages:
    """Where the bytes of each storage lie in the mapped file, and the views into them."""

    def __init__(self, memory: mmap.mmap, places: dict[str, tuple[int, int]], *, big_endian: bool = False):
        """`places`: key -> position of the first byte, number of bytes."""
        self.memory = memory
        self.places = places
        self.byte_order = ">" if big_endian else "<"
        self.converted: dict[tuple[str, str], np.ndarray] = {}

    def array(self, name: str, tensor: _Tensor) -> np.ndarray:
        storage, size = tensor.storage, _itemsize(tensor.dtype)
        available = storage.elements * _itemsize(storage.dtype) // size
        elements = math.prod(tensor.shape)
        last = tensor.offset + sum(
            (extent - 1) * stride for extent, stride in zip(tensor.shape, tensor.strides, strict=True)
        )
        if elements and last >= available:
            raise ValueError(f"tensor {_short(name)} reaches element {last} of a storage that has {available}")
        if elements * size > len(self.memory) + MAX_EXPANSION:
            raise ValueError(f"tensor {_short(name)} claims {elements * size} bytes, the file has {len(self.memory)}")
        if not elements:
            return np.empty(tensor.shape, _numpy_dtype(tensor.dtype, self.byte_order))
        buffer, start, dtype = self._buffer(storage.key, tensor.dtype)
        first = storage.start * _itemsize(storage.dtype) // size + tensor.offset
        strides = tuple(stride * dtype.itemsize for stride in tensor.strides)
        return np.ndarray(tensor.shape, dtype, buffer, start + first * dtype.itemsize, strides)

    def _buffer(self, key: str, dtype: str) -> tuple[Any, int, np.dtype]:
        """The buffer that holds a storage's elements, the position of the first one, and their type."""
        start, size = self.places[key]
        if dtype not in ("bfloat16", "bool"):
            return self.memory, start, _numpy_dtype(dtype, self.byte_order)
        if (key, dtype) not in self.converted:
            if dtype == "bool":
                # Not a view: a byte other than 0 and 1 is no bool to NumPy.
                values = np.frombuffer(self.memory, "u1", size, start) != 0
            else:
                halves = np.frombuffer(self.memory, self.byte_order + "u2", size // 2, start)
                values = (halves.astype("u4") << 16).view("f4")
            values.setflags(write=False)
            self.converted[key, dtype] = values
        values = self.converted[key, dtype]
        return values, 0, values.dtype


def _itemsize(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(DTYPES[dtype]).itemsize


def _numpy_dtype(dtype: str, byte_order: str) -> np.dtype:
    if dtype in ("bfloat16", "bool"):  # converted when they are read
        return np.dtype("f4" if dtype == "bfloat16" else "bool")
    return np.dtype(byte_order + DTYPES[dtype])


def _open_zip(path: Path, memory: mmap.mmap) -> tuple[Any, _Storages]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, OverflowError, struct.error) as error:
        raise ValueError(f"its zip directory is damaged ({error})") from error
    records = {info.filename: info for info in infos}
    if len(records) < len(infos):
        raise ValueError("two of its records have the same name")
    folders = [name.removesuffix("data.pkl") for name in records if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(folders) != 1:
        raise ValueError(f"it is a zip file with {len(folders)} records named FOLDER/data.pkl in place of one")
    (folder,) = folders

    def place(name: str) -> tuple[int, int]:
        return _record(memory, records, folder + name)

    start, size = place("data.pkl")
    described = _interpret(io.BytesIO(memory[start : start + size]))
    places = {key: place(f"data/{key}") for key in described.storages}
    if sum(size for _, size in places.values()) > len(memory):
        raise ValueError("its records overlap")
    for key, (dtype, elements) in described.storages.items():
        if places[key][1] != elements * _itemsize(dtype):
            raise ValueError(
                f"storage {_short(key)} claims {elements} elements of {dtype} and has {places[key][1]} bytes"
            )
    byte_order = b"little"
    if f"{folder}byteorder" in records:
        start, size = place("byteorder")
        byte_order = memory[start : start + min(size, 16)]
    if byte_order not in (b"little", b"big"):
        raise ValueError(f"its byte order is {byte_order!r}, neither little nor big")
    return described.root, _Storages(memory, places, big_endian=byte_order == b"big")


def _record(memory: mmap.mmap, records: dict[str, zipfile.ZipInfo], name: str) -> tuple[int, int]:
    """Position and size of a record's bytes. They are used where they lie, so they must not be compressed."""
    if name not in records:
        raise ValueError(f"its record {_short(name)} is missing")
    info = records[name]
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
        raise ValueError(f"its record {_short(name)} is compressed or encrypted, which PyTorch does not do")
    header = memory[info.header_offset : info.header_offset + 30]
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise ValueError(f"its record {_short(name)} is not where the zip directory says")
    start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))
    if start + info.file_size > len(memory):
        raise ValueError(f"its record {_short(name)} ends {start + info.file_size - len(memory)} bytes after the file")
    return start, info.file_size


def _open_old(memory: mmap.mmap) -> tuple[Any, _Storages]:
    if memory[257:262] == b"ustar":
        raise UnsafeCheckpoint("the tar layout of PyTorch before 0.1.10")
    # What does not begin as a pickle does is not interpreted: any text or picture has some opcodes to complain of.
    if memory[:1] != b"\x80" or _interpret(memory).root != MAGIC_NUMBER:
        raise ValueError("it is no zip file, and does not begin with PyTorch's magic number")
    version, system = _interpret(memory).root, _interpret(memory).root
    if version != PROTOCOL_VERSION:
        raise ValueError(f"its protocol version is not {PROTOCOL_VERSION}, the only one of this layout")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("it was written on a big-endian machine, which only the zip layout can tell of reliably")
    described = _interpret(memory)
    keys = _interpret(memory).root
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is no list of names")
    if sorted(keys) != sorted(described.storages):
        raise ValueError("its list of storages is not the one that its tensors refer to")

    places, position = {}, memory.tell()
    for key in keys:
        dtype, elements = described.storages[key]
        stored = int.from_bytes(memory[position : position + 8], "little", signed=True)
        position += 8
        size = elements * _itemsize(dtype)
        if stored != elements:
            raise ValueError(f"storage {_short(key)} claims {elements} elements and has {stored}")
        if position + size > len(memory):
            raise ValueError(f"storage {_short(key)} ends {position + size - len(memory)} bytes after the file")
        places[key] = (position, size)
        position += size
    return described.root, _Storages(memory, places)
