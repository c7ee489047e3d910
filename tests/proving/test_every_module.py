"""Every module's hidden tests are proven: here quickly, with a sample of the mutants; by `lsml calibrate` with all."""

import pytest

from autograder import curriculum
from autograder.proving.calibrate import of_module
from autograder.proving.runs import Bench, calibrate

EXERCISES = [(name, exercise.name) for name in curriculum.names() for exercise in curriculum.load(name).exercises]


@pytest.fixture(scope="session")
def bench():
    with Bench() as bench:
        yield bench


@pytest.mark.parametrize(("name", "exercise"), EXERCISES, ids=[f"{name}-{exercise}" for name, exercise in EXERCISES])
def test_every_bar_is_met(bench, name, exercise):
    needs = curriculum.load(name).exercise(exercise)
    if not needs.testable:
        pytest.skip(f"it needs {needs.needs}: make setup EXTRAS={needs.needs}")
    (row,) = calibrate([name], only=[exercise], sample=3, quick=True, bench=bench)
    assert row.problems == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", curriculum.names())
def test_every_mutant_is_killed_or_explained(name):
    rows = calibrate([name])
    assert [problem for row in rows for problem in row.problems] == []
    assert of_module(curriculum.load(name), rows) == ()
