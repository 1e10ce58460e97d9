"""One kernel over a photo, with NumPy alone, and the kernels that courses show."""

import math

import numpy as np

__all__ = ["KERNELS", "apply_kernel"]


def _line(axis: int) -> np.ndarray:
    kernel = np.zeros((7, 7), np.float32)
    kernel[(slice(None), 3) if axis == 0 else (3, slice(None))] = 1
    return kernel


# The kernels of the courses, by name. The 7x7 lines are those of Géron, "Hands-On Machine Learning", chapter 14.
KERNELS: dict[str, np.ndarray] = {
    "identity": np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32),
    "vertical line": _line(0),
    "horizontal line": _line(1),
    "edges": np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], np.float32),
    "vertical edges": np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]], np.float32),
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float32),
    "blur": np.full((3, 3), 1 / 9, np.float32),
    "emboss": np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32),
}


def apply_kernel(
    photo: np.ndarray,
    kernel: np.ndarray | str,
    *,
    strides: int | tuple[int, int] = 1,
    padding: str | int | tuple[int, int] = "valid",
) -> np.ndarray:
    """Moves a kernel over a photo, and returns the weighted sum at each place, for each channel by itself.

    As in all networks, the kernel is not mirrored (cross-correlation). The sums are returned as they are: below 0 or
    above 255, where the kernel makes them so.

    Args:
        photo: The photo, `[h, w]` or `[h, w, c]`, uint8 or float.
        kernel: The weights, `[height, width]`, or the name of one of `zoo.explain.KERNELS`.
        strides: Step of the kernel in pixels, one number or (down, to the right). Defaults to 1.
        padding: "valid" for no padding; "same" for zeros such that the output has ceil(h / strides) rows, as TensorFlow
            lays them: the odd one goes below and to the right; or the number of zeros on each side, one or
            (above and below, left and right). Defaults to "valid".

    Returns:
        float32 `[rows, columns]` or `[rows, columns, c]`.

    Raises:
        ValueError: The photo or the kernel has another shape, the kernel is larger than the padded photo, or an option
            is out of range.

    Example:

    >>> photo = np.array([[0, 0, 9], [0, 0, 9], [0, 0, 9]], "uint8")
    >>> apply_kernel(photo, "vertical edges").tolist()
    [[-27.0]]
    >>> apply_kernel(photo, "identity", strides=2, padding=1).shape
    (2, 2)
    """
    if isinstance(kernel, str):
        if kernel not in KERNELS:
            raise ValueError(f"there is no kernel {kernel!r}; the kernels are {', '.join(KERNELS)}")
        kernel = KERNELS[kernel]
    kernel, photo = np.asarray(kernel, np.float32), np.asarray(photo)
    if photo.ndim not in (2, 3):
        raise ValueError(f"a photo is [h, w] or [h, w, channels], got {photo.shape}: give one photo at a time")
    if kernel.ndim != 2 or not kernel.size:
        raise ValueError(f"a kernel is [height, width], got {kernel.shape}: give the weights of one channel")
    if not np.isfinite(kernel).all():
        raise ValueError("the kernel has weights that are not finite numbers; give finite ones")
    step = _pair(strides, "strides", least=1)
    before, after = _padding(padding, photo.shape[:2], kernel.shape, step)
    rest = [(0, 0)] * (photo.ndim - 2)
    padded = np.pad(photo.astype(np.float32), [*zip(before, after, strict=True), *rest])
    if any(size < own for size, own in zip(padded.shape, kernel.shape, strict=False)):
        raise ValueError(
            f"the kernel of {kernel.shape} is larger than the photo with its padding, {padded.shape[:2]}: take a "
            'smaller kernel or more padding, such as padding="same"'
        )
    rows, columns = ((padded.shape[i] - kernel.shape[i]) // step[i] + 1 for i in range(2))
    total = np.zeros((rows, columns, *photo.shape[2:]), np.float32)
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            if kernel[row, column]:
                down = slice(row, row + (rows - 1) * step[0] + 1, step[0])
                right = slice(column, column + (columns - 1) * step[1] + 1, step[1])
                total += kernel[row, column] * padded[down, right]
    return total


def _padding(padding, size, kernel, step) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the rows and columns of zeros before the photo, and those after it."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        needed = [max((math.ceil(size[i] / step[i]) - 1) * step[i] + kernel[i] - size[i], 0) for i in range(2)]
        before = needed[0] // 2, needed[1] // 2
        return before, (needed[0] - before[0], needed[1] - before[1])
    if isinstance(padding, str):
        raise ValueError(f'padding is "valid", "same" or a number of zeros, got {padding!r}')
    own = _pair(padding, "padding", least=0)
    return own, own


def _pair(value, name: str, *, least: int) -> tuple[int, int]:
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)
    if len(pair) != 2 or any(int(one) != one or one < least for one in pair):
        raise ValueError(f"{name} is a whole number of at least {least}, or two of them, got {value!r}")
    return int(pair[0]), int(pair[1])
