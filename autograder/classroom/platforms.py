"""Whose an upload is, by the names that learning platforms give and the class's roster.

A platform names the outermost file or folder of an upload; all that is inside was named by the student who uploaded
it. So a path is read from outside, and its first part that names somebody decides.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from autograder import apart
from autograder.apart import TooCostly
from autograder.printing import printable

METADATA = "submission_metadata.yml"  # Gradescope's list of who handed in what
MAX_METADATA = 16 * 2**20

CANVAS = re.compile(r"(?P<name>[^_]+)_(?P<late>LATE_)?(?P<user>\d+)_(?P<attempt>\d+)_(?P<file>.+)")
MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d{1,18})_assignsubmission_[a-z]+(?:_(?P<file>.*))?")
GRADESCOPE = re.compile(r"submission_(?P<number>\d{1,18})")


@dataclass(frozen=True)
class Upload:
    """Whose it is, its rank among the same student's uploads, and what its platform says of its time.

    `mark` is the part of the path that named its owner. `late`: the platform says so, and not when it came.
    """

    student: str
    mark: str
    rank: tuple[int, ...] = ()
    time: datetime | None = None
    late: bool = False


class Unknown(Exception):
    """It cannot be told whose an upload is. `str(error)` says why.

    `mark` is the part of its path that names somebody, by a platform's convention; "" where none does.
    """

    def __init__(self, why: str, mark: str = ""):
        super().__init__(why)
        self.mark = mark


class People:
    """The class's students, by everything that a platform may know them by."""

    def __init__(self, students):
        self._by: dict[tuple[str, str], set[str]] = defaultdict(set)
        for student in students:
            first, last = student.first_name or "", student.last_name or ""
            for kind, value in (
                ("id", student.id.lower()),
                ("email", (student.email or "").lower()),
                ("lms", student.lms_user_id or ""),
                ("name", _letters(first + last)),
                ("name", _letters(last + first)),
            ):
                if value:
                    self._by[kind, value].add(student.id)

    def one(self, kind: str, value: str) -> str | None:
        """The one student of that id, e-mail address, platform's number or name; None where it is none or two."""
        value = _letters(value) if kind == "name" else value.strip().lower()
        found = self._by.get((kind, value), set())
        return next(iter(found)) if len(found) == 1 else None


def _letters(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(character for character in plain if character.isalnum())


def whose(path: PurePosixPath, people: People, listed: Mapping[PurePosixPath, Mapping[str, Any]]) -> Upload:
    """The owner of an upload; Unknown where it is not certain.

    `listed`: what each METADATA file outside all uploads says, by its folder.
    """
    for depth, part in enumerate(path.parts):
        last = depth == len(path.parts) - 1
        if found := GRADESCOPE.fullmatch(part):
            return _gradescope(listed.get(PurePosixPath(*path.parts[:depth])), part, int(found["number"]), people)
        if found := MOODLE.fullmatch(part):
            student = people.one("name", found["name"])
            if student is None:
                raise Unknown(f"no one student is called {printable(found['name'])!r}", part)
            return Upload(student, part, (int(found["number"]),))
        if found := CANVAS.fullmatch(part):
            student = people.one("lms", found["user"]) or people.one("name", found["name"])
            if student is None:
                why = f"no student has the lms_user_id {found['user']} or is the only {printable(found['name'])!r}"
                raise Unknown(why, part)
            rank = int(found["attempt"]), _revision(found["file"])
            return Upload(student, part, rank, late=bool(found["late"]))
        # A folder or file that bears the student's id, as nbgrader's own submitted/ does.
        stem = PurePosixPath(part).stem if last else part
        for name in (part, stem, *(_prefixes(stem) if last else ())):
            if student := people.one("id", name):
                return Upload(student, part, (_revision(path.name),))
    raise Unknown("its name is none that Canvas, Moodle, Gradescope or this class's roster gives")


def metadata(text: bytes) -> Mapping[str, Any] | None:
    """Gradescope's list, read in a process of its own; None where it cannot be read."""
    try:
        return apart.call(_metadata, text)
    except TooCostly:
        return None


def _metadata(text: bytes) -> Mapping[str, Any] | None:
    import yaml

    try:
        values = yaml.safe_load(text.decode("utf-8"))
    except Exception:  # its constructors raise whatever Python does: KeyError, IndexError, AttributeError
        return None
    return values if isinstance(values, dict) else None


def _prefixes(stem: str) -> Iterator[str]:
    """Longest first: `ada_01_gradient_descent` may be ada's, or that of a student called ada_01."""
    for end in range(min(len(stem), 130) - 1, 0, -1):
        if stem[end] in "_+-":
            yield stem[:end]


def _revision(name: str) -> int:
    """Canvas puts -1, -2, ... behind the name of a file that was handed in again."""
    found = re.search(r"-(\d{1,9})\.(?:ipynb|zip)$", name)
    return int(found[1]) if found else 0


def _gradescope(listed: Mapping[str, Any] | None, mark: str, number: int, people: People) -> Upload:
    entry = (listed or {}).get(mark)
    if not isinstance(entry, dict):
        raise Unknown(f"{METADATA} does not say whose it is", mark)
    submitters = entry.get(":submitters")
    for person in submitters if isinstance(submitters, list) else ():
        if not isinstance(person, dict):
            continue
        for key, kind in ((":sid", "id"), (":email", "email"), (":sid", "lms"), (":name", "name")):
            value = person.get(key)
            if isinstance(value, str | int) and (student := people.one(kind, str(value))):
                time = entry.get(":created_at")
                if isinstance(time, datetime) and time.tzinfo is not None:
                    time = time.astimezone(UTC).replace(tzinfo=None)
                return Upload(student, mark, (number,), time if isinstance(time, datetime) else None)
    raise Unknown("no student of the roster has that e-mail address, id or name", mark)
