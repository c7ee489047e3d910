"""What the visible check calls forbidden; the grader, which reads the cells unrun, calls the same forbidden."""

import textwrap

import pytest

from autograder.grading import syntax
from lsml_utils.checking import rules

SETUP = """
import numpy as np
import torch
import torch.nn.functional as F
import scipy.special
from torch import softmax as soft
from scipy.special import logsumexp
from numpy.linalg import svd
"""
CASES = {
    "np.linalg.svd(x)": (["numpy.linalg.svd"], True),
    "np.linalg.svd(x) ": (["np.linalg"], True),
    "np.linalg.norm(x)": (["numpy.linalg.svd"], False),
    "svd(x)": (
        [
            "np.linalg.svd",
        ],
        True,
    ),
    "soft(x, 0)": (["torch.softmax"], True),
    "logsumexp(x)": (["scipy.special"], True),
    "F.softmax(x, 0)": (["torch.nn"], True),
    "F.softmax(x, 0) ": (["torch.softmax"], False),
    "torch.nn.functional.softmax(x, 0)": (["torch.nn.functional"], True),
    "torch.special.expit(x)": (["torch.nn"], False),
    "x.backward()": ([".backward"], True),
    "x.backwards": ([".backward"], False),
    "helper(x)": (["scipy.special"], True),
    "harmless(x)": (["scipy.special", "torch.nn", ".backward"], False),
    "(lambda np: np.linalg.svd(x))(x)": (["numpy.linalg"], False),
    "__import__('math').exp(x)": (["numpy"], False),
}
HELPERS = """
def helper(x):
    return scipy.special.expit(x)

def harmless(x):
    return np.exp(x)
"""


def inside(code: str) -> str:
    return f"def answer(x):\n{textwrap.indent(code.strip(), '    ')}\n"


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Runs cells as a notebook would, so that each function's source can be found; gives the names that they define."""

    def run(answer: str) -> dict:
        path = tmp_path / "cells.py"
        path.write_text(SETUP + HELPERS + answer)
        scope = {"__name__": "cells"}
        exec(compile(path.read_text(), str(path), "exec"), scope)
        return scope

    return run


@pytest.mark.parametrize(("code", "forbids", "broken"), [(code, *rest) for code, rest in CASES.items()])
def test_the_check_and_the_grader_agree(notebook, code, forbids, broken):
    answer = inside(f"return {code}")
    assert bool(rules.broken(notebook(answer)["answer"], forbids)) == broken
    assert bool(syntax.forbidden(answer, [SETUP, HELPERS], forbids)) == broken


@pytest.mark.parametrize(
    "code", ["import scipy.special as s\nreturn s.expit(x)", "from scipy.special import expit\nreturn expit(x)"]
)
def test_an_import_inside_the_function_counts(notebook, code):
    answer = inside(code)
    assert rules.broken(notebook(answer)["answer"], ["scipy.special"]) == ["scipy.special"]
    assert syntax.forbidden(answer, [SETUP, HELPERS], ["scipy.special"]) == ["scipy.special"]


def test_functions_that_call_each_other_end():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    assert rules.broken(even, ["math"]) == []


@pytest.mark.parametrize("function", [len, print, dict, type("Made", (), {})])
def test_without_source_nothing_is_claimed(function):
    assert rules.broken(function, ["numpy"]) == []


def test_methods_of_a_class_count(notebook):
    answer = "class Net:\n    def forward(self, x):\n        return torch.softmax(x, 0)\n"
    assert rules.broken(notebook(answer)["Net"], ["torch.softmax"]) == ["torch.softmax"]
    assert rules.broken(notebook(answer)["Net"], ["torch.nn"]) == []


def test_what_a_class_is_built_on_counts(notebook):
    scope = notebook("class Mine(torch.nn.LSTM):\n    pass\n\ndef answer(x):\n    return Mine(1, 1)(x)\n")
    for name in ("Mine", "answer"):
        assert rules.broken(scope[name], ["torch.nn.LSTM", "torch.nn"]) == ["torch.nn.LSTM", "torch.nn"]
