"""Which columns of a table of boxes hold what: by the names in its first row, or by the kinds of its cells."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.sources.image_files import is_image

__all__ = ["BoxColumns", "box_columns", "plain"]

# Names of columns in small letters, without spaces and signs, in order of preference.
_NAMES = {
    "image": (
        "imagename imagepath imageid imagefile image filename filepath file path img imgname imgpath imgid fname name "
        "externalid url"
    ),
    "class": (
        "classname labelname class label category categoryname object type species name classid labelid categoryid"
    ),
    "x1": "xmin x1 xtl left minx bboxxmin bboxx1 boxxmin",
    "y1": "ymin y1 ytl top miny bboxymin bboxy1 boxymin",
    "x2": "xmax x2 xbr right maxx bboxxmax bboxx2 boxxmax",
    "y2": "ymax y2 ybr bottom maxy bboxymax bboxy2 boxymax",
    "x": "bboxx boxx bboxleft x left xmin",
    "y": "bboxy boxy bboxtop y top ymin",
    "w": "bboxwidth boxwidth bboxw boxw w width",
    "h": "bboxheight boxheight bboxh boxh h height",
    "box": "bbox boundingbox box",
    "width": "imagewidth imgwidth imwidth imgw width w",
    "height": "imageheight imgheight imheight imgh height h",
}
_CORNERS, _SIDES = ("x1", "y1", "x2", "y2"), ("x", "y", "w", "h")

# Tables without names of columns: the kind of each cell of a row (image, number or text), and what the cells are.
_BY_KINDS = {
    "innnnt": ("image", *_CORNERS, "class"),  # as keras-retinanet has it
    "innnnn": ("image", *_CORNERS, "class"),
    "innnn": ("image", *_CORNERS),
    "itnnnn": ("image", "class", *_CORNERS),
    "inntnnnn": ("image", "width", "height", "class", *_CORNERS),  # as TensorFlow's object detection API has it
    "tnnnninn": ("class", *_SIDES, "image", "width", "height"),  # as makesense.ai has it
}


@dataclass(frozen=True)
class BoxColumns:
    """Where the cells of a row are.

    Attributes:
        places: Number of the column of each part: "image"; "x1", "y1", "x2" and "y2", or "x", "y", "w" and "h" (the
            upper left corner, width and height), or "box" (these four in one cell); and, if there, "class", "width" and
            "height" of the image.
        names: Names of the columns; empty if the table has none.
    """

    places: Mapping[str, int]
    names: Sequence[str] = field(default=())


def plain(name: str) -> str:
    """Returns the name of a column in small letters, without spaces and signs.

    >>> plain("Image_ID"), plain("BBox (x)")
    ('imageid', 'bboxx')
    """
    return re.sub(r"[\W_]", "", name.lower())


def box_columns(rows: Sequence[Sequence[str]]) -> BoxColumns | None:
    """Returns where a table has images and boxes, or None if it is no table of boxes.

    Args:
        rows: Its first rows.

    Example:

    >>> box_columns([["file", "xmin", "ymin", "xmax", "ymax", "class"]]).places["class"]
    5
    >>> box_columns([["a.jpg", "1", "2", "30", "40", "bee"]]).places["class"]
    5
    >>> box_columns([["path", "label"], ["a.jpg", "bee"]])
    """
    names = list(rows[0]) if rows else []
    number = {plain(name): index for index, name in reversed(list(enumerate(names)))}
    for parts in (_CORNERS, _SIDES, ("box",)):
        places: dict[str, int] = {}
        for part in ("image", *parts, "class", "width", "height"):
            free = (number[word] for word in _NAMES[part].split() if word in number)
            index = next((index for index in free if index not in places.values()), None)
            if index is not None:
                places[part] = index
        if {"image", *parts} <= places.keys():
            return BoxColumns(places, names)
    kinds = [_kinds(row) for row in rows]
    known = [kind for kind in kinds if kind in _BY_KINDS]
    # Images without objects have rows of the image alone.
    if not known or any(kind not in (known[0], "i" + "e" * (len(known[0]) - 1)) for kind in kinds[:-1]):
        return None
    return BoxColumns({part: index for index, part in enumerate(_BY_KINDS[known[0]])})


def _kinds(row: Sequence[str]) -> str:
    return "".join(map(_kind, row))


def _kind(cell: str) -> str:
    if not cell:
        return "e"
    if is_image(cell):
        return "i"
    try:
        float(cell)
    except ValueError:
        return "t"
    return "n"
