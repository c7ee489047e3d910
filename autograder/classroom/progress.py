"""What a person sees while a class is graded, and at the end."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from autograder.classroom.autograde import Entered, Summary
from autograder.printing import printable


@contextmanager
def bar(total: int, what: str, as_json: bool = False) -> Iterator[Callable[[Entered | None], None]]:
    """A function to tell what became of each submission: a bar on a terminal, JSON lines if asked for, else silent."""
    if as_json:

        def say(entered: Entered | None) -> None:
            if entered is not None:
                print(json.dumps(entered.to_dict(), ensure_ascii=False), flush=True)

        yield say
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda entered: _note(entered, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("so far,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True, speed_estimate_period=600) as progress:
        task = progress.add_task(what, total=total, rate="")

        def advance(entered: Entered | None) -> None:
            _note(entered, progress.console)
            progress.advance(task)
            # They come a batch at a time, so only the rate since the start means anything.
            elapsed = progress.tasks[0].elapsed
            progress.update(task, rate=f"{60 * progress.tasks[0].completed / elapsed:,.0f}/min" if elapsed else "")

        yield advance


def _note(entered: Entered | None, console: Console) -> None:
    if entered is not None:
        for note in entered.notes:
            console.print(printable(note), style="yellow", markup=False, highlight=False)


def summary(found: Summary, console: Console) -> None:
    """The end of a run, in a few lines."""
    what = "submission" if found.submissions == 1 else "submissions"
    rate = f", {60 * found.submissions / found.seconds:,.0f} a minute" if found.seconds else ""
    console.print(
        f"{found.submissions} {what} in {found.seconds:.1f} s{rate}: "
        f"{found.graded} graded, {found.submissions - found.graded} graded before, {found.written} written",
        highlight=False,
    )
    if found.verdicts:
        console.print(
            "exercises: " + ", ".join(f"{count} {verdict}" for verdict, count in found.verdicts.most_common()),
            highlight=False,
        )
    if found.slowest:
        slow = ", ".join(f"{student} {seconds:.1f} s" for seconds, student, _ in found.slowest)
        console.print(f"slowest: {slow}", highlight=False, markup=False)
    for student, module, why in found.people[:20]:
        line = f"needs a person: {student}, {module}: {printable(why)}"
        console.print(line, style="magenta", highlight=False, markup=False)
    if len(found.people) > 20:
        console.print(f"... and {len(found.people) - 20} more: `lsml regrade` lists them", style="magenta")


def stdout() -> Console:
    """Where results go."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)
