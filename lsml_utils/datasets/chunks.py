"""How generated data is made: in chunks, each an exact function of the seed and its own number."""

import zlib
from collections.abc import Callable, Sequence

import numpy as np


def stream(name: str, seed: int, *numbers: int) -> np.random.Generator:
    """A random stream of its own for a dataset's name, a seed and whatever numbers a part of it (a chunk, say).

    >>> float(stream("moons", 0, 7).random()) == float(stream("moons", 0, 7).random())
    True
    """
    return np.random.default_rng([zlib.crc32(name.encode()), seed, *numbers])


class Chunks(Sequence):
    """The chunks of a generated dataset, made when asked for and not kept: `chunks[k]` needs none before it.

    count: how many. make: gives chunk k. rows: how many rows there are in all.
    """

    def __init__(self, count: int, make: Callable[[int], object], rows: int):
        self._count, self._make, self.rows = count, make, rows

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, k: int):
        if isinstance(k, slice):
            return [self[i] for i in range(*k.indices(len(self)))]
        if not -len(self) <= k < len(self):
            raise IndexError(f"chunk {k} of {len(self)}")
        return self._make(k % len(self))

    def __repr__(self) -> str:
        return f"Chunks({len(self)} chunks, {self.rows:,} rows in all)"


def spans(rows: int, size: int) -> list[tuple[int, int]]:
    """Chunks of `size` rows, the last one shorter: (start, stop) of each.

    >>> spans(5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]
