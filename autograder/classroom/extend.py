"""More time for one student. nbgrader has extensions in its API alone, and only for what was handed in already."""

import json
from datetime import timedelta

from nbgrader.api import MissingEntry

from autograder.classroom import penalties, record, times
from autograder.classroom.folder import ClassFolder
from autograder.classroom.reports import extensions
from autograder.errors import UserError
from autograder.files import write_atomically


def extend(folder: ClassFolder, module: str, student: str, days: float) -> str:
    """Move a student's due date by that many days after the class's; 0 takes the extension back. What was done."""
    if not 0 <= days <= 3650:
        raise UserError("--days must be between 0 and 3650")
    local = folder.zone
    with folder.lock(), folder.gradebook() as book:
        notebook = record.find_notebook(book, module)
        known = {one.id for one in book.students} | set(folder.submitted(module))
        if student not in known:
            raise UserError(f"no student {student!r} in this class; `lsml class roster` adds students")
        due = notebook.assignment.duedate
        granted = {one: delta.total_seconds() / 86400 for one, delta in extensions(folder, module).items()}
        granted.pop(student, None)
        if days:
            granted[student] = days
        path = folder.private / "extensions.json"
        values = json.loads(path.read_bytes()) if path.exists() else {}
        write_atomically(path, json.dumps(values | {module: granted}, indent=1, sort_keys=True) + "\n")
        try:
            book.grant_extension(module, student, days=days)
        except MissingEntry:
            pass  # nothing handed in yet: it is applied with the submission's Report
        else:
            penalties.renew(folder, book, [module])
    if due is None:
        return f"{student} has {days:g} more days for {module}, which has no due date yet (`lsml release --due`)"
    return f"{student} may hand in {module} until {times.show(due + timedelta(days=days), local)}"
