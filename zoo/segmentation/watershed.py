"""Small round things, such as cells: what a network learns to tell touching ones apart, and objects from its outputs.

A map of classes does not say where one nucleus ends and the next begins. Two things that a network can learn do:

- a third class, the boundary of each object (`boundary_targets`; Chen et al. 2016, "DCAN: Deep Contour-Aware Networks
  for Accurate Gland Segmentation"; Caicedo et al. 2019, "Evaluation of Deep Learning Strategies for Nucleus
  Segmentation in Fluorescence Images", with background, interior and boundary as three classes);
- the distance of each pixel from the edge of its object (`distance_targets`; Bai and Urtasun 2017, "Deep Watershed
  Transform for Instance Segmentation"; Naylor et al. 2018, "Segmentation of Nuclei in Histopathology Images by Deep
  Regression of the Distance Map").

Objects are grown from seeds by the watershed transform (Beucher and Lantuejoul 1979; Vincent and Soille 1991): from
interiors that do not touch, or from places far from every edge. SciPy and scikit-image are imported when a function is
called.
"""

import numpy as np

__all__ = [
    "BACKGROUND",
    "BOUNDARY",
    "INTERIOR",
    "boundary_targets",
    "distance_targets",
    "objects_from_boundaries",
    "objects_from_distances",
    "objects_from_foreground",
]

# The three classes of `boundary_targets`.
BACKGROUND, INTERIOR, BOUNDARY = 0, 1, 2

_EIGHT = np.ones((3, 3), bool)  # pixels that touch at a corner are neighbours


def boundary_targets(instances: np.ndarray, *, thickness: int = 1) -> np.ndarray:
    """Returns background (0), interior (1) or boundary (2) of each pixel, `uint8 [h, w]`.

    The boundary of an object is made of its pixels that are at most `thickness` pixels, in a square, from a pixel that
    is not of the object. What the border of the image cuts has no boundary there. Every object keeps an interior: of
    one that is too thin for it, the pixels farthest from its edge are interior.

    Args:
        instances: Numbers of the objects, integers `[h, w]`; 0 is background.
        thickness: Width of the boundary in pixels. Defaults to 1.

    Raises:
        ValueError: The map is not `[h, w]`, or the thickness is below 1.

    Example, of two objects that touch:

    >>> boundary_targets(np.repeat([[1, 1, 1, 2, 2, 2, 0]], 3, axis=0))[1].tolist()
    [1, 1, 2, 2, 1, 2, 0]
    """
    from scipy.ndimage import distance_transform_cdt, find_objects, maximum_filter, minimum_filter

    instances = _checked(instances)
    if thickness < 1:
        raise ValueError(f"expected a thickness of 1 pixel or more, received {thickness}")
    side = 2 * thickness + 1
    differs = maximum_filter(instances, side, mode="nearest") != minimum_filter(instances, side, mode="nearest")
    targets = np.where(instances > 0, np.where(differs, BOUNDARY, INTERIOR), BACKGROUND).astype(np.uint8)
    has_interior = np.bincount(instances.reshape(-1), targets.reshape(-1) == INTERIOR) > 0
    for number, place in enumerate(find_objects(instances), start=1):
        if place is not None and not has_interior[number]:
            own = instances[place] == number
            depth = distance_transform_cdt(np.pad(own, 1))[1:-1, 1:-1]
            targets[place][own & (depth == depth.max())] = INTERIOR
    return targets


def distance_targets(instances: np.ndarray) -> np.ndarray:
    """Returns how deep each pixel lies in its object, `float32 [h, w]`: 1 at its deepest, 0 for background.

    It is the Euclidean distance to the nearest pixel that is not of the object (the border of the image is none),
    divided by the largest of the object.

    Args:
        instances: Numbers of the objects, integers `[h, w]`; 0 is background.

    Raises:
        ValueError: The map is not `[h, w]`.

    Example:

    >>> distance_targets(np.array([[0, 3, 3, 3, 5, 5, 0]])).tolist()
    [[0.0, 0.5, 1.0, 0.5, 1.0, 1.0, 0.0]]
    """
    from scipy.ndimage import distance_transform_edt, find_objects

    instances = _checked(instances)
    depth = np.zeros(instances.shape, np.float32)
    for number, place in enumerate(find_objects(instances), start=1):
        if place is None:
            continue
        # One pixel more on each side holds what is nearest outside of the object.
        around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in place)
        own = instances[around] == number
        distance = distance_transform_edt(own) if not own.all() else np.ones(own.shape)
        depth[around][own] = (distance / distance.max())[own]
    return depth


def objects_from_boundaries(
    probabilities: np.ndarray, *, threshold: float = 0.5, seed_threshold: float = 0.5, smallest: int = 1
) -> np.ndarray:
    """Grows objects from the interiors that a network found.

    Args:
        probabilities: Probabilities of background, interior and boundary, `[h, w, 3]`.
        threshold: Probability of interior and boundary together from which a pixel belongs to an object. Defaults to
            0.5.
        seed_threshold: Probability of interior from which a pixel belongs to a seed; each connected region is one
            object. Defaults to 0.5.
        smallest: Number of pixels below which a seed and an object are left out. Defaults to 1.

    Returns:
        Numbers of the objects, `int32 [h, w]`: 1, 2, 3 and so on, and 0 for background. An object without a seed of its
        own is left out.

    Raises:
        ValueError: The shape is another one.

    Example:

    >>> targets = boundary_targets(np.repeat([[1, 1, 1, 2, 2, 2, 0]], 3, axis=0))
    >>> objects_from_boundaries(np.eye(3)[targets])[1].tolist()
    [1, 1, 1, 2, 2, 2, 0]
    """
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 3 or probabilities.shape[2] != 3:
        raise ValueError(
            "expected the probabilities of background, interior and boundary [h, w, 3], received the shape "
            f"{probabilities.shape}"
        )
    interior = probabilities[..., INTERIOR]
    foreground = 1 - probabilities[..., BACKGROUND] >= threshold
    return _grow(probabilities[..., BOUNDARY] - interior, interior >= seed_threshold, foreground, smallest, smallest)


def objects_from_distances(
    depth: np.ndarray, *, threshold: float = 0.1, seed_threshold: float = 0.5, smallest: int = 1
) -> np.ndarray:
    """Grows objects from the places that a network found to be deep inside of them.

    Args:
        depth: What `distance_targets` describes, `[h, w]`.
        threshold: Depth from which a pixel belongs to an object. Defaults to 0.1.
        seed_threshold: Depth from which a pixel belongs to a seed; each connected region is one object. Defaults to
            0.5.
        smallest: Number of pixels below which a seed and an object are left out. Defaults to 1.

    Returns:
        Numbers of the objects, `int32 [h, w]`, as of `objects_from_boundaries`.

    Raises:
        ValueError: The shape is another one, or `seed_threshold` is below `threshold`.

    >>> objects_from_distances(np.array([[0, 0.3, 1, 0.4, 0.3, 1, 0]])).tolist()
    [[0, 1, 1, 1, 2, 2, 0]]
    """
    depth = np.asarray(depth, np.float64)
    if depth.ndim != 2:
        raise ValueError(f"expected the depth of each pixel [h, w], received the shape {depth.shape}")
    if seed_threshold < threshold:
        raise ValueError(
            f"expected seeds to be deeper than objects, received seed_threshold={seed_threshold} and "
            f"threshold={threshold}"
        )
    return _grow(-depth, depth >= seed_threshold, depth >= threshold, smallest, smallest)


def objects_from_foreground(
    foreground: np.ndarray, *, apart: int = 5, smoothing: float = 1.0, smallest: int = 1
) -> np.ndarray:
    """Divides a mask into round objects without any learning: the watershed of distances from the background.

    Args:
        foreground: Which pixels belong to objects, `bool [h, w]`.
        apart: Number of pixels by which the middles of two objects are apart at least. Defaults to 5.
        smoothing: Standard deviation of the Gaussian that distances are smoothed with, in pixels. Defaults to 1.
        smallest: Number of pixels below which an object is left out. Defaults to 1.

    Returns:
        Numbers of the objects, `int32 [h, w]`, as of `objects_from_boundaries`.

    Raises:
        ValueError: The shape is another one.

    >>> y, x = np.ogrid[:20, :40]
    >>> mask = ((y - 10) ** 2 + (x - 12) ** 2 < 64) | ((y - 10) ** 2 + (x - 25) ** 2 < 64)
    >>> int(objects_from_foreground(mask).max())
    2
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter, label
    from skimage.feature import peak_local_max

    foreground = np.asarray(foreground, bool)
    if foreground.ndim != 2:
        raise ValueError(f"expected a mask [h, w], received the shape {foreground.shape}")
    if not foreground.any():
        return np.zeros(foreground.shape, np.int32)
    depth = gaussian_filter(distance_transform_edt(foreground).astype(np.float32), smoothing)
    peaks = peak_local_max(depth, min_distance=apart, labels=label(foreground)[0], exclude_border=False)
    seeds = np.zeros(foreground.shape, bool)
    seeds[tuple(peaks.T)] = True
    return _grow(-depth, seeds, foreground, 1, smallest)


def _grow(
    height: np.ndarray, seeds: np.ndarray, foreground: np.ndarray, smallest_seed: int, smallest: int
) -> np.ndarray:
    """Floods a landscape from connected seeds within the foreground; small seeds and objects are left out."""
    from scipy.ndimage import label
    from skimage.segmentation import watershed

    markers, count = label(seeds & foreground, _EIGHT)
    markers = _renumbered(markers, np.bincount(markers.reshape(-1), minlength=count + 1) >= smallest_seed)
    objects = watershed(height, markers, mask=foreground)
    return _renumbered(objects, np.bincount(objects.reshape(-1), minlength=count + 1) >= smallest)


def _renumbered(objects: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Returns the objects that are kept with the numbers 1, 2, 3 and so on, `int32 [h, w]`."""
    kept = kept.copy()
    kept[0] = False
    return (np.cumsum(kept) * kept).astype(np.int32)[objects]


def _checked(instances: np.ndarray) -> np.ndarray:
    instances = np.asarray(instances)
    if instances.ndim != 2 or instances.dtype.kind not in "bui":
        raise ValueError(
            f"expected numbers of objects, integers [h, w], received {instances.dtype} of the shape {instances.shape}"
        )
    return instances.astype(np.int64)
