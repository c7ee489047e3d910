"""mix64 is a bijection, spreads every bit, and is the same everywhere."""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from lsml_utils.hashing import BLOCK, mix64

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
