"""Schematics of networks and blocks, drawn from their own graphs, as SVG. Nothing else has to be installed."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import keras

from zoo.surgery.graph import Call, Graph, graph_of

__all__ = ["Drawing", "draw"]

L = keras.layers

# Sizes in pixels
LINE, PADDING, CHARACTER = 15, 8, 6.6  # of text
BETWEEN, ROW_GAP, LANE = 22, 30, 14  # between boxes, between rows, and the width of an edge that passes a row
SWEEPS = 8  # How often rows are put into order, and moved.

STYLE = """
.box { fill: #f4f6fa; stroke: #5b6b8c; } .conv { fill: #dce8f7; } .pool { fill: #fdebd0; } .join { fill: #e3f1e1; }
.end { fill: #ececec; } text { font: 12px system-ui, sans-serif; fill: #1b2333; text-anchor: middle; }
.shape { fill: #5a6478; font-size: 11px; } .edge { fill: none; stroke: #5b6b8c; stroke-width: 1.3; }
.tip { fill: #5b6b8c; }
@media (prefers-color-scheme: dark) {
.box { fill: #2a3142; stroke: #93a4c8; } .conv { fill: #22395a; } .pool { fill: #4d3b1f; } .join { fill: #24402a; }
.end { fill: #3a3a3a; } text { fill: #e8ecf5; } .shape { fill: #aab4c8; }
.edge { stroke: #93a4c8; } .tip { fill: #93a4c8; }
}
"""

POOLINGS = (
    *(L.MaxPooling2D, L.AveragePooling2D, L.GlobalAveragePooling2D, L.GlobalMaxPooling2D),
    *(L.UpSampling2D, L.Flatten, L.Reshape),
)
JOINS = (L.Add, L.Multiply, L.Concatenate, L.Average, L.Maximum, L.Subtract)
# Layers that are written into the box of the layer before them.
FOLLOWERS = (L.BatchNormalization, L.LayerNormalization, L.Activation, L.ReLU, L.LeakyReLU, L.Softmax, L.Dropout)
SHORT = {"BatchNormalization": "BN", "LayerNormalization": "LN", "InputLayer": "image", "Concatenate": "concat"}


@dataclass(frozen=True)
class Drawing:
    """A picture that notebooks show, and that `save` writes.

    Attributes:
        svg: The picture as SVG. Its colours follow the light or dark mode of the page that it is on.
        width: Its width in pixels.
        height: Its height in pixels.
    """

    svg: str = field(repr=False)
    width: int
    height: int

    def save(self, path: str | Path) -> Path:
        """Writes the picture, and returns its path.

        Raises:
            ValueError: The name does not end in `.svg`.
        """
        path = Path(path)
        if path.suffix.lower() != ".svg":
            raise ValueError(f"a drawing is written as SVG, got {path.name}; choose a name that ends in .svg")
        path.write_text(self.svg, encoding="utf-8")
        return path

    def _repr_svg_(self) -> str:
        return self.svg


def draw(
    what: keras.Model | Callable[[Any], Any],
    *,
    input_shape: Sequence[int | None] | None = None,
    fused: bool = True,
) -> Drawing:
    """Draws the graph of a network or of a block: a box for each layer, with its settings and the shape of its output.

    Args:
        what: A functional or sequential model, or a block: a function, or a layer, from one tensor to tensors.
        input_shape: Height, width and channels of the input. A block needs it. Of a model, the shapes are those for
            this size. Defaults to the shape that the model was built for.
        fused: Whether normalisation, activation and dropout are written into the box of the layer before them, as
            papers draw it. Defaults to True.

    Raises:
        ValueError: A block without an input shape, a model without a graph, or a size that does not fit it.

    Example:

    >>> import zoo
    >>> unit = draw(lambda x: zoo.blocks.residual_unit(x, 64, strides=2, name="unit"), input_shape=(56, 56, 32))
    >>> unit.svg.startswith("<svg"), "add" in unit.svg
    (True, True)
    """
    if not isinstance(what, keras.Model):
        if input_shape is None:
            raise ValueError("a block is drawn for images of one shape: give input_shape=(height, width, channels)")
        image = keras.Input(tuple(input_shape))
        what, input_shape = keras.Model(image, what(image)), None
    graph = graph_of(what, input_shape=None if input_shape is None else tuple(input_shape))
    nodes, edges = _nodes(graph, fused=fused)
    rows = _in_rows(nodes, edges)
    _order(rows)
    _place(rows)
    return _picture(rows)


@dataclass(eq=False)
class _Node:
    """A box, or the place where an edge passes a row (`lines` is empty then).

    Attributes:
        lines: What is written in it; the last line is the shape.
        kind: The class of its style.
        above, below: The nodes that it is joined to.
        x, y: The place of its middle.
        row_height: The height of its row, which an edge passes straight.
    """

    lines: list[str]
    kind: str = "box"
    above: list["_Node"] = field(default_factory=list)
    below: list["_Node"] = field(default_factory=list)
    row: int = 0
    x: float = 0.0
    y: float = 0.0
    row_height: float = 0.0

    @property
    def width(self) -> float:
        return max(map(len, self.lines)) * CHARACTER + 2 * PADDING if self.lines else LANE

    @property
    def height(self) -> float:
        return len(self.lines) * LINE + 2 * PADDING if self.lines else self.row_height


def _nodes(graph: Graph, *, fused: bool) -> tuple[list[_Node], list[tuple[_Node, _Node]]]:
    """Makes a box of each call, and an edge of each tensor that a call takes from another one."""
    consumers = graph.consumers()
    outputs = {id(tensor) for tensor in graph.outputs}
    makers: dict[int, _Node] = {}
    nodes, edges = [], []
    for number, tensor in enumerate(graph.inputs):
        makers[id(tensor)] = node = _Node(["image" if not number else tensor.name, _shape(tensor)], "end")
        nodes.append(node)
    for call in graph.calls:
        if isinstance(call.operation, L.InputLayer):
            continue
        before = [makers[id(tensor)] for tensor in call.inputs]
        alone = len(before) == 1 and len(consumers[id(call.inputs[0])]) == 1 and id(call.inputs[0]) not in outputs
        if fused and alone and isinstance(call.operation, FOLLOWERS) and before[0].kind != "end":
            node = before[0]
            node.lines[-1:] = [_title(call), _shape(call.output)]
        else:
            node = _Node([_title(call), _shape(call.output)], _kind(call.operation))
            nodes.append(node)
            edges += [(one, node) for one in dict.fromkeys(before)]
        makers |= {id(tensor): node for tensor in call.outputs}
    return nodes, edges


def _kind(operation: keras.Operation) -> str:
    if isinstance(operation, POOLINGS):
        return "pool"
    if isinstance(operation, JOINS):
        return "join"
    return "conv" if hasattr(operation, "kernel_size") or isinstance(operation, L.Dense) else "box"


def _title(call: Call) -> str:
    """Returns what a layer is, as papers write it: "Conv2D 3×3, 64, /2"."""
    layer = call.operation
    kind = type(layer).__name__
    words = [SHORT.get(kind, kind)]
    if isinstance(layer, JOINS):
        words = [SHORT.get(kind, kind.lower())]
    size = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if isinstance(size, tuple):
        words[0] += f" {'×'.join(map(str, size))}"
    for name in ("filters", "units"):
        if getattr(layer, name, None) is not None:
            words.append(str(getattr(layer, name)))
    stride = max(layer.strides) if isinstance(getattr(layer, "strides", None), tuple) else 1
    if stride > 1:
        words.append(f"/{stride}" if "Transpose" not in kind else f"×{stride}")
    if isinstance(layer, L.UpSampling2D):
        words[0] = f"{kind} ×{layer.size[0]}"
    if getattr(layer, "groups", 1) not in (1, None):
        words.append(f"{layer.groups} groups")
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if isinstance(layer, L.Activation):
        return activation
    return ", ".join(words) + (f" · {activation}" if activation != "linear" else "")


def _shape(tensor: Any) -> str:
    return " × ".join("?" if size is None else str(size) for size in tensor.shape[1:]) or "1"


def _in_rows(nodes: Sequence[_Node], edges: Sequence[tuple[_Node, _Node]]) -> list[list[_Node]]:
    """Puts each box below all that it takes from, and a place into each row that an edge passes."""
    for one, other in edges:  # Calls come in an order in which they can be executed, and so do these edges.
        other.row = max(other.row, one.row + 1)
    rows: list[list[_Node]] = [[] for _ in range(max(node.row for node in nodes) + 1)]
    for node in nodes:
        rows[node.row].append(node)
    for one, other in edges:
        last = one
        for row in range(one.row + 1, other.row):
            passing = _Node([], row=row)
            rows[row].append(passing)
            _join(last, passing)
            last = passing
        _join(last, other)
    return rows


def _join(above: _Node, below: _Node) -> None:
    above.below.append(below)
    below.above.append(above)


def _order(rows: list[list[_Node]]) -> None:
    """Orders the boxes of each row so that few edges cross: by the mean place of what they are joined to.

    Source: Sugiyama et al. 1981, "Methods for Visual Understanding of Hierarchical System Structures", section V.
    """
    place = {id(node): float(index) for row in rows for index, node in enumerate(row)}
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else rows[::-1]:
            wanted = {
                id(node): statistics.fmean(place[id(other)] for other in (node.above if down else node.below))
                if (node.above if down else node.below)
                else place[id(node)]
                for node in row
            }
            row.sort(key=lambda node: wanted[id(node)])
            place |= {id(node): float(index) for index, node in enumerate(row)}


def _place(rows: list[list[_Node]]) -> None:
    """Gives each box its place: below the middle of what it is joined to, without overlaps."""
    for row in rows:
        _spread(row, [0.0] * len(row))
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else rows[::-1]:
            joined = [(node.above if down else node.below) or [node] for node in row]
            _spread(row, [statistics.fmean(other.x for other in others) for others in joined])
    left = min(node.x - node.width / 2 for row in rows for node in row)
    y = 0.0
    for row in rows:
        height = max(node.height for node in row)
        for node in row:
            node.x -= left - PADDING
            node.y, node.row_height = y + height / 2, height
        y += height + ROW_GAP


def _spread(row: Sequence[_Node], wanted: Sequence[float]) -> None:
    """Moves boxes near to where they should be, in their order, with room between them."""
    ends = [float("-inf")]
    for node, x in zip(row, wanted, strict=True):
        node.x = max(x, ends[-1] + BETWEEN + node.width / 2)
        ends.append(node.x + node.width / 2)
    # What was pushed to the right is moved back by half, as a whole, so that rows stay in the middle.
    pushed = statistics.fmean(node.x - x for node, x in zip(row, wanted, strict=True))
    for node in row:
        node.x -= pushed


def _picture(rows: list[list[_Node]]) -> Drawing:
    nodes = [node for row in rows for node in row]
    width = round(max(node.x + node.width / 2 for node in nodes)) + PADDING
    height = round(max(node.y + node.height / 2 for node in nodes)) + 2 * PADDING
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {-PADDING} {width} {height}" width="{width}" '
        f'height="{height}" role="img">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>',
    ]
    parts += [_edge(node, other) for node in nodes if node.lines for other in node.below]
    parts += [_box(node) for node in nodes if node.lines]
    return Drawing("\n".join([*parts, "</svg>"]), width, height)


def _edge(start: _Node, following: _Node) -> str:
    """Draws an edge from a box, through the places where it passes rows, to the box that it leads to."""
    x, y = start.x, start.y + start.height / 2
    path = f"M{x:.1f} {y:.1f}"
    node = following
    while True:
        end = node.y - node.height / 2
        middle = (y + end) / 2
        path += f"C{x:.1f} {middle:.1f} {node.x:.1f} {middle:.1f} {node.x:.1f} {end:.1f}"
        if node.lines:
            return f'<path class="edge" marker-end="url(#tip)" d="{path}"/>'
        x, y = node.x, node.y + node.height / 2
        path += f"V{y:.1f}"
        node = node.below[0]


def _box(node: _Node) -> str:
    left, top = node.x - node.width / 2, node.y - node.height / 2
    texts = [
        f'<text{" class=" + chr(34) + "shape" + chr(34) if number == len(node.lines) - 1 else ""} x="{node.x:.1f}" '
        f'y="{top + PADDING + (number + 0.75) * LINE:.1f}">{escape(line)}</text>'
        for number, line in enumerate(node.lines)
    ]
    return (
        f'<rect class="box {node.kind}" x="{left:.1f}" y="{top:.1f}" width="{node.width:.1f}" '
        f'height="{node.height:.1f}" rx="5"/>' + "".join(texts)
    )
