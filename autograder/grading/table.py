"""A Report as a person reads it in a terminal."""

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
    "grader_fault": ("the grader failed, not you", "magenta"),
}


def print_report(console: Console, report: Report) -> None:
    """Print what a student needs to know: how far they are, then each test that failed and what to read next."""
    console.print(Text(safe(report.notebook), style="bold"))
    if report.status == "unreadable":
        console.print(Text(f"  {safe(' '.join(report.notes))}", style="red"))
        console.print()
        return
    console.print(_overview(report))
    for exercise in report.exercises:
        if exercise.verdict not in ("passed", "unanswered"):
            console.print(_details(exercise))
    for note in report.notes:
        console.print(Text(f"Note: {safe(note)}", style="yellow"))
    console.print(_closing(report))
    console.print()


def _overview(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("Exercise")
    table.add_column("Points", justify="right")
    table.add_column("")
    for exercise in report.exercises:
        words, style = WORDS[exercise.verdict]
        name = Text(exercise.id) + Text("  (extra)" if exercise.extra else "", style="dim")
        table.add_row(name, _points(exercise), Text(words, style=style))
    return table


def _points(exercise: ExerciseResult) -> str:
    return f"{'?' if exercise.score is None else _number(exercise.score)} / {exercise.points}"


def _number(points: float) -> str:
    return f"{points:.2f}".rstrip("0").rstrip(".")


def _details(exercise: ExerciseResult) -> Group:
    words, style = WORDS[exercise.verdict]
    parts = [Text(""), Text(exercise.id, style="bold") + Text(f": {words}", style=style)]
    parts += [_indented(line, 2) for line in exercise.message.splitlines()]
    for test in exercise.tests:
        parts += _test(test)
    return Group(*parts)


def _test(test: TestResult) -> list[Padding]:
    sentence, *more = test.message.splitlines() or [test.name]
    if test.passed:
        return [_indented(f"✓ {sentence}", 2, "green")]
    lines = [_indented(f"✗ {sentence}", 2, "red"), *(_indented(line, 4) for line in more)]
    if test.misconception:
        lines.append(_indented(f"It behaves like one that {test.misconception}.", 4, "yellow"))
    if test.shown:
        lines += [_indented(line, 6, "dim") for line in test.shown.splitlines()]
    if test.hint:
        lines.append(_indented(f"→ {test.hint}", 4, "cyan"))
    return lines


def _indented(line: str, by: int, style: str = "") -> Padding:
    text = line.lstrip(" ")
    return Padding(Text(text, style=style), (0, 0, 0, by + len(line) - len(text)))


def _closing(report: Report) -> Text:
    if report.score is None:
        return Text("\nNo score: the grader itself failed. Nothing is lost; run it again, or tell us.", style="magenta")
    score = f"\n{_number(report.score)} of {_number(report.max_score)} points"
    if report.score == report.max_score:
        return Text(f"{score}: all right. Well done.", style="bold green")
    waiting = sum(exercise.verdict == "unanswered" for exercise in report.exercises)
    left = f", {waiting} exercise{'s' if waiting > 1 else ''} not answered yet" if waiting else ""
    return Text(f"{score}{left}.", style="bold")
