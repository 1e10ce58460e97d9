"""EfficientNet B0 to B7 and Lite0 to Lite4: depth, width and image size scaled together.

Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks". Table 1 has the stages, and
section 3.3 the scaling of depth, width and resolution. Lite is Google's variant for phones and CPUs (2020): it has no
squeeze-and-excitation, it has ReLU6 in place of swish, and its stem, its first stage and its last stage are not scaled.

The authors' code sets what the paper does not say: the batch norms have an epsilon of 1e-3, and branches are dropped in
training at a rate that grows to 0.2 with depth.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import keras

from zoo.blocks import Excitation, conv_bn, inverted_residual, normalise, scaled_channels
from zoo.heads import classifier
from zoo.models.variants import Variant

__all__ = [
    "VARIANTS",
    "EfficientNet",
    "compound_scaling",
    "head",
    "keras_layer",
    "scaling_candidates",
    "search_scaling",
    "torch_modules",
    "trunk",
]

# Table 1: expansion, channels, layers, kernel size and stride of stages 2 to 8.
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
DROP_PATH = 0.2


@dataclass(frozen=True)
class EfficientNet(Variant):
    """A row of the table of EfficientNets.

    Attributes:
        width: Factor of the number of channels.
        depth: Factor of the number of layers.
        dropout: Rate of the dropout before the classifier.
        lite: Whether the network is a Lite variant. Defaults to False.
    """

    width: float
    depth: float
    dropout: float
    lite: bool = False


VARIANTS = {
    "efficientnet_b0": EfficientNet(1.0, 1.0, 0.2, image_size=224),
    "efficientnet_b1": EfficientNet(1.0, 1.1, 0.2, image_size=240),
    "efficientnet_b2": EfficientNet(1.1, 1.2, 0.3, image_size=260),
    "efficientnet_b3": EfficientNet(1.2, 1.4, 0.3, image_size=300),
    "efficientnet_b4": EfficientNet(1.4, 1.8, 0.4, image_size=380),
    "efficientnet_b5": EfficientNet(1.6, 2.2, 0.4, image_size=456),
    "efficientnet_b6": EfficientNet(1.8, 2.6, 0.5, image_size=528),
    "efficientnet_b7": EfficientNet(2.0, 3.1, 0.5, image_size=600),
    "efficientnet_lite0": EfficientNet(1.0, 1.0, 0.2, lite=True, image_size=224),
    "efficientnet_lite1": EfficientNet(1.0, 1.1, 0.2, lite=True, image_size=240),
    "efficientnet_lite2": EfficientNet(1.1, 1.2, 0.3, lite=True, image_size=260),
    "efficientnet_lite3": EfficientNet(1.2, 1.4, 0.3, lite=True, image_size=280),
    "efficientnet_lite4": EfficientNet(1.4, 1.8, 0.3, lite=True, image_size=300),
}


def trunk(image, variant: EfficientNet):
    """Builds the network up to the last feature map: `[n, h, w, 3]` in 0..255 -> `[n, h / 32, w / 32, channels]`.

    Sizes are rounded up at each stride.
    """
    activation = "relu6" if variant.lite else "silu"
    stem, top = (32, 1280) if variant.lite else (scaled_channels(c * variant.width) for c in (32, 1280))

    if variant.lite:
        x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling")(image)
    else:
        x = normalise(image, "imagenet")
    x = conv_bn(x, stem, 3, strides=2, activation=activation, name="stem")
    repeats = [layers(stage, variant) for stage in range(len(STAGES))]
    done = 0
    for stage, (expansion, channels, _, kernel_size, strides) in enumerate(STAGES):
        for repeat in range(repeats[stage]):
            x = inverted_residual(
                x,
                scaled_channels(channels * variant.width),
                kernel_size,
                strides=strides if repeat == 0 else 1,
                expansion=expansion,
                excitation=None if variant.lite else Excitation(0.25),
                activation=activation,
                drop_path=DROP_PATH * done / sum(repeats),
                name=f"block{stage + 1}{chr(ord('a') + repeat)}",
            )
            done += 1
    return conv_bn(x, top, activation=activation, name="top")


def head(x, variant: EfficientNet, num_classes: int, activation: str | None):
    """Builds the layers from the feature map to the probabilities of the classes."""
    return classifier(x, num_classes, activation=activation, dropout=variant.dropout)


def layers(stage: int, variant: EfficientNet) -> int:
    """Returns the number of blocks of a stage. The first and the last stage of Lite variants are not scaled."""
    repeats = STAGES[stage][2]
    fixed = variant.lite and stage in (0, len(STAGES) - 1)
    return repeats if fixed else math.ceil(repeats * variant.depth)


def compound_scaling(
    phi: float, *, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15, base: EfficientNet | None = None
) -> EfficientNet:
    """Scales the depth, the width and the image size of a network at once.

    The network then has about `2 ** phi` times the multiply-adds. It has more where a stage has few layers, whose
    number is rounded up: 2.6 times at phi = 1 for B0, as in the table.

    Source: Tan & Le 2019, equation 3. The default factors are those that section 3.3 found for B0. The table of B1 to
    B7 has rounded values, and, from B4 on, larger images than the equation gives.

    Args:
        phi: Exponent of the factors. 0 does not scale.
        alpha: Factor of the depth at phi = 1, at least 1. Defaults to 1.2.
        beta: Factor of the width at phi = 1, at least 1. Defaults to 1.1.
        gamma: Factor of the image size at phi = 1, at least 1. Defaults to 1.15.
        base: Network to scale. Defaults to B0.

    Returns:
        A row that `zoo.create_model` takes. Its dropout grows to 0.5 at phi = 6, as in the table.

    Raises:
        ValueError: A factor is below 1.

    Example:

    >>> row = compound_scaling(1)
    >>> row.depth, row.width, row.image_size
    (1.2, 1.1, 258)
    """
    if min(alpha, beta, gamma) < 1:
        raise ValueError(f"alpha, beta and gamma must be at least 1 (equation 3), got {alpha}, {beta}, {gamma}")
    base = base or VARIANTS["efficientnet_b0"]
    return replace(
        base,
        depth=base.depth * alpha**phi,
        width=base.width * beta**phi,
        image_size=round(base.image_size * gamma**phi),
        dropout=min(0.5, max(base.dropout, base.dropout + (0.5 - base.dropout) * phi / 6)),
    )


def scaling_candidates(*, step: float = 0.05, tolerance: float = 0.1) -> list[tuple[float, float, float]]:
    """Lists all (alpha, beta, gamma) on a grid from 1 for which alpha * beta**2 * gamma**2 is about 2.

    The multiply-adds grow with the depth, and with the squares of the width and of the image size. So a network that is
    scaled by these factors costs about twice as much.

    Source: Tan & Le 2019, equation 3.

    Args:
        step: Distance between the values of the grid. Defaults to 0.05.
        tolerance: Largest difference between the product and 2. Defaults to 0.1.

    Returns:
        Triples (alpha, beta, gamma).

    Raises:
        ValueError: The step is not positive.

    >>> candidates = scaling_candidates()
    >>> (1.2, 1.1, 1.15) in candidates, len(candidates)
    (True, 109)
    """
    if step <= 0:
        raise ValueError(f"the grid needs a step above 0, got {step}")
    # No factor can exceed 2 + tolerance.
    grid = [round(1 + i * step, 6) for i in range(int((1 + tolerance) / step) + 1)]
    return [
        (alpha, beta, gamma)
        for alpha, beta, gamma in product(grid, grid, grid)
        if abs(alpha * beta**2 * gamma**2 - 2) <= tolerance
    ]


def search_scaling(
    score: Callable[[EfficientNet], float],
    *,
    candidates: list[tuple[float, float, float]] | None = None,
    base: EfficientNet | None = None,
) -> list[tuple[float, tuple[float, float, float]]]:
    """Scores several ways to spend twice the multiply-adds: step 1 of Tan & Le 2019, section 3.3.

    Args:
        score: Function from the row of a network at phi = 1 to a number, of which higher is better. In the paper it is
            the accuracy after training. The accuracy after a short training, or the negative cost, needs less time.
        candidates: Triples (alpha, beta, gamma). Defaults to `scaling_candidates()`.
        base: Network to scale. Defaults to B0.

    Returns:
        (score, (alpha, beta, gamma)) of each candidate, from the highest score to the lowest.

    Example, which looks for the factors that come nearest to twice the cost by the estimate of the paper:

    >>> def nearness(row):
    ...     return -abs(row.depth * row.width**2 * (row.image_size / 224) ** 2 - 2)
    >>> best, *_ = search_scaling(nearness, candidates=[(1.1, 1.2, 1.1), (1.2, 1.1, 1.15)])
    >>> best[1]
    (1.2, 1.1, 1.15)
    """
    if candidates is None:
        candidates = scaling_candidates()
    scored = [
        (score(compound_scaling(1, alpha=alpha, beta=beta, gamma=gamma, base=base)), (alpha, beta, gamma))
        for alpha, beta, gamma in candidates
    ]
    return sorted(scored, key=lambda pair: pair[0], reverse=True)


def keras_layer(name: str) -> str:
    """Returns the name of a layer of B0 to B7 in `keras.applications`, which is the same."""
    return name


def torch_modules(model) -> dict[str, str]:
    """Returns the names of the layers in EfficientNet-PyTorch, the port that the files of Lite variants are from."""
    modules = {
        "expand_conv": "_expand_conv",
        "expand_bn": "_bn0",
        "dwconv": "_depthwise_conv",
        "bn": "_bn1",
        "se_reduce": "_se_reduce",
        "se_expand": "_se_expand",
        "project_conv": "_project_conv",
        "project_bn": "_bn2",
    }
    names = {
        "stem_conv": "_conv_stem",
        "stem_bn": "_bn0",
        "top_conv": "_conv_head",
        "top_bn": "_bn1",
        "predictions": "_fc",
    }
    blocks = sorted({layer.name.partition("_")[0] for layer in model.layers if layer.name.startswith("block")})
    for index, block in enumerate(blocks):
        names |= {f"{block}_{layer}": f"_blocks.{index}.{module}" for layer, module in modules.items()}
    return names
