"""A click log of any length: generated chunk by chunk, as a memory-mapped file, with the model that it was drawn
from."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans, stream
from lsml_utils.datasets.kinds import Described

NUMERIC = 8
FIELDS = {"site": 2_000, "advert": 50_000, "category": 40, "device": 12, "hour": 24, "user": 1_000_000}
ROW = np.dtype([("numeric", "<f4", (NUMERIC,)), ("hashed", "<i4", (len(FIELDS),)), ("y", "u1")], align=True)
BLOCK = 8192  # rows drawn from one random stream


@dataclass(frozen=True, repr=False)
class ClickRows(Described):
    """Rows of a click log. numeric: (m, 8) float32. hashed: (m, 6) int32, for each categorical field (site, advert,
    category, device, hour, user) the number of its bucket, 0 <= bucket < buckets. y: (m,) uint8, 1 is a click."""

    numeric: np.ndarray
    hashed: np.ndarray
    y: np.ndarray
    buckets: int

    @property
    def X(self):
        """The rows as one scipy.sparse CSR matrix (m, 8 + buckets): the numbers, then a 1 for each bucket hit (2 where
        two fields meet in one bucket)."""
        from scipy.sparse import csr_array

        m, width = len(self.y), NUMERIC + len(FIELDS)
        columns = np.empty((m, width), np.int64)
        columns[:, :NUMERIC], columns[:, NUMERIC:] = np.arange(NUMERIC), NUMERIC + self.hashed.astype(np.int64)
        values = np.ones((m, width), np.float32)
        values[:, :NUMERIC] = self.numeric
        starts = np.arange(0, m * width + 1, width)
        X = csr_array((values.ravel(), columns.ravel(), starts), shape=(m, NUMERIC + self.buckets))
        X.sum_duplicates()
        return X


@dataclass(frozen=True, repr=False)
class Clicks(Described):
    """A click log of `rows` rows that is not held anywhere: parts of it are made when asked for.

    Its clicks are drawn from a logistic regression, whose parameters are the ground truth:
    P(y = 1) = sigmoid(bias + numeric · weights + the sum over fields of table[bucket]).
    weights: (8,) float64. table: (buckets,) float64. bias: float. Row i depends on the seed (and the number of
    buckets) only, not on how many rows there are or how they are read.
    """

    rows: int
    seed: int
    buckets: int
    weights: np.ndarray
    table: np.ndarray
    bias: float

    @property
    def theta(self) -> np.ndarray:
        """weights and table as one vector (8 + buckets,), in the order of the columns of `ClickRows.X`."""
        return np.concatenate([self.weights, self.table])

    def read(self, start: int, stop: int) -> ClickRows:
        """Rows start <= i < stop. Takes time and memory for these rows (rounded up to blocks of 8,192).

        >>> clicks(100_000).read(70_000, 70_003).hashed.shape
        (3, 6)
        """
        if not 0 <= start <= stop <= self.rows:
            raise ValueError(f"rows {start} to {stop} of a log of {self.rows:,}")
        out = np.empty(stop - start, ROW)
        for block in range(start // BLOCK, -(-stop // BLOCK)):
            first, last = max(start, block * BLOCK), min(stop, (block + 1) * BLOCK)
            out[first - start : last - start] = self._recent(block)[first - block * BLOCK : last - block * BLOCK]
        return self.view(out)

    def chunks(self, size: int = 8 * BLOCK) -> Chunks:
        """The log in chunks of `size` rows, the last one shorter; chunk k needs none before it.

        >>> [len(chunk.y) for chunk in clicks(100_000).chunks(40_000)]
        [40000, 40000, 20000]
        """
        bounds = spans(self.rows, size)
        return Chunks(len(bounds), lambda k: self.read(*bounds[k]), self.rows)

    def memmap(self, path: str | os.PathLike | None = None) -> np.memmap:
        """The log as a memory-mapped file: a structured array (rows,) with fields numeric, hashed and y, read-only.

        path: a .npy file (60 bytes a row), by default in the data folder. It is written block by block if it is not
        there yet, and opened as it is if it already holds this log; `numpy.load(path, mmap_mode="r")` opens it as well.
        Raises ValueError where the file holds something else.
        """
        from lsml_utils.datasets.folder import data_folder

        path = data_folder() / f"clicks-{self.rows}-{self.buckets}-{self.seed}.npy" if path is None else Path(path)
        if not path.exists():
            self._write(path)
        mapped = np.load(path, mmap_mode="r")
        if mapped.dtype != ROW or mapped.shape != (self.rows,) or not self._same_ends(mapped):
            raise ValueError(f"{path} holds another log: remove it, or give another path")
        return mapped

    def view(self, records: np.ndarray) -> ClickRows:
        """Structured rows (m,), such as a slice of the memory-mapped log, by field and without a copy."""
        return ClickRows(records["numeric"], records["hashed"], records["y"], self.buckets)

    def probability(self, rows: ClickRows) -> np.ndarray:
        """The true P(y = 1) of each row: (m,) float64. No model can have a lower expected log loss than this."""
        logit = self.bias + rows.numeric @ self.weights + self.table[rows.hashed].sum(axis=1)
        return 1.0 / (1.0 + np.exp(-logit))

    def _recent(self, number: int) -> np.ndarray:
        """The block, kept until the next one is asked for: small chunks in a row make each block once."""
        kept = self.__dict__.get("_kept", (None, None))
        if kept[0] != number:
            kept = self.__dict__["_kept"] = (number, self._block(number))
        return kept[1]

    def _block(self, number: int) -> np.ndarray:
        rng = stream("clicks", self.seed, number + 1)
        out = np.empty(BLOCK, ROW)
        out["numeric"] = rng.standard_normal((BLOCK, NUMERIC), dtype=np.float32)
        for i, cardinality in enumerate(FIELDS.values()):
            # Zipf's law: the value of rank r comes with probability proportional to about 1/r.
            rank = np.exp(rng.random(BLOCK) * np.log(cardinality + 1)).astype(np.uint64)
            out["hashed"][:, i] = _bucket(rank, i, self.buckets)
        out["y"] = rng.random(BLOCK) < self.probability(self.view(out))
        return out

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with open(part, "wb") as file:
                header = {"descr": np.lib.format.dtype_to_descr(ROW), "fortran_order": False, "shape": (self.rows,)}
                np.lib.format.write_array_header_1_0(file, header)
                for start, stop in spans(self.rows, BLOCK):
                    file.write(self._block(start // BLOCK)[: stop - start].tobytes())
            os.replace(part, path)  # so that a file under its own name is always whole
        finally:
            part.unlink(missing_ok=True)

    def _same_ends(self, mapped: np.ndarray) -> bool:
        ends = [self.read(0, min(4, self.rows)), self.read(max(0, self.rows - 4), self.rows)]
        found = [self.view(mapped[:4]), self.view(mapped[-4:])]
        return all(
            np.array_equal(getattr(a, f), getattr(b, f)) for a, b in zip(ends, found, strict=True) for f in ROW.names
        )


def clicks(rows: int, seed: int = 0, buckets: int = 2**18) -> Clicks:
    """A click log: 8 numbers and 6 hashed categorical fields a row, about one click in four. Nothing is made yet.

    rows: from 1 to as many as you have time for. seed: an integer >= 0. buckets: a power of two, how many the
    categorical values are hashed into.

    >>> log = clicks(1_000_000)
    >>> log.read(0, 1000).X.shape
    (1000, 262152)
    """
    if rows < 1 or buckets < 2 or buckets & (buckets - 1):
        raise ValueError(f"rows = {rows}, buckets = {buckets}: at least one row, and buckets a power of two")
    truth = stream("clicks", seed)
    weights = 0.3 * truth.standard_normal(NUMERIC)
    table = 0.4 * truth.standard_normal(buckets)
    return Clicks(rows=rows, seed=seed, buckets=buckets, weights=weights, table=table, bias=-1.7)


def _bucket(values: np.ndarray, field: int, buckets: int) -> np.ndarray:
    """Fibonacci hashing: multiply by 2**64 over the golden ratio, keep the top bits."""
    salted = values + np.uint64((field + 1) << 40)
    return ((salted * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - (buckets.bit_length() - 1))).astype(np.int32)


def batches(mapped: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Copies of consecutive slices of a memory-mapped array, so that only one is held in memory at a time.

    >>> [len(part) for part in batches(np.arange(5), 2)]
    [2, 2, 1]
    """
    for start, stop in spans(len(mapped), size):
        yield np.array(mapped[start:stop])
