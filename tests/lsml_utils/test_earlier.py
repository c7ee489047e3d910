"""`own` gives the reader's functions of earlier modules, from work/ and from nowhere else, and says whose code ran."""

import json

import nbformat
import pytest

from autograder import curriculum
from autograder.authoring.release import released_notebook, solved_notebook
from lsml_utils import own

MODULE = "01_gradient_descent"


def peer(x, y, w, *more):
    return "the peer's"


@pytest.fixture
def work(tmp_path, monkeypatch):
    """work/, with this process in the folder of another module."""
    (tmp_path / "work" / "26_capstone").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "26_capstone")
    return tmp_path / "work"


def put(folder, notebook):
    (folder / MODULE).mkdir(exist_ok=True)
    nbformat.write(notebook, folder / MODULE / f"{MODULE}.ipynb")


def edited(old, new):
    notebook = solved_notebook(curriculum.load(MODULE))
    cell = next(cell for cell in notebook.cells if cell.metadata.lsml.name == "mse_loss" and cell.cell_type == "code")
    assert old in cell.source
    cell.source = cell.source.replace(old, new)
    return notebook


def test_what_the_reader_solved_runs(work, capsys):
    import numpy as np

    put(work, solved_notebook(curriculum.load(MODULE)))
    loss = own(MODULE, "mse_loss", instead=peer)
    assert capsys.readouterr() == (f"mse_loss: your own, from work/{MODULE}\n", "")
    X, y = np.eye(2), np.array([1.0, 3.0])
    assert loss.__module__ == f"own_{MODULE}" and loss(X, y, np.zeros(2)) == 5.0 / 2


def test_what_is_released_is_not_written_yet(work, capsys):
    put(work, released_notebook(curriculum.load(MODULE)))
    assert own(MODULE, "mse_loss", instead=peer) is peer
    assert capsys.readouterr().out == f"mse_loss: {__name__}.peer (yours in work/{MODULE} is not written yet)\n"


@pytest.mark.parametrize("where", ["course", "submitted/alice", "."])
def test_nothing_runs_outside_of_work(tmp_path, monkeypatch, capsys, where):
    (tmp_path / where / "26_capstone").mkdir(parents=True)
    put(tmp_path / where, solved_notebook(curriculum.load(MODULE)))
    monkeypatch.chdir(tmp_path / where / "26_capstone")
    assert own(MODULE, "mse_loss", instead=peer) is peer
    assert capsys.readouterr().out == f"mse_loss: {__name__}.peer (there is no work/{MODULE})\n"


def test_demos_and_checks_do_not_run_and_prints_are_not_shown(work, capsys):
    notebook = edited("def mse_loss", "print('hello')\n\n\ndef mse_loss")
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.metadata.lsml.role not in ("setup", "exercise"):
            cell.source = "raise SystemExit('a demo ran')"
    put(work, notebook)
    own(MODULE, "mse_loss", instead=peer)
    assert capsys.readouterr() == (f"mse_loss: your own, from work/{MODULE}\n", "")


def test_a_call_that_fails_is_made_with_the_peer_after_one_line(work, capsys):
    put(work, edited("def mse_loss(", "def mse_loss(*all):\n    raise ValueError('no\\nway')\n\n\ndef another("))
    loss = own(MODULE, "mse_loss", instead=peer)
    assert [loss(1, 2, 3), loss(1, 2, 3)] == ["the peer's"] * 2
    assert capsys.readouterr().out.splitlines()[1:] == [f"mse_loss: {__name__}.peer (yours raised ValueError: no)"]


def test_a_cell_that_fails_says_why_and_spoils_no_other(work, capsys):
    put(work, edited("def mse_loss", "%time 1\nraise KeyError('gone')\n\n\ndef mse_loss"))
    assert own(MODULE, "mse_loss", instead=peer) is peer
    assert f"(its cell in work/{MODULE} raised KeyError: 'gone')" in capsys.readouterr().out
    assert own(MODULE, "mse_gradient", instead=peer) is not peer


@pytest.mark.parametrize("text", ["", "{}", json.dumps({"cells": [{}]}), json.dumps({"cells": 3}), "[]"])
def test_what_is_no_notebook_is_one_line(work, capsys, text):
    (work / MODULE).mkdir()
    (work / MODULE / f"{MODULE}.ipynb").write_text(text)
    assert own(MODULE, "mse_loss", instead=peer) is peer
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "cannot be read" in out


def test_what_is_saved_anew_is_read_anew(work, capsys):
    put(work, released_notebook(curriculum.load(MODULE)))
    assert own(MODULE, "mse_loss", instead=peer) is peer
    put(work, solved_notebook(curriculum.load(MODULE)))
    assert own(MODULE, "mse_loss", instead=peer) is not peer
    capsys.readouterr()
