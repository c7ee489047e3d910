"""Cells are run as a notebook would run them, one by one, and one that fails takes nothing with it."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.grading import syntax
from autograder.sandbox import Limits
from autograder.sandbox import bubblewrap as box
from autograder.submission import MissingName, SourceCell, Submission

LIMITS = Limits(cell_seconds=1.0, call_seconds=5.0, notebook_seconds=60.0, memory_mb=256)
FINE = {
    "magics": "%matplotlib inline\n%load_ext autoreload\n%autoreload 2\nx = 1",
    "shell lines": "!pip install torch\n!rm -rf /\nx = 1",
    "shell output": "files = !ls\nx = 1 + len(files)",
    "a timed statement": "%time x = 1",
    "a timed cell": "%%time\nx = 1",
    "a captured cell": "%%capture\nprint('noise')\nx = 1",
    "help": "import math\nmath.sin?\nx = 1",
    "get_ipython": "get_ipython().run_line_magic('matplotlib', 'inline')\nget_ipython().system('ls')\nx = 1",
    "IPython's get_ipython": "from IPython import get_ipython\nget_ipython().set_next_input('x')\nx = 1",
    "display": "from IPython.display import display, HTML, clear_output\ndisplay(HTML('<b>'))\nclear_output()\nx = 1",
    "display without import": "display(3)\nx = 1",
    "windows line ends": "if True:\r\n    x = 1\r\n",
    "old Mac line ends": "x = 0\rx = 1",
    "indented": "    x = 1\n    y = 2",
    "a semicolon": "x = 1;",
    "a main guard": "if __name__ == '__main__':\n    x = 1",
    "prints": "print('a' * 10_000_000)\nx = 1",
    "prints on stderr": "import sys\nprint('warning', file=sys.stderr)\nx = 1",
    "warnings": "import warnings\nwarnings.warn('careful')\nx = 1",
    "logging": "import logging\nlogging.basicConfig(level=0)\nlogging.error('x')\nx = 1",
    "plots": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nx = 1",
    "another backend": "import matplotlib\nmatplotlib.use('agg')\nx = 1",
    "numpy's errors": "import numpy as np\nnp.seterr(all='raise')\nx = 1",
    "own seeds": "import random, numpy, torch\nrandom.seed(0)\nnumpy.random.seed(0)\ntorch.manual_seed(0)\nx = 1",
    "type hints": "def f(a: 'Undefined', b: int = 3) -> list['Also']:\n    return [a]\nx = f(1)[0]",
    "dataclasses": "from dataclasses import dataclass\n@dataclass\nclass P:\n    a: 'int' = 1\nx = P().a",
    "inspect": "import inspect\ndef f():\n    return 1\nassert 'return 1' in inspect.getsource(f)\nx = 1",
    "pickle": "import pickle\nclass P: pass\npickle.loads(pickle.dumps(P()))\nx = 1",
    "threads": "from multiprocessing.pool import ThreadPool\nx = sum(ThreadPool(4).map(len, ['', 'a']))",
    "processes": "import multiprocessing as m\nwith m.get_context('fork').Pool(2) as p: x = sum(p.map(len, ['', 'a']))",
    "joblib": "from joblib import Parallel, delayed\nx = sum(Parallel(n_jobs=1)(delayed(len)(s) for s in ['', 'a']))",
    "a scratch file": "import tempfile\ntempfile.TemporaryFile().write(b'a')\nx = open('mine', 'w').write('a')",
    "a loader with workers": (
        "import torch.utils.data as d\nx = sum(len(b) for b in d.DataLoader([1, 2, 3], 3, num_workers=2)) - 2"
    ),
    "asyncio": "import asyncio\nasync def f(): return 1\nx = asyncio.run(f())",
    "await in a cell": "import asyncio\nawait asyncio.sleep(0)\nasync def f(): return 1\nx = await f()",
    "a backward pass": "import torch\nt = torch.ones(1, requires_grad=True)\n(t * 1).sum().backward()\nx = int(t.grad)",
}


@pytest.mark.parametrize("name", FINE)
def test_what_people_write_in_notebooks_runs(bubblewrap, name):
    limits = replace(LIMITS, cell_seconds=20)
    with Submission.load(bubblewrap, [SourceCell("cell 1", syntax.plain(FINE[name]))], limits) as submission:
        assert submission.cell_errors == []
        assert submission.value("x") == 1


def test_a_failing_cell_does_not_stop_the_next(load):
    submission = load("x = 1", "x = 2\n1 / 0\nx = 3", "y = x")
    assert [(error.label, error.kind) for error in submission.cell_errors] == [("cell 2", "error")]
    assert submission.value("y") == 2


KILLERS = {
    "timeout": "while True: pass",
    "crashed": "import os; os._exit(0)",
    "memory": "import numpy as np\nblocks = []\nwhile True: blocks.append(np.ones(1 << 20))",
}


@pytest.mark.parametrize("kind", KILLERS)
def test_a_cell_that_kills_its_process_is_left_out_and_the_others_run(bubblewrap, kind):
    cells = [SourceCell("cell 1", "x = 1"), SourceCell("cell 2", KILLERS[kind]), SourceCell("cell 3", "y = x + 1")]
    with Submission.load(bubblewrap, cells, replace(LIMITS, cell_seconds=5.0)) as submission:
        assert [(error.label, error.kind) for error in submission.cell_errors] == [("cell 2", kind)]
        assert submission.value("y") == 2
        # A MemoryError is an exception like others: its process lives, and the cell is tried again.
        assert submission.skip == (frozenset() if kind == "memory" else {"cell 2"})


def test_the_next_child_skips_what_was_too_slow(bubblewrap):
    cells = [SourceCell("cell 1", "import time; time.sleep(60)"), SourceCell("cell 2", "x = 1")]
    with Submission.load(bubblewrap, cells, LIMITS) as first:
        assert first.skip == {"cell 1"}
    started = time.monotonic()
    with Submission.load(bubblewrap, cells, LIMITS, skip=first.skip) as second:
        assert time.monotonic() - started < LIMITS.cell_seconds
        assert second.cell_errors == [] and second.value("x") == 1 and second.skip == {"cell 1"}


def test_many_slow_cells_share_the_time_of_the_notebook(bubblewrap):
    cells = [SourceCell(f"cell {i}", "while True: pass") for i in range(30)] + [SourceCell("last", "x = 1")]
    started = time.monotonic()
    with Submission.load(bubblewrap, cells, replace(LIMITS, cell_seconds=0.5, notebook_seconds=2.0)) as submission:
        assert time.monotonic() - started < 15
        assert {error.kind for error in submission.cell_errors} == {"timeout"}
        assert len(submission.cell_errors) == 31


def test_a_deep_notebook_is_an_error_of_its_cell(bubblewrap):
    cells = [SourceCell("cell 1", "x = " + "(" * 5000 + ")" * 5000), SourceCell("cell 2", "y = 1")]
    with Submission.load(bubblewrap, cells, LIMITS) as submission:
        assert [error.label for error in submission.cell_errors] == ["cell 1"]
        assert submission.value("y") == 1


def test_null_bytes_and_surrogates_in_the_source(bubblewrap):
    cells = [SourceCell("cell 1", "x = 'a\0b'"), SourceCell("cell 2", "x = '\ud800'"), SourceCell("cell 3", "y = 1")]
    with Submission.load(bubblewrap, cells, LIMITS) as submission:
        assert [error.label for error in submission.cell_errors] == ["cell 1", "cell 2"]
        assert submission.value("y") == 1


def in_scratch():
    """What an untouched /tmp shows: nothing, or the way to an interpreter that lies below it."""
    return sorted({Path(path).parts[2] for path in box.folders() if path.startswith("/tmp/")})


def test_children_see_nothing_of_each_other(bubblewrap):
    leave = "import builtins, numpy\nbuiltins.mark = numpy.mark = 1\nopen('/tmp/mark', 'w').write('x')"
    look = """
import builtins, numpy, os
found = [hasattr(builtins, "mark"), hasattr(numpy, "mark"), os.listdir("/tmp")]
"""
    with Submission.load(bubblewrap, [SourceCell("cell 1", leave)]) as first:
        assert first.cell_errors == []
        with Submission.load(bubblewrap, [SourceCell("cell 1", look)]) as second:
            assert second.value("found") == [False, False, in_scratch()]
    with Submission.load(bubblewrap, [SourceCell("cell 1", look)]) as third:
        assert third.value("found") == [False, False, in_scratch()]


def test_data_files_are_seen_read_only_at_their_path(tmp_path):
    from autograder.sandbox import open_sandbox

    look = """
def read(path): return open(path).read()
def write(path):
    try: open(path, 'a').write('x')
    except OSError: return "refused"
def remove(path):
    import os
    try: os.remove(path)
    except OSError: return "refused"
"""
    with open_sandbox("bubblewrap", LIMITS, data_dir=tmp_path) as sandbox:
        (tmp_path / "late.txt").write_text("hello")
        with Submission.load(sandbox, [SourceCell("cell 1", look)]) as submission:
            path = str(tmp_path / "late.txt")
            assert submission.read(path) == "hello"
            assert submission.write(path) == submission.remove(path) == "refused"
    assert (tmp_path / "late.txt").read_text() == "hello"


def test_a_name_that_a_failing_cell_did_not_reach_is_missing(bubblewrap):
    with (
        Submission.load(bubblewrap, [SourceCell("cell 1", "1 / 0\ndef f(): pass")]) as submission,
        pytest.raises(MissingName),
    ):
        submission.f()
