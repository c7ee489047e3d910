"""A request for another look: from the student's notebook to the list, and its answer to the feedback page."""

import nbformat
import pytest

from autograder import curriculum
from autograder.classroom import requests
from autograder.cli import main
from autograder.grading import kept

from .conftest import MODULE, put

WHY = "My gradient is that of the text.\n\n<script>alert(1)</script> (see 1.2)"


@pytest.fixture
def lsml(folder, capsys):
    def run(command, *arguments):
        status = main([command, *arguments, "-C", str(folder.path)])
        return status, *capsys.readouterr()

    return run


def asking(notebook, exercise="mse_gradient", why=WHY):
    notebook.cells.append(nbformat.v4.new_markdown_cell(f"**Regrade request: `{exercise}`**\n\n{why}"))
    return notebook


def test_a_request_is_listed_once_and_its_answer_comes_back(folder, answer, grade, lsml):
    put(folder, "ada", asking(answer(mse_loss="passed", mse_gradient="failed")))
    put(folder, "ben", answer("passed"))
    grade()
    (request,) = requests.requests(folder)
    assert (request.student, request.exercise, request.why) == ("ada", "mse_gradient", WHY)
    for command in ("status", "regrade"):
        _, out, _ = lsml(command)
        assert "mse_gradient" in out and "My gradient" in out
    grade(force=True)
    assert len(requests.requests(folder)) == 1
    status, _, err = lsml("regrade", "01", "ben", "--answer", "No.")
    assert status == 2 and "has asked about no exercise" in err
    status, out, _ = lsml("regrade", "01", "ada", "--answer", "You are right: **a half** was missing in our text.")
    assert status == 0 and "mse_gradient" in out and requests.requests(folder) == []
    assert lsml("feedback", "01", "--student", "ada")[0] == 0
    page = (folder.path / "feedback" / "ada" / MODULE / f"{MODULE}.html").read_text()
    assert "Your instructor says:" in page and "<strong>a half</strong> was missing" in page
    grade(force=True)
    assert requests.requests(folder) == [], "it was answered"
    put(folder, "ada", asking(answer(mse_gradient="failed"), why="And now?"))
    grade()
    assert [one.why for one in requests.requests(folder)] == ["And now?"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("Regrade request: mse_loss\nwhy", [("mse_loss", "why")]),
        ("### regrade request `mse_loss`\n\n(why)\nand how", [("mse_loss", "(why)\nand how")]),
        ("**Regrade request: `mse_loss`**", [("mse_loss", "")]),
        ("Regrade request: another_name\nwhy", []),
        ("I have no regrade request: mse_loss\nis fine", []),
    ],
)
def test_what_asks(source, found):
    cells = [nbformat.v4.new_markdown_cell(source), nbformat.v4.new_code_cell(source)]
    assert requests.asked_in(MODULE, nbformat.writes(nbformat.v4.new_notebook(cells=cells)).encode()) == found


def test_what_is_no_notebook_asks_for_nothing():
    assert requests.asked_in(MODULE, b"Regrade request: mse_loss") == []


def test_a_damaged_list_is_said(folder, lsml):
    (folder.private / "regrade.json").write_text('[{"who": 1}]')
    status, _, err = lsml("regrade")
    assert status == 2 and "regrade.json is damaged" in err and "Traceback" not in err


def test_the_students_command(monkeypatch, tmp_path, capsys, released):
    path = tmp_path / "work" / f"{MODULE}.ipynb"
    path.parent.mkdir()
    monkeypatch.setattr(kept, "notebook", lambda module: path)
    monkeypatch.setattr(curriculum, "ROOT", tmp_path)
    assert main(["request", "01", "mse_gradient", "Because."]) == 2
    assert "work/01_gradient_descent.ipynb" in capsys.readouterr().err
    path.write_text(nbformat.writes(released))
    path.chmod(0o600)
    assert main(["request", "01", "mse_gradient", " "]) == 2 and "say why" in capsys.readouterr().err
    for why in ("Because.", "Because of the half."):
        assert main(["request", "01", "mse_gradient", why]) == 0
    assert "work/01_gradient_descent.ipynb" in capsys.readouterr().out
    assert path.stat().st_mode & 0o777 == 0o600, "nobody else may read it now"
    after = nbformat.read(path, 4)
    assert requests.asked_in(MODULE, path.read_bytes()) == [("mse_gradient", "Because of the half.")]
    assert [cell.source for cell in after.cells[:-1]] == [cell.source for cell in released.cells]
