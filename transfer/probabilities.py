"""What numbers an output holds, and whether it does: logits and measurements pass for probabilities only by name."""

from typing import Any, Literal

import numpy as np

__all__ = ["NotProbabilities", "Values", "check_probabilities", "of_two_classes"]

# "shares" are the probabilities of classes of which one is true: in 0..1, with the sum 1. "probabilities" are in 0..1,
# each by itself. "numbers" may be any.
Values = Literal["shares", "probabilities", "numbers"]
TOLERANCE = 1e-2  # Probabilities may have been computed in bfloat16.


class NotProbabilities(ValueError):
    """Outputs that are said to be probabilities are none."""


def check_probabilities(outputs: Any, values: Values, what: str) -> None:
    """Checks that outputs are what they are said to be. What is not finite does not count.

    Args:
        outputs: Outputs for some images, float `[n, ..., k]`.
        values: What they are said to be.
        what: What the outputs are called, for the message.

    Raises:
        NotProbabilities: They are not in 0..1, or shares do not have the sum 1. The message says what to do.

    Example:

    >>> check_probabilities(np.array([[0.25, 0.75]]), "shares", "the outputs")
    >>> check_probabilities(np.array([[-1.5, 2.0]]), "shares", "the outputs")
    Traceback (most recent call last):
    transfer.probabilities.NotProbabilities: the outputs have to be the probabilities of the classes, in 0..1 ...
    """
    if values == "numbers":
        return
    array = np.asarray(outputs, "float64")
    array = array[np.isfinite(array).all(axis=-1)] if array.ndim else array
    if not array.size:
        return
    low, high = array.min(), array.max()
    inside = low >= -TOLERANCE and high <= 1 + TOLERANCE
    if values == "probabilities":
        if not inside:
            raise NotProbabilities(
                f"{what} have to be probabilities in 0..1; got values in {low:.4g}..{high:.4g}. "
                + _advice("sigmoid", "MultiLabel")
            )
        return
    sums = array.sum(axis=-1)
    if inside and np.abs(sums - 1).max() <= TOLERANCE:
        return
    alone = "Where each class is true or not by itself, they are tags: objective=MultiLabel() and a TagContract."
    raise NotProbabilities(
        f"{what} have to be the probabilities of the classes, in 0..1 with the sum 1; got values in {low:.4g}.."
        f"{high:.4g} with sums in {sums.min():.4g}..{sums.max():.4g}. "
        + (alone if inside and array.any() else _advice("softmax", "SingleLabel"))
    )


def of_two_classes(outputs: Any) -> Any:
    """Returns the probabilities of two classes, where a sigmoid of one unit gives only that of the second.

    Args:
        outputs: `[n, 1]` or `[n, 2]`: an array, or a tensor of Keras, which may be symbolic.

    >>> of_two_classes(np.array([[0.25]])).tolist()
    [[0.75, 0.25]]
    """
    if outputs.shape[-1] != 1:
        return outputs
    if isinstance(outputs, np.ndarray):
        return np.concatenate([1 - outputs, outputs], axis=-1)
    import keras

    return keras.ops.concatenate([1 - outputs, outputs], axis=-1)


def _advice(activation: str, objective: str) -> str:
    return (
        f"If these are logits, because the last layer has no {activation}, take transfer.with_activation(model, "
        f"{activation!r}), and train it with objective={objective}(). If they are measurements, take "
        "objective=Regression() and a RegressContract"
    )
