"""Time that a student's own experiments take is not taken from the answers, and nothing stretches it."""

import os
import shutil
from dataclasses import replace

import psutil
import pytest

from autograder import curriculum
from autograder.grading import grade
from autograder.grading.reference import reference_cells

from .conftest import TOY, code, index, released

SLEEPS = "import time\ntime.sleep(6)"


@pytest.fixture
def hurried(grader, monkeypatch):
    """The same grader, with so little time that one slow cell takes more than an exercise's share."""
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(grader, "limits", replace(grader.limits, cell_seconds=10.0, notebook_seconds=30.0))
    return grader


def verdicts(report):
    return {result.id: result.verdict for result in report.exercises}


@pytest.mark.parametrize("place", ["mean_square", "Counter"])
def test_a_slow_added_cell_takes_nothing_from_any_exercise(hurried, module, write, place):
    cells = released(module, "all")
    cells.insert(index(cells, place) + 1, code(SLEEPS))
    report = hurried.grade(write(cells))
    assert set(verdicts(report).values()) == {"passed"}, report.exercises
    assert report.score == 9


def test_neither_do_many(hurried, module, write):
    cells = [cell for made in released(module, "all") for cell in (made, code(SLEEPS))]
    report = hurried.grade(write(cells))
    assert set(verdicts(report).values()) == {"passed"}, report.exercises


def test_a_slow_answers_cell_takes_nothing_from_the_others(hurried, module, write):
    answers = {e.name: e.solution for e in module.exercises}
    answers["last"] += f"\n{SLEEPS}\n"
    found = verdicts(hurried.grade(write(released(module, answers))))
    assert {name for name, verdict in found.items() if verdict != "passed"} <= {"last"}
    answers["last"] = "while True: pass"
    report = hurried.grade(write(released(module, answers)))
    assert {name for name, verdict in verdicts(report).items() if verdict != "passed"} == {"last"}
    assert verdicts(report)["last"] == "timeout" and report.status == "graded"


def test_an_exercise_that_needs_a_slow_cell_has_it(hurried, module, write):
    cells = released(module, {e.name: e.solution for e in module.exercises} | {"last": "def last(x): return mine(x)"})
    cells.insert(index(cells, "last"), code("import time\ntime.sleep(1.5)\ndef mine(x): return x[-1]"))
    report = hurried.grade(write(cells))
    assert set(verdicts(report).values()) == {"passed"}, report.exercises


def test_no_cell_is_left_out_of_a_known_answer_on_a_busy_machine(grader, monkeypatch, tmp_path):
    shutil.copytree(TOY / "solutions" / "00_toy", tmp_path / "solutions" / "00_toy")
    tests = tmp_path / "solutions" / "00_toy" / "hidden_tests.py"
    again = '@pytest.mark.exercise("root_mean_square", seconds=9)\ndef test_in_a_child_of_its_own(submission):\n'
    again += '    """Again."""\n    assert submission.root_mean_square(np.array([3.0, 3.0])) == 3.0\n'
    tests.write_text(f"{tests.read_text()}\n\n{again}")
    toy = curriculum.load("00_toy", tmp_path)
    monkeypatch.setattr(grader, "root", tmp_path)
    cells = [
        replace(cell, source=f"{cell.source}\nimport time\ntime.sleep(1.5)\n") if cell.label == "mean_square" else cell
        for cell in reference_cells(toy)
    ]
    outcomes = grader.outcomes(toy, cells, "root_mean_square")
    assert {outcome.spec.name: outcome.cause for outcome in outcomes} == dict.fromkeys(
        ["test_root", "test_empty", "test_in_a_child_of_its_own"], "passed"
    )


@pytest.mark.parametrize("experiment", ["while True: pass", "import time\nfor _ in range(100): time.sleep(1)"])
def test_an_experiment_below_the_first_answer_in_its_cell_takes_none_of_its_time(hurried, module, write, experiment):
    answers = {e.name: e.solution for e in module.exercises}
    first = module.exercises[0].name
    report = hurried.grade(write(released(module, answers | {first: f"{answers[first]}\n\n{experiment}"})))
    assert verdicts(report) == dict.fromkeys(verdicts(report), "passed")


def test_what_a_stopped_cell_would_have_defined_is_told_of(hurried, module, write):
    cells = released(module, {e.name: e.solution for e in module.exercises} | {"last": "def last(x): return mine(x)"})
    cells.insert(index(cells, "last"), code("mine = sum(1 for _ in iter(int, 1))"))
    report = hurried.grade(write(cells))
    assert report.status == "graded"
    assert verdicts(report) == dict.fromkeys(verdicts(report), "passed") | {"last": "error"}
    last = next(result for result in report.exercises if result.id == "last")
    assert "you added" in last.message and "took too long" in last.message


def test_the_load_that_a_notebook_makes_itself_stretches_none_of_its_limits(grader, monkeypatch, module, write):
    """How busy the machine is, is asked while no process of the notebook's lives."""
    grader._ahead.settle()
    server = psutil.Process(grader._sandbox._process.pid)
    idle, seen = len(server.children(recursive=True)), []

    def patience():
        seen.append(len(server.children(recursive=True)))
        return 1.0

    monkeypatch.setattr(grade, "patience", patience)
    monkeypatch.setattr(grader._explainer, "_diagnoses", {})  # or known answers may have been run before
    busy = "import threading\n\ndef work():\n    while True: pass\n\n"
    busy += "for _ in range(8): threading.Thread(target=work, daemon=True).start()\n"
    answers = {e.name: e.solution for e in module.exercises} | {"last": f"{busy}\ndef last(x): return x[0]"}
    report = grader.grade(write(released(module, answers)))
    assert verdicts(report)["last"] == "failed" and len(seen) > 2, "failures are explained, and that takes clocks too"
    assert seen == [idle] * len(seen)
