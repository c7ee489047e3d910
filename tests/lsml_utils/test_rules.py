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


# What stands in a cell of its own, before `answer`; what `answer` does; whether it uses numpy.linalg.svd.
EVASIONS = {
    "another's parameter": ("def _unused(np): pass", "np.linalg.svd(x)", True),
    "a parameter of a function beside it": ("", "(lambda numpy: 0)(np.linalg.svd(x))", True),
    "a walrus": ("", "[(T := np), T.linalg.svd(x)][1]", True),
    "a walrus in a comprehension": ("", "[[(T := np) for _ in [0]], T.linalg.svd(x)][1]", True),
    "a walrus outside": ("(T := np)", "T.linalg.svd(x)", True),
    "a loop": ("for la in [np.linalg]: pass", "la.svd(x)", True),
    "a comprehension": ("", "[la.svd(x) for la in (np.linalg,)]", True),
    "a with": ("import contextlib\nwith contextlib.nullcontext(np.linalg) as la: pass", "la.svd(x)", True),
    "an alias": ("la = np.linalg", "la.svd(x)", True),
    "an alias of an alias": ("mine = np\nla = mine.linalg\nf = la.svd", "f(x)", True),
    "aliases in a circle": ("a = np.linalg\nb = a\na = b", "b.svd(x)", True),
    "unpacking": ("one, (two, three) = 1, (2, np.linalg)", "three.svd(x)", True),
    "a list": ("tools = [np.linalg.svd]", "tools[0](x)", True),
    "a dictionary": ("tools = {'svd': np.linalg.svd}", "tools['svd'](x)", True),
    "put into a dictionary": ("tools = {}\ntools['svd'] = np.linalg.svd", "tools['svd'](x)", True),
    "a partial": ("import functools\nf = functools.partial(np.linalg.svd)", "f(x)", True),
    "a default": ("def helper_of_mine(x, la=np.linalg): return la.svd(x)", "helper_of_mine(x)", True),
    "a class": ("class Tool:\n    def run(self, x): return np.linalg.svd(x)", "Tool().run(x)", True),
    "getattr": ("", "getattr(np.linalg, 'svd')(x)", True),
    "getattr twice": ("", "getattr(getattr(np, 'linalg'), 'svd')(x)", True),
    "globals": ("", "globals()['np'].linalg.svd(x)", True),
    "globals().get": ("", "globals().get('np').linalg.svd(x)", True),
    "vars": ("", "vars(np.linalg)['svd'](x)", True),
    "__dict__": ("", "np.linalg.__dict__['svd'](x)", True),
    "sys.modules": ("import sys", "sys.modules['numpy.linalg'].svd(x)", True),
    "__import__": ("", "__import__('numpy').linalg.svd(x)", True),
    "import_module": ("import importlib", "importlib.import_module('numpy.linalg').svd(x)", True),
    "global": ("def bind():\n    global la\n    la = np.linalg\nbind()", "la.svd(x)", True),
    "a local name": ("import numpy.linalg as p", "(lambda p: p.svd)(x)", False),
    "a local variable": ("import numpy.linalg as F", "[F.svd for F in [x]]", False),
    "another function of the module": ("la = np.linalg", "la.norm(x)", False),
    "an unused helper": ("def unused(x): return np.linalg.svd(x)", "np.sum(x)", False),
    "a method of that name": ("", "x.linalg.svd()", False),
    "a text": ("", "'np.linalg.svd'", False),
}


@pytest.mark.parametrize(("before", "code", "broken"), EVASIONS.values(), ids=EVASIONS)
def test_names_are_resolved_by_scope_in_both(notebook, before, code, broken):
    answer = f"{before}\n\n{inside(f'return {code}')}"
    wanted = ["np.linalg.svd"] if broken else []
    assert by_syntax(answer, ["np.linalg.svd"]) == wanted
    assert rules.broken(notebook(answer)["answer"], ["np.linalg.svd"]) == wanted


def test_a_local_variable_beside_a_scratch_cell_that_imports_under_its_name(notebook):
    answer = "import scipy.special as p\nimport scipy.stats as F\n" + inside(
        "p = x\nF = p + 1\nreturn F.sum() + p.sum()"
    )
    assert by_syntax(answer, ["scipy"]) == rules.broken(notebook(answer)["answer"], ["scipy"]) == []


def by_syntax(answer: str, forbids: list[str]) -> list[str]:
    """What the grader finds in a notebook of these cells."""
    return list(syntax.forbidden({"answer": forbids}, [SETUP, HELPERS, answer]).get("answer", ()))


def inside(code: str) -> str:
    return f"def answer(x):\n{textwrap.indent(code.strip(), '    ')}\n"


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Runs cells as a notebook would, so that each function's source can be found; gives the names that they define."""

    def run(answer: str) -> dict:
        path = tmp_path / "cells.py"
        path.write_text(SETUP + HELPERS + answer)
        scope = {"__name__": "cells"}  # as in a kernel, `globals()` is what the cells see
        exec(compile(path.read_text(), str(path), "exec"), scope)
        return scope

    return run


@pytest.mark.parametrize(("code", "forbids", "broken"), [(code, *rest) for code, rest in CASES.items()])
def test_the_check_and_the_grader_agree(notebook, code, forbids, broken):
    answer = inside(f"return {code}")
    assert bool(rules.broken(notebook(answer)["answer"], forbids)) == broken
    assert bool(by_syntax(answer, forbids)) == broken


@pytest.mark.parametrize(
    "code", ["import scipy.special as s\nreturn s.expit(x)", "from scipy.special import expit\nreturn expit(x)"]
)
def test_an_import_inside_the_function_counts(notebook, code):
    answer = inside(code)
    assert rules.broken(notebook(answer)["answer"], ["scipy.special"]) == ["scipy.special"]
    assert by_syntax(answer, ["scipy.special"]) == ["scipy.special"]


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
