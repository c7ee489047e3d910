"""A class folder made once and copied for each test, and an engine whose Reports cost nothing.

The fake engine's verdicts depend on the notebook alone, so tests of the class's bookkeeping need no sandbox. What the
real grader says is tested in tests/grading, and with nbgrader in test_end_to_end.py.
"""

import copy
import functools
import shutil
from collections import deque
from pathlib import Path

import nbformat
import pytest

from autograder import curriculum
from autograder.authoring.release import released_notebook
from autograder.classroom.autograde import autograde, plan
from autograder.classroom.folder import ClassFolder
from autograder.classroom.release import release
from autograder.grading import reading
from autograder.grading.report import ExerciseResult, Report, TestResult

MODULE = "01_gradient_descent"


def fake_report(job) -> Report:
    """An exercise passes where its cell says so in a comment, and is unanswered where it says nothing.

    A pure function of the notebook, like the real grader, and importable by Dask workers.
    """
    module = curriculum.load(job.module)
    try:
        cells = {cell.id: cell.source for cell in reading.parse(job.content).cells}
    except reading.Unreadable as refusal:
        return Report("x.ipynb", job.module, "unreadable", 0.0, module.max_score, 0.01, (), (str(refusal),))
    results = []
    for exercise in module.exercises:
        source = cells.get(exercise.name, "")
        verdict = next((word for word in ("passed", "partial", "failed", "grader_fault") if word in source), None)
        share = {"passed": 1.0, "partial": 0.5, "grader_fault": None}.get(verdict, 0.0)
        tests = ()
        if verdict in ("partial", "failed"):
            misconception = "divides by n" if "misconception" in source else None
            tests = (
                TestResult("test_a", False, "The property holds.\ncell [3], line 2", misconception, "Read hint 1."),
            )
        results.append(
            ExerciseResult(
                exercise.name,
                verdict or "unanswered",
                None if share is None else share * exercise.points,
                exercise.points,
                exercise.extra,
                tests,
            )
        )
    faulty = any(result.score is None for result in results)
    score = None if faulty else sum(result.score for result in results if not result.extra)
    status = "grader_fault" if faulty else "graded"
    return Report("x.ipynb", job.module, status, score, module.max_score, 0.01, tuple(results), ())


class FakeEngine:
    """Counts what it is asked for, and what it holds at once."""

    workers = 1

    def __init__(self, window: int = 4, stop_after: int | None = None):
        self.window, self.stop_after = window, stop_after
        self.graded: list[str] = []
        self.jobs = []
        self.most = 0
        self._jobs = deque()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        pass

    @property
    def busy(self):
        return len(self._jobs)

    def submit(self, job):
        self.jobs.append(job)
        self._jobs.append(job)
        self.most = max(self.most, len(self._jobs))

    def next(self):
        if self.stop_after is not None and len(self.graded) >= self.stop_after:
            raise KeyboardInterrupt
        job = self._jobs.popleft()
        self.graded.append(job.key)
        return job.key, fake_report(job)


@pytest.fixture(scope="session")
def released() -> nbformat.NotebookNode:
    """The released notebook of module 01."""
    return released_notebook(curriculum.load(MODULE))


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Path:
    """A class folder with module 01 released."""
    folder = ClassFolder.new(tmp_path_factory.mktemp("template") / "class")
    release(folder, MODULE)
    return folder.path


@pytest.fixture
def folder(template, tmp_path) -> ClassFolder:
    """A fresh copy of it."""
    shutil.copytree(template, tmp_path / "class")
    return ClassFolder(tmp_path / "class")


@pytest.fixture(scope="session")
def answer(released):
    """Make a notebook with these answers: `answer(mse_loss="passed")` or `answer("passed")` for all of them."""

    def make(all_of_them: str | None = None, written: str | None = None, **answers: str) -> nbformat.NotebookNode:
        notebook = copy.deepcopy(released)
        for cell in notebook.cells:
            role, name = cell.metadata.lsml.role, cell.metadata.lsml.name
            if role == "exercise" and (name in answers or all_of_them):
                cell.source = f"# {answers.get(name, all_of_them)}\n{name} = None"
            elif role == "written" and written is not None:
                cell.source = written
        return notebook

    return make


def put(folder: ClassFolder, student: str, notebook, stamp: str | None = "2026-01-10 12:00:00 UTC") -> Path:
    """Put a notebook, or any bytes, into a class's submitted/."""
    path = folder.submission(student, MODULE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(notebook if isinstance(notebook, bytes) else (nbformat.writes(notebook) + "\n").encode())
    if stamp:
        (path.parent / "timestamp.txt").write_text(stamp)
    return path


@pytest.fixture
def hand_in(folder):
    """`put` into this test's class."""
    return functools.partial(put, folder)


@pytest.fixture
def grade(folder):
    """Grade everything with a fake engine, which is returned with the summary."""

    def run(engine: FakeEngine | None = None, students=None, **options):
        engine = engine or FakeEngine()
        with folder.lock():
            return autograde(folder, plan(folder, [MODULE], students), engine, **options), engine

    return run


@pytest.fixture
def scores(folder):
    """What the gradebook says: {student: {cell: (auto, manual, needs a person)}}."""

    def read() -> dict[str, dict[str, tuple]]:
        with folder.gradebook() as book:
            return {
                submission.student.id: {
                    grade.name: (grade.auto_score, grade.manual_score, grade.needs_manual_grade)
                    for notebook in submission.notebooks
                    for grade in notebook.grades
                }
                for submission in book.assignment_submissions(MODULE)
            }

    return read
