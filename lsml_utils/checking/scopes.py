"""Which names pieces of Python bind, scope by scope, and to what: told from the syntax alone, nothing is run.

(Python's `symtable` says in which scope a name is bound, but not to what, which is what an alias is seen through by.)
"""

import ast

Dotted = tuple[str, ...]
Value = ast.AST | Dotted | None

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
NAMESPACES = {"globals", "locals", "vars"}  # called without an argument they give the names of the cells
SHELL = {"user_ns", "user_global_ns"}  # attributes of IPython's shell that do too
_PUTS = {"add", "append", "appendleft", "extend", "insert", "setdefault", "update", "__setitem__"}
_REFERENCES = (ast.Name, ast.Attribute, ast.Lambda, ast.List, ast.Tuple, ast.Set, ast.Dict)


class Scope:
    """A module, function, class or comprehension. `bound`: each name's values: nodes, dotted names, None if unknown."""

    def __init__(self, kind: str, parent: "Scope | None" = None):
        self.kind, self.parent = kind, parent
        self.bound: dict[str, list[Value]] = {}
        self.held: dict[tuple[str, str], list[Value]] = {}  # what was put into (a name, its attribute)
        self.elsewhere: dict[str, str] = {}  # names said to be global or nonlocal
        self.replaced: dict[str, int] = {}  # how many of a name's values a later definition has replaced
        self.kept: dict[str, set[int]] = {}  # which of these a function may bind again whenever it is called
        self.parameters: list[str] = []  # of a function, those that may be given by their place
        self.returned: list[ast.expr] = []  # what a function returns or yields

    def bind(self, name: str, value: Value) -> None:
        """Note one value that a name may have."""
        self.bound.setdefault(name, []).append(value)

    def hold(self, name: str, attribute: str, value: Value) -> None:
        """Note one value that an attribute of what a name stands for may have; of a class's own object: ""."""
        self.held.setdefault((name, attribute), []).append(value)

    def is_module(self, name: str) -> bool:
        """Whether a name is bound by nothing but the import of a top module, such as `import numpy as np`."""
        return all(isinstance(value, tuple) and len(value) == 1 for value in self.bound.get(name, [None]))

    def values(self, name: str, late: bool) -> list[Value]:
        """What a name may be bound to; `late`: when all the code has run, as in the body of a function."""
        found = self.bound.get(name, [])
        gone = self.replaced.get(name, 0) if late else 0
        return [value for place, value in enumerate(found) if place >= gone or place in self.kept.get(name, ())]

    @property
    def late(self) -> bool:
        """Whether code in it runs when a function is called, and not where it stands."""
        return self.kind == "function" or (self.parent is not None and self.parent.late)

    def of_self(self, name: str) -> "Scope | None":
        """The class whose object a name is, because it is the first parameter of a method."""
        home = self.home(name)
        method = home is not None and home.kind == "function" and home.parameters[:1] == [name]
        return home.parent if method and home.parent.kind == "class" else None

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


class Pieces:
    """Pieces of code that share one global scope, such as the cells of a notebook."""

    def __init__(self):
        self.globals = Scope("module")
        self.starred: list[Dotted] = []  # modules imported with a star
        self.written: set[str] = set()  # modules whose source is among the pieces
        self.scopes: dict[int, Scope] = {}  # that a node stands in
        self.inner: dict[int, Scope] = {}  # that a definition opens
        self.strings: dict[int, tuple[ast.Call, Scope]] = {}  # calls that run a string
        self._trees: list[ast.AST] = []  # or the ids above could be given to other nodes
        self._put: list[tuple[Scope, str, str, Value, bool]] = []  # the last: by a method, such as `append`

    def add(self, tree: ast.AST, within: Scope | None = None) -> None:
        """Take in a piece of code; `within` another scope than the global one."""
        self._trees.append(tree)
        outer = within or self.globals
        before = {
            node.name: len(outer.bound.get(node.name, ()))
            for node in getattr(tree, "body", ())
            if isinstance(node, DEFINITIONS)
        } if within is None else {}  # fmt: skip
        stack: list[tuple[ast.AST, Scope]] = [(tree, outer)]
        opened: list[Scope] = []
        while stack:
            node, scope = stack.pop()
            self.scopes[id(node)] = scope
            self._bind(node, scope)
            inner = self._inner(node, scope)
            if inner is None:
                stack += [(child, scope) for child in ast.iter_child_nodes(node)]
                continue
            opened.append(inner)
            for field, value in ast.iter_fields(node):
                inside = field == "body" or isinstance(node, COMPREHENSIONS)
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.arguments):
                        self._take_arguments(child, scope, inner, stack)
                    elif isinstance(child, ast.AST):
                        stack.append((child, inner if inside else scope))
        for scope in opened:
            for name in scope.elsewhere:
                home = scope.home(name) or (self.globals if scope.elsewhere[name] == "global" else scope.parent)
                values = home.bound.setdefault(name, [])
                home.kept.setdefault(name, set()).update(
                    range(len(values), len(values) + len(scope.bound.get(name, ())))
                )
                values.extend(scope.bound.pop(name, []))
        outer.replaced |= before

    def settle(self) -> None:
        """Bind what was put into objects: where their names are bound is known when all is collected."""
        for scope, name, attribute, value, by_call in self._put:
            home = scope.home(name) or scope
            if by_call and not attribute and home.is_module(name):
                continue  # `np.add(x, y)` puts nothing into the module
            home.bind(name, value)
            if (own := scope.of_self(name)) is not None:
                own.hold("", attribute, value)
            else:
                home.hold(name, attribute, value)
        self._put.clear()

    def _inner(self, node: ast.AST, scope: Scope) -> Scope | None:
        if isinstance(node, FUNCTIONS):
            inner = Scope("function", scope)
            if isinstance(node, ast.Lambda):
                inner.returned.append(node.body)
        elif isinstance(node, ast.ClassDef):
            inner = Scope("class", scope)
        else:
            return Scope("comprehension", scope) if isinstance(node, COMPREHENSIONS) else None
        self.inner[id(node)] = inner
        return inner

    def _take_arguments(self, arguments: ast.arguments, scope: Scope, inner: Scope, stack: list) -> None:
        """Parameters are the function's, their defaults and annotations are of the scope around it."""
        positional = [*arguments.posonlyargs, *arguments.args]
        inner.parameters = [argument.arg for argument in positional]
        defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
        pairs = [*zip(positional, defaults, strict=True)]
        pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        pairs += [(argument, None) for argument in (arguments.vararg, arguments.kwarg) if argument]
        for argument, default in pairs:
            inner.bind(argument.arg, default)
            stack += [(node, scope) for node in (default, argument.annotation) if node is not None]

    def _bind(self, node: ast.AST, scope: Scope) -> None:
        if isinstance(node, DEFINITIONS):
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
        elif isinstance(node, ast.Match):
            for pattern in (part for case in node.cases for part in ast.walk(case.pattern)):
                for name in (getattr(pattern, "name", None), getattr(pattern, "rest", None)):
                    if isinstance(name, str):
                        scope.bind(name, node.subject)
        elif isinstance(node, ast.Try | ast.TryStar):
            raised = [part.exc for inside in node.body for part in ast.walk(inside) if isinstance(part, ast.Raise)]
            for handler in node.handlers:
                for value in [None, *raised] if handler.name else ():
                    scope.bind(handler.name, value)
        elif isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) and node.value is not None:
            scope.returned.append(node.value)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in scope.bound:
            scope.bind(node.id, None)  # whatever kind of statement that is
        elif isinstance(node, ast.Call):
            self._bind_call(node, scope)

    def _bind_call(self, node: ast.Call, scope: Scope) -> None:
        """Some calls bind names: `setattr`, a container's methods, and code that stands in a string."""
        called = last_name(node.func)
        if called == "setattr" and len(node.args) == 3:
            self._assign(node.args[0], node.args[2], scope)
        elif called in ("exec", "eval", "compile") and node.args:
            self.strings[id(node)] = (node, scope)
        elif called in _PUTS and isinstance(node.func, ast.Attribute):
            if is_namespace(node.func.value):
                self._put_into_globals(node)
                return
            # The result of a call is as a rule a number that is noted down.
            for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
                if isinstance(value, _REFERENCES):
                    self._put_into(node.func.value, value, scope, by_call=True)

    def _put_into_globals(self, node: ast.Call) -> None:
        """`globals().update(name=value)` and its like."""
        pairs = [(keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg]
        if node.args and isinstance(node.args[0], ast.Dict):
            pairs += [(text(key), value) for key, value in zip(node.args[0].keys, node.args[0].values, strict=True)]
        elif len(node.args) == 2:
            pairs.append((text(node.args[0]), node.args[1]))
        for name, value in pairs:
            if name is not None:
                self._bind_global(name, value)

    def _bind_global(self, name: str, value: Value) -> None:
        self.globals.kept.setdefault(name, set()).add(len(self.globals.bound.get(name, ())))
        self.globals.bind(name, value)

    def _assign(self, target: ast.AST, value: Value, scope: Scope) -> None:
        """Bind the names in a target; of `tool.inner = value` and `tools["name"] = value` the name in front."""
        if isinstance(target, ast.Tuple | ast.List):
            matched = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
            starred = any(isinstance(part, ast.Starred) for part in target.elts)
            for place, part in enumerate(target.elts):
                self._assign(part, value.elts[place] if matched and not starred else value, scope)
        elif isinstance(target, ast.Subscript) and is_namespace(target.value):
            if (name := text(target.slice)) is not None:
                self._bind_global(name, value)
        elif isinstance(target, ast.Name):
            scope.bind(target.id, value)
        elif isinstance(target, ast.Starred):
            self._assign(target.value, value, scope)
        else:
            self._put_into(target, value, scope)

    def _put_into(self, target: ast.AST, value: Value, scope: Scope, by_call: bool = False) -> None:
        """What is put into an object belongs to its name wherever that is bound."""
        attribute = ""
        while isinstance(target, ast.Attribute | ast.Subscript):
            attribute = target.attr if isinstance(target, ast.Attribute) else ""
            target = target.value
        if isinstance(target, ast.Name):
            self._put.append((scope, target.id, attribute, value, by_call))


def is_namespace(node: ast.AST) -> bool:
    """Whether an expression is the dictionary of the notebook's names."""
    if isinstance(node, ast.Attribute):
        return node.attr in SHELL
    return isinstance(node, ast.Call) and last_name(node.func) in NAMESPACES and not node.args


def last_name(node: ast.AST) -> str | None:
    """The last part of what is called."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def text(node: ast.AST | None) -> str | None:
    """A constant string."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
