"""Hidden tests of module 01. A docstring is the sentence that a student reads when the test fails.

What rounding is allowed is `sum_rounding` of the products that make a loss or an entry of a gradient.
"""

import itertools
import math

import numpy as np
import pytest
import torch

from autograder.judging import (
    EPS,
    SEEDS,
    Argument,
    Asked,
    Contract,
    close,
    floats,
    is_array,
    numbers,
    on_large,
    one_of,
    raises_student,
    student_side,
    sum_rounding,
)

SHAPES = {"tall": (1500, 5), "wide": (5, 200), "one row": (1, 7), "one column": (60, 1), "one number": (1, 1)}
LARGE = (-(10**12), 10**12)  # integers that float32 and int32 do not hold
DATA = {
    "X": numbers(40, 12, scales=(2e98, 1e-97), whole=LARGE),
    "y": numbers(40, scales=(2e98, 1e-97), whole=LARGE),
    "theta": floats(12),
}
SIDE = 2400  # of the large X: it takes 46 MB, and so does each of X^T X, X X^T and a temporary of X's shape
ROOM = 58  # MB: not twice that by far, since threads that end leave up to 24 more


def problem(rng, m, d):
    """X (m, d), y (m,), theta (d,), all normal."""
    return rng.standard_normal((m, d)), rng.standard_normal(m), rng.standard_normal(d)


def magnitudes(X, y, theta):
    """|X| and |X| |theta| + |y|: what the products of a loss and a gradient are made of."""
    return np.abs(X), np.abs(X) @ np.abs(theta) + np.abs(y)


def loss_rounding(X, y, theta, eps=EPS):
    m, d = X.shape
    size = magnitudes(X, y, theta)[1]
    return sum_rounding(m + 2 * d + 4, float(size @ size) / (2 * m), eps)


def gradient_rounding(X, y, theta, eps=EPS):
    m, d = X.shape
    A, size = magnitudes(X, y, theta)
    return sum_rounding(m + d + 4, A.T @ size / m, eps)


def exact_loss(X, y, theta):
    """The loss, its sum without rounding."""
    return math.fsum(float(r) ** 2 for r in X @ theta - y) / (2 * len(X))


def autograd(X, y, theta):
    """The gradient of J as torch finds it."""
    X, y, theta = (torch.from_numpy(np.array(array, dtype=float)) for array in (X, y, theta))
    theta.requires_grad_(True)
    (((X @ theta - y) ** 2).sum() / (2 * len(X))).backward()
    return theta.grad.numpy()


def is_loss(got, X, y, theta, eps=EPS):
    assert isinstance(got, float | np.floating)
    return close(got, exact_loss(X, y, theta), atol=loss_rounding(X, y, theta, eps))


def is_gradient(got, X, y, theta, dtype=np.float64, eps=EPS):
    """Whether `got` is the gradient, in float64 or, where all arguments are float32, in float32."""
    assert is_array(got, dtype=np.float64) or is_array(got, dtype=dtype)
    return close(got, autograd(X, y, theta), atol=gradient_rounding(X, y, theta, eps))


# ------------------------------------------------------------------------------------------------------- mse_loss

LOSS = Contract("mse_loss", **DATA)


@pytest.mark.exercise("mse_loss", weight=3, core=True, hint=2)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_loss_is_half_the_mean_square(submission, rng, shape):
    """The loss is 1/(2m) times the sum of squared residuals, for tall, wide and single-row X, as one number."""
    data = problem(rng, *shape)
    assert is_loss(submission.mse_loss(*data), *data)


@pytest.mark.exercise("mse_loss", hint=2)
def test_loss_takes_every_kind_of_array(submission, rng):
    """The loss is right for integers, float32, views and read-only arrays, for huge and for tiny numbers."""
    for case in LOSS.cases(rng):
        assert is_loss(submission.mse_loss(*case), *case.exact, eps=case.eps)


@pytest.mark.exercise("mse_loss", hint=3)
def test_loss_refuses_a_column(submission, rng):
    """A y of shape (m, 1), or of any other shape but (m,), raises ValueError: NumPy does not broadcast it."""
    other_shapes = [lambda y: y[:, None], lambda y: y[None], lambda y: y[:1], lambda y: y[1:], lambda y: y[0]]
    LOSS.refuses(submission, rng, ValueError, y=[*other_shapes, lambda y: np.append(y, 1.0), lambda y: y[:0]])
    with raises_student(ValueError):
        submission.mse_loss(np.ones((1, 2)), np.ones((1, 1)), np.ones(2))


@pytest.mark.exercise("mse_loss", hint=3)
def test_loss_refuses_no_rows(submission):
    """An X without rows raises ValueError: there is no mean over nothing."""
    with raises_student(ValueError):
        submission.mse_loss(np.zeros((0, 3)), np.zeros(0), np.ones(3))


@pytest.mark.exercise("mse_loss", forgeable=True)
def test_loss_leaves_its_arguments(submission, rng):
    """A call changes none of its arguments, also when it raises, and nothing that a later call uses."""
    assert LOSS.leaves_no_trace(submission, rng, y=[lambda y: y[:, None]])


# --------------------------------------------------------------------------------------------------- mse_gradient

GRADIENT = Contract("mse_gradient", **DATA)


@pytest.mark.exercise("mse_gradient", weight=3, core=True, hint=2)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradient_agrees_with_autograd(submission, rng, shape):
    """The gradient is that of 1/(2m) * ||X theta - y||^2, for tall, wide and single-row X."""
    data = problem(rng, *shape)
    assert is_gradient(submission.mse_gradient(*data), *data)


@pytest.mark.exercise("mse_gradient", hint=3)
def test_gradient_takes_every_kind_of_array(submission, rng):
    """The gradient is right, and of the right dtype, for integers, float32, views, read-only, huge and tiny arrays."""
    for case in GRADIENT.cases(rng):
        assert is_gradient(submission.mse_gradient(*case), *case.exact, case.dtype, case.eps)


@pytest.mark.exercise("mse_gradient", weight=3, hint=3, memory_mb=ROOM)
@pytest.mark.parametrize("transposed", [False, True], ids=["X", "a view"])
def test_gradient_forms_no_second_matrix(submission, rng, transposed):
    """Beside X, the gradient takes O(m + d) memory: no array of shape (d, d) or (m, d) is made, and no copy of X."""
    seed = int(rng.integers(2**31))
    got = submission.run(on_large, "mse_gradient", seed, [(SIDE, SIDE), (SIDE,), (SIDE,)], (), transposed)
    X, *rest = problem(np.random.default_rng(seed), SIDE, SIDE)
    assert is_gradient(got, X.T if transposed else X, *rest)


@pytest.mark.exercise("mse_gradient", forgeable=True)
def test_gradient_leaves_its_arguments(submission, rng):
    """A call changes none of its arguments, and returns a new array that no other call changes."""
    assert GRADIENT.leaves_no_trace(submission, rng)


# ----------------------------------------------------------------------------------------------- gradient_descent


class Bowl:
    """J = 1/2 (theta - best)^T H (theta - best), with a random H of known spectrum."""

    def __init__(self, rng, spectrum):
        d = len(spectrum)
        self.spectrum = np.asarray(spectrum, float)
        self.axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
        self.best = rng.standard_normal(d)

    def __call__(self, theta):
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = self.axes @ (self.spectrum * (self.axes.T @ (theta - self.best)))
            return 0.5 * float((theta - self.best) @ gradient), gradient

    def loss(self, theta):
        return self(theta)[0]

    def after(self, theta0, lr, k):
        """Where plain descent stands after k steps, in closed form: each eigendirection shrinks on its own."""
        return self.best + self.axes @ ((1 - lr * self.spectrum) ** k * (self.axes.T @ (theta0 - self.best)))


@student_side
def cone(theta):
    """A loss that is no parabola, nearly |theta| far out, and its gradient, in the precision of theta."""
    length = np.sqrt(1 + theta * theta)
    return float(length.sum()), theta / length


@student_side
def slope(theta):
    """A slope that is steep alike everywhere, told in float32."""
    return float(theta.sum()), np.ones(len(theta), np.float32)


def walking(name, theta0):
    """The contract of a walk; the gradients at its start are about 1 long, so the tolerances end it early or late."""
    steps, tol = one_of(12, 0, 1, 2, 150), one_of(0.0, 0.5, 0.05, 1e6)
    return Contract(name, grad=cone, theta0=theta0, lr=one_of(0.8, 0.03, 1e-8, 1e-12), steps=steps, tol=tol)


# Each step rounds a few times at the size of theta (about 1), and the walks below contract, so that errors do not pile
# up: 1e-11 is generous for a hundred steps, and far below what a single step moves; 1e-5 is as generous for float32.
WALK = {"rtol": 1e-11, "atol": 1e-11}
SINGLE = {"rtol": 1e-5, "atol": 1e-5}


def walked(answer):
    """(theta, history) as arrays, whatever kind of sequence the history is."""
    assert isinstance(answer, tuple | list) and len(answer) == 2
    theta, history = answer
    assert is_array(theta) and isinstance(history, list | tuple | np.ndarray)
    assert all(isinstance(loss, float | np.floating) for loss in history)
    return theta, np.array([float(loss) for loss in history])


def agrees_on_every_kind_of_start(walk, reference_walk, contract, rng, double=False):
    """The walk is that of the reference from every kind of start, for every lr, number of steps and tolerance."""
    long = contract.plain(rng, theta0=lambda theta: np.resize(theta, 1500))
    far = contract.plain(rng, theta0=lambda theta: 1000 + theta, lr=37.0)
    many = contract.plain(rng, lr=0.03, steps=300)
    for case in (*contract.cases(rng), long, far, many):
        theta, history = walked(walk(*case))
        expected, losses = reference_walk(*case.exact)
        within = SINGLE if case.dtype == np.float32 else WALK
        assert is_array(theta, dtype=case.dtype) or (double and is_array(theta, dtype=np.float64))
        assert close(theta, expected, **within)
        assert close(history, losses, **within)
    assert len(walked(walk(cone, np.ones(2), 0.03))[1]) == 101  # 100 steps by default


def walks_on_what_it_is_told(walk, rng, steps=9):
    """grad is asked once for each loss, the losses are those it told, and the last point asked is returned."""
    losses = rng.uniform(5, 6, steps + 1)
    grad = Asked(lambda theta: (float(losses[min(len(grad.calls), steps + 1) - 1]), np.tanh(theta)))
    theta, history = walked(walk(grad, rng.standard_normal(4), 0.3, steps=steps))
    assert len(grad.calls) == steps + 1
    assert all(is_array(point, (4,), np.float64) for (point,) in grad.calls)
    assert close(history, losses, rtol=1e-15)
    assert close(theta, grad.calls[-1][0], rtol=1e-15)
    # A float32 point that no update moves; its losses keep the digits of a float.
    _, history = walked(walk(lambda theta: (1 / 3, np.ones_like(theta)), np.full(2, 1e30, np.float32), 0.3, steps=3))
    assert close(history, [1 / 3] * 4, rtol=1e-15)


def goes_on_where_it_diverges(walk):
    """Neither a loss of inf or nan nor a gradient of nan ends the walk, and by default no gradient but 0 does."""
    for loss, gradient in ((math.inf, 1.0), (math.nan, 1.0), (1.0, math.nan), (1.0, math.inf), (1.0, 1e-100)):
        grad = Asked(lambda theta, loss=loss, gradient=gradient: (loss, np.full(2, gradient)))
        _, history = walked(walk(grad, np.zeros(2), 0.1, steps=5))
        assert len(grad.calls) == len(history) == 6


def stops_at_a_small_gradient(walk):
    """A gradient (3, 4) is 5 long: a tol of 5 stops there at once, a little less never does."""
    for size in (1.0, 2.0**-40, 2.0**40):
        for share, calls in ((5, 1), (5 - 1e-9, 4)):
            grad = Asked(lambda theta, size=size: (1.0, size * np.array([3.0, 4.0])))
            _, history = walked(walk(grad, np.zeros(2), 0.1, steps=3, tol=size * share))
            assert len(grad.calls) == calls
            assert len(history) == calls
    # The first small gradient is the fifth. There, the points of a walk with momentum have come apart.
    grad = Asked(lambda theta: (1.0, np.array([3.0, 4.0]) if len(grad.calls) < 5 else np.zeros(2)))
    point, history = walked(walk(grad, np.zeros(2), 0.1, steps=9, tol=1.0))
    assert len(grad.calls) == 5
    assert len(history) == 5
    assert close(point, grad.calls[-1][0], rtol=1e-15)


DESCENT = walking("gradient_descent", numbers(6, scales=(1e8, 1e-8)))


@pytest.mark.exercise("gradient_descent", weight=3, core=True, hint=3)
@pytest.mark.parametrize("d", [1, 2, 20])
def test_walk_follows_the_closed_form(submission, rng, d):
    """On quadratic bowls the walk and its losses are those of the update rule, from theta_0 to the last point."""
    # lr * lambda stays clear of 1, where a direction dies at once: a gradient of exactly zero would end the walk.
    bowl = Bowl(rng, rng.uniform(0.1, 1.0, d))
    theta0, lr, steps = rng.standard_normal(d), float(rng.uniform(0.3, 0.7)), 15
    theta, history = walked(submission.gradient_descent(bowl, theta0, lr, steps, 0.0))
    points = [bowl.after(theta0, lr, k) for k in range(steps + 1)]
    assert close(theta, points[-1], **WALK)
    assert close(history, [bowl.loss(point) for point in points], **WALK)


@pytest.mark.exercise("gradient_descent", weight=4, hint=1)
def test_walk_asks_once_for_each_loss(submission, rng):
    """grad is called once for each entry of the history, and last at the theta that is returned."""
    walks_on_what_it_is_told(submission.gradient_descent, rng)


@pytest.mark.exercise("gradient_descent", weight=2, hint=3)
def test_walk_stops_at_a_small_gradient(submission):
    """The walk ends at the first point, theta_0 included, where the gradient's Euclidean norm is at most tol."""
    stops_at_a_small_gradient(submission.gradient_descent)


@pytest.mark.exercise("gradient_descent", weight=2, hint=2)
def test_walk_from_every_kind_of_start(submission, reference, rng):
    """The walk is right from integer, float32 and read-only starts, for any lr, steps, tol; float32 stays float32."""
    agrees_on_every_kind_of_start(submission.gradient_descent, reference.gradient_descent, DESCENT, rng)


@pytest.mark.exercise("gradient_descent", hint=3)
def test_walk_reports_divergence(submission, rng):
    """A walk that diverges goes on to the last step, and its history shows it."""
    bowl, theta0 = Bowl(rng, np.ones(2)), rng.standard_normal(2)
    lr = 1e9
    _, history = walked(submission.gradient_descent(bowl, theta0, lr, 45))
    assert len(history) == 46
    # The loss grows by 10^18 a step: beyond float64 from step 18 on, theta itself from step 35 on.
    assert close(history[:16], [bowl.loss(bowl.after(theta0, lr, k)) for k in range(16)], rtol=1e-11)
    assert not np.isfinite(history[-1])
    goes_on_where_it_diverges(submission.gradient_descent)


@pytest.mark.exercise("gradient_descent", weight=2, forgeable=True, hint=2)
def test_walk_leaves_the_start(submission, rng):
    """theta0 and the gradients are the same after the call, and what is returned is another array, for any steps."""
    assert DESCENT.leaves_no_trace(submission, rng, then=[{}, {"steps": 0}, {"tol": 1e6}])


# ---------------------------------------------------------------------------------------------- largest_stable_lr


def with_spectrum(rng, m, spectrum):
    """X (m, d) whose X^T X / m has this spectrum (and zeros besides, where m < d), in a random basis."""
    spectrum = np.asarray(spectrum, float)
    rank = len(spectrum)
    d = rank if m >= rank else 3 * rank
    left = np.linalg.qr(rng.standard_normal((m, rank)))[0]
    right = np.linalg.qr(rng.standard_normal((d, rank)))[0]
    return left * np.sqrt(m * spectrum) @ right.T


def centred(rng, m, spectrum):
    """As above, but rows and columns sum to zero: a start of all ones is sent to zero at once."""
    d = len(spectrum) + 1
    left, right = (rng.standard_normal((n, len(spectrum))) for n in (m, d))
    left, right = (np.linalg.qr(side - side.mean(axis=0))[0] for side in (left, right))
    return left * np.sqrt(m * np.asarray(spectrum)) @ right.T


def true_limit(X):
    """2 / lambda_max by a dense eigenvalue solver, on the smaller of the two Gram matrices."""
    gram = X.T @ X if X.shape[1] <= X.shape[0] else X @ X.T
    return 2 * len(X) / float(np.linalg.eigvalsh(gram)[-1])


LIMIT = Contract("largest_stable_lr", X=numbers(30, 3, scales=(1e59, 1e-58), whole=LARGE), steps=300, seed=one_of(0, 7))


@pytest.mark.exercise("largest_stable_lr", weight=3, core=True, hint=3)
@pytest.mark.parametrize("shape", ["tall", "wide", "one row", "one column", "one number"])
def test_limit_is_two_over_the_largest_eigenvalue(submission, rng, shape):
    """The limit is 2 / lambda_max of X^T X / m, for tall, wide and single-row X."""
    scale = float(rng.uniform(0.2, 5))
    # lambda_2 / lambda_max = 1/2, so 60 rounds leave an error of 2^-120 times the squared tangent of the angle between
    # the start and the eigenvector; for that to matter the start would have to be within 1e-12 of a right angle.
    X = {
        "tall": with_spectrum(rng, 1500, scale * 0.5 ** np.arange(6)),
        "wide": with_spectrum(rng, 8, scale * 0.5 ** np.arange(8)),
        "one row": rng.standard_normal((1, 9)),
        "one column": rng.standard_normal((30, 1)),
        "one number": np.array([[scale]]),
    }[shape]
    got = submission.largest_stable_lr(X, steps=60, seed=int(rng.integers(1000)))
    assert isinstance(got, float | np.floating)
    assert close(got, true_limit(X), rtol=1e-10)


@pytest.mark.exercise("largest_stable_lr", core=True, hint=2)
def test_limit_is_approached_from_above(submission, rng):
    """After few rounds the estimate is above the true limit, and after as many as it is told it is there."""
    X = with_spectrum(rng, 120, [1.0, *[0.1] * 99])
    # One round from a random start: a Rayleigh quotient within 1% of lambda_max would need a first coordinate nine
    # standard deviations out (probability below 1e-18). From below by theory, up to rounding.
    # All eigenvalues are at least 0.1, so the estimate of the limit is at most ten times as large.
    limit = true_limit(X)
    for seed in range(3):
        got = submission.largest_stable_lr(X, steps=1, seed=seed)
        assert float(submission.largest_stable_lr(X, steps=2, seed=seed)) < float(got)
        assert close(got, 5.505 * limit, atol=4.495 * limit * (1 + 1e-12))  # from 1.01 to 10 times the limit
        got = submission.largest_stable_lr(X, steps=30, seed=seed)
        assert close(got, limit, rtol=1e-10) and float(got) >= (1 - 1e-12) * limit
    # Little gap: the error falls by 0.99^2 a round, so neither a hundred rounds, the default, suffice nor a thousand.
    X = with_spectrum(rng, 20, np.append(1.0, np.full(9, 0.99)))
    limit, early = true_limit(X), submission.largest_stable_lr(X)
    assert close(submission.largest_stable_lr(X, steps=2000), limit, rtol=1e-12)
    assert close(early, submission.largest_stable_lr(X, steps=100, seed=0), rtol=1e-14)
    assert close(early, 1.0101 * limit, atol=0.0101 * limit) and float(early) > (1 + 1e-6) * limit


@pytest.mark.exercise("largest_stable_lr", hint=3)
def test_limit_starts_at_random(submission, rng):
    """No direction is overlooked, whether rows and columns sum to zero or the data lie along a single axis."""
    given = [centred(rng, 20, 0.5 ** np.arange(5)), np.array([[1.0, -1.0], [1.0, -1.0]]), np.array([[2.0, -1.0, -1.0]])]
    given += [np.diag(np.where(np.arange(5) == axis, 2.0, 1.0)) for axis in range(5)]
    for X in given:  # lambda_2 is at most half of lambda_max in all of them
        assert close(submission.largest_stable_lr(X, steps=60), true_limit(X), rtol=1e-10)
    # lambda_max is 9, along (1, -1). From a start of one sign the estimate |X^T X v / m| is at most 6.4 in one round.
    # From a normal start any estimate is above 7 with probability 1/3 at least: in none of 40 with one of 1e-7.
    X = np.array([[3.0, -3.0], [1.0, 1.0]])
    assert min(float(submission.largest_stable_lr(X, steps=1, seed=seed)) for seed in range(40)) < 2 / 7


@pytest.mark.exercise("largest_stable_lr", hint=3)
def test_limit_follows_its_seed(submission, rng):
    """The same seed gives the same start, in every process; another seed gives another."""
    X, seeds = rng.standard_normal((9, 6)), [seed for seed in SEEDS if seed < 2**32]
    found = [float(submission.largest_stable_lr(X, steps=1, seed=seed)) for seed in seeds]
    assert len(set(found)) == len(found)
    with submission.elsewhere() as other:
        assert close([other.largest_stable_lr(X, steps=1, seed=seed) for seed in seeds[:4]], found[:4], rtol=1e-14)


@pytest.mark.exercise("largest_stable_lr", hint=3)
def test_limit_of_nothing_is_infinite(submission):
    """For an X of zeros the limit is infinity; for an X with one number that is not zero, however small, it is not."""
    for shape in ((4, 3), (1, 1), (2, 6)):
        assert close(submission.largest_stable_lr(np.zeros(shape)), math.inf)
    X = np.zeros((3, 2))
    X[1, 1] = 1e-59
    assert close(submission.largest_stable_lr(X), 6e118, rtol=1e-10)


@pytest.mark.exercise("largest_stable_lr", hint=3)
def test_limit_keeps_its_scale(submission, rng):
    """Huge and tiny data neither overflow nor vanish, and integers, float32, views and read-only X work."""
    for case in LIMIT.cases(rng):
        X = case.exact[0]
        second, largest = np.linalg.eigvalsh(X.T @ X)[-2:]
        # Each product is off by at most (m + d) eps, twice over. A round shrinks the rest of the error by the squared
        # ratio of the eigenvalues; one start in a million is within 1e-6 of a right angle to the first eigenvector.
        allowed = max(1e-10, 8 * sum(X.shape) * case.eps) + 1e12 * (second / largest) ** 598
        assert close(submission.largest_stable_lr(*case), true_limit(X), rtol=allowed)


@pytest.mark.exercise("largest_stable_lr", weight=5, hint=1, memory_mb=ROOM)
@pytest.mark.parametrize("transposed", [False, True], ids=["X", "a view"])
def test_limit_forms_no_square_matrix(submission, rng, transposed):
    """Beside X, a round takes O(m + d) memory: neither X^T X nor X X^T is formed, and a float64 X is not copied."""
    seed = int(rng.integers(2**31))
    got = submission.run(on_large, "largest_stable_lr", seed, [(SIDE, SIDE)], [12], transposed)
    # lambda_max is within 2% of 4, by the law of Marchenko and Pastur for a square normal X. The estimate comes from
    # below: less than 0.871 ln(d) / 11 is missing on average (Kuczynski and Wozniakowski, 1992).
    assert close(2 / float(got), 3.0, atol=1.1)


@student_side
def keeps_the_global_generator(X):
    """Whether NumPy's global random generator goes on as if nothing had been called (over there)."""
    np.random.seed(5)
    student.largest_stable_lr(X)  # noqa: F821
    after = np.random.random()
    np.random.seed(5)
    return bool(after == np.random.random())


@pytest.mark.exercise("largest_stable_lr", forgeable=True)
def test_limit_leaves_its_argument(submission, rng):
    """A call leaves X and NumPy's global random generator as they are, and the same call returns the same limit."""
    assert submission.run(keeps_the_global_generator, rng.standard_normal((5, 3)))
    assert LIMIT.leaves_no_trace(submission, rng, then=[{}, {"X": np.zeros((3, 2))}])


# --------------------------------------------------------------------------------------- backtracking_line_search


@student_side
def squares(p):
    return float(p @ p)


SEARCH = Contract(
    "backtracking_line_search",
    loss=squares,
    theta=floats(4, draw=lambda rng: rng.uniform(0.5, 2, 4), scales=(1e8, 1e-8)),
    gradient=floats(4, draw=lambda rng: rng.uniform(5, 20, 4), scales=(1e8, 1e-8)),  # several trials are needed
    lr=one_of(1.0, 37.0, 1e-8, default=1.0),
    shrink=one_of(0.5, 0.9, 0.1, 0.99, default=0.5),
    c=one_of(1e-4, 0.3, default=1e-4),
    max_trials=one_of(50, 1, 300, default=50),
)


@pytest.mark.exercise("backtracking_line_search", weight=3, core=True, hint=3)
def test_search_returns_the_first_step_accepted(submission, rng):
    """On a bowl of known curvature the step is the first one that Armijo's condition accepts, for any shrink and c."""
    # On J = L/2 ||theta||^2 the condition holds exactly for t <= 2 (1 - c) / L. The steps stay 1% clear of that edge.
    # The gradient is 0.3 long: the length in place of its square asks for more, no decrease asks for less.
    done = 0
    while done < 8:
        L, shrink, c = float(rng.uniform(0.5, 80)), float(rng.uniform(0.2, 0.9)), float(rng.uniform(0.2, 0.95))
        lr = float(rng.uniform(0.5, 4))
        tried = lr * shrink ** np.arange(250)  # 0.9^250 is 4e-12
        edge = 2 * (1 - c) / L
        if np.abs(tried / edge - 1).min() < 0.01:
            continue
        gradient = rng.standard_normal(5)
        gradient *= 0.3 / np.linalg.norm(gradient)
        got = submission.backtracking_line_search(
            lambda p, L=L: 0.5 * L * float(p @ p), gradient / L, gradient, lr=lr, shrink=shrink, c=c, max_trials=250
        )
        assert close(got, tried[tried <= edge][0], rtol=1e-12)
        done += 1
    at, lr = np.ones(1), 2 - 1e-6  # here the edge is 2 (1 - c), and c is smaller than usual
    assert close(
        submission.backtracking_line_search(lambda p: 0.5 * float(p @ p), at, at, lr=lr, c=1e-8), lr, rtol=1e-12
    )


@pytest.mark.exercise("backtracking_line_search", hint=3)
def test_search_takes_every_kind_of_array(submission, reference, rng):
    """The step is right, a float, for float32, views and read-only arrays, and for any lr, shrink, c and max_trials."""
    far = np.where(np.arange(1500) < 1400, 1.0, 100.0)  # the last entries allow longer steps than the first do
    long = SEARCH.plain(rng, theta=far, gradient=rng.uniform(5, 20, 1500))
    # The first step accepted is 1/32 to 1/2 here, so for some of these numbers of trials it is the first not tried.
    few = [SEARCH.plain(rng, lr=1.0, shrink=0.5, max_trials=trials) for trials in range(1, 7)]
    steep = SEARCH.plain(rng, gradient=lambda gradient: 1e20 * gradient, shrink=0.1, c=1e-25)  # steps of about 1e-21
    single = SEARCH.plain(rng, theta=np.ones(4, np.float32), gradient=np.full(4, 9, np.float32), shrink=0.1)
    for case in (*SEARCH.cases(rng, plain=5), long, *few, steep, single):
        got = submission.backtracking_line_search(*case)
        assert isinstance(got, float | np.floating)
        assert close(got, reference.backtracking_line_search(*case.exact), rtol=1e-12)


def scripted(losses):
    """A loss that tells these numbers at the points 0, 1, 1/2, 1/4, ... along minus the gradient (1, 0), then nan."""
    told = {0.0: losses[0]} | {-(0.5**k): loss for k, loss in enumerate(losses[1:])}
    return Asked(lambda p: told.get(float(p[0]), math.nan))


ZERO, ALONG = np.zeros(2), np.array([1.0, 0.0])
# J = 1 at theta. With c = 1/2 the steps 1, 1/2, 1/4 are accepted at losses up to 1/2, 3/4, 7/8. All is exact.
SCRIPTS = {
    "on the border": (0.5, [1.0, 0.5, 0, 0], 1.0, 1),
    "just above it": (0.5, [1.0, 0.5 + 1e-12, 0.75, 0], 0.5, 2),
    "just below it": (0.3, [1.0, 0.7 - 1e-9, 0, 0], 1.0, 1),
    "nan and inf": (0.5, [1.0, math.nan, math.inf, 0.875], 0.25, 3),
    "never": (0.5, [1.0, 1.0, 1.0, 1.0], 0.0, 3),
    "only nan": (0.5, [1.0, math.nan, math.nan, math.nan], 0.0, 3),
}


@pytest.mark.exercise("backtracking_line_search", weight=4, hint=1)
@pytest.mark.parametrize("c, losses, step, trials", SCRIPTS.values(), ids=SCRIPTS)
def test_search_wastes_no_evaluation(submission, c, losses, step, trials):
    """The loss is evaluated once at theta and once for each step tried, up to the first that is accepted."""
    loss = scripted(losses)
    assert close(submission.backtracking_line_search(loss, ZERO, ALONG, c=c, max_trials=3), step)
    points = [0.0, *(-(0.5**k) for k in range(trials))]
    assert len(loss.calls) == len(points)
    assert close(sorted(float(p[0]) for (p,) in loss.calls), sorted(points))


@pytest.mark.exercise("backtracking_line_search", hint=2)
def test_search_never_accepts_nan(submission):
    """A step whose loss is nan or inf is not accepted, and where no step is, 0.0 is returned."""
    for name in ("nan and inf", "never", "only nan"):
        c, losses, step, _ = SCRIPTS[name]
        assert close(submission.backtracking_line_search(scripted(losses), ZERO, ALONG, c=c, max_trials=3), step)
    uphill = Asked(lambda p: float(p[0] < 0))
    assert close(submission.backtracking_line_search(uphill, ZERO, ALONG, shrink=0.95, max_trials=110), 0.0)
    assert len(uphill.calls) == 111
    # By default 50 trials, also of steps that are too short to move theta. It keeps its digits beside float32.
    stuck = Asked(lambda p: float(len(stuck.calls) > 1))
    assert close(submission.backtracking_line_search(stuck, np.full(2, 1 / 3), ALONG.astype(np.float32), lr=1e-10), 0.0)
    assert len(stuck.calls) == 51
    assert any(close(p, [1 / 3 - 1e-10, 1 / 3], rtol=1e-15) for (p,) in stuck.calls)
    for fall, step in ((2e-4, 1.0), (5e-5, 0.0)):  # times the step, which is 1 at first; c is 1e-4
        got = submission.backtracking_line_search(lambda p, fall=fall: fall * float(p[0]), ZERO, ALONG)
        assert close(got, step)


@pytest.mark.exercise("backtracking_line_search", hint=3)
def test_search_at_a_stationary_point(submission):
    """With a gradient of zero the condition holds with equality, and the first step is returned."""
    loss = Asked(lambda p: float(p @ p))
    assert close(submission.backtracking_line_search(loss, np.ones(2), np.zeros(2), lr=0.7), 0.7)
    assert len(loss.calls) == 2


@pytest.mark.exercise("backtracking_line_search", forgeable=True)
def test_search_leaves_its_arguments(submission, rng):
    """theta and gradient are the same after the call, and nothing is kept for a later one."""
    assert SEARCH.leaves_no_trace(submission, rng, then=[{}, {"max_trials": 1}, {"gradient": np.zeros(4)}])


# ------------------------------------------------------------------------------------------------------- nesterov

MOMENTUM = walking("nesterov", numbers(6, scales=(1e8, 1e-8)))


@pytest.mark.exercise("nesterov", weight=3, core=True, hint=3)
@pytest.mark.parametrize("d", [1, 2, 20])
def test_nesterov_visits_the_right_points(submission, rng, d):
    """On quadratic bowls the look-ahead points and their losses follow the three lines of the method."""
    bowl = Bowl(rng, rng.uniform(0.05, 1.0, d))
    theta0, lr, steps = rng.standard_normal(d), float(rng.uniform(0.3, 0.6)), 25  # lr * lambda clear of 1, as above
    # In each eigendirection the error obeys its own scalar recursion, with the weight beta_k of round k:
    # v_{k+1} = (1 + beta_k) (1 - lr lambda) v_k - beta_k (1 - lr lambda) v_{k-1}.
    weights, t = [], 1.0
    for _ in range(steps):
        weights.append((t - 1) / ((1 + math.sqrt(1 + 4 * t**2)) / 2))
        t = (1 + math.sqrt(1 + 4 * t**2)) / 2
    shrink = 1 - lr * bowl.spectrum
    errors = [bowl.axes.T @ (theta0 - bowl.best)]
    for k, beta in enumerate(weights):
        errors.append((1 + beta) * shrink * errors[k] - beta * shrink * errors[max(k - 1, 0)])
    points = [bowl.best + bowl.axes @ error for error in errors]
    v, history = walked(submission.nesterov(bowl, theta0, lr, steps, 0.0))
    assert close(v, points[-1], **WALK)
    assert close(history, [bowl.loss(point) for point in points], **WALK)


@pytest.mark.exercise("nesterov", weight=4, hint=1)
def test_nesterov_asks_once_for_each_loss(submission, rng):
    """grad is called once for each entry of the history, and last at the point that is returned."""
    walks_on_what_it_is_told(submission.nesterov, rng)


@pytest.mark.exercise("nesterov", weight=2, hint=1)
def test_nesterov_stops_at_a_small_gradient(submission):
    """The walk ends at the first look-ahead point, v_0 included, where the gradient's norm is at most tol."""
    stops_at_a_small_gradient(submission.nesterov)


@pytest.mark.exercise("nesterov", weight=2, hint=1)
def test_nesterov_from_every_kind_of_start(submission, reference, rng):
    """The walk is right from integers and read-only starts, for any lr, steps and tol, also where J is no parabola."""
    agrees_on_every_kind_of_start(submission.nesterov, reference.nesterov, MOMENTUM, rng, double=True)
    v, _ = submission.nesterov(slope, np.zeros(2), 0.1, steps=300)
    # Only the gradients are float32: the points are not. Their weights come near 1, and nothing makes up for an error.
    assert is_array(v, dtype=np.float64)
    assert close(v, reference.nesterov(slope, np.zeros(2), 0.1, steps=300)[0], rtol=1e-5)


@pytest.mark.exercise("nesterov")
def test_nesterov_reports_divergence(submission):
    """A walk that diverges goes on to the last step, as gradient_descent does."""
    goes_on_where_it_diverges(submission.nesterov)


@pytest.mark.exercise("nesterov", weight=2, forgeable=True, hint=1)
def test_nesterov_leaves_the_start(submission, rng):
    """theta0 and the gradients are the same after the call, and what is returned is another array, for any steps."""
    assert MOMENTUM.leaves_no_trace(submission, rng, then=[{}, {"steps": 0}, {"tol": 1e6}])


# ----------------------------------------------------------------------------------------------- chunked_gradient


def cut(X, y, sizes):
    """The rows in chunks of these sizes."""
    edges = np.cumsum([0, *sizes])
    assert edges[-1] == len(y)
    return [(X[a:b], y[a:b]) for a, b in itertools.pairwise(edges)]


def is_whole(answer, *data, dtype=np.float64, eps=EPS):
    """Whether an answer is the loss and the gradient of the whole data."""
    assert isinstance(answer, tuple | list) and len(answer) == 2
    loss, gradient = answer
    assert is_loss(loss, *data, eps) and is_gradient(gradient, *data, dtype, eps)


CHUNKED = Contract(
    "chunked_gradient",
    chunks=Argument(lambda rng: cut(rng.standard_normal((9, 4)), rng.standard_normal(9), (4, 0, 5)), {}, frozenset()),
    theta=floats(4),
)


@pytest.mark.exercise("chunked_gradient", weight=3, core=True, hint=2)
@pytest.mark.parametrize("sizes", [(40, 40, 7), (1, 60), (5, 4, 3, 2, 1), (1200, 1, 300)])
def test_chunks_may_differ_in_size(submission, rng, sizes):
    """Chunks of different sizes give the loss and the gradient of the whole data: every row counts alike."""
    for d in (4, 1):
        X, y, theta = problem(rng, sum(sizes), d)
        is_whole(submission.chunked_gradient(cut(X, y, sizes), theta), X, y, theta)


@pytest.mark.exercise("chunked_gradient", hint=3)
@pytest.mark.parametrize("sizes", [(12,), (6, 6), (1,) * 1100, (0, 4, 0, 0, 8, 0)], ids=len)
def test_chunks_may_be_equal_or_empty(submission, rng, sizes):
    """One chunk, equal chunks, single rows, and empty chunks among others give the loss and gradient of the whole."""
    X, y, theta = problem(rng, sum(sizes), 5)
    X[5:7], y[5:7] = X[4], y[4]
    is_whole(submission.chunked_gradient(cut(X, y, sizes), theta), X, y, theta)


@pytest.mark.exercise("chunked_gradient", hint=3)
def test_chunks_without_a_row_are_refused(submission):
    """No rows at all, in no chunk or in empty ones, raise ValueError."""
    for chunks in ([], [(np.zeros((0, 2)), np.zeros(0))] * 2):
        with raises_student(ValueError):
            submission.chunked_gradient(chunks, np.ones(2))


@pytest.mark.exercise("chunked_gradient", hint=3)
def test_chunks_of_every_kind(submission, rng):
    """Chunks of integers, of float32, views and read-only ones give the loss and the gradient of the whole data."""
    for case in GRADIENT.cases(rng):
        X, y, theta = case
        is_whole(submission.chunked_gradient(cut(X, y, (7, 1, 32)), theta), *case.exact, dtype=case.dtype, eps=case.eps)


@student_side
def streamed(count, rows, theta):
    """Chunks made one at a time, each of `rows` rows, filled with a number of its own; other numbers the next time."""

    class Chunks:
        passes = 0

        def __iter__(self):
            self.passes += 1
            for k in range(count):
                short = rows if k < count - 1 else rows // 2
                yield np.full((short, len(theta)), (k + 1) / count), np.full(short, float(k + self.passes - 1))

    return student.chunked_gradient(Chunks(), theta)  # noqa: F821


@pytest.mark.exercise("chunked_gradient", weight=4, hint=3, memory_mb=32)
def test_chunks_are_held_one_at_a_time(submission, rng):
    """A stream that is far larger than the memory it may use goes through once, chunk by chunk."""
    count, rows, theta = 12, 20_000, rng.standard_normal(50)  # 12 chunks of 8 MB: three times the limit
    loss, gradient = submission.run(streamed, count, rows, theta)
    sizes = np.array([rows] * (count - 1) + [rows // 2])
    value = np.arange(1, count + 1) / count
    residual = value * theta.sum() - np.arange(count)
    m = sizes.sum()
    expected = float(sizes @ residual**2) / (2 * m)
    assert close(loss, expected, atol=sum_rounding(m, expected))
    size = float(sizes @ (value * (value * np.abs(theta).sum() + np.arange(count)))) / m
    assert close(gradient, np.full(50, float(sizes @ (value * residual)) / m), atol=sum_rounding(m, size))


@pytest.mark.exercise("chunked_gradient", weight=2, forgeable=True)
def test_chunks_are_left_alone(submission, rng):
    """A call changes neither the chunks nor theta, and returns a new array that no other call changes."""
    assert CHUNKED.leaves_no_trace(submission, rng, chunks=[[], [(np.zeros((0, 4)), np.zeros(0))]])
