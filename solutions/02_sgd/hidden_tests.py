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
from sklearn.linear_model import SGDClassifier

from autograder.judging import EPS, close, fresh, frozen, is_array, kinds, raises_student, student_side, unchanged
from lsml_utils import datasets

WALK = {"rtol": 1e-10, "atol": 1e-10}
SIZES = {
    "short last batch": (10, 4),
    "even": (12, 4),
    "one row": (1, 1),
    "batch larger than m": (5, 8),
    "single rows": (7, 1),
}


def floats(rng, *shapes):
    """Arrays of every kind that holds floats, with the eps of their precision."""
    for arrays in kinds(rng, *shapes).values():
        if arrays[0].dtype.kind == "f":
            yield arrays, float(np.finfo(arrays[0].dtype).eps)


@student_side
def walk_is_harmless(name, arguments):
    """Whether theta0, and what grad returns, are the same after a walk (runs over there)."""
    theta0, told = np.arange(1.0, 4.0), []

    def grad(theta, rows):
        gradient = 0.1 * theta + len(rows)
        told.append((gradient, gradient.copy()))
        return gradient

    thetas = getattr(student, name)(grad, theta0, **arguments)  # noqa: F821
    kept = all(bool(np.array_equal(a, b)) for a, b in told)
    return kept and theta0.tolist() == [1.0, 2.0, 3.0] and not np.shares_memory(np.asarray(thetas), theta0)


# ---------------------------------------------------------------------------------------------------- minibatches


def checked(batches):
    """The batches of an answer, after a look at their kind."""
    assert isinstance(batches, list) and all(is_array(rows) for rows in batches)
    assert all(rows.ndim == 1 and rows.dtype.kind in "iu" for rows in batches)
    return batches


def order_of(batches):
    return tuple(np.concatenate(checked(batches)).tolist())


@pytest.mark.exercise("minibatches", weight=3, core=True, hint=3)
@pytest.mark.parametrize("size", [*SIZES.values(), (257, 32), (1000, 10)], ids=str)
def test_batches_hold_every_row_once(submission, rng, size):
    """Each row number is in exactly one batch, and all batches but the last have batch_size rows."""
    m, batch_size = size
    for epoch in (0, 3):
        batches = checked(submission.minibatches(m, batch_size, int(rng.integers(1000)), epoch))
        assert [len(rows) for rows in batches] == [batch_size] * (m // batch_size) + [m % batch_size] * (
            m % batch_size > 0
        )
        assert close(np.sort(np.concatenate(batches)), np.arange(m))


@pytest.mark.exercise("minibatches", hint=3)
def test_batches_of_no_rows(submission):
    """With no rows there are no batches."""
    assert submission.minibatches(0, 4, 1) == []


@pytest.mark.exercise("minibatches", weight=2, hint=2)
def test_batches_can_be_repeated(submission, rng):
    """The same seed and epoch give the same batches, whatever was called in between."""
    seed = int(rng.integers(1000))
    first = order_of(submission.minibatches(50, 7, seed, 2))
    submission.minibatches(31, 5, seed + 1)
    submission.minibatches(50, 7, seed, 1)
    assert order_of(submission.minibatches(50, 7, seed, 2)) == first
    assert order_of(submission.minibatches(50, 7, seed)) == order_of(submission.minibatches(50, 7, seed, 0))


@pytest.mark.exercise("minibatches", weight=2, core=True, hint=2)
def test_batches_differ_by_seed_and_by_epoch(submission, rng):
    """Every pair of seed and epoch has an order of its own, and none is the order of the rows."""
    base = int(rng.integers(1000))
    orders = {order_of(submission.minibatches(60, 8, base + seed, e)) for seed in range(5) for e in range(5)}
    assert len(orders) == 25  # two of 60! orders agree by chance with a probability below 1e-79
    assert tuple(range(60)) not in orders


@pytest.mark.exercise("minibatches", weight=2, hint=1)
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


@pytest.mark.exercise("minibatches", hint=1)
def test_batches_of_very_many_rows(submission, rng):
    """Hundreds of thousands of rows are cut into batches in about the time of one shuffle."""
    # O(m) takes some 10 ms; searching all that is left anew for each batch takes minutes, and a call has seconds.
    m, batch_size = 300_000, 100
    batches = checked(submission.minibatches(m, batch_size, int(rng.integers(1000)), 1))
    assert len(batches) == m // batch_size
    assert close(np.bincount(np.concatenate(batches), minlength=m), np.ones(m))


@student_side
def leaves_the_global_state(seed):
    """Whether NumPy's global generator is where it was, and is not asked (runs over there)."""
    np.random.seed(1)
    expected = np.random.random(3)
    np.random.seed(1)
    one = np.concatenate(student.minibatches(40, 6, seed, 1))  # noqa: F821
    kept = np.array_equal(np.random.random(3), expected)
    np.random.seed(2)
    return bool(kept and np.array_equal(np.concatenate(student.minibatches(40, 6, seed, 1)), one))  # noqa: F821


@pytest.mark.exercise("minibatches", weight=2, forgeable=True, hint=2)
def test_batches_leave_the_global_state(submission, rng):
    """NumPy's global random state is neither changed nor used."""
    assert submission.run(leaves_the_global_state, int(rng.integers(1000)))


# ------------------------------------------------------------------------------------------------------------ sgd


class Rows:
    """The mean gradient of least squares over a batch of rows; it remembers what it was asked."""

    def __init__(self, rng, m, d):
        self.X = rng.standard_normal((m, d))
        self.X /= np.linalg.norm(self.X, axis=1, keepdims=True)  # every curvature is then at most 1
        self.y = rng.standard_normal(m)
        self.points, self.asked = [], []

    def gradient(self, theta, rows):
        return self.X[rows].T @ (self.X[rows] @ theta - self.y[rows]) / len(rows)

    def __call__(self, theta, rows):
        point, index = np.array(theta), np.array(rows)
        if point.shape != self.X.shape[1:] or point.dtype.kind not in "fi":
            raise ValueError("grad was called with a theta that is no array of numbers of shape (d,)")
        if index.ndim != 1 or index.dtype.kind not in "iu" or not len(index):
            raise ValueError("grad was called with rows that are no 1-D array of row numbers")
        self.points.append(point.astype(float))
        self.asked.append(index)
        return self.gradient(self.points[-1], index)


def path(thetas, epochs, d):
    assert is_array(thetas, (epochs + 1, d)) and thetas.dtype.kind == "f"
    return thetas


def same_batches(asked, expected):
    return len(asked) == len(expected) and all(map(np.array_equal, asked, expected))


@pytest.mark.exercise("sgd", weight=3, core=True, depends=("minibatches",), hint=3)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_sgd_makes_the_updates(submission, rng, size):
    """Each update subtracts lr(k) times the batch's gradient, and theta is noted at the start and after each epoch."""
    (m, batch_size), epochs, d = size, 3, 4
    grad, theta0 = Rows(rng, m, d), rng.standard_normal(d)
    rates = rng.uniform(0.1, 0.9, epochs * m)
    thetas = path(submission.sgd(grad, theta0, m, lambda k: float(rates[k]), batch_size, epochs, 7), epochs, d)
    each = -(-m // batch_size)
    assert len(grad.asked) == epochs * each
    theta, expected = theta0, [theta0]
    for k, rows in enumerate(grad.asked):
        theta = theta - rates[k] * grad.gradient(theta, rows)
        if (k + 1) % each == 0:
            expected.append(theta)
    assert close(thetas, np.array(expected), **WALK)


@pytest.mark.exercise("sgd", weight=2, core=True, depends=("minibatches",), hint=1)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_sgd_uses_the_batches_of_each_epoch(submission, rng, size):
    """Epoch e uses the batches of minibatches(m, batch_size, seed, e), in their order."""
    (m, batch_size), seed = size, int(rng.integers(1000))
    grad = Rows(rng, m, 2)
    submission.sgd(grad, np.zeros(2), m, lambda k: 0.1, batch_size, 4, seed)
    expected = [rows for epoch in range(4) for rows in submission.minibatches(m, batch_size, seed, epoch)]
    assert same_batches(grad.asked, expected)
    each = -(-m // batch_size)
    for epoch in range(4):
        assert close(np.sort(np.concatenate(grad.asked[epoch * each : (epoch + 1) * each])), np.arange(m))


@pytest.mark.exercise("sgd", weight=2, depends=("minibatches",), hint=2)
def test_sgd_counts_its_updates(submission, rng):
    """lr is asked for 0, 1, 2, ..., once an update, and the count goes on from epoch to epoch."""
    asked = []

    def lr(k):
        asked.append(k)
        return 0.1

    submission.sgd(Rows(rng, 7, 2), np.zeros(2), 7, lr, 3, 3, 0)
    assert asked == list(range(9))


@pytest.mark.exercise("sgd", depends=("minibatches",), hint=2)
def test_sgd_is_a_running_mean(submission, rng):
    """On rows that ask for numbers x_i, rates of 1/(k + 1) lead to the mean of x, and stay there."""
    x = rng.standard_normal((50, 3))
    thetas = submission.sgd(
        lambda theta, rows: theta - x[rows].mean(axis=0), np.ones(3), 50, lambda k: 1 / (k + 1), 10, 2
    )
    assert close(thetas[1:], np.array([x.mean(axis=0)] * 2), **WALK)


@pytest.mark.exercise("sgd", depends=("minibatches",), hint=3)
def test_sgd_has_the_dtype_of_its_start(submission, rng):
    """From a start of any kind: integers become float64, float32 stays float32, also with no epochs at all."""
    for epochs, (theta0,) in itertools.product((0, 2), kinds(rng, (5,)).values()):
        thetas = submission.sgd(lambda theta, rows: theta, theta0, 2, lambda k: 0.5, 2, epochs)
        assert is_array(thetas, (epochs + 1, 5), theta0.dtype if theta0.dtype.kind == "f" else np.float64)
        assert close(thetas, np.outer([1, 0.5, 0.25], theta0)[: epochs + 1])


@pytest.mark.exercise("sgd", forgeable=True, depends=("minibatches",), hint=2)
def test_sgd_leaves_its_arguments(submission):
    """theta0 and what grad returns are the same after the call."""
    assert submission.run(walk_is_harmless, "sgd", {"m": 5, "lr": lambda k: 0.1, "batch_size": 2, "epochs": 2})


# -------------------------------------------------------------------------------------------------- learning_rate


def rates(submission, ks, *args):
    got = [submission.learning_rate(int(k), *args) for k in ks]
    assert all(isinstance(rate, float | int) for rate in got)
    return np.array(got, float)


# A handful of operations on numbers that are at most `peak`: a few eps of it.
RATE = 1e-14


@pytest.mark.exercise("learning_rate", weight=2, core=True, hint=1)
@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_rate_falls_like_torchs_cosine(submission, rng, warmup):
    """After the warm-up the cosine agrees with torch's CosineAnnealingLR, from the peak down to 0."""
    peak, span = float(rng.uniform(0.1, 5)), 30
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=peak)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=span)
    expected = []
    for _ in range(span + 1):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    got = rates(submission, warmup + np.arange(span + 1), peak, warmup, span)
    # torch goes from rate to rate by products of ratios up to 1/span^2: some thousand eps.
    assert close(got, np.array(expected), atol=1e-10 * peak)


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
    for warmup in (1, 2, 7):
        peak = float(rng.uniform(0.1, 5))
        got = rates(submission, range(warmup + 1), peak, warmup, 10, decay)
        assert close(got, np.append(np.linspace(0, peak, warmup + 1)[1:], peak), atol=4 * RATE * peak)


@pytest.mark.exercise("learning_rate", weight=2, core=True, hint=3)
@pytest.mark.parametrize("warmup", [0, 4])
def test_rate_falls_like_one_over_time(submission, rng, warmup):
    """With inverse-time decay, one over the rate grows in a straight line and has doubled after span updates."""
    for span in (1, 6, 100):
        peak = float(rng.uniform(0.1, 5))
        j = np.array([0, 1, 5, span, 2 * span, 1000])
        got = rates(submission, warmup + j, peak, warmup, span, "inverse")
        assert np.all(got > 0)
        assert close(peak / got, 1 + j / span, rtol=1e-12)


@pytest.mark.exercise("learning_rate", hint=3)
def test_rate_knows_two_decays(submission):
    """Any other name of a decay raises ValueError."""
    for name in ("linear", "", "Cosine"):
        with raises_student(ValueError):
            submission.learning_rate(9, 1.0, 3, 10, name)


# -------------------------------------------------------------------------------------------------- momentum_step

SHAPES = [(5,), (3, 4), (1,), (2, 1, 3), (0,)]


def states(answer, count, shape, dtype):
    """The arrays of an answer, after a look at their kind."""
    assert isinstance(answer, tuple | list) and len(answer) == count
    assert all(is_array(part, shape, dtype) for part in answer)
    return answer


def by_torch(optimiser, theta, gradients, lrs, **options):
    """The points that an optimiser of torch visits, after each of the gradients."""
    theta = torch.from_numpy(np.array(theta)).requires_grad_()
    peer, points = optimiser([theta], lr=lrs[0], **options), []
    for gradient, lr in zip(gradients, lrs, strict=True):
        peer.param_groups[0]["lr"] = lr
        theta.grad = torch.from_numpy(np.array(gradient))
        peer.step()
        points.append(theta.detach().numpy().copy())
    return points


@pytest.mark.exercise("momentum_step", weight=3, core=True, hint=2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_momentum_agrees_with_torch(submission, rng, shape):
    """Update after update, with rates that change, theta is where torch.optim.SGD has it."""
    for beta in (0.9, 0.3, 0.0):
        theta, velocity = rng.standard_normal(shape), np.zeros(shape)
        gradients, lrs = rng.standard_normal((6, *shape)), rng.uniform(0.01, 1, 6).tolist()
        expected = by_torch(torch.optim.SGD, theta, gradients, lrs, momentum=beta)
        for gradient, lr, point in zip(gradients, lrs, expected, strict=True):
            answer = submission.momentum_step(theta, velocity, gradient, lr, beta)
            theta, velocity = states(answer, 2, shape, np.float64)
            assert close(theta, point, **WALK)


@pytest.mark.exercise("momentum_step", core=True, hint=1)
def test_momentum_adds_up_a_geometric_series(submission, rng):
    """With equal gradients the velocity is the gradient times 1 + beta + beta^2 + ..."""
    theta, velocity, gradient = np.zeros(3), np.zeros(3), rng.standard_normal(3)
    for k in range(1, 12):
        theta, velocity = states(submission.momentum_step(theta, velocity, gradient, 0.1), 2, (3,), np.float64)
        assert close(velocity, gradient * (1 - 0.9**k) / (1 - 0.9), **WALK)


@pytest.mark.exercise("momentum_step", hint=2)
def test_momentum_takes_every_kind_of_array(submission, rng):
    """The update is right for strided and read-only arrays, for huge and tiny numbers, and float32 stays float32."""
    given = [*floats(rng, (4, 5), (4, 5), (4, 5))]
    given += [(scale * rng.standard_normal((3, 8)), EPS) for scale in (1e150, 1e-150)]
    for (theta, velocity, gradient), eps in given:
        got = states(submission.momentum_step(theta, velocity, gradient, 0.2, 0.5), 2, theta.shape, theta.dtype)
        after = 0.5 * velocity + gradient
        # Every number is rounded a few times.
        size = np.abs(theta) + np.abs(velocity) + np.abs(gradient)
        assert close(got, [theta - 0.2 * after, after], atol=8 * eps * size)


@pytest.mark.exercise("momentum_step", forgeable=True, hint=2)
def test_momentum_leaves_its_arguments(submission, rng):
    """theta, velocity and gradient are the same after the call, and the results are new arrays."""
    arguments = [*rng.standard_normal((3, 4)), 0.1]
    assert submission.run(unchanged, "momentum_step", arguments) and submission.run(fresh, "momentum_step", arguments)


# ------------------------------------------------------------------------------------------------------ adam_step


@pytest.mark.exercise("adam_step", weight=3, core=True, hint=3)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adam_agrees_with_torch(submission, rng, shape):
    """Update after update, with rates that change, theta is where torch.optim.Adam has it, for any betas and eps."""
    for betas, eps in (((0.9, 0.999), 1e-8), ((0.5, 0.8), 0.1), ((0.0, 0.9), 1e-3), ((0.9, 0.0), 1e-3)):
        theta, first, second = rng.standard_normal(shape), np.zeros(shape), np.zeros(shape)
        gradients, lrs = rng.standard_normal((7, *shape)), rng.uniform(0.01, 1, 7).tolist()
        expected = by_torch(torch.optim.Adam, theta, gradients, lrs, betas=betas, eps=eps)
        for k, (gradient, lr, point) in enumerate(zip(gradients, lrs, expected, strict=True)):
            answer = submission.adam_step(theta, first, second, k, gradient, lr, *betas, eps)
            theta, first, second = states(answer, 3, shape, np.float64)
            assert close(theta, point, **WALK)


@pytest.mark.exercise("adam_step", core=True, hint=2)
def test_adam_hands_on_uncorrected_means(submission, rng):
    """With equal gradients, first is 1 - beta1^(k+1) times the gradient, second 1 - beta2^(k+1) times its square."""
    theta, first, second, gradient = np.zeros(3), np.zeros(3), np.zeros(3), rng.standard_normal(3)
    for k in range(6):
        answer = submission.adam_step(theta, first, second, k, gradient)
        theta, first, second = states(answer, 3, (3,), np.float64)
        assert close(first, (1 - 0.9 ** (k + 1)) * gradient, **WALK)
        assert close(second, (1 - 0.999 ** (k + 1)) * gradient**2, **WALK)
        # Corrected, both are exact here: each step is 0.001 along the sign, up to eps / |gradient|.
        assert close(theta, -1e-3 * (k + 1) * gradient / (np.abs(gradient) + 1e-8), rtol=1e-9)


@pytest.mark.exercise("adam_step", hint=2)
def test_adam_takes_no_notice_of_units(submission, rng):
    """Gradients a million times as large, entry by entry, make the same steps (with an eps of 0)."""
    units = np.array([1e-6, 1.0, 1e6, 1e100])
    walks = []
    for scale in (np.ones(4), units):
        theta, first, second = (np.zeros(4),) * 3
        draws = np.random.default_rng(1)
        for k in range(8):
            gradient = scale * draws.standard_normal(4)
            answer = submission.adam_step(theta, first, second, k, gradient, 0.1, eps=0.0)
            theta, first, second = states(answer, 3, (4,), np.float64)
        walks.append(theta)
    assert close(*walks, rtol=1e-9, atol=1e-12)


@pytest.mark.exercise("adam_step", hint=3)
def test_adam_adds_eps_outside_the_root(submission):
    """Gradients as small as eps make half a step, and with gradients of 0 theta stays where it is."""
    eps = 1e-4
    theta, *_ = submission.adam_step(np.zeros(2), np.zeros(2), np.zeros(2), 0, np.array([eps, 0.0]), 1.0, eps=eps)
    assert close(theta, [-0.5, 0.0], rtol=1e-10)
    # Long after the start both corrections are 1: first is 0.1, second (0.04 + 0.01) / 2.
    state = np.array([0.1]), np.array([0.04])
    theta, *_ = submission.adam_step(np.zeros(1), *state, 10**6, np.array([0.1]), 1.0, 0.9, 0.5, 0.3)
    assert close(theta, [-0.1 / (math.sqrt(0.025) + 0.3)], rtol=1e-12)


@pytest.mark.exercise("adam_step", hint=1)
def test_adam_takes_every_kind_of_array(submission, reference, rng):
    """The update is right for strided and read-only arrays, and float32 stays float32."""
    for (theta, first, gradient), eps in floats(rng, (4, 5), (4, 5), (4, 5)):
        second = frozen(np.abs(rng.standard_normal((8, 5))).astype(theta.dtype))[::-2]  # never negative
        got = states(submission.adam_step(theta, first, second, 4, gradient), 3, (4, 5), theta.dtype)
        double = [array.astype(float) for array in (theta, first, second, gradient)]
        expected = reference.adam_step(*double[:3], 4, double[3])
        # Every number is rounded a few times; c2 = 0.005 is a difference of numbers near 1, so it loses some eps more.
        assert close(got, expected, rtol=100 * eps, atol=10 * eps)


@pytest.mark.exercise("adam_step", forgeable=True, hint=1)
def test_adam_leaves_its_arguments(submission, rng):
    """theta, first, second and gradient are the same after the call, and the results are new arrays."""
    theta, first, second, gradient = np.abs(rng.standard_normal((4, 5)))
    arguments = [theta, first, second, 3, gradient]
    assert submission.run(unchanged, "adam_step", arguments) and submission.run(fresh, "adam_step", arguments)


# ----------------------------------------------------------------------------------------------------------- svrg


@pytest.mark.exercise("svrg", weight=3, core=True, depends=("minibatches",), hint=3)
@pytest.mark.parametrize("size", [(10, 4), (12, 3), (7, 1)], ids=str)
def test_svrg_makes_the_updates(submission, rng, size):
    """Each update takes the batch's gradient, less that at the snapshot, plus the full gradient at the snapshot."""
    (m, batch_size), epochs, d, lr = size, 3, 3, 0.4
    grad, theta0 = Rows(rng, m, d), rng.standard_normal(d)
    thetas = path(submission.svrg(grad, theta0, m, lr, batch_size, epochs, 5), epochs, d)
    theta, expected, n = theta0, [theta0], -(-m // batch_size)
    for epoch in range(epochs):
        snapshot, full = theta, grad.gradient(theta, np.arange(m))
        for rows in grad.asked[epoch * (2 * n + 1) + 1 : (epoch + 1) * (2 * n + 1) : 2]:
            change = grad.gradient(theta, rows) - grad.gradient(snapshot, rows)
            theta = theta - lr * (change + full)
        expected.append(theta)
    assert close(thetas, np.array(expected), **WALK)


@pytest.mark.exercise("svrg", weight=2, depends=("minibatches",), hint=1)
@pytest.mark.parametrize("size", [(10, 4), (9, 3), (1, 2)], ids=str)
def test_svrg_asks_for_what_it_needs(submission, rng, size):
    """An epoch asks for all rows once and for each of its batches twice, at theta and at the snapshot."""
    (m, batch_size), seed = size, int(rng.integers(1000))
    grad = Rows(rng, m, 2)
    thetas = path(submission.svrg(grad, np.ones(2), m, 0.3, batch_size, 3, seed), 3, 2)
    n = -(-m // batch_size)
    assert len(grad.asked) == 3 * (2 * n + 1)
    for epoch in range(3):
        part = slice(epoch * (2 * n + 1), (epoch + 1) * (2 * n + 1))
        (whole, *asked), (at, *points) = grad.asked[part], grad.points[part]
        assert close(np.sort(whole), np.arange(m)) and close(at, thetas[epoch], **WALK)
        expected = submission.minibatches(m, batch_size, seed, epoch)
        assert same_batches(asked, [rows for rows in expected for _ in range(2)])
        for pair in zip(points[::2], points[1::2], strict=True):  # one of the two is the snapshot
            assert any(close(point, thetas[epoch], **WALK) for point in pair)


@pytest.mark.exercise("svrg", weight=2, core=True, depends=("minibatches",), hint=2)
def test_svrg_has_no_floor(submission, rng):
    """With a constant rate it goes on to the exact minimum, where SGD would stop at its floor."""
    grad, m = Rows(rng, 20, 2), 20
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(m) / m
    grad.X = np.column_stack([np.cos(angles), np.sin(angles)])
    best = np.linalg.lstsq(grad.X, grad.y, rcond=None)[0]
    thetas = path(submission.svrg(grad, np.ones(2), m, 0.2, 2, 30), 30, 2)
    # The curvature is 1/2 in every direction: an update shrinks the error by about 0.9, and the 300 of them by 1e-13.
    # SGD would stand at a distance of about sqrt(0.2 / 2) = 0.3.
    assert close(thetas[-1], best, atol=1e-9)


@pytest.mark.exercise("svrg", depends=("minibatches",), hint=3)
def test_svrg_has_the_dtype_of_its_start(submission, rng):
    """From a start of any kind: integers become float64, float32 stays float32, also with no epochs at all."""
    for epochs, (theta0,) in itertools.product((0, 2), kinds(rng, (5,)).values()):
        thetas = submission.svrg(lambda theta, rows: theta, theta0, 2, 0.5, 2, epochs)
        assert is_array(thetas, (epochs + 1, 5), theta0.dtype if theta0.dtype.kind == "f" else np.float64)
        assert close(thetas, np.outer([1, 0.5, 0.25], theta0)[: epochs + 1])


@pytest.mark.exercise("svrg", forgeable=True, depends=("minibatches",), hint=2)
def test_svrg_leaves_its_arguments(submission):
    """theta0 and what grad returns are the same after the call."""
    assert submission.run(walk_is_harmless, "svrg", {"m": 5, "lr": 0.1, "batch_size": 2, "epochs": 2})


# -------------------------------------------------------------------------------------------------- sgd_in_rounds

# m, batch_size, rounds, steps: rounds within an epoch, across epochs, longer than one, and a batch that is all rows.
ROUNDS = [(12, 2, 5, 4), (10, 4, 4, 2), (6, 2, 2, 8), (5, 8, 3, 2), (9, 3, 6, 1)]


@pytest.mark.exercise("sgd_in_rounds", weight=3, core=True, depends=("minibatches",), hint=2)
@pytest.mark.parametrize("case", ROUNDS, ids=str)
def test_rounds_go_on_through_the_epochs(submission, rng, case):
    """The updates of all rounds together use the batches of epoch 0, of epoch 1, and so on, without a break."""
    (m, batch_size, rounds, steps), seed = case, int(rng.integers(1000))
    grad = Rows(rng, m, 2)
    submission.sgd_in_rounds(grad, np.ones(2), m, 0.1, batch_size, rounds, steps, seed)
    epochs = -(-rounds * steps * batch_size // m)
    expected = [rows for epoch in range(epochs) for rows in submission.minibatches(m, batch_size, seed, epoch)]
    assert same_batches(grad.asked, expected[: rounds * steps])


@pytest.mark.exercise("sgd_in_rounds", weight=2, core=True, depends=("minibatches",), hint=1)
def test_rounds_use_every_row(submission, rng):
    """Rounds that together make two epochs use every row exactly twice, however short a round is."""
    grad = Rows(rng, 40, 2)
    submission.sgd_in_rounds(grad, np.ones(2), 40, 0.1, 5, 4, 4, 3)
    assert close(np.bincount(np.concatenate(grad.asked), minlength=40), np.full(40, 2))


@pytest.mark.exercise("sgd_in_rounds", weight=2, core=True, depends=("minibatches",), hint=3)
@pytest.mark.parametrize("case", ROUNDS, ids=str)
def test_rounds_report_theta(submission, rng, case):
    """theta is reported at the start and after every `steps` updates, each of which subtracts lr times a gradient."""
    m, batch_size, rounds, steps = case
    grad, theta0 = Rows(rng, m, 3), rng.standard_normal(3)
    thetas = path(submission.sgd_in_rounds(grad, theta0, m, 0.3, batch_size, rounds, steps), rounds, 3)
    assert len(grad.asked) == rounds * steps
    expected = [theta0]
    for rows in grad.asked:
        expected.append(expected[-1] - 0.3 * grad.gradient(expected[-1], rows))
    assert close(thetas, np.array(expected)[::steps], **WALK)


@pytest.mark.exercise("sgd_in_rounds")
def test_rounds_may_be_none(submission):
    """With no rounds, the answer holds the start alone."""
    thetas = submission.sgd_in_rounds(lambda theta, rows: theta, np.array([2.0, 3.0]), 5, 0.1, rounds=0)
    assert is_array(thetas, (1, 2)) and close(thetas, [[2.0, 3.0]])


@pytest.mark.exercise("sgd_in_rounds", forgeable=True, depends=("minibatches",))
def test_rounds_leave_their_arguments(submission):
    """theta0 and what grad returns are the same after the call."""
    arguments = {"m": 5, "lr": 0.1, "batch_size": 2, "rounds": 2, "steps": 4}
    assert submission.run(walk_is_harmless, "sgd_in_rounds", arguments)


# ------------------------------------------------------------------------------------------------ sgd_from_stream

CLICK = np.dtype([("numeric", "<f4", (8,)), ("hashed", "<i4", (6,)), ("y", "u1")], align=True)


def clicked(rng, m, buckets, scale=1.0):
    """Rows of a click log, with few buckets, so that they meet each other."""
    rows = np.zeros(m, CLICK)
    rows["numeric"] = scale * rng.standard_normal((m, 8))
    rows["hashed"] = rng.integers(0, buckets, (m, 6))
    rows["y"] = rng.integers(0, 2, m)
    return rows


def dense(rows, buckets):
    """X (m, 9 + buckets): ones, the numbers, and how often each bucket is hit."""
    hits = np.array([np.bincount(hashed, minlength=buckets) for hashed in rows["hashed"]])
    return np.column_stack([np.ones(len(rows)), rows["numeric"].astype(float), hits])


def by_autograd(rows, lr, batch_size, buckets):
    """The same pass with torch's own loss and gradient, on a dense matrix."""
    X, y = torch.from_numpy(dense(rows, buckets)), torch.from_numpy(rows["y"].astype(float))
    theta = torch.zeros(9 + buckets, dtype=torch.float64, requires_grad=True)
    losses = []
    for k, start in enumerate(range(0, len(rows), batch_size)):
        part = slice(start, start + batch_size)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(X[part] @ theta, y[part])
        (gradient,) = torch.autograd.grad(loss, theta)
        with torch.no_grad():
            theta -= lr(k) * gradient
        losses.append(loss.item())
    return theta.detach().numpy(), np.array(losses)


def stream_of(answer, buckets, batches):
    assert isinstance(answer, tuple | list) and len(answer) == 2
    theta, losses = answer
    assert is_array(theta, (9 + buckets,), np.float64) and is_array(losses, (batches,), np.float64)
    return theta, losses


@pytest.mark.exercise("sgd_from_stream", weight=3, core=True, hint=3)
@pytest.mark.parametrize("m, batch_size", [(30, 6), (23, 5), (1, 4), (9, 1), (3, 8)])
def test_stream_agrees_with_autograd(submission, rng, data_dir, m, batch_size):
    """theta and the losses are those of one pass of SGD in the order of the file, as torch finds them."""
    file, buckets, rows = data_dir / "log.npy", 12, clicked(rng, m, 12)
    np.save(file, rows)
    rates = rng.uniform(0.1, 1, m).tolist()
    answer = submission.sgd_from_stream(str(file), lambda k: rates[k], batch_size, buckets)
    theta, losses = stream_of(answer, buckets, -(-m // batch_size))
    expected = by_autograd(rows, lambda k: rates[k], batch_size, buckets)
    assert close(theta, expected[0], **WALK)
    assert close(losses, expected[1], **WALK)


@pytest.mark.exercise("sgd_from_stream", hint=3)
def test_stream_agrees_with_scikit_learn(submission, rng, data_dir):
    """In batches of one row it is scikit-learn's SGDClassifier without a penalty."""
    file, buckets, rows = data_dir / "log.npy", 10, clicked(rng, 80, 10)
    rows["y"][:2] = 0, 1
    np.save(file, rows)
    theta, _ = stream_of(submission.sgd_from_stream(str(file), lambda k: 0.05, 1, buckets), buckets, 80)
    peer = SGDClassifier(loss="log_loss", penalty=None, learning_rate="constant", eta0=0.05, max_iter=1, shuffle=False)
    peer.partial_fit(dense(rows, buckets)[:, 1:], rows["y"], classes=[0, 1])
    assert close(theta, np.append(peer.intercept_, peer.coef_), rtol=1e-8, atol=1e-8)


@pytest.mark.exercise("sgd_from_stream", weight=2, core=True, hint=3)
def test_stream_adds_up_repeated_buckets(submission, data_dir):
    """A bucket that comes several times, in a row or in a batch, gets the sum of its parts."""
    rows = np.zeros(4, CLICK)
    rows["hashed"] = [[0] * 6, [1, 1, 1, 2, 2, 3], [0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]]
    rows["y"] = 1
    np.save(data_dir / "log.npy", rows)
    theta, _ = stream_of(submission.sgd_from_stream(str(data_dir / "log.npy"), lambda k: 1.0, 4, 7), 7, 1)
    # Each hit moves its bucket by 1/2 * 1/4.
    assert close(theta[9:], np.array([8, 5, 4, 3, 2, 2, 0]) / 8, rtol=1e-12)


@pytest.mark.exercise("sgd_from_stream", hint=1)
def test_stream_asks_for_rates_once(submission, rng, data_dir):
    """lr is asked for 0, 1, 2, ..., once for each batch."""
    np.save(data_dir / "log.npy", clicked(rng, 11, 5))
    asked = []
    submission.sgd_from_stream(str(data_dir / "log.npy"), lambda k: asked.append(k) or 0.1, 4, 5)
    assert asked == [0, 1, 2]


@student_side
def without_overflow(path, lr, batch_size, buckets):
    """The pass, while NumPy raises where a number overflows or is invalid (runs over there)."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return student.sgd_from_stream(path, lambda k: lr, batch_size, buckets)  # noqa: F821


@pytest.mark.exercise("sgd_from_stream", weight=2, hint=2)
def test_stream_takes_large_logits(submission, rng, data_dir):
    """Losses and theta are right where logits are so large, of either sign, that exp overflows."""
    file, buckets = data_dir / "log.npy", 6
    for scale in (300.0, 1e4):
        rows = clicked(rng, 24, buckets, scale)
        np.save(file, rows)
        theta, losses = stream_of(submission.sgd_from_stream(str(file), lambda k: 0.01, 2, buckets), buckets, 12)
        expected = by_autograd(rows, lambda k: 0.01, 2, buckets)
        assert close(theta, expected[0], rtol=1e-8, atol=1e-8 * scale)
        # Logits are sums of products of up to `scale` and theta, which is up to `scale`: some eps times that.
        assert close(losses, expected[1], rtol=1e-8, atol=1e-11 * scale**2)


@pytest.mark.exercise("sgd_from_stream", hint=1)
def test_stream_finds_its_fields_by_name(submission, rng, data_dir):
    """A file whose fields stand in another order, with another one between them, gives the same answer."""
    rows, file = clicked(rng, 17, 8), data_dir / "log.npy"
    other = np.dtype([("y", "u1"), ("time", "<i8"), ("hashed", "<i4", (6,)), ("numeric", "<f4", (8,))])
    moved = np.zeros(17, other)
    for name in CLICK.names:
        moved[name] = rows[name]
    np.save(file, moved)
    theta, losses = stream_of(submission.sgd_from_stream(str(file), lambda k: 0.3, 5, 8), 8, 4)
    expected = by_autograd(rows, lambda k: 0.3, 5, 8)
    assert close(theta, expected[0], **WALK) and close(losses, expected[1], **WALK)


LARGE = 8192, 200, 1024  # rows of a block, how often it is repeated, buckets: a file of 98 MB


@functools.cache
def large_log(seed):
    """One block of a click log."""
    block, _, buckets = LARGE
    rows = datasets.clicks(block, seed=seed, buckets=buckets).read(0, block)
    out = np.zeros(block, CLICK)
    out["numeric"], out["hashed"], out["y"] = rows.numeric, rows.hashed, rows.y
    return out


@functools.cache
def large_pass(seed, lr, batch_size):
    """What one pass over the large log leads to: a plain implementation on its block, again and again."""
    rows, theta, losses = large_log(seed), np.zeros(9 + LARGE[2]), []
    hits = scipy.sparse.csr_array(dense(rows, LARGE[2]))
    y = rows["y"].astype(float)
    parts = [(hits[i : i + batch_size], y[i : i + batch_size]) for i in range(0, len(rows), batch_size)]
    for _ in range(LARGE[1]):
        for X, target in parts:
            z = X @ theta
            losses.append(np.mean(np.logaddexp(0, z) - target * z))
            theta -= lr / len(target) * (X.T @ (scipy.special.expit(z) - target))
    return theta, np.array(losses)


@pytest.mark.exercise("sgd_from_stream", weight=3, hint=1, memory_mb=64)
def test_stream_is_larger_than_memory(submission, rng, data_dir):
    """A file that is larger than the memory that may be used is learned in one pass."""
    seed, (block, times, buckets), batch_size = int(rng.integers(1000)), LARGE, 4096
    file = data_dir / "log.npy"
    whole = np.lib.format.open_memmap(file, mode="w+", dtype=CLICK, shape=(block * times,))
    whole.reshape(times, block)[:] = large_log(seed)
    whole.flush()
    assert file.stat().st_size > 64 << 20
    del whole
    answer = submission.sgd_from_stream(str(file), lambda k: 0.5, batch_size, buckets)
    theta, losses = stream_of(answer, buckets, block * times // batch_size)
    expected = large_pass(seed, 0.5, batch_size)
    assert close(theta, expected[0], rtol=1e-8, atol=1e-8)  # 400 updates, none of which lets errors grow
    assert close(losses, expected[1], rtol=1e-8)


@student_side
def touched(path, batch_size, buckets, chosen):
    """A pass with a large table; what is left of theta at the chosen places, how many are not 0, and the losses."""
    theta, losses = student.sgd_from_stream(path, lambda k: 0.5, batch_size, buckets)  # noqa: F821
    return theta.shape, theta[:9].copy(), theta[9:][chosen], int(np.count_nonzero(theta)), losses


@pytest.mark.exercise("sgd_from_stream", weight=2, hint=3, memory_mb=160)
def test_stream_updates_only_what_it_touches(submission, rng, data_dir):
    """With a very large table an update still takes the time and the memory of its batch."""
    # theta takes 67 MB. Two thousand gradients of that size would take minutes, where a call has seconds.
    m, batch_size, buckets, few = 8000, 4, 2**23, 500
    rows = clicked(rng, m, few)
    np.save(data_dir / "log.npy", rows)
    places = np.sort(rng.choice(buckets, few, replace=False))
    spread = rows.copy()
    spread["hashed"] = places[rows["hashed"]]
    np.save(data_dir / "wide.npy", spread)
    got = submission.run(touched, str(data_dir / "wide.npy"), batch_size, buckets, places)
    shape, front, table, count, losses = got
    expected = by_autograd(rows, lambda k: 0.5, batch_size, few)
    assert tuple(shape) == (9 + buckets,) and count == np.count_nonzero(expected[0])
    assert close(np.concatenate([front, table]), expected[0], rtol=1e-8, atol=1e-8)
    assert close(losses, expected[1], rtol=1e-8, atol=1e-8)
