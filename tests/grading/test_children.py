"""Which child a test talks to, in real processes without isolation."""

import contextlib
import os
import time

import pytest

from autograder.grading.ahead import Ahead
from autograder.grading.budget import Budget
from autograder.grading.children import Children
from autograder.grading.plugin import Outcome, Spec
from autograder.judging import student_side
from autograder.sandbox import open_sandbox
from autograder.submission import Limits, SandboxFault, SourceCell, StudentCrashed, StudentTimeout, SubmissionError

LIMITS = Limits(notebook_seconds=60.0, call_seconds=10.0, memory_mb=512)
SETUP = SourceCell("setup-1", "import os, time", "setup")
WHO = SourceCell("cell [2] (a)", "def who(): return os.getpid()\ndef die(): os._exit(3)", "exercise", ("a",))


def sleeping(seconds, label="cell [3]", defines="y"):
    return SourceCell(label, f"time.sleep({seconds})\n{defines} = 1", "added")


@pytest.fixture(scope="module")
def sandbox():
    with open_sandbox("none") as sandbox:
        yield sandbox


@pytest.fixture
def children(sandbox):
    with contextlib.ExitStack() as stack:
        ahead = stack.enter_context(contextlib.closing(Ahead(sandbox)))

        def children(*cells, everything=False, limits=LIMITS, budget=None):
            budget = budget or Budget(limits, "abcd")
            made = Children(ahead, [SETUP, WHO, *cells], budget, "abcd", everything)
            return stack.enter_context(contextlib.closing(made))

        yield children


def run(children, exercise, following=(), ask=lambda child: child.who(), cause="passed", **says):
    """What a test of that exercise gets when it asks the child for something; by default which process it is.

    It is asked again while its outcome is void, as the plugin runs the test again.
    """
    while True:
        outcome = Outcome(Spec(exercise, **says), "test", cause=cause)
        with children.open(outcome, following) as child:
            child.calls.clear()
            found = ask(child)
        if not outcome.void:
            return found


def test_one_child_serves_while_all_goes_well(children):
    them = children()
    a, again, b = run(them, "a"), run(them, "a"), run(them, "b")
    assert a == again == b
    with pytest.raises(ProcessLookupError):
        them._leave(them.shared)
        them.ahead.settle()
        os.kill(b, 0)


def test_what_fails_after_others_is_judged_in_a_fresh_child(children):
    them, asked = children(), []
    first = run(them, "a")

    def ask(child):
        asked.append(child.who())
        time.sleep(0.2)
        return asked[-1]

    before = them.budget.left("b")
    failing = run(them, "b", ask=ask, cause="failed")
    assert asked == [first, failing] and failing != first
    assert before - them.budget.left("b") < 0.5, "what is void costs no time"
    assert run(them, "b") == failing and len(asked) == 2, "the same exercise goes on with it"
    assert run(them, "b", ask=ask, cause="failed") == failing, "and what fails there has failed"
    assert run(them, "c") == failing


def test_what_an_earlier_exercise_left_behind_costs_no_points(children):
    spoiling = "def spoil():\n    global who\n    who = None\ndef loop():\n    while True: pass"
    them = children(SourceCell("cell [4] (b)", spoiling, "exercise", ("b",)))
    run(them, "b", ask=lambda child: child.spoil())
    outcome = Outcome(Spec("a"), "test", cause="error")
    with pytest.raises(SubmissionError), them.open(outcome) as child:
        child.who()
    assert outcome.void
    assert run(them, "a"), "a fresh one knows nothing of it"


def test_a_loop_after_others_is_noticed_soon(children):
    them = children(SourceCell("cell [4] (b)", "def loop():\n    while True: pass", "exercise", ("b",)))
    run(them, "a")
    outcome, started = Outcome(Spec("b"), "test", cause="timeout"), time.monotonic()
    with pytest.raises(StudentTimeout), them.open(outcome) as child:
        child.loop()
    assert outcome.void and time.monotonic() - started < LIMITS.call_seconds / 2
    assert not them.budget.late, "a fresh child will tell"


def test_after_two_exercises_that_loop_calls_have_less_time(children):
    them = children()
    them.budget.late |= {"a", "b"}
    assert run(them, "c", ask=lambda child: child._limits).call_seconds == 2.5
    assert run(them, "b", ask=lambda child: child._limits).call_seconds == 10


def test_another_when_one_died(children):
    them = children()
    first = run(them, "a")
    with pytest.raises(StudentCrashed):
        run(them, "a", ask=lambda child: child.die())
    assert run(them, "a") not in (first, None)


def test_a_test_with_limits_of_its_own_has_another_child(children):
    them = children()
    shared, limited, after = run(them, "a"), run(them, "a", memory_mb=64), run(them, "a")
    assert shared == after != limited
    limits = run(them, "a", ask=lambda child: child._limits, memory_mb=64, seconds=3)
    assert (limits.memory_mb, limits.call_seconds) == (64, 3)
    limits = run(them, "a", ask=lambda child: child._limits)
    assert (limits.memory_mb, limits.call_seconds) == (512, 10)


def test_a_test_with_a_time_of_its_own_is_alone(children):
    them = children()
    others = run(them, "a"), run(them, "a", memory_mb=64)
    alone = [run(them, "a", seconds=3, **limit) for limit in ({}, {"memory_mb": 64}) for _ in range(2)]
    assert len({*others, *alone}) == 6, "each of the four has a process to itself"
    assert (run(them, "b"), run(them, "b", memory_mb=64)) == others


def test_one_child_serves_all_limits_on_memory_while_they_are_kept(children):
    them = children()
    first = run(them, "a", memory_mb=64)
    assert run(them, "a", memory_mb=16) == run(them, "b", memory_mb=128) == first
    assert run(them, "b", memory_mb=900) != first, "its process may have no more than it was born with"


def test_what_fails_after_another_limit_on_memory_is_judged_in_a_fresh_child(children):
    them, asked = children(), []

    def ask(child):
        asked.append(child.who())
        return asked[-1]

    first = run(them, "a", ask=ask, memory_mb=64)
    failing = run(them, "a", ask=ask, memory_mb=64, cause="failed")
    assert asked == [first, first, failing] and failing != first, "also in the same exercise"
    assert run(them, "a", memory_mb=64) == failing


def test_after_a_long_one_the_next_has_a_fresh_child_at_once(children):
    them = children()
    first = run(them, "a", ask=lambda child: (child.run(naps), child.who())[1], memory_mb=64)
    assert run(them, "a", memory_mb=64) != first, "in the same one it might have run out of its short time"


@student_side
def naps():
    import time

    time.sleep(0.7)


def test_limits_that_are_firm_are_not_stretched_by_a_test(children):
    them = children()
    them.budget.firm = True
    for allowed, given in [(3, 3), (30, 10)]:
        assert run(them, "a", ask=lambda child: child._limits, seconds=allowed).call_seconds == given


def test_a_child_is_loaded_before_it_is_needed(children):
    them = children()
    run(them, "a", [Spec("a"), Spec("a", memory_mb=64), Spec("b")])
    _, loading = them.ahead._next
    own = run(them, "a", [Spec("b")], memory_mb=64)
    assert loading.result().calls is not None and own == run_pid(loading)


def run_pid(loading):
    return loading.result().calls[-1].result


def test_after_two_time_outs_the_others_are_not_waited_for(children):
    them = children(SourceCell("cell [4] (b)", "def loop():\n    while True: pass", "exercise", ("b",)))
    for _ in range(2):
        with pytest.raises(StudentTimeout, match="longer"):
            run(them, "a", ask=lambda child: child.loop(), seconds=0.3)
    with pytest.raises(StudentTimeout, match="not run"):
        run(them, "a")
    assert run(them, "b")


def test_an_exercise_without_time_is_not_run(children):
    them = children()
    run(them, "a")
    them.budget.spend("a", 15.0)
    with pytest.raises(StudentTimeout, match="not run"):
        run(them, "a")
    assert run(them, "b")


def has_y(child):
    return "y" in child.names


def test_slow_cells_are_run_once(children):
    them = children(sleeping(1.2))
    assert run(them, "a", ask=has_y) is True, "nobody knew yet"
    assert run(them, "b", ask=has_y) is False
    assert run(them, "b", ask=has_y, memory_mb=64) is False
    assert them.without == {"a": frozenset(), "b": {"cell [3]"}}
    assert them.budget.left("a") > 14, "and at nobody's expense"


def test_or_for_all_together_where_exercises_need_them(children):
    them = children(sleeping(1.2), everything=True)
    a, b, own = run(them, "a"), run(them, "b"), run(them, "b", memory_mb=64)
    assert a == b != own
    assert run(them, "c", ask=has_y) and run(them, "c", ask=has_y, memory_mb=64)
    assert them.without == {"a": frozenset(), "b": frozenset(), "c": frozenset()}


def test_a_cell_that_had_to_be_killed_is_skipped_from_then_on(children):
    them = children(sleeping(60), limits=Limits(cell_seconds=1.0, notebook_seconds=60.0))
    assert run(them, "a", ask=has_y) is False and run(them, "b", ask=has_y) is False
    assert {label: error.kind for label, error in them.errors.items()} == {"cell [3]": "timeout"}
    assert them.budget._beside["added"] > 27, "paid once"
    assert not any(them.without.values()), "to try again with it would not help"
    again = children(sleeping(60), everything=True, budget=them.budget)
    assert run(again, "a", ask=has_y) is False
    assert them.budget._beside["added"] > 27, "nor is it stopped once more in another try"


def test_a_setup_that_fails_is_ours(sandbox):
    cells = [SourceCell("setup-1", "import no_such_module", "setup"), WHO]
    with contextlib.closing(Ahead(sandbox)) as ahead:
        them = Children(ahead, cells, Budget(LIMITS, "a"), "a")
        with contextlib.closing(them), pytest.raises(SandboxFault, match=r"setup.*no_such_module"):
            run(them, "a")
