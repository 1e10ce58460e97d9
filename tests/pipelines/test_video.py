"""Videos that the tests write, frame by frame, and what is read of them, whole and broken."""

import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines import read_clips, read_frames, video_dataset, video_info
from pipelines.video import frames as frames_module
from pipelines.video.containers import video_stream

av = pytest.importorskip("av")

HEIGHT, WIDTH = 48, 80


def video(path, times=None, *, count=30, rate=10, rotation=0, options=None):
    """Frame `i` has the brightness 8 * i; its left upper quarter is white."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.bit_rate = 2_000_000
        stream.gop_size = 5
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(count):
            pixels = np.full([HEIGHT, WIDTH, 3], 8 * index, np.uint8)
            pixels[: HEIGHT // 2, : WIDTH // 2] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.pts = times[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def number(image):
    """Which frame it is, by its brightness at the lower right."""
    return round(float(image[-8:, -8:].mean()) / 8)


def test_every_frame(tmp_path):
    path = video(tmp_path / "a.mp4")
    frames = list(read_frames(path))
    assert [number(frame.image) for frame in frames] == list(range(30))
    assert [frame.index for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(30) / 10, atol=1e-6)
    assert frames[0].image.shape == (HEIGHT, WIDTH, 3)
    assert frames[0].image.dtype == np.uint8
    assert frames[3].image[4, 4].min() > 240
    info = video_info(path)
    assert (info.size, info.fps, info.seconds) == ((HEIGHT, WIDTH), 10.0, 3.0)


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (10, list(range(30))),
        (5, list(range(0, 30, 2))),
        (4, [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27]),
        (20, [i // 2 for i in range(60)]),
        (0.5, [0, 20]),
    ],
)
def test_sampling(tmp_path, fps, expected):
    frames = list(read_frames(video(tmp_path / "a.mp4"), fps=fps))
    assert [number(frame.image) for frame in frames] == expected
    np.testing.assert_allclose([frame.seconds for frame in frames], np.array(expected) / 10, atol=1e-6)


def test_a_part_of_a_video(tmp_path):
    path = video(tmp_path / "a.mp4")
    assert [number(f.image) for f in read_frames(path, start=1.5, end=2.0)] == [15, 16, 17, 18, 19]
    assert [number(f.image) for f in read_frames(path, start=1.25, end=2.0, fps=4)] == [12, 15, 17]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # to stop where one was asked to is not to end early
        list(read_frames(path, end=1.0))


def test_varying_rates_go_by_the_time_stamps(tmp_path):
    times = [0, 1, 2, 20, 21, 40]
    path = video(tmp_path / "a.mkv", times, count=6, rate=10)
    stamps = [frame.seconds for frame in read_frames(path)]
    np.testing.assert_allclose(stamps, np.array(times) / 10, atol=0.002)
    assert [number(frame.image) for frame in read_frames(path, fps=1)] == [0, 2, 3, 4, 5]


def test_phones_that_are_held_upright(tmp_path):
    """The file says by how much to turn; the white quarter tells which way it was turned."""
    corners = {}
    for rotation in (0, 90, 180, -90):
        frame = next(read_frames(video(tmp_path / f"{rotation}.mp4", count=2, rotation=rotation)))
        corners[rotation] = [bool(frame.image[y, x].min() > 127) for y in (4, -4) for x in (4, -4)].index(True)
        assert frame.image.shape == ((HEIGHT, WIDTH, 3) if rotation % 180 == 0 else (WIDTH, HEIGHT, 3))
    assert corners == {0: 0, 90: 2, 180: 3, -90: 1}  # anticlockwise: from the left top to the left bottom
    small = next(read_frames(tmp_path / "90.mp4", size=(40, 20)))
    assert small.image.shape == (40, 20, 3)
    assert small.image[-4, 4].min() > 127


@pytest.mark.parametrize(
    ("length", "stride", "starts"),
    [(4, None, [0, 4, 8]), (4, 2, [0, 2, 4, 6, 8, 10]), (4, 6, [0, 6]), (1, 5, [0, 5, 10]), (15, None, [0])],
)
def test_clips(tmp_path, length, stride, starts):
    path = video(tmp_path / "a.mp4")
    clips = list(read_clips(path, length, stride=stride, fps=5))
    assert [clip.index for clip in clips] == list(range(len(starts)))
    for clip, start in zip(clips, starts, strict=True):
        assert clip.images.shape == (length, HEIGHT, WIDTH, 3)
        assert [number(image) for image in clip.images] == [2 * (start + i) for i in range(length)]
        np.testing.assert_allclose(clip.seconds, (start + np.arange(length)) / 5, atol=1e-6)


def test_a_video_that_ends_early_gives_what_it_has_and_says_so(tmp_path):
    whole = video(tmp_path / "a.mp4", options={"movflags": "faststart"})
    contents = whole.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(contents[: len(contents) * 6 // 10])
    faults = []
    frames = list(read_frames(path, faults=faults))
    assert 5 < len(frames) < 25
    assert [number(frame.image) for frame in frames] == list(range(len(frames)))
    assert any("ends early" in fault.reason and "of 3.00 s" in fault.reason for fault in faults)
    assert all(fault.path == str(path) and fault.kept for fault in faults)
    with pytest.warns(UserWarning, match="ends early") as caught:
        assert len(list(read_frames(path))) == len(frames)
    assert {warning.filename for warning in caught} == {__file__}  # the code that asked for the frames
    with pytest.raises(ValueError, match=r"cut\.mp4: .*strict=True"):
        list(read_frames(path, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(read_frames(whole))


def test_damage_in_the_middle(tmp_path):
    path = video(tmp_path / "a.mp4", options={"movflags": "faststart"})
    contents = bytearray(path.read_bytes())
    middle = contents.index(b"mdat") + (len(contents) - contents.index(b"mdat")) // 2
    contents[middle : middle + 400] = b"\0" * 400
    path.write_bytes(contents)
    faults = []
    frames = list(read_frames(path, faults=faults))
    assert len(frames) > 15
    assert number(frames[-1].image) == 29


def test_files_that_are_no_videos(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_frames(tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(ValueError, match=r"text\.mp4: cannot be opened as a video"):
        read_frames(tmp_path / "text.mp4")
    contents = video(tmp_path / "a.mp4").read_bytes()  # without "faststart" the index is at the end
    (tmp_path / "cut.mp4").write_bytes(contents[: len(contents) // 2])
    with pytest.raises(ValueError, match=r"cut\.mp4: cannot be opened as a video"):
        read_frames(tmp_path / "cut.mp4")


@pytest.mark.parametrize("options", [{"fps": 0}, {"fps": -1}, {"start": -1}, {"start": 2, "end": 1}])
def test_wrong_arguments(tmp_path, options):
    path = video(tmp_path / "a.mp4", count=2)
    with pytest.raises(ValueError, match="expected"):
        read_frames(path, **options)
    with pytest.raises(ValueError, match="1 or more"):
        read_clips(path, 0)


def test_without_av_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"transfer-zoo\[video\]"):
        read_frames(tmp_path / "a.mp4")


def test_as_tf_data(tmp_path):
    paths = [video(tmp_path / f"{name}.mp4", count=12) for name in "ab"]
    samples = list(video_dataset(paths, fps=5).as_numpy_iterator())
    assert [number(sample["image"]) for sample in samples] == [0, 2, 4, 6, 8, 10] * 2
    assert samples[7]["path"] == str(paths[1]).encode()
    assert float(samples[7]["seconds"]) == pytest.approx(0.2)
    dataset = video_dataset(paths, fps=5, clip_length=3, size=(24, 40)).batch(4)
    (batch,) = dataset
    assert batch["image"].shape == (4, 3, 24, 40, 3)
    assert batch["seconds"].shape == (4, 3)
    with pytest.raises(FileNotFoundError):
        video_dataset([tmp_path / "none.mp4"])


# Containers, as people have them

CONTAINERS = {
    "mp4": ("libx264", {"bf": "2"}),
    "mkv": ("libx264", {"bf": "2", "x264-params": "open-gop=1"}),
    "ts": ("libx264", {"bf": "2"}),
    "m2ts": ("mpeg2video", {"bf": "2"}),
    "mpg": ("mpeg2video", {"bf": "2"}),
    "avi": ("mpeg4", {}),
    "AVI": ("libx264", {"bf": "2"}),
    "flv": ("flv", {}),
    "webm": ("libvpx", {}),
    "wmv": ("wmv2", {}),
    "h264": ("libx264", {"bf": "2"}),
    "mjpeg": ("mjpeg", {}),
}


def contained(path, codec, options, *, count=40, sound=0.0, cover=False):
    """A video of `count` frames, 10 a second, with so many seconds of sound and a cover picture before it."""
    with av.open(str(path), "w") as container:
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.height, picture.width, picture.pix_fmt = 32, 32, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        if count:
            stream = container.add_stream(codec, rate=10, options=options)
            stream.height, stream.width = HEIGHT, WIDTH
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.gop_size, stream.bit_rate = 12, 2_000_000
        audio = container.add_stream("aac", rate=44_100) if sound else None
        if cover:
            red = np.full([32, 32, 3], [255, 0, 0], np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
            container.mux(picture.encode())
        for index in range(count):
            pixels = np.full([HEIGHT, WIDTH, 3], 6 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        if count:
            container.mux(stream.encode())
        for index in range(int(sound * 44_100) // 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros([1, 1024], np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 44_100, 1024 * index
            container.mux(audio.encode(frame))
        if audio:
            container.mux(audio.encode())
    return path


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_part_is_what_reading_the_whole_video_has_there(tmp_path, suffix):
    path = contained(tmp_path / f"a.{suffix}", *CONTAINERS[suffix])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = list(read_frames(path))
        assert len(whole) == 40
        assert (np.diff([frame.seconds for frame in whole]) > 0).all()
        for start, end in ((0.55, 1.0), (1.3, 2.1), (2.0, None), (2.95, 3.4), (3.6, None)):
            expected = [f for f in whole if f.seconds >= start - 1e-6 and (end is None or f.seconds < end)]
            part = list(read_frames(path, start=start, end=end))
            assert [frame.seconds for frame in part] == pytest.approx([frame.seconds for frame in expected])
            for frame, other in zip(part, expected, strict=True):
                np.testing.assert_array_equal(frame.image, other.image)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "flv"])
def test_sound_that_goes_on_longer_is_no_video_that_ends_early(tmp_path, suffix):
    path = contained(tmp_path / f"a.{suffix}", "libx264", {}, count=20, sound=5.0)
    faults = []
    assert len(list(read_frames(path, faults=faults))) == 20
    assert faults == []
    assert video_info(path).seconds in (None, pytest.approx(2.0, abs=0.2))


def test_a_cover_picture_is_not_the_video(tmp_path):
    path = contained(tmp_path / "a.mp4", "libx264", {}, count=12, cover=True)
    frames = list(read_frames(path))
    assert len(frames) == 12
    assert {frame.image.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}
    assert video_info(path).size == (HEIGHT, WIDTH)
    with av.open(str(path)) as container:
        streams = sorted(container.streams.video, key=lambda stream: stream.width)
        assert [stream.width for stream in streams] == [32, WIDTH]
        assert video_stream(SimpleNamespace(streams=SimpleNamespace(video=streams))) is streams[1]
    song = contained(tmp_path / "song.mp4", "libx264", {}, count=0, sound=1.0, cover=True)
    with pytest.raises(ValueError, match=r"song\.mp4: holds no video, only (audio, )?cover picture"):
        read_frames(song)


def test_frames_without_time_stamps_follow_at_the_rate_of_the_video(tmp_path):
    frames = list(read_frames(contained(tmp_path / "a.h264", "libx264", {"bf": "2"}, count=25)))
    steps = np.diff([frame.seconds for frame in frames])
    assert len(frames) == 25
    np.testing.assert_allclose(steps, 1 / video_info(tmp_path / "a.h264").fps)


def test_errors_name_the_file(tmp_path, monkeypatch):
    path = video(tmp_path / "a.mp4", count=3)

    def fail(frame, size):
        raise av.error.InvalidDataError(1, "no colours")

    monkeypatch.setattr(frames_module, "upright_pixels", fail)
    with pytest.raises(ValueError, match=r"a\.mp4: cannot be read as a video: no colours"):
        list(read_frames(path))
