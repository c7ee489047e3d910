"""Reads a class list (CSV) into nbgrader's gradebook."""

import csv
import io
import shutil
from dataclasses import dataclass
from pathlib import Path

from autograder.classroom.folder import STUDENT_ID, ClassFolder
from autograder.errors import UserError

# Our column, and what learning platforms call it in their own class lists.
COLUMNS = {
    "id": ("id", "student id", "student_id", "username", "login", "sis login id", "sid", "id number"),
    "first_name": ("first_name", "first name", "firstname", "given name"),
    "last_name": ("last_name", "last name", "lastname", "surname", "family name"),
    "email": ("email", "email address", "e-mail"),
    "lms_user_id": ("lms_user_id", "lms user id", "canvas id", "canvas user id"),
}
MAX_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Person:
    """One line of a roster."""

    id: str
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    lms_user_id: str | None = None


def read(path: Path) -> list[Person]:
    """The people of a roster. UserError, with the line, for the first row that cannot be used; then nobody is."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than a roster can be")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as CSV UTF-8") from None
    rows = csv.reader(io.StringIO(text), strict=True)
    people: dict[str, tuple[int, Person]] = {}
    columns: list[str | None] = []
    try:
        for row in rows:
            where = f"{path}:{rows.line_num}"
            if not any(field.strip() for field in row):
                continue
            if not columns:
                columns = _columns(row, where)
                continue
            person = _person(row, columns, where)
            if person.id in people:
                raise UserError(f"{where}: the id {person.id!r} is already on line {people[person.id][0]}")
            people[person.id] = rows.line_num, person
    except csv.Error as error:
        raise UserError(f"{path}:{rows.line_num}: not CSV: {error}") from None
    if not people:
        raise UserError(f"{path} lists nobody")
    return [person for _, person in people.values()]


def enter(folder: ClassFolder, path: Path) -> int:
    """Read a roster into the gradebook and keep a copy of it; how many people it lists.

    Who is there already is updated; nobody is removed, for their grades would go too.
    """
    from nbgrader.api import Student

    people = read(path)
    with folder.lock(), folder.gradebook() as book:
        known = {student.id: student for student in book.students}
        for person in people:
            student = known.get(person.id)
            if student is None:
                student = Student(id=person.id)
                book.db.add(student)
            for column in ("first_name", "last_name", "email", "lms_user_id"):
                value = getattr(person, column)
                if value is not None:
                    setattr(student, column, value)
        book.db.commit()
        kept = folder.path / "roster.csv"
        if path.resolve() != kept:
            shutil.copyfile(path, kept)
    return len(people)


def _columns(header: list[str], where: str) -> list[str | None]:
    columns = []
    for title in header:
        wanted = title.strip().lower()
        columns.append(next((name for name, titles in COLUMNS.items() if wanted in titles), None))
    for name in COLUMNS:
        if columns.count(name) > 1:
            raise UserError(f"{where}: more than one column could be the {name}")
    if "id" not in columns:
        raise UserError(f"{where}: the first line must name the columns: {','.join(COLUMNS)} (only id is needed)")
    return columns


def _person(row: list[str], columns: list[str | None], where: str) -> Person:
    if len(row) != len(columns):
        raise UserError(f"{where}: {len(row)} fields, where the first line names {len(columns)} columns")
    fields = {name: field.strip() or None for name, field in zip(columns, row, strict=True) if name}
    student = fields["id"]
    if student is None:
        raise UserError(f"{where}: no id")
    if not STUDENT_ID.fullmatch(student):
        raise UserError(f"{where}: {student!r} cannot be an id: letters, digits and @ . _ + - only, 128 at most")
    if fields.get("email") and "@" not in fields["email"]:
        raise UserError(f"{where}: {fields['email']!r} is not an e-mail address")
    too_long = [name for name, field in fields.items() if field and len(field) > 128]
    if too_long:
        raise UserError(f"{where}: the {too_long[0]} is longer than 128 characters")
    return Person(**fields)
