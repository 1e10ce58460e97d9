"""Five photos of each class: how many of the others does a classifier of a backbone's embeddings know?

    python -m benchmarks.few_shot DATA
    python -m benchmarks.few_shot DATA --shots 1 --backbone efficientnet_lite0

DATA is a folder with `train` and `val`, each with a folder for each class, such as the hymenoptera photos. Each draw
takes the support from `train` and measures on all of `val`. Prints one line of JSON with the mean accuracy of each
method and its deviation over the draws.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import transfer
from transfer.runs.few_examples import METHODS, embed, from_embeddings


def main() -> None:
    """Embeds all photos once, and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    options = parser.parse_args()
    trunk = transfer.backbone(options.backbone)
    names = tuple(sorted(folder.name for folder in (options.data / "train").iterdir()))
    train, test = ([embed(trunk, options.data / part / name) for name in names] for part in ("train", "val"))
    expected = np.repeat(np.arange(len(names)), [len(rows) for rows in test])
    result: dict[str, object] = {"shots": options.shots, "draws": options.draws, "ways": len(names)}
    for method in METHODS:
        accuracies = []
        for seed in range(options.draws):
            random = np.random.default_rng(seed)
            support = [rows[random.choice(len(rows), options.shots, replace=False)] for rows in train]
            labels = np.repeat(np.arange(len(names)), options.shots)
            model = from_embeddings(trunk, names, np.concatenate(support), labels, method=method)
            predicted = model.of_embeddings(np.concatenate(test)).argmax(axis=1)
            accuracies.append(np.mean(predicted == expected))
        mean, deviation = float(np.mean(accuracies)), float(np.std(accuracies))
        result[method] = {"mean": round(mean, 4), "deviation": round(deviation, 4)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
