"""What a student handed in before, and the way back to it.

A collection replaces what lies in submitted/. What lay there goes to .lsml/versions/STUDENT/MODULE/TIME, and
.lsml/collected.json says what each collection has replaced, so that the last one can be undone.
"""

import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

from autograder.classroom.folder import ClassFolder
from autograder.errors import UserError
from autograder.files import write_atomically
from autograder.grading import reading
from autograder.printing import printable

MAX_DEPTH = 8  # folders in a submission


def copy_plain(source: Path, target: Path, ignore: Iterable[str] = ()) -> list[str]:
    """Copy a submission's regular files; a line for each thing that was refused."""
    refused = []

    def copy(here: Path, there: Path, depth: int) -> None:
        there.mkdir(parents=True, exist_ok=True)
        try:
            entries = sorted(here.iterdir())
        except OSError as error:
            refused.append(
                f"{printable(here.relative_to(source))} cannot be read ({error.strerror}); it was not collected"
            )
            return
        for path in entries:
            if any(fnmatch(path.name, pattern) for pattern in ignore):
                continue
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) and depth < MAX_DEPTH:
                copy(path, there / path.name, depth + 1)
                continue
            try:
                content = reading.read_bytes(path)
            except reading.Unreadable as refusal:
                refused.append(f"{printable(path.relative_to(source))} {refusal}; it was not collected")
            else:
                (there / path.name).write_bytes(content)

    if source.is_symlink():
        return [f"{printable(source.name)} is a link; it was not collected"]
    copy(source, target, 0)
    return refused


def keep_version(folder: ClassFolder, student: str, module: str) -> Path | None:
    """Keep a copy of what lies in submitted/; where it is, or None where nothing lay there."""
    current = folder.submission(student, module).parent
    if current.is_symlink() or not current.is_dir():
        return None
    kept = _free(folder.private / "versions" / student / module / _stamp_text(current))
    copy_plain(current, kept)
    return kept


def note_collection(folder: ClassFolder, module: str, replaced: Mapping[str, Path | None]) -> None:
    """Remember what a collection has replaced: for each student the kept version, or None where there was nothing."""
    if replaced:
        kept = {student: str(path.relative_to(folder.private)) if path else None for student, path in replaced.items()}
        when = datetime.now(UTC).isoformat(" ", "seconds")
        _write(folder, [*_collections(folder), {"module": module, "when": when, "replaced": kept}])


def undo(folder: ClassFolder, module: str) -> dict[str, bool]:
    """Take back the last collection of a module: for each student, whether there is an earlier version.

    What was collected goes to .lsml/undone/; nothing is deleted. UserError where nothing was collected.
    """
    noted = _collections(folder)
    last = next((one for one in reversed(noted) if one["module"] == module), None)
    if last is None:
        raise UserError(f"no collection of {module} is there to be undone")
    for student, kept in last["replaced"].items():
        current = folder.submission(student, module).parent
        if os.path.lexists(current):
            away = _free(folder.private / "undone" / student / module / _stamp_text(current))
            away.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(current, away)
        if kept and (folder.private / kept).is_dir():
            current.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder.private / kept, current)
    _write(folder, [one for one in noted if one is not last])
    return {student: folder.submission(student, module).parent.is_dir() for student in last["replaced"]}


def forget(folder: ClassFolder, student: str) -> None:
    """A student who was removed is in no collection any more."""
    noted = _collections(folder)
    for one in noted:
        one["replaced"].pop(student, None)
    _write(folder, [one for one in noted if one["replaced"]])


def _collections(folder: ClassFolder) -> list[dict]:
    path = folder.private / "collected.json"
    if not path.exists():
        return []
    try:
        noted = json.loads(path.read_bytes())
        return [{key: one[key] for key in ("module", "when", "replaced")} for one in noted]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; mend or delete it") from None


def _write(folder: ClassFolder, noted: list[dict]) -> None:
    write_atomically(folder.private / "collected.json", json.dumps(noted, indent=1) + "\n", mode=0o600)


def _free(path: Path) -> Path:
    """Two versions may bear one time; neither replaces the other."""
    while os.path.lexists(path):
        path = path.with_name(path.name + "~")
    return path


def _stamp_text(directory: Path) -> str:
    """A folder name for a version: its time, or where nobody wrote it down, that of its file."""
    try:
        text = (directory / "timestamp.txt").read_text(encoding="utf-8")[:40].strip()
    except (OSError, UnicodeDecodeError):
        entries = directory.iterdir() if directory.is_dir() else ()
        newest = max((path.lstat().st_mtime for path in entries), default=0.0)
        text = datetime.fromtimestamp(newest, UTC).isoformat(" ")
    return re.sub(r"[^0-9A-Za-z:+.-]", "_", text) or "unknown"
