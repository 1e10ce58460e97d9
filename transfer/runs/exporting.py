"""`zoo export`: a finished run in other formats, each proven against the run's own model."""

from collections.abc import Sequence
from pathlib import Path

from transfer.artifacts.engines.keras import open_model
from transfer.artifacts.exporting import export
from transfer.artifacts.quantisation import Labelled
from transfer.contract import Proof
from transfer.predict.loading import EXPORTED
from transfer.runs.held_out import held_out

__all__ = ["export_run"]

MEASURED_ON = 1000  # Maximum number of images that a quantised artifact is measured on.
CALIBRATED_ON = 128  # Maximum number of images that the ranges of int8 are chosen on.


def export_run(
    run: str | Path,
    out: str | Path | None = None,
    *,
    formats: Sequence[str] = ("saved_model", "onnx", "openvino", "litert"),
    quantize: str = "none",
    data: str | None = None,
    layout: str | None = None,
    outside: bool = False,
    bound: float = 1.0,
    overwrite: bool = False,
) -> Proof:
    """Exports the model of a run, whatever its task.

    Args:
        run: A folder that `zoo fit` or `transfer.export` wrote, with its model.keras; also what `zoo fit` left where
            its own export could not be proven.
        out: Where to write. By default `exported` inside of the run, where `transfer.load` finds it.
        formats, quantize, bound, overwrite: See `transfer.export`.
        data: Annotated images to calibrate and to measure quantised artifacts on, as `zoo fit` takes them. By default
            the run's own validation images. Of the data that the run was trained on, only what was held out is used.
        layout: How these annotations are stored; see `pipelines.read_scenes`. By default it is recognised.
        outside: Whether these annotations may name files outside of the folder of their data.

    Raises:
        FileNotFoundError: There is no such run, or its data are gone and others are needed.
        ValueError, ModuleNotFoundError, ExportError, FileExistsError: See `transfer.export`.
    """
    run = Path(run)
    if not (run / "model.keras").is_file():
        raise FileNotFoundError(f"{run} has no model.keras; expected a folder that `zoo fit` wrote")
    engine = open_model(run / "model.keras")
    contract = engine.contract
    labelled = calibration = None
    if quantize != "none":
        images = held_out(
            run, data, contract, layout=layout, outside=outside, prefer=("valid", "test"), most=MEASURED_ON
        )
        labelled = Labelled(images.part)
        step = max(1, -(-len(images.part) // CALIBRATED_ON))
        calibration = images.part[::step]
    return export(
        engine.model,
        run / EXPORTED if out is None else out,
        contract,
        formats=formats,
        quantize=quantize,
        labelled=labelled,
        calibration=calibration,
        bound=bound,
        overwrite=overwrite,
    )
