"""An exercise whose package is not installed is neither failed nor a grader fault."""

import shutil

import pytest

from autograder import curriculum
from autograder.authoring.rules import problems
from autograder.grading import Grader
from autograder.grading.report import report_key
from autograder.proving.runs import calibrate
from autograder.sandbox import Limits
from lsml_utils.checking import CheckFailed, Unanswered, check

from .conftest import TOY, released

MARKER = '# %% exercise="total" points=2 minutes=5 extra=true'


@pytest.fixture
def course(tmp_path):
    """The toy course, whose extra exercise needs a package that nobody has."""
    root = tmp_path / "course"
    shutil.copytree(TOY, root)
    notebook = root / "solutions/00_toy/notebook.py"
    text = notebook.read_text()
    assert MARKER in text
    text = text.replace(MARKER, f'{MARKER} needs="no_such_engine"')
    notebook.write_text(text)
    return root


def test_it_is_untested_whatever_the_answer(course, write):
    module = curriculum.load("00_toy", course)
    wrong = released(module, {e.name: e.solution for e in module.exercises} | {"total": "def total(x): return 1 / 0"})
    with Grader(secret="toy", limits=Limits(notebook_seconds=300.0), root=course) as grader:
        report = grader.grade(write(wrong))
    (result,) = (result for result in report.exercises if result.id == "total")
    assert (result.verdict, result.score, result.tests) == ("untested", 0.0, ())
    assert "no_such_engine, which is not installed here" in result.message
    assert (report.status, report.score) == ("graded", report.max_score)


def test_an_answer_that_is_not_there_is_unanswered_all_the_same(course, write):
    module = curriculum.load("00_toy", course)
    with Grader(secret="toy", limits=Limits(notebook_seconds=300.0), root=course) as grader:
        report = grader.grade(write(released(module)))
    assert {result.verdict for result in report.exercises} == {"unanswered"}


def test_a_report_is_made_anew_once_the_package_is_there(course, tmp_path, monkeypatch):
    before = report_key(b"notebook", "00_toy", "secret", None, course)
    assert report_key(b"notebook", "00_toy", "secret", None, course) == before
    (tmp_path / "no_such_engine.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert report_key(b"notebook", "00_toy", "secret", None, course) != before


def test_calibration_leaves_it_out(course):
    rows = calibrate(["00_toy"], root=course, only=["total", "last"], jobs=1, sample=1)
    assert [row.exercise for row in rows] == ["last"]


def test_the_visible_check_says_so_and_goes_on(capsys):
    with check("kernel", needs="no_such_engine"):
        raise TypeError("no kernel without its compiler")
    line = "– kernel cannot be checked here: it needs no_such_engine, which is not installed\n"
    assert capsys.readouterr().out == line
    with pytest.raises(CheckFailed), check("kernel", needs="json"):
        raise TypeError("a mistake like any other")


def test_an_exercise_without_an_answer_says_so_first():
    def kernel():
        raise NotImplementedError("kernel: replace this line with your answer")

    with pytest.raises(Unanswered), check("kernel", needs="no_such_engine"):
        kernel()


def test_points_may_not_depend_on_the_machine(course):
    notebook = course / "solutions/00_toy/notebook.py"
    assert not [line for line in problems(curriculum.load("00_toy", course)) if "so extra=true" in line]
    notebook.write_text(notebook.read_text().replace('extra=true needs="', 'needs="'))
    assert any("so extra=true" in line for line in problems(curriculum.load("00_toy", course)))
