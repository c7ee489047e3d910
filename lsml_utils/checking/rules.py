"""Names that an exercise asks to do without: a rule of the game, looked up in the syntax of the student's function."""

import ast
import inspect
import sys
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
    used: dict[str, object] = {}
    _collect(function, used, set())
    scope = _scope(function)

    def breaks(rule: str) -> bool:
        full = _full(rule, scope)
        target = _named(full)
        same = target is not None and any(found is target for found in used.values())
        return same or any(_covers(full, name) for name in used)

    return [rule for rule in forbids if breaks(rule)]


def _scope(function: Callable) -> dict:
    """The names that a function, or a class's first method, sees around it."""
    members = [inspect.unwrap(function), *(vars(function).values() if isinstance(function, type) else ())]
    return next((member.__globals__ for member in members if isinstance(member, FunctionType)), {})


def _named(full: str) -> object | None:
    """What a dotted name stands for, if its module is loaded: functions written in C do not know their own names."""
    module, _, name = full.rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def _covers(rule: str, name: str) -> bool:
    return name == rule or (not rule.startswith(".") and name.startswith(f"{rule}."))


def _collect(function: Callable, used: dict[str, object], seen: set[int]) -> None:
    function = inspect.unwrap(function)
    if id(function) in seen or not isinstance(function, FunctionType | type):
        return
    seen.add(id(function))
    if isinstance(function, type):  # a class of a notebook has no source of its own: its methods have
        for base in function.__bases__:
            used[f"{base.__module__}.{base.__qualname__}"] = base
        for member in vars(function).values():
            inner = getattr(member, "__func__", getattr(member, "fget", member))  # class and static methods, properties
            if isinstance(inner, FunctionType) and _is_students(inner):
                _collect(inner, used, seen)
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return
    scope = function.__globals__
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            used |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            used |= dict.fromkeys(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            used[f".{node.attr}"] = None
        name = _dotted(node)
        if name is None or name.partition(".")[0] in arguments:
            continue
        found = used[_full(name, scope)] = scope.get(name)
        if isinstance(found, FunctionType | type) and _is_students(found):
            _collect(found, used, seen)


def _is_students(found) -> bool:
    if isinstance(found, type):
        package = str(found.__module__).partition(".")[0]
        file = getattr(sys.modules.get(package), "__file__", None)
        return package not in sys.stdlib_module_names and (file is None or sources.is_user_code(file))
    code = getattr(found, "__code__", None)
    return code is not None and sources.is_user_code(code.co_filename)


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
