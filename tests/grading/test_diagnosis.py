"""The misconception behind a wrong answer is named, and none where there is none to name."""

from dataclasses import replace

import numpy as np
import pytest

from autograder import answers
from autograder.answers import Answer, Gallery
from autograder.grading import Grader, plugin
from autograder.grading.diagnosis import Diagnosis, agree
from autograder.submission import Call

from .conftest import TOY, released

WRONG = answers.load("00_toy", TOY).answers


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


SPEC = plugin.Spec("mean_square", name="test", sentence="It holds.")


def did(**results):
    """How an answer ended in each run: what it returned, and whether that passed."""
    return [
        plugin.Outcome(SPEC, item, "passed" if passed else "failed", calls=(Call("mean_square", result=result),))
        for item, (result, passed) in results.items()
    ]


def diagnosed(outcomes, **wrong):
    """What is said of these outcomes where these wrong answers are known, each by its misconception."""
    known = {says: Answer("mean_square", says, "wrong", says, (), "mean_square", "", 1) for says in wrong}
    right = [replace(outcome, cause="passed", calls=(Call("mean_square", result=0.5),)) for outcome in outcomes]
    runs = {answer.name: wrong[says] for says, answer in known.items()}
    gallery = Gallery("00_toy", tuple(known.values()))
    return Diagnosis(gallery, "mean_square", lambda a: right if a is None else runs[a.name]).misconceptions(outcomes)


def test_on_a_tie_nothing_is_said():
    mine = did(a=(2.5, False), b=(0.5, True))
    assert diagnosed(mine, one=did(a=(2.5, False), b=(0.5, True))) == {"a": "one"}
    tie = {name: did(a=(2.5, False), b=(0.5, True)) for name in ("one", "two")}
    assert diagnosed(mine, **tie) == {}


def test_what_another_run_tells_apart_is_no_tie():
    mine = did(a=(2.5, False), b=(3.5, False))
    one, two = did(a=(2.5, False), b=(3.5, False)), did(a=(2.5, False), b=(4.5, False))
    assert diagnosed(mine, one=one, two=two) == {"a": "one", "b": "one"}


def test_one_that_fails_where_the_student_passes_is_another_mistake():
    mine = did(a=(2.5, False), b=(0.5, True))
    assert diagnosed(mine, one=did(a=(2.5, False), b=(4.5, False))) == {}


def test_a_wrong_answer_that_did_what_a_right_one_does_explains_nothing():
    mine = did(a=(0.5, False))  # it failed by something that no result shows
    assert diagnosed(mine, one=did(a=(0.5, False))) == {}


def test_a_list_is_known_by_the_equal_array():
    mine = did(a=([2.5, 3.5], False))
    assert diagnosed(mine, one=did(a=(np.array([2.5, 3.5]), False))) == {"a": "one"}


FORGOT = {"mean_square": "def mean_square(x): return float(np.mean(x))"}


@pytest.fixture
def runs(monkeypatch):
    """How many times hidden tests have been run."""
    counted = []
    run = plugin.run
    monkeypatch.setattr(plugin, "run", lambda *args, **more: (counted.append(1), run(*args, **more))[1])
    return counted


def test_known_answers_are_run_once(grader, module, write, runs):
    path = write(released(module, FORGOT))
    first = grader.grade(path)
    runs.clear()
    again = grader.grade(path)
    assert again.exercises == first.exercises and told(again, "mean_square")
    assert len(runs) == 1, "the submission's own"


def test_what_known_answers_did_is_kept_for_the_other_workers_of_a_class(module, write, runs, tmp_path):
    path, kept = write(released(module, FORGOT)), tmp_path / "kept"
    kept.mkdir()

    def graded(secret="class"):
        runs.clear()
        with Grader(sandbox="none", root=TOY, secret=secret, kept=kept) as grader:
            return told(grader.grade(path), "mean_square"), len(runs)

    first, needed = graded()
    assert "forgets to square" in first.values() and needed > 3
    files = sorted(kept.iterdir())
    assert files and {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert graded() == (first, 2), "the submission and the reference"
    for file in files:
        file.write_bytes(file.read_bytes()[:-9])
    assert graded() == (first, needed), "damaged ones are made again"
    assert graded() == (first, 2)
    assert graded("another")[1] == needed, "other inputs, other answers"


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
