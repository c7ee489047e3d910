"""`lsml grade` and `lsml doctor` as a person or a script meets them."""

import contextlib
import functools
import json
import os
import re
import shutil

import pytest

from autograder.cli import main
from autograder.grading import chosen, doctor, grade, opening, solution, verdicts
from autograder.sandbox import SandboxUnavailable

from .conftest import TOY, as_notebook, released


@pytest.fixture
def lsml(grader, monkeypatch, capsys):
    """Run a command with the tests' grader; its exit status, output and errors."""
    asked = {}

    def begin(sandbox, limits, expected):
        asked["sandbox"] = sandbox
        return contextlib.nullcontext()

    monkeypatch.setattr(opening, "Opening", begin)
    monkeypatch.setattr(grade, "Grader", lambda begun: contextlib.nullcontext(grader))
    monkeypatch.setattr(chosen, "unreadable", functools.partial(chosen.unreadable, root=TOY))

    def lsml(*arguments):
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    lsml.asked = asked
    return lsml


HALF = {
    "mean_square": "def mean_square(x):\n    return np.mean(x)",
    "last": "def last(x):\n    return x[5]",
    "Counter": "class Counter:\n    def add(self, k): self.count = k",
}


def test_the_table(lsml, module, write):
    status, out, err = lsml("grade", write(released(module, HALF)))
    assert (status, err) == (0, "")
    for text in [
        "not right yet",
        "✗ The mean of the squares is right for any length.",
        "It behaves like one that forgets to square.",
        "→ Read hint 2 of mean_square.",
        "IndexError: index 5 is out of bounds",
        "cell [5] (last), line 2: return x[5]",
        "not answered yet",
        "0 of 9 points, 3 exercises not answered yet.",
    ]:
        assert text in out
    assert "expected:" not in out and "Traceback" not in out


def test_full_marks(lsml, module, write):
    status, out, _ = lsml("grade", write(released(module, "all")))
    assert status == 0 and "9 of 9 points: all right." in out and "✗" not in out


def test_show(lsml, module, write):
    _, out, _ = lsml("grade", "--show", write(released(module, HALF)))
    assert "input: mean_square(" in out and "returned: 100.0" in out and "expected: 10000.0" in out


def test_one_exercise_alone(lsml, module, write):
    path = write(released(module, HALF | {"Counter": module.exercise("Counter").solution}))
    status, out, _ = lsml("grade", "--exercise", "Counter", path)
    points = module.exercise("Counter").points
    assert status == 0 and f"{points} of {points} points" in out and "mean_square" not in out
    status, out, _ = lsml("grade", "--json", "--exercise", "last", "--exercise", "Counter", path)
    report = json.loads(out)
    assert [exercise["id"] for exercise in report["exercises"]] == ["last", "Counter"]
    assert report["score"] == points and report["max_score"] == points + module.exercise("last").points
    status, out, err = lsml("grade", "--exercise", "lost", path)
    assert (status, out) == (2, "") and "has no exercise 'lost'; it has mean_square" in err


def test_json_has_a_line_for_every_file(lsml, module, write, tmp_path):
    (tmp_path / "empty.ipynb").write_bytes(b"")
    (tmp_path / "text.ipynb").write_text("hello")
    (tmp_path / "link.ipynb").symlink_to("nowhere")
    (tmp_path / "essay.ipynb").write_text(json.dumps(as_notebook([], module=None)))
    good = write(released(module, HALF))
    paths = [good, *(tmp_path / f"{name}.ipynb" for name in ("empty", "text", "link", "essay")), tmp_path]
    status, out, err = lsml("grade", "--json", *paths)
    lines = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert [line["notebook"] for line in lines] == [str(path) for path in paths]
    assert [line["status"] for line in lines] == ["graded"] + ["unreadable"] * 5
    assert [line["module"] for line in lines] == ["00_toy"] + [None] * 5
    assert [line["score"] for line in lines] == [0.0] * 6 and lines[0]["max_score"] == 9
    assert all(len(line["notes"]) == 1 for line in lines[1:])
    first = lines[0]["exercises"][0]
    assert (first["id"], first["verdict"], first["points"]) == ("mean_square", "failed", 2)
    assert first["tests"][0]["misconception"] == "forgets to square"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("empty.ipynb", b"", "is empty"),
        ("essay.ipynb", json.dumps(as_notebook([], module=None)).encode(), "is not one of the modules (00_toy)"),
        ("photo.ipynb", b"\x89PNG\r\n\xff", "is not a notebook"),
        ("folder", None, "is a folder, not a notebook"),
    ],
)
def test_what_is_no_notebook_ends_it_before_anything_is_graded(lsml, module, write, tmp_path, name, content, why):
    path = tmp_path / name
    path.mkdir() if content is None else path.write_bytes(content)
    status, out, err = lsml("grade", write(released(module, "all")), path)
    assert (status, out) == (2, "") and err.count("\n") == 1 and name in err and why in err
    assert lsml.asked == {}, "no sandbox was started"


def test_json_of_nothing_that_can_be_graded_starts_no_sandbox(lsml, tmp_path):
    (tmp_path / "empty.ipynb").write_bytes(b"")
    status, out, err = lsml("grade", "--json", tmp_path / "empty.ipynb", tmp_path)
    assert (status, err) == (0, "") and [json.loads(line)["status"] for line in out.splitlines()] == ["unreadable"] * 2
    assert lsml.asked == {}


def test_a_path_that_does_not_exist_ends_it_before_anything_is_graded(lsml, module, write, tmp_path):
    status, out, err = lsml("grade", write(released(module)), tmp_path / "none.ipynb")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "none.ipynb" in err
    assert lsml.asked == {}


def test_usage(lsml):
    with pytest.raises(SystemExit) as usage:
        lsml("grade", "--sandbox", "paper", "x.ipynb")
    assert usage.value.code == 2


def test_the_first_line_says_what_to_mend_first_and_the_table_comes_last(lsml, module, write):
    _, out, _ = lsml("grade", write(released(module, HALF)))
    lines = out.splitlines()
    assert lines[0] == "mean_square: not right yet" and lines[-1].startswith("0 of 9 points")
    table = lines[lines.index(next(line for line in lines if line.startswith("Exercise"))) :]
    assert len(table) == len(module.exercises) + 2 and max(map(len, table)) <= 80
    assert not any(line != line.rstrip() for line in lines[: -len(table)]), "nothing is padded"


def test_a_table_of_long_names_fits_80_columns(capsys):
    from rich.console import Console

    from autograder.grading.report import ExerciseResult, Report
    from autograder.grading.table import print_report

    exercises = (ExerciseResult("n" * 50, "grader_fault", 12.75, 100, True),)
    print_report(Console(width=10_000), Report("x.ipynb", "00_toy", "graded", 1.0, 2.0, 0.0, exercises))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[lines.index("x.ipynb") :])) <= 80


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def mean_square(x):\n    return foo(x)", "NameError: name 'foo' is not defined"),
        ("def mean_square(x):\n    return = 1", "SyntaxError: invalid syntax"),
    ],
)
def test_one_mistake_is_said_once(lsml, module, write, source, said):
    _, out, _ = lsml("grade", write(released(module, {"mean_square": source})))
    assert out.count(said) == 1 and out.count("line 2: return") == 1
    assert re.search(r"The same holds for \d more test", out)


def test_tests_that_were_not_run_are_not_listed(lsml, impatient, module, write):
    _, out, _ = lsml("grade", write(released(module, {"mean_square": "def mean_square(x):\n    while True: pass"})))
    assert out.count("was stopped") + out.count("Not run") <= 2 and out.startswith("mean_square: took too long")


def test_two_failures_of_different_inputs_are_two(lsml, module, write):
    _, out, _ = lsml("grade", write(released(module, {"mean_square": HALF["mean_square"]})))
    report = json.loads(lsml("grade", "--json", write(released(module, HALF)))[1])
    assert out.count("✗") == sum(not test["passed"] for test in report["exercises"][0]["tests"]) > 1


def test_a_grader_fault_is_status_1_and_no_score(lsml, module, write, monkeypatch):
    monkeypatch.setattr(verdicts, "judged", lambda *args: {}["bug"])
    status, out, _ = lsml("grade", "--json", write(released(module, HALF)))
    assert status == 1 and json.loads(out)["score"] is None and json.loads(out)["status"] == "grader_fault"
    status, out, _ = lsml("grade", write(released(module, HALF)))
    assert status == 1 and "No score: the grader itself failed." in out


def test_without_a_sandbox_it_refuses_and_says_what_to_do(lsml, module, write, monkeypatch):
    def unavailable(begun):
        raise SandboxUnavailable("bubblewrap is not installed", "apt install bubblewrap")

    monkeypatch.setattr(grade, "Grader", unavailable)
    status, out, err = lsml("grade", write(released(module)))
    assert (status, out) == (2, "") and err.count("\n") == 1
    for text in ("bubblewrap is not installed", "apt install bubblewrap", "--sandbox none"):
        assert text in err


def test_no_sandbox_must_be_asked_for_by_name(lsml, module, write):
    lsml("grade", write(released(module)))
    assert lsml.asked["sandbox"] == "bubblewrap"
    lsml("grade", "--sandbox", "none", write(released(module)))
    assert lsml.asked["sandbox"] == "none"


def test_without_bubblewrap_nothing_is_graded(module, write, tmp_path, monkeypatch, capsys):
    """The real thing: no `bwrap` to be found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["grade", str(write(released(module, "all")))]) == 2
    assert "bubblewrap" in capsys.readouterr().err


def test_escape_sequences_in_a_name_do_not_reach_the_terminal(lsml, tmp_path):
    path = tmp_path / "\x1b[2J\u202e.ipynb"
    path.write_text("")
    _, _, err = lsml("grade", path)
    assert "is empty" in err and "\x1b[2J" not in err and "\u202e" not in err


def test_doctor_names_what_is_missing(monkeypatch, capsys):
    found = [
        doctor.Check("Python", True, "3.12"),
        doctor.Check("GPU", None, "none"),
        doctor.Check("x", False, "no", "do y"),
    ]
    monkeypatch.setattr(doctor, "checks", lambda: iter(found))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "✓ Python: 3.12" in out and "· GPU: none" in out and "✗ x: no" in out and "    do y" in out
    monkeypatch.setattr(doctor, "checks", lambda: iter(found[:2]))
    assert main(["doctor"]) == 0


def test_doctor_looks_at_everything():
    found = list(doctor.checks())
    names = [check.name for check in found]
    assert {"Python", "numpy", "torch", "GPU", "sandbox: no network"} <= set(names)
    assert all(check.remedy for check in found if check.ok is False)
    assert all(check.ok for check in found if check.name in ("Python", "numpy", "torch"))


def test_doctor_finds_versions_that_do_not_fit():
    assert doctor.python_check(">=99").ok is False and doctor.python_check(">=3.11").ok
    assert doctor.package_check(doctor.Requirement("numpy>=999")).ok is False
    missing = doctor.package_check(doctor.Requirement("no-such-package>=1"))
    assert missing.ok is False and "not installed" in missing.detail and "make setup" in missing.remedy


def test_the_json_is_ascii_so_that_no_terminal_can_be_driven_by_it(lsml, module, write):
    source = "def last(x):\n    raise ValueError('\\x1b[31m é')"
    _, out, _ = lsml("grade", "--json", write(released(module, {"last": source})))
    assert out.isascii() and out.count("\n") == 1 and os.linesep in out


@pytest.fixture
def work(lsml, module, tmp_path, monkeypatch):
    """A course with the toy module and a notebook of it in work/; gives a function that writes its answers."""
    root = tmp_path / "course"
    shutil.copytree(TOY, root)
    for function in (solution.are_open, solution.invitation, solution.find, solution.show):
        monkeypatch.setattr(function, "__defaults__", (root,))
    monkeypatch.setattr(chosen.notebooks, "__defaults__", (root,))
    path = root / "work" / "00_toy" / "00_toy.ipynb"
    path.parent.mkdir(parents=True)

    def work(answers):
        path.write_text(json.dumps(as_notebook(released(module, answers))))
        return path

    work.root = root
    return work


def test_a_solution_is_open_after_full_marks(lsml, work):
    work({"solve": "def solve(a, b): return b * (1 / a)"})
    status, out, err = lsml("solution", "00", "solve")
    assert (status, err) == (0, "") and "return b / a" in out and "SOLUTION" not in out
    status, out, err = lsml("solution", "00", "last")
    assert (status, out) == (2, "") and "last is not at full marks" in err and "--anyway" in err
    status, out, _ = lsml("solution", "00", "last", "--anyway")
    assert status == 0 and "return x[-1]" in out
    _, out, _ = lsml("solution", "00", "mean_square", "--anyway")
    assert "Also right: a loop\n" in out and "@right" not in out and "\n- forgets to square\n" in out
    status, _, err = lsml("solution", "00", "nothing")
    assert status == 2 and "mean_square, last" in err


def test_a_grade_says_that_a_solution_is_open(lsml, work):
    status, out, _ = lsml("grade", work({"solve": "def solve(a, b): return b * (1 / a)"}))
    assert status == 0 and "lsml solution 00 solve" in out
    assert "lsml solution" not in lsml("grade", work({}))[1]
    assert "lsml solution" not in lsml("grade", "--json", work({"solve": "def solve(a, b): return b / a"}))[1]


@pytest.mark.parametrize(
    ("settings", "opened"), [("", False), ("show_solutions = false", False), ("show_solutions = true", True)]
)
def test_in_a_class_the_class_decides(lsml, work, settings, opened):
    (work.root / "class.toml").write_text(settings)
    path = work({"solve": "def solve(a, b): return b / a"})
    assert ("lsml solution" in lsml("grade", path)[1]) == opened
    status, out, err = lsml("solution", "00", "solve", "--anyway")
    assert (status, "return b / a" in out, "closed" in err) == ((0, True, False) if opened else (2, False, True))


@pytest.mark.parametrize(
    ("written", "says"),
    [(0, None), (1, "1 more point is for what you write"), (2, "2 more points are for what you write")],
)
def test_points_that_a_person_gives_are_named_beside_full_marks(written, says, capsys):
    from rich.console import Console

    from autograder.grading.report import Report
    from autograder.grading.table import print_report

    print_report(Console(width=10_000), Report("x.ipynb", "00_toy", "graded", 9.0, 9.0, 0.0, ()), written=written)
    out = capsys.readouterr().out
    assert "9 of 9 points: all right." in out and (says or "9 of 9") in out and ("more point" in out) == bool(says)


def test_a_modules_points_in_words():
    from autograder import curriculum

    assert [curriculum.load(name).written_points for name in ("01_gradient_descent", "03_softmax")] == [4, 2]
