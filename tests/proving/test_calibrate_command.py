"""`lsml calibrate` on a temporary copy of the tree: its table, its JSON, its exit status."""

import ast
import json
import os
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from autograder import answers, cli, curriculum
from autograder.proving.calibrate import Row
from autograder.proving.commands import run
from autograder.proving.table import show

PARTS = ("autograder", "lsml_utils", "solutions")


@pytest.fixture
def copy(tmp_path):
    for part in PARTS:
        shutil.copytree(curriculum.ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def calibrate(root, *arguments):
    """Run the copy's own command, not the checkout's."""
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "autograder.cli", "calibrate", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def weaken(file, test):
    """Take everything out of a hidden test but its name and its sentence."""
    tree = ast.parse(file.read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == test:
            node.body = node.body[:1]
    file.write_text(ast.unparse(tree))


def test_a_weakened_hidden_test_fails_the_command_which_names_what_slipped_through(copy):
    weak = next(answer for answer in answers.load("01_gradient_descent").answers if len(answer.fails) == 1)
    weaken(copy / "solutions" / "01_gradient_descent" / "hidden_tests.py", weak.fails[0])
    done = calibrate(copy, "01", "--exercise", weak.exercise, "--sample", "1", "--jobs", "2")
    assert done.returncode == 1, done.stderr
    assert f"✗ {weak.exercise}: wrong answer {weak.name} " in done.stdout
    assert weak.says in done.stdout


def test_the_table_has_a_row_an_exercise_then_survivors_then_what_is_missed(capsys):
    from rich.console import Console

    good = Row("01_x", "first", (2, 2), (3, 3), (3, 3), (3, 3), 0.0, 39, 1, 40, 40, 12.3, (), ())
    bad = Row(
        "01_x",
        "second",
        (1, 2),
        (2, 3),
        (2, 3),
        (2, 3),
        0.5,
        4,
        0,
        5,
        50,
        1.0,
        ("right answer [a] loses",),
        ("x.py:7\n- a\n+ b",),
    )
    show([good, bad], Console(width=120))
    text = capsys.readouterr().out
    assert "first 01" in text and "39/40" in text
    assert "4/5 of 50" in text and "50%" in text
    assert "01_x: 44 of 45 mutants killed or explained, 97.8%" in text
    assert text.index("survived second, x.py:7\n    - a\n    + b") < text.index("✗ second: right answer [a] loses")


def test_json_has_a_line_an_exercise(monkeypatch, capsys):
    row = Row("01_gradient_descent", "mse_loss", (2, 2), (3, 3), (3, 3), (3, 3), 0.0, 39, 1, 40, 40, 12.3, (), ())
    monkeypatch.setattr("autograder.proving.runs.calibrate", lambda names, **_: [row, row])
    arguments = cli.parser().parse_args(["calibrate", "01", "--json"])
    assert run(arguments) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == json.loads(second)
    assert json.loads(first)["right"] == [2, 2]


def test_a_module_that_misses_its_bar_fails_the_command_though_each_exercise_meets_its_own(monkeypatch, capsys):
    names = [exercise.name for exercise in curriculum.load("01_gradient_descent").exercises]
    rows = [
        Row("01_gradient_descent", name, (2, 2), (3, 3), (3, 3), (3, 3), 0.0, 38, 0, 40, 40, 1.0, (), ())
        for name in names
    ]
    monkeypatch.setattr("autograder.proving.runs.calibrate", lambda names, **_: rows)
    assert run(cli.parser().parse_args(["calibrate", "01", "--json"])) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == len(names)
    tried = 40 * len(names)
    says = f"{tried - 2 * len(names)} of {tried} mutants are killed or explained; the bar is 97%"
    assert printed.err == f"01_gradient_descent: {says}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["77"], "no module '77'"),
        (["01", "--exercise", "no_such"], "no exercise 'no_such'"),
        (["01", "--sample", "0"], "--sample must be at least 1"),
        (["01", "--jobs", "-1"], "--jobs must be at least 1"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(arguments, says, capsys):
    assert cli.main(["calibrate", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_killed_command_leaves_no_worker_behind():
    command = [sys.executable, "-m", "autograder.cli", "calibrate", "01", "--exercise", "nesterov", "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    family = []
    try:
        for _ in range(600):  # until a worker has a sandbox's server of its own
            family = psutil.Process(process.pid).children(recursive=True)
            if any(child.is_running() and child.ppid() != process.pid for child in family):
                break
            assert process.poll() is None, "the command ended by itself"
            time.sleep(0.1)
        else:
            pytest.fail("no worker has started")
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive, f"left behind: {[child.cmdline() for child in alive]}"
