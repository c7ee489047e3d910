"""The points that a person gives for each line of a rubric, and their sum as the score.

A person types them into formgrader's comment box: the first line holds one mark for each line of the rubric, in its
order, as `1 0.5 0` or `x x -`; below it stands the comment for the student. When formgrader saves such a comment, the
sum of its marks becomes the manual score of that answer, in the same transaction. So nothing is typed twice, nbgrader
keeps the marks with the comment, and a regrade loses neither.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from nbgrader.api import BaseCell, Comment, Grade, Gradebook, Notebook, SubmittedAssignment, SubmittedNotebook
from sqlalchemy import event, inspect
from sqlalchemy.orm import Session, aliased
from sqlalchemy.orm.attributes import History

from autograder import curriculum
from autograder.curriculum import RubricLine
from autograder.errors import UserError

ALL, NONE = ("x", "X", "✓"), ("-", "–")
_NUMBER = re.compile(r"[0-9]{1,6}(?:[.,][0-9]{0,6})?|[.,][0-9]{1,6}")
_LIKE_A_MARK = re.compile(r"[xX✓–-]|[-–+]?[0-9.,]*[0-9][0-9.,]*")

# The scores that marks took the place of in this process, by the grade's id, until a score is saved: what the score box
# of a page may still show.
_replaced: dict[str, set[float]] = {}


@dataclass(frozen=True)
class Marks:
    """What a comment says of a rubric. `points`: one number a line, or None where `problem` says what is wrong."""

    points: tuple[float, ...] | None
    problem: str
    comment: str  # for the student: what stands below the marks; all of it where words stand among them

    @property
    def total(self) -> float | None:
        """The sum of the points; None where there is a problem."""
        return None if self.points is None else round(math.fsum(self.points), 6)


@dataclass(frozen=True)
class Disagreement:
    """An answer whose marks are not its score, or cannot be read."""

    student: str
    module: str
    question: str
    what: str


def rubric(module: str, question: str) -> tuple[RubricLine, ...]:
    """The rubric of a written question as it is authored now; empty where there is none that can be read."""
    try:
        return curriculum.load(module).question(question).rubric
    except (UserError, KeyError):  # a module that is being written, or an assignment that is none of ours
        return ()


def read(comment: str | None, lines: Sequence[RubricLine]) -> Marks | None:
    """The marks at the head of a comment; None where it has none, as a comment of words alone."""
    first, _, rest = (comment or "").strip().partition("\n")
    words = first.split()
    like = [bool(_LIKE_A_MARK.fullmatch(word)) for word in words]
    if not lines or not words or not (all(like) or all(like[: min(2, len(like))])):
        return None
    if not all(like):
        problem = f"{words[like.index(False)][:20]!r} is no mark: words go on the line below the marks"
        return Marks(None, problem, (comment or "").strip())
    try:
        if len(words) != len(lines):
            raise ValueError(f"{len(words)} mark{'s' * (len(words) > 1)} for a rubric of {len(lines)} lines")
        return Marks(tuple(map(_mark, words, lines)), "", rest.strip())
    except ValueError as error:
        return Marks(None, str(error), rest.strip())


def _mark(word: str, line: RubricLine) -> float:
    if word in ALL:
        return line.points
    if word in NONE:
        return 0.0
    if not _NUMBER.fullmatch(word.rstrip(",")):
        raise ValueError(f"{word[:20]!r} is no mark: write a number, x for all points or - for none")
    points = float(word.rstrip(",").replace(",", "."))
    if points > line.points:
        raise ValueError(f"{word[:20]} is more than the {line.points:g} of its line")
    return points


def follow() -> None:
    """From now on, in this process, whatever saves a comment with marks saves their sum as the score."""
    if not event.contains(Session, "before_flush", _before_flush):
        event.listen(Session, "before_flush", _before_flush)


def _before_flush(session, context, instances) -> None:
    for changed in list(session.dirty):
        if isinstance(changed, Comment) and (history := _changed(changed, "manual_comment")):
            _remarked(changed, history.deleted[0] if history.deleted else None)
        elif isinstance(changed, Grade) and _changed(changed, "manual_score"):
            _scored(changed)


def _changed(row, column: str) -> History | None:
    history = inspect(row).attrs[column].history
    return history if history.has_changes() else None


def _remarked(comment: Comment, before: str | None) -> None:
    """A person has changed a comment: where its marks changed, the score follows."""
    grade = next((grade for grade in comment.notebook.grades if grade.name == comment.name), None)
    if grade is None:
        return
    lines = rubric(comment.notebook.name, comment.name)
    old, new = read(before, lines), read(comment.manual_comment, lines)
    if (old and old.points) == (new and new.points):
        return
    if new is not None and new.points is not None:
        if grade.manual_score is not None:
            _replaced.setdefault(grade.id, set()).add(grade.manual_score)
        _enter(grade, new)
    elif old is not None and _same(grade.manual_score, old.total):  # the score was the sum of marks that are gone
        grade.manual_score = None
        grade.needs_manual_grade = grade.auto_score is None


def _scored(grade: Grade) -> None:
    """A person has saved a score: where the score box was of before the marks, the marks hold.

    formgrader's page learns of their sum when it is loaded again. Until then its box is empty or holds the score that
    they replaced, and is sent so with the extra credit and by "Resolve". The answer to that puts the sum into the box,
    so who really wants the score of before types it again.
    """
    if grade.manual_score in {None, *_replaced.pop(grade.id, ())}:
        _enter(grade, _read(grade.notebook, grade.name))


def _enter(grade: Grade, marks: Marks | None) -> None:
    if marks is not None and marks.total is not None and marks.total <= grade.max_score:
        grade.manual_score = marks.total
        grade.needs_manual_grade = False


def _read(notebook: SubmittedNotebook, question: str) -> Marks | None:
    comment = next((comment for comment in notebook.comments if comment.name == question), None)
    return read(comment.manual_comment, rubric(notebook.name, question)) if comment is not None else None


def _same(score: float | None, total: float | None) -> bool:
    return score is not None and total is not None and math.isclose(score, total, abs_tol=1e-6)


def disagreements(book: Gradebook, modules: Sequence[str] | None = None) -> list[Disagreement]:
    """Where a score and the marks beside it differ, or marks cannot be read. `modules`: of these only."""
    commented, graded = aliased(BaseCell), aliased(BaseCell)
    rows = (
        book.db.query(
            SubmittedAssignment.student_id, Notebook.name, commented.name, Comment.manual_comment, Grade.manual_score
        )
        .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        .join(Notebook, Notebook.id == SubmittedNotebook.notebook_id)
        .join(Comment, Comment.notebook_id == SubmittedNotebook.id)
        .join(commented, commented.id == Comment.cell_id)
        .join(Grade, Grade.notebook_id == SubmittedNotebook.id)
        .join(graded, (graded.id == Grade.cell_id) & (graded.name == commented.name))
        .filter(Comment.manual_comment.is_not(None))
        .order_by(Notebook.name, commented.name, SubmittedAssignment.student_id)
    )
    found = []
    for student, module, question, comment, score in rows:
        if modules and module not in modules:
            continue
        marks = read(comment, rubric(module, question))
        if marks is None or _same(score, marks.total):
            continue
        given = "there is no score" if score is None else f"the score is {score:g}"
        what = marks.problem or f"the marks add up to {marks.total:g}"
        found.append(Disagreement(student, module, question, f"{what}, and {given}"))
    return found
