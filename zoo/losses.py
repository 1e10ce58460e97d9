"""Losses that Keras lacks. Models that are compiled with them can be saved and loaded."""

import keras

__all__ = ["SparseFocalCrossentropy"]


@keras.saving.register_keras_serializable("zoo")
class SparseFocalCrossentropy(keras.losses.Loss):
    """A cross-entropy of class indices, with label smoothing and a smaller weight for easy examples.

    Keras has label smoothing and focal loss only for one-hot labels. With `gamma=0` and `label_smoothing=0` this loss
    is `keras.losses.SparseCategoricalCrossentropy`.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", section 7 (smoothing);
    Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4, over the classes of a softmax.

    Args:
        gamma: Exponent of the focal loss, 0 or more. The larger it is, the less an example counts whose class already
            has a high probability. The paper uses 2. 0 gives all examples the same weight. Defaults to 0.
        label_smoothing: Share of the probability of the label that is spread evenly over all classes, in [0, 1).
            Defaults to 0.
        reduction: Reduction over the samples, as every Keras loss has it. Defaults to "sum_over_batch_size".
        name: Name of the loss. Defaults to "sparse_focal_crossentropy".

    Input shape:
        Labels `[n]` of an integer type in 0..k-1, and probabilities `[n, k]`. The loss of a label outside 0..k-1 is
        NaN.

    Raises:
        ValueError: gamma is negative, or the label smoothing is outside [0, 1).

    Example:

    >>> loss = SparseFocalCrossentropy(gamma=2.0)
    >>> [round(float(loss([0], [[p, 1 - p]])), 4) for p in (0.5, 0.9)]
    [0.1733, 0.0011]
    """

    def __init__(
        self,
        gamma: float = 0.0,
        label_smoothing: float = 0.0,
        *,
        reduction: str = "sum_over_batch_size",
        name: str = "sparse_focal_crossentropy",
    ):
        if gamma < 0:
            raise ValueError(f"gamma is 0 or more, got {gamma}")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is a share in [0, 1), got {label_smoothing}")
        super().__init__(name=name, reduction=reduction)
        self.gamma, self.label_smoothing = gamma, label_smoothing

    def call(self, y_true, y_pred):
        ops = keras.ops
        y_pred = ops.convert_to_tensor(y_pred)
        num_classes = y_pred.shape[-1]
        labels = ops.cast(y_true, "int32")
        if len(labels.shape) == len(y_pred.shape):  # Keras passes labels [n] on as [n, 1].
            labels = ops.squeeze(labels, -1)
        one_hot = ops.one_hot(labels, num_classes, dtype=y_pred.dtype)
        if self.gamma:
            # Keras' alpha would only scale the loss, because it gives all classes the same weight here.
            loss = keras.losses.categorical_focal_crossentropy(
                one_hot, y_pred, alpha=1.0, gamma=self.gamma, label_smoothing=self.label_smoothing
            )
        else:
            loss = keras.losses.categorical_crossentropy(one_hot, y_pred, label_smoothing=self.label_smoothing)
        # The one-hot row of an unknown label is empty: without this, its loss would be 0, and nobody would notice.
        known = ops.logical_and(labels >= 0, labels < num_classes)
        return ops.where(known, loss, float("nan"))

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma, "label_smoothing": self.label_smoothing}
