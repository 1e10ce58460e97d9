"""What people see: signals that say something, names that cannot change the terminal, cells that are no formulas."""

import csv
import io
import os
import signal
import time

import pytest
import typer
from rich.table import Table
from rich.text import Text

from transfer.cli import console
from transfer.cli.console import SafeConsole, for_people
from transfer.runs.folder import write_csv


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_says_that_it_stopped_the_command(name, status, capsys, monkeypatch):
    monkeypatch.setattr(console, "err", SafeConsole(file=(text := io.StringIO())))
    left = []
    with pytest.raises(typer.Exit) as exit, for_people(stopped="Stopped. Repeat the command to go on."):  # noqa: PT012
        try:
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(5)
        finally:
            left.append("cleaned")
    assert exit.value.exit_code == status
    assert left == ["cleaned"]
    assert "Stopped. Repeat the command to go on." in " ".join(text.getvalue().split())
    assert (name in text.getvalue()) == (name != "SIGINT")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGHUP")
def test_a_command_under_nohup_goes_on():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with for_people():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_without_words_has_its_kind(monkeypatch):
    monkeypatch.setattr(console, "err", SafeConsole(file=(text := io.StringIO())))
    with pytest.raises(typer.Exit), for_people():
        raise TimeoutError
    assert "Error: TimeoutError" in text.getvalue()


ESCAPES = ("\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "\r", "\x08", "\x7f")


@pytest.mark.parametrize("escape", ESCAPES)
def test_escape_sequences_in_names_do_not_reach_the_terminal(escape):
    name = f"photo {escape}.jpg"
    table = Table("name")
    table.add_row(Text(name))
    console = SafeConsole(file=(text := io.StringIO()), force_terminal=True, width=80, legacy_windows=False)
    console.print(Text("bold", "bold red") + Text(name), soft_wrap=True)
    console.print(name, markup=False)
    console.print(table)
    shown = text.getvalue()
    assert escape not in shown
    assert shown.count("photo ") == 3
    assert "\x1b[1;31m" in shown, "its own colours are shown"


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1.jpg", "@SUM(1)", "\tx", "\rx"])
def test_no_cell_is_a_formula(tmp_path, text):
    write_csv(tmp_path / "a.csv", ["path", text], [[text, -1.5], ["a.jpg", None]])
    with (tmp_path / "a.csv").open(newline="") as file:
        columns, first, second = csv.reader(file)
    assert columns == ["path", f"'{text}"]
    assert first == [f"'{text}", "-1.5"]
    assert second == ["a.jpg", ""]
