"""What the Reports of a class say together: where it failed and why, which tests tell something, who needs a talk."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from autograder import curriculum
from autograder.classroom.folder import ClassFolder
from autograder.classroom.status import ClassStatus
from autograder.errors import UserError
from autograder.files import write_atomically
from autograder.grading.report import Report

FEW = 10  # with fewer answers a correlation says nothing
WEAK, LOW, FALL = 0.1, 0.4, 0.3  # a correlation that is none; a low share of the points; a fall from one's own mean


@dataclass(frozen=True)
class ExerciseFigures:
    """One exercise over the class. Shares are of its points, from 0 to 1.

    `discrimination`: the correlation of its share with that of the rest of the module, over those who have both; None
    with fewer than FEW of them, or where either is the same for all.
    """

    name: str
    points: int
    extra: bool
    answered: int
    mean: float
    full: int
    discrimination: float | None


@dataclass(frozen=True)
class TestFigures:
    """One hidden test over those who answered its exercise; `discrimination` as for an exercise."""

    __test__ = False  # not for pytest to collect

    exercise: str
    name: str
    sentence: str
    answered: int
    passed: int
    discrimination: float | None

    @property
    def says(self) -> str:
        """What it tells, in words; "" where too few have answered, or where it is as a test should be."""
        if self.answered < FEW:
            return ""
        if self.passed in (0, self.answered):
            return (
                "all pass: it tells nothing here" if self.passed else "all fail: is it right, and its sentence clear?"
            )
        if self.discrimination is not None and self.discrimination < -WEAK:
            return "the weaker pass it more often: look at it"
        if self.discrimination is not None and self.discrimination < WEAK:
            return "strong and weak pass it alike"
        return "tells strong from weak" if (self.discrimination or 0) >= 0.3 else ""


@dataclass(frozen=True)
class Misconception:
    """A known wrong answer that some answers behave like: "It behaves like one that ..."."""

    exercise: str
    says: str
    students: tuple[str, ...]


@dataclass(frozen=True)
class ModuleFigures:
    """One module over the class. `shares` are those of the graded submissions, without extras and penalties."""

    name: str
    title: str
    max_score: float
    handed_in: int
    missing: int
    shares: tuple[float, ...]
    attempts: float
    exercises: tuple[ExerciseFigures, ...]
    tests: tuple[TestFigures, ...]
    misconceptions: tuple[Misconception, ...]


@dataclass(frozen=True)
class Talk:
    """A student somebody should talk to, and why; the heavier the reasons, the higher `weight`."""

    student: str
    name: str
    reasons: tuple[str, ...]
    weight: float


def modules(status: ClassStatus, folder: ClassFolder) -> list[ModuleFigures]:
    """The figures of each module that anybody has handed in."""
    return [_module(status, folder, name) for name in status.modules if any(_reports(status, name))]


def _reports(status: ClassStatus, module: str) -> Iterator[tuple[str, Report]]:
    for student, _ in status.students:
        report = status.standings[student, module].report
        if report is not None and report.status == "graded":
            yield student, report


def _module(status: ClassStatus, folder: ClassFolder, name: str) -> ModuleFigures:
    found = dict(_reports(status, name))
    handed_in = [student for student, _ in status.students if status.standings[student, name].handed_in]
    module = curriculum.load(name)
    misconceptions: dict[tuple[str, str], list[str]] = defaultdict(list)
    for student, report in found.items():
        said = {(e.id, test.misconception) for e in report.exercises for test in e.tests if test.misconception}
        for key in said:
            misconceptions[key].append(student)
    most = sorted(misconceptions.items(), key=lambda item: (-len(item[1]), item[0]))
    return ModuleFigures(
        name,
        module.title,
        module.max_score,
        len(handed_in),
        len(status.students) - len(handed_in),
        tuple(report.score / report.max_score for report in found.values() if report.max_score),
        fmean([1 + _earlier(folder, student, name) for student in handed_in]) if handed_in else 0.0,
        tuple(_exercises(list(found.values()))),
        tuple(_tests(list(found.values()))),
        tuple(Misconception(*key, tuple(students)) for key, students in most),
    )


def _earlier(folder: ClassFolder, student: str, module: str) -> int:
    """How many earlier versions of a submission are kept."""
    return sum(path.is_dir() for path in (folder.private / "versions" / student / module).glob("*"))


def _exercises(reports: Sequence[Report]) -> Iterator[ExerciseFigures]:
    for name, results in _by_exercise(reports).items():
        shares = [result.score / result.points for _, result in results]
        rest = [_rest(report, name) for report, _ in results]
        answered = [result.verdict not in ("unanswered", "untested") for _, result in results]
        any_of = results[0][1]
        yield ExerciseFigures(
            name,
            any_of.points,
            any_of.extra,
            sum(answered),
            fmean(shares),
            sum(share == 1 for share in shares),
            correlation(shares, rest),
        )


def _tests(reports: Sequence[Report]) -> Iterator[TestFigures]:
    for name, results in _by_exercise(reports).items():
        passed, rest, sentences = defaultdict(list), defaultdict(list), {}
        for report, result in results:
            for test in result.tests:
                passed[test.name].append(float(test.passed))
                rest[test.name].append(_rest(report, name))
                sentences.setdefault(test.name, test.message.partition("\n")[0])
        for test, values in passed.items():
            figures = len(values), int(sum(values)), correlation(values, rest[test])
            yield TestFigures(name, test, sentences[test], *figures)


def _by_exercise(reports: Sequence[Report]) -> dict[str, list]:
    found = defaultdict(list)
    for report in reports:
        for result in report.exercises:
            if result.score is not None:
                found[result.id].append((report, result))
    return found


def _rest(report: Report, exercise: str) -> float:
    """The share of the points of all other exercises that count."""
    others = [result for result in report.exercises if result.id != exercise and not result.extra]
    return sum(result.score or 0.0 for result in others) / max(1, sum(result.points for result in others))


def correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's correlation; None with fewer than FEW pairs, or where either is constant."""
    if len(x) < FEW or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def talks(status: ClassStatus, figures: Sequence[ModuleFigures]) -> list[Talk]:
    """Who needs a talk, the most urgent first: nothing handed in, few points, a fall from what was usual before."""
    found = []
    for student, name in status.students:
        shares, reasons, weight = [], [], 0.0
        for module in figures:
            standing = status.standings[student, module.name]
            number = module.name[:2]
            if not standing.handed_in:
                reasons.append(f"{number}: nothing handed in")
                weight += 1.0
                continue
            report = standing.report
            if report is None or report.status != "graded" or not report.max_score:
                continue
            share = report.score / report.max_score
            if share < LOW:
                reasons.append(f"{number}: {share:.0%} of the points, {_verdicts(report)}")
                weight += 1.0 - share
            elif shares and share < fmean(shares) - FALL:
                reasons.append(f"{number}: {share:.0%} after {fmean(shares):.0%} before")
                weight += fmean(shares) - share
            shares.append(share)
        if reasons:
            found.append(Talk(student, name, tuple(reasons), weight))
    return sorted(found, key=lambda talk: (-talk.weight, talk.student))


def _verdicts(report: Report) -> str:
    counted = Counter(result.verdict for result in report.exercises if result.verdict != "passed" and not result.extra)
    return ", ".join(f"{count} {verdict}" for verdict, count in counted.most_common())


# What changed since the last time


def changes(folder: ClassFolder, status: ClassStatus) -> list[str]:
    """A line for each module that has other submissions or scores than at the last report; none at the first."""
    before, lines = _last(folder), []
    if before is None:
        return []
    for module in status.modules:
        was, now = before.get(module, {}), _scores(status, module)
        new = len(now.keys() - was.keys())
        other = [now[student] - was[student] for student in now.keys() & was.keys() if now[student] != was[student]]
        up = sum(difference > 0 for difference in other)
        parts = [f"{new} newly graded"] * bool(new)
        parts += [f"{up} with more points"] * bool(up) + [f"{len(other) - up} with fewer"] * (len(other) > up)
        if parts:
            lines.append(f"{module}: {', '.join(parts)}")
    return lines


def remember(folder: ClassFolder, status: ClassStatus) -> None:
    """Keep the scores of today for the next report's changes; modules that were not asked for stay as they are."""
    scores = (_last(folder) or {}) | {module: _scores(status, module) for module in status.modules}
    write_atomically(folder.private / "report.json", json.dumps(scores), mode=0o600)


def _scores(status: ClassStatus, module: str) -> dict[str, float]:
    return {student: report.score for student, report in _reports(status, module)}


def _last(folder: ClassFolder) -> dict[str, dict[str, float]] | None:
    path = folder.private / "report.json"
    if not path.exists():
        return None
    try:
        scores = json.loads(path.read_bytes())
        return {module: {one: float(score) for one, score in of.items()} for module, of in scores.items()}
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged; mend or delete it") from None
