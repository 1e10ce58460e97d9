"""Boxes and captions on photos."""

import numpy as np
import pytest

from transfer.drawing import READABLE, caption, draw


def test_boxes_are_drawn_where_they_are():
    image = np.full((120, 200, 3), 90, np.uint8)
    picture = np.asarray(draw(image, [[20, 40, 90, 100]], [""], [(255, 0, 0)]))
    changed = (picture != image).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (20, 40, 90, 100)
    assert not changed[50:90, 30:80].any(), "the box is not filled"
    assert draw(image, [], [], []).size == (200, 120)
    larger = np.asarray(draw(image, [[20, 40, 90, 100]], [""], [(255, 0, 0)], longer=400))
    assert larger.shape == (240, 400, 3)
    assert (larger[80:82, 40:180] == (255, 0, 0)).all()


@pytest.mark.parametrize("shape", [(300, 480, 3), (480, 300, 3), (7, 5, 3), (2000, 330, 3)])
def test_captions_stay_on_the_photo(shape):
    image = np.full(shape, 200, np.uint8)
    plain = np.asarray(caption(image, []))
    lines = [f"class {number} " + "long " * number for number in range(40)]
    for count in (1, 3, 40):
        picture = np.asarray(caption(image, lines[:count]))
        assert picture.shape == plain.shape
        changed = (picture != plain).any(axis=-1)
        assert changed[0].all(), "the band reaches from edge to edge"
        if count == 1 and shape[0] > 100:
            assert not changed[shape[0] // 2 :].any()
        assert (picture == 255).all(axis=-1).any(), "there is text on it"
    assert max(plain.shape) == max(READABLE, *shape)


def test_more_lines_than_there_is_room_for_are_counted():
    image = np.zeros((330, 330, 3), np.uint8)
    few, many = (np.asarray(caption(image, ["x"] * count)) for count in (400, 800))
    assert (few != many).any(), "the last line says how many there are"


def test_letters_beyond_ascii_are_written():
    """The font has them: each looks different, where a missing letter would be the same empty box."""
    image = np.zeros((330, 330, 3), np.uint8)
    pictures = [np.asarray(caption(image, [text])).tobytes() for text in ("ö", "é", "к", "γ")]
    assert len(set(pictures)) == 4
