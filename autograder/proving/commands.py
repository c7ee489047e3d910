"""`lsml calibrate`: prove the hidden tests."""

import argparse
import json
import sys
from dataclasses import asdict

from autograder import curriculum
from autograder.errors import UserError


def add_commands(subparsers) -> None:
    """Add `calibrate` to the command line."""
    calibrate = subparsers.add_parser("calibrate", help="prove the hidden tests by wrong, right and changed answers")
    calibrate.add_argument("modules", nargs="*", metavar="MODULE", help="such as 01; all by default")
    calibrate.add_argument("--exercise", action="append", metavar="NAME", help="only this exercise (may be repeated)")
    calibrate.add_argument("--sample", type=int, metavar="N", help="try at most N mutants of each exercise")
    calibrate.add_argument("--seed", type=int, default=0, help="which mutants are drawn by --sample (default 0)")
    calibrate.add_argument(
        "--quick", action="store_true", help="ask wrong answers only for the tests that they must fail, undiagnosed"
    )
    calibrate.add_argument("--jobs", type=int, metavar="N", help="how many processes (default: one for each core)")
    calibrate.add_argument("--json", action="store_true", help="print one JSON object an exercise, a line each")
    calibrate.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Calibrate. 0: every bar is met; 1: one is missed."""
    for option in ("sample", "jobs"):
        if getattr(arguments, option) is not None and getattr(arguments, option) < 1:
            raise UserError(f"--{option} must be at least 1")
    names = [curriculum.resolve(module) for module in arguments.modules] or curriculum.names()
    for exercise in arguments.exercise or ():
        if not any(exercise == known.name for name in names for known in curriculum.load(name).exercises):
            raise UserError(f"no exercise {exercise!r} in {', '.join(names)}")

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from autograder.proving import table
    from autograder.proving.calibrate import of_module
    from autograder.proving.runs import calibrate

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        shown = bar.add_task("answers tried", total=None)
        rows = calibrate(
            names,
            only=arguments.exercise,
            jobs=arguments.jobs,
            sample=arguments.sample,
            seed=arguments.seed,
            quick=arguments.quick,
            progress=lambda done, total: bar.update(shown, completed=done, total=total),
        )
    for exercise in (exercise for name in names for exercise in curriculum.load(name).exercises):
        if not exercise.testable and (not arguments.exercise or exercise.name in arguments.exercise):
            print(f"{exercise.name} is not calibrated: it needs {exercise.needs}, not installed here", file=sys.stderr)
    missed = [(name, problem) for name in names for problem in of_module(curriculum.load(name), rows)]
    if arguments.json:
        for row in rows:
            print(json.dumps(asdict(row)))
    else:
        table.show(rows, Console(highlight=False, width=None if sys.stdout.isatty() else 120))
    for name, problem in missed:
        print(f"{name}: {problem}", file=sys.stderr)
    return int(bool(missed) or any(row.problems for row in rows))
