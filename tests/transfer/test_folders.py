import os

import pytest

from transfer.artifacts.folders import new_folder
from transfer.artifacts.plain_paths import plain_path


def test_a_folder_appears_only_when_the_block_is_done(tmp_path):
    target = tmp_path / "deep" / "result"
    with new_folder(target) as work:
        (work / "a.txt").write_text("a")
        assert not target.exists()
        assert work.parent.parent == target.parent, "one rename has to be enough, so it lies on the same disk"
    assert [path.name for path in target.iterdir()] == ["a.txt"]
    assert [path.name for path in target.parent.iterdir()] == ["result"], "the temporary folder is gone"


def test_other_people_may_read_it(tmp_path):
    with new_folder(tmp_path / "result"):
        pass
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "result").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_error(tmp_path, error):
    def block():
        with new_folder(tmp_path / "result") as work:
            (work / "half.txt").write_text("half")
            raise error

    with pytest.raises(error):
        block()
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_fails_may_keep_what_must_not_be_lost(tmp_path):
    def block():
        with new_folder(tmp_path / "result") as work:
            (work / "model.txt").write_text("an hour's work")
            work.rename(tmp_path / "result.unfinished")
            raise ValueError("no proof")

    with pytest.raises(ValueError, match="no proof"):
        block()
    assert os.listdir(tmp_path) == ["result.unfinished"]
    assert (tmp_path / "result.unfinished" / "model.txt").read_text() == "an hour's work"


def test_a_name_is_no_pattern(tmp_path):
    for name in ("run [1]", "run 1", "run *"):
        with new_folder(tmp_path / name) as work:
            (work / "a.txt").write_text(name)
    assert sorted(os.listdir(tmp_path)) == ["run *", "run 1", "run [1]"]
    assert (tmp_path / "run 1" / "a.txt").read_text() == "run 1"


def test_what_is_there_is_not_touched(tmp_path):
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "old.txt").write_text("old")
    with pytest.raises(FileExistsError, match=r"already holds old\.txt.*overwrite"), new_folder(tmp_path / "result"):
        pytest.fail("the block must not run")
    assert (tmp_path / "result" / "old.txt").read_text() == "old"


def test_a_file_is_not_taken_for_a_folder(tmp_path):
    (tmp_path / "result").write_text("a file")
    with pytest.raises(FileExistsError, match="is a file"), new_folder(tmp_path / "result", overwrite=True):
        pytest.fail("the block must not run")


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "result").mkdir()
    with new_folder(tmp_path / "result") as work:
        (work / "a.txt").write_text("a")
    assert (tmp_path / "result" / "a.txt").exists()


def test_overwriting_replaces_an_earlier_result_whole(tmp_path):
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "a.txt").write_text("old")
    (tmp_path / "result" / "b.txt").write_text("old")
    with new_folder(tmp_path / "result", overwrite=True, contents=("a.txt", "b.txt")) as work:
        (work / "a.txt").write_text("new")
    assert {path.name: path.read_text() for path in (tmp_path / "result").iterdir()} == {"a.txt": "new"}
    assert os.listdir(tmp_path) == ["result"]


def test_overwriting_fails_back_to_what_was_there(tmp_path):
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "a.txt").write_text("old")

    def block():
        with new_folder(tmp_path / "result", overwrite=True, contents=("a.txt",)) as work:
            (work / "a.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        block()
    assert (tmp_path / "result" / "a.txt").read_text() == "old"


def test_overwriting_does_not_delete_what_no_result_holds(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_text("precious")
    with (
        pytest.raises(FileExistsError, match=r"holiday\.jpg.*not overwritten"),
        new_folder(photos, overwrite=True, contents=("a.txt",)),
    ):
        pytest.fail("the block must not run")
    assert (photos / "holiday.jpg").read_text() == "precious"


def test_what_appeared_meanwhile_is_not_overwritten(tmp_path):
    def block():
        with new_folder(tmp_path / "result") as work:
            (work / "ours.txt").write_text("ours")
            (tmp_path / "result").mkdir()
            (tmp_path / "result" / "theirs.txt").write_text("theirs")

    with pytest.raises(FileExistsError, match=r"theirs\.txt"):
        block()
    assert (tmp_path / "result" / "theirs.txt").read_text() == "theirs"


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with new_folder(tmp_path / "link") as work:
        (work / "a.txt").write_text("a")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "a"


# Every character that a file system allows
UNUSUAL = ["a[1]", "x\\y {1,2}", "b*?", "two\nlines", "bytes \udcff", "[", "ü:c;&$(x)~'\"#%"]


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_plain_path_leads_to_the_file_and_to_what_lies_beside_it(tmp_path, name):
    folder = tmp_path / name / "run"
    folder.mkdir(parents=True)
    (folder / "model.xml").write_text("net")
    with plain_path(folder / "model.xml") as path:
        assert not set("[]{}*?\\") & set(str(path))
        assert str(path).isprintable()
        assert path.name == "model.xml"
        path.with_suffix(".bin").write_text("weights")
        assert path.read_text() == "net"
    assert (folder / "model.bin").read_text() == "weights"
    assert (path == folder / "model.xml") == (name == UNUSUAL[-1])


def test_a_usual_path_is_left_as_it_is(tmp_path):
    with plain_path(tmp_path / "a run, ü" / "model.onnx") as path:
        assert path == tmp_path / "a run, ü" / "model.onnx"
