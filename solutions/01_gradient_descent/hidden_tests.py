"""Hidden tests of module 01. A docstring is the sentence that a student reads when the test fails.

What rounding is allowed is `sum_rounding` of the products that make a loss or an entry of a gradient.
"""

import itertools
import math

import numpy as np
import pytest
import torch

from autograder.judging import EPS, close, is_array, kinds, raises_student, student_side, sum_rounding, unchanged

SHAPES = {"tall": (200, 5), "wide": (5, 200), "one row": (1, 7), "one column": (60, 1), "one number": (1, 1)}


def problem(rng, m, d):
    """X (m, d), y (m,), theta (d,), all normal."""
    return rng.standard_normal((m, d)), rng.standard_normal(m), rng.standard_normal(d)


def problems(rng):
    """(X, y, theta) of every kind; theta, whatever the others hold, holds floats."""
    for X, y, theta in kinds(rng, (40, 12), (40,), (12,)).values():
        yield X, y, theta if theta.dtype.kind == "f" else theta.astype(float)
    X, y, theta = problem(rng, 40, 12)
    yield 1e80 * X, 1e80 * y, theta
    yield 1e-80 * X, 1e-80 * y, theta
    yield np.column_stack([X, X[:, :3], np.zeros(40)]), y, rng.standard_normal(16)  # rank deficient


def precision(*arrays):
    """The eps of float32 where all arrays are float32, else that of float64."""
    return float(np.finfo(np.float32).eps) if all(array.dtype == np.float32 for array in arrays) else EPS


def magnitudes(X, y, theta):
    """|X| and |X| |theta| + |y|, in float64: what the products of a loss and a gradient are made of."""
    X, y, theta = (np.abs(np.asarray(array, float)) for array in (X, y, theta))
    return X, X @ theta + y


def loss_rounding(X, y, theta):
    m, d = X.shape
    size = magnitudes(X, y, theta)[1]
    return sum_rounding(m + 2 * d + 4, float(size @ size) / (2 * m), precision(X, y, theta))


def gradient_rounding(X, y, theta):
    m, d = X.shape
    A, size = magnitudes(X, y, theta)
    return sum_rounding(m + d + 4, A.T @ size / m, precision(X, y, theta))


def exact_loss(X, y, theta):
    """The loss in float64, its sum without rounding."""
    X, y, theta = (np.asarray(array, float) for array in (X, y, theta))
    return math.fsum(float(r) ** 2 for r in X @ theta - y) / (2 * len(X))


def autograd(X, y, theta):
    """The gradient of J as torch finds it, in float64."""
    X, y, theta = (torch.from_numpy(np.array(array, dtype=float)) for array in (X, y, theta))
    theta.requires_grad_(True)
    (((X @ theta - y) ** 2).sum() / (2 * len(X))).backward()
    return theta.grad.numpy()


# ------------------------------------------------------------------------------------------------------- mse_loss


@pytest.mark.exercise("mse_loss", weight=3, core=True, hint=2)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_loss_is_half_the_mean_square(submission, rng, shape):
    """The loss is 1/(2m) times the sum of squared residuals, for tall, wide and single-row X, as one number."""
    X, y, theta = problem(rng, *shape)
    got = submission.mse_loss(X, y, theta)
    assert close(got, exact_loss(X, y, theta), atol=loss_rounding(X, y, theta))


@pytest.mark.exercise("mse_loss", hint=1)
def test_loss_takes_every_kind_of_array(submission, rng):
    """The loss is right for integers, float32, strided and read-only arrays, for huge and for tiny numbers."""
    for X, y, theta in problems(rng):
        assert close(submission.mse_loss(X, y, theta), exact_loss(X, y, theta), atol=loss_rounding(X, y, theta))


@pytest.mark.exercise("mse_loss", hint=3)
def test_loss_refuses_a_column(submission, rng):
    """A y of shape (m, 1), or of another length than X, raises ValueError instead of being broadcast."""
    X, y, theta = problem(rng, 6, 2)
    for wrong in (y.reshape(6, 1), y.reshape(1, 6), y[:1], y[:5]):
        with raises_student(ValueError):
            submission.mse_loss(X, wrong, theta)


@pytest.mark.exercise("mse_loss", hint=3)
def test_loss_refuses_no_rows(submission):
    """An X without rows raises ValueError: there is no mean over nothing."""
    with raises_student(ValueError):
        submission.mse_loss(np.zeros((0, 3)), np.zeros(0), np.ones(3))


@pytest.mark.exercise("mse_loss", forgeable=True)
def test_loss_leaves_its_arguments(submission, rng):
    """X, y and theta are the same after the call."""
    assert submission.run(unchanged, "mse_loss", list(problem(rng, 9, 3)))


# --------------------------------------------------------------------------------------------------- mse_gradient


@pytest.mark.exercise("mse_gradient", weight=3, core=True, hint=2)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_gradient_agrees_with_autograd(submission, rng, shape):
    """The gradient is that of 1/(2m) * ||X theta - y||^2, for tall, wide and single-row X."""
    X, y, theta = problem(rng, *shape)
    assert close(submission.mse_gradient(X, y, theta), autograd(X, y, theta), atol=gradient_rounding(X, y, theta))


@pytest.mark.exercise("mse_gradient", hint=2)
def test_gradient_predicts_the_slope_of_the_loss(submission, reference, rng):
    """The gradient predicts how the loss changes along a random direction (a central difference)."""
    X, y, theta = problem(rng, 30, 6)
    along = rng.standard_normal(6)
    # J is a parabola, for which the central difference has no error but rounding, whatever the width.
    slope = (reference.mse_loss(X, y, theta + along) - reference.mse_loss(X, y, theta - along)) / 2
    allowed = 2 * loss_rounding(X, y, np.abs(theta) + np.abs(along))
    got = submission.mse_gradient(X, y, theta)
    assert is_array(got, (6,))
    assert close(float(got @ along), slope, atol=allowed)


@pytest.mark.exercise("mse_gradient", hint=1)
def test_gradient_vanishes_at_the_least_squares_solution(submission, rng):
    """The gradient is zero at a least-squares solution, also where there are many of them."""
    for m, d in ((50, 4), (4, 50)):
        X, y, _ = problem(rng, m, d)
        X[:, 0] = X[:, 1]
        best = np.linalg.lstsq(X, y, rcond=None)[0]
        # lstsq is backward stable: its residual is off by about eps * ||X|| * ||theta||, times a small power of d.
        allowed = 100 * d * EPS * np.linalg.norm(X) ** 2 * (np.linalg.norm(best) + np.linalg.norm(y)) / m
        got = submission.mse_gradient(X, y, best)
        assert is_array(got, (d,))
        assert close(got, np.zeros(d), atol=allowed)


@pytest.mark.exercise("mse_gradient", hint=1)
def test_gradient_takes_every_kind_of_array(submission, rng):
    """The gradient is right, and of a floating dtype, for integers, float32, strided and read-only arrays."""
    for X, y, theta in problems(rng):
        got = submission.mse_gradient(X, y, theta)
        assert is_array(got) and got.dtype.kind == "f"
        assert close(got, autograd(X, y, theta), atol=gradient_rounding(X, y, theta))


@pytest.mark.exercise("mse_gradient", hint=3, memory_mb=256)
def test_gradient_forms_no_square_matrix(submission, rng):
    """A very wide X works in little memory: nothing of shape (d, d) is formed."""
    # A (d, d) array would take 1.15 GB; X takes 0.4 MB.
    X, y, theta = problem(rng, 4, 12_000)
    assert close(submission.mse_gradient(X, y, theta), autograd(X, y, theta), atol=gradient_rounding(X, y, theta))


@pytest.mark.exercise("mse_gradient", forgeable=True)
def test_gradient_leaves_its_arguments(submission, rng):
    """X, y and theta are the same after the call."""
    assert submission.run(unchanged, "mse_gradient", list(problem(rng, 9, 3)))


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


class Asked:
    """A function that remembers the points at which it was asked, and what it answered."""

    def __init__(self, function):
        self.function, self.points, self.answers = function, [], []

    def __call__(self, theta):
        point = np.array(theta)
        if point.ndim != 1 or point.dtype.kind not in "fi":
            raise ValueError("the function was called with something else than an array of numbers, shape (d,)")
        self.points.append(point)
        self.answers.append(self.function(point.astype(float)))
        return self.answers[-1]


def walked(answer):
    """(theta, history) as arrays, whatever kind of sequence the history is."""
    assert isinstance(answer, tuple | list) and len(answer) == 2
    theta, history = answer
    assert is_array(theta) and theta.dtype.kind == "f" and isinstance(history, list | tuple | np.ndarray)
    assert all(isinstance(loss, int | float | np.number) or is_array(loss, ()) for loss in history)
    return theta, np.array([float(loss) for loss in history])


# Each step rounds a few times at the size of theta (about 1), and the walks below contract, so that errors do not pile
# up: 1e-11 is generous for a hundred steps, and far below what a single step moves.
WALK = {"rtol": 1e-11, "atol": 1e-11}


def walks_on_what_it_is_told(walk, rng, steps=9):
    """grad is asked once for each loss, the losses are those it told, and the last point asked is returned."""
    losses = rng.uniform(5, 6, steps + 1)
    grad = Asked(lambda theta: (float(losses[min(len(grad.points), steps + 1) - 1]), np.tanh(theta)))
    theta, history = walked(walk(grad, rng.standard_normal(4), 0.3, steps=steps))
    assert len(grad.points) == steps + 1
    assert close(history, losses, rtol=1e-15)
    assert close(theta, grad.points[-1], rtol=1e-15)


def stops_at_a_small_gradient(walk, reference_walk, rng):
    """The walk ends at the first point whose gradient is at most tol long in the Euclidean norm, theta_0 included."""
    bowl, theta0 = Bowl(rng, np.linspace(0.2, 1, 6)), rng.standard_normal(6)
    norms = Asked(bowl)
    reference_walk(norms, theta0, 0.9, 20)
    norms = [float(np.linalg.norm(gradient)) for _, gradient in norms.answers]
    for tol in (norms[0] * 1.5, (norms[3] + max(norms[4:])) / 2, (norms[11] + max(norms[12:])) / 2):
        grad = Asked(bowl)
        expected = reference_walk(bowl, theta0, 0.9, 20, tol)
        theta, history = walked(walk(grad, theta0, 0.9, 20, tol))
        assert len(grad.points) == len(history)
        assert close(history, expected[1], **WALK)
        assert close(theta, expected[0], **WALK)


def measures_the_euclidean_norm(walk):
    """A gradient (3, 4) is 5 long: tol = 5 stops there, a little less does not."""
    for tol, calls in ((5.0, 1), (4.9, 3)):
        grad = Asked(lambda theta: (1.0, np.array([3.0, 4.0])))
        walk(grad, np.zeros(2), 0.1, steps=2, tol=tol)
        assert len(grad.points) == calls


def may_start_from_integers(walk):
    """Integers at the start become floats, also when there is no step to take."""
    start = np.array([3, -2])
    theta, history = walked(walk(lambda theta: (0.5 * float(theta @ theta), theta), start, 0.25, steps=1))
    assert close(theta, [2.25, -1.5], rtol=1e-15)
    theta, history = walked(walk(lambda theta: (7.0, theta), start, 0.25, steps=0))
    assert close(theta, [3.0, -2.0]) and close(history, [7.0])


def keeps_single_precision(walk):
    """A float32 start gives float32 points all along."""
    grad = Asked(lambda theta: (1.0, theta.astype(np.float32)))
    theta, _ = walked(walk(grad, np.ones(3, np.float32), 0.5, steps=3))
    assert is_array(theta, (3,), np.float32)
    assert all(point.dtype == np.float32 for point in grad.points)


@student_side
def leaves_the_start(name, steps):
    """Whether theta0 is unchanged and is not itself returned, and what grad returns is unchanged (over there)."""
    theta0, told = np.arange(1.0, 4.0), []

    def grad(theta):
        gradient = 0.5 * theta
        told.append((gradient, gradient.copy()))
        return 1.0, gradient

    theta, _ = getattr(student, name)(grad, theta0, 0.5, steps)  # noqa: F821
    kept = all(bool(np.array_equal(a, b)) for a, b in told)
    return kept and bool(np.array_equal(theta0, np.arange(1.0, 4.0))) and not np.shares_memory(theta, theta0)


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


@pytest.mark.exercise("gradient_descent", weight=2, hint=1)
def test_walk_asks_once_for_each_loss(submission, rng):
    """grad is called once for each entry of the history, and last at the theta that is returned."""
    walks_on_what_it_is_told(submission.gradient_descent, rng)


@pytest.mark.exercise("gradient_descent", weight=2, hint=3)
def test_walk_stops_at_a_small_gradient(submission, reference, rng):
    """The walk ends at the first point whose gradient is no longer than tol, theta_0 included, and not a step later."""
    stops_at_a_small_gradient(submission.gradient_descent, reference.gradient_descent, rng)


@pytest.mark.exercise("gradient_descent", hint=3)
def test_walk_measures_the_euclidean_norm(submission):
    """tol is compared with the Euclidean norm of the gradient, and equality is enough to stop."""
    measures_the_euclidean_norm(submission.gradient_descent)


@pytest.mark.exercise("gradient_descent", hint=2)
def test_walk_may_start_from_integers(submission):
    """A start of integers works like the same start in floats, also with no steps at all."""
    may_start_from_integers(submission.gradient_descent)


@pytest.mark.exercise("gradient_descent")
def test_walk_keeps_single_precision(submission):
    """A float32 start stays float32, so that float32 data are not copied to float64 at every step."""
    keeps_single_precision(submission.gradient_descent)


@pytest.mark.exercise("gradient_descent")
def test_walk_reports_divergence(submission, rng):
    """A walk that diverges goes on to the last step, and its history shows it."""
    bowl, theta0 = Bowl(rng, np.ones(2)), rng.standard_normal(2)
    lr, steps = 1000.0, 120
    _, history = walked(submission.gradient_descent(bowl, theta0, lr, steps))
    assert len(history) == steps + 1
    # The loss grows by 999^2 a step: beyond float64 from step 52 on, theta itself from step 103 on.
    assert close(history[:45], [bowl.loss(bowl.after(theta0, lr, k)) for k in range(45)], rtol=1e-11)
    assert not np.isfinite(history[-1])


@pytest.mark.exercise("gradient_descent", weight=2, forgeable=True, hint=2)
@pytest.mark.parametrize("steps", [0, 3])
def test_walk_leaves_the_start(submission, steps):
    """theta0 is the same after the call, and what is returned is another array."""
    assert submission.run(leaves_the_start, "gradient_descent", steps)


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
    X = np.asarray(X, float)
    gram = X.T @ X if X.shape[1] <= X.shape[0] else X @ X.T
    return 2 * len(X) / float(np.linalg.eigvalsh(gram)[-1])


@pytest.mark.exercise("largest_stable_lr", weight=3, core=True, hint=3)
@pytest.mark.parametrize("shape", ["tall", "wide", "one row", "one column", "one number"])
def test_limit_is_two_over_the_largest_eigenvalue(submission, rng, shape):
    """The limit is 2 / lambda_max of X^T X / m, for tall, wide and single-row X."""
    scale = float(rng.uniform(0.2, 5))
    # lambda_2 / lambda_max = 1/2, so 60 rounds leave an error of 2^-120 times the squared tangent of the angle between
    # the start and the eigenvector; for that to matter the start would have to be within 1e-12 of a right angle.
    X = {
        "tall": with_spectrum(rng, 50, scale * 0.5 ** np.arange(6)),
        "wide": with_spectrum(rng, 8, scale * 0.5 ** np.arange(8)),
        "one row": rng.standard_normal((1, 9)),
        "one column": rng.standard_normal((30, 1)),
        "one number": np.array([[scale]]),
    }[shape]
    assert close(submission.largest_stable_lr(X, steps=60, seed=int(rng.integers(1000))), true_limit(X), rtol=1e-10)


@pytest.mark.exercise("largest_stable_lr", weight=2, core=True, hint=1)
def test_limit_separates_convergence_from_explosion(submission, rng):
    """Descent converges a little below the limit and explodes a little above it."""
    X = with_spectrum(rng, 40, [3.0, 1.0, 0.5])
    start = rng.standard_normal(3)
    limit = submission.largest_stable_lr(X)
    assert close(limit, true_limit(X), rtol=0.01)
    for share, converges in ((0.97, True), (1.03, False)):
        theta = start  # data without noise or signal: y = 0, and the minimum is at 0
        for _ in range(600):
            theta = theta - share * float(limit) * X.T @ (X @ theta) / len(X)
        # Within 1% of the limit, the steepest direction shrinks by at least |1 - 2 * 0.98| = 0.96 a step below it, and
        # grows by at least 2 * 1.0197 - 1 = 1.039 above: a factor of 2e-11 and of 9e9 in all. The start has a part of
        # at least 1e-6 in it, but for one class in a million.
        assert np.linalg.norm(theta) < 1e-3 if converges else np.linalg.norm(theta) > 1e3


@pytest.mark.exercise("largest_stable_lr", hint=2)
def test_limit_is_approached_from_above(submission, rng):
    """After few rounds the estimate is on its way: never below the true limit, and not there yet."""
    X = with_spectrum(rng, 120, [1.0, *[0.1] * 99])
    # One round from a random start: a Rayleigh quotient within 1% of lambda_max would need a first coordinate nine
    # standard deviations out (probability below 1e-18). From below by theory, up to rounding.
    # All eigenvalues are at least 0.1, so the estimate of the limit is at most ten times as large.
    limit = true_limit(X)
    for seed in range(3):
        got = submission.largest_stable_lr(X, steps=1, seed=seed)
        assert close(got, 5.505 * limit, atol=4.495 * limit * (1 + 1e-12))  # from 1.01 to 10 times the limit
        got = submission.largest_stable_lr(X, steps=30, seed=seed)
        assert close(got, limit, rtol=1e-10) and float(got) >= (1 - 1e-12) * limit


@pytest.mark.exercise("largest_stable_lr", hint=2)
def test_limit_needs_no_gap(submission, rng):
    """Eigenvalues that lie close together cost no accuracy worth mentioning."""
    X = with_spectrum(rng, 100, np.linspace(1.0, 0.9, 60))
    got = submission.largest_stable_lr(X, steps=100, seed=1)
    # Kuczynski and Wozniakowski (1992): the mean relative error after k rounds is at most 0.871 ln(d) / (k - 1),
    # 0.036 here; the spectrum's own width makes it far less.
    assert close(got, true_limit(X), rtol=0.036) and float(got) >= (1 - 1e-12) * true_limit(X)


@pytest.mark.exercise("largest_stable_lr", weight=2, hint=3)
def test_limit_starts_at_random(submission, rng):
    """No direction is overlooked, whether rows and columns sum to zero or the data lie along a single axis."""
    given = [centred(rng, 20, 0.5 ** np.arange(5)), np.array([[1.0, -1.0], [1.0, -1.0]]), np.array([[2.0, -1.0, -1.0]])]
    given += [np.diag(np.where(np.arange(5) == axis, 2.0, 1.0)) for axis in range(5)]
    for X in given:  # lambda_2 is at most half of lambda_max in all of them
        assert close(submission.largest_stable_lr(X, steps=60), true_limit(X), rtol=1e-10)


@pytest.mark.exercise("largest_stable_lr", hint=3)
def test_limit_of_nothing_is_infinite(submission):
    """An X of zeros has no slope, and the limit is infinity."""
    for shape in ((4, 3), (1, 1), (2, 6)):
        assert close(submission.largest_stable_lr(np.zeros(shape)), math.inf)


@pytest.mark.exercise("largest_stable_lr", hint=3)
def test_limit_keeps_its_scale(submission, rng):
    """Huge and tiny data neither overflow nor vanish, and integers, float32, strided and read-only X work."""
    X = with_spectrum(rng, 30, [1.0, 0.4, 0.1, 0.1])
    for scale in (1e60, 1e-60):
        assert close(submission.largest_stable_lr(scale * X), true_limit(scale * X), rtol=1e-10)
    for (X,) in kinds(rng, (30, 3)).values():
        second, largest = np.linalg.eigvalsh(X.T.astype(float) @ X)[-2:]
        # Each product is off by at most (m + d) eps, twice over. A round shrinks the rest of the error by the squared
        # ratio of the eigenvalues; one start in a million is within 1e-6 of a right angle to the first eigenvector.
        allowed = max(1e-10, 8 * sum(X.shape) * precision(X)) + 1e12 * (second / largest) ** 1998
        assert close(submission.largest_stable_lr(X, steps=1000), true_limit(X), rtol=allowed)


@pytest.mark.exercise("largest_stable_lr", hint=1, memory_mb=256)
def test_limit_forms_no_square_matrix(submission, rng):
    """A very wide or a very tall X works in little memory: neither X^T X nor X X^T is formed."""
    wide = rng.standard_normal((4, 12_000)) * np.linspace(1, 3, 4)[:, None]
    for X in (wide, np.ascontiguousarray(wide.T)):  # the larger Gram matrix would take 1.15 GB; X takes 0.4 MB
        assert close(submission.largest_stable_lr(X, steps=200), true_limit(X), rtol=1e-8)


@pytest.mark.exercise("largest_stable_lr", forgeable=True)
def test_limit_leaves_its_argument(submission, rng):
    """X is the same after the call."""
    assert submission.run(unchanged, "largest_stable_lr", [rng.standard_normal((9, 3))])


# --------------------------------------------------------------------------------------- backtracking_line_search


@pytest.mark.exercise("backtracking_line_search", weight=3, core=True, hint=3)
def test_search_returns_the_first_step_accepted(submission, rng):
    """On a bowl of known curvature the step is the first one that Armijo's condition accepts, for any shrink and c."""
    # On J = L/2 ||theta||^2 the condition holds exactly for t <= 2 (1 - c) / L. The steps stay 1% clear of that edge.
    done = 0
    while done < 8:
        L, shrink, c = float(rng.uniform(0.5, 80)), float(rng.uniform(0.2, 0.9)), float(rng.uniform(0.05, 0.95))
        lr = float(rng.uniform(0.5, 4))
        tried = lr * shrink ** np.arange(250)  # 0.9^250 is 4e-12
        edge = 2 * (1 - c) / L
        if np.abs(tried / edge - 1).min() < 0.01:
            continue
        theta = rng.standard_normal(5)
        got = submission.backtracking_line_search(
            lambda p, L=L: 0.5 * L * float(p @ p), theta, L * theta, lr=lr, shrink=shrink, c=c, max_trials=250
        )
        assert close(got, tried[tried <= edge][0], rtol=1e-12)
        done += 1


@pytest.mark.exercise("backtracking_line_search", weight=2, core=True, hint=3)
def test_search_agrees_on_other_losses(submission, reference, rng):
    """The step is right on losses that are no parabola, with the default shrink and c."""
    for _ in range(10):
        centre, theta = 3 * rng.standard_normal(4), 3 * rng.standard_normal(4)

        def loss(p, centre=centre):
            return float(np.log(np.cosh(p - centre)).sum() + 0.05 * ((p - centre) ** 4).sum())

        gradient = np.tanh(theta - centre) + 0.2 * (theta - centre) ** 3
        lr = float(rng.uniform(1, 50))
        expected = reference.backtracking_line_search(loss, theta, gradient, lr)
        assert close(submission.backtracking_line_search(loss, theta, gradient, lr), expected, rtol=1e-12)


def told_once(loss, theta):
    """The loss, but whoever asks for it at theta a second time is told so low a number that no step will do after it.

    So the answer shows the waste, and not only the count.
    """

    def tell(p):
        at_theta = sum(np.array_equal(point, theta) for point in asked.points)
        return -1e9 if at_theta > 1 and np.array_equal(p, theta) else loss(p)

    asked = Asked(tell)
    return asked


@pytest.mark.exercise("backtracking_line_search", weight=2, hint=1)
def test_search_wastes_no_evaluation(submission, rng):
    """The loss is evaluated once at theta and once for each step tried, at theta - t * gradient."""
    theta = rng.standard_normal(3)
    for curvature, trials in ((0.5, 1), (3.0, 2), (100.0, 7)):
        loss = told_once(lambda p, curvature=curvature: 0.5 * curvature * float(p @ p), theta)
        got = submission.backtracking_line_search(loss, theta, curvature * theta)
        assert close(got, 0.5 ** (trials - 1), rtol=1e-12)
        expected = [theta, *(theta - 0.5**k * curvature * theta for k in range(trials))]
        assert close(sorted(loss.points, key=tuple), sorted(expected, key=tuple), atol=1e-12)


@pytest.mark.exercise("backtracking_line_search", hint=3)
def test_search_gives_up(submission, rng):
    """Where no step is accepted, max_trials steps are tried and 0.0 is returned."""
    theta = 2 + rng.random(3)
    for trials in (1, 4, 9):
        loss = Asked(lambda p: 0.5 * float(p @ p))
        got = submission.backtracking_line_search(loss, theta, -theta, max_trials=trials)  # uphill
        assert close(got, 0.0)
        assert len(loss.points) == 1 + trials


@pytest.mark.exercise("backtracking_line_search", hint=2)
def test_search_never_accepts_nan(submission):
    """A trial point whose loss is nan or inf is not accepted."""
    for beyond in (math.nan, math.inf):
        # J = theta - log(theta) is defined for theta > 0 only. From 3 with gradient 2/3, and steps 8, 4, 2, 1:
        # 8 leaves the domain (nan, inf); 4 lands on 1/3 and lowers the loss enough.
        def loss(p, beyond=beyond):
            return float(p[0] - math.log(p[0])) if p[0] > 0 else beyond

        got = submission.backtracking_line_search(loss, np.array([3.0]), np.array([2 / 3]), lr=8.0)
        assert close(got, 4.0)


@pytest.mark.exercise("backtracking_line_search", hint=3)
def test_search_at_a_stationary_point(submission):
    """With a gradient of zero the condition holds with equality, and the first step is returned."""
    loss = Asked(lambda p: float(p @ p))
    assert close(submission.backtracking_line_search(loss, np.ones(2), np.zeros(2), lr=0.7), 0.7)
    assert len(loss.points) == 2


@pytest.mark.exercise("backtracking_line_search", forgeable=True)
def test_search_leaves_its_arguments(submission, rng):
    """theta and gradient are the same after the call."""
    theta = rng.standard_normal(2)
    assert submission.run(unchanged, "backtracking_line_search", [lambda p: 5 * float(p @ p), theta, 10 * theta])


# ------------------------------------------------------------------------------------------------------- nesterov


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


@pytest.mark.exercise("nesterov", weight=2, hint=2)
def test_nesterov_keeps_its_promise(submission, rng):
    """The excess loss after k steps is at most 2 ||theta_0 - best||^2 / (lr (k + 1)^2), which plain descent is not."""
    steps = 120
    spectrum = np.concatenate([[1.0], np.full(5, 1 / (2 * steps))])
    bowl = Bowl(rng, spectrum)
    theta0 = bowl.best + bowl.axes @ np.concatenate([[0.1], np.ones(5)])
    far = float((theta0 - bowl.best) @ (theta0 - bowl.best))
    grad = Asked(bowl)
    submission.nesterov(grad, theta0, 1.0, steps)
    thetas = [v - gradient for v, (_, gradient) in zip(grad.points, grad.answers, strict=True)]  # theta_1, theta_2, ...
    assert len(thetas) == steps + 1
    for k, theta in enumerate(thetas, start=1):
        assert bowl.loss(theta) <= 2 * far / (k + 1) ** 2 * (1 + 1e-9)


@pytest.mark.exercise("nesterov", hint=1)
def test_nesterov_asks_once_for_each_loss(submission, rng):
    """grad is called once for each entry of the history, and last at the point that is returned."""
    walks_on_what_it_is_told(submission.nesterov, rng)


@pytest.mark.exercise("nesterov", hint=2)
def test_nesterov_agrees_on_other_losses(submission, reference, rng):
    """The walk is right on a loss that is no parabola."""

    def grad(p):
        return float(np.log(np.cosh(p)).sum()), np.tanh(p)

    theta0 = 3 * rng.standard_normal(6)
    expected = reference.nesterov(grad, theta0, 0.8, 30)
    v, history = walked(submission.nesterov(grad, theta0, 0.8, 30))
    assert close(v, expected[0], **WALK)
    assert close(history, expected[1], **WALK)


@pytest.mark.exercise("nesterov", weight=2, hint=1)
def test_nesterov_stops_at_a_small_gradient(submission, reference, rng):
    """The walk ends at the first look-ahead point whose gradient is no longer than tol, v_0 included."""
    stops_at_a_small_gradient(submission.nesterov, reference.nesterov, rng)


@pytest.mark.exercise("nesterov", hint=1)
def test_nesterov_measures_the_euclidean_norm(submission):
    """tol is compared with the Euclidean norm of the gradient, and equality is enough to stop."""
    measures_the_euclidean_norm(submission.nesterov)


@pytest.mark.exercise("nesterov", hint=1)
def test_nesterov_may_start_from_integers(submission):
    """A start of integers works like the same start in floats, also with no steps at all."""
    may_start_from_integers(submission.nesterov)


@pytest.mark.exercise("nesterov", weight=2, forgeable=True, hint=1)
@pytest.mark.parametrize("steps", [0, 3])
def test_nesterov_leaves_the_start(submission, steps):
    """theta0 is the same after the call, and what is returned is another array."""
    assert submission.run(leaves_the_start, "nesterov", steps)


# ----------------------------------------------------------------------------------------------- chunked_gradient


def cut(X, y, sizes):
    """The rows in chunks of these sizes."""
    edges = np.cumsum([0, *sizes])
    assert edges[-1] == len(y)
    return [(X[a:b], y[a:b]) for a, b in itertools.pairwise(edges)]


def is_whole(answer, X, y, theta):
    """Whether an answer is the loss and the gradient of the whole data."""
    assert isinstance(answer, tuple | list) and len(answer) == 2
    loss, gradient = answer
    assert close(loss, exact_loss(X, y, theta), atol=loss_rounding(X, y, theta))
    assert is_array(gradient)
    assert close(gradient, autograd(X, y, theta), atol=gradient_rounding(X, y, theta))


@pytest.mark.exercise("chunked_gradient", weight=3, core=True, hint=2)
@pytest.mark.parametrize("sizes", [(40, 40, 7), (1, 60), (5, 4, 3, 2, 1), (30, 1, 30)])
def test_chunks_may_differ_in_size(submission, rng, sizes):
    """Chunks of different sizes give the loss and the gradient of the whole data: every row counts alike."""
    X, y, theta = problem(rng, sum(sizes), 4)
    is_whole(submission.chunked_gradient(cut(X, y, sizes), theta), X, y, theta)


@pytest.mark.exercise("chunked_gradient", hint=3)
@pytest.mark.parametrize("sizes", [(12,), (6, 6), (1,) * 12])
def test_chunks_may_be_equal(submission, rng, sizes):
    """One chunk, equal chunks and single rows give the loss and the gradient of the whole data."""
    X, y, theta = problem(rng, 12, 5)
    is_whole(submission.chunked_gradient(cut(X, y, sizes), theta), X, y, theta)


@pytest.mark.exercise("chunked_gradient", hint=2)
def test_chunks_may_be_empty(submission, rng):
    """Empty chunks, wherever they stand, change nothing."""
    X, y, theta = problem(rng, 9, 3)
    is_whole(submission.chunked_gradient(cut(X, y, (0, 4, 0, 0, 5, 0)), theta), X, y, theta)


@pytest.mark.exercise("chunked_gradient", hint=3)
def test_chunks_without_a_row_are_refused(submission):
    """No rows at all, in no chunk or in empty ones, raise ValueError."""
    for chunks in ([], [(np.zeros((0, 2)), np.zeros(0))] * 2):
        with raises_student(ValueError):
            submission.chunked_gradient(chunks, np.ones(2))


@pytest.mark.exercise("chunked_gradient")
def test_chunks_of_every_kind(submission, rng):
    """Chunks of integers, of float32, strided and read-only ones give the loss and the gradient of the whole data."""
    for X, y, theta in problems(rng):
        is_whole(submission.chunked_gradient(cut(X, y, (7, len(y) - 7)), theta), X, y, theta)


@student_side
def streamed(count, rows, theta):
    """Chunks made one at a time, each of `rows` rows, filled with a number of its own."""

    def chunks():
        for k in range(count):
            short = rows if k < count - 1 else rows // 2
            yield np.full((short, len(theta)), (k + 1) / count), np.full(short, float(k))

    return student.chunked_gradient(chunks(), theta)  # noqa: F821


@pytest.mark.exercise("chunked_gradient", weight=2, hint=3, memory_mb=96)
def test_chunks_are_held_one_at_a_time(submission, rng):
    """A stream that is far larger than the memory it may use goes through, chunk by chunk."""
    count, rows, theta = 24, 20_000, rng.standard_normal(50)  # 24 chunks of 8 MB: twice the limit
    loss, gradient = submission.run(streamed, count, rows, theta)
    sizes = np.array([rows] * (count - 1) + [rows // 2])
    value = np.arange(1, count + 1) / count
    residual = value * theta.sum() - np.arange(count)
    m = sizes.sum()
    expected = float(sizes @ residual**2) / (2 * m)
    assert close(loss, expected, atol=sum_rounding(m, expected))
    size = float(sizes @ (value * (value * np.abs(theta).sum() + np.arange(count)))) / m
    assert close(gradient, np.full(50, float(sizes @ (value * residual)) / m), atol=sum_rounding(m, size))


@pytest.mark.exercise("chunked_gradient", hint=3)
def test_chunks_feed_an_optimiser(submission, reference, rng):
    """As the grad of an optimiser, the function leads to the least-squares solution of all rows together."""
    X, y = rng.standard_normal((50, 3)), rng.standard_normal(50)
    chunks = cut(X, y, (24, 24, 2))
    theta, _ = reference.gradient_descent(
        lambda theta: submission.chunked_gradient(chunks, theta), np.zeros(3), 0.5 * true_limit(X), 2000, 1e-13
    )
    # At a gradient of 1e-13 the error is at most 1e-13 / lambda_min, and lambda_min > 0.01 for 50 normal rows.
    assert close(theta, np.linalg.lstsq(X, y, rcond=None)[0], atol=1e-10)
