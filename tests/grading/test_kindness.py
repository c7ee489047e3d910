"""Honest work never loses marks to the grader. Each case is a right submission that looks unusual; it gets them all."""

import json
from dataclasses import replace

import pytest

from .conftest import as_notebook, code, index, released

WARNS = """
import sys, warnings
warnings.warn("I am not sure")
print("to stderr", file=sys.stderr)
def mean_square(x):
    warnings.warn("slow")
    print("working ...", file=sys.stderr)
    return float(np.mean(np.asarray(x, dtype=float) ** 2))
"""
CHATTERS = """
def mean_square(x):
    print("x" * 1_000_000)
    return float(np.mean(np.asarray(x, dtype=float) ** 2))
"""
LOGS = """
import logging
logging.basicConfig(level=logging.DEBUG)
logging.info("loaded")
def mean_square(x):
    logging.getLogger(__name__).warning("called with %s", x)
    return float(np.mean(np.asarray(x, dtype=float) ** 2))
"""
# What stands in one exercise's cell, the others being right.
ANSWERS = {
    "warnings and prints on stderr": ("mean_square", WARNS),
    "chatter on stdout": ("mean_square", CHATTERS),
    "logging": ("mean_square", LOGS),
    "a numpy scalar for a float": ("mean_square", "def mean_square(x): return np.mean(np.square(x, dtype=float))"),
    "a zero-dimensional array": (
        "mean_square",
        "def mean_square(x): return np.array(np.square(x * 1.0).mean())",
    ),
    "a list for an array": ("last", "def last(x): return list(x[-1])"),
    "a tuple for an array": ("last", "def last(x): return tuple(x[-1].tolist())"),
    "torch for numpy": ("last", "import torch\ndef last(x): return torch.tensor(x)[-1]"),
    "a lambda": ("last", "last = lambda x: x[-1]"),
    "%%time": ("last", "%%time\ndef last(x):\n    return x[-1]"),
    "a magic among the code": ("last", "%load_ext autoreload\n!pip install nothing\ndef last(x):\n    return x[-1]"),
    "a trial call that fails": ("last", "def last(x):\n    return x[-1]\n\nlast(3)"),
    "a trial call and display": ("last", "def last(x):\n    return x[-1]\n\ndisplay(last([[1]]))\nlast([[2]])"),
    "Windows line ends": ("last", "def last(x):\r\n    y = x[-1]\r\n    return y\r\n"),
}
# Its precision is enough for what the tests ask of this exercise.
FLOAT32 = "def mean_square(x): return np.mean(np.square(np.asarray(x, dtype=np.float32)))"

# Cells that a student added somewhere.
ADDED = {
    "np.seterr": "np.seterr(all='raise')",
    "own seeds": "np.random.seed(0)\nimport random, torch\nrandom.seed(0)\ntorch.manual_seed(0)",
    "own plots": "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
    "a failing scratch cell": "undefined_name + 1",
    "a scratch cell with a syntax error": "def f(:",
    "warnings made errors": "import warnings\nwarnings.simplefilter('error')",
    "a shell command": "!ls -la /\nfiles = !ls",
    "a bash cell": "%%bash\necho hello",
    "a question": "np.mean?",
    "input": "name = input('Your name: ')",
    "display hooks": "from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>'))",
}


def graded(grader, module, path):
    report = grader.grade(path)
    return report, {e.id: e.verdict for e in report.exercises if e.verdict != "passed"}


@pytest.mark.parametrize("name, source", ANSWERS.values(), ids=ANSWERS)
def test_an_unusual_answer(grader, module, write, name, source):
    answers = {e.name: e.solution for e in module.exercises} | {name: source}
    report, lost = graded(grader, module, write(released(module, answers)))
    assert not lost and report.score == 9, report.exercises


def test_float32_where_precision_allows(grader, module, write):
    report = grader.grade(write(released(module, {"mean_square": FLOAT32})))
    assert report.exercises[0].verdict == "passed"


@pytest.mark.parametrize("source", ADDED.values(), ids=ADDED)
def test_an_added_cell(grader, module, write, source):
    cells = released(module, "all")
    cells.insert(index(cells, "mean_square") + 1, code(source))
    report, lost = graded(grader, module, write(cells))
    assert not lost and report.score == 9 and report.status == "graded"


def test_a_scratch_cell_that_never_ends(grader, module, write, monkeypatch):
    monkeypatch.setattr(grader, "limits", replace(grader.limits, cell_seconds=3.0))
    cells = released(module, "all")
    cells.insert(index(cells, "mean_square") + 1, code("import time\ntime.sleep(1000)"))
    report, lost = graded(grader, module, write(cells))
    assert not lost and report.score == 9


def shuffled(cells):
    return cells[:2] + cells[:1:-1]


def without_checks(cells):
    return [cell for cell in cells if not (cell["id"] or "").startswith("check_")]


def checks_twice(cells):
    return [cell for cell in cells for _ in range(2 if (cell["id"] or "").startswith("check_") else 1)]


def only_answers(cells):
    return [cell for cell in cells if cell["metadata"]["lsml"]["role"] == "exercise"]


def without_ids(cells):
    return [{key: value for key, value in cell.items() if key != "id"} for cell in cells]


def by_colab(cells):
    """Colab keeps its own metadata and drops cells' ids."""
    extra = {"id": "xYz12", "colab": {"base_uri": "https://localhost:8080/"}, "outputId": "a-b-c"}
    return [{**cell, "metadata": {**cell["metadata"], **extra}} for cell in without_ids(cells)]


def by_vs_code(cells):
    """VS Code keeps nbgrader's metadata, adds its own, and writes sources as lines."""
    return [
        {
            **cell,
            "metadata": {**cell["metadata"], "vscode": {"languageId": "python"}},
            "source": cell["source"].splitlines(keepends=True),
            "id": f"W{place}",
        }
        for place, cell in enumerate(cells)
    ]


def answer_in_a_helper(cells):
    place = index(cells, "last")
    cells[place]["source"] = "def last(x):\n    return my_last(x)"
    return [*cells[: place + 1], code("def my_last(x):\n    return x[-1]"), *cells[place + 1 :]]


def cut_in_two(cells):
    place = index(cells, "mean_square")
    lines = cells[place]["source"].split("\n")
    halves = [{**cells[place], "source": "\n".join(part)} for part in (lines[:2], lines[2:])]
    return [*cells[:place], *halves, *cells[place + 1 :]]


@pytest.mark.parametrize(
    "change",
    [
        shuffled,
        without_checks,
        checks_twice,
        only_answers,
        without_ids,
        by_colab,
        by_vs_code,
        answer_in_a_helper,
        cut_in_two,
    ],
)
def test_a_notebook_that_was_changed(grader, module, write, change):
    report, lost = graded(grader, module, write(change(released(module, "all"))))
    assert not lost and report.score == 9


@pytest.mark.parametrize("minor", [0, 2, 4])
def test_older_formats(grader, module, tmp_path, minor):
    cells = without_ids(released(module, "all"))
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps(as_notebook(cells, nbformat_minor=minor)))
    assert grader.grade(path).score == 9


def test_format_3(grader, module, tmp_path):
    cells = [
        {**{key: value for key, value in cell.items() if key != "source"}, "input": cell["source"]}
        if cell["cell_type"] == "code"
        else cell
        for cell in without_ids(released(module, "all"))
    ]
    path = tmp_path / "00_toy.ipynb"
    path.write_text(json.dumps({"nbformat": 3, "metadata": {"name": "toy"}, "worksheets": [{"cells": cells}]}))
    assert grader.grade(path).score == 9


def test_a_file_with_windows_line_ends_and_a_byte_order_mark(grader, module, tmp_path):
    path = tmp_path / "00_toy.ipynb"
    text = json.dumps(as_notebook(released(module, "all")), indent=1).replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert grader.grade(path).score == 9


def test_a_file_that_a_learning_platform_renamed(grader, module, write):
    path = write(released(module, "all"), name="s1234567_attempt_2026-11-20-22-28-46_My notebook (2).ipynb")
    report = grader.grade(path)
    assert report.score == 9 and report.module == "00_toy"


def test_what_was_put_into_the_setup_cell_is_named(grader, module, write):
    cells = released(module, {"last": "def last(x):\n    return my_last(x)"})
    setup = next(cell for cell in cells if cell["metadata"]["lsml"]["role"] == "setup")
    setup["source"] += "\ndef my_last(x): return x[-1]"
    report = grader.grade(write(cells))
    assert "`my_last`" in report.notes[0] and "new cell" in report.notes[0]
