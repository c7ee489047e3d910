"""What late work loses, as nbgrader's AssignLatePenalties works it out, for a whole class at once."""

import datetime
from collections.abc import Callable, Iterable

from nbgrader.api import Assignment, Grade, Gradebook, SubmittedAssignment, SubmittedNotebook
from sqlalchemy import func
from traitlets import TraitError

from autograder.classroom.folder import ClassFolder
from autograder.errors import UserError

Penalty = Callable[[str, float, float], float | None]  # (student, score, seconds late) -> points to take off


def configured(folder: ClassFolder) -> Penalty:
    """The late penalty that nbgrader's configuration asks for. UserError where it asks for none that there is."""
    from nbgrader.preprocessors import AssignLatePenalties

    step = AssignLatePenalties(parent=folder.app)
    try:
        step.init_plugin()
    except (TraitError, ImportError, AttributeError) as error:
        raise UserError(f"{folder.path / 'nbgrader_config.py'}: the late penalty cannot be used: {error}") from None
    return step.plugin_inst.late_submission_penalty


def late_penalty(penalty: Penalty, student: str, points: float, late: float) -> float | None:
    """The points that `late` seconds cost: None in time, else between 0 and all the points."""
    if late <= 0:
        return None
    taken = penalty(student, points, late)
    return None if taken is None else min(max(taken, 0), points)


def seconds_late(due: datetime.datetime | None, submission: SubmittedAssignment) -> float:
    """How long after the due date, or after its student's own, a submission came."""
    if submission.timestamp is None or due is None:
        return 0.0
    return (submission.timestamp - due - (submission.extension or datetime.timedelta())).total_seconds()


def renew(folder: ClassFolder, book: Gradebook, modules: Iterable[str]) -> None:
    """Work out the late penalties of all that is graded again: a due date or the configuration may have changed."""
    penalty = configured(folder)
    rows = (
        book.db.query(SubmittedAssignment, SubmittedNotebook, Assignment.duedate)
        .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
        .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        .filter(Assignment.name.in_(list(modules)))
    )
    for submission, notebook, due in rows.all():
        late, taken = seconds_late(due, submission), None
        if late > 0:
            points = book.db.query(func.sum(Grade.score)).filter(Grade.notebook_id == notebook.id).scalar() or 0.0
            taken = late_penalty(penalty, submission.student_id, points, late)
        if taken != notebook.late_submission_penalty:
            notebook.late_submission_penalty = taken
    book.db.commit()
