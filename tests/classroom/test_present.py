"""What formgrader and the feedback page show is what was graded."""

import json

import pytest

from autograder import apart, curriculum
from autograder.apart import Reader
from autograder.classroom import feedback, highlighting, present
from autograder.grading import reading
from autograder.grading.rebuild import rebuild

MODULE = "01_gradient_descent"


@pytest.fixture
def cells(released):
    """A submission's cells, one exercise answered."""
    found = json.loads(json.dumps(released["cells"]))
    module = curriculum.load(MODULE)
    place = next(i for i, cell in enumerate(found) if cell["id"] == module.exercises[0].name)
    found[place]["source"] = module.exercises[0].solution
    return found, place


def shown(released, cells):
    """The presented notebook, and what was rebuilt of the same cells."""
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    rebuilt = rebuild(curriculum.load(MODULE), reading.parse(json.dumps(whole).encode()))
    return present.present(released, rebuilt)["cells"], rebuilt


@pytest.mark.parametrize("marked", [True, False], ids=["marks copied", "marks lost"])
def test_a_cell_cut_in_two_is_shown_as_it_is_graded(released, cells, marked):
    cells, place = cells
    name, lines = cells[place]["id"], cells[place]["source"].split("\n")
    first, rest = "\n".join(lines[:-2]), "\n".join(lines[-2:])
    halves = [{**cells[place], "source": first}, {**cells[place], "source": rest, "id": "f00d"}]
    if not marked:
        halves[1]["metadata"] = {}
    found, rebuilt = shown(released, [*cells[:place], *halves, *cells[place + 1 :]])
    graded = "\n".join(cell.source for cell in rebuilt.cells if cell.exercise == name)
    (exercise,) = [cell for cell in found if cell["id"] == name]
    assert graded.split() == exercise["source"].split() == "\n".join(lines).split()
    assert not [cell for cell in found if cell["id"].startswith("added-")]


def test_an_answer_in_a_cell_of_its_own_is_shown_as_the_exercises(released, cells):
    cells, place = cells
    answer = {"cell_type": "code", "id": "own", "metadata": {}, "source": cells[place]["source"], "outputs": []}
    stub = json.loads(json.dumps(released["cells"]))[place]
    found, _ = shown(released, [*cells[:place], stub, answer, *cells[place + 1 :]])
    assert next(cell for cell in found if cell["id"] == stub["id"])["source"] == answer["source"]


def test_added_cells_stand_where_the_student_put_them(released, cells):
    cells, place = cells
    note = {"cell_type": "markdown", "metadata": {}, "source": "my *thought*"}
    code = {"cell_type": "code", "metadata": {}, "source": "x = 1"}
    found, _ = shown(released, [note, *cells[: place + 1], code, *cells[place + 1 :]])
    assert "thought" in found[0]["source"] and found[0]["id"].startswith("added-")
    after = next(i for i, cell in enumerate(found) if cell["id"] == cells[place]["id"]) + 1
    assert found[after]["source"] == "x = 1"


def test_more_text_than_anybody_reads_is_left_out(released, cells):
    cells, _ = cells
    notes = [{"cell_type": "markdown", "metadata": {}, "source": "*a* " * 4_000}] * 40
    found, _ = shown(released, [*cells, *notes])
    left_out = [cell for cell in found if "left out" in cell["source"]]
    assert len(left_out) == 40 - present.MOST_MARKDOWN // 16_000


def test_what_takes_too_long_to_show_is_shown_plain(released, cells, monkeypatch):
    content = json.dumps({"nbformat": 4, "metadata": {}, "cells": cells[0]}).encode()
    assert present.present_content(released, content, MODULE) != present.present(released, None)
    impatient = Reader(cpu_seconds=0.001)
    monkeypatch.setattr(apart, "call", impatient.call)
    try:
        assert present.present_content(released, content, MODULE) == present.present(released, None)
        assert feedback._rendered(highlighting.code, "<b>") == "<pre>&lt;b&gt;</pre>"
    finally:
        impatient.close()
