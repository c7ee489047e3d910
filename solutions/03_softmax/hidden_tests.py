"""Hidden tests of module 03. A docstring is the sentence that a student reads when the test fails.

Rounding, throughout: exp, log and a division are right to about one unit in the last place, eps; a sum of K positive
terms has a relative error of at most K eps in whatever order it is taken (Higham 2002, section 4.2); and a number of
size M is itself rounded by eps M. `sum_rounding` allows four times that.
"""

import math

import numpy as np
import pytest
import scipy.special
import torch
from sklearn.linear_model import LogisticRegression

from autograder.judging import (
    EPS,
    Argument,
    Contract,
    close,
    floats,
    integers,
    is_array,
    labels,
    numbers,
    on_large,
    one_of,
    raises_student,
    student_side,
    sum_rounding,
)

WHOLE = (-128, 255)  # all of int8 and of uint8: -(-128) overflows in int8
FAR = (1e-8, 1e4, 2e299)  # standard normals stay below 1e300


@student_side
def without_overflow(name, arguments):
    """Call a function while NumPy raises FloatingPointError instead of warning (runs over there)."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return getattr(student, name)(*arguments)  # noqa: F821


# ------------------------------------------------------------------------------------------- binary_cross_entropy

SIGMOID = Contract("sigmoid", z=numbers(3, 8, whole=WHOLE, scales=(1e-8, 20, 1e300), bools=True))
BINARY = Contract("binary_cross_entropy", z=numbers(30, whole=WHOLE, scales=FAR), y=integers(30, high=1, bools=True))
SOFT = Contract("binary_cross_entropy", z=numbers(30, whole=WHOLE), y=floats(30, draw=lambda rng: rng.random(30)))


def logistic(z):
    """The sigmoid; below -40 it is exp(z) to the last digit, where scipy has 0 from -710 on."""
    z = np.asarray(z, dtype=np.float64)
    return np.where(z < -40, np.exp(np.minimum(z, 0)), scipy.special.expit(z))


def binary_loss(z, y):
    small = np.log1p(np.exp(-np.abs(z)))
    return math.fsum(small + y * np.maximum(-z, 0) + (1 - y) * np.maximum(z, 0)) / len(z)


@pytest.mark.exercise("binary_cross_entropy", weight=2, core=True, hint=1)
@pytest.mark.parametrize("shape", [(), (1,), (1500,), (3, 4), (2, 1, 3), (0,), (2, 0)])
def test_sigmoid_agrees_with_scipy(submission, rng, shape):
    """The sigmoid is 1 / (1 + exp(-z)) for arrays of any shape, and for a single number."""
    z = 5 * rng.standard_normal(shape)
    assert close(submission.sigmoid(z if shape else float(z)), logistic(z), rtol=1e-6)


@pytest.mark.exercise("binary_cross_entropy", hint=1)
def test_sigmoid_of_huge_and_tiny_logits(submission, rng):
    """The sigmoid is right for every logit, however large, and small results keep their digits."""
    z = np.concatenate([[-1.7e308, -1e4, -800.0, 710.0, 1e4, 1.7e308], rng.uniform(-690, -30, 20)])
    assert close(submission.sigmoid(z), logistic(z), rtol=1e-12, atol=1e-300)
    z = np.float32([-1e38, -1e4, 89, 1e38, *rng.uniform(-80, -15, 20)])
    assert close(submission.sigmoid(z), logistic(z).astype(np.float32), rtol=1e-5, atol=1e-36, typed=True)


@pytest.mark.exercise("binary_cross_entropy", weight=0.5, hint=1)
def test_sigmoid_of_other_kinds_of_arrays(submission, rng):
    """The sigmoid keeps float32, and makes float64 of integers and bools; views and read-only arrays are fine."""
    for case in SIGMOID.cases(rng):
        rtol, atol = (1e-5, 1e-36) if case.dtype == np.float32 else (1e-12, 1e-300)
        expected = logistic(*case.exact).astype(case.dtype)
        assert close(submission.sigmoid(*case), expected, rtol=rtol, atol=atol, typed=True)
    for z in (3, -2.5, True, np.float32(1.5), np.int8(-7), np.array(0.25)):
        assert close(submission.sigmoid(z), float(logistic(z)), rtol=1e-5 if isinstance(z, np.float32) else 1e-12)


@pytest.mark.exercise("binary_cross_entropy", weight=2, core=True, hint=2)
@pytest.mark.parametrize("n", [1, 2, 1500])
def test_binary_loss_agrees_with_the_formula(submission, rng, n):
    """The binary cross-entropy is the mean over the rows of -y log(p) - (1 - y) log(1 - p)."""
    z, y = 3 * rng.standard_normal(n), rng.integers(0, 2, n)
    # What matters here is the formula; an epsilon of 1e-12 in a log, which would shift this by 1e-8, fails below.
    assert close(submission.binary_cross_entropy(z, y), np.float64(binary_loss(z, y)), rtol=1e-6, typed=True)


@pytest.mark.exercise("binary_cross_entropy", weight=2, hint=3)
def test_binary_loss_of_huge_logits(submission, rng):
    """A confident mistake costs |z|: the loss comes from the logits, not from rounded or clipped probabilities."""
    z = np.concatenate([[1e4, -1e4, 1e300], rng.uniform(30, 5000, 10) * rng.choice([-1, 1], 10)])
    wrong = (z < 0).astype(int)
    for k in range(len(z)):
        alone = submission.binary_cross_entropy(z[k : k + 1], wrong[k : k + 1])
        assert close(alone, float(np.abs(z[k])), rtol=1e-12)
    assert close(submission.binary_cross_entropy(z, 1 - wrong), binary_loss(z, 1 - wrong), rtol=1e-12)


@pytest.mark.exercise("binary_cross_entropy", hint=3)
def test_small_binary_losses_keep_their_digits(submission, rng):
    """A row that is right and sure has a small loss with all its digits, not 0."""
    for z in rng.uniform(20, 690, 5):
        expected = math.log1p(math.exp(-z))
        assert close(submission.binary_cross_entropy(np.array([z]), np.array([1])), expected, rtol=1e-12)
        assert close(submission.binary_cross_entropy(np.array([-z]), np.array([0])), expected, rtol=1e-12)


@pytest.mark.exercise("binary_cross_entropy", hint=2)
@pytest.mark.parametrize("contract", [BINARY, SOFT])
def test_binary_loss_of_soft_labels_and_other_kinds(submission, rng, contract):
    """Labels may be probabilities, whole numbers of any kind or bools; all is computed in float64."""
    for case in contract.cases(rng):
        assert close(submission.binary_cross_entropy(*case), binary_loss(*case.exact), rtol=1e-12)


@pytest.mark.exercise("binary_cross_entropy", forgeable=True)
def test_binary_functions_leave_no_trace_and_do_not_overflow(submission, rng):
    """Neither function changes its arguments or an earlier result, and exp never gets a large number."""
    for contract in (SIGMOID, BINARY, SOFT):
        assert contract.leaves_no_trace(submission, rng, then=[{}, {"z": np.float32}])
    z = 900 * rng.standard_normal(20)
    submission.run(without_overflow, "sigmoid", [z])
    submission.run(without_overflow, "binary_cross_entropy", [z, (z < 0).astype(float)])


# ---------------------------------------------------------------------------- logsumexp, softmax and log_softmax

AXES = [((7,), 0), ((7,), -1), ((4, 6), 0), ((4, 6), 1), ((5, 1), 1), ((1200, 2), 0), ((2, 1200), 1)]
AXES += [((1, 3), 1), ((3, 1), 0), ((2, 1, 3), -1)]  # the other axes stay, of whatever length
AXES += [((3, 4, 5), 0), ((3, 4, 5), 1), ((3, 4, 5), -1), ((3, 4, 5), -3), ((2, 3, 2, 4), 2)]


def along_axes(name):
    """Its contract for arrays of every kind, along the axes of a block."""
    return Contract(name, Z=numbers(3, 5, 4, whole=WHOLE, scales=FAR), axis=one_of(1, 0, 2, -1, -2, -3))


def rounding(Z, axis=-1, eps=EPS):
    """How far a log-sum-exp along the axis may be off: by K units in the last place of 1 and of its largest entry."""
    top = np.max(Z, axis=axis, initial=-np.inf)
    return sum_rounding(np.shape(Z)[axis], 1 + np.abs(np.where(np.isfinite(top), top, 0.0)), eps)


def probability_rounding(Z, axis=-1, eps=EPS):
    """How far a probability may be off: the shift z - max is rounded, and below -745 exp gives 0."""
    P = scipy.special.softmax(Z, axis=axis)
    with np.errstate(divide="ignore"):
        return sum_rounding(Z.shape[axis], 1 - np.log(P).clip(min=-745), eps) * P + 1e-300 + 1e-37 * (eps > EPS)


def logarithm_rounding(Z, axis=-1, eps=EPS):
    """How far a log-probability may be off: as a sum of K terms, and as a number of its own size."""
    return sum_rounding(Z.shape[axis], 1, eps) + 8 * eps * np.abs(scipy.special.log_softmax(Z, axis=axis))


def kinds_agree(submission, rng, name, allowed):
    """Assert that a function agrees with scipy's for every kind of array, along every axis, and for no slices."""
    oracle = getattr(scipy.special, name)
    for case in along_axes(name).cases(rng):
        Z, axis = case.exact
        expected = oracle(Z, axis=axis).astype(case.dtype)
        assert close(submission[name](*case), expected, atol=allowed(Z, axis, case.eps), typed=True)
    Z = rng.standard_normal((3, 4, 2))  # the last axis is the default
    assert close(submission[name](Z), oracle(Z, axis=-1), atol=1e-14)
    Z = rng.integers(-(2**40), 2**40, (3, 5))  # int32 does not hold them
    assert close(submission[name](Z), oracle(Z.astype(float), axis=-1), atol=allowed(Z.astype(float), -1, EPS))
    for dtype, becomes in ((np.float16, np.float64), (np.float32, np.float32)):
        one = rng.standard_normal((5, 1)).astype(dtype)
        assert close(submission[name](one), oracle(one.astype(becomes), axis=-1), atol=1e-6, typed=True)
    for shape, axis in (((0, 4), 1), ((3, 0, 2), 0)):
        assert close(submission[name](np.ones(shape), axis), oracle(np.ones(shape), axis=axis), typed=True)


def far_apart(rng):
    """Slices along axis 1 that lie thousands apart, and their softmax; adding whole numbers is exact here."""
    Z = rng.integers(-8, 9, (7, 5)) / 8
    offsets = [1e4, -1e4, 800.0, -800.0, 0.0, 2.0**20, -(2.0**20)]
    return Z + np.array(offsets)[:, None], scipy.special.softmax(Z, axis=1)


def at_the_limits():
    """The largest entries that are allowed, alone and beside a masked one, in float64 and float32."""
    for size, dtype in ((1e300, np.float64), (1e38, np.float32)):
        yield np.array([[size, size], [-size, -size], [-size, -np.inf], [size, -size], [size, size / 2]], dtype)


def masked(rng):
    Z = rng.standard_normal((5, 4))
    Z[0, 1:] = Z[1, 0] = Z[2, :2] = Z[4, 3] = -np.inf
    return Z


@pytest.mark.exercise("logsumexp", weight=3, core=True, hint=2)
@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_logsumexp_agrees_with_scipy(submission, rng, shape, axis):
    """log(sum(exp)) is taken along the axis that was asked for, of vectors, matrices and larger arrays."""
    Z = 10 * rng.standard_normal(shape)
    assert close(submission.logsumexp(Z, axis=axis), scipy.special.logsumexp(Z, axis=axis), rtol=1e-6, atol=1e-6)


@pytest.mark.exercise("logsumexp", hint=2)
def test_logsumexp_keeps_the_axis_when_asked(submission, rng):
    """keepdims keeps the axis with length 1."""
    Z = rng.standard_normal((3, 4, 2))
    for part, axis in ((Z, 0), (Z, 1), (Z, 2), (Z, -2), (Z[0, :, 0], 0)):
        expected = scipy.special.logsumexp(part, axis=axis, keepdims=True)
        assert close(submission.logsumexp(part, axis=axis, keepdims=True), expected, atol=1e-14)


@pytest.mark.exercise("logsumexp", weight=2, hint=1)
def test_logsumexp_of_slices_thousands_apart(submission, rng):
    """Nothing overflows or vanishes where entries are huge and slices lie thousands apart: each has its own shift."""
    Z, _ = far_apart(rng)
    for axis, part in ((1, Z), (0, Z.T)):
        assert close(submission.logsumexp(part, axis=axis), scipy.special.logsumexp(part, axis=axis), atol=rounding(Z))
    for Z in at_the_limits():
        expected = Z.max(axis=1).astype(float) + np.log([2, 2, 1, 1, 1])
        eps = float(np.finfo(Z.dtype).eps)
        assert close(submission.logsumexp(Z), expected, atol=rounding(Z, 1, eps))


@pytest.mark.exercise("logsumexp", hint=3)
def test_logsumexp_of_masked_entries(submission, rng):
    """Entries of -inf count for nothing, and a slice of nothing else gives -inf, not nan."""
    for dtype in (np.float64, np.float32):
        Z = masked(rng).astype(dtype)
        Z[3] = -np.inf
        eps = float(np.finfo(dtype).eps)
        assert close(submission.logsumexp(Z), scipy.special.logsumexp(Z, axis=1), atol=rounding(Z, eps=eps))
        assert close(submission.logsumexp(np.full(3, -np.inf, dtype)), -np.inf)
        assert close(submission.logsumexp(Z[2:5, :1], axis=0, keepdims=True), Z[4:, :1], atol=4 * eps)


@pytest.mark.exercise("logsumexp", hint=1)
def test_logsumexp_of_other_kinds_of_arrays(submission, rng):
    """float32 stays float32, integers of any kind become float64; views and read-only arrays are fine."""
    kinds_agree(submission, rng, "logsumexp", rounding)
    for dtype in (np.float32, np.float64):
        assert np.asarray(submission.logsumexp(np.ones(3, dtype))).dtype == dtype


@pytest.mark.exercise("logsumexp", weight=0.5, forgeable=True)
def test_logsumexp_leaves_no_trace(submission, rng):
    """Z is the same after the call, and the result is a new array."""
    paths = [{}, {"Z": np.float32}, {"Z": lambda Z: Z[:, :1]}]
    assert along_axes("logsumexp").leaves_no_trace(submission, rng, then=paths)
    assert Contract("logsumexp", Z=floats(3, 1), axis=1, keepdims=True).leaves_no_trace(submission, rng)


@pytest.mark.exercise("softmax", weight=3, core=True, hint=2)
@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_softmax_agrees_with_scipy(submission, rng, shape, axis):
    """Each slice along the axis that was asked for sums to 1, and does not depend on the other slices."""
    Z = 3 * rng.standard_normal(shape)
    assert close(submission.softmax(Z, axis=axis), scipy.special.softmax(Z, axis=axis), atol=1e-6)


@pytest.mark.exercise("softmax", weight=2, hint=1)
def test_softmax_of_slices_thousands_apart(submission, rng):
    """Nothing overflows or vanishes where entries are huge and slices lie thousands apart: each has its own shift."""
    Z, expected = far_apart(rng)
    assert close(submission.softmax(Z, axis=1), expected, rtol=1e-12)
    assert close(submission.softmax(Z.T, axis=0), expected.T, rtol=1e-12)
    for Z in at_the_limits():
        expected = [[0.5, 0.5], [0.5, 0.5], [1, 0], [1, 0], [1, 0]]
        assert close(submission.softmax(Z), expected, rtol=1e-6)


@pytest.mark.exercise("softmax", hint=1)
def test_softmax_of_masked_entries(submission, rng):
    """A class at -inf has probability exactly 0, the others share the rest, and small ones keep their digits."""
    Z = masked(rng)
    assert close(submission.softmax(Z), scipy.special.softmax(Z, axis=1), rtol=1e-13)
    small = submission.softmax(np.array([0.0, -650.0, -300.0, -30.0]))
    assert close(small, np.exp([0.0, -650.0, -300.0, -30.0]), rtol=1e-12)


@pytest.mark.exercise("softmax")
def test_softmax_of_other_kinds_of_arrays(submission, rng):
    """float32 stays float32, integers of any kind become float64; views and read-only arrays are fine."""
    kinds_agree(submission, rng, "softmax", probability_rounding)


@pytest.mark.exercise("softmax", weight=0.5, forgeable=True)
def test_softmax_leaves_no_trace(submission, rng):
    """Z is the same after the call, and the result is a new array."""
    assert along_axes("softmax").leaves_no_trace(submission, rng, then=[{}, {"Z": np.float32}])


@pytest.mark.exercise("log_softmax", weight=3, core=True, hint=1, depends=("logsumexp",))
@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_log_softmax_agrees_with_scipy(submission, rng, shape, axis):
    """The log-probabilities are normalised along the axis that was asked for, and do not depend on other slices."""
    Z = 3 * rng.standard_normal(shape)
    assert close(submission.log_softmax(Z, axis=axis), scipy.special.log_softmax(Z, axis=axis), atol=1e-6)


@pytest.mark.exercise("log_softmax", weight=2, hint=1, depends=("logsumexp",))
def test_log_softmax_of_hopeless_classes(submission, rng):
    """A class whose probability is too small for a float, or was clipped, still has its own finite logarithm."""
    Z = np.round(1000 * rng.standard_normal((4, 6))) * 10
    Z[:, 0] = 1e4
    assert close(submission.log_softmax(Z), scipy.special.log_softmax(Z, axis=1), rtol=20 * EPS, atol=1e-12)
    for Z in at_the_limits():
        size = float(Z[0, 0])
        assert close(submission.log_softmax(Z[3:]), [[0, -2 * size], [0, -size / 2]], rtol=1e-6)


@pytest.mark.exercise("log_softmax", weight=2, hint=2, depends=("logsumexp",))
def test_log_softmax_does_not_lose_digits_far_from_zero(submission, rng):
    """Adding 10000 to all logits changes no digit of the result, in float32 or in float64."""
    Z = rng.integers(-8, 9, (6, 5))  # whole numbers, so that adding 10000 is exact
    expected = scipy.special.log_softmax(Z.astype(np.float64), axis=1)
    for offset in (1e4, -1e4):
        for dtype in (np.float32, np.float64):
            # Numbers of at most 20 that went through a sum of 5 terms: a few eps times 20.
            allowed = 100 * float(np.finfo(dtype).eps)
            assert close(submission.log_softmax((Z + offset).astype(dtype)), expected, atol=allowed)
    assert close(submission.log_softmax((Z + 1e4).T, axis=0), expected.T, atol=100 * EPS)


@pytest.mark.exercise("log_softmax", weight=2, depends=("logsumexp",))
def test_log_softmax_of_other_kinds_of_arrays(submission, rng):
    """float32 stays float32, integers become float64, views are fine; a class at -inf has the log-probability -inf."""
    kinds_agree(submission, rng, "log_softmax", logarithm_rounding)
    Z = masked(rng)
    assert close(submission.log_softmax(Z), scipy.special.log_softmax(Z, axis=1), atol=1e-13)
    for Z in at_the_limits():
        half = -math.log(2)
        assert close(submission.log_softmax(Z[:3]), [[half, half], [half, half], [0, -np.inf]], rtol=1e-6)


@pytest.mark.exercise("log_softmax", weight=0.5, forgeable=True)
def test_log_softmax_leaves_no_trace(submission, rng):
    """Z is the same after the call, and the result is a new array."""
    assert along_axes("log_softmax").leaves_no_trace(submission, rng, then=[{}, {"Z": np.float32}])
    assert Contract("log_softmax", Z=np.zeros((3, 1)), axis=1).leaves_no_trace(submission, rng)


# ------------------------------------------------------------------------- cross_entropy, cross_entropy_gradient

SIZES = [(1, 4), (1200, 3), (5, 5), (3, 40), (6, 1), (1, 1), (1, 2)]
SMOOTHINGS = one_of(0.0, 0.1, 0.5, 1.0, 0, 1)
ROWS = {"Z": numbers(6, 5, whole=WHOLE, scales=FAR), "y": labels(6, classes=5)}
LOSS = Contract("cross_entropy", **ROWS, reduction=one_of("mean", "sum", "none"), label_smoothing=SMOOTHINGS)
GRADIENT = Contract("cross_entropy_gradient", **ROWS, label_smoothing=SMOOTHINGS)


def rows_and_labels(rng, m, C):
    return 3 * rng.standard_normal((m, C)), rng.integers(0, C, m)


def row_losses(Z, y, smoothing=0.0):
    """The losses of the rows, from logits that were shifted first."""
    log_p = scipy.special.log_softmax(np.asarray(Z, dtype=np.float64), axis=1)
    return -(1 - smoothing) * log_p[np.arange(len(y)), y] - smoothing * log_p.mean(axis=1)


def loss_rounding(Z):
    """How far the sum of the rows' losses may be off."""
    return 2 * sum_rounding(Z.size, 1 + np.abs(Z).max())


def mean_gradient(Z, y, smoothing=0.0):
    """(P - Q) / m, with the smoothed labels Q."""
    G = scipy.special.softmax(np.asarray(Z, dtype=np.float64), axis=1) - smoothing / np.shape(Z)[1]
    G[np.arange(len(y)), y] -= 1 - smoothing
    return G / len(y)


def autograd(Z, y, smoothing=0.0):
    """The gradient of torch's loss, in float64."""
    Z = torch.tensor(np.array(Z, dtype=np.float64), requires_grad=True)
    y = torch.tensor(np.array(y, dtype=np.int64))
    torch.nn.functional.cross_entropy(Z, y, label_smoothing=smoothing).backward()
    return Z.grad.numpy()


@pytest.mark.exercise("cross_entropy", weight=3, core=True, hint=1, depends=("log_softmax", "logsumexp"))
@pytest.mark.parametrize(("m", "C"), SIZES)
def test_loss_agrees_with_torch(submission, rng, m, C):
    """The mean and the sum of the losses -log p are right, and the losses of the rows, for one row and for many."""
    Z, y = rows_and_labels(rng, m, C)
    right = torch.nn.functional.cross_entropy(torch.tensor(Z), torch.tensor(y), reduction="none").numpy()
    # What matters here is the formula; an epsilon of 1e-12 in a log, which would shift this by 1e-8, fails below.
    assert close(submission.cross_entropy(Z, y), np.float64(right.mean()), atol=1e-6, typed=True)
    for reduction, expected in (("mean", right.mean()), ("sum", right.sum()), ("none", right)):
        assert close(submission.cross_entropy(Z, y, reduction=reduction), expected, atol=1e-6 * m, typed=True)


@pytest.mark.exercise("cross_entropy", weight=2, hint=1, depends=("log_softmax", "logsumexp"))
def test_loss_of_huge_logits(submission, rng):
    """A confident mistake costs the difference of the logits: the loss is not taken from clipped probabilities."""
    equal = submission.cross_entropy(np.full((1, 3), -1e4), np.array([2]))
    assert close(equal, math.log(3), atol=1e-11)  # 1e4 + log(3) is rounded by 2e-12
    for gap in (20.0, 30.0, 100.0, 700.0, 1e6, 1e300):
        wrong = submission.cross_entropy(np.array([[gap, 0.0]]), np.array([1]))
        assert close(wrong, gap + math.log1p(math.exp(-gap)), rtol=20 * EPS)


@pytest.mark.exercise("cross_entropy", weight=2, hint=2, depends=("log_softmax", "logsumexp"))
@pytest.mark.parametrize("smoothing", [0.1, 0.5, 1.0])
def test_loss_with_smoothed_labels(submission, rng, smoothing):
    """Label smoothing spreads its share over all the classes, the right one included."""
    huge = submission.cross_entropy(np.array([[1e4, -1e4, -1e4]]), np.array([0]), label_smoothing=smoothing)
    assert close(huge, smoothing * 4e4 / 3, rtol=20 * EPS)
    tiny = submission.cross_entropy(np.array([[0.0, -1e12]]), np.array([0]), label_smoothing=smoothing * 1e-8)
    assert close(tiny, smoothing * 5e3, rtol=20 * EPS)
    for m, C in SIZES:
        Z, y = rows_and_labels(rng, m, C)
        expected = row_losses(Z, y, smoothing)
        got = submission.cross_entropy(Z, y, reduction="none", label_smoothing=smoothing)
        assert close(got, expected, atol=loss_rounding(Z))
        assert close(submission.cross_entropy(Z, y, label_smoothing=smoothing), expected.mean(), atol=loss_rounding(Z))


@pytest.mark.exercise("cross_entropy", weight=2)
def test_loss_refuses_labels_that_are_no_class(submission, rng):
    """A label below 0 or above C - 1 raises ValueError wherever in y it stands, and so does another reduction."""
    wrong = [np.array(y) for y in ([0, 1, 2, 1, 4, -1], [5, 0, 0, 1, 1, 1], [-3, 0, 1, 2, 0, 0], [0, 1, 100, 0, 0, 0])]
    wrong += [np.array([0, 5, 1, 1, 2, 3], np.uint8), np.array([0, 1, 1, 1, -5, 3], np.int8)]
    wrong += [np.array([0, 1, 2, 1, 0, 2**32])]
    for how in ({"reduction": "sum"}, {"reduction": "none"}, {"label_smoothing": 0.1}, {}):
        usual = {"reduction": "mean", "label_smoothing": 0.0} | how
        bad = {"y": wrong, "reduction": ["average", "", "None", "Mean", "avg", "max", " sum", "none2"]}
        Contract("cross_entropy", **ROWS, **usual).refuses(submission, rng, ValueError, **bad)
    many = Contract("cross_entropy", Z=floats(1100, 3), y=labels(1100, classes=3))
    many.refuses(submission, rng, ValueError, y=[lambda y: np.append(y[1:], 3), lambda y: np.append(y[1:], -1)])


@pytest.mark.exercise("cross_entropy", depends=("log_softmax", "logsumexp"))
def test_loss_of_other_kinds_of_arrays(submission, rng):
    """Integers, views and read-only arrays are fine, and everything is computed and returned in float64."""
    for case in [*LOSS.cases(rng), LOSS.plain(rng, Z=np.float32, reduction="none")]:
        Z, y, reduction, smoothing = case.exact
        losses = row_losses(Z, y, smoothing)
        expected = {"mean": losses.mean(), "sum": losses.sum(), "none": losses}[reduction]
        assert close(submission.cross_entropy(*case), expected, atol=loss_rounding(Z), typed=True)


@pytest.mark.exercise("cross_entropy", hint=1, depends=("log_softmax", "logsumexp"), memory_mb=30)
@pytest.mark.parametrize(("m", "C"), [(2, 40_000), (3000, 2)])
def test_loss_forms_no_square_matrix(submission, rng, m, C):
    """Neither a (C, C) array, such as one-hot rows looked up in an identity, nor an (m, m) array is built."""
    Z, y = rows_and_labels(rng, m, C)  # the smaller of these would take 72 MB
    y[0] = C - 1  # more than an int16 holds
    assert close(submission.cross_entropy(Z, y), row_losses(Z, y, 0.0).mean(), atol=loss_rounding(Z))


@pytest.mark.exercise("cross_entropy", weight=0.5, forgeable=True)
def test_loss_leaves_no_trace(submission, rng):
    """Z and y are the same after the call, also when it raises, and the losses are a new array."""
    paths = [{}, {"reduction": "none"}, {"label_smoothing": 0.2}]
    bad = {"y": [lambda y: y - 9], "reduction": ["average"]}
    assert LOSS.leaves_no_trace(submission, rng, then=paths, **bad)


@pytest.mark.exercise("cross_entropy_gradient", weight=3, core=True, hint=1, depends=("softmax",))
@pytest.mark.parametrize(("m", "C"), SIZES)
def test_gradient_agrees_with_autograd(submission, rng, m, C):
    """The gradient is that of the mean loss: prediction minus observation, divided by the rows."""
    Z, y = rows_and_labels(rng, m, C)
    assert close(submission.cross_entropy_gradient(Z, y), autograd(Z, y), atol=1e-9)


@pytest.mark.exercise("cross_entropy_gradient", weight=2, hint=2, depends=("softmax",))
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_gradient_with_smoothed_labels(submission, rng, smoothing):
    """The gradient is right for smoothed labels, too."""
    for m, C in SIZES:
        Z, y = rows_and_labels(rng, m, C)
        got = submission.cross_entropy_gradient(Z, y, label_smoothing=smoothing)
        assert close(got, autograd(Z, y, smoothing), atol=1e-9)


@pytest.mark.exercise("cross_entropy_gradient", hint=1, depends=("softmax",))
def test_gradient_of_huge_logits(submission, rng):
    """For huge logits each row of the gradient is finite and sums to zero."""
    for Z in at_the_limits():
        got = submission.cross_entropy_gradient(Z[[0, 1, 3, 4]], np.array([0, 1, 1, 0]))
        assert close(got, np.array([[-0.5, 0.5], [0.5, -0.5], [1, -1], [0, 0]]) / 4, atol=1e-6)


@pytest.mark.exercise("cross_entropy_gradient", weight=4, hint=1, memory_mb=70, depends=("softmax",))
def test_gradient_needs_no_jacobian(submission, rng):
    """With thousands of classes, or of rows, the gradient takes no more memory than ten arrays of the size of Z."""
    for m, C in ((4, 200_000), (20_000, 40)):  # Z takes 6.4 MB; (C, C) for a row, or (m, m), 3,200 MB and more
        y, seed = rng.integers(0, C, m), int(rng.integers(2**31))
        got = submission.run(on_large, "cross_entropy_gradient", seed, [(m, C)], [y])
        Z = np.random.default_rng(seed).standard_normal((m, C))
        assert close(got, mean_gradient(Z, y), atol=1e-9)


@pytest.mark.exercise("cross_entropy_gradient", depends=("softmax",))
def test_gradient_of_other_kinds_of_arrays(submission, rng):
    """float32 stays float32, integers of any kind become float64; views and read-only arrays are fine."""
    for case in GRADIENT.cases(rng):
        Z, y, smoothing = case.exact
        expected = mean_gradient(Z, y, smoothing).astype(case.dtype)
        atol = sum_rounding(Z.shape[1], 750, case.eps) / len(Z)  # p is off by eps times its logarithm, see above
        assert close(submission.cross_entropy_gradient(*case), expected, atol=atol, typed=True)


@pytest.mark.exercise("cross_entropy_gradient", forgeable=True)
def test_gradient_leaves_no_trace(submission, rng):
    """Z and y are the same after the call, and the gradient is a new array."""
    paths = [{}, {"Z": np.float32}, {"label_smoothing": 0.2}]
    assert GRADIENT.leaves_no_trace(submission, rng, then=paths)


# ----------------------------------------------------------------------------------------- fit_softmax_regression

BUILDS_ON = ("cross_entropy", "cross_entropy_gradient")
FIT = Contract(
    "fit_softmax_regression",
    X=numbers(8, 3, whole=(-128, 127), scales=(1e-7, 1e8)),
    y=labels(8, classes=3),
    classes=3,
    l2=one_of(0.1, 0, 20.0, 1e-9),
    tol=one_of(0.0, 0, 1e9),
    max_steps=one_of(3, 0, 1),
)


def classification(rng, m, d, C):
    """X (m, d), y (m,): overlapping classes, every one of which occurs where m allows."""
    centres, y = rng.standard_normal((C, d)), rng.permutation(np.arange(m) % C)
    return centres[y] + rng.standard_normal((m, d)) + 0.5, y


def objective(W, b, X, y, l2):
    return row_losses(X @ W + b, y).mean() + l2 / 2 * np.sum(W**2)


def descend(X, y, classes, l2, tol, max_steps):
    """The descent of the docstring: W, b and the losses."""
    X1 = np.column_stack([X, np.ones(len(X))])
    L = np.linalg.eigvalsh(X1.T @ X1)[-1] / (2 * len(X)) + l2
    W, b, losses = np.zeros((X.shape[1], classes)), np.zeros(classes), []
    while True:
        losses.append(objective(W, b, X, y, l2))
        G = mean_gradient(X @ W + b, y)
        dW, db = X.T @ G + l2 * W, G.sum(axis=0)
        if len(losses) > max_steps or max(np.abs(dW).max(), np.abs(db).max()) <= tol:
            return W, b, losses
        W, b = W - dW / L, b - db / L


def agrees(got, expected, rtol=1e-10):
    """Whether (W, b, losses) are right, W and b in float64, and the losses a list or a 1-D array."""
    (W, b, losses), (W_right, b_right, losses_right) = got, expected
    size = np.abs(W_right).max() + np.abs(b_right).max()
    same = close([W, b], [W_right, b_right], atol=rtol * (1 + size), typed=True)
    return same and close(np.asarray(list(losses)), losses_right, rtol=rtol)


@pytest.mark.exercise("fit_softmax_regression", weight=3, hint=2, depends=BUILDS_ON)
@pytest.mark.parametrize(("m", "d", "classes"), [(40, 3, 3), (5, 8, 4), (1, 2, 2), (20, 2, 120), (3000, 1, 2)])
def test_fit_takes_the_right_steps(submission, rng, m, d, classes):
    """From zeros, each step goes downhill by gradient / L, and J is recorded before the first step and after each."""
    X, y = classification(rng, m, d, min(3, classes))
    for l2, steps in ((0.0, 4), (0.3, 0), (0.3, 1), (0.3, 7)):
        got = submission.fit_softmax_regression(X, y, classes, l2=l2, tol=0.0, max_steps=steps)
        assert agrees(got, descend(X, y, classes, l2, 0.0, steps))


@pytest.mark.exercise("fit_softmax_regression", weight=3, core=True, hint=3, depends=BUILDS_ON)
def test_fit_finds_the_minimum_of_scikit_learn(submission, rng):
    """Run to the end, it finds the model that scikit-learn finds by another method."""
    X, y = classification(rng, 90, 3, 3)
    l2 = 0.1
    W, b, losses = submission.fit_softmax_regression(X, y, 3, l2=l2, tol=1e-9, max_steps=5000)
    peer = LogisticRegression(C=1 / (l2 * len(X)), solver="newton-cg", tol=1e-12, max_iter=1000).fit(X, y)
    # Where J's curvature is at least l2, a gradient below 1e-9 leaves less than 1e-8; the peer is as exact.
    assert close(W, peer.coef_.T, atol=1e-6)
    assert is_array(b, (3,)) and close(b - np.mean(b), peer.intercept_ - peer.intercept_.mean(), atol=1e-6)
    assert close(losses[-1], objective(W, b, X, y, l2), rtol=1e-10)


@pytest.mark.exercise("fit_softmax_regression", weight=2, hint=1, depends=BUILDS_ON)
def test_fit_stops_in_time(submission, rng):
    """It stops at the first point where no entry of the gradient is above tol, and takes no step after that."""
    X, y = classification(rng, 50, 2, 3)
    y[:25] = 0  # the largest entry of the gradient is a negative one
    for tol in (0.1, 0.05, 0.02, 1e-3, 1e-10):
        got = submission.fit_softmax_regression(X, y, 3, l2=0.2, tol=tol, max_steps=1500)
        assert agrees(got, descend(X, y, 3, 0.2, tol, 1500))
    got = submission.fit_softmax_regression(100 * X, y, 3, l2=0.2, tol=0.5, max_steps=200)
    assert agrees(got, descend(100 * X, y, 3, 0.2, 0.5, 200))
    for scale, classes, tol in ((1, 1, 0.0), (1e3, 3, 1e6)):  # no gradient at all, and one above 10
        got = submission.fit_softmax_regression(scale * X, y % classes, classes, l2=0.2, tol=tol, max_steps=50)
        assert agrees(got, (np.zeros((2, classes)), np.zeros(classes), [math.log(classes)]))
    # One row of one feature: the first gradient is 1/2 exactly.
    for tol, steps in ((0.5, 0), (np.nextafter(0.5, 0), 1)):
        one = np.ones((1, 1)), np.zeros(1, int), 2
        got = submission.fit_softmax_regression(*one, l2=0.0, tol=tol, max_steps=1)
        assert agrees(got, descend(*one, 0.0, tol, steps))
    # Of two rows with opposite features and labels only W has a gradient; of no features at all only b.
    for X, y in ((np.array([[1.0], [-1.0]]), np.array([0, 1])), (np.zeros((4, 1)), np.array([0, 0, 0, 1]))):
        got = submission.fit_softmax_regression(X, y, 2, l2=0.0, tol=0.2, max_steps=1000)
        assert agrees(got, descend(X, y, 2, 0.0, 0.2, 1000))


@pytest.mark.exercise("fit_softmax_regression", hint=1, depends=BUILDS_ON)
def test_fit_stops_by_itself_or_after_a_thousand_steps(submission, rng):
    """With the defaults, l2 = 0.001, tol = 0.0001 and max_steps = 1000, it takes the right steps and stops in time."""
    X, y = rng.standard_normal((30, 2)), rng.integers(0, 3, 30)
    for offset in (0, 30):  # the first stops by tol, the second, far from centred, by max_steps
        got = submission.fit_softmax_regression(X + offset, y, 3)
        assert agrees(got, descend(X + offset, y, 3, 1e-3, 1e-4, 1000), rtol=1e-8)


@pytest.mark.exercise("fit_softmax_regression", depends=BUILDS_ON)
def test_fit_of_other_kinds_of_arrays(submission, rng):
    """Integers, float32, views and read-only arrays are fine; W and b are float64."""
    for case in FIT.cases(rng):
        X, y, classes, l2, tol, steps = case.exact
        assert agrees(submission.fit_softmax_regression(*case), descend(X, y, classes, l2, tol, steps))


@pytest.mark.exercise("fit_softmax_regression", weight=0.5, forgeable=True)
def test_fit_leaves_no_trace(submission, rng):
    """X and y are the same after the call, and what is returned is new."""
    assert FIT.leaves_no_trace(submission, rng, then=[{}, {"max_steps": 0}, {"tol": 10.0}])


# -------------------------------------------------------------------------------------------------- predict_proba

PREDICT = Contract("predict_proba", X=floats(4, 3), W=floats(3, 5), b=floats(5))


@pytest.mark.exercise("predict_proba", weight=3, core=True, hint=1)
@pytest.mark.parametrize(("m", "d", "C"), [(6, 3, 4), (4, 2, 4), (1, 3, 3), (5, 2, 1), (0, 2, 3), (1200, 2, 2)])
def test_predictions_agree_with_scipy(submission, rng, m, d, C):
    """Each row of probabilities sums to 1, also with as many rows as classes, one class, one row, or no row at all."""
    X, W, b = rng.standard_normal((m, d)), rng.standard_normal((d, C)), rng.standard_normal(C)
    expected = scipy.special.softmax(X @ W + b, axis=1)
    assert close(submission.predict_proba(X, W, b), expected, rtol=1e-12, typed=True)


@pytest.mark.exercise("predict_proba", weight=2, hint=2)
def test_predictions_of_unscaled_features(submission, rng):
    """Logits of thousands give right probabilities, also for rows that lie thousands below the others."""
    X = np.array([[3000.0], [-3000.0], [0.0], [1e4], [-1e4], [750.0]])
    b = rng.standard_normal(3)
    # All logits of a row shift together, so only b matters; the sums are rounded by up to 2e-12.
    expected = np.tile(scipy.special.softmax(b), (6, 1))
    assert close(submission.predict_proba(X, np.ones((1, 3)), b), expected, atol=1e-11)
    W = np.array([[1.0, 0.0, -1.0]])
    assert close(submission.predict_proba(X, W, np.zeros(3)), scipy.special.softmax(X @ W, axis=1), atol=1e-15)
    huge = submission.predict_proba(np.array([[1e300], [-1e300]]), W, np.zeros(3))
    assert close(huge, [[1, 0, 0], [0, 0, 1]], atol=1e-15)
    small = np.array([[0.0, -300.0, -650.0]])
    for scale in (1.0, 1e300):
        got = submission.predict_proba(np.full((1, 1), scale), small / scale, np.zeros(3))
        assert close(got, np.exp(small), rtol=1e-11)


@pytest.mark.exercise("predict_proba", weight=0.5)
def test_predictions_of_other_kinds_of_arrays(submission, rng):
    """Views and read-only arrays are fine."""
    for case in PREDICT.cases(rng):
        if case.eps == EPS:
            X, W, b = case.exact
            expected = scipy.special.softmax(X @ W + b, axis=1)
            assert close(submission.predict_proba(*case), expected, rtol=1e-12, typed=True)


@pytest.mark.exercise("predict_proba", weight=0.5, forgeable=True)
def test_predictions_leave_no_trace(submission, rng):
    """X, W and b are the same after the call, and the probabilities are a new array."""
    assert PREDICT.leaves_no_trace(submission, rng, then=[{}, {"X": lambda X: X[:0]}])


# ------------------------------------------------------------------------------------- expected_calibration_error


def calibration_error(P, y, bins):
    """Row by row, in plain Python."""
    held = {}
    for row, label in zip(np.asarray(P).tolist(), y.tolist(), strict=True):
        confidence = max(row)
        place = next(i for i in range(1, bins + 1) if confidence <= i / bins)
        held.setdefault(place, []).append((confidence, row.index(confidence) == label))
    gaps = [abs(math.fsum(hit - confidence for confidence, hit in rows)) for rows in held.values()]
    return math.fsum(gaps) / len(P)


def in_the_middle(rng):
    """Confidences in the middles of ten bins, or of five, which rounding to float32 does not move to another."""
    top = (rng.integers(5, 10, 40) + rng.choice([0.25, 0.75], 40)) / 10
    return np.column_stack([0.25 * (1 - top), top, 0.75 * (1 - top)])


CALIBRATION = Contract(
    "expected_calibration_error", P=floats(40, 3, draw=in_the_middle), y=labels(40, classes=3), bins=one_of(10, 5, 1)
)


@pytest.mark.exercise("expected_calibration_error", weight=3, core=True, hint=3)
@pytest.mark.parametrize(("m", "C", "bins"), [(1, 3, 15), (1200, 10, 15), (60, 2, 1), (50, 4, 150), (9, 3, 40_000)])
def test_calibration_error_agrees_with_counting(submission, rng, m, C, bins):
    """The error is right for few rows and many, few bins and more bins than rows."""
    P, y = rng.dirichlet(np.full(C, 0.5), m), rng.integers(0, C, m)
    # Sums of at most 1200 numbers up to 1, divided by 1200.
    expected = np.float64(calibration_error(P, y, bins))
    assert close(submission.expected_calibration_error(P, y, bins=bins), expected, atol=1e-12, typed=True)
    if bins == 15:
        assert close(submission.expected_calibration_error(P, y), expected, atol=1e-12)


@pytest.mark.exercise("expected_calibration_error", weight=2, hint=1)
def test_calibration_bins_are_closed_on_the_right(submission, rng):
    """A confidence on the edge of two bins belongs to the lower one, and where classes tie the first is predicted."""
    top = rng.integers(5, 9, 60) / 8  # eighths, so that every edge is exact in binary
    top[:4] = 0.5, 0.625, 0.75, 1.0
    P, y = np.column_stack([top, 1 - top]), np.where(8 * top % 2, 0, 1)  # gaps of neighbours have opposite signs
    for bins in (2, 4, 8):
        assert close(submission.expected_calibration_error(P, y, bins=bins), calibration_error(P, y, bins), atol=1e-13)
    P = np.array([[0.5, 0.5, 0.0], [0.25, 0.375, 0.375], [0.0, 0.5, 0.5]])
    for y in (np.array([0, 1, 1]), np.array([1, 2, 2])):
        assert close(submission.expected_calibration_error(P, y, bins=4), calibration_error(P, y, 4), atol=1e-13)


@pytest.mark.exercise("expected_calibration_error")
def test_calibration_error_of_other_kinds_of_arrays(submission, rng):
    """float32, views, read-only arrays and labels of any integer kind are fine."""
    for case in CALIBRATION.cases(rng):
        expected = np.float64(calibration_error(*case.exact))
        # Means of 40 numbers, in the precision in which they came.
        assert close(submission.expected_calibration_error(*case), expected, atol=80 * case.eps, typed=True)


@pytest.mark.exercise("expected_calibration_error", forgeable=True)
def test_calibration_error_leaves_no_trace(submission, rng):
    """P and y are the same after the call."""
    assert CALIBRATION.leaves_no_trace(submission, rng, then=[{}, {"P": np.float32}])


# ----------------------------------------------------------------------------------------------- online_logsumexp

MATRIX = Contract("online_logsumexp", Z=numbers(4, 12, whole=WHOLE, scales=FAR))
BLOCKS = Argument(lambda rng: split(rng.standard_normal((3, 8)), 2, 4, 6), {}, frozenset())
CHUNKS = Contract("online_logsumexp", chunks=BLOCKS)


def split(Z, *cuts):
    """The columns of Z in blocks that end at the cuts, as a list of arrays of their own."""
    return [np.array(block) for block in np.split(Z, cuts, axis=1)]


def pair_agrees(got, Z):
    """Whether (top, s) is right: top exactly, s to a unit in the last place for each column; both are float64."""
    Z = np.asarray(Z, dtype=np.float64)
    top = Z.max(axis=1)
    s = np.exp(Z - np.where(np.isfinite(top), top, 0.0)[:, None]).sum(axis=1)
    return close(got, (top, s), rtol=sum_rounding(Z.shape[1], 1), typed=True) and close(got[0], top)


@student_side
def streamed(m, V, width, seed, reused):
    """Feed (m, V) logits in blocks that are new, or all lie in one buffer, and give back the pair (runs over there).

    Whoever goes through them a second time meets other numbers.
    """
    rng, buffer = np.random.default_rng(seed), np.empty((m, width), dtype=np.float32)

    class Chunks:
        def __iter__(self):
            for _ in range(V // width):
                block = buffer if reused else np.empty((m, width), dtype=np.float32)
                rng.random(out=block, dtype=np.float32)
                block *= 8
                yield block
            buffer[:] = 0

    return student.online_logsumexp(Chunks())  # noqa: F821


def stream_agrees(submission, rng, m, V, width, reused):
    seed = int(rng.integers(2**31))
    got = submission.run(streamed, m, V, width, seed, reused)
    blocks = 8 * np.random.default_rng(seed).random((V // width, m, width), dtype=np.float32)
    return pair_agrees(got, np.concatenate(blocks, axis=1))


@pytest.mark.exercise("online_logsumexp", weight=3, core=True, hint=1)
@pytest.mark.parametrize("cuts", [(), (1,), (3, 4, 10), (2, 4, 6, 8, 10), tuple(range(1, 12))])
def test_online_agrees_with_all_at_once(submission, rng, cuts):
    """The pair is the maximum of each row and the sum of exp(entry - maximum), however the columns were cut."""
    for m in (1, 5, 1100):
        Z = 4 * rng.standard_normal((m, 12))
        Z[:, 4:7] = Z[:, 3:4]  # chunks that are alike, one after another
        assert pair_agrees(submission.online_logsumexp(split(Z, *cuts)), Z)
    for small in (-31.0, 5e-11):
        assert pair_agrees(submission.online_logsumexp(split(np.array([[0.0, small]]), 1)), np.array([[0.0, small]]))


@pytest.mark.exercise("online_logsumexp", hint=1)
def test_online_of_other_kinds_of_arrays(submission, rng):
    """The pair is float64, as exact as if float32 and integer chunks had come in float64; views are fine."""
    for case in MATRIX.cases(rng):
        (Z,) = case
        assert pair_agrees(submission.online_logsumexp(np.split(Z, (2, 3, 8), axis=1)), *case.exact)


@pytest.mark.exercise("online_logsumexp", weight=4, core=True, hint=1, memory_mb=12)
def test_online_keeps_no_chunks(submission, rng):
    """A quarter of a million columns pass through: memory does not grow with them, and no chunk is kept."""
    assert stream_agrees(submission, rng, 16, 2**18, 2**12, False)  # all chunks take 17 MB, one takes 0.3 MB
    assert stream_agrees(submission, rng, 1, 60_000, 1, False)  # a list of the pairs would take 18 MB


@pytest.mark.exercise("online_logsumexp", hint=1)
def test_online_is_done_with_a_chunk_before_the_next(submission, rng):
    """The producer writes the next chunk into the same buffer, so a chunk is used up before the next is asked for."""
    assert stream_agrees(submission, rng, 3, 24, 4, True)


@pytest.mark.exercise("online_logsumexp", weight=2, hint=1)
def test_online_goes_through_the_chunks_once(submission, rng):
    """Each chunk is asked for once, in one pass, and not changed where it is read-only."""
    Z, asked = rng.standard_normal((3, 20)), []

    def stream():
        for k, chunk in enumerate(split(Z, 5, 10, 15)):
            asked.append(k)
            chunk.flags.writeable = False
            yield chunk

    assert pair_agrees(submission.online_logsumexp(stream()), Z)
    assert asked == [0, 1, 2, 3]


@pytest.mark.exercise("online_logsumexp", weight=2, hint=2)
def test_online_follows_a_maximum_that_rises_and_falls(submission, rng):
    """Logits of ten thousand and more are right in any order: rising from chunk to chunk, falling, otherwise by row."""
    steps = np.array([-1e4, -800.0, 0.0, 800.0, 1e4])
    order = np.stack([steps, steps[::-1] - 3000, steps[[2, 4, 0, 3, 1]] + 5000])
    Z = np.round(rng.standard_normal((3, 10)), 3) + np.repeat(order, 2, axis=1)
    for part in (Z, Z - 1.2e4, Z[:, ::-1] + 1e6):  # the second lies far below zero, where a start at 0 would win
        assert pair_agrees(submission.online_logsumexp(split(part, 2, 4, 6, 8)), part)
        assert pair_agrees(submission.online_logsumexp(split(part, 1, 2, 5)), part)
    limits = np.array([[1e300, -1e300, 1e300], [-1e300, -1e300, -1e300], [-np.inf, -1e300, -1e300]])
    assert pair_agrees(submission.online_logsumexp(split(limits, 1, 2)), limits)


@pytest.mark.exercise("online_logsumexp", hint=3)
def test_online_with_masked_entries_and_empty_chunks(submission, rng):
    """Chunks of -inf and chunks without columns count for nothing; for a row of nothing else top is -inf and s is 0."""
    Z = rng.standard_normal((4, 9))
    Z[0, :3] = Z[1, 3:6] = Z[2] = Z[3, 6:] = -np.inf
    nothing = np.zeros((4, 0))
    assert pair_agrees(submission.online_logsumexp(split(Z, 3, 6)), Z)
    assert pair_agrees(submission.online_logsumexp([nothing, *split(Z, 3), nothing, nothing]), Z)
    assert pair_agrees(submission.online_logsumexp(split(Z.astype(np.float32), 1, 2, 5)), Z.astype(np.float32))
    for chunks in ([nothing], [nothing, nothing], [nothing, np.full((4, 2), -np.inf), nothing]):
        assert close(submission.online_logsumexp(chunks), [np.full(4, -np.inf), np.zeros(4)], typed=True)


@pytest.mark.exercise("online_logsumexp")
def test_online_refuses_no_chunks(submission):
    """Without any chunk it raises ValueError."""
    for nothing in ([], iter(()), ()):
        with raises_student(ValueError):
            submission.online_logsumexp(nothing)


@pytest.mark.exercise("online_logsumexp", weight=0.5, forgeable=True)
def test_online_leaves_no_trace(submission, rng):
    """The chunks are the same after the call, and top and s are new arrays."""
    one_column = {"chunks": lambda chunks: [chunks[0][:, :1]]}
    assert CHUNKS.leaves_no_trace(submission, rng, then=[{}, one_column, {"chunks": lambda chunks: chunks[:1]}])


# ---------------------------------------------------------------------------------------- blockwise_cross_entropy

BLOCKWISE = Contract(
    "blockwise_cross_entropy",
    X=floats(7, 3, scales=(1e3,)),
    W=floats(3, 300),
    y=labels(7, classes=300),  # in uint8 no label lies in the blocks that begin at 256 and later
    width=one_of(64, 1, 299, 300, 400),
)


def all_at_once(X, W, y):
    """The loss of the logits X W and its gradients."""
    G = mean_gradient(X @ W, y)
    return row_losses(X @ W, y).mean(), G @ W.T, X.T @ G


@pytest.mark.exercise("blockwise_cross_entropy", weight=3, core=True, hint=3, depends=("online_logsumexp",))
@pytest.mark.parametrize(
    ("m", "d", "V", "width"), [(6, 3, 10, 4), (1, 2, 5, 1), (20, 1, 7, 7), (3, 2, 4, 9), (4, 2, 1, 1)]
)
def test_blockwise_agrees_with_all_at_once(submission, rng, m, d, V, width):
    """The loss and both gradients are right, whatever the width of a block."""
    X, W, y = rng.standard_normal((m, d)), rng.standard_normal((d, V)), rng.integers(0, V, m)
    got = submission.blockwise_cross_entropy(X, W, y, width)
    assert close(got, all_at_once(X, W, y), atol=1e-9)


@pytest.mark.exercise(
    "blockwise_cross_entropy", weight=4, core=True, hint=1, memory_mb=12, depends=("online_logsumexp",)
)
def test_blockwise_never_holds_all_logits(submission, rng):
    """No array of all the logits, rows by words, is built, on the way forward or backward."""
    m, d, V = 1100, 2, 3000  # all logits take 26 MB, in float32 13 MB; ten arrays (m, width) 1.3 MB
    y, seed = rng.integers(0, V, m), int(rng.integers(2**31))
    got = submission.run(on_large, "blockwise_cross_entropy", seed, [(m, d), (d, V)], [y, 16])
    draw = np.random.default_rng(seed)
    X, W = draw.standard_normal((m, d)), draw.standard_normal((d, V))
    assert close(got, all_at_once(X, W, y), atol=1e-9)


@pytest.mark.exercise("blockwise_cross_entropy", hint=1, memory_mb=70, depends=("online_logsumexp",))
def test_blockwise_needs_few_arrays_of_the_size_of_X(submission, rng):
    """Where X is much larger than a block, at most ten arrays of its size are in use."""
    y, seed = rng.integers(0, 6, 2000), int(rng.integers(2**31))  # X takes 6.4 MB
    got = submission.run(on_large, "blockwise_cross_entropy", seed, [(2000, 400), (400, 6)], [y, 2])
    draw = np.random.default_rng(seed)
    X, W = draw.standard_normal((2000, 400)), draw.standard_normal((400, 6))
    assert close(got, all_at_once(X, W, y), atol=1e-9)


@pytest.mark.exercise("blockwise_cross_entropy", hint=2, depends=("online_logsumexp",))
def test_blockwise_finds_labels_at_the_edges_of_blocks(submission, rng):
    """A label at the first or the last word of a block is found there alone, and logits of 10000 do not overflow."""
    X, W = rng.standard_normal((6, 2)), rng.standard_normal((2, 9))
    for y in ([0, 2, 3, 5, 6, 8], [8, 8, 8, 8, 8, 8], [3, 3, 2, 2, 5, 6]):
        y = np.array(y)
        assert close(submission.blockwise_cross_entropy(X, W, y, 3), all_at_once(X, W, y), atol=1e-12)
    X, W = np.array([[1.0], [-1.0]]), np.array([[1e4, 0.0, -1e4]])
    for y in (np.array([0, 2]), np.array([2, 0]), np.array([1, 1])):
        assert close(submission.blockwise_cross_entropy(X, W, y, 2), all_at_once(X, W, y), rtol=1e-12, atol=1e-12)


@pytest.mark.exercise("blockwise_cross_entropy", depends=("online_logsumexp",))
def test_blockwise_of_other_kinds_of_arrays(submission, rng):
    """float32, views, read-only arrays and labels of any integer kind are fine; all is computed in float64."""
    for case in BLOCKWISE.cases(rng):
        X, W, y, _ = case.exact
        # Logits z of a few thousand at most are products of three terms; the gradients are sums over 7 rows.
        atol = sum_rounding(40, (1 + np.abs(X @ W).max()) * (1 + np.abs(X).max()))
        assert close(submission.blockwise_cross_entropy(*case), all_at_once(X, W, y), atol=atol, typed=True)


@pytest.mark.exercise("blockwise_cross_entropy", forgeable=True)
def test_blockwise_leaves_no_trace(submission, rng):
    """X, W and y are the same after the call, and the gradients are new arrays."""
    assert BLOCKWISE.leaves_no_trace(submission, rng, then=[{}, {"width": 400}])
