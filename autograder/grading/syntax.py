"""What can be told of a student's cell from its syntax, without running any of it. No input makes this raise.

What cannot be read is not run either, so that nothing is run that was not looked through.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from autograder.grading import magics
from lsml_utils.checking import names

MAX_SOURCE = 200_000  # characters; a longer cell is not run
MOST_CHUNKS = 64  # that a cell is run in

# What has a name of its own, and must not be lost to what stands before it.
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
_SIMPLE = (ast.Lambda, ast.Constant, ast.Name, ast.Attribute)


def tree(source: str) -> ast.Module | None:
    """The syntax tree of plain Python; None where it has none. It is kept for the next who asks: do not change it."""
    found = _tree(source) if len(source) <= MAX_SOURCE else None
    return found if isinstance(found, ast.Module) else None


def plain(source: str) -> str:
    """A cell as plain Python, its magics left out."""
    if len(source) > MAX_SOURCE or _tree(source) is not None:
        return source
    return _rewritten(source)


def too_hard(source: str) -> str:
    """Why plain Python is not for us to read, and so not run: a reason, or "" (it may have a syntax error)."""
    if len(source) > MAX_SOURCE:
        return f"it is longer than {MAX_SOURCE:,} characters"
    found = _tree(source)
    return found if isinstance(found, str) else ""


@lru_cache(maxsize=512)
def _tree(source: str) -> ast.Module | str | None:
    try:
        return magics.parsed(source)
    except magics.TooHard as error:
        return str(error)


@lru_cache(maxsize=512)
def _rewritten(source: str) -> str:
    return magics.rewritten(source)


def forget() -> None:
    """Give back the memory of what was asked for."""
    _tree.cache_clear()
    _rewritten.cache_clear()


def normal(source: str) -> str:
    """A form that is equal for two cells that differ in layout, comments or docstrings only; "" for no code."""
    parsed = tree(source)
    if parsed is None:
        return " ".join(source.split())
    skipped = {
        id(node.body[0])
        for node in ast.walk(parsed)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and _docstring(node)
    }
    try:
        # Without its docstring a function is dumped as a copy of it would be that never had one.
        return "\n".join(_dump(statement, skipped) for statement in parsed.body if id(statement) not in skipped)
    except (RecursionError, ValueError):  # ValueError: an integer of more digits than Python writes out
        return " ".join(source.split())


def _dump(node: ast.AST, skipped: set[int]) -> str:
    if not skipped:
        return ast.dump(node)
    taken = []
    for inner in ast.walk(node):
        body = getattr(inner, "body", None)
        if isinstance(body, list) and body and id(body[0]) in skipped:
            taken.append((body, body.pop(0)))
    try:
        return ast.dump(node)
    finally:
        for body, first in taken:
            body.insert(0, first)


def _docstring(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def defined(source: str) -> list[str]:
    """The names that a cell's own statements bind, in order: functions, classes, variables and imports."""
    parsed = tree(source)
    return [] if parsed is None else list(dict.fromkeys(_bound(parsed.body)))


def newly_defined(source: str, authored: str) -> list[str]:
    """The names bound by those statements of a cell that the authored cell does not have."""
    return list(dict.fromkeys(_bound(_new_statements(source, authored))))


def definitions(source: str, authored: str) -> str:
    """Those statements of a cell that the authored cell does not have and that only name something, on their lines.

    That is functions, classes, imports and simple values; no loop, no call, nothing that takes time.
    """
    kept = [
        node
        for node in _new_statements(source, authored)
        if isinstance(node, _NAMED) or (isinstance(node, ast.Assign) and isinstance(node.value, _SIMPLE))
    ]
    lines, found = source.split("\n"), {number for node in kept for number in range(_first(node), node.end_lineno + 1)}
    return "\n".join(line if number in found else "" for number, line in enumerate(lines, 1)).rstrip()


def _new_statements(source: str, authored: str) -> list[ast.stmt]:
    parsed, known = tree(source), tree(authored)
    if parsed is None or known is None:
        return []
    try:
        old = {ast.dump(statement) for statement in known.body}
        return [statement for statement in parsed.body if ast.dump(statement) not in old]
    except (RecursionError, ValueError):
        return []


def _first(node: ast.stmt) -> int:
    """The first line of a statement, with its decorators."""
    return min([node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", ()))])


def chunks(source: str) -> list[str]:
    """A cell in the parts in which it is run, each on its own lines of the cell.

    A definition or an import is a part; so is what stands between two of them. So a call that fails or never ends
    takes no definition with it.
    """
    parsed = tree(source)
    starts: list[int] = []
    end, loose = 0, False
    for node in parsed.body if parsed is not None else ():
        named = isinstance(node, _NAMED)
        if _first(node) > end and (named or not loose) and len(starts) < MOST_CHUNKS:
            starts.append(end + 1)
        end, loose = node.end_lineno, not named
    if len(starts) < 2:
        return [source]
    lines = source.split("\n")
    ends = [start - 1 for start in starts[1:]] + [len(lines)]
    return ["\n" * (start - 1) + "\n".join(lines[start - 1 : end]) for start, end in zip(starts, ends, strict=True)]


def is_experiment(source: str) -> bool:
    """Whether a part of a cell, which `chunks` gave, is no definition and no import."""
    parsed = tree(source)
    return parsed is not None and not any(isinstance(node, _NAMED) for node in parsed.body)


def _bound(statements: Iterable[ast.stmt]) -> Iterator[str]:
    waiting = [*statements][::-1]
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.split(".")[0] for alias in statement.names if alias.name != "*")
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
        elif isinstance(statement, ast.If | ast.For | ast.While | ast.With | ast.Try):
            waiting += [child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)][::-1]


def forbidden(
    rules: Mapping[str, Iterable[str]], cells: Iterable[str], written: Iterable[str] = ()
) -> dict[str, tuple[str, ...] | None]:
    """Of each answer's `rules` those that it breaks, by itself or by all that it uses in these cells.

    A rule is a forbidden name, dotted as an import would write it ("torch.nn.functional", "numpy.linalg"), or as the
    setup cell calls it ("np.linalg"), and covers everything beneath it; one with a leading dot (".backward") is a
    method of whatever object. `written`: modules whose source is among the cells. A name put together at run time is
    not seen: this is a rule of the game, no wall. None for an answer of which it cannot be told.
    """
    code = names.Code()
    code.written |= set(written)
    trees = [parsed for parsed in map(tree, cells) if parsed is not None]
    for parsed in trees:
        code.add(parsed)
    found: dict[str, tuple[str, ...] | None] = {}
    for name, forbids in rules.items():
        try:
            # Where it is bound in a way that syntax does not tell, all counts that may have bound it.
            unknown = [] if name in code.globals.bound else [parsed for parsed in trees if binds_unseen(parsed)]
            found[name] = tuple(names.broken(code.used([name], unknown), forbids, code.meaning))
        except names.TooComplex:
            found[name] = None
    return {name: broken for name, broken in found.items() if broken != ()}


def binds_unseen(parsed: ast.Module) -> bool:
    """Whether code may bind or read names in a way that syntax does not tell."""
    used = {getattr(node, "id", getattr(node, "attr", None)) for node in ast.walk(parsed)}
    return not used.isdisjoint(
        {"exec", "eval", "globals", "locals", "vars", "setattr", "modules", "user_ns", "__dict__"}
    )
