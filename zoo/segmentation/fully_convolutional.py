"""FCN-32s, FCN-16s and FCN-8s: classifiers whose maps of scores are enlarged to the size of the image.

Long, Shelhamer & Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation": the networks and the stages of
their training in section 4.2 and figure 3, bilinear interpolation in section 3.3. On a VGG-16, as published:
`fcn(convolutional_classifier(vgg16), 21, stride=8, skips=("block4_pool", "block3_pool"))`.

Each finer network is started from the trained coarser one (`start_from`); its new scores begin at zero, so that it
begins as the network that it was started from. The paper lowers the learning rate to a hundredth at each stage.

Deviation: the first converted layer pads its map ("same"), where the authors pad the image by 100 pixels.
"""

from collections.abc import Sequence

import keras

from zoo.blocks import fcn_head
from zoo.segmentation.maps import check_classes, trunk_maps
from zoo.surgery.conversion import to_fully_convolutional
from zoo.surgery.flattening import flat
from zoo.surgery.graph import Call, Replacement, copied, rebuild
from zoo.surgery.state import copy_state

__all__ = ["STRIDES", "convolutional_classifier", "fcn", "start_from"]

STRIDES = (32, 16, 8)  # of FCN-32s, FCN-16s and FCN-8s


def fcn(
    backbone: keras.Model,
    num_classes: int,
    *,
    stride: int = 8,
    skips: Sequence[str] = ("c4", "c3"),
    dropout: float = 0.0,
    name: str | None = None,
) -> keras.Model:
    """Builds FCN-32s, FCN-16s or FCN-8s on any trunk with maps at strides 8, 16 and 32.

    Args:
        backbone: A functional model from images of any size or of one size. Its layers and weights are shared.
        num_classes: Number of classes, the background included.
        stride: 32, 16 or 8: the stride of the finest map whose scores are added. Defaults to 8.
        skips: The maps at strides 16 and 8, as levels or names of layers; FCN-32s uses none, and FCN-16s the first.
        dropout: Share of the values of the deepest map that are dropped in training. Defaults to 0.
        name: Name of the model. Defaults to "fcn32s", "fcn16s" or "fcn8s".

    Returns:
        A model from images to probabilities, float32 `[n, height, width, num_classes]` at the size of the images.

    Raises:
        ValueError: The stride is another one, there are too few or too many classes, or a map is missing.

    Example:

    >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> fcn(backbone, 5, stride=16).output_shape
    (None, 64, 96, 5)
    """
    check_classes(num_classes)
    if stride not in STRIDES:
        raise ValueError(f"the stride of an FCN is one of {', '.join(map(str, STRIDES))}; got {stride}")
    number = STRIDES.index(stride)
    image, (deepest, *others) = trunk_maps(backbone, ("c5", *skips[:number]))
    outputs = fcn_head(deepest, num_classes, skips=others, image=image, dropout=dropout)
    return keras.Model(image, outputs, name=name or f"fcn{stride}s")


def convolutional_classifier(classifier: keras.Model) -> keras.Model:
    """Returns a classifier without its last layer, its dense layers turned into convolutions, as a trunk for `fcn`.

    The weights are copied. The window of the first dense layer pads the map, which so keeps its size, and poolings
    round sizes up, so that the maps cover images of any size.

    Args:
        classifier: A model with a dense head, such as `zoo.create_model("vgg16")`.

    Returns:
        A model from images `[n, height, width, channels]` of any size to the map of the last hidden layer.

    Raises:
        ValueError: The model has no such head.

    Example:

    >>> image = keras.Input((64, 96, 3))
    >>> x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, strides=32, padding="same")(image))
    >>> hidden = keras.layers.Dense(8, "relu", name="hidden")(x)
    >>> convolutional_classifier(keras.Model(image, keras.layers.Dense(5, name="classes")(hidden))).output_shape
    (None, None, None, 8)
    """
    dense = [layer.name for layer in flat(classifier).layers if isinstance(layer, keras.layers.Dense)]
    model = to_fully_convolutional(classifier)

    def padded(call: Call) -> Replacement | None:
        layer = call.operation
        is_pooling = isinstance(layer, keras.layers.MaxPooling2D | keras.layers.AveragePooling2D)
        return (copied(layer, padding="same"), None) if layer.name in dense or is_pooling else None

    model = rebuild(model, padded, input_shape=(None, None, model.input_shape[-1]))
    return keras.Model(model.input, model.get_layer(dense[-1]).input, name=f"{classifier.name}_convolutional")


def start_from(model: keras.Model, trained: keras.Model) -> list[str]:
    """Gives a network the weights of a trained coarser one, wherever both have the same layer.

    Layers are the same that have the same name, and weights of the same shapes; scores that the coarser network does
    not have stay at zero.

    Args:
        model: The network, for example FCN-8s; it is changed.
        trained: The trained one, for example FCN-16s on a trunk of the same kind.

    Returns:
        The names of the layers whose weights were copied.

    Raises:
        ValueError: There are none.

    Example:

    >>> backbone = keras.applications.MobileNetV2((64, 96, 3), weights=None, include_top=False, alpha=0.35)
    >>> start_from(fcn(backbone, 5, stride=8), fcn(backbone, 5, stride=16))[-2:]
    ['fcn_up1', 'fcn_score1']
    """
    own = {layer.name: layer for layer in model.layers if layer.weights}
    copied_names = []
    for layer in trained.layers:
        target = own.get(layer.name)
        shapes = [weight.shape for weight in layer.weights]
        if target is not None and shapes == [weight.shape for weight in target.weights]:
            copy_state(layer, target)
            copied_names.append(layer.name)
    if not copied_names:
        raise ValueError(f"{model.name} and {trained.name} have no layer of the same name and shapes in common")
    return copied_names
