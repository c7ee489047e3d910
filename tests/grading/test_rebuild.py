"""What is run of a submission, whatever happened to its cells."""

import json
import sys

import pytest

from autograder.grading import reading
from autograder.grading.reading import Unreadable
from autograder.grading.rebuild import module_of, rebuild

from .conftest import TOY, as_notebook, code, index, released

ANSWER = "def mean_square(x):\n    y = x * x\n    return y.mean()"


def notebook(cells, **more):
    return reading.parse(json.dumps(as_notebook(cells, **more)).encode())


def run(module, cells):
    return rebuild(module, notebook(cells))


def sources(rebuilt, kind=None):
    return [cell.source for cell in rebuilt.cells if kind in (None, cell.kind)]


def of(rebuilt, name):
    return [cell.source for cell in rebuilt.cells if cell.kind == "exercise" and cell.label.endswith(f"({name})")]


ALL = {"mean_square", "last", "root_mean_square", "solve", "total", "Counter"}


def test_untouched_is_unanswered(module):
    assert run(module, released(module)).unanswered == ALL


def test_the_reference_is_answered(module):
    rebuilt = run(module, released(module, "all"))
    assert rebuilt.unanswered == frozenset() and rebuilt.notes == ()
    assert sources(rebuilt, "setup") == list(module.setup)
    assert sources(rebuilt, "exercise") == [exercise.solution for exercise in module.exercises]
    assert len({cell.label for cell in rebuilt.cells}) == len(rebuilt.cells)


@pytest.mark.parametrize(
    "change",
    [
        lambda source: source.replace("    ", "\t"),
        lambda source: f"# my notes\n\n{source}\n\n\n# more",
        lambda source: source.replace("\n", "\r\n"),
        lambda source: source.replace("# YOUR CODE HERE", ""),
        lambda source: source.replace(': write your answer here"', '_of_before: write your answer here"'),
        lambda source: source.replace('"""Mean of the squares of x, shape (n,): a float."""', '"""Mine."""'),
        lambda source: "",
        lambda source: "# only a comment",
    ],
)
def test_unanswered_whatever_its_layout(module, change):
    source = change(module.exercise("mean_square").released)
    assert "mean_square" in run(module, released(module, {"mean_square": source})).unanswered


def test_the_released_bug_is_unanswered(module):
    assert "last" in run(module, released(module, {"last": "def last(x): return x[0]  # looks right"})).unanswered
    assert "last" not in run(module, released(module, {"last": "def last(x): return x[1]"})).unanswered


def test_a_deleted_exercise_is_unanswered(module):
    cells = released(module, {"mean_square": ANSWER})
    del cells[index(cells, "mean_square")]
    rebuilt = run(module, cells)
    assert "mean_square" in rebuilt.unanswered and of(rebuilt, "mean_square") == []


@pytest.mark.parametrize("known_by", ["lsml", "grade_id", "id", "nothing but the other two"])
def test_a_cell_is_known_by_any_of_its_marks(module, known_by):
    cells = released(module, {"mean_square": ANSWER})
    cell = cells[index(cells, "mean_square")]
    if known_by != "lsml":
        del cell["metadata"]["lsml"]
    if known_by not in ("grade_id", "nothing but the other two"):
        del cell["metadata"]["nbgrader"]
    if known_by != "id":
        cell["id"] = "f3a1"
    assert of(run(module, cells), "mean_square") == [ANSWER]


def test_cells_that_lost_every_mark_are_known_by_their_source(module):
    cells = [{**cell, "metadata": {}, "id": str(i)} for i, cell in enumerate(released(module))]
    rebuilt = run(module, cells)
    assert rebuilt.unanswered == ALL
    assert sources(rebuilt, "added") == []


def test_an_answer_without_any_mark_is_known_by_what_it_defines(module):
    cells = released(module)
    cells[index(cells, "mean_square")] = code(ANSWER)
    rebuilt = run(module, cells)
    assert "mean_square" not in rebuilt.unanswered
    assert ANSWER in sources(rebuilt, "added")


def test_an_answer_in_a_cell_of_its_own_is_not_undone_by_the_stub(module):
    for place in (0, 3, 99):
        cells = released(module)
        cells.insert(place, code(ANSWER))
        rebuilt = run(module, cells)
        assert "mean_square" not in rebuilt.unanswered and of(rebuilt, "mean_square") == []
        assert rebuilt.answers["mean_square"].endswith(ANSWER)


def test_metadata_beats_ids(module):
    cells = released(module, {"mean_square": ANSWER})
    cells[index(cells, "mean_square")]["id"] = "last"
    assert of(run(module, cells), "mean_square") == [ANSWER]


def test_a_retyped_cell_counts(module):
    cells = released(module, {"mean_square": ANSWER})
    cells[index(cells, "mean_square")]["cell_type"] = "markdown"
    assert of(run(module, cells), "mean_square") == [ANSWER]


@pytest.mark.parametrize("marked", [True, False], ids=["marks copied", "marks lost"])
@pytest.mark.parametrize("line", [1, 2])
def test_a_cell_cut_in_two_is_put_together(module, marked, line):
    lines = ANSWER.split("\n")
    cells = released(module, {"mean_square": "\n".join(lines[:line])})
    place = index(cells, "mean_square")
    rest = code("\n".join(lines[line:]), metadata=cells[place]["metadata"] if marked else {})
    cells.insert(place + 1, rest)
    rebuilt = run(module, cells)
    assert of(rebuilt, "mean_square") == [ANSWER]
    label = next(cell.label for cell in rebuilt.cells if cell.label.endswith("(mean_square)"))
    assert rebuilt.place(label, 1) == (label, 1)
    second, number = rebuilt.place(label, 3)
    assert second.startswith("cell [3]") and number == 3 - line


def test_a_cell_cut_between_two_functions_runs_in_two_parts(module):
    cells = released(module, {"mean_square": "def square(x):\n    return x * x"})
    place = index(cells, "mean_square")
    cells.insert(place + 1, code("def mean_square(x):\n    return square(x).mean()", metadata=cells[place]["metadata"]))
    assert len(of(run(module, cells), "mean_square")) == 2


def test_a_cell_pasted_twice_counts_twice_and_in_order(module):
    cells = released(module, {"mean_square": "def mean_square(x): return 0"})
    cells.append({**cells[index(cells, "mean_square")], "source": ANSWER})
    assert of(run(module, cells), "mean_square") == ["def mean_square(x): return 0", ANSWER]
    stub = released(module)
    stub.append(stub[index(stub, "mean_square")])
    assert "mean_square" in run(module, stub).unanswered


def test_a_part_that_cannot_be_parsed_does_not_spoil_the_others(module):
    cells = released(module, {"mean_square": ANSWER})
    cells.append({**cells[index(cells, "mean_square")], "source": "this is ] not Python"})
    assert of(run(module, cells), "mean_square") == [ANSWER, "this is ] not Python"]


def test_reordered_cells_run_in_the_authored_order(module):
    cells = released(module, "all")
    assert sources(run(module, cells[::-1])) == sources(run(module, cells))


def test_added_cells_stand_behind_the_cell_that_they_followed(module):
    cells = released(module, "all")
    cells.insert(index(cells, "last") + 1, code("helper = 1"))
    cells.insert(0, code("first = 1"))
    cells.append({"cell_type": "markdown", "metadata": {}, "source": "# a thought"})
    cells.append(code("after = 1"))
    ran = sources(run(module, cells))
    assert ran.index("helper = 1") == ran.index(module.exercise("last").solution) + 1
    assert ran.index("first = 1") == 1, "nothing runs before the setup"
    assert ran[-1] == "after = 1"


def test_a_heading_of_ones_own_is_no_authored_cell(module):
    cells = released(module, "all")
    cells.append({"cell_type": "markdown", "metadata": {}, "source": "# Toy: my notes"})
    cells.append(code("# a comment alone"))
    cells.append(code("after = mean_square"))
    assert sources(run(module, cells))[-1] == "after = mean_square"


def test_checks_demos_and_setup_are_the_authors(module):
    cells = released(module, "all")
    cells[index(cells, "check_mean_square")]["source"] = "def cheat(): pass\nmean_square = cheat"
    demo = next(cell for cell in cells if cell["metadata"]["lsml"]["role"] == "demo")
    demo["source"] += "\nhelper = lambda x: x"
    setup = next(cell for cell in cells if cell["metadata"]["lsml"]["role"] == "setup")
    setup["source"] = "import numpy as np\nimport scipy"
    rebuilt = run(module, cells)
    assert not {"cheat", "helper", "scipy"} & set(" ".join(sources(rebuilt)).split())
    assert sources(rebuilt, "setup") == list(module.setup)
    assert [name in note for name, note in zip(["scipy", "cheat", "helper"], rebuilt.notes, strict=True)] == [True] * 3
    assert all("\n" not in note for note in rebuilt.notes)


def test_of_a_copied_demo_what_is_defined_is_the_students(module):
    cells = released(module, "all")
    demo = next(cell for cell in cells if cell["metadata"]["lsml"]["role"] == "demo")
    mine = "mine = 1\ndef helper(x):\n    return x\nslow = [helper(i) for i in range(10 ** 9)]"
    cells.append({**demo, "id": "new", "metadata": {"lsml": {"role": "demo", "name": None}}, "source": mine})
    assert sources(run(module, cells))[-2:] == ["mine = 1", "\ndef helper(x):\n    return x"]


@pytest.mark.parametrize("role", ["setup", "check", "demo"])
@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_helper_in_a_copy_of_an_authors_cell_is_run(module, role, place):
    cells = released(module, "all")
    position = next(i for i, cell in enumerate(cells) if cell["metadata"]["lsml"]["role"] == role)
    copied = {**cells[position], "id": "0f3a", "source": cells[position]["source"] + "\ndef helper(x): return x"}
    cells.insert(position + (place == "behind"), copied)
    rebuilt = run(module, cells)
    assert [s.strip() for s in sources(rebuilt, "added")] == ["def helper(x): return x"] and rebuilt.notes == ()
    assert sources(rebuilt, "setup") == list(module.setup)


def test_a_copy_that_says_nothing_new_is_nothing(module):
    cells = released(module, "all")
    assert sources(run(module, [cell for cell in cells for _ in range(2)]), "added") == []


def test_forbidden_names_are_found_in_answers_and_their_helpers(module):
    direct = run(module, released(module, {"solve": "def solve(a, b): return np.linalg.solve([[a]], [b])[0]"}))
    assert direct.forbidden == {"solve": ("np.linalg",)}
    assert direct.objection("solve") == "It uses `np.linalg`, which this exercise does not allow."
    cells = released(module, {"solve": "def solve(a, b): return by_numpy(a, b)", "last": "import numpy.linalg as la"})
    cells.append(code("def by_numpy(a, b): return la.solve([[a]], [b])[0]"))
    assert run(module, cells).forbidden == {"solve": ("np.linalg",)}
    assert run(module, released(module)).forbidden == {}


SOLVES = "def solve(a, b): return np.linalg.solve([[a]], [b])[0]"
UNSEEN = {
    "a shell line before it": ({"solve": f"x = !ls\n{SOLVES}"}, ""),
    "indented": ({"solve": "    " + SOLVES}, ""),
    "prompts": ({"solve": ">>> " + SOLVES}, ""),
    "a helper in another exercise's cell": (
        {
            "solve": "def solve(a, b): return by_numpy(a, b)",
            "last": f"def last(x): return x[1]\n{SOLVES}\nby_numpy = solve",
        },
        "",
    ),
    "the definition in another exercise's cell": ({"last": f"def last(x): return x[1]\n{SOLVES}"}, ""),
    "the definition in a cell of its own": ({}, SOLVES),
    "the definition made with exec": ({"solve": f"exec({SOLVES!r})\nnp.linalg"}, ""),
    "a written module": ({"solve": "from tool import solve"}, f"%%writefile tool.py\nimport numpy as np\n{SOLVES}"),
    "a written helper": (
        {"solve": "import tool\ndef solve(a, b): return tool.solve(a, b)"},
        f"%%writefile tool.py\nimport numpy as np\n{SOLVES}",
    ),
}


@pytest.mark.parametrize(("answers", "more"), UNSEEN.values(), ids=UNSEEN)
def test_a_rule_holds_wherever_the_definition_stands(module, answers, more):
    cells = released(module, answers)
    if more:
        cells.insert(2, code(more))
    assert run(module, cells).forbidden == {"solve": ("np.linalg",)}


@pytest.mark.parametrize("where", ["solve", "added"])
def test_a_cell_that_is_too_long_to_look_through_is_not_run_and_says_so(module, where):
    long = f"{SOLVES}  #" + "x" * 200_000
    cells = released(module, {"solve": long} if where == "solve" else {"solve": "def solve(a, b): return mine(a, b)"})
    if where == "added":
        cells.append(code(long.replace("def solve", "def mine")))
    rebuilt = run(module, cells)
    assert "longer than 200,000 characters" in rebuilt.notes[0]
    assert not any("np.linalg" in source for source in sources(rebuilt))
    assert any(source.startswith("raise ValueError('this cell was not run") for source in sources(rebuilt))


def test_an_experiment_beside_the_answer_may_compare_with_the_library(module):
    answer = "def solve(a, b): return b / a\nassert np.isclose(solve(2, 3), np.linalg.solve([[2]], [3])[0])"
    assert run(module, released(module, {"solve": answer})).forbidden == {}


@pytest.mark.parametrize(
    ("before", "answer", "uses"),
    [
        ("from numpy.linalg import solve", "def solve(a, b): return b / a", None),
        ("from numpy.linalg import *", "def solve(a, b): return float(b) / a", None),
        ("from numpy.linalg import solve\nkept = solve", "def solve(a, b): return kept(a, b)", ("np.linalg",)),
        ("from numpy.linalg import *", "def solve(a, b): return inv(a) * b", ("np.linalg",)),
        (
            "def bind():\n    global solve\n    from numpy.linalg import solve",
            "def solve(a, b): return b / a\nbind()",
            ("np.linalg",),
        ),
    ],
    ids=["its own definition", "builtins are no names of a star", "an alias", "a star", "bound again by a function"],
)
def test_a_definition_replaces_what_its_name_was_imported_as(module, before, answer, uses):
    cells = released(module, {"solve": answer})
    cells.insert(index(cells, "solve"), code(before))
    assert run(module, cells).forbidden.get("solve") == uses


def test_cells_know_their_exercise_and_parts_their_lines(module):
    answer = "1 / 0\n\ndef mean_square(x):\n    return 0\n\nmean_square(1)"
    rebuilt = run(module, released(module, {"mean_square": answer}))
    own = [cell for cell in rebuilt.cells if "(mean_square)" in cell.label]
    assert [(cell.kind, cell.exercises) for cell in own] == [
        ("added", ()),
        ("exercise", ("mean_square",)),
        ("added", ()),
    ]
    assert rebuilt.place(own[1].label, 4) == ("cell [2] (mean_square)", 4)
    assert len({cell.label for cell in rebuilt.cells}) == len(rebuilt.cells)


def test_what_an_older_grader_cannot_read_names_the_version(module):
    cells = released(module, {"last": "def last[T](x: list[T]) -> T: return x[-1]"})
    newer = {"metadata": {"lsml": {"module": "00_toy"}, "language_info": {"name": "python", "version": "3.99.1"}}}
    (note,) = rebuild(module, reading.parse(json.dumps({**as_notebook(cells), **newer}).encode())).notes
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"is not valid in Python {here}" in note and "3.99" in note if sys.version_info < (3, 12) else note


def test_odd_metadata_is_no_ones_problem(module):
    odd = [{"lsml": 3}, {"lsml": {"role": [], "name": {}}}, {"lsml": {"role": "exercise", "name": "none"}}]
    odd += [{"nbgrader": "x"}, {"nbgrader": {"grade_id": 7}}, {"lsml": {"role": "exercise"}}]
    rebuilt = run(module, released(module, "all") + [code(f"x{i} = 1", metadata=m) for i, m in enumerate(odd)])
    assert len(sources(rebuilt, "added")) == len(odd)


def test_too_much_code_is_refused(module):
    with pytest.raises(Unreadable, match="characters of code"):
        run(module, released(module) + [code("x = 1\n" * 100_000)] * 10)


def test_the_module_is_known_by_metadata_then_exercises_then_file_name(module):
    cells = released(module)
    assert module_of(notebook(cells), "renamed.ipynb", TOY) == "00_toy"
    assert module_of(notebook(cells, module="77_nothing"), "renamed.ipynb", TOY) == "00_toy"
    assert module_of(notebook(cells, module=None), "renamed.ipynb", TOY) == "00_toy"
    assert module_of(notebook([code("x")], module=None), "late_42_00_toy (3).ipynb", TOY) == "00_toy"
    with pytest.raises(Unreadable, match="not one of the modules"):
        module_of(notebook([code("x")], module=None), "essay.ipynb", TOY)
    with pytest.raises(Unreadable, match="not one of the modules"):
        module_of(notebook([code("x")], module=["00_toy"]), "essay.ipynb", TOY)
