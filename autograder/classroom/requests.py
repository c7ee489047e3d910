"""Requests for another look: written into a notebook by its student or put on the list by a person, and answered."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from autograder import apart, curriculum
from autograder.apart import TooCostly
from autograder.classroom.folder import ClassFolder
from autograder.errors import UserError
from autograder.files import write_atomically
from autograder.grading import reading

# The first line of a Markdown cell that asks: "**Regrade request: `mse_gradient`**"; why stands below it.
ASKS = re.compile(r"\W*regrade request\W+(?P<exercise>\w+)\W*\n(?P<why>.*)", re.IGNORECASE | re.DOTALL)
LONGEST = 4_000  # characters of a cell that asks


@dataclass(frozen=True)
class Request:
    """Somebody asks for another look at a submission, or at one exercise of it."""

    module: str
    student: str
    why: str
    when: str
    exercise: str = ""

    @property
    def key(self) -> list[str]:
        """What makes it another request than one that was settled before."""
        return [self.module, self.student, self.exercise, self.why]


def requests(folder: ClassFolder) -> list[Request]:
    """The requests that nobody has settled yet, oldest first."""
    return [Request(**values) for values in _read(folder, "regrade.json")]


def ask(folder: ClassFolder, module: str, student: str, why: str, exercise: str = "") -> None:
    """Put a request on the list."""
    when = datetime.now(UTC).isoformat(" ", "seconds")
    _keep(folder, [*requests(folder), Request(module, student, why, when, exercise)])


def collect(folder: ClassFolder, module: str, student: str, content: bytes | None) -> None:
    """Put the requests that stand in a submission on the list, but for those that were there before."""
    if content is None or b"regrade request" not in content.lower():
        return
    known = [*(request.key for request in requests(folder)), *_read(folder, "settled.json")]
    try:
        asked = apart.call(asked_in, module, content)
    except TooCostly:
        return
    for exercise, why in asked:
        if [module, student, exercise, why] not in known:
            ask(folder, module, student, why, exercise)


def asked_in(module: str, content: bytes) -> list[tuple[str, str]]:
    """The exercise and the reason of each request that a notebook holds; none where it cannot be read."""
    names = {exercise.name for exercise in curriculum.load(module).exercises}
    try:
        cells = reading.parse(content).cells
    except reading.Unreadable:
        return []
    sources = [cell.source.strip() for cell in cells if cell.cell_type == "markdown" and len(cell.source) <= LONGEST]
    found = [match for source in sources if (match := ASKS.fullmatch(source + "\n"))]
    return [(m["exercise"], m["why"].strip()) for m in found if m["exercise"] in names]


def settle(folder: ClassFolder, module: str, students: Iterable[str]) -> list[Request]:
    """Take the requests of these students off the list; those that were taken off."""
    students, listed = set(students), requests(folder)
    settled = [one for one in listed if one.module == module and one.student in students]
    if settled:
        history = [*_read(folder, "settled.json"), *(one.key for one in settled)]
        write_atomically(folder.private / "settled.json", json.dumps(history, ensure_ascii=False), mode=0o600)
        _keep(folder, [one for one in listed if one not in settled])
    return settled


def answer(folder: ClassFolder, module: str, student: str, text: str) -> list[str]:
    """Write an answer beside each exercise that a student asked about, for their feedback page; the exercises' names.

    UserError where they asked about none.
    """
    names = [
        one.exercise for one in requests(folder) if (one.module, one.student) == (module, student) and one.exercise
    ]
    if not names:
        raise UserError(f"{student!r} has asked about no exercise of {module}")
    with folder.gradebook() as book:
        for name in names:
            book.find_comment(name, module, module, student).manual_comment = text
        book.db.commit()
    settle(folder, module, [student])
    return names


def _keep(folder: ClassFolder, listed: list[Request]) -> None:
    values = [vars(request) for request in listed]
    text = json.dumps(values, ensure_ascii=False, indent=1) + "\n"
    write_atomically(folder.private / "regrade.json", text, mode=0o600)


def _read(folder: ClassFolder, name: str) -> list:
    path = folder.private / name
    if not path.exists():
        return []
    try:
        listed = json.loads(path.read_bytes())
        if name == "regrade.json":
            [Request(**values) for values in listed]
        return list(listed)
    except (ValueError, TypeError):
        raise UserError(f"{path} is damaged; mend or delete it") from None
