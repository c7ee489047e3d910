"""What a student's experiments leave behind is not held against their answers."""

import platform
from textwrap import dedent

import pytest

from autograder.sandbox import open_sandbox
from autograder.submission import SourceCell, StudentMemory, Submission

from .conftest import code, index, released

# It works in 36 of the 64 MB that it may use.
SUM = "def total(chunks):\n    work = np.ones(36 << 17)\n    return float(sum(map(np.sum, chunks), 0 * work[0]))"
HOARDS = "def total(chunks):\n    return float(np.sum(np.concatenate(list(chunks))))"
SCRATCH = {
    "an array of 28 MB": "data = np.ones(28 << 17)",
    "an array of 90 MB": "data = np.ones(90 << 17)",
    "many small ones": "data = [np.ones(1 << 10) for _ in range(10_000)]",
    "freed before": "data = np.ones(90 << 17)\ndel data",
    "torch": "import torch\ndata = torch.ones(60 << 18)",
}


def graded(grader, module, write, total, scratch):
    answers = {e.name: e.solution for e in module.exercises} | {"total": total}
    cells = released(module, answers)
    cells.insert(index(cells, "last"), code(scratch))
    report = grader.grade(write(cells))
    return next(result for result in report.exercises if result.id == "total")


@pytest.mark.parametrize("scratch", SCRATCH.values(), ids=SCRATCH)
def test_what_stood_before_a_call_is_not_counted_into_its_memory(grader, module, write, scratch):
    assert graded(grader, module, write, SUM, scratch).verdict == "passed"


def test_an_array_in_the_answers_own_cell(grader, module, write):
    assert graded(grader, module, write, f"{SUM}\ntrial = total([np.ones(80 << 17)])", "").verdict == "passed"
    assert graded(grader, module, write, f"trial = np.ones(80 << 17)\n{SUM}", "").verdict == "passed"


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_nor_for_an_instant(kind):
    """What is allocated and freed again between two looks is stopped by the process's own limit."""
    cell = SourceCell(
        "cell [1]", "import numpy as np\nheld = np.ones(40 << 17)\ndef f(mb): return len(np.empty(mb << 17))"
    )
    with open_sandbox(kind) as sandbox, Submission.load(sandbox, [cell]) as child:
        assert child.f(150) == 150 << 17
        child.grant(64)
        assert child.f(60) == 60 << 17
        with pytest.raises(StudentMemory):
            child.f(110)


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_a_later_grant_counts_from_the_first(kind):
    """It may be higher or lower; what the tests between them left behind is the answer's."""
    cell = SourceCell(
        "cell [1]",
        "import numpy as np\nheld = []\ndef f(mb): return len(np.empty(mb << 17))\n"
        "def hold(mb): held.append(np.ones(mb << 17))",
    )
    with open_sandbox(kind) as sandbox, Submission.load(sandbox, [cell]) as child:
        child.grant(16)
        with pytest.raises(StudentMemory):
            child.f(40)
        child.grant(128)
        assert child.f(100) == 100 << 17
        child.hold(50)
        child.grant(64)
        assert child._peer.peak_mb() > 45, "the watch counts what is held since the first grant"
        assert child.f(8) == 8 << 17
        with pytest.raises(StudentMemory):
            child.f(40)


@pytest.mark.parametrize("library", ["np.linalg.solve", "scipy.linalg.solve"])
def test_the_buffers_of_both_blas_are_not_the_answers(library):
    """`threadpool_limits` gives them back; where a limit refuses a new one, OpenBLAS would try for ever."""
    cell = SourceCell(
        "cell [1]",
        "import numpy as np, scipy.linalg\nfrom threadpoolctl import threadpool_limits\nthreadpool_limits(1)\n"
        f"def f(n): return float({library}(np.eye(n), np.ones(n)).sum() + (np.ones((n, n)) @ np.ones(n))[0])",
    )
    with open_sandbox() as sandbox, Submission.load(sandbox, [cell]) as child:
        child.grant(16)
        assert child.f(300) == 600.0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other habits")
@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
def test_an_array_that_has_gone_takes_nothing(kind):
    """Three arrays of 8 MB at a time: what torch freed before was kept in pieces, up to 290 MB of them."""
    cell = SourceCell(
        "cell [1]",
        dedent("""
        import torch
        def f(rows):
            c, total = torch.zeros(8192), torch.zeros(8192, 16)
            for u in torch.ones(8192, 16).split(rows):
                A = u @ torch.ones(8192, 16).mT
                c = torch.logaddexp(c, torch.logsumexp(A, dim=0))
                weight = torch.exp(A - c)
                weight += torch.exp(A - c[0])
                total += weight.mT @ u
            return float(total[0, 0])
        """),
    )
    with open_sandbox(kind) as sandbox, Submission.load(sandbox, [cell]) as child:
        child.grant(48)
        for rows in (256, 192):
            assert child.f(rows) > 0


@pytest.mark.parametrize("scratch", ["", SCRATCH["freed before"], "import gc", "pool = np.empty(300 << 17)"])
def test_the_call_itself_has_no_more(grader, module, write, scratch):
    result = graded(grader, module, write, HOARDS, scratch)
    assert (result.verdict, result.score) == ("memory", 0.0)
    assert "more memory than the" in result.tests[0].message


def test_what_is_held_in_advance_is_counted_beyond_a_bound(grader, module, write):
    pooled = (
        "pool = np.ones(200 << 17)\ndef total(chunks):\n    pool[:1] = 0\n    return float(sum(map(np.sum, chunks)))"
    )
    assert graded(grader, module, write, pooled, "").verdict == "memory"


SETTINGS = {
    "np.seterr": "np.seterr(all='raise')",
    "warnings made errors": "import warnings\nwarnings.simplefilter('error')",
    "no gradients": "import torch\ntorch.set_grad_enabled(False)",
}
SENSITIVE = """
import torch, warnings
def mean_square(x):
    weights = np.exp(np.array([0.0, -1000.0, -np.inf]))
    warnings.warn("slow")
    one = torch.ones(1, requires_grad=True)
    (one * 2).sum().backward()
    return float(np.mean(np.square(x, dtype=float))) * float(one.grad) / 2
"""


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_what_is_set_for_an_experiment_ends_with_it(grader, module, write, setting):
    answers = {e.name: e.solution for e in module.exercises} | {"mean_square": SENSITIVE}
    cells = released(module, answers)
    cells.insert(index(cells, "mean_square"), code(setting))
    report = grader.grade(write(cells))
    assert report.score == 9, report.exercises
