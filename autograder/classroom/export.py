"""Gradebook exports as learning platforms import them, as nbgrader export plugins.

`lsml export` uses them, and so does `nbgrader export --exporter=autograder.classroom.export.CanvasExport`.
A score that is not final (the grader failed, an answer waits for its reader, something else was handed in since) is
left blank.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from nbgrader.api import Assignment, Grade, Student, SubmittedAssignment, SubmittedNotebook
from nbgrader.plugins import ExportPlugin
from sqlalchemy import func, or_
from traitlets import Dict, Int, List, Set

from autograder.files import write_atomically


@dataclass(frozen=True)
class Score:
    """What a submission has come to; `final` once nothing of it waits for a score."""

    points: float
    final: bool


def all_scores(book, modules: list[str] | None = None) -> tuple[list[Assignment], dict[tuple[str, str], Score]]:
    """The assignments, and each score by (student, assignment), late penalties taken off."""
    query = book.db.query(Assignment).order_by(Assignment.name)
    assignments = [found for found in query if not modules or found.name in modules]
    # One row a submission, whatever the size of the class.
    unfinished = (
        book.db.query(SubmittedNotebook.assignment_id)
        .join(Grade, Grade.notebook_id == SubmittedNotebook.id)
        .filter(or_(Grade.needs_manual_grade, Grade.auto_score.is_(None) & Grade.manual_score.is_(None)))
        .distinct()
    )
    waiting = {row[0] for row in unfinished}
    rows = (
        book.db.query(SubmittedAssignment.id, SubmittedAssignment.student_id, Assignment.name, func.sum(Grade.score))
        .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
        .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        .join(Grade, Grade.notebook_id == SubmittedNotebook.id)
        .group_by(SubmittedAssignment.id, SubmittedAssignment.student_id, Assignment.name)
    )
    taken = book.db.query(
        SubmittedNotebook.assignment_id, func.sum(SubmittedNotebook.late_submission_penalty)
    ).group_by(SubmittedNotebook.assignment_id)
    penalties = {submission: penalty or 0.0 for submission, penalty in taken}
    names = {assignment.name for assignment in assignments}
    scores = {
        (student, name): Score(max(0.0, score - penalties.get(submission, 0.0)), submission not in waiting)
        for submission, student, name, score in rows
        if name in names
    }
    return assignments, scores


class _TableExport(ExportPlugin):
    """What the exports have in common: a CSV file, written whole or not at all."""

    waiting = Int(0, help="How many scores the last export left blank, because they are not final.")
    ungraded = Set(help="(student, assignment) of what was handed in and is not graded: blank too.")
    canvas_ids = Dict(help="Canvas's own number of each assignment.").tag(config=True)
    unnumbered = List(help="The assignments of the last export for Canvas that have none.")

    def export(self, gradebook) -> None:
        modules = [str(item) for item in self.assignment] or None
        assignments, scores = all_scores(gradebook, modules)
        for where in self.ungraded:
            if where in scores:
                scores[where] = replace(scores[where], final=False)
        self.waiting = sum(not score.final for score in scores.values())
        students = gradebook.db.query(Student).order_by(Student.last_name, Student.first_name, Student.id)
        wanted = {str(item) for item in self.student}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        people = (student for student in students if not wanted or student.id in wanted)
        writer.writerows(self.rows(people, assignments, scores))
        write_atomically(Path(self.to or self.default_name), text.getvalue())

    def rows(self, students, assignments, scores) -> Iterator[list]:
        """The rows of the file, its heading first."""
        raise NotImplementedError

    @staticmethod
    def score(scores, student, assignment) -> str:
        """A score as it is written; empty where there is none."""
        found = scores.get((student.id, assignment.name))
        return f"{round(found.points, 4):g}" if found is not None and found.final else ""


def harmless(text: str | None) -> str:
    """A field that no spreadsheet takes for a formula. A student's own name may begin with one."""
    text = text or ""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


class CanvasExport(_TableExport):
    """The columns of Canvas's own gradebook export, which is what its import reads."""

    default_name = "canvas.csv"

    def rows(self, students, assignments, scores):
        numbers = {one.name: self.canvas_ids.get(one.name) for one in assignments}
        self.unnumbered = [name for name, number in numbers.items() if number is None]
        # Canvas knows an assignment by the number behind its name, and makes a new one where there is none.
        names = [name if number is None else f"{name} ({number})" for name, number in numbers.items()]
        yield ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *names]
        yield ["    Points Possible", "", "", "", "", *(f"{assignment.max_score:g}" for assignment in assignments)]
        for student in students:
            name = ", ".join(filter(None, (student.last_name, student.first_name))) or student.id
            yield [
                harmless(name),
                harmless(student.lms_user_id),
                "",
                student.id,
                "",
                *(self.score(scores, student, assignment) for assignment in assignments),
            ]


class MoodleExport(_TableExport):
    """One line a student, known to Moodle by username or e-mail address, one column a module."""

    default_name = "moodle.csv"

    def rows(self, students, assignments, scores):
        names = [assignment.name for assignment in assignments]
        yield ["Username", "First name", "Last name", "Email address", *names]
        for student in students:
            yield [
                student.id,
                harmless(student.first_name),
                harmless(student.last_name),
                harmless(student.email),
                *(self.score(scores, student, assignment) for assignment in assignments),
            ]


FORMATS = {"canvas": CanvasExport, "moodle": MoodleExport}
