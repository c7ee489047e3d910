"""mix64 is a bijection, spreads every bit, and is the same everywhere; expand makes words of it that look random."""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from lsml_utils.hashing import BLOCK, expand, mix64

LEVEL = 1e-6


def uniform_at(counts: np.ndarray) -> float:
    return scipy.stats.chisquare(counts).pvalue


@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_neighbouring_integers_have_different_and_even_hashes(seed):
    hashes = mix64(np.arange(-(10**5), 10**6), seed)
    assert len(np.unique(hashes)) == len(hashes)
    for shift in (0, 17, 54):
        cells = (hashes >> np.uint64(shift) & np.uint64(1023)).astype(int)
        assert uniform_at(np.bincount(cells, minlength=1024)) > LEVEL


def test_a_changed_bit_changes_each_bit_half_of_the_time():
    """Each of 64 × 64 shares of 20,000 pairs lies within 6.5 standard deviations: together a level of 4e-7."""
    keys = np.random.default_rng(0).integers(2**63, size=20_000).astype(np.uint64)
    for bit in range(64):
        changed = mix64(keys) ^ mix64(keys ^ np.uint64(1 << bit))
        share = np.unpackbits(changed.view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0)
        assert np.abs(share - 0.5).max() < 6.5 * 0.5 / np.sqrt(len(keys))


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2), (0, 2**32), (7, 2**63)])
def test_two_seeds_are_independent(first, second):
    a, b = (mix64(np.arange(10**6), seed) >> np.uint64(59) for seed in (first, second))
    assert uniform_at(np.bincount((a * np.uint64(32) + b).astype(int), minlength=1024)) > LEVEL


@pytest.mark.parametrize(("first", "second"), [(0, 1), (5, 6), (0, 1000), (0, 2**32), (2**64 - 1, 0)])
def test_another_seed_is_no_shifted_copy(first, second):
    """A hundred thousand neighbouring keys have no hash in common under two seeds: by chance once in 10^9."""
    keys = np.arange(100_000)
    common = np.intersect1d(mix64(keys, first), mix64(keys, second))
    assert len(common) == 0, f"{len(common):,} keys have the hash that another key has under the other seed"


def test_every_kind_of_integer_counts_by_its_value():
    expected = mix64(np.arange(100, dtype=np.uint64))
    for dtype in (np.int8, np.uint8, np.int16, np.int32, np.int64, object):
        assert np.array_equal(mix64(np.arange(100).astype(dtype)), expected)
    assert np.array_equal(mix64(list(range(100))), expected)
    assert np.array_equal(mix64(np.arange(200)[::2]), mix64(list(range(0, 200, 2))))
    assert mix64(-1) == mix64(2**64 - 1) and np.array_equal(mix64([2**63, -1]), [mix64(2**63), mix64(-1)])


def test_shapes_are_kept():
    assert mix64(5).shape == () and mix64([]).shape == (0,) and mix64([]).dtype == np.uint64
    assert mix64(np.arange(6).reshape(2, 3)).shape == (2, 3)
    keys = np.arange(BLOCK + 7)
    assert np.array_equal(mix64(keys)[BLOCK:], mix64(keys[BLOCK:])) and np.array_equal(keys, np.arange(BLOCK + 7))


def test_texts_are_the_same_in_another_process():
    code = "from lsml_utils.hashing import mix64; print(mix64(['visits', 'Zürich', 'a\\0']).tolist())"
    environment = os.environ | {"PYTHONHASHSEED": "123"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == f"{mix64(['visits', 'Zürich', chr(97) + chr(0)]).tolist()}\n"
    assert mix64("a\0") != mix64("a")


@pytest.mark.parametrize("keys", [1.5, [1.0, 2.0], ["a", 1], None, np.zeros(3)])
def test_other_keys_are_refused(keys):
    with pytest.raises(TypeError, match="integers or texts"):
        mix64(keys)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match="seed"):
        mix64(1, seed)


SEEDS = (0, 1, 2, 5, 1000, 2**32, 2**61 - 2, 2**63, 2**64 - 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_expanded_words_are_uniform(seed):
    """Bytes, pairs of neighbours and single bits, each at a level of 1e-6 / 80."""
    words = expand(seed, 400_000)
    for shift in (0, 8, 16, 24):
        cells = (words >> np.uint32(shift) & np.uint32(255)).astype(int)
        assert uniform_at(np.bincount(cells, minlength=256)) > LEVEL / 80
    for pairs in (words.reshape(-1, 2), words[1:-1].reshape(-1, 2)):
        top = (pairs >> np.uint32(27)).astype(int)
        assert uniform_at(np.bincount(top[:, 0] * 32 + top[:, 1], minlength=1024)) > LEVEL / 80
    ones = np.unpackbits(words.view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 6.5 * 0.5 / np.sqrt(len(words))


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2), (5, 6), (0, 1000), (0, 2**32), (2**64 - 1, 0)])
def test_neighbouring_seeds_expand_to_unrelated_words(first, second):
    """Their exclusive or is uniform, and no pair of words stands in both vectors, at whatever place."""
    a, b = expand(first, 200_000), expand(second, 200_000)
    cells = ((a ^ b) >> np.uint32(22)).astype(int)
    assert uniform_at(np.bincount(cells, minlength=1024)) > LEVEL
    assert uniform_at(np.bincount(((a - b) >> np.uint32(22)).astype(int), minlength=1024)) > LEVEL
    for start in (0, 1):
        blocks = [words[start : start + 199_998].astype(np.uint64).reshape(-1, 2) for words in (a, b)]
        blocks = [pairs[:, 0] << np.uint64(32) | pairs[:, 1] for pairs in blocks]
        assert len(np.intersect1d(*blocks)) == 0  # by chance once in 10^9


def test_a_longer_expansion_begins_with_the_shorter():
    whole = expand(3, 2 * BLOCK + 5)
    assert whole.dtype == np.uint32 and whole.shape == (2 * BLOCK + 5,)
    for d in (0, 1, 2, 3, 1000, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1):
        assert expand(3, d).shape == (d,) and np.array_equal(expand(3, d), whole[:d])
    assert np.array_equal(expand(np.int64(3), np.int64(7)), whole[:7])
    lower, upper = mix64(4, 3) & np.uint64(2**32 - 1), mix64(4, 3) >> np.uint64(32)
    assert (whole[8], whole[9]) == (lower, upper)


@pytest.mark.parametrize(("seed", "d", "error"), [(-1, 3, ValueError), (2**64, 0, ValueError), (1, -1, ValueError)])
def test_an_expansion_out_of_range_is_refused(seed, d, error):
    with pytest.raises(error, match="must"):
        expand(seed, d)


@pytest.mark.parametrize(("seed", "d"), [(1.0, 3), ("a", 3), (1, 2.5), (None, 1)])
def test_an_expansion_by_other_than_integers_is_refused(seed, d):
    with pytest.raises(TypeError):
        expand(seed, d)
