"""`nbgrader autograde`, formgrader's button and `lsml autograde` give the same grades and the same files.

The Reports are kept before anything runs, as after a first run, so that nbgrader's own process needs no sandbox here.
"""

import copy
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from autograder.classroom import feedback
from autograder.classroom.autograde import autograde, plan
from autograder.classroom.folder import ClassFolder
from autograder.classroom.reports import Reports, current

from .conftest import MODULE, FakeEngine, fake_report, put


def nbgrader(folder: ClassFolder, *arguments: str) -> subprocess.CompletedProcess:
    """nbgrader's own command, in the class folder."""
    command = [str(Path(sys.executable).with_name("nbgrader")), *arguments]
    return subprocess.run(command, cwd=folder.path, capture_output=True, text=True, timeout=300)


def keep_reports(folder: ClassFolder) -> None:
    """What a first run would have kept."""
    reports = Reports(folder)
    for student in folder.submitted(MODULE):
        version = current(folder, student, MODULE)
        key = reports.key(version, MODULE)
        reports.store.put(key, fake_report(reports.job(version, key, MODULE)))


def gradebook(folder: ClassFolder) -> dict:
    """All that matters of a gradebook."""
    with folder.gradebook() as book:
        found = {}
        for submission in book.assignment_submissions(MODULE):
            (notebook,) = submission.notebooks
            found[submission.student.id] = {
                "timestamp": submission.timestamp,
                "penalty": notebook.late_submission_penalty,
                "score": notebook.score,
                "grades": sorted((g.name, g.auto_score, g.manual_score, g.needs_manual_grade) for g in notebook.grades),
                "comments": sorted((c.name, c.auto_comment, c.manual_comment) for c in notebook.comments),
            }
        return found


def tree(folder: ClassFolder, name: str) -> dict:
    """Every file of one of nbgrader's folders: mode and content."""
    return {
        path.relative_to(folder.path): (oct(stat.S_IMODE(path.stat().st_mode)), path.read_bytes())
        for path in sorted((folder.path / name).rglob("*"))
        if path.is_file()
    }


def hand_in_awkward(folder: ClassFolder, answer) -> None:
    """A class in which everything went wrong that goes wrong in editors, and that stops stock nbgrader."""
    notebook = answer("passed", written="I *think* so. <script>alert(1)</script>")
    put(folder, "ada", notebook)
    deleted = copy.deepcopy(notebook)
    deleted.cells = [cell for cell in deleted.cells if cell.metadata.lsml.role not in ("check", "setup")]
    put(folder, "ben", deleted)
    doubled = copy.deepcopy(notebook)
    for index, cell in reversed(list(enumerate(doubled.cells))):
        if cell.metadata.lsml.role in ("check", "exercise"):
            twin = copy.deepcopy(cell)
            twin.id = f"twin-{index}"
            doubled.cells.insert(index, twin)
    put(folder, "cleo", doubled)
    retyped = answer(mse_loss="partial misconception")
    for index, cell in enumerate(retyped.cells):
        if cell.metadata.lsml.role == "check":
            retyped.cells[index] = nbformat.v4.new_markdown_cell(cell.source, metadata=cell.metadata, id=cell.id)
        if cell.metadata.lsml.role == "exercise":
            cell.metadata.nbgrader.update(grade=True, points=1000, locked=False)
    put(folder, "dan", retyped, stamp=None)
    bare = answer(nesterov="failed")
    for cell in bare.cells:
        cell.metadata = {}
    bare.cells += [nbformat.v4.new_code_cell("x = 1"), nbformat.v4.new_markdown_cell("[me](javascript:alert(1))")]
    put(folder, "eve", bare)
    put(folder, "finn", answer(mse_gradient="failed misconception"))
    put(folder, "gus", b"not a notebook at all")
    path = put(folder, "hal", answer("passed"))
    (path.parent / "evil.html").write_text("<script>alert(1)</script>")
    (path.parent / "link").symlink_to("/etc/hostname")
    (path.parent / "timestamp.txt").write_text("yesterday, I think")


@pytest.fixture(scope="module")
def both(template, answer, tmp_path_factory):
    """One class, graded by `nbgrader autograde --force` in one folder and by lsml in a copy of it."""
    top = tmp_path_factory.mktemp("both")
    shutil.copytree(template, top / "ours")
    ours = ClassFolder(top / "ours")
    hand_in_awkward(ours, answer)
    shutil.copytree(ours.path, top / "theirs", symlinks=True)
    theirs = ClassFolder(top / "theirs")
    keep_reports(theirs)
    found = nbgrader(theirs, "autograde", MODULE, "--force")
    autograde(ours, plan(ours, [MODULE], None), FakeEngine())
    return ours, theirs, found


def test_same_grades_and_same_files(both):
    ours, theirs, found = both
    assert found.returncode == 0, found.stderr[-3000:]
    assert gradebook(ours) == gradebook(theirs)
    assert sorted(gradebook(ours)) == ["ada", "ben", "cleo", "dan", "eve", "finn", "gus", "hal"]
    assert tree(ours, "autograded") == tree(theirs, "autograded")
    assert os.path.islink(theirs.path / "refused/hal" / MODULE / "link")


def test_awkward_notebooks_are_graded_as_if_nothing_had_happened(both):
    ours, _, _ = both
    found = gradebook(ours)
    checks = [[row for row in found[who]["grades"] if row[0].startswith("check_")] for who in ("ada", "ben")]
    assert checks[0] == checks[1]
    assert {row[0]: row[1] for row in found["dan"]["grades"]}["check_mse_loss"] == 0.5
    assert all(row[1] is None and row[3] for row in found["gus"]["grades"])


def test_every_graded_cell_is_there_once(both, released):
    ours, _, _ = both
    wanted = sorted(cell.metadata.nbgrader.grade_id for cell in released.cells if "nbgrader" in cell.metadata)
    for student in ours.submitted(MODULE):
        notebook = nbformat.read(ours.autograded(student, MODULE), as_version=4)
        nbformat.validate(notebook)
        marks = sorted(cell.metadata.nbgrader.grade_id for cell in notebook.cells if "nbgrader" in cell.metadata)
        assert marks == wanted
        points = {
            c.metadata.nbgrader.grade_id: c.metadata.nbgrader.get("points")
            for c in notebook.cells
            if "nbgrader" in c.metadata
        }
        assert max(point for point in points.values() if point is not None) <= 4


def test_no_active_content_in_autograded(both):
    ours, _, _ = both
    for path, (_, content) in tree(ours, "autograded").items():
        assert path.suffix in (".ipynb", ".txt")
        if path.suffix == ".ipynb":
            for cell in nbformat.reads(content.decode(), as_version=4).cells:
                if cell.cell_type == "markdown":
                    assert "<script" not in cell.source
                    assert "javascript:" not in cell.source


def test_one_student_through_formgraders_api(folder, answer, hand_in):
    hand_in("ada", answer("passed"))
    hand_in("ben", answer("failed"))
    keep_reports(folder)
    result = folder.api.autograde(MODULE, "ada", force=True)
    assert result["success"], result
    assert list(gradebook(folder)) == ["ada"]


def test_feedback_through_nbgraders_command(both):
    ours, theirs, _ = both
    found = nbgrader(theirs, "generate_feedback", MODULE, "--force")
    assert found.returncode == 0, found.stderr[-3000:]
    pages = feedback.generate(ours, MODULE)
    assert len(pages) == 8
    assert tree(ours, "feedback") == tree(theirs, "feedback")
    text = (ours.path / "feedback/dan" / MODULE / f"{MODULE}.html").read_text()
    for said in ("The property holds.", "divides by n", "Read hint 1.", "cell [3], line 2", "not answered"):
        assert said in text
    for path, (_, content) in tree(ours, "feedback").items():
        assert path.suffix in (".html", ".txt")
        assert b"<script" not in content
        assert b"javascript:" not in content


def test_stock_export_runs(both, tmp_path):
    ours, _, _ = both
    found = nbgrader(ours, "export", "--to", str(tmp_path / "grades.csv"))
    assert found.returncode == 0, found.stderr[-2000:]
    assert "ada" in (tmp_path / "grades.csv").read_text()
