"""A Report as a person reads it in a terminal."""

from collections.abc import Iterable

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autograder.grading.messages import safe
from autograder.grading.report import ExerciseResult, Report, TestResult

WORDS = {
    "passed": ("right", "green"),
    "partial": ("partly right", "yellow"),
    "failed": ("not right yet", "red"),
    "error": ("raised an error", "red"),
    "timeout": ("took too long", "red"),
    "memory": ("used too much memory", "red"),
    "crashed": ("ended its own process", "red"),
    "unanswered": ("not answered yet", "dim"),
    "untested": ("not tested here", "dim"),
    "grader_fault": ("the grader failed, not you", "magenta"),
}


COMPARISONS = (
    "What was returned has",
    "It raised nothing",
)  # of one test's own input, so each test keeps its own


def print_report(console: Console, report: Report, several: bool = False, written: int = 0) -> None:
    """Print what a student needs to know: what to mend, the first thing first, and at the end how far they are.

    `several`: other notebooks' reports stand above and below, so that each begins with its name. `written`: the points
    of the module's questions in words, which are not in the report.
    """
    name = Text(safe(report.notebook), style="bold")
    if report.status == "unreadable":
        console.print(name + Text(f" {safe(' '.join(report.notes))}", style="red"))
        return
    if several:
        console.print(name)
    for note in report.notes:
        console.print(Text(f"Note: {safe(note)}\n", style="yellow"))
    for exercise in report.exercises:
        if exercise.verdict not in ("passed", "unanswered"):
            console.print(_details(exercise))
    if not several:
        console.print(name)
    console.print(_overview(report))
    console.print(_closing(report))
    if written:
        points = "1 more point is" if written == 1 else f"{written} more points are"
        console.print(f"{points} for what you write in words: a person reads that.", style="dim")


def _overview(report: Report) -> Table:
    """At most 80 columns wide."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("Exercise", max_width=38, overflow="fold")
    table.add_column("Points", justify="right")
    table.add_column("")
    for exercise in report.exercises:
        words, style = WORDS[exercise.verdict]
        name = Text(exercise.id) + Text(" (extra)" if exercise.extra else "", style="dim")
        table.add_row(name, _points(exercise), Text(words, style=style))
    return table


def _points(exercise: ExerciseResult) -> str:
    return f"{'?' if exercise.score is None else _number(exercise.score)} / {exercise.points}"


def _number(points: float) -> str:
    return f"{points:.2f}".rstrip("0").rstrip(".")


def _details(exercise: ExerciseResult) -> Group:
    words, style = WORDS[exercise.verdict]
    parts = [Text(exercise.id, style="bold") + Text(f": {words}", style=style)]
    parts += [_indented(line, 2) for line in exercise.message.splitlines()]
    said: set[str] = set()
    for test, others in _told_once(exercise.tests):
        parts += _test(test, others, said)
    return Group(*parts, Text(""))


def _told_once(tests: Iterable[TestResult]) -> list[tuple[TestResult, int]]:
    """The tests to tell of, each with the number of those that ended like it: one exception, one time that ran out."""
    told: dict[str, list[TestResult]] = {}
    for test in tests:
        detail = test.message.partition("\n")[2]
        own = test.passed or test.shown or not detail or detail.startswith(COMPARISONS)
        told.setdefault(test.name if own else detail, []).append(test)
    return [(alike[0], len(alike) - 1) for alike in told.values()]


def _test(test: TestResult, others: int, said: set[str]) -> list[Padding]:
    """The lines of one test. `said`: what need not be said again, such as one hint of several tests."""
    sentence, *more = test.message.splitlines() or [test.name]
    if test.passed:
        return [_indented(f"✓ {sentence}", 2, "green")]
    lines = [_indented(f"✗ {sentence}", 2, "red"), *(_indented(line, 4) for line in more)]
    if others:
        lines.append(_indented(f"The same holds for {others} more test{'s' if others > 1 else ''}.", 4))
    if test.misconception and test.misconception not in said:
        lines.append(_indented(f"It behaves like one that {test.misconception}.", 4, "yellow"))
    if test.shown:
        lines += [_indented(line, 6, "dim") for line in test.shown.splitlines()]
    if test.hint and test.hint not in said:
        lines.append(_indented(f"→ {test.hint}", 4, "cyan"))
    said |= {test.misconception or "", test.hint or ""}
    return lines


def _indented(line: str, by: int, style: str = "") -> Padding:
    text = line.lstrip(" ")
    return Padding(Text(text, style=style), (0, 0, 0, by + len(line) - len(text)), expand=False)


def _closing(report: Report) -> Text:
    if report.score is None:
        return Text("No score: the grader itself failed. Nothing is lost; run it again, or tell us.", style="magenta")
    score = f"{_number(report.score)} of {_number(report.max_score)} points"
    if report.score == report.max_score:
        return Text(f"{score}: all right. Well done.", style="bold green")
    waiting = sum(exercise.verdict == "unanswered" for exercise in report.exercises)
    left = f", {waiting} exercise{'s' if waiting > 1 else ''} not answered yet" if waiting else ""
    return Text(f"{score}{left}.", style="bold")
