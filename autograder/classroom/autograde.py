"""Grades a class in two steps: Reports in parallel, without the database; then one writer puts them into nbgrader."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic

from autograder.classroom import bridge, penalties, present, record
from autograder.classroom.entering import Graded, enter
from autograder.classroom.folder import ClassFolder
from autograder.classroom.reports import Reports, Version, best, record_of, refused, versions
from autograder.errors import UserError
from autograder.files import write_atomically
from autograder.grading.report import Report

BATCH = 100  # submissions in one transaction
BATCH_BYTES = 64 * 2**20  # of notebooks that wait in memory to be written
BATCH_SECONDS = 2.0  # and no longer than this, so that a kill costs little


@dataclass(frozen=True)
class Entered:
    """What became of one submission. `cached`: its Report was there; `written`: the gradebook changed."""

    student: str
    module: str
    report: Report
    cached: bool
    written: bool
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict:
        """As one JSON line tells it."""
        return {
            "student": self.student,
            "module": self.module,
            "status": self.report.status,
            "score": self.report.score,
            "max_score": self.report.max_score,
            "seconds": round(self.report.seconds, 3),
            "cached": self.cached,
            "written": self.written,
            "verdicts": {result.id: result.verdict for result in self.report.exercises},
            "notes": [*self.notes, *self.report.notes],
        }


@dataclass
class Summary:
    """What a run came to."""

    submissions: int = 0
    graded: int = 0  # Reports made now
    written: int = 0
    seconds: float = 0.0
    verdicts: Counter = field(default_factory=Counter)
    slowest: list[tuple[float, str, str]] = field(default_factory=list)
    people: list[tuple[str, str, str]] = field(default_factory=list)  # who needs a person, where, and why
    faults: int = 0

    def add(self, entered: Entered) -> None:
        """Count one submission."""
        report = entered.report
        self.submissions += 1
        self.graded += not entered.cached
        self.written += entered.written
        self.faults += report.status == "grader_fault"
        self.verdicts.update(result.verdict for result in report.exercises)
        if not entered.cached:
            self.slowest = sorted([*self.slowest, (report.seconds, entered.student, entered.module)], reverse=True)[:5]
        if report.status != "graded":
            self.people.append((entered.student, entered.module, "; ".join(report.notes) or report.status))


@dataclass
class _Task:
    """One student's submission of a module, until all its versions have Reports."""

    student: str
    module: str
    found: list[tuple[Version, str]]
    notes: tuple[str, ...]
    reports: dict[str, Report] = field(default_factory=dict)
    cached: bool = True

    @property
    def complete(self) -> bool:
        return all(key in self.reports for _, key in self.found)

    def graded(self) -> Graded:
        chosen = best([(version, key, self.reports[key]) for version, key in self.found])
        return Graded(self.student, *chosen, current=self.found[-1][0].digest)


def plan(folder: ClassFolder, modules: Iterable[str], students: Iterable[str] | None) -> dict[str, list[str]]:
    """Whom to grade in which module. UserError for a module never released, and for a student who handed nothing in."""
    wanted = list(students) if students else None
    with folder.gradebook() as book:
        for module in modules:
            record.find_notebook(book, module)
    planned = {module: folder.submitted(module) for module in modules}
    if wanted is not None:
        for student in wanted:
            if not any(student in found for found in planned.values()):
                raise UserError(f"{student!r} has handed in nothing for {', '.join(planned)}")
        planned = {module: [student for student in found if student in wanted] for module, found in planned.items()}
    if not any(planned.values()):
        names = ", ".join(planned) or "any module"
        raise UserError(f"nobody has handed in {names}: no submissions in {folder.path / 'submitted'}/STUDENT/MODULE/")
    return planned


def autograde(
    folder: ClassFolder,
    planned: Mapping[str, list[str]],
    engine,
    *,
    force: bool = False,
    tell: Callable[[Entered], None] = lambda entered: None,
) -> Summary:
    """Grade what `plan` planned. `force` makes every Report anew. The caller holds the class's lock."""
    started = monotonic()
    summary = Summary()
    reports = Reports(folder)
    with folder.gradebook() as book:
        for module, students in planned.items():
            writer = _Writer(folder, module, book, force)
            tasks = (_task(folder, reports, student, module) for student in students)
            for task in _graded(tasks, reports, engine, force):
                for entered in writer.add(task):
                    summary.add(entered)
                    tell(entered)
            for entered in writer.flush():
                summary.add(entered)
                tell(entered)
        penalties.renew(folder, book, planned)
    summary.seconds = monotonic() - started
    return summary


def _task(folder: ClassFolder, reports: Reports, student: str, module: str) -> _Task:
    notes = tuple(bridge.set_aside(folder.path / "submitted" / student / module))
    found = [(version, reports.key(version, module)) for version in versions(folder, student, module)]
    return _Task(student, module, found, notes)


def _graded(tasks: Iterator[_Task], reports: Reports, engine, force: bool) -> Iterator[_Task]:
    """The tasks as their Reports become complete. Equal notebooks are graded once."""
    waiting: dict[str, list[_Task]] = {}
    parts: dict[str, dict[str, str]] = {}  # of the Reports that are being made: the keys of their exercises
    fresh: set[str] = set()  # with `force`: made anew in this run already

    def finish() -> Iterator[_Task]:
        key, report = engine.next()
        reports.store.put(key, report, parts.pop(key))
        fresh.add(key)
        for task in waiting.pop(key):
            task.reports[key] = report
            if task.complete:
                yield task

    for task in tasks:
        for version, key in task.found:
            kept = None if force and key not in fresh else reports.store.get(key)
            if (found := refused(version, task.module) or kept) is not None:
                task.reports[key] = found
                continue
            task.cached = False
            if key not in waiting:
                waiting[key], parts[key] = [], reports.exercise_keys(version, task.module)
                engine.submit(reports.job(version, key, task.module, None if force else task.student))
            waiting[key].append(task)
        if task.complete:
            yield task
        while engine.busy >= engine.window:
            yield from finish()
    while engine.busy:
        yield from finish()


class _Writer:
    """The one writer of a module: autograded/ and the gradebook, in batches."""

    def __init__(self, folder: ClassFolder, module: str, book, force: bool):
        self.folder, self.module, self.book, self.force = folder, module, book, force
        self.released = bridge.released(folder, module)
        self.penalty = penalties.configured(folder)
        self.known = record.submission_ids(book, module)
        self.batch: list[tuple[_Task, Graded]] = []
        self.bytes = 0
        self.since = monotonic()

    def add(self, task: _Task) -> Iterator[Entered]:
        """Take a graded submission; what was written because of it."""
        graded = task.graded()
        if not self.force and self._is_recorded(graded):
            yield self._entered(task, graded.report, written=False)
            return
        self.batch.append((task, graded))
        self.bytes += len(graded.version.content or b"")
        if len(self.batch) >= BATCH or self.bytes > BATCH_BYTES or monotonic() - self.since > BATCH_SECONDS:
            yield from self.flush()

    def flush(self) -> Iterator[Entered]:
        """Write what is waiting."""
        batch, self.batch, self.bytes = self.batch, [], 0
        graded = [graded for _, graded in batch]
        enter(self.folder, self.book, self.module, self.released, graded, self.penalty, self._put)
        self.since = monotonic()
        for task, graded in batch:
            yield self._entered(task, graded.report, written=True)

    def _entered(self, task: _Task, report: Report, written: bool) -> Entered:
        return Entered(task.student, self.module, report, task.cached, written, task.notes)

    def _is_recorded(self, graded: Graded) -> bool:
        noted = record_of(self.folder, self.module, graded.student)
        stamp = graded.version.timestamp.isoformat(" ") if graded.version.timestamp else None
        return (
            noted.get("key") == graded.key
            and noted.get("current") == graded.current
            and noted.get("timestamp") == stamp
            and noted.get("submission") == self.known.get(graded.student, "")
            and self.folder.autograded(graded.student, self.module).is_file()
        )

    def _put(self, graded: Graded, notebook: dict) -> None:
        """Write autograded/STUDENT/MODULE as nbgrader's autograde leaves it."""
        target = self.folder.autograded(graded.student, self.module)
        if target.parent.is_symlink() or target.parent.parent.is_symlink():
            raise UserError(f"{target.parent} is a link; remove it")
        write_atomically(target, present.dumps(notebook), mode=0o444)
        bridge.prune(target.parent, self.module)
        for name in bridge.KEPT:
            source, copied = graded.version.path.parent / name, target.parent / name
            copied.unlink(missing_ok=True)
            if source.is_file() and not source.is_symlink():
                shutil.copyfile(source, copied)
                os.chmod(copied, 0o444)
