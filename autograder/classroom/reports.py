"""Reports kept on disk under the hash of what produced them, and the submissions they belong to."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from autograder import curriculum
from autograder.classroom.engine import Job, grade
from autograder.classroom.folder import ClassFolder
from autograder.classroom.times import read_timestamp
from autograder.errors import UserError
from autograder.files import write_atomically
from autograder.grading import reading
from autograder.grading.report import ExerciseResult, Report, exercise_keys, report_key
from autograder.printing import printable
from autograder.sandbox import Limits

FAULTS = 2  # runs in which the grader fails on a notebook before it is left to a person


@dataclass(frozen=True)
class Version:
    """One thing that a student handed in for a module, and when (UTC; None where nobody wrote it down).

    The file is read once, here. `content` is None where it cannot be read, and `refusal` says why.
    """

    path: Path
    timestamp: datetime | None
    content: bytes | None
    refusal: str = ""

    @property
    def digest(self) -> str:
        """A SHA-256 (hex) of the notebook, or of why there is none."""
        return hashlib.sha256(
            b"refused: " + self.refusal.encode() if self.content is None else self.content
        ).hexdigest()


class ReportStore:
    """`folder/ab/abcdef....json`: one Report a file, written whole or not at all."""

    def __init__(self, folder: Path):
        self.folder = folder

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"

    def get(self, key: str) -> Report | None:
        """The Report of that key; None where it is not kept, is damaged, or says that the grader failed for once.

        A fault that came twice is kept, so that a class does not pay for it at every run.
        """
        report, faults, _ = self._read(key)
        if report is None or report.status != "grader_fault":
            return report
        if faults < FAULTS:
            return None
        return replace(report, notes=(*report.notes, f"It failed in {faults} runs; `lsml regrade` tries it again."))

    def put(self, key: str, report: Report, exercise_keys: Mapping[str, str] | None = None) -> None:
        """Keep a Report. A grader fault is kept for the list of faults, and made again at the next run, once."""
        values = replace(report, notebook=f"{report.module}.ipynb").to_dict()
        values["exercise_keys"] = dict(exercise_keys or {})
        if report.status == "grader_fault":
            values["faults"] = self._read(key)[1] + 1
        write_atomically(self._path(key), json.dumps(values, ensure_ascii=False), mode=0o600)

    def unchanged(self, key: str, exercise_keys: Mapping[str, str]) -> tuple[ExerciseResult, ...]:
        """The results of the Report of that key which a new one would repeat."""
        report, _, kept = self._read(key)
        if report is None or report.status == "grader_fault":
            return ()
        return tuple(result for result in report.exercises if kept.get(result.id) == exercise_keys.get(result.id, ""))

    def fault(self, key: str) -> Report | None:
        """The Report of a grader fault under that key, if that is what is kept."""
        report, _, _ = self._read(key)
        return report if report is not None and report.status == "grader_fault" else None

    def _read(self, key: str) -> tuple[Report | None, int, dict[str, str]]:
        """What is kept under a key: the Report, in how many runs the grader failed, and the exercises' keys."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            values = json.loads(self._path(key).read_bytes())
            return Report.from_dict(values), int(values.get("faults", 0)), dict(values.get("exercise_keys", {}))
        return None, 0, {}


class Reports:
    """The Reports of one class: kept ones, and new ones from the warm grader of this process."""

    def __init__(self, folder: ClassFolder, limits: Limits | None = None):
        self.limits = limits or Limits()
        self.store = ReportStore(folder.private / "reports")
        self._folder, self._secret = folder, folder.secret
        self._kept = folder.private / "known"
        self._kept.mkdir(mode=0o700, exist_ok=True)

    def key(self, version: Version, module: str) -> str:
        """Under what the Report of that notebook is kept; one that cannot be read has a key, and nothing under it."""
        if version.content is None:
            return version.digest
        return report_key(version.content, module, self._secret, self.limits)

    def exercise_keys(self, version: Version, module: str) -> dict[str, str]:
        """What the parts of that Report depend on."""
        return exercise_keys(version.content or b"", module, self._secret, self.limits)

    def get(self, version: Version, module: str) -> tuple[str, Report]:
        """The key and the Report of a notebook, made now where none is kept."""
        key = self.key(version, module)
        report = refused(version, module) or self.store.get(key)
        if report is None:
            report = grade(self.job(version, key, module))
            self.store.put(key, report, self.exercise_keys(version, module))
        return key, report

    def job(self, version: Version, key: str, module: str, student: str | None = None) -> Job:
        """The notebook as a job for an engine.

        With `student`, the job leaves out what the Report that is recorded for them says and a new one would repeat:
        after a change of hidden tests, the exercises that they do not judge.
        """
        before = record_of(self._folder, module, student).get("key") if student is not None else None
        done = self.store.unchanged(before, self.exercise_keys(version, module)) if before is not None else ()
        return Job(key, module, version.content, self._secret, self.limits, self._kept, done)


def refused(version: Version, module: str) -> Report | None:
    """The Report of what cannot even be read: it is one student's, and is never kept for another."""
    if version.content is not None:
        return None
    points = curriculum.load(module).max_score
    return Report(f"{module}.ipynb", module, "unreadable", 0.0, points, 0.0, (), (version.refusal,))


def _missing(path: Path) -> str:
    """Nothing there by the name that nbgrader expects; say what there is."""
    others = sorted(printable(other.name) for other in path.parent.glob("*.ipynb"))[:5]
    return f"there is no {path.name}" + (f", but {', '.join(others)}: rename it" if others else "")


def versions(folder: ClassFolder, student: str, module: str) -> list[Version]:
    """What a student handed in for a module: the current version last, earlier ones only where the best counts."""
    found = []
    if folder.options["resubmissions"] == "best":
        earlier = folder.private / "versions" / student / module
        found += [_version(path, module) for path in sorted(earlier.glob("*")) if path.is_dir()]
    return [*found, current(folder, student, module)]


def best(graded: list[tuple[Version, str, Report]]) -> tuple[Version, str, Report]:
    """The version that counts: the highest score, and of equal ones the latest. What was not graded loses to any."""

    def points(report: Report) -> float:
        return report.score if report.status == "graded" and report.score is not None else -1.0

    return max(enumerate(graded), key=lambda item: (points(item[1][2]), item[0]))[1]


def current(folder: ClassFolder, student: str, module: str) -> Version:
    """What lies in submitted/ now."""
    return _version(folder.submission(student, module).parent, module)


def _version(directory: Path, module: str) -> Version:
    path = directory / f"{module}.ipynb"
    try:
        return Version(path, read_timestamp(directory), reading.read_bytes(path))
    except reading.Unreadable as refusal:
        why = str(refusal) if os.path.lexists(path) else _missing(path)
        return Version(path, read_timestamp(directory), None, why)


def recorded(folder: ClassFolder, module: str) -> Iterator[tuple[str, dict]]:
    """Each student whose Report of a module is in the gradebook, with what was recorded then."""
    for path in (folder.private / "recorded" / module).glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            yield path.stem, json.loads(path.read_bytes())


def record_of(folder: ClassFolder, module: str, student: str) -> dict:
    """What was recorded for one student; empty where nothing was."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((folder.private / "recorded" / module / f"{student}.json").read_bytes())
    return {}


def note_recorded(
    folder: ClassFolder, module: str, student: str, key: str, submission: str, stamp: datetime | None, current: str
) -> None:
    """Remember that a Report is in the gradebook and its notebook in autograded/.

    `current`: the digest of what lay in submitted/ then. Another one since is not graded yet.
    """
    values = {"key": key, "submission": submission, "timestamp": stamp.isoformat(" ") if stamp else None}
    values["current"] = current
    write_atomically(folder.private / "recorded" / module / f"{student}.json", json.dumps(values), mode=0o600)


def extensions(folder: ClassFolder, module: str) -> dict[str, timedelta]:
    """The extensions that were granted with `lsml extend`, also to students who have handed in nothing yet."""
    path = folder.private / "extensions.json"
    if not path.exists():
        return {}
    try:
        granted = json.loads(path.read_bytes()).get(module, {})
        return {student: timedelta(days=days) for student, days in granted.items()}
    except (ValueError, AttributeError, TypeError, OverflowError):
        raise UserError(f"{path} is damaged; mend or delete it") from None
