"""What calibration found, for a person at a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from autograder.proving.calibrate import Row

COLUMNS = (
    "right\naccepted",
    "wrong\nrejected",
    "for the\nreason",
    "diagnosed\nas such",
    "trivial\nscore",
    "mutants\nkilled",
    "explained",
    "seconds",
)


def show(rows: Sequence[Row], console: Console, *, survivors: bool = True) -> None:
    """One exercise a row, each module's share, the mutants that survived and are not explained, the bars missed."""
    table = Table(box=None, pad_edge=False)
    table.add_column("exercise", overflow="fold")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for row in rows:
        colour = "red" if row.problems else "green"
        mutants = f"{row.killed}/{row.mutants}" + (
            f" of {row.mutants_in_all}" if row.mutants < row.mutants_in_all else ""
        )
        counts = ["{}/{}".format(*pair) for pair in (row.right, row.wrong, row.intended, row.diagnosed)]
        cells = [*counts, f"{row.trivial:.0%}", mutants, str(row.explained), f"{row.seconds:.1f}"]
        table.add_row(f"[{colour}]{escape(row.exercise)}[/] [dim]{escape(row.module[:2])}[/]", *cells)
    console.print(table)
    for module in dict.fromkeys(row.module for row in rows):
        own = [row for row in rows if row.module == module]
        good, tried = sum(row.killed + row.explained for row in own), sum(row.mutants for row in own)
        share = f"{good} of {tried} mutants killed or explained, {good / max(tried, 1):.1%}"
        console.print(f"\n{escape(module)}: {share}")
    for row in rows:
        for survivor in row.survivors if survivors else ():
            where, _, diff = survivor.partition("\n")
            console.print(f"\n[yellow]survived[/] {escape(row.exercise)}, {escape(where)}", highlight=False)
            console.print("\n".join(f"    {line}" for line in diff.splitlines()), markup=False, highlight=False)
    problems = [(row.exercise, problem) for row in rows for problem in row.problems]
    if problems:
        console.print()
    for exercise, problem in problems:
        console.print(f"[red]✗[/] {escape(exercise)}: {escape(problem)}", highlight=False, soft_wrap=True)
