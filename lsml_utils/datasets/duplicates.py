"""Sets with planted near-duplicates, as of documents seen as sets of hashed shingles: who resembles whom is known."""

from dataclasses import dataclass

import numpy as np

from lsml_utils.datasets.chunks import Chunks, spans, stream
from lsml_utils.datasets.kinds import Described
from lsml_utils.hashing import mix64

BLOCK = 1000  # sets drawn from one random stream; a pair lies within one block
SMALLEST, LARGEST = 30, 300


@dataclass(frozen=True, repr=False)
class NearDuplicates(Described):
    """sets: a list of uint64 arrays, sorted, each of 30 to 300 different elements. pairs: (p, 2) int64, the numbers
    i < j of two sets that share elements. jaccard: (p,) float64, exactly |A ∩ B| / |A ∪ B| of each pair. No other two
    sets share an element. first: the number of the first set (0, but in a later chunk)."""

    sets: list[np.ndarray]
    pairs: np.ndarray
    jaccard: np.ndarray
    first: int = 0


def near_duplicates(n: int, seed: int = 0) -> NearDuplicates:
    """n sets, of which about half have one near-duplicate; the Jaccard similarity of the pairs is spread evenly from
    0.1 to 0.9 (rounded to whole elements).

    n: sets, at least 1. seed: an integer, 0 <= seed < 2^64. Takes about 1.1 KB a set. A set does not depend on n, but
    the partner of one of the last may lie beyond them.

    >>> data = near_duplicates(1000)
    >>> len(data.sets), len(data.pairs)
    (1000, 250)
    """
    if n < 1:
        raise ValueError(f"n = {n}: at least one set")
    return _between(0, n, seed)


def near_duplicates_chunks(n: int, seed: int = 0, size: int = BLOCK) -> Chunks:
    """`near_duplicates(n, seed)` in chunks of `size` sets, the last one shorter; pairs count from the very first set.

    size: a multiple of 1000, so that no pair lies in two chunks.

    >>> near_duplicates_chunks(2500)[2]
    NearDuplicates(sets: 500 items, pairs: 64×2 int64, jaccard: 64 float64, first: 2000)
    """
    if n < 1 or size < 1 or size % BLOCK:
        raise ValueError(f"n = {n}, size = {size}: at least one set, and chunks of a multiple of {BLOCK}")
    bounds = spans(n, size)
    return Chunks(len(bounds), lambda k: _between(*bounds[k], seed), n)


def _between(start: int, stop: int, seed: int) -> NearDuplicates:
    sets, pairs, jaccard = [], [np.empty((0, 2), np.int64)], [np.empty(0)]
    for first, last in spans(stop - start, BLOCK):
        block, found, similar = _block((start + first) // BLOCK, seed)
        sets += block[: last - first]
        whole = found.max(axis=1) < last - first
        pairs.append(found[whole] + start + first)
        jaccard.append(similar[whole])
    return NearDuplicates(sets, np.concatenate(pairs), np.concatenate(jaccard), start)


def _block(number: int, seed: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    rng = stream("near_duplicates", seed, number)
    sizes = np.rint(SMALLEST * (LARGEST / SMALLEST) ** rng.random(BLOCK)).astype(np.int64)
    pairs = np.sort(rng.permutation(BLOCK)[: BLOCK // 2].reshape(-1, 2), axis=1)
    left, right = pairs.T
    sizes[right] = sizes[left]
    wanted = rng.uniform(0.1, 0.9, len(pairs))
    shared = np.rint(2 * sizes[left] * wanted / (1 + wanted)).astype(np.int64)
    owner, common = np.arange(BLOCK), np.zeros(BLOCK, np.int64)
    owner[right], common[right] = left, shared
    sets = []
    for i, (size, other, same) in enumerate(zip(sizes, owner, common, strict=True)):
        # Element j of set i is the hash of a number of its own: a bijection, so different numbers never meet.
        own, lent = (number * BLOCK + np.array([i, other])) << 10
        place = np.arange(size)
        sets.append(np.sort(mix64(np.where(place < same, lent, own) + place, seed)))
    return sets, pairs, shared / (2 * sizes[left] - shared)
