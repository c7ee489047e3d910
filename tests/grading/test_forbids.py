"""A rule of an exercise, from end to end: the student's own check and `lsml grade` say the same of one notebook."""

import json

import pytest
from IPython.core.interactiveshell import InteractiveShell

from .conftest import code, index, released
from .test_commands import lsml  # noqa: F401

CHECK = """
from lsml_utils.checking import check, expect_close
with check("solve", forbids=["np.linalg"]):
    expect_close(solve(2.0, 4.0), 2.0)
"""
BY_LIBRARY = "np.linalg.solve([[a]], [b])[0]"
# What stands in the exercise's cell, and in a cell before it.
BREAKS = {
    "in the answer": (f"def solve(a, b): return {BY_LIBRARY}", ""),
    "in a helper": ("def solve(a, b): return mine(a, b)", f"def mine(a, b): return {BY_LIBRARY}"),
    "getattr": ("def solve(a, b): return getattr(np, 'linalg').solve([[a]], [b])[0]", ""),
    "globals": ("def solve(a, b): return globals()['np'].linalg.solve([[a]], [b])[0]", ""),
    "sys.modules": ("def solve(a, b): return sys.modules['numpy.linalg'].solve([[a]], [b])[0]", "import sys"),
    "eval": (f"def solve(a, b): return eval({BY_LIBRARY!r})", ""),
    "exec": ("def solve(a, b): return mine(a, b)", f"exec('def mine(a, b): return {BY_LIBRARY}')"),
    "a list": ("def solve(a, b): return tools[0].solve([[a]], [b])[0]", "tools = []\ntools.append(np.linalg)"),
    "a parameter": (
        "def solve(a, b): return through(np, a, b)",
        "def through(lib, a, b): return lib.linalg.solve([[a]], [b])[0]",
    ),
}
KEEPS = {
    "another way": ("def solve(a, b): return b / a", ""),
    "the library in an experiment": (
        "def solve(a, b): return b / a",
        "peers = []\npeers.append(np.linalg.solve)\nprint(peers[0]([[2.0]], [4.0]))",
    ),
}


@pytest.mark.parametrize("where", ["its own cell", "another exercise's cell"])
@pytest.mark.parametrize(("answer", "before", "breaks"), [(*case, True) for case in BREAKS.values()]
                         + [(*case, False) for case in KEEPS.values()], ids=[*BREAKS, *KEEPS])  # fmt: skip
def test_the_check_and_the_grade_say_the_same(lsml, module, write, answer, before, breaks, where):  # noqa: F811
    answers = {"last": "def last(x): return x[-1]", "solve": answer}
    if where != "its own cell":
        answers = {"last": f"{answers['last']}\n{answer}"}
    cells = released(module, answers)
    if before:
        cells.insert(index(cells, "last"), code(before))

    shell = InteractiveShell()
    for cell in cells:
        mine = cell["metadata"].get("lsml", {}).get("role") not in ("check", "demo")
        if cell["cell_type"] == "code" and mine and "NotImplementedError" not in cell["source"]:
            shell.run_cell(cell["source"], silent=True)
    failed = shell.run_cell(CHECK).error_in_exec
    assert ("may not use np.linalg" in str(failed)) == breaks
    assert (failed is None) != breaks

    status, out, _ = lsml("grade", "--json", write(cells))
    (result,) = [result for result in json.loads(out.splitlines()[-1])["exercises"] if result["id"] == "solve"]
    assert status == 0
    if breaks:
        assert (result["score"], result["verdict"]) == (0, "failed")
        assert result["message"] == "It uses `np.linalg`, which this exercise does not allow."
    else:
        assert result["score"] == result["points"]


def test_a_cell_that_is_too_long_to_be_looked_through_says_so(lsml, module, write):  # noqa: F811
    answer = f"def solve(a, b): return {BY_LIBRARY}  #" + "x" * 200_000
    _, out, _ = lsml("grade", write(released(module, {"solve": answer})))
    assert "was not run: it is longer than 200,000 characters" in out
    assert "0 of 9 points" in out
