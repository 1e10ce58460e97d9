"""The settings of a run: each of them is spelled once, as a field of a frozen dataclass.

The options of `zoo fit`, their help and defaults, `config.json`, `--config`, `--resume` and the call
`transfer.fit("photos", "run", transfer.Detect(epochs=20))` are all made from these fields. `Settings` has what all
tasks share. A task's own class inherits from it, changes defaults with `default`, and adds fields of its own.
"""

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from numbers import Integral
from types import NoneType, UnionType
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from transfer.python_values import as_python

__all__ = ["Setting", "Settings", "default", "read_list", "read_part", "read_size", "setting", "settings_of"]

Part = str | int | float | tuple[str | int | float, ...]
Size = int | tuple[int, int]


@dataclass(frozen=True)
class Setting:
    """What is known about one setting besides its type and its default.

    Attributes:
        help: What it does, as one sentence for `zoo fit --help`.
        choices: The values that it takes; empty where any value of its type will do.
        low: The smallest value, or None.
        high: The largest value, or None.
        above: Whether `low` itself is excluded.
        below: Whether `high` itself is excluded.
        advanced: Whether it belongs to the options that nobody needs on the first day.
        metavar: What `--help` shows as its value, where the type's name says too little.
    """

    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False
    advanced: bool = False
    metavar: str | None = None

    def check(self, name: str, value: Any) -> None:
        """Raises a ValueError for a value that the setting does not take."""
        if value is None:
            return
        if self.choices and value not in self.choices:
            raise ValueError(f"{name} is one of {', '.join(self.choices)}; got {value!r}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        too_low = self.low is not None and not (value > self.low if self.above else value >= self.low)
        too_high = self.high is not None and not (value < self.high if self.below else value <= self.high)
        if too_low or too_high:
            raise ValueError(f"{name} has to be {self.range_in_words()}; got {value}")

    def range_in_words(self) -> str:
        """Returns the range as people say it.

        >>> Setting("", low=0, above=True).range_in_words(), Setting("", low=0, high=1).range_in_words()
        ('above 0', 'at least 0 and at most 1')
        """
        low = None if self.low is None else f"{'above' if self.above else 'at least'} {self.low:g}"
        high = None if self.high is None else f"{'below' if self.below else 'at most'} {self.high:g}"
        return " and ".join(words for words in (low, high) if words)


def setting(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
    above: bool = False,
    below: bool = False,
    advanced: bool = False,
    metavar: str | None = None,
) -> Any:
    """Makes the field of a setting; see `Setting` for the arguments."""
    facts = Setting(help, tuple(choices), low, high, above, below, advanced, metavar)
    return field(default=default, metadata={"setting": facts})


def default(name: str, value: Any, *, of: type | None = None, help: str | None = None) -> Any:
    """Makes the field of a setting that another class has, with another default.

    Args:
        name: The name of the setting.
        value: The new default.
        of: The class that has it; `Settings` unless given.
        help: Other words for what it does here.
    """
    facts = settings_of(of or Settings)[name]
    return field(default=value, metadata={"setting": facts if help is None else replace(facts, help=help)})


def settings_of(kind: type) -> dict[str, Setting]:
    """Returns what is known about the settings of a class, by name, in their order."""
    return {f.name: f.metadata["setting"] for f in fields(kind)}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all tasks can be asked for. Objects of the tasks' own classes are what `transfer.fit` takes.

    Raises:
        ValueError: A value that a setting does not take.
    """

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    # Common options
    backbone: str = setting("efficientnet_lite0", "The pretrained network to start from; see `zoo models`.")
    epochs: int = setting(10, "Number of epochs that train the head and the top of the backbone.", low=0)
    head_epochs: int = setting(3, "Number of epochs that train the new head alone, before that.", low=0)
    fast: bool = setting(
        False,
        "Whether to stop as soon as the head is solved, on photos without random changes.",
    )
    unfreeze: Part = setting(
        0.3,
        "The top of the backbone that trains: none, all, a level (c4), a layer by its name or its index (56), or a "
        "share of the layers (0.3); or several of these for as many phases: c5,c4.",
        metavar="PART",
    )
    learning_rate: float = setting(1e-4, "Learning rate of the head and that top.", low=0, above=True)
    head_learning_rate: float = setting(1e-3, "Learning rate of the head alone.", low=0, above=True)
    image_size: Size | None = setting(
        None, "Size of the network's images in pixels, such as 224 or 288x384. By default the task chooses.",
        metavar="PIXELS",
    )  # fmt: skip
    batch_size: int = setting(32, "Number of images in a training step.", low=1)
    augment: str = setting("light", "Random changes of training images.", choices=("none", "light", "strong"))
    seed: int = setting(0, "Seed of everything that is drawn at random.")
    valid: float = setting(
        0.15, "Share of the images for validation, if none are set apart.", low=0, high=1, below=True
    )
    test: float = setting(0.15, "Share of the images for the final test, if none are set apart.", low=0, high=1,
                          below=True)  # fmt: skip
    exclude: str | None = setting(
        None, "A list of files to leave out, as `zoo audit --exclude-to` writes it.", metavar="LIST"
    )

    # Options that nobody needs on the first day
    layout: str | None = setting(None, "How annotations are stored; it is recognised unless given.", advanced=True)
    outside: bool = setting(
        False, "Whether annotations may name files outside of the folder of the data.", advanced=True
    )
    weights: str | None = setting(
        "imagenet", "Weights of the backbone: imagenet, none for random ones, or a file.", advanced=True
    )
    head: str = setting(
        "auto",
        "How the head is found before the backbone trains: trained, in head_epochs; solved, exactly and at once, which "
        "takes a linear head; or auto, which solves it if it can and unless another optimizer, loss or learning rate "
        "of the head is asked for.",
        choices=("auto", "solved", "trained"),
        advanced=True,
    )
    optimizer: str = setting("adam", "The optimizer.", choices=("adam", "sgd"), advanced=True)
    schedule: str = setting(
        "constant", "Course of the learning rate in each phase.", choices=("constant", "cosine"), advanced=True
    )
    warm_up: float = setting(
        0.0, "Share of each phase over which the learning rate rises from 0.", low=0, high=1, below=True, advanced=True
    )
    layer_decay: float = setting(
        1.0, "Factor on the learning rate for each level below the head.", low=0, above=True, high=1, advanced=True
    )
    ema: float | None = setting(
        0.0, "Momentum of averaged weights, such as 0.99; 0 averages nothing.", low=0, high=1, below=True, advanced=True
    )
    accumulate: int = setting(1, "Number of batches whose gradients make one step.", low=1, advanced=True)
    weight_decay: float = setting(
        0.0, "Share by which weights shrink in each step, times the learning rate.", low=0, advanced=True
    )
    momentum: float = setting(0.9, "Momentum of the optimizer sgd.", low=0, high=1, below=True, advanced=True)
    clip_norm: float | None = setting(
        None, "The largest norm that the gradient of a weight may have.", low=0, above=True, advanced=True
    )
    batch_norms: str = setting(
        "frozen",
        "Statistics of the backbone's batch norms: frozen, or re-estimated once on your photos.",
        choices=("frozen", "re-estimated"),
        advanced=True,
    )
    patience: int | None = setting(
        None, "Number of epochs without a better one after which a phase ends.", low=1, advanced=True
    )
    precision: str = setting(
        "float32", "Number format while training.", choices=("float32", "mixed_bfloat16"), advanced=True
    )
    memory: str | None = setting(
        None, "Memory that training may take, such as '4 GB'. By default it takes what is free.", advanced=True
    )
    formats: tuple[str, ...] = setting(
        ("saved_model",),
        "Formats that the model is exported to besides model.keras: saved_model, onnx, openvino, litert; or none.",
        advanced=True,
        metavar="NAMES",
    )
    audit: bool = setting(True, "Whether to look for errors in the data before training.", advanced=True)
    cache: bool = setting(True, "Whether to compute frozen layers once for each image and keep the result.",
                          advanced=True)  # fmt: skip

    def __post_init__(self) -> None:
        for f in fields(self):
            value = as_python(getattr(self, f.name))
            object.__setattr__(self, f.name, os.fspath(value) if isinstance(value, os.PathLike) else value)
        object.__setattr__(self, "unfreeze", read_part(self.unfreeze))
        object.__setattr__(self, "image_size", read_size(self.image_size))
        for name in ("weights", "exclude", "memory"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None or value == "none" else str(value))
        others = (name for name in read_list(self.formats) if name not in ("none", "keras"))
        object.__setattr__(self, "formats", tuple(others))
        kind: Any = type(self)
        types = _annotations(kind)
        for name, facts in settings_of(kind).items():
            if isinstance(self.__dataclass_fields__[name].default, tuple):
                object.__setattr__(self, name, read_list(getattr(self, name)))
            check_type(name, getattr(self, name), types[name])
            facts.check(name, getattr(self, name))

    def as_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON can hold them."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Makes the settings that `as_dict` described. Settings that the document lacks have their defaults.

        Raises:
            ValueError: The document has settings that this task does not know.
        """
        known = {f.name for f in fields(cls)}
        unknown = [name for name in document if name not in known]
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)} are not settings of {cls.__name__}, which knows {', '.join(sorted(known))}"
            )
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in document.items()}
        return cls(**values)

    @classmethod
    def from_recipe(cls, recipe: str, given: Mapping[str, Any]) -> Self:
        """Makes the settings of a recipe. What is given besides always wins, even where it equals a default.

        Raises:
            ValueError: This task has no such recipe.
        """
        if recipe not in cls.recipes:
            known = ", ".join(cls.recipes) or "none"
            raise ValueError(f"{cls.__name__} has no recipe {recipe!r}; it has {known}")
        return cls.from_dict({**cls.recipes[recipe], **given})

    def changed(self) -> dict[str, Any]:
        """Returns the settings that differ from their defaults, by name."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.default is not MISSING and getattr(self, f.name) != f.default
        }


KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@cache
def _annotations(kind: Any) -> dict[str, Any]:
    """Returns the types of a class's fields, by name."""
    return get_type_hints(kind)


def check_type(name: str, value: Any, annotation: Any) -> None:
    """Checks that a value is of the type that its field has. A whole number will do where a number is wanted.

    Args:
        name: The name of the setting.
        value: Its value.
        annotation: The type of the field: `int`, `float`, `bool`, `str`, a tuple of texts, or one of them or None.
            Other types are not checked here, since functions of their own read them.

    Raises:
        ValueError: It is of another type, or a number that is not finite.

    >>> check_type("epochs", "10", int)
    Traceback (most recent call last):
    ValueError: epochs has to be a whole number; got '10'
    """
    allowed = set(get_args(annotation)) if isinstance(annotation, UnionType) else {annotation}
    if value is None and NoneType in allowed:
        return
    if get_origin(annotation) is tuple:
        if not all(isinstance(one, str) for one in value):
            raise ValueError(f"{name} has to be a list of texts; got {value!r}")
        return
    kinds = [kind for kind in allowed if kind is not NoneType]
    if not all(kind in KINDS for kind in kinds):
        return
    fits = type(value) in kinds or (float in kinds and type(value) is int)
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{name} has to be {' or '.join(KINDS[kind] for kind in kinds)}; got {value!r}")


def read_size(size: Any) -> Size | None:
    """Reads a size of images as people write it: one number for a square, or height x width.

    Raises:
        ValueError: The text is neither one number nor two, or a number is below 8.

    >>> read_size("288x384"), read_size(320), read_size("64")
    ((288, 384), 320, 64)
    """
    if size is None:
        return None
    try:
        numbers = str(size).lower().split("x") if isinstance(size, Integral | str) else list(size)
        sides = tuple(int(number) for number in numbers)
        if len(sides) not in (1, 2) or min(sides) < 8:
            raise ValueError
    except (ValueError, TypeError):
        raise ValueError(
            "the image size is one number of pixels, 8 or more, or height x width as in 288x384; "
            f"got image_size={size!r}"
        ) from None
    return sides[0] if len(sides) == 1 else sides  # type: ignore[return-value]


def read_list(value: str | Sequence[str]) -> tuple[str, ...]:
    """Reads names that stand behind each other, with commas between them where they are one text.

    Raises:
        ValueError: They are not names.

    >>> read_list("species, age")
    ('species', 'age')
    """
    pieces = value.split(",") if isinstance(value, str) else value
    if not isinstance(pieces, list | tuple) or not all(isinstance(piece, str) for piece in pieces):
        raise ValueError(f"expected names, as one text with commas between them or as a list; got {value!r}")
    return tuple(piece.strip() for piece in pieces if piece.strip())


def read_part(part: Any) -> Part:
    """Reads which part of a backbone trains.

    An integer is the index of a layer and a float is a fraction of the layers, also where they are written as text, as
    on a command line.

    >>> read_part("0.3"), read_part("56"), read_part("c5,c4")
    (0.3, 56, ('c5', 'c4'))
    """
    if isinstance(part, str) and "," in part:
        part = tuple(piece.strip() for piece in part.split(","))
    if isinstance(part, list | tuple):
        return tuple(read_part(piece) for piece in part)  # type: ignore[misc]
    if isinstance(part, Integral) and not isinstance(part, bool):
        return int(part)
    for number in (int, float) if isinstance(part, str) else (float,):
        with contextlib.suppress(TypeError, ValueError):
            return number(part)
    return part
