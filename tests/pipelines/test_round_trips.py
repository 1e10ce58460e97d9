"""What a writer of annotations writes, every reader of the format reads back, whatever the images are called."""

import shutil
import tempfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines import Data, Scene, read_scenes, write_scenes
from pipelines.annotations import coco, voc, yolo

PIXELS = np.zeros((6, 9, 3), np.uint8)
READERS = {"voc": voc, "yolo": yolo, "coco": coco}
FILES = {"voc": (), "yolo": ("data.yaml",), "coco": ("annotations/instances_train.json",)}

# Words that mean something to readers, and characters that are hard on them.
WORDS = (
    *("images", "labels", "annotations", "masks", "JPEGImages", "train", "val", "test", "Test", "validation", "data"),
    *("training_set", "a", "b", "1", "001", "a.b", "a.b.png", "x.txt", "classes", "data.yaml", "readme", "ü", "🐕"),
    *("cafe\u0301", "caf\u00e9", "写真", "a\u2028b", "a\x85b", "#1", "'q'", '"q"', "%20", "{0}", "[1]", "a,b", "a;b"),
    *("-1", "~", "two  words", "a b.c d", "end ", " begin", "a (copy)"),
)
word = st.sampled_from(WORDS)
folders = st.lists(word.filter(lambda w: not w.endswith(".yaml")), max_size=3)
names = st.builds(lambda parents, own: "/".join([*parents, f"{own}.png"]), folders, word)
box = st.tuples(*[st.floats(0, 4, width=32)] * 2, *[st.floats(5, 6, width=32)] * 2)
objects = st.lists(st.tuples(box, st.integers(0, 2)), max_size=2)
classes = st.lists(
    st.sampled_from(
        ["ant", "yes", "no", "null", "1", "1e3", "0x1", "a: b", "- c", "#d", "two words", "ü", "{e}", "train"]
    ),
    min_size=3,
    max_size=3,
    unique=True,
)


@st.composite
def data_sets(draw):
    """A data set whose images, and the folders that they are in, have different names, without regard to suffixes."""
    chosen = draw(st.lists(names, min_size=1, max_size=6, unique_by=str.casefold))
    taken = {str(PurePosixPath(name).parent) for name in chosen} | {
        str(parent) for name in chosen for parent in PurePosixPath(name).parents
    }
    chosen = [name for name in chosen if name not in taken] or ["a.png"]
    scenes = []
    for name in chosen:
        annotated = draw(objects)
        scenes.append(Scene(PIXELS, name, (6, 9), boxes=[b for b, _ in annotated], classes=[c for _, c in annotated]))
    first, second = sorted((draw(st.integers(1, len(scenes))), draw(st.integers(1, len(scenes)))))
    return Data(tuple(draw(classes)), scenes[:first], scenes[first:second], scenes[second:])


def described(data):
    """The objects of each image in each split, by the names of classes; repeated boxes are the same objects."""
    return {
        split: {
            scene.name: [(data.class_names[c], *map(float, b)) for b, c in zip(scene.boxes, scene.classes, strict=True)]
            for scene in part
        }
        for split, part in data.splits.items()
    }


def same(found, expected):
    assert {s: sorted(part) for s, part in found.items()} == {s: sorted(part) for s, part in expected.items()}
    for split, part in expected.items():
        for name, other in part.items():
            own = found[split][name]
            assert [name for name, *_ in own] == [name for name, *_ in other]
            np.testing.assert_allclose([b for _, *b in own], [b for _, *b in other], atol=1e-5)


OPTIONS = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "phases": [Phase.generate],
    "suppress_health_check": list(HealthCheck),
}


@pytest.mark.parametrize("layout", READERS)
@settings(max_examples=8, **OPTIONS)
@given(data=data_sets())
def test_every_reader_reads_what_the_writer_wrote(layout, data):
    check_round_trip(layout, data)


@pytest.mark.slow
@pytest.mark.parametrize("layout", READERS)
@settings(max_examples=150, **OPTIONS)
@given(data=data_sets())
def test_every_reader_reads_what_the_writer_wrote_in_many_data_sets(layout, data):
    check_round_trip(layout, data)


def check_round_trip(layout, data):
    expected = described(data)
    folder = Path(tempfile.mkdtemp())
    try:
        root = folder / "written"
        write_scenes(data, root, layout=layout)
        options = {"valid": 0, "test": 0, "class_names": data.class_names}
        found = read_scenes(root, **options)
        same(described(found), expected)
        assert [fault for fault in found.faults if not fault.kept] == []
        same(described(READERS[layout].read(root, **options)), expected)
        for file in FILES[layout]:
            only = {**expected, "valid": {}, "test": {}} if layout == "coco" else expected
            same(described(read_scenes(root / file, **options)), only)
        if layout == "yolo":
            check_by_the_rule(root)
    finally:
        shutil.rmtree(folder)


def check_by_the_rule(root):
    """Other tools look for a text file in `labels` instead of the last `images` of a path."""
    for image in filter(Path.is_file, (root / "images").rglob("*.png")):
        before, _, after = f"/{image.relative_to(root).as_posix()}".rpartition("/images/")
        assert Path(f"{root}{before}/labels/{after}").with_suffix(".txt").is_file()
