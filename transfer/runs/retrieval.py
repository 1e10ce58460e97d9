"""The photos of a folder that are most like some others: a page of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.outputs.durable import new_file
from transfer.predict.embeddings import nearest
from transfer.predict.loading import load
from transfer.predict.photos import photos_in, pixels_of
from transfer.report.pictures import embedded, fitted
from transfer.report.rendering import render_page

__all__ = ["write_neighbours"]

THUMBNAIL = 224  # Longer side of a photo on the page, in pixels.


def write_neighbours(
    model: str | Path, folder: str | Path, queries: Sequence[str | Path], out: str | Path, *, k: int = 8
) -> list[list[tuple[Path, float]]]:
    """Finds the photos of a folder whose embeddings are nearest to those of some photos, and writes a page of them.

    Args:
        model: What `transfer.load` takes.
        folder: The folder with the photos to choose from, which may lie in folders inside it, too.
        queries: The photos to compare with. One that lies in the folder is not its own neighbour.
        out: The HTML file.
        k: Maximum number of neighbours of each. Defaults to 8.

    Returns:
        For each query the paths of its neighbours, nearest first, and their cosine similarities.

    Raises:
        ValueError: `k` is below 1, a query cannot be read, or no photo of the folder can.
        FileNotFoundError: There is no such model, folder or photo.
    """
    if k < 1:
        raise ValueError(f"expected at least 1 neighbour, got k={k}")
    if not queries:
        raise ValueError("expected at least one photo to compare with, got none")
    predictor = load(model)
    photos, vectors = [], []
    paths = photos_in(folder)
    for path, (_, result) in zip(paths, predictor.stream_outputs(paths, ["embedding"]), strict=True):
        if not isinstance(result, str):
            photos.append(path)
            vectors.append(result["embedding"])
    if not photos:
        raise ValueError(f"none of the {len(paths)} images in {folder} could be read")
    asked = predictor.embeddings(list(queries))
    places, similarities = nearest(np.stack(vectors), asked, k=min(k + 1, len(photos)))
    rows = []
    for query, own, shares in zip(queries, places, similarities, strict=True):
        same = Path(query).resolve()
        found = [(photos[place], float(share)) for place, share in zip(own, shares, strict=True)]
        rows.append([(path, share) for path, share in found if path.resolve() != same][:k])
    shown = [
        {
            "name": str(query),
            "picture": _thumbnail(query),
            "neighbours": [
                {"name": path.name, "picture": _thumbnail(path), "similarity": share} for path, share in neighbours
            ],
        }
        for query, neighbours in zip(queries, rows, strict=True)
    ]
    page = render_page("neighbours.html", {"folder": str(folder), "num_photos": len(photos), "queries": shown})
    with new_file(Path(out)) as new:
        Path(new).write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
    return rows


def _thumbnail(photo: str | Path) -> str:
    return embedded(fitted(np.clip(np.rint(pixels_of(photo)), 0, 255).astype(np.uint8), THUMBNAIL))
