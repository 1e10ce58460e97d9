"""What happens to photos on their way: noise, blur, brightness and JPEG compression, each in five strengths.

Source: Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
section 3 and the published code of ImageNet-C, from which the strengths are. They are meant for images of 224 pixels as
the network is given them. Its Gaussian blur stands for its several blurs.
"""

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

__all__ = ["CORRUPTIONS", "STRENGTHS", "corrupt"]

STRENGTHS = (1, 2, 3, 4, 5)
# Kind -> its value at each strength: the deviation of the noise as a share of the range, the deviation of the blur in
# pixels, what is added to the brightness as a share of the range, and the quality of the JPEG.
CORRUPTIONS: dict[str, tuple[float, ...]] = {
    "noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "blur": (1, 2, 3, 4, 6),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "jpeg": (25, 18, 15, 10, 7),
}


def corrupt(images: np.ndarray, kind: str, strength: int, *, seed: int = 0) -> np.ndarray:
    """Spoils images.

    Args:
        images: Images `[n, h, w, 3]` in 0..255.
        kind: "noise", "blur", "brightness" or "jpeg".
        strength: The strength, 1 to 5.
        seed: Decides the noise.

    Returns:
        uint8 `[n, h, w, 3]`.

    Raises:
        ValueError: The kind or the strength is unknown.

    Example:

    >>> corrupt(np.full((1, 2, 2, 3), 100, np.uint8), "brightness", 2)[0, 0, 0].tolist()
    [151, 151, 151]
    """
    if kind not in CORRUPTIONS or strength not in STRENGTHS:
        known = ", ".join(CORRUPTIONS)
        raise ValueError(f"expected a kind of {known} and a strength of 1 to 5, got {kind!r} and {strength!r}")
    value = CORRUPTIONS[kind][strength - 1]
    pixels = np.asarray(images, np.float32)
    if kind == "noise":
        pixels = pixels + 255 * value * np.random.default_rng(seed).standard_normal(pixels.shape, np.float32)
    elif kind == "blur":
        pixels = gaussian_filter(pixels, (0, value, value, 0))
    elif kind == "brightness":
        pixels = _brighter(pixels, 255 * value)
    else:
        pixels = np.stack([_compressed(image, int(value)) for image in _bytes(pixels)]) if len(pixels) else pixels
    return _bytes(pixels)


def _brighter(pixels: np.ndarray, added: float) -> np.ndarray:
    """Adds to the largest of the three channels (V of HSV), up to 255, and keeps their ratios."""
    largest = pixels.max(axis=-1, keepdims=True)
    wanted = np.minimum(largest + added, 255)
    return np.where(largest > 0, pixels * (wanted / np.maximum(largest, 1e-6)), wanted)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer), np.float32)


def _bytes(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
