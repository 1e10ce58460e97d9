"""What is shown while a network trains: lines on epochs, with a true estimate of the time left."""

import re
import time

import pytest

from transfer.training.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when it is told to."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def passes(seconds):
        now[0] += seconds

    return passes


@pytest.mark.parametrize(("steps", "epochs"), [(1, 3), (4, 5), (26, 36)])
def test_the_tracing_of_the_first_step_is_not_in_the_estimate(steps, epochs, clock, capsys):
    """A step takes 2 s, the first one 40 s more, and validation 1 s after each epoch."""
    with Progress(epochs) as progress:
        callback = progress.callback("head")
        callback.set_params({"epochs": epochs, "steps": steps})
        for epoch in range(epochs):
            callback.on_epoch_begin(epoch)
            for step in range(steps):
                clock(42 if epoch == step == 0 else 2)
                callback.on_train_batch_end(step)
            clock(1)
            callback.on_epoch_end(epoch, {"loss": 1.0})
    lines = capsys.readouterr().err.splitlines()
    estimates = [int(found[1]) if (found := re.search(r", (\d+) s of this phase left", line)) else 0 for line in lines]
    truth = [(epochs - epoch - 1) * (2 * steps + 1) for epoch in range(epochs)]
    assert estimates[1:] == truth[1:]
    if steps > 1:  # Where one step is the whole epoch, only the second epoch tells.
        assert estimates[0] == pytest.approx(truth[0], rel=0.1)
