"""Every wrong answer of module 01, handed in by a student, is diagnosed as itself or as one no test tells from it."""

import json
from itertools import zip_longest

import pytest

from autograder import answers, curriculum
from autograder.grading import Grader
from autograder.proving.calibrate import Trial
from autograder.proving.runs import Bench

NAME = "01_gradient_descent"
MODULE, GALLERY = curriculum.load(NAME), answers.load(NAME)


def notebooks():
    """The released notebook with a wrong answer in every exercise that still has one, until all were handed in."""
    released = (curriculum.ROOT / "course" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    for given_at_once in zip_longest(*(GALLERY.wrong(exercise.name) for exercise in MODULE.exercises)):
        given = {answer.exercise: answer for answer in given_at_once if answer is not None}
        notebook = json.loads(released)
        for cell in notebook["cells"]:
            if cell["id"] in given:
                cell["source"] = given[cell["id"]].cell(MODULE.exercise(cell["id"]).solution)
        yield notebook, given


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """For every wrong answer: the misconceptions in the JSON of the report on it."""
    folder, found = tmp_path_factory.mktemp("submitted"), {}
    with Grader() as grader:
        for number, (notebook, given) in enumerate(notebooks()):
            path = folder / f"{number}.ipynb"
            path.write_text(json.dumps(notebook), encoding="utf-8")
            for exercise in grader.grade(path).to_dict()["exercises"]:
                if exercise["id"] in given:
                    assert exercise["score"] < exercise["points"]
                    misconceptions = {test["misconception"] for test in exercise["tests"] if not test["passed"]}
                    found[given[exercise["id"]].name] = misconceptions - {None}
    return found


@pytest.mark.slow  # a minute: a dozen notebooks, and each known answer through all its tests
def test_every_wrong_answer_is_diagnosed_as_itself(told):
    wrong = {answer.name: answer for answer in GALLERY.answers if answer.kind == "wrong"}
    assert told.keys() == wrong.keys()
    otherwise = {name: says for name, says in told.items() if says != {wrong[name].says}}
    assert len(otherwise) <= len(told) / 10
    with Bench() as bench:
        for name, says in otherwise.items():
            cell = wrong[name].cell(MODULE.exercise(wrong[name].exercise).solution)
            result = bench.attempt(NAME, Trial(wrong[name].exercise, "wrong", name, cell), 0.0)
            if says:
                assert says <= {wrong[name].says, *result.agrees}, name
            else:  # it is slow, or too large, or nothing tells it from another
                assert not result.diagnosable, name
