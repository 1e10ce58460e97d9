"""A drawing shows every layer of the code's own graph, each once, with its settings, and every tensor as an edge."""

import re
import xml.etree.ElementTree as ElementTree

import keras
import pytest

import zoo

L = keras.layers
SVG = "{http://www.w3.org/2000/svg}"


def parsed(drawing):
    """The lines of each box, and the number of edges."""
    root = ElementTree.fromstring(drawing.svg)
    boxes: list[list[str]] = []
    for element in root.iter():
        if element.tag == f"{SVG}rect":
            boxes.append([])
        elif element.tag == f"{SVG}text":
            boxes[-1].append(element.text)
    edges = [element for element in root.iter(f"{SVG}path") if element.get("class") == "edge"]
    return boxes, edges


def residual(x):
    return zoo.blocks.residual_unit(x, 8, strides=2, name="unit")


def test_a_residual_unit_as_papers_draw_it():
    boxes, edges = parsed(zoo.draw(residual, input_shape=(14, 18, 4)))
    assert boxes == [
        ["image", "14 × 18 × 4"],
        ["Conv2D 3×3, 8, /2", "BN", "relu", "7 × 9 × 8"],
        ["Conv2D 1×1, 8, /2", "BN", "7 × 9 × 8"],
        ["Conv2D 3×3, 8", "BN", "7 × 9 × 8"],
        ["add", "relu", "7 × 9 × 8"],
    ]
    assert len(edges) == 5


def test_every_layer_has_a_box_of_its_own_if_wanted():
    image = keras.Input((14, 18, 4))
    model = keras.Model(image, residual(image))
    boxes, edges = parsed(zoo.draw(model, fused=False))
    assert len(boxes) == len(model.layers)
    assert len(edges) == sum(len(layer._inbound_nodes[0].input_tensors) for layer in model.layers[1:])


def test_boxes_do_not_overlap_and_edges_go_down():
    drawing = zoo.draw(zoo.create_model("googlenet", include_top=False, input_shape=(64, 96, 3)))
    root = ElementTree.fromstring(drawing.svg)
    places = [tuple(float(box.get(name)) for name in ("x", "y", "width", "height")) for box in root.iter(f"{SVG}rect")]
    for i, (x, y, w, h) in enumerate(places):
        assert 0 <= x <= x + w <= drawing.width
        assert all(x + w <= a or a + c <= x or y + h <= b or b + d <= y for a, b, c, d in places[:i])
    for edge in root.iter(f"{SVG}path"):
        if edge.get("class") == "edge":
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", edge.get("d"))]
            assert numbers[1] < numbers[-1]


def test_a_normalisation_that_two_layers_read_stays_a_box_and_outputs_are_not_written_over():
    image = keras.Input((6, 8, 3), name="image")
    x = L.Conv2D(4, 3, name="conv")(image)
    y = L.Activation("relu")(L.BatchNormalization()(x))
    boxes, edges = parsed(zoo.draw(keras.Model(image, [x, y])))
    assert boxes[1:] == [["Conv2D 3×3, 4", "4 × 6 × 4"], ["BN", "relu", "4 × 6 × 4"]]
    assert len(edges) == 2


def test_names_are_text_and_open_sizes_are_marked(tmp_path):
    image = keras.Input((None, None, 3), name="image")
    other = keras.Input((None, None, 3), name="a&b")
    drawing = zoo.draw(keras.Model([image, other], L.Add()([image, other])))
    boxes, _ = parsed(drawing)
    assert [box[-1] for box in boxes] == ["? × ? × 3"] * 3
    assert ["a&b", "? × ? × 3"] in boxes
    assert drawing.save(tmp_path / "it.svg").read_text("utf-8") == drawing.svg == drawing._repr_svg_()


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="give input_shape"):
        zoo.draw(residual)
    with pytest.raises(ValueError, match=r"ends in \.svg"):
        zoo.draw(residual, input_shape=(8, 8, 4)).save(tmp_path / "it.png")
