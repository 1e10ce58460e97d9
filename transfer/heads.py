"""What is put on a backbone for a task of one's own."""

import keras

from transfer.backbones import Backbone
from zoo import heads

__all__ = ["classifier"]


def classifier(backbone: Backbone, num_classes: int, *, dropout: float = 0.2, seed: int = 0) -> keras.Model:
    """Global average pooling, dropout and a softmax over the classes, on a backbone's last feature map.

    The model is flat: every layer of the trunk is a layer of it, and shares its weights with the backbone's model.

    Args:
        backbone: what `transfer.backbone` returns.
        num_classes: at least 2.
        dropout: rate before the last layer, in [0, 1).
        seed: of the last layer's first weights, and of the dropout.

    Returns:
        A model from RGB in 0..255, `[n, height, width, 3]`, to probabilities, float32 `[n, num_classes]`.

    Raises:
        ValueError: fewer than two classes, or a rate outside [0, 1).

    Example:

    >>> from transfer.backbones import backbone
    >>> trunk = backbone("efficientnet_lite0", image_size=(64, 96), weights=None)
    >>> classifier(trunk, 5).output_shape
    (None, 5)
    """
    if num_classes < 2:
        raise ValueError(f"a classifier tells at least 2 classes apart, got num_classes={num_classes}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is a rate in [0, 1), got {dropout}")
    trunk = backbone.model
    top = heads.classifier(trunk.output, num_classes, dropout=dropout, seed=seed)
    return keras.Model(trunk.input, top, name=trunk.name)
