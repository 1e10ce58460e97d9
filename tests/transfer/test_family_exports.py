"""Every family of the zoo, and every classifier of `keras.applications`, exports with proof. Random weights."""

import keras
import pytest

from benchmarks.exports import exported, models, smallest, spread_answers
from transfer.artifacts.engines.table import FORMATS
from zoo.models import FAMILIES

OTHER_INPUTS = ("lenet",)  # takes grey images
APPLICATIONS = sorted(
    name for name in vars(keras.applications) if name[0].isupper() and callable(getattr(keras.applications, name))
)


def build(families="", applications=""):
    (_, make), *_ = models(families, applications)
    model = smallest(make)
    spread_answers(model)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", [name for name in FORMATS if name != "keras"])
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in OTHER_INPUTS])
def test_every_family_exports(family, kind):
    answer = exported(build(families=family), kind)
    assert not answer.startswith("no"), answer


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_every_keras_application_exports_as_saved_model(name):
    answer = exported(build(applications=name), "saved_model")
    assert not answer.startswith("no"), answer


def test_all_forty_classifiers_are_tried():
    assert len(APPLICATIONS) >= 40
