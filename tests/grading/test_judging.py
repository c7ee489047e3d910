"""`close` and its like: what passes, and above all what never does."""

import numpy as np
import pytest
import torch

from autograder import judging
from autograder.judging import (
    EPS,
    StudentError,
    close,
    frozen,
    is_array,
    raises_student,
    relative_error,
    student_side,
    sum_rounding,
)

NAN, INF = float("nan"), float("inf")
X = np.array([1.0, -2.0, 3.0])


@pytest.mark.parametrize(
    "got, expected, tolerances",
    [
        (1.0, 1.0, {}),
        (1, 1.0, {}),
        (np.float32(0.1), 0.1, {"rtol": 1e-6}),
        (1.0 + 1e-9, 1.0, {"rtol": 1e-8}),
        (1e-9, 0.0, {"atol": 1e-8}),
        (torch.tensor([1.0, -2.0, 3.0]), X, {}),
        (X, torch.tensor([1.0, -2.0, 3.0], dtype=torch.bfloat16), {}),
        ([1.0, -2.0, 3.0], X, {}),
        (X, [1.0, -2.0, 3.0], {}),
        ((1, [2, X]), (1, [2, X.copy()]), {}),
        ({"loss": X}, {"loss": X.copy()}, {}),
        ([1.0, NAN, INF], [1.0, NAN, INF], {}),
        (np.zeros((0, 3)), np.zeros((0, 3)), {}),
        (True, True, {}),
        (np.bool_(True), True, {}),
        ("a", "a", {}),
        (None, None, {}),
        (2**62 + 1, 2**62 + 1, {}),
    ],
)
def test_close(got, expected, tolerances):
    assert close(got, expected, **tolerances)


@pytest.mark.parametrize(
    "got, expected, kind",
    [
        (1.0 + 1e-7, 1.0, ""),
        (NAN, 1.0, "nan or inf in it"),
        ([1.0, NAN, 3.0], X, "nan or inf in it"),
        (INF, 1.0, "nan or inf in it"),
        (1.0, NAN, ""),
        (-INF, INF, ""),
        (None, 1.0, "the wrong type"),
        ("1.0", 1.0, "the wrong type"),
        (1.0, "1.0", "the wrong type"),
        (b"a", "a", "the wrong type"),
        (True, 1.0, "the wrong type"),
        (1, True, "the wrong type"),
        (1 + 0j, 1.0, "the wrong type"),
        (np.ones(1), 1.0, "the wrong shape"),
        (np.ones((3, 1)), np.ones(3), "the wrong shape"),
        (np.ones((1, 3)), np.ones((2, 3)), "the wrong shape"),
        ([[1.0], [1.0, 2.0]], np.ones((2, 2)), "the wrong type"),
        ([1, 2], [1, 2, 3], "the wrong length"),
        ([1, "a"], [1, "b"], ""),
        ({"a": 1}, {"a": 1, "b": 2}, "the wrong keys"),
        (object(), X, "the wrong type"),
        (2**62 + 1, 2**62, ""),
    ],
)
def test_not_close(got, expected, kind):
    with judging.failures() as failed:
        found = close(got, expected, rtol=1e-8 if not isinstance(got, int) else 0.0)
    assert not found
    assert found.sentence == (f"What was returned has {kind}." if kind else "")
    assert failed == [found]


def test_relative_error():
    assert relative_error([3.0, 4.0], [3.0, 5.0]) == pytest.approx(1 / np.sqrt(34))
    assert relative_error([3.0], [0.0]) == 3.0
    for wrong in (None, "x", [NAN, 1.0], np.ones((2, 1)), [INF, 0.0]):
        assert relative_error(wrong, [1.0, 1.0]) == INF


def test_is_array():
    assert is_array(X) and is_array(X, (3,)) and is_array(X, (None,), np.float64)
    assert is_array(torch.ones(2, 3), (2, None), torch.float32)
    assert not is_array([1.0]) and not is_array(X, (3, 1)) and not is_array(X, (4,))
    assert not is_array(X, dtype=np.float32) and not is_array(torch.ones(2), dtype=torch.float64)


def test_raises_student():
    error = StudentError("MyError", ("MyError", "ValueError", "Exception", "object"), "no")
    with raises_student(ValueError):
        raise error
    with raises_student("MyError"):
        raise error
    with pytest.raises(StudentError), raises_student(TypeError, KeyError):
        raise error
    with pytest.raises(AssertionError, match="nothing was raised"), raises_student(ValueError):
        pass


def test_student_side_marks_and_leaves_the_function_alone():
    @student_side
    def helper(x):
        return x + 1

    assert helper(1) == 2 and helper.__lsml_student_side__ is True


def test_atol_may_be_an_array_with_a_tolerance_for_each_element():
    expected = np.array([[1.0, 2.0], [3.0, np.inf]])
    allowed = np.array([[0.0, 0.2], [0.0, 0.0]])
    assert close(expected + np.array([[0.0, 0.1], [0.0, 0.0]]), expected, atol=allowed)
    assert not close(expected + np.array([[0.1, 0.0], [0.0, 0.0]]), expected, atol=allowed)


def test_a_frozen_copy_is_not_the_original():
    copy = frozen(X)
    assert not copy.flags.writeable and X.flags.writeable and np.array_equal(copy, X)


def test_sums_in_any_order_lie_within_the_bound():
    terms = np.random.default_rng(0).standard_normal((100, 1000)).astype(np.float32)
    one, other = terms.cumsum(axis=1)[:, -1], terms[:, ::-1].cumsum(axis=1)[:, -1]
    allowed = sum_rounding(1000, np.abs(terms).sum(axis=1), float(np.finfo(np.float32).eps))
    assert (np.abs(one - other) <= allowed).all() and (one != other).any()
    assert sum_rounding(1, 1.0) == 4 * EPS
