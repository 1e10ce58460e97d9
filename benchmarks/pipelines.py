"""Reading, decoding and augmenting images, side by side with what people would use otherwise.

    python -m benchmarks.pipelines [PATTERN] [--rounds N] [--scale S]

- `decode_12mp`, `decode_1mp`, `decode_0.2mp`: JPEG files to batches of 224x224, against Keras'
  `image_dataset_from_directory`; targets 4, 1.4 and 1. Both squash the image with bilinear interpolation and no
  antialiasing, to the same image where the file is not so large that ours decodes it at a fraction of its size. An
  epoch is timed, with the start of its data set.
- `antialiased_12mp`, `antialiased_1mp`, `antialiased_0.2mp`: ours averaging over all pixels, as it does unless told
  otherwise; Keras' as above.
- `seven_changes`: flip, rotation, zoom, translation, contrast, brightness and saturation of 32 images of 224x224,
  against the seven Keras layers one after the other; target 4. Each compiled by `tf.function`.
- `randaugment`: `pipelines.RandAugment` against Keras', likewise; target 10. (Keras' has more kinds of changes.)
- `files_to_augmented`: JPEG files of 1 megapixel to augmented batches, against a PyTorch `DataLoader` with Pillow and
  as many workers as there are processors; target 1. Only where torch is installed.

Ratios are the peer's time over ours: over 1, ours is faster.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_image

import pipelines
from benchmarks.timing import Comparison, compare, report

SIZE = (224, 224)
# Height and width of the photos, and how many make an epoch.
PHOTOS = {"12mp": ((3000, 4000), 48), "1mp": ((866, 1155), 256), "0.2mp": ((387, 516), 768)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipelines", description=__doc__.splitlines()[0])
    parser.add_argument("pattern", nargs="?", default="*", help="names of comparisons, such as 'decode*'")
    parser.add_argument("--rounds", type=int, default=5, help="that each takes its turn")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of photos")
    options = parser.parse_args()
    report(comparisons(options.pattern, options.rounds, options.scale))


def comparisons(pattern: str, rounds: int, scale: float) -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        for kind, (size, number) in PHOTOS.items():
            for name, antialias in ((f"decode_{kind}", False), (f"antialiased_{kind}", True)):
                if fnmatchcase(name, pattern):
                    photos = write_photos(Path(folder, kind), size, max(2, round(scale * number)))
                    yield decoding(name, photos, rounds, antialias=antialias)
        for name, make in (("seven_changes", seven_changes), ("randaugment", rand_augment)):
            if fnmatchcase(name, pattern):
                yield changes(name, *make(), rounds)
        if fnmatchcase("files_to_augmented", pattern):
            try:
                import torch  # noqa: F401
            except ImportError:
                print("files_to_augmented: torch is not installed", file=sys.stderr)
            else:
                size, number = PHOTOS["1mp"]
                photos = write_photos(Path(folder, "augmented"), size, max(2, round(scale * number)))
                yield against_torch("files_to_augmented", photos, rounds)


def write_photos(folder: Path, size: tuple[int, int], number: int) -> Path:
    """A real photo, enlarged and cut a little differently for each file, in two class folders."""
    photo = Image.fromarray(load_sample_image("china.jpg"))
    for index in range(number):
        place = folder / f"class {index % 2}" / f"{index:04d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        if index < 4:
            box = (index, index, photo.width - index, photo.height - index)
            photo.resize(size[::-1], Image.Resampling.BICUBIC, box).save(place, quality=90)
        else:
            earlier = folder / f"class {index % 2}" / f"{index % 4:04d}.jpg"
            place.write_bytes(earlier.read_bytes())
    return folder


def epoch(dataset: tf.data.Dataset) -> None:
    for _ in dataset:
        pass


def decoding(name: str, photos: Path, rounds: int, *, antialias: bool) -> Comparison:
    samples = pipelines.read_data(photos, valid=0, test=0).train
    policy = pipelines.ResizePolicy("squash", SIZE, antialias=antialias)
    ours = pipelines.batches(samples, policy, cache=False, scaled=True)
    peer = keras.utils.image_dataset_from_directory(photos, image_size=SIZE, shuffle=False, verbose=False)
    pixels, expected = (next(iter(dataset))[0].numpy() for dataset in (ours, peer))
    assert pixels.shape == expected.shape
    if name == "decode_0.2mp":
        # Ours are whole numbers, of JPEGs decoded by the accurate transform in place of the fast one
        np.testing.assert_allclose(pixels, expected, atol=10)
        assert np.abs(pixels - expected).mean() < 1.5
    return compare(
        name,
        ours=lambda: epoch(ours),
        peer=lambda: epoch(peer),
        peer_name="image_dataset_from_directory",
        rounds=rounds,
        warmup=0,
    )


def seven_changes() -> tuple[list[Any], list[Any]]:
    names = ("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation")
    names += ("RandomContrast", "RandomBrightness", "RandomSaturation")
    arguments = ("horizontal",), (0.1,), (0.2,), (0.1, 0.1), (0.3,), (0.2,), ((0.3, 0.7),)
    ours, peers = (
        [getattr(library, name)(*values) for name, values in zip(names, arguments, strict=True)]
        for library in (pipelines, keras.layers)
    )
    return ours, peers


def rand_augment() -> tuple[list[Any], list[Any]]:
    return [pipelines.RandAugment(2, 0.5)], [keras.layers.RandAugment(num_ops=2, factor=0.5)]


def changes(name: str, ours: list[Any], peers: list[Any], rounds: int) -> Comparison:
    pixels = np.random.default_rng(0).uniform(0, 255, (32, *SIZE, 3)).astype("float32")
    images = tf.constant(pixels)
    seeds = iter(range(1_000_000))
    changed = tf.function(lambda images, seed: pipelines.augment(images, ours, seed))

    @tf.function
    def chained(images: tf.Tensor) -> tf.Tensor:
        for layer in peers:
            images = layer(images, training=True)
        return images

    return compare(
        name,
        ours=lambda: changed(images, tf.constant(next(seeds), tf.int64)).numpy(),
        peer=lambda: chained(images).numpy(),
        peer_name="keras.layers",
        rounds=3 * rounds,
        warmup=2,
    )


def against_torch(name: str, photos: Path, rounds: int) -> Comparison:
    from torch.utils.data import DataLoader

    samples = pipelines.read_data(photos, valid=0, test=0).train
    layers = seven_changes()[0]
    ours = pipelines.batches(
        samples, pipelines.ResizePolicy("squash", SIZE), shuffle=True, augment=layers, cache=False, batch_size=32
    )
    loader = DataLoader(
        _Photos(samples), batch_size=32, shuffle=True, num_workers=os.cpu_count() or 1, persistent_workers=True
    )
    return compare(
        name,
        ours=lambda: epoch(ours),
        peer=lambda: [None for _ in loader],
        peer_name="torch DataLoader",
        rounds=rounds,
        warmup=1,
    )


class _Photos:
    """The same with Pillow, for a PyTorch loader: one resampling for geometry, its enhancers for colour."""

    def __init__(self, samples: pipelines.Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        rng = np.random.default_rng()
        with Image.open(self.samples.images[index]) as file:
            file.draft("RGB", SIZE)
            image = file.convert("RGB").resize(SIZE, Image.Resampling.BILINEAR)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        angle, zoom = 2 * np.pi * rng.uniform(-0.1, 0.1), 1 + rng.uniform(-0.2, 0.2)
        x, y = rng.uniform(-0.1, 0.1, 2) * SIZE
        cos, sin, half = zoom * np.cos(angle), zoom * np.sin(angle), SIZE[0] / 2
        matrix = (cos, -sin, half - cos * half + sin * half + x, sin, cos, half - sin * half - cos * half + y)
        image = image.transform(SIZE, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        enhancers: tuple[Callable[[Image.Image], Any], ...]
        enhancers = (ImageEnhance.Contrast, ImageEnhance.Brightness, ImageEnhance.Color)
        for enhancer in enhancers:
            image = enhancer(image).enhance(rng.uniform(0.7, 1.3))
        return np.asarray(image, np.float32), int(self.samples.labels[index])


if __name__ == "__main__":
    main()
