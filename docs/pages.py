"""Pages of the documentation that are made of the code: one for each family of architectures, and the references.

MkDocs calls `on_files` (a hook). What a page says stands in the docstrings, and nowhere else.
"""

import ast
import importlib
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PACKAGES = ("zoo", "pipelines", "transfer")


def on_files(files, config):
    """Adds the pages that are made of the code."""
    for name, text in {**architectures(), **references()}.items():
        files.append(File.generated(config, name, content=text))
    return files


def architectures() -> dict[str, str]:
    """Returns a page for each family of `zoo.models`, and a list of them."""
    pages, rows = {}, []
    table = ast.parse((ROOT / "zoo/models/families.py").read_text("utf-8"))
    families = next(
        [key.value for key in node.value.keys]
        for node in table.body
        if isinstance(node, ast.AnnAssign) and node.target.id == "FAMILIES"
    )
    for family in families:
        module = ast.parse((ROOT / f"zoo/models/{family}.py").read_text("utf-8"))
        title = (ast.get_docstring(module) or family).split("\n")[0].rstrip(".")
        rows.append(f"| [`{family}`]({family}.md) | {title} |")
        pages[f"architectures/{family}.md"] = f"# {title}\n\n::: zoo.models.{family}\n"
    listing = "\n".join(["| family | what it is |", "|---|---|", *rows])
    pages["architectures/index.md"] = (
        "# Architectures\n\nEach family is one file, with the table of its paper in it. `zoo.create_model(name)` "
        f"builds one, `zoo info NAME` shows what it costs, and `zoo.draw(model)` draws it.\n\n{listing}\n"
    )
    return pages


def references() -> dict[str, str]:
    """Returns a page for each package with all its public names."""
    return {
        f"reference/{package}.md": "\n".join([f"# {package}\n", *(f"::: {name}\n" for name in public_names(package))])
        for package in PACKAGES
    }


def public_names(package: str) -> list[str]:
    """Returns what a package exports and defines itself, by the places of the definitions."""
    stub = ROOT / package / "__init__.pyi"
    if stub.is_file():
        imports = [node for node in ast.parse(stub.read_text("utf-8")).body if isinstance(node, ast.ImportFrom)]
        found = [(node.module, alias.name) for node in imports for alias in node.names if node.module]
    else:
        table = importlib.import_module(package)._EXPORTS
        found = [(module, name) for module, names in table.items() for name in names]
    return [f"{package}.{module}.{name}" for module, name in found if name in _defined(package, module)]


def _defined(package: str, module: str) -> set[str]:
    """Returns the names that a module defines; it may also hand on what another library defines."""
    path = ROOT.joinpath(package, *module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node]
        names |= {getattr(target, "id", None) or getattr(target, "name", None) for target in targets}
    return names
