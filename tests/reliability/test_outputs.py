"""What is written is the old or the new whatever happens, one process writes at a time, and nothing is left behind."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from pipelines.outputs import durable
from pipelines.outputs.durable import new_file, replace_durably
from pipelines.outputs.locks import OutputLocked, is_locked, lock_file, output_lock
from transfer.artifacts import folders
from transfer.artifacts.folders import clear_leftovers, new_folder
from transfer.runs import state as run_state
from transfer.runs.state import RunState


class Disk:
    """Knows what has reached the disk: the contents of files, and the names in folders."""

    def __init__(self, monkeypatch):
        self.contents, self.events = {}, []
        sync = os.fsync

        def fsync(number):
            sync(number)
            path = Path(f"/proc/self/fd/{number}").resolve()
            self.contents[os.fstat(number).st_ino] = digest(path)
            self.events.append(("sync", path.name))

        monkeypatch.setattr(durable.os, "fsync", fsync)
        rename = Path.replace

        def replace(new, path):
            assert self.has(new), f"{new} is renamed before its contents are on the disk"
            self.events.append(("rename", Path(path).name))
            return rename(new, path)

        monkeypatch.setattr(Path, "replace", replace)
        exchanged = durable._exchanged

        def exchange(new, path):
            assert self.has(new), f"{new} is renamed before its contents are on the disk"
            self.events.append(("rename", Path(path).name))
            return exchanged(new, path)

        monkeypatch.setattr(durable, "_exchanged", exchange)
        remove = shutil.rmtree

        def rmtree(path, **options):
            self.events.append(("remove", Path(path).name))
            remove(path, **options)

        monkeypatch.setattr(shutil, "rmtree", rmtree)

    def has(self, path):
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        return all(self.contents.get(file.stat().st_ino) == digest(file) for file in files)


def digest(path):
    return sorted(os.listdir(path)) if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def disk(monkeypatch):
    if not Path("/proc/self/fd").exists():
        pytest.skip("the names of open files are read from /proc")
    return Disk(monkeypatch)


# Power cuts


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, disk):
    (tmp_path / "a.txt").write_text("old")
    with new_file(tmp_path / "a.txt") as new:
        new.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"
    assert disk.events == [("sync", ".a.writing.txt"), ("rename", "a.txt"), ("sync", tmp_path.name)]
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path, disk, overwrite):
    if overwrite:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "deep").mkdir()
    with new_folder(tmp_path / "out", overwrite=overwrite, contents=("deep", "b.txt")) as work:
        (work / "deep").mkdir()
        (work / "deep" / "a.txt").write_text("a")
        (work / "b.txt").write_text("b")
    names = [name for kind, name in disk.events[: disk.events.index(("rename", "out"))] if kind == "sync"]
    assert {"a.txt", "b.txt", "deep"} <= set(names)
    assert ("sync", tmp_path.name) in disk.events[disk.events.index(("rename", "out")) :]
    assert os.listdir(tmp_path) == ["out"]


def test_the_state_is_deleted_only_after_what_replaces_it_is_on_the_disk(tmp_path, disk):
    state = RunState(tmp_path / "run")
    with (
        output_lock(state.out),
        state.under_way(resume=True, overwrite=False),
        new_folder(state.out) as work,
        state.watching_disks(),
    ):
        state.begin_or_go_on({"seed": 0}, resume=True)
        assert disk.has(state.folder / "config.json")
        (work / "model.keras").write_text("weights")
    renamed = disk.events.index(("rename", "run"))
    assert disk.events.index(("sync", "model.keras")) < renamed < disk.events.index(("remove", ".run.state"), renamed)
    assert ("sync", tmp_path.name) in disk.events[renamed : disk.events.index(("remove", ".run.state"), renamed)]
    assert os.listdir(tmp_path) == ["run"]


def test_a_link_to_a_file_stays_a_link_and_a_pipe_is_written_to(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with new_file(tmp_path / "link.txt") as new:
        new.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    with new_file(Path("/dev/null")) as new:
        new.write_text("nothing")
    assert not Path("/dev/null").is_file()


def test_what_cannot_be_written_leaves_what_was_there(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def block():
        with new_file(tmp_path / "a.txt") as new:
            new.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        block()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}


def test_overwriting_is_one_step_or_is_mended_by_who_comes_next(tmp_path, monkeypatch):
    """A kill between two renames left neither the old nor the new."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("old")
    monkeypatch.setattr(folders, "exchange", lambda one, other: False)
    with new_folder(tmp_path / "out", overwrite=True, contents=("a.txt",)) as work:
        (work / "a.txt").write_text("new")
    assert (tmp_path / "out" / "a.txt").read_text() == "new"
    # What a kill between them leaves:
    (tmp_path / ".out.partial-x").mkdir()
    replace_durably(tmp_path / "out", tmp_path / ".out.partial-x" / "old")
    clear_leftovers(tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]


# Full disks

Usage = namedtuple("Usage", "total used free")


def run_that_fails(out, error, *, resume=False):
    state = RunState(out)
    with (
        output_lock(state.out),
        state.under_way(resume=resume, overwrite=False),
        new_folder(state.out) as work,
        state.watching_disks(),
    ):
        state.begin_or_go_on({"seed": 0}, resume=resume)
        (work / "half").write_text("half")
        raise error


class OfTensorFlow(Exception):
    """TensorFlow's errors are no OSErrors."""


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "x"), OfTensorFlow("x; No space left on device"), RuntimeError("cannot write")]
)
def test_free_space_is_measured_while_the_disk_is_full(tmp_path, monkeypatch, error):
    """It was measured after half of the result had been deleted, and then the disk was not full any more."""

    def usage(place):
        written = any((place / NEW / "half").exists() for place in tmp_path.glob(".run.partial-*"))
        return Usage(100, 50, 0 if written else 50 * 2**20)

    NEW = folders.NEW
    monkeypatch.setattr(run_state.shutil, "disk_usage", usage)
    with pytest.raises(OSError, match=r"is full; make room\. What the training has reached is kept in .*--resume"):
        run_that_fails(tmp_path / "run", error)
    assert RunState(tmp_path / "run").exists
    assert sorted(os.listdir(tmp_path)) == [".run.state"]


def test_an_error_of_another_kind_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="no"):
        run_that_fails(tmp_path / "run", RuntimeError("no"))
    assert os.listdir(tmp_path) == []


# One process at a time


HOLD = """
import sys
from pipelines.outputs.locks import output_lock
with output_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Another process that holds the lock of an output."""
    processes = []

    def start(out):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_the_second_of_two_processes_is_told_who_the_first_one_is(tmp_path, hold):
    out = tmp_path / "run [1]*"
    process = hold(out)
    with pytest.raises(OutputLocked, match=rf"is being written by process {process.pid} on .* since \d+-\d+-\d+ "):
        output_lock(out).__enter__()
    for other in ("run 1", "run [1]", "run [1]*x"):
        with output_lock(tmp_path / other):  # A name with brackets is no pattern.
            assert is_locked(out)
    process.kill()
    process.wait()
    assert lock_file(out).exists(), "a killed process leaves its lock"
    with output_lock(out):  # which holds nobody up
        assert json.loads(lock_file(out).read_text())["process"] == os.getpid()
    assert os.listdir(tmp_path) == []


def test_two_runs_of_one_process_do_not_share_an_output(tmp_path):
    with output_lock(tmp_path / "run"), pytest.raises(OutputLocked), output_lock(tmp_path / "run"):
        pytest.fail("the block must not run")
    assert not is_locked(tmp_path / "run")


# What killed processes leave


def test_what_a_killed_process_left_is_cleared_by_the_next_and_by_no_other(tmp_path):
    for name in (".run.partial-abc", ".run2.partial-abc", ".run [1].partial-abc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("half")
    with new_folder(tmp_path / "run"):
        pass
    assert sorted(os.listdir(tmp_path)) == [".run [1].partial-abc", ".run2.partial-abc", "run"]


def test_what_a_killed_export_left_inside_of_a_run_does_not_keep_it_from_being_overwritten(tmp_path, hold):
    run = tmp_path / "run"
    (run / ".exported.partial-abc").mkdir(parents=True)
    (run / ".exported.lock").write_text("{}")
    (run / "model.keras").write_text("old")
    contents = ("model.keras", "exported")
    with new_folder(run, overwrite=True, contents=contents) as work:
        (work / "model.keras").write_text("new")
    assert [(path.name, path.read_text()) for path in run.iterdir()] == [("model.keras", "new")]
    (run / "exported").mkdir()
    hold(run / "exported")
    with (
        pytest.raises(FileExistsError, match="exported is being written by another process"),
        new_folder(run, overwrite=True, contents=contents),
    ):
        pytest.fail("the block must not run")
