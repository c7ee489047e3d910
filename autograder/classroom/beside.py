"""What formgrader shows beside a student's answer in words: the rubric, the marks given so far, the model answer.

It is put there when the page is made. Nothing of it stands in autograded/, so nothing of it gets into feedback.
"""

from functools import lru_cache

from nbgrader.api import MissingEntry
from nbgrader.preprocessors import NbGraderPreprocessor

from autograder import curriculum
from autograder.classroom import marks, sanitize
from autograder.classroom.folder import ClassFolder
from autograder.classroom.marks import Marks
from autograder.curriculum import Question
from autograder.errors import UserError

ROW = "display: flex; flex-wrap: wrap; gap: 1em 2em"
COLUMN = "flex: 1 1 24em; min-width: 0"
OURS = f"{COLUMN}; background: #f3f6fc; border-left: 4px solid #2456c7; border-radius: 4px; padding: .6em 1em"


class ShowRubric(NbGraderPreprocessor):
    """Puts the written answers of a page of formgrader's into two columns."""

    def preprocess(self, nb, resources):
        if "submission_id" not in resources:  # the page of somebody else's
            return nb, resources
        try:
            module = curriculum.load(resources["notebook_id"])
            questions = {question.name: question for question in module.questions}
            problem = ""
        except UserError as error:
            questions, problem = {}, str(error)
        written = [cell for cell in nb.cells if cell.metadata.get("lsml", {}).get("role") == "written"]
        said = _comments(self.config.CourseDirectory.root, resources["submission_id"]) if written else {}
        for cell in written:
            name = cell.metadata.lsml["name"]
            if name in questions:
                given = marks.read(said.get(name), questions[name].rubric)
                cell.source = two_columns(cell.source, rubric(questions[name], given))
            elif problem:
                cell.source = two_columns(
                    cell.source, sanitize.block(sanitize.plain(f"The rubric cannot be read: {problem}"))
                )
        return nb, resources


def two_columns(source: str, ours: str) -> str:
    """A presented answer, and HTML of our own beside it, as one line of HTML."""
    # What `present` did not leave as plain words is a block already.
    text = source if source.startswith("<div>") else sanitize.block(source)
    return f'<div style="{ROW}"><div style="{COLUMN}">{text}</div><div style="{OURS}">{ours}</div></div>'


def rubric(question: Question, given: Marks | None) -> str:
    """The rubric of a question with the points that its lines have got, how to give them, and the model answer."""
    if not question.rubric:  # `lsml build` refuses it, but a class may have been released before
        return sanitize.block(f"**Model answer**\n\n{question.answer}")
    points = given.points if given is not None and given.points is not None else None
    lines = []
    for number, line in enumerate(question.rubric):
        worth = f"{line.points:g}" if points is None else f"{points[number]:g} of {line.points:g}"
        lines.append(f"{number + 1}. **{worth}** · {line.text}")
    if given is None:
        example = " ".join(f"{line.points:g}" for line in question.rubric)
        state = (
            f"Begin the comment with the points of each line, as `{example}` (`x`: all, `-`: none). Their sum becomes "
            "the score. Words for the student go on the next line."
        )
    elif given.problem:
        state = f"**The marks cannot be read:** {sanitize.plain(given.problem)}."
    else:
        state = f"**Sum: {given.total:g} of {question.points}**"
    return sanitize.block("\n\n".join(["**Rubric**", "\n".join(lines), state, "**Model answer**", question.answer]))


def _comments(folder: str, submission_id: str) -> dict[str, str | None]:
    """What a person has written to the answers of one submission."""
    try:
        with _folder(folder).gradebook() as book:
            notebook = book.find_submission_notebook_by_id(submission_id)
            return {comment.name: comment.manual_comment for comment in notebook.comments}
    except (UserError, MissingEntry):
        return {}


@lru_cache(maxsize=8)
def _folder(path: str) -> ClassFolder:
    return ClassFolder(path)
