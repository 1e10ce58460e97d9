"""Losses for a class of every pixel: cross-entropy, focal loss, Dice and Tversky, and combinations of them.

All of them take class numbers `[n, h, w]` and probabilities `[n, h, w, k]`, leave out pixels of one label (255 unless
told), and give one number for each image, of which Keras takes the mean. Within an image they are means, over pixels or
over the classes that occur in it; so a step that is made of several smaller ones is the same step.
"""

from collections.abc import Sequence
from typing import Any

import keras

from zoo.metrics.segmentation import IGNORE

__all__ = ["CombinedLoss", "DiceLoss", "PixelCrossentropy", "TverskyLoss", "pixel_weights"]

ops = keras.ops


def pixel_weights(labels: Any, class_weights: Sequence[float], *, ignore: int = IGNORE) -> Any:
    """Returns how much each pixel counts by its class: what Keras takes as `sample_weight` for masks.

    Args:
        labels: Class numbers, int `[...]`.
        class_weights: The weight of each class, 0 or more.
        ignore: The label of pixels that do not count. Defaults to 255.

    Returns:
        float32 of the shape of the labels; 0 where they are ignored.

    Example:

    >>> pixel_weights([[0, 1, 255]], (0.5, 2.0)).numpy().tolist()
    [[0.5, 2.0, 0.0]]
    """
    labels = ops.cast(labels, "int32")
    counts = ops.not_equal(labels, ignore)
    table = ops.convert_to_tensor(class_weights, dtype="float32")
    return ops.where(counts, ops.take(table, ops.clip(labels, 0, table.shape[0] - 1)), 0.0)


class PixelLoss(keras.losses.Loss):
    """The base class of losses for a class of every pixel.

    Args:
        class_weights: How much each class counts, 0 or more. By default all count the same.
        ignore: The label of pixels that do not count. Defaults to 255.
        reduction: Reduction over the images, as every Keras loss has it. Defaults to "sum_over_batch_size".
        name: Name of the loss.

    Input shape:
        Labels `[n, h, w]` of an integer type in 0..k-1, or `ignore`, and probabilities `[n, h, w, k]`. The loss of an
        image with another label is NaN; the loss of one whose labels are all ignored is 0.

    Raises:
        ValueError: A weight is negative.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        *,
        ignore: int = IGNORE,
        reduction: str = "sum_over_batch_size",
        name: str,
    ):
        super().__init__(name=name, reduction=reduction)
        if class_weights is not None and min(class_weights) < 0:
            raise ValueError(f"weights of classes are 0 or more, got {tuple(class_weights)}")
        self.class_weights = None if class_weights is None else tuple(float(weight) for weight in class_weights)
        self.ignore = ignore

    def call(self, y_true, y_pred):
        y_pred = ops.convert_to_tensor(y_pred)
        num_classes = y_pred.shape[-1]
        if self.class_weights is not None and len(self.class_weights) != num_classes:
            raise ValueError(f"expected a weight for each of {num_classes} classes, got {len(self.class_weights)}")
        labels = ops.cast(y_true, "int32")
        if len(labels.shape) == len(y_pred.shape):
            labels = ops.squeeze(labels, -1)
        counts = ops.not_equal(labels, self.ignore)
        truth = ops.one_hot(ops.where(counts, labels, -1), num_classes, dtype=y_pred.dtype)
        known = ops.logical_or(ops.logical_not(counts), ops.logical_and(labels >= 0, labels < num_classes))
        loss = self.of_images(truth, y_pred, labels, ops.cast(counts, y_pred.dtype))
        return ops.where(ops.all(known, axis=(1, 2)), loss, float("nan"))

    def of_images(self, truth, probabilities, labels, counts):
        """Returns the loss of each image, `[n]`.

        Args:
            truth: One-hot rows `[n, h, w, k]`; they are empty where a pixel does not count.
            probabilities: `[n, h, w, k]`.
            labels: int32 `[n, h, w]`.
            counts: 1 where a pixel counts and 0 elsewhere, `[n, h, w]`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement of_images")

    def get_config(self):
        return {**super().get_config(), "class_weights": self.class_weights, "ignore": self.ignore}


@keras.saving.register_keras_serializable("zoo")
class PixelCrossentropy(PixelLoss):
    """The mean cross-entropy of the pixels of an image; with `gamma`, easy pixels count less.

    Weights of classes become a map of weights of pixels (`pixel_weights`), and the mean is over all pixels that count.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4, over the classes of a softmax.

    Args:
        gamma: Exponent of the focal loss, 0 or more: the larger it is, the less a pixel counts whose class already has
            a high probability. 0, the default, gives plain cross-entropy.
        class_weights: How much each class counts. By default all count the same.
        ignore: The label of pixels that do not count. Defaults to 255.

    Raises:
        ValueError: gamma or a weight is negative.

    Example:

    >>> loss = PixelCrossentropy()
    >>> round(float(loss([[[0, 255]]], [[[[0.5, 0.5], [0.1, 0.9]]]])), 4)
    0.6931
    """

    def __init__(
        self,
        gamma: float = 0.0,
        class_weights: Sequence[float] | None = None,
        *,
        ignore: int = IGNORE,
        reduction: str = "sum_over_batch_size",
        name: str = "pixel_crossentropy",
    ):
        super().__init__(class_weights, ignore=ignore, reduction=reduction, name=name)
        if gamma < 0:
            raise ValueError(f"gamma is 0 or more, got {gamma}")
        self.gamma = gamma

    def of_images(self, truth, probabilities, labels, counts):
        right = ops.sum(truth * probabilities, axis=-1)
        epsilon = keras.config.epsilon()
        loss = -ops.log(ops.clip(right, epsilon, 1.0)) * counts
        if self.gamma:
            loss = loss * ops.power(ops.clip(1 - right, epsilon, 1.0), self.gamma)
        if self.class_weights is not None:
            loss = loss * ops.cast(pixel_weights(labels, self.class_weights, ignore=self.ignore), loss.dtype)
        return ops.sum(loss, axis=(1, 2)) / ops.maximum(ops.sum(counts, axis=(1, 2)), 1)

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma}


@keras.saving.register_keras_serializable("zoo")
class TverskyLoss(PixelLoss):
    """One minus Tversky's index, the mean over the classes that occur in an image.

    The index of a class is `tp / (tp + alpha fp + beta fn)`, with sums of probabilities in place of numbers of pixels.
    A larger beta finds more of what is thin or small, at the price of more pixels that are not right.

    Source: Salehi et al. 2017, "Tversky Loss Function for Image Segmentation Using 3D Fully Convolutional Deep
    Networks", equation 3.

    Args:
        alpha: How much a pixel counts that is predicted and not there. Defaults to 0.5.
        beta: How much a pixel counts that is there and not predicted. Defaults to 0.5.
        class_weights: How much each class counts in the mean. By default all count the same.
        ignore: The label of pixels that do not count. Defaults to 255.

    Raises:
        ValueError: A number is negative.

    Example:

    >>> round(float(TverskyLoss(0.3, 0.7)([[[0, 1]]], [[[[1.0, 0.0], [0.5, 0.5]]]])), 4)
    0.2711
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        class_weights: Sequence[float] | None = None,
        *,
        ignore: int = IGNORE,
        reduction: str = "sum_over_batch_size",
        name: str = "tversky",
    ):
        super().__init__(class_weights, ignore=ignore, reduction=reduction, name=name)
        if min(alpha, beta) < 0:
            raise ValueError(f"alpha and beta are 0 or more, got alpha={alpha} and beta={beta}")
        self.alpha, self.beta = alpha, beta

    def of_images(self, truth, probabilities, labels, counts):
        there = ops.sum(truth, axis=(1, 2))  # [n, k], as all that follows
        predicted = ops.sum(probabilities * counts[..., None], axis=(1, 2))
        both = ops.sum(truth * probabilities, axis=(1, 2))
        missed, added = there - both, predicted - both
        index = both / ops.maximum(both + self.alpha * added + self.beta * missed, keras.config.epsilon())
        weights = ops.cast(there > 0, index.dtype)
        if self.class_weights is not None:
            weights = weights * ops.convert_to_tensor(self.class_weights, dtype=index.dtype)
        total = ops.sum(weights, axis=-1)
        return ops.sum(weights * (1 - index), axis=-1) / ops.where(total > 0, total, 1.0)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}


@keras.saving.register_keras_serializable("zoo")
class DiceLoss(TverskyLoss):
    """One minus the Dice coefficient, the mean over the classes that occur in an image.

    It does not grow with the size of a class, so that small and thin ones count as much as the background.

    Source: Milletari et al. 2016, "V-Net", section 3, without the squares.

    Args:
        class_weights: How much each class counts in the mean. By default all count the same.
        ignore: The label of pixels that do not count. Defaults to 255.

    Example:

    >>> float(DiceLoss()([[[0, 1, 255]]], [[[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]]]))
    0.0
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        *,
        ignore: int = IGNORE,
        reduction: str = "sum_over_batch_size",
        name: str = "dice",
    ):
        super().__init__(0.5, 0.5, class_weights, ignore=ignore, reduction=reduction, name=name)

    def get_config(self):
        return {name: value for name, value in super().get_config().items() if name not in ("alpha", "beta")}


@keras.saving.register_keras_serializable("zoo")
class CombinedLoss(keras.losses.Loss):
    """Several losses added up, such as cross-entropy and Dice.

    Args:
        losses: The losses.
        weights: How much each of them counts. By default each counts 1.
        reduction: Reduction over the images, as every Keras loss has it. Defaults to "sum_over_batch_size".
        name: Name of the loss. Defaults to "combined".

    Raises:
        ValueError: There are no losses, or not as many weights.

    Example:

    >>> loss = CombinedLoss([PixelCrossentropy(), DiceLoss()], weights=(1.0, 0.5))
    >>> round(float(loss([[[0]]], [[[[0.5, 0.5]]]])), 4)
    0.8598
    """

    def __init__(
        self,
        losses: Sequence[Any],
        weights: Sequence[float] | None = None,
        *,
        reduction: str = "sum_over_batch_size",
        name: str = "combined",
    ):
        super().__init__(name=name, reduction=reduction)
        self.losses = [keras.saving.deserialize_keras_object(one) if isinstance(one, dict) else one for one in losses]
        self.weights = [1.0] * len(self.losses) if weights is None else [float(weight) for weight in weights]
        if not self.losses or len(self.weights) != len(self.losses):
            raise ValueError(f"expected a weight for each loss, got {len(self.losses)} and {len(self.weights)}")

    def call(self, y_true, y_pred):
        parts = zip(self.weights, self.losses, strict=True)
        return sum(weight * loss.call(y_true, y_pred) for weight, loss in parts)

    def get_config(self):
        losses = [keras.saving.serialize_keras_object(loss) for loss in self.losses]
        return {**super().get_config(), "losses": losses, "weights": self.weights}
