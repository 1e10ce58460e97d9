"""Comparing and describing networks: the tables against the models themselves."""

import io
import re

import pytest
import rich.console

import zoo
from zoo.analysis.comparison import compare, milliseconds, published_accuracy
from zoo.analysis.information import described, info
from zoo.models import FAMILIES

SMALL = ["lenet5", "mobilenet_v1_025", "mobilenet_v2_035"]


def printed(thing, width=160):
    console = rich.console.Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(thing)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def measured():
    return compare(SMALL, measure=True, batch_sizes=(1, 3))


def test_published_accuracies_are_of_models_that_there_are():
    accuracies = published_accuracy()
    assert set(accuracies) <= set(zoo.list_models())
    for name, row in accuracies.items():
        assert row.source, name
        assert row.top1 is None or 30 < row.top1 < 95, name
        assert row.top5 is None or (row.top1 or 0) < row.top5 < 100, name


def test_rows_are_those_of_the_models_best_first(measured):
    assert [model.name for model in measured.models] == ["mobilenet_v2_035", "mobilenet_v1_025", "lenet5"]
    for row in measured.models:
        model = zoo.create_model(row.name)
        assert row.parameters == model.count_params()
        assert row.image_size == model.input_shape[1]
        assert row.megabytes == pytest.approx(4e-6 * model.count_params())
        assert row.multiply_adds == zoo.cost(model).multiply_adds
        assert set(row.milliseconds) == {1, 3}
        assert all(value > 0 for value in row.milliseconds.values())


def test_patterns_may_overlap_and_have_to_match_something():
    found = compare(["mobilenet_v1_025", "mobilenet_v1_0*25"])
    assert [model.name for model in found.models] == ["mobilenet_v1_025"]
    assert found.batch_sizes == ()
    with pytest.raises(ValueError, match=r"no model matches 'nonesuch\*'; zoo.list_models\(\) has them all"):
        compare("nonesuch*")


def test_the_table_shows_every_number(measured):
    text = printed(measured)
    for row in measured.models:
        assert row.name in text
        assert f"{row.milliseconds[3]:,.1f}" in text
    assert "ms, batch of 3" in text
    assert "ms, batch" not in printed(compare("lenet5"))


def test_the_frame_has_a_column_for_each_batch_size(measured):
    frame = measured.frame()
    assert list(frame["name"]) == [model.name for model in measured.models]
    assert list(frame["milliseconds_3"]) == [model.milliseconds[3] for model in measured.models]


def test_the_plot_leaves_out_what_has_no_accuracy(measured):
    (axes,) = measured.plot().axes
    assert {text.get_text() for text in axes.texts} == {"mobilenet_v1_025", "mobilenet_v2_035"}
    assert "milliseconds" in axes.get_xlabel()
    assert "multiply-adds" in compare("mobilenet_v1_025").plot().axes[0].get_xlabel()
    (bubbles,) = axes.collections
    small, large = sorted(bubbles.get_sizes())
    megabytes = sorted(model.megabytes for model in measured.models if model.top1)
    assert large / small == pytest.approx(megabytes[1] / megabytes[0])
    with pytest.raises(ValueError, match="no accuracy on ImageNet is published for lenet5"):
        compare("lenet5").plot()


def test_time_is_of_models_with_known_sizes():
    with pytest.raises(ValueError, match="a batch of at least 1"):
        milliseconds(zoo.create_model("lenet5"), 0)
    with pytest.raises(ValueError, match="known sizes"):
        milliseconds(zoo.create_model("mobilenet_v1_025", input_shape=(None, None, 3), include_top=False))


@pytest.mark.parametrize("name", ["mobilenet_v2_035", "googlenet_auxiliary", "se_resnet50", "vit_tiny_patch16"])
def test_stages_add_up_to_the_whole(name):
    found = info(name)
    assert sum(stage.parameters for stage in found.stages) == found.cost.parameters
    assert sum(stage.multiply_adds for stage in found.stages) == found.cost.multiply_adds
    assert found.stages[0].name == "stride 1"
    assert found.stages[-1].name == "head"
    text = printed(found)
    assert found.paper in " ".join(text.split())
    assert f"{found.cost.parameters:,} parameters" in text
    assert all(stage.name in text for stage in found.stages)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_says_what_it_is(family):
    title, idea, paper, notes = described(FAMILIES[family][0])
    assert title
    assert idea
    assert re.search(r"\d{4}", paper)
    assert notes


def test_an_unknown_name_shows_near_ones():
    with pytest.raises(ValueError, match="resnet50"):
        info("resnet_50")
