"""Releases modules in a class, through nbgrader's generate_assignment and, where there is one, its exchange."""

from datetime import datetime
from pathlib import Path

import nbformat

from autograder import curriculum
from autograder.classroom.folder import ClassFolder
from autograder.classroom.record import timestamp
from autograder.errors import UserError
from autograder.files import write_atomically


def release(folder: ClassFolder, module: str, due: str | None = None) -> Path:
    """Put a module into source/ and the gradebook and its student version into release/; the path of that.

    `due`: a time as nbgrader reads it, such as "2026-12-01 23:59 CET"; without a zone it is UTC. UserError where
    nbgrader refuses, because students have handed in a version with other cells.
    """
    from autograder.authoring.release import source_notebook

    deadline = parse_time(due) if due else None
    with folder.lock(), folder.gradebook() as book:
        source = folder.path / "source" / module / f"{module}.ipynb"
        before = source.read_bytes() if source.exists() else None
        write_atomically(source, nbformat.writes(source_notebook(curriculum.load(module))) + "\n")
        result = folder.api.generate_assignment(module, force=True, create=True)
        if not result["success"]:
            if before is not None:
                write_atomically(source, before)
                folder.api.generate_assignment(module, force=True, create=True)
            raise UserError(f"{module} was not released: {why(result)}")
        if deadline is not None:
            book.update_or_create_assignment(module, duedate=deadline)
    return folder.path / "release" / module / f"{module}.ipynb"


def publish(folder: ClassFolder, module: str) -> Path | None:
    """Copy a released module to nbgrader's exchange, where the configuration names one; where it lies there."""
    root = folder.app.config.get("Exchange", {}).get("root")
    if not root:
        return None
    result = folder.api.release_assignment(module)
    if not result["success"]:
        raise UserError(f"{module} was not put into the exchange {root}: {why(result)}")
    return Path(root) / folder.course / "outbound" / module


def parse_time(text: str) -> datetime:
    """A due date, in UTC. UserError where it is none."""
    try:
        return timestamp(text)
    except (ValueError, OverflowError):
        raise UserError(f"{text!r} is not a time; write it as '2026-12-01 23:59 +0100'") from None


def why(result: dict) -> str:
    """One line out of what nbgrader logged and raised."""
    text = f"{result.get('log', '')}\n{result.get('error', '')}"
    if "Cannot add or remove cells" in text:
        return "students have handed it in already, and nbgrader does not add or remove graded cells then"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("[ERROR]")]
    return (errors or lines or ["nbgrader gave no reason"])[-1].removeprefix("[ERROR] ")
