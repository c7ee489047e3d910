"""Nothing that can stand in a notebook stops the grader's readers, and no text costs more than its size."""

import json
import random
import time

import pytest

from autograder.authoring.release import released_notebook
from autograder.classroom import highlighting, sanitize
from autograder.classroom.present import dumps, present
from autograder.grading import reading, syntax
from autograder.grading.reading import Unreadable
from autograder.grading.rebuild import module_of, rebuild

from .conftest import as_notebook, code, released
from .fuzzing import notebook, text

SIZES = [pytest.param(1, id="sample"), pytest.param(20, id="whole", marks=pytest.mark.slow)]


@pytest.mark.parametrize("times", SIZES)
def test_mutated_notebooks_are_read_or_refused(module, times, pytestconfig):
    rng = random.Random(11)
    whole = as_notebook(released(module, "all"))
    shown = json.loads(json.dumps(released_notebook(module)))
    for cell in shown["cells"]:
        cell["source"] = "".join(cell["source"])
    read = 0
    for _ in range(100 * times):
        content = notebook(rng, whole)
        try:
            found = reading.parse(content)
            rebuilt = rebuild(module, found)
            dumps(present(shown, rebuilt)).encode()
            json.dumps([cell.source for cell in rebuilt.cells]).encode()
            assert len({cell.label for cell in rebuilt.cells}) == len(rebuilt.cells)
            read += 1
            module_of(found, "x.ipynb", module.files.notebook.parents[2])
        except Unreadable as refusal:
            assert str(refusal).count("\n") == 0
    assert read > 40 * times, "most are still notebooks"


@pytest.mark.parametrize("times", SIZES)
def test_strings_are_read_rewritten_and_shown(times):
    rng = random.Random(11)
    for _ in range(500 * times):
        source = text(rng)
        plain = syntax.plain(source)
        assert syntax.plain(plain) == plain or syntax.tree(plain) is None
        if syntax.tree(plain) is not None:
            assert "".join(syntax.chunks(plain)).replace("\n", "") == plain.replace("\n", "")
        syntax.normal(plain)
        syntax.definitions(plain, "import numpy")
        syntax.forbidden({"x": ["np.linalg", ".a"], "f": ["a"]}, [plain])
        sanitize.markdown(source)
        highlighting.code(source)
        syntax.forget()


# Each is repeated up to the size that is asked for.
UNITS = {
    "spaces": (" ", "x y"), "newlines": ("\n", "a"), "dots": (".a", ""), "an import": (".a", "\n"),
    "names": ("a,", "b"),
    "statements": ("x = x\n", ""), "definitions": ("def f(x=f): return x\n", ""), "magics": ("%a\n", "x y"),
    "shell": ("x = !ls\n", ""), "questions": ("a?\n", ""), "a question": ("a.a", "?"), "brackets": ("(", "!"),
    "quotes": ("'", "\n!"), "triple quotes": ('"""\\', "\n!"), "backslashes": ("\\\n", "!"), "prompts": (">>> \n", ""),
    "equals": ("= ", "!x y"), "comments": ("#\n", "x y"), "a comment": ("# ", ""), "aliases": ("a = b = a\n", ""),
    "lists": ("a = [a, a]\n", ""), "attributes": ("a.a = a.a\n", ""), "imports": ("import a.b as a\n", ""),
    "ifs": ("if a:\n  a = a.b\n", ""), "lambdas": ("a = lambda a: a\n", ""), "calls": ("a(a, a.a)\n", ""),
    "strings": ("'a' ", ""), "stars": ("*_", ""), "links": ("[a](", ""), "tags": ("<b>", ""), "quoted": ("> ", "a"),
    "items": ("- a\n ", ""), "tables": ("|-", "\n"), "entities": ("&", ""), "dollars": ("$", ""),
}  # fmt: skip
START = {"an import": "import a", "a question": "x = ", "quotes": "!ls\n", "magics": "%a\n"}
READERS = {
    "plain": lambda source: syntax.plain(source) and syntax.chunks(syntax.plain(source)),
    "normal": lambda source: syntax.normal(syntax.plain(source)),
    "forbidden": lambda source: syntax.forbidden({"a": ["b.c"], "x": [".a"]}, [syntax.plain(source)]),
    "markdown": sanitize.markdown,
    "colours": highlighting.code,
}


def growth(read, make, size):
    """How much more of the processor's time four times the size takes; the least of three tries."""
    found = []
    for _ in range(3):
        spent = []
        for characters in (size, 4 * size):
            source = make(characters)
            syntax.forget()
            started = time.process_time()
            read(source)
            spent.append(time.process_time() - started)
        found.append((spent[1] + 0.02) / (spent[0] + 0.02))
        if found[-1] < 7:
            break
    return min(found)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("unit", UNITS)
def test_time_grows_as_the_text_does(unit, reader):
    repeated, end = UNITS[unit]

    def make(characters):
        return START.get(unit, "") + repeated * (characters // len(repeated)) + end

    size = 4_800 if reader == "markdown" else 12_000
    assert growth(READERS[reader], make, size) < 9, "linear is 4, quadratic 16"


NOTEBOOKS = {
    "parts of an exercise's cell": lambda cells, n: [
        {**cells[2], "source": f"    x{i} = {i}\n" * 30} for i in range(n)
    ],
    "parts that open a block": lambda cells, n: [{**cells[2], "source": f"if x{i}:"} for i in range(n)],
    "halves of added cells": lambda cells, n: [code(f"    x{i} = {i}") for i in range(n)],
    "added cells": lambda cells, n: [code(f"def mean_square(x):\n    return {i}") for i in range(n)],
    "one long added cell": lambda cells, n: [code("x = np.ones(3)\n" * 8 * n)],
    "copies of a demo": lambda cells, n: [{**c, "source": "y = 1"} for c in cells for _ in range(n // 9)],
    "empty cells": lambda cells, n: [code("") for _ in range(n)],
    "notes": lambda cells, n: [{"cell_type": "markdown", "metadata": {}, "source": "\n" * 500 + "*a"}] * n,
}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_time_grows_as_the_notebook_does(module, name):
    shown = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}

    def make(cells):
        whole = released(module, "all")
        return json.dumps(as_notebook([*whole[:3], *NOTEBOOKS[name](whole, cells), *whole[3:]])).encode()

    def read(content):
        present(shown, rebuild(module, reading.parse(content)))

    assert growth(read, make, 100) < 9, "linear is 4, quadratic 16"
