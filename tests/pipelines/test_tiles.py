"""Tiles: blended outputs against one pass over the whole photo, and objects that tiles cut."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import correlate, label

from pipelines.prepare.tiff_windows import TiffWindows, write_tiff
from pipelines.prepare.tile_objects import join_objects
from pipelines.prepare.tiles import Tiling, Window, blend, predict_tiles

RADIUS = 3
KERNELS = np.random.default_rng(0).normal(size=(RADIUS, 2, 2, 3, 3))


def convolutions(photos: np.ndarray) -> np.ndarray:
    """Three convolutions of 3x3 with zeros around and biases: each output sees three pixels to each side."""
    outputs = []
    for photo in photos:
        features = list(np.moveaxis(photo.astype(np.float64), -1, 0))
        for kernels in KERNELS:
            features = [
                np.maximum(sum(correlate(f, k, mode="constant") for f, k in zip(features, own, strict=True)) + 0.3, 0)
                for own in kernels
            ]
        outputs.append(np.stack(features, axis=-1))
    return np.array(outputs)


def strided(photos: np.ndarray) -> np.ndarray:
    """A network of stride 4: means of 4x4 pixels, a convolution, and each feature four times in both directions."""
    b, height, width, channels = photos.shape
    means = photos.reshape(b, height // 4, 4, width // 4, 4, channels).mean(axis=(2, 4))
    found = [correlate(m[..., 0], KERNELS[0, 0, 0], mode="constant") + 0.2 for m in means]
    return np.array(found).repeat(4, axis=1).repeat(4, axis=2)[..., None]


def stitched(predict, photo, tiling, **options) -> np.ndarray:
    bands = list(predict_tiles(predict, lambda window: window.of(photo), tiling, **options))
    assert [top for top, _ in bands] == np.cumsum([0, *(len(band) for _, band in bands[:-1])]).tolist()
    return np.concatenate([band for _, band in bands])


@pytest.mark.parametrize("size", [(50, 83), (32, 32), (20, 70), (33, 31), (64, 64)])
@pytest.mark.parametrize("overlap", [7, 12])
def test_tiles_are_the_whole_photo(size, overlap):
    photo = np.random.default_rng(1).normal(size=(*size, 2))
    tiling = Tiling(size, (32, 32), overlap=overlap, margin=RADIUS)
    whole = convolutions(photo[None])[0]
    for batch_size in (1, 3):
        found = stitched(convolutions, photo, tiling, batch_size=batch_size)
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-5)
        assert found.dtype == np.float32


def test_without_a_margin_seams_differ_but_stay_small():
    photo = np.random.default_rng(1).normal(size=(50, 83, 2))
    whole = convolutions(photo[None])[0]
    errors = [
        np.abs(stitched(convolutions, photo, Tiling((50, 83), (32, 32), overlap=9, margin=margin)) - whole).max()
        for margin in (0, 1, RADIUS)
    ]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("size", [(48, 80), (52, 84), (100, 36)])
def test_tiles_of_a_network_with_a_stride_begin_on_its_grid(size):
    photo = np.random.default_rng(2).normal(size=(*size, 1))
    tiling = Tiling(size, (32, 32), overlap=12, margin=5, stride=4)
    assert all(window.top % 4 == window.left % 4 == 0 for window in tiling.windows)
    np.testing.assert_allclose(stitched(strided, photo, tiling), strided(photo[None])[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_every_pixel_counts_and_tiles_overlap_enough(seed):
    rng = np.random.default_rng(seed)
    stride, margin = int(rng.choice([1, 4, 8])), int(rng.integers(0, 5))
    overlap = int(2 * margin + rng.integers(1, 9))
    tile = tuple((-(-(overlap + stride) // stride) * stride + stride * rng.integers(0, 4, 2)).tolist())
    size = tuple(rng.integers(1, 150, 2).tolist())
    tiling = Tiling(size, tile, overlap=overlap, margin=margin, stride=stride)
    total = np.zeros(size)
    for window in tiling.windows:
        window.of(total)[:] += tiling.weights(window)
        assert max(np.subtract(window.size, tile)) <= 0
    assert total.min() > 0
    columns = sorted({(window.left, window.right) for window in tiling.windows})
    assert all(first[1] - second[0] >= overlap for first, second in pairwise(columns))
    ones = (np.ones(window.size) for window in tiling.windows)
    np.testing.assert_allclose(np.concatenate([band for _, band in blend(tiling, ones)]), 1, rtol=1e-6)


def test_memory_is_that_of_a_band():
    tiling = Tiling((4000, 300), (64, 128), overlap=16)
    tracemalloc.start()
    rows = 0
    for _, band in predict_tiles(lambda x: np.repeat(x, 8, axis=-1), lambda w: np.zeros((*w.size, 1)), tiling):
        rows += len(band)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 4000
    assert peak < 4000 * 300 * 8 * 4 / 5  # the outputs of the whole photo are five times as large


def discs(size=(90, 130), count=25) -> np.ndarray:
    rng = np.random.default_rng(0)
    y, x = np.ogrid[: size[0], : size[1]]
    mask = np.zeros(size, bool)
    for cy, cx in rng.uniform((0, 0), size, (count, 2)):
        mask |= (y - cy) ** 2 + (x - cx) ** 2 < rng.uniform(2, 11) ** 2
    return mask


def same_objects(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = np.unique(np.stack([a.reshape(-1), b.reshape(-1)], axis=1), axis=0)
    return len(pairs) == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("margin", [0, 2])
def test_objects_that_tiles_cut_are_joined(margin):
    mask = discs()
    expected = label(mask)[0]
    tiling = Tiling(mask.shape, (32, 40), overlap=9, margin=margin)
    found = join_objects(tiling, (label(window.of(mask))[0] for window in tiling.windows))
    assert same_objects(found, expected)
    assert sorted(np.unique(found)) == list(range(expected.max() + 1))


def test_touching_objects_stay_two_where_tiles_overlap():
    rows = np.zeros((10, 40), int)
    rows[2:5], rows[5:8] = 1, 2
    tiling = Tiling((10, 40), (16, 16), overlap=6, margin=1)
    maps = [(window.of(rows) + number) * (window.of(rows) > 0) for number, window in enumerate(tiling.windows)]
    assert same_objects(join_objects(tiling, maps), rows)


@pytest.mark.parametrize(
    "options", [{"tile": (32, 48)}, {"rowsperstrip": 7}, {"tile": (16, 16), "compression": "zlib"}]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_windows_of_tiff_files(tmp_path, options, channels):
    tifffile = pytest.importorskip("tifffile")
    pixels = np.random.default_rng(0).integers(0, 255, (101, 77, channels), dtype=np.uint8)
    kind = "rgb" if channels == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", pixels if channels == 3 else pixels[..., 0], photometric=kind, **options)
    with TiffWindows(tmp_path / "a.tif", kept_bytes=5000) as photo:
        assert (photo.size, photo.channels, photo.dtype) == ((101, 77), channels, np.uint8)
        for window in (Window(0, 0, 101, 77), Window(31, 15, 50, 77), Window(100, 76, 101, 77), Window(3, 2, 9, 5)):
            np.testing.assert_array_equal(photo.read(window), window.of(pixels))
        with pytest.raises(ValueError, match=r"a window within \(101, 77\)"):
            photo.read(Window(0, 0, 102, 7))


def test_from_a_tiff_file_to_a_tiff_file(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pixels = np.random.default_rng(0).integers(0, 255, (301, 277), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(64, 64))
    tiling = Tiling(pixels.shape, (96, 96), overlap=8)
    with TiffWindows(tmp_path / "a.tif") as photo:
        bands = predict_tiles(lambda x: x > 100.0, photo.read, tiling)
        write_tiff(tmp_path / "b.tif", ((top, band[..., 0]) for top, band in bands), pixels.shape)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), pixels > 100)


def test_what_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"more than twice the margin, received overlap=8 and margin=4"):
        Tiling((50, 60), (32, 32), overlap=8, margin=4)
    with pytest.raises(ValueError, match=r"multiples of 32, received \(100, 128\)"):
        Tiling((500, 600), (100, 128), overlap=8, stride=32)
    with pytest.raises(ValueError, match=r"tiles of 16 pixels or more, received \(8, 32\)"):
        Tiling((50, 60), (8, 32), overlap=8, stride=8)
    tiling = Tiling((50, 60), (32, 32), overlap=8)
    with pytest.raises(ValueError, match=r"outputs of the size \(32, 32\) of the tile, received \(16, 16, 1\)"):
        stitched(lambda x: x[:, ::2, ::2], np.zeros((50, 60, 1)), tiling)
    with pytest.raises(ValueError, match=r"a map of the size \(32, 32\) of the tile"):
        join_objects(tiling, [np.zeros((3, 4), int)])
    (tmp_path / "a.tif").write_bytes(b"no image")
    with pytest.raises(ValueError, match="expected a TIFF file"):
        TiffWindows(tmp_path / "a.tif")
