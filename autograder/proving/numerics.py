"""Slips of numerical code, as exchanges in a syntax tree: precision, thresholds, sentinels, ties, borders, seeds.

An exchange that would change nothing is left out as far as the cell shows it: a slack of 1e-9 means nothing to counts.
"""

import ast
import re
from collections.abc import Iterator
from functools import cached_property

from autograder.proving.contracts import LEFT_ALONE
from autograder.proving.operators import called, copy

_FLOAT_CALLS = {"float", "as_float", "mean", "std", "var", "norm", "sqrt", "exp", "log", "tanh", "standard_normal"}
_KEEP_DTYPE = {"max", "min", "sum", "abs", "clip", "copy", "maximum", "minimum", "cumsum", "sort", "squeeze"}
_ARRAYS = {"np.ndarray", "torch.Tensor"}
_NEW_ARRAYS = {"zeros", "ones", "empty", "full"}


_OPPOSITE = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt}


class Scope:
    """What a cell's tree tells about its names: which are floats, counts, parameters."""

    def __init__(self, tree: ast.Module):
        self.returns = [node for node in ast.walk(tree) if isinstance(node, ast.Return)]
        self.functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        self.parameters = {a.arg: ast.unparse(a.annotation or ast.Constant(None)) for a in _arguments(self.functions)}
        self.bound: dict[str, list[ast.expr]] = {}
        self.unpacked: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._bind(target, node.value)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.bound.setdefault(target.id, []).append(value)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for one, other in zip(target.elts, value.elts, strict=True):
                self._bind(one, other)
        elif isinstance(target, ast.Tuple):
            shape = isinstance(value, ast.Attribute) and value.attr == "shape"
            for name in (n for n in ast.walk(target) if isinstance(n, ast.Name)):
                self.unpacked.add(name.id)
                self.bound.setdefault(name.id, []).append(ast.Call(ast.Name("len"), [value], []) if shape else value)

    @cached_property
    def floats(self) -> set[str]:
        found = {name for name, annotation in self.parameters.items() if annotation == "float"}
        for _ in range(len(self.bound)):
            found |= {name for name, values in self.bound.items() if any(_is_float(v, found) for v in values)}
        return found

    @cached_property
    def counts(self) -> set[str]:
        found = {name for name, annotation in self.parameters.items() if annotation == "int"}
        for _ in range(len(self.bound)):
            found |= {name for name, values in self.bound.items() if all(_is_count(v, found) for v in values)}
        return found

    def is_float(self, node: ast.expr) -> bool:
        return _is_float(node, self.floats)

    def is_count(self, node: ast.expr) -> bool:
        return _is_count(node, self.counts)

    def arrays_given(self, node: ast.AST) -> list[str]:
        """The parameters of the function around a node that are arrays."""
        around = self.function(node)
        found = _arguments([around]) if around else ()
        return [a.arg for a in found if a.annotation is not None and ast.unparse(a.annotation) in _ARRAYS]

    def kept(self, name: str) -> bool:
        """Whether a parameter is never exchanged for another array."""
        return all(isinstance(v, ast.Call) and called(v) == "asarray" for v in self.bound.get(name, ()))

    def leaves_early(self, node: ast.Return) -> bool:
        """Whether this is not the last line of a function that leaves its arguments alone."""
        function = self.function(node)
        promises = function is not None and re.search(LEFT_ALONE, ast.get_docstring(function) or "")
        return bool(promises) and node is not function.body[-1]

    @cached_property
    def returned(self) -> set[int]:
        """The ids of the expressions whose values are returned as they are."""
        found = []
        for node in self.returns:
            for part in node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]:
                found += self.bound.get(part.id, []) if isinstance(part, ast.Name) else [part]
        return {id(part) for part in found}

    def says_nan(self, node: ast.AST) -> bool:
        """Whether nan may come, by the docstring around a node."""
        return bool(re.search(r"\bnan\b", ast.get_docstring(self.function(node)) or ""))

    def function(self, node: ast.AST) -> ast.FunctionDef | None:
        """The innermost function around a node."""
        around = [f for f in self.functions if f.lineno < node.lineno <= f.end_lineno]
        return max(around, key=lambda f: f.lineno, default=None)


def _arguments(functions: list[ast.FunctionDef]) -> Iterator[ast.arg]:
    for function in functions:
        yield from (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)


def _is_float(node: ast.expr, floats: set[str]) -> bool:
    """Whether the value is a float or an array of floats, for certain."""
    match node:
        case ast.Constant(value=float()):
            return True
        case ast.Name():
            return node.id in floats
        case ast.BinOp(op=ast.Div()):
            return True
        case ast.BinOp():
            return _is_float(node.left, floats) or _is_float(node.right, floats)
        case ast.UnaryOp(op=ast.USub()):
            return _is_float(node.operand, floats)
        case ast.Subscript() | ast.Attribute(attr="T"):
            return _is_float(node.value, floats)
        case ast.Call():
            name, dtype = called(node), _keyword(node, "dtype")
            if name in {"asarray", "array", "astype"} | _NEW_ARRAYS and dtype is not None:
                return "float" in ast.unparse(dtype)
            if name in _FLOAT_CALLS or (name in _NEW_ARRAYS and len(node.args) == 1):
                return True
            method = isinstance(node.func, ast.Attribute) and not _is_module(node.func)
            of = [node.func.value] if method else node.args[:1]
            return name in _KEEP_DTYPE and bool(of) and _is_float(of[0], floats)
    return False


def _is_module(func: ast.expr) -> bool:
    return isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id in ("np", "torch")


def _is_count(node: ast.expr, counts: set[str]) -> bool:
    match node:
        case ast.Constant(value=int()):
            return True
        case ast.Name():
            return node.id in counts
        case ast.BinOp():
            return not isinstance(node.op, ast.Div) and _is_count(node.left, counts) and _is_count(node.right, counts)
        case ast.Call():
            return called(node) == "len"
    return False


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in node.keywords if keyword.arg == name), None)


def _with_keyword(node: ast.Call, name: str, value: ast.expr) -> ast.Call:
    return copy(node, keywords=[*(k for k in node.keywords if k.arg != name), ast.keyword(name, value)])


def _code(text: str, **parts: ast.expr) -> ast.expr:
    """The expression that `text` stands for, its names in capitals exchanged for these parts."""

    class Fill(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return parts.get(node.id, node)

    return Fill().visit(ast.parse(text, mode="eval").body)


def _precision(node: ast.AST, holder: ast.AST | list, scope: Scope) -> Iterator[ast.AST]:
    """float32 where float64 was, int16 where int64 was; in sums, in new arrays, in conversions."""
    match node:
        case ast.Call() if called(node) in _NEW_ARRAYS and _keyword(node, "dtype") is None:
            if len(node.args) == 1 + (called(node) == "full"):
                yield _with_keyword(node, "dtype", _code("np.float32"))
        case ast.Call() if called(node) in ("sum", "mean", "cumsum") and _keyword(node, "dtype") is None:
            if scope.is_float(node):
                yield _with_keyword(node, "dtype", _code("np.float32"))
        case ast.Attribute(attr="float64"):
            yield copy(node, attr="float32")
        case ast.Attribute(attr="int64"):
            yield copy(node, attr="int16")
        case ast.Name(id="float" | "int") if isinstance(holder, list | ast.keyword):
            yield _code("np.float32" if node.id == "float" else "np.int16")
        case ast.Constant(value=float(value)) if value == 0 and isinstance(holder, list | ast.Assign):
            yield _code("np.float32(0)")


def _guards(node: ast.AST, holder: ast.AST | list, scope: Scope) -> Iterator[ast.AST]:
    """Something small added where a zero would hurt, large numbers cut off where they would overflow."""
    match node:
        case ast.BinOp(op=ast.Div()) if not scope.is_count(node.right):
            yield copy(node, right=_code("B + 1e-8", B=node.right))
        case ast.Call(args=[x]) if called(node) == "log":
            yield copy(node, args=[_code("X + 1e-8", X=x)])
        case ast.Call(args=[x]) if called(node) == "sqrt":
            yield copy(node, args=[_code("X + 1e-8", X=x)])
        case ast.Call(args=[x]) if called(node) == "exp":
            yield copy(node, args=[_code("np.clip(X, -20, 20)", X=x)])
        case ast.Attribute(attr="inf"):
            yield ast.Constant(1e30)
        case ast.Attribute(attr="max", value=ast.Call()) if called(node.value) == "finfo":
            yield ast.Constant(1e6)
        case ast.Attribute(attr="min", value=ast.Call()) if called(node.value) == "finfo":
            yield _code("-1e6")
        case ast.Attribute(attr="eps" | "tiny" | "smallest_normal", value=ast.Call()) if called(node.value) == "finfo":
            yield ast.Constant(1e-6)
        case ast.Constant(value=float(value)) if 0 < value <= 1e-6:
            yield ast.Constant(value * 1e6)


def _slack(node: ast.AST, holder: ast.AST | list, scope: Scope) -> Iterator[ast.AST]:
    """Nearly in place of exactly, where floats are compared."""
    match node:
        case ast.Compare(ops=[operator], comparators=[right]) if scope.is_float(node.left) or scope.is_float(right):
            parts = {"A": node.left, "B": right}
            if isinstance(operator, ast.Eq):
                yield _code("np.isclose(A, B)", **parts)
            elif isinstance(operator, ast.NotEq):
                yield _code("~np.isclose(A, B)", **parts)
            elif isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
                sign = "+" if isinstance(operator, ast.Lt | ast.LtE) else "-"
                yield copy(node, comparators=[_code(f"B {sign} 1e-9", **parts)])
                if scope.says_nan(node):
                    yield ast.UnaryOp(ast.Not(), copy(node, ops=[_OPPOSITE[type(operator)]()]))


def _stability(node: ast.AST, holder: ast.AST | list, scope: Scope) -> Iterator[ast.AST]:
    """The formula as it stands in a book, in place of the function that keeps its digits."""
    match node:
        case ast.Call(args=[x]) if called(node) == "log1p":
            yield _code("np.log(1 + X)", X=x)
        case ast.Call(args=[x]) if called(node) == "expm1":
            yield _code("np.exp(X) - 1", X=x)
        case ast.Call(args=[x, y]) if called(node) == "logaddexp":
            yield _code("np.log(np.exp(X) + np.exp(Y))", X=x, Y=y)
        case ast.Call(args=[x, y]) if called(node) == "hypot":
            yield _code("np.sqrt(X ** 2 + Y ** 2)", X=x, Y=y)


def _axes(node: ast.AST, holder: ast.AST | list, scope: Scope) -> Iterator[ast.AST]:
    """One axis where any may come; the last of several that tie; the other side of a border; n - 1 or 1 for n."""
    match node:
        case ast.keyword(arg="axis", value=ast.Name()):
            yield copy(node, value=ast.Constant(0))
            yield copy(node, value=_code("-1"))
        case ast.Call(func=ast.Attribute(attr="argmax" | "argmin" as name, value=x)) if not _is_module(node.func):
            axis = _keyword(node, "axis")
            if isinstance(axis, ast.Constant):
                yield _code(f"X.shape[A] - 1 - np.flip(X, A).{name}(axis=A)", X=x, A=axis)
        case ast.Call(args=[x]) if called(node) == "ceil":
            yield _code("np.floor(X) + 1", X=x)
        case ast.Call(args=[x]) if called(node) == "floor":
            yield _code("np.ceil(X) - 1", X=x)
        case ast.Call(func=ast.Name(id="len")):
            yield ast.Constant(1)
        case ast.Constant(value="left" | "right" as side):
            yield ast.Constant("right" if side == "left" else "left")
        case ast.Call() if called(node) in ("std", "var") and _keyword(node, "ddof") is None:
            yield _with_keyword(node, "ddof", ast.Constant(1))
        case ast.Call(func=ast.Attribute(attr="abs")):
            yield copy(node, func=copy(node.func, attr="square"))
        case ast.BinOp(op=ast.Pow(), right=ast.Constant(value=2)):
            yield _code("abs(X)", X=node.left)
        case ast.Call(func=ast.Name(id="range"), args=[start, stop, step]) if not isinstance(step, ast.Constant):
            yield copy(node, args=[start, _code("STOP - STEP + 1", STOP=stop, STEP=step), step])


def _seeds(node: ast.AST, holder: ast.AST | list, scope: Scope) -> Iterator[ast.AST]:
    """A seed and a number beside it made one number, which another pair makes, too; no seed at all."""
    match node:
        case ast.List(elts=[a, b]) | ast.Tuple(elts=[a, b]) if "seed" in {getattr(a, "id", ""), getattr(b, "id", "")}:
            if isinstance(node.ctx, ast.Load):
                for text in ("A + B", "A * 1000 + B", "A ^ B"):
                    yield _code(text, A=a, B=b)
        case ast.Call(args=[_]) if called(node) == "default_rng":
            yield copy(node, args=[])


def _checks(node: ast.AST, holder: ast.AST | list, scope: Scope) -> Iterator[ast.AST]:
    """A check of an argument that is made only where another has its default, or only where it has not."""
    match node:
        case ast.If(body=[ast.Raise()], orelse=[]):
            arguments = scope.function(node).args
            optional = arguments.args[len(arguments.args) - len(arguments.defaults) :]
            asked = {name.id for name in ast.walk(node.test) if isinstance(name, ast.Name)}
            for argument, default in zip(optional, arguments.defaults, strict=True):
                if argument.arg in asked:
                    continue
                for sign in ("==", "!="):
                    only = _code(f"NAME {sign} DEFAULT", NAME=ast.Name(argument.arg), DEFAULT=default)
                    yield copy(node, test=ast.BoolOp(ast.And(), [node.test, only]))


def _ownership(node: ast.AST, holder: ast.AST | list, scope: Scope) -> Iterator[ast.AST]:
    """An array that is kept where it was to be copied; an argument written to, always or on the way out early."""
    match node:
        case ast.Call(args=[ast.Name(id=name)]) if called(node) == "array":
            if id(node) in scope.returned and (name in scope.parameters or name in scope.unpacked):
                yield copy(node, func=copy(node.func, attr="asarray"))
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp()) if name in scope.arrays_given(node):
            yield ast.Expr(_code("np.copyto(A, V)", A=ast.Name(name), V=node.value))
        case ast.Return(value=ast.expr()) if scope.leaves_early(node):
            kept = [name for name in scope.arrays_given(node) if scope.kept(name)]
            for name in kept[:1]:
                out = _code("(V, A.flags.writeable and A.fill(0))[0]", V=node.value, A=ast.Name(name))
                yield copy(node, value=out)


OPERATORS = {
    "precision": _precision,
    "guard": _guards,
    "slack": _slack,
    "stability": _stability,
    "axis, tie or border": _axes,
    "seed": _seeds,
    "check": _checks,
    "ownership": _ownership,
}
