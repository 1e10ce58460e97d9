"""Whether the parts of a data set have objects to learn from and to measure on: for training, and for the audit."""

from pipelines.data import Data

__all__ = ["parts_without_objects"]

_PURPOSES = {"train": "training images have", "valid": "validation images have", "test": "test images have"}


def parts_without_objects(data: Data) -> dict[str, str]:
    """Returns for each part of annotated images that has no usable object a sentence that says so, and why.

    Usable are objects that are neither crowds nor difficult nor smaller than a pixel (`Scene.usable`), and masks.
    Parts without images are not among these.

    >>> from pipelines.data import Scene
    >>> scene = Scene("a.jpg", "a.jpg", (8, 9), boxes=[[1, 2, 5, 6]], classes=[0])
    >>> crowd = Scene("b.jpg", "b.jpg", (8, 9), boxes=[[1, 2, 5, 6]], classes=[0], crowd=[True])
    >>> parts_without_objects(Data(("bee",), (scene,), (crowd,)))
    {'valid': 'the 1 validation images have no objects to measure on (1 object: 1 crowd, 0 difficult, 0 below a pixel)'}
    """
    if data.kind != "boxes":
        return {}
    found = {}
    for name, part in data.splits.items():
        if not len(part) or any(scene.mask is not None or scene.usable.any() for scene in part):
            continue
        total = sum(map(len, part))
        crowd = sum(int(scene.crowd.sum()) for scene in part)
        difficult = sum(int((scene.difficult & ~scene.crowd).sum()) for scene in part)
        tiny = total - crowd - difficult
        why = "there are none at all"
        if total:
            why = f"{total} object{'s' * (total != 1)}: {crowd} crowd, {difficult} difficult, {tiny} below a pixel"
        purpose = "learn from" if name == "train" else "measure on"
        found[name] = f"the {len(part)} {_PURPOSES[name]} no objects to {purpose} ({why})"
    return found
