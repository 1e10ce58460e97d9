"""Data as people bring them: every folder of small cases through audit, training, predicting and measuring.

    python -m benchmarks.wild ../shared/cases
    python -m benchmarks.wild ../shared/cases --read-only    # audit alone: seconds in place of minutes

Each folder below the given one is a data set. It is read and audited as `zoo audit` does it; a detector is trained on
it for one epoch at 64 x 96 pixels, predicts its photos and is measured on them. The table says as what each was
recognised, how many images and usable objects of each split were kept, what was left out and why, and how far the rest
of the way went. Prints the table, and last one line of JSON. Nothing is asserted: the right values are in the tests.
"""

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pipelines
import transfer
from transfer.predict.writing import write_predictions

SHORT = transfer.Detect(
    epochs=1, image_size=(64, 96), formats="none", audit=False, batch_size=4, augment="none", mosaic=0
)


@dataclass
class Case:
    """What became of one data set."""

    name: str
    recognised: str = ""
    kept: str = ""
    left_out: str = ""
    notes: tuple[str, ...] = ()
    steps: dict[str, str] = field(default_factory=dict)


def read(case: Case, folder: Path) -> None:
    data = pipelines.read_scenes(folder)
    audit = pipelines.audit(data)
    case.recognised = str(pipelines.layout_of(folder))
    case.kept = " ".join(
        f"{name} {len(part)}/{sum(int(scene.usable.sum()) for scene in part)}" for name, part in data.splits.items()
    )
    reasons = Counter(fault.reason.split(":")[0][:60] for fault in data.skipped)
    case.left_out = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    case.notes = data.notes
    errors = [finding.kind for finding in audit.findings if finding.severity == "error"]
    case.steps["audit"] = ", ".join(errors) or "ok"


def train_and_ask(case: Case, folder: Path, work: Path) -> None:
    steps: dict[str, Callable[[], object]] = {
        "fit": lambda: transfer.fit(folder, work / "run", SHORT, progress=False),
        "predict": lambda: write_predictions(transfer.load(work / "run"), folder, work / "out.json"),
        "evaluate": lambda: transfer.score(work / "run", folder),
    }
    for name, step in steps.items():
        if not attempt(case, name, step):
            return


def attempt(case: Case, name: str, step: Callable[[], object]) -> bool:
    """Makes one step, and notes the first line of what was refused."""
    try:
        step()
    except (ValueError, OSError, transfer.RunUnfinished) as error:
        case.steps[name] = f"refused: {str(error).splitlines()[0][:150]}"
        return False
    case.steps.setdefault(name, "ok")
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of data sets")
    parser.add_argument("--read-only", action="store_true", help="audit alone")
    arguments = parser.parse_args()
    cases = [Case(folder.name) for folder in sorted(arguments.folder.iterdir()) if folder.is_dir()]
    for case in cases:
        folder = arguments.folder / case.name
        if attempt(case, "audit", lambda case=case, folder=folder: read(case, folder)) and not arguments.read_only:
            with tempfile.TemporaryDirectory() as work:
                train_and_ask(case, folder, Path(work))
        steps = ", ".join(f"{step}: {result}" for step, result in case.steps.items())
        print(f"{case.name:<18} {case.recognised:<8} {case.kept:<42} {steps}", flush=True)
        for line in (*case.notes, *([f"left out: {case.left_out}"] if case.left_out else [])):
            print(f"{'':<18} {line}")
    refused = [case.name for case in cases if any(result.startswith("refused") for result in case.steps.values())]
    print(json.dumps({"cases": len(cases), "refused": refused}))


if __name__ == "__main__":
    main()
