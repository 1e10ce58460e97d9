"""The grid of the first YOLO, against numbers worked out on paper and loops of equation 3."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo import boxes as box_geometry
from zoo.detection.yolo_v1 import YOLOv1Loss, decode_grid, encode_grid


def test_targets_worked_by_hand():
    # An image of 70 rows and 140 columns has 7 x 7 cells, each 10 pixels high and 20 wide.
    boxes = [[30, 20, 58, 37.5], [0, 0, 140, 70], [100, 60, 140, 70]]
    target = encode_grid(boxes, [2, 0, 1], image_size=(70, 140), num_classes=3)
    assert target.shape == (7, 7, 8)
    # The centre (44, 28.75) is in column 2 and a fifth, row 2 and seven eighths. The size is a fifth of the width and a
    # quarter of the height.
    np.testing.assert_allclose(target[2, 2], [0.2, 0.875, np.sqrt(0.2), 0.5, 1, 0, 0, 1], rtol=1e-5)
    np.testing.assert_allclose(target[3, 3], [0.5, 0.5, 1, 1, 1, 1, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(target[6, 6], [0, 0.5, np.sqrt(2 / 7), np.sqrt(1 / 7), 1, 0, 1, 0], atol=1e-5)
    assert target[..., 4].sum() == 3
    assert not encode_grid([], [], image_size=(70, 140), num_classes=3).any()


def test_a_cell_has_room_for_one_and_the_last_edge_is_in_the_last_cell():
    target = encode_grid([[0, 0, 10, 10], [2, 2, 8, 8]], [0, 1], image_size=(40, 40), num_classes=2, grid=2)
    np.testing.assert_allclose(target[0, 0], [0.25, 0.25, 0.5, 0.5, 1, 1, 0])
    corner = encode_grid([[30, 30, 50, 50]], [0], image_size=(40, 40), num_classes=2, grid=2)
    np.testing.assert_allclose(corner[1, 1, :2], [1, 1])


def test_decoding_undoes_encoding():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 40, (5, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, 20, (5, 2))], -1).astype("float32")
    for box in boxes:
        target = encode_grid(box[None], [1], image_size=(60, 90), num_classes=3, grid=5)
        found, scores = decode_grid(tf.constant(target[None]), image_size=(60, 90), boxes_per_cell=1)
        assert found.shape == (1, 25, 4)
        sure = np.flatnonzero(scores.numpy()[0].max(-1))
        np.testing.assert_allclose(found.numpy()[0, sure], box[None], atol=1e-3)
        np.testing.assert_array_equal(scores.numpy()[0, sure], [[0, 1, 0]])


def naive(truth, output, boxes_per_cell, coordinates=5.0, no_object=0.5):
    """Computes equation 3 term by term, for one image."""
    side, total = len(truth), 0.0
    for row in range(side):
        for column in range(side):
            cell, answer = truth[row, column], output[row, column]
            guesses = [answer[5 * i : 5 * i + 5] for i in range(boxes_per_cell)]

            def corners(code, row=row, column=column):
                x, y, w, h = (code[0] + column) / side, (code[1] + row) / side, code[2] ** 2, code[3] ** 2
                return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])

            overlaps = [float(box_geometry.iou(corners(cell), corners(guess))) for guess in guesses]
            best = int(np.argmax(overlaps)) if cell[4] else None
            for i, guess in enumerate(guesses):
                if i == best:
                    total += coordinates * ((cell[0] - guess[0]) ** 2 + (cell[1] - guess[1]) ** 2)
                    total += coordinates * ((cell[2] - guess[2]) ** 2 + (cell[3] - guess[3]) ** 2)
                    total += (overlaps[i] - guess[4]) ** 2
                else:
                    total += no_object * guess[4] ** 2
            if cell[4]:
                total += sum((cell[5:] - answer[5 * boxes_per_cell :]) ** 2)
    return total


@pytest.mark.parametrize("boxes_per_cell", [1, 2, 3])
def test_the_loss_is_equation_3(boxes_per_cell):
    rng = np.random.default_rng(boxes_per_cell)
    truths = np.stack(
        [
            encode_grid([[3, 5, 30, 40], [40, 30, 80, 59]], [0, 2], image_size=(60, 90), num_classes=3, grid=4),
            encode_grid([], [], image_size=(60, 90), num_classes=3, grid=4),
        ]
    )
    outputs = rng.uniform(0, 1, (2, 4, 4, 5 * boxes_per_cell + 3)).astype("float32")
    expected = [naive(*pair, boxes_per_cell) for pair in zip(truths, outputs, strict=True)]
    np.testing.assert_allclose(YOLOv1Loss(boxes_per_cell, reduction="none")(truths, outputs), expected, rtol=1e-5)
    np.testing.assert_allclose(YOLOv1Loss(boxes_per_cell)(truths, outputs), np.mean(expected), rtol=1e-5)


def test_only_the_better_of_two_boxes_learns_the_place():
    truth = encode_grid([[0, 0, 40, 40]], [0], image_size=(40, 40), num_classes=1, grid=1)[None]
    # The object is the whole image. The first box is small, the second large, both with a confidence of one half; the
    # class is correct.
    output = tf.Variable([[[[0.5, 0.5, 0.1, 0.1, 0.5, 0.5, 0.5, 0.9, 0.9, 0.5, 1.0]]]])
    with tf.GradientTape() as tape:
        loss = YOLOv1Loss(2)(truth, output)
    # Place: 5 * 2 * 0.1**2; confidence: the IoU is 0.9**4; half of 0.5**2 for the other box.
    np.testing.assert_allclose(loss, 0.1 + (0.9**4 - 0.5) ** 2 + 0.5 * 0.25, rtol=1e-4)
    gradient = tape.gradient(loss, output).numpy().ravel()
    np.testing.assert_allclose(gradient[:4], 0)
    np.testing.assert_allclose(gradient[7:9], -1, rtol=1e-4)  # 5 * 2 * (0.9 - 1)
    assert gradient[4] > 0  # a lower confidence
    assert gradient[9] < 0  # a higher confidence


def test_a_perfect_answer_costs_nothing_and_the_loss_is_saved():
    truth = encode_grid([[3, 5, 30, 40]], [1], image_size=(60, 90), num_classes=2, grid=3)[None]
    loss = keras.losses.deserialize(keras.losses.serialize(YOLOv1Loss(1, coordinates=2.0, no_object=0.25)))
    assert (loss.boxes_per_cell, loss.coordinates, loss.no_object) == (1, 2.0, 0.25)
    np.testing.assert_allclose(loss(truth, truth), 0, atol=1e-6)


def test_what_does_not_fit_is_refused():
    make = {"image_size": (60, 90), "num_classes": 2}
    with pytest.raises(ValueError, match="got relative ones"):
        encode_grid([[0.1, 0.2, 0.5, 0.9]], [0], **make)
    with pytest.raises(ValueError, match=r"classes of 0..1, got 2..2"):
        encode_grid([[1, 2, 5, 9]], [2], **make)
    with pytest.raises(ValueError, match="a class for each box, got 1 boxes and 2 classes"):
        encode_grid([[1, 2, 5, 9]], [1, 1], **make)
    with pytest.raises(ValueError, match="centres in the image"):
        encode_grid([[80, 2, 120, 9]], [1], **make)
    with pytest.raises(ValueError, match="1 box a cell or more"):
        YOLOv1Loss(0)
    with pytest.raises(ValueError, match=r"expected outputs \[n, S, S, 12\]"):
        YOLOv1Loss(2)(np.zeros((1, 3, 3, 7), "float32"), np.zeros((1, 3, 3, 7), "float32"))
