"""What the learning halves of tasks with labels share: classes, labels, numbers, and several of these at once.

The image is cropped as its backbone wants it, a head stands on the pooled feature map, and `pipelines.batches` makes
the batches.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import Data, augmentation, batches, read_data
from pipelines.loading.batches import epoch_order
from transfer.models.backbones import Backbone, backbone
from transfer.models.embedding import embedding_of
from transfer.probabilities import of_two_classes
from transfer.tasks.learning import Built, Learning
from zoo.surgery.flattening import flat
from zoo.surgery.state import copy_state

__all__ = ["LabelledLearning", "network_of"]


class LabelledLearning(Learning):
    """A learning half whose data are `pipelines.Samples`."""

    @abstractmethod
    def model(self, trunk: Backbone, data: Data, settings: Any) -> keras.Model:
        """Puts the task's head on a trunk."""

    @abstractmethod
    def contract(self, trunk: Backbone, data: Data) -> Any:
        """Returns the contract of such a model."""

    def read(self, spec: str, settings: Any, *, valid: float, test: float, seed: int) -> Data:
        targets = getattr(settings, "targets", ())
        return read_data(spec, kind=self.kind, targets=targets, valid=valid, test=test, seed=seed)

    def build(self, data: Data, settings: Any) -> Built:
        trunk = backbone(settings.backbone, image_size=settings.image_size, weights=settings.weights)
        return Built(self.model(trunk, data, settings), self.contract(trunk, data), trunk.licence)

    def kept(self, built: Built, data: Data, settings: Any) -> keras.Model:
        if settings.precision == "float32":
            return built.model
        trunk = backbone(settings.backbone, image_size=settings.image_size, weights=None)
        model = self.model(trunk, data, settings)
        copy_state(built.model, model)
        return model

    def augmentation(self, data: Data, settings: Any) -> list[keras.layers.Layer]:
        """Returns the layers that change training images."""
        return [] if settings.fast else augmentation(settings.augment, seed=settings.seed)

    def views(self, settings: Any) -> int | None:
        # Without random changes a second view of a photo is the first one again.
        return 1 if settings.augment == "none" or settings.fast else None

    def batches(self, data: Data, settings: Any, built: Built, batch_size: int) -> tuple[Any, Any]:
        crop = built.contract.preparation
        train = batches(
            data.train,
            crop,
            batch_size=batch_size,
            shuffle=True,
            augment=self.augmentation(data, settings),
            seed=settings.seed,
            balance=self.balance(settings),
        )
        return train, batches(data.valid, crop, batch_size=batch_size)

    def order(self, data: Data, settings: Any, epoch: int) -> np.ndarray:
        balance = self.balance(settings)
        return epoch_order(data.train.labels, epoch, shuffle=True, seed=settings.seed, balance=balance)

    def balance(self, settings: Any) -> str | None:
        """Returns how `pipelines.batches` balances classes, or None."""
        return None

    def network(self, model: keras.Model, contract: Any, *, portable: bool) -> Callable[[tf.Tensor], dict[str, Any]]:
        model = flat(model)
        return network_of(model, _public(model.output, contract))

    def called(self, model: keras.Model, contract: Any, images: tf.Tensor) -> dict[str, Any]:
        return _public(model(images, training=False), contract)


def _public(outputs: Any, contract: Any) -> dict[str, Any]:
    """Returns what a model gives by the names that the contract has for it."""
    names = [name for name, output in contract.outputs().items() if not output.internal]
    by_name = outputs if isinstance(outputs, dict) else dict(zip(names, keras.tree.flatten(outputs), strict=True))
    return {
        name: of_two_classes(by_name[name]) if (output.values, output.shape) == ("shares", (2,)) else by_name[name]
        for name, output in contract.outputs().items()
        if not output.internal
    }


def network_of(model: keras.Model, outputs: dict[str, Any]) -> Callable[[tf.Tensor], dict[str, Any]]:
    """Returns the function from images to some outputs of a model and its embedding, in inference mode.

    Args:
        model: The model.
        outputs: Tensors of its graph by the names of the outputs.
    """
    tapped = keras.Model(model.inputs[0], {**outputs, "embedding": embedding_of(model)}, name=f"{model.name}_network")

    def network(images: tf.Tensor) -> dict[str, Any]:
        # training=False is not the default that it seems to be: behind some layers a batch norm would otherwise take
        # the statistics of the photos that happen to share the batch.
        return tapped(images, training=False)

    return network
