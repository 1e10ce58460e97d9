"""What is frozen is computed once: its activations are stored, and only what is above it is trained.

The frozen part of a network is a constant function. An image, or one augmented view of it, always gives the same
activations where the frozen part ends; to compute them again in each epoch, as a training of the whole network does, is
most of the work of fine-tuning. `division.divide` finds that border in any flat model, `features.Features` holds what
comes out there, and the part above it is an ordinary `keras.Model` that shares its layers with the whole.

When it pays: the more of the network is frozen, the smaller the maps at the border are, and the fewer views of each
image are needed, the more. For the head of a classifier it saves nearly everything. For a detector it pays in a phase
that trains the head on a frozen trunk. It does not pay where a detector trains most of its trunk, as it does by default
(only what lies below level c2 is frozen): the maps there are large (4 MB an image at 288 x 384 for EfficientNet-Lite0),
and a detector learns from another view of each photo in each epoch, mosaics above all, which stored views cannot give.
So a detector's objective asks for new views (`needs_new_views`), and activations are then stored for the head's phase
only, unless `views` says how many views will do.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from pipelines import Samples

__all__ = ["VIEWS", "VIEWS_OF_HEAD", "FeatureCache", "fingerprint"]

# So many views do as well as more, measured: a head alone gains nothing from a third one (see benchmarks/RESULTS.md).
VIEWS, VIEWS_OF_HEAD = 4, 2


@dataclass(frozen=True)
class FeatureCache:
    """How activations are stored.

    Attributes:
        views: How often each training image is augmented and stored. Epochs take the views in turn. None, the default,
            stores as many as do as well as more: 4, and 2 where only the head is trained.
        limit: How many bytes all stored activations may take; what needs more is not stored. Defaults to 2 GB.
        dtype: "float32", the default; or "float16", in half the space, where that keeps the outputs within 1e-5.
        folder: A folder in which they are kept for later trainings on the same data, each under a key of its own. None,
            the default, keeps them in memory, for this training only.
        key: A text that stands for the data: their contents, order, preprocessing and augmentation. It is needed with a
            folder. A digest of the frozen weights is added to it.

    Raises:
        ValueError: A value is out of its range, or a folder has no key.
    """

    views: int | None = None
    limit: int = 2 * 10**9
    dtype: str = "float32"
    folder: Path | None = None
    key: str = ""

    def __post_init__(self) -> None:
        if (self.views is not None and self.views < 1) or self.limit < 0:
            raise ValueError(f"expected at least one view and a limit in bytes, got {self.views} and {self.limit}")
        if self.dtype not in ("float16", "float32"):
            raise ValueError(f"activations are stored as float16 or float32, got {self.dtype!r}")
        if self.folder is not None and not self.key:
            raise ValueError("activations kept in a folder need a key that stands for the data; got none")


def fingerprint(samples: Samples) -> str:
    """Computes a digest of images and labels in their order.

    Of files, their names, sizes and times of change count; otherwise the contents do.

    >>> import numpy as np
    >>> pixels = np.zeros((2, 4, 6, 3), "uint8")
    >>> fingerprint(Samples(pixels, [0, 1], "ab")) == fingerprint(Samples(pixels, [0, 0], "ab"))
    False
    """
    digest = hashlib.blake2b(samples.labels.tobytes(), digest_size=16)
    for image in samples.images:
        if isinstance(image, str):
            status = os.stat(image)
            image = f"{image} {status.st_size} {status.st_mtime_ns}".encode(errors="surrogateescape")
        digest.update(image if isinstance(image, bytes) else image.tobytes())
    return digest.hexdigest()
