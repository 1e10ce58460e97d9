"""One architecture at a glance: its paper, its idea, its stages and its costs.

zoo.info("resnet50")  # in a notebook or a rich console
"""

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from zoo.analysis.comparison import Accuracy, published_accuracy
from zoo.analysis.costs import Cost, LayerCost, cost, readable
from zoo.models import create_model, family_of

if TYPE_CHECKING:
    import rich.console

__all__ = ["Info", "Stage", "info"]


@dataclass(frozen=True)
class Stage:
    """Consecutive layers whose feature maps have the same size. The layers after the last map are the stage "head".

    Attributes:
        name: "stride 4" and so on, or "head".
        output_shape: Shape of the output of its last layer, without the batch.
        layers: Number of layers that have weights, apart from normalisation.
        parameters: Number of parameters of the stage.
        multiply_adds: Number of multiply-adds of the stage for one image.
        receptive_field: Receptive field (height, width) of its last layer, in pixels.
    """

    name: str
    output_shape: tuple[int, ...]
    layers: int
    parameters: int
    multiply_adds: int
    receptive_field: tuple[int, int] | None


@dataclass(frozen=True)
class Info:
    """The result of `info`.

    Attributes:
        name: Name of the network.
        title: Title of its family.
        idea: The idea of the family in a sentence; "" if the family has no idea of its own.
        paper: Authors, year and title of the paper.
        notes: The rest of the family's description: where it deviates from the paper, and why.
        accuracy: Published accuracy on ImageNet; None if it is not published.
        stages: The stages, from the image on.
        cost: The costs, as `zoo.cost` measures them.
    """

    name: str
    title: str
    idea: str
    paper: str
    notes: str
    accuracy: Accuracy | None
    stages: tuple[Stage, ...]
    cost: Cost

    def __rich__(self) -> "rich.console.Group":
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table("stage", "output", title="Stages", title_justify="left")
        for column in ("layers", "parameters", "multiply-adds", "receptive field"):
            table.add_column(column, justify="right")
        for stage in self.stages:
            table.add_row(
                stage.name,
                " × ".join(map(str, stage.output_shape)),
                str(stage.layers),
                f"{stage.parameters:,}",
                readable(stage.multiply_adds),
                "" if stage.receptive_field is None else " × ".join(map(str, stage.receptive_field)),
            )
        height, width = self.cost.layers[0].output_shape[1:3]
        costs = (
            f"{self.cost.parameters:,} parameters, {readable(self.cost.multiply_adds)} multiply-adds for an image of "
            f"{height} × {width}; a prediction holds {readable(self.cost.inference_bytes, 'B')}"
        )
        parts = [Text(self.name, "bold"), Text(self.title + (f": {self.idea}" if self.idea else "")), Text(self.paper)]
        if self.accuracy is not None:
            known = {"top-1": self.accuracy.top1, "top-5": self.accuracy.top5}
            values = ", ".join(f"{key} {value:g}%" for key, value in known.items() if value is not None)
            parts.append(Text(f"ImageNet: {values} ({self.accuracy.source})"))
        return Group(*parts, Text(costs), "", table, "", Text(self.notes))


def info(name: str) -> Info:
    """Describes a network of the zoo, from its file and its graph.

    Args:
        name: Name of the network, as `zoo.list_models` lists it.

    Raises:
        ValueError: If the name is unknown. The message lists similar names.

    Example:

    >>> vgg = info("vgg11")
    >>> vgg.idea, vgg.paper
    ('nothing but 3x3 convolutions and 2x2 pooling',
     'Simonyan & Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition"')
    >>> [(stage.name, stage.output_shape) for stage in vgg.stages][-2:]
    [('stride 32', (7, 7, 512)), ('head', (1000,))]
    """
    title, idea, paper, notes = described(name)
    measured = cost(create_model(name))
    return Info(
        name=name,
        title=title,
        idea=idea,
        paper=paper,
        notes=notes,
        accuracy=published_accuracy().get(name),
        stages=tuple(_stages(measured)),
        cost=measured,
    )


def described(name: str) -> tuple[str, str, str, str]:
    """Reads the title, idea, paper and notes of a network from the file of its family. It builds nothing.

    Raises:
        ValueError: If the name is unknown.
    """
    text = inspect.cleandoc(family_of(name).__doc__ or "")
    first, _, notes = text.partition("\n")
    title, _, idea = first.rstrip(".").partition(": ")
    paper = re.search(r'[A-Z][^".:;]*?(?: et al\.)?(?: \d{4})?, "[^"]+"', " ".join(notes.split()))
    return title, idea, paper[0] if paper else "", notes.strip()


NORMALISATIONS = {"BatchNormalization", "LayerNormalization", "Normalization", "GroupNormalization"}


def _stages(measured: Cost) -> Iterable[Stage]:
    # A gate of squeeze-and-excitation is not a feature map. It belongs to the stage that contains it.
    last_map = max((i for i, layer in enumerate(measured.layers) if layer.stride), default=-1)
    stride: tuple[float, float] | None = (1.0, 1.0)
    keys: list[str] = []
    for i, layer in enumerate(measured.layers):
        stride = layer.stride or stride
        keys.append("head" if i > last_map or stride is None else f"stride {max(stride):g}")
    for key, group in groupby(zip(keys, measured.layers, strict=True), key=lambda pair: pair[0]):
        yield _stage(key, [layer for _, layer in group])


def _stage(name: str, layers: list[LayerCost]) -> Stage:
    maps = [layer for layer in layers if layer.stride] or layers
    return Stage(
        name=name,
        output_shape=maps[-1].output_shape[1:],
        layers=sum(layer.trainable > 0 and layer.type not in NORMALISATIONS for layer in layers),
        parameters=sum(layer.parameters for layer in layers),
        multiply_adds=sum(layer.multiply_adds or 0 for layer in layers),
        receptive_field=maps[-1].receptive_field,
    )
