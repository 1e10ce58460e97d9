"""Identities on synthetic clips: balls that bounce off each other, and digits that cross and hide each other."""

import numpy as np
import pytest

from pipelines import SyntheticClips, bouncing_balls, cut_out, read_data
from transfer.tracking.drawing import draw_paths
from zoo.metrics.tracking import combine, mot
from zoo.tracking import Stage, Tracker, track


def balls():
    """Scenes, and detections with the mean colour of each ball; where the balls are near each other, there are none."""
    scenes = list(bouncing_balls())
    found = []
    for scene in scenes:
        boxes = scene.boxes if scene.boxes[1, 0] - scene.boxes[0, 2] > 30 else scene.boxes[:0]
        colours = [scene.image[int(b[1]) : int(b[3]), int(b[0]) : int(b[2])].mean(axis=(0, 1)) for b in boxes]
        found.append({"boxes": boxes, "embeddings": np.array(colours).reshape(-1, 3) - 128})
    return scenes, found


MOTION = Tracker(name="motion", stages=(Stage(detections="all", least=0.1, enlarged=0.5),))
APPEARANCE = Tracker(
    name="appearance", stages=(Stage(similarity="appearance", least=0.8, detections="all"),), budget=10
)


def test_balls_swap_with_motion_alone_and_stay_with_appearance(tmp_path):
    scenes, found = balls()
    truths = [{"boxes": scene.boxes, "identities": scene.identities} for scene in scenes]
    results = {}
    for how in (MOTION, APPEARANCE):
        frames = list(track(found, how))
        results[how.name] = mot(truths, [frame.as_sample() for frame in frames])
        picture = draw_paths(scenes[0].image, frames)
        assert picture.size == (240, 80)
        assert (np.asarray(picture) != scenes[0].image).any()
    assert (results["motion"].switches, results["appearance"].switches) == (2, 0)
    assert results["motion"].identities == results["appearance"].identities == 2
    assert results["appearance"].idf1 > 0.9 > results["motion"].idf1


@pytest.mark.parametrize("seed", [0, 1])
def test_digits_that_cross_and_hide_each_other(seed):
    """A detector that is right to a pixel or two sees what at least a quarter of shows."""
    digits = read_data("sklearn:digits")
    cutouts = cut_out(digits.train[:40], digits.class_names)
    clips = SyntheticClips(cutouts, 4, frames=50, size=(120, 200), objects=(3, 5), scale=(0.15, 0.25), seed=seed)
    rng, results = np.random.default_rng(seed), []
    for clip in clips:
        truths = [{"boxes": scene.boxes, "identities": scene.identities} for scene in clip]
        found = []
        for scene in clip:
            seen = np.array([entry["visible"] > 0.25 for entry in scene.attributes], bool)
            boxes = scene.boxes[seen] + rng.normal(0, 0.7, (seen.sum(), 4))
            found.append({"boxes": boxes, "classes": scene.classes[seen], "scores": rng.uniform(0.6, 1, len(boxes))})
        results.append(mot(truths, [frame.as_sample() for frame in track(found)]))
    together = combine(results)
    assert together.mota > 0.9
    assert together.idf1 > 0.9
