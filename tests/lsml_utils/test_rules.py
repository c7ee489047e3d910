"""What the visible check calls forbidden; the grader, which reads the cells unrun, calls the same forbidden."""

import ast
import keyword
import textwrap
from types import SimpleNamespace

import pytest

from autograder.grading import syntax
from lsml_utils.checking import names, rules

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
    "svd(x) ": ([".svd"], True),
    "np.linalg.svd(x)  ": ([".svd"], True),
    "(svd := len)(x)": ([".svd"], False),
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
    "exec": ("", "exec('global z; z = np.linalg.svd(x)') or z", True),
    "eval": ("", "eval('np.linalg.svd(x)')", True),
    "eval of an import": ("", "eval('__import__(\"numpy\").linalg').svd(x)", True),
    "a helper made with exec": ("exec('def h(x):\\n    return np.linalg.svd(x)')", "h(x)", True),
    "exec in a dictionary": ("ns = {}\nexec('import numpy.linalg as q', ns)", "ns['q'].svd(x)", True),
    "compile": ("", "eval(compile('np.linalg.svd(x)', '', 'eval'))", True),
    "getattr with a name for its text": ("T = 'svd'", "getattr(np.linalg, T)(x)", True),
    "getattr with an f-string": ("", "getattr(np.linalg, f'svd')(x)", True),
    "vars().get": ("", "vars(np).get('linalg').svd(x)", True),
    "__getattribute__": ("", "np.__getattribute__('linalg').svd(x)", True),
    "user_ns": ("", "get_ipython().user_ns['np'].linalg.svd(x)", True),
    "__main__": ("", "sys.modules['__main__'].np.linalg.svd(x)", True),
    "__import__ of __main__": ("", "__import__('__main__').np.linalg.svd(x)", True),
    "getattr by another name": ("g = getattr", "g(np.linalg, 'svd')(x)", True),
    "__import__ by another name": ("imp = __import__", "imp('numpy').linalg.svd(x)", True),
    "import_module by another name": ("from importlib import import_module as im", "im('numpy.linalg').svd(x)", True),
    "sys.modules by another name": ("from sys import modules as m", "m['numpy.linalg'].svd(x)", True),
    "an alias of sys.modules": ("import sys\nm = sys.modules", "m['numpy.linalg'].svd(x)", True),
    "an alias of globals()": ("g = globals()", "g['np'].linalg.svd(x)", True),
    "a partial of getattr": ("import functools", "functools.partial(getattr, np.linalg)('svd')(x)", True),
    "attrgetter": ("import operator", "operator.attrgetter('linalg.svd')(np)(x)", True),
    "attrgetter by another name": ("from operator import attrgetter as ag", "ag('svd')(np.linalg)(x)", True),
    "methodcaller": ("import operator", "operator.methodcaller('svd', x)(np.linalg)", True),
    "itemgetter": ("import operator", "operator.itemgetter('linalg')(vars(np)).svd(x)", True),
    "append": ("tools = []\ntools.append(np.linalg.svd)", "tools[0](x)", True),
    "update": ("tools = {}\ntools.update(svd=np.linalg.svd)", "tools['svd'](x)", True),
    "update with a dictionary": ("tools = {}\ntools.update({'s': np.linalg.svd})", "tools['s'](x)", True),
    "setdefault": ("tools = {}\ntools.setdefault('s', np.linalg.svd)", "tools['s'](x)", True),
    "append to a local list": ("", "(lambda t: (t.append(np.linalg), t[0].svd(x)))([])", True),
    "lists joined": ("tools = [1] + [np.linalg]", "tools[1].svd(x)", True),
    "deque": ("import collections\nd = collections.deque()\nd.append(np.linalg)", "d[0].svd(x)", True),
    "dictionaries joined": ("d = {} | {'a': np.linalg}", "d['a'].svd(x)", True),
    "match": ("match np.linalg:\n    case mm: pass", "mm.svd(x)", True),
    "match with as": ("match np.linalg:\n    case object() as mm: pass", "mm.svd(x)", True),
    "an exception's arguments": (
        "try:\n    raise ValueError(np.linalg)\nexcept ValueError as e:\n    ll = e.args[0]",
        "ll.svd(x)",
        True,
    ),
    "a module for a parameter": ("def h(la): return la.svd([[1.]])", "h(np.linalg)", True),
    "a function for a parameter": ("def h(f, x): return f(x)", "h(np.linalg.svd, x)", True),
    "map": ("", "list(map(np.linalg.svd, [x]))", True),
    "map and a lambda": ("", "list(map(lambda q: q.svd(x), [np.linalg]))", True),
    "a decorator with a parameter": (
        "def by(m):\n    def wrap(f): return lambda x: m.svd(x)\n    return wrap\n@by(np.linalg)\ndef h(x): return x",
        "h(x)",
        True,
    ),
    "a function that returns the module": ("def lib(): return np.linalg", "lib().svd(x)", True),
    "a function that returns the package": ("def lib(): return np", "lib().linalg.svd(x)", True),
    "a lambda that returns it": ("lib = lambda: np.linalg", "lib().svd(x)", True),
    "a generator": ("def lib():\n    yield np.linalg", "next(lib()).svd(x)", True),
    "a class's attribute": ("class T:\n    la = np", "T.la.linalg.svd(x)", True),
    "a class's attribute in a method": (
        "class T:\n    la = np\n    def run(self, x): return self.la.linalg.svd(x)",
        "T().run(x)",
        True,
    ),
    "an object's attribute": (
        "class T:\n    def __init__(self): self.la = np\n    def run(self, x): return self.la.linalg.svd(x)",
        "T().run(x)",
        True,
    ),
    "a function's attribute": ("def h(): pass\nh.la = np", "h.la.linalg.svd(x)", True),
    "a SimpleNamespace": ("import types\ns = types.SimpleNamespace(la=np)", "s.la.linalg.svd(x)", True),
    "a named tuple": (
        "import collections\nN = collections.namedtuple('N', 'la')\nn = N(np)",
        "n.la.linalg.svd(x)",
        True,
    ),
    "a dataclass": (
        "import dataclasses\n@dataclasses.dataclass\nclass D:\n    la: object = np",
        "D().la.linalg.svd(x)",
        True,
    ),
    "globals().update": ("globals().update(la=np.linalg)", "la.svd(x)", True),
    "globals().setdefault": ("globals().setdefault('la', np.linalg)", "la.svd(x)", True),
    "globals().__setitem__": ("globals().__setitem__('la', np.linalg)", "la.svd(x)", True),
    "a star": ("from numpy.linalg import *", "svd(x)", True),
    "property": ("class T:\n    @property\n    def la(self): return np.linalg", "T().la.svd(x)", True),
    "a with and a generator": (
        "import contextlib\n@contextlib.contextmanager\ndef lib(): yield np.linalg\nwith lib() as la: pass",
        "la.svd(x)",
        True,
    ),
    "a dictionary's values": ("tools = {'a': np.linalg}\nfor la in tools.values(): pass", "la.svd(x)", True),
    "a list's pop": ("tools = [np.linalg]\nla = tools.pop()", "la.svd(x)", True),
    "a dictionary's get": ("tools = {'a': np.linalg}\nla = tools.get('a')", "la.svd(x)", True),
    "an import in a try": (
        "try:\n    import numpy.linalg as la\nexcept ImportError:\n    la = None",
        "la.svd(x)",
        True,
    ),
    "deleted after": ("la = np.linalg\nold = la\ndel la", "old.svd(x)", True),
    "lru_cache": ("import functools\n@functools.lru_cache\ndef h(x): return np.linalg.svd(x)", "h(x)", True),
    "vectorize": ("h = np.vectorize(np.linalg.svd)", "h(x)", True),
    "another function's code": ("def h(x): return np.linalg.svd(x)", "x\nanswer.__code__ = h.__code__", True),
    "appended to a list of results": ("import numpy.linalg as q\nlog = []", "log.append(x) or np.sum(x)", False),
    "an experiment that appends": ("log = []\nlog.append(np.linalg.norm([1.0]))", "np.sum(x)", False),
    "a parameter named like an experiment's list": (
        "results = []\nresults.append(np.linalg.svd([[1.0]]))",
        "(lambda results: results)(x)",
        False,
    ),
    "a helper that an experiment gives it to": (
        "def apply(f, x): return f(x)\napply(np.linalg.svd, [[1.]])",
        "apply(np.sum, x)",
        False,
    ),
    "NumPy's own add in another function": (
        "def other(x):\n    y = np.linalg.svd(x)\n    return np.add(y, x)",
        "np.sum(x)",
        False,
    ),
    "a list that has the name of a module": (
        "import calendar as tools\ntools = []\ntools.append(np.linalg)",
        "tools[0].svd(x)",
        True,
    ),
    "a list of another module": (
        "from keyword import softkwlist as tools\ntools.append(np.linalg)",
        "tools[-1].svd(x)",
        True,
    ),
    "an experiment's result": ("out = np.linalg.svd([[1.0]])", "np.sum(x)", False),
    "eval of something else": ("", "eval('np.sum(x)')", False),
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


def test_what_a_function_says_that_it_wraps_is_looked_at_as_well_as_itself(notebook):
    answer = inside("return x") + "import functools\nanswer = functools.wraps(answer)(lambda x: np.linalg.svd(x))\n"
    assert by_syntax(answer, ["np.linalg.svd"]) == ["np.linalg.svd"]
    assert rules.broken(notebook(answer)["answer"], ["np.linalg.svd"]) == ["np.linalg.svd"]


def by_syntax(answer: str, forbids: list[str]) -> list[str]:
    """What the grader finds in a notebook of these cells."""
    return list(syntax.forbidden({"answer": forbids}, [SETUP, HELPERS, answer]).get("answer", ()))


def inside(code: str) -> str:
    return f"def answer(x):\n{textwrap.indent(code.strip(), '    ')}\n"


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Runs cells as a notebook would, so that each function's source can be found; gives the names that they define."""

    monkeypatch.setattr(keyword, "softkwlist", [])  # a case puts something into it

    def run(answer: str) -> dict:
        path = tmp_path / "cells.py"
        path.write_text(SETUP + HELPERS + answer)
        scope = {"__name__": "__main__"}  # as in a kernel, `globals()` is what the cells see
        scope["get_ipython"] = lambda: SimpleNamespace(user_ns=scope)
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


INTRICATE = """
def answer(F, keepdims=False):
    flat = np.moveaxis(F, 0, 0).astype(np.float64)
    top = flat[0].copy()
    for layer in flat[1:]:
        top = np.where(layer > top, layer, top)
    safe = np.where(np.isfinite(top), top, 0.0)
    total = np.zeros_like(safe)
    for layer in flat:
        total = total + np.exp(layer - safe)
    out = safe + np.log(total)
    return answer(np.where(out > top, answer(out), total)) if keepdims else out
"""


def test_names_that_depend_on_each_other_in_circles_are_no_more_work():
    others = [
        f"""
def other_{n}(x, y):
    a = b = c = x
    for _ in y:
        a, b, c = answer(b, c), other_{(n + 1) % 10}(a, c), np.where(a > b, b, c)
    return answer(a) + b
"""
        for n in range(10)
    ]
    code = names.Code()
    code.add(ast.parse(SETUP + INTRICATE + "".join(others)))
    assert ("numpy", "where") in code.used(["other_0"])
    assert names.MOST_WORK - code._left < 100_000


def test_an_alias_may_be_far_away():
    chain = "a0 = np.linalg\n" + "".join(f"a{n + 1} = a{n}\n" for n in range(300))
    code = names.Code()
    code.add(ast.parse(SETUP + chain + "def answer(x): return a300.svd(x)"))
    assert ("numpy", "linalg", "svd") in code.used(["answer"])
