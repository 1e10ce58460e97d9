"""Every notebook runs from top to bottom without a network, and is committed with its outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TIMEOUT = 600  # seconds for one cell
SLOW = {
    "01_fine_tune_your_photos",
    "02_convolution_and_pooling",
    "03_architectures",
    "05_transfer_learning",
    "06_when_memory_runs_out",
    "07_export_and_serve",
    "08_localisation",
    "09_detection",
}  # up to minutes each


def by_time(path: Path):
    return pytest.param(path, marks=pytest.mark.slow if path.stem in SLOW else (), id=path.stem)


def code_cells(path: Path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", map(by_time, NOTEBOOKS))
def test_runs_from_top_to_bottom(path, monkeypatch):
    # No proxy is reachable at this address: a cell that asks the network for anything fails at once.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": FOLDER}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_committed_with_outputs_that_are_small(path):
    cells = code_cells(path)
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run it from top to bottom: make notebooks"
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    assert path.stat().st_size < 2_000_000
    assert str(Path.home()) + "/" not in path.read_text(encoding="utf-8")
