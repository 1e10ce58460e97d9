"""MOTChallenge's text files, read and written."""

import numpy as np
import pytest

from pipelines import read_motchallenge, write_motchallenge


def test_tracks_come_back(tmp_path):
    rng = np.random.default_rng(0)
    frames = []
    for count in (2, 0, 3):
        corner = rng.uniform(-20, 3000, (count, 2)).round(3)
        boxes = np.concatenate([corner, corner + rng.uniform(1, 90, (count, 2)).round(3)], axis=1)
        frames.append({"boxes": boxes, "identities": np.arange(count) + 4, "scores": np.full(count, 0.5)})
    assert write_motchallenge(tmp_path / "a.txt", iter(frames)) == 5
    actual = read_motchallenge(tmp_path / "a.txt")
    assert len(actual) == 3
    for one, other in zip(actual, frames, strict=True):
        np.testing.assert_allclose(one["boxes"], other["boxes"], atol=2e-3)
        np.testing.assert_array_equal(one["identities"], other["identities"])
        np.testing.assert_array_equal(one["scores"], other["scores"])
    assert [len(frame["boxes"]) for frame in read_motchallenge(tmp_path / "a.txt", frames=5)] == [2, 0, 3, 0, 0]


def test_ground_truth_of_2015_and_of_later_years(tmp_path):
    (tmp_path / "2015.txt").write_text("2,1,10,20,30,40,1,5.5,6.5,0\n1,2,10,20,30,40,0,-1,-1,-1\n")
    first, second = read_motchallenge(tmp_path / "2015.txt", truth=True)
    assert (len(first["boxes"]), second["boxes"].tolist()) == (0, [[10, 20, 40, 60]])
    lines = ["1,1,1,2,3,4,1,1,0.5", "1,2,1,2,3,4,0,1,1", "1,3,1,2,3,4,1,7,1", "1,4,1,2,3,4,0,12,1", "1,5,1,2,3,4,1,3,1"]
    (tmp_path / "2017.txt").write_text("\n".join(lines))
    frame = read_motchallenge(tmp_path / "2017.txt", truth=True)[0]
    assert frame["identities"].tolist() == [1, 3, 4]
    assert frame["ignored"].tolist() == [False, True, True]
    assert len(read_motchallenge(tmp_path / "2017.txt")[0]["boxes"]) == 5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3", "got 3 columns"),
        ("0,1,1,2,3,4", "frame from 1 on"),
        ("1,1.5,1,2,3,4", "whole identity"),
        ("1,1,1,2,nan,4", "finite"),
        ("1,1,1,two,3,4", "two"),
        ("9,1,1,2,3,4", "up to 3, got frame 9"),
    ],
)
def test_broken_lines_are_named(tmp_path, line, message):
    path = tmp_path / "a.txt"
    path.write_text(f"1,1,10,20,30,40\n\n{line}\n")
    with pytest.raises(ValueError, match=rf"a\.txt:3: .*{message}"):
        read_motchallenge(path, frames=3)
    faults = []
    assert len(read_motchallenge(path, frames=3, faults=faults)[0]["boxes"]) == 1
    assert [fault.line for fault in faults] == [3]


def test_a_file_that_cannot_be_finished_does_not_appear(tmp_path):
    def frames():
        yield {"boxes": [[1, 2, 3, 4]], "identities": [1]}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_motchallenge(tmp_path / "a.txt", frames())
    assert not list(tmp_path.iterdir())
