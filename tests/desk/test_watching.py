"""Grading while one writes: what is tested again, what a loop keeps waiting, and `lsml watch` itself."""

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from autograder import curriculum
from autograder.authoring.release import released_notebook
from autograder.cli import main
from autograder.desk import own_page
from autograder.desk import watching as watching_module
from autograder.desk.regrading import Regrader
from autograder.desk.watching import Saves
from autograder.errors import UserError
from autograder.grading import kept, rebuild, resting
from autograder.grading.grade import Abandoned, Grader
from autograder.sandbox import Limits
from autograder.submission import SandboxFault, Submission

TOY, REPOSITORY = Path(__file__).parents[1] / "grading" / "toy" / "solutions", Path(__file__).parents[2]
LOOPS = "def last(x):\n    while True:\n        pass\n"


class Desk:
    """A checkout with the toy module, and a person's notebook of it."""

    def __init__(self, root):
        self.root = root
        (root / "solutions").symlink_to(TOY)
        self.module = curriculum.load("00_toy", root)
        (root / "course" / "00_toy").mkdir(parents=True)
        nbformat.write(released_notebook(self.module), root / "course" / "00_toy" / "00_toy.ipynb")
        self.path = kept.notebook("00_toy", root)
        self.page = root / own_page.PAGES / "00_toy.html"
        self.answers = {exercise.name: exercise.solution for exercise in self.module.exercises}

    def save(self, added=(), **answers):
        """Save the notebook as JupyterLab does: all exercises answered, these otherwise, and added cells at the end."""
        notebook = nbformat.read(self.root / "course" / "00_toy" / "00_toy.ipynb", as_version=4)
        for cell in notebook.cells:
            own = cell.metadata.get("lsml", {})
            if own.get("role") == "exercise":
                cell.source = (self.answers | answers)[own["name"]]
        notebook.cells += [nbformat.v4.new_code_cell(source, id=f"own-{i}") for i, source in enumerate(added)]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_name(".~00_toy.ipynb")
        nbformat.write(notebook, scratch)
        scratch.replace(self.path)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def own_grader(tmp_path_factory):
    """One grader, for the course that `grader.root` is set to."""
    limits = Limits(cell_seconds=3.0, call_seconds=3.0, notebook_seconds=30.0, memory_mb=256)
    with Grader(limits=limits) as grader:
        yield grader


@pytest.fixture
def regrader(desk, own_grader, monkeypatch):
    """A Regrader of the desk's course; `tested` are the exercises whose tests have run since it was cleared."""
    monkeypatch.setattr(own_grader, "root", desk.root)
    made = Regrader(own_grader)
    made.tested = []
    monkeypatch.setattr(own_grader, "begun", made.tested.append)
    return made


def regraded(regrader, desk, **saved):
    """Which exercises' tests run because of what is saved now."""
    desk.save(**saved)
    regrader.tested.clear()
    report = regrader.regrade(desk.path, "00_toy")
    assert report.status == "graded", report.notes
    return set(regrader.tested), {result.id: result.verdict for result in report.exercises}


def test_only_what_changed_and_what_needs_it_is_regraded(regrader, desk):
    everything = {exercise.name for exercise in desk.module.exercises}
    tested, verdicts = regraded(regrader, desk)
    assert tested == everything and set(verdicts.values()) == {"passed"}
    assert regraded(regrader, desk)[0] == set()
    assert regraded(regrader, desk, solve="def solve(a, b):\n    return (1 / a) * b")[0] == {"solve"}
    # root_mean_square calls mean_square.
    tested, verdicts = regraded(regrader, desk, mean_square="def mean_square(x):\n    return 7.0")
    assert tested >= {"mean_square", "root_mean_square"} and not tested & {"last", "total", "Counter"}
    assert verdicts["mean_square"] == "failed" and verdicts["root_mean_square"] != "passed"
    tested, verdicts = regraded(regrader, desk)
    assert tested >= {"mean_square", "root_mean_square"} and set(verdicts.values()) == {"passed"}


def test_a_helper_counts_for_those_who_use_it_and_a_call_for_all(regrader, desk):
    answer = "def solve(a, b):\n    return quotient(b, a)"
    regraded(regrader, desk, added=["def quotient(b, a):\n    return b / a"], solve=answer)
    tested, verdicts = regraded(regrader, desk, added=["def quotient(b, a):\n    return 3"], solve=answer)
    assert tested == {"solve"} and verdicts["solve"] == "failed"
    tested, _ = regraded(regrader, desk, added=["np.seterr(all='raise')"])
    assert tested == {exercise.name for exercise in desk.module.exercises}


def rests_of(desk, **saved):
    desk.save(**saved)
    _, rebuilt = rebuild.read(desk.path, desk.root)
    return resting.rests(rebuilt, {})


QUOTIENT = "def solve(a, b):\n    return quotient(b, a)"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from math import *", "from numpy import *"),
        ("import math", "import math; np.seterr(all='raise')"),
        ("def quotient(b, a):\n    return b / a", "@register\ndef quotient(b, a):\n    return b / a"),
        ("@register\ndef other(): return 1", "@register\ndef other(): return 2"),
        ("class A:\n    np.seterr(all='warn')", "class A:\n    np.seterr(all='raise')"),
        ("def other(:", "def other(): pass"),
        ("x = np.zeros(3)", "x = np.ones(3)"),
    ],
)
def test_what_may_change_anything_counts_for_all(desk, before, after):
    one, other = rests_of(desk, added=[before]), rests_of(desk, added=[after])
    assert all(one[name].code != other[name].code for name in desk.answers)


def test_names_in_a_string_are_not_followed_so_all_counts(desk):
    answer = 'def solve(a, b):\n    return eval("quotient(b, a)")'
    one = rests_of(desk, added=["def quotient(b, a):\n    return b / a"], solve=answer)
    other = rests_of(desk, added=["def quotient(b, a):\n    return a / b"], solve=answer)
    assert one["solve"].code != other["solve"].code


def test_a_cell_that_does_nothing_moves_the_others_and_changes_no_result(regrader, desk):
    wrong = "def last(x):\n    return x[0] + 1"
    helper = "def quotient(b, a):\n    return b / a"
    regraded(regrader, desk, added=[helper], solve=QUOTIENT, last=wrong)
    tested, verdicts = regraded(regrader, desk, added=["%lsml grade", helper], solve=QUOTIENT, last=wrong)
    assert tested <= {"last"} and verdicts["solve"] == "passed", "messages of what failed name cells by number"


def test_a_slow_cell_beside_costs_nobody_their_helpers(regrader, desk):
    slow = ["import time\ntime.sleep(1.5)", "def quotient(b, a):\n    return b / a"]
    _, verdicts = regraded(regrader, desk, added=slow, solve=QUOTIENT)
    assert set(verdicts.values()) == {"passed"}


def test_a_cell_that_never_ends_is_waited_for_once(regrader, desk, monkeypatch):
    run, endless = [], ["while True: pass"]
    execute = Submission._execute
    monkeypatch.setattr(
        Submission, "_execute", lambda self, cell, purse: run.append(cell) or execute(self, cell, purse)
    )
    regraded(regrader, desk, added=endless)
    assert any("while True" in cell.source for cell in run)
    run.clear()
    _, verdicts = regraded(regrader, desk, added=endless, solve="def solve(a, b):\n    return (1 / a) * b")
    assert verdicts["solve"] == "passed" and run and not any("while True" in cell.source for cell in run)


def test_a_fault_of_the_graders_is_tried_again(regrader, desk, own_grader, monkeypatch):
    def broken(*arguments, **more):
        raise SandboxFault("no memory")

    desk.save()
    with monkeypatch.context() as patched:
        patched.setattr(own_grader, "_tested", broken)
        report = regrader.regrade(desk.path, "00_toy")
    assert report.status == "grader_fault" and any("no memory" in note for note in report.notes)
    assert regrader.regrade(desk.path, "00_toy").score == desk.module.max_score


def test_a_fresh_report_says_the_same(regrader, desk, own_grader):
    regraded(regrader, desk)
    answers = {"mean_square": "def mean_square(x):\n    return float(np.mean(x))", "solve": "def solve(a, b):\n    1/0"}
    desk.save(**answers)
    mine = regrader.regrade(desk.path, "00_toy").to_dict()
    fresh = own_grader.grade(desk.path).to_dict()
    assert {**mine, "seconds": 0, "notebook": ""} == {**fresh, "seconds": 0, "notebook": ""}


def test_a_loop_keeps_no_other_exercise_waiting(regrader, desk):
    seen = []
    regrader.tell = lambda report, waiting: seen.append((waiting, {e.id: e.verdict for e in report.exercises}))
    _, verdicts = regraded(regrader, desk, last=LOOPS)
    assert verdicts.pop("last") == "timeout" and set(verdicts.values()) == {"passed"}
    assert (["last"], verdicts) in seen, "all others were known while it was still to be tested"
    regrader.tested.clear()
    seen.clear()
    desk.save(last=LOOPS + "#", solve="def solve(a, b):\n    return (1 / a) * b")
    regrader.regrade(desk.path, "00_toy")
    assert regrader.tested[0] == "solve", "who was slow before comes last"


def test_what_runs_is_given_up_when_it_is_saved_anew(regrader, desk, own_grader, monkeypatch):
    regraded(regrader, desk)
    monkeypatch.setattr(own_grader, "limits", replace(own_grader.limits, call_seconds=120.0, notebook_seconds=999.0))
    monkeypatch.setattr("autograder.desk.regrading.LOOK_SECONDS", 120.0)
    desk.save(last=LOOPS)
    running = threading.Event()
    own_grader.begun = lambda name: running.set() if name == "last" else None

    def interrupt():
        running.wait(60)
        time.sleep(0.3)
        own_grader.abandon()

    other = threading.Thread(target=interrupt)
    other.start()
    started = time.monotonic()
    with pytest.raises(Abandoned):
        regrader.regrade(desk.path, "00_toy")
    assert time.monotonic() - started < 60  # the loop itself has twice that
    other.join()
    assert set(regraded(regrader, desk)[1].values()) == {"passed"}


def test_a_damaged_notebook_is_said_to_be_one_and_the_next_is_graded(regrader, desk):
    desk.save()
    whole = desk.path.read_bytes()
    desk.path.write_bytes(whole[:500])
    report = regrader.regrade(desk.path, "00_toy")
    assert report.status == "unreadable" and report.notes
    desk.path.write_bytes(whole)
    assert regrader.regrade(desk.path, "00_toy").score == desk.module.max_score


def test_saves_are_taken_once_and_the_same_one_is_known_to_be_old():
    saves = Saves()
    assert [saves.add(name) for name in ("01_a", "02_b", "01_a")] == [False] * 3
    taken = iter(saves)
    assert next(taken) == "01_a"
    assert saves.add("01_a") and saves.add("03_c"), "whoever is at hand gives way"
    assert [next(taken), next(taken), next(taken)] == ["02_b", "01_a", "03_c"]
    saves.end()
    assert next(taken, None) is None


@contextlib.contextmanager
def watching(root):
    """`lsml watch`, as `lsml lab` starts it; ended when its standard input ends."""
    command = [sys.executable, "-m", "autograder", "watch", "--until-eof", "--root", str(root)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY
    )
    try:
        yield process
    finally:
        process.stdin.close()
        assert process.wait(120) == 0, process.stdout.read()


def test_watch_writes_the_page_and_keeps_the_report(desk):
    desk.save(solve="def solve(a, b):\n    return '<script>alert(1)</script>'")
    with watching(desk.root) as process:
        assert process.stdout.readline().startswith("ready")
        desk.save(solve="def solve(a, b):\n    return '<script>alert(1)</script>'")
        assert re.match(r"00_toy: 7 of 9 in [\d.]+ s; solve \(\w+\)\n", process.stdout.readline())
        page = desk.page.read_text()
        assert "7</b>" in page and "alert(1)" in page and "<script>alert" not in page
        assert "is being tested" not in page and 'data-left="0"' in page
        with watching(desk.root) as second:
            assert "another" in second.stdout.readline()
        desk.save()
        assert process.stdout.readline().startswith("00_toy: 9 of 9")
        found = kept.get("00_toy", Limits(), desk.root)
        assert found.current and found.report.score == 9
        desk.path.unlink()  # and nothing happens
    assert "live.js" in desk.page.read_text()


def test_what_goes_wrong_with_one_notebook_does_not_end_it(desk):
    desk.save()
    released, mine = desk.root / "course" / "00_toy" / "00_toy.ipynb", desk.path.read_bytes()
    with watching(desk.root) as process:
        assert process.stdout.readline().startswith("ready")
        released.rename(released.with_suffix(".gone"))  # no page can be made
        desk.path.write_bytes(mine + b"\n")
        assert any(line.startswith("00_toy: no report") for line in process.stdout)
        released.with_suffix(".gone").rename(released)
        desk.path.write_bytes(mine)
        assert process.stdout.readline().startswith("00_toy: 9 of 9")


def test_who_can_no_longer_watch_says_so(desk, monkeypatch):
    def saved(root, stop):
        yield from ()
        raise OSError("no space left for watches")

    monkeypatch.setattr(watching_module, "_saved", saved)
    (desk.root / "work").mkdir()
    with pytest.raises(UserError, match="no space left"):
        watching_module.watch("none", lambda line: None, root=desk.root)


def test_what_was_left_unfinished_is_graded_at_the_start(desk):
    desk.save()
    report = Grader(root=desk.root).report("", "00_toy", desk.module, 0.1, [], ())
    assert own_page.old(desk.root) == []
    own_page.put(report, "00_toy", desk.path.read_bytes(), ["last"], desk.root)
    assert own_page.old(desk.root) == ["00_toy"]
    own_page.put(report, "00_toy", desk.path.read_bytes(), None, desk.root)
    assert own_page.old(desk.root) == []
    desk.path.write_bytes(b"{")
    assert own_page.old(desk.root) == ["00_toy"]
    with watching(desk.root) as process:
        assert process.stdout.readline().startswith("ready")
        assert process.stdout.readline().startswith("00_toy: is not")
    assert "could not be graded" in desk.page.read_text()


def test_nothing_to_watch_is_one_line(tmp_path, capsys):
    assert main(["watch", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_magic_shows_the_page_of_what_is_saved(desk, monkeypatch, capsys):
    from lsml_utils import magic

    desk.save()
    monkeypatch.chdir(desk.path.parent)
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data["text/html"]))
    monkeypatch.setattr(magic, "BEGINS", 0.3)
    report = Grader(root=desk.root).report("", "00_toy", desk.module, 0.1, [], ())
    names = [exercise.name for exercise in desk.module.exercises]
    own_page.put(report, "00_toy", desk.path.read_bytes(), names, desk.root)

    def finish():
        time.sleep(0.6)
        own_page.put(report, "00_toy", desk.path.read_bytes(), None, desk.root)

    threading.Thread(target=finish).start()
    magic.run(["grade"], "00_toy")
    assert len(shown) == 1 and "<iframe sandbox" in shown[0]
    assert "is being tested" not in shown[0] and "00 Toy" in shown[0]
    # Of another state of the notebook there is no page: the command itself is run.
    desk.path.write_text(json.dumps({"cells": []}))
    magic.run(["grade"], "00_toy")
    assert len(shown) == 1 and "00_toy.ipynb" in capsys.readouterr().out
    magic.run(["hint", "nowhere", "nothing"], "00_toy")
    assert "nowhere" in capsys.readouterr().out
