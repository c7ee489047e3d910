"""What a piece of Python uses, told from its syntax: names are resolved by scope, through aliases and helpers.

The visible check and the grader ask the same of it, so an answer that breaks a rule in one breaks it in the other.
(Python's `symtable` says in which scope a name is bound, but not to what, which is what an alias is seen through by.)
"""

import ast
import builtins
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Dotted = tuple[str, ...]
MOST_PARTS = 12  # of a dotted name; a rule has fewer
MOST_STEPS = 50  # from an alias to what it stands for
MOST_MEANINGS = 64  # of one expression
MOST_WORK = 2_000_000  # nodes and meanings looked at: some seconds

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class TooComplex(Exception):
    """Code whose names take longer to resolve than any that a person writes."""


class Scope:
    """A module, function, class or comprehension. `bound`: each name's values: nodes, dotted names, None if unknown."""

    def __init__(self, kind: str, parent: "Scope | None" = None):
        self.kind, self.parent = kind, parent
        self.bound: dict[str, list[ast.AST | Dotted | None]] = {}
        self.elsewhere: dict[str, str] = {}  # names said to be global or nonlocal
        self.replaced: dict[str, int] = {}  # how many of a name's values a later definition has replaced
        self.kept: dict[str, set[int]] = {}  # which of these a function may bind again whenever it is called

    def bind(self, name: str, value: ast.AST | Dotted | None) -> None:
        """Note one value that a name may have."""
        self.bound.setdefault(name, []).append(value)

    def values(self, name: str, late: bool) -> list[ast.AST | Dotted | None]:
        """What a name may be bound to; `late`: when all the code has run, as in the body of a function."""
        found = self.bound.get(name, [])
        gone = self.replaced.get(name, 0) if late else 0
        return [value for place, value in enumerate(found) if place >= gone or place in self.kept.get(name, ())]

    @property
    def late(self) -> bool:
        """Whether code in it runs when a function is called, and not where it stands."""
        return self.kind == "function" or (self.parent is not None and self.parent.late)

    def home(self, name: str) -> "Scope | None":
        """The scope whose `name` is meant in this one; None where it is bound in none of the code seen."""
        scope: Scope | None = self
        while scope is not None:
            if scope.elsewhere.get(name) == "global":
                while scope.parent is not None:
                    scope = scope.parent
            # A class's names are not seen in its methods.
            if name in scope.bound and name not in scope.elsewhere and (scope is self or scope.kind != "class"):
                return scope
            scope = scope.parent
        return None


class Code:
    """Pieces of code that share one global scope, such as the cells of a notebook.

    `outside(name)` tells what a global name stands for that none of them binds: dotted names.
    """

    def __init__(self, outside: Callable[[str], Iterable[Dotted]] = lambda name: [(name,)]):
        self.outside = outside
        self.globals = Scope("module")
        self.starred: list[Dotted] = []  # modules imported with a star
        self.written: set[str] = set()  # modules whose source is among the pieces
        self._scopes: dict[int, Scope] = {}
        self._trees: list[ast.AST] = []  # or the ids above could be given to other nodes
        self._put: list[tuple[Scope, str, ast.AST | None]] = []
        self._known: dict[Any, tuple[Dotted, ...]] = {}
        self._finding: set = set()
        self._cut = 0  # how often something was left out of what is being found
        self._left = MOST_WORK

    # ----------------------------------------------------------------------------------------------- collecting

    def add(self, tree: ast.AST) -> None:
        """Take in a piece of code."""
        self._trees.append(tree)
        before = {
            node.name: len(self.globals.bound.get(node.name, ()))
            for node in getattr(tree, "body", ())
            if isinstance(node, _DEFINITIONS)
        }
        stack: list[tuple[ast.AST, Scope]] = [(tree, self.globals)]
        opened: list[Scope] = []
        while stack:
            node, scope = stack.pop()
            self._scopes[id(node)] = scope
            self._bind(node, scope)
            inner = self._inner(node, scope)
            if inner is None:
                stack += [(child, scope) for child in ast.iter_child_nodes(node)]
                continue
            opened.append(inner)
            for field, value in ast.iter_fields(node):
                within = field == "body" or isinstance(node, _COMPREHENSIONS)
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.arguments):
                        self._take_arguments(child, scope, inner, stack)
                    elif isinstance(child, ast.AST):
                        stack.append((child, inner if within else scope))
        for scope in opened:
            for name in scope.elsewhere:
                home = scope.home(name) or (self.globals if scope.elsewhere[name] == "global" else scope.parent)
                values = home.bound.setdefault(name, [])
                home.kept.setdefault(name, set()).update(
                    range(len(values), len(values) + len(scope.bound.get(name, ())))
                )
                values.extend(scope.bound.pop(name, []))
        self.globals.replaced |= before

    def _inner(self, node: ast.AST, scope: Scope) -> Scope | None:
        if isinstance(node, _FUNCTIONS):
            return Scope("function", scope)
        if isinstance(node, ast.ClassDef):
            return Scope("class", scope)
        return Scope("comprehension", scope) if isinstance(node, _COMPREHENSIONS) else None

    def _take_arguments(self, arguments: ast.arguments, scope: Scope, inner: Scope, stack: list) -> None:
        """Parameters are the function's, their defaults and annotations are of the scope around it."""
        positional = [*arguments.posonlyargs, *arguments.args]
        defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
        pairs = [*zip(positional, defaults, strict=True)]
        pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        pairs += [(argument, None) for argument in (arguments.vararg, arguments.kwarg) if argument]
        for argument, default in pairs:
            inner.bind(argument.arg, default)
            stack += [(node, scope) for node in (default, argument.annotation) if node is not None]

    def _bind(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, _DEFINITIONS):
            scope.bind(node.name, node)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                full = tuple(alias.name.split("."))
                scope.bind(alias.asname or full[0], full if alias.asname else full[:1])
        elif isinstance(node, ast.ImportFrom):
            module = tuple((node.module or "").split("."))
            for alias in node.names:
                if alias.name == "*":
                    self.starred.append(module)
                else:
                    scope.bind(alias.asname or alias.name, (*module, alias.name))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(target, node.value, scope)
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            self._assign(node.target, node.value, scope)
        elif isinstance(node, ast.NamedExpr):
            while scope.kind == "comprehension":
                scope = scope.parent
            self._assign(node.target, node.value, scope)
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            self._assign(node.target, node.iter, scope)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._assign(node.optional_vars, node.context_expr, scope)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            scope.elsewhere |= dict.fromkeys(node.names, type(node).__name__.lower())
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            scope.bind(node.name, None)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            scope.bind(node.rest, None)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in scope.bound:
            scope.bind(node.id, None)  # whatever kind of statement that is
        elif isinstance(node, ast.Call) and _name(node.func) == "setattr" and len(node.args) == 3:
            self._assign(node.args[0], node.args[2], scope)

    def _assign(self, target: ast.AST, value: ast.AST | None, scope: Scope) -> None:
        """Bind the names in a target; of `tool.inner = value` and `tools["name"] = value` the name in front."""
        if isinstance(target, ast.Tuple | ast.List):
            matched = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
            starred = any(isinstance(part, ast.Starred) for part in target.elts)
            for place, part in enumerate(target.elts):
                self._assign(part, value.elts[place] if matched and not starred else value, scope)
            return
        if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Call):
            if _name(target.value.func) == "globals" and (name := _text(target.slice)) is not None:
                self.globals.kept.setdefault(name, set()).add(len(self.globals.bound.get(name, ())))
                self.globals.bind(name, value)
            return
        within = isinstance(target, ast.Attribute | ast.Subscript)
        while isinstance(target, ast.Attribute | ast.Subscript | ast.Starred):
            target = target.value
        if isinstance(target, ast.Name):
            # What is put into an object belongs to its name wherever that is bound.
            if within:
                self._put.append((scope, target.id, value))
            else:
                scope.bind(target.id, value)

    # ------------------------------------------------------------------------------------------------ resolving

    def used(self, names: Iterable[str] = (), nodes: Iterable[ast.AST] = ()) -> set[Dotted]:
        """Dotted names used by these nodes, by what these global names are bound to, and by all that uses in turn.

        The attributes and methods of whatever object are among them, behind an empty part: `("", "backward")`.
        Raises TooComplex.
        """
        self._settle()
        found: set[Dotted] = set()
        waiting = list(nodes)
        seen: set = set()

        def follow(home: Scope | None, name: str, late: bool = True) -> None:
            if home is not None and (id(home), name, late) not in seen:
                seen.add((id(home), name, late))
                for value in home.values(name, late):
                    if isinstance(value, ast.AST):
                        waiting.append(value)
                    elif value is not None:
                        found.add(value[:MOST_PARTS])

        for name in names:
            follow(self.globals, name)
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            self._work(1)
            waiting += ast.iter_child_nodes(node)
            if isinstance(node, ast.Name):
                scope = self._scopes.get(id(node), self.globals)
                follow(scope.home(node.id), node.id, scope.late)
            for full in self._used_at(node):
                found.add(full)
                if full[0] in self.written and len(full) > 1:
                    follow(self.globals, full[1])
        return found

    def meaning(self, name: str) -> tuple[Dotted, ...]:
        """What a global name stands for. Raises TooComplex."""
        return self._of_name(name, self.globals, 0)

    def _settle(self) -> None:
        """Bind what was put into objects: where their names are bound is known when all is collected."""
        for scope, name, value in self._put:
            (scope.home(name) or scope).bind(name, value)
        self._put.clear()

    def _work(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise TooComplex

    def _used_at(self, node: ast.AST) -> Iterator[Dotted]:
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((*(node.module or "").split("."), alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield "", node.attr
            yield from self.meanings(node)
        elif isinstance(node, ast.Name | ast.Subscript):
            yield from self.meanings(node)
        elif isinstance(node, ast.Call):
            yield from self.meanings(node)
            if _name(node.func) in ("getattr", "methodcaller", "attrgetter"):
                texts = [text for argument in node.args for text in [_text(argument)] if text is not None]
                yield from (("", part) for text in texts for part in text.split("."))

    def meanings(self, node: ast.AST, steps: int = 0) -> tuple[Dotted, ...]:
        """The dotted names that an expression may stand for. TooComplex."""
        return self._once(id(node), lambda: self._meanings(node, steps + 1), steps)

    def _once(self, key, find: Callable[[], Iterator[Dotted]], steps: int) -> tuple[Dotted, ...]:
        """What `find` finds, kept under a key unless it was cut off because it depends on what is being found."""
        if key in self._known:
            return self._known[key]
        if key in self._finding or steps > MOST_STEPS:
            self._cut += 1
            return ()
        before = self._cut
        self._finding.add(key)
        found = tuple(itertools.islice(dict.fromkeys(find()), MOST_MEANINGS))
        self._finding.discard(key)
        self._work(1 + len(found))
        if not self._finding:
            self._cut = before
        if self._cut == before:
            self._known[key] = found
        return found

    def _meanings(self, node: ast.AST, steps: int) -> Iterator[Dotted]:
        if isinstance(node, ast.Name):
            yield from self._of_name(node.id, self._scopes.get(id(node), self.globals), steps)
        elif isinstance(node, ast.Attribute):
            yield from (_joined(full, node.attr) for full in self.meanings(node.value, steps))
        elif isinstance(node, ast.Subscript):
            key = _text(node.slice)
            if isinstance(node.value, ast.Call) and key is not None:
                called = _name(node.value.func)
                if called in ("globals", "locals") or (called == "vars" and not node.value.args):
                    yield from self._of_name(key, self._scopes.get(id(node), self.globals), steps)
                elif called == "vars":
                    yield from (_joined(full, key) for full in self.meanings(node.value.args[0], steps))
            elif isinstance(node.value, ast.Attribute) and key is not None:
                if node.value.attr == "modules":
                    yield tuple(key.split("."))[:MOST_PARTS]
                elif node.value.attr == "__dict__":
                    yield from (_joined(full, key) for full in self.meanings(node.value.value, steps))
            yield from self.meanings(node.value, steps)
        elif isinstance(node, ast.Call):
            yield from self._of_call(node, steps)
        elif isinstance(
            node,
            ast.Tuple | ast.List | ast.Set | ast.Dict | ast.IfExp | ast.BoolOp | ast.NamedExpr | ast.Starred
            | ast.Await | ast.keyword | ast.comprehension | _COMPREHENSIONS[0] | _COMPREHENSIONS[3],
        ):  # fmt: skip
            for child in ast.iter_child_nodes(node):
                yield from self.meanings(child, steps)

    def _of_name(self, name: str, scope: Scope, steps: int) -> tuple[Dotted, ...]:
        home, late = scope.home(name), scope.late
        return self._once((id(home), name, late), lambda: self._of_values(name, home, late, steps), steps)

    def _of_values(self, name: str, home: Scope | None, late: bool, steps: int) -> Iterator[Dotted]:
        if home is None:
            yield from self.outside(name)
            if not hasattr(builtins, name):  # `float` is no name of every module that was imported with a star
                yield from ((*module, name) for module in self.starred)
            return
        for value in home.values(name, late):
            self._work(1)
            if isinstance(value, tuple):
                yield value[:MOST_PARTS]
            elif isinstance(value, ast.expr):
                yield from self.meanings(value, steps)

    def _of_call(self, node: ast.Call, steps: int) -> Iterator[Dotted]:
        called, texts = _name(node.func), [_text(argument) for argument in node.args]
        if called in ("__import__", "import_module") and texts and texts[0] is not None:
            full = tuple(texts[0].split("."))[:MOST_PARTS]
            yield full[:1] if called == "__import__" and len(node.args) < 4 else full
            yield full
        elif called == "getattr" and len(texts) > 1 and texts[1] is not None:
            yield from (_joined(full, texts[1]) for full in self.meanings(node.args[0], steps))
        elif called == "get" and isinstance(node.func, ast.Attribute) and texts and texts[0] is not None:
            source = node.func.value  # of sys.modules or globals()
            if isinstance(source, ast.Attribute) and source.attr == "modules":
                yield tuple(texts[0].split("."))[:MOST_PARTS]
            elif isinstance(source, ast.Call) and _name(source.func) in ("globals", "locals", "vars"):
                yield from self._of_name(texts[0], self._scopes.get(id(node), self.globals), steps)
        for argument in (*node.args, *node.keywords):
            yield from self.meanings(argument, steps)


def broken(used: Iterable[Dotted], forbids: Iterable[str], meaning: Callable[[str], Iterable[Dotted]]) -> list[str]:
    """Which of the `forbids` are among the names used; `meaning(name)`: what a rule's first part stands for.

    A rule is a dotted name, and covers all beneath it; or a method of whatever object (".backward").
    """
    used = set(used)

    def breaks(rule: str) -> bool:
        if rule.startswith("."):
            return all(("", part) in used for part in rule[1:].split("."))
        root, *rest = rule.split(".")
        full = [(*start, *rest) for start in {(root,), *meaning(root)}]
        return any(name[: len(one)] == one for name in used for one in full)

    return [rule for rule in forbids if breaks(rule)]


def _joined(full: Dotted, name: str) -> Dotted:
    return (*full, name) if len(full) < MOST_PARTS else full


def _name(node: ast.AST) -> str | None:
    """The last part of what is called."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
