"""A hash function of 64 bits that is the same in every process, on every machine, for every seed.

Python's own `hash` of a text differs from process to process, and its `hash` of an integer is the integer.
"""

import operator
import zlib
from collections.abc import Sequence

import numpy as np

BLOCK = 1 << 16  # keys mixed at a time, so that temporaries stay in the cache
GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
ALL_BITS = 2**64 - 1


def mix64(keys: np.ndarray | Sequence[int] | Sequence[str] | int | str, seed: int = 0) -> np.ndarray:
    """The hash of each key: an array of uint64 of the shape of `keys` (for one key: of shape ()).

    keys: integers of any kind (a negative one counts modulo 2^64), or texts, of which the CRC-32 of their UTF-8 bytes
    is hashed: two texts collide with probability 2^-32. seed: an integer, 0 <= seed < 2^64; two seeds give two
    unrelated functions. For each seed the function is a bijection of the 64-bit integers: different integers have
    different hashes. A change of one bit of a key changes each bit of its hash with probability 1/2. Anybody who knows
    the seed finds keys for any hash, so it does not protect against an adversary.

    Raises TypeError for keys that are neither integers nor texts, ValueError for a seed out of range.

    Source: the output function of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    OOPSLA 2014), with the constants of its variant 13.

    >>> mix64([1, 2, 3]).dtype, mix64(["a", "b"]).shape
    (dtype('uint64'), (2,))
    >>> bool(mix64(7) == mix64(7)), bool(mix64(7) == mix64(7, seed=1))
    (True, False)
    """
    if not 0 <= seed <= ALL_BITS:
        raise ValueError(f"seed = {seed}: it must lie between 0 and 2^64 - 1")
    words = _integers(keys)
    out = np.empty(words.shape, np.uint64)
    # A seed is hashed before it is added: neighbouring seeds must not give shifted copies of one function.
    start = _mixed(np.array([(seed + 1) * GOLDEN & ALL_BITS], np.uint64))
    source, target = words.reshape(-1), out.reshape(-1)
    for first in range(0, len(source), BLOCK):
        target[first : first + BLOCK] = _mixed(source[first : first + BLOCK].astype(np.uint64) + start)
    return out


def expand(seed: int, d: int) -> np.ndarray:
    """`d` words of 32 bits that look random, from a seed: an array of uint32 of shape (d,), the same on every machine.

    seed: an integer, 0 <= seed < 2^64; two seeds give two unrelated vectors. d: an integer >= 0. Words 2i and 2i + 1
    are the lower and the upper half of the hash of the number i (`mix64` in counter mode), so the first k words do not
    depend on `d`. Not a cryptographic generator: whoever sees two neighbouring words of it can compute all the others.

    Raises TypeError where `seed` or `d` is no integer, ValueError where one is out of range.

    Source: counter mode as in Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    >>> expand(7, 3).dtype, expand(7, 3).shape
    (dtype('uint32'), (3,))
    >>> bool((expand(7, 3) == expand(7, 100)[:3]).all()), bool((expand(7, 3) == expand(8, 3)).any())
    (True, False)
    """
    seed, d = operator.index(seed), operator.index(d)
    if d < 0:
        raise ValueError(f"d = {d}: it must be at least 0")
    if not 0 <= seed <= ALL_BITS:
        raise ValueError(f"seed = {seed}: it must lie between 0 and 2^64 - 1")
    words = np.empty(d + d % 2, np.uint32)
    for first in range(0, len(words), 2 * BLOCK):
        part = words[first : first + 2 * BLOCK]
        hashes = mix64(np.arange(first // 2, first // 2 + len(part) // 2, dtype=np.uint64), seed)
        part[0::2] = hashes & np.uint64(0xFFFFFFFF)
        part[1::2] = hashes >> np.uint64(32)
    return words[:d]


def _mixed(z: np.ndarray) -> np.ndarray:
    """The mixer, in place."""
    z ^= z >> np.uint64(30)
    z *= np.uint64(FIRST)
    z ^= z >> np.uint64(27)
    z *= np.uint64(SECOND)
    z ^= z >> np.uint64(31)
    return z


def _integers(keys) -> np.ndarray:
    """The keys as an array of integers; texts become their CRC-32."""
    array = np.asarray(keys)
    if array.dtype.kind in "iub":
        return array
    if array.size == 0:
        return array.astype(np.uint64)
    values = list(np.asarray(keys, object).flat)
    if all(isinstance(value, str) for value in values):
        values = [zlib.crc32(value.encode()) for value in values]
    elif all(isinstance(value, (int, np.integer)) for value in values):  # some beyond int64
        values = [int(value) & ALL_BITS for value in values]
    else:
        raise TypeError(f"keys of dtype {array.dtype}: integers or texts are hashed")
    return np.array(values, np.uint64).reshape(array.shape)
