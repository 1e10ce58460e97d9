"""Classes from a few photos each, by the embeddings of a pretrained backbone; nothing is trained but the last step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from transfer.models.backbones import Backbone, backbone
from transfer.predict.photos import photos_in, pixels_of

__all__ = ["FewShot", "embed", "few_shot"]

METHODS = ("mean", "logistic")
BATCH_SIZE = 32
SHARPNESS = 10.0  # What cosine similarities are multiplied by before the softmax.
Photos = Sequence[Any] | str | Path


@dataclass(frozen=True, eq=False)
class FewShot:
    """A classifier that knows its classes from a few photos.

    Attributes:
        backbone: The backbone, which embeds photos.
        class_names: The names of the classes.
        centre: What is subtracted from each embedding: the mean of the support, float `[d]`.
        weights: The weights of the last step, float `[d, classes]`.
        bias: The bias of the last step, float `[classes]`.
    """

    backbone: Backbone
    class_names: tuple[str, ...]
    centre: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def probabilities(self, photos: Photos) -> np.ndarray:
        """Returns the probability of each class, float `[n, classes]`.

        Args:
            photos: Photos: paths, encoded files, arrays `[h, w, 3]`, or a folder.
        """
        return self.of_embeddings(embed(self.backbone, photos))

    def predict(self, photos: Photos) -> list[str]:
        """Returns the name of the class of each photo."""
        return [self.class_names[number] for number in self.probabilities(photos).argmax(axis=1)]

    def of_embeddings(self, embeddings: np.ndarray) -> np.ndarray:
        """Returns the probability of each class for embeddings `[n, d]`, as `embed` gives them."""
        logits = _unit(embeddings - self.centre) @ self.weights + self.bias
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)


def few_shot(trunk: Backbone | str, support: Mapping[str, Photos] | str | Path, *, method: str = "mean") -> FewShot:
    """Makes a classifier from one or a few photos of each class.

    "mean" compares with the mean of each class (Snell et al. 2017, "Prototypical Networks for Few-shot Learning",
    equations 1 and 2), by the cosine of embeddings from which the mean of the support was subtracted (Wang et al. 2019,
    "SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot Learning", section 3). "logistic" fits a
    logistic regression to the same embeddings.

    Args:
        trunk: A backbone, as `transfer.backbone` returns it, or its name.
        support: The photos of each class by its name, or a folder with a folder for each class.
        method: "mean" or "logistic". Defaults to "mean".

    Raises:
        ValueError: There are fewer than two classes, a class has no photo, a photo cannot be read, or the method is
            unknown.

    Example:

        transfer.few_shot("efficientnet_lite0", {"ant": ["a.jpg"], "bee": ["b.jpg"]}).predict(["c.jpg"])
    """
    if method not in METHODS:
        raise ValueError(f"expected a method of {', '.join(METHODS)}, got {method!r}")
    classes = _classes(support)
    trunk = backbone(trunk) if isinstance(trunk, str) else trunk
    embeddings = embed(trunk, [photo for photos in classes.values() for photo in photos])
    labels = np.repeat(np.arange(len(classes)), [len(photos) for photos in classes.values()])
    return from_embeddings(trunk, tuple(classes), embeddings, labels, method=method)


def from_embeddings(
    trunk: Backbone, class_names: tuple[str, ...], embeddings: np.ndarray, labels: np.ndarray, *, method: str = "mean"
) -> FewShot:
    """Makes a classifier from embeddings `[n, d]` of the support and their classes, int `[n]`."""
    # The mean of the classes' means, so that a class with more photos does not draw the centre to it.
    means = np.stack([embeddings[labels == number].mean(axis=0) for number in range(len(class_names))])
    centre = means.mean(axis=0)
    points = _unit(embeddings - centre)
    if method == "mean":
        prototypes = _unit(np.stack([points[labels == number].mean(axis=0) for number in range(len(class_names))]))
        return FewShot(trunk, class_names, centre, SHARPNESS * prototypes.T, np.zeros(len(class_names)))
    fitted = LogisticRegression(C=SHARPNESS, max_iter=1000).fit(points, labels)
    weights, bias = fitted.coef_, fitted.intercept_
    if len(class_names) == 2:  # scikit-learn has one row for two classes.
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return FewShot(trunk, class_names, centre, weights.T, bias)


def embed(trunk: Backbone, photos: Photos) -> np.ndarray:
    """Embeds photos: the last feature map, averaged over all places, at length 1.

    Args:
        trunk: The backbone.
        photos: Photos: paths, encoded files, arrays `[h, w, 3]`, or a folder.

    Returns:
        float32 `[n, d]`.

    Raises:
        ValueError: There are no photos, or one cannot be read.
    """
    photos = photos_in(photos) if isinstance(photos, str | Path) else list(photos)
    if not photos:
        raise ValueError("expected at least one photo, got none")
    parts = []
    for start in range(0, len(photos), BATCH_SIZE):
        crops = [trunk.crop.on_photo(_read(photo)) for photo in photos[start : start + BATCH_SIZE]]
        maps = np.asarray(trunk.model(np.stack(crops).astype(np.float32), training=False), np.float32)
        parts.append(maps.mean(axis=(1, 2)))
    return _unit(np.concatenate(parts))


def _classes(support: Mapping[str, Photos] | str | Path) -> dict[str, list[Any]]:
    """Returns the photos of each class."""
    if isinstance(support, str | Path):
        folder = Path(support)
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}; name one with a folder for each class")
        support = {inner.name: inner for inner in sorted(folder.iterdir()) if inner.is_dir()}
    classes = {
        str(name): photos_in(photos) if isinstance(photos, str | Path) else list(photos)
        for name, photos in support.items()
    }
    if len(classes) < 2:
        known = ", ".join(classes) or "none"
        raise ValueError(f"expected two classes or more, got {known}: add photos of another class")
    empty = [name for name, photos in classes.items() if not photos]
    if empty:
        raise ValueError(f"expected at least one photo of each class, got none of {', '.join(empty)}: add one")
    return classes


def _read(photo: Any) -> np.ndarray:
    try:
        return pixels_of(photo)
    except ValueError as error:
        name = f"{photo} " if isinstance(photo, str | Path) else "a photo "
        raise ValueError(f"{name}{error}") from error


def _unit(rows: np.ndarray) -> np.ndarray:
    """Returns rows at length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
