"""What is told of a cell by its syntax, and that nothing in a cell can stop it."""

import pytest

from autograder.grading import syntax

HOSTILE = [
    "(" * 100_000,
    "-" * 100_000 + "1",
    "1" + "+1" * 100_000,
    "x" + ".a" * 100_000,
    "x" + "[0]" * 50_000,
    "lambda: " * 5_000 + "0",
    "if 1:\n" + "".join(" " * i + "if 1:\n" for i in range(1, 200)),
    "9" * 10_000,
    "\0",
    "x = '\ud800'".encode("utf-8", "replace").decode(),
    "'\\N{no such}'",
    "# -*- coding: rot13 -*-\nx",
    "f'{" * 500,
    "%time " * 10_000,
    "\n".join("%magic" for _ in range(5_000)),
    "\t" * 10_000 + "x",
    "x = 1\n" * 40_000,
]


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
def test_no_source_is_too_odd(source):
    syntax.tree(source)
    syntax.normal(source)
    syntax.defined(source)
    syntax.newly_defined(source, "import numpy")
    syntax.imports(source)
    syntax.forbidden(source, [source], ["np.linalg"])


@pytest.mark.parametrize(
    "one, other",
    [
        ("def f(x):\n    return x", "def f( x ):\n\n        return x  # done\n\n"),
        ("def f(x):\n    '''Doc.'''\n    return x", "def f(x):\n    return x"),
        ("# nothing", ""),
        ("x = 'a'", 'x = "a"'),
        ("%matplotlib inline\nx = 1", "%matplotlib notebook\nx = 1"),
    ],
)
def test_layout_comments_and_docstrings_do_not_matter(one, other):
    assert syntax.normal(one) == syntax.normal(other)


def test_code_does():
    assert syntax.normal("def f(x): return x") != syntax.normal("def f(x): return -x")
    assert syntax.normal("def f(x:") != syntax.normal("def f(y:")


def test_names_that_a_cell_defines():
    source = "import a.b, c as d\nfrom e import f as g, h\ni = j, k = 1, 2\nif 1:\n    def m(): n = 1\nclass O: p = 1"
    assert syntax.defined(source) == ["a", "d", "g", "h", "i", "j", "k", "m", "O"]
    assert syntax.newly_defined("import numpy as np\nx = 1\ny = 3", "import numpy as np\nx = 2") == ["x", "y"]


SETUP = "import numpy as np\nimport torch\nimport torch.nn.functional as F"


@pytest.mark.parametrize(
    "answer, forbids",
    [
        ("def f(x): return np.linalg.eigvalsh(x)", "np.linalg"),
        ("def f(x): return np.linalg.eigvalsh(x)", "numpy.linalg"),
        ("def f(x): return np.linalg.eigvalsh(x)", "numpy.linalg.eigvalsh"),
        ("import numpy\ndef f(x): return numpy.linalg.eigvalsh(x)", "np.linalg"),
        ("def f(x):\n    from numpy import linalg as la\n    return la.eigvalsh(x)", "np.linalg"),
        ("def f(x):\n    from numpy.linalg import eigvalsh\n    return eigvalsh(x)", "np.linalg"),
        ("from numpy.linalg import *\ndef f(x): return eigvalsh(x)", "numpy.linalg.eigvalsh"),
        ("la = np.linalg\ndef f(x): return la.eigvalsh(x)", "np.linalg"),
        ("def f(x): return F.softmax(x)", "torch.nn.functional"),
        ("def f(x): return torch.nn.functional.softmax(x)", "torch.nn.functional"),
        ("import sklearn.svm\ndef f(x): return sklearn.svm.SVC()", "sklearn"),
        ("def f(x): return sorted(x)", "sorted"),
        ("def f(x): x.sum().backward()", ".backward"),
        ("def f(x): return helper(x)", "np.linalg"),
        ("def f(x): return uses_helper(x)", "np.linalg"),
        ("%%time\ndef f(x): return np.linalg.eigvalsh(x)", "np.linalg"),
    ],
)
def test_forbidden(answer, forbids):
    helpers = "def helper(x): return np.linalg.norm(x)\ndef uses_helper(x): return helper(x)"
    assert syntax.forbidden(answer, [SETUP, helpers], [forbids]) == [forbids]


@pytest.mark.parametrize(
    "answer, forbids",
    [
        ("def f(x): return np.linalg_of_mine(x)", "np.linalg"),
        ("def f(x):\n    '''Not np.linalg.'''\n    return x  # np.linalg", "np.linalg"),
        ("def f(x): return 'np.linalg'", "np.linalg"),
        ("def f(np): return np.linalg", "numpy.linalg"),
        ("def f(x):\n    sorted = x\n    return sorted", "sorted"),
        ("def f(x): return np.dot(x, x)", "np.linalg"),
        ("def f(x): return x.backward_steps", ".backward"),
    ],
)
def test_not_forbidden(answer, forbids):
    unused = "def helper(x): return np.linalg.norm(x)"
    assert syntax.forbidden(answer, [SETUP, unused], [forbids]) == []
