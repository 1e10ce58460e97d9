"""One writer for every task: tables, lines of JSON, drawings; a job that was stopped goes on where it was."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.outputs.locks import OutputLocked, lock_file
from transfer.predict.embeddings import write_embeddings
from transfer.predict.overlays import write_overlays
from transfer.predict.photos import names_in_common
from transfer.predict.writing import write_drawings, write_predictions
from transfer.tasks.task import Options

NAMES = ["a/x.png", "a_x.png", "b [2]/y*?.png", "b [2]/ö.png", "no object.png", "words.png"]
COLUMNS = {
    "classify": ["label1", "score1", "label2", "score2", "label3", "score3", "label4", "score4", "label5", "score5"],
    "tag": ["labels", "score of red", "score of green & <blue>", "score of blüe"],
    "regress": ["brightness", "contrast"],
    "heads": ["colour", "score of colour", "traits", "score of traits", "light"],
    "locate": ["label", "score", "left", "top", "right", "bottom"],
    "detect": ["label", "score", "left", "top", "right", "bottom"],
    "segment": ["share of red", "share of green & <blue>", "share of blüe"],
}


class Stop(BaseException):
    """Stands for Ctrl-C."""


def stop_after(count):
    def progress(done, total):
        if done >= count:
            raise Stop

    return progress


def read(path):
    """The rows of a table, as text, or the lines of JSON."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".parquet":
        return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


def drawn(place):
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_has_the_columns_of_its_task(predictor, task, folder, tmp_path, suffix):
    out = tmp_path / "new" / f"predictions{suffix}"
    told = []
    written = write_predictions(predictor, folder, out, progress=lambda *numbers: told.append(numbers))
    rows = read(out)
    assert list(rows[0]) == ["path", "error", *COLUMNS[task]]
    assert [row["path"] for row in rows] == NAMES
    assert [row["path"] for row in rows if row["error"]] == ["words.png"]
    assert (written.file, written.num_photos, written.resumed) == (out, 6, 0)
    assert written.unreadable == (("words.png", rows[-1]["error"]),)
    answers = [predictor.predict(folder / name)[0] for name in NAMES[:-1]]
    assert written.num_predictions == sum(len(predictor.task.predictions(answer)) for answer in answers) > 0
    for row, answer in zip(rows, answers, strict=False):
        expected = predictor.task.rows(predictor.task.as_dict(answer), predictor.contract, Options())[0]
        for name, value in expected.items():
            assert row[name] == value if isinstance(value, str) else float(row[name]) == pytest.approx(value)
    assert told == [(count, 6) for count in range(7)]
    assert [path.name for path in out.parent.iterdir()] == [out.name], "nothing else stays"


def test_lines_of_json(predictor, folder, tmp_path):
    write_predictions(predictor, folder, tmp_path / "predictions.jsonl")
    lines = read(tmp_path / "predictions.jsonl")
    for line, name in zip(lines, NAMES, strict=True):
        (answer,) = predictor.predict(folder / name)
        assert line == json.loads(json.dumps(predictor.task.as_dict(answer) | {"path": name}))


def test_parquet_has_numbers_and_text(make_predictor, folder, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_predictions(make_predictor("detect"), folder, tmp_path / "a.parquet")
    types = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "a.parquet")}
    text = dict.fromkeys(("path", "error", "label"), "string")
    assert types == text | dict.fromkeys(("score", "left", "top", "right", "bottom"), "double")


@pytest.mark.parametrize("place", ["truth.json", "annotations/instances_val.json", "photos/truth.json"])
def test_a_detectors_own_document_is_taken_by_cocos_tools(make_predictor, folder, tmp_path, place):
    coco = pytest.importorskip("pycocotools.coco")
    shutil.copytree(folder, tmp_path / "photos")
    truth = tmp_path / place
    truth.parent.mkdir(exist_ok=True)
    numbers = {name: 100 - number for number, name in enumerate(NAMES)}
    images = [{"id": number, "file_name": f"C:\\photos\\{Path(name).name}"} for name, number in numbers.items()]
    categories = [{"id": number, "name": name} for number, name in ((18, "ant"), (7, "bee"))]
    truth.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    predictor = make_predictor("detect", class_ids=(18, 7, 9))
    write_predictions(predictor, tmp_path / "photos", tmp_path / "found.json")
    results = coco.COCO(str(truth)).loadRes(str(tmp_path / "found.json"))
    found = results.loadAnns(results.getAnnIds())
    assert [one["image_id"] for one in found] == [numbers[name] for name in NAMES[:-2]]
    assert {one["category_id"] for one in found} <= {18, 7, 9}
    assert [one["file_name"] for one in found] == NAMES[:-2]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", None])
def test_a_stopped_job_goes_on_where_it_was(predictor, folder, tmp_path, monkeypatch, suffix):
    """The answers and the drawings are those of a job that was never stopped, and nothing is asked twice."""
    paths = []
    for place in ("whole", "stopped"):
        (tmp_path / place).mkdir()
        paths.append((tmp_path / place / f"out{suffix}" if suffix else None, tmp_path / place / "drawings"))
    (whole, whole_drawings), (out, drawings) = paths
    write_predictions(predictor, folder, whole, draw_to=whole_drawings)
    with pytest.raises(Stop):
        write_predictions(predictor, folder, out, draw_to=drawings, progress=stop_after(3))
    assert not (out or drawings / "nothing").exists()
    partial = tmp_path / "stopped" / f".out{suffix}.partial" if suffix else drawings / ".drawings.partial"
    with partial.open("a") as file:
        file.write('{"path": "half a li')
    (drawings / "b [2]" / "ö.png.png").write_bytes(b"half a picture, whose line is not written")

    streamed = []
    stream = type(predictor).stream
    monkeypatch.setattr(
        type(predictor), "stream", lambda self, photos, **rest: streamed.extend(photos) or stream(self, photos, **rest)
    )
    written = write_predictions(predictor, folder, out, draw_to=drawings)
    assert (written.num_photos, written.resumed, len(streamed)) == (6, 3, 3)
    assert not partial.exists()
    if out is not None:
        assert read(out) == read(whole)
    assert drawn(drawings) == drawn(whole_drawings) == sorted(f"{name}.png" for name in NAMES[:-1])
    for name in drawn(drawings):
        np.testing.assert_array_equal(Image.open(drawings / name), Image.open(whole_drawings / name))


def test_what_is_counted_is_in_the_file(make_predictor, folder, tmp_path):
    """A process that is killed can flush nothing any more."""
    lines = []

    def progress(done, total):
        whole = (tmp_path / ".out.csv.partial").read_text().splitlines()
        lines.append((done, len(whole) - 1))
        drawings = [path for path in (tmp_path / "drawings").rglob("*") if path.is_file()]
        assert len(drawings) == sum("error" not in json.loads(line) for line in whole[1:])

    write_predictions(
        make_predictor("detect"), folder, tmp_path / "out.csv", draw_to=tmp_path / "drawings", progress=progress
    )
    assert lines == [(count, count) for count in range(7)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threshold": 0.5}, "another threshold"),
        ({"top": 1}, "another top"),
        ({"draw_to": "other"}, "another drawings"),
        ({"model": "x9"}, "another model"),
    ],
)
def test_an_unfinished_job_is_finished_as_it_began(make_predictor, folder, tmp_path, changes, words):
    predictor = make_predictor("detect")
    with pytest.raises(Stop):
        write_predictions(predictor, folder, tmp_path / "out.csv", progress=stop_after(2))
    if "model" in changes:
        predictor = make_predictor("detect", fingerprint=changes.pop("model"))
    if "draw_to" in changes:
        changes["draw_to"] = tmp_path / changes["draw_to"]
    with pytest.raises(ValueError, match=f"is an unfinished job with {words}; repeat that one"):
        write_predictions(predictor, folder, tmp_path / "out.csv", **changes)
    assert (tmp_path / ".out.csv.partial").exists()


def test_a_job_that_was_stopped_in_its_first_line_begins_anew(make_predictor, folder, tmp_path):
    (tmp_path / ".out.csv.partial").write_text('{"model": "d1", "fol')
    written = write_predictions(make_predictor("detect"), folder, tmp_path / "out.csv")
    assert (written.num_photos, written.resumed) == (6, 0)


def test_a_file_that_cannot_be_written_keeps_the_answers(make_predictor, folder, tmp_path, monkeypatch):
    """The answers took time. What fails after them is repeated without them."""
    predictor = make_predictor("detect")
    documents = type(predictor.task).documents

    def fail(*arguments):
        raise OSError("the disk is full")

    monkeypatch.setattr(type(predictor.task), "documents", {".json": fail})
    with pytest.raises(OSError, match="the disk is full"):
        write_predictions(predictor, folder, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
    monkeypatch.setattr(type(predictor.task), "documents", documents)
    written = write_predictions(predictor, folder, tmp_path / "out.json")
    assert (written.num_photos, written.resumed) == (6, 6)


# Drawings


def test_every_task_is_drawn(predictor, folder, tmp_path):
    written = write_predictions(predictor, folder, draw_to=tmp_path / "drawings")
    assert written.file is None
    assert drawn(tmp_path / "drawings") == sorted(f"{name}.png" for name in NAMES[:-1])
    for name in NAMES[:-2]:
        picture, photo = Image.open(tmp_path / "drawings" / f"{name}.png"), Image.open(folder / name)
        assert (np.asarray(picture.resize(photo.size)) != np.asarray(photo)).any()
        assert picture.width / picture.height == pytest.approx(photo.width / photo.height, rel=0.02)


def test_earlier_drawings_are_kept(make_predictor, folder, tmp_path):
    predictor = make_predictor("classify")
    (tmp_path / "drawings").mkdir()
    (tmp_path / "drawings" / "a_x.png.png").write_bytes(b"somebody's own")
    with pytest.raises(FileExistsError, match=r"a_x\.png\.png is there already; choose another folder"):
        write_predictions(predictor, folder, draw_to=tmp_path / "drawings")
    assert (tmp_path / "drawings" / "a_x.png.png").read_bytes() == b"somebody's own"
    write_predictions(predictor, folder, draw_to=tmp_path / "drawings", overwrite=True)
    assert Image.open(tmp_path / "drawings" / "a_x.png.png").size


def test_photos_of_several_folders_keep_their_names(predictor, folder, tmp_path):
    paths = [folder / "a" / "x.png", folder / "a_x.png", folder / "words.png"]
    answers = predictor.predict(paths)
    written = list(write_drawings(predictor, answers, tmp_path / "drawings"))
    assert [path.relative_to(tmp_path / "drawings").as_posix() for path in written] == ["a/x.png.png", "a_x.png.png"]
    assert drawn(tmp_path / "drawings") == ["a/x.png.png", "a_x.png.png"]


def test_names_as_seen_from_the_folder_in_common(tmp_path):
    assert names_in_common([]) == []
    assert names_in_common(["x/y.jpg", "x/y.jpg"]) == [Path("y.jpg"), Path("y.jpg")]
    assert names_in_common([tmp_path / "x.jpg", "/y.jpg"]) == [tmp_path.relative_to("/") / "x.jpg", Path("y.jpg")]


def test_one_list_says_what_a_photo_is(make_predictor, make_photo, tmp_path):
    """Every suffix that data to train on may have, and nothing that a system left behind."""
    place, photo = tmp_path / "photos", Image.fromarray(make_photo(0))
    place.mkdir()
    kinds = {
        ".jpg": "JPEG",
        ".jfif": "JPEG",
        ".jpe": "JPEG",
        ".dib": "BMP",
        ".tif": "TIFF",
        ".TIFF": "TIFF",
        ".webp": "WEBP",
    }
    for suffix, kind in kinds.items():
        photo.save(place / f"a{suffix}", kind)
    for name in (
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg",
        "#recycle/old.jpg",
        "__MACOSX/a.jpg",
        ".hidden/a.jpg",
        "._a.jpg",
    ):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(place / name)
    (place / "folder.jpg").mkdir()
    photo.save(place / "folder.jpg" / "b.png")
    (place / "Thumbs.db").write_text("no data")
    (place / "notes.txt").write_text("no photo")
    (place / "folder.jpg" / "phone.heic").write_text("of another kind")
    written = write_predictions(make_predictor("classify"), place, tmp_path / "out.csv")
    assert {row["path"] for row in read(tmp_path / "out.csv")} == {
        *(f"a{suffix}" for suffix in kinds),
        "folder.jpg/b.png",
    }
    assert written.unreadable == ()
    assert written.left_out == ("folder.jpg/phone.heic", "notes.txt")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "phone.heic").write_text("of another kind")
    with pytest.raises(ValueError, match=r"holds no images; expected .*\.tiff; found 'phone\.heic'"):
        write_predictions(make_predictor("classify"), tmp_path / "other", tmp_path / "out.jsonl")


def test_names_as_long_as_they_may_be(make_predictor, make_photo, tmp_path):
    place = tmp_path / "photos"
    place.mkdir()
    names = [f"{first}{124 * 'ö'}{last}.png" for first, last in (("aaa", ""), ("aa", "x"), ("aa", "y"))]
    for number, name in enumerate(names):
        assert len(name.encode()) == 255
        Image.fromarray(make_photo(number)).save(place / name)
    out = tmp_path / f"{251 * 'o'}.csv"
    write_predictions(make_predictor("detect"), place, out, draw_to=tmp_path / "drawings")
    assert sorted(row["path"] for row in read(out)) == sorted(names)
    assert len(drawn(tmp_path / "drawings")) == 3
    assert all(name.endswith(".png") and len(name.encode()) <= 255 for name in drawn(tmp_path / "drawings"))


def test_embeddings_of_a_folder_with_photos_that_cannot_be_read(make_predictor, folder, tmp_path):
    written = write_embeddings(make_predictor("classify"), folder, tmp_path / "out.npz")
    assert [path for path, _ in written.unreadable] == ["words.png"]
    with np.load(tmp_path / "out.npz") as file:
        assert file["paths"].tolist() == NAMES[:-1]
        assert file["embeddings"].shape == (5, 3)
    for name in NAMES[:-1]:
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"none of the 1 images could be read; the first, words\.png, cannot be"):
        write_embeddings(make_predictor("classify"), folder, tmp_path / "none.npz")


def test_overlays_of_photos_of_one_name_in_two_folders_stay_apart(make_predictor, make_photo, tmp_path, monkeypatch):
    predictor = make_predictor("classify")
    monkeypatch.setattr(predictor, "explain", lambda photo: np.zeros((32, 48), np.float32))
    paths = [tmp_path / place / "1.png" for place in "ab"]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        Image.fromarray(make_photo(number)).save(path)
    written = list(write_overlays(predictor, paths, tmp_path / "maps"))
    assert drawn(tmp_path / "maps") == ["a/1.png.gradcam.png", "b/1.png.gradcam.png"]
    overlays = [np.asarray(Image.open(path)) for path in written]
    assert [overlay.shape for overlay in overlays] == [np.asarray(Image.open(path)).shape for path in paths]
    assert not np.array_equal(*overlays)


# What cannot be


def test_what_cannot_be_written_is_said_first(predictor, task, folder, tmp_path):
    known = ".csv, .jsonl, .parquet" + (", .json" if task in ("detect", "segment") else "")
    with pytest.raises(ValueError, match=f"a file that ends in {known}, got"):
        write_predictions(predictor, folder, tmp_path / "out.xlsx")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_predictions(predictor, tmp_path / "nowhere", tmp_path / "out.csv")
    with pytest.raises(ValueError, match="or a folder for drawings or masks; got none of them"):
        write_predictions(predictor, folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        write_predictions(predictor, tmp_path / "empty", tmp_path / "out.csv")
    for place in (folder, folder / "drawings"):
        with pytest.raises(ValueError, match="where drawings would be taken for photos"):
            write_predictions(predictor, folder, draw_to=place)
    (tmp_path / "old.csv").write_text("old")
    with pytest.raises(FileExistsError, match="is there already"):
        write_predictions(predictor, folder, tmp_path / "old.csv")
    assert (tmp_path / "old.csv").read_text() == "old"
    write_predictions(predictor, folder, tmp_path / "old.csv", overwrite=True)
    assert len(read(tmp_path / "old.csv")) == 6
    for option in {"top", "threshold"} - predictor.task.options:
        with pytest.raises(ValueError, match=f"{option} says nothing to the task"):
            write_predictions(predictor, folder, tmp_path / "out.csv", **{option: 1})
    if predictor.task.no_views is not None:
        with pytest.raises(ValueError, match="augment is not for the task"):
            write_predictions(predictor, folder, tmp_path / "out.csv", augment=True)
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, "empty", "old.csv"}


def test_a_number_called_like_a_column(make_predictor, folder, tmp_path):
    predictor = make_predictor("regress", number_names=("error", "contrast"))
    with pytest.raises(ValueError, match=r"two columns error; write a \.jsonl file instead"):
        write_predictions(predictor, folder, tmp_path / "out.csv")
    write_predictions(predictor, folder, tmp_path / "out.jsonl")
    assert len(read(tmp_path / "out.jsonl")) == 6


def test_names_that_are_no_unicode_come_back(make_predictor, folder, tmp_path):
    odd = folder / "words, \udcff.png"
    (folder / "a_x.png").rename(odd)
    predictor = make_predictor("classify")
    for suffix in (".csv", ".jsonl", ".parquet"):
        with pytest.raises(Stop):
            write_predictions(predictor, folder, tmp_path / f"out{suffix}", progress=stop_after(5))
        assert write_predictions(predictor, folder, tmp_path / f"out{suffix}").resumed == 5
        (name,) = [row["path"] for row in read(tmp_path / f"out{suffix}") if row["path"].startswith("words, ")]
        assert name == ("words, \udcff.png" if suffix == ".jsonl" else r"words, \udcff.png")


def test_two_jobs_do_not_write_one_file(make_predictor, folder, tmp_path):
    """Rows were doubled where two processes appended to the same answers."""
    predictor = make_predictor("detect")

    def second(done, total):
        with pytest.raises(OutputLocked, match=r"out\.csv is being written by process"):
            write_predictions(predictor, folder, tmp_path / "out.csv")

    written = write_predictions(predictor, folder, tmp_path / "out.csv", progress=second)
    assert written.num_photos == len(read(tmp_path / "out.csv")) == 6
    assert not lock_file(tmp_path / "out.csv").exists()


def test_a_damaged_end_of_a_job_is_cut_off(make_predictor, folder, tmp_path):
    predictor = make_predictor("detect")
    with pytest.raises(Stop):
        write_predictions(predictor, folder, tmp_path / "out.jsonl", progress=stop_after(3))
    with (tmp_path / ".out.jsonl.partial").open("ab") as file:
        file.write(b"\0" * 300 + b"\n" + b'{"path": 1')
    written = write_predictions(predictor, folder, tmp_path / "out.jsonl")
    assert (written.num_photos, written.resumed) == (6, 3)
    assert [row["path"] for row in read(tmp_path / "out.jsonl")] == NAMES


@pytest.mark.parametrize("contents", ["", "\n", '{"model": "d1", "fol', "\0\0\0\n"])
def test_an_empty_or_damaged_beginning_is_no_other_job(make_predictor, folder, tmp_path, contents):
    (tmp_path / ".out.csv.partial").write_text(contents)
    assert write_predictions(make_predictor("detect"), folder, tmp_path / "out.csv").num_photos == 6


def test_a_name_like_a_formula_is_guarded_in_a_table_and_nowhere_else(make_predictor, folder, tmp_path):
    (folder / "a_x.png").rename(folder / "=cmd.png")
    for suffix, name in ((".csv", "'=cmd.png"), (".jsonl", "=cmd.png")):
        write_predictions(make_predictor("classify"), folder, tmp_path / f"out{suffix}")
        assert name in [row["path"] for row in read(tmp_path / f"out{suffix}")]


def test_answers_are_never_held_all_at_once(make_predictor, tmp_path):
    """A detector's file of a million photos did not fit into memory."""
    held, most = [0], [0]

    class Entry(dict):
        def __init__(self, **facts):
            super().__init__(facts)
            held[0] += 1
            most[0] = max(most[0], held[0])

        def __del__(self):
            held[0] -= 1

    class Documents:
        def __iter__(self):
            for number in range(300):
                one = {"index": 0, "label": "red", "score": 0.5, "box": [0, 0, 1, 1]}
                yield Entry(path=f"{number}.jpg", height=5, width=6, predictions=[one])

    predictor = make_predictor("detect")
    for write in predictor.task.documents.values():
        write(tmp_path / "out.json", Documents(), predictor.contract, tmp_path)
    assert len(json.loads((tmp_path / "out.json").read_text())) == 300
    assert most[0] < 10


def test_masks_of_a_task_that_has_none_are_refused_before_any_photo(make_predictor, folder, tmp_path):
    predictor = make_predictor("classify")
    with pytest.raises(ValueError, match="masks are not for the task 'classify', which says nothing of each pixel"):
        write_predictions(predictor, folder, masks_to=tmp_path / "masks")
    assert not (tmp_path / "masks").exists()
