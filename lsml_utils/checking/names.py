"""What a piece of Python uses, told from its syntax: names are resolved by scope, through aliases and helpers.

The visible check and the grader ask the same of it, so an answer that breaks a rule in one breaks it in the other.
"""

import ast
import builtins
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lsml_utils.checking.scopes import COMPREHENSIONS, FUNCTIONS, Dotted, Pieces, Scope, Value, is_namespace, last_name

MOST_PARTS = 12  # of a dotted name; a rule has fewer
MOST_STEPS = 50  # from an alias to what it stands for, in one go
MOST_MEANINGS = 64  # of one expression
MOST_WORK = 2_000_000  # nodes and meanings looked at: some seconds
MOST_ROUNDS = 4  # of strings that hold strings of code, and of functions that are given to functions

_EITHER = (ast.IfExp, ast.BoolOp, ast.NamedExpr)
_HOLDERS = (
    ast.Tuple, ast.List, ast.Set, ast.Dict, *_EITHER, ast.BinOp, ast.Starred, ast.Await, ast.keyword,
    ast.comprehension, COMPREHENSIONS[0], COMPREHENSIONS[3],
)  # fmt: skip
_IMPORTS = {"__import__", "import_module"}
_TAKES = {"get", "pop", "setdefault", "__getitem__"}  # methods that give one item of a dictionary
_CONTENTS = {"copy", "items", "pop", "popitem", "popleft", "values", *_TAKES}


class TooComplex(Exception):
    """Code whose names take longer to resolve than any that a person writes."""


class Code(Pieces):
    """Pieces of code, and what is used by them.

    For a global name that none of them binds, `outside(name)` tells what it stands for, as dotted names, and
    `text_of(name)` the string that it is, if any.
    """

    def __init__(
        self,
        outside: Callable[[str], Iterable[Dotted]] = lambda name: [(name,)],
        text_of: Callable[[str], str | None] = lambda name: None,
    ):
        super().__init__()
        self.outside, self.text_of = outside, text_of
        self._run: dict[int, ast.AST] = {}  # the code in the string that a call runs
        self._given: dict[tuple[int, str], list[ast.AST]] = {}  # to a function's parameters, by calls that are reached
        self._known: dict[Any, tuple[Dotted, ...]] = {}
        self._round: dict[Any, tuple[Dotted, ...]] = {}  # found in this round of what is being found
        self._so_far: dict[Any, tuple[Dotted, ...]] = {}  # by all rounds of it
        self._later: dict[Any, Callable[[], Iterator[Dotted]]] = {}  # what is too many steps away, to be found after it
        self._finding: set = set()
        self._grew = self._circular = False
        self._left = MOST_WORK

    def add(self, tree: ast.AST, within: Scope | None = None) -> None:
        """Take in a piece of code; `within` another scope than the global one."""
        self._known.clear()
        super().add(tree, within)

    def used(self, names: Iterable[str] = (), nodes: Iterable[ast.AST] = ()) -> set[Dotted]:
        """Dotted names used by these nodes, by what these global names are bound to, and by all that uses in turn.

        The attributes and methods of whatever object are among them, behind an empty part: `("", "backward")`.
        Raises TooComplex.
        """
        self.settle()
        names, nodes = list(names), list(nodes)
        self._forget_given()
        for _ in range(MOST_ROUNDS):
            found, calls = self._reached(names, nodes)
            if not self._give(calls):
                break
        return found

    def meaning(self, name: str) -> tuple[Dotted, ...]:
        """What a global name stands for. Raises TooComplex."""
        return self._of_name(name, self.globals, 0)

    def settle(self) -> None:
        """Take in what is known when all is collected: what was put into objects, and code in strings."""
        super().settle()
        for _ in range(MOST_ROUNDS):
            waiting, self.strings = self.strings, {}
            for call, scope in waiting.values():
                self._take_string(call, scope)
            super().settle()

    def _take_string(self, call: ast.Call, scope: Scope) -> None:
        for source in self._texts(call.args[0])[:1]:
            try:
                tree = ast.parse(source.strip())
            except (SyntaxError, ValueError, MemoryError, RecursionError):
                continue
            self._work(len(source))
            apart = Scope("function", scope) if len(call.args) > 1 and not is_namespace(call.args[1]) else None
            self.add(tree, apart or scope)
            self._run[id(call)] = tree
            for value in itertools.chain.from_iterable(apart.bound.values()) if apart is not None else ():
                self._put_into(call.args[1], value, scope)

    # ------------------------------------------------------------------------------------------------- what is used

    def _reached(self, names: list[str], nodes: list[ast.AST]) -> tuple[set[Dotted], list[ast.Call]]:
        """The names used, and the calls among the code that is reached."""
        found: set[Dotted] = set()
        calls: list[ast.Call] = []
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
                scope = self._scope(node)
                follow(scope.home(node.id), node.id, scope.late)
            elif isinstance(node, ast.Call):
                calls.append(node)
                waiting += [self._run[id(node)]] if id(node) in self._run else []
            for full in self._used_at(node):
                found.add(full)
                if (full[0] in self.written and len(full) > 1) or (full[0] == "__main__" and len(full) > 1):
                    follow(self.globals, full[1])
        return found, calls

    def _forget_given(self) -> None:
        if self._given:
            self._given.clear()
            self._known.clear()

    def _give(self, calls: Iterable[ast.Call]) -> bool:
        """Bind what these calls give to parameters of functions; whether any of it is new."""
        before = sum(map(len, self._given.values()))
        for call in calls:
            given = [*call.args, *(keyword.value for keyword in call.keywords)]
            known = False
            for inner, place in self._functions(call.func):
                known = True
                pairs = [*zip(inner.parameters[place:], call.args, strict=False)]
                pairs += [(keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg]
                self._give_each(inner, pairs)
            # Another's function, such as `map`, may call a function that it is given with the rest of it.
            for argument in given if not known else ():
                for inner, _ in self._functions(argument):
                    others = [other for other in given if other is not argument]
                    self._give_each(inner, [(name, other) for name in inner.parameters for other in others])
        if sum(map(len, self._given.values())) == before:
            return False
        self._known.clear()
        return True

    def _give_each(self, inner: Scope, pairs: Iterable[tuple[str, ast.AST]]) -> None:
        for name, value in pairs:
            values = self._given.setdefault((id(inner), name), [])
            if len(values) < MOST_MEANINGS and not any(value is other for other in values):
                values.append(value)

    def _functions(self, node: ast.AST) -> Iterator[tuple[Scope, int]]:
        """The functions of this code that an expression may be, and which parameter the first argument is."""
        for origin in self._origins(node):
            if isinstance(origin, FUNCTIONS):
                yield self.inner[id(origin)], 0
            elif isinstance(origin, ast.ClassDef):
                made = self.inner[id(origin)].values("__init__", late=True)
                yield from ((self.inner[id(value)], 1) for value in made if isinstance(value, FUNCTIONS))

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
            if self._called(node.func) & {"getattr", "methodcaller", "attrgetter", "__getattribute__"}:
                texts = [text for argument in node.args for text in self._texts(argument)]
                yield from (("", part) for text in texts for part in text.split("."))

    # ------------------------------------------------------------------------------------------------ resolving

    def _scope(self, node: ast.AST) -> Scope:
        return self.scopes.get(id(node), self.globals)

    def _work(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise TooComplex

    def meanings(self, node: ast.AST, steps: int = 0) -> tuple[Dotted, ...]:
        """The dotted names that an expression may stand for. TooComplex."""
        return self._once(id(node), lambda: self._meanings(node, steps + 1), steps)

    def _once(self, key, find: Callable[[], Iterator[Dotted]], steps: int) -> tuple[Dotted, ...]:
        """What `find` finds, kept under a key.

        Names may depend on each other in circles (`top = larger(top, x)` in a loop). So what is being found stands for
        what the last round found of it, and rounds go on until nothing is new: each looks at a key once.
        """
        if key in self._known:
            return self._known[key]
        if key in self._round:
            return self._round[key]
        if key in self._finding or steps > MOST_STEPS:
            self._circular = True
            if key not in self._finding:
                self._later[key] = find
            return self._so_far.get(key, ())
        if self._finding:
            return self._find(key, find)
        self._so_far, self._grew, self._circular = {}, True, True
        while self._grew and self._circular:
            self._round, self._grew, self._circular = {}, False, False
            self._find(key, find)
            while self._later:
                other, find_other = self._later.popitem()
                if other not in self._round:
                    self._find(other, find_other)
        self._known |= self._round
        self._round = {}
        return self._known[key]

    def _find(self, key, find: Callable[[], Iterator[Dotted]]) -> tuple[Dotted, ...]:
        before = self._so_far.get(key, ())
        self._finding.add(key)
        try:
            found = tuple(itertools.islice(dict.fromkeys(itertools.chain(before, find())), MOST_MEANINGS))
        finally:
            self._finding.discard(key)
        self._work(1 + len(found))
        self._grew |= len(found) > len(before)
        self._round[key] = self._so_far[key] = found
        return found

    def _meanings(self, node: ast.AST, steps: int) -> Iterator[Dotted]:
        if isinstance(node, ast.Name):
            yield from self._of_name(node.id, self._scope(node), steps)
        elif isinstance(node, ast.Attribute):
            yield from self._members(node.value, node.attr, steps)
        elif isinstance(node, ast.Subscript):
            for key in self._texts(node.slice):
                yield from self._items(node.value, key, steps)
            yield from self.meanings(node.value, steps)
        elif isinstance(node, ast.Call):
            yield from self._of_call(node, steps)
        elif isinstance(node, _HOLDERS):
            for child in ast.iter_child_nodes(node):
                yield from self.meanings(child, steps)
        elif isinstance(node, ast.Module):  # of a string that is run
            for statement in node.body:
                if isinstance(statement, ast.Expr):
                    yield from self.meanings(statement.value, steps)

    def _of_name(self, name: str, scope: Scope, steps: int) -> tuple[Dotted, ...]:
        home, late = scope.home(name), scope.late
        return self._once((id(home), name, late), lambda: self._of_values(name, home, late, steps), steps)

    def _of_values(self, name: str, home: Scope | None, late: bool, steps: int) -> Iterator[Dotted]:
        if home is None:
            yield from self.outside(name)
            if not hasattr(builtins, name):  # `float` is no name of every module that was imported with a star
                yield from ((*module, name) for module in self.starred)
            return
        for value in (*home.values(name, late), *self._given.get((id(home), name), ())):
            yield from self._of_value(value, steps)

    def _of_value(self, value: Value, steps: int) -> Iterator[Dotted]:
        self._work(1)
        if isinstance(value, tuple):
            yield value[:MOST_PARTS]
        elif isinstance(value, ast.expr):
            yield from self.meanings(value, steps)

    def _members(self, node: ast.AST, name: str, steps: int) -> Iterator[Dotted]:
        """What an attribute of an expression may be: of a module, of a class of this code, or put there."""
        for full in self.meanings(node, steps):
            if full == ("__main__",):
                yield from self._of_name(name, self.globals, steps)
            yield _joined(full, name)
        scope = self._scope(node)
        if isinstance(node, ast.Name):
            own = scope.of_self(node.id)
            home = scope.home(node.id) or self.globals
            if own is not None:
                yield from self._of_class(own, name, steps)
            for value in home.held.get((node.id, name), ()):
                yield from self._of_value(value, steps)
        for origin in self._origins(node):
            made = [*self._origins(origin.func)] if isinstance(origin, ast.Call) else [origin]
            for kind in made:
                if isinstance(kind, ast.ClassDef):
                    yield from self._of_class(self.inner[id(kind)], name, steps)
            if isinstance(origin, ast.Call):  # such as SimpleNamespace(la=np), ValueError(np).args
                for argument in (*origin.args, *(word.value for word in origin.keywords if word.arg == name)):
                    yield from self.meanings(argument, steps)

    def _of_class(self, scope: Scope, name: str, steps: int) -> Iterator[Dotted]:
        """What an attribute of a class, or of its objects, may be; a property, what it gives."""
        for value in (*scope.values(name, late=True), *scope.held.get(("", name), ())):
            yield from self._of_value(value, steps)
            if isinstance(value, FUNCTIONS):
                yield from self._returned(self.inner[id(value)], steps)

    def _returned(self, scope: Scope, steps: int) -> tuple[Dotted, ...]:
        def find() -> Iterator[Dotted]:
            for value in scope.returned:
                yield from self.meanings(value, steps + 1)

        return self._once(("returned", id(scope)), find, steps)

    def _items(self, node: ast.AST, key: str, steps: int) -> Iterator[Dotted]:
        """What a dictionary of names may hold under a key: globals(), vars(x), x.__dict__, sys.modules."""
        if any(full[-2:] == ("sys", "modules") for full in self.meanings(node, steps)):
            yield tuple(key.split("."))[:MOST_PARTS]
        for origin in self._origins(node):
            if is_namespace(origin):
                yield from self._of_name(key, self._scope(origin), steps)
            elif isinstance(origin, ast.Call) and last_name(origin.func) == "vars":
                yield from self._members(origin.args[0], key, steps)
            elif isinstance(origin, ast.Attribute) and origin.attr == "__dict__":
                yield from self._members(origin.value, key, steps)

    def _of_call(self, node: ast.Call, steps: int) -> Iterator[Dotted]:
        called, arguments = self._called(node.func, steps), node.args
        method = node.func if isinstance(node.func, ast.Attribute) else None
        if called & _IMPORTS and arguments:
            for text in self._texts(arguments[0]):
                full = tuple(text.split("."))[:MOST_PARTS]
                yield full[:1] if "__import__" in called and len(arguments) < 4 else full
                yield full
        elif "getattr" in called and len(arguments) > 1:
            for text in self._texts(arguments[1]):
                yield from self._members(arguments[0], text, steps)
        elif "__getattribute__" in called and method is not None and arguments:
            for text in self._texts(arguments[0]):
                yield from self._members(method.value, text, steps)
        elif called & _CONTENTS and method is not None:
            for text in self._texts(arguments[0]) if called & _TAKES and arguments else ():
                yield from self._items(method.value, text, steps)
            yield from self._contents(method.value, steps)
        for origin in self._origins(node.func):
            if isinstance(origin, FUNCTIONS):
                yield from self._returned(self.inner[id(origin)], steps)
            elif isinstance(origin, ast.Call) and arguments:
                yield from self._picked(origin, arguments[0], steps)
            elif isinstance(origin, ast.Attribute):
                yield from self._given_back(origin, steps)
        if id(node) in self._run:
            yield from self.meanings(self._run[id(node)], steps)
        for argument in (*arguments, *node.keywords):
            yield from self.meanings(argument, steps)

    def _picked(self, getter: ast.Call, node: ast.AST, steps: int) -> Iterator[Dotted]:
        """What `attrgetter("a.b")`, `methodcaller("a")` or `itemgetter("a")` takes out of an expression."""
        called = self._called(getter.func, steps)
        for text in self._texts(getter.args[0]) if getter.args else ():
            if called & {"attrgetter", "methodcaller"}:
                for full in self.meanings(node, steps):
                    yield (*full, *text.split("."))[:MOST_PARTS]
            elif "itemgetter" in called:
                yield from self._items(node, text, steps)
        if "partial" in called and getter.args and "getattr" in self._called(getter.args[0], steps):
            for text in self._texts(node):
                yield from (_joined(full, text) for argument in getter.args[1:2] for full in self.meanings(argument))

    def _given_back(self, method: ast.Attribute, steps: int) -> Iterator[Dotted]:
        """What a method of a class of this code returns."""
        scope = self._scope(method)
        own = scope.of_self(method.value.id) if isinstance(method.value, ast.Name) else None
        kinds = [own] if own is not None else []
        for origin in self._origins(method.value):
            made = self._origins(origin.func) if isinstance(origin, ast.Call) else [origin]
            kinds += [self.inner[id(kind)] for kind in made if isinstance(kind, ast.ClassDef)]
        for kind in kinds:
            for value in kind.values(method.attr, late=True):
                if isinstance(value, FUNCTIONS):
                    yield from self._returned(self.inner[id(value)], steps)

    def _contents(self, node: ast.AST, steps: int) -> Iterator[Dotted]:
        """What a list or dictionary may hold, also by a name; a module holds nothing in this sense."""
        for origin in self._origins(node):
            if isinstance(origin, _HOLDERS):
                yield from self.meanings(origin, steps)
        if isinstance(node, ast.Name) and (home := self._scope(node).home(node.id)) is not None:
            for value in home.held.get((node.id, ""), ()):
                yield from self._of_value(value, steps)

    def _called(self, node: ast.AST, steps: int = 0) -> set[str | None]:
        """The last parts of the names that a call may call, its aliases seen through."""
        return {last_name(node), *(full[-1] for full in self.meanings(node, steps))}

    def _origins(self, node: ast.AST) -> list[ast.AST]:
        """The expressions and definitions that an expression may stand for, through names."""
        found: list[ast.AST] = []
        waiting, seen = [node], set()
        while waiting and len(seen) < MOST_MEANINGS:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, ast.Name):
                scope = self._scope(node)
                home = scope.home(node.id)
                values = home.values(node.id, scope.late) if home is not None else []
                given = self._given.get((id(home), node.id), ())
                waiting += [value for value in (*values, *given) if isinstance(value, ast.AST)]
            elif isinstance(node, _EITHER):
                waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
            else:
                found.append(node)
        self._work(len(seen))
        return found

    def _texts(self, node: ast.AST, depth: int = MOST_ROUNDS) -> list[str]:
        """The strings that an expression may be, where they stand in the code: constants, joined, under a name."""
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else []
        if depth == 0:
            return []
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.FormattedValue) else part for part in node.values]
            return self._joined_texts(parts, depth - 1)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._joined_texts([node.left, node.right], depth - 1)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):  # that a loop goes through
            parts = node.elts[:MOST_MEANINGS]
        elif isinstance(node, ast.Name) and node.id == "__name__":
            return ["__main__"]
        elif isinstance(node, ast.Name) and self._scope(node).home(node.id) is None:
            known = self.text_of(node.id)
            return [] if known is None else [known]
        else:
            parts = [part for part in self._origins(node) if part is not node]
        return [text for part in parts for text in self._texts(part, depth - 1)][:MOST_MEANINGS]

    def _joined_texts(self, parts: list[ast.AST], depth: int) -> list[str]:
        choices = [self._texts(part, depth)[:MOST_ROUNDS] for part in parts[:MOST_PARTS]]
        return ["".join(choice) for choice in itertools.islice(itertools.product(*choices), MOST_MEANINGS)]


def broken(used: Iterable[Dotted], forbids: Iterable[str], meaning: Callable[[str], Iterable[Dotted]]) -> list[str]:
    """Which of the `forbids` are among the names used; `meaning(name)`: what a rule's first part stands for.

    A rule is a dotted name, and covers all beneath it; or a method, or a function, of whatever object or library
    (".backward", ".eigvalsh").
    """
    used = set(used)

    def breaks(rule: str) -> bool:
        if rule.startswith("."):
            return all(any(part in name[1:] for name in used) for part in rule[1:].split("."))
        root, *rest = rule.split(".")
        full = [(*start, *rest) for start in {(root,), *meaning(root)}]
        return any(name[: len(one)] == one for name in used for one in full)

    return [rule for rule in forbids if breaks(rule)]


def _joined(full: Dotted, name: str) -> Dotted:
    return (*full, name) if len(full) < MOST_PARTS else full
