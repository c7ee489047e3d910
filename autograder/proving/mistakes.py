"""The likely causes that a visible check names, compared with what known wrong answers return there.

A check says `mistakes={"You forgot the half.": 2.0}`. If no wrong answer returns that value, nothing proves that the
sentence tells the truth.
"""

import ast

from autograder.curriculum import Exercise, Module

# Stands in for lsml_utils.checking in a student's process. Nothing fails here, so every comparison is reached.
_RECORDER = """
import contextlib

from lsml_utils.checking.values import difference as _difference

_met = []


def expect_close(got, expected, *, rtol=1e-6, atol=1e-8, hint=None, mistakes=None):
    for sentence, value in (mistakes or {}).items():
        if _difference(got, value, rtol, atol) is None:
            _met.append(sentence)


def expect_shape(*args, **kwargs):
    pass


expect_dtype = expect_finite = expect_shape


@contextlib.contextmanager
def check(*args, **kwargs):
    with contextlib.suppress(Exception):
        yield


expect_raises = expect_unchanged = check
""".strip()


def recorder(module: Module, exercise: Exercise) -> str:
    """A cell that runs the visible check of an exercise and writes down what its answer has in common with mistakes.

    Afterwards `_met` holds the sentences whose value came. Checks before it, whose names it uses, run first.
    """
    before = [_without_assertions(earlier.check) for earlier in checks_before(module, exercise)]
    parts = [_RECORDER, *before, "_met.clear()", _without_assertions(exercise.check)]
    return "\n\n\n".join(parts) + "\n"


def checks_before(module: Module, exercise: Exercise) -> list[Exercise]:
    """The exercises before this one whose visible checks make names that its own uses, themselves or through others."""
    used, needed = _taken(exercise.check), []
    for earlier in reversed(module.exercises[: module.exercises.index(exercise)]):
        if used & (made := _lines(earlier.check, made=True).keys()):
            used = used - made | _taken(earlier.check)
            needed.insert(0, earlier)
    return needed


def _taken(check: str) -> set[str]:
    """Names that a check reads no later than on the line where it first makes them, if it does."""
    made = _lines(check, made=True)
    return {name for name, line in _lines(check, made=False).items() if line <= made.get(name, line)}


def _lines(check: str, made: bool) -> dict[str, int]:
    """The first line on which a check makes, or reads, each name."""
    found = {}
    for node in ast.walk(ast.parse(check)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) != made:
            found[node.id] = min(node.lineno, found.get(node.id, node.lineno))
        elif made and isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node.lineno
        elif made and isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0]: node.lineno for alias in node.names}
    return found


def sentences(exercise: Exercise) -> frozenset[str]:
    """Every sentence that the visible check of an exercise has for a mistake."""
    return frozenset(
        key.value
        for node in ast.walk(ast.parse(exercise.check))
        if isinstance(node, ast.keyword) and node.arg == "mistakes" and isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if isinstance(key, ast.Constant)
    )


def _without_assertions(source: str) -> str:
    return ast.unparse(_Quiet().visit(ast.parse(source)))


class _Quiet(ast.NodeTransformer):
    def visit_Assert(self, node: ast.Assert) -> ast.Pass:
        return ast.Pass()
