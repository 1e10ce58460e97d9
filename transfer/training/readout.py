"""A linear readout of features, solved and not trained: logistic regression and ridge regression, to the optimum.

A linear head on features that do not change is a convex problem with one solution, so it needs no learning rate, no
epochs and no luck. What is minimised is the weighted mean loss and the squared weights,

    sum_i(w_i loss(y_i, x_i W + b)) / sum_i(w_i) + strength / 2 * |W|^2,

over features that are standardised first, with a bias `b` that is not penalised. The features are turned to their
principal axes, which changes nothing in the problem, and makes it small where there are more features than photos;
there, each axis can be scaled by its own curvature, so that L-BFGS needs few steps. The strength is chosen by
cross-validation on the training photos.

Sources: Bishop 2006, "Pattern Recognition and Machine Learning", sections 3.1.4 and 4.3; Liu and Nocedal 1989, "On the
limited memory BFGS method for large scale optimization"; Hastie, Tibshirani and Friedman 2009, "The Elements of
Statistical Learning", sections 7.10 (cross-validation) and 18.3.5 (more features than photos).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special
from threadpoolctl import threadpool_limits

from transfer.training.principal_axes import PrincipalAxes, principal_axes

__all__ = ["STRENGTHS", "Choice", "Link", "NotFinite", "Readout", "choose_strength", "linear_readout", "solve"]

Link = Literal["softmax", "sigmoid", "linear"]

STRENGTHS = tuple(10 ** (exponent / 3) for exponent in range(6, -13, -2))  # from the strongest to the weakest
USUAL_STRENGTH = 1.0  # where cross-validation is impossible
FOLDS = 5
COMPARED = 0.999  # share of the features' variance on whose axes strengths are compared
BETTER = 0.01  # share of the loss by which a weaker one has to be better to be chosen
TRIES = 2  # strengths one after the other that are no better: weaker ones are not tried then
# The largest entry of the gradient and the relative fall of the loss at which a search ends.
EXACT, ROUGH = (1e-9, 1e-15), (1e-6, 1e-5)
MOST_STEPS = 2000
ONE_CORE = 10**8  # multiplications in a product of matrices, below which a second core costs more than it gives


class NotFinite(ValueError):
    """There are features that are no finite numbers.

    Attributes:
        rows: The numbers of the rows that have them.
    """

    def __init__(self, rows: np.ndarray):
        self.rows = rows
        shown = ", ".join(map(str, rows[:10])) + (f" and {len(rows) - 10} more" if len(rows) > 10 else "")
        super().__init__(f"expected features that are finite numbers; got NaN or infinity in rows {shown}")


@dataclass(frozen=True)
class Choice:
    """The strength that was chosen, and how.

    Attributes:
        strength: The strength.
        losses: The mean loss on photos that were left out, by the strength. It is empty where nothing was compared.
        reason: Why nothing was compared; "" where it was.
    """

    strength: float
    losses: Mapping[float, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Readout:
    """A linear readout. It takes the features as they came: the standardisation is folded into it.

    Attributes:
        kernel: float64 `[d, k]`.
        bias: float64 `[k]`.
        link: What follows the linear part: "softmax", "sigmoid" or "linear".
        choice: The strength, and how it was chosen.
    """

    kernel: np.ndarray
    bias: np.ndarray
    link: Link
    choice: Choice

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Returns probabilities or numbers `[n, k]` for features `[n, d]`."""
        return _answers(np.asarray(features, np.float64) @ self.kernel + self.bias, self.link)


def linear_readout(
    features: np.ndarray,
    targets: np.ndarray,
    link: Link,
    *,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> Readout:
    """Chooses the strength by cross-validation, and solves the readout for all photos.

    Args:
        features: One row for each photo, float `[n, d]`.
        targets: For "softmax", how much of each class is in the photo, float `[n, k]`, each row with the sum 1 (one-hot
            rows, smoothed or mixed ones). For "sigmoid", 0..1 for each label, `[n, k]`, where each column is a problem
            of its own. For "linear", the numbers, `[n, k]`.
        link: "softmax", "sigmoid" or "linear", which is ridge regression.
        weights: How much each row counts, 0 or more, `[n]`. By default all count alike.
        groups: The number of the photo that each row is a view of, `[n]`; views of a photo are always left out
            together. By default each row is a photo. Rows that are equal are left out together, too.
        folds: Number of parts that are left out one after the other. Defaults to 5.
        seed: Decides which photos these are.

    Returns:
        The readout.

    Raises:
        NotFinite: A feature is NaN or infinite; the error knows the rows.
        ValueError: The arrays do not fit each other, a target or a weight is out of its range, or no row counts.

    Example:

    >>> features = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    >>> readout = linear_readout(features, np.eye(2)[[0, 0, 1, 1]], "softmax", folds=2)
    >>> readout(features).argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """
    features, targets, weights = _checked(features, targets, link, weights)
    with _cores_for(features, targets):
        axes = principal_axes(features, weights)
        groups = _joined_groups(features, groups)
        choice = _chosen(axes, targets, link, weights, groups, folds, seed)
        return _readout(axes, targets, link, weights, choice)


def solve(
    features: np.ndarray, targets: np.ndarray, link: Link, choice: Choice | float, *, weights: np.ndarray | None = None
) -> Readout:
    """Solves the readout for one strength. The arguments are those of `linear_readout`.

    A class without photos gets the probability of half a photo among all of them, whatever the features are; so does a
    label that no photo has, or that all have (the estimate of Krichevsky and Trofimov 1981).

    Raises:
        NotFinite, ValueError: As `linear_readout` raises them.
    """
    choice = choice if isinstance(choice, Choice) else Choice(float(choice))
    if not 0 < choice.strength < np.inf:
        raise ValueError(f"strength is a positive number, got {choice.strength}")
    features, targets, weights = _checked(features, targets, link, weights)
    with _cores_for(features, targets):
        return _readout(principal_axes(features, weights), targets, link, weights, choice)


def choose_strength(
    features: np.ndarray,
    targets: np.ndarray,
    link: Link,
    *,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> Choice:
    """Chooses the strength with the lowest mean loss on photos that are left out, part by part.

    The arguments are those of `linear_readout`. Strengths are tried from the strongest on, until weaker ones are no
    better by 1%. Where no class has two photos, or there are fewer than two photos in all, nothing can be compared; the
    strength is then the usual one, 1, and the choice says why.

    Raises:
        NotFinite, ValueError: As `linear_readout` raises them.
    """
    features, targets, weights = _checked(features, targets, link, weights)
    with _cores_for(features, targets):
        groups = _joined_groups(features, groups)
        return _chosen(principal_axes(features, weights), targets, link, weights, groups, folds, seed)


def _readout(axes: PrincipalAxes, targets: np.ndarray, link: Link, weights: np.ndarray, choice: Choice) -> Readout:
    theta, bias = _solved(axes.rows, targets, weights, link, choice.strength, EXACT)
    kernel = axes.back(theta)
    return Readout(kernel, bias - axes.mean @ kernel, link, choice)


def _chosen(
    axes: PrincipalAxes, targets: np.ndarray, link: Link, weights: np.ndarray, groups: np.ndarray, folds: int, seed: int
) -> Choice:
    classes = _most_of(targets, link)
    folds = min(folds, len(np.unique(groups)))
    if folds < 2:
        return Choice(USUAL_STRENGTH, reason="there are fewer than two different photos")
    if link == "softmax" and all(len(np.unique(groups[classes == number])) < 2 for number in np.unique(classes)):
        return Choice(USUAL_STRENGTH, reason="no class has two different photos")
    fold_of = _folds(groups, classes, folds, seed)
    scale = _scale_of(targets, weights) if link == "linear" else np.ones(targets.shape[1])
    rows = axes.leading(COMPARED).astype(np.float32)  # Half the digits are enough.
    parts = [_Part(rows, targets / scale, weights, link, fold_of == fold) for fold in range(folds)]
    total = sum(part.weight for part in parts)
    losses: dict[float, float] = {}
    best, tries = STRENGTHS[0], 0
    for strength in STRENGTHS:
        losses[strength] = sum(part.loss(strength) for part in parts) / total
        if losses[strength] < (1 - BETTER) * losses[best]:
            best, tries = strength, 0
        elif strength != best and (tries := tries + 1) == TRIES:
            break
    return Choice(best, losses)


class _Part:
    """One part that is left out, and the solution for the others, from which that for the next strength begins."""

    def __init__(self, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray, link: Link, is_out: np.ndarray):
        self.link = link
        self.rows, self.targets, self.weights = rows[~is_out], targets[~is_out], weights[~is_out]
        self.out = rows[is_out], targets[is_out], weights[is_out]
        self.weight = float(weights[is_out].sum())
        self._begin: tuple[np.ndarray, np.ndarray] | None = None
        self._ridge: _Ridge | None = None

    def loss(self, strength: float) -> float:
        """Returns the weighted sum of the losses on what is left out."""
        if not self.weights.any():
            return 0.0
        if self.link == "linear":
            self._ridge = self._ridge or _Ridge(self.rows, self.targets, self.weights)
            theta, bias = self._ridge.solved(strength)
        else:
            theta, bias = _solved(self.rows, self.targets, self.weights, self.link, strength, ROUGH, begin=self._begin)
            self._begin = theta, bias
        rows, targets, weights = self.out
        return float(weights @ _losses(rows @ theta + bias, targets, self.link))


def _cores_for(features: np.ndarray, targets: np.ndarray) -> threadpool_limits:
    """Keeps small products of matrices on one core, where a second one would only wait."""
    return threadpool_limits(1 if features.size * targets.shape[1] < ONE_CORE else None)


# What is solved


def _solved(
    rows: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    link: Link,
    strength: float,
    tolerance: tuple[float, float],
    *,
    begin: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Solves the problem on the principal axes: `[n, r]` -> weights `[r, k]` and bias `[k]`."""
    if link == "linear":
        return _Ridge(rows, targets, weights).solved(strength)
    theta, bias = np.zeros((rows.shape[1], targets.shape[1])), np.zeros(targets.shape[1])
    shares = weights / weights.sum()
    mean = shares @ targets
    counted = targets[weights > 0]
    known = (counted > 0).any(axis=0)
    if link == "sigmoid":
        known &= (counted < 1).any(axis=0)
    half = 0.5 / (np.count_nonzero(weights) + 1)
    if known.any():
        first = None if begin is None else (begin[0][:, known], begin[1][known])
        theta[:, known], bias[known] = _minimised(rows, targets[:, known], shares, link, strength, tolerance, first)
    if link == "softmax":
        bias[~known] = scipy.special.logsumexp(bias[known]) + scipy.special.logit(half)
        return theta, bias - bias.mean()
    bias[~known] = scipy.special.logit(np.where(mean[~known] > 0, 1 - half, half))
    return theta, bias


def _minimised(
    rows: np.ndarray,
    targets: np.ndarray,
    shares: np.ndarray,
    link: Link,
    strength: float,
    tolerance: tuple[float, float],
    begin: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimises by L-BFGS, in coordinates in which the curvature is about 1 along each axis."""
    r, k = rows.shape[1], targets.shape[1]
    mean = shares @ targets
    if r == 0:
        return np.zeros((0, k)), np.log(mean) if link == "softmax" else scipy.special.logit(mean)
    # p (1 - p) is the curvature of the loss; it is that of the classes' shares where nothing is known yet.
    curvature = np.maximum(mean * (1 - mean), 1e-6)[None]
    scale = 1 / np.sqrt(strength + curvature * (shares @ rows**2)[:, None])  # [r, k]
    bias_scale = 1 / np.sqrt(curvature[0])
    theta, bias = (np.zeros((r, k)), np.log(np.maximum(mean, 1e-12))) if begin is None else begin
    if begin is None and link == "sigmoid":
        bias = scipy.special.logit(mean)

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        inner = flat.reshape(r + 1, k)
        theta, bias = inner[:-1] * scale, inner[-1] * bias_scale
        logits = rows @ theta.astype(rows.dtype) + bias
        losses = _losses(logits, targets, link)
        error = _answers(logits, link)
        error -= targets
        error *= shares[:, None]
        gradient = np.empty((r + 1, k))
        gradient[:-1] = (rows.T @ error.astype(rows.dtype) + strength * theta) * scale
        gradient[-1] = error.sum(axis=0) * bias_scale
        return float(shares @ losses + strength / 2 * np.sum(theta**2)), gradient.ravel()

    start = np.concatenate([theta / scale, (bias / bias_scale)[None]]).ravel()
    options = dict(zip(("gtol", "ftol"), tolerance, strict=True), maxiter=MOST_STEPS, maxfun=2 * MOST_STEPS, maxcor=20)
    flat = scipy.optimize.minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options).x
    inner = flat.reshape(r + 1, k)
    return inner[:-1] * scale, inner[-1] * bias_scale


class _Ridge:
    """Ridge regression for any strength, from one decomposition."""

    def __init__(self, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray):
        shares = weights / weights.sum()
        self.mean, self.target_mean = shares @ rows, shares @ targets
        root = np.sqrt(shares)[:, None]
        left, self.singular, self.right = scipy.linalg.svd(root * (rows - self.mean), full_matrices=False)
        self.projected = left.T @ (root * (targets - self.target_mean))

    def solved(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        factors = self.singular / (self.singular**2 + strength)
        theta = self.right.T @ (factors[:, None] * self.projected)
        return theta, self.target_mean - self.mean @ theta


def _answers(logits: np.ndarray, link: Link) -> np.ndarray:
    if link == "softmax":
        return scipy.special.softmax(logits, axis=1)
    return scipy.special.expit(logits) if link == "sigmoid" else logits


def _losses(logits: np.ndarray, targets: np.ndarray, link: Link) -> np.ndarray:
    """Returns the loss of each row: cross-entropy, or half the squared error, summed over columns."""
    if link == "softmax":
        return targets.sum(axis=1) * scipy.special.logsumexp(logits, axis=1) - np.sum(targets * logits, axis=1)
    if link == "sigmoid":
        return np.sum(np.logaddexp(0, logits) - targets * logits, axis=1)
    return np.sum((logits - targets) ** 2, axis=1) / 2


def _scale_of(targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the deviation of each column, so that numbers of different units count alike; 1 for a constant one."""
    shares = weights / weights.sum()
    deviation = np.sqrt(shares @ (targets - shares @ targets) ** 2)
    return np.where(deviation > 0, deviation, 1.0)


# Which photos are left out together


def _joined_groups(features: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Returns the number of the group of each row; groups that share an equal row are one."""
    numbers = np.arange(len(features)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if len(numbers) != len(features):
        raise ValueError(f"groups has to have a number for each of {len(features)} rows, got {len(numbers)}")
    numbers = np.array(numbers)
    first: dict[bytes, int] = {}
    for row, values in enumerate(np.ascontiguousarray(features)):
        same = first.setdefault(hashlib.blake2b(values.tobytes(), digest_size=16).digest(), row)
        if numbers[same] != numbers[row]:
            numbers[numbers == numbers[row]] = numbers[same]
    return np.unique(numbers, return_inverse=True)[1]


def _most_of(targets: np.ndarray, link: Link) -> np.ndarray:
    """Returns by what the parts are made alike: the class, the rarest label that a photo has, or nothing."""
    if link == "softmax":
        return targets.argmax(axis=1)
    if link == "sigmoid":
        by_count = np.argsort(targets.sum(axis=0), kind="stable")
        has = targets[:, by_count] > 0.5
        return np.where(has.any(axis=1), by_count[has.argmax(axis=1)], -1)
    return np.zeros(len(targets), int)


def _folds(groups: np.ndarray, classes: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Returns the number of the part of each row: in each part about the same share of each class."""
    rng = np.random.default_rng(seed)
    first = np.unique(groups, return_index=True)[1]  # The class of a group is that of its first row.
    order = rng.permutation(len(first))
    order = order[np.argsort(classes[first[order]], kind="stable")]
    fold_of_group = np.empty(len(first), int)
    fold_of_group[order] = np.arange(len(order)) % folds
    return fold_of_group[groups]


def _checked(
    features: np.ndarray, targets: np.ndarray, link: Link, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the arrays as float64, or raises what is wrong with them."""
    if link not in ("softmax", "sigmoid", "linear"):
        raise ValueError(f'link is "softmax", "sigmoid" or "linear", got {link!r}')
    features, targets = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets) or not len(features):
        raise ValueError(
            f"expected features [n, d] and targets [n, k] of as many rows, at least one; got {list(features.shape)} "
            f"and {list(targets.shape)}"
        )
    weights = np.ones(len(features)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != (len(features),) or not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise ValueError(
            f"weights are one finite number of 0 or more for each of {len(features)} rows, not all 0; got "
            f"{list(weights.shape)}"
        )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        raise NotFinite(bad)
    if not np.isfinite(targets).all():
        raise ValueError("expected targets that are finite numbers; got NaN or infinity among them")
    if link != "linear" and (targets.min() < 0 or targets.max() > 1):
        raise ValueError(f"targets of {link} are in 0..1; got {targets.min():g}..{targets.max():g}")
    if link == "softmax" and not np.allclose(targets.sum(axis=1), 1, atol=1e-3):
        raise ValueError("each row of the targets of softmax has to have the sum 1")
    return features, targets, weights
