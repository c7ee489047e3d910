"""Releases modules in a class, through nbgrader's generate_assignment and, where there is one, its exchange."""

import os
from datetime import datetime
from pathlib import Path

import nbformat
from nbgrader.utils import capture_log, temp_attrs

from autograder import curriculum
from autograder.classroom import penalties, record
from autograder.classroom.folder import ClassFolder
from autograder.errors import UserError
from autograder.files import write_atomically


def release(folder: ClassFolder, module: str, due: datetime | None = None) -> Path:
    """Put a module into source/ and the gradebook and its student version into release/; the path of that.

    `due`: in UTC. Late penalties of what is graded already follow it. UserError where nbgrader refuses, because
    students have handed in a version with other cells, or where the class's exchange could not take the module.
    """
    from autograder.authoring.release import source_notebook

    with folder.lock(), folder.gradebook() as book:
        _check_exchange(folder)
        source = folder.path / "source" / module / f"{module}.ipynb"
        before = source.read_bytes() if source.exists() else None
        write_atomically(source, nbformat.writes(source_notebook(curriculum.load(module))) + "\n")
        result = folder.api.generate_assignment(module, force=True, create=True)
        if not result["success"]:
            if before is not None:
                write_atomically(source, before)
                folder.api.generate_assignment(module, force=True, create=True)
            raise UserError(f"{module} was not released: {why(result)}")
        if due is not None:
            book.update_or_create_assignment(module, duedate=due)
            penalties.renew(folder, book, [module])
    return folder.path / "release" / module / f"{module}.ipynb"


def publish(folder: ClassFolder, module: str) -> Path | None:
    """Copy a released module to nbgrader's exchange, where the configuration names one; where it lies there.

    What lies there already is replaced. UserError where the exchange cannot be used.
    """
    where = _outbound(folder)
    if where is None:
        return None
    coursedir = folder.app.coursedir
    with temp_attrs(coursedir, assignment_id=module):
        step = folder.api.exchange.ReleaseAssignment(
            coursedir=coursedir, authenticator=folder.api.authenticator, parent=folder.api
        )
        step.force = True
        result = capture_log(step)
    if not result["success"]:
        raise UserError(f"{module} was not put into the exchange {where}: {why(result)}")
    return where / module


def due_date(folder: ClassFolder, module: str) -> datetime | None:
    """When a module is due, in UTC. UserError where it was never released."""
    with folder.gradebook() as book:
        return record.find_notebook(book, module).assignment.duedate


def _outbound(folder: ClassFolder) -> Path | None:
    root = folder.app.config.get("Exchange", {}).get("root")
    return Path(root) / folder.course / "outbound" if root else None


def _check_exchange(folder: ClassFolder) -> None:
    """Whether the exchange can take a module is asked before the gradebook and release/ change."""
    where = _outbound(folder)
    if where is None:
        return
    root, course = where.parents[1], where.parent
    if not root.is_dir() or not os.access(root, os.W_OK | os.X_OK):
        raise UserError(f"nothing was released: the exchange {root} is not a folder that you may write to")
    for path in (course, where):
        if path.exists() and not os.access(path, os.W_OK | os.X_OK):
            raise UserError(f"nothing was released: you may not write to {path}")


def why(result: dict) -> str:
    """One line out of what nbgrader logged and raised."""
    text = f"{result.get('log', '')}\n{result.get('error', '')}"
    if "Cannot add or remove cells" in text:
        return "students have handed it in already, and nbgrader does not add or remove graded cells then"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("[ERROR]")]
    return (errors or lines or ["nbgrader gave no reason"])[-1].removeprefix("[ERROR] ")
