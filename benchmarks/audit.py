"""Indexing many small files: the first pass of `zoo audit`, which reads every file and decodes none.

    python -m benchmarks.audit [--files 100000]

The target is 60 s for 100,000 files on 2 cores, with less than 1 GB of memory. The line of JSON holds how many times
as fast and as small as that it is.
"""

import argparse
import io
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines import read_data
from pipelines.auditing.heads import read_heads

SECONDS_FOR_100_000 = 60
BYTES = 10**9


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000, help="to index")
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), count)
        start, processor = time.perf_counter(), time.process_time()
        data = read_data(folder)
        samples = [data.train, data.valid, data.test]
        heads = [head for part in samples for head in read_heads(part)]
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
    assert len({head.digest for head in heads}) == count
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{count} files: {seconds:.1f} s, {processor:.1f} s of processor time, {peak / 1e6:.0f} MB at most")
    allowed = SECONDS_FOR_100_000 * count / 100_000
    print(json.dumps({"seconds": round(allowed / seconds, 3), "memory": round(BYTES / peak, 3)}))


def write_files(folder: Path, count: int) -> None:
    """JPEGs of 32 x 48 pixels in ten class folders, no two the same."""
    draw = np.random.default_rng(0)
    contents = []
    for _ in range(100):
        buffer = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (32, 48, 3), "uint8")).save(buffer, "JPEG")
        contents.append(buffer.getvalue())
    for number in range(10):
        (folder / f"class {number}").mkdir()
    for number in range(count):
        path = folder / f"class {number % 10}" / f"{number:06d}.jpg"
        path.write_bytes(contents[number % 100] + number.to_bytes(4, "big"))


if __name__ == "__main__":
    main()
