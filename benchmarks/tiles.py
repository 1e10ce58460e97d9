"""Large photos by tiles: the memory and the time that everything around the network takes.

    python -m benchmarks.tiles                    # a photo of 4000 x 3000 in memory, outputs of 21 classes
    python -m benchmarks.tiles --slide 20000      # a TIFF file of 20,000 x 20,000, read and written by windows

The network is a stand-in that costs nothing (distances from grey levels), so that what is measured is reading, blending
and writing. Prints the seconds and the largest memory of the process, and last one line of JSON.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from pipelines.prepare.tiff_windows import TiffWindows, write_tiff
from pipelines.prepare.tiles import Tiling, predict_tiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", type=int, help="side of a square TIFF file, in pixels")
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--tile", type=int, default=512)
    arguments = parser.parse_args()
    start = time.perf_counter()
    classes = arguments.classes if arguments.slide is None else 2

    def network(photos: np.ndarray) -> np.ndarray:
        grey = photos[..., :1].astype(np.float32) / 255
        return np.abs(grey - np.linspace(0, 1, classes, dtype=np.float32))

    if arguments.slide is None:
        photo = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
        tiling = Tiling(photo.shape[:2], (arguments.tile,) * 2, overlap=128, stride=32)
        bands = predict_tiles(network, lambda window: window.of(photo), tiling)
        found = np.concatenate([band.argmin(axis=-1).astype(np.uint8) for _, band in bands])
        for row in range(0, len(photo), 500):  # one row at a time, since a check must not need more memory than tiles
            assert np.array_equal(found[row], network(photo[row : row + 1])[0].argmin(axis=-1))
    else:
        slide(arguments.slide, arguments.tile, network)
    figures = {
        "seconds": round(time.perf_counter() - start, 1),
        "gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }
    print(json.dumps(figures))


def slide(side: int, tile: int, network) -> None:
    """Writes a slide, reads it by windows, and writes the class of each pixel."""
    with tempfile.TemporaryDirectory() as folder:
        size = (side, side)
        across = np.arange(side)[None] // 7
        rows = ((top, (np.arange(top, min(top + 256, side))[:, None] + across) % 251) for top in range(0, side, 256))
        write_tiff(Path(folder, "slide.tif"), rows, size)
        tiling = Tiling(size, (tile, tile), overlap=128, stride=32)
        with TiffWindows(Path(folder, "slide.tif")) as photo:
            bands = predict_tiles(network, photo.read, tiling)
            write_tiff(Path(folder, "classes.tif"), ((top, band.argmin(axis=-1)) for top, band in bands), size)
        with TiffWindows(Path(folder, "slide.tif")) as photo, TiffWindows(Path(folder, "classes.tif")) as classes:
            for window in tiling.windows[:: max(1, len(tiling.windows) // 50)]:
                assert np.array_equal(classes.read(window), photo.read(window) > 127)


if __name__ == "__main__":
    main()
