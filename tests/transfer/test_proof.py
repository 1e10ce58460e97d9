"""The proof asks a task what counts, whatever the task: here one that exists in this file only, in NumPy."""

import io
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from pipelines import EvaluationCrop, Letterbox
from pipelines.prepare.photos import decode
from transfer.artifacts import photos as photos_module
from transfer.artifacts.engines.base import Engine
from transfer.artifacts.photos import decoded_photo, proof_photos
from transfer.artifacts.proof import Reference, largest_difference, prove, same_size
from transfer.contract import Contract, ExportError, Output
from transfer.tasks import TASKS, Row
from transfer.tasks.contracts import read_contract
from transfer.tasks.task import Difference, Task


@dataclass(frozen=True)
class SpotContract(Contract):
    """A network that says how bright a photo is, and in which box."""

    task: ClassVar[str] = "spot"

    def outputs(self):
        return {
            "brightness": Output(()),
            "place": Output((2, 4), boxes=True),
            "hidden": Output((3,), internal=True),
        }


class SpotTask(Task):
    name, contract, metrics = "spot", SpotContract, ()
    answer = no_answer = predictions = columns = rows = draw = agreement = None

    def compare(self, expected, actual, size, contract, tolerance):
        values = [np.abs(expected["brightness"] - actual["brightness"]) / 255]
        values.append(np.abs(expected["place"] - actual["place"]).max() / max(size))
        if "hidden" in actual:
            values.append(np.abs(expected["hidden"] - actual["hidden"]).max())
        worst = float(np.nan_to_num(max(values), nan=np.inf))
        return Difference(worst, f"the spot is off by {worst:.3g}" if worst > tolerance else "")

    def limited(self, outputs, contract):
        return outputs | {"brightness": np.minimum(outputs["brightness"], 100.0)}


SpotTask.__abstractmethods__ = frozenset()


@pytest.fixture(autouse=True)
def spot(monkeypatch):
    module = ModuleType("spot_task.answers")
    module.TASK = SpotTask()
    for name in ("spot_task", "spot_task.answers"):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(TASKS, "spot", Row("spot_task", "Spot"))


def network(canvases):
    """What the trained model gives, boxes in pixels of the canvas."""
    canvases = np.asarray(canvases, np.float32)
    brightness = canvases.mean(axis=(1, 2, 3))
    place = np.stack([np.stack([[1, 2, 20, 25], [b / 20, 3, 22, 30]]) for b in brightness]).astype(np.float32)
    return {"brightness": brightness, "place": place, "hidden": np.stack([brightness] * 3, axis=1)}


class SpotEngine(Engine):
    """A runtime that answers as the network does, unless it is told to change that."""

    name = "spot"

    def __init__(self, contract, *, ways=("images", "prepared"), dtypes=("uint8",), limited=False, change=None):
        self.contract, self.ways = contract, ways
        self.dtypes, self.limited = dtypes, limited  # type: ignore[misc]
        self.change = change or (lambda way, images, outputs: outputs)

    def outputs(self, way, images):
        preparation = self.contract.preparation
        if way == "prepared":
            assert images.dtype == preparation.dtype
            return self.change(way, images, network(images))
        photos = [decode(image) for image in images] if way == "image_bytes" else list(images)
        outputs = network([preparation.on_photo(photo) for photo in photos])
        sizes = [photo.shape[:2] for photo in photos]
        moved = [preparation.boxes_to_photo(box, size) for box, size in zip(outputs["place"], sizes, strict=True)]
        public = {"brightness": outputs["brightness"], "place": np.stack(moved)}
        return self.change(way, images, public)


PREPARATIONS = (EvaluationCrop((24, 32), 0.8), Letterbox((32, 48)))


@pytest.fixture(params=PREPARATIONS, ids=lambda one: one.kind)
def contract(request):
    return SpotContract(preparation=request.param)


@pytest.fixture
def photos():
    draw = np.random.default_rng(0)
    shapes = [(40, 61), (57, 33), (90, 30), (64, 64), (35, 50), (44, 71), (31, 47)]
    return [draw.integers(0, 100 + 20 * i, (*shape, 3)).astype(np.uint8) for i, shape in enumerate(shapes)]


@pytest.fixture
def reference(contract, photos):
    return Reference.make(photos, lambda images: network([contract.preparation.on_photo(image) for image in images]))


def test_every_way_in_is_compared_alone_and_in_a_batch(contract, reference):
    ways = ("images", "prepared", "image_bytes")
    engine = SpotEngine(contract, ways=ways, dtypes=("uint8", "float32"))
    encoded = proof_photos()
    few = Reference.make(
        [decode(one) for one in encoded],
        lambda images: network([contract.preparation.on_photo(image) for image in images]),
    )
    checks = prove(engine, "model.spot", few, 1e-4, encoded=encoded)
    endpoints = (contract.preparation.endpoint, "images uint8", "images float32", "image_bytes")
    assert {(check.endpoint, check.batch) for check in checks} == {(one, n) for one in endpoints for n in (1, 5)}
    assert {check.artifact for check in checks} == {"model.spot"}
    assert max(check.max_abs_diff for check in checks) <= 1e-4
    assert len(prove(SpotEngine(contract, ways=("prepared",)), "x", reference, 1e-4)) == 2


def test_boxes_that_stay_on_the_canvas_are_noticed(contract, reference):
    def unmoved(way, images, outputs):
        if way == "images":
            outputs["place"] = network([contract.preparation.on_photo(image) for image in images])["place"]
        return outputs

    with pytest.raises(ExportError, match=r"x, endpoint images uint8, batch of 1, photo 0 of 40 x 61: the spot is off"):
        prove(SpotEngine(contract, change=unmoved), "x", reference, 1e-4)


def test_the_message_names_the_photo_and_the_error_what_failed(contract, reference):
    def wrong(way, images, outputs):
        if way == "prepared" and len(images) == 2:  # The last two of seven photos.
            outputs["brightness"][1] += 51
        return outputs

    with pytest.raises(ExportError) as caught:
        prove(SpotEngine(contract, change=wrong), "model.spot", reference, 1e-4)
    height, width = contract.preparation.size
    assert str(caught.value) == (
        f"model.spot, endpoint {contract.preparation.endpoint}, batch of 5, photo 6 of {height} x {width}: the spot is "
        "off by 0.2. 0.0001 is allowed."
    )
    check = caught.value.check
    assert (check.endpoint, check.batch) == (contract.preparation.endpoint, 5)
    assert check.max_abs_diff == pytest.approx(0.2, abs=1e-3)
    assert caught.value.artifact == "model.spot"


def test_internal_outputs_count_where_they_are_given(contract, reference):
    def wrong(way, images, outputs):
        if way == "prepared":
            outputs["hidden"][:, 2] += 0.01
        return outputs

    with pytest.raises(ExportError, match=r"the spot is off by 0\.01"):
        prove(SpotEngine(contract, change=wrong), "x", reference, 1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_no_proof(contract, reference, value):
    def broken(way, images, outputs):
        return outputs | {"brightness": np.full(len(images), value)}

    with pytest.raises(ExportError, match="photo 0"):
        prove(SpotEngine(contract, change=broken), "x", reference, 1e-4)


def test_the_largest_difference_is_measured_however_large_it_is(contract, reference):
    def far(way, images, outputs):
        return outputs | {"brightness": outputs["brightness"] + 102}

    assert largest_difference(SpotEngine(contract, change=far), "x", reference) == pytest.approx(0.4)

    def broken(way, images, outputs):
        return outputs | {"brightness": np.full(len(images), np.nan)}

    assert largest_difference(SpotEngine(contract, change=broken), "x", reference) == np.inf


def test_a_missing_output_and_an_error_are_named(contract, reference):
    def without(way, images, outputs):
        del outputs["place"]
        return outputs

    with pytest.raises(ExportError, match=r"batch of 1: it does not give place"):
        prove(SpotEngine(contract, change=without), "x", reference, 1e-4)

    def fails(way, images, outputs):
        raise OSError("out of paper")

    with pytest.raises(ExportError, match=r"x, endpoint \w+, batch of 1: it gives no answer: out of paper"):
        prove(SpotEngine(contract, change=fails), "x", reference, 1e-4)


def test_the_limits_of_other_runtimes_are_those_of_the_task(contract, reference):
    def capped(way, images, outputs):
        return outputs | {"brightness": np.minimum(outputs["brightness"], 100.0)}

    assert reference.whole["brightness"].max() > 101
    prove(SpotEngine(contract, limited=True, change=capped), "x", reference, 1e-4)
    with pytest.raises(ExportError):
        prove(SpotEngine(contract, change=capped), "x", reference, 1e-4)


def test_a_proof_is_kept_and_read_back(contract, photos, tmp_path):
    encoded = proof_photos()
    whole = Reference.make(
        [decode(one) for one in [*encoded, *encoded[:2]]],
        lambda images: network([contract.preparation.on_photo(image) for image in images]),
    )
    whole.part(5).save(tmp_path / "proof.npz", encoded)
    again = Reference.load(tmp_path / "proof.npz")
    assert len(again.photos) == 5
    for name in ("brightness", "place", "hidden"):
        np.testing.assert_array_equal(again.whole[name], whole.whole[name][:5])
        np.testing.assert_array_equal(again.cut[name], whole.cut[name][:5])
    assert again.encoded == tuple(encoded)
    for photo, contents in zip(again.photos, encoded, strict=True):
        np.testing.assert_array_equal(photo, decode(contents))


def test_the_proof_photos_are_files_of_several_kinds():
    pictures = [Image.open(io.BytesIO(contents)) for contents in proof_photos()]
    assert {picture.format for picture in pictures} >= {"JPEG", "PNG", "WEBP"}
    assert any(picture.getexif().get(274) == 6 for picture in pictures)
    assert {picture.mode for picture in pictures} >= {"RGB", "RGBA", "P"}
    for index, contents in enumerate(proof_photos()):
        np.testing.assert_array_equal(decoded_photo(contents, index), decode(contents))


def test_decoders_that_do_not_agree_are_no_proof(monkeypatch):
    monkeypatch.setattr(photos_module, "decode", lambda contents: decode(contents)[::-1])
    with pytest.raises(ExportError, match=r"photo 3: Pillow decodes other pixels than those that a model is trained"):
        decoded_photo(proof_photos()[0], 3)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "proof.npz", whole_brightness=np.array([{"a": 1}], dtype=object), cut_brightness=np.zeros(1))
    with pytest.raises(ValueError, match="pickle"):
        Reference.load(tmp_path / "proof.npz")


def test_photos_of_a_batch_are_cut_to_one_size(photos):
    stack = same_size(photos)
    assert stack.shape == (7, 31, 30, 3)
    np.testing.assert_array_equal(stack[2], photos[2][:31, :30])


def test_the_contract_comes_back(contract):
    assert read_contract(contract.to_json()) == contract
