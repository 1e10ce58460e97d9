"""What the output of the toy task means: one number."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from brightness.settings import Brightness
from transfer.contract import Contract, Output
from transfer.tasks.scores import compare_numbers
from transfer.tasks.task import Answer, Metric, Task

__all__ = ["TASK", "BrightnessContract"]


@dataclass(frozen=True, kw_only=True)
class Light(Answer):
    """How bright a photo is."""

    value: float = 0.0


@dataclass(frozen=True)
class BrightnessContract(Contract):
    """What a model of the toy task takes and gives."""

    task: ClassVar[str] = "brightness"

    unit: float = 255.0

    @property
    def names(self):
        return ("brightness",)

    def outputs(self):
        return {"light": Output((1,)), "embedding": Output((None,), internal=True)}


class BrightnessTask(Task):
    """The answering half of the toy task."""

    name = "brightness"
    summary = "The mean brightness of an image."
    settings = Brightness
    contract = BrightnessContract
    metrics = (Metric("mean_absolute_error", "mean absolute error", higher_is_better=False),)

    def answer(self, name, outputs, size, contract, options):
        return Light(name=name, size=size, value=float(outputs["light"][0]))

    def no_answer(self, name, error):
        return Light(name=name, error=error)

    def predictions(self, answer):
        return [{"label": "brightness", "value": answer.value}]

    def columns(self, contract, options):
        return ("brightness",)

    def rows(self, document, contract, options):
        return [{"brightness": document["predictions"][0]["value"]}]

    def draw(self, image, answer):
        return Image.fromarray(image)

    def compare(self, expected, actual, size, contract, tolerance):
        return compare_numbers(expected, actual, "light", ["the brightness"], tolerance, unit=contract.unit)

    def agreement(self, expected, actual, contract):
        return float((np.abs(expected["light"] - actual["light"]) <= 0.05 * contract.unit).mean())


TASK = BrightnessTask()
