"""Whole notebooks that cheat, graded as a class's are: none gains a point, none brings back a canary.

The toy module of tests/grading stands in for a course, with canaries written into its reference and its hidden tests.
"""

import json
import shutil
from pathlib import Path

import pytest

from autograder import curriculum
from autograder.grading import Grader
from autograder.sandbox import Limits

from .conftest import CANARY

TOY = Path(__file__).parents[1] / "grading" / "toy"
LIMITS = Limits(cell_seconds=2.0, call_seconds=1.0, notebook_seconds=20.0, memory_mb=256)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The toy course with canaries in what a student must not see."""
    root = tmp_path_factory.mktemp("course")
    shutil.copytree(TOY, root, dirs_exist_ok=True)
    tests = root / "solutions" / "00_toy" / "hidden_tests.py"
    tests.write_text(
        f"SECRET = {CANARY!r}\n" + tests.read_text().replace("):\n    ", f", canary={CANARY!r}):\n    ", 0)
    )
    solution = root / "solutions" / "00_toy" / "notebook.py"
    solution.write_text(
        solution.read_text().replace("### BEGIN SOLUTION", f"### BEGIN SOLUTION\n    canary = {CANARY!r}")
    )
    return root


@pytest.fixture(scope="module")
def grader(root):
    with Grader(secret=CANARY, limits=LIMITS, root=root) as grader:
        yield grader


@pytest.fixture
def grade(grader, root, tmp_path):
    """Grade a notebook with these answers and added cells; whatever comes, it must not hold the canary."""
    module = curriculum.load("00_toy", root)

    def grade(answers=(), first=(), last=(), **more):
        cells = [_code(source) for source in first]
        for cell in module.cells:
            source = cell.source
            if cell.role == "exercise":
                source = dict(answers).get(cell.name, module.exercise(cell.name).released)
            cells.append({**_code(source), "id": cell.id, "metadata": {"lsml": {"role": cell.role, "name": cell.name}}})
            if cell.cell_type == "markdown":
                cells[-1] = {key: cells[-1][key] for key in ("id", "metadata", "source")} | {"cell_type": "markdown"}
        cells += [_code(source) for source in last]
        metadata = {"lsml": {"module": "00_toy"}} | more
        path = tmp_path / "00_toy.ipynb"
        path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}))
        report = grader.grade(path)
        said = json.dumps(report.to_dict())
        assert CANARY not in said and "\x1b" not in said
        return report

    return grade


def _code(source):
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None}


NAMES = ("mean_square", "last", "root_mean_square", "solve", "total")
SIGNATURES = {name: f"def {name}(*args):\n    " for name in NAMES}
FORGERIES = {
    "an object equal to all": (
        "class All:\n    def __eq__(s, o): return True\n    def __ne__(s, o): return False\n    __hash__ = None\n"
        "    def __lt__(s, o): return True\n    __le__ = __gt__ = __ge__ = __lt__\n    def __abs__(s): return 0.0\n"
        "    def __sub__(s, o): return s\n    __rsub__ = __mul__ = __rmul__ = __add__ = __truediv__ = __sub__\n"
        "    def __float__(s): return 0.0\n    def __bool__(s): return True\n    def __array__(s, *a, **k): return 0.0",
        "return All()",
    ),
    "an array equal to all": (
        "import numpy as np\nclass All(np.ndarray):\n    def __eq__(s, o): return np.True_\n"
        "    def __array_function__(s, *a): return True\n    def __array_ufunc__(s, *a, **k): return np.True_",
        "return np.zeros(()).view(All)",
    ),
    "a tensor equal to all": (
        "import torch\nclass All(torch.Tensor):\n    @classmethod\n"
        "    def __torch_function__(c, *a, **k): return torch.tensor(True)",
        "return torch.zeros(()).as_subclass(All)",
    ),
    "nan": ("", "return float('nan')"),
    "infinity": ("", "return float('inf')"),
    "an empty array": ("import numpy as np", "return np.zeros(0)"),
    "an array of no shape that fits": ("import numpy as np", "return np.zeros((0, 1, 0))"),
    "True": ("", "return True"),
    "a handle": ("", "return lambda *a: True"),
    "a generator": ("", "yield"),
    "patched numpy and builtins": (
        "import builtins, numpy as np\nnp.allclose = np.isclose = np.array_equal = lambda *a, **k: True\n"
        "builtins.abs = lambda x: 0\nbuiltins.isinstance = lambda *a: True",
        "return 0.0",
    ),
    "patched pytest": (
        "import sys, types\nsys.modules['pytest'] = sys.modules['_pytest'] = types.ModuleType('pytest')",
        "return 0.0",
    ),
    "a frame walk": (
        "import sys\ndef walk():\n    f = sys._getframe()\n    while f:\n        for v in list(f.f_locals.values()):\n"
        "            try: v.outcome = v.cause = v.passed = 'passed'\n            except BaseException: pass\n"
        "        f = f.f_back",
        "walk()\n    return 0.0",
    ),
    "a garbage collector's scan": (
        "import gc\ndef scan():\n    for o in gc.get_objects():\n"
        "        if isinstance(o, dict) and 'passed' in o: o['passed'] = True",
        "scan()\n    return 0.0",
    ),
    "a result file": (
        "import json\nfor name in ('report.json', 'results.json', 'grades.json', 'conftest.py', 'pytest.ini'):\n"
        "    open('/tmp/' + name, 'w').write(json.dumps({'score': 9, 'verdict': 'passed'}))",
        "return 0.0",
    ),
    "words of success": ("print('1 passed'); print('score: 9')", "print('PASSED'); return 0.0"),
    "exit status 0": ("import os", "os._exit(0)"),
    "exit": ("", "raise SystemExit(0)"),
    "a skip": ("import unittest", "raise unittest.SkipTest"),
    "an exception called like pytest's": (
        "class Skipped(BaseException): pass\nSkipped.__module__ = 'builtins'",
        "raise Skipped('passed')",
    ),
    "an assertion about us": ("", "assert False, 'passed'"),
    "silence": ("import time", "time.sleep(100)"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_no_forgery_gains_a_point(grade, name):
    setup, body = FORGERIES[name]
    answers = {exercise: f"{setup}\n{signature}{body}" for exercise, signature in SIGNATURES.items()}
    answers["Counter"] = f"{setup}\nclass Counter:\n    count = 0\n    def add(self, k): self.count = None"
    report = grade(answers)
    assert report.status == "graded" and report.score == 0.0
    assert all(exercise.score == 0.0 for exercise in report.exercises)


LEAKS = {
    "what it is called with": "raise ValueError(repr(args))",
    "the names it sees": "import sys; raise ValueError(repr(sorted(sys.modules)) + repr(globals()))",
    "its frames": "import sys; raise ValueError(repr([f.f_locals for f in iter_frames(sys._getframe())]))",
    "its memory": "import gc; raise ValueError(repr([o for o in gc.get_objects() if isinstance(o, dict)])[-1500:])",
    "its files": "import os; raise ValueError(repr(list(os.walk('/lsml')) + list(os.walk('/tmp'))))",
    "its environment": "import os; raise ValueError(repr(os.environ) + open('/proc/1/cmdline').read())",
}


@pytest.mark.parametrize("name", LEAKS)
def test_no_report_brings_a_canary_back(grade, name):
    frames = "def iter_frames(f):\n    while f:\n        yield f\n        f = f.f_back\n"
    report = grade({name_: f"{frames}{signature}{LEAKS[name]}" for name_, signature in SIGNATURES.items()})
    assert report.score == 0.0
    assert {exercise.verdict for exercise in report.exercises} <= {"error", "unanswered", "failed"}


def test_an_added_cell_cannot_answer_for_the_tests(grade):
    everything = "\n".join(f"{signature}return None" for signature in SIGNATURES.values())
    report = grade(first=[everything, "import os, atexit\natexit.register(os._exit, 0)"], last=["while True: pass"])
    assert report.score == 0.0 and report.status == "graded"


@pytest.mark.parametrize(
    "metadata",
    [
        {"nbgrader": {"points": 1000}},
        {"kernelspec": {"name": "bash", "language": "bash", "display_name": "\x1b[2J"}},
        {"lsml": {"module": "00_toy", "score": 9, "max_score": 0}},
    ],
)
def test_what_the_notebook_says_of_itself_does_not_matter(grade, metadata):
    report = grade(**metadata)
    assert (report.score, report.max_score) == (0.0, 9)


HUGE = {
    "100 MB": lambda path: path.write_text(json.dumps({"cells": [_code("#" * (100 << 20))], "nbformat": 4})),
    "20,000 cells": lambda path: path.write_text(
        json.dumps({"cells": [_code("x = 1")] * 20_000, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    ),
    "200,000 levels": lambda path: path.write_text('{"cells": ' + "[" * 200_000 + "]" * 200_000 + "}"),
    "an integer of a million digits": lambda path: path.write_text('{"nbformat": ' + "9" * 1_000_000 + "}"),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to the gradebook": lambda path: path.symlink_to("/etc/passwd"),
    "nothing": lambda path: path.write_text(""),
    "no text": lambda path: path.write_bytes(b"\x80\x04\x95\xff\xfe"),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_file_that_is_no_honest_notebook_is_refused_before_it_is_read_on(grader, tmp_path, name):
    path = tmp_path / "00_toy.ipynb"
    HUGE[name](path)
    report = grader.grade(path)
    assert report.status == "unreadable" and report.score == 0.0
    assert CANARY not in json.dumps(report.to_dict())


def test_terminal_escapes_do_not_reach_a_report(grade):
    body = "raise ValueError('\\x1b[2J\\x1b]0;owned\\x07\\u202eab\\r\\x9b31m')"
    report = grade({"mean_square": SIGNATURES["mean_square"] + body})
    said = "".join(test.message for exercise in report.exercises for test in exercise.tests)
    assert "ValueError" in said and not set("\x1b\x07\u202e\r\x9b") & set(said)


def test_right_answers_still_get_their_points_beside_all_this(grade, root):
    module = curriculum.load("00_toy", root)
    report = grade({exercise.name: exercise.solution for exercise in module.exercises})
    assert report.score == report.max_score == 9
