"""Hidden tests of module 20. A docstring is the sentence that a student reads when the test fails.

The oracles are closed forms on quadratics, torch's optimisers, exact integers and the laws of what is drawn. One
statistical comparison fails a right answer with a probability of TINY or less (chi-squared, Kolmogorov-Smirnov with
its exact law, a binomial interval); a test makes fewer than a hundred of them, so its level is below 1e-6.
"""

# Helpers run where `student` is defined, maybe under another Python.
# ruff: noqa: F821, B905

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from autograder.judging import (
    SEEDS,
    Argument,
    Asked,
    Contract,
    close,
    floats,
    frozen,
    integers,
    is_array,
    one_of,
    raises_student,
    random_states_kept,
    stepped,
    student_side,
)
from lsml_utils.hashing import expand

TINY = 1e-8
PRIME = 2**61 - 1


def doubles(*shape, **settings):
    """What `floats` holds, but float64 only."""
    argument = floats(*shape, **settings)
    return replace(argument, forms={name: form for name, form in argument.forms.items() if "float32" not in name})


def fits(observed, expected):
    """Whether counts follow their expectations, by chi-squared at the level TINY."""
    observed, expected = np.asarray(observed, float), np.asarray(expected, float)
    if observed.shape != expected.shape:
        return close(False, True)
    statistic = float(np.sum((observed - expected) ** 2 / expected))
    return close(min(statistic, 1e300), 0.0, atol=scipy.stats.chi2.isf(TINY, len(expected) - 1))


def evenly(values, cells):
    """Whether whole numbers from 0 to cells - 1 are equally frequent."""
    values = np.asarray(values).ravel()
    return fits(np.bincount(values, minlength=cells), np.full(cells, len(values) / cells))


# ------------------------------------------------------------------------------------------------ split_dirichlet

SPLIT = Contract(
    "split_dirichlet",
    labels=integers(60, high=4),
    clients=one_of(5, 1),
    alpha=one_of(0.7, 1e-3, 1e6),
    seed=one_of(4, *SEEDS),
    least=one_of(2, 0, 12),
)


def is_split(parts, m, clients, least, typed=False):
    """Whether these are `clients` ascending arrays, with each index once, and nobody below `least`."""
    if not isinstance(parts, list) or not all(is_array(part, (None,)) for part in parts):
        return close(False, True)
    if typed and not all(part.dtype == np.int64 for part in parts):
        return close(False, True)
    if len(parts) != clients or min(map(len, parts)) < least:
        return close(False, True)
    ascending = all(np.all(part[1:] > part[:-1]) for part in parts)
    return close(np.sort(np.concatenate(parts)) if ascending else None, np.arange(m))


@student_side
def many_mixes(labels, clients, alpha, seeds):
    """How many rows of each class each client gets: an array (seeds, classes, clients)."""
    classes = np.unique(labels)
    found = np.zeros((len(seeds), len(classes), clients), int)
    for row, seed in enumerate(seeds):
        for client, part in enumerate(student.split_dirichlet(labels, clients, alpha, seed, 0)):
            found[row, :, client] = [np.sum(labels[part] == label) for label in classes]
    return found


@student_side
def many_holders(labels, clients, alpha, seeds):
    """Which client holds each row: an array (seeds, rows)."""
    found = np.zeros((len(seeds), len(labels)), int)
    for row, seed in enumerate(seeds):
        for client, part in enumerate(student.split_dirichlet(labels, clients, alpha, seed, 0)):
            found[row, part] = client
    return found


def seeds_from(rng, count):
    return (int(rng.integers(2**40)) + np.arange(count)).tolist()


@pytest.mark.exercise("split_dirichlet", weight=3, core=True, hint=3)
def test_each_row_has_one_client(submission, rng):
    """Each index is in exactly one of the parts, for uneven and even splits, many clients, and one."""
    for m, clients, alpha in [(100, 4, 0.5), (30, 30, 1.0), (7, 1, 1e-3), (500, 20, 1e6), (90, 3, 0.01)]:
        labels = rng.integers(0, 5, m) * 3 - 4
        assert is_split(submission.split_dirichlet(labels, clients, alpha, int(rng.integers(2**60))), m, clients, 1)


@pytest.mark.exercise("split_dirichlet", weight=3, core=True, hint=2)
def test_shares_have_the_law(submission, rng):
    """A client's share of a class has the mean 1/N and the variance of the Dirichlet distribution."""
    labels = np.repeat([2, 5], 300)
    for clients, alpha in [(2, 1.0), (3, 0.3), (5, 4.0)]:
        mixes = np.asarray(submission.run(many_mixes, labels, clients, alpha, seeds_from(rng, 350)))
        shares = mixes.reshape(350, 2, clients) / 300
        law = scipy.stats.beta(alpha, (clients - 1) * alpha)
        # A share of 300 rows is off by 1/300 at most: this moves the distribution function by no more than `step`.
        grid = np.linspace(0, 1, 301)
        step = float(np.max(law.cdf(np.minimum(grid + 1 / 300, 1)) - law.cdf(grid)))
        limit = scipy.stats.kstwo.isf(TINY, 350) + step
        for client, label in itertools.product((0, clients - 1), range(2)):
            ordered = np.sort(shares[:, label, client])
            values = law.cdf(ordered)
            above = np.max(np.arange(1, 351) / 350 - values)
            below = np.max(values - np.arange(350) / 350)
            assert close(float(max(above, below)), 0.0, atol=limit)
    # With a tiny alpha one client has (nearly) all of a class, and it is each of them equally often.
    mixes = np.asarray(submission.run(many_mixes, np.repeat([2, 5], 4), 2, 1e-3, seeds_from(rng, 700)))
    assert evenly(np.argmax(mixes.reshape(1400, 2), axis=1), 2)


@pytest.mark.exercise("split_dirichlet", weight=2, hint=1)
def test_classes_are_drawn_independently(submission, rng):
    """Each class has its own shares: who has much of one class has no more of another one, also under the next seed."""
    labels = np.repeat([0, 1, 7], 200)
    mixes = np.asarray(submission.run(many_mixes, labels, 2, 1.0, seeds_from(rng, 500)))
    # Is a client's share of a class above one half? A fair coin for each class, up to ties at exactly 100 of 200.
    above = 2 * mixes[:, :, 0] > 200
    for a, b in itertools.combinations(range(3), 2):
        untied = (mixes[:, a, 0] != 100) & (mixes[:, b, 0] != 100)
        same = int(np.sum(above[untied, a] == above[untied, b]))
        assert close(min(scipy.stats.binomtest(same, int(untied.sum())).pvalue, TINY), TINY)
    # The same for a class under one seed and a class under the next seed.
    for a, b in itertools.product(range(3), repeat=2):
        untied = (mixes[:-1, a, 0] != 100) & (mixes[1:, b, 0] != 100)
        same = int(np.sum(above[:-1][untied, a] == above[1:][untied, b]))
        assert close(min(scipy.stats.binomtest(same, int(untied.sum())).pvalue, TINY), TINY)


@pytest.mark.exercise("split_dirichlet", weight=2, hint=2)
def test_numbers_follow_the_shares(submission, rng):
    """With alpha = 1e6 every client has 1/N of each class, up to rounding by at most 1."""
    labels = rng.permutation(np.repeat([3, 1, 8], [1000, 60, 7]))
    for clients in (2, 7, 50):
        mixes = np.asarray(submission.run(many_mixes, labels, clients, 1e6, seeds_from(rng, 3)))
        sizes = np.array([60, 1000, 7])[:, None] / clients
        # The standard deviation of a share is below sqrt(1 / clients / (1e6 clients)) = 1e-3 / clients.
        assert close(mixes.astype(float), np.broadcast_to(sizes, mixes.shape), atol=1 + 7e-3 * sizes)


@pytest.mark.exercise("split_dirichlet", weight=1, hint=2)
def test_rows_are_drawn_at_random(submission, rng):
    """Which rows of a class a client gets is drawn at random: neighbours are no more together than others."""
    labels = rng.permutation(np.repeat([0, 4], 20))
    holders = np.asarray(submission.run(many_holders, labels, 2, 1e6, seeds_from(rng, 600)))
    rows = np.flatnonzero(labels == 4)
    # Two rows out of 20 are with the same client with probability 9/19 if both have 10 rows (and 0.475 at most if
    # one has 9 or 11, by rounding).
    for a, b in [(0, 1), (0, 19), (5, 6), (9, 10), (3, 12)]:
        together = int(np.sum(holders[:, rows[a]] == holders[:, rows[b]]))
        low, high = scipy.stats.binom.ppf([TINY, 1 - TINY], 600, [9 / 19, 0.475])
        assert close(float(together), (low + high) / 2, atol=(high - low) / 2)
    first = int(np.sum(holders[:, rows[0]] == 0))
    low, high = scipy.stats.binom.ppf([TINY, 1 - TINY], 600, [0.45, 0.55])
    assert close(float(first), (low + high) / 2, atol=(high - low) / 2)


@pytest.mark.exercise("split_dirichlet", weight=3, hint=3)
def test_nobody_has_too_few(submission, rng):
    """With a tiny alpha, everybody has `least` rows, and no more rows than that are taken from the others."""
    for m, clients, least in [(100, 20, 1), (100, 20, 3), (60, 20, 3), (2000, 300, 1), (40, 5, 0), (900, 2, 350)]:
        for seed in (0, int(rng.integers(2**60))):
            parts = submission.split_dirichlet(np.zeros(m, np.int64), clients, 1e-3, seed, least)
            assert is_split(parts, m, clients, least)
    taken = []
    for seed in seeds_from(rng, 30):
        parts = submission.split_dirichlet(np.full(400, 9), 8, 1e-3, seed, 1)
        taken.append(max(len(part) for part in parts) >= 393)  # one client had (nearly) all 400, and gave away 7
    # One client has over 399.5 of 400 rows with a probability of 0.95: 14 of 30 or fewer come once in 10^13.
    assert close(sum(taken) >= 15, True)
    level = 0
    for seed in seeds_from(rng, 20):
        sizes = sorted(len(part) for part in submission.split_dirichlet(np.full(1000, 9), 40, 0.3, seed, 15))
        level += sizes[-1] - sizes[-2] <= 1
    # The largest two end equal, or 1 apart, in 99% of all draws (in 2% where others give): 14 of 20 once in 10^8.
    assert close(level >= 15, True)
    default = submission.split_dirichlet(np.zeros(50, np.int64), 10, 1e-3, 1)
    assert is_split(default, 50, 10, 1) and close(min(map(len, default)), 1)


@pytest.mark.exercise("split_dirichlet")
def test_labels_of_every_kind(submission, rng):
    """Labels of every integer kind, any values, in any order; int64 comes back, ascending, also in empty parts."""
    for case in SPLIT.cases(rng):
        _, clients, _, _, least = case.exact
        assert is_split(submission.split_dirichlet(*case), 60, clients, least, typed=True)
    empty = submission.split_dirichlet(np.zeros(0, np.int64), 3, 1.0, 0, 0)
    assert is_split(empty, 0, 3, 0, typed=True)
    far = np.array([2**62, -(2**63), 5, 2**62, 5] * 40)
    assert is_split(submission.split_dirichlet(far, 4, 0.5, 1), 200, 4, 1, typed=True)
    many = rng.integers(0, 1200, 3000)
    assert is_split(submission.split_dirichlet(many, 400, 0.1, 2), 3000, 400, 1, typed=True)


@pytest.mark.exercise("split_dirichlet")
def test_too_few_rows_are_refused(submission, rng):
    """ValueError if clients * least is more than the rows, and no error if it is exactly as many."""
    SPLIT.refuses(submission, rng, ValueError, labels=[lambda labels: labels[:9]], clients=[31, 61], least=[13, 60])
    assert is_split(submission.split_dirichlet(np.arange(12), 4, 1e-3, 3, 3), 12, 4, 3)


@pytest.mark.exercise("split_dirichlet")
def test_a_split_depends_on_its_seed_alone(submission, rng):
    """The same seed gives the same parts, in another process, too, and other seeds give other parts."""
    labels = rng.integers(0, 3, 200)

    def split(side, seed):
        return [part.tolist() for part in side.split_dirichlet(labels, 4, 1.0, seed)]

    found = [split(submission, seed) for seed in SEEDS]
    assert close([split(submission, seed) for seed in SEEDS[::-1]], found[::-1])
    with submission.elsewhere() as other:
        assert close([split(other, seed) for seed in SEEDS[:4]], found[:4])
    assert close(len(set(map(str, found))), len(SEEDS))


@pytest.mark.exercise("split_dirichlet", forgeable=True)
def test_split_leaves_no_trace(submission, rng):
    """The labels are left alone, parts are new arrays, and the global random states are neither used nor changed."""
    then = [{}, {"least": 0}, {"clients": 1}, {"alpha": 1e-3}]
    assert SPLIT.leaves_no_trace(submission, rng, then=then, least=[13])
    assert random_states_kept(submission, "split_dirichlet", np.arange(40) % 3, 4, 0.3, 7)


# --------------------------------------------------------------------------------------------------------- fedavg


def models(rng, n, shapes=((4, 3), (5,), ()), dtype=np.float64):
    """Updates of n clients with one array of each shape."""
    return [{f"p{j}": rng.standard_normal(shape).astype(dtype) for j, shape in enumerate(shapes)} for _ in range(n)]


def averaged(updates, counts):
    """The definition in float64, key by key; nothing of a client with count 0."""
    total = sum(counts)
    found = {}
    for key in updates[0]:
        terms = [c * np.asarray(u[key], np.float64) for u, c in zip(updates, counts, strict=True) if c]
        found[key] = np.asarray(np.sum(terms, axis=0) / total)
    return found


@pytest.mark.exercise("fedavg", weight=3, core=True, hint=2)
def test_weights_are_rows(submission, rng):
    """Each key is the mean over the clients, weighted by their numbers of rows."""
    for n in (1, 2, 7, 300):
        updates, counts = models(rng, n), rng.integers(1, 50, n).tolist()
        assert close(submission.fedavg(updates, counts), averaged(updates, counts), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("fedavg", weight=2, hint=2)
def test_an_absent_client_has_no_influence(submission, rng):
    """A client with count 0 has no influence, whatever its arrays hold, also the first one."""
    updates, counts = models(rng, 6), [0, 3, 0, 10**12, 1, 0]
    for absent in (0, 2, 5):
        for array in updates[absent].values():
            array[...] = [np.nan, np.inf, 1e300][absent % 3]
    assert close(submission.fedavg(updates, counts), averaged(updates, counts), rtol=1e-12, atol=1e-12)


@pytest.mark.exercise("fedavg", weight=2, hint=3)
def test_dtypes_are_kept(submission, rng):
    """Each dtype comes back; means of integers, negative ones, too, are rounded to the nearest; 0-d arrays stay so."""
    counts = [3, 4, 0, 6]  # of 13: with integers no mean lies at a half
    for dtype in (np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint64, np.float32, np.float64):
        whole = np.dtype(dtype).kind in "iu"
        low = max(-(2**31), int(np.iinfo(dtype).min)) if whole else 0
        high = min(2**31, int(np.iinfo(dtype).max)) if whole else 1
        updates = []
        for _ in counts:
            numbers = rng.integers(low, high, (4, 2), endpoint=True) if whole else rng.standard_normal((4, 2))
            updates.append({"a": numbers[:3].astype(dtype), "step": np.asarray(numbers[3, 0]).astype(dtype)})
        expected = averaged(updates, counts)
        if whole:
            expected = {key: np.rint(value) for key, value in expected.items()}
        expected = {key: np.asarray(value).astype(dtype) for key, value in expected.items()}
        got = submission.fedavg(updates, counts)
        # Each product and the mean may be rounded once, of numbers below 6.
        assert close(got, expected, atol=0 if whole else 12 * np.finfo(dtype).eps, typed=True)
    steps = [{"n": np.array(2**31 - k)} for k in range(3)]
    assert close(submission.fedavg(steps, [1, 1, 1])["n"], np.array(2**31 - 1), typed=True)
    assert close(
        submission.fedavg([{"n": np.array([-7, 5])}, {"n": np.array([-8, 6])}], [1, 2])["n"], np.array([-8, 6])
    )


@pytest.mark.exercise("fedavg", weight=1, hint=2)
def test_sums_are_taken_in_float64(submission, rng):
    """Means of float32 are right to their last digits, also over a thousand clients."""
    updates = [{"w": (1000 + rng.standard_normal(6)).astype(np.float32)} for _ in range(1000)]
    counts = rng.integers(1, 9, 1000).tolist()
    expected = averaged(updates, counts)["w"]
    # Products of float32 are off by 2^-24 * 1004 in all, the mean by half a unit, 2^-15: together below 1e-4.
    assert close(submission.fedavg(updates, counts)["w"].astype(float), expected, atol=1e-4)


@pytest.mark.exercise("fedavg", weight=1, hint=1)
def test_keys_and_arrays_of_every_form(submission, rng):
    """Keys come in the order of the first update, in whatever order others have them; arrays of any layout and size."""
    for form in floats(4, 3, scales=(1e-150, 1e150)).forms.values():
        updates = [{"w": form(rng), "v": form(rng)} for _ in range(3)]
        updates[1] = dict(reversed(updates[1].items()))
        expected, eps = averaged(updates, [1, 2, 4]), float(np.finfo(updates[0]["w"].dtype).eps)
        got = submission.fedavg(updates, [1, 2, 4])
        assert close(list(got), ["w", "v"])
        for key in got:
            size = float(np.abs([update[key] for update in updates]).max())
            assert close(got[key], expected[key].astype(updates[0][key].dtype), atol=10 * eps * size, typed=True)
    empty = submission.fedavg([{"w": np.zeros((0, 3)), "": np.ones(1)}], [5])
    assert close(empty, {"w": np.zeros((0, 3)), "": np.ones(1)})
    assert close(submission.fedavg([{}, {}], [1, 1]), {})


@pytest.mark.exercise("fedavg")
def test_bad_federations_are_refused(submission, rng):
    """ValueError for no update, for counts that are all 0, too many or too few, and for other keys."""
    updates = models(rng, 3)
    other = [*updates[:2], {"p0": updates[2]["p0"], "p1": updates[2]["p1"]}]
    more = [*updates[:2], updates[2] | {"extra": np.zeros(1)}]
    renamed = [*updates[:2], {"q" + key[1:]: array for key, array in updates[2].items()}]
    bad = [([], []), (updates, [0, 0, 0]), (updates, [1, 2]), (updates, [1, 2, 3, 4]), ([], [1]), (updates, [])]
    for case in [*bad, *((wrong, [1, 2, 3]) for wrong in (other, more, renamed))]:
        with raises_student(ValueError):
            submission.fedavg(*case)
    assert close(submission.fedavg(updates, [0, 0, 1]), updates[2], rtol=1e-15)


@student_side
def over_reused_arrays(seed, clients, size):
    """The mean of models that come in the same array, drawn anew for each client."""
    rng = np.random.default_rng(seed)
    model = {"w": np.zeros(size, np.float32), "n": np.array(0)}

    def one_by_one():
        for number in range(clients):
            model["w"][...] = rng.integers(-8, 9, size)
            model["n"][...] = number
            yield model

    return student.fedavg(one_by_one(), list(range(1, clients + 1)))


@pytest.mark.exercise("fedavg", weight=6, hint=2, memory_mb=32)
def test_a_hundred_models_one_at_a_time(submission, rng):
    """A hundred models of 2 MB come one after the other, in the same arrays, and only one fits into memory."""
    seed, clients, size = int(rng.integers(2**31)), 100, 500_000
    got = submission.run(over_reused_arrays, seed, clients, size)
    draws, expected = np.random.default_rng(seed), np.zeros(size)
    for number in range(clients):
        expected += (number + 1) * draws.integers(-8, 9, size)
    assert close(got["w"], (expected / 5050).astype(np.float32), atol=1e-6)
    assert close(got["n"], np.array(66))  # sum of (k + 1) k over 5050 is 66


@pytest.mark.exercise("fedavg", forgeable=True)
def test_fedavg_leaves_no_trace(submission, rng):
    """No update is changed, and the result holds new arrays, also for one client."""
    contract = Contract(
        "fedavg", updates=replace(one_of(0), plain=lambda rng: models(rng, 3)), counts=one_of([2, 3, 4], [1, 0, 0])
    )
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"counts": [1, 0, 0]}], counts=[[1, 2]])
    alone = replace(one_of(0), plain=lambda rng: models(rng, 1))
    assert Contract("fedavg", updates=alone, counts=one_of([3])).leaves_no_trace(submission, rng)


# --------------------------------------------------------------------------------------------------- local_update


def bowl(rng, d, low=0.2, high=2.0):
    """A symmetric positive definite matrix with eigenvalues between these, and a minimum."""
    Q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return (Q * np.geomspace(low, high, d)) @ Q.T, rng.standard_normal(d)


def local_end(A, b, theta, steps, lr, mu=0.0, shift=0.0):
    """Where `steps` local steps end, in closed form: towards y* with (A + mu I) y* = A b + mu theta - shift."""
    M = A + mu * np.eye(len(b))
    rest = np.linalg.solve(M, A @ b + mu * theta - shift)
    values, vectors = np.linalg.eigh(M)
    return rest + (vectors * (1 - lr * values) ** steps) @ (vectors.T @ (theta - rest))


@pytest.mark.exercise("local_update", weight=3, core=True, hint=3)
def test_steps_along_the_gradient(submission, rng):
    """Each of the steps begins where the last one ended: on a quadratic, the end is known in closed form."""
    for d, steps in [(3, 1), (5, 2), (4, 25), (1, 300), (6, 0)]:
        A, b = bowl(rng, d)
        theta = rng.standard_normal(d)
        got = submission.local_update(theta, lambda y, A=A, b=b: A @ (y - b), steps, 0.3)
        assert close(got, local_end(A, b, theta, steps, 0.3), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("local_update", weight=2, core=True, hint=1)
def test_the_proximal_term(submission, rng):
    """The proximal term pulls towards the parameters at the beginning of the round, with strength mu."""
    for steps, mu in [(2, 1.0), (30, 0.4), (9, 2.0)]:
        A, b = bowl(rng, 4)
        theta = 3 + rng.standard_normal(4)
        got = submission.local_update(theta, lambda y, A=A, b=b: A @ (y - b), steps, 0.2, mu)
        assert close(got, local_end(A, b, theta, steps, 0.2, mu), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("local_update", weight=2, core=True, hint=3)
def test_the_shift(submission, rng):
    """The shift is added to the gradient in every step, with a proximal term and without one."""
    for steps, mu in [(1, 0.0), (20, 0.0), (20, 0.7)]:
        A, b = bowl(rng, 5)
        theta, shift = rng.standard_normal(5), rng.standard_normal(5)
        got = submission.local_update(theta, lambda y, A=A, b=b: A @ (y - b), steps, 0.25, mu, shift)
        assert close(got, local_end(A, b, theta, steps, 0.25, mu, shift), rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("local_update", weight=2, hint=2)
def test_one_gradient_a_step(submission, rng):
    """grad is called exactly once a step, at theta first and then at each new y; never for steps = 0."""
    for steps in (0, 1, 2, 17, 310):
        A, b = bowl(rng, 3)
        slope = Asked(lambda y, A=A, b=b: A @ (y - b))
        theta = rng.standard_normal(3)
        got = submission.local_update(theta, slope, steps, 0.1)
        assert close(len(slope.calls), steps)
        places = [y for (y,) in slope.calls] + [got]
        for k, place in enumerate(places):
            assert close(place, local_end(A, b, theta, k, 0.1), rtol=1e-9, atol=1e-9, typed=True)


UPDATE = Contract(
    "local_update",
    theta=doubles(6, scales=(2.0**-30, 2.0**30)),
    grad=one_of(np.tanh),
    steps=one_of(4, 0, 1),
    lr=one_of(0.3, 0.001, 2.5),
    mu=one_of(0.6, 0.0, 3.0, default=0.0),
    shift=replace(doubles(6), default=None),
)


@pytest.mark.exercise("local_update", weight=1)
def test_updates_of_every_form(submission, rng):
    """Arrays of every layout and size, every step size, and each default left out: a new array of float64."""
    for case in UPDATE.cases(rng):
        theta, _, steps, lr, mu, shift = case.exact
        y = np.array(theta)
        for _ in range(steps):
            y = y - lr * (np.tanh(y) + mu * (y - theta) + (0.0 if shift is None else shift))
        size = 1 + float(np.abs(y).max())
        assert close(submission.local_update(*case), y, rtol=1e-12, atol=1e-13 * size, typed=True)
    theta = rng.standard_normal(3)
    got = submission.local_update(theta, np.tanh, 3, 0.5, 0.0, None)
    expected = theta
    for _ in range(3):
        expected = expected - 0.5 * np.tanh(expected)
    assert close(got, expected, rtol=1e-12, typed=True)
    long = rng.standard_normal(1500)
    assert close(submission.local_update(long, lambda y: y, 2, 0.5), long / 4, rtol=1e-12, atol=0, typed=True)


@pytest.mark.exercise("local_update")
def test_a_walk_that_diverges(submission):
    """When values become inf or nan, grad is called on, `steps` times in all, and the walk is not stopped."""
    slope = Asked(lambda y: y * np.nan if len(slope.calls) > 3 else 1e200 * y)
    got = submission.local_update(np.array([1.0, 2.0]), slope, 9, 1.0)
    assert close(len(slope.calls), 9) and close(bool(np.isnan(np.asarray(got)).all()), True)
    slope.calls.clear()
    submission.local_update(np.array([1.0, 2.0]), slope, 9, 1.0, 0.5, np.ones(2))
    assert close(len(slope.calls), 9)
    still = Asked(lambda y: 0.0 * y)
    assert close(submission.local_update(np.array([1.0, 2.0]), still, 7, 1.0), np.array([1.0, 2.0]))
    assert close(len(still.calls), 7)


@student_side
def seen_by_grad(theta, steps):
    """Whether what grad got was changed later, or shares memory with the result or theta's."""
    kept, copies = [], []

    def grad(y):
        kept.append(y)
        copies.append(y.copy())
        return 0.5 * y

    got = student.local_update(theta, grad, steps, 0.1)
    same = all(np.array_equal(a, b) for a, b in zip(kept, copies))
    return bool(same and not np.shares_memory(got, theta))


@pytest.mark.exercise("local_update", forgeable=True, hint=2)
def test_local_update_leaves_no_trace(submission, rng):
    """theta, the shift and what grad returned are left alone, what grad got is not changed later, y is new."""
    then = [{}, {"steps": 0}, {"shift": None}, {"mu": 0.0}, {"steps": 1}]
    assert UPDATE.leaves_no_trace(submission, rng, then=then)
    assert close(submission.run(seen_by_grad, rng.standard_normal(4), 5), True)


# ------------------------------------------------------------------------------------------------- scaffold_round


def scaffold(theta, control, controls, chosen, grad, steps, lr):
    """The definition, step by step; the new control as the mean of the client's own gradients."""
    ends, after = [], [np.array(old) for old in controls]
    for i in chosen:
        y, total = theta, 0.0
        for _ in range(steps):
            slope = grad(i, y)
            total = total + slope
            y = y - lr * (slope + control - controls[i])
        ends.append(y)
        after[i] = total / steps
    moved = sum(after[i] - controls[i] for i in chosen)
    return np.mean(ends, axis=0), control + moved / len(controls), after


def federation(rng, n, d):
    """Quadratic clients as a gradient grad(i, y), the server's state, and the bowls."""
    bowls = [bowl(rng, d) for _ in range(n)]
    controls = [rng.standard_normal(d) for _ in range(n)]
    state = (rng.standard_normal(d), rng.standard_normal(d), controls)
    return lambda i, y: bowls[i][0] @ (y - bowls[i][1]), state, bowls


@pytest.mark.exercise("scaffold_round", weight=3, core=True, hint=2, depends=("local_update",))
def test_parameters_move_by_the_mean(submission, rng):
    """The parameters move by the mean change of the chosen clients, each of which walks with its shift."""
    for n, chosen, steps, lr in [
        (3, [0, 1, 2], 4, 0.3),
        (6, [4, 1], 7, 0.1),
        (1, [0], 1, 0.5),
        (310, list(range(5, 308)), 1, 0.2),
    ]:
        grad, state, _ = federation(rng, n, 4)
        got = submission.scaffold_round(*state, chosen, grad, steps, lr)[0]
        assert close(got, scaffold(*state, chosen, grad, steps, lr)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("scaffold_round", weight=2, core=True, hint=3, depends=("local_update",))
def test_new_controls(submission, rng):
    """A chosen client's new control is the mean of its own gradients on its way; the others keep theirs."""
    for n, chosen, steps, lr in [
        (3, [0, 1, 2], 4, 0.3),
        (6, [4, 1], 7, 0.1),
        (2, [1], 1, 0.5),
        (40, [39, 0, 7], 3, 0.2),
    ]:
        grad, state, _ = federation(rng, n, 3)
        got = submission.scaffold_round(*state, chosen, grad, steps, lr)[2]
        assert close(got, scaffold(*state, chosen, grad, steps, lr)[2], rtol=1e-9, atol=1e-9)


@pytest.mark.exercise("scaffold_round", weight=2, core=True, hint=1, depends=("local_update",))
def test_the_control_of_the_server(submission, rng):
    """The server's control moves by the changes of the controls, summed over the chosen clients, divided by all N."""
    for n, chosen, steps, lr in [(3, [0, 1, 2], 4, 0.3), (6, [4, 1], 7, 0.1), (9, [8], 2, 0.5)]:
        grad, state, _ = federation(rng, n, 4)
        got = submission.scaffold_round(*state, chosen, grad, steps, lr)[1]
        assert close(got, scaffold(*state, chosen, grad, steps, lr)[1], rtol=1e-9, atol=1e-9)


@student_side
def many_rounds(A, b, chosen, steps, lr):
    """Rounds of SCAFFOLD on quadratics, from zeros: theta after the last one, and the server's control."""
    n, d = b.shape
    state = (np.zeros(d), np.zeros(d), [np.zeros(d) for _ in range(n)])
    for clients in chosen:
        state = student.scaffold_round(*state, clients, lambda i, y: A[i] @ (y - b[i]), steps, lr)
    return state[0], state[1]


@pytest.mark.exercise("scaffold_round", weight=5, hint=1, depends=("local_update",))
def test_it_ends_at_the_optimum(submission, rng):
    """On uneven quadratics it reaches the optimum of the mean loss to 1e-10, also with some clients in each round."""
    for n, taking, rounds in [(4, 4, 500), (8, 4, 900)]:
        bowls = [bowl(rng, 5, 0.5, 2.0) for _ in range(n)]
        A, b = np.array([A for A, _ in bowls]), np.array([b for _, b in bowls])
        best = np.linalg.solve(A.sum(axis=0), np.einsum("ijk,ik->j", A, b))
        chosen = [rng.choice(n, taking, replace=False).tolist() for _ in range(rounds)]
        theta, control = submission.run(many_rounds, A, b, chosen, 10, 0.03)
        assert close(theta, best, atol=1e-10) and close(control, np.zeros(5), atol=1e-9)
        # What federated averaging would give: the point that a round without the controls stands still at.
        P = [np.eye(5) - np.linalg.matrix_power(np.eye(5) - 0.03 * Ai, 10) for Ai in A]
        other = np.linalg.solve(np.sum(P, axis=0), np.einsum("ijk,ik->j", np.array(P), b))
        assert close(bool(np.linalg.norm(other - best) > 1e-6), True)


@pytest.mark.exercise("scaffold_round", weight=1, hint=2)
def test_gradients_are_asked_of_the_chosen(submission, rng):
    """grad is called exactly `steps` times for each chosen client, for no other one, and first at theta."""
    for n, chosen, steps in [(4, [2, 0], 5), (1, [0], 3), (200, [150, 3, 77], 2), (3, [1, 2, 0], 120)]:
        grad, state, _ = federation(rng, n, 2)
        slope = Asked(grad)
        submission.scaffold_round(*state, chosen, slope, steps, 0.01)
        asked = [int(i) for i, _ in slope.calls]
        assert close(sorted(asked), sorted(chosen * steps))
        for i in chosen:
            assert close(next(y for j, y in slope.calls if j == i), state[0], rtol=1e-12)


SCAFFOLD = Contract(
    "scaffold_round",
    theta=doubles(3, scales=(2.0**-30, 2.0**30)),
    control=doubles(3),
    controls=Argument(
        lambda rng: [row.copy() for row in rng.standard_normal((4, 3))],
        {
            "read-only": lambda rng: [frozen(row) for row in rng.standard_normal((4, 3))],
            "in steps": lambda rng: [stepped(row) for row in rng.standard_normal((4, 3))],
        },
        frozenset(),
    ),
    chosen=one_of([2, 0], [1], [3, 2, 1, 0]),
    grad=one_of(lambda i, y: (i + 1) * y),
    steps=one_of(3, 1),
    lr=one_of(0.1, 0.001),
)


@pytest.mark.exercise("scaffold_round")
def test_rounds_of_every_form(submission, rng):
    """Arrays of every layout and size; new arrays of float64 come back."""
    for case in SCAFFOLD.cases(rng):
        expected = scaffold(*case.exact)
        size = 1 + float(np.abs(case.exact[0]).max())
        got = submission.scaffold_round(*case)
        for mine, theirs in zip(got if len(got) == 3 else [None] * 3, expected, strict=True):
            # A control is a difference of parameters over steps * lr >= 1e-3.
            assert close(mine, theirs, rtol=1e-12, atol=1e-11 * size, typed=True)


@pytest.mark.exercise("scaffold_round", forgeable=True, hint=3)
def test_scaffold_leaves_no_trace(submission, rng):
    """The state before the round is left alone, and that after it consists of new arrays."""
    assert SCAFFOLD.leaves_no_trace(submission, rng, then=[{}, {"chosen": [1]}, {"steps": 1}])
    assert close(submission.run(shared_controls, rng.standard_normal((4, 3))), "")


@student_side
def shared_controls(rows):
    """What is shared between the arrays of the old and the new state, or changed in what grad got, in words."""
    theta, control, controls = rows[0].copy(), rows[1].copy(), [row.copy() for row in rows]
    given, copies = [], []

    def grad(i, y):
        given.append(y)
        copies.append(y.copy())
        return i * y

    new = student.scaffold_round(theta, control, controls, [1, 3], grad, 3, 0.1)
    before, after = [theta, control, *controls], [new[0], new[1], *new[2]]
    if any(np.shares_memory(a, b) for a in before for b in after):
        return "a new array shares memory with an old one"
    if any(np.shares_memory(a, b) for k, a in enumerate(after) for b in after[:k]):
        return "two of the new arrays share memory"
    return "" if all(map(np.array_equal, given, copies)) else "what grad got is changed after the call"


# ---------------------------------------------------------------------------------------------------- server_step

STEP = Contract(
    "server_step",
    theta=doubles(7, scales=(2.0**-30, 2.0**30)),
    delta=doubles(7, scales=(2.0**-30, 2.0**30)),
    state={},
    kind=one_of("adam", "sgd", "momentum"),
    lr=one_of(0.3, 1.0, 20.0),
)


def stepped_by_torch(theta, deltas, kind, lr):
    """The same by torch's optimisers with the gradient -delta; for Adam, its bias correction is taken back."""
    parameter = torch.tensor(theta.copy(), requires_grad=True)
    if kind == "adam":
        optimiser = torch.optim.Adam([parameter], lr=lr, betas=(0.9, 0.99))
    else:
        optimiser = torch.optim.SGD([parameter], lr=lr, momentum=0.9 if kind == "momentum" else 0.0)
    found = []
    for k, delta in enumerate(deltas, start=1):
        if kind == "adam":
            root = math.sqrt(1 - 0.99**k)
            optimiser.param_groups[0].update(lr=lr * (1 - 0.9**k) / root, eps=1e-3 / root)
        parameter.grad = torch.tensor(-delta)
        optimiser.step()
        found.append(parameter.detach().numpy().copy())
    return found


def stepped_by(submission, theta, deltas, kind, lr):
    state, found = {}, []
    for delta in deltas:
        theta, state = submission.server_step(theta, delta, state, kind, lr)
        found.append(theta)
    return found


def same_walk(submission, rng, kind, rounds, sizes=(1.0, 1e-3, 0.0)):
    for size in sizes:
        theta, deltas = rng.standard_normal(6), size * rng.standard_normal((rounds, 6))
        deltas[:, 2] = 0.0
        expected = stepped_by_torch(theta, deltas, kind, 0.7)
        comparison = close(stepped_by(submission, theta, deltas, kind, 0.7), expected, rtol=1e-9, atol=1e-9)
        if not comparison:
            return comparison
    return comparison


@pytest.mark.exercise("server_step", weight=2, core=True, hint=1)
def test_the_plain_step(submission, rng):
    """ "sgd" goes lr * delta in the direction of delta, and with lr = 1 it is federated averaging."""
    assert same_walk(submission, rng, "sgd", 4)
    theta, delta = rng.standard_normal((2, 5))
    assert close(submission.server_step(theta, delta, {}, "sgd", 1.0)[0], theta + delta, rtol=1e-12)


@pytest.mark.exercise("server_step", weight=2, core=True, hint=2)
def test_the_step_with_momentum(submission, rng):
    """ "momentum" keeps g = 0.9 g + delta from round to round, and goes lr * g."""
    assert same_walk(submission, rng, "momentum", 12)


@pytest.mark.exercise("server_step", weight=3, core=True, hint=3)
def test_the_step_of_adam(submission, rng):
    """ "adam" goes lr * g / (sqrt(h) + 1e-3), with g and h from zeros, and without a bias correction."""
    assert same_walk(submission, rng, "adam", 12)


@pytest.mark.exercise("server_step", weight=1)
def test_three_hundred_rounds(submission, rng):
    """All kinds go on as they should for hundreds of rounds, with changes of every size and some that are 0."""
    for kind in ("sgd", "momentum", "adam"):
        assert same_walk(submission, rng, kind, 320, sizes=(1e-6, 1e3))


@pytest.mark.exercise("server_step", weight=1)
def test_steps_of_every_form(submission, rng):
    """Arrays of every layout and size, every rate; a new array of float64 and a dictionary come back."""
    for case in STEP.cases(rng):
        theta, delta, _, kind, lr = case.exact
        got = submission.server_step(*case)
        expected = stepped_by_torch(np.array(theta), [np.array(delta)], kind, lr)[0]
        size = float(np.abs(expected).max()) + float(np.abs(theta).max())
        assert close(got[0], expected, rtol=1e-12, atol=1e-13 * size, typed=True)
        assert close(isinstance(got[1], dict), True)
    theta, delta = rng.standard_normal((2, 1500))
    expected = stepped_by_torch(theta, [delta], "adam", 0.1)[0]
    assert close(submission.server_step(theta, delta, {}, "adam", 0.1)[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.exercise("server_step")
def test_other_kinds_are_refused(submission, rng):
    """ValueError for any kind but the three, in exactly this spelling."""
    STEP.refuses(submission, rng, ValueError, kind=["SGD", "Adam", " sgd", "momentum ", "adam2", "", "nesterov"])


@student_side
def repeated(theta, deltas, kind):
    """The parameters after a second round that is done three times from one state, and after a third round of each."""
    one, state = student.server_step(theta, deltas[0], {}, kind, 0.5)
    again = [student.server_step(one, deltas[1], state, kind, 0.5) for _ in range(3)]
    return [(two, student.server_step(two, deltas[2], later, kind, 0.5)[0]) for two, later in again]


@pytest.mark.exercise("server_step", weight=2, hint=3)
def test_a_round_can_be_done_again(submission, rng):
    """The state that is passed in is not changed: the same call gives the same again, and another way is possible."""
    for kind in ("momentum", "adam"):
        theta, deltas = rng.standard_normal(4), rng.standard_normal((3, 4))
        expected = stepped_by_torch(theta, deltas, kind, 0.5)
        for two, three in submission.run(repeated, theta, deltas, kind):
            assert close([two, three], expected[1:], rtol=1e-9, atol=1e-12)


@student_side
def state_kept(theta, deltas, kind):
    """What a second round leaves behind in the state of the first, in words, "" where nothing."""
    one, state = student.server_step(theta, deltas[0], {}, kind, 0.5)
    arrays = {key: np.array(value) for key, value in state.items()}
    two, later = student.server_step(one, deltas[1], state, kind, 0.5)
    if state.keys() != arrays.keys() or not all(np.array_equal(state[key], arrays[key]) for key in arrays):
        return "the state that was passed in is changed"
    old = [value for value in state.values() if isinstance(value, np.ndarray)]
    new = [two, *(value for value in later.values() if isinstance(value, np.ndarray))]
    if any(np.shares_memory(a, b) for a in [*old, theta, one, *deltas] for b in new):
        return "a new array shares memory with an old one"
    return ""


@pytest.mark.exercise("server_step", forgeable=True, hint=3)
def test_server_step_leaves_no_trace(submission, rng):
    """Parameters, changes and the old state are left alone, and new arrays come back."""
    assert STEP.leaves_no_trace(submission, rng, then=[{"kind": kind} for kind in ("sgd", "momentum", "adam")])
    for kind in ("sgd", "momentum", "adam"):
        assert close(submission.run(state_kept, rng.standard_normal(4), list(rng.standard_normal((2, 4))), kind), "")


# ------------------------------------------------------------------------------------------------ quantize_update


@student_side
def many_codes(x, levels, seeds):
    """The codes of x under each seed: an array (seeds, d) of integers."""
    return np.array([student.quantize_update(x, levels, seed)[0] for seed in seeds]).astype(np.int64)


def coin_sums(codes, level):
    """Whether the codes of each entry are floor(level) or one more, with the mean `level`, by exact binomials."""
    low = np.floor(level)
    ups = codes - low
    if codes.shape[1:] != level.shape or not np.isin(ups, (0, 1)).all():
        return close(False, True)
    counts, n = ups.sum(axis=0), len(codes)
    bounds = scipy.stats.binom.ppf([[TINY / 50], [1 - TINY / 50]], n, np.atleast_1d(level - low))
    return close(counts, bounds.mean(axis=0), atol=(bounds[1] - bounds[0]) / 2)


@pytest.mark.exercise("quantize_update", weight=3, core=True, hint=1)
def test_rounding_has_no_bias(submission, rng):
    """Each code is rounded up or down, with the probabilities that make its mean right."""
    for d, levels in [(5, 3), (30, 1), (12, 20), (8, 127)]:
        x = rng.standard_normal(d)
        level = levels * np.abs(x) / np.linalg.norm(x)
        codes = np.asarray(submission.run(many_codes, x, levels, seeds_from(rng, 700)))
        assert close(bool(np.all(codes * np.sign(x) >= 0)), True)
        assert coin_sums(np.abs(codes), level)


@pytest.mark.exercise("quantize_update", weight=2, core=True, hint=2)
def test_the_norm_and_whole_levels(submission, rng):
    """The norm is Euclidean, and where a level is a whole number nothing is random: no code is beyond `levels`."""
    for x, levels, codes in [
        ([3.0, -4.0, 0.0], 100, [60, -80, 0]),
        ([0.0, 0.0, -2.0], 127, [0, 0, -127]),
        ([8.0], 1, [1]),
        ([1.0, -1.0, 1.0, 1.0], 2, [1, -1, 1, 1]),
    ]:
        for seed in range(5):
            got = submission.quantize_update(np.array(x), levels, seed)
            assert close(got[1], float(np.linalg.norm(x)), rtol=1e-12)
            assert close(np.asarray(got[0]).astype(float), codes, atol=1e-9)


@pytest.mark.exercise("quantize_update", weight=1, core=True, hint=3)
def test_zeros(submission):
    """An update of zeros has zero codes and the norm 0."""
    for d in (1, 7):
        codes, norm = submission.quantize_update(np.zeros(d), 5, 3)
        assert close(np.asarray(codes).astype(float), np.zeros(d)) and close(float(norm), 0.0)


@pytest.mark.exercise("quantize_update", weight=2, hint=1)
def test_entries_are_rounded_independently(submission, rng):
    """Whether one entry is rounded up says nothing about another one, nor about the next seed."""
    x = np.append(rng.choice([-1.5, 1.5], 8), math.sqrt(64 - 8 * 2.25))  # norm 8: with levels = 8, eight are at 1.5
    codes = np.abs(np.asarray(submission.run(many_codes, x, 8, seeds_from(rng, 1200))))
    up = codes[:, :8] - 1
    assert close(bool(np.isin(up, (0, 1)).all()), True)
    for a, b in [(0, 1), (1, 2), (0, 7), (2, 5), (3, 7), (6, 7)]:
        assert evenly(2 * up[:, a] + up[:, b], 4)
        assert evenly(2 * up[:-1, a][::2] + up[1:, b][::2], 4)
    assert evenly(up[:, ::2] @ [1, 2, 4, 8], 16)
    assert evenly(2 * up[0:-1:2, 3] + up[1::2, 3], 4)


@pytest.mark.exercise("quantize_update", weight=3, hint=1)
def test_variance_keeps_its_bound(submission, rng):
    """The squared error of long updates is the smallest that rounding to neighbours without a bias can have."""
    for d, levels in [(20_000, 5), (20_000, 127), (50_000, 1)]:
        x = rng.standard_normal(d)
        got = submission.quantize_update(x, levels, int(rng.integers(2**60)))
        norm = float(np.linalg.norm(x))
        level = levels * np.abs(x) / norm
        rest = level - np.floor(level)
        expected = float(np.sum(rest * (1 - rest)))
        error = float(np.sum((np.asarray(got[0]) - np.sign(x) * level) ** 2))
        # A squared error is r^2 or (1 - r)^2, with variance r (1 - r) (1 - 2r)^2, and at most 1: Bernstein's bound.
        variance = float(np.sum(rest * (1 - rest) * (1 - 2 * rest) ** 2))
        log = -math.log(TINY)
        assert close(error, expected, atol=log / 3 + math.sqrt(log**2 / 9 + 2 * variance * log))
        assert close(bool(expected <= min(d / 4, levels * math.sqrt(d))), True)
    # Tiny entries beside a large one: each is rounded up with a probability of 3e-4, and not never.
    x = np.append(1.0, np.full(100_000, 3e-4))
    codes, norm = submission.quantize_update(x, 1, int(rng.integers(2**60)))
    low, high = scipy.stats.binom.ppf([TINY, 1 - TINY], 100_000, 3e-4 / np.linalg.norm(x))
    assert close(float(np.sum(np.asarray(codes)[1:], dtype=float)), (low + high) / 2, atol=(high - low) / 2)


QUANTIZE = Contract(
    "quantize_update",
    x=floats(9, scales=(1e-29, 1e29)),
    levels=one_of(100, 1, 127),
    seed=one_of(4, *SEEDS),
)


@pytest.mark.exercise("quantize_update", weight=2, hint=2)
def test_updates_of_every_kind(submission, rng):
    """float64 and float32 of every layout and size: int8 codes next to the exact level, and a Python float."""
    for case in QUANTIZE.cases(rng):
        x, levels, _ = case.exact
        codes, norm = submission.quantize_update(*case)
        size = float(np.linalg.norm(x / np.abs(x).max()) * np.abs(x).max()) if x.any() else 0.0
        assert close(norm, size, rtol=1e-12, typed=True) and is_array(codes, (9,), np.int8)
        exact = levels * x / size if size else x
        assert close(codes.astype(float), exact, atol=1 + 1e-9)
        assert close(bool((np.abs(codes.astype(int)) <= levels).all()), True)
        assert close(bool((codes[x == 0] == 0).all() and (codes * np.sign(x) >= 0).all()), True)
    single = (3e-29 * np.arange(1, 5)).astype(np.float32)
    assert close(submission.quantize_update(single, 1, 0)[1], float(np.linalg.norm(single.astype(float))), rtol=1e-12)


@pytest.mark.exercise("quantize_update")
def test_codes_depend_on_the_seed_alone(submission, rng):
    """The same seed gives the same codes, in another process, too; other seeds, neighbours as well, unrelated ones."""
    x = rng.standard_normal(300)
    found = [np.asarray(submission.quantize_update(x, 1, seed)[0]) for seed in SEEDS]
    assert close([np.asarray(submission.quantize_update(x, 1, seed)[0]) for seed in SEEDS[::-1]], found[::-1])
    with submission.elsewhere() as other:
        assert close([np.asarray(other.quantize_update(x, 1, seed)[0]) for seed in SEEDS[:3]], found[:3])
    assert close(len({codes.tobytes() for codes in found}), len(SEEDS))
    # Each level is 64/128, a fair coin: shifted copies of the codes agree in half of the places.
    long = np.asarray(submission.quantize_update(np.ones(2**14), 64, int(rng.integers(2**60)))[0])
    for lag in (1, 2, 4, 10, 16, 100, 128, 256, 512, 624, 1000, 1024, 2048, 4096, 8192, 10_000):
        same, places = int(np.sum(long[lag:] == long[:-lag])), len(long) - lag
        low, high = scipy.stats.binom.ppf([1e-10, 1 - 1e-10], places, 0.5)
        assert close(float(same), (low + high) / 2, atol=(high - low) / 2)
    flat = np.ones(256)  # each level is 8/16: a fair coin
    coins = np.abs(np.asarray(submission.run(many_codes, flat, 8, seeds_from(rng, 12))))
    for one, next_one in itertools.pairwise(coins):
        for lag in range(-8, 9):  # a shifted copy has no disagreement; a fair one 110 of 240, give or take 8
            same = int(np.sum(one[8:248] == next_one[8 + lag : 248 + lag]))
            low, high = scipy.stats.binom.ppf([1e-10, 1 - 1e-10], 240, 0.5)
            assert close(float(same), 120.0, atol=(high - low) / 2)


@pytest.mark.exercise("quantize_update", forgeable=True)
def test_quantize_leaves_no_trace(submission, rng):
    """The update is left alone, codes are a new array, and the global random states are neither used nor changed."""
    assert QUANTIZE.leaves_no_trace(submission, rng, then=[{}, {"x": lambda x: 0 * x}, {"levels": 127}])
    assert random_states_kept(submission, "quantize_update", np.arange(40.0), 4, 7)


# --------------------------------------------------------------------------------------------------- share_secret


def polynomial(shares):
    """The coefficients, lowest first, of the polynomial of degree below len(shares) through these points."""
    places = list(shares)
    total = [0] * len(places)
    for i in places:
        basis, below = [1], 1
        for j in places:
            if j != i:
                basis = [(a - j * b) % PRIME for a, b in zip([0, *basis], [*basis, 0], strict=True)]
                below = below * (i - j) % PRIME
        factor = shares[i] * pow(below, -1, PRIME) % PRIME
        total = [(a + factor * b) % PRIME for a, b in zip(total, basis, strict=True)]
    return total


def are_shares(got, ids):
    """Whether this is a dictionary of Python integers below PRIME with these keys in their order."""
    good = isinstance(got, dict) and list(got) == list(ids)
    return close(good and all(type(v) is int and 0 <= v < PRIME for v in got.values()), True)


def secrets_of(rng):
    return [0, 1, PRIME - 1, 2**60 + 7, int(rng.integers(PRIME))]


@pytest.mark.exercise("share_secret", weight=3, core=True, hint=2)
def test_any_threshold_shares_recover(submission, rng):
    """Any `threshold` shares, and any number above, give the secret back."""
    for secret, (n, t) in itertools.product(secrets_of(rng), [(1, 1), (4, 2), (5, 5), (6, 3), (5, 1)]):
        ids = rng.choice(np.arange(1, 60), n, replace=False).tolist()
        shares = submission.share_secret(secret, ids, t, int(rng.integers(2**60)))
        assert are_shares(shares, ids)
        for count in (t, n):
            some = {i: shares[i] for i in rng.permutation(ids)[:count].tolist()}
            assert close(polynomial(some)[0], secret)  # by the grader's own arithmetic
            assert close(submission.recover_secret(some), secret, typed=True)


@pytest.mark.exercise("share_secret", weight=3, core=True, hint=2)
def test_fewer_shares_fit_every_secret(submission, rng):
    """The degree is threshold - 1: with one share less, the polynomial does not give the secret."""
    for n, t in [(2, 2), (5, 3), (9, 6), (30, 17)]:
        secret, ids = int(rng.integers(PRIME)), list(range(1, n + 1))
        shares = submission.share_secret(secret, ids, t, int(rng.integers(2**60)))
        found = polynomial({i: shares[i] for i in rng.permutation(ids)[:t].tolist()})
        assert close(found[0], secret)
        if t < n:  # one more point changes nothing: the degree is not above t - 1
            assert close(
                polynomial({i: shares[i] for i in ids[: t + 1]}), [*polynomial({i: shares[i] for i in ids[:t]}), 0]
            )
        assert close(found[-1] != 0, True)  # by chance once in 2^61
        fewer = submission.recover_secret({i: shares[i] for i in ids[: t - 1]})
        assert close(fewer != secret, True)


@pytest.mark.exercise("share_secret", weight=2, core=True, hint=3)
def test_recovery_is_exact(submission, rng):
    """recover_secret is exact arithmetic modulo PRIME, for shares made here, with far apart ids and many of them."""
    for t, high in [(1, 5), (2, 9), (3, PRIME), (40, 500), (120, PRIME)]:
        coefficients = [int(c) for c in rng.integers(PRIME, size=t)]
        ids = {int(i) for i in rng.integers(1, high, 4 * t)} if high > 5 * t else set(range(1, t + 1))
        shares = {i: sum(c * pow(i, k, PRIME) for k, c in enumerate(coefficients)) % PRIME for i in list(ids)[:t]}
        if len(shares) == t:
            assert close(submission.recover_secret(shares), coefficients[0], typed=True)


@pytest.mark.exercise("share_secret", weight=3, hint=2)
def test_coefficients_are_uniform(submission, rng):
    """Each random coefficient is uniform from 0 to PRIME - 1, and independent of the others and of the secret."""
    found = []
    for number in range(500):
        secret = (0, PRIME - 1)[number % 2]
        shares = submission.share_secret(secret, [1, 2, 3], 3, int(rng.integers(2**62)))
        found.append(polynomial(shares)[1:])
    for k in range(2):
        assert evenly([c[k] * 16 // PRIME for c in found], 16)
        assert evenly([c[k] % 16 for c in found], 16)
        assert evenly([(c[k] >> 28) % 16 for c in found], 16)
        for parity in (0, 1):
            assert evenly([c[k] * 8 // PRIME for c in found[parity::2]], 8)
    assert evenly([c[0] * 4 // PRIME * 4 + c[1] * 4 // PRIME for c in found], 16)
    assert evenly([(c[0] - c[1]) % PRIME * 16 // PRIME for c in found], 16)


@student_side
def many_shares(seeds):
    """The share of client 1 under each seed, where the secret is 0 and the threshold 2: the random coefficient."""
    return [student.share_secret(0, [1, 2], 2, seed)[1] for seed in seeds]


@pytest.mark.exercise("share_secret", weight=1, hint=2)
def test_shares_depend_on_the_seed_alone(submission, rng):
    """The same seed gives the same shares, in another process, too; no coefficient comes twice under other seeds."""
    ids = [1, 2, 3, 4]
    found = [submission.share_secret(5, ids, 4, seed) for seed in SEEDS]
    assert close([submission.share_secret(5, ids, 4, seed) for seed in SEEDS[::-1]], found[::-1])
    with submission.elsewhere() as other:
        assert close([other.share_secret(5, ids, 4, seed) for seed in SEEDS[:4]], found[:4])
    coefficients = [c for shares in found for c in polynomial(shares)[1:]]
    assert close(len(set(coefficients)), 3 * len(SEEDS))
    ids = list(range(1, 41))
    assert close(len(set(polynomial(submission.share_secret(5, ids, 40, 3))[1:])), 39)
    firsts = submission.run(many_shares, [int(seed) for seed in rng.integers(2**63, size=7000)])
    assert close(len(set(firsts)), 7000)  # with 20 bits of the seed, some 23 would come twice


@pytest.mark.exercise("share_secret", weight=1)
def test_ids_of_every_size(submission, rng):
    """ids in any order, up to PRIME - 1, and two hundred of them; shares come in the order of the ids."""
    for ids in ([9, 3, PRIME - 1, 1], rng.permutation(np.arange(1, 201)).tolist(), [PRIME - 1], [2**60, 2**32, 7]):
        t = (len(ids) + 1) // 2
        shares = submission.share_secret(2**59 + 1, ids, t, 3)
        assert are_shares(shares, ids)
        some = {i: shares[i] for i in ids[-t:]}
        assert close(submission.recover_secret(some), 2**59 + 1, typed=True)
        assert close(submission.recover_secret(shares), 2**59 + 1)


@pytest.mark.exercise("share_secret")
def test_bad_shares_are_refused(submission):
    """ValueError for a threshold of 0 or above the clients, for the id 0, and where no shares are given."""
    for ids, t in [([1, 2], 0), ([1, 2], 3), ([1, 2], -1), ([0, 1], 2), ([5, 7, 0], 1), ([3], 2)]:
        with raises_student(ValueError):
            submission.share_secret(7, ids, t, 1)
    with raises_student(ValueError):
        submission.recover_secret({})
    assert are_shares(submission.share_secret(7, [1, 2], 2, 1), [1, 2])


@pytest.mark.exercise("share_secret", forgeable=True)
def test_sharing_leaves_no_trace(submission, rng):
    """ids and shares are left alone, and the global random states are neither used nor changed."""
    contract = Contract("share_secret", secret=one_of(5), ids=one_of([1, 2, 3]), threshold=one_of(2, 1), seed=one_of(3))
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"threshold": 1}], threshold=[4])
    back = Contract(
        "recover_secret", shares=replace(one_of(0), plain=lambda rng: {1: 8, 4: 29, 2: int(rng.integers(99))})
    )
    assert back.leaves_no_trace(submission, rng)
    assert random_states_kept(submission, "share_secret", 5, [1, 2, 3], 3, 9)


# ---------------------------------------------------------------------------------------------------- mask_update


def a_round(rng, ids, d):
    """Words, own seeds and pair seeds of a round."""
    words = {i: rng.integers(2**32, size=d, dtype=np.uint32) for i in ids}
    own = {i: int(rng.integers(2**64, dtype=np.uint64)) for i in ids}
    pairs = {(i, j): int(rng.integers(2**64, dtype=np.uint64)) for i in ids for j in ids if i < j}
    return words, own, pairs


def partners(pairs, i):
    return {a + b - i: seed for (a, b), seed in pairs.items() if i in (a, b)}


def masked_here(words, own, pairs):
    """The masked vectors by the definition, in integers of 64 bits."""
    totals = {i: x.astype(np.int64) + expand(own[i], len(x)) for i, x in words.items()}
    for (low, high), seed in pairs.items():
        mask = expand(seed, len(next(iter(words.values())))).astype(np.int64)
        for i, sign in ((low, 1), (high, -1)):
            if i in totals:
                totals[i] = totals[i] + sign * mask
    return {i: (total % 2**32).astype(np.uint32) for i, total in totals.items()}


def summed(words, ids):
    return (sum(words[i].astype(np.int64) for i in ids) % 2**32).astype(np.uint32)


def mixed_pairs(pairs, alive):
    return {pair: seed for pair, seed in pairs.items() if (pair[0] in alive) != (pair[1] in alive)}


@pytest.mark.exercise("mask_update", weight=3, core=True, hint=1)
def test_masks_are_added_and_subtracted(submission, rng):
    """A client adds its own mask and those of the pairs in which its id is the lower one, and subtracts the others."""
    for ids, d in [([1, 2, 3], 5), ([4], 3), ([0, 7], 1), ([10, 3, 25, 4, 8], 400)]:
        words, own, pairs = a_round(rng, ids, d)
        expected = masked_here(words, own, pairs)
        for i in ids:
            got = submission.mask_update(words[i], i, own[i], partners(pairs, i))
            assert close(got, expected[i], typed=True)


@pytest.mark.exercise("mask_update", weight=2, core=True, hint=1)
def test_the_sum_of_all(submission, rng):
    """When nobody drops out, the pairs cancel and the own masks come off: the sum is exact."""
    for ids, d in [([1, 2, 3], 5), ([4], 3), (list(range(20, 0, -1)), 50)]:
        words, own, pairs = a_round(rng, ids, d)
        got = submission.unmask_sum(masked_here(words, own, pairs), own, {})
        assert close(got, summed(words, ids), typed=True)


@pytest.mark.exercise("mask_update", weight=4, core=True, hint=2)
def test_any_set_of_dropouts(submission, rng):
    """Whoever drops out, one client, or all but one: the sum of those who sent is exact."""
    ids = [3, 1, 8, 6, 4]
    words, own, pairs = a_round(rng, ids, 40)
    masked = masked_here(words, own, pairs)
    for count in range(1, 6):
        for alive in itertools.combinations(ids, count):
            left, seeds = {i: masked[i] for i in alive}, {i: own[i] for i in reversed(alive)}
            assert close(submission.unmask_sum(left, seeds, mixed_pairs(pairs, alive)), summed(words, alive))


@pytest.mark.exercise("mask_update", weight=2, hint=1)
def test_a_whole_round_of_both(submission, rng):
    """Your masked vectors, unmasked by your other function, give the sum, with clients that drop out."""
    ids = rng.permutation(60).tolist()
    words, own, pairs = a_round(rng, ids, 30)
    alive = [i for i in ids if i % 4]
    masked = {i: submission.mask_update(words[i], i, own[i], partners(pairs, i)) for i in alive}
    got = submission.unmask_sum(masked, {i: own[i] for i in alive}, mixed_pairs(pairs, alive))
    assert close(got, summed(words, alive), typed=True)


@pytest.mark.exercise("mask_update", weight=2, hint=1)
def test_masked_words_look_uniform(submission, rng):
    """Whatever the update is, every byte of its masked words is uniform, and so is the difference of two rounds."""
    d = 20_000
    for x in (np.zeros(d), np.full(d, 2**32 - 1), np.arange(d), rng.integers(0, 9, d)):
        x = x.astype(np.uint32)
        first, second = ([int(seed) for seed in rng.integers(2**63, size=3)] for _ in range(2))
        one = submission.mask_update(x, 2, first[0], {1: first[1], 3: first[2]})
        two = submission.mask_update(x, 2, second[0], {})
        assert is_array(one, (d,), np.uint32) and is_array(two, (d,), np.uint32)
        for words in (one, two, one - two, one - x):
            for shift in (0, 8, 16, 24):
                assert evenly((words >> np.uint32(shift)).astype(np.int64) % 256, 256)


@pytest.mark.exercise("mask_update", weight=1)
def test_words_and_seeds_at_their_ends(submission, rng):
    """One word, the largest words, the smallest and largest seeds and ids, pairs in any order, arrays of any layout."""
    seeds = [0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1]
    for me in (0, 3, 2**40):
        pairs = dict(zip([1, 2**50, 2, 2**33, 4, 7], seeds, strict=True))
        for x in (np.array([2**32 - 1], np.uint32), rng.integers(2**32, size=1200, dtype=np.uint32)):
            for own in seeds:
                total = x.astype(np.int64) + expand(own, len(x))
                for j, seed in pairs.items():
                    total = total + (1 if me < j else -1) * expand(seed, len(x)).astype(np.int64)
                expected = (total % 2**32).astype(np.uint32)
                for form in (np.array, frozen, stepped) if own == 1 else (np.array,):
                    assert close(submission.mask_update(form(x), me, own, pairs), expected, typed=True)
    words, own, pairs = a_round(rng, [5, 2**45, 0], 7)
    masked = masked_here(words, own, pairs)
    for form in (frozen, stepped):
        left = {i: form(masked[i]) for i in (0, 5)}
        got = submission.unmask_sum(left, {5: own[5], 0: own[0]}, mixed_pairs(pairs, (0, 5)))
        assert close(got, summed(words, (0, 5)), typed=True)


@pytest.mark.exercise("mask_update", weight=1)
def test_hundreds_of_partners(submission, rng):
    """A client masks with 320 partners, and the sum of 300 survivors is exact after 20 have dropped out."""
    ids, gone = list(range(321)), list(range(7, 320, 16))
    words, own, _ = a_round(rng, ids[:1], 3)
    seeds = {j: int(rng.integers(2**63)) for j in ids if j != 200}
    expected = masked_here({200: words[0]}, {200: own[0]}, {(min(200, j), max(200, j)): seeds[j] for j in seeds})
    assert close(submission.mask_update(words[0], 200, own[0], seeds), expected[200], typed=True)
    alive = [i for i in ids if i not in gone]
    words = {i: rng.integers(2**32, size=3, dtype=np.uint32) for i in alive}
    own = {i: int(rng.integers(2**63)) for i in alive}
    pairs = {(min(i, j), max(i, j)): int(rng.integers(2**63)) for i in alive for j in gone}
    masked = masked_here(words, own, pairs)
    assert close(submission.unmask_sum(masked, own, pairs), summed(words, alive), typed=True)


@pytest.mark.exercise("mask_update", hint=3)
def test_wrong_seeds_are_refused(submission, rng):
    """ValueError if own seeds are missing or too many, and for pairs with two survivors or with none."""
    words, own, pairs = a_round(rng, [1, 2, 3, 4], 6)
    masked = masked_here(words, own, pairs)
    left = {i: masked[i] for i in (1, 3)}
    good = mixed_pairs(pairs, (1, 3))
    seeds = {1: own[1], 3: own[3]}
    bad = [({1: own[1]}, good), (own, good), ({1: own[1], 2: own[2]}, good), ({}, good)]
    for pair in ((1, 3), (2, 4)):
        one = {pair: pairs[pair]}
        middle = dict([*list(good.items())[:2], *one.items(), *list(good.items())[2:]])
        bad += [(seeds, one), (seeds, one | good), (seeds, middle), (seeds, good | one)]
    for own_seeds, pair_seeds in bad:
        with raises_student(ValueError):
            submission.unmask_sum(left, own_seeds, pair_seeds)
    assert close(submission.unmask_sum(left, seeds, good), summed(words, (1, 3)))


@pytest.mark.exercise("mask_update", weight=6, hint=3, memory_mb=72)
def test_a_hundred_clients_unmasked(submission, rng):
    """The sum of a hundred clients with 10^5 words each is exact, in memory for a few vectors besides them."""
    d, ids = 100_000, list(range(1, 101))
    words, own, pairs = a_round(rng, ids, d)
    gone = rng.choice(ids, 4, replace=False).tolist()
    alive = [i for i in ids if i not in gone]
    mixed = mixed_pairs(pairs, alive)
    masked = {}
    for i in alive:  # the pairs of survivors would cancel
        total = words[i] + expand(own[i], d)
        for j in gone:
            mask = expand(pairs[min(i, j), max(i, j)], d)
            total = total + mask if i < j else total - mask
        masked[i] = total
    got = submission.unmask_sum(masked, {i: own[i] for i in alive}, mixed)
    assert close(got, summed(words, alive), typed=True)


@pytest.mark.exercise("mask_update", weight=5, hint=3, memory_mb=24)
def test_a_hundred_masks_on_one_client(submission, rng):
    """A client with a hundred partners and 10^5 words masks them in memory for a few vectors."""
    x, own = rng.integers(2**32, size=100_000, dtype=np.uint32), int(rng.integers(2**63))
    pairs = {j: int(rng.integers(2**63)) for j in range(101) if j != 40}
    total = x + expand(own, len(x))
    for j, seed in pairs.items():
        total = total + expand(seed, len(x)) if j > 40 else total - expand(seed, len(x))
    assert close(submission.mask_update(x, 40, own, pairs), total, typed=True)


@pytest.mark.exercise("mask_update", forgeable=True)
def test_masking_leaves_no_trace(submission, rng):
    """Words, masked vectors and seeds are left alone, and new arrays come back."""
    words = replace(one_of(0), plain=lambda rng: rng.integers(2**32, size=5, dtype=np.uint32))
    masking = Contract("mask_update", x=words, me=one_of(3), own=one_of(8), pairs=one_of({1: 5, 9: 6}, {}))
    assert masking.leaves_no_trace(submission, rng, then=[{}, {"pairs": {}}])
    vectors = replace(words, plain=lambda rng: {i: words.plain(rng) for i in (1, 3)})
    unmasking = Contract("unmask_sum", masked=vectors, own=one_of({1: 5, 3: 6}), pairs=one_of({(2, 3): 7}, {}))
    bad = [{(1, 3): 7}, {(2, 4): 7}]
    assert unmasking.leaves_no_trace(submission, rng, then=[{}, {"pairs": {}}], pairs=bad, own=[{1: 5}])
    alone = replace(words, plain=lambda rng: {1: words.plain(rng)})
    assert Contract("unmask_sum", masked=alone, own=one_of({1: 5}), pairs=one_of({})).leaves_no_trace(submission, rng)


# ---------------------------------------------------------------------------------------------- shares_to_release


def released(own, key, requests):
    """The rule: for each client, the kind of the first request for it, if shares of it are held."""
    first, answers = {}, []
    for client, kind in requests:
        first.setdefault(client, kind)
        held = client in own and first[client] == kind
        answers.append((own if kind == "own" else key)[client] if held else None)
    return answers


def same_answers(got, expected):
    return close([repr(a) for a in got] if isinstance(got, list) else got, [repr(a) for a in expected])


@pytest.mark.exercise("shares_to_release", weight=3, core=True, hint=1)
def test_never_both_kinds(submission):
    """A client that was asked for by one kind is never answered for by the other kind in the same round."""
    own, key = {4: 40, 7: 70}, {4: 41, 7: 71}
    for first, second in (("key", "own"), ("own", "key")):
        held = own if first == "own" else key
        requests = [(4, first), (7, first), (4, second), (7, second), (4, second)]
        assert same_answers(submission.shares_to_release(own, key, requests), [held[4], held[7], None, None, None])


@pytest.mark.exercise("shares_to_release", weight=2, core=True, hint=2)
def test_the_same_kind_again(submission):
    """The first request is answered, and so is each later one of the same kind, after a refusal as well."""
    own, key = {4: 40, 7: 70}, {4: 41, 7: 71}
    requests = [(7, "own"), (4, "key"), (7, "own"), (7, "key"), (7, "own"), (4, "key"), (4, "own"), (4, "key")]
    assert same_answers(submission.shares_to_release(own, key, requests), [70, 41, 70, None, 70, 41, None, 41])
    assert same_answers(submission.shares_to_release(own, key, []), [])


@pytest.mark.exercise("shares_to_release", weight=1)
def test_unknown_clients_and_zeros(submission):
    """A request for an unknown client is refused, a share that is 0 is a share, and each call is a new round."""
    own, key = {0: 0, 3: 5}, {3: 0, 0: 9}
    requests = [(8, "own"), (0, "own"), (3, "key"), (8, "key"), (0, "key"), (3, "own")]
    for _ in range(2):
        assert same_answers(submission.shares_to_release(own, key, requests), [None, 0, 0, None, None, None])
        assert same_answers(submission.shares_to_release(own, key, [(0, "key"), (3, "own")]), [9, 5])
    assert same_answers(submission.shares_to_release({}, {}, [(1, "own")]), [None])


@pytest.mark.exercise("shares_to_release", weight=2, hint=2)
def test_long_rounds(submission, rng):
    """In a round with a thousand requests each answer follows the rule."""
    for clients in (3, 60, 400):
        own, key = ({c: int(rng.integers(PRIME)) for c in range(clients)} for _ in range(2))
        asked = rng.integers(0, clients + 2, 1000).tolist()
        requests = [(c, ("own", "key")[int(rng.integers(2))]) for c in asked]
        assert same_answers(submission.shares_to_release(own, key, requests), released(own, key, requests))


@pytest.mark.exercise("shares_to_release", forgeable=True)
def test_release_leaves_no_trace(submission, rng):
    """Shares and requests are left alone, and nothing is kept for the next round."""
    shares = one_of({1: 5, 2: 6})
    requests = replace(one_of(0), plain=lambda rng: [(1, ("own", "key")[int(rng.integers(2))]) for _ in range(5)])
    contract = Contract("shares_to_release", own=shares, key=one_of({1: 7, 2: 8}), requests=requests)
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"requests": []}])
