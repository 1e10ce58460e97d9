"""CSV files, data frames and arrays, with one label an image, several, or numbers."""

import numpy as np
import pytest
from PIL import Image

from pipelines import EvaluationCrop, batches, read_arrays, read_data, read_table


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
    data = read_table(table, label=["sea", "sky"], kind="labels", root=folder, valid=0, test=0)
    assert data.class_names == ("sea", "sky")
    assert data.train.labels.tolist() == [[0, 1], [1, 0], [0, 1], [1, 1]]
    assert len(data.skipped) == 2


def test_numbers_to_be_predicted(folder):
    text = "path,width,height\n" + "".join(f"photos/{i}.png,{i / 4},{i}\n" for i in range(8))
    text += "photos/8.png,nan,1\nphotos/9.png,,1\n"
    path = csv_file(folder, text)
    data = read_table(path, label=["width", "height"], kind="numbers")
    assert (data.kind, data.class_names) == ("numbers", ("width", "height"))
    assert everything(data) == {f"photos/{i}.png": [i / 4, i] for i in range(8)}
    assert [skip.place.rsplit(":", 1)[1] for skip in data.skipped] == ["10", "11"]
    one = read_table(path, label="height", kind="numbers", valid=0, test=0)
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
        read_table(path, label="kind")
    with pytest.raises(ValueError, match="received 'boxes'"):
        read_table(path, kind="boxes")
    with pytest.raises(ValueError, match="columns of one length"):
        read_table({"path": ["a"], "label": []})
    with pytest.raises(ValueError, match="received int"):
        read_table(3)


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
