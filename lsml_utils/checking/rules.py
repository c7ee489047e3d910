"""Names that an exercise asks to do without: a rule of the game, looked up in the syntax of the student's function."""

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, ModuleType

from lsml_utils.checking import names, sources

MOST_ITEMS = 64  # of a list or dictionary that are looked at


def broken(function: Callable, forbids: Iterable[str]) -> list[str]:
    """Which of the names a function uses, itself or through other functions of the notebook.

    forbids: dotted names ("numpy.linalg.svd", or as the notebook calls it, "np.linalg.svd"; all beneath is meant too),
    and methods of whatever object (".backward"). A function without source uses none.

    >>> import math
    >>> broken(lambda x: math.sqrt(x), ["math.exp"])
    []
    """
    forbids = list(forbids)
    search = _Search(function, forbids)
    return names.broken(search.used(), forbids, search.meaning)


class _Search:
    """Goes from a function to all functions of the student's that it uses, as they are in the running notebook."""

    def __init__(self, function: Callable, forbids: list[str]):
        self.waiting: list[Callable] = [function]
        self.scope = _scope(function)
        self.targets = {}
        for rule in forbids:
            root, _, rest = rule.partition(".")
            for full in {(root,), *self.meaning(root)} if root and rest else ():
                full = (*full, *rest.split("."))
                # Functions written in C do not know their own names.
                target = getattr(sys.modules.get(".".join(full[:-1])), full[-1], None)
                self.targets |= {full: target} if target is not None else {}

    def used(self) -> set[names.Dotted]:
        """The dotted names that all of these functions use."""
        found: set[names.Dotted] = set()
        seen: set[int] = set()
        while self.waiting:
            function = inspect.unwrap(self.waiting.pop())
            if id(function) in seen:
                continue
            seen.add(id(function))
            if isinstance(function, type):  # a class of a notebook has no source of its own: its methods have
                found.update(full for base in function.__bases__ for full in self._meanings_of(base))
                self.waiting += _methods(function)
            elif isinstance(function, FunctionType):
                found |= self._used_by(function)
        return found

    def _used_by(self, function: FunctionType) -> set[names.Dotted]:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, TypeError, SyntaxError):
            return set()
        scope = _scope(function)
        code = names.Code(lambda name: self._meanings_of(scope[name]) if name in scope else [(name,)])
        code.add(tree)
        try:
            return code.used(nodes=[tree])
        except names.TooComplex:  # nobody writes that: it is for the grader to say so
            return set()

    def meaning(self, name: str) -> Iterator[names.Dotted]:
        """What a name of the notebook's stands for."""
        return self._meanings_of(self.scope[name]) if name in self.scope else iter(())

    def _meanings_of(self, value) -> Iterator[names.Dotted]:
        """The dotted names of a live object; a student's function is put on the list instead."""
        if isinstance(value, ModuleType):
            yield tuple(value.__name__.split("."))
        elif isinstance(value, list | tuple | set | dict):
            items = value.values() if isinstance(value, dict) else value
            for item in list(items)[:MOST_ITEMS]:
                if isinstance(item, ModuleType) or (callable(item) and not isinstance(item, list | dict)):
                    yield from self._meanings_of(item)
        elif isinstance(value, functools.partial):
            yield from self._meanings_of(value.func)
        elif isinstance(value, FunctionType | type) and _is_students(value):
            self.waiting.append(value)
        elif callable(value):
            yield from (full for full, target in self.targets.items() if target is value)
            if getattr(value, "__module__", None) and getattr(value, "__qualname__", None):
                yield (*value.__module__.split("."), *value.__qualname__.split("."))


def _scope(function: Callable) -> dict:
    """The names that a function, or a class's first method, sees around it."""
    members = [inspect.unwrap(function), *(_methods(function) if isinstance(function, type) else ())]
    member = next((member for member in members if isinstance(member, FunctionType)), None)
    if member is None:
        return {}
    cells = zip(member.__code__.co_freevars, member.__closure__ or (), strict=True)
    enclosed = {}
    for name, cell in cells:
        try:
            enclosed[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    return {**member.__globals__, **enclosed}


def _methods(kind: type) -> list[FunctionType]:
    """The functions that a student wrote for a class; static and class methods and properties are such too."""
    found = [getattr(member, "__func__", getattr(member, "fget", member)) for member in vars(kind).values()]
    return [member for member in found if isinstance(member, FunctionType) and _is_students(member)]


def _is_students(found) -> bool:
    if isinstance(found, type):
        package = str(found.__module__).partition(".")[0]
        file = getattr(sys.modules.get(package), "__file__", None)
        return package not in sys.stdlib_module_names and (file is None or sources.is_user_code(file))
    code = getattr(found, "__code__", None)
    return code is not None and sources.is_user_code(code.co_filename)
