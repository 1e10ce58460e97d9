"""Branches side by side."""

import keras

from zoo.blocks.convolution import conv_bn, conv_relu

__all__ = ["inception_module", "parallel"]


def parallel(x, *branches, conv=conv_bn, name: str):
    """Branches side by side on one input, joined along the channels.

    A branch is a sequence of steps, each a tuple (what, size, strides, padding), of which the last two can be left
    out. `what` is the number of filters of a convolution, or "max" or "average" for pooling. Strides are 1 unless told,
    the padding "same" at stride 1 and "valid" above. Step 2 of branch 1 of "mixed3a" is named "mixed3a_1_2". A step
    ("fork", branches) splits the branch into parallel ones in its turn.

    Args:
        x: `[n, h, w, c]`.
        branches: as above.
        conv: what makes a convolution: `conv_bn`, `conv_relu`, or a partial of one.
        name: of the joining layer, and prefix of all others.

    Returns:
        `[n, h', w', sum of the branches' channels]`.

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
        for j, (what, size, *rest) in enumerate(branch, 1):
            strides = rest[0] if rest else 1
            padding = rest[1] if len(rest) > 1 else ("same" if strides == 1 else "valid")
            step = f"{name}_{i}_{j}"
            if what in pools:
                end = pools[what](size, strides=strides, padding=padding, name=f"{step}_pool")(end)
            elif what == "fork":
                end = parallel(end, *size, conv=conv, name=step)
            else:
                end = conv(end, what, size, strides=strides, padding=padding, name=step)
        ends.append(end)
    return keras.layers.Concatenate(name=name)(ends)


def inception_module(x, filters, *, kernel_sizes=(3, 5), batch_norm: bool = False, name: str):
    """Convolutions of three sizes and a max pooling side by side; 1x1 convolutions keep the large ones cheap.

    Source: Szegedy et al. 2015, "Going Deeper with Convolutions", figure 2b and the columns of table 1.

    Args:
        x: `[n, h, w, c]`.
        filters: six numbers: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
        kernel_sizes: of the two larger convolutions.
        batch_norm: after each convolution, in place of its bias.
        name: of the joining layer, and prefix of all others.

    Returns:
        `[n, h, w, 1x1 + 3x3 + 5x5 + pool projection]`.

    Raises:
        ValueError: `filters` are not six.

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
