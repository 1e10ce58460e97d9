"""The Dockerfile: what it installs is enough to serve, and it keeps to the rules of its kind. No Docker is needed."""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
HEAVY = ("tensorflow", "keras", "sklearn", "matplotlib", "skimage", "pandas", "jinja2", "h5py", "onnx", "cv2")


def instructions():
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]


def test_the_dockerfile_keeps_to_the_rules():
    found = instructions()
    names = [name for name, _ in found]
    assert names[0] == "FROM"
    assert re.search(r":\d", found[0][1]), "a base image has a version"
    user = next(i for i, name in enumerate(names) if name == "USER")
    assert found[user][1] != "root"
    assert user < names.index("ENTRYPOINT"), "the server does not run as root"
    assert "HEALTHCHECK" in names
    assert ("STOPSIGNAL", "SIGTERM") in found
    assert not any(name == "ADD" or "curl" in rest or "sudo" in rest for name, rest in found)
    for name, rest in found:
        if name in ("CMD", "ENTRYPOINT"):
            assert rest.startswith("["), "so that signals reach the server itself"
        if name == "COPY":
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), source


def test_what_it_copies_is_not_ignored():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for name, rest in instructions() if name == "COPY" for source in rest.split()[:-1]}
    assert copied == kept


def test_everything_it_installs_is_pinned():
    wanted = (DOCKER / "requirements.txt").read_text().splitlines()
    wanted = {line.lower().replace("_", "-") for line in wanted if line and not line.startswith("#")}
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert wanted <= pinned


def installed(names):
    """The distributions that pip installs for some: with what they need, without extras."""
    known, waiting = set(), [name.lower().replace("_", "-") for name in names]
    while waiting:
        name = waiting.pop()
        if name not in known:
            known.add(name)
            needs = [Requirement(line) for line in importlib.metadata.requires(name) or ()]
            waiting += [
                one.name.lower().replace("_", "-")
                for one in needs
                if one.marker is None or one.marker.evaluate({"extra": ""})
            ]
    return known


def test_what_our_modules_import_is_installed():
    """Whatever is imported when our modules are loaded, by their own lines, comes from the requirements."""
    code = (
        "import ast, json, sys\n"
        f"for name in {HEAVY!r}:\n    sys.modules[name] = None\n"
        "import transfer.cli.main, transfer.serving, transfer.artifacts.engines.openvino\n"
        "from transfer.tasks import TASKS, task_of\n"
        "tasks = [task_of(name) for name in TASKS]\n"
        "names = set()\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.partition('.')[0] in ('zoo', 'pipelines', 'transfer'):\n"
        "        for node in ast.parse(open(module.__file__, encoding='utf-8').read()).body:\n"
        "            if isinstance(node, ast.Import):\n"
        "                names |= {alias.name.partition('.')[0] for alias in node.names}\n"
        "            elif isinstance(node, ast.ImportFrom):\n"
        "                names.add(node.module.partition('.')[0])\n"
        "print(json.dumps(sorted(names - set(sys.stdlib_module_names) - {'zoo', 'pipelines', 'transfer'})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = (DOCKER / "requirements.txt").read_text().splitlines()
    there = installed([line for line in lines if line and not line.startswith("#")] + ["openvino"])
    distributions = importlib.metadata.packages_distributions()
    imported = {module: distributions[module][0].lower().replace("_", "-") for module in json.loads(done.stdout)}
    assert "numpy" in imported
    assert {module: name for module, name in imported.items() if name not in there} == {}


def test_serving_needs_nothing_that_is_not_installed(everywhere):
    _, folder, _ = everywhere
    code = (
        "import sys\n"
        f"for name in {HEAVY!r}:\n    sys.modules[name] = None  # as if it were not installed\n"
        "import asyncio, io\n"
        "from PIL import Image\n"
        "import transfer.cli.main\n"
        "from transfer.serving import create_app, make_server\n"
        f"app = create_app({str(folder)!r}, engine='onnx')\n"
        f"make_server({str(folder)!r}, engine='openvino')\n"
        "print(sorted(app.openapi()['paths'])[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "/healthz"
