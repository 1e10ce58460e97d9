"""Whether a map depends on what the network has learned: its weights are randomised, and the map must change."""

from collections.abc import Callable

import keras
import numpy as np
from scipy.stats import spearmanr

from zoo.explain.subject import with_layers
from zoo.surgery.state import copy_state

__all__ = ["randomisation_check"]


def randomisation_check(
    method: Callable[[keras.Model, np.ndarray], np.ndarray],
    model: keras.Model,
    images: np.ndarray,
    *,
    checks: int = 5,
    seed: int = 0,
) -> list[tuple[str, float]]:
    """Measures how much the maps of a method still look like themselves while the network loses what it has learned.

    The weights are randomised layer by layer, from the last to the first ("cascading randomization"). In each layer the
    values of each weight are shuffled, so that their distribution stays. A method whose maps stay alike shows edges of
    the image, not what the network does.

    Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", sections 3.1 and 4; the measure is the Spearman rank
    correlation of absolute values.

    Args:
        method: A function from a model and images to maps `[n, h, w]` or `[n, h, w, c]`. Fix the class in it, such as
            `lambda model, images: grad_cam(model, images, 3)`.
        model: A model; it is not changed.
        images: Images `[n, h, w, c]` in 0..255.
        checks: At how many points, evenly spread over the layers, the maps are made. Defaults to 5.
        seed: Decides how weights are shuffled.

    Returns:
        For each point the layer down to which the weights are randomised, and the mean correlation in -1..1 with the
        maps of the trained network. A map that is the same everywhere has correlation 0.

    Raises:
        ValueError: The model has no layers with weights, or there are no checks.

    Example:

    >>> from zoo.explain import grad_cam
    >>> keras.utils.set_random_seed(0)
    >>> image = keras.Input((16, 24, 3))
    >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, name="conv")(image))
    >>> model = keras.Model(image, keras.layers.Dense(3, name="top")(x))
    >>> photos = np.random.default_rng(0).uniform(0, 255, (2, 16, 24, 3))
    >>> [name for name, _ in randomisation_check(lambda m, x: grad_cam(m, x, 1), model, photos, checks=2)]
    ['top', 'conv']
    """
    random = np.random.default_rng(seed)
    original = with_layers(model)
    copy = keras.models.clone_model(keras.Model(original.inputs[0], original.output))
    copy_state(original, copy)
    layers = [layer for layer in reversed(copy.layers) if layer.weights]
    if not layers or checks < 1:
        raise ValueError(f"expected a model with weights and at least 1 check, got {len(layers)} and {checks}")
    expected = method(original, images)
    points = {round((number + 1) * len(layers) / checks) - 1 for number in range(checks)}
    results = []
    for number, layer in enumerate(layers):
        for weight in layer.weights:
            values = np.asarray(weight).ravel()
            weight.assign(random.permutation(values).reshape(weight.shape))
        if number in points:
            results.append((layer.name, _correlation(expected, method(copy, images))))
    return results


def _correlation(expected: np.ndarray, actual: np.ndarray) -> float:
    correlations = []
    for one, other in zip(expected, actual, strict=True):
        flat_maps = np.abs(one).ravel(), np.abs(other).ravel()
        constant = any(np.ptp(values) == 0 for values in flat_maps)
        correlations.append(0.0 if constant else float(spearmanr(*flat_maps).statistic))
    return float(np.mean(correlations))
