"""An answer that uses another exercise: which of the two is wrong, and what its mistake is called."""

import contextlib
import json

import pytest

from autograder import answers, curriculum
from autograder.grading import Grader
from autograder.grading.lending import lend
from autograder.submission import SourceCell, StudentError

from .conftest import as_notebook, released

RIGHT = "def mean_square(x): return float(np.mean(np.square(x, dtype=float)))"
WRONG = "def mean_square(x): return float(np.sum(np.square(x, dtype=float)))"
ROOT = "def root_mean_square(x):\n    if len(x) == 0: raise ValueError\n    return float(np.sqrt(mean_square(x){}))"
SAYS = "It depends on `mean_square`, which fails."


@pytest.mark.parametrize(
    ("mean_square", "root", "said"),
    [
        (WRONG, ROOT.format(""), True),
        (WRONG, ROOT.format(" + 1"), False),
        (WRONG, ROOT.format("").replace("mean_square(x)", "0.0 * mean_square(x)", 1), False),
        ("def mean_square(x): raise KeyError", ROOT.format(""), True),
        (RIGHT, ROOT.format(" + 1"), False),
    ],
    ids=["only the helper", "both", "it matters little", "the helper raises", "only itself"],
)
def test_another_exercise_is_to_blame_where_its_right_answer_mends_the_test(
    grader, module, write, mean_square, root, said
):
    path = write(released(module, {"mean_square": mean_square, "root_mean_square": root}))
    result = next(e for e in grader.grade(path).exercises if e.id == "root_mean_square")
    assert not result.tests[0].passed and (SAYS in result.tests[0].message) == said


# Each row once, in a random order of seed and epoch: legal, and another than the reference's.
OWN_BATCHES = """
def minibatches(m, batch_size, seed, epoch=0):
    order = np.random.default_rng([epoch, 77, seed]).permutation(m)
    return [order[start : start + batch_size] for start in range(0, m, batch_size)]
"""


@pytest.mark.slow  # the known wrong answers of one exercise, twice
def test_a_legal_helper_of_ones_own_hides_no_misconception(tmp_path):
    module, gallery = curriculum.load("02_sgd"), answers.load("02_sgd")
    wrong = gallery.wrong("sgd")[0]
    cell = wrong.cell(module.exercise("sgd").solution)
    path = tmp_path / "02_sgd.ipynb"
    path.write_text(json.dumps(as_notebook(released(module, {"minibatches": OWN_BATCHES, "sgd": cell}), "02_sgd")))
    with Grader(secret="lending") as grader:
        results = {result.id: result for result in grader.grade(path).exercises}
    assert results["minibatches"].verdict == "passed"
    named = {test.misconception for test in results["sgd"].tests if not test.passed}
    assert named == {wrong.says}


@pytest.fixture
def process(grader):
    """A child of the sandbox in which a cell was run."""
    with contextlib.ExitStack() as stack:
        yield lambda source: stack.enter_context(grader.load([SourceCell("cell", source)]))


def test_what_is_lent_runs_in_its_own_process(process):
    owner = process(
        "given = []\ndef helper(x):\n    given.append(x)\n    return x + 1\ndef items():\n    yield 1\n    yield 2"
    )
    other = process(
        "def helper(x): return None\ndef answer(x): return helper(x)\ndef total(): return sum(items())\n"
        "def looked(): return [type(v).__name__ for v in (helper, items)]\n"
        "def source():\n    import inspect\n    return inspect.getsource(helper)"
    )
    lend(owner, ["helper", "items"], to=other)
    assert other.answer(1.0) == 2.0 and owner.value("given") == [1.0]
    assert other.total() == 3 and other.looked() == ["function", "function"]
    try:  # what it can read is our own proxy
        assert "self._callback" in other.source()
    except StudentError as error:
        assert error.type_name == "OSError"


def test_an_error_of_what_is_lent_is_an_error_of_the_call(process):
    owner = process("def helper(x): raise KeyError('secret')")
    other = process("def answer(x): return helper(x)")
    lend(owner, ["helper", "missing"], to=other)
    with pytest.raises(StudentError) as raised:
        other.answer(1.0)
    assert "secret" not in str(raised.value)


def test_a_failure_to_find_out_costs_no_grade(grader, module, write, monkeypatch):
    def fails(*arguments, **more):
        raise RuntimeError("no explanation today")

    path = write(released(module, {"mean_square": WRONG, "root_mean_square": ROOT.format("")}))
    expected = grader.grade(path)
    monkeypatch.setattr(grader._explainer, "_lending", fails)
    report = grader.grade(path)
    assert (report.status, report.score) == ("graded", expected.score) and SAYS not in str(report.to_dict())
