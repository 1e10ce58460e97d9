"""Re-estimating batch norms on the data that a model is going to see."""

import keras
import tensorflow as tf

from transfer.training import freezing

__all__ = ["re_estimate_batch_norms"]


def re_estimate_batch_norms(model: keras.Model, dataset: tf.data.Dataset) -> int:
    """Gives the trunk's batch norms the means and variances of other data, in place; nothing else changes.

    This is worth trying where the images look quite unlike those that the trunk was trained on, such as medical images,
    drawings, and photos taken at night. Each statistic becomes the mean of the batches' statistics, all with the weight
    1, whatever the layer's momentum. Source: Li et al. 2016, "Revisiting Batch Normalization For Practical Domain
    Adaptation", section 3.2; Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3.

    Args:
        model: A flat classifier, or a detector.
        dataset: Batches of images, or of tuples that begin with images. Large batches are better than small ones.

    Returns:
        The number of batch norms in the trunk.

    Example:

    >>> image = keras.Input((8, 12, 3))
    >>> x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, strides=2)(image))
    >>> model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    >>> re_estimate_batch_norms(model, tf.data.Dataset.from_tensor_slices(tf.zeros((4, 8, 12, 3))).batch(2))
    1
    >>> model.get_layer("norm").moving_variance.numpy().tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    layers = freezing.trunk(model)
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return 0
    trunk = keras.Model(model.input, layers[-1].output)
    before = [(norm, norm.trainable, norm.momentum) for norm in norms]
    try:
        for number, batch in enumerate(dataset):
            for norm in norms:
                norm.trainable = True  # Otherwise the moving statistics stay as they are.
                norm.momentum = number / (number + 1)
            trunk(batch[0] if isinstance(batch, tuple) else batch, training=True)
    finally:
        for norm, trainable, momentum in before:
            norm.trainable, norm.momentum = trainable, momentum
    return len(norms)
