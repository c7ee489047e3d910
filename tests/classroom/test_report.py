"""The class report: figures of a class whose answers are known, the page, and what changed since the last one."""

import csv
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from autograder.classroom import analysis, overview
from autograder.classroom.analysis import correlation
from autograder.classroom.status import ClassStatus, Standing, read
from autograder.cli import main
from autograder.grading.report import ExerciseResult, Report, TestResult

from .conftest import MODULE, put

SECOND = "02_sgd"
TESTS = {  # whether the student number i of n passes it
    "test_all_pass": lambda i, n: True,
    "test_none_passes": lambda i, n: False,
    "test_the_strong_pass": lambda i, n: i > n // 2,
    "test_the_weak_pass": lambda i, n: i <= n // 2,
    "test_every_other_passes": lambda i, n: i % 2 == 0,
}


def a_class(n):
    """n students; the first exercise follows how strong they are, number 0 handed nothing in, number 1 fell."""
    students = [(f"s{i:03}", f"<b>Name {i}</b>") for i in range(n)]
    status = ClassStatus([MODULE, SECOND], {MODULE: 10.0, SECOND: 10.0}, students)
    for i, (student, _) in enumerate(students):
        for module in status.modules if i else ():
            strong = i / (n - 1)
            if i == 1:
                strong = 1.0 if module == MODULE else 0.5
            results = tuple(TestResult(name, rule(i, n), f"{name} holds.") for name, rule in TESTS.items())
            wrong = TestResult("test_known", i % 2 == 0, "It is known.", None if i % 2 == 0 else "=forgets to divide")
            exercises = (
                ExerciseResult("mse_loss", "partial", 5 * strong, 5, False, (*results, wrong)),
                ExerciseResult("mse_gradient", "passed" if strong == 1 else "partial", 5 * strong, 5),
            )
            report = Report("x", module, "graded", 10 * strong, 10.0, 0.1, exercises)
            status.standings[student, module] = Standing(handed_in=True, graded=True, report=report)
    return status


def test_a_correlation_needs_pairs_that_differ():
    assert correlation([1.0] * 20, list(range(20))) is None and correlation([0, 1] * 4, [1, 0] * 4) is None
    assert correlation(list(range(20)), [3 * x for x in range(20)]) == pytest.approx(1)


def test_the_figures_of_a_class(folder):
    status = a_class(41)
    first, second = analysis.modules(status, folder)
    assert (first.name, first.handed_in, first.missing, first.attempts) == (MODULE, 40, 1, 1.0)
    loss, gradient = second.exercises
    assert loss.answered == 40 and loss.discrimination == pytest.approx(1) and gradient.full == 1
    assert np.mean(second.shares) == pytest.approx(gradient.mean)
    says = {test.name: test.says for test in second.tests}
    assert "tells nothing" in says["test_all_pass"] and "all fail" in says["test_none_passes"]
    assert says["test_the_strong_pass"] == "tells strong from weak" and "the weaker" in says["test_the_weak_pass"]
    assert "alike" in says["test_every_other_passes"]
    (known,) = second.misconceptions
    assert (known.exercise, known.says, len(known.students)) == ("mse_loss", "=forgets to divide", 20)
    talks = {talk.student: talk.reasons for talk in analysis.talks(status, [first, second])}
    assert talks["s000"] == ("01: nothing handed in", "02: nothing handed in")
    assert talks["s001"] == ("02: 50% after 100% before",)
    assert talks["s003"][0].startswith("01: 8% of the points, 2 partial") and "s040" not in talks
    assert next(iter(talks)) == "s000"


def test_an_exercise_is_compared_with_the_others_not_with_itself(folder):
    status = a_class(41)
    for i, (student, _) in enumerate(status.students[1:]):
        report = status.standings[student, SECOND].report
        loss, gradient = report.exercises
        exercises = replace(loss, score=5.0 * (i % 2)), gradient
        status.standings[student, SECOND].report = replace(report, exercises=exercises)
    loss, _ = analysis.modules(status, folder)[1].exercises
    assert abs(loss.discrimination) < 0.2


def test_what_is_not_graded_yet_is_not_missing(folder):
    status = a_class(12)
    for module in status.modules:
        status.standings["s000", module] = Standing(handed_in=True)
    figures = analysis.modules(status, folder)
    assert figures[0].missing == 0 and "s000" not in {talk.student for talk in analysis.talks(status, figures)}


@pytest.mark.parametrize("n", [3, 500])
def test_the_page_shows_what_it_was_given_and_nothing_else(folder, n):
    status = a_class(n)
    figures = analysis.modules(status, folder)
    html = overview.render(figures, analysis.talks(status, figures), ["01: 3 newly graded"], n)
    assert "<b>Name" not in html and "http:" not in html and "https:" not in html and "<script" not in html
    assert "01: 3 newly graded" in html and "forgets to divide" in html
    drawings = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]
    assert len(drawings) == 2 + 4 and all(drawing.get("aria-label") for drawing in drawings)
    assert sum(overview.histogram(figures[0].shares)) == n - 1
    assert ("something to say" in html) == (n == 500), "with three answers nothing is said of a test"


def test_the_command(folder, answer, grade, capsys):
    def lsml():
        status = main(["report", "-C", str(folder.path)])
        return status, *capsys.readouterr()

    status, out, err = lsml()
    assert (status, out) == (2, "") and "nothing is graded yet" in err
    for student, words in (("ada", "passed"), ("ben", "failed misconception"), ("cyd", "partial")):
        put(folder, student, answer(words))
    grade()
    status, out, _ = lsml()
    page = folder.path / "report" / "index.html"
    assert status == 0 and str(page) in out and "Nothing is new, or this is the first" in page.read_text()
    assert page.stat().st_mode & 0o077 == 0, "it names students"
    with open(page.with_name("modules.csv"), encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["handed_in"], row["graded"], float(row["mean_share"])) == ("3", "3", 0.5)
    with open(page.with_name("misconceptions.csv"), encoding="utf-8") as file:
        assert {row["behaves like one that"] for row in csv.DictReader(file)} == {"divides by n"}
    put(folder, "ben", answer("passed"), "2026-01-11 12:00:00 UTC")
    put(folder, "dee", answer("partial"))
    grade()
    assert lsml()[0] == 0 and f"{MODULE}: 1 newly graded, 1 with more points" in page.read_text()
    assert read(folder).modules == [MODULE]


def test_no_cell_of_a_table_is_a_formula(folder):
    status = a_class(12)
    figures = analysis.modules(status, folder)
    table = overview.tables(figures, analysis.talks(status, figures))["misconceptions.csv"]
    assert ",'=forgets to divide" in table
