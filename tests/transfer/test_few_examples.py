"""Classes from a few photos, and the nearest photos, with a backbone whose embedding is the mean colour."""

import keras
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import transfer
from pipelines import EvaluationCrop
from transfer.cli.main import app
from transfer.runs.few_examples import embed, from_embeddings


@pytest.fixture(scope="module")
def colours():
    image = keras.Input((8, 12, 3))
    model = keras.Model(image, keras.layers.Rescaling(1 / 255)(image))
    return transfer.Backbone("colours", model, EvaluationCrop((8, 12)), None, None)


def photo(colour, seed=0, size=(20, 30)):
    noise = np.random.default_rng(seed).normal(0, 20, (*size, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype("uint8")


RED, GREEN, BLUE = (200, 60, 60), (60, 190, 40), (40, 70, 220)


@pytest.mark.parametrize("method", ["mean", "logistic"])
def test_a_few_photos_teach_classes(colours, method):
    support = {"red": [photo(RED, 1), photo(RED, 2)], "green": [photo(GREEN, 3)], "blue": [photo(BLUE, 4)]}
    known = transfer.few_shot(colours, support, method=method)
    assert known.predict([photo(BLUE, 5), photo(RED, 6, (31, 9)), photo(GREEN, 7)]) == ["blue", "red", "green"]
    shares = known.probabilities([photo(RED, 8)])
    assert shares.shape == (1, 3)
    assert shares.sum() == pytest.approx(1)


def test_two_classes_and_one_photo_of_each_are_enough(colours, tmp_path):
    for name, colour in (("red", RED), ("blue", BLUE)):
        (tmp_path / name).mkdir()
        Image.fromarray(photo(colour)).save(tmp_path / name / "1.png")
    for method in ("mean", "logistic"):
        known = transfer.few_shot(colours, tmp_path, method=method)
        assert known.class_names == ("blue", "red")
        assert known.predict([photo(RED, 2)]) == ["red"]


def test_the_nearest_mean_equals_a_loop(colours):
    rng = np.random.default_rng(0)
    vectors, labels, queries = rng.normal(size=(9, 5)), np.arange(9) % 3, rng.normal(size=(20, 5))
    unit = lambda v: v / np.linalg.norm(v)  # noqa: E731
    centre = np.mean([vectors[labels == c].mean(axis=0) for c in range(3)], axis=0)
    expected = []
    for query in queries:
        cosines = []
        for c in range(3):
            prototype = unit(np.mean([unit(v - centre) for v in vectors[labels == c]], axis=0))
            cosines.append(unit(query - centre) @ prototype)
        expected.append(int(np.argmax(cosines)))
    found = from_embeddings(colours, ("a", "b", "c"), vectors, labels).of_embeddings(queries)
    np.testing.assert_array_equal(found.argmax(axis=1), expected)


def test_embeddings_have_length_one_and_do_not_depend_on_the_batch(colours):
    many = [photo(RED, seed) for seed in range(35)]
    together = embed(colours, many)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together[34], embed(colours, many[34:])[0], atol=1e-6)


def test_too_few_photos_say_what_to_add(colours, tmp_path):
    with pytest.raises(ValueError, match="two classes or more, got red: add photos of another class"):
        transfer.few_shot(colours, {"red": [photo(RED)]})
    with pytest.raises(ValueError, match="at least one photo of each class, got none of blue: add one"):
        transfer.few_shot(colours, {"red": [photo(RED)], "blue": []})
    with pytest.raises(ValueError, match="a method of mean, logistic"):
        transfer.few_shot(colours, {"red": [photo(RED)], "blue": [photo(BLUE)]}, method="svm")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        transfer.few_shot(colours, tmp_path / "nowhere")
    (tmp_path / "words.png").write_text("words")
    with pytest.raises(ValueError, match=r"words\.png"):
        transfer.few_shot(colours, {"red": [tmp_path / "words.png"], "blue": [photo(BLUE)]})


def test_the_nearest_photos_are_those_of_the_same_colour(everywhere, tmp_path):
    folder = tmp_path / "photos"
    for number, colour in enumerate((RED, RED, BLUE, BLUE, GREEN)):
        (folder / "in").mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(colour, number)).save(folder / "in" / f"{number} & co.png")
    (folder / "words.png").write_text("words")
    query = folder / "in" / "0 & co.png"
    result = CliRunner().invoke(
        app, ["nearest", str(everywhere[1]), str(folder), str(query), "--out", str(tmp_path / "near.html"), "-k", "2"]
    )
    assert result.exit_code == 0, result.output
    first = result.stdout.splitlines()[0]
    assert "1 & co.png" in first
    page = (tmp_path / "near.html").read_text()
    assert page.count("<img") == 3
    assert "1 &amp; co.png" in page
    assert "http:" not in page
    assert "https:" not in page
