"""Hidden tests of module 21. A docstring is the sentence that a student reads when the test fails.

The oracles are enumeration, exact laws, quadrature, arithmetic of many digits, torch.autograd and AES-GCM itself. One
statistical comparison fails a right answer with a probability of TINY or less, by exact laws (chi-squared: nearly); a
test makes fewer than a hundred of them, so its level is about 1e-6.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905

import functools
import itertools
import math
from collections import Counter
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from autograder.judging import (
    SEEDS,
    Argument,
    Asked,
    Contract,
    close,
    floats,
    frozen,
    is_array,
    numbers,
    one_of,
    raises_student,
    random_states_kept,
    stepped,
    student_side,
)

TINY = 1e-8
LAYOUTS = ("in steps", "backwards", "in Fortran order", "read-only")


def only(argument, *forms):
    """An argument in these forms alone."""
    return replace(argument, forms={name: form for name, form in argument.forms.items() if name in forms})


def follows(values, law):
    """Whether values are draws from a continuous law: Kolmogorov and Smirnov's distance, exact, at the level TINY."""
    values = np.sort(np.asarray(values, float).ravel())
    n, below = len(values), law.cdf(values)
    distance = max(np.max(np.arange(1, n + 1) / n - below), np.max(below - np.arange(n) / n))
    return close(float(distance), 0.0, atol=float(scipy.stats.kstwo.isf(TINY, n)))


def as_often(hits, n, p):
    """Whether so many of n independent events of probability p are likely, by the binomial law, on both sides."""
    low, high = scipy.stats.binom.ppf(TINY / 2, n, p), scipy.stats.binom.isf(TINY / 2, n, p)
    return close(float(hits), (low + high) / 2, atol=(high - low) / 2)


def evenly(cells, count):
    """Whether the cell numbers 0 to count - 1 are equally frequent, by chi-squared."""
    seen = np.bincount(np.asarray(cells).ravel(), minlength=count)
    expected = np.sum(seen) / count
    return close(float(np.sum((seen - expected) ** 2) / expected), 0.0, atol=scipy.stats.chi2.isf(TINY, count - 1))


def unrelated(a, b):
    """Whether the signs of two rows of symmetric, independent numbers agree as often as coins do."""
    return as_often(int(np.sum((np.asarray(a) > 0) == (np.asarray(b) > 0))), len(a), 0.5)


def seeds_from(rng, count):
    return (int(rng.integers(2**40)) + np.arange(count)).tolist()


# ---------------------------------------------------------------------------------------------------- k_anonymise


def table(rng, m, c, values=5):
    """A table and ladders: each rung merges classes of the one below; the last one may have more than one class."""
    rows, heights = rng.integers(0, values, (m, c)), []
    for _ in range(c):
        rungs = [rng.permutation(values + 2)]
        for classes in rng.choice([5, 4, 3, 2, 1], int(rng.integers(0, 4)), replace=False):
            rungs.append(rng.integers(0, classes, values + 7)[rungs[-1]])
        heights.append(rungs)
    return rows, heights


def enumerated(rows, heights, k, suppress):
    """All vectors in their order: the first that is allowed, as (released, kept); None where there is none."""
    vectors = itertools.product(*(range(len(column)) for column in heights))
    for h in sorted(vectors, key=lambda h: (sum(h), h)):
        classes = [tuple(int(heights[j][h[j]][v]) for j, v in enumerate(row)) for row in rows.tolist()]
        sizes = Counter(classes)
        kept = [i for i, one in enumerate(classes) if sizes[one] >= k]
        if len(rows) - len(kept) <= suppress * len(rows):
            return np.array([classes[i] for i in kept], int).reshape(-1, rows.shape[1]), np.array(kept, int)
    return None


def same_release(got, expected, typed=False):
    if not isinstance(got, tuple | list) or len(got) != 2:
        return close(None, True)
    return close(tuple(got), expected, typed=typed)


@pytest.mark.exercise("k_anonymise", weight=4, core=True, hint=2)
def test_the_least_coarse_release(submission, rng):
    """The release is the allowed one with the least sum of heights; the rows of its small classes are left out."""
    asked = 0
    while asked < 40:
        m, c = int(rng.integers(4, 40)), int(rng.integers(1, 4))
        rows, heights = table(rng, m, c)
        k, suppress = int(rng.integers(2, 5)), float(rng.choice([0.125, 0.25, 0.5]))
        expected = enumerated(rows, heights, k, suppress)
        if expected is not None:
            assert same_release(submission.k_anonymise(rows, heights, k, suppress), expected)
            asked += 1


@pytest.mark.exercise("k_anonymise", weight=2, core=True, hint=1)
def test_ties_go_to_the_first_vector(submission, rng):
    """The least sum of heights decides; of vectors with the same sum, the lexicographically first one is taken."""
    # The sum comes first: (0, ..., 0, 2) is allowed and lexicographically first, (1, 0, ..., 0) has the sum 1.
    for c in (2, 3):
        ladder = [np.arange(6), np.arange(6) // 3, np.zeros(6, int)]
        rows = np.zeros((8, c), int)
        rows[:, 0], rows[:, -1] = np.tile([0, 1], 4), np.repeat([0, 5], 4)
        rows = rows[[0, 1, 4, 5]]
        assert same_release(submission.k_anonymise(rows, [ladder] * c, 2, 0.0), enumerated(rows, [ladder] * c, 2, 0.0))
    for c in (2, 3, 4):
        one = [np.arange(4), np.array([0, 0, 1, 1]), np.zeros(4, int)]
        rows = np.array(list(itertools.product(range(4), repeat=c)))
        rng.shuffle(rows)
        for k in (2, 4, 8, 4**c):  # every row once: whatever the columns, only the sum counts
            assert same_release(submission.k_anonymise(rows, [one] * c, k, 0.0), enumerated(rows, [one] * c, k, 0.0))


@pytest.mark.exercise("k_anonymise", weight=2, hint=2)
def test_borders_are_allowed(submission, rng):
    """A class of exactly k rows stays, and exactly suppress * m rows may be left out; one more may not."""
    rows = rng.permutation(np.repeat(np.arange(4), [5, 3, 2, 6]))[:, None]
    ladder = [[np.arange(4), np.zeros(4, int)]]
    for k, suppress in [
        (5, 5 / 16),
        (5, 5 / 16 - 1e-12),
        (5, 4 / 16),
        (6, 10 / 16),
        (6, 9 / 16),
        (2, 0.0),
        (3, 2 / 16),
        (3, 1 / 16),
    ]:
        assert same_release(submission.k_anonymise(rows, ladder, k, suppress), enumerated(rows, ladder, k, suppress))
    # 0.29 * 100 is a little less than 29, and 29 / 100 is 0.29.
    rows = rng.permutation(np.repeat([0, 1], [71, 29]))[:, None]
    assert same_release(submission.k_anonymise(rows, ladder, 30, 0.29), enumerated(rows, ladder, 30, 0.29))


@pytest.mark.exercise("k_anonymise", weight=2, hint=2)
def test_ends_of_k_and_refusals(submission, rng):
    """k = 1 releases all rows as they are; where no release is allowed (k > m, no coarse rung): ValueError."""
    rows, heights = table(rng, 30, 2)
    plain = enumerated(rows, heights, 1, 0.0)
    assert same_release(submission.k_anonymise(rows, heights, 1, 0.0), plain)
    for m, k, suppress in [(1, 2, 1.0), (6, 7, 1.0), (6, 10**9, 1.0)]:
        nobody = np.zeros((m, 2), int), [[np.zeros(9, int)]] * 2
        got = submission.k_anonymise(*nobody, k, suppress)
        assert same_release(got, (np.zeros((0, 2), int), np.zeros(0, int)))
        with raises_student(ValueError):
            submission.k_anonymise(*nobody, k, 0.75)
    assert same_release(submission.k_anonymise(np.array([[3]]), [[np.arange(5)]], 1, 0.0), ([[3]], [0]))
    with raises_student(ValueError):
        submission.k_anonymise(np.array([[0], [1], [1]]), [[np.arange(2)]], 2, 0.25)


@student_side
def large_release(seed, k):
    """What comes out of 10^6 rows of 5,000 kinds: (rows that stay, are these the right classes)."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 40, (5000, 4))
    rows = kinds[rng.integers(0, 5000, 10**6)]
    ladder = [np.arange(40), np.arange(40) // 6, np.arange(40) // 20]
    released, kept = student.k_anonymise(rows, [ladder] * 4, k, 0.0)
    chosen = [[h for h in range(3) if np.array_equal(ladder[h][rows[kept, j]], released[:, j])] for j in range(4)]
    return len(kept), chosen


@pytest.mark.exercise("k_anonymise", weight=6, hint=1)
def test_many_rows_of_few_kinds(submission, rng):
    """A million rows of 5,000 kinds end in seconds: count each kind once, and search over kinds."""
    seed = int(rng.integers(2**40))
    draw = np.random.default_rng(seed)
    kinds, ladder = draw.integers(0, 40, (5000, 4)), [np.arange(40), np.arange(40) // 6, np.arange(40) // 20]
    counts = np.bincount(draw.integers(0, 5000, 10**6), minlength=5000)

    def smallest(h):
        classes = np.ravel_multi_index([ladder[h[j]][kinds[:, j]] for j in range(4)], (40,) * 4)
        sizes = np.bincount(np.unique(classes, return_inverse=True)[1], counts)
        return sizes.min()

    k = int(smallest((2, 2, 1, 2)))  # nearly at the top, so that nearly all vectors come before it
    vectors = sorted(itertools.product(range(3), repeat=4), key=lambda h: (sum(h), h))
    first = next(h for h in vectors if smallest(h) >= k)
    got = submission.run(large_release, seed, k)
    assert close(got[0], 10**6) and close([list(one) for one in got[1]], [[h] for h in first])


def _table(rng):
    """Rows of four kinds, six of each, so that every value of k and suppress below has another release."""
    kinds = rng.permutation([[3, 1], [4, 1], [2, 0], [2, 5]])
    return kinds[np.repeat(np.arange(4), [9, 7, 5, 3])]


HEIGHTS = [[np.arange(6), np.arange(6) // 2, np.zeros(6, int)]] * 2
ROWS = Argument(
    _table,
    {
        "in steps": lambda rng: stepped(_table(rng)),
        "in Fortran order": lambda rng: np.asfortranarray(_table(rng)),
        "read-only": lambda rng: frozen(_table(rng)),
    },
    frozenset(),
)
ANONYMISE = Contract("k_anonymise", rows=ROWS, heights=HEIGHTS, k=one_of(4, 1, 6, 24), suppress=one_of(0.25, 0.0, 1.0))


@pytest.mark.exercise("k_anonymise")
def test_tables_in_any_order_of_memory(submission, rng):
    """Any order of memory is read, many values, too; what comes back are int64 arrays."""
    for case in ANONYMISE.cases(rng):
        expected = enumerated(*case.exact)
        assert same_release(submission.k_anonymise(*case), expected, typed=True)
    wide = rng.integers(0, 10_000, (300, 4))
    ladders = [[np.arange(10_000), np.arange(10_000) // 9000, np.zeros(10_000, int)]] * 4
    assert same_release(submission.k_anonymise(wide, ladders, 5, 0.25), enumerated(wide, ladders, 5, 0.25))
    many, ladders = rng.integers(0, 2, (3, 60))[[0, 1, 1, 2, 2, 0, 0]], [[np.arange(2)]] * 60  # 2^60 combinations
    for k in (2, 3):
        assert same_release(submission.k_anonymise(many, ladders, k, 0.6), enumerated(many, ladders, k, 0.6))


@pytest.mark.exercise("k_anonymise", forgeable=True)
def test_a_release_leaves_no_trace(submission, rng):
    """The table and the ladders are left alone, and what comes back is new."""
    assert ANONYMISE.leaves_no_trace(submission, rng, then=[{}, {"k": 1}, {"suppress": 1.0}], k=[25])


def left(releases, person):
    """The definition, with sets and loops."""
    sets = []
    for released, hidden, maps in releases:
        mine = [int(maps[j][v]) for j, v in enumerate(person)]
        sets.append({int(s) for row, s in zip(released.tolist(), hidden.tolist()) if row == mine})
    told = [one for one in sets if one]
    return set.intersection(*told) if told else {int(s) for _, hidden, _ in releases for s in hidden.tolist()}


def random_release(rng, rows, hidden, top):
    """Coarse classes of these rows; a class may be left out."""
    maps = [rng.integers(0, top, 5) for _ in range(rows.shape[1])]
    released = np.stack([ladder[column] for ladder, column in zip(maps, rows.T)], axis=1)
    out = (released == released[int(rng.integers(len(rows)))]).all(axis=1) & (rng.random() < 0.7)
    order = rng.permutation(np.flatnonzero(~out))
    return released[order], hidden[order], maps


@pytest.mark.exercise("k_anonymise", weight=3, core=True, hint=3)
def test_secrets_that_are_left(submission, rng):
    """possible: the secrets in the person's class, those that all releases have in common, as a set."""
    for number in (1, 2, 3):
        for _ in range(12):
            rows, hidden = rng.integers(0, 5, (30, 2)), rng.integers(-3, 6, 30)
            releases = [random_release(rng, rows, hidden, 3) for _ in range(number)]
            for person in rows[:4]:
                got, expected = submission.possible(releases, person), left(releases, person.tolist())
                assert close(isinstance(got, set), True) and close(sorted(got), sorted(expected))
    # One secret in a class of ten, and two safe classes that meet in one secret.
    maps = [np.zeros(5, int)]
    alike = np.zeros((10, 1), int), np.full(10, 7), maps
    some = np.zeros((4, 1), int), np.array([1, 7, 2, 3]), maps
    others = np.zeros((3, 1), int), np.array([4, 5, 2]), maps
    for releases, expected in [([alike], [7]), ([some, others], [2]), ([some, alike, some], [7])]:
        assert close(sorted(submission.possible(releases, np.array([4]))), expected)


def _releases(form):
    def drawn(rng):
        rows, hidden = rng.integers(0, 3, (1500, 2)), rng.integers(-(2**40), 2**40, 1500)
        return [
            (form(released), form(secrets), maps)
            for released, secrets, maps in [
                random_release(rng, rows, np.where(rows[:, 0] > 0, hidden, 2**41 + 7), 2) for _ in range(2)
            ]
        ]

    return drawn


RELEASES = Argument(
    _releases(np.array),
    {
        "in steps": _releases(stepped),
        "in Fortran order": _releases(np.asfortranarray),
        "read-only": _releases(frozen),
    },
    frozenset(),
)


@pytest.mark.exercise("k_anonymise", hint=3)
def test_releases_in_any_order_of_memory(submission, rng):
    """possible: releases of more than 1,000 rows, in any order of memory, with large and negative secrets."""
    for _ in range(3):
        for form in (None, *RELEASES.forms):
            releases = (RELEASES.forms[form] if form else RELEASES.plain)(rng)
            person = rng.integers(0, 3, 2)
            assert close(sorted(submission.possible(releases, person)), sorted(left(releases, person.tolist())))


@pytest.mark.exercise("k_anonymise", forgeable=True)
def test_possible_leaves_no_trace(submission, rng):
    """possible: the releases and the person are left alone."""
    person = Argument(lambda rng: rng.integers(0, 3, 2), {}, frozenset())
    assert Contract("possible", releases=RELEASES, person=person).leaves_no_trace(submission, rng)
    # Arrays of one shape, in which other secrets stand at the next call.
    maps = [np.arange(3)]
    alike = Argument(lambda rng: [(rng.permutation([[0], [1], [2]]), rng.integers(0, 2**40, 3), maps)], {}, frozenset())
    one = Argument(lambda rng: rng.integers(0, 3, 1), {}, frozenset())
    assert Contract("possible", releases=alike, person=one).leaves_no_trace(submission, rng)


@pytest.mark.exercise("k_anonymise", weight=2, hint=3)
def test_a_person_who_was_left_out(submission, rng):
    """possible: a release without the person's class tells nothing; if all are so, every secret is left."""
    maps = [np.arange(5), np.arange(5)]
    with_them = np.array([[1, 2], [1, 2], [3, 3]]), np.array([4, 6, 9]), maps
    without = np.array([[3, 2], [1, 4]]), np.array([2, 8]), maps
    person = np.array([1, 2])
    for releases in ([without, with_them], [with_them, without], [without], [without, without, with_them]):
        assert close(sorted(submission.possible(releases, person)), sorted(left(releases, [1, 2])))
    nobody = np.zeros((0, 2), int), np.zeros(0, int), maps
    got = submission.possible([without, nobody, with_them], np.array([0, 0]))
    assert close(sorted(got), [2, 4, 6, 8, 9]) and close(all(type(secret) is int for secret in got), True)


# --------------------------------------------------------------------------------------------------- private_mean


@student_side
def many_means(x, low, high, epsilon, seeds):
    return np.array([float(student.private_mean(x, low, high, epsilon, seed)) for seed in seeds])


@pytest.mark.exercise("private_mean", weight=3, core=True, hint=1)
def test_the_mean_of_clipped_numbers(submission, rng):
    """With nearly no noise: the mean of the numbers, each beyond a bound replaced by the bound."""
    for m, low, high in [(1, 0.0, 1.0), (7, -3.0, 2.0), (300, 10.0, 10.5), (40, -1e6, 1e6), (1500, -1.0, 1.0)]:
        x = rng.normal((low + high) / 2, high - low, m)
        expected = float(np.mean([min(max(float(v), low), high) for v in x]))
        scale = (high - low) / m / 1e9
        got = submission.private_mean(x, low, high, 1e9, int(rng.integers(2**62)))
        assert close(got, expected, atol=40 * scale + 1e-12 * (abs(low) + abs(high)))


@pytest.mark.exercise("private_mean", weight=4, core=True, hint=2)
def test_the_noise_has_the_law_of_laplace(submission, rng):
    """Over 4,000 seeds the noise follows the Laplace law of scale (high - low) / (m epsilon)."""
    for m, low, high, epsilon in [(5, -1.0, 3.0, 0.5), (1, 0.0, 10.0, 2.0), (64, -300.0, -100.0, 1e-8)]:
        x = rng.uniform(low, high, m)
        noise = np.asarray(submission.run(many_means, x, low, high, epsilon, seeds_from(rng, 4000))) - np.mean(x)
        assert follows(noise, scipy.stats.laplace(0, (high - low) / m / epsilon))


@pytest.mark.exercise("private_mean", weight=2, hint=2)
def test_the_noise_depends_on_the_seed_alone(submission, rng):
    """The noise is the same for all numbers under one seed, up to its scale, and unrelated for neighbouring seeds."""
    seeds = seeds_from(rng, 1000)
    x, y = rng.uniform(0, 1, 8), rng.uniform(0, 50, 200)
    first = (np.asarray(submission.run(many_means, x, 0.0, 1.0, 0.5, seeds)) - x.mean()) / (1 / 8 / 0.5)
    second = (np.asarray(submission.run(many_means, y, 0.0, 50.0, 0.1, seeds)) - y.mean()) / (50 / 200 / 0.1)
    assert close(second, first, atol=1e-9)
    for lag in (1, 2, 3, 7):
        assert unrelated(first[lag:], first[:-lag])
        # A sum or a difference of neighbours would be another law: P(|a| > |b|) is 1/2.
        assert unrelated(np.abs(first[lag:]) - np.abs(first[:-lag]), (-1.0) ** np.arange(1000 - lag))
    found = [submission.private_mean(x, 0.0, 1.0, 0.5, seed) for seed in SEEDS]
    with submission.elsewhere() as other:
        assert close([other.private_mean(x, 0.0, 1.0, 0.5, seed) for seed in SEEDS], found)
    assert close(len(set(found)), len(SEEDS))


@pytest.mark.exercise("private_mean", weight=1, hint=1)
def test_numbers_of_every_kind(submission, rng):
    """Floats and integers of every kind, one number, equal numbers, infinities; a Python float comes back."""
    contract = Contract(
        "private_mean",
        x=numbers(40, scales=(1e-9, 1e9)),
        low=one_of(-2, -2.0, -1e-12, -5e8),
        high=one_of(5, 5.0, 1e-12, 7e8),
        epsilon=one_of(1e12, 10**15),
        seed=one_of(4, *SEEDS),
    )
    for case in contract.cases(rng):
        x, low, high, epsilon, _ = case.exact
        expected = float(np.clip(x, low, high).mean())
        atol = 40 * (high - low) / epsilon + 1e-7 * max(-low, high, 1e-12)
        assert close(submission.private_mean(*case), expected, atol=atol, typed=True)
    for low, high in ((0.1, 0.7), (1e-8, 3e-8), (50.1, 60.3), (-(2.0**40) - 1, 2.0**41 + 1)):  # all below, all above
        for end, far in ((low, -np.inf), (high, np.inf)):
            assert close(submission.private_mean(np.full(9, far), low, high, 1e15, 2), end, rtol=1e-11)
    far = np.array([np.inf, -np.inf, 1e308, -1e308, np.inf])
    assert close(submission.private_mean(far, -1.0, 4.0, 1e15, 1), 2.0, atol=1e-12)
    limits = np.array([-(2**63), 2**63 - 1])
    assert close(submission.private_mean(limits, -1, 4, 1e15, 1), 1.5, atol=1e-12)
    bytes_ = np.full(300, 255, np.uint8)
    assert close(submission.private_mean(bytes_, 0, 1000, 1e15, 1), 255.0, atol=1e-9)
    # A noisy answer may lie outside the bounds: with a tiny epsilon nearly all do.
    noisy = np.asarray(submission.run(many_means, np.ones(1), 0.0, 1.0, 1e-3, seeds_from(rng, 40)))
    assert close(bool(np.sum((noisy < 0) | (noisy > 1)) > 20), True)


@pytest.mark.exercise("private_mean", forgeable=True)
def test_a_private_mean_leaves_no_trace(submission, rng):
    """The numbers are left alone; the global random states are neither used nor changed."""
    contract = Contract("private_mean", x=numbers(20), low=-1.0, high=1.0, epsilon=0.5, seed=3)
    assert contract.leaves_no_trace(submission, rng)
    assert random_states_kept(submission, "private_mean", np.arange(5.0), 0.0, 3.0, 0.1, 7)


def exact_delta(ratio, epsilon):
    """The least delta of normal noise with sigma = ratio * sensitivity, with 50 digits."""
    with mpmath.workdps(50):
        ratio, epsilon = mpmath.mpf(float(ratio)), mpmath.mpf(float(epsilon))
        above = mpmath.ncdf(1 / (2 * ratio) - epsilon * ratio)
        return above - mpmath.exp(epsilon) * mpmath.ncdf(-1 / (2 * ratio) - epsilon * ratio)


@pytest.mark.exercise("private_mean", weight=3, core=True, hint=3)
def test_sigma_is_the_smallest(submission, rng):
    """gaussian_sigma meets the exact condition, and 0.999 times it does not; also for epsilon above 1."""
    pairs = [(0.1, 1e-5), (1.0, 1e-5), (0.5, 1e-3), (4.0, 1e-6), (8.0, 1e-5), (15.0, 0.01), (2.0, 0.3)]
    for epsilon, delta in pairs:
        sigma = submission.gaussian_sigma(1.0, epsilon, delta)
        assert close(isinstance(sigma, float) and 1e-4 < sigma < 1e6, True)
        assert close(bool(exact_delta((1 + 2e-8) * sigma, epsilon) <= delta), True)
        assert close(bool(exact_delta(0.999 * sigma, epsilon) > delta), True)


@pytest.mark.exercise("private_mean", weight=2, hint=3)
def test_sigma_at_the_ends(submission, rng):
    """gaussian_sigma is right to 1e-8 at the ends of epsilon and delta, and in proportion to the sensitivity."""
    # The last delta and the last sensitivity lie as far from the next float32 as numbers do.
    for epsilon, delta in itertools.product((1e-3, 0.03, 20.0), (1e-12, 1e-7, 0.5, 0.25 * (1 + 0.999 * 2.0**-24))):
        sigma = submission.gaussian_sigma(1.0, epsilon, delta)
        assert close(bool(exact_delta((1 + 2e-8) * sigma, epsilon) <= delta), True)
        assert close(bool(exact_delta((1 - 2e-8) * sigma, epsilon) > delta), True)
    for epsilon, delta in [(0.3, 1e-4), (9.0, 1e-9)]:
        one = submission.gaussian_sigma(1.0, epsilon, delta)
        for sensitivity in (1e-9, 0.1, 3, 1e9, 1 + 0.999 * 2.0**-24):
            assert close(
                submission.gaussian_sigma(sensitivity, epsilon, delta), sensitivity * one, rtol=3e-8, typed=True
            )


# ---------------------------------------------------------------------------------------------------- rdp_epsilon


def conversion(delta, order):
    return math.log((order - 1) / order) - (math.log(delta) + math.log(order)) / (order - 1)


def exact_rdp(q, sigma, order):
    """The divergence of one step: the binomial sum with 60 digits."""
    with mpmath.workdps(60):
        q, twice = mpmath.mpf(float(q)), 2 * mpmath.mpf(float(sigma)) ** 2
        terms = [
            mpmath.binomial(order, k) * (1 - q) ** (order - k) * q**k * mpmath.exp((k * k - k) / twice)
            for k in range(order + 1)
        ]
        return float(mpmath.log(mpmath.fsum(terms)) / (order - 1))


def integrated_rdp(q, sigma, order):
    """The same by quadrature over the definition."""

    def log_of(y):
        ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * y - 1) / (2 * sigma**2))
        return order * ratio - y**2 / (2 * sigma**2)

    grid = np.linspace(-12 * sigma, order + 12 * sigma, 20_001)
    values = log_of(grid)
    top = values.max()
    area = scipy.integrate.simpson(np.exp(values - top), x=grid)
    return (top + math.log(area) - math.log(sigma * math.sqrt(2 * math.pi))) / (order - 1)


def may_err(result, steps):
    """The docstring's accuracy."""
    return 1e-9 * (1 + result) + 1e-12 * steps


@pytest.mark.exercise("rdp_epsilon", weight=3, core=True, hint=3)
def test_without_subsampling(submission, rng):
    """q = 1: the divergence is alpha / (2 sigma^2) a step, and the last formula of the text makes epsilon of it."""
    for order, sigma, steps, delta in [
        (2, 1.0, 1, 1e-5),
        (3, 2.0, 10, 1e-3),
        (10, 5.0, 7, 1e-9),
        (64, 20.0, 300, 1e-6),
    ]:
        expected = steps * order / (2 * sigma**2) + conversion(delta, order)
        assert close(submission.rdp_epsilon(1.0, sigma, steps, delta, [order]), expected, rtol=1e-8)


@pytest.mark.exercise("rdp_epsilon", weight=4, core=True, hint=2)
def test_the_sampled_divergence_by_quadrature(submission, rng):
    """One order and q below 1: the divergence equals the integral that defines it."""
    for q, sigma, order in [(0.5, 1.0, 2), (0.1, 1.0, 8), (0.01, 0.7, 5), (0.3, 3.0, 32), (0.9, 2.0, 20)]:
        steps, delta = 50, 1e-8
        expected = steps * integrated_rdp(q, sigma, order) + conversion(delta, order)
        assert close(submission.rdp_epsilon(q, sigma, steps, delta, [order]), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.exercise("rdp_epsilon", weight=2, hint=3)
def test_the_smallest_over_the_orders(submission, rng):
    """The smallest epsilon over the orders, in any order, as a list, a tuple or a range; a negative one is 0.0."""
    for q, sigma, steps, delta in [(0.01, 1.0, 1000, 1e-5), (0.2, 4.0, 30, 1e-3), (1.0, 30.0, 5, 1e-6)]:
        for orders in (range(2, 40), (17, 3, 9), [5, 40, 5, 2, 33], [64]):
            expected = min(steps * exact_rdp(q, sigma, order) + conversion(delta, order) for order in orders)
            got = submission.rdp_epsilon(q, sigma, steps, delta, orders)
            assert close(got, max(expected, 0.0), atol=may_err(expected, steps), typed=True)
    for orders in ([2], [3, 2], (8, 4, 2, 5)):
        assert close(submission.rdp_epsilon(0.001, 100.0, 1, 0.5, orders), 0.0, typed=True)
    # Much noise wants large orders: the last of these is the best one.
    for orders in ([2, 301, 511, 512], range(508, 513), [40, 512, 3]):
        expected = min(exact_rdp(0.01, 1000.0, order) + conversion(1e-5, order) for order in orders)
        got = submission.rdp_epsilon(0.01, 1000.0, 1, 1e-5, orders)
        assert close(got, expected, atol=may_err(expected, 1), typed=True)


@pytest.mark.exercise("rdp_epsilon", weight=2, hint=2)
def test_steps_add_up(submission, rng):
    """Each further step adds the same amount, at one order."""
    q, sigma, order = float(rng.uniform(0.05, 0.5)), float(rng.uniform(0.8, 3)), int(rng.integers(2, 30))
    found = [submission.rdp_epsilon(q, sigma, steps, 1e-12, [order]) for steps in (1, 2, 11, 1001)]
    one = exact_rdp(q, sigma, order)
    for steps, value in zip((1, 10, 1000), (found[1] - found[0], found[2] - found[0], found[3] - found[0])):
        assert close(value, steps * one, atol=2 * may_err(found[3], 1001))


@pytest.mark.exercise("rdp_epsilon", weight=5, hint=1)
def test_log_space(submission, rng):
    """Order 512, q = 1e-6, 10^6 steps, sigma from 0.3 to 1000: finite, and right to the accuracy of the docstring."""
    hard = [(1e-6, 0.5, 10**6, 1e-6, 512), (1e-6, 1.0, 10**6, 1e-6, 512), (1e-6, 0.3, 10**7, 1e-12, 2)]
    hard += [
        (0.5, 0.3, 1, 1e-3, 512),
        (1.0, 0.3, 3, 0.5, 512),
        (0.01, 1000.0, 10**6, 1e-5, 300),
        (1e-4, 5.0, 10**7, 1e-5, 64),
    ]
    hard += [
        (0.999, 1000.0, 10**4, 1e-9, 100),
        (0.02, 1.0, 1, 1e-12, 511),
        (1.0, 1.0, 1, 0.1, 2),
        (0.3, 0.9, 2, 0.1, 2),
    ]
    for q, sigma, steps, delta, order in hard:
        expected = steps * exact_rdp(q, sigma, order) + conversion(delta, order)
        got = submission.rdp_epsilon(q, sigma, steps, delta, [order])
        assert close(got, max(expected, 0.0), atol=may_err(max(expected, 0.0), steps), typed=True)


@pytest.mark.exercise("rdp_epsilon", forgeable=True)
def test_an_accountant_leaves_no_trace(submission, rng):
    """The list of orders is left alone, and the same call gives the same number."""
    orders = one_of([9, 2, 30, 5], [4, 3])
    contract = Contract("rdp_epsilon", q=one_of(0.1, 1.0), sigma=one_of(1.5), steps=20, delta=1e-5, orders=orders)
    assert contract.leaves_no_trace(submission, rng)


# --------------------------------------------------------------------------------------------------- clipped_sum


def row_by_row(layers, clip):
    """The definition: each row's gradient as one long vector."""
    sums = [(np.zeros((D.shape[1], A.shape[1])), np.zeros(D.shape[1])) for A, D in layers]
    for b in range(len(layers[0][0])):
        own = [(np.outer(D[b], A[b]), D[b]) for A, D in layers]
        norm = math.hypot(*(float(x) for pair in own for part in pair for x in part.ravel()))
        factor = min(1.0, clip / norm) if norm > 0 else 1.0
        sums = [(W + factor * w, v + factor * u) for (W, v), (w, u) in zip(sums, own)]
    return sums


def net_of(rng, B, widths):
    """Inputs and signals of random layers; rows of very different sizes."""
    sizes = rng.choice([0.01, 0.3, 1.0, 20.0], B)[:, None]
    return [(rng.standard_normal((B, i)), sizes * rng.standard_normal((B, o))) for i, o in widths]


def pairs_of(got, layers, typed=False, rtol=1e-9, clip=1.0):
    """The result as a list of pairs, compared with the definition."""
    if not isinstance(got, list | tuple) or len(got) != len(layers):
        return close(None, True)
    expected = row_by_row(layers, clip)
    size = max([1e-300, *(float(np.abs(part).max(initial=0)) for pair in expected for part in pair)])
    return close([tuple(pair) for pair in got], expected, rtol=rtol, atol=1e-9 * size, typed=typed)


@pytest.mark.exercise("clipped_sum", weight=4, core=True, hint=3)
def test_the_rows_gradients_by_autograd(submission, rng):
    """Each row's gradient of all layers together, scaled to norm <= clip, then added up, as autograd finds them."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**40)))
    W1, b1, W2, b2 = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((4, 3), (4,), (2, 4), (2,))
    )
    X, Y = torch.randn(9, 3, generator=generator, dtype=torch.float64), torch.randn(9, 2, generator=generator).double()
    parameters = [p.requires_grad_() for p in (W1, b1, W2, b2)]
    Z1 = X @ W1.T + b1
    H = torch.tanh(Z1)
    Z2 = H @ W2.T + b2
    losses = ((Z2 - Y) ** 2).sum(dim=1)
    D1, D2 = (d.numpy() for d in torch.autograd.grad(losses.sum(), (Z1, Z2), retain_graph=True))
    rows = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses]
    norms = [float(torch.cat([g.ravel() for g in row]).norm()) for row in rows]
    layers = [(X.numpy(), D1), (H.detach().numpy(), D2)]
    for clip in (float(np.median(norms)), min(norms) / 3, 2 * max(norms)):
        factors = [min(1.0, clip / norm) for norm in norms]
        expected = [sum(f * row[j].numpy() for f, row in zip(factors, rows)) for j in range(4)]
        got = submission.clipped_sum(layers, clip)
        assert close(isinstance(got, list | tuple) and len(got) == 2, True)
        assert close(
            [tuple(pair) for pair in got],
            [(expected[0], expected[1]), (expected[2], expected[3])],
            rtol=1e-8,
            atol=1e-10,
        )


@pytest.mark.exercise("clipped_sum", weight=3, core=True, hint=1)
def test_one_norm_for_all_layers(submission, rng):
    """The norm of a row runs over all layers and biases together: with one layer, with three, with one row."""
    for B, widths in [(7, [(3, 2)]), (1, [(2, 5), (1, 1)]), (12, [(4, 3), (6, 2), (1, 4)]), (1500, [(2, 3), (3, 1)])]:
        layers = net_of(rng, B, widths)
        for clip in (0.05, 1.0, 30.0):
            assert pairs_of(submission.clipped_sum(layers, clip), layers, clip=clip)


@pytest.mark.exercise("clipped_sum", weight=2, hint=2)
def test_rows_without_a_gradient(submission, rng):
    """Rows of norm 0, no rows at all, and clip = inf: no row is scaled up, and nothing becomes nan."""
    A, D = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    D[[1, 4]] = 0.0
    A[[2, 4]] = 0.0
    for layers in ([(A, D)], [(A, 0 * D)], [(A, 0 * D), (0 * A, 0 * D)], [(A[:0], D[:0]), (A[:0], D[:0])]):
        for clip in (0.5, 1e-6, math.inf):
            assert pairs_of(submission.clipped_sum(layers, clip), layers, clip=clip)
    exact = [(np.array([[0.0], [1.0]]), np.array([[3.0, 4.0], [0.0, 0.5]]))]  # norms 5 and sqrt(1/2)
    for clip in (5.0, 4.999, 5.001):
        assert pairs_of(submission.clipped_sum(exact, clip), exact, clip=clip)


@pytest.mark.exercise("clipped_sum", weight=3, hint=1)
def test_one_row_moves_the_sum_by_clip(submission, rng):
    """Without one row the sum over all layers differs by at most clip, and by exactly clip where the row is long."""
    layers = net_of(rng, 8, [(5, 4), (3, 2)])
    long = [(A.copy(), D.copy()) for A, D in layers]
    for _, D in long:
        D[3] *= 1e6
    for given, exactly in ((layers, False), (long, True)):
        for clip in (0.25, 4.0):
            whole = submission.clipped_sum(given, clip)
            rest = submission.clipped_sum([(np.delete(A, 3, 0), np.delete(D, 3, 0)) for A, D in given], clip)
            moved = [np.asarray(a) - np.asarray(b) for one, two in zip(whole, rest) for a, b in zip(one, two)]
            norm = math.hypot(*np.concatenate([part.ravel() for part in moved]).tolist())
            assert close(norm, clip, rtol=1e-9) if exactly else close(bool(norm <= clip * (1 + 1e-9)), True)


@pytest.mark.exercise("clipped_sum", weight=1)
def test_entries_of_every_size(submission, rng):
    """Entries from 1e-60 to 1e60, large ones in one layer and small ones in another, and one row among a thousand."""
    for of_A, of_D, clip in [(1e60, 1e60, 1.0), (1e-60, 1e-60, 1e-61), (1e60, 1e-60, 3.0), (1e-60, 1e60, 1e59)]:
        layers = [(of_A * A, of_D * D) for A, D in net_of(rng, 6, [(3, 2), (2, 2)])]
        assert pairs_of(submission.clipped_sum(layers, clip), layers, clip=clip)
    A, D = np.ones((1200, 2)), np.full((1200, 1), 1e-3)
    D[-1] = 1e9
    assert pairs_of(submission.clipped_sum([(A, D)], 1.0), [(A, D)])


@student_side
def clipped_large(seed, B, i, o):
    """Sums of a large layer: the norm of dW, and its product with a vector, which needs no (o, i) array here."""
    rng = np.random.default_rng(seed)
    A, D = rng.standard_normal((B, i)), rng.standard_normal((B, o))
    ((dW, db),) = student.clipped_sum([(A, D)], 100.0)
    return dW @ np.ones(i), db, tuple(dW.shape)


@pytest.mark.exercise("clipped_sum", weight=7, hint=1, memory_mb=96)
def test_a_large_layer_in_little_memory(submission, rng):
    """B = 4096 and 512 x 512: layers and result have 36 MB, and twice the size of A is all that may come on top."""
    seed = int(rng.integers(2**40))
    draw = np.random.default_rng(seed)
    A, D = draw.standard_normal((4096, 512)), draw.standard_normal((4096, 512))
    factor = np.minimum(1, 100.0 / np.sqrt((D**2).sum(axis=1) * ((A**2).sum(axis=1) + 1)))
    along, db, shape = submission.run(clipped_large, seed, 4096, 512, 512)
    assert close(tuple(shape), (512, 512))
    # Sums of 4096 * 512 terms of size 1: 1e-12 of their number is far above the rounding.
    assert close(along, D.T @ (factor * A.sum(axis=1)), atol=1e-6) and close(db, factor @ D, atol=1e-6)


def _layers(form):
    return lambda rng: [(form(rng.standard_normal((6, 3))), form(rng.standard_normal((6, 3)))) for _ in range(2)]


LAYERS = Argument(
    _layers(np.array),
    {
        "in steps": _layers(stepped),
        "in Fortran order": _layers(np.asfortranarray),
        "read-only": _layers(frozen),
        "zeros among them": _layers(lambda a: a * (np.abs(a) > 0.7)),
    },
    frozenset(),
)
CLIPPED = Contract("clipped_sum", layers=LAYERS, clip=one_of(1.5, 0.01, 1e9, math.inf, 2))


@pytest.mark.exercise("clipped_sum")
def test_layers_in_any_order_of_memory(submission, rng):
    """Any order of memory is read; new float64 arrays come back, a pair for each layer."""
    for case in CLIPPED.cases(rng):
        layers, clip = case.exact
        assert pairs_of(submission.clipped_sum(*case), layers, typed=True, clip=clip)
    many = [(rng.standard_normal((3, 1)), rng.standard_normal((3, 2))) for _ in range(300)]
    assert pairs_of(submission.clipped_sum(many, 0.7), many, clip=0.7)


@pytest.mark.exercise("clipped_sum", forgeable=True)
def test_clipping_leaves_no_trace(submission, rng):
    """The layers are left alone, and what comes back is new."""
    square = Argument(lambda rng: [(rng.standard_normal((4, 4)), rng.standard_normal((4, 4)))], {}, frozenset())
    assert CLIPPED.leaves_no_trace(submission, rng, then=[{}, {"clip": math.inf}, {"clip": 1e9}])
    assert Contract("clipped_sum", layers=square, clip=1.0).leaves_no_trace(submission, rng)


# --------------------------------------------------------------------------------------------------------- dp_sgd


def zeros(theta, rows):
    return np.zeros(len(theta))


def run_of(submission, gradient, d, m, q, sigma, clip, lr, steps, seed):
    """A run from 0: the rows of each step, and theta before each step and at the end, (steps + 1, d)."""
    asked = Asked(gradient)
    last = submission.dp_sgd(asked, np.zeros(d), m, q, sigma, clip, lr, steps, seed)
    good = is_array(last, (d,)) and all(
        len(call) == 2 and is_array(call[0], (d,)) and is_array(call[1], (None,)) for call in asked.calls
    )
    if not good or len(asked.calls) != steps:
        return [np.zeros(0, int)] * steps, np.full((steps + 1, d), np.nan)
    return [call[1] for call in asked.calls], np.array([call[0] for call in asked.calls] + [np.asarray(last)])


@pytest.mark.exercise("dp_sgd", weight=3, core=True, hint=2)
def test_all_rows_without_noise(submission, rng):
    """q = 1 and sigma = 0 is gradient descent on the mean, one call in each step, with all rows."""
    for m, d, steps, size in [(5, 3, 4, 1.0), (1, 1, 30, 1e9), (64, 2, 300, 1.0), (6, 3, 2, 1e-9)]:
        curves, centres = rng.uniform(0.5, 1.5, (m, d)), size * rng.standard_normal((m, d))
        start, lr = size * rng.standard_normal(d), 0.3
        asked = Asked(lambda theta, rows, a=curves, b=centres: (a[rows] * (theta - b[rows])).sum(axis=0))
        got = submission.dp_sgd(asked, start, m, 1.0, 0.0, 2.0, lr, steps, int(rng.integers(2**60)))
        expected = start
        for _ in range(steps):
            expected = expected - lr * (curves * (expected - centres)).mean(axis=0)
        assert close(got, expected, rtol=1e-9, atol=1e-9 * size) and close(len(asked.calls), steps)
        assert all(close(call[1], np.arange(m)) for call in asked.calls)


@pytest.mark.exercise("dp_sgd", weight=3, core=True, hint=2)
def test_division_by_the_expected_batch(submission, rng):
    """The sum is divided by q m, whatever the size of the batch that was drawn."""
    pull = rng.standard_normal(3)
    for m, q, steps, lr in [(10, 0.3, 6, 0.7), (1000, 0.01, 6, 0.7), (3, 0.05, 20, 0.7), (20, 0.4, 3, 50.0)]:
        got = submission.dp_sgd(lambda theta, rows: pull.copy(), np.ones(3), m, q, 0.0, 1.0, lr, steps, 11)
        assert close(got, 1 - lr * steps * pull / (q * m), rtol=1e-9, atol=1e-9)
    got = submission.dp_sgd(lambda theta, rows: pull.copy(), np.zeros(3), 20, 0.4, 0.0, 1.0, 1e-9, 3, 11)
    assert close(got, -3e-9 * pull / 8, rtol=1e-9)


@pytest.mark.exercise("dp_sgd", weight=4, core=True, hint=2)
def test_the_noise_is_sigma_times_clip(submission, rng):
    """Where gradients are 0, each step adds normal noise of standard deviation lr sigma clip / (q m)."""
    for sigma, clip, lr, m, q in [
        (1.0, 4.0, 1.0, 10, 0.5),
        (3.0, 1e-9, 0.2, 200, 0.02),
        (0.5, 1e9, 2.0, 7, 1.0),
        (1e-9, 2.0, 0.5, 9, 0.3),
        (60.0, 0.1, 1.5, 4, 0.8),
        (1e-60, 1e100, 1.0, 5, 0.6),
    ]:
        _, thetas = run_of(submission, zeros, 3000, m, q, sigma, clip, lr, 2, int(rng.integers(2**60)))
        moved = np.diff(thetas, axis=0) / (lr * sigma * clip / (q * m))
        assert follows(moved, scipy.stats.norm())


@pytest.mark.exercise("dp_sgd", weight=2, hint=2)
def test_noise_of_steps_and_seeds_is_unrelated(submission, rng):
    """The noise of each step, of each number and of each seed is drawn anew."""
    first = int(rng.integers(2**40))
    found = []
    for seed in (first, first + 1):
        _, thetas = run_of(submission, zeros, 1500, 20, 0.5, 1.0, 1.0, 1.0, 5, seed)
        found.extend(np.diff(thetas, axis=0))
    for a, b in itertools.combinations(found, 2):
        assert unrelated(a, b)
    for step in found:
        assert unrelated(step[1:], step[:-1])
    # Also with m = d: noise that comes from the numbers that chose the batch would show.
    rows, thetas = run_of(submission, zeros, 1000, 1000, 0.5, 1.0, 1.0, 1.0, 4, first + 2)
    for batch, step in zip(rows, np.diff(thetas, axis=0)):
        chosen = np.isin(np.arange(1000), batch) - 0.5
        assert unrelated(chosen, step) and unrelated(chosen, np.abs(step) - 0.6745 / 500)


@pytest.mark.exercise("dp_sgd", weight=4, hint=1)
def test_batches_by_poisson_sampling(submission, rng):
    """Each row is in each batch with probability q, independently: sizes, rows and pairs have the binomial law."""
    m, steps = 300, 200
    for q in (0.1, 0.5, 0.93):
        rows, _ = run_of(submission, zeros, 1, m, q, 1.0, 1.0, 1.0, steps, int(rng.integers(2**60)))
        chosen = np.zeros((steps, m), bool)
        for step, batch in enumerate(rows):
            inside = bool(np.all((batch >= 0) & (batch < m))) and bool(np.all(np.diff(batch) > 0))
            assert close(inside, True)
            chosen[step, batch.astype(int)] = True
        assert as_often(chosen.sum(), steps * m, q)
        for part in (chosen[:, 0], chosen[:, -1], chosen[:, 17], chosen[0], chosen[-1]):
            assert as_often(part.sum(), len(part), q)
        # The sizes' distribution function at the law's own quantiles: no fixed size, no epochs.
        sizes, law = chosen.sum(axis=1), scipy.stats.binom(m, q)
        for share in (0.2, 0.5, 0.8):
            cut = law.ppf(share)
            assert as_often(np.sum(sizes <= cut), steps, law.cdf(cut))
        counts, law = chosen.sum(axis=0), scipy.stats.binom(steps, q)
        for share in (0.2, 0.5, 0.8):
            cut = law.ppf(share)
            assert as_often(np.sum(counts <= cut), m, law.cdf(cut))
        # Both of two neighbours in steps, and in rows: disjoint pairs are independent.
        assert as_often(np.sum(chosen[0::2] & chosen[1::2]), steps * m // 2, q * q)
        assert as_often(np.sum(chosen[:, 0::2] & chosen[:, 1::2]), steps * m // 2, q * q)


@pytest.mark.exercise("dp_sgd", weight=2, hint=1)
def test_seeds_choose_the_batches(submission, rng):
    """The same seed gives the same run, in another process, too; other seeds give unrelated batches."""
    found = {}
    for seed in SEEDS:
        rows, thetas = run_of(submission, zeros, 2, 400, 0.5, 1.0, 1.0, 1.0, 3, seed)
        found[seed] = np.array([np.isin(np.arange(400), batch) for batch in rows]), thetas
    for a, b in itertools.combinations(SEEDS, 2):
        assert as_often(np.sum(found[a][0] == found[b][0]), 1200, 0.5)
    for seed in SEEDS[:3]:  # shifted by one step: what seeds of `seed + step` would give
        assert as_often(np.sum(found[seed][0][1:] == found[seed + 1][0][:-1]), 800, 0.5) if seed + 1 in found else True
    with submission.elsewhere() as other:
        for seed in SEEDS[:4]:
            _, thetas = run_of(other, zeros, 2, 400, 0.5, 1.0, 1.0, 1.0, 3, seed)
            assert close(thetas, found[seed][1], rtol=1e-12)


@pytest.mark.exercise("dp_sgd", weight=3, hint=1)
def test_empty_batches(submission, rng):
    """An empty batch is a step like all others: the function is called with no rows, and noise is added."""
    asked = Asked(zeros)
    got = submission.dp_sgd(asked, np.zeros(500), 2, 0.001, 1.0, 2.0, 0.001, 30, int(rng.integers(2**60)))
    assert close(len(asked.calls), 30)
    # All 30 batches are empty but for a probability of 0.06; more than six are not with one below 1e-8.
    assert close(sum(is_array(call[1], (0,)) for call in asked.calls) >= 24, True)
    assert follows(np.asarray(got, float), scipy.stats.norm(0, math.sqrt(30)))


@pytest.mark.exercise("dp_sgd", weight=1)
def test_ends_and_kinds_of_runs(submission, rng):
    """No steps, a rate of 0, one number, int64 rows; a new float64 array comes back."""
    start = rng.standard_normal(4)
    for form in (start, stepped(start), frozen(start)):
        for steps, lr in ((0, 0.5), (3, 0.0)):
            asked = Asked(zeros)
            got = submission.dp_sgd(asked, form, 5, 0.5, 2.0, 1.0, lr, steps, 1)
            assert close(got, start, typed=True) and close(len(asked.calls), steps)
            assert all(call[1].dtype == np.int64 and call[0].dtype == np.float64 for call in asked.calls)
    one = submission.dp_sgd(lambda theta, rows: theta * len(rows), np.array([8.0]), 1, 1.0, 0.0, 1.0, 1, 1, 0)
    assert close(one, np.zeros(1), typed=True)
    far = submission.dp_sgd(lambda theta, rows: np.full(2, np.nan), np.zeros(2), 3, 1.0, 0.0, 1.0, 0.1, 5, 0)
    assert close(bool(np.isnan(np.asarray(far)).all()), True)


@student_side
def plain_pull(theta, rows):
    return theta * len(rows) + rows.sum()


@pytest.mark.exercise("dp_sgd", forgeable=True)
def test_a_private_run_leaves_no_trace(submission, rng):
    """theta0 and what the function returned are left alone; the global random states, too."""
    doubles = only(floats(3), *LAYOUTS)
    settings = {"m": 6, "q": 0.5, "sigma": 1.0, "clip": 1.0, "lr": 0.1, "steps": 4, "seed": 3}
    contract = Contract("dp_sgd", gradient_sum=plain_pull, theta0=doubles, **settings)
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"steps": 0}, {"q": 1.0}])
    assert random_states_kept(submission, "dp_sgd", plain_pull, np.ones(2), 5, 0.5, 1.0, 1.0, 0.1, 3, 4)


# -------------------------------------------------------------------------------------------------- audit_epsilon


@student_side
def many_audits(seed, runs, n, shift, delta, level):
    """The bounds of audits of two normal laws `shift` apart."""
    rng = np.random.default_rng(seed)
    return [
        float(student.audit_epsilon(rng.standard_normal(n) + shift, rng.standard_normal(n), delta, level))
        for _ in range(runs)
    ]


def gaussian_epsilon(delta):
    """The exact epsilon of two normal laws one standard deviation apart."""
    low, high = 0.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if exact_delta(1.0, middle) > delta else (low, middle)
    return high


@pytest.mark.exercise("audit_epsilon", weight=4, core=True, hint=3)
def test_pure_noise_is_rarely_convicted(submission, rng):
    """The same law on both sides: a bound above 0 comes with probability at most level, whatever was tried."""
    found = []
    for _ in range(10):  # twenty audits a call, for answers that are slow
        found.extend(submission.run(many_audits, int(rng.integers(2**40)), 20, 200, 0.0, 0.0, 0.3))
    found = np.asarray(found)
    assert close(bool(np.isfinite(found).all() and (found >= 0).all()), True)
    # The best of all thresholds is above 0 in nine audits of ten, the best of twenty in six; 97 of 200 are allowed.
    assert close(bool(np.sum(found > 0) <= scipy.stats.binom.isf(TINY, 200, 0.3)), True)


def exact_end(hits, n, beta):
    """Clopper and Pearson's lower end: where `hits` or more of n come with probability beta."""
    return float(scipy.special.betaincinv(hits, n - hits + 1, beta)) if hits else 0.0


def audited(inside, outside, delta, level):
    """The docstring, threshold by threshold."""

    def attacks(half, t):
        some, others = inside[half::2], outside[half::2]
        a, b = int(np.sum(some >= t)), int(np.sum(others >= t))
        n, k = len(some), len(others)
        return [(a, n, b, k), (n - a, n, k - b, k), (b, k, a, n), (k - b, k, n - a, n)]

    @functools.cache
    def value(x, size, y, rest):
        high = 1 - exact_end(rest - y, rest, level / 2) if y < rest else 1.0
        ratio = (exact_end(x, size, level / 2) - delta) / high
        return math.log(ratio) if ratio > 1 else 0.0

    thresholds = sorted({*inside[::2].tolist(), *outside[::2].tolist()})
    u = len(thresholds)
    if u > 500:
        thresholds = [thresholds[j * (u - 1) // 499] for j in range(500)]
    found = [(value(*case), -number, -t, t) for t in thresholds for number, case in enumerate(attacks(0, t))]
    best, number, _, t = max(found)
    return value(*attacks(1, t)[-number]) if best > 0 else 0.0


def two_laws(rng, n, k):
    """Scores of two laws that differ in one of four ways; often some are equal."""
    inside, outside = rng.standard_normal(n), rng.standard_normal(k)
    way = int(rng.integers(4))
    if way == 0:
        inside += rng.uniform(-3, 3)
    elif way == 1:
        outside *= rng.uniform(2, 6)
    elif way == 2:
        inside[rng.random(n) < 0.5] += rng.choice([-4.0, 4.0])
    else:
        outside[rng.random(k) < 0.6] -= rng.choice([-4.0, 4.0])
    digits = int(rng.integers(0, 4))
    return (np.round(inside, digits), np.round(outside, digits)) if digits < 3 else (inside, outside)


@pytest.mark.exercise("audit_epsilon", weight=5, core=True, hint=3)
def test_the_value_of_the_text(submission, rng):
    """The halves [::2] choose threshold and attack, and the value of this attack on the halves [1::2] is returned."""
    for _ in range(60):
        n, k = int(rng.integers(20, 240)), int(rng.integers(20, 240))
        inside, outside = two_laws(rng, n, k)
        delta, level = float(rng.choice([0.0, 1e-8, 0.01, 0.1])), float(rng.choice([0.5, 0.3, 0.05, 1e-3]))
        got = submission.audit_epsilon(inside, outside, delta, level)
        assert close(got, audited(inside, outside, delta, level), atol=1e-9)


@pytest.mark.exercise("audit_epsilon", weight=2, hint=3)
def test_at_most_500_thresholds(submission, rng):
    """All different scores are thresholds up to 500 of them; of more, the 500 that the docstring names."""
    # All scores differ, so there are n / 2 + k / 2 of them: 499, 500, 501, 503, 999, 1,000, 1,001, 2,500 and 20,000.
    sizes = [(500, 498), (500, 500), (501, 499), (700, 306), (998, 1000), (40, 1960), (1900, 101), (4960, 40)]
    for n, k in [*sizes, *sizes, (20_000, 20_000)]:
        inside, outside = rng.normal(rng.choice([-1, 1]), 1, n), rng.normal(0, rng.uniform(0.5, 1.5), k)
        got = submission.audit_epsilon(inside, outside, 0.001, 0.3)
        assert close(got, audited(inside, outside, 0.001, 0.3), atol=1e-9)


@pytest.mark.exercise("audit_epsilon", weight=1, hint=2)
def test_attacks_of_equal_value(submission, rng):
    """Of several attacks with the largest value the first one is chosen: >= t before < t, inside before outside."""
    for n in (20, 40, 100, 150):
        # Mirrored scores: ">= t, inside hits" has the same counts as "< t, outside hits" at the mirrored threshold.
        for shift in (0.5, 1.5, -1.5):
            inside, outside = rng.normal(shift, 1, n), rng.normal(-shift, 1.5, n)
            outside[::2] = -inside[::2]
            got = submission.audit_epsilon(inside, outside, 0.0, 0.5)
            assert close(got, audited(inside, outside, 0.0, 0.5), atol=1e-9)


@pytest.mark.exercise("audit_epsilon", weight=1, hint=3)
def test_nothing_is_chosen(submission, rng):
    """Where no attack has a value above 0 on the halves that choose, the result is 0.0, whatever the others say."""
    for n in (20, 300):
        for sign in (1, -1):
            inside, outside = np.zeros(n), np.zeros(n)
            inside[1::2], outside[1::2] = sign * rng.uniform(2, 3, n // 2), sign * rng.uniform(-3, -2, n // 2)
            inside[0] = 2.0 * sign  # a threshold that parts the halves which must not choose
            assert close(submission.audit_epsilon(inside, outside, 0.01, 0.1), 0.0, typed=True)
            # 0.5 is left out of every probability, and no lower end is above it.
            inside[::2], outside[::2] = np.arange(n // 2) % 5, np.arange(n // 2) % 5
            assert close(submission.audit_epsilon(inside, outside, 0.5, 0.1), 0.0, typed=True)


@pytest.mark.exercise("audit_epsilon", weight=3, core=True, hint=2)
def test_half_of_the_truth(submission, rng):
    """Normal scores one standard deviation apart, 20,000 a side, delta 0.01: on average at least half of epsilon."""
    truth = gaussian_epsilon(0.01)
    for shift in (1.0, -1.0):
        found = submission.run(many_audits, int(rng.integers(2**40)), 4, 20_000, shift, 0.01, 0.05)
        assert close(bool(0.45 * truth <= np.mean(found) <= 1.2 * truth), True)


@pytest.mark.exercise("audit_epsilon", weight=3, core=True, hint=1)
def test_never_above_the_truth(submission, rng):
    """At a level of 1e-9 the bound stays below the true epsilon: normal, Laplace, randomised response, few runs."""
    level = 1e-9
    for delta in (0.0001, 0.01, 0.2):
        truth = gaussian_epsilon(delta)
        for n in (30, 500, 5000):
            for shift in (1.0, -1.0):
                inside, outside = rng.standard_normal(n) + shift, rng.standard_normal(n)
                assert close(bool(0 <= submission.audit_epsilon(inside, outside, delta, level) <= truth), True)
    for epsilon in (0.2, 1.0, 3.0):
        for n in (25, 4000):
            inside, outside = rng.laplace(0, 1 / epsilon, n) + 1, rng.laplace(0, 1 / epsilon, n)
            assert close(bool(0 <= submission.audit_epsilon(inside, outside, 0.0, level) <= epsilon), True)
            told = 1 / (1 + math.exp(-epsilon))
            inside, outside = (rng.random(n) < told) * 1.0, (rng.random(n) > told) * 1.0
            assert close(bool(0 <= submission.audit_epsilon(inside, outside, 0.0, level) <= epsilon), True)


@pytest.mark.exercise("audit_epsilon", weight=2, hint=1)
def test_perfect_separation(submission, rng):
    """All scores inside above all outside, or below: log(x / (1 - x)), where x^n = level / 2 for n judged runs."""
    for n, level in [(500, 0.05), (500, 1e-9), (40, 0.01), (20, 0.5), (100, 1e-9)]:
        high, low = rng.uniform(5, 6, n), rng.uniform(-4, -3, n)
        high[0], low[0] = 5, -4  # the chosen threshold is the least of the upper scores
        x = (level / 2) ** (2 / n)
        for inside, outside in ((high, low), (low, high)):
            got = submission.audit_epsilon(inside, outside, 0.0, level)
            assert close(got, max(0.0, math.log(x / (1 - x))), atol=1e-6, typed=True)
    for n in (1000, 20_000):  # the least upper score is not among 500 thresholds
        got = submission.audit_epsilon(rng.uniform(5, 6, n), rng.uniform(-4, -3, n), 0.0, 0.05)
        assert close(bool(math.log(n) / 2 <= got <= math.log(n)), True)


@pytest.mark.exercise("audit_epsilon", weight=2, hint=2)
def test_equal_scores(submission, rng):
    """Scores that take two values: answers that are true with odds of 3 to 1; equal scores prove nothing."""
    for inside_likes, outside_likes in ((0.75, 0.25), (0.25, 0.75)):
        inside = (rng.random(20_000) < inside_likes) * 2.0 - 7.0
        outside = (rng.random(20_000) < outside_likes) * 2.0 - 7.0
        got = submission.audit_epsilon(inside, outside, 0.0, 1e-6)
        assert close(bool(0.5 * math.log(3) <= got <= math.log(3)), True)
    for n in (20, 999, 2000):
        same = np.full(n, float(rng.standard_normal()))
        assert close(submission.audit_epsilon(same, same, 0.0, 0.05), 0.0, typed=True)


@pytest.mark.exercise("audit_epsilon", weight=3, hint=2)
def test_delta_is_subtracted(submission, rng):
    """A mechanism that gives itself away with probability delta, and else not at all, has epsilon 0."""
    for delta in (0.05, 0.3):
        for sign in (1, -1):
            inside, outside = rng.standard_normal(20_000), rng.standard_normal(20_000)
            inside[rng.random(20_000) < delta] = 50.0 * sign
            assert close(submission.audit_epsilon(inside, outside, delta, 1e-9), 0.0)
            assert close(submission.audit_epsilon(outside, inside, delta, 1e-9), 0.0)


AUDIT = Contract(
    "audit_epsilon",
    inside=only(floats(1000), *LAYOUTS),
    outside=only(floats(1200, draw=lambda rng: 2 * rng.standard_normal(1200)), *LAYOUTS),
    delta=one_of(0.0, 0, 0.02),
    level=one_of(0.05, 0.5),
)


@pytest.mark.exercise("audit_epsilon", weight=1)
def test_scores_in_any_order_of_memory(submission, rng):
    """Any order of memory and any size of scores; a finite Python float, the same for the same scores."""
    for case in AUDIT.cases(rng):
        assert close(submission.audit_epsilon(*case), audited(*case.exact), atol=1e-9, typed=True)
    for scale in (1e-300, 1e-30, 1e-3, 1e12, 1e300):
        inside, outside = scale * rng.uniform(1, 2, 1000), scale * rng.uniform(1.5, 3, 900)
        assert close(
            submission.audit_epsilon(inside, outside, 0.0, 0.05), audited(inside, outside, 0.0, 0.05), atol=1e-9
        )


@pytest.mark.exercise("audit_epsilon", forgeable=True)
def test_an_audit_leaves_no_trace(submission, rng):
    """The scores are left alone, and the same call gives the same number."""
    equal = {"inside": np.ones(40), "outside": np.ones(40)}
    assert AUDIT.leaves_no_trace(submission, rng, then=[{}, {"delta": 0.5}, {"level": 0.5}, equal])
    scores = [np.arange(50.0), np.arange(50.0)[::-1] + 30, 0.0, 0.05]
    assert random_states_kept(submission, "audit_epsilon", *scores)


# ------------------------------------------------------------------------------------------------------- Paillier


def is_prime(n):
    """Fermat's test with many bases; the numbers are random."""
    return n > 3 and all(pow(base, n - 1, n) == 1 for base in (2, 3, 5, 7, 11, 13, 17, 19, 23))


def key_of(remote):
    """(p, q, n) of a key: integers whatever came; 1 where it is none."""
    return tuple(value if type(value) is int else 1 for value in (remote.p, remote.q, remote.n))


def opened(key, c):
    """What a ciphertext holds, from p and q alone, and its r; None where it is no ciphertext."""
    p, q, n = key
    if type(c) is not int or not 0 < c < n * n or math.gcd(c, n) > 1:
        return None
    order = (p - 1) * (q - 1)
    x = (pow(c, order, n * n) - 1) // n * pow(order, -1, n) % n
    return x - n if x > n // 2 else x, pow(c % n, pow(n, -1, order), n)


@student_side
def many_ciphertexts(bits, key_seed, numbers, seeds):
    key = student.Paillier(bits, key_seed)
    return [key.encrypt(m, seed) for m, seed in zip(numbers, seeds)]


@pytest.mark.exercise("Paillier", weight=3, core=True, hint=1)
def test_keys(submission, rng):
    """p and q are different primes of bits / 2 bits each, n their product of `bits` bits; the seed chooses them."""
    seen = set()
    for bits in (32, 64, 128, 256):
        for seed in (0, 1, int(rng.integers(2**62))):
            p, q, n = key_of(submission.Paillier(bits, seed))
            assert close([p * q, n.bit_length(), p.bit_length(), q.bit_length()], [n, bits, bits // 2, bits // 2])
            assert close(is_prime(p) and is_prime(q) and p != q, True)
            seen |= {p, q}
            assert close(key_of(submission.Paillier(bits, seed))[2], n)
    # 24 primes; those of 16 bits may meet (some 1,500 of them), the others do not.
    assert close(len(seen) >= 20, True)


@pytest.mark.exercise("Paillier", weight=2, hint=1)
def test_primes_are_drawn_independently(submission, rng):
    """q does not follow from p: primes that lie near each other are found from n in a moment."""
    near = 0
    for seed in seeds_from(rng, 20):
        p, q, _ = key_of(submission.Paillier(64, seed))
        near += abs(p - q) < 2**23
    # Two random primes of 32 bits, from 3 * 2^30 on, are as near as this in 1.6% of all keys.
    assert close(bool(near <= scipy.stats.binom.isf(TINY, 20, 0.016)), True)


@pytest.mark.exercise("Paillier", weight=3, core=True, hint=3)
def test_round_trips(submission, rng):
    """Every number from -(n // 2) to n // 2 comes back, at the ends, too."""
    for bits in (32, 64, 256):
        key = submission.Paillier(bits, int(rng.integers(2**40)))
        half = key.n // 2
        numbers = [0, 1, -1, half, -half, half - 1, 1 - half, half // 3, -(half // 7)]
        numbers += [int(x) % half for x in rng.integers(2**62, size=4)]
        for m in numbers:
            assert close(key.decrypt(key.encrypt(m, int(rng.integers(2**40)))) == m, True)


@pytest.mark.exercise("Paillier", weight=4, core=True, hint=2)
def test_the_ciphertext_is_paillier(submission, rng):
    """A ciphertext is (1 + n)^m r^n modulo n^2: it is opened here with p and q alone."""
    for bits in (32, 128, 256):
        remote = submission.Paillier(bits, int(rng.integers(2**40)))
        key = key_of(remote)
        half = key[2] // 2
        for m in (0, 5, -6, half, -half, int(rng.integers(2**30)) % half):
            got = opened(key, remote.encrypt(m, int(rng.integers(2**40))))
            assert close(got is not None and got[0] == m, True)


@pytest.mark.exercise("Paillier", weight=4, core=True, hint=3)
def test_sums_and_multiples(submission, rng):
    """add gives the sum and scale the multiple of what ciphertexts hold, negative, 0 and beyond n / 2, modulo n."""
    for bits in (32, 128):
        key = submission.Paillier(bits, int(rng.integers(2**40)))
        n = key.n
        half = n // 2

        def signed(x, n=n, half=half):
            return (x + half) % n - half

        numbers = [0, 1, -1, half, -half, *(int(x) % n - half for x in rng.integers(2**62, size=3))]
        sealed = {m: key.encrypt(m, 100 + i) for i, m in enumerate(dict.fromkeys(numbers))}
        for a, b in itertools.combinations_with_replacement(sealed, 2):
            c = key.add(sealed[a], sealed[b])
            assert close(type(c) is int and 0 < c < n * n and key.decrypt(c) == signed(a + b), True)
        for a, k in itertools.product(sealed, (0, 1, -1, 2, -3, 1000, n - 1, -n, 3 * n + 5)):
            c = key.scale(sealed[a], k)
            assert close(type(c) is int and 0 < c < n * n and key.decrypt(c) == signed(a * k), True)


@student_side
def encrypted_score(bits, seed, x, weights):
    """A linear score on ciphertexts, and decrypted."""
    key = student.Paillier(bits, seed)
    score = key.encrypt(0, 1)
    for j, (value, weight) in enumerate(zip(x, weights)):
        score = key.add(score, key.scale(key.encrypt(value, 10 + j), weight))
    return key.decrypt(score)


@pytest.mark.exercise("Paillier", weight=2, hint=3)
def test_an_encrypted_linear_score(submission, rng):
    """A sum of 40 products of signed integers, computed on ciphertexts."""
    for bits in (96, 256):
        x, weights = rng.integers(-(2**20), 2**20, 40), rng.integers(-(2**16), 2**16, 40)
        seed = int(rng.integers(2**40))
        got = submission.run(encrypted_score, bits, seed, x.tolist(), weights.tolist())
        assert close(got == int(x @ weights), True)


@pytest.mark.exercise("Paillier", weight=4, hint=2)
def test_randomness_is_fresh_and_uniform(submission, rng):
    """r is uniform below n and unrelated for neighbouring seeds; the same number has other ciphertexts each time."""
    seed = int(rng.integers(2**40))
    key = key_of(submission.Paillier(64, seed))
    seeds = seeds_from(rng, 800)
    sealed = submission.run(many_ciphertexts, 64, seed, [7] * 800, seeds)
    found = [opened(key, c) for c in sealed]
    assert close(None not in found and len(set(sealed)) == 800, True)
    parts = np.array([16 * r // key[2] for _, r in found])
    low = np.array([r % 16 for _, r in found])
    assert evenly(parts, 16) and evenly(low, 16)
    assert evenly(parts[:-1:2] // 4 * 4 + parts[1::2] // 4, 16) and evenly(low[:-1:2] // 4 * 4 + low[1::2] // 4, 16)
    again = submission.run(many_ciphertexts, 64, seed, [7] * 800, seeds)
    assert close(list(again) == list(sealed), True)
    others = [opened(key, c) for c in submission.run(many_ciphertexts, 64, seed, [-3] * 20, seeds[:20])]
    assert close([one and one[1] for one in others] == [one[1] for one in found[:20]], True)


@pytest.mark.exercise("Paillier", weight=1, hint=2)
def test_a_seed_does_not_tell_the_key(submission, rng):
    """A number that is encrypted with the seed of the key: its r is not made of the numbers that made p and q."""
    alike = 0
    for seed in seeds_from(rng, 60):
        remote = submission.Paillier(64, seed)
        key, (_, r) = key_of(remote), opened(key_of(remote), remote.encrypt(3, seed)) or (0, 0)
        words = {r & (2**32 - 1), r >> 32}
        alike += bool({word | 3 << 30 | 1 for word in words} & set(key[:2]))
        alike += any(prime >> 8 in (r >> shift & (2**24 - 1) for shift in (0, 8, 32, 40)) for prime in key[:2])
    # A word equals a prime by chance once in 2^29, and its upper 24 bits once in 2^22.
    assert close(alike < 2, True)


@pytest.mark.exercise("Paillier", weight=1, hint=2)
def test_numbers_that_do_not_fit(submission, rng):
    """ValueError for a number above n // 2 or below -(n // 2)."""
    for bits in (32, 200):
        key = submission.Paillier(bits, int(rng.integers(2**40)))
        n = key.n
        for m in (n // 2 + 1, -(n // 2) - 1, n, -n, 5 * n, n * n):
            with raises_student(ValueError):
                key.encrypt(m, 1)


@student_side
def key_and_number(bits):
    key = student.Paillier(bits, 5)
    return key.n, key.encrypt(4, 6)


@pytest.mark.exercise("Paillier", weight=1, forgeable=True)
def test_keys_stand_for_themselves(submission, rng):
    """Two keys do not disturb each other, in another process they are the same, and 512 bits work."""
    one, two = submission.Paillier(64, 3), submission.Paillier(64, 4)
    assert close([one.decrypt(one.encrypt(-9, 1)), two.decrypt(two.encrypt(12, 1)), one.n == two.n], [-9, 12, False])
    c = one.encrypt(5, 2)
    with submission.elsewhere() as other:
        same = other.Paillier(64, 3)
        assert close([same.n == one.n, same.encrypt(5, 2) == c], [True, True])
    large = submission.Paillier(512, 1)
    assert close(large.decrypt(large.scale(large.encrypt(-(10**60), 1), 10**30)) == -(10**90), True)
    assert random_states_kept(submission, key_and_number, 64)


# ---------------------------------------------------------------------------------------------------- seal_chunks


@student_side
def sealed_by(chunks, key):
    return [bytes(piece) for _, piece in zip(range(5000), student.seal_chunks(iter(chunks), key))]


@student_side
def opened_by(pieces, key):
    """The chunks that come out, and whether a ValueError ends them."""
    found = []
    try:
        for _, chunk in zip(range(5000), student.open_chunks(iter(pieces), key)):
            found.append(bytes(chunk))
    except ValueError:
        return found, True
    return found, False


def sealed_here(header, chunks, key):
    """The format of the docstring, written here."""
    chunks = chunks or [b""]
    cipher, last = AESGCM(key), len(chunks) - 1
    nonces = [header + i.to_bytes(4, "big") + bytes([i == last]) for i in range(len(chunks))]
    return [header, *(cipher.encrypt(nonce, chunk, None) for nonce, chunk in zip(nonces, chunks))]


def is_sealed(pieces, chunks, key):
    """Whether these pieces are a file of the format: each is opened with the nonce that it should have."""
    if not isinstance(pieces, list) or len(pieces) != 1 + max(len(chunks), 1) or len(pieces[0]) != 7:
        return close(False, True)
    return close(pieces == sealed_here(pieces[0], chunks, key), True)


def files(rng):
    for sizes in ([5], [0], [], [1, 2, 3], [40, 0, 0, 7], [16] * 40, [70_000, 1]):
        yield [rng.bytes(size) for size in sizes]


@pytest.mark.exercise("seal_chunks", weight=4, core=True, hint=2)
def test_the_format_of_a_file(submission, rng):
    """A header of 7 bytes; each nonce has the header, the number of the chunk, and 1 for the last chunk alone."""
    for length in (16, 32):
        key = rng.bytes(length)
        for chunks in files(rng):
            assert is_sealed(submission.run(sealed_by, chunks, key), chunks, key)
    many = [bytes([i % 251]) for i in range(700)]  # numbers beyond one byte
    assert is_sealed(submission.run(sealed_by, many, key), many, key)


@pytest.mark.exercise("seal_chunks", weight=3, core=True, hint=1)
def test_no_nonce_twice_under_a_key(submission, rng):
    """Every file begins with 7 new random bytes, so no two chunks of any files under one key share a nonce."""
    key = rng.bytes(32)
    headers = [submission.run(sealed_by, [b"a"], key)[0] for _ in range(60)]
    assert close(len(set(headers)), 60) and close({len(header) for header in headers}, {7})
    # Of 420 fair bytes: each bit is 1 in 60 of them as often as coins are.
    bits = np.unpackbits(np.frombuffer(b"".join(headers), np.uint8)).reshape(60, 56)
    for place in range(56):
        assert as_often(int(bits[:, place].sum()), 60, 0.5)
    with submission.elsewhere() as other:
        assert close(other.run(sealed_by, [b"a"], key)[0] in headers, False)


@student_side
def headers_after(seeds):
    """Headers with the global random states set to the same values each time."""
    import random

    found = []
    for seed in seeds:
        random.seed(seed)
        np.random.seed(seed)
        found.append(next(iter(student.seal_chunks([b"x"], bytes(16)))))
    return found


@pytest.mark.exercise("seal_chunks", weight=1)
def test_the_header_comes_from_the_system(submission, rng):
    """The header does not depend on the seeds of Python's and NumPy's generators."""
    assert close(len(set(submission.run(headers_after, [1, 1, 2, 2, 1]))), 5)


@pytest.mark.exercise("seal_chunks", weight=3, core=True, hint=3)
def test_a_file_comes_back(submission, rng):
    """open_chunks gives back the chunks of a file; no chunks come back as one empty chunk."""
    for length in (16, 32):
        key = rng.bytes(length)
        for chunks in files(rng):
            for pieces in (sealed_here(rng.bytes(7), chunks, key), submission.run(sealed_by, chunks, key)):
                got, refused = submission.run(opened_by, pieces, key)
                assert close(refused, False) and close(list(got) == (chunks or [b""]), True)
    many = [bytes([i % 251]) for i in range(700)]
    assert close(list(submission.run(opened_by, sealed_here(rng.bytes(7), many, key), key)[0]) == many, True)


@pytest.mark.exercise("seal_chunks", weight=4, core=True, hint=2)
def test_a_file_that_was_cut_off(submission, rng):
    """A file that lacks its last chunks, all of them, or the header, is refused; what came before is right."""
    key, chunks = rng.bytes(32), [rng.bytes(9) for _ in range(6)]
    pieces = sealed_here(rng.bytes(7), chunks, key)
    for end in range(len(pieces)):
        got, refused = submission.run(opened_by, pieces[:end], key)
        assert close(refused, True) and close(list(got) == chunks[: len(got)] and len(got) < max(end, 1), True)
    for start in (1, 2):
        assert close(submission.run(opened_by, pieces[start:], key)[1], True)


@pytest.mark.exercise("seal_chunks", weight=3, hint=2)
def test_a_file_that_was_changed(submission, rng):
    """A changed bit, a moved, doubled, left out or foreign chunk, another header or key: ValueError."""
    key, chunks = rng.bytes(32), [rng.bytes(9) for _ in range(4)]
    whole, foreign = sealed_here(rng.bytes(7), chunks, key), sealed_here(rng.bytes(7), chunks, key)
    bad = []
    for i in range(5):
        place, flip = int(rng.integers(len(whole[i]))), 1 << int(rng.integers(8))
        bad.append([*whole[:i], bytes(b ^ flip * (j == place) for j, b in enumerate(whole[i])), *whole[i + 1 :]])
        bad.append([*whole[:i], *whole[i + 1 :]])
        bad.append([*whole[: i + 1], *whole[i:]])
        bad.append([*whole[:i], whole[i][:-1], *whole[i + 1 :]])
        bad.append([*whole[:i], foreign[i], *whole[i + 1 :]])
    bad += [[whole[0], *(whole[j] for j in order)] for order in ([2, 1, 3, 4], [1, 2, 4, 3], [4, 3, 2, 1])]
    bad += [[*whole, foreign[4]], [*whole, b""], [*whole, *whole], [whole[0], whole[4]]]
    for pieces in bad:
        assert close(submission.run(opened_by, pieces, key)[1], True)
    assert close(submission.run(opened_by, whole, rng.bytes(32)), ([], True))


@student_side
def through(size, count):
    """Seals and opens `count` chunks of `size` bytes, one after the other: how many come back right."""
    right = 0
    made = (bytes([i]) * size for i in range(count))
    for i, chunk in enumerate(student.open_chunks(student.seal_chunks(made, bytes(16)), bytes(16))):
        right += len(chunk) == size and chunk[0] == i and chunk[-1] == i
    return right


@pytest.mark.exercise("seal_chunks", weight=6, hint=3, memory_mb=56)
def test_a_large_file_in_little_memory(submission, rng):
    """A file of 256 MB goes through both functions a chunk at a time: at most three chunks of 4 MB in each."""
    assert close(submission.run(through, 2**22, 64), 64)
