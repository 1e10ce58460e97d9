"""Numbers of NumPy, names that are numbers, images of Pillow, tensors, and open files: taken for what they are."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import EvaluationCrop, read_table
from transfer.measuring.classes import Evaluation
from transfer.models.heads import Head
from transfer.predict.photos import named_photos, pixels_of
from transfer.tasks.classify.answers import ClassifyContract
from transfer.tasks.classify.settings import Classify
from transfer.tasks.regress.answers import RegressContract
from transfer.tasks.tag.answers import TagContract
from transfer.training.plan import Plan

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype("uint8")


def test_numbers_of_numpy_are_numbers():
    settings = Classify(epochs=np.int64(3), seed=np.int32(1), image_size=np.int64(64), learning_rate=np.float32(0.5))
    assert json.loads(json.dumps(settings.as_dict()))["image_size"] == 64
    assert settings == Classify(epochs=3, seed=1, image_size=64, learning_rate=0.5)
    assert Classify(image_size=(np.int64(64), np.int64(96))).image_size == (64, 96)
    plan = Plan(head_epochs=np.int64(1), epochs=np.int64(2), unfreeze=np.float64(0.5))
    json.dumps([vars(stage) for stage in plan.stages])
    assert type(Head(np.int64(3), hidden=[np.int64(4)]).units) is int
    assert Head(np.int64(3), hidden=(np.int64(4),)) == Head(3, hidden=(4,))


@pytest.mark.parametrize("names", [[0, 1], np.array([0, 1]), ["0", np.str_("1")], (0, True + 0)])
def test_names_may_be_numbers(names):
    crop = EvaluationCrop((4, 6))
    for contract in (
        ClassifyContract(names, {0: 0.5}, preparation=crop),
        TagContract(names, preparation=crop),
        RegressContract(names, (1.0, 1.0), preparation=crop),
    ):
        assert contract.names == ("0", "1")
        assert type(contract).from_document(json.loads(contract.to_json())) == contract
    assert Evaluation(names, np.array([0]), np.array([[0.5, 0.5]])).class_names == ("0", "1")


def opened(format="PNG"):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, format)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "photo",
    [Image.fromarray(PIXELS), tf.constant(PIXELS), opened(), opened().getvalue(), PIXELS],
    ids=["Pillow", "tensor", "open file", "contents", "array"],
)
def test_one_photo_is_one_photo_whatever_it_comes_as(photo):
    [(name, same)] = named_photos(photo)
    assert name == "photo 0"
    np.testing.assert_array_equal(pixels_of(same), PIXELS)
    if not isinstance(photo, io.BytesIO):
        assert [name for name, _ in named_photos([photo, photo])] == ["photo 0", "photo 1"]


def test_a_tensor_of_photos_is_so_many_photos():
    several = list(named_photos(tf.constant(np.stack([PIXELS] * 3))))
    assert [name for name, _ in several] == ["photo 0", "photo 1", "photo 2"]
    np.testing.assert_array_equal(pixels_of(several[2][1]), PIXELS)


def test_an_open_file_has_its_name_and_is_read_as_bytes(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    with path.open("rb") as file:
        [(name, photo)] = named_photos(file)
        assert name == str(path)
        np.testing.assert_array_equal(pixels_of(photo), PIXELS)
    (tmp_path / "a.txt").write_text("text")
    with (tmp_path / "a.txt").open() as file, pytest.raises(ValueError, match="mode 'rb'"):
        pixels_of(file)


def test_an_image_of_pillow_has_the_pixels_of_its_file():
    for mode in ("L", "1", "P", "LA", "RGBA", "CMYK"):
        image = Image.fromarray(PIXELS).convert(mode)
        assert pixels_of(image).shape == (5, 7, 3)
    see_through = Image.new("RGBA", (7, 5), (0, 0, 0, 0))
    assert (pixels_of(see_through) == 255).all()
    turned = Image.fromarray(PIXELS)
    turned.getexif()[0x0112] = 6
    np.testing.assert_array_equal(pixels_of(turned), np.rot90(PIXELS, -1))


class Frame:
    """What a data frame of any library has: columns by name; that of polars has no index."""

    columns = ("path", "label")

    def __init__(self, **columns):
        self._columns = columns

    def __getitem__(self, name):
        return self._columns[name]


def test_a_frame_without_an_index_is_a_table(tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(PIXELS).save(tmp_path / name)
    frame = Frame(path=["a.png", "b.png"], label=["ant", "bee"])
    data = read_table(frame, root=tmp_path, valid=0, test=0)
    assert data.class_names == ("ant", "bee")
    assert len(data.train) == 2
