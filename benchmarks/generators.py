"""Rows a second of every generated dataset, and the most memory that its chunks take.

Run: python benchmarks/generators.py
"""

import argparse
import time
import tracemalloc

from lsml_utils import datasets
from lsml_utils.datasets.clicks import ROW
from lsml_utils.tables import Table, bytes_text

GENERATORS = {
    "linear, d = 10": (lambda n: datasets.linear_chunks(n, 10), 1_000_000),
    "linear, d = 100": (lambda n: datasets.linear_chunks(n, 100), 200_000),
    "blobs, d = 2": (datasets.blobs_chunks, 2_000_000),
    "moons": (datasets.moons_chunks, 2_000_000),
    "clicks": (lambda n: datasets.clicks(n).chunks(), 2_000_000),
    "shapes, 64 × 64": (datasets.shapes_chunks, 2_000),
    "reviews": (datasets.reviews_chunks, 10_000),
}


def row(name: str, make, rows: int) -> tuple[str, ...]:
    """One line of the table: the fastest of three passes, and the peak of a pass of its own."""
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        for _chunk in make(rows):
            pass
        seconds.append(time.perf_counter() - begun)
    tracemalloc.start()
    for _chunk in make(rows):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return name, f"{rows:,}", f"{rows / min(seconds):,.0f}", bytes_text(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="multiply every number of rows (default 1)")
    scale = parser.parse_args().scale
    rows = [row(name, make, max(1, int(n * scale))) for name, (make, n) in GENERATORS.items()]
    note = f"A row of clicks is {ROW.itemsize} bytes on disk. Memory is the peak of one pass over all chunks."
    print(Table(("generator", "rows", "rows/s", "peak memory"), rows, numeric=(1, 2, 3), notes=(note,)))


if __name__ == "__main__":
    main()
