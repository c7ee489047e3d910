"""The commands as a person types them: what they print and how they end."""

import argparse

import pytest

from autograder import curriculum
from autograder.authoring import commands, work

from .conftest import NAME, TEXT, with_module


@pytest.fixture
def lsml(checkout, monkeypatch):
    """Run this part's commands on the temporary checkout."""
    monkeypatch.setattr(curriculum, "ROOT", checkout)

    def run(*words):
        parser = argparse.ArgumentParser()
        commands.add_commands(parser.add_subparsers(required=True))
        arguments = parser.parse_args(words)
        return arguments.run(arguments)

    return run


def test_build_then_check(lsml, checkout, capsys):
    assert lsml("build") == 0
    assert capsys.readouterr().out == f"course/{NAME}/{NAME}.ipynb  written\n"
    assert lsml("build", "01") == 0
    assert capsys.readouterr().out == f"course/{NAME}/{NAME}.ipynb  unchanged\n"
    assert lsml("build", "--check") == 0
    with_module(checkout, TEXT.replace("Loop.", "Loop over x."))
    before = (checkout / "course" / NAME / f"{NAME}.ipynb").read_bytes()
    capsys.readouterr()
    assert lsml("build", "--check") == 1
    assert capsys.readouterr().out.splitlines() == [
        f"course/{NAME}/{NAME}.ipynb: cell hints_total differs in its source",
        "run `lsml build` and commit course/",
    ]
    assert (checkout / "course" / NAME / f"{NAME}.ipynb").read_bytes() == before


def test_check_fails_on_a_stray_folder(lsml, checkout, capsys):
    lsml("build")
    (checkout / "course" / "09_old").mkdir()
    assert lsml("build", "--check") == 1
    assert "course/09_old: no solutions/09_old/ makes this" in capsys.readouterr().out
    assert lsml("build", "--check", "01") == 0


def test_bad_input_is_one_line(lsml, checkout):
    with pytest.raises(curriculum.UserError, match="no module '7'; there are: 01_sums"):
        lsml("build", "7")
    with_module(checkout, TEXT.replace("points=2", "points=7"))
    with pytest.raises(curriculum.UserError, match=r"^solutions/01_sums/notebook\.py:17: points must be"):
        lsml("build", "--check")


def test_new_says_what_it_wrote_and_what_comes_next(lsml, checkout, capsys):
    assert lsml("new", "27_bandits", "Bandits") == 0
    *files, after = capsys.readouterr().out.splitlines()
    assert files == [
        "solutions/27_bandits/notebook.py",
        "solutions/27_bandits/hidden_tests.py",
        "solutions/27_bandits/answers.py",
    ]
    assert all((checkout / file).is_file() for file in files)
    assert "lsml build 27_bandits" in after
    assert lsml("build") == 0, "the skeleton builds beside what is there"


def test_lab_copies_and_opens_jupyterlab_on_work(lsml, checkout, capsys, monkeypatch):
    lsml("build")
    capsys.readouterr()
    assert lsml("lab", "--copy-only") == 0
    assert capsys.readouterr().out == f"copied work/{NAME}/{NAME}.ipynb\n"
    started = []
    monkeypatch.setattr(work.os, "execve", lambda program, command, environment: started.append(command))
    lsml("lab", "--no-browser")
    (command,) = started
    assert command[1:3] == ["-m", "jupyterlab"]
    assert str(checkout / "work") in command
    assert "--no-browser" in command
