"""Names that an exercise asks to do without: a rule of the game, looked up in the syntax of the student's function."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType

from lsml_utils.checking import sources


def broken(function: Callable, forbids: Iterable[str]) -> list[str]:
    """Which of the names a function uses, itself or through other functions of the notebook.

    forbids: dotted names ("numpy.linalg.svd", or as the notebook calls it, "np.linalg.svd"; all beneath is meant too),
    and methods of whatever object (".backward"). A function without source uses none.

    >>> import math
    >>> broken(lambda x: math.sqrt(x), ["math.exp"])
    []
    """
    used: set[str] = set()
    _collect(function, used, set())
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    return [rule for rule in forbids if any(_covers(_full(rule, scope), name) for name in used)]


def _covers(rule: str, name: str) -> bool:
    return name == rule or (not rule.startswith(".") and name.startswith(f"{rule}."))


def _collect(function: Callable, used: set[str], seen: set[int]) -> None:
    function = inspect.unwrap(function)
    if id(function) in seen or not isinstance(function, FunctionType | type):
        return
    seen.add(id(function))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return
    scope = getattr(function, "__globals__", None) or vars(inspect.getmodule(function) or object)
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            used |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            used.add(f".{node.attr}")
        name = _dotted(node)
        if name is None or name.partition(".")[0] in arguments:
            continue
        used.add(_full(name, scope))
        found = scope.get(name)
        if isinstance(found, FunctionType | type) and _is_students(found):
            _collect(found, used, seen)


def _is_students(found) -> bool:
    code = getattr(found, "__code__", None)
    return sources.is_user_code(code.co_filename) if code else getattr(found, "__module__", "") == "__main__"


def _full(name: str, scope: dict) -> str:
    """The dotted name with its root spelt out: `np.linalg` is numpy.linalg, an imported `svd` is numpy.linalg.svd."""
    root, dot, rest = name.partition(".")
    found = scope.get(root)
    if isinstance(found, ModuleType):
        root = found.__name__
    elif callable(found) and not _is_students(found) and getattr(found, "__module__", None):
        root = f"{found.__module__}.{getattr(found, '__qualname__', root)}"
    return f"{root}{dot}{rest}"


def _dotted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value)
        return f"{inner}.{node.attr}" if inner else None
    return None
