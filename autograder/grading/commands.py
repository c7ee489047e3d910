"""`lsml grade`, `lsml solution` and `lsml doctor`."""

import argparse
import contextlib
import json
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autograder import interrupts, startup
from autograder.errors import UserError

if TYPE_CHECKING:
    from autograder.grading.grade import Grader
    from autograder.grading.report import Report


def add_commands(subparsers) -> None:
    """Add `grade`, `solution` and `doctor` to the command line."""
    grade = subparsers.add_parser("grade", help="grade your own notebooks with the hidden tests")
    grade.add_argument(
        "notebooks",
        nargs="*",
        metavar="NOTEBOOK",
        help="a notebook, or a module such as 01 for its notebook in work/; without any, the notebook of this folder",
    )
    grade.add_argument(
        "--exercise", action="append", metavar="NAME", help="this exercise alone; may be given several times"
    )
    grade.add_argument("--show", action="store_true", help="add input, result and expected value to each failed test")
    grade.add_argument("--json", action="store_true", help="print one JSON object a notebook, a line each")
    grade.set_defaults(run=run_grade)
    solution = subparsers.add_parser("solution", help="show the reference's answer to an exercise that you have right")
    solution.add_argument("module", metavar="MODULE", help="such as 01")
    solution.add_argument("exercise", metavar="EXERCISE", help="such as mse_gradient")
    solution.add_argument("--anyway", action="store_true", help="show it before your own answer is right")
    solution.set_defaults(run=run_solution)
    for command in (grade, solution):
        command.add_argument(
            "--sandbox",
            choices=("bubblewrap", "none"),
            default="bubblewrap",
            help="'none' runs the code without protection: for your own notebooks only",
        )
    doctor = subparsers.add_parser("doctor", help="say what this machine can do, and what to install")
    doctor.set_defaults(run=run_doctor)


def run_grade(arguments: argparse.Namespace) -> int:
    """Grade each notebook. 0: all have a report; 1: the grader failed on one; UserError before anything is graded.

    With --json a file that is no notebook gets its line, so that a program may hand over a folder full of anything.
    """
    with interrupts.at_once():
        from autograder.grading import chosen

        paths = chosen.notebooks(arguments.notebooks)
        refusals = {path: why for path in paths if (why := chosen.unreadable(path)) is not None}
    if refusals and not arguments.json:
        raise UserError("\n".join(f"{path} {why}" for path, why in refusals.items()))
    failed = False
    for report in _reports(paths, refusals, arguments):
        failed |= report.status == "grader_fault"
        _print(report, arguments.json, several=len(paths) > 1, whole=not arguments.exercise)
    return int(failed)


def _reports(paths: list[str], refusals: dict[str, str], arguments: argparse.Namespace) -> Iterator["Report"]:
    """A Report for each path, in order. The sandbox is started before the first that can be graded."""
    from autograder.grading import kept
    from autograder.grading.live import Live
    from autograder.grading.report import Report

    with contextlib.ExitStack() as stack:
        grader = None
        for path in paths:
            if path in refusals:
                yield Report(path, None, "unreadable", 0.0, None, 0.0, notes=(refusals[path],))
                continue
            with Live(show=not arguments.json) as live:
                if grader is None:
                    live.begin("starting the sandbox")
                    named = {Path(path).stem for path in paths}
                    grader = stack.enter_context(_grader(arguments.sandbox, named))
                grader.begun = live.begin
                content = kept.own(path)
                report = _graded(grader, path, arguments)
                if content is not None and content == kept.own(path) and not arguments.exercise:
                    kept.put(report, content, grader.limits)
            yield report


def _graded(grader: "Grader", path: str, arguments: argparse.Namespace) -> "Report":
    """The Report of a notebook, or of those of its exercises that were asked for, and nothing else run."""
    from autograder import curriculum
    from autograder.grading import rebuild, verdicts
    from autograder.grading.reading import Unreadable

    if not arguments.exercise:
        return grader.grade(path, show=arguments.show)
    try:
        name, _ = rebuild.read(path, grader.root)
    except Unreadable:
        return grader.grade(path)
    wanted = [curriculum.find(name, exercise, grader.root)[1] for exercise in arguments.exercise]
    module = curriculum.load(name, grader.root)
    others = [verdicts.exercise_result(e, "unanswered", 0.0) for e in module.exercises if e not in wanted]
    report = grader.grade(path, show=arguments.show, done=others)
    asked = tuple(result for result in report.exercises if result.id in arguments.exercise)
    most = float(sum(exercise.points for exercise in module.exercises if exercise in wanted and not exercise.extra))
    score = None if report.score is None else round(sum(result.score for result in asked if not result.extra), 4)
    return replace(report, exercises=asked, score=score, max_score=most)


@contextlib.contextmanager
def _grader(sandbox: str, expected: Collection[str]) -> Iterator["Grader"]:
    """A grader. Of the `expected` names, those of modules say what its sandbox will need."""
    with contextlib.ExitStack() as stack:
        with startup.importing():
            with interrupts.at_once():
                from autograder import curriculum
                from autograder.grading.opening import Opening
                from autograder.sandbox import Limits, SandboxUnavailable
            names = [name for name in curriculum.names() if name in expected]
            opening = stack.enter_context(Opening(sandbox, Limits(), names))
            try:
                with interrupts.at_once():
                    from autograder.grading.grade import Grader
                grader = stack.enter_context(Grader(opening))
            except SandboxUnavailable as refusal:
                raise UserError(
                    f"cannot run a notebook safely here: {refusal}. "
                    "For your own notebook you may do without protection: add --sandbox none"
                ) from None
        yield grader


def _print(report: "Report", as_json: bool, several: bool, whole: bool) -> None:
    if as_json:
        print(json.dumps(report.to_dict(), allow_nan=False), flush=True)
        return
    from rich.console import Console

    from autograder import curriculum
    from autograder.grading import solution
    from autograder.grading.table import print_report

    # What is piped is searched, or read in a window of another width: no line of it is broken.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    known = whole and report.score is not None and report.module in curriculum.names()
    written = curriculum.load(report.module).written_points if known else 0
    print_report(console, report, several, written)
    if line := solution.invitation(report):
        console.print(line, style="dim", markup=False)


def run_solution(arguments: argparse.Namespace) -> int:
    """Show the reference's answer, where the notebook in work/ has the exercise right. UserError where it has not."""
    with interrupts.at_once():
        from rich.console import Console

        from autograder.grading import chosen, solution, verdicts

    module, exercise = solution.find(arguments.module, arguments.exercise)
    if not arguments.anyway:
        (path,) = chosen.notebooks([module.name])
        others = [verdicts.exercise_result(e, "unanswered", 0.0) for e in module.exercises if e is not exercise]
        with _grader(arguments.sandbox, [module.name]) as grader:  # only this exercise is run
            report = grader.grade(path, expected_module=module.name, done=others)
        verdict = next((result.verdict for result in report.exercises if result.id == exercise.name), report.status)
        if verdict != "passed":
            raise UserError(
                f"{exercise.name} is not at full marks in {path} yet ({verdict.replace('_', ' ')});"
                " its hints help further, and --anyway shows the solution all the same"
            )
    solution.show(Console(highlight=False), module, exercise)
    return 0


def run_doctor(arguments: argparse.Namespace) -> int:
    """Say of each part of this machine whether it will do. 0: all that is needed is there; 1: something is missing."""
    with interrupts.at_once():
        from rich.console import Console
        from rich.text import Text

        from autograder.grading.doctor import checks

    console, missing = Console(highlight=False), False
    for check in checks():
        mark, style = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}[check.ok]
        console.print(Text(f"{mark} {check.name}" + (f": {check.detail}" if check.detail else ""), style=style))
        if check.ok is False:
            missing = True
            console.print(Text(f"    {check.remedy}"))
    console.print("Something is missing; the lines above say what to do." if missing else "Everything is in place.")
    return int(missing)
