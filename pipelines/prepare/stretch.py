"""A whole photo stretched over the canvas, whatever its shape, as SSD's authors show photos to their network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.prepare.letterbox import Letterbox
from pipelines.prepare.preparation import Window

__all__ = ["Stretch"]


@dataclass(frozen=True)
class Stretch(Letterbox):
    """A letterbox without any grey: the photo covers the whole canvas, bilinear and antialiased.

    Source: Liu et al. 2016, "SSD: Single Shot MultiBox Detector", section 2.2.

    Args:
        size: Height and width of the canvas, in pixels.

    Example:

    >>> Stretch((30, 60)).boxes_to_photo([[15, 0, 30, 30]], (120, 120)).tolist()
    [[30.0, 0.0, 60.0, 120.0]]
    """

    kind: ClassVar[str] = "stretch"

    def place(self, h: Any, w: Any) -> Window:
        return 0, 0, *self.size

    def as_dict(self) -> dict[str, Any]:
        """Returns the kind and the fields as JSON can hold them."""
        return {"kind": self.kind, "size": list(self.size)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Stretch":
        """Returns the preparation that `as_dict` described."""
        return cls(tuple(fields["size"]))
