"""What honest people write around a right answer costs them nothing: each habit on an exercise of every module."""

import json
import sys

import pytest

from autograder import curriculum
from autograder.grading import Grader
from autograder.sandbox import Limits

from .conftest import as_notebook, code, index, released

MODULES = curriculum.names()


def before(text):
    """In the answer's own cell, above it."""
    return lambda cells, place, name: cells[place].update(source=f"{text.format(name=name)}\n{cells[place]['source']}")


def behind(text):
    """In the answer's own cell, below it."""
    return lambda cells, place, name: cells[place].update(source=f"{cells[place]['source']}\n{text.format(name=name)}")


def added(text, first=True):
    """In a cell of its own, above or below the answer's."""
    return lambda cells, place, name: cells.insert(place + (not first), code(text.format(name=name)))


def retyped(change):
    """The answer in a cell of the student's own; the released one stands there untouched."""

    def edit(cells, place, name):
        cells.insert(place + 1, code(change(cells[place]["source"])))
        cells[place]["source"] = curriculum_stub(name)

    return edit


def curriculum_stub(name):
    return f"def {name}():\n    {curriculum.stub(name).splitlines()[-1]}"


def prompts(source):
    lines = source.strip().split("\n")
    return "\n".join([f">>> {lines[0]}", *(f"... {line}" if line else "..." for line in lines[1:])])


def indented(source):
    return "\n".join(f"    {line}" if line else "" for line in source.split("\n"))


def helper_in(role):
    """The answer as a helper that stands in an edited copy of an author's cell."""

    def edit(cells, place, name):
        authored = next(cell for cell in cells if cell["metadata"]["lsml"]["role"] == role)
        answer = cells[place]["source"]
        cells[place]["source"] = f"def {name}(*args, **kwargs):\n    return my_answer(*args, **kwargs)"
        moved = f"{answer}\nmy_answer = {name}\n"
        copied = {**authored, "id": "f00d", "source": f"{authored['source']}\n{moved}"}
        cells.insert(next(i for i, cell in enumerate(cells) if cell is authored) + 1, copied)

    return edit


def written(cells, place, name):
    """The answer in a module that a cell writes."""
    imports = "\n".join(c["source"] for c in cells if c["metadata"].get("lsml", {}).get("role") == "setup")
    module = f"%%writefile my_module.py\n{imports}\n{cells[place]['source']}"
    cells[place]["source"] = "from my_module import *"
    cells.insert(place, code(module))


def future(cells, place, name):
    """Annotations that name what does not exist, allowed by an import in another cell."""
    cells[place]["source"] += "\n\ndef later(x: NotYet) -> list[AlsoNot]: return x\nassert later(1) == 1"
    cells.insert(place, code("import os\nfrom __future__ import annotations"))


HABITS = {
    "%timeit before": before("%timeit -n1 -r1 {name}(3)"),
    "%%timeit above": before("%%timeit -n1 -r1"),
    "%%memit above": before("%%memit"),
    "%%time and options": before("%%time --no-raise-error"),
    "shell and magics": before("!ls\n%pwd\nfiles = !ls\nhere = %pwd\n?{name}\n{name}?"),
    "input": before("answer = input('continue? ')"),
    "a missing import": before("import a_package_that_is_not_here\nfrom apex import amp"),
    "a failing call": before("{name}()"),
    "a long experiment": behind("import time\nfor _ in range(10 ** 6):\n    time.sleep(1)"),
    "a long experiment before": before("import time\ntime.sleep(1000)"),
    "IPython's settings": before(
        "ip = get_ipython()\nip.config.InlineBackend.figure_format = 'retina'\nip.config['A']['b'] = 3\n"
        "assert 'IPKernelApp' not in ip.config or True\nip.user_ns['mine'] = 1\nassert mine == 1\nip.user_ns.get('x')"
    ),
    "a window": before(
        "import matplotlib\nmatplotlib.use('TkAgg')\nimport matplotlib.pyplot as plt\n"
        "plt.switch_backend('QtAgg')\nplt.figure()"
    ),
    "future annotations elsewhere": future,
    "a module written by a cell": written,
    "a helper in a copied setup cell": helper_in("setup"),
    "a helper in a copied check cell": helper_in("check"),
    "a helper in a copied demo cell": helper_in("demo"),
    "retyped behind !ls": retyped(lambda source: f"!ls\n%pwd\n{source}"),
    "retyped indented": retyped(indented),
    "retyped with prompts": retyped(prompts),
    "torch.compile": behind("import torch\n@torch.compile\ndef double(x): return 2 * x\n_y = double(torch.ones(3))"),
    "torch.compile with options": behind(
        "import torch\nassert torch.compile(dynamic=True)(lambda x: 2 * x)(torch.ones(1)) == 2"
    ),
    "a comparison with the library": behind("import sklearn.linear_model, torch.nn\nsklearn.linear_model.Ridge()"),
    "a forbidden library under a local name": added("import torch.nn.functional as p, sklearn as F", first=False),
    "comments to the end of the world": added("# " + "x" * 300_000),
    "definitions that come later": added("rate = undefined\ndef other(): return 1\nassert other() == 1"),
}
# Each habit on one module in `make test`, on all of them in `make test-full`.
PAIRS = [
    pytest.param(
        habit, module, id=f"{habit}-{module}", marks=[] if place % len(MODULES) == number else pytest.mark.slow
    )
    for place, habit in enumerate(HABITS)
    for number, module in enumerate(MODULES)
]


@pytest.fixture(scope="module")
def quick():
    """A grader that waits for nothing that never ends, and else as patient as one for a class."""
    with Grader(secret="honest", limits=Limits(cell_seconds=6.0, call_seconds=30.0, notebook_seconds=240.0)) as grader:
        yield grader


@pytest.mark.parametrize(("habit", "name"), PAIRS)
def test_an_honest_habit_costs_nothing(quick, tmp_path, habit, name):
    module = curriculum.load(name)
    # The first that stands on its own: a right answer, all others untouched.
    exercise = next(e for e in module.exercises if not e.extra)
    cells = released(module, {exercise.name: exercise.solution})
    HABITS[habit](cells, index(cells, exercise.name), exercise.name)
    path = tmp_path / f"{name}.ipynb"
    path.write_text(json.dumps(as_notebook(cells, module=name)))
    report = quick.grade(path)
    (result,) = [result for result in report.exercises if result.id == exercise.name]
    assert result.verdict == "passed", (result, report.notes)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python knows that syntax")
def test_python_of_a_later_version_is_named(quick, tmp_path):
    module = curriculum.load(MODULES[0])
    exercise = module.exercises[0]
    cells = released(
        module, {exercise.name: exercise.solution.replace(f"def {exercise.name}(", f"def {exercise.name}[T](")}
    )
    newer = {"lsml": {"module": module.name}, "language_info": {"name": "python", "version": "3.12.4"}}
    path = tmp_path / "later.ipynb"
    path.write_text(json.dumps({**as_notebook(cells), "metadata": newer}))
    report = quick.grade(path)
    assert report.exercises[0].verdict == "error"
    assert "SyntaxError" in report.exercises[0].message and "Python 3.12" in " ".join(report.notes)
