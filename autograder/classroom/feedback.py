"""The page a student gets back, as nbgrader's generate_feedback makes it with this exporter.

It is one file without scripts, fonts or pictures from elsewhere, so it opens anywhere and does nothing but show.
What it says comes from the Report in the autograded notebook and from the gradebook: verdicts, sentences, hints, the
student's own exception and code. Inputs and expected values are in neither.
"""

import datetime
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from nbconvert.exporters.exporter import Exporter
from nbgrader.api import (
    Assignment,
    BaseCell,
    Gradebook,
    GradeCell,
    Notebook,
    SolutionCell,
    SubmittedAssignment,
    SubmittedNotebook,
    TaskCell,
)
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import temp_attrs

from autograder import apart
from autograder.apart import TooCostly
from autograder.classroom import formulas, highlighting, marks, present
from autograder.classroom.folder import ClassFolder
from autograder.classroom.record import auto_comment
from autograder.classroom.release import why
from autograder.errors import UserError
from autograder.grading.report import Report

HEADLINES = {
    "passed": "passed",
    "partial": "partly right",
    "failed": "not right yet",
    "error": "raised an exception",
    "timeout": "ran out of time",
    "memory": "ran out of memory",
    "crashed": "ended its process",
    "unanswered": "not answered",
    "untested": "not tested here",
    "grader_fault": "waits for a person",
    "running": "is being tested",  # on the page of one's own work only
}
EXCHANGED = ("timestamp.txt", "submission_secret.txt")  # what nbgrader's submit leaves beside a notebook
ICONS = {"passed": "✓", "partial": "◐", "unanswered": "–", "untested": "–", "grader_fault": "…", "running": "…"}


def generate(folder: ClassFolder, module: str, student: str | None = None) -> list[Path]:
    """Write the pages of a module, or of one student, through nbgrader's generate_feedback; their paths."""
    graded = folder.graded(module)
    if student is not None and student not in graded:
        raise UserError(f"{student!r} has no graded {module}; run `lsml autograde` first")
    if not graded:
        raise UserError(f"{module} is not graded yet; run `lsml autograde {module}` first")
    result = folder.api.generate_feedback(module, student_id=student, force=True)
    pages = [folder.path / "feedback" / one / module / f"{module}.html" for one in ([student] if student else graded)]
    missing = [page for page in pages if not page.exists()]
    if missing or not result["success"]:
        raise UserError(f"{len(missing)} of {len(pages)} pages of {module} were not written: {why(result)}")
    return pages


def release_feedback(folder: ClassFolder, module: str, student: str | None = None) -> list[str]:
    """Put written pages into nbgrader's exchange; a line on those that cannot go there.

    A student fetches feedback by a secret that came with their submission; who came by another way has none.
    UserError where no page can be released.
    """
    pages = {path.parents[1].name: path for path in (folder.path / "feedback").glob(f"*/{module}/{module}.html")}
    asked = {student} if student else set(pages)
    fetching = {one for one in asked if all((pages[one].parent / name).is_file() for name in EXCHANGED)}
    others = sorted(asked - fetching)
    if not fetching:
        raise UserError(f"no page of {module} was put into the exchange: {', '.join(others)} came by another way")
    with temp_attrs(folder.app.coursedir, student_id_exclude=",".join(sorted(set(pages) - fetching))):
        result = folder.api.release_feedback(module, student)
    if not result["success"]:
        raise UserError(f"the feedback of {module} was not put into the exchange: {why(result)}")
    return [f"not in the exchange, because they came by another way: {', '.join(others)}"] if others else []


class ReadGrades(NbGraderPreprocessor):
    """What the gradebook says of one notebook, with one query where nbgrader's GetGrades has one for each cell."""

    def preprocess(self, nb, resources):
        where = resources["nbgrader"]
        with Gradebook(where["db_url"], self.parent.parent.coursedir.course_id) as book:
            submission, notebook = (
                book.db.query(SubmittedAssignment, SubmittedNotebook)
                .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
                .join(Notebook, Notebook.id == SubmittedNotebook.notebook_id)
                .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
                .filter(
                    Assignment.name == where["assignment"],
                    Notebook.name == where["notebook"],
                    SubmittedAssignment.student_id == where["student"],
                )
                .one()
            )
            names = {
                cell.id: cell.name
                for kind in (GradeCell, SolutionCell, TaskCell)
                for cell in book.db.query(kind).filter(BaseCell.notebook_id == notebook.notebook_id)
            }
            where["grades"] = {
                names[grade.cell_id]: {
                    "score": None if grade.auto_score is None and grade.manual_score is None else grade.score,
                    "manual": grade.manual_score is not None,
                    "extra": grade.extra_credit or 0.0,
                    "needs": grade.needs_manual_grade,
                }
                for grade in notebook.grades
            }
            where["comments"] = {
                names[comment.cell_id]: (comment.manual_comment or "") for comment in notebook.comments
            }
            where["penalty"] = notebook.late_submission_penalty or 0.0
            where["seconds_late"] = submission.total_seconds_late
            where["timestamp"] = submission.timestamp
            student = submission.student
            where["name"] = " ".join(filter(None, (student.first_name, student.last_name)))
        return nb, resources


class FeedbackExporter(Exporter):
    """Renders an autograded notebook as the page that its student gets."""

    file_extension = ".html"
    output_mimetype = "text/html"

    def from_notebook_node(self, nb, resources=None, **options):
        nb, resources = super().from_notebook_node(nb, resources, **options)
        return page(nb, resources["nbgrader"]), resources


def page(notebook: Mapping[str, Any], where: Mapping[str, Any]) -> str:
    """The feedback page. `where` is what ReadGrades found, besides nbgrader's names of student and assignment."""
    return _template().render(**context(notebook, where))


def context(notebook: Mapping[str, Any], where: Mapping[str, Any]) -> dict[str, Any]:
    """What the page's template shows."""
    report = Report.from_dict(notebook["metadata"]["lsml"]["report"])
    cells = notebook["cells"]
    code = _sources(cells)
    hints = _hints(cells)
    grades, comments = where["grades"], where["comments"]
    exercises = [
        _exercise(result, grades.get(f"check_{result.id}"), comments.get(result.id, ""), code, hints)
        for result in report.exercises
    ]
    written = [
        _written(cell, grades, comments, where["assignment"])
        for cell in cells
        if cell["metadata"].get("lsml", {}).get("role") == "written"
    ]
    points = sum(cell["metadata"]["nbgrader"].get("points", 0) for cell in cells if _graded(cell))
    score = sum(grade["score"] for grade in grades.values() if grade["score"] is not None) - where["penalty"]
    return {
        "title": _title(cells) or where["assignment"],
        "module": where["assignment"],
        "student": where["name"] or where["student"],
        "handed_in": where["timestamp"],
        "late": str(datetime.timedelta(seconds=int(where["seconds_late"]))) if where["seconds_late"] else "",
        "penalty": where["penalty"],
        "score": score,
        "points": points,
        "share": min(100, max(0, round(100 * score / points))) if points else 0,
        "waiting": any(grade["score"] is None or grade["needs"] for grade in grades.values()),
        "passed": sum(exercise["verdict"] == "passed" for exercise in exercises),
        "exercises": exercises,
        "written": written,
        # Where the grader failed, its notes are for the person who looks into it.
        "notes": () if report.status == "grader_fault" else report.notes,
        "graded": report.status == "graded",
        "code_style": Markup(highlighting.style()),
        "dark_code_style": Markup(highlighting.style("github-dark")),
    }


def _exercise(result, grade, comment: str, code: Mapping[str, str], hints: Mapping[str, str]) -> dict[str, Any]:
    failed = [test for test in result.tests if not test.passed]
    # Several tests may send the reader to one hint; once is enough.
    said: set[str] = set()
    tests = [_test(test, said) for test in sorted(result.tests, key=lambda test: test.passed)]
    score = grade["score"] if grade else result.score
    return {
        "name": result.id,
        "verdict": result.verdict,
        "headline": HEADLINES.get(result.verdict, result.verdict),
        "icon": ICONS.get(result.verdict, "✗"),
        "score": result.score if result.extra else score,
        "points": result.points,
        "extra": result.extra,
        "by_hand": bool(grade and grade["manual"]),
        "message": result.message,
        "tests": tests,
        "hints": hints[result.id] if failed and result.id in hints else "",
        "comment": _markdown(comment) if comment != auto_comment(result) else "",
        "code": _rendered(highlighting.code, code[result.id]) if result.id in code else "",
        "open": result.verdict not in ("passed", "unanswered", "untested"),
    }


def _test(test, said: set[str | None]) -> dict[str, Any]:
    """One test as the page shows it. What an earlier one has said already (an exception, a hint) is not repeated."""
    sentence, _, detail = test.message.partition("\n")
    shown = {"detail": detail.strip("\n"), "misconception": test.misconception, "hint": test.hint}
    fresh = {key: None if value in said else value for key, value in shown.items()}
    said.update(shown.values())
    return {"passed": test.passed, "sentence": sentence, **fresh}


def _written(cell, grades, comments, module: str) -> dict[str, Any]:
    name = cell["metadata"]["lsml"]["name"]
    grade = grades.get(name, {"score": None, "manual": False, "needs": True, "extra": 0.0})
    comment = comments.get(name, "")
    lines = marks.rubric(module, name)
    given = marks.read(comment, lines)
    # A rubric is seen after grading only, and the marks of an earlier text are none of this one.
    shown = given is not None and given.points is not None and grade["manual"] and not grade["needs"]
    return {
        "name": name,
        "answered": bool(cell["metadata"]["lsml"].get("answered")),
        "answer": _markdown(cell["source"]),
        "score": None if grade["needs"] and not grade["manual"] else grade["score"],
        "read": grade["score"] is not None and not grade["needs"],
        "points": cell["metadata"]["nbgrader"]["points"],
        "comment": _markdown(comment if given is None else given.comment),
        "rubric": [
            {"text": _markdown(line.text), "got": got, "of": line.points}
            for line, got in zip(lines, given.points, strict=True)
        ]
        if shown
        else [],
        "sum": given.total if shown else None,
        "extra": grade["extra"],
    }


def _graded(cell: Mapping[str, Any]) -> bool:
    return bool(cell["metadata"].get("nbgrader", {}).get("grade"))


def _sources(cells) -> dict[str, str]:
    roles = [(cell["metadata"].get("lsml", {}), cell) for cell in cells]
    return {lsml["name"]: cell["source"] for lsml, cell in roles if lsml.get("role") == "exercise"}


def _hints(cells) -> dict[str, str]:
    roles = [(cell["metadata"].get("lsml", {}), cell) for cell in cells]
    return {lsml["name"]: _markdown(cell["source"]) for lsml, cell in roles if lsml.get("role") == "hints"}


def _markdown(source: str) -> Markup:
    return _rendered(formulas.html, source) if source.strip() else Markup("")


def _title(cells) -> str:
    lines = (line for cell in cells if cell["cell_type"] == "markdown" for line in cell["source"].splitlines())
    return next((line[2:].strip() for line in lines if line.startswith("# ")), "")


def _rendered(render: Callable[[str], str], text: str) -> Markup:
    """A student's text as HTML, or as it stands where that takes too long."""
    try:
        return Markup(apart.call(render, text))
    except TooCostly:
        return Markup("<pre>{}</pre>").format(text[: present.LONGEST])


@lru_cache(maxsize=1)
def _template():
    return environment(PackageLoader("autograder.classroom")).get_template("feedback.html.j2")


def environment(loader: BaseLoader) -> Environment:
    """What the page's template is rendered in, and templates that extend it."""
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["points"] = lambda value: f"{round(value, 2):g}"
    return made
