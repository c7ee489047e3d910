"""Which child a test talks to, and how a notebook's time is shared out; with a stand-in for the children."""

import os

import pytest

from autograder.grading import children as of
from autograder.grading.children import Children
from autograder.grading.plugin import Outcome, Spec
from autograder.submission import Call, CellError, Limits, SandboxFault, SourceCell, StudentCrashed, StudentTimeout

CELLS = [SourceCell("setup-1", "import numpy as np", "setup"), SourceCell("cell [2] (a)", "x = 1")]


class StandIn:
    """A child as far as `_Children` looks at one. `load_seconds`: what running the cells takes."""

    load_seconds, errors, deadly = 0.0, (), ()
    loaded: list["StandIn"]

    def __init__(self, limits, skip):
        self.limits, self.calls, self.closed = limits, [], False
        self.seconds_left = limits.notebook_seconds - type(self).load_seconds
        self.cell_errors = list(type(self).errors)
        self.skip = frozenset(skip) | frozenset(type(self).deadly)

    @classmethod
    def load(cls, sandbox, cells, limits, skip):
        cls.loaded.append(cls(limits, skip))
        return cls.loaded[-1]

    def close(self):
        self.closed = True


class StandInAhead:
    """Loads children when they are asked for, and ends them at once. `wanted`: what was to be prepared."""

    def __init__(self):
        self.wanted = []

    def load(self, cells, limits, skip):
        return of.Submission.load(None, cells, limits, skip)

    def prepare(self, cells, limits, skip):
        self.wanted.append((limits.memory_mb, limits.notebook_seconds))

    def talk_to(self, submission):
        assert not submission.closed

    def end(self, submission):
        submission.close()

    def settle(self):
        pass


@pytest.fixture
def children(monkeypatch):
    for name, value in [("loaded", []), ("load_seconds", 0.0), ("errors", ()), ("deadly", ())]:
        monkeypatch.setattr(StandIn, name, value, raising=False)
    monkeypatch.setattr(of, "Submission", StandIn)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
    return Children(
        StandInAhead(), CELLS, Limits(notebook_seconds=100.0, call_seconds=10.0, memory_mb=512), exercises=4
    )


def run(children, exercise, spends=0.0, error=None, **says):
    with children.open(Outcome(Spec(exercise, **says), "test", cause="passed")) as child:
        child.seconds_left -= spends
        if error is not None:
            child.calls.append(Call("f", error=error))
    return child


def test_one_child_for_each_exercise(children):
    a, again, b = run(children, "a"), run(children, "a"), run(children, "b")
    assert a is again and a is not b and a.closed and not b.closed
    children.close()
    assert b.closed


def test_another_when_one_died(children):
    first = run(children, "a", error=StudentCrashed())
    assert first.closed and run(children, "a") is not first


def test_a_test_with_limits_of_its_own_has_its_own_child(children):
    shared, own, after = run(children, "a"), run(children, "a", memory_mb=64, seconds=3), run(children, "a")
    assert shared is after and own is not shared and own.closed
    assert (own.limits.memory_mb, own.limits.call_seconds) == (64, 3)
    assert (shared.limits.memory_mb, shared.limits.call_seconds) == (512, 10.0)


def test_no_exercise_uses_up_the_time_of_those_behind_it(children):
    assert run(children, "a", spends=25.0).limits.notebook_seconds == 25.0
    with pytest.raises(StudentTimeout, match="not run"):
        run(children, "a")
    assert run(children, "b", spends=5.0).limits.notebook_seconds == 25.0
    assert run(children, "b", memory_mb=1, spends=10).limits.notebook_seconds == 20.0


def test_what_one_exercise_leaves_is_for_the_others(children):
    run(children, "a", spends=10.0)
    assert run(children, "b").limits.notebook_seconds == pytest.approx(30.0)


def test_after_two_time_outs_the_others_are_not_waited_for(children):
    for _ in range(2):
        run(children, "a", error=StudentTimeout())
    with pytest.raises(StudentTimeout, match="not run"):
        run(children, "a")
    assert run(children, "b")


def test_slow_cells_are_not_run_for_each_exercise(children, monkeypatch):
    monkeypatch.setattr(StandIn, "load_seconds", 5.0)
    assert run(children, "a") is run(children, "b")


def test_slow_cells_are_run_again_where_the_child_has_no_time_left(children, monkeypatch):
    monkeypatch.setattr(StandIn, "load_seconds", 5.0)
    assert run(children, "a", spends=15.0) is not run(children, "b")


def test_a_cell_that_had_to_be_killed_is_skipped_from_then_on(children, monkeypatch):
    monkeypatch.setattr(StandIn, "load_seconds", 5.0)
    monkeypatch.setattr(StandIn, "deadly", ("cell [2] (a)",))
    error = CellError("cell [2] (a)", "timeout", None, "too long")
    monkeypatch.setattr(StandIn, "errors", (error,))
    first = run(children, "a")
    monkeypatch.setattr(StandIn, "errors", ())
    second = run(children, "b")
    assert second is not first and second.skip == {"cell [2] (a)"}
    assert children.errors == {"cell [2] (a)": error}


def test_a_setup_that_fails_is_ours_unless_the_time_was_used_up(children, monkeypatch):
    monkeypatch.setattr(StandIn, "errors", (CellError("setup-1", "timeout", None, "too long"),))
    with pytest.raises(SandboxFault, match="setup"):
        run(children, "a")
    children.left -= 50
    with pytest.raises(StudentTimeout):
        run(children, "b")
    assert all(child.closed for child in StandIn.loaded)


def test_the_child_of_the_tests_to_come_is_prepared(children):
    wanted = children.ahead.wanted
    assert wanted == [(512, 25.0)], "the first one, while the tests are collected"

    def during(spec, following):
        with children.open(Outcome(spec, "test", cause="passed"), following) as child:
            child.seconds_left -= 5.0

    during(Spec("a"), [Spec("a"), Spec("a", memory_mb=64), Spec("b")])
    assert wanted[1:] == [(64, 25.0)], "for the next test that needs another, and no longer than it can have"
    during(Spec("a"), [Spec("a", memory_mb=64), Spec("b")])
    assert len(wanted) == 2, "nothing new is needed"
    during(Spec("a", memory_mb=64), [Spec("b", memory_mb=32)])
    assert wanted[2:] == [(32, 30.0)], "a third of the 90 seconds that are left to three exercises"
    during(Spec("b"), [])
    assert len(wanted) == 3


def test_slow_cells_are_not_prepared_for_the_next_exercise(children, monkeypatch):
    monkeypatch.setattr(StandIn, "load_seconds", 5.0)
    with children.open(Outcome(Spec("a"), "test", cause="passed"), [Spec("b"), Spec("b", memory_mb=64), Spec("c")]):
        assert [memory for memory, _ in children.ahead.wanted[1:]] == [64]


@pytest.mark.parametrize(("load", "factor"), [(0.2, 1.0), (1.0, 1.0), (2.5, 2.5), (50.0, of.PATIENCE)])
def test_clocks_stretch_with_the_load_of_the_machine(monkeypatch, load, factor):
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "getloadavg", lambda: (load * cores, 0.0, 0.0))
    monkeypatch.setattr(StandIn, "loaded", [], raising=False)
    monkeypatch.setattr(of, "Submission", StandIn)
    limits = Limits(notebook_seconds=100.0, call_seconds=10.0, cell_seconds=20.0, memory_mb=512)
    run(Children(StandInAhead(), CELLS, limits, exercises=1), "mean", seconds=3.0)
    given = StandIn.loaded[0].limits
    assert (given.notebook_seconds, given.call_seconds, given.cell_seconds) == (100 * factor, 3 * factor, 20 * factor)
    assert given.memory_mb == 512


def test_a_machine_that_knows_no_load_has_no_patience(monkeypatch):
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert of.patience() == 1.0
