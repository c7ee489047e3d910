"""Who may read the reference's answer, and how it is shown: after full marks, or to whoever asks for it anyway.

A self-learner decides for themselves. In a class it stays closed, unless the class says otherwise in `class.toml`
beside the course: `show_solutions = true`.
"""

import tomllib
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from autograder import curriculum
from autograder.curriculum import Exercise, Module
from autograder.errors import UserError
from autograder.grading.report import Report

SETTINGS = "class.toml"


def are_open(root: Path = curriculum.ROOT) -> bool:
    """Whether whoever works in this course may see its solutions. UserError where the class's settings are no TOML."""
    try:
        settings = tomllib.loads((root / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{SETTINGS} cannot be read: {error}") from None
    return settings.get("show_solutions") is True


def invitation(report: Report, root: Path = curriculum.ROOT) -> str:
    """The line that says whose solution is open now; "" where there is none to show."""
    right = [exercise.id for exercise in report.exercises if exercise.verdict == "passed"]
    if not right or report.module not in curriculum.names(root) or not are_open(root):
        return ""
    return f"Compare your answers with the reference's: lsml solution {report.module[:2]} {right[-1]}"


def find(module: str, exercise: str, root: Path = curriculum.ROOT) -> tuple[Module, Exercise]:
    """The exercise that is meant. UserError where there is none, or where the class keeps solutions closed."""
    if not are_open(root):
        raise UserError("your class keeps the solutions closed")
    found = curriculum.load(curriculum.resolve(module, root), root)
    named = next((one for one in found.exercises if one.name == exercise), None)
    if named is None:
        names = ", ".join(one.name for one in found.exercises)
        raise UserError(f"{found.name} has no exercise {exercise!r}; it has {names}")
    return found, named


def show(console: Console, exercise: Exercise) -> None:
    """Print the reference's answer with its author's comments: in colours on a terminal, else as it is."""
    source = exercise.solution.rstrip()
    console.print(Syntax(source, "python", background_color="default") if console.is_terminal else Text(source))
