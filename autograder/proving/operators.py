"""What a node of a syntax tree may be exchanged for: slips in any code, the axis, the dropped term, the lost copy."""

import ast
from collections.abc import Iterator

_ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_TWINS = [
    ("sum", "mean"),
    ("max", "min"),
    ("amax", "amin"),
    ("argmax", "argmin"),
    ("maximum", "minimum"),
    ("any", "all"),
    ("zeros", "ones"),
    ("zeros_like", "ones_like"),
    ("floor", "ceil"),
    ("exp", "expm1"),
    ("log", "log1p"),
    ("std", "var"),
    ("cumsum", "cumprod"),
    ("sin", "cos"),
    ("append", "extend"),
]
_TWIN = dict(_TWINS) | {b: a for a, b in _TWINS}
_CONVERSIONS = {"asarray", "ascontiguousarray", "as_tensor", "float", "int", "bool", "list", "tuple", "iter"}
_COPIES = {"copy", "clone", "astype", "detach"}


def replacements(node: ast.AST, holder: ast.AST | list, tree: ast.AST) -> Iterator[ast.AST]:
    """What a node may be exchanged for. Each mutation makes new nodes and shares the parts that stay."""
    match node:
        case ast.BinOp():
            yield from _binary(node, holder)
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                for other in _COMPARISONS[type(operator)]:
                    yield copy(node, ops=[*node.ops[:index], other(), *node.ops[index + 1 :]])
        case ast.BoolOp():
            yield copy(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
            for index in range(len(node.values)):
                rest = node.values[:index] + node.values[index + 1 :]
                yield rest[0] if len(rest) == 1 else copy(node, values=rest)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            yield from (_number(other) for other in _neighbours(-value))
            yield node.operand
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            if not isinstance(holder, ast.UnaryOp):  # -1 is one number
                yield from (_number(other) for other in _neighbours(node.value))
        case ast.IfExp():
            yield node.body
            yield node.orelse
        case ast.Attribute(attr="T" | "mT"):
            yield node.value
        case ast.Call():
            yield from _calls(node)
        case ast.Slice():
            yield from _slices(node)
        case ast.Lambda() | ast.expr():
            pass
        case ast.stmt():
            yield from _statements(node, holder, tree)


def _binary(node: ast.BinOp, holder: ast.AST | list) -> Iterator[ast.AST]:
    if type(node.op) in _ARITHMETIC:
        yield copy(node, op=_ARITHMETIC[type(node.op)]())
    if not isinstance(node.op, ast.MatMult | ast.Mod):
        yield node.left
    if isinstance(node.op, ast.Add | ast.Mult):
        yield node.right
    if isinstance(node.op, ast.Sub | ast.Div) and not _even(holder):
        yield copy(node, left=node.right, right=node.left)


def _even(holder: ast.AST | list) -> bool:
    """Whether the sign of what stands here is lost at once: a square."""
    return (
        isinstance(holder, ast.BinOp)
        and isinstance(holder.op, ast.Pow)
        and isinstance(holder.right, ast.Constant)
        and holder.right.value == 2
    )


def _neighbours(value: int | float) -> list[int | float]:
    """Off by one for a count, twice for a measure, nothing for a guard such as 1e-12, half for a large count."""
    if isinstance(value, int):
        return [value + 1, value - 1] if abs(value) <= 16 else [value // 2]
    if value == 0:
        return [1.0]
    return [2 * value] if abs(value) > 1e-6 else [0.0]


def _number(value: int | float) -> ast.expr:
    number = ast.Constant(abs(value))
    return ast.UnaryOp(ast.USub(), number) if value < 0 else number


def called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    name = called(node)
    plain = not any(isinstance(argument, ast.Starred) for argument in node.args)
    if name in _TWIN:
        twin = _TWIN[name]
        func = ast.Name(twin, ast.Load()) if isinstance(node.func, ast.Name) else copy(node.func, attr=twin)
        yield copy(node, func=func)
    if name == "range" and plain:
        yield from _ranges(node)
    elif plain and len(node.args) >= 2:
        yield copy(node, args=[node.args[1], node.args[0], *node.args[2:]])
    if plain and len(node.args) == 1 and name not in _CONVERSIONS | {"range"} | _COPIES:
        yield node.args[0]
    if name in _COPIES and isinstance(node.func, ast.Attribute):
        yield node.func.value
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            yield copy(node, keywords=node.keywords[:index] + node.keywords[index + 1 :])


def _ranges(node: ast.Call) -> Iterator[ast.AST]:
    """One step fewer, one more, one later; constants are changed elsewhere."""
    start, stop, *step = node.args if len(node.args) > 1 else [ast.Constant(0), *node.args]
    if not isinstance(stop, ast.Constant):
        yield copy(node, args=[start, _shifted(stop, -1), *step])
        yield copy(node, args=[start, _shifted(stop, 1), *step])
    if len(node.args) == 1 or not isinstance(start, ast.Constant):
        yield copy(node, args=[_shifted(start, 1), stop, *step])


def _slices(node: ast.Slice) -> Iterator[ast.AST]:
    for side in ("lower", "upper", "step"):
        bound = getattr(node, side)
        if bound is None:
            continue
        yield copy(node, **{side: None})
        if side != "step" and not isinstance(bound, ast.Constant | ast.UnaryOp):
            yield copy(node, **{side: _shifted(bound, 1)})
            yield copy(node, **{side: _shifted(bound, -1)})


def _shifted(node: ast.expr, by: int) -> ast.expr:
    if isinstance(node, ast.Constant):
        return ast.Constant(node.value + by)
    return ast.BinOp(node, ast.Add() if by > 0 else ast.Sub(), ast.Constant(abs(by)))


def _statements(node: ast.stmt, holder: ast.AST | list, tree: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.AugAssign():
            if type(node.op) in _ARITHMETIC:
                yield copy(node, op=_ARITHMETIC[type(node.op)]())
            yield ast.Assign([node.target], node.value)
            yield ast.Pass()
        case ast.If() | ast.While():
            yield copy(node, test=_negated(node.test))
            if isinstance(node, ast.If) and not node.orelse:
                yield ast.Pass()
        case ast.Return(value=ast.Tuple(elts=[first, second, *rest])):
            yield copy(node, value=copy(node.value, elts=[second, first, *rest]))
        case ast.Assign():
            if all(_set_elsewhere(target, tree) for target in node.targets):
                yield ast.Pass()
        case ast.Expr() | ast.For() | ast.Break() | ast.Continue():
            yield ast.Pass()


def _negated(test: ast.expr) -> ast.expr:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        return copy(test, ops=[_COMPARISONS[type(test.ops[0])][-1]()])
    return ast.UnaryOp(ast.Not(), test)


def _set_elsewhere(target: ast.expr, tree: ast.AST) -> bool:
    """Whether code can go on without this assignment: another one, or a parameter, gives the name a value too."""
    if isinstance(target, ast.Tuple | ast.List):
        return all(_set_elsewhere(part, tree) for part in target.elts)
    if not isinstance(target, ast.Name):
        return True
    bound = [n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)]
    bound += [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return bound.count(target.id) > 1


def copy(node: ast.AST, **changes: object) -> ast.AST:
    """A shallow copy of the node with some fields changed."""
    return type(node)(**{field: getattr(node, field, None) for field in node._fields} | changes)
