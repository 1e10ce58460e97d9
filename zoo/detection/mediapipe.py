"""The SSD with a MobileNetV2 trunk that MediaPipe's Objectron finds objects with: its anchors, and how it is decoded.

It was trained on 23 classes of Open Images. The network is in the npm package `@mediapipe/objectron` (Apache-2.0), as a
TFLite file inside of `objectron_solution_packed_assets.data`. Its outputs are codes and logits of 1,917 anchors.

Sources: Liu et al. 2016, "SSD: Single Shot MultiBox Detector"; Sandler et al. 2018, "MobileNetV2", section 6.2; the
settings are those of TensorFlow's object detection API for SSD at 300 pixels.
"""

import mmap
from pathlib import Path

import numpy as np

from zoo import boxes

__all__ = ["SIZE", "VARIANCES", "decode_outputs", "network_and_names", "ssd_mobilenet_anchors"]

SIZE = 300  # Pixels: height and width of the images that the network takes.
MAPS = (19, 10, 5, 3, 2, 1)  # Cells along a side of each map
SCALES = (0.2, 0.95)  # Of the anchors of the first and of the last map, as fractions of the image
RATIOS = (1.0, 2.0, 0.5, 3.0, 1 / 3)
VARIANCES = (0.1, 0.1, 0.2, 0.2)
MAGIC = b"TFL3"  # Four bytes into a TFLite file


def ssd_mobilenet_anchors() -> np.ndarray:
    """Returns the anchors in pixels of the network's image, xyxy, float32 `[1917, 4]`.

    The first map has three anchors a cell, of which the first is small; the others have six.

    >>> ssd_mobilenet_anchors().shape
    (1917, 4)
    """
    scales = [*np.linspace(*SCALES, len(MAPS)), 1.0]
    anchors = []
    for level, cells in enumerate(MAPS):
        scale, following = scales[level], scales[level + 1]
        shapes = [(scale, ratio) for ratio in RATIOS] + [(np.sqrt(scale * following), 1.0)]
        if level == 0:
            shapes = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
        sides = np.array([(size * np.sqrt(ratio), size / np.sqrt(ratio)) for size, ratio in shapes])
        y, x = np.meshgrid(*[(np.arange(cells) + 0.5) / cells] * 2, indexing="ij")
        centres = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
        centres, sides = np.broadcast_arrays(centres, sides[None])
        anchors.append(np.concatenate([centres, sides], axis=-1).reshape(-1, 4))
    return boxes.convert((SIZE * np.concatenate(anchors)).astype(np.float32), "cxcywh", "xyxy")


def decode_outputs(codes: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decodes what the network says about an image.

    Args:
        codes: float32 `[1917, 4]`: y, x, height and width relative to the anchors.
        logits: float32 `[1917, 1 + classes]`, of which the first is the background's.

    Returns:
        Boxes xyxy in pixels of the network's image, float32 `[1917, 4]`, and scores in 0..1, `[1917, classes]`.
    """
    decoded = boxes.decode(codes[:, [1, 0, 3, 2]], ssd_mobilenet_anchors(), variances=VARIANCES)
    return decoded, 1 / (1 + np.exp(-np.clip(logits[:, 1:], -80, 80)))


def network_and_names(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Reads the TFLite file and the names of its classes out of the package's file.

    Args:
        path: `objectron_solution_packed_assets.data`: a list of names, and the TFLite file behind it.

    Returns:
        The contents of the TFLite file, and the names of the classes without that of the background.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not that file.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
        begin = contents.find(MAGIC, 0, 4096) - 4
        if begin < 0:
            raise ValueError(
                f"{path} holds no TFLite file behind a list of names; expected objectron_solution_packed_assets.data "
                "of the npm package @mediapipe/objectron"
            )
        names = contents[:begin].decode("utf-8", "replace").split("\n")
        return contents[begin:], tuple(name.strip() for name in names if name.strip() and name.strip() != "???")
