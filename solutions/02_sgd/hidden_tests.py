"""Hidden tests of module 02. A docstring is the sentence that a student reads when the test fails.

Rounding, throughout: an update of size-one numbers is off by a few eps, and the walks below neither grow nor run for
more than some hundred updates, so that 1e-10 is generous for rounding and far below what any single update moves.
"""

import functools
import itertools
import math

import numpy as np
import pytest
import scipy.sparse
import scipy.special
import scipy.stats
import torch

from autograder.judging import (
    SEEDS,
    Argument,
    Asked,
    Contract,
    close,
    floats,
    is_array,
    numbers,
    one_of,
    student_side,
)
from lsml_utils import datasets

WALK = {"rtol": 1e-10, "atol": 1e-10}
SIZES = {
    "short last batch": (10, 4),
    "even": (12, 4),
    "one row": (1, 1),
    "batch larger than m": (5, 8),
    "single rows": (7, 1),
}


def of_one_dtype(contract, rng):
    """The cases in which all arrays have one dtype."""
    return (case for case in contract.cases(rng) if not case.form.endswith(": float32"))


# ---------------------------------------------------------------------------------------------------- minibatches

PAIRS = [*itertools.product([seed for seed in SEEDS if seed < 2**31] + [2**31 - 1], repeat=2)]


def checked(batches):
    """The batches of an answer, after a look at their kind."""
    assert isinstance(batches, list) and all(is_array(rows) for rows in batches)
    assert all(rows.ndim == 1 and rows.dtype.kind in "iu" for rows in batches)
    return batches


def order_of(batches):
    return tuple(np.concatenate(checked(batches)).tolist())


@pytest.mark.exercise("minibatches", weight=4, core=True, hint=3)
@pytest.mark.parametrize("size", [*SIZES.values(), (257, 32), (2000, 600), (3, 2**40), (0, 4), (0, 1)], ids=str)
def test_batches_hold_every_row_once(submission, rng, size):
    """Each row number is in exactly one batch, all batches but the last have batch_size rows, and no batch is empty."""
    m, batch_size = size
    for epoch in (0, 3):
        batches = checked(submission.minibatches(m, batch_size, int(rng.integers(1000)), epoch))
        assert [len(rows) for rows in batches] == [min(batch_size, m - start) for start in range(0, m, batch_size)]
        assert sorted(row for rows in batches for row in rows) == [*range(m)]


@pytest.mark.exercise("minibatches", weight=2, core=True, hint=2)
def test_batches_can_be_repeated(submission, rng):
    """The same seed and epoch give the same batches, whatever was called in between."""
    seed = int(rng.integers(1000))
    first = order_of(submission.minibatches(50, 7, seed, 2))
    submission.minibatches(31, 5, seed + 1)
    submission.minibatches(50, 7, seed, 1)
    assert order_of(submission.minibatches(50, 7, seed, 2)) == first
    assert order_of(submission.minibatches(50, 7, seed)) == order_of(submission.minibatches(50, 7, seed, 0))


@pytest.mark.exercise("minibatches", weight=4, hint=2)  # not core: no visible check can show it
def test_batches_are_the_same_in_another_process(submission, rng):
    """The same seed and epoch give the same batches in another process: whoever goes on tomorrow meets them again."""
    seed = int(rng.integers(1000))
    first = order_of(submission.minibatches(50, 7, seed, 2))
    with submission.elsewhere() as other:
        assert order_of(other.minibatches(50, 7, seed, 2)) == first


@pytest.mark.exercise("minibatches", weight=2, core=True, hint=2)
def test_batches_differ_by_seed_and_by_epoch(submission):
    """Each pair of seed and epoch has an order of its own, and none is the order of the rows."""
    orders = {order_of(submission.minibatches(60, 8, *pair)) for pair in PAIRS}
    assert len(orders) == len(PAIRS)  # two of 60! orders agree by chance with a probability below 1e-77
    assert tuple(range(60)) not in orders


@pytest.mark.exercise("minibatches", weight=3, hint=1)
def test_batches_are_shuffled_rows(submission, rng):
    """Every order of the rows is equally likely: rows are shuffled, not batches of neighbours."""
    base, counts = int(rng.integers(1000)), dict.fromkeys(itertools.permutations(range(4)), 0)
    for seed, epoch in itertools.product(range(40), range(30)):
        order = order_of(submission.minibatches(4, 2, base + seed, epoch))
        assert order in counts
        counts[order] += 1
    # Chi-square of 24 equally likely orders; a right answer fails with a probability of 1e-6.
    statistic = sum((count - 50) ** 2 / 50 for count in counts.values())
    assert statistic <= scipy.stats.chi2.isf(1e-6, 23)


@student_side
def looked_at(m, batch_size, seed):
    """One epoch of very many rows, put together (runs over there)."""
    batches = student.minibatches(m, batch_size, seed, 1)  # noqa: F821
    return len(batches), np.concatenate(batches)


@pytest.mark.exercise("minibatches", core=True, hint=1, seconds=2)
def test_batches_of_very_many_rows(submission, rng):
    """Very many rows are cut into batches in about the time of one shuffle, however small the batches are."""
    # O(m) takes some 0.1 s. What copies or searches the rest of the rows for each batch moves 160 GB.
    m = 200_000
    count, order = submission.run(looked_at, m, 1, int(rng.integers(1000)))
    assert count == m
    assert close(np.bincount(order, minlength=m), np.ones(m))


@student_side
def leaves_the_global_states(seed):
    """Whether the global generators are where they were, and are not asked (runs over there)."""
    import random

    def seeded(number):
        np.random.seed(number), torch.manual_seed(number), random.seed(number)

    def drawn():
        return [np.random.random(), torch.rand(1).item(), random.random()]

    seeded(1)
    expected = drawn()
    seeded(1)
    one = np.concatenate(student.minibatches(40, 6, seed, 1))  # noqa: F821
    kept = drawn() == expected
    seeded(2)
    return bool(kept and np.array_equal(np.concatenate(student.minibatches(40, 6, seed, 1)), one))  # noqa: F821


@pytest.mark.exercise("minibatches", weight=2, forgeable=True, hint=2)
def test_batches_leave_the_global_state(submission, rng):
    """The global random states of NumPy, torch and Python are neither changed nor used."""
    assert submission.run(leaves_the_global_states, int(rng.integers(1000)))


@pytest.mark.exercise("minibatches", forgeable=True, hint=1)
def test_batches_are_new_arrays(submission, rng):
    """Each call returns new arrays."""
    assert Contract("minibatches", m=50, batch_size=7, seed=3, epoch=1).leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------------------------------------------ sgd


@student_side
def pull(theta, rows):
    """A gradient that depends on theta and on how many rows a batch has."""
    return theta * (1.5 / (1 + len(rows)))


@student_side
def falling(k):
    return 0.9 / (1 + k)


def pulled(theta0, lr, m, batch_size, times, steps=None):
    """theta before and after each of so many epochs with `pull`, or so many rounds of `steps` updates."""
    sizes = [min(batch_size, m - start) for start in range(0, m, batch_size)]
    steps = steps or len(sizes)
    shrink = [1 - lr(k) * 1.5 / (1 + sizes[k % len(sizes)]) for k in range(times * steps)]
    return np.outer(np.cumprod([1.0, *shrink])[::steps], theta0)


def walks(name, theta0, lr, **after):
    """A walk of `pull` with batches of 3, 3 and 1 rows; for each count one in which it is large; and one with d = 1."""
    counts = {key: one_of(*values) for key, values in after.items()}
    wide = {"theta0": floats(1100), "m": 260, "lr": lr, "batch_size": 130}
    return (
        Contract(name, grad=pull, theta0=theta0, m=7, lr=lr, batch_size=3, **counts, seed=4),
        *(Contract(name, grad=pull, **wide, **dict.fromkeys(after, 2) | {key: 210}, seed=2**31 - 1) for key in after),
        Contract(name, grad=pull, theta0=floats(1), m=300, lr=lr, batch_size=1, **dict.fromkeys(after, 2), seed=1),
    )


def cases_of(walks, rng):
    small, *others = walks
    return itertools.chain(small.cases(rng), [other.plain(rng) for other in others])


def least_squares(rng, m, d):
    """The mean gradient of least squares over a batch of rows; it remembers what it was asked."""
    X, y = rng.standard_normal((m, d)), rng.standard_normal(m)
    X /= np.linalg.norm(X, axis=1, keepdims=True)  # every curvature is then at most 1
    return Asked(lambda theta, rows: X[rows].T @ (X[rows] @ theta - y[rows]) / len(rows))


def unlike_others():
    """A gradient of 0 at first, then of inf, then of 1: no value of it ends a walk. It remembers what it was asked."""
    grad = Asked(lambda theta, rows: np.full(len(theta), {1: 0.0, 2: math.inf}.get(len(grad.calls), 1.0)))
    return grad


def asked_for(grad):
    """The rows of each call, after a look at their kind and at theta's."""
    assert all(is_array(theta) and theta.dtype.kind == "f" and theta.ndim == 1 for theta, _ in grad.calls)
    assert all(is_array(rows, (None,)) and rows.dtype.kind in "iu" for _, rows in grad.calls)
    return [rows for _, rows in grad.calls]


def same_batches(asked, expected):
    return len(asked) == len(expected) and all(map(np.array_equal, asked, expected))


SGD = walks("sgd", numbers(5, scales=(1e100, 1e-100)), falling, epochs=(2, 0, 1, 4))


@pytest.mark.exercise("sgd", weight=3, core=True, depends=("minibatches",), hint=3)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_sgd_makes_the_updates(submission, rng, size):
    """Each update subtracts lr(k) times the batch's gradient; the result is theta at the start and after each epoch."""
    (m, batch_size), theta0 = size, rng.standard_normal(4)
    expected = pulled(theta0, lambda k: 0.9 / (1 + k), m, batch_size, 3)
    assert close(submission.sgd(pull, theta0, m, falling, batch_size, 3, 7), expected, **WALK)


@pytest.mark.exercise("sgd", weight=2, core=True, depends=("minibatches",), hint=1)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_sgd_uses_the_batches_of_each_epoch(submission, rng, size):
    """Epoch e uses the batches of minibatches(m, batch_size, seed, e), in their order, and asks once for each."""
    (m, batch_size), seed = size, 2**31 - 1 - int(rng.integers(1000))
    grad = unlike_others()
    submission.sgd(grad, np.zeros(2), m, lambda k: 0.1, batch_size, 12, seed)
    expected = [submission.minibatches(m, batch_size, seed, epoch) for epoch in range(12)]
    assert same_batches(asked_for(grad), [rows for batches in expected for rows in batches])
    assert all(close(np.sort(np.concatenate(batches)), np.arange(m)) for batches in expected)


@pytest.mark.exercise("sgd", depends=("minibatches",))
def test_sgd_by_default(submission):
    """By default there is one epoch with batches of 32 rows and seed 0."""
    grad = unlike_others()
    submission.sgd(grad, np.zeros(2), 70, lambda k: 0.1)
    assert same_batches(asked_for(grad), submission.minibatches(70, 32, 0, 0))


@pytest.mark.exercise("sgd", weight=2, core=True, depends=("minibatches",), hint=2)
def test_sgd_counts_its_updates(submission, rng):
    """lr is asked for 0, 1, 2, ..., once an update, and the count goes on from epoch to epoch."""
    lr = Asked(lambda k: 0.1)
    submission.sgd(least_squares(rng, 7, 2), np.zeros(2), 7, lr, 3, 3, 0)
    assert close([k for (k,) in lr.calls], list(range(9)))


@pytest.mark.exercise("sgd", weight=0.5, depends=("minibatches",))
def test_sgd_gives_lr_a_python_int(submission, rng):
    """lr gets a Python int."""
    lr = Asked(lambda k: 0.1)
    submission.sgd(least_squares(rng, 7, 2), np.zeros(2), 7, lr, 3, 2, 0)
    assert lr.calls and all(type(k) is int for (k,) in lr.calls)


@pytest.mark.exercise("sgd", weight=2, depends=("minibatches",), hint=3)
def test_sgd_takes_every_kind_of_start(submission, rng):
    """From a start of any kind: integers become float64, float32 stays float32, also with no epochs at all."""
    for case in cases_of(SGD, rng):
        _, theta0, m, _, batch_size, epochs, _ = case.exact
        expected = pulled(theta0, lambda k: 0.9 / (1 + k), m, batch_size, epochs)
        assert close(submission.sgd(*case), expected.astype(case.dtype), rtol=1000 * case.eps, typed=True)


@pytest.mark.exercise("sgd", forgeable=True, depends=("minibatches",), hint=2)
def test_sgd_leaves_no_trace(submission, rng):
    """theta0 and what grad returns are the same after the call, and what is returned is a new array."""
    assert SGD[0].leaves_no_trace(submission, rng, then=[{}, {"epochs": 0}])


# -------------------------------------------------------------------------------------------------- learning_rate


def rates(submission, ks, *args):
    got = [submission.learning_rate(int(k), *args) for k in ks]
    assert close(got, [0.0] * len(got), atol=math.inf)  # finite numbers
    return np.array(got, float)


# A handful of operations on numbers that are at most `peak`: a few eps of it.
RATE = 1e-14


@pytest.mark.exercise("learning_rate", weight=2, core=True, hint=1)
@pytest.mark.parametrize("warmup", [0, 1, 5, 10**6])
def test_rate_falls_like_a_cosine(submission, rng, warmup):
    """After the warm-up the rate falls along half a period of a cosine, from the peak down to 0."""
    for peak, span in ((float(rng.uniform(0.1, 5)), 30), (1e-12, 3), (1e9, 7), (2.0, 10**9), (2.0, 10**12)):
        j = np.unique(np.linspace(0, span, 31).astype(int))
        expected = peak * np.sin(np.pi * (span - j) / (2 * span)) ** 2  # 1 + cos x = 2 sin^2((pi - x) / 2)
        assert close(rates(submission, warmup + j, peak, warmup, span), expected, atol=4 * RATE * peak)


@pytest.mark.exercise("learning_rate", hint=2)
def test_rate_stays_at_zero(submission, rng):
    """Once the cosine has reached 0 it stays there."""
    peak = float(rng.uniform(0.1, 5))
    got = rates(submission, [13, 14, 18, 23, 33, 1000, 10**12], peak, 3, 10)
    assert close(got, np.zeros(7), atol=RATE * peak)


@pytest.mark.exercise("learning_rate", weight=2, core=True, hint=1)
@pytest.mark.parametrize("decay", ["cosine", "inverse"])
def test_rate_warms_up(submission, rng, decay):
    """During the warm-up the rate rises in a straight line, from peak / warmup at update 0 to the peak at the last."""
    for warmup, span in ((1, 10), (2, 1), (7, 3), (200, 10)):
        peak = float(rng.uniform(0.1, 5))
        got = rates(submission, range(warmup + 1), peak, warmup, span, decay)
        assert close(got, np.append(np.linspace(0, peak, warmup + 1)[1:], peak), atol=4 * RATE * peak)


@pytest.mark.exercise("learning_rate", weight=2, core=True, hint=3)
@pytest.mark.parametrize("warmup", [0, 4])
def test_rate_falls_like_one_over_time(submission, rng, warmup):
    """With inverse-time decay, one over the rate grows in a straight line and has doubled after span updates."""
    for span in (1, 6, 100, 10**9):
        peak = float(rng.uniform(0.1, 5))
        j = np.array([0, 1, 5, span, 2 * span, 1000, 10**10])
        got = rates(submission, warmup + j, peak, warmup, span, "inverse")
        assert np.all(got > 0)
        assert close(peak / got, 1 + j / span, rtol=1e-12)


@pytest.mark.exercise("learning_rate", weight=0.5)
def test_rate_is_a_python_float(submission, rng):
    """The rate is a Python float, not an int or an array, before and after the end of the warm-up and of the cosine."""
    peak = float(rng.uniform(0.1, 5))
    for decay in ("cosine", "inverse"):
        got = [submission.learning_rate(k, peak, 2, 5, decay) for k in (0, 1, 2, 4, 7, 8, 1000)]
        assert close(got, [0.0] * len(got), atol=math.inf, typed=True)


@pytest.mark.exercise("learning_rate", hint=3)
def test_rate_knows_two_decays(submission, rng):
    """Any other name of a decay raises ValueError."""
    for k, warmup in ((9, 3), (3, 3), (0, 0), (50, 3)):
        contract = Contract("learning_rate", k=k, peak=1.0, warmup=warmup, span=10, decay=one_of("cosine"))
        contract.refuses(submission, rng, ValueError, decay=["linear", "", "Cosine", "inverse ", " cosine", "cosine2"])


# -------------------------------------------------------------------------------------------------- momentum_step

SHAPES = [(4, 5), (1100,), (1,), (2, 1, 3), (0,)]


def by_torch(optimiser, theta, gradient, state, **options):
    """theta and the state after one update by an optimiser of torch, which had this state before."""
    theta = torch.from_numpy(np.array(theta, float)).requires_grad_()
    theta.grad = torch.from_numpy(np.array(gradient, float))
    peer = optimiser([theta], **options)
    peer.state[theta] = {
        name: torch.tensor(np.array(value, np.float32 if name == "step" else float)) for name, value in state.items()
    }
    peer.step()
    return [theta.detach().numpy(), *(peer.state[theta][name].numpy() for name in state if name != "step")]


def momentum_of(shape):
    like = {"scales": (1e150, 1e-150)}
    return Contract(
        "momentum_step",
        theta=floats(*shape, **like),
        velocity=floats(*shape, **like),
        gradient=floats(*shape, **like),
        lr=one_of(0.2, 1e-7, 1e-12, 20.0),
        beta=one_of(0.9, 0.0, 0.3, 0.9999, default=0.9),
    )


@pytest.mark.exercise("momentum_step", weight=4, core=True, hint=2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_momentum_agrees_with_torch(submission, rng, shape):
    """For arrays of each shape and kind, theta and the velocity are those of torch.optim.SGD after the update."""
    for case in of_one_dtype(momentum_of(shape), rng):
        theta, velocity, gradient, lr, beta = case.exact
        # With a momentum of 0 torch keeps no velocity at all.
        options = {"lr": lr, "momentum": beta or 1e-200}
        expected = by_torch(torch.optim.SGD, theta, gradient, {"momentum_buffer": velocity}, **options)
        # Every number is rounded a few times.
        size = np.abs(velocity) + np.abs(gradient)
        got = submission.momentum_step(*case)
        assert close(got, [part.astype(case.dtype) for part in expected], atol=math.inf, typed=True)
        assert close(got[0], expected[0], atol=4 * case.eps * (np.abs(theta) + lr * size))
        assert close(got[1], expected[1], atol=4 * case.eps * size)


@pytest.mark.exercise("momentum_step", core=True, hint=1)
def test_momentum_adds_up_a_geometric_series(submission, rng):
    """With equal gradients the velocity is the gradient times 1 + beta + beta^2 + ..."""
    theta, velocity, gradient = np.zeros(3), np.zeros(3), rng.standard_normal(3)
    for k in range(1, 12):
        theta, velocity = submission.momentum_step(theta, velocity, gradient, 0.1)
        assert close(velocity, gradient * (1 - 0.9**k) / (1 - 0.9), **WALK)


@pytest.mark.exercise("momentum_step", forgeable=True, hint=2)
def test_momentum_leaves_no_trace(submission, rng):
    """theta, velocity and gradient are the same after the call, and the results are new arrays."""
    assert momentum_of((3, 4)).leaves_no_trace(
        submission, rng, then=[{}, {"beta": 0.0}, dict.fromkeys(["velocity", "gradient"], np.zeros((3, 4)))]
    )


# ------------------------------------------------------------------------------------------------------ adam_step


def adam_of(shape, name="adam_step", **more):
    return Contract(
        name,
        theta=floats(*shape),
        first=floats(*shape, scales=(1e100, 1e-100)),
        second=floats(*shape, draw=lambda rng: rng.standard_normal(shape) ** 2, scales=(1e100, 1e-100)),
        k=one_of(4, 0, 1, 1500, 10**6),
        gradient=floats(*shape, scales=(1e100, 1e-100)),
        lr=one_of(0.1, 1e-7, 1e-12, 20.0, default=1e-3),
        beta1=one_of(0.9, 0.0, 0.5, 0.9999, default=0.9),
        beta2=one_of(0.999, 0.0, 0.8, 0.99999, default=0.999),
        eps=one_of(1e-8, 0.1, 1e-12, 20.0, default=1e-8),
        **more,
    )


NOTHING_YET = dict.fromkeys(("first", "second", "gradient"), np.zeros((3, 4)))


def agrees_with_adam(submission, contract, rng, optimiser):
    for case in of_one_dtype(contract, rng):
        theta, first, second, k, gradient, lr, beta1, beta2, eps, *decay = case.exact
        expected = by_torch(
            optimiser,
            theta,
            gradient,
            {"step": k, "exp_avg": first, "exp_avg_sq": second},
            lr=lr,
            betas=(beta1, beta2),
            eps=eps,
            weight_decay=decay[0] if decay else 0.0,
        )
        got = submission[contract.name](*case)
        assert close(got, [part.astype(case.dtype) for part in expected], atol=math.inf, typed=True)
        # Every number is rounded a few times. Where second or c1 or c2 is a small difference, it loses some eps more.
        size, squares, c1, c2 = (
            abs(first) + abs(gradient),
            second + gradient**2,
            1 - beta1 ** (k + 1),
            1 - beta2 ** (k + 1),
        )
        reach = lr * size / c1 / (np.sqrt(expected[2] / c2) + eps)
        lost = 20 + 2 / c1 + 2 / c2 + squares / np.maximum(expected[2], 1e-300)
        kept = 8 * (1 + lr * sum(decay)) * np.abs(theta)
        assert close(got[0], expected[0], atol=case.eps * (kept + lost * reach))
        assert close(got[1], expected[1], atol=8 * case.eps * size)
        assert close(got[2], expected[2], atol=8 * case.eps * squares)


@pytest.mark.exercise("adam_step", weight=4, core=True, hint=3)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adam_agrees_with_torch(submission, rng, shape):
    """For arrays of each shape and kind, theta and both means are those of torch.optim.Adam after the update."""
    agrees_with_adam(submission, adam_of(shape), rng, torch.optim.Adam)


@pytest.mark.exercise("adam_step", core=True, hint=2)
def test_adam_hands_on_uncorrected_means(submission, rng):
    """With equal gradients, first is 1 - beta1^(k+1) times the gradient, second 1 - beta2^(k+1) times its square."""
    theta, first, second, gradient = np.zeros(3), np.zeros(3), np.zeros(3), rng.standard_normal(3)
    for k in range(6):
        theta, first, second = submission.adam_step(theta, first, second, k, gradient)
        assert close(first, (1 - 0.9 ** (k + 1)) * gradient, **WALK)
        assert close(second, (1 - 0.999 ** (k + 1)) * gradient**2, **WALK)
        # Corrected, both are exact here: each step is 0.001 along the sign, up to eps / |gradient|.
        assert close(theta, -1e-3 * (k + 1) * gradient / (np.abs(gradient) + 1e-8), rtol=1e-9)


@pytest.mark.exercise("adam_step", hint=3)
def test_adam_adds_eps_outside_the_root(submission):
    """Gradients as small as eps make half a step; with gradients of 0 theta stays, unless first is not 0."""
    eps = 1e-4
    first, gradient = np.array([0.0, 0.0, eps]), np.array([eps, 0.0, 0.0])
    theta, *_ = submission.adam_step(np.ones(3), first, np.zeros(3), 0, gradient, 1.0, eps=eps)
    assert close(theta, [0.5, 1.0, -8.0], rtol=1e-10)  # 0.9 eps / 0.1 / eps = 9


@pytest.mark.exercise("adam_step", weight=0.5, hint=2)
def test_adam_keeps_its_rates_in_float64(submission):
    """Where the arrays are float32, 1 - beta1 and 1 - beta2 keep the digits of Python floats."""
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    _, first, second = submission.adam_step(zeros, zeros, zeros, 0, ones)
    assert close([first[0], second[0]], [0.1, 0.001], rtol=2e-6)  # the second would be off by 5e-5


@pytest.mark.exercise("adam_step", forgeable=True, hint=1)
def test_adam_leaves_no_trace(submission, rng):
    """theta, first, second and gradient are the same after the call, and the results are new arrays."""
    then = [{}, {"k": 0}, {"beta1": 0.0}, {"beta2": 0.0}, NOTHING_YET]
    assert adam_of((3, 4)).leaves_no_trace(submission, rng, then=then)


# ----------------------------------------------------------------------------------------------------------- svrg

SVRG = walks("svrg", numbers(5, scales=(1e100, 1e-100)), one_of(0.4, 1e-7, 1e-12, 20.0), epochs=(2, 0, 1, 4))


def reduced(theta0, m, lr, batch_size, epochs):
    """theta before and after each epoch of SVRG with `pull`."""
    theta, after = 1.0, [1.0]
    for _ in range(epochs):
        snapshot = theta
        for start in range(0, m, batch_size):
            size = min(batch_size, m - start)
            theta -= lr * ((theta - snapshot) * 1.5 / (1 + size) + snapshot * 1.5 / (1 + m))
        after.append(theta)
    return np.outer(after, theta0)


@pytest.mark.exercise("svrg", weight=3, core=True, depends=("minibatches",), hint=3)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_svrg_makes_the_updates(submission, rng, size):
    """Each update takes the batch's gradient, less that at the snapshot, plus the full gradient at the snapshot."""
    (m, batch_size), theta0 = size, rng.standard_normal(4)
    expected = reduced(theta0, m, 0.4, batch_size, 3)
    assert close(submission.svrg(pull, theta0, m, 0.4, batch_size, 3, 5), expected, **WALK)


@pytest.mark.exercise("svrg", weight=3, core=True, depends=("minibatches",), hint=1)
@pytest.mark.parametrize("size", [(10, 4), (9, 3), (1, 2)], ids=str)
def test_svrg_asks_for_what_it_needs(submission, rng, size):
    """An epoch asks for all rows once and for each of its batches twice, at theta and at the snapshot."""
    (m, batch_size), seed, epochs = size, 2**31 - 1 - int(rng.integers(1000)), 11
    grad = least_squares(rng, m, 2)
    thetas = submission.svrg(grad, np.ones(2), m, 0.3, batch_size, epochs, seed)
    n = -(-m // batch_size)
    assert len(grad.calls) == epochs * (2 * n + 1) and is_array(thetas, (epochs + 1, 2))
    for epoch in range(epochs):
        part = slice(epoch * (2 * n + 1), (epoch + 1) * (2 * n + 1))
        (whole, *asked), (at, *points) = asked_for(grad)[part], [theta for theta, _ in grad.calls[part]]
        assert close(np.sort(whole), np.arange(m)) and close(at, thetas[epoch], **WALK)
        expected = submission.minibatches(m, batch_size, seed, epoch)
        assert same_batches(asked, [rows for rows in expected for _ in range(2)])
        for pair in zip(points[::2], points[1::2], strict=True):  # one of the two is the snapshot
            assert any(close(point, thetas[epoch], **WALK) for point in pair)


@pytest.mark.exercise("svrg", depends=("minibatches",))
def test_svrg_by_default(submission):
    """By default there is one epoch with batches of 32 rows and seed 0. No gradient ends it, of whatever size."""
    grad = Asked(lambda theta, rows: np.full(2, math.nan))
    submission.svrg(grad, np.ones(2), 4, 0.3, 2, 250)
    assert len(grad.calls) == 250 * (1 + 2 * 2)
    for size in (0.0, math.inf):
        grad = Asked(lambda theta, rows, size=size: np.full(2, size))
        submission.svrg(grad, np.ones(2), 70, 0.3)
        assert same_batches(asked_for(grad)[1:], [rows for rows in submission.minibatches(70, 32, 0) for _ in range(2)])


@pytest.mark.exercise("svrg", weight=2, core=True, depends=("minibatches",), hint=2)
def test_svrg_has_no_floor(submission, rng):
    """With a constant rate it goes on to the exact minimum, where SGD would stop at its floor."""
    m, y = 20, rng.standard_normal(20)
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(m) / m
    X = np.column_stack([np.cos(angles), np.sin(angles)])
    best = np.linalg.lstsq(X, y, rcond=None)[0]
    grad = Asked(lambda theta, rows: X[rows].T @ (X[rows] @ theta - y[rows]) / len(rows))
    thetas = submission.svrg(grad, np.ones(2), m, 0.2, 2, 30)
    # The curvature is 1/2 in every direction: an update shrinks the error by about 0.9, and the 300 of them by 1e-13.
    # SGD would stand at a distance of about sqrt(0.2 / 2) = 0.3.
    assert close(thetas[-1], best, atol=1e-9)


@pytest.mark.exercise("svrg", weight=2, depends=("minibatches",), hint=3)
def test_svrg_takes_every_kind_of_start(submission, rng):
    """From a start of any kind: integers become float64, float32 stays float32, also with no epochs at all."""
    for case in cases_of(SVRG, rng):
        expected = reduced(*case.exact[1:6]).astype(case.dtype)
        assert close(submission.svrg(*case), expected, rtol=1000 * case.eps, typed=True)


@pytest.mark.exercise("svrg", forgeable=True, depends=("minibatches",), hint=2)
def test_svrg_leaves_no_trace(submission, rng):
    """theta0 and what grad returns are the same after the call, and what is returned is a new array."""
    assert SVRG[0].leaves_no_trace(submission, rng, then=[{}, {"epochs": 0}])


# -------------------------------------------------------------------------------------------------- sgd_in_rounds

# m, batch_size, rounds, steps: rounds within an epoch, across epochs, longer than one, and a batch that is all rows.
ROUNDS = [(12, 2, 5, 4), (10, 4, 4, 2), (6, 2, 2, 8), (5, 8, 3, 2), (9, 3, 6, 1), (7, 3, 4, 5), (4, 2, 5, 8)]
IN_ROUNDS = walks(
    "sgd_in_rounds",
    floats(5, scales=(1e100, 1e-100)),
    one_of(0.4, 1e-7, 1e-12, 20.0),
    rounds=(3, 0, 1, 5),
    steps=(2, 1, 4, 7),
)


@pytest.mark.exercise("sgd_in_rounds", weight=3, core=True, depends=("minibatches",), hint=2)
@pytest.mark.parametrize("case", ROUNDS, ids=str)
def test_rounds_go_on_through_the_epochs(submission, rng, case):
    """The updates of all rounds together use the batches of epoch 0, of epoch 1, and so on, without a break."""
    (m, batch_size, rounds, steps), seed = case, 2**31 - 1 - int(rng.integers(1000))
    grad = unlike_others()
    submission.sgd_in_rounds(grad, np.ones(2), m, 0.1, batch_size, rounds, steps, seed)
    epochs = -(-rounds * steps * batch_size // m)
    expected = [rows for epoch in range(epochs) for rows in submission.minibatches(m, batch_size, seed, epoch)]
    assert same_batches(asked_for(grad), expected[: rounds * steps])


@pytest.mark.exercise("sgd_in_rounds", depends=("minibatches",))
def test_rounds_by_default(submission):
    """By default there is one round of 100 updates with batches of 32 rows and seed 0."""
    grad = unlike_others()
    submission.sgd_in_rounds(grad, np.zeros(2), 64, 0.1)
    expected = [rows for epoch in range(50) for rows in submission.minibatches(64, 32, 0, epoch)]
    assert same_batches(asked_for(grad), expected)


@pytest.mark.exercise("sgd_in_rounds", weight=2, core=True, depends=("minibatches",), hint=3)
def test_rounds_report_theta(submission, rng):
    """theta is reported at the start and after every `steps` updates, each of which subtracts lr times a gradient."""
    for case in cases_of(IN_ROUNDS, rng):
        if "float32" not in case.form:  # theta0 is float64
            _, theta0, m, lr, batch_size, rounds, steps, _ = case.exact
            expected = pulled(theta0, lambda k, lr=lr: lr, m, batch_size, rounds, steps)
            assert close(submission.sgd_in_rounds(*case), expected, rtol=1e-9, typed=True)


@pytest.mark.exercise("sgd_in_rounds", forgeable=True, depends=("minibatches",))
def test_rounds_leave_no_trace(submission, rng):
    """theta0 and what grad returns are the same after the call, and what is returned is a new array."""
    assert IN_ROUNDS[0].leaves_no_trace(submission, rng, then=[{}, {"rounds": 0}])


# --------------------------------------------------------------------------- sgd_from_stream, adagrad_from_stream

CLICK = np.dtype([("numeric", "<f4", (8,)), ("hashed", "<i4", (6,)), ("y", "u1")], align=True)


def clicked(rng, m, buckets, scale=1.0):
    """Rows of a click log, with few buckets, so that they meet each other."""
    rows = np.zeros(m, CLICK)
    rows["numeric"] = scale * rng.standard_normal((m, 8))
    rows["hashed"] = rng.integers(0, buckets, (m, 6))
    rows["y"] = rng.integers(0, 2, m)
    return rows


def saved(folder, rows):
    np.save(folder / "log.npy", rows)
    return str(folder / "log.npy")


def dense(rows, buckets):
    """X (m, 9 + buckets): ones, the numbers, and how often each bucket is hit."""
    hits = np.array([np.bincount(hashed, minlength=buckets) for hashed in rows["hashed"]])
    return np.column_stack([np.ones(len(rows)), rows["numeric"].astype(float), hits])


def one_pass(optimiser, rows, lr, batch_size, buckets, **options):
    """The same pass with torch's own loss, gradient and update, on a dense matrix."""
    X, y = torch.from_numpy(dense(rows, buckets)), torch.from_numpy(rows["y"].astype(float))
    theta = torch.zeros(9 + buckets, dtype=torch.float64, requires_grad=True)
    peer, losses = optimiser([theta], lr=1.0, **options), []
    for k, start in enumerate(range(0, len(rows), batch_size)):
        part = slice(start, start + batch_size)
        peer.param_groups[0]["lr"] = lr(k) if callable(lr) else lr
        peer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(X[part] @ theta, y[part])
        loss.backward()
        peer.step()
        losses.append(loss.item())
    return theta.detach().numpy(), np.array(losses)


by_sgd = functools.partial(one_pass, torch.optim.SGD)
by_adagrad = functools.partial(one_pass, torch.optim.Adagrad)
STREAMS = [(30, 6), (23, 5), (1, 4), (9, 1), (3, 8)]


@pytest.mark.exercise("sgd_from_stream", weight=3, core=True, hint=3)
@pytest.mark.parametrize("m, batch_size", STREAMS)
def test_stream_agrees_with_autograd(submission, rng, data_dir, m, batch_size):
    """theta and the losses are those of one pass of SGD in the order of the file, as torch finds them."""
    buckets, rows = 12, clicked(rng, m, 12)
    lr = Asked(lambda k: 1 / (1.5 + k))
    got = submission.sgd_from_stream(saved(data_dir, rows), lr, batch_size, buckets)
    assert close(got, by_sgd(rows, lr.function, batch_size, buckets), **WALK, typed=True)
    assert [k for (k,) in lr.calls] == [*range(-(-m // batch_size))]


@pytest.mark.exercise("sgd_from_stream", weight=2, core=True, hint=3)
def test_stream_adds_up_repeated_buckets(submission, data_dir):
    """A bucket that comes several times, in a row or in a batch, gets the sum of its parts."""
    rows = np.zeros(4, CLICK)
    rows["hashed"] = [[0] * 6, [1, 1, 1, 2, 2, 3], [0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]]
    rows["y"] = 1
    theta, _ = submission.sgd_from_stream(saved(data_dir, rows), lambda k: 1.0, 4, 7)
    # Each hit moves its bucket by 1/2 * 1/4.
    assert close(theta[9:], np.array([8, 5, 4, 3, 2, 2, 0]) / 8, rtol=1e-12)


@pytest.mark.exercise("sgd_from_stream", weight=2, hint=2)
def test_stream_takes_large_logits(submission, rng, data_dir):
    """Losses and theta are right where logits are so large, of either sign, that exp overflows."""
    for scale in (300.0, 1e4):
        rows = clicked(rng, 24, 6, scale)
        theta, losses = submission.sgd_from_stream(saved(data_dir, rows), lambda k: 0.01, 2, 6)
        expected = by_sgd(rows, lambda k: 0.01, 2, 6)
        assert close(theta, expected[0], rtol=1e-8, atol=1e-8 * scale)
        # Logits are sums of products of up to `scale` and theta, which is up to `scale`: some eps times that.
        assert close(losses, expected[1], rtol=1e-8, atol=1e-11 * scale**2)


OTHER = np.dtype([("y", "u1"), ("time", "<i8"), ("hashed", "<i4", (6,)), ("numeric", "<f4", (8,))])


@pytest.mark.exercise("sgd_from_stream", hint=1)
def test_stream_finds_its_fields_by_name(submission, rng, data_dir):
    """A file whose fields stand in another order, with another one between them, gives the same answer."""
    rows, moved = clicked(rng, 17, 8), np.zeros(17, OTHER)
    for name in CLICK.names:
        moved[name] = rows[name]
    got = submission.sgd_from_stream(saved(data_dir, moved), lambda k: 0.3, 5, 8)
    assert close(got, by_sgd(rows, lambda k: 0.3, 5, 8), **WALK)


@student_side
def reads_once(name, path, rate, batch_size, buckets, size):
    """Whether a pass reads a file of this size no more than once (runs over there).

    Counted is what the system says was read (nothing, where it does not say), and a file that is mapped, once.
    """
    import mmap

    def count():
        try:
            with open("/proc/self/io") as lines:
                return int(lines.readline().split()[1])
        except OSError:
            return 0

    def mapping(fileno, length, *rest, **options):
        mapped.append(length)
        return real(fileno, length, *rest, **options)

    mapped, real, before = [0], mmap.mmap, count()
    mmap.mmap = mapping
    try:
        getattr(student, name)(path, rate, batch_size, buckets)  # noqa: F821
        return count() - before + max(mapped) < 1.5 * size
    finally:
        mmap.mmap = real


def leaves_the_file_alone(submission, rng, data_dir, name, rate):
    """The file is read once, stays as it is, and nothing of a pass is left for the next."""
    path = saved(data_dir, clicked(rng, 5000, 8))
    before = (data_dir / "log.npy").read_bytes()
    assert submission.run(reads_once, name, path, rate, 500, 8, len(before))
    assert Contract(name, path=path, lr=rate, batch_size=500, buckets=8).leaves_no_trace(submission, rng)
    assert (data_dir / "log.npy").read_bytes() == before
    theta, losses = submission[name](path, rate)
    assert len(theta) == 9 + 2**18 and len(losses) == 5  # the defaults
    first = submission[name](path, rate, 500, 8)
    assert saved(data_dir, clicked(rng, 5000, 8)) == path
    assert not close(submission[name](path, rate, 500, 8), first)  # it is another file now


@pytest.mark.exercise("sgd_from_stream", forgeable=True, hint=1)
def test_stream_leaves_no_trace(submission, rng, data_dir):
    """The file is read once and stays as it is; each pass starts anew and returns new arrays."""
    leaves_the_file_alone(submission, rng, data_dir, "sgd_from_stream", falling)


MEMORY_MB = 24
LARGE = 8192, 80, 1024  # rows of a block, how often it is repeated, buckets: a file of 39 MB


@functools.cache
def large_log(seed):
    """One block of a click log."""
    block, _, buckets = LARGE
    rows = datasets.clicks(block, seed=seed, buckets=buckets).read(0, block)
    out = np.zeros(block, CLICK)
    out["numeric"], out["hashed"], out["y"] = rows.numeric, rows.hashed, rows.y
    return out


def large_file(data_dir, seed):
    """A log of 39 MB: its block again and again."""
    (block, times, _), file = LARGE, data_dir / "log.npy"
    whole = np.lib.format.open_memmap(file, mode="w+", dtype=CLICK, shape=(block * times,))
    whole.reshape(times, block)[:] = large_log(seed)
    whole.flush()
    assert file.stat().st_size > 1.5 * MEMORY_MB * 2**20
    return str(file)


@functools.cache
def large_pass(seed, lr, batch_size, adaptive):
    """What one pass over the large log leads to: a plain implementation on its block, again and again."""
    rows, theta, losses = large_log(seed), np.zeros(9 + LARGE[2]), []
    hits, y, squares = scipy.sparse.csr_array(dense(rows, LARGE[2])), rows["y"].astype(float), np.zeros(9 + LARGE[2])
    parts = [(hits[i : i + batch_size], y[i : i + batch_size]) for i in range(0, len(rows), batch_size)]
    for _ in range(LARGE[1]):
        for X, target in parts:
            z = X @ theta
            losses.append(np.mean(np.logaddexp(0, z) - target * z))
            gradient = X.T @ (scipy.special.expit(z) - target) / len(target)
            squares += gradient**2
            theta -= lr * gradient / ((np.sqrt(squares) + 1e-8) if adaptive else 1)
    return theta, np.array(losses)


@pytest.mark.exercise("sgd_from_stream", weight=3, core=True, hint=1, memory_mb=MEMORY_MB)
def test_stream_is_larger_than_memory(submission, rng, data_dir):
    """A file that is larger than the memory that may be used is learned in one pass."""
    seed = int(rng.integers(1000))
    got = submission.sgd_from_stream(large_file(data_dir, seed), lambda k: 0.5, 4096, LARGE[2])
    # 160 updates, none of which lets errors grow.
    assert close(got, large_pass(seed, 0.5, 4096, adaptive=False), rtol=1e-8, atol=1e-8)


@student_side
def touched(name, path, rate, batch_size, buckets, chosen):
    """A pass with a large table; what is left of theta at the chosen places, how many are not 0, and the losses."""
    theta, losses = getattr(student, name)(path, rate, batch_size, buckets)  # noqa: F821
    return theta.shape, theta[:9].copy(), theta[9:][chosen], int(np.count_nonzero(theta)), losses


def updates_only_what_it_touches(submission, rng, data_dir, name, rate, oracle):
    """The same log with few buckets and with the same ones spread over a very large table."""
    m, batch_size, buckets, few = 4000, 4, 2**23, 500
    rows = clicked(rng, m, few)
    places = np.sort(rng.choice(buckets, few, replace=False))
    spread = rows.copy()
    spread["hashed"] = places[rows["hashed"]]
    got = submission.run(touched, name, saved(data_dir, spread), rate, batch_size, buckets, places)
    shape, front, table, count, losses = got
    theta, expected = oracle(rows, rate, batch_size, few)
    assert tuple(shape) == (9 + buckets,) and count == np.count_nonzero(theta)
    assert close(np.concatenate([front, table]), theta, rtol=1e-8, atol=1e-8)
    assert close(losses, expected, rtol=1e-8, atol=1e-8)


@student_side
def half(k):
    return 0.5


# theta takes 64 MiB. The limit lies below theta and half as much again, so one dense gradient is too many. A thousand
# dense updates in pieces would take longer than a call may.
@pytest.mark.exercise("sgd_from_stream", weight=3, core=True, hint=3, memory_mb=96)
def test_stream_updates_only_what_it_touches(submission, rng, data_dir):
    """With a very large table an update still takes the time and the memory of its batch."""
    updates_only_what_it_touches(submission, rng, data_dir, "sgd_from_stream", half, by_sgd)


@pytest.mark.exercise("adagrad_from_stream", weight=3, core=True, hint=3)
@pytest.mark.parametrize("m, batch_size", STREAMS)
def test_adagrad_agrees_with_torch(submission, rng, data_dir, m, batch_size):
    """theta and the losses are those of one pass of torch.optim.Adagrad in the order of the file."""
    buckets, rows = 12, clicked(rng, m, 12)
    for lr, eps in ((0.3, 1e-8), (1e-7, 0.1), (20.0, 20.0)):
        got = submission.adagrad_from_stream(saved(data_dir, rows), lr, batch_size, buckets, eps)
        expected = by_adagrad(rows, lr, batch_size, buckets, eps=eps)
        assert close(got, expected, rtol=1e-8, atol=1e-9, typed=True)  # first steps of lr have logits of hundreds


@pytest.mark.exercise("adagrad_from_stream", weight=2, core=True, hint=2)
def test_adagrad_squares_the_sum_of_a_bucket(submission, data_dir):
    """A bucket that comes several times in a batch has one gradient, the sum of its parts, which is then squared."""
    rows = np.zeros(3, CLICK)
    rows["hashed"] = [[0] * 6, [1, 1, 1, 2, 2, 3], [0, 1, 2, 3, 3, 3]]
    rows["y"] = 1
    theta, _ = submission.adagrad_from_stream(saved(data_dir, rows), 0.25, 3, 5)
    # The first step is lr along the sign, whatever the gradient: a wrong sum of squares shows here.
    assert close(theta, [0.25, *[0.0] * 8, 0.25, 0.25, 0.25, 0.25, 0.0], rtol=1e-6)


@pytest.mark.exercise("adagrad_from_stream", hint=1)
def test_adagrad_takes_large_logits(submission, rng, data_dir):
    """Losses and theta are right where logits are so large, of either sign, that exp overflows."""
    rows = clicked(rng, 24, 6, 1e4)
    got = submission.adagrad_from_stream(saved(data_dir, rows), 0.1, 2, 6)
    # Logits of up to 1e4: some eps times that.
    assert close(got, by_adagrad(rows, 0.1, 2, 6, eps=1e-8), rtol=1e-8, atol=1e-6)


@pytest.mark.exercise("adagrad_from_stream", forgeable=True, hint=1)
def test_adagrad_leaves_no_trace(submission, rng, data_dir):
    """The file is read once and stays as it is; each pass starts anew and returns new arrays."""
    leaves_the_file_alone(submission, rng, data_dir, "adagrad_from_stream", 0.1)


@pytest.mark.exercise("adagrad_from_stream", weight=2, core=True, hint=1, memory_mb=MEMORY_MB)
def test_adagrad_is_larger_than_memory(submission, rng, data_dir):
    """A file that is larger than the memory that may be used is learned in one pass."""
    seed = int(rng.integers(1000))
    got = submission.adagrad_from_stream(large_file(data_dir, seed), 0.1, 4096, LARGE[2])
    assert close(got, large_pass(seed, 0.1, 4096, adaptive=True), rtol=1e-8, atol=1e-8)


# theta and the sums of squares take 64 MiB each. The limit lies half of one of them higher.
@pytest.mark.exercise("adagrad_from_stream", weight=3, core=True, hint=2, memory_mb=160)
def test_adagrad_updates_only_what_it_touches(submission, rng, data_dir):
    """With a very large table an update still takes the time and the memory of its batch."""
    oracle = functools.partial(by_adagrad, eps=1e-8)
    updates_only_what_it_touches(submission, rng, data_dir, "adagrad_from_stream", 0.1, oracle)


# ----------------------------------------------------------------------------------------------------- adamw_step

DECAY = {"weight_decay": one_of(0.01, 0.0, 1e-7, 20.0, default=0.01)}


@pytest.mark.exercise("adamw_step", weight=4, core=True, depends=("adam_step",), hint=2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adamw_agrees_with_torch(submission, rng, shape):
    """For arrays of each shape and kind, theta and both means are those of torch.optim.AdamW after the update."""
    agrees_with_adam(submission, adam_of(shape, "adamw_step", **DECAY), rng, torch.optim.AdamW)


@pytest.mark.exercise("adamw_step", core=True, depends=("adam_step",), hint=1)
def test_adamw_decays_alike(submission, rng):
    """Where the gradients are 0, theta shrinks by the factor 1 - lr * weight_decay, and the means stay 0."""
    theta = rng.standard_normal(4)
    got = submission.adamw_step(theta, np.zeros(4), np.zeros(4), 0, np.zeros(4), lr=0.1, weight_decay=0.3)
    assert close(got, [0.97 * theta, np.zeros(4), np.zeros(4)], rtol=1e-12)


@pytest.mark.exercise("adamw_step", forgeable=True, depends=("adam_step",), hint=1)
def test_adamw_leaves_no_trace(submission, rng):
    """theta, first, second and gradient are the same after the call, and the results are new arrays."""
    contract = adam_of((3, 4), "adamw_step", **DECAY)
    assert contract.leaves_no_trace(submission, rng, then=[{}, {"weight_decay": 0.0}, NOTHING_YET])


# --------------------------------------------------------------------------------------------------- clip_by_norm

PARTS = [floats(1100, scales=(1e149, 1e-149)), floats(2, 4, scales=(1e149, 1e-149)), floats(0), floats(1, 1, 2)]


def parts_as(form):
    return lambda rng: [(part.forms.get(form) or part.plain)(rng) for part in PARTS]


CLIP = Contract(
    "clip_by_norm",
    gradients=Argument(
        parts_as(None),
        {form: parts_as(form) for form in PARTS[0].forms if "float32" not in form}
        | {"one": lambda rng: [rng.standard_normal(5)], "zeros": lambda rng: [np.zeros(2), np.zeros((1, 3))]},
        frozenset(),
    ),
    limit=one_of(0.5, 1e-3, 100.0, 1e-200, 1e200),
)


@pytest.mark.exercise("clip_by_norm", weight=4, core=True, hint=2)
def test_clip_keeps_the_direction(submission, rng):
    """The norm is that of all arrays together; each array is multiplied by limit / norm where the norm is larger."""
    for case in CLIP.cases(rng, plain=3):
        gradients, limit = case
        size = max(max(np.max(np.abs(part), initial=0) for part in gradients), 1e-300)
        norm = float(size * np.linalg.norm(np.concatenate([part.ravel() / size for part in gradients])))
        expected = [part / norm * limit if norm > limit else np.array(part) for part in gradients]
        assert close(submission.clip_by_norm(*case), (expected, norm), rtol=1e-12, typed=True)


@pytest.mark.exercise("clip_by_norm", weight=2, core=True, hint=2)
def test_clip_leaves_short_gradients(submission):
    """A gradient that is not longer than the limit comes back as it is; one that is a little longer does not."""
    gradients = [np.array([3.0, 0.0]), np.array([[4.0]])]
    for limit in (5.0, 5.0 + 1e-9, 6.0):
        assert close(submission.clip_by_norm(gradients, limit), (gradients, 5.0), typed=True)
    shorter = [part * (1 - 1e-9) for part in gradients]
    assert close(submission.clip_by_norm(gradients, 5.0 * (1 - 1e-9)), (shorter, 5.0), rtol=1e-14)
    for unit in (1e-20, 1e20):
        got = submission.clip_by_norm([unit * part for part in gradients], unit)
        assert close(got, ([unit * part / 5 for part in gradients], 5 * unit), rtol=1e-14)


@pytest.mark.exercise("clip_by_norm", weight=2, hint=2)
def test_clip_refuses_what_is_not_finite(submission, rng):
    """An entry that is nan or infinite, in any of the arrays, raises ValueError."""
    bad = [[np.ones(2), np.array([[1.0, value]])] for value in (math.nan, math.inf, -math.inf)]
    CLIP.refuses(submission, rng, ValueError, gradients=[*bad, *(parts[::-1] for parts in bad)])
    huge = Contract("clip_by_norm", gradients=one_of([np.zeros(1)]), limit=1e300)
    huge.refuses(submission, rng, ValueError, gradients=bad)


@pytest.mark.exercise("clip_by_norm", forgeable=True, hint=1)
def test_clip_leaves_no_trace(submission, rng):
    """The list and its arrays are the same after the call, and the results are new arrays."""
    bad = [[np.ones(2), np.array([math.nan])]]
    then = [{}, {"limit": 1e9}, {"gradients": [np.zeros(2), np.zeros((1, 3))]}, {"gradients": [np.ones(3), np.ones(3)]}]
    assert CLIP.leaves_no_trace(submission, rng, then=then, gradients=bad)
