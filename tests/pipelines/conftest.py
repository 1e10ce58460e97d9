"""Image files that the tests write."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture(height: int = 34, width: int = 50, *, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth random colours, the same for the same arguments, with no symmetry."""
    channels = len(mode) if mode in ("RGB", "RGBA", "LA") else 3
    coarse = np.random.default_rng(seed).integers(0, 256, [5, 7, channels], dtype=np.uint8)
    fine = [Image.fromarray(coarse[..., c]).resize((width, height)) for c in range(channels)]
    image = Image.merge("RGB" if channels == 3 else mode, fine)
    return image if image.mode == mode else image.convert(mode)


def encode(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes `{folder: number of JPEGs}` below a new folder, and returns it."""

    def make(counts: dict[str, int], *, name: str = "photos") -> Path:
        root = tmp_path / name
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                picture(12, 16, seed=index).save(root / folder / f"{index:03d}.jpg")
        root.mkdir(exist_ok=True)
        return root

    return make
