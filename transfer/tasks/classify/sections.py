"""What the report and the model card of a classifier say."""

from pathlib import Path
from typing import cast

from transfer.measuring.classes import Evaluation
from transfer.report.classes import class_sections, confusion_remark, worst_mistakes
from transfer.report.markdown import as_list
from transfer.report.rendering import SPLITS
from transfer.report.runs import few_warning, headline_sentence, headline_tiles, measured_split, subtitle, training_note
from transfer.report.sections import Card, Sections
from transfer.tasks.learning import Finished

__all__ = ["sections"]


def sections(run: Finished) -> Sections:
    """Returns what the report and the model card say about a classifier."""
    evaluations = {split: cast(Evaluation, measured) for split, measured in run.measured.items()}
    split, samples = measured_split(run)
    evaluation = evaluations[split]
    names = evaluation.class_names
    mistakes = worst_mistakes(run.model, samples, evaluation, run.contract.preparation)
    backbone = run.settings["backbone"]
    return Sections(
        title=f"{Path(run.settings['data']).name}: {backbone} fine-tuned",
        subtitle=subtitle(run, names, "class", "classes"),
        tiles=headline_tiles(run),
        sections=class_sections(evaluations, mistakes),
        training_note=training_note(run.history),
        card=Card(
            title=f"{backbone}, fine-tuned to tell {len(names)} classes apart",
            headline=headline_sentence(
                run, f"of the {len(evaluation.labels)} images of the {SPLITS[split]} set are classified correctly"
            ),
            purpose=(
                f"It takes one photo and gives a probability for each of these classes: {as_list(names)}. The "
                "probabilities always sum to 1: a photo of anything else gets one of these classes, too."
            ),
            tables=tuple(evaluation.tables()),
            remarks=confusion_remark(evaluation),
            warnings=few_warning(names, evaluation.support),
        ),
    )
