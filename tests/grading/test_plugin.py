"""How hidden tests are collected and run: only our file, by our rules, in this process."""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest

from autograder.grading import plugin
from autograder.grading.plugin import BrokenTests, cause_of, seed
from autograder.submission import (
    Call,
    MissingName,
    SandboxFault,
    StudentCrashed,
    StudentError,
    StudentMemory,
    StudentMisbehaved,
    StudentTimeout,
)

from .conftest import released


def judged_by(module, path):
    """The module with its hidden tests in another file."""
    return replace(module, files=replace(module.files, hidden_tests=path))


def test_specs(module):
    found = {spec.name: spec for spec in plugin.specs(module)}
    assert len(found) == 10, "a parametrised function is one test"
    first = found["test_mean_of_squares"]
    assert (first.exercise, first.weight, first.core, first.hint) == ("mean_square", 3, True, 2)
    assert first.sentence == "The mean of the squares is right for any length."
    assert found["test_root"].depends == ("mean_square",)
    assert found["test_one_chunk_at_a_time"].memory_mb == 64 and found["test_counts"].seconds == 8


HEAD = "import pytest\nfrom autograder.judging import close\n"
ONE = '''
@pytest.mark.exercise("{name}"{says})
def test_{name}{number}(submission):
    """It is right."""
    assert submission
'''


def file_of(module, says=""):
    """A file with one test for each exercise, the first of which says more."""
    names = [e.name for e in module.exercises]
    return HEAD + "".join(ONE.format(name=n, says=says if n == names[0] else "", number="") for n in names)


@pytest.mark.parametrize(
    "says, why",
    [
        (", wieght=2", "knows no wieght"),
        (", name='x'", "knows no name"),
        (", weight=0", "weight must be above 0"),
        (", weight=float('nan')", "weight must be above 0"),
        (", hint=3", "no hint 3 of mean_square; it has 2"),
        (", depends=['nothing']", "no exercise 'nothing'"),
        (", depends='last'", ""),
        (", memory_mb=-1", "memory_mb must be above 0"),
        (", seconds=0", "seconds must be above 0"),
        (", core=True, forgeable=True", "cannot be core"),
        (", forgeable=True", "more than a fifth of mean_square"),
        (", 'second'", "must be marked once"),
    ],
)
def test_what_a_marker_may_say(module, tmp_path, says, why):
    path = tmp_path / "hidden_tests.py"
    path.write_text(file_of(module, says))
    if why:
        with pytest.raises(BrokenTests, match=why):
            plugin.specs(judged_by(module, path))
    else:
        assert plugin.specs(judged_by(module, path))


@pytest.mark.parametrize(
    "old, new, why",
    [
        ('"""It is right."""', "", "its docstring"),
        ('@pytest.mark.exercise("mean_square")\n', "", "must be marked once"),
        ('exercise("mean_square")', 'exercise("mean_squares")', "no exercise 'mean_squares'"),
        ('exercise("last")', 'exercise("mean_square")', "no test judges 'last'"),
        ("import pytest", "import pytest, no_such_module", "No module named 'no_such_module'"),
        ("import pytest", "import pytest (", "SyntaxError"),
    ],
)
def test_what_a_file_must_hold(module, tmp_path, old, new, why):
    path = tmp_path / "00_toy" / "hidden_tests.py"
    path.parent.mkdir()
    path.write_text(file_of(module).replace(old, new, 1))
    with pytest.raises(BrokenTests, match=why) as broken:
        plugin.specs(judged_by(module, path))
    assert "00_toy" in str(broken.value) and "\n" not in str(broken.value)


def test_no_file(module, tmp_path):
    with pytest.raises(BrokenTests, match="no hidden tests"):
        plugin.specs(judged_by(module, tmp_path / "hidden_tests.py"))


def test_nobody_elses_pytest(module, tmp_path, monkeypatch):
    path = tmp_path / "hidden_tests.py"
    path.write_text(file_of(module))
    planted = "raise SystemExit('planted')"
    (tmp_path / "conftest.py").write_text(planted)
    (tmp_path / "test_more.py").write_text(planted)
    (tmp_path / "planted_plugin.py").write_text(planted)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --collect-only --no-such-option")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.setenv("PYTEST_PLUGINS", "planted_plugin")
    assert len(plugin.specs(judged_by(module, path))) == 6
    assert os.environ["PYTEST_ADDOPTS"] == "--no-such-option" and "planted_plugin" not in sys.modules
    assert {file.name for file in tmp_path.iterdir()} - {"__pycache__"} == {
        "conftest.py",
        "test_more.py",
        "planted_plugin.py",
        "pytest.ini",
        "hidden_tests.py",
    }


def test_an_edited_file_is_read_again(module, tmp_path):
    for folder, says in [("a", "weight=2"), ("b", "weight=3")]:
        path = tmp_path / folder / "hidden_tests.py"
        path.parent.mkdir()
        path.write_text(file_of(module, f", {says}"))
        assert plugin.specs(judged_by(module, path))[0].weight == int(says[-1])
    path.write_text(file_of(module, ", weight=4"))
    os.utime(path, ns=(1, 1))
    assert plugin.specs(judged_by(module, path))[0].weight == 4


def test_inputs_are_fixed_by_secret_module_and_test():
    assert seed("s", "m", "t") == seed("s", "m", "t")
    assert (
        len({seed("s", "m", "t"), seed("z", "m", "t"), seed("s", "z", "t"), seed("s", "m", "z"), seed("sm", "", "t")})
        == 5
    )
    assert np.random.default_rng(seed("s", "m", "t")).normal() == np.random.default_rng(seed("s", "m", "t")).normal()


def test_every_student_meets_the_same_inputs_and_another_class_others(grader, module, write, monkeypatch):
    path = write(released(module, {"mean_square": "def mean_square(x): return float(x[0])"}))
    one, other = (grader.grade(path, show=True).exercises[0].tests[0].shown for _ in range(2))
    monkeypatch.setattr(grader, "secret", "another class")
    assert one == other != grader.grade(path, show=True).exercises[0].tests[0].shown


@pytest.mark.parametrize(
    "error, cause",
    [
        (None, "passed"),
        (AssertionError(), "failed"),
        (pytest.fail.Exception("no"), "failed"),
        (pytest.skip.Exception("no GPU"), "broken"),
        (StudentError("ValueError"), "error"),
        (MissingName("f"), "error"),
        (StudentTimeout(), "timeout"),
        (StudentMemory(), "memory"),
        (StudentCrashed(), "crashed"),
        (StudentMisbehaved(), "crashed"),
        (SandboxFault(), "fault"),
        (OSError(28, "No space left on device"), "broken"),
        (MemoryError(), "broken"),
        (SystemExit(), "broken"),
        (TypeError("unsupported operand"), "broken"),
        (ZeroDivisionError(), "broken"),
    ],
)
def test_causes(error, cause):
    assert cause in plugin.CAUSES
    assert cause_of(error) == cause


def test_an_error_of_the_reference_is_not_the_students():
    error = StudentError("ValueError")
    assert cause_of(error, [Call("f", error=error)]) == "broken"
    assert cause_of(error, [Call("f", error=StudentError("ValueError"))]) == "error"
