"""Inception modules: branches of convolutions side by side on one input."""

import keras

from zoo.blocks.convolution import conv_bn, conv_relu

__all__ = ["inception_module", "parallel"]


def parallel(x, *branches, conv=conv_bn, name: str):
    """Applies several branches to one input, and concatenates their outputs along the channels.

    A branch is a sequence of steps. A step is a tuple (operation, size, strides, padding), whose last two entries can
    be left out. The operation is the number of filters of a convolution, or "max" or "average" for a pooling. The
    strides default to 1, and the padding defaults to "same" at stride 1 and to "valid" at larger strides. A step
    ("fork", branches) splits its branch into several branches. The layers of step 2 of branch 1 of a module "mixed3a"
    have the prefix "mixed3a_1_2".

    Args:
        x: Feature map `[n, h, w, c]`.
        branches: Sequences of steps.
        conv: Function that adds a convolution: `conv_bn`, `conv_relu`, or a partial of one. Defaults to `conv_bn`.
        name: Name of the concatenating layer, and prefix of the names of all other layers.

    Returns:
        Feature map whose number of channels is the sum of those of the branches. Its height and width are those that
        the branches give, which must be equal.

    Example:

    >>> x = keras.Input((7, 9, 16))
    >>> parallel(x, [(4, 1)], [(8, 1), (12, (3, 1)), (12, (1, 3))], [("average", 3), (6, 1)], name="mixed").shape
    (None, 7, 9, 22)
    >>> parallel(x, [(4, 3, 2)], [("max", 3, 2)], name="reduction").shape
    (None, 3, 4, 20)
    """
    pools = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}
    ends = []
    for i, branch in enumerate(branches, 1):
        end = x
        for j, (operation, size, *rest) in enumerate(branch, 1):
            strides = rest[0] if rest else 1
            padding = rest[1] if len(rest) > 1 else ("same" if strides == 1 else "valid")
            step = f"{name}_{i}_{j}"
            if operation in pools:
                end = pools[operation](size, strides=strides, padding=padding, name=f"{step}_pool")(end)
            elif operation == "fork":
                end = parallel(end, *size, conv=conv, name=step)
            else:
                end = conv(end, operation, size, strides=strides, padding=padding, name=step)
        ends.append(end)
    return keras.layers.Concatenate(name=name)(ends)


def inception_module(x, filters, *, kernel_sizes=(3, 5), batch_norm: bool = False, name: str):
    """Applies convolutions of three sizes and a max pooling side by side.

    1x1 convolutions before the larger ones and after the pooling keep the computation cheap.

    Source: Szegedy et al. 2015, "Going Deeper with Convolutions", figure 2b and the columns of table 1.

    Args:
        x: Feature map `[n, h, w, c]`.
        filters: Six numbers of filters: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and pool projection.
        kernel_sizes: Sizes of the kernels of the two larger convolutions. Defaults to 3 and 5.
        batch_norm: Whether each convolution has a batch norm in place of a bias. Defaults to False.
        name: Name of the concatenating layer, and prefix of the names of all other layers.

    Returns:
        Feature map `[n, h, w, 1x1 + 3x3 + 5x5 + pool projection]`.

    Raises:
        ValueError: `filters` does not have six numbers.

    >>> x = keras.Input((7, 9, 192))
    >>> inception_module(x, (64, 96, 128, 16, 32, 32), name="inception3a").shape
    (None, 7, 9, 256)
    """
    if len(filters) != 6:
        raise ValueError(
            "inception_module needs six numbers of filters (1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection), "
            f"got {len(filters)}: {tuple(filters)}"
        )
    one, reduce_three, three, reduce_five, five, projection = filters
    return parallel(
        x,
        [(one, 1)],
        [(reduce_three, 1), (three, kernel_sizes[0])],
        [(reduce_five, 1), (five, kernel_sizes[1])],
        [("max", 3), (projection, 1)],
        conv=conv_bn if batch_norm else conv_relu,
        name=name,
    )
