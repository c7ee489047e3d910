"""The likely causes that a visible check names, compared with what known wrong answers return there.

A check says `mistakes={"You forgot the half.": 2.0}`. If no wrong answer returns that value, nothing proves that the
sentence tells the truth.
"""

import ast

from autograder.curriculum import Exercise

# Stands in for lsml_utils.checking in a student's process. Nothing fails here, so every comparison is reached.
_RECORDER = """
import contextlib

from lsml_utils.checking.values import difference as _difference

_named, _met = [], []


def expect_close(got, expected, *, rtol=1e-6, atol=1e-8, hint=None, mistakes=None):
    for sentence, value in (mistakes or {}).items():
        _named.append(sentence)
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


def recorder(exercise: Exercise) -> str:
    """A cell that runs the visible check of an exercise and writes down what its answer has in common with mistakes.

    `_named` are the sentences of the comparisons that were reached, `_met` those whose value came.
    """
    return f"{_RECORDER}\n\n\n{_without_assertions(exercise.check)}\n"


def _without_assertions(source: str) -> str:
    return ast.unparse(_Quiet().visit(ast.parse(source)))


class _Quiet(ast.NodeTransformer):
    def visit_Assert(self, node: ast.Assert) -> ast.Pass:
        return ast.Pass()
