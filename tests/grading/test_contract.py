"""Contracts of hidden tests: which arguments they try, and that every way to break them is seen."""

import numpy as np
import pytest
import scipy.sparse
import torch

from autograder.judging import (
    SEEDS,
    Argument,
    Contract,
    NothingRaised,
    close,
    floats,
    integers,
    labels,
    numbers,
    on_large,
    one_of,
    random_states_kept,
    student_side,
)
from autograder.sandbox import open_sandbox
from autograder.submission import LocalSubmission, SourceCell, Submission

MEAN = Contract("f", X=numbers(6, 4, scales=(1e100,)), w=floats(4), y=labels(6, classes=3), power=one_of(1, 2))
GOOD = """
import numpy as np

def f(X, w, y, power):
    if len(y) != len(X):
        raise ValueError("rows")
    return (X.astype(float) @ w) ** power + y
"""


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def of(source):
    return LocalSubmission([SourceCell("f", source)])


def plainly(X, w, y, power):
    return (X @ w) ** power + y


def test_cases_hold_every_form_of_every_argument(rng):
    cases = {case.form: case for case in MEAN.cases(rng)}
    assert {
        "plain",
        "in steps",
        "backwards",
        "in Fortran order",
        "read-only",
        "float32",
        "times 1e+100",
    } <= cases.keys()
    assert {"X: float32", "w: float32", "int8", "X: int8", "y: int8", "uint8", "2"} <= cases.keys()
    stepped = cases["in steps"].args[0]
    assert not stepped.flags.c_contiguous and not stepped.flags.f_contiguous and stepped.strides[1] < 0
    assert all(not part.flags.writeable for part in cases["read-only"].args[:3])
    assert cases["backwards"].args[1].strides[0] < 0
    assert cases["float32"].dtype == np.float32 and cases["X: float32"].dtype == np.float64
    assert cases["X: float32"].eps == np.finfo(np.float32).eps and cases["int8"].eps == np.finfo(np.float64).eps
    assert all(case.exact[0].dtype == np.float64 and case.exact[2].dtype == np.int64 for case in cases.values())
    assert cases["2"].args[3] == 2 and cases["plain"].args[3] == 1
    assert int(np.abs(cases["times 1e+100"].args[0]).max()) > 10**99


def test_zeros_of_both_signs_are_among_the_floats(rng):
    form = "zeros among them"
    (values,) = next(case.args for case in Contract("f", x=floats(200)).cases(rng) if case.form == form)
    assert 50 < np.count_nonzero(values) < 150
    assert 0 < np.count_nonzero(np.signbit(values[values == 0])) < np.count_nonzero(values == 0)
    positive = Contract("f", x=floats(3, draw=lambda rng: rng.uniform(1, 2, 3)))
    assert form not in {case.form for case in positive.cases(rng)}  # what a draw promises is kept


def test_integers_go_to_the_limits_of_their_dtype(rng):
    cases = {case.form: case.args[0] for case in Contract("f", x=numbers(50, limits=True)).cases(rng)}
    for kind in ("int8", "uint8", "int64", "uint64"):
        values = cases[f"limits of {kind}"]
        assert (values.dtype, values.min(), values.max()) == (kind, np.iinfo(kind).min, np.iinfo(kind).max)
    assert not [case.form for case in Contract("f", x=numbers(50)).cases(rng) if "limits" in case.form]


def test_a_call_may_leave_out_what_has_a_default(rng):
    contract = Contract("f", x=floats(3), k=one_of(2, default=5), power=one_of(3, 4, default=1))
    (case,) = (case for case in contract.cases(rng) if case.form == "the defaults")
    assert len(case.args) == 1 and case.exact[1:] == (5, 1) and case.eps == np.finfo(float).eps
    assert all(len(case.args) == 3 for case in contract.cases(rng) if case.form != "the defaults")
    assert "the defaults" not in {case.form for case in MEAN.cases(rng)}
    first_only = Contract("f", k=one_of(2, default=5), x=floats(3))  # x is needed, so k is, too
    assert "the defaults" not in {case.form for case in first_only.cases(rng)}


def test_numbers_without_a_shape(rng):
    forms = {type(case.args[0]) for case in Contract("f", z=numbers()).cases(rng)}
    assert {float, int, np.float32, np.ndarray} <= forms
    assert {type(case.args[0]) for case in Contract("f", z=integers(3, lists=True)).cases(rng)} == {np.ndarray, list}


def test_a_right_answer_agrees_in_every_case(rng):
    with of(GOOD) as submission:
        for case in MEAN.cases(rng):
            expected = plainly(*case.exact)
            assert close(submission.f(*case), expected, rtol=1e-3 if case.eps > 1e-10 else 1e-9, atol=1e-4)
        MEAN.refuses(submission, rng, ValueError, y=[lambda y: y[:-1]])
        assert MEAN.leaves_no_trace(submission, rng, then=[{}, {"power": 2}], y=[lambda y: y[:-1]])


def test_what_is_not_refused_is_said(rng):
    with of(GOOD.replace("len(y) != len(X)", "False")) as submission, pytest.raises(NothingRaised, match="for `y`"):
        MEAN.refuses(submission, rng, ValueError, y=[lambda y: y[:1]])


TRACES = {
    "changes its argument `w`": ("    return", "    w *= 1.5\n    return"),
    "a call that raises changes its argument `X`": ("    if len", "    X[0] = X[0] + (len(y) != len(X))\n    if len"),
    "shares memory with an argument": ("    return (X", "    return w\n    return (X"),
    "a later call changes": (
        "def f(X, w, y, power):",
        "buffer = np.zeros(6)\n\ndef f(X, w, y, power):\n    if len(y) == len(X):\n"
        "        buffer[:] = X @ w\n        return buffer",
    ),
    "returns something else after another call": (
        "def f(X, w, y, power):",
        "seen = []\n\ndef f(X, w, y, power):\n    seen.append(1)\n    y = y + len(seen)",
    ),
    "does not see that an array has changed": (
        "def f(X, w, y, power):",
        "seen = []\n\ndef f(X, w, y, power):\n    for x, result in seen:\n        if x is X:\n"
        "            return result.copy()\n    seen.append((X, (X.astype(float) @ w) ** power + y))",
    ),
}


@pytest.mark.parametrize("sentence", TRACES)
def test_every_trace_is_found(rng, sentence):
    source = GOOD.replace(*TRACES[sentence], 1)
    assert source != GOOD
    with of(source) as submission:
        found = MEAN.leaves_no_trace(submission, rng, y=[lambda y: y[:-1]])
    assert not found and sentence in found.why and found.sentence.endswith(".")


def test_two_buffers_by_turns_are_found(rng):
    doubled = Contract("f", x=floats(3))
    source = "import numpy as np\n\nbuffers = [np.zeros(3), np.zeros(3)]\n\ndef f(x):\n    buffers.reverse()\n"
    with of(source + "    buffers[0][:] = 2 * x\n    return buffers[0]\n") as submission:
        assert "a later call changes" in doubled.leaves_no_trace(submission, rng).why


def test_two_results_in_one_array_are_found(rng):
    pair = Contract("f", x=floats(3))
    with of("def f(x):\n    y = 2 * x\n    return y, y[:2]\n") as submission:
        assert "two of the arrays" in pair.leaves_no_trace(submission, rng).why
        assert pair.leaves_no_trace(submission, rng, fresh=False)
    with of("def f(x):\n    y = 2 * x\n    return y[:1], y[1:]\n") as submission:
        assert pair.leaves_no_trace(submission, rng)


@student_side
def halved(x):
    return x / 2


def test_a_callback_that_is_not_asked_again_is_found(rng):
    """What was kept for the same numbers is right, but whoever counts the calls counts too few."""
    asking = Contract("f", x=floats(3), half=halved)
    kept = "kept = {}\n\ndef f(x, half):\n    key = x.tobytes()\n    if key not in kept:\n"
    with of(kept + "        kept[key] = half(x) + 1\n    return kept[key].copy()\n") as submission:
        assert "another number of times" in asking.leaves_no_trace(submission, rng).why
    with of("def f(x, half):\n    return half(x) + 1\n") as submission:
        assert asking.leaves_no_trace(submission, rng)


def test_a_view_of_an_earlier_argument_is_found(rng):
    """Where a view is due, it is one of this call's array."""
    view = Contract("f", x=floats(6))
    kept = "kept = {}\n\ndef f(x):\n    return kept.setdefault(x.tobytes(), x)[::2]\n"
    with of(kept) as submission:
        assert "a view of an earlier" in view.leaves_no_trace(submission, rng, fresh=False).why
    with of("def f(x):\n    return x[::2]\n") as submission:
        assert view.leaves_no_trace(submission, rng, fresh=False)


def test_a_result_kept_for_a_tuple_is_found(rng):
    parts = Contract("f", pair=Argument(lambda rng: (rng.standard_normal(3), rng.standard_normal(3)), {}, frozenset()))
    kept = "kept = {}\n\ndef f(pair):\n    return kept.setdefault(id(pair), (pair, pair[0] * pair[1]))[1].copy()\n"
    with of(kept) as submission:
        assert "has changed" in parts.leaves_no_trace(submission, rng).why


def test_a_result_kept_for_arrays_in_a_tuple_is_found(rng):
    pairs = Contract("f", pair=Argument(lambda rng: (2, rng.standard_normal(3)), {}, frozenset()))
    kept = "kept = {}\n\ndef f(pair):\n    return kept.setdefault(id(pair[1]), pair[0] * pair[1]).copy()\n"
    with of(kept) as submission:
        assert "has changed" in pairs.leaves_no_trace(submission, rng).why
    with of("def f(pair):\n    return pair[0] * pair[1]\n") as submission:
        assert pairs.leaves_no_trace(submission, rng)


def test_a_result_kept_for_a_tensor_is_found(rng):
    tensor = Argument(lambda rng: torch.from_numpy(rng.standard_normal(4)), {}, frozenset())
    remembering = "kept = {}\n\ndef f(x):\n    return kept.setdefault(id(x), 2 * x).clone()\n"
    with of(remembering) as submission:
        assert "has changed" in Contract("f", x=tensor).leaves_no_trace(submission, rng).why
    with of("def f(x):\n    return 2 * x\n") as submission:
        assert Contract("f", x=tensor).leaves_no_trace(submission, rng)


def test_arrays_in_a_list_may_change_too(rng):
    parts = Argument(lambda rng: [rng.standard_normal(3), rng.standard_normal((2, 2))], {}, frozenset())
    source = "def f(parts):\n    return [2 * part for part in parts]\n"
    kept = (
        "import numpy as np\n\nkept = {}\n\ndef f(parts):\n"
        "    return [kept.setdefault(id(part), 2 * part).copy() for part in parts]\n"
    )
    with of(source) as submission:
        assert Contract("f", parts=parts).leaves_no_trace(submission, rng)
    with of(kept) as submission:
        assert (
            "does not see that an array has changed" in Contract("f", parts=parts).leaves_no_trace(submission, rng).why
        )


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
def test_a_sparse_argument_is_looked_at(rng, part):
    rows = Argument(lambda rng: scipy.sparse.csr_array(np.eye(4) * rng.random(4)), {}, frozenset())
    sums = Contract("f", X=rows)
    with of("def f(X):\n    return X @ X\n") as submission:
        assert sums.leaves_no_trace(submission, rng)
    with of(f"def f(X):\n    X.{part}[1] += 1\n    return float(X.data.sum())\n") as submission:
        assert "changes its argument `X`" in sums.leaves_no_trace(submission, rng).why
    with of("def f(X):\n    return X\n") as submission:
        assert "shares memory" in sums.leaves_no_trace(submission, rng).why


def test_arrays_in_a_dictionary_change_too(rng):
    """A result that is kept by the arrays themselves does not see new numbers in them."""
    total = Contract("f", table=Argument(lambda rng: {"a": rng.standard_normal(4)}, {}, frozenset()))
    source = "def f(table):\n    return float(table['a'].sum())\n"
    with of(source) as submission:
        assert total.leaves_no_trace(submission, rng)
    kept = "kept = {}\n\ndef f(table):\n    a = table['a']\n"
    kept += "    return kept.setdefault(id(a), (a, float(a.sum())))[1]\n"
    with of(kept) as submission:
        assert "has changed" in total.leaves_no_trace(submission, rng).why


def test_infinite_results_are_compared_too(rng):
    logs = Contract("f", x=floats(3))
    source = "import numpy as np\n\ncalls = []\n\ndef f(x):\n    calls.append(x)\n    return np.append(x{}, -np.inf)\n"
    with of(source.format("")) as submission:
        assert logs.leaves_no_trace(submission, rng)
    with of(source.format(" + len(calls)")) as submission:
        assert not logs.leaves_no_trace(submission, rng)


def test_an_early_return_is_looked_at_where_it_is_asked_for(rng):
    source = GOOD.replace("    return", "    if power == 2:\n        return X\n    return")
    with of(source) as submission:
        assert MEAN.leaves_no_trace(submission, rng)
        assert not MEAN.leaves_no_trace(submission, rng, then=[{"power": 2}])


def test_what_a_callback_returned_is_looked_at(rng):
    @student_side
    def grad(theta):
        return 2 * theta

    walk = Contract("walk", grad=grad, theta=floats(3))
    right = "def walk(grad, theta):\n    return theta - 0.1 * grad(theta)\n"
    with of(right) as submission:
        assert walk.leaves_no_trace(submission, rng)
    wrong = "def walk(grad, theta):\n    step = grad(theta)\n    step *= 0.1\n    return theta - step\n"
    with of(wrong) as submission:
        assert "a function that it was given" in walk.leaves_no_trace(submission, rng).why
    same = "def walk(grad, theta):\n    return grad(theta)\n"
    with of(same) as submission:
        assert "shares memory" in walk.leaves_no_trace(submission, rng).why


@pytest.mark.parametrize(
    ("body", "sentence", "of_numpy"),
    [
        ("random.seed(n); return random.random()", "changed", ""),
        ("np.random.seed(n); return np.random.random(3)", "changed", "changed"),
        ("return np.random.random(n)", "changed", "changed"),
        ("return np.random.RandomState(np.random.get_state()[1][:9]).random(n)", "used", "used"),
        ("return iter([random.getstate()[1][5]])", "used", ""),
        ("return np.random.default_rng(n).random(5000), {2: [n, None]}", "", ""),
    ],
)
def test_global_random_states_are_looked_at(body, sentence, of_numpy):
    answer = of(f"import random\nimport numpy as np\ndef f(n):\n    {body}")
    for python, expected in ((True, sentence), (False, of_numpy)):
        found = random_states_kept(answer, "f", 4, python=python)
        assert bool(found) is not bool(expected)
        assert found.sentence == (expected and f"A global random state is {expected}.")
        assert bool(random_states_kept(answer, asked_as_well, 4, python=python)) is not bool(expected)


@student_side
def asked_as_well(n):
    return student.f(n)  # noqa: F821


def test_large_arguments_are_drawn_over_there():
    with of("def f(X, w, k):\n    return X @ w + k\n") as submission:
        got = submission.run(on_large, "f", 5, [(1000, 3), (3,)], [2.0])
    rng = np.random.default_rng(5)
    X, w = rng.standard_normal((1000, 3)), rng.standard_normal(3)
    assert close(got, X @ w + 2, rtol=1e-12, atol=1e-12)
    with of("def f(X):\n    return X[0], X.flags.c_contiguous\n") as submission:
        row, contiguous = submission.run(on_large, "f", 5, [(20, 30)], (), True)
    assert close(row, np.random.default_rng(5).standard_normal((20, 30))[:, 0]) and not contiguous


@pytest.mark.parametrize(
    ("got", "expected", "sentence"),
    [
        (
            [1.0, 2.0],
            np.array([1.0, 2.0]),
            "What was returned has the wrong type (a list came where an array is due).",
        ),
        (np.float32(1), 1.0, "What was returned has the wrong type (a float32 came where a Python float is due)."),
        (
            np.ones(()),
            1.0,
            "What was returned has the wrong type (an array of shape () came where a Python float is due).",
        ),
        (np.int64(1), 1, "What was returned has the wrong type (an int64 came where a Python int is due)."),
        (np.ones(2, np.float32), np.ones(2), "What was returned has the wrong dtype."),
        ((np.ones(2), [1.0]), (np.ones(2), np.ones(1)), "an array is due)."),
    ],
)
def test_types(got, expected, sentence):
    assert close(got, expected)
    assert close(got, expected, typed=True).sentence.endswith(sentence)


def test_types_that_are_right():
    assert close(np.float64(1), 1.0, typed=True)
    assert close([np.ones(2), 3], (np.ones(2), 3), typed=True)
    assert close({"a": True}, {"a": True}, typed=True)


SALTED = "import numpy as np\n\ndef draw(seed):\n    return np.random.default_rng({}).permutation(20)\n"


@pytest.mark.parametrize(
    ("seed", "same"),
    [("seed", True), ("hash((seed, 1)) % 2**32", True), ("hash(('a', seed)) % 2**32", False), ("None", False)],
)
def test_another_process_has_another_hash(seed, same):
    cells = [SourceCell("draw", SALTED.format(seed))]
    with open_sandbox("none") as sandbox, Submission.load(sandbox, cells) as submission:
        here = submission.draw(3)
        with submission.elsewhere() as other:
            assert np.array_equal(other.draw(3), here) == same
        assert [call.name for call in submission.calls] == ["draw", "draw"]


def test_seeds_that_simple_combinations_confuse():
    pairs = [(seed, epoch) for seed in SEEDS for epoch in SEEDS]
    combinations = {
        "sum": lambda s, e: s + e,
        "1000 s + e": lambda s, e: 1000 * s + e,
        "xor": lambda s, e: s ^ e,
        "product": lambda s, e: s * (e + 1),
        "digits": lambda s, e: f"{s}{e}",
        "30 bits": lambda s, e: (s % 2**30, e),
        "31 bits": lambda s, e: (s % 2**31, e),
        "32 bits": lambda s, e: (s, e % 2**32),
    }
    for name, combine in combinations.items():
        assert len({combine(*pair) for pair in pairs}) < len(pairs), name
    drawn = {tuple(np.random.default_rng(list(pair)).integers(2**60, size=2)) for pair in pairs}
    assert len(drawn) == len(pairs)  # so a right answer passes
