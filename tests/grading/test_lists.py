"""A list where the docstring asks for an array: told in these words, and only where that is what is wrong."""

import numpy as np
import pytest
import torch

from autograder import curriculum
from autograder.grading import Grader
from autograder.grading.diagnosis import agree, is_listed

from .conftest import released

EXERCISE = "column_variances"  # of a module whose docstring says "a new array (d,)"
RIGHT = "np.mean((np.asarray(X, dtype=float) - np.mean(X, axis=0, dtype=float)) ** 2, axis=0)"
CAME = "A list came where an array is due."


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The messages of the tests that an answer fails."""
    from .conftest import as_notebook, json

    module = curriculum.load("00_orientation")

    def failed(answer):
        path = tmp_path_factory.mktemp("lists") / "00_orientation.ipynb"
        cells = released(module, {EXERCISE: f"def {EXERCISE}(X):\n    {answer}"})
        path.write_text(json.dumps(as_notebook(cells, module.name)))
        result = next(e for e in grader.grade(path).exercises if e.id == EXERCISE)
        return [test.message for test in result.tests if not test.passed]

    with Grader(secret="lists") as grader:
        yield failed


def test_a_list_of_the_right_numbers_is_told(failed):
    messages = failed(f"return ({RIGHT}).tolist()")
    assert messages and any(CAME in message for message in messages)


def test_other_numbers_are_not_blamed_on_the_list(failed):
    messages = failed(f"return ({RIGHT} + 1).tolist()")
    assert messages and not any(CAME in message for message in messages)


def test_a_list_that_is_too_long_is_told_as_a_list_first(failed):
    messages = failed(f"return ({RIGHT}).tolist() + [0.0]")
    assert len(messages) == 4 and all("(a list came where an array is due)" in message for message in messages)
    assert not any("shape" in message.partition("\n")[2] for message in messages)


@pytest.mark.parametrize(
    ("mine", "theirs", "alike", "listed"),
    [
        ([1.0, 2.0], np.array([1.0, 2.0]), True, True),
        ((1, 2), np.array([1.0, 2.0]), True, True),
        ([np.zeros(2), np.ones(2)], np.array([[0.0, 0.0], [1.0, 1.0]]), True, True),
        (np.zeros((1, 2)), [np.zeros(2)], True, False),
        ((np.zeros(1), [1.0]), (np.zeros(1), np.ones(1)), True, True),
        ([], np.zeros(0), True, True),
        ([1.0, 2.0], [1.0, 2.0], True, False),
        ([1.0, 2.0], np.array([1.0, 3.0]), False, None),
        ([1.0], np.array([1.0, 1.0]), False, None),
        ([1.0], np.array(1.0), False, None),
        ([True], np.array([1.0]), False, None),
        (["a"], np.array([1.0]), False, None),
        ([[1.0], [1.0, 2.0]], np.ones((2, 2)), False, None),
        ([1.0], torch.ones(1), False, None),
    ],
)
def test_a_list_agrees_with_the_equal_array(mine, theirs, alike, listed):
    assert agree(mine, theirs, 1e-12) is alike
    if alike:
        assert is_listed(mine, theirs) is listed
