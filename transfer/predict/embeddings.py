"""Embeddings of the photos in a folder, and which of them are alike."""

from pathlib import Path

import numpy as np

from pipelines.outputs.durable import new_file
from pipelines.outputs.locks import output_lock
from transfer.predict.photos import other_files_in, photos_in
from transfer.predict.predictor import Predictor
from transfer.predict.writing import Written

__all__ = ["nearest", "write_embeddings"]


def write_embeddings(predictor: Predictor, folder: str | Path, out: str | Path) -> Written:
    """Embeds every photo of a folder, into an .npz file with `paths` `[n]` and `embeddings`, float32 `[n, features]`.

    Photos that cannot be read have no place in it.

    Args:
        predictor: What `transfer.load` returns.
        folder: The folder with the photos, which may lie in folders inside it, too.
        out: The file to write. It ends in .npz.

    Returns:
        What was written, and what could not be read.

    Raises:
        ValueError: No photo can be read, the model gives no embedding, or `out` does not end in .npz.
        FileExistsError: `out` exists, or another process writes it.
    """
    folder, out = Path(folder), Path(out)
    if out.suffix != ".npz":
        raise ValueError(f"expected a file that ends in .npz, got {out}")
    with output_lock(out):
        if out.exists():
            raise FileExistsError(f"{out} is there already; choose another file")
        photos = photos_in(folder)
        names, vectors, unreadable = [], [], []
        for photo, (_, result) in zip(photos, predictor.stream_outputs(photos, ["embedding"]), strict=True):
            name = photo.relative_to(folder).as_posix()
            if isinstance(result, str):
                unreadable.append((name, result))
            else:
                names.append(name.encode(errors="backslashreplace").decode())
                vectors.append(result["embedding"])
        if not vectors:
            first, reason = unreadable[0]
            raise ValueError(f"none of the {len(photos)} images could be read; the first, {first}, {reason}")
        with new_file(out) as new:
            np.savez(new, paths=np.array(names), embeddings=np.stack(vectors))
    return Written(out, len(photos), len(vectors), 0, tuple(unreadable), other_files_in(folder))


def nearest(embeddings: np.ndarray, queries: np.ndarray, *, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Returns the embeddings that point most nearly in the direction of each query.

    Args:
        embeddings: Embeddings to choose from, `[n, features]`.
        queries: Embeddings to compare with, `[m, features]`.
        k: Number of neighbours, in 1..n. Defaults to 5.

    Returns:
        int `[m, k]`, their places, nearest first, and float `[m, k]`, their cosine similarities in -1..1.

    Raises:
        ValueError: The shapes differ from these, or `k` is not in 1..n.

    Example:

    >>> places, similarities = nearest(np.array([[1.0, 0], [0, 2], [1, 1]]), np.array([[0, 1.0]]), k=2)
    >>> places.tolist(), similarities.round(2).tolist()
    ([[1, 2]], [[1.0, 0.71]])
    """
    if embeddings.ndim != 2 or queries.ndim != 2 or embeddings.shape[1] != queries.shape[1]:
        raise ValueError(f"expected [n, features] and [m, features], got {embeddings.shape} and {queries.shape}")
    if not 1 <= k <= len(embeddings):
        raise ValueError(f"expected k in 1..{len(embeddings)}, the number of embeddings; got {k}")
    lengths = [np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (embeddings, queries)]
    similarities = (queries / lengths[1]) @ (embeddings / lengths[0]).T
    places = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    return places, np.take_along_axis(similarities, places, axis=1)
