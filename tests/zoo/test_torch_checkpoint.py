"""Reads checkpoints that PyTorch wrote, checkpoints that are written here opcode by opcode, and hostile files."""

import io
import os
import pickle
import struct
import sys
import tarfile
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.weights.torch_checkpoint import MAGIC_NUMBER, UnsafeCheckpoint, read

DATA = Path(__file__).parent / "data"


# --- A small writer of both layouts, which puts pickles together from their opcodes


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]


def numbers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def storage(key="0", *, kind="FloatStorage", elements=6, view=b"") -> bytes:
    return b"(" + text("storage") + name("torch", kind) + text(key) + text("cpu") + number(elements) + view + b"tQ"


def tensor(source=None, *, offset=0, shape=(2, 3), strides=(3, 1)) -> bytes:
    arguments = (source or storage()) + number(offset) + numbers(shape) + numbers(strides) + b"\x89N"
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def dictionary(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


VALUES = np.arange(6, dtype="<f4")


def write_old(path: Path, body: bytes, storages=None, *, little_endian=True, version=1001) -> Path:
    storages = {"0": VALUES} if storages is None else storages
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(item, protocol=2) for item in (MAGIC_NUMBER, version, system)]
    parts += [program(body), pickle.dumps(list(storages), protocol=2)]
    parts += [struct.pack("<q", data.size) + data.tobytes() for data in storages.values()]
    path.write_bytes(b"".join(parts))
    return path


def write_zip(path: Path, body: bytes, storages=None, *, byteorder="little", compression=zipfile.ZIP_STORED) -> Path:
    storages = {"0": VALUES} if storages is None else storages
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program(body))
        if byteorder:
            archive.writestr("archive/byteorder", byteorder)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data.tobytes())
        archive.writestr("archive/version", "3\n")
    return path


both_layouts = pytest.mark.parametrize("write", [write_old, write_zip], ids=["old", "zip"])


# --- Files that PyTorch wrote


@pytest.mark.parametrize(
    ("file", "prefix"),
    [
        ("torch_old", "same/"),
        ("torch_zip", "same/"),
        ("torch_zip_new_types", "new_types/"),
        ("torch_module", "module/"),
        ("torch_protocol4", "module/"),
    ],
)
def test_files_that_pytorch_wrote_read_as_pytorch_reads_them(file, prefix):
    arrays = read(DATA / f"{file}.pth")
    with np.load(DATA / "torch_expected.npz") as expected:
        wanted = {key.removeprefix(prefix): expected[key] for key in expected.files if key.startswith(prefix)}
    assert list(arrays) == list(wanted)
    for key, array in wanted.items():
        assert arrays[key].dtype == array.dtype, key
        np.testing.assert_array_equal(arrays[key], array, err_msg=key, strict=True)


def test_arrays_are_read_only_and_share_memory_as_in_the_file():
    arrays = read(DATA / "torch_old.pth")
    assert np.shares_memory(arrays["base"], arrays["transposed"])
    assert not np.shares_memory(arrays["base"], arrays["scalar"])
    for array in arrays.values():
        assert not array.flags.writeable or array.size == 0


def test_a_whole_pickled_model_is_refused_by_the_name_of_its_class():
    with pytest.raises(UnsafeCheckpoint, match=r"torch_whole_model.pth: torch\.nn\.modules\.container\.Sequential is"):
        read(DATA / "torch_whole_model.pth")


def test_reading_imports_no_framework():
    assert "torch" not in sys.modules


# --- Files that the writer above wrote


@both_layouts
def test_offsets_and_strides_are_honoured(tmp_path, write):
    body = dictionary(plain=tensor(), column=tensor(offset=1, shape=(2,), strides=(3,)))
    arrays = read(write(tmp_path / "a.pth", body))
    np.testing.assert_array_equal(arrays["plain"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(arrays["column"], [1, 4])


@both_layouts
@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
def test_parameters_are_taken_out_of_their_wrapper(tmp_path, write, wrapper):
    body = dictionary(**{"optimizer": dictionary(m=tensor()), wrapper: dictionary(**{"a.weight": tensor()})})
    assert list(read(write(tmp_path / "a.pth", body))) == ["a.weight"]


def test_other_nesting_gives_dotted_names(tmp_path):
    body = dictionary(encoder=dictionary(weight=tensor()), heads=b"](" + tensor() + tensor() + b"e", epoch=number(3))
    assert list(read(write_zip(tmp_path / "a.pth", body))) == ["encoder.weight", "heads.0", "heads.1"]


def test_a_tensor_by_itself_is_named_tensor(tmp_path):
    assert list(read(write_zip(tmp_path / "a.pth", tensor()))) == ["tensor"]


def test_views_of_storages_in_the_oldest_files(tmp_path):
    view = b"(" + text("view") + number(2) + number(3) + b"t"
    body = dictionary(a=tensor(storage(view=view), offset=1, shape=(2,), strides=(1,)))
    np.testing.assert_array_equal(read(write_old(tmp_path / "a.pth", body))["a"], [3, 4])


def test_what_python_2_and_pytorch_0_1_wrote(tmp_path):
    parameter = name("torch.nn.parameter", "Parameter") + b"(" + tensor() + b"\x88tR"
    pair = b"](U\x01w" + parameter + b"e"  # a short byte string for a name
    body = name("collections", "OrderedDict") + b"(](" + pair + b"etR"
    np.testing.assert_array_equal(read(write_old(tmp_path / "a.pth", body))["w"], VALUES.reshape(2, 3))


def test_a_big_endian_zip_is_read_in_its_own_order(tmp_path):
    body = dictionary(a=tensor(), b=tensor(storage("1", kind="BFloat16Storage", elements=2), shape=(2,), strides=(1,)))
    halves = np.array([0x3F80, 0xC000], ">u2")  # 1 and -2
    path = write_zip(tmp_path / "a.pth", body, {"0": VALUES.astype(">f4"), "1": halves}, byteorder="big")
    np.testing.assert_array_equal(read(path)["a"], VALUES.reshape(2, 3))
    np.testing.assert_array_equal(read(path)["b"], [1, -2])


def test_a_big_endian_old_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="big-endian"):
        read(write_old(tmp_path / "a.pth", dictionary(a=tensor()), little_endian=False))


def test_a_missing_byte_order_means_little(tmp_path):
    path = write_zip(tmp_path / "a.pth", dictionary(a=tensor()), byteorder=None)
    np.testing.assert_array_equal(read(path)["a"], VALUES.reshape(2, 3))


def test_bytes_that_are_no_bool_become_one(tmp_path):
    body = dictionary(a=tensor(storage(kind="BoolStorage", elements=3), shape=(3,), strides=(1,)))
    array = read(write_zip(tmp_path / "a.pth", body, {"0": np.array([0, 2, 255], "u1")}))["a"]
    assert array.tobytes() == b"\x00\x01\x01"


# --- Files that contain code


class Harmful:
    """An object whose pickle is a call of the function with the arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def carriers(tmp_path, marker):
    """Returns files in every layout whose pickle would create `marker`, with the name that must be refused."""
    harmful = Harmful(os.system, f"touch '{marker}'")
    system = f"{os.system.__module__}.system"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        body = pickle.dumps({"a": harmful}, protocol=protocol)[:-1]
        body = body[2:] if protocol >= 2 else body
        yield system, write_old(tmp_path / f"old{protocol}.pth", body)
        yield system, write_zip(tmp_path / f"zip{protocol}.pth", body)
    plain = tmp_path / "plain.pth"
    plain.write_bytes(pickle.dumps(harmful))
    yield system, plain
    first = tmp_path / "first.pth"
    first.write_bytes(pickle.dumps(harmful) + (DATA / "torch_old.pth").read_bytes())
    yield system, first
    evaluation = Harmful(eval, f"open({str(marker)!r}, 'w')")
    body = dictionary(a=tensor(), b=pickle.dumps(evaluation, protocol=2)[2:-1])
    yield "__builtin__.eval", write_zip(tmp_path / "eval.pth", body)


def test_a_checkpoint_that_carries_code_is_refused_by_name_and_nothing_runs(tmp_path):
    marker = tmp_path / "was here"
    refused = 0
    for dangerous, path in carriers(tmp_path, marker):
        with pytest.raises(UnsafeCheckpoint) as caught:
            read(path)
        assert dangerous in str(caught.value)
        assert "Nothing was executed" in str(caught.value)
        assert str(path) in str(caught.value)
        refused += 1
    assert refused == 15
    assert not marker.exists()
    # The files do contain code: loading one with pickle creates the marker.
    pickle.loads((tmp_path / "plain.pth").read_bytes())
    assert marker.exists()


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b"ios\nsystem\n(U\x02lst", "os.system"),
        (b"(icollections\nOrderedDict\n", "INST"),
        (b"(" + name("collections", "OrderedDict") + b"o", "the pickle opcode OBJ"),
        (name("collections", "OrderedDict") + b")\x81", "the pickle opcode NEWOBJ"),
        (name("collections", "OrderedDict") + b"}b", "the state of a Name"),
        (tensor() + b"}b", "the state of a Tensor"),
        (name("torch", "FloatStorage") + b")R", "a call of torch.FloatStorage"),
        (name("torch", "load") + text("other.pth") + b"\x85R", "torch.load"),
        (name("torch.FloatStorage", "__init__") + b")R", "torch.FloatStorage.__init__"),
        (text("torch") + text("hub.load") + b"\x93", "torch.hub.load"),
        (b"\x82\x01", "the pickle opcode EXT1"),
        (b"P0\n", "the pickle opcode PERSID"),
        (
            b"(" + text("module") + name("torch", "FloatStorage") + text("model.py") + text("import os") + b"tQ",
            "module",
        ),
    ],
)
@both_layouts
def test_every_way_to_make_an_object_is_refused_by_name(tmp_path, write, body, refused):
    with pytest.raises(UnsafeCheckpoint) as caught:
        read(write(tmp_path / "a.pth", dictionary(a=body)))
    assert refused in str(caught.value)


def test_a_text_is_no_name(tmp_path):
    body = text("torch._utils._rebuild_tensor_v2") + b")R"
    with pytest.raises(ValueError, match="has a str where a Name belongs"):
        read(write_zip(tmp_path / "a.pth", body))


def test_the_tar_layout_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    with tarfile.open(path, "w") as archive:
        for member in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(member))
    with pytest.raises(UnsafeCheckpoint, match=r"the tar layout of PyTorch before 0\.1\.10"):
        read(path)


# --- Damaged files, and files with false claims


def test_a_missing_and_an_empty_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        read(tmp_path / "none.pth")
    (tmp_path / "empty.pth").touch()
    with pytest.raises(ValueError, match=r"empty\.pth is empty"):
        read(tmp_path / "empty.pth")


@pytest.mark.parametrize("contents", [b"\x89PNG\r\n\x1a\n" + bytes(100), b"<html>", b"import os\n", bytes(1000)])
def test_another_kind_of_file(tmp_path, contents):
    (tmp_path / "a.pth").write_bytes(contents)
    with pytest.raises(ValueError, match="does not begin with PyTorch's magic number"):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize("file", ["torch_old.pth", "torch_zip.pth"])
def test_a_file_cut_off_anywhere(tmp_path, file):
    contents = (DATA / file).read_bytes()
    for length in range(1, len(contents) - 1, 7):
        path = tmp_path / "a.pth"
        path.write_bytes(contents[:length])
        with pytest.raises(ValueError, match=r"a\.pth"):
            read(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_but_never_worse(tmp_path_factory, data):
    contents = bytearray((DATA / data.draw(st.sampled_from(["torch_old.pth", "torch_module.pth"]))).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(contents)
    try:
        arrays = read(path)
    except ValueError:
        return
    for array in arrays.values():
        array.tobytes()  # Every byte can be read.


@both_layouts
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (dictionary(a=tensor(offset=1)), "reaches element 6 of a storage that has 6"),
        (dictionary(a=tensor(offset=-1)), "a tensor has -1"),
        (dictionary(a=tensor(strides=(-3, 1))), "a tensor has -3"),
        (dictionary(a=tensor(shape=(-2, 3))), "a tensor has -2"),
        (dictionary(a=tensor(shape=(2**62, 3))), "a tensor has 4611686018427387904"),
        (dictionary(a=tensor(shape=(2, 3, 1))), "3 dimensions and 2 strides"),
        (dictionary(a=tensor(shape=(1,) * 40, strides=(1,) * 40)), "40 dimensions"),
        (dictionary(a=tensor(shape=(2**40,), strides=(0,))), "claims 4398046511104 bytes"),
        (dictionary(a=tensor(storage(elements=-6))), "has -6 elements"),
        (dictionary(a=tensor(storage(elements=2**50))), "storage '0' "),
        (dictionary(a=tensor(storage(elements=7))), "storage '0' claims 7 elements"),
        (dictionary(a=tensor(), b=tensor(storage(kind="IntStorage"))), "described in two ways"),
        (dictionary(a=tensor(number(3))), "has a int where a Storage belongs"),
        (b"}(" + number(1) + tensor() + text("1") + tensor() + b"u", "two tensors are named 1"),
        (b"}(" + numbers((1, 2)) + tensor() + b"u", "a key of type tuple"),
        (b"h\x05", "malformed"),
        (b"0", "malformed"),
        (b"\x85", "takes more from the stack"),
        (b"}\x8c\xff", "malformed (expected 255 bytes"),
        (dictionary(**{"x" * 2000: tensor()}), "a name is longer than"),
        (b"}q\x00" + text("a") + b"h\x00s" + text("b") + tensor() + b"s", "more than 16 levels"),
    ],
)
def test_claims_that_the_file_does_not_bear_out(tmp_path, write, body, message):
    with pytest.raises(ValueError, match=r"a\.pth") as caught:
        read(write(tmp_path / "a.pth", body))
    assert message in str(caught.value)


@both_layouts
@pytest.mark.parametrize("body", [dictionary(a=number(3)), number(3), b"N", b"]"])
def test_nothing_in_it(tmp_path, write, body):
    with pytest.raises(ValueError, match="it holds no tensor"):
        read(write(tmp_path / "a.pth", body, {}))


def test_storages_that_are_not_there(tmp_path):
    body = dictionary(a=tensor(storage("1")))
    with pytest.raises(ValueError, match="record 'archive/data/1' is missing"):
        read(write_zip(tmp_path / "a.pth", body))
    with pytest.raises(ValueError, match="list of storages is not the one"):
        read(write_old(tmp_path / "a.pth", body))


def test_dictionaries_that_multiply(tmp_path):
    # Each of thirteen levels refers ten times to the level below: 10^13 names in 700 bytes.
    body = dictionary(w=tensor()) + b"q\x00"
    for level in range(1, 14):
        references = b"".join(text(str(i)) + b"h" + bytes([level - 1]) for i in range(10))
        body += b"}(" + references + b"uq" + bytes([level])
    with pytest.raises(ValueError, match="nests more than"):
        read(write_zip(tmp_path / "a.pth", body))


def test_a_compressed_record_is_refused_unread(tmp_path):
    bomb = write_zip(
        tmp_path / "a.pth",
        dictionary(a=tensor(storage(elements=2**22), shape=(2**22,), strides=(1,))),
        {"0": np.zeros(2**22, "<f4")},
        compression=zipfile.ZIP_DEFLATED,
    )
    assert bomb.stat().st_size < 2**20
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="is compressed"):
            read(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_huge_numbers_in_a_pickle_allocate_nothing(tmp_path):
    bodies = [
        b"]r" + struct.pack("<I", 2**32 - 1),  # An entry of the memo with a huge number.
        b"X" + struct.pack("<I", 2**32 - 1) + b"abc",  # A text of 4 GiB.
        b"\x8d" + struct.pack("<Q", 2**62) + b"abc",
        b"\x8b" + struct.pack("<i", 2**31 - 1) + b"abc",
    ]
    tracemalloc.start()
    try:
        for body in bodies:
            for write in (write_old, write_zip):
                with pytest.raises(ValueError, match=r"a\.pth"):
                    read(write(tmp_path / "a.pth", body))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_zip_files_that_are_no_checkpoint(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/readme.txt", "hello")
    with pytest.raises(ValueError, match=r"0 records named FOLDER/data\.pkl"):
        read(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/data.pkl", program(tensor()))
    with pytest.raises(ValueError, match="its record 'a/data/0' is missing"):
        read(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a/readme.txt", "hello again")
    with pytest.raises(ValueError, match="two of its records have the same name"):
        read(path)


def directory_entry(contents: bytes, name: str) -> int:
    """Returns the position of the entry of a record in the directory of a zip file, which follows all records."""
    return contents.rindex(name.encode(), 0, contents.rindex(b"PK\x05\x06")) - 46


def test_a_zip_directory_that_points_elsewhere(tmp_path):
    path = write_zip(tmp_path / "a.pth", dictionary(a=tensor()))
    contents = bytearray(path.read_bytes())
    struct.pack_into("<I", contents, directory_entry(contents, "archive/data/0") + 42, 3)
    path.write_bytes(contents)
    with pytest.raises(ValueError, match="is not where the zip directory says"):
        read(path)


def test_storages_that_end_after_the_file(tmp_path):
    path = write_old(tmp_path / "a.pth", dictionary(a=tensor()))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="storage '0' ends 1 bytes after the file"):
        read(path)
    path = write_zip(tmp_path / "b.pth", dictionary(a=tensor(storage(elements=1000))))
    contents = bytearray(path.read_bytes())
    struct.pack_into("<II", contents, directory_entry(contents, "archive/data/0") + 20, 4000, 4000)
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=r"record 'archive/data/0' ends \d+ bytes after the file"):
        read(path)


def test_a_record_that_is_called_compressed(tmp_path):
    path = write_zip(tmp_path / "a.pth", dictionary(a=tensor()))
    contents = bytearray(path.read_bytes())
    struct.pack_into("<H", contents, directory_entry(contents, "archive/data/0") + 10, zipfile.ZIP_DEFLATED)
    path.write_bytes(contents)
    with pytest.raises(ValueError, match="is compressed"):
        read(path)


def test_records_that_overlap(tmp_path):
    # Four storages of 4 kB share the same 4 kB: converted copies of such storages could grow without bound.
    sources = {str(i): storage(str(i), kind="HalfStorage", elements=2000) for i in range(4)}
    body = dictionary(**{key: tensor(source, shape=(2000,), strides=(1,)) for key, source in sources.items()})
    path = write_zip(tmp_path / "a.pth", body, {key: np.zeros(2000 if key == "0" else 2, "<f2") for key in sources})
    contents = bytearray(path.read_bytes())
    first = directory_entry(contents, "archive/data/0")
    where, size = (struct.unpack_from("<I", contents, first + at) for at in (42, 20))
    for key in "123":
        entry = directory_entry(contents, f"archive/data/{key}")
        struct.pack_into("<II", contents, entry + 20, *size, *size)
        struct.pack_into("<I", contents, entry + 42, *where)
    path.write_bytes(contents)
    with pytest.raises(ValueError, match="its records overlap"):
        read(path)


def test_a_zip_that_lies_about_its_byte_order(tmp_path):
    with pytest.raises(ValueError, match="neither little nor big"):
        read(write_zip(tmp_path / "a.pth", dictionary(a=tensor()), byteorder="middle"))


def test_an_old_file_of_another_protocol(tmp_path):
    with pytest.raises(ValueError, match="protocol version"):
        read(write_old(tmp_path / "a.pth", dictionary(a=tensor()), version=1002))


def test_a_long_pickle_is_cut_short(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.weights.torch_checkpoint.pickles.MAX_OPCODES", 50)
    with pytest.raises(ValueError, match="more than 50 opcodes"):
        read(write_zip(tmp_path / "a.pth", b"]0" * 100 + dictionary(a=tensor())))


def test_a_list_of_pairs_is_not_copied_twice(tmp_path):
    # Many ordered dictionaries are made of one long list.
    pairs = b"](" + b"".join(b"](" + text(str(i)) + number(i) + b"e" for i in range(1000)) + b"eq\x00"
    again = b"(" + (name("collections", "OrderedDict") + b"h\x00\x85R") * 1000 + b"t"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"no tensor|nests more"):
            read(write_zip(tmp_path / "a.pth", pairs + b"0" + again))
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_the_writer_writes_what_pickle_reads():
    """Python itself reads the pickle that is put together from opcodes."""

    class Reader(pickle.Unpickler):
        def find_class(self, module, attribute):
            return OrderedDict if attribute == "OrderedDict" else lambda *arguments: arguments

        def persistent_load(self, description):
            return description[2]

    body = program(dictionary(a=tensor(), b=name("collections", "OrderedDict") + b")R"))
    value = Reader(io.BytesIO(body)).load()
    assert value == {"a": ("0", 0, (2, 3), (3, 1), False, None), "b": OrderedDict()}
