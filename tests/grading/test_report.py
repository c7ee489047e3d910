"""A Report survives JSON, and is kept under a key that changes with all that makes it."""

import json
import shutil
from dataclasses import replace

import pytest

from autograder.grading import plugin
from autograder.grading.report import ExerciseResult, Report, TestResult, exercise_keys, report_key
from autograder.sandbox import Limits

from .conftest import TOY, released

TESTS = (TestResult("t", True, "Right."), TestResult("u", False, "Wrong.\nIt raised.", "adds", "Read hint 1.", "x=1"))
REPORT = Report(
    "a/b.ipynb",
    "00_toy",
    "grader_fault",
    None,
    9,
    0.41,
    (
        ExerciseResult("f", "partial", 1.5, 2, False, TESTS, "1 of 2"),
        ExerciseResult("g", "grader_fault", None, 1, True),
    ),
    ("a note",),
)


def test_json_and_back():
    text = json.dumps(REPORT.to_dict(), allow_nan=False)
    assert Report.from_dict(json.loads(text)) == REPORT


def test_the_keys_of_design():
    values = REPORT.to_dict()
    assert list(values)[:7] == ["notebook", "module", "status", "score", "max_score", "seconds", "exercises"]
    assert {"id", "verdict", "score", "points", "tests"} <= values["exercises"][0].keys()
    assert {"name", "passed", "message", "misconception"} <= values["exercises"][0]["tests"][0].keys()


def test_keys_of_a_later_version_are_left_out():
    values = REPORT.to_dict()
    values["exercises"][0]["tests"][0]["later"] = values["exercises"][0]["later"] = values["later"] = 1
    assert Report.from_dict(values) == REPORT


@pytest.fixture
def root(tmp_path):
    shutil.copytree(TOY, tmp_path / "root")
    return tmp_path / "root"


def test_what_the_key_depends_on(module, write, root):
    path = write(released(module))
    key = report_key(path.read_bytes(), "00_toy", "secret", Limits(), root)
    assert key == report_key(path.read_bytes(), "00_toy", "secret", Limits(), root) and len(key) == 64
    others = {
        report_key(write(released(module, "all"), "other.ipynb").read_bytes(), "00_toy", "secret", Limits(), root),
        report_key(path.read_bytes(), "01_other", "secret", Limits(), root),
        report_key(path.read_bytes(), "00_toy", "another", Limits(), root),
        report_key(path.read_bytes(), "00_toy", "secret", replace(Limits(), memory_mb=1), root),
    }
    for file in ("solutions/00_toy/notebook.py", "solutions/00_toy/hidden_tests.py", "solutions/00_toy/answers.py"):
        with (root / file).open("a") as opened:
            opened.write("\n# changed\n")
        others.add(report_key(path.read_bytes(), "00_toy", "secret", Limits(), root))
    assert len(others | {key}) == 8


def test_what_the_keys_of_exercises_depend_on(module, write, root):
    path, tests = write(released(module)), root / "solutions" / "00_toy" / "hidden_tests.py"
    text = tests.read_text()

    def changed(old, new, file=tests):
        """The exercises whose keys are others after a change."""
        before = exercise_keys(path.read_bytes(), "00_toy", "secret", Limits(), root)
        content = file.read_text()
        assert old in content
        file.write_text(content.replace(old, new, 1))
        after = exercise_keys(path.read_bytes(), "00_toy", "secret", Limits(), root)
        file.write_text(content)
        return {name for name in before if before[name] != after.get(name)}

    everything = {exercise.name for exercise in module.exercises}
    assert exercise_keys(path.read_bytes(), "00_toy", "secret", Limits(), root).keys() == everything
    assert changed("The mean of the squares is right", "The mean of the squares is as it should be") == {"mean_square"}
    assert changed(text[:20], f"# more\n{text[:20]}") == set()
    assert changed("import pytest", "import pytest\nTOLERANCE = 3") == everything
    assert changed("import pytest", "import pytest (") == everything
    assert changed("# %%", "# %%\n", root / "solutions" / "00_toy" / "notebook.py") == everything
    keys = exercise_keys(path.read_bytes(), "00_toy", "secret", Limits(), root)
    for other in (
        exercise_keys(write(released(module, "all"), "other.ipynb").read_bytes(), "00_toy", "secret", Limits(), root),
        exercise_keys(path.read_bytes(), "00_toy", "another", Limits(), root),
        exercise_keys(path.read_bytes(), "00_toy", "secret", Limits(call_seconds=1), root),
    ):
        assert not set(keys.values()) & set(other.values())


def test_what_is_done_is_not_run_again(grader, module, write, monkeypatch):
    path = write(released(module, "all"))
    whole = grader.grade(path)
    done = [replace(whole.exercises[0], message="as it was")]
    ran, run = [], plugin.run
    monkeypatch.setattr(plugin, "run", lambda *args, **more: (ran.append(more["exercises"]), run(*args, **more))[1])
    again = grader.grade(path, done=done)
    assert again.exercises == (*done, *whole.exercises[1:]) and again.score == whole.score
    assert ran == [[exercise.id for exercise in whole.exercises[1:]]]
    ran.clear()
    assert grader.grade(path, done=whole.exercises).exercises == whole.exercises and not ran
