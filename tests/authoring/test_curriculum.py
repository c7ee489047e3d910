"""Reading an authored file: what comes out of a good one."""

import os

import pytest

from autograder import curriculum
from autograder.errors import UserError

from .conftest import NAME, TEXT, with_module


def test_reads_the_cells_in_order(module):
    found = [(cell.role, cell.name, cell.id.split("-")[0]) for cell in module.cells]
    assert found == [
        ("prose", None, "prose"),
        ("setup", None, "setup"),
        ("exercise", "total", "total"),
        ("hints", "total", "hints_total"),
        ("check", "total", "check_total"),
        ("demo", None, "demo"),
        ("exercise", "Counter", "Counter"),
        ("hints", "Counter", "hints_Counter"),
        ("check", "Counter", "check_Counter"),
        ("exercise", "mean", "mean"),
        ("hints", "mean", "hints_mean"),
        ("check", "mean", "check_mean"),
        ("written", "why_sum", "why_sum"),
    ]


def test_line_k_of_a_code_cell_stands_on_its_line_of_the_file(module):
    lines = TEXT.splitlines()
    for cell in module.cells:
        assert lines[cell.line - 1].startswith("# %%")
        for k, line in enumerate(cell.source.split("\n"), 1):
            assert line.lstrip("%") in lines[cell.line + k - 1]


def test_reads_what_an_exercise_promises(module):
    total, counter, mean = module.exercises
    assert (total.name, total.points, total.minutes, total.hints) == ("total", 2, 5, 2)
    assert total.forbids == ("numpy.sum",)
    assert total.docstring == "The sum of x, without numpy.sum."
    assert total.check.startswith('with check("total", ')
    assert counter.extra and counter.hints == 3
    assert mean.bug and module.exercise("mean") is mean
    assert module.title == "01 · Sums"
    assert module.max_score == 2 + 4, "an extra exercise counts for nothing"


def test_the_solution_has_the_answer_and_no_marker(module):
    scope = {}
    for exercise in module.exercises:
        assert "###" not in exercise.solution
        exec(exercise.solution, scope)
    assert scope["total"]([1.0, 2.5]) == 3.5
    assert scope["mean"]([1.0, 3.0]) == 2.0


def test_reads_a_question_with_its_model_answer_and_its_rubric(module):
    (question,) = module.questions
    assert module.question("why_sum") is question
    assert (question.name, question.points, question.answer) == ("why_sum", 3, "Because.")
    assert [(line.points, line.text) for line in question.rubric] == [
        (2, "Names the *cause*, and says how."),
        (1, "Gives an example."),
    ]
    assert module.written_points == 3


def test_the_stub_names_its_exercise(module):
    assert module.exercise("total").released == (
        "def total(x: list[float]) -> float:\n"
        '    """The sum of x, without numpy.sum."""\n'
        "    result = 0.0\n"
        "    # YOUR CODE HERE\n"
        '    raise NotImplementedError("total: write your answer here")\n'
        "    return result"
    )


def test_each_stub_names_the_function_in_which_it_stands():
    def cleared(source):
        kept = curriculum.released_source(source, "share").split("\n")
        return [line.partition('("')[2].partition(":")[0] for line in kept if "NotImplementedError" in line]

    region = "{0}### BEGIN SOLUTION\n{0}return 1\n{0}### END SOLUTION\n".format
    two = f"def share():\n{region('    ')}\n\ndef recover():\n    if True:\n{region('        ')}"
    assert cleared(two) == ["share", "recover"]
    methods = f"    def add(self):\n{region('        ')}\n    def get(self):\n{region('        ')}"
    assert cleared(f"class Sums:\n{methods}\n{two}") == ["Sums.add", "Sums.get", "share", "recover"]
    whole = "### BEGIN SOLUTION\ndef share():\n    return 1\n### END SOLUTION"
    assert cleared(whole) == ["share"], "outside any function it is the exercise"
    inner = f"def share():\n    def helper():\n{region('        ')}    return helper"
    assert cleared(inner) == ["share"]


def test_the_bug_is_swapped_in_with_its_own_indentation(module):
    assert module.exercise("mean").released == (
        "def mean(x: list[float]) -> float:\n"
        '    """The mean of x; nan where x is empty."""\n'
        "    if not x:\n"
        "        return 0.0\n"
        "    for value in x:\n"
        "        return value"
    )


def test_the_reference_is_setup_and_solutions_alone(module):
    assert [cell.id.split("-")[0] for cell in module.reference_cells] == ["setup", "total", "Counter", "mean"]
    assert module.reference_cells[1].source == module.exercise("total").solution
    assert "%matplotlib inline" in module.setup[0], "Jupytext's commented magics are magics again"


def test_cells_with_equal_sources_have_different_ids(tmp_path):
    twice = TEXT + "\n# %% [markdown]\n# same\n\n# %% [markdown]\n# same\n"
    ids = [cell.id for cell in curriculum.load(NAME, with_module(tmp_path, twice)).cells]
    assert len(set(ids)) == len(ids)
    assert ids[-1] == f"{ids[-2]}-2"


def test_an_id_survives_changes_elsewhere(module, tmp_path):
    changed = TEXT.replace("Loop.", "Use a loop.").replace("# Prose about", "# Much prose about")
    others = {cell.id for cell in curriculum.load(NAME, with_module(tmp_path, changed)).cells}
    kept = {cell.id for cell in module.cells} & others
    assert len(kept) == len(module.cells) - 1, "only the changed prose cell has a new id"


def test_loading_again_reads_again_only_after_a_change(checkout):
    first = curriculum.load(NAME, checkout)
    assert curriculum.load(NAME, checkout) is first
    with_module(checkout, TEXT.replace("points=2", "points=3"))
    os.utime(first.files.notebook, ns=(1, 1))
    assert curriculum.load(NAME, checkout).exercise("total").points == 3


def test_names_and_resolve(checkout):
    with_module(checkout, TEXT, "02_more")
    (checkout / "solutions" / "notes.py").write_text("")
    assert curriculum.names(checkout) == ["01_sums", "02_more"]
    for wanted in ("01", "01_sums", "solutions/01_sums/notebook.py", checkout / "course" / "01_sums" / "01_sums.ipynb"):
        assert curriculum.resolve(wanted, checkout) == "01_sums"
    for wanted in ("03", "sums", "0", "", "notes"):
        with pytest.raises(UserError, match=r"no module '.*'; there are: 01_sums, 02_more"):
            curriculum.resolve(wanted, checkout)


def test_loading_a_module_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no module '99_none'"):
        curriculum.load("99_none", tmp_path)


@pytest.mark.parametrize(
    ("said", "needs", "helped_by"),
    [
        ("module 01 (descent).", ("01",), ()),
        ("modules 01, 03 and 05; NumPy.", ("01", "03", "05"), ()),
        ("modules 01 to 04, and module 00.", ("01", "02", "03", "04", "00"), ()),
        ("module 02. Modules 03 and 05 help.", ("02",), ("03", "05")),
        ("patience.", (), ()),
    ],
)
def test_the_opening_says_what_a_module_needs(said, needs, helped_by, tmp_path):
    text = TEXT.replace("naïve and otherwise.", f"naïve and otherwise.\n#\n# **You need** {said}")
    module = curriculum.load(NAME, with_module(tmp_path, text))
    assert (module.needs, module.helped_by) == (needs, helped_by)
