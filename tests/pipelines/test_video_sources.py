"""Writing videos, and reading pictures in order, sizes that change, and what is no video."""

import numpy as np
import pytest
from PIL import Image

from pipelines import VideoWriter, open_source, read_frames, video_info

av = pytest.importorskip("av")

HEIGHT, WIDTH = 48, 80


def picture(shade, size=(HEIGHT, WIDTH)):
    pixels = np.full([*size, 3], shade, np.uint8)
    pixels[: size[0] // 2, : size[1] // 2] = 255
    return pixels


def write(path, count=6, *, size=(HEIGHT, WIDTH), **options):
    with VideoWriter(path, **{"fps": 10, **options}) as writer:
        for index in range(count):
            writer.write(picture(20 * index, size))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("rate", [10, 30000 / 1001])
def test_what_is_written_comes_back(tmp_path, suffix, rate):
    path = write(tmp_path / f"a{suffix}", fps=rate)
    frames = list(read_frames(path))
    assert [abs(float(frame.image[-8:, -8:].mean()) - 20 * i) < 6 for i, frame in enumerate(frames)] == [True] * 6
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(6) / rate, atol=2e-3)
    assert video_info(path).fps == pytest.approx(rate, rel=1e-4)
    assert [entry.name for entry in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_the_rotation_is_kept_and_frames_are_upright(tmp_path, rotation):
    frame = next(read_frames(write(tmp_path / "a.mp4", 2, rotation=rotation)))
    assert frame.image.shape == (HEIGHT, WIDTH, 3)
    assert frame.image[4, 4].min() > 200 > frame.image[-4, -4].max()
    assert round(frame.rotation) % 360 == rotation % 360
    stored = video_info(tmp_path / "a.mp4").size
    assert stored == ((HEIGHT, WIDTH) if rotation % 180 == 0 else (WIDTH, HEIGHT))


def test_odd_sizes_are_written(tmp_path):
    frame = next(read_frames(write(tmp_path / "a.mp4", 2, size=(47, 81))))
    assert frame.image.shape == (48, 82, 3)


def broken(path):
    with VideoWriter(path, fps=5) as writer:
        writer.write(picture(0))
        writer.write(picture(0, (40, 80)))


def test_a_video_that_cannot_be_finished_does_not_appear(tmp_path):
    with pytest.raises(ValueError, match="expected a frame of 48 x 80, got 40 x 80"):
        broken(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="cannot be written"), VideoWriter(tmp_path / "a.txt", fps=5):
        pass
    with pytest.raises(ValueError, match="above 0"):
        VideoWriter(tmp_path / "a.mp4", fps=0)
    assert not list(tmp_path.iterdir())


def test_pictures_come_in_the_order_of_their_numbers(tmp_path):
    for index in (10, 2, 1):
        Image.fromarray(picture(20 * index)).save(tmp_path / f"frame{index}.png")
    (tmp_path / "frame3.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("x")
    faults = []
    video = open_source(tmp_path, fps=5, faults=faults)
    frames = list(video.frames)
    assert (video.fps, video.length) == (5, 4)
    assert [int(frame.image[-1, -1, 0]) for frame in frames] == [20, 40, 200]
    assert [frame.seconds for frame in frames] == [0, 0.2, 0.6]
    assert [fault.path.endswith("frame3.png") for fault in faults] == [True]
    assert len(list(open_source(tmp_path, fps=5, start=0.2, end=0.4).frames)) == 1


def test_a_size_that_changes_is_said_and_frames_keep_the_first_one(tmp_path):
    for index, size in enumerate([(48, 80), (48, 80), (24, 40), (24, 40)]):
        Image.fromarray(picture(0, size)).save(tmp_path / f"{index}.png")
    faults = []
    assert {frame.image.shape for frame in open_source(tmp_path, faults=faults).frames} == {(48, 80, 3)}
    assert [fault.reason.split(";")[0] for fault in faults] == [
        "the size changes from 48 x 80 to 24 x 40 (height x width) at 0.08 s"
    ]


def test_what_holds_no_frames_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"holds no pictures.*notes\.txt"):
        open_source(tmp_path)
    with pytest.raises(FileNotFoundError, match="no camera 97"):
        open_source("97")
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "none.mp4")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="holds no video, only audio"):
        open_source(tmp_path / "sound.wav")
