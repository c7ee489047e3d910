"""`lsml grade` and `lsml doctor`."""

import argparse
import json
import os
import sys

from autograder.errors import UserError


def add_commands(subparsers) -> None:
    """Add `grade` and `doctor` to the command line."""
    grade = subparsers.add_parser("grade", help="grade your own notebooks with the hidden tests")
    grade.add_argument("notebooks", nargs="+", metavar="NOTEBOOK", help="a notebook of one of the modules")
    grade.add_argument("--show", action="store_true", help="add input, result and expected value to each failed test")
    grade.add_argument("--json", action="store_true", help="print one JSON object a notebook, a line each")
    grade.add_argument(
        "--sandbox",
        choices=("bubblewrap", "none"),
        default="bubblewrap",
        help="'none' runs the code without protection: for your own notebooks only",
    )
    grade.set_defaults(run=run_grade)
    doctor = subparsers.add_parser("doctor", help="say what this machine can do, and what to install")
    doctor.set_defaults(run=run_doctor)


def run_grade(arguments: argparse.Namespace) -> int:
    """Grade each notebook. 0: all have a report; 1: the grader failed on one; UserError before anything is graded."""
    for notebook in arguments.notebooks:
        if not os.path.lexists(notebook):
            raise UserError(f"no such file: {notebook}")

    from autograder.grading.grade import Grader
    from autograder.sandbox import SandboxUnavailable

    try:
        with Grader(sandbox=arguments.sandbox) as grader:
            reports = (grader.grade(notebook, show=arguments.show) for notebook in arguments.notebooks)
            return _print_all(reports, arguments.json)
    except SandboxUnavailable as refusal:
        raise UserError(
            f"cannot run a notebook safely here: {refusal}. "
            "For your own notebook you may do without protection: add --sandbox none"
        ) from None


def _print_all(reports, as_json: bool) -> int:
    from rich.console import Console

    from autograder.grading.table import print_report

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    failed = False
    for report in reports:
        failed |= report.status == "grader_fault"
        if as_json:
            print(json.dumps(report.to_dict(), allow_nan=False), flush=True)
        else:
            print_report(console, report)
    return int(failed)


def run_doctor(arguments: argparse.Namespace) -> int:
    """Say of each part of this machine whether it will do. 0: all that is needed is there; 1: something is missing."""
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
