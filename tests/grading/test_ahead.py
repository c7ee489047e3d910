"""Children that are loaded before they are needed, in real sandboxes without isolation."""

import contextlib
import os
import time
from dataclasses import replace

import pytest

from autograder.grading.ahead import Ahead
from autograder.grading.budget import Budget
from autograder.sandbox import open_sandbox
from autograder.submission import Limits, SandboxFault, SourceCell, StudentTimeout

CELLS = (SourceCell("cell 1", "import os\ndef who(): return os.getpid()"),)
SLOW = (SourceCell("cell 1", "import time\ntime.sleep(0.3)\ndef f(): return 1"),)
LIMITS = Limits(call_seconds=5, notebook_seconds=20)


def purse():
    return Budget(LIMITS, ["f"]).purse("f")


@pytest.fixture(scope="module")
def sandbox():
    with open_sandbox("none") as sandbox:
        yield sandbox


@pytest.fixture
def ahead(sandbox):
    with contextlib.closing(Ahead(sandbox)) as ahead:
        yield ahead
        ahead.settle()


def started(sandbox, monkeypatch):
    """The limits of every child that is started from now on."""
    found, start = [], sandbox.start

    def noted(limits=None, program="agent"):
        found.append(limits)
        return start(limits, program)

    monkeypatch.setattr(sandbox, "start", noted)
    return found


def test_what_was_prepared_is_given_to_the_test_that_it_fits(ahead, sandbox, monkeypatch):
    made = started(sandbox, monkeypatch)
    small = replace(LIMITS, memory_mb=64)
    ahead.prepare(CELLS, small, frozenset(), purse())
    first, second = ahead.load(CELLS, LIMITS, frozenset(), purse()), ahead.load(CELLS, small, frozenset(), purse())
    assert sorted(made, key=lambda limits: limits.memory_mb) == [small, LIMITS] and first.who() != second.who()
    for child in (first, second):
        ahead.end(child)
    ahead.settle()
    assert not first.alive and not second.alive


def test_what_the_cells_took_is_in_the_purse(ahead, sandbox, monkeypatch):
    made = started(sandbox, monkeypatch)
    given = purse()
    ahead.prepare(SLOW, LIMITS, frozenset(), given)
    child = ahead.load(SLOW, replace(LIMITS, notebook_seconds=10, call_seconds=1), frozenset(), purse())
    assert made == [LIMITS] and child.purse is given and child.seconds_left == 20
    assert given.took["cell 1"] == given.beside["exercise"] > 0.29
    child.limit(replace(LIMITS, notebook_seconds=0.0))
    with pytest.raises(StudentTimeout):
        child.f()
    ahead.end(child)


@pytest.mark.skipif(not os.path.exists("/proc"), reason="Linux only")
def test_what_is_no_longer_wanted_is_ended(ahead, sandbox, monkeypatch):
    made = started(sandbox, monkeypatch)
    ahead.prepare(SLOW, LIMITS, frozenset(), purse())
    ahead.prepare(CELLS, LIMITS, frozenset(), purse())
    ahead.settle()
    assert len(made) <= 2 and not sandbox_children(sandbox)
    child = ahead.load(CELLS, LIMITS, frozenset(), purse())
    assert child.who()
    ahead.end(child)


def sandbox_children(sandbox):
    """The children that the server still has."""
    with open(f"/proc/{sandbox._process.pid}/task/{sandbox._process.pid}/children") as file:
        return file.read().split()


def test_a_child_that_died_waiting_is_not_given_away(ahead):
    source = "import os, threading\nthreading.Timer(0.2, os._exit, [3]).start()\ndef f(): return 1"
    dying = (SourceCell("cell 1", source),)
    ahead.prepare(dying, LIMITS, frozenset(), purse())
    time.sleep(0.6)
    child = ahead.load(dying, LIMITS, frozenset(), purse())
    assert child.f() == 1
    ahead.end(child)


def test_what_goes_wrong_in_ending_a_child_is_told(ahead, monkeypatch):
    def broken():
        raise SandboxFault("gone")

    child = ahead.load(CELLS, LIMITS, frozenset(), purse())
    close = child.close
    monkeypatch.setattr(child, "close", broken)
    ahead.end(child)
    with pytest.raises(SandboxFault):
        ahead.settle()
    ahead.settle()
    close()
