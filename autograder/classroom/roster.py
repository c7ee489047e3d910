"""Reads lists of students (CSV): the class's roster into nbgrader's gradebook, and when they handed in."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from pathlib import Path

from autograder.classroom import times
from autograder.classroom.folder import STUDENT_ID, ClassFolder
from autograder.classroom.platforms import People
from autograder.errors import UserError
from autograder.files import write_atomically

# Our column, and what learning platforms call it in their own class lists.
COLUMNS = {
    "id": ("id", "student id", "student_id", "username", "login", "sis login id", "sid", "id number"),
    "first_name": ("first_name", "first name", "firstname", "given name"),
    "last_name": ("last_name", "last name", "lastname", "surname", "family name"),
    "email": ("email", "email address", "e-mail"),
    "lms_user_id": ("lms_user_id", "lms user id", "canvas id", "canvas user id"),
}
TIME_TITLES = ("time", "timestamp", "submitted", "submitted at", "submitted_at", "last modified (submission)")
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
    people = _people(path)
    if not people:
        raise UserError(f"{path} lists nobody")
    return people


def listed(folder: ClassFolder) -> set[str]:
    """The ids of the class's roster; empty where the class has none. UserError where roster.csv cannot be read."""
    path = folder.path / "roster.csv"
    return {person.id for person in _people(path)} if path.exists() else set()


def read_times(path: Path, people: People, local: tzinfo) -> dict[str, datetime]:
    """When students handed in (UTC), from a CSV that names them by any column of a roster or by their full name.

    UserError, with the line, for a row whose student is not certain or whose time is not clear. A row without a time
    is somebody who handed in nothing.
    """
    titles = COLUMNS | {"name": ("name", "full name", "student"), "time": TIME_TITLES}
    kinds = {"id": "id", "email": "email", "lms_user_id": "lms", "name": "name"}
    found: dict[str, datetime] = {}
    for where, fields in _rows(path, titles, ("time",)):
        parts = filter(None, (fields.get("first_name"), fields.get("last_name")))
        fields["name"] = fields.get("name") or " ".join(parts)
        if not fields["time"] or fields["time"] == "-":
            continue
        asked = [(kind, fields[column]) for column, kind in kinds.items() if fields.get(column)]
        student = next(filter(None, (people.one(kind, value) for kind, value in asked)), None)
        if student is None:
            raise UserError(f"{where}: no student of this class is {', '.join(repr(value) for _, value in asked)}")
        try:
            found[student] = times.parse(fields["time"], local)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    return found


def _people(path: Path) -> list[Person]:
    people: dict[str, tuple[str, Person]] = {}
    for where, fields in _rows(path, COLUMNS, ("id",)):
        person = _person(fields, where)
        if person.id in people:
            raise UserError(f"{where}: the id {person.id!r} is already on line {people[person.id][0]}")
        people[person.id] = where.rpartition(":")[2], person
    return [person for _, person in people.values()]


def _rows(
    path: Path, titles: Mapping[str, Sequence[str]], needed: Sequence[str]
) -> Iterator[tuple[str, dict[str, str | None]]]:
    """The rows of a CSV file, each with its place and its fields by our names of the columns. UserError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than a list of students can be")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as CSV UTF-8") from None
    rows = csv.reader(io.StringIO(text), strict=True)
    columns: list[str | None] = []
    try:
        for row in rows:
            where = f"{path}:{rows.line_num}"
            if not any(field.strip() for field in row):
                continue
            if not columns:
                columns = _columns(row, titles, needed, where)
                continue
            if len(row) != len(columns):
                raise UserError(f"{where}: {len(row)} fields, where the first line names {len(columns)} columns")
            yield where, {name: field.strip() or None for name, field in zip(columns, row, strict=True) if name}
    except csv.Error as error:
        raise UserError(f"{path}:{rows.line_num}: not CSV: {error}") from None


def enter(folder: ClassFolder, path: Path) -> int:
    """Read a roster into the gradebook and into the class's roster.csv; how many people it lists.

    Who is there already is updated; nobody is removed, for their grades would go too.
    """
    from nbgrader.api import Student

    people = read(path)
    kept = folder.path / "roster.csv"
    with folder.lock(), folder.gradebook() as book:
        known = {student.id: student for student in book.students}
        for person in people:
            student = known.get(person.id)
            if student is None:
                student = Student(id=person.id)
                book.db.add(student)
            for column in COLUMNS:
                value = getattr(person, column)
                if value is not None:
                    setattr(student, column, value)
        book.db.commit()
        if not (kept.exists() and path.samefile(kept)):
            before = {person.id: person for person in _people(kept)} if kept.exists() else {}
            for person in people:
                said = {name: value for name, value in vars(person).items() if value is not None}
                before[person.id] = replace(before.get(person.id, person), **said)
            _write(kept, before.values())
    return len(people)


def take_out(folder: ClassFolder, student: str) -> None:
    """Strike a student from roster.csv."""
    kept = folder.path / "roster.csv"
    if kept.exists():
        _write(kept, [person for person in _people(kept) if person.id != student])


def _write(path: Path, people: Iterable[Person]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(person, column) or "" for column in COLUMNS] for person in people)
    write_atomically(path, text.getvalue())


def _columns(header: list[str], titles: Mapping[str, Sequence[str]], needed: Sequence[str], where: str):
    columns = []
    for title in header:
        wanted = title.strip().lower()
        columns.append(next((name for name, known in titles.items() if wanted in known), None))
    for name in titles:
        if columns.count(name) > 1:
            raise UserError(f"{where}: more than one column could be the {name}")
    for name in needed:
        if name not in columns:
            raise UserError(f"{where}: the first line must name the columns: {','.join(titles)} ({name} is needed)")
    return columns


def _person(fields: dict[str, str | None], where: str) -> Person:
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
