"""What a network's probabilities for every pixel mean: a map of classes at the size of the photo."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from pipelines.annotations.coco_ids import image_ids
from pipelines.colours import class_colour
from pipelines.prepare.class_maps import NOTHING, classes_on_photo, classes_on_photos_in_graph, probabilities_on_photo
from pipelines.prepare.preparation import Preparation
from transfer.contract import Contract, Output, check_names
from transfer.drawing import indexed, paint
from transfer.python_values import read_names
from transfer.tasks.segment.settings import Segment
from transfer.tasks.task import Answer, Arrays, Difference, Metric, Options, Task
from zoo.masks import RunLengths
from zoo.metrics.segmentation import SegmentationScores, segmentation_scores

__all__ = ["BACKGROUNDS", "TASK", "Region", "SegmentContract", "Segmentation", "background_of"]

BACKGROUNDS = ("background", "_background_", "0")  # Names of a first class that is not drawn.


def background_of(names: Sequence[str]) -> int | None:
    """Returns the number of the class that stands for all else and is not drawn, or None.

    >>> background_of(("background", "cell")), background_of(("road", "sky"))
    (0, None)
    """
    return 0 if names[0].lower() in BACKGROUNDS else None


@dataclass(frozen=True)
class Region:
    """The pixels of one class in a photo.

    Attributes:
        index: The number of the class.
        label: The name of the class.
        share: Share of the photo's pixels that have it, in 0..1.
        score: How sure the network is of these pixels: their mean probability, in 0..1.
    """

    index: int
    label: str
    share: float
    score: float


@dataclass(frozen=True, kw_only=True)
class Segmentation(Answer):
    """Which class every pixel of a photo has.

    Attributes:
        mask: The number of the class of each pixel, uint8 `[h, w]`; 255 where there is none.
        regions: The classes that occur, the largest first.
        background: The number of the class that is not drawn, or None.
    """

    mask: np.ndarray | None = None
    regions: tuple[Region, ...] = ()
    background: int | None = None


@dataclass(frozen=True)
class SegmentContract(Contract):
    """What an exported network for semantic segmentation takes and gives.

    Attributes:
        class_names: One name for each class number, in order; the background is one of them where there is one.
        network: The name of the network.
        backbone: The name of its trunk.

    Raises:
        ValueError: There are fewer than 2 or more than 255 classes, or a name is not a line of printable text.

    Example:

    >>> from pipelines import Letterbox
    >>> contract = SegmentContract(("background", "cell"), preparation=Letterbox((96, 128)))
    >>> SegmentContract.from_document(contract.as_document()) == contract
    True
    """

    task: ClassVar[str] = "segment"

    class_names: tuple[str, ...]
    network: str = ""
    backbone: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", read_names(self.class_names))
        check_names(self.class_names)
        if not 2 <= len(self.class_names) <= NOTHING:
            raise ValueError(f"a mask has 2 to {NOTHING} classes, got {len(self.class_names)}")

    @property
    def names(self) -> tuple[str, ...]:
        return self.class_names

    def outputs(self) -> dict[str, Output]:
        height, width = self.preparation.size
        return {
            "mask": Output(
                (None, None), "uint8", meaning="the class of each pixel, 255 for none", made_of=("probabilities",)
            ),
            "scores": Output(
                (None, None),
                meaning="the probability of that class",
                values="probabilities",
                made_of=("probabilities",),
                measured=False,
            ),
            "probabilities": Output(
                (height, width, len(self.class_names)),
                meaning="of the classes, for each pixel of the canvas",
                internal=True,
                values="shares",
                measured=False,
            ),
        }

    def on_photo(
        self,
        outputs: Mapping[str, Any],
        size: Sequence[int],
        *,
        preparation: Preparation | None = None,
        mirrored: bool = False,
    ) -> dict[str, Any]:
        probabilities = outputs["probabilities"]
        shown = probabilities[:, ::-1] if mirrored else probabilities
        mask, scores = classes_on_photo(preparation or self.preparation, shown, size)
        return {**outputs, "mask": mask, "scores": scores}

    def on_photos_in_graph(
        self, outputs: Mapping[str, Any], heights: Any, widths: Any, *, portable: bool = False
    ) -> dict[str, Any]:
        mask, scores = classes_on_photos_in_graph(
            self.preparation, outputs["probabilities"], heights, widths, portable=portable
        )
        return {"mask": mask, "scores": scores}


class SegmentTask(Task):
    """The answering half of semantic segmentation."""

    name = "segment"
    summary = "One class for every pixel of each image, from images with masks."
    settings = Segment
    contract = SegmentContract
    metrics = (
        Metric("miou", "mean IoU"),
        Metric("dice", "mean Dice"),
        Metric("pixel_accuracy", "accuracy of the pixels", percent=True),
    )
    options = frozenset({"threshold"})
    no_views = "the probabilities of every pixel would have to be kept for each view, which is not done yet"
    masks = True

    def answer(
        self, name: str, outputs: Arrays, size: tuple[int, int], contract: SegmentContract, options: Options
    ) -> Segmentation:
        mask, scores = outputs["mask"], outputs["scores"]
        if options.threshold is not None:
            mask = np.where(scores >= options.threshold, mask, NOTHING).astype(np.uint8)
        counts = np.bincount(mask.reshape(-1), minlength=NOTHING + 1)
        sums = np.bincount(mask.reshape(-1), scores.reshape(-1), minlength=NOTHING + 1)
        regions = tuple(
            Region(
                index,
                contract.class_names[index],
                float(counts[index] / mask.size),
                min(1.0, float(sums[index] / counts[index])),
            )
            for index in np.argsort(-counts[:NOTHING], kind="stable").tolist()
            if counts[index]
        )
        return Segmentation(
            name=name, size=size, mask=mask, regions=regions, background=background_of(contract.class_names)
        )

    def no_answer(self, name: str, error: str) -> Segmentation:
        return Segmentation(name=name, error=error)

    def predictions(self, answer: Segmentation) -> list[dict[str, Any]]:
        if answer.mask is None:
            return []
        numbers = np.where(answer.mask == NOTHING, 0, answer.mask.astype(np.int32) + 1)  # 0 is none
        masks = RunLengths.from_instances(numbers).to_coco()
        return [
            {
                "index": region.index,
                "label": region.label,
                "share": region.share,
                "score": region.score,
                "background": region.index == answer.background,
                "mask": masks[region.index],
            }
            for region in answer.regions
        ]

    def columns(self, contract: SegmentContract, options: Options) -> tuple[str, ...]:
        return tuple(f"share of {name}" for name in contract.class_names)

    def rows(self, document: Mapping[str, Any], contract: SegmentContract, options: Options) -> list[dict[str, Any]]:
        shares = {one["label"]: one["share"] for one in document["predictions"]}
        return [{f"share of {name}": shares.get(name, 0.0) for name in contract.class_names}]

    def draw(self, image: np.ndarray, answer: Segmentation) -> Image.Image:
        assert answer.mask is not None  # A photo that cannot be read is not drawn.
        drawn = [region for region in answer.regions if region.index != answer.background]
        colours = {region.index: class_colour(region.index) for region in drawn}
        return paint(image, answer.mask, colours, {region.index: region.label for region in drawn})

    def mask_image(self, answer: Segmentation) -> Image.Image:
        assert answer.mask is not None  # A photo that cannot be read has none.
        return indexed(answer.mask)

    def compare(
        self, expected: Arrays, actual: Arrays, size: tuple[int, int], contract: SegmentContract, tolerance: float
    ) -> Difference:
        """The largest difference of a pixel's probability.

        Where the class is another one, the trained model has to find it as likely as the artifact does, and as its own:
        then both had the choice between two classes. Without scores, it is the share of pixels of another class.
        """
        height, width = size
        mask, own = expected["mask"], np.asarray(actual["mask"])[:height, :width]
        if own.shape != mask.shape:
            return Difference(np.inf, f"it gives a mask of {own.shape}, and the photo has {mask.shape}")
        differs = own != mask
        if "scores" not in actual or "scores" not in expected:
            return Difference(float(differs.mean()))
        scores = np.asarray(actual["scores"], float)[:height, :width]
        differences = np.abs(scores - expected["scores"])
        differences[~np.isfinite(differences)] = np.inf
        differences[differs & ((own == NOTHING) | (mask == NOTHING))] = np.inf
        rows, columns = np.nonzero(differs & np.isfinite(differences))
        if len(rows):
            p = expected["probabilities"]
            p = p if p.shape[:2] == mask.shape else probabilities_on_photo(contract.preparation, p, size)
            gaps = np.abs(p[rows, columns, np.minimum(own[rows, columns], p.shape[2] - 1)] - scores[rows, columns])
            differences[rows, columns] = np.maximum(differences[rows, columns], gaps)
        row, column = np.unravel_index(int(differences.argmax()), differences.shape)
        value = float(differences[row, column])
        if value <= tolerance:
            return Difference(value)
        said, got = (
            f"{_name(contract, one[row, column])} with {values[row, column]:.4g}"
            for one, values in ((mask, expected["scores"]), (own, scores))
        )
        return Difference(
            value, f"it says {got} for the pixel in row {row}, column {column}, and the trained model says {said}"
        )

    def agreement(self, expected: Arrays, actual: Arrays, contract: SegmentContract) -> float:
        """Two networks agree as far as their masks overlap: the mean IoU over the classes that one of them sees."""
        count = len(contract.class_names)
        total = SegmentationScores.none(count)
        for truth, own in zip(expected["mask"], actual["mask"], strict=True):
            total += segmentation_scores(truth, own, num_classes=count, tolerance=None)
        return total.mean_iou

    def named_outputs(self, outputs: Any, contract: SegmentContract) -> dict[str, list[Any]]:
        return {"mask": [photo["mask"].tolist() for photo in outputs]}


def _name(contract: SegmentContract, index: int) -> str:
    return "nothing" if index >= len(contract.class_names) else contract.class_names[index]


def write_coco(path: Path, documents: Iterable[Mapping[str, Any]], contract: SegmentContract, folder: Path) -> None:
    """Writes masks as COCO's tools take results: a list with an entry for each class in each photo, of `image_id`,
    `category_id`, `segmentation` (run lengths), `score`, and the name of the file.

    The ids of images are those of the COCO file near the photos, if there is one (`image_ids`). Categories count from 1
    in the order of the classes; a background has none and no entry, and the class behind it is 1.

    Args:
        path: The file.
        documents: The answers. They are gone through twice, and never held all at once.
        contract: The model's contract.
        folder: The folder of the photos.
    """
    ids = image_ids(folder, [document["path"] for document in documents if "error" not in document])
    first = 1 if background_of(contract.class_names) is None else 0
    results = (
        {
            "image_id": ids[document["path"]],
            "category_id": one["index"] + first,
            "segmentation": one["mask"],
            "score": one["score"],
            "file_name": document["path"],
        }
        for document in documents
        if "error" not in document
        for one in document["predictions"]
        if not one["background"]
    )
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, result in enumerate(results):
            file.write(f"{', ' if number else ''}{json.dumps(result)}")
        file.write("]")


SegmentTask.documents = {".json": write_coco}
TASK = SegmentTask()
