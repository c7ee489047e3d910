"""Puts Reports into nbgrader's gradebook, many in one transaction.

nbgrader's own steps (SaveAutoGrades and the rest) open the database once for each step of each notebook and commit
after every cell. The same rows are written here through nbgrader's own model classes, with one query for a batch and
one commit. Scores come from the Report alone, never from what a cell printed.
"""

import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nbgrader.api import (
    Assignment,
    Comment,
    Grade,
    Gradebook,
    GradeCell,
    Notebook,
    SolutionCell,
    Student,
    SubmittedAssignment,
    SubmittedNotebook,
    TaskCell,
    new_uuid,
)

from autograder.classroom.penalties import Penalty, late_penalty, seconds_late
from autograder.classroom.present import MARKS
from autograder.errors import UserError
from autograder.grading.report import ExerciseResult, Report

CHUNK = 200  # ids in one IN (...); SQLite takes at most 999 before version 3.32


@dataclass(frozen=True)
class Entry:
    """One student's graded submission, as it enters the gradebook.

    `answered` holds the written questions with an answer. `changed` is true where something else was recorded before:
    then a score that a person has entered is kept and marked for another look, as nbgrader does.
    """

    student: str
    report: Report
    timestamp: datetime.datetime | None
    answered: frozenset[str] = frozenset()
    changed: bool = False
    extension: datetime.timedelta | None = None


def write(book: Gradebook, module: str, entries: Sequence[Entry], penalty: Penalty | None = None) -> dict[str, str]:
    """Write a batch in one transaction; all of it or, where an exception leaves here, nothing.

    Returns nbgrader's id of each student's submission. `penalty`: where given, late penalties are worked out too.
    """
    session = book.db
    try:
        notebook = find_notebook(book, module)
        cells = {cell.id: cell for cell in notebook.grade_cells + notebook.solution_cells + notebook.task_cells}
        submissions = _submissions(session, notebook, cells, [entry.student for entry in entries])
        for entry in entries:
            submission, submitted, grades, comments = submissions[entry.student]
            submission.timestamp = entry.timestamp
            if entry.extension is not None:
                submission.extension = entry.extension
            results = {result.id: result for result in entry.report.exercises}
            for grade in grades:
                _grade(grade, cells[grade.cell_id], results, entry)
            for comment in comments:
                cell = cells[comment.cell_id]
                result = results.get(cell.name)
                unanswered = isinstance(cell, SolutionCell) and result is None and cell.name not in entry.answered
                comment.auto_comment = "No response." if unanswered else auto_comment(result)
            if penalty is not None:
                submitted.late_submission_penalty = late_penalty(
                    penalty, entry.student, score(grades), seconds_late(notebook.assignment.duedate, submission)
                )
        ids = {student: found[0].id for student, found in submissions.items()}
        session.commit()
    except BaseException:
        session.rollback()
        raise
    return ids


def find_notebook(book: Gradebook, module: str) -> Notebook:
    """The released notebook of a module in the gradebook; UserError where it was never released."""
    found = (
        book.db.query(Notebook)
        .join(Assignment, Assignment.id == Notebook.assignment_id)
        .filter(Assignment.name == module, Notebook.name == module)
        .one_or_none()
    )
    if found is None:
        raise UserError(f"{module} was never released in this class; run `lsml release {module}` first")
    return found


def submission_ids(book: Gradebook, module: str) -> dict[str, str]:
    """nbgrader's id of every submission of a module, by student."""
    query = book.db.query(SubmittedAssignment.student_id, SubmittedAssignment.id)
    return {row[0]: row[1] for row in query.join(Assignment).filter(Assignment.name == module)}


def score(grades: Iterable[Grade]) -> float:
    """What nbgrader counts: a person's score before the grader's, and extra credit on top."""
    return sum(
        (grade.manual_score if grade.manual_score is not None else grade.auto_score) + (grade.extra_credit or 0.0)
        for grade in grades
        if grade.manual_score is not None or grade.auto_score is not None
    )


def _grade(grade: Grade, cell: GradeCell, results: Mapping[str, ExerciseResult], entry: Entry) -> None:
    result = results.get(cell.name.removeprefix("check_")) if cell.name.startswith("check_") else None
    if result is not None:
        auto = result.score
        if auto is not None:
            if not math.isfinite(auto):
                raise ValueError(f"{entry.student}: the score of {result.id} is {auto}")
            auto = min(max(float(auto), 0.0), float(cell.max_score))
    elif entry.report.exercises and cell.cell_type == "markdown" and cell.name not in entry.answered:
        auto = 0.0  # a question left as it was released, as nbgrader does
    else:
        auto = None  # a person's to give: a written answer, or something that the grader could not judge
    grade.auto_score = auto
    if grade.manual_score is None:
        grade.needs_manual_grade = auto is None
    elif entry.changed:
        grade.needs_manual_grade = True


def auto_comment(result: ExerciseResult | None) -> str | None:
    """What formgrader shows beside the answer, until a person writes something else there."""
    if result is None or result.verdict == "passed":
        return None
    if result.verdict == "unanswered":
        return "No response."
    lines = [result.message or result.verdict]
    for test in result.tests:
        if not test.passed:
            lines.append(f"{MARKS[False]} {test.message.splitlines()[0] if test.message else test.name}")
            if test.misconception:
                lines.append(f"It behaves like one that {test.misconception}.")
    return "\n".join(lines)[:4000]


def _submissions(
    session, notebook: Notebook, cells: Mapping[str, GradeCell | SolutionCell | TaskCell], students: Sequence[str]
) -> dict[str, tuple[SubmittedAssignment, SubmittedNotebook, list[Grade], list[Comment]]]:
    """The gradebook's rows of these students, made where they are missing."""
    assignment = notebook.assignment
    known = {row.id for row in _among(session.query(Student), Student.id, students)}
    session.add_all(Student(id=student) for student in dict.fromkeys(students) if student not in known)
    query = session.query(SubmittedAssignment).filter(SubmittedAssignment.assignment_id == assignment.id)
    found = {row.student_id: row for row in _among(query, SubmittedAssignment.student_id, students)}
    query = session.query(SubmittedNotebook).filter(SubmittedNotebook.notebook_id == notebook.id)
    submitted = {
        row.assignment_id: row
        for row in _among(query, SubmittedNotebook.assignment_id, [row.id for row in found.values()])
    }
    ids = [row.id for row in submitted.values()]
    grades: dict[str, list[Grade]] = {key: [] for key in ids}
    comments: dict[str, list[Comment]] = {key: [] for key in ids}
    for row in _among(session.query(Grade), Grade.notebook_id, ids):
        grades[row.notebook_id].append(row)
    for row in _among(session.query(Comment), Comment.notebook_id, ids):
        comments[row.notebook_id].append(row)

    rows = {}
    for student in students:
        submission = found.get(student)
        if submission is None:
            submission = SubmittedAssignment(id=new_uuid(), assignment_id=assignment.id, student_id=student)
            session.add(submission)
        mine = submitted.get(submission.id)
        if mine is None:
            mine = SubmittedNotebook(id=new_uuid(), notebook_id=notebook.id, assignment_id=submission.id)
            session.add(mine)
        own_grades, own_comments = grades.get(mine.id, []), comments.get(mine.id, [])
        # A cell may have been released after the submission was first recorded.
        graded = {grade.cell_id for grade in own_grades}
        commented = {comment.cell_id for comment in own_comments}
        for cell_id, cell in cells.items():
            if isinstance(cell, GradeCell | TaskCell) and cell_id not in graded:
                own_grades.append(Grade(id=new_uuid(), cell_id=cell_id, notebook_id=mine.id))
                session.add(own_grades[-1])
            if isinstance(cell, SolutionCell | TaskCell) and cell_id not in commented:
                own_comments.append(Comment(id=new_uuid(), cell_id=cell_id, notebook_id=mine.id))
                session.add(own_comments[-1])
        rows[student] = submission, mine, own_grades, own_comments
    return rows


def _among(query, column, values: Sequence[str]) -> Iterable:
    for start in range(0, len(values), CHUNK):
        yield from query.filter(column.in_(values[start : start + CHUNK]))
