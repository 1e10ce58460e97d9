"""The two layouts of a checkpoint, and the bytes of the storages in them."""

import io
import math
import mmap
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from zoo.weights.torch_checkpoint.descriptions import (
    MAX_EXPANSION,
    Storage,
    Tensor,
    UnsafeCheckpoint,
    itemsize,
    numpy_dtype,
    short,
)
from zoo.weights.torch_checkpoint.pickles import interpret

__all__ = ["MAGIC_NUMBER", "PROTOCOL_VERSION", "Storages", "open_old", "open_zip"]

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001


class Storages:
    """The places of the storages in a mapped file, and the arrays that are views of them.

    Args:
        memory: The whole file.
        places: key -> (position of the first byte, number of bytes).
        big_endian: Whether the file has the most significant byte of each element first. Defaults to False.
    """

    def __init__(self, memory: mmap.mmap, places: dict[str, tuple[int, int]], *, big_endian: bool = False):
        self.memory = memory
        self.places = places
        self.byte_order = ">" if big_endian else "<"
        self.converted: dict[tuple[str, str], np.ndarray] = {}

    def array(self, name: str, tensor: Tensor) -> np.ndarray:
        """Returns a tensor as a read-only array that shares its memory with the file.

        Raises:
            ValueError: The tensor reaches beyond its storage. The message has its name.
        """
        storage, size = tensor.storage, itemsize(tensor.dtype)
        available = storage.elements * itemsize(storage.dtype) // size
        elements = math.prod(tensor.shape)
        last = tensor.offset + sum(
            (extent - 1) * stride for extent, stride in zip(tensor.shape, tensor.strides, strict=True)
        )
        if elements and last >= available:
            raise ValueError(f"tensor {short(name)} reaches element {last} of a storage that has {available}")
        if elements * size > len(self.memory) + MAX_EXPANSION:
            raise ValueError(f"tensor {short(name)} claims {elements * size} bytes, the file has {len(self.memory)}")
        if not elements:
            return np.empty(tensor.shape, numpy_dtype(tensor.dtype, self.byte_order))
        buffer, start, dtype = self._buffer(storage, tensor.dtype)
        first = storage.start * itemsize(storage.dtype) // size + tensor.offset
        strides = tuple(stride * dtype.itemsize for stride in tensor.strides)
        return np.ndarray(tensor.shape, dtype, buffer, start + first * dtype.itemsize, strides)

    def _buffer(self, storage: Storage, dtype: str) -> tuple[Any, int, np.dtype]:
        """Returns the buffer that holds the elements of a storage, the position of the first one, and their type."""
        key = storage.key
        start, size = self.places[key]
        if dtype not in ("bfloat16", "bool"):
            return self.memory, start, numpy_dtype(dtype, self.byte_order)
        if (key, dtype) not in self.converted:
            if dtype == "bool":
                # A view does not serve, because NumPy takes no byte other than 0 and 1 for a bool.
                values = np.frombuffer(self.memory, "u1", size, start) != 0
            else:
                halves = np.frombuffer(self.memory, self.byte_order + "u2", size // 2, start)
                values = (halves.astype("u4") << 16).view("f4")
            values.setflags(write=False)
            self.converted[key, dtype] = values
        values = self.converted[key, dtype]
        return values, 0, values.dtype


def open_zip(path: Path, memory: mmap.mmap) -> tuple[Any, Storages]:
    """Returns the object of a checkpoint in the zip layout, and its storages.

    Raises:
        UnsafeCheckpoint: The pickle asks for more than tensors in dictionaries.
        ValueError: The file is damaged, or no checkpoint.
    """
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
    described = interpret(io.BytesIO(memory[start : start + size]))
    places = {key: place(f"data/{key}") for key in described.storages}
    if sum(size for _, size in places.values()) > len(memory):
        raise ValueError("its records overlap")
    for key, (dtype, elements) in described.storages.items():
        if places[key][1] != elements * itemsize(dtype):
            raise ValueError(
                f"storage {short(key)} claims {elements} elements of {dtype} and has {places[key][1]} bytes"
            )
    byte_order = b"little"
    if f"{folder}byteorder" in records:
        start, size = place("byteorder")
        byte_order = memory[start : start + min(size, 16)]
    if byte_order not in (b"little", b"big"):
        raise ValueError(f"its byte order is {byte_order!r}, neither little nor big")
    return described.root, Storages(memory, places, big_endian=byte_order == b"big")


def _record(memory: mmap.mmap, records: dict[str, zipfile.ZipInfo], name: str) -> tuple[int, int]:
    """Returns the position and the size of the bytes of a record. They must not be compressed."""
    if name not in records:
        raise ValueError(f"its record {short(name)} is missing")
    info = records[name]
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
        raise ValueError(f"its record {short(name)} is compressed or encrypted, which PyTorch does not do")
    header = memory[info.header_offset : info.header_offset + 30]
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise ValueError(f"its record {short(name)} is not where the zip directory says")
    start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))
    if start + info.file_size > len(memory):
        raise ValueError(f"its record {short(name)} ends {start + info.file_size - len(memory)} bytes after the file")
    return start, info.file_size


def open_old(memory: mmap.mmap) -> tuple[Any, Storages]:
    """Returns the object of a checkpoint in the old layout, and its storages.

    Raises:
        UnsafeCheckpoint: The pickle asks for more than tensors in dictionaries, or the file is a tar file.
        ValueError: The file is damaged, or no checkpoint.
    """
    if memory[257:262] == b"ustar":
        raise UnsafeCheckpoint("the tar layout of PyTorch before 0.1.10")
    # A file that does not begin like a pickle is not interpreted, because any text or picture contains some opcodes.
    if memory[:1] != b"\x80" or interpret(memory).root != MAGIC_NUMBER:
        raise ValueError("it is no zip file, and does not begin with PyTorch's magic number")
    version, system = interpret(memory).root, interpret(memory).root
    if version != PROTOCOL_VERSION:
        raise ValueError(f"its protocol version is not {PROTOCOL_VERSION}, the only one of this layout")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("it was written on a big-endian machine, which only the zip layout can tell of reliably")
    described = interpret(memory)
    keys = interpret(memory).root
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is no list of names")
    if sorted(keys) != sorted(described.storages):
        raise ValueError("its list of storages is not the one that its tensors refer to")

    places, position = {}, memory.tell()
    for key in keys:
        dtype, elements = described.storages[key]
        stored = int.from_bytes(memory[position : position + 8], "little", signed=True)
        position += 8
        size = elements * itemsize(dtype)
        if stored != elements:
            raise ValueError(f"storage {short(key)} claims {elements} elements and has {stored}")
        if position + size > len(memory):
            raise ValueError(f"storage {short(key)} ends {position + size - len(memory)} bytes after the file")
        places[key] = (position, size)
        position += size
    return described.root, Storages(memory, places)
