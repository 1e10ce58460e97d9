"""Masks of objects as run lengths: what COCO's files store, and what masks are compared by without their pixels.

NumPy alone is used, so that readers of annotations and metrics share this one definition.
"""

from zoo.masks.compressed import compress, expand
from zoo.masks.run_lengths import RunLengths, as_run_lengths

__all__ = ["RunLengths", "as_run_lengths", "compress", "expand"]
