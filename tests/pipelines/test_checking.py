"""Every file that cannot be decoded is found, left out, and listed with the reason; none of the others is."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import Data, EvaluationCrop, Fault, Samples, batches, check, check_data, read_data

SHARED = Path(__file__).parents[2].parent / "shared"


def encoded(file_format, *, mode="RGB", height=40, width=30, **options):
    gradient = np.add.outer(np.arange(height) * 3, np.arange(width) * 2).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(np.dstack([gradient, gradient.T.reshape(height, width), 255 - gradient])).convert(mode).save(
        buffer, file_format, **options
    )
    return buffer.getvalue()


PALETTE = {"mode": "P", "transparency": 0}
GOOD = {
    "cmyk.jpg": encoded("JPEG", mode="CMYK"),
    "16 bit.png": (lambda b: (Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000).save(b, "PNG"), b))(
        BytesIO()
    )[1].getvalue(),
    "grey.png": encoded("PNG", mode="L"),
    "palette with transparency.png": encoded("PNG", **PALETTE),
    "animated.gif": encoded("GIF", save_all=True, append_images=[Image.new("RGB", (30, 40), "red")]),
    "1x1.png": encoded("PNG", height=1, width=1),
    "été 犬.jpg": encoded("JPEG"),
    "a PNG named as.jpg": encoded("PNG"),
    "photo.webp": encoded("WEBP"),
    "photo.bmp": encoded("BMP"),
}
BAD = {
    "zero bytes.jpg": (b"", "an empty file (0 bytes)"),
    "truncated.jpg": (encoded("JPEG", height=400, width=300)[:-900], "damaged: image file is truncated"),
    "text.jpg": (b"I am not a photo, I am a text.", "not an image: begins with b'I am not a photo"),
    "scan.jpg": (encoded("TIFF"), "a TIFF image: expected JPEG, PNG, GIF, BMP or WebP"),
    "truncated.png": (encoded("PNG")[:-60], "damaged"),
    "black and white.bmp": (encoded("BMP", mode="1"), "damaged or of an unusual kind"),
    "truncated 犬.webp": (encoded("WEBP")[:-60], "damaged"),
    "truncated.gif": (encoded("GIF")[:-200], "damaged"),
}


@pytest.fixture
def mixed(tmp_path):
    """Two classes of sound files among which are all bad ones."""
    for class_name in ("sound", "mixed up"):
        (tmp_path / class_name).mkdir()
        for name, contents in GOOD.items():
            (tmp_path / class_name / name).write_bytes(contents)
    for name, (contents, _) in BAD.items():
        (tmp_path / "mixed up" / name).write_bytes(contents)
    return tmp_path


def test_all_bad_files_and_no_good_ones_are_left_out(mixed):
    samples = read_data(mixed, valid=0, test=0).train
    seen = []
    good, skipped = check(samples, progress=lambda done, total: seen.append((done, total)))
    assert {Path(name).name for name in good.names} == set(GOOD)
    assert len(good) == 2 * len(GOOD)
    assert {Path(skip.path).name for skip in skipped} == set(BAD)
    for skip in skipped:
        assert BAD[Path(skip.path).name][1] in skip.reason
        assert Path(skip.path).exists()
    assert seen[-1] == (len(samples), len(samples))
    order = [samples.names.index(name) for name in good.names]
    assert order == sorted(order)
    assert all(good.labels == samples.labels[order])


def test_what_is_left_makes_batches(mixed):
    good, _ = check(read_data(mixed, valid=0, test=0).train)
    images = np.concatenate([images for images, _ in batches(good, EvaluationCrop(size=(24, 32)), batch_size=7)])
    assert images.shape == (len(good), 24, 32, 3)
    assert np.isfinite(images).all()


def test_encoded_bytes_are_called_by_name():
    samples = Samples([GOOD["grey.png"], b"", BAD["text.jpg"][0]], [0, 1, 1], ["a/1", "b/2", "b/3"])
    good, skipped = check(samples)
    assert good.names == ("a/1",)
    assert skipped[0] == Fault("b/2", "an empty file (0 bytes)", kind="unreadable image")
    assert skipped[1].path == "b/3"


def test_pixels_need_no_check():
    samples = Samples(np.zeros([2, 4, 4, 3], np.uint8), [0, 1], ["a", "b"])
    assert check(samples) == (samples, ())


def test_a_file_that_has_gone_and_one_that_is_a_folder(mixed):
    samples = read_data(mixed, valid=0, test=0).train
    first, second = sorted((mixed / "sound").iterdir())[:2]
    first.unlink()
    second.unlink()
    second.mkdir()
    reasons = {skip.path: skip.reason for skip in check(samples)[1]}
    assert reasons[str(first)] == "cannot be opened: no such file or directory"
    assert "is a directory" in reasons[str(second)]


def test_damage_in_the_middle_of_a_large_file_is_found_at_reduced_size(tmp_path):
    """JPEGs are checked at an eighth of their size, which must not overlook what full size would trip over."""
    contents = encoded("JPEG", height=1200, width=900, quality=95)
    files = [contents, contents[: len(contents) // 3], contents[:-2], contents[:600] + contents[-2:]]
    samples = Samples(files, [0, 0, 0, 0], ["whole", "a third", "no end", "no middle"])
    good, _ = check(samples)
    from pipelines import decode_image

    for contents, name in zip(files, samples.names, strict=True):
        try:
            decode_image(contents)
        except Exception:
            assert name not in good.names
        else:
            assert name in good.names
    assert good.names[0] == "whole"
    assert "a third" not in good.names


def test_a_whole_data_set(mixed):
    (mixed / "mixed up" / "notes.txt").write_text("no image by its name")
    data = read_data(mixed)
    seen = []
    checked = check_data(data, progress=lambda done, total: seen.append((done, total)))
    assert {Path(skip.path).name for skip in checked.skipped} == set(BAD) | {"notes.txt"}
    assert len(checked) == 2 * len(GOOD)
    assert seen == sorted(seen)
    assert seen[-1] == (len(data), len(data))


def test_a_class_that_loses_all_its_images():
    good = GOOD["grey.png"]
    train = Samples([good, good, b""], [0, 0, 1], ["ants/1", "ants/2", "bees/3"])
    valid = Samples([good, good], [0, 1], ["ants/4", "bees/5"])
    none = Samples([], [], [])
    expected = r"1 of 3 images of the train split cannot be read, which leaves none of 'bees'\. First: bees/3: an empty"
    with pytest.raises(ValueError, match=expected):
        check_data(Data(("ants", "bees"), train, valid, none))
    empty = Samples([b"", b""], [0, 1], ["ants/6", "bees/7"])
    with pytest.raises(ValueError, match=r"2 of 2 images of the valid split cannot be read"):
        check_data(Data(("ants", "bees"), valid, empty, none))


@pytest.mark.skipif(not (SHARED / "data/hymenoptera").is_dir(), reason="../shared/data/hymenoptera is not there")
def test_hymenoptera():
    data = check_data(read_data(SHARED / "data/hymenoptera"))
    assert any(name.endswith("imageNotFound.gif") for name in data.train.names)  # a placeholder, and a sound image
    assert data.skipped == ()
    assert len(data) == sum(path.is_file() for path in (SHARED / "data/hymenoptera").rglob("*"))
