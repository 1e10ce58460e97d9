"""The arrows between packages, and that importing them is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("zoo", "pipelines", "transfer")
# From DESIGN: zoo <- pipelines <- transfer. What each may import of ours.
MAY_IMPORT = {"zoo": {"zoo"}, "pipelines": {"zoo", "pipelines"}, "transfer": {"zoo", "pipelines", "transfer"}}
# Inside zoo, the modules that may import only the named siblings.
INSIDE_ZOO = {
    "zoo.boxes": set(),
    "zoo.layers": set(),
    "zoo.losses": set(),
    "zoo.blocks": {"zoo.layers"},
    "zoo.heads": {"zoo.layers", "zoo.blocks"},
    "zoo.surgery.feature_maps": set(),
    "zoo.surgery.graph": {"zoo.layers"},
    "zoo.analysis.arithmetic": {"zoo.layers"},
    "zoo.analysis.optimizers": set(),
    "zoo.surgery.conversion": {"zoo.surgery.graph", "zoo.layers"},
    "zoo.analysis.costs": {"zoo.surgery.graph", "zoo.analysis.arithmetic", "zoo.analysis.optimizers"},
    "zoo.analysis.gradients": {"zoo.surgery.graph", "zoo.layers"},
    "zoo.analysis.memory": {
        "zoo.surgery.graph",
        "zoo.analysis.costs",
        "zoo.analysis.gradients",
        "zoo.analysis.optimizers",
    },
    "zoo.explain": {"zoo.surgery.feature_maps"},
    "zoo.tracking": {"zoo.boxes", "zoo.tracking"},
    "zoo.metrics": {"zoo.boxes", "zoo.metrics"},
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Absolute names of our modules that `path` imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: use absolute imports"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_is_below_them(package):
    assert modules(package)
    for path in modules(package):
        wrong = {name for name in imports(path) if name.split(".")[0] not in MAY_IMPORT[package]}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("module", sorted(INSIDE_ZOO))
def test_arrows_inside_zoo(module):
    place = ROOT / module.replace(".", "/")
    paths = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    for path in paths:
        if not path.exists():
            continue  # a module of the design that is not written yet
        for name in imports(path):
            allowed = any(name == a or name.startswith(a + ".") for a in INSIDE_ZOO[module])
            assert allowed or name == "zoo", f"{path.relative_to(ROOT)} imports {name}"


def test_importing_the_packages_loads_no_tensorflow():
    code = "import sys, zoo, pipelines, transfer; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
