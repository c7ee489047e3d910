"""What the gradebook says of a whole class, in a few queries whatever its size."""

from collections import defaultdict
from dataclasses import dataclass, field

from nbgrader.api import Assignment, Grade, Student, SubmittedAssignment, SubmittedNotebook
from rich.table import Table
from rich.text import Text

from autograder.classroom.export import all_scores
from autograder.classroom.folder import ClassFolder
from autograder.classroom.reports import ReportStore, current, recorded, refused
from autograder.grading.report import VERDICTS, Report
from autograder.printing import printable

COLOURS = {
    "passed": "green",
    "partial": "yellow",
    "unanswered": "bright_black",
    "untested": "bright_black",
    "grader_fault": "magenta",
}


@dataclass
class Standing:
    """One student in one module."""

    handed_in: bool = False
    graded: bool = False
    again: bool = False  # something else was handed in since it was graded
    score: float = 0.0  # so far
    final: bool = False
    waiting: bool = False  # a person must look
    flagged: bool = False  # in formgrader
    late: float = 0.0  # points taken off
    report: Report | None = None


@dataclass
class ClassStatus:
    """Students by modules."""

    modules: list[str]
    max_scores: dict[str, float]
    students: list[tuple[str, str]]  # id and name
    standings: dict[tuple[str, str], Standing] = field(default_factory=lambda: defaultdict(Standing))


def read(folder: ClassFolder, modules: list[str] | None = None, reports: bool = False) -> ClassStatus:
    """Read the gradebook and what lies in submitted/. `reports`: with each Report that is kept."""
    with folder.gradebook() as book:
        assignments, scores = all_scores(book, modules)
        people = book.db.query(Student).order_by(Student.last_name, Student.first_name, Student.id)
        students = [(one.id, " ".join(filter(None, (one.first_name, one.last_name)))) for one in people]
        status = ClassStatus(
            [assignment.name for assignment in assignments],
            {assignment.name: assignment.max_score for assignment in assignments},
            students,
        )
        rows = (
            book.db.query(
                SubmittedAssignment.student_id,
                Assignment.name,
                SubmittedNotebook.flagged,
                SubmittedNotebook.late_submission_penalty,
            )
            .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
            .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        )
        for student, module, flagged, penalty in rows:
            standing = status.standings[student, module]
            standing.graded = True
            standing.flagged, standing.late = bool(flagged), penalty or 0.0
            if found := scores.get((student, module)):
                standing.score, standing.final = found.points, found.final
        needing = (
            book.db.query(SubmittedAssignment.student_id, Assignment.name)
            .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
            .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
            .join(Grade, Grade.notebook_id == SubmittedNotebook.id)
            .filter(Grade.needs_manual_grade)
            .distinct()
        )
        for student, module in needing:
            status.standings[student, module].waiting = True
    known = {student for student, _ in students}
    for module in status.modules:
        for student in folder.submitted(module):
            status.standings[student, module].handed_in = True
            if student not in known:
                status.students.append((student, ""))
                known.add(student)
        for student in ungraded(folder, module):
            status.standings[student, module].again = status.standings[student, module].graded
        if reports:
            store = ReportStore(folder.private / "reports")
            for student, noted in recorded(folder, module):
                found = store.get(noted["key"]) or store.fault(noted["key"])
                status.standings[student, module].report = found
            for student in folder.submitted(module):
                version = current(folder, student, module)
                if version.content is None:  # no Report of it is kept
                    status.standings[student, module].report = refused(version, module)
    return status


def ungraded(folder: ClassFolder, module: str) -> set[str]:
    """The students whose submission in submitted/ is not the one that was there when they were graded, or is new."""
    noted = {student: values.get("current") for student, values in recorded(folder, module)}
    return {
        student
        for student in folder.submitted(module)
        if student not in noted or noted[student] not in (None, current(folder, student, module).digest)
    }


def shown(text: str, style: str = "") -> Text:
    """A name, or what a person wrote, for a terminal: neither rich's markup nor an escape sequence is followed."""
    return Text(printable(text), style=style)


def table(status: ClassStatus, title: str, limit: int | None = None) -> Table:
    """Students by modules: score, and what is still to be done."""
    made = Table(title=shown(title), title_justify="left", header_style="bold")
    made.add_column("student", overflow="fold")
    made.add_column("name", style="dim", overflow="fold")
    for module in status.modules:
        # A name too long for its column goes on below itself; it is not cut.
        made.add_column(Text(f"{module}\nof {status.max_scores[module]:g}"), justify="right", overflow="fold")
    for student, name in status.students[:limit]:
        made.add_row(
            shown(student), shown(name), *(_cell(status.standings[student, module]) for module in status.modules)
        )
    if limit is not None and len(status.students) > limit:
        made.add_row(f"... {len(status.students) - limit} more", "", *("" for _ in status.modules))
    return made


def _cell(standing: Standing) -> Text:
    if not standing.graded:
        return Text("not graded", style="yellow") if standing.handed_in else Text("–", style="dim")
    text = Text(f"{standing.score:g}" if standing.final else f"{standing.score:g} + ?")
    if standing.late:
        text.append(f" (late -{standing.late:g})", style="red")
    if standing.again:
        text.append(" handed in again", style="yellow")
    if standing.waiting:
        text.append(" person", style="magenta")
    if standing.flagged:
        text.append(" flagged", style="magenta")
    return text


def verdict_table(status: ClassStatus, module: str, title: str) -> Table:
    """One module: each student's score, and what became of the exercises."""
    made = Table(title=shown(title), title_justify="left", header_style="bold")
    made.add_column("student")
    made.add_column(f"score of {status.max_scores[module]:g}", justify="right")
    made.add_column("exercises")
    for student, _ in status.students:
        standing = status.standings[student, module]
        if standing.graded or standing.handed_in:
            made.add_row(shown(student), _cell(standing), _verdicts(standing.report))
    return made


def _verdicts(report: Report | None) -> Text:
    """How many passed and are unanswered, and the names of all others."""
    text = Text()
    if report is None:
        return text
    if report.status == "unreadable":
        return shown("unreadable: " + "; ".join(report.notes), "magenta")
    names = defaultdict(list)
    for result in report.exercises:
        names[result.verdict].append(result.id)
    for verdict in sorted(names, key=VERDICTS.index):
        few = verdict not in ("passed", "unanswered", "untested")
        what = f"{verdict} {', '.join(names[verdict])}" if few else f"{len(names[verdict])} {verdict}"
        text.append(("; " if text else "") + what, style=COLOURS.get(verdict, "red"))
    for result in report.exercises:
        said = next((test.misconception for test in result.tests if test.misconception), None)
        if said:
            text.append(f"\n{result.id} behaves like one that {said}", style="dim")
    return text


def faults(status: ClassStatus) -> list[tuple[str, str, str]]:
    """Submissions that the grader could not judge or a person has flagged: student, module and why."""
    found = []
    for (student, module), standing in sorted(status.standings.items()):
        report = standing.report
        if report is not None and report.status != "graded":
            names = ", ".join(result.id for result in report.exercises if result.score is None)
            why = [f"the grader failed on {names}"] if names else [report.status]
            found.append((student, module, "; ".join([*why, *report.notes])))
        if standing.flagged:
            found.append((student, module, "flagged in formgrader"))
    return found
