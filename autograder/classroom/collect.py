"""Brings submissions into submitted/: from nbgrader's exchange, or from what a learning platform exports.

Both go through nbgrader's own collectors, with these classes in its configuration. Only plain files of a reasonable
size come in: nbgrader copies what a link points to, and unpacks archives of any size.
"""

import os
import pwd
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nbgrader.exchange import ExchangeError
from nbgrader.exchange.default import ExchangeCollect
from nbgrader.plugins.zipcollect import FileNameCollectorPlugin
from nbgrader.utils import capture_log, temp_attrs

from autograder import apart, curriculum
from autograder.apart import TooCostly
from autograder.classroom import record, roster, times
from autograder.classroom.folder import STUDENT_ID, ClassFolder
from autograder.classroom.unpack import Candidate, fill_archive
from autograder.classroom.versions import copy_plain, keep_version, note_collection
from autograder.errors import UserError
from autograder.grading import reading
from autograder.grading.rebuild import module_of
from autograder.printing import printable

MAX_LOOKED_INTO = 20  # notebooks of one student, to find the one that is of the module
WRITING = timedelta(minutes=10)  # between the time that nbgrader notes and the end of its copying


@dataclass(frozen=True)
class Collected:
    """Whose work came in, whose was there already, and a line for what was refused or must be known."""

    students: tuple[str, ...]
    unchanged: tuple[str, ...]
    lines: tuple[str, ...]


class CarefulCollect(ExchangeCollect):
    """nbgrader's collect, that keeps earlier versions, copies no links and takes the class's students only."""

    def __init__(self, **options):
        super().__init__(**options)
        self.lines: list[str] = []
        self.taken: dict[str, Path | None] = {}  # whose submission came in, and the version that it replaced

    def _say(self, line: str) -> None:
        """For `lsml collect`, which prints the lines, and for formgrader and `nbgrader collect`, which show the log."""
        self.lines.append(line)
        self.log.warning(line)

    def _path_to_record(self, path):
        """What a name in the exchange says. Everybody may put anything there: it counts where it is its owner's."""
        name = Path(path).name
        try:
            found = super()._path_to_record(path)
        except (ExchangeError, ValueError, TypeError, OverflowError):
            found = {
                "username": name,
                "filename": name,
                "timestamp": datetime.min,
                "refused": "is no submission's name",
            }
        else:
            refused = _not_theirs(Path(path), found["username"] if self.check_owner else None)
            found |= {"refused": refused} if refused else {}
        if "refused" in found:
            self._say(f"{printable(name)} {found['refused']}; it was not collected")
        return found

    def _sort_by_timestamp(self, records):
        """The latest first. nbgrader takes one of them: nothing that is refused, where there is another."""
        taken = [found for found in records if "refused" not in found]
        return super()._sort_by_timestamp(taken or records)

    def copy_files(self):
        folder = ClassFolder(self.coursedir.root)
        module = self.coursedir.assignment_id
        listed = roster.listed(folder)
        wanted = []
        for found in self.src_records:
            if "refused" in found:
                continue
            student = found["username"]
            if not STUDENT_ID.fullmatch(student):
                self._say(f"{printable(student)!r} cannot be a student's id; nothing of theirs was collected")
            elif listed and student not in listed:
                self._say(f"{student} is not in the roster and was not collected; add them to roster.csv")
            else:
                wanted.append(found)
        if wanted and not listed:
            self._say("this class has no roster, so whoever handed something in was collected")
        self.src_records = wanted
        kept = {found["username"]: keep_version(folder, found["username"], module) for found in wanted}
        super().copy_files()
        for student, version in kept.items():
            if student not in self.taken and version is not None:
                shutil.rmtree(version)  # it is still the current one
        self.taken = {student: kept[student] for student in self.taken}
        note_collection(folder, module, self.taken)

    def do_copy(self, src, dest, log=None):
        student = Path(dest).parent.name
        self.taken[student] = None
        for line in copy_plain(Path(src), Path(dest), self.coursedir.ignore):
            self._say(f"{student}: {line}")
        # The student's own process wrote the time; the system's own note of the last change cannot be set.
        said, changed = times.read_timestamp(Path(dest)), _last_change(Path(src))
        if said is not None and changed is not None and changed > said + WRITING:
            self._say(
                f"{student}: the time says {said:%Y-%m-%d %H:%M} UTC, but files were changed until "
                f"{changed:%Y-%m-%d %H:%M} UTC; that is for you to judge"
            )


def _not_theirs(path: Path, student: str | None) -> str | None:
    """Why a folder of the exchange is not what this student (None: anybody) handed in; None where it is."""
    try:
        status = path.lstat()
    except OSError:  # its owner takes it away while we look
        return "cannot be read"
    if path.is_symlink() or not path.is_dir():
        return "is not a folder"
    if not os.access(path, os.R_OK | os.X_OK):
        return "cannot be read"
    if student is None:
        return None
    try:
        owner = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        owner = str(status.st_uid)
    return None if owner == student else f"was put there by {printable(owner)} (ExchangeCollect.check_owner)"


def _last_change(directory: Path) -> datetime | None:
    """When the system last noted a change of a folder or of a file directly in it, in UTC; None where it is going."""
    try:
        newest = max(path.lstat().st_ctime for path in (directory, *directory.iterdir()))
    except OSError:
        return None
    return datetime.fromtimestamp(newest, UTC).replace(tzinfo=None)


def collect_exchange(folder: ClassFolder, module: str) -> Collected:
    """Collect a module from nbgrader's exchange. UserError where the class has none, or it cannot be used."""
    from autograder.classroom.release import why

    if not folder.app.config.get("Exchange", {}).get("root"):
        raise UserError("this class has no exchange; give the file or folder of submissions with --from")
    coursedir = folder.app.coursedir
    with temp_attrs(coursedir, assignment_id=module):
        collector = folder.api.exchange.Collect(
            coursedir=coursedir, authenticator=folder.api.authenticator, parent=folder.api
        )
        collector.update = True
        result = capture_log(collector)
    if not result["success"]:
        raise UserError(f"{module} was not collected: {why(result)}")
    return Collected(tuple(sorted(collector.taken)), (), tuple(collector.lines))


def collect_download(
    folder: ClassFolder, module: str, source: Path, came: Mapping[str, datetime] | None = None
) -> Collected:
    """Collect an archive or folder as Canvas, Moodle or Gradescope export it, through nbgrader's zip collector.

    `came`: when students handed in (UTC), where the platform does not say it. UserError where the source cannot be
    read or holds nothing.
    """
    from nbgrader.apps.zipcollectapp import ZipCollectApp

    if not source.exists():
        raise UserError(f"no such file or folder: {source}")
    if source.is_file() and not zipfile.is_zipfile(source):
        raise UserError(f"{source} is neither a zip archive nor a folder")
    archive = folder.path / "downloaded" / module / "archive"
    shutil.rmtree(archive.parent, ignore_errors=True)
    app = ZipCollectApp(parent=folder.app, coursedir=folder.app.coursedir, force=True)
    app.log.setLevel("ERROR")  # its own lines would hide ours
    app.coursedir.assignment_id = module
    try:
        lines = fill_archive(source, archive)
        app.init_plugins()
        collector, extractor = app.collector_plugin_inst, app.extractor_plugin_inst
        collector.came = came or {}
        app.extract_archive_files()
        app.process_extracted_files()
    except SystemExit:
        raise UserError(f"nbgrader's zip collector could not use {source}") from None
    finally:
        app.coursedir.assignment_id = ""
        shutil.rmtree(archive.parent, ignore_errors=True)
    lines += [*extractor.lines, *collector.lines]
    if not collector.taken and not collector.unchanged and not lines:
        raise UserError(f"{source} holds no notebooks")
    return Collected(tuple(sorted(collector.taken)), tuple(sorted(collector.unchanged)), tuple(lines))


class PlatformCollector(FileNameCollectorPlugin):
    """Of the notebooks that each student uploaded, the one that is their submission."""

    def __init__(self, **options):
        super().__init__(**options)
        self.lines: list[str] = []
        self.taken: dict[str, Path | None] = {}  # whose submission came in, and the version that it replaced
        self.unchanged: set[str] = set()
        self.came: Mapping[str, datetime] = {}
        self._chosen: dict[str, dict] | None = None

    def collect(self, submitted_file: str) -> dict | None:
        """nbgrader's question for each file: whose, of which assignment and when."""
        if self._chosen is None:
            self._chosen = self._choose()
        return self._chosen.get(submitted_file)

    def _choose(self) -> dict[str, dict]:
        app = self.parent
        folder = ClassFolder(app.coursedir.root)
        module = app.coursedir.assignment_id
        with folder.gradebook() as book:
            due = record.find_notebook(book, module).assignment.duedate
        by_student: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in app.extractor_plugin_inst.candidates:
            by_student[candidate.upload.student].append(candidate)
        chosen, untimed = {}, 0
        for student, candidates in sorted(by_student.items()):
            one = self._of_the_module(module, candidates)
            if one is None:
                continue
            stamp = self.came.get(student, one.upload.time)
            if stamp is None and one.upload.late and due is not None:
                # Canvas knows nothing of extensions: within one, this is in time. And nobody hands in tomorrow.
                stamp = min(due + timedelta(seconds=1), datetime.now(UTC).replace(tzinfo=None, microsecond=0))
                self.lines.append(
                    f"{student}: Canvas says late and not when; counted as one second after the due date of the class"
                )
            untimed += stamp is None
            if _is_there(folder, student, module, one.path, stamp):
                self.unchanged.add(student)
                continue
            self.taken[student] = keep_version(folder, student, module)
            chosen[str(one.path)] = {"student_id": student, "file_id": module, "timestamp": stamp}
        if untimed:
            self.lines.append(
                f"{untimed} of {len(by_student)} submissions came without a time (Canvas and Moodle give none) and "
                "count as handed in in time; --times FILE.csv says when they came"
            )
        note_collection(folder, module, self.taken)
        return chosen

    def _of_the_module(self, module: str, candidates: list[Candidate]) -> Candidate | None:
        """The latest notebook that is of the module or of none that is known; one that bears its name before others."""
        best, best_order = None, None
        by_rank = sorted(candidates, key=lambda one: (one.upload.rank, module in one.name), reverse=True)
        for candidate in by_rank[:MAX_LOOKED_INTO]:
            found = _module_of(candidate)
            if found not in (module, None):
                who = candidate.upload.student
                self.lines.append(f"{who}: {printable(candidate.name)[:200]} is of {found}; it was not collected")
                continue
            order = found is not None, candidate.upload.rank, module in candidate.name
            if best_order is None or order > best_order:
                best, best_order = candidate, order
        return best


def _module_of(candidate: Candidate) -> str | None:
    try:
        return apart.call(_module_in, reading.read_bytes(candidate.path), candidate.name)
    except (reading.Unreadable, TooCostly):
        # What cannot be read is collected all the same, so that a person sees it, unless its name says another module.
        named = [name for name in curriculum.names() if name in candidate.name]
        return named[0] if len(named) == 1 else None


def _module_in(content: bytes, name: str) -> str:
    return module_of(reading.parse(content), name)


def _is_there(folder: ClassFolder, student: str, module: str, path: Path, stamp: datetime | None) -> bool:
    """Does the same notebook, handed in at the same time, lie in submitted/ already?"""
    current = folder.submission(student, module)
    try:
        same = reading.read_bytes(current) == path.read_bytes()
    except reading.Unreadable:
        return False
    return same and stamp in (None, times.read_timestamp(current.parent))
