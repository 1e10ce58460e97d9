"""What the report and the model card of a network for numbers say."""

from pathlib import Path
from typing import cast

from transfer.measuring.numbers import RegressionEvaluation
from transfer.measuring.table import as_number, count
from transfer.report.markdown import as_list, as_text
from transfer.report.numbers import number_sections
from transfer.report.rendering import SPLITS
from transfer.report.runs import headline_sentence, headline_tiles, measured_split, subtitle, training_note
from transfer.report.sections import Card, Sections
from transfer.tasks.learning import Finished

__all__ = ["sections"]


def sections(run: Finished) -> Sections:
    """Returns what the report and the model card say about a network for numbers."""
    evaluations = {split: cast(RegressionEvaluation, measured) for split, measured in run.measured.items()}
    split, samples = measured_split(run)
    evaluation = evaluations[split]
    names = evaluation.names
    backbone = run.settings["backbone"]
    trained = run.data.train.labels
    over = "" if len(names) == 1 else f" (mean over {len(names)} numbers)"
    return Sections(
        title=f"{Path(run.settings['data']).name}: {backbone} fine-tuned",
        subtitle=subtitle(run, names, "number"),
        tiles=headline_tiles(run),
        sections=number_sections(evaluations, samples),
        training_note=training_note(run.history),
        card=Card(
            title=f"{backbone}, fine-tuned to predict {count(len(names), 'number')}",
            headline=headline_sentence(
                run,
                f"is the mean absolute error{over} on the {len(evaluation.labels)} images of the {SPLITS[split]} set",
            ),
            purpose=f"It takes one photo and predicts from it: {as_list(names)}.",
            tables=tuple(evaluation.tables()),
            warnings=tuple(
                f"For {as_text(name)} it was trained on {as_number(low)} to {as_number(high)}; predictions for images "
                "beyond that range were not measured."
                for name, low, high in zip(names, trained.min(axis=0), trained.max(axis=0), strict=True)
            ),
        ),
    )
