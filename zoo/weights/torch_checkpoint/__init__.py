"""Reads PyTorch checkpoints without PyTorch, and without executing anything.

A checkpoint consists of a pickle and the raw bytes of its tensors. A pickle is a program: `pickle.load` imports what
the pickle names and calls it, so that a file from a stranger can do everything that the person who reads it can do.
This package does not run the pickle. The standard library's disassembler (`pickletools`) splits it into opcodes, and a
small machine carries out the opcodes that make containers, numbers and strings. A name such as
`torch._utils._rebuild_tensor_v2` is only a string that the machine looks up in a fixed table. It imports and calls
nothing by name. A name or an opcode that is not in the tables is refused.

Two layouts are read:

* The zip layout, which PyTorch has written since version 1.6: `NAME/data.pkl` is the pickle, and `NAME/data/KEY`
  contains the bytes of the storage KEY.
* The old layout of versions 0.1.10 to 1.5, which `torch.save(..., _use_new_zipfile_serialization=False)` still writes:
  one pickle each for a magic number, the version of the protocol, the byte order of the system, the object, and the
  keys of the storages. Then, for each key, the number of elements (a little-endian int64) and their bytes follow.

The tar files of earlier versions are refused. The file is mapped into memory, and the tensors are views of it and not
copies. The limits in `zoo.weights.torch_checkpoint.descriptions` and a small multiple of the size of the file bound
the memory that a hostile file can make this package allocate.
"""

from zoo.weights.torch_checkpoint.descriptions import UnsafeCheckpoint
from zoo.weights.torch_checkpoint.layouts import MAGIC_NUMBER
from zoo.weights.torch_checkpoint.reading import read

__all__ = ["MAGIC_NUMBER", "UnsafeCheckpoint", "read"]
