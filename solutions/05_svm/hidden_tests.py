"""Hidden tests of module 05. A docstring is the sentence that a student reads when the test fails.

All answers are computed in float64, whatever comes, so tolerances are those of float64: `sum_rounding` of what is
summed. Steps of Pegasos decide by margins; in random data none is within rounding of 1, and where whole numbers come,
the penalty is such that none can be.
"""

import math

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import hinge_loss as hinge_of_sklearn
from sklearn.svm import SVC

from autograder.judging import (
    EPS,
    SEEDS,
    Argument,
    Asked,
    Contract,
    close,
    constant,
    floats,
    integers,
    is_array,
    numbers,
    on_large,
    one_of,
    raises_student,
    student_side,
    sum_rounding,
)

SIDE = 2400  # of a large square array: it takes 46 MB, and so does every other of its shape
ROOM = SIDE**2 * 8 // 10**6 + 14  # MB


def label_draw(rng, m):
    return rng.permutation(np.where(np.arange(m) % 3, 1.0, -1.0))


def plus_minus(m):
    """Labels -1 and +1, both present, as floats and as integers of every kind that has a sign."""
    ones = floats(m, draw=lambda rng: label_draw(rng, m))
    whole = {t: lambda rng, t=t: ones.plain(rng).astype(t) for t in ("int64", "int32", "int16", "int8")}
    return Argument(ones.plain, ones.forms | whole, ones.alone | frozenset(whole), ones.exact)


BAD_LABELS = [  # each in place of good ones
    lambda y: (y + 1) / 2,
    lambda y: 2 * y,
    lambda y: np.where(np.arange(len(y)) == 1, 0, y),
    lambda y: np.where(np.arange(len(y)) == len(y) - 1, np.nan, y),
    lambda y: y[:-1],
    lambda y: y[:, None],
    lambda y: y * 1.0000001,
]


# ----------------------------------------------------------------------------------------------------- hinge_loss

HINGE = Contract(
    "hinge_loss",
    X=numbers(40, 7, scales=(1e100, 1e-100)),
    y=plus_minus(40),
    theta=numbers(7, scales=(1e100,)),
    penalty=one_of(0.3, 0, 0.0, 2, 1e5),
)


def exact_hinge(X, y, theta, penalty):
    """(J, g) of a loop over the rows, its sums without rounding, and how far an answer may be off."""
    X, y, theta = (np.asarray(array, np.float64) for array in (X, y, theta))
    m, d = X.shape
    margins = [label * math.fsum(row * theta) for row, label in zip(X, y, strict=True)]
    losses = [max(0.0, 1 - margin) for margin in margins]
    J = penalty / 2 * math.fsum(theta * theta) + math.fsum(losses) / m
    counted = [label * row for row, label, margin in zip(X, y, margins, strict=True) if margin < 1]
    pull = np.array([math.fsum(column) for column in zip(*counted, strict=True)] or np.zeros(d))
    size = np.abs(X) @ np.abs(theta)
    off_J = sum_rounding(m + d + 4, float(np.mean(1 + size)) + penalty * float(theta @ theta))
    off_g = sum_rounding(m + 4, np.abs(X).mean(axis=0) + penalty * np.abs(theta))
    return (J, penalty * theta - pull / m), (off_J, off_g)


def agrees_with_the_loop(answer, *arguments):
    expected, (off_J, off_g) = exact_hinge(*arguments)
    assert isinstance(answer, tuple | list) and len(answer) == 2, "J and g come as a pair"
    assert close(answer[0], expected[0], atol=off_J, typed=True)
    assert close(answer[1], expected[1], atol=off_g, typed=True)


@pytest.mark.exercise("hinge_loss", weight=3, core=True, hint=3)
@pytest.mark.parametrize("shape", [(40, 7), (3, 20), (1, 5), (30, 1), (1, 1)])
def test_hinge_of_every_shape(submission, rng, shape):
    """J is penalty/2 |theta|² plus the mean hinge loss, and g its subgradient, for tall, wide and single-row X."""
    X, theta = rng.standard_normal(shape), rng.standard_normal(shape[1])
    y = rng.choice([-1.0, 1.0], shape[0])
    agrees_with_the_loop(submission.hinge_loss(X, y, theta, 0.7), X, y, theta, 0.7)


@pytest.mark.exercise("hinge_loss", weight=1, hint=2)
def test_hinge_agrees_with_sklearn_and_autograd(submission, rng):
    """The loss is that of scikit-learn, and the subgradient that of torch's autograd."""
    X, y, theta, _ = HINGE.plain(rng)
    J, g = submission.hinge_loss(X, y, theta, 0.0)
    assert close(J, float(hinge_of_sklearn(y, X @ theta)), rtol=1e-12)
    weights = torch.from_numpy(theta).requires_grad_(True)
    (1 - torch.from_numpy(y) * (torch.from_numpy(X) @ weights)).clamp(min=0).mean().backward()
    assert close(g, weights.grad.numpy(), atol=1e-13)


@pytest.mark.exercise("hinge_loss", weight=1, hint=3)
def test_hinge_of_every_kind_of_array(submission, rng):
    """J and g are right and float64 for integers, float32, views and read-only arrays, for huge and tiny numbers."""
    tiny = HINGE.plain(rng, X=lambda X: 1e-100 * X, penalty=0.0)
    cheap = HINGE.plain(rng, X=np.zeros((40, 7)), theta=lambda theta: 1e8 * theta, penalty=1e-9)
    for case in (*HINGE.cases(rng), tiny, cheap):
        agrees_with_the_loop(submission.hinge_loss(*case), *case.exact)


@pytest.mark.exercise("hinge_loss", weight=1, hint=2)
def test_hinge_at_a_margin_of_one(submission):
    """A row whose margin is exactly 1 adds nothing to the subgradient; one just below 1 does."""
    below, above = np.nextafter(1.0, 0.0), np.nextafter(1.0, 2.0)
    for label in (-1.0, 1.0):
        for margin, slope in ((1.0, 0.0), (below, -1.0), (above, 0.0)):
            X, theta = np.array([[1.0], [0.0]]), np.array([margin * label])
            got = submission.hinge_loss(X, np.array([label, 1.0]), theta, 0.0)
            assert close(got, (0.5 + (1 - min(margin, 1)) / 2, np.array([label * slope / 2])), atol=1e-16)
            assert is_array(got[1], (1,))


@pytest.mark.exercise("hinge_loss", weight=1, hint=1)
def test_hinge_refuses_other_labels(submission, rng):
    """Labels other than -1 and +1 (0 and 1, for example), or another number of them, raise ValueError."""
    HINGE.refuses(submission, rng, ValueError, y=BAD_LABELS)


@pytest.mark.exercise("hinge_loss", weight=0.5, forgeable=True)
def test_hinge_leaves_no_trace(submission, rng):
    """The arguments are the same after the call, and what it returns is new and its own."""
    then = [{}, {"penalty": 0}, {"theta": np.zeros(7)}, {"X": np.zeros((40, 7))}]
    assert HINGE.leaves_no_trace(submission, rng, then=then, y=BAD_LABELS[:1])


@pytest.mark.exercise("hinge_loss", weight=4, hint=2, memory_mb=ROOM)
def test_hinge_of_a_large_X(submission, rng):
    """No second array as large as X is built, even if every row violates its margin."""
    seed, y, theta = int(rng.integers(2**31)), label_draw(rng, SIDE), 1e-3 * rng.standard_normal(SIDE)
    J, g = submission.run(on_large, "hinge_loss", seed, [(SIDE, SIDE)], [y, theta, 0.1])
    X = np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    assert close(J, 0.05 * theta @ theta + np.maximum(0, 1 - y * (X @ theta)).mean(), rtol=1e-10)
    assert close(g, 0.1 * theta - y @ X / SIDE, atol=1e-10)


# -------------------------------------------------------------------------------------------------------- pegasos


def sparse_rows(m, d):
    """Sparse matrices in CSR form: values and indices of several kinds, rows that are empty or out of order."""

    def plain(rng, kind=scipy.sparse.csr_array, dtype=np.float64):
        X = np.where(rng.random((m, d)) < 0.3, rng.standard_normal((m, d)), 0)
        X[2] = 0
        return kind(X if dtype == np.float64 else np.round(9 * X).astype(dtype))

    def disordered(rng):
        X = plain(rng)
        for start, stop in zip(X.indptr[:-1], X.indptr[1:], strict=True):
            order = rng.permutation(np.arange(start, stop))
            X.indices[start:stop], X.data[start:stop] = X.indices[order], X.data[order]
        X.has_sorted_indices = False
        return X

    def with_long_indices(rng):
        X = plain(rng)
        X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
        return X

    def with_zeros(rng):
        X = plain(rng)
        X.data[::3] = 0
        return X

    forms = {
        "csr_matrix": lambda rng: plain(rng, scipy.sparse.csr_matrix),
        "float32": lambda rng: plain(rng).astype(np.float32),
        "int8": lambda rng: plain(rng, dtype=np.int8),
        "int64": lambda rng: plain(rng, dtype=np.int64),
        "uint8": lambda rng: abs(plain(rng, dtype=np.int64)).astype(np.uint8),
        "columns out of order": disordered,
        "int64 indices": with_long_indices,
        "stored zeros": with_zeros,
        "times 1e8": lambda rng: 1e8 * plain(rng),
        "times 1e-8": lambda rng: 1e-8 * plain(rng),
    }
    return Argument(plain, forms, frozenset(forms), lambda X: X.toarray().astype(np.float64))


def visits(T, m):
    """int64 in every layout."""
    kinds = integers(T, high=m - 1)
    layouts = {name: form for name, form in kinds.forms.items() if name not in kinds.alone}
    return Argument(kinds.plain, layouts, frozenset(), kinds.exact)


PEGASOS = Contract(
    "pegasos",
    X=sparse_rows(12, 6),
    y=plus_minus(12),
    penalty=one_of(0.1234567, 3, 1e-9, 40.0),
    order=visits(90, 12),
)


def as_written(X, y, penalty, order):
    """The steps of Pegasos as the docstring has them, on dense rows."""
    theta = np.zeros(X.shape[1])
    for t, i in enumerate(order, 1):
        violated = y[i] * (X[i] @ theta) < 1
        theta = (1 - 1 / t) * theta + violated * y[i] * X[i] / (penalty * t)
    return theta


def walks_alike(got, X, y, penalty, order):
    expected = as_written(X, y, penalty, order)
    # Each step rounds theta a few times, and a step's 1 - 1/t makes earlier errors smaller.
    size = float(np.abs(X).max(initial=0)) / penalty
    assert close(got, expected, atol=10 * EPS * (len(order) + 1) * size, typed=True)


@pytest.mark.exercise("pegasos", weight=2, core=True, hint=2)
@pytest.mark.parametrize("shape", [(30, 8), (4, 200), (1, 3), (50, 1)])
@pytest.mark.parametrize("steps", [1, 2, 3, 400])
def test_pegasos_walks_as_it_says(submission, rng, shape, steps):
    """theta after 1, 2, 3 and many steps is what the steps of the docstring give."""
    X = np.where(rng.random(shape) < 0.5, rng.standard_normal(shape), 0)
    y, order = rng.choice([-1.0, 1.0], shape[0]), rng.integers(0, shape[0], steps)
    walks_alike(submission.pegasos(scipy.sparse.csr_array(X), y, 0.05, order), X, y, 0.05, order)


@pytest.mark.exercise("pegasos", weight=1, hint=2)
def test_pegasos_takes_every_kind_of_rows(submission, rng):
    """csr_array and csr_matrix, floats and integers, empty rows and columns in any order are all fine."""
    for case in PEGASOS.cases(rng):
        walks_alike(submission.pegasos(*case), *case.exact)


@pytest.mark.exercise("pegasos", weight=1, hint=3)
def test_pegasos_at_a_margin_of_one(submission):
    """A margin of exactly 1 is not violated; in the first step every row is; without steps theta is 0."""
    X, y = scipy.sparse.csr_array(np.eye(3)), np.array([1, -1, 1])
    # penalty 1/2: theta is (2, 0, 0), (1, -1, 0), and then margins of exactly 1 shrink it to 2/3 and 1/2 of that.
    assert close(submission.pegasos(X, y, 0.5, np.array([0, 1, 0])), np.array([2, -2, 0]) / 3, rtol=1e-12, typed=True)
    assert close(submission.pegasos(X, y, 0.5, np.array([0, 1, 1])), np.array([2, -2, 0]) / 3, rtol=1e-12)
    assert close(submission.pegasos(X, y, 2.0, np.array([1])), [0, -0.5, 0], rtol=1e-12)
    assert close(submission.pegasos(X, y, 2.0, np.array([], np.int64)), np.zeros(3), typed=True)


@pytest.mark.exercise("pegasos", weight=1)
def test_pegasos_refuses(submission, rng):
    """Other labels than -1 and +1 raise ValueError, and so does a penalty that is not above 0."""
    PEGASOS.refuses(submission, rng, ValueError, y=BAD_LABELS, penalty=[0, 0.0, -1e-9, -2, float("nan")])
    assert is_array(submission.pegasos(*PEGASOS.plain(rng, penalty=1e-9)), (6,))


@student_side
def order_is_left(X, y, penalty, order):
    """Whether the parts of X are what they were."""
    before = X.indices.copy(), X.data.copy(), X.indptr.copy()
    student.pegasos(X, y, penalty, order)  # noqa: F821
    return all(np.array_equal(*pair) for pair in zip(before, (X.indices, X.data, X.indptr), strict=True))


@pytest.mark.exercise("pegasos", weight=1, forgeable=True)
def test_pegasos_leaves_no_trace(submission, rng):
    """The arguments are the same after the call, and what it returns is new and its own."""
    then = [{}, {"order": np.array([], np.int64)}, {"order": np.array([3])}]
    assert PEGASOS.leaves_no_trace(submission, rng, then=then, penalty=[-1.0], y=BAD_LABELS[:1])
    square = Contract("pegasos", X=sparse_rows(6, 6), y=plus_minus(6), penalty=0.3, order=visits(9, 6))
    assert square.leaves_no_trace(submission, rng)  # what is returned has the shape of y
    _, y, penalty, order = PEGASOS.plain(rng)
    X = scipy.sparse.csr_array((np.arange(24.0), np.tile([5, 3], 12), np.arange(0, 25, 2)), shape=(12, 6))
    assert submission.run(order_is_left, X, y, penalty, order) is True, "X's columns stay in the order that they had"


@student_side
def pegasos_of(X, y, penalty, order, places):
    """The weights of some columns, and what all of them are like."""
    theta = student.pegasos(X, y, penalty, order)  # noqa: F821
    return theta[places], [list(theta.shape), str(theta.dtype), int(np.count_nonzero(theta))]


@pytest.mark.exercise("pegasos", weight=4, hint=1, memory_mb=240, seconds=3)
def test_pegasos_of_eight_million_columns(submission, rng):
    """A step costs the entries of its row: thousands of steps with eight million columns take no time to speak of."""
    # Two hundred used columns among 2^23. A step that touches all of theta moves 134 MB, so 3,000 move 400 GB. One that
    # lets scipy cut its row out, which is slow, takes 0.2 ms.
    m, d, used = 500, 2**23, 200
    places = np.sort(rng.choice(d, used, replace=False))
    small = np.where(rng.random((m, used)) < 0.05, rng.standard_normal((m, used)), 0)
    X = scipy.sparse.csr_array(small)
    wide = scipy.sparse.csr_array((X.data, places[X.indices], X.indptr), shape=(m, d))
    y, order = rng.choice([-1.0, 1.0], m), rng.integers(0, m, 3000)
    got, (shape, dtype, nonzero) = submission.run(pegasos_of, wide, y, 0.01, order, places)
    walks_alike(got, small, y, 0.01, order)
    assert (shape, dtype) == ([d], "float64"), f"theta is an array of {d} numbers, float64"
    assert nonzero <= used, "theta is 0 in a column that no row uses"


@pytest.mark.exercise("pegasos", weight=1, hint=1, seconds=3)
def test_pegasos_of_four_million_rows(submission, rng):
    """A step looks at its own row alone: thousands of steps with four million rows take no time to speak of."""
    # One that copies the labels, in float64, moves 34 MB, so 3,000 move 100 GB. Most rows are empty here.
    m, d, used = 2**22, 6, np.sort(rng.choice(2**22, 300, replace=False))
    small, y, order = (
        rng.standard_normal((300, d)),
        rng.choice([-1, 1], 300).astype(np.int8),
        rng.integers(0, 300, 3000),
    )
    lengths, labels = np.zeros(m + 1, np.int32), np.ones(m, np.int8)
    lengths[used + 1], labels[used] = d, y
    X = scipy.sparse.csr_array((small.ravel(), np.tile(np.arange(d), 300), np.cumsum(lengths)), shape=(m, d))
    walks_alike(submission.pegasos(X, labels, 0.01, used[order]), small, y, 0.01, order)


# ---------------------------------------------------------------------------------------------------- one_vs_rest


@student_side
def weighted_sum(X, s):
    """A classifier that is quick to train: the sum of the rows, each times its sign."""
    return X.astype(np.float64).T @ s


ONE = Contract("one_vs_rest", X=numbers(30, 5, scales=(1e8, 1e-8)), y=integers(30, low=-3, high=4), fit=weighted_sum)
PREDICT = Contract(
    "predict_one_vs_rest",
    X=numbers(25, 4, scales=(1e8, 1e-8)),
    classes=constant(np.array([-7, 0, 3, 10**12])),
    Theta=floats(4, 4),
)


def rows_of_sums(X, y):
    classes = np.unique(y)
    return classes, np.stack([np.where(y == c, 1.0, -1.0) @ X for c in classes])


@pytest.mark.exercise("one_vs_rest", weight=3, core=True, hint=2)
def test_one_machine_for_each_class(submission, rng):
    """Each class has its own row of Theta, trained with +1 for its rows and -1 for all others, in rising order."""
    for y in (rng.permutation(np.arange(30) % 4), rng.permutation(np.arange(30) % 2) * 50 - 20, np.arange(30)[::-1]):
        X = rng.standard_normal((30, 5))
        classes, Theta = submission.one_vs_rest(X, y, weighted_sum)
        expected = rows_of_sums(X, y)
        assert close(classes, expected[0], typed=True)
        assert close(Theta, expected[1], atol=1e-12, typed=True)


@pytest.mark.exercise("one_vs_rest", weight=3, core=True, hint=3)
def test_the_largest_score_wins(submission, rng):
    """A row gets the class with the largest score, the lowest one where scores tie, and not its position."""
    for case in PREDICT.cases(rng):
        X, classes, Theta = case.exact
        scores = X @ Theta.T
        top = np.sort(scores, axis=1)
        sure = top[:, -1] - top[:, -2] > 1e-3 * np.abs(top).max()  # float32 scores may tie
        got, expected = submission.predict_one_vs_rest(*case), classes[scores.argmax(axis=1)]
        if is_array(got, (25,)):
            expected = np.where(sure, expected, got)
        assert close(got, expected)
    X, classes, Theta = PREDICT.plain(rng, X=rng.standard_normal((1500, 4)))
    assert close(submission.predict_one_vs_rest(X, classes, Theta), classes[(X @ Theta.T).argmax(axis=1)])
    X, Theta = np.array([[1.0], [-1.0], [0.0]]), np.array([[2.0], [3.0], [3.0], [2.0]])
    assert close(submission.predict_one_vs_rest(X, np.array([4, 6, 9, 11]), Theta), np.array([6, 4, 4]))


@pytest.mark.exercise("one_vs_rest", weight=1, hint=3)
def test_predictions_have_the_dtype_of_the_classes(submission):
    """Predictions have the dtype of `classes`, whatever kind of integer; X may be sparse, and it may have no rows."""
    X, Theta = np.array([[1.0], [-1.0], [0.0]]), np.array([[2.0], [3.0], [3.0], [2.0]])
    for kind in (np.int64, np.int8, np.uint16):
        classes = np.array([4, 6, 9, 11], kind)
        for rows in (X, scipy.sparse.csr_array(X), scipy.sparse.csr_matrix(X)):
            got = submission.predict_one_vs_rest(rows, classes, Theta)
            assert close(got, np.array([6, 4, 4], kind), typed=True)
        assert close(submission.predict_one_vs_rest(X[:0], classes, Theta), classes[:0], typed=True)


@pytest.mark.exercise("one_vs_rest", weight=1, hint=1)
def test_one_vs_rest_of_every_kind(submission, rng):
    """Labels of every kind of integer keep their dtype, X may hold floats or integers or be sparse."""
    for case in ONE.cases(rng):
        X, y, _ = case.exact
        classes, Theta = submission.one_vs_rest(*case)
        expected = rows_of_sums(X, y)
        assert close(classes, expected[0].astype(case.args[1].dtype), typed=True)
        assert close(Theta, expected[1], atol=1e-12 * np.abs(X).sum(axis=0).max(), typed=True)
    many, y = rng.standard_normal((1500, 2)), np.arange(1500) // 400
    assert close(submission.one_vs_rest(many, y, weighted_sum)[1], rows_of_sums(many, y)[1], atol=1e-10)
    big = np.array([2**62, -(2**62), 2**62 + 1, 2**62])
    X = rng.standard_normal((4, 3))
    for rows in (X, scipy.sparse.csr_array(X), scipy.sparse.csr_matrix(X)):
        classes, Theta = submission.one_vs_rest(rows, big, weighted_sum)
        assert close(classes, np.array([-(2**62), 2**62, 2**62 + 1]), typed=True) and classes[1] != classes[2]
        assert close(Theta, rows_of_sums(X, big)[1], atol=1e-12)


@pytest.mark.exercise("one_vs_rest", weight=2, hint=2)
def test_fit_is_called_once_a_class(submission, rng):
    """fit gets X as it is and signs in float64, and is called once for each class, in rising order."""
    X, y, _ = ONE.plain(rng)
    for rows in (X, X.astype(np.float32), scipy.sparse.csr_array(X)):
        fit = Asked(lambda X, s: s[:5])
        submission.one_vs_rest(rows, y, fit)
        assert len(fit.calls) == len(np.unique(y)), f"{len(np.unique(y))} calls of fit, not {len(fit.calls)}"
        for (given, s), label in zip(fit.calls, np.unique(y), strict=True):
            kept = scipy.sparse.issparse(given) == scipy.sparse.issparse(rows) and given.dtype == rows.dtype
            assert kept and np.abs(given - rows).max() == 0, "fit gets X as it came"
            assert close(s, np.where(y == label, 1.0, -1.0), typed=True)


@student_side
def with_a_rude_fit(X, y):
    """one_vs_rest with a fit that spoils the signs, keeps them, and returns the same buffer every time."""
    buffer, kept = np.zeros(X.shape[1]), []

    def fit(X, s):
        if any(s is one or np.shares_memory(s, one) for one in kept):
            return np.full(X.shape[1], np.nan)
        buffer[:] = s @ X
        kept.append(s)
        s[:] = 7
        return buffer

    return student.one_vs_rest(X, y, fit)  # noqa: F821


@pytest.mark.exercise("one_vs_rest", weight=1, hint=2)
def test_fit_may_keep_its_signs_and_its_buffer(submission, rng):
    """fit may change and keep the signs that it gets, and return one buffer every time."""
    X, y, _ = ONE.plain(rng)
    assert close(submission.run(with_a_rude_fit, X, y)[1], rows_of_sums(X, y)[1], atol=1e-12)
    for narrow in (np.float32, np.int8):
        Theta = submission.one_vs_rest(X, y, lambda X, s, narrow=narrow: np.sign(X.T @ s).astype(narrow))[1]
        assert close(Theta, np.sign(rows_of_sums(X, y)[1]), typed=True)


@pytest.mark.exercise("one_vs_rest", weight=0.5, hint=1)
def test_one_class_is_refused(submission, rng):
    """With a single class it raises ValueError; with two it trains two machines."""
    ONE.refuses(submission, rng, ValueError, y=[lambda y: 0 * y, lambda y: 0 * y + 5])
    X, y, fit = ONE.plain(rng, y=lambda y: (y > 0).astype(int))
    assert is_array(submission.one_vs_rest(X, y, fit)[1], (2, 5))


@pytest.mark.exercise("one_vs_rest", weight=0.5, forgeable=True)
def test_one_vs_rest_leaves_no_trace(submission, rng):
    """The arguments, and what fit returned, are the same after the call; what is returned is new."""
    then = [{}, {"y": np.arange(30) % 4}, {"y": np.arange(30)}]  # as many classes in both calls
    assert ONE.leaves_no_trace(submission, rng, then=then, y=[lambda y: 0 * y])
    assert PREDICT.leaves_no_trace(submission, rng)


# -------------------------------------------------------------------------------------------------- kernel_matrix

KERNEL = Contract(
    "kernel_matrix",
    A=numbers(9, 4, scales=(1e5, 1e-5)),
    B=numbers(7, 4, scales=(1e5, 1e-5)),
    kind=one_of("rbf", "linear"),
    gamma=one_of(0.04, 0.7, 30, 1e-9),
)


def exact_kernel(A, B, kind, gamma):
    """The kernel from differences, and how far an answer may be off."""
    A, B = np.asarray(A, np.float64), np.asarray(B, np.float64)
    norms = (A * A).sum(axis=1)[:, None] + (B * B).sum(axis=1)
    if kind == "linear":
        return A @ B.T, sum_rounding(A.shape[1], np.abs(A) @ np.abs(B).T)
    return np.exp(-gamma * cdist(A, B, "sqeuclidean")), 1e-14 * (1 + gamma * norms) * (A.shape[1] + 10)


def is_kernel(got, *arguments):
    expected, off = exact_kernel(*arguments)
    assert close(got, expected, atol=off, typed=True)
    assert arguments[2] == "linear" or got.size == 0 or got.max() <= 1, "no RBF kernel is above 1"


@pytest.mark.exercise("kernel_matrix", weight=3, core=True, hint=2)
@pytest.mark.parametrize("kind", ["rbf", "linear"])
@pytest.mark.parametrize("shape", [(9, 7, 4), (1, 6, 3), (6, 1, 3), (5, 5, 1), (3, 2, 60)])
def test_kernel_of_every_pair(submission, rng, kind, shape):
    """Entry (i, j) is the kernel of row i of A and row j of B, for both kernels and every width."""
    p, q, d = shape
    for gamma in (0.03, 0.5, 3):
        A, B = rng.standard_normal((p, d)), rng.standard_normal((q, d))
        is_kernel(submission.kernel_matrix(A, B, kind, gamma), A, B, kind, gamma)


@pytest.mark.exercise("kernel_matrix", weight=1, hint=3)
def test_kernel_of_every_kind_of_array(submission, rng):
    """The kernel is right and float64 for integers, float32, views and read-only arrays, large and small numbers."""
    for case in KERNEL.cases(rng):
        is_kernel(submission.kernel_matrix(*case), *case.exact)
        (A, B, *_), (exact_A, exact_B, *_) = case, case.exact
        is_kernel(submission.kernel_matrix(A, B, "linear"), exact_A, exact_B, "linear", 1.0)
    for scale in (1e8, 1e-9):
        A, B, *_ = KERNEL.plain(rng)
        is_kernel(submission.kernel_matrix(scale * A, B, "linear"), scale * A, B, "linear", 1.0)
        is_kernel(submission.kernel_matrix(A, scale * B, "linear"), A, scale * B, "linear", 1.0)
        scaled = scale * A, scale * B, "rbf", scale**-2
        is_kernel(submission.kernel_matrix(*scaled), *scaled)
    A, B = rng.standard_normal((4, 3)), rng.standard_normal((5, 3))
    is_kernel(submission.kernel_matrix(A, B), A, B, "rbf", 1.0)
    for rows, columns in ((0, 5), (4, 0), (0, 0)):
        for kind in ("rbf", "linear"):
            is_kernel(submission.kernel_matrix(A[:rows], B[:columns], kind, 0.5), A[:rows], B[:columns], kind, 0.5)


@pytest.mark.exercise("kernel_matrix", weight=2, hint=3)
def test_kernel_of_close_rows_is_at_most_one(submission, rng):
    """The RBF kernel is never above 1, however close the rows and however far from the origin; it is finite."""
    for offset in (0, 1, 1e3, 1e6):
        A = offset + 1e-7 * rng.standard_normal((60, 5))
        got = submission.kernel_matrix(A, A, "rbf", 1.0)
        is_kernel(got, A, A, "rbf", 1.0)
        assert np.isfinite(got).all() and got.min() >= 0, "every RBF kernel is a number from 0 to 1"


@pytest.mark.exercise("kernel_matrix", weight=1, hint=3)
def test_kernel_refuses(submission, rng):
    """An unknown kind, a gamma that is not above 0 for RBF, and unequal columns raise ValueError."""
    KERNEL.refuses(
        submission,
        rng,
        ValueError,
        kind=["poly", "gaussian", "", "RBF", " rbf", "Linear", "linear2"],
        gamma=[0, 0.0, -0.5, float("nan")],
        A=[lambda A: A[:, :3]],
        B=[lambda B: B[:, :1]],
    )
    for gamma in (0.0, -1.0, float("nan")):
        A, B, *_ = KERNEL.plain(rng)
        is_kernel(submission.kernel_matrix(A, B, "linear", gamma), A, B, "linear", gamma)
        with raises_student(ValueError):
            submission.kernel_matrix(A[:, :2], B, "linear", 1.0)


@pytest.mark.exercise("kernel_matrix", weight=4, hint=1, memory_mb=80)
def test_kernel_of_many_rows(submission, rng):
    """No array of shape (p, q, d) is built."""
    # The result takes 9.2 MB, eight times that 74; all differences would take 920 MB.
    seed, shapes = int(rng.integers(2**31)), [(1100, 100), (1050, 100)]
    K = submission.run(on_large, "kernel_matrix", seed, shapes, ["rbf", 0.01])
    draw = np.random.default_rng(seed)
    is_kernel(K, *[draw.standard_normal(shape) for shape in shapes], "rbf", 0.01)


@pytest.mark.exercise("kernel_matrix", weight=0.5, forgeable=True)
def test_kernel_leaves_no_trace(submission, rng):
    """A and B are the same after the call, and what it returns is new and its own."""
    assert KERNEL.leaves_no_trace(submission, rng, then=[{}, {"kind": "linear"}], kind=["poly"], gamma=[0.0])


# ------------------------------------------------------------------------------------------------------- svm_dual


def rbf(A, B=None, gamma=0.5):
    return np.exp(-gamma * cdist(A, A if B is None else B, "sqeuclidean"))


DUAL = Contract(
    "svm_dual",
    K=floats(30, 30, draw=lambda rng: rbf(rng.standard_normal((30, 2)))),
    y=plus_minus(30),
    C=one_of(1.0, 0.1, 30, 1e-8),
    tol=one_of(1e-5, 1e-2, 1e-6),
)


def certified(answer, K, y, C, tol):
    """The rules hold and the gap is as small as asked; returns (alpha, b, gap)."""
    assert isinstance(answer, tuple | list) and len(answer) == 2, "alpha and b come as a pair"
    alpha, b = answer
    K, y, m = np.asarray(K, np.float64), np.asarray(y, np.float64), len(y)
    assert is_array(alpha, (m,), np.float64), f"alpha is an array of {m} numbers, float64"
    assert isinstance(b, float), "b is a float"
    assert alpha.min() >= 0 and alpha.max() <= C, f"every alpha lies from 0 to C = {C:g}"
    assert abs(alpha @ y) <= 1e-9 * C * m, "the sum of alpha_i y_i is 0"
    v = K @ (alpha * y)
    terms = C * np.maximum(0, 1 - y * (v + b)), alpha * y * v, -alpha
    gap = math.fsum(np.concatenate(terms))
    rounding = sum_rounding(m, float(np.abs(terms).sum() + C * m * np.abs(v).max()))
    # What alpha·y is allowed to be off by shifts P - D by b times as much, and so does nobody's gap fall below 0.
    assert gap <= tol * C * m + rounding, f"the duality gap is {gap:.3g}, and at most {tol * C * m:.3g} is allowed"
    return alpha, b, max(gap, 0.0) + rounding + abs(b) * 1e-9 * C * m


def overlapping(rng, m, d=2, shift=1.0):
    """Rows of two classes whose means are 2 shift apart, one class twice as frequent."""
    y = label_draw(rng, m)
    return rng.standard_normal((m, d)) + shift * y[:, None] / np.sqrt(d), y


@pytest.mark.exercise("svm_dual", weight=3, core=True, hint=2)
@pytest.mark.parametrize("C", [0.05, 1.0, 100.0])
@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-6])
def test_the_duality_gap_is_as_small_as_asked(submission, rng, C, tol):
    """alpha keeps the rules of the dual, and the duality gap of alpha and b is at most tol C m."""
    for m in (3, 12, 60):
        X, y = overlapping(rng, m)
        certified(submission.svm_dual(rbf(X), y, C, tol), rbf(X), y, C, tol)
    X, y = overlapping(rng, 30, shift=4.0)  # separable, and a kernel of rank 2
    K = X @ X.T / np.abs(X @ X.T).max()
    certified(submission.svm_dual(K, y, C, tol), K, y, C, tol)


@pytest.mark.exercise("svm_dual", weight=1, core=True, hint=3)
def test_two_rows_in_closed_form(submission, rng):
    """For two rows alpha is 2 / |distance|², or C where that is more, and the line lies halfway between them."""
    for C in (1e4, 0.01):
        X = rng.standard_normal((2, 3))
        for y in (np.array([1.0, -1.0]), np.array([-1.0, 1.0])):
            alpha, b, _ = certified(submission.svm_dual(X @ X.T, y, C, 1e-12), X @ X.T, y, C, 1e-12)
            right = min(2 / float(((X[0] - X[1]) ** 2).sum()), C)
            assert close(alpha, np.full(2, right), rtol=1e-3)
            if C > 1:
                assert close(b, -float(X.mean(axis=0) @ (X.T @ (y * right))), rtol=1e-3, atol=1e-3)


@pytest.mark.exercise("svm_dual", weight=1, hint=2)
def test_scores_agree_with_scikit_learn(submission, rng):
    """Scores of new rows, and the bias, are those of scikit-learn's SVC, as near as the duality gaps promise."""
    for C in (0.3, 10.0):
        X, y = overlapping(rng, 50)
        new, K = rng.standard_normal((20, 2)), rbf(X)
        alpha, b, gap = certified(submission.svm_dual(K, y, C, 1e-6), K, y, C, 1e-6)
        peer = SVC(C=C, gamma=0.5, tol=1e-9).fit(X, y)
        theirs = np.zeros(50)
        theirs[peer.support_] = np.abs(peer.dual_coef_[0])
        bias = float(peer.intercept_[0])
        _, _, other = certified((theirs.clip(0, C), bias), K, y, C, 1e-6)
        # |theta - theta*|² <= 2 gap on both sides, and k(x, x) = 1: see section 5.5 of the notebook.
        off = math.sqrt(2 * gap) + math.sqrt(2 * other)
        mine, expected = rbf(new, X) @ (alpha * y), rbf(new, X) @ (theirs * y)
        assert close(mine, expected, atol=off)
        # Away from its best interval P rises by at least C for each unit of b, and the interval's ends, which are
        # values of y - v, move by at most `off`. With a free support vector the interval is a point.
        assert np.any((theirs > 1e-3 * C) & (theirs < 0.999 * C))
        assert close(b, bias, atol=off + (gap + other) / C)


@pytest.mark.exercise("svm_dual", weight=1, hint=2)
def test_every_row_obeys_the_conditions_of_kkt(submission, rng):
    """Rows with alpha = 0 lie outside the street, rows with alpha = C inside, and those between on its edge."""
    for C in (0.2, 5.0):
        X, y = overlapping(rng, 40)
        alpha, b, gap = certified(submission.svm_dual(rbf(X), y, C, 1e-6), rbf(X), y, C, 1e-6)
        margin = y * (rbf(X) @ (alpha * y) + b)
        # The gap is the sum of (C - alpha) max(0, 1 - margin) and alpha max(0, margin - 1) over the rows.
        outside, inside = (C - alpha) * (1 - margin), alpha * (margin - 1)
        assert np.all(outside <= gap), "where alpha is below C the margin is at least 1"
        assert np.all(inside <= gap), "where alpha is above 0 the margin is at most 1"
        # One large C - alpha or alpha makes that a bound on the margin.
        assert margin[alpha < C / 2].min() >= 1 - 2 * gap / C, "where alpha is small the margin is at least 1"
        assert margin[alpha > C / 2].max() <= 1 + 2 * gap / C, "where alpha is large the margin is at most 1"


@pytest.mark.exercise("svm_dual", weight=1, hint=3)
def test_rows_that_are_alike(submission, rng):
    """Rows that occur twice, with different labels too, a kernel of zeros, and one row against many are all fine."""
    X, y = overlapping(rng, 20)
    twice = rbf(np.concatenate([X, X, X[:5]]))
    labels = np.concatenate([y, -y, y[:5]])
    few = np.where(np.arange(25) == 7, 1.0, -1.0)
    for K, y in ((twice, labels), (np.zeros((25, 25)), few), (np.ones((25, 25)), -few), (rbf(X[:25]), few[:20])):
        for C in (0.5, 20.0):
            certified(submission.svm_dual(K, y, C, 1e-5), K, y, C, 1e-5)
    X, y = overlapping(rng, 25)
    for scale, C in ((1e-3, 1.0), (1e2, 1.0), (1e8, 1e-8), (1e-8, 1e8)):
        certified(submission.svm_dual(scale * rbf(X), y, C, 1e-4), scale * rbf(X), y, C, 1e-4)


@pytest.mark.exercise("svm_dual", weight=1)
def test_dual_of_every_kind(submission, rng):
    """K in float32, as a view or read-only, and labels as floats or integers give the same, computed in float64."""
    for case in DUAL.cases(rng):
        K, y, C, tol = case
        certified(submission.svm_dual(*case), K, y, C, tol)
    K, y, *_ = DUAL.plain(rng)
    certified(submission.svm_dual(K, y, 1.0), K, y, 1.0, 1e-3)
    line, signs = np.array([0.0, 3.0, 2.0]), np.array([-1.0, 1.0, -1.0])  # a step ends at C = 1.7 up to rounding
    certified(submission.svm_dual(np.outer(line, line), signs, 1.7, 1e-6), np.outer(line, line), signs, 1.7, 1e-6)
    for matrix in (K, K.astype(np.float32)):
        certified(submission.svm_dual(matrix, y, 0.1, 1e-10), matrix, y, 0.1, 1e-10)


@pytest.mark.exercise("svm_dual", weight=1)
def test_dual_refuses(submission, rng):
    """Labels other than -1 and +1, one class only, a K that is not square, C or tol not above 0 raise ValueError."""
    DUAL.refuses(
        submission,
        rng,
        ValueError,
        y=[*BAD_LABELS, lambda y: np.ones(30), lambda y: -np.ones(30)],
        K=[lambda K: K[:, :-1], lambda K: K[:-1], lambda K: K[:-1, :-1], lambda K: K[:, :1], lambda K: K[:, 0]],
        C=[0, 0.0, -1.0, float("nan")],
        tol=[0, 0.0, -1e-3, float("nan")],
    )
    K, y, *_ = DUAL.plain(rng)
    for wrong in (K[:, :-1], K[:, :1], np.hstack([K, K])):  # no step is needed for this tol
        with raises_student(ValueError):
            submission.svm_dual(wrong, y, 1.0, 5.0)


@student_side
def large_dual(seed, m):
    """svm_dual for m rows whose kernel is made over there, row by row."""
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(m) % 2, 1.0, -1.0)
    X = rng.standard_normal((m, 2)) + y[:, None]
    K = np.empty((m, m))
    for i in range(m):
        K[i] = np.exp(-((X - X[i]) ** 2).sum(axis=1) / 2)
    return student.svm_dual(K, y, 1.0, 1e-2)  # noqa: F821


@pytest.mark.exercise("svm_dual", weight=5, hint=1, memory_mb=48)
def test_dual_of_two_thousand_rows(submission, rng):
    """With 2,000 rows it comes to an end, and no second array as large as K is built."""
    seed, m = int(rng.integers(2**31)), 2000  # K takes 32 MB
    answer = submission.run(large_dual, seed, m)
    y = np.where(np.arange(m) % 2, 1.0, -1.0)
    X = np.random.default_rng(seed).standard_normal((m, 2)) + y[:, None]
    certified(answer, rbf(X), y, 1.0, 1e-2)


@pytest.mark.exercise("svm_dual", weight=0.5, forgeable=True)
def test_dual_leaves_no_trace(submission, rng):
    """K and y are the same after the call, and what it returns is new and its own."""
    assert DUAL.leaves_no_trace(submission, rng, then=[{}, {"tol": 5.0}], y=BAD_LABELS[:1], C=[-1.0])


# ---------------------------------------------------------------------------------------------- decision_function


@student_side
def gaussian(A, B):
    """exp(-|a - b|² / 8) for every pair of rows, in float64."""
    A, B = A.astype(np.float64), B.astype(np.float64)
    return np.exp(-((A[:, None] - B[None]) ** 2).sum(axis=2) / 8)


@student_side
def inner_products(A, B):
    """The linear kernel."""
    return A @ B.T


def some_zeros(rng):
    return np.where(rng.random(15) < 0.4, 0.0, rng.uniform(0.1, 2, 15))


SCORE = Contract(
    "decision_function",
    X=numbers(23, 3),
    rows=numbers(15, 3),
    y=plus_minus(15),
    alpha=numbers(15, draw=some_zeros, whole=(0, 3)),
    b=numbers(),
    kernel=gaussian,
    block=one_of(1000, 1, 7, 22, 23, 24),
)


def scores(X, rows, y, alpha, b, *_):
    return np.exp(-cdist(X, rows, "sqeuclidean") / 8) @ (alpha * y) + b


@pytest.mark.exercise("decision_function", weight=3, core=True, hint=3)
@pytest.mark.parametrize("n", [1, 2, 40])
def test_scores_are_sums_over_the_rows(submission, rng, n):
    """f(x) is the sum of alpha_i y_i k(x, x_i) plus b, for one new row and for many."""
    case = SCORE.plain(rng, X=rng.standard_normal((n, 3)))
    assert close(submission.decision_function(*case), scores(*case), atol=1e-12, typed=True)
    assert close(submission.decision_function(*case.args[:6]), scores(*case), atol=1e-12, typed=True)


@pytest.mark.exercise("decision_function", weight=1)
def test_scores_of_every_kind(submission, rng):
    """Scores are right and float64 for integers, float32, views and read-only arrays, and every block size."""
    for case in SCORE.cases(rng):
        assert close(submission.decision_function(*case), scores(*case.exact), atol=1e-6 if case.eps > EPS else 1e-11)
        assert is_array(submission.decision_function(*case), (23,), np.float64), "23 scores in float64"
    for scale in (1e8, 1e-8):
        X, rows, y, alpha, *_ = SCORE.plain(rng)
        for left, right in ((scale, 1), (1, scale)):
            got = submission.decision_function(left * X, right * rows, y, alpha, 0.0, inner_products)
            assert close(got, (left * X) @ (right * rows.T) @ (alpha * y), atol=1e-13 * 15 * 30 * scale)
        got = submission.decision_function(X, rows, y, scale * alpha, 0.0, inner_products)
        assert close(got, X @ rows.T @ (scale * alpha * y), atol=1e-13 * 15 * 30 * scale)


@pytest.mark.exercise("decision_function", weight=2, hint=3)
def test_scores_are_those_of_scikit_learn(submission, rng):
    """With the alpha and b of scikit-learn's SVC it gives the scores of its decision_function."""
    X, y = overlapping(rng, 40)
    new, alpha, peer = rng.standard_normal((15, 2)), np.zeros(40), SVC(C=0.7, gamma=1 / 8).fit(X, y)
    alpha[peer.support_] = np.abs(peer.dual_coef_[0])
    got = submission.decision_function(new, X, y, alpha, float(peer.intercept_[0]), gaussian)
    assert close(got, peer.decision_function(new), atol=1e-11)


def asked_of(submission, rng, block):
    """The calls of kernel for ten new rows and eight rows, of which five are support vectors; the scores are right."""
    X, rows = np.arange(10.0)[:, None], 100 + np.arange(8.0)[:, None]
    y, alpha = label_draw(rng, 8), np.array([0, 1e-300, 0.5, 0, 1e-12, 2, 0, 1.0])
    kernel = Asked(lambda A, B: np.cos(np.asarray(A) * (np.asarray(B).T - 99)))
    got = submission.decision_function(X, rows, y, alpha, -0.5, kernel, block)
    assert close(got, np.cos(X * (rows.T - 99)) @ (alpha * y) - 0.5, atol=1e-9)
    assert all(np.ndim(A) == np.ndim(B) == 2 for A, B in kernel.calls), "kernel gets arrays (p, d) and (q, d)"
    return kernel.calls, X[:, 0], rows[alpha > 0, 0]


@pytest.mark.exercise("decision_function", weight=3, core=True, hint=1)
@pytest.mark.parametrize("block", [1, 4, 10, 11])
def test_kernel_is_asked_for_support_vectors_alone(submission, rng, block):
    """Each pair of a new row and a support vector (alpha > 0) is asked for once, in this order, and no other pair."""
    calls, new, vectors = asked_of(submission, rng, block)
    asked = sorted((a, b) for A, B in calls for a in A[:, 0] for b in B[:, 0])
    assert {a for a, _ in asked} == {*new}, "the first argument of kernel holds new rows, all of them"
    assert {b for _, b in asked} == {*vectors}, "the second one holds the rows with alpha > 0 (also 1e-300), no others"
    assert len(asked) == len(new) * len(vectors), f"{len(new) * len(vectors)} pairs are asked for, not {len(asked)}"


@pytest.mark.exercise("decision_function", weight=2, hint=2)
@pytest.mark.parametrize("block", [1, 3, 4, 9])
def test_at_most_block_rows_in_a_call(submission, rng, block):
    """kernel gets at most `block` new rows in a call, also where block does not divide their number."""
    most = max(len(A) for A, _ in asked_of(submission, rng, block)[0])
    assert most <= block, f"kernel was asked for {most} new rows at once, and block is {block}"


@pytest.mark.exercise("decision_function", weight=0.5, hint=2)
def test_the_usual_block(submission, rng):
    """Without `block` at most 1,000 new rows go into one call of kernel."""
    X, kernel = rng.standard_normal((2500, 1)), Asked(lambda A, B: A @ B.T)
    got = submission.decision_function(X, X[:3], np.array([1, -1, 1]), np.ones(3), 0.5, kernel)
    assert close(got, X[:, 0] * (X[0, 0] - X[1, 0] + X[2, 0]) + 0.5, atol=1e-12)
    assert max(len(A) for A, B in kernel.calls) <= 1000, "kernel gets at most 1,000 new rows in a call"
    many = submission.decision_function(X, X[:3], np.array([1, -1, 1]), np.ones(3), 0.5, inner_products, 2)
    assert close(many, np.asarray(got), atol=1e-12)


@pytest.mark.exercise("decision_function", weight=1)
def test_no_support_vectors_or_no_new_rows(submission, rng):
    """Without support vectors every score is b; without new rows there is none; kernel is not called."""
    kernel = Asked(lambda A, B: np.zeros((len(A), len(B))))
    X, rows, y, alpha, *_ = SCORE.plain(rng)
    for b in (3, 0.1, -1e-9, 1e-9, 1e9):
        assert close(submission.decision_function(X, rows, y, 0 * alpha, b, kernel), np.full(23, float(b)), typed=True)
    assert close(submission.decision_function(X[:0], rows, y, alpha, 3, kernel), np.zeros(0), typed=True)
    assert not kernel.calls, "kernel is not called"


@pytest.mark.exercise("decision_function", weight=2, hint=2, memory_mb=32)
def test_memory_follows_the_block(submission, rng):
    """With many new rows the kernel never stands in memory as a whole."""
    seed, n, m = int(rng.integers(2**31)), 2000, 5000  # the whole kernel takes 80 MB, a block 4
    y, rest = label_draw(rng, m), [np.ones(m), 0.0, inner_products, 100]
    got = submission.run(on_large, "decision_function", seed, [(n, 1), (m, 1)], [y, *rest])
    draw = np.random.default_rng(seed)
    X, rows = draw.standard_normal((n, 1)), draw.standard_normal((m, 1))
    assert close(got, X[:, 0] * (y @ rows[:, 0]), atol=1e-9, typed=True)


@pytest.mark.exercise("decision_function", weight=0.5, forgeable=True)
def test_scores_leave_no_trace(submission, rng):
    """The arguments, and what kernel returned, are the same after the call; what is returned is new."""
    then = [{}, {"alpha": np.zeros(15)}, {"X": np.zeros((0, 3))}, {"block": 1}, {"b": 0.0}]
    assert SCORE.leaves_no_trace(submission, rng, then=then)


# ---------------------------------------------------------------------------------------------------- rbf_predict

PARTS = ("kernel_matrix", "decision_function")  # what the answer may call

LABELS = Contract(
    "rbf_predict",
    X=floats(20, 3),
    rows=floats(12, 3),
    y=integers(12, high=1, bools=True),
    alpha=floats(12, draw=lambda rng: rng.uniform(0, 2, 12)),
    b=one_of(0.02, -0.1, 30.0, 0),
    gamma=one_of(0.4, 0.02, 3, 1),
)


def says_the_same(got, X, rows, y, alpha, b, gamma):
    score = np.exp(-gamma * cdist(X, rows, "sqeuclidean")) @ (alpha * (2.0 * y - 1)) + b
    expected = (score > 0).astype(np.int64)
    if is_array(got, expected.shape):
        expected = np.where(np.abs(score) > 1e-4, expected, got)  # float32 is right to about 1e-6 here
    assert close(got, expected)


@pytest.mark.exercise("rbf_predict", depends=PARTS, weight=2, core=True, hint=1)
def test_both_classes_pull(submission, rng):
    """Support vectors of class 0 pull towards 0 as those of class 1 pull towards 1 (gamma is 1 here)."""
    for _ in range(5):
        case = LABELS.plain(rng, gamma=1.0, b=0.25)
        says_the_same(submission.rbf_predict(*case), *case.exact)


@pytest.mark.exercise("rbf_predict", depends=PARTS, weight=2, core=True, hint=2)
@pytest.mark.parametrize("gamma", [0.01, 0.3, 4.0, 50.0])
def test_the_width_is_used(submission, rng, gamma):
    """gamma decides how far a row reaches."""
    for _ in range(3):
        case = LABELS.plain(rng, gamma=gamma, b=float(rng.normal() / 3))
        says_the_same(submission.rbf_predict(*case), *case.exact)


@pytest.mark.exercise("rbf_predict", depends=PARTS, weight=2, hint=3)
def test_labels_of_every_kind(submission, rng):
    """Labels may be integers of any kind or bools, the rest float32 or float64; the answer is int64, 0 or 1."""
    for case in LABELS.cases(rng):
        says_the_same(submission.rbf_predict(*case), *case.exact)
    for scale in (1e-8, 1e8):  # lengths in other units, and the width with them
        X, rows, y, alpha, b, gamma = LABELS.plain(rng)
        scaled = scale * X, scale * rows, y, alpha, b, gamma / scale**2
        says_the_same(submission.rbf_predict(*scaled), *scaled)
    new, old = rng.standard_normal((1500, 3)), rng.standard_normal((1200, 3))
    many = LABELS.plain(rng, X=new, rows=old, y=np.arange(1200) % 2, alpha=rng.random(1200))
    says_the_same(submission.rbf_predict(*many), *many)


@pytest.mark.exercise("rbf_predict", depends=PARTS, weight=1)
def test_a_score_of_zero_is_class_one(submission):
    """A score of exactly 0 gives 1, and the smallest one decides by its sign."""
    rows, new = np.array([[-1.0], [1.0]]), np.array([[0.0]])
    for y in (np.array([0, 1]), np.array([1, 0])):
        got = submission.rbf_predict(new, rows, y, np.ones(2), 0.0, 0.5)
        assert close(got, np.ones(1, np.int64))
    got = submission.rbf_predict(new, rows, np.array([0, 1]), np.ones(2), -1e-9, 0.5)
    assert close(got, np.zeros(1, np.int64))
    # One row of class 0 at distance 0 scores b - alpha.
    for alpha, b, label in ((0.7, 0.7, 1), (0.7, 0.7 - 1e-9, 0), (1e-7, 1e-9, 0), (24.0, 30.0, 1), (1e9, 1e9 - 1, 0)):
        got = submission.rbf_predict(new, new, np.array([0]), np.array([alpha]), b, 0.5)
        assert close(got, np.array([label]))
    # At distance 1 its kernel is exp(-gamma), which b outweighs by a part of 1e-8, or just does not.
    for gamma in (0.3, 0.7, 30.0, 300.0):
        for label, part in enumerate((1 - 1e-8, 1 + 1e-8)):
            got = submission.rbf_predict(new, rows[:1], np.array([0]), np.ones(1), part * np.exp(-gamma), gamma)
            assert close(got, np.array([label]))


@pytest.mark.exercise("rbf_predict", depends=PARTS, weight=1)
def test_predictions_are_int64(submission, rng):
    """The predictions are an array of int64, also without new rows."""
    X, *rest = LABELS.plain(rng, b=30.0)
    for n in (20, 0):
        assert close(submission.rbf_predict(X[:n], *rest), np.ones(n, np.int64), typed=True)


@pytest.mark.exercise("rbf_predict", depends=PARTS, weight=0.5, forgeable=True)
def test_predicting_leaves_no_trace(submission, rng):
    """The arguments are the same after the call, and what it returns is new and its own."""
    alike = {"X": rng.standard_normal((12, 3))}  # what is returned has the shape of y
    assert LABELS.leaves_no_trace(submission, rng, then=[{}, {"b": 0.25}, alike])


# ---------------------------------------------------------------------------------------- random_fourier_features

FOURIER = Contract(
    "random_fourier_features",
    X=numbers(6, 3),
    features=one_of(64, 2, 10),
    gamma=one_of(0.7, 0.02, 2),
    seed=one_of(0, 5, 2**40, 2**63 - 1),
)


def rows_near_each_other(rng):
    """Five rows whose distances make kernels between 0.02 and 0.9 for gamma = 1."""
    return np.array([[0.0, 0, 0], [0.4, 0, 0], [0, 0.9, 0], [-1.2, 0, 0.5], [0.8, 0.8, -0.8]]) + rng.normal(size=3)


@pytest.mark.exercise("random_fourier_features", weight=3, core=True, hint=1)
@pytest.mark.parametrize("gamma", [0.2, 1.0, 4])
def test_inner_products_are_the_kernel_on_average(submission, rng, gamma):
    """Over many seeds the mean inner product of the features is exp(-gamma |x - x'|²)."""
    X, F, seeds = rows_near_each_other(rng), 8192, rng.integers(0, 2**31, 8).tolist()
    made = [submission.random_fourier_features(X, F, gamma, seed) for seed in seeds]
    assert all(is_array(Z, (5, F), np.float64) for Z in made), f"5 rows of {F} features in float64"
    assert np.abs(made).max() <= np.sqrt(2 / F) * (1 + 1e-12), "no feature is above sqrt(2/F) in absolute value"
    # Hoeffding: a mean of 8 F terms between -2 and 2 is off by more than t with probability 2 exp(-F t²), and
    # fifteen means at once by more than this with probability 1e-6.
    t = math.sqrt(math.log(2 * 15 * 1e6) / F)
    assert close(np.mean([Z @ Z.T for Z in made], axis=0), rbf(X, gamma=gamma), atol=t)
    for scale in (1e-8, 1e8):  # lengths in other units, and the width with them
        Z = submission.random_fourier_features(scale * X, F, gamma / scale**2, seeds[0])
        assert close(Z @ Z.T, rbf(X, gamma=gamma), atol=math.sqrt(8) * t)


@pytest.mark.exercise("random_fourier_features", weight=2, hint=2)
@pytest.mark.parametrize("F", [64, 1024, 16_384])
def test_the_error_falls_like_one_over_the_root(submission, rng, F):
    """The mean square error of inner products is of the order 1/F, for few features and for many."""
    X = rows_near_each_other(rng)
    errors = [submission.random_fourier_features(X, F, 1.0, seed) for seed in rng.integers(0, 2**31, 8).tolist()]
    errors = [(Z @ Z.T - rbf(X, gamma=1.0))[np.triu_indices(5, 1)] for Z in errors]
    # The variance of a term is at most 3/2, so the mean is at most 1.5/F. Eight squares of normal numbers of this
    # variance have a mean above 10/F with probability 1e-8.
    assert np.mean(np.square(errors)) <= 10 / F, f"the mean square error of {F} features is at most 10/F"


@pytest.mark.exercise("random_fourier_features", weight=2, hint=2)
def test_features_of_a_row_are_its_own(submission, rng):
    """The features of a row do not depend on the rows beside it, nor on the kind of array that it stands in."""
    for case in FOURIER.cases(rng):
        X, F, gamma, seed = case.exact
        got = submission.random_fourier_features(*case)
        # An angle of up to 255 * 3 * 5 * sqrt(2 gamma) is rounded by some eps of that.
        off = 100 * EPS * (1 + np.abs(X).max()) * np.sqrt(F)
        assert is_array(got, (6, F), np.float64), f"6 rows of {F} features in float64"
        assert close(got, submission.random_fourier_features(X, F, gamma, seed), atol=off)
        alone = [submission.random_fourier_features(X[i : i + 1], F, gamma, seed)[0] for i in (5, 2)]
        assert close(np.asarray(got)[[5, 2]], np.array(alone), atol=off)
        empty = submission.random_fourier_features(X[:0], F, gamma, seed)
        assert is_array(empty, (0, F), np.float64), f"no rows give an array (0, {F}) in float64"
    # Rows at a distance h have features at a distance of sqrt(2 gamma) h = 2 h, within 2%: the square is a mean of at
    # least 2,048 independent terms. In float32 the features would be the same, or off by more.
    X, h = np.array([[0.3, -0.8], [0.3, -0.8 + 1e-9]]), 1e-9
    Z = np.asarray(submission.random_fourier_features(X, 4096, 2.0, 3))
    assert close(np.linalg.norm(Z[1] - Z[0]), 2 * h, rtol=0.2)


@pytest.mark.exercise("random_fourier_features", weight=2, hint=2)
def test_seeds(submission, rng):
    """The same seed gives the same features in any process; different seeds, also very large ones, give others."""
    X = rng.standard_normal((3, 1))
    made = [submission.random_fourier_features(X, 8, 1.0, seed) for seed in SEEDS]
    for k, Z in enumerate(made):
        alike = [SEEDS[other] for other in range(k) if np.abs(Z - made[other]).max() <= 1e-6]
        assert not alike, f"the seeds {alike[0]} and {SEEDS[k]} give different features"
    with submission.elsewhere() as other:
        for seed, Z in zip(SEEDS, made, strict=True):
            assert close(other.random_fourier_features(X, 8, 1.0, seed), Z, atol=1e-12)


@pytest.mark.exercise("random_fourier_features", weight=1)
def test_features_refuse(submission, rng):
    """An odd number of features, none, and a gamma that is not above 0 raise ValueError; two features are fine."""
    bad_gammas = [0, 0.0, -1.0, float("nan")]
    FOURIER.refuses(submission, rng, ValueError, features=[0, 1, 7, -2, -1], gamma=bad_gammas)
    assert is_array(submission.random_fourier_features(*FOURIER.plain(rng, features=2, gamma=1e-9)), (6, 2))


@pytest.mark.exercise("random_fourier_features", weight=5, memory_mb=72)
def test_features_of_many_rows(submission, rng):
    """Memory follows the features, m F, and nothing of shape (m, m) is built."""
    seed, shape = int(rng.integers(2**31)), (4000, 3)  # Z takes 8 MB, and (m, m) 128
    Z = submission.run(on_large, "random_fourier_features", seed, [shape], [256, 0.5, 1])
    X = np.random.default_rng(seed).standard_normal(shape)[[0, -1]]
    assert is_array(Z, (4000, 256), np.float64), "4,000 rows of 256 features in float64"
    assert close(Z[[0, -1]], submission.random_fourier_features(X, 256, 0.5, 1), atol=1e-12)
    Z = submission.run(on_large, "random_fourier_features", seed, [(2000, 400)], [10, 0.5, 1])  # X takes 6.4 MB
    assert is_array(Z, (2000, 10), np.float64), "2,000 rows of 10 features in float64"


@student_side
def global_state_is_left(X):
    """Whether the next global random number is what it would have been."""
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    student.random_fourier_features(X, 4, 1.0, 0)  # noqa: F821
    return bool(np.random.random() == expected)


@pytest.mark.exercise("random_fourier_features", weight=0.5, forgeable=True)
def test_features_leave_no_trace(submission, rng):
    """X and NumPy's global random state are the same after the call, and what it returns is new and its own."""
    assert FOURIER.leaves_no_trace(submission, rng, features=[7], gamma=[0.0])
    left = submission.run(global_state_is_left, rng.standard_normal((3, 2)))
    assert left is True, "NumPy's global random state is left as it is"


# ------------------------------------------------------------------------------------------------ svm_from_stream


@student_side
def doubled(X):
    """Features that need no drawing: each column, and its square."""
    X = np.asarray(X, np.float64)
    return np.hstack([X, X * X])


def averaged_walk(chunks, penalty, features=doubled):
    """theta after each step as the docstring has it, averaged with weights 1, 2, ..."""
    thetas = [0.0]
    for X, y in chunks:
        if not len(y):
            continue
        Z, t = features(X), len(thetas)
        violated = np.asarray(y, np.float64) * (Z @ thetas[-1] if t > 1 else np.zeros(len(y))) < 1
        pull = (np.asarray(y, np.float64) * violated) @ Z / len(y)
        thetas.append((1 - 1 / t) * thetas[-1] + pull / (penalty * t))
    thetas = np.array(thetas[1:])
    return np.average(thetas, axis=0, weights=np.arange(1, len(thetas) + 1)), len(thetas)


def some_chunks(rng, sizes=(4, 1, 0, 7, 2, 30, 5, 5)):
    X, y = rng.standard_normal((sum(sizes), 3)), label_draw(rng, sum(sizes))
    ends = np.cumsum(sizes)
    return [(X[stop - size : stop], y[stop - size : stop]) for size, stop in zip(sizes, ends, strict=True)]


STREAM = Contract(
    "svm_from_stream",
    chunks=Argument(some_chunks, {}, frozenset()),
    features=doubled,
    penalty=one_of(0.0312345, 40.0, 1e-9),
)


def agrees_with_the_walk(answer, chunks, penalty, features=doubled):
    theta, steps = averaged_walk(chunks, penalty, features)
    off = 1e-11 * max(float(np.abs(features(X)).max()) for X, y in chunks if len(y)) / penalty
    assert isinstance(answer, tuple | list) and len(answer) == 2, "the average and the number of steps come as a pair"
    assert close(answer[0], theta, atol=off, typed=True)
    assert close(answer[1], steps, typed=True)


@pytest.mark.exercise("svm_from_stream", weight=3, core=True, hint=2)
@pytest.mark.parametrize("sizes", [(5,), (1, 1), (3, 8, 1, 20), (1,) * 60, (6,) * 40])
def test_stream_walks_as_it_says(submission, rng, sizes):
    """The weighted mean of theta over the steps is right, for one chunk, for many, and for chunks of different size."""
    chunks = some_chunks(rng, sizes)
    for penalty in (0.05, 1.5):
        agrees_with_the_walk(submission.svm_from_stream(chunks, doubled, penalty), chunks, penalty)


@pytest.mark.exercise("svm_from_stream", weight=1)
def test_a_chunk_of_no_rows_is_no_step(submission, rng):
    """A chunk of no rows is no step: it changes nothing, whether it comes first, last or in between."""
    chunks = some_chunks(rng, (0, 3, 0, 0, 5, 2, 0))
    agrees_with_the_walk(submission.svm_from_stream(chunks, doubled, 0.05), chunks, 0.05)


@pytest.mark.exercise("svm_from_stream", weight=1, hint=2)
def test_stream_of_every_kind(submission, rng):
    """Chunks may hold floats or integers of any kind, also views; the features may be float32; penalty any number."""
    for case in STREAM.cases(rng):
        agrees_with_the_walk(submission.svm_from_stream(*case), case.args[0], case.args[2])
    many = some_chunks(rng, (1500, 1200))
    agrees_with_the_walk(submission.svm_from_stream(many, doubled, 0.1), many, 0.1)
    rows = Contract("svm_from_stream", X=numbers(12, 3, scales=(1e8, 1e-8)), y=plus_minus(12))
    for case in rows.cases(rng):
        X, y = case
        cut = [(X[:5], y[:5]), (X[5:5], y[5:5]), (X[5:], y[5:]), (X[::2], y[::2])]
        agrees_with_the_walk(submission.svm_from_stream(cut, doubled, 0.0123457), cut, 0.0123457)
    chunks = some_chunks(rng)
    got = submission.svm_from_stream(chunks, lambda X: X.astype(np.float32), 0.1)
    rounded = [(X.astype(np.float32).astype(np.float64), y) for X, y in chunks]
    assert close(got[0], averaged_walk(rounded, 0.1, np.asarray)[0], atol=1e-6, typed=True)


@pytest.mark.exercise("svm_from_stream", weight=1, hint=2)
def test_stream_at_a_margin_of_one(submission):
    """A margin of exactly 1 is not violated; in the first step every row is."""
    one, two = (np.array([[1.0, 0.0]]), np.array([1])), (np.array([[0.0, 1.0]]), np.array([-1]))
    for last in (one, two):
        got = submission.svm_from_stream([one, two, last], lambda X: X, 0.5)
        assert close(got, (np.array([1.0, -2 / 3]), 3), rtol=1e-12, typed=True)
    assert close(submission.svm_from_stream([two], lambda X: X, 4), (np.array([0, -0.25]), 1), rtol=1e-12, typed=True)


@student_side
def in_one_pass(chunks, penalty):
    """svm_from_stream on something that can be gone through again, but holds other rows then."""

    class Stream:
        passes = 0

        def __iter__(self):
            self.passes += 1
            return iter(chunks if self.passes == 1 else [(7 - X, -y) for X, y in chunks])

    return student.svm_from_stream(Stream(), lambda X: X, penalty)  # noqa: F821


@pytest.mark.exercise("svm_from_stream", weight=1, hint=1)
def test_stream_is_gone_through_once(submission, rng):
    """Each chunk is asked for once, and features is called once for each chunk that has rows, with its X."""
    chunks, order = some_chunks(rng), []

    def stream():
        for k, chunk in enumerate(chunks):
            order.append(k)
            yield chunk

    features = Asked(doubled)
    agrees_with_the_walk(submission.svm_from_stream(stream(), features, 0.05), chunks, 0.05)
    assert order == list(range(len(chunks))), "each chunk is asked for once, in order"
    agrees_with_the_walk(submission.run(in_one_pass, chunks, 0.05), chunks, 0.05, np.asarray)
    full = [X for X, y in chunks if len(y)]
    assert len(features.calls) == len(full), f"{len(full)} calls of features, not {len(features.calls)}"
    assert all(close(call[0], X) for call, X in zip(features.calls, full, strict=True))
    alike = Asked(doubled)
    submission.svm_from_stream([chunks[0]] * 3, alike, 0.05)
    assert len(alike.calls) == 3, "features is called for each of three chunks, also where they hold the same rows"


@pytest.mark.exercise("svm_from_stream", weight=1)
def test_stream_refuses(submission, rng):
    """Other labels, another number of them, a stream without rows and a penalty not above 0 raise ValueError."""
    bad = [lambda chunks, bad=bad: [chunks[0], (chunks[3][0], bad(chunks[3][1]))] for bad in BAD_LABELS]
    empty = [[], [(np.zeros((0, 3)), np.zeros(0))], lambda chunks: [chunks[2], chunks[2]]]
    bad.append(lambda chunks: [chunks[0], (np.zeros((0, 3)), np.ones(1))])
    STREAM.refuses(submission, rng, ValueError, chunks=[*bad, *empty], penalty=[0, 0.0, -0.1, float("nan")])
    with raises_student(ValueError):
        submission.svm_from_stream(iter(()), doubled, 1.0)


@student_side
def streamed(seed, chunks, rows, F):
    """svm_from_stream on chunks and features that all lie in one buffer each."""
    draw, omega = np.random.default_rng(seed), np.random.default_rng(seed + 1).standard_normal((2, F))
    X, y, Z = np.empty((rows, 2)), np.empty(rows), np.empty((rows, F))

    def stream():
        for _ in range(chunks):
            X[:] = draw.standard_normal((rows, 2))
            y[:] = np.where(X[:, 0] * X[:, 1] > 0, 1.0, -1.0)
            yield X, y

    return student.svm_from_stream(stream(), lambda X: np.clip(X @ omega, -1, 1, out=Z), 0.001)  # noqa: F821


@pytest.mark.exercise("svm_from_stream", weight=5, hint=1, memory_mb=128)
def test_stream_of_twenty_thousand_rows(submission, rng):
    """20,000 rows with 2,000 features each are learnt from in 128 MB: neither features nor chunks are kept."""
    seed, chunks, rows, F = int(rng.integers(2**31)), 400, 50, 2000  # all features take 320 MB, half of that in float32
    got = submission.run(streamed, seed, chunks, rows, F)
    draw, omega = np.random.default_rng(seed), np.random.default_rng(seed + 1).standard_normal((2, F))
    u, total = np.zeros(F), np.zeros(F)
    for t in range(chunks):
        X = draw.standard_normal((rows, 2))
        y, Z = np.where(X[:, 0] * X[:, 1] > 0, 1.0, -1.0), np.clip(X @ omega, -1, 1)
        u += (y * (y * (Z @ u) < 0.001 * t + (t == 0))) @ Z / rows
        total += u
    assert close(got, (2 * total / (0.001 * chunks * (chunks + 1)), chunks), atol=1e-8, typed=True)


@pytest.mark.exercise("svm_from_stream", weight=1, forgeable=True)
def test_stream_leaves_no_trace(submission, rng):
    """The chunks, and what features returned, are the same after the call; what is returned is new."""
    assert STREAM.leaves_no_trace(submission, rng, then=[{}, {"chunks": some_chunks(rng, (5,))}], penalty=[0.0])
