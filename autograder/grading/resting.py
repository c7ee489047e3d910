"""What the result of one exercise rests on: of a notebook, the cells that its answer needs."""

import ast
import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from autograder.grading import syntax
from autograder.grading.rebuild import Rebuilt

# Decorators that change nothing but what they decorate.
HARMLESS = {"cache", "classmethod", "dataclass", "lru_cache", "no_grad", "inference_mode", "property", "staticmethod"}


@dataclass(frozen=True)
class Rest:
    """SHA-256 (hex) of the code that a result rests on, and of where a person sees it: messages name cell and line."""

    code: str
    places: str


def rests(rebuilt: Rebuilt, depends: dict[str, Collection[str]]) -> dict[str, Rest]:
    """For each exercise what its result rests on, as told from the syntax of the cells.

    These are its own; those of the exercises that its tests depend on (`depends`); those that bind a name which one of
    them reads; and whatever is more than plain definitions, for a call may change anything. All cells count for all
    exercises where names are bound or read in a way that syntax does not tell.
    """
    cells = [cell for cell in rebuilt.cells if cell.kind != "setup"]
    trees = [syntax.tree(cell.source) for cell in cells]
    bound = [set(syntax.defined(cell.source)) for cell in cells]
    read = [{node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} if tree else set() for tree in trees]
    acting = {place for place, tree in enumerate(trees) if tree is None or not all(map(_is_plain, tree.body))}
    if any(tree is not None and syntax.binds_unseen(tree) for tree in trees):
        acting = set(range(len(cells)))
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
        own = [cells[place] for place in sorted(needed)]
        told = exercise in rebuilt.unanswered, rebuilt.forbidden.get(exercise, ()), answer
        found[exercise] = Rest(
            _digest([(cell.kind, cell.exercises, cell.source) for cell in own], told),
            _digest([(cell.label, rebuilt.lines.get(cell.label)) for cell in own], rebuilt.notes),
        )
    return found


def _is_plain(node: ast.stmt) -> bool:
    """Whether a statement of a cell does nothing but give something a name."""
    if isinstance(node, ast.ImportFrom):
        return all(alias.name != "*" for alias in node.names)
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        named = all(isinstance(target, ast.Name) for target in targets)
        return named and isinstance(node.value, ast.Constant | ast.Lambda | None)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        inside = node.body if isinstance(node, ast.ClassDef) else ()
        return all(map(_is_harmless, node.decorator_list)) and all(map(_is_plain, inside))
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant or isinstance(node, ast.Import | ast.Pass)


def _is_harmless(decorator: ast.expr) -> bool:
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    return getattr(named, "id", getattr(named, "attr", None)) in HARMLESS


def _digest(*parts) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
