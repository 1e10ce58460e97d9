"""What the report and the model card of a network for several labels say."""

from pathlib import Path
from typing import cast

from transfer.measuring.labels import MultiLabelEvaluation
from transfer.report.labels import label_sections
from transfer.report.markdown import as_list
from transfer.report.rendering import SPLITS
from transfer.report.runs import few_warning, headline_sentence, headline_tiles, measured_split, subtitle, training_note
from transfer.report.sections import Card, Sections
from transfer.tasks.learning import Finished

__all__ = ["sections"]


def sections(run: Finished) -> Sections:
    """Returns what the report and the model card say about a network for several labels."""
    evaluations = {split: cast(MultiLabelEvaluation, measured) for split, measured in run.measured.items()}
    split, samples = measured_split(run)
    evaluation = evaluations[split]
    names = evaluation.class_names
    backbone = run.settings["backbone"]
    return Sections(
        title=f"{Path(run.settings['data']).name}: {backbone} fine-tuned",
        subtitle=subtitle(run, names, "label"),
        tiles=headline_tiles(run),
        sections=label_sections(evaluations, samples),
        training_note=training_note(run.history),
        card=Card(
            title=f"{backbone}, fine-tuned to predict {len(names)} labels",
            headline=headline_sentence(
                run,
                "is the mean average precision of the labels (1 is perfect) on the "
                f"{len(evaluation.labels)} images of the {SPLITS[split]} set",
            ),
            purpose=(
                f"It takes one photo and gives a probability for each of these labels by itself: {as_list(names)}. "
                "A photo may have any number of them, or none."
            ),
            tables=tuple(evaluation.tables()),
            warnings=few_warning(names, evaluation.support),
        ),
    )
