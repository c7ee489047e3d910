"""What is our own fault is tried again, then shown to a person; it is never a zero, and the next notebook is graded."""

import errno
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from autograder.grading import budget, grade, verdicts
from autograder.submission import SandboxFault, Submission

from .conftest import TOY, as_notebook, released

EXERCISES = ["mean_square", "last", "root_mean_square", "solve", "total", "Counter"]


@pytest.fixture
def full(module, write):
    return write(released(module, "all"))


def faulty(report):
    return [exercise.id for exercise in report.exercises if exercise.verdict == "grader_fault"]


def assert_flagged(report, exercises):
    assert report.status == "grader_fault" and report.score is None
    assert faulty(report) == exercises
    assert all((e.score is None) == (e.id in exercises) for e in report.exercises)
    assert any("the grader failed" in note for note in report.notes)


def assert_unharmed(grader, path):
    graded = grader.grade(path)
    assert graded.status == "graded" and graded.score == 9 and graded.notes == ()


def processes_of_the_box(grader):
    """The sandbox's own processes on this machine: what an administrator or the OOM killer would find."""
    parent = grader._sandbox._process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [parent, *map(int, children)]


def test_the_box_killed_between_two_notebooks(grader, full):
    for pid in processes_of_the_box(grader):
        os.kill(pid, signal.SIGKILL)
    assert_unharmed(grader, full)


def test_the_box_killed_while_it_is_in_use(grader, module, write):
    sleeps = "import time\ndef last(x):\n    time.sleep(0.5)\n    return x[-1]"
    answers = {e.name: e.solution for e in module.exercises} | {"last": sleeps}
    path = write(released(module, answers))

    def kill():
        time.sleep(0.7)
        for pid in processes_of_the_box(grader):
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    graded = grader.grade(path)
    killer.join()
    # Whenever it came, nothing that a student wrote was judged by it.
    assert graded.score == 9 and graded.status == "graded"


def test_a_fault_that_passes_is_tried_again(grader, full, monkeypatch):
    real, failures = Submission.load, [SandboxFault("cannot fork")]

    def load(*args, **kwargs):
        if failures:
            raise failures.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(Submission, "load", load)
    graded = grader.grade(full)
    assert graded.status == "graded" and graded.score == 9 and graded.notes == ()


def test_a_fault_that_stays_is_for_a_person(grader, module, write, full, monkeypatch):
    answers = {"last": module.exercise("last").solution}
    with monkeypatch.context() as patch:
        patch.setattr(Submission, "load", lambda *args, **kwargs: (_ for _ in ()).throw(SandboxFault("cannot fork")))
        graded = grader.grade(write(released(module, answers), name="00_toy_b.ipynb"))
    assert_flagged(graded, ["last"])
    assert {e.verdict for e in graded.exercises} == {"grader_fault", "unanswered"}
    assert_unharmed(grader, full)


def test_a_full_disk(grader, full, monkeypatch):
    def full_disk(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full_disk)
        assert_flagged(grader.grade(full), ["total"])
    assert_unharmed(grader, full)


@pytest.fixture
def changed(grader, tmp_path, monkeypatch):
    """Grade by a copy of the toy course in which some text of a file is replaced."""

    def changed(file, old, new):
        root = tmp_path / "changed"
        shutil.copytree(TOY, root)
        path = root / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        monkeypatch.setattr(grader, "root", root)

    return changed


TESTS = "solutions/00_toy/hidden_tests.py"
REFERENCE = "solutions/00_toy/notebook.py"


@pytest.mark.parametrize(
    "file, old, new, exercises",
    [
        (REFERENCE, "np.mean(np.square(x, dtype=float))", "np.mean(broken)", ["mean_square"]),
        (TESTS, "a, b = (float(value)", "1 / 0\n    a, b = (float(value)", ["solve"]),
        (TESTS, "assert abs(submission.solve(a, b) * a - b) <= 1e-12", "assert submission.solve(a, b) == 0", ["solve"]),
        (TESTS, "assert abs(submission.solve(a, b) * a - b) <= 1e-12", "pytest.skip('no GPU')", ["solve"]),
        (TESTS, "import numpy as np", "import numpy as np\nimport no_such_module", EXERCISES),
        (TESTS, "def unchanged(chunks):", "def unchanged(chunks:", EXERCISES),
        (TESTS, '"solve", core=True', '"solved", core=True', EXERCISES),
        (REFERENCE, "import numpy as np", "import no_such_module", EXERCISES),
    ],
    ids=[
        "the reference raises",
        "a test breaks",
        "a test is wrong",
        "a test skips",
        "the tests cannot be imported",
        "the tests cannot be parsed",
        "a test names no exercise",
        "the setup cannot be run",
    ],
)
def test_mistakes_of_an_author(grader, module, full, changed, monkeypatch, file, old, new, exercises):
    answers = {e.name: e.solution for e in module.exercises}
    full.write_text(json.dumps(as_notebook(released(module, answers))))
    changed(file, old, new)
    assert_flagged(grader.grade(full), exercises)
    monkeypatch.undo()
    assert_unharmed(grader, full)


def test_feedback_on_a_broken_test_gives_no_expected_value_away(grader, full, changed):
    changed(TESTS, "assert close(submission.last(x), x[-1])", "assert close(submission.last(x), 86753.09 * x[-1])")
    graded = grader.grade(full)
    assert_flagged(graded, ["last"])
    assert "the reference fails it too" in graded.notes[0] and "close" not in str(graded.to_dict())


def test_a_test_that_is_too_slow_here_costs_nothing(impatient, full, changed):
    changed(REFERENCE, "return x[-1]", "import time; time.sleep(1000)")
    full.write_text(full.read_text().replace("return x[-1]", "while True: pass"))
    assert "last" in faulty(impatient.grade(full))


def test_a_module_that_cannot_be_read(grader, full, changed):
    changed(REFERENCE, "# %% tags=", "# %% tag=")
    graded = grader.grade(full)
    assert (graded.status, graded.score, graded.module) == ("grader_fault", None, "00_toy")
    assert "00_toy/notebook.py:6" in graded.notes[0]


def test_a_bug_of_ours_stops_nobody_else(grader, full, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr(verdicts, "judged", lambda *args: {}["bug"])
        assert_flagged(grader.grade(full), EXERCISES)
    assert "Traceback" in caplog.text
    assert_unharmed(grader, full)


def test_an_interrupt_is_an_interrupt(grader, full, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Submission, "load", interrupt)
        with pytest.raises(KeyboardInterrupt):
            grader.grade(full)
    assert_unharmed(grader, full)


# ------------------------------------------------------------------------------------ faults that a student would like

LIES = """
import sys
agent = next(m for name, m in sys.modules.items() if name.endswith(".agent"))
frame = agent.wire.frame
def lie(message, *values, encoder=None):
    parts = frame(message, *values, encoder=encoder)
    if message.get("kind") != "value":
        return parts
    tree = {"t": "tensor", "dtype": "float32", "shape": [1], "strides": ["a"], "b": 0}
    text = agent.wire.TEXT.encode({"m": message, "v": [tree], "b": [4]}).encode()
    return [agent.wire.PREFIX.pack(agent.wire.MAGIC, len(text), 4), text, bytes(4)]
agent.wire.frame = lie
"""


def test_malformed_replies_are_the_students_own(grader, module, write, full):
    cells = released(module, "all")
    cells.insert(2, {"cell_type": "code", "metadata": {}, "source": LIES, "outputs": [], "execution_count": None})
    graded = grader.grade(write(cells, name="00_toy_lies.ipynb"))
    assert graded.status == "graded" and graded.score == 0
    assert {e.verdict for e in graded.exercises} == {"crashed"}
    assert_unharmed(grader, full)


@pytest.mark.parametrize("digits", [4_000, 100_000])
def test_an_integer_that_python_does_not_write(grader, module, write, digits):
    answers = {e.name: e.solution for e in module.exercises} | {
        "last": f"k = 0x{'f' * digits}\ndef last(x): return x[-1]"
    }
    cells = released(module, answers)
    cells.append({"cell_type": "code", "metadata": {}, "source": f"k = 0x{'f' * digits}", "outputs": []})
    graded = grader.grade(write(cells))
    assert graded.status == "graded" and graded.score == 9


def test_an_answer_that_a_test_has_no_memory_for(grader, module, full, write, changed):
    changed(TESTS, "assert abs(submission.solve(a, b) * a - b) <= 1e-12", BINS)
    answers = {e.name: e.solution for e in module.exercises}
    graded = grader.grade(write(released(module, answers)))
    assert graded.score == 9
    graded = grader.grade(write(released(module, answers | {"solve": "def solve(a, b): return 10**12"})))
    assert graded.status == "graded" and graded.exercises[3].verdict == "failed"


BINS = "assert np.bincount([int(submission.solve(a, b))]).sum() == 1"


def test_a_skip_that_an_answer_brings_about(grader, module, full, write, changed):
    changed(TESTS, "assert abs(submission.solve(a, b) * a - b) <= 1e-12", SKIPS)
    answers = {e.name: e.solution for e in module.exercises} | {"solve": "def solve(a, b): return 7.0"}
    graded = grader.grade(write(released(module, answers)))
    assert graded.status == "graded" and graded.exercises[3].verdict == "failed"


SKIPS = "if submission.solve(a, b) == 7.0: pytest.skip('lucky')"


def test_a_disk_that_is_full_by_now(grader, full, monkeypatch):
    assert_unharmed(grader, full)
    full.write_text(full.read_text().replace("float(sum(np.sum(chunk) for chunk in chunks))", "-1.0"))
    assert grader.grade(full).status == "graded"  # so the reference has been run, and passed

    def full_disk(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full_disk)
        assert_flagged(grader.grade(full), ["total"])


def test_a_fault_gains_no_time(impatient, module, write, monkeypatch):
    """The second try goes on where the first stopped, and its clock is the same whatever the load is by then."""
    real, loads, given = Submission.load, [], []

    def load(sandbox, cells, limits, *args):
        given.append(limits.call_seconds)
        child = real(sandbox, cells, limits, *args)
        loads.append(child)
        if len(loads) == 3:
            monkeypatch.setattr(os, "getloadavg", lambda: (1e3, 0, 0))
            monkeypatch.setattr(budget, "running", lambda: 1e3)
            raise SandboxFault("the student's process was killed from outside")
        return child

    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(Submission, "load", load)
    budgets, made = [], budget.Budget
    monkeypatch.setattr(grade, "Budget", lambda *args: budgets.append(made(*args)) or budgets[-1])
    slow = "import time\ndef mean_square(x):\n    time.sleep(0.3)\n    return np.mean(np.square(x, dtype=float))"
    answers = {e.name: e.solution for e in module.exercises} | {"mean_square": slow}
    graded = impatient.grade(write(released(module, answers)))
    assert graded.status == "graded"
    assert set(given) == {impatient.limits.call_seconds}
    assert len({budget.left("mean_square") for budget in budgets if len(budget._granted) > 1}) == 1
    assert budgets[0]._spent["mean_square"] > 1.2


def test_a_long_text_is_not_explained_for_hours(grader, module, full, write, changed, monkeypatch):
    monkeypatch.setenv("CI", "true")
    changed(TESTS, "assert abs(submission.solve(a, b) * a - b) <= 1e-12", "assert submission.solve(a, b) == TEXT")
    (grader.root / TESTS).write_text((grader.root / TESTS).read_text() + LINES)
    random = "import random\ndef solve(a, b): return '\\n'.join(str(random.random()) for _ in range(3000))"
    graded = grader.grade(write(released(module, {"solve": random})))
    assert graded.seconds < 60 and graded.exercises[3].verdict == "grader_fault", "the toy's reference returns no text"


LINES = """
import random
TEXT = "\\n".join(str(random.random()) for _ in range(3000))
"""
