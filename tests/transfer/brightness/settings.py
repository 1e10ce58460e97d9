"""The settings of the toy task."""

from dataclasses import dataclass

from transfer.tasks.settings import Settings, setting

__all__ = ["Brightness"]


@dataclass(frozen=True, kw_only=True)
class Brightness(Settings):
    """What the toy task can be asked for."""

    unit: float = setting(255.0, "What the brightest pixel is called.", low=0, above=True)
