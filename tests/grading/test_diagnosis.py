"""The misconception behind a wrong answer is named, and none where there is none to name."""

import pytest
from conftest import TOY, released

from autograder import calibration
from autograder.grading.diagnosis import agree

WRONG = calibration.load("00_toy", TOY).answers


def told(report, exercise):
    result = next(e for e in report.exercises if e.id == exercise)
    return {test.name: test.misconception for test in result.tests if not test.passed}


@pytest.mark.parametrize("answer", [a for a in WRONG if a.kind == "wrong"], ids=lambda answer: answer.name)
def test_every_known_wrong_answer_is_diagnosed_as_itself(grader, module, write, answer):
    answers = {e.name: e.solution for e in module.exercises}
    answers[answer.exercise] = answer.cell(module.exercise(answer.exercise).solution)
    failed = told(grader.grade(write(released(module, answers))), answer.exercise)
    assert set(answer.fails) <= failed.keys() and set(failed.values()) == {answer.says}


def test_the_same_mistake_in_another_style(grader, module, write):
    source = (
        "def mean_square(x):\n    total = 0.0\n    for v in x:\n        total += float(v)\n    return total / len(x)"
    )
    failed = told(grader.grade(write(released(module, {"mean_square": source}))), "mean_square")
    assert failed["test_mean_of_squares"] == "forgets to square"


@pytest.mark.parametrize(
    "source",
    [
        "def mean_square(x): return 17.0",
        "def mean_square(x): return None",
        "def mean_square(x): raise ValueError",
        "def mean_square(x): return float(np.mean(np.square(x))) * 1.01",
    ],
)
def test_no_misconception_where_none_is_known(grader, module, write, source):
    failed = told(grader.grade(write(released(module, {"mean_square": source}))), "mean_square")
    assert failed and set(failed.values()) == {None}


def test_right_where_right_and_the_rest_unexplained(grader, module, write):
    source = "def mean_square(x): return float(np.mean(x * x))"  # overflows, as no known answer does
    failed = told(grader.grade(write(released(module, {"mean_square": source}))), "mean_square")
    assert failed == {"test_integers": None}


def test_known_answers_are_run_once(grader, module, write, monkeypatch):
    path = write(released(module, {"mean_square": "def mean_square(x): return float(np.mean(x))"}))
    first = grader.grade(path)
    monkeypatch.setattr(grader, "outcomes", lambda *args, **kwargs: pytest.fail("ran a known answer again"))
    again = grader.grade(path)
    assert again.exercises == first.exercises and told(again, "mean_square")


@pytest.mark.parametrize(
    "mine, theirs, same",
    [
        (1.0, 1.0 + 1e-9, True),
        (1.0, 1.1, False),
        (1, 1.0, False),
        (float("nan"), float("nan"), True),
        (float("nan"), 1.0, False),
        ([1.0, {"a": 2.0}], (1.0, {"a": 2.0}), True),
        ([1.0], [1.0, 2.0], False),
        (None, None, True),
        ("a", "b", False),
        ("<ndarray of shape (9,), not kept>", "<ndarray of shape (9,), not kept>", False),
        (True, True, True),
        (True, 1, False),
    ],
)
def test_agree(mine, theirs, same):
    assert agree(mine, theirs, 1e-6) is same
