"""The reference as cells of a submission, whole or with one answer that is known to be wrong or right."""

import ast

from autograder.answers import Answer
from autograder.curriculum import Module
from autograder.submission import SourceCell


def reference_cells(module: Module, answer: Answer | None = None) -> list[SourceCell]:
    """The cells of the reference, or of one who gave a known answer to one exercise and the reference's to the rest."""
    cells = []
    for cell in module.reference_cells:
        source = cell.source
        if answer is not None and cell.name == answer.exercise:
            source = answer.cell(source)
        cells.append(SourceCell(cell.name or cell.id, source, cell.role, (cell.name,) if cell.name else ()))
    return cells


def uses(module: Module, exercise: str) -> set[str]:
    """The other exercises that the reference's answer to one uses, by itself or through each other."""
    named = {
        e.name: {node.id for node in ast.walk(ast.parse(e.solution)) if isinstance(node, ast.Name)} - {e.name}
        for e in module.exercises
    }
    found: set[str] = set()
    waiting = [exercise]
    while waiting:
        new = (named[waiting.pop()] & named.keys()) - found
        found |= new
        waiting += new
    return found - {exercise}
