"""Hidden tests of module 17. A docstring is the sentence that a student reads when the test fails.

Every message, and every all-reduce that an answer is given, passes through this side (`on_ranks`): it is counted here,
and in some tests altered on its way. Values are compared with NumPy, torch and a replay of the schedule.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905

import itertools
import math

import numpy as np
import pytest
import torch

from autograder.judging import (
    EPS,
    Asked,
    Contract,
    close,
    frozen,
    is_array,
    on_ranks,
    one_of,
    raises_student,
    stepped,
    student_side,
)

RTOL = 1e-12  # for a few dozen operations in float64 on numbers that do not cancel


@student_side
def traces(name, first, second, reduces):
    """What a rank program leaves behind, in words, "" where nothing: two lists of arguments, a tuple for each rank."""
    from lsml_utils import ranks

    odd = []

    def all_reduce(comm, x):
        if not isinstance(x, np.ndarray) or x.dtype != np.float64:
            odd.append(x)
        if comm.rank > 0:
            comm.send(0, x)
            return comm.recv(0)
        total = np.array(x)
        for source in range(1, comm.size):
            total = total + comm.recv(source)
        for to in range(1, comm.size):
            comm.send(to, total)
        return total

    def arrays(value):
        if isinstance(value, np.ndarray):
            return [value]
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
        return [array for part in parts for array in arrays(part)]

    def gradient(theta, X, y):
        return X.T @ (X @ theta - y) / len(y)

    def ask(arguments):
        def program(comm):
            args = [gradient if isinstance(one, str) else one for one in arguments[comm.rank]]
            return getattr(student, name)(comm, *([all_reduce] if reduces else []), *args)

        return ranks.simulate(program, len(arguments)).results

    def shared(some, others):
        return any(np.shares_memory(a, b) for a in arrays(some) for b in arrays(others))

    kept = [array.copy() for array in arrays(first)]
    one = ask(first)
    if any(a.tobytes() != b.tobytes() for a, b in zip(arrays(first), kept)):
        return "the call changes one of its arguments"
    if odd:
        return "all_reduce is given something else than a float64 array"
    if shared(one, first):
        return "what is returned shares memory with an argument"
    if any(shared(one[i], one[:i]) for i in range(len(one))):
        return "what two ranks return shares memory"
    parts = arrays(one[0])
    if any(np.shares_memory(a, b) for i, a in enumerate(parts) for b in parts[:i]):
        return "two of the arrays that are returned share memory"
    before = [array.copy() for array in arrays(one)]
    two = ask(second)
    three = ask(first)
    if shared(one, two) or shared(one, three) or shared(two, three):
        return "a later call changes what an earlier one returned"
    if any(a.tobytes() != b.tobytes() for a, b in zip(arrays(three), before)):
        return "the same call returns something else after another call"
    for mine, theirs in zip(arrays(first), arrays(second)):
        mine[...] = theirs
    again = arrays(ask(first))
    if any(not np.allclose(a, b, 1e-9, 1e-12) for a, b in zip(again, arrays(two))):
        return "the call does not see that an array has changed since the last one"
    return ""


@student_side
def on_one_rank(name, gather, args):
    """Call a rank program on rank 1 of 4, where the other ranks are not in this process: the grader adds their part."""
    from lsml_utils.ranks import Comm

    return getattr(student, name)(Comm(1, 4), lambda comm, x: gather(np.array(x)), *args)


class Absent:
    """The parts of ranks that no answer can look at: what one rank sent in a call of its own, `times` as often.

    The layout of a message is the answer's own, so a part is taken from the answer itself.
    """

    def __init__(self, submission, name, times):
        self.submission, self.name, self.times, self.parts = submission, name, times, []

    def ask(self, *args):
        """A rank alone; what it sends is remembered."""

        def gather(x):
            self.parts.append(x)
            return x

        return self.submission.run(on_one_rank, self.name, gather, list(args))

    def add(self, *args):
        """Another rank, and what the first one sent, `times` as often."""
        parts = iter(self.parts)

        def gather(x):
            part = next(parts, None)
            return x + self.times * part if np.shape(part) == np.shape(x) else x

        return self.submission.run(on_one_rank, self.name, gather, list(args))


def same_bits(results):
    """Whether all ranks returned the same array, bit for bit."""
    return close(sum(np.asarray(result).tobytes() != np.asarray(results[0]).tobytes() for result in results), 0)


# ------------------------------------------------------------------------------------------------ collective_time


def seconds_of(kind, n, P, alpha, beta):
    steps = {"root": P - 1, "ring": P - 1, "tree": next(k for k in range(64) if 2**k >= P)}[kind]
    return 2.0 * steps * (alpha + (n / P if kind == "ring" else n) / beta)


@pytest.mark.exercise("collective_time", weight=3, core=True, hint=2)
@pytest.mark.parametrize("kind", ["root", "tree", "ring"])
def test_formula(submission, rng, kind):
    """The time is the number of steps, times latency plus the bytes of one step over the bandwidth."""
    for P in [2, 4, 8, 3, 5, 9, 100, 257, 1000, *rng.integers(2, 500, 10).tolist()]:
        n, alpha, beta = (float(10 ** rng.uniform(-8, 8)) for _ in range(3))
        assert close(
            submission.collective_time(kind, n, P, alpha, beta), seconds_of(kind, n, P, alpha, beta), rtol=RTOL
        )


@pytest.mark.exercise("collective_time", weight=2, core=True, hint=2)
def test_steps_of_a_tree(submission):
    """A tree over P ranks has ceil(log2 P) steps each way, also just above and below a power of two."""
    for P in [*range(1, 20), *(2**k + e for k in (5, 10, 16, 19) for e in (-1, 0, 1)), 10**6]:
        assert close(
            submission.collective_time("tree", 5.0, P, 1.0, math.inf), seconds_of("tree", 5.0, P, 1.0, math.inf)
        )


@pytest.mark.exercise("collective_time", weight=1)
def test_borders_and_kinds_of_numbers(submission, rng):
    """One rank, no bytes, no latency, an infinite bandwidth and ints are understood, and a float comes back."""
    for kind in ("root", "tree", "ring"):
        for args in [
            (100, 1, 3, 10),
            (0, 4, 0.25, 10.0),
            (10**15, 10**6, 0, 10**12),
            (1e15, 7, 1e15, 1e-15),
            (3, 2, 1, 7),
            (5.0, 3, 0.5, math.inf),
            (1e-15, 6, 1e-15, 1e15),
        ]:
            got = submission.collective_time(kind, *args)
            assert close(got, seconds_of(kind, *args), rtol=RTOL, typed=True)


@pytest.mark.exercise("collective_time", weight=1)
def test_other_words_are_refused(submission):
    """Any other word for the kind raises ValueError, also with one rank."""
    for word in ("star", "Ring", " ring", "ring2", "", "TREE", "root "):
        for ranks in (1, 4):
            with raises_student(ValueError):
                submission.collective_time(word, 10.0, ranks, 1.0, 1.0)


# ------------------------------------------------------------------------------------------------ ring_all_reduce


def drawn(rng, size, n, dtype=np.float64, scale=1.0):
    """An array for each rank."""
    return [(scale * rng.standard_normal(n)).astype(dtype) for _ in range(size)]


def summed(submission, arrays, **options):
    """The answer's results on these arrays; `right` is whether each rank has the sum, within its bound."""
    done = on_ranks(submission, "ring_all_reduce", [(x,) for x in arrays], **options)
    exact = np.sum(np.asarray(arrays, float), axis=0)
    eps = np.finfo(arrays[0].dtype).eps
    bound = len(arrays) * eps * np.sum(np.abs(np.asarray(arrays, float)), axis=0)
    return done, all(close(result, exact, atol=bound) for result in done.results)


@pytest.mark.exercise("ring_all_reduce", weight=3, core=True, hint=3)
@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_sum_on_every_rank(submission, rng, size):
    """Every rank has the sum over all ranks, where P divides n."""
    for n in (size, 3 * size, 40 * size):
        assert summed(submission, drawn(rng, size, n))[1]


@pytest.mark.exercise("ring_all_reduce", weight=2, core=True, hint=1)
def test_any_length(submission, rng):
    """Every rank has the sum where P does not divide n, where n is less than P or 0, and on one rank alone."""
    for size, n in [(2, 7), (3, 10), (4, 9), (8, 21), (5, 3), (4, 1), (3, 0), (1, 5), (1, 0), (2, 1), (7, 50)]:
        assert summed(submission, drawn(rng, size, n))[1]


@pytest.mark.exercise("ring_all_reduce", weight=6, core=True, hint=3)
def test_bytes_and_messages(submission, rng):
    """A rank sends at most 2 (P - 1) messages of at most ceil(n / P) numbers: the least that is possible."""
    for size, n in [(8, 100_000), (5, 7), (3, 10), (4, 4), (2, 9), (6, 2), (1, 9), (12, 30)]:
        done, right = summed(submission, drawn(rng, size, n))
        part = -(-n // size)
        assert right and max((message.bytes for message in done.messages), default=0) <= 8 * part
        sources = [message.source for message in done.messages]
        assert all(sources.count(rank) <= 2 * (size - 1) for rank in range(size))
        assert all(sent <= 8 * 2 * (size - 1) * part for sent in done.sent.tolist())


@pytest.mark.exercise("ring_all_reduce", weight=2, hint=3)
def test_to_the_right_neighbour_only(submission, rng):
    """Each rank sends to rank (rank + 1) mod P and to no other."""
    for size in (2, 3, 5, 8):
        done, right = summed(submission, drawn(rng, size, 24))
        assert right and all(message.to == (message.source + 1) % size for message in done.messages)


@pytest.mark.exercise("ring_all_reduce", weight=3, core=True, hint=2)
def test_what_arrives_is_what_counts(submission, rng):
    """What a rank receives decides: if one message is altered on its way, the sum differs by just that."""
    for size in (3, 4):
        arrays = [rng.integers(-99, 99, 12).astype(float) for _ in range(size)]  # sums are exact
        plain, right = summed(submission, arrays)
        assert right
        altered = on_ranks(submission, "ring_all_reduce", [(x,) for x in arrays], alter=lambda i, x: x + (i == 0))
        for result in altered.results:  # the first message is a summand of a part, and that part goes to all ranks
            change = np.asarray(result) - np.sum(arrays, axis=0)
            assert close(np.sort(change), np.sort(np.arange(12) < altered.messages[0].bytes // 8).astype(float))
            assert close(result, altered.results[0])
        last = len(plain.messages) - 1
        for number in (1, last // 2, last):
            done = on_ranks(
                submission, "ring_all_reduce", [(x,) for x in arrays], alter=lambda i, x, j=number: x + (i == j)
            )
            changed = [not np.array_equal(a, b) for a, b in zip(done.results, plain.results, strict=True)]
            assert any(changed)


@pytest.mark.exercise("ring_all_reduce", weight=3, core=True, hint=2)
def test_same_bits_on_all_ranks(submission, rng):
    """All ranks have the same bits, because the sum of a part is computed once and then copied."""
    for size, n in [(4, 1000), (7, 1500), (8, 2001)]:
        arrays = [x * 10.0 ** rng.integers(-6, 6, n) for x in drawn(rng, size, n)]  # each order rounds otherwise
        done, right = summed(submission, arrays)
        assert right and same_bits(done.results)


@pytest.mark.exercise("ring_all_reduce", weight=2, hint=1)
def test_float32_and_layouts(submission, rng):
    """float32 stays float32, also in messages and their bytes, and arrays may be in steps, backwards or read-only."""
    for layout in (np.array, stepped, lambda x: x[::-1].copy()[::-1], frozen, lambda x: np.repeat(x, 3)[::3]):
        for dtype in (np.float32, np.float64):
            arrays = [layout(x) for x in drawn(rng, 4, 1203, dtype)]
            done, right = summed(submission, arrays)
            assert right and all(is_array(result, (1203,), dtype) for result in done.results)
            assert all(sent <= 6 * 301 * np.dtype(dtype).itemsize for sent in done.sent.tolist())


@pytest.mark.exercise("ring_all_reduce", weight=1)
def test_numbers_of_any_size(submission, rng):
    """Large and small numbers are summed as others are, and so are many numbers on many ranks."""
    for scale in (2.0**-30, 2.0**30, 1e-200, 1e200):
        assert summed(submission, drawn(rng, 3, 50, scale=scale))[1]
    assert summed(submission, drawn(rng, 24, 60))[1]


@pytest.mark.exercise("ring_all_reduce", weight=1, forgeable=True)
def test_ring_leaves_no_trace(submission, rng):
    """x is left alone, and what is returned is new: later calls do not change it, and no argument is a part of it."""
    for size, n in [(3, 8), (1, 5), (4, 2)]:
        first, second = ([[x] for x in drawn(rng, size, n)] for _ in range(2))
        assert close(submission.run(traces, "ring_all_reduce", first, second, False), "")


# --------------------------------------------------------------------------------------------- data_parallel_step


def mean_gradient(theta, X, y):
    """The gradient of the mean of (X theta - y)^2 / 2 over the rows."""
    if len(y) == 0:
        raise ValueError("the mean gradient of no rows")
    return X.T @ (X @ theta - y) / len(y)


def two_outputs(theta, X, y):
    parts = theta.reshape(2, -1)
    return np.concatenate([mean_gradient(parts[0], X, y), mean_gradient(parts[1], X, -y)])


def shards_of(rng, rows, d):
    return [(rng.standard_normal((m, d)), rng.standard_normal(m)) for m in rows]


def stepped_once(submission, theta, shards, lr, grads=None):
    grads = grads or [mean_gradient] * len(shards)
    arguments = [(grad, theta, X, y, lr) for grad, (X, y) in zip(grads, shards, strict=True)]
    return on_ranks(submission, "data_parallel_step", arguments, all_reduce=True)


def single_step(theta, shards, lr):
    X, y = (np.concatenate(parts) for parts in zip(*shards, strict=True))
    return theta - lr * mean_gradient(theta, X, y)


@pytest.mark.exercise("data_parallel_step", weight=3, core=True, hint=3)
@pytest.mark.parametrize("size", [1, 2, 4])
def test_step_with_equal_shards(submission, rng, size):
    """The step is that of one process with all rows, where each rank has equally many."""
    theta, shards = rng.standard_normal(5), shards_of(rng, [6] * size, 5)
    for result in stepped_once(submission, theta, shards, 0.3).results:
        assert close(result, single_step(theta, shards, 0.3), rtol=1e-10, atol=1e-10)


@pytest.mark.exercise("data_parallel_step", weight=4, core=True, hint=1)
def test_step_with_any_shards(submission, rng):
    """The step is that of one process where ranks have different numbers of rows: every row counts the same."""
    for rows in ([1, 9], [30, 2, 5], [7, 1, 1, 12], [500, 3]):
        theta, shards = rng.standard_normal(4), shards_of(rng, rows, 4)
        for result in stepped_once(submission, theta, shards, 0.5).results:
            assert close(result, single_step(theta, shards, 0.5), rtol=1e-10, atol=1e-10)
    # More parameters than columns: two outputs, with the targets y and -y.
    theta, shards = rng.standard_normal(6), shards_of(rng, [4, 7], 3)
    X, y = (np.concatenate(parts) for parts in zip(*shards, strict=True))
    for result in stepped_once(submission, theta, shards, 0.5, [two_outputs] * 2).results:
        assert close(result, theta - 0.5 * two_outputs(theta, X, y), rtol=1e-10, atol=1e-10)


@pytest.mark.exercise("data_parallel_step", weight=3, core=True, hint=2)
def test_ranks_without_rows(submission, rng):
    """A rank without rows takes part, and changes nothing; grad is not called there."""
    for rows in ([0, 5], [4, 0, 3], [0, 0, 1]):
        theta, shards = rng.standard_normal(3), shards_of(rng, rows, 3)
        done = stepped_once(submission, theta, shards, 0.5)
        for result in done.results:
            assert close(result, single_step(theta, shards, 0.5), rtol=1e-10, atol=1e-10)


@pytest.mark.exercise("data_parallel_step", weight=6, core=True, hint=3)
def test_one_all_reduce(submission, rng):
    """One all-reduce of d + 1 numbers in a step, and at most one gradient on each rank."""
    for rows, d in [([3, 5], 4), ([2, 0, 6, 1], 7), ([4], 2)]:
        grads = [Asked(mean_gradient) for _ in rows]
        theta, shards = rng.standard_normal(d), shards_of(rng, rows, d)
        done = stepped_once(submission, theta, shards, 0.5, grads)
        assert close(done.reduced, [(d + 1,)]) and close(len(done.messages), 0)
        assert all(len(grad.calls) <= 1 for grad in grads)
        assert close(done.results[0], single_step(theta, shards, 0.5), rtol=1e-10, atol=1e-10)


@pytest.mark.exercise("data_parallel_step", weight=8, hint=3)
def test_the_sum_decides(submission, rng):
    """The step follows from what all_reduce returns, also where the other ranks are in another process."""
    for rows in ([3, 5], [6, 1]):
        theta, (one, two) = rng.standard_normal(4), shards_of(rng, rows, 4)
        ranks = Absent(submission, "data_parallel_step", times=3)
        ranks.ask(mean_gradient, theta, *one, 0.5)
        got = ranks.add(mean_gradient, theta, *two, 0.5)
        assert close(got, single_step(theta, [one, one, one, two], 0.5), rtol=1e-10, atol=1e-10)


@pytest.mark.exercise("data_parallel_step", weight=2, hint=3)
def test_many_steps_as_one_process(submission, rng):
    """Twenty steps end where those of one process end, and all ranks have the same bits all the way."""
    theta, shards = rng.standard_normal(6), shards_of(rng, [13, 4, 0, 8], 6)
    mine, single = theta, theta
    for lr in np.linspace(0.3, 0.01, 20).tolist():
        results = stepped_once(submission, mine, shards, lr).results
        assert same_bits(results) and is_array(results[0], (6,), np.float64)
        mine, single = results[0], single_step(single, shards, lr)
    assert close(mine, single, rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("data_parallel_step", weight=1)
def test_sizes_of_steps(submission, rng):
    """Any learning rate is understood, one parameter and many, one row and many, and numbers of any size."""
    for rows, d, lr, scale in [
        ([1, 2], 1, 1e-12, 1.0),
        ([3, 2], 3, 50.0, 1.0),
        ([2, 3], 1203, 0.1, 1.0),
        ([1500, 3], 2, 0.1, 1.0),
        ([2, 2], 3, 0.5, 1e8),
        ([2, 2], 3, 0.5, 1e-9),
        ([2, 3], 3, 1 / 3, 1.0),
    ]:
        theta = scale * rng.standard_normal(d)
        shards = [(X, scale * y) for X, y in shards_of(rng, rows, d)]
        got, exact = stepped_once(submission, theta, shards, lr).results[1], single_step(theta, shards, lr)
        size = np.abs(exact - theta).max()
        assert close(got, exact, atol=1e-10 * size + 4 * EPS * np.abs(theta).max())


@pytest.mark.exercise("data_parallel_step", weight=1, forgeable=True)
def test_step_leaves_no_trace(submission, rng):
    """theta, X and y are left alone, and the new theta is a new array that later calls do not change."""
    first, second = (
        [["grad", rng.standard_normal(4), X, y, 0.1] for X, y in shards_of(rng, [3, 2], 4)] for _ in range(2)
    )
    assert close(submission.run(traces, "data_parallel_step", first, second, True), "")


# ----------------------------------------------------------------------------------------------- bucket_gradients

BUCKETS = Contract("bucket_gradients", sizes=one_of([3, 4, 2, 9, 1, 5], [], [7]), cap=one_of(6, 100, 1))


def buckets_of(sizes, cap):
    """From the last tensor to the first, by where each bucket must end."""
    found, last = [], len(sizes)
    while last > 0:
        first = last - 1
        while first > 0 and sum(sizes[first - 1 : last]) <= cap:
            first -= 1
        found.append(list(range(last - 1, first - 1, -1)))
        last = first
    return found


def wait_left(buckets, sizes, latency, bandwidth):
    """How long after the backward pass the last all-reduce ends; the pass computes one byte a second."""
    ready = np.cumsum(sizes[::-1])[::-1]
    free = 0.0
    for bucket in buckets:
        free = max([free, *(float(ready[i]) for i in bucket)]) + latency + sum(sizes[i] for i in bucket) / bandwidth
    return free - float(ready[0])


@pytest.mark.exercise("bucket_gradients", weight=3, core=True, hint=1)
def test_all_tensors_from_the_last_to_the_first(submission, rng):
    """Every tensor is in one bucket, from the last to the first, and no bucket is empty."""
    for count in (1, 2, 5, 20, 200):
        sizes, cap = rng.integers(1, 50, count).tolist(), int(rng.integers(1, 120))
        got = submission.bucket_gradients(sizes, cap)
        assert close([i for bucket in got for i in bucket], list(range(count))[::-1])
        assert all(len(bucket) > 0 for bucket in got)


@pytest.mark.exercise("bucket_gradients", weight=3, core=True, hint=2)
def test_buckets_are_as_full_as_they_can_be(submission, rng):
    """A bucket holds at most cap bytes, exactly cap included, and is closed only where the next tensor does not fit."""
    for _ in range(40):
        sizes, cap = rng.integers(1, 8, int(rng.integers(1, 30))).tolist(), int(rng.integers(3, 20))
        got, expected = submission.bucket_gradients(sizes, cap), buckets_of(sizes, cap)
        # First the number of each tensor's bucket: a list of other length says little.
        assert close(*([k for k, bucket in enumerate(found) for _ in bucket] for found in (got, expected)))
        assert close(got, expected)


@pytest.mark.exercise("bucket_gradients", weight=2, core=True, hint=2)
def test_tensors_above_the_cap(submission, rng):
    """A tensor of more than cap bytes has a bucket of its own, wherever it stands."""
    for sizes, cap in [
        ([9, 1, 1], 4),
        ([1, 9, 1], 4),
        ([1, 1, 9], 4),
        ([9, 9], 4),
        ([1, 2, 9, 9, 1, 1, 3], 4),
        ([5], 4),
    ]:
        assert close(submission.bucket_gradients(sizes, cap), buckets_of(sizes, cap))


@pytest.mark.exercise("bucket_gradients", weight=2, core=True, hint=1)
def test_wait_that_is_left(submission, rng):
    """On the grader's clock, all-reduces overlap with the backward pass: no longer wait than with such buckets."""
    for _ in range(5):
        sizes, cap = rng.integers(5, 40, 60).tolist(), int(rng.integers(60, 200))
        got = submission.bucket_gradients(sizes, cap)
        for latency, bandwidth in ((1.0, 2.0), (30.0, 1.5)):
            least = wait_left(buckets_of(sizes, cap), sizes, latency, bandwidth)
            assert wait_left(got, sizes, latency, bandwidth) <= least * (1 + 1e-9)


@pytest.mark.exercise("bucket_gradients", weight=1)
def test_borders_of_buckets(submission, rng):
    """Positions are Python ints; no tensors, one tensor, a cap of 1, huge tensors and thousands of them are right."""
    many = rng.integers(1, 2**40, 1000).tolist()
    few = rng.integers(1, 9, 3000).tolist()
    for sizes, cap in [
        ([], 5),
        ([3], 3),
        ([3], 2),
        ([1] * 7, 1),
        ([1] * 500, 10**9),
        (many, 2**42),
        (few, 300),
        (few, 7),
    ]:
        got = submission.bucket_gradients(sizes, cap)
        assert close(got, buckets_of(sizes, cap)) and close(
            [type(i) is int for b in got for i in b], [True] * len(sizes)
        )


@pytest.mark.exercise("bucket_gradients", weight=1, forgeable=True)
def test_buckets_leave_no_trace(submission, rng):
    """The list of sizes is left alone, and the same call gives the same buckets again."""
    assert BUCKETS.leaves_no_trace(submission, rng, then=[{}, {"cap": 1}, {"sizes": []}])


# ------------------------------------------------------------------------------------------------------ zero_step


def adam(params, grads, m, v, t, lr, betas, eps):
    """torch's Adam on the mean of the gradients, from these moments: whole parameters and whole moments."""
    theta = torch.tensor(params, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=lr, betas=betas, eps=eps)
    state = {"step": torch.tensor(float(t - 1)), "exp_avg": torch.tensor(m), "exp_avg_sq": torch.tensor(v)}
    optimiser.state[theta].update(state)
    theta.grad = torch.tensor(np.mean(grads, axis=0))
    optimiser.step()
    state = optimiser.state[theta]
    return theta.detach().numpy(), state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()


def cut(vector, size):
    """Its slices, all equally long, with zeros at the end."""
    w = -(-len(vector) // size)
    padded = np.zeros(size * w)
    padded[: len(vector)] = vector
    return list(padded.reshape(size, w))


class Zero:
    """A step of Adam on some ranks, as an answer does it and as torch does."""

    def __init__(self, rng, size, d, t=1, lr=0.1, betas=(0.9, 0.99), eps=1e-3, scale=1.0):
        self.size, self.d, self.rest = size, d, (t, lr, betas, eps)
        self.params = rng.standard_normal(d)
        self.m = scale * rng.standard_normal(d) * (t > 1)
        self.v = scale**2 * rng.uniform(0.5, 2, d) * (t > 1)
        self.grads = [scale * rng.standard_normal(d) for _ in range(size)]

    def asked(self, submission, **options):
        m, v = cut(self.m, self.size), cut(self.v, self.size)
        arguments = [(self.params, g, *mv, *self.rest) for g, *mv in zip(self.grads, m, v, strict=True)]
        return on_ranks(submission, "zero_step", arguments, **options)

    def right(self, submission, which=(0, 1, 2)):
        done = self.asked(submission)
        params, m, v = adam(self.params, self.grads, self.m, self.v, *self.rest)
        sizes = [np.abs(whole).max() for whole in (params, m, v)]
        for rank, result in enumerate(done.results):
            expected = params, cut(m, self.size)[rank], cut(v, self.size)[rank]
            for place in which:
                # A mean of P gradients, or m, may cancel, so what is allowed is a share of the largest entry.
                atol = 1e-10 * sizes[place]
                if not (found := close(result[place], expected[place], rtol=1e-9, atol=atol)):
                    return found
        return close(len(done.results[0]), 3)


@pytest.mark.exercise("zero_step", weight=3, core=True, hint=2)
@pytest.mark.parametrize("size", [1, 2, 4])
def test_first_step_of_adam(submission, rng, size):
    """Every rank has all parameters after a first step of Adam on the mean gradient, where P divides d."""
    for d in (size, 3 * size):
        assert Zero(rng, size, d).right(submission, which=(0,))


@pytest.mark.exercise("zero_step", weight=2, core=True, hint=3)
def test_moments_and_later_steps(submission, rng):
    """Later steps are Adam's, too: moments decay, and both are divided by 1 - beta^t."""
    for t in (2, 3, 10):
        assert Zero(rng, 2, 6, t=t).right(submission)
    assert Zero(rng, 3, 9, t=5, betas=(0.5, 0.7), lr=0.7, eps=0.5).right(submission)


@pytest.mark.exercise("zero_step", weight=3, core=True, hint=1)
def test_slices_of_any_length(submission, rng):
    """All is right where P does not divide d and where P is more than d: slices are w long, with zeros at the end."""
    for size, d in [(2, 5), (3, 7), (4, 5), (4, 1), (3, 2), (5, 21)]:
        assert Zero(rng, size, d, t=3).right(submission)


@pytest.mark.exercise("zero_step", weight=7, core=True, hint=2)
def test_slices_and_bytes(submission, rng):
    """m and v stay w = ceil(d / P) long, and a rank sends at most 2 (P - 1) messages of w numbers: one all-reduce."""
    for size, d in [(4, 4000), (3, 10), (5, 3), (1, 8), (8, 20_001)]:
        zero, w = Zero(rng, size, d, t=2), -(-d // size)
        done = zero.asked(submission)
        assert all(is_array(result[1], (w,)) and is_array(result[2], (w,)) for result in done.results)
        assert all(sent <= 8 * 2 * (size - 1) * w for sent in done.sent.tolist())
        assert max((message.bytes for message in done.messages), default=0) <= 8 * w
        assert len(done.messages) <= size * 2 * (size - 1)
        assert zero.right(submission)


@pytest.mark.exercise("zero_step", weight=2, core=True, hint=2)
def test_parameters_are_the_same_everywhere(submission, rng):
    """All ranks have the same parameters, bit for bit, and what a rank receives decides: messages are altered here."""
    for size in (2, 4, 5):
        zero = Zero(rng, size, 5 * size)
        done = zero.asked(submission)
        plain = [result[0] for result in done.results]

        def altered(number, zero=zero):
            results = zero.asked(submission, alter=lambda i, x: x + 5.0 * (i == number)).results
            return [result[0] for result in results]

        # The first message is a part of a gradient: its owner's slice changes, and with it every rank's parameters.
        first = altered(0)
        assert same_bits(plain) and same_bits(first) and not np.array_equal(plain[0], first[0])
        last = len(done.messages) - 1  # it brings new parameters, and so do those just before it
        for number in (last, last - 1) if size > 2 else (last,):
            assert any(not np.array_equal(a, b) for a, b in zip(plain, altered(number), strict=True))


@pytest.mark.exercise("zero_step", weight=2, hint=3)
def test_forty_steps_as_torch(submission, rng):
    """Forty steps in a row, on three ranks with other gradients each, end where torch's Adam ends."""
    size, d, rest = 3, 7, (0.05, (0.9, 0.999), 1e-8)
    theta, whole = rng.standard_normal(d), None
    single, m, v = theta, np.zeros(d), np.zeros(d)
    moments = [(np.zeros(3), np.zeros(3))] * size
    pulls = rng.standard_normal((size, d))
    for t in range(1, 41):
        arguments = [(theta, theta - pull, *mv, t, *rest) for pull, mv in zip(pulls, moments, strict=True)]
        results = on_ranks(submission, "zero_step", arguments).results
        single, m, v = adam(single, [single - pull for pull in pulls], m, v, t, *rest)
        theta, moments = np.array(results[0][0]), [result[1:] for result in results]
    whole = np.concatenate([np.asarray(mv[0]) for mv in moments])[:d]
    # A step has the slope lr / eps = 5e6 at most where a gradient is near 0, and the rounding there is below 1e-15.
    assert close(theta, single, rtol=1e-8, atol=1e-8) and close(whole, m, rtol=1e-7, atol=1e-8)


@pytest.mark.exercise("zero_step", weight=2)
def test_settings_of_adam(submission, rng):
    """All settings are understood: betas of 0, a large eps, small and large rates, gradients and t, one parameter."""
    for size, d, options in [
        (2, 5, {"betas": (0.0, 0.5)}),
        (2, 5, {"betas": (0.5, 0.0), "t": 2}),
        (3, 4, {"eps": 20.0, "t": 2}),
        (2, 4, {"lr": 1e-9}),
        (2, 4, {"lr": 50.0, "t": 4}),
        (2, 4, {"lr": 1 / 3, "eps": 1 / 3, "t": 300, "betas": (0.99, 0.9999)}),
        (2, 6, {"scale": 2.0**-30, "eps": 1e-12, "t": 2}),
        (2, 6, {"scale": 2.0**30, "eps": 1e-8, "t": 2}),
        (4, 1, {"t": 2}),
        (2, 2403, {"t": 2}),
    ]:
        assert Zero(rng, size, d, **options).right(submission)


@pytest.mark.exercise("zero_step", weight=1)
def test_layouts_and_dtypes_of_slices(submission, rng):
    """Arrays in steps, backwards and read-only are understood, and float64 arrays come back."""
    for layout in (stepped, lambda x: x[::-1].copy()[::-1], frozen):
        zero = Zero(rng, 3, 8, t=2)
        plain = zero.asked(submission).results
        zero.params, zero.grads = layout(zero.params), [layout(g) for g in zero.grads]
        for mine, theirs in zip(zero.asked(submission).results, plain, strict=True):
            for got, expected, length in zip(mine, theirs, (8, 3, 3), strict=True):
                assert is_array(got, (length,), np.float64) and close(got, expected, rtol=RTOL)


@pytest.mark.exercise("zero_step", weight=1, forgeable=True)
def test_zero_leaves_no_trace(submission, rng):
    """No argument is changed, and what is returned is new and stays as it is when later calls are made."""
    for size, d in [(2, 5), (1, 4), (2, 4)]:
        first, second = (
            [
                [
                    rng.standard_normal(d),
                    rng.standard_normal(d),
                    *rng.uniform(1, 2, (2, -(-d // size))),
                    2,
                    0.1,
                    (0.5, 0.9),
                    0.1,
                ]
                for _ in range(size)
            ]
            for _ in range(2)
        )
        assert close(submission.run(traces, "zero_step", first, second, False), "")


# ----------------------------------------------------------------------------------------------- clip_global_norm


def clipped(submission, slices, limit):
    done = on_ranks(submission, "clip_global_norm", [(x, limit) for x in slices], all_reduce=True)
    return done, np.concatenate([np.asarray(result) for result in done.results])


@pytest.mark.exercise("clip_global_norm", weight=4, core=True, hint=2)
def test_norm_of_all_slices(submission, rng):
    """A gradient whose norm over all slices is above the limit is scaled to that norm, by one factor for all."""
    for lengths, share in [((4, 4), 0.5), ((1, 6, 3), 0.1), ((5, 5, 5, 5), 0.9), ((3,), 0.4)]:
        slices = [rng.standard_normal(k) for k in lengths]
        whole = np.concatenate(slices)
        limit = share * float(np.linalg.norm(whole))
        assert close(clipped(submission, slices, limit)[1], share * whole, rtol=1e-10)


@pytest.mark.exercise("clip_global_norm", weight=2, core=True, hint=1)
def test_a_short_gradient_stays(submission, rng):
    """A gradient whose norm is at most the limit stays as it is, number by number; so does one of zeros."""
    for slices, limit in [
        ([np.array([3.0]), np.array([4.0])], 5.0),
        ([rng.standard_normal(5), rng.standard_normal(3)], 100.0),
        ([np.zeros(2), np.zeros(3)], 1e-30),
    ]:
        assert close(clipped(submission, slices, limit)[1], np.concatenate(slices))


@pytest.mark.exercise("clip_global_norm", weight=3, core=True, hint=2)
def test_one_number_is_reduced(submission, rng):
    """One all-reduce of one number on every rank, also with empty slices, whether the gradient is clipped or not."""
    for lengths in [(3, 5), (0, 4), (2, 0, 0, 1)]:
        slices = [rng.standard_normal(k) for k in lengths]
        whole = np.concatenate(slices)
        for limit in (0.1, 100.0):
            done, got = clipped(submission, slices, limit)
            assert close(got, whole * min(1.0, limit / np.linalg.norm(whole)), rtol=1e-10)
            assert close(done.reduced, [(1,)]) and close(len(done.messages), 0)
            assert all(is_array(result, (k,), np.float64) for result, k in zip(done.results, lengths, strict=True))


@pytest.mark.exercise("clip_global_norm", weight=5, hint=2)
def test_the_reduced_norm_decides(submission, rng):
    """The norm follows from what all_reduce returns, also where the other ranks are in another process."""
    one, two = rng.standard_normal(5), rng.standard_normal(3)
    ranks = Absent(submission, "clip_global_norm", times=3)
    ranks.ask(one, 0.1)
    norm = math.sqrt(3 * np.sum(one**2) + np.sum(two**2))
    assert close(ranks.add(two, 0.1), two * 0.1 / norm, rtol=1e-10)


@pytest.mark.exercise("clip_global_norm", weight=1)
def test_gradients_of_any_size(submission, rng):
    """Entries from 1e-100 to 1e100 and thousands of them are clipped as others are, and arrays in any layout."""
    for scale, limit in [(1e100, 1.0), (1e-100, 1e-101), (1.0, 1e-9), (1e6, 50.0), (1e-8, 1e-9), (1e99, 1e99)]:
        slices = [scale * rng.uniform(0.1, 1, 3) for _ in range(3)]
        whole = np.concatenate(slices)
        norm = scale * np.linalg.norm(whole / scale)
        assert close(clipped(submission, slices, limit)[1] / scale, whole * min(1.0, limit / norm) / scale, rtol=1e-10)
    slices = [stepped(rng.standard_normal(1500)), frozen(rng.standard_normal(7)), rng.standard_normal(5)[::-1]]
    whole = np.concatenate(slices)
    assert close(clipped(submission, slices, 0.5)[1], 0.5 * whole / np.linalg.norm(whole), rtol=1e-10)


@pytest.mark.exercise("clip_global_norm", weight=1, forgeable=True)
def test_clipping_leaves_no_trace(submission, rng):
    """The slice is left alone, and a new array comes back, also where nothing is clipped."""
    for limit in (0.1, 1e3):
        first, second = ([[rng.standard_normal(3), limit] for _ in range(2)] for _ in range(2))
        assert close(submission.run(traces, "clip_global_norm", first, second, True), "")


# --------------------------------------------------------------------------------------------------- parallel_mlp


class Mlp:
    """A network whose hidden units are divided, and its whole output and gradients by autograd."""

    def __init__(self, rng, units, B=4, d=3, o=2, scale=1.0, large=1.0):
        h, self.units = sum(units), units
        shapes = ((B, d), (d, h), (h,), (h, o), (o,), (B, o))
        self.x, self.W1, self.b1, self.W2, self.b2, self.dy = (rng.standard_normal(shape) for shape in shapes)
        self.dy, self.x, self.W2 = scale * self.dy, large * self.x, self.W2 / math.sqrt(h)
        leaves = [torch.tensor(a, requires_grad=True) for a in (self.x, self.W1, self.b1, self.W2, self.b2)]
        y = torch.tanh(leaves[0] @ leaves[1] + leaves[2]) @ leaves[3] + leaves[4]
        y.backward(torch.tensor(self.dy))
        self.y, grads = y.detach().numpy(), [leaf.grad.numpy() for leaf in leaves]
        self.grads = dict(zip(("x", "W1", "b1", "W2", "b2"), grads, strict=True))

    def parts(self):
        ends = np.cumsum([0, *self.units])
        return [slice(a, b) for a, b in itertools.pairwise(ends)]

    def asked(self, submission, layout=np.array):
        arguments = [
            tuple(map(layout, (self.x, self.W1[:, p], self.b1[p], self.W2[p], self.b2, self.dy))) for p in self.parts()
        ]
        return on_ranks(submission, "parallel_mlp", arguments, all_reduce=True)

    def expected(self, part):
        grads = self.grads
        return {
            "x": grads["x"],
            "W1": grads["W1"][:, part],
            "b1": grads["b1"][part],
            "W2": grads["W2"][part],
            "b2": grads["b2"],
        }

    def right(self, submission, names=("x", "W1", "b1", "W2", "b2"), **options):
        """Sums of at most a few thousand products: 1e-10 of the largest entry."""
        for result, part in zip(self.asked(submission, **options).results, self.parts(), strict=True):
            for name in names:
                exact = self.expected(part)[name]
                if not (found := close(result[1][name], exact, atol=1e-10 * np.abs(self.grads[name]).max())):
                    return found
        return close(len(self.asked(submission).results[0]), 2)


@pytest.mark.exercise("parallel_mlp", weight=3, core=True, hint=2)
def test_output_is_whole(submission, rng):
    """y is whole on every rank: the sum over all hidden units, and b2 added once."""
    for units in ((2, 2), (4,), (1, 3, 2)):
        mlp = Mlp(rng, units)
        for y, _ in mlp.asked(submission).results:
            assert close(y, mlp.y, rtol=1e-10, atol=1e-11)


@pytest.mark.exercise("parallel_mlp", weight=3, core=True, hint=3)
def test_gradients_of_the_own_part(submission, rng):
    """The gradients of W1, b1 and W2 are those of this rank's hidden units, summed over the rows."""
    for units in ((2, 2), (3,), (1, 4, 2)):
        assert Mlp(rng, units).right(submission, ("W1", "b1", "W2"))


@pytest.mark.exercise("parallel_mlp", weight=2, core=True, hint=2)
def test_gradient_of_the_shared_bias(submission, rng):
    """The gradient of b2 is that of the whole network on every rank: the sum of dy over the rows, once."""
    for units in ((2, 2), (1, 3, 2)):
        assert Mlp(rng, units).right(submission, ("b2",))


@pytest.mark.exercise("parallel_mlp", weight=3, core=True, hint=2)
def test_gradient_of_the_input_is_whole(submission, rng):
    """The gradient of x is whole on every rank: a sum over the hidden units of all ranks."""
    for units in ((2, 2), (3,), (1, 4, 2)):
        assert Mlp(rng, units).right(submission, ("x",))


@pytest.mark.exercise("parallel_mlp", weight=6, core=True, hint=2)
def test_two_all_reduces(submission, rng):
    """One all-reduce of B o numbers forward and one of B d numbers backward, and nothing else is sent."""
    for units, B, d, o in [((2, 2), 4, 3, 2), ((5, 1, 2), 2, 6, 3), ((4,), 1, 2, 5)]:
        mlp = Mlp(rng, units, B, d, o)
        done = mlp.asked(submission)
        assert close(done.reduced, [(B * o,), (B * d,)]) and close(len(done.messages), 0)
        assert mlp.right(submission)


@pytest.mark.exercise("parallel_mlp", weight=8, hint=2)
def test_the_sums_decide(submission, rng):
    """y and the gradient of x follow from what all_reduce returns, also where other ranks are in another process."""
    mlp = Mlp(rng, (2, 3))
    one, two = ((mlp.x, mlp.W1[:, p], mlp.b1[p], mlp.W2[p], mlp.b2, mlp.dy) for p in mlp.parts())
    ranks = Absent(submission, "parallel_mlp", times=3)
    ranks.ask(*one)
    y, grads = ranks.add(*two)
    # Three ranks with the first units: as if their rows of W2 were three times as large.
    W2 = np.concatenate([3 * mlp.W2[mlp.parts()[0]], mlp.W2[mlp.parts()[1]]])
    a = np.tanh(mlp.x @ mlp.W1 + mlp.b1)
    assert close(y, a @ W2 + mlp.b2, rtol=1e-10, atol=1e-10)
    assert close(grads["x"], (mlp.dy @ W2.T * (1 - a**2)) @ mlp.W1.T, rtol=1e-10, atol=1e-10)


@pytest.mark.exercise("parallel_mlp", weight=1)
def test_shapes_and_sizes_of_the_network(submission, rng):
    """One row, one input, one output, one unit a rank, many units, large inputs and small and large dy are right."""
    for units, options in [
        ((1, 1), {"B": 1, "d": 1, "o": 1}),
        ((3, 2), {"B": 1, "d": 5, "o": 2}),
        ((3, 2), {"B": 5, "d": 1, "o": 1}),
        ((700, 600), {"B": 3}),
        ((2, 3), {"B": 1300}),
        ((2, 3), {"d": 1200}),
        ((3, 3), {"scale": 1e8}),
        ((3, 3), {"scale": 1e-9}),
        ((3, 3), {"large": 3.0}),
        ((1, 1, 1, 1, 1), {}),
    ]:
        mlp = Mlp(rng, units, **options)
        assert mlp.right(submission)
        for y, grads in mlp.asked(submission).results:
            assert close(y, mlp.y, rtol=1e-10, atol=1e-10) and close(sorted(grads), ["W1", "W2", "b1", "b2", "x"])


@pytest.mark.exercise("parallel_mlp", weight=1)
def test_same_on_all_ranks_in_any_layout(submission, rng):
    """y and the gradients of x and b2 have the same bits on all ranks, and arrays may lie in memory in any way."""
    for layout in (np.array, stepped, frozen, np.asfortranarray, lambda a: np.flip(np.flip(a).copy())):
        mlp = Mlp(rng, (3, 2), o=3)
        done = mlp.asked(submission, layout)
        assert mlp.right(submission, layout=layout)
        for values in (
            [y for y, _ in done.results],
            [grads["x"] for _, grads in done.results],
            [grads["b2"] for _, grads in done.results],
        ):
            assert same_bits(values) and is_array(values[0], None, np.float64)


@pytest.mark.exercise("parallel_mlp", weight=1, forgeable=True)
def test_mlp_leaves_no_trace(submission, rng):
    """No argument is changed, and what is returned is new: no part of an argument, and later calls leave it alone."""

    def arguments():
        mlp = Mlp(rng, (3, 3), B=3, d=3, o=3)
        return [
            [mlp.x.copy(), mlp.W1[:, p].copy(), mlp.b1[p].copy(), mlp.W2[p].copy(), mlp.b2.copy(), mlp.dy.copy()]
            for p in mlp.parts()
        ]

    assert close(submission.run(traces, "parallel_mlp", arguments(), arguments(), True), "")


# ---------------------------------------------------------------------------------------------- pipeline_schedule

SIZES = [(1, 1), (1, 5), (2, 1), (2, 3), (4, 8), (4, 4), (5, 2), (3, 7), (7, 6), (6, 1)]


def replayed(schedule, forward, backward):
    """How long the schedule takes, by rounds over all operations; None where no stage can go on."""
    ended, clock, place = {}, [0.0] * len(schedule), [0] * len(schedule)
    left = sum(map(len, schedule))
    while left:
        before = left
        for s, row in enumerate(schedule):
            while place[s] < len(row):
                kind, i = row[place[s]]
                if kind == "F":
                    needs = [("F", s - 1, i)] if s else []
                else:
                    needs = [("F", s, i)] + ([("B", s + 1, i)] if s + 1 < len(schedule) else [])
                if any(need not in ended for need in needs):
                    break
                clock[s] = max([clock[s], *(ended[need] for need in needs)]) + (forward if kind == "F" else backward)
                ended[kind, s, i] = clock[s]
                place[s] += 1
                left -= 1
        if left == before:
            return None
    return max(clock)


def most_kept(row):
    """The largest number of micro-batches after their forward and before the end of their backward."""
    kept = most = 0
    for kind, _ in row:
        kept += 1 if kind == "F" else -1
        most = max(most, kept)
    return most


def pairs_of(schedule):
    """The schedule as lists of tuples, [] for what is none."""
    return [[tuple(pair) for pair in row] for row in schedule] if isinstance(schedule, list) else []


@pytest.mark.exercise("pipeline_schedule", weight=3, core=True, hint=1)
@pytest.mark.parametrize("kind", ["gpipe", "1f1b"])
def test_every_micro_batch_once(submission, kind):
    """Each stage does each micro-batch once forward and once backward, both in ascending order."""
    for p, M in SIZES:
        got = pairs_of(submission.pipeline_schedule(p, M, kind))
        assert close(len(got), p)
        for row in got:
            for letter in "FB":
                assert close([i for kind_of, i in row if kind_of == letter], list(range(M)))
            assert close(len(row), 2 * M)


@pytest.mark.exercise("pipeline_schedule", weight=3, core=True, hint=2)
@pytest.mark.parametrize("kind", ["gpipe", "1f1b"])
def test_no_deadlock_and_the_right_length(submission, rng, kind):
    """Replayed, no stage waits for ever, and all is done after (M + p - 1)(F + G), whatever F and G are."""
    for p, M in SIZES:
        schedule = pairs_of(submission.pipeline_schedule(p, M, kind))
        for forward, backward in ((1.0, 2.0), (3.0, 1.0), tuple(rng.uniform(0.5, 2, 2).tolist())):
            assert close(replayed(schedule, forward, backward), (M + p - 1) * (forward + backward), rtol=RTOL)


@pytest.mark.exercise("pipeline_schedule", weight=5, core=True, hint=3)
def test_activations_that_are_kept(submission):
    """With 1F1B stage s keeps at most min(p - s, M) micro-batches at a time."""
    for p, M in [*SIZES, (3, 30), (8, 16)]:
        schedule = pairs_of(submission.pipeline_schedule(p, M, "1f1b"))
        assert close([most_kept(row) for row in schedule], [min(p - s, M) for s in range(p)])


@pytest.mark.exercise("pipeline_schedule", weight=2, core=True, hint=2)
def test_all_forwards_first(submission):
    """With GPipe each stage does all its forwards, and then all its backwards."""
    for p, M in SIZES:
        row = [("F", i) for i in range(M)] + [("B", i) for i in range(M)]
        assert close(pairs_of(submission.pipeline_schedule(p, M, "gpipe")), [row] * p)


@pytest.mark.exercise("pipeline_schedule", weight=2, hint=2)
def test_order_of_1f1b(submission):
    """1F1B is a warm-up of min(p - s - 1, M) forwards, then a forward and a backward by turns, then what is left."""
    for p, M in SIZES:
        for s, row in enumerate(pairs_of(submission.pipeline_schedule(p, M, "1f1b"))):
            ahead = min(p - s - 1, M)
            turns = "FB" * (M - ahead)
            assert close("".join(kind for kind, _ in row), "F" * ahead + turns + "B" * ahead)


@pytest.mark.exercise("pipeline_schedule", weight=1)
def test_long_pipelines(submission):
    """Many stages and many micro-batches are right, and a list of lists of pairs with Python ints comes back."""
    for p, M in [(120, 4), (3, 130), (105, 106)]:
        for kind in ("gpipe", "1f1b"):
            got = submission.pipeline_schedule(p, M, kind)
            assert close(replayed(got, 1.0, 2.0), 3.0 * (M + p - 1), rtol=RTOL)
            kept = [min(p - s, M) if kind == "1f1b" else M for s in range(p)]
            assert close([most_kept(row) for row in got], kept)
            assert all(type(row) is list for row in got) and all(type(i) is int for row in got for _, i in row)
            assert all(type(pair) is tuple for row in got for pair in row)


@pytest.mark.exercise("pipeline_schedule", weight=1)
def test_other_schedules_are_refused(submission):
    """Any other word for the kind raises ValueError."""
    for word in ("zigzag", "GPipe", "1F1B", " gpipe", "1f1b ", ""):
        with raises_student(ValueError):
            submission.pipeline_schedule(3, 4, word)


# ------------------------------------------------------------------------------------------------- top_k_feedback


def chosen(total, k):
    """The places of the k largest in size, lower places first among equals, ascending."""
    return sorted(sorted(range(len(total)), key=lambda i: (-abs(float(total[i])), i))[:k])


def sends_right(submission, grad, memory, k):
    """Whether an answer sends the right entries and keeps the rest."""
    total = grad + memory
    got = submission.top_k_feedback(grad, memory, k)
    places = chosen(total, k)
    left = total.copy()
    left[places] = 0
    return close(got, (np.array(places, int), total[places], left))


@pytest.mark.exercise("top_k_feedback", weight=3, core=True, hint=1)
def test_largest_of_the_sum_are_sent(submission, rng):
    """The k entries of grad + memory that are largest in size are sent, with their sign; their places ascend."""
    for n, k in [(6, 2), (10, 1), (50, 20), (9, 9)]:
        for size in (0.0, 1.0, 30.0):  # without memory, with as much as the gradient has, and with more
            assert sends_right(submission, rng.standard_normal(n), size * rng.standard_normal(n), k)


@pytest.mark.exercise("top_k_feedback", weight=3, core=True, hint=3)
def test_nothing_is_lost(submission, rng):
    """What is sent and the new memory together are grad + memory, exactly."""
    for n, k in [(8, 3), (30, 4)]:
        grad, memory = rng.standard_normal(n), rng.standard_normal(n)
        indices, values, left = submission.top_k_feedback(grad, memory, k)
        whole = np.array(left, float)
        whole[np.asarray(indices)] += values
        assert close(whole, grad + memory) and close(np.asarray(left)[np.asarray(indices)], np.zeros(k))


@pytest.mark.exercise("top_k_feedback", weight=4, core=True, hint=1)
def test_small_entries_arrive_in_time(submission, rng):
    """Where ranks disagree about large entries, small ones arrive all the same: training reaches the optimum."""
    n, k, rate = 12, 2, 0.05
    goal = rng.uniform(0.5, 1.5, n) * rng.choice([-1, 1], n)
    goal[:k] = 0
    pull = np.zeros((2, n))
    pull[:, :k] = np.array([[2.0], [-2.0]])  # cancels in the mean, and is larger than all that matters
    theta, memories = np.zeros(n), [np.zeros(n), np.zeros(n)]
    gradients, sent = np.zeros(n), np.zeros(n)
    for _ in range(200):
        step = np.zeros(n)
        for rank in (0, 1):
            grad = theta - goal + pull[rank]
            indices, values, memories[rank] = submission.top_k_feedback(grad, memories[rank], k)
            np.add.at(step, np.asarray(indices), np.asarray(values) / 2)
            gradients += grad
        sent += 2 * step
        theta = theta - rate * step
    # Entries that waited arrive as lumps: at most 0.1 over 200 draws of the goal. Without memory it stays above 0.5.
    assert np.abs(theta - goal)[k:].max() <= 0.25
    assert close(sent + memories[0] + memories[1], gradients, rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("top_k_feedback", weight=2, hint=2)
def test_ties_go_to_the_lower_place(submission, rng):
    """Where entries are equal in size, whatever their sign, the lower place is sent first."""
    for n, k in [(4, 2), (40, 7), (400, 100)]:
        assert sends_right(submission, rng.choice([-1.0, 1.0], n), np.zeros(n), k)
        assert sends_right(submission, rng.integers(-2, 3, n).astype(float), rng.integers(-2, 3, n).astype(float), k)
    assert sends_right(submission, np.zeros(5), np.zeros(5), 2)


@pytest.mark.exercise("top_k_feedback", weight=2)
def test_borders_of_k(submission, rng):
    """k = 0 sends nothing, k = n everything; no entries, one entry and thousands are right, of any size."""
    for n, k, scale in [
        (5, 0, 1.0),
        (5, 5, 1.0),
        (0, 0, 1.0),
        (1, 1, 1.0),
        (1, 0, 1.0),
        (3000, 1500, 1.0),
        (9, 3, 1e150),
        (9, 3, 1e-150),
    ]:
        assert sends_right(submission, scale * rng.standard_normal(n), scale * rng.standard_normal(n), k)


@pytest.mark.exercise("top_k_feedback", weight=2)
def test_dtypes_and_layouts_of_messages(submission, rng):
    """float32 stays float32, places are int64, and arrays may be in steps, backwards or read-only."""
    for layout in (np.array, stepped, lambda x: x[::-1].copy()[::-1], frozen):
        for dtype in (np.float32, np.float64):
            grad, memory = (layout(rng.standard_normal(1203).astype(dtype)) for _ in range(2))
            assert sends_right(submission, grad, memory, 105)
            indices, values, left = submission.top_k_feedback(grad, memory, 105)
            assert (
                is_array(indices, (105,), np.int64)
                and is_array(values, (105,), dtype)
                and is_array(left, (1203,), dtype)
            )


SPARSE = Contract(
    "top_k_feedback",
    grad=one_of(np.array([1.0, -2.0, 0.5, 3.0])),
    memory=one_of(np.array([0.0, -2.0, 2.5, -2.0])),
    k=one_of(2),
)


@pytest.mark.exercise("top_k_feedback", weight=1, forgeable=True)
def test_messages_leave_no_trace(submission, rng):
    """grad and memory are left alone, and the three arrays are new and share no memory."""

    def some(n=40):
        return lambda rng: rng.standard_normal(n)

    for k in (0, 7, 40):
        given = {"grad": lambda _: rng.standard_normal(40), "memory": lambda _: rng.standard_normal(40), "k": k}
        assert SPARSE.leaves_no_trace(submission, rng, then=[given])
