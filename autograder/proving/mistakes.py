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

    Afterwards `_met` holds the sentences whose value came. The checks before it run first: it may use their names.
    """
    place = module.exercises.index(exercise)
    before = [_without_assertions(earlier.check) for earlier in module.exercises[:place]]
    parts = [_RECORDER, *before, "_met.clear()", _without_assertions(exercise.check)]
    return "\n\n\n".join(parts) + "\n"


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
