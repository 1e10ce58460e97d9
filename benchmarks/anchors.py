"""YOLO without anchors, as it is shipped, against the same network with anchors by k-means on the data.

    python -m benchmarks.anchors
    python -m benchmarks.anchors --scenes 20 --epochs 1    # does it run?

Both are `yolo_tiny` on the small trunk of `benchmarks.digit_scenes`, trained alike on the same scenes, with the same
loss and the same rule of which points learn what. The one with anchors has three in each cell, nine in all, which are
the shapes that k-means finds among the objects to learn from; it says how far each is to be shifted and stretched.

Prints the average precision of both by seed, and last one line of JSON with the means.
"""

import argparse
import json

import keras
import numpy as np

import pipelines
from benchmarks.digit_scenes import DETECTORS, SIZE, learn, trunk
from zoo import boxes as box_geometry
from zoo import detection
from zoo.detection.anchors import anchor_grid, cluster_shapes
from zoo.detection.detector import Detector
from zoo.detection.losses import OverlapLoss
from zoo.detection.yolo import STRIDES, YOLO

IN_A_CELL = 3
VARIANCES = (0.1, 0.1, 0.2, 0.2)  # by which codes are divided, as for the detectors with anchors


class WithAnchors(YOLO):
    """A YOLO whose last convolutions say everything `IN_A_CELL` times; `shapes`, by growing area, are for all maps."""

    def __init__(self, plain: YOLO, shapes: np.ndarray):
        def build(_):
            outputs: dict[str, list] = {"codes": [], "logits": []}
            for branch, channels in (("codes", 4), ("logits", plain.num_classes)):
                for level in (3, 4, 5):
                    last = plain.get_layer(f"{branch}_{level}")
                    first = last.bias_initializer if branch == "logits" else "zeros"
                    config = last.get_config() | {"filters": IN_A_CELL * channels, "bias_initializer": first}
                    x = keras.layers.Conv2D.from_config(config)(last.input)
                    outputs[branch].append(keras.layers.Reshape((-1, channels))(x))
            return {name: keras.layers.Concatenate(axis=1, name=name)(parts) for name, parts in outputs.items()}

        Detector.__init__(
            self,
            plain.backbone,
            build,
            num_classes=plain.num_classes,
            loss_weights=plain.loss_weights,
            suppression=plain.suppression,
            name="yolo_with_anchors",
        )
        self.shapes = np.split(shapes, len(STRIDES))
        self.overlap_loss = OverlapLoss("ciou", reduction="none")

    def points_and_boxes(self, codes, image_size):
        anchors = anchor_grid(image_size, STRIDES, self.shapes)
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        return centres, box_geometry.decode(codes, anchors, variances=VARIANCES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=4000, help="to learn from")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    data = pipelines.read_data("sklearn:digits")
    cutouts = pipelines.cut_out(data.train, tuple(data.class_names))
    found: dict[str, list[dict[str, float]]] = {"none": [], "k-means": []}
    for seed in range(arguments.seeds):
        for kind, results in found.items():
            keras.utils.set_random_seed(seed)
            model = detection.create("yolo_tiny", backbone=trunk(), num_classes=len(data.class_names), image_size=SIZE)
            if kind == "k-means":
                boxes = np.concatenate([scene.boxes for scene in pipelines.SyntheticScenes(cutouts, 500, size=SIZE)])
                shapes, overlap = cluster_shapes(boxes[:, 2:] - boxes[:, :2], IN_A_CELL * len(STRIDES), seed=seed)
                print(f"shapes {shapes.round().tolist()}, mean IoU of the objects with theirs {overlap:.2f}")
                model = WithAnchors(model, shapes)
            rate = DETECTORS["yolo_tiny"]
            results.append(learn(model, data, rate, length=arguments.scenes, epochs=arguments.epochs, seed=seed))
            print(
                f"anchors {kind:<8} seed {seed}  AP50 {results[-1]['map50']:.3f}  AP {results[-1]['map']:.3f}",
                flush=True,
            )
    means = {
        kind: {name: round(float(np.mean([result[name] for result in results])), 4) for name in results[0]}
        for kind, results in found.items()
    }
    print(json.dumps(means))


if __name__ == "__main__":
    main()
