"""Every way to write a module wrongly gets one line: file, line, what is wrong."""

import re

import pytest

from autograder.authoring.build import build, released_text
from autograder.authoring.rules import problems
from autograder.curriculum import load
from autograder.errors import UserError

from .conftest import NAME, TEXT, with_module

MARKER = '# %% exercise="total" points=2 minutes=5 forbids=["numpy.sum"]'
DEF = "def total(x: list[float]) -> float:"

ANSWER = '        # return float("nan")\n    # return total(x) / len(x)'

RUBRIC = "#\n# ### RUBRIC\n# - 2: Names the *cause*, and\n#   says how.\n#\n# - 1: Gives an example.\n"

# What is replaced, by what, the text of the line complained about, and the complaint.
MALFORMED = {
    "check of an unknown exercise": ('check="total"', 'check="totl"', 'check="totl"', "unknown exercise 'totl'"),
    "hints of an unknown exercise": ('hints="total"', 'hints="totl"', 'hints="totl"', "unknown exercise 'totl'"),
    "check of another exercise": (
        'check("total"',
        'check("mean"',
        'check("mean"',
        'block `with check("total", forbids=',
    ),
    "check of nothing known": ('check("total"', 'check("totl"', 'check("totl"', "must be in a block"),
    "check that leaves a rule out": (', forbids=["numpy.sum"]):', "):", 'check("total")', 'forbids=["numpy.sum"]):`'),
    "check with a rule of its own": (
        'check("mean")',
        'check("mean", forbids=["x"])',
        'forbids=["x"]',
        "must be in a block",
    ),
    "check without a check block": (
        'with check("total", forbids=["numpy.sum"]):',
        "if True:",
        '%% check="total"',
        "must stand in a block",
    ),
    "duplicate name": ('exercise="mean"', 'exercise="total"', 'exercise="total" points=4', "already the name"),
    "written named as an exercise": ('written="why_sum"', 'written="mean"', 'written="mean"', "already the name"),
    "exercise without check": ('# %% check="total"', '# %% tags=["demo"]', MARKER, "'total' has no check cell"),
    "two checks": ('# %% tags=["demo"]', '# %% check="total"', '# %% check="total"\nprint', "has its check on line"),
    "check before its exercise": (MARKER, '# %% check="mean"\n\n' + MARKER, '%% check="mean"', "must stand between"),
    "hints away from the exercise": (
        "# %% [markdown] hints=",
        "# %% [markdown]\n# x\n\n# %% [markdown] hints=",
        'hints="total"',
        "right after its exercise cell",
    ),
    "check that leaves a need out": (
        "extra=true",
        'extra=true needs="triton"',
        'check("Counter")',
        ', needs="triton"):`',
    ),
    "no heading": ("### 1.1 `total`", "### `total`", MARKER, "no heading `### 1.N `total` · essential · level 2"),
    "heading that tells other minutes": ("level 4 of 4 · 15", "level 4 of 4 · 5", 'exercise="mean"', "no heading"),
    "no SOLUTION markers": (
        "    ### BEGIN SOLUTION\n    for",
        "    for",
        "    ### END SOLUTION",
        "without a ### BEGIN SOLUTION",
    ),
    "no END SOLUTION": (
        "    ### END SOLUTION\n    return result",
        "    return result",
        "    ### BEGIN SOLUTION",
        "has no ### END SOLUTION",
    ),
    "no markers at all": (
        "    ### BEGIN SOLUTION\n    for value in x:\n        result += value\n    ### END SOLUTION\n",
        "    result = sum(x)\n",
        MARKER,
        "needs ### BEGIN SOLUTION",
    ),
    "nested markers": (
        "    for value in x:",
        "    ### BEGIN SOLUTION\n    for value in x:",
        "",
        "inside the region that began on line 21",
    ),
    "marker that shares its line": (
        "    result = 0.0",
        "    result = 0.0  ### BEGIN SOLUTION",
        "0.0  ###",
        "stands alone on its line",
    ),
    "marker with two hashes": (
        "    ### BEGIN SOLUTION\n    for",
        "    ## BEGIN SOLUTION\n    for",
        "    ## BEGIN",
        "stands alone on its line",
    ),
    "written answer without markers": (
        "# ### BEGIN SOLUTION\n# Because.\n" + RUBRIC + "# ### END SOLUTION",
        "# Because.",
        "written=",
        "needs ### BEGIN SOLUTION",
    ),
    "no model answer": ("# Because.\n", "#\n", "written=", "'why_sum' has no model answer"),
    "no rubric": (RUBRIC, "", "written=", "the rubric of 'why_sum' has 0 lines; write two to four below ### RUBRIC"),
    "rubric of one line": (
        "#\n# - 1: Gives an example.\n",
        "",
        "written=",
        "the rubric of 'why_sum' has 1 line; write",
    ),
    "rubric of five lines": (
        "# - 1: Gives",
        "# - 0.5: a\n# - 0.25: b\n# - 0.25: c\n# - 0: Gives",
        "written=",
        "has 5 lines",
    ),
    "rubric that sums to less": ("# - 1: Gives", "# - 0.5: Gives", "written=", "'why_sum' sum to 2.5, and points=3"),
    "rubric line worth nothing": ("# - 1: Gives", "# - 1: x\n# - 0: Gives", "written=", "'why_sum' is worth nothing"),
    "rubric line without points": ("# - 1: Gives", "# - Gives", "# - Gives", "is '- POINTS: what the answer says'"),
    "rubric line with a minus": (
        "# - 1: Gives",
        "# - -1: Gives",
        "# - -1: Gives",
        "is '- POINTS: what the answer says'",
    ),
    "rubric line without words": ("- 1: Gives an example.", "- 1:", "- 1:", "is '- POINTS: what the answer says'"),
    "rubric that begins in the middle": (
        "# - 2: Names",
        "#   Names",
        "#   Names",
        "is '- POINTS: what the answer says'",
    ),
    "rubric with two hashes": (
        "# ### RUBRIC",
        "# ## Rubric:",
        "## Rubric:",
        "stands alone on its line, as '### RUBRIC'",
    ),
    "rubric twice": (
        "# - 1: Gives",
        "# ### RUBRIC\n# - 1: Gives",
        "### RUBRIC\n# - 1",
        "### RUBRIC stands once, between",
    ),
    "rubric before the answer": (
        "# Why?",
        "# Why?\n# ### RUBRIC",
        "### RUBRIC",
        "between the SOLUTION markers of a written question",
    ),
    "rubric of an exercise": (
        "    for value in x:",
        "    ### RUBRIC\n    for value in x:",
        "    ### RUBRIC",
        "between the SOLUTION markers of a written question",
    ),
    "rubric in prose": ("# Prose about", "# ### RUBRIC", "### RUBRIC", "has no place in a cell with the role prose"),
    "markers in prose": (
        "# Prose about",
        "# ### BEGIN SOLUTION",
        "### BEGIN SOLUTION",
        "has no place in a cell with the role prose",
    ),
    "hidden tests in a check": (
        "    assert total(",
        "    ### BEGIN HIDDEN TESTS\n    assert total(",
        "HIDDEN",
        "has no place in a cell with the role check",
    ),
    "bug=true without BUG": (" extra=true", " bug=true", " bug=true", "has bug=true and no ### BEGIN BUG"),
    "BUG without bug=true": (" bug=true", "", 'exercise="mean"', "has a BUG region and no bug=true"),
    "bug not commented out": (
        "        # return 0.0",
        "        return 0.0",
        "        return 0.0",
        "must be commented out",
    ),
    "bug that is not Python": (
        "    #     return value",
        "    # (return value",
        'exercise="mean"',
        "is not valid Python",
    ),
    "bug that is the answer": (
        "        # return 0.0\n    # for value in x:\n    #     return value",
        ANSWER,
        'exercise="mean"',
        "released with its right answer",
    ),
    "import in an exercise cell": (
        DEF,
        "import math\n\n\n" + DEF,
        "import math",
        "only def and class, not 'import math'",
    ),
    "constant in an exercise cell": (
        DEF,
        "START = 0.0\n\n\n" + DEF,
        "START =",
        "only def and class, not 'START = 0.0'",
    ),
    "call in an exercise cell": (
        "    return result\n",
        "    return result\n\n\nprint(total([]))\n",
        "print(total([]))",
        "only def and class, not 'print",
    ),
    "definition of another name": (
        DEF,
        DEF.replace("total", "add_up"),
        MARKER,
        "defines no function or class of that name",
    ),
    "syntax error in an exercise": (DEF, DEF[:-1], DEF[:-1], "syntax error"),
    "syntax error in a demo": ("print(total([1.0]))", "print(total([1.0])", "print(", "syntax error"),
    "syntax error in the setup": ("import numpy as np", "import numpy as", "import numpy as", "syntax error"),
    "points of 0": ("points=2", "points=0", MARKER.replace("2", "0", 1), "points must be an integer from 1 to 4"),
    "points of 5": ("points=2", "points=5", MARKER.replace("2", "5", 1), "points must be an integer from 1 to 4"),
    "points of a half": ("points=2", "points=2.5", "points=2.5", "points must be an integer from 1 to 4"),
    "points as text": ("points=2", 'points="2"', 'points="2"', "points must be an integer from 1 to 4"),
    "points that are true": ("points=2", "points=true", "points=true", "points must be an integer from 1 to 4"),
    "no points": ("points=2 ", "", 'exercise="total"', "points= is missing"),
    "no minutes": (" minutes=5", "", 'exercise="total"', "minutes= is missing"),
    "minutes of 0": ("minutes=5", "minutes=0", 'exercise="total"', "minutes must be"),
    "extra as text": ("extra=true", 'extra="yes"', 'extra="yes"', "extra must be true or false"),
    "trains as text": ('forbids=["numpy.sum"]', 'trains="sums"', 'trains="', "trains must be a list of skills"),
    "a skill that the opening does not promise": (
        'forbids=["numpy.sum"]\ndef',
        'forbids=["numpy.sum"] trains=["sums"]\ndef',
        'trains=["sums"]',
        "'total' trains 'sums', which the opening does not promise",
    ),
    "a skill that no exercise trains": (
        "naïve and otherwise.",
        "naïve and otherwise. **Skills**: sums.",
        "# %% [markdown]",
        "the opening promises 'sums', and no exercise has it in trains=[...]",
    ),
    "forbids as text": ('forbids=["numpy.sum"]', 'forbids="numpy.sum"', 'forbids="', "forbids must be a list"),
    "needs as a list": ("extra=true", 'extra=true needs=["triton"]', "needs=", "needs must be a package"),
    "needs of a version": ("extra=true", 'extra=true needs="triton==3"', "needs=", "needs must be a package"),
    "points on a check": ('check="total"', 'check="total" points=2', 'check="total"', "unknown key 'points'"),
    "unknown key": ("minutes=5", "minutes=5 level=2", "level=2", "unknown key 'level'"),
    "unknown key on prose": (
        "# %% [markdown]\n# # 01",
        '# %% [markdown] lang="en"\n# # 01',
        "lang=",
        "unknown key 'lang'",
    ),
    "unknown tag": ('tags=["demo"]', 'tags=["plot"]', 'tags=["plot"]', "tags must be"),
    "two roles": ('check="total"', 'check="total" tags=["demo"]', 'check="total"', "one role, not check and demo"),
    "code cell without a role": ('# %% tags=["demo"]', "# %%", "# %%\nprint", "this code cell has no role"),
    "markdown exercise": (
        MARKER,
        MARKER.replace("%%", "%% [markdown]"),
        MARKER.replace("%%", "%% [markdown]"),
        "must be code",
    ),
    "hints as code": ('[markdown] hints="total"', 'hints="total"', 'hints="total"', "must be [markdown]"),
    "unquoted name": ('exercise="total"', "exercise=total", "exercise=total", "cannot read"),
    "unclosed quote": ('check="total"', 'check="total', 'check="total', "cannot read"),
    "titled cell": ('# %% tags=["demo"]', '# %% A plot tags=["demo"]', "# %% A plot", "cannot read"),
    "not a name": ('written="why_sum"', 'written="why sum"', 'written="why sum"', "must be a Python name"),
    "keyword as a name": ('written="why_sum"', 'written="lambda"', "lambda", "must be a Python name"),
    "name of nothing": ('written="why_sum"', 'written=""', 'written=""', "must be a Python name"),
    "reserved name": ('written="why_sum"', 'written="run"', 'written="run"', "a name that lsml uses itself"),
    "reserved prefix": ('written="why_sum"', 'written="check_total"', 'written="check', "a name that lsml uses itself"),
    "forbidden and not said": (
        "The sum of x, without numpy.sum.",
        "The sum of x.",
        MARKER,
        "its docstring does not say so",
    ),
    "no docstring": ('    """Counts."""\n', "", 'exercise="Counter"', "has no docstring"),
    "no type hint": (
        'x: list[float]) -> float:\n    """The sum',
        'x) -> float:\n    """The sum',
        MARKER,
        "no type hint for x",
    ),
    "no return type": ('-> float:\n    """The sum', ':\n    """The sum', MARKER, "no type hint for what it returns"),
    "one hint": ("#\n# <details><summary>Hint 2</summary>Add.</details>\n", "", MARKER, "has 1 folded hints"),
    "no start": ('checking.start("01_sums", total=3)', "pass", 'tags=["setup"]', "must call checking.start("),
    "start with another total": ("total=3)", "total=4)", "total=4)", 'must be checking.start("01_sums", total=3)'),
    "start of another module": (
        'start("01_sums"',
        'start("02_sums"',
        'start("02_sums"',
        'must be checking.start("01_sums", total=3)',
    ),
    "two starts": (
        "import numpy as np",
        'checking.start("01_sums", total=3)',
        "inline\nchecking.start",
        "a second time",
    ),
    "title with another number": ("# # 01", "# # 02", "# %% [markdown]", "title begins with the module's number"),
    "no title": (
        "# # 01 · Sums\n",
        "",
        "# %% [markdown]",
        "the first cell must be markdown that begins with the title",
    ),
    "code before the first marker": (
        "# %% [markdown]\n# # 01",
        "x = 1\n# %% [markdown]\n# # 01",
        "x = 1",
        "every cell must begin with a '# %%' marker",
    ),
    "marker in a string": ('"""Counts."""', '"""Counts.\n# %% not a cell\n    """', "", "no '# %%' inside a string"),
}


def complaint(root, text) -> str:
    """What `lsml build` says of a file; it must be one line."""
    with pytest.raises(UserError) as caught:
        released_text(NAME, with_module(root, text))
    assert "\n" not in str(caught.value), caught.value
    return str(caught.value)


@pytest.mark.parametrize("case", MALFORMED)
def test_says_file_line_and_what_is_wrong(tmp_path, case):
    old, new, pointed_at, what = MALFORMED[case]
    assert old in TEXT
    text = TEXT.replace(old, new, 1)
    said = complaint(tmp_path, text)
    found = re.fullmatch(rf"solutions/{NAME}/notebook\.py:(\d+): (.*)", said)
    assert found, said
    assert what in found[2]
    if pointed_at:
        at = text.index(pointed_at)
        first, last = (text[:end].count("\n") + 1 for end in (at, at + len(pointed_at)))
        assert first <= int(found[1]) <= last, f"line {found[1]}, not {first}: {said}"


def test_the_module_that_all_these_bend_is_well_formed(module):
    assert problems(module) == []


def test_every_broken_rule_is_told_at_once(tmp_path):
    text = TEXT.replace("points=3", "points=3").replace("total=3", "total=9").replace('    """Counts."""\n', "")
    assert len(problems(load(NAME, with_module(tmp_path, text)))) == 2


def test_more_than_eight_main_exercises(tmp_path):
    more = "".join(
        f"\n# %% [markdown]\n# ### 1.{n + 4} `one_{n}` · important · level 1 of 4 · 1 min\n"
        f'\n# %% exercise="one_{n}" points=1 minutes=1\ndef one_{n}() -> int:\n    """One."""\n'
        "    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION\n\n"
        f'# %% [markdown] hints="one_{n}"\n# <details>a</details>\n# <details>b</details>\n\n'
        f'# %% check="one_{n}"\nwith check("one_{n}"):\n    assert one_{n}() == 1\n'
        for n in range(8)
    )
    text = TEXT.replace("total=3", "total=11") + more
    line = next(number for number, line in enumerate(text.splitlines(), 1) if 'exercise="one_7"' in line)
    assert complaint(tmp_path, text) == (
        f"solutions/{NAME}/notebook.py:{line}: 9 main exercises are more than 8; mark what goes beyond with extra=true"
    )
    extra = text.replace('"one_7" points=1', '"one_7" extra=true points=1')
    assert problems(load(NAME, with_module(tmp_path, extra))) == []


def test_a_file_that_is_not_text(tmp_path):
    with_module(tmp_path, "")
    (tmp_path / "solutions" / NAME / "notebook.py").write_bytes(b"# %% [markdown]\n# # T\xff\xfe\n")
    with pytest.raises(UserError, match=r"solutions/01_sums/notebook\.py: is not UTF-8 text"):
        load(NAME, tmp_path)


@pytest.mark.parametrize("text", ["", "\n\n", "x = 1\n"])
def test_a_file_without_cells(tmp_path, text):
    assert complaint(tmp_path, text).startswith(f"solutions/{NAME}/notebook.py:1: ")


def test_names_of_files(tmp_path):
    for name in ("notes", "1_sums", "03_Sums"):
        with_module(tmp_path, TEXT, name)
    (tmp_path / "solutions" / "notes.py").write_text("")
    with_module(tmp_path, TEXT)
    with_module(tmp_path, TEXT.replace("01_sums", "01_other"), "01_other")
    with pytest.raises(UserError) as caught:
        build([NAME], tmp_path)
    assert [line.split(":")[0] for line in str(caught.value).split("\n")] == [
        "solutions/03_Sums",
        "solutions/1_sums",
        "solutions/notes",
        "solutions/notes.py",
        "solutions/01_other",
        "solutions/01_sums",
    ]
    assert not (tmp_path / "course").exists()
