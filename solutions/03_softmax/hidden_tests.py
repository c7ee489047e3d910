"""Hidden tests of module 03. A docstring is the sentence that a student reads when the test fails.

Rounding, throughout: exp, log and a division are right to about one unit in the last place, eps; a sum of K positive
terms has a relative error of at most K eps in whatever order it is taken (Higham 2002, section 4.2); and a number of
size M is itself rounded by eps M. So a log-sum-exp may be off by a few times eps (K + M), which holds for adding one
term after another in log space (np.logaddexp), too, with eps (K + K M). Four times that is allowed.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.special
import torch
from sklearn.linear_model import LogisticRegression

from autograder.judging import (
    EPS,
    close,
    frozen,
    is_array,
    kinds,
    raises_student,
    student_side,
    sum_rounding,
    unchanged,
)

EPS32 = float(np.finfo(np.float32).eps)


def rounding(Z, axis=-1, eps=EPS):
    """How far a log-sum-exp along the axis may be off."""
    size = np.abs(np.where(np.isfinite(Z), Z, 0.0)).max(initial=0.0)
    return sum_rounding(np.shape(Z)[axis], 1 + size, eps)


def matrices(rng):
    """Matrices of every kind, each as (Z, Z in float64, the dtype that as_float makes of it, the eps of that dtype)."""
    for (Z,) in kinds(rng, (6, 5)).values():
        single = Z.dtype == np.float32
        yield Z, Z.astype(np.float64), np.float32 if single else np.float64, EPS32 if single else EPS


def class_labels(rng, rows, classes):
    """Labels of several kinds of integer, strided and read-only."""
    y = rng.integers(0, classes, 2 * rows)
    return y[::2].astype(np.uint8), frozen(y)[1::2], y[:rows].astype(np.int32)


@student_side
def without_overflow(name, arguments):
    """Call a function while NumPy raises FloatingPointError instead of warning (runs over there)."""
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return getattr(student, name)(*arguments)  # noqa: F821


# ------------------------------------------------------------------------------------------- binary_cross_entropy


@pytest.mark.exercise("binary_cross_entropy", weight=2, core=True, hint=1)
@pytest.mark.parametrize("shape", [(), (1,), (40,), (3, 4), (2, 1, 3)])
def test_sigmoid_agrees_with_scipy(submission, rng, shape):
    """The sigmoid is right for arrays of any shape, and for a single number."""
    z = 5 * rng.standard_normal(shape)
    assert close(submission.sigmoid(z if shape else float(z)), scipy.special.expit(z), rtol=1e-13)


@pytest.mark.exercise("binary_cross_entropy", hint=1)
def test_sigmoid_of_huge_and_tiny_logits(submission, rng):
    """The sigmoid is right for every logit, however large, and small results keep their digits."""
    z = np.concatenate([[-1e300, -1e4, -800.0, 710.0, 1e4, 1e300], rng.uniform(-708, -30, 20), [-712.3, -743.0]])
    # Below -40 the sigmoid is exp(z) to the last digit (scipy has 0 from -710 on). A relative error of eps |z| is
    # that of a z rounded by one unit; below 1e-308 numbers are 5e-324 apart.
    expected = np.where(z < -40, np.exp(np.minimum(z, 0)), scipy.special.expit(z))
    assert close(submission.sigmoid(z), expected, rtol=1e-12, atol=1e-323)


@pytest.mark.exercise("binary_cross_entropy", weight=0.5, hint=1)
def test_sigmoid_of_other_kinds_of_arrays(submission, rng):
    """The sigmoid keeps float32, and makes float64 of integers; views and read-only arrays are fine."""
    for Z, exact, dtype, _ in matrices(rng):
        got = submission.sigmoid(Z)
        assert is_array(got, Z.shape, dtype)
        assert close(got, scipy.special.expit(exact), rtol=1e-12 if dtype == np.float64 else 20 * EPS32)


def torch_bce(z, y):
    z, y = torch.tensor(np.array(z, float)), torch.tensor(np.array(y, float))
    return float(torch.nn.functional.binary_cross_entropy_with_logits(z, y))


@pytest.mark.exercise("binary_cross_entropy", weight=2, core=True, hint=2)
@pytest.mark.parametrize("n", [1, 2, 50])
def test_binary_loss_agrees_with_torch(submission, rng, n):
    """The binary cross-entropy is the mean over the rows, for one row and for many."""
    z, y = 3 * rng.standard_normal(n), rng.integers(0, 2, n)
    got = submission.binary_cross_entropy(z, y)
    assert np.ndim(got) == 0
    # What matters most is the formula; an epsilon of 1e-12 in a log, which would shift this by 1e-8, fails elsewhere.
    assert close(got, torch_bce(z, y), rtol=1e-6)


@pytest.mark.exercise("binary_cross_entropy", weight=2, hint=3)
def test_binary_loss_of_huge_logits(submission, rng):
    """The binary loss is right for logits of thousands: a confident mistake costs |z|, neither less nor inf."""
    z = np.concatenate([[1e4, -1e4], rng.uniform(700, 5000, 10) * rng.choice([-1, 1], 10)])
    wrong = (z < 0).astype(int)
    assert close(submission.binary_cross_entropy(z, wrong), float(np.abs(z).mean()), rtol=1e-12)
    assert close(submission.binary_cross_entropy(z, 1 - wrong), 0.0, atol=1e-300)
    assert close(submission.run(without_overflow, "binary_cross_entropy", [z, wrong]), np.abs(z).mean(), rtol=1e-12)


@pytest.mark.exercise("binary_cross_entropy", hint=3)
def test_small_binary_losses_keep_their_digits(submission, rng):
    """A row that is right and sure has a small loss with all its digits, not 0."""
    for z in rng.uniform(20, 300, 5):
        expected = math.log1p(math.exp(-z))
        assert close(submission.binary_cross_entropy(np.array([z]), np.array([1])), expected, rtol=1e-12)
        assert close(submission.binary_cross_entropy(np.array([-z]), np.array([0])), expected, rtol=1e-12)


@pytest.mark.exercise("binary_cross_entropy", hint=2)
def test_binary_loss_of_soft_labels_and_other_kinds(submission, rng):
    """Labels may be probabilities, whole numbers of any kind or bools; float32 logits are computed with in float64."""
    z = 4 * rng.standard_normal(30)
    soft, hard = rng.uniform(0, 1, 30), rng.integers(0, 2, 30)
    for logits, labels in [
        (z, soft),
        (z, hard.astype(np.uint8)),
        (z, hard.astype(bool)),
        (z, hard.astype(np.float32)),
        (z.astype(np.float32), soft),
        (frozen(z)[::2], frozen(hard)[::-2]),
        (rng.integers(-5, 6, 30), hard),
    ]:
        assert close(submission.binary_cross_entropy(logits, labels), torch_bce(logits, labels), rtol=1e-12)


@pytest.mark.exercise("binary_cross_entropy", forgeable=True)
def test_binary_functions_leave_their_arguments_and_do_not_overflow(submission, rng):
    """Neither function changes its arguments, and exp never sees a large number (NumPy does not warn)."""
    z = 900 * rng.standard_normal(20)
    assert submission.run(unchanged, "sigmoid", [z])
    assert submission.run(unchanged, "binary_cross_entropy", [z, (z < 0).astype(np.float64)])
    submission.run(without_overflow, "sigmoid", [z])


# ------------------------------------------------------------------------------------------------------ logsumexp

AXES = [((7,), 0), ((7,), -1), ((4, 6), 0), ((4, 6), 1), ((4, 6), -1), ((1, 5), 0), ((5, 1), 1), ((3, 4, 5), 1)]
AXES += [((3, 4, 5), 0), ((3, 4, 5), -1), ((200, 2), 0), ((1, 1), 1)]


@pytest.mark.exercise("logsumexp", weight=3, core=True, hint=2)
@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_logsumexp_agrees_with_scipy(submission, rng, shape, axis):
    """log(sum(exp)) is right along every axis of vectors, matrices and larger arrays."""
    Z = 10 * rng.standard_normal(shape)
    assert close(submission.logsumexp(Z, axis=axis), scipy.special.logsumexp(Z, axis=axis), atol=rounding(Z, axis))


@pytest.mark.exercise("logsumexp", hint=2)
def test_logsumexp_keeps_the_axis_when_asked(submission, rng):
    """The last axis is the default, and keepdims keeps the axis with length 1."""
    Z = rng.standard_normal((3, 4, 2))
    for axis in (0, 1, 2, -2):
        expected = scipy.special.logsumexp(Z, axis=axis, keepdims=True)
        assert close(submission.logsumexp(Z, axis=axis, keepdims=True), expected, atol=rounding(Z, axis))
    assert close(submission.logsumexp(Z), scipy.special.logsumexp(Z, axis=-1), atol=rounding(Z))
    assert close(submission.logsumexp(Z[0, :, 0], keepdims=True), [scipy.special.logsumexp(Z[0, :, 0])], atol=1e-14)


@pytest.mark.exercise("logsumexp", weight=2, hint=1)
def test_logsumexp_of_slices_thousands_apart(submission, rng):
    """Nothing overflows or vanishes where entries are as large as 10000 and the slices lie thousands apart."""
    Z = rng.standard_normal((6, 5)) + np.array([[1e4], [-1e4], [0.0], [800.0], [-800.0], [3e5]])
    for axis, part in ((1, Z), (0, Z.T)):
        expected = scipy.special.logsumexp(part, axis=axis)
        assert close(submission.logsumexp(part, axis=axis), expected, rtol=20 * EPS, atol=1e-14)
    assert close(submission.logsumexp(np.array([1e4, -1e4])), 1e4, rtol=EPS)


@pytest.mark.exercise("logsumexp", hint=3)
def test_logsumexp_of_masked_entries(submission, rng):
    """Entries of -inf count for nothing, and a slice of nothing else gives -inf, not nan."""
    Z = rng.standard_normal((5, 4))
    Z[0, 0] = Z[1, 1:] = Z[2] = -np.inf
    assert close(submission.logsumexp(Z), scipy.special.logsumexp(Z, axis=1), atol=rounding(Z))
    assert close(submission.logsumexp(np.full(3, -np.inf)), -np.inf)
    assert close(submission.logsumexp(Z[:3, :1], axis=0, keepdims=True), Z[1:2, :1], atol=1e-14)


@pytest.mark.exercise("logsumexp", hint=1)
def test_logsumexp_of_other_kinds_of_arrays(submission, rng):
    """float32 stays float32, integers of any kind become float64; views and read-only arrays are fine."""
    for Z, exact, dtype, eps in matrices(rng):
        got = submission.logsumexp(Z, axis=0)
        assert is_array(np.asarray(got), Z.shape[1:], dtype)
        assert close(got, scipy.special.logsumexp(exact, axis=0), atol=rounding(exact, 0, eps))


@pytest.mark.exercise("logsumexp", weight=0.5, forgeable=True)
def test_logsumexp_leaves_its_argument(submission, rng):
    """Z is the same after the call."""
    assert submission.run(unchanged, "logsumexp", [rng.standard_normal((4, 3))])
    assert submission.run(unchanged, "logsumexp", [rng.standard_normal((4, 3)).astype(np.float32)])


# -------------------------------------------------------------------------------------------------------- softmax


@pytest.mark.exercise("softmax", weight=3, core=True, hint=2)
@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_softmax_agrees_with_scipy(submission, rng, shape, axis):
    """The probabilities are right, and sum to 1 along the axis that was asked for."""
    Z = 3 * rng.standard_normal(shape)
    expected = scipy.special.softmax(Z, axis=axis)
    assert close(submission.softmax(Z, axis=axis), expected, rtol=rounding(Z, axis))
    if axis == -1:
        assert close(submission.softmax(Z), expected, rtol=rounding(Z, axis))


@pytest.mark.exercise("softmax", weight=2, hint=1)
def test_softmax_of_slices_thousands_apart(submission, rng):
    """Nothing overflows or vanishes where entries are as large as 10000 and the slices lie thousands apart."""
    Z = np.round(rng.standard_normal((5, 4)), 3)
    far = Z + np.array([[1e4], [-1e4], [800.0], [-800.0], [0.0]])
    # Adding 10000 rounds an entry by up to 1e-12, and so moves a probability by as much.
    assert close(submission.softmax(far, axis=1), scipy.special.softmax(Z, axis=1), atol=4e-12)
    assert close(submission.softmax(far.T, axis=0), scipy.special.softmax(Z, axis=1).T, atol=4e-12)
    assert close(submission.softmax(np.array([1e4, -1e4, 1e4])), [0.5, 0.0, 0.5], atol=1e-15)


@pytest.mark.exercise("softmax", hint=1)
def test_softmax_of_masked_entries(submission, rng):
    """A class at -inf has probability exactly 0, and the others share the rest."""
    Z = rng.standard_normal((4, 5))
    Z[0, 1:] = Z[1, 0] = Z[2, :2] = -np.inf
    got = submission.softmax(Z)
    assert close(got, scipy.special.softmax(Z, axis=1), rtol=1e-13)
    assert close(np.asarray(got)[np.isneginf(Z)], np.zeros(7))


@pytest.mark.exercise("softmax")
def test_softmax_of_other_kinds_of_arrays(submission, rng):
    """float32 stays float32, integers of any kind become float64; views and read-only arrays are fine."""
    for Z, exact, dtype, eps in matrices(rng):
        got = submission.softmax(Z, axis=0)
        assert is_array(got, Z.shape, dtype)
        assert close(got, scipy.special.softmax(exact, axis=0), atol=rounding(exact, 0, eps))


@pytest.mark.exercise("softmax", weight=0.5, forgeable=True)
def test_softmax_leaves_its_argument(submission, rng):
    """Z is the same after the call."""
    assert submission.run(unchanged, "softmax", [rng.standard_normal((4, 3))])
    assert submission.run(unchanged, "softmax", [rng.standard_normal((4, 3)).astype(np.float32)])


# ---------------------------------------------------------------------------------------------------- log_softmax


@pytest.mark.exercise("log_softmax", weight=3, core=True, hint=1, depends=("logsumexp",))
@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_log_softmax_agrees_with_scipy(submission, rng, shape, axis):
    """The log-probabilities are right along every axis of vectors, matrices and larger arrays."""
    Z = 3 * rng.standard_normal(shape)
    expected = scipy.special.log_softmax(Z, axis=axis)
    assert close(submission.log_softmax(Z, axis=axis), expected, atol=rounding(Z, axis))
    if axis == -1:
        assert close(submission.log_softmax(Z), expected, atol=rounding(Z, axis))


@pytest.mark.exercise("log_softmax", weight=2, hint=1, depends=("logsumexp",))
def test_log_softmax_of_hopeless_classes(submission, rng):
    """A class whose probability is too small for a float still has a finite logarithm."""
    Z = np.round(1000 * rng.standard_normal((4, 6))) * 10
    Z[:, 0] = 1e4
    assert close(submission.log_softmax(Z), scipy.special.log_softmax(Z, axis=1), rtol=20 * EPS, atol=1e-12)
    assert close(submission.log_softmax(np.array([1e4, -1e4])), [0.0, -2e4], rtol=EPS, atol=EPS)


@pytest.mark.exercise("log_softmax", weight=2, hint=2, depends=("logsumexp",))
def test_log_softmax_does_not_lose_digits_far_from_zero(submission, rng):
    """Adding 10000 to all logits changes no digit of the result, in float32 or in float64."""
    Z = rng.integers(-8, 9, (6, 5))  # whole numbers, so that adding 10000 is exact
    expected = scipy.special.log_softmax(Z.astype(np.float64), axis=1)
    for offset in (1e4, -1e4):
        # Numbers of at most 20 that went through a sum of 5 terms: a few eps times 20.
        assert close(submission.log_softmax((Z + offset).astype(np.float32)), expected, atol=100 * EPS32)
        assert close(submission.log_softmax(Z + offset), expected, atol=100 * EPS)
    assert close(submission.log_softmax((Z + 1e4).T, axis=0), expected.T, atol=100 * EPS)


@pytest.mark.exercise("log_softmax", hint=1, depends=("logsumexp",))
def test_log_softmax_of_masked_entries(submission, rng):
    """A class at -inf has the log-probability -inf, and the others share the rest."""
    Z = rng.standard_normal((4, 5))
    Z[0, 1:] = Z[1, 0] = Z[2, :2] = -np.inf
    assert close(submission.log_softmax(Z), scipy.special.log_softmax(Z, axis=1), atol=1e-13)


@pytest.mark.exercise("log_softmax", depends=("logsumexp",))
def test_log_softmax_of_other_kinds_of_arrays(submission, rng):
    """float32 stays float32, integers of any kind become float64; views and read-only arrays are fine."""
    for Z, exact, dtype, eps in matrices(rng):
        got = submission.log_softmax(Z, axis=0)
        assert is_array(got, Z.shape, dtype)
        assert close(got, scipy.special.log_softmax(exact, axis=0), atol=rounding(exact, 0, eps))


@pytest.mark.exercise("log_softmax", weight=0.5, forgeable=True)
def test_log_softmax_leaves_its_argument(submission, rng):
    """Z is the same after the call."""
    assert submission.run(unchanged, "log_softmax", [rng.standard_normal((4, 3))])
    assert submission.run(unchanged, "log_softmax", [rng.standard_normal((4, 3)).astype(np.float32)])


# -------------------------------------------------------------------------------------------------- cross_entropy

SIZES = [(1, 4), (30, 3), (5, 5), (3, 40), (6, 1), (1, 1), (1, 2)]


def torch_cross_entropy(Z, y, **how):
    Z = torch.tensor(np.array(Z, dtype=np.float64))
    return torch.nn.functional.cross_entropy(Z, torch.tensor(np.array(y, dtype=np.int64)), **how).numpy()


def loss_rounding(Z):
    return 2 * rounding(Z) + 4 * EPS * len(Z) * (1 + np.abs(Z).max())


@pytest.mark.exercise("cross_entropy", weight=3, core=True, hint=1, depends=("log_softmax", "logsumexp"))
@pytest.mark.parametrize(("n", "K"), SIZES)
def test_loss_agrees_with_torch(submission, rng, n, K):
    """The mean, the sum and the losses of the rows are right, for one row, one class and many."""
    Z, y = 3 * rng.standard_normal((n, K)), rng.integers(0, K, n)
    assert close(submission.cross_entropy(Z, y), float(torch_cross_entropy(Z, y)), atol=loss_rounding(Z))
    for reduction in ("mean", "sum", "none"):
        expected = torch_cross_entropy(Z, y, reduction=reduction)
        got = submission.cross_entropy(Z, y, reduction=reduction)
        assert np.shape(got) == ((n,) if reduction == "none" else ())
        assert close(got, expected, atol=loss_rounding(Z) * (n if reduction == "sum" else 1))


@pytest.mark.exercise("cross_entropy", weight=2, hint=2, depends=("log_softmax", "logsumexp"))
@pytest.mark.parametrize("smoothing", [0.1, 0.5, 1.0])
def test_loss_with_smoothed_labels(submission, rng, smoothing):
    """Label smoothing spreads its share over all the classes, the right one included."""
    for n, K in SIZES:
        Z, y = 3 * rng.standard_normal((n, K)), rng.integers(0, K, n)
        expected = torch_cross_entropy(Z, y, reduction="none", label_smoothing=smoothing)
        got = submission.cross_entropy(Z, y, reduction="none", label_smoothing=smoothing)
        assert close(got, expected, atol=loss_rounding(Z))
        assert close(
            submission.cross_entropy(Z, y, label_smoothing=smoothing), float(expected.mean()), atol=loss_rounding(Z)
        )


@pytest.mark.exercise("cross_entropy", weight=2, hint=1, depends=("log_softmax", "logsumexp"))
def test_loss_of_huge_logits(submission, rng):
    """The loss is right for logits of ten thousand: a confident mistake costs the difference of the logits."""
    Z = np.full((4, 3), -1e4)
    Z[:, 0] = [1e4, 1e4, 0.0, -1e4]
    expected = [0.0, 2e4, 1e4, math.log(3)]
    got = submission.cross_entropy(Z, np.array([0, 1, 2, 2]), reduction="none")
    assert close(got, expected, rtol=20 * EPS, atol=1e-11)  # 1e4 + log(3) is rounded by 2e-12
    smoothed = submission.cross_entropy(Z[:1], np.array([0]), label_smoothing=0.3)
    assert close(smoothed, 0.3 * 2 * 2e4 / 3, rtol=20 * EPS)
    assert close(submission.cross_entropy(Z[:1], np.array([2])), 2e4, rtol=20 * EPS)


@pytest.mark.exercise("cross_entropy")
def test_loss_refuses_labels_that_are_no_class(submission, rng):
    """A label below 0 or above C - 1 raises ValueError, wherever in y it stands."""
    Z = rng.standard_normal((5, 3))
    for wrong in ([0, 1, 2, 1, -1], [3, 0, 0, 1, 1], [-3, 0, 1, 2, 0], [0, 1, 100, 0, 0]):
        with raises_student(ValueError):
            submission.cross_entropy(Z, np.array(wrong))


@pytest.mark.exercise("cross_entropy")
def test_loss_refuses_an_unknown_reduction(submission, rng):
    """A reduction other than mean, sum and none raises ValueError."""
    for wrong in ("average", "", "None"):
        with raises_student(ValueError):
            submission.cross_entropy(rng.standard_normal((2, 3)), np.array([0, 1]), reduction=wrong)


@pytest.mark.exercise("cross_entropy", depends=("log_softmax", "logsumexp"))
def test_loss_of_other_kinds_of_arrays(submission, rng):
    """Integers, views and read-only arrays are fine, and float32 logits are computed with in float64."""
    for Z, exact, _, _ in matrices(rng):
        for y in class_labels(rng, *Z.shape):
            assert close(submission.cross_entropy(Z, y), float(torch_cross_entropy(Z, y)), atol=loss_rounding(exact))


@pytest.mark.exercise("cross_entropy", weight=0.5, forgeable=True)
def test_loss_leaves_its_arguments(submission, rng):
    """Z and y are the same after the call."""
    assert submission.run(unchanged, "cross_entropy", [rng.standard_normal((4, 3)), rng.integers(0, 3, 4)])


# ----------------------------------------------------------------------------------------- cross_entropy_gradient


def autograd(Z, y, smoothing=0.0):
    """The gradient of torch's loss, in float64."""
    Z = torch.tensor(np.array(Z, dtype=np.float64), requires_grad=True)
    y = torch.tensor(np.array(y, dtype=np.int64))
    torch.nn.functional.cross_entropy(Z, y, label_smoothing=smoothing).backward()
    return Z.grad.numpy()


@pytest.mark.exercise("cross_entropy_gradient", weight=3, core=True, hint=1, depends=("softmax",))
@pytest.mark.parametrize(("n", "K"), SIZES)
def test_gradient_agrees_with_autograd(submission, rng, n, K):
    """The gradient is that of the mean loss, for one row, one class and many."""
    Z, y = 3 * rng.standard_normal((n, K)), rng.integers(0, K, n)
    assert close(submission.cross_entropy_gradient(Z, y), autograd(Z, y), atol=rounding(Z) / n)


@pytest.mark.exercise("cross_entropy_gradient", weight=2, hint=2, depends=("softmax",))
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_gradient_with_smoothed_labels(submission, rng, smoothing):
    """The gradient is right for smoothed labels, too."""
    for n, K in SIZES:
        Z, y = 3 * rng.standard_normal((n, K)), rng.integers(0, K, n)
        got = submission.cross_entropy_gradient(Z, y, label_smoothing=smoothing)
        assert close(got, autograd(Z, y, smoothing), atol=rounding(Z) / n)


@pytest.mark.exercise("cross_entropy_gradient", weight=2, hint=1, depends=("softmax",))
def test_gradient_predicts_the_slope_of_the_loss(submission, reference, rng):
    """The gradient predicts how the loss changes along a random direction (a central difference in float64)."""
    Z, U, y = rng.standard_normal((12, 5)), rng.standard_normal((12, 5)), rng.integers(0, 5, 12)
    h = 1e-5
    for smoothing in (0.0, 0.2):
        up, down = (reference.cross_entropy(Z + s * h * U, y, label_smoothing=smoothing) for s in (1, -1))
        got = submission.cross_entropy_gradient(Z, y, label_smoothing=smoothing)
        assert is_array(got, (12, 5))
        # h^2/6 times a third derivative of at most the mean |u|^3 in size, and the rounding of the loss over h: 1e-9.
        assert close(float(np.sum(got * U)), (up - down) / (2 * h), atol=2e-9)


@pytest.mark.exercise("cross_entropy_gradient", hint=1, depends=("softmax",))
def test_gradient_of_huge_logits(submission, rng):
    """For logits of ten thousand each row of the gradient is finite and sums to zero."""
    Z = np.array([[1e4, -1e4, 0.0], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4], [1e4, 0.0, 0.0]])
    expected = np.array([[1, 0, -1], [-0.5, 0.5, 0], [1 / 3, -2 / 3, 1 / 3], [0, 0, 0]]) / 4
    assert close(submission.cross_entropy_gradient(Z, np.array([2, 0, 1, 0])), expected, atol=1e-15)


@pytest.mark.exercise("cross_entropy_gradient", hint=1, memory_mb=128, depends=("softmax",))
def test_gradient_needs_no_jacobian(submission, rng):
    """With thousands of classes the gradient needs no more memory than a few arrays of the size of Z."""
    Z, y = rng.standard_normal((3, 6000)), rng.integers(0, 6000, 3)
    got = submission.cross_entropy_gradient(Z, y)  # Z takes 0.14 MB, one row's Jacobian 288 MB
    assert close(got, autograd(Z, y), atol=rounding(Z))


@pytest.mark.exercise("cross_entropy_gradient", depends=("softmax",))
def test_gradient_of_other_kinds_of_arrays(submission, rng):
    """float32 stays float32, integers of any kind become float64; views and read-only arrays are fine."""
    for Z, exact, dtype, eps in matrices(rng):
        for y in class_labels(rng, *Z.shape):
            got = submission.cross_entropy_gradient(Z, y, label_smoothing=0.1)
            assert is_array(got, Z.shape, dtype)
            assert close(got, autograd(Z, y, 0.1), atol=rounding(exact, eps=eps))


@pytest.mark.exercise("cross_entropy_gradient", forgeable=True)
def test_gradient_leaves_its_arguments(submission, rng):
    """Z and y are the same after the call."""
    for dtype in (np.float64, np.float32):
        Z, y = rng.standard_normal((4, 3)).astype(dtype), rng.integers(0, 3, 4)
        assert submission.run(unchanged, "cross_entropy_gradient", [Z, y])


# ----------------------------------------------------------------------------------------- fit_softmax_regression

BUILDS_ON = ("cross_entropy", "cross_entropy_gradient")


def classification(rng, n, d, K):
    """X (n, d), y (n,): overlapping classes, every one of which occurs where n allows."""
    centres, y = rng.standard_normal((K, d)), rng.permutation(np.arange(n) % K)
    return centres[y] + rng.standard_normal((n, d)) + 0.5, y


def objective(W, b, X, y, l2):
    """J and its gradient (of W and b stacked), by torch in float64."""
    W, b = (torch.tensor(np.array(part, dtype=np.float64), requires_grad=True) for part in (W, b))
    Z = torch.tensor(np.array(X, dtype=np.float64)) @ W + b
    J = torch.nn.functional.cross_entropy(Z, torch.tensor(np.array(y, dtype=np.int64))) + l2 / 2 * (W**2).sum()
    J.backward()
    return float(J.detach()), W.grad.numpy(), b.grad.numpy()


def descend(X, y, classes, l2, steps):
    """The same descent with torch's gradients: W, b and the losses."""
    X1 = np.column_stack([np.asarray(X, dtype=np.float64), np.ones(len(X))])
    L = float(np.linalg.eigvalsh(X1.T @ X1)[-1]) / (2 * len(X)) + l2
    W, b, losses = np.zeros((X.shape[1], classes)), np.zeros(classes), []
    for _ in range(steps):
        J, dW, db = objective(W, b, X, y, l2)
        losses.append(J)
        W, b = W - dW / L, b - db / L
    return W, b, [*losses, objective(W, b, X, y, l2)[0]]


@pytest.mark.exercise("fit_softmax_regression", weight=3, hint=2, depends=BUILDS_ON)
@pytest.mark.parametrize(
    ("n", "d", "K", "classes"), [(40, 3, 3, 3), (30, 1, 2, 2), (5, 8, 2, 3), (1, 2, 1, 2), (20, 2, 3, 5)]
)
def test_fit_takes_the_right_steps(submission, rng, n, d, K, classes):
    """From zeros, each step subtracts gradient / L, and the list holds J before the first step and after each."""
    X, y = classification(rng, n, d, K)
    for l2, steps in ((0.0, 4), (0.3, 0), (0.3, 1), (0.3, 7)):
        W, b, losses = submission.fit_softmax_regression(X, y, classes, l2=l2, tol=0.0, max_steps=steps)
        W_right, b_right, losses_right = descend(X, y, classes, l2, steps)
        assert len(losses) == steps + 1
        # A dozen steps of sums over at most 40 rows, with numbers near 1.
        assert close(list(losses), losses_right, rtol=1e-11)
        assert close(W, W_right, atol=1e-11) and close(b, b_right, atol=1e-11)


@pytest.mark.exercise("fit_softmax_regression", weight=3, core=True, hint=3, depends=BUILDS_ON)
def test_fit_finds_the_minimum_of_scikit_learn(submission, rng):
    """Run to the end, it finds the model that scikit-learn finds by another method."""
    X, y = classification(rng, 90, 3, 3)
    l2 = 0.1
    W, b, losses = submission.fit_softmax_regression(X, y, 3, l2=l2, tol=1e-9, max_steps=20_000)
    peer = LogisticRegression(C=1 / (l2 * len(X)), solver="newton-cg", tol=1e-12, max_iter=1000).fit(X, y)
    # Where J's curvature is at least l2, a gradient below 1e-9 leaves less than 1e-8; the peer is as exact.
    assert is_array(W, (3, 3)) and is_array(b, (3,))
    assert close(W, peer.coef_.T, atol=1e-6)
    assert close(b - np.mean(b), peer.intercept_ - peer.intercept_.mean(), atol=1e-6)
    assert close(losses[-1], objective(W, b, X, y, l2)[0], rtol=1e-10)


@pytest.mark.exercise("fit_softmax_regression", hint=3, depends=BUILDS_ON)
def test_fit_does_not_penalise_the_biases(submission, rng):
    """Whatever the penalty, the mean probability of a class over the rows equals the share of rows that have it."""
    X, y = classification(rng, 60, 2, 2)
    y[:20] = 0
    X -= X.mean(axis=0)
    W, b, _ = submission.fit_softmax_regression(X, y, 2, l2=5.0, tol=1e-10, max_steps=20_000)
    assert is_array(W, (2, 2)) and is_array(b, (2,))
    share = scipy.special.softmax(X @ W + b, axis=1).mean(axis=0)
    assert close(share, np.bincount(y) / len(y), atol=1e-8)  # their difference is the gradient of b


@pytest.mark.exercise("fit_softmax_regression", weight=2, hint=1, depends=BUILDS_ON)
def test_fit_stops_in_time(submission, reference, rng):
    """It stops at the first point where no entry of the gradient is above tol, and takes no step after that."""
    X, y = classification(rng, 50, 2, 3)
    y[:25] = 0  # the largest entry of the gradient is a negative one
    for tol in (0.1, 0.05, 0.02, 1e-3):
        W, b, losses = submission.fit_softmax_regression(X, y, 3, l2=0.2, tol=tol, max_steps=5000)
        assert len(losses) == len(reference.fit_softmax_regression(X, y, 3, l2=0.2, tol=tol, max_steps=5000)[2])
        _, dW, db = objective(W, b, X, y, 0.2)
        assert max(np.abs(dW).max(), np.abs(db).max()) <= tol * (1 + 1e-9)
    # Of two rows with opposite features and labels only W has a gradient; of no features at all only b.
    for X, y in ((np.array([[1.0], [-1.0]]), np.array([0, 1])), (np.zeros((4, 1)), np.array([0, 0, 0, 1]))):
        assert len(submission.fit_softmax_regression(X, y, 2, l2=0.0, tol=0.2, max_steps=1000)[2]) > 1


@pytest.mark.exercise("fit_softmax_regression", hint=1, depends=BUILDS_ON)
def test_fit_with_one_class(submission, rng):
    """With a single class there is nothing to learn: the gradient is zero, and no step is taken even if tol is 0."""
    X = rng.standard_normal((4, 2))
    W, b, losses = submission.fit_softmax_regression(X, np.zeros(4, dtype=int), 1, tol=0.0, max_steps=50)
    assert close(W, np.zeros((2, 1))) and close(b, np.zeros(1)) and close(list(losses), [0.0])


@pytest.mark.exercise("fit_softmax_regression", hint=2, depends=BUILDS_ON)
def test_fit_goes_down_on_unscaled_and_separable_data(submission, rng):
    """The loss never rises and stays finite, with features of a thousand and with classes that a line can part."""
    y = np.arange(20) % 2
    X = np.column_stack([1000 * (y - 0.5) + rng.standard_normal(20), 1e-3 * rng.standard_normal(20)])
    W, b, losses = submission.fit_softmax_regression(X, y, 2, l2=0.0, tol=0.0, max_steps=60)
    assert len(losses) == 61 and is_array(W, (2, 2)) and np.isfinite(W).all() and np.isfinite(b).all()
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(losses))
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.exercise("fit_softmax_regression", depends=BUILDS_ON)
def test_fit_of_other_kinds_of_arrays(submission, rng):
    """Integers, float32, views and read-only arrays are fine; W and b are float64."""
    for (X,) in kinds(rng, (8, 2)).values():
        y = frozen(rng.integers(0, 3, len(X)).astype(np.uint8))
        W, b, losses = submission.fit_softmax_regression(X, y, 3, l2=0.1, tol=0.0, max_steps=3)
        W_right, b_right, losses_right = descend(X, y, 3, 0.1, 3)
        assert is_array(W, (X.shape[1], 3), np.float64) and is_array(b, (3,), np.float64)
        assert close(W, W_right, atol=1e-10) and close(b, b_right, atol=1e-10)
        assert close(list(losses), losses_right, rtol=1e-10)


@pytest.mark.exercise("fit_softmax_regression", weight=0.5, forgeable=True)
def test_fit_leaves_its_arguments(submission, rng):
    """X and y are the same after the call."""
    X, y = classification(rng, 12, 2, 3)
    assert submission.run(unchanged, "fit_softmax_regression", [X, y, 3])


# -------------------------------------------------------------------------------------------------- predict_proba


@pytest.mark.exercise("predict_proba", weight=3, core=True, hint=1)
@pytest.mark.parametrize(("n", "d", "K"), [(6, 3, 4), (4, 2, 4), (1, 3, 3), (3, 1, 2), (5, 2, 1)])
def test_predictions_agree_with_scipy(submission, rng, n, d, K):
    """Each row of probabilities is right, also where there are as many rows as classes, one row or one class."""
    X, W, b = rng.standard_normal((n, d)), rng.standard_normal((d, K)), rng.standard_normal(K)
    expected = scipy.special.softmax(X @ W + b, axis=1)
    assert close(submission.predict_proba(X, W, b), expected, rtol=1e-12)


@pytest.mark.exercise("predict_proba", weight=2, hint=2)
def test_predictions_of_unscaled_features(submission, rng):
    """Logits of thousands give right probabilities, also for rows that lie thousands below the others."""
    X = np.array([[3000.0], [-3000.0], [0.0], [1e4], [-1e4], [750.0]])
    W = np.array([[1.0, 1.0, 1.0]])
    b = rng.standard_normal(3)
    # All logits of a row shift together, so only b matters; the sums are rounded by up to 2e-12.
    expected = np.tile(scipy.special.softmax(b), (6, 1))
    assert close(submission.predict_proba(X, W, b), expected, atol=1e-11)
    far = submission.predict_proba(X, np.array([[1.0, 0.0, -1.0]]), np.zeros(3))
    assert close(far, scipy.special.softmax(X @ np.array([[1.0, 0.0, -1.0]]), axis=1), atol=1e-15)


@pytest.mark.exercise("predict_proba", hint=1)
def test_predictions_do_not_depend_on_the_batch(submission, rng):
    """A row gets the same probabilities alone, in company, and in another order; no rows give no predictions."""
    X, W, b = rng.standard_normal((7, 3)), rng.standard_normal((3, 4)), rng.standard_normal(4)
    together = submission.predict_proba(X, W, b)
    assert is_array(together, (7, 4))
    assert close(submission.predict_proba(X[::-1], W, b), together[::-1], rtol=1e-12)
    for i in range(7):
        assert close(submission.predict_proba(X[i : i + 1], W, b), together[i : i + 1], rtol=1e-12)
    assert close(submission.predict_proba(X[:0], W, b), np.zeros((0, 4)))


@pytest.mark.exercise("predict_proba", weight=0.5, forgeable=True)
def test_predictions_leave_their_arguments(submission, rng):
    """X, W and b are the same after the call."""
    assert submission.run(
        unchanged, "predict_proba", [rng.standard_normal((4, 3)), rng.standard_normal((3, 2)), rng.standard_normal(2)]
    )


# ------------------------------------------------------------------------------------- expected_calibration_error


def calibration_error(P, y, bins):
    """Row by row, in plain Python."""
    held = {}
    for row, label in zip(P.tolist(), y.tolist(), strict=True):
        confidence = max(row)
        place = next(i for i in range(1, bins + 1) if confidence <= i / bins)
        held.setdefault(place, []).append((confidence, row.index(confidence) == label))
    gaps = [len(rows) * abs(sum(h for _, h in rows) - sum(c for c, _ in rows)) / len(rows) for rows in held.values()]
    return math.fsum(gaps) / len(P)


@pytest.mark.exercise("expected_calibration_error", weight=3, core=True, hint=1)
@pytest.mark.parametrize(("n", "K", "bins"), [(1, 3, 15), (400, 3, 15), (400, 10, 7), (60, 2, 1), (50, 4, 100)])
def test_calibration_error_agrees_with_counting(submission, rng, n, K, bins):
    """The error is right for few rows and many, few bins and more bins than rows."""
    P, y = rng.dirichlet(np.full(K, 0.5), n), rng.integers(0, K, n)
    # Sums of at most 400 numbers up to 1, divided by 400.
    assert close(submission.expected_calibration_error(P, y, bins=bins), calibration_error(P, y, bins), atol=1e-12)
    if bins == 15:
        assert close(submission.expected_calibration_error(P, y), calibration_error(P, y, 15), atol=1e-12)


@pytest.mark.exercise("expected_calibration_error", weight=2, hint=1)
def test_calibration_bins_are_closed_on_the_right(submission, rng):
    """A confidence on the edge of two bins belongs to the lower one, and 1.0 to the last."""
    top = rng.integers(5, 9, 60) / 8  # eighths, so that every edge is exact in binary
    top[:4] = 0.5, 0.625, 0.75, 1.0
    P, y = np.column_stack([top, 1 - top]), rng.integers(0, 2, 60)
    for bins in (2, 4, 8):
        assert close(submission.expected_calibration_error(P, y, bins=bins), calibration_error(P, y, bins), atol=1e-13)


@pytest.mark.exercise("expected_calibration_error")
def test_calibration_error_breaks_ties_by_the_first_class(submission):
    """Where classes tie for the largest probability, the first of them is the prediction."""
    P = np.array([[0.5, 0.5, 0.0], [0.25, 0.375, 0.375], [0.0, 0.5, 0.5]])
    assert close(
        submission.expected_calibration_error(P, np.array([0, 1, 1]), bins=4), (0.5 + 0.5 + 0.625) / 3, atol=1e-13
    )
    assert close(submission.expected_calibration_error(P, np.array([1, 2, 2]), bins=4), (1 + 0.375) / 3, atol=1e-13)


@pytest.mark.exercise("expected_calibration_error", hint=2)
def test_calibration_error_of_known_forecasters(submission):
    """It is 0 for a perfectly calibrated forecaster and 1 for one that is always sure and always wrong."""
    P = np.tile([0.75, 0.25], (8, 1))
    y = np.array([0, 0, 0, 1] * 2)
    assert close(submission.expected_calibration_error(P, y), 0.0, atol=1e-13)
    sure = np.eye(3)[[0, 1, 2, 0]]
    assert close(submission.expected_calibration_error(sure, np.array([1, 2, 0, 2])), 1.0, atol=1e-13)
    assert close(submission.expected_calibration_error(sure, np.array([0, 1, 2, 0])), 0.0, atol=1e-13)


@pytest.mark.exercise("expected_calibration_error")
def test_calibration_error_of_other_kinds_of_arrays(submission, rng):
    """float32, views, read-only arrays and labels of any integer kind are fine."""
    # Confidences in the middles of their bins, which rounding to float32 does not move to another.
    top, y = (rng.integers(5, 10, 80) + 0.5) / 10, rng.integers(0, 3, 80)
    P = np.column_stack([top, 0.75 * (1 - top), 0.25 * (1 - top)])
    for probabilities in (P[::2], frozen(P)[1::2], np.asfortranarray(P[:40]), P[:40].astype(np.float32)):
        narrow = frozen(y[:40].astype(np.uint8))
        expected = calibration_error(probabilities.astype(np.float64), narrow, 10)
        # Means of 40 numbers, in the precision in which they came.
        atol = 1e-12 if probabilities.dtype == np.float64 else 1e-5
        assert close(submission.expected_calibration_error(probabilities, narrow, bins=10), expected, atol=atol)


@pytest.mark.exercise("expected_calibration_error", forgeable=True)
def test_calibration_error_leaves_its_arguments(submission, rng):
    """P and y are the same after the call."""
    P, y = rng.dirichlet(np.ones(3), 20), rng.integers(0, 3, 20)
    assert submission.run(unchanged, "expected_calibration_error", [P, y])


# ----------------------------------------------------------------------------------------------- online_logsumexp


def split(Z, *cuts):
    """The columns of Z in blocks that end at the cuts."""
    return np.split(Z, cuts, axis=1)


@student_side
def streamed(n, V, width, seed):
    """Feed (n, V) logits in blocks that all lie in one buffer, and give back the result (runs over there)."""
    rng, buffer = np.random.default_rng(seed), np.empty((n, width), dtype=np.float32)

    def chunks():
        for _ in range(V // width):
            rng.random(out=buffer, dtype=np.float32)
            buffer[...] *= 8
            yield buffer

    return student.online_logsumexp(chunks())  # noqa: F821


@pytest.mark.exercise("online_logsumexp", weight=3, core=True, hint=1)
@pytest.mark.parametrize("cuts", [(), (1,), (3, 4, 10), (2, 4, 6, 8, 10), tuple(range(1, 12))])
def test_online_agrees_with_scipy(submission, rng, cuts):
    """The result does not depend on how the columns were cut into chunks."""
    for n in (1, 5):
        Z = 4 * rng.standard_normal((n, 12))
        expected = scipy.special.logsumexp(Z, axis=1)
        assert close(submission.online_logsumexp(split(Z, *cuts)), expected, atol=rounding(Z))
        assert close(submission.online_logsumexp(iter(split(Z, *cuts))), expected, atol=rounding(Z))


@pytest.mark.exercise("online_logsumexp", weight=2, hint=2)
def test_online_follows_a_maximum_that_rises_and_falls(submission, rng):
    """Logits of ten thousand are right in any order: rising from chunk to chunk, falling, and otherwise by row."""
    steps = np.array([-1e4, -800.0, 0.0, 800.0, 1e4])
    order = np.stack([steps, steps[::-1] - 3000, steps[[2, 4, 0, 3, 1]] + 5000])
    Z = np.round(rng.standard_normal((3, 10)), 3) + np.repeat(order, 2, axis=1)
    expected = scipy.special.logsumexp(Z, axis=1)
    assert close(submission.online_logsumexp(split(Z, 2, 4, 6, 8)), expected, rtol=20 * EPS)
    assert close(submission.online_logsumexp(split(Z, 1, 2, 5)), expected, rtol=20 * EPS)
    low = Z - 1.2e4  # all far below zero, where a start at 0 would win
    assert close(submission.online_logsumexp(split(low, 4, 7)), scipy.special.logsumexp(low, axis=1), rtol=20 * EPS)


@pytest.mark.exercise("online_logsumexp", hint=3)
def test_online_with_masked_entries_and_empty_chunks(submission, rng):
    """Chunks of -inf and chunks without columns count for nothing, wherever they come; all -inf gives -inf."""
    Z = rng.standard_normal((4, 9))
    Z[0, :3] = Z[1, 3:6] = Z[2] = Z[3, 6:] = -np.inf
    expected = scipy.special.logsumexp(Z, axis=1)
    nothing = np.zeros((4, 0))
    assert close(submission.online_logsumexp(split(Z, 3, 6)), expected, atol=rounding(Z))
    assert close(submission.online_logsumexp([nothing, *split(Z, 3), nothing, nothing]), expected, atol=rounding(Z))
    assert close(submission.online_logsumexp([nothing]), np.full(4, -np.inf))


@pytest.mark.exercise("online_logsumexp")
def test_online_refuses_no_chunks(submission):
    """Without any chunk it raises ValueError."""
    with raises_student(ValueError):
        submission.online_logsumexp([])
    with raises_student(ValueError):
        submission.online_logsumexp(iter(()))


@pytest.mark.exercise("online_logsumexp", hint=1)
def test_online_goes_through_the_chunks_once(submission, rng):
    """Each chunk is asked for once, in one pass, and not changed where it is read-only."""
    Z, asked = rng.standard_normal((3, 20)), []

    def stream():
        for k, chunk in enumerate(split(Z, 5, 10, 15)):
            asked.append(k)
            yield frozen(chunk)

    assert close(submission.online_logsumexp(stream()), scipy.special.logsumexp(Z, axis=1), atol=rounding(Z))
    assert asked == [0, 1, 2, 3]


@pytest.mark.exercise("online_logsumexp", hint=1)
def test_online_of_other_kinds_of_arrays(submission, rng):
    """The result is float64, as exact as if float32 and integer chunks had come in float64; views are fine."""
    for Z, exact, _, _ in matrices(rng):
        got = submission.online_logsumexp(split(Z, 2, 3))
        assert is_array(got, (len(Z),), np.float64)
        assert close(got, scipy.special.logsumexp(exact, axis=1), atol=rounding(exact))


@pytest.mark.exercise("online_logsumexp", weight=2, hint=1, memory_mb=64)
def test_online_with_a_vocabulary_of_a_million(submission, rng):
    """A million columns pass through one small buffer: memory does not grow with them, and no chunk is kept."""
    n, V, width, seed = 16, 2**20, 2**13, int(rng.integers(2**31))
    got = submission.run(streamed, n, V, width, seed)  # all the logits would take 134 MB in float64, a chunk takes 1
    draw, total = np.random.default_rng(seed), np.zeros(n)
    for _ in range(V // width):
        total += np.exp(8 * draw.random((n, width), dtype=np.float32).astype(np.float64)).sum(axis=1)
    assert close(got, np.log(total), atol=1e-10)  # sums of 10^6 positive terms in float64: 10^6 eps at most


@pytest.mark.exercise("online_logsumexp", weight=0.5, forgeable=True)
def test_online_leaves_the_chunks(submission, rng):
    """The chunks are the same after the call."""
    assert submission.run(unchanged, "online_logsumexp", [split(rng.standard_normal((3, 8)), 2, 4, 6)])
