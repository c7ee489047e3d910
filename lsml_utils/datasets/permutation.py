"""A shuffle of 0, ..., n - 1 that is computed where it is needed and stored nowhere."""

import numpy as np

from lsml_utils.hashing import mix64

ROUNDS = 4


class Permutation:
    """A bijection of 0, ..., n - 1 chosen by seed and number.

    Each round multiplies by an odd number and folds the upper half of the bits onto the lower one; both can be
    undone, so it is a bijection of the next power of two. What falls outside goes through it again until it falls
    inside (cycle walking: Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002): fewer than twice
    in the mean.

    >>> sorted(Permutation(5, seed=0).of(np.arange(5)).tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(self, n: int, seed: int = 0, number: int = 0):
        bits = max(2, (n - 1).bit_length())
        self.n, self.mask, self.shift = n, np.uint64(2**bits - 1), np.uint64((bits + 1) // 2)
        keys = mix64(mix64(np.arange(2 * ROUNDS), seed), number)
        self.factors, self.terms = keys[:ROUNDS] | np.uint64(1), keys[ROUNDS:]

    def of(self, x: np.ndarray) -> np.ndarray:
        """Where each of x goes: (m,) int64, all in 0, ..., n - 1, out of (m,) integers in that range."""
        out = self._once(np.asarray(x).astype(np.uint64))
        outside = np.flatnonzero(out >= self.n)
        while len(outside):
            out[outside] = self._once(out[outside])
            outside = outside[out[outside] >= self.n]
        return out.astype(np.int64)

    def _once(self, x: np.ndarray) -> np.ndarray:
        for factor, term in zip(self.factors, self.terms, strict=True):
            x = (x * factor + term) & self.mask
            x ^= x >> self.shift
        return x
