"""The listings of the textbook's chapter on convolutional networks, each in this project's words, with its numbers.

The chapter is chapter 14 of Géron 2022, "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow", third
edition. Weights and data that need a network are replaced by those that come with packages; the shapes stay.
"""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

import pipelines
import transfer
import zoo

L = keras.layers


@pytest.fixture(scope="module")
def images():
    """Two photos, a palace and a flower, as the chapter prepares them: 70 x 120 pixels, 0..1."""
    photos = np.stack(load_sample_images().images)
    return np.asarray(pipelines.Rescaling(1 / 255)(L.CenterCrop(height=70, width=120)(photos)))


@pytest.fixture(scope="module")
def trunk():
    """A small trunk in the place of Xception, which cannot be had without a network."""
    return transfer.backbone("efficientnet_lite0", image_size=(64, 96), weights=None)


# Convolutional layers


def test_1_two_photos(images):
    assert images.shape == (2, 70, 120, 3)
    assert 0 <= images.min() < images.max() <= 1


def test_2_a_convolution_without_padding(images):
    conv = L.Conv2D(filters=32, kernel_size=7)
    assert conv(images).shape == (2, 64, 114, 32)
    assert zoo.conv_output_size(70, 7) == 64
    assert zoo.conv_output_size(120, 7) == 114
    kernels, biases = conv.get_weights()
    assert (kernels.shape, biases.shape) == ((7, 7, 3, 32), (32,))


def test_3_a_convolution_with_padding_and_the_default_one(images):
    assert zoo.DefaultConv2D(filters=32, kernel_size=7)(images).shape == (2, 70, 120, 32)
    assert zoo.same_padding(70, 7) == (3, 3)


def test_4_a_convolution_with_a_stride(images):
    assert zoo.DefaultConv2D(filters=32, kernel_size=7, strides=2)(images).shape == (2, 35, 60, 32)
    assert zoo.conv_output_size(70, 7, strides=2, padding="same") == 35


def test_5_the_memory_of_a_layer():
    """200 maps of 150 x 100, RGB, 5 x 5: 15,200 parameters, 225 million products, 12 MB, 1.2 GB for a batch of 100."""
    image = keras.Input((100, 150, 3))
    layer = zoo.cost(keras.Model(image, L.Conv2D(200, 5, padding="same")(image)), batch_size=100).layers[0]
    assert (layer.parameters, layer.multiply_adds, layer.activation_bytes) == (15_200, 225_000_000, 1_200_000_000)


# Pooling layers


def test_6_max_pooling(images):
    pooled = L.MaxPool2D(pool_size=2)(images)
    assert pooled.shape == (2, 35, 60, 3)
    assert float(pooled[0, 0, 0, 0]) == images[0, :2, :2, 0].max()


def test_7_depth_pooling(images):
    maps = np.random.default_rng(0).normal(size=(2, 7, 9, 60)).astype("float32")
    pooled = np.asarray(zoo.DepthPool()(maps))
    assert pooled.shape == (2, 7, 9, 30)
    np.testing.assert_array_equal(pooled, maps.reshape(2, 7, 9, 30, 2).max(-1))


def test_8_global_average_pooling(images):
    np.testing.assert_allclose(L.GlobalAvgPool2D()(images), [[0.643, 0.597, 0.582], [0.763, 0.26, 0.108]], atol=0.001)
    assert np.round(np.asarray(L.GlobalAvgPool2D()(images))[0], 4).tolist() == pytest.approx([0.6434, 0.5972, 0.5825])


# A network


def test_9_the_network_for_fashion_mnist():
    model = zoo.create_model("fashion_cnn", input_shape=(28, 28, 1))
    convolutions = [(layer.filters, layer.kernel_size[0]) for layer in model.layers if isinstance(layer, L.Conv2D)]
    assert convolutions == [(64, 7), (128, 3), (128, 3), (256, 3), (256, 3)]
    assert [layer.units for layer in model.layers if isinstance(layer, L.Dense)] == [128, 64, 10]
    assert model.output_shape == (None, 10)


def test_10_a_residual_unit(images):
    assert zoo.ResidualUnit(64)(np.zeros((1, 14, 18, 64), "float32")).shape == (1, 14, 18, 64)
    assert zoo.ResidualUnit(64, strides=2)(images).shape == (2, 35, 60, 64)


def test_11_resnet_34():
    """64, 128, 256 and 512 filters in 3, 4, 6 and 3 units: 34 layers with weights on the way through."""
    model = zoo.create_model("resnet34", num_classes=10, input_shape=(64, 96, 3))
    convolutions = [layer for layer in model.layers if isinstance(layer, L.Conv2D)]
    shortcuts = [layer for layer in convolutions if layer.kernel_size == (1, 1)]
    assert len(convolutions) - len(shortcuts) + 1 == 34
    units = [layer for layer in model.layers if isinstance(layer, L.Add)]
    assert [layer.output.shape[-1] for layer in units] == [64] * 3 + [128] * 4 + [256] * 6 + [512] * 3


def test_12_squeeze_and_excite(images):
    weighed = zoo.SqueezeExcite(ratio=16)(np.ones((1, 7, 9, 256), "float32"))
    assert weighed.shape == (1, 7, 9, 256)
    assert 0 < float(np.min(weighed)) <= float(np.max(weighed)) < 1


# Pretrained networks


def test_13_resizing_with_a_crop_to_the_aspect_ratio():
    resized = pipelines.Resizing(height=224, width=224, crop_to_aspect_ratio=True)(
        np.stack(load_sample_images().images)
    )
    assert resized.shape == (2, 224, 224, 3)


@pytest.mark.slow
def test_14_a_pretrained_network_names_what_it_sees():
    """The chapter's ResNet-50 says palace, and not vase, flower pot or daisy alone; so does what can be had offline."""
    answers = transfer.load("efficientnet_lite0").predict(list(load_sample_images().images))
    palace, flower = ([one.label for one in answer.predictions[:3]] for answer in answers)
    assert palace[0] == "palace"
    assert "daisy" in flower
    assert all(one.wnid.startswith("n") for one in answers[0].predictions)


# Transfer learning


def test_15_ten_fifteen_seventy_five_percent():
    data = pipelines.read_data("sklearn:digits", test=0.10, valid=0.15)
    shares = [len(part) / len(data) for part in (data.test, data.valid, data.train)]
    np.testing.assert_allclose(shares, [0.10, 0.15, 0.75], atol=0.01)


def test_16_the_pipeline_of_batches():
    data = pipelines.read_data("sklearn:digits")
    batch, labels = next(iter(pipelines.batches(data.train, pipelines.EvaluationCrop((32, 48)), batch_size=32)))
    assert batch.shape == (32, 32, 48, 3)
    assert labels.shape == (32,)


def test_17_augmentation():
    flip, rotation, contrast = pipelines.augmentation("textbook", seed=42)
    kinds = [type(layer).__name__ for layer in (flip, rotation, contrast)]
    assert kinds == ["RandomFlip", "RandomRotation", "RandomContrast"]
    photo = np.full((1, 20, 30, 3), 100, "float32")
    assert rotation(photo).shape == (1, 20, 30, 3)


def test_18_a_new_head_on_a_frozen_trunk(trunk):
    model = transfer.classifier(trunk, 5)
    transfer.freeze(model)
    trained = [layer.name for layer in model.layers if layer.trainable and layer.weights]
    assert len(trained) == 1
    assert model.get_layer(trained[0]).units == 5


def test_19_unfreezing_from_layer_56_on(trunk):
    model = transfer.classifier(trunk, 5)
    transfer.unfreeze(model, 56)
    with_weights = [layer.trainable for layer in model.layers[:56] if layer.weights]
    assert not any(with_weights)
    assert any(layer.trainable for layer in model.layers[56:] if isinstance(layer, L.Conv2D))


def test_20_the_recipe():
    recipe = transfer.Classify.from_recipe("textbook", {})
    assert (recipe.backbone, recipe.image_size) == ("keras:Xception", 224)
    assert (recipe.test, recipe.valid, recipe.augment) == (0.10, 0.15, "textbook")
    assert (recipe.optimizer, recipe.momentum) == ("sgd", 0.9)
    assert (recipe.head_epochs, recipe.head_learning_rate) == (3, 0.1)
    assert (recipe.epochs, recipe.learning_rate) == (10, 0.01)


# Localisation and detection


def test_21_a_class_and_a_box(trunk):
    model = transfer.localiser(trunk, 5)
    assert [tuple(output.shape) for output in model.outputs] == [(None, 5), (None, 4)]
    objective = transfer.Localisation()
    assert (objective.class_weight, objective.box_weight) == (0.8, 0.2)


def test_22_intersection_over_union():
    a, b = np.float32([[0, 0, 10, 10]]), np.float32([[5, 0, 15, 10]])
    assert float(zoo.boxes.iou(a, b)[0]) == pytest.approx(1 / 3)


def test_23_the_best_of_overlapping_boxes_is_kept():
    boxes = np.float32([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]])
    kept = zoo.detection.hard_nms(boxes, np.float32([0.6, 0.9, 0.5]), iou_threshold=0.5)
    assert np.asarray(kept).tolist() == [1, 2]


def test_24_from_dense_to_convolution():
    """A dense layer of 200 on a map of 7 x 7 x 100 is a convolution of 200 with a 7 x 7 kernel; at twice the size, it
    gives 8 x 8 answers."""
    image = keras.Input((224, 224, 3))
    x = L.AveragePooling2D(32)(L.Conv2D(100, 1)(image))
    x = L.Dense(10, name="last")(L.Dense(200, name="hidden")(L.Flatten()(x)))
    model = zoo.to_fully_convolutional(keras.Model(image, x))
    assert tuple(model.get_layer("hidden").kernel.shape) == (7, 7, 100, 200)
    assert model(np.zeros((1, 224, 224, 3), "float32")).shape == (1, 1, 1, 10)
    assert model(np.zeros((1, 448, 448, 3), "float32")).shape == (1, 8, 8, 10)


def test_25_anchor_priors_by_clustering():
    sizes = np.abs(np.random.default_rng(0).normal([20, 40], 2, (50, 2)))
    shapes, overlap = zoo.detection.cluster_shapes(np.concatenate([sizes, sizes[:, ::-1]]), 2)
    assert sorted(np.round(np.asarray(shapes) / 20).astype(int).tolist()) == [[1, 2], [2, 1]]
    assert overlap > 0.8


def test_26_mean_average_precision():
    """The chapter's example: 90% precision at 10% recall, 96% at 20%; the maximum from there on counts."""
    recall, precision = np.array([0.1, 0.2]), np.array([0.90, 0.96])
    interpolated = [max(precision[recall >= least], default=0.0) for least in (0.1, 0.2)]
    assert interpolated == [0.96, 0.96]


# Segmentation


def test_27_upsampling_by_a_transposed_convolution():
    maps = np.random.default_rng(0).normal(size=(1, 7, 9, 4)).astype("float32")
    assert zoo.blocks.transposed_conv(maps, 4, 2, name="up").shape == (1, 14, 18, 4)


def test_28_a_head_of_skips_back_to_the_image_size():
    coarse, fine = keras.Input((2, 3, 8)), keras.Input((4, 6, 4))
    image = keras.Input((64, 96, 3))
    assert zoo.fcn_head(coarse, 5, skips=[fine], image=image).shape == (None, 64, 96, 5)


# Exercises


def test_29_exercise_3_the_memory_of_three_layers():
    image = x = keras.Input((200, 300, 3))
    for filters in (100, 200, 400):
        x = L.Conv2D(filters, 3, strides=2, padding="same")(x)
    model = keras.Model(image, x)
    assert zoo.cost(model).parameters == 903_400
    assert zoo.cost(model, batch_size=50, optimizer="sgd").activation_bytes == 526_000_000


def test_30_exercise_2_why_not_dense_layers():
    """A 100 x 100 image and a first layer of 1,000 neurons: 10 million connections."""
    image = keras.Input((100, 100, 1))
    dense = keras.Model(image, L.Dense(1000, use_bias=False)(L.Flatten()(image)))
    assert zoo.cost(dense).parameters == 10_000_000
