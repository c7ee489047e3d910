"""Calibration as a whole, on the skeleton of a new module: what it accepts, and what it names when it does not."""

import re

import pytest

from autograder import curriculum
from autograder.authoring.new import create
from autograder.proving.calibrate import Trial
from autograder.proving.runs import Bench, calibrate

EXACT = "assert close(submission.weighted_mean(x, w), reference.weighted_mean(x, w), rtol=RTOL, typed=True)"
NAME = "98_proving"


class Tree:
    """The skeleton of a new module, whose files a test may change; `calibrate` says what comes of it."""

    def __init__(self, root, bench):
        self.root, self.bench = root, bench
        self.module_file, self.tests_file, self.answers_file = create(NAME, "Proving", root)

    @property
    def module(self):
        return curriculum.load(NAME, self.root)

    def change(self, file, old, new):
        text = file.read_text()
        assert text.count(old) >= 1, f"{old!r} does not stand in {file.name}"
        file.write_text(text.replace(old, new))

    def calibrate(self, exercise, sample=1, quick=False):
        (row,) = calibrate([NAME], root=self.root, only=[exercise], sample=sample, quick=quick, bench=self.bench)
        return row


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with Bench(tmp_path_factory.mktemp("tree")) as bench:
        yield bench


@pytest.fixture
def tree(bench):
    tree = Tree(bench.root, bench)
    yield tree
    for file in (tree.module_file, tree.tests_file, tree.answers_file):
        file.unlink()


def test_the_skeleton_meets_every_bar(tree):
    for exercise in tree.module.exercises:
        row = tree.calibrate(exercise.name, sample=None)
        assert row.problems == ()
        assert row.right[0] == row.right[1] >= 2
        assert row.wrong[0] == row.wrong[1] >= 2
        assert row.diagnosed == row.intended == row.wrong
        assert row.trivial == 0
        assert row.killed == row.mutants == row.mutants_in_all > 5


@pytest.mark.parametrize("quick", [False, True])
def test_a_weak_hidden_test_is_told_by_the_wrong_answers_that_slip_through(tree, quick):
    tree.change(tree.tests_file, EXACT, "assert close(submission.weighted_mean(x, w), x.mean(), rtol=1)")
    tree.change(tree.tests_file, "rtol=max(RTOL, 100 * case.eps)", "rtol=9")
    problems = tree.calibrate("weighted_mean", quick=quick).problems
    assert any(
        re.fullmatch(r"wrong answer answers\.py:\d+ gets all points; it leaves the weights out", p) for p in problems
    )
    assert not any("sum to zero" in problem for problem in problems)


@pytest.mark.parametrize("quick", [False, True])
def test_a_wrong_answer_must_fail_the_test_that_it_names(tree, quick):
    tree.change(
        tree.answers_file, 'fails=["test_refuses_weights', 'fails=["test_weighs_every_value", "test_refuses_weights'
    )
    row = tree.calibrate("weighted_mean", quick=quick)
    assert [
        p for p in row.problems if "passes test_weighs_every_value, which it must fail" in p and "sum to zero pass" in p
    ]
    assert (row.wrong, row.intended) == ((3, 3), (2, 3))


def test_a_right_answer_that_loses_points_is_named_with_the_test(tree):
    tree.change(tree.answers_file, "return above / below", "return above / below * (1 + 1e-6)")
    (problem,) = tree.calibrate("weighted_mean").problems
    assert problem.startswith(
        "right answer with_a_loop loses points: test_weighs_every_value (failed: other values: off by"
    )


def test_a_trivial_answer_that_scores_is_named(tree):
    # The tests that are left let a constant pass, and one of them is core.
    tree.change(tree.tests_file, "weight=2, core=True, hint=2", "weight=2, hint=2")
    tree.change(tree.tests_file, '("weighted_mean", hint=1)', '("weighted_mean", hint=1, core=True)')
    row = tree.calibrate("weighted_mean")
    assert "an answer that returns 0.0 scores 0.333333 of 1" in row.problems
    assert row.trivial == 0.5  # what calls the reference raises as it does


def test_mutants_that_survive_are_listed_with_their_place_and_diff(tree):
    tree.change(tree.tests_file, "rtol=RTOL", "rtol=1e9")
    row = tree.calibrate("merge_means", sample=None)
    assert any("mutants are killed or explained; the bar is 90%" in problem for problem in row.problems)
    line = next(i for i, text in enumerate(tree.module_file.read_text().splitlines(), 1) if "n_a * mean_a" in text)
    assert any(survivor.startswith(f"solutions/98_proving/notebook.py:{line}\n- return") for survivor in row.survivors)


def test_wrong_answers_that_no_input_tells_apart_need_no_diagnosis(tree):
    twin = "\n\n@wrong('merge_means', 'also swaps them', fails=['test_agrees_with_the_mean_of_all_values'])\n"
    twin += "def twin(mean_a, n_a, mean_b, n_b):\n    return (n_b * mean_a + n_a * mean_b) / (n_a + n_b)\n"
    tree.answers_file.write_text(tree.answers_file.read_text() + twin)
    row = tree.calibrate("merge_means")
    assert row.problems == ()
    assert (row.wrong, row.diagnosed) == ((3, 3), (1, 1))


def test_a_slip_of_the_pen_is_no_wrong_answer(tree):
    tree.change(tree.answers_file, "return (mean_a + mean_b) / 2", "return mean_of(mean_a, mean_b)")
    problems = tree.calibrate("merge_means").problems
    assert any(p.startswith("plain_average: cannot be run as it stands: NameError") for p in problems)


def test_a_check_and_the_wrong_answers_cannot_disagree(tree):
    """What the visible check calls a likely cause is what a wrong answer really returns there."""
    tree.change(tree.module_file, '"You divided by the number of values.": 5.0', '"You divided by their number.": 5.1')
    (problem,) = tree.calibrate("weighted_mean").problems
    assert (
        problem == 'the visible check says "You divided by their number." of a value that no wrong answer returns there'
    )


@pytest.mark.parametrize("quick", [False, True])
def test_a_check_sees_what_costs_all_the_points(tree, quick):
    tree.change(tree.module_file, "merge_means(0.0, 1, 3.0, 2), 2.0", "merge_means(3.0, 1, 3.0, 2), 3.0")
    problems = tree.calibrate("merge_means", quick=quick).problems
    assert len(problems) == 2  # of two wrong answers
    assert all("gets no points, and the visible check lets it pass; it " in problem for problem in problems)


def test_a_check_does_not_call_the_right_value_a_mistake(tree):
    tree.change(tree.module_file, '"You left out the weights.": 3.0', '"You left out the weights.": 15 / 4')
    assert 'the visible check says "You left out the weights." of a value that the reference returns there, too' in (
        tree.calibrate("weighted_mean").problems
    )


def test_a_check_is_compared_to_its_end_though_its_first_comparison_fails(tree):
    more = """
    assert got == 0, "never true"
    expect_close(got / 2, 15 / 8, mistakes={"Half of a mean without weights.": 1.5, "Nobody's.": 9.0})
    with expect_raises(ValueError, hint="Weights"""
    tree.change(tree.module_file, '\n    with expect_raises(ValueError, hint="Weights', more)
    assert [p for p in tree.calibrate("weighted_mean").problems if "check says" in p] == [
        'the visible check says "Nobody\'s." of a value that no wrong answer returns there'
    ]


def test_a_forbidden_name_makes_even_a_right_answer_lose_all(tree):
    tree.change(tree.answers_file, "return above / below", "return float(np.average(x, weights=w))")
    (problem,) = tree.calibrate("weighted_mean").problems
    assert problem.startswith("right answer with_a_loop loses points: the rule on names")


def test_a_mutant_that_loops_for_ever_is_killed(tree):
    cell = "def weighted_mean(x, w):\n    while True:\n        pass\n"
    result = tree.bench.attempt("98_proving", Trial("weighted_mean", "mutant", "- a\n+ b", cell), 0.5)
    assert result.failed == {"test_weighs_every_value": "timeout"}
    assert result.share == 0
