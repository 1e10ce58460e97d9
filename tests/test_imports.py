"""Who may import whom: the arrows between packages and rooms, no circles, and light imports.

Imports inside functions, and modules that are named by a string, count like any other.
"""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("zoo", "pipelines", "transfer")
# zoo <- pipelines <- transfer: what each package may import of ours.
MAY_IMPORT = {"zoo": {"zoo"}, "pipelines": {"zoo", "pipelines"}, "transfer": {"zoo", "pipelines", "transfer"}}
# Modules of `transfer` that import none of ours.
BELOW_ALL = ("transfer.keras_settings", "transfer.probabilities", "transfer.python_values", "transfer.silence")
# Rooms and modules that may import the named ones of ours only (and what is inside of them).
ROOMS = {
    "zoo.boxes": set(),
    "zoo.masks": set(),
    "zoo.primitives": set(),
    "zoo.losses": set(),
    "zoo.blocks": {"zoo.primitives"},
    "zoo.layers": {"zoo.primitives", "zoo.blocks"},
    "zoo.heads": {"zoo.primitives", "zoo.layers", "zoo.blocks"},
    "zoo.metrics": {"zoo.boxes", "zoo.masks"},
    "zoo.tracking": {"zoo.boxes"},
    "zoo.surgery": {"zoo.primitives", "zoo.layers"},
    "zoo.explain": {"zoo.surgery"},
    "pipelines.prepare": set(),
    "pipelines.data": set(),
    "transfer.keras_settings": set(),
    "transfer.probabilities": set(),
    "transfer.python_values": set(),
    "transfer.silence": set(),
    "transfer.contract": {"pipelines.prepare", "transfer.probabilities"},
    "transfer.measuring.table": set(),
    "transfer.tasks.task": {"transfer.contract", "transfer.tasks.settings", "transfer.measuring.table"},
    "transfer.tasks.settings": {"transfer.python_values"},
    "transfer.models": {"zoo", "pipelines", *BELOW_ALL},
    "transfer.training": {"zoo", "pipelines", "transfer.models", "transfer.tasks.settings", *BELOW_ALL},
    "transfer.measuring": {"zoo", "pipelines", "transfer.training", *BELOW_ALL},
    "transfer.artifacts": {"zoo", "pipelines", "transfer.contract", "transfer.tasks", "transfer.models", *BELOW_ALL},
    "transfer.predict": {"zoo", "pipelines", "transfer.contract", "transfer.tasks", "transfer.artifacts"},
    "transfer.tracking": {
        "zoo",
        "pipelines",
        "transfer.contract",
        "transfer.drawing",
        "transfer.measuring.table",
        "transfer.artifacts",
        "transfer.predict",
    },
    "transfer.serving": {"transfer.contract", "transfer.tasks", "transfer.artifacts", "transfer.predict", "pipelines"},
}
# Modules that know the tasks by their names.
TABLES = {"transfer.tasks"}
# The answering halves of the tasks, which predicting loads.
LIGHT = ("answers", "settings", "comparison")


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def known() -> frozenset[str]:
    return frozenset(map(name_of, modules()))


@cache
def imports(path: Path) -> frozenset[str]:
    """Names of our modules that `path` imports, at any depth of its code, and of those that its strings name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    names = set()
    for node in ast.walk(tree):
        if id(node) in checked_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: use absolute imports"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (inside & known()) | ({node.module or ""} if not inside <= known() else set())
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            names |= (
                {node.value} if re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", node.value) and node.value in known() else set()
            )
    return frozenset(name for name in names if name.split(".")[0] in PACKAGES)


def inside(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_is_below_them(package):
    for path in modules():
        if path.relative_to(ROOT).parts[0] == package:
            wrong = {name for name in imports(path) if name.split(".")[0] not in MAY_IMPORT[package]}
            assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_import_only_what_is_below_them(room):
    paths = [path for path in modules() if inside(name_of(path), {room})]
    assert paths, f"there is no {room}"
    for path in paths:
        wrong = {name for name in imports(path) if not inside(name, {room, *ROOMS[room]}) and name != "zoo"}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_only_the_table_names_the_tasks():
    for path in modules():
        name = name_of(path)
        if name in TABLES:
            continue
        own = re.match(r"transfer\.tasks\.\w+\.", f"{name}.")
        for imported in imports(path):
            task = re.match(r"transfer\.tasks\.(classify|tag|regress|heads|locate|detect|segment)\.", f"{imported}.")
            # A task may build on another one.
            assert not task or (own and (ROOT / name.replace(".", "/")).parent.parent.name == "tasks"), (
                f"{path.relative_to(ROOT)} imports {imported}"
            )


def test_no_code_asks_for_the_name_of_a_task():
    """Outside of `transfer/tasks`, nothing compares with the name of a task, or asks for the class of its settings."""
    from transfer.tasks import TASKS

    for path in modules():
        if "tasks" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                values = {c.value for c in (node.left, *node.comparators) if isinstance(c, ast.Constant)}
                assert not values & set(TASKS), f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                classes = {row.settings for row in TASKS.values()} | {
                    f"{row.settings}Contract" for row in TASKS.values()
                }
                named = {getattr(inner, "id", "") for inner in ast.walk(node.args[1])}
                assert not named & classes, f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"


def test_there_is_no_circle_of_modules():
    graph = {name_of(path): {name for name in imports(path) if name in known()} for path in modules()}
    # The lists of public names at the top of a package are no arrows: each is followed when a name is used.
    for package in PACKAGES:
        graph[package] = set()
    # The table of tasks is followed by name; that its tasks do not lead back to it is what counts.
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name in done:
            return
        for other in sorted(graph.get(name, ())):
            visit(other, [*way, name])
        done.add(name)

    for name in sorted(graph):
        visit(name, [])


def test_no_function_imports_our_own_modules():
    """Such an import hides a circle. The command line may: it loads what a command needs, and not before."""
    for path in modules():
        if "cli" in path.parts:
            continue
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    module = getattr(node, "module", None) or node.names[0].name
                    assert module.split(".")[0] not in PACKAGES, f"{path.relative_to(ROOT)}:{node.lineno}: {module}"


def test_no_package_exports_a_name_that_one_of_its_modules_has():
    """Otherwise what the name means depends on what was imported before."""
    for path in modules():
        if path.name == "__init__.py":
            package = importlib.import_module(name_of(path))
            below = {inner.stem for inner in path.parent.iterdir() if inner.suffix == ".py" or inner.is_dir()}
            for name in below & set(getattr(package, "__all__", ())):
                assert inspect.ismodule(getattr(package, name)), f"{path.relative_to(ROOT)}: {name}"


def test_importing_the_packages_loads_no_tensorflow():
    answers = ", ".join(name for name in sorted(known()) if name.startswith("transfer.tasks.") and name.endswith(LIGHT))
    code = (
        f"import sys, zoo, pipelines, transfer, transfer.predict.loading, {answers}\n"
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
