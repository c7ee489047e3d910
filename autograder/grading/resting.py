"""What the result of one exercise rests on: of a notebook, the cells that its answer needs."""

import ast
import hashlib
from collections.abc import Collection

from autograder.grading import syntax
from autograder.grading.rebuild import Rebuilt
from autograder.submission import SourceCell


def keys(rebuilt: Rebuilt, depends: dict[str, Collection[str]]) -> dict[str, str]:
    """For each exercise a SHA-256 (hex) of the cells that its result rests on, as told from their syntax.

    These are its own; those of the exercises that its tests depend on (`depends`); those that bind a name which one of
    them reads; and whatever is more than a plain definition, for a call may change anything. Layout and comments count
    too: the report shows the student's own lines.
    """
    cells = [cell for cell in rebuilt.cells if cell.kind != "setup"]
    bound = [set(syntax.defined(cell.source)) for cell in cells]
    read = [_read(cell.source) for cell in cells]
    acting = {place for place, cell in enumerate(cells) if _acts(cell.source)}
    found = {}
    for exercise, answer in rebuilt.answers.items():
        wanted = {exercise, *depends.get(exercise, ())}
        needed = acting | {place for place, cell in enumerate(cells) if wanted & {*cell.exercises}}
        waiting = list(needed)
        while waiting:
            names = read[waiting.pop()]
            more = {place for place in range(len(cells)) if place not in needed and not names.isdisjoint(bound[place])}
            needed |= more
            waiting += more
        found[exercise] = _digest([cells[place] for place in sorted(needed)], answer, rebuilt, exercise)
    return found


def _acts(source: str) -> bool:
    parsed = syntax.tree(source)
    return parsed is not None and (syntax.is_experiment(source) or syntax.binds_unseen(parsed))


def _read(source: str) -> set[str]:
    """The names that a cell may read: all that stand in it, whatever they are there."""
    parsed = syntax.tree(source)
    return {node.id for node in ast.walk(parsed) if isinstance(node, ast.Name)} if parsed is not None else set()


def _digest(cells: list[SourceCell], answer: str, rebuilt: Rebuilt, exercise: str) -> str:
    told = exercise in rebuilt.unanswered, rebuilt.forbidden.get(exercise, ()), answer
    return hashlib.sha256(repr((cells, told)).encode()).hexdigest()
