"""The mutants of a reference: which changes are made, which never, and how they are told."""

import ast

import pytest

from autograder.proving.mutants import mutants, same_change, sample


def changes(source: str) -> set[str]:
    """What the mutants of a one-expression function return."""
    return {mutant.diff.splitlines()[-1].removeprefix("+ ").removeprefix("return ") for mutant in mutants(source)}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a + b", {"a - b", "a", "b"}),
        ("a / b", {"a * b", "a", "b / a"}),
        ("(a - b) ** 2", {"(a + b) ** 2", "a ** 2", "(a - b) * 2", "a - b", "(a - b) ** 3", "(a - b) ** 1"}),
        ("a @ b", {"a * b"}),
        ("X.T", {"X"}),
        ("a < b", {"a <= b", "a >= b"}),
        ("a == b", {"a != b"}),
        ("a and b", {"a or b", "a", "b"}),
        ("not a", {"a"}),
        ("-a", {"a"}),
        ("x[-1]", {"x[-2]", "x[0]", "x[1]"}),
        ("x[1:]", {"x[:]", "x[2:]", "x[0:]"}),
        ("x[i:j]", {"x[:j]", "x[i:]", "x[i + 1:j]", "x[i - 1:j]", "x[i:j + 1]", "x[i:j - 1]"}),
        ("0.5", {"1.0"}),
        ("1e-12", {"0.0"}),
        ("1000", {"500"}),
        ("True", {"False"}),
        ("a if c else b", {"a", "b"}),
        ("f(a, b)", {"f(b, a)"}),
        ("np.sum(a, axis=0)", {"np.mean(a, axis=0)", "a", "np.sum(a)", "np.sum(a, axis=1)", "np.sum(a, axis=-1)"}),
        ("a.copy()", {"a"}),
        ("float(a)", set()),
        ("range(n)", {"range(0, n - 1)", "range(0, n + 1)", "range(1, n)"}),
        ("(a, b)", {"(b, a)"}),
        ("lambda t: t + 1", {"lambda t: t - 1", "lambda t: t", "lambda t: 1", "lambda t: t + 2", "lambda t: t + 0"}),
    ],
)
def test_an_expression_has_exactly_these_mutants(expression, expected):
    assert changes(f"def f():\n    return {expression}\n") == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x += a", {"x -= a", "x = a", "pass"}),
        ("x = a", {"pass"}),  # x is a parameter, so the code goes on without it
        ("y = a", set()),
        ("x[i] = a", {"pass"}),
        ("while x:\n        break", {"while not x:", "pass"}),
        ("if not x:\n        return a", {"if x:", "pass"}),
        ("g(a)", {"a", "pass"}),
        ("if x:\n        raise ValueError(1 + 1)", {"if not x:", "pass"}),
        ("y: int = a", set()),
        ("import math", set()),
    ],
)
def test_a_statement_has_exactly_these_mutants(body, expected):
    assert changes(f"def f(x, i):\n    {body}\n") == expected


GIVEN = '''def f(x, scale=2.0):
    """Returns 1 + 1 of x."""
    ### BEGIN SOLUTION
    y = x * scale
    ### END SOLUTION
    return y + 1
'''


def test_what_the_student_is_given_is_left_alone():
    found = mutants(GIVEN)
    assert {mutant.line for mutant in found} == {4}
    assert [mutant.diff for mutant in found] == [f"- y = x * scale\n+ y = {to}" for to in ("x / scale", "x", "scale")]


def test_every_mutant_compiles_and_differs_from_the_reference_and_the_others():
    source = (
        "def f(xs, n):\n    t = 0\n    for x in xs[1:n]:\n        if x > 2 * t:\n            t += x\n    return t, n\n"
    )
    found = mutants(source)
    assert len({mutant.source for mutant in found}) == len(found) > 20
    assert ast.unparse(ast.parse(source)) + "\n" not in {mutant.source for mutant in found}
    for mutant in found:
        compile(mutant.source, "mutant", "exec")


def test_the_order_is_that_of_the_lines_and_always_the_same():
    assert mutants(GIVEN) == mutants(GIVEN)
    lines = [mutant.line for mutant in mutants(GIVEN.replace("### BEGIN SOLUTION", "x = x + 1"))]
    assert lines == sorted(lines)


def test_a_sample_is_fixed_by_its_seed_and_keeps_the_order():
    found = mutants("def f(a, b, c, d):\n    return a * b + c * d - 3\n")
    drawn = sample(found, 5, seed=1)
    assert drawn == sample(found, 5, seed=1) != sample(found, 5, seed=2)
    assert [found.index(mutant) for mutant in drawn] == sorted(found.index(mutant) for mutant in drawn)
    assert sample(found, 10_000) == found


def test_diffs_are_compared_by_what_they_say():
    assert same_change("- x = a+b\n+ x = a-b\n", "-   x = a + b\n+ x = a - b")
    assert not same_change("- x = a + b\n+ x = a - b", "- x = a + b\n+ x = a")
