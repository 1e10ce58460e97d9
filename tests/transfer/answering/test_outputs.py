"""One predictor for every task: what goes in, what comes out, and what a task does not have."""

import io
import itertools
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from pipelines import EvaluationCrop, Letterbox
from pipelines.prepare.pixel_range import LooksNormalised
from transfer.tasks import TASKS, task_of
from transfer.tasks.task import Options

WITH_EMBEDDING = {"classify", "tag", "regress", "heads", "locate"}


def same(one, other):
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-6)


def test_every_kind_of_photo_gets_the_same_answer(predictor, make_photo, tmp_path):
    pixels = make_photo(1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    (tmp_path / "a [1].png").write_bytes(file.getvalue())
    path = tmp_path / "a [1].png"
    outputs = [
        predictor.outputs(photos)
        for photos in (
            path,
            str(path),
            file.getvalue(),
            pixels,
            pixels.astype("float32"),
            [path],
            pixels[None],
            tmp_path,
        )
    ]
    outputs.append(predictor.outputs(one for one in [path]))
    for one in outputs:
        same(one, outputs[0])
    (answer,) = predictor.predict(path)
    assert (answer.name, answer.size, answer.error) == (str(path), pixels.shape[:2], None)
    assert predictor.predict(pixels)[0].name == "photo 0"


def test_photos_that_cannot_be_read_get_an_answer_of_their_task(predictor, folder):
    answers = predictor.predict(folder, batch_size=2)
    assert [answer.name for answer in answers] == sorted(answer.name for answer in answers)
    (bad,) = [answer for answer in answers if answer.error]
    assert bad.name.endswith("words.png")
    assert "cannot be decoded" in bad.error
    assert bad.size is None
    assert {type(answer) for answer in answers} == {type(bad)}
    with pytest.raises(ValueError, match=r"words\.png cannot be decoded"):
        predictor.outputs(folder)
    (missing,) = predictor.predict("nowhere.jpg")
    assert missing.error == "cannot be read: No such file or directory"
    (flat,) = predictor.predict(np.zeros((4, 5), "uint8"))
    assert "is no RGB image: expected an array of [height, width, 3], got (4, 5)" in flat.error


def test_photos_that_are_normalised_already_are_warned_of(predictor, make_photo):
    pixels = make_photo(1).astype("float32")
    for photos in ([pixels, pixels / 255], [pixels, pixels / 127.5 - 1], np.stack([pixels, pixels / 255])):
        with pytest.warns(LooksNormalised, match="photo 1 looks normalised already: it is in .*by 255") as seen:
            predictor.outputs(photos, batch_size=1)
        assert len(seen) == 1
    with pytest.warns(LooksNormalised) as seen:
        list(predictor.stream([pixels / 255] * 5, batch_size=2))
    assert len(seen) == 1, "one warning for one job"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor.outputs([pixels, np.zeros((4, 5, 3)), np.ones((4, 5, 3), "uint8")])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(predictor, make_photo, bad):
    pixels = make_photo(1).astype("float32")
    pixels[3, 4, 1] = bad
    answers = predictor.predict([pixels, make_photo(0)])
    assert "not finite numbers" in answers[0].error
    assert answers[1].error is None
    with pytest.raises(ValueError, match="photo 0 holds values that are not finite"):
        predictor.outputs(pixels)
    assert "expected numbers in 0..255" in predictor.predict([np.full((4, 5, 3), "a")])[0].error


def test_outputs_are_stacked_without_the_internal_ones(predictor, make_photo):
    photos = [make_photo(number) for number in range(5)]
    declared = predictor.contract.outputs()
    outputs = predictor.outputs(photos, batch_size=2)
    assert list(outputs) == [name for name, output in declared.items() if not output.internal]
    maps = {name for name in outputs if declared[name].made_of}
    for name in maps:  # They have the sizes of the photos, which differ.
        assert [values.shape for values in outputs[name]] == [one.shape[:2] for one in photos]
        assert {values.dtype.name for values in outputs[name]} == {declared[name].dtype}
        assert predictor.outputs(photos[:1], names=[name])[name].shape == (1, *photos[0].shape[:2])
    predictor.engine.batches = predictor.engine.batches[:3]
    outputs = {name: values for name, values in outputs.items() if name not in maps}
    for name, values in outputs.items():
        assert values.shape == (5, *declared[name].shape)
        assert values.dtype == declared[name].dtype
    assert predictor.engine.batches == [2, 2, 1]
    empty = predictor.outputs([])
    assert {name: (values.shape, values.dtype) for name, values in empty.items() if name not in maps} == {
        name: ((0, *values.shape[1:]), values.dtype) for name, values in outputs.items()
    }
    assert predictor.predict([]) == []
    with pytest.raises(ValueError, match=r"gives no 'masks'; it gives"):
        predictor.outputs(photos, names=["masks"])


def test_what_a_task_has_no_output_for_is_refused(predictor, make_photo):
    photos = [make_photo(number) for number in range(2)]
    outputs = predictor.contract.outputs()
    for name, ask in (("probabilities", predictor.probabilities), ("embedding", predictor.embeddings)):
        if name in outputs:
            assert ask(photos).shape[0] == 2
        else:
            with pytest.raises(ValueError, match=f"'{predictor.task.name}' gives no '{name}'; it gives"):
                ask(photos)
    assert ("embedding" in outputs) == (predictor.task.name in WITH_EMBEDDING)
    if not predictor.task.explains:
        assert not predictor.can_explain
        with pytest.raises(ValueError, match=f"cannot be computed for models of the task '{predictor.task.name}'"):
            predictor.explain(photos[0])


@pytest.mark.parametrize("task", ["locate", "detect"])
def test_boxes_are_in_pixels_of_the_photo(task, make_predictor, make_photo, true_box):
    predictor = make_predictor(task)
    for number in range(3):
        outputs = predictor.outputs(make_photo(number))
        boxes = outputs["box"] if task == "locate" else outputs["boxes"][:, 0]
        np.testing.assert_allclose(boxes, [true_box], atol=1.5)
        (answer,) = predictor.predict(make_photo(number))
        shown = answer.box if task == "locate" else answer.objects[0].box
        np.testing.assert_allclose(shown, true_box, atol=1.5)


@pytest.mark.parametrize(("option", "value", "outside"), [("top", 1, 0), ("threshold", 0.999, 2)])
def test_options_are_those_of_the_task(predictor, make_photo, option, value, outside):
    if option in predictor.task.options:
        (plain,), (limited,) = predictor.predict(make_photo(0)), predictor.predict(make_photo(0), **{option: value})
        before, after = (
            [row for row in predictor.task.predictions(answer) if "score" in row] for answer in (plain, limited)
        )
        heads = {row.get("head") for row in before}
        assert before
        assert len(after) == (len(heads) if option == "top" else 0)
        with pytest.raises(ValueError, match=f"got {option}={outside}"):
            predictor.stream([], **{option: outside})
    else:
        with pytest.raises(ValueError, match=f"{option} says nothing to the task '{predictor.task.name}'"):
            predictor.stream([], **{option: value})
    with pytest.raises(ValueError, match="at least 1 photo at a time, got batch_size=0"):
        predictor.stream([], batch_size=0)


def test_views_are_merged_or_refused(predictor, make_photo):
    pixels = make_photo(2)
    if predictor.task.no_views is not None:
        for ask in (predictor.predict, predictor.outputs):
            with pytest.raises(ValueError, match=f"augment is not for the task '{predictor.task.name}': "):
                ask(pixels, augment=True)
        return
    pixels[:30] //= 4  # The halves differ, and so do the crops.
    views = []
    for crop, mirrored in predictor.contract.preparation.views():
        image = crop.on_photo(pixels)
        views.append(predictor.answer_prepared((image[:, ::-1] if mirrored else image)[None])[0])
    assert len(views) == 4
    outputs = predictor.outputs([pixels, make_photo(0)], augment=True)
    assert predictor.engine.batches[-1] == 8
    for name, values in outputs.items():
        np.testing.assert_allclose(values[0], np.mean([view[name] for view in views], axis=0), atol=1e-6)
    (answer,) = predictor.predict([pixels], augment=True)
    merged = {name: values[0] for name, values in outputs.items()}
    assert answer == predictor.answer("photo 0", merged, pixels.shape[:2], Options())


@pytest.mark.parametrize("preparation", [Letterbox((48, 64)), EvaluationCrop((48, 64), 1.0)])
def test_boxes_of_mirrored_views_are_turned_back(make_predictor, make_photo, true_box, monkeypatch, preparation):
    monkeypatch.setattr(type(task_of("locate")), "no_views", None)
    predictor = make_predictor("locate", preparation=preparation)
    outputs = predictor.outputs([make_photo(0), make_photo(4)], augment=True)
    np.testing.assert_allclose(outputs["box"], [true_box, true_box], atol=1.6)


def test_a_generator_is_read_as_answers_are_taken(predictor):
    taken = itertools.count()
    photos = (np.full((20, 30, 3), next(taken) % 256, "uint8") for _ in itertools.count())
    answers = predictor.stream(photos, batch_size=4)
    assert [next(answers).name for _ in range(10)] == [f"photo {i}" for i in range(10)]
    assert next(taken) <= 10 + 3 * 4
    answers.close()


def test_large_canvases_go_in_small_batches(make_predictor, make_photo):
    for size, largest in (((32, 48), 32), ((640, 640), 8), ((1300, 1300), 1)):
        predictor = make_predictor("detect", preparation=Letterbox(size))
        predictor.outputs(make_photo(0) for _ in range(largest + 1))
        assert predictor.engine.batches == [largest, 1]


def test_prepared_images_get_the_same_answers(predictor, make_photo):
    """What the server does: it prepares, asks about several images at once, and moves boxes."""
    photos = [make_photo(number) for number in range(3)]
    outputs = predictor.answer_prepared(np.stack([predictor.prepare(image) for image in photos]))
    assert len(outputs) == 3
    for pixels, one in zip(photos, outputs, strict=True):
        moved = predictor.in_photo(one, pixels.shape[:2])
        expected = predictor.outputs(pixels)
        same({name: values[None] for name, values in moved.items()}, expected)
        answer = predictor.answer("x", moved, pixels.shape[:2], Options())
        assert predictor.task.predictions(answer) == predictor.task.predictions(predictor.predict(pixels)[0])


def test_no_task_loads_tensorflow_to_predict():
    code = (
        "import sys, transfer.predict.loading, transfer.predict.writing, transfer.predict.overlays\n"
        "from transfer.tasks import TASKS, task_of\n"
        "tasks = [task_of(name) for name in TASKS]\n"
        "print(len(tasks), [name for name in ('tensorflow', 'keras', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{len(TASKS)} []"


def test_what_the_network_is_given(predictor, make_photo):
    crop = predictor.crop(make_photo(0))
    preparation = predictor.contract.preparation
    assert crop.shape == (*preparation.size, 3)
    assert crop.dtype == preparation.dtype
    assert predictor.class_names == predictor.contract.names
