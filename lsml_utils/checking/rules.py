"""Names that an exercise asks to do without: a rule of the game, looked up in the syntax of the student's function."""

import ast
import contextlib
import dis
import functools
import inspect
import itertools
import sys
import textwrap
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, ModuleType

from lsml_utils.checking import names, sources

MOST_ITEMS = 64  # of a list, dictionary or object that are looked at

_CONTAINERS = (list, tuple, set, dict, deque)


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
        self.scopes = [_scope(function)]
        self.found: set[names.Dotted] = set()
        self.code = names.Code(self.meaning, self._text)
        self.seen: dict[int, object] = {}  # by their ids, which no other object gets meanwhile
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
        trees: list[ast.AST] = []
        while self.waiting:  # what a function uses may be another function
            trees += self._take(self.waiting.pop())
            with contextlib.suppress(names.TooComplex):  # nobody writes that: it is for the grader to say so
                self.found |= set() if self.waiting else self.code.used(nodes=trees)
        return self.found

    def _take(self, function: Callable) -> list[ast.AST]:
        """The syntax of a function or class, and of the functions that it wraps; from now on part of the code."""
        trees = []
        while id(function) not in self.seen:
            self.seen[id(function)] = function
            self.scopes.append(_scope(function))
            tree = _class(function) if isinstance(function, type) else _source(function)
            if tree is not None:
                self.code.add(tree)
                trees.append(tree)
            if isinstance(function, type):
                self._hold_class(function, self.code.inner[id(tree.body[0])])
            function = getattr(function, "__wrapped__", function)
        return trees

    def _hold_class(self, kind: type, inner: names.Scope) -> None:
        """A class of a notebook has no source of its own; its methods have, and the rest is there to be looked at."""
        for base in kind.__bases__:
            self.found.update(self._meanings_of(base))
        for name, value in vars(kind).items():
            for full in self._meanings_of(value) if not isinstance(value, FunctionType) else ():
                self.found.add(full)
                inner.bind(name, full)

    def meaning(self, name: str) -> Iterator[names.Dotted]:
        """What a name of the notebook's stands for."""
        values = self._values(name)
        if not values and len(self.scopes) > 1:
            yield (name,)
        for value in values:
            yield from self._meanings_of(value)
            for attribute, item in _attributes(value).items():
                for full in self._meanings_of(item):
                    self.code.globals.hold(name, attribute, full)

    def _values(self, name: str) -> list:
        """What a name is for the functions looked at so far."""
        return list({id(scope[name]): scope[name] for scope in self.scopes if name in scope}.values())

    def _text(self, name: str) -> str | None:
        return next((value for value in self._values(name) if isinstance(value, str)), None)

    def _meanings_of(self, value) -> Iterator[names.Dotted]:
        """The dotted names of a live object; a student's function is put on the list instead."""
        if isinstance(value, ModuleType):
            yield tuple(value.__name__.split("."))
        elif isinstance(value, _CONTAINERS):
            items = value.values() if isinstance(value, dict) else value
            for item in list(items)[:MOST_ITEMS]:
                if isinstance(item, ModuleType) or (callable(item) and not isinstance(item, _CONTAINERS)):
                    yield from self._meanings_of(item)
        elif isinstance(value, functools.partial):
            yield from self._meanings_of(value.func)
        elif isinstance(value, FunctionType | type) and _is_students(value):
            self.waiting.append(value)
        elif callable(value):
            inside = [value, *_attributes(value).values()]  # such as functools.lru_cache, np.vectorize
            yield from (full for full, target in self.targets.items() if any(target is item for item in inside))
            if getattr(value, "__module__", None) and getattr(value, "__qualname__", None):
                yield (*value.__module__.split("."), *value.__qualname__.split("."))
            self.waiting += [item for item in inside if isinstance(item, FunctionType) and _is_students(item)]
        elif _is_students(type(value)):
            self.waiting.append(type(value))


def _attributes(value) -> dict:
    """What was put into an object; nothing for modules and classes, which are looked into by name."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=False))
    if isinstance(value, ModuleType | type) or not isinstance(found := getattr(value, "__dict__", None), dict):
        return {}
    return dict(itertools.islice(found.items(), MOST_ITEMS))


def _source(function: Callable) -> ast.Module | None:
    """The syntax of a function; where its source is not to be had (exec), the names that its bytecode reads."""
    if not isinstance(function, FunctionType):
        return None
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function.__code__)))
    except (OSError, TypeError, SyntaxError):
        read: list[str] = []
        for step in dis.get_instructions(function.__code__):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"):
                read.append(step.argval)
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and read:
                read[-1] += f".{step.argval}"
        return ast.parse("\n".join(read))


def _class(kind: type) -> ast.Module:
    """A class of a notebook as it was written, as far as its methods tell."""
    made = ast.parse(f"class {kind.__name__ if kind.__name__.isidentifier() else 'Made'}: pass")
    made.body[0].body += [node for tree in map(_source, _methods(kind)) if tree is not None for node in tree.body]
    return made


def _scope(function: Callable) -> dict:
    """The names that a function, or a class's first method, sees around it."""
    members = [function, *(_methods(function) if isinstance(function, type) else ())]
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
    found = [inspect.unwrap(member) for member in found if callable(member)]
    return [member for member in found if isinstance(member, FunctionType) and _is_students(member)]


def _is_students(found) -> bool:
    if isinstance(found, type):
        package = str(found.__module__).partition(".")[0]
        if package == "__main__":  # its file is that of whatever started Python
            return True
        file = getattr(sys.modules.get(package), "__file__", None)
        return package not in sys.stdlib_module_names and (file is None or sources.is_user_code(file))
    code = getattr(found, "__code__", None)
    made_by_exec = code is not None and code.co_filename == "<string>" and found.__module__ in ("__main__", None)
    return code is not None and (made_by_exec or sources.is_user_code(code.co_filename))
