"""`zoo export`: a finished run in other formats, proven against the run's own model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import Samples, check, read_data
from transfer.artifacts.engines.keras import open_model
from transfer.artifacts.exporting import export
from transfer.contract import Contract, Proof
from transfer.predict.predictor import EXPORTED

__all__ = ["export_run"]

MEASURED_ON = 1000  # images at most
CALIBRATED_ON = 128


def export_run(
    run: str | Path,
    out: str | Path | None = None,
    *,
    formats: Sequence[str] = ("saved_model", "onnx", "openvino", "litert"),
    quantize: str = "none",
    data: str | None = None,
    bound: float = 1.0,
    overwrite: bool = False,
) -> Proof:
    """Exports the model of a run.

    Args:
        run: a folder that `zoo fit` or `transfer.export` wrote, with its model.keras.
        out: where to; `exported` inside of the run unless given, where `transfer.load` finds it.
        formats, quantize, bound, overwrite: as of `transfer.export`.
        data: labelled images to calibrate and to measure quantised artifacts on, as `zoo fit` takes them; the run's own
            validation images unless given.

    Raises:
        FileNotFoundError: no such run, or its data are gone and others are needed.
        ValueError, ModuleNotFoundError, ExportError, FileExistsError: as of `transfer.export`.
    """
    run = Path(run)
    if not (run / "model.keras").is_file():
        raise FileNotFoundError(f"{run} has no model.keras; expected a folder that `zoo fit` wrote")
    engine = open_model(run / "model.keras")
    contract = engine.contract
    where = run / EXPORTED if out is None else out
    if contract.task == "detect":
        from transfer.tasks.detect.exporting import export as export_detector

        if quantize != "none":
            raise ValueError(f"detectors are exported in float32 only, got quantize={quantize!r}")
        return export_detector(engine.model, where, contract, formats=formats, overwrite=overwrite)
    samples = calibration = None
    if quantize != "none":
        samples = _labelled(run, data, contract)
        places = np.linspace(0, len(samples) - 1, min(CALIBRATED_ON, len(samples))).astype(int)
        calibration = samples[places]
    return export(
        engine.model,
        where,
        class_names=contract.class_names,
        crop=contract.crop,
        formats=formats,
        quantize=quantize,
        data=samples,
        calibration=calibration,
        bound=bound,
        thresholds=contract.thresholds,
        overwrite=overwrite,
    )


def _labelled(run: Path, data: str | None, contract: Contract) -> Samples:
    """Images that the run was not trained on, with labels in the order of its classes."""
    config = run / "config.json"
    asked: dict[str, Any] = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    if data is not None and data != asked.get("data"):
        found = read_data(data, valid=0, test=0)
        samples = next(part for part in (found.valid, found.test, found.train) if len(part))
    elif "data" in asked:
        found = read_data(asked["data"], **{name: asked[name] for name in ("valid", "test", "seed") if name in asked})
        samples = found.valid
    else:
        raise FileNotFoundError(f"{run} does not say what it was trained on; give labelled images (--int8-data DATA)")
    unknown = [name for name in found.class_names if name not in contract.class_names]
    if unknown:
        raise ValueError(f"the data have the classes {', '.join(unknown)}, which {run} does not know")
    samples, _ = check(samples[np.linspace(0, len(samples) - 1, min(MEASURED_ON, len(samples))).astype(int)])
    order = np.array([contract.class_names.index(name) for name in found.class_names], "int32")
    return Samples(samples.images, order[samples.labels], samples.names)
