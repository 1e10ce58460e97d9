import sys
import types

import pytest

from transfer.training import live_plot
from transfer.training.live_plot import LivePlot

LOGS = [
    {"loss": 3.0 - i, "val_loss": 2.5 - i, "accuracy": 0.5 + i / 10, "val_accuracy": 0.4 + i / 10} for i in range(3)
]


def test_each_measure_has_a_picture_with_both_lines():
    plot = LivePlot()
    for epoch, logs in enumerate(LOGS):
        plot.on_epoch_end(epoch, logs)
    loss, accuracy = plot.figure().axes
    assert (loss.get_title(), accuracy.get_title()) == ("loss", "accuracy")
    assert [list(line.get_ydata()) for line in loss.lines] == [[3.0, 2.0, 1.0], [2.5, 1.5, 0.5]]
    assert list(accuracy.lines[1].get_xdata()) == [1, 2, 3]


def test_in_a_notebook_one_picture_is_replaced(monkeypatch):
    shown = []

    class Handle:
        def update(self, figure):
            shown.append(("update", figure))

    def display(figure, *, display_id):
        shown.append(("new", figure))
        return Handle()

    pytest.importorskip("IPython")
    monkeypatch.setattr(live_plot, "_in_notebook", lambda: True)
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    plot = LivePlot()
    for epoch, logs in enumerate(LOGS):
        plot.on_epoch_end(epoch, logs)
    assert [kind for kind, _ in shown] == ["new", "update", "update"]
    assert len(shown[-1][1].axes[0].lines[0].get_xdata()) == 3


def test_outside_of_one_nothing_is_shown(capsys):
    LivePlot().on_epoch_end(0, LOGS[0])
    assert capsys.readouterr().out == ""
