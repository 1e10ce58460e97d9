"""How good numbers are that a model tells from images."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from scipy.stats import bootstrap
from sklearn.metrics import r2_score

from transfer.measuring.intervals import LEVEL, RESAMPLES, Interval
from transfer.measuring.table import Table, as_number, defined
from transfer.python_values import read_names

__all__ = ["RegressionEvaluation"]


@dataclass(frozen=True, eq=False)
class RegressionEvaluation:
    """The true numbers of some images, the numbers that a model tells, and what follows from the two.

    Args:
        names: The names of the `k` numbers.
        labels: The true numbers, float `[n, k]`, in their own unit.
        predictions: The predicted numbers, float `[n, k]`, in the same unit.

    Raises:
        ValueError: The arguments do not fit each other, or there are no images.

    Example:

    >>> result = RegressionEvaluation(("age",), np.array([[1.0], [2.0], [6.0]]), np.array([[2.0], [2.0], [4.0]]))
    >>> result.mean_absolute_error.tolist(), result.bias.round(3).tolist()
    ([1.0], [-0.333])
    """

    headline: ClassVar[str] = "mean_absolute_error"

    names: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", read_names(self.names))
        shape = (len(self.labels), len(self.names))
        if self.labels.shape != shape or self.predictions.shape != shape or not len(self.labels):
            raise ValueError(
                f"expected labels and predictions [n, {len(self.names)}], got {list(self.labels.shape)} and "
                f"{list(self.predictions.shape)}"
            )

    @property
    def errors(self) -> np.ndarray:
        """Predicted minus true numbers, `[n, k]`, in the unit of the labels."""
        return self.predictions - self.labels

    @property
    def mean_absolute_error(self) -> np.ndarray:
        """The mean absolute error of each number, `[k]`, in the unit of the labels."""
        return np.abs(self.errors).mean(axis=0)

    @property
    def root_mean_squared_error(self) -> np.ndarray:
        """The root of the mean squared error of each number, `[k]`, in the unit of the labels.

        It is larger than the mean absolute error where some errors are much larger than others.
        """
        return np.sqrt(np.square(self.errors).mean(axis=0))

    @property
    def bias(self) -> np.ndarray:
        """The mean error of each number, `[k]`: by how much predictions are too large on average."""
        return self.errors.mean(axis=0)

    @property
    def r2(self) -> np.ndarray:
        """The share of the labels' variance that is explained, `[k]`: 1 is perfect, and a model that always predicts
        the mean has 0. It is NaN where there are fewer than two images."""
        if len(self.labels) < 2:
            return np.full(len(self.names), np.nan)
        return np.atleast_1d(r2_score(self.labels, self.predictions, multioutput="raw_values"))

    @property
    def score(self) -> float:
        """How good the answers are, in 0..1: the mean of `r2` over the numbers, and 0 where it is below; or NaN."""
        return float(np.clip(self.r2.mean(), 0, 1))

    @cached_property
    def intervals(self) -> list[Interval]:
        """Intervals of 95% confidence of the mean absolute errors, one for each number.

        Source: Efron 1987, "Better Bootstrap Confidence Intervals" (BCa); computed by SciPy.
        """
        result = []
        for errors in np.abs(self.errors).T:
            if len(errors) < 2 or np.ptp(errors) == 0:
                result.append(Interval(np.nan, np.nan))
                continue
            interval = bootstrap(
                (errors,), np.mean, confidence_level=LEVEL, n_resamples=RESAMPLES, rng=np.random.default_rng(0)
            ).confidence_interval
            result.append(Interval(float(interval.low), float(interval.high)))
        return result

    def metrics(self) -> dict[str, Any]:
        """Returns the mean absolute error and `r2`, both as the mean over the numbers.

        Where there is one number, the interval of its mean absolute error is among them.
        """
        metrics: dict[str, Any] = {
            "mean_absolute_error": float(self.mean_absolute_error.mean()),
            "r2": defined(self.r2.mean()),
        }
        if len(self.names) == 1:
            metrics["interval"] = self.intervals[0].as_list()
        return metrics

    def tables(self) -> list[Table]:
        """Returns a table with the errors of each number."""
        rows = [
            (
                name,
                as_number(self.mean_absolute_error[i], self.intervals[i]),
                as_number(self.root_mean_squared_error[i]),
                as_number(self.bias[i]),
                as_number(self.r2[i]),
            )
            for i, name in enumerate(self.names)
        ]
        note = (
            "Errors are in the unit of the labels. The bias is the mean of predicted minus true. R² is the share of "
            "the labels' variance that is explained."
        )
        return [Table(("number", "mean absolute error", "root mean squared error", "bias", "R²"), tuple(rows), note)]

    def as_dict(self) -> dict[str, Any]:
        """Returns everything as plain numbers, lists and strings, ready for JSON. Intervals are of 95% confidence."""
        numbers = [
            {
                "name": name,
                "mean_absolute_error": float(self.mean_absolute_error[i]),
                "mean_absolute_error_interval": self.intervals[i].as_list(),
                "root_mean_squared_error": float(self.root_mean_squared_error[i]),
                "bias": float(self.bias[i]),
                "r2": defined(self.r2[i]),
            }
            for i, name in enumerate(self.names)
        ]
        means = {name: value for name, value in self.metrics().items() if name != "interval"}
        return {"num_images": len(self.labels), **means, "numbers": numbers}
