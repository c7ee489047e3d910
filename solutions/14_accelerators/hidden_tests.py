"""Hidden tests of module 14. A docstring is the sentence that a student reads when the test fails.

What is moved is counted on this side: `load`, `store` and `mac` are functions of ours that an answer calls over the
wire. Nothing is asserted inside them; a test looks at their log afterwards. What lies outside raises ValueError there,
as the docstrings say.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from autograder.judging import (
    SEEDS,
    Argument,
    Asked,
    Contract,
    close,
    frozen,
    is_array,
    one_of,
    stepped,
    student_side,
    sum_rounding,
)

LEVEL = 1e-6  # of each statistical test
SINGLE = 2.0**-23


def laid_out(plain):
    """An argument that `plain(rng)` draws, in every memory layout."""
    return Argument(
        plain,
        {
            "in steps": lambda rng: stepped(plain(rng)),
            "backwards": lambda rng: np.flip(np.flip(plain(rng)).copy()),
            "in Fortran order": lambda rng: np.array(plain(rng), order="F"),
            "read-only": lambda rng: frozen(plain(rng)),
        },
        frozenset(),
    )


def ints(*values):
    return all(type(value) is int for value in values)


# ------------------------------------------------------------------------------------------------------- roofline


def attainable(flops, moved, peak, bandwidth):
    memory = moved > 0 and flops / peak < moved / bandwidth
    return (flops / moved * bandwidth, "memory") if memory else (float(peak), "compute")


@pytest.mark.exercise("roofline", weight=3, core=True, hint=1)
def test_slower_clock_decides(submission, rng):
    """The speed is the peak or intensity times bandwidth, whichever is less, and the word names the slower clock."""
    words = set()
    for _ in range(40):
        args = [float(10 ** rng.uniform(-2, 2)) for _ in range(4)]
        words.add(attainable(*args)[1])
        assert close(submission.roofline(*args), attainable(*args), rtol=1e-11)
    assert len(words) == 2


@pytest.mark.exercise("roofline", weight=2, hint=2)
def test_at_the_ridge(submission, rng):
    """At the ridge itself it is "compute"; with a little more to move it is "memory"."""
    for _ in range(10):
        flops, moved, bandwidth = (2.0 ** int(e) for e in rng.integers(-20, 20, 3))
        peak = flops / moved * bandwidth
        assert close(submission.roofline(flops, moved, peak, bandwidth), (peak, "compute"))
        assert close(submission.roofline(flops * (1 + 2.0**-30), moved, peak, bandwidth), (peak, "compute"))
        expected = flops / (moved * (1 + 2.0**-20)) * bandwidth
        got = submission.roofline(flops, moved * (1 + 2.0**-20), peak, bandwidth)
        assert close(got, (expected, "memory"), rtol=1e-12)


@pytest.mark.exercise("roofline", weight=1, hint=2)
def test_any_size_of_numbers(submission, rng):
    """The answer is right for large and small numbers, for ints, and where nothing is moved; it is a float."""
    for _ in range(30):
        args = [float(10 ** rng.uniform(-99, 99)) for _ in range(4)]
        assert close(submission.roofline(*args), attainable(*args), rtol=1e-12, typed=True)
    for args in [
        (3, 7, 100, 2),
        (10**40, 10**20, 10**30, 10**12),
        (5, 0, 3, 2),
        (1e-90, 0.0, 1e-80, 1e90),
        (6, 3, 2, 1),
    ]:
        assert close(submission.roofline(*args), attainable(*args), rtol=1e-12, typed=True)


# --------------------------------------------------------------------------------------------------- tiled_matmul


class Slow:
    """A, B and C far away; every call is remembered."""

    def __init__(self, rng, m, k, n, tile):
        self.sizes, self.tile = (m, k, n), tile
        self.matrices = {"A": rng.standard_normal((m, k)), "B": rng.standard_normal((k, n))}
        self.C, self.times = np.full((m, n), np.nan), np.zeros((m, n), int)
        self.load, self.store = Asked(self._load), Asked(self._store)
        self.typed = True

    def _outside(self, shape, i, j, h, w):
        fits = 1 <= h <= self.tile and 1 <= w <= self.tile
        return not (fits and 0 <= i <= shape[0] - h and 0 <= j <= shape[1] - w)

    def _load(self, name, i, j, h, w):
        self.typed &= ints(i, j, h, w)
        if name not in self.matrices or self._outside(self.matrices[name].shape, i, j, h, w):
            raise ValueError(f"{name} has no such block, or it is larger than the tile")
        return self.matrices[name][i : i + h, j : j + w].copy()

    def _store(self, i, j, block):
        self.typed &= ints(i, j) and is_array(block, (None, None), np.float64)
        block = np.asarray(block, float)
        if block.ndim != 2 or self._outside(self.C.shape, i, j, *block.shape):
            raise ValueError("C has no such block, or it is larger than the tile")
        place = np.s_[i : i + block.shape[0], j : j + block.shape[1]]
        self.C[place] = block
        self.times[place] += 1

    @property
    def words(self):
        return sum(h * w for _, _, _, h, w in self.load.calls)

    def right(self, eps=2.0**-52):
        A, B = self.matrices.values()
        if not (nothing := close(self.returned, None)):
            return nothing
        return close(self.C, A @ B, atol=sum_rounding(self.sizes[1], np.abs(A) @ np.abs(B), eps))


def multiplied(submission, rng, m, k, n, tile):
    slow = Slow(rng, m, k, n, tile)
    slow.returned = submission.tiled_matmul(slow.load, slow.store, m, k, n, tile)
    return slow


@pytest.mark.exercise("tiled_matmul", weight=2, core=True, hint=3)
@pytest.mark.parametrize("sizes", [(4, 4, 4, 2), (6, 2, 4, 2), (3, 9, 6, 3)])
def test_product_where_tiles_fit(submission, rng, sizes):
    """C is A B where the tile divides all sizes."""
    assert multiplied(submission, rng, *sizes).right(SINGLE)


@pytest.mark.exercise("tiled_matmul", weight=2, core=True, hint=2)
def test_product_with_ragged_edges(submission, rng):
    """C is A B for any sizes, also where the tile divides none of them, or is larger than all."""
    drawn = [rng.integers(1, 9, 4).tolist() for _ in range(8)]
    for sizes in [*drawn, (5, 7, 3, 2), (2, 3, 4, 9), (1, 1, 1, 1), (1, 5, 1, 3)]:
        assert multiplied(submission, rng, *sizes).right(SINGLE)


@pytest.mark.exercise("tiled_matmul", weight=4, core=True, hint=3)
def test_words_that_are_loaded(submission, rng):
    """As many numbers are loaded as the formula says: no block more often, and none is kept that has no place."""
    for m, k, n, tile in [(8, 8, 8, 2), (9, 10, 11, 4), (12, 3, 12, 3), (5, 12, 4, 2), (6, 6, 6, 7)]:
        slow = multiplied(submission, rng, m, k, n, tile)
        M, N = -(-m // tile), -(-n // tile)
        full = m * k * N + k * n * M
        # From one tile of C to the next, only the last block of A or the last one of B can be used again.
        assert full - (M * N - 1) * tile**2 <= slow.words <= full


@pytest.mark.exercise("tiled_matmul", weight=2, hint=3)
def test_blocks_in_few_calls(submission, rng):
    """Each entry of C is stored once, and blocks are as large as they can be: the calls are no more than promised."""
    for m, k, n, tile in [(8, 8, 8, 2), (7, 5, 9, 3), (4, 4, 4, 5), (1, 9, 2, 4)]:
        slow = multiplied(submission, rng, m, k, n, tile)
        M, K, N = (-(-size // tile) for size in (m, k, n))
        assert (slow.times == 1).all() and len(slow.store.calls) == M * N
        assert len(slow.load.calls) <= 2 * M * K * N


@pytest.mark.exercise("tiled_matmul", weight=2, hint=2)
def test_long_and_large(submission, rng):
    """It is right, and moves no more, where a size or the tile is above 100; ints and float64 arrays go out."""
    for m, k, n, tile in [(105, 1, 1, 1), (1, 106, 1, 1), (1, 1, 107, 1), (150, 151, 152, 140), (10, 130, 7, 128)]:
        slow = multiplied(submission, rng, m, k, n, tile)
        assert slow.right() and (slow.times == 1).all() and slow.typed
        assert slow.words <= m * k * -(-n // tile) + k * n * -(-m // tile)


# ------------------------------------------------------------------------------------------------ fused_layernorm


class Rows:
    """X and Y far away; every call is remembered."""

    def __init__(self, X, block):
        self.X, self.block = np.asarray(X, np.float32), block
        self.Y, self.times = np.full(self.X.shape, np.nan), np.zeros(self.X.shape, int)
        self.load, self.store = Asked(self._load), Asked(self._store)
        self.typed = True

    def _look(self, i, j, h):
        if not (1 <= h <= self.block and 0 <= i < len(self.X) and 0 <= j <= self.X.shape[1] - h):
            raise ValueError("there is no such block, or it is longer than allowed")

    def _load(self, i, j, h):
        self.typed &= ints(i, j, h)
        self._look(i, j, h)
        return self.X[i, j : j + h].copy()

    def _store(self, i, j, values):
        self.typed &= ints(i, j) and is_array(values, (None,), np.float32)
        values = np.asarray(values, float)
        self._look(i, j, values.size)
        self.Y[i, j : j + values.size] = values
        self.times[i, j : j + values.size] += 1

    @property
    def words(self):
        return sum(h for _, _, h in self.load.calls)

    def right(self, eps):
        if not (nothing := close(self.returned, None)):
            return nothing
        X = self.X.astype(np.longdouble)
        mean = X.mean(axis=1, keepdims=True)
        expected = ((X - mean) / np.sqrt(((X - mean) ** 2).mean(axis=1, keepdims=True) + eps)).astype(float)
        return close(self.Y, expected, atol=1e-5 * np.maximum(1, np.abs(expected)))


def layernormed(submission, X, block, eps=1e-5):
    slow = Rows(X, block)
    slow.returned = submission.fused_layernorm(slow.load, slow.store, *slow.X.shape, block, eps)
    return slow


def trended(rng, rows, width):
    """Rows whose blocks have unlike means and deviations."""
    return rng.standard_normal((rows, width)) * rng.uniform(0.1, 3, (rows, width)) + np.linspace(-2, 3, width)


@pytest.mark.exercise("fused_layernorm", weight=3, core=True, hint=2)
def test_rows_are_normalised(submission, rng):
    """Each row is (x - mean) / sqrt(biased variance + eps), whatever the block."""
    for width, block in [(6, 3), (8, 2), (7, 3), (5, 5), (12, 5)]:
        assert layernormed(submission, trended(rng, 3, width), block, 0.3).right(0.3)


@pytest.mark.exercise("fused_layernorm", weight=2, core=True, hint=3)
def test_far_from_zero(submission, rng):
    """It is right where the mean is a million times the deviation: no digits are lost in squares or by float32."""
    for width, block in [(64, 8), (50, 16), (33, 40)]:
        X = rng.standard_normal((4, width)) + 1e6 * rng.choice([-1, 1], (4, 1))
        assert layernormed(submission, X, block).right(1e-5)


@pytest.mark.exercise("fused_layernorm", weight=4, core=True, hint=1)
def test_each_number_moves_little(submission, rng):
    """Each number is loaded at most twice and stored once, and no row is kept on the chip."""
    for rows, width, block in [(3, 12, 4), (2, 13, 4), (4, 5, 5), (2, 3, 8), (1, 30, 1)]:
        slow = layernormed(submission, trended(rng, rows, width), block)
        assert rows * (2 * width - min(width, block)) <= slow.words <= 2 * rows * width
        assert (slow.times == 1).all()


@pytest.mark.exercise("fused_layernorm", weight=1.5)
def test_calls_and_kinds(submission, rng):
    """Blocks are as long as they can be, places are ints, and float32 arrays of one axis are stored."""
    for rows, width, block in [(3, 12, 4), (2, 13, 4), (1, 5, 9)]:
        slow = layernormed(submission, trended(rng, rows, width), block)
        blocks = rows * -(-width // block)
        assert len(slow.load.calls) <= 2 * blocks and len(slow.store.calls) == blocks and slow.typed


@pytest.mark.exercise("fused_layernorm", weight=2)
def test_rows_of_every_kind(submission, rng):
    """It is right for one number, constant rows, large and small numbers, any eps, many rows and long rows."""
    for scale in (2.0**-95, 2.0**-30, 2.0**30, 2.0**95):
        X = scale * trended(rng, 3, 10)
        for eps in (1e-8, 0.5, 120.0):
            assert layernormed(submission, X, 4, eps).right(eps)
        assert layernormed(submission, X, 4, float(scale) ** 2).right(scale**2)
    assert layernormed(submission, 1e-4 * trended(rng, 2, 9), 4, 1e-9).right(1e-9)
    assert layernormed(submission, np.full((2, 7), 3.7), 3).right(1e-5)
    assert layernormed(submission, rng.standard_normal((2, 1)), 1).right(1e-5)
    assert layernormed(submission, trended(rng, 105, 2), 2).right(1e-5)
    assert layernormed(submission, trended(rng, 1, 110), 1).right(1e-5)
    assert layernormed(submission, trended(rng, 2, 2500), 1200).right(1e-5)
    zeros = np.concatenate([np.zeros((1, 12)), rng.standard_normal((1, 12)) * rng.integers(0, 2, (1, 12))])
    assert layernormed(submission, zeros, 5).right(1e-5)
    wide = layernormed(submission, 1e5 + trended(rng, 1, 200_000), 16_384)
    assert wide.right(1e-5) and wide.words <= 400_000


# --------------------------------------------------------------------------------------------------- to_bfloat16


def floats_of(bits):
    return np.asarray(bits, np.uint32).view(np.float32)


def finite_floats(rng, *shape):
    """float32 of all sizes, by random bits."""
    x = floats_of(rng.integers(0, 2**32, shape, dtype=np.uint32))
    return np.where(np.isfinite(x) & (np.abs(x) < 3e38), x, np.float32(1.5))


def by_torch(x):
    return torch.from_numpy(np.array(x)).to(torch.bfloat16).float().numpy()


def same_bits(got, expected):
    """Whether float32 came, equal also in the signs of zeros, and NaN where NaN is due."""
    found = close(got, expected, typed=True)
    if not found:
        return found
    number = ~np.isnan(expected)
    return close(np.signbit(got)[number], np.signbit(expected)[number])


BFLOAT = Contract(
    "to_bfloat16",
    x=laid_out(lambda rng: finite_floats(rng, 6, 5)),
    mode=one_of("nearest", "stochastic", default="nearest"),
    seed=one_of(0, 3, default=0),
)


@pytest.mark.exercise("to_bfloat16", weight=3, core=True, hint=2)
def test_nearest_bfloat16(submission, rng):
    """Each number becomes the nearest bfloat16: as torch rounds it, for numbers of all sizes."""
    x = np.concatenate([rng.standard_normal(200).astype(np.float32), finite_floats(rng, 3000)])
    assert close(submission.to_bfloat16(x), by_torch(x))


@pytest.mark.exercise("to_bfloat16", weight=2, core=True, hint=2)
def test_ties_to_even(submission, rng):
    """A number in the middle of two bfloat16 goes to the even one; those just beside the middle do not."""
    upper = rng.integers(0x0080, 0x7F7F, 300, dtype=np.uint32) | (rng.integers(0, 2, 300, dtype=np.uint32) << 15)
    for lower in (0x8000, 0x7FFF, 0x8001):
        x = floats_of((upper << 16) | np.uint32(lower))
        assert close(submission.to_bfloat16(x), by_torch(x))


@pytest.mark.exercise("to_bfloat16", weight=2, hint=3)
def test_all_upper_halves(submission):
    """Zeros, subnormal numbers, overflow, infinities and NaN are right: all upper halves, with six lower ones."""
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        x = floats_of((np.arange(2**16, dtype=np.uint32) << 16) | np.uint32(lower))
        assert same_bits(submission.to_bfloat16(x), by_torch(x))


def surprise(ups, draws, chance):
    """Chi-squared of counts of independent binomials, and its number of terms."""
    return float((((ups - draws * chance) ** 2) / (draws * chance * (1 - chance))).sum()), len(ups)


@pytest.mark.exercise("to_bfloat16", weight=3, core=True, hint=2)
def test_stochastic_is_unbiased(submission, rng):
    """Each number goes to one of its two neighbours, up with the probability that keeps the expectation."""
    count, draws = 60, 1500
    lower = rng.integers(2000, 63_500, count, dtype=np.uint32)
    base = rng.integers(0x0100, 0x7F00, count, dtype=np.uint32) | (rng.integers(0, 2, count, dtype=np.uint32) << 15)
    x = np.tile(floats_of((base << 16) | lower), (draws, 1))
    got = np.asarray(submission.to_bfloat16(x, "stochastic", int(rng.integers(2**30))))
    down, up = floats_of(base << 16), floats_of((base + 1) << 16)
    assert close(got, np.where(np.abs(got) > np.abs(x), up, down))
    total, terms = surprise((got == up).sum(axis=0), draws, lower / 2**16)
    assert stats.chi2.isf(1 - LEVEL, terms) < total < stats.chi2.isf(LEVEL, terms)  # too regular is not random either


@pytest.mark.exercise("to_bfloat16", weight=1.5, hint=3)
def test_stochastic_leaves_bfloat16_alone(submission):
    """What is a bfloat16 stays, zeros with their signs, subnormals and infinities among them; NaN stays NaN."""
    x = floats_of(np.arange(2**16, dtype=np.uint32) << 16)
    assert same_bits(submission.to_bfloat16(x, "stochastic", 5), np.where(np.isnan(x), np.float32(np.nan), x))
    nan = floats_of([0x7F800001, 0x7F80FFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800001, 0xFFFF8000] * 50)
    assert np.isnan(np.asarray(submission.to_bfloat16(nan, "stochastic", 1), float)).all()
    near = np.full(2000, np.nextafter(np.float32(np.inf), np.float32(0)))  # goes to infinity but once in 65,536
    assert np.isinf(np.asarray(submission.to_bfloat16(near, "stochastic", 2), float)).sum() > 1950


@pytest.mark.exercise("to_bfloat16", weight=1.5)
def test_seeds_of_the_rounding(submission):
    """The same seed gives the same result; other seeds, and other places, give unrelated draws."""
    n = 3000
    x = np.full(n, 1 + 2.0**-8, np.float32)  # up with probability 1/2
    ups = {seed: np.asarray(submission.to_bfloat16(x, "stochastic", seed)) > 1 for seed in SEEDS}
    assert close(submission.to_bfloat16(x, "stochastic", SEEDS[-1]), np.where(ups[SEEDS[-1]], 1 + 2.0**-7, 1.0))
    assert close(submission.to_bfloat16(x, "stochastic"), np.where(ups[0], 1 + 2.0**-7, 1.0))
    far = stats.binom.isf(LEVEL / 400, n, 0.5)  # 120 pairs of seeds and a few lags, both sides
    for one, other in itertools.combinations(ups.values(), 2):
        assert n - far <= (one == other).sum() <= far
    first = ups[1]
    for lag in (1, 2, 3, 16):
        agreed = int((first[lag:] == first[:-lag]).sum()) + lag // 2
        assert n - far - lag <= agreed <= far


@pytest.mark.exercise("to_bfloat16", weight=2, hint=1)
def test_arrays_of_every_shape(submission, rng):
    """Arrays of any layout and shape, empty ones and single numbers too, come back as float32 of that shape."""
    for case in BFLOAT.cases(rng):
        if case.exact[1] == "nearest":
            assert same_bits(submission.to_bfloat16(*case), by_torch(case.args[0]))
    for shape in [(), (0,), (3, 0, 2), (1,), (2, 3, 4), (1001,), (1, 1200)]:
        x = finite_floats(rng, *shape)
        assert same_bits(submission.to_bfloat16(x), by_torch(x))
        rounded = by_torch(x)
        assert same_bits(submission.to_bfloat16(rounded, "stochastic", 3), rounded)
    BFLOAT.refuses(submission, rng, ValueError, mode=["up", "Nearest", " nearest", "STOCHASTIC", ""])


@pytest.mark.exercise("to_bfloat16", weight=8, hint=1, seconds=2)
def test_millions_of_numbers(submission, rng):
    """Millions of numbers take a moment, in both modes: whole arrays are computed, not single numbers."""
    x = rng.standard_normal(3_000_000, dtype=np.float32)
    assert close(submission.to_bfloat16(x), by_torch(x))
    rare = np.where(np.arange(len(x)) % 2, floats_of(0x3F800001), floats_of(0x3F80FFFF))  # 2^-16 from a bfloat16
    got = submission.to_bfloat16(rare, "stochastic", int(rng.integers(2**30)))
    assert is_array(got, x.shape)
    far = float(np.sum(np.abs(np.asarray(got) - rare) > 2.0**-8))  # about 46 go the long way
    assert stats.poisson.isf(1 - LEVEL, len(x) / 2**16) <= far <= stats.poisson.isf(LEVEL, len(x) / 2**16)
    for lower in (0, 1):
        assert (
            np.sum(np.abs(np.asarray(got) - rare)[lower::2] > 2.0**-8) > 0
        )  # none of them: once in ten thousand millions


@student_side
def round_with_own_state(x):
    """The global generator's next number after calls in both modes (runs over there)."""
    found = []
    for mode in ("nearest", "stochastic"):
        np.random.seed(5)
        student.to_bfloat16(x, mode, 9)  # noqa: F821
        found.append(float(np.random.random()))
    return found


@pytest.mark.exercise("to_bfloat16", weight=1, forgeable=True)
def test_rounding_leaves_no_trace(submission, rng):
    """x stays as it is, nothing is shared with the result, and NumPy's global random state is left alone."""
    state = np.random.RandomState(5).random_sample()
    assert close(submission.run(round_with_own_state, np.ones(4, np.float32)), [state, state])
    assert BFLOAT.leaves_no_trace(submission, rng, then=[{}, {"mode": "stochastic"}], mode=["up"])


# ---------------------------------------------------------------------------------------------------- LossScaler


@student_side
def updated(oks, settings):
    """The scales after each update of one object (runs over there)."""
    scaler = student.LossScaler(**settings)  # noqa: F821
    scales = [scaler.scale]
    for ok in oks:
        scaler.update(ok)
        scales.append(scaler.scale)
    return scales


def scales_by_torch(oks, scale=65536.0, growth=2.0, backoff=0.5, interval=2000):
    """By the function that torch.amp.GradScaler calls; exact for powers of two."""
    value, count = torch.tensor(scale), torch.tensor(0, dtype=torch.int32)
    found = [scale]
    for ok in oks:
        torch._amp_update_scale_(value, count, torch.tensor(float(not ok)), growth, backoff, interval)
        found.append(float(value))
    return found


def gradients(rng, scale=1.0):
    """Gradients of several shapes, in float16 and float32, that have been multiplied by a scale."""
    return [
        (scale * rng.standard_normal((3, 4)) * 1e-3).astype(np.float16),
        (scale * rng.standard_normal(5) * 1e-3).astype(np.float32),
    ]


def unscaled(grads, scale):
    return [np.asarray(g, float) / scale for g in grads]


UNSCALED = {"rtol": 1e-6, "atol": 1e-44}


@pytest.mark.exercise("LossScaler", weight=3, core=True, hint=2)
def test_gradients_without_the_scale(submission, rng):
    """unscale gives each gradient divided by the scale, in float32, also where float16 would make it 0."""
    for scale in (1024.0, 2.0**20, 3.0):
        grads = gradients(rng, min(scale, 1e6))
        got, ok = submission.LossScaler(scale).unscale(grads)
        assert close(got, unscaled(grads, scale), **UNSCALED) and close(ok, True)


@pytest.mark.exercise("LossScaler", weight=2, core=True, hint=2)
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite(submission, rng, bad):
    """ok is False if any number of any array is inf or nan, wherever it stands."""
    scaler = submission.LossScaler(64.0)
    for kind, size, place in [(np.float16, 4, 3), (np.float32, 4, 0), (np.float16, 1500, -1), (np.float32, 1500, -1)]:
        first, last = np.ones(size, kind), np.ones((2, 2), np.float32)
        assert close(scaler.unscale([last, first])[1], True)
        first[place] = bad
        for grads in ([last, first], [first, last], [first]):
            assert close(scaler.unscale(grads)[1], False)


@pytest.mark.exercise("LossScaler", weight=3, core=True, hint=3)
def test_scale_adapts(submission, rng):
    """The scale grows after `interval` good steps in a row, shrinks after a bad one, and both restart the count."""
    for settings in [
        {"scale": 1024.0, "growth": 2.0, "backoff": 0.5, "interval": 3},
        {"scale": 2.0**15, "growth": 4.0, "backoff": 0.25, "interval": 5},
        {"scale": 1.0, "growth": 2.0, "backoff": 0.5, "interval": 1},
    ]:
        oks = (rng.random(60) > 0.15).tolist()
        assert close(submission.run(updated, oks, settings), scales_by_torch(oks, **settings), rtol=1e-12)


@pytest.mark.exercise("LossScaler", weight=2, hint=3)
def test_defaults_and_borders(submission):
    """The defaults are 65536, 2, 1/2 and 2000 steps, an interval is counted exactly, and the scale has no limits."""
    oks = [True] * 1999 + [False] + [True] * 2000 + [False] * 3
    assert close(submission.run(updated, oks, {}), scales_by_torch(oks), typed=True)
    assert close(submission.run(updated, [False] * 150, {}), [2.0 ** (16 - i) for i in range(151)], typed=True)
    grown = submission.run(updated, [True] * 80, {"interval": 1, "growth": 2.0})
    assert close(grown, [2.0 ** (16 + i) for i in range(81)], typed=True)
    odd = submission.run(updated, [True, False, True], {"scale": 10.0, "growth": 12.5, "backoff": 1e-7, "interval": 1})
    assert close(odd, [10.0, 125.0, 1.25e-5, 1.5625e-4], rtol=1e-12, typed=True)
    same = submission.run(updated, [True, False], {"growth": 1.0, "backoff": 1.0, "interval": 1})
    assert close(same, [65536.0] * 3, typed=True)


@student_side
def used(grads, bad):
    """Scales around calls of unscale, and of a second object (runs over there)."""
    one, other = student.LossScaler(8.0, 2.0, 0.5, 2), student.LossScaler(32.0, 4.0, 0.5, 3)  # noqa: F821
    found = []
    for step in range(6):
        one.unscale(bad if step % 2 else grads)
        one.update(True)
        other.update(step != 3)
        found += [one.scale, other.scale]
    return found


@pytest.mark.exercise("LossScaler", weight=1)
def test_unscale_changes_no_state(submission, rng):
    """unscale leaves scale and count alone, and two objects know nothing of each other."""
    bad = [np.array([np.inf, 1], np.float16)]
    expected = [8.0, 32, 16, 32, 16, 128, 32, 64, 32, 64, 64, 64]
    assert close(submission.run(used, gradients(rng), bad), expected)


@pytest.mark.exercise("LossScaler", weight=2, hint=2)
def test_gradients_of_every_kind(submission, rng):
    """Arrays of any shape and layout, mixed kinds and an empty list: float32 arrays in the same order, and a bool."""
    scaler = submission.LossScaler(256.0)
    assert close(scaler.unscale([]), ([], True), typed=True)
    drawn = [
        rng.standard_normal(shape).astype(kind)
        for kind in (np.float16, np.float32)
        for shape in [(4, 3), (), (0,), (2, 1, 5)]
    ]
    drawn += [stepped(drawn[0]), np.array(drawn[4], order="F"), frozen(drawn[0]), np.zeros(3, np.float16)]
    drawn.append((rng.standard_normal(1200) * 1e7).astype(np.float32))
    drawn.append(np.array([65504, -(2.0**-24), 2.0**-24, 0], np.float16))
    for grads in [drawn, drawn[:1], [drawn[0]] * 250]:
        expected = [np.asarray(e, np.float32) for e in unscaled(grads, 256.0)]
        got, ok = scaler.unscale(grads)
        assert close(got, expected, **UNSCALED, typed=True) and close(ok, True, typed=True)
        assert close([np.shape(g) for g in got], [e.shape for e in expected])
    assert close(scaler.unscale([np.array([np.nan], np.float16)])[1], False, typed=True)
    huge = [np.array([1e-3, 1e37], np.float32), np.array([2.0**-24], np.float16)]
    for scale in (2.0**-6, 2.0**60, 1e-9):
        args = huge[:1] if scale > 1 else [np.array([1e-3, 3.0], np.float32), huge[1]]
        assert close(submission.LossScaler(scale).unscale(args)[0], unscaled(args, scale), **UNSCALED)


@student_side
def unscale_twice(first, second):
    """What is wrong after two calls of one object, in words (runs over there)."""
    scaler = student.LossScaler(4.0)  # noqa: F821
    kept = [g.copy() for g in first]
    got, _ = scaler.unscale(first)
    before = [g.copy() for g in got]
    again, _ = scaler.unscale(second)
    third, _ = scaler.unscale(first)
    if any(a.tobytes() != b.tobytes() for a, b in zip(kept, first, strict=True)):
        return "unscale changes the gradients"
    if any(np.shares_memory(a, b) for a in got for b in [*first, *again, *third]):
        return "what unscale returns shares memory"
    if any(a.tobytes() != b.tobytes() for a, b in zip(before, got, strict=True)) or any(
        a.tobytes() != b.tobytes() for a, b in zip(got, third, strict=True)
    ):
        return "a later call changes what an earlier one returned, or gives something else"
    for g in first:
        g *= 2
    doubled, _ = scaler.unscale(first)
    return (
        "" if all((a == 2 * b).all() for a, b in zip(doubled, before, strict=True)) else "a changed array is not seen"
    )


@pytest.mark.exercise("LossScaler", weight=1, forgeable=True)
def test_unscale_leaves_no_trace(submission, rng):
    """The gradients stay as they are, and each call returns new arrays."""
    for kind in (np.float16, np.float32):
        first, second = ([rng.integers(-8, 8, (3, 2)).astype(kind)] for _ in range(2))
        assert close(submission.run(unscale_twice, first, second), "")


# -------------------------------------------------------------------------------------------------- clipped_step


def steps_of(theta, grads, scale, limit, lr):
    if not all(np.isfinite(np.asarray(g, float)).all() for g in grads):
        return [np.asarray(t, float) for t in theta]
    true = [np.asarray(g, float) / scale for g in grads]
    norm = math.sqrt(sum((g**2).sum() for g in true))
    factor = min(1.0, limit / norm) if norm > 0 else 1.0
    return [np.asarray(t, float) - lr * factor * g for t, g in zip(theta, true, strict=True)]


def stepped_right(submission, *args, typed=False):
    expected = steps_of(*args)
    sizes = [np.abs(np.asarray(t, float)).max() + np.abs(e - t).max() for t, e in zip(args[0], expected, strict=True)]
    got = submission.clipped_step(*args)
    if not close(got, expected, atol=np.inf):
        return close(got, expected)
    pairs = zip(got, expected, sizes, strict=True)
    found = [close(g, e.astype(np.float32), atol=1e-5 * size, typed=typed) for g, e, size in pairs]
    return next((each for each in found if not each), found[0])


def parameters(rng, shapes=((3, 4), (4,), (2, 1, 3))):
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def scaled_gradients(rng, scale, norm, kind=np.float32, shapes=((3, 4), (4,), (2, 1, 3))):
    """Gradients times a scale, whose norm without it is `norm`."""
    drawn = [rng.standard_normal(shape) for shape in shapes]
    size = math.sqrt(sum((g**2).sum() for g in drawn))
    return [(scale * norm / size * g).astype(kind) for g in drawn]


@pytest.mark.exercise("clipped_step", weight=3, core=True, hint=2)
def test_limit_is_for_the_true_gradient(submission, rng):
    """A gradient whose true norm is below the limit is not clipped, whatever the scale."""
    for scale in (1024.0, 2.0**16, 3.0, 0.25):
        grads = scaled_gradients(rng, scale, 0.7)
        assert stepped_right(submission, parameters(rng), grads, scale, 1.0, 0.5)


@pytest.mark.exercise("clipped_step", weight=3, core=True)
def test_clipped_to_the_limit(submission, rng):
    """A gradient whose true norm is above the limit is shortened to the limit, all arrays by one factor."""
    for scale in (1024.0, 2.0**16, 3.0, 0.25):
        grads = scaled_gradients(rng, scale, 9.0)
        assert stepped_right(submission, parameters(rng), grads, scale, 2.0, 0.5)


@pytest.mark.exercise("clipped_step", weight=3, core=True, hint=2)
def test_gradients_in_float16(submission, rng):
    """float16 gradients are divided by the scale in float32: also by 65,536, which float16 does not hold."""
    for scale in (2.0**16, 2.0**20, 512.0):
        grads = scaled_gradients(rng, 1.0, 400.0, np.float16)
        for limit in (100.0 / scale, 1000.0 / scale):
            assert stepped_right(submission, parameters(rng), grads, scale, limit, scale / 100)


STEP = Contract(
    "clipped_step",
    theta=Argument(parameters, {"read-only": lambda rng: [frozen(t) for t in parameters(rng)]}, frozenset()),
    grads=Argument(
        lambda rng: scaled_gradients(rng, 64.0, 5.0),
        {
            "float16": lambda rng: scaled_gradients(rng, 64.0, 5.0, np.float16),
            "in steps": lambda rng: [stepped(g) for g in scaled_gradients(rng, 64.0, 5.0)],
            "read-only": lambda rng: [frozen(g) for g in scaled_gradients(rng, 64.0, 5.0)],
            "small": lambda rng: scaled_gradients(rng, 64.0, 1e-4),
            "zeros": lambda rng: [0 * g for g in scaled_gradients(rng, 64.0, 1.0)],
        },
        frozenset(),
    ),
    scale=one_of(64.0, 1.0, 2.0**-4, 1e-3, 1e-8, 2.0**20),
    limit=one_of(1.0, 1e-7, 5.0, 40.0),
    lr=one_of(0.1, 1e-8, 30.0),
)


@pytest.mark.exercise("clipped_step", weight=2)
def test_steps_of_every_kind(submission, rng):
    """float16 and float32, any layout, scale, limit and rate, gradients of 0: float32 arrays come back."""
    for case in STEP.cases(rng):
        assert stepped_right(submission, *case.args, typed=True)
    big = [np.full((40, 40), 60_000, np.float16)]  # the squares and their sum are beyond float16
    assert stepped_right(submission, [np.ones((40, 40), np.float32)], big, 2.0**16, 3.0, 1.0, typed=True)
    many = [np.ones(2, np.float32)] * 230
    assert stepped_right(submission, many, [np.full(2, 3, np.float16)] * 230, 2.0, 5.0, 0.5)
    long = rng.standard_normal(1500).astype(np.float32)
    assert stepped_right(submission, [long], [long[::-1] * np.float32(8)], 4.0, 3.0, 0.5)
    zeros = [np.zeros(3, np.float32), np.ones(1, np.float32)]
    assert stepped_right(submission, zeros, [np.ones(3, np.float16), np.zeros(1, np.float16)], 1.0, 1.0, 1.0)
    assert stepped_right(submission, parameters(rng), scaled_gradients(rng, 1e-8, 0.5), 1e-8, 1.0, 0.5)
    tiny = [1e-9 * t for t in parameters(rng)]
    assert stepped_right(submission, tiny, scaled_gradients(rng, 1.0, 1e-8), 1.0, 1e-8, 0.1)
    assert stepped_right(submission, [1e9 * t for t in tiny], scaled_gradients(rng, 1.0, 1e9), 1.0, 1e10, 1e3)


@pytest.mark.exercise("clipped_step", weight=1.5)
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_no_step_where_a_gradient_is_not_finite(submission, rng, bad):
    """With an inf or a nan in any array no step is made: theta comes back, in new arrays."""
    theta = parameters(rng)
    for place in range(3):
        grads = scaled_gradients(rng, 8.0, 2.0, np.float16)
        grads[place].flat[-1] = bad
        assert stepped_right(submission, theta, grads, 8.0, 1.0, 0.5, typed=True)


@pytest.mark.exercise("clipped_step", weight=1, forgeable=True)
def test_step_leaves_no_trace(submission, rng):
    """theta and grads stay as they are, and new arrays come back, also where no step is made."""
    bad = [np.full(shape, np.inf, np.float16) for shape in ((3, 4), (4,), (2, 1, 3))]
    assert STEP.leaves_no_trace(submission, rng, then=[{}, {"grads": bad}, {"limit": 100.0}])


# ------------------------------------------------------------------------------------------------------ quantize


def right_codes(got, w, bits, axis=None, typed=False):
    """Whether codes and scales are the quantiser's: the scale by its formula, no code off by more than half a step."""
    exact, top = np.asarray(w, float), 2 ** (bits - 1) - 1
    others = tuple(i for i in range(exact.ndim) if axis is None or i != axis % exact.ndim)
    largest = np.abs(exact).max(axis=others, keepdims=True)
    scales = np.where(largest > 0, largest / top, 1.0)
    kind = w.dtype if typed else np.float64
    fake = np.zeros(exact.shape, np.int8), scales.reshape(-1).astype(kind)
    if not (found := close(got, fake, atol=np.inf, typed=typed)):
        return found
    rtol = 1e-6 if np.asarray(w).dtype == np.float32 else 1e-14
    if not (found := close(got[1], scales.reshape(-1), rtol=rtol)):
        return found
    codes = np.asarray(got[0], float)
    if not (found := close(np.abs(codes) <= top, np.ones(codes.shape, bool))):
        return found
    return close(codes - exact / scales, np.zeros(codes.shape), atol=0.5 + 1e-4)


QUANTIZE = Contract(
    "quantize",
    w=Argument(
        lambda rng: rng.standard_normal((6, 5)),
        {
            "in steps": lambda rng: stepped(rng.standard_normal((6, 5))),
            "backwards": lambda rng: np.flip(rng.standard_normal((6, 5))),
            "in Fortran order": lambda rng: np.array(rng.standard_normal((6, 5)), order="F"),
            "read-only": lambda rng: frozen(rng.standard_normal((6, 5))),
            "float32": lambda rng: rng.standard_normal((6, 5)).astype(np.float32),
            "float32 in steps": lambda rng: stepped(rng.standard_normal((6, 5)).astype(np.float32)),
            "large": lambda rng: 2e29 * rng.uniform(-1, 1, (6, 5)),
            "small": lambda rng: 1e-29 * rng.uniform(0.2, 1, (6, 5)),
            "small float32": lambda rng: (1e-29 * rng.uniform(0.2, 1, (6, 5))).astype(np.float32),
            "zeros among them": lambda rng: rng.standard_normal((6, 5)) * rng.integers(0, 2, (6, 5)),
            "only zeros": lambda rng: np.zeros((6, 5)),
        },
        frozenset(),
    ),
    bits=one_of(8, *range(2, 8)),
    axis=one_of(None, 0, 1, -1, -2, default=None),
)


@pytest.mark.exercise("quantize", weight=3, core=True, hint=1)
def test_one_scale_for_all(submission, rng):
    """Without an axis there is one scale, max |w| / (2^(bits - 1) - 1), and no code is off by more than half a step."""
    for bits in range(2, 9):
        for w in (rng.standard_normal((5, 4)), -np.abs(rng.standard_normal((5, 4)))):
            assert right_codes(submission.quantize(w, bits), w, bits)


@pytest.mark.exercise("quantize", weight=3, core=True, hint=1)
def test_one_scale_for_each_channel(submission, rng):
    """With an axis each index along it has a scale of its own, from its own entries."""
    for shape, axis in [((4, 5), 0), ((4, 5), 1), ((3, 4, 5), 1), ((3, 4, 5), 2), ((4, 4), 0), ((4, 4), 1)]:
        w = rng.standard_normal(shape) * np.exp(rng.standard_normal(shape[axis])).reshape(
            [-1 if i == axis else 1 for i in range(len(shape))]
        )
        assert right_codes(submission.quantize(w, 8, axis), w, 8, axis)


@pytest.mark.exercise("quantize", weight=2, hint=2)
def test_ties_go_to_even(submission, rng):
    """A weight in the middle of two codes gets the even one."""
    for bits in (4, 8):
        top = 2 ** (bits - 1) - 1
        halves = np.arange(-top + 0.5, top, 1.0)
        for scale in (0.25, 2.0**20):
            w = scale * np.concatenate([halves, [top, -top]])
            for kind in (np.float64, np.float32):
                codes, scales = submission.quantize(w.astype(kind), bits)
                assert close(scales, np.array([scale])) and close(codes, np.rint(w / scale).astype(np.int8))


@pytest.mark.exercise("quantize", weight=2, hint=2)
def test_zeros_and_outliers(submission, rng):
    """A channel of zeros has scale 1; an outlier changes the scale of its own channel and of no other."""
    w = rng.standard_normal((5, 300))
    w[2] = 0
    before = submission.quantize(w, 8, 0)
    w[3, 299], w[4, 7] = 1e12, -1e12
    after = submission.quantize(w, 8, 0)
    assert right_codes(before, np.where(np.abs(w) > 1e11, 0, w), 8, 0) or right_codes(after, w, 8, 0)
    assert right_codes(after, w, 8, 0)
    assert close(np.asarray(after[0])[:3], np.asarray(before[0])[:3]) and close(
        np.asarray(after[1])[:3], np.asarray(before[1])[:3]
    )
    assert close(submission.quantize(np.zeros((2, 3)), 4), (np.zeros((2, 3), np.int8), np.ones(1)), typed=True)


@pytest.mark.exercise("quantize", weight=2)
def test_weights_of_every_kind(submission, rng):
    """float64 and float32 of any layout, size and number of axes: int8 codes and scales in the dtype of w."""
    for case in QUANTIZE.cases(rng):
        w, bits, axis = case.args if len(case.args) == 3 else (*case.args, None)
        assert right_codes(submission.quantize(*case), w, bits, axis, typed=True)
    for shape, axis in [
        ((7,), 0),
        ((7,), -1),
        ((7,), None),
        ((1,), 0),
        ((2, 3, 2, 2), -3),
        ((1200, 2), 0),
        ((2, 1200), 0),
        ((1, 1), 1),
    ]:
        w = rng.standard_normal(shape).astype(np.float32)
        assert right_codes(submission.quantize(w, 5, axis), w, 5, axis, typed=True)


@pytest.mark.exercise("quantize", weight=1, forgeable=True)
def test_quantize_leaves_no_trace(submission, rng):
    """w stays as it is, and nothing is shared with the results."""
    assert QUANTIZE.leaves_no_trace(submission, rng, then=[{}, {"axis": 0}, {"w": np.zeros((6, 5))}])
    one = Contract("quantize", w=laid_out(lambda rng: rng.choice([-7.0, 7.0], 4)), bits=4, axis=0)
    assert one.leaves_no_trace(submission, rng)


# --------------------------------------------------------------------------------------------------- int8_linear


def codes_of(rng, *shape):
    return rng.integers(-127, 127, shape, np.int8, endpoint=True)


def linear(xq, xs, wq, ws):
    sums = np.asarray(xq, np.int64) @ np.asarray(wq, np.int64).T
    return sums * np.asarray(xs, float)[:, None] * np.asarray(ws, float)


def scales_of(rng, n):
    return (10 ** rng.uniform(-3, 1, n)).astype(np.float32)


INT8 = Contract(
    "int8_linear",
    xq=laid_out(lambda rng: codes_of(rng, 3, 40)),
    xs=laid_out(lambda rng: scales_of(rng, 3)),
    wq=laid_out(lambda rng: codes_of(rng, 5, 40)),
    ws=laid_out(lambda rng: scales_of(rng, 5)),
)


@pytest.mark.exercise("int8_linear", weight=2, core=True, hint=1)
def test_products_of_codes(submission, rng):
    """Each entry is the sum of products of codes times both scales; the sum does not wrap around."""
    for m, k, n in [(2, 3, 4), (4, 60, 3), (3, 200, 3)]:
        args = codes_of(rng, m, k), scales_of(rng, m), codes_of(rng, n, k), scales_of(rng, n)
        sizes = linear(np.abs(args[0].astype(int)), args[1], np.abs(args[2].astype(int)), args[3])
        assert close(submission.int8_linear(*args), linear(*args), atol=1e-5 * sizes)


@pytest.mark.exercise("int8_linear", weight=3, core=True, hint=1)
def test_sums_are_exact(submission, rng):
    """The sum of integers is exact: over 100,000 products, and where nearly all of them cancel."""
    k = 100_000
    half = codes_of(rng, k // 2)
    x = np.concatenate([half, half])
    w = np.concatenate([np.full(k // 2, 127), np.full(k // 2, -127)]).astype(np.int8)
    odd = np.concatenate([codes_of(rng, 1), w[1:]])
    full = np.full(k, 127, np.int8)
    one = np.ones(2, np.float32)
    for pair in [(x, full), (full, -full)]:
        args = np.stack(pair), one, np.stack([w, odd, full]), np.ones(3, np.float32)
        expected = linear(*args)
        assert close(submission.int8_linear(*args), expected, rtol=1e-6)


@student_side
def on_many_codes(seed, m, k, n):
    """int8_linear on codes that are drawn over there."""
    rng = np.random.default_rng(seed)
    wq = rng.integers(-127, 127, (n, k), np.int8, endpoint=True)
    xq = rng.integers(-127, 127, (m, k), np.int8, endpoint=True)
    return student.int8_linear(xq, np.ones(m, np.float32), wq, np.ones(n, np.float32))  # noqa: F821


@pytest.mark.exercise("int8_linear", weight=5, hint=2, memory_mb=112)
def test_weights_are_not_made_wide(submission, rng):
    """No copy of all weights in another dtype is made: the memory that is needed is small beside theirs."""
    seed, (m, k, n) = int(rng.integers(2**30)), (2, 100_000, 400)  # 40 MB of codes, 33 MB for a BLAS; int16: 80 MB
    got = submission.run(on_many_codes, seed, m, k, n)
    rng = np.random.default_rng(seed)
    wq = rng.integers(-127, 127, (n, k), np.int8, endpoint=True)
    xq = rng.integers(-127, 127, (m, k), np.int8, endpoint=True).astype(float)
    expected = np.concatenate([xq @ wq[j : j + 50].T.astype(float) for j in range(0, n, 50)], axis=1)
    assert close(got, expected, rtol=1e-6)


@pytest.mark.exercise("int8_linear", weight=2)
def test_codes_of_every_kind(submission, rng):
    """Codes and scales of any layout and size; float32 comes back, right to its last digits."""
    for case in INT8.cases(rng):
        assert close(submission.int8_linear(*case), linear(*case.args).astype(np.float32), rtol=1e-6, typed=True)
    for m, k, n in [(1, 1, 1), (1200, 3, 2), (2, 3, 1200), (1, 1500, 1), (130, 2, 140)]:
        args = codes_of(rng, m, k), scales_of(rng, m), codes_of(rng, n, k), scales_of(rng, n)
        assert close(submission.int8_linear(*args), linear(*args).astype(np.float32), rtol=1e-6, typed=True)
    for scale in (1e-12, 1e13):
        args = codes_of(rng, 3, 9), np.float32(scale) * scales_of(rng, 3), codes_of(rng, 2, 9), scales_of(rng, 2)
        assert close(submission.int8_linear(*args), linear(*args), rtol=1e-6)
        swapped = args[0], args[1] / np.float32(scale), args[2], np.float32(scale) * args[3]
        assert close(submission.int8_linear(*swapped), linear(*swapped), rtol=1e-6)
    zeros = np.zeros((2, 5), np.int8), scales_of(rng, 2), codes_of(rng, 3, 5), scales_of(rng, 3)
    assert close(submission.int8_linear(*zeros), np.zeros((2, 3), np.float32), typed=True)


@pytest.mark.exercise("int8_linear", weight=1, forgeable=True)
def test_int8_linear_leaves_no_trace(submission, rng):
    """No argument changes, and the result is a new array."""
    assert INT8.leaves_no_trace(submission, rng)


# ----------------------------------------------------------------------------------------------------- pack_int4


def packed_by_hand(codes):
    n, k = codes.shape
    out = np.zeros((n, -(-k // 2)), np.uint8)
    for r, c in np.ndindex(n, k):
        out[r, c // 2] |= (int(codes[r, c]) % 16) << (4 * (c % 2))
    return out


PACK = Contract("pack_int4", codes=laid_out(lambda rng: rng.integers(-8, 7, (4, 6), np.int8, endpoint=True)))
UNPACK = Contract("unpack_int4", packed=laid_out(lambda rng: rng.integers(0, 256, (4, 3), np.uint8)), k=one_of(6, 5))


@pytest.mark.exercise("pack_int4", weight=3, core=True, hint=1)
def test_two_codes_in_a_byte(submission, rng):
    """The even columns stand in the lower four bits and the odd ones in the upper, each in two's complement."""
    for n, k in [(1, 2), (3, 8), (2, 5), (4, 1)]:
        codes = rng.integers(-8, 7, (n, k), np.int8, endpoint=True)
        assert close(submission.pack_int4(codes), packed_by_hand(codes))


@pytest.mark.exercise("pack_int4", weight=3, core=True, hint=3)
def test_codes_come_back(submission, rng):
    """unpack_int4 gives the codes that were packed, for an even and for an odd number of columns."""
    for n, k in [(1, 2), (3, 8), (2, 5), (4, 1)]:
        codes = rng.integers(-8, 7, (n, k), np.int8, endpoint=True)
        assert close(submission.unpack_int4(packed_by_hand(codes), k), codes)


@pytest.mark.exercise("pack_int4", weight=1)
def test_codes_of_every_layout(submission, rng):
    """All bytes, any layout and long arrays: uint8 and int8 come back, and the last upper half is 0 for odd k."""
    every = np.arange(256, dtype=np.uint8)[None]
    low, high = (every & 15).astype(int), (every >> 4).astype(int)
    codes = np.stack([low - 16 * (low > 7), high - 16 * (high > 7)], axis=-1).reshape(1, -1).astype(np.int8)
    assert close(submission.unpack_int4(every, 512), codes, typed=True)
    assert close(submission.unpack_int4(every, 511), codes[:, :511], typed=True)
    assert close(submission.pack_int4(codes), every, typed=True)
    for case in PACK.cases(rng):
        assert close(submission.pack_int4(*case), packed_by_hand(case.args[0]), typed=True)
    for case in UNPACK.cases(rng):
        got = submission.unpack_int4(*case)
        assert is_array(got, (4, case.args[1]), np.int8)
        full = packed_by_hand(np.asarray(got))
        assert close(full[:, :2], case.args[0][:, :2])
    for shape in [(1200, 3), (2, 1300), (130, 131)]:
        codes = rng.integers(-8, 7, shape, np.int8, endpoint=True)
        packed = submission.pack_int4(codes)
        assert close(packed, packed_by_hand(codes), typed=True)
        assert close(submission.unpack_int4(packed, shape[1]), codes, typed=True)


@pytest.mark.exercise("pack_int4", weight=1, seconds=2)
def test_a_million_codes(submission, rng):
    """A million codes take a moment: whole arrays are computed, not single numbers."""
    codes = rng.integers(-8, 7, (2, 500_001), np.int8, endpoint=True)
    packed = np.asarray(submission.pack_int4(codes))
    assert is_array(packed, (2, 250_001)) and close(submission.unpack_int4(packed, 500_001), codes)


@pytest.mark.exercise("pack_int4", weight=1, forgeable=True)
def test_packing_leaves_no_trace(submission, rng):
    """The arguments stay as they are, and the results are new arrays."""
    assert PACK.leaves_no_trace(submission, rng)
    assert UNPACK.leaves_no_trace(submission, rng)


# ----------------------------------------------------------------------------------------------- systolic_matmul


class Grid:
    """The cells and the log of their work; `fault` is added by one cell."""

    def __init__(self, W, fault=None):
        self.W, self.fault = W, fault or {}
        self.mac = Asked(self._mac)

    def _mac(self, t, i, j, a, partial):
        if not (ints(i, j) and 0 <= i < self.W.shape[0] and 0 <= j < self.W.shape[1]):
            raise ValueError("there is no such cell")
        return float(partial) + float(a) * float(self.W[i, j]) + self.fault.get((i, j), 0.0)

    @property
    def log(self):
        return {
            call[:3]: (call[3], call[4], given) for call, given in zip(self.mac.calls, self.mac.answers, strict=True)
        }


SHAPES = [(3, 2, 4), (2, 4, 3), (5, 3, 3), (4, 4, 2)]


def pumped(submission, rng, m, k, n, fault=None):
    A, W = rng.standard_normal((m, k)), rng.standard_normal((k, n))
    grid = Grid(W, fault)
    return A, W, grid, submission.systolic_matmul(A, W, grid.mac)


@pytest.mark.exercise("systolic_matmul", weight=2, core=True, hint=3)
def test_product_of_the_grid(submission, rng):
    """C is A W, and there are m + k + n - 2 cycles."""
    for m, k, n in SHAPES:
        A, W, _, got = pumped(submission, rng, m, k, n)
        assert close(got, (A @ W, m + k + n - 2), atol=sum_rounding(k, float((np.abs(A) @ np.abs(W)).max())))


@pytest.mark.exercise("systolic_matmul", weight=3, core=True, hint=1)
def test_no_cell_works_twice_in_a_cycle(submission, rng):
    """Each of the m k n products is made once, no cell works twice in a cycle, and cycles are counted from 0."""
    for m, k, n in SHAPES:
        *_, grid, _ = pumped(submission, rng, m, k, n)
        times = [call[0] for call in grid.mac.calls]
        assert len(grid.log) == len(times) == m * k * n
        assert times == sorted(times) and set(times) == set(range(m + k + n - 2))


@pytest.mark.exercise("systolic_matmul", weight=4, core=True, hint=2)
def test_numbers_come_from_next_door(submission, rng):
    """Each number that a cell works on was a cycle earlier in the cell to the left, and each sum in the cell above."""
    for m, k, n in SHAPES:
        A, _, grid, _ = pumped(submission, rng, m, k, n)
        log = grid.log
        for (t, i, j), (a, partial, _) in log.items():
            assert close(partial, log.get((t - 1, i - 1, j), (0, 0, math.nan))[2] if i else 0.0)
            entered = A[t - i, i] if 0 <= t - i < m else math.nan
            assert close(a, log.get((t - 1, i, j - 1), (math.nan,))[0] if j else entered)
        columns = {i: [log[key][0] for key in sorted(log) if key[1:] == (i, 0)] for i in range(k)}
        assert close(columns, {i: A[:, i] for i in range(k)})


@pytest.mark.exercise("systolic_matmul", weight=2, hint=3)
def test_result_is_what_the_cells_give(submission, rng):
    """The result consists of what the bottom cells give: the fault of a cell shows in its column, and nowhere else."""
    for m, k, n in [(3, 3, 4), (2, 2, 2)]:
        cell = int(rng.integers(k)), int(rng.integers(n))
        A, W, _, got = pumped(submission, rng, m, k, n, {cell: 100.0})
        assert close(got[0], A @ W + 100.0 * (np.arange(n) == cell[1]), atol=1e-11)


@pytest.mark.exercise("systolic_matmul", weight=2)
def test_grids_of_every_shape(submission, rng):
    """One row, one column, one cell and long grids are right; numbers of the right kinds go out and come back."""
    for m, k, n in [(1, 1, 1), (1, 3, 2), (3, 1, 2), (3, 2, 1), (130, 1, 1), (1, 130, 1), (1, 1, 130)]:
        A, W, grid, got = pumped(submission, rng, m, k, n)
        size = sum_rounding(k, float((np.abs(A) @ np.abs(W)).max()))
        assert close(got, (A @ W, m + k + n - 2), atol=size, typed=True) and len(grid.mac.calls) == m * k * n
        assert all(ints(t, i, j) and isinstance(a, float) and isinstance(p, float) for t, i, j, a, p in grid.mac.calls)
    for scale in (2.0**-30, 2.0**30, 0.0):
        A, W = scale * rng.standard_normal((2, 3)), rng.standard_normal((3, 2)) * np.array([1, 0])
        for a, w in itertools.product([A, stepped(A), np.array(A, order="F"), frozen(A)], [W]):
            got = submission.systolic_matmul(a, stepped(w), Grid(w).mac)
            assert close(got, (A @ W, 5), atol=1e-14 * scale)
    A, W = rng.standard_normal((2, 2)), rng.standard_normal((2, 2)) * 1e9
    assert close(submission.systolic_matmul(A, W, Grid(W).mac), (A @ W, 4), atol=1e-5)


@student_side
def cell_work(t, i, j, a, partial):
    return partial + a * (i + 2.0 * j + 1)


@pytest.mark.exercise("systolic_matmul", weight=1, forgeable=True)
def test_grid_leaves_no_trace(submission, rng):
    """A and W stay as they are, and each call returns a new array."""
    grid = Contract(
        "systolic_matmul",
        A=laid_out(lambda rng: rng.standard_normal((3, 2))),
        W=laid_out(lambda rng: rng.standard_normal((2, 2))),
        mac=cell_work,
    )
    assert grid.leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------------------------------ softmax_kernel


@student_side
def launched(x, columns, width, block):
    """What the kernel writes into rows of `width` numbers, all -7 before, and x after that (runs over there)."""
    where = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.from_numpy(np.array(x)).to(where)
    out = torch.full((len(x), width), -7.0, device=where)
    student.softmax_kernel[(len(x),)](x, out, x.stride(0), out.stride(0), columns, BLOCK=block)  # noqa: F821
    return out.cpu().numpy(), x.cpu().numpy()


def right_rows(submission, x, columns, width, block):
    x = np.asarray(x, np.float32)
    expected = np.full((len(x), width), -7.0)
    expected[:, :columns] = torch.softmax(torch.from_numpy(x[:, :columns].astype(float)), dim=1).numpy()
    return close(submission.run(launched, x, columns, width, block), (expected, x), atol=1e-6)


@pytest.mark.exercise("softmax_kernel", weight=3, core=True, hint=1)
def test_softmax_of_each_row(submission, rng):
    """Each run writes the softmax of its row, where the block is as long as the row."""
    for rows, columns in [(3, 4), (5, 8)]:
        assert right_rows(submission, rng.standard_normal((rows, columns)), columns, columns, columns)


@pytest.mark.exercise("softmax_kernel", weight=3, core=True, hint=2)
def test_block_longer_than_the_row(submission, rng):
    """Where the block is longer than the row, what stands behind the end has no influence."""
    for columns, block in [(3, 4), (5, 8), (5, 64)]:
        for shift in (0.0, -50.0, 50.0):
            x = rng.standard_normal((3, columns)) + shift
            assert right_rows(submission, x, columns, columns, block)


@pytest.mark.exercise("softmax_kernel", weight=2, hint=1)
def test_rows_far_apart(submission, rng):
    """Rows may begin further apart than they are long, in x and in the result, and nothing is written between them."""
    for columns, x_width, width, block in [(3, 5, 9, 4), (4, 6, 4, 4), (2, 2, 7, 8)]:
        x = np.full((4, x_width), np.nan)
        x[:, :columns] = rng.standard_normal((4, columns))
        assert right_rows(submission, x, columns, width, block)


@pytest.mark.exercise("softmax_kernel", weight=2, hint=2)
def test_numbers_of_any_size(submission, rng):
    """Large numbers do not overflow, minus infinity becomes 0, one column becomes 1, and long rows are right."""
    assert right_rows(submission, [[1e4, 1e4, -1e4], [-2e4, -2e4 - 1, -3e4], [0, 1e38, 0]], 3, 3, 4)
    assert right_rows(submission, [[0, -np.inf, 1], [-np.inf, -np.inf, -1e3]], 3, 3, 4)
    assert right_rows(submission, rng.standard_normal((3, 1)), 1, 1, 1)
    assert right_rows(submission, 3 * rng.standard_normal((2, 1100)), 1100, 1100, 2048)
    assert right_rows(submission, rng.standard_normal((120, 3)), 3, 3, 4)
