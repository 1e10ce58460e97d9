import runpy
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def _torch_writer():
    return runpy.run_path(str(Path(__file__).parent / "test_torch_checkpoint.py"))


@pytest.fixture
def torch_file(_torch_writer, tmp_path):
    """Returns a function that writes arrays by name, as PyTorch saves the `state_dict` of a model in its zip layout."""

    def write(arrays: dict[str, np.ndarray]) -> Path:
        body, storages = {}, {}
        for key, (name, array) in enumerate(arrays.items()):
            array = np.ascontiguousarray(array)
            storages[str(key)] = array
            kind = {"f": "FloatStorage", "i": "LongStorage"}[array.dtype.kind]
            source = _torch_writer["storage"](str(key), kind=kind, elements=array.size)
            strides = [stride // array.itemsize for stride in array.strides]
            body[name] = _torch_writer["tensor"](source, shape=array.shape, strides=strides)
        return _torch_writer["write_zip"](tmp_path / "given.pth", _torch_writer["dictionary"](**body), storages)

    return write
