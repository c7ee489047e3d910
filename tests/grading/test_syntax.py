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
    plain = syntax.plain(source)
    syntax.normal(plain)
    syntax.defined(plain)
    syntax.newly_defined(plain, "import numpy")
    syntax.definitions(plain, "import numpy")
    syntax.too_hard(plain)
    assert "".join(syntax.chunks(plain)).split() == plain.split()
    syntax.forbidden({"f": ["np.linalg"], "x": [".a"]}, [plain, plain])


@pytest.mark.parametrize(
    "one, other",
    [
        ("def f(x):\n    return x", "def f( x ):\n\n        return x  # done\n\n"),
        ("def f(x):\n    '''Doc.'''\n    return x", "def f(x):\n    return x"),
        ("# nothing", ""),
        ("x = 'a'", 'x = "a"'),
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


@pytest.mark.parametrize(
    "source, plain",
    [
        ("x = 1", "x = 1"),
        ("!ls\nx = 1", "pass\nx = 1"),
        ("    %pwd\n    x = 1", "pass\nx = 1"),
        (">>> def f(x):\n...     return x", "def f(x):\n    return x"),
        ("In [3]: x = 1\n   ...: y = 2", "x = 1\ny = 2"),
        ("%%time\n%timeit -n1 -r1 f(3)\nx = 1", "\npass\nx = 1"),
        ("%%memit\nx = 1", "\nx = 1"),
        ("%%bash\nrm -rf /", ""),
        ("%time x = f(1)", "x = f(1)"),
        ("x = %time f(1)", "x = f(1)"),
        ("files = !ls \\\n  -la\nx = 1", "files = []\n\nx = 1"),
        ("np.mean?\n?np.mean\nx = 1", "pass\npass\nx = 1"),
        ('!ls\nx = """\n%d items\n!"""', 'pass\nx = """\n%d items\n!"""'),
        ("!ls\nx = (7\n  %4)", "pass\nx = (7\n  %4)"),
        ("!echo (it's\ny = '=%'  # = !\n%who", "pass\ny = '=%'  # = !\npass"),
    ],
)
def test_a_cell_as_plain_python(source, plain):
    assert syntax.plain(source) == plain


def test_a_cell_is_run_in_parts_that_keep_their_lines():
    source = "import a\nimport b\nx = 1\ny = 2\n@mark\ndef f(): pass\nclass C: pass\nz = 3; w = 4\nimport d; v = 5"
    parts = syntax.chunks(source)
    assert [part.strip() for part in parts] == [
        "import a", "import b", "x = 1\ny = 2", "@mark\ndef f(): pass", "class C: pass", "z = 3; w = 4",
        "import d; v = 5",
    ]  # fmt: skip
    lines = source.split("\n")
    for part in parts:
        first = len(part) - len(part.lstrip("\n"))
        assert part.lstrip("\n").split("\n")[0] == lines[first]
    assert syntax.chunks("x = 1\ny = 2") == ["x = 1\ny = 2"]
    assert len(syntax.chunks("def f(): pass\n" * 5_000)) == syntax.MOST_CHUNKS


def test_what_is_too_hard_to_read_says_why():
    assert syntax.too_hard("x = (") == syntax.too_hard("x = 1") == ""
    assert "200,000" in syntax.too_hard("#" * 200_001)
    assert "dots" in syntax.too_hard("import a" + ".a" * 300)
    assert "deeply" in syntax.too_hard("1" + "+1" * 90_000)


def test_two_rules_of_one_notebook_and_a_name_that_nobody_can_resolve():
    cells = ["import numpy as np", "def f(x): return np.linalg.norm(x)", "def g(x): return x"]
    assert syntax.forbidden({"f": ["np.linalg", ".var"], "g": ["np.linalg"]}, cells) == {"f": ("np.linalg",)}
    names = [f"x{i}" for i in range(1_500)]
    web = "\n".join(f"{name} = [{', '.join(names)}]" for name in names[:20]) * 3
    assert syntax.forbidden({"f": ["np.linalg"]}, [web, "def f(x): return x1"]) in ({}, {"f": None})
