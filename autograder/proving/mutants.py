"""Changes of a reference that make it wrong: a hidden test that none of them can fail proves little.

Three kinds. `operators`: small changes of the syntax tree, as they happen in any code. `numerics`: those of numerical
code. `contracts`: a whole function wrapped in `violations` of what its docstring promises.

A module of our own, on `ast`: mutmut and cosmic-ray write mutants of whole files to disk and run a command for each,
where ours live in a notebook's cell and run in a forked child; and what learners get wrong in numerical code (the
axis, a dropped term, a forgotten copy, arguments swapped) is not among their operators.

Left alone: what the student is given (only the lines between `### BEGIN SOLUTION` and `### END SOLUTION` are changed,
where a cell has them), docstrings, annotations, decorators, imports, and what an error says.
"""

import ast
import difflib
import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from autograder.proving import contracts, numerics, operators


@dataclass(frozen=True)
class Mutant:
    """A changed cell. `diff`: the changed lines, `- was` and `+ is`; of a wrapped function `~` and what it does then.

    `line`: where, in the cell as it was given; `operator`: what changed it.
    """

    source: str
    diff: str
    line: int
    operator: str = ""


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a cell, in the order of its lines, no two alike."""
    tree = ast.parse(source)
    found = [*_changed(tree, _lines_to_change(source)), *_wrapped(tree, source)]
    return sorted(found, key=lambda mutant: mutant.line)


def _changed(tree: ast.Module, wanted: set[int]) -> Iterator[Mutant]:
    before, scope = ast.unparse(tree), numerics.Scope(tree)
    seen = {before}
    for holder, key, node in list(_places(tree)):
        if node.lineno not in wanted:
            continue
        exchanges = [(type(node).__name__, new) for new in operators.replacements(node, holder, tree)]
        for name, operator in numerics.OPERATORS.items():
            exchanges += [(name, new) for new in operator(node, holder, scope)]
        for operator, replacement in exchanges:
            _put(holder, key, replacement)
            after = ast.unparse(ast.fix_missing_locations(tree))
            _put(holder, key, node)
            if after not in seen and _compiles(after):
                seen.add(after)
                yield Mutant(after + "\n", _diff(before, after), node.lineno, operator)


def _wrapped(tree: ast.Module, source: str) -> Iterator[Mutant]:
    for violation, line, says, behind in contracts.broken(tree):
        yield Mutant(source.rstrip() + behind, f"~ {says}", line, violation.name)


def sample(found: list[Mutant], count: int, seed: int = 0) -> list[Mutant]:
    """At most `count` of the mutants, drawn by `seed`, in their order: as many of one operator as of another."""
    draw, by_operator = random.Random(seed), {}
    for index in draw.sample(range(len(found)), len(found)):
        by_operator.setdefault(found[index].operator, []).append(index)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_operator.values()))
    drawn = [index for index in turns if index is not None][:count]
    return [found[i] for i in sorted(drawn)]


def same_change(diff: str, other: str) -> bool:
    """Whether two diffs say the same; blanks, and `---`-style headers that an editor added, do not count."""
    return _normal(diff) == _normal(other)


def _normal(diff: str) -> list[str]:
    return [re.sub(r"\s+", "", line) for line in diff.strip().splitlines() if line.strip()]


def _lines_to_change(source: str) -> set[int]:
    lines = source.splitlines()
    marked, inside = set(), False
    for number, line in enumerate(lines, 1):
        if "### BEGIN SOLUTION" in line:
            inside = True
        elif "### END SOLUTION" in line:
            inside = False
        elif inside:
            marked.add(number)
    return marked or set(range(1, len(lines) + 1))


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:  # such as a `break` that lost its loop
        return False
    return True


def _diff(before: str, after: str) -> str:
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return "\n".join(f"{sign} {line[2:].strip()}" for sign in "-+" for line in lines if line[0] == sign)


def _put(holder: ast.AST | list, key: str | int, node: ast.AST) -> None:
    if isinstance(holder, list):
        holder[key] = node
    else:
        setattr(holder, key, node)


_SKIPPED_FIELDS = {"annotation", "returns", "decorator_list", "msg", "ctx", "type_comment"}
_SKIPPED_NODES = (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)


def _places(node: ast.AST) -> Iterator[tuple[ast.AST | list, str | int, ast.AST]]:
    """Every place that holds a node, outermost first: (its parent or the list it stands in, field or index, node)."""
    for field, value in ast.iter_fields(node):
        if field in _SKIPPED_FIELDS:
            continue
        children = [(node, field, value)] if isinstance(value, ast.AST) else []
        if isinstance(value, list):
            children = [(value, index, child) for index, child in enumerate(value) if isinstance(child, ast.AST)]
        for holder, key, child in children:
            docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if not docstring and not isinstance(child, _SKIPPED_NODES):
                if hasattr(child, "lineno"):
                    yield holder, key, child
                yield from _places(child)
