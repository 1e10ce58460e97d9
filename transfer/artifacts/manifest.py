"""What lies in an exported folder, with a SHA-256 of each file, and what the proof of it found."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transfer.contract import FORMAT_VERSION, Proof

__all__ = ["MANIFEST", "check_files", "read_manifest", "write_manifest"]

MANIFEST = "manifest.json"


def write_manifest(
    folder: Path, contents: Iterable[str], *, fingerprint: str, quantize: str, artifacts: dict[str, Any], proof: Proof
) -> None:
    """Writes manifest.json about files and folders.

    Args:
        folder: The folder that they lie in.
        contents: Their names.
        fingerprint: A digest of the trained weights.
        quantize: "none", "float16" or "int8".
        artifacts: For each format, what its artifact takes and how far it may be from the trained model.
        proof: What was compared.
    """
    document = {
        "format": "transfer-zoo",
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "quantize": quantize,
        "artifacts": artifacts,
        "proof": asdict(proof) | {"max_abs_diff": proof.max_abs_diff},
        "files": {
            path.relative_to(folder).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size}
            for path in _files(folder / name for name in contents)
        },
    }
    (folder / MANIFEST).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns the manifest of an exported folder.

    Raises:
        FileNotFoundError: The folder has none.
        ValueError: It is not a manifest, or one of a newer format version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {MANIFEST}; expected a folder that `zoo fit` or `zoo export` wrote")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document["format_version"]
        newer = version > FORMAT_VERSION
        if not all(isinstance(document[name], dict) for name in ("artifacts", "files", "proof")):
            raise TypeError("artifacts, files or proof")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no manifest as `zoo export` writes it, but one without {error}") from error
    if newer:
        raise ValueError(
            f"{folder} was exported in format version {version}, and this installation reads up to "
            f"{FORMAT_VERSION}; upgrade transfer-zoo"
        )
    return document


def check_files(folder: Path, names: Iterable[str] | None = None) -> None:
    """Compares files with their SHA-256 in the manifest.

    Args:
        folder: An exported folder.
        names: The files and folders to look at, each of which has to be listed with all that it holds. By default these
            are all that are listed.

    Raises:
        ValueError: A file is not what was exported, or is not listed; the message names it.
        FileNotFoundError: A file is missing, or there is no manifest.
    """
    listed = read_manifest(folder)["files"]
    chosen = {name: facts for name, facts in listed.items() if names is None}
    for one in names or ():
        part = {name: facts for name, facts in listed.items() if name == one or name.startswith(f"{one}/")}
        present = [path.relative_to(folder).as_posix() for path in _files([folder / one]) if path.exists()]
        strangers = [name for name in present if name not in part]
        if strangers or not part:
            raise ValueError(
                f"{folder / MANIFEST} does not list {strangers[0] if strangers else one}, so nobody has proven it; "
                "export again"
            )
        chosen |= part
    for name, facts in chosen.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"the manifest of {folder} names {name}, which lies outside of it")
        if not path.is_file():
            raise FileNotFoundError(f"{path} is gone, and the manifest lists it; export again")
        if not isinstance(facts, dict) or sha256(path) != facts.get("sha256"):
            raise ValueError(
                f"{path} is not the file that was exported and proven: its SHA-256 is another. "
                "It was damaged or changed; export again, or copy the folder anew"
            )


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(paths: Iterable[Path]) -> list[Path]:
    """Returns the files, and those in the folders, in their order."""
    files: list[Path] = []
    for path in paths:
        files += sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return files
