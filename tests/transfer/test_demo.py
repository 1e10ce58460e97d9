import json
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from transfer.predict.loading import load
from transfer.runs.demo import BACKBONE, photos


def test_the_pretrained_network_knows_what_the_photos_show():
    predictor = load(BACKBONE)
    expected = {"cat": "cat", "coffee": "espresso", "palace": "palace", "tripod": "tripod"}
    for (shown, photo), (word, label) in zip(photos().items(), expected.items(), strict=True):
        assert word in shown
        assert photo.dtype == np.uint8
        assert label in predictor.predict(photo)[0].predictions[0].label


@pytest.mark.slow
def test_the_demo_is_good_quick_and_small(tmp_path):
    start = time.monotonic()
    command = [sys.executable, "-c", "from transfer.cli.main import main; main()", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "runs" / "demo" / "metrics.json").read_text())
    assert metrics["test_accuracy"] >= 0.97
    assert metrics["export_max_abs_diff"] <= 1e-4
    assert metrics["num_images"] == 1797
    for word in ("cat", "espresso", "palace", "tripod", "runs/demo/report.html", "zoo fit PHOTOS"):
        assert word in done.stdout
    assert seconds < 180
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 3e6  # kilobytes
