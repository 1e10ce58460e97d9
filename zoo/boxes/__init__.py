"""Box geometry: formats, overlaps, and the codes that networks predict.

A box is four numbers in the last axis of an array. Unless a format is named, they are `xyxy`: the left, upper, right
and lower edge in absolute pixels. x grows to the right and y downwards, and coordinates are continuous: a box that
covers only the first pixel is `[0, 0, 1, 1]`. The other axes are free: `[4]` is one box, `[n, 4]` are n boxes, and
`[b, n, 4]` are the boxes of a batch of images.

NumPy arrays and lists give NumPy arrays and load no other library. Tensors give tensors: eagerly, in tf.data and inside
of models. Each formula is written once, because `keras.ops` has the names and the meaning of NumPy. Floating types are
kept; integers and lists become float32.
"""

from zoo.boxes.arrays import Array
from zoo.boxes.codes import MAX_GROWTH, decode, decode_sqrt, encode, encode_sqrt
from zoo.boxes.formats import ABSOLUTE, FORMATS, RELATIVE_REACH, centres, check, clip, convert
from zoo.boxes.overlaps import area, ciou, diou, giou, intersection, iou, overlap_matrix

__all__ = [
    "ABSOLUTE",
    "FORMATS",
    "MAX_GROWTH",
    "RELATIVE_REACH",
    "Array",
    "area",
    "centres",
    "check",
    "ciou",
    "clip",
    "convert",
    "decode",
    "decode_sqrt",
    "diou",
    "encode",
    "encode_sqrt",
    "giou",
    "intersection",
    "iou",
    "overlap_matrix",
]
