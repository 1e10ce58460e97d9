"""What the report and the model card of a network with several heads say: for each head what its kind has to say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import keras

from transfer.measuring.classes import Evaluation
from transfer.measuring.heads import HeadsEvaluation
from transfer.measuring.labels import MultiLabelEvaluation
from transfer.measuring.numbers import RegressionEvaluation
from transfer.measuring.table import Table
from transfer.report.classes import class_sections, confusion_remark, worst_mistakes
from transfer.report.labels import label_sections
from transfer.report.markdown import as_list, as_text
from transfer.report.numbers import number_sections
from transfer.report.rendering import SPLITS, render
from transfer.report.runs import (
    few_warning,
    headline_sentence,
    headline_tiles,
    measured_on,
    measured_split,
    subtitle,
    training_note,
)
from transfer.report.sections import Card, Section, Sections
from transfer.tasks.learning import Finished

__all__ = ["sections"]

KINDS = {Evaluation: "class", MultiLabelEvaluation: "labels", RegressionEvaluation: "numbers"}


def sections(run: Finished) -> Sections:
    """Returns what the report and the model card say about a network with several heads."""
    split, samples = measured_split(run)
    evaluation = cast(HeadsEvaluation, run.measured[split])
    heads = evaluation.results
    backbone = run.settings["backbone"]
    images = len(samples)
    return Sections(
        title=f"{Path(run.settings['data']).name}: {backbone} fine-tuned",
        subtitle=subtitle(run, list(heads), "head"),
        tiles=headline_tiles(run),
        sections=(
            _overview(split, images, heads),
            *(section for number, name in enumerate(heads) for section in _of_head(run, name, f"head{number}-")),
        ),
        training_note=training_note(run.history),
        card=Card(
            title=f"{backbone}, fine-tuned to give {len(heads)} answers for each image",
            headline=headline_sentence(
                run,
                f"is the mean score of the heads (1 is perfect) on the {images} images of the {SPLITS[split]} set",
            ),
            purpose="It takes one photo and gives an answer for each head. " + " ".join(map(_purpose, heads.items())),
            tables=tuple(evaluation.tables()),
            remarks=tuple(
                f"{as_text(name)}: {remark}"
                for name, own in heads.items()
                if isinstance(own, Evaluation)
                for remark in confusion_remark(own)
            ),
            warnings=tuple(
                f"{as_text(name)}: {warning}"
                for name, own in heads.items()
                if not isinstance(own, RegressionEvaluation)
                for warning in few_warning(own.class_names, own.support)
            ),
        ),
    )


def _names(evaluation: Any) -> tuple[str, ...]:
    return evaluation.names if isinstance(evaluation, RegressionEvaluation) else evaluation.class_names


def _purpose(head: tuple[str, Any]) -> str:
    name, evaluation = head
    answer = {
        Evaluation: "one of these classes",
        MultiLabelEvaluation: "any number of these labels",
        RegressionEvaluation: "these numbers",
    }[type(evaluation)]
    return f"{as_text(name)} is {answer}: {as_list(_names(evaluation))}."


def _overview(split: str, images: int, heads: Mapping[str, Any]) -> Section:
    """Makes the section with the headline metric of each head."""
    rows = []
    for name, evaluation in heads.items():
        value = evaluation.metrics()[evaluation.headline]
        metric = evaluation.headline.replace("_", " ")
        rows.append((name, KINDS[type(evaluation)], metric, f"{value:.4g}", f"{evaluation.score:.3f}"))
    table = Table(("head", "answer", "metric", "value", "score"), tuple(rows))
    values = {"measured_on": measured_on(split, images), "shown": table}
    return Section("heads", "Heads", render("section.html", "heads", values, package=__package__))


def _of_head(run: Finished, name: str, prefix: str) -> tuple[Section, ...]:
    """Makes the sections on one head."""
    evaluations: dict[str, Any] = {split: cast(HeadsEvaluation, own)[name] for split, own in run.measured.items()}
    _, samples = measured_split(run)
    evaluation = next(iter(evaluations.values()))
    if isinstance(evaluation, MultiLabelEvaluation):
        return label_sections(evaluations, samples, prefix=prefix, group=name)
    if isinstance(evaluation, RegressionEvaluation):
        return number_sections(evaluations, samples, prefix=prefix, group=name)
    classifier = keras.Model(run.model.input, run.model.output[name])
    mistakes = worst_mistakes(classifier, samples, evaluation, run.contract.preparation)
    return class_sections(evaluations, mistakes, prefix=prefix, group=name)
