"""A folder with planted faults: each is found, named and counted, and nothing else is."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from pipelines import (
    Data,
    Fault,
    Samples,
    Scene,
    Target,
    audit,
    exclude,
    near_duplicates,
    read_data,
    read_exclude_list,
    write_audit_report,
    write_exclude_list,
)
from pipelines.auditing.duplicates import near_pairs
from pipelines.auditing.fingerprints import perceptual_hashes


def photo(seed, height=90, width=120):
    """Smooth shapes, unlike those of any other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, [6, 8, 3], dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted") / "pets é"
    numbers = iter(range(10_000))
    for split, count in (("train", 12), ("val", 5), ("test", 5)):
        for name in ("ant", "bee"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                photo(next(numbers)).save(folder / f"{index:02d}.jpg", quality=92)
    train, val, test = root / "train", root / "val", root / "test"
    (test / "ant" / "00.jpg").write_bytes((train / "ant" / "00.jpg").read_bytes())  # exact, across splits
    photo(1).resize((60, 45)).save(val / "ant" / "small.png")  # near: train/ant/01, a quarter of its pixels
    (train / "bee" / "copy.jpg").write_bytes((train / "bee" / "03.jpg").read_bytes())  # exact, same split
    ImageEnhance.Brightness(photo(16)).enhance(1.2).save(train / "bee" / "bright.jpg", quality=70)  # near: bee/04
    (train / "bee" / "an ant.jpg").write_bytes((train / "ant" / "05.jpg").read_bytes())  # conflict
    (train / "ant" / "broken.jpg").write_bytes((train / "ant" / "06.jpg").read_bytes()[:1500])
    (train / "ant" / "empty.jpg").write_bytes(b"")
    (train / "ant" / "text.jpg").write_bytes(b"just a text")
    Image.new("RGB", (80, 50), (3, 4, 5)).save(train / "bee" / "plain.png")
    photo(500).save(train / "bee" / "a jpeg.png", "JPEG")
    photo(501, 12, 100).save(train / "bee" / "tiny.jpg")
    photo(502, 30, 300).save(train / "bee" / "long.jpg")
    exif = Image.Exif()
    exif[274] = 6
    photo(503).save(train / "bee" / "turned.jpg", exif=exif)
    photo(504).convert("L").save(train / "bee" / "grey.jpg")
    photo(505).convert("CMYK").save(train / "bee" / "cmyk.jpg")
    photo(506).save(train / "bee" / "moving.gif", save_all=True, append_images=[photo(507)])
    (train / "bee" / "notes.txt").write_text("not an image")
    return root


@pytest.fixture(scope="module")
def found(planted):
    return audit(read_data(planted))


def finding(found, kind):
    (only,) = [each for each in found.findings if each.kind == kind]
    return only


def names(root, paths):
    return {Path(path).relative_to(root).as_posix() for path in paths}


def test_duplicates_across_splits(planted, found):
    across = finding(found, "duplicates across splits")
    assert across.severity == "error"
    assert {frozenset(names(planted, group)) for group in across.where} == {
        frozenset({"train/ant/00.jpg", "test/ant/00.jpg"}),
        frozenset({"train/ant/01.jpg", "val/ant/small.png"}),
    }
    assert names(planted, across.exclude) == {"train/ant/00.jpg", "train/ant/01.jpg"}


def test_duplicates_in_a_split_and_conflicting_labels(planted, found):
    assert [names(planted, group) for group in finding(found, "near duplicates").where] == [
        {"train/bee/04.jpg", "train/bee/bright.jpg"}
    ]
    exact = [names(planted, group) for group in finding(found, "exact duplicates").where]
    assert {"train/bee/03.jpg", "train/bee/copy.jpg"} in exact
    conflict = finding(found, "label conflict")
    assert [names(planted, group) for group in conflict.where] == [{"train/ant/05.jpg", "train/bee/an ant.jpg"}]
    assert names(planted, conflict.exclude) == {"train/ant/05.jpg", "train/bee/an ant.jpg"}


@pytest.mark.parametrize(
    ("kind", "severity", "where"),
    [
        ("unreadable", "error", {"train/ant/broken.jpg", "train/ant/empty.jpg", "train/ant/text.jpg"}),
        ("constant", "warning", {"train/bee/plain.png"}),
        ("wrong suffix", "warning", {"train/bee/a jpeg.png"}),
        ("tiny", "warning", {"train/bee/tiny.jpg"}),
        ("several frames", "warning", {"train/bee/moving.gif"}),
        ("orientation tags", "note", {"train/bee/turned.jpg"}),
        ("left out", "warning", {"train/bee/notes.txt"}),
        ("long", "warning", {"train/bee/tiny.jpg", "train/bee/long.jpg"}),
    ],
)
def test_each_planted_fault(planted, found, kind, severity, where):
    only = finding(found, kind)
    assert only.severity == severity
    assert names(planted, [place[0] if isinstance(place, tuple) else place for place in only.where]) == where


def test_kinds_and_counts(found):
    assert not found.ok
    assert found.statistics["modes"]["CMYK"] == 1
    assert found.statistics["orientations"]["6"] == 1
    assert found.statistics["height"]["median"] == 90
    assert found.statistics["height"]["max"] == 120  # the turned one, upright
    assert found.counts["valid"] == [6, 5]
    assert {each.severity for each in found.findings} == {"error", "warning", "note"}
    worst_first = sorted((each.severity for each in found.findings), key=["error", "warning", "note"].index)
    assert [each.severity for each in found.findings] == worst_first
    json.dumps(found.as_dict())


def test_nothing_is_changed(planted, found):
    again = audit(read_data(planted))
    assert again.as_dict() == found.as_dict()


def test_progress_is_told(planted):
    told = []
    audit(read_data(planted), progress=lambda name, done, total: told.append((name, done, total)))
    assert {name for name, _, _ in told} == {"reading the files", "decoding the images"}
    assert told[-1][1] <= told[-1][2]
    assert audit(read_data(planted), decode=False).statistics == audit(read_data(planted)).statistics


def test_the_list_that_fit_takes(planted, found, tmp_path):
    path = tmp_path / "list.txt"
    assert write_exclude_list(path, found) == len(found.exclude)
    listed = read_exclude_list(path)
    assert listed == found.exclude
    data = read_data(planted)
    left = exclude(data, listed)
    gone = {skip.path for skip in left.skipped} - {skip.path for skip in data.skipped}
    assert gone == set(listed)
    assert len(left) == len(data) - len(listed)
    after = audit(left)
    assert after.ok
    assert not {"constant", "exact duplicates", "near duplicates"} & {each.kind for each in after.findings}
    with pytest.raises(ValueError, match=r"1 of 1 files to exclude are not in the data; the first: nowhere"):
        exclude(data, ["nowhere.jpg"])
    with pytest.raises(ValueError, match="leaves no image to train on of 'ant'"):
        exclude(data, data.train.images[data.train.labels == 0])


def test_the_page(planted, found, tmp_path):
    write_audit_report(tmp_path / "report.html", found, title="<Pets>")
    page = (tmp_path / "report.html").read_text()
    assert "&lt;Pets&gt;" in page
    assert "duplicates across splits" in page
    assert page.count("data:image/jpeg;base64") >= 8
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_classes_against_the_models(planted):
    data = read_data("sklearn:digits")
    kinds = [each.kind for each in audit(data, class_names=data.class_names).findings]
    assert "class order" not in kinds
    swapped = audit(data, class_names=("1", "0", *data.class_names[2:]))
    assert "number 0 is '0' in the data and '1' in the model" in finding(swapped, "class order").message
    other = audit(data, class_names=("0", "x"))
    assert "lacks ['x']" in finding(other, "class order").message


def test_imbalance_and_few_images():
    pixels = np.random.default_rng(0).integers(0, 256, [46, 20, 30, 3], dtype=np.uint8)
    train = Samples(pixels[:45], [0] * 41 + [1] * 4, [str(i) for i in range(45)])
    rest = Samples(pixels[45:], [0], ["a"])
    found = audit(Data(("ant", "bee"), train, rest, rest[:0]))
    assert "'ant' occurs 41 times in the training set, and 'bee' 4 times" in finding(found, "imbalance").message
    assert "'bee': 4" in finding(found, "few images").message


def test_boxes_and_masks():
    pixels = [np.asarray(photo(seed)) for seed in range(4)]
    scenes = [
        Scene(pixels[0], "good", (90, 120), [[1, 2, 30, 40]], [0]),
        Scene(pixels[1], "outside", (90, 120), [[1, 2, 130, 40]], [1]),
        Scene(pixels[2], "no area", (90, 120), [[10, 2, 10, 40]], [1]),
        Scene(pixels[3], "mask", (90, 120), mask=np.uint8([[0, 1], [7, 255]])),
    ]
    copy = Scene(pixels[0][::2, ::2].copy(), "copy", (45, 60))
    faults = (Fault("a.xml", "'wasp': left out", line=12, kind="unknown class"),)
    found = audit(Data(("ant", "bee"), tuple(scenes), (copy,), (), faults))
    assert finding(found, "boxes outside").where == ("outside",)
    assert finding(found, "boxes without area").where == ("no area",)
    assert finding(found, "unknown ids").where == (("mask", "values [7]"),)
    assert finding(found, "annotations").where == (("a.xml:12", "'wasp': left out"),)
    assert finding(found, "duplicates across splits").where == (("train/good", "valid/copy"),)
    assert found.counts["train"] == [1, 2]


def encoded(image, file_format="JPEG", **options):
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def test_copies_are_found_and_other_photos_are_not():
    photos = [photo(seed, 150, 210) for seed in range(40)]
    changed = [
        lambda image: encoded(image, quality=35),
        lambda image: encoded(image.resize((image.width // 2, image.height // 2)), "PNG"),
        lambda image: encoded(ImageEnhance.Contrast(image).enhance(0.8)),
        lambda image: encoded(image.convert("L"), "WEBP"),
    ]
    copies = [changed[index % 4](image) for index, image in enumerate(photos)]
    together = [encoded(image, "PNG") for image in photos] + copies
    groups = near_duplicates(Samples(together, np.zeros(80), [str(i) for i in range(80)]))
    assert np.array_equal(groups[:40], np.arange(40))
    assert np.array_equal(groups[40:], np.arange(40))


def test_near_pairs_against_all_pairs():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 300).astype(np.uint64)
    for copy in range(150, 300):  # each near one of the first half
        flips = rng.choice(64, rng.integers(0, 14), replace=False)
        hashes[copy] = hashes[copy - 150] ^ np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64), initial=0)
    hashes = np.unique(hashes)
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None])
    for limit in (0, 3, 10):
        expected = np.argwhere(np.triu(distances <= limit, 1))
        assert np.array_equal(near_pairs(hashes, max_distance=limit), expected)
    with pytest.raises(ValueError, match=r"in 0..32 bits, received 33"):
        near_duplicates(Samples([b""], [0], ["a"]), max_distance=33)


def test_hashes_see_what_is_shown_and_not_its_brightness():
    grey = np.random.default_rng(0).uniform(0, 100, [3, 32, 32])
    assert np.array_equal(perceptual_hashes(grey), perceptual_hashes(grey * 1.3 + 20))
    assert len(set(perceptual_hashes(grey).tolist())) == 3


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("Cats", "cats", "dogs"), "'Cats', 'cats'"),
        (("cats", "cats ", "dogs"), "'cats', 'cats '"),
        (("red cell", "red  Cell"), "'red cell', 'red  Cell'"),
        (("cafe\u0301", "caf\u00e9", "tea"), r"'cafe\u0301', 'caf\xe9'"),
    ],
)
def test_class_names_that_are_hardly_different_are_said(names, shown):
    pixels = np.random.default_rng(0).integers(0, 256, (4 * len(names), 24, 24, 3), "uint8")
    samples = Samples(pixels, np.arange(len(pixels)) % len(names), [str(i) for i in range(len(pixels))])
    findings = [one for one in audit(Data(names, samples), decode=False).findings if one.kind == "similar names"]
    assert [(one.severity, f"The classes {shown} differ" in one.message) for one in findings] == [("warning", True)]
    targets = (Target("a", "classes", names), Target("b", "numbers", ("x", "X"), 1))
    several = Data(
        ("a", "b"), Samples(pixels, np.zeros((len(pixels), 2)), samples.names), kind="several", targets=targets
    )
    assert len([one for one in audit(several, decode=False).findings if one.kind == "similar names"]) == 1
    assert not [
        one for one in audit(Data(("ant", "bee"), samples[:2]), decode=False).findings if one.kind == "similar names"
    ]
