"""Pictures of data: a grid of images with their labels, boxes and masks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.augmenting.resize_policies import ResizePolicy
from pipelines.augmenting.transforms import augment as apply_layers
from pipelines.colours import class_colour
from pipelines.data import Data, Samples, Scene
from pipelines.loading.python_decoding import image_pixels
from pipelines.prepare.crop import EvaluationCrop
from pipelines.prepare.letterbox import FILL

__all__ = ["show"]

_WHITE, _INK = (255, 255, 255), (30, 35, 48)


def show(
    data: Any,
    *,
    count: int = 16,
    columns: int = 4,
    tile: int = 224,
    class_names: Sequence[str] | None = None,
    augment: Sequence[Any] | None = None,
    seed: int = 0,
) -> Image.Image:
    """Draws a grid of images, with their labels above them and their boxes and masks on them.

    Images are drawn as a network is shown them: of an image with a label its central part
    (`pipelines.EvaluationCrop`), an image with boxes or masks whole, with grey around it (`Letterbox`).

    Args:
        data: One of these:

            - `Data`: the grid shows images of the training set, which the seed chooses;
            - `Samples` or a list of `Scene`: the seed chooses among these images;
            - a batch: `(images, labels)`, or a dict of `image` `[n, h, w, 3]` and, if present, `label`, `boxes`,
              `classes`, `mask` (class numbers) and `instances`. The grid shows its first images in their order;
            - a `tf.data.Dataset` of batches: the grid shows the first batch.
        count: Largest number of images. Defaults to 16.
        columns: Number of images in a row. Defaults to 4.
        tile: Width and height of each image in the grid, in pixels. Images are shrunk or enlarged to fit, and boxes
            with them. Defaults to 224.
        class_names: Names for labels and classes that are numbers. Defaults to the names of the data, if it has any.
        augment: Layers, such as those of `pipelines.augmentation`, that are applied to the images at the size of the
            grid, to show what they do.
        seed: Integer that decides the choice of images and the random numbers of `augment`.

    Returns:
        A picture, which notebooks display, and which has the methods `save` and `show`.

    Raises:
        ValueError: There are no images, a number is below 1, or `data` is of an unknown kind.

    Example:

    >>> from pipelines import read_data
    >>> show(read_data("sklearn:digits"), count=6, columns=3, tile=64).size
    (204, 164)
    """
    if min(count, columns, tile) < 1:
        raise ValueError(
            f"show: expected `count`, `columns` and `tile` of 1 or more, received {count}, {columns} and {tile}"
        )
    samples, names = _samples(data, count, seed, EvaluationCrop((tile, tile)))
    if not samples:
        raise ValueError("show: expected at least one image, received none")
    class_names = names if class_names is None else class_names
    fitted = [_fit(sample, tile) for sample in samples]
    if augment:
        fitted = _augmented(fitted, augment, seed)
    pictures = [_draw(sample, class_names) for sample in fitted]
    gap, line = 4, 14
    rows = math.ceil(len(pictures) / columns)
    columns = min(columns, len(pictures))
    grid = Image.new("RGB", (columns * (tile + gap), rows * (tile + line + gap)), _WHITE)
    draw = ImageDraw.Draw(grid)
    for index, (picture, sample) in enumerate(zip(pictures, fitted, strict=True)):
        x, y = index % columns * (tile + gap), index // columns * (tile + line + gap)
        grid.paste(picture, (x, y + line))
        text = _label(sample.get("label"), class_names)
        draw.text((x + 2, y + 1), text[: tile // 6], fill=_INK, font=_font())
    return grid


def _font() -> Any:
    return ImageFont.load_default(11)


def _samples(
    data: Any, count: int, seed: int, crop: EvaluationCrop
) -> tuple[list[dict[str, Any]], Sequence[str] | None]:
    """Returns up to `count` samples, each a dict of arrays, and the names of the classes if the data has them."""
    if isinstance(data, Data):
        samples, _ = _samples(data.train, count, seed, crop)
        return samples, data.class_names
    if isinstance(data, Samples) or (isinstance(data, Sequence) and len(data) and isinstance(data[0], Scene)):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(data))[:count])
        if isinstance(data, Samples):
            images = [crop.on_photo(_in_colour(image_pixels(image))) for image in data.images[chosen]]
            return [{"image": image, "label": data.labels[i]} for image, i in zip(images, chosen, strict=True)], None
        return [_scene(data[index]) for index in chosen], None
    if isinstance(data, Mapping | tuple):
        batch = dict(data) if isinstance(data, Mapping) else {"image": data[0], "label": data[1]}
        arrays = {name: np.asarray(value) for name, value in batch.items()}
        known = ("image", "label", "boxes", "classes", "mask", "instances")
        count = min(count, len(arrays["image"]))
        return [{name: arrays[name][i] for name in known if name in arrays} for i in range(count)], None
    if hasattr(data, "as_numpy_iterator"):
        return _samples(next(iter(data.as_numpy_iterator())), count, seed, crop)
    if isinstance(data, Sequence) and not len(data):
        return [], None
    raise ValueError(
        "show: expected Data, Samples, a list of Scene, a batch or a tf.data.Dataset of batches; received "
        f"{type(data).__name__}"
    )


def _scene(scene: Scene) -> dict[str, Any]:
    sample = {"image": image_pixels(scene.image), "boxes": scene.boxes, "classes": scene.classes}
    if scene.mask is not None:
        sample["mask"] = scene.mask if isinstance(scene.mask, np.ndarray) else scene.mask.read()
    return sample


def _fit(sample: Mapping[str, Any], tile: int) -> dict[str, Any]:
    """Returns the sample at the size of a tile: the image in the middle, on grey."""
    resize = ResizePolicy("pad", size=(tile, tile), pad_value=FILL, min_visible=0.0)
    keep = np.asarray(sample["classes"]) >= 0 if "classes" in sample else slice(None)
    given = {
        name: np.asarray(value)[keep] for name, value in sample.items() if name in ("boxes", "classes", "instances")
    }
    given |= {name: value for name, value in sample.items() if name == "mask"}
    if "mask" in given and np.ndim(given["mask"]) == 3:
        given["mask"] = given["mask"][..., 0]
    resized = resize({"image": _in_colour(sample["image"]), **given})
    return {**sample, **{name: np.asarray(value) for name, value in resized.items() if name in ("image", *given)}}


def _in_colour(image: Any) -> np.ndarray:
    """Returns an image `[h, w, 3]`; one with other channels is shown by its first channel, in grey."""
    image = np.asarray(image)
    return image if image.shape[-1] == 3 else np.repeat(image[..., :1], 3, -1)


def _augmented(samples: Sequence[Mapping[str, Any]], layers: Sequence[Any], seed: int) -> list[dict[str, Any]]:
    results = []
    for number, sample in enumerate(samples):
        batch = {name: value[None] for name, value in sample.items() if name in ("image", "boxes", "classes", "mask")}
        changed = apply_layers(batch, layers, seed + number)
        count = int(changed["num_boxes"][0]) if "num_boxes" in changed else None
        result = {name: np.asarray(changed[name][0]) for name in batch}
        result |= {name: result[name][:count] for name in ("boxes", "classes") if name in result}
        results.append({**{name: sample[name] for name in ("label",) if name in sample}, **result})
    return results


def _draw(sample: Mapping[str, Any], class_names: Sequence[str] | None) -> Image.Image:
    pixels = np.clip(np.asarray(sample["image"], np.float32), 0, 255)
    if "mask" in sample:
        for number in np.unique(sample["mask"]):
            if number not in (0, 255):  # 0 is the background, and 255 is ignored
                _tint(pixels, np.asarray(sample["mask"]) == number, int(number))
    for number, where in enumerate(np.asarray(sample.get("instances", ()), bool)):
        _tint(pixels, where, number + 3)
    picture = Image.fromarray(np.round(pixels).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    boxes = np.asarray(sample.get("boxes", np.zeros([0, 4])))
    classes = np.asarray(sample.get("classes", np.zeros(len(boxes), int)))
    for (x1, y1, x2, y2), number in zip(boxes.tolist(), classes.tolist(), strict=True):
        colour = class_colour(number)
        draw.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), outline=colour, width=2)
        if class_names is not None or "classes" in sample:
            text = _label(number, class_names)
            place = draw.textbbox((x1 + 2, max(y1 - 12, 0)), text, font=_font())
            draw.rectangle(place, fill=colour)
            draw.text(place[:2], text, fill=_INK, font=_font(), anchor="lt")
    return picture


def _tint(pixels: np.ndarray, where: np.ndarray, number: int) -> None:
    """Mixes the colour of a class into the pixels where `where` is true, in place."""
    pixels[where] = 0.5 * pixels[where] + 0.5 * np.array(class_colour(number))


def _label(label: Any, class_names: Sequence[str] | None) -> str:
    """Returns the text for a label: the name of a class, names of several classes with their shares, or a number."""
    if label is None:
        return ""
    values = np.asarray(label)
    if values.ndim == 0:
        return class_names[int(values)] if class_names is not None else f"{values.item():g}"
    named = class_names if class_names is not None and len(class_names) == len(values) else range(len(values))
    shown = [
        f"{name}" if value == 1 else f"{name} {value:.2g}" for name, value in zip(named, values, strict=True) if value
    ]
    return ", ".join(shown)
