"""`zoo track`, end to end on small videos, with a detector that sees bright squares."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipelines import VideoWriter, read_frames, read_motchallenge, video_info, write_motchallenge
from pipelines.prepare.letterbox import Letterbox
from transfer.artifacts.engines.base import Engine
from transfer.cli.main import app
from transfer.predict import loading
from transfer.predict.predictor import Predictor
from transfer.tasks import task_of
from transfer.tracking.videos import Tracking, track_video
from zoo.tracking import Line, tracker

pytest.importorskip("av")

HEIGHT, WIDTH, SIDE = 96, 160, 20
LINE = Line((80, 96), (80, 0), "door")


class SeesSquares(Engine):
    """A detector whose class 0 is red and whose class 1 is blue. Its canvas has the size of the video."""

    name = "litert"
    ways = ("prepared",)

    def __init__(self, size=(HEIGHT, WIDTH)):
        self.contract = task_of("detect").contract(("red", "blue"), preparation=Letterbox(size), max_detections=4)

    def outputs(self, way, images):
        answers = [self._answer(image) for image in images]
        return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}

    def _answer(self, image):
        boxes, classes = np.zeros((4, 4), np.float32), np.full(4, -1, np.int32)
        count = 0
        for number, channel in enumerate((0, 2)):
            ys, xs = np.nonzero((image[..., channel] > 140) & (image[..., 2 - channel] < 110))
            if len(ys) > 60:
                boxes[count] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
                classes[count] = number
                count += 1
        scores = np.where(classes >= 0, 0.9, 0).astype(np.float32)
        return {"boxes": boxes, "classes": classes, "scores": scores, "valid": np.int32(count)}


class SeesColours(Engine):
    """An embedding: the mean colour."""

    name = "litert"

    def __init__(self):
        self.contract = task_of("classify").contract(("red", "blue"), preparation=Letterbox((8, 8)))

    def outputs(self, way, images):
        return {"embedding": images.mean(axis=(1, 2)) - 100}


def scene(index):
    """A red square walks to the right, and a blue one to the left, behind it."""
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    truth = []
    for x, y, colour in [(140 - 4 * index, 40, (20, 20, 250)), (4 * index, 52, (250, 20, 20))]:
        image[y : y + SIDE, x : x + SIDE] = colour
        truth.append([x, y, x + SIDE, y + SIDE])
    return image, {"boxes": truth, "identities": [2, 1]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("video")
    scenes = [scene(index) for index in range(35)]
    with VideoWriter(folder / "a.mp4", fps=12, rotation=90, bit_rate=3_000_000) as writer:
        for image, _ in scenes:
            writer.write(image)
    write_motchallenge(folder / "gt.txt", [truth for _, truth in scenes])
    return folder


def test_a_video_is_tracked_counted_drawn_and_written(folder, tmp_path):
    done = []
    tracked = track_video(
        Predictor(SeesSquares()),
        folder / "a.mp4",
        Tracking(borders=[LINE]),
        out=tmp_path / "out.mp4",
        tracks=tmp_path / "tracks.txt",
        progress=lambda *now: done.append(now),
    )
    assert (tracked.frames, tracked.fps, tracked.faults) == (35, 12, ())
    assert tracked.identities == {"blue": 1, "red": 1}
    assert tracked.counts == {"door": {"red": {"left to right": 1}, "blue": {"right to left": 1}}}
    assert done[-1] == (35, 35)
    info = video_info(tmp_path / "out.mp4")
    assert (info.fps, info.size) == (12, (WIDTH, HEIGHT))  # stored as in the source, and shown upright
    drawn = list(read_frames(tmp_path / "out.mp4"))
    assert [drawn[0].image.shape, len(drawn)] == [(HEIGHT, WIDTH, 3), 35]
    assert np.abs(drawn[20].image.astype(int) - scene(20)[0]).max() > 100
    assert len(read_motchallenge(tmp_path / "tracks.txt")) == 35


def test_the_shell_writes_tracks_and_measures_them(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "load", lambda *_, **__: Predictor(SeesSquares()))
    arguments = ["track", str(folder / "a.mp4"), "--model", "x", "--tracks", str(tmp_path / "t.txt"), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--count", "80,96,80,0"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["counts"]["line 1"]["red"] == {"left to right": 1}
    command = ["evaluate", str(tmp_path / "t.txt"), str(folder / "gt.txt"), "--task", "track"]
    scores = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert scores["mota"] > 0.9
    assert scores["idf1"] > 0.9
    table = CliRunner().invoke(app, command)
    assert "HOTA" in table.stdout
    assert table.exit_code == 0


def test_what_the_shell_refuses(folder, monkeypatch):
    monkeypatch.setattr(loading, "load", lambda *_, **__: Predictor(SeesSquares()))
    for options, message in (
        (["--count", "1,2,3"], "x1,y1,x2,y2 for a line"),
        (["--count", "a:1,2,3,4", "--count", "a:1,2,3,4,5,6"], "'a' twice"),
        (["--tracker", "sorted"], "there is no tracker 'sorted'"),
        (["--classes", "green"], "no class 'green'; it knows red, blue"),
        (["--tracker", "deepsort"], "compares appearances"),
        (["--part", "60", "70"], "has no frame"),
    ):
        result = CliRunner().invoke(app, ["track", str(folder / "a.mp4"), "--model", "x", *options])
        assert result.exit_code == 1
        assert message in " ".join(result.output.split()), result.output


def test_parts_rates_and_classes(folder, tmp_path):
    tracked = track_video(
        Predictor(SeesSquares()),
        folder / "a.mp4",
        Tracking(classes=["blue"]),
        fps=6,
        start=1,
        end=2,
        out=tmp_path / "b.mkv",
    )
    assert (tracked.frames, tracked.fps, tracked.identities) == (6, 6, {"blue": 1})
    assert video_info(tmp_path / "b.mkv").fps == 6


def test_a_video_that_ends_early_gives_what_it_has_and_says_so(tmp_path, monkeypatch):
    with VideoWriter(tmp_path / "a.mkv", fps=12, bit_rate=3_000_000) as writer:
        for index in range(30):
            writer.write(scene(index)[0])
    contents = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(contents[: len(contents) * 3 // 4])
    tracked = track_video(Predictor(SeesSquares()), tmp_path / "cut.mkv")
    assert 1 <= tracked.frames < 30
    assert tracked.faults
    monkeypatch.setattr(loading, "load", lambda *_, **__: Predictor(SeesSquares()))
    result = CliRunner().invoke(app, ["track", str(tmp_path / "cut.mkv"), "--tracks", str(tmp_path / "t.txt")])
    assert result.exit_code == 1
    assert "ends early" in " ".join(result.output.split())
    assert len(read_motchallenge(tmp_path / "t.txt")) == tracked.frames


def test_appearance_of_any_model_keeps_identities(folder):
    how = tracker("deepsort", n_init=1)
    appearance = Predictor(SeesColours()).embeddings
    tracked = track_video(Predictor(SeesSquares()), folder / "a.mp4", Tracking(tracker=how, appearance=appearance))
    assert tracked.identities == {"blue": 1, "red": 1}


def test_pictures_in_a_folder(tmp_path):
    for index in range(8):
        Image.fromarray(scene(index)[0]).save(tmp_path / f"{index}.png")
    tracked = track_video(Predictor(SeesSquares()), tmp_path, out=tmp_path / "out.avi")
    assert (tracked.frames, tracked.fps, video_info(tmp_path / "out.avi").fps) == (8, 25, 25)


def test_a_classifier_is_no_detector(folder):
    with pytest.raises(ValueError, match="expected a detector"):
        track_video(Predictor(SeesColours()), folder / "a.mp4")
