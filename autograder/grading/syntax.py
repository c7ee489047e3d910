"""What can be told of a student's cell from its syntax, without running any of it. No input makes this raise."""

import ast
import re
import warnings
from collections.abc import Iterable, Iterator

MAX_SOURCE = 200_000  # characters; a longer cell is run, but not looked into

_MAGIC_LINE = re.compile(r"^([ \t]*)(?:[%!?].*|[^#'\"\n]*\?[ \t]*)$", re.MULTILINE)
_TRANSPARENT_MAGIC = re.compile(r"\A\s*%%(?:time|timeit|capture|prun)\b.*")


def unwrapped(source: str) -> str:
    """The cell without a leading `%%time` or the like, whose body is meant to run; the lines keep their numbers."""
    return _TRANSPARENT_MAGIC.sub(lambda found: "\n" * found[0].count("\n"), source)


def tree(source: str) -> ast.Module | None:
    """The syntax tree of a cell, its magics left out; None where it has none."""
    if len(source) > MAX_SOURCE:
        return None
    parsed = _parsed(source)
    return parsed if parsed is not None else _parsed(_MAGIC_LINE.sub(r"\1pass", source))


def _parsed(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in a student's string is not ours to report
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None


def normal(source: str) -> str:
    """A form that is equal for two cells that differ in layout, comments or docstrings only; "" for no code."""
    parsed = tree(source)
    if parsed is None:
        return " ".join(source.split())
    for node in ast.walk(parsed):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and _docstring(node):
            del node.body[0]
    try:
        return "\n".join(ast.dump(statement) for statement in parsed.body)
    except (RecursionError, ValueError):  # Python writes no integer of more than 4,300 digits
        return " ".join(source.split())


def _docstring(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def defined(source: str) -> list[str]:
    """The names that a cell's own statements bind, in order: functions, classes, variables and imports."""
    parsed = tree(source)
    return [] if parsed is None else list(dict.fromkeys(_bound(parsed.body)))


def newly_defined(source: str, authored: str) -> list[str]:
    """The names bound by those statements of a cell that the authored cell does not have."""
    parsed, known = tree(source), tree(authored)
    if parsed is None or known is None:
        return []
    try:
        old = {ast.dump(statement) for statement in known.body}
        return list(dict.fromkeys(_bound(statement for statement in parsed.body if ast.dump(statement) not in old)))
    except (RecursionError, ValueError):
        return []


def _bound(statements: Iterable[ast.stmt]) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.split(".")[0] for alias in statement.names if alias.name != "*")
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
        elif isinstance(statement, ast.If | ast.For | ast.While | ast.With | ast.Try):
            yield from _bound(child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt))


def imports(source: str) -> str:
    """Only the import statements of a cell."""
    parsed = tree(source)
    statements = [] if parsed is None else parsed.body
    return "\n".join(ast.unparse(node) for node in statements if isinstance(node, ast.Import | ast.ImportFrom))


def forbidden(answer: str, around: Iterable[str], forbids: Iterable[str]) -> list[str]:
    """Which of the `forbids` an answer uses, itself or by a helper that stands in one of the cells `around` it.

    A forbidden name is dotted as an import would write it ("torch.nn.functional", "numpy.linalg"), or as the setup
    cell calls it ("np.linalg"), and covers everything beneath it; one with a leading dot (".backward") is a method
    of whatever object. Aliases are seen through; a name put together at run time is not: this is a rule of the
    game, no wall.
    """
    forbids = list(forbids)
    own = tree(answer)
    if not forbids or own is None:
        return []
    helpers = [parsed for parsed in map(tree, around) if parsed is not None]
    scanned = [own, *_helpers_of(own, helpers)]
    aliases, starred = _aliases([*helpers, own])
    used, methods = set(), set()
    for part in scanned:
        arguments = {node.arg for node in ast.walk(part) if isinstance(node, ast.arg)}
        assigned = {
            node.id for node in ast.walk(part) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for node in ast.walk(part):
            if isinstance(node, ast.Attribute):
                methods.add(f".{node.attr}")
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                used |= {f"{node.module}.{alias.name}" for alias in node.names}
            name = _dotted(node)
            if name is None:
                continue
            root, _, rest = name.partition(".")
            if root in arguments:
                continue
            if root in aliases:
                used.add(_joined(aliases[root], rest))
            elif root not in assigned:
                used |= {name, *(f"{module}.{name}" for module in starred)}

    def breaks(rule: str) -> bool:
        root, _, rest = rule.partition(".")
        full = _joined(aliases.get(root, root), rest)
        return rule in methods or any(name == full or name.startswith(f"{full}.") for name in used)

    return [rule for rule in forbids if breaks(rule)]


def _joined(root: str, rest: str) -> str:
    return f"{root}.{rest}" if rest else root


def _dotted(node: ast.AST) -> str | None:
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else None


def _aliases(trees: list[ast.Module]) -> tuple[dict[str, str], set[str]]:
    """What each imported name stands for in full, and the modules imported with a star."""
    aliases, starred = {}, set()
    for node in (node for parsed in trees for node in ast.walk(parsed)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    aliases[alias.asname] = alias.name
                else:
                    aliases[alias.name.split(".")[0]] = alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if alias.name == "*":
                    starred.add(node.module)
                else:
                    aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            root, _, rest = (_dotted(node.value) or "").partition(".")
            if root in aliases:
                aliases[node.targets[0].id] = _joined(aliases[root], rest)
    return aliases, starred


def _helpers_of(own: ast.Module, around: list[ast.Module]) -> list[ast.stmt]:
    """The definitions in the cells around that an answer uses, and those that these use in turn."""
    definitions = {name: node for parsed in around for node in parsed.body for name in _bound([node])}
    definitions = {
        name: node for name, node in definitions.items() if not isinstance(node, ast.Import | ast.ImportFrom)
    }
    found: dict[str, ast.stmt] = {}
    waiting: list[ast.AST] = [own]
    while waiting:
        for node in ast.walk(waiting.pop()):
            if isinstance(node, ast.Name) and node.id in definitions and node.id not in found:
                found[node.id] = definitions[node.id]
                waiting.append(definitions[node.id])
    return list(found.values())
