"""How a notebook's time is shared out."""

import os

import pytest

from autograder.grading import budget as of
from autograder.grading.budget import Budget
from autograder.sandbox import Limits
from autograder.submission import SourceCell

LIMITS = Limits(notebook_seconds=100.0, call_seconds=10.0, cell_seconds=20.0)
SETUP = SourceCell("setup-1", "", "setup")
A, B = SourceCell("cell [1] (a)", "", "exercise", ("a",)), SourceCell("cell [2] (b)", "", "exercise", ("b",))
ADDED = SourceCell("cell [3]", "", "added")
ANSWER = SourceCell("cell [4]", "", "added", ("a",))
CELLS = (SETUP, A, B, ADDED, ANSWER)


@pytest.fixture
def budget():
    return Budget(LIMITS, "abcd")


def pay(budget, exercise, *, everything=False, **seconds):
    """Run cells in a child for an exercise: `a=3` for three seconds in the cell of a."""
    purse = budget.purse(exercise, everything)
    for name, spent in seconds.items():
        purse.spend({"setup": SETUP, "a": A, "b": B, "added": ADDED, "answer": ANSWER}[name], spent)
    budget.settle(purse)


def test_no_exercise_uses_up_the_time_of_those_behind_it(budget):
    budget.begin("a")
    assert budget.left("a") == 25.0
    budget.spend("a", 25.0)
    budget.begin("b")
    assert (budget.left("a"), budget.left("b")) == (0.0, 25.0)


def test_what_one_exercise_leaves_is_for_the_others(budget):
    budget.begin("a")
    budget.spend("a", 10.0)
    budget.begin("b")
    assert budget.left("b") == pytest.approx(30.0)


def test_after_two_exercises_that_ran_into_their_time_the_others_have_less(budget):
    for exercise in "ab":
        budget.begin(exercise)
        budget.spend(exercise, 25.0)
        budget.late.add(exercise)
        assert budget.hurried(exercise) == 1.0, "it has begun with all of it"
    budget.begin("c")
    assert budget.left("c") == 25.0 / 4 and budget.left("d") == (50.0 / 1) / 4


def test_who_is_tried_again_goes_on_with_what_was_left(budget):
    for exercise in "abcd":
        budget.begin(exercise)
        budget.spend(exercise, 5.0)
    budget.begin("a")
    assert budget.left("a") == 20.0, "and not with what the others left"


def test_an_exercise_pays_for_its_own_cells_only(budget):
    budget.begin("a")
    pay(budget, "a", setup=7.0, a=1.0, b=2.0, added=40.0, answer=3.0)
    assert budget.left("a") == 24.0
    budget.begin("b")
    assert budget.left("b") == 33.0
    purse = budget.purse("b")
    assert purse.left(SETUP) == float("inf") and purse.left(B) == 33.0
    assert purse.left(A) == 48.0, "half of the notebook's time for the answers of others"
    assert purse.left(ADDED) == 7.0, "and for what was added"


def test_slow_cells_are_left_out_of_other_exercises(budget):
    assert budget.left_out(CELLS, "a") == frozenset(), "nothing is known yet"
    pay(budget, "a", a=2.0, b=0.4, added=1.5, answer=0.4)
    assert budget.left_out(CELLS, "a") == {ADDED.label}
    assert budget.left_out(CELLS, "b") == {A.label, ADDED.label}
    pay(budget, "a", added=0.01)
    assert ADDED.label in budget.left_out(CELLS, "a"), "however quick it was the second time"


def test_many_quick_cells_are_one_slow_one(budget):
    cells = [SourceCell(f"cell [{i}]", "", "added") for i in range(100)]
    purse = budget.purse("a")
    for i, cell in enumerate(cells):
        purse.spend(cell, 0.02 + 0.001 * i)
    budget.settle(purse)
    left_out = budget.left_out(cells, "a")
    assert 40 < len(left_out) < 90 and cells[0].label not in left_out and cells[-1].label in left_out


def test_when_the_time_for_added_cells_is_used_up(budget):
    other = SourceCell("cell [5]", "", "added")
    pay(budget, "a", added=0.01, answer=60.0)
    purse = budget.purse("b")
    assert purse.left(ADDED) > 0, "what takes no time to speak of is run"
    assert purse.left(other) <= 0 and purse.left(ANSWER) <= 0
    assert budget.left_out(CELLS, "b") == {ANSWER.label}
    assert budget.purse("a").left(ANSWER) == 25.0, "its own is paid by the exercise"


def test_who_needs_slow_cells_pays_for_them_when_their_time_is_used_up(budget):
    budget.begin("a")
    pay(budget, "a", added=45.0)
    assert budget.purse("a", everything=True).left(ADDED) == 25.0
    pay(budget, "a", everything=True, added=15.0)
    assert budget.left("a") == pytest.approx(15.0)
    assert budget.purse("b").left(B) == pytest.approx(30.0)


def test_clocks_are_stretched_once_for_all(budget):
    stretched = Budget(LIMITS, "abcd", 2.5).limits
    assert (stretched.notebook_seconds, stretched.call_seconds, stretched.cell_seconds) == (250.0, 25.0, 50.0)
    assert stretched.memory_mb == LIMITS.memory_mb


@pytest.mark.parametrize(("load", "factor"), [(0.2, 1.0), (1.0, 1.0), (2.5, 2.5), (50.0, of.PATIENCE)])
def test_patience_grows_with_the_load_of_the_machine(monkeypatch, load, factor):
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "getloadavg", lambda: (load * cores, 0.0, 0.0))
    monkeypatch.setattr(of, "running", lambda: 1000.0)
    assert of.patience() == factor
    monkeypatch.setattr(of, "running", lambda: 1.0)
    assert of.patience() == 1.0, "the load was that of a box that has ended"


@pytest.mark.skipif(not os.path.exists("/proc/loadavg"), reason="Linux only")
def test_this_very_process_is_running():
    assert 1 <= of.running() < float("inf")


def test_a_machine_that_knows_no_load_has_no_patience(monkeypatch):
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert of.patience() == 1.0
