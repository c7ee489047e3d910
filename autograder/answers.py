"""The vocabulary of a module's `answers.py`: wrong and right answers that prove its hidden tests.

    @wrong("mse_gradient", "averages over the features instead of the rows", fails=["test_agrees_with_the_reference"])
    def averages_over_features(X, y, theta):
        return X.T @ (X @ theta - y) / X.shape[1]

    @right("mse_gradient", "explicit loops")
    def with_loops(X, y, theta): ...

    equivalent("mse_gradient", diff="- X.T @ r\n+ r @ X", reason="the same sum, r being one-dimensional")

These files are read, never imported: an answer runs in a student's place, after the setup cells and the exercise's
own reference cell, so it may use whatever stands there (a class may derive from the reference's). The file's own
imports come along; any other definition that stands undecorated in it does not exist for an answer.
"""

import ast
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from autograder import curriculum
from autograder.errors import UserError


@dataclass(frozen=True)
class Mark:
    """What a decorator says of the definition beneath it, which it leaves alone."""

    exercise: str
    kind: str
    says: str
    fails: tuple[str, ...]
    replaces: str

    def __call__(self, definition: Any) -> Any:
        return definition


@dataclass(frozen=True)
class Answer:
    """A wrong or right answer of one exercise.

    `says` is the misconception ("It behaves like one that <says>.") or the style; `fails` names the hidden tests that
    a wrong one must fail; `source` is its definition, behind the file's imports.
    """

    exercise: str
    name: str
    kind: str
    says: str
    fails: tuple[str, ...]
    replaces: str
    source: str
    line: int

    def cell(self, solution: str) -> str:
        """The exercise cell that a student with this answer would hand in; `solution` is the reference's own cell."""
        binding = "" if self.name == self.replaces else f"\n\n{self.replaces} = {self.name}"
        return f"{solution.rstrip()}\n\n\n{self.source}{binding}\n"


@dataclass(frozen=True)
class Equivalent:
    """A mutant of the reference that no test can tell from it, known by its diff, and why."""

    exercise: str
    diff: str
    reason: str


@dataclass(frozen=True)
class Gallery:
    """Everything that a module's `answers.py` holds, in the file's order."""

    module: str
    answers: tuple[Answer, ...] = ()
    equivalents: tuple[Equivalent, ...] = ()

    def wrong(self, exercise: str) -> tuple[Answer, ...]:
        """The exercise's wrong answers."""
        return tuple(a for a in self.answers if a.exercise == exercise and a.kind == "wrong")

    def right(self, exercise: str) -> tuple[Answer, ...]:
        """The exercise's right answers."""
        return tuple(a for a in self.answers if a.exercise == exercise and a.kind == "right")

    def equivalent(self, exercise: str) -> tuple[Equivalent, ...]:
        """The mutants of the exercise's reference that are marked as equivalent to it."""
        return tuple(e for e in self.equivalents if e.exercise == exercise)


def wrong(exercise: str, misconception: str, *, fails: list[str], replaces: str | None = None) -> Mark:
    """Mark a wrong answer. `misconception` completes "It behaves like one that ..."; `fails`: tests it must fail.

    `replaces` is the name that the answer takes where the exercise's cell defines more than one.
    """
    if isinstance(fails, str) or not fails:
        raise TypeError("fails is a list that names at least one hidden test")
    return Mark(exercise, "wrong", misconception, tuple(fails), replaces or exercise)


def right(exercise: str, style: str, *, replaces: str | None = None) -> Mark:
    """Mark a right answer, written in another style than the reference's; `style` says which."""
    return Mark(exercise, "right", style, (), replaces or exercise)


def equivalent(exercise: str, *, diff: str, reason: str) -> Equivalent:
    """Say that a mutant, whose `diff` is as `lsml calibrate` prints it, behaves as the reference does, and why."""
    return Equivalent(exercise, diff, reason)


def load(module: str, root: Path = curriculum.ROOT) -> Gallery:
    """Read a module's gallery; an empty one where it has no `answers.py` yet. UserError where that is malformed."""
    file = curriculum.files(module, root).answers
    if not file.is_file():
        return Gallery(module)
    return _read(module, file, file.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read(module: str, file: Path, _mtime: int) -> Gallery:
    text = file.read_text(encoding="utf-8")
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise UserError(f"{_shown(file)}, line {error.lineno}: {error.msg}") from None
    imports = "".join(f"{ast.unparse(node)}\n" for node in tree.body if _is_import_for_answers(node))
    answers, equivalents = [], []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for decorator in node.decorator_list:
                mark = _evaluate(decorator, file)
                if isinstance(mark, Mark):
                    source = imports + ("\n\n" if imports else "") + _undecorated(text, node)
                    answers.append(Answer(name=node.name, source=source, line=node.lineno, **vars(mark)))
        elif isinstance(node, ast.Expr):
            said = _evaluate(node.value, file)
            if isinstance(said, Equivalent):
                equivalents.append(said)
    names = [answer.name for answer in answers]
    for answer in answers:
        if names.count(answer.name) > 1:
            raise UserError(
                f"{_shown(file)}, line {answer.line}: `{answer.name}` is defined twice; give each its own name"
            )
    return Gallery(module, tuple(answers), tuple(equivalents))


def _shown(file: Path) -> str:
    return "/".join(file.parts[-3:])


def _is_import_for_answers(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module != "__future__" and (node.module or "").split(".")[0] != "autograder"
    return isinstance(node, ast.Import)


def _evaluate(node: ast.expr, file: Path) -> Mark | Equivalent | None:
    """Call `wrong`, `right` or `equivalent` as the file does, with literal arguments; None for any other expression."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _SAYINGS):
        return None
    try:
        arguments = [ast.literal_eval(argument) for argument in node.args]
        keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
        return _SAYINGS[node.func.id](*arguments, **keywords)
    except (TypeError, ValueError) as error:
        raise UserError(f"{_shown(file)}, line {node.lineno}: {node.func.id}(...): {error}") from None


_SAYINGS = {"wrong": wrong, "right": right, "equivalent": equivalent}


def _undecorated(text: str, node: ast.AST) -> str:
    """The definition's own source, its decorators left out, comments and layout kept."""
    return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])
