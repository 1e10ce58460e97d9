"""The colours in which boxes, masks and objects of different classes are drawn."""

import colorsys

__all__ = ["class_colour"]

_GOLDEN_RATIO = (5**0.5 - 1) / 2
_FIRST_HUE = 0.58  # blue, as a fraction of the circle of hues
_SATURATION, _BRIGHTNESS = 0.75, 1.0  # light enough for dark letters


def class_colour(number: int) -> tuple[int, int, int]:
    """Returns the colour of a class or object: bright, and far from the colours of the numbers just before it.

    Hues that follow each other are the golden angle apart.

    Args:
        number: Number of the class or object, from 0.

    Returns:
        Red, green and blue, each in 0..255.

    Example:

    >>> class_colour(0), class_colour(1)
    ((64, 163, 255), (219, 255, 64))
    """
    hue = (_FIRST_HUE + number * _GOLDEN_RATIO) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, _SATURATION, _BRIGHTNESS)
    return round(255 * red), round(255 * green), round(255 * blue)
