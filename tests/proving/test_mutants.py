"""The mutants of a reference: which changes are made, which never, and how they are told."""

import ast

import pytest

from autograder.proving import numerics
from autograder.proving.mutants import mutants, same_change, sample


def changes(source: str) -> set[str]:
    """What the mutants of a one-expression function return."""
    return {mutant.diff.splitlines()[-1].removeprefix("+ ").removeprefix("return ") for mutant in mutants(source)}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a + b", {"a - b", "a", "b"}),
        ("a / b", {"a * b", "a", "b / a", "a / (b + 1e-08)"}),
        (
            "(a - b) ** 2",
            {"(a + b) ** 2", "a ** 2", "(a - b) * 2", "a - b", "(a - b) ** 3", "(a - b) ** 1", "abs(a - b)"},
        ),
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
        ("1e-12", {"0.0", "1e-06"}),
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
    ("expression", "expected"),
    [
        ("np.zeros(n)", {"np.zeros(n, dtype=np.float32)"}),
        ("np.zeros(n, dtype=bool)", set()),
        ("np.sqrt(x).sum()", {"np.sqrt(x).sum(dtype=np.float32)", "np.sqrt(x + 1e-08).sum()"}),
        ("x.sum()", set()),  # of what, nobody knows
        ("np.asarray(x, dtype=np.float64)", {"np.asarray(x, dtype=np.float32)"}),
        ("x.astype(int)", {"x.astype(np.int16)"}),
        ("a / len(x)", {"a / 1"}),  # and no 1e-8 more: a count is never near 0
        ("np.log(x)", {"np.log(x + 1e-08)"}),
        ("np.exp(x)", {"np.exp(np.clip(x, -20, 20))"}),
        ("-np.inf", {"-1e+30"}),
        ("np.finfo(float).min", {"-1000000.0", "np.finfo(np.float32).min"}),
        ("np.sqrt(x) == 0", {"np.isclose(np.sqrt(x), 0)", "np.sqrt(x + 1e-08) == 0"}),
        ("len(x) == 0", {"1 == 0"}),
        ("np.sqrt(x) <= t", {"np.sqrt(x) <= t + 1e-09", "np.sqrt(x + 1e-08) <= t"}),
        ("x.max(axis=axis)", {"x.max(axis=0)", "x.max(axis=-1)"}),
        ("x.argmax(axis=1)", {"x.shape[1] - 1 - np.flip(x, 1).argmax(axis=1)"}),
        ("np.ceil(x)", {"np.floor(x) + 1"}),
        ("np.searchsorted(a, b, side='left')", {"np.searchsorted(a, b, side='right')"}),
        ("x.std()", {"x.std(ddof=1)"}),
        ("np.abs(x)", {"np.square(x)"}),
        ("range(0, m, n)", {"range(0, m - n + 1, n)"}),
        ("[seed, k]", {"seed + k", "seed * 1000 + k", "seed ^ k"}),
        ("default_rng(seed)", {"default_rng()"}),
        ("np.log1p(x)", {"np.log(1 + x)"}),
        ("np.array(x)", {"np.asarray(x)"}),
        ("np.array(np.array(x))", set()),  # the inner one may be the argument
    ],
)
def test_numerical_code_has_exactly_these_mutants_besides(expression, expected):
    found = mutants(f"def f(x, a, b, m, n, t, k, seed, axis):\n    return {expression}\n")
    assert {m.diff.rpartition("return ")[2] for m in found if m.operator in numerics.OPERATORS} == expected


CHECKED = '''def f(X: np.ndarray, kind: str = "a") -> float:
    """Leaves X as it is."""
    if kind == "b":
        return 0.0
    if len(X) == 0:
        raise ValueError("empty")
    return 1.0
'''


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("check", {"if len(X) == 0 and kind == 'a':", "if len(X) == 0 and kind != 'a':"}),
        ("ownership", {"return (0.0, X.flags.writeable and X.fill(0))[0]"}),
    ],
)
def test_a_check_goes_and_an_argument_is_written_to_on_one_branch_only(operator, expected):
    found = {mutant.diff.rpartition("+ ")[2] for mutant in mutants(CHECKED) if mutant.operator == operator}
    assert found == expected


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


def test_a_sample_takes_from_every_operator_before_it_takes_twice_from_one():
    found = mutants(CHECKED)
    operators = {mutant.operator for mutant in found}
    assert {mutant.operator for mutant in sample(found, len(operators))} == operators


def test_a_sample_is_fixed_by_its_seed_and_keeps_the_order():
    found = mutants("def f(a, b, c, d):\n    return a * b + c * d - 3\n")
    drawn = sample(found, 5, seed=1)
    assert drawn == sample(found, 5, seed=1) != sample(found, 5, seed=2)
    assert [found.index(mutant) for mutant in drawn] == sorted(found.index(mutant) for mutant in drawn)
    assert sample(found, 10_000) == found


def test_diffs_are_compared_by_what_they_say():
    assert same_change("- x = a+b\n+ x = a-b\n", "-   x = a + b\n+ x = a - b")
    assert not same_change("- x = a + b\n+ x = a - b", "- x = a + b\n+ x = a")


def test_a_bare_sum_is_looked_at_once():
    assert mutants("def f(x: np.ndarray) -> float:\n    total = 0.0\n    total += sum(x)\n    return total\n")
