"""A tiny backbone with maps at strides 2 to 32, which the tests and the processes that they start register by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import transfer
from transfer.tasks import settings_class

__all__ = ["COMMON", "FORMATS", "RUN_FORMATS", "SIZE", "TINY", "TinyRun", "register", "tiny", "tiny_settings"]

SIZE = 64
FORMATS = ("keras", "saved_model", "onnx", "openvino", "litert")


def tiny(shape: tuple[int, int, int]) -> keras.Model:
    """Stands for a pretrained network: five convolutions with batch norms, the same weights each time."""
    image = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    for i, filters in enumerate((8, 12, 16, 24, 32)):
        init = keras.initializers.HeNormal(seed=i)
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", kernel_initializer=init, use_bias=False)(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    return keras.Model(image, x, name="tiny")


def register() -> None:
    """Gives the network its name, `tiny`; more than once does no harm."""
    if "tiny" not in transfer.list_backbones():
        transfer.register_backbone("tiny", tiny, image_size=SIZE)


COMMON: dict[str, Any] = {"backbone": "tiny", "audit": False, "batch_size": 8, "augment": "none", "formats": "none"}
# Settings with which a tiny run of each task learns something in seconds, and its data.
TINY: dict[str, dict[str, Any]] = {
    "classify": COMMON | {"head_epochs": 12, "epochs": 2, "head_learning_rate": 2e-2},
    "tag": COMMON | {"head_epochs": 6, "epochs": 2, "head_learning_rate": 2e-2, "targets": "labels"},
    "regress": COMMON | {"head_epochs": 20, "epochs": 2, "head_learning_rate": 2e-2, "targets": "brightness"},
    "heads": COMMON
    | {"head_epochs": 30, "epochs": 2, "head_learning_rate": 2e-2, "targets": "colour,brightness,labels"},
    "locate": COMMON | {"head_epochs": 4, "epochs": 2, "head_learning_rate": 1e-2},
    "detect": COMMON | {"epochs": 16, "batch_size": 4, "learning_rate": 3e-3, "flip": "both", "image_size": "64x96",
                        "augment": "light"},
    "segment": COMMON | {"epochs": 10, "batch_size": 4, "learning_rate": 1e-2, "flip": "both", "image_size": "64x96",
                         "crop": 64, "crops": 1, "augment": "light"},
}  # fmt: skip
# The formats of the finished runs that tests share, besides Keras' own.
RUN_FORMATS = dict.fromkeys(TINY, "onnx") | dict.fromkeys(("classify", "detect", "segment"), ",".join(FORMATS[1:]))


@dataclass(frozen=True)
class TinyRun:
    """A finished run on tiny data: not to be changed."""

    task: str
    folder: Path
    data: str
    metrics: dict[str, Any]

    @property
    def images(self) -> Path:
        """A folder with some of its photos."""
        path = Path(self.data)
        return path.parent / "images" if path.suffix == ".csv" else path


def tiny_settings(task: str, **changes: Any) -> Any:
    """The settings of a tiny run, with some changes."""
    return settings_class(task).from_dict({**TINY[task], **changes})
