"""Which families of the zoo, and which classifiers of Keras, export to which format with proof.

    python -m benchmarks.exports [--families 'mobilenet*'] [--applications 'MobileNet*'] [--formats onnx litert]

Of each family the first variant, with random weights whose last layer is scaled so that photos get
different answers, at the smallest input that it takes. Prints a table in Markdown with the largest difference of a
probability, or why there is no artifact; and last, as one line of JSON, the share of exports that worked.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import keras
import numpy as np

import zoo
from pipelines import EvaluationCrop, decode_image
from transfer.artifacts.engines.table import FORMATS
from transfer.artifacts.exporting import export
from transfer.artifacts.photos import proof_photos
from transfer.contract import ExportError
from transfer.tasks.classify.answers import ClassifyContract
from zoo.models import FAMILIES

Build = Callable[..., keras.Model]
CLASSES = 4
SIZES = ((64, 96), (80, 112), (128, 160), (224, 224), (227, 227), (299, 299))
ALL = ("saved_model", "onnx", "openvino", "litert")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exports", description=__doc__.splitlines()[0])
    parser.add_argument("--families", default="*", help="names of families, such as 'mobilenet*'")
    parser.add_argument("--applications", default="", help="classifiers of keras.applications, such as '*'")
    parser.add_argument("--formats", nargs="+", default=ALL, choices=FORMATS)
    options = parser.parse_args()
    print("| model | input | " + " | ".join(options.formats) + " |", flush=True)
    print("|---|---|" + "---|" * len(options.formats), flush=True)
    tried = worked = 0
    for name, build in models(options.families, options.applications):
        try:
            model = smallest(build)
        except ValueError as error:
            print(f"| {name} | – | " + " | ".join([f"no: {error}"] * len(options.formats)) + " |", flush=True)
            continue
        spread_answers(model)
        cells = [exported(model, kind) for kind in options.formats]
        height, width = model.input_shape[1:3]
        print(f"| {name} | {height} × {width} | " + " | ".join(cells) + " |", flush=True)
        tried += len(cells)
        worked += sum(cell[0].isdigit() for cell in cells)
        keras.backend.clear_session()
    print(json.dumps({"exports that worked": round(worked / tried, 3) if tried else None, "tried": tried}))


def models(families: str, applications: str) -> Iterator[tuple[str, Build]]:
    for family, variants in FAMILIES.items():
        if fnmatchcase(family, families):
            yield variants[0], partial(zoo.create_model, variants[0], num_classes=CLASSES)
    for name in sorted(vars(keras.applications)):
        build = getattr(keras.applications, name)
        if name[0].isupper() and callable(build) and applications and fnmatchcase(name, applications):
            yield f"keras:{name}", partial(build, weights=None, classes=CLASSES)


def smallest(build: Build) -> keras.Model:
    for height, width in SIZES:
        try:
            return build(input_shape=(height, width, 3))
        except ValueError:
            continue
    raise ValueError(f"it takes images of none of the sizes {SIZES}")


def spread_answers(model: keras.Model) -> None:
    """Random networks say the same of all photos; scaling the last layer makes their answers differ."""
    crop = EvaluationCrop(model.input_shape[1:3])
    images = np.stack([crop(decode_image(photo)) for photo in proof_photos()])
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Dense):
        return
    seen = keras.Model(model.inputs[0], last.input)(images, training=False).numpy()
    kernel, bias = last.get_weights()
    kernel *= 2 / np.maximum(np.std(seen @ kernel, axis=0), 1e-12)
    last.set_weights([kernel, bias - (seen @ kernel).mean(axis=0)])


def exported(model: keras.Model, kind: str) -> str:
    with tempfile.TemporaryDirectory() as place:
        try:
            names = [f"class {i}" for i in range(CLASSES)]
            contract = ClassifyContract(names, preparation=EvaluationCrop(model.input_shape[1:3]))
            proof = export(model, Path(place) / "out", contract, formats=[kind])
        except (ExportError, ValueError) as error:
            return "no: " + " ".join(str(error).split())[:160].replace("|", "/")
        return f"{proof.max_abs_diff:.0e}"


if __name__ == "__main__":
    main()
