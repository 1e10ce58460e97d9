"""What a proof must contain. The program says so, and not the folder that is to be proven.

A manifest could list no artifacts, no files, or a tolerance that everything keeps to. Nothing of that is a proof.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfer.artifacts.engines.table import FORMATS
from transfer.artifacts.manifest import MANIFEST, check_files, read_manifest
from transfer.contract import Contract
from transfer.tasks.contracts import read_contract

__all__ = ["CONTRACT", "LABELS", "MOST_TOLERANCE", "PROOF", "QUANTIZED_WITHIN", "Claims", "read_claims"]

LABELS, CONTRACT, PROOF = "labels.txt", "contract.json", "proof.npz"
MOST_TOLERANCE = 0.01  # The largest tolerance of an artifact that calculates as the model was trained.
QUANTIZED_WITHIN = 0.25  # How far answers to the built-in photos may always differ; what counts is the agreement.


@dataclass(frozen=True)
class Claims:
    """What an exported folder says about itself, as far as it can be true.

    Attributes:
        contract: What its model takes and gives.
        tolerances: For each format, how far its artifact may be from the trained model.
        quantized: Whether its artifacts are quantised, and were measured on annotated images.
    """

    contract: Contract
    tolerances: Mapping[str, float]
    quantized: bool


def read_claims(folder: Path) -> Claims:
    """Reads what an exported folder claims, and checks that it holds all that a proof needs, as it was exported.

    Raises:
        ValueError: The folder lacks something, holds something that its manifest does not list, contradicts itself, or
            allows more than a proof may.
        FileNotFoundError: A file is missing, or there is no manifest.
    """
    manifest = read_manifest(folder)
    place = folder / MANIFEST
    artifacts = manifest["artifacts"]
    if not artifacts:
        raise ValueError(f"{place} lists no artifacts, so there is nothing to prove; export again")
    if unknown := [name for name in artifacts if name not in FORMATS]:
        raise ValueError(f"{place} lists artifacts of unknown formats, {', '.join(unknown)}; upgrade transfer-zoo")
    present = [name for name, row in FORMATS.items() if (folder / row.files[0]).exists()]
    if unlisted := [name for name in present if name not in artifacts]:
        raise ValueError(
            f"{folder} holds {FORMATS[unlisted[0]].files[0]}, which its manifest does not list: it was never proven"
        )
    check_files(folder, [LABELS, CONTRACT, PROOF, *(file for name in artifacts for file in FORMATS[name].files)])
    quantized = manifest.get("quantize", "none") != "none"
    if quantized:
        _check_measured(place, manifest)
    tolerances = {name: _tolerance(place, name, facts, quantized) for name, facts in artifacts.items()}
    return Claims(_contract(folder, manifest), tolerances, quantized)


def _contract(folder: Path, manifest: Mapping[str, Any]) -> Contract:
    """Returns the contract, if the files for people say the same."""
    try:
        contract = read_contract((folder / CONTRACT).read_bytes())
    except ValueError as error:
        raise ValueError(f"{folder / CONTRACT} cannot be read: {error}") from error
    if tuple((folder / LABELS).read_text(encoding="utf-8").splitlines()) != contract.names:
        raise ValueError(f"{folder / LABELS} does not list the names of {CONTRACT} in their order; export again")
    if manifest.get("fingerprint") != contract.fingerprint:
        raise ValueError(f"{folder / MANIFEST} is about another model than {CONTRACT}: their fingerprints differ")
    return contract


def _tolerance(place: Path, name: str, facts: Any, quantized: bool) -> float:
    tolerance = facts.get("tolerance") if isinstance(facts, Mapping) else None
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        raise ValueError(f"{place} gives no tolerance of {name}, a number of 0 or more; got {tolerance!r}")
    if not quantized and tolerance > MOST_TOLERANCE:
        raise ValueError(
            f"{place} allows {name} to differ by {tolerance:g}, which proves nothing; a proof allows at most "
            f"{MOST_TOLERANCE}"
        )
    return float(tolerance)


def _check_measured(place: Path, manifest: Mapping[str, Any]) -> None:
    """Checks that each quantised artifact was measured on annotated images: its proof is worth no more than that."""
    agreements = manifest["proof"].get("agreements")
    measured = [one.get("artifact") for one in agreements if isinstance(one, Mapping)] if agreements else []
    for name in manifest["artifacts"]:
        if FORMATS[name].files[0] not in measured:
            raise ValueError(f"{place} does not say how the quantised {name} did on annotated images; export again")
