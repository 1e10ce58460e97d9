"""Scenes as tf.data: every sample is what its scene says, batches are padded and say how much of them is real."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines import (
    Data,
    ResizePolicy,
    Samples,
    Scene,
    check_data,
    padded_batches,
    read_scenes,
    restore_boxes,
    sample_dataset,
    scene_dataset,
)

SHARED = Path(__file__).parents[2].parent / "shared"


def scenes_of(tmp_path, kind, counts=(2, 0, 3), height=12, width=20):
    """Images whose top left pixel says which they are, as files, contents or pixels."""
    made = []
    for number, count in enumerate(counts):
        pixels = np.zeros([height + 2 * number, width, 3], np.uint8)
        pixels[0, 0] = 20 * (number + 1)
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        image = {"files": str(path), "contents": path.read_bytes(), "pixels": pixels}[kind]
        boxes = [[i, 1, i + 4, 6] for i in range(count)]
        crowd = [i == 1 for i in range(count)]
        made.append(Scene(image, f"{number}.png", pixels.shape[:2], boxes, [5 + i for i in range(count)], crowd=crowd))
    return made


def fixed(sample):
    return sample | {"image": tf.ensure_shape(sample["image"][:12], [12, 20, 3])}


@pytest.mark.parametrize("kind", ["files", "contents", "pixels"])
def test_samples_are_what_the_scenes_say(tmp_path, kind):
    scenes = scenes_of(tmp_path, kind)
    samples = list(scene_dataset(scenes, masks="classes").as_numpy_iterator())
    assert len(samples) == 3
    for number, (scene, sample) in enumerate(zip(scenes, samples, strict=True)):
        assert sample["image"].shape == (*scene.size, 3)
        assert sample["image"].dtype == np.uint8
        assert sample["image"][0, 0].tolist() == [20 * (number + 1)] * 3
        for key in ("boxes", "classes", "crowd", "difficult"):
            np.testing.assert_array_equal(sample[key], getattr(scene, key))
            assert sample[key].dtype == getattr(scene, key).dtype
        assert sample["ids"].tolist() == [-1] * len(scene)
        assert sample["path"].decode() == (scene.image if kind == "files" else scene.name)
        assert sample["mask"].shape == scene.size


def test_images_of_several_kinds_together(tmp_path):
    scenes = [scenes_of(tmp_path, kind)[i] for i, kind in enumerate(("files", "contents", "pixels"))]
    first = [sample["image"][0, 0, 0] for sample in scene_dataset(scenes).as_numpy_iterator()]
    assert first == [20, 40, 60]


ALL_KINDS = """
import io, numpy, tensorflow, pipelines
from PIL import Image
tensorflow.config.threading.set_inter_op_parallelism_threads(1)
pixels = numpy.zeros((12, 20, 3), "uint8")
images = [pixels]
for file_format in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP") * 3:
    Image.fromarray(pixels).save(file := io.BytesIO(), file_format)
    images.append(file.getvalue())
scenes = [pipelines.Scene(image, str(i), (12, 20), [], []) for i, image in enumerate(images)]
print(sum(1 for _ in pipelines.scene_dataset(scenes)))
"""


def test_one_thread_is_enough_for_images_of_all_kinds():
    """Where Python, called from a graph, ran a graph itself, both waited for the same thread for ever."""
    done = subprocess.run([sys.executable, "-c", ALL_KINDS], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == "19"


@pytest.mark.parametrize("max_boxes", [None, 4])
def test_batches_are_padded(tmp_path, max_boxes):
    dataset = scene_dataset(scenes_of(tmp_path, "pixels"), masks="instances")
    dataset = dataset.map(lambda s: fixed(s) | {"instances": tf.ensure_shape(s["instances"][:, :12], [None, 12, 20])})
    (batch,) = padded_batches(dataset, 5, max_boxes=max_boxes)
    rows = max_boxes or 3
    assert batch["image"].shape == (3, 12, 20, 3)
    assert batch["num_boxes"].numpy().tolist() == [2, 0, 3]
    assert batch["num_boxes"].dtype == tf.int32
    assert batch["boxes"].shape == (3, rows, 4)
    assert batch["boxes"].dtype == tf.float32
    assert batch["classes"].numpy()[:, :3].tolist() == [[5, 6, -1], [-1, -1, -1], [5, 6, 7]]
    assert batch["boxes"].numpy()[0, 2].tolist() == [0, 0, 0, 0]
    assert batch["instances"].shape == (3, rows, 12, 20)
    assert int(batch["instances"][0].numpy().sum()) == 2 * 4 * 5
    assert batch["crowd"].numpy()[:, :2].tolist() == [[False, True], [False, False], [False, True]]
    static = padded_batches(dataset, 5, max_boxes=max_boxes, drop_remainder=True).element_spec["boxes"].shape
    assert static.as_list() == [5, max_boxes, 4]


def test_more_boxes_than_there_is_room_for_is_an_error_that_names_the_image(tmp_path):
    dataset = scene_dataset(scenes_of(tmp_path, "pixels")).map(fixed)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"max_boxes"):
        list(padded_batches(dataset, 3, max_boxes=2))


def test_images_of_several_sizes_are_not_padded_in_silence(tmp_path):
    dataset = scene_dataset(scenes_of(tmp_path, "pixels"))
    with pytest.raises(ValueError, match=r"expected images of one size, received \(None, None, 3\)"):
        padded_batches(dataset, 2)


def test_orders_are_seeded(tmp_path):
    scenes = scenes_of(tmp_path, "pixels", counts=(0,) * 12)
    orders = []
    for seed in (1, 1, 2):
        dataset = scene_dataset(scenes, shuffle=True, seed=seed)
        orders.append([[s["path"] for s in dataset.as_numpy_iterator()] for _ in range(2)])
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0][0] != orders[0][1]  # another order in the second epoch
    assert sorted(orders[0][0]) == sorted(s.name.encode() for s in scenes)


@pytest.mark.parametrize("kind", ["files", "contents", "pixels"])
@pytest.mark.parametrize("labels", [[2, 0, 1], [[0.5, 1], [2, 3], [4, 5]]])
def test_samples_with_labels_are_dicts_of_the_same_kind(tmp_path, kind, labels):
    images = [scene.image for scene in scenes_of(tmp_path, kind)]
    if kind == "pixels":
        images = np.stack([image[:12] for image in images])
    samples = Samples(images, np.array(labels), ["a", "b", "c"])
    found = list(sample_dataset(samples).as_numpy_iterator())
    assert [sample["image"][0, 0, 0] for sample in found] == [20, 40, 60]
    assert [sample["label"].tolist() for sample in found] == labels
    assert found[0]["label"].dtype == (np.int32 if np.ndim(labels) == 1 else np.float32)
    assert found[1]["path"].decode() == (images[1] if kind == "files" else "b")
    with pytest.raises(ValueError, match="at least one sample"):
        sample_dataset(samples[3:])


def test_scenes_go_through_resizing_to_batches_and_back(tmp_path):
    scenes = scenes_of(tmp_path, "files")
    policy = ResizePolicy("pad", size=(24, 20))
    dataset = scene_dataset(scenes, masks="classes").map(policy)
    (batch,) = padded_batches(dataset, 4)
    assert batch["image"].shape == (3, 24, 20, 3)
    assert batch["mask"].shape == (3, 24, 20)
    assert batch["num_boxes"].numpy().tolist() == [2, 0, 3]
    for i, scene in enumerate(scenes):
        restored = restore_boxes(batch["boxes"][i], batch["matrix"][i], batch["original_size"][i])
        np.testing.assert_allclose(restored[: len(scene)], scene.boxes, atol=0.01)


def test_formats_that_only_pillow_reads(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, [12, 20, 3], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    scene = Scene(str(tmp_path / "a.tif"), "a.tif", (12, 20))
    (checked,) = check_data(Data(("a",), (scene,))).train
    (sample,) = scene_dataset([checked])
    assert np.array_equal(sample["image"], pixels)


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="at least one scene"):
        scene_dataset([])
    with pytest.raises(ValueError, match="received 'boxes'"):
        scene_dataset(scenes_of(tmp_path, "pixels"), masks="boxes")


def test_files_that_cannot_be_decoded_are_left_out_and_listed(tmp_path):
    (good, *_), scenes = (scenes_of(tmp_path, kind) for kind in ("pixels", "files"))
    contents = Path(scenes[1].image).read_bytes()
    Path(scenes[1].image).write_bytes(contents[: len(contents) // 2])
    data = Data(("a",), tuple(scenes), (good,))
    checked = check_data(data)
    assert [scene.name for scene in checked.train] == ["0.png", "2.png"]
    assert len(checked.valid) == 1
    assert checked.counts == {"unreadable image": 1}
    assert checked.faults[0].path == scenes[1].image


@pytest.mark.skipif(not (SHARED / "data/bccd").is_dir(), reason="../shared/data/bccd is not there")
def test_blood_cells_as_batches():
    data = read_scenes(SHARED / "data/bccd")
    dataset = scene_dataset(data.test[:8], shuffle=True, seed=1)

    def halve(sample):
        image = tf.image.resize(tf.cast(sample["image"], tf.float32), (240, 320))
        return sample | {"image": image, "boxes": sample["boxes"] / 2}

    batches = list(padded_batches(dataset.map(halve), 3))
    assert [len(batch["image"]) for batch in batches] == [3, 3, 2]
    assert sum(int(tf.reduce_sum(batch["num_boxes"])) for batch in batches) == sum(map(len, data.test[:8]))
