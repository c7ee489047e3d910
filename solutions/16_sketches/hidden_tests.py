"""Hidden tests of module 16. A docstring is the sentence that a student reads when the test fails.

Every sketch is judged at its bound. A statistical test fails a right answer with a probability below 1e-6: a binomial
count is held to the exact interval at the level TINY, a sum of many independent terms to Z standard deviations.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import scipy.sparse
import scipy.stats

from autograder.judging import (
    SEEDS,
    Contract,
    close,
    integers,
    is_array,
    one_of,
    raises_student,
    random_states_kept,
    student_side,
)

TINY = 1e-8  # of one comparison; a test makes fewer than a hundred
Z = 6.0  # standard deviations: 2e-9 for a Gaussian, with room for the tails of sums
KEYS = integers(60, low=0, high=100)  # of every kind and in every memory layout


def within(count, tosses, p):
    """Whether a number of successes lies in the exact interval of a binomial distribution."""
    low, high = scipy.stats.binom.ppf([TINY, 1 - TINY], tosses, p)
    return close(float(count), (low + high) / 2, atol=(high - low) / 2 + 1e-9)


def fits(observed, expected, freedom=None):
    """Whether counts follow their expectations, by chi-squared at the level TINY."""
    observed, expected = np.asarray(observed, float), np.asarray(expected, float)
    statistic = float(np.sum((observed - expected) ** 2 / expected))
    limit = scipy.stats.chi2.isf(TINY, len(expected) - 1 if freedom is None else freedom)
    return close(min(statistic, 1e300), 0.0, atol=limit)


def distinct(rng, count):
    """So many different keys, anywhere among the integers of 63 bits."""
    return np.unique(rng.integers(0, 2**63 - 1, count + 10))[:count]


def kinds(rng, numbers=range(60)):
    """The same numbers from 0 to 127 in every kind of integers and memory layout."""
    numbers = np.array(numbers)
    for kind in (np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint16, np.uint32, np.uint64):
        yield numbers.astype(kind)
    yield np.repeat(numbers, 2)[::2]
    yield numbers[::-1].copy()[::-1]
    frozen = numbers.copy()
    frozen.flags.writeable = False
    yield frozen


def merged_at_random(rng, sketches, merge):
    """All of them merged in a random tree."""
    sketches = list(sketches)
    while len(sketches) > 1:
        i, j = rng.choice(len(sketches), 2, replace=False)
        both = merge(sketches[i], sketches[j])
        sketches = [sketch for k, sketch in enumerate(sketches) if k not in (i, j)] + [both]
    return sketches[0]


@student_side
def left_behind(name, args, added, method, first, second):
    """What adding to and asking a sketch leaves behind, in words, "" where nothing."""
    sketch = getattr(student, name)(*args)
    kept = [part.copy() for part in added]
    for part in added:
        sketch.add(part)
    if not all(np.array_equal(part, copy) for part, copy in zip(added, kept)):
        return "the call of add changes its argument"
    for part in added:  # the sketch may hold no view of its argument
        part[...] = 0
    ask = getattr(sketch, method)
    copy = first.copy()
    one = ask(first)
    if not np.array_equal(first, copy):
        return f"the call of {method} changes its argument"
    before, other, third = one.copy(), ask(second), ask(first)
    if np.shares_memory(one, other) or np.shares_memory(one, third) or np.shares_memory(other, third):
        return "a later call changes what an earlier one returned"
    if not np.array_equal(one, before) or not np.array_equal(third, before):
        return "the same call returns something else after another call"
    one[...] = 0
    if not np.array_equal(ask(first), before):
        return "what is returned shares memory with the sketch"
    first[...] = second
    if not np.array_equal(ask(first), other):
        return "the call does not see that an array has changed"
    part = added[0]
    part[...] = np.arange(len(part)) + 10**12
    sketch.add(part)
    return "" if np.all(ask(part) >= 1) else "the call of add does not see that an array has changed"


# ------------------------------------------------------------------------------------------------------ reservoir

SAMPLED = Contract("reservoir", stream=one_of(list(range(40))), k=one_of(7, 0, 40, 100), seed=one_of(5, *SEEDS))


@student_side
def many_samples(n, k, seeds):
    """Which positions of a stream of n items are sampled: a row of 0 and 1 for each seed."""
    taken = np.zeros((len(seeds), n), int)
    for row, seed in enumerate(seeds):
        for item in student.reservoir(iter(range(n)), k, seed):
            taken[row, item] += 1
    return taken


@student_side
def many_merges(a, n_a, b, n_b, k, seeds):
    """Merged samples, a row each; row i of a and of b are merged with seed i."""
    return np.array([student.merge_reservoirs(list(x), n_a, list(y), n_b, k, s) for x, y, s in zip(a, b, seeds)])


def subsets_fit(taken, n, k):
    """Whether all sets of k of n positions are equally frequent."""
    found = Counter(tuple(np.flatnonzero(row)) for row in np.asarray(taken))
    everything = list(itertools.combinations(range(n), k))
    return fits([found[subset] for subset in everything], np.full(len(everything), len(taken) / len(everything)))


@pytest.mark.exercise("reservoir", weight=3, core=True, hint=2)
def test_every_position_is_equally_likely(submission, rng):
    """Each position of the stream is sampled with the same probability, the first and the last ones, too."""
    runs, n, k = 3000, 30, 6
    start = int(rng.integers(2**40))
    taken = np.asarray(submission.run(many_samples, n, k, list(range(start, start + runs))))
    assert close(taken.sum(axis=1), np.full(runs, k)) and close(taken.max(), 1)
    p = k / n  # the counts have the covariance runs p (1 - p) n / (n - 1) (I - 1/n): chi-squared with n - 1 degrees
    statistic = np.sum((taken.sum(axis=0) - runs * p) ** 2) / (runs * p * (1 - p)) * (n - 1) / n
    assert close(statistic, 0.0, atol=scipy.stats.chi2.isf(TINY, n - 1))


@pytest.mark.exercise("reservoir", weight=3, core=True, hint=3)
def test_every_set_of_positions_is_equally_likely(submission, rng):
    """All sets of k positions are equally likely: which item is sampled says nothing about its neighbours."""
    for n, k in [(6, 3), (7, 2), (5, 4)]:
        start = int(rng.integers(2**40))
        taken = submission.run(many_samples, n, k, list(range(start, start + 2000)))
        assert subsets_fit(taken, n, k)


@pytest.mark.exercise("reservoir", weight=2, core=True, hint=1)
def test_short_streams(submission, rng):
    """A stream of no more than k items comes back whole, k = 0 gives an empty list, and so does an empty stream."""
    for n, k in [(0, 0), (0, 3), (5, 0), (1, 1), (5, 5), (5, 8), (300, 300), (300, 299), (1000, 1), (700, 350)]:
        got = submission.reservoir(range(n), k, int(rng.integers(2**60)))
        assert close(sorted(got) if isinstance(got, list) and n <= k else len(got), list(range(n)) if n <= k else k)
        assert close(len(set(got)), min(n, k)) and close(set(got) <= set(range(n)), True)


@pytest.mark.exercise("reservoir", hint=1)
def test_items_of_any_kind(submission, rng):
    """Items are handed through as they are, also such as cannot be compared or hashed, and equal ones count twice."""
    items = [[1], [1], {"a": 2}, None, "text", (1, 2), 2.5, [], [[]], 7]
    got = submission.reservoir(items, 10, 3)
    assert close(sorted(map(repr, got)), sorted(map(repr, items)))
    got = submission.reservoir(items * 3, 10, 3)
    assert close(len(got), 10) and close(all(item in items for item in got), True)
    arrays = [np.array([i, i]) for i in range(30)]
    got = submission.reservoir(arrays, 12, 8)
    assert close(len({int(item[0]) for item in got}), 12)


@pytest.mark.exercise("reservoir", hint=1)
def test_a_sample_depends_on_its_seed_alone(submission):
    """The same seed gives the same sample, in another process, too, and other seeds give other samples."""
    found = [tuple(sorted(submission.reservoir(range(500), 20, seed))) for seed in SEEDS]
    assert close([tuple(sorted(submission.reservoir(range(500), 20, seed))) for seed in SEEDS[::-1]], found[::-1])
    with submission.elsewhere() as other:
        assert close([tuple(sorted(other.reservoir(range(500), 20, seed))) for seed in SEEDS], found)
    assert close(len(set(found)), len(SEEDS))


@student_side
def sample_of_long_texts(n, k, seed):
    """The lengths of a sample of long texts, which are made one after the other."""
    return [int(text[:8]) for text in student.reservoir((f"{i:08d}" + "." * 400 for i in range(n)), k, seed)]


@pytest.mark.exercise("reservoir", weight=6, hint=1, memory_mb=24)
def test_reservoir_of_a_long_stream(submission, rng):
    """A stream that is much longer than the memory is sampled in memory for k items."""
    got = submission.run(sample_of_long_texts, 150_000, 1000, int(rng.integers(2**50)))  # 70 MB of texts
    assert close(len(set(got)), 1000)
    assert fits(np.bincount(np.asarray(got) // 15_000, minlength=10), np.full(10, 100.0))


@pytest.mark.exercise("reservoir", forgeable=True)
def test_reservoir_leaves_no_trace(submission, rng):
    """The stream's list is left alone, and the global random states are neither used nor changed."""
    assert SAMPLED.leaves_no_trace(submission, rng, then=[{}, {"k": 0}, {"k": 100}])
    assert random_states_kept(submission, "reservoir", list(range(99)), 9, 4)


# ----------------------------------------------------------------------------------------------- merge_reservoirs

MERGED = Contract(
    "merge_reservoirs",
    a=one_of(list(range(5))),
    n_a=one_of(50),
    b=one_of(list(range(100, 105))),
    n_b=one_of(9),
    k=one_of(5, 0),
    seed=one_of(3, 2**40),
)


@pytest.mark.exercise("merge_reservoirs", weight=3, core=True, hint=2)
def test_long_streams_give_more_items(submission, rng):
    """The number of items from each stream has the right mean and spread, also for very long streams."""
    for n_a, n_b, k in [(9000, 1000, 10), (30, 12, 10), (9 * 10**14, 10**14, 10), (12, 5, 10)]:
        a, b = np.tile(np.arange(min(k, n_a)), (600, 1)), np.tile(np.arange(100, 100 + min(k, n_b)), (600, 1))
        seeds = (int(rng.integers(2**60)) + np.arange(600)).tolist()
        got = np.asarray(submission.run(many_merges, a.tolist(), n_a, b.tolist(), n_b, k, seeds))
        from_a = (got < 100).sum(axis=1)
        p = n_a / (n_a + n_b)
        variance = k * p * (1 - p) * (n_a + n_b - k) / (n_a + n_b - 1)  # hypergeometric
        assert close(from_a.mean(), k * p, atol=Z * math.sqrt(variance / 600))
        # The variance of a variance is below 2 / 599 + 1 / (600 variance) of its square where no fourth cumulant is
        # above the binomial's.
        assert close(from_a.var(), variance, rtol=Z * math.sqrt(2 / 599 + 1 / (600 * variance)))


@pytest.mark.exercise("merge_reservoirs", weight=3, core=True, hint=3)
def test_merged_sets_are_equally_likely(submission, rng):
    """All sets of k positions of both streams are equally likely, whatever the order of the samples."""
    for n_a, n_b, k in [(4, 2, 3), (2, 5, 2), (3, 3, 3)]:
        samples = [
            np.sort([rng.choice(n, min(k, n), replace=False) for _ in range(1200)], axis=1) + first
            for n, first in ((n_a, 0), (n_b, n_a))
        ]
        seeds = (int(rng.integers(2**40)) + np.arange(1200)).tolist()
        got = submission.run(many_merges, samples[0].tolist(), n_a, samples[1].tolist(), n_b, k, seeds)
        taken = np.zeros((1200, n_a + n_b), int)
        np.put_along_axis(taken, np.asarray(got), 1, axis=1)
        assert subsets_fit(taken, n_a + n_b, k)


@pytest.mark.exercise("merge_reservoirs", weight=2, core=True, hint=3)
def test_as_many_items_as_there_are(submission, rng):
    """min(k, n_a + n_b) items come back, each at most once: short and empty streams, and k = 0."""
    for n_a, n_b, k in [(0, 0, 3), (0, 5, 3), (5, 0, 3), (2, 3, 9), (2, 3, 5), (1, 500, 4), (9, 9, 0), (400, 1, 300)]:
        a, b = list(range(min(k, n_a))), list(range(1000, 1000 + min(k, n_b)))
        for seed in (0, int(rng.integers(2**60))):
            got = submission.merge_reservoirs(a, n_a, b, n_b, k, seed)
            assert close(len(got), min(k, n_a + n_b)) and close(len(set(got)), len(got))
            assert close(set(got) <= {*a, *b}, True)


@student_side
def merged_in_trees(samples, lengths, k, orders, seeds):
    """The samples of many trees of merges, a row each; an order names two places in the list of what is left."""
    found = []
    for parts, order, seed in zip(samples, orders, seeds):
        left = [(list(part), n) for part, n in zip(parts, lengths)]
        for step, (i, j) in enumerate(order):
            (a, n_a), (b, n_b) = left[i], left[j]
            rest = [part for place, part in enumerate(left) if place not in (i, j)]
            left = [*rest, (student.merge_reservoirs(a, n_a, b, n_b, k, seed + step), n_a + n_b)]
        found.append(left[0][0])
    return np.array(found)


@pytest.mark.exercise("merge_reservoirs", weight=2, hint=3)
def test_trees_of_merges_are_fair(submission, rng):
    """After a random tree of merges, all positions of all streams are still equally likely."""
    lengths, k, runs = [1, 2, 3, 5, 8, 4, 7], 5, 600
    firsts, n = np.cumsum([0, *lengths]), sum(lengths)
    samples = [
        [
            np.sort(rng.choice(m, min(k, m), replace=False) + first).tolist()
            for m, first in zip(lengths, firsts, strict=False)
        ]
        for _ in range(runs)
    ]
    orders = [[rng.choice(m, 2, replace=False).tolist() for m in range(7, 1, -1)] for _ in range(runs)]
    seeds = (int(rng.integers(2**60)) + 10 * np.arange(runs)).tolist()
    got = np.asarray(submission.run(merged_in_trees, samples, lengths, k, orders, seeds))
    p = k / n
    statistic = np.sum((np.bincount(got.ravel(), minlength=n) - runs * p) ** 2) / (runs * p * (1 - p)) * (n - 1) / n
    assert close(statistic, 0.0, atol=scipy.stats.chi2.isf(TINY, n - 1))


@pytest.mark.exercise("merge_reservoirs")
def test_merges_of_items_of_any_kind(submission):
    """Items are handed through as they are, also such as cannot be hashed, and the result is a list."""
    a, b = [[1], {"a": 2}, None], ["text", 2.5]
    got = submission.merge_reservoirs(a, 3, b, 2, 5, 1)
    assert close(sorted(map(repr, got)), sorted(map(repr, a + b))) and close(type(got) is list, True)


@pytest.mark.exercise("merge_reservoirs")
def test_a_merge_depends_on_its_seed_alone(submission):
    """The same seed gives the same sample, in another process, too, and other seeds give other samples."""

    def merged(side):
        a, b = list(range(20)), list(range(100, 120))
        return [tuple(sorted(side.merge_reservoirs(a, 70, b, 60, 20, seed))) for seed in SEEDS]

    found = merged(submission)
    with submission.elsewhere() as other:
        assert close(merged(other), found)
    assert close(len(set(found)), len(SEEDS))


@pytest.mark.exercise("merge_reservoirs", forgeable=True)
def test_merge_reservoirs_leaves_no_trace(submission, rng):
    """Both samples are left as they are, and the global random states are neither used nor changed."""
    assert MERGED.leaves_no_trace(submission, rng, then=[{}, {"k": 0}, {"n_a": 5, "n_b": 5, "k": 10}])
    assert random_states_kept(submission, "merge_reservoirs", [1, 2, 3], 9, [4, 5, 6], 6, 3, 4)


# ---------------------------------------------------------------------------------------------------------- Bloom


@pytest.mark.exercise("Bloom", weight=3, core=True, hint=3)
def test_no_key_is_missed(submission, rng):
    """Each key that was added is contained, whatever the number of bits, the number of calls and the order."""
    for bits, hashes, n in [
        (20_000, 5, 1500),
        (1237, 3, 300),
        (8, 1, 5),
        (7, 2, 9),
        (1, 1, 2),
        (64, 30, 1),
        (9001, 4, 999),
    ]:
        keys = distinct(rng, n)
        bloom = submission.Bloom(bits, hashes, int(rng.integers(2**60)))
        for part in np.array_split(rng.permutation(keys), 3):
            bloom.add(part)
        assert close(bloom.contains(rng.permutation(np.tile(keys, 2))), np.ones(2 * n, bool))


@pytest.mark.exercise("Bloom", weight=3, core=True, hint=2)
def test_false_alarms_follow_the_formula(submission, rng):
    """Of keys that were never added, a share of (1 - exp(-hashes * n / bits))^hashes is told as contained."""
    asked = 20_000
    for bits, hashes, n in [(20_000, 1, 15_000), (20_001, 3, 5000), (30_000, 7, 3000), (10_000, 5, 1500), (5000, 2, 0)]:
        keys = distinct(rng, n + asked)
        keys = rng.permutation(keys)
        bloom = submission.Bloom(bits, hashes, int(rng.integers(2**60)))
        bloom.add(keys[:n])
        alarms = np.count_nonzero(np.asarray(bloom.contains(keys[n:])))
        fill = -math.expm1(-hashes * n / bits)  # its variance is below that of independent bits
        p = fill**hashes
        spread = asked * p * hashes * math.sqrt((1 - fill) / fill / bits) if n else 0.0
        assert close(float(alarms), asked * p, atol=Z * (math.sqrt(asked * p * (1 - p)) + spread))


@pytest.mark.exercise("Bloom", weight=3, hint=3)
def test_bloom_size(submission, rng):
    """hashes is the whole number nearest to log2(1 / rate), at least 1, and bits are just enough for it."""
    rates = [0.99, 0.75, 0.6, 0.4, 0.3, 0.1, 0.05, 0.01, 0.003, 1e-4, 1e-6, 1e-9, 1e-12]
    for n, rate in itertools.product([1, 2, 7, 150, 10_000, 10**7], rates):
        hashes = max(1, round(math.log2(1 / rate)))
        bits = math.ceil(hashes * n / -math.log1p(-(rate ** (1 / hashes))))
        got = submission.bloom_size(n, rate)
        assert close(got, np.array([bits, hashes]), atol=np.array([1 + 1e-12 * bits, 0]))
        assert close([type(value) is int for value in got], [True, True])


@pytest.mark.exercise("Bloom", weight=3, hint=3)
def test_merged_filters_equal_one_filter(submission, rng):
    """A tree of merges answers every question as one filter that got all keys, and changes none of its parts."""
    keys, asked, seed = distinct(rng, 900), distinct(rng, 5000), int(rng.integers(2**60))
    whole = submission.Bloom(2003, 2, seed)
    whole.add(keys)
    parts, shares = [], [keys[rng.integers(0, 900, 150)] for _ in range(7)] + [keys[i::5] for i in range(5)]
    for share in [*shares, keys[:0]]:
        parts.append(submission.Bloom(2003, 2, seed))
        parts[-1].add(share)
    answers = [part.contains(asked) for part in parts]
    merged = merged_at_random(rng, parts, lambda a, b: a.merge(b))
    assert close(merged.contains(asked), whole.contains(asked)) and close(merged.contains(keys).all(), np.bool_(True))
    for part, answer in zip(parts, answers, strict=True):
        assert close(part.contains(asked), answer)


@pytest.mark.exercise("Bloom", hint=3)
def test_merged_filters_live_apart(submission, rng):
    """What is added to one of three filters after a merge has no influence on the two others."""
    keys = distinct(rng, 400)
    a, b = submission.Bloom(5000, 3, 1), submission.Bloom(5000, 3, 1)
    a.add(keys[:100])
    b.add(keys[100:200])
    both = a.merge(b)
    before = [side.contains(keys) for side in (a, b, both)]
    both.add(keys[200:])
    assert close([a.contains(keys), b.contains(keys)], before[:2])
    answer = both.contains(keys)
    a.add(keys)
    empty = submission.Bloom(5000, 3, 1)
    assert close(empty.contains(keys), np.zeros(400, bool)) and close(b.contains(keys), before[1])
    with_empty = b.merge(empty)
    empty.add(keys)
    b.add(keys)
    assert close(with_empty.contains(keys), before[1]) and close(both.contains(keys), answer)


@pytest.mark.exercise("Bloom")
def test_other_filters_do_not_merge(submission):
    """Filters with other bits, hashes or seeds raise ValueError, and with the same they merge."""
    same = (1001, 101, 2**40)
    others = [(1002, 101, 2**40), (1008, 101, 2**40), (1001, 102, 2**40), (1001, 101, 2**40 + 1), (1001, 101, 0)]
    others += [(1001, 101, seed) for seed in SEEDS] + [(1001, 101, 2**40 + 1000), (101, 1001, 2**40)]
    submission.Bloom(*same).merge(submission.Bloom(*same))
    for other in others:
        for first, second in ((same, other), (other, same)):
            with raises_student(ValueError):
                submission.Bloom(*first).merge(submission.Bloom(*second))


@pytest.mark.exercise("Bloom")
def test_filters_take_keys_of_every_kind(submission, rng):
    """The same numbers are the same keys in every kind of integers; negative ones and no keys at all are fine."""
    for keys in kinds(rng):
        bloom = submission.Bloom(3000, 4, 9)
        bloom.add(keys)
        for asked in kinds(rng):
            assert close(bloom.contains(asked), np.ones(60, bool), typed=True)
        bloom.add(keys[:0])
        assert is_array(bloom.contains(keys[:0]), (0,), bool)
        assert close(np.count_nonzero(np.asarray(bloom.contains(np.arange(1000, 1400)))) <= 20, True)
    extreme = np.array([-1, -(2**63), 2**63 - 1, -5])
    bloom = submission.Bloom(3000, 4, 9)
    bloom.add(extreme)
    assert close(bloom.contains(extreme), np.ones(4, bool))
    assert close(bloom.contains(np.array([-5, -1], np.int8)), np.ones(2, bool))
    bloom.add(np.array([2**64 - 7, 2**63 + 1], np.uint64))
    assert close(bloom.contains(np.array([2**63 + 1, 2**64 - 7], np.uint64)), np.ones(2, bool))


@pytest.mark.exercise("Bloom", hint=2)
def test_filters_with_other_seeds_are_unrelated(submission, rng):
    """Two seeds give unrelated hash functions, and the same seed the same ones, in another process, too."""
    keys = distinct(rng, 8200)
    alarms = []
    for seed in (*SEEDS, 5, 6):
        bloom = submission.Bloom(1000, 4, seed)
        bloom.add(keys[:200])
        alarms.append(np.asarray(bloom.contains(keys[200:])))
    p = (1 - math.exp(-0.8)) ** 4
    spread = 2 * 4 * math.sqrt(math.exp(-0.8) / (1 - math.exp(-0.8)) / 1000)  # of p^2, from how full the filters are
    for one, other in itertools.combinations(alarms, 2):
        limit = 8000 * p * p * (1 + Z * spread) + Z * math.sqrt(8000 * p * p)
        assert close(float(np.sum(one & other)), 0.0, atol=limit)
    with submission.elsewhere() as other:
        bloom = other.Bloom(1000, 4, SEEDS[-1])
        bloom.add(keys[:200])
        assert close(bloom.contains(keys[200:]), alarms[len(SEEDS) - 1])


@student_side
def large_filter(bits, hashes, chunks, size, seed):
    """How many keys are missed, and the share of false alarms, of a filter that gets keys chunk by chunk."""
    bloom = student.Bloom(bits, hashes, seed)
    missed = 0
    for i in range(chunks):
        bloom.add(np.arange(i * size, (i + 1) * size))
    for i in range(chunks):
        missed += int(np.sum(~bloom.contains(np.arange(i * size, (i + 1) * size))))
    return missed, float(np.mean(bloom.contains(np.arange(10**9, 10**9 + size))))


@pytest.mark.exercise("Bloom", weight=9, hint=1, memory_mb=64, seconds=8)
def test_a_filter_takes_one_bit_for_a_bit(submission):
    """2^28 bits take 32 MB: not a byte for each, and no list of the keys."""
    # Besides the bits, chunks of 50,000 keys and 3 functions: arrays of 1.2 MB each.
    missed, rate = submission.run(large_filter, 2**28, 3, 20, 50_000, 7)
    assert close(missed, 0) and close(rate, 0.0, atol=2e-3)


@pytest.mark.exercise("Bloom", forgeable=True)
def test_filters_leave_no_trace(submission, rng):
    """Keys are left as they are, and an answer belongs to one call: nothing later changes it."""
    parts, asked = [distinct(rng, 50), distinct(rng, 70)], distinct(rng, 200)
    got = submission.run(left_behind, "Bloom", [500, 2, 3], parts, "contains", asked[:100], asked[100:])
    assert close(got, "")


# ------------------------------------------------------------------------------------------------------- CountMin


def counted(submission, sizes, parts):
    """A sketch of some (keys, counts), counts None for one each."""
    sketch = submission.CountMin(*sizes)
    for keys, counts in parts:
        sketch.add(keys) if counts is None else sketch.add(keys, counts)
    return sketch


@pytest.mark.exercise("CountMin", weight=3, core=True, hint=1)
def test_wide_tables_count_exactly(submission, rng):
    """In a wide table every count is exact: repeats in a call, several calls, zeros, no counts."""
    keys = distinct(rng, 300)
    stream, counts = rng.choice(keys[:200], 3000), rng.integers(0, 50, 3000)
    sketch = counted(submission, (4001, 8, int(rng.integers(2**60))), [(stream, counts), (stream[:999], None)])
    truth = np.zeros(300, np.int64)
    np.add.at(truth, np.searchsorted(keys, stream), counts)
    np.add.at(truth, np.searchsorted(keys, stream[:999]), 1)
    # 200 keys in 4001 columns: a key is covered in all 8 rows with probability (200 / 4001)^8 = 4e-11.
    assert close(sketch.estimate(keys), truth)


@pytest.mark.exercise("CountMin", weight=3, core=True, hint=3)
def test_never_below_the_truth_and_seldom_far_above(submission, rng):
    """No estimate is below the true count, and a share of at most exp(-depth) is above it by more than e N / width."""
    asked = distinct(rng, 20_000)
    for width, depth, n_heavy in [(100, 1, 36), (100, 4, 36), (57, 3, 20), (300, 6, 100), (40, 2, 14)]:
        heavy = rng.choice(2**40, n_heavy, replace=False)  # each weighs just more than e N / width
        sketch = counted(submission, (width, depth, int(rng.integers(2**60))), [(heavy, np.full(n_heavy, 1000))])
        assert close(bool(np.all(np.asarray(sketch.estimate(heavy)) >= 1000)), True)
        over = np.asarray(sketch.estimate(asked)) > math.e * 1000 * n_heavy / width
        # In each row a key fails where one of the heavy ones is. Of the columns, a share of 1 - (1 - 1/width)^heavy
        # is taken; its spread is below that of independent columns.
        share = -math.expm1(n_heavy * math.log1p(-1 / width))
        spread = share**depth * math.sqrt(depth * (1 - share) / share / width)
        low = share**depth - Z * (spread + math.sqrt(share**depth / len(asked)))
        high = share**depth + Z * (spread + math.sqrt(share**depth / len(asked)))
        assert close(
            max(0.0, float(over.mean()) - math.exp(-depth)), 0.0, atol=Z * math.exp(-depth / 2) / len(asked) ** 0.5
        )
        assert close(float(over.mean()), (low + high) / 2, atol=(high - low) / 2)


@pytest.mark.exercise("CountMin", weight=2, hint=3)
def test_estimates_of_a_long_stream(submission, rng):
    """On a Zipf stream no estimate is too low, and few are far too high; one column counts everything."""
    width, depth, n = 200, 4, 30_000
    stream = np.minimum(rng.zipf(1.3, n), 5000)
    keys = np.arange(1, 5001)
    truth = np.bincount(stream, minlength=5001)[1:]
    sketch = counted(
        submission, (width, depth, int(rng.integers(2**60))), [(part, None) for part in np.array_split(stream, 7)]
    )
    error = np.asarray(sketch.estimate(keys)) - truth
    assert close(bool(np.all(error >= 0)), True)
    # For each key P(error > e N / width) <= exp(-4) = 0.02, and far less on such a stream.
    assert close(float(np.mean(error > math.e * n / width)), 0.0, atol=0.1)
    one = counted(submission, (1, 3, 5), [(stream, None), (stream, None)])
    assert close(one.estimate(keys[:3]), np.full(3, 2 * n))
    deep = counted(submission, (2, 120, 6), [(np.array([1, 2]), np.array([10, 20]))])
    assert close(deep.estimate(np.array([1, 2, 3])), [10, 20, 0])  # each of 120 rows must join two keys: (3/4)^120


@pytest.mark.exercise("CountMin", weight=3, hint=3)
def test_merged_tables_equal_one_table(submission, rng):
    """A tree of merges estimates exactly as one sketch that got everything, and changes none of its parts."""
    size, keys = (61, 3, int(rng.integers(2**60))), np.arange(2000)
    whole, parts = submission.CountMin(*size), []
    for _ in range(12):
        stream, counts = rng.integers(0, 1000, 200), rng.integers(0, 9, 200)
        parts.append(counted(submission, size, [(stream, counts)]))
        whole.add(stream, counts)
    parts.append(submission.CountMin(*size))
    answers = [part.estimate(keys) for part in parts]
    merged = merged_at_random(rng, parts, lambda a, b: a.merge(b))
    assert close(merged.estimate(keys), whole.estimate(keys))
    merged.add(keys)
    assert close([part.estimate(keys) for part in parts], answers)
    before = merged.estimate(keys)
    for part in parts:
        part.add(keys)
    assert close(merged.estimate(keys), before)
    empty = submission.CountMin(*size)
    alone = merged.merge(empty)
    merged.add(keys)
    empty.add(keys)
    assert close(alone.estimate(keys), before)


@pytest.mark.exercise("CountMin")
def test_other_tables_do_not_merge(submission):
    """Sketches with other widths, depths or seeds raise ValueError, and with the same they merge."""
    same = (1001, 101, 2**40)
    others = [(1002, 101, 2**40), (1001, 102, 2**40), (101, 1001, 2**40), (1, 101, 2**40), (1001, 1, 2**40)]
    others += [(1001, 101, seed) for seed in (*SEEDS, 2**40 + 1, 2**40 + 1000)]
    submission.CountMin(*same).merge(submission.CountMin(*same))
    for other in others:
        for first, second in ((same, other), (other, same)):
            with raises_student(ValueError):
                submission.CountMin(*first).merge(submission.CountMin(*second))


@pytest.mark.exercise("CountMin", weight=2, hint=2)
def test_counts_and_keys_of_every_kind(submission, rng):
    """Keys and counts of every kind of integers are right: sums beyond the kind's limit, and up to 2^53; int64 back."""
    counts = np.full(60, 100)
    for keys, amounts in itertools.chain(
        zip(kinds(rng), itertools.repeat(counts)), zip(itertools.repeat(np.arange(60)), kinds(rng, counts))
    ):
        sketch = counted(submission, (5000, 6, 4), [(keys, amounts), (keys[::-1], amounts), (keys[:0], amounts[:0])])
        for asked in kinds(rng):
            assert close(sketch.estimate(asked), np.full(60, 200), typed=True)
        assert is_array(sketch.estimate(keys[:0]), (0,), np.int64)
    sketch = counted(submission, (5000, 6, 4), [(np.array([-1, 7, -1]), np.array([2**50, 2**51 + 1, 3], np.uint64))])
    sketch.add(np.array([2**64 - 9, 2**63], np.uint64), np.array([5, 2**40 + 1]))
    asked = np.array([2**64 - 9, 2**63, 7], np.uint64)
    assert close(sketch.estimate(asked), [5, 2**40 + 1, 2**51 + 1])
    assert close(sketch.estimate(np.array([-1, 7, 3], np.int8)), [2**50 + 3, 2**51 + 1, 0])


@pytest.mark.exercise("CountMin", hint=3)
def test_tables_with_other_seeds_are_unrelated(submission, rng):
    """Two seeds give unrelated hash functions, and the same seed the same ones, in another process, too."""
    keys, asked = distinct(rng, 30), distinct(rng, 20_000)
    found = []
    for seed in (*SEEDS, 5, 6):
        found.append(np.asarray(counted(submission, (50, 5, seed), [(keys, None)]).estimate(asked)) > 0)
    fill = -math.expm1(30 * math.log1p(-1 / 50))
    for one, other in itertools.combinations(found, 2):
        limit = (
            20_000 * fill**10 * (1 + Z * math.sqrt(10 * (1 - fill) / fill / 50))
        )  # with four rows in common: fill**6
        assert close(float(np.sum(one & other)), 0.0, atol=limit + Z * math.sqrt(limit))
    with submission.elsewhere() as other:
        sketch = counted(other, (50, 5, SEEDS[-1]), [(keys, None)])
        assert close(np.asarray(sketch.estimate(asked)) > 0, found[len(SEEDS) - 1])


@student_side
def events(width, depth, seed, chunks, size):
    """The largest and smallest error after many events with many different keys."""
    sketch = student.CountMin(width, depth, seed)
    for i in range(chunks):
        sketch.add(np.arange(i * size, (i + 1) * size))
    got = sketch.estimate(np.arange(0, chunks * size, 97))
    return int(got.min()) - 1, int(got.max()) - 1


@pytest.mark.exercise("CountMin", weight=8, hint=1, memory_mb=40, seconds=6)
def test_a_table_of_many_events(submission, rng):
    """Ten times as many different keys make the table no larger."""
    # 10^6 different keys: a dict takes 100 MB. A row errs by N / width = 500 with a spread of 22.
    low, high = submission.run(events, 2000, 5, int(rng.integers(2**60)), 20, 50_000)
    assert close((low, high), (450, 500), atol=150)


@pytest.mark.exercise("CountMin", forgeable=True)
def test_tables_leave_no_trace(submission, rng):
    """Keys are left as they are, and an answer belongs to one call: nothing later changes it."""
    parts, asked = [distinct(rng, 50), distinct(rng, 70)], distinct(rng, 200)
    asked[:50], asked[130:] = parts[0], parts[1]
    got = submission.run(left_behind, "CountMin", [3000, 2, 3], parts, "estimate", asked[:100], asked[100:])
    assert close(got, "") and close(submission.run(counts_unchanged), "")


@student_side
def counts_unchanged():
    """Whether `add` leaves its counts alone."""
    sketch, keys, counts = student.CountMin(20, 2, 1), np.arange(9), np.arange(9)
    sketch.add(keys, counts)
    fine = np.array_equal(keys, np.arange(9)) and np.array_equal(counts, np.arange(9))
    return "" if fine else "the call of add changes its counts"


# ---------------------------------------------------------------------------------------------------- misra_gries

COUNTED = Contract("misra_gries", stream=one_of(list("abacabadab")), k=one_of(3, 1, 300))
ADDED = Contract("merge_counters", a=one_of({"x": 6, "y": 3}), b=one_of({"x": 1, "z": 4}), k=one_of(2, 3))


def summary(stream, k):
    """Misra and Gries's counters, with the sum that was subtracted from all instead of small counters."""
    counters, subtracted = {}, 0
    for item in stream:
        if item not in counters and len(counters) >= k:
            subtracted += 1
            counters = {key: top for key, top in counters.items() if top > subtracted}
        else:
            counters[item] = counters.get(item, subtracted) + 1
    return {key: top - subtracted for key, top in counters.items()}


def bounded(got, truth, k):
    """Whether these are at most k counters that keep the bound of Misra and Gries."""
    if not isinstance(got, dict) or not all(type(count) is int and count >= 1 for count in got.values()):
        return close(got, dict(truth))
    n, total = sum(truth.values()), sum(got.values())
    high = all(count <= truth.get(key, 0) for key, count in got.items())
    low = max([count - got.get(key, 0) for key, count in truth.items()], default=0)
    return close([len(got) <= k, high, low * (k + 1) <= n - total], [True, True, True])


@pytest.mark.exercise("misra_gries", weight=3, core=True, hint=1)
def test_few_different_items_are_counted_exactly(submission, rng):
    """With no more different items than counters, the counts are exact; an empty stream gives an empty dict."""
    for k, stream in [(3, "abacab"), (1, "aaaa"), (9, "abcdefghi"), (300, list(range(300)) * 2), (2, [])]:
        assert close(submission.misra_gries(stream, k), dict(Counter(stream)))
    assert close(submission.misra_gries("abb", 1), {"b": 1})  # no other counters keep the bound
    assert close(submission.misra_gries("aabcbca", 2), {"a": 1})


@pytest.mark.exercise("misra_gries", weight=3, core=True, hint=2)
def test_counters_keep_the_bound(submission, rng):
    """At most k counters, none too high, none too low by more than (n - S) / (k + 1), for many streams."""
    for k in (1, 2, 3, 10, 50, 300):
        for stream in (
            np.minimum(rng.zipf(1.3, 3000), 10**6).tolist(),
            rng.integers(0, 2 * k + 2, 2000).tolist(),
            list(range(k + 1)) * 5,
            list(range(1000)) + [7] * 1000,
            [7] * 1000 + list(range(1000)),
        ):
            assert bounded(submission.misra_gries(stream, k), Counter(stream), k)


@pytest.mark.exercise("misra_gries", weight=3, core=True, hint=3)
def test_merged_counters_keep_the_bound(submission, rng):
    """Counters of two streams merge into at most k that keep the bound of both together."""
    assert close(submission.merge_counters({"x": 6, "y": 3}, {"x": 1, "z": 4}, 2), {"x": 4, "z": 1})
    for k in (1, 2, 5, 40, 150):
        for high in (k, 2 * k, 30 * k):
            for length in (0, 1000, 700):
                streams = rng.integers(0, high, 1000), rng.integers(high // 2, high + high // 2 + 1, length)
                a, b = (summary(stream.tolist(), k) for stream in streams)
                for first, second in ((a, b), (b, a)):
                    got = submission.merge_counters(first, second, k)
                    assert bounded(got, Counter(np.concatenate(streams).tolist()), k)
        level = dict.fromkeys(range(k), 5)
        got = submission.merge_counters(level, dict.fromkeys(range(k, 2 * k), 5), k)
        assert bounded(got, dict.fromkeys(range(2 * k), 5), k)
    for a, b in (({}, {}), ({"x": 3}, {}), ({}, {"x": 3}), ({"x": 3}, {"x": 10**12}), ({"x": 3}, {"y": 1})):
        assert close(submission.merge_counters(a, b, 2), dict(Counter(a) + Counter(b)))


@student_side
def tree_of_counters(parts, k, order):
    """A tree of merges of the counters of parts: entry i of `order` names two places in the list of what is left."""
    left = [student.misra_gries(iter(part), k) for part in parts]
    most = max(len(counters) for counters in left)
    for i, j in order:
        second = left.pop(max(i, j))
        left[min(i, j)] = student.merge_counters(left[min(i, j)], second, k)
        most = max(most, len(left[min(i, j)]))
    return left[0], most


@pytest.mark.exercise("misra_gries", weight=4, core=True, hint=3)
def test_bound_after_a_tree_of_merges(submission, rng):
    """After any tree of 500 merges the bound still holds with the length of all streams together."""
    for k in (2, 9, 60):
        heavy = rng.integers(0, k, (501, 12))  # items that are never among the largest of a part, but heavy in all
        parts = [
            [
                *np.repeat(np.arange(k + 1), 3).tolist()[: 3 * (k % 7) + 6],
                *row.tolist(),
                *(10**6 + 100 * i + row[:4]).tolist(),
            ]
            for i, row in enumerate(heavy)
        ]
        for chain in (False, True):
            order = [(0, 1) if chain else rng.choice(n, 2, replace=False).tolist() for n in range(501, 1, -1)]
            got = submission.run(tree_of_counters, parts, k, order)
            assert bounded(got[0], Counter(itertools.chain(*parts)), k) and close(got[1] <= k, True)
    total = {"p": 11, "q": 11}
    for _ in range(60):
        total = submission.merge_counters(total, {"x": 10}, 2)
    assert bounded(total, {"p": 11, "q": 11, "x": 600}, 2)


@pytest.mark.exercise("misra_gries", hint=1)
def test_items_are_keys_of_any_kind(submission, rng):
    """Items may be whatever can be a key: numbers, texts, tuples, None; Python ints come back."""
    stream = [(1, "a"), None, "x", 2.5, (1, "a"), "x", (1, "a"), True, "", 0]
    rng.shuffle(stream := stream * 3)
    for k in (1, 3, 20):
        assert bounded(submission.misra_gries(stream, k), Counter(stream), k)
    assert close(submission.misra_gries(stream, 20), dict(Counter(stream)), typed=True)
    got = submission.merge_counters({None: 3, (1, 2): 4}, {None: 1, "": 2}, 3)
    assert close(got, {None: 4, (1, 2): 4, "": 2}, typed=True)


@student_side
def counters_of_a_stream(n, k):
    """The counters of a long stream of different numbers, among them every fourth time the number -1."""
    return student.misra_gries((-1 if i % 4 == 0 else i for i in range(n)), k)


@pytest.mark.exercise("misra_gries", weight=6, hint=2, memory_mb=16, seconds=3)
def test_counters_of_a_long_stream(submission):
    """A long stream of different items is counted in memory for k of them, in time in proportion to its length."""
    n = 300_000  # a dict of all of them takes 30 MB
    for k in (3, 300):
        got = submission.run(counters_of_a_stream, n, k)
        assert close(len(got) <= k, True)
        count = got.get(-1, 0)
        assert close(n // 4 - n / (k + 1) <= count <= n // 4, True)


@pytest.mark.exercise("misra_gries", forgeable=True)
def test_counters_leave_no_trace(submission, rng):
    """Streams and counters are left as they are, and the same call gives the same result."""
    assert COUNTED.leaves_no_trace(submission, rng, then=[{}, {"k": 1}, {"k": 300}])
    assert ADDED.leaves_no_trace(submission, rng, then=[{}, {"k": 3}, {"a": {}}, {"b": {}}])


# ---------------------------------------------------------------------------------------------------- HyperLogLog


@student_side
def sketched(p, seed, start, step, cuts):
    """Estimates and registers of a sketch after so many keys, which are start, start + step, ..."""
    sketch, found, before = student.HyperLogLog(p, seed), [], 0
    for cut in cuts:
        while before < cut:
            after = min(before + 250_000, cut)
            sketch.add(np.arange(before, after) * step + start)
            before = after
        found.append(sketch.estimate())
    return found, np.array(sketch.registers)


def joined(observed, expected, least=20):
    """Both, with neighbouring cells added up until each is expected to hold enough."""
    cells = [[0.0, 0.0]]
    for pair in zip(observed, expected, strict=True):
        if cells[-1][1] >= least:
            cells.append([0.0, 0.0])
        cells[-1] = [cells[-1][0] + pair[0], cells[-1][1] + pair[1]]
    if cells[-1][1] < least and len(cells) > 1:
        last = cells.pop()
        cells[-1] = [cells[-1][0] + last[0], cells[-1][1] + last[1]]
    return np.array(cells).T


def bound(n, p):
    return 3 + (6 * 1.04 / 2 ** (p / 2) + 0.03) * n


@pytest.mark.exercise("HyperLogLog", weight=3, core=True, hint=2)
def test_registers_hold_the_largest_ranks(submission, rng):
    """The registers are uint8, 0 before the first key, and distributed as the largest of ranks that count from 1."""
    assert close(np.asarray(submission.HyperLogLog(4, 0).registers), np.zeros(16, np.uint8), typed=True)
    for p, n in [(10, 300), (10, 4000), (12, 200_000), (14, 30_000), (16, 1_000_000), (5, 3)]:
        start, step = int(rng.integers(2**40)), int(rng.integers(1, 1000))
        registers = np.asarray(submission.run(sketched, p, int(rng.integers(2**60)), start, step, [n])[1])
        assert is_array(registers, (2**p,), np.uint8)
        if p < 8:
            assert close(1 <= np.count_nonzero(registers) <= 3, True)
            continue
        # A register has a binomial number of keys, so all its ranks are at most r with probability (1 - 2^-p 2^-r)^n.
        below = np.exp(n * np.log1p(-(2.0**-p) * 0.5 ** np.arange(40)))
        expected = 2**p * np.diff(below, prepend=0.0)
        expected[-1] += 2**p * (1 - below[-1])
        observed = np.bincount(registers, minlength=40)[:40]
        assert fits(*joined(observed, expected))


@pytest.mark.exercise("HyperLogLog", weight=3, core=True, hint=3)
def test_estimates_keep_the_bound(submission, rng):
    """From no key to a million, the estimate is off by at most 3 + (6 * 1.04 / sqrt(2^p) + 0.03) n."""
    for p in (10, 12, 16):
        m = 2**p
        cuts = [0, 1, 2, 5, 30, 100, m // 4, m, 2 * m, 5 * m // 2, 3 * m, 5 * m, 20 * m][: 12 if p > 14 else 13]
        start, step = int(rng.integers(2**40)), int(rng.integers(1, 1000))
        got = submission.run(sketched, p, int(rng.integers(2**60)), start, step, cuts)[0]
        for n, estimate in zip(cuts, got, strict=True):
            assert close(estimate, float(n), atol=bound(n, p) if n else 0.0)
    got = submission.HyperLogLog(9, 3).estimate()
    assert close(got, 0.0, typed=True)


@pytest.mark.exercise("HyperLogLog", hint=3)
def test_estimates_above_the_border(submission, rng):
    """Well above 2.5 m the harmonic mean is used, although a few registers are still 0."""
    # With 8 m keys some six registers are 0: too few to estimate by their number.
    for seed in rng.integers(0, 2**60, 30).tolist():
        got = submission.run(sketched, 14, seed, 5, 3, [2**17])[0]
        assert close(got, [2.0**17], atol=bound(2**17, 14))


@pytest.mark.exercise("HyperLogLog", weight=2, hint=3)
def test_estimates_are_right_on_average(submission, rng):
    """On average over many seeds the estimate is right within 3%, for few and for many keys."""
    for p, cuts in ((8, [60, 500, 1200, 6000]), (9, [256, 1280, 5000])):
        found = []
        for seed in rng.integers(0, 2**60, 64).tolist():
            found.append(submission.run(sketched, p, seed, 17, 3, cuts)[0])
        error = np.asarray(found) / cuts - 1
        sigma = 1.2 * 1.04 / 2 ** (p / 2)  # around 2 m the formula for small numbers has a little more than 1.04
        assert close(error.mean(axis=0), np.zeros(len(cuts)), atol=0.03 + Z * sigma / 8)
        assert close(error.std(axis=0)[-1], 1.04 / 2 ** (p / 2), rtol=Z / math.sqrt(2 * 64) * 1.3)


@pytest.mark.exercise("HyperLogLog", weight=2, core=True, hint=3)
def test_order_and_repeats_change_nothing(submission, rng):
    """Keys in another order, in other chunks, and many times over leave the same registers."""
    keys, seed = distinct(rng, 3000), int(rng.integers(2**60))
    one, other = submission.HyperLogLog(8, seed), submission.HyperLogLog(8, seed)
    one.add(keys)
    for part in np.array_split(rng.permutation(np.tile(keys, 3)), 7):
        other.add(part)
    assert close(np.asarray(other.registers), np.asarray(one.registers), typed=True)
    assert close(other.estimate(), one.estimate()) and close(other.estimate(), one.estimate())
    one.add(keys[:0])
    assert close(np.asarray(one.registers), np.asarray(other.registers))


@pytest.mark.exercise("HyperLogLog", weight=3, hint=3)
def test_merged_sketches_equal_one_sketch(submission, rng):
    """A tree of merges has the registers of one sketch that got all keys, common keys once, and changes no part."""
    for p in (4, 10, 16):
        keys, seed = distinct(rng, 5000), int(rng.integers(2**60))
        whole, parts = submission.HyperLogLog(p, seed), []
        whole.add(keys)
        for share in [keys[i : i + 1500] for i in range(0, 5000, 500)] + [keys[:0]]:
            parts.append(submission.HyperLogLog(p, seed))
            parts[-1].add(share)
        before = [np.array(part.registers) for part in parts]
        merged = merged_at_random(rng, parts, lambda a, b: a.merge(b))
        assert close(np.asarray(merged.registers), np.asarray(whole.registers), typed=True)
        assert close(merged.estimate(), whole.estimate(), rtol=1e-12)
        merged.add(distinct(rng, 9000))
        assert close([np.asarray(part.registers) for part in parts], before)
        kept = np.array(merged.registers)
        empty = submission.HyperLogLog(p, seed)
        alone = merged.merge(empty)
        for part in (*parts, empty, merged):
            part.add(distinct(rng, 9000))
        assert close(np.asarray(alone.registers), kept)


@pytest.mark.exercise("HyperLogLog")
def test_other_sketches_do_not_merge(submission):
    """Sketches with another p or another seed raise ValueError, and with the same they merge."""
    submission.HyperLogLog(9, 2**40).merge(submission.HyperLogLog(9, 2**40))
    for other in [(8, 2**40), (10, 2**40), (16, 2**40), *((9, seed) for seed in (*SEEDS, 2**40 + 1, 2**40 + 1000))]:
        for first, second in (((9, 2**40), other), (other, (9, 2**40))):
            with raises_student(ValueError):
                submission.HyperLogLog(*first).merge(submission.HyperLogLog(*second))


@pytest.mark.exercise("HyperLogLog")
def test_sketches_take_keys_of_every_kind(submission, rng):
    """The same numbers are the same keys in every kind of integers; negative ones and no keys are fine."""
    plain = submission.HyperLogLog(7, 1)
    plain.add(np.arange(60))
    for keys in kinds(rng):
        sketch = submission.HyperLogLog(7, 1)
        sketch.add(keys)
        sketch.add(keys[:0])
        assert close(np.asarray(sketch.registers), np.asarray(plain.registers), typed=True)
    one, other = submission.HyperLogLog(10, 1), submission.HyperLogLog(10, 1)
    one.add(np.array([-1, -128, 100, -7]))
    other.add(np.array([-1, -128, 100, -7], np.int8))
    assert close(np.asarray(one.registers), np.asarray(other.registers))
    one.add(np.array([2**63, 2**64 - 4], np.uint64))
    assert close(one.estimate(), 6.0, atol=3)


@pytest.mark.exercise("HyperLogLog")
def test_sketches_with_other_seeds_differ(submission, rng):
    """Another seed gives other registers, and the same seed the same ones, in another process, too."""
    keys = distinct(rng, 2000)

    def registers(side, seed):
        sketch = side.HyperLogLog(8, seed)
        sketch.add(keys)
        return np.asarray(sketch.registers)

    found = [registers(submission, seed) for seed in SEEDS]
    for one, other in itertools.combinations(found, 2):
        assert close(bool(np.mean(one == other) < 0.6), True)  # of two unrelated registers, one in five are equal
    with submission.elsewhere() as other:
        assert close(registers(other, SEEDS[-2]), found[-2])


@pytest.mark.exercise("HyperLogLog", weight=9, hint=3, memory_mb=40, seconds=8)
def test_a_sketch_of_millions_of_keys(submission, rng):
    """Six million different keys are counted in the 2^p bytes of the sketch and a few arrays of a chunk."""
    # The keys alone take 48 MB; ten arrays of a chunk of 250,000 take 20 MB.
    got = submission.run(sketched, 12, int(rng.integers(2**60)), int(rng.integers(2**40)), 7, [6_000_000])[0]
    assert close(got, [6e6], atol=bound(6e6, 12))


@pytest.mark.exercise("HyperLogLog", forgeable=True)
def test_sketches_leave_no_trace(submission, rng):
    """Keys are left as they are, and estimating changes nothing."""
    assert close(submission.run(registers_after, distinct(rng, 100)), "")


@student_side
def registers_after(keys):
    """Whether adding changes the keys, or estimating and merging the registers."""
    sketch, kept = student.HyperLogLog(6, 1), keys.copy()
    sketch.add(keys)
    if not np.array_equal(keys, kept):
        return "the call of add changes its argument"
    registers = sketch.registers.copy()
    first = sketch.estimate()
    merged = sketch.merge(sketch)
    if np.shares_memory(merged.registers, sketch.registers):
        return "a merged sketch shares its registers with another one"
    if not (sketch.estimate() == first == merged.estimate() and np.array_equal(registers, sketch.registers)):
        return "estimating or merging changes the registers"
    keys[...] = np.arange(len(keys))
    sketch.add(keys)
    return "" if sketch.estimate() != first else "the call of add does not see that an array has changed"


# -------------------------------------------------------------------------------------------------------- minhash

HASHED = Contract(
    "minhash",
    sets=one_of([np.arange(40), np.arange(20, 60), np.arange(7)]),
    hashes=one_of(12, 1, 130),
    seed=one_of(3, *SEEDS),
)


def two_sets(rng, common, only_a, only_b):
    elements = rng.permutation(distinct(rng, common + only_a + only_b))
    return elements[: common + only_a], rng.permutation(
        np.concatenate([elements[:common], elements[common + only_a :]])
    )


@pytest.mark.exercise("minhash", weight=4, core=True, hint=1)
def test_agreements_estimate_jaccard(submission, rng):
    """The number of hash functions on which two signatures agree is binomial with the Jaccard similarity."""
    for common, only_a, only_b in [
        (100, 100, 100),
        (1, 1, 1),
        (1, 0, 1),
        (3, 0, 1),
        (50, 5, 0),
        (5, 100, 300),
        (2, 1, 0),
    ]:
        for _ in range(3):
            a, b = two_sets(rng, common, only_a, only_b)
            signatures = np.asarray(submission.minhash([a, b], 400, int(rng.integers(2**60))))
            assert is_array(signatures, (2, 400))
            agreements = np.count_nonzero(signatures[0] == signatures[1])
            assert within(agreements, 400, common / (common + only_a + only_b))
    for _ in range(3):
        a, b = two_sets(rng, 0, 40, 60)
        signatures = np.asarray(submission.minhash([a, b], 300, int(rng.integers(2**60))))
        assert close(np.count_nonzero(signatures[0] == signatures[1]), 0)


@pytest.mark.exercise("minhash", weight=3, core=True, hint=1)
def test_a_signature_holds_minima(submission, rng):
    """The signature of a union is the minimum of both; order, repeats and the other sets make no difference."""
    a, b = two_sets(rng, 20, 30, 40)
    seed = int(rng.integers(2**60))
    sets = [a, b, np.union1d(a, b), a[::-1], np.tile(b, 3), a[:1], b]
    got = np.asarray(submission.minhash(sets, 120, seed))
    assert close(got[2], np.minimum(got[0], got[1])) and close(got[[3, 4]], got[[0, 1]]) and close(got[6], got[1])
    assert close(submission.minhash([b], 120, seed), got[1:2])
    assert close(submission.minhash([a[:1]], 120, seed), got[5:6])
    singles = np.asarray(submission.minhash([np.array([x]) for x in a], 120, seed))
    assert close(singles.min(axis=0), got[0])
    # The hashes of single elements are uniform: the top four bits of 50 * 120 of them, and the lowest.
    for bits in (singles >> np.uint64(60), singles & np.uint64(15)):
        assert fits(np.bincount(bits.ravel().astype(int), minlength=16), np.full(16, singles.size / 16))


@pytest.mark.exercise("minhash", weight=2, hint=2)
def test_empty_sets(submission, rng):
    """An empty set has 2^64 - 1 everywhere, wherever it stands; no sets at all give no rows."""
    a = distinct(rng, 30)
    empty = np.array([], np.int64)
    full = np.full(9, 2**64 - 1, np.uint64)
    alone = np.asarray(submission.minhash([a], 9, 4))[0]
    for sets, rows in [
        ([empty], [full]),
        ([empty, a], [full, alone]),
        ([a, empty], [alone, full]),
        ([a, empty, empty, a, empty], [alone, full, full, alone, full]),
    ]:
        assert close(submission.minhash(sets, 9, 4), np.array(rows), typed=True)
    assert is_array(submission.minhash([], 9, 4), (0, 9), np.uint64)
    assert is_array(submission.minhash([empty.astype(np.uint8)], 1, 4), (1, 1), np.uint64)


@pytest.mark.exercise("minhash")
def test_elements_of_every_kind(submission, rng):
    """Elements of every kind and memory layout, several kinds in one list, and the largest integers are right."""
    plain = np.asarray(submission.minhash([np.arange(60)], 20, 2))[0]
    for elements in kinds(rng):
        assert close(submission.minhash([elements], 20, 2), plain[None], typed=True)
    assert close(submission.minhash(list(kinds(rng)), 20, 2), np.tile(plain, (11, 1)), typed=True)
    large = [np.array([2**63 + 1, 2**64 - 3], np.uint64), np.array([2**62 + 1, 2**62 + 3]), np.array([-1, 5], np.int8)]
    together = np.asarray(submission.minhash(large, 20, 2))
    for elements, row in zip(large, together, strict=True):
        assert close(submission.minhash([elements], 20, 2), row[None])
    assert close(submission.minhash([np.array([5, -1])], 20, 2), together[2:])
    for one, other in itertools.combinations(together, 2):
        assert close(np.count_nonzero(one == other), 0)
    assert close(
        submission.minhash([np.array([2**62 + 1])], 20, 2) == submission.minhash([np.array([2**62 + 2])], 20, 2),
        np.zeros((1, 20), bool),
    )
    many = [distinct(rng, 3) for _ in range(250)]
    rows = np.asarray(submission.minhash(many, 130, 3))
    assert close(submission.minhash(many[-2:], 130, 3), rows[-2:]) and close(len(np.unique(rows[:, 129])), 250)


@pytest.mark.exercise("minhash", hint=1)
def test_functions_of_other_seeds_are_unrelated(submission, rng):
    """No two seeds have a hash function in common, no two functions of a seed are equal, and seeds are repeatable."""
    elements = distinct(rng, 20)
    found = {seed: np.asarray(submission.minhash([elements], 110, seed))[0] for seed in (*SEEDS, 5, 6)}
    everything = np.concatenate(list(found.values()))
    assert close(len(np.unique(everything)), len(everything))
    with submission.elsewhere() as other:
        assert close(other.minhash([elements], 110, SEEDS[-1]), found[SEEDS[-1]][None])


@student_side
def signatures_of_large_sets(lengths, hashes, seed):
    """Signatures of sets of consecutive numbers: where the first two agree, and the shape."""
    signatures = student.minhash([np.arange(n) for n in lengths], hashes, seed)
    return int(np.sum(signatures[0] == signatures[1])), signatures.shape


@pytest.mark.exercise("minhash", weight=6, hint=3, memory_mb=48, seconds=6)
def test_signatures_of_large_sets(submission, rng):
    """Large sets are hashed by one function after the other, in memory for a few arrays of their size."""
    # All sets together take 2.4 MB, and 12 MB five times; all hashes at once take 300 MB.
    got = submission.run(signatures_of_large_sets, [150_000, 100_000, 50_000], 128, int(rng.integers(2**60)))
    assert within(got[0], 128, 2 / 3) and close(got[1], (3, 128))


@pytest.mark.exercise("minhash", forgeable=True)
def test_minhash_leaves_no_trace(submission, rng):
    """The sets are left as they are, and nothing is shared or kept between calls."""

    def other_sets(sets):
        return [distinct(rng, len(elements)) for elements in sets]

    then = [{}, {"hashes": 1}, {"sets": [np.arange(0), np.arange(9)]}, {"sets": other_sets}]
    assert HASHED.leaves_no_trace(submission, rng, then=then)


# ------------------------------------------------------------------------------------------------------ lsh_pairs

BANDED = Contract("lsh_pairs", signatures=integers(40, 12, low=0, high=3), bands=one_of(4, 1, 12, 6))


def candidates(signatures, bands):
    """By definition: all pairs of rows are compared."""
    signatures = np.asarray(signatures)
    n, h = signatures.shape
    equal = (signatures[:, None] == signatures).reshape(n, n, bands, h // bands).all(axis=3).any(axis=2)
    return {(int(i), int(j)) for i, j in np.argwhere(equal) if i < j}


@pytest.mark.exercise("lsh_pairs", weight=4, core=True, hint=1)
def test_pairs_that_agree_in_a_band(submission, rng):
    """Exactly the pairs of rows that are equal in all columns of some band are found, each band for itself."""
    for n, h, bands, high in [
        (60, 12, 4, 3),
        (60, 12, 12, 30),
        (60, 12, 1, 2),
        (40, 6, 2, 2),
        (300, 20, 5, 8),
        (99, 8, 4, 9),
    ]:
        signatures = rng.integers(0, high, (n, h)).astype(np.uint64)
        signatures[n // 2] = signatures[0]
        signatures[1] = np.roll(signatures[2], h // bands)  # equal, but in another band
        assert close(submission.lsh_pairs(signatures, bands), candidates(signatures, bands))


@pytest.mark.exercise("lsh_pairs", weight=2, core=True, hint=2)
def test_recall_follows_the_curve(submission, rng):
    """A pair with similarity s is found with probability 1 - (1 - s^r)^b."""
    for bands, rows in [(20, 5), (10, 3), (4, 8)]:
        for s in (0.2, 0.5, 0.8):
            first = rng.integers(0, 2**64, (400, bands * rows), np.uint64)
            second = np.where(rng.random(first.shape) < s, first, rng.integers(0, 2**64, first.shape, np.uint64))
            signatures = np.stack([first, second], axis=1).reshape(800, -1)
            got = submission.lsh_pairs(signatures, bands)
            planted = {(2 * i, 2 * i + 1) for i in range(400)}
            assert close(isinstance(got, set) and got <= planted, True)
            assert within(len(got), 400, 1 - (1 - s**rows) ** bands)


@pytest.mark.exercise("lsh_pairs", hint=2)
def test_few_and_equal_rows(submission, rng):
    """No rows and one row have no pairs; equal rows all have, each pair once; bands of one column and of all."""
    for n in (0, 1):
        assert close(submission.lsh_pairs(np.zeros((n, 6), np.uint64), 3), set())
    assert close(submission.lsh_pairs(np.full((30, 6), 7), 3), set(itertools.combinations(range(30), 2)))
    assert close(submission.lsh_pairs(np.array([[1], [2], [1]]), 1), {(0, 2)})
    wide = rng.integers(0, 40, (30, 240))
    assert close(submission.lsh_pairs(wide, 240), candidates(wide, 240))
    assert close(submission.lsh_pairs(wide, 120), candidates(wide, 120))


@pytest.mark.exercise("lsh_pairs")
def test_bands_that_only_look_alike(submission):
    """Bands are compared exactly: not by their digits, their sum, their order, or a hash that confuses -1 and -2."""
    for rows in (
        [[1, 23], [12, 3]],
        [[1, 2], [2, 1]],
        [[-1, 5], [-2, 5]],
        [[2**53, 0], [2**53 + 1, 0]],
        [[2**32, 1], [0, 1]],
        [[0, 1], [256, 1]],
        [[0, 0], [0, 1]],
    ):
        assert close(submission.lsh_pairs(np.array([*rows, rows[0]]), 1), {(0, 2)})
    large = np.array([[2**64 - 1, 2**63], [2**64 - 2, 2**63], [2**64 - 1, 2**63]], np.uint64)
    assert close(submission.lsh_pairs(large, 1), {(0, 2)})


@pytest.mark.exercise("lsh_pairs", hint=3)
def test_signatures_of_every_kind(submission, rng):
    """Integers of every kind and memory layout are compared, and the pairs are tuples of Python ints."""
    for case in BANDED.cases(rng):
        got = submission.lsh_pairs(*case)
        assert close(got, candidates(*case.exact))
        assert close({type(part) for pair in got for part in pair} <= {int}, True)


@pytest.mark.exercise("lsh_pairs")
def test_bands_that_do_not_fit(submission, rng):
    """A number of columns that is not a multiple of bands raises ValueError."""
    BANDED.refuses(submission, rng, ValueError, bands=[5, 7, 8, 9, 10, 11])
    with raises_student(ValueError):
        submission.lsh_pairs(np.zeros((0, 12), np.uint64), 5)


@student_side
def pairs_of_many(n, columns, bands, seed):
    """The candidate pairs of many random rows, of which row i equals row i + n / 2 in one band."""
    rng = np.random.default_rng(seed)
    signatures = rng.integers(0, 2**64, (n, columns), np.uint64)
    half, rows = n // 2, columns // bands
    for band in range(bands):
        some = slice(band, half, 10 * bands)
        signatures[half:][some, band * rows : (band + 1) * rows] = signatures[:half][
            some, band * rows : (band + 1) * rows
        ]
    return student.lsh_pairs(signatures, bands)


@pytest.mark.exercise("lsh_pairs", weight=6, hint=1, memory_mb=220, seconds=4)
def test_pairs_of_many_rows(submission, rng):
    """Among 50,000 rows the candidates are found without looking at all pairs."""
    n, bands = 50_000, 4
    got = submission.run(pairs_of_many, n, 16, bands, int(rng.integers(2**40)))
    wanted = {(i, i + n // 2) for band in range(bands) for i in range(band, n // 2, 10 * bands)}
    assert close(got, wanted)


@pytest.mark.exercise("lsh_pairs", forgeable=True)
def test_lsh_leaves_no_trace(submission, rng):
    """The signatures are left as they are, and nothing is kept between calls."""
    assert BANDED.leaves_no_trace(submission, rng, then=[{}, {"bands": 12}], bands=[5])


# --------------------------------------------------------------------------------------------------- feature_hash

WORDS = ["to", "be", "or", "not", "", "to be", "To", "straße", "中文", "x" * 300, "0", "1", "\n"]
TEXTS = Contract(
    "feature_hash",
    docs=one_of([["a", "b", "a"], [], ["c", "b"]]),
    width=one_of(50, 1, 2**20),
    seed=one_of(3, *SEEDS),
)


def dense(got, shape):
    """What came back as an array, where it is a sparse matrix of that shape in float64."""
    if not scipy.sparse.issparse(got) or got.shape != shape or got.format != "csr" or got.dtype != np.float64:
        return np.full(shape, np.nan)
    return np.asarray(got.toarray())


def signs_and_columns(submission, tokens, width, seed):
    """Sign and column of each token; nan where a row does not have exactly one entry of 1 or -1."""
    got = submission.feature_hash([[token] for token in tokens], width, seed)
    if not scipy.sparse.issparse(got) or got.shape != (len(tokens), width):
        return np.full(len(tokens), np.nan), np.zeros(len(tokens), int)
    rows = scipy.sparse.coo_matrix(got)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    if not np.array_equal(np.sort(rows.row), np.arange(len(tokens))) or not np.all(np.abs(rows.data) == 1):
        return np.full(len(tokens), np.nan), np.zeros(len(tokens), int)
    order = np.argsort(rows.row)
    return rows.data[order], rows.col[order]


@pytest.mark.exercise("feature_hash", weight=3, core=True, hint=3)
def test_each_occurrence_counts(submission, rng):
    """A document is the sum of its tokens, each with its own column and sign, as often as it occurs."""
    for width in (1, 2, 7, 64, 1000, 4096):
        seed = int(rng.integers(2**60))
        signs, columns = signs_and_columns(submission, WORDS, width, seed)
        assert close(np.abs(signs), np.ones(len(WORDS)))
        counts = rng.integers(0, 4, (9, len(WORDS)))
        counts[[0, 4, 8]] = 0
        expected = np.zeros((9, width))
        for row, times in zip(expected, counts, strict=True):
            np.add.at(row, columns, times * signs)
        docs = [[WORDS[i] for i in rng.permutation(np.repeat(np.arange(len(WORDS)), times))] for times in counts]
        assert close(dense(submission.feature_hash(docs, width, seed), (9, width)), expected)


@pytest.mark.exercise("feature_hash", weight=3, core=True, hint=2)
def test_signs_are_fair_in_every_column(submission, rng):
    """Columns are uniform and signs are fair and independent of the columns, for even and for odd widths."""
    tokens = [f"{word:x}" for word in rng.integers(0, 2**60, 4000).tolist()]
    for width in (2, 3, 16, 100):
        signs, columns = signs_and_columns(submission, tokens, width, int(rng.integers(2**60)))
        assert close(np.abs(signs), np.ones(len(tokens)))
        table = np.bincount(2 * columns + (signs > 0), minlength=2 * width)
        assert fits(table, np.full(2 * width, len(tokens) / (2 * width)))


@pytest.mark.exercise("feature_hash", weight=3, hint=2)
def test_inner_products_are_unbiased(submission, rng):
    """Over many seeds, the inner product of two documents is right on average, and its variance falls as 1 / width."""
    tokens = [f"t{i}" for i in range(12)]
    x, y = rng.integers(1, 5, 12), rng.integers(0, 4, 12)
    docs = [[token for token, times in zip(tokens, counts, strict=True) for _ in range(times)] for counts in (x, y)]
    for width in (4, 32):
        errors = []
        for seed in rng.integers(0, 2**60, 200).tolist():
            a, b = dense(submission.feature_hash(docs, width, seed), (2, width))
            errors.append(a @ b - x @ y)
        squares = np.sum(x**2) * np.sum(y**2) - np.sum(x**2 * y**2) + (x @ y) ** 2 - np.sum((x * y) ** 2)
        assert close(np.mean(errors), 0.0, atol=Z * math.sqrt(squares / width / 200))
        # The fourth moment is some five times the squared variance, so the variance of 200 errors may be far too large.
        assert close(float(np.var(errors)) * width / squares, 1.5, atol=1.1)


@pytest.mark.exercise("feature_hash")
def test_hashes_depend_on_token_and_seed(submission, rng):
    """The same seed gives the same columns and signs in another process, and seeds are unrelated."""
    tokens = [f"{word:x}" for word in rng.integers(0, 2**60, 900).tolist()]

    def numbers(side, seed):
        signs, columns = signs_and_columns(side, tokens, 2**10, seed)
        return signs * (1 + columns)

    found = [numbers(submission, seed) for seed in SEEDS]
    for one, other in itertools.combinations(found, 2):
        assert close(float(np.sum(np.abs(one) == np.abs(other))), 0.0, atol=14.0)  # 0.9 of 900 columns on average
    for one, other in itertools.pairwise(found):  # and signs follow neither from other signs nor from other columns
        columns = np.abs(other).astype(int) - 1
        for kind in (other < 0, columns % 2 == 1, columns >= 512):
            assert within(np.count_nonzero((one < 0) == kind), 900, 0.5)
    with submission.elsewhere() as other:
        assert close(numbers(other, SEEDS[-1]), found[-1])


@pytest.mark.exercise("feature_hash")
def test_documents_of_every_length(submission, rng):
    """No documents, empty documents and long ones are fine, and a csr_matrix of float64 comes back."""
    for docs in ([], [[]], [[], []], [[], ["a"]], [["a"], []], [["a"] * 5000]):
        shape = (len(docs), 30)
        got = submission.feature_hash(docs, 30, 1)
        assert close(scipy.sparse.issparse(got) and got.format == "csr" and got.shape == shape, True)
        values = dense(got, shape)
        assert close(np.abs(values).sum(axis=1), np.array([len(doc) for doc in docs], float))
    signs, columns = signs_and_columns(submission, [f"w{i}" for i in range(200)], 2**24, 1)
    assert close(np.abs(signs), np.ones(200)) and close(bool(columns.max() > 2**23), True)
    many = [[f"w{i}", f"w{i + 1}"] for i in range(1200)]
    got = submission.feature_hash(many, 997, 1)
    assert close(dense(got, (1200, 997))[-3:], dense(submission.feature_hash(many[-3:], 997, 1), (3, 997)))


@pytest.mark.exercise("feature_hash", weight=6, hint=3, memory_mb=64, seconds=6)
def test_wide_rows_stay_sparse(submission, rng):
    """Thousands of documents with millions of columns take memory for their tokens only."""
    docs = [[f"{i % 97}", f"{i}", f"{i % 97}"] for i in range(2000)]
    got = submission.feature_hash(docs, 2**22, int(rng.integers(2**60)))
    assert close(scipy.sparse.issparse(got) and got.shape == (2000, 2**22), True)
    norms = np.asarray(got.multiply(got).sum(axis=1)).ravel()
    assert close(bool(np.mean(np.isin(norms, [5, 9])) > 0.99), True)  # i % 97 twice and i once, or three times the same


@pytest.mark.exercise("feature_hash", forgeable=True)
def test_feature_hash_leaves_no_trace(submission, rng):
    """The documents are left as they are, and nothing is shared or kept between calls."""
    assert TEXTS.leaves_no_trace(submission, rng, then=[{}, {"width": 1}, {"docs": [[]]}])
