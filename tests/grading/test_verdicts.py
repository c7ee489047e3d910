"""Every verdict of DESIGN, reached by a submission in the real sandbox."""

from dataclasses import replace

import pytest

from autograder.grading.report import VERDICTS

from .conftest import code, index, released

RIGHT = "def mean_square(x):\n    return np.mean(np.asarray(x, dtype=float) ** 2)"

# What is handed in for an exercise; the verdict, the score, and what the report must say of it.
CASES = {
    "passed": ("mean_square", RIGHT, "passed", 2.0, ""),
    "partial": ("mean_square", "def mean_square(x):\n    return np.mean(x * x)", "partial", 1.5, "1 of 2 tests passed"),
    "failed": ("mean_square", "def mean_square(x):\n    return np.mean(x)", "failed", 0.0, ""),
    "failed for what it forbids": (
        "solve",
        "def solve(a, b):\n    return float(np.linalg.solve([[a]], [b])[0])",
        "failed",
        0.0,
        "`np.linalg`",
    ),
    "failed because nothing came": ("mean_square", "def mean_square(x):\n    pass", "failed", 0.0, "the wrong type"),
    "failed because of what came": ("solve", "def solve(a, b):\n    return 'b/a'", "failed", 0.0, "a * x is b."),
    "a core test failed": (
        "root_mean_square",
        "def root_mean_square(x):\n    if len(x) == 0:\n        raise ValueError\n    return 1.0",
        "failed",
        0.0,
        "No points yet",
    ),
    "error": (
        "mean_square",
        "def mean_square(x):\n    # too long\n    return x[1000]",
        "error",
        0.0,
        "line 3: return x[1000]",
    ),
    "error in the cell": ("mean_square", "def mean_square(x):\n    return (", "error", 0.0, "SyntaxError"),
    "error before the definition": ("mean_square", "import no_such_module", "error", 0.0, "No module named"),
    "error: another name": ("mean_square", "def mean_squares(x):\n    return 1", "error", 0.0, "is not defined"),
    "memory": (
        "mean_square",
        "def mean_square(x):\n    keep = [bytearray(2**20) for _ in range(4000)]\n    return len(keep)",
        "memory",
        0.0,
        "memory",
    ),
    "crashed": ("mean_square", "import os\ndef mean_square(x):\n    os._exit(0)", "crashed", 0.0, "ended its process"),
    "crashed in the cell": ("mean_square", "import os\nos._exit(0)", "crashed", 0.0, "ended its process"),
    "unanswered": ("mean_square", "", "unanswered", 0.0, "Not answered yet"),
}


@pytest.mark.parametrize("name, source, verdict, score, says", CASES.values(), ids=CASES)
def test_verdict(grader, module, write, name, source, verdict, score, says):
    answers = {e.name: e.solution for e in module.exercises} | {name: source}
    report = grader.grade(write(released(module, answers)))
    result = next(exercise for exercise in report.exercises if exercise.id == name)
    assert (result.verdict, result.score) == (verdict, score)
    assert says in "\n".join([result.message, *(test.message for test in result.tests)])
    assert report.status == "graded" and report.max_score == 9
    # Nothing that happens in one exercise touches another that does not use it.
    others = {e.id: e.verdict for e in report.exercises if e.id not in (name, "root_mean_square")}
    assert set(others.values()) == {"passed"}, report.exercises
    assert report.score == sum(e.score for e in report.exercises if not e.extra)


@pytest.mark.parametrize(
    "source", ["def mean_square(x):\n    while True: pass", "while True: pass"], ids=["call", "cell"]
)
def test_timeout(impatient, module, write, source):
    report = impatient.grade(write(released(module, {"mean_square": source})))
    result = report.exercises[0]
    assert (result.verdict, result.score) == ("timeout", 0.0)
    assert "took too long" in result.message + result.tests[0].message


def test_every_verdict_is_reached():
    # Time-outs have a test of their own, the grader's own faults a file, and so has what is not tested.
    assert {case[2] for case in CASES.values()} == set(VERDICTS) - {"timeout", "untested", "grader_fault"}


def test_extra_exercises_count_neither_way(grader, module, write):
    everything = grader.grade(write(released(module, "all")))
    assert everything.score == everything.max_score == 9
    assert next(e for e in everything.exercises if e.id == "total").score == 2.0
    only_extra = grader.grade(write(released(module, {"total": module.exercise("total").solution})))
    assert only_extra.score == 0 and only_extra.max_score == 9


def test_memory_of_a_test_is_its_own(grader, module, write):
    hoards = "def total(chunks):\n    return float(np.sum(np.concatenate(list(chunks))))"
    result = next(e for e in grader.grade(write(released(module, {"total": hoards}))).exercises if e.id == "total")
    assert result.verdict == "memory" and result.score == 0.0
    assert [test.passed for test in result.tests] == [False, True, True]


def test_a_failure_that_comes_from_another_exercise_says_so(grader, module, write):
    answers = {"root_mean_square": module.exercise("root_mean_square").solution}
    result = next(e for e in grader.grade(write(released(module, answers))).exercises if e.id == "root_mean_square")
    root, empty = result.tests
    assert "It depends on `mean_square`, which fails." in root.message and "write your answer here" in root.message
    assert empty.passed and result.score == 0.0


def test_a_cell_that_kills_its_process_takes_nothing_with_it(grader, module, write, monkeypatch):
    monkeypatch.setattr(grader, "limits", replace(grader.limits, cell_seconds=3.0))
    cells = released(module, "all")
    cells.insert(index(cells, "last"), code("import os\nos.kill(os.getpid(), 9)"))
    cells.insert(index(cells, "solve"), code("1 / 0"))
    cells.insert(index(cells, "Counter"), code("while True: pass"))
    report = grader.grade(write(cells))
    assert report.score == 9 and {e.verdict for e in report.exercises} == {"passed"}


def test_loops_end_within_the_notebooks_time(impatient, module, write):
    loops = {e.name: f"def {e.name}(*args):\n    while True: pass" for e in module.exercises}
    report = impatient.grade(write(released(module, loops)))
    assert {e.verdict for e in report.exercises} == {"timeout"}
    for exercise in report.exercises:
        waited = sum("took too long" in test.message for test in exercise.tests)
        assert waited <= 2, "the other tests of an exercise are not waited for"


def test_feedback_names_no_expected_value_and_show_does(grader, module, write):
    path = write(released(module, {"mean_square": "def mean_square(x):\n    return 12345.0"}))
    told = grader.grade(path).exercises[0].tests
    shown = grader.grade(path, show=True).exercises[0].tests
    assert [test.message for test in told] == [test.message for test in shown]
    assert all(test.shown is None for test in told) and "10000" not in str(told)
    assert told[0].message == "The mean of the squares is right for any length."
    assert told[0].hint == "Read hint 2 of mean_square."
    integers = shown[1].shown
    assert "int8" in integers and "returned: 12345.0" in integers and "expected: 10000.0" in integers


def test_students_text_is_harmless(grader, module, write):
    source = "def mean_square(x):\n    raise ValueError('\\x1b[2J\\x1b]0;title\\x07 \\u202egnp.exe \\x9b31m')"
    report = grader.grade(write(released(module, {"mean_square": source})))
    text = str(report.to_dict())
    assert "ValueError" in text and not set(text) & set("\x1b\x07\u202e\x9b")


def test_the_same_notebook_gets_the_same_report(grader, module, write):
    path = write(
        released(module, {"mean_square": "def mean_square(x):\n    return np.mean(x)", "last": "def last(x): 1"})
    )
    one, other = (grader.grade(path, show=True).to_dict() for _ in range(2))
    assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_an_added_cell_that_is_not_python_is_told_of_where_its_name_is_missed(grader, module, write):
    cells = released(module, {"last": "def last(x): return mine(x)"})
    cells.insert(index(cells, "last"), code("def mine(x)\n    return x[-1]"))
    result = next(e for e in grader.grade(write(cells)).exercises if e.id == "last")
    assert "Cell [" in result.message and "which you added, is not valid Python (SyntaxError" in result.message
    assert result.message.endswith("so what it defines is missing.")
