"""The vocabulary of a module's `answers.py`: wrong and right answers that prove its hidden tests.

    wrong(
        "mse_gradient",
        "averages over the features instead of the rows",
        fails=["test_gradient_agrees_with_autograd"],
        edit={"/ len(y)": "/ X.shape[1]"},
    )

    @wrong("mse_gradient", "takes central differences of the loss", fails=["test_gradient_of_a_huge_problem"])
    def by_differences(X, y, theta): ...

    @right("mse_gradient", "explicit loops")
    def with_loops(X, y, theta): ...

    equivalent("mse_gradient", diff="- X.T @ r\n+ r @ X", reason="the same sum, r being one-dimensional")

A wrong answer is an edit of the reference's own answer wherever it can be one: each text to be replaced stands in it
exactly once, docstrings not counted. Where its structure differs it is a whole function.

These files are read, never imported: an answer runs in a student's place, after the setup cells and the exercise's
own reference cell, so it may use whatever stands there (a class may derive from the reference's). The file's own
imports come along; any other definition that stands undecorated in it does not exist for an answer.
"""

import ast
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from autograder import curriculum
from autograder.errors import UserError


@dataclass(frozen=True)
class Mark:
    """What `wrong` or `right` says of an answer. As a decorator it leaves the definition beneath it alone."""

    exercise: str
    kind: str
    says: str
    fails: tuple[str, ...]
    replaces: str
    edit: dict[str, str] = field(default_factory=dict)

    def __call__(self, definition: Any) -> Any:
        return definition


@dataclass(frozen=True)
class Answer:
    """A wrong or right answer of one exercise.

    `says` is the misconception ("It behaves like one that <says>.") or the style; `fails` names the hidden tests that
    a wrong one must fail. It is either an `edit` of the reference's answer, or `source`: a definition of its own,
    behind the file's imports.
    """

    exercise: str
    name: str
    kind: str
    says: str
    fails: tuple[str, ...]
    replaces: str
    source: str
    line: int
    edit: Mapping[str, str] = field(default_factory=dict, hash=False)

    def cell(self, solution: str) -> str:
        """The exercise cell that a student with this answer would hand in; `solution` is the reference's own cell.

        ValueError where an edit does not fit the solution.
        """
        if self.edit:
            return edited(solution, self.edit)
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


def wrong(
    exercise: str,
    misconception: str,
    *,
    fails: list[str],
    replaces: str | None = None,
    edit: dict[str, str] | None = None,
) -> Mark:
    """Mark a wrong answer. `misconception` completes "It behaves like one that ..."; `fails`: tests it must fail.

    `edit`: what is replaced in the reference's answer, by what; without it this decorates a whole definition, and
    `replaces` is the name that this takes where the exercise's cell defines more than one.
    """
    if isinstance(fails, str) or not fails:
        raise TypeError("fails is a list that names at least one hidden test")
    if edit is not None and replaces is not None:
        raise TypeError("an edit replaces text, so replaces= has no meaning beside it")
    return Mark(exercise, "wrong", misconception, tuple(fails), replaces or exercise, dict(edit or {}))


def right(exercise: str, style: str, *, replaces: str | None = None) -> Mark:
    """Mark a right answer, written in another style than the reference's; `style` says which."""
    return Mark(exercise, "right", style, (), replaces or exercise)


def equivalent(exercise: str, *, diff: str, reason: str) -> Equivalent:
    """Say that a mutant, whose `diff` is as `lsml calibrate` prints it, behaves as the reference does, and why."""
    return Equivalent(exercise, diff, reason)


def edited(solution: str, edit: Mapping[str, str]) -> str:
    """The solution with each text replaced. ValueError where one does not stand in it exactly once.

    Docstrings do not count and are never changed.
    """
    code, spans = _without_docstrings(solution), []
    for old, new in edit.items():
        if (count := code.count(old)) != 1:
            raise ValueError(f"{old!r} stands {count} times in the reference's answer, not once")
        spans.append((code.index(old), code.index(old) + len(old), new))
    spans.sort()
    if any(one[1] > other[0] for one, other in itertools.pairwise(spans)):
        raise ValueError("two of its texts overlap")
    for start, end, new in reversed(spans):
        solution = solution[:start] + new + solution[end:]
    try:
        ast.parse(solution)
    except SyntaxError as error:
        raise ValueError(f"what it makes is not valid Python: {error.msg}") from None
    return solution


def _without_docstrings(source: str) -> str:
    """The source, the lines of its docstrings filled with a character that no source holds."""
    lines = source.split("\n")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
            docstring = node.body[0]
            for number in range(docstring.lineno - 1, docstring.end_lineno):
                lines[number] = "\0" * len(lines[number])
    return "\n".join(lines)


def load(module: str, root: Path = curriculum.ROOT) -> Gallery:
    """Read a module's gallery; an empty one where it has no `answers.py` yet. UserError where that is malformed."""
    files = curriculum.files(module, root)
    if not files.answers.is_file():
        return Gallery(module)
    made_of = [file.stat().st_mtime_ns for file in (files.answers, files.notebook) if file.is_file()]
    return _checked(module, root, files.answers, *made_of)


@lru_cache(maxsize=64)
def _checked(module: str, root: Path, file: Path, *_mtimes: int) -> Gallery:
    gallery = _read(module, file)
    for answer in gallery.answers:
        if answer.edit:
            _check_edit(answer, module, root, file)
    return gallery


def _check_edit(answer: Answer, module: str, root: Path, file: Path) -> None:
    try:
        answer.cell(curriculum.load(module, root).exercise(answer.exercise).solution)
    except KeyError:
        raise UserError(f"{_shown(file)}:{answer.line}: {module} has no exercise {answer.exercise!r}") from None
    except ValueError as error:
        raise UserError(f"{_shown(file)}:{answer.line}: edit: {error}") from None


def _read(module: str, file: Path) -> Gallery:
    text = file.read_text(encoding="utf-8")
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise UserError(f"{_shown(file)}:{error.lineno}: {error.msg}") from None
    imports = "".join(f"{ast.unparse(node)}\n" for node in tree.body if _is_import_for_answers(node))
    answers, equivalents = [], []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for decorator in node.decorator_list:
                mark = _evaluate(decorator, file)
                if isinstance(mark, Mark):
                    if mark.edit:
                        raise UserError(f"{_shown(file)}:{node.lineno}: an edit stands alone, above no definition")
                    source = imports + ("\n\n" if imports else "") + _definition(text, node)
                    answers.append(Answer(name=node.name, source=source, line=node.lineno, **vars(mark)))
        elif isinstance(node, ast.Expr):
            said = _evaluate(node.value, file)
            if isinstance(said, Equivalent):
                equivalents.append(said)
            elif isinstance(said, Mark):
                if not said.edit:
                    raise UserError(f"{_shown(file)}:{node.lineno}: say edit=, or write it above a definition")
                name = f"{file.name}:{node.lineno}"
                answers.append(Answer(name=name, source="", line=node.lineno, **vars(said)))
    names = [answer.name for answer in answers]
    for answer in answers:
        if names.count(answer.name) > 1:
            raise UserError(f"{_shown(file)}:{answer.line}: `{answer.name}` is defined twice; give each its own name")
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
        raise UserError(f"{_shown(file)}:{node.lineno}: {node.func.id}(...): {error}") from None


_SAYINGS = {"wrong": wrong, "right": right, "equivalent": equivalent}


def _definition(text: str, node: ast.AST) -> str:
    """The definition's own source with its own decorators, without what is said of it; comments and layout kept."""
    own = [f"@{ast.get_source_segment(text, d)}" for d in node.decorator_list if _called(d) not in _SAYINGS]
    return "\n".join([*own, *text.splitlines()[node.lineno - 1 : node.end_lineno]])


def _called(node: ast.expr) -> str | None:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
