"""How the toy task learns: its labels are computed from the images themselves."""

from dataclasses import replace

import numpy as np
from PIL import Image

from brightness.answers import BrightnessContract
from pipelines import Samples, read_data
from transfer.measuring.numbers import RegressionEvaluation
from transfer.models.heads import regressor
from transfer.report.sections import Card, Sections
from transfer.tasks.labelled import LabelledLearning
from transfer.training.objectives import Regression

__all__ = ["LEARNING"]


def labelled(samples, unit):
    light = [[np.asarray(Image.open(path).convert("RGB"), float).mean() / 255 * unit] for path in samples.images]
    return Samples(samples.images, np.array(light, "float32").reshape(-1, 1), samples.names)


class BrightnessLearning(LabelledLearning):
    """The learning half of the toy task."""

    kind = "numbers"

    def read(self, spec, settings, *, valid, test, seed):
        data = read_data(spec, valid=valid, test=test, seed=seed)
        splits = {name: labelled(part, settings.unit) for name, part in data.splits.items()}
        return replace(data, class_names=("brightness",), kind="numbers", **splits)

    def model(self, trunk, data, settings):
        labels = data.train.labels
        return regressor(trunk, mean=float(labels.mean()), deviation=float(labels.std()), seed=settings.seed)

    def contract(self, trunk, data):
        return BrightnessContract(preparation=trunk.crop)

    def objective(self, data, settings, built):
        return Regression()

    def measure(self, outputs, part, contract):
        return RegressionEvaluation(("brightness",), part.labels.astype(float), outputs["light"].astype(float))

    def sections(self, run):
        card = Card("Brightness", "It tells how bright a photo is.", "It takes one photo.", ())
        return Sections("Brightness", "", (), (), "", card)


LEARNING = BrightnessLearning()
