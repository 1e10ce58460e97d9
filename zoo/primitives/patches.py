"""From a map of patches to a sequence of tokens, and back: the ends of a vision transformer."""

from typing import Any

import keras

__all__ = ["PatchMap", "PatchTokens"]


@keras.saving.register_keras_serializable(package="zoo")
class PatchTokens(keras.layers.Layer):
    """A sequence of tokens that is made of a map of patches, with a class token at the beginning.

    A learnt position is added to each token. The positions belong to a grid of one size. For a map of another size they
    are interpolated, so that the same weights serve images of all sizes.

    Source: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", equation 1. The interpolation is from section 3.2;
    it is bilinear, as in the authors' code.

    Args:
        grid: (height, width) of the grid of positions, in patches.

    Input shape:
        `[n, h, w, c]`.

    Output shape:
        `[n, 1 + h * w, c]` of the dtype of the input.

    Raises:
        ValueError: The grid has no patch.

    Example:

    >>> layer = PatchTokens((14, 14))
    >>> layer(keras.Input((14, 14, 8))).shape, layer(keras.Input((7, 9, 8))).shape
    ((None, 197, 8), (None, 64, 8))
    """

    def __init__(self, grid: tuple[int, int], **base: Any):
        super().__init__(**base)
        if min(grid) < 1:
            raise ValueError(f"PatchTokens needs a grid of at least one patch, got {tuple(grid)}")
        self.grid = tuple(grid)

    def build(self, input_shape):
        rows, columns = self.grid
        channels = input_shape[-1]
        self.class_token = self.add_weight(shape=(1, channels), initializer="zeros", name="class_token")
        start = keras.initializers.RandomNormal(stddev=0.02)
        self.position = self.add_weight(shape=(1 + rows * columns, channels), initializer=start, name="position")

    def call(self, inputs):
        n, height, width, channels = keras.ops.shape(inputs)
        # [rows, columns * c] -> [h, columns, c] -> [h, w, c], by products of matrices, which every runtime has.
        # (OpenVINO does not resize constants.)
        rows, columns = self.grid
        position = keras.ops.reshape(self.position[1:], (rows, columns * channels))
        position = keras.ops.matmul(self.interpolation(height, rows), position)
        position = keras.ops.reshape(position, (height, columns, channels))
        position = keras.ops.matmul(self.interpolation(width, columns), position)
        tokens = keras.ops.reshape(inputs + position, (n, height * width, channels))
        first = keras.ops.broadcast_to(self.class_token + self.position[:1], (n, 1, channels))
        return keras.ops.concatenate([first, tokens], axis=1)

    def interpolation(self, size, grid: int):
        """Returns the weights `[size, grid]` of `grid` positions at each of `size` places along the same side."""
        places = (keras.ops.arange(size, dtype="float32") + 0.5) * (grid / keras.ops.cast(size, "float32")) - 0.5
        places = keras.ops.clip(places, 0, grid - 1)
        distance = keras.ops.abs(places[:, None] - keras.ops.arange(grid, dtype="float32"))
        return keras.ops.cast(keras.ops.maximum(0.0, 1 - distance), self.compute_dtype)

    def compute_output_spec(self, inputs):
        n, height, width, channels = inputs.shape
        length = None if height is None or width is None else 1 + height * width
        return keras.KerasTensor((n, length, channels), self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "grid": self.grid}


@keras.saving.register_keras_serializable(package="zoo")
class PatchMap(keras.layers.Layer):
    """A map that is made of the tokens of patches: the inverse of `PatchTokens`.

    Input shape:
        A list of the tokens `[n, 1 + h * w, c]`, of which the first is dropped, and any map `[n, h, w, ...]`, whose
        height and width the result takes.

    Output shape:
        `[n, h, w, c]` of the dtype of the tokens.

    >>> PatchMap()([keras.Input((64, 8)), keras.Input((7, 9, 3))]).shape
    (None, 7, 9, 8)
    """

    def call(self, inputs):
        tokens, patches = inputs
        n, height, width, _ = keras.ops.shape(patches)
        return keras.ops.reshape(tokens[:, 1:], (n, height, width, tokens.shape[-1]))

    def compute_output_spec(self, inputs):
        tokens, patches = inputs
        return keras.KerasTensor((*patches.shape[:3], tokens.shape[-1]), self.compute_dtype)
