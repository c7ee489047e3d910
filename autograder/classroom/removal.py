"""Takes out of a class what should not be in it: a student, or the last collection of a module.

What was handed in is moved, never deleted: to .lsml/removed/STUDENT, or to .lsml/undone/.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime

from nbgrader.api import MissingEntry

from autograder.classroom import roster, versions
from autograder.classroom.folder import STUDENT_ID, ClassFolder
from autograder.errors import UserError
from autograder.files import write_atomically

MADE = ("autograded", "feedback")  # nbgrader's folders that can be made again


def remove(folder: ClassFolder, student: str, force: bool = False) -> str:
    """Take a student out of the roster, the gradebook and the class's folders; what was done.

    UserError where there is no such student, and, without `force`, where they have grades.
    """
    if not STUDENT_ID.fullmatch(student):
        raise UserError(f"no student {student!r} in this class")
    with folder.lock(), folder.gradebook() as book:
        known = {one.id for one in book.students}
        submitted = folder.path / "submitted" / student
        if student not in known and student not in roster.listed(folder) and not os.path.lexists(submitted):
            raise UserError(f"no student {student!r} in this class")
        if student in known:
            graded = [one.assignment.name for one in book.find_student(student).submissions]
            if graded and not force:
                raise UserError(f"{student} has grades in {', '.join(graded)}, which would go too: --force does it")
            book.remove_student(student)
        roster.take_out(folder, student)
        versions.forget(folder, student)
        _forget_extensions(folder, student)
        away = folder.private / "removed" / student / datetime.now(UTC).strftime("%Y-%m-%d_%H-%M-%S-%f")
        handed_in = (submitted, folder.private / "versions" / student, folder.private / "undone" / student)
        for path in handed_in:
            if os.path.lexists(path):
                (away / path.parent.name).mkdir(parents=True, exist_ok=True)
                shutil.move(path, away / path.parent.name / student)
        for path in [folder.path / name / student for name in MADE]:
            shutil.rmtree(path, ignore_errors=True)
        for path in (folder.private / "recorded").glob(f"*/{student}.json"):
            path.unlink()
    return f"{student} is out of the class" + (f"; what they handed in is in {away}" if away.exists() else "")


def take_back(folder: ClassFolder, module: str) -> Iterator[str]:
    """Undo the last collection of a module; a line for each student. The caller holds the class's lock.

    Who had handed in nothing before has no grade any more either. UserError where there is nothing to undo.
    """
    for student, earlier in versions.undo(folder, module).items():
        if earlier:
            yield f"{student}: what was there before is back; `lsml autograde {module}` grades it"
            continue
        with folder.gradebook() as book, contextlib.suppress(MissingEntry):
            book.remove_submission(module, student)
        for name in MADE:
            shutil.rmtree(folder.path / name / student / module, ignore_errors=True)
        (folder.private / "recorded" / module / f"{student}.json").unlink(missing_ok=True)
        yield f"{student}: had handed in nothing before, and has again"


def _forget_extensions(folder: ClassFolder, student: str) -> None:
    path = folder.private / "extensions.json"
    if not path.exists():
        return
    try:
        granted = json.loads(path.read_bytes())
        kept = {module: {one: days for one, days in some.items() if one != student} for module, some in granted.items()}
    except (ValueError, AttributeError):
        raise UserError(f"{path} is damaged; mend or delete it") from None
    write_atomically(path, json.dumps(kept, indent=1, sort_keys=True) + "\n")
