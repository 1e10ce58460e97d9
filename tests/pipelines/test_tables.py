"""CSV files, data frames and arrays, with one label an image, several, or numbers."""

import numpy as np
import pytest
from PIL import Image

from pipelines import (
    Data,
    EvaluationCrop,
    Scene,
    Target,
    WrongKind,
    audit,
    batches,
    read_arrays,
    read_data,
    read_scenes,
    read_table,
    write_scenes,
)
from pipelines.sources.columns import kind_of_column


@pytest.fixture
def folder(tmp_path):
    for number in range(12):
        path = tmp_path / "photos" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 6), (number, 0, 0)).save(path)
    return tmp_path


def csv_file(folder, text, name="table.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def rows(count=12, separator=",", start=0):
    return "".join(f"photos/{i}.png{separator}{'cat' if i % 3 else 'dog'}\n" for i in range(start, count))


def everything(data):
    """Label of each image, by its name."""
    return {
        name: label
        for part in (data.train, data.valid, data.test)
        for name, label in zip(part.names, part.labels.tolist(), strict=True)
    }


@pytest.mark.parametrize(("separator", "bom"), [(",", ""), (";", "\ufeff"), ("\t", "")])
def test_csv(folder, separator, bom):
    path = csv_file(folder, f"{bom}Filename{separator}Class\n" + rows(separator=separator))
    data = read_data(path)
    assert data.kind == "classes"
    assert data.class_names == ("cat", "dog")
    assert data.skipped == ()
    assert everything(data) == {f"photos/{i}.png": int(i % 3 == 0) for i in range(12)}
    assert data.train.labels.dtype == np.int32
    assert len(data.valid) >= 2  # one of each class
    images, _ = next(iter(batches(data.train, EvaluationCrop((6, 9), 1.0), batch_size=3)))
    assert images.shape == (3, 6, 9, 3)
    numbers = [int(name.split("/")[1].split(".")[0]) for name in data.train.names[:3]]
    assert images[:, 0, 0, 0].numpy().tolist() == numbers


def test_csv_with_quotes_lines_within_cells_and_numbers_as_classes(folder):
    (folder / 'photos/odd, "name".png').write_bytes((folder / "photos/0.png").read_bytes())
    text = "note,path,label\n" + "".join(f"x,photos/{i}.png,{(9, 10, 100)[i % 3]}\n" for i in range(12))
    text += '"two\nlines","photos/odd, ""name"".png",9\nx,photos/gone.png,9\n'
    data = read_data(csv_file(folder, text))
    assert data.class_names == ("9", "10", "100")  # as numbers, not as texts
    assert everything(data)['photos/odd, "name".png'] == 0
    assert [skip.place.rsplit(":", 1)[1] for skip in data.skipped] == ["16"]


def test_splits_of_the_table_are_used(folder):
    roles = ["train"] * 8 + ["Validation"] * 2 + ["test"] * 2
    table = {
        "path": [f"photos/{i}.png" for i in range(12)],
        "label": ["cat", "dog"] * 6,
        "split": roles,
    }
    data = read_table(table, root=folder)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [8, 2, 2]
    table["split"][3] = "holdout"
    data = read_table(table, root=folder)
    assert len(data.train) == 7
    assert "split 'holdout' is none of train, val and test" in data.skipped[0].reason


@pytest.mark.parametrize(
    "name", ["split", "Split", "SUBSET", "set", "Partition", "fold", "Usage", "stage", "Data Split"]
)
def test_splits_of_the_table_are_used_whatever_their_case_and_word(folder, name):
    roles = ["Training set", "TRAIN"] * 4 + ["Validation", "dev"] + ["PublicTest", "test_set"]
    table = {"path": [f"photos/{i}.png" for i in range(12)], "label": ["cat", "dog"] * 6, name: roles}
    data = read_table(table, root=folder)
    assert [len(part) for part in data.splits.values()] == [8, 2, 2]
    assert data.skipped == ()
    assert len(data.notes) == (name.lower() not in ("split", "subset"))


@pytest.mark.parametrize(
    ("flags", "counts"),
    [
        ({"is_valid": ["False", "True"] * 6}, [6, 6, 0]),
        ({"Is Train": [1, 1, 0] * 4}, [8, 0, 4]),
        ({"is_val": [0, 0, 1] * 4, "is_test": [1, 0, 0] * 4}, [4, 4, 4]),
    ],
)
def test_splits_of_yes_and_no_are_used(folder, flags, counts):
    table = {"path": [f"photos/{i}.png" for i in range(12)], "label": ["cat"] * 6 + ["dog"] * 6, **flags}
    data = read_table(table, root=folder, valid=0)
    assert [len(part) for part in data.splits.values()] == counts
    assert len(data.notes) == 1


def test_likely_split_columns_that_are_not_used_are_named(folder):
    table = {"path": [f"photos/{i}.png" for i in range(12)], "label": ["cat", "dog"] * 6, "Fold": list(range(4)) * 3}
    data = read_table(table, root=folder, valid=0, test=0)
    assert len(data.train) == 12
    assert "column 'Fold' may say which rows are held out, and is not used: its values '0', '1'" in data.notes[0]
    assert [finding.kind for finding in audit(data, decode=False).findings if "Fold" in finding.message] == ["reading"]
    table |= {"split": ["train", "val"] * 6, "set": ["train"] * 9 + ["test"] * 3}
    data = read_table({**table, "label": ["cat"] * 6 + ["dog"] * 6}, root=folder)
    assert [len(part) for part in data.splits.values()] == [6, 6, 0]
    assert ["column 'set' may" in note for note in data.notes] == [True]
    named = read_table({**table, "label": ["cat"] * 6 + ["dog"] * 6}, root=folder, split="set", valid=0)
    assert ([len(part) for part in named.splits.values()], named.notes) == ([9, 0, 3], ())
    # A column that is learned is no split.
    assert len(read_table(table, root=folder, targets="split", kind="classes", valid=0).train) == 9


def test_data_frames(folder):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"file": [f"photos/{i}.png" for i in range(12)], "y": [0, 1] * 6})
    frame.loc[3, "y"] = None  # turns the column into floats
    data = read_table(frame, root=folder)
    assert data.class_names == ("0", "1")
    assert len(data) == 11
    assert data.skipped[0].place == "data frame:4"
    assert "has no label" in data.skipped[0].reason


def test_several_labels_in_one_column(folder):
    cells = ["sea|sky", "sky", "", "sea | land", "land", "sky"]
    table = {"path": [f"photos/{i}.png" for i in range(6)], "tags": cells}
    data = read_table(table, kind="labels", root=folder, valid=0.2, test=0)
    assert data.kind == "labels"
    assert data.class_names == ("land", "sea", "sky")
    assert data.train.labels.dtype == np.float32
    expected = [[0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert everything(data) == {f"photos/{i}.png": row for i, row in enumerate(expected)}
    _, labels = next(iter(batches(data.train, EvaluationCrop((4, 4)), batch_size=2)))
    assert labels.shape == (2, 3)
    known = read_table(table, kind="labels", root=folder, class_names=["sky", "sea"], valid=0, test=0)
    assert len(known.train) == 4
    assert "'land' is none of 'sky', 'sea'" in known.skipped[0].reason


def test_several_labels_in_columns(folder):
    table = {"path": [f"photos/{i}.png" for i in range(6)], "sea": [0, 1] * 3, "sky": ["1", "0", "1", "true", "2", ""]}
    data = read_table(table, targets=["sea", "sky"], kind="labels", root=folder, valid=0, test=0)
    assert data.class_names == ("sea", "sky")
    assert data.train.labels.tolist() == [[0, 1], [1, 0], [0, 1], [1, 1]]
    assert len(data.skipped) == 2


def test_numbers_to_be_predicted(folder):
    text = "path,width,height\n" + "".join(f"photos/{i}.png,{i / 4},{i}\n" for i in range(8))
    text += "photos/8.png,nan,1\nphotos/9.png,,1\n"
    path = csv_file(folder, text)
    data = read_table(path, targets=["width", "height"], kind="numbers")
    assert (data.kind, data.class_names) == ("numbers", ("width", "height"))
    assert everything(data) == {f"photos/{i}.png": [i / 4, i] for i in range(8)}
    assert [skip.place.rsplit(":", 1)[1] for skip in data.skipped] == ["10", "11"]
    one = read_table(path, targets="height", kind="numbers", valid=0, test=0)
    assert one.train.labels.shape == (10, 1)


def test_faults_are_listed_with_file_and_line(folder):
    text = "path,label\n" + rows() + "photos/gone.png,cat\n\nphotos/1.png,cat\n,cat\nphotos/2.png\n"
    path = csv_file(folder, text.replace("photos/5.png,cat", "photos/5.png,"))
    data = read_table(path)
    reasons = {skip.place.rsplit(":", 1)[1]: skip.reason for skip in data.skipped}
    assert set(reasons) == {"7", "14", "16", "17", "18"}
    assert "has no label" in reasons["7"]
    assert "there is no" in reasons["14"]
    assert "in line 3 already" in reasons["16"]
    assert "no path" in reasons["17"]
    with pytest.raises(ValueError, match=r"table\.csv:7: has no label .*strict=True"):
        read_table(path, strict=True)


def test_unknown_classes(folder):
    path = csv_file(folder, "path,label\n" + rows(11) + "photos/11.png,ant\n")
    data = read_table(path, class_names=["dog", "cat"])
    assert data.class_names == ("dog", "cat")
    assert "class 'ant' is none of 'dog', 'cat'" in data.skipped[0].reason
    with pytest.raises(ValueError, match=r"\['ant'\] without images to train on"):
        read_table(csv_file(folder, "path,label\n" + rows()), class_names=["dog", "cat", "ant"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\nphotos/0.png,caf\u00e9\n", r"table\.csv:2: byte 0xe9 is not UTF-8"),
        ("where,label\nx,y\n", r"expected a column one of path, .*found 'where', 'label'.*path="),
        ("path,path\nx,y\n", "column names that differ"),
        ('path,label\n"x,y\n', r"table\.csv:2: is not valid CSV"),
        ("path,label\n", "no row with an image"),
        ("path,label\nx.png,cat\n", r"no row with an image.*table\.csv:2: there is no"),
        ("path,label\nphotos/0.png,cat\n", "expected two or more classes"),
    ],
)
def test_tables_that_cannot_be_used(folder, text, message):
    with pytest.raises(ValueError, match=message):
        read_table(csv_file(folder, text, encoding="latin-1"))


def test_wrong_arguments(folder):
    path = csv_file(folder, "path,label\n" + rows())
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_table(folder / "none.csv")
    with pytest.raises(ValueError, match="expected a column 'kind'"):
        read_table(path, targets="kind")
    with pytest.raises(ValueError, match="received 'boxes'"):
        read_table(path, kind="boxes")
    with pytest.raises(ValueError, match="columns of one length"):
        read_table({"path": ["a"], "label": []})
    with pytest.raises(ValueError, match="received int"):
        read_table(3)


# Several targets, and kinds that were not asked for


@pytest.fixture
def pets(folder):
    text = "path,species,age,tags,weight,split\n"
    for i in range(12):
        split = ("train", "train", "val", "test")[i % 4]
        text += (
            f"photos/{i}.png,{'cat' if i % 3 else 'dog'},{i / 2},{('wet', 'wet|red', '')[i % 3]},{100 + i},{split}\n"
        )
    return csv_file(folder, text)


def test_several_targets(pets):
    data = read_data(pets, kind="several", targets=("species", "age", "tags:labels", "weight:numbers"))
    assert data.kind == "several"
    assert data.class_names == ("species", "age", "tags", "weight")
    assert data.targets == (
        Target("species", "classes", ("cat", "dog"), 0),
        Target("age", "numbers", ("age",), 1),
        Target("tags", "labels", ("red", "wet"), 2),
        Target("weight", "numbers", ("weight",), 4),
    )
    assert [len(part) for part in data.splits.values()] == [6, 3, 3]
    assert data.valid.labels.dtype == np.float32
    assert data.valid.names == ("photos/2.png", "photos/6.png", "photos/10.png")
    assert data.valid.labels.tolist() == [[0, 1, 0, 0, 102], [1, 3, 0, 1, 106], [0, 5, 1, 1, 110]]
    unpacked = data.unpack(data.valid.labels)
    assert unpacked["species"].dtype == np.int32
    assert {name: labels.tolist() for name, labels in unpacked.items()} == {
        "species": [0, 1, 0],
        "age": [[1], [3], [5]],
        "tags": [[0, 0], [0, 1], [1, 1]],
        "weight": [[102], [106], [110]],
    }
    _, labels = next(iter(batches(data.valid, EvaluationCrop((6, 9)), batch_size=3)))
    assert {name: own.numpy().tolist() for name, own in data.unpack(labels).items()} == {
        name: own.tolist() for name, own in unpacked.items()
    }
    assert [target.name for target in read_data(pets, kind="several").targets] == ["species", "age", "tags", "weight"]


def test_kinds_of_targets_are_guessed(folder):
    table = {
        "path": [f"photos/{i}.png" for i in range(12)],
        "a": [1, 2] * 6,
        "b": [1.5, 2] * 6,
        "c": [f"x{i % 3}" for i in range(12)],
        "d": [["red"], ["red", "wet"]] * 6,
        "e": [None, *range(11)],
        "f:numbers": ["x", "y"] * 6,
    }
    data = read_table(table, kind="several", targets=["a", "b", "c", "d", "f:numbers"], root=folder)
    kinds = [(target.name, target.kind) for target in data.targets]
    expected = ["classes", "numbers", "classes", "labels", "classes"]
    assert kinds == list(zip(["a", "b", "c", "d", "f:numbers"], expected, strict=True))
    known = {"a": ["2", "1"]}
    table = {**table, "a": [2, 1] * 6}
    other = read_table(table, kind="several", targets=["a", "e"], class_names=known, root=folder)
    assert other.targets[0].class_names == ("2", "1")
    assert "e: has no label" in other.skipped[0].reason
    assert kind_of_column(list(range(20))) == "classes"
    assert kind_of_column(list(range(21))) == "numbers"
    assert kind_of_column(["1.5", "2.5", "unknown"]) == "numbers"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "several", "targets": ("species", "size")}, "expected a column 'size'.*targets="),
        ({"kind": "several", "targets": ("species:classes", "split:classes", "path:labels", "x")}, "column 'x'"),
        ({"kind": "classes", "targets": ("species", "tags")}, 'one column for the kind "classes", received'),
        (
            {"kind": "numbers", "targets": ("age:labels",)},
            "targets of the kind 'labels' for data of",
        ),
        ({"kind": "words"}, "one of classes, labels, numbers, several; received 'words'"),
    ],
)
def test_targets_that_cannot_be(pets, options, message):
    with pytest.raises(ValueError, match=message):
        read_data(pets, **options)


def test_a_target_with_a_single_class(folder):
    table = {"path": [f"photos/{i}.png" for i in range(4)], "a": ["x"] * 4, "b": [0.5] * 4}
    with pytest.raises(ValueError, match=r"expected two or more classes in 'a', found \('x',\)"):
        read_table(table, kind="several", targets=("a", "b"), root=folder, valid=0, test=0)


def test_data_of_another_kind_say_of_which(pets, make_folder, tmp_path):
    folders = make_folder({"a": 4, "b": 4})
    np.savez(tmp_path / "numbers.npz", x_train=np.zeros([4, 5, 5], np.uint8), y_train=[0.5, 1, 2, 3])
    scene = Scene(np.zeros((6, 9, 3), np.uint8), "a.png", (6, 9), boxes=[[1, 2, 3, 4]], classes=[0])
    write_scenes(Data(("ant",), [scene] * 1), tmp_path / "boxes", layout="yolo")
    cases = [
        (read_data, pets, {"kind": "classes", "targets": "age"}, "classes", "numbers"),
        (read_data, pets, {"kind": "numbers", "targets": "species"}, "numbers", "classes"),
        (read_data, folders, {"kind": "numbers"}, "numbers", "classes"),
        (read_data, folders, {"kind": "several"}, "several", "classes"),
        (read_data, "sklearn:digits", {"kind": "labels"}, "labels", "classes"),
        (read_data, tmp_path / "numbers.npz", {}, "classes", "numbers"),
        (read_data, tmp_path / "boxes", {"kind": "labels"}, "labels", "boxes"),
        (read_scenes, folders, {}, "boxes", "classes"),
        (read_scenes, pets, {}, "boxes", "classes"),
        (read_scenes, "sklearn:digits", {}, "boxes", "classes"),
    ]
    for read, spec, options, expected, actual in cases:
        with pytest.raises(WrongKind) as caught:
            read(spec, **options)
        assert (caught.value.expected, caught.value.actual) == (expected, actual)
        assert str(spec) in str(caught.value) or spec == tmp_path / "numbers.npz"
    with pytest.raises(ValueError, match="has no columns to choose"):
        read_data(folders, targets="age")


@pytest.mark.parametrize(
    ("name", "separator"), [("table.tsv", "\t"), ("TABLE.CSV", ","), ("table.TSV", "\t"), ("labels", ";")]
)
def test_paths_count_from_the_folder_of_their_table_whatever_its_suffix(folder, name, separator, monkeypatch):
    path = csv_file(folder, f"path{separator}label\n" + rows(separator=separator), name=name)
    monkeypatch.chdir(folder.parent)
    for table in (path, str(path), f"{folder.name}/{name}", f"{folder.name}/../{folder.name}/{name}"):
        assert len(read_table(table)) == 12
        assert name == "labels" or len(read_data(table)) == 12


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x85", "\r\n", "\n", "\r"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_end_where_the_csv_module_ends_them(folder, mark, end):
    names = [f"photos/{i}.png" for i in range(12)]
    text = end.join(
        ["path,label", *(f'{name},"{"cat" if i % 2 else f"big{mark}dog"}"' for i, name in enumerate(names))]
    )
    data = read_data(csv_file(folder, text))
    assert data.class_names == (f"big{mark}dog", "cat")
    assert (len(data), data.faults) == (12, ())


# Arrays


def test_arrays(tmp_path):
    images = np.arange(30 * 4 * 5, dtype=np.uint8).reshape(30, 4, 5)
    labels = np.arange(30) % 3
    held_out = {"test": (images[:6, ..., None], labels[:6, None])}
    data = read_arrays(images, labels, class_names=["a", "b", "c"], held_out=held_out)
    assert len(data.test) == 6
    assert len(data.train) + len(data.valid) == 30
    for name, image, label in zip(data.train.names, data.train.images, data.train.labels, strict=True):
        number = int(name.split("-")[1])
        assert np.array_equal(image, np.repeat(images[number][..., None], 3, axis=-1))
        assert label == labels[number]
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3])
    stored = read_data(tmp_path / "a.npz")
    assert stored.valid.names == data.valid.names
    assert len(stored.test) == 3
    named = read_arrays(images, np.array(["x", "y", "z"])[labels], valid=0, test=0)
    assert named.class_names == ("x", "y", "z")
    assert np.array_equal(named.train.labels, labels)


def test_arrays_of_several_labels_or_numbers():
    images = np.zeros([10, 4, 5, 3], np.uint8)
    data = read_arrays(images, np.eye(10)[:, :4], kind="labels", class_names=list("abcd"), valid=0, test=0)
    assert data.train.labels.tolist() == np.eye(10)[:, :4].tolist()
    data = read_arrays(images, np.linspace(0, 1, 10), kind="numbers", valid=0.2, test=0)
    assert data.train.labels.shape == (len(data.train), 1)


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (np.zeros([4, 5, 5, 3]), [0, 1] * 2, {}, r"received float64 \[4, 5, 5, 3\]"),
        (np.zeros([4, 5, 5, 4], np.uint8), [0, 1] * 2, {}, "received uint8"),
        (np.zeros([4, 5, 5], np.uint8), [0, 1, 2, -1], {}, "expected class indices 0 to 2"),
        (np.zeros([4, 5, 5], np.uint8), [0, 1, 2, 3], {"class_names": ["a", "b"]}, "expected class indices 0 to 1"),
        (np.zeros([4, 5, 5], np.uint8), [0.0, 1.0] * 2, {}, 'kind="numbers"'),
        (np.zeros([4, 5, 5], np.uint8), [0, 1, 1], {}, "4 images, 3 labels"),
        (np.zeros([4, 5, 5], np.uint8), [[0, 2]] * 4, {"kind": "labels"}, "expected 0 and 1"),
        (np.zeros([4, 5, 5], np.uint8), [np.nan] * 4, {"kind": "numbers"}, "finite numbers"),
        (np.zeros([4, 5, 5], np.uint8), [0, 1] * 2, {"held_out": {"val": None}}, r"received \['val'\]"),
    ],
)
def test_arrays_that_are_refused(images, labels, options, message):
    with pytest.raises(ValueError, match=message):
        read_arrays(images, np.array(labels), valid=0, test=0, **options)


def test_annotated_folders_are_told_from_class_folders(folder):
    from pipelines import Data, Scene, write_scenes

    scene = Scene(np.zeros([4, 5, 3], np.uint8), "a.png", (4, 5))
    for layout in ("voc", "yolo", "coco"):
        write_scenes(Data(("a",), (scene,)), folder / layout, layout=layout)
        with pytest.raises(ValueError, match=rf"layout '{layout}'.*pipelines\.read_scenes"):
            read_data(folder / layout)
