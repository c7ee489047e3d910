"""The bars, judged on results that are made up: each is missed in one way, and said in one line."""

from dataclasses import replace

import pytest

from autograder.answers import Answer, Equivalent, Gallery
from autograder.curriculum import Cell, Exercise, Module, files
from autograder.grading.plugin import Spec
from autograder.proving.calibrate import Trial, TrialResult, of_module, row, trials

SOURCE = "def double(x):\n    return x + x\n"
FAILS = TrialResult(0.0, failed={"test_doubles": "failed"})


@pytest.fixture
def exercise():
    return Exercise("double", 2, 5, False, False, (), SOURCE, "", "", 0, "")


@pytest.fixture
def module(exercise, tmp_path):
    cell = Cell("exercise", "double", "double", SOURCE, 10, {}, "code")
    return Module("98_bars", "Bars", files("98_bars", tmp_path), (cell,), (exercise,))


def answer(name, kind, says="adds one"):
    return Answer("double", name, kind, says, ("test_doubles",) if kind == "wrong" else (), "double", "", 1)


ANSWERS = (answer("r1", "right"), answer("r2", "right"), answer("w1", "wrong"), answer("w2", "wrong", "halves"))
GALLERY = Gallery("98_bars", ANSWERS)
SPECS = [Spec("double", core=True, name="test_doubles", sentence="It doubles.")]


def judged(module, exercise, gallery=GALLERY, specs=SPECS, **changed):
    """The row where every trial went well, but for those `changed` (by name, a TrialResult)."""
    results = []
    for trial in trials(module, exercise, gallery):
        result = TrialResult(1.0, passed=("test_doubles",)) if trial.kind in ("reference", "right") else FAILS
        if trial.kind == "wrong":
            says = next(a.says for a in gallery.answers if a.name == trial.name)
            result = replace(result, diagnosed={"test_doubles": says})
        results.append((trial, changed.get(trial.name.replace(" ", "_"), result)))
    return row(module, exercise, gallery, specs, results)


def test_nothing_is_said_where_all_is_well(module, exercise):
    found = judged(module, exercise)
    assert found.problems == found.survivors == ()
    assert (found.right, found.wrong, found.intended, found.diagnosed) == ((2, 2),) * 4
    assert found.killed == found.mutants == found.mutants_in_all == 2  # x - x, and x
    assert found.trivial == 0


@pytest.mark.parametrize(
    ("name", "result", "says"),
    [
        ("the_reference", TrialResult(0.5, {"test_a": "error"}), "the reference loses points: test_a (error)"),
        ("r1", FAILS, "right answer r1 loses points: test_doubles (failed)"),
        ("w1", TrialResult(1.0, passed=("test_doubles",)), "wrong answer w1 gets all points; it adds one"),
        (
            "w1",
            TrialResult(0.5, {"test_b": "failed"}, ("test_doubles",), {"test_b": "adds one"}),
            "wrong answer w1 passes test_doubles, which it must fail; it adds one",
        ),
        (
            "w1",
            replace(FAILS, diagnosed={"test_doubles": "halves"}),
            'wrong answer w1 is diagnosed as "halves", not as one that adds one',
        ),
        ("w1", FAILS, "wrong answer w1 is diagnosed as nothing, not as one that adds one"),
        (
            "w1",
            replace(FAILS, diagnosed={"test_doubles": "adds one"}, unseen=True),
            "wrong answer w1 gets no points, and the visible check lets it pass; it adds one",
        ),
        ("returns_None", TrialResult(0.5), "an answer that returns None scores 1 of 2"),
        ("r2", TrialResult(0.0, fault="the sandbox broke"), "r2: the sandbox broke"),
    ],
)
def test_a_bar_that_is_missed_is_said_in_one_line(module, exercise, name, result, says):
    assert judged(module, exercise, **{name: result}).problems == (says,)


def test_what_cannot_be_told_from_a_right_answers_outputs_need_not_be_diagnosed(module, exercise):
    found = judged(module, exercise, w1=replace(FAILS, diagnosable=False))
    assert found.problems == ()
    assert found.diagnosed == (1, 1)


def test_a_check_need_not_see_what_costs_some_points_or_what_is_stopped(module, exercise):
    unseen = replace(FAILS, diagnosed={"test_doubles": "adds one"}, unseen=True)
    for spec in (replace(SPECS[0], memory_mb=9), replace(SPECS[0], seconds=9)):
        specs = [replace(SPECS[0], name="test_other"), spec]
        assert judged(module, exercise, specs=specs, w1=unseen).problems == ()


def test_a_diagnosis_as_a_twin_is_as_good(module, exercise):
    result = replace(FAILS, diagnosed={"test_doubles": "halves"}, agrees=("halves",))
    assert judged(module, exercise, w1=result).problems == ()


def test_a_survivor_counts_against_the_bar_unless_it_is_explained(module, exercise):
    survived = {"-_return_x_+_x\n+_return_x": TrialResult(1.0)}
    found = judged(module, exercise, **survived)
    assert found.problems == ("1 of 2 mutants are killed or explained; the bar is 90%",)
    assert found.survivors == ("solutions/98_bars/notebook.py:12\n- return x + x\n+ return x",)
    gallery = replace(GALLERY, equivalents=(Equivalent("double", "- return x + x\n+ return x", "x is 0"),))
    found = judged(module, exercise, gallery, **survived)
    assert (found.problems, found.killed, found.explained) == ((), 1, 1)


@pytest.mark.parametrize(("survivors", "missed"), [(3, False), (4, True)])
def test_a_module_is_judged_by_the_mutants_of_all_its_exercises(module, exercise, survivors, missed):
    found = replace(judged(module, exercise), mutants=60, mutants_in_all=60, killed=60)
    rows = [found, replace(found, exercise="other", killed=60 - survivors, mutants_in_all=40)]
    whole = replace(module, exercises=(exercise, replace(exercise, name="other")))
    expected = f"{120 - survivors} of 120 mutants are killed or explained; the bar is 97%"
    assert of_module(whole, rows) == ((expected,) if missed else ())
    assert of_module(whole, rows[1:]) == ()  # one exercise is no module


def test_equivalents_must_exist_survive_and_be_few(module, exercise):
    marked = ("- return x + x\n+ return x", "- return x + x\n+ return x - x", "- return 1\n+ return 2")
    gallery = replace(GALLERY, equivalents=tuple(Equivalent("double", diff, "so it is") for diff in marked))
    problems = judged(module, exercise, gallery).problems
    assert "3 mutants are marked as equivalent; 1 of 2 may be" in problems
    assert "marked as equivalent, but it fails test_doubles (failed): - return x + x / + return x" in problems
    assert "marked as equivalent, but no mutant of the reference: - return 1 / + return 2" in problems


def test_every_exercise_has_two_of_each_kind_and_a_core_test(module, exercise):
    problems = judged(module, exercise, Gallery("98_bars"), [replace(SPECS[0], core=False)]).problems
    assert problems == (
        "no hidden test is marked core=True, so nothing keeps a trivial answer at 0",
        "0 wrong answers, where at least 2 are needed",
        "0 right answers, where at least 2 are needed",
    )


def test_a_wrong_answer_may_not_name_a_test_that_does_not_exist(module, exercise):
    found = judged(module, exercise, specs=[replace(SPECS[0], name="test_renamed")])
    assert "wrong answer w1 names the test test_doubles, which the exercise does not have" in found.problems


def test_a_sample_is_judged_against_all_mutants_so_that_it_never_fails_where_the_whole_passes(module, exercise):
    mutant = next(trial for trial in trials(module, exercise, GALLERY) if trial.kind == "mutant")
    results = [(trial, FAILS) for trial in trials(module, exercise, Gallery("98_bars")) if trial.kind == "trivial"]
    sampled = row(module, exercise, Gallery("98_bars"), SPECS, [*results, (mutant, FAILS)])
    assert (sampled.mutants, sampled.mutants_in_all) == (1, 2)
    assert not any("mutants" in problem for problem in sampled.problems)


def test_trials_take_at_most_as_many_mutants_as_are_asked_for(module, exercise):
    count = [trial.kind for trial in trials(module, exercise, GALLERY, sample=2)].count("mutant")
    assert count == 2
    assert isinstance(next(iter(trials(module, exercise, GALLERY))), Trial)
