"""Hidden tests of module 24. A docstring is the sentence that a student reads when the test fails.

The oracles are loops over single values, a clock that ticks, blocks with numbers, exact fractions, scipy, and closed
forms. No test draws a conclusion from chance: where data are random, the expected answer is computed from them.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905

import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import scipy.special
import scipy.stats

from autograder.judging import (
    Argument,
    Asked,
    Contract,
    close,
    floats,
    integers,
    is_array,
    one_of,
    raises_student,
    student_side,
)


def doubles(*shape, **settings):
    """What `floats` holds, but float64 only."""
    argument = floats(*shape, **settings)
    return replace(argument, forms={name: form for name, form in argument.forms.items() if "float32" not in name})


def longs(*shape, low, high):
    """What `integers` holds, but int64 only."""
    argument = integers(*shape, low=low, high=high)
    forms = {name: form for name, form in argument.forms.items() if "int" not in name}
    return replace(argument, forms=forms, alone=frozenset(argument.alone & forms.keys()))


# ----------------------------------------------------------------------------------------------- LatencyHistogram


def cumulative(bounds, values):
    """How many values are at most each bound, and how many there are."""
    return [sum(1 for value in values if value <= bound) for bound in bounds] + [len(values)]


def estimate(bounds, values, q):
    """Prometheus' quantile from the values themselves."""
    upto = cumulative(bounds, values)
    rank, low, before = q * len(values), 0.0, 0
    for bound, count in zip([float(bound) for bound in bounds], upto):
        if count >= rank:
            return low + (bound - low) * (rank - before) / (count - before)
        low, before = bound, count
    return low


def lines_of(text):
    """[(name, labels as written, number)] of the lines that do not begin with #; None where one has no number."""
    found = []
    for line in str(text).split("\n"):
        if line and not line.startswith("#"):
            head, _, number = line.rpartition(" ")
            name, brace, labels = head.partition("{")
            try:
                found.append((name, (brace + labels), float(number)))
            except ValueError:
                return None
    return found


def counts_in(text):
    """The numbers of the lines _bucket in an exposition, in order."""
    return [number for name, _, number in lines_of(text) or [] if name.endswith("_bucket")]


def filled(submission, bounds, values):
    histogram = submission.LatencyHistogram(bounds)
    histogram.observe(np.array(values, float))
    return histogram


@pytest.mark.exercise("LatencyHistogram", weight=3, core=True, hint=1)
def test_counts_are_cumulative(submission, rng):
    """The bucket of a bound has all values up to it, also those of lower buckets; +Inf has all values."""
    for k in (1, 2, 7):
        bounds = np.sort(rng.uniform(0.1, 2, k))
        values = rng.uniform(0, 2.5, 60)
        histogram = filled(submission, bounds, values[:25])
        histogram.observe(values[25:])
        text = histogram.exposition("seconds", {})
        assert close(counts_in(text), [float(count) for count in cumulative(bounds, values)])


@pytest.mark.exercise("LatencyHistogram", weight=3, core=True, hint=2)
def test_quantiles_are_linear_inside_a_bucket(submission, rng):
    """The quantile lies in the first bucket whose cumulative count reaches q n, in proportion to the rank."""
    for k, n in ((1, 5), (3, 40), (8, 300), (6, 1)):
        bounds = np.cumsum(rng.uniform(0.05, 1, k))
        values = rng.uniform(0, bounds[-1], n)
        histogram = filled(submission, bounds, values)
        for q in (*rng.uniform(0, 1, 6).tolist(), 0.001, 0.999, 1.0):
            assert close(histogram.quantile(q), estimate(bounds, values, q), rtol=1e-9, atol=1e-12)


@pytest.mark.exercise("LatencyHistogram", weight=2, core=True, hint=1)
def test_a_bound_belongs_to_its_bucket(submission, rng):
    """A value that equals a bound counts for that bound (le: less or equal); the next float above it does not."""
    bounds = [0.25, 0.5, 1.0]
    values = [0.25, np.nextafter(0.25, 1), 0.5, 0.5, np.nextafter(1.0, 2), 0.0]
    histogram = filled(submission, bounds, values)
    assert close(counts_in(histogram.exposition("a", {})), [2.0, 5.0, 5.0, 6.0])
    assert close(histogram.quantile(5 / 6), 0.5, rtol=1e-12)


@pytest.mark.exercise("LatencyHistogram", weight=2, hint=2)
def test_beyond_the_last_bound(submission, rng):
    """A quantile in the bucket +Inf is the highest bound; empty buckets between two full ones are passed over."""
    histogram = filled(submission, [1.0, 2.0, 4.0], [9.0, 99.0, 1e5])
    assert close([histogram.quantile(q) for q in (0.01, 0.5, 1.0)], [4.0] * 3)
    values = [0.5, 0.5, 30.0, 30.0]
    gap = filled(submission, [1.0, 2.0, 20.0, 32.0], values)
    for q in (0.25, 0.5, 0.50001, 0.75, 1.0):
        assert close(gap.quantile(q), estimate([1.0, 2.0, 20.0, 32.0], values, q), rtol=1e-12)


@pytest.mark.exercise("LatencyHistogram", weight=3, hint=3)
def test_merges_in_any_order_are_the_same_text(submission, rng):
    """Merged in any order and grouping, histograms give the same text to the last character, sum included."""
    bounds = [0.1, 0.2, 0.4]
    values = rng.uniform(0, 0.6, (5, 30))
    micros = [sum(round(1e6 * value) for value in row.tolist()) for row in values]
    parts = [filled(submission, bounds, row) for row in values]
    before = [part.exposition("t", {"a": "b"}) for part in parts]

    def merged(order):
        total = parts[order[0]]
        for i in order[1:]:
            total = total.merge(parts[i])
        return total

    texts = {merged(rng.permutation(5).tolist()).exposition("t", {"a": "b"}) for _ in range(6)}
    pairs = parts[0].merge(parts[1]).merge(parts[2].merge(parts[3]).merge(parts[4]))
    texts.add(pairs.exposition("t", {"a": "b"}))
    assert close(len(texts), 1)
    lines = lines_of(texts.pop())
    assert close([number for _, _, number in lines[:4]], [float(c) for c in cumulative(bounds, values.ravel())])
    assert close(lines[4][2], sum(micros) / 1e6, rtol=1e-15)
    assert close([part.exposition("t", {"a": "b"}) == text for part, text in zip(parts, before)], [True] * 5)
    for q in (0.1, 0.5, 0.99):
        assert close(merged([3, 1, 4, 0, 2]).quantile(q), estimate(bounds, values.ravel(), q), rtol=1e-9)


@pytest.mark.exercise("LatencyHistogram", weight=1, hint=3)
def test_the_sum_is_of_whole_microseconds(submission, rng):
    """Each value adds whole microseconds to the sum, rounded one by one; small and large values, many of them."""
    values = [1.4e-6] * 10 + [2.6e-6] * 10 + [0.5e-6, 1.5e-6, 2.5e-6, 1e6, 123456.789012]
    histogram = filled(submission, [1.0], values)
    micros = 10 + 30 + sum(int(np.rint(1e6 * value)) for value in values[20:])
    assert close({name: number for name, _, number in lines_of(histogram.exposition("s", {}))}["s_sum"], micros / 1e6)
    many = filled(submission, [1.0, 5.0], np.full(300_000, 1e6))
    assert close(lines_of(many.exposition("s", {}))[-2][2], 3e11)
    assert close(many.quantile(0.3), 5.0)


@pytest.mark.exercise("LatencyHistogram", weight=3, hint=3)
def test_the_text_is_what_prometheus_reads(submission, rng):
    """HELP, TYPE, buckets in order, _sum, _count; labels in order, le last, escaped; no braces without labels."""
    histogram = filled(submission, np.array([0.001, 0.5, 1e-9 + 2.0, 1e7]), [0.2, 0.7])
    values = {"zone": 'a"b', "path": "c\\d\ne", "a": "\\n", "empty": ""}
    written = 'zone="a\\"b",path="c\\\\d\\ne",a="\\\\n",empty=""'
    for labels, inside in (({}, ""), ({"x": "y"}, 'x="y"'), (values, written)):
        text = histogram.exposition("http_seconds", labels)
        assert close(isinstance(text, str) and text.endswith("\n") and "\n\n" not in text, True)
        first, second, *rest = text.split("\n")
        assert close(first.startswith("# HELP http_seconds ") or first == "# HELP http_seconds", True)
        assert close(second, "# TYPE http_seconds histogram")
        lines = lines_of("\n".join(rest))
        assert close(
            [name for name, _, _ in lines], ["http_seconds_bucket"] * 5 + ["http_seconds_sum", "http_seconds_count"]
        )
        bounds = []
        for _, braces, _ in lines[:5]:
            begin = f'{{{inside}{"," if inside else ""}le="'
            assert close(braces.startswith(begin) and braces.endswith('"}'), True)
            bounds.append(float(braces[len(begin) : -2]))
        assert close(bounds[:4], [0.001, 0.5, 1e-9 + 2.0, 1e7]) and close(bounds[4] == math.inf, True)
        assert close([braces for _, braces, _ in lines[5:]], [f"{{{inside}}}" if inside else ""] * 2)
        assert close([number for _, _, number in lines], [0.0, 1.0, 2.0, 2.0, 2.0, 0.9, 2.0])


@pytest.mark.exercise("LatencyHistogram", weight=1)
def test_a_histogram_without_values(submission):
    """Without values: nan, counts of 0, a sum of 0; observing an empty array, or merging with it, changes nothing."""
    empty = submission.LatencyHistogram([0.5, 2.0])
    empty.observe(np.zeros(0))
    assert close(empty.quantile(0.5), math.nan, typed=True)
    assert close([number for _, _, number in lines_of(empty.exposition("a", {}))], [0.0] * 5)
    some = filled(submission, [0.5, 2.0], [1.0, 3.0])
    for merged in (empty.merge(some), some.merge(empty)):
        assert close(counts_in(merged.exposition("a", {})), [0.0, 1.0, 2.0])
    assert close(empty.merge(empty).quantile(1.0), math.nan)
    assert close(some.quantile(0.25), 1.25, typed=True)


@pytest.mark.exercise("LatencyHistogram", weight=1)
def test_what_a_histogram_refuses(submission):
    """ValueError for bounds that are not positive, finite, ascending, for other bounds, and for a q out of (0, 1]."""
    for bad in ([], [0.0, 1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, 3.0, 2.0], [1.0, math.inf], [math.nan], [1.0, math.nan]):
        for form in (list, np.array):
            with raises_student(ValueError):
                submission.LatencyHistogram(form(bad))
    one = filled(submission, [1.0, 2.0], [0.5])
    for other in ([1.0], [1.0, 2.0, 3.0], [1.0, np.nextafter(2.0, 3)]):
        with raises_student(ValueError):
            one.merge(submission.LatencyHistogram(other))
    for q in (0.0, -0.5, np.nextafter(1.0, 2).item(), math.nan):
        with raises_student(ValueError):
            one.quantile(q)
    assert close(one.quantile(5e-324) >= 0, True) and close(one.quantile(1.0), 1.0)
    wide = submission.LatencyHistogram([5e-324, 1e300]).merge(submission.LatencyHistogram([5e-324, 1e300]))
    assert close(wide.quantile(0.5), math.nan)


@student_side
def many_values(seed, chunks, size):
    """A histogram of many values, in chunks: its counts, read from its text."""
    rng = np.random.default_rng(seed)
    histogram = student.LatencyHistogram([0.1, 0.2, 0.5])
    for _ in range(chunks):
        histogram.observe(rng.random(size))
    return histogram.exposition("a", {})


@pytest.mark.exercise("LatencyHistogram", weight=5, hint=1, memory_mb=14)
def test_values_are_not_kept(submission, rng):
    """Memory is for the counts, however many values come."""
    # A chunk is 0.64 MB, and 3 MB as a list; all values would take 26 MB.
    seed, own = int(rng.integers(2**40)), np.zeros(4)
    text = submission.run(many_values, seed, 40, 80_000)
    drawn = np.random.default_rng(seed)
    for _ in range(40):
        values = drawn.random(80_000)
        own += [np.count_nonzero(values <= bound) for bound in (0.1, 0.2, 0.5, 1.0)]
    assert close(counts_in(text), own.tolist())


@student_side
def histogram_traces():
    """What changes that should not, in words, "" where nothing."""
    bounds, values = np.array([1.0, 2.0]), np.array([0.5, 1.5, 3.0])
    given, seen = bounds.copy(), values.copy()
    one, other = student.LatencyHistogram(bounds), student.LatencyHistogram([1.0, 2.0])
    one.observe(values)
    if not (np.array_equal(bounds, given) and np.array_equal(values, seen)):
        return "an argument is changed"
    merged = one.merge(other)
    text, mine = merged.exposition("a", {}), one.exposition("a", {})
    bounds[:] = 9.0
    one.observe(values)
    other.observe(values)
    if merged.exposition("a", {}) != text:
        return "a merged histogram changes with the two that it came from"
    after = one.exposition("a", {})
    merged.observe(values)
    if one.exposition("a", {}) != after or after == mine or 'le="9' in after:
        return "a histogram changes with its bounds, or with one that it was merged into"
    labels = {"b": "c"}
    one.exposition("a", labels)
    return "" if labels == {"b": "c"} else "the labels are changed"


@pytest.mark.exercise("LatencyHistogram", weight=1, forgeable=True)
def test_histograms_share_nothing(submission):
    """No argument is modified; bounds are copied; what is merged does not change with its parts, nor they with it."""
    assert close(submission.run(histogram_traces), "")


# ------------------------------------------------------------------------------------------------- fleet_quantile


@pytest.mark.exercise("fleet_quantile", weight=3, core=True, hint=2)
def test_the_quantile_of_all_machines(submission, rng):
    """The quantile is that of one histogram which has seen the values of all machines."""
    for machines, k in ((1, 2), (2, 3), (40, 6)):
        bounds = np.cumsum(rng.uniform(0.1, 1, k))
        rows = [rng.exponential(rng.uniform(0.1, 3), int(rng.integers(0, 30))) for _ in range(machines)]
        rows[0] = rng.uniform(0, 1, 3)
        counts = np.array([np.diff([0, *cumulative(bounds, row)]) for row in rows])
        values = np.concatenate(rows)
        for q in (*rng.uniform(0, 1, 4).tolist(), 0.99, 1.0):
            expected = estimate(bounds, values, q)
            assert close(submission.fleet_quantile(bounds, counts, q), expected, rtol=1e-9)


@pytest.mark.exercise("fleet_quantile", weight=1, hint=2)
def test_one_slow_machine_is_seen(submission, rng):
    """One slow machine of forty moves p99, however many idle ones there are."""
    bounds, counts = np.array([0.01, 0.1, 2.0, 4.0]), np.zeros((60, 5), np.int64)
    counts[:39, 0], counts[39, 3] = 100, 100
    assert close(submission.fleet_quantile(bounds, counts, 0.99), 2 + 2 * (3960 - 3900) / 100, rtol=1e-9)
    assert close(submission.fleet_quantile(bounds, counts * 10**12, 0.5), 0.01 * 20 / 39, rtol=1e-9)
    counts[39] = [0, 0, 0, 0, 100]
    assert close(submission.fleet_quantile(bounds, counts, 0.99), 4.0)


@pytest.mark.exercise("fleet_quantile")
def test_a_fleet_without_values(submission):
    """nan where no machine has a value; a Python float; nothing is modified."""
    assert close(submission.fleet_quantile(np.array([1.0]), np.zeros((3, 2), np.int64), 0.5), math.nan, typed=True)
    fleet = Contract(
        "fleet_quantile",
        bounds=doubles(2, draw=lambda rng: np.array([1.0, 2.0])),
        counts=longs(3, 3, low=1, high=9),
        q=one_of(0.3, 1.0),
    )
    rng = np.random.default_rng(0)
    for case in fleet.cases(rng):
        bounds, counts, q = case.exact
        values = np.repeat([0.5, 1.5, 9.0], counts.sum(axis=0))
        assert close(submission.fleet_quantile(*case), estimate(bounds, values, q), rtol=1e-9, typed=True)
    assert fleet.leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------------------------------ dynamic_batches

ARRIVE = Contract(
    "dynamic_batches",
    arrivals=doubles(30, draw=lambda rng: np.cumsum(rng.exponential(1, 30))),
    service=doubles(3, draw=lambda rng: rng.uniform(0.5, 3, 3)),
    max_wait=one_of(1.0, 0.0),
    deadline=one_of(4.0, math.inf),
)


def ticking(arrivals, service, max_wait, deadline):
    """The same by a clock that looks at every whole second; all times are whole numbers."""
    n, most = len(arrivals), len(service)
    start, finish, lost = [math.nan] * n, [math.nan] * n, [True] * n
    waiting, busy_until, t, new = [], 0, 0, 0
    while new < n or waiting:
        while new < n and arrivals[new] == t:
            waiting.append(new)
            new += 1
        if t >= busy_until:
            waiting = [i for i in waiting if arrivals[i] + deadline >= t]
            if waiting and (len(waiting) >= most or t - arrivals[waiting[0]] >= max_wait):
                batch, waiting = waiting[:most], waiting[most:]
                busy_until = t + service[len(batch) - 1]
                for i in batch:
                    start[i], finish[i], lost[i] = t, busy_until, False
        t += 1
        if t > 5000:
            break  # those that wait for ever
    return np.array(start, float), np.array(finish, float), np.array(lost)


def served(answer, expected, **settings):
    """Whether start, finish and dropped are these."""
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        return close(False, True)
    return close(list(answer), list(expected), **settings)


def whole(rng, n, most, gap, longest):
    arrivals = np.cumsum(rng.integers(0, gap, n)).astype(float)
    return arrivals, np.sort(rng.integers(1, longest, most)).astype(float)


@pytest.mark.exercise("dynamic_batches", weight=3, core=True, hint=2)
def test_batches_start_full_or_when_the_oldest_has_waited(submission, rng):
    """Without deadline: a batch starts when it is full or its oldest request has waited, as a ticking clock says."""
    for most, gap, wait in ((1, 5, 0), (2, 6, 3), (4, 4, 5), (8, 3, 2), (3, 9, 4), (5, 2, 0)):
        arrivals, service = whole(rng, 50, most, gap, 9)
        expected = ticking(arrivals, service, wait, 10**6)
        assert served(submission.dynamic_batches(arrivals, service, float(wait), math.inf), expected, rtol=1e-12)


@pytest.mark.exercise("dynamic_batches", weight=2, core=True, hint=1)
def test_one_at_a_time_is_a_queue(submission, rng):
    """With batches of one and no wait, request i ends at the largest of a_j + (i - j + 1) S over all j up to i."""
    for load in (0.3, 0.9, 1.5):
        arrivals, each = np.cumsum(rng.exponential(1, 400)), load
        steps = np.arange(400)
        finish = (steps + 1) * each + np.maximum.accumulate(arrivals - steps * each)
        got = submission.dynamic_batches(arrivals, np.array([each]), 0.0, math.inf)
        assert served(got, (finish - each, finish, np.zeros(400, bool)), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("dynamic_batches", weight=3, core=True, hint=2)
def test_who_cannot_start_in_time_is_dropped(submission, rng):
    """With a deadline: who has waited longer when the server gets free is dropped, and takes no time and no place."""
    for most, gap, wait, deadline in ((1, 4, 0, 6), (2, 3, 2, 5), (4, 2, 3, 3), (3, 2, 0, 0), (2, 2, 4, 30)):
        arrivals, service = whole(rng, 60, most, gap, 9)
        expected = ticking(arrivals, service, wait, deadline)
        got = submission.dynamic_batches(arrivals, service, float(wait), float(deadline))
        assert served(got, expected, rtol=1e-12)


@pytest.mark.exercise("dynamic_batches", weight=2, hint=3)
def test_a_trickle_does_not_restart_the_clock(submission):
    """The oldest request's wait counts: with arrivals every second the first batch starts after max_wait."""
    arrivals = np.arange(100.0)
    start, _, _ = submission.dynamic_batches(arrivals, np.full(64, 0.5), 10.0, math.inf)
    assert close(start, 10.0 + 11 * (np.arange(100) // 11), rtol=1e-12)
    tied = submission.dynamic_batches(np.zeros(10), np.array([1.0, 1.5, 1.75]), 0.0, math.inf)
    assert close(tied[0], np.array([0.0] * 3 + [1.75] * 3 + [3.5] * 3 + [5.25]), rtol=1e-12)


@pytest.mark.exercise("dynamic_batches", weight=1, hint=2)
def test_no_end_of_waiting(submission):
    """With max_wait = inf only full batches start; those that are left never start, and count as dropped."""
    arrivals = np.array([0.0, 5.0, 6.0, 6.0, 50.0])
    got = submission.dynamic_batches(arrivals, np.array([1.0, 2.0]), math.inf, math.inf)
    none = math.nan
    expected = [[5.0, 5.0, 7.0, 7.0, none], [7.0, 7.0, 9.0, 9.0, none], [False] * 4 + [True]]
    assert served(got, [np.array(part) for part in expected])
    got = submission.dynamic_batches(arrivals[:1], np.array([1.0, 2.0]), math.inf, math.inf)
    assert served(got, (np.array([none]), np.array([none]), np.array([True])))


@pytest.mark.exercise("dynamic_batches", weight=2, hint=3)
def test_times_on_the_border(submission):
    """Who arrives at the very moment of a start joins; who can start at exactly arrival + deadline is not dropped."""
    above = np.nextafter(3.0, 4)
    for last, together in ((3.0, True), (above, False)):
        start, _, _ = submission.dynamic_batches(np.array([0.0, 1.0, last]), np.full(8, 0.25), 3.0, math.inf)
        assert close(start, [3.0, 3.0, 3.0 if together else last + 3.0])
    for deadline, lost in ((3.0, False), (np.nextafter(3.0, 0).item(), True)):
        _, _, dropped = submission.dynamic_batches(np.array([0.0, 1.0]), np.array([4.0]), 0.0, deadline)
        assert close(dropped, np.array([False, lost]))


@pytest.mark.exercise("dynamic_batches")
def test_requests_of_every_form(submission, reference, rng):
    """Arrays in any layout; equal to the last bit, at every scale of time; float64 and bool come back; no requests."""
    for case in ARRIVE.cases(rng):
        assert served(submission.dynamic_batches(*case), reference.dynamic_batches(*case.exact), typed=True)
    for scale in (2.0**-40, 2.0**30):
        arrivals, service = scale * np.cumsum(rng.exponential(1, 300)), scale * rng.uniform(1, 3, 5)
        args = arrivals, service, 0.7 * scale, 2.0 * scale
        assert served(submission.dynamic_batches(*args), reference.dynamic_batches(*args))
    empty = submission.dynamic_batches(np.zeros(0), np.ones(2), 0.0, 0.0)
    assert served(empty, (np.zeros(0), np.zeros(0), np.zeros(0, bool)), typed=True)


@student_side
def long_queue(n, seed):
    """Start, finish and dropped of many requests in an overloaded queue, in a few numbers."""
    arrivals = np.cumsum(np.random.default_rng(seed).integers(0, 3, n)).astype(float)
    start, finish, dropped = student.dynamic_batches(arrivals, np.array([1.5]), 1.0, 1e9)
    return [float(start[-1]), float(finish.sum()), int(np.sum(dropped))]


@pytest.mark.exercise("dynamic_batches", weight=3, hint=3)
def test_many_requests(submission, rng):
    """A queue that grows all day: each request is looked at once, not once for every batch."""
    # One walk over 200,000 requests takes a second or less. To look at all of them in each of 200,000 batches takes
    # 20 microseconds for each 10,000 or more, 40 s, and ends at the limit of a call.
    n, seed = 200_000, int(rng.integers(2**40))
    arrivals = np.cumsum(np.random.default_rng(seed).integers(0, 3, n)).astype(float)
    steps = np.arange(n)
    # A batch of one is full at once.
    finish = (steps + 1) * 1.5 + np.maximum.accumulate(arrivals - steps * 1.5)
    assert close(submission.run(long_queue, n, seed), [finish[-1] - 1.5, finish.sum(), 0], rtol=1e-9)


@pytest.mark.exercise("dynamic_batches", weight=1, forgeable=True)
def test_a_queue_leaves_no_trace(submission, rng):
    """No argument is modified, and what is returned is new and stays as it is."""
    assert ARRIVE.leaves_no_trace(submission, rng)


# -------------------------------------------------------------------------------------------- continuous_batching

TOKENS = Contract(
    "continuous_batching",
    prompt=longs(6, low=1, high=9),
    output=longs(6, low=1, high=9),
    arrival=replace(
        longs(6, low=0, high=9), plain=lambda rng: np.sort(rng.integers(0, 9, 6)), forms={}, alone=frozenset()
    ),
    blocks=one_of(9, 30),
    block_size=one_of(2, 7),
    slots=one_of(3, 1),
)


def with_numbered_blocks(prompt, output, arrival, blocks, block_size, slots):
    """The same with a table of blocks for each request: (first_token, finish, number of preemptions)."""
    n = len(prompt)
    free, tables = set(range(blocks)), {i: set() for i in range(n)}
    made, state = [0] * n, ["waits"] * n
    first, last, preemptions, t = [0] * n, [0] * n, 0, 0
    while "waits" in state or "runs" in state:
        for i in range(n):  # the oldest takes first; the youngest gives
            if state[i] != "runs":
                continue
            while len(tables[i]) * block_size < prompt[i] + made[i] + 1:
                if not free:
                    youngest = max(j for j in range(n) if state[j] == "runs")
                    free |= tables[youngest]
                    tables[youngest] = set()
                    state[youngest] = "waits"
                    preemptions += 1
                    if youngest == i:
                        break
                tables[i].add(free.pop())
        for i in range(n):
            if state[i] != "waits":
                continue
            wanted = math.ceil((prompt[i] + made[i] + 1) / block_size)
            if arrival[i] > t or state.count("runs") >= slots or wanted > len(free):
                break
            tables[i] = {free.pop() for _ in range(wanted)}
            state[i] = "runs"
        t += 1
        for i in range(n):
            if state[i] == "runs":
                made[i] += 1
                first[i] = first[i] or t
                if made[i] == output[i]:
                    last[i], state[i] = t, "done"
                    free |= tables[i]
                    tables[i] = set()
        assert len(free) + sum(map(len, tables.values())) == blocks
    return np.array(first), np.array(last), preemptions


def draw_requests(rng, n, longest=12, gap=3):
    arrival = np.cumsum(rng.integers(0, gap, n))
    return rng.integers(1, longest, n), rng.integers(1, longest, n), arrival


def answered(answer, first, last, **settings):
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return close(False, True)
    return close(list(answer), [np.asarray(first), np.asarray(last)], **settings)


@pytest.mark.exercise("continuous_batching", weight=3, core=True, hint=3)
def test_with_room_for_all_nobody_waits(submission, rng):
    """With slots and blocks for all, request i ends at arrival + output; with one slot they follow each other."""
    prompt, output, arrival = draw_requests(rng, 30)
    got = submission.continuous_batching(prompt, output, arrival, 10_000, 3, 30)
    assert answered(got, arrival + 1, arrival + output)
    ends = []
    for i in range(30):
        ends.append(max(ends[-1] if ends else 0, arrival[i]) + output[i])
    got = submission.continuous_batching(prompt, output, arrival, 10_000, 3, 1)
    assert answered(got, np.array(ends) - output + 1, np.array(ends))


@pytest.mark.exercise("continuous_batching", weight=3, core=True, hint=3)
def test_who_leaves_makes_room_at_once(submission, rng):
    """With few slots and many blocks: a slot is taken in the step after its request has ended, in order of number."""
    for slots in (2, 3, 8):
        prompt, output, arrival = draw_requests(rng, 40)
        first, last, _ = with_numbered_blocks(prompt, output, arrival, 10_000, 4, slots)
        assert answered(submission.continuous_batching(prompt, output, arrival, 10_000, 4, slots), first, last)


@pytest.mark.exercise("continuous_batching", weight=3, core=True, hint=2)
def test_blocks_run_out(submission, rng):
    """With few blocks the youngest gives way, keeps what it has produced, and comes back before all others."""
    seen = 0
    for blocks, size, slots in ((12, 2, 8), (30, 1, 8), (6, 4, 8), (9, 3, 3), (25, 1, 30)):
        for _ in range(4):
            prompt, output, arrival = draw_requests(rng, 25)
            fits = np.minimum(prompt + output, blocks * size) - output
            prompt, output = np.maximum(fits, 1), np.minimum(output, blocks * size - 1)
            first, last, preemptions = with_numbered_blocks(prompt, output, arrival, blocks, size, slots)
            seen += preemptions
            got = submission.continuous_batching(prompt, output, arrival, blocks, size, slots)
            assert answered(got, first, last)
    assert seen > 20  # else the sizes above test nothing


@pytest.mark.exercise("continuous_batching", weight=2, hint=2)
def test_the_last_block_is_used(submission):
    """A request that needs exactly all blocks runs alone; block borders: the token that comes now needs a place."""
    for prompt, output, blocks, size in ((3, 5, 2, 4), (7, 1, 8, 1), (1, 63, 1, 64), (3 * 10**6, 4, 10**6 + 2, 3)):
        got = submission.continuous_batching(*map(np.array, ([prompt], [output], [0])), blocks, size, 4)
        assert answered(got, [1], [output])
    # Both fit in step 0 (2 blocks each). After it each keeps 4 tokens, and the fifth needs a third block.
    got = submission.continuous_batching(*map(np.array, ([3, 3], [2, 2], [0, 0])), 5, 2, 4)
    assert answered(got, [1, 1], [2, 3])
    got = submission.continuous_batching(*map(np.array, ([3, 3], [2, 2], [0, 0])), 6, 2, 4)
    assert answered(got, [1, 1], [2, 2])


@pytest.mark.exercise("continuous_batching", weight=2, hint=3)
def test_empty_steps_cost_nothing(submission, rng):
    """Arrivals may lie 10^12 steps apart; requests that come before all others have ended still share the steps."""
    prompt, output, near = draw_requests(rng, 12)
    far = np.concatenate([near, 10**9 + near, 10**12 - near[-1] + near])
    first, last, _ = with_numbered_blocks(prompt, output, near, 14, 3, 3)
    got = submission.continuous_batching(np.tile(prompt, 3), np.tile(output, 3), far, 14, 3, 3)
    shift = far - np.tile(near, 3)
    assert answered(got, np.tile(first, 3) + shift, np.tile(last, 3) + shift, typed=True)


@pytest.mark.exercise("continuous_batching", weight=1)
def test_requests_that_do_not_fit(submission, rng):
    """ValueError if one request needs more blocks than there are, even alone; none if it needs exactly all."""
    for prompt, output, blocks, size in ((4, 1, 1, 4), (1, 8, 2, 4), (1, 2**40, 5, 7), (3 * 10**6, 1, 10**6, 3)):
        with raises_student(ValueError):
            arrays = map(np.array, ([1, 1, prompt], [1, 1, output], [0, 0, 9]))
            submission.continuous_batching(*arrays, blocks, size, 2)
    assert answered(submission.continuous_batching(*map(np.array, ([3], [1], [2])), 1, 4, 2), [3], [3])


@pytest.mark.exercise("continuous_batching")
def test_tokens_of_every_form(submission, rng):
    """int64 arrays in any layout; int64 comes back; no requests at all."""
    for case in TOKENS.cases(rng):
        first, last, _ = with_numbered_blocks(*case.exact)
        assert answered(submission.continuous_batching(*case), first, last, typed=True)
    none = np.zeros(0, np.int64)
    assert answered(submission.continuous_batching(none, none, none, 1, 1, 1), none, none, typed=True)


@pytest.mark.exercise("continuous_batching", weight=3, hint=2)
def test_a_long_run_stays_within_its_bounds(submission, rng):
    """Two thousand requests: no more tokens than slots in a step, requests start in order, and none waits for ever."""
    n, blocks, size, slots = 2000, 60, 4, 8
    prompt, output = rng.integers(1, 30, n), rng.integers(1, 40, n)
    arrival = np.sort(rng.integers(0, 4000, n))
    first, last = submission.continuous_batching(prompt, output, arrival, blocks, size, slots)
    assert is_array(first, (n,)) and is_array(last, (n,))
    assert close(bool(np.all(np.diff(first) >= 0)), True)
    assert close(bool(np.all(last - first >= output - 1)) and bool(np.all(first > arrival)), True)
    # Never more than `slots` tokens a step; and a step without work only while nobody waits.
    assert close(bool(np.max(last) >= math.ceil(output.sum() / slots)), True)
    assert close(bool(np.max(last) <= arrival[-1] + output.sum()), True)
    few = slice(0, 150)
    got = submission.continuous_batching(prompt[few], output[few], arrival[few], blocks, size, slots)
    assert answered(got, *with_numbered_blocks(prompt[few], output[few], arrival[few], blocks, size, slots)[:2])
    # Who arrives later changes nothing for those who were before: nobody overtakes.
    assert close(first[:150], got[0]) and close(last[:100], got[1][:100])


@pytest.mark.exercise("continuous_batching", weight=1, forgeable=True)
def test_a_run_leaves_no_trace(submission, rng):
    """No argument is modified, and what is returned is new and stays as it is."""
    assert TOKENS.leaves_no_trace(submission, rng)


# ---------------------------------------------------------------------------------------------------- ModelServer

PREDICT = "/v1/predict"
MAX_BODY = 65_536  # as in the setup cell


def body_of(row):
    return json.dumps({"x": row}).encode()


def ask(server, row=(1.0,), path=PREDICT, **headers):
    """A prediction; row: a list of numbers."""
    return server.submit(
        "POST", path, {name.replace("_", "-"): value for name, value in headers.items()}, body_of(list(row))
    )


def is_response(answer, status=None, content_type="application/json"):
    """Whether this is a response, and what the docstring says of each."""
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        return close(type(answer), tuple)
    code, headers, body = answer
    if status is not None and not close(code, status):
        return close(code, status)
    if not (isinstance(code, int) and isinstance(headers, dict) and isinstance(body, bytes)):
        return close(False, True)
    if headers.get("content-type") != content_type:
        return close(headers.get("content-type"), content_type)
    if code >= 400:
        text = parsed(body)
        return close(isinstance(text, dict) and isinstance(text.get("error"), str) and text["error"] != "", True)
    return close(True, True)


def refuse(name):
    raise ValueError(name)


def parsed(body):
    """JSON without NaN and Infinity; None where it is none."""
    try:
        return json.loads(body, parse_constant=refuse)
    except (ValueError, TypeError):
        return None


def is_ticket(answer):
    return close(isinstance(answer, int) and not isinstance(answer, bool), True)


def with_sums(submission, capacity=10, max_batch=4, width=1, factor=1.0, version="v1"):
    """A server with a promoted version that adds up the row, and what its predict was asked."""
    predict = Asked(lambda rows: factor * np.asarray(rows).sum(axis=1))
    server = submission.ModelServer(capacity, max_batch)
    server.load(version, predict, width)
    server.promote(version)
    return server, predict


def shapes_of(predict):
    return [list(args[0].shape) for args in predict.calls]


def values_of(served):
    """[(ticket, status, y, version)] of what `step` returned."""
    found = []
    for ticket, (status, _, body) in served:
        content = parsed(body)
        content = content if isinstance(content, dict) else {}
        found.append((ticket, status, content.get("y"), content.get("version")))
    return found


def metrics_of(server):
    """(responses by status, length of the queue, the text)."""
    answer = server.submit("GET", "/metrics", {}, b"")
    assert is_response(answer, 200, "text/plain; version=0.0.4")
    text = answer[2].decode()
    lines = lines_of(text) or []
    counts = {labels: number for name, labels, number in lines if name == "model_requests_total" and number}
    queue = [number for name, labels, number in lines if name == "model_queue_length" and not labels]
    return counts, queue, text


@pytest.mark.exercise("ModelServer", weight=3, core=True, hint=2)
def test_requests_wait_and_are_served(submission, rng):
    """A good request gets a ticket of its own, and its response comes from a later step, with its own prediction."""
    server, predict = with_sums(submission, capacity=30, max_batch=4, width=3)
    rows = rng.standard_normal((10, 3)).round(3)
    tickets = [ask(server, row.tolist()) for row in rows]
    for ticket in tickets:
        assert is_ticket(ticket)
    assert close(len(set(tickets)), 10) and close(len(predict.calls), 0)
    served = [server.step() for _ in range(4)]
    assert close([len(part) for part in served], [4, 4, 2, 0])
    together = [pair for part in served for pair in part]
    for _, response in together:
        assert is_response(response, 200)
    assert close([ticket for ticket, _ in together], tickets)
    assert close([y for _, _, y, _ in values_of(together)], rows.sum(axis=1), rtol=1e-12)
    assert close([version for _, _, _, version in values_of(together)], ["v1"] * 10)


@pytest.mark.exercise("ModelServer", weight=2, core=True, hint=2)
def test_paths_and_methods(submission):
    """404 for other paths and for versions that are not loaded, 405 for another method, and a ticket otherwise."""
    server, _ = with_sums(submission)
    for path in ("/", "/v1", "/v2/predict", "/health"):
        assert is_response(server.submit("GET", path, {}, b""), 404)
    for path, method in (("/healthz", "POST"), ("/readyz", "PUT"), (PREDICT, "GET"), (PREDICT + "/v1", "DELETE")):
        assert is_response(server.submit(method, path, {}, b""), 405)
    assert is_response(ask(server, path=PREDICT + "/v9"), 404)
    assert is_ticket(ask(server, path=PREDICT + "/v1")) and is_ticket(ask(server))


@pytest.mark.exercise("ModelServer", weight=1, hint=2)
def test_odd_paths_and_methods(submission):
    """Paths and methods are compared as they are; each 405 has `allow`, also for a version that is not loaded."""
    server, _ = with_sums(submission)
    for path in ("/v1/predictions", "/healthz/", "/Healthz", "", "/readyz?x=1"):
        for method in ("GET", "POST"):
            assert is_response(server.submit(method, path, {}, body_of([1])), 404)
    for path in ("/healthz", "/readyz", "/metrics"):
        for method in ("POST", "DELETE", "HEAD", "get"):
            answer = server.submit(method, path, {}, b"")
            assert is_response(answer, 405) and close(answer[1].get("allow"), "GET")
    for path in (PREDICT, PREDICT + "/v1", PREDICT + "/v9"):
        for method in ("GET", "PUT", "post"):
            answer = server.submit(method, path, {}, body_of([1]))
            assert is_response(answer, 405) and close(answer[1].get("allow"), "POST")
    for path in (PREDICT + "/V1", PREDICT + "/v1/"):
        assert is_response(ask(server, path=path), 404)


@pytest.mark.exercise("ModelServer", weight=2, core=True, hint=2)
def test_bodies(submission):
    """400 for what is not JSON (NaN and Infinity are not), 422 for JSON that is no row, 413 for more than MAX_BODY."""
    server, _predict = with_sums(submission, width=2, capacity=1000)
    not_json = [b"", b"{", b'{"x": [1, 2]', b"{'x': [1, 2]}", b"\xff\xfe", b'{"x": [1, NaN]}', b'{"x": [-Infinity, 1]}']
    not_json += [b'{"x": [Infinity, 1]}', b'{"x": [1, 2], "y": NaN}', b"NaN", b'{"x": [1 2]}', b"[" * 60_000]
    for body in not_json:
        assert is_response(server.submit("POST", PREDICT, {}, body), 400)
    wrong = ["[1, 2]", "null", "3", '"x"', "{}", '{"X": [1, 2]}', '{"x": null}', '{"x": 1}', '{"x": {"0": 1, "1": 2}}']
    wrong += ['{"x": "12"}', '{"x": []}', '{"x": [1]}', '{"x": [1, 2, 3]}', '{"x": [1, "2"]}', '{"x": [1, null]}']
    wrong += ['{"x": [1, true]}', '{"x": [false, 1]}', '{"x": [1, [2]]}', '{"x": [1, 1e999]}', '{"x": [-1e999, 1]}']
    wrong += ['{"x": [1, 1' + "0" * 400 + "]}", '{"x": [[1, 2]]}', '{"x": [1, {}]}']
    for text in wrong:
        assert is_response(server.submit("POST", PREDICT, {}, text.encode()), 422)
    right = [('{"x": [1, 2]}', 3), ('{"x": [1.5, -0.5], "more": [true, null]}', 1), (' {"x":[1e300,-1e300]}\n', 0)]
    right += [
        ('{"x": [7, 1], "x": [1, 1]}', 2),
        ('{"\\u0078": [0, 1e-320]}', 1e-320),
        ('{"x": [9007199254740992, 0]}', 2**53),
    ]
    right.append(('{"x": [1, 2]}'.ljust(MAX_BODY), 3))
    for text, _ in right:
        assert is_ticket(server.submit("POST", PREDICT, {}, text.encode()))
    served = [pair for _ in range(3) for pair in server.step()]
    assert close([y for _, _, y, _ in values_of(served)], [float(y) for _, y in right], rtol=1e-12)
    for body in ('{"x": [1, 2]}'.ljust(MAX_BODY + 1).encode(), b"{" * (MAX_BODY + 1)):
        assert is_response(server.submit("POST", PREDICT, {}, body), 413)


@pytest.mark.exercise("ModelServer", weight=2, core=True, hint=2)
def test_ready_is_not_alive(submission):
    """/healthz is 200 always; /readyz only with a promoted version, and not while the server drains."""
    server = submission.ModelServer(3, 2)

    def both():
        answers = [server.submit("GET", path, {}, b"") for path in ("/healthz", "/readyz")]
        for answer in answers:
            assert is_response(answer)
            assert answer[0] != 200 or close(parsed(answer[2]), {"status": "ok"})
        return [answer[0] for answer in answers]

    assert close(both(), [200, 503]) and is_response(ask(server), 503)
    server.load("a", lambda rows: rows[:, 0], 1)
    assert close(both(), [200, 503]) and is_response(ask(server), 503)
    assert is_ticket(ask(server, path=PREDICT + "/a")) and is_response(ask(server, path=PREDICT + "/b"), 404)
    server.promote("a")
    assert close(both(), [200, 200]) and is_ticket(ask(server))
    server.drain()
    assert close(both(), [200, 503])
    for path in (PREDICT, PREDICT + "/a", PREDICT + "/b"):
        assert is_response(ask(server, path=path), 503)
        assert is_response(server.submit("GET", path, {}, b""), 405)
    assert is_response(server.submit("POST", PREDICT, {}, b"{"), 503)
    assert close([status for _, status, _, _ in values_of(server.step())], [200, 200]) and close(server.step(), [])
    server.load("c", lambda rows: rows[:, 0], 1)
    server.promote("c")
    assert close(both(), [200, 503]) and is_response(ask(server), 503)


@pytest.mark.exercise("ModelServer", weight=3, hint=3)
def test_one_call_of_each_version_in_a_step(submission, rng):
    """A step takes the max_batch longest waiting requests, and calls each of their versions once, with all its rows."""
    order = []

    def of(name, factor):
        def predict(rows):
            order.append((name, np.array(rows)))
            return factor * rows[:, 0]

        return predict

    server = submission.ModelServer(50, 6)
    for number, name in enumerate("abc"):
        server.load(name, of(name, 10.0**number), 1)
    names = [str(name) for name in rng.permutation(list("aaaabbbbccc"))]
    tickets = [ask(server, [number], PREDICT + "/" + name) for number, name in enumerate(names)]
    served = []
    for first in (0, 6):
        part = names[first : first + 6]
        order.clear()
        served += server.step()
        wanted = dict.fromkeys(part)  # versions in the order of their first request
        rows = [np.array([[float(first + i)] for i, name in enumerate(part) if name == version]) for version in wanted]
        assert close([name for name, _ in order], list(wanted)) and close([got for _, got in order], rows)
    expected = [[number * 10.0 ** "abc".index(name), name] for number, name in enumerate(names)]
    assert close([ticket for ticket, _ in served], tickets)
    assert close([[y, version] for _, _, y, version in values_of(served)], expected, rtol=1e-12)
    order.clear()
    assert close(server.step(), []) and close(len(order), 0)


@pytest.mark.exercise("ModelServer", weight=3, hint=2)
def test_a_promotion_moves_nobody(submission):
    """A request is answered by the version that was the default when it was accepted, whatever is promoted later."""
    server, _ = with_sums(submission)
    server.load("v2", lambda rows: 10 * rows[:, 0], 1)
    server.load("v3", lambda rows: 100 * rows[:, 0], 1)
    expected = []
    for number, (version, factor) in enumerate([("v1", 1), ("v2", 10), ("v1", 1), ("v3", 100), ("v2", 10)]):
        server.promote(version)
        ask(server, [float(number)])
        expected.append([float(factor * number), version])
    server.promote("v3")
    with raises_student(ValueError):
        server.promote("v9")
    with raises_student(ValueError):
        server.load("v1", lambda rows: rows[:, 0] * 0, 1)
    expected.append([700.0, "v3"])
    ask(server, [7.0])
    served = values_of(server.step() + server.step())
    assert close([[y, version] for _, _, y, version in served], expected)


@pytest.mark.exercise("ModelServer", weight=3, hint=2)
def test_the_queue_has_an_end(submission):
    """429 with retry-after while `capacity` requests wait, before the body is read; a step makes room again."""
    for capacity, most in ((1, 1), (3, 2), (5, 9)):
        server, _predict = with_sums(submission, capacity, most)
        server.load("w", lambda rows: rows[:, 0], 1)
        for round_ in range(3):
            room = capacity if round_ == 0 else min(most, capacity)
            for number in range(room):
                assert is_ticket(ask(server, path=PREDICT + "/w" if number % 2 else PREDICT))
            for body in (body_of([1]), b"{", b"[1]"):
                answer = server.submit("POST", PREDICT, {}, body)
                assert is_response(answer, 429) and close(answer[1].get("retry-after"), "1")
            assert is_response(server.submit("POST", PREDICT, {}, b" " * 70_000), 413)
            assert is_response(ask(server, path=PREDICT + "/none"), 404)
            assert close(len(server.step()), min(most, capacity))
    assert is_ticket(ask(with_sums(submission, 300, 2)[0]))


@student_side
def with_broken_versions(kinds):
    """Statuses and bodies from a server whose versions fail, each in its way, and from the steps after it."""

    class Odd(Exception):
        pass

    def raises(error):
        def predict(rows):
            raise error

        return predict

    broken = {
        "error": raises(ValueError("TRACE-OF-THIS")),
        "key": raises(KeyError("TRACE-OF-THIS")),
        "own": raises(Odd("TRACE-OF-THIS")),
        "nan": lambda rows: np.where(rows[:, 0] > 0, np.nan, 1.0),
        "inf": lambda rows: np.where(rows[:, 0] > 0, -np.inf, 1.0),
        "short": lambda rows: rows[:-1, 0],
        "square": lambda rows: rows,
        "number": lambda rows: 3.0,
        "none": lambda rows: None,
        "text": lambda rows: np.array(["TRACE-OF-THIS"] * len(rows)),
    }
    server = student.ModelServer(100, 100)
    server.load("fine", lambda rows: 2 * rows[:, 0], 1)
    tickets, _found = [], []
    for name in kinds:
        server.load(name, broken[name], 1)
        for version, row in ((name, b"0"), ("fine", b"4"), (name, b"1")):
            tickets.append(
                server.submit("POST", "/v1/predict/" + version, {"x-request-id": version}, b'{"x": [' + row + b"]}")
            )
    served = server.step()
    server.submit("POST", "/v1/predict/fine", {}, b'{"x": [8]}')
    return [ticket for ticket, _ in served] == tickets, [response for _, response in served], server.step()[0][1]


@pytest.mark.exercise("ModelServer", weight=3, hint=3)
def test_a_model_that_fails(submission):
    """500 where predict raises or gives anything but b finite numbers; nothing of the error; the others are served."""
    kinds = ["error", "key", "own", "nan", "inf", "short", "square", "number", "none", "text"]
    ordered, responses, later = submission.run(with_broken_versions, kinds)
    assert close(ordered, True) and close(len(responses), 3 * len(kinds))
    for number, response in enumerate(responses):
        assert is_response(response, 200 if number % 3 == 1 else 500)
        assert close(response[1].get("x-request-id"), "fine" if number % 3 == 1 else kinds[number // 3])
        if number % 3 == 1:
            assert close(parsed(response[2]), {"y": 8.0, "version": "fine"})
        else:
            told = [b"TRACE-OF", b"Traceback", b"ValueError", b"KeyError", b"Odd", b"line "]
            assert close([word for word in told if word in response[2]], [])
    assert is_response(later, 200) and close(parsed(later[2]), {"y": 16.0, "version": "fine"})


@pytest.mark.exercise("ModelServer", weight=2, hint=1)
def test_metrics_count_predictions(submission):
    """/metrics counts responses to predictions by status, from submit and step, and shows how many wait."""
    server = submission.ModelServer(3, 2)
    counts, queue, _ = metrics_of(server)
    assert close(len(counts), 0) and close(queue, [0.0])
    ask(server)
    server.load("v", lambda rows: rows[:, 0], 1)
    server.load("bad", lambda rows: rows[:, 0] * math.nan, 1)
    server.promote("v")
    for path, method in (("/healthz", "GET"), ("/readyz", "PUT"), ("/none", "GET"), ("/v1/predictions", "POST")):
        server.submit(method, path, {}, b"")
    for path, method, body in (("/x", "POST", b"{"), ("", "POST", b"[]"), ("", "GET", b""), ("", "POST", b"{")):
        server.submit(method, PREDICT + path, {}, body)
    for path in ("", "/v", "/bad", ""):
        ask(server, path=PREDICT + path)
    expected = Counter({"503": 1, "404": 1, "422": 1, "405": 1, "400": 1, "429": 1})
    for waiting, done in ((3, {}), (1, {"200": 2}), (0, {"500": 1})):
        expected += Counter(done)
        counts, queue, text = metrics_of(server)
        assert close(counts, {f'{{status="{status}"}}': float(number) for status, number in expected.items()})
        assert close(queue, [float(waiting)])
        for name, kind in (("model_requests_total", "counter"), ("model_queue_length", "gauge")):
            assert close(f"# TYPE {name} {kind}" in text.split("\n"), True)
            assert close(sum(line.startswith(f"# HELP {name}") for line in text.split("\n")), 1)
        assert close(text.endswith("\n"), True)
        server.step()


@pytest.mark.exercise("ModelServer", weight=1, hint=1)
def test_the_request_id_comes_back(submission):
    """Each response has the x-request-id of its request, also errors and those of a step; none where none was sent."""
    server, _ = with_sums(submission, capacity=2)
    for number, (method, path, body) in enumerate(
        [
            ("GET", "/healthz", b""),
            ("GET", "/metrics", b""),
            ("GET", "/no", b""),
            ("PUT", PREDICT, b""),
            ("POST", PREDICT, b"{"),
        ]
    ):
        headers = {"x-request-id": f"id {number}", "accept": "*/*"}
        assert close(server.submit(method, path, headers, body)[1].get("x-request-id"), f"id {number}")
        assert close("x-request-id" in server.submit(method, path, {"accept": "*/*"}, body)[1], False)
    ask(server, x_request_id="mine")
    ask(server)
    assert close(ask(server, x_request_id="late")[1].get("x-request-id"), "late")
    (_, first), (_, second) = server.step()
    assert close(first[1].get("x-request-id"), "mine") and close("x-request-id" in second[1], False)


@pytest.mark.exercise("ModelServer", weight=1)
def test_a_long_day_of_serving(submission, rng):
    """Tickets stay different, rows are float64 arrays of their own, and order is kept over hundreds of requests."""
    server, predict = with_sums(submission, capacity=40, max_batch=16, width=2)
    other, _ = with_sums(submission, capacity=40, max_batch=1, width=3, factor=5.0)
    asked, served = [], []
    for number in range(260):
        asked.append((ask(server, [number, 0.5]), number + 0.5))
        if number % 13 == 12:
            served += values_of(server.step())
        if number % 100 == 7:
            ask(other, [1, 2, 3])
            assert close([y for _, _, y, _ in values_of(other.step())], [30.0])
    while part := server.step():
        served += values_of(part)
        if len(served) > 300:
            break
    assert close([[ticket, y] for ticket, _, y, _ in served], [list(pair) for pair in asked], rtol=1e-12)
    assert close(len({ticket for ticket, _ in asked}), 260)
    for (rows,) in predict.calls:
        assert is_array(rows, (None, 2), np.float64) and close(1 <= len(rows) <= 16, True)


@student_side
def serving_traces():
    """What changes that should not, in words, "" where nothing."""
    kept = []

    def predict(rows):
        kept.append((rows, rows.copy()))
        return rows[:, 0] + rows[:, 1]

    def careless(rows):
        found = rows[:, 0].copy()
        rows[:] = 99.0
        return found

    server = student.ModelServer(20, 3)
    server.load("a", predict, 2)
    server.load("b", careless, 2)
    server.promote("a")
    for number in range(9):
        headers = {"accept": "*/*", "x-request-id": str(number)}
        path = "/v1/predict/b" if number % 3 == 1 else "/v1/predict"
        server.submit("POST", path, headers, b'{"x": [%d, 1]}' % number)
        if headers != {"accept": "*/*", "x-request-id": str(number)}:
            return "submit changes the headers"
        headers["x-request-id"] = "later"
    answers = [answer for _ in range(3) for _, answer in server.step()]
    if any(answer[1].get("x-request-id") != str(number) for number, answer in enumerate(answers)):
        return "a response has another request's x-request-id, or one that was written later"
    if not all(np.array_equal(rows, before) for rows, before in kept):
        return "rows that predict was given change later"
    if any(np.shares_memory(kept[0][0], rows) for rows, _ in kept[1:]):
        return "predict gets the same array again"
    headers = {"x-request-id": "x"}
    for method, path in (("GET", "/metrics"), ("PUT", "/v1/predict"), ("GET", "/none")):
        server.submit(method, path, headers, b"")
    return "" if headers == {"x-request-id": "x"} else "submit changes the headers"


@pytest.mark.exercise("ModelServer", weight=2, hint=3, forgeable=True)
def test_a_server_leaves_no_trace(submission):
    """Headers are not modified; predict gets a new array in each step, which nobody writes to afterwards."""
    assert close(submission.run(serving_traces), "")


# ---------------------------------------------------------------------------------------------------------- drift

DRIFT = Contract("drift", reference=doubles(38), live=doubles(25), bins=one_of(10, 2, 5, default=10))


def psi_of(reference, live, bins):
    """PSI by loops over bins."""
    borders = sorted(set(np.quantile(reference, [j / bins for j in range(1, bins)]).tolist()))
    edges, total = [-math.inf, *borders, math.inf], 0.0
    for low, high in itertools.pairwise(edges):
        shares = [max(sum(low < x <= high for x in sample), 0.5) / len(sample) for sample in (live, reference)]
        total += (shares[0] - shares[1]) * math.log(shares[0] / shares[1])
    return total


def drifted(reference, live, bins=10):
    """The three numbers by other ways: loops, scipy.stats, scipy.special."""
    ks = float(scipy.stats.ks_2samp(reference, live, method="asymp").statistic)
    z = ks * math.sqrt(len(reference) * len(live) / (len(reference) + len(live)))
    return {"psi": psi_of(reference, live, bins), "ks": ks, "p": float(scipy.special.kolmogorov(z))}


# The borders depend on rounding where a quantile falls on a value: with m - 1 and bins without a common factor it
# lies between two values. m = 38, 300, 1000 and bins = 2, 5, 7, 10 are such (37, 299 = 13 * 23, 999 = 27 * 37).


@pytest.mark.exercise("drift", weight=3, core=True, hint=2)
def test_the_largest_distance(submission, rng):
    """ks is the largest |F - G| over all x, in both directions, for samples of different length."""
    for m, n, shift in ((38, 25, 0.5), (300, 9, -0.7), (1, 30, 0.0), (30, 1, 2.0)):
        reference, live = rng.standard_normal(m), shift + rng.standard_normal(n)
        expected = float(scipy.stats.ks_2samp(reference, live, method="asymp").statistic)
        assert close(submission.drift(reference, live, 2)["ks"], expected, atol=1e-9)
    assert close(submission.drift(np.arange(5.0), 9 + np.arange(4.0), 2)["ks"], 1.0, atol=1e-9)


@pytest.mark.exercise("drift", weight=3, core=True, hint=1)
def test_stability_of_the_population(submission, rng):
    """psi is the sum of (p - r) log(p / r) over bins at the reference's quantiles."""
    for m, n, bins in ((300, 200, 10), (1000, 400, 5), (38, 500, 2), (1000, 700, 7)):
        reference, live = rng.standard_normal(m), 0.4 + 1.3 * rng.standard_normal(n)
        assert close(submission.drift(reference, live, bins)["psi"], psi_of(reference, live, bins), atol=1e-9)


@pytest.mark.exercise("drift", weight=2, core=True, hint=3)
def test_the_limit_law(submission, rng):
    """p is the sum of 2 (-1)^(i-1) exp(-2 i^2 z^2), between 0 and 1, and 1 where z < 0.2."""
    reference = np.arange(1000.0)
    for shift in (2, 20, 35, 60, 100, 200, 700):
        live = reference + shift + 0.5
        z = (shift + 1) / 1000 * math.sqrt(500)
        expected = float(scipy.special.kolmogorov(z))
        assert close(submission.drift(reference, live, 7)["p"], expected, atol=1e-9)


@pytest.mark.exercise("drift", weight=2, hint=1)
def test_an_empty_bin_counts(submission, rng):
    """A bin without live values, or without reference values, counts as half a value, and is not left out."""
    reference = rng.standard_normal(300)
    for live in (reference[reference > 0.1], np.full(7, 50.0), np.array([-9.0])):
        assert close(submission.drift(reference, live), drifted(reference, live), atol=1e-9)
    few = rng.standard_normal(4)  # fewer reference values than bins
    live = rng.standard_normal(40)
    assert close(submission.drift(few, live, 10)["psi"], psi_of(few, live, 10), atol=1e-9)


@pytest.mark.exercise("drift", weight=3, hint=2)
def test_equal_values(submission, rng):
    """Samples with many equal values, or one value: equal borders count once, and steps are compared as a whole."""
    for high in (2, 4, 9):
        reference, live = rng.integers(0, high, 300).astype(float), rng.integers(0, high + 1, 120).astype(float)
        for bins in (10, 5, 2):
            assert close(submission.drift(reference, live, bins), drifted(reference, live, bins), atol=1e-9)
    for a, b in ((3.0, 3.0), (3.0, 4.0), (4.0, 3.0)):
        reference, live = np.full(30, a), np.full(20, b)
        assert close(submission.drift(reference, live), drifted(reference, live), atol=1e-9)
    same = rng.standard_normal(300)
    found = submission.drift(same, rng.permutation(same))
    assert close(found, {"psi": 0.0, "ks": 0.0, "p": 1.0}, atol=1e-12, typed=True) and close(found["p"], 1.0)


@pytest.mark.exercise("drift")
def test_samples_of_every_form(submission, rng):
    """Samples in any order and layout, of any size of numbers, of one value; bins is 10 where it is left out."""
    for case in DRIFT.cases(rng):
        assert close(submission.drift(*case), drifted(*case.exact), atol=1e-9, typed=True)
    for scale in (1e-100, 1e100):
        reference, live = scale * rng.standard_normal(38), scale * (0.2 + rng.standard_normal(50))
        assert close(submission.drift(reference, live, 5), drifted(reference, live, 5), atol=1e-9)
    one = submission.drift(np.array([2.0]), np.array([1.0]))
    assert close(one, drifted(np.array([2.0]), np.array([1.0])), atol=1e-9)
    many = rng.standard_normal(1000), rng.standard_normal(800)
    assert close(submission.drift(*many, 250), drifted(*many, 250), atol=1e-9)


@student_side
def drift_of_many(seed, m, n):
    rng = np.random.default_rng(seed)
    return student.drift(rng.standard_normal(m), 0.01 + rng.standard_normal(n))


@pytest.mark.exercise("drift", weight=3, hint=2, memory_mb=200)
def test_a_million_values(submission, rng):
    """A million values against a million: sorted, not compared pair by pair."""
    seed, m, n = int(rng.integers(2**40)), 600_000, 500_000
    drawn = np.random.default_rng(seed)
    reference, live = np.sort(drawn.standard_normal(m)), np.sort(0.01 + drawn.standard_normal(n))
    # One walk through both, with numbers of the places in place of numpy's searches.
    order = np.argsort(np.concatenate([reference, live]), kind="stable")
    steps = np.where(order < m, 1 / m, -1 / n)
    ks = float(np.max(np.abs(np.cumsum(steps))))
    borders = np.interp((m - 1) * np.arange(1, 10) / 10, np.arange(m), reference)
    shares = [np.diff([0, *np.searchsorted(x, borders, side="right"), len(x)]) / len(x) for x in (live, reference)]
    psi = float(np.sum((shares[0] - shares[1]) * np.log(shares[0] / shares[1])))
    p = float(scipy.special.kolmogorov(ks * math.sqrt(m * n / (m + n))))
    # A border that rounds to the other side of a value moves one count: 1 / m of a share, times a small logarithm.
    assert close(submission.run(drift_of_many, seed, m, n), {"psi": psi, "ks": ks, "p": p}, atol=1e-7)


@pytest.mark.exercise("drift", weight=1, forgeable=True)
def test_drift_leaves_no_trace(submission, rng):
    """No argument is modified: the samples keep their order."""
    assert DRIFT.leaves_no_trace(submission, rng)


# --------------------------------------------------------------------------------------------------------- canary

CANARY = Contract(
    "canary",
    failed=Argument(
        lambda rng: rng.random((40, 2)) < [0.3, 0.6],
        {
            "in Fortran order": lambda rng: np.asfortranarray(rng.random((40, 2)) < [0.3, 0.7]),
            "backwards": lambda rng: (rng.random((40, 2)) < [0.3, 0.7])[::-1],
            "read-only": lambda rng: np.broadcast_to(np.array([False, True]), (40, 2)),
        },
        frozenset(),
    ),
    alpha=one_of(0.07, 0.5, 1e-9),
    most=one_of(30, 1, 100),
)


def evidence(k, s):
    """The e-value as an exact fraction: the integral of 2 (2t)^s (2 - 2t)^(k-s) from 1/2 to 1, term by term."""
    total = Fraction(0)
    for i in range(k - s + 1):
        power = s + i + 1
        total += Fraction((-1) ** i * math.comb(k - s, i), power) * (1 - Fraction(1, 2**power))
    return total * 2 ** (k + 1)


def decided(failed, alpha, most):
    """The decision pair by pair, by exact fractions."""
    k = s = 0
    for used, (old, new) in enumerate(failed[:most].tolist(), 1):
        if old != new:
            k, s = k + 1, s + new
            if evidence(k, s) >= 1 / Fraction(alpha):
                return "rollback", used
        if used == most:
            return "promote", most
    return "continue", len(failed)


def decision(answer, expected):
    if not isinstance(answer, tuple | list) or len(answer) != 2 or isinstance(answer[1], bool):
        return close(False, True)
    return close(answer, expected, typed=True)


def drawn_pairs(rng, n, old, new):
    return rng.random((n, 2)) < [old, new]


@pytest.mark.exercise("canary", weight=3, core=True, hint=2)
def test_the_evidence_decides(submission, rng):
    """The decision falls at the first pair at which the evidence reaches 1 / alpha."""
    for rate in (0.95, 0.8, 0.7, 0.6):
        new = rng.random(70) < rate
        failed = np.stack([~new, new], axis=1)  # every pair differs
        for alpha in rng.uniform(0.001, 0.3, 4).tolist():
            assert decision(submission.canary(failed, alpha, 1000), decided(failed, alpha, 1000))


@pytest.mark.exercise("canary", weight=3, core=True, hint=1)
def test_equal_pairs_are_no_evidence(submission, rng):
    """Pairs in which both failed, or none, change no evidence, and are counted in what is returned and in `most`."""
    for old, new in ((0.1, 0.4), (0.8, 0.95), (0.02, 0.2), (0.5, 0.9)):
        failed = drawn_pairs(rng, 90, old, new)
        for most in (20, 89, 90, 91):
            assert decision(submission.canary(failed, 0.0437, most), decided(failed, 0.0437, most))
    assert decision(submission.canary(np.ones((50, 2), bool), 0.1, 50), ("promote", 50))
    assert decision(submission.canary(np.zeros((50, 2), bool), 0.1, 51), ("continue", 50))


@pytest.mark.exercise("canary", weight=2, core=True, hint=1)
def test_a_better_version_is_promoted(submission, rng):
    """The test has one side: failures of the old version are no alarm; after `most` pairs the new one is promoted."""
    worse_old = np.tile([[True, False]], (80, 1))
    assert decision(submission.canary(worse_old, 0.3, 80), ("promote", 80))
    assert decision(submission.canary(worse_old, 0.3, 81), ("continue", 80))
    mixed = drawn_pairs(rng, 80, 0.6, 0.1)
    assert decision(submission.canary(mixed, 0.019, 60), decided(mixed, 0.019, 60))


@pytest.mark.exercise("canary", weight=2, hint=3)
def test_what_comes_later_changes_nothing(submission, rng):
    """A decision depends on the pairs up to it: any prefix that holds it gives the same, any shorter one goes on."""
    failed = np.concatenate([drawn_pairs(rng, 30, 0.3, 0.3), np.tile([[False, True], [True, True]], (60, 1))])
    word, used = decided(failed, 0.0113, 500)
    assert word == "rollback"  # 60 failures of the new version alone
    for n in (used, used + 1, 149, 150):
        assert decision(submission.canary(failed[:n], 0.0113, 500), ("rollback", used))
        assert decision(submission.canary(failed[:n], 0.0113, used), ("rollback", used))
    for n in (0, 1, used - 1):
        assert decision(submission.canary(failed[:n], 0.0113, 500), ("continue", n))
    for most in (1, used - 1):
        assert decision(submission.canary(failed, 0.0113, most), ("promote", most))


@student_side
def share_of_alarms(seed, runs, n, rate, alpha):
    """How many of these runs with equally good versions end in a rollback, and how many pairs all of them use."""
    rng = np.random.default_rng(seed)
    alarms = used = 0
    for _ in range(runs):
        word, number = student.canary(rng.random((n, 2)) < rate, alpha, n)
        alarms += word == "rollback"
        used += number
    return alarms, used


@pytest.mark.exercise("canary", weight=3, hint=2)
def test_false_alarms_are_rare_however_often_one_looks(submission, rng):
    """Of equally good versions, watched after each of 400 pairs, hardly more than a share alpha is rolled back."""
    seed, alpha = int(rng.integers(2**40)), 0.0973
    alarms, used = submission.run(share_of_alarms, seed, 400, 400, 0.3, alpha)
    # Ville: each run alarms with probability alpha at most, so more than this many have a probability of 1e-6.
    assert close(alarms <= scipy.stats.binom.isf(1e-6, 400, alpha), True)
    mine = [expected_run(pairs, alpha) for pairs in drawn_again(seed, 400, 400, 0.3)]
    assert close([alarms, used], [sum(word == "rollback" for word, _ in mine), sum(number for _, number in mine)])


def drawn_again(seed, runs, n, rate):
    rng = np.random.default_rng(seed)
    for _ in range(runs):
        yield rng.random((n, 2)) < rate


def log_evidence(k, s):
    """ln E by the logarithm of the gamma function and scipy's binomial law."""
    beta = scipy.special.gammaln(s + 1) + scipy.special.gammaln(k - s + 1) - scipy.special.gammaln(k + 2)
    return (k + 1) * math.log(2) + beta + scipy.stats.binom.logcdf(s, k + 1, 0.5)


def expected_run(failed, alpha):
    """The decision by logarithms, for longer runs."""
    differ = np.flatnonzero(failed[:, 0] ^ failed[:, 1])
    k, s = np.arange(1, len(differ) + 1), np.cumsum(failed[differ, 1])
    over = np.flatnonzero(log_evidence(k, s) >= -math.log(alpha)) if len(differ) else []
    return ("rollback", int(differ[over[0]]) + 1) if len(over) else ("promote", len(failed))


@pytest.mark.exercise("canary", weight=3, hint=2)
def test_long_runs_do_not_overflow(submission, rng):
    """Thousands of pairs that differ: no overflow, no underflow, and a small difference is found in the end."""
    for n, rates in ((30_000, (0.5, 0.5)), (30_000, (0.5, 0.53)), (4000, (0.9, 0.1)), (4000, (0.1, 0.9))):
        failed = drawn_pairs(rng, n, *rates)
        assert decision(submission.canary(failed, 0.0101, n), expected_run(failed, 0.0101))
    # One more failure of the old version before a long series of the new one: the alarm comes at a great k.
    late = np.concatenate([np.tile([[True, False], [False, True]], (3000, 1)), np.tile([[False, True]], (2000, 1))])
    assert decision(submission.canary(late, 1e-9, 10**6), expected_run(late, 1e-9))


@student_side
def canary_of_many(seed, n):
    rng = np.random.default_rng(seed)
    new = rng.random(n) < 0.5
    return student.canary(np.stack([~new, new], axis=1), 1e-8, n)


@pytest.mark.exercise("canary", weight=2, hint=3)
def test_many_pairs(submission, rng):
    """200,000 pairs that all differ: each is counted once, not once for every look."""
    # To count all pairs before each of them anew would be 2 * 10^10 comparisons.
    seed, n = int(rng.integers(2**40)), 200_000
    new = np.random.default_rng(seed).random(n) < 0.5
    assert decision(submission.run(canary_of_many, seed, n), expected_run(np.stack([~new, new], axis=1), 1e-8))


@pytest.mark.exercise("canary")
def test_pairs_of_every_form(submission, rng):
    """Arrays in any layout, each alpha and most; a str and a Python int come back; no pairs at all."""
    for case in CANARY.cases(rng):
        assert decision(submission.canary(*case), decided(*case.exact))
    assert decision(submission.canary(np.zeros((0, 2), bool), 0.05, 1), ("continue", 0))
    assert decision(submission.canary(np.array([[False, True]]), 0.5, 1), ("promote", 1))
    assert decision(submission.canary(np.array([[False, True]] * 2), 0.5, 2), ("rollback", 2))


@pytest.mark.exercise("canary", weight=1, forgeable=True)
def test_a_canary_leaves_no_trace(submission, rng):
    """The pairs are not modified, and a call keeps nothing for the next one."""
    assert CANARY.leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------------------------------------- replicas


def wanted_replicas(current, metric, target, low, high, recent):
    """The rule by exact fractions."""
    ratio = Fraction(metric) / Fraction(target)
    wanted = current if abs(ratio - 1) <= Fraction(1, 10) else math.ceil(current * ratio)
    if wanted < current:
        wanted = sorted([wanted, *recent])[-1]
        wanted = current if wanted > current else wanted
    return min(high, max(low, wanted))


def loads(rng):
    """A metric and a target whose ratio is exact in floats, 0.09 or 0.11 from 1 at the nearest."""
    while True:
        target = 2.0 ** rng.integers(-3, 8)
        metric = float(rng.integers(0, 200)) / 64 * target
        if not 0.0999 < abs(metric / target - 1) < 0.1001:
            return metric, float(target)


@pytest.mark.exercise("replicas", weight=3, core=True, hint=1)
def test_the_ratio_decides(submission, rng):
    """Without recent wishes: current times metric / target, rounded up; within 10% of the target nothing changes."""
    for _ in range(60):
        metric, target = loads(rng)
        args = int(rng.integers(1, 40)), metric, target, 1, 1000, []
        assert close(submission.replicas(*args), wanted_replicas(*args))
    for ratio, expected in ((1.109375, 23), (1.09375, 20), (0.90625, 20), (0.890625, 18), (1.0, 20), (2.0, 40)):
        assert close(submission.replicas(20, 64 * ratio, 64.0, 1, 100, []), expected)


@pytest.mark.exercise("replicas", weight=3, core=True, hint=2)
def test_scaling_down_is_cautious(submission, rng):
    """Fewer only down to the largest recent wish, never more because of it; up at once, whatever was wanted before."""
    for _ in range(60):
        metric, target = loads(rng)
        recent = rng.integers(1, 50, int(rng.integers(0, 6))).tolist()
        args = int(rng.integers(1, 50)), metric, target, 1, 1000, recent
        assert close(submission.replicas(*args), wanted_replicas(*args))
    for recent, expected in (([], 5), ([3, 4], 5), ([6, 9, 7], 9), ([9, 6], 9), ([40, 2], 20)):
        assert close(submission.replicas(20, 16.0, 64.0, 1, 100, recent), expected)
    assert close(submission.replicas(20, 96.0, 64.0, 1, 100, [50, 2]), 30)
    assert close(submission.replicas(20, 66.0, 64.0, 1, 100, [50, 2]), 20)


@pytest.mark.exercise("replicas", weight=2, hint=1)
def test_the_limits_hold(submission, rng):
    """At least low and at most high, also where current lies outside of them, or nothing is to do."""
    for _ in range(40):
        metric, target = loads(rng)
        low = int(rng.integers(1, 20))
        recent = rng.integers(1, 30, 3).tolist()
        args = int(rng.integers(1, 40)), metric, target, low, low + int(rng.integers(0, 15)), recent
        assert close(submission.replicas(*args), wanted_replicas(*args))
    cases = [((50, 64.0, 64.0, 1, 10, [40]), 10), ((2, 64.0, 64.0, 5, 10, []), 5), ((9, 0.0, 64.0, 3, 10, []), 3)]
    cases += [((1, 10.0**6, 1.0, 1, 10**7, []), 10**6), ((3, 0.0, 1.0, 1, 1, [7]), 1)]
    for args, expected in cases:
        assert close(submission.replicas(*args), expected, typed=True)


@pytest.mark.exercise("replicas", weight=2, hint=2)
def test_a_day_without_oscillation(submission, rng):
    """Over a simulated day, noise within 10% moves nothing, and a dip shorter than the window removes no replica."""
    running, wishes, seen = 10, [10], []
    for minute in range(300):
        wave = 600.0 + 300 * np.sin(2 * np.pi * minute / 300)
        load = wave * (0.25 if minute % 20 in (5, 6) else 1.0)
        metric = float(np.round(load / running))
        if not abs(abs(metric / 64 - 1) - 0.1) < 1e-6:
            args = running, metric, 64.0, 2, 40, list(wishes[-5:])
            running = wanted_replicas(*args)
            assert close(submission.replicas(*args), running)
            wishes.append(min(40, max(2, math.ceil(args[0] * metric / 64))))
        seen.append(running)
    wishes = [16, 16, 16]
    for noise in rng.uniform(-0.09, 0.09, 60):
        assert close(submission.replicas(16, 64.0 * (1 + float(noise)), 64.0, 1, 99, wishes), 16)


@student_side
def given_wishes():
    """The list of recent wishes after a call."""
    recent = [3, 9, 4]
    student.replicas(20, 16.0, 64.0, 1, 100, recent)
    return recent


@pytest.mark.exercise("replicas", weight=1, forgeable=True)
def test_wishes_are_not_modified(submission):
    """The list `recent` is not modified."""
    assert close(submission.run(given_wishes), [3, 9, 4])


# --------------------------------------------------------------------------------------------- manifest_problems


def container(memory=True, ports=(("http", 8000),), **more):
    found = {"name": "main", "image": "model:1", **more}
    if memory is not None:
        found["resources"] = {"limits": {"memory": "1Gi", "cpu": "1"} if memory else {"cpu": "1"}}
    if ports is not None:
        found["ports"] = [
            ({"name": name} if name else {}) | {"containerPort": number, "protocol": "TCP"} for name, number in ports
        ]
    return found


def deployment(name, labels, containers=None, replicas=3):
    pod = {"metadata": {"labels": labels}, "spec": {"containers": containers or [container()]}}
    spec = {"selector": {"matchLabels": {"app": labels["app"]}}, "template": pod}
    spec |= {} if replicas is None else {"replicas": replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": "meta"}},
        "spec": spec,
    }


def service(name, selector, *ports):
    spec = {"selector": selector, "ports": [dict(port) for port in ports] or [{"port": 80, "targetPort": "http"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def budget(name, labels, **rule):
    spec = {"selector": {"matchLabels": labels}, **(rule or {"minAvailable": 2})}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec}


def clean(prefix):
    """A set of documents in which nothing is wrong, with labels of its own."""
    labels = {"app": prefix, "tier": "model"}
    return [
        service(f"{prefix}-s", {"app": prefix}, {"port": 80, "targetPort": 8000}, {"port": 9, "targetPort": "http"}),
        budget(f"{prefix}-b", {"tier": "model", "app": prefix}),
        deployment(f"{prefix}-d", labels),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{prefix}-c"}, "data": {"a": "b"}},
    ]


# Each: what is added to clean documents with the prefix "a", and the problems that it brings.
PLANTED = {
    "another label": ([service("p1", {"app": "b"})], [("p1", "selector")]),
    "one label of two": ([service("p2", {"app": "a", "tier": "web"})], [("p2", "selector")]),
    "labels of the deployment itself": ([service("p3", {"app": "meta"})], [("p3", "selector")]),
    "a budget for nothing": ([budget("p4", {"app": "A"})], [("p4", "selector")]),
    "a number that nobody opens": ([service("p5", {"app": "a"}, {"port": 8000, "targetPort": 80})], [("p5", "port")]),
    "a name that nobody opens": ([service("p6", {"app": "a"}, {"port": 8000, "targetPort": "web"})], [("p6", "port")]),
    "no target": ([service("p7", {"app": "a"}, {"port": 80})], [("p7", "port")]),
    "the second port": (
        [service("p8", {"app": "a"}, {"port": 8000}, {"port": 1, "targetPort": "TCP"}, {"port": 2})],
        [("p8", "port")],
    ),
    "no limit of memory": ([deployment("p9", {"app": "x"}, [container(False)])], [("p9", "memory")]),
    "no resources": ([deployment("p10", {"app": "x"}, [container(), container(None)])], [("p10", "memory")]),
    "requests only": (
        [deployment("p11", {"app": "x"}, [container(None, resources={"requests": {"memory": "1Gi"}})])],
        [("p11", "memory")],
    ),
    "all must stay": ([budget("p12", {"app": "a"}, minAvailable=3)], [("p12", "budget")]),
    "more than all": ([budget("p13", {"app": "a"}, minAvailable=9)], [("p13", "budget")]),
    "none may go": ([budget("p14", {"app": "a"}, maxUnavailable=0)], [("p14", "budget")]),
    "one replica by default": (
        [deployment("q", {"app": "one"}, replicas=None), budget("p15", {"app": "one"}, minAvailable=1)],
        [("p15", "budget")],
    ),
    "no ports": (
        [deployment("r", {"app": "mute"}, [container(ports=None)]), service("p17", {"app": "mute"}, {"port": 1})],
        [("p17", "port")],
    ),
}


@pytest.mark.exercise("manifest_problems", weight=3, core=True, hint=2)
@pytest.mark.parametrize("name", list(PLANTED))
def test_each_problem_is_found(submission, rng, name):
    """A problem is found with the name of its document and its code, wherever the document stands."""
    added, expected = PLANTED[name]
    documents = clean("a") + added
    order = rng.permutation(len(documents)).tolist()
    assert close(submission.manifest_problems([documents[i] for i in order]), expected)


@pytest.mark.exercise("manifest_problems", weight=2, core=True, hint=1)
def test_clean_documents_have_none(submission, rng):
    """No problem where there is none: selectors of several deployments, ports by name or number, budgets with room."""
    more = [
        deployment("e", {"app": "a", "track": "new"}, [container(ports=[(None, 9000)]), container(ports=None)], 1),
        service("several", {"app": "a"}, {"port": 9000}, {"port": 8000}, {"port": 5, "targetPort": "http"}),
        service("both", {"app": "a", "track": "new"}, {"port": 1, "targetPort": 9000}),
        budget("together", {"app": "a"}, minAvailable=3),
        budget("some", {"app": "a"}, maxUnavailable=1),
        budget("none", {"app": "a"}, minAvailable=0),
    ]
    for documents in ([], clean("a"), clean("a") + clean("b"), clean("a") + more, (clean("a") + more)[::-1]):
        assert close(submission.manifest_problems(documents), [])


@pytest.mark.exercise("manifest_problems", weight=2, hint=2)
def test_problems_together(submission, rng):
    """Several problems come sorted, each once, those of one document under each of its codes."""
    names = list(PLANTED)
    for _ in range(8):
        chosen = rng.choice(len(names), int(rng.integers(2, 9)), replace=False)
        added = [PLANTED[names[i]] for i in chosen]
        # x and the other labels of added deployments are used by no other service.
        documents = clean("a") + [document for more, _ in added for document in more]
        expected = sorted(problem for _, problems in added for problem in problems)
        got = submission.manifest_problems([documents[i] for i in rng.permutation(len(documents))])
        assert close([list(problem) for problem in got], [list(problem) for problem in expected])
    twice = [
        service("s", {"app": "a"}, {"port": 1}, {"port": 2}),
        deployment("s", {"app": "z"}, [container(False)] * 2),
    ]
    assert close(submission.manifest_problems(clean("a") + twice), [("s", "memory"), ("s", "port")])
    alike = [service("n", {"app": "no"}), budget("n", {"app": "no"})]
    assert close(submission.manifest_problems(alike), [("n", "selector")])


@student_side
def same_documents(documents):
    """Whether the documents are the same after a call."""
    before = repr(documents)
    student.manifest_problems(documents)
    return repr(documents) == before


@pytest.mark.exercise("manifest_problems", weight=1, forgeable=True)
def test_documents_are_not_modified(submission):
    """The documents are not modified."""
    documents = clean("a") + [document for more, _ in PLANTED.values() for document in more]
    assert close(submission.run(same_documents, documents), True)
