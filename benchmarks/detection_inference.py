"""Images a second that an exported tiny detector answers on OpenVINO, suppression included, against Keras.

    python -m benchmarks.detection_inference
    python -m benchmarks.detection_inference --weights blood_cells.keras    # of benchmarks.detection --save

`yolo_tiny` on EfficientNet-Lite0 at 320 x 320. Without weights its heads are new, every score is near 0.01, and
suppression has as much to do as it can have. Rows:

==============  ======================================================  ============================================
row             ours                                                    peer
==============  ======================================================  ============================================
canvas          one float32 canvas to boxes, classes and scores         `detect`, the Keras model
photo           one JPEG file of 640 x 480: decoded, resized, answered  Pillow, `Letterbox` and `detect`
folder          so many of these files, `stream`                        the same, in batches of 8
==============  ======================================================  ============================================

The target is 25 ms for one image, on 2 cores. Prints a table, ours as images a second as well, and last the ratios.
"""

import argparse
import tempfile
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import transfer
from benchmarks.timing import Comparison, compare, report
from pipelines import Letterbox
from transfer.tasks.detect.answers import DetectContract
from transfer.tasks.detect.training import new_detector

SIZE = (320, 320)
PHOTO = (640, 480)
BACKBONE = "efficientnet_lite0"
BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a yolo_tiny on this backbone, of any size")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    trained = keras.models.load_model(arguments.weights, compile=False) if arguments.weights else None
    model, _ = new_detector("yolo_tiny", BACKBONE, trained.num_classes if trained else 3, SIZE)
    if trained:
        model.set_weights(trained.get_weights())
    with tempfile.TemporaryDirectory() as place:
        rows = measured(model, Path(place), arguments.photos, arguments.rounds)
        for row, images in zip(rows, (1, 1, arguments.photos), strict=True):
            print(f"{row.name:<8} {images / row.our_seconds:6.1f} images a second")
        report(rows)


def measured(model: keras.Model, place: Path, count: int, rounds: int) -> list[Comparison]:
    names = tuple(f"class {i}" for i in range(model.num_classes))
    contract = DetectContract(
        names,
        model.score_threshold,
        model.iou_threshold,
        model.max_detections,
        detector="yolo_tiny",
        preparation=Letterbox(SIZE),
    )
    transfer.export(model, place / "export", contract, formats=["openvino"])
    ours = transfer.load(place / "export", engine="openvino")
    photos = place / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    sample = Image.fromarray(load_sample_images().images[0]).resize(PHOTO)
    for i in range(count):
        sample.rotate(float(rng.uniform(-10, 10))).save(photos / f"{i:04}.jpg", quality=90)
    files = sorted(photos.glob("*.jpg"))

    def canvas(file: Path) -> np.ndarray:
        return contract.preparation.on_photo(np.asarray(Image.open(file).convert("RGB")))

    one = canvas(files[0])[None]
    found, expected = ours.engine.outputs("prepared", one), model.detect(one)
    assert found["valid"][0] == expected["valid"][0]
    np.testing.assert_allclose(np.sort(found["scores"][0]), np.sort(expected["scores"][0]), atol=1e-4)

    def folder_by_hand() -> None:
        for i in range(0, count, BATCH):
            model.detect(np.stack([canvas(file) for file in files[i : i + BATCH]]))

    return [
        compare(
            "canvas",
            ours=lambda: ours.engine.outputs("prepared", one),
            peer=lambda: model.detect(one),
            peer_name="Keras",
            rounds=rounds,
            warmup=5,
        ),
        compare(
            "photo",
            ours=lambda: ours.predict(files[0]),
            peer=lambda: model.detect(canvas(files[0])[None]),
            peer_name="Keras",
            rounds=rounds,
            warmup=5,
        ),
        compare(
            "folder",
            ours=lambda: ours.predict(photos),
            peer=folder_by_hand,
            peer_name="Keras",
            rounds=3,
        ),
    ]


if __name__ == "__main__":
    main()
