"""A module through nbgrader's exchange, with nbgrader's own commands on the student's side."""

import getpass
import os
import shutil
import subprocess
import sys
from datetime import datetime
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


def test_again_and_others(capsys, monkeypatch, tmp_path, student):
    """A second release, students of another class, one who came by another way, and who is not in the roster."""
    monkeypatch.setattr(engine, "grade_dict", lambda job: fake_report(job).to_dict())
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    me, at = getpass.getuser(), tmp_path / "class"
    (tmp_path / "list.csv").write_text(f"id\n{me}\nben\n")
    (student.exchange / "lsml").mkdir()  # as docs/hub/prepare.sh does
    made = ("class", "new", at, "--course", "lsml", "--exchange", student.exchange)
    status, out, _ = lsml(capsys, *made, "--modules", "01", "--roster", tmp_path / "list.csv")
    assert status == 0
    assert "nothing is in the exchange yet" in out
    assert not list((student.exchange / "lsml").iterdir())
    assert lsml(capsys, "release", "01", "--due", "2026-01-10 00:00", "-C", at)[0] == 0
    status, out, _ = lsml(capsys, "release", "01", "--due", "2026-02-10 00:00", "-C", at)
    assert status == 0, "a new date"
    assert "due 2026-02-10 00:00 UTC" in out
    status, _, err = lsml(capsys, "class", "new", tmp_path / "other", *made[3:])
    assert status == 2
    assert "has a course 'lsml' already" in err

    student("fetch_assignment", MODULE)
    student("submit", MODULE)
    inbound = student.exchange / "lsml" / "inbound"
    (handed,) = inbound.iterdir()
    stranger = handed.with_name(handed.name.replace(f"{me}+", "zoe+", 1))
    shutil.copytree(handed, stranger)
    config = at / "nbgrader_config.py"
    config.write_text(config.read_text() + "c.ExchangeCollect.check_owner = False\n")  # all are of one system user here
    status, out, err = lsml(capsys, "collect", "01", "-C", at)
    assert "collected 01_gradient_descent of 1 student" in out
    assert "zoe is not in the roster and was not collected" in err
    folder = ClassFolder(at)
    assert folder.submitted(MODULE) == [me]
    assert lsml(capsys, "collect", "01", "-C", at)[1].startswith("collected 01_gradient_descent of 0 students")

    source = tmp_path / "given" / "ben"
    source.mkdir(parents=True)
    shutil.copyfile(folder.submission(me, MODULE), source / "a.ipynb")
    assert lsml(capsys, "collect", "01", "--from", tmp_path / "given", "-C", at)[0] == 0
    lsml(capsys, "autograde", "-C", at)
    status, _, err = lsml(capsys, "feedback", "--release", "-C", at)
    assert status == 0
    assert "not in the exchange, because they came by another way: ben" in err
    assert len(list((student.exchange / "lsml" / "feedback").iterdir())) == 1
    status, _, err = lsml(capsys, "feedback", "--release", "--student", "ben", "-C", at)
    assert status == 2
    assert "ben came by another way" in err
    lsml(capsys, "feedback", "--release", "--student", me, "-C", at)

    (student.exchange / "lsml" / "outbound").chmod(0o500)
    before = (folder.path / "release" / MODULE / f"{MODULE}.ipynb").stat().st_mtime_ns
    if os.geteuid():  # root may write anywhere
        assert lsml(capsys, "release", "01", "--due", "2026-03-10 00:00", "-C", at)[0] == 2
    shutil.rmtree(student.exchange)
    status, _, err = lsml(capsys, "release", "01", "--due", "2026-03-10 00:00", "-C", at)
    assert status == 2
    assert "nothing was released" in err
    assert (folder.path / "release" / MODULE / f"{MODULE}.ipynb").stat().st_mtime_ns == before
    with folder.gradebook() as book:
        assert book.find_assignment(MODULE).duedate == datetime(2026, 2, 10)


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
