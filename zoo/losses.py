"""Losses that Keras lacks; they save and load like its own."""

import keras

__all__ = ["SparseFocalCrossentropy"]


@keras.saving.register_keras_serializable("zoo")
class SparseFocalCrossentropy(keras.losses.Loss):
    """Cross-entropy of class indices, with label smoothing and less weight on what is easy.

    Keras has label smoothing and focal loss for one-hot labels only. With neither this is
    `keras.losses.SparseCategoricalCrossentropy`.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision", section 7 (smoothing);
    Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4, over the classes of a softmax.

    Args:
        gamma: at least 0; the larger, the less examples count whose class already has a high probability. 2 is the
            paper's choice, and 0 weighs all alike.
        label_smoothing: in [0, 1); the share of the label's certainty that is spread evenly over all classes.
        name, reduction: as of every Keras loss.

    Input shape:
        labels int `[n]` in 0..k-1, probabilities float `[n, k]`. A label outside of 0..k-1 is NaN.

    Raises:
        ValueError: a negative gamma, or a smoothing outside [0, 1).

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
        if len(labels.shape) == len(y_pred.shape):  # [n, 1], as Keras hands on labels of [n]
            labels = ops.squeeze(labels, -1)
        one_hot = ops.one_hot(labels, num_classes, dtype=y_pred.dtype)
        if self.gamma:
            # Keras' alpha weighs all classes alike here, so that it would only scale the loss.
            each = keras.losses.categorical_focal_crossentropy(
                one_hot, y_pred, alpha=1.0, gamma=self.gamma, label_smoothing=self.label_smoothing
            )
        else:
            each = keras.losses.categorical_crossentropy(one_hot, y_pred, label_smoothing=self.label_smoothing)
        # A label without a place in the one-hot row would have no loss, and nobody would notice.
        known = ops.logical_and(labels >= 0, labels < num_classes)
        return ops.where(known, each, float("nan"))

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma, "label_smoothing": self.label_smoothing}
