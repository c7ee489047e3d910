"""The sentences about a failed test: figures that mean something, and a hint that fits."""

import pytest

from autograder.grading import verdicts
from autograder.grading.messages import what_happened
from autograder.grading.plugin import Outcome, Spec
from autograder.grading.rebuild import Rebuilt
from autograder.judging import Comparison
from autograder.submission import StudentMemory, StudentTimeout, Usage

REBUILT = Rebuilt((), {}, frozenset())


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (StudentMemory("", Usage(0.0, 0.0)), "It asked at once for more memory than it may use and was stopped."),
        (StudentMemory("", Usage(0.01, 0.4)), "It asked at once for more memory than it may use and was stopped."),
        (
            StudentMemory("", Usage(2.0, 512.0)),
            "It needed more memory than it may use and was stopped after 2.0 s, having used 512 MB.",
        ),
        (StudentMemory("", Usage(2.0)), "It needed more memory than it may use and was stopped after 2.0 s."),
        (StudentTimeout("", Usage(5.0)), "It took too long and was stopped after 5.0 s. Does every loop end?"),
    ],
)
def test_figures_do_not_contradict_the_sentence(error, says):
    assert what_happened(error, REBUILT) == says


@pytest.mark.parametrize(
    ("core", "hint", "misconception", "says"),
    [
        (True, 3, None, "Read the hints of last in order, hint 1 first."),
        (True, 3, "takes the first row", "Read hint 3 of last."),
        (True, 2, None, "Read hint 2 of last."),
        (False, 3, None, "Read hint 3 of last."),
        (True, None, None, None),
    ],
)
def test_the_last_hint_is_not_the_first(module, core, hint, misconception, says):
    spec = Spec("last", core=core, hint=hint, name="test_a", sentence="It holds.")
    outcome = Outcome(spec, "test_a", "failed", AssertionError())
    known = {"test_a": misconception} if misconception else {}
    result = verdicts.judged(module.exercise("last"), [outcome], {}, REBUILT, known, set(), False)
    assert result.tests[0].hint == says


@pytest.mark.parametrize(
    ("wrong", "cause", "says"),
    [
        (True, "failed", verdicts.NOT_JUDGED),  # its memory is as it should be: the sentence alone would mislead
        (False, "failed", "it has other values"),
        (True, "memory", "It needed more memory than the 64 MB that it may use and was stopped after 2.0 s."),
    ],
)
def test_a_test_of_cost_is_not_judged_by_wrong_values(module, wrong, cause, says):
    core = Spec("last", core=True, name="test_values", sentence="It is right.")
    cost = Spec("last", memory_mb=64, name="test_memory", sentence="It takes little memory.")
    error = StudentMemory("", Usage(2.0)) if cause == "memory" else AssertionError()
    outcomes = [
        Outcome(core, "test_values", "failed" if wrong else "passed", AssertionError() if wrong else None),
        Outcome(cost, "test_memory", cause, error, comparison=Comparison(False, 1.0, 2.0, "", "It has other values.")),
    ]
    result = verdicts.judged(module.exercise("last"), outcomes, {}, REBUILT, {}, set(), False)
    message = next(test.message for test in result.tests if test.name == "test_memory")
    assert message.splitlines()[0] == "It takes little memory." and says.lower() in message.lower()
    assert (verdicts.NOT_JUDGED in message) == (says == verdicts.NOT_JUDGED)
