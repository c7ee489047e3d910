"""`lsml progress`, `lsml hint`, `lsml request` and `lsml watch`."""

import argparse
import os
import stat
import sys
from pathlib import Path

from autograder import curriculum, interrupts
from autograder.errors import UserError


def add_commands(subparsers) -> None:
    """Add `progress`, `hint`, `request` and `watch` to the command line."""
    progress = subparsers.add_parser("progress", help="all modules with your points, and what to do next")
    progress.set_defaults(run=run_progress)
    hint = subparsers.add_parser("hint", help="the next hint to an exercise")
    hint.add_argument("module", metavar="MODULE", help="such as 01")
    hint.add_argument("exercise", metavar="EXERCISE", help="such as mse_gradient")
    hint.add_argument("number", nargs="?", type=int, metavar="NUMBER", help="this hint, and not the next")
    hint.set_defaults(run=run_hint)
    request = subparsers.add_parser("request", help="ask for another look at an exercise, in your notebook")
    request.add_argument("module", metavar="MODULE", help="such as 01")
    request.add_argument("exercise", metavar="EXERCISE", help="such as mse_gradient")
    request.add_argument("why", metavar="WHY", help="what you think was judged wrongly, in quotes")
    request.set_defaults(run=run_request)
    watch = subparsers.add_parser("watch", help="grade notebooks in work/ whenever they are saved, as `lsml lab` does")
    watch.add_argument("--root", type=Path, default=curriculum.ROOT, help="the checkout whose work/ is watched")
    watch.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    watch.add_argument(
        "--sandbox",
        choices=("bubblewrap", "none"),
        default="bubblewrap",
        help="'none' runs the code without protection: for your own notebooks only",
    )
    watch.set_defaults(run=run_watch)


def run_progress(arguments: argparse.Namespace) -> int:
    """Print a table of all modules, and draw them on a page."""
    with interrupts.at_once():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from autograder.desk import page
        from autograder.desk.standing import standings, what_next
        from autograder.files import write_atomically
        from autograder.grading.kept import FOLDER
        from autograder.sandbox import Limits

    found = standings(Limits())
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title, justify in (("Module", "left"), ("Points", "right"), ("", "left")):
        table.add_column(title, justify=justify)
    for one in found:
        words, style = _state(one)
        table.add_row(one.module.title, f"{one.score:.4g} / {one.module.max_score}", Text(words, style=style))
    console.print(table)
    console.print(Text(what_next(found), style="bold"))
    target = curriculum.ROOT / FOLDER / "progress.html"
    write_atomically(target, page.render(found))
    console.print(Text(f"The map of the modules: {target.relative_to(curriculum.ROOT)}", style="dim"))
    return 0


def _state(standing) -> tuple[str, str]:
    number = standing.module.name[:2]
    if standing.report is None:
        return "not graded yet", "dim"
    if not standing.current:
        return f"changed since; `lsml grade {number}` looks again", "yellow"
    if standing.done:
        return "done", "green"
    right = sum(e.verdict == "passed" for e in standing.report.exercises if not e.extra)
    counted = sum(not e.extra for e in standing.report.exercises)
    return f"{right} of {counted} exercises right", ""


def run_hint(arguments: argparse.Namespace) -> int:
    """Print the next hint to an exercise, or the one asked for. UserError where there is no such exercise or hint."""
    with interrupts.at_once():
        from rich.console import Console
        from rich.markdown import Markdown

        from autograder.desk import hints

    module, exercise = curriculum.find(arguments.module, arguments.exercise)
    found = hints.hints(module, exercise)
    if not found:
        raise UserError(f"{exercise.name} has no hints")
    number = arguments.number or hints.next_number(module, exercise)
    if arguments.number is not None and not 1 <= arguments.number <= len(found):
        raise UserError(f"{exercise.name} has hints 1 to {len(found)}")
    if number > len(found):
        again = f"`lsml hint {module.name[:2]} {exercise.name} 1` shows the first again"
        raise UserError(f"{exercise.name} has no more hints than the {len(found)} that you have seen; {again}")
    hint = found[number - 1]
    console = Console(highlight=False)
    console.print(hint.title, style="bold", markup=False)
    console.print(Markdown(hint.text))
    if number < len(found):
        console.print(f"{len(found) - number} more: the same command again.", style="dim")
    hints.remember(module, exercise, number)
    return 0


def run_request(arguments: argparse.Namespace) -> int:
    """Write a request for another look into the notebook in work/, as its last cell. UserError."""
    with interrupts.at_once():
        import nbformat

        from autograder.files import write_atomically
        from autograder.grading import kept, reading

    module, exercise = curriculum.find(arguments.module, arguments.exercise)
    if not arguments.why.strip():
        raise UserError("say why: what do you think was judged wrongly?")
    path = kept.notebook(module.name)
    try:
        notebook = nbformat.reads(reading.read_bytes(str(path)).decode("utf-8"), as_version=4)
    except (reading.Unreadable, ValueError) as refusal:
        raise UserError(f"{path.relative_to(curriculum.ROOT)} {refusal}") from None
    head = f"**Regrade request: `{exercise.name}`**"
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith(head)]
    notebook.cells.append(nbformat.v4.new_markdown_cell(f"{head}\n\n{arguments.why.strip()}"))
    write_atomically(path, nbformat.writes(notebook) + "\n", mode=stat.S_IMODE(path.stat().st_mode))
    print(f"written as the last cell of {path.relative_to(curriculum.ROOT)}; hand the notebook in again")
    print("(if it is open in JupyterLab: File, Reload Notebook from Disk)")
    return 0


def run_watch(arguments: argparse.Namespace) -> int:
    """Grade notebooks as they are saved, until Ctrl-C."""
    with interrupts.at_once():
        from autograder.desk import watching

    def tell(line: str) -> None:
        print(line, flush=True)

    def drain() -> None:
        while os.read(0, 4096):  # not sys.stdin: a thread that reads it holds a lock which the interpreter's end needs
            pass

    watching.watch(arguments.sandbox, tell, drain if arguments.until_eof else None, arguments.root)
    return 0
