"""KerasCV's networks as backbones, each from a configuration that is written out here, so that nothing is downloaded.

KerasCV's own named backbones reach for the network even where no weights are asked for; its generic classes with a
configuration do not. The table (`transfer.models.backbone_tables.KERAS_CV`) has the networks that are one graph of
Keras' own layers. CSPDarkNet, EfficientNetV2 and MobileNetV3 have layers of KerasCV's own: a model file with them
cannot be read without KerasCV, and freezing cannot hold the batch norms inside of them. The zoo has flat networks of
these families.
"""

import keras

from transfer.models.backbone_tables import KERAS_CV
from transfer.models.normalisation import normalising_copy

__all__ = ["build_configured"]

VALUES = "unit"  # All of KerasCV's networks were trained on 0..1.


def build_configured(name: str, shape: tuple[int, int, int], weights: str | None) -> keras.Model:
    """Builds a network from images in 0..255 to its last feature map, flat and of Keras' own layers alone.

    Args:
        name: One of `KERAS_CV`.
        shape: Height, width and channels of the images.
        weights: None for random weights, or the path of a `.weights.h5` file of KerasCV's backbone.

    Raises:
        FileNotFoundError: Other weights were asked for, or the file does not exist.
        ModuleNotFoundError: KerasCV is not installed.

    >>> build_configured("resnet18", (64, 96, 3), None).output_shape
    (None, 2, 3, 512)
    """
    if weights == "imagenet":
        raise FileNotFoundError(
            f"keras_cv:{name} is built from a configuration, and comes without weights: give weights=None (`zoo fit` "
            "takes a backbone with weights, such as efficientnet_lite0), or the path of a .weights.h5 file of KerasCV's"
        )
    try:
        import keras_cv
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is not installed, and keras_cv:{name} is of it: pip install keras-cv"
        ) from error
    row = KERAS_CV[name]
    original = getattr(keras_cv.models, row.backbone)(
        **row.configuration, include_rescaling=False, input_shape=(*shape[:2], 3)
    )
    if weights is not None:
        original.load_weights(weights)
    return normalising_copy(original, VALUES, shape, name=name, random=weights is None)
