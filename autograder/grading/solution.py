"""Who may read the reference's answer, and how it is shown: after full marks, or to whoever asks for it anyway.

A self-learner decides for themselves. In a class it stays closed, unless the class says otherwise in `class.toml`
beside the course: `show_solutions = true`.
"""

import ast
import tomllib
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from autograder import answers, curriculum
from autograder.answers import Answer, edited
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
    return curriculum.find(module, exercise, root)


def show(console: Console, module: Module, exercise: Exercise, root: Path = curriculum.ROOT) -> None:
    """Print the reference's answer, and what there is to say about it: other right ways, and mistakes that are common.

    In colours on a terminal, else as it is.
    """
    gallery = answers.load(module.name, root)
    _code(console, exercise.solution)
    for answer in gallery.right(exercise.name):
        console.print(f"\nAlso right: {answer.says}\n", style="bold", markup=False)
        _code(console, edited(exercise.solution, answer.edit) if answer.edit else _own(answer))
    mistakes = [answer.says for answer in gallery.wrong(exercise.name)]
    if mistakes:
        console.print("\nMistakes that the hidden tests know by name. An answer that ...\n", style="bold")
        for says in mistakes:
            console.print(f"- {says}", markup=False, soft_wrap=True)


def _code(console: Console, source: str) -> None:
    source = source.rstrip()
    if console.is_terminal:
        console.print(Syntax(source, "python", background_color="default"))
    else:
        console.print(Text(source), soft_wrap=True)


def _own(answer: Answer) -> str:
    """An answer's definition, without the imports that all answers share."""
    tree = ast.parse(answer.source)
    parts = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n\n\n".join(ast.get_source_segment(answer.source, node) or "" for node in parts)
