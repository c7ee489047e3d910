"""A module through nbgrader's exchange, with nbgrader's own commands on the student's side."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autograder import cli
from autograder.classroom import engine
from autograder.classroom.folder import ClassFolder

from .conftest import MODULE, fake_report
from .test_commands import lsml


@pytest.fixture
def student(tmp_path):
    """A student's folder, and nbgrader in it: `student("submit", MODULE)`."""
    exchange, home = tmp_path / "exchange", tmp_path / "student"
    exchange.mkdir()
    exchange.chmod(0o777)
    home.mkdir()
    (home / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.Exchange.root = {str(exchange)!r}\nc.CourseDirectory.course_id = 'lsml'\n"
        f"c.Exchange.cache = {str(tmp_path / 'cache')!r}\n"
    )

    def nbgrader(*arguments: str) -> None:
        command = [str(Path(sys.executable).with_name("nbgrader")), *arguments]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]

    nbgrader.home, nbgrader.exchange = home, exchange
    return nbgrader


def test_there_and_back(capsys, monkeypatch, tmp_path, student):
    monkeypatch.setattr(engine, "grade_dict", lambda job: fake_report(job).to_dict())
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    at = tmp_path / "class"
    assert cli.main(["class", "new", str(at), "--course", "lsml", "--exchange", str(student.exchange)]) == 0
    status, out, _ = lsml(capsys, "release", "01", "-C", at)
    assert status == 0
    assert "students can fetch it" in out

    student("fetch_assignment", MODULE)
    notebook = student.home / MODULE / f"{MODULE}.ipynb"
    notebook.write_text(notebook.read_text().replace("# YOUR CODE HERE", "# passed", 1))
    (notebook.parent / "link").symlink_to("/etc/hostname")
    student("submit", MODULE)

    status, out, _ = lsml(capsys, "collect", "01", "-C", at)
    assert "submitted/ has that of 1 student" in out
    me = getpass.getuser()
    folder = ClassFolder(at)
    assert folder.submitted(MODULE) == [me]
    assert lsml(capsys, "autograde", "-C", at)[0] == 0
    assert lsml(capsys, "feedback", "--release", "-C", at)[0] == 0

    student("fetch_feedback", MODULE)
    (page,) = (student.home / MODULE / "feedback").rglob("*.html")
    text = page.read_text()
    assert "of 19 points" in text
    assert "✓ passed" in text
