"""The anchors and the decoding of MediaPipe's SSD against a plain loop, and what is no file of the package."""

import math

import numpy as np
import pytest

from zoo.detection.mediapipe import decode_outputs, network_and_names, ssd_mobilenet_anchors


def plain_anchors():
    """Centre and sides as fractions of the image, anchor by anchor."""
    anchors = []
    for level, stride in enumerate((16, 32, 64, 128, 256, 512)):
        scale = 0.2 + 0.75 * level / 5
        following = 1.0 if level == 5 else 0.2 + 0.75 * (level + 1) / 5
        pairs = [(1, scale), (2, scale), (0.5, scale), (3, scale), (1 / 3, scale), (1, math.sqrt(scale * following))]
        if level == 0:
            pairs = [(1, 0.1), (2, scale), (0.5, scale)]
        cells = math.ceil(300 / stride)
        for y in range(cells):
            for x in range(cells):
                for ratio, size in pairs:
                    sides = size * math.sqrt(ratio), size / math.sqrt(ratio)
                    anchors.append(((x + 0.5) / cells, (y + 0.5) / cells, *sides))
    return anchors


def test_decoding_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    codes, logits = rng.normal(0, 1, (1917, 4)).astype(np.float32), rng.normal(0, 9, (1917, 4)).astype(np.float32)
    boxes, scores = decode_outputs(codes, logits)
    assert len(ssd_mobilenet_anchors()) == len(plain_anchors()) == 1917
    for box, (dy, dx, dh, dw), (x, y, w, h) in zip(boxes, codes.tolist(), plain_anchors(), strict=True):
        x, y, w, h = x + dx / 10 * w, y + dy / 10 * h, w * math.exp(dw / 5), h * math.exp(dh / 5)
        expected = [300 * edge for edge in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]
        np.testing.assert_allclose(box, expected, atol=1e-3)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits[:, 1:].astype(float))), rtol=1e-5)


def test_the_package_file_is_names_and_a_network(tmp_path):
    (tmp_path / "a.data").write_bytes(b"???\nBicycle\nPerson\n\x1c\x00\x00\x00TFL3rest")
    network, names = network_and_names(tmp_path / "a.data")
    assert (network, names) == (b"\x1c\x00\x00\x00TFL3rest", ("Bicycle", "Person"))
    (tmp_path / "b.data").write_bytes(b"x" * 99)
    with pytest.raises(ValueError, match="holds no TFLite file"):
        network_and_names(tmp_path / "b.data")
    with pytest.raises(FileNotFoundError):
        network_and_names(tmp_path / "none")
